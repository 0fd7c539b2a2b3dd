//! The promise: the drain sends what is urgent first, waits for the time no longer than it was told to, starts over with a
//! queue file that replaced a damaged one, and costs nothing while there is nothing to do.
//!
//! The whole daemon in virtual time against the simulated cloud.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use fieldgate::reading::Value;
use fieldgate::store::queue::Accepted;
use fieldgate_coap::Code;
use fieldgate_golioth_proto::rows::{Element, RowTime, decode_rows};
use fieldgate_sim::cloud::{Fault, FaultKind};
use fieldgate_sim::world::{self, World, WorldOptions};

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

async fn quiet_world(options: WorldOptions) -> World {
    let world = World::start(&WorldOptions { bus: false, ..options }).await.unwrap();
    world.pass(20 * S).await;
    world
}

fn arrived(world: &World, alias: &str, reading: &Accepted) -> bool {
    let prefix = reading.epoch.prefix();
    world.cloud(|cloud, _| cloud.intake().contains("gw-1", prefix, alias, reading.sequence))
}

/// The times under which the readings of `alias` travelled, in order of arrival.
fn times(world: &World, alias: &str) -> Vec<RowTime> {
    let mut times = Vec::new();
    world.cloud(|cloud, _| {
        // Pages of the firmware log go the same way.
        for message in cloud.messages("gw-1").unwrap().iter().filter(|m| m.path == "/sensor") {
            for element in decode_rows(&message.body).unwrap() {
                let Element::Row(row) = element else { continue };
                times.extend(row.values.iter().filter(|v| v.alias == alias).map(|_| row.time));
            }
        }
    });
    times
}

#[test]
fn an_alarm_is_acknowledged_within_seconds_while_a_backlog_drains() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        world.relay(|relay| relay.cut());
        for _ in 0..30 {
            world.take_all("q0", (0..1000).map(Value::Steps)).await.unwrap();
        }
        world.relay(|relay| relay.heal());
        let mut slowest = Duration::ZERO;
        let mut alarms = 0;
        while world.queued() > 2000 {
            world.pass(500 * S / 1000).await;
            let draining = world.queued() < 29_000;
            let alarm = world.take("al", Value::Bool(true)).await.unwrap();
            let taken = world.now();
            while !arrived(&world, "al", &alarm) {
                world.pass(S / 20).await;
                assert!(world.now() - taken < 10 * MINUTE);
            }
            if draining {
                alarms += 1;
                slowest = slowest.max(world.now() - taken);
            }
        }
        println!("{alarms} alarms, the slowest took {slowest:?}");
        assert!(alarms > 3 && slowest < 3 * S, "{alarms} alarms, {slowest:?}");
    });
}

#[test]
fn without_trusted_time_readings_wait_as_long_as_configured_and_then_go_with_boot_and_monotonic_time() {
    in_virtual_time(async {
        let options = WorldOptions {
            trusted: false,
            tables: "[time]\nhold_untrusted = \"4m\"".into(),
            ..WorldOptions::default()
        };
        let world = quiet_world(options).await;
        world.take("q0", Value::Steps(1)).await.unwrap();
        world.pass(3 * MINUTE).await;
        assert_eq!(world.queued(), 1, "the time may still come");
        world.drained(2 * MINUTE).await.unwrap();
        assert!(matches!(times(&world, "q0")[..], [RowTime::Boot { .. }]), "{:?}", times(&world, "q0"));
    });
}

#[test]
fn an_alarm_does_not_wait_for_the_time() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions { trusted: false, ..WorldOptions::default() }).await;
        world.take("q0", Value::Steps(1)).await.unwrap();
        let alarm = world.take("al", Value::Bool(true)).await.unwrap();
        world.pass(3 * S).await;
        assert!(arrived(&world, "al", &alarm));
        assert!(matches!(times(&world, "al")[..], [RowTime::Boot { .. }]));
        assert_eq!(world.queued(), 1);
    });
}

