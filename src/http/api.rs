//! A snapshot as JSON. Keys are camelCase; durations end in `Seconds` or `Milliseconds`, ages count back from now.
//!
//! A device has one shape whatever provider it belongs to (requirement H1):
//! `device`, `status`, `connection`, `firmware`, `telemetry`, `integration`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use super::snapshot::{Destination, Snapshot};
use super::sources::{DeviceRecord, TelemetryValue, Trouble};
use super::verdict::{Level, Verdict, verdict};
use crate::board::{LinkPhase, SignalGrade, Stamped};
use crate::clock::Mono;
use crate::reading::Value;
use crate::store::queue::{Health, Totals};

/// `/api/gateway/status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewayStatus {
    gateway: Gateway,
    verdict: Verdict,
    destinations: Vec<DestinationStatus>,
    radio: Option<Radio>,
    queue: Queue,
    sensors: Sensors,
    components: Vec<Component>,
    lanes: Vec<Lane>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Gateway {
    name: String,
    serial: String,
    version: String,
    uptime_seconds: u64,
    clock: Clock,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Clock {
    unix_milliseconds: i64,
    trusted: bool,
    /// Absent while nothing vouches for the clock.
    uncertainty_milliseconds: Option<u32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DestinationStatus {
    name: String,
    link: Option<Link>,
    account: Account,
    classes: BTreeMap<&'static str, Account>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    phase: &'static str,
    words: String,
    handshakes: u64,
    sent_bytes: u64,
    received_bytes: u64,
    packets: u64,
    in_flight: u32,
    last_heard_age_seconds: Option<f64>,
}

/// `accepted = acknowledged + dropped + setAside + queued`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    accepted: u64,
    acknowledged: u64,
    dropped: u64,
    set_aside: u64,
    queued: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Radio {
    registered: Option<bool>,
    roaming: Option<bool>,
    registration: Option<String>,
    operator: Option<String>,
    access: Option<String>,
    band: Option<u16>,
    grade: Option<&'static str>,
    rsrp_dbm: Option<f32>,
    rsrq_db: Option<f32>,
    snr_db: Option<f32>,
    signal_age_seconds: Option<f64>,
    modem: Option<Modem>,
    supply_millivolts: Option<u32>,
    temperature_celsius: Option<i16>,
}

/// The subscriber's numbers are masked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Modem {
    application: String,
    hardware: Option<String>,
    firmware: Option<String>,
    imei: Option<String>,
    iccid: Option<String>,
    imsi: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    health: &'static str,
    detail: Option<String>,
    epoch: Option<String>,
    accepted: u64,
    refused: u64,
    coalesced: u64,
    missed: u64,
    queued: u64,
    used_bytes: u64,
    limit_bytes: u64,
    commit_window_milliseconds: u64,
    last_commit_milliseconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sensors {
    slaves: Vec<Slave>,
    streams: Vec<Stream>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Slave {
    name: String,
    bus: String,
    answering: bool,
    words: String,
    answers: u64,
    failures: u64,
    last_answer_age_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stream {
    name: String,
    device: String,
    value: Json,
    unit: String,
    quality: &'static str,
    age_seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    package: String,
    device: String,
    version: Option<String>,
    target: Option<String>,
    state: &'static str,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lane {
    name: String,
    fine: bool,
    silent: bool,
    words: String,
    restarts: u32,
    last_progress_age_seconds: f64,
}

/// Shows a snapshot.
pub(super) fn gateway(s: &Snapshot) -> GatewayStatus {
    GatewayStatus {
        gateway: Gateway {
            name: s.gateway.name.clone(),
            serial: s.gateway.serial.clone(),
            version: s.gateway.version.clone(),
            uptime_seconds: s.now.since(s.gateway.started).as_secs(),
            clock: Clock {
                unix_milliseconds: s.wall.unix_ms,
                trusted: s.wall.trusted,
                uncertainty_milliseconds: s.wall.trusted.then_some(s.wall.uncertainty_ms),
            },
        },
        verdict: verdict(s),
        destinations: s.destinations.iter().map(|d| destination(s, d)).collect(),
        radio: radio(s),
        queue: queue(s),
        sensors: sensors(s),
        components: s
            .components
            .values()
            .map(|Stamped { value, .. }| Component {
                package: value.package.clone(),
                device: value.device.clone(),
                version: value.version.clone(),
                target: value.target.clone(),
                state: value.state,
                reason: value.reason.clone(),
            })
            .collect(),
        lanes: s
            .lanes
            .iter()
            .map(|(name, lane)| Lane {
                name: name.clone(),
                fine: lane.value.fine,
                silent: s.silent_lanes.iter().any(|(silent, _)| silent == name),
                words: lane.value.words.clone(),
                restarts: lane.value.restarts,
                last_progress_age_seconds: age(s, lane.value.last_progress),
            })
            .collect(),
    }
}

/// The word for a phase, in the API and on the page.
pub(super) fn phase_word(phase: LinkPhase) -> &'static str {
    match phase {
        LinkPhase::Idle => "idle",
        LinkPhase::Connecting => "connecting",
        LinkPhase::Up => "up",
        LinkPhase::Waiting => "waiting",
        LinkPhase::Sick => "sick",
    }
}

/// The word for a grade.
pub(super) fn grade_word(grade: SignalGrade) -> &'static str {
    match grade {
        SignalGrade::Unknown => "unknown",
        SignalGrade::VeryPoor => "very poor",
        SignalGrade::Poor => "poor",
        SignalGrade::Fair => "fair",
        SignalGrade::Good => "good",
        SignalGrade::Excellent => "excellent",
    }
}

fn destination(s: &Snapshot, destination: &Destination) -> DestinationStatus {
    DestinationStatus {
        name: destination.name.clone(),
        link: destination.link.as_ref().map(|link| Link {
            phase: phase_word(link.phase),
            words: link.words.clone(),
            handshakes: link.handshakes,
            sent_bytes: link.bytes_up,
            received_bytes: link.bytes_down,
            packets: link.packets,
            in_flight: link.in_flight,
            last_heard_age_seconds: link.last_heard.map(|at| age(s, at)),
        }),
        account: account(destination.totals),
        classes: destination.classes.iter().map(|(class, totals)| (class.name(), account(*totals))).collect(),
    }
}

fn account(totals: Totals) -> Account {
    Account {
        accepted: totals.accepted,
        acknowledged: totals.acknowledged,
        dropped: totals.dropped,
        set_aside: totals.set_aside,
        queued: totals.queued,
    }
}

fn radio(s: &Snapshot) -> Option<Radio> {
    if s.registration.is_none() && s.signal.is_none() && s.modem.is_none() {
        return None;
    }
    let registration = s.registration.as_ref().map(|stamped| &stamped.value);
    let signal = s.signal.as_ref().map(|stamped| &stamped.value);
    Some(Radio {
        registered: registration.map(|r| r.registered),
        roaming: registration.map(|r| r.roaming),
        registration: registration.map(|r| r.words.clone()),
        operator: registration.and_then(|r| r.operator.clone()),
        access: registration.and_then(|r| r.access.clone()),
        band: registration.and_then(|r| r.band),
        grade: signal.map(|signal| grade_word(signal.grade)),
        rsrp_dbm: signal.and_then(|signal| signal.rsrp_dbm),
        rsrq_db: signal.and_then(|signal| signal.rsrq_db),
        snr_db: signal.and_then(|signal| signal.snr_db),
        signal_age_seconds: s.signal.as_ref().map(|stamped| age(s, stamped.at)),
        modem: s.modem.as_ref().map(|Stamped { value, .. }| Modem {
            application: value.application.clone(),
            hardware: value.hardware.clone(),
            firmware: value.firmware.clone(),
            imei: value.imei.as_ref().map(crate::board::Hidden::masked),
            iccid: value.iccid.as_ref().map(crate::board::Hidden::masked),
            imsi: value.imsi.as_ref().map(crate::board::Hidden::masked),
        }),
        supply_millivolts: s.modem_millivolts.as_ref().map(|stamped| stamped.value),
        temperature_celsius: s.modem_celsius.as_ref().map(|stamped| stamped.value),
    })
}

fn queue(s: &Snapshot) -> Queue {
    let status = &s.queue;
    Queue {
        health: status.health.name(),
        detail: match &status.health {
            Health::Faulty(detail) => Some(detail.clone()),
            Health::Good | Health::DiskFull | Health::ReadOnly => None,
        },
        epoch: status.epoch.map(|epoch| epoch.to_string()),
        accepted: status.intake.accepted,
        refused: status.intake.refused,
        coalesced: status.intake.coalesced,
        missed: status.intake.missed,
        queued: s.queued(),
        used_bytes: status.used_bytes,
        limit_bytes: status.max_bytes,
        commit_window_milliseconds: u64::try_from(status.commit_window.as_millis()).unwrap_or(u64::MAX),
        last_commit_milliseconds: status.last_commit.as_secs_f64() * 1000.0,
    }
}

fn sensors(s: &Snapshot) -> Sensors {
    Sensors {
        slaves: s
            .slaves
            .iter()
            .map(|(name, Stamped { value, .. })| Slave {
                name: name.clone(),
                bus: value.bus.clone(),
                answering: value.answering,
                words: value.words.clone(),
                answers: value.answers,
                failures: value.failures,
                last_answer_age_seconds: value.last_answer.map(|at| age(s, at)),
            })
            .collect(),
        streams: s
            .latest
            .iter()
            .map(|(name, Stamped { value: latest, at })| Stream {
                name: name.clone(),
                device: latest.device.clone(),
                value: json(&latest.value),
                unit: latest.unit.clone(),
                quality: latest.quality.name(),
                age_seconds: age(s, *at),
            })
            .collect(),
    }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Steps(steps) => Json::from(*steps),
        // Not finite cannot be; null says it then.
        Value::Float(number) => Json::from(*number),
        Value::Bool(flag) => Json::from(*flag),
        Value::Text(text) => Json::from(text.as_ref()),
        Value::Absent => Json::Null,
    }
}

fn age(s: &Snapshot, then: Mono) -> f64 {
    s.now.since(then).as_secs_f64()
}

/// `/api/devices/{id}/status`: one shape for every provider.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceStatus {
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
    components: Vec<super::sources::ComponentRecord>,
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
pub(super) fn device(record: DeviceRecord, s: &Snapshot) -> DeviceStatus {
    let is_this_gateway = record.serial == s.gateway.serial;
    let (status, status_words) = if is_this_gateway { own_status(s) } else { status(&record, s) };
    let uptime = is_this_gateway.then(|| s.now.since(s.gateway.started).as_secs());
    let update_available =
        record.components.iter().any(|c| c.target.as_ref().is_some_and(|t| c.version.as_ref() != Some(t)));
    let mut telemetry: BTreeMap<_, _> =
        record.telemetry.into_iter().map(|(name, value)| (name, remembered(value))).collect();
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
    /// Where nobody says how often a device reports.
    const EXPECTED: std::time::Duration = std::time::Duration::from_secs(300);
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
