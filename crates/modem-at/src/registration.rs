//! Network registration (`+CEREG`).

use crate::fields::{DecodeError, Fields, Tail, Value, hex};
use crate::network::AccessTechnology;
use crate::timer::{PsmTimer, TimerKind};

/// The `<stat>` of `+CEREG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationStatus {
    /// 0: not registered and not looking.
    Idle,
    /// 1: registered at home.
    Home,
    /// 2: not registered, searching.
    Searching,
    /// 3: denied.
    Denied,
    /// 4: unknown, for instance out of coverage.
    NoCoverage,
    /// 5: registered, roaming.
    Roaming,
    /// 90: the UICC failed or is not there.
    UiccFailure,
    /// Any other number.
    Other(u16),
}

impl RegistrationStatus {
    /// The number's meaning.
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        match number {
            0 => Self::Idle,
            1 => Self::Home,
            2 => Self::Searching,
            3 => Self::Denied,
            4 => Self::NoCoverage,
            5 => Self::Roaming,
            90 => Self::UiccFailure,
            other => Self::Other(other),
        }
    }

    /// Registered, at home or roaming.
    #[must_use]
    pub fn is_registered(self) -> bool {
        matches!(self, Self::Home | Self::Roaming)
    }
}

/// A cell of E-UTRAN, 28 bits in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellId(pub u32);

impl CellId {
    pub(crate) fn decode(text: &str) -> Option<Self> {
        hex(text, 8).map(Self)
    }

    /// The base station.
    #[must_use]
    pub fn enb(self) -> u32 {
        self.0 >> 8
    }

    /// The sector of the base station.
    #[must_use]
    pub fn sector(self) -> u8 {
        self.0.to_be_bytes()[3]
    }
}

/// Why the network refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectCause {
    /// 0: the cause is an EMM cause of 3GPP TS 24.301. Other kinds are not interpreted.
    pub kind: u8,
    /// The cause.
    pub cause: u8,
}

/// What an EMM cause asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectAdvice {
    /// The device or its subscription is refused: only a person changes that.
    Subscription,
    /// This network or area refuses: another may not.
    OtherNetwork,
    /// The network is congested: later.
    Later,
    /// Not classified.
    Unknown,
}

impl RejectCause {
    /// What the cause asks for.
    #[must_use]
    pub fn advice(self) -> RejectAdvice {
        match (self.kind, self.cause) {
            (0, 3 | 6 | 7 | 8) => RejectAdvice::Subscription,
            (0, 11..=15) => RejectAdvice::OtherNetwork,
            (0, 22) => RejectAdvice::Later,
            _ => RejectAdvice::Unknown,
        }
    }

    /// The cause in words (3GPP TS 24.301 annex A), where it is known.
    #[must_use]
    pub fn meaning(self) -> Option<&'static str> {
        if self.kind != 0 {
            return None;
        }
        Some(match self.cause {
            2 => "subscriber not known to the network",
            3 => "illegal device",
            5 => "IMEI not accepted",
            6 => "illegal equipment",
            7 => "EPS services not allowed",
            8 => "no services allowed",
            9 => "the network lost track of the device",
            10 => "detached by the network",
            11 => "network not allowed",
            12 => "tracking area not allowed",
            13 => "roaming not allowed in this tracking area",
            14 => "EPS services not allowed in this network",
            15 => "no suitable cells in this tracking area",
            17 => "network failure",
            19 => "session management failure",
            22 => "congestion",
            25 => "not allowed in this closed group of subscribers",
            35 => "service not authorised in this network",
            40 => "no data connection was set up",
            42 => "severe network failure",
            _ => return None,
        })
    }
}

/// What `+CEREG` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The subscription level `<n>`; only the answer of `AT+CEREG?` has it.
    pub subscription: Option<u8>,
    /// The status as reported. See [`Registration::is_registered`].
    pub status: RegistrationStatus,
    /// Tracking area code.
    pub tracking_area: Value<u16>,
    /// The cell; `FFFFFFFF` (not valid) is absent.
    pub cell: Value<CellId>,
    /// Access technology.
    pub access_technology: Value<AccessTechnology>,
    /// Why the network refused, when it did; half a cause is kept as text.
    pub reject: Value<RejectCause>,
    /// Active-Time granted.
    pub active_time: Value<PsmTimer>,
    /// Periodic-TAU-ext granted.
    pub periodic_tau: Value<PsmTimer>,
    /// The cell was given as not valid.
    pub cell_not_valid: bool,
    /// Fields beyond these.
    pub tail: Tail,
}

