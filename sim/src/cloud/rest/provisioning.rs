//! A device and its first key in one request, and credentials by their device's id.

use super::answer::{Answer, ApiError, Params, needed, nothing, object, one, text, texts};
use super::device_by_id;
use super::device_json::credential_json;
use crate::cloud::CloudHandle;
use crate::cloud::core::Cloud;
use crate::cloud::device::DeviceKey;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::time::Duration;
use zeroize::Zeroizing;

/// Makes a device with its first credential. Nothing stays of one whose credential is refused.
pub(super) async fn create(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let name = text(&body, "name").map_or_else(|| needed(&body, "identity"), Ok)?;
        let key = cloud.plane.add_bare_device(now, name, texts(&body, "hardwareIds"))?;
        let furnished = furnish(cloud, now, key, &body);
        if furnished.is_err() {
            cloud.plane.remove_device(key);
        }
        furnished
    })
}

/// A further credential of a device there is.
pub(super) async fn of_device(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let key = device_by_id(cloud, &id)?;
        new_credential(cloud, now, key, &body)?;
        one(json!({"deviceId": id}))
    })
}

pub(super) async fn add_credential(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let key = device_by_id(cloud, needed(&body, "deviceId")?)?;
        one(new_credential(cloud, now, key, &body)?)
    })
}

pub(super) async fn remove_credential(
    State(handle): State<CloudHandle>,
    Path((_, credential)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let device = params.get("deviceId").ok_or_else(|| ApiError::invalid("deviceId is required"))?;
    handle.with(|cloud, _| {
        let key = device_by_id(cloud, device)?;
        if cloud.plane.remove_credential(key, &credential) {
            nothing()
        } else {
            Err(ApiError::new(5, "credential not found"))
        }
    })
}

/// The identity gets the project's suffix, whether or not it came with it.
pub(super) fn new_credential(
    cloud: &mut Cloud,
    now: Duration,
    key: DeviceKey,
    body: &Value,
) -> Result<Value, ApiError> {
    if text(body, "type").is_some_and(|kind| kind != "PRE_SHARED_KEY") {
        return Err(ApiError::new(12, "the simulated cloud only knows credentials of type PRE_SHARED_KEY"));
    }
    let suffix = format!("@{}", cloud.plane.project);
    let name = needed(body, "identity")?;
    let identity = format!("{}{suffix}", name.strip_suffix(&suffix).unwrap_or(name));
    let secret = Zeroizing::new(needed(body, "preSharedKey")?.to_owned());
    Ok(credential_json(cloud.plane.add_credential(now, key, &identity, secret)?))
}

fn furnish(cloud: &mut Cloud, now: Duration, key: DeviceKey, body: &Value) -> Answer {
    new_credential(cloud, now, key, body)?;
    if let Some(cohort) = text(body, "cohortId") {
        cloud.plane.set_cohort(key, Some(cohort.to_owned()))?;
    }
    let Some(device) = cloud.plane.devices.get_mut(&key) else {
        return Err(ApiError::new(5, "device not found"));
    };
    device.tag_ids = texts(body, "tagIds");
    device.blueprint = text(body, "blueprintId").map(str::to_owned);
    one(json!({"deviceId": device.id}))
}
