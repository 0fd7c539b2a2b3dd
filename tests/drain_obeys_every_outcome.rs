//! The promise: whatever a link answers, in whatever order and however absurd, the drain loses nothing, holds little, hurries
//! nobody, and settles each reading once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/drain_bench.rs"]
mod bench;
#[path = "support/store.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bench::{Bench, HOUR, S, WALL, in_virtual_time, streams};
use fieldgate::clock::{BootId, Mono};
use fieldgate::reading::Class;
use fieldgate::store::queue::{ClassQuota, OpenOptions, Outcome as Settled, Position};
use fieldgate::uplink::drain::DrainOptions;
use fieldgate::uplink::link::Outcome;
use proptest::prelude::*;
use support::{Hand, capture, options, steps};

#[test]
fn a_link_that_says_at_once_that_it_does_not_know_is_not_asked_in_a_tight_loop() {
    in_virtual_time(async {
        let bench = Bench::start(|_, _| (Duration::ZERO, Outcome::Unknown));
        bench.take(0, 0..2000).await;
        tokio::time::sleep(60 * S).await;
        let seen = bench.finish().await;
        assert!(seen.sent.len() < 8 * 70, "{} messages in a minute", seen.sent.len());
    });
}

#[test]
fn a_queue_of_any_length_keeps_only_a_few_messages_worth_in_memory() {
    in_virtual_time(async {
        let bench = Bench::start(|_, _| (30 * S, Outcome::Unknown));
        for n in 0..20 {
            bench.take(0, n * 1000..(n + 1) * 1000).await;
        }
        tokio::time::sleep(HOUR).await;
        let seen = bench.finish().await;
        assert!(seen.most_offered <= 512, "{}", seen.most_offered);
        let distinct: BTreeSet<u32> = seen.sent.iter().flatten().copied().collect();
        assert!(distinct.len() <= 2 * 8 * 256, "{} readings outside the queue", distinct.len());
        assert!(seen.most_in_flight <= 8);
    });
}

#[test]
fn one_place_in_the_window_is_kept_for_what_is_urgent() {
    in_virtual_time(async {
        let bench = Bench::start(|_, message| match message.class {
            Class::Alarm => (S, Outcome::Acknowledged),
            _ => (100 * S, Outcome::Acknowledged),
        });
        bench.take(0, 0..5000).await;
        tokio::time::sleep(5 * S).await;
        bench.take(1, [9]).await;
        tokio::time::sleep(2 * S).await;
        assert!(bench.link.seen.lock().unwrap().acknowledged.contains_key(&9));
    });
}

#[test]
fn what_got_no_answer_goes_again_oldest_first_and_unchanged() {
    in_virtual_time(async {
        let mut asked = 0;
        let bench = Bench::start(move |values, _| {
            asked += 1;
            // The first window is lost, and noticed in any order.
            if asked <= 7 {
                (Duration::from_millis(500 + u64::from(values[0]) % 7 * 10), Outcome::Unknown)
            } else {
                (S, Outcome::Acknowledged)
            }
        });
        bench.take(0, 0..2000).await;
        bench.drained(60 * S).await;
        let seen = bench.finish().await;
        let (first, rest) = seen.sent.split_at(7);
        let mut again: Vec<&Vec<u32>> = rest.iter().filter(|m| first.contains(m)).collect();
        assert_eq!(again.len(), 7, "the same messages");
        let in_order = again.clone();
        again.sort();
        assert_eq!(again, in_order);
        assert!(seen.acknowledged.values().all(|copies| *copies == 1) && seen.acknowledged.len() == 2000);
    });
}

#[test]
fn a_limit_that_the_message_was_within_does_not_go_round_in_circles() {
    in_virtual_time(async {
        let bench = Bench::start(|_, message| match message.body.len() {
            0..=300 => (S / 10, Outcome::Acknowledged),
            _ => (S / 10, Outcome::TooLarge { limit: Some(5000) }),
        });
        bench.take(0, 0..1000).await;
        bench.drained(60 * S).await;
        let seen = bench.finish().await;
        assert!(seen.sent.len() < 60, "{}", seen.sent.len());
        assert_eq!(seen.acknowledged.len(), 1000);
    });
}

