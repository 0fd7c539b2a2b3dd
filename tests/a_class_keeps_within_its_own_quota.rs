//! The promise: a class that has a quota of its own gives up its own oldest readings when it takes more, on record, and pushes
//! no other class out of the file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::{Class, Quality, Sample, Value};
use fieldgate::store::queue::{ClassQuota, ClassQuotas, OpenOptions, Totals};
use support::{Hand, capture, fast_folder, options, problems, spec, waiting};

const CHATTY: usize = 0;
const QUIET: usize = 1;
const ALARM: usize = 2;

fn with(path: &Path, quotas: ClassQuotas, epoch: u64) -> OpenOptions {
    let streams = vec![
        spec("chatty", "a", Class::Telemetry, &["golioth", "plant"]),
        spec("quiet", "b", Class::Diagnostics, &["golioth"]),
        spec("alarm", "c", Class::Alarm, &["golioth"]),
    ];
    let options = options(path.to_owned(), streams, &["golioth", "plant"], epoch);
    OpenOptions { max_bytes: 2 << 20, class_quotas: quotas, ..options }
}

fn open(path: &Path, quotas: ClassQuotas, epoch: u64) -> Hand {
    Hand::open(with(path, quotas, epoch), Mono(5_000_000_000)).unwrap()
}

/// One commit of ten readings, 200 bytes each.
fn take(hand: &mut Hand, stream: usize, commits: usize) {
    let (id, group) = hand.writer.stream_ids()[stream];
    for _ in 0..commits {
        for _ in 0..10 {
            let value = Value::Text("x".repeat(190).into());
            let sample = Sample { stream: id, value, quality: Quality::Good };
            drop(hand.offer(capture(group, hand.now, vec![sample])));
        }
        hand.flush();
        hand.now = hand.now.plus(Duration::from_secs(1));
    }
}

fn totals(hand: &Hand, class: Class) -> Totals {
    let golioth = hand.writer.destination_ids()[0].0;
    hand.status().totals.get(&(golioth, class)).copied().unwrap_or_default()
}

fn drops(path: &Path) -> Vec<(String, i64)> {
    let file = fieldgate::store::sqlite::open_reader(path).unwrap();
    let mut rows =
        file.prepare("SELECT reason, sum(count) FROM drops GROUP BY reason ORDER BY reason").unwrap();
    rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect()
}

fn queue() -> (tempfile::TempDir, PathBuf) {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    (folder, path)
}

#[test]
fn a_chatty_class_pushes_nobody_out_where_it_has_a_quota_and_does_where_it_has_none() {
    let bytes = ClassQuota { rows: None, bytes: Some(512 << 10) };
    for (quotas, kept) in
        [(ClassQuotas::from([(Class::Telemetry, bytes)]), true), (ClassQuotas::new(), false)]
    {
        let (_folder, path) = queue();
        let mut hand = open(&path, quotas, 1);
        take(&mut hand, QUIET, 10);
        take(&mut hand, CHATTY, 1200);
        assert_eq!(totals(&hand, Class::Diagnostics).dropped == 0, kept);
        assert!(totals(&hand, Class::Telemetry).dropped > 3000);
        assert_eq!(problems(&path), Vec::<String>::new());
    }
}

#[test]
fn a_number_of_readings_is_kept_and_the_oldest_of_the_class_go_for_each_destination_on_record() {
    let (_folder, path) = queue();
    let rows = ClassQuota { rows: Some(1000), bytes: None };
    let mut hand = open(&path, ClassQuotas::from([(Class::Telemetry, rows)]), 1);
    take(&mut hand, CHATTY, 100);
    assert_eq!(totals(&hand, Class::Telemetry).queued, 1000, "up to the quota nothing goes");
    take(&mut hand, CHATTY, 1);
    let after = totals(&hand, Class::Telemetry);
    assert!(
        (900..=960).contains(&after.queued),
        "a sixteenth below, so that not each commit pays: {after:?}"
    );
    assert_eq!(after.queued + after.dropped, 1010);
    let golioth = hand.writer.destination_ids()[0].0;
    assert_eq!(waiting(&path, golioth)[0].sequence, after.dropped + 1, "the newest stay");
    assert_eq!(drops(&path), [("class_quota".to_owned(), 2 * after.dropped as i64)]);
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn alarms_are_never_given_up_for_a_quota() {
    let (_folder, path) = queue();
    let none = ClassQuota { rows: Some(1), bytes: Some(1) };
    let mut hand = open(&path, ClassQuotas::from([(Class::Alarm, none)]), 1);
    take(&mut hand, ALARM, 20);
    assert_eq!((totals(&hand, Class::Alarm).queued, totals(&hand, Class::Alarm).dropped), (200, 0));
}

#[test]
fn a_quota_that_is_smaller_after_a_restart_holds_from_the_first_commit_on() {
    let (_folder, path) = queue();
    let mut hand = open(&path, ClassQuotas::new(), 1);
    take(&mut hand, CHATTY, 300);
    hand.close();
    let rows = ClassQuota { rows: Some(1000), bytes: None };
    let mut hand = open(&path, ClassQuotas::from([(Class::Telemetry, rows)]), 2);
    take(&mut hand, QUIET, 1);
    let after = totals(&hand, Class::Telemetry);
    assert!((900..=1000).contains(&after.queued), "{after:?}");
    assert_eq!(problems(&path), Vec::<String>::new());
}
