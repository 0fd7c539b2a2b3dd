//! How long a destination asked a class to wait. Pure.

use std::time::Duration;

/// A destination that goes on asking for patience is asked at least this often, unless it named a longer time.
const LATER_MOST: Duration = Duration::from_secs(900);

/// One class's pause.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    until: Option<Duration>,
    /// How often in a row the destination asked for one.
    asked: u32,
}

impl Pause {
    /// Until when nothing of the class goes.
    pub(super) fn until(&self) -> Option<Duration> {
        self.until
    }

    /// Nothing goes before `until`; an earlier promise to wait longer holds.
    pub(super) fn hold(&mut self, until: Duration) {
        self.until = Some(self.until.map_or(until, |paused| paused.max(until)));
    }

    /// How long to wait when told to wait for `after`: longer each time it is told again. Of a window that was sent away at
    /// once only the first counts.
    pub(super) fn asked_for(&mut self, now: Duration, after: Duration) -> Duration {
        if self.until.is_some_and(|until| until > now) {
            return after;
        }
        let wait = after.saturating_mul(1 << self.asked.min(10)).min(LATER_MOST.max(after));
        self.asked = self.asked.saturating_add(1);
        wait
    }

    /// The destination took something.
    pub(super) fn is_over(&mut self) {
        self.asked = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_longer_pause_holds() {
        let mut pause = Pause::default();
        pause.hold(9 * S);
        pause.hold(3 * S);
        assert_eq!(pause.until(), Some(9 * S));
    }

    #[test]
    fn each_refusal_in_a_row_doubles_the_wait_and_a_whole_window_counts_once() {
        let mut pause = Pause::default();
        let mut waits = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..4 {
            let wait = pause.asked_for(now, 5 * S);
            pause.hold(now + wait);
            assert_eq!(pause.asked_for(now, 5 * S), 5 * S, "the rest of the window");
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [5, 10, 20, 40]);
        pause.is_over();
        assert_eq!(pause.asked_for(now, 5 * S), 5 * S);
        assert!((0..20).all(|n| Pause { until: None, asked: n }.asked_for(now, 5 * S) <= LATER_MOST));
    }
}
