//! The promise: what was lost is told to the destination before the readings that came through: how many, of which stream and
//! why; once, and again when it has grown; and readings that went without wall time are corrected when it is known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "the test makes the damage")]

#[path = "support/drain_bench.rs"]
mod bench;
#[path = "support/store.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bench::{Bench, HOUR, S, WALL, in_virtual_time, streams};
use fieldgate::clock::sources::{Claim, Source};
use fieldgate::clock::{BootId, Clock as _, Mono, Wall};
use fieldgate::reading::{Class, GapReason};
use fieldgate::store::queue::{OpenOptions, Owed, Salvaged};
use fieldgate::uplink::drain::DrainOptions;
use fieldgate::uplink::link::Outcome;
use support::{BOOT, Hand, NO_WALL, capture, fast_folder, options};

const MINUTE: Duration = Duration::from_secs(60);

fn with_age_limit() -> DrainOptions {
    DrainOptions { max_age: BTreeMap::from([(Class::Telemetry, HOUR)]), ..DrainOptions::default() }
}

fn takes_all() -> Bench {
    Bench::start_in(fast_folder(), with_age_limit(), |_, _| (S, Outcome::Acknowledged))
}

/// `count` readings become too old while the link is down.
async fn lose(bench: &Bench, count: u32) {
    bench.link_is(false);
    bench.take(0, 0..count).await;
    tokio::time::sleep(HOUR + MINUTE).await;
}

/// Every loss told: what became of them, why, how many, of which stream.
fn told(bench: &Bench) -> Vec<(&'static str, String, Option<u64>, Option<String>)> {
    let seen = bench.link.seen.lock().unwrap();
    let losses = seen.packed_letters.iter().flatten().filter_map(|owed| match owed {
        Owed::Loss(loss) => Some(loss.clone()),
        Owed::Clock(_) => None,
    });
    losses.map(|l| (l.of, l.why, l.count, l.stream.map(|s| s.name.clone()))).collect()
}

fn letters(bench: &Bench) -> usize {
    bench.link.seen.lock().unwrap().letters.len()
}

fn age(count: u64) -> (&'static str, String, Option<u64>, Option<String>) {
    ("dropped", "age".into(), Some(count), Some("telemetry".into()))
}

#[test]
fn after_an_outage_the_losses_come_first_and_are_told_once() {
    in_virtual_time(async {
        let bench = takes_all();
        lose(&bench, 300).await;
        bench.take(0, 1000..2000).await;
        bench.link_is(true);
        bench.drained(MINUTE).await;
        assert_eq!(told(&bench), [age(300)]);
        {
            let seen = bench.link.seen.lock().unwrap();
            assert_eq!(seen.letters[0].0, 0, "before any reading");
            let Owed::Loss(loss) = &seen.packed_letters[0][0] else { panic!() };
            let epoch = bench.queue.status().borrow().epoch;
            assert_eq!((loss.sequences, Some(loss.epoch.epoch)), (Some((1, 300)), epoch), "exactly those");
        }
        tokio::time::sleep(3 * HOUR).await;
        assert_eq!((letters(&bench), bench.owed().await), (1, 0));
        bench.finish().await;
    });
}

#[test]
fn an_alarm_does_not_wait_for_the_telling() {
    in_virtual_time(async {
        let bench = takes_all();
        lose(&bench, 300).await;
        bench.take(1, [9]).await;
        bench.link.seen.lock().unwrap().letter_outcomes = vec![Outcome::Unknown; 50];
        bench.link_is(true);
        tokio::time::sleep(2 * S).await;
        assert!(bench.has(9));
        bench.finish().await;
    });
}

#[test]
fn a_record_that_has_grown_is_told_again_with_the_whole_count_and_not_at_once() {
    in_virtual_time(async {
        let bench = takes_all();
        lose(&bench, 300).await;
        bench.link_is(true);
        tokio::time::sleep(S).await;
        // A sensor goes silent: a new record, told within a minute or so; then it stays silent.
        let (id, group) = bench.queue.streams()[0];
        for n in 0..4 * 3600 {
            let mut silent = capture(group, bench.clock.mono(), vec![]);
            silent.missing.push((id, GapReason::Silent));
            bench.queue.accept(silent).await.unwrap();
            if n == 180 {
                assert_eq!(letters(&bench), 2, "{:?}", told(&bench));
            }
        }
        let all = told(&bench);
        assert!((12..=18).contains(&all.len()), "every quarter of an hour for four hours: {}", all.len());
        let counts: Vec<u64> = all[1..].iter().map(|(_, _, count, _)| count.unwrap()).collect();
        assert!(counts.is_sorted() && *counts.last().unwrap() > 13_000, "{counts:?}");
        assert!(all[1..].iter().all(|(of, why, _, _)| *of == "missed" && why == "silent"));
        bench.finish().await;
    });
}

