//! What changed within the last hour: a gateway that lost a reading a year ago is fine today.
//!
//! The books count from the day the queue file was made. This keeps one small sample a minute of their totals, so that
//! the verdict can tell a loss that goes on from one that is history. Pure; the lane feeds it and keeps it over restarts.
//!
//! Destinations are never added up: a reading given up for one may have arrived at another.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Mono;
use crate::gather::Gather;
use crate::store::queue::{DestinationId, QueueStatus, Totals};

/// One sample a minute.
const EVERY: Duration = Duration::from_secs(60);
/// An hour of them, and the one it is compared with.
const KEPT: usize = 61;
/// Growth is judged over this long: shorter is a burst.
const GROWTH: Duration = Duration::from_secs(300);

/// See the module head.
#[derive(Debug, Default)]
pub struct Recorder {
    samples: VecDeque<(Mono, Sample)>,
    file_id: u64,
}

#[derive(Clone, Debug, Default)]
struct Sample {
    intake: Totals,
    destinations: BTreeMap<DestinationId, Outgoing>,
}

/// One destination's side of the books, with what was given up told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// All classes.
    pub totals: Totals,
    /// Of `dropped`: a newer reading of the same stream took their place, as the stream asks for. Nobody misses them.
    pub superseded: u64,
    /// Of `dropped`: left out for the data plan's sake, declared with a marker.
    pub thinned: u64,
    /// Of `dropped`: people wanted it, by a command or by taking the destination out of the configuration.
    pub by_people: u64,
    /// Of `dropped`, and lost: refused by the destination, and no room among those that are kept aside.
    pub crowded_out: u64,
}

impl Outgoing {
    /// What the books say of `destination` now.
    #[must_use]
    pub fn of(status: &QueueStatus, destination: DestinationId) -> Self {
        Self {
            totals: status.destination(destination),
            superseded: status.given_up_for(destination, SUPERSEDED),
            thinned: status.given_up_for(destination, THINNED),
            by_people: BY_PEOPLE.iter().map(|reason| status.given_up_for(destination, reason)).sum(),
            crowded_out: status.given_up_for(destination, "set_aside_limit"),
        }
    }

    /// Readings that the destination should have got and will not: given up, and neither superseded nor thinned nor by people.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let declared = self.superseded.saturating_add(self.thinned).saturating_add(self.by_people);
        self.totals.dropped.saturating_sub(declared)
    }
}

/// The reasons on record that are no loss ([`crate::store::queue::GivenUp`]): these and [`BY_PEOPLE`].
pub const SUPERSEDED: &str = "superseded";
/// See [`SUPERSEDED`].
pub const THINNED: &str = "thinned";
/// The reasons on record that are somebody's decision.
pub const BY_PEOPLE: [&str; 2] = ["operator", "destination_removed"];

/// How the totals moved lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Over how long: up to an hour.
    pub over: Duration,
    /// Accepted, refused and missed within that time; the rest is zero.
    pub intake: Totals,
    /// By destination.
    pub destinations: BTreeMap<DestinationId, Moved>,
}

/// What became of readings for one destination within [`Recent::over`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// See [`Outgoing::lost`].
    pub lost: u64,
    /// See [`Outgoing::crowded_out`].
    pub crowded_out: u64,
    /// See [`Outgoing::thinned`].
    pub thinned: u64,
    /// Refused by the destination and kept aside.
    pub set_aside: u64,
    /// How many more wait than five minutes ago; `None` before that much is known, zero when not more.
    pub growth: Option<u64>,
}

impl Recorder {
    /// Takes a sample if the last one is a minute old, and tells how things moved.
    pub fn look(&mut self, now: Mono, status: &QueueStatus) -> Recent {
        let sample = Sample::of(status);
        if status.file_id != self.file_id {
            // Another file counts from zero.
            self.samples.clear();
            self.file_id = status.file_id;
        }
        if self.samples.back().is_none_or(|(at, _)| now.since(*at) >= EVERY) {
            self.samples.push_back((now, sample.clone()));
            if self.samples.len() > KEPT {
                self.samples.pop_front();
            }
        }
        let Some((since, then)) = self.samples.front() else { return Recent::default() };
        let before_growth = self.samples.iter().rev().find(|(at, _)| now.since(*at) >= GROWTH);
        let (new, old) = (sample.intake, then.intake);
        let moved = |(id, new): (&DestinationId, &Outgoing)| {
            let old = then.destinations.get(id).copied().unwrap_or_default();
            let queued = |then: &Sample| then.destinations.get(id).map_or(0, |old| old.totals.queued);
            let moved = Moved {
                lost: new.lost().saturating_sub(old.lost()),
                crowded_out: new.crowded_out.saturating_sub(old.crowded_out),
                thinned: new.thinned.saturating_sub(old.thinned),
                set_aside: new.totals.set_aside.saturating_sub(old.totals.set_aside),
                growth: before_growth.map(|(_, then)| new.totals.queued.saturating_sub(queued(then))),
            };
            (*id, moved)
        };
        Recent {
            over: now.since(*since),
            intake: Totals {
                accepted: new.accepted.saturating_sub(old.accepted),
                refused: new.refused.saturating_sub(old.refused),
                missed: new.missed.saturating_sub(old.missed),
                ..Totals::default()
            },
            destinations: sample.destinations.iter().map(moved).gathered(),
        }
    }
}

