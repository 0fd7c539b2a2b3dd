//! The management API: devices, credentials and provisioning, tags and blueprints, LightDB State and Stream, logs, calls, settings,
//! packages, artifacts, cohorts, deployments, OTA events, pipelines and what they let fall, certificates, management keys.
//!
//! Conventions of the real one: `x-api-key` on every request, or the same key as a bearer; `{"data": …}` for one thing, `{"list", "page",
//! "perPage", "total"}` for many (some lists come whole, without pages), `{}` after a delete; errors `{"code", "message",
//! "details"}` with gRPC codes; 64-bit integers of messages as strings; times in RFC 3339 with nine digits; what holds nothing is left
//! out, but for what the vendor's client reads unasked. Where its behaviour is not known: a call nobody answers ends after 15 s
//! with DEADLINE_EXCEEDED; stream rows come newest first. A route of the real API that is not built answers UNIMPLEMENTED: billing and
//! usage, users and policies, boards, networks, notifications, providers of certificates, legacy output streams, switches of the project.

mod answer;
mod catalogue;
mod data;
mod device_json;
mod devices;
mod firmware;
mod legacy;
mod logs;
mod pipelines;
mod provisioning;
mod releases;
mod settings;
mod stream;

use self::answer::{Answer, ApiError, Params, listed_whole, one};
use super::CloudHandle;
use super::core::Cloud;
use super::device::{Device, DeviceKey};
use super::wall::rfc3339;
use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{DefaultBodyLimit, RawPathParams, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};
use serde_json::json;
use std::time::Duration;
use zeroize::Zeroizing;

/// Largest request body: an artifact of 64 MiB in base64 and its envelope.
const MOST_BODY_BYTES: usize = 90 << 20;

