//! The promise: a restart, however it comes, does not fetch again what was fetched within the day, as long as the control document
//! names it; what was announced meanwhile is fetched at once; and a copy that is put back is found out.
//!
//! The whole daemon in virtual time against the simulated cloud.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use fieldgate_sim::world::{self, World, WorldOptions};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const SETTINGS: &str = ".c";
const MANIFEST: &str = ".u/desired";

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

fn options() -> WorldOptions {
    WorldOptions { bus: false, ..WorldOptions::default() }
}

/// When the cloud last showed both.
fn looks(world: &World) -> [Duration; 2] {
    world.cloud(|cloud, _| [SETTINGS, MANIFEST].map(|path| cloud.shown("gw-1", path).unwrap()))
}

fn announce(world: &World, changed: u64) {
    world.cloud(|cloud, now| cloud.set_state(now, "gw-1", "desired/changed", json!(changed)).unwrap());
}

fn set(world: &World, linger: &str) {
    world.cloud(|cloud, now| cloud.set_setting(now, "UPLINK_LINGER", json!(linger), None).unwrap());
}

fn linger(world: &World) -> Option<Duration> {
    world.board().asks.tuning.borrow().linger
}

/// A gateway that has settings and a control document, and has looked at everything.
async fn settled() -> World {
    let world = World::start(&options()).await.unwrap();
    set(&world, "9s");
    announce(&world, 7);
    world.pass(20 * MINUTE).await;
    assert_eq!(linger(&world), Some(Duration::from_secs(9)));
    world
}

#[test]
fn what_was_fetched_within_the_day_is_not_fetched_again_after_a_kill_or_a_reboot_or_a_stop() {
    in_virtual_time(async {
        let mut world = settled().await;
        let before = looks(&world);
        for round in 0..3 {
            world = world.crash(&options()).await.unwrap();
            let crashed = world.now();
            world.pass(30 * MINUTE).await;
            let calls = world.cloud(|cloud, _| cloud.shown("gw-1", ".rpc"));
            assert!(calls > Some(crashed), "calls are listened for again: they are not fetched, they come");
            world = world.restart(&options()).await.unwrap();
            world.pass(30 * MINUTE).await;
            let knows_the_time = WorldOptions { system_unix_ms: world.true_unix_ms(), ..options() };
            world = world.reboot(&knows_the_time).await.unwrap();
            world.pass(30 * MINUTE).await;
            assert_eq!(looks(&world), before, "round {round}");
        }
        // Restarts do not put the daily look off.
        let mut longest = Duration::ZERO;
        for _ in 0..8 {
            world.pass(6 * HOUR).await;
            longest = looks(&world).map(|at| world.now() - at).into_iter().fold(longest, Duration::max);
            world = world.restart(&options()).await.unwrap();
        }
        assert!(longest <= 25 * HOUR, "{longest:?}");
        assert!(looks(&world).iter().zip(before).all(|(now, before)| *now > before + 24 * HOUR));
        assert_eq!(world.finish().await.unwrap().problems, Vec::<String>::new());
    });
}

#[test]
fn what_was_announced_meanwhile_is_fetched_at_once() {
    in_virtual_time(async {
        let world = settled().await;
        let world = world.crash(&options()).await.unwrap();
        // Not observed any more, and not told: the document alone says so.
        set(&world, "8s");
        announce(&world, 8);
        world.pass(MINUTE).await;
        assert_eq!(linger(&world), Some(Duration::from_secs(8)));
        let fetched = looks(&world);
        let world = world.crash(&options()).await.unwrap();
        world.pass(10 * MINUTE).await;
        assert_eq!(looks(&world), fetched, "and once");
        set(&world, "7s");
        announce(&world, 9);
        world.pass(MINUTE).await;
        assert_eq!(linger(&world), Some(Duration::from_secs(7)), "nor is a change later missed");
    });
}

#[test]
fn without_a_control_document_a_new_session_asks_because_nobody_would_tell() {
    in_virtual_time(async {
        let world = World::start(&options()).await.unwrap();
        world.pass(20 * MINUTE).await;
        let before = looks(&world);
        let world = world.crash(&options()).await.unwrap();
        world.pass(MINUTE).await;
        assert!(looks(&world).iter().zip(before).all(|(now, before)| *now > before));
        set(&world, "8s");
        world.pass(MINUTE).await;
        assert_eq!(linger(&world), Some(Duration::from_secs(8)));
    });
}

#[test]
fn a_copy_of_the_folder_that_is_put_back_is_behind_and_finds_out() {
    in_virtual_time(async {
        let world = settled().await;
        let (world, copy) = world.restart_and_copy(&options()).await.unwrap();
        set(&world, "8s");
        announce(&world, 8);
        world.pass(MINUTE).await;
        assert_eq!(linger(&world), Some(Duration::from_secs(8)));
        let world = world.restart_on(&options(), copy).await.unwrap();
        assert_eq!(linger(&world), Some(Duration::from_secs(9)), "as it was when it was copied");
        world.pass(MINUTE).await;
        assert_eq!(linger(&world), Some(Duration::from_secs(8)));
    });
}

#[test]
fn after_a_reboot_without_a_clock_nobody_knows_how_long_ago_and_it_is_fetched() {
    in_virtual_time(async {
        let world = settled().await;
        let before = looks(&world);
        let nobody_knows = WorldOptions { trusted: false, ..options() };
        let world = world.reboot(&nobody_knows).await.unwrap();
        world.pass(MINUTE).await;
        assert!(looks(&world).iter().zip(before).all(|(now, before)| *now > before));
    });
}
