//! Whether a value differs enough from the last that was told.

use core::time::Duration;

use crate::datum::Datum;

/// Of one stream. Owns what was told last.
#[derive(Clone, Debug)]
pub struct Deadband {
    width: f64,
    at_least_every: Option<Duration>,
    told: Option<(Duration, Told)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Number(f64),
    Flag(bool),
    Absent,
    Text,
}

/// Why a width is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a deadband is a finite number from 0 on")]
pub struct DeadbandRefused;

impl Deadband {
    /// A value is told when it differs by more than `width`, in the unit of the stream, from the last that was told, and
    /// otherwise once in `at_least_every`, if given. With 0 every change is told.
    ///
    /// # Errors
    /// When the width is negative or not finite.
    pub fn new(width: f64, at_least_every: Option<Duration>) -> Result<Self, DeadbandRefused> {
        if width.is_finite() && width >= 0.0 {
            Ok(Self { width, at_least_every, told: None })
        } else {
            Err(DeadbandRefused)
        }
    }

    /// Whether to tell this value; then it is the last that was told. The first is always told, and so is every text and
    /// every change between a value and none.
    pub fn passes(&mut self, now: Duration, value: &Datum<'_>) -> bool {
        let new = match value {
            Datum::Bool(flag) => Told::Flag(*flag),
            Datum::Text(_) => Told::Text,
            number => number.number().map_or(Told::Absent, Told::Number),
        };
        let passes = match self.told {
            None => true,
            Some((at, _)) if self.at_least_every.is_some_and(|most| now.saturating_sub(at) >= most) => true,
            Some((_, told)) => match (told, new) {
                (Told::Number(old), Told::Number(new)) => {
                    let near = (new - old).abs() <= self.width;
                    !near
                }
                (Told::Text, Told::Text) => true,
                (old, new) => old != new,
            },
        };
        if passes {
            self.told = Some((now, new));
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_slow_drift_is_told_each_time_it_has_gone_far_enough() {
        let mut band = Deadband::new(0.5, None).unwrap();
        let told: Vec<f64> = (0..20)
            .map(|n| f64::from(n) * 0.2)
            .filter(|value| band.passes(at(1), &Datum::Number(*value)))
            .collect();
        assert_eq!(told.len(), 7, "{told:?}");
        assert!(told.windows(2).all(|pair| pair[1] - pair[0] > 0.5));
    }

    #[test]
    fn a_value_that_does_not_move_is_told_now_and_then() {
        let mut band = Deadband::new(1.0, Some(at(60))).unwrap();
        let told: Vec<u64> = (0..200).filter(|now| band.passes(at(*now), &Datum::Integer(7))).collect();
        assert_eq!(told, [0, 60, 120, 180]);
    }

    #[test]
    fn losing_a_value_and_having_one_again_is_told() {
        let mut band = Deadband::new(100.0, None).unwrap();
        let values =
            [Datum::Number(1.0), Datum::Absent, Datum::Absent, Datum::Number(1.0), Datum::Bool(true)];
        let told: Vec<bool> = values.iter().map(|value| band.passes(at(0), value)).collect();
        assert_eq!(told, [true, true, false, true, true]);
    }

    #[test]
    fn every_text_is_told_and_a_width_of_zero_tells_changes() {
        let mut band = Deadband::new(0.0, None).unwrap();
        assert!(band.passes(at(0), &Datum::Text("a".into())) && band.passes(at(0), &Datum::Text("a".into())));
        assert!(band.passes(at(0), &Datum::Integer(1)) && !band.passes(at(0), &Datum::Integer(1)));
        assert!(Deadband::new(-1.0, None).is_err() && Deadband::new(f64::NAN, None).is_err());
    }

    proptest! {
        #[test]
        fn what_was_told_last_is_never_further_away_than_the_width(
            width in 0.0f64..5.0, values in prop::collection::vec(-10.0f64..10.0, 1..100),
        ) {
            let mut band = Deadband::new(width, None).unwrap();
            let mut told = None;
            for value in values {
                if band.passes(at(0), &Datum::Number(value)) {
                    told = Some(value);
                }
                prop_assert!(told.is_some_and(|told: f64| (told - value).abs() <= width));
            }
        }
    }
}
