//! The promise: what happens to the way between gateway and cloud costs no handshake where none is needed, no reading ever,
//! and is said in words a technician can act on.
//!
//! The whole daemon in virtual time against the simulated cloud and network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::reading::Value;
use fieldgate_coap::Code;
use fieldgate_sim::cloud::{Cloud, Fault, FaultKind};
use fieldgate_sim::world::{self, World, WorldOptions};

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A plaintext alert: fatal, access_denied, epoch 0. Anybody could have sent it.
const FORGED_ALERT: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 49];

async fn quiet_world(options: WorldOptions) -> World {
    let world = World::start(&WorldOptions { bus: false, ..options }).await.unwrap();
    world.pass(30 * S).await;
    assert_eq!(world.link().unwrap().phase, LinkPhase::Up, "{:?}", world.link());
    world
}

/// A reading every ten seconds.
async fn readings(world: &World, count: i64) {
    for n in 0..count {
        world.take("q1", Value::Steps(n)).await.unwrap();
        world.pass(9 * S).await;
    }
}

#[test]
fn a_server_that_is_silent_for_a_while_costs_no_handshake_and_for_long_one() {
    for (silence, at_most) in [(10 * S, 0), (MINUTE, 0), (150 * S, 0), (10 * MINUTE, 1)] {
        in_virtual_time(async {
            let world = quiet_world(WorldOptions::default()).await;
            world.cloud(|cloud, now| cloud.silence(Some(now + silence)));
            readings(&world, i64::try_from(silence.as_secs() / 10).unwrap()).await;
            world.pass(silence / 10).await;
            world.drained(8 * MINUTE).await.unwrap();
            let outcome = world.finish().await.unwrap();
            assert!(outcome.handshakes <= 1 + at_most, "silence of {silence:?}: {outcome:?}");
            assert_eq!((outcome.acknowledged, outcome.corrupted), (outcome.accepted, 0), "{outcome:?}");
            assert_eq!(outcome.problems, Vec::<String>::new());
        });
    }
}

#[test]
fn a_cloud_that_stops_answering_is_called_connected_for_ten_seconds_of_owing_and_no_longer() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        let seen = || {
            let now = fieldgate::clock::Mono::from(world.now());
            world.board().links_as_seen(now).remove("golioth").unwrap().value
        };
        world.cloud(|cloud, _| cloud.silence(None));
        // Nothing is owed: silence says nothing.
        world.pass(30 * S).await;
        assert_eq!(seen().phase, LinkPhase::Up, "{:?}", seen());
        world.take("q1", Value::Steps(1)).await.unwrap();
        world.pass(6 * S).await;
        assert_eq!(seen().phase, LinkPhase::Up, "it may still come: {:?}", seen());
        world.pass(14 * S).await;
        assert_eq!((seen().phase, world.link().unwrap().phase), (LinkPhase::Silent, LinkPhase::Up));
        assert!(seen().words.starts_with("no answer since "), "{:?}", seen());
        world.cloud(|cloud, _| cloud.speak());
        world.drained(2 * MINUTE).await.unwrap();
        world.pass(2 * S).await;
        assert_eq!(seen().phase, LinkPhase::Up, "{:?}", seen());
        assert_eq!(world.handshakes(), 1);
    });
}

#[test]
fn a_session_the_cloud_forgot_without_a_word_is_found_dead_even_when_idle() {
    in_virtual_time(async {
        let world =
            quiet_world(WorldOptions { golioth: "keepalive = \"5m\"".into(), ..WorldOptions::default() })
                .await;
        world.cloud(|cloud, _| cloud.silence(None));
        world.pass(20 * MINUTE).await;
        assert_ne!(world.link().unwrap().phase, LinkPhase::Up, "{:?}", world.link());
        world.cloud(|cloud, _| cloud.speak());
        world.pass(10 * MINUTE).await;
        assert_eq!(world.link().unwrap().phase, LinkPhase::Up, "{:?}", world.link());
        assert_eq!(world.handshakes(), 2);
    });
}