#[test]
fn a_long_reading_is_not_set_aside_for_a_limit_that_was_only_guessed() {
    in_virtual_time(async {
        // The destination takes 600 bytes, but does not say so; halving arrives at less than the long reading has.
        let bench = Bench::start(|_, message| match message.body.len() {
            0..=600 => (S / 10, Outcome::Acknowledged),
            _ => (S / 10, Outcome::TooLarge { limit: None }),
        });
        bench.take(0, (0..250).chain([1_000_000]).chain(300..400)).await;
        bench.drained(60 * S).await;
        assert_eq!(bench.set_aside(), 0);
        assert_eq!(bench.finish().await.acknowledged.len(), 351);
    });
}

#[test]
fn a_reading_too_long_for_any_message_is_set_aside_and_blocks_nothing() {
    in_virtual_time(async {
        let bench = Bench::start(|_, message| match message.body.len() {
            0..=200 => (S / 10, Outcome::Acknowledged),
            _ => (S / 10, Outcome::TooLarge { limit: Some(200) }),
        });
        bench.take(0, (0..50).chain([1_000_000]).chain(60..100)).await;
        bench.drained(60 * S).await;
        assert_eq!(bench.set_aside(), 1);
        bench.queue.flush().await;
        // And a person who looks is told which one it was, and why.
        let told = fieldgate::store::queue::verify::verify(bench.queue.path()).unwrap().set_aside;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("number") && told[0].contains("too long for one message"), "{told:?}");
        assert_eq!(bench.finish().await.acknowledged.len(), 90);
    });
}

#[test]
fn what_is_too_long_even_at_the_smallest_limit_is_halved_and_not_repeated_as_it_is() {
    in_virtual_time(async {
        let bench = Bench::start(|values, _| match values {
            [_] => (S / 10, Outcome::Acknowledged),
            _ => (S / 10, Outcome::TooLarge { limit: None }),
        });
        bench.take(0, 0..64).await;
        bench.drained(10 * 60 * S).await;
        assert_eq!(bench.set_aside(), 0);
        let seen = bench.finish().await;
        assert_eq!(seen.acknowledged.len(), 64);
        assert!(seen.sent.len() < 3 * 64, "{}", seen.sent.len());
    });
}

#[test]
fn what_the_store_gave_up_while_the_destination_refused_is_not_sent_afterwards() {
    for refusal in [
        Outcome::Later { after: 30 * S },
        Outcome::LinkSick { why: "no".into(), next_step: "do".into() },
        Outcome::TooLarge { limit: None },
    ] {
        in_virtual_time(async {
            let folder = support::fast_folder();
            let quota = ClassQuota { rows: Some(2000), bytes: None };
            let queue = OpenOptions {
                class_quotas: [(Class::Telemetry, quota)].into(),
                ..options(folder.path().join("queue.db"), streams(), &["golioth", "other"], 1)
            };
            let refuses = Arc::new(AtomicBool::new(true));
            let asked = Arc::clone(&refuses);
            let bench = Bench::start_with(queue, WALL, folder, DrainOptions::default(), move |values, _| {
                let refused = asked.load(Ordering::Relaxed) && values.len() > 1;
                // One that is alone is set aside when it is too long; here it is about the others.
                let single = asked.load(Ordering::Relaxed).then_some(Outcome::Unknown);
                let taken = single.unwrap_or(Outcome::Acknowledged);
                (S / 10, if refused { refusal.clone() } else { taken })
            });
            for n in 0..20 {
                bench.take(0, n * 250..(n + 1) * 250).await;
                tokio::time::sleep(S).await;
            }
            tokio::time::sleep(60 * S).await;
            let dropped = u32::try_from(bench.totals().dropped).unwrap();
            assert!(dropped > 2500, "{dropped}");
            refuses.store(false, Ordering::Relaxed);
            bench.drained(2 * HOUR).await;
            let (acknowledged, seen) = (bench.totals().acknowledged, bench.finish().await);
            assert_eq!(seen.acknowledged.keys().next(), Some(&dropped), "the oldest were given up");
            assert_eq!(
                (seen.acknowledged.len() as u64, acknowledged),
                (acknowledged, u64::from(5000 - dropped))
            );
        });
    }
}

