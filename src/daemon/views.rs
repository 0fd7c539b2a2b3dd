//! What the page and the API see of `gateway.db`, joined with what the board knows now.
//!
//! The registry is written rarely; when a sensor last spoke is on the board only. So a device's last report is the newer of
//! the two, and its newest values are the board's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::board::{Board, LinkPhase, Stamped};
use crate::clock::{Clock, Mono};
use crate::gather::Gather;
use crate::http::sources::{
    ComponentRecord, DeviceRecord, Devices, FirmwareLog, IntegrationRecord, LogError, LogPage, ReadingPage,
    Readings, TelemetryValue, Trouble, Unavailable,
};
use crate::reading::{Quality, Value};
use crate::registry::{Presence, presence};
use crate::store::gateway::{Component, CursorError, Device, Gateway, GatewayError};
use crate::store::queue::Queue;
use crate::store::queue::look::pull::{self, PullError};
use crate::store::queue::look::walk::Line;

/// The firmware log over the gateway's file.
#[derive(Debug)]
pub(super) struct LogView(pub(super) Gateway);

#[async_trait]
impl FirmwareLog for LogView {
    async fn page(&self, after: Option<&str>, limit: usize, puller: &str) -> Result<LogPage, LogError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let page = self.0.firmware_log_page(after, limit).await.map_err(refused)?;
        if let Some(cursor) = after {
            self.0.acknowledge(puller, cursor).await.map_err(refused)?;
        }
        let mut whole = match serde_json::to_value(&page) {
            Ok(serde_json::Value::Object(whole)) => whole,
            Ok(_) => return Err(LogError::Unavailable("a page that is no object".into())),
            Err(error) => return Err(LogError::Unavailable(error.to_string())),
        };
        let entries = match whole.remove("rows") {
            Some(serde_json::Value::Array(rows)) => rows,
            _ => Vec::new(),
        };
        whole.remove("next");
        whole.remove("more");
        let head = page.log_head.sequence;
        Ok(LogPage { entries, next: page.next, more: page.more, head, proof: whole })
    }

    async fn moved_from(&self, head: u64) {
        let mut status = self.0.status();
        if status.wait_for(|status| status.log_head.sequence != head).await.is_err() {
            // The store has stopped, and so will whoever waits.
            std::future::pending::<()>().await;
        }
    }
}

/// The readings over the queue's file.
#[derive(Debug)]
pub(super) struct ReadingView {
    queue: Queue,
    gateway: Gateway,
    /// Held while the file is looked into: a reader has its own cache, and a slow flash nothing to spare.
    one: Arc<Semaphore>,
}

impl ReadingView {
    pub(super) fn new(queue: Queue, gateway: Gateway) -> Self {
        Self { queue, gateway, one: Arc::new(Semaphore::new(1)) }
    }
}

#[async_trait]
impl Readings for ReadingView {
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<ReadingPage, LogError> {
        let gateway = self.gateway.identity().gateway;
        let (path, after) = (self.queue.path().to_owned(), after.map(str::to_owned));
        // It goes with the look and not with whoever asked: an asker who leaves does not end the look.
        let turn = Arc::clone(&self.one).try_acquire_owned().map_err(|_| LogError::Busy)?;
        // Not on the daemon's one thread: SQLite may wait for the disk.
        let look = tokio::task::spawn_blocking(move || {
            let page = pull::page(&path, gateway.0, after.as_deref(), limit);
            drop(turn);
            page
        });
        let page = look.await.map_err(|error| LogError::Unavailable(error.to_string()))?;
        let page = page.map_err(|error| match error {
            PullError::Malformed => LogError::Malformed(error.to_string()),
            PullError::OtherGateway | PullError::OtherFile => LogError::Foreign(error.to_string()),
            PullError::Diverged => LogError::Diverged(error.to_string()),
            PullError::Read(error) => LogError::Unavailable(error.to_string()),
        })?;
        Ok(ReadingPage {
            gateway: gateway.to_string(),
            file: format!("{:016x}", page.file),
            readings: page.readings.iter().map(reading).collect(),
            next: page.next,
            more: page.more,
            freed_segments: page.freed_segments,
        })
    }
}

/// What is true of a reading whoever it waits for.
fn reading(line: &Line) -> serde_json::Value {
    let mut told = serde_json::json!(line);
    if let Some(told) = told.as_object_mut() {
        told.retain(|name, _| !matches!(name.as_str(), "state" | "destination" | "reason" | "set_aside"));
    }
    told
}

fn refused(error: GatewayError) -> LogError {
    match error {
        GatewayError::Cursor(e @ CursorError::Malformed) => LogError::Malformed(e.to_string()),
        GatewayError::Cursor(e @ CursorError::Foreign { .. }) => LogError::Foreign(e.to_string()),
        GatewayError::Cursor(e @ CursorError::Diverged { .. }) => LogError::Diverged(e.to_string()),
        other => LogError::Unavailable(other.to_string()),
    }
}

