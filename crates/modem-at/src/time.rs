//! Time as the modem has it: what the network sent (`%XTIME`: semi-octets of 3GPP TS 24.008 section 10.5.3.9, digits swapped),
//! and the modem's own clock (`+CCLK`, 3GPP TS 27.007 section 8.15).

use core::time::Duration;
use std::fmt;

use crate::fields::{DecodeError, Fields, Value};

/// A civil time, UTC, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtcTime {
    /// Year, 1970 to 2099.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
}

impl UtcTime {
    /// Time since 1970-01-01 00:00:00 UTC.
    #[must_use]
    pub fn since_1970(self) -> Duration {
        let days = days_from_civil(self.year, self.month, self.day);
        let seconds = u64::from(self.hour) * 3600 + u64::from(self.minute) * 60 + u64::from(self.second);
        Duration::from_secs(days * 86_400 + seconds)
    }

    pub(crate) fn is_valid(self) -> bool {
        (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// An unsolicited `%XTIME: [<tz>],[<ut>],[<dst>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkTime {
    /// Universal time.
    pub utc: Value<UtcTime>,
    /// Local time minus universal time, in quarter hours, daylight saving included.
    pub offset_quarter_hours: Value<i8>,
    /// Daylight saving in hours, already contained in the offset.
    pub daylight_saving_hours: Value<u8>,
}

impl NetworkTime {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "%XTIME")?;
        Ok(Self {
            utc: Value::read(fields.get(1), universal_time),
            offset_quarter_hours: Value::read(fields.get(0), offset),
            daylight_saving_hours: Value::read(fields.get(2), daylight_saving),
        })
    }
}

/// The modem's clock, as `+CCLK: "yy/MM/dd,hh:mm:ss±zz"` tells it.
///
/// The standard means local time. Nordic's own library takes the same digits of the same modem as universal time. Which of the two
/// a modem means cannot be seen in the answer, so both are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The digits, as if they were universal time. Two digits of a year from 70 on are of the last century: before it knows
    /// better, a modem says 1970, 1980 or 2000.
    pub digits: UtcTime,
    /// Local time minus universal time, in quarter hours; `None` where the modem knows of no zones.
    pub offset_quarter_hours: Option<i8>,
}

impl ClockReading {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or a time that is none.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        Self::named(line, "+CCLK").map(|(reading, _)| reading)
    }

    /// Decodes `%CCLK: "<time>"[,<dst>]`, the vendor's own form: the same, and the hours of daylight saving, which the zone
    /// already contains.
    ///
    /// # Errors
    /// Another line, or a time that is none.
    pub fn parse_with_daylight_saving(line: &str) -> Result<(Self, Value<u8>), DecodeError> {
        Self::named(line, "%CCLK")
    }

    fn named(line: &str, name: &'static str) -> Result<(Self, Value<u8>), DecodeError> {
        let fields = Fields::of(line, name)?;
        let field = fields.get(0).ok_or(DecodeError::Missing { line: name, field: "time" })?;
        let reading =
            clock_reading(field.text).ok_or(DecodeError::Malformed { line: name, field: "time" })?;
        Ok((reading, fields.value(1)))
    }

    /// The earliest and the latest instant it may mean, since 1970-01-01 00:00:00 UTC.
    #[must_use]
    pub fn may_mean(&self) -> (Duration, Duration) {
        let quarters = self.offset_quarter_hours.unwrap_or_default();
        let digits = self.digits.since_1970();
        let offset = Duration::from_secs(u64::from(quarters.unsigned_abs()) * 900);
        let shifted =
            if quarters < 0 { digits.saturating_add(offset) } else { digits.saturating_sub(offset) };
        (digits.min(shifted), digits.max(shifted))
    }
}

