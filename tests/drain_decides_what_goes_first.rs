//! The promise: after an outage what is so now and what was so then share the link by weight, and neither starves; what is
//! older than its limit is given up on record, whether the link is up or not; of a stream of which only the latest counts
//! only the latest is sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/drain_bench.rs"]
mod bench;
#[path = "support/store.rs"]
mod support;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use bench::{Bench, HOUR, S, in_virtual_time, streams};
use fieldgate::clock::sources::{Claim, Source};
use fieldgate::clock::{BootId, Mono};
use fieldgate::reading::Class;
use fieldgate::store::queue::OpenOptions;
use fieldgate::store::queue::writer::Command;
use fieldgate::store::worker::Machine;
use fieldgate::uplink::drain::DrainOptions;
use fieldgate::uplink::link::{Message, Outcome};
use fieldgate::uplink::share::Weights;
use support::{Hand, capture, fast_folder, options, steps};

const MINUTE: Duration = Duration::from_secs(60);
/// From here on a reading takes half a message.
const LONG: u32 = 1_000_000;

fn bench(
    drain: DrainOptions,
    script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static,
) -> Bench {
    Bench::start_in(fast_folder(), drain, script)
}

/// A reading every four seconds for an hour, while the link is down.
async fn outage(bench: &Bench) {
    bench.link_is(false);
    for minute in 0..60 {
        bench.take(0, (0..15).map(|n| LONG + minute * 15 + n)).await;
        tokio::time::sleep(MINUTE - S).await;
    }
}

/// How many of the readings sent while both waited were live, in percent, with these weights.
async fn live_percent(live: u16, backlog: u16) -> usize {
    let weight = |n| NonZeroU16::new(n).unwrap();
    let weights = Weights { live: weight(live), backlog: weight(backlog) };
    let bench =
        bench(DrainOptions { weights, ..DrainOptions::default() }, |_, _| (10 * S, Outcome::Acknowledged));
    outage(&bench).await;
    bench.link_is(true);
    for n in 0..100 {
        // More than the link can carry.
        bench.take(0, (0..20).map(|k| 2 * LONG + n * 20 + k)).await;
        tokio::time::sleep(3 * S).await;
    }
    let seen = bench.finish().await;
    let sent: Vec<u32> = seen.sent.iter().flatten().copied().collect();
    assert!(sent.len() > 400, "{}", sent.len());
    sent.iter().filter(|value| **value >= 2 * LONG).count() * 100 / sent.len()
}

#[test]
fn after_an_outage_live_and_backlog_share_the_link_by_their_weights() {
    in_virtual_time(async {
        // The last minutes of the outage are live too: with three to one the share is between 75 % and that much less.
        for (live, backlog, expected) in [(3, 1, 65..=80), (1, 1, 40..=55), (1, 4, 12..=25)] {
            let percent = live_percent(live, backlog).await;
            assert!(expected.contains(&percent), "{live}:{backlog} gave {percent} %");
        }
    });
}

#[test]
fn after_an_outage_what_is_so_now_arrives_at_once_and_the_backlog_still_drains_whole() {
    in_virtual_time(async {
        let bench = bench(DrainOptions::default(), |_, _| (S, Outcome::Acknowledged));
        outage(&bench).await;
        bench.link_is(true);
        for n in 0..30 {
            bench.take(0, [n]).await;
            tokio::time::sleep(20 * S).await;
            assert!(bench.has(n), "reading {n}");
        }
        bench.drained(10 * MINUTE).await;
        let seen = bench.finish().await;
        assert_eq!(seen.acknowledged.len(), 930);
        assert!(seen.acknowledged.values().all(|copies| *copies == 1));
    });
}

#[test]
fn a_link_that_comes_and_goes_for_days_leaves_a_bounded_number_of_holes_and_loses_and_repeats_nothing() {
    in_virtual_time(async {
        let drain = DrainOptions { live_bound: MINUTE, ..DrainOptions::default() };
        let bench = bench(drain, |_, _| (20 * S, Outcome::Acknowledged));
        let mut given = 0;
        for _ in 0..200 {
            bench.link_is(false);
            for _ in 0..10 {
                bench.take(0, (0..10).map(|k| LONG + given + k)).await;
                given += 10;
                tokio::time::sleep(MINUTE / 2).await;
            }
            bench.link_is(true);
            tokio::time::sleep(MINUTE).await;
        }
        let golioth = bench.queue.destinations()[0].0;
        bench.queue.flush().await;
        let islands = fieldgate::store::queue::Reader::open(bench.queue.path(), golioth)
            .unwrap()
            .settled(Class::Telemetry)
            .islands();
        assert!((10..100).contains(&islands), "{islands}");
        bench.drained(1000 * HOUR).await;
        let seen = bench.finish().await;
        assert_eq!(seen.acknowledged.len() as u32, given);
        assert!(seen.acknowledged.values().all(|copies| *copies == 1));
    });
}

