//! Satellite navigation as the serial application reports it: what it does, and where it is.

use std::fmt;

use crate::application::ApplicationReport;
use crate::fields::{DecodeError, Fields};
use crate::time::UtcTime;

/// Two fields are a status; seven are a position, of the generations before `#XGNSSPOS`.
pub(crate) fn navigation(fields: &Fields<'_>) -> Result<ApplicationReport, DecodeError> {
    if fields.len() == FIX_FIELDS {
        return Ok(ApplicationReport::Fix(Box::new(Fix::read(fields)?)));
    }
    let status = match fields.number(1, "status")? {
        0 => NavigationStatus::Stopped,
        1 => NavigationStatus::Started,
        2 => NavigationStatus::Woken,
        3 => NavigationStatus::SleepsWithoutFix,
        4 => NavigationStatus::SleepsAfterFix,
        other => NavigationStatus::Other(other),
    };
    Ok(ApplicationReport::Navigation { service: fields.number(0, "service")?, status })
}

/// What satellite navigation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NavigationStatus {
    /// 0.
    Stopped,
    /// 1.
    Started,
    /// 2: woke for the next period.
    Woken,
    /// 3: sleeps; the time ran out before there was a position.
    SleepsWithoutFix,
    /// 4: sleeps after a position.
    SleepsAfterFix,
    /// Any other number.
    Other(u8),
}

/// A position, by satellites: `<latitude>,<longitude>,<altitude>,<accuracy>,<speed>,<heading>,"<time>"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Degrees, north positive.
    pub latitude: Millionths,
    /// Degrees, east positive.
    pub longitude: Millionths,
    /// Metres above the ellipsoid of WGS 84.
    pub altitude: Millionths,
    /// Metres, one standard deviation.
    pub accuracy: Millionths,
    /// Metres a second.
    pub speed: Millionths,
    /// Degrees from north, clockwise.
    pub heading: Millionths,
    /// Universal time.
    pub time: UtcTime,
}

const FIX_FIELDS: usize = 7;

impl Fix {
    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, DecodeError> {
        let wrong = |field| DecodeError::Malformed { line: "#XGNSSPOS", field };
        let number = |index, field| Millionths::decode(fields.text(index, field)?).ok_or(wrong(field));
        let fix = Self {
            latitude: number(0, "latitude")?,
            longitude: number(1, "longitude")?,
            altitude: number(2, "altitude")?,
            accuracy: number(3, "accuracy")?,
            speed: number(4, "speed")?,
            heading: number(5, "heading")?,
            time: date_and_time(fields.text(6, "datetime")?).ok_or(wrong("datetime"))?,
        };
        let within = |value: Millionths, degrees: u64| value.0.unsigned_abs() <= degrees * 1_000_000;
        if !within(fix.latitude, 90) {
            return Err(wrong("latitude"));
        }
        if !within(fix.longitude, 180) {
            return Err(wrong("longitude"));
        }
        Ok(fix)
    }
}

/// `YYYY-MM-DD HH:MM:SS`.
fn date_and_time(text: &str) -> Option<UtcTime> {
    let (date, time) = text.split_once(' ')?;
    let mut date = date.splitn(3, '-');
    let mut time = time.splitn(3, ':');
    let year = date.next().filter(|year| year.len() == 4)?.parse().ok()?;
    let two = |text: Option<&str>| text.filter(|text| text.len() == 2)?.parse().ok();
    let time = UtcTime {
        year,
        month: two(date.next())?,
        day: two(date.next())?,
        hour: two(time.next())?,
        minute: two(time.next())?,
        second: two(time.next())?,
    };
    time.is_valid().then_some(time)
}

/// A decimal number in millionths of its unit: as exact as the application writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millionths(pub i64);

impl Millionths {
    /// Decodes an optional sign, at most ten digits, and a point with at most six digits.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let number = |text: &str, most: usize| {
            let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| text.parse::<i64>().ok()).flatten()
        };
        let scale = 10i64.pow(u32::try_from(6usize.checked_sub(part.len())?).ok()?);
        let value = number(whole, 10)? * 1_000_000 + number(part, 6)? * scale;
        Some(Self(if negative { -value } else { value }))
    }

    /// In the unit itself.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "a position in millionths of a degree has fewer bits than a mantissa"
    )]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}{}.{:06}", value / 1_000_000, value % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_told_from_a_status_by_its_fields() {
        let line =
            "#XGNSSPOS: 35.457576,139.625090,121.473785,22.199919,0.442868,0.000000,\"2021-06-02 06:25:48\"";
        let ApplicationReport::Fix(fix) = ApplicationReport::parse(line) else { panic!("no position") };
        assert_eq!((fix.latitude, fix.longitude), (Millionths(35_457_576), Millionths(139_625_090)));
        assert_eq!(
            (fix.altitude.to_string(), fix.accuracy.to_string()),
            ("121.473785".into(), "22.199919".into())
        );
        assert_eq!((fix.speed, fix.heading), (Millionths(442_868), Millionths(0)));
        assert_eq!(fix.time.to_string(), "2021-06-02T06:25:48Z");
        assert!((fix.latitude.as_f64() - 35.457576).abs() < 1e-9);
        for older in ["#XGNSS", "#XGPS"] {
            let report = ApplicationReport::parse(&line.replace("#XGNSSPOS", older));
            assert_eq!(report, ApplicationReport::Fix(fix.clone()), "{older}");
        }
        assert_eq!(
            ApplicationReport::parse("#XGNSS: 1,4"),
            ApplicationReport::Navigation { service: 1, status: NavigationStatus::SleepsAfterFix }
        );
        assert_eq!(
            ApplicationReport::parse("#XGPS: 1,9"),
            ApplicationReport::Navigation { service: 1, status: NavigationStatus::Other(9) }
        );
    }

    #[test]
    fn an_impossible_position_is_kept_as_it_came() {
        for line in [
            "#XGNSSPOS: 95.0,139.6,1,2,3,4,\"2021-06-02 06:25:48\"",
            "#XGNSSPOS: 35.0,181.0,1,2,3,4,\"2021-06-02 06:25:48\"",
            "#XGNSSPOS: 35.0,139.6,1,2,3,4,\"2021-13-02 06:25:48\"",
            "#XGNSSPOS: 35.0,139.6,1,2,3,4,\"21-6-2 6:25:48\"",
            "#XGNSSPOS: x,139.6,1,2,3,4,\"2021-06-02 06:25:48\"",
        ] {
            assert_eq!(ApplicationReport::parse(line), ApplicationReport::Other(line.to_owned()), "{line}");
        }
    }

    #[test]
    fn decimals_are_exact() {
        for (text, millionths) in [("0", 0), ("-0.000001", -1), ("12.5", 12_500_000), ("-90", -90_000_000)] {
            assert_eq!(Millionths::decode(text), Some(Millionths(millionths)), "{text}");
        }
        assert_eq!(Millionths(-1).to_string(), "-0.000001");
        for text in ["", "-", ".5", "5.", "1.2345678", "1e3", "+1", "--1", "1.-5", "12345678901"] {
            assert_eq!(Millionths::decode(text), None, "{text}");
        }
    }
}
