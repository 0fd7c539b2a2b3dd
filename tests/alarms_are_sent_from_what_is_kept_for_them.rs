//! The promise: when the data plan has nothing left but what is kept for alarms, no session is kept, and an alarm makes one for
//! itself; nothing else goes, and the plan is not exceeded.
//!
//! The whole daemon in virtual time against the simulated cloud and network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::reading::Value;
use fieldgate_sim::world::{self, World, WorldOptions};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Small enough for a session without anything to send to use up its share within days.
const MONTH: &str = r#"
[budget]
month = "256KiB"
[budget.reserves]
alarm = "50%"
"#;

fn is_up(world: &World) -> bool {
    world.link().unwrap().phase == LinkPhase::Up
}

/// Bytes of the month, and its limit.
fn month(world: &World) -> (u64, u64) {
    let month = world.board().data_plan.get().unwrap().value.month;
    (month.bytes, month.limit.unwrap())
}

/// Lets the session use up what is not kept for alarms.
async fn out_of_budget() -> World {
    // A path that must be kept open every minute costs most of the plan in a day.
    let golioth = "keepalive = \"1m\"".into();
    let options = WorldOptions { bus: false, golioth, tables: MONTH.into(), ..WorldOptions::default() };
    let world = World::start(&options).await.unwrap();
    world.pass(MINUTE).await;
    assert!(is_up(&world), "{:?}", world.link());
    for _ in 0..6 * 24 * 10 {
        world.pass(10 * MINUTE).await;
        if !is_up(&world) {
            break;
        }
    }
    let link = world.link().unwrap();
    assert!(link.words.contains("not connected: the month's data"), "{link:?}");
    world
}

#[test]
fn an_alarm_is_delivered_although_nothing_is_left_for_the_session_and_nothing_else_is() {
    world::in_virtual_time(async {
        let world = out_of_budget().await;
        let (spent, limit) = month(&world);
        assert!(spent < limit, "{spent} of {limit}: the alarms' part is left");
        let handshakes = world.handshakes();
        world.take("q1", Value::Steps(1)).await.unwrap();
        world.pass(HOUR).await;
        assert_eq!((world.handshakes(), world.far_values("q1").len()), (handshakes, 0));

        for n in 1..=2 {
            world.take("al", Value::Bool(true)).await.unwrap();
            world.pass(MINUTE).await;
            assert_eq!(world.far_values("al").len(), n, "{:?}", world.link());
        }
        assert_eq!(world.handshakes(), handshakes + 1, "both in one session");
        world.pass(20 * MINUTE).await;
        assert!(!is_up(&world), "it is not kept once no alarm waits: {:?}", world.link());
        assert_eq!(world.far_values("q1").len(), 0, "what is kept for alarms went to something else");
        let (spent, limit) = month(&world);
        assert!(spent <= limit, "{spent} of {limit}");
        assert_eq!(world.finish().await.unwrap().problems, Vec::<String>::new());
    })
    .unwrap();
}

#[test]
fn alarms_without_end_stop_at_the_end_of_the_plan() {
    world::in_virtual_time(async {
        let world = out_of_budget().await;
        for n in 0..700 {
            world.take("al", Value::Bool(n % 2 == 0)).await.unwrap();
            world.pass(5 * MINUTE).await;
            let (spent, limit) = month(&world);
            assert!(spent <= limit + limit / 100, "{spent} of {limit}");
        }
        assert!(world.queued() > 0 && world.far_values("al").len() >= 2, "{} wait", world.queued());
        assert_eq!(world.finish().await.unwrap().problems, Vec::<String>::new());
    })
    .unwrap();
}
