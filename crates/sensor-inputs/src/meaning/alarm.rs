//! Whether somebody is needed: one threshold of one stream, as a state machine.
//!
//! A value beyond the threshold raises the alarm once it has been there for `raise_after`; a value back inside by the
//! hysteresis clears it after `clear_after`. In between nothing changes. The last value holds until another is heard, so
//! that a sensor that speaks only of changes is judged as well: [`Alarm::poll_timeout`] says when that has to be looked
//! at. A stream without a value is no evidence: it neither raises nor clears, and a delay begins anew behind it.
//! Invariant: raised and cleared alternate.

use core::time::Duration;

/// Which side is bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    /// Above this value.
    Above(f64),
    /// Below this value.
    Below(f64),
}

/// When an alarm is raised and cleared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlarmRule {
    side: Side,
    hysteresis: f64,
    raise_after: Duration,
    clear_after: Duration,
}

/// Why numbers are no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlarmRefused {
    /// The threshold is not a finite number.
    #[error("a threshold is a finite number")]
    Threshold,
    /// The hysteresis is negative or not finite.
    #[error("a hysteresis is a finite number from 0 on")]
    Hysteresis,
}

impl AlarmRule {
    /// `hysteresis` is in the unit of the stream.
    ///
    /// # Errors
    /// See [`AlarmRefused`].
    pub fn new(
        side: Side,
        hysteresis: f64,
        raise_after: Duration,
        clear_after: Duration,
    ) -> Result<Self, AlarmRefused> {
        let (Side::Above(threshold) | Side::Below(threshold)) = side;
        if !threshold.is_finite() {
            Err(AlarmRefused::Threshold)
        } else if !hysteresis.is_finite() || hysteresis < 0.0 {
            Err(AlarmRefused::Hysteresis)
        } else {
            Ok(Self { side, hysteresis, raise_after, clear_after })
        }
    }

    fn is_beyond(self, value: f64) -> bool {
        match self.side {
            Side::Above(threshold) => value > threshold,
            Side::Below(threshold) => value < threshold,
        }
    }

    fn is_back(self, value: f64) -> bool {
        match self.side {
            Side::Above(threshold) => value <= threshold - self.hysteresis,
            Side::Below(threshold) => value >= threshold + self.hysteresis,
        }
    }
}

/// Where an alarm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All is well.
    Clear,
    /// Beyond the threshold since then, not yet for long enough.
    Rising(Duration),
    /// Raised.
    Raised,
    /// Raised, and back inside since then, not yet for long enough.
    Falling(Duration),
}

/// What to tell people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// The alarm is raised; with the value that did it.
    Raised(f64),
    /// The alarm is over; with the value that ended it.
    Cleared(f64),
}

/// See the module head.
#[derive(Clone, Debug)]
pub struct Alarm {
    rule: AlarmRule,
    phase: Phase,
    value: f64,
}

impl Alarm {
    /// A stream of which nothing was heard yet.
    #[must_use]
    pub fn new(rule: AlarmRule) -> Self {
        Self { rule, phase: Phase::Clear, value: 0.0 }
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether people were told of it and not yet of its end.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        matches!(self.phase, Phase::Raised | Phase::Falling(_))
    }

    /// A value was heard, or the stream said that it has none. A number that is none counts as none.
    pub fn observe(&mut self, now: Duration, value: Option<f64>) -> Option<Change> {
        // What was due before this value is settled first, by the value that held until now.
        let due = self.handle_timeout(now);
        let Some(value) = value.filter(|value| !value.is_nan()) else {
            self.phase = if self.is_raised() { Phase::Raised } else { Phase::Clear };
            return due;
        };
        self.value = value;
        let (beyond, back) = (self.rule.is_beyond(value), self.rule.is_back(value));
        self.phase = match self.phase {
            Phase::Clear if beyond => Phase::Rising(now),
            Phase::Rising(_) if !beyond => Phase::Clear,
            Phase::Raised if back => Phase::Falling(now),
            Phase::Falling(_) if !back => Phase::Raised,
            phase => phase,
        };
        // A change that was due is told alone: what this value does, if it is due at once, waits for the next call.
        due.or_else(|| self.handle_timeout(now))
    }

