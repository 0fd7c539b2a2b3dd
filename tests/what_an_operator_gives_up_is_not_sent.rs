//! The promise: what an operator gives up of what waits is taken back from the drain of a running daemon too, and the other
//! streams' readings that stood among it arrive, once. Only what is under way at that moment may arrive although it is on
//! record as given up, or twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/drain_bench.rs"]
mod drain_bench;
#[path = "support/store.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use drain_bench::{Bench, HOUR, S, WALL, in_virtual_time};
use fieldgate::reading::{Class, StreamId};
use fieldgate::store::queue::writer::{GaveUp, GiveUp};
use fieldgate::uplink::drain::DrainOptions;
use fieldgate::uplink::link::{Message, Outcome};
use support::{fast_folder, options, spec};

/// Kept and given up stand by turns.
const KEPT: usize = 0;
const GIVEN_UP: usize = 2;
/// The given-up stream's values begin here.
const FIRST: u32 = 100_000;

fn bench(script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static) -> Bench {
    let folder = fast_folder();
    let streams = vec![
        spec("kept", "g", Class::Telemetry, &["golioth"]),
        spec("alarm", "g", Class::Alarm, &["golioth"]),
        spec("given up", "g", Class::Telemetry, &["golioth"]),
        spec("latest", "g", Class::Telemetry, &["golioth"]),
    ];
    let queue = options(folder.path().join("queue.db"), streams, &["golioth", "other"], 1);
    Bench::start_with(queue, WALL, folder, DrainOptions::default(), script)
}

/// `count` readings of each stream.
async fn take(bench: &Bench, count: u32) {
    for n in (0..count).step_by(5) {
        bench.take(KEPT, n..n + 5).await;
        bench.take(GIVEN_UP, FIRST + n..FIRST + n + 5).await;
    }
}

async fn give_up(bench: &Bench, streams: Option<Vec<StreamId>>) -> GaveUp {
    let class = Class::Telemetry;
    let until = bench.queue.status().borrow().ends[&class];
    let (destination, _) = bench.queue.destinations()[0];
    let what = GiveUp { generation: 0, destination, class, until, streams };
    let mut sum = GaveUp::default();
    loop {
        let step = bench.queue.give_up(what.clone()).await.unwrap();
        sum = GaveUp { dropped: sum.dropped + step.dropped, behind: sum.behind + step.behind, more: false };
        if !step.more {
            return sum;
        }
    }
}

#[test]
fn a_stream_given_up_while_the_link_is_down_is_not_sent_and_the_others_arrive_once() {
    in_virtual_time(async {
        let bench = bench(|_, _| (S, Outcome::Acknowledged));
        bench.link_is(false);
        take(&bench, 300).await;
        // The drain has the oldest at hand.
        tokio::time::sleep(60 * S).await;
        let flow = bench.queue.streams()[GIVEN_UP].0;
        let gave_up = give_up(&bench, Some(vec![flow])).await;
        assert_eq!((gave_up.dropped, gave_up.behind), (300, 300));
        tokio::time::sleep(60 * S).await;
        bench.link_is(true);
        bench.drained(HOUR).await;
        let totals = bench.totals();
        assert_eq!((totals.dropped, totals.acknowledged, totals.accepted), (300, 300, 600));
        let seen = bench.finish().await;
        assert!(seen.sent.iter().flatten().all(|value| *value < FIRST), "sent although given up");
        let arrived: Vec<(u32, u32)> = seen.acknowledged.into_iter().collect();
        let each_once: Vec<(u32, u32)> = (0..300).map(|n| (n, 1)).collect();
        assert_eq!(arrived, each_once);
    });
}

#[test]
fn all_that_waits_is_given_up_at_once_and_what_comes_after_is_sent() {
    in_virtual_time(async {
        let bench = bench(|_, _| (S, Outcome::Acknowledged));
        bench.link_is(false);
        take(&bench, 300).await;
        tokio::time::sleep(60 * S).await;
        let gave_up = give_up(&bench, None).await;
        assert_eq!((gave_up.dropped, gave_up.behind), (600, 0));
        bench.take(KEPT, 500..505).await;
        bench.link_is(true);
        bench.drained(HOUR).await;
        let seen = bench.finish().await;
        let arrived: Vec<u32> = seen.acknowledged.into_keys().collect();
        assert_eq!(arrived, [500, 501, 502, 503, 504]);
    });
}

#[test]
fn what_is_under_way_meanwhile_is_counted_once_whatever_becomes_of_it() {
    for outcome in [Outcome::Acknowledged, Outcome::Unknown, Outcome::Bad { why: "no".into() }] {
        in_virtual_time(async {
            let mut answers = 0;
            let bench = bench(move |_, _| {
                answers += 1;
                // The first messages are long under way.
                if answers <= 8 { (20 * S, outcome.clone()) } else { (S, Outcome::Acknowledged) }
            });
            bench.link_is(false);
            take(&bench, 2000).await;
            bench.link_is(true);
            tokio::time::sleep(2 * S).await;
            let sent: BTreeSet<u32> =
                bench.link.seen.lock().unwrap().sent.iter().flatten().copied().collect();
            assert!((1..4000).contains(&sent.len()), "{} under way", sent.len());
            let flow = bench.queue.streams()[GIVEN_UP].0;
            give_up(&bench, Some(vec![flow])).await;
            bench.drained(HOUR).await;
            let totals = bench.totals();
            assert_eq!(totals.acknowledged + totals.dropped + totals.set_aside, 4000, "{totals:?}");
            assert!(totals.dropped > 0, "{totals:?}");
            let seen = bench.finish().await;
            for n in 0..2000 {
                assert!(seen.acknowledged.contains_key(&n), "a kept reading is lost: {totals:?}");
            }
            for (value, times) in &seen.acknowledged {
                assert!(*times == 1 || sent.contains(value), "{value} arrived twice and was not under way");
                assert!(*value < FIRST || sent.contains(value), "{value} was sent although given up");
            }
        });
    }
}