/// All routes over one cloud.
pub(super) fn router(handle: CloudHandle) -> Router {
    let project = "/v1/projects/{project}";
    let device = "/v1/projects/{project}/devices/{device}";
    let org = "/v1/organizations/{organization}/projects/{project}";
    let routes: Vec<(String, MethodRouter<CloudHandle>)> = vec![
        ("/v1/organizations".to_owned(), get(organizations)),
        ("/v1/organizations/{organization}".to_owned(), get(organization)),
        ("/v1/projects".to_owned(), get(projects)),
        (project.to_owned(), get(project_by_id)),
        (format!("{project}/devices"), get(devices::list).post(devices::create)),
        (
            device.to_owned(),
            get(devices::read).patch(devices::update).put(devices::replace).delete(devices::remove),
        ),
        (format!("{device}/credentials"), get(devices::credentials).post(devices::add_credential)),
        (format!("{device}/credentials/{{credential}}"), delete(devices::remove_credential)),
        (format!("{device}/provisioning"), post(provisioning::of_device)),
        (format!("{project}/provisioning"), post(provisioning::create)),
        (format!("{project}/credentials"), post(provisioning::add_credential)),
        (format!("{project}/credentials/{{credential}}"), delete(provisioning::remove_credential)),
        (format!("{device}/data"), data::routes()),
        (format!("{device}/data/{{*path}}"), data::routes()),
        (format!("{project}/devicesByTag/{{tag}}/data"), data::routes_by_tag()),
        (format!("{project}/devicesByTag/{{tag}}/data/{{*path}}"), data::routes_by_tag()),
        (format!("{device}/stream"), get(stream::of_device).post(stream::of_device_posted)),
        (format!("{project}/stream"), get(stream::of_project).post(stream::of_project_posted)),
        (format!("{device}/rpc"), post(data::call)),
        (format!("{device}/settings"), get(settings::of_device)),
        (format!("{project}/settings"), get(settings::list).post(settings::create)),
        (
            format!("{project}/settings/{{setting}}"),
            put(settings::update).patch(settings::update).delete(settings::remove),
        ),
        ("/v1/settings-data-types".to_owned(), get(settings::data_types)),
        (format!("{project}/logs"), get(logs::list)),
        (format!("{project}/device-activity-logs"), get(logs::activity)),
        (format!("{project}/firmware/logs"), get(firmware::logs)),
        (format!("{project}/tags"), catalogue::many(catalogue::Kind::Tags)),
        (format!("{project}/tags/{{label}}"), catalogue::single(catalogue::Kind::Tags)),
        (format!("{project}/blueprints"), catalogue::many(catalogue::Kind::Blueprints)),
        (format!("{project}/blueprints/{{label}}"), catalogue::single(catalogue::Kind::Blueprints)),
        (format!("{project}/certificates"), get(catalogue::certificates).post(catalogue::add_certificate)),
        (
            format!("{project}/certificates/{{certificate}}"),
            get(catalogue::certificate).delete(catalogue::remove_certificate),
        ),
        (format!("{project}/apikeys"), get(catalogue::keys).post(catalogue::add_key)),
        (format!("{project}/apikeys/{{key}}"), patch(catalogue::update_key).delete(catalogue::remove_key)),
        ("/v1/artifacts".to_owned(), post(releases::create_artifact)),
        (format!("{project}/artifacts"), get(releases::artifacts)),
        (
            format!("{project}/artifacts/{{artifact}}"),
            get(releases::artifact)
                .put(releases::update_artifact)
                .patch(releases::update_artifact)
                .delete(releases::remove_artifact),
        ),
        (format!("{org}/packages"), get(releases::packages).post(releases::create_package)),
        (
            format!("{org}/packages/{{package}}"),
            get(releases::package).put(releases::update_package).delete(releases::remove_package),
        ),
        (format!("{org}/cohorts"), get(releases::cohorts).post(releases::create_cohort)),
        (
            format!("{org}/cohorts/{{cohort}}"),
            get(releases::cohort).put(releases::update_cohort).delete(releases::remove_cohort),
        ),
        (format!("{org}/cohorts/{{cohort}}/deployments"), get(releases::deployments).post(releases::deploy)),
        (format!("{org}/cohorts/{{cohort}}/deployments/{{deployment}}"), get(releases::deployment)),
        (format!("{org}/ota-events"), get(firmware::events)),
        (format!("{org}/ota-events/stats"), get(firmware::event_stats)),
        (format!("{org}/location"), get(data::locations)),
        (format!("{project}/releases"), get(legacy::list).post(legacy::create)),
        (
            format!("{project}/releases/{{release}}"),
            get(legacy::read).put(legacy::update).patch(legacy::update).delete(legacy::remove),
        ),
        (format!("{org}/pipelines"), get(pipelines::list).post(pipelines::create)),
        (format!("{org}/pipelines/errors"), get(pipelines::errors)),
        (
            format!("{org}/pipelines/{{pipeline}}"),
            get(pipelines::read).put(pipelines::update).delete(pipelines::remove),
        ),
        (format!("{org}/pipelines/{{pipeline}}/errors"), get(pipelines::errors_of)),
        (format!("{org}/pipeline-unmatched"), get(pipelines::unmatched)),
        (format!("{org}/secrets"), get(pipelines::secrets).post(pipelines::add_secret)),
        (format!("{org}/secrets/{{name}}"), get(pipelines::secret).delete(pipelines::remove_secret)),
        ("/v1/{*rest}".to_owned(), any(not_built)),
    ];
    let router = routes.into_iter().fold(Router::new(), |router, (path, methods)| {
        let methods = methods.fallback(not_built);
        // Clients that join an address and an empty path leave a slash behind.
        if !path.contains("{*") {
            return router.route(&format!("{path}/"), methods.clone()).route(&path, methods);
        }
        router.route(&path, methods)
    });
    router
        .fallback(not_found)
        .layer(from_fn_with_state(handle.clone(), in_the_project))
        .layer(from_fn_with_state(handle.clone(), authorized))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .with_state(handle)
}