#[test]
fn readings_that_waited_go_with_wall_time_once_it_is_known() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions { trusted: false, ..WorldOptions::default() }).await;
        world.take_all("q0", (0..200).map(Value::Steps)).await.unwrap();
        let taken = world.now();
        world.pass(2 * MINUTE).await;
        assert_eq!(world.queued(), 200);
        world.trust_the_clock();
        world.drained(30 * S).await.unwrap();
        let times = times(&world, "q0");
        let captured = i64::try_from(taken.as_millis()).unwrap() + 1_795_132_800_000;
        assert_eq!(times.len(), 200);
        for time in times {
            let RowTime::Wall { unix_ms, .. } = time else { panic!("{time:?}") };
            assert!(unix_ms.abs_diff(captured) < 3000, "the time of capture, not of sending: {unix_ms}");
        }
    });
}

#[test]
fn readings_before_and_after_the_time_was_known_block_each_other_never() {
    in_virtual_time(async {
        let options = WorldOptions {
            trusted: false,
            tables: "[time]\nhold_untrusted = \"1m\"".into(),
            ..WorldOptions::default()
        };
        let world = quiet_world(options).await;
        world.take_all("q0", (0..100).map(Value::Steps)).await.unwrap();
        world.pass(90 * S).await;
        assert_eq!(world.queued(), 0, "held for a minute");
        world.relay(|relay| relay.cut());
        world.take_all("q0", (100..200).map(Value::Steps)).await.unwrap();
        world.pass(20 * S).await;
        world.trust_the_clock();
        world.pass(20 * S).await;
        world.take_all("q0", (200..300).map(Value::Steps)).await.unwrap();
        world.relay(|relay| relay.heal());
        world.drained(5 * MINUTE).await.unwrap();
        let times = times(&world, "q0");
        let dated = times.iter().filter(|time| matches!(time, RowTime::Wall { .. })).count();
        assert!((100..=200).contains(&dated), "{dated} of {}", times.len());
        let outcome = world.finish().await.unwrap();
        assert_eq!((outcome.acknowledged, outcome.corrupted), (300, 0), "{outcome:?}");
    });
}

#[test]
fn a_queue_file_that_is_damaged_at_runtime_is_left_behind_and_the_new_one_drains() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        world.take_all("q0", (0..50).map(Value::Steps)).await.unwrap();
        world.drained(MINUTE).await.unwrap();
        let generation = world.queue().status().borrow().generation;
        world.relay(|relay| relay.cut());
        world.take_all("q0", (50..100).map(Value::Steps)).await.unwrap();
        world.damage_the_queue().unwrap();
        world.relay(|relay| relay.heal());
        let mut replaced = world.queue().status();
        let noticed = replaced.wait_for(|status| status.generation != generation);
        let noticed = tokio::time::timeout(10 * MINUTE, poke(&world, noticed)).await;
        drop(noticed.expect("the file was replaced").unwrap());
        let after = world.take_all("q0", (1000..1100).map(Value::Steps)).await.unwrap();
        world.drained(10 * MINUTE).await.unwrap();
        for reading in &after {
            assert!(arrived(&world, "q0", reading), "{reading:?}");
        }
        let epoch = after.last().unwrap().epoch;
        let announced = world
            .cloud(|cloud, _| cloud.intake().epochs().values().any(|e| e.epoch == epoch.0.to_be_bytes()));
        assert!(announced, "the new epoch is announced");
    });
}

/// Has readings come while something is waited for: whoever is to meet damage must have a reason to look.
async fn poke<R>(world: &World, waited_for: impl Future<Output = R>) -> R {
    let readings = async {
        loop {
            let _ = world.take("q0", Value::Steps(7)).await;
            world.pass(5 * S).await;
        }
    };
    tokio::select! {
        biased;
        done = waited_for => done,
        () = readings => unreachable!(),
    }
}

