//! A damaged queue file gives what its pages still hold: under its own identity, to whom it was still for, and what is
//! gone is told as a number, or as unknown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "the test makes the damage")]

#[path = "support/store.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::{Class, Value};
use fieldgate::store::queue::writer::Command;
use fieldgate::store::queue::{DestinationId, Outcome, Position, QueuedRow, StreamSpec};
use fieldgate::store::sqlite::{self, suffixed};
use fieldgate::store::worker::Machine;
use support::{Hand, Rng, capture, problems, steps, waiting};

const PAGE: usize = 1024;

fn streams() -> Vec<StreamSpec> {
    vec![
        support::spec("smoke", "bus", Class::Alarm, &["golioth", "broker"]),
        support::spec("temperature", "bus", Class::Telemetry, &["golioth", "broker"]),
        support::spec("noise", "bus", Class::Diagnostics, &["broker"]),
    ]
}

fn open(path: &Path, epoch: u64) -> Hand {
    open_with(path, epoch, streams(), &["golioth", "broker"])
}

fn open_with(path: &Path, epoch: u64, streams: Vec<StreamSpec>, destinations: &[&str]) -> Hand {
    Hand::open(support::options(path.to_owned(), streams, destinations, epoch), Mono(1_000_000_000)).unwrap()
}

/// One instant of all streams, committed: they say `n`.
fn accept(hand: &mut Hand, n: i64) {
    let ids = hand.writer.stream_ids();
    let at = Mono(hand.now.0 + n.cast_unsigned() * 1_000_000);
    let samples = ids.iter().map(|(id, _)| steps(*id, n)).collect();
    assert_eq!(hand.accept(capture(ids[0].1, at, samples)).unwrap().accepted as usize, ids.len());
}

/// As many commits of ten instants, and a few long texts: bodies on one page, and over several.
fn fill(hand: &mut Hand, from: i64, commits: i64) {
    let ids = hand.writer.stream_ids();
    for commit in 0..commits {
        for n in 0..10 {
            let n = from + commit * 10 + n;
            let at = Mono(hand.now.0 + n.cast_unsigned() * 1_000_000);
            let mut samples: Vec<_> = ids.iter().map(|(id, _)| steps(*id, n)).collect();
            if commit % 5 == 0 {
                samples[1].value = Value::Text(format!("{n:0>200}").into());
            }
            drop(hand.offer(capture(ids[0].1, at, samples)));
        }
        hand.flush();
    }
}

/// A file with readings of epoch 1, and what waits in it, by destination.
struct Filled {
    folder: tempfile::TempDir,
    path: PathBuf,
    hand: Hand,
    before: Vec<BTreeMap<Identity, String>>,
}

fn filled(commits: i64) -> Filled {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, 1);
    fill(&mut hand, 0, commits);
    let before = destinations(&hand).iter().map(|d| all(&path, *d)).collect();
    Filled { folder, path, hand, before }
}

/// Who a reading is, and all that is known of it.
type Identity = (u64, String, u64);

fn told(row: &QueuedRow) -> (Identity, String) {
    let identity = (row.epoch.epoch.0, row.stream.name.clone(), row.sequence);
    let rest = format!("{:?} {:?} {:?} {:?}", row.at, row.epoch.boot, row.sample.value, row.stream);
    (identity, rest)
}

fn all(path: &Path, destination: DestinationId) -> BTreeMap<Identity, String> {
    let rows = waiting(path, destination);
    let all: BTreeMap<_, _> = rows.iter().map(told).collect();
    assert_eq!(all.len(), rows.len(), "no identity stands twice");
    all
}

fn destinations(hand: &Hand) -> Vec<DestinationId> {
    hand.writer.destination_ids().iter().map(|(id, _)| *id).collect()
}

/// The file as a crash leaves it, in a folder of its own.
fn crashed(path: &Path, name: &str) -> PathBuf {
    let home = path.with_file_name(name);
    std::fs::create_dir(&home).unwrap();
    let copy = home.join("queue.db");
    support::copy_with_log(path, &copy);
    copy
}

fn statement(path: &Path) -> serde_json::Value {
    let connection = sqlite::open_reader(path).unwrap();
    let said: String = connection
        .query_row("SELECT detail FROM statements WHERE kind = 'queue_damaged' ORDER BY id DESC", [], |r| {
            r.get(0)
        })
        .unwrap();
    serde_json::from_str(&said).unwrap()
}

