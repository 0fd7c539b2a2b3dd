//! Wall time and ids of the cloud: data, made from `now` and the seed alone.

use crate::random::Dice;
use std::time::Duration;

/// Unix nanoseconds of the time line's origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wall {
    origin_ns: i128,
}

impl Wall {
    pub(super) fn new(unix_ms_at_origin: i64) -> Self {
        Self { origin_ns: i128::from(unix_ms_at_origin) * 1_000_000 }
    }

    pub(super) fn unix_ns(&self, now: Duration) -> i128 {
        self.origin_ns.saturating_add(i128::try_from(now.as_nanos()).unwrap_or(i128::MAX))
    }
}

/// RFC 3339 in UTC with nine digits, as the management API shows times.
pub(super) fn rfc3339(unix_ns: i128) -> String {
    jiff::Timestamp::from_nanosecond(unix_ns).map_or_else(|_| String::new(), |time| format!("{time:.9}"))
}

/// Reads RFC 3339 with any offset.
pub(super) fn parse_rfc3339(text: &str) -> Option<i128> {
    text.parse::<jiff::Timestamp>().ok().map(|time| time.as_nanosecond())
}

/// Unix milliseconds, rounded down.
pub(super) fn ms(unix_ns: i128) -> i64 {
    i64::try_from(unix_ns.div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

/// Ids of 24 hexadecimal digits: seconds, then numbers that follow from the seed.
#[derive(Debug)]
pub(super) struct Ids {
    dice: Dice,
}

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed) }
    }

    pub(super) fn next(&mut self, unix_ns: i128) -> String {
        let seconds = u32::try_from(unix_ns.div_euclid(1_000_000_000)).unwrap_or(u32::MAX);
        format!("{seconds:08x}{:016x}", self.number())
    }

    pub(super) fn number(&mut self) -> u64 {
        self.dice.number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc_with_nine_digits_and_read_with_any_offset() {
        let wall = Wall::new(1_638_386_047_376);
        let ns = wall.unix_ns(Duration::from_nanos(256_912));
        assert_eq!(rfc3339(ns), "2021-12-01T19:14:07.376256912Z");
        assert_eq!(parse_rfc3339("2021-12-01T20:14:07.376256912+01:00"), Some(ns));
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn ids_are_24_hexadecimal_digits_and_follow_from_the_seed() {
        let ids = |seed| {
            let mut ids = Ids::new(seed);
            [ids.next(1_700_000_000_000_000_000), ids.next(1_700_000_000_000_000_000)]
        };
        let [first, second] = ids(7);
        assert!(first.len() == 24 && first.bytes().all(|b| b.is_ascii_hexdigit()) && first != second);
        assert_eq!(ids(7), [first.clone(), second]);
        assert_ne!(ids(8)[0], first);
    }
}
