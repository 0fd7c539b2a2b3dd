//! Whatever happened to the file, opening succeeds, accepting goes on, and what is lost is on record.
//!
//! Except where opening must not: a newer release's file that does not admit this one is refused, and left as it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "the test makes the damage")]

#[path = "support/store.rs"]
mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldgate::clock::{Clock, Mono, VirtualClock};
use fieldgate::reading::Class;
use fieldgate::store::queue::{Outcome, Position, Queue, Reader, StreamSpec, verify};
use fieldgate::store::sqlite::{self, OpenError, suffixed};
use support::{BOOT, Hand, Rng, capture, problems, steps, waiting};

fn streams() -> Vec<StreamSpec> {
    vec![
        support::spec("smoke", "bus", Class::Alarm, &["golioth"]),
        support::spec("temperature", "bus", Class::Telemetry, &["golioth"]),
    ]
}

fn open(path: &Path, epoch: u64) -> Result<Hand, OpenError> {
    Hand::open(support::options(path.to_owned(), streams(), &["golioth"], epoch), Mono(1_000_000_000))
}

/// One instant, committed: both streams say `n`.
fn accept(hand: &mut Hand, n: i64) {
    let ids = hand.writer.stream_ids();
    let at = Mono(hand.now.0 + n.cast_unsigned() * 1_000_000);
    let samples = vec![steps(ids[0].0, n), steps(ids[1].0, n)];
    assert_eq!(hand.accept(capture(ids[0].1, at, samples)).unwrap().accepted, 2);
}

/// A file larger than a writer's cache, with so many segments of telemetry, each of many readings; left cleanly.
fn a_large_file(path: &Path, segments: i64) {
    let mut hand = open(path, 1).unwrap();
    let (stream, group) = hand.writer.stream_ids()[1];
    for segment in 0..segments {
        for n in 0..400 {
            let at = Mono(1_000_000_000 + (segment * 400 + n).cast_unsigned() * 1_000_000);
            drop(hand.offer(capture(group, at, vec![steps(stream, segment * 1_000_003 + n)])));
        }
        hand.flush();
    }
    accept(&mut hand, 7);
    hand.close();
    assert!(std::fs::metadata(path).unwrap().len() > 1 << 20);
}

/// Kinds and details of the statements in the file.
fn statements(path: &Path) -> Vec<(String, serde_json::Value)> {
    let connection = sqlite::open_reader(path).unwrap();
    let mut rows = connection.prepare("SELECT kind, detail FROM statements ORDER BY id").unwrap();
    let rows = rows.query_map([], |r| Ok((r.get(0)?, r.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.unwrap())
        .map(|(kind, detail)| (kind, serde_json::from_str(&detail).unwrap()))
        .collect()
}

fn kept_aside(path: &Path) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.to_string_lossy().contains(".damaged-") && !p.to_string_lossy().ends_with("-wal"))
        .filter(|p| !p.to_string_lossy().ends_with("-shm"))
        .collect();
    kept.sort();
    kept
}

/// What every damaged file must lead to: a new one that says so and accepts.
fn set_aside(path: &Path) -> serde_json::Value {
    let mut hand = open(path, 2).unwrap();
    accept(&mut hand, 42);
    hand.close();
    let mut said = statements(path);
    assert_eq!(said.len(), 1, "{said:?}");
    let (kind, detail) = said.remove(0);
    assert_eq!(kind, "queue_damaged");
    let kept = kept_aside(path);
    assert_eq!(kept.len(), 1);
    assert_eq!(detail["file"], kept[0].file_name().unwrap().to_str().unwrap());
    assert_eq!(problems(path), Vec::<String>::new());
    detail
}

#[test]
fn garbage_is_kept_aside_and_accepting_goes_on() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let garbage: Vec<u8> = (0..9000u32).map(|n| (n * 31 % 251) as u8).collect();
    std::fs::write(&path, &garbage).unwrap();
    let detail = set_aside(&path);
    assert_eq!(detail["queued"], serde_json::Value::Null, "nobody can know");
    assert_eq!(std::fs::read(&kept_aside(&path)[0]).unwrap(), garbage);
}

