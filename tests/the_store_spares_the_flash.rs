//! What is written to the flash is measured, kept to a budget where one is given, and its log is kept short.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::{Class, Value};
use fieldgate::store::queue::{OpenOptions, Outcome, Position, StreamSpec};
use fieldgate::store::sqlite::{self, suffixed};
use fieldgate::store::worker::Machine;
use support::{Hand, capture, options, problems, steps, waiting};

fn streams() -> Vec<StreamSpec> {
    vec![
        support::spec("smoke", "bus", Class::Alarm, &["golioth"]),
        support::spec("temperature", "bus", Class::Telemetry, &["golioth"]),
    ]
}

fn open(path: &Path, budget: Option<u64>) -> Hand {
    let options =
        OpenOptions { flash_budget_per_day: budget, ..options(path.to_owned(), streams(), &["golioth"], 1) };
    Hand::open(options, Mono(1_000_000_000)).unwrap()
}

/// Offers a reading every second for so long.
fn run(hand: &mut Hand, time: Duration) {
    let (stream, group) = hand.writer.stream_ids()[1];
    for n in 0..time.as_secs() {
        drop(hand.offer(capture(group, hand.now, vec![steps(stream, n.cast_signed())])));
        hand.pass(Duration::from_secs(1));
    }
}

#[test]
fn the_window_widens_to_the_budget_and_says_why_and_an_alarm_never_waits_for_it() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, Some(40_000_000));
    run(&mut hand, Duration::from_secs(900));
    let status = hand.status();
    assert_eq!(status.configured_window, Duration::from_secs(1));
    assert!(status.commit_window > Duration::from_secs(1), "{:?}", status.flash);
    run(&mut hand, Duration::from_secs(6 * 3600));
    let status = hand.status();
    let forecast = status.flash.forecast_per_day.unwrap();
    println!("window {:?}, {:?}: {}", status.commit_window, status.flash, status.why_widened().unwrap());
    assert!(forecast <= 44_000_000, "{forecast} a day");
    assert!(status.commit_window < Duration::from_secs(60), "no wider than it need be");
    assert!(status.why_widened().unwrap().contains("the budget is 40 MB"));

    // What waits and what does not.
    let ids = hand.writer.stream_ids();
    let mut telemetry = hand.offer(capture(ids[1].1, hand.now, vec![steps(ids[1].0, 1)]));
    hand.pass(Duration::from_millis(1100));
    assert!(telemetry.try_recv().is_err(), "it waits as long as is shown");
    let alarm = hand.offer(capture(ids[0].1, hand.now, vec![steps(ids[0].0, 1)]));
    support::answered(alarm).unwrap();
    assert_eq!(problems(&path), Vec::<String>::new());
}

/// What a destination has and the file does not know comes twice after a kill.
#[test]
fn an_answer_waits_five_seconds_for_company_however_wide_the_window_is() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, Some(1_000_000));
    run(&mut hand, Duration::from_secs(2 * 3600));
    assert!(hand.status().commit_window > Duration::from_secs(20), "{:?}", hand.status().commit_window);
    hand.flush();
    let golioth = hand.writer.destination_ids()[0].0;
    let before = waiting(&path, golioth);
    let (from, to) = (Position::first_of(Class::Telemetry), before[10].position);
    hand.settle(support::settlement(0, golioth, from, to, &before[..10], Outcome::Acknowledged));
    hand.pass(Duration::from_millis(4900));
    assert_eq!(waiting(&path, golioth).len(), before.len(), "it waits for company");
    hand.pass(Duration::from_millis(200));
    assert_eq!(waiting(&path, golioth).len(), before.len() - 10);
}

#[test]
fn no_window_at_all_is_widened_too() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let options = OpenOptions {
        flash_budget_per_day: Some(60_000_000),
        commit_window: Duration::ZERO,
        ..options(path.clone(), streams(), &["golioth"], 1)
    };
    let mut hand = Hand::open(options, Mono(1_000_000_000)).unwrap();
    run(&mut hand, Duration::from_secs(4 * 3600));
    let status = hand.status();
    assert!(status.commit_window > Duration::from_secs(1), "{status:?}");
    assert!(status.flash.forecast_per_day.unwrap() < 66_000_000, "{:?}", status.flash);
}

