//! Device logs, when devices were last heard of, and the window of time that a query names.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed};
use super::{has_tags, id_of};
use crate::cloud::CloudHandle;
use crate::cloud::wall::{parse_rfc3339, rfc3339};
use axum::extract::State;
use serde_json::json;

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
                    // The vendor's client reads this name, its documentation has the other.
                    "device_id": device,
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

/// When each device that ever said something last did, newest first.
pub(super) async fn activity(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let mut devices: Vec<_> =
            cloud.plane.devices.values().filter_map(|d| Some((d.last_report_ns?, d))).collect();
        devices.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
        let shown = devices.into_iter().map(|(last, device)| {
            let mut shown = json!({
                "id": device.id,
                "deviceId": device.id,
                "deviceName": device.name,
                "lastReport": rfc3339(last),
                "status": "-",
            });
            if let Some(online) = device.last_online_ns {
                shown["lastSeenOnline"] = json!(rfc3339(online));
            }
            shown
        });
        listed(shown.collect(), &params, ONE_PAGE)
    })
}

/// A span of time, both ends included; an end that is not given is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) start: i128,
    pub(super) end: i128,
}

impl Window {
    /// From two times in RFC 3339, either of which may be missing.
    pub(super) fn read(start: Option<&str>, end: Option<&str>) -> Result<Self, ApiError> {
        let time = |text: Option<&str>, open| match text {
            None => Ok(open),
            Some(text) => parse_rfc3339(text)
                .ok_or_else(|| ApiError::invalid(&format!("{text} is not a time in RFC 3339"))),
        };
        Ok(Self { start: time(start, i128::MIN)?, end: time(end, i128::MAX)? })
    }

    pub(super) fn contains(&self, unix_ns: i128) -> bool {
        (self.start..=self.end).contains(&unix_ns)
    }
}

/// `start` and `end` of a query.
pub(super) fn window(params: &Params) -> Result<Window, ApiError> {
    Window::read(params.get("start"), params.get("end"))
}
