//! LightDB State by path, and calls.

use super::answer::{Answer, ApiError, needed, nothing, object, one};
use super::{device_by_id, the_device};
use crate::cloud::calls::CallOutcome;
use crate::cloud::{CloudHandle, document};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Path parameters: `project`, `device`, and `path` below the document's root.
type At = Path<BTreeMap<String, String>>;

pub(super) fn routes() -> MethodRouter<CloudHandle> {
    get(read).post(merge).patch(merge).put(replace).delete(remove)
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
        let key = device_by_id(cloud, part(&at, "device"))?;
        cloud.plane.delete_state(key, below(&at));
        cloud.pump(now);
        nothing()
    })
}

fn write(handle: &CloudHandle, at: &BTreeMap<String, String>, body: &[u8], replace: bool) -> Answer {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| ApiError::invalid(&format!("invalid JSON: {error}")))?;
    handle.with(|cloud, now| {
        let key = device_by_id(cloud, part(at, "device"))?;
        let path = below(at);
        cloud.plane.set_state(key, path.clone(), value, replace);
        cloud.pump(now);
        let state = &the_device(cloud, key)?.state;
        one(document::get(state, &path).cloned().unwrap_or(Value::Null))
    })
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
