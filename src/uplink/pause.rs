//! How long a destination asked a class to wait, and how long what it refused is not tried again. Pure.

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

/// What was refused for its content is tried again after this, and then after twice as long each time.
const REFUSED_AGAIN: Duration = Duration::from_secs(3600);
/// But at least this often: a message a day costs nothing, and nobody has to tell the gateway that the cloud was mended.
const REFUSED_MOST: Duration = Duration::from_secs(86_400);

/// Something that a destination refused for its content.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusal {
    until: Option<Duration>,
    /// How often in a row.
    times: u32,
}

impl Refusal {
    /// It was refused. Tells how long it is not tried.
    pub(super) fn again(&mut self, now: Duration) -> Duration {
        let wait = REFUSED_AGAIN.saturating_mul(1 << self.times.min(10)).min(REFUSED_MOST);
        self.times = self.times.saturating_add(1);
        self.until = Some(now + wait);
        wait
    }

    /// Until when it is not tried, if that is still to come.
    pub(super) fn until(&self, now: Duration) -> Option<Duration> {
        self.until.filter(|until| *until > now)
    }

    /// It was taken, or it is known that something else was at fault.
    pub(super) fn is_over(&mut self) {
        *self = Self::default();
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

    #[test]
    fn what_is_refused_is_tried_after_an_hour_and_at_least_once_a_day() {
        let mut refusal = Refusal::default();
        let mut now = Duration::ZERO;
        let mut hours = Vec::new();
        for _ in 0..7 {
            let wait = refusal.again(now);
            assert_eq!(refusal.until(now), Some(now + wait));
            now += wait;
            assert_eq!(refusal.until(now), None);
            hours.push(wait.as_secs() / 3600);
        }
        assert_eq!(hours, [1, 2, 4, 8, 16, 24, 24]);
        refusal.is_over();
        assert_eq!(refusal.again(now), REFUSED_AGAIN);
    }
}
