//! The promise: whatever the cloud answers, every reading ends where the answer says it should, none is lost, and the
//! cloud is not asked more often than it wants to be.
//!
//! The whole daemon in virtual time against the simulated cloud, whose faults speak each answer in turn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::reading::Value;
use fieldgate_coap::Code;
use fieldgate_sim::cloud::{Fault, FaultKind};
use fieldgate_sim::world::{self, Outcome, World, WorldOptions};

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A world without sensors, connected and with its first manifest.
async fn quiet_world() -> World {
    let world = World::start(&WorldOptions { bus: false, ..WorldOptions::default() }).await.unwrap();
    world.pass(30 * S).await;
    assert_eq!(world.link().unwrap().phase, LinkPhase::Up, "{:?}", world.link());
    world
}

async fn take_telemetry(world: &World, from: i64, count: i64) {
    world.take_all("q0", (from..from + count).map(Value::Steps)).await.unwrap();
}

fn answer(code: Code, max_age: Option<u32>) -> Fault {
    Fault::new(FaultKind::Answer { code, max_age }).path(".s/")
}

/// The longest message of readings that the cloud took.
fn longest(world: &World) -> usize {
    world.cloud(|cloud, _| {
        let messages = cloud.messages("gw-1").unwrap();
        messages.iter().filter(|m| m.path == "/sensor").map(|m| m.body.len()).max().unwrap()
    })
}

/// The account closes: everything accepted was acknowledged but `set_aside`, and arrived unharmed.
fn closes(outcome: &Outcome, accepted: u64, set_aside: u64) {
    assert_eq!(outcome.problems, Vec::<String>::new());
    assert_eq!(outcome.accepted, accepted, "{outcome:?}");
    assert_eq!(outcome.set_aside, set_aside, "{outcome:?}");
    assert_eq!(outcome.acknowledged, accepted - set_aside, "{outcome:?}");
    assert_eq!((outcome.queued, outcome.corrupted), (0, 0), "{outcome:?}");
    assert!(outcome.cloud_unique >= accepted - set_aside, "{outcome:?}");
}

#[test]
fn too_many_requests_makes_the_class_wait_as_long_as_said_and_then_everything_arrives() {
    in_virtual_time(async {
        let world = quiet_world().await;
        world.cloud(|cloud, _| {
            cloud.set_fault(answer(Code::TOO_MANY_REQUESTS, Some(40)).times(1));
        });
        let before = world.requests();
        take_telemetry(&world, 0, 20).await;
        world.pass(25 * S).await;
        assert_eq!(world.requests() - before, 1, "refused once, then silent");
        assert!(world.queued() > 0);
        world.drained(60 * S).await.unwrap();
        closes(&world.finish().await.unwrap(), 20, 0);
    });
}

#[test]
fn an_alarm_passes_telemetry_that_was_told_to_wait() {
    in_virtual_time(async {
        let world = quiet_world().await;
        world.cloud(|cloud, _| {
            cloud.set_fault(answer(Code::TOO_MANY_REQUESTS, Some(600)).times(1));
        });
        take_telemetry(&world, 0, 5).await;
        world.pass(10 * S).await;
        let alarm = world.take("al", Value::Bool(true)).await.unwrap();
        world.pass(3 * S).await;
        let prefix = alarm.epoch.prefix();
        assert!(world.cloud(|cloud, _| cloud.intake().contains("gw-1", prefix, "al", alarm.sequence)));
        assert_eq!(world.queued(), 5);
    });
}

#[test]
fn a_cloud_that_is_unavailable_for_an_hour_is_asked_seldom_and_gets_everything_afterwards() {
    in_virtual_time(async {
        let world = quiet_world().await;
        let fault = world.cloud(|cloud, _| cloud.set_fault(answer(Code::SERVICE_UNAVAILABLE, None)));
        let before = world.requests();
        for minute in 0..60 {
            take_telemetry(&world, minute * 10, 10).await;
            world.pass(MINUTE).await;
        }
        let asked = world.requests() - before;
        assert!((4..60).contains(&asked), "{asked} requests in the hour");
        world.cloud(|cloud, _| cloud.clear_fault(fault));
        world.drained(20 * MINUTE).await.unwrap();
        closes(&world.finish().await.unwrap(), 600, 0);
    });
}

