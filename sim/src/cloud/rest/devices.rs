//! Devices and their credentials.

use super::answer::{
    Answer, ApiError, ONE_PAGE, Params, clear, listed, listed_whole, masked, needed, nothing, object, one,
    text, texts,
};
use super::device_json::{Embed, credential_json, device_json};
use super::{device_by_id, the_device};
use crate::cloud::CloudHandle;
use crate::cloud::core::Cloud;
use crate::cloud::device::Device;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::Value;

type OfDevice = Path<(String, String)>;

pub(super) async fn list(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let fits = |device: &Device| {
            let has_id = |wanted: &str| device.hardware_ids.iter().any(|id| id == wanted);
            let mentions = |term: &str| {
                device.name.contains(term) || device.hardware_ids.iter().any(|id| id.contains(term))
            };
            params.get("deviceName").is_none_or(|wanted| device.name == wanted)
                && params.get("hardwareId").is_none_or(has_id)
                && params.get("blueprintId").is_none_or(|wanted| device.blueprint.as_deref() == Some(wanted))
                && params.get("cohortId").is_none_or(|wanted| device.cohort.as_deref() == Some(wanted))
                && params.get("enabled").is_none_or(|wanted| wanted == device.enabled.to_string())
                && params.get("term").is_none_or(mentions)
                && params.all("tags").all(|tag| device.tag_ids.iter().any(|id| id == tag))
        };
        let devices = cloud.plane.devices.values().filter(|device| fits(device));
        let embed = Embed { state: params.get("statePath"), stream: params.get("streamPath") };
        let shown = devices.map(|device| device_json(cloud, device, embed)).collect();
        listed(shown, &params, ONE_PAGE)
    })
}

pub(super) async fn read(State(handle): State<CloudHandle>, Path((_, id)): OfDevice) -> Answer {
    handle.read(|cloud| {
        let device = the_device(cloud, device_by_id(cloud, &id)?)?;
        one(device_json(cloud, device, Embed::default()))
    })
}

pub(super) async fn create(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        all_there(cloud, &body)?;
        let hardware_ids = texts(&body, "hardwareIds");
        let key = cloud.plane.add_bare_device(now, needed(&body, "name")?, hardware_ids)?;
        if let Some(device) = cloud.plane.devices.get_mut(&key) {
            device.tag_ids = texts(&body, "tagIds");
            device.blueprint = text(&body, "blueprintId").map(str::to_owned);
        }
        if let Some(cohort) = text(&body, "cohortId") {
            cloud.plane.set_cohort(key, Some(cohort.to_owned()))?;
        }
        one(device_json(cloud, the_device(cloud, key)?, Embed::default()))
    })
}

/// Changes the fields that are named.
pub(super) async fn update(
    State(handle): State<CloudHandle>,
    Path((_, id)): OfDevice,
    params: Params,
    body: Bytes,
) -> Answer {
    let (body, _) = masked(object(&body)?, &params);
    write(&handle, &id, &body)
}

/// Replaces a device: of the fields that are lists or optional, one that is left out is cleared. With a mask it is an update.
pub(super) async fn replace(
    State(handle): State<CloudHandle>,
    Path((_, id)): OfDevice,
    params: Params,
    body: Bytes,
) -> Answer {
    let (mut body, with_mask) = masked(object(&body)?, &params);
    if let Value::Object(fields) = &mut body
        && !with_mask
    {
        for name in ["hardwareIds", "tagIds", "blueprintId", "cohortId"] {
            clear(fields, name);
        }
    }
    write(&handle, &id, &body)
}

fn write(handle: &CloudHandle, id: &str, body: &Value) -> Answer {
    handle.with(|cloud, now| {
        let key = device_by_id(cloud, id)?;
        all_there(cloud, body)?;
        if let Some(name) = text(body, "name")
            && cloud.plane.key_of(name).is_some_and(|other| other != key)
        {
            return Err(ApiError::new(6, &format!("a device named {name:?} exists already")));
        }
        if let Some(cohort) = body.get("cohortId") {
            let cohort = cohort.as_str().filter(|id| !id.is_empty()).map(str::to_owned);
            cloud.plane.set_cohort(key, cohort)?;
        }
        let unix_ns = cloud.plane.wall.unix_ns(now);
        let before = cloud.plane.manifest_sequence(key);
        if let Some(device) = cloud.plane.devices.get_mut(&key) {
            change(device, body);
            device.updated_ns = unix_ns;
        }
        cloud.plane.notice_if_manifest_changed(key, before);
        if let Some(enabled) = body.get("enabled").and_then(Value::as_bool) {
            cloud.plane.keys.enable(key, enabled);
        }
        cloud.pump(now);
        one(device_json(cloud, the_device(cloud, key)?, Embed::default()))
    })
}

pub(super) async fn remove(State(handle): State<CloudHandle>, Path((_, id)): OfDevice) -> Answer {
    handle.with(|cloud, _| {
        let key = device_by_id(cloud, &id)?;
        cloud.plane.remove_device(key);
        nothing()
    })
}

pub(super) async fn credentials(State(handle): State<CloudHandle>, Path((_, id)): OfDevice) -> Answer {
    handle.read(|cloud| {
        let device = the_device(cloud, device_by_id(cloud, &id)?)?;
        listed_whole(device.credentials.iter().map(credential_json).collect())
    })
}

pub(super) async fn add_credential(
    State(handle): State<CloudHandle>,
    Path((_, id)): OfDevice,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let key = device_by_id(cloud, &id)?;
        one(super::provisioning::new_credential(cloud, now, key, &body)?)
    })
}

pub(super) async fn remove_credential(
    State(handle): State<CloudHandle>,
    Path((_, id, credential)): Path<(String, String, String)>,
) -> Answer {
    handle.with(|cloud, _| {
        let key = device_by_id(cloud, &id)?;
        if cloud.plane.remove_credential(key, &credential) {
            nothing()
        } else {
            Err(ApiError::new(5, "credential not found"))
        }
    })
}

/// Refuses tags and blueprints that there are none of, before anything is changed.
fn all_there(cloud: &Cloud, body: &Value) -> Result<(), ApiError> {
    for list in ["tagIds", "addTagId"] {
        for tag in texts(body, list) {
            cloud.plane.tags.get(&tag)?;
        }
    }
    if let Some(blueprint) = text(body, "blueprintId") {
        cloud.plane.blueprints.get(blueprint)?;
    }
    match text(body, "cohortId") {
        Some(cohort) if cloud.plane.releases.cohort(cohort).is_none() => {
            Err(ApiError::new(5, "cohort not found"))
        }
        _ => Ok(()),
    }
}

/// The fields of an update that concern only the device itself.
fn change(device: &mut Device, body: &Value) {
    if let Some(name) = text(body, "name") {
        name.clone_into(&mut device.name);
    }
    if let Some(enabled) = body.get("enabled").and_then(Value::as_bool) {
        device.enabled = enabled;
    }
    if let Some(blueprint) = body.get("blueprintId") {
        device.blueprint = blueprint.as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    }
    for (whole, add, remove, ids) in [
        ("hardwareIds", "addHardwareId", "removeHardwareId", &mut device.hardware_ids),
        ("tagIds", "addTagId", "removeTagId", &mut device.tag_ids),
    ] {
        if body.get(whole).is_some_and(Value::is_array) {
            *ids = texts(body, whole);
        }
        for new in texts(body, add) {
            if !ids.contains(&new) {
                ids.push(new);
            }
        }
        let gone = texts(body, remove);
        ids.retain(|id| !gone.contains(id));
    }
}
