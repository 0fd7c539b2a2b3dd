//! Releases as there were before cohorts.

use super::answer::{Answer, ONE_PAGE, Params, listed, masked, nothing, object, one, texts};
use super::check_id;
use crate::cloud::CloudHandle;
use crate::cloud::core::Cloud;
use crate::cloud::legacy::Release;
use crate::cloud::wall::rfc3339;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Value, json};

type OfProjectAnd = Path<(String, String)>;

pub(super) async fn list(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let bears =
            |name: &str, tags: &[String]| params.all(name).all(|wanted| tags.iter().any(|tag| tag == wanted));
        let fits = |release: &&Release| {
            bears("releaseTags", &release.release_tags)
                && bears("deviceTags", &release.device_tag_ids)
                && (params.get("ids").is_none() || params.all("ids").any(|id| id == release.id))
                && params.get("rollout").is_none_or(|wanted| wanted == release.rollout.to_string())
                && params
                    .get("blueprintId")
                    .is_none_or(|id| cloud.plane.releases.blueprint_of(release) == Some(id))
        };
        let wanted = cloud.plane.releases.legacy.iter().filter(fits);
        listed(wanted.map(|release| release_json(cloud, release)).collect(), &params, ONE_PAGE)
    })
}

pub(super) async fn read(State(handle): State<CloudHandle>, Path((_, id)): OfProjectAnd) -> Answer {
    handle.read(|cloud| {
        check_id(&id)?;
        one(release_json(cloud, cloud.plane.releases.release(&id)?))
    })
}

pub(super) async fn create(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, now| {
        let unix_ns = cloud.plane.wall.unix_ns(now);
        let release = Release {
            id: cloud.plane.ids.next(unix_ns),
            release_tags: texts(&body, "releaseTags"),
            device_tag_ids: texts(&body, "deviceTagIds"),
            artifact_ids: texts(&body, "artifactIds"),
            rollout: body.get("rollout").and_then(Value::as_bool).unwrap_or(false),
            sequence: 0,
            created_ns: unix_ns,
            updated_ns: unix_ns,
        };
        for tag in &release.device_tag_ids {
            cloud.plane.tags.get(tag)?;
        }
        let made = cloud.plane.change_releases(|releases| releases.add_release(release))?;
        cloud.pump(now);
        one(release_json(cloud, &made))
    })
}

/// Rolled out or taken back, and its tags; what is left out stays.
pub(super) async fn update(
    State(handle): State<CloudHandle>,
    Path((_, id)): OfProjectAnd,
    params: Params,
    body: Bytes,
) -> Answer {
    let (body, _) = masked(object(&body)?, &params);
    handle.with(|cloud, now| {
        check_id(&id)?;
        let mut release = cloud.plane.releases.release(&id)?.clone();
        for (whole, add, remove, tags) in [
            ("releaseTags", "addReleaseTag", "removeReleaseTag", &mut release.release_tags),
            ("deviceTagIds", "addDeviceTagId", "removeDeviceTagId", &mut release.device_tag_ids),
        ] {
            if body.get(whole).is_some_and(Value::is_array) {
                *tags = texts(&body, whole);
            }
            let gone = texts(&body, remove);
            tags.retain(|tag| !gone.contains(tag));
            tags.extend(texts(&body, add));
        }
        for tag in &release.device_tag_ids {
            cloud.plane.tags.get(tag)?;
        }
        release.rollout = body.get("rollout").and_then(Value::as_bool).unwrap_or(release.rollout);
        release.updated_ns = cloud.plane.wall.unix_ns(now);
        let changed = cloud.plane.change_releases(|releases| releases.change_release(release))?;
        cloud.pump(now);
        one(release_json(cloud, &changed))
    })
}

pub(super) async fn remove(State(handle): State<CloudHandle>, Path((_, id)): OfProjectAnd) -> Answer {
    handle.with(|cloud, now| {
        check_id(&id)?;
        cloud.plane.change_releases(|releases| releases.remove_release(&id))?;
        cloud.pump(now);
        nothing()
    })
}

fn release_json(cloud: &Cloud, release: &Release) -> Value {
    let mut shown = json!({
        "id": release.id,
        "releaseTags": release.release_tags,
        "deviceTagIds": release.device_tag_ids,
        "artifactIds": release.artifact_ids,
        "rollout": release.rollout,
        "sequenceNumber": release.sequence.to_string(),
        "createdAt": rfc3339(release.created_ns),
        "updatedAt": rfc3339(release.updated_ns),
    });
    if let Some(blueprint) = cloud.plane.releases.blueprint_of(release) {
        shown["blueprintId"] = json!(blueprint);
    }
    shown
}
