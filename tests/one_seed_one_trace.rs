//! The promise: the whole daemon runs on one thread, in virtual time, on in-memory wires; and the same seed gives the
//! same bytes on every wire at the same instants, twice.
//!
//! Everything is real but the machine: configuration text, lanes, supervisor, store files, DTLS, CoAP, Modbus, AT. The
//! surroundings are the simulator's sans-IO cores, told the same virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use fieldgate_sim::world::{self, Outcome, World, WorldOptions};

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

/// Four virtual minutes with an outage in the middle, in one process and one thread.
fn run(seed: u64) -> (String, Outcome) {
    in_virtual_time(async {
        let world =
            World::start(&WorldOptions { seed, loss: 0.05, ..WorldOptions::default() }).await.unwrap();
        world.pass(Duration::from_secs(60)).await;
        world.relay(|relay| relay.cut());
        world.pass(Duration::from_secs(45)).await;
        world.relay(|relay| relay.heal());
        world.pass(Duration::from_secs(90)).await;
        world.fall_silent();
        world.drained(Duration::from_secs(120)).await.unwrap();
        world.finish_traced().await.unwrap()
    })
}

#[test]
fn the_same_seed_gives_the_same_trace_twice_and_nothing_is_lost() {
    let (first, outcome) = run(7);
    let (second, again) = run(7);
    assert!(outcome.trace_events > 500, "a run of four minutes has a long trace: {outcome:?}");
    assert_eq!(first, second, "the trace of the same seed differs");
    assert_eq!(outcome, again);
    assert!(outcome.accepted > 500, "{outcome:?}");
    assert_eq!(outcome.acknowledged, outcome.accepted, "{outcome:?}");
    assert_eq!(outcome.lost, 0, "{outcome:?}");
    assert_eq!(outcome.corrupted, 0, "{outcome:?}");
    assert_eq!(outcome.handshakes, 1, "an outage of 45 s costs no handshake: {outcome:?}");
    assert_eq!(outcome.problems, Vec::<String>::new());
}

#[test]
fn another_seed_gives_another_trace() {
    assert_ne!(run(7).0, run(8).0);
}