#[test]
fn a_refusal_of_the_gateway_itself_is_said_in_words_not_hammered_and_forgotten_when_it_ends() {
    for (code, word) in
        [(Code::UNAUTHORIZED, "credential"), (Code::FORBIDDEN, "enabled"), (Code::NOT_FOUND, "stream_path")]
    {
        in_virtual_time(async {
            let world = quiet_world().await;
            let fault = world.cloud(|cloud, _| cloud.set_fault(answer(code, None)));
            let before = world.requests();
            for minute in 0..60 {
                take_telemetry(&world, minute * 10, 10).await;
                world.pass(MINUTE).await;
            }
            let link = world.link().unwrap();
            assert_eq!(link.phase, LinkPhase::Sick, "{code}: {link:?}");
            assert!(link.words.contains(word) && link.words.contains("Next:"), "{code}: {link:?}");
            let asked = world.requests() - before;
            assert!((2..30).contains(&asked), "{code}: {asked} requests in the hour");
            world.cloud(|cloud, _| cloud.clear_fault(fault));
            world.drained(HOUR + MINUTE).await.unwrap();
            assert_eq!(world.link().unwrap().phase, LinkPhase::Up, "{:?}", world.link());
            closes(&world.finish().await.unwrap(), 600, 0);
        });
    }
}

#[test]
fn a_refusal_of_everything_is_seen_even_when_there_is_nothing_to_send() {
    in_virtual_time(async {
        let options =
            WorldOptions { bus: false, golioth: "keepalive = \"5m\"".into(), ..WorldOptions::default() };
        let world = World::start(&options).await.unwrap();
        world.pass(30 * S).await;
        let everything = Fault::new(FaultKind::Answer { code: Code::FORBIDDEN, max_age: None });
        let fault = world.cloud(|cloud, _| cloud.set_fault(everything));
        let before = world.requests();
        world.pass(HOUR).await;
        let link = world.link().unwrap();
        assert_eq!(link.phase, LinkPhase::Sick, "{link:?}");
        let asked = world.requests() - before;
        assert!((2..30).contains(&asked), "{asked} requests in the hour");
        world.cloud(|cloud, _| cloud.clear_fault(fault));
        world.pass(HOUR).await;
        assert_eq!(world.link().unwrap().phase, LinkPhase::Up, "{:?}", world.link());
    });
}

#[test]
fn a_message_that_is_too_large_is_packed_again_smaller_and_all_arrives() {
    for limit in [300, 100] {
        in_virtual_time(async {
            let world = quiet_world().await;
            world.cloud(|cloud, _| {
                cloud.set_fault(Fault::new(FaultKind::TooLarge { limit }).path(".s/"));
            });
            take_telemetry(&world, 0, 300).await;
            world.drained(2 * MINUTE).await.unwrap();
            let longest = longest(&world);
            assert!(longest <= limit && longest > limit / 2, "{longest} of {limit}");
            let refused = world.cloud(|cloud, _| cloud.counters().faulted);
            assert!(refused <= 16, "a limit that was named is respected at once: {refused} refused");
            closes(&world.finish().await.unwrap(), 300, 0);
        });
    }
}

#[test]
fn a_limit_that_has_gone_is_forgotten_within_hours() {
    in_virtual_time(async {
        let world = quiet_world().await;
        let fault = Fault::new(FaultKind::TooLarge { limit: 200 }).path(".s/");
        let fault = world.cloud(|cloud, _| cloud.set_fault(fault));
        take_telemetry(&world, 0, 100).await;
        world.drained(2 * MINUTE).await.unwrap();
        world.cloud(|cloud, _| cloud.clear_fault(fault));
        world.pass(3 * HOUR).await;
        world.relay(|relay| relay.cut());
        take_telemetry(&world, 1000, 300).await;
        world.relay(|relay| relay.heal());
        world.drained(5 * MINUTE).await.unwrap();
        let longest = longest(&world);
        assert!(longest > 800, "{longest}");
        closes(&world.finish().await.unwrap(), 400, 0);
    });
}

#[test]
fn one_reading_the_cloud_will_not_have_is_set_aside_alone() {
    in_virtual_time(async {
        let world = quiet_world().await;
        let poison = FaultKind::RejectValue { alias: "q0".into(), value: Some(serde_json::json!(77)) };
        world.cloud(|cloud, _| {
            cloud.set_fault(Fault::new(poison));
        });
        take_telemetry(&world, 0, 150).await;
        world.drained(2 * MINUTE).await.unwrap();
        let refused = world.cloud(|cloud, _| cloud.counters().faulted);
        assert!(refused <= 10, "halving finds one in a message in few steps: {refused} refused");
        assert_eq!(world.link().unwrap().phase, LinkPhase::Up);
        closes(&world.finish().await.unwrap(), 150, 1);
    });
}

