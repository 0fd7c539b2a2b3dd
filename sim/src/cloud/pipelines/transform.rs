//! What transformers make of a message.

use super::parts::Transformer;
use super::plan::{CBOR, JSON, OCTETS, TEXT};
use super::run::json_of;
use super::{Message, structs};
use crate::cloud::plane::Plane;
use crate::cloud::wall::parse_rfc3339;
use crate::cloud::{base64, cbor};
use serde_json::{Map, Value, json};

/// Carries out one transformer, but for webhooks, whose answer is waited for.
pub(super) fn transform(
    plane: &Plane,
    transformer: &Transformer,
    message: &mut Message,
) -> Result<(), String> {
    match transformer {
        Transformer::Webhook(_) => Ok(()),
        Transformer::Base64 { decode: false } => {
            message.body = base64::encode(&message.body).into_bytes();
            TEXT.clone_into(&mut message.content_type);
            Ok(())
        }
        Transformer::Base64 { decode: true } => {
            let text = std::str::from_utf8(&message.body).ok().map(str::trim_end);
            message.body = text.and_then(base64::decode).ok_or("base64: the message is not valid base64")?;
            OCTETS.clone_into(&mut message.content_type);
            Ok(())
        }
        Transformer::CborToJson => {
            expect(message, CBOR, "cbor-to-json")?;
            let value = cbor::decode(&message.body).map_err(|error| error.to_string())?;
            becomes(message, &value)
        }
        Transformer::EmbedInJson(key) => {
            let text = std::str::from_utf8(&message.body);
            let text = text.map_err(|_| "embed-in-json: the message is not UTF-8")?;
            let value = Value::Object(Map::from_iter([(key.clone(), Value::from(text))]));
            becomes(message, &value)
        }
        Transformer::StructToJson(members) => {
            expect(message, OCTETS, "struct-to-json")?;
            let value = structs::read(members, &message.body)?;
            becomes(message, &value)
        }
        of_json => {
            let value = json_of(message)?;
            let value = transform_json(plane, of_json, message, value)?;
            becomes(message, &value)
        }
    }
}

fn transform_json(
    plane: &Plane,
    transformer: &Transformer,
    message: &mut Message,
    mut value: Value,
) -> Result<Value, String> {
    match transformer {
        Transformer::JsonPatch(patch) => return patch.apply(&value),
        Transformer::Location => return location(&value),
        Transformer::ExtractTimestamp => {
            if let Some(unix_ns) = extract_time(&mut value) {
                message.unix_ns = unix_ns;
            }
        }
        Transformer::InjectPath => value = nest(&message.path, value),
        Transformer::InjectMetadata => {
            let device = plane.devices.get(&message.device).map_or("", |device| &device.id);
            value = json!({
                "data": value,
                "device_id": device,
                "project_id": plane.project,
                "timestamp": {
                    "seconds": i64::try_from(message.unix_ns.div_euclid(1_000_000_000)).unwrap_or(i64::MAX),
                    "nanos": i64::try_from(message.unix_ns.rem_euclid(1_000_000_000)).unwrap_or(0),
                },
            });
        }
        _ => {}
    }
    Ok(value)
}

/// A value under the path of its message, an object for each part.
pub(in crate::cloud) fn nest(path: &str, value: Value) -> Value {
    let parts = super::segments(path).into_iter().rev();
    parts.fold(value, |below, part| Value::Object(Map::from_iter([(part, below)])))
}

fn becomes(message: &mut Message, value: &Value) -> Result<(), String> {
    message.body = value.to_string().into_bytes();
    JSON.clone_into(&mut message.content_type);
    Ok(())
}

fn expect(message: &Message, content_type: &str, name: &str) -> Result<(), String> {
    if message.content_type == content_type {
        Ok(())
    } else {
        Err(format!("{name}: the message is {}", message.content_type))
    }
}

/// Takes the time out of an object, Unix nanoseconds: RFC 3339, or Unix milliseconds.
pub(in crate::cloud) fn extract_time(element: &mut Value) -> Option<i128> {
    let map = element.as_object_mut()?;
    for key in ["t", "ts", "time", "timestamp"] {
        let read = map.get(key).and_then(parse_time);
        if read.is_some() {
            map.remove(key);
            return read;
        }
    }
    None
}

/// A time of either form, Unix nanoseconds.
pub(in crate::cloud) fn parse_time(value: &Value) -> Option<i128> {
    match value {
        Value::Number(ms) => ms.as_i64().map(|ms| i128::from(ms) * 1_000_000),
        Value::String(text) => parse_rfc3339(text),
        _ => None,
    }
}

/// Where the cells and access points of a message are. The place is made up: it follows from the first cell, else the first access
/// point.
fn location(value: &Value) -> Result<Value, String> {
    let list = |name: &str| value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64);
    let mut places = Vec::new();
    for cell in list("cell") {
        let kind = cell.get("type").and_then(Value::as_str);
        let (mcc, mnc, id) = (number(cell, "mcc"), number(cell, "mnc"), number(cell, "id"));
        match (kind, mcc, mnc, id) {
            (Some("ltecatm" | "nbiot"), Some(mcc), Some(mnc), Some(id)) => {
                let network = mcc.wrapping_mul(1_000).wrapping_add(mnc);
                places.push(id.wrapping_mul(31).wrapping_add(network));
            }
            _ => return Err("location: a cell needs type (ltecatm or nbiot), mcc, mnc and id".to_owned()),
        }
    }
    for access_point in list("wifi") {
        let mac = access_point.get("mac").and_then(Value::as_str).ok_or("location: wifi needs its mac")?;
        let digits = mac.bytes().filter(u8::is_ascii_hexdigit);
        places.push(digits.fold(0, |sum: u64, digit| sum.wrapping_mul(16).wrapping_add(u64::from(digit))));
    }
    let place = places.first().ok_or("location: neither cell nor wifi")?;
    let degrees = |of: u64, span: f64| (of % 10_000) as f64 / 10_000.0 * span - span / 2.0;
    Ok(json!({
        "latitude": degrees(*place, 180.0),
        "longitude": degrees(place / 7, 360.0),
        "accuracy": 1_000,
    }))
}