/// The registry over the gateway's file, with what the board knows.
#[derive(Debug)]
pub(super) struct DeviceView {
    pub(super) gateway: Gateway,
    pub(super) board: Arc<Board>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) own_serial: String,
}

#[async_trait]
impl Devices for DeviceView {
    async fn get(&self, id_or_serial: &str) -> Result<Option<DeviceRecord>, Unavailable> {
        let device = self.gateway.device(id_or_serial).await.map_err(unavailable)?;
        let components = self.gateway.components().await.map_err(unavailable)?;
        Ok(device.map(|device| self.record(device, &components)))
    }

    async fn list(&self, limit: usize) -> Result<Vec<DeviceRecord>, Unavailable> {
        let devices = self.gateway.devices().await.map_err(unavailable)?;
        let components = self.gateway.components().await.map_err(unavailable)?;
        let in_service = devices.into_iter().filter(|d| !d.retired).take(limit);
        Ok(in_service.map(|device| self.record(device, &components)).collect())
    }
}

fn unavailable(error: GatewayError) -> Unavailable {
    Unavailable(error.to_string())
}

impl DeviceView {
    fn record(&self, device: Device, components: &[Component]) -> DeviceRecord {
        let is_own = device.serial == self.own_serial;
        let expected_interval =
            device.expected_interval_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let last_report = self.last_report(&device.serial, is_own);
        let since = last_report.map(|at| self.clock.mono().since(at));
        let last_online = newer(device.last_online_ms, last_report.and_then(|at| self.unix_ms(at)));
        let trouble = if is_own { self.own_trouble() } else { absent(since, expected_interval) };
        let components = components
            .iter()
            .filter(|c| c.key.device == device.serial)
            .map(|c| ComponentRecord {
                package: c.key.package.clone(),
                version: c.version.clone(),
                target: c.target.clone(),
                state: c.phase.word().to_owned(),
                reason: Some(c.words.clone()).filter(|w| !w.is_empty()),
            })
            .collect();
        DeviceRecord {
            id: device.serial.clone(),
            name: device.name.clone().unwrap_or_else(|| device.serial.clone()),
            firmware_version: device.firmware_version.clone(),
            components,
            last_seen_online_unix_ms: last_online,
            last_seen_offline_unix_ms: device.last_offline_ms,
            expected_interval,
            trouble,
            telemetry: self.telemetry(&device),
            integration: integration(&device),
            serial: device.serial,
        }
    }

    fn last_report(&self, serial: &str, is_own: bool) -> Option<Mono> {
        let heard =
            self.board.latest.all().into_values().filter(|l| l.value.device == serial).map(|l| l.at).max();
        if is_own {
            let links = self.board.links.all();
            return links.into_values().filter_map(|l| l.value.last_heard).max().or(heard);
        }
        heard
    }

    fn own_trouble(&self) -> Option<Trouble> {
        let links = self.board.links_as_seen(self.clock.mono());
        let sick = links.into_iter().find(|(_, l)| l.value.phase == LinkPhase::Sick);
        sick.map(|(name, link)| Trouble::Error(format!("{name}: {}", link.value.words)))
    }

    fn telemetry(&self, device: &Device) -> BTreeMap<String, TelemetryValue> {
        let mut telemetry: BTreeMap<String, TelemetryValue> = device
            .telemetry
            .iter()
            .map(|(name, value)| {
                (name.clone(), TelemetryValue { value: value.clone(), unit: None, at_unix_ms: None })
            })
            .gathered();
        for (name, Stamped { value: latest, at }) in self.board.latest.all() {
            if latest.device == device.serial && latest.quality == Quality::Good {
                let unit = Some(latest.unit.clone()).filter(|u| !u.is_empty());
                let value = TelemetryValue { value: json(&latest.value), unit, at_unix_ms: self.unix_ms(at) };
                telemetry.insert(name, value);
            }
        }
        telemetry
    }

    fn unix_ms(&self, at: Mono) -> Option<i64> {
        let wall = self.clock.wall();
        let ago = i64::try_from(self.clock.mono().since(at).as_millis()).ok()?;
        wall.trusted.then(|| wall.unix_ms - ago)
    }
}

fn absent(since: Option<Duration>, expected: Option<Duration>) -> Option<Trouble> {
    match presence(since, expected) {
        Presence::Offline => Some(Trouble::Warning("it has not answered for three of its periods".into())),
        Presence::Online | Presence::Unknown => None,
    }
}

fn newer(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).max()
}

fn integration(device: &Device) -> Option<IntegrationRecord> {
    let (service, _) = device.assignments.iter().next()?;
    Some(IntegrationRecord { kind: service.clone(), name: service.clone(), capabilities: Vec::new() })
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Steps(n) => (*n).into(),
        Value::Float(f) => (*f).into(),
        Value::Bool(b) => (*b).into(),
        Value::Text(text) => text.as_ref().into(),
        Value::Absent => serde_json::Value::Null,
    }
}
