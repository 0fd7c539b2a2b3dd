//! What several parts of the writer promise together, driven by hand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::{
    ClassQuota, ClassQuotas, DestinationSpec, Outcome, Reader, SettledRow, StreamSpec, open, verify,
};
use super::*;
use crate::clock::{BootId, Wall};
use crate::reading::{Quality, Sample, Value};

const NOW: Mono = Mono(5_000_000_000);
const NO_WALL: Wall = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };
const A: usize = 0;
const B: usize = 1;

struct Bench {
    _folder: tempfile::TempDir,
    path: PathBuf,
    writer: Writer,
}

impl Bench {
    /// Two streams of telemetry in one group, for one destination.
    fn new(class_quotas: ClassQuotas) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        let stream = |name: &str| StreamSpec {
            name: name.into(),
            group: "g".into(),
            device: "d".into(),
            class: Class::Telemetry,
            unit: String::new(),
            resolution: None,
            alias: name.into(),
            routes: vec!["cloud".into()],
            latest_only: false,
        };
        let options = OpenOptions {
            path: path.clone(),
            streams: vec![stream("a"), stream("b")],
            destinations: vec![DestinationSpec { name: "cloud".into() }],
            commit_window: Duration::from_secs(1),
            max_bytes: 1 << 20,
            class_quotas,
            ballast_bytes: 0,
            flash_budget_per_day: None,
            boot: BootId([1; 16]),
            epoch: Epoch(5),
            file_id: 6,
        };
        let writer = open::open(options, NOW, NO_WALL).unwrap();
        Self { _folder: folder, path, writer }
    }

    fn offer(&mut self, samples: Vec<Sample>) -> oneshot::Receiver<Result<Accepted, Refused>> {
        let (reply, answer) = oneshot::channel();
        let group = self.writer.stream_ids()[A].1;
        let capture = Capture { group, at: NOW, samples, missing: Vec::new() };
        self.writer.handle(NOW, Command::Accept { capture, reply });
        answer
    }

    /// `count` instants with a reading of each of the streams, each its own commit.
    fn take(&mut self, streams: &[usize], count: i64) {
        for n in 0..count {
            let ids = self.writer.stream_ids();
            let sample = |place: &usize| Sample {
                stream: ids[*place].0,
                value: Value::Steps(n),
                quality: Quality::Good,
            };
            drop(self.offer(streams.iter().map(sample).collect()));
            self.flush();
        }
    }

    fn flush(&mut self) -> Health {
        let (reply, mut answer) = oneshot::channel();
        self.writer.handle(NOW, Command::Flush(reply));
        answer.try_recv().unwrap()
    }

    fn cloud(&self) -> DestinationId {
        self.writer.destination_ids()[0].0
    }

    /// All that waits, as a drain sees it.
    fn waiting(&self) -> Vec<SettledRow> {
        let first = Position::first_of(Class::Telemetry);
        let picked = Reader::open(&self.path, self.cloud()).unwrap().pick(Class::Telemetry, first, 10_000);
        picked.unwrap().rows.iter().map(SettledRow::of).collect()
    }

    /// A message that held these rows was answered.
    fn settle(&mut self, rows: &[SettledRow], outcome: Outcome) {
        let settlement = Settlement {
            generation: self.writer.generation,
            destination: self.cloud(),
            class: Class::Telemetry,
            from: rows[0].position,
            to: rows[rows.len() - 1].position.next_segment(),
            rows: rows.to_vec(),
            given_up: Vec::new(),
            outcome,
            announces_epoch: false,
        };
        self.writer.handle(NOW, Command::Settle(settlement));
    }

    fn give_up(&mut self, until: Position, streams: Option<Vec<StreamId>>) -> Result<GaveUp, GiveUpError> {
        let (reply, mut answer) = oneshot::channel();
        let generation = self.writer.generation;
        let what = GiveUp { generation, destination: self.cloud(), class: Class::Telemetry, until, streams };
        self.writer.handle(NOW, Command::GiveUp { what, reply });
        answer.try_recv().unwrap()
    }

    /// First and last sequence, count and extent.
    fn drops(&self) -> Vec<(i64, i64, i64, i64)> {
        let file = rusqlite::Connection::open(&self.path).unwrap();
        let sql =
            "SELECT first_sequence, last_sequence, count, extent FROM drops ORDER BY stream, first_sequence";
        let mut rows = file.prepare(sql).unwrap();
        rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }
}

fn problems(path: &Path) -> Vec<String> {
    verify::verify(path).unwrap().problems
}

#[test]
fn two_answers_in_one_commit_are_two_ranges_where_what_stands_between_them_is_under_way() {
    let mut bench = Bench::new(ClassQuotas::new());
    bench.take(&[A], 7);
    let rows = bench.waiting();
    bench.settle(&rows[0..3], Outcome::Dropped("age"));
    bench.settle(&rows[6..7], Outcome::Dropped("age"));
    bench.flush();
    assert_eq!(bench.drops(), [(1, 3, 3, 0), (7, 7, 1, 0)]);
    bench.settle(&rows[3..6], Outcome::Acknowledged);
    bench.flush();
    assert_eq!(bench.drops(), [(1, 3, 3, 0), (7, 7, 1, 0)]);
    assert_eq!(problems(&bench.path), Vec::<String>::new());
}