#[test]
fn what_is_older_than_its_limit_is_given_up_while_the_link_is_down_and_alarms_stay() {
    in_virtual_time(async {
        let drain =
            DrainOptions { max_age: BTreeMap::from([(Class::Telemetry, HOUR)]), ..DrainOptions::default() };
        let bench = bench(drain, |_, _| (S, Outcome::Acknowledged));
        bench.link_is(false);
        bench.take(1, [9]).await;
        for n in 0..12 {
            bench.take(0, n * 1000..n * 1000 + 1000).await;
            tokio::time::sleep(HOUR / 6 - S).await;
        }
        let totals = bench.totals();
        assert!((5000..=7000).contains(&totals.dropped), "{totals:?}");
        // Nothing new comes: time alone does it.
        tokio::time::sleep(HOUR + MINUTE).await;
        let totals = bench.totals();
        assert_eq!((totals.dropped, totals.queued), (12_000, 1));
        bench.link_is(true);
        bench.drained(MINUTE).await;
        let drops: (String, i64) = fieldgate::store::sqlite::open_reader(bench.queue.path())
            .unwrap()
            .query_row("SELECT reason, count FROM drops", [], |r| Ok((r.get(0)?, r.get(1)?)))
            .unwrap();
        assert_eq!(drops, ("age".to_owned(), 12_000));
        let seen = bench.finish().await;
        assert_eq!(seen.acknowledged.keys().copied().collect::<Vec<_>>(), [9]);
    });
}

#[test]
fn messages_that_wait_to_be_sent_again_are_given_up_for_their_age_too() {
    in_virtual_time(async {
        let drain =
            DrainOptions { max_age: BTreeMap::from([(Class::Telemetry, HOUR)]), ..DrainOptions::default() };
        let bench = bench(drain, |_, _| (S, Outcome::Later { after: 5 * HOUR }));
        bench.take(0, 0..2000).await;
        tokio::time::sleep(HOUR + MINUTE).await;
        assert_eq!((bench.totals().dropped, bench.queued()), (2000, 0));
        bench.finish().await;
    });
}

/// A reading of an earlier boot, captured two days before the bench begins, of which the wall time is known or not.
/// How many are dropped of one reading of an earlier boot, with a limit of a day; it is dated so many hours ago, give or take.
async fn of_an_earlier_boot(dated: Option<(i64, u32)>) -> u64 {
    let folder = fast_folder();
    let path = folder.path().join("queue.db");
    let earlier = OpenOptions { boot: BootId([6; 16]), ..options(path, streams(), &["golioth", "other"], 7) };
    let at = Mono::from(HOUR);
    let mut hand = Hand::open(earlier, at).unwrap();
    let (id, group) = hand.writer.stream_ids()[0];
    hand.accept(capture(group, at, vec![steps(id, 5)])).unwrap();
    if let Some((hours, uncertain)) = dated {
        let (ago, uncertainty_ms) = (hours * 3_600_000, uncertain * 3_600_000 + 50);
        let claim = Claim::new(Source::Modem, at, bench::WALL.unix_ms - ago, uncertainty_ms);
        hand.writer.handle(hand.now, Command::WallKnown(claim));
        hand.flush();
    }
    hand.close();
    let drain =
        DrainOptions { max_age: BTreeMap::from([(Class::Telemetry, 24 * HOUR)]), ..DrainOptions::default() };
    let bench = Bench::start_in(folder, drain, |_, _| (S, Outcome::Acknowledged));
    bench.link_is(false);
    tokio::time::sleep(MINUTE).await;
    let dropped = bench.totals().dropped;
    bench.finish().await;
    dropped
}

#[test]
fn a_reading_of_an_earlier_boot_is_aged_by_wall_time_and_kept_while_nobody_knows_its_age() {
    in_virtual_time(async {
        assert_eq!(of_an_earlier_boot(Some((48, 0))).await, 1);
        assert_eq!(of_an_earlier_boot(None).await, 0);
    });
}

#[test]
fn a_reading_whose_time_is_uncertain_is_given_up_only_when_it_is_surely_too_old() {
    in_virtual_time(async {
        assert_eq!(of_an_earlier_boot(Some((25, 0))).await, 1);
        assert_eq!(of_an_earlier_boot(Some((29, 6))).await, 0, "it may be 23 hours old");
        assert_eq!(of_an_earlier_boot(Some((31, 6))).await, 1);
    });
}

#[test]
fn of_a_stream_of_which_only_the_latest_counts_the_backlog_is_one_reading() {
    in_virtual_time(async {
        let bench = bench(DrainOptions::default(), |_, _| (S, Outcome::Acknowledged));
        bench.link_is(false);
        for n in 0..100 {
            bench.take(0, [n]).await;
            bench.take(3, (0..20).map(|k| 1000 + n * 20 + k)).await;
            tokio::time::sleep(20 * S).await;
        }
        bench.link_is(true);
        bench.drained(MINUTE).await;
        let totals = bench.totals();
        assert_eq!((totals.acknowledged, totals.dropped), (101, 1999));
        let reason: String = fieldgate::store::sqlite::open_reader(bench.queue.path())
            .unwrap()
            .query_row("SELECT reason FROM drops", [], |r| r.get(0))
            .unwrap();
        assert_eq!(reason, "superseded");
        let seen = bench.finish().await;
        assert!(seen.acknowledged.contains_key(&2999), "the latest");
        assert_eq!(seen.acknowledged.len(), 101);
    });
}

#[test]
fn a_refused_message_with_superseded_readings_in_its_range_settles_each_once() {
    in_virtual_time(async {
        let bench = bench(DrainOptions::default(), |values, _| {
            let poisoned = values.contains(&40);
            (S, if poisoned { Outcome::Bad { why: "poison".into() } } else { Outcome::Acknowledged })
        });
        bench.link_is(false);
        for n in 0..100 {
            bench.take(3, [1000 + n]).await;
            bench.take(0, [n]).await;
        }
        bench.link_is(true);
        bench.drained(10 * MINUTE).await;
        let totals = bench.totals();
        assert_eq!((totals.acknowledged, totals.dropped, totals.set_aside), (100, 99, 1));
        bench.finish().await;
    });
}
