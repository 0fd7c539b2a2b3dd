//! LightDB State, `.d/<path>`.

use super::{Reaction, Watch, body, encoded, posts, wanted_format};
use crate::cloud::device::DeviceKey;
use crate::cloud::document;
use crate::cloud::plane::Plane;
use fieldgate_coap::{Code, IncomingRequest, Method, Response, format};
use serde_json::Value;

pub(super) fn serve(
    plane: &mut Plane,
    device: DeviceKey,
    path: &[&str],
    request: &IncomingRequest,
) -> Reaction {
    let path: Vec<String> = path.iter().map(|segment| (*segment).to_owned()).collect();
    match request.method {
        Method::Get => match wanted_format(request, format::JSON) {
            Some(format) => Reaction {
                response: content(plane, device, &path, format),
                watch: Some(Watch::State { path, format }),
            },
            None => Code::NOT_ACCEPTABLE.into(),
        },
        _ if posts(request) => match body(request, format::JSON) {
            Ok(value) => {
                plane.set_state(device, path, value);
                Code::CHANGED.into()
            }
            Err(refusal) => refusal.into(),
        },
        Method::Delete => {
            plane.delete_state(device, path);
            Code::DELETED.into()
        }
        _ => Code::METHOD_NOT_ALLOWED.into(),
    }
}

/// What is at the path; null where there is nothing.
pub(super) fn content(plane: &Plane, device: DeviceKey, path: &[String], format: u16) -> Response {
    let root = plane.devices.get(&device).map(|device| &device.state);
    encoded(root.and_then(|root| document::get(root, path)).unwrap_or(&Value::Null), format)
}
