//! Devices and their credentials.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed, needed, nothing, object, one, text, texts};
use super::{device_by_id, the_device};
use crate::cloud::CloudHandle;
use crate::cloud::core::Cloud;
use crate::cloud::device::{Credential, Device, OtaEvent};
use crate::cloud::document;
use crate::cloud::wall::rfc3339;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

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

pub(super) async fn update(
    State(handle): State<CloudHandle>,
    Path((_, id)): OfDevice,
    params: Params,
    body: Bytes,
) -> Answer {
    let body = masked(object(&body)?, &params);
    handle.with(|cloud, now| {
        let key = device_by_id(cloud, &id)?;
        if let Some(name) = text(&body, "name")
            && cloud.plane.key_of(name).is_some_and(|other| other != key)
        {
            return Err(ApiError::new(6, &format!("a device named {name:?} exists already")));
        }
        if let Some(cohort) = body.get("cohortId") {
            let cohort = cohort.as_str().filter(|id| !id.is_empty()).map(str::to_owned);
            cloud.plane.set_cohort(key, cohort)?;
        }
        let unix_ns = cloud.plane.wall.unix_ns(now);
        if let Some(device) = cloud.plane.devices.get_mut(&key) {
            change(device, &body);
            device.updated_ns = unix_ns;
        }
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

pub(super) async fn credentials(
    State(handle): State<CloudHandle>,
    Path((_, id)): OfDevice,
    params: Params,
) -> Answer {
    handle.read(|cloud| {
        let device = the_device(cloud, device_by_id(cloud, &id)?)?;
        listed(device.credentials.iter().map(credential_json).collect(), &params, ONE_PAGE)
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

/// With `updateMask` (in the query or in the body; names joined by commas, or repeated) only the fields it names are changed, and
/// one that the body does not have is cleared.
fn masked(body: Value, params: &Params) -> Value {
    let of_body = text(&body, "updateMask").map(str::to_owned);
    let masks: Vec<String> = params.all("updateMask").map(str::to_owned).chain(of_body).collect();
    let named: Vec<&str> = masks.iter().flat_map(|mask| mask.split(',')).map(str::trim).collect();
    let Value::Object(mut fields) = body else { return body };
    if !named.is_empty() {
        fields.retain(|name, _| named.contains(&name.as_str()));
        for name in named {
            let cleared = if name.ends_with("Ids") { json!([]) } else { Value::Null };
            fields.entry(name).or_insert(cleared);
        }
    }
    Value::Object(fields)
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
        if let Some(new) = text(body, add).filter(|new| !ids.iter().any(|id| id == new)) {
            ids.push(new.to_owned());
        }
        if let Some(old) = text(body, remove) {
            ids.retain(|id| id != old);
        }
    }
}

/// What of a device's data is shown with it: what is at a path of its state, or its newest stream row of a path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Embed<'a> {
    state: Option<&'a str>,
    stream: Option<&'a str>,
}

/// A device as the API shows it. Fields that hold nothing are left out.
pub(super) fn device_json(cloud: &Cloud, device: &Device, embed: Embed<'_>) -> Value {
    let mut metadata = Map::new();
    metadata.insert("status".to_owned(), json!("-"));
    let mut shown = json!({
        "id": device.id,
        "name": device.name,
        "hardwareIds": device.hardware_ids,
        "tagIds": device.tag_ids,
        "enabled": device.enabled,
        "createdAt": rfc3339(device.created_ns),
        "updatedAt": rfc3339(device.updated_ns),
        "status": "-",
    });
    if let Some(unix_ns) = device.last_report_ns {
        shown["lastReport"] = json!(rfc3339(unix_ns));
        metadata.insert("lastReport".to_owned(), json!(rfc3339(unix_ns)));
    }
    if let Some(unix_ns) = device.last_online_ns {
        metadata.insert("lastSeenOnline".to_owned(), json!(rfc3339(unix_ns)));
    }
    if !device.updates.is_empty() {
        let updates = device.updates.iter().map(|(package, event)| (package.clone(), update_json(event)));
        metadata.insert("update".to_owned(), Value::Object(updates.collect()));
    }
    metadata.insert("lastSettingsStatus".to_owned(), settings_status_json(cloud, device));
    shown["metadata"] = Value::Object(metadata);
    if let Some(cohort) = &device.cohort {
        shown["cohortId"] = json!(cohort);
    }
    if let Some(blueprint) = &device.blueprint {
        shown["blueprintId"] = json!(blueprint);
    }
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    if let Some(path) = embed.state {
        shown["data"] = document::get(&device.state, &parts(path)).cloned().unwrap_or(Value::Null);
    } else if let Some(path) = embed.stream {
        shown["data"] = super::stream::newest(device, &parts(path)).unwrap_or(Value::Null);
    }
    shown
}

fn update_json(event: &OtaEvent) -> Value {
    let mut shown = json!({
        "package": event.package,
        "state": super::releases::event_type(event.state),
        "stateCode": event.state.to_string(),
        "reasonCode": event.reason.to_string(),
        "time": rfc3339(event.unix_ns),
    });
    if let Some(version) = &event.version {
        shown["version"] = json!(version);
    }
    if let Some(target) = &event.target {
        shown["target"] = json!(target);
    }
    shown
}

fn settings_status_json(cloud: &Cloud, device: &Device) -> Value {
    let settings = &cloud.plane.settings;
    let reported = device.settings_status.as_ref();
    let status = match reported {
        _ if settings.effective(&device.name, device.blueprint.as_deref()).is_empty() => "no-settings",
        Some(report) if report.version == Some(settings.version_ms()) && report.errors.is_empty() => {
            "in-sync"
        }
        _ => "out-of-sync",
    };
    let mut shown = json!({"status": status});
    let Some(report) = reported else { return shown };
    if let Some(version) = report.version {
        shown["reportedVersion"] = json!(version.to_string());
    }
    shown["syncTime"] = json!(rfc3339(report.unix_ns));
    if !report.errors.is_empty() {
        let error = |error: &crate::cloud::SettingError| {
            let description = match error.code {
                0 => "SETTINGS_SUCCESS",
                1 => "SETTINGS_KEY_NOT_RECOGNIZED",
                2 => "SETTINGS_KEY_NOT_VALID",
                3 => "SETTINGS_VALUE_FORMAT_NOT_VALID",
                4 => "SETTINGS_VALUE_OUTSIDE_RANGE",
                5 => "SETTINGS_VALUE_STRING_TOO_LONG",
                _ => "SETTINGS_GENERAL_ERROR",
            };
            let mut shown = json!({"key": error.key, "code": error.code, "codeDescription": description});
            if let Some(details) = &error.details {
                shown["deviceDetails"] = json!(details);
            }
            shown
        };
        shown["errors"] = report.errors.iter().map(error).collect();
    }
    shown
}

/// The key is shown: that is what the real API does.
pub(super) fn credential_json(credential: &Credential) -> Value {
    json!({
        "id": credential.id,
        "type": "PRE_SHARED_KEY",
        "identity": credential.identity,
        "preSharedKey": *credential.key,
        "createdAt": rfc3339(credential.created_ns),
    })
}
