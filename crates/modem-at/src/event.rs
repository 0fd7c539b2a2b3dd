//! What the modem and its application report unasked, apart from registration, signal and time.

use crate::fields::{DecodeError, Field, Fields, Tail, Value};
use crate::registration::RejectCause;

/// `%MDMEV: <event>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModemEvent {
    /// `ME OVERHEATED`: the modem switched its radio off.
    Overheated,
    /// `ME BATTERY LOW`: the modem went to flight mode.
    BatteryLow,
    /// `SEARCH STATUS 1`: the light search is done.
    LightSearchDone,
    /// `SEARCH STATUS 2`: the search is done, whether or not something was found.
    SearchDone,
    /// `RESET LOOP`: after repeated resets the modem refuses to attach for 30 minutes.
    ResetLoop,
    /// `NO IMEI`.
    NoImei,
    /// `RF CALIBRATION NOT DONE`.
    RfCalibrationNotDone,
    /// `PRACH CE-LEVEL <n>`: coverage enhancement level of the last access.
    CoverageEnhancement(u8),
    /// `INVALID BAND CONFIGURATION <LTE-M> <NB-IoT> [<NTN>]`: band lock and network leave no band in common.
    InvalidBandConfiguration(InvalidBands),
    /// `DETECTED COUNTRY <mcc>`.
    DetectedCountry(u16),
    /// Anything else, as it came.
    Other(String),
}

/// Which access technology is left without a band.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidBands {
    /// LTE-M.
    pub lte_m: Value<BandStatus>,
    /// NB-IoT.
    pub nb_iot: Value<BandStatus>,
    /// NB-IoT over satellites; only firmware that has it says so.
    pub satellite: Value<BandStatus>,
}

/// What is left of the bands of an access technology (the vendor's link library).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandStatus {
    /// 0: there are bands.
    Usable,
    /// 1: there are none.
    NoneLeft,
    /// 2: the technology is not switched on.
    NotInUse,
}

impl InvalidBands {
    fn parse(text: &str) -> Self {
        let mut items = text.split_ascii_whitespace();
        let mut next = || {
            let field = items.next().map(|text| Field { text, quoted: false });
            Value::read(field, |text| match text {
                "0" => Some(BandStatus::Usable),
                "1" => Some(BandStatus::NoneLeft),
                "2" => Some(BandStatus::NotInUse),
                _ => None,
            })
        };
        Self { lte_m: next(), nb_iot: next(), satellite: next() }
    }
}

impl ModemEvent {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let text = body(line, "%MDMEV")?;
        Ok(match text {
            "ME OVERHEATED" => Self::Overheated,
            "ME BATTERY LOW" => Self::BatteryLow,
            "SEARCH STATUS 1" => Self::LightSearchDone,
            "SEARCH STATUS 2" => Self::SearchDone,
            "RESET LOOP" => Self::ResetLoop,
            "NO IMEI" => Self::NoImei,
            "RF CALIBRATION NOT DONE" => Self::RfCalibrationNotDone,
            _ => Self::with_number(text),
        })
    }

    fn with_number(text: &str) -> Self {
        if let Some(bands) = text.strip_prefix("INVALID BAND CONFIGURATION") {
            return Self::InvalidBandConfiguration(InvalidBands::parse(bands));
        }
        let level = text.strip_prefix("PRACH CE-LEVEL ").and_then(|level| level.parse().ok());
        let country = text.strip_prefix("DETECTED COUNTRY ").and_then(|mcc| mcc.parse().ok());
        match (level, country) {
            (Some(level), _) => Self::CoverageEnhancement(level),
            (_, Some(mcc)) => Self::DetectedCountry(mcc),
            _ => Self::Other(text.to_owned()),
        }
    }
}

