//! Positions, times of day and dates, as sentences write them.

/// A position in WGS 84.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// From -90, north positive.
    pub latitude_deg: f64,
    /// From -180, east positive.
    pub longitude_deg: f64,
}

impl Position {
    /// `4807.038,N,01131.000,E`: degrees and minutes run together. `None` when a part is damaged or out of range.
    pub(super) fn read(latitude: &str, north: &str, longitude: &str, east: &str) -> Option<Self> {
        let latitude_deg = signed(degrees(latitude, 2)?, north, "N", "S")?;
        let longitude_deg = signed(degrees(longitude, 3)?, east, "E", "W")?;
        let fits = latitude_deg.abs() <= 90.0 && longitude_deg.abs() <= 180.0;
        fits.then_some(Self { latitude_deg, longitude_deg })
    }
}

fn signed(magnitude: f64, side: &str, positive: &str, negative: &str) -> Option<f64> {
    match side {
        side if side == positive => Some(magnitude),
        side if side == negative => Some(-magnitude),
        _ => None,
    }
}

/// `width` digits of degrees, then minutes.
fn degrees(text: &str, width: usize) -> Option<f64> {
    let (whole, minutes) = text.split_at_checked(width)?;
    let degrees = whole.bytes().all(|byte| byte.is_ascii_digit()).then(|| whole.parse::<u16>().ok())??;
    let minutes = decimal(minutes).filter(|minutes| (0.0..60.0).contains(minutes))?;
    Some(f64::from(degrees) + minutes / 60.0)
}

/// A decimal as sentences write it: digits, a point, a sign; nothing else that Rust would read, such as `inf` or `1e3`.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let is_decimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+'));
    if is_decimal { text.parse().ok() } else { None }
}

/// A time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60; 60 is a leap second.
    pub second: u8,
    /// 0 to 999.
    pub millisecond: u16,
}

impl TimeOfDay {
    /// `123519` or `123519.487`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let [hour, minute, second] = pairs(whole)?;
        if hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let millisecond = fraction
            .bytes()
            .chain([b'0'; 3])
            .take(3)
            .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        Some(Self { hour, minute, second, millisecond })
    }
}

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// With the century.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to the month's last.
    pub day: u8,
}

impl Date {
    /// `None` when there is no such day.
    pub(super) fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            _ => return None,
        };
        ((1..=days).contains(&day) && year >= 1980).then_some(Self { year, month, day })
    }

    /// `230394`: day, month, and a year whose century is left out; 80 to 99 are of the twentieth, as GPS began in 1980.
    pub(super) fn read(text: &str) -> Option<Self> {
        let [day, month, year] = pairs(text)?;
        let year = u16::from(year);
        Self::new(if year >= 80 { 1900 + year } else { 2000 + year }, month, day)
    }

    /// Milliseconds since 1970-01-01T00:00Z of that day at that time. A leap second is the same as the second after it,
    /// as in POSIX.
    #[must_use]
    pub fn unix_ms(self, time: TimeOfDay) -> i64 {
        // Days since 1970-03-01 by the number of leap days between, with years that begin in March.
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days =
            year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + i64::from(self.day);
        const EPOCH: i64 = 719_469;
        let seconds = (days - EPOCH) * 86_400
            + i64::from(time.hour) * 3_600
            + i64::from(time.minute) * 60
            + i64::from(time.second);
        seconds * 1_000 + i64::from(time.millisecond)
    }
}

/// Six digits as three numbers of two.
fn pairs(text: &str) -> Option<[u8; 3]> {
    let digits: &[u8; 6] = text.as_bytes().try_into().ok()?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pair = |tens: u8, ones: u8| (tens - b'0') * 10 + (ones - b'0');
    let [a, b, c, d, e, f] = *digits;
    Some([pair(a, b), pair(c, d), pair(e, f)])
}
