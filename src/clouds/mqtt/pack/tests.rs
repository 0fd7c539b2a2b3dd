//! What a subscriber finds in a message.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::clock::{BootId, Mono};
use crate::clouds::mqtt::MAX_MESSAGE_BYTES;
use crate::reading::{Class, Sample, StreamId};
use crate::store::queue::reader::{EpochInfo, StreamInfo};
use crate::store::queue::{Epoch, Position};

const EPOCH: Epoch = Epoch(0x0102_0304_0506_0708);

/// A template, by way of the configuration that makes them.
fn template(text: &str) -> TopicTemplate {
    crate::clouds::mqtt::tests::config(&format!("topic = \"{text}\"")).topic
}

fn per_device() -> TopicTemplate {
    template("fieldgate/{gateway}/{device}/{class}")
}

fn stream(name: &str, device: &str, resolution: Option<Resolution>) -> Arc<StreamInfo> {
    Arc::new(StreamInfo {
        name: name.into(),
        group: "bus/tank".into(),
        device: device.into(),
        class: Class::Telemetry,
        unit: "Cel".into(),
        resolution,
        alias: "a".into(),
    })
}

fn epoch() -> EpochInfo {
    let wall_offset_ms = Some((1_795_000_000_000, 20));
    EpochInfo {
        number: 1,
        epoch: EPOCH,
        boot: BootId([0xab; 16]),
        wall_offset_ms,
        known_at: Mono(0),
        dated_with_ms: None,
        revision: 0,
    }
}

fn row(n: u32, sequence: u64, stream: &Arc<StreamInfo>, value: Value) -> QueuedRow {
    QueuedRow {
        position: Position { segment: 1, row: n },
        epoch: epoch(),
        sequence,
        at: Mono(sequence * 1_000_000_000),
        sample: Sample { stream: StreamId(n), value, quality: Quality::Good },
        stream: Arc::clone(stream),
    }
}

fn text(packed: &Packed) -> &str {
    std::str::from_utf8(&packed.message.body).unwrap()
}

const TENTH: Option<Resolution> = Some(Resolution { numerator: 1, denominator: 10 });

#[test]
fn a_message_is_exactly_what_the_documentation_shows() {
    let (level, pump) = (stream("tank.level", "d-1", TENTH), stream("tank.pump", "d-1", None));
    let mut absent = row(2, 18, &level, Value::Absent);
    absent.sample.quality = Quality::DeviceInvalid;
    let mut rows = vec![
        row(0, 17, &level, Value::Steps(215)),
        row(1, 17, &pump, Value::Bool(true)),
        absent,
        row(3, 18, &pump, Value::Bool(false)),
    ];
    for row in &mut rows {
        row.at = Mono((row.sequence - 16) * 1_000_000_000);
    }
    let packed = pack(&per_device(), "gw-0042", None, &rows, MAX_MESSAGE_BYTES).unwrap();
    assert_eq!(packed.rows, 4);
    assert_eq!(packed.message.address, "fieldgate/gw-0042/d-1/telemetry");
    let documented: String = include_str!("../mod.rs")
        .lines()
        .skip_while(|line| !line.starts_with("//! ```json"))
        .skip(1)
        .take_while(|line| !line.starts_with("//! ```"))
        .map(|line| line.trim_start_matches("//!").trim())
        .collect();
    assert_eq!(text(&packed), documented);
}

#[test]
fn a_batch_ends_where_the_topic_changes() {
    let (a, b) = (stream("a.x", "device-a", None), stream("b.x", "device-b", None));
    let rows = [
        row(0, 1, &a, Value::Bool(true)),
        row(1, 2, &a, Value::Bool(true)),
        row(2, 3, &b, Value::Bool(true)),
        row(3, 4, &a, Value::Bool(true)),
    ];
    let packed = pack(&per_device(), "gw", None, &rows, MAX_MESSAGE_BYTES).unwrap();
    assert_eq!((packed.rows, packed.message.address.as_str()), (2, "fieldgate/gw/device-a/telemetry"));
    let one_topic = template("plant/{gateway}");
    assert_eq!(pack(&one_topic, "gw", None, &rows, MAX_MESSAGE_BYTES).unwrap().rows, 4);
}