/// The measure is blocks of the log, a commit at a time.
#[test]
fn what_is_counted_are_the_blocks_of_each_commit() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, None);
    // Within one round of the log its length is what was written.
    run(&mut hand, Duration::from_secs(60));
    let length = std::fs::metadata(suffixed(&path, "-wal")).unwrap().len();
    let status = hand.status();
    // Each commit touches the block where the one before ended once more, and no other twice.
    assert!(status.flash.written >= length / 2, "{:?}, the log has {length}", status.flash);
    assert!(status.flash.written <= length + 61 * 4096, "{:?}, the log has {length}", status.flash);
    assert!(status.log_bytes <= length && length < status.log_bytes + 1048 * 2, "{status:?} of {length}");
    assert_eq!(status.why_widened(), None);
}

#[test]
fn a_commit_that_takes_long_is_a_state_with_a_name_and_the_next_quick_one_ends_it() {
    let folder = support::fast_folder();
    let mut hand = open(&folder.path().join("queue.db"), None);
    let ids = hand.writer.stream_ids();
    let mut commit = |took: Duration| {
        hand.accept(capture(ids[1].1, Mono(1000), vec![steps(ids[1].0, 1)])).unwrap();
        hand.writer.took(took);
        // A call that commits nothing says nothing about the disk.
        hand.writer.took(Duration::from_secs(100));
        hand.status()
    };
    for _ in 0..20 {
        assert_eq!(commit(Duration::from_millis(8)).slow_fsync, None);
    }
    let status = commit(Duration::from_secs(3));
    assert_eq!(status.slow_fsync, Some(Duration::from_secs(3)));
    assert_eq!(status.health.name(), "good", "readings are accepted all the same");
    let status = commit(Duration::from_millis(9));
    assert_eq!(status.slow_fsync, None);
    let status = commit(Duration::from_millis(9));
    assert_eq!((status.commit_p50, status.commit_p99), (Duration::from_millis(8), Duration::from_secs(3)));
}

/// Two readers that take turns so that there is always one: without waiting for them the log would never begin anew.
#[test]
fn readers_that_never_leave_the_file_alone_do_not_make_its_log_grow() {
    const CEILING: u64 = 4000 * 1048;
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, None);
    let (stop, mut threads) = (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), Vec::new());
    let (to_a, from_b) = mpsc::sync_channel::<()>(1);
    let (to_b, from_a) = mpsc::sync_channel::<()>(1);
    to_a.send(()).unwrap();
    for (turn, other) in [(from_b, to_b), (from_a, to_a)] {
        let (path, stop) = (path.clone(), std::sync::Arc::clone(&stop));
        threads.push(std::thread::spawn(move || {
            let connection = sqlite::open_reader(&path).unwrap();
            let mut turns = 0u64;
            while turn.recv().is_ok() && !stop.load(std::sync::atomic::Ordering::Relaxed) {
                connection.execute_batch("BEGIN").unwrap();
                let _: i64 = connection.query_row("SELECT count(*) FROM segments", [], |r| r.get(0)).unwrap();
                // The other begins while this one still reads, and only then this one ends.
                if other.send(()).is_err() {
                    break;
                }
                std::thread::yield_now();
                connection.execute_batch("COMMIT").unwrap();
                turns += 1;
            }
            turns
        }));
    }
    let (stream, group) = hand.writer.stream_ids()[1];
    let text = Value::Text("x".repeat(250).into());
    let mut longest = 0;
    for n in 0..3000u64 {
        let samples = vec![fieldgate::reading::Sample { value: text.clone(), ..steps(stream, 0) }];
        for k in 0..8 {
            drop(hand.offer(capture(group, Mono(n * 1000 + k), samples.clone())));
        }
        hand.flush();
        longest = longest.max(std::fs::metadata(suffixed(&path, "-wal")).unwrap().len());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let written = hand.status().flash.written;
    drop(hand);
    let turns: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    println!("{turns} turns, {written} bytes written, the log was never longer than {longest}");
    assert!(written > 2 * CEILING && turns > 10, "{written} bytes, {turns} turns");
    // Beyond it by a commit, or by some waits on a machine that lets a reader's thread stand still for a second.
    assert!(longest < CEILING + 1024 * 1048, "{longest}");
}