#[test]
fn a_letter_without_an_answer_is_sent_again_and_one_that_is_put_off_waits() {
    in_virtual_time(async {
        let bench = takes_all();
        lose(&bench, 300).await;
        bench.link.seen.lock().unwrap().letter_outcomes =
            vec![Outcome::Later { after: 40 * S }, Outcome::Unknown, Outcome::Unknown];
        bench.link_is(true);
        tokio::time::sleep(30 * S).await;
        assert_eq!((letters(&bench), bench.owed().await), (3, 1));
        // The third time in a row that it is put off, it is put off for four times as long.
        tokio::time::sleep(100 * S).await;
        assert_eq!(letters(&bench), 3);
        tokio::time::sleep(100 * S).await;
        assert_eq!((letters(&bench), bench.owed().await), (4, 0));
        assert_eq!(told(&bench).len(), 1, "the same letter, not another");
        bench.finish().await;
    });
}

#[test]
fn a_destination_that_refuses_to_be_told_still_gets_its_readings() {
    in_virtual_time(async {
        let bench = takes_all();
        lose(&bench, 300).await;
        bench.link.seen.lock().unwrap().letter_outcomes =
            vec![Outcome::Bad { why: "what is this".into() }; 9];
        bench.link_is(true);
        bench.take(0, 1000..1100).await;
        bench.drained(MINUTE).await;
        tokio::time::sleep(HOUR / 2).await;
        assert_eq!((letters(&bench), bench.owed().await), (1, 1), "it stays on record as not told");
        tokio::time::sleep(HOUR).await;
        assert_eq!((letters(&bench), bench.owed().await), (2, 1), "and is tried again");
        tokio::time::sleep(28 * HOUR).await;
        assert_eq!((letters(&bench), bench.owed().await), (5, 1), "after twice as long each time");
        bench.link.seen.lock().unwrap().letter_outcomes.clear();
        tokio::time::sleep(24 * HOUR).await;
        assert_eq!((letters(&bench), bench.owed().await), (6, 0), "until the cloud was mended");
        assert_eq!(bench.finish().await.acknowledged.len(), 100);
    });
}

#[test]
fn a_record_longer_than_a_limit_learned_from_readings_is_told_all_the_same() {
    in_virtual_time(async {
        let max_age = BTreeMap::from([(Class::Telemetry, 10 * MINUTE)]);
        let options = DrainOptions { max_age, ..DrainOptions::default() };
        let bench = Bench::start_in(fast_folder(), options, |_, message| match message.body.len() {
            0..=100 => (S / 10, Outcome::Acknowledged),
            _ => (S / 10, Outcome::TooLarge { limit: Some(100) }),
        });
        bench.link.seen.lock().unwrap().record_length = 200;
        bench.take(0, 1000..1300).await;
        bench.drained(MINUTE).await;
        bench.link_is(false);
        bench.take(0, 0..300).await;
        tokio::time::sleep(11 * MINUTE).await;
        bench.link_is(true);
        tokio::time::sleep(5 * MINUTE).await;
        assert_eq!((letters(&bench), bench.owed().await), (1, 0));
        bench.finish().await;
    });
}

#[test]
fn a_record_longer_than_the_destination_takes_is_tried_again_when_the_learned_limit_is_forgotten() {
    in_virtual_time(async {
        let bench = takes_all();
        lose(&bench, 300).await;
        {
            let mut seen = bench.link.seen.lock().unwrap();
            seen.record_length = 600;
            seen.letter_outcomes = vec![Outcome::TooLarge { limit: None }];
        }
        bench.link_is(true);
        tokio::time::sleep(50 * MINUTE).await;
        assert_eq!((letters(&bench), bench.owed().await), (1, 1));
        tokio::time::sleep(20 * MINUTE).await;
        assert_eq!((letters(&bench), bench.owed().await), (2, 0));
        bench.finish().await;
    });
}

