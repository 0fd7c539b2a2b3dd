//! What the simulated cloud does to a device on request, seen from the device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod cloud_common;

use cloud_common::{CBOR, World, config, hex, ms};
use fieldgate_coap::{Code, Failure, Request};
use fieldgate_dtls::CloseReason;
use fieldgate_sim::cloud::{Fault, FaultKind};
use serde_json::json;
use std::time::Duration;

fn post() -> Request {
    // [{e: h'01020304', s: 1, t: 1000, temp: 5}]
    let body = hex("81 a4 6165 4401020304 6173 01 6174 1903e8 6474656d70 05");
    Request::post(".s/sensor").payload(CBOR, body)
}

#[test]
fn a_chosen_code_with_max_age_is_answered_instead_of_the_service() {
    let mut world = World::connected(config());
    for (code, max_age) in [(Code::TOO_MANY_REQUESTS, Some(7)), (Code::SERVICE_UNAVAILABLE, None)] {
        let fault = Fault::new(FaultKind::Answer { code, max_age }).device("gw").path(".s/").times(1);
        world.cloud.set_fault(fault);
        let answer = world.ask(post());
        assert_eq!((answer.code, answer.max_age), (code, max_age));
    }
    assert_eq!(world.cloud.intake().counts().messages, 0);
    assert_eq!(world.ask(post()).code, Code::CHANGED);
    assert_eq!(world.cloud.counters().faulted, 2);
}

#[test]
fn a_body_with_a_marked_value_is_bad_and_others_pass() {
    let mut world = World::connected(config());
    let kind = FaultKind::RejectValue { alias: "temp".to_owned(), value: Some(json!(6)) };
    let fault = world.cloud.set_fault(Fault::new(kind));
    let with = |value: &str| {
        let body = hex(&format!("81 a4 6165 4401020304 6173 01 6174 1903e8 6474656d70 {value}"));
        Request::post(".s/sensor").payload(CBOR, body)
    };
    assert_eq!(world.ask(with("05")).code, Code::CHANGED);
    assert_eq!(world.ask(with("06")).code, Code::BAD_REQUEST);
    assert_eq!(world.ask(with("f94600")).code, Code::BAD_REQUEST, "6.0 is the same reading");
    world.cloud.clear_fault(fault);
    assert_eq!(world.ask(with("06")).code, Code::CHANGED);
}

#[test]
fn a_body_over_the_limit_is_too_large_and_the_answer_names_the_limit() {
    let mut world = World::connected(config());
    world.cloud.set_fault(Fault::new(FaultKind::TooLarge { limit: 100 }));
    let large = world.ask(Request::post(".s/a").payload(42, vec![0; 101]));
    assert_eq!((large.code, large.size1), (Code::REQUEST_ENTITY_TOO_LARGE, Some(100)));
    assert_eq!(world.ask(Request::post(".s/a").payload(42, vec![0; 100])).code, Code::CHANGED);
}

#[test]
fn a_slow_answer_comes_separately_after_an_empty_acknowledgement() {
    let mut world = World::connected(config());
    world.cloud.set_fault(Fault::new(FaultKind::Delay(Duration::from_secs(5))).times(1));
    let id = world.send(post());
    world.run_for(ms(4_900));
    assert!(!world.devices[0].answers.contains_key(&id));
    assert_eq!(world.devices[0].endpoint.counters().retransmissions, 0, "the empty ACK stops retransmission");
    assert_eq!(world.cloud.intake().counts().unique, 1, "it was carried out at once");
    world.run_for(ms(200));
    assert_eq!(world.devices[0].answers[&id].as_ref().unwrap().code, Code::CHANGED);
}

#[test]
fn a_slow_registration_is_an_observation_all_the_same() {
    let mut world = World::connected(config());
    world.cloud.set_fault(Fault::new(FaultKind::Delay(Duration::from_secs(2))).times(1));
    let calls = world.observe(Request::get(".rpc"));
    assert!(world.notified(calls).is_empty());
    world.run_for(ms(2_000));
    assert_eq!(world.notified(calls), [b"\x62OK"]);
    world.cloud.call(world.now, "gw", "x", &[]).unwrap();
    world.run_for(ms(100));
    assert_eq!(world.notified(calls).len(), 1);
}