#[test]
fn a_file_cut_short_anywhere_is_set_aside_with_what_its_books_still_say() {
    let folder = support::fast_folder();
    let original = folder.path().join("original.db");
    a_large_file(&original, 800);
    let bytes = std::fs::read(&original).unwrap();
    for (n, length) in
        [1, 99, 100, 700, 1024, 30_000, bytes.len() / 2, bytes.len() - 1024].into_iter().enumerate()
    {
        let path = folder.path().join(n.to_string()).join("queue.db");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &bytes[..length]).unwrap();
        let detail = set_aside(&path);
        if length > 500_000 {
            assert_eq!(detail["epoch"], "0000000000000001");
            assert_eq!(detail["accepted"]["temperature"], 800 * 400 + 1, "cut to {length}");
            assert_eq!(detail["queued"]["golioth/temperature"], 800 * 400 + 1);
            assert_eq!(detail["queued"]["golioth/smoke"], 1);
        }
    }
}

#[test]
fn an_empty_file_with_a_log_is_damage_not_a_new_file() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1).unwrap();
    accept(&mut hand, 1);
    let crashed = folder.path().join("crashed").join("queue.db");
    std::fs::create_dir(crashed.parent().unwrap()).unwrap();
    support::copy_with_log(&path, &crashed);
    std::fs::write(&crashed, b"").unwrap();
    set_aside(&crashed);
}

#[test]
fn somebody_elses_database_is_kept_byte_for_byte() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let theirs = rusqlite::Connection::open(&path).unwrap();
    theirs
        .execute_batch("PRAGMA application_id = 77; CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1);")
        .unwrap();
    drop(theirs);
    let before = std::fs::read(&path).unwrap();
    set_aside(&path);
    assert_eq!(std::fs::read(&kept_aside(&path)[0]).unwrap(), before);
}

#[test]
fn a_file_that_a_newer_release_keeps_to_itself_is_refused_and_untouched() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1).unwrap();
    accept(&mut hand, 1);
    // Left by a crash, so that merely opening it for writing would already change it.
    let newer = folder.path().join("newer.db");
    support::copy_with_log(&path, &newer);
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    connection
        .execute_batch(
            "UPDATE meta SET value = 99 WHERE key = 'min_reader';
             UPDATE meta SET value = '9.1.0' WHERE key = 'written_by'; PRAGMA user_version = 12;",
        )
        .unwrap();
    drop(connection);
    let read = |p: &Path| (std::fs::read(p).unwrap(), std::fs::read(suffixed(p, "-wal")).unwrap());
    let before = read(&newer);
    let error = open(&newer, 2).err().unwrap();
    let OpenError::Newer { written_by, min_reader: 99, .. } = &error else { panic!("{error}") };
    assert_eq!(written_by, "9.1.0");
    assert!(error.to_string().contains("Nothing was changed"), "{error}");
    assert_eq!(read(&newer), before);
    assert_eq!(kept_aside(&newer), Vec::<PathBuf>::new());
}

#[test]
fn a_log_that_is_missing_or_garbage_after_a_crash_is_on_record() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1).unwrap();
    accept(&mut hand, 1);
    hand.close();
    let mut hand = open(&path, 2).unwrap();
    accept(&mut hand, 2);
    for (case, expected) in [("missing", "its log is missing"), ("garbage", "its log does not read")] {
        let crashed = folder.path().join(format!("{case}.db"));
        support::copy_with_log(&path, &crashed);
        let log = suffixed(&crashed, "-wal");
        match case {
            "missing" => std::fs::remove_file(&log).unwrap(),
            _ => std::fs::write(&log, vec![0x55; 20_000]).unwrap(),
        }
        // The start before the crash is in the file itself, so that the loss shows whatever the log took with it.
        let mut after = open(&crashed, 3).unwrap();
        accept(&mut after, 3);
        assert_eq!(problems(&crashed), Vec::<String>::new());
        after.close();
        let said = statements(&crashed);
        assert_eq!(said.len(), 1, "{case}: {said:?}");
        assert_eq!(said[0].0, "log_lost");
        assert_eq!(
            (&said[0].1["detail"], &said[0].1["queued"]),
            (&expected.into(), &serde_json::Value::Null)
        );
    }
}