/// Lets the salvage run to its end, accepting meanwhile.
fn salvage(hand: &mut Hand) {
    for n in 0..200 {
        hand.pass(Duration::from_secs(1));
        if hand.status().salvage.is_none() {
            return;
        }
        accept(hand, 90_000 + n);
    }
    panic!("it does not end: {:?}", hand.status().salvage);
}

/// What is there after damage must be what was there before it: no reading changed, none twice, nothing invented.
fn subset(path: &Path, hand: &Hand, before: &[BTreeMap<Identity, String>]) -> Vec<usize> {
    let own = hand.status().epoch.unwrap().0;
    let mut counts = Vec::new();
    for (destination, before) in destinations(hand).into_iter().zip(before) {
        let now = all(path, destination);
        let salvaged: Vec<_> = now.iter().filter(|((epoch, ..), _)| *epoch != own).collect();
        for (identity, rest) in &salvaged {
            assert_eq!(before.get(*identity), Some(*rest), "{identity:?}");
        }
        counts.push(salvaged.len());
    }
    assert_eq!(problems(path), Vec::<String>::new());
    counts
}

/// Opens a damaged file, salvages it, and says how many readings each destination got back.
fn salvaged(path: &Path, before: &[BTreeMap<Identity, String>]) -> Vec<usize> {
    let mut hand = open(path, 2);
    salvage(&mut hand);
    subset(path, &hand, before)
}

#[test]
fn a_page_lost_in_the_middle_costs_only_the_readings_on_it() {
    let Filled { folder: _folder, path, hand, before } = filled(150);
    hand.close();
    let length = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; PAGE], length / PAGE as u64 / 2 * PAGE as u64).unwrap();

    let mut hand = open(&path, 2);
    let report = Command::Damaged { generation: 0, detail: "a drain met it".into() };
    let now = hand.now;
    hand.writer.handle(now, report);
    assert_eq!(hand.status().generation, 1);
    assert_eq!(hand.status().salvage.unwrap().readings, 0, "not before the start is over");
    accept(&mut hand, 7);
    salvage(&mut hand);
    let counts = subset(&path, &hand, &before);
    for (count, before) in counts.iter().zip(&before) {
        assert!(before.len() - count < 40, "{} of {} are lost", before.len() - count, before.len());
    }
    let said = statement(&path);
    assert_eq!(said["salvage"], "done");
    let lost = before[0].keys().filter(|(_, name, _)| name == "temperature").count() as u64
        - said["salvaged"]["golioth/temperature"].as_u64().unwrap();
    assert_eq!(said["lost"]["golioth/temperature"].as_u64().unwrap_or(0), lost);
    // And after a restart nothing comes once more.
    let there: Vec<_> = destinations(&hand).iter().map(|d| all(&path, *d)).collect();
    hand.close();
    let mut hand = open(&path, 3);
    hand.pass(Duration::from_secs(60));
    assert_eq!(there, destinations(&hand).iter().map(|d| all(&path, *d)).collect::<Vec<_>>());
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn without_a_header_everything_is_still_there_and_what_was_settled_stays_settled() {
    let Filled { folder: _folder, path, mut hand, .. } = filled(40);
    // Golioth has half of the telemetry, and one message beyond a gap; one reading is set aside.
    let golioth = destinations(&hand)[0];
    let telemetry: Vec<_> =
        waiting(&path, golioth).into_iter().filter(|r| r.stream.class == Class::Telemetry).collect();
    let first = Position::first_of(Class::Telemetry);
    for (from, to, outcome) in [
        (0, 203, Outcome::Acknowledged),
        (250, 260, Outcome::Acknowledged),
        (203, 204, Outcome::SetAside("4.00".into())),
    ] {
        let start = if from == 0 { first } else { telemetry[from].position };
        hand.settle(support::settlement(
            0,
            golioth,
            start,
            telemetry[to].position,
            &telemetry[from..to],
            outcome,
        ));
        hand.flush();
    }
    let before: Vec<_> = destinations(&hand).iter().map(|d| all(&path, *d)).collect();
    assert_eq!(before[0].len(), 800 - 214);
    let crashed = crashed(&path, "crashed");
    hand.close();
    damage_the_header(&crashed);

    assert_eq!(salvaged(&crashed, &before), [before[0].len(), before[1].len()]);
    let said = statement(&crashed);
    assert_eq!(said["salvaged"]["golioth/temperature"], before[0].len() as u64 - 400);
    assert_eq!(said["set_aside"], 1);
    let aside = fieldgate::store::queue::verify::verify(&crashed).unwrap().set_aside;
    assert_eq!(aside.len(), 1);
    assert!(aside[0].contains("golioth: temperature") && aside[0].contains("4.00"), "{aside:?}");
}