#[test]
fn every_datagram_is_charged_to_the_data_plan_with_its_headers() {
    /// Asking for the endpoint's name, once.
    const LOOKUP: u64 = 320;
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        readings(&world, 20).await;
        world.drained(20 * S).await.unwrap();
        world.pass(40 * S).await;
        let (link, plan) = (world.link().unwrap(), world.board().data_plan.get().unwrap().value);
        let on = |name: &str| plan.by_purpose.iter().find(|(of, _)| *of == name).unwrap().1;
        let charged: u64 = plan.by_purpose.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(charged, link.bytes_up + link.bytes_down + 28 * link.packets + LOOKUP);
        assert!(on("live") > 0 && on("session") > LOOKUP, "{plan:?}");
        assert_eq!((on("backlog"), on("alarm")), (0, 0), "{plan:?}");
    });
}

#[test]
fn a_cloud_that_restarts_is_connected_to_again_within_seconds_of_the_next_reading() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        for _ in 0..3 {
            world.cloud(|cloud, _| cloud.restart());
            let taken = world.now();
            readings(&world, 1).await;
            world.drained(20 * S).await.unwrap();
            assert!(world.now() - taken < 20 * S);
            world.pass(2 * MINUTE).await;
        }
        assert_eq!(world.handshakes(), 4);
        assert_eq!(world.cloud(|cloud, _| cloud.observations("gw-1")), 4, "all is observed again");
    });
}

#[test]
fn an_authenticated_alert_is_a_refusal_that_is_said_and_tried_again_ever_more_seldom() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        world.cloud(|cloud, now| cloud.alert(now, "gw-1", 49).unwrap());
        world.pass(S).await;
        let link = world.link().unwrap();
        assert_eq!(link.phase, LinkPhase::Sick, "{link:?}");
        let [(_, refused)] = world.board().troubles_as_seen("golioth").try_into().unwrap();
        assert!(refused.next_step.contains("enabled") && link.words.contains("trying again"), "{refused:?}");
        world.pass(30 * S).await;
        assert_eq!(
            world.link().unwrap().phase,
            LinkPhase::Up,
            "once is no verdict: {:?}",
            world.link().unwrap()
        );
        for _ in 0..24 * 60 * 6 {
            world.cloud(|cloud, now| cloud.alert(now, "gw-1", 49).unwrap());
            world.pass(10 * S).await;
        }
        let handshakes = world.handshakes();
        assert!((20..150).contains(&handshakes), "{handshakes} handshakes in a day of refusals");
    });
}

#[test]
fn a_forged_alert_earns_one_probe_a_minute_and_the_session_survives() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        // What a gateway has to say of itself after its start is said.
        world.pass(2 * MINUTE).await;
        let before = world.requests();
        for _ in 0..600 {
            world.forge(&FORGED_ALERT);
            world.pass(S).await;
        }
        let probes = world.requests() - before;
        assert!((5..=10).contains(&probes), "{probes} probes in ten minutes");
        assert_eq!(world.handshakes(), 1);
        assert_eq!(world.link().unwrap().phase, LinkPhase::Up);
    });
}

#[test]
fn a_flood_of_noise_keeps_no_reading_from_leaving() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        let noise: Vec<u8> = (0..200u8).collect();
        for n in 0..20 {
            for _ in 0..64 {
                world.forge(&noise);
            }
            world.take("q1", Value::Steps(n)).await.unwrap();
        }
        world.drained(10 * S).await.unwrap();
        assert_eq!(world.handshakes(), 1);
    });
}

#[test]
fn another_source_address_costs_no_handshake_with_a_connection_id() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        for _ in 0..5 {
            world.relay(|relay| relay.rebind());
            readings(&world, 2).await;
            world.drained(10 * S).await.unwrap();
        }
        assert_eq!(world.handshakes(), 1);
        assert_eq!(world.cloud(|cloud, _| cloud.counters().address_moves), 5);
    });
}

#[test]
fn another_source_address_without_connection_id_costs_one_handshake_and_nothing_else() {
    in_virtual_time(async {
        let options = WorldOptions { connection_id: false, ..WorldOptions::default() };
        let world = quiet_world(options).await;
        world.relay(|relay| relay.rebind());
        readings(&world, 6).await;
        world.drained(5 * MINUTE).await.unwrap();
        let outcome = world.finish().await.unwrap();
        assert_eq!(outcome.handshakes, 2, "{outcome:?}");
        assert_eq!((outcome.acknowledged, outcome.queued), (6, 0), "{outcome:?}");
    });
}

