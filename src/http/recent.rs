//! What changed within the last hour: a gateway that lost a reading a year ago is fine today.
//!
//! The books count from the day the queue file was made. This keeps one small sample a minute of their totals, so that
//! the verdict can tell a loss that goes on from one that is history. Pure; the lane feeds it and keeps it over restarts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Mono;
use crate::store::queue::{QueueStatus, Totals};

/// One sample a minute.
const EVERY: Duration = Duration::from_secs(60);
/// An hour of them, and the one it is compared with.
const KEPT: usize = 61;
/// Growth is judged over this long: shorter is a burst.
const GROWTH: Duration = Duration::from_secs(300);

/// See the module head.
#[derive(Debug, Default)]
pub struct Recorder {
    samples: VecDeque<(Mono, Totals)>,
    file_id: u64,
}

/// How the totals moved lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Over how long: up to an hour.
    pub over: Duration,
    /// Accepted, refused, missed, dropped, acknowledged, set aside within that time. `queued` and `coalesced` are zero.
    pub moved: Totals,
    /// How many more wait than five minutes ago; `None` before that much is known, zero when not more.
    pub growth: Option<u64>,
}

impl Recorder {
    /// Takes a sample if the last one is a minute old, and tells how things moved.
    pub fn look(&mut self, now: Mono, status: &QueueStatus) -> Recent {
        let totals = all(status);
        if status.file_id != self.file_id {
            // Another file counts from zero.
            self.samples.clear();
            self.file_id = status.file_id;
        }
        if self.samples.back().is_none_or(|(at, _)| now.since(*at) >= EVERY) {
            self.samples.push_back((now, totals));
            if self.samples.len() > KEPT {
                self.samples.pop_front();
            }
        }
        let Some((since, then)) = self.samples.front() else { return Recent::default() };
        let grown_since = self.samples.iter().rev().find(|(at, _)| now.since(*at) >= GROWTH);
        Recent {
            over: now.since(*since),
            moved: Totals {
                accepted: totals.accepted.saturating_sub(then.accepted),
                refused: totals.refused.saturating_sub(then.refused),
                coalesced: 0,
                missed: totals.missed.saturating_sub(then.missed),
                acknowledged: totals.acknowledged.saturating_sub(then.acknowledged),
                dropped: totals.dropped.saturating_sub(then.dropped),
                set_aside: totals.set_aside.saturating_sub(then.set_aside),
                queued: 0,
            },
            growth: grown_since.map(|(_, then)| totals.queued.saturating_sub(then.queued)),
        }
    }
}

/// Both sides of the books: the intake's half, and every destination's.
pub(super) fn all(status: &QueueStatus) -> Totals {
    let out = status.totals.values().fold(Totals::default(), |sum, totals| sum.plus(*totals));
    Totals {
        accepted: status.intake.accepted,
        refused: status.intake.refused,
        coalesced: status.intake.coalesced,
        missed: status.intake.missed,
        ..out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Class;
    use crate::store::queue::DestinationId;

    fn status(dropped: u64, queued: u64, missed: u64) -> QueueStatus {
        let mut status = QueueStatus { file_id: 1, ..QueueStatus::default() };
        status.intake.missed = missed;
        status
            .totals
            .insert((DestinationId(0), Class::Telemetry), Totals { dropped, queued, ..Totals::default() });
        status
    }

    fn at(minutes: u64) -> Mono {
        Mono::from(Duration::from_secs(minutes * 60))
    }

    #[test]
    fn what_was_lost_before_the_start_is_not_recent() {
        let mut recorder = Recorder::default();
        assert_eq!(recorder.look(at(0), &status(500, 0, 3)).moved, Totals::default());
    }

    #[test]
    fn a_loss_is_recent_for_an_hour_and_then_history() {
        let mut recorder = Recorder::default();
        recorder.look(at(0), &status(0, 0, 0));
        assert_eq!(recorder.look(at(1), &status(7, 0, 2)).moved.dropped, 7);
        for minute in 2..=60 {
            assert_eq!(recorder.look(at(minute), &status(7, 0, 2)).moved.dropped, 7, "minute {minute}");
        }
        let later = recorder.look(at(61), &status(7, 0, 2));
        assert_eq!((later.moved.dropped, later.moved.missed), (0, 0));
        assert_eq!(later.over, Duration::from_secs(3600));
    }

    #[test]
    fn growth_is_judged_over_five_minutes_and_only_upwards() {
        let mut recorder = Recorder::default();
        for minute in 0..5 {
            assert_eq!(recorder.look(at(minute), &status(0, 100 * minute, 0)).growth, None);
        }
        assert_eq!(recorder.look(at(5), &status(0, 500, 0)).growth, Some(500));
        assert_eq!(recorder.look(at(6), &status(0, 50, 0)).growth, Some(0));
    }

    #[test]
    fn a_month_of_looking_keeps_an_hour_of_samples() {
        let mut recorder = Recorder::default();
        for minute in 0..43_200 {
            recorder.look(at(minute), &status(minute, 0, 0));
        }
        assert_eq!(recorder.samples.len(), KEPT);
    }

    #[test]
    fn another_queue_file_begins_a_new_hour() {
        let mut recorder = Recorder::default();
        recorder.look(at(0), &status(900, 0, 0));
        let other = QueueStatus { file_id: 2, ..status(5, 0, 0) };
        assert_eq!(recorder.look(at(1), &other).moved.dropped, 0);
    }
}
