//! Signal: indices of the modem to dBm and dB, and a grade a person understands.
//!
//! `+CESQ` gives RSRQ before RSRP, `%CESQ` the other way round.

use std::fmt;

use crate::fields::{DecodeError, Field, Fields, Tail, Value};

/// Reference signal received power in dBm: the upper edge of the modem's 1 dB bin, -140 to -43; in measurements of cells down to
/// -156.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rsrp {
    /// dBm.
    pub dbm: i16,
}

/// Reference signal received quality in half decibels: the upper edge of the modem's 0.5 dB bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rsrq {
    /// Half decibels, -39 to -5; in measurements of cells -68 to 6.
    pub half_db: i16,
}

/// Signal to noise ratio in dB, -24 to 25.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snr {
    /// dB.
    pub db: i16,
}

impl Rsrp {
    pub(crate) fn field(field: Option<Field<'_>>) -> Value<Self> {
        indexed(field, 97, &[255], |index| Self { dbm: index - 140 })
    }

    /// As measurements of cells have it: below 0, where no index is used, the range goes on down to -17.
    pub(crate) fn extended(field: Option<Field<'_>>) -> Value<Self> {
        beyond(Self::field(field), |index| (-17..0).contains(&index).then(|| Self { dbm: index - 139 }))
    }
}

impl Rsrq {
    /// Decibels.
    #[must_use]
    pub fn db(self) -> f32 {
        f32::from(self.half_db) / 2.0
    }

    pub(crate) fn field(field: Option<Field<'_>>) -> Value<Self> {
        indexed(field, 34, &[255], |index| Self { half_db: index - 39 })
    }

    /// As measurements of cells have it: the range goes on down to -30 and up to 46.
    pub(crate) fn extended(field: Option<Field<'_>>) -> Value<Self> {
        beyond(Self::field(field), |index| match index {
            -30..0 => Some(Self { half_db: index - 38 }),
            35..=46 => Some(Self { half_db: index - 40 }),
            _ => None,
        })
    }
}

impl Snr {
    /// The vendor's pages disagree on the index that means unknown (127 or 255), so every index beyond the range does.
    pub(crate) fn field(field: Option<Field<'_>>) -> Value<Self> {
        match indexed(field, 49, &[], |index| Self { db: index - 24 }) {
            Value::Text(text) if text.parse::<u16>().is_ok() => Value::Absent,
            value => value,
        }
    }
}

impl fmt::Display for Rsrp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dBm", self.dbm)
    }
}

impl fmt::Display for Rsrq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} dB", self.db())
    }
}

impl fmt::Display for Snr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dB", self.db)
    }
}

/// RSRP and RSRQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Power.
    pub rsrp: Value<Rsrp>,
    /// Quality.
    pub rsrq: Value<Rsrq>,
}

impl Signal {
    /// Decodes `+CESQ: <rxlev>,<ber>,<rscp>,<ecno>,<rsrq>,<rsrp>`, the answer of `AT+CESQ`.
    ///
    /// # Errors
    /// Another line, or fewer than six fields.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "+CESQ")?;
        fields.text(5, "rsrp")?;
        Ok(Self { rsrp: Rsrp::field(fields.get(5)), rsrq: Rsrq::field(fields.get(4)) })
    }
}

/// An unsolicited `%CESQ: <rsrp>,<rsrp_threshold_index>,<rsrq>,<rsrq_threshold_index>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CesqReport {
    /// Power and quality.
    pub signal: Signal,
    /// Which of the five RSRP ranges the modem counts it to; for information.
    pub rsrp_threshold_index: Value<u8>,
    /// Which of the five RSRQ ranges the modem counts it to; for information.
    pub rsrq_threshold_index: Value<u8>,
    /// Fields beyond these.
    pub tail: Tail,
}

