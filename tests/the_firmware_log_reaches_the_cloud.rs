//! The promise: what happened to the firmware reaches the cloud by itself, in order, over a link that loses datagrams and is
//! cut, and the cloud can follow it from hash to hash. The whole daemon in virtual time against the simulated cloud, whose
//! decoder is its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use fieldgate_sim::world::{World, WorldOptions, in_virtual_time};

#[test]
fn the_log_arrives_whole_over_a_lossy_link_that_was_cut() {
    in_virtual_time(async {
        let world =
            World::start(&WorldOptions { seed: 11, loss: 0.2, ..WorldOptions::default() }).await.unwrap();
        world.relay(|relay| relay.cut());
        world.pass(Duration::from_secs(60)).await;
        assert_eq!(world.cloud(|cloud, _| cloud.firmware_log("gw-1").rows), 0);
        world.relay(|relay| relay.heal());
        world.pass(Duration::from_secs(300)).await;
        let seen = world.cloud(|cloud, _| cloud.firmware_log("gw-1"));
        assert!(seen.rows >= 1 && seen.versions >= 1, "{seen:?}");
        assert_eq!((seen.breaks, seen.broken), (0, 0), "{seen:?}");
        let repeated = seen.copies;
        world.pass(Duration::from_secs(900)).await;
        let later = world.cloud(|cloud, _| cloud.firmware_log("gw-1"));
        assert_eq!((later.rows, later.copies), (seen.rows, repeated), "what was taken is not pushed again");
        assert_eq!(world.finish().await.unwrap().problems, Vec::<String>::new());
    })
    .unwrap();
}