/// `+CGEV: <event>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PdnEvent {
    /// `ME PDN ACT <cid>[,<reason>]`: a data connection is up.
    Activated {
        /// Context.
        cid: u8,
        /// Reason, where given.
        reason: Value<u8>,
        /// Fields beyond these.
        tail: Tail,
    },
    /// `ME PDN DEACT <cid>` or `NW PDN DEACT <cid>`: a data connection is down.
    Deactivated {
        /// Context.
        cid: u8,
        /// Fields beyond it.
        tail: Tail,
    },
    /// `NW DETACH`: the network detached the modem.
    NetworkDetach,
    /// `ME DETACH`: the modem detached.
    Detach,
    /// `ME OVERHEATED`.
    Overheated,
    /// `ME BATTERY LOW`.
    BatteryLow,
    /// `IPV6 FAIL <cid>`: the network gave no IPv6 prefix. Harmless where IPv4 works.
    Ipv6Fail {
        /// Context.
        cid: u8,
    },
    /// Anything else, as it came.
    Other(String),
}

impl PdnEvent {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let text = body(line, "+CGEV")?;
        let fields = Fields::of(line, "+CGEV")?;
        let first = fields.get(0).map(|field| field.text).unwrap_or_default();
        let cid = |prefix: &str| first.strip_prefix(prefix).and_then(|cid| cid.trim().parse().ok());
        Ok(match text {
            "NW DETACH" => Self::NetworkDetach,
            "ME DETACH" => Self::Detach,
            "ME OVERHEATED" => Self::Overheated,
            "ME BATTERY LOW" => Self::BatteryLow,
            _ => {
                if let Some(cid) = cid("ME PDN ACT ") {
                    Self::Activated { cid, reason: fields.value(1), tail: fields.tail(2) }
                } else if let Some(cid) = cid("ME PDN DEACT ").or_else(|| cid("NW PDN DEACT ")) {
                    Self::Deactivated { cid, tail: fields.tail(1) }
                } else if let Some(cid) = cid("IPV6 FAIL ") {
                    Self::Ipv6Fail { cid }
                } else {
                    Self::Other(text.to_owned())
                }
            }
        })
    }
}

/// Why the network refused something, unasked: `+CNEC_EMM: <cause>[,...]` or `+CNEC_ESM: <cause>[,<cid>]` after `AT+CNEC=24`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkCause {
    /// It is about a data connection (ESM) and not about mobility (EMM).
    pub about_connection: bool,
    /// The cause of 3GPP TS 24.301.
    pub cause: u8,
    /// The context it is about; mobility has none.
    pub cid: Value<u8>,
    /// Fields beyond these.
    pub tail: Tail,
}

impl NetworkCause {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or no cause.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let (fields, about_connection) = match Fields::of(line, "+CNEC_ESM") {
            Ok(fields) => (fields, true),
            Err(_) => (Fields::of(line, "+CNEC_EMM")?, false),
        };
        let known = 1 + usize::from(about_connection);
        let cid = if about_connection { fields.value(1) } else { Value::Absent };
        Ok(Self { about_connection, cause: fields.number(0, "cause")?, cid, tail: fields.tail(known) })
    }

    /// The cause in words (3GPP TS 24.301 annexes A and B), where it is known.
    #[must_use]
    pub fn meaning(&self) -> Option<&'static str> {
        if !self.about_connection {
            return RejectCause { kind: 0, cause: self.cause }.meaning();
        }
        Some(match self.cause {
            8 => "barred by the SIM's operator",
            26 => "the network has no room for it now",
            27 => "access point name missing or unknown",
            28 => "unknown kind of connection",
            29 => "user name or password refused",
            30 | 31 => "refused by the network's gateway",
            32 | 33 => "not part of the subscription",
            34 => "out of order for a while",
            36 => "closed as asked",
            38 => "network failure",
            39 => "the network wants it set up again",
            50 => "IPv4 only: harmless where IPv4 works",
            51 => "IPv6 only: harmless where IPv6 works",
            52 => "one address at a time only",
            54 => "there is no such connection",
            55 => "one connection an access point name only",
            65 => "too many connections",
            66 => "access point name not served by this network",
            _ => return None,
        })
    }
}

/// The signalling connection, from `+CSCON`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signalling {
    /// Whether the radio is up.
    pub rrc: Rrc,
    /// Fields beyond it: state and access, where the firmware tells them.
    pub tail: Tail,
}

