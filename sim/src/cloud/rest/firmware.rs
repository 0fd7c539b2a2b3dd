//! What devices report on their firmware: OTA events with their counts, and the older log of the same.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed};
use super::id_of;
use super::logs::{Window, window};
use crate::cloud::CloudHandle;
use crate::cloud::core::Cloud;
use crate::cloud::device::OtaEvent;
use crate::cloud::wall::rfc3339;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Counts are kept by the day. How the real API divides time is not known.
const BUCKET_S: i128 = 86_400;

/// Newest first, `limit` at a time from `pageToken`.
pub(super) async fn events(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let asked = Asked::of(&params)?;
        let shown = cloud.plane.ota_events.iter().rev();
        let shown = shown.filter(|event| asked.fits(cloud, event)).map(|event| event_json(cloud, event));
        let wanted: Vec<Value> = shown.collect();
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

/// How many of each kind, newest day first.
pub(super) async fn event_stats(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.with(|cloud, now| {
        let asked = Asked::of(&params)?;
        let mut days: BTreeMap<std::cmp::Reverse<i128>, BTreeMap<&str, u64>> = BTreeMap::new();
        let wanted = cloud.plane.ota_events.iter().filter(|event| asked.fits(cloud, event));
        for event in wanted {
            let day = event.unix_ns.div_euclid(BUCKET_S * 1_000_000_000);
            *days.entry(std::cmp::Reverse(day)).or_default().entry(event_type(event.state)).or_default() += 1;
        }
        let limit = params.number("limit")?.unwrap_or(ONE_PAGE).clamp(1, ONE_PAGE);
        let list = days.iter().take(limit).map(|(std::cmp::Reverse(day), counts)| {
            let stats = counts.iter().map(|(kind, count)| json!({"eventType": kind, "count": count}));
            json!({
                "timestamp": rfc3339(day * BUCKET_S * 1_000_000_000),
                "duration": i64::try_from(BUCKET_S).unwrap_or_default(),
                "stats": stats.collect::<Vec<_>>(),
            })
        });
        let list: Vec<Value> = list.collect();
        let mut shown = json!({"list": list});
        let end = asked.window.end.min(cloud.plane.wall.unix_ns(now));
        shown["endTime"] = json!(rfc3339(end));
        if asked.window.start > i128::MIN {
            shown["startTime"] = json!(rfc3339(asked.window.start));
        }
        Ok(Json(shown))
    })
}

/// The older view, newest first.
pub(super) async fn logs(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        let window = window(&params)?;
        let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
        let maybe = |name: &str, value: &Option<String>| {
            params.get(name).is_none_or(|wanted| value.as_deref() == Some(wanted))
        };
        let wanted = cloud.plane.ota_events.iter().rev().filter_map(|event| {
            let device = id_of(cloud, &event.device);
            let fits = window.contains(event.unix_ns)
                && (params.get("deviceId").is_none() || params.all("deviceId").any(|id| id == device))
                && maybe("version", &event.version)
                && maybe("target", &event.target)
                && is("state", event_type(event.state))
                && is("reason", reason(event.reason));
            fits.then(|| {
                let mut shown = report_json(event);
                shown["deviceId"] = json!(device);
                shown
            })
        });
        listed(wanted.collect(), &params, ONE_PAGE)
    })
}

/// A report as devices' metadata and the older log show it; codes are texts.
pub(super) fn report_json(event: &OtaEvent) -> Value {
    let mut shown = json!({
        "package": event.package,
        "state": event_type(event.state),
        "stateCode": event.state.to_string(),
        "reason": reason(event.reason),
        "reasonCode": event.reason.to_string(),
        "time": rfc3339(event.unix_ns),
    });
    for (name, value) in [("version", &event.version), ("target", &event.target)] {
        if let Some(value) = value {
            shown[name] = json!(value);
        }
    }
    shown
}

/// Which events are asked for.
struct Asked<'p> {
    params: &'p Params,
    window: Window,
}

impl<'p> Asked<'p> {
    fn of(params: &'p Params) -> Result<Self, ApiError> {
        Ok(Self { params, window: Window::read(params.get("startTime"), params.get("endTime"))? })
    }

    fn fits(&self, cloud: &Cloud, event: &OtaEvent) -> bool {
        let is = |name: &str, value: &str| self.params.get(name).is_none_or(|wanted| wanted == value);
        let of_cohort = |cohort: &str| {
            let key = cloud.plane.key_of(&event.device);
            let device = key.and_then(|key| cloud.plane.devices.get(&key));
            device.is_some_and(|device| device.cohort.as_deref() == Some(cohort))
        };
        self.window.contains(event.unix_ns)
            && is("deviceId", &id_of(cloud, &event.device))
            && is("packageId", &event.package)
            && is("eventType", event_type(event.state))
            && is("status", &event.reason.to_string())
            && self.params.get("cohortId").is_none_or(of_cohort)
    }
}

fn event_json(cloud: &Cloud, event: &OtaEvent) -> Value {
    let mut shown = json!({
        "deviceId": id_of(cloud, &event.device),
        "packageId": event.package,
        "eventType": event_type(event.state),
        "status": event.reason,
        "message": "",
        "timestamp": rfc3339(event.unix_ns),
    });
    for (name, value) in [("currentVersion", &event.version), ("targetVersion", &event.target)] {
        if let Some(value) = value {
            shown[name] = json!(value);
        }
    }
    shown
}

/// The names of the four states of a component.
fn event_type(state: u64) -> &'static str {
    match state {
        1 => "DOWNLOADING",
        2 => "DOWNLOADED",
        3 => "UPDATING",
        _ => "IDLE",
    }
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
