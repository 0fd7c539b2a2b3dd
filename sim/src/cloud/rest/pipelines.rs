//! Pipelines, what they let fall, what went wrong in them, and their secrets.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed_whole, needed, nothing, object, one};
use super::id_of;
use super::logs::window;
use crate::cloud::core::Cloud;
use crate::cloud::pipelines::{Pipeline, event_type};
use crate::cloud::wall::rfc3339;
use crate::cloud::{CloudHandle, base64};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

type OfOrganizationAnd = Path<(String, String, String)>;

/// Without what they say: that is shown of one at a time.
pub(super) async fn list(State(handle): State<CloudHandle>) -> Answer {
    handle.read(|cloud| listed_whole(cloud.plane.pipelines.all.iter().map(head_json).collect()))
}

pub(super) async fn read(State(handle): State<CloudHandle>, Path((_, _, id)): OfOrganizationAnd) -> Answer {
    handle.read(|cloud| one(pipeline_json(the_pipeline(cloud, &id)?)))
}

pub(super) async fn create(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    let yaml = yaml_of(&body)?.ok_or_else(|| ApiError::invalid("pipeline is required"))?;
    let enabled = body.get("enabled").and_then(Value::as_bool).unwrap_or(false);
    handle.with(|cloud, now| {
        one(pipeline_json(cloud.plane.put_pipeline(now, None, needed(&body, "name")?, enabled, &yaml)?))
    })
}

/// What is left out stays.
pub(super) async fn update(
    State(handle): State<CloudHandle>,
    Path((_, _, id)): OfOrganizationAnd,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    let yaml = yaml_of(&body)?;
    handle.with(|cloud, now| {
        let known = the_pipeline(cloud, &id)?.clone();
        let name = body.get("name").and_then(Value::as_str).unwrap_or(&known.name);
        let enabled = body.get("enabled").and_then(Value::as_bool).unwrap_or(known.enabled);
        if yaml.is_none() && name == known.name {
            // Switched on or off: a route stays one.
            if let Some(pipeline) = cloud.plane.pipelines.all.iter_mut().find(|pipeline| pipeline.id == id) {
                pipeline.enabled = enabled;
            }
            return one(pipeline_json(the_pipeline(cloud, &id)?));
        }
        let yaml = yaml.unwrap_or(known.yaml);
        one(pipeline_json(cloud.plane.put_pipeline(now, Some(id), name, enabled, &yaml)?))
    })
}

pub(super) async fn remove(State(handle): State<CloudHandle>, Path((_, _, id)): OfOrganizationAnd) -> Answer {
    handle.with(|cloud, _| {
        the_pipeline(cloud, &id)?;
        cloud.plane.pipelines.all.retain(|pipeline| pipeline.id != id);
        nothing()
    })
}

/// Messages no pipeline took, newest first: where to, of which type, when the last came. Not from whom.
pub(super) async fn unmatched(State(handle): State<CloudHandle>) -> Answer {
    handle.read(|cloud| {
        // Of several devices the newest message counts.
        let mut newest: BTreeMap<(&str, &str), i128> = BTreeMap::new();
        for one in &cloud.plane.pipelines.unmatched {
            let at = newest.entry((&one.path, &one.content_type)).or_insert(one.unix_ns);
            *at = one.unix_ns.max(*at);
        }
        let mut all: Vec<_> = newest.into_iter().collect();
        all.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        let shown = all.into_iter().map(|((path, content_type), at)| {
            json!({"path": path, "contentType": content_type, "timestamp": rfc3339(at)})
        });
        listed_whole(shown.collect())
    })
}

/// How many errors each pipeline had, by the day. What the real API divides them by is not known.
pub(super) async fn errors(State(handle): State<CloudHandle>, params: Params) -> Answer {
    const DAY_NS: i128 = 86_400_000_000_000;
    let window = window(&params)?;
    handle.read(|cloud| {
        let mut days: BTreeMap<i128, BTreeMap<&str, u64>> = BTreeMap::new();
        for error in cloud.plane.pipelines.errors.iter().filter(|error| window.contains(error.unix_ns)) {
            let day = days.entry(error.unix_ns.div_euclid(DAY_NS)).or_default();
            *day.entry(&error.pipeline).or_default() += 1;
        }
        let shown = days.into_iter().map(|(day, counts)| {
            let counts = counts.into_iter().map(|(id, errors)| json!({"id": id, "errors": errors}));
            (rfc3339(day * DAY_NS), json!({"errors": counts.collect::<Vec<_>>()}))
        });
        Ok(Json(json!({"errors": shown.collect::<Map<_, _>>()})))
    })
}