/// Whether the radio is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rrc {
    /// 0.
    Idle,
    /// 1: the radio is up.
    Connected,
}

impl Signalling {
    /// Decodes a report, `+CSCON: <mode>[,...]`.
    ///
    /// # Errors
    /// Another line, or a mode other than 0 and 1.
    pub fn parse_urc(line: &str) -> Result<Self, DecodeError> {
        Self::at(line, 0)
    }

    /// Decodes the answer of `AT+CSCON?`, `+CSCON: <n>,<mode>[,...]`.
    ///
    /// # Errors
    /// Another line, or a mode other than 0 and 1.
    pub fn parse_read(line: &str) -> Result<Self, DecodeError> {
        Self::at(line, 1)
    }

    fn at(line: &str, index: usize) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "+CSCON")?;
        let rrc = match fields.number::<u8>(index, "mode")? {
            0 => Rrc::Idle,
            1 => Rrc::Connected,
            _ => return Err(DecodeError::Malformed { line: "+CSCON", field: "mode" }),
        };
        Ok(Self { rrc, tail: fields.tail(index + 1) })
    }
}

/// `#XMODEM: ...` of the Serial Modem application: the modem core crashed and was started again. Afterwards the
/// functional mode is 0, sockets are gone, and every subscription is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultEvent {
    /// `FAULT,0x<reason>,0x<pc>`: it crashed.
    Fault {
        /// Reason.
        reason: u32,
        /// Program counter of the core.
        program_counter: u32,
    },
    /// `SHUTDOWN,<result>`: the library was shut down; 0 is success.
    Shutdown {
        /// Result.
        result: i32,
    },
    /// `INIT,<result>`: the library was started again; 0 is success.
    Init {
        /// Result.
        result: i32,
    },
}

impl FaultEvent {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or another event.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "#XMODEM")?;
        match fields.text(0, "event")? {
            "FAULT" => Ok(Self::Fault {
                reason: prefixed_hex(fields.text(1, "reason")?, "reason")?,
                program_counter: prefixed_hex(fields.text(2, "pc")?, "pc")?,
            }),
            "SHUTDOWN" => Ok(Self::Shutdown { result: fields.number(1, "result")? }),
            "INIT" => Ok(Self::Init { result: fields.number(1, "result")? }),
            _ => Err(DecodeError::Malformed { line: "#XMODEM", field: "event" }),
        }
    }
}

fn prefixed_hex(text: &str, field: &'static str) -> Result<u32, DecodeError> {
    text.strip_prefix("0x")
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or(DecodeError::Malformed { line: "#XMODEM", field })
}

