//! So many requests in any one second, per device.

use std::collections::VecDeque;
use std::time::Duration;

/// Remembers when the last admitted requests came. A refused one does not count.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    admitted: VecDeque<Duration>,
}

impl Limiter {
    /// Whether a request may pass at `now`, with `limit` allowed in any second.
    pub(super) fn admit(&mut self, now: Duration, limit: u32) -> bool {
        const SECOND: Duration = Duration::from_secs(1);
        while self.admitted.front().is_some_and(|at| now.saturating_sub(*at) >= SECOND) {
            self.admitted.pop_front();
        }
        let room = self.admitted.len() < limit as usize;
        if room {
            self.admitted.push_back(now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_of_a_second_admits_more_than_the_limit() {
        let mut limiter = Limiter::default();
        let admitted: Vec<u64> =
            (0..3_000).step_by(10).filter(|ms| limiter.admit(Duration::from_millis(*ms), 20)).collect();
        assert_eq!(admitted.len(), 60);
        for from in &admitted {
            assert!(admitted.iter().filter(|at| (*from..from + 1_000).contains(at)).count() <= 20);
        }
    }

    #[test]
    fn after_a_quiet_second_everything_is_allowed_again() {
        let mut limiter = Limiter::default();
        assert_eq!((0..25).filter(|_| limiter.admit(Duration::ZERO, 20)).count(), 20);
        assert!(!limiter.admit(Duration::from_millis(999), 20));
        assert!(limiter.admit(Duration::from_secs(1), 20));
    }
}