#[test]
fn an_unclean_stop_is_told_as_an_unknown_number_of_every_stream() {
    in_virtual_time(async {
        let folder = fast_folder();
        let path = folder.path().join("queue.db");
        let earlier =
            OpenOptions { boot: BootId([6; 16]), ..options(path, streams(), &["golioth", "other"], 7) };
        drop(Hand::open(earlier, Mono::from(HOUR)).unwrap());
        let bench = Bench::start_in(folder, with_age_limit(), |_, _| (S, Outcome::Acknowledged));
        tokio::time::sleep(2 * S).await;
        assert_eq!(told(&bench), [("missed", "unclean_stop".to_owned(), None, None)]);
        {
            let seen = bench.link.seen.lock().unwrap();
            let Owed::Loss(loss) = &seen.packed_letters[0][0] else { panic!() };
            assert_eq!(
                (loss.epoch.epoch.0, loss.clock.boot),
                (7, BOOT),
                "of that epoch, found out in this boot"
            );
        }
        assert_eq!(bench.owed().await, 0);
        bench.finish().await;
    });
}

#[test]
fn gaps_an_unclean_stop_and_what_was_given_up_of_an_earlier_epoch_all_go_before_any_reading() {
    in_virtual_time(async {
        let folder = fast_folder();
        let path = folder.path().join("queue.db");
        let earlier = OpenOptions { boot: BOOT, ..options(path, streams(), &["golioth", "other"], 7) };
        let mut hand = Hand::open(earlier, Mono(1)).unwrap();
        let (id, group) = hand.writer.stream_ids()[0];
        for n in 0..5 {
            let mut half = capture(group, Mono(1), vec![support::steps(id, n)]);
            half.missing.push((hand.writer.stream_ids()[3].0, GapReason::Silent));
            hand.accept(half).unwrap();
        }
        drop(hand);
        let bench = Bench::start_in(folder, with_age_limit(), |_, _| (S, Outcome::Acknowledged));
        bench.link_is(false);
        tokio::time::sleep(HOUR + MINUTE).await;
        bench.take(0, 1000..2000).await;
        bench.link_is(true);
        bench.drained(MINUTE).await;
        {
            let seen = bench.link.seen.lock().unwrap();
            assert!(seen.letters.iter().all(|(readings, _)| *readings == 0), "{:?}", seen.letters);
            let losses = seen.packed_letters.iter().flatten().map(|owed| match owed {
                Owed::Loss(loss) => (loss.why.as_str(), loss.epoch.epoch.0, loss.sequences, loss.count),
                Owed::Clock(_) => panic!("{owed:?}"),
            });
            let mut losses: Vec<_> = losses.collect();
            losses.sort_unstable();
            let expected = [
                ("age", 7, Some((1, 5)), Some(5)),
                ("silent", 7, Some((1, 5)), Some(5)),
                ("unclean_stop", 7, None, None),
            ];
            assert_eq!(losses, expected);
        }
        assert_eq!(bench.finish().await.acknowledged.len(), 1000);
    });
}

/// Of the letters: what is said of a damaged file, and how many of its readings were there and were kept.
fn told_of_damage(bench: &Bench) -> Vec<(String, Option<u64>, Salvaged)> {
    let seen = bench.link.seen.lock().unwrap();
    let losses = seen.packed_letters.iter().flatten().filter_map(|owed| match owed {
        Owed::Loss(loss) => Some(loss.clone()),
        Owed::Clock(_) => None,
    });
    losses.filter_map(|l| Some((l.why.clone(), l.count, l.salvaged?))).collect()
}

/// Five readings for golioth in a file that is damaged then.
fn damaged(damage: impl FnOnce(&std::path::Path)) -> tempfile::TempDir {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = Hand::open(options(path.clone(), streams(), &["golioth", "other"], 7), Mono(1)).unwrap();
    let (id, group) = hand.writer.stream_ids()[0];
    for n in 0..5 {
        hand.accept(capture(group, Mono(1), vec![support::steps(id, n)])).unwrap();
    }
    hand.close();
    damage(&path);
    folder
}

#[test]
fn a_damaged_file_is_told_before_any_reading_and_what_nobody_knows_as_unknown() {
    in_virtual_time(async {
        let folder = damaged(|path| {
            let bytes = std::fs::read(path).unwrap();
            let zeroed = [&[0; 100][..], &bytes[100..]].concat();
            std::fs::write(path, zeroed).unwrap();
        });
        let bench = Bench::start_in(folder, with_age_limit(), |_, _| (S, Outcome::Acknowledged));
        bench.link_is(false);
        bench.take(0, 1000..1100).await;
        tokio::time::sleep(MINUTE).await;
        bench.link_is(true);
        bench.drained(MINUTE).await;
        let unknown = Salvaged { held: None, kept: 5 };
        assert_eq!(told_of_damage(&bench), [("queue_damaged".to_owned(), None, unknown)]);
        assert_eq!(bench.link.seen.lock().unwrap().letters[0].0, 0, "before any reading");
        assert_eq!(bench.owed().await, 0);
        assert_eq!(bench.finish().await.acknowledged.len(), 105);
    });
}

