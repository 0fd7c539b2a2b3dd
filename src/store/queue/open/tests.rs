//! Releases that know fewer migrations than there are, on today's file.
//!
//! It is today's code that runs here, told that it knows less: so this is about who may open a file and what is done to
//! its schema. What the statements of an earlier release write is in `tests/a_store_of_any_earlier_schema_opens.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::writer::Command;
use super::super::{Outcome, Reader, SettledRow, Settlement, verify};
use super::*;
use crate::clock::BootId;
use crate::reading::{Capture, Quality, Sample, Value};
use crate::store::worker::Machine;

const NO_WALL: Wall = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };

fn options(path: &Path, epoch: u64) -> OpenOptions {
    let stream = StreamSpec {
        name: "level".into(),
        group: "bus".into(),
        device: "d".into(),
        class: Class::Telemetry,
        unit: String::new(),
        resolution: None,
        alias: "l".into(),
        routes: vec!["golioth".into()],
        latest_only: false,
    };
    OpenOptions {
        path: path.to_owned(),
        streams: vec![stream],
        destinations: vec![DestinationSpec { name: "golioth".into() }],
        commit_window: Duration::ZERO,
        max_bytes: 8 << 20,
        class_quotas: Default::default(),
        ballast_bytes: 0,
        flash_budget_per_day: None,
        boot: BootId([1; 16]),
        epoch: Epoch(epoch),
        file_id: epoch,
    }
}

/// One run of a release on the file: it takes a reading, settles the oldest, and stops.
fn run(known: Known, path: &Path, epoch: u64) -> (u64, u32) {
    let now = Mono(1_000_000);
    let mut writer = open_as(known, options(path, epoch), now, NO_WALL).unwrap();
    let (stream, group) = writer.stream_ids()[0];
    let sample = Sample { stream, value: Value::Bool(true), quality: Quality::Good };
    let capture = Capture { group, at: now, samples: vec![sample], missing: Vec::new() };
    let (reply, mut answer) = oneshot::channel();
    writer.handle(now, Command::Accept { capture, reply });
    assert_eq!(answer.try_recv().unwrap().unwrap().accepted, 1);
    let destination = writer.destination_ids()[0].0;
    let mut reader = Reader::open(path, destination).unwrap();
    let from = reader.start(Class::Telemetry);
    let picked = reader.pick(Class::Telemetry, from, 1).unwrap();
    let row = &picked.rows[0];
    writer.handle(
        now,
        Command::Settle(Settlement {
            generation: 0,
            destination,
            class: Class::Telemetry,
            from,
            to: picked.resume.unwrap(),
            rows: vec![SettledRow::of(row)],
            outcome: Outcome::Acknowledged,
            given_up: Vec::new(),
            announces_epoch: false,
        }),
    );
    let status = writer.subscribe().borrow().clone();
    drop(reader);
    writer.close(now);
    (status.file_id, status.generation)
}

fn ask(path: &Path, sql: &str) -> i64 {
    sqlite::open_reader(path).unwrap().query_row(sql, [], |r| r.get(0)).unwrap()
}

fn made() -> (tempfile::TempDir, PathBuf, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let (file_id, _) = run(Known::TODAY, &path, 1);
    (folder, path, file_id)
}

#[test]
fn a_release_that_knows_fewer_migrations_uses_the_file_and_this_one_comes_back_to_it() {
    for back in 1..schema::STEPS {
        let (_folder, path, file_id) = made();
        let earlier = Known { steps: schema::STEPS - back, ..Known::TODAY };
        assert_eq!(run(earlier, &path, 2), (file_id, 0), "the same file, {back} steps back");
        assert_eq!(ask(&path, "PRAGMA user_version"), schema::STEPS, "its schema is left as it is");
        assert_eq!(run(Known::TODAY, &path, 3), (file_id, 0));
        let verified = verify::verify(&path).unwrap();
        assert_eq!(verified.problems, Vec::<String>::new());
        assert_eq!(verified.statements, Vec::<String>::new());
        let totals = verified.destinations["golioth"];
        assert_eq!((totals.accepted, totals.acknowledged + totals.queued), (3, 3));
        assert_eq!(ask(&path, "SELECT count(*) FROM epochs WHERE clean_stop = 1"), 3);
    }
}

#[test]
fn a_file_that_asks_for_a_later_reader_is_refused_by_name_and_not_touched() {
    let (folder, path, _) = made();
    let before = std::fs::read(&path).unwrap();
    let earlier = Known { steps: schema::STEPS - 1, reader: schema::READER - 1 };
    let refused = open_as(earlier, options(&path, 2), Mono(1), NO_WALL).err().unwrap();
    let OpenError::Newer { min_reader, ours, .. } = &refused else { panic!("{refused}") };
    assert_eq!((*min_reader, *ours), (schema::READER, schema::READER - 1));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let names = std::fs::read_dir(folder.path()).unwrap().flatten().map(|f| f.file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("damaged")));
}