fn body<'a>(line: &'a str, name: &'static str) -> Result<&'a str, DecodeError> {
    line.strip_prefix(name)
        .and_then(|rest| rest.strip_prefix(':'))
        .map(str::trim)
        .ok_or(DecodeError::Name { expected: name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modem_events() {
        for (text, event) in [
            ("ME OVERHEATED", ModemEvent::Overheated),
            ("ME BATTERY LOW", ModemEvent::BatteryLow),
            ("SEARCH STATUS 1", ModemEvent::LightSearchDone),
            ("SEARCH STATUS 2", ModemEvent::SearchDone),
            ("RESET LOOP", ModemEvent::ResetLoop),
            ("NO IMEI", ModemEvent::NoImei),
            ("RF CALIBRATION NOT DONE", ModemEvent::RfCalibrationNotDone),
            ("PRACH CE-LEVEL 2", ModemEvent::CoverageEnhancement(2)),
            (
                "INVALID BAND CONFIGURATION 1 2",
                ModemEvent::InvalidBandConfiguration(InvalidBands {
                    lte_m: Value::Known(BandStatus::NoneLeft),
                    nb_iot: Value::Known(BandStatus::NotInUse),
                    satellite: Value::Absent,
                }),
            ),
            (
                "INVALID BAND CONFIGURATION 0 1 3",
                ModemEvent::InvalidBandConfiguration(InvalidBands {
                    lte_m: Value::Known(BandStatus::Usable),
                    nb_iot: Value::Known(BandStatus::NoneLeft),
                    satellite: Value::Text("3".to_owned()),
                }),
            ),
            ("DETECTED COUNTRY 262", ModemEvent::DetectedCountry(262)),
            ("DETECTED COUNTRY x", ModemEvent::Other("DETECTED COUNTRY x".to_owned())),
            ("SOMETHING NEW", ModemEvent::Other("SOMETHING NEW".to_owned())),
        ] {
            assert_eq!(ModemEvent::parse(&format!("%MDMEV: {text}")).unwrap(), event);
        }
    }

    #[test]
    fn packet_domain_events() {
        for (text, event) in [
            (
                "ME PDN ACT 0,0",
                PdnEvent::Activated { cid: 0, reason: Value::Known(0), tail: Tail::default() },
            ),
            ("ME PDN ACT 1", PdnEvent::Activated { cid: 1, reason: Value::Absent, tail: Tail::default() }),
            ("ME PDN DEACT 0", PdnEvent::Deactivated { cid: 0, tail: Tail::default() }),
            ("NW DETACH", PdnEvent::NetworkDetach),
            ("ME DETACH", PdnEvent::Detach),
            ("ME OVERHEATED", PdnEvent::Overheated),
            ("ME BATTERY LOW", PdnEvent::BatteryLow),
            ("IPV6 FAIL 0", PdnEvent::Ipv6Fail { cid: 0 }),
            ("ME PDN ACT x", PdnEvent::Other("ME PDN ACT x".to_owned())),
        ] {
            assert_eq!(PdnEvent::parse(&format!("+CGEV: {text}")).unwrap(), event);
        }
    }

    #[test]
    fn a_refusal_says_what_it_is_about() {
        let cause = NetworkCause::parse("+CNEC_ESM: 50,0").unwrap();
        assert_eq!((cause.about_connection, cause.cause, &cause.cid), (true, 50, &Value::Known(0)));
        assert_eq!(cause.meaning(), Some("IPv4 only: harmless where IPv4 works"));
        let cause = NetworkCause::parse("+CNEC_EMM: 11,\"x\"").unwrap();
        assert_eq!((cause.meaning(), cause.tail.as_str()), (Some("network not allowed"), "\"x\""));
        assert_eq!(NetworkCause::parse("+CNEC_ESM: 200").unwrap().meaning(), None);
        assert!(NetworkCause::parse("+CNEC_ESM: ").is_err());
    }

    #[test]
    fn signalling_connection_reports_and_answers() {
        let (up, down) =
            (Signalling::parse_urc("+CSCON: 1").unwrap(), Signalling::parse_urc("+CSCON: 0").unwrap());
        assert_eq!((up.rrc, down.rrc), (Rrc::Connected, Rrc::Idle));
        let read = Signalling::parse_read("+CSCON: 1, 0, 7").unwrap();
        assert_eq!((read.rrc, read.tail.as_str()), (Rrc::Idle, "7"));
        assert!(Signalling::parse_urc("+CSCON: 3").is_err());
        let named = PdnEvent::parse("+CGEV: ME PDN ACT 1,3,0").unwrap();
        assert!(matches!(named, PdnEvent::Activated { cid: 1, tail, .. } if tail.as_str() == "0"));
    }

    #[test]
    fn a_crash_of_the_core_is_told_in_three_lines() {
        assert_eq!(
            FaultEvent::parse("#XMODEM: FAULT,0x1,0x26D5C").unwrap(),
            FaultEvent::Fault { reason: 1, program_counter: 0x2_6d5c }
        );
        assert_eq!(FaultEvent::parse("#XMODEM: SHUTDOWN,0").unwrap(), FaultEvent::Shutdown { result: 0 });
        assert_eq!(FaultEvent::parse("#XMODEM: INIT,-1").unwrap(), FaultEvent::Init { result: -1 });
        assert!(FaultEvent::parse("#XMODEM: FAULT,0x,0xZZ").is_err());
        assert!(FaultEvent::parse("#XMODEMRESET: 0").is_err());
    }
}
