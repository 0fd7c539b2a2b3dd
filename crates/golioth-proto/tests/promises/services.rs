//! Remote calls, settings and logs: bytes seen on the wire, and what is made of their damage.

use fieldgate_golioth_proto::logs::{Level, LogRecord, MAX_RECORD_BYTES};
use fieldgate_golioth_proto::rpc::{self, Call, Reply, RpcError, StatusCode};
use fieldgate_golioth_proto::settings::{
    self, ErrorCode, SettingFault, Settings, SettingsError, StatusReport,
};
use fieldgate_golioth_proto::{Fault, Scalar};

use crate::common::{bytes, widest};

pub(crate) fn golden_call() -> Vec<u8> {
    bytes("a3 62 'id' 66 'abc/12' 66 'method' 71 'basic_return_type' 66 'params' 81 63 'int'")
}

pub(crate) fn golden_settings() -> Vec<u8> {
    bytes(
        "a2 68 'settings' a5 68 'TEST_INT' 182a 69 'TEST_BOOL' f5 6a 'TEST_FLOAT' fb40091eb851eb851f \
         6b 'TEST_STRING' 63 'bar' 73 'TEST_NOT_REGISTERED' 181b 67 'version' 1b00000180a96af86f",
    )
}

fn golden_values() -> settings::Notification {
    let values = [
        ("TEST_INT", Scalar::Integer(42)),
        ("TEST_BOOL", Scalar::Bool(true)),
        ("TEST_FLOAT", Scalar::Float(f64::from_bits(0x4009_1eb8_51eb_851f))),
        ("TEST_STRING", Scalar::Text("bar".to_owned())),
        ("TEST_NOT_REGISTERED", Scalar::Integer(27)),
    ];
    settings::Notification::Settings(Settings {
        version: Some(1_652_109_801_583),
        values: Some(values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        faults: Vec::new(),
    })
}

#[test]
fn the_greeting_of_either_service_is_no_call_and_no_settings() {
    assert_eq!(rpc::decode(&bytes("62 4f 4b")), Ok(rpc::Notification::Greeting));
    assert_eq!(settings::decode(&bytes("62 4f 4b")), Ok(settings::Notification::Greeting));
    assert!(rpc::decode(&bytes("62 'NO'")).is_err());
    assert!(settings::decode(&bytes("62 'NO'")).is_err());
}

#[test]
fn a_call_is_read_in_either_length_style() {
    let call = Call {
        id: "abc/12".to_owned(),
        method: "basic_return_type".to_owned(),
        params: vec![Scalar::Text("int".to_owned())],
        fault: None,
    };
    assert_eq!(rpc::decode(&golden_call()), Ok(rpc::Notification::Call(call.clone())));
    assert_eq!(rpc::decode(&widest(&golden_call())), Ok(rpc::Notification::Call(call)));
}

#[test]
fn parameters_keep_their_types_and_a_nested_one_does_not_hide_the_call() {
    let document = bytes(
        "a4 66 'params' 88 f4 20 fb4000000000000000 f90000 f6 81 01 1bffffffffffffffff 61 'x' 62 'id' 61 '1' \
         66 'method' 61 'm' 05 a0",
    );
    let Ok(rpc::Notification::Call(call)) = rpc::decode(&document) else { panic!("a call") };
    let expected = [
        Scalar::Bool(false),
        Scalar::Integer(-1),
        Scalar::Float(2.0),
        Scalar::Float(0.0),
        Scalar::Null,
        Scalar::Unsupported,
        Scalar::Unsupported,
        Scalar::Text("x".to_owned()),
    ];
    assert_eq!(call.params, expected);
}

#[test]
fn a_call_without_one_of_its_three_keys_is_not_carried_out() {
    let keys = [("id", "61 '1'"), ("method", "61 'm'"), ("params", "80")];
    for (missing, _) in keys {
        let present: String = keys
            .iter()
            .filter(|(key, _)| *key != missing)
            .map(|(key, value)| format!("{:02x} '{key}' {value} ", 0x60 + key.len()))
            .collect();
        let document = bytes(&format!("a2 {present}"));
        assert_eq!(rpc::decode(&document), Err(RpcError::Incomplete { missing }));
    }
}

#[test]
fn a_bad_field_of_a_call_is_named() {
    let bad = |field, fault| Err(RpcError::Bad { field, fault });
    let wrong = |expected| Fault::WrongType { expected };
    assert_eq!(rpc::decode(&bytes("a1 62 'id' 07")), bad("id", wrong("text")));
    assert_eq!(rpc::decode(&bytes("a1 66 'method' 60")), bad("method", Fault::Empty));
    assert_eq!(rpc::decode(&bytes("a1 66 'params' a0")), bad("params", wrong("an array")));
    assert_eq!(rpc::decode(&bytes("a2 62 'id' 61 'a' 62 'id' 61 'b'")), bad("id", Fault::Twice));
}

#[test]
fn a_call_whose_parameters_are_too_many_or_too_long_is_a_call_that_can_be_refused() {
    let long = format!("82 01 79 07d0 '{}'", "x".repeat(2000));
    for (params, limit) in [(format!("9f {} ff", "00".repeat(33)), 32), (long, 1024)] {
        let document = bytes(&format!("a3 66 'params' {params} 62 'id' 61 '1' 66 'method' 61 'm'"));
        let (id, method) = ("1".to_owned(), "m".to_owned());
        let call = Call { id, method, params: Vec::new(), fault: Some(Fault::TooLong { limit }) };
        assert_eq!(rpc::decode(&document), Ok(rpc::Notification::Call(call)));
    }
}

#[test]
fn a_reply_carries_the_key_status_code_as_the_sdk_sends_it() {
    let detail = serde_json::Map::from_iter([("value".to_owned(), 42.into())]);
    let reply = Reply { id: "abc/12", status: StatusCode::Ok, detail: Some(&detail) };
    let expected = "a3 62 'id' 66 'abc/12' 66 'detail' a1 65 'value' 182a 6a 'statusCode' 00";
    assert_eq!(reply.encode(), bytes(expected));
    let failed = Reply { status: StatusCode::NotFound, detail: None, ..reply };
    assert_eq!(failed.encode(), bytes("a2 62 'id' 66 'abc/12' 6a 'statusCode' 05"));
}

#[test]
fn a_reply_writes_every_kind_of_value() {
    let serde_json::Value::Object(detail) =
        serde_json::json!({"a": null, "b": true, "c": 1.5, "d": [1, {"z": u64::MAX}], "e": "x", "f": -500})
    else {
        panic!("no map")
    };
    let reply = Reply { id: "1", status: StatusCode::Unauthenticated, detail: Some(&detail) };
    let expected = "a3 62 'id' 61 '1' 66 'detail' a6 61 'a' f6 61 'b' f5 61 'c' f93e00 61 'd' 8201a1617a1bffffffffffffffff 61 'e' 61 'x' \
                    61 'f' 3901f3 6a 'statusCode' 10";
    assert_eq!(reply.encode(), bytes(expected));
}

#[test]
fn status_codes_are_those_of_grpc() {
    assert_eq!(StatusCode::InvalidArgument.code(), 3);
    assert_eq!(StatusCode::Unimplemented.code(), 12);
    for code in 0..=u8::MAX {
        assert_eq!(StatusCode::from_code(code).map(StatusCode::code), (code <= 16).then_some(code));
    }
}

#[test]
fn settings_are_read_in_either_length_style() {
    assert_eq!(settings::decode(&golden_settings()), Ok(golden_values()));
    assert_eq!(settings::decode(&widest(&golden_settings())), Ok(golden_values()));
}

#[test]
fn settings_are_read_in_either_order_of_the_keys() {
    let document = bytes("a2 67 'version' 05 68 'settings' a1 61 'A' 01");
    let values = Some(vec![("A".to_owned(), Scalar::Integer(1))]);
    let expected = Settings { version: Some(5), values, faults: Vec::new() };
    assert_eq!(settings::decode(&document), Ok(settings::Notification::Settings(expected)));
}

#[test]
fn null_settings_and_a_null_version_are_values() {
    let document = bytes("a2 68 'settings' f6 67 'version' f6");
    let expected = Settings { version: None, values: None, faults: Vec::new() };
    assert_eq!(settings::decode(&document), Ok(settings::Notification::Settings(expected)));
}

#[test]
fn a_whole_float_stays_a_float_and_a_nested_setting_is_marked_as_unsupported() {
    let document = bytes("a2 68 'settings' a2 61 'A' f94900 61 'B' 80 67 'version' 01");
    let Ok(settings::Notification::Settings(settings)) = settings::decode(&document) else {
        panic!("settings")
    };
    let expected = vec![("A".to_owned(), Scalar::Float(10.0)), ("B".to_owned(), Scalar::Unsupported)];
    assert_eq!(settings.values, Some(expected));
}

#[test]
fn a_setting_that_is_too_long_is_named_and_keeps_no_other_from_coming_into_force() {
    let text = format!("79 07d0 '{}'", "x".repeat(2000));
    let key = format!("78 82 '{}ü'", "K".repeat(128));
    for text in [text.clone(), format!("7f {text} ff")] {
        let document =
            bytes(&format!("a2 68 'settings' a4 61 'A' {text} 61 'B' 02 {key} 03 61 'C' 04 67 'version' 05"));
        let Ok(settings::Notification::Settings(settings)) = settings::decode(&document) else {
            panic!("settings")
        };
        let values = vec![("B".to_owned(), Scalar::Integer(2)), ("C".to_owned(), Scalar::Integer(4))];
        assert_eq!(settings.values, Some(values));
        let faults =
            [("A".to_owned(), ErrorCode::ValueStringTooLong), ("K".repeat(128), ErrorCode::KeyNotValid)];
        assert_eq!(settings.faults, faults);
    }
}

#[test]
fn settings_beyond_what_is_taken_are_named_as_far_as_the_gateway_names_any() {
    let all: String = (0..300).map(|n| format!("63 '{n:03}' 01 ")).collect();
    let document = bytes(&format!("a2 68 'settings' b9 012c {all} 67 'version' 05"));
    let Ok(settings::Notification::Settings(settings)) = settings::decode(&document) else {
        panic!("settings")
    };
    assert_eq!(settings.values.map(|values| values.len()), Some(settings::MAX_SETTINGS));
    assert_eq!(settings.faults.len(), settings::MAX_SETTINGS);
    assert_eq!(settings.faults[0], ("128".to_owned(), ErrorCode::General));
}

#[test]
fn bad_settings_name_what_is_wrong() {
    let decode = |vector: &str| settings::decode(&bytes(vector)).expect_err(vector);
    assert_eq!(decode("a1 67 'version' 01"), SettingsError::Incomplete { missing: "settings" });
    assert_eq!(decode("a1 68 'settings' a0"), SettingsError::Incomplete { missing: "version" });
    assert_eq!(decode("a0"), SettingsError::Incomplete { missing: "version" });
    let wrong = Fault::WrongType { expected: "an integer" };
    assert_eq!(decode("a1 67 'version' 61 '1'"), SettingsError::Version { fault: wrong });
    assert_eq!(
        decode("a1 68 'settings' a2 61 'A' 01 61 'A' 02"),
        SettingsError::Setting { key: "A".to_owned(), fault: Fault::Twice }
    );
    let cut = SettingsError::Setting { key: "A".to_owned(), fault: Fault::Truncated };
    assert_eq!(decode("a1 68 'settings' a1 61 'A' 19"), cut);
}

#[test]
fn a_settings_report_lists_what_was_not_applied() {
    let errors = [SettingFault { key: "TEST_NOT_REGISTERED", code: ErrorCode::KeyNotRecognized }];
    let report = StatusReport { version: Some(1_652_109_801_583), errors: &errors };
    let expected = "a2 66 'errors' 81 a2 6b 'setting_key' 73 'TEST_NOT_REGISTERED' 6a 'error_code' 01 \
                    67 'version' 1b00000180a96af86f";
    assert_eq!(report.encode(), bytes(expected));
}

#[test]
fn full_success_leaves_the_errors_out_and_echoes_the_version() {
    assert_eq!(StatusReport { version: Some(7), errors: &[] }.encode(), bytes("a1 67 'version' 07"));
    assert_eq!(StatusReport { version: None, errors: &[] }.encode(), bytes("a1 67 'version' f6"));
}

#[test]
fn settings_error_codes_are_golioths() {
    let codes = [
        ErrorCode::KeyNotRecognized,
        ErrorCode::KeyNotValid,
        ErrorCode::ValueFormatNotValid,
        ErrorCode::ValueOutsideRange,
        ErrorCode::ValueStringTooLong,
        ErrorCode::General,
    ];
    assert_eq!(codes.map(ErrorCode::code), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_log_record_has_the_three_keys_in_the_sdks_order() {
    let record =
        LogRecord { level: Level::Info, module: "golioth_rpc", message: "RPC observation established" };
    let expected = "a3 65 'level' 64 'info' 66 'module' 6b 'golioth_rpc' 63 'msg' \
                    781b 'RPC observation established'";
    assert_eq!(record.encode(), bytes(expected));
    assert_eq!([Level::Error, Level::Warn, Level::Debug].map(Level::name), ["error", "warn", "debug"]);
}

#[test]
fn a_log_message_that_does_not_fit_is_cut_at_a_character_and_fills_the_record() {
    let message = "ü".repeat(2000);
    let record = LogRecord { level: Level::Warn, module: &"m".repeat(100), message: &message }.encode();
    assert!((MAX_RECORD_BYTES - 3..=MAX_RECORD_BYTES).contains(&record.len()), "{} bytes", record.len());
    let tail = record.len() - 200;
    assert!(record[tail..].chunks(2).all(|pair| pair == "ü".as_bytes()));
}