impl Registration {
    /// Decodes an unsolicited `+CEREG: <stat>[,...]`. A line of the read form, which a late answer may be, is recognised
    /// by its second field being a bare number.
    ///
    /// # Errors
    /// Another line, or no status.
    pub fn parse_urc(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "+CEREG")?;
        match fields.get(1) {
            Some(second) if !second.quoted && second.text.parse::<u16>().is_ok() => Self::read_form(&fields),
            _ => Self::tail(&fields, 0, None),
        }
    }

    /// Decodes the answer of `AT+CEREG?`, `+CEREG: <n>,<stat>[,...]`.
    ///
    /// # Errors
    /// Another line, or no level or status.
    pub fn parse_read(line: &str) -> Result<Self, DecodeError> {
        Self::read_form(&Fields::of(line, "+CEREG")?)
    }

    /// Registered, on a cell that is not marked as invalid.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.status.is_registered() && !self.cell_not_valid
    }

    fn read_form(fields: &Fields<'_>) -> Result<Self, DecodeError> {
        Self::tail(fields, 1, Some(fields.number(0, "n")?))
    }

    fn tail(fields: &Fields<'_>, at: usize, subscription: Option<u8>) -> Result<Self, DecodeError> {
        let status = RegistrationStatus::from_number(fields.number(at, "stat")?);
        let cell_not_valid =
            fields.get(at + 2).is_some_and(|field| field.text.eq_ignore_ascii_case("FFFFFFFF"));
        let cell =
            if cell_not_valid { Value::Absent } else { Value::read(fields.get(at + 2), CellId::decode) };
        let reject = match (fields.value::<u8>(at + 4), fields.value::<u8>(at + 5)) {
            (Value::Known(kind), Value::Known(cause)) => Value::Known(RejectCause { kind, cause }),
            (Value::Absent, Value::Absent) => Value::Absent,
            _ => Value::Text([at + 4, at + 5].map(|index| fields.raw(index)).join(",")),
        };
        Ok(Self {
            subscription,
            status,
            tracking_area: Value::read(fields.get(at + 1), tracking_area),
            cell,
            access_technology: Value::read(fields.get(at + 3), AccessTechnology::decode),
            reject,
            active_time: PsmTimer::field(fields.get(at + 6), TimerKind::ActiveTime),
            periodic_tau: PsmTimer::field(fields.get(at + 7), TimerKind::PeriodicTauExt),
            cell_not_valid,
            tail: fields.tail(at + 8),
        })
    }
}

pub(crate) fn tracking_area(text: &str) -> Option<u16> {
    hex(text, 4).and_then(|code| u16::try_from(code).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Value::{Absent, Known, Text};

    #[test]
    fn every_listed_report_shape() {
        let plain = |line| Registration::parse_urc(line).unwrap();
        assert_eq!(plain("+CEREG: 90").status, RegistrationStatus::UiccFailure);
        assert_eq!(plain("+CEREG: 4").status, RegistrationStatus::NoCoverage);

        let failed = plain("+CEREG: 90,,\"FFFFFFFF\",,,,,");
        assert_eq!((failed.status, &failed.cell), (RegistrationStatus::UiccFailure, &Absent));
        assert!(failed.cell_not_valid);

        let searching = plain("+CEREG: 2,\"0901\",\"02024720\",7");
        assert_eq!(searching.status, RegistrationStatus::Searching);
        assert_eq!(searching.tracking_area, Known(0x0901));
        assert_eq!(searching.cell, Known(CellId(0x0202_4720)));
        assert_eq!(searching.access_technology, Known(AccessTechnology::LteM));

        let refused = plain("+CEREG: 2,\"ABBA\",\"DEADBEEF\",7,0,13");
        let cause = RejectCause { kind: 0, cause: 13 };
        assert_eq!(refused.reject, Known(cause));
        assert_eq!(cause.advice(), RejectAdvice::OtherNetwork);
        assert_eq!(cause.meaning(), Some("roaming not allowed in this tracking area"));

        let roaming = plain("+CEREG: 5,\"0901\",\"02024720\",7,,,\"11100000\",\"11100000\"");
        assert!(roaming.is_registered());
        assert_eq!(roaming.reject, Absent);
        assert_eq!(roaming.active_time, Known(PsmTimer::Deactivated));
        assert_eq!(roaming.periodic_tau, Known(PsmTimer::Deactivated));
    }

    #[test]
    fn every_listed_read_shape() {
        let read = Registration::parse_read("+CEREG: 5,4").unwrap();
        assert_eq!((read.subscription, read.status), (Some(5), RegistrationStatus::NoCoverage));
        let read = Registration::parse_read("+CEREG: 5,2,\"0901\",\"02024720\",7").unwrap();
        assert_eq!((read.status, read.tracking_area), (RegistrationStatus::Searching, Known(0x0901)));
        let read = Registration::parse_read("+CEREG: 1,1,").unwrap();
        assert_eq!((read.subscription, read.status), (Some(1), RegistrationStatus::Home));
    }

    #[test]
    fn a_read_form_is_not_mistaken_for_a_report() {
        assert_eq!(Registration::parse_urc("+CEREG: 5,4").unwrap().status, RegistrationStatus::NoCoverage);
    }

    #[test]
    fn registered_on_an_invalid_cell_is_not_registered() {
        let odd = Registration::parse_urc("+CEREG: 1,\"0901\",\"FFFFFFFF\",7").unwrap();
        assert_eq!(odd.status, RegistrationStatus::Home);
        assert!(!odd.is_registered());
    }

    #[test]
    fn what_is_not_known_is_kept_and_not_guessed() {
        let odd = Registration::parse_urc("+CEREG: 8,\"XYZ\",\"12\",14,,,\"abc\"").unwrap();
        assert_eq!(odd.status, RegistrationStatus::Other(8));
        assert_eq!(odd.tracking_area, Text("XYZ".to_owned()));
        assert_eq!(odd.cell, Text("12".to_owned()));
        assert_eq!(odd.access_technology, Text("14".to_owned()));
        assert_eq!(odd.active_time, Text("abc".to_owned()));
        assert!(!odd.is_registered());
        assert!(Registration::parse_urc("+CEREG: ").is_err());
        let odd = Registration::parse_urc("+CEREG: 3,,,,0,300,,,5,\"new\"").unwrap();
        assert_eq!(odd.reject, Text("0,300".to_owned()));
        assert_eq!(odd.tail.as_str(), "5,\"new\"");
    }

    #[test]
    fn a_cell_names_its_base_station_and_sector() {
        assert_eq!((CellId(0x0202_4720).enb(), CellId(0x0202_4720).sector()), (0x02_0247, 0x20));
    }
}
