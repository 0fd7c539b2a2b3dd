//! What goes on the wire for each report, and what is understood of what comes, with what the facts of the plane say of the bytes.

use serde_json::json;

use super::*;
use crate::uplink::link::{Call, ServingCell, SettingFault, Settings};

fn posted(report: &Report) -> (String, Vec<u8>) {
    let request = post(report, Some("location")).unwrap_or_else(|why| panic!("{why}")).request;
    (format!("{:?} {}", request.method, request.path.join("/")), request.payload)
}

#[test]
fn a_call_is_understood_and_the_greeting_is_none() {
    assert_eq!(read(Watched::Calls, b"\x62OK"), Ok(None));
    let wire = b"\xa3\x62id\x66abc/12\x66method\x63set\x66params\x84\x01\xf5\xfb\x40\x24\0\0\0\0\0\0\x80";
    let params = vec![json!(1), json!(true), json!(10.0), json!({})];
    let call = Call { id: "abc/12".into(), method: "set".into(), params };
    assert_eq!(read(Watched::Calls, wire), Ok(Some(CloudEvent::Call(call))));
    assert!(read(Watched::Calls, b"\xa1\x62id").is_err());
}

#[test]
fn an_answer_goes_before_what_waits_and_is_as_the_vendors_own() {
    let report = Report::CallAnswer { id: "abc/12".into(), code: 5, detail: None };
    let (to, body) = posted(&report);
    assert_eq!(
        (to.as_str(), body.as_slice()),
        ("Post .rpc/status", b"\xa2\x62id\x66abc/12\x6astatusCode\x05".as_slice())
    );
    assert!(post(&report, None).ok().is_some_and(|post| post.request.urgent));
    assert!(post(&Report::CallAnswer { id: "a".into(), code: 17, detail: None }, None).is_err());
}

#[test]
fn settings_are_understood_with_and_without_any() {
    let wire = b"\xa2\x68settings\xa1\x61A\x18\x2a\x67version\x05";
    assert!(read(Watched::Settings, wire).is_ok());
    let none = b"\xa2\x68settings\xf6\x67version\x05";
    let expected = Settings { version: Some(5), values: None };
    assert_eq!(read(Watched::Settings, none), Ok(Some(CloudEvent::Settings(expected))));
    assert!(read(Watched::Settings, b"\xff\0").is_err());
}

#[test]
fn what_became_of_settings_names_only_what_is_wrong() {
    let (to, body) = posted(&Report::SettingsStatus { version: Some(5), faults: Vec::new() });
    assert_eq!((to.as_str(), body.as_slice()), ("Post .c/status", b"\xa1\x67version\x05".as_slice()));
    let faults = vec![("A".to_owned(), SettingFault::OutsideRange)];
    let (_, body) = posted(&Report::SettingsStatus { version: None, faults });
    let expected = b"\xa2\x66errors\x81\xa2\x6bsetting_key\x61A\x6aerror_code\x04\x67version\xf6";
    assert_eq!(body, expected);
    let many = vec![("K".repeat(63), SettingFault::TooLong); 100];
    let (_, body) = posted(&Report::SettingsStatus { version: Some(i64::MAX), faults: many });
    assert!(body.len() <= 1280, "{}", body.len());
}

#[test]
fn a_state_is_set_by_post_and_taken_away_by_delete() {
    let value = Some(json!({"up": "days"}));
    let (to, body) = posted(&Report::State { path: String::new(), value });
    assert_eq!((to.as_str(), body.as_slice()), ("Post .d/reported", b"\xa1\x62up\x64days".as_slice()));
    let (to, _) = posted(&Report::State { path: "components/cell".into(), value: None });
    assert_eq!(to, "Delete .d/reported/components/cell");
    assert!(post(&Report::State { path: "x".repeat(60), value: None }, None).is_err());
}

#[test]
fn what_is_wanted_is_json_and_nothing_is_null() {
    assert_eq!(read(Watched::Desired, b"null"), Ok(Some(CloudEvent::Desired(Value::Null))));
    assert_eq!(read(Watched::Desired, b""), Ok(Some(CloudEvent::Desired(Value::Null))));
    assert_eq!(read(Watched::Desired, b"{\"a\":1}"), Ok(Some(CloudEvent::Desired(json!({"a": 1})))));
    assert!(read(Watched::Desired, b"{").is_err_and(|why| why.contains("console")));
}

#[test]
fn a_line_and_a_cell_go_where_pipelines_look_for_them() {
    let report = Report::Log { level: tracing::Level::WARN, module: "m".into(), message: "x".into() };
    let (to, body) = posted(&report);
    let expected = b"\xa3\x65level\x64warn\x66module\x61m\x63msg\x61x";
    assert_eq!((to.as_str(), body.as_slice()), ("Post .s/logs", expected.as_slice()));
    let cell =
        ServingCell { narrowband: true, country: 242, network: 2, id: 0x0200_bb04, strength_dbm: Some(-97) };
    let (to, body) = posted(&Report::Network(cell));
    let expected = b"\xa1\x64cell\x81\xa5\x64type\x65nbiot\x63mcc\x18\xf2\x63mnc\x02\x62id\x1a\x02\0\xbb\x04\x68strength\x38\x60";
    assert_eq!((to.as_str(), body.as_slice()), ("Post .s/location", expected.as_slice()));
    assert!(post(&Report::Network(cell), None).is_err());
}

#[test]
fn a_probe_goes_the_way_of_the_readings() {
    let report = Report::Probe { address: "sensor".into(), mark: "1a".into(), unix_ms: None };
    let (to, body) = posted(&report);
    assert_eq!((to.as_str(), body.as_slice()), ("Post .s/sensor", b"\x81\xa1\x65probe\x621a".as_slice()));
}
