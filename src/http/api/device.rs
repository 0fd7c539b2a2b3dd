//! `/api/devices/{id}/status`: one shape for every device, whatever provider it belongs to (requirement H1).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;

use super::{age, json};
use crate::board::LinkPhase;
use crate::gather::Gather;
use crate::http::snapshot::Snapshot;
use crate::http::sources::{ComponentRecord, DeviceRecord, TelemetryValue, Trouble};
use crate::http::verdict::{Level, verdict};

/// Where nobody says how often a device reports.
const EXPECTED: Duration = Duration::from_secs(300);

/// A device, as people and programs ask for it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct DeviceStatus {
    device: DeviceIdentity,
    status: &'static str,
    /// Why it is not simply online.
    status_words: Option<String>,
    connection: Connection,
    firmware: Firmware,
    telemetry: BTreeMap<String, Telemetry>,
    integration: Option<Integration>,
}

#[derive(Debug, Serialize)]
struct DeviceIdentity {
    id: String,
    serial: String,
    name: String,
}

/// RFC 3339 in UTC, and seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    last_seen_online: Option<String>,
    last_seen_offline: Option<String>,
    uptime: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Firmware {
    version: Option<String>,
    components: Vec<ComponentRecord>,
    update_available: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Telemetry {
    value: Json,
    unit: Option<String>,
    quality: Option<&'static str>,
    time: Option<String>,
    age_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Integration {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    capabilities: Vec<String>,
}

/// Shows a device: what the registry keeps, and over it what this gateway hears from it now.
pub(in crate::http) fn device(record: DeviceRecord, s: &Snapshot) -> DeviceStatus {
    let is_this_gateway = record.serial == s.gateway.serial;
    let (status, status_words) = if is_this_gateway { own_status(s) } else { status(&record, s) };
    let uptime = is_this_gateway.then(|| s.now.since(s.gateway.started).as_secs());
    let update_available =
        record.components.iter().any(|c| c.target.as_ref().is_some_and(|t| c.version.as_ref() != Some(t)));
    let mut telemetry: BTreeMap<_, _> =
        record.telemetry.into_iter().map(|(name, value)| (name, remembered(value))).gathered();
    for (name, latest) in s.latest.iter().filter(|(_, latest)| latest.value.device == record.serial) {
        telemetry.insert(
            name.clone(),
            Telemetry {
                value: json(&latest.value.value),
                unit: Some(latest.value.unit.clone()).filter(|unit| !unit.is_empty()),
                quality: Some(latest.value.quality.name()),
                time: None,
                age_seconds: Some(age(s, latest.at)),
            },
        );
    }
    DeviceStatus {
        status,
        status_words,
        connection: Connection {
            last_seen_online: record.last_seen_online_unix_ms.and_then(rfc3339),
            last_seen_offline: record.last_seen_offline_unix_ms.and_then(rfc3339),
            uptime,
        },
        firmware: Firmware {
            version: record.firmware_version,
            components: record.components,
            update_available,
        },
        telemetry,
        integration: record.integration.map(|i| Integration {
            kind: i.kind,
            name: i.name,
            capabilities: i.capabilities,
        }),
        device: DeviceIdentity { id: record.id, serial: record.serial, name: record.name },
    }
}

fn remembered(value: TelemetryValue) -> Telemetry {
    Telemetry {
        value: value.value,
        unit: value.unit,
        quality: None,
        time: value.at_unix_ms.and_then(rfc3339),
        age_seconds: None,
    }
}

/// This gateway: as its page says, and offline when no cloud hears it.
fn own_status(s: &Snapshot) -> (&'static str, Option<String>) {
    let verdict = verdict(s);
    let up = s.destinations.iter().any(|d| d.link.as_ref().is_some_and(|link| link.phase == LinkPhase::Up));
    match verdict.level {
        Level::Fine => ("online", None),
        _ if !up => ("offline", Some(verdict.headline)),
        Level::Attention => ("warning", Some(verdict.headline)),
        Level::Broken => ("error", Some(verdict.headline)),
    }
}

/// Another device: online while its last report is younger than three expected intervals (requirement C2).
fn status(record: &DeviceRecord, s: &Snapshot) -> (&'static str, Option<String>) {
    if let Some(Trouble::Error(words)) = &record.trouble {
        return ("error", Some(words.clone()));
    }
    let patience = record.expected_interval.unwrap_or(EXPECTED).saturating_mul(3);
    let heard_here = s
        .latest
        .values()
        .filter(|latest| latest.value.device == record.serial)
        .any(|latest| s.now.since(latest.at) < patience);
    let reported = record.last_seen_online_unix_ms.is_some_and(|at| {
        let since = u128::try_from(s.wall.unix_ms.saturating_sub(at)).unwrap_or(0);
        s.wall.trusted && since < patience.as_millis()
    });
    if !heard_here && !reported {
        return ("offline", Some("No report within three of its intervals.".into()));
    }
    match &record.trouble {
        Some(Trouble::Warning(words)) => ("warning", Some(words.clone())),
        Some(Trouble::Error(_)) | None => ("online", None),
    }
}

fn rfc3339(unix_ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(unix_ms).ok().map(|at| at.to_string())
}
