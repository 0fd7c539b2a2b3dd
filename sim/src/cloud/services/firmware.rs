//! Over-the-air updates: `.u/desired`, `.u/c/<package>@<version>` and reports to `.u/c/<package>`.

use super::{Reaction, Watch, bad_request, body, encoded, posts, wanted_format};
use crate::cloud::device::{DeviceKey, OtaEvent};
use crate::cloud::plane::Plane;
use crate::cloud::releases::Target;
use fieldgate_coap::{Block, Code, IncomingRequest, Method, Response, Szx, format};
use serde_json::Value;
use std::time::Duration;

pub(super) fn manifest(plane: &Plane, device: DeviceKey, request: &IncomingRequest) -> Reaction {
    match (request.method, wanted_format(request, format::CBOR)) {
        (Method::Get, Some(format)) => Reaction {
            response: manifest_content(plane, device, format),
            watch: Some(Watch::Manifest { format }),
        },
        (Method::Get, None) => Code::NOT_ACCEPTABLE.into(),
        _ => Code::METHOD_NOT_ALLOWED.into(),
    }
}

pub(super) fn manifest_content(plane: &Plane, device: DeviceKey, format: u16) -> Response {
    let target = plane.devices.get(&device).map(Target::of).unwrap_or_default();
    if format == format::CBOR {
        Response::content(format, plane.releases.manifest_cbor(target))
    } else {
        encoded(&plane.releases.manifest_json(target), format)
    }
}

/// A download or a report, by method.
pub(super) fn component(
    plane: &mut Plane,
    now: Duration,
    device: DeviceKey,
    package: &str,
    request: &IncomingRequest,
) -> Reaction {
    match request.method {
        Method::Get => artifact(plane, package, request),
        _ if posts(request) => report(plane, now, device, package, request),
        _ => Code::METHOD_NOT_ALLOWED.into(),
    }
}

/// The one block that was asked for; every block stands alone, whichever came before.
fn artifact(plane: &Plane, name: &str, request: &IncomingRequest) -> Reaction {
    if !matches!(request.accept, None | Some(format::OCTET_STREAM)) {
        return Code::NOT_ACCEPTABLE.into();
    }
    let named =
        name.split_once('@').and_then(|(package, version)| plane.releases.artifact_named(package, version));
    let (Some(artifact), Some(first)) = (named, Block::new(0, false, Szx::B1024)) else {
        return Code::NOT_FOUND.into();
    };
    let content = &artifact.content;
    if request.block2.is_none() && content.len() <= Szx::B1024.size() {
        return Response::content(format::OCTET_STREAM, content.to_vec()).into();
    }
    Response::content_block(format::OCTET_STREAM, content, request.block2.unwrap_or(first)).into()
}

/// Short or long names, in the body or (older) in the query.
fn report(
    plane: &mut Plane,
    now: Duration,
    device: DeviceKey,
    package: &str,
    request: &IncomingRequest,
) -> Reaction {
    let said = if request.payload.is_empty() && !request.query.is_empty() {
        let pairs = request.query.iter().filter_map(|item| item.split_once('='));
        Value::Object(pairs.map(|(key, value)| (key.to_owned(), query_value(value))).collect())
    } else {
        match body(request, format::CBOR) {
            Ok(said) => said,
            Err(refusal) => return refusal.into(),
        }
    };
    if !said.is_object() {
        return bad_request("a report must be a map").into();
    }
    let find = |short: &str, long: &str| said.get(short).or_else(|| said.get(long)).filter(|v| !v.is_null());
    let number = |short, long| match find(short, long) {
        None => Some(0),
        Some(value) => value.as_u64(),
    };
    let text = |short, long| find(short, long).and_then(Value::as_str).map(str::to_owned);
    let (Some(state @ 0..=3), Some(reason)) = (number("s", "state"), number("r", "reason")) else {
        return bad_request("a report's state is 0 to 3 and its reason a number").into();
    };
    let unix_ns = plane.wall.unix_ns(now);
    let name = plane.devices.get(&device).map(|device| device.name.clone()).unwrap_or_default();
    let event = OtaEvent {
        device: name,
        package: text("pkg", "package").unwrap_or_else(|| package.to_owned()),
        state,
        reason,
        version: text("v", "version"),
        target: text("t", "target"),
        unix_ns,
    };
    plane.add_ota_event(device, event);
    Code::CHANGED.into()
}

fn query_value(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from)
}