/// mosquitto #2639: after a power cut the whole file is zeros.
#[test]
fn a_file_of_zeros_gives_what_its_log_holds_and_without_one_says_that_the_number_is_unknown() {
    // Less than brings the log home.
    let Filled { folder: _folder, path, hand, before } = filled(8);
    let (with_log, without) = (crashed(&path, "with log"), crashed(&path, "without"));
    hand.close();
    for crashed in [&with_log, &without] {
        std::fs::write(crashed, vec![0; 64 * PAGE]).unwrap();
    }
    let length = std::fs::metadata(suffixed(&without, "-wal")).unwrap().len();
    std::fs::write(suffixed(&without, "-wal"), vec![0; usize::try_from(length).unwrap()]).unwrap();

    assert_eq!(salvaged(&with_log, &before), [before[0].len(), before[1].len()]);
    // All that waited is there; the books that could vouch for it stood in the file.
    assert_eq!(statement(&with_log)["salvaged"]["golioth/temperature"], 80);
    assert_eq!(statement(&with_log)["lost"], serde_json::Value::Null, "unknown");

    assert_eq!(salvaged(&without, &before), [0, 0]);
    let said = statement(&without);
    assert_eq!((&said["salvage"], &said["queued"]), (&"done".into(), &serde_json::Value::Null));
    assert_eq!(said["lost"], serde_json::Value::Null, "unknown");
}

/// The log begins anew again and again; each of its rounds can be understood without the file.
#[test]
fn a_log_that_has_come_home_often_still_says_whose_readings_it_holds() {
    let Filled { folder: _folder, path, hand, before } = filled(100);
    let crashed = crashed(&path, "crashed");
    hand.close();
    let length = std::fs::metadata(&crashed).unwrap().len();
    std::fs::write(&crashed, vec![0; usize::try_from(length).unwrap()]).unwrap();
    let counts = salvaged(&crashed, &before);
    println!("{counts:?} of {:?}", before.iter().map(BTreeMap::len).collect::<Vec<_>>());
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    assert!(
        counts.iter().zip(&before).all(|(count, before)| *count < before.len()),
        "the log was never home"
    );
}

#[test]
fn a_file_cut_short_gives_what_is_left_of_it() {
    let Filled { folder, path, hand, before } = filled(150);
    hand.close();
    let bytes = std::fs::read(&path).unwrap();
    for (name, part) in [("a", 2), ("b", 4)] {
        let home = folder.path().join(name);
        std::fs::create_dir(&home).unwrap();
        let cut = home.join("queue.db");
        std::fs::write(&cut, &bytes[..bytes.len() / part + 77]).unwrap();
        let counts = salvaged(&cut, &before);
        for (count, before) in counts.iter().zip(&before) {
            assert!(*count > before.len() / (part * 2), "{count} of {}", before.len());
        }
    }
}

#[test]
fn a_log_broken_in_the_middle_is_seen_and_gives_what_stands_behind_the_break() {
    // Less than brings the log home.
    let Filled { folder: _folder, path, hand, before } = filled(8);
    let (cut, headless) = (crashed(&path, "cut"), crashed(&path, "headless"));
    hand.close();
    let length = std::fs::metadata(suffixed(&cut, "-wal")).unwrap().len();
    let log = std::fs::OpenOptions::new().write(true).open(suffixed(&cut, "-wal")).unwrap();
    log.write_all_at(&[0xff; 8], length / 3).unwrap();
    let log = std::fs::OpenOptions::new().write(true).open(suffixed(&headless, "-wal")).unwrap();
    log.write_all_at(&[0xff; 32], 0).unwrap();
    for crashed in [cut, headless] {
        let mut hand = open(&crashed, 2);
        assert!(hand.status().salvage.is_some(), "{crashed:?}: SQLite would have passed over it in silence");
        salvage(&mut hand);
        let counts = subset(&crashed, &hand, &before);
        for (count, before) in counts.iter().zip(&before) {
            assert!(before.len() - count < 40, "{} of {} are lost", before.len() - count, before.len());
        }
    }
}