#[test]
fn a_statement_that_aged_out_with_its_readings_goes_with_others() {
    in_virtual_time(async {
        let max_age = [(Class::Telemetry, 60 * S)].into();
        let options = DrainOptions { max_age, ..DrainOptions::default() };
        let refuses = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&refuses);
        let bench = Bench::start_in(support::fast_folder(), options, move |_, _| {
            let refused = asked.load(Ordering::Relaxed);
            let later = Outcome::Later { after: 90 * S };
            (S / 10, if refused { later } else { Outcome::Acknowledged })
        });
        bench.take(0, 0..10).await;
        bench.drained(300 * S).await;
        assert_eq!((bench.totals().dropped, bench.queue.status().borrow().announced.len()), (10, 0));
        refuses.store(false, Ordering::Relaxed);
        tokio::time::sleep(300 * S).await;
        bench.take(0, 10..20).await;
        bench.drained(300 * S).await;
        assert_eq!(bench.queue.status().borrow().announced.len(), 1);
        bench.finish().await;
    });
}

#[test]
fn a_statement_that_was_refused_goes_again_with_a_message_an_hour_later() {
    in_virtual_time(async {
        let refuses = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&refuses);
        let bench = Bench::start(move |_, message| {
            let stated = message.body.starts_with(b"SSSSSSSSSS");
            let refused = stated && asked.load(Ordering::Relaxed);
            (S, if refused { Outcome::Bad { why: "4.00".into() } } else { Outcome::Acknowledged })
        });
        let announced = || bench.queue.status().borrow().announced.len();
        bench.take(0, 0..10).await;
        bench.drained(300 * S).await;
        refuses.store(false, Ordering::Relaxed);
        tokio::time::sleep(HOUR / 2).await;
        bench.take(0, 10..20).await;
        bench.drained(300 * S).await;
        assert_eq!(announced(), 0, "not with every message");
        tokio::time::sleep(HOUR).await;
        bench.take(0, 20..30).await;
        bench.drained(300 * S).await;
        assert_eq!(announced(), 1);
        bench.finish().await;
    });
}

#[test]
fn refusals_of_a_whole_window_count_as_one() {
    in_virtual_time(async {
        let sick = Outcome::LinkSick { why: "no".into(), next_step: "do".into() };
        let mut asked = 0;
        let bench = Bench::start(move |_, _| {
            asked += 1;
            (S, if asked <= 7 { sick.clone() } else { Outcome::Acknowledged })
        });
        bench.take(0, 0..3000).await;
        // The first pause is a minute at most.
        bench.drained(90 * S).await;
        let seen = bench.finish().await;
        assert_eq!(seen.acknowledged.len(), 3000);
    });
}

#[test]
fn leftovers_of_a_full_message_have_gathered_since_they_came_and_not_since_it_left() {
    in_virtual_time(async {
        let mut asked = 0;
        let bench = Bench::start(move |_, _| {
            asked += 1;
            let later = Outcome::Later { after: 5 * S };
            (S / 10, if asked == 1 { later } else { Outcome::Acknowledged })
        });
        // Two messages and ten readings; the second leaves after the pause, and the ten do not gather anew from then on.
        bench.take(0, 0..522).await;
        tokio::time::sleep(13 * S / 2).await;
        assert_eq!(bench.link.seen.lock().unwrap().acknowledged.len(), 522);
        bench.finish().await;
    });
}