#[test]
fn an_interface_that_goes_away_is_said_and_waited_for_without_losing_the_session() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        let (looks, sockets) = (world.looks(), world.sockets_asked_for());
        world.interface_down(true);
        readings(&world, 12).await;
        let link = world.link().unwrap();
        assert_eq!(link.phase, LinkPhase::Waiting, "{link:?}");
        assert!(link.words.contains("interface"), "{link:?}");
        let (looks, sockets) = (world.looks() - looks, world.sockets_asked_for() - sockets);
        assert!(
            sockets < 30 && looks < 5000,
            "in two minutes: {sockets} sockets, {looks} looks at the clock"
        );
        world.interface_down(false);
        world.drained(2 * MINUTE).await.unwrap();
        assert_eq!(world.link().unwrap().phase, LinkPhase::Up, "{:?}", world.link());
        let outcome = world.finish().await.unwrap();
        assert_eq!((outcome.handshakes, outcome.acknowledged), (1, 12), "{outcome:?}");
    });
}

#[test]
fn an_interface_that_is_away_for_hours_is_asked_for_seldom() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        world.interface_down(true);
        readings(&world, 12).await;
        world.pass(20 * MINUTE).await;
        let (looks, sockets) = (world.looks(), world.sockets_asked_for());
        world.pass(4 * HOUR).await;
        let (looks, sockets) = (world.looks() - looks, world.sockets_asked_for() - sockets);
        assert!(sockets < 150, "{sockets} sockets in four hours");
        assert!(looks < 100_000, "{looks} looks at the clock in four hours");
        world.interface_down(false);
        world.drained(10 * MINUTE).await.unwrap();
    });
}

#[test]
fn a_wrong_key_or_identity_has_a_name_on_the_board_and_is_not_hammered() {
    for (identity, key) in [("gw-1@p", "another-key"), ("gw-7@p", "a-shared-key")] {
        in_virtual_time(async {
            let options = WorldOptions { bus: false, identity, key, ..WorldOptions::default() };
            let world = World::start(&options).await.unwrap();
            world.pass(10 * MINUTE).await;
            let (mut words, mut sick) = (Vec::new(), 0);
            for _ in 0..24 * 60 {
                world.pass(MINUTE).await;
                let link = world.link().unwrap();
                sick += u32::from(link.phase == LinkPhase::Sick);
                if !words.contains(&link.words) {
                    words.push(link.words);
                }
            }
            let attempts = world.sockets_asked_for();
            println!("{identity}: {attempts} attempts in a day; sick {sick} of 1440 min; {:?}", words.last());
            assert!((20..150).contains(&attempts), "{attempts} attempts in a day");
            assert!(
                words.iter().any(|w| w.contains("key") || w.contains("identity") || w.contains("credential")),
                "{words:?}"
            );
            assert!(sick > 1000, "{identity}: sick {sick} of 1440 minutes: {words:?}");
            assert_eq!(world.handshakes(), 0);
        });
    }
}

#[test]
fn a_bad_path_delays_and_repeats_but_loses_nothing() {
    for (loss, reorder, duplicate) in [(0.4, 0.0, 0.0), (0.0, 0.3, 0.3), (0.2, 0.2, 0.2)] {
        in_virtual_time(async {
            let options = WorldOptions { loss, reorder, duplicate, ..WorldOptions::default() };
            let world = World::start(&options).await.unwrap();
            world.pass(10 * MINUTE).await;
            world.fall_silent();
            world.drained(30 * MINUTE).await.unwrap();
            let limited = world.cloud(|cloud, _| cloud.counters().too_many_requests);
            let outcome = world.finish().await.unwrap();
            assert_eq!((outcome.lost, outcome.corrupted, limited), (0, 0, 0), "{outcome:?}");
            assert_eq!(outcome.acknowledged, outcome.accepted, "{outcome:?}");
            assert_eq!(outcome.problems, Vec::<String>::new());
        });
    }
}

