//! Device logs, and the older view of what devices report on their firmware.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed};
use super::releases::event_type;
use super::{has_tags, id_of};
use crate::cloud::CloudHandle;
use crate::cloud::wall::{parse_rfc3339, rfc3339};
use axum::extract::State;
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
                && params.get("term").is_none_or(|term| entry.message.contains(term))
                && has_tags(cloud, &entry.device, &params);
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

/// What devices reported on their firmware, newest first.
pub(super) async fn firmware(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let window = window(&params)?;
        let wanted = cloud.plane.ota_events.iter().rev().filter_map(|event| {
            let device = id_of(cloud, &event.device);
            let fits = window.contains(event.unix_ns)
                && params.get("deviceId").is_none_or(|id| id == device)
                && params.get("package").is_none_or(|package| package == event.package);
            fits.then(|| {
                let mut shown = json!({
                    "deviceId": device,
                    "package": event.package,
                    "state": event_type(event.state),
                    "stateCode": event.state.to_string(),
                    "reason": reason(event.reason),
                    "reasonCode": event.reason.to_string(),
                    "time": rfc3339(event.unix_ns),
                });
                for (name, value) in [("version", &event.version), ("target", &event.target)] {
                    if let Some(value) = value {
                        shown[name] = Value::from(value.as_str());
                    }
                }
                shown
            })
        });
        listed(wanted.collect(), &params, ONE_PAGE)
    })
}

fn reason(code: u64) -> &'static str {
    const REASONS: [&str; 12] = [
        "ready",
        "firmware updated successfully",
        "not enough flash",
        "out of RAM",
        "connection lost",
        "integrity check failed",
        "unsupported package type",
        "invalid URI",
        "firmware update failed",
        "unsupported protocol",
        "I/O error",
        "awaiting retry",
    ];
    usize::try_from(code).ok().and_then(|code| REASONS.get(code)).unwrap_or(&"unknown")
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
