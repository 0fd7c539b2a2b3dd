//! LightDB State by path, and calls.

use super::answer::{Answer, ApiError, needed, nothing, object, one};
use super::{device_by_id, the_device};
use crate::cloud::calls::CallOutcome;
use crate::cloud::core::Cloud;
use crate::cloud::device::DeviceKey;
use crate::cloud::{CloudHandle, document};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, get, put};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Path parameters: `project`, `device`, and `path` below the document's root.
type At = Path<BTreeMap<String, String>>;

pub(super) fn routes() -> MethodRouter<CloudHandle> {
    get(read).post(merge).patch(merge).put(replace).delete(remove)
}

/// The same for every device that bears a tag; nothing is read that way.
pub(super) fn routes_by_tag() -> MethodRouter<CloudHandle> {
    put(replace).post(merge).patch(merge).delete(remove)
}

async fn read(State(handle): State<CloudHandle>, Path(at): At) -> Answer {
    handle.read(|cloud| {
        let device = the_device(cloud, device_by_id(cloud, part(&at, "device"))?)?;
        one(document::get(&device.state, &below(&at)).cloned().unwrap_or(Value::Null))
    })
}

async fn merge(handle: State<CloudHandle>, at: At, body: Bytes) -> Answer {
    write(&handle, &at, &body, false)
}

async fn replace(handle: State<CloudHandle>, at: At, body: Bytes) -> Answer {
    write(&handle, &at, &body, true)
}

async fn remove(State(handle): State<CloudHandle>, Path(at): At) -> Answer {
    handle.with(|cloud, now| {
        for key in devices(cloud, &at)? {
            cloud.plane.delete_state(key, below(&at));
        }
        cloud.pump(now);
        nothing()
    })
}

fn write(handle: &CloudHandle, at: &BTreeMap<String, String>, body: &[u8], replace: bool) -> Answer {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| ApiError::invalid(&format!("invalid JSON: {error}")))?;
    handle.with(|cloud, now| {
        let (keys, path) = (devices(cloud, at)?, below(at));
        for key in &keys {
            cloud.plane.set_state(*key, path.clone(), value.clone(), replace);
        }
        cloud.pump(now);
        match keys.as_slice() {
            [key] => {
                one(document::get(&the_device(cloud, *key)?.state, &path).cloned().unwrap_or(Value::Null))
            }
            _ => one(value),
        }
    })
}

/// The device a path names, or all that bear the tag it names.
fn devices(cloud: &Cloud, at: &BTreeMap<String, String>) -> Result<Vec<DeviceKey>, ApiError> {
    let Some(tag) = at.get("tag") else { return Ok(vec![device_by_id(cloud, part(at, "device"))?]) };
    cloud.plane.tags.get(tag)?;
    let bearing = cloud.plane.devices.iter().filter(|(_, device)| device.tag_ids.contains(tag));
    Ok(bearing.map(|(key, _)| *key).collect())
}

/// Calls a method and waits for the device: 200 for whatever it answers.
pub(super) async fn call(
    State(handle): State<CloudHandle>,
    Path((_, device)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    let id = handle.with(|cloud, now| {
        let key = device_by_id(cloud, &device)?;
        let params = match body.get("params") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(params)) => params.clone(),
            Some(_) => return Err(ApiError::invalid("params must be an array")),
        };
        let id = cloud.plane.call(now, key, needed(&body, "method")?, &params);
        cloud.pump(now);
        Ok(id)
    })?;
    handle.until(|cloud| cloud.call_outcome(&id) != Some(&CallOutcome::Pending)).await;
    match handle.read(|cloud| cloud.call_outcome(&id).cloned()) {
        Some(CallOutcome::Answered { code, detail }) => {
            let mut shown = json!({"statusCode": code});
            if let Some(detail) = detail {
                shown["detail"] = detail;
            }
            Ok(Json(shown))
        }
        _ => Err(ApiError::new(4, "the device did not answer in time")),
    }
}

fn part<'a>(at: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    at.get(name).map_or("", String::as_str)
}

fn below(at: &BTreeMap<String, String>) -> Vec<String> {
    part(at, "path").split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
