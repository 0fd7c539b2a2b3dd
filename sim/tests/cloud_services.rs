//! Every device service of the simulated cloud, from a device's side, with the quirks of the real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod cloud_common;

use cloud_common::{CBOR, JSON, UNIX_MS, World, config, hex, ms};
use fieldgate_coap::{Code, Request, Szx};
use fieldgate_sim::cloud::{CallOutcome, Route, SeenValue};
use serde_json::json;

fn batch(sequence: u8, value: u8) -> Vec<u8> {
    // [{e: h'01020304', s, t: 1000, temp: value}]
    hex(&format!("81 a4 6165 4401020304 6173 {sequence:02x} 6174 1903e8 6474656d70 {value:02x}"))
}

#[test]
fn a_pathless_delete_is_a_sign_of_life_and_other_unknown_paths_are_not_found() {
    let mut world = World::connected(config());
    assert_eq!(world.ask(Request::delete("")).code, Code::DELETED);
    for request in [
        Request::get(""),
        Request::get("x"),
        Request::get(".well-known/core"),
        Request::post(".rpc/x"),
        Request::get(".u"),
        Request::get(".g/pouch"),
    ] {
        assert_eq!(world.ask(request.clone()).code, Code::NOT_FOUND, "{request:?}");
    }
}

#[test]
fn a_known_path_refuses_methods_it_does_not_have() {
    let mut world = World::connected(config());
    for request in [
        Request::get(".s/a"),
        Request::post(".c"),
        Request::post(".u/desired"),
        Request::delete(".rpc"),
        Request::get(".rpc/status"),
        Request::get("echo"),
    ] {
        assert_eq!(world.ask(request.clone()).code, Code::METHOD_NOT_ALLOWED, "{request:?}");
    }
}

#[test]
fn hello_greets_by_name_and_echo_says_it_again() {
    let mut world = World::connected(config());
    assert_eq!(world.ask(Request::get("hello")).payload, b"Hello gw");
    let echo = world.ask(Request::post("echo").payload(JSON, *b"{\"a\":1}"));
    assert_eq!((echo.content_format, echo.payload.as_slice()), (Some(JSON), b"{\"a\":1}".as_slice()));
}

#[test]
fn stream_messages_of_either_length_style_reach_the_ledger() {
    let mut world = World::connected(config());
    let indefinite = hex("9f bf 6165 4401020304 6173 02 6174 1903e8 6474656d70 f94a40 ff ff");
    for body in [batch(1, 5), indefinite] {
        assert_eq!(world.ask(Request::post(".s/sensor").payload(CBOR, body)).code, Code::CHANGED);
    }
    assert_eq!(world.ask(Request::put(".s/sensor").payload(CBOR, batch(1, 5))).code, Code::CHANGED);
    let counts = world.cloud.intake().counts();
    assert_eq!((counts.messages, counts.unique, counts.duplicates, counts.conflicts), (3, 2, 1, 0));
    let seen = world.cloud.intake().get("gw", [1, 2, 3, 4], "temp", 2).unwrap();
    assert_eq!(seen.value, SeenValue::Float(12.5));
    let message = &world.cloud.messages("gw").unwrap()[0];
    assert_eq!((message.path.as_str(), message.body.clone()), ("/sensor", batch(1, 5)));
    assert_eq!(message.unix_ns, i128::from(UNIX_MS) * 1_000_000 + message.at.as_nanos() as i128);
}

