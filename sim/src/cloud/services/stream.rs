//! LightDB Stream, `.s/<path>`: taken by a pipeline, or acknowledged and lost. Logs are stream messages like others.

use super::{Reaction, body, posts};
use crate::cloud::device::DeviceKey;
use crate::cloud::intake::Arrival;
use crate::cloud::pipelines::{self, Came, Fate};
use crate::cloud::plane::Plane;
use fieldgate_coap::{Code, IncomingRequest, format};
use std::time::Duration;

/// Where a gateway streams its firmware log.
const FIRMWARE_LOG: &str = "/firmware_log";

pub(super) fn serve(
    plane: &mut Plane,
    now: Duration,
    device: DeviceKey,
    path: &[&str],
    request: &IncomingRequest,
) -> Reaction {
    if !posts(request) {
        return Code::METHOD_NOT_ALLOWED.into();
    }
    let content_format = request.content_format;
    match content_format {
        Some(format::CBOR | format::JSON) => {
            if let Err(refusal) = body(request, format::OCTET_STREAM) {
                return refusal.into();
            }
        }
        None | Some(format::OCTET_STREAM | format::TEXT) => {}
        Some(_) => return Code::UNSUPPORTED_CONTENT_FORMAT.into(),
    }
    plane.stream_messages += 1;
    plane.stream_bytes += request.payload.len() as u64;
    let path = format!("/{}", path.join("/"));
    let fate = enter(plane, now, device, &path, request);
    let body = request.payload.as_slice();
    let Some(owner) = plane.devices.get(&device).filter(|_| fate.is_whole()) else {
        return Code::CHANGED.into();
    };
    // The ledgers hold what was brought home whole.
    if path == FIRMWARE_LOG && content_format == Some(format::JSON) {
        plane.firmware_logs.enter(&owner.name, body);
    }
    if content_format == Some(format::CBOR) {
        let came = Arrival { at: now, session_since: owner.session_since };
        plane.intake.enter(&owner.name, came, body);
    }
    Code::CHANGED.into()
}

/// Brings a message to the pipelines, as it is. `path` begins with its slash.
pub(super) fn enter(
    plane: &mut Plane,
    now: Duration,
    device: DeviceKey,
    path: &str,
    request: &IncomingRequest,
) -> Fate {
    let (body, unix_ns) = (request.payload.as_slice(), plane.wall.unix_ns(now));
    let content_format = request.content_format;
    let fate = pipelines::deliver(plane, &Came { device, path, content_format, body, unix_ns, at: now });
    plane.unmatched_messages += u64::from(fate.unmatched > 0);
    fate
}
