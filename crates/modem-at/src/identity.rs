//! Who the modem and its subscriber are.
//!
//! IMEI, ICCID and IMSI point at a device and a person: they come as [`Masked`], which prints its last four digits only.

use std::fmt;

use crate::fields::{DecodeError, Fields};

/// An identity number that is printed masked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Masked(String);

impl Masked {
    /// Wraps `number`.
    #[must_use]
    pub fn new(number: impl Into<String>) -> Self {
        Self(number.into())
    }

    /// The whole number. Call it only where the number itself is the purpose.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.chars().count();
        // A number so short that four digits would be most of it shows nothing.
        let shown = if count >= 8 { 4 } else { 0 };
        for (at, character) in self.0.chars().enumerate() {
            if at + shown >= count { write!(f, "{character}")? } else { f.write_str("*")? }
        }
        Ok(())
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masked({self})")
    }
}

/// An IMEI of 15 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imei {
    /// The digits.
    pub number: Masked,
    /// The last digit is the check digit of the others (Luhn; 3GPP TS 23.003 annex B). A mismatch is a flag, not an
    /// error: development kits with made-up numbers exist.
    pub check_digit_ok: bool,
}

/// IMEI of `+CGSN: "<imei>"`, the answer of `AT+CGSN=1`.
///
/// # Errors
/// Another line, or not 15 digits.
pub fn imei(line: &str) -> Result<Imei, DecodeError> {
    let fields = Fields::of(line, "+CGSN")?;
    imei_digits(fields.text(0, "sn")?)
}

/// IMEI of the bare answer of `AT+CGSN`.
///
/// # Errors
/// Not 15 digits.
pub fn imei_bare(line: &str) -> Result<Imei, DecodeError> {
    imei_digits(line.trim())
}

/// ICCID of `%XICCID: <iccid>`; the padding `F` of a 19 digit number is removed.
///
/// # Errors
/// Another line, or not 18 to 20 digits.
pub fn iccid(line: &str) -> Result<Masked, DecodeError> {
    let text = Fields::of(line, "%XICCID")?.text(0, "iccid")?.trim_end_matches(['F', 'f']);
    digits(text, 18..=20).ok_or(DecodeError::Malformed { line: "%XICCID", field: "iccid" })
}

/// IMSI of the bare answer of `AT+CIMI`.
///
/// # Errors
/// Not 6 to 15 digits.
pub fn imsi(line: &str) -> Result<Masked, DecodeError> {
    digits(line.trim(), 6..=15).ok_or(DecodeError::Malformed { line: "+CIMI", field: "imsi" })
}

/// Manufacturer, from the bare answer of `AT+CGMI`.
///
/// # Errors
/// An empty line.
pub fn manufacturer(line: &str) -> Result<String, DecodeError> {
    bare(line, "+CGMI", "manufacturer")
}

/// Model, from the bare answer of `AT+CGMM`, for instance `nRF9151-LACA`.
///
/// # Errors
/// An empty line.
pub fn model(line: &str) -> Result<String, DecodeError> {
    bare(line, "+CGMM", "model")
}

/// Modem firmware, from the bare answer of `AT+CGMR`, for instance `mfw_nrf91x1_2.0.4`.
///
/// # Errors
/// An empty line.
pub fn revision(line: &str) -> Result<String, DecodeError> {
    bare(line, "+CGMR", "revision")
}

/// ICCID of `+CRSM: 144,0,"<20 digits>"`, the answer of `AT+CRSM=176,12258,0,0,10`: the card's own file, whose digits are
/// swapped in pairs. Modem firmware before 1.1 has no `%XICCID`.
///
/// # Errors
/// Another line, a refusal of the card, or not 18 to 20 digits.
pub fn iccid_of_file(line: &str) -> Result<Masked, DecodeError> {
    const WRONG: DecodeError = DecodeError::Malformed { line: "+CRSM", field: "response" };
    let fields = Fields::of(line, "+CRSM")?;
    // 0x90 0x00: normal ending.
    if (fields.text(0, "sw1")?, fields.text(1, "sw2")?) != ("144", "0") {
        return Err(DecodeError::Malformed { line: "+CRSM", field: "sw1" });
    }
    let text = fields.text(2, "response")?;
    if !text.is_ascii() {
        return Err(WRONG);
    }
    let mut number = String::with_capacity(text.len());
    for pair in text.as_bytes().chunks(2) {
        number.extend(pair.iter().rev().map(|byte| char::from(*byte)));
    }
    digits(number.trim_end_matches(['F', 'f']), 18..=20).ok_or(WRONG)
}

/// Modem firmware without its prefix, from `%SHORTSWVER: <text>`, for instance `nrf91x1_2.0.0`.
///
/// # Errors
/// Another line, or nothing in it.
pub fn short_version(line: &str) -> Result<String, DecodeError> {
    Ok(Fields::of(line, "%SHORTSWVER")?.text(0, "short_sw_version")?.to_owned())
}

