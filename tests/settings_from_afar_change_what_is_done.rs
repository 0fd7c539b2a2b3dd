//! The promise: a setting that a cloud changes is in force at once, without a restart, in what the gateway does and not only in what it
//! says; a wrong one has its code and changes nothing; all of it outlives a restart, and goes when the cloud takes it back.
//!
//! The whole daemon in virtual time against the simulated cloud.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use fieldgate::reading::Value;
use fieldgate_sim::world::{self, DEVICE, GOLIOTH, World, WorldOptions};
use serde_json::json;

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

fn quiet() -> WorldOptions {
    WorldOptions { bus: false, ..WorldOptions::default() }
}

async fn connected(options: &WorldOptions) -> World {
    let world = World::start(options).await.unwrap();
    world.pass(2 * MINUTE).await;
    world
}

/// The cloud sets it; the codes of what is not in force.
async fn set(world: &World, key: &str, value: serde_json::Value) -> Vec<i64> {
    world.cloud(|cloud, now| cloud.set_setting(now, key, value, None).unwrap());
    world.pass(5 * S).await;
    world.cloud(|cloud, _| cloud.settings_status(DEVICE).unwrap().errors.iter().map(|e| e.code).collect())
}

/// It is taken as it is.
async fn takes(world: &World, key: &str, value: serde_json::Value) {
    assert_eq!(set(world, key, value).await, Vec::<i64>::new(), "{key}");
}

async fn take_back(world: &World, key: &str) {
    world.cloud(|cloud, now| cloud.remove_setting(now, key));
    world.pass(5 * S).await;
}

/// Lines that reached the cloud.
fn lines(world: &World) -> Vec<String> {
    world.cloud(|cloud, _| cloud.logs().iter().map(|line| line.message.clone()).collect())
}

#[test]
fn the_log_level_decides_what_is_written() {
    in_virtual_time(async {
        let world = connected(&quiet()).await;
        let _listening = world.log_here();
        let written = || {
            tracing::callsite::rebuild_interest_cache();
            (tracing::enabled!(tracing::Level::INFO), tracing::enabled!(tracing::Level::DEBUG))
        };
        assert_eq!(written(), (true, false));
        takes(&world, "LOG_LEVEL", json!("debug")).await;
        assert_eq!(written(), (true, true));
        takes(&world, "LOG_LEVEL", json!("warn")).await;
        assert_eq!(written(), (false, false));
        take_back(&world, "LOG_LEVEL").await;
        assert_eq!(written(), (true, false));
    });
}

#[test]
fn the_clouds_log_level_decides_which_lines_it_gets_also_where_none_were_configured() {
    in_virtual_time(async {
        let options = WorldOptions { tables: "[log]\ncloud = \"off\"\n".into(), ..quiet() };
        let world = connected(&options).await;
        let _listening = world.log_here();
        tracing::callsite::rebuild_interest_cache();
        let say = async |text: &str| {
            tracing::warn!("{text}");
            world.pass(30 * S).await;
            lines(&world).iter().any(|line| line == text)
        };
        assert!(!say("one").await, "nothing is sent as configured");
        takes(&world, "LOG_CLOUD", json!("warn")).await;
        assert!(say("two").await);
        takes(&world, "LOG_CLOUD", json!("off")).await;
        assert!(!say("three").await);
        take_back(&world, "LOG_CLOUD").await;
        assert!(!say("four").await);
    });
}

#[test]
fn the_modem_is_asked_as_often_as_is_set() {
    in_virtual_time(async {
        let world = connected(&quiet()).await;
        let looks = async || {
            let mut looks = BTreeSet::new();
            for _ in 0..300 {
                world.pass(S).await;
                // Nothing but a look tells it.
                looks.insert(world.board().modem_millivolts.get().unwrap().at);
            }
            looks.len()
        };
        let configured = looks().await;
        assert!((4..=7).contains(&configured), "{configured} looks in five minutes at 60 s");
        takes(&world, "MODEM_POLL", json!("10s")).await;
        let often = looks().await;
        assert!((25..=32).contains(&often), "{often} looks in five minutes at 10 s");
        take_back(&world, "MODEM_POLL").await;
        let configured = looks().await;
        assert!((4..=7).contains(&configured), "{configured} looks in five minutes at 60 s");
    });
}

#[test]
fn readings_wait_for_the_time_as_long_as_is_set() {
    in_virtual_time(async {
        let options = WorldOptions { trusted: false, ..quiet() };
        let world = connected(&options).await;
        world.take("q1", Value::Steps(1)).await.unwrap();
        world.pass(MINUTE).await;
        assert_eq!(world.queued(), 1, "for ten minutes, as configured");
        takes(&world, "TIME_HOLD_UNTRUSTED", json!("0s")).await;
        world.drained(MINUTE).await.unwrap();
        takes(&world, "TIME_HOLD_UNTRUSTED", json!("30m")).await;
        world.take("q1", Value::Steps(2)).await.unwrap();
        world.pass(20 * MINUTE).await;
        assert_eq!(world.queued(), 1);
        world.drained(15 * MINUTE).await.unwrap();
    });
}

#[test]
fn messages_gather_as_long_as_is_set() {
    in_virtual_time(async {
        let world = connected(&quiet()).await;
        takes(&world, "UPLINK_LINGER", json!("5m")).await;
        world.take("q1", Value::Steps(1)).await.unwrap();
        world.pass(4 * MINUTE).await;
        assert_eq!(world.queued(), 1);
        takes(&world, "UPLINK_LINGER", json!("0s")).await;
        world.drained(5 * S).await.unwrap();
    });
}