/// The errors of one pipeline, newest first, at most `limit`. `source` and `type` are those of the event: the device and where to.
pub(super) async fn errors_of(
    State(handle): State<CloudHandle>,
    Path((_, _, id)): OfOrganizationAnd,
    params: Params,
) -> Answer {
    let (window, limit) = (window(&params)?, params.number("limit")?.unwrap_or(ONE_PAGE));
    handle.read(|cloud| {
        the_pipeline(cloud, &id)?;
        let errors = cloud.plane.pipelines.errors.iter().rev();
        let wanted = errors.filter(|error| window.contains(error.unix_ns) && error.pipeline == id);
        let shown = wanted.take(limit.clamp(1, ONE_PAGE)).map(|error| {
            json!({
                "error": error.what,
                "source": id_of(cloud, &error.device),
                "step": error.place,
                "type": event_type(&error.path),
                "timestamp": rfc3339(error.unix_ns),
            })
        });
        Ok(Json(json!({"errors": shown.collect::<Vec<_>>()})))
    })
}

/// Names only: a secret is never shown again.
pub(super) async fn secrets(State(handle): State<CloudHandle>) -> Answer {
    handle.read(|cloud| {
        let names = cloud.plane.pipelines.secrets.keys();
        listed_whole(names.map(|name| secret_json(name)).collect())
    })
}

pub(super) async fn secret(
    State(handle): State<CloudHandle>,
    Path((_, _, name)): OfOrganizationAnd,
) -> Answer {
    let name = name.to_ascii_uppercase();
    handle.read(|cloud| match cloud.plane.pipelines.secrets.contains_key(&name) {
        true => one(secret_json(&name)),
        false => Err(ApiError::new(5, "secret not found")),
    })
}

pub(super) async fn add_secret(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, _| {
        let name = needed(&body, "name")?;
        let value = Zeroizing::new(needed(&body, "secret")?.to_owned());
        cloud.plane.pipelines.add_secret(name, value)?;
        one(secret_json(&name.to_ascii_uppercase()))
    })
}

pub(super) async fn remove_secret(
    State(handle): State<CloudHandle>,
    Path((_, _, name)): OfOrganizationAnd,
) -> Answer {
    handle.with(|cloud, _| match cloud.plane.pipelines.secrets.remove(&name.to_ascii_uppercase()) {
        Some(_) => nothing(),
        None => Err(ApiError::new(5, "secret not found")),
    })
}

fn the_pipeline<'a>(cloud: &'a Cloud, id: &str) -> Result<&'a Pipeline, ApiError> {
    let found = cloud.plane.pipelines.all.iter().find(|pipeline| pipeline.id == id);
    found.ok_or_else(|| ApiError::new(5, "pipeline not found"))
}

fn yaml_of(body: &Value) -> Result<Option<String>, ApiError> {
    let Some(text) = body.get("pipeline").and_then(Value::as_str) else { return Ok(None) };
    let bytes = base64::decode(text).ok_or_else(|| ApiError::invalid("pipeline must be base64"))?;
    let yaml = String::from_utf8(bytes).map_err(|_| ApiError::invalid("pipeline must be text"))?;
    Ok(Some(yaml))
}

fn pipeline_json(pipeline: &Pipeline) -> Value {
    let mut shown = head_json(pipeline);
    shown["pipeline"] = json!(base64::encode(pipeline.yaml.as_bytes()));
    shown
}

fn head_json(pipeline: &Pipeline) -> Value {
    json!({
        "pipelineId": pipeline.id,
        "name": pipeline.name,
        "enabled": pipeline.enabled,
        "createdAt": rfc3339(pipeline.created_ns),
        "updatedAt": rfc3339(pipeline.updated_ns),
    })
}

fn secret_json(name: &str) -> Value {
    json!({"name": name, "type": "PIPELINE"})
}
