//! The promise: whoever pulls the queue gets every reading that is on disk once, in order, without moving an account; and a
//! cursor that cannot go on where it stands is refused with the reason, never answered with something else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::Class;
use fieldgate::store::queue::look::pull::{PullError, page};
use fieldgate::store::queue::{Outcome, Reader};
use support::{Hand, capture, copy_with_log, fast_folder, options, problems, settlement, spec, steps};

const GATEWAY: [u8; 16] = [9; 16];

fn opened(path: PathBuf, epoch: u64) -> Hand {
    let streams = vec![
        spec("tank.level", "tank", Class::Telemetry, &["golioth"]),
        spec("tank.alarm", "alarm", Class::Alarm, &["golioth"]),
    ];
    Hand::open(options(path, streams, &["golioth"], epoch), Mono(1_000_000_000)).unwrap()
}

/// One commit with readings of the telemetry stream (0) or the alarm stream (1).
fn accept(hand: &mut Hand, stream: usize, values: std::ops::Range<i64>) {
    let (id, group) = hand.writer.stream_ids()[stream];
    for value in values {
        hand.now = hand.now.plus(Duration::from_millis(1));
        let _answer = hand.offer(capture(group, hand.now, vec![steps(id, value)]));
    }
    hand.flush();
}

/// What golioth has acknowledged is gone for pullers too.
fn deliver(hand: &mut Hand, most: usize) {
    let (golioth, _) = hand.writer.destination_ids()[0];
    let mut reader = Reader::open(&hand.writer.options().path, golioth).unwrap();
    let from = reader.start(Class::Telemetry);
    let picked = reader.pick(Class::Telemetry, from, most).unwrap();
    hand.settle(settlement(0, golioth, from, picked.resume.unwrap(), &picked.rows, Outcome::Acknowledged));
    hand.flush();
}

/// Stream and sequence of everything from a cursor on, and the cursor after it.
fn pull_all(path: &Path, mut after: Option<String>, limit: usize) -> (Vec<(String, u64)>, String) {
    let mut seen = Vec::new();
    loop {
        let page = page(path, GATEWAY, after.as_deref(), limit).unwrap();
        assert!(page.readings.len() <= limit);
        seen.extend(page.readings.into_iter().map(|line| (line.stream, line.sequence)));
        if !page.more {
            return (seen, page.next);
        }
        after = Some(page.next);
    }
}

fn named(stream: &str, sequences: std::ops::RangeInclusive<u64>) -> Vec<(String, u64)> {
    sequences.map(|sequence| (stream.to_owned(), sequence)).collect()
}

#[test]
fn every_reading_comes_once_whatever_the_pages_size_and_nothing_is_settled_by_it() {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = opened(path.clone(), 5);
    for commit in 0..4 {
        accept(&mut hand, 0, commit * 5..commit * 5 + 5);
    }
    accept(&mut hand, 1, 0..2);
    let expected = [named("tank.alarm", 1..=2), named("tank.level", 1..=20)].concat();
    for limit in [1, 2, 3, 5, 7, 22, 200] {
        assert_eq!(pull_all(&path, None, limit).0, expected, "limit {limit}");
    }
    // An alarm that comes while somebody is far into telemetry is not passed over.
    let (_, cursor) = pull_all(&path, None, 7);
    accept(&mut hand, 1, 2..3);
    accept(&mut hand, 0, 20..21);
    let (rest, cursor) = pull_all(&path, Some(cursor), 7);
    assert_eq!(rest, [named("tank.alarm", 3..=3), named("tank.level", 21..=21)].concat());
    assert_eq!(pull_all(&path, Some(cursor), 7).0, []);
    assert_eq!(hand.status().destination(hand.writer.destination_ids()[0].0).queued, 24);
    hand.close();
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn a_puller_that_comes_late_is_told_how_many_segments_went_without_it() {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = opened(path.clone(), 5);
    for commit in 0..6 {
        accept(&mut hand, 0, commit * 5..commit * 5 + 5);
    }
    let first = page(&path, GATEWAY, None, 5).unwrap();
    assert_eq!((first.readings.len(), first.freed_segments), (5, 0));
    deliver(&mut hand, 20);
    let next = page(&path, GATEWAY, Some(&first.next), 5).unwrap();
    assert_eq!(next.freed_segments, 3);
    assert_eq!(next.readings.iter().map(|l| l.sequence).collect::<Vec<_>>(), [21, 22, 23, 24, 25]);
    deliver(&mut hand, 100);
    let (rest, cursor) = pull_all(&path, Some(next.next), 5);
    assert_eq!(rest, []);
    hand.close();
    // A clean stop and another start change nothing for a cursor.
    let mut hand = opened(path.clone(), 6);
    accept(&mut hand, 0, 0..2);
    assert_eq!(pull_all(&path, Some(cursor), 5).0, named("tank.level", 1..=2));
    hand.close();
}

#[test]
fn a_cursor_that_cannot_go_on_is_refused_and_says_which_of_the_reasons_it_is() {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = opened(path.clone(), 5);
    accept(&mut hand, 0, 0..3);
    let older = folder.path().join("older.db");
    copy_with_log(&path, &older);
    accept(&mut hand, 0, 3..6);
    accept(&mut hand, 0, 6..9);
    let cursor = page(&path, GATEWAY, None, 200).unwrap().next;
    hand.close();

    let refused = |path: &Path, gateway, cursor: &str| page(path, gateway, Some(cursor), 5).unwrap_err();
    for at in 0..cursor.len() {
        let mut altered = cursor.clone().into_bytes();
        altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
        let altered = String::from_utf8(altered).unwrap();
        assert!(matches!(refused(&path, GATEWAY, &altered), PullError::Malformed), "digit {at}");
    }
    for bad in ["", "x", &cursor[1..], &cursor.to_uppercase()] {
        assert!(matches!(refused(&path, GATEWAY, bad), PullError::Malformed), "{bad}");
    }
    assert!(matches!(refused(&path, [8; 16], &cursor), PullError::OtherGateway));

    let other = folder.path().join("other.db");
    let mut replaced = opened(other.clone(), 77);
    accept(&mut replaced, 0, 0..9);
    assert!(matches!(refused(&other, GATEWAY, &cursor), PullError::OtherFile));
    replaced.close();

    // Restored from the older copy: at first the cursor is beyond its end, then new readings stand where it points.
    let mut restored = opened(older.clone(), 78);
    assert!(matches!(refused(&older, GATEWAY, &cursor), PullError::Diverged));
    for n in 0..4 {
        accept(&mut restored, 0, n..n + 1);
    }
    let words = refused(&older, GATEWAY, &cursor);
    assert!(matches!(words, PullError::Diverged), "{words}");
    assert!(words.to_string().contains("restored from an older copy. Begin without a cursor"), "{words}");
    restored.close();
}
