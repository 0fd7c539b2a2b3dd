//! Whatever is done to the queue, in whatever order, its books say what happened.
//!
//! A writer driven by hand beside a model in memory: captures of several streams and classes, good and bad; several
//! destinations that pick, and answer in any order, in parts, and twice: acknowledged, too old, refused, passed over for a
//! newer one; what was refused sent again or given up; windows that close; quotas of the file and of a class; clean stops,
//! crashes between commits and within them, an old copy brought back, a later and an earlier release in between; streams,
//! routes and destinations that come, change and go. After every step that committed something the whole file is read and
//! compared. What a crash does to the disk beneath is `prove crash-points`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod check;
#[path = "../support/earlier.rs"]
mod earlier;
mod model;
mod restart;
mod rig;
#[path = "../support/store.rs"]
mod support;

use std::cell::RefCell;

use fieldgate::reading::Class;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rig::{Rig, Seen};

#[derive(Clone, Debug)]
enum Op {
    /// So many captures of one group; the number chooses everything else.
    Offer {
        count: u8,
        seed: u64,
    },
    /// Let time pass.
    Pass {
        ms: u16,
    },
    Flush,
    /// A destination takes what comes next of a class.
    Pick {
        destination: u8,
        class: u8,
        most: u8,
    },
    /// One of its messages is answered, whole or in two parts.
    Answer {
        message: u8,
        outcome: u8,
        split: u8,
    },
    /// An old answer comes once more.
    AnswerAgain {
        which: u8,
    },
    /// What a destination refused is sent again, or given up.
    Aside {
        destination: u8,
        again: bool,
    },
    /// The drain of a destination starts over, as after a panic.
    Restart {
        destination: u8,
    },
    Reopen {
        how: How,
        change: u64,
    },
    /// A copy is put by.
    Copy,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Clean,
    Crash,
    /// A crash while a commit is under way: of what it writes, so much is there that nobody was told of.
    Torn,
    OldCopy,
    /// The next release had the file, and this one has it again.
    NextRelease,
    /// A release of an earlier schema had the file and wrote to it, and this one has it again.
    EarlierRelease,
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        3 => Just(How::Clean),
        2 => Just(How::Crash),
        5 => Just(How::Torn),
        1 => Just(How::OldCopy),
        3 => Just(How::NextRelease),
        2 => Just(How::EarlierRelease),
    ]
}

fn op(bursts: u32) -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u8..12, any::<u64>()).prop_map(|(count, seed)| Op::Offer { count, seed }),
        bursts => (60u8..250, any::<u64>()).prop_map(|(count, seed)| Op::Offer { count, seed }),
        4 => (0u16..1500).prop_map(|ms| Op::Pass { ms }),
        2 => Just(Op::Flush),
        9 => (any::<u8>(), any::<u8>(), 1u8..60)
            .prop_map(|(destination, class, most)| Op::Pick { destination, class, most }),
        9 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(message, outcome, split)| Op::Answer { message, outcome, split }),
        1 => any::<u8>().prop_map(|which| Op::AnswerAgain { which }),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(destination, again)| Op::Aside { destination, again }),
        1 => any::<u8>().prop_map(|destination| Op::Restart { destination }),
        3 => (how(), any::<u64>())
            .prop_map(|(how, change)| Op::Reopen { how, change }),
        3 => Just(Op::Copy),
    ]
}

fn run(name: &str, max_bytes: u64, class_quota: Option<(Class, u64)>, bursts: u32, cases: u32) -> Seen {
    let seed = support::seed(name);
    let mut bytes = [0u8; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&max_bytes.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let seen = RefCell::new(Seen::default());
    let result = runner.run(&prop::collection::vec(op(bursts), 1..90), |ops| {
        let mut rig = Rig::new(max_bytes, class_quota);
        for op in &ops {
            rig.step(op);
        }
        // In the end everything is there, or accounted for.
        rig.step(&Op::Flush);
        rig.step(&Op::Reopen { how: How::Clean, change: 1 });
        let (mut all, one) = (seen.borrow_mut(), rig.seen);
        all.accepted += one.accepted;
        all.settled += one.settled;
        all.coalesced += one.coalesced;
        all.crashes += one.crashes;
        all.torn += one.torn;
        all.upgraded += one.upgraded;
        all.downgraded += one.downgraded;
        all.old_copies += one.old_copies;
        all.given_up += one.given_up;
        all.earlier += one.earlier;
        all.passed_over += one.passed_over;
        all.sent_again += one.sent_again;
        all.aside_dropped += one.aside_dropped;
        all.in_order += one.in_order;
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
    let seen = seen.into_inner();
    println!("{name}: {seen:?}");
    assert!(seen.accepted > 5_000 && seen.settled > 25 && seen.crashes + seen.torn > 0, "{seen:?}");
    seen
}

#[test]
fn books_and_file_equal_the_model_after_every_step() {
    let seen = run("books_and_file_equal_the_model_after_every_step", 64 << 20, None, 1, 60);
    assert!(seen.given_up == 0 && seen.settled > 100 && seen.old_copies > 0, "{seen:?}");
    assert!(seen.torn > 3 && seen.upgraded > 3 && seen.downgraded > 3 && seen.earlier > 3, "{seen:?}");
    assert!(seen.passed_over > 5 && seen.sent_again > 5 && seen.aside_dropped > 5, "{seen:?}");
    assert!(seen.coalesced > 100, "{seen:?}");
}

#[test]
fn a_small_quota_gives_up_the_oldest_of_the_least_urgent_and_says_so() {
    let seen =
        run("a_small_quota_gives_up_the_oldest_of_the_least_urgent_and_says_so", 128 << 10, None, 18, 14);
    assert!(seen.given_up > 0 && seen.in_order > 0, "{seen:?}");
}

#[test]
fn a_class_with_a_quota_of_its_own_gives_up_its_oldest_and_nobody_elses() {
    let quota = Some((Class::Telemetry, 120));
    let seen =
        run("a_class_with_a_quota_of_its_own_gives_up_its_oldest_and_nobody_elses", 64 << 20, quota, 6, 10);
    assert!(seen.given_up > 0, "{seen:?}");
}
