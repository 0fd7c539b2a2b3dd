//! LightDB Stream, `.s/<path>`: taken by a pipeline, or acknowledged and lost.

use super::{Reaction, body, posts};
use crate::cloud::device::{DeviceKey, StreamMessage};
use crate::cloud::intake::Arrival;
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
    let unix_ns = plane.wall.unix_ns(now);
    let path = format!("/{}", path.join("/"));
    let keep = plane.keep_messages;
    let Some(owner) = plane.devices.get_mut(&device) else { return Code::CHANGED.into() };
    if !plane.pipelines.take(&owner.name, &path, content_format, unix_ns) {
        plane.unmatched_messages += 1;
        return Code::CHANGED.into();
    }
    if path == FIRMWARE_LOG && content_format == Some(format::JSON) {
        plane.firmware_logs.enter(&owner.name, &request.payload);
    }
    if content_format == Some(format::CBOR) {
        let came = Arrival { at: now, session_since: owner.session_since };
        plane.intake.enter(&owner.name, came, &request.payload);
    }
    if keep > 0 {
        while owner.messages.len() >= keep {
            owner.messages.pop_front();
        }
        let body = request.payload.clone();
        owner.messages.push_back(StreamMessage { path, content_format, body, unix_ns, at: now });
    }
    Code::CHANGED.into()
}