#[test]
fn as_many_messages_are_under_way_as_is_set() {
    in_virtual_time(async {
        let world = connected(&WorldOptions { delay: 2 * S, ..quiet() }).await;
        let most = async || {
            world.take_all("q1", (0..2000).map(Value::Steps)).await.unwrap();
            let mut most = 0;
            while world.queued() > 0 {
                world.pass(S / 2).await;
                most = most.max(world.link().unwrap().in_flight);
            }
            most
        };
        let configured = most().await;
        assert!(configured > 2, "{configured} under way as configured");
        takes(&world, "UPLINK_WINDOW", json!(1)).await;
        // Nothing else is under way then.
        world.pass(MINUTE).await;
        assert_eq!(most().await, 1);
    });
}

#[test]
fn readings_wait_for_company_on_their_way_to_the_disk_as_long_as_is_set() {
    in_virtual_time(async {
        let world = connected(&quiet()).await;
        let waited = async || {
            let began = world.now();
            world.take("q1", Value::Steps(1)).await.unwrap();
            world.now() - began
        };
        assert_eq!(waited().await, S, "as configured");
        takes(&world, "STORE_COMMIT_WINDOW", json!("20s")).await;
        assert_eq!(waited().await, 20 * S);
        let shown = world.queue().status().borrow().commit_window;
        assert_eq!(shown, 20 * S, "and so it is shown: it is what is at risk");
        takes(&world, "STORE_COMMIT_WINDOW", json!("0s")).await;
        assert_eq!(waited().await, Duration::ZERO);
        take_back(&world, "STORE_COMMIT_WINDOW").await;
        assert_eq!(waited().await, S);
    });
}

#[test]
fn signs_of_life_go_by_the_profile_that_is_set_without_another_session() {
    in_virtual_time(async {
        let world = connected(&quiet()).await;
        let asked = async |long: Duration| {
            world.pass(2 * MINUTE).await;
            let before = world.requests();
            world.pass(long).await;
            world.requests() - before
        };
        takes(&world, "GOLIOTH_LIVENESS", json!("prompt")).await;
        let prompt = asked(30 * MINUTE).await;
        assert!((28..=40).contains(&prompt), "{prompt} requests in half an hour of prompt signs");
        takes(&world, "GOLIOTH_LIVENESS", json!("frugal")).await;
        let frugal = asked(50 * MINUTE).await;
        assert!(frugal <= 2, "{frugal} requests in most of an hour of frugal ones");
        take_back(&world, "GOLIOTH_LIVENESS").await;
        let standard = asked(60 * MINUTE).await;
        assert!((3..=7).contains(&standard), "{standard} requests in an hour as configured");
        assert_eq!(world.handshakes(), 1);
    });
}

#[test]
fn a_path_that_is_dead_is_given_up_by_the_profile_that_is_set() {
    in_virtual_time(async {
        let world = connected(&quiet()).await;
        takes(&world, "GOLIOTH_LIVENESS", json!("frugal")).await;
        world.cloud(|cloud, _| cloud.silence(None));
        world.take("q1", Value::Steps(1)).await.unwrap();
        world.pass(5 * MINUTE).await;
        assert_eq!(world.sockets_asked_for(), 1, "after ten minutes and not after three");
        world.cloud(|cloud, _| cloud.speak());
        world.drained(5 * MINUTE).await.unwrap();
        assert_eq!(world.handshakes(), 1);
    });
}

#[test]
fn a_wrong_setting_has_its_code_and_everything_outlives_a_restart() {
    in_virtual_time(async {
        let mut world = connected(&quiet()).await;
        takes(&world, "STORE_COMMIT_WINDOW", json!("5s")).await;
        takes(&world, "GOLIOTH_LIVENESS", json!("frugal")).await;
        takes(&world, "LOG_CLOUD", json!("warn")).await;
        for (key, value, code) in [
            ("STORE_COMMIT_WINDOW", json!("2m"), 4),
            ("MODEM_POLL", json!(60), 3),
            ("GOLIOTH_LIVENESS", json!("eager"), 3),
            ("LOG_CLOUD", json!("x".repeat(80)), 5),
            ("GOLIOTH_KEEPALIVE", json!("1s"), 1),
            ("STORE_QUEUE_MAX", json!("1GiB"), 1),
        ] {
            let codes = set(&world, key, value.clone()).await;
            assert!(codes.contains(&code), "{key} = {value}: {codes:?}");
        }
        let in_force = |world: &World| world.board().settings.get().unwrap().value.in_force;
        let before = in_force(&world);
        let expected = [("golioth.liveness", "frugal"), ("log.cloud", "warn"), ("store.commit_window", "5s")];
        assert_eq!(before, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let page = world.get("/").unwrap();
        for said in ["Set from afar", "golioth.liveness", "frugal", "GOLIOTH_KEEPALIVE", "Not in force"] {
            assert!(page.contains(said), "{said}");
        }
        // Nothing from the cloud: what was set is kept here.
        world.cloud(|cloud, _| cloud.silence(None));
        world = world.restart(&quiet()).await.unwrap();
        let began = world.now();
        world.take("q1", Value::Steps(1)).await.unwrap();
        assert_eq!(world.now() - began, 5 * S);
        assert_eq!(in_force(&world), before);
        world.cloud(|cloud, _| cloud.speak());
        world.drained(20 * MINUTE).await.unwrap();
        assert_eq!(world.account(GOLIOTH).acknowledged, 1);
    });
}
