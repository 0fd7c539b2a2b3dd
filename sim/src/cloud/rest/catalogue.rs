//! Tags and blueprints, certificates of authorities, and management keys.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed, masked, needed, nothing, object, one, text};
use crate::cloud::catalogue::{Certificate, Label, Labels, ProjectKey};
use crate::cloud::config::ApiKey;
use crate::cloud::core::Cloud;
use crate::cloud::wall::rfc3339;
use crate::cloud::{CloudHandle, base64, x509};
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

    /// The query's name for a filter by name.
    fn name_filter(self) -> &'static str {
        match self {
            Self::Tags => "tagName",
            Self::Blueprints => "blueprintName",
        }
    }

    /// Takes from a body what only blueprints have.
    fn describe(self, label: &mut Label, body: &Value) {
        if matches!(self, Self::Blueprints) {
            for (name, field) in [("boardId", &mut label.board), ("platform", &mut label.platform)] {
                if body.get(name).is_some() {
                    *field = text(body, name).map(str::to_owned);
                }
            }
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
            let maybe = |name: &str, value: &Option<String>| {
                params.get(name).is_none_or(|wanted| value.as_deref() == Some(wanted))
            };
            let fits = |label: &&Label| {
                params.get(kind.name_filter()).is_none_or(|name| name == label.name)
                    && (params.get("ids").is_none() || params.all("ids").any(|id| id == label.id))
                    && maybe("boardId", &label.board)
                    && maybe("platform", &label.platform)
            };
            let wanted = kind.of(cloud).all.iter().filter(fits);
            listed(wanted.map(label_json).collect(), &params, ONE_PAGE)
        })
    };
    let create = move |State(handle): State<CloudHandle>, body: Bytes| async move {
        let body = object(&body)?;
        handle.with(|cloud, now| {
            let unix_ns = cloud.plane.wall.unix_ns(now);
            let id = cloud.plane.ids.next(unix_ns);
            let label = kind.of_mut(cloud).add(id, needed(&body, "name")?, unix_ns)?;
            kind.describe(label, &body);
            one(label_json(label))
        })
    };
    get(list).post(create)
}

/// One of a kind.
pub(super) fn single(kind: Kind) -> MethodRouter<CloudHandle> {
    let read = move |State(handle): State<CloudHandle>, Path((_, id)): OfProjectAnd| async move {
        handle.read(|cloud| one(label_json(kind.of(cloud).get(&id)?)))
    };
    let update = move |State(handle): State<CloudHandle>,
                       Path((_, id)): OfProjectAnd,
                       params: Params,
                       body: Bytes| async move {
        let (body, _) = masked(object(&body)?, &params);
        handle.with(|cloud, now| {
            let unix_ns = cloud.plane.wall.unix_ns(now);
            let label = kind.of_mut(cloud).rename(&id, text(&body, "name"), unix_ns)?;
            kind.describe(label, &body);
            one(label_json(label))
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
        let shown = cloud.plane.certificates.iter().map(|known| certificate_json(cloud, known));
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
    let content =
        x509::content(&pem).ok_or_else(|| ApiError::invalid("certFile is no certificate in PEM"))?;
    handle.with(|cloud, now| {
        if cloud.plane.certificates.len() >= MOST_CERTIFICATES {
            return Err(ApiError::new(8, "too many certificates"));
        }
        let created_ns = cloud.plane.wall.unix_ns(now);
        let id = cloud.plane.ids.next(created_ns);
        let certificate = Certificate { id, kind: kind.to_owned(), content, created_ns };
        cloud.plane.certificates.push(certificate.clone());
        one(certificate_json(cloud, &certificate))
    })
}

pub(super) async fn certificate(State(handle): State<CloudHandle>, Path((_, id)): OfProjectAnd) -> Answer {
    handle.read(|cloud| {
        let found = cloud.plane.certificates.iter().find(|certificate| certificate.id == id);
        one(certificate_json(cloud, found.ok_or_else(|| ApiError::new(5, "certificate not found"))?))
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
        let shown = cloud.plane.api_keys.iter().map(|key| key_json(key, key.kind == "API_KEY"));
        listed(shown.collect(), &params, ONE_PAGE)
    })
}

/// A further key of the project.
pub(super) async fn add_key(State(handle): State<CloudHandle>, body: Bytes) -> Answer {
    let body = object(&body)?;
    let kind = text(&body, "type").unwrap_or("API_KEY").to_owned();
    match kind.as_str() {
        "API_KEY" | "API_KEY_V2" => {}
        "JWT_KEY" => return Err(ApiError::new(12, "the simulated cloud has no keys of type JWT_KEY")),
        _ => return Err(ApiError::invalid("type must be API_KEY, API_KEY_V2 or JWT_KEY")),
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
        let key = ProjectKey { id, name, kind, key: ApiKey::new(&text_of), text: text_of, created_ns };
        cloud.plane.api_keys.push(key.clone());
        one(key_json(&key, true))
    })
}

/// Another name for a key, in the query or in the body.
pub(super) async fn update_key(
    State(handle): State<CloudHandle>,
    Path((_, id)): OfProjectAnd,
    params: Params,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.with(|cloud, _| {
        let key = cloud.plane.api_keys.iter_mut().find(|key| key.id == id);
        let key = key.ok_or_else(|| ApiError::new(5, "API key not found"))?;
        if let Some(name) = text(&body, "name").or_else(|| params.get("name")) {
            name.clone_into(&mut key.name);
        }
        one(key_json(key, key.kind == "API_KEY"))
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

fn label_json(label: &Label) -> Value {
    let mut shown = json!({
        "id": label.id,
        "name": label.name,
        "createdAt": rfc3339(label.created_ns),
        "updatedAt": rfc3339(label.updated_ns),
    });
    for (name, value) in [("boardId", &label.board), ("platform", &label.platform)] {
        if let Some(value) = value {
            shown[name] = json!(value);
        }
    }
    shown
}

fn certificate_json(cloud: &Cloud, certificate: &Certificate) -> Value {
    json!({
        "id": certificate.id,
        "projectId": cloud.plane.project,
        "enabled": true,
        "demo": false,
        "certType": certificate.kind,
        "certificateContent": certificate.content,
        "createdAt": rfc3339(certificate.created_ns),
    })
}

fn key_json(key: &ProjectKey, with_text: bool) -> Value {
    let mut shown = json!({
        "id": key.id,
        "name": key.name,
        "type": key.kind,
        "roles": ["apikey"],
        "createdAt": rfc3339(key.created_ns),
    });
    if with_text {
        shown["key"] = json!(*key.text);
    }
    shown
}
