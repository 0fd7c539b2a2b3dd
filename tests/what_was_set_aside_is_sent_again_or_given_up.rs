//! The promise: a reading that a destination refused can be sent again under the identity it was accepted with, or be given
//! up on record; and whatever is done, the books add up at each moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::Class;
use fieldgate::store::queue::writer::{AsideAction, Command};
use fieldgate::store::queue::{
    Aside, AsideError, AsideMoved, DestinationId, Outcome, Position, QueuedRow, Totals,
};
use fieldgate::store::worker::Machine;
use support::{Hand, capture, fast_folder, options, problems, settlement, spec, steps, waiting};
use tokio::sync::oneshot;

const START: Mono = Mono(5_000_000_000);

struct Bench {
    hand: Hand,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn open(path: &Path, epoch: u64) -> Hand {
    let streams = vec![
        spec("level", "g", Class::Telemetry, &["golioth", "plant"]),
        spec("alarm", "g", Class::Alarm, &["golioth"]),
    ];
    Hand::open(options(path.to_owned(), streams, &["golioth", "plant"], epoch), START).unwrap()
}

/// Four instants accepted; golioth has acknowledged the first and refused the third.
fn refused() -> Bench {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1);
    let (stream, group) = hand.writer.stream_ids()[0];
    for n in 0..4 {
        hand.now = hand.now.plus(Duration::from_secs(1));
        hand.accept(capture(group, hand.now, vec![steps(stream, n)])).unwrap();
    }
    let mut bench = Bench { hand, path, _folder: folder };
    let rows = waiting(&bench.path, bench.golioth());
    bench.settle(&rows[0..1], Position::first_of(Class::Telemetry), Outcome::Acknowledged);
    bench.settle(&rows[2..3], rows[2].position, Outcome::SetAside("4.00, no".into()));
    assert_eq!(
        bench.totals(),
        Totals { accepted: 4, acknowledged: 1, set_aside: 1, queued: 2, ..Totals::default() }
    );
    bench
}

impl Bench {
    fn golioth(&self) -> DestinationId {
        self.hand.writer.destination_ids()[0].0
    }

    fn plant(&self) -> DestinationId {
        self.hand.writer.destination_ids()[1].0
    }

    fn totals(&self) -> Totals {
        assert_eq!(problems(&self.path), Vec::<String>::new());
        self.hand.status().destination(self.golioth())
    }

    fn settle(&mut self, rows: &[QueuedRow], from: Position, outcome: Outcome) {
        let to = rows.last().unwrap().position.next_segment();
        self.hand.settle(settlement(0, self.golioth(), from, to, rows, outcome));
        self.hand.flush();
    }

    fn ask(&mut self, which: Aside, action: AsideAction) -> Result<AsideMoved, AsideError> {
        let (reply, mut answer) = oneshot::channel();
        self.hand.writer.handle(self.hand.now, Command::Aside { which, action, reply });
        answer.try_recv().unwrap()
    }
}

fn identity(row: &QueuedRow) -> (u64, u64, Mono, fieldgate::reading::Sample) {
    (row.epoch.epoch.0, row.sequence, row.at, row.sample.clone())
}

#[test]
fn a_reading_sent_again_keeps_its_identity_and_goes_to_that_destination_only() {
    let mut bench = refused();
    let was = waiting(&bench.path, bench.plant())[2].clone();
    let moved = bench.ask(Aside::AllOf(bench.golioth()), AsideAction::Retry).unwrap();
    assert_eq!(moved, AsideMoved { moved: 1, ..AsideMoved::default() });
    assert_eq!(bench.totals(), Totals { accepted: 4, acknowledged: 1, queued: 3, ..Totals::default() });
    let rows = waiting(&bench.path, bench.golioth());
    assert_eq!(identity(&rows[2]), identity(&was), "behind what waited");
    assert_eq!(
        waiting(&bench.path, bench.plant()).len(),
        4,
        "the other has its own copy still, and no second one"
    );
    bench.settle(&rows, rows[0].position, Outcome::Acknowledged);
    assert_eq!(bench.totals(), Totals { accepted: 4, acknowledged: 4, ..Totals::default() });
}

#[test]
fn it_may_be_refused_and_sent_again_any_number_of_times() {
    let mut bench = refused();
    for _ in 0..4 {
        assert_eq!(bench.ask(Aside::AllOf(bench.golioth()), AsideAction::Retry).unwrap().moved, 1);
        let rows = waiting(&bench.path, bench.golioth());
        let last = &rows[rows.len() - 1..];
        bench.settle(last, last[0].position, Outcome::SetAside("4.00, no".into()));
        assert_eq!(bench.totals().set_aside, 1);
    }
}

#[test]
fn what_was_sent_again_is_there_after_a_crash_and_under_its_own_epoch() {
    let mut bench = refused();
    bench.ask(Aside::AllOf(bench.golioth()), AsideAction::Retry).unwrap();
    let before: Vec<_> = waiting(&bench.path, bench.golioth()).iter().map(identity).collect();
    bench.hand = open(&bench.path, 2);
    let (stream, group) = bench.hand.writer.stream_ids()[0];
    bench.hand.accept(capture(group, bench.hand.now, vec![steps(stream, 9)])).unwrap();
    assert_eq!(bench.totals().queued, 4, "its place is not taken by what comes after");
    let after: Vec<_> = waiting(&bench.path, bench.golioth()).iter().map(identity).collect();
    assert_eq!(after[..3], before);
}

#[test]
fn a_reading_given_up_is_on_record_as_dropped_by_the_operator() {
    let mut bench = refused();
    let moved = bench.ask(Aside::AllOf(bench.golioth()), AsideAction::Drop).unwrap();
    assert_eq!(moved, AsideMoved { moved: 1, ..AsideMoved::default() });
    assert_eq!(
        bench.totals(),
        Totals { accepted: 4, acknowledged: 1, dropped: 1, queued: 2, ..Totals::default() }
    );
    let file = fieldgate::store::sqlite::open_reader(&bench.path).unwrap();
    let reason: String = file.query_row("SELECT reason FROM drops", [], |r| r.get(0)).unwrap();
    assert_eq!(reason, "operator");
    assert_eq!(bench.ask(Aside::AllOf(bench.golioth()), AsideAction::Drop).unwrap(), AsideMoved::default());
}

#[test]
fn another_destinations_and_unknown_ones_are_left_alone() {
    let mut bench = refused();
    for which in [Aside::AllOf(bench.plant()), Aside::Numbers(vec![77])] {
        for action in [AsideAction::Retry, AsideAction::Drop] {
            let unknown = if let Aside::Numbers(numbers) = &which { numbers.clone() } else { Vec::new() };
            let moved = bench.ask(which.clone(), action).unwrap();
            assert_eq!(moved, AsideMoved { unknown, ..AsideMoved::default() });
        }
    }
    assert_eq!(bench.totals().set_aside, 1);
}

#[test]
fn what_does_not_read_can_only_be_given_up() {
    let mut bench = refused();
    let file = rusqlite::Connection::open(&bench.path).unwrap();
    file.execute("UPDATE set_aside SET body = x'00'", []).unwrap();
    drop(file);
    let moved = bench.ask(Aside::Numbers(vec![1, 1]), AsideAction::Retry).unwrap();
    assert_eq!((moved, bench.totals().set_aside), (AsideMoved { left: 1, ..AsideMoved::default() }, 1));
    assert_eq!(bench.ask(Aside::Numbers(vec![1, 1]), AsideAction::Drop).unwrap().moved, 1);
    assert_eq!(bench.totals().dropped, 1);
}