#[test]
fn a_link_that_is_down_or_refuses_for_hours_is_waited_for_without_looking_at_the_clock_all_the_time() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        let idle = looks_an_hour(&world).await;
        world.relay(|relay| relay.cut());
        world.take_all("q0", (0..5000).map(Value::Steps)).await.unwrap();
        world.pass(10 * MINUTE).await;
        let cut = looks_an_hour(&world).await;
        world.relay(|relay| relay.heal());
        let refused = FaultKind::Answer { code: Code::FORBIDDEN, max_age: None };
        world.cloud(|cloud, _| cloud.set_fault(Fault::new(refused).path(".s/")));
        world.pass(10 * MINUTE).await;
        let sick = looks_an_hour(&world).await;
        world.cloud(|cloud, _| cloud.clear_faults());
        let unavailable = FaultKind::Answer { code: Code::SERVICE_UNAVAILABLE, max_age: None };
        world.cloud(|cloud, _| cloud.set_fault(Fault::new(unavailable).path(".s/")));
        world.pass(HOUR).await;
        let later = looks_an_hour(&world).await;
        println!("looks at the clock an hour: idle {idle}, cut {cut}, sick {sick}, told to wait {later}");
        for busy in [idle, cut, sick, later] {
            assert!(busy < 30_000, "idle {idle}, cut {cut}, sick {sick}, told to wait {later}");
        }
        assert_eq!(world.queued(), 5000);
    });
}

async fn looks_an_hour(world: &World) -> u64 {
    let before = world.looks();
    world.pass(HOUR).await;
    world.looks() - before
}

#[test]
fn no_lane_is_taken_for_silent_while_it_waits_for_what_it_named() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        world.take_all("q0", (0..2000).map(Value::Steps)).await.unwrap();
        world.cloud(|cloud, _| cloud.set_fault(Fault::new(FaultKind::LoseAnswer).path(".s/")));
        world.pass(HOUR).await;
        world.cloud(|cloud, _| cloud.silence(None));
        world.pass(3 * HOUR).await;
        world.cloud(|cloud, _| {
            cloud.speak();
            cloud.clear_faults();
            let refused = FaultKind::Answer { code: Code::FORBIDDEN, max_age: None };
            cloud.set_fault(Fault::new(refused));
        });
        world.pass(3 * HOUR).await;
        for lane in ["golioth", "drain golioth", "reports to golioth"] {
            let state = world.board().lanes.get(lane).unwrap().value;
            assert_eq!(state.restarts, 0, "{lane}: {state:?}");
        }
        world.cloud(|cloud, _| cloud.clear_faults());
        world.drained(2 * HOUR).await.unwrap();
    });
}

#[test]
fn after_the_quota_gave_readings_up_the_cloud_knows_how_many_of_which_stream_and_why() {
    in_virtual_time(async {
        let options =
            WorldOptions { tables: "[store]\nqueue_max = \"8MiB\"".into(), ..WorldOptions::default() };
        let world = quiet_world(options).await;
        world.relay(|relay| relay.cut());
        let long = Value::Text("x".repeat(Value::MAX_TEXT).into());
        for _ in 0..40 {
            world.take_all("q0", std::iter::repeat_n(long.clone(), 1000)).await.unwrap();
        }
        let golioth = world.queue().destinations()[0].0;
        let dropped = world.queue().status().borrow().destination(golioth).dropped;
        assert!(dropped > 1000, "{dropped}");
        world.relay(|relay| relay.heal());
        world.pass(10 * MINUTE).await;
        let told: Vec<_> = world.cloud(|cloud, _| cloud.intake().losses("gw-1").cloned().collect());
        let quota = told.iter().find(|loss| loss.why == "quota").unwrap_or_else(|| panic!("{told:?}"));
        assert_eq!((quota.of.as_str(), quota.stream.as_deref()), ("dropped", Some("q0")));
        assert_eq!(quota.count, Some(dropped));
        assert_eq!(world.cloud(|cloud, _| cloud.intake().counts().broken), 0);
    });
}