#[test]
fn a_destination_that_refuses_everything_is_shown_until_it_takes_something() {
    in_virtual_time(async {
        let mut asked = 0;
        let bench = Bench::start(move |values, _| {
            asked += 1;
            let refuses = asked < 400 && !values.is_empty();
            (S / 10, if refuses { Outcome::Bad { why: "no".into() } } else { Outcome::Acknowledged })
        });
        let refuses = |bench: &Bench| bench.board.destinations.get("golioth").unwrap().value.refuses;
        bench.take(0, 0..1000).await;
        tokio::time::sleep(60 * S).await;
        let words = refuses(&bench).unwrap();
        assert!(words.contains("more than 100 readings") && words.contains("Next: "), "{words}");
        bench.drained(100 * HOUR).await;
        assert_eq!(refuses(&bench), None);
        bench.finish().await;
    });
}

/// The books of a destination have a bounded number of places for what is settled beyond the oldest reading that is not.
#[test]
fn an_answer_that_the_store_had_no_place_for_is_found_out_and_its_readings_go_again() {
    in_virtual_time(async {
        // The oldest message takes long, so that whatever is answered meanwhile lies beyond it.
        let slow = |values: &[u32]| if values.contains(&0) { 60 * S } else { S };
        let bench = Bench::start(move |values, _| (slow(values), Outcome::Acknowledged));
        bench.link_is(false);
        bench.take(0, 0..1500).await;
        let golioth = bench.queue.destinations()[0].0;
        let rows = support::waiting(bench.queue.path(), golioth);
        let generation = bench.queue.status().borrow().generation;
        for row in rows[901..].iter().step_by(2).take(256) {
            let (from, to) = (row.position, Position { row: row.position.row + 1, ..row.position });
            let one = std::slice::from_ref(row);
            let settled = support::settlement(generation, golioth, from, to, one, Settled::Acknowledged);
            bench.queue.settle(settled).await;
        }
        bench.queue.flush().await;
        assert_eq!(bench.queued(), 1500 - 256);
        bench.link_is(true);
        bench.drained(HOUR).await;
        assert!(bench.queue.status().borrow().forgotten.contains_key(&golioth), "no answer was forgotten");
        bench.finish().await;
    });
}

#[test]
fn readings_of_other_destinations_in_between_are_passed_over() {
    in_virtual_time(async {
        let bench = Bench::start(|_, _| (S / 10, Outcome::Acknowledged));
        for n in 0..40 {
            bench.take(2, [n]).await;
            if n % 10 == 9 {
                bench.take(0, [n]).await;
            }
        }
        bench.drained(30 * S).await;
        let other = bench.queue.destinations()[1].0;
        assert_eq!(bench.queue.status().borrow().destination(other).queued, 40);
        assert_eq!(bench.finish().await.acknowledged.len(), 4);
    });
}

#[test]
fn a_reading_of_an_earlier_boot_does_not_wait_for_that_boots_clock() {
    in_virtual_time(async {
        let folder = support::fast_folder();
        let path = folder.path().join("queue.db");
        let earlier =
            OpenOptions { boot: BootId([6; 16]), ..options(path, streams(), &["golioth", "other"], 7) };
        // That boot never learned the time, and had run for a month.
        let month = Mono::from(720 * HOUR);
        let mut hand = Hand::open(earlier, month).unwrap();
        let (id, group) = hand.writer.stream_ids()[0];
        hand.accept(capture(group, month, vec![steps(id, 5)])).unwrap();
        hand.close();
        let bench = Bench::start_in(folder, DrainOptions::default(), |_, _| (S, Outcome::Acknowledged));
        bench.take(0, [6]).await;
        bench.drained(30 * S).await;
        assert_eq!(bench.finish().await.acknowledged.len(), 2);
    });
}