#[test]
fn a_backlog_drains_at_the_clouds_limit_and_never_beyond() {
    in_virtual_time(async {
        let world = World::start(&WorldOptions::default()).await.unwrap();
        world.pass(5 * S).await;
        world.relay(|relay| relay.cut());
        while world.queued() < 20_000 {
            world.pass(10 * S).await;
        }
        world.relay(|relay| relay.heal());
        // The link notices within its own pauses.
        while world.link().unwrap().phase != LinkPhase::Up {
            world.pass(S).await;
        }
        world.fall_silent();
        let (began, requests, queued) = (world.now(), world.requests(), world.queued());
        world.drained(10 * MINUTE).await.unwrap();
        let (took, requests) = (world.now() - began, world.requests() - requests);
        let ideal = Duration::from_secs(requests / 20);
        println!("{queued} readings in {requests} messages, {took:?}; the limit allows {ideal:?}");
        assert!(took < ideal * 3 / 2 + 5 * S, "{took:?} for {requests} messages");
        assert_eq!(world.cloud(|cloud, _| cloud.counters().too_many_requests), 0);
        let outcome = world.finish().await.unwrap();
        assert_eq!((outcome.lost, outcome.corrupted, outcome.cloud_duplicates), (0, 0, 0), "{outcome:?}");
    });
}

#[test]
fn an_idle_day_costs_one_sign_of_life_a_keepalive() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        let (requests, looks) = (world.requests(), world.looks());
        let before = world.relay_counters();
        world.pass(DAY).await;
        let after = world.relay_counters();
        let (requests, looks) = (world.requests() - requests, world.looks() - looks);
        let (up, down) =
            (after.up.wire_bytes - before.up.wire_bytes, after.down.wire_bytes - before.down.wire_bytes);
        println!("idle day: {requests} requests, {up} B up, {down} B down, {looks} looks at the clock");
        // Once a day the manifest, the calls and the settings are asked for; and it is said that an hour, and a day, has passed.
        assert!((95..=103).contains(&requests), "a keepalive is 15 min: {requests} requests");
        assert_eq!(after.up.datagrams - before.up.datagrams, requests, "and nothing else");
        assert_eq!(world.handshakes(), 1);
        assert!(up + down < 20_000, "{up} + {down} B");
    });
}

#[test]
fn the_keepalive_is_the_configured_one() {
    in_virtual_time(async {
        let options = WorldOptions { golioth: "keepalive = \"2m\"".into(), ..WorldOptions::default() };
        let world = quiet_world(options).await;
        let before = world.requests();
        world.pass(HOUR).await;
        // And twice it says of itself how long it has been running.
        let requests = world.requests() - before;
        assert!((30..=32).contains(&requests), "{requests}");
    });
}

/// When the control document was last asked for.
fn asked_for_control(world: &World) -> Duration {
    world.cloud(|cloud, _| cloud.shown("gw-1", ".d/desired")).unwrap()
}

/// Waits until it is asked for again; how long after the last time.
async fn asked_for_control_again(world: &World) -> Duration {
    let last = asked_for_control(world);
    while asked_for_control(world) == last {
        assert!(world.now() < last + 2 * HOUR, "never again");
        world.pass(S).await;
    }
    asked_for_control(world) - last
}

#[test]
fn a_missed_notification_has_the_control_document_asked_for_sooner_and_quiet_as_before() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        world.nat_forgets_after(30 * S);
        world.pass(5 * MINUTE).await;
        let write = |cloud: &mut Cloud, now| {
            cloud.set_state(now, "gw-1", "desired", serde_json::json!({ "interval": 5 })).unwrap();
        };
        world.cloud(write);
        let about = |minutes: f64, gap: Duration| (gap.as_secs_f64() / 60.0 - minutes).abs() < 0.1;
        let first = asked_for_control_again(&world).await;
        assert!(first < 17 * MINUTE, "what was said after the start puts it off: {first:?}");
        let mut gaps = Vec::new();
        for _ in 0..5 {
            gaps.push(asked_for_control_again(&world).await);
        }
        assert!(gaps[..4].iter().all(|gap| about(7.5, *gap)), "{gaps:?}");
        // What the gateway says of itself each hour puts it off.
        assert!(gaps[4] >= 15 * MINUTE && gaps[4] < 31 * MINUTE, "{gaps:?}");
        assert_eq!(world.handshakes(), 1);
    });
}