/// What a power cut leaves of a commit that was not yet synced is no damage: nobody was told that it was accepted.
#[test]
fn a_commit_that_a_power_cut_tore_is_no_damage() {
    let Filled { folder: _folder, path, mut hand, .. } = filled(5);
    let ids = hand.writer.stream_ids();
    let synced = std::fs::metadata(suffixed(&path, "-wal")).unwrap().len();
    // One commit of several pages.
    let text = |n: u64| fieldgate::reading::Sample {
        value: Value::Text(format!("{n:0>250}").into()),
        ..steps(ids[1].0, 0)
    };
    let answers: Vec<_> = (0..20).map(|n| hand.offer(capture(ids[1].1, Mono(n), vec![text(n)]))).collect();
    hand.flush();
    assert!(answers.into_iter().all(|answer| support::answered(answer).is_ok()));
    let length = std::fs::metadata(suffixed(&path, "-wal")).unwrap().len();
    assert!(length > synced);
    let mut at = synced;
    let mut n = 0;
    while at < length {
        let crashed = crashed(&path, &format!("torn {n}"));
        let log = std::fs::OpenOptions::new().write(true).open(suffixed(&crashed, "-wal")).unwrap();
        log.write_all_at(&[0xa5; 512], at).unwrap();
        let hand = open(&crashed, 2);
        assert_eq!((hand.status().salvage, hand.status().generation), (None, 0));
        assert_eq!(waiting(&crashed, destinations(&hand)[0]).len(), 100);
        (at, n) = (at + 512, n + 1);
    }
    hand.close();
}

#[test]
fn definitions_and_destinations_that_changed_meanwhile_are_followed() {
    let Filled { folder: _folder, path, hand, .. } = filled(10);
    let crashed = crashed(&path, "crashed");
    hand.close();
    damage_the_header(&crashed);
    // Other numbers for everything: another order, another unit, one destination gone, one new.
    let mut others = streams();
    others.reverse();
    others[1].unit = "K".into();
    for stream in &mut others {
        stream.routes = vec!["archive".into(), "broker".into()];
    }
    let mut hand = open_with(&crashed, 2, others, &["archive", "broker"]);
    salvage(&mut hand);
    let ids = destinations(&hand);
    let of_old = |d| -> Vec<QueuedRow> {
        waiting(&crashed, d).into_iter().filter(|r| r.epoch.epoch.0 == 1).collect::<Vec<_>>()
    };
    assert_eq!(of_old(ids[0]).len(), 0, "archive begins with what is accepted from now on");
    let broker = of_old(ids[1]);
    assert_eq!(broker.len(), 300);
    let units: BTreeSet<_> =
        broker.iter().map(|r| (r.stream.name.as_str(), r.stream.unit.as_str())).collect();
    assert_eq!(units, BTreeSet::from([("noise", "Cel"), ("smoke", "Cel"), ("temperature", "Cel")]));
    assert_eq!(problems(&crashed), Vec::<String>::new());
    // Settled like any other.
    let alarms: Vec<_> =
        waiting(&crashed, ids[1]).into_iter().filter(|r| r.stream.class == Class::Alarm).collect();
    let (from, to) = (Position::first_of(Class::Alarm), hand.status().ends[&Class::Alarm]);
    hand.settle(support::settlement(0, ids[1], from, to, &alarms, Outcome::Acknowledged));
    hand.flush();
    assert_eq!(problems(&crashed), Vec::<String>::new());
    assert!(waiting(&crashed, ids[1]).iter().all(|r| r.stream.class != Class::Alarm));
    hand.close();
}

#[test]
fn no_single_page_is_so_precious_that_without_it_all_is_lost() {
    let Filled { folder, path, hand, before } = filled(6);
    hand.close();
    let bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / PAGE;
    let mut salvaged = 0;
    for page in 0..pages {
        let home = folder.path().join(page.to_string());
        std::fs::create_dir(&home).unwrap();
        let copy = home.join("queue.db");
        let mut damaged = bytes.clone();
        damaged[page * PAGE..(page + 1) * PAGE].fill(0);
        // Whether or not this page is one that opening looks at: the header as well.
        damaged[..16].fill(0xee);
        std::fs::write(&copy, &damaged).unwrap();
        let mut hand = open(&copy, 2);
        salvage(&mut hand);
        // An identity may be lost with the page of its epoch, never one that is another's.
        for (destination, before) in destinations(&hand).into_iter().zip(&before) {
            let now: Vec<_> = waiting(&copy, destination)
                .into_iter()
                .filter(|r| Some(r.epoch.epoch) != hand.status().epoch)
                .collect();
            assert!(now.len() + 60 > before.len(), "page {page}: {} of {}", now.len(), before.len());
            for row in &now {
                let (identity, rest) = told(row);
                assert!(row.epoch.epoch.0 != 1 || before.get(&identity) == Some(&rest), "page {page}");
            }
            salvaged += now.len();
        }
        assert_eq!(problems(&copy), Vec::<String>::new(), "page {page}");
        hand.close();
    }
    println!("{pages} pages, {salvaged} readings salvaged");
}

