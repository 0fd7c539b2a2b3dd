//! LightDB State by path, calls, and where devices are.

use super::answer::{Answer, ApiError, Params, listed_whole, needed, nothing, number, object, one};
use super::{device_by_id, the_device};
use crate::cloud::calls::{CallOutcome, Calls};
use crate::cloud::core::Cloud;
use crate::cloud::device::{Device, DeviceKey};
use crate::cloud::wall::rfc3339;
use crate::cloud::{CloudHandle, document};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, get, put};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time a call may be given.
const LONGEST_CALL_S: u64 = 300;
/// Parts of a path.
const MOST_PARTS: usize = 64;

/// Path parameters: `project`, `device`, and `path` below the document's root.
type At = Path<BTreeMap<String, String>>;

pub(super) fn routes() -> MethodRouter<CloudHandle> {
    get(read).post(write).patch(write).put(write).delete(remove)
}

/// The same for every device that bears a tag; nothing is read that way.
pub(super) fn routes_by_tag() -> MethodRouter<CloudHandle> {
    put(write).post(write).patch(write).delete(remove)
}

async fn read(State(handle): State<CloudHandle>, Path(at): At) -> Answer {
    handle.read(|cloud| {
        let device = the_device(cloud, device_by_id(cloud, part(&at, "device"))?)?;
        one(document::get(&device.state, &below(&at)?).cloned().unwrap_or(Value::Null))
    })
}

async fn remove(State(handle): State<CloudHandle>, Path(at): At) -> Answer {
    handle.with(|cloud, now| {
        let path = below(&at)?;
        for key in devices(cloud, &at)? {
            cloud.plane.delete_state(key, path.clone());
        }
        cloud.pump(now);
        nothing()
    })
}

/// Merges, whichever of the three methods it comes by: to the real API they are one.
async fn write(State(handle): State<CloudHandle>, Path(at): At, body: Bytes) -> Answer {
    let value: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid(&format!("invalid JSON: {error}")))?;
    handle.with(|cloud, now| {
        let (keys, path) = (devices(cloud, &at)?, below(&at)?);
        for key in &keys {
            cloud.plane.set_state(*key, path.clone(), value.clone());
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
    let tag = &cloud.plane.tags.named_or_id(tag)?.id;
    let bearing = cloud.plane.devices.iter().filter(|(_, device)| device.tag_ids.contains(tag));
    Ok(bearing.map(|(key, _)| *key).collect())
}

/// Calls a method and waits for the device: 200 for whatever it answers. `timeout` is taken as seconds; what the real API takes it
/// for is not known.
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
        let patience = number(&body, "timeout")?.filter(|seconds| *seconds > 0);
        let patience =
            patience.map_or(Calls::PATIENCE, |seconds| Duration::from_secs(seconds.min(LONGEST_CALL_S)));
        let id = cloud.plane.call(now, key, needed(&body, "method")?, &params, patience);
        cloud.pump(now);
        Ok(id)
    })?;
    handle.until(|cloud| cloud.call_outcome(&id) != Some(&CallOutcome::Pending)).await;
    match handle.read(|cloud| cloud.call_outcome(&id).cloned()) {
        Some(CallOutcome::Answered { code, detail }) => {
            // Null where the device had nothing to say: the vendor's client reads it unasked.
            Ok(Json(json!({"statusCode": code, "detail": detail})))
        }
        _ => Err(ApiError::new(4, "the device did not answer in time")),
    }
}

/// Where devices last said they were; all of them, or those named.
pub(super) async fn locations(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let wanted = |device: &&Device| {
            params.get("deviceIds").is_none() || params.all("deviceIds").any(|id| id == device.id)
        };
        let shown = cloud.plane.devices.values().filter(wanted).filter_map(|device| {
            let place = device.location?;
            let mut shown = json!({
                "deviceId": device.id,
                "lat": place.latitude,
                "lon": place.longitude,
                "timestamp": rfc3339(place.unix_ns),
            });
            if let Some(accuracy) = place.accuracy {
                shown["accuracy"] = json!(accuracy);
            }
            Some(shown)
        });
        listed_whole(shown.collect())
    })
}

fn part<'a>(at: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    at.get(name).map_or("", String::as_str)
}

/// The parts of the path in the document. Deeper documents are none that could be written out.
fn below(at: &BTreeMap<String, String>) -> Result<Vec<String>, ApiError> {
    let parts = part(at, "path").split('/').filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(str::to_owned).collect();
    if parts.len() > MOST_PARTS { Err(ApiError::invalid("the path is too deep")) } else { Ok(parts) }
}
