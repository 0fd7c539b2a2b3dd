//! Packages, artifacts, cohorts, deployments and OTA events.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed, needed, nothing, object, one, text, texts};
use super::logs::window;
use super::{id_of, in_project};
use crate::cloud::core::Cloud;
use crate::cloud::releases::{Artifact, Cohort, Deployment, Package};
use crate::cloud::wall::{parse_rfc3339, rfc3339};
use crate::cloud::{CloudHandle, base64};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Value, json};

type OfOrganizationAnd = Path<(String, String, String)>;

/// The names of the four states of a component.
pub(super) fn event_type(state: u64) -> &'static str {
    match state {
        1 => "DOWNLOADING",
        2 => "DOWNLOADED",
        3 => "UPDATING",
        _ => "IDLE",
    }
}

pub(super) async fn create_artifact(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    let content = base64::decode(text(&body, "content").unwrap_or_default())
        .ok_or_else(|| ApiError::invalid("content must be base64"))?;
    handle.with(|cloud, now| {
        in_project(cloud, needed(&body, "projectId")?)?;
        let (package, version) = (needed(&body, "package")?, needed(&body, "version")?);
        let unix_ns = cloud.plane.wall.unix_ns(now);
        let id = cloud.plane.ids.next(unix_ns);
        let blueprint = text(&body, "blueprintId").map(str::to_owned);
        let artifact = cloud.plane.releases.add_artifact(id, package, version, content, unix_ns)?;
        artifact.blueprint = blueprint;
        one(artifact_json(artifact))
    })
}

pub(super) async fn artifacts(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let fits = |artifact: &&Artifact| {
            params.get("version").is_none_or(|version| version == artifact.version)
                && params.get("package").is_none_or(|package| package == artifact.package)
                && params.get("blueprintId").is_none_or(|id| artifact.blueprint.as_deref() == Some(id))
                && (params.get("ids").is_none() || params.all("ids").any(|id| id == artifact.id))
        };
        let wanted = cloud.plane.releases.artifacts.iter().filter(fits);
        listed(wanted.map(artifact_json).collect(), &params, ONE_PAGE)
    })
}

pub(super) async fn artifact(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    handle.read(|cloud| {
        let artifact = cloud.plane.releases.artifact(&id);
        one(artifact_json(artifact.ok_or_else(|| ApiError::new(5, "artifact not found"))?))
    })
}

/// Of an artifact only its blueprint may change; there is nothing else a device would notice.
pub(super) async fn update_artifact(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let unix_ns = cloud.plane.wall.unix_ns(now);
        let artifact = cloud.plane.releases.artifacts.iter_mut().find(|artifact| artifact.id == id);
        let artifact = artifact.ok_or_else(|| ApiError::new(5, "artifact not found"))?;
        if let Some(blueprint) = body.get("blueprintId") {
            artifact.blueprint = blueprint.as_str().filter(|id| !id.is_empty()).map(str::to_owned);
        }
        artifact.updated_ns = unix_ns;
        one(artifact_json(artifact))
    })
}

/// One that is deployed stays.
pub(super) async fn remove_artifact(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    handle.with(|cloud, _| {
        let releases = &mut cloud.plane.releases;
        if releases.artifact(&id).is_none() {
            return Err(ApiError::new(5, "artifact not found"));
        }
        let deployed = |cohort: &Cohort| {
            cohort.deployments.last().is_some_and(|active| active.artifact_ids.contains(&id))
        };
        if releases.cohorts.iter().any(deployed) {
            return Err(ApiError::new(9, "artifact in use"));
        }
        releases.artifacts.retain(|artifact| artifact.id != id);
        nothing()
    })
}

pub(super) async fn packages(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let all = cloud.plane.releases.packages.iter();
        listed(all.map(|(name, package)| package_json(name, package)).collect(), &params, ONE_PAGE)
    })
}

pub(super) async fn package(
    State(handle): State<CloudHandle>,
    Path((_, _, name)): OfOrganizationAnd,
) -> Answer {
    handle.read(|cloud| {
        let package = cloud.plane.releases.packages.get(&name);
        one(package_json(&name, package.ok_or_else(|| ApiError::new(5, "package not found"))?))
    })
}

pub(super) async fn create_package(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let name = needed(&body, "packageId")?;
        let package = Package {
            description: text(&body, "description").unwrap_or_default().to_owned(),
            metadata: body.get("metadata").cloned().unwrap_or_else(|| json!({})),
            created_ns: cloud.plane.wall.unix_ns(now),
        };
        cloud.plane.releases.add_package(name, package.clone())?;
        one(package_json(name, &package))
    })
}