#[test]
fn a_lane_that_starts_over_counts_what_was_set_aside_in_the_hour_before() {
    for (boot, most) in [(support::BOOT, 100), (BootId([6; 16]), 160)] {
        in_virtual_time(async {
            let folder = support::fast_folder();
            let path = folder.path().join("queue.db");
            let options = |epoch, boot| OpenOptions {
                boot,
                ..options(path.clone(), streams(), &["golioth", "other"], epoch)
            };
            let mut hand = Hand::open(options(7, boot), Mono(1_000_000)).unwrap();
            let (id, group) = hand.writer.stream_ids()[0];
            let golioth = hand.writer.destination_ids()[0].0;
            for n in 0..60 {
                hand.accept(capture(group, Mono(1_000_000), vec![steps(id, n)])).unwrap();
            }
            let rows = support::waiting(&path, golioth);
            let end = rows[59].position.next_segment();
            let refused = fieldgate::store::queue::Outcome::SetAside("4.00".into());
            hand.settle(support::settlement(0, golioth, rows[0].position, end, &rows, refused));
            hand.close();
            let refuses = |_: &[u32], _: &_| (S / 10, Outcome::Bad { why: "4.00".into() });
            let queue = options(8, support::BOOT);
            let bench = Bench::start_with(queue, WALL, folder, DrainOptions::default(), refuses);
            bench.take(0, 100..300).await;
            tokio::time::sleep(600 * S).await;
            assert_eq!(bench.set_aside(), most, "what another boot set aside is not of this hour");
        });
    }
}

#[derive(Clone, Copy, Debug)]
enum Mood {
    Takes,
    Later,
    Sick,
    TooLarge,
    Unknown,
    Bad,
}

fn moods() -> impl Strategy<Value = Vec<(Mood, u64)>> {
    let mood = prop_oneof![
        4 => Just(Mood::Takes),
        1 => Just(Mood::Later),
        1 => Just(Mood::Sick),
        1 => Just(Mood::TooLarge),
        2 => Just(Mood::Unknown),
        1 => Just(Mood::Bad),
    ];
    prop::collection::vec((mood, 1..4000u64), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A link in any mood that in the end takes everything but three poisoned readings.
    #[test]
    fn whatever_the_answers_every_reading_is_settled_once(moods in moods(), alarms in 0..4u32, pause in 0..30u32) {
        let (seen, set_aside) = in_virtual_time(async {
            let mut moods = moods.into_iter();
            // So that telemetry that met a refusal is backlog by the time it is sent.
            let options = DrainOptions { live_bound: 20 * S, ..DrainOptions::default() };
            let bench = Bench::start_in(support::fast_folder(), options, move |values, message| {
                let (mood, after) = moods.next().unwrap_or((Mood::Takes, 100));
                let outcome = match mood {
                    _ if values.iter().any(|v| [77, 500, 1399].contains(v)) && !matches!(mood, Mood::Unknown) => {
                        Outcome::Bad { why: "poison".into() }
                    }
                    Mood::Takes => Outcome::Acknowledged,
                    Mood::Later => Outcome::Later { after: Duration::from_millis(after) },
                    Mood::Sick => Outcome::LinkSick { why: "no".into(), next_step: "do".into() },
                    Mood::TooLarge if values.len() > 1 => Outcome::TooLarge { limit: Some(message.body.len() / 2) },
                    Mood::Bad if values.len() > 1 => Outcome::Bad { why: "moody".into() },
                    Mood::TooLarge | Mood::Bad | Mood::Unknown => Outcome::Unknown,
                };
                (Duration::from_millis(after), outcome)
            });
            for n in 0..7 {
                bench.take(0, n * 200..(n + 1) * 200).await;
                tokio::time::sleep(pause * S).await;
            }
            bench.take(1, 2000..2000 + alarms).await;
            bench.drained(100 * HOUR).await;
            let set_aside = bench.set_aside();
            (bench.finish().await, set_aside)
        });
        prop_assert_eq!(set_aside, 3);
        prop_assert_eq!(seen.acknowledged.len() as u32, 1400 - 3 + alarms);
        prop_assert!(seen.acknowledged.values().all(|copies| *copies == 1));
        prop_assert!(seen.most_in_flight <= 8);
    }
}
