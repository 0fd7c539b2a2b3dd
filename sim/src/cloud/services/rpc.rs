//! Remote procedure calls, `.rpc` and `.rpc/status`.

use super::{Reaction, Watch, bad_request, body, encoded, posts, wanted_format};
use crate::cloud::device::DeviceKey;
use crate::cloud::plane::Plane;
use fieldgate_coap::{Code, IncomingRequest, Method, Response, format};
use serde_json::Value;

pub(super) fn observe(request: &IncomingRequest) -> Reaction {
    match (request.method, wanted_format(request, format::CBOR)) {
        (Method::Get, Some(format)) => {
            Reaction { response: greeting(format), watch: Some(Watch::Calls { format }) }
        }
        (Method::Get, None) => Code::NOT_ACCEPTABLE.into(),
        _ => Code::METHOD_NOT_ALLOWED.into(),
    }
}

/// The text "OK".
pub(super) fn greeting(format: u16) -> Response {
    encoded(&Value::from("OK"), format)
}

/// A device's answer: `id`, `statusCode` (or `status`, as once documented) and perhaps `detail`.
pub(super) fn status(plane: &mut Plane, device: DeviceKey, request: &IncomingRequest) -> Reaction {
    if !posts(request) {
        return Code::METHOD_NOT_ALLOWED.into();
    }
    let answer = match body(request, format::CBOR) {
        Ok(answer) => answer,
        Err(refusal) => return refusal.into(),
    };
    let code = answer.get("statusCode").or_else(|| answer.get("status")).and_then(Value::as_i64);
    let (Some(id), Some(code)) = (answer.get("id").and_then(Value::as_str), code) else {
        return bad_request("an answer needs id and statusCode").into();
    };
    let name = plane.devices.get(&device).map_or("", |device| device.name.as_str());
    // An answer that is late or repeated is taken and changes nothing.
    let _first = plane.calls.answer(id, name, code, answer.get("detail").cloned());
    Code::CHANGED.into()
}
