//! When the link is cut. Pure; all times since the daemon was ready.

use std::time::Duration;

/// In an unbounded run, from one cut to the next.
const EVERY: Duration = Duration::from_secs(120);

/// One run's plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline {
    lasts: Option<Duration>,
    outage: Duration,
}

impl Timeline {
    /// A run of `lasts`, or until somebody ends it; an outage longer than half of a bounded run is shortened to that.
    pub(super) fn new(lasts: Option<Duration>, outage: Duration) -> Self {
        let most = lasts.map_or(EVERY / 2, |lasts| lasts / 2);
        Self { lasts, outage: outage.min(most) }
    }

    /// Whether the time is over.
    pub(super) fn is_over(&self, at: Duration) -> bool {
        self.lasts.is_some_and(|lasts| at >= lasts)
    }

    /// Whether the link is cut.
    pub(super) fn is_cut(&self, at: Duration) -> bool {
        match self.lasts {
            Some(lasts) => {
                let begin = (lasts - self.outage) / 2;
                at >= begin && at < begin + self.outage
            }
            None => {
                let within =
                    Duration::from_millis(u64::try_from(at.as_millis() % EVERY.as_millis()).unwrap_or(0));
                within >= EVERY - self.outage
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_bounded_run_is_cut_once_in_its_middle() {
        let timeline = Timeline::new(Some(S(60)), S(20));
        let cut: Vec<u64> = (0..60).filter(|s| timeline.is_cut(S(*s))).collect();
        assert_eq!(cut, (20..40).collect::<Vec<u64>>());
        assert!(!timeline.is_over(S(59)) && timeline.is_over(S(60)));
    }

    #[test]
    fn an_unbounded_run_is_cut_at_the_end_of_every_two_minutes() {
        let timeline = Timeline::new(None, S(20));
        let cut = (0..360).filter(|s| timeline.is_cut(S(*s))).count();
        assert_eq!((cut, timeline.is_cut(S(99)), timeline.is_cut(S(100))), (60, false, true));
        assert!(!timeline.is_over(S(1_000_000)));
    }

    #[test]
    fn an_outage_longer_than_the_run_leaves_time_on_both_sides() {
        let timeline = Timeline::new(Some(S(10)), S(600));
        let cut = (0..10).filter(|s| timeline.is_cut(S(*s))).count();
        assert_eq!((cut, timeline.is_cut(S(1)), timeline.is_cut(S(9))), (5, false, false));
    }
}
