//! Settings of the project and of devices.

use super::answer::{Answer, ApiError, Params, listed_counted, needed, nothing, object, one, text};
use super::{device_by_id, id_of, the_device};
use crate::cloud::CloudHandle;
use crate::cloud::core::Cloud;
use crate::cloud::settings::{DataType, Level, Setting};
use crate::cloud::wall::rfc3339;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Value, json};

/// All, or those of the device named by `deviceId`.
pub(super) async fn list(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let of = |setting: &&Setting| {
            params
                .get("deviceId")
                .is_none_or(|id| matches!(&setting.level, Level::Device(name) if id_of(cloud, name) == id))
                && params.get("blueprintId").is_none_or(|id| setting.level == Level::Blueprint(id.to_owned()))
        };
        let wanted = cloud.plane.settings.all.iter().filter(of);
        listed_counted(wanted.map(|setting| setting_json(cloud, setting)).collect())
    })
}

/// What holds for one device, overrides with its id.
pub(super) async fn of_device(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    handle.read(|cloud| {
        let device = the_device(cloud, device_by_id(cloud, &id)?)?;
        let effective = cloud.plane.settings.effective(&device.name, device.blueprint.as_deref());
        listed_counted(effective.values().map(|setting| setting_json(cloud, setting)).collect())
    })
}

pub(super) async fn create(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let data_type = match text(&body, "dataType") {
            None => None,
            Some(name) => Some(
                DataType::from_name(name)
                    .ok_or_else(|| ApiError::invalid("dataType must be string, float, integer or boolean"))?,
            ),
        };
        let level = match (text(&body, "deviceId"), text(&body, "blueprintId")) {
            (None, None) => Level::Project,
            (None, Some(id)) => Level::Blueprint(id.to_owned()),
            (Some(id), _) => Level::Device(the_device(cloud, device_by_id(cloud, id)?)?.name.clone()),
        };
        let key = needed(&body, "key")?;
        let exists = |setting: &Setting| setting.key == key && setting.level == level;
        if cloud.plane.settings.all.iter().any(exists) {
            return Err(ApiError::new(6, &format!("setting {key} already exists")));
        }
        let value = body.get("value").cloned().unwrap_or(Value::Null);
        let setting = cloud.plane.set_setting(now, key, data_type, value, level)?;
        cloud.pump(now);
        one(setting_json(cloud, &setting))
    })
}

/// A new value; key and type stay.
pub(super) async fn update(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let known = cloud.plane.settings.all.iter().find(|setting| setting.id == id).cloned();
        let known = known.ok_or_else(|| ApiError::new(5, "setting not found"))?;
        let value = body.get("value").cloned().ok_or_else(|| ApiError::invalid("value is required"))?;
        let setting = cloud.plane.set_setting(now, &known.key, None, value, known.level)?;
        cloud.pump(now);
        one(setting_json(cloud, &setting))
    })
}

pub(super) async fn remove(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    handle.with(|cloud, now| {
        if !cloud.plane.delete_setting(now, &id) {
            return Err(ApiError::new(5, "setting not found"));
        }
        cloud.pump(now);
        nothing()
    })
}

/// The types a setting may have.
pub(super) async fn data_types() -> Answer {
    let names = ["string", "float", "integer", "boolean"];
    listed_counted(names.iter().map(|name| json!({"type": name})).collect())
}

fn setting_json(cloud: &Cloud, setting: &Setting) -> Value {
    let mut shown = json!({
        "id": setting.id,
        "key": setting.key,
        "dataType": setting.data_type.name(),
        "value": setting.value,
        "projectId": cloud.plane.project,
        "createdAt": rfc3339(setting.created_ns),
        "updatedAt": rfc3339(setting.updated_ns),
    });
    match &setting.level {
        Level::Project => {}
        Level::Blueprint(id) => shown["blueprintId"] = json!(id),
        Level::Device(name) => shown["deviceId"] = json!(id_of(cloud, name)),
    }
    shown
}