/// Zeroes a third of the file, as a worn flash does, behind everybody's back.
fn zero_the_middle(path: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let pages = file.metadata().unwrap().len() / 1024;
    for page in pages / 3..pages * 2 / 3 {
        file.write_all_at(&[0; 1024], page * 1024).unwrap();
    }
}

#[test]
fn damage_that_the_writer_meets_costs_the_commit_at_hand_nothing() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    a_large_file(&path, 800);
    let mut hand = open(&path, 2).unwrap();
    let destination = hand.writer.destination_ids()[0].0;
    let before = hand.status();
    zero_the_middle(&path);
    let ids = hand.writer.stream_ids();
    let telemetry = capture(ids[1].1, Mono(5_000_000), vec![steps(ids[1].0, 11), steps(ids[0].0, 12)]);
    let more = capture(ids[1].1, Mono(6_000_000), vec![steps(ids[1].0, 13)]);
    // An answer that covers the backlog: it deletes what lies in the damaged pages.
    let (from, to) = (Position::first_of(Class::Telemetry), before.ends[&Class::Telemetry]);
    hand.settle(support::settlement(0, destination, from, to, &[], Outcome::Acknowledged));
    let answers = (hand.offer(more), hand.offer(telemetry));
    let accepted = support::answered(answers.1).unwrap();
    assert_eq!((accepted.accepted, support::answered(answers.0).unwrap().accepted), (2, 1));
    let status = hand.status();
    assert_eq!(status.generation, 1, "whoever reads learns that it is another file");
    assert_ne!((status.file_id, status.epoch), (before.file_id, before.epoch));
    assert_eq!(accepted.epoch, status.epoch.unwrap());
    assert_eq!(status.announced, Default::default(), "the new epoch is yet to be announced");
    assert_eq!(status.previous_epoch.unwrap().0, before.epoch.unwrap());
    let rows = waiting(&path, destination);
    let values: Vec<_> = rows.iter().map(|r| (r.stream.name.as_str(), r.sample.clone())).collect();
    assert_eq!(
        values,
        [
            ("smoke", steps(ids[0].0, 12)),
            ("temperature", steps(ids[1].0, 13)),
            ("temperature", steps(ids[1].0, 11))
        ]
    );
    let said = statements(&path);
    assert_eq!(said[0].1["queued"]["golioth/temperature"], 800 * 400 + 1);
    assert_eq!(problems(&path), Vec::<String>::new());
    // An answer about the old file is void.
    hand.settle(support::settlement(0, destination, from, to, &[], Outcome::Dropped("age")));
    hand.flush();
    assert_eq!(hand.status().destination(destination).queued, 3);
    hand.close();
    assert_eq!(kept_aside(&path).len(), 1);
}

#[test]
fn a_store_damaged_twice_in_one_run_begins_three_epochs() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1).unwrap();
    let mut epochs = vec![hand.status().epoch.unwrap()];
    for round in 1..3 {
        accept(&mut hand, round);
        // Every page but the header's, and the log: whatever is asked next meets it.
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&vec![0xa5; 200_000], 1024).unwrap();
        std::fs::write(suffixed(&path, "-wal"), b"").unwrap();
        let report = fieldgate::store::queue::writer::Command::Damaged {
            generation: hand.status().generation,
            detail: "as a reader would say".into(),
        };
        use fieldgate::store::worker::Machine;
        let now = hand.now;
        hand.writer.handle(now, report);
        epochs.push(hand.status().epoch.unwrap());
    }
    accept(&mut hand, 3);
    hand.close();
    epochs.sort();
    epochs.dedup();
    assert_eq!((epochs.len(), kept_aside(&path).len()), (3, 2));
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn a_flash_that_fails_for_good_is_not_filled_with_damaged_files() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    for round in 1..10 {
        std::fs::write(&path, format!("round {round}")).unwrap();
        let mut hand = open(&path, round).unwrap();
        accept(&mut hand, 1);
        hand.close();
    }
    let kept = kept_aside(&path);
    assert_eq!(kept.len(), 4);
    let newest = kept.iter().any(|p| std::fs::read(p).unwrap() == b"round 9");
    assert!(newest, "the newest is among them");
}