/// The identity of the modem firmware's build (not of the device), from `%XMODEMUUID: <uuid>`.
///
/// # Errors
/// Another line, or not a UUID.
pub fn firmware_uuid(line: &str) -> Result<String, DecodeError> {
    let text = Fields::of(line, "%XMODEMUUID")?.text(0, "UUID")?;
    uuid(text).then(|| text.to_owned()).ok_or(DecodeError::Malformed { line: "%XMODEMUUID", field: "UUID" })
}

/// The identity of the device, from `#XUUID: <uuid>` of the Serial Modem application.
///
/// # Errors
/// Another line, or not a UUID.
pub fn device_uuid(line: &str) -> Result<Masked, DecodeError> {
    let text = Fields::of(line, "#XUUID")?.text(0, "UUID")?;
    uuid(text).then(|| Masked::new(text)).ok_or(DecodeError::Malformed { line: "#XUUID", field: "UUID" })
}

/// Hardware version, from `%HWVERSION: <text>`.
///
/// # Errors
/// Another line, or nothing in it.
pub fn hardware_version(line: &str) -> Result<String, DecodeError> {
    Ok(Fields::of(line, "%HWVERSION")?.text(0, "hw_version")?.to_owned())
}

/// Groups of 8, 4, 4, 4 and 12 hexadecimal digits.
fn uuid(text: &str) -> bool {
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn bare(line: &str, name: &'static str, field: &'static str) -> Result<String, DecodeError> {
    let text = line.trim();
    if text.is_empty() { Err(DecodeError::Missing { line: name, field }) } else { Ok(text.to_owned()) }
}

fn digits(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<Masked> {
    (count.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| Masked::new(text))
}

fn imei_digits(text: &str) -> Result<Imei, DecodeError> {
    let number = digits(text, 15..=15).ok_or(DecodeError::Malformed { line: "+CGSN", field: "sn" })?;
    let check_digit_ok = luhn(number.reveal());
    Ok(Imei { number, check_digit_ok })
}

fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            match (at % 2, digit) {
                (0, digit) => digit,
                (_, digit) if digit > 4 => digit * 2 - 9,
                (_, digit) => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_imei_comes_quoted_or_bare_and_is_checked() {
        let quoted = imei("+CGSN: \"352656106647673\"").unwrap();
        assert_eq!(quoted.number.reveal(), "352656106647673");
        assert!(quoted.check_digit_ok);
        assert_eq!(imei_bare("352656106647673").unwrap(), quoted);
        assert!(imei("+CGSN: \"352656100885188\"").unwrap().check_digit_ok);
        assert!(!imei_bare("352656106647674").unwrap().check_digit_ok);
        assert!(imei_bare("35265610664767").is_err());
        assert!(imei("+CGSN: (0-3)").is_err());
    }

    #[test]
    fn the_iccid_loses_its_padding() {
        assert_eq!(iccid("%XICCID: 8901234567012345678F").unwrap().reveal(), "8901234567012345678");
        assert_eq!(iccid("%XICCID: 89450421180216254864").unwrap().reveal(), "89450421180216254864");
        assert!(iccid("%XICCID: FFFFFFFFFFFFFFFFFFFF").is_err());
    }

    #[test]
    fn a_card_without_the_command_is_read_from_its_file() {
        let number = iccid_of_file("+CRSM: 144,0,\"981032547698103254F7\"").unwrap();
        assert_eq!(number.reveal(), "8901234567890123457");
        assert!(iccid_of_file("+CRSM: 106,130").is_err());
        assert!(iccid_of_file("+CRSM: 144,0,\"98103254769810325\u{e9}7\"").is_err());
    }

    #[test]
    fn builds_and_devices_have_uuids() {
        let line = "%XMODEMUUID: 25c95751-efa4-40d4-8b4a-1dcaab81fac9";
        assert_eq!(firmware_uuid(line).unwrap(), "25c95751-efa4-40d4-8b4a-1dcaab81fac9");
        let device = device_uuid("#XUUID: 50503041-3633-4261-803d-1e2b8f70111a").unwrap();
        assert!(device.to_string().ends_with("*111a"));
        assert!(firmware_uuid("%XMODEMUUID: 25c95751").is_err());
        assert_eq!(short_version("%SHORTSWVER: nrf91x1_2.0.0").unwrap(), "nrf91x1_2.0.0");
    }

    #[test]
    fn identities_print_their_last_four_digits_only() {
        let number = imsi("204080813630037").unwrap();
        assert_eq!(number.to_string(), "***********0037");
        assert_eq!(format!("{number:?}"), "Masked(***********0037)");
        assert_eq!(Masked::new("1234567").to_string(), "*******");
    }

    #[test]
    fn names_come_as_they_are() {
        assert_eq!(manufacturer("Nordic Semiconductor ASA").unwrap(), "Nordic Semiconductor ASA");
        assert_eq!(model("nRF9160-SICA").unwrap(), "nRF9160-SICA");
        assert_eq!(revision("mfw_nrf91x1_2.0.4").unwrap(), "mfw_nrf91x1_2.0.4");
        assert_eq!(hardware_version("%HWVERSION: nRF9151 LACA A1A").unwrap(), "nRF9151 LACA A1A");
        assert!(revision(" ").is_err());
    }
}