#[test]
fn a_damaged_file_whose_books_read_is_told_at_once_and_with_numbers_when_all_is_known() {
    in_virtual_time(async {
        let folder = damaged(|path| {
            let file = rusqlite::Connection::open(path).unwrap();
            let newest = "UPDATE segments SET body = x'00' WHERE id = (SELECT max(id) FROM segments)";
            assert_eq!(file.execute(newest, []).unwrap(), 1);
        });
        let bench = Bench::start_in(folder, with_age_limit(), |_, _| (S, Outcome::Acknowledged));
        bench.link.seen.lock().unwrap().letter_outcomes = vec![Outcome::Unknown];
        tokio::time::sleep(5 * MINUTE).await;
        let damaged = |count, kept| ("queue_damaged".to_owned(), count, Salvaged { held: Some(5), kept });
        assert_eq!(told_of_damage(&bench), [damaged(None, 0), damaged(Some(1), 4)]);
        assert_eq!(
            (letters(&bench), bench.owed().await),
            (3, 0),
            "the first was sent until it was acknowledged"
        );
        tokio::time::sleep(HOUR).await;
        assert_eq!(letters(&bench), 3, "and never again");
        assert_eq!(bench.finish().await.acknowledged.len(), 4);
    });
}

#[test]
fn readings_that_went_without_wall_time_are_corrected_once_it_is_known() {
    in_virtual_time(async {
        let drain = DrainOptions { hold_untrusted: Duration::ZERO, ..DrainOptions::default() };
        let bench = Bench::start_at(NO_WALL, fast_folder(), drain, |_, _| (S, Outcome::Acknowledged));
        bench.take(0, 0..10).await;
        bench.drained(MINUTE).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(letters(&bench), 0, "nobody knows the time yet");
        bench.clock.step_wall(WALL);
        let at = bench.clock.mono();
        let claim = Claim::new(Source::Ntp, at, WALL.unix_ms, WALL.uncertainty_ms);
        bench.queue.tell_wall(claim).await;
        bench.take(0, 10..20).await;
        tokio::time::sleep(3 * MINUTE).await;
        {
            let seen = bench.link.seen.lock().unwrap();
            let [letter] = seen.packed_letters.as_slice() else { panic!("{:?}", seen.packed_letters) };
            let [Owed::Clock(epoch)] = letter.as_slice() else { panic!("{letter:?}") };
            let (offset, uncertainty) = epoch.wall_offset_ms.unwrap();
            assert_eq!((epoch.boot, uncertainty), (BOOT, WALL.uncertainty_ms));
            assert!(offset < WALL.unix_ms && offset > WALL.unix_ms - 2 * 3_600_000);
        }
        assert_eq!(bench.owed().await, 0);
        tokio::time::sleep(HOUR).await;
        assert_eq!(letters(&bench), 1);
        bench.finish().await;
    });
}

#[test]
fn readings_at_hand_and_those_to_come_go_with_the_time_as_corrected() {
    in_virtual_time(async {
        let bench = Bench::start(|_, _| (S, Outcome::Acknowledged));
        bench.take(0, 0..10).await;
        bench.drained(MINUTE).await;
        bench.link_is(false);
        bench.take(0, 10..20).await;
        // Picked while the wrong time was believed.
        tokio::time::sleep(5 * S).await;
        let corrected = Wall { unix_ms: WALL.unix_ms + 3_600_000, ..WALL };
        bench.clock.step_wall(corrected);
        let at = bench.clock.mono();
        bench.queue.tell_wall(Claim::new(Source::Ntp, at, corrected.unix_ms, corrected.uncertainty_ms)).await;
        bench.queue.flush().await;
        bench.link_is(true);
        bench.take(0, 20..30).await;
        bench.drained(MINUTE).await;
        let dated = bench.finish().await.dated;
        let (before, after) = (dated[&0].unwrap(), dated[&10].unwrap());
        // Half an hour and more, less what had passed since the boot.
        assert!(after > before + 1_800_000, "{before} {after}");
        assert!((10..30).all(|reading| dated[&reading] == Some(after)), "{dated:?}");
    });
}