#[test]
fn a_report_of_damage_that_is_not_there_changes_nothing() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1).unwrap();
    accept(&mut hand, 1);
    let report = fieldgate::store::queue::writer::Command::Damaged { generation: 0, detail: "?".into() };
    use fieldgate::store::worker::Machine;
    let now = hand.now;
    hand.writer.handle(now, report);
    assert_eq!(hand.status().generation, 0);
    assert_eq!(waiting(&path, hand.writer.destination_ids()[0].0).len(), 2);
}

/// The writer never looks at the middle of its backlog; the drain does.
#[tokio::test(start_paused = true)]
async fn damage_that_a_drain_meets_replaces_the_file_under_a_lane_that_accepts() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    a_large_file(&path, 800);
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(BOOT, support::NO_WALL));
    let options = support::options(path.clone(), streams(), &["golioth"], 2);
    let (queue, pump) = Queue::open_inline(options, &clock).unwrap();
    tokio::spawn(pump);
    zero_the_middle(&path);

    let lane = queue.clone();
    let (stream, group) = queue.streams()[1];
    let lane_clock = Arc::clone(&clock);
    let accepting = tokio::spawn(async move {
        let mut accepted = Vec::new();
        for n in 0..30 {
            let reading = capture(group, lane_clock.mono(), vec![steps(stream, n)]);
            accepted.push((n, lane.accept(reading).await.unwrap()));
        }
        accepted
    });

    // A drain: reads on until something is wrong, then starts over when the store says that the file is another.
    let destination = queue.destinations()[0].0;
    let mut reader = queue.reader(destination).unwrap();
    let mut status = queue.status();
    let mut at = reader.start(Class::Telemetry);
    let error = loop {
        match reader.pick(Class::Telemetry, at, 500) {
            Ok(picked) => at = picked.resume.unwrap(),
            Err(error) => break error,
        }
        assert!(at < status.borrow().ends[&Class::Telemetry], "the damage was never met");
    };
    println!("met: {error}");
    status.wait_for(|status| status.generation == 1).await.unwrap();

    let accepted = accepting.await.unwrap();
    let epoch = queue.status().borrow().epoch.unwrap();
    // Beside what was salvaged meanwhile.
    let mut rows = waiting(&path, destination);
    rows.retain(|r| r.epoch.epoch == epoch);
    let expected: Vec<i64> = accepted.iter().filter(|(_, a)| a.epoch == epoch).map(|(n, _)| *n).collect();
    assert!(expected.len() > 20, "the lane went on");
    assert_eq!(rows.iter().map(|r| r.sample.clone()).collect::<Vec<_>>(), {
        expected.iter().map(|n| steps(stream, *n)).collect::<Vec<_>>()
    });
    assert_eq!(statements(&path).len(), 1);
    queue.stop();
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn whatever_bytes_are_in_it_the_store_opens_and_accepts() {
    let mut rng = Rng(support::seed("whatever_bytes_are_in_it_the_store_opens_and_accepts"));
    let folder = support::fast_folder();
    let original = folder.path().join("original.db");
    let mut hand = open(&original, 1).unwrap();
    for n in 0..60 {
        accept(&mut hand, n);
    }
    let crashed = folder.path().join("crashed.db");
    support::copy_with_log(&original, &crashed);
    hand.close();
    let (mut replaced, mut met_later) = (0, 0);
    for round in 0..150u64 {
        let home = folder.path().join(round.to_string());
        std::fs::create_dir(&home).unwrap();
        let path = home.join("queue.db");
        support::copy_with_log(if round % 2 == 0 { &original } else { &crashed }, &path);
        let target = if round % 4 == 1 { suffixed(&path, "-wal") } else { path.clone() };
        let file = std::fs::OpenOptions::new().write(true).open(&target).unwrap();
        let length = file.metadata().unwrap().len();
        for _ in 0..=rng.below(3) {
            let fill: Vec<u8> = match rng.below(3) {
                0 => vec![0; 1024],
                1 => (0..1 + rng.below(3000)).map(|_| rng.next() as u8).collect(),
                _ => vec![rng.next() as u8],
            };
            file.write_all_at(&fill, rng.below(length)).unwrap();
        }
        let mut hand = match open(&path, 2) {
            Ok(hand) => hand,
            // A byte of the number that says who may read it: then it is as good as a newer release's.
            Err(OpenError::Newer { .. }) => continue,
            Err(error) => panic!("round {round}: {error}"),
        };
        accept(&mut hand, 1000);
        // What opening did not see is met by whoever reads everything, and reported.
        let destination = hand.writer.destination_ids()[0].0;
        if let Err(error) = read_everything(&path, destination) {
            met_later += 1;
            let report = fieldgate::store::queue::writer::Command::Damaged {
                generation: hand.status().generation,
                detail: error.clone(),
            };
            use fieldgate::store::worker::Machine;
            let now = hand.now;
            hand.writer.handle(now, report);
            assert!(hand.status().generation > 0, "round {round}: {error}");
            accept(&mut hand, 1001);
            read_everything(&path, destination).unwrap();
        }
        hand.close();
        // What nobody met yet (a page of records that nothing asked for) `verify` names, and the next start survives.
        let _ = verify::verify(&path);
        let mut again = open(&path, 3).unwrap();
        accept(&mut again, 1002);
        again.close();
        replaced += kept_aside(&path).len();
    }
    println!("{replaced} replaced, {met_later} of them while running");
    assert!(replaced > 20, "the damage was never met: {replaced}");
}

