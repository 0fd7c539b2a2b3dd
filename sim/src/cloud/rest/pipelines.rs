//! Pipelines, what they let fall, what went wrong in them, and their secrets.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed, needed, nothing, object, one};
use super::id_of;
use super::logs::window;
use crate::cloud::core::Cloud;
use crate::cloud::pipelines::{Pipeline, PipelineError};
use crate::cloud::wall::rfc3339;
use crate::cloud::{CloudHandle, base64};
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use zeroize::Zeroizing;

type OfOrganizationAnd = Path<(String, String, String)>;

pub(super) async fn list(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        listed(cloud.plane.pipelines.all.iter().map(pipeline_json).collect(), &params, ONE_PAGE)
    })
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

/// Messages no pipeline took, newest first.
pub(super) async fn unmatched(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let mut all: Vec<_> = cloud.plane.pipelines.unmatched.iter().collect();
        all.sort_by_key(|unmatched| std::cmp::Reverse(unmatched.unix_ns));
        let shown = all.into_iter().map(|unmatched| {
            json!({
                "deviceId": id_of(cloud, &unmatched.device),
                "path": unmatched.path,
                "contentType": unmatched.content_type,
                "timestamp": rfc3339(unmatched.unix_ns),
            })
        });
        listed(shown.collect(), &params, ONE_PAGE)
    })
}

pub(super) async fn errors(State(handle): State<CloudHandle>, params: Params) -> Answer {
    list_errors(&handle, &params, |_| true)
}

pub(super) async fn errors_of(
    State(handle): State<CloudHandle>,
    Path((_, _, id)): OfOrganizationAnd,
    params: Params,
) -> Answer {
    handle.read(|cloud| the_pipeline(cloud, &id).map(|_| ()))?;
    list_errors(&handle, &params, |error| error.pipeline == id)
}

/// Names only: a secret is never shown again.
pub(super) async fn secrets(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let names = cloud.plane.pipelines.secrets.keys();
        listed(names.map(|name| secret_json(name)).collect(), &params, ONE_PAGE)
    })
}

pub(super) async fn add_secret(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, _| {
        let name = needed(&body, "name")?;
        let value = Zeroizing::new(needed(&body, "value")?.to_owned());
        cloud.plane.pipelines.set_secret(name, value)?;
        one(secret_json(name))
    })
}

pub(super) async fn remove_secret(
    State(handle): State<CloudHandle>,
    Path((_, _, name)): OfOrganizationAnd,
) -> Answer {
    handle.with(|cloud, _| match cloud.plane.pipelines.secrets.remove(&name) {
        Some(_) => nothing(),
        None => Err(ApiError::new(5, "secret not found")),
    })
}

fn list_errors(handle: &CloudHandle, params: &Params, of: impl Fn(&PipelineError) -> bool) -> Answer {
    let window = window(params)?;
    handle.read(|cloud| {
        let errors = cloud.plane.pipelines.errors.iter().rev();
        let wanted = errors.filter(|error| window.contains(error.unix_ns) && of(error));
        let shown = wanted.map(|error| {
            json!({
                "pipelineId": error.pipeline,
                "step": error.step,
                "deviceId": id_of(cloud, &error.device),
                "path": error.path,
                "message": error.what,
                "timestamp": rfc3339(error.unix_ns),
            })
        });
        listed(shown.collect(), params, ONE_PAGE)
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
    json!({
        "id": pipeline.id,
        "name": pipeline.name,
        "enabled": pipeline.enabled,
        "pipeline": base64::encode(pipeline.yaml.as_bytes()),
        "createdAt": rfc3339(pipeline.created_ns),
        "updatedAt": rfc3339(pipeline.updated_ns),
    })
}

fn secret_json(name: &str) -> Value {
    json!({"name": name, "type": "PIPELINE"})
}
