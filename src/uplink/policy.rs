//! What to send next: pure, so that it can be read and tested in one place.
//!
//! Classes go by urgency. Within telemetry the order is that of acceptance. A class that a destination asked to wait is
//! passed over until its time.

use std::time::Duration;

use crate::reading::Class;

/// How one class's queue looks to the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassView {
    /// Which.
    pub class: Class,
    /// Readings at hand, packed or not.
    pub rows: usize,
    /// More than one message's worth is at hand: waiting gains nothing.
    pub fills_a_message: bool,
    /// When the oldest of them was accepted into view.
    pub oldest_since: Duration,
    /// The destination asked for a pause until then.
    pub paused_until: Option<Duration>,
}

/// What to do with a free place in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Pack a message of this class.
    Send(Class),
    /// Nothing is due before then.
    WaitUntil(Duration),
    /// Nothing is at hand.
    Idle,
}

/// Chooses. `views` in any order; `linger` is how long a batch may gather although it is not full.
#[must_use]
pub fn choose(views: &[ClassView], now: Duration, linger: Duration) -> Choice {
    let mut wait: Option<Duration> = None;
    let mut best: Option<Class> = None;
    for view in views.iter().filter(|v| v.rows > 0) {
        let gathered = if view.fills_a_message || !view.class.waits_for_window() {
            Duration::ZERO
        } else {
            view.oldest_since + linger
        };
        let due = gathered.max(view.paused_until.unwrap_or(Duration::ZERO));
        if due <= now {
            best = Some(best.map_or(view.class, |b| b.min(view.class)));
        } else {
            wait = Some(wait.map_or(due, |w| w.min(due)));
        }
    }
    match (best, wait) {
        (Some(class), _) => Choice::Send(class),
        (None, Some(at)) => Choice::WaitUntil(at),
        (None, None) => Choice::Idle,
    }
}

/// How long to wait before attempt `n` (from 0): full jitter over a doubling, capped bound, so that gateways that lost
/// the same cloud do not return in step. `random` is any 64 random bits.
#[must_use]
pub fn backoff(n: u32, first: Duration, cap: Duration, random: u64) -> Duration {
    let bound = first.saturating_mul(1 << n.min(16)).min(cap);
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX).max(1);
    // Never less than a tenth: an immediate retry is the one thing backoff is to prevent.
    Duration::from_nanos(nanos / 10 + random % (nanos - nanos / 10).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn view(class: Class, rows: usize) -> ClassView {
        ClassView { class, rows, fills_a_message: false, oldest_since: 100 * S, paused_until: None }
    }

    #[test]
    fn an_alarm_goes_before_a_full_backlog() {
        let backlog = ClassView { fills_a_message: true, ..view(Class::Telemetry, 5000) };
        assert_eq!(choose(&[backlog, view(Class::Alarm, 1)], 100 * S, 2 * S), Choice::Send(Class::Alarm));
    }

    #[test]
    fn a_small_batch_gathers_for_the_linger_and_no_longer() {
        let few = view(Class::Telemetry, 3);
        assert_eq!(choose(&[few], 101 * S, 2 * S), Choice::WaitUntil(102 * S));
        assert_eq!(choose(&[few], 102 * S, 2 * S), Choice::Send(Class::Telemetry));
    }

    #[test]
    fn a_full_message_gathers_nothing_more() {
        let full = ClassView { fills_a_message: true, ..view(Class::Telemetry, 500) };
        assert_eq!(choose(&[full], 100 * S, 2 * S), Choice::Send(Class::Telemetry));
    }

    #[test]
    fn a_paused_class_lets_others_pass_and_returns() {
        let paused = ClassView { paused_until: Some(130 * S), ..view(Class::Alarm, 1) };
        assert_eq!(choose(&[paused, view(Class::Telemetry, 1)], 110 * S, S), Choice::Send(Class::Telemetry));
        assert_eq!(choose(&[paused], 110 * S, S), Choice::WaitUntil(130 * S));
        assert_eq!(choose(&[paused], 130 * S, S), Choice::Send(Class::Alarm));
    }

    #[test]
    fn backoff_grows_is_capped_and_is_never_nothing() {
        let cap = Duration::from_secs(300);
        for n in 0..40 {
            for random in [0, 1, u64::MAX / 2, u64::MAX] {
                let wait = backoff(n, S, cap, random);
                assert!(wait >= S / 10 && wait <= cap, "attempt {n}: {wait:?}");
            }
        }
        assert!(backoff(0, S, cap, u64::MAX - 1) <= S);
        assert!(backoff(20, S, cap, u64::MAX / 2) > S);
    }
}