#[test]
fn a_dead_path_is_given_up_within_the_configured_bound_once_there_is_something_to_send() {
    for (written, bound) in [("30s", 30 * S), ("3m", 3 * MINUTE), ("20m", 20 * MINUTE)] {
        in_virtual_time(async {
            let golioth = format!("keepalive = \"2h\"\ndead_path = \"{written}\"").into();
            let world = quiet_world(WorldOptions { golioth, ..WorldOptions::default() }).await;
            // What a gateway has to say of itself after its start is said.
            world.pass(4 * MINUTE).await;
            world.cloud(|cloud, _| cloud.silence(None));
            world.pass(30 * MINUTE).await;
            assert_eq!(world.link().unwrap().phase, LinkPhase::Up, "nothing is owed: {:?}", world.link());
            world.take("q1", Value::Steps(1)).await.unwrap();
            let owed = world.now();
            while world.link().unwrap().phase == LinkPhase::Up {
                assert!(world.now() < owed + bound + 10 * S, "{written}: {:?}", world.link());
                world.pass(S).await;
            }
            assert!(world.now() >= owed + bound, "{written}: given up after {:?}", world.now() - owed);
        });
    }
}

#[test]
fn a_deployment_made_while_the_link_was_cut_is_noticed_soon_although_readings_flow() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        world.relay(|relay| relay.cut());
        world.pass(5 * S).await;
        world.cloud(|cloud, now| cloud.deploy(now, &["gw-1"], "main", "9.9.9", vec![7; 900]).unwrap());
        readings(&world, 12).await;
        assert_eq!(
            world.cloud(|cloud, _| cloud.observations("gw-1")),
            3,
            "the cloud gave the manifest's observer up"
        );
        world.relay(|relay| relay.heal());
        readings(&world, 12).await;
        let reported = world.cloud(|cloud, _| {
            cloud.ota_events().iter().any(|event| event.target.as_deref() == Some("9.9.9"))
        });
        assert!(reported, "the component's state says what is wanted");
        assert_eq!(world.handshakes(), 1);
    });
}

#[test]
fn a_deployment_made_while_the_cloud_would_not_show_it_is_noticed_within_the_hour() {
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        let refuse = FaultKind::Answer { code: Code::SERVICE_UNAVAILABLE, max_age: None };
        world.cloud(|cloud, now| {
            cloud.set_fault(Fault::new(refuse).path(".u/desired").until(now + 3 * HOUR));
        });
        readings(&world, 6 * 60 * 2).await;
        // The notification is lost with the observer.
        world.relay(|relay| relay.cut());
        world.cloud(|cloud, now| cloud.deploy(now, &["gw-1"], "main", "9.9.9", vec![7; 900]).unwrap());
        readings(&world, 12).await;
        world.relay(|relay| relay.heal());
        readings(&world, 6 * 60).await;
        let wanted = |world: &World| {
            world.cloud(|cloud, _| cloud.ota_events().iter().any(|e| e.target.as_deref() == Some("9.9.9")))
        };
        assert!(!wanted(&world), "it could not be seen yet");
        readings(&world, 6 * 80).await;
        assert!(wanted(&world), "readings alone do not hide that the observation is gone");
    });
}