#[test]
fn a_body_that_cannot_be_decoded_is_a_bad_request_with_a_message_for_people() {
    let mut world = World::connected(config());
    for (format, body) in [(CBOR, hex("bf 6161")), (CBOR, hex("01 02")), (JSON, b"{\"a\":".to_vec())] {
        for path in [".s/a", ".d/a", ".rpc/status", ".c/status", ".u/c/main"] {
            let answer = world.ask(Request::post(path).payload(format, body.clone()));
            assert_eq!(answer.code, Code::BAD_REQUEST, "{path}");
            let message = String::from_utf8(answer.payload).unwrap();
            assert!(answer.content_format == Some(0) && message.starts_with("invalid "), "{message}");
        }
    }
    assert_eq!(world.ask(Request::post(".s/a").payload(9_999, *b"x")).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(world.ask(Request::post(".s/a").payload(42, [0xFF])).code, Code::CHANGED);
    assert_eq!(world.cloud.messages("gw").unwrap().len(), 1);
}

#[test]
fn a_large_message_goes_up_in_blocks_and_arrives_whole() {
    let mut world = World::connected(config());
    let body: Vec<u8> = (0..3_666_u32).map(|n| n as u8).collect();
    assert_eq!(world.ask(Request::post(".s/big").payload(42, body.clone())).code, Code::CHANGED);
    assert_eq!(world.cloud.messages("gw").unwrap()[0].body, body);
    assert_eq!(world.cloud.counters().requests, 1);
}

#[test]
fn what_no_pipeline_takes_is_acknowledged_listed_and_lost() {
    let mut config = config();
    config.routes =
        vec![Route::path("/sensor"), Route { path: "/j*".to_owned(), content_format: Some(JSON) }];
    let mut world = World::connected(config);
    for path in [".s/sensor", ".s/sensors", ".s/j"] {
        assert_eq!(world.ask(Request::post(path).payload(CBOR, batch(1, 5))).code, Code::CHANGED);
    }
    assert_eq!(world.cloud.intake().counts().messages, 1);
    let unmatched: Vec<&str> = world.cloud.unmatched().iter().map(|lost| lost.path.as_str()).collect();
    assert_eq!(unmatched, ["/sensors", "/j"]);
    assert_eq!((world.cloud.counters().stream_messages, world.cloud.counters().unmatched), (3, 2));
    world.cloud.set_routes(vec![Route::everything()]);
    world.ask(Request::post(".s/sensors").payload(CBOR, batch(2, 5)));
    assert_eq!(world.cloud.counters().unmatched, 2);
}

#[test]
fn logs_are_taken_on_both_paths_and_answered_well_whatever_they_say() {
    let mut world = World::connected(config());
    let sdk = hex("bf 656c6576656c 64696e666f 666d6f64756c65 6b676f6c696f74685f727063 636d7367 781b \
         525043206f62736572766174696f6e2065737461626c6973686564 ff");
    let older = br#"{"level":"warn","module":"net","message":"late","uptime":172271000,"time":"2022-12-08T20:45:47+00:00"}"#.to_vec();
    for (path, format, body) in [(".s/logs", CBOR, sdk), ("logs", JSON, older), (".s/logs", CBOR, vec![0xFF])]
    {
        assert_eq!(world.ask(Request::post(path).payload(format, body)).code, Code::CHANGED);
    }
    let logs = world.cloud.logs();
    assert_eq!((logs.len(), world.cloud.counters().log_messages), (2, 3));
    assert_eq!((logs[0].level.as_str(), logs[0].module.as_str()), ("INFO", "golioth_rpc"));
    assert_eq!(logs[0].message, "RPC observation established");
    assert_eq!((logs[1].level.as_str(), &logs[1].metadata), ("WARN", &json!({"uptime": 172271000})));
    assert_eq!(logs[1].unix_ns, 1_670_532_347_000_000_000, "the older path takes the line's own time");
    assert_eq!(world.cloud.counters().stream_messages, 0, "logs are no stream messages");
    let failed: Vec<_> = world.cloud.pipeline_errors().iter().map(|e| (e.path.as_str(), e.place)).collect();
    assert_eq!(failed, [("/logs", 0)], "what cannot be read fails in the pipeline, not at the device");
}

#[test]
fn logs_that_no_pipeline_takes_are_lost_and_listed_like_any_message() {
    let mut config = config();
    config.routes = Vec::new();
    let mut world = World::connected(config);
    // {"msg": "x"}: in JSON the pipeline of a new project does not take it.
    let json = Request::post(".s/logs").payload(JSON, br#"{"msg":"x"}"#.to_vec());
    assert_eq!(world.ask(json).code, Code::CHANGED);
    let cbor = || Request::post(".s/logs").payload(CBOR, hex("a1 636d7367 6178"));
    world.ask(cbor());
    assert_eq!(world.cloud.logs().len(), 1);
    assert!(world.cloud.enable_pipeline("Default CBOR Logs", false));
    assert_eq!(world.ask(cbor()).code, Code::CHANGED);
    assert_eq!(world.cloud.logs().len(), 1);
    let lost: Vec<_> =
        world.cloud.unmatched().iter().map(|u| (u.path.as_str(), u.content_type.as_str())).collect();
    assert_eq!(lost, [("/logs", "application/json"), ("/logs", "application/cbor")]);
}

#[test]
fn state_is_written_merged_read_in_either_format_and_deleted() {
    let mut world = World::connected(config());
    let missing = world.ask(Request::get(".d/a").accept(JSON));
    assert_eq!((missing.code, missing.payload.as_slice()), (Code::CONTENT, b"null".as_slice()));
    assert_eq!(world.ask(Request::get(".d/a").accept(CBOR)).payload, [0xF6]);
    let set = |path: &str, json: &str| Request::post(path).payload(JSON, json.as_bytes());
    assert_eq!(world.ask(set(".d/env/", r#"{"temp":{"unit":"C"}}"#)).code, Code::CHANGED);
    // {"temp": {"value": 45}}
    let cbor = hex("bf 6474656d70 bf 6576616c7565 182d ff ff");
    assert_eq!(world.ask(Request::put(".d/env").payload(CBOR, cbor)).code, Code::CHANGED);
    assert_eq!(world.cloud.state("gw").unwrap(), &json!({"env": {"temp": {"unit": "C", "value": 45}}}));
    let whole = world.ask(Request::get(".d"));
    assert_eq!(whole.payload, br#"{"env":{"temp":{"unit":"C","value":45}}}"#);
    assert_eq!(world.ask(Request::get(".d/env/temp/value").accept(CBOR)).payload, [0x18, 0x2D]);
    assert_eq!(world.ask(Request::delete(".d/env/temp")).code, Code::DELETED);
    assert_eq!(world.cloud.state("gw").unwrap(), &json!({"env": {}}));
    assert_eq!(world.ask(Request::get(".d/env").accept(42)).code, Code::NOT_ACCEPTABLE);
    assert_eq!(world.cloud.state("other").unwrap(), &json!(null));
}

#[test]
fn an_observed_state_is_told_at_once_and_at_every_write_from_either_side() {
    let mut world = World::connected(config());
    let led = world.observe(Request::get(".d/desired/led").accept(JSON));
    assert_eq!(world.notified(led), [b"null"]);
    world.cloud.set_state(world.now, "gw", "desired", json!({"led": 1})).unwrap();
    world.run_for(ms(100));
    assert_eq!(world.notified(led), [b"1"]);
    world.ask(Request::post(".d/desired/led").payload(JSON, *b"2"));
    assert_eq!(world.notified(led), [b"2"]);
    world.cloud.set_state(world.now, "gw", "other/led", json!(7)).unwrap();
    world.cloud.set_state(world.now, "other", "desired/led", json!(7)).unwrap();
    world.run_for(ms(100));
    assert!(world.notified(led).is_empty(), "neither another path nor another device concerns it");
    world.cloud.delete_state(world.now, "gw", "desired").unwrap();
    world.run_for(ms(100));
    assert_eq!(world.notified(led), [b"null"]);
}

#[test]
fn a_call_is_told_to_who_observes_and_its_answer_is_read_under_either_key() {
    let mut world = World::connected(config());
    let calls = world.observe(Request::get(".rpc").accept(CBOR));
    assert_eq!(world.notified(calls), [b"\x62OK"]);
    assert_eq!(world.cloud.call_listeners("gw"), 1);
    for (key, code) in [("6a 737461747573436f6465", 5), ("66 737461747573", 0)] {
        let id = world
            .cloud
            .call(world.now, "gw", "multiply", &[json!(2), json!(3.5), json!("x"), json!(true)])
            .unwrap();
        world.run_for(ms(100));
        let told = world.notified(calls);
        let mut expected = hex("a3 626964");
        expected.push(0x60 + id.len() as u8);
        expected.extend(id.as_bytes());
        expected
            .extend(hex("666d6574686f64 686d756c7469706c79 66706172616d73 84 02 fb400c000000000000 6178 f5"));
        assert_eq!(told, [expected]);
        let mut answer = hex("bf 626964");
        answer.push(0x60 + id.len() as u8);
        answer.extend(id.as_bytes());
        answer.extend(hex(&format!("6664657461696c bf 6576616c7565 182a ff {key} {code:02x} ff")));
        assert_eq!(world.ask(Request::post(".rpc/status").payload(CBOR, answer)).code, Code::CHANGED);
        let outcome = CallOutcome::Answered { code, detail: Some(json!({"value": 42})) };
        assert_eq!(world.cloud.call_outcome(&id), Some(&outcome));
    }
    assert_eq!(
        world.ask(Request::post(".rpc/status").payload(CBOR, hex("a1 626964 6161"))).code,
        Code::BAD_REQUEST
    );
}

#[test]
fn calls_are_all_told_in_order_and_one_that_nobody_hears_times_out() {
    let mut world = World::connected(config());
    let lost = world.cloud.call(world.now, "gw", "reboot", &[]).unwrap();
    let calls = world.observe(Request::get(".rpc"));
    assert_eq!(world.notified(calls), [b"\x62OK"], "a call is not queued for who comes later");
    let ids: Vec<String> = (0..5).map(|_| world.cloud.call(world.now, "gw", "a", &[]).unwrap()).collect();
    world.run_for(ms(500));
    let told = world.notified(calls);
    assert_eq!(told.len(), 5);
    for (id, payload) in ids.iter().zip(&told) {
        assert!(payload.windows(id.len()).any(|part| part == id.as_bytes()));
    }
    world.run_for(ms(10_000));
    assert_eq!(
        world.cloud.call_outcome(&lost),
        Some(&CallOutcome::Pending),
        "a client that waits 10 s gives up first"
    );
    world.run_for(ms(5_000));
    assert_eq!(world.cloud.call_outcome(&lost), Some(&CallOutcome::TimedOut));
}

#[test]
fn calls_and_settings_are_told_in_json_to_who_asks_for_it() {
    let mut world = World::connected(config());
    let calls = world.observe(Request::get(".rpc").accept(JSON));
    assert_eq!(world.notified(calls), [b"\"OK\""]);
    let settings = world.observe(Request::get(".c").accept(JSON));
    assert_eq!(world.notified(settings), [br#"{"settings":null,"version":0}"#]);
    let id = world.cloud.call(world.now, "gw", "add", &[json!(1), json!("x")]).unwrap();
    world.cloud.set_setting(world.now, "RATE", json!(2.5), None).unwrap();
    world.run_for(ms(100));
    let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let told = read(&world.notified(calls)[0]);
    assert_eq!(told, json!({"id": id, "method": "add", "params": [1, "x"]}));
    assert_eq!(read(&world.notified(settings)[0])["settings"], json!({"RATE": 2.5}));
    assert_eq!(world.ask(Request::get(".rpc").accept(42)).code, Code::NOT_ACCEPTABLE);
}

#[test]
fn settings_are_null_without_any_and_told_when_they_change() {
    let mut world = World::connected(config());
    let none = hex("a2 6873657474696e6773 f6 6776657273696f6e 00");
    assert_eq!(world.ask(Request::get(".c").accept(CBOR)).payload, none);
    let settings = world.observe(Request::get(".c").accept(CBOR));
    assert_eq!(world.notified(settings), [none]);
    world.cloud.set_setting(world.now, "RATE", json!(42), None).unwrap();
    let version = UNIX_MS + world.now.as_millis() as i64;
    world.run_for(ms(100));
    let mut expected = hex("a2 6873657474696e6773 a1 6452415445 182a 6776657273696f6e 1b");
    expected.extend(version.to_be_bytes());
    assert_eq!(world.notified(settings), [expected]);
    // {errors: [{setting_key: "RATE", error_code: 4}], version}
    let mut report =
        hex("bf 666572726f7273 9f bf 6b73657474696e675f6b6579 6452415445 6a6572726f725f636f6465 04 ff ff");
    report.extend(hex("6776657273696f6e 1b"));
    report.extend(version.to_be_bytes());
    report.push(0xFF);
    assert_eq!(world.ask(Request::post(".c/status").payload(CBOR, report)).code, Code::CHANGED);
    let status = world.cloud.settings_status("gw").unwrap();
    assert_eq!(
        (status.version, status.errors[0].key.as_str(), status.errors[0].code),
        (Some(version), "RATE", 4)
    );
}

#[test]
fn the_manifest_is_a0_until_something_is_deployed_and_then_told() {
    let mut world = World::connected(config());
    assert_eq!(world.ask(Request::get(".u/desired").accept(CBOR)).payload, [0xA0]);
    assert_eq!(world.ask(Request::get(".u/desired").accept(JSON)).payload, b"{}");
    let manifest = world.observe(Request::get(".u/desired").accept(CBOR));
    assert_eq!(world.notified(manifest), [[0xA0]]);
    world.cloud.deploy(world.now, &["gw"], "main", "1.2.3", b"image".to_vec()).unwrap();
    world.run_for(ms(100));
    let told = world.notified(manifest);
    assert_eq!(told.len(), 1);
    let uri = b"\x05\x70/.u/c/main@1.2.3";
    assert!(told[0].starts_with(&[0xA3, 0x01, 0x1B]) && told[0].windows(uri.len()).any(|part| part == uri));
    assert_eq!(world.ask(Request::get(".u/desired")).payload, told[0]);
    world.cloud.undeploy("gw").unwrap();
    assert_eq!(world.ask(Request::get(".u/desired")).payload, [0xA0]);
    world.run_for(ms(100));
    assert!(world.notified(manifest).is_empty(), "leaving a cohort is not told");
}

#[test]
fn any_block_of_an_artifact_is_served_alone_in_the_size_that_was_asked_for() {
    let mut world = World::connected(config());
    let image: Vec<u8> = (0..2_500_u32).map(|n| (n / 7) as u8).collect();
    world.cloud.deploy(world.now, &["gw"], "main", "1.2.4", image.clone()).unwrap();
    let get = || Request::get(".u/c/main@1.2.4").accept(42);
    for (num, size) in [(2, Szx::B1024), (0, Szx::B1024), (2, Szx::B1024), (156, Szx::B16), (3, Szx::B256)] {
        let now = world.now;
        let id = world.devices[0].endpoint.get_block(now, get(), num, size).unwrap();
        world.run_for(ms(100));
        let part = world.devices[0].answers.remove(&id).unwrap().unwrap();
        let block = part.block2.unwrap();
        let from = num as usize * size.size();
        let to = (from + size.size()).min(image.len());
        assert_eq!((block.num(), block.szx(), block.more()), (num, size, to < image.len()));
        assert_eq!((part.content_format, part.payload.as_slice()), (Some(42), &image[from..to]));
    }
    assert_eq!(world.ask(get().assemble(Szx::B512, 4_096)).payload, image);
    for path in [".u/c/main@1.2.5", ".u/c/other@1.2.4", ".u/c/main"] {
        assert_eq!(world.ask(Request::get(path)).code, Code::NOT_FOUND, "{path}");
    }
}

#[test]
fn reports_with_short_long_and_json_names_become_events() {
    let mut world = World::connected(config());
    let sdk = hex("bf 6173 01 6172 00 63706b67 646d61696e 6176 65312e322e33 6174 65312e322e34 ff");
    assert_eq!(world.ask(Request::post(".u/c/main").payload(CBOR, sdk)).code, Code::CHANGED);
    let long = br#"{"state":3,"reason":1,"package":"main","version":"1.2.4"}"#;
    assert_eq!(world.ask(Request::post(".u/c/main").payload(JSON, *long)).code, Code::CHANGED);
    assert_eq!(world.ask(Request::post(".u/c/boot").query("s=2").query("r=5")).code, Code::CHANGED);
    let told: Vec<_> = world
        .cloud
        .ota_events()
        .iter()
        .map(|e| (e.package.as_str(), e.state, e.reason, e.version.as_deref(), e.target.as_deref()))
        .collect();
    let expected = [
        ("main", 1, 0, Some("1.2.3"), Some("1.2.4")),
        ("main", 3, 1, Some("1.2.4"), None),
        ("boot", 2, 5, None, None),
    ];
    assert_eq!(told, expected);
    assert_eq!(world.ask(Request::post(".u/c/main").payload(JSON, *br#"{"s":4}"#)).code, Code::BAD_REQUEST);
}

#[test]
fn the_twenty_first_request_within_a_second_is_too_many() {
    let mut config = config();
    config.requests_per_second = Some(20);
    let mut world = World::connected(config);
    let other = world.connect("other");
    let ids: Vec<_> = (0..25).map(|_| world.send(Request::post(".s/a").payload(42, [1]))).collect();
    world.run_for(ms(900));
    let codes: Vec<Code> =
        ids.iter().map(|id| world.devices[0].answers.remove(id).unwrap().unwrap().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == Code::CHANGED).count(), 20);
    assert_eq!(codes.iter().filter(|code| **code == Code::TOO_MANY_REQUESTS).count(), 5);
    assert_eq!(world.cloud.messages("gw").unwrap().len(), 20, "a refused message is not stored");
    assert_eq!(
        world.ask_as(other, Request::delete("")).code,
        Code::DELETED,
        "the limit is each device's own"
    );
    world.run_for(ms(1_000));
    assert_eq!(world.ask(Request::delete("")).code, Code::DELETED);
    assert_eq!(world.cloud.counters().too_many_requests, 5);
}

#[test]
fn a_download_counts_as_one_request_unless_every_block_is_to_count() {
    for (count_blocks, code) in [(false, Code::CONTENT), (true, Code::TOO_MANY_REQUESTS)] {
        let mut config = config();
        config.requests_per_second = Some(20);
        config.count_blocks = count_blocks;
        let mut world = World::connected(config);
        world.cloud.deploy(world.now, &["gw"], "main", "1", vec![7; 30 * 16]).unwrap();
        let answer = world.ask(Request::get(".u/c/main@1").assemble(Szx::B16, 4_096));
        assert_eq!(answer.code, code, "count_blocks = {count_blocks}");
    }
}

#[test]
fn the_same_seed_and_inputs_give_the_same_datagrams() {
    let run = || {
        let mut world = World::connected(config());
        let calls = world.observe(Request::get(".rpc"));
        world.ask(Request::post(".s/a").payload(CBOR, batch(1, 2)));
        world.cloud.deploy(world.now, &["gw"], "main", "1", vec![1, 2, 3]).unwrap();
        world.cloud.call(world.now, "gw", "x", &[]).unwrap();
        world.run_for(ms(1_000));
        (world.notified(calls), world.said)
    };
    assert_eq!(run(), run());
}
