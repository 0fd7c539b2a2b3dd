//! The promise: a recount beside a running daemon holds no transaction for long, however large the queue is, and what it says
//! is true of one moment, however the books move meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::{Class, GroupId, Sample, StreamId};
use fieldgate::store::queue::look::{self, Source};
use fieldgate::store::queue::verify::{Verified, recount_between};
use fieldgate::store::queue::writer::{AsideAction, Command as Ask, GiveUp};
use fieldgate::store::queue::{Aside, DestinationId, Outcome, Position, Reader};
use fieldgate::store::worker::Machine as _;
use support::{Hand, Rng, capture, fast_folder, options, settlement, spec, steps};
use tokio::sync::oneshot;

/// As many readings may be decoded in one transaction: what `verify` says of itself is held against it. A segment is read whole.
const AT_ONCE: u64 = 65_536 + 4096;

fn opened(path: PathBuf) -> Hand {
    let streams = vec![
        spec("tank.level", "tank", Class::Telemetry, &["golioth", "plant"]),
        spec("tank.flow", "tank", Class::Telemetry, &["plant"]),
        spec("tank.alarm", "alarms", Class::Alarm, &["golioth", "plant"]),
    ];
    Hand::open(options(path, streams, &["golioth", "plant"], 3), Mono(1_000_000_000)).unwrap()
}

fn ids(hand: &Hand) -> [(StreamId, GroupId); 3] {
    hand.writer.stream_ids().try_into().unwrap()
}

/// `commits` segments a route of `instants` instants each.
fn fill(hand: &mut Hand, commits: u32, instants: i64) {
    let [(level, group), (flow, _), _] = ids(hand);
    for _ in 0..commits {
        for n in 0..instants {
            hand.now = hand.now.plus(Duration::from_millis(10));
            // Long as bytes.
            let samples: Vec<Sample> = vec![steps(level, (n + 1) << 48), steps(flow, -((n + 1) << 48))];
            hand.offer(capture(group, hand.now, samples));
        }
        hand.flush();
    }
}

fn source(path: &Path) -> Source {
    Source::Beside(path.to_owned())
}

/// One commit's worth of what a busy gateway does, by chance.
fn disturb(hand: &mut Hand, path: &Path, rng: &mut Rng) {
    let destinations: Vec<DestinationId> = hand.writer.destination_ids().iter().map(|(id, _)| *id).collect();
    let destination = destinations[usize::try_from(rng.below(2)).unwrap()];
    match rng.below(7) {
        0 => fill(hand, 1, 3),
        1 => {
            let [.., (alarm, group)] = ids(hand);
            hand.now = hand.now.plus(Duration::from_millis(10));
            hand.accept(capture(group, hand.now, vec![steps(alarm, 1)])).unwrap();
        }
        // At the cursor, or somewhere behind it: an island.
        n @ 2..=4 => {
            let mut reader = Reader::open(path, destination).unwrap();
            let class = if n == 4 { Class::Alarm } else { Class::Telemetry };
            let start = reader.start(class);
            let skipped = i64::try_from(rng.below(if n == 3 { 900 } else { 1 })).unwrap();
            let from =
                if skipped == 0 { start } else { Position { segment: start.segment + skipped, row: 0 } };
            let picked = reader.pick(class, from, 1 + usize::try_from(rng.below(200)).unwrap()).unwrap();
            let outcome = match rng.below(8) {
                0 => Outcome::SetAside("4.00".into()),
                1 => Outcome::Dropped("age"),
                _ => Outcome::Acknowledged,
            };
            let rows = if matches!(outcome, Outcome::SetAside(_)) {
                &picked.rows[..picked.rows.len().min(1)]
            } else {
                &picked.rows[..]
            };
            if let Some(last) = rows.last() {
                let to = Position { segment: last.position.segment, row: last.position.row + 1 };
                hand.settle(settlement(0, destination, from, to, rows, outcome));
                hand.flush();
            }
        }
        5 => {
            let (reply, _) = oneshot::channel();
            let which = Aside::AllOf(destination);
            hand.writer.handle(hand.now, Ask::Aside { which, action: AsideAction::Retry, reply });
        }
        _ => {
            let [_, (flow, _), _] = ids(hand);
            let class = Class::Telemetry;
            let start = Reader::open(path, destination).unwrap().start(class);
            let until = Position { segment: start.segment + 20, row: 0 };
            let until = until.min(hand.status().ends[&class]);
            let streams = (rng.below(2) == 0).then(|| vec![flow]);
            let (reply, mut answer) = oneshot::channel();
            let what = GiveUp { generation: 0, destination, class, until, streams };
            hand.writer.handle(hand.now, Ask::GiveUp { what, reply });
            answer.try_recv().unwrap().unwrap();
        }
    }
}