    /// Tells what a delay that has passed changes. Call it when [`Self::poll_timeout`] says so.
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Change> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return None;
        }
        match self.phase {
            Phase::Rising(_) => {
                self.phase = Phase::Raised;
                Some(Change::Raised(self.value))
            }
            Phase::Falling(_) => {
                self.phase = Phase::Clear;
                Some(Change::Cleared(self.value))
            }
            Phase::Clear | Phase::Raised => None,
        }
    }

    /// When to call [`Self::handle_timeout`], if no value comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Rising(since) => Some(since.saturating_add(self.rule.raise_after)),
            Phase::Falling(since) => Some(since.saturating_add(self.rule.clear_after)),
            Phase::Clear | Phase::Raised => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn above(threshold: f64, hysteresis: f64, raise: u64, clear: u64) -> Alarm {
        Alarm::new(AlarmRule::new(Side::Above(threshold), hysteresis, at(raise), at(clear)).unwrap())
    }

    #[test]
    fn without_delays_it_is_raised_at_once_and_cleared_behind_the_hysteresis() {
        let mut alarm = above(80.0, 5.0, 0, 0);
        assert_eq!(alarm.observe(at(0), Some(80.0)), None, "the threshold itself is no alarm");
        assert_eq!(alarm.observe(at(1), Some(80.1)), Some(Change::Raised(80.1)));
        assert_eq!(alarm.observe(at(2), Some(76.0)), None);
        assert_eq!(alarm.observe(at(3), Some(90.0)), None, "it is raised once");
        assert_eq!(alarm.observe(at(4), Some(75.0)), Some(Change::Cleared(75.0)));
        assert!(!alarm.is_raised());
    }

    #[test]
    fn below_is_the_mirror_of_above() {
        let rule = AlarmRule::new(Side::Below(2.0), 1.0, at(0), at(0)).unwrap();
        let mut alarm = Alarm::new(rule);
        assert_eq!(alarm.observe(at(0), Some(1.9)), Some(Change::Raised(1.9)));
        assert_eq!(alarm.observe(at(1), Some(2.9)), None);
        assert_eq!(alarm.observe(at(2), Some(3.0)), Some(Change::Cleared(3.0)));
    }

    #[test]
    fn a_peak_shorter_than_the_delay_is_no_alarm() {
        let mut alarm = above(80.0, 5.0, 10, 0);
        assert_eq!(alarm.observe(at(0), Some(99.0)), None);
        assert_eq!(alarm.poll_timeout(), Some(at(10)));
        assert_eq!(alarm.observe(at(9), Some(79.0)), None);
        assert_eq!((alarm.phase(), alarm.poll_timeout()), (Phase::Clear, None));
    }

    #[test]
    fn a_sensor_that_speaks_only_of_changes_raises_it_in_its_silence() {
        let mut alarm = above(80.0, 5.0, 10, 0);
        alarm.observe(at(0), Some(99.0));
        assert_eq!(alarm.handle_timeout(at(9)), None);
        assert_eq!(alarm.handle_timeout(at(10)), Some(Change::Raised(99.0)));
        assert_eq!(alarm.handle_timeout(at(11)), None);
    }

    #[test]
    fn a_value_that_comes_after_the_delay_does_not_undo_it_unheard() {
        let mut alarm = above(80.0, 5.0, 10, 10);
        alarm.observe(at(0), Some(99.0));
        assert_eq!(alarm.observe(at(60), Some(20.0)), Some(Change::Raised(99.0)));
        assert_eq!(alarm.observe(at(70), Some(20.0)), Some(Change::Cleared(20.0)));
    }

    #[test]
    fn a_stream_without_a_value_is_no_evidence() {
        let mut alarm = above(80.0, 5.0, 10, 10);
        alarm.observe(at(0), Some(99.0));
        assert_eq!(alarm.observe(at(5), None), None);
        assert_eq!(alarm.handle_timeout(at(100)), None, "the delay begins anew");
        assert_eq!(alarm.observe(at(100), Some(99.0)), None);
        assert_eq!(alarm.handle_timeout(at(110)), Some(Change::Raised(99.0)));
        assert_eq!(alarm.observe(at(111), Some(f64::NAN)), None);
        assert!(alarm.is_raised(), "it stays raised");
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let rule = |side, hysteresis| AlarmRule::new(side, hysteresis, at(0), at(0));
        assert_eq!(rule(Side::Above(f64::NAN), 0.0), Err(AlarmRefused::Threshold));
        assert_eq!(rule(Side::Below(1.0), -1.0), Err(AlarmRefused::Hysteresis));
    }

    proptest! {
        #[test]
        fn raised_and_cleared_alternate_and_each_is_deserved(
            steps in prop::collection::vec((0u64..20, prop::option::weighted(0.9, -10.0f64..10.0)), 1..200),
            hysteresis in 0.0f64..4.0, raise in 0u64..15, clear in 0u64..15, is_above in any::<bool>(),
        ) {
            let side = if is_above { Side::Above(2.0) } else { Side::Below(2.0) };
            let mut alarm = Alarm::new(AlarmRule::new(side, hysteresis, at(raise), at(clear)).unwrap());
            let depth = |value: f64| if is_above { value - 2.0 } else { 2.0 - value };
            let (mut now, mut is_raised) = (at(0), false);
            for (pause, value) in steps {
                now += at(pause);
                match alarm.observe(now, value) {
                    Some(Change::Raised(value)) => {
                        prop_assert!(!is_raised && depth(value) > 0.0);
                        is_raised = true;
                    }
                    Some(Change::Cleared(value)) => {
                        prop_assert!(is_raised && depth(value) <= -hysteresis + 1e-9);
                        is_raised = false;
                    }
                    None => {}
                }
                prop_assert_eq!(alarm.is_raised(), is_raised);
                prop_assert!(alarm.poll_timeout().is_none_or(|due| due >= now));
            }
        }
    }
}