#[test]
fn a_salvage_that_is_interrupted_goes_on_and_takes_nothing_twice() {
    let Filled { folder, path, hand, before } = filled(400);
    hand.close();
    damage_the_header(&path);
    let mut rng = Rng(support::seed("a_salvage_that_is_interrupted_goes_on_and_takes_nothing_twice"));
    let (mut starts, mut midway) = (0, 0);
    let mut at = path.clone();
    loop {
        starts += 1;
        let mut hand = open(&at, 1 + starts);
        hand.pass(Duration::from_millis(1000 + rng.below(120)));
        let shown = hand.status().salvage;
        midway += usize::from(shown.as_ref().is_some_and(|s| s.readings > 0));
        if shown.is_none() {
            let mut rows = Vec::new();
            for (destination, before) in destinations(&hand).into_iter().zip(&before) {
                assert_eq!(all(&at, destination), *before);
                rows.push(before.len());
            }
            assert_eq!(problems(&at), Vec::<String>::new());
            break;
        }
        assert!(starts < 100, "it never ends");
        // A crash: the files as they are.
        let next = folder.path().join(format!("start {starts}"));
        std::fs::create_dir(&next).unwrap();
        for entry in std::fs::read_dir(at.parent().unwrap()).unwrap().flatten() {
            if entry.path().is_file() && !entry.path().to_string_lossy().ends_with("-shm") {
                std::fs::copy(entry.path(), next.join(entry.file_name())).unwrap();
            }
        }
        at = next.join("queue.db");
    }
    assert!(midway > 1, "it was never interrupted midway ({starts} starts)");
}

/// Damage that leaves the small tables readable, and that the next start meets.
fn damage_a_body(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let newest = "UPDATE segments SET body = x'00' WHERE id = (SELECT max(id) FROM segments)";
    assert_eq!(connection.execute(newest, []).unwrap(), 1);
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

fn damage_the_header(path: &Path) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0; 100], 0).unwrap();
}

fn statements(path: &Path) -> Vec<serde_json::Value> {
    let connection = sqlite::open_reader(path).unwrap();
    let mut said =
        connection.prepare("SELECT detail FROM statements WHERE kind = 'queue_damaged' ORDER BY id").unwrap();
    let said = said.query_map([], |r| r.get::<_, String>(0)).unwrap();
    said.map(|detail| serde_json::from_str(&detail.unwrap()).unwrap()).collect()
}

#[test]
fn a_file_damaged_before_its_predecessor_was_salvaged_takes_neither_the_readings_nor_the_statement_along() {
    for (damage, reads) in [(damage_a_body as fn(&Path), true), (damage_the_header, false)] {
        let folder = support::fast_folder();
        let path = folder.path().join("queue.db");
        let mut hand = open(&path, 1);
        fill(&mut hand, 0, 20);
        let before: Vec<_> = destinations(&hand).iter().map(|d| all(&path, *d)).collect();
        hand.close();
        damage_a_body(&path);
        let mut hand = open(&path, 2);
        fill(&mut hand, 1000, 2);
        hand.close();
        damage(&path);
        let mut hand = open(&path, 3);
        salvage(&mut hand);
        for (destination, before) in destinations(&hand).into_iter().zip(&before) {
            let now = all(&path, destination);
            let missing = before.iter().filter(|(identity, _)| !now.contains_key(*identity)).count();
            assert!(missing <= 10, "{missing} of the first file, and only the damaged body was lost");
            assert!(now.keys().filter(|(epoch, ..)| *epoch == 2).count() > 20, "of the second file");
        }
        let said = statements(&path);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.iter().all(|said| said["salvage"] == "done"), "{said:?}");
        assert_ne!(said[0]["file"], said[1]["file"]);
        assert_eq!(said[0]["lost"].is_object(), reads, "where nobody knows it is unknown: {said:?}");
        assert_eq!(problems(&path), Vec::<String>::new());
        hand.close();
    }
}

