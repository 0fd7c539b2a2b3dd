//! How much sooner to ask, where notifications do not get through. Pure.
//!
//! A registration that finds a change nobody told of is a notification that was missed: the network forgets the way back sooner than
//! we ask. Changes come in bunches, an operator is at work: so the interval is halved, and halved again at the next miss, for a few
//! registrations. The bytes are those of the declared class: shortening takes from an allowance that fills evenly over
//! a day, and where it is used up the declared interval holds.
//!
//! Invariant: over any span of n days there are at most `extra` times n + 1 registrations more than the declared interval makes.

use std::time::Duration;

/// The interval is halved at most so often.
const MOST_HALVINGS: u32 = 2;
/// Registrations that find nothing new before it is doubled again.
const QUIET: u32 = 4;
const DAY: Duration = Duration::from_secs(86_400);

/// See the module head.
#[derive(Debug)]
pub(super) struct Tighten {
    declared: Duration,
    extra: u32,
    halvings: u32,
    quiet: u32,
    /// By how much intervals may still be shortened, all together, and when that was so.
    allowance: Duration,
    filled: Duration,
}

impl Tighten {
    /// Of an interval as declared, and so many further registrations a day.
    pub(super) fn new(now: Duration, declared: Duration, extra: u32) -> Self {
        Self { declared, extra, halvings: 0, quiet: 0, allowance: declared * extra, filled: now }
    }

    /// A registration found what no notification had told.
    pub(super) fn missed(&mut self) {
        self.halvings = (self.halvings + 1).min(MOST_HALVINGS);
        self.quiet = 0;
    }

    /// A registration found what was known.
    pub(super) fn nothing_new(&mut self) {
        self.quiet += 1;
        if self.quiet >= QUIET {
            self.relax();
        }
    }

    /// A notification came by itself.
    pub(super) fn told(&mut self) {
        self.relax();
    }

    fn relax(&mut self) {
        self.halvings = self.halvings.saturating_sub(1);
        self.quiet = 0;
    }

    /// The interval from a registration now to the next; what it is shortened by is taken from the allowance.
    pub(super) fn interval(&mut self, now: Duration) -> Duration {
        let full = self.declared * self.extra;
        let share = now.saturating_sub(self.filled).as_secs_f64() / DAY.as_secs_f64();
        self.allowance = full.min(self.allowance + full.mul_f64(share.min(1.0)));
        self.filled = now;
        let interval = self.declared / 2u32.pow(self.halvings);
        match self.allowance.checked_sub(self.declared - interval) {
            Some(left) => {
                self.allowance = left;
                interval
            }
            None => self.declared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DECLARED: Duration = Duration::from_secs(15 * 60);

    fn at_work() -> Tighten {
        Tighten::new(Duration::ZERO, DECLARED, 4)
    }

    #[test]
    fn a_missed_notification_halves_the_interval_and_a_second_halves_it_again_and_no_more() {
        let mut tighten = at_work();
        assert_eq!(tighten.interval(Duration::ZERO), DECLARED);
        tighten.missed();
        assert_eq!(tighten.interval(MINUTE), DECLARED / 2);
        tighten.missed();
        tighten.missed();
        assert_eq!(tighten.interval(2 * MINUTE), DECLARED / 4);
    }

    #[test]
    fn registrations_that_find_nothing_relax_it_and_so_does_a_notification_that_comes() {
        let mut tighten = at_work();
        tighten.missed();
        (1..QUIET).for_each(|_| tighten.nothing_new());
        assert_eq!(tighten.interval(MINUTE), DECLARED / 2);
        tighten.nothing_new();
        assert_eq!(tighten.interval(MINUTE), DECLARED);
        tighten.missed();
        tighten.told();
        assert_eq!(tighten.interval(MINUTE), DECLARED);
    }

    #[test]
    fn however_many_are_missed_the_bytes_stay_within_the_class() {
        for days in [1, 2, 10u32] {
            let (mut tighten, mut now, mut made) = (at_work(), Duration::ZERO, 0u32);
            while now < DAY * days {
                tighten.missed();
                now += tighten.interval(now);
                made += 1;
            }
            let most = 96 * days + 4 * (days + 1);
            assert!((96 * days + 4..=most).contains(&made), "{made} in {days} days, at most {most}");
        }
    }

    #[test]
    fn without_an_allowance_the_declared_interval_holds() {
        let mut tighten = Tighten::new(Duration::ZERO, DECLARED, 0);
        tighten.missed();
        assert_eq!(tighten.interval(MINUTE), DECLARED);
    }
}