#[test]
fn the_very_first_message_may_be_refused_without_costing_more_than_the_poison() {
    in_virtual_time(async {
        let world = World::start(&WorldOptions { bus: false, ..WorldOptions::default() }).await.unwrap();
        let poison = FaultKind::RejectValue { alias: "q0".into(), value: Some(serde_json::json!(0)) };
        world.cloud(|cloud, _| {
            cloud.set_fault(Fault::new(poison));
        });
        take_telemetry(&world, 0, 30).await;
        world.drained(2 * MINUTE).await.unwrap();
        take_telemetry(&world, 100, 10).await;
        world.drained(2 * MINUTE).await.unwrap();
        take_telemetry(&world, 200, 10).await;
        world.drained(2 * MINUTE).await.unwrap();
        assert_eq!(world.cloud(|cloud, _| cloud.intake().counts().epochs), 1, "the epoch is announced, once");
        closes(&world.finish().await.unwrap(), 50, 1);
    });
}

#[test]
fn a_cloud_that_refuses_statements_still_gets_the_readings() {
    in_virtual_time(async {
        let world = World::start(&WorldOptions { bus: false, ..WorldOptions::default() }).await.unwrap();
        // `ep` stands only in a statement.
        let statement = FaultKind::RejectValue { alias: "ep".into(), value: None };
        world.cloud(|cloud, _| {
            cloud.set_fault(Fault::new(statement));
        });
        take_telemetry(&world, 0, 30).await;
        world.drained(2 * MINUTE).await.unwrap();
        closes(&world.finish().await.unwrap(), 30, 0);
    });
}

#[test]
fn more_than_a_hundred_refusals_an_hour_are_the_clouds_fault_not_the_readings() {
    in_virtual_time(async {
        let world = quiet_world().await;
        let all = FaultKind::RejectValue { alias: "q0".into(), value: None };
        let fault = world.cloud(|cloud, _| cloud.set_fault(Fault::new(all)));
        take_telemetry(&world, 0, 400).await;
        world.pass(20 * MINUTE).await;
        let before = world.requests();
        world.pass(30 * MINUTE).await;
        let asked = world.requests() - before;
        assert!(asked < 30, "{asked} requests in half an hour");
        let lane = world.board().lanes.get("drain golioth").unwrap().value;
        assert!(lane.words.contains("refuse"), "{lane:?}");
        assert!(world.queued() >= 300, "{}", world.queued());
        world.cloud(|cloud, _| cloud.clear_fault(fault));
        world.drained(2 * HOUR).await.unwrap();
        closes(&world.finish().await.unwrap(), 400, 100);
    });
}

#[test]
fn a_lost_answer_is_asked_for_with_the_same_bytes() {
    in_virtual_time(async {
        let world = quiet_world().await;
        world.cloud(|cloud, _| {
            cloud.set_fault(Fault::new(FaultKind::LoseAnswer).path(".s/").times(3));
        });
        take_telemetry(&world, 0, 30).await;
        world.drained(10 * MINUTE).await.unwrap();
        let bodies: Vec<Vec<u8>> =
            world.cloud(|cloud, _| cloud.messages("gw-1").unwrap().iter().map(|m| m.body.clone()).collect());
        let repeated = bodies.iter().filter(|b| bodies.iter().filter(|c| c == b).count() > 1).count();
        assert!(repeated >= 4, "{repeated} of {} are copies or copied", bodies.len());
        let outcome = world.finish().await.unwrap();
        assert!(outcome.cloud_duplicates > 0, "{outcome:?}");
        closes(&outcome, 30, 0);
    });
}

#[test]
fn an_answer_that_takes_its_time_is_waited_for() {
    in_virtual_time(async {
        let world = quiet_world().await;
        world.cloud(|cloud, _| {
            cloud.set_fault(Fault::new(FaultKind::Delay(20 * S)).path(".s/"));
        });
        take_telemetry(&world, 0, 100).await;
        world.drained(5 * MINUTE).await.unwrap();
        let outcome = world.finish().await.unwrap();
        assert_eq!((outcome.cloud_duplicates, outcome.handshakes), (0, 1), "{outcome:?}");
        closes(&outcome, 100, 0);
    });
}

#[test]
fn an_answer_nobody_knows_keeps_the_readings() {
    in_virtual_time(async {
        let world = quiet_world().await;
        world.cloud(|cloud, _| {
            cloud.set_fault(answer(Code::new(4, 12), None).times(2));
        });
        take_telemetry(&world, 0, 10).await;
        world.drained(10 * MINUTE).await.unwrap();
        closes(&world.finish().await.unwrap(), 10, 0);
    });
}
