//! `/api/gateway/status`: a snapshot as it is, for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;

use super::{age, json};
use crate::board::{DataPlan, Hidden, PlanPeriod, Stamped};
use crate::clock::sources::Source;
use crate::gather::Gather;
use crate::http::snapshot::{Destination, Snapshot};
use crate::http::verdict::{Verdict, verdict};
use crate::http::words::{grade_word, modem_word, phase_word};
use crate::store::gateway::GatewayHealth;
use crate::store::queue::{Health, Totals};

/// `/api/gateway/status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct GatewayStatus {
    gateway: Gateway,
    verdict: Verdict,
    destinations: Vec<DestinationStatus>,
    radio: Option<Radio>,
    queue: Queue,
    gateway_db: GatewayDb,
    writers: Vec<Writer>,
    data_plan: Option<Plan>,
    sensors: Sensors,
    components: Vec<Component>,
    /// What a cloud set from afar.
    settings: Option<Settings>,
    lanes: Vec<Lane>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    /// The cloud's number of them.
    version: Option<i64>,
    /// Instead of the configuration's: key and value as it writes them.
    in_force: BTreeMap<String, String>,
    /// What is not in force: the cloud's key, and why.
    refused: BTreeMap<String, String>,
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
    /// Who vouches for it: `ntp`, `operator`, `modem`, `cloud`.
    source: Option<&'static str>,
    /// Absent while nothing vouches for the clock.
    uncertainty_milliseconds: Option<u32>,
    /// Readings captured since the start of the machine while nothing vouches for its time.
    undated_readings: u64,
    /// The last time since the daemon's start that the time turned out to have been wrong.
    corrected: Option<Corrected>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Corrected {
    age_seconds: f64,
    /// Positive: the time was behind.
    ahead_milliseconds: i64,
    believed: &'static str,
    now: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DestinationStatus {
    name: String,
    link: Option<Link>,
    /// The gateway's own, where it is known by one.
    certificate: Option<Certificate>,
    /// What is wrong with it, what weighs most first.
    troubles: Vec<Trouble>,
    /// What becomes of what it acknowledged, where its kind can be asked.
    delivery: Option<Delivery>,
    account: Account,
    /// Of `dropped`, what the destination should have got: neither superseded nor thinned nor given up by people.
    lost: u64,
    /// What `dropped` is made of, by reason.
    given_up: BTreeMap<String, u64>,
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
    /// For so long an answer is owed; the phase is `silent` once that is too long.
    owed_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    condition: &'static str,
    words: String,
    ends_unix_seconds: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    words: String,
    unrouted: bool,
    /// Readings that it acknowledged and kept nowhere since the start, at most. In `account` they are acknowledged.
    lost_at_most: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Trouble {
    /// Its name: `wrong_key`, `unreadable`; the names stay as they are.
    state: &'static str,
    /// With what; absent where it is the link as a whole.
    about: Option<&'static str>,
    words: String,
    next_step: String,
    /// Text to copy for that.
    paste: Option<String>,
    since_seconds: f64,
    times: u64,
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
    modem_state: Option<State>,
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

/// Whether the modem answers.
#[derive(Debug, Serialize)]
struct State {
    phase: &'static str,
    fine: bool,
    words: String,
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
    /// By group: what is on disk under this epoch up to here stays accepted, whatever happens.
    newest_sequences: BTreeMap<String, u64>,
    accepted: u64,
    refused: u64,
    coalesced: u64,
    missed: u64,
    /// For the destination that most waits for; see each one's account.
    queued: u64,
    used_bytes: u64,
    limit_bytes: u64,
    /// What is at risk before acceptance now; more than configured while the flash budget widens it.
    commit_window_milliseconds: u64,
    configured_window_milliseconds: u64,
    why_widened: Option<String>,
    last_commit_milliseconds: f64,
    commit_p50_milliseconds: f64,
    commit_p99_milliseconds: f64,
    /// How long the last commit took, while that is too long.
    slow_fsync_milliseconds: Option<f64>,
    flash: Flash,
    log_bytes: u64,
    ballast: Ballast,
    salvage: Option<Salvage>,
    /// Statements about damaged files; a number that nobody knows is null.
    damaged: Vec<Json>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flash {
    written_bytes: u64,
    forecast_bytes_per_day: Option<u64>,
    budget_bytes_per_day: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Ballast {
    bytes: u64,
    held: bool,
}

/// A damaged file that is being looked through.
#[derive(Debug, Serialize)]
struct Salvage {
    file: String,
    thousandths: u32,
    readings: u64,
}

/// The file of devices, firmware history and journal.
#[derive(Debug, Serialize)]
struct GatewayDb {
    health: &'static str,
    detail: Option<String>,
}

/// The writer of one of the two files.
#[derive(Debug, Serialize)]
struct Writer {
    name: String,
    /// `working`, `slow_fsync` or `stuck`.
    phase: &'static str,
    words: String,
}

/// Bytes on the wire, both ways, headers included.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    limited: bool,
    roaming: bool,
    day: Period,
    month: Period,
    roaming_month: Period,
    month_by_purpose: BTreeMap<&'static str, u64>,
    others_bytes: Option<u64>,
    /// By whose counters: `interface` or `modem`.
    others_counter: Option<&'static str>,
    waits: Vec<Wait>,
    /// By destination: one reading in so many of the backlog is sent.
    thinned: BTreeMap<String, u64>,
    /// By destination and class: bytes on the wire for 100 bytes of message.
    wire_percent: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Period {
    bytes: u64,
    limit_bytes: Option<u64>,
    forecast_bytes: Option<u64>,
    ends_unix_milliseconds: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wait {
    what: String,
    seconds: f64,
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
    refusal: Option<Refusal>,
}

/// A read that is answered with an exception.
#[derive(Debug, Serialize)]
struct Refusal {
    streams: String,
    asked: String,
    exception: u8,
    why: &'static str,
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
    excused: bool,
    words: String,
    restarts: u32,
    last_progress_age_seconds: f64,
}

/// Shows a snapshot.
pub(in crate::http) fn gateway(s: &Snapshot) -> GatewayStatus {
    GatewayStatus {
        gateway: Gateway {
            name: s.gateway.name.clone(),
            serial: s.gateway.serial.clone(),
            version: s.gateway.version.clone(),
            uptime_seconds: s.now.since(s.gateway.started).as_secs(),
            clock: Clock {
                unix_milliseconds: s.wall.unix_ms,
                trusted: s.wall.trusted,
                source: s.clock.as_ref().and_then(|clock| clock.value.source).map(Source::word),
                uncertainty_milliseconds: s.wall.trusted.then_some(s.wall.uncertainty_ms),
                undated_readings: s.queue.undated,
                corrected: s.clock.as_ref().and_then(|clock| clock.value.corrected).map(|c| Corrected {
                    age_seconds: s.now.since(c.at).as_secs_f64(),
                    ahead_milliseconds: c.ahead_ms,
                    believed: c.believed.word(),
                    now: c.now.word(),
                }),
            },
        },
        verdict: verdict(s),
        destinations: s.destinations.iter().map(|d| destination(s, d)).collect(),
        radio: radio(s),
        queue: queue(s),
        gateway_db: GatewayDb {
            health: s.gateway_db.name(),
            detail: match &s.gateway_db {
                GatewayHealth::Good => None,
                GatewayHealth::Faulty(detail) => Some(detail.clone()),
            },
        },
        writers: s
            .writers
            .iter()
            .map(|(name, Stamped { value, .. })| Writer {
                name: name.clone(),
                phase: value.phase.word(),
                words: value.words.clone(),
            })
            .collect(),
        data_plan: s.data_plan.as_ref().map(|stamped| plan(s, &stamped.value)),
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
        settings: s.settings.as_ref().map(|settings| Settings {
            version: settings.value.version,
            in_force: settings.value.in_force.iter().cloned().gathered(),
            refused: settings.value.refused.iter().cloned().gathered(),
        }),
        lanes: s
            .lanes
            .iter()
            .map(|(name, lane)| Lane {
                name: name.clone(),
                fine: lane.value.fine,
                excused: lane.value.excused,
                silent: s.silent_lanes.iter().any(|(silent, _)| silent == name),
                words: lane.value.words.clone(),
                restarts: lane.value.restarts,
                last_progress_age_seconds: age(s, lane.value.last_progress),
            })
            .collect(),
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
            owed_seconds: link.owed_since.map(|at| age(s, at)),
        }),
        certificate: destination.certificate.as_ref().map(|certificate| Certificate {
            condition: certificate.condition.name(),
            words: certificate.words.clone(),
            ends_unix_seconds: certificate.until_unix_s,
        }),
        troubles: destination
            .troubles
            .iter()
            .map(|(since, trouble)| Trouble {
                state: trouble.kind.name(),
                about: Some(trouble.about).filter(|about| !about.is_empty()),
                words: trouble.words.clone(),
                next_step: trouble.next_step.clone().into_owned(),
                paste: trouble.paste.clone(),
                since_seconds: age(s, *since),
                times: trouble.times,
            })
            .collect(),
        delivery: destination.delivery.as_ref().map(|delivery| Delivery {
            words: delivery.words.clone(),
            unrouted: delivery.unrouted,
            lost_at_most: delivery.lost,
        }),
        account: account(destination.books.totals),
        lost: destination.books.lost(),
        given_up: destination.given_up.iter().cloned().gathered(),
        classes: destination
            .classes
            .iter()
            .map(|(class, totals)| (class.name(), account(*totals)))
            .gathered(),
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
    if s.modem_state.is_none() && s.registration.is_none() && s.signal.is_none() && s.modem.is_none() {
        return None;
    }
    let registration = s.registration.as_ref().map(|stamped| &stamped.value);
    let signal = s.signal.as_ref().map(|stamped| &stamped.value);
    Some(Radio {
        modem_state: s.modem_state.as_ref().map(|Stamped { value, .. }| State {
            phase: modem_word(value.phase),
            fine: value.fine,
            words: value.words.clone(),
        }),
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
            imei: value.imei.as_ref().map(Hidden::masked),
            iccid: value.iccid.as_ref().map(Hidden::masked),
            imsi: value.imsi.as_ref().map(Hidden::masked),
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
        newest_sequences: status.newest_sequences.clone(),
        accepted: status.intake.accepted,
        refused: status.intake.refused,
        coalesced: status.intake.coalesced,
        missed: status.intake.missed,
        queued: s.destinations.iter().map(|d| d.books.totals.queued).max().unwrap_or(0),
        used_bytes: status.used_bytes,
        limit_bytes: status.max_bytes,
        commit_window_milliseconds: u64::try_from(status.commit_window.as_millis()).unwrap_or(u64::MAX),
        configured_window_milliseconds: u64::try_from(status.configured_window.as_millis())
            .unwrap_or(u64::MAX),
        why_widened: status.why_widened(),
        last_commit_milliseconds: milliseconds(status.last_commit),
        commit_p50_milliseconds: milliseconds(status.commit_p50),
        commit_p99_milliseconds: milliseconds(status.commit_p99),
        slow_fsync_milliseconds: status.slow_fsync.map(milliseconds),
        flash: Flash {
            written_bytes: status.flash.written,
            forecast_bytes_per_day: status.flash.forecast_per_day,
            budget_bytes_per_day: status.flash.budget_per_day,
        },
        log_bytes: status.log_bytes,
        ballast: Ballast { bytes: status.ballast.bytes, held: status.ballast.held },
        salvage: status.salvage.as_ref().map(|salvage| Salvage {
            file: salvage.file.clone(),
            thousandths: salvage.thousandths,
            readings: salvage.readings,
        }),
        damaged: status.damaged.iter().filter_map(|told| serde_json::from_str(told).ok()).collect(),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn plan(s: &Snapshot, plan: &DataPlan) -> Plan {
    let period = |period: &PlanPeriod| Period {
        bytes: period.bytes,
        limit_bytes: period.limit,
        forecast_bytes: period.forecast,
        ends_unix_milliseconds: period.ends_unix_ms,
    };
    Plan {
        limited: plan.limited,
        roaming: plan.roaming,
        day: period(&plan.day),
        month: period(&plan.month),
        roaming_month: period(&plan.roaming_month),
        month_by_purpose: plan.by_purpose.iter().copied().gathered(),
        others_bytes: plan.others.map(|others| others.bytes),
        others_counter: plan.others.map(|others| others.counter.name()),
        waits: plan
            .waits
            .iter()
            .map(|(what, until)| Wait { what: what.clone(), seconds: until.since(s.now).as_secs_f64() })
            .collect(),
        thinned: plan.thinned.iter().cloned().gathered(),
        wire_percent: plan.wire_percent.iter().cloned().gathered(),
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
                refusal: value.refusal.as_ref().map(|refusal| Refusal {
                    streams: refusal.streams.clone(),
                    asked: refusal.asked.clone(),
                    exception: refusal.exception,
                    why: refusal.why,
                }),
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
