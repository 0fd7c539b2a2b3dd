//! When the next certificate is asked for. Pure; wall time only where somebody vouches for it.

use std::time::Duration;

use crate::uplink::policy;

/// Pauses after an ask that gave nothing: from the first, doubling, to a day; less, where the certificate ends within days.
const FIRST_PAUSE: Duration = Duration::from_secs(3600);
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);
const SHORTEST_LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Asks once a third of a certificate's life is left, less up to a tenth of that third, so that gateways that were installed on
/// one day do not ask in one minute.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Decides within that tenth.
    random: u64,
    failures: u32,
    not_before: Duration,
}

impl Schedule {
    pub(super) fn new(random: u64) -> Self {
        Self { random, failures: 0, not_before: Duration::ZERO }
    }

    /// The Unix second from which on the successor of a certificate is asked for.
    pub(super) fn asks_from(&self, (from, until): (u64, u64)) -> u64 {
        let third = until.saturating_sub(from) / 3;
        until - third + self.random % (third / 10).max(1)
    }

    /// Whether it is now.
    pub(super) fn is_due(&self, now: Duration, unix_s: u64, validity: (u64, u64)) -> bool {
        now >= self.not_before && unix_s >= self.asks_from(validity)
    }

    /// When it is asked again, if it is not before it has to be.
    pub(super) fn not_before(&self) -> Duration {
        self.not_before
    }

    /// Not before then, whatever the certificate says.
    pub(super) fn later(&mut self, until: Duration) {
        self.not_before = self.not_before.max(until);
    }

    /// Asking gave nothing; the certificate in use holds for so long.
    pub(super) fn failed(&mut self, now: Duration, left: Duration, random: u64) {
        // Of one that has ended, everything was tried while it had not.
        let longest = match left {
            Duration::ZERO => LONGEST_PAUSE,
            left => (left / 4).clamp(SHORTEST_LONGEST_PAUSE, LONGEST_PAUSE),
        };
        let pause = policy::backoff(self.failures, FIRST_PAUSE.min(longest), longest, random);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause;
    }

    /// There is a successor in use.
    pub(super) fn succeeded(&mut self) {
        (self.failures, self.not_before) = (0, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400;

    /// How often is asked between the certificate's first moment and `until`, if nothing ever comes of it.
    fn asks(validity: (u64, u64), until: u64, random: u64) -> Vec<u64> {
        let mut schedule = Schedule::new(random);
        let mut asked = Vec::new();
        let mut unix_s = validity.0;
        while unix_s < until {
            let now = Duration::from_secs(unix_s - validity.0);
            if schedule.is_due(now, unix_s, validity) {
                asked.push(unix_s);
                let left = Duration::from_secs(validity.1.saturating_sub(unix_s));
                schedule.failed(now, left, random.rotate_left(u32::try_from(asked.len() % 64).unwrap()));
            }
            unix_s += 300;
        }
        asked
    }

    proptest! {
        #[test]
        fn it_is_asked_in_the_last_third_often_enough_and_not_for_ever(random: u64, days in 3..3660u64) {
            let (from, until) = (1_700_000_000, 1_700_000_000 + days * DAY);
            let asked = asks((from, until), until, random);
            let third = days * DAY / 3;
            prop_assert!(asked[0] >= until - third && asked[0] <= until - third + third / 10 + 300);
            // A pause is at least a tenth of its bound, and the bound is a day until four days before the end; from then on each
            // takes at least a fortieth of what is left.
            let most = 10 * days + 400;
            prop_assert!(asked.len() >= 3 && (asked.len() as u64) < most, "{} in {days} d", asked.len());
        }
    }

    #[test]
    fn after_its_end_it_is_asked_a_few_times_a_day_at_most() {
        let (from, until) = (1_700_000_000, 1_700_000_000 + 90 * DAY);
        let late = asks((from, until), until + 30 * DAY, 7).into_iter().filter(|at| *at >= until).count();
        assert!((10..=300).contains(&late), "{late}");
    }

    #[test]
    fn gateways_of_one_day_do_not_ask_at_once() {
        let validity = (1_700_000_000, 1_700_000_000 + 90 * DAY);
        let from = |random| Schedule::new(random).asks_from(validity);
        assert_eq!(from(0), validity.1 - 30 * DAY);
        assert_eq!(from(3 * DAY - 1), validity.1 - 27 * DAY - 1);
        assert_eq!(from(3 * DAY), from(0));
    }

    #[test]
    fn a_successor_in_use_has_its_own_third() {
        let mut schedule = Schedule::new(0);
        schedule.failed(Duration::from_secs(10), Duration::from_secs(DAY), 5);
        assert!(!schedule.is_due(Duration::from_secs(11), 1_000, (0, 1_200)));
        schedule.succeeded();
        assert!(schedule.is_due(Duration::from_secs(11), 1_000, (0, 1_200)));
        assert!(!schedule.is_due(Duration::from_secs(11), 1_000, (900, 2_100)));
    }
}