/// Every request carries the project's key. There are no users to log in: a bearer's token is a key as well.
async fn authorized(State(handle): State<CloudHandle>, request: Request, next: Next) -> Response {
    let bearer = |value: &HeaderValue| {
        let (kind, token) = value.to_str().ok()?.split_once(' ')?;
        kind.eq_ignore_ascii_case("bearer").then(|| Zeroizing::new(token.trim().as_bytes().to_vec()))
    };
    let key = request.headers().get("x-api-key").map(|value| Zeroizing::new(value.as_bytes().to_vec()));
    let offered = key.or_else(|| request.headers().get(AUTHORIZATION).and_then(bearer));
    match offered {
        None => ApiError::new(16, "no x-api-key in the request").into_response(),
        Some(offered) if !handle.read(|cloud| cloud.accepts_key(&offered)) => {
            ApiError::new(16, "the x-api-key is not valid").into_response()
        }
        Some(_) => next.run(request).await,
    }
}

/// Refuses a path through another project than the one there is, so that no handler has to.
async fn in_the_project(
    State(handle): State<CloudHandle>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    // A path without parameters is none of a project.
    let named = path.iter().flatten().find(|(name, _)| *name == "project");
    match named.map_or(Ok(()), |(_, project)| handle.read(|cloud| in_project(cloud, project))) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn organizations(State(handle): State<CloudHandle>) -> Answer {
    handle.read(|cloud| listed_whole(vec![organization_json(cloud)]))
}

/// Any id names the one organization there is.
async fn organization(State(handle): State<CloudHandle>) -> Answer {
    handle.read(|cloud| one(organization_json(cloud)))
}

/// The project, unless another organization's are asked for.
async fn projects(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let wanted = params.get("organizationId").is_none_or(|id| id == cloud.plane.organization);
        listed_whole(wanted.then(|| project_json(cloud)).into_iter().collect())
    })
}

async fn project_by_id(State(handle): State<CloudHandle>) -> Answer {
    handle.read(|cloud| one(project_json(cloud)))
}

async fn not_built(uri: Uri) -> ApiError {
    ApiError::new(12, &format!("the simulated cloud has no {}", uri.path()))
}

async fn not_found() -> ApiError {
    ApiError::new(5, "Not Found")
}

fn organization_json(cloud: &Cloud) -> serde_json::Value {
    let (name, since) = (&cloud.plane.organization, rfc3339(cloud.plane.wall.unix_ns(Duration::ZERO)));
    json!({"id": name, "name": name, "createdAt": since, "updatedAt": since})
}

fn project_json(cloud: &Cloud) -> serde_json::Value {
    let (plane, since) = (&cloud.plane, rfc3339(cloud.plane.wall.unix_ns(Duration::ZERO)));
    json!({
        "id": plane.project,
        "name": plane.project,
        "organizationId": plane.organization,
        "createdAt": since,
        "updatedAt": since,
    })
}

/// Refuses another project than the one there is.
fn in_project(cloud: &Cloud, project: &str) -> Result<(), ApiError> {
    if cloud.plane.project == project { Ok(()) } else { Err(ApiError::new(5, "project not found")) }
}

/// Refuses what is no id in the words of the real API.
fn check_id(id: &str) -> Result<(), ApiError> {
    if id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(ApiError::new(3, &format!("the provided hex string is not a valid ObjectID: {id}")))
    }
}

/// A device by its id; what is no id is refused with the words of the real API.
fn device_by_id(cloud: &Cloud, id: &str) -> Result<DeviceKey, ApiError> {
    check_id(id)?;
    cloud.plane.key_of_id(id).ok_or_else(|| ApiError::new(5, "device not found"))
}

fn the_device(cloud: &Cloud, key: DeviceKey) -> Result<&Device, ApiError> {
    cloud.plane.devices.get(&key).ok_or_else(|| ApiError::new(5, "device not found"))
}

/// The id of a device named in a record; the name itself once the device is gone.
fn id_of(cloud: &Cloud, name: &str) -> String {
    let key = cloud.plane.key_of(name);
    key.and_then(|key| cloud.plane.devices.get(&key)).map_or(name, |device| &device.id).to_owned()
}

/// Whether a device bears all tags of the query.
fn has_tags(cloud: &Cloud, name: &str, params: &Params) -> bool {
    if params.get("tags").is_none() {
        return true;
    }
    let device = cloud.plane.key_of(name).and_then(|key| cloud.plane.devices.get(&key));
    device.is_some_and(|device| params.all("tags").all(|tag| device.tag_ids.iter().any(|id| id == tag)))
}