fn read_everything(path: &Path, destination: fieldgate::store::queue::DestinationId) -> Result<(), String> {
    let mut reader = Reader::open(path, destination).map_err(|e| e.to_string())?;
    for class in Class::ALL {
        let mut at = reader.start(class);
        loop {
            let picked = reader.pick(class, at, 64).map_err(|e| e.to_string())?;
            match picked.resume.filter(|resume| *resume != at) {
                Some(resume) => at = resume,
                None => break,
            }
        }
    }
    Ok(())
}

/// A statement that fails says less than a page that does not read: it is looked into first.
#[test]
fn a_file_that_is_whole_and_refuses_a_commit_is_read_again_not_replaced() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1).unwrap();
    accept(&mut hand, 1);
    // Somebody's hand in the file: the number that the writer gives next is taken.
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch(
            "INSERT INTO segments SELECT id + 1, epoch, routes, rows, first_mono_us, body FROM segments",
        )
        .unwrap();
    other.execute_batch("UPDATE intake SET accepted = 2").unwrap();
    drop(other);
    accept(&mut hand, 2);
    assert_eq!(hand.status().generation, 0);
    assert_eq!(kept_aside(&path), Vec::<PathBuf>::new());
    let destination = hand.writer.destination_ids()[0].0;
    assert_eq!(waiting(&path, destination).len(), 6);
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn a_file_that_lost_a_table_is_replaced_and_the_commit_at_hand_costs_nothing() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1).unwrap();
    accept(&mut hand, 1);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("DROP TABLE intake").unwrap();
    drop(other);
    accept(&mut hand, 2);
    assert_eq!(hand.status().generation, 1);
    assert_eq!(statements(&path)[0].0, "queue_damaged");
    hand.pass(std::time::Duration::from_secs(60));
    let destination = hand.writer.destination_ids()[0].0;
    assert_eq!(waiting(&path, destination).len(), 4, "the two from before are salvaged");
    assert_eq!(problems(&path), Vec::<String>::new());
}
