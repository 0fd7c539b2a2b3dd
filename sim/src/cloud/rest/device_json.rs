//! A device and its credentials as the management API shows them.

use super::firmware;
use crate::cloud::SettingError;
use crate::cloud::core::Cloud;
use crate::cloud::device::{Credential, Device};
use crate::cloud::document;
use crate::cloud::wall::rfc3339;
use serde_json::{Map, Value, json};

/// What of a device's data is shown with it: what is at a path of its state, or its newest stream row of a path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Embed<'a> {
    pub(super) state: Option<&'a str>,
    pub(super) stream: Option<&'a str>,
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
        let updates =
            device.updates.iter().map(|(package, event)| (package.clone(), firmware::report_json(event)));
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
    if let Some(certificate) = &device.certificate {
        shown["certificateId"] = json!(certificate);
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
    // There even when it is empty: the vendor's client goes through it unasked.
    shown["errors"] = report.errors.iter().map(setting_error_json).collect();
    shown
}

fn setting_error_json(error: &SettingError) -> Value {
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
