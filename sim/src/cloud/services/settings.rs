//! Settings, `.c` and `.c/status`.

use super::{Reaction, Watch, bad_request, body, encoded, posts, wanted_format};
use crate::cloud::device::DeviceKey;
use crate::cloud::plane::Plane;
use crate::cloud::settings::{SettingError, SettingsStatus};
use fieldgate_coap::{Code, IncomingRequest, Method, Response, format};
use serde_json::Value;
use std::time::Duration;

/// Errors of one report that are kept.
const MOST_ERRORS: usize = 256;

pub(super) fn observe(plane: &Plane, device: DeviceKey, request: &IncomingRequest) -> Reaction {
    match (request.method, wanted_format(request, format::CBOR)) {
        (Method::Get, Some(format)) => {
            Reaction { response: content(plane, device, format), watch: Some(Watch::Settings { format }) }
        }
        (Method::Get, None) => Code::NOT_ACCEPTABLE.into(),
        _ => Code::METHOD_NOT_ALLOWED.into(),
    }
}

pub(super) fn content(plane: &Plane, device: DeviceKey, format: u16) -> Response {
    let device = plane.devices.get(&device);
    let name = device.map_or("", |device| device.name.as_str());
    let blueprint = device.and_then(|device| device.blueprint.as_deref());
    encoded(&plane.settings.told(name, blueprint), format)
}

/// A device's report: `version` as it was told, and `errors` where it could not take everything.
pub(super) fn status(
    plane: &mut Plane,
    now: Duration,
    device: DeviceKey,
    request: &IncomingRequest,
) -> Reaction {
    if !posts(request) {
        return Code::METHOD_NOT_ALLOWED.into();
    }
    let report = match body(request, format::CBOR) {
        Ok(report) => report,
        Err(refusal) => return refusal.into(),
    };
    let version = match report.get("version") {
        Some(Value::Null) => None,
        Some(version) if version.is_i64() => version.as_i64(),
        _ => return bad_request("a settings status needs its version").into(),
    };
    let errors = match report.get("errors") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(errors)) => errors.iter().take(MOST_ERRORS).map(read_error).collect(),
        Some(_) => return bad_request("errors must be an array").into(),
    };
    let unix_ns = plane.wall.unix_ns(now);
    if let Some(device) = plane.devices.get_mut(&device) {
        device.settings_status = Some(SettingsStatus { version, errors, unix_ns });
    }
    Code::CHANGED.into()
}

fn read_error(error: &Value) -> SettingError {
    SettingError {
        key: error.get("setting_key").and_then(Value::as_str).unwrap_or_default().to_owned(),
        code: error.get("error_code").and_then(Value::as_i64).unwrap_or_default(),
        details: error.get("details").and_then(Value::as_str).map(str::to_owned),
    }
}
