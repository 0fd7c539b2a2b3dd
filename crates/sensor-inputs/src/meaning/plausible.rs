//! The range in which a value can be true.

/// Bounds, both included, in the unit of the stream. An open side has none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Plausible {
    min: Option<f64>,
    max: Option<f64>,
}

/// What a value is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Within the range.
    Plausible,
    /// Below it.
    TooLow,
    /// Above it, or no number.
    TooHigh,
}

/// Why bounds are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlausibleRefused {
    /// Not a finite number.
    #[error("a bound is a finite number")]
    NotFinite,
    /// The lower bound is not below the upper one.
    #[error("the lower bound is not below the upper one")]
    Empty,
}

impl Plausible {
    /// From `min` to `max`.
    ///
    /// # Errors
    /// See [`PlausibleRefused`].
    pub fn new(min: Option<f64>, max: Option<f64>) -> Result<Self, PlausibleRefused> {
        if min.into_iter().chain(max).any(|bound| !bound.is_finite()) {
            return Err(PlausibleRefused::NotFinite);
        }
        match (min, max) {
            (Some(min), Some(max)) if min >= max => Err(PlausibleRefused::Empty),
            _ => Ok(Self { min, max }),
        }
    }

    /// Judges a value.
    #[must_use]
    pub fn judge(self, value: f64) -> Judgement {
        if self.min.is_some_and(|min| value < min) {
            Judgement::TooLow
        } else if value.is_nan() || self.max.is_some_and(|max| value > max) {
            Judgement::TooHigh
        } else {
            Judgement::Plausible
        }
    }

    /// Whether a value between these two could be plausible: a range that nothing the device can say reaches is a
    /// mistake.
    #[must_use]
    pub fn meets(self, lowest: f64, highest: f64) -> bool {
        self.min.is_none_or(|min| highest >= min) && self.max.is_none_or(|max| lowest <= max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_range_and_what_is_beyond_is_judged_not_dropped() {
        let room = Plausible::new(Some(-40.0), Some(60.0)).unwrap();
        assert_eq!(room.judge(-40.0), Judgement::Plausible);
        assert_eq!(room.judge(60.0), Judgement::Plausible);
        assert_eq!(room.judge(-40.1), Judgement::TooLow);
        assert_eq!(room.judge(60.1), Judgement::TooHigh);
        assert_eq!(room.judge(f64::NAN), Judgement::TooHigh);
    }

    #[test]
    fn an_open_side_bounds_nothing() {
        assert_eq!(Plausible::default().judge(-1e300), Judgement::Plausible);
        assert_eq!(Plausible::new(Some(0.0), None).unwrap().judge(1e300), Judgement::Plausible);
    }

    #[test]
    fn impossible_ranges_are_refused() {
        assert_eq!(Plausible::new(Some(1.0), Some(1.0)), Err(PlausibleRefused::Empty));
        assert_eq!(Plausible::new(Some(f64::NAN), None), Err(PlausibleRefused::NotFinite));
        let high = Plausible::new(Some(10_000.0), None).unwrap();
        assert!(!high.meets(0.0, 6_553.5));
        assert!(high.meets(0.0, 10_000.0));
    }
}