/// What is logged on this thread while it lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn said(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn half_a_manifest_is_refused_in_words_changes_nothing_and_costs_no_session() {
    /// A sequence number and no components.
    const HALF: [u8; 3] = [0xa1, 0x01, 0x00];
    let log = Log::default();
    let _listening = log.listen();
    in_virtual_time(async {
        let world = quiet_world(WorldOptions::default()).await;
        let wanted = |world: &World| -> BTreeSet<String> {
            world.cloud(|cloud, _| cloud.ota_events().iter().filter_map(|e| e.target.clone()).collect())
        };
        world.cloud(|cloud, now| cloud.deploy(now, &["gw-1"], "main", "9.9.8", vec![7; 900]).unwrap());
        readings(&world, 12).await;
        assert_eq!(wanted(&world), ["9.9.8".to_owned()].into());
        // The manifest is asked for again with the session that follows.
        let fault = world.cloud(|cloud, _| {
            cloud.restart();
            cloud.set_fault(Fault::new(FaultKind::Body(HALF.to_vec())).path(".u/desired"))
        });
        let faulted = || world.cloud(|cloud, _| cloud.counters().faulted);
        readings(&world, 12).await;
        assert!(faulted() > 0, "it was sent");
        let said = log.said();
        assert!(said.contains("lacks the list of components") && said.contains("deploy again"), "{said}");
        assert_eq!(world.link().unwrap().phase, LinkPhase::Up, "{:?}", world.link());
        assert_eq!(wanted(&world), ["9.9.8".to_owned()].into(), "nothing follows from it");
        world.cloud(|cloud, now| {
            cloud.clear_fault(fault);
            cloud.deploy(now, &["gw-1"], "main", "9.9.9", vec![8; 900]).unwrap();
        });
        readings(&world, 12).await;
        assert_eq!(wanted(&world), ["9.9.8".to_owned(), "9.9.9".to_owned()].into(), "the next one is taken");
        world.drained(MINUTE).await.unwrap();
        let outcome = world.finish().await.unwrap();
        assert_eq!(outcome.handshakes, 2, "{outcome:?}");
        assert_eq!((outcome.acknowledged, outcome.corrupted), (outcome.accepted, 0), "{outcome:?}");
        assert_eq!(outcome.problems, Vec::<String>::new());
    });
}

#[test]
fn a_stop_during_the_handshake_is_prompt() {
    in_virtual_time(async {
        let world = World::start(&WorldOptions { bus: false, ..WorldOptions::default() }).await.unwrap();
        world.cloud(|cloud, _| cloud.silence(None));
        world.pass(20 * S).await;
        let (watch, began) = (world.watch(), world.now());
        let outcome = world.finish().await.unwrap();
        assert!(watch() - began < 2 * S, "{:?}", watch() - began);
        assert_eq!(outcome.handshakes, 0);
    });
}

/// What people were told first after a restart.
async fn told_after_a_restart(world: World, options: &WorldOptions) -> (World, String) {
    let world = world.restart(options).await.unwrap();
    world.pass(S / 10).await;
    let words = world.link().unwrap().words;
    (world, words)
}

#[test]
fn a_session_of_other_hardware_is_not_gone_on_with_and_people_are_told_why() {
    in_virtual_time(async {
        let options = WorldOptions { bus: false, ..WorldOptions::default() };
        let world = quiet_world(options.clone()).await;
        let other = WorldOptions { board: Some("board-2"), ..options.clone() };
        let (world, words) = told_after_a_restart(world, &other).await;
        assert!(words.ends_with("is not gone on with: its record was made on another board"), "{words}");
        world.pass(MINUTE).await;
        assert_eq!((world.link().unwrap().phase, world.handshakes()), (LinkPhase::Up, 2));
    });
}

#[test]
fn where_nothing_tells_the_hardware_but_the_modem_it_is_waited_for_and_not_for_ever() {
    in_virtual_time(async {
        let options = WorldOptions { bus: false, board: None, ..WorldOptions::default() };
        let world = quiet_world(options.clone()).await;
        let (world, words) = told_after_a_restart(world, &options).await;
        assert!(words.contains("waiting for the modem to say which it is"), "{words}");
        world.pass(MINUTE).await;
        assert_eq!((world.link().unwrap().phase, world.handshakes()), (LinkPhase::Up, 1));
        // This modem never says it.
        let mute = WorldOptions { imei: Some(""), ..options };
        let world = world.restart(&mute).await.unwrap();
        world.pass(19 * S).await;
        assert_eq!(world.handshakes(), 1);
        world.pass(10 * S).await;
        assert_eq!((world.link().unwrap().phase, world.handshakes()), (LinkPhase::Up, 2));
    });
}
