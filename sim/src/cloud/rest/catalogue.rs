//! Tags and blueprints, certificates of authorities, and management keys.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed, needed, nothing, object, one, text};
use crate::cloud::catalogue::{Certificate, Label, Labels, ProjectKey};
use crate::cloud::config::ApiKey;
use crate::cloud::core::Cloud;
use crate::cloud::wall::rfc3339;
use crate::cloud::{CloudHandle, base64};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};
use zeroize::Zeroizing;

const MOST_CERTIFICATES: usize = 64;
const MOST_KEYS: usize = 64;

type OfProjectAnd = Path<(String, String)>;

/// Which of the two a route is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Tags,
    Blueprints,
}

impl Kind {
    fn of(self, cloud: &Cloud) -> &Labels {
        match self {
            Self::Tags => &cloud.plane.tags,
            Self::Blueprints => &cloud.plane.blueprints,
        }
    }

    fn of_mut(self, cloud: &mut Cloud) -> &mut Labels {
        match self {
            Self::Tags => &mut cloud.plane.tags,
            Self::Blueprints => &mut cloud.plane.blueprints,
        }
    }
}

/// All of a kind.
pub(super) fn many(kind: Kind) -> MethodRouter<CloudHandle> {
    let list = move |State(handle): State<CloudHandle>, params: Params| async move {
        handle.read(|cloud| {
            let fits = |label: &&Label| params.get("name").is_none_or(|name| name == label.name);
            let wanted = kind.of(cloud).all.iter().filter(fits);
            listed(wanted.map(|label| label_json(cloud, kind, label)).collect(), &params, ONE_PAGE)
        })
    };
    let create = move |State(handle): State<CloudHandle>, body: Bytes| async move {
        let body = object(&body)?;
        handle.with(|cloud, now| {
            let unix_ns = cloud.plane.wall.unix_ns(now);
            let id = cloud.plane.ids.next(unix_ns);
            let label = kind.of_mut(cloud).add(id, needed(&body, "name")?, unix_ns)?.clone();
            one(label_json(cloud, kind, &label))
        })
    };
    get(list).post(create)
}

/// One of a kind.
pub(super) fn single(kind: Kind) -> MethodRouter<CloudHandle> {
    let read = move |State(handle): State<CloudHandle>, Path((_, id)): OfProjectAnd| async move {
        handle.read(|cloud| one(label_json(cloud, kind, kind.of(cloud).get(&id)?)))
    };
    let update = move |State(handle): State<CloudHandle>, Path((_, id)): OfProjectAnd, body: Bytes| async move {
        let body = object(&body)?;
        handle.with(|cloud, now| {
            let unix_ns = cloud.plane.wall.unix_ns(now);
            let label = kind.of_mut(cloud).rename(&id, needed(&body, "name")?, unix_ns)?.clone();
            one(label_json(cloud, kind, &label))
        })
    };
    let remove = move |State(handle): State<CloudHandle>, Path((_, id)): OfProjectAnd| async move {
        handle.with(|cloud, _| {
            kind.of_mut(cloud).remove(&id)?;
            for device in cloud.plane.devices.values_mut() {
                match kind {
                    Kind::Tags => device.tag_ids.retain(|tag| *tag != id),
                    Kind::Blueprints if device.blueprint.as_ref() == Some(&id) => device.blueprint = None,
                    Kind::Blueprints => {}
                }
            }
            nothing()
        })
    };
    get(read).put(update).patch(update).delete(remove)
}

pub(super) async fn certificates(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let shown = cloud.plane.certificates.iter().map(certificate_json);
        listed(shown.collect(), &params, ONE_PAGE)
    })
}