/// A power cut between two migrations of a new release leaves a schema between two.
#[test]
fn a_file_at_any_step_of_an_upgrade_that_was_cut_short_is_brought_to_the_end() {
    for steps in 1..schema::STEPS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        let mut connection = file::connect(&options(&path, 1)).unwrap();
        file::migrate(&mut connection, Known { steps, ..Known::TODAY }).map_err(|e| e.at(&path)).unwrap();
        assert_eq!(ask(&path, "PRAGMA user_version"), steps);
        drop(connection);
        assert_eq!(run(Known::TODAY, &path, 1), (1, 0));
        assert_eq!(ask(&path, "PRAGMA user_version"), schema::STEPS);
        assert_eq!(verify::verify(&path).unwrap().problems, Vec::<String>::new());
    }
}

#[test]
fn an_unclean_stop_is_dated_by_its_own_newest_segment_whatever_stands_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    drop(open(options(&path, 1), Mono(1_000_000), NO_WALL).unwrap());
    let mut writer = open(options(&path, 2), Mono(2_000_000), NO_WALL).unwrap();
    let (stream, group) = writer.stream_ids()[0];
    let sample = Sample { stream, value: Value::Bool(true), quality: Quality::Good };
    let capture = Capture { group, at: Mono(7_000_000), samples: vec![sample], missing: Vec::new() };
    let (reply, mut answer) = oneshot::channel();
    writer.handle(Mono(7_000_000), Command::Accept { capture, reply });
    assert!(answer.try_recv().unwrap().is_ok());
    drop(writer);
    let file = rusqlite::Connection::open(&path).unwrap();
    // Sent again: of the start before.
    let again = "INSERT INTO segments (id, epoch, routes, rows, first_mono_us, body) SELECT id + 1, 1, routes, rows, 1, body FROM segments";
    assert_eq!(file.execute(again, []).unwrap(), 1);
    drop(file);
    drop(open(options(&path, 3), Mono(9_000_000), NO_WALL).unwrap());
    let file = rusqlite::Connection::open(&path).unwrap();
    let ended = "SELECT first_mono_ns FROM gaps WHERE reason = 'unclean_stop' AND epoch = 2";
    assert_eq!(file.query_row(ended, [], |r| r.get::<_, i64>(0)).unwrap(), 7_000_000);
}

/// A page in the midst of the backlog is made unreadable: whoever walks there finds the file damaged.
#[test]
fn opening_does_not_walk_what_one_destination_has_and_another_has_not() {
    use std::os::unix::fs::FileExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let two = |epoch| {
        let mut options = options(&path, epoch);
        options.destinations.push(DestinationSpec { name: "plant".into() });
        options.streams[0].routes.push("plant".into());
        options
    };
    let now = Mono(1_000_000);
    let mut writer = open(two(1), now, NO_WALL).unwrap();
    let (stream, group) = writer.stream_ids()[0];
    for n in 0..600 {
        let value = Value::Text(format!("{n:0200}").into());
        let samples = vec![Sample { stream, value, quality: Quality::Good }];
        let (reply, mut answer) = oneshot::channel();
        let capture = Capture { group, at: now, samples, missing: Vec::new() };
        writer.handle(now, Command::Accept { capture, reply });
        assert!(answer.try_recv().unwrap().is_ok());
    }
    let plant = writer.destination_ids()[1].0;
    let mut reader = Reader::open(&path, plant).unwrap();
    let from = reader.start(Class::Telemetry);
    let (mut rows, mut at) = (Vec::new(), from);
    while rows.len() < 600 {
        let picked = reader.pick(Class::Telemetry, at, 256).unwrap();
        rows.extend(picked.rows);
        at = picked.resume.unwrap();
    }
    drop(reader);
    assert_eq!(rows.len(), 600);
    let settlement = Settlement {
        generation: 0,
        destination: plant,
        class: Class::Telemetry,
        from,
        to: rows[599].position.next_segment(),
        rows: rows.iter().map(SettledRow::of).collect(),
        outcome: Outcome::Acknowledged,
        given_up: Vec::new(),
        announces_epoch: false,
    };
    writer.handle(now, Command::Settle(settlement));
    writer.close(now);
    drop(writer);
    let size = usize::try_from(schema::KIND.page_size).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // A leaf of a table (SQLite file format, section 1.6); by far the most are the backlog's.
    let middle = (bytes.len() / size / 2..).find(|page| bytes[page * size] == 0x0d).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 8], (middle * size) as u64).unwrap();
    let walked = rusqlite::Connection::open(&path).unwrap();
    let all = "SELECT count(*) FROM segments WHERE routes > 0";
    assert!(walked.query_row(all, [], |r| r.get::<_, i64>(0)).is_err(), "a walk finds it");
    drop(walked);

    let writer = open(two(2), now, NO_WALL).unwrap();
    let status = writer.subscribe().borrow().clone();
    assert_eq!(status.file_id, 1, "the same file: nobody walked there");
    assert_eq!(*status.damaged, Vec::<String>::new());
}
