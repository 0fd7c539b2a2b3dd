//! The store after a power cut, image by image, where a proof that chooses its points by chance might not look.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use fieldgate_sim::clock::Clock;
use fieldgate_sim::crash::disk::{Change, Event, Fate, Log};
use fieldgate_sim::crash::gateway::{self, GatewayJudge};
use fieldgate_sim::crash::queue::{self, Kind, Lived, QueueJudge};
use fieldgate_sim::crash::{Judge, Sum, Wanted, examine};
use tokio_util::sync::CancellationToken;

const EVERY_POINT: Wanted = Wanted { points: usize::MAX, random: 4, seed: 11, enough: 20 };

fn all_images(log: &Log, judge: &impl Judge, wanted: Wanted) -> Sum {
    let sum = examine(log, judge, wanted, None, &CancellationToken::new()).unwrap();
    assert_eq!(sum.broken(), 0, "{sum:#?}");
    sum
}

fn of_queue(lived: &Lived) -> Sum {
    assert_eq!(lived.wrong, Vec::<String>::new());
    all_images(&lived.log, &QueueJudge { promises: &lived.promises, clock: Clock::start() }, EVERY_POINT)
}

/// The events until the first segment could be answered: SQLite makes the file, its log, the tables, the first epoch.
const MAKING: usize = 110;

#[test]
fn a_power_cut_while_the_queue_is_made_is_never_taken_for_damage() {
    let mut lived = queue::live(Kind::Plain, 3, MAKING, None).unwrap();
    lived.log.events.truncate(MAKING);
    let sum = of_queue(&lived);
    assert!(sum.points as usize == MAKING + 1 && sum.images > 500, "{sum:?}");
}

#[test]
fn a_power_cut_while_the_gateways_file_is_made_is_never_taken_for_damage() {
    let mut lived = gateway::live(3, MAKING).unwrap();
    lived.log.events.truncate(MAKING);
    // Each opening makes a snapshot, and each end of it another: every third point is enough.
    let wanted = Wanted { points: MAKING / 3, random: 1, ..EVERY_POINT };
    all_images(&lived.log, &GatewayJudge { promised: &lived.promised, clock: Clock::start() }, wanted);
}

#[test]
fn what_is_accepted_after_a_failed_sync_survives_a_power_cut_that_takes_what_the_sync_was_for() {
    let lived = queue::live(Kind::Faulty, 5, 500, None).unwrap();
    assert!(lived.failures.0 > 0 && lived.restarts > 0, "the test does not meet its subject");
    let wanted = Wanted { points: 40, ..EVERY_POINT };
    let judge = QueueJudge { promises: &lived.promises, clock: Clock::start() };
    let sum =
        examine(&lived.log, &judge, wanted, lived.stale_index.as_deref(), &CancellationToken::new()).unwrap();
    assert_eq!(sum.broken(), 0, "{sum:#?}");
}

#[test]
fn what_is_recorded_after_a_restart_on_a_disk_that_failed_survives_a_power_cut() {
    let lived = gateway::live(5, 300).unwrap();
    assert!(lived.restarts > 0, "the test does not meet its subject");
    assert_eq!(lived.wrong, Vec::<String>::new());
    let wanted = Wanted { points: 30, random: 2, ..EVERY_POINT };
    all_images(&lived.log, &GatewayJudge { promised: &lived.promised, clock: Clock::start() }, wanted);
}

/// The proof is only worth what its disk is strict: without a single sync nothing may be relied on.
#[test]
fn a_life_whose_syncs_did_nothing_is_seen_to_lose() {
    let mut lived = queue::live(Kind::Plain, 3, 300, None).unwrap();
    for event in &mut lived.log.events {
        // In its place, because promises count by it.
        if let Event::Synced { ino, .. } = *event {
            *event = Event::SyncFailed { ino, fate: Fate::Waiting };
        }
    }
    let writes =
        lived.log.events.iter().filter(|e| matches!(e, Event::Changed(Change::Write { .. }))).count();
    assert!(writes > 100);
    let judge = QueueJudge { promises: &lived.promises, clock: Clock::start() };
    // The store sees that something is missing more often than not, and says so: the search goes on to what it cannot see.
    let wanted = Wanted { points: 10, enough: u64::MAX, ..EVERY_POINT };
    let sum = examine(&lived.log, &judge, wanted, None, &CancellationToken::new()).unwrap();
    assert!(sum.lost.count > 0, "{sum:#?}");
}