impl CesqReport {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or fewer than three fields.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "%CESQ")?;
        fields.text(2, "rsrq")?;
        let threshold = |index| match fields.value(index) {
            Value::Known(255) => Value::Absent,
            value => value,
        };
        Ok(Self {
            signal: Signal { rsrp: Rsrp::field(fields.get(0)), rsrq: Rsrq::field(fields.get(2)) },
            rsrp_threshold_index: threshold(1),
            rsrq_threshold_index: threshold(3),
            tail: fields.tail(4),
        })
    }
}

/// How good the signal is, in five words. The bounds are common practice for LTE-M and NB-IoT, not the vendor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// RSRP below -125 dBm or SNR below -5 dB.
    VeryPoor,
    /// Down to -125 dBm and -5 dB.
    Poor,
    /// Down to -115 dBm and 0 dB.
    Fair,
    /// Down to -105 dBm and 5 dB.
    Good,
    /// From -90 dBm and 12 dB up.
    Excellent,
}

impl Grade {
    /// The worse of what power and signal to noise ratio deserve; of one alone where only one is known; `None`
    /// (unknown, which is not poor) where neither is.
    #[must_use]
    pub fn of(rsrp: Option<Rsrp>, snr: Option<Snr>) -> Option<Self> {
        let power = rsrp.map(|rsrp| Self::from_bounds(rsrp.dbm, [-90, -105, -115, -125]));
        let noise = snr.map(|snr| Self::from_bounds(snr.db, [12, 5, 0, -5]));
        match (power, noise) {
            (Some(power), Some(noise)) => Some(power.min(noise)),
            (one, other) => one.or(other),
        }
    }

    /// What the quality (RSRQ) alone deserves; to be shown beside the grade, which does not count it.
    #[must_use]
    pub fn of_quality(rsrq: Rsrq) -> Self {
        Self::from_bounds(rsrq.half_db, [-18, -24, -30, -38])
    }

    fn from_bounds(value: i16, [excellent, good, fair, poor]: [i16; 4]) -> Self {
        match value {
            _ if value >= excellent => Self::Excellent,
            _ if value >= good => Self::Good,
            _ if value >= fair => Self::Fair,
            _ if value >= poor => Self::Poor,
            _ => Self::VeryPoor,
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Excellent => "excellent",
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Poor => "poor",
            Self::VeryPoor => "very poor",
        })
    }
}

fn indexed<T>(
    field: Option<Field<'_>>,
    last: i16,
    unknown: &[i16],
    convert: impl FnOnce(i16) -> T,
) -> Value<T> {
    let index = field.and_then(|field| field.text.parse::<i16>().ok());
    if index.is_some_and(|index| unknown.contains(&index)) {
        return Value::Absent;
    }
    Value::read(field, |_| index.filter(|index| (0..=last).contains(index)).map(convert))
}