#[test]
fn a_damaged_file_that_goes_before_it_was_salvaged_stays_on_record_as_lost_in_an_unknown_number() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    for epoch in 1..=6 {
        let mut hand = open(&path, epoch);
        fill(&mut hand, i64::try_from(epoch).unwrap() * 1000, 2);
        hand.close();
        damage_a_body(&path);
    }
    let mut hand = open(&path, 7);
    let there = |file: &str| path.with_file_name(file).exists();
    let said = statements(&path);
    let files: BTreeSet<_> = said.iter().map(|said| said["file"].as_str().unwrap()).collect();
    assert_eq!((said.len(), files.len()), (6, 6), "{said:?}");
    assert_eq!(files.iter().filter(|file| there(file)).count(), 4);
    for said in &said {
        let given_up = said["salvage"].as_str().unwrap().starts_with("given up");
        assert_eq!(given_up, !there(said["file"].as_str().unwrap()), "{said}");
        assert!(said["lost"].is_null());
    }
    salvage(&mut hand);
    assert_eq!(statements(&path).iter().filter(|said| said["salvage"] == "done").count(), 4);
    assert_eq!(problems(&path), Vec::<String>::new());
    hand.close();
}

#[test]
fn a_queue_that_is_nearly_full_salvages_nothing_until_there_is_room() {
    let Filled { folder: _folder, path, hand, .. } = filled(30);
    hand.close();
    damage_the_header(&path);
    let mut options = support::options(path.clone(), streams(), &["golioth", "broker"], 2);
    options.max_bytes = 300 << 10;
    let mut hand = Hand::open(options, Mono(1_000_000_000)).unwrap();
    let mut n = 0;
    while hand.status().used_bytes < 210 << 10 {
        fill(&mut hand, 10_000 + n, 1);
        n += 10;
    }
    hand.pass(Duration::from_secs(60));
    assert_eq!(hand.status().salvage.unwrap().readings, 0);
    for destination in destinations(&hand) {
        for class in Class::ALL {
            let (from, to) = (Position::first_of(class), hand.status().ends[&class]);
            let rows: Vec<_> =
                waiting(&path, destination).into_iter().filter(|r| r.stream.class == class).collect();
            hand.settle(support::settlement(0, destination, from, to, &rows, Outcome::Acknowledged));
        }
    }
    hand.flush();
    hand.pass(Duration::from_secs(60));
    assert_eq!(hand.status().salvage, None);
    assert_eq!(waiting(&path, destinations(&hand)[1]).len(), 900);
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn whatever_is_damaged_no_reading_comes_back_as_another() {
    let mut rng = Rng(support::seed("whatever_is_damaged_no_reading_comes_back_as_another"));
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    for epoch in 1..4 {
        let mut hand = open(&path, epoch);
        fill(&mut hand, i64::try_from(epoch).unwrap() * 1000, 4);
        hand.close();
    }
    let mut hand = open(&path, 4);
    fill(&mut hand, 5000, 4);
    let before_losses: Vec<_> = destinations(&hand).iter().map(|d| all(&path, *d)).collect();
    lose(&path, &mut hand);
    // Where it does not read that a reading was given up, it comes again.
    let mut before: Vec<_> = destinations(&hand).iter().map(|d| all(&path, *d)).collect();
    before.iter_mut().zip(before_losses).for_each(|(before, lost)| before.extend(lost));
    let crashed = crashed(&path, "crashed");
    hand.close();
    let (mut salvaged, mut replaced) = (0, 0);
    for round in 0..150u64 {
        let home = folder.path().join(round.to_string());
        std::fs::create_dir(&home).unwrap();
        let copy = home.join("queue.db");
        support::copy_with_log(if round % 2 == 0 { &path } else { &crashed }, &copy);
        let target = if round % 4 == 1 { suffixed(&copy, "-wal") } else { copy.clone() };
        let file = std::fs::OpenOptions::new().write(true).open(&target).unwrap();
        let length = file.metadata().unwrap().len();
        for _ in 0..=rng.below(20) {
            let bytes: Vec<u8> = (0..1 + rng.below(40)).map(|_| rng.next() as u8).collect();
            file.write_all_at(&bytes, rng.below(length)).unwrap();
        }
        std::fs::OpenOptions::new().write(true).open(&copy).unwrap().write_all_at(&[0xee; 16], 0).unwrap();
        let mut hand = open(&copy, 9);
        let own = hand.status().epoch.unwrap().0;
        salvage(&mut hand);
        replaced += usize::from(hand.status().epoch.unwrap().0 == own);
        for (destination, before) in destinations(&hand).into_iter().zip(&before) {
            for row in waiting(&copy, destination) {
                let (identity, rest) = told(&row);
                // An epoch whose row is lost has a new identity; that is told, not mistaken.
                if identity.0 == own || identity.0 > 9 {
                    continue;
                }
                salvaged += 1;
                assert_eq!(before.get(&identity), Some(&rest), "round {round}: {identity:?}");
            }
        }
        assert_eq!(problems(&copy), Vec::<String>::new(), "round {round}");
        hand.close();
        std::fs::remove_dir_all(&home).unwrap();
    }
    println!("{salvaged} readings salvaged in {replaced} rounds");
    assert!(salvaged > 10_000, "{salvaged}");
}

/// Everything on record in a file, under names that hold in any file.
fn on_record(path: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let file = sqlite::open_reader(path).unwrap();
    let all = |sql: &str| -> BTreeSet<String> {
        file.prepare(sql).unwrap().query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let drops = all("SELECT json_array(d.name, s.name, r.reason, hex(e.epoch), r.first_sequence, r.last_sequence, r.count,
                                       r.at_mono_ns, r.extent, coalesce(t.count, -1))
                     FROM drops AS r JOIN destinations AS d ON d.id = r.destination JOIN streams AS s ON s.id = r.stream
                     LEFT JOIN epochs AS e ON e.number = r.epoch
                     LEFT JOIN told AS t ON t.destination = r.destination AND t.kind = 0 AND t.record = r.id");
    let gaps = all("SELECT json_array(s.name, g.kind, g.reason, hex(e.epoch), g.first_sequence, g.last_sequence, g.count,
                                      g.last_mono_ns)
                    FROM gaps AS g LEFT JOIN streams AS s ON s.id = g.stream JOIN epochs AS e ON e.number = g.epoch");
    (drops, gaps)
}

/// Some of golioth's telemetry is given up, in two ranges of which it knows one; a stream is silent, a value refused.
fn lose(path: &Path, hand: &mut Hand) {
    let (golioth, ids) = (destinations(hand)[0], hand.writer.stream_ids());
    let mut half = capture(ids[0].1, hand.now, vec![steps(ids[0].0, 1)]);
    half.samples.push(fieldgate::reading::Sample { value: Value::Float(f64::NAN), ..steps(ids[1].0, 0) });
    half.missing.push((ids[2].0, fieldgate::reading::GapReason::Silent));
    hand.accept(half).unwrap();
    let telemetry: Vec<_> =
        waiting(path, golioth).into_iter().filter(|r| r.stream.class == Class::Telemetry).collect();
    for (from, to) in [(10, 20), (30, 35)] {
        let rows = &telemetry[from..to];
        let (start, end) = (rows[0].position, telemetry[to].position);
        hand.settle(support::settlement(0, golioth, start, end, rows, Outcome::Dropped("age")));
        hand.flush();
    }
    let mut reader = fieldgate::store::queue::Reader::open(path, golioth).unwrap();
    let told = reader.owed(9).unwrap().new[0].told();
    let (generation, now) = (hand.status().generation, hand.now);
    hand.writer.handle(now, Command::Told { generation, destination: golioth, told: vec![told] });
    hand.flush();
}

#[test]
fn what_was_lost_stays_on_record_as_its_destination_knows_it() {
    let Filled { folder: _folder, path, mut hand, .. } = filled(20);
    lose(&path, &mut hand);
    let file_id = hand.status().file_id;
    let (drops, gaps) = on_record(&path);
    assert_eq!((drops.len(), gaps.len()), (2, 2), "{drops:?} {gaps:?}");
    hand.close();
    damage_the_header(&path);
    let mut hand = open(&path, 2);
    salvage(&mut hand);
    assert_eq!(on_record(&path), (drops, gaps));
    assert_eq!(problems(&path), Vec::<String>::new());
    let golioth = destinations(&hand)[0];
    assert_eq!(hand.status().destination(golioth).dropped, 15);
    assert_eq!((hand.status().intake.refused, hand.status().intake.missed), (1, 1));
    assert_eq!(statement(&path)["records"], 4);
    // What was told is not told again, and the rest under the number it had.
    let mut reader = fieldgate::store::queue::Reader::open(&path, golioth).unwrap();
    let owed: Vec<_> = reader.owed(9).unwrap().new;
    let of_old: Vec<_> = owed
        .iter()
        .filter_map(|owed| match owed {
            fieldgate::store::queue::Owed::Loss(loss) if loss.file_id == file_id => {
                Some((loss.why.as_str(), loss.id, loss.count))
            }
            _ => None,
        })
        .collect();
    assert_eq!(of_old, [("age", 2, Some(5)), ("not_finite", 1, Some(1))]);
    hand.close();
    // Once more damaged, the records keep the number they were made with.
    damage_the_header(&path);
    let mut hand = open(&path, 3);
    salvage(&mut hand);
    assert_eq!(problems(&path), Vec::<String>::new());
    let file = sqlite::open_reader(&path).unwrap();
    let kept = "SELECT count(*) FROM drops WHERE from_file = ?1 AND from_record IN (1, 2)";
    assert_eq!(file.query_row(kept, [file_id.cast_signed()], |r| r.get::<_, i64>(0)).unwrap(), 2);
}

/// Has the file at `path` refuse rows: as one would that lost a part of itself.
fn refuse(path: &Path, name: &str, what: &str) {
    let file = rusqlite::Connection::open(path).unwrap();
    file.execute_batch(&format!("CREATE TRIGGER {name} BEFORE {what} BEGIN SELECT RAISE(ABORT, 'no'); END"))
        .unwrap();
}

#[test]
fn records_that_do_not_go_in_end_the_salvage_without_them_and_that_is_said() {
    let Filled { folder: _folder, path, mut hand, .. } = filled(20);
    lose(&path, &mut hand);
    let waits = |hand: &Hand| {
        let of_old = |row: &QueuedRow| row.epoch.epoch.0 == 1;
        destinations(hand)
            .iter()
            .map(|d| waiting(&path, *d).iter().filter(|r| of_old(r)).count())
            .sum::<usize>()
    };
    let there = waits(&hand);
    hand.close();
    damage_the_header(&path);
    let mut hand = open(&path, 2);
    refuse(&path, "no_drops", "INSERT ON drops WHEN NEW.from_file IS NOT NULL");
    salvage(&mut hand);
    let said = statement(&path);
    assert_eq!(said["records"], serde_json::Value::Null, "{said}");
    assert!(said["salvage"].as_str().unwrap().contains("could not be taken"), "{said}");
    assert_eq!(waits(&hand), there, "no reading is passed over for it");
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn a_salvage_that_cannot_be_ended_is_left_to_the_next_start() {
    let Filled { folder: _folder, path, hand, .. } = filled(20);
    hand.close();
    damage_the_header(&path);
    let mut hand = open(&path, 2);
    refuse(&path, "no_statement", "UPDATE ON statements");
    salvage(&mut hand);
    assert_eq!(statement(&path)["salvage"], "under way");
    hand.close();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("DROP TRIGGER no_statement").unwrap();
    drop(file);
    let mut hand = open(&path, 3);
    salvage(&mut hand);
    assert_eq!(statement(&path)["salvage"], "done");
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn a_sum_of_what_was_told_is_not_told_again_although_the_note_of_it_is_lost() {
    let Filled { folder: _folder, path, mut hand, .. } = filled(20);
    lose(&path, &mut hand);
    hand.close();
    let file = rusqlite::Connection::open(&path).unwrap();
    let sum =
        "UPDATE drops SET extent = 2, epoch = NULL, first_sequence = NULL, last_sequence = NULL WHERE id = 1";
    assert_eq!(file.execute(sum, []).unwrap(), 1);
    assert_eq!(file.execute("DELETE FROM told WHERE kind = 0", []).unwrap(), 1);
    drop(file);
    damage_the_header(&path);
    let mut hand = open(&path, 2);
    salvage(&mut hand);
    assert_eq!(hand.status().destination(destinations(&hand)[0]).dropped, 15);
    let mut reader = fieldgate::store::queue::Reader::open(&path, destinations(&hand)[0]).unwrap();
    let owed = reader.owed(9).unwrap().new;
    let given_up = owed.iter().filter_map(|owed| match owed {
        fieldgate::store::queue::Owed::Loss(loss) if loss.why == "age" => Some(loss.count),
        _ => None,
    });
    assert_eq!(given_up.collect::<Vec<_>>(), [Some(5)]);
}

#[test]
fn records_that_the_files_own_books_contradict_are_not_taken() {
    let Filled { folder: _folder, path, mut hand, .. } = filled(5);
    lose(&path, &mut hand);
    hand.close();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(
        "UPDATE drops SET extent = 0; UPDATE accounts SET dropped = 3; UPDATE gaps SET count = 1 << 40 WHERE kind = 'refused';
         PRAGMA wal_checkpoint(TRUNCATE);",
    )
    .unwrap();
    drop(file);
    damage_the_header(&path);
    let mut hand = open(&path, 2);
    salvage(&mut hand);
    assert_eq!(problems(&path), Vec::<String>::new());
    assert_eq!(
        (hand.status().destination(destinations(&hand)[0]).dropped, hand.status().intake.refused),
        (0, 0)
    );
    assert_eq!(hand.status().intake.missed, 1);
}
