//! LightDB State: one JSON document. Operators write what they want under `desired`, the gateway what is so under `reported`.
//!
//! A value is set by POST, where objects merge into objects and anything else replaces; a part goes by DELETE. Reading is a
//! registration to observe: its answer is the value as it is now, `null` where there is none.

use fieldgate_coap as coap;
use fieldgate_golioth_proto::content_format::ContentFormat;
use fieldgate_golioth_proto::{document, paths};
use serde_json::Value;

use crate::uplink::link::CloudEvent;

const REPORTED: &str = "reported";

/// The control document, as JSON: for nothing, that form is known.
pub(super) fn get() -> coap::Request {
    coap::Request::get(paths::DESIRED).accept(ContentFormat::Json.number())
}

/// What is wanted now.
pub(super) fn read(payload: &[u8]) -> Result<CloudEvent, String> {
    // Nothing at all is how some answer for nothing.
    if payload.is_empty() {
        return Ok(CloudEvent::Desired(Value::Null));
    }
    serde_json::from_slice(payload).map(CloudEvent::Desired).map_err(|error| {
        format!(
            "the desired state is no JSON ({error}); nothing follows from it. Write it anew in the console"
        )
    })
}

/// Sets a part of what is reported, or takes it away. `path` is below `reported`.
pub(super) fn put(path: &str, value: Option<&Value>) -> Result<coap::Request, &'static str> {
    let whole = if path.is_empty() { REPORTED.to_owned() } else { format!("{REPORTED}/{path}") };
    let path = paths::StatePath::parse(&whole)
        .map_err(|_| "the path of a state is longer than 39 bytes or has a wrong character")?;
    let path = path.uri_path();
    Ok(match value {
        Some(value) => {
            coap::Request::post(&path).payload(ContentFormat::Cbor.number(), document::encode(value))
        }
        None => coap::Request::delete(&path),
    })
}
