//! JSON for programs. Keys are camelCase; durations end in `Seconds` or `Milliseconds`; an age counts back from now.

mod device;
mod gateway;

use serde_json::Value as Json;

pub(super) use self::device::device;
pub(super) use self::gateway::gateway;
use super::snapshot::Snapshot;
use crate::clock::Mono;
use crate::reading::Value;

fn json(value: &Value) -> Json {
    match value {
        Value::Steps(steps) => Json::from(*steps),
        // A number that is not finite becomes null: JSON has no other word for it.
        Value::Float(number) => Json::from(*number),
        Value::Bool(flag) => Json::from(*flag),
        Value::Text(text) => Json::from(text.as_ref()),
        Value::Absent => Json::Null,
    }
}

fn age(s: &Snapshot, then: Mono) -> f64 {
    s.now.since(then).as_secs_f64()
}