/// What is left out stays.
pub(super) async fn update_package(
    State(handle): State<CloudHandle>,
    Path((_, _, name)): OfOrganizationAnd,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, _| {
        let package = cloud.plane.releases.packages.get_mut(&name);
        let package = package.ok_or_else(|| ApiError::new(5, "package not found"))?;
        if let Some(description) = body.get("description").and_then(Value::as_str) {
            description.clone_into(&mut package.description);
        }
        if let Some(metadata) = body.get("metadata") {
            package.metadata = metadata.clone();
        }
        one(package_json(&name, package))
    })
}

/// One that has artifacts stays.
pub(super) async fn remove_package(
    State(handle): State<CloudHandle>,
    Path((_, _, name)): OfOrganizationAnd,
) -> Answer {
    handle.with(|cloud, _| {
        let releases = &mut cloud.plane.releases;
        if releases.artifacts.iter().any(|artifact| artifact.package == name) {
            return Err(ApiError::new(9, "package in use"));
        }
        match releases.packages.remove(&name) {
            Some(_) => nothing(),
            None => Err(ApiError::new(5, "package not found")),
        }
    })
}

pub(super) async fn cohorts(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let all = cloud.plane.releases.cohorts.iter();
        listed(all.map(|cohort| cohort_json(cloud, cohort)).collect(), &params, ONE_PAGE)
    })
}

pub(super) async fn cohort(State(handle): State<CloudHandle>, Path((_, _, id)): OfOrganizationAnd) -> Answer {
    handle.read(|cloud| one(cohort_json(cloud, the_cohort(cloud, &id)?)))
}

pub(super) async fn create_cohort(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let unix_ns = cloud.plane.wall.unix_ns(now);
        let id = cloud.plane.ids.next(unix_ns);
        cloud.plane.releases.add_cohort(id.clone(), needed(&body, "name")?, unix_ns)?;
        one(cohort_json(cloud, the_cohort(cloud, &id)?))
    })
}

pub(super) async fn update_cohort(
    State(handle): State<CloudHandle>,
    Path((_, _, id)): OfOrganizationAnd,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, _| {
        let name = needed(&body, "name")?;
        let cohorts = &mut cloud.plane.releases.cohorts;
        if cohorts.iter().any(|other| other.name == name && other.id != id) {
            return Err(ApiError::new(6, "cohort already exists"));
        }
        if let Some(cohort) = cohorts.iter_mut().find(|cohort| cohort.id == id) {
            name.clone_into(&mut cohort.name);
        }
        one(cohort_json(cloud, the_cohort(cloud, &id)?))
    })
}

/// One that has devices stays.
pub(super) async fn remove_cohort(
    State(handle): State<CloudHandle>,
    Path((_, _, id)): OfOrganizationAnd,
) -> Answer {
    handle.with(|cloud, _| {
        the_cohort(cloud, &id)?;
        if cloud.plane.devices.values().any(|device| device.cohort.as_ref() == Some(&id)) {
            return Err(ApiError::new(9, "cohort in use"));
        }
        cloud.plane.releases.cohorts.retain(|cohort| cohort.id != id);
        nothing()
    })
}

pub(super) async fn deployments(
    State(handle): State<CloudHandle>,
    Path((_, _, id)): OfOrganizationAnd,
    params: Params,
) -> Answer {
    handle.read(|cloud| {
        let all = the_cohort(cloud, &id)?.deployments.iter().rev();
        listed(all.map(deployment_json).collect(), &params, ONE_PAGE)
    })
}

pub(super) async fn deployment(
    State(handle): State<CloudHandle>,
    Path((_, _, cohort, id)): Path<(String, String, String, String)>,
) -> Answer {
    handle.read(|cloud| {
        let found = the_cohort(cloud, &cohort)?.deployments.iter().find(|deployment| deployment.id == id);
        one(deployment_json(found.ok_or_else(|| ApiError::new(5, "deployment not found"))?))
    })
}

/// Becomes the cohort's active deployment; its devices are told at once.
pub(super) async fn deploy(
    State(handle): State<CloudHandle>,
    Path((_, _, cohort)): OfOrganizationAnd,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        the_cohort(cloud, &cohort)?;
        let artifacts = texts(&body, "artifactIds");
        if artifacts.is_empty() {
            return Err(ApiError::invalid("artifactIds is required"));
        }
        cloud.plane.deploy(now, &cohort, text(&body, "name").unwrap_or_default(), artifacts)?;
        cloud.pump(now);
        let active = the_cohort(cloud, &cohort)?.deployments.last();
        one(deployment_json(active.ok_or_else(|| ApiError::new(5, "deployment not found"))?))
    })
}