/// A tool that holds a transaction against the rule: the log grows for it, nothing is refused, and it comes home after.
#[test]
fn a_reader_that_breaks_the_rule_costs_room_and_nothing_else() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, None);
    run(&mut hand, Duration::from_secs(2));
    let reader = sqlite::open_reader(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM segments", [], |r| r.get(0)).unwrap();
    run(&mut hand, Duration::from_secs(600));
    let grown = hand.status().log_bytes;
    assert!(grown > 1 << 20, "{grown}");
    reader.execute_batch("COMMIT").unwrap();
    run(&mut hand, Duration::from_secs(3));
    assert!(hand.status().log_bytes < 100_000, "{}", hand.status().log_bytes);
    assert_eq!(hand.status().intake.accepted, 605);
    assert_eq!(problems(&path), Vec::<String>::new());
}

/// What a newer reading replaces within a commit window costs the flash nothing, and is told all the same.
#[test]
fn of_a_stream_whose_latest_reading_counts_only_the_newest_of_a_window_is_written() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let latest = |spec: StreamSpec| StreamSpec { latest_only: true, ..spec };
    let streams = vec![
        latest(support::spec("position", "bus", Class::State, &["golioth"])),
        support::spec("level", "bus", Class::Telemetry, &["golioth"]),
        latest(support::spec("smoke", "bus", Class::Alarm, &["golioth"])),
    ];
    let mut hand =
        Hand::open(support::options(path.clone(), streams, &["golioth"], 1), Mono(1_000_000_000)).unwrap();
    let ids = hand.writer.stream_ids();
    let both = |n: i64| {
        let samples = vec![steps(ids[0].0, n), steps(ids[1].0, n)];
        capture(ids[0].1, Mono(1_000_000_000 + n.cast_unsigned()), samples)
    };
    let answers: Vec<_> = (1..=5).map(|n| hand.offer(both(n))).collect();
    hand.flush();
    let answers: Vec<_> = answers.into_iter().map(|answer| support::answered(answer).unwrap()).collect();
    let told: Vec<_> = answers.iter().map(|a| (a.sequence, a.accepted, a.coalesced)).collect();
    assert_eq!(told, [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (5, 2, 0)]);
    let golioth = hand.writer.destination_ids()[0].0;
    let rows = support::waiting(&path, golioth);
    let positions: Vec<_> = rows.iter().filter(|r| r.stream.name == "position").collect();
    assert_eq!((rows.len(), positions.len(), positions[0].sequence), (6, 1, 5));
    // What was committed is not replaced, and each alarm counts.
    hand.accept(both(6)).unwrap();
    for n in 7..9 {
        hand.offer(capture(ids[2].1, hand.now, vec![steps(ids[2].0, n)]));
    }
    assert_eq!(support::waiting(&path, golioth).len(), 10);
    let intake = hand.status().intake;
    assert_eq!((intake.accepted, intake.coalesced), (10, 4));
    assert_eq!(support::problems(&path), Vec::<String>::new());
    // A destination sees why it never gets numbers 1 to 4.
    let mut reader = fieldgate::store::queue::Reader::open(&path, golioth).unwrap();
    let owed = reader.owed(9).unwrap().new;
    let [fieldgate::store::queue::Owed::Loss(loss)] = owed.as_slice() else { panic!("{owed:?}") };
    assert_eq!((loss.of, loss.why.as_str()), ("coalesced", "superseded"));
    assert_eq!((loss.sequences, loss.count), (Some((1, 4)), Some(4)));
}