fn clock_reading(text: &str) -> Option<ClockReading> {
    let (date, time) = text.split_once(',')?;
    let zone_at = time.find(['+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at_checked(zone_at)?;
    let [year, month, day] = numbers(date, '/')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let century = if year < 70 { 2000 } else { 1900 };
    let digits = UtcTime { year: century + u16::from(year), month, day, hour, minute, second };
    let offset_quarter_hours = match zone {
        "" => None,
        // The range of 27.007.
        _ => Some(zone.parse().ok().filter(|quarters| (-96..=96).contains(quarters))?),
    };
    digits.is_valid().then_some(ClockReading { digits, offset_quarter_hours })
}

/// Three numbers of two digits each.
fn numbers(text: &str, separator: char) -> Option<[u8; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// The low nibble of an octet is the first digit.
fn swapped_digits(octet: u8) -> Option<u8> {
    let (tens, units) = (octet & 0x0f, octet >> 4);
    (tens < 10 && units < 10).then_some(tens * 10 + units)
}

fn octets(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Year, month, day, hour, minute, second; a seventh octet repeats the time zone.
fn universal_time(text: &str) -> Option<UtcTime> {
    let octets = octets(text)?;
    if !(6..=7).contains(&octets.len()) {
        return None;
    }
    let digits = octets.iter().take(6).map(|octet| swapped_digits(*octet)).collect::<Option<Vec<u8>>>()?;
    let [year, month, day, hour, minute, second] = *digits.as_slice() else { return None };
    let time = UtcTime { year: 2000 + u16::from(year), month, day, hour, minute, second };
    time.is_valid().then_some(time)
}

/// Bit 3 of the octet is the sign; what remains of the low nibble is the tens.
fn offset(text: &str) -> Option<i8> {
    let [octet] = *octets(text)?.as_slice() else { return None };
    let quarters = i8::try_from(swapped_digits(octet & !0x08)?).ok()?;
    Some(if octet & 0x08 == 0 { quarters } else { -quarters })
}

fn daylight_saving(text: &str) -> Option<u8> {
    match *octets(text)?.as_slice() {
        [hours @ 0..=2] => Some(hours),
        _ => None,
    }
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_from_civil(year: u16, month: u8, day: u8) -> u64 {
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|month| u64::from(days_in_month(year, month))).sum();
    years + months + u64::from(day).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Value::{Absent, Known, Text};

    #[test]
    fn the_recorded_time_agrees_with_the_trace_clock() {
        let time = NetworkTime::parse("%XTIME: \"80\",\"22016021225580\",\"01\"").unwrap();
        let utc = *time.utc.known().unwrap();
        assert_eq!(utc.to_string(), "2022-10-06T12:22:55Z");
        // The trace was stamped 1665058971 four seconds earlier.
        assert_eq!(utc.since_1970().as_secs(), 1_665_058_975);
        assert_eq!(time.offset_quarter_hours, Known(8));
        assert_eq!(time.daylight_saving_hours, Known(1));
    }

    #[test]
    fn west_of_greenwich_is_negative() {
        // -5 h = -20 quarter hours: tens 2 with the sign bit, units 0.
        assert_eq!(NetworkTime::parse("%XTIME: \"0A\",,").unwrap().offset_quarter_hours, Known(-20));
    }

    #[test]
    fn absent_parts_are_absent() {
        let time = NetworkTime::parse("%XTIME: ,\"22016021225580\",").unwrap();
        assert_eq!((time.offset_quarter_hours, time.daylight_saving_hours), (Absent, Absent));
        assert!(time.utc.known().is_some());
        assert_eq!(NetworkTime::parse("%XTIME: \"80\",,\"01\"").unwrap().utc, Absent);
    }

    #[test]
    fn an_impossible_time_is_kept_as_text() {
        for text in ["22312021225580", "2201602122", "2201602122558G", "220160212255800", "22200321225580"] {
            let time = NetworkTime::parse(&format!("%XTIME: ,\"{text}\",")).unwrap();
            assert_eq!(time.utc, Text(text.to_owned()));
        }
    }

    fn clock(text: &str) -> ClockReading {
        ClockReading::parse(&format!("+CCLK: \"{text}\"")).unwrap()
    }

    #[test]
    fn the_clock_may_mean_local_or_universal_time() {
        let noon = Duration::from_secs(1_665_058_975);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(clock("22/10/06,12:22:55+00").may_mean(), (noon, noon));
        assert_eq!(clock("22/10/06,12:22:55").may_mean(), (noon, noon));
        assert_eq!(clock("22/10/06,12:22:55+08").may_mean(), (noon - hours(2), noon));
        assert_eq!(clock("22/10/06,12:22:55-20").may_mean(), (noon, noon + hours(5)));
        // Nepal: five hours and three quarters.
        assert_eq!(clock("22/10/06,12:22:55+23").may_mean(), (noon - Duration::from_secs(23 * 900), noon));
    }

    #[test]
    fn what_modems_say_before_they_know_is_of_the_last_century_or_the_first_day_of_this_one() {
        assert_eq!(clock("80/01/06,00:00:19+00").digits.year, 1980);
        assert_eq!(clock("70/01/01,00:00:01+00").digits.year, 1970);
        assert_eq!(clock("70/01/01,00:00:01+48").may_mean().0, Duration::ZERO);
        assert_eq!(clock("00/01/01,00:04:11+00").digits.year, 2000);
        assert_eq!(clock("69/12/31,23:59:59+00").digits.year, 2069);
    }

    #[test]
    fn a_clock_that_says_no_time_is_refused() {
        for text in [
            "",
            "22/10/06",
            "22/13/06,12:22:55+08",
            "22/02/29,12:22:55+08",
            "22/10/06,24:00:00",
            "22/10/06,12:22",
            "22/10/06,12:22:55:00",
            "2022/10/06,12:22:55",
            "22/10/06,12:22:55+97",
            "22/10/06,12:22:55+",
            "22/10/6,12:22:55",
        ] {
            assert!(ClockReading::parse(&format!("+CCLK: \"{text}\"")).is_err(), "{text}");
        }
        assert!(ClockReading::parse("%CCLK: \"22/10/06,12:22:55+08\",1").is_err());
        let own = ClockReading::parse_with_daylight_saving("%CCLK: \"22/10/06,12:22:55+08\",1").unwrap();
        assert_eq!(own, (clock("22/10/06,12:22:55+08"), Known(1)));
        assert!(ClockReading::parse("+CCLK:").is_err());
    }

    #[test]
    fn leap_days_exist() {
        // 2024-02-29 00:00:00.
        let time = NetworkTime::parse("%XTIME: ,\"42209200000000\",").unwrap();
        assert_eq!(time.utc.known().unwrap().since_1970().as_secs(), 1_709_164_800);
    }
}