/// Newest first, `limit` at a time from `pageToken`.
pub(super) async fn events(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let time = |name: &str, open| match params.get(name) {
            None => Ok(open),
            Some(text) => parse_rfc3339(text)
                .ok_or_else(|| ApiError::invalid(&format!("{name} is not a time in RFC 3339"))),
        };
        let span = time("startTime", i128::MIN)?..=time("endTime", i128::MAX)?;
        let window = window(&params)?;
        let wanted = cloud.plane.ota_events.iter().rev().filter_map(|event| {
            let device = id_of(cloud, &event.device);
            let of_cohort = |cohort: &str| {
                let key = cloud.plane.key_of(&event.device);
                let device = key.and_then(|key| cloud.plane.devices.get(&key));
                device.is_some_and(|device| device.cohort.as_deref() == Some(cohort))
            };
            let fits = span.contains(&event.unix_ns)
                && window.contains(event.unix_ns)
                && params.get("deviceId").is_none_or(|id| id == device)
                && params.get("packageId").is_none_or(|package| package == event.package)
                && params.get("eventType").is_none_or(|kind| kind == event_type(event.state))
                && params.get("status").is_none_or(|status| status == event.reason.to_string())
                && params.get("cohortId").is_none_or(of_cohort);
            fits.then(|| {
                let mut shown = json!({
                    "deviceId": device,
                    "packageId": event.package,
                    "eventType": event_type(event.state),
                    "status": event.reason,
                    "message": "",
                    "timestamp": rfc3339(event.unix_ns),
                });
                if let Some(version) = &event.version {
                    shown["currentVersion"] = json!(version);
                }
                if let Some(target) = &event.target {
                    shown["targetVersion"] = json!(target);
                }
                shown
            })
        });
        let wanted: Vec<Value> = wanted.collect();
        let from = params.number("pageToken")?.unwrap_or(0);
        let limit = params.number("limit")?.unwrap_or(ONE_PAGE).clamp(1, ONE_PAGE);
        let total = wanted.len();
        let list: Vec<Value> = wanted.into_iter().skip(from).take(limit).collect();
        let mut page = json!({"list": list});
        if from.saturating_add(limit) < total {
            page["nextPageToken"] = json!(from.saturating_add(limit).to_string());
        }
        if from > 0 {
            page["prevPageToken"] = json!(from.saturating_sub(limit).to_string());
        }
        Ok(Json(page))
    })
}

fn the_cohort<'a>(cloud: &'a Cloud, id: &str) -> Result<&'a Cohort, ApiError> {
    cloud.plane.releases.cohort(id).ok_or_else(|| ApiError::new(5, "cohort not found"))
}

fn artifact_json(artifact: &Artifact) -> Value {
    let mut shown = json!({
        "id": artifact.id,
        "package": artifact.package,
        "version": artifact.version,
        "size": artifact.content.len().to_string(),
        "binaryInfo": {
            "size": artifact.content.len().to_string(),
            "digests": {"sha256": {"algorithm": "sha256", "digest": artifact.sha256}},
        },
        "createdAt": rfc3339(artifact.created_ns),
        "updatedAt": rfc3339(artifact.updated_ns),
    });
    if let Some(blueprint) = &artifact.blueprint {
        shown["blueprintId"] = json!(blueprint);
    }
    shown
}

fn package_json(name: &str, package: &Package) -> Value {
    json!({
        "packageId": name,
        "description": package.description,
        "metadata": if package.metadata.is_object() { package.metadata.clone() } else { json!({}) },
        "createdAt": rfc3339(package.created_ns),
    })
}

fn cohort_json(cloud: &Cloud, cohort: &Cohort) -> Value {
    let members = cloud.plane.devices.values().filter(|device| device.cohort.as_ref() == Some(&cohort.id));
    let mut shown = json!({
        "cohortId": cohort.id,
        "name": cohort.name,
        "deviceCount": members.count(),
        "createdAt": rfc3339(cohort.created_ns),
    });
    if let Some(active) = cohort.deployments.last() {
        shown["activeDeploymentId"] = json!(active.id);
    }
    shown
}

fn deployment_json(deployment: &Deployment) -> Value {
    json!({
        "deploymentId": deployment.id,
        "name": deployment.name,
        "artifactIds": deployment.artifact_ids,
        "createdAt": rfc3339(deployment.created_ns),
    })
}