fn told(verified: &Verified) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        verified.destinations.clone(),
        verified.detail.streams.clone(),
        verified.detail.held.clone(),
        (verified.segments, verified.rows),
    )
}

#[test]
fn a_large_queue_is_recounted_in_transactions_of_bounded_length() {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = opened(path.clone());
    fill(&mut hand, 1500, 200);
    let connection = look::open(&source(&path)).unwrap();
    let mut transactions = 0;
    let verified = recount_between(&connection, &source(&path), &mut || transactions += 1).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    assert_eq!(verified.rows, 600_000);
    assert!(!verified.whole_file, "SQLite's check of all of it is one long transaction");
    assert!(verified.most_rows_at_once <= AT_ONCE, "{} at once", verified.most_rows_at_once);
    assert!(transactions >= 600_000 / AT_ONCE, "{transactions} transactions cannot have been short");
    let queued: Vec<u64> = verified.destinations.values().map(|totals| totals.queued).collect();
    assert_eq!(queued, [300_000, 600_000]);
    // Everything was told as runs: no hole between two pages.
    assert_eq!(verified.detail.held.len(), 3, "{:?}", verified.detail.held);
    hand.close();
}

/// Between two transactions the whole log can be brought home: nobody holds it.
#[test]
fn the_log_is_brought_home_while_a_recount_is_under_way() {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = opened(path.clone());
    fill(&mut hand, 800, 100);
    let connection = look::open(&source(&path)).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let (mut tried, mut home) = (0, 0);
    recount_between(&connection, &source(&path), &mut || {
        fill(&mut hand, 1, 1);
        let (busy, log, done): (i64, i64, i64) = other
            .query_row("PRAGMA wal_checkpoint(RESTART)", [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .unwrap();
        tried += 1;
        home += u32::from(busy == 0 && log == done);
    })
    .unwrap();
    assert!(tried > 2, "{tried} transactions");
    assert_eq!(home, tried, "a reader holds the log");
    hand.close();
}

#[test]
fn books_that_move_between_two_transactions_are_recounted_as_of_one_moment() {
    let mut rng = Rng(support::seed("books_that_move_between_two_transactions"));
    let folder = fast_folder();
    for round in 0..6 {
        let path = folder.path().join(format!("queue-{round}.db"));
        let mut hand = opened(path.clone());
        fill(&mut hand, 900, 120);
        let connection = look::open(&source(&path)).unwrap();
        let mut moved = 0;
        let busy = recount_between(&connection, &source(&path), &mut || {
            for _ in 0..=rng.below(4) {
                disturb(&mut hand, &path, &mut rng);
                moved += 1;
            }
        })
        .unwrap();
        assert!(moved > 2);
        assert_eq!(busy.problems, Vec::<String>::new(), "round {round}");
        // Nothing has moved since the last transaction: whoever counts at rest finds the same.
        let at_rest = recount_between(&connection, &source(&path), &mut || {}).unwrap();
        assert_eq!(told(&busy), told(&at_rest), "round {round}");
        hand.close();
    }
}

/// A recount that joined what it counted at different moments would find nothing wrong here, or something else.
#[test]
fn a_disagreement_is_found_however_the_books_move() {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = opened(path.clone());
    fill(&mut hand, 1000, 60);
    let behind = rusqlite::Connection::open(&path).unwrap();
    behind
        .execute_batch(
            "DELETE FROM segments WHERE id = (SELECT id FROM segments ORDER BY id LIMIT 1 OFFSET 700)",
        )
        .unwrap();
    drop(behind);
    let connection = look::open(&source(&path)).unwrap();
    let verified = recount_between(&connection, &source(&path), &mut || {
        fill(&mut hand, 3, 2);
    })
    .unwrap();
    assert!(!verified.problems.is_empty(), "a segment is missing and nobody says so");
    assert!(verified.problems.iter().all(|problem| problem.contains("accepted")), "{:?}", verified.problems);
    hand.close();
}