#[test]
fn what_a_destination_has_is_in_no_range_of_what_an_operator_gave_up() {
    let mut bench = Bench::new(ClassQuotas::new());
    bench.take(&[A], 5);
    let rows = bench.waiting();
    bench.settle(&rows[2..3], Outcome::Acknowledged);
    bench.flush();
    let end = bench.writer.next_segment[&Class::Telemetry];
    assert_eq!(bench.give_up(end, None).unwrap().dropped, 4);
    assert_eq!(bench.drops(), [(1, 2, 2, 0), (4, 5, 2, 0)]);
    assert_eq!(problems(&bench.path), Vec::<String>::new());
}

#[test]
fn one_stream_is_given_up_only_while_the_others_have_room_behind() {
    let mut bench = Bench::new(ClassQuotas::new());
    bench.take(&[A, B], 6);
    let (end, a) = (bench.writer.next_segment[&Class::Telemetry], bench.writer.stream_ids()[A].0);
    bench.writer.used_bytes = bench.writer.options.max_bytes / 16 * 11;
    assert_eq!(bench.give_up(end, Some(vec![a])), Err(GiveUpError::NoRoom));
    assert_eq!(bench.drops(), []);
    bench.writer.measure();
    let gave_up = bench.give_up(end, Some(vec![a])).unwrap();
    assert_eq!((gave_up.dropped, gave_up.behind), (6, 6));
}

#[test]
fn a_segment_that_does_not_decode_is_never_given_up_off_the_record() {
    let quota = ClassQuota { rows: Some(32), bytes: None };
    let mut bench = Bench::new(ClassQuotas::from([(Class::Telemetry, quota)]));
    bench.take(&[A], 30);
    let file = rusqlite::Connection::open(&bench.path).unwrap();
    let first = Position::first_of(Class::Telemetry).segment;
    let spoil = "UPDATE segments SET body = zeroblob(length(body)) WHERE id = ?1";
    assert_eq!(file.execute(spoil, [first]).unwrap(), 1);
    drop(file);
    bench.take(&[A], 5);
    assert_eq!((bench.writer.generation, bench.flush()), (1, Health::Good), "the file is replaced");
    assert_eq!(bench.writer.damaged.len(), 1, "and that is on record");
    assert_eq!(problems(&bench.path), Vec::<String>::new());
}

#[test]
fn captures_that_add_no_reading_are_committed_before_they_are_too_many() {
    let mut bench = Bench::new(ClassQuotas::new());
    let mut first = bench.offer(Vec::new());
    for _ in 0..MAX_PENDING_ROWS - 2 {
        drop(bench.offer(Vec::new()));
    }
    assert!(first.try_recv().is_err());
    drop(bench.offer(Vec::new()));
    assert!(first.try_recv().unwrap().is_ok());
    assert!(bench.writer.pending.captures.is_empty());
}

#[test]
fn an_answer_that_finds_no_place_is_said_to_be_forgotten_once_the_others_are_on_disk() {
    let mut bench = Bench::new(ClassQuotas::new());
    bench.take(&[A], 2);
    let (rows, cloud) = (bench.waiting(), bench.cloud());
    let forgotten = |bench: &Bench| bench.writer.subscribe().borrow().forgotten.get(&cloud).copied();
    bench.writer.health = Health::DiskFull;
    bench.writer.pending.retry_at = Some(NOW.plus(Duration::from_secs(1)));
    for _ in 0..MAX_PENDING_SETTLEMENTS {
        bench.settle(&rows[..1], Outcome::Acknowledged);
    }
    bench.settle(&rows[1..], Outcome::Acknowledged);
    assert_eq!((bench.flush(), forgotten(&bench)), (Health::DiskFull, None), "nothing is on disk yet");
    bench.writer.pending.retry_at = None;
    assert_eq!((bench.flush(), forgotten(&bench)), (Health::Good, Some(1)));
    assert_eq!(bench.waiting(), rows[1..], "the file still has what was forgotten, and only that");
    assert_eq!((bench.flush(), forgotten(&bench)), (Health::Good, Some(1)));
    assert_eq!(problems(&bench.path), Vec::<String>::new());
}
/// Two streams' texts of about 20 kB in one commit.
fn take_large(bench: &mut Bench, commit: usize) {
    for n in 0..40 {
        let text = format!("{commit:>8} {n:>8} ").repeat(14);
        let sample = |place: usize| Sample {
            stream: bench.writer.stream_ids()[place].0,
            value: Value::Text(text.as_str().into()),
            quality: Quality::Good,
        };
        drop(bench.offer(vec![sample(A), sample(B)]));
    }
    bench.flush();
}