impl Sample {
    fn of(status: &QueueStatus) -> Self {
        let mut destinations = BTreeMap::new();
        for (id, _) in status.totals.keys() {
            destinations.entry(*id).or_insert_with(|| Outgoing::of(status, *id));
        }
        Self { intake: status.intake, destinations }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use super::*;
    use crate::reading::Class;

    const CLOUD: DestinationId = DestinationId(0);

    fn status(dropped: u64, queued: u64, missed: u64) -> QueueStatus {
        let mut status = QueueStatus { file_id: 1, ..QueueStatus::default() };
        status.intake.missed = missed;
        status.totals.insert((CLOUD, Class::Telemetry), Totals { dropped, queued, ..Totals::default() });
        status
    }

    fn at(minutes: u64) -> Mono {
        Mono::from(Duration::from_secs(minutes * 60))
    }

    fn moved(recent: &Recent) -> Moved {
        recent.destinations.get(&CLOUD).copied().unwrap()
    }

    #[test]
    fn what_was_lost_before_the_start_is_not_recent() {
        let mut recorder = Recorder::default();
        let recent = recorder.look(at(0), &status(500, 0, 3));
        assert_eq!((recent.intake, moved(&recent)), (Totals::default(), Moved::default()));
    }

    #[test]
    fn a_loss_is_recent_for_an_hour_and_then_history() {
        let mut recorder = Recorder::default();
        recorder.look(at(0), &status(0, 0, 0));
        assert_eq!(moved(&recorder.look(at(1), &status(7, 0, 2))).lost, 7);
        for minute in 2..=60 {
            assert_eq!(moved(&recorder.look(at(minute), &status(7, 0, 2))).lost, 7, "minute {minute}");
        }
        let later = recorder.look(at(61), &status(7, 0, 2));
        assert_eq!((moved(&later).lost, later.intake.missed), (0, 0));
        assert_eq!(later.over, Duration::from_secs(3600));
    }

    #[test]
    fn what_a_newer_reading_replaced_and_what_was_thinned_is_no_loss() {
        let mut recorder = Recorder::default();
        recorder.look(at(0), &status(0, 0, 0));
        let mut later = status(60, 0, 0);
        let reason = |reason| ((CLOUD, Cow::Borrowed(reason)), 25);
        later.given_up = Arc::new([reason(SUPERSEDED), reason(THINNED), ((CLOUD, "age".into()), 10)].into());
        let recent = recorder.look(at(1), &later);
        assert_eq!((moved(&recent).lost, moved(&recent).thinned), (10, 25));
    }

    #[test]
    fn what_people_gave_up_is_no_loss_and_what_found_no_room_aside_is_one_of_its_own() {
        let mut recorder = Recorder::default();
        recorder.look(at(0), &status(0, 0, 0));
        let mut later = status(60, 0, 0);
        let reason = |(reason, count)| ((CLOUD, Cow::Borrowed(reason)), count);
        let given_up = [("operator", 20), ("destination_removed", 25), ("set_aside_limit", 5), ("age", 10)];
        later.given_up = Arc::new(given_up.map(reason).into());
        let moved = moved(&recorder.look(at(1), &later));
        assert_eq!((moved.lost, moved.crowded_out), (15, 5));
    }

    #[test]
    fn what_one_destination_gave_up_is_not_added_to_anothers() {
        let mut recorder = Recorder::default();
        let other = DestinationId(1);
        let both = |first, second| {
            let mut status = status(first, 0, 0);
            let dropped = Totals { dropped: second, ..Totals::default() };
            status.totals.insert((other, Class::Telemetry), dropped);
            status
        };
        recorder.look(at(0), &both(0, 0));
        let recent = recorder.look(at(1), &both(5, 9));
        assert_eq!((moved(&recent).lost, recent.destinations[&other].lost), (5, 9));
    }

    #[test]
    fn growth_is_judged_over_five_minutes_and_only_upwards() {
        let mut recorder = Recorder::default();
        for minute in 0..5 {
            assert_eq!(moved(&recorder.look(at(minute), &status(0, 100 * minute, 0))).growth, None);
        }
        assert_eq!(moved(&recorder.look(at(5), &status(0, 500, 0))).growth, Some(500));
        assert_eq!(moved(&recorder.look(at(6), &status(0, 50, 0))).growth, Some(0));
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
        assert_eq!(moved(&recorder.look(at(1), &other)).lost, 0);
    }
}
