//! As much of X.509 (RFC 5280) as the management API shows of a certificate that was uploaded. Nothing is verified here.

use super::base64;
use serde_json::{Value, json};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The tag of an explicit version.
const VERSION: u8 = 0xA0;

/// The object identifiers of the algorithms there may be, and of the parts of a name, DER.
const SIGNATURES: [(&[u8], &str); 5] = [
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02], "ECDSA-SHA256"),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03], "ECDSA-SHA384"),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x04], "ECDSA-SHA512"),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B], "SHA256-RSA"),
    (&[0x2B, 0x65, 0x70], "Ed25519"),
];
const KEYS: [(&[u8], &str); 3] = [
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01], "ECDSA"),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01], "RSA"),
    (&[0x2B, 0x65, 0x70], "Ed25519"),
];
const PARTS: [(&[u8], &str); 6] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0A], "O"),
    (&[0x55, 0x04, 0x0B], "OU"),
];

/// The `certificateContent` of the first certificate in PEM; `None` where there is none that can be read.
pub(super) fn content(pem: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, inner) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (inner, _) = inner.split_once("-----END CERTIFICATE-----")?;
    let der = base64::decode(&inner.split_whitespace().collect::<String>())?;
    let mut all = Der(Der(&der).expect(SEQUENCE)?);
    let mut body = Der(all.expect(SEQUENCE)?);
    let algorithm = all.expect(SEQUENCE)?;
    let signature = all.expect(BITS)?;
    let version = match body.peek()? {
        VERSION => Der(body.expect(VERSION)?).expect(INTEGER)?.first().map(|version| version + 1)?,
        _ => 1,
    };
    let serial = decimal(body.expect(INTEGER)?);
    let _same_algorithm = body.expect(SEQUENCE)?;
    let issuer = name(body.expect(SEQUENCE)?)?;
    let mut validity = Der(body.expect(SEQUENCE)?);
    let (from, until) = (validity.time()?, validity.time()?);
    let subject = name(body.expect(SEQUENCE)?)?;
    let key = body.expect(SEQUENCE)?;
    let mut parts = Der(key);
    let key_algorithm = parts.expect(SEQUENCE)?;
    Some(json!({
        "version": version,
        "serialNumber": serial,
        "issuer": issuer,
        "subject": subject,
        "notBefore": from,
        "notAfter": until,
        "publicKeyAlgorithm": named(&KEYS, Der(key_algorithm).expect(OID)?),
        "publicKey": base64::encode(parts.expect(BITS)?.get(1..)?),
        "signatureAlgorithm": named(&SIGNATURES, Der(algorithm).expect(OID)?),
        "signature": base64::encode(signature.get(1..)?),
    }))
}

/// What is left of a string of DER elements.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Takes the next element, which must bear this tag: its content.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.next()?;
        (found == tag).then_some(content)
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let (digits, behind) = rest.split_at_checked(usize::from(first & 0x7F))?;
            rest = behind;
            digits
                .iter()
                .try_fold(0_usize, |length, byte| length.checked_mul(256)?.checked_add((*byte).into()))?
        };
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }

    /// A time of either form, as RFC 3339. Years of two digits from 50 on are of the last century.
    fn time(&mut self) -> Option<String> {
        let (tag, content) = self.next()?;
        let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        let text = match tag {
            GENERALIZED_TIME => text.to_owned(),
            UTC_TIME => format!("{}{text}", if text.get(..1)? < "5" { "20" } else { "19" }),
            _ => return None,
        };
        let part = |from: usize| text.get(from..from + 2);
        let (year, month, day) = (text.get(..4)?, part(4)?, part(6)?);
        Some(format!("{year}-{month}-{day}T{}:{}:{}Z", part(8)?, part(10)?, part(12)?))
    }
}

/// `CN=…,O=…`: the parts of a name, the last first (RFC 4514).
fn name(content: &[u8]) -> Option<String> {
    let (mut rest, mut parts) = (Der(content), Vec::new());
    while rest.peek().is_some() {
        let mut pair = Der(Der(rest.expect(SET)?).expect(SEQUENCE)?);
        let kind = named(&PARTS, pair.expect(OID)?);
        let (_, value) = pair.next()?;
        parts.push(format!("{kind}={}", String::from_utf8_lossy(value)));
    }
    parts.reverse();
    Some(parts.join(","))
}

fn named(names: &[(&'static [u8], &'static str)], oid: &[u8]) -> &'static str {
    names.iter().find(|(known, _)| *known == oid).map_or("unknown", |(_, name)| name)
}

/// A positive integer of any length in decimal digits.
fn decimal(bytes: &[u8]) -> String {
    // Lowest digit first.
    let mut digits = vec![0_u8];
    for byte in bytes {
        let mut carry = u16::from(*byte);
        for digit in &mut digits {
            let value = u16::from(*digit) * 256 + carry;
            *digit = (value % 10) as u8;
            carry = value / 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_length_are_written_in_decimal() {
        assert_eq!(decimal(&[0]), "0");
        assert_eq!(decimal(&[0, 0xFF]), "255");
        assert_eq!(decimal(&[0x01, 0, 0, 0, 0, 0, 0, 0, 0]), "18446744073709551616");
        assert_eq!(decimal(&[0xFF; 16]), u128::MAX.to_string());
    }

    #[test]
    fn times_of_both_forms_are_read() {
        let read = |tag: u8, text: &str| {
            let bytes = [&[tag, text.len() as u8], text.as_bytes()].concat();
            Der(&bytes).time()
        };
        assert_eq!(read(UTC_TIME, "260102030405Z").as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(read(UTC_TIME, "991231235959Z").as_deref(), Some("1999-12-31T23:59:59Z"));
        assert_eq!(read(GENERALIZED_TIME, "20500102030405Z").as_deref(), Some("2050-01-02T03:04:05Z"));
        assert_eq!(read(UTC_TIME, "26"), None);
    }

    #[test]
    fn what_is_cut_short_is_no_certificate_and_no_crash() {
        assert_eq!(content(b"-----BEGIN CERTIFICATE-----"), None);
        for der in [&[][..], &[0x30], &[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF], &[0x30, 0x03, 0x30, 0x01, 0x02]]
        {
            let pem =
                format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----", base64::encode(der));
            assert_eq!(content(pem.as_bytes()), None, "{der:02x?}");
        }
    }
}
