//! Packages, artifacts, cohorts and deployments.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed, needed, nothing, object, one, text, texts};
use super::{check_id, in_project};
use crate::cloud::core::Cloud;
use crate::cloud::releases::{Artifact, Cohort, Deployment, Package};
use crate::cloud::wall::rfc3339;
use crate::cloud::{CloudHandle, base64};
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;

type OfOrganizationAnd = Path<(String, String, String)>;

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
        check_id(&id)?;
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
        check_id(&id)?;
        let releases = &mut cloud.plane.releases;
        if releases.artifact(&id).is_none() {
            return Err(ApiError::new(5, "artifact not found"));
        }
        if releases.is_used(&id) {
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
        let unix_ns = cloud.plane.wall.unix_ns(now);
        let package = Package {
            description: text(&body, "description").unwrap_or_default().to_owned(),
            metadata: metadata(&body)?.unwrap_or_default(),
            created_ns: unix_ns,
            updated_ns: unix_ns,
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
    let metadata = metadata(&body)?;
    handle.with(|cloud, now| {
        let unix_ns = cloud.plane.wall.unix_ns(now);
        let package = cloud.plane.releases.packages.get_mut(&name);
        let package = package.ok_or_else(|| ApiError::new(5, "package not found"))?;
        if let Some(description) = body.get("description").and_then(Value::as_str) {
            description.clone_into(&mut package.description);
        }
        if let Some(metadata) = metadata {
            package.metadata = metadata;
        }
        package.updated_ns = unix_ns;
        one(package_json(&name, package))
    })
}

/// Its artifacts go with it. One of which an artifact is deployed stays.
pub(super) async fn remove_package(
    State(handle): State<CloudHandle>,
    Path((_, _, name)): OfOrganizationAnd,
) -> Answer {
    handle.with(|cloud, _| {
        let releases = &mut cloud.plane.releases;
        let mut own = releases.artifacts.iter().filter(|artifact| artifact.package == name);
        if own.any(|artifact| releases.is_used(&artifact.id)) {
            return Err(ApiError::new(9, "package in use"));
        }
        if releases.packages.remove(&name).is_none() {
            return Err(ApiError::new(5, "package not found"));
        }
        releases.artifacts.retain(|artifact| artifact.package != name);
        nothing()
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
    handle.with(|cloud, now| {
        let name = needed(&body, "name")?;
        let unix_ns = cloud.plane.wall.unix_ns(now);
        let cohorts = &mut cloud.plane.releases.cohorts;
        if cohorts.iter().any(|other| other.name == name && other.id != id) {
            return Err(ApiError::new(6, "cohort already exists"));
        }
        if let Some(cohort) = cohorts.iter_mut().find(|cohort| cohort.id == id) {
            name.clone_into(&mut cohort.name);
            cohort.updated_ns = unix_ns;
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
        let named = |deployment: &&Deployment| params.get("name").is_none_or(|name| name == deployment.name);
        let all = the_cohort(cloud, &id)?.deployments.iter().rev().filter(named);
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

fn the_cohort<'a>(cloud: &'a Cloud, id: &str) -> Result<&'a Cohort, ApiError> {
    cloud.plane.releases.cohort(id).ok_or_else(|| ApiError::new(5, "cohort not found"))
}

/// The notes on a package: texts by name. `None` where the body has none.
fn metadata(body: &Value) -> Result<Option<BTreeMap<String, String>>, ApiError> {
    match body.get("metadata") {
        None | Some(Value::Null) => Ok(None),
        Some(notes) => serde_json::from_value(notes.clone())
            .map(Some)
            .map_err(|_| ApiError::invalid("metadata must be a map of texts")),
    }
}

fn artifact_json(artifact: &Artifact) -> Value {
    let mut shown = json!({
        "id": artifact.id,
        "package": artifact.package,
        "version": artifact.version,
        "size": artifact.content.len().to_string(),
        // Free-form: a number here is one.
        "binaryInfo": {
            "type": artifact.kind(),
            "size": artifact.content.len(),
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
        "metadata": package.metadata,
        "createdAt": rfc3339(package.created_ns),
        "updatedAt": rfc3339(package.updated_ns),
    })
}

fn cohort_json(cloud: &Cloud, cohort: &Cohort) -> Value {
    let members = cloud.plane.devices.values().filter(|device| device.cohort.as_ref() == Some(&cohort.id));
    let mut shown = json!({
        "cohortId": cohort.id,
        "name": cohort.name,
        "deviceCount": members.count(),
        "createdAt": rfc3339(cohort.created_ns),
        "updatedAt": rfc3339(cohort.updated_ns),
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
