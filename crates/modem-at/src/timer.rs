//! The eight-bit timers of power saving mode, written as text: three bits of unit, five bits of value
//! (3GPP TS 24.008 tables 10.5.172, 10.5.163 and 10.5.163a).

use core::time::Duration;
use std::fmt;

use crate::fields::{Field, Value};

/// Which timer a string belongs to: the units differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// T3324, Active-Time.
    ActiveTime,
    /// T3412 extended, Periodic-TAU-ext.
    PeriodicTauExt,
    /// T3412, Periodic-TAU, in `%XMONITOR` only.
    PeriodicTau,
}

/// A decoded timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsmTimer {
    /// Runs this long.
    After(Duration),
    /// Switched off by the network.
    Deactivated,
}

impl PsmTimer {
    /// Decodes eight characters `0` or `1`.
    #[must_use]
    pub fn decode(bits: &str, kind: TimerKind) -> Option<Self> {
        if bits.len() != 8 || !bits.bytes().all(|byte| matches!(byte, b'0' | b'1')) {
            return None;
        }
        let byte = u8::from_str_radix(bits, 2).ok()?;
        Some(match unit_seconds(kind, byte >> 5) {
            Some(unit) => Self::After(Duration::from_secs(unit * u64::from(byte & 0x1f))),
            None => Self::Deactivated,
        })
    }

    /// The shortest timer that is not shorter than `at_least`, as the eight characters for `AT+CPSMS`. `None` when no
    /// timer of this kind is that long.
    #[must_use]
    pub fn encode(at_least: Duration, kind: TimerKind) -> Option<String> {
        let wanted = at_least.as_secs().saturating_add(u64::from(at_least.subsec_nanos() > 0));
        (0u8..7)
            .filter_map(|unit| {
                let seconds = unit_seconds(kind, unit)?;
                let value = wanted.div_ceil(seconds);
                (value <= 31).then(|| (value * seconds, unit, value))
            })
            .min()
            .map(|(_, unit, value)| format!("{unit:03b}{value:05b}"))
    }

    /// The duration, where the timer runs.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::After(duration) => Some(duration),
            Self::Deactivated => None,
        }
    }

    pub(crate) fn field(field: Option<Field<'_>>, kind: TimerKind) -> Value<Self> {
        Value::read(field, |bits| Self::decode(bits, kind))
    }
}

impl fmt::Display for PsmTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(duration) => write!(f, "{} s", duration.as_secs()),
            Self::Deactivated => f.write_str("deactivated"),
        }
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

fn unit_seconds(kind: TimerKind, unit: u8) -> Option<u64> {
    let seconds = match (kind, unit) {
        (_, 0b111) => return None,
        (TimerKind::PeriodicTauExt, 0b000) => 10 * MINUTE,
        (TimerKind::PeriodicTauExt, 0b001) => HOUR,
        (TimerKind::PeriodicTauExt, 0b010) => 10 * HOUR,
        (TimerKind::PeriodicTauExt, 0b011) => 2,
        (TimerKind::PeriodicTauExt, 0b100) => 30,
        (TimerKind::PeriodicTauExt, 0b101) => MINUTE,
        (TimerKind::PeriodicTauExt, _) => 320 * HOUR,
        (_, 0b000) => 2,
        (_, 0b010) => 6 * MINUTE,
        // 24.008: every other unit counts in minutes.
        (_, _) => MINUTE,
    };
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(bits: &str, kind: TimerKind) -> Option<u64> {
        PsmTimer::decode(bits, kind).unwrap().duration().map(|duration| duration.as_secs())
    }

    #[test]
    fn worked_examples() {
        assert_eq!(seconds("00000001", TimerKind::ActiveTime), Some(2));
        assert_eq!(seconds("00100001", TimerKind::ActiveTime), Some(60));
        assert_eq!(seconds("00100010", TimerKind::PeriodicTauExt), Some(7200));
        assert_eq!(seconds("00000110", TimerKind::PeriodicTauExt), Some(3600));
        assert_eq!(seconds("11000001", TimerKind::PeriodicTauExt), Some(320 * 3600));
        assert_eq!(seconds("10010100", TimerKind::PeriodicTauExt), Some(600));
        assert_eq!(seconds("01001001", TimerKind::PeriodicTau), Some(3240));
        assert_eq!(seconds("11100000", TimerKind::ActiveTime), None);
        assert_eq!(seconds("11100000", TimerKind::PeriodicTauExt), None);
    }

    #[test]
    fn every_unit_of_the_table() {
        let units = ["000", "001", "010", "011", "100", "101", "110"];
        for (kind, table) in [
            (TimerKind::ActiveTime, [2, 60, 360, 60, 60, 60, 60]),
            (TimerKind::PeriodicTauExt, [600, 3600, 36_000, 2, 30, 60, 1_152_000]),
            (TimerKind::PeriodicTau, [2, 60, 360, 60, 60, 60, 60]),
        ] {
            for (unit, expected) in units.iter().zip(table) {
                assert_eq!(seconds(&format!("{unit}00001"), kind), Some(expected), "{kind:?} {unit}");
            }
        }
    }

    #[test]
    fn anything_but_eight_bits_is_not_a_timer() {
        for bits in ["", "0000000", "000000001", "0000000x", "+0000001", "\u{e9}000000"] {
            assert_eq!(PsmTimer::decode(bits, TimerKind::ActiveTime), None, "{bits}");
        }
    }

    #[test]
    fn a_request_takes_the_unit_that_rounds_up_least() {
        let encode = |s, kind| PsmTimer::encode(Duration::from_secs(s), kind);
        assert_eq!(encode(63, TimerKind::PeriodicTauExt).as_deref(), Some("10000011"));
        assert_eq!(encode(2, TimerKind::ActiveTime).as_deref(), Some("00000001"));
        assert_eq!(encode(63, TimerKind::ActiveTime).as_deref(), Some("00100010"));
        assert_eq!(encode(320 * 3600 * 32, TimerKind::PeriodicTauExt), None);
        assert_eq!(PsmTimer::encode(Duration::MAX, TimerKind::PeriodicTauExt), None);
    }

    proptest! {
        #[test]
        fn an_encoded_timer_is_never_shorter_than_asked(seconds in 0u64..11_000) {
            let bits = PsmTimer::encode(Duration::from_secs(seconds), TimerKind::ActiveTime).unwrap();
            let back = PsmTimer::decode(&bits, TimerKind::ActiveTime).unwrap().duration().unwrap();
            prop_assert!(back >= Duration::from_secs(seconds));
        }
    }
}