#[test]
fn a_lost_answer_leaves_the_device_not_knowing_and_a_repetition_is_a_duplicate() {
    let mut world = World::connected(config());
    world.cloud.set_fault(Fault::new(FaultKind::LoseAnswer).times(1));
    let id = world.send(post().deadline(Duration::from_secs(20)));
    world.run_for(ms(21_000));
    assert_eq!(world.devices[0].answers[&id], Err(Failure::DeadlineExceeded));
    assert_eq!(world.ask(post()).code, Code::CHANGED);
    let counts = world.cloud.intake().counts();
    assert_eq!((counts.unique, counts.duplicates, counts.conflicts), (1, 1, 0));
}

#[test]
fn a_silent_cloud_neither_hears_nor_speaks_until_its_time() {
    let mut world = World::connected(config());
    world.cloud.silence(Some(world.now + Duration::from_secs(10)));
    let said = world.said.len();
    let id = world.send(post());
    world.run_for(ms(9_900));
    assert_eq!((world.said.len(), world.cloud.intake().counts().messages), (said, 0));
    world.run_for(ms(20_000));
    assert_eq!(
        world.devices[0].answers[&id].as_ref().unwrap().code,
        Code::CHANGED,
        "a retransmission got through"
    );
    world.cloud.silence(None);
    let id = world.send(post());
    world.run_for(ms(200_000));
    assert!(world.devices[0].answers[&id].is_err());
    world.cloud.speak();
    assert_eq!(world.ask(post()).code, Code::CHANGED);
}

#[test]
fn an_alert_ends_the_session_of_that_device_alone() {
    let mut world = World::connected(config());
    let other = world.connect("other");
    world.cloud.alert(world.now, "gw", 49).unwrap();
    world.run_for(ms(100));
    match world.devices[0].closed.as_ref().unwrap() {
        CloseReason::Alert { alert, authenticated: true, .. } => assert_eq!(alert.description, 49),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.ask_as(other, Request::delete("")).code, Code::DELETED);
    assert_eq!(world.cloud.counters().sessions, 1);
}

#[test]
fn after_a_restart_old_sessions_get_alert_49_and_a_device_starts_over_with_the_same_token() {
    let mut world = World::connected(config());
    let calls = world.observe(Request::get(".rpc"));
    let first = world.ask(post());
    assert_eq!((first.code, world.notified(calls).len()), (Code::CHANGED, 1));
    world.cloud.restart();
    assert_eq!((world.cloud.counters().sessions, world.cloud.call_listeners("gw")), (0, 0));
    world.send(post());
    world.run_for(ms(100));
    assert_eq!(world.devices[0].unauthenticated_alerts, [49]);
    assert_eq!(world.reconnect(), [calls]);
    let now = world.now;
    world.devices[0].endpoint.reregister(now, calls).unwrap();
    world.run_for(ms(100));
    assert_eq!(world.notified(calls), [b"\x62OK"]);
    assert_eq!(world.ask(post()).code, Code::CHANGED);
    let counts = world.cloud.intake().counts();
    assert_eq!((counts.unique, counts.duplicates), (1, 1), "the ledger outlived the restart");
    assert_eq!((world.cloud.counters().handshakes, world.cloud.counters().restarts), (2, 1));
}

#[test]
fn a_device_that_moves_keeps_its_session_by_its_connection_id_and_loses_it_without() {
    let mut world = World::connected(config());
    world.ask(Request::delete(""));
    world.rebind(2_000);
    assert_eq!(world.ask(post()).code, Code::CHANGED);
    assert_eq!((world.cloud.counters().handshakes, world.cloud.counters().address_moves), (1, 1));

    let mut without = config();
    without.connection_id = false;
    let mut world = World::connected(without);
    world.rebind(2_000);
    world.send(post());
    world.run_for(ms(100));
    assert_eq!(world.devices[0].unauthenticated_alerts, [49]);
    assert_eq!(world.cloud.intake().counts().messages, 0);
}

#[test]
fn an_idle_session_is_forgotten_after_its_lifetime() {
    let mut short = config();
    short.session_lifetime = Some(Duration::from_secs(60));
    let mut world = World::connected(short);
    world.run_for(Duration::from_secs(59));
    assert_eq!(world.ask(Request::delete("")).code, Code::DELETED);
    world.run_for(Duration::from_secs(61));
    world.send(Request::delete(""));
    world.run_for(ms(100));
    assert_eq!(world.devices[0].unauthenticated_alerts, [49]);
    assert_eq!(world.cloud.counters().expired_sessions, 1);
}
