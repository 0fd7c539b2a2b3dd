//! The simulated cloud's CoAP side, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(dead_code, reason = "what the tests share is more than this one needs")]

mod cloud_common;

use cloud_common::{World, config, hex, ms};
use serde_json::json;
use std::time::Duration;

/// CON POST, message id 1234, token 7: `.s/a`, JSON, `{"n":1}`.
const POST: &str = "41 02 1234 07 b2 2e73 01 61 11 32 ff 7b226e223a317d";
/// CON POST, message id 1235, token 8: `.d/count`, JSON, 1.
const SET: &str = "41 02 1235 08 b2 2e64 05 636f756e74 11 32 ff 31";

#[test]
fn a_message_id_that_comes_again_gets_the_same_bytes_and_has_no_second_effect() {
    let mut world = World::connected(config());
    let first = world.say(&hex(POST));
    assert_eq!(first, [hex("61 44 1234 07")], "2.04, piggybacked");
    assert_eq!(world.say(&hex(POST)), first);
    world.run_for(Duration::from_secs(240));
    assert_eq!(world.say(&hex(POST)), first, "EXCHANGE_LIFETIME is 247 s");
    assert_eq!(world.cloud.messages("gw").unwrap().len(), 1);
    world.run_for(Duration::from_secs(250));
    world.say(&hex(POST));
    assert_eq!(world.cloud.messages("gw").unwrap().len(), 2, "by then it is another message");
}

#[test]
fn a_repeated_set_does_not_undo_what_came_between() {
    let mut world = World::connected(config());
    let first = world.say(&hex(SET));
    world.cloud.set_state(world.now, "gw", "count", json!(2)).unwrap();
    assert_eq!(world.say(&hex(SET)), first);
    assert_eq!(world.cloud.state("gw"), Some(&json!({"count": 2})));
}

#[test]
fn a_message_id_of_another_session_is_another_message() {
    let mut world = World::connected(config());
    world.say(&hex(POST));
    world.reconnect();
    world.say(&hex(POST));
    assert_eq!(world.cloud.messages("gw").unwrap().len(), 2);
}

#[test]
fn signs_of_life_are_answered_and_cost_nothing() {
    let mut world = World::connected(config());
    assert_eq!(world.say(&hex("48 04 0001 0000000000000000")), [hex("68 42 0001 0000000000000000")], "2.02");
    assert_eq!(world.say(&hex("50 00 0002")), [hex("70 00 0002")], "a ping that asks for no answer gets one");
    assert_eq!(world.say(&hex("40 00 0003")), [hex("70 00 0003")]);
}

#[test]
fn the_twenty_first_request_in_a_second_is_429_and_the_answer_is_kept_for_copies() {
    let mut config = config();
    config.requests_per_second = Some(20);
    let mut world = World::connected(config);
    let request = |number: u16| {
        let mut bytes = hex("41 01 0000 07 b2 2e64 01 61");
        bytes[2..4].copy_from_slice(&number.to_be_bytes());
        bytes
    };
    for number in 0..20 {
        world.cloud.handle_timeout(world.now);
        let code = world.say_briefly(&request(number));
        assert_eq!(code, Some(0x45), "{number}");
    }
    assert_eq!(world.say_briefly(&request(20)), Some(0x9D));
    world.run_for(ms(2_000));
    assert_eq!(world.say_briefly(&request(20)), Some(0x9D), "a copy, not a new request");
    assert_eq!(world.say_briefly(&request(21)), Some(0x45));
}

#[test]
fn what_is_not_there_reads_as_null_in_either_format() {
    let mut world = World::connected(config());
    // GET .d/a with Accept 50 and with Accept 60.
    assert_eq!(
        world.say(&hex("41 01 0001 07 b2 2e64 01 61 61 32")),
        [hex("61 45 0001 07 c1 32 ff 6e756c6c")]
    );
    assert_eq!(world.say(&hex("41 01 0002 07 b2 2e64 01 61 61 3c")), [hex("61 45 0002 07 c1 3c ff f6")]);
}

#[test]
fn a_certification_request_is_answered_with_what_the_operator_issued() {
    let mut world = World::connected(config());
    // CON POST v1/csr, octet-stream, a SEQUENCE.
    let request = |id: u8| hex(&format!("41 02 00{id:02x} 07 b2 7631 03 637372 11 2a ff 3003020101"));
    let refused = world.say(&request(1));
    assert_eq!(refused[0][1], 0x83, "4.03 where nobody signs");
    assert_eq!(world.cloud.signing_request("gw"), Some(hex("3003020101").as_slice()));
    world.cloud.set_issuer(|_, _| Some(hex("3082")));
    assert_eq!(world.say(&request(2)), [hex("61 41 0002 07 c1 2a ff 3082")]);
    let garbled = world.say(&hex("41 02 0003 07 b2 7631 03 637372 11 2a ff 00"));
    assert_eq!(garbled[0][1], 0x80, "4.00");
}