#[test]
fn a_topic_with_the_stream_in_it_gets_one_stream_a_message() {
    let (a, b) = (stream("tank.a", "d", None), stream("tank.b", "d", None));
    let rows = [
        row(0, 1, &a, Value::Bool(true)),
        row(1, 1, &b, Value::Bool(true)),
        row(2, 2, &b, Value::Bool(true)),
    ];
    let template = template("plant/{stream}");
    let packed = pack(&template, "gw", None, &rows, MAX_MESSAGE_BYTES).unwrap();
    assert_eq!((packed.rows, packed.message.address.as_str()), (1, "plant/tank.a"));
    let packed = pack(&template, "gw", None, &rows[1..], MAX_MESSAGE_BYTES).unwrap();
    assert_eq!((packed.rows, packed.message.address.as_str()), (2, "plant/tank.b"));
}

#[test]
fn a_batch_ends_where_the_epoch_changes() {
    let a = stream("tank.a", "d", None);
    let mut rows = vec![row(0, 1, &a, Value::Bool(true)), row(1, 1, &a, Value::Bool(true))];
    rows[1].epoch.epoch = Epoch(9);
    assert_eq!(pack(&per_device(), "gw", None, &rows, MAX_MESSAGE_BYTES).unwrap().rows, 1);
}

#[test]
fn a_reading_without_trusted_time_says_its_boot_and_the_time_since() {
    let a = stream("tank.a", "d", None);
    let mut rows = [row(0, 7, &a, Value::Bool(true))];
    rows[0].epoch.wall_offset_ms = None;
    let packed = pack(&per_device(), "gw", None, &rows, MAX_MESSAGE_BYTES).unwrap();
    assert_eq!(
        text(&packed),
        r#"{"g":"gw","e":"0102030405060708","r":[{"b":"abababababababababababababababab","m":7000,"s":7,"v":{"tank.a":true}}]}"#
    );
}

