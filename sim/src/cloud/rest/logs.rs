//! Device logs, and what the pipelines say of themselves.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed};
use super::id_of;
use crate::cloud::wall::{parse_rfc3339, rfc3339};
use crate::cloud::{CloudHandle, base64};
use axum::extract::State;
use fieldgate_coap::format;
use serde_json::{Value, json};

/// Newest first.
pub(super) async fn list(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let window = window(&params)?;
        let wanted = cloud.plane.logs.iter().rev().filter_map(|entry| {
            let device = id_of(cloud, &entry.device);
            let fits = window.contains(entry.unix_ns)
                && params.get("deviceId").is_none_or(|id| id == device)
                && params.get("module").is_none_or(|module| module == entry.module)
                && params.get("level").is_none_or(|level| level == "NONE" || level == entry.level)
                && params.get("term").is_none_or(|term| entry.message.contains(term));
            fits.then(|| {
                json!({
                    "deviceId": device,
                    "level": entry.level,
                    "message": entry.message,
                    "module": entry.module,
                    "metadata": entry.metadata,
                    "timestamp": rfc3339(entry.unix_ns),
                    "type": "LOGGING",
                })
            })
        });
        listed(wanted.collect(), &params, ONE_PAGE)
    })
}

/// Messages no pipeline took.
pub(super) async fn unmatched(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let mut all: Vec<_> = cloud.plane.pipelines.unmatched.iter().collect();
        all.sort_by_key(|unmatched| std::cmp::Reverse(unmatched.unix_ns));
        let shown = all.into_iter().map(|unmatched| {
            json!({
                "deviceId": id_of(cloud, &unmatched.device),
                "path": unmatched.path,
                "contentType": content_type(unmatched.content_format),
                "timestamp": rfc3339(unmatched.unix_ns),
            })
        });
        listed(shown.collect(), &params, ONE_PAGE)
    })
}

/// There are no destinations that could fail.
pub(super) async fn pipeline_errors(params: Params) -> Answer {
    listed(Vec::new(), &params, ONE_PAGE)
}

/// The filters, each as a pipeline to LightDB Stream.
pub(super) async fn pipelines(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let shown = cloud.plane.pipelines.routes.iter().enumerate().map(|(number, route)| {
            let content = route
                .content_format
                .map(|format| format!("  content_type: {}\n", content_type(Some(format))))
                .unwrap_or_default();
            let yaml = format!(
                "filter:\n  path: \"{}\"\n{content}steps:\n  - name: step0\n    destination:\n      type: lightdb-stream\n      \
                 version: v1\n",
                route.path
            );
            json!({
                "id": format!("route-{number}"),
                "name": format!("route {number}"),
                "enabled": true,
                "pipeline": base64::encode(yaml.as_bytes()),
            })
        });
        listed(shown.collect::<Vec<Value>>(), &params, ONE_PAGE)
    })
}

/// A span of time, both ends included; an end that is not given is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) start: i128,
    pub(super) end: i128,
}

impl Window {
    pub(super) fn contains(&self, unix_ns: i128) -> bool {
        (self.start..=self.end).contains(&unix_ns)
    }
}

/// `start` and `end` of a query.
pub(super) fn window(params: &Params) -> Result<Window, ApiError> {
    let read = |name: &str, open| match params.get(name) {
        None => Ok(open),
        Some(text) => parse_rfc3339(text)
            .ok_or_else(|| ApiError::invalid(&format!("{name} is not a time in RFC 3339: {text}"))),
    };
    Ok(Window { start: read("start", i128::MIN)?, end: read("end", i128::MAX)? })
}

fn content_type(content_format: Option<u16>) -> &'static str {
    match content_format {
        Some(format::CBOR) => "application/cbor",
        Some(format::JSON) => "application/json",
        Some(format::TEXT) => "text/plain",
        _ => "application/octet-stream",
    }
}
