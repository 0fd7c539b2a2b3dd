//! The simulated cloud behind a network that loses a third of all datagrams: the duplicate cache of RFC 7252 section 4.5 and the
//! limiter do what they promise all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(dead_code, reason = "what the tests share is more than this one needs")]

mod cloud_common;

use cloud_common::{JSON, World, config, hex, ms};
use fieldgate_coap::{Code, Request, RequestId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// EXCHANGE_LIFETIME: by then every request was answered or given up.
const EVERYTHING_ENDED: Duration = Duration::from_secs(247);

fn numbered(n: u64) -> Request {
    Request::post(".s/numbered").payload(JSON, json!({ "n": n }).to_string().into_bytes())
}

/// How often each number was stored.
fn stored(world: &World) -> BTreeMap<u64, u32> {
    let mut times = BTreeMap::new();
    for message in world.cloud.messages("gw").unwrap() {
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        *times.entry(body["n"].as_u64().unwrap()).or_default() += 1;
    }
    times
}

/// What became of each request: the code of its answer, or nothing.
fn answers(world: &mut World, sent: &[RequestId]) -> Vec<Option<Code>> {
    let answers = &mut world.devices[0].answers;
    sent.iter().map(|id| answers.remove(id).unwrap().ok().map(|answer| answer.code)).collect()
}

#[test]
fn what_is_sent_again_because_an_answer_was_lost_is_stored_once() {
    let mut world = World::connected(config());
    world.loss = 333;
    let mut sent = Vec::new();
    for n in 0..100 {
        sent.push(world.send(numbered(n)));
        world.run_for(Duration::from_secs(7));
    }
    world.run_for(EVERYTHING_ENDED);
    let answered = answers(&mut world, &sent);
    let times = stored(&world);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    for (n, answer) in answered.iter().enumerate() {
        assert!(answer.is_none() || *answer == Some(Code::CHANGED), "{n}: {answer:?}");
        assert!(answer.is_none() || times.contains_key(&(n as u64)), "{n} is acknowledged and not there");
    }
    let counters = world.cloud.counters();
    assert_eq!(counters.requests, times.len() as u64, "copies do not reach the application");
    // It was really lossy, and copies really came.
    assert!(world.lost > 50 && counters.datagrams_in > counters.requests + 20, "{} {counters:?}", world.lost);
    assert!(answered.iter().filter(|answer| answer.is_some()).count() > 80, "{answered:?}");
}

#[test]
fn a_write_that_comes_again_late_does_not_undo_a_later_one() {
    let mut world = World::connected(config());
    // CON PUT, message ids 1 and 2: `.d/led` = 1, then 2.
    let put = |id: u8, value: &str| hex(&format!("41 03 00{id:02x} 07 b2 2e64 03 6c6564 11 32 ff {value}"));
    let first = world.say(&put(1, "31"));
    world.say(&put(2, "32"));
    for _ in 0..3 {
        assert_eq!(world.say(&put(1, "31")), first, "the same answer");
    }
    assert_eq!(world.cloud.state("gw"), Some(&json!({"led": 2})));
}

#[test]
fn copies_do_not_count_against_the_limit() {
    let mut config = config();
    config.requests_per_second = Some(20);
    let mut world = World::connected(config);
    let get = |number: u16| {
        let mut bytes = hex("41 01 0000 07 b2 2e64 01 61");
        bytes[2..4].copy_from_slice(&number.to_be_bytes());
        bytes
    };
    for number in 0..20 {
        assert_eq!(world.say_briefly(&get(number)), Some(0x45), "{number}");
    }
    world.run_for(ms(1_000));
    // Every answer was lost on its way: all twenty come again, and twenty new ones between them, within a second.
    for number in 0..20 {
        assert_eq!(world.say_briefly(&get(number)), Some(0x45), "copy {number}");
        assert_eq!(world.say_briefly(&get(100 + number)), Some(0x45), "new {number}");
    }
    assert_eq!(world.say_briefly(&get(200)), Some(0x9D), "one more is one too many");
    let counters = world.cloud.counters();
    assert_eq!((counters.requests, counters.too_many_requests), (41, 1));
}

#[test]
fn no_second_takes_more_than_the_limit_and_a_refusal_is_repeated_as_it_was() {
    let mut config = config();
    config.requests_per_second = Some(2);
    let mut world = World::connected(config);
    world.loss = 333;
    let sent: Vec<RequestId> = (0..60).map(|n| world.send(numbered(n))).collect();
    world.run_for(EVERYTHING_ENDED);
    let answered = answers(&mut world, &sent);
    let times = stored(&world);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    let at: Vec<Duration> = world.cloud.messages("gw").unwrap().iter().map(|message| message.at).collect();
    for from in &at {
        let within = at.iter().filter(|at| (*from..*from + ms(1_000)).contains(*at)).count();
        assert!(within <= 2, "{within} in the second from {from:?}");
    }
    let counters = world.cloud.counters();
    assert_eq!(times.len() as u64 + counters.too_many_requests, counters.requests, "each counted once");
    assert!(counters.too_many_requests > 0 && world.lost > 20, "{} {counters:?}", world.lost);
    for (n, answer) in answered.iter().enumerate() {
        let is_there = times.contains_key(&(n as u64));
        match answer {
            Some(code) if *code == Code::CHANGED => assert!(is_there, "{n}"),
            Some(code) => assert!(*code == Code::TOO_MANY_REQUESTS && !is_there, "{n}: {code:?}"),
            None => {}
        }
    }
}
