//! Device logs, `.s/logs` and the older `logs`: always taken, even when they cannot be read. A device whose logs are refused
//! logs the refusal, and so on without end. The first go through the pipelines, one of which brings CBOR to the logs in a new project; the
//! older go there at once.

use super::{Reaction, body, posts, stream};
use crate::cloud::device::{DeviceKey, LogEntry};
use crate::cloud::pipelines::parse_time;
use crate::cloud::plane::Plane;
use fieldgate_coap::{Code, IncomingRequest, format};
use serde_json::{Map, Value};
use std::time::Duration;

pub(super) fn serve(
    plane: &mut Plane,
    now: Duration,
    device: DeviceKey,
    path: &str,
    request: &IncomingRequest,
) -> Reaction {
    if !posts(request) {
        return Code::METHOD_NOT_ALLOWED.into();
    }
    plane.log_messages += 1;
    if path == ".s/logs" {
        let _listed_if_it_fails = stream::enter(plane, now, device, "/logs", request);
        return Code::CHANGED.into();
    }
    let unix_ns = plane.wall.unix_ns(now);
    let name = plane.devices.get(&device).map(|device| device.name.clone()).unwrap_or_default();
    if let Ok(Value::Object(mut keys)) = body(request, format::CBOR) {
        let said = time_of(&mut keys).unwrap_or(unix_ns);
        plane.add_log(log_entry(name, keys, said));
    }
    Code::CHANGED.into()
}

/// Takes the time out of a line of the older path, which alone may have one. Unix nanoseconds.
fn time_of(keys: &mut Map<String, Value>) -> Option<i128> {
    let key = ["time", "timestamp"].into_iter().find(|key| keys.get(*key).and_then(parse_time).is_some())?;
    parse_time(&keys.remove(key)?)
}

/// A line as the cloud keeps it; what it has no place for is metadata.
pub(in crate::cloud) fn log_entry(device: String, mut keys: Map<String, Value>, unix_ns: i128) -> LogEntry {
    let level = take(&mut keys, &["level"]).unwrap_or_else(|| "info".to_owned()).to_uppercase();
    let module = take(&mut keys, &["module"]).unwrap_or_default();
    let message = take(&mut keys, &["msg", "message"]).unwrap_or_default();
    LogEntry { device, level, module, message, metadata: Value::Object(keys), unix_ns }
}

/// The first of these keys that is there, as text.
fn take(keys: &mut Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| keys.remove(*name)).map(|value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    })
}