#[test]
fn a_time_that_may_be_far_off_says_how_far() {
    let a = stream("tank.a", "d", None);
    let mut rows = [row(0, 7, &a, Value::Bool(true))];
    rows[0].epoch.wall_offset_ms = Some((0, 1001));
    let packed = pack(&per_device(), "gw", None, &rows, MAX_MESSAGE_BYTES).unwrap();
    assert!(text(&packed).contains(r#"{"t":7000,"u":1001,"s":7"#), "{}", text(&packed));
    rows[0].epoch.wall_offset_ms = Some((0, 1000));
    let packed = pack(&per_device(), "gw", None, &rows, MAX_MESSAGE_BYTES).unwrap();
    assert!(text(&packed).contains(r#"{"t":7000,"s":7"#), "{}", text(&packed));
}

#[test]
fn an_epochs_first_message_says_where_the_one_before_ended() {
    let a = stream("tank.a", "d", None);
    let rows = [row(0, 1, &a, Value::Bool(true))];
    let mut statement =
        EpochStatement { epoch: EPOCH, previous: Some((Epoch(5), vec![("bus/tank".into(), 99)])) };
    let packed = |statement: &EpochStatement| {
        let packed = pack(&per_device(), "gw", Some(statement), &rows, MAX_MESSAGE_BYTES).unwrap();
        let body: Json = serde_json::from_slice(&packed.message.body).unwrap();
        (packed.rows, body["prev"].to_string())
    };
    assert_eq!(
        packed(&statement),
        (1, r#"{"e":"0000000000000005","of":"0102030405060708","s":{"bus/tank":99}}"#.into())
    );
    // So many groups that no reading would fit beside them: their sequences stay away, the rest does not.
    statement.previous = Some((Epoch(5), (0..500).map(|n| (format!("bus/group-{n}"), n)).collect()));
    assert_eq!(packed(&statement), (1, r#"{"e":"0000000000000005","of":"0102030405060708"}"#.into()));
    statement.previous = None;
    assert_eq!(packed(&statement), (1, r#"{"of":"0102030405060708"}"#.into()));
}

#[test]
fn a_reading_longer_than_a_message_is_said_to_be() {
    let a = stream("tank.a", "d", None);
    let rows = [row(0, 1, &a, Value::Text("y".repeat(256).into()))];
    assert_eq!(pack(&per_device(), "gw", None, &rows, 128), None);
    assert_eq!(pack(&per_device(), "gw", None, &[], 128), None);
}

#[derive(Debug, Clone)]
struct Given {
    instant: u64,
    stream: usize,
    value: Value,
    quality: Quality,
}

fn value_of_any_kind() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-9_000_000_000_000i64..9_000_000_000_000).prop_map(Value::Steps),
        any::<i16>().prop_map(|n| Value::Float(f64::from(n) / 1024.0)),
        any::<bool>().prop_map(Value::Bool),
        "\\PC{0,20}|[\"\\\\\u{0}-\u{1f}{}:,]{0,10}".prop_map(|text| Value::Text(text.into())),
        Just(Value::Absent),
    ]
}

fn given_rows() -> impl Strategy<Value = Vec<Given>> {
    let quality = prop_oneof![
        3 => Just(Quality::Good),
        1 => Just(Quality::OutOfRange),
        1 => Just(Quality::DeviceInvalid),
        1 => Just(Quality::Late),
    ];
    let one = (0u64..2, 0usize..4, value_of_any_kind(), quality);
    prop::collection::vec(one, 1..60).prop_map(|all| {
        let mut instant = 0;
        let given = |(step, stream, value, quality)| {
            instant += step;
            Given { instant, stream, value, quality }
        };
        all.into_iter().map(given).collect()
    })
}

/// One value as a subscriber sees it, together with its stream's resolution.
fn seen(json: &Json, resolution: Option<Resolution>, sent: &Value) -> Value {
    match (json, sent) {
        (Json::Null, _) => Value::Absent,
        (Json::Bool(bool), _) => Value::Bool(*bool),
        (Json::String(text), _) => Value::Text(text.as_str().into()),
        (Json::Number(number), Value::Steps(_)) => {
            Value::Steps(resolution.unwrap_or(Resolution::ONE).steps(number.as_f64().unwrap()).unwrap())
        }
        (Json::Number(number), _) => Value::Float(number.as_f64().unwrap()),
        (other, _) => panic!("{other}"),
    }
}

proptest! {
    /// Whatever is packed, message after message within any limit, a subscriber decodes the same readings: identity,
    /// time, value and quality.
    #[test]
    fn every_reading_comes_out_of_the_json_as_it_went_in(given in given_rows(), limit in 400usize..3000) {
        let streams = [
            stream("tank.tenth", "d", TENTH),
            stream("tank.whole", "d", None),
            stream("tank.fine", "d", Some(Resolution { numerator: 1, denominator: 1000 })),
            stream("ta\"nk.ü", "d", Some(Resolution { numerator: 5, denominator: 1 })),
        ];
        let rows: Vec<QueuedRow> = (0..)
            .zip(&given)
            .map(|(n, given)| {
                let mut row = row(n, given.instant, &streams[given.stream], given.value.clone());
                row.sample.quality = given.quality;
                row
            })
            .collect();
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < rows.len() {
            let packed = pack(&per_device(), "gw", None, &rows[at..], limit).unwrap();
            prop_assert!(packed.rows > 0 && packed.message.body.len() <= limit);
            let body: Json = serde_json::from_slice(&packed.message.body).unwrap();
            prop_assert_eq!(&body["e"], "0102030405060708");
            let mut in_message = 0;
            for record in body["r"].as_array().unwrap() {
                // The order within an instant is lost in an object; names are unique in it.
                let values: BTreeMap<_, _> = record["v"].as_object().unwrap().iter().collect();
                in_message += values.len();
                for (name, value) in values {
                    let quality = record["q"].get(name).map_or(0, |q| q.as_u64().unwrap());
                    decoded.push((
                        name.clone(),
                        record["s"].as_u64().unwrap(),
                        record["t"].as_i64().unwrap(),
                        value.clone(),
                        quality,
                    ));
                }
            }
            prop_assert_eq!(in_message, packed.rows);
            at += packed.rows;
        }
        prop_assert_eq!(decoded.len(), rows.len());
        for (row, given) in rows.iter().zip(&given) {
            let stream = &streams[given.stream];
            let unix_ms = 1_795_000_000_000 + i64::try_from(given.instant).unwrap() * 1000;
            let found = decoded.iter().position(|(name, sequence, at, value, quality)| {
                *name == stream.name
                    && *sequence == row.sequence
                    && *at == unix_ms
                    && *quality == given.quality as u64
                    && seen(value, stream.resolution, &given.value) == given.value
            });
            prop_assert!(found.is_some(), "{:?} is not among {:?}", given, decoded);
            decoded.swap_remove(found.unwrap());
        }
    }
}
