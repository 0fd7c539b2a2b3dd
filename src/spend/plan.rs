//! The data plan, and the calendar it is counted by.
//!
//! Pure. Days and months are those of UTC: an operator's own midnight is not known to the gateway, and a month that
//! begins some hours early or late is the same month.

use jiff::civil::Date;
use jiff::tz::Offset;

use super::purpose::{PURPOSES, Purpose};

const DAY_MS: i64 = 86_400_000;

/// How many bytes may be spent, and what is kept for whom. Without any limit everything is granted and counted all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the home network.
    pub home: Allowance,
    /// While roaming; it is counted apart. Zero means that nothing is sent there.
    pub roaming: Allowance,
    /// The day of the month on which the month begins, 1 to 28.
    pub reset_day: u8,
    /// Parts of every limit that others leave alone.
    pub reserves: Reserves,
    /// Days whose unused share may be spent on one later day.
    pub carry_over_days: u8,
}

/// Percent of every limit that is kept for one purpose each; what is kept for management the session may use too, so that
/// the box stays reachable. A reserve shrinks with what is left of the period, to a quarter. Alarms and management may use what
/// is kept for all the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserves([u8; PURPOSES]);

impl Default for Reserves {
    /// A tenth each for alarms and for management.
    fn default() -> Self {
        Self([0; PURPOSES]).with(Purpose::Alarm, 10).with(Purpose::Management, 10)
    }
}

impl Reserves {
    /// Together they are at most this, so that something is left for whoever has none.
    pub const MOST_PERCENT: u32 = 90;

    /// These, with `percent` kept for a purpose.
    #[must_use]
    pub fn with(mut self, purpose: Purpose, percent: u8) -> Self {
        if let Some(reserve) = self.0.get_mut(purpose as usize) {
            *reserve = percent;
        }
        self
    }

    /// What is kept for a purpose, percent.
    #[must_use]
    pub fn of(&self, purpose: Purpose) -> u8 {
        self.0.get(purpose as usize).copied().unwrap_or(0)
    }

    /// All of them together, percent.
    #[must_use]
    pub fn sum(&self) -> u32 {
        self.0.iter().map(|percent| u32::from(*percent)).sum()
    }
}

/// Limits, in bytes on the wire both ways, IP headers included. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// A day.
    pub day: Option<u64>,
    /// A month.
    pub month: Option<u64>,
}

impl Plan {
    /// No limits.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            home: Allowance::default(),
            roaming: Allowance::default(),
            reset_day: 1,
            reserves: Reserves::default(),
            carry_over_days: 3,
        }
    }

    /// Whether anything is limited.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.home != Allowance::default() || self.roaming != Allowance::default()
    }
}

/// A day or a month: its number, which only grows, and its ends in unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) id: i64,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

/// The day of an instant.
pub(super) fn day(unix_ms: i64) -> Span {
    let id = unix_ms.div_euclid(DAY_MS);
    Span { id, start_ms: id.saturating_mul(DAY_MS), end_ms: (id + 1).saturating_mul(DAY_MS) }
}

/// The month of an instant, where months begin on `reset_day`.
pub(super) fn month(unix_ms: i64, reset_day: u8) -> Span {
    let date = jiff::Timestamp::from_millisecond(unix_ms)
        .map_or(Date::constant(1970, 1, 1), |at| Offset::UTC.to_datetime(at).date());
    let reset = i8::try_from(reset_day.clamp(1, 28)).unwrap_or(1);
    let index = i64::from(date.year()) * 12 + i64::from(date.month()) - 1 - i64::from(date.day() < reset);
    Span { id: index, start_ms: month_start(index, reset), end_ms: month_start(index + 1, reset) }
}

fn month_start(index: i64, reset: i8) -> i64 {
    let year = i16::try_from(index.div_euclid(12)).unwrap_or(i16::MAX);
    let month = i8::try_from(index.rem_euclid(12) + 1).unwrap_or(1);
    Date::new(year, month, reset)
        .ok()
        .and_then(|date| Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok())
        .map_or(i64::MAX, jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_month_begins_on_its_reset_day_at_midnight_utc() {
        for (at, reset, start, end) in [
            ("2026-02-01T00:00:00Z", 1, "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
            ("2026-01-31T23:59:59Z", 1, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("2026-01-14T12:00:00Z", 15, "2025-12-15T00:00:00Z", "2026-01-15T00:00:00Z"),
            ("2026-01-15T00:00:00Z", 15, "2026-01-15T00:00:00Z", "2026-02-15T00:00:00Z"),
        ] {
            let span = month(ms(at), reset);
            assert_eq!((span.start_ms, span.end_ms), (ms(start), ms(end)), "{at} with {reset}");
        }
    }

    #[test]
    fn every_instant_lies_in_its_month_and_months_follow_each_other() {
        let mut at = ms("2023-11-20T00:00:00Z");
        let mut before = month(at, 28);
        for _ in 0..1000 {
            at += DAY_MS;
            let span = month(at, 28);
            assert!(span.start_ms <= at && at < span.end_ms);
            if span.id != before.id {
                assert_eq!((span.id, span.start_ms), (before.id + 1, before.end_ms));
            }
            before = span;
        }
    }

    #[test]
    fn a_day_is_a_day_of_utc() {
        let span = day(ms("2026-05-06T07:08:09Z"));
        assert_eq!((span.start_ms, span.end_ms), (ms("2026-05-06T00:00:00Z"), ms("2026-05-07T00:00:00Z")));
    }
}