/// An index outside the plain range, where the extended one knows it.
fn beyond<T>(value: Value<T>, convert: impl FnOnce(i16) -> Option<T>) -> Value<T> {
    match value {
        Value::Text(text) => match text.parse().ok().and_then(convert) {
            Some(known) => Value::Known(known),
            None => Value::Text(text),
        },
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Value::{Absent, Known, Text};

    #[test]
    fn measurements_of_cells_reach_further_than_the_plain_ranges() {
        let field = |text| Some(Field { text, quoted: false });
        let power = |text| Rsrp::extended(field(text));
        assert_eq!((power("1"), power("97")), (Known(Rsrp { dbm: -139 }), Known(Rsrp { dbm: -43 })));
        assert_eq!((power("-1"), power("-17")), (Known(Rsrp { dbm: -140 }), Known(Rsrp { dbm: -156 })));
        assert_eq!((power("255"), power("-18")), (Absent, Text("-18".to_owned())));
        let quality = |text| Rsrq::extended(field(text)).known().map(|it| it.db());
        assert_eq!((quality("-1"), quality("-29")), (Some(-19.5), Some(-33.5)));
        assert_eq!((quality("35"), quality("46")), (Some(-2.5), Some(3.0)));
        assert_eq!((quality("47"), quality("-31")), (None, None));
    }

    #[test]
    fn cesq_read_is_quality_then_power() {
        let signal = Signal::parse("+CESQ: 99,99,255,255,31,62").unwrap();
        assert_eq!(signal.rsrp, Known(Rsrp { dbm: -78 }));
        assert_eq!(signal.rsrq.known().unwrap().db(), -4.0);
        let signal = Signal::parse("+CESQ: 99,99,255,255,11,54").unwrap();
        assert_eq!((signal.rsrp, signal.rsrq), (Known(Rsrp { dbm: -86 }), Known(Rsrq { half_db: -28 })));
        let signal = Signal::parse("+CESQ: 99,99,255,255,255,255").unwrap();
        assert_eq!((signal.rsrp, signal.rsrq), (Absent, Absent));
        assert!(Signal::parse("+CESQ: 99,99").is_err());
    }

    #[test]
    fn cesq_report_is_power_then_quality() {
        let report = CesqReport::parse("%CESQ: 64,3,17,2").unwrap();
        assert_eq!(report.signal.rsrp, Known(Rsrp { dbm: -76 }));
        assert_eq!(report.signal.rsrq.known().unwrap().db(), -11.0);
        assert_eq!((report.rsrp_threshold_index, report.rsrq_threshold_index), (Known(3), Known(2)));
        let report = CesqReport::parse("%CESQ: 255,255,255,255").unwrap();
        assert_eq!(report.signal, Signal { rsrp: Absent, rsrq: Absent });
        assert_eq!(report.rsrp_threshold_index, Absent);
        for line in ["%CESQ: 52,2,4,0", "%CESQ: 56,2,17,2"] {
            assert!(CesqReport::parse(line).unwrap().signal.rsrp.known().is_some());
        }
    }

    #[test]
    fn indices_outside_the_range_are_kept_as_text() {
        let report = CesqReport::parse("%CESQ: 98,4,-3,0").unwrap();
        assert_eq!(report.signal.rsrp, Text("98".to_owned()));
        assert_eq!(report.signal.rsrq, Text("-3".to_owned()));
    }

    #[test]
    fn both_marks_of_an_unknown_ratio_are_unknown() {
        let snr = |text| Snr::field(Some(Field { text, quoted: false }));
        assert_eq!(snr("22"), Known(Snr { db: -2 }));
        assert_eq!((snr("127"), snr("255"), snr("50")), (Absent, Absent, Absent));
        assert_eq!(snr("x"), Text("x".to_owned()));
    }

    #[test]
    fn the_grade_follows_the_worse_of_the_two() {
        let grade = |dbm, db| Grade::of(Some(Rsrp { dbm }), Some(Snr { db }));
        assert_eq!(grade(-90, 12), Some(Grade::Excellent));
        assert_eq!(grade(-91, 12), Some(Grade::Good));
        assert_eq!(grade(-105, 5), Some(Grade::Good));
        assert_eq!(grade(-106, 20), Some(Grade::Fair));
        assert_eq!(grade(-80, -1), Some(Grade::Poor));
        assert_eq!(grade(-125, 20), Some(Grade::Poor));
        assert_eq!(grade(-126, 20), Some(Grade::VeryPoor));
        assert_eq!(grade(-60, -6), Some(Grade::VeryPoor));
    }

    #[test]
    fn the_quality_has_a_grade_of_its_own() {
        let grade = |half_db| Grade::of_quality(Rsrq { half_db });
        assert_eq!((grade(-18), grade(-19)), (Grade::Excellent, Grade::Good));
        assert_eq!((grade(-24), grade(-25)), (Grade::Good, Grade::Fair));
        assert_eq!((grade(-30), grade(-31)), (Grade::Fair, Grade::Poor));
        assert_eq!((grade(-38), grade(-39)), (Grade::Poor, Grade::VeryPoor));
    }

    #[test]
    fn unknown_is_not_poor() {
        assert_eq!(Grade::of(None, None), None);
        assert_eq!(Grade::of(Some(Rsrp { dbm: -80 }), None), Some(Grade::Excellent));
        assert_eq!(Grade::of(None, Some(Snr { db: 1 })), Some(Grade::Fair));
    }
}