#[test]
fn one_step_of_the_quota_gives_up_a_sixteenth_of_it_also_where_segments_are_large() {
    let mut bench = Bench::new(ClassQuotas::new());
    let max = bench.writer.options.max_bytes;
    let mut commits = 0;
    while bench.drops().is_empty() {
        take_large(&mut bench, commits);
        commits += 1;
        assert!(commits < 200, "the quota is never reached");
    }
    let used = bench.writer.used_bytes;
    assert!(commits > 16 && used < max / 16 * 14, "{commits} commits, {used} B");
    assert!(used >= max / 16 * 12, "{used} B of {max} are left: more than a sixteenth went at once");
    assert_eq!(problems(&bench.path), Vec::<String>::new());
}

#[test]
fn what_may_be_given_up_is_counted_again_only_where_it_may_suffice() {
    let mut bench = Bench::new(ClassQuotas::new());
    take_large(&mut bench, 0);
    let file = rusqlite::Connection::open(&bench.path).unwrap();
    let there: i64 = file.query_row("SELECT sum(length(body)) FROM segments", [], |r| r.get(0)).unwrap();
    let there = there.cast_unsigned();
    assert!(there > 10_000 && bench.writer.may_give_up(there) && !bench.writer.may_give_up(there + 1));
    // Behind the writer's back, so that it shows whether the file is asked.
    file.execute("UPDATE segments SET body = zeroblob(length(body) + 100)", []).unwrap();
    assert!(!bench.writer.may_give_up(there + 1), "the count before says no, and nothing came since");
    assert!(bench.writer.may_give_up(there), "that it may suffice is looked into");
    assert!(bench.writer.may_give_up(there + 100), "and remembered as it was then");
    bench.take(&[A], 1);
    assert!(bench.writer.may_give_up(there + 101), "what came is counted");
}

#[test]
fn a_refusal_names_the_stream_and_the_reason() {
    let mut bench = Bench::new(ClassQuotas::new());
    let ids = bench.writer.stream_ids();
    let sample = |stream, value| Sample { stream, value, quality: Quality::Good };
    let first_refused = |bench: &mut Bench, samples| {
        let mut answer = bench.offer(samples);
        bench.flush();
        let accepted = answer.try_recv().unwrap().unwrap();
        (accepted.refused, accepted.first_refused.map(|turned| (turned.stream, turned.reason)))
    };
    let good = |place: usize| sample(ids[place].0, Value::Bool(true));
    assert_eq!(first_refused(&mut bench, vec![good(A), good(B)]), (0, None));
    let not_finite = sample(ids[B].0, Value::Float(f64::NAN));
    let stranger = sample(StreamId(4711), Value::Bool(true));
    let refused = first_refused(&mut bench, vec![good(A), not_finite, stranger.clone()]);
    assert_eq!(refused, (2, Some((ids[B].0, "not_finite"))));
    let refused = first_refused(&mut bench, vec![stranger, good(A)]);
    assert_eq!(
        refused,
        (1, Some((StreamId(4711), "unknown_stream"))),
        "its number is told, not the record's"
    );

    let answered = |bench: &mut Bench, at, samples| {
        let (reply, mut answer) = oneshot::channel();
        let capture = Capture { group: ids[A].1, at, samples, missing: Vec::new() };
        bench.writer.handle(NOW, Command::Accept { capture, reply });
        answer.try_recv().unwrap().unwrap_err()
    };
    let ahead = Duration::from_secs(7200);
    let refused = answered(&mut bench, NOW.plus(ahead), vec![good(B)]);
    assert_eq!(refused, Refused::ImplausibleTime { ahead, stream: "b".into() });
    let refused = answered(&mut bench, NOW, vec![good(A); MAX_SAMPLES + 1]);
    assert_eq!(refused, Refused::TooLarge { readings: MAX_SAMPLES + 1, stream: "a".into() });
}

#[test]
fn a_record_without_an_account_is_a_problem() {
    let mut bench = Bench::new(ClassQuotas::new());
    bench.take(&[A], 3);
    assert_eq!(problems(&bench.path), Vec::<String>::new());
    let file = rusqlite::Connection::open(&bench.path).unwrap();
    file.execute_batch(
        "INSERT INTO drops (destination, stream, reason, count, at_epoch, at_mono_ns) VALUES (7, 1, 'age', 4, 1, 0);
         INSERT INTO set_aside (destination, stream, epoch, sequence, mono_ns, body, reason, at_mono_ns)
             VALUES (0, 77, 1, 3, 0, x'', 'too long', 0);
         INSERT INTO gaps (stream, kind, reason, epoch, count, first_mono_ns, last_mono_ns)
             VALUES (78, 'refused', 'too_long', 1, 5, 0, 0);",
    )
    .unwrap();
    assert_eq!(
        problems(&bench.path),
        [
            "destination 7, stream 1: 4 readings dropped, as the drop records say, without an account",
            "destination 0, stream 77: 1 readings set aside without an account",
            "stream 78: 5 readings refused, as the gap records say, and no books of it",
        ]
    );
}
