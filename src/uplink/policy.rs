//! What to send next: pure, so that it can be read and tested in one place.
//!
//! Classes go by urgency. Telemetry has two flows, live and backlog, which share what the more urgent classes leave
//! ([`super::share`]); within a flow the order is that of acceptance. A class that a destination asked to wait is passed over
//! until its time.

use std::time::Duration;

use super::share::{Share, Side};
use crate::reading::Class;

/// Readings that go in one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flow {
    /// All alarms.
    Alarm,
    /// All events.
    Event,
    /// All states.
    State,
    /// Telemetry from the live edge on.
    Live,
    /// Telemetry older than that.
    Backlog,
    /// All diagnostics.
    Diagnostics,
}

impl Flow {
    /// Every flow, most urgent first; live and backlog are equally urgent.
    pub const ALL: [Self; 6] =
        [Self::Alarm, Self::Event, Self::State, Self::Live, Self::Backlog, Self::Diagnostics];

    /// The class of its readings.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Alarm => Class::Alarm,
            Self::Event => Class::Event,
            Self::State => Class::State,
            Self::Live | Self::Backlog => Class::Telemetry,
            Self::Diagnostics => Class::Diagnostics,
        }
    }

    /// Its side, where it shares.
    #[must_use]
    pub fn side(self) -> Option<Side> {
        match self {
            Self::Live => Some(Side::Live),
            Self::Backlog => Some(Side::Backlog),
            _ => None,
        }
    }
}

/// How one flow looks to the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// Which.
    pub flow: Flow,
    /// Readings at hand, packed or not.
    pub rows: usize,
    /// More than one message's worth is at hand: waiting gains nothing.
    pub fills_a_message: bool,
    /// When the oldest of them was accepted into view.
    pub oldest_since: Duration,
    /// The destination asked for a pause until then.
    pub paused_until: Option<Duration>,
}

impl FlowView {
    /// When it may send; `None` with nothing at hand.
    fn due(&self, linger: Duration) -> Option<Duration> {
        if self.rows == 0 {
            return None;
        }
        let at_once = self.fills_a_message || !self.flow.class().waits_for_window();
        let gathered = if at_once { Duration::ZERO } else { self.oldest_since + linger };
        Some(gathered.max(self.paused_until.unwrap_or(Duration::ZERO)))
    }
}

/// What to do with a free place in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Pack a message of this flow. `shared`: the flow it shares the link with could have sent too.
    Send {
        /// Which.
        flow: Flow,
        /// See above.
        shared: bool,
    },
    /// Nothing is due before then.
    WaitUntil(Duration),
    /// Nothing is at hand.
    Idle,
}

/// Chooses. `views` in any order; `linger` is how long a batch may gather although it is not full.
#[must_use]
pub fn choose(views: &[FlowView], share: &Share, now: Duration, linger: Duration) -> Choice {
    let due = || views.iter().filter_map(|view| Some((view.flow, view.due(linger)?)));
    let ready = |flow: Flow| due().any(|(other, at)| other == flow && at <= now);
    let urgent = due().filter(|(_, at)| *at <= now).map(|(flow, _)| flow).min();
    match urgent {
        Some(Flow::Live | Flow::Backlog) => {
            let (live, backlog) = (ready(Flow::Live), ready(Flow::Backlog));
            let flow = match share.turn(live, backlog) {
                Some(Side::Backlog) => Flow::Backlog,
                Some(Side::Live) | None => Flow::Live,
            };
            Choice::Send { flow, shared: live && backlog }
        }
        Some(flow) => Choice::Send { flow, shared: false },
        None => due().map(|(_, at)| at).min().map_or(Choice::Idle, Choice::WaitUntil),
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
    use super::super::share::Weights;
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn view(flow: Flow, rows: usize) -> FlowView {
        FlowView { flow, rows, fills_a_message: false, oldest_since: 100 * S, paused_until: None }
    }

    fn full(flow: Flow) -> FlowView {
        FlowView { fills_a_message: true, ..view(flow, 5000) }
    }

    fn chosen(views: &[FlowView], now: Duration, linger: Duration) -> Choice {
        choose(views, &Share::new(Weights::default()), now, linger)
    }

    fn alone(flow: Flow) -> Choice {
        Choice::Send { flow, shared: false }
    }

    #[test]
    fn an_alarm_goes_before_a_full_backlog() {
        let views = [full(Flow::Backlog), view(Flow::Alarm, 1)];
        assert_eq!(chosen(&views, 100 * S, 2 * S), alone(Flow::Alarm));
    }

    #[test]
    fn live_and_backlog_share_what_more_urgent_classes_leave_and_go_before_diagnostics() {
        let mut share = Share::new(Weights::default());
        let both = [full(Flow::Diagnostics), full(Flow::Backlog), full(Flow::Live)];
        let mut sent = Vec::new();
        for _ in 0..8 {
            let Choice::Send { flow, shared: true } = choose(&both, &share, 100 * S, S) else { panic!() };
            share.sent(flow.side().unwrap(), 1000, true);
            sent.push(flow);
        }
        assert_eq!(sent.iter().filter(|flow| **flow == Flow::Backlog).count(), 2, "{sent:?}");
        let with_state = [full(Flow::Backlog), full(Flow::Live), full(Flow::State)];
        assert_eq!(choose(&with_state, &share, 100 * S, S), alone(Flow::State));
    }

    #[test]
    fn while_live_gathers_the_backlog_has_the_link() {
        let views = [full(Flow::Backlog), view(Flow::Live, 3)];
        assert_eq!(chosen(&views, 101 * S, 2 * S), alone(Flow::Backlog));
        let now = chosen(&views, 102 * S, 2 * S);
        assert_eq!(now, Choice::Send { flow: Flow::Live, shared: true });
    }

    #[test]
    fn a_small_batch_gathers_for_the_linger_and_no_longer() {
        let few = view(Flow::Live, 3);
        assert_eq!(chosen(&[few], 101 * S, 2 * S), Choice::WaitUntil(102 * S));
        assert_eq!(chosen(&[few], 102 * S, 2 * S), alone(Flow::Live));
    }

    #[test]
    fn a_full_message_gathers_nothing_more() {
        assert_eq!(chosen(&[full(Flow::Live)], 100 * S, 2 * S), alone(Flow::Live));
    }

    #[test]
    fn a_paused_class_lets_others_pass_and_returns() {
        let paused = FlowView { paused_until: Some(130 * S), ..view(Flow::Alarm, 1) };
        assert_eq!(chosen(&[paused, view(Flow::Live, 1)], 110 * S, S), alone(Flow::Live));
        assert_eq!(chosen(&[paused], 110 * S, S), Choice::WaitUntil(130 * S));
        assert_eq!(chosen(&[paused], 130 * S, S), alone(Flow::Alarm));
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