pub(super) async fn add_certificate(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    let kind = needed(&body, "certType")?;
    if !["root", "intermediate"].contains(&kind) {
        return Err(ApiError::invalid("certType must be root or intermediate"));
    }
    let pem = base64::decode(needed(&body, "certFile")?);
    let pem = pem.ok_or_else(|| ApiError::invalid("certFile must be base64"))?;
    if !pem.starts_with(b"-----BEGIN CERTIFICATE-----") {
        return Err(ApiError::invalid("certFile is no certificate in PEM"));
    }
    handle.with(|cloud, now| {
        if cloud.plane.certificates.len() >= MOST_CERTIFICATES {
            return Err(ApiError::new(8, "too many certificates"));
        }
        let created_ns = cloud.plane.wall.unix_ns(now);
        let id = cloud.plane.ids.next(created_ns);
        let certificate = Certificate { id, kind: kind.to_owned(), pem, created_ns };
        cloud.plane.certificates.push(certificate.clone());
        one(certificate_json(&certificate))
    })
}

pub(super) async fn certificate(State(handle): State<CloudHandle>, Path((_, id)): OfProjectAnd) -> Answer {
    handle.read(|cloud| {
        let found = cloud.plane.certificates.iter().find(|certificate| certificate.id == id);
        one(certificate_json(found.ok_or_else(|| ApiError::new(5, "certificate not found"))?))
    })
}

pub(super) async fn remove_certificate(
    State(handle): State<CloudHandle>,
    Path((_, id)): OfProjectAnd,
) -> Answer {
    handle.with(|cloud, _| {
        let before = cloud.plane.certificates.len();
        cloud.plane.certificates.retain(|certificate| certificate.id != id);
        if cloud.plane.certificates.len() == before {
            return Err(ApiError::new(5, "certificate not found"));
        }
        nothing()
    })
}

pub(super) async fn keys(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        listed(cloud.plane.api_keys.iter().map(|key| key_json(key, false)).collect(), &params, ONE_PAGE)
    })
}

/// A further key of the project. Its text is shown this once.
pub(super) async fn add_key(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    if text(&body, "type").is_some_and(|kind| kind == "JWT_KEY") {
        return Err(ApiError::new(12, "the simulated cloud has no keys of type JWT_KEY"));
    }
    handle.with(|cloud, now| {
        if cloud.plane.api_keys.len() >= MOST_KEYS {
            return Err(ApiError::new(8, "too many keys"));
        }
        let created_ns = cloud.plane.wall.unix_ns(now);
        let id = cloud.plane.ids.next(created_ns);
        let text_of =
            Zeroizing::new(format!("{:016x}{:016x}", cloud.plane.ids.number(), cloud.plane.ids.number()));
        let name = text(&body, "name").unwrap_or_default().to_owned();
        let key = ProjectKey { id, name, key: ApiKey::new(&text_of), text: text_of, created_ns };
        cloud.plane.api_keys.push(key.clone());
        one(key_json(&key, true))
    })
}

pub(super) async fn remove_key(State(handle): State<CloudHandle>, Path((_, id)): OfProjectAnd) -> Answer {
    handle.with(|cloud, _| {
        let before = cloud.plane.api_keys.len();
        cloud.plane.api_keys.retain(|key| key.id != id);
        if cloud.plane.api_keys.len() == before {
            return Err(ApiError::new(5, "API key not found"));
        }
        nothing()
    })
}

fn label_json(cloud: &Cloud, kind: Kind, label: &Label) -> Value {
    let devices = cloud.plane.devices.values();
    let bearing = devices.filter(|device| match kind {
        Kind::Tags => device.tag_ids.contains(&label.id),
        Kind::Blueprints => device.blueprint.as_ref() == Some(&label.id),
    });
    json!({
        "id": label.id,
        "name": label.name,
        "projectId": cloud.plane.project,
        "deviceCount": bearing.count(),
        "createdAt": rfc3339(label.created_ns),
        "updatedAt": rfc3339(label.updated_ns),
    })
}

fn certificate_json(certificate: &Certificate) -> Value {
    json!({
        "id": certificate.id,
        "enabled": true,
        "certType": certificate.kind,
        "certFile": base64::encode(&certificate.pem),
        "createdAt": rfc3339(certificate.created_ns),
    })
}

fn key_json(key: &ProjectKey, with_text: bool) -> Value {
    let mut shown = json!({
        "id": key.id,
        "name": key.name,
        "type": "API_KEY",
        "createdAt": rfc3339(key.created_ns),
    });
    if with_text {
        shown["apiKey"] = json!(*key.text);
    }
    shown
}
