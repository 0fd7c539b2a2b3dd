//! A file that the next release has used is used by this one, as long as that release admits it.
//!
//! The next release only ever adds: a table, a column that may be empty, an index. So the file is opened as it is; what
//! was added is left alone, and is still there when the next release comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::path::Path;

use fieldgate::clock::Mono;
use fieldgate::reading::Class;
use fieldgate::store::queue::{Health, Outcome, Position, schema};
use support::{Hand, capture, options, problems, spec, steps, waiting};

fn open(path: &Path, epoch: u64) -> Hand {
    let streams = vec![
        spec("t", "bus", Class::Telemetry, &["golioth", "broker"]),
        spec("a", "bus", Class::Alarm, &["golioth"]),
    ];
    Hand::open(options(path.to_owned(), streams, &["golioth", "broker"], epoch), Mono(1_000_000)).unwrap()
}

fn accept(hand: &mut Hand, values: std::ops::Range<i64>) {
    let ids = hand.writer.stream_ids();
    for n in values {
        let samples = vec![steps(ids[0].0, n), steps(ids[1].0, n)];
        assert_eq!(hand.accept(capture(ids[0].1, Mono(1_000_000), samples)).unwrap().accepted, 2);
    }
}

fn ask(path: &Path, sql: &str) -> i64 {
    rusqlite::Connection::open(path).unwrap().query_row(sql, [], |r| r.get(0)).unwrap()
}

/// What the release after this one does to the file.
fn upgrade(path: &Path) {
    let ours = ask(path, "PRAGMA user_version");
    rusqlite::Connection::open(path)
        .unwrap()
        .execute_batch(&format!(
            "CREATE TABLE later (id INTEGER PRIMARY KEY, what TEXT NOT NULL);
             INSERT INTO later (what) VALUES ('kept');
             ALTER TABLE segments ADD COLUMN codec INTEGER;
             ALTER TABLE streams ADD COLUMN shown_as TEXT;
             ALTER TABLE accounts ADD COLUMN coalesced INTEGER;
             ALTER TABLE epochs ADD COLUMN machine BLOB;
             CREATE INDEX segments_by_epoch ON segments (epoch);
             UPDATE meta SET value = '99.0.0' WHERE key = 'written_by';
             INSERT INTO meta (key, value) VALUES ('unheard_of', x'0102');
             PRAGMA user_version = {};",
            ours + 1
        ))
        .unwrap();
}

#[test]
fn a_file_of_the_next_release_that_admits_this_one_works_and_keeps_what_was_added() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1);
    accept(&mut hand, 0..10);
    let file_id = hand.status().file_id;
    hand.close();
    upgrade(&path);
    let version = ask(&path, "PRAGMA user_version");
    assert_eq!(ask(&path, "SELECT value FROM meta WHERE key = 'min_reader'"), schema::READER);

    let mut hand = open(&path, 2);
    assert_eq!(
        (hand.status().file_id, hand.status().generation),
        (file_id, 0),
        "the same file, not a new one"
    );
    accept(&mut hand, 10..20);
    let destination = hand.writer.destination_ids()[0].0;
    let rows = waiting(&path, destination);
    assert_eq!(rows.len(), 40);
    let alarms: Vec<_> = rows.iter().filter(|r| r.stream.class == Class::Alarm).cloned().collect();
    let from = Position::first_of(Class::Alarm);
    let to = alarms[14].position.next_segment();
    hand.settle(support::settlement(0, destination, from, to, &alarms[..15], Outcome::Acknowledged));
    assert_eq!(hand.flush(), Health::Good);
    assert_eq!(hand.status().destination(destination).acknowledged, 15);
    hand.close();
    assert_eq!(problems(&path), Vec::<String>::new());

    // And the next release comes back to what it left.
    assert_eq!(ask(&path, "PRAGMA user_version"), version);
    assert_eq!(ask(&path, "SELECT count(*) FROM later WHERE what = 'kept'"), 1);
    assert_eq!(ask(&path, "SELECT count(codec) FROM segments"), 0);
    assert_eq!(ask(&path, "SELECT count(*) FROM meta WHERE key = 'unheard_of'"), 1);
    assert_eq!(ask(&path, "SELECT count(*) FROM statements"), 0);
    let mut hand = open(&path, 3);
    accept(&mut hand, 20..21);
    assert_eq!(waiting(&path, destination).len(), 27);
    hand.close();
}

#[test]
fn a_file_left_in_mid_upgrade_by_a_crash_opens_too() {
    let folder = support::fast_folder();
    let (path, crashed) = (folder.path().join("queue.db"), folder.path().join("crashed.db"));
    let mut hand = open(&path, 1);
    accept(&mut hand, 0..5);
    hand.close();
    // The next release's changes are in the log only.
    let next = rusqlite::Connection::open(&path).unwrap();
    next.execute_batch(
        "PRAGMA wal_autocheckpoint = 0; CREATE TABLE later (id); PRAGMA user_version = 7;
         UPDATE meta SET value = '99.0.0' WHERE key = 'written_by';",
    )
    .unwrap();
    support::copy_with_log(&path, &crashed);
    drop(next);
    let mut hand = open(&crashed, 2);
    accept(&mut hand, 5..6);
    assert_eq!(waiting(&crashed, hand.writer.destination_ids()[0].0).len(), 12);
    hand.close();
    assert_eq!(ask(&crashed, "PRAGMA user_version"), 7);
}

/// Not what a release of ours will do; but if one does, the file is not called damaged for it.
#[test]
fn a_file_of_a_newer_release_that_does_not_fit_is_refused_and_left_alone() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1);
    accept(&mut hand, 0..3);
    hand.close();
    let next = rusqlite::Connection::open(&path).unwrap();
    next.execute_batch("ALTER TABLE epochs RENAME COLUMN boot_id TO boot; PRAGMA user_version = 99;")
        .unwrap();
    drop(next);
    let before = std::fs::read(&path).unwrap();
    let options =
        options(path.clone(), vec![spec("t", "bus", Class::Telemetry, &["golioth"])], &["golioth"], 2);
    let error = Hand::open(options, Mono(1)).err().unwrap().to_string();
    assert!(error.contains("newer release"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let files = std::fs::read_dir(folder.path()).unwrap().flatten();
    assert!(files.into_iter().all(|f| !f.file_name().to_string_lossy().contains("damaged")));
}
