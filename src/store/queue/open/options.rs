//! What the queue is told at start: streams, destinations, limits.

use std::path::PathBuf;
use std::time::Duration;

use super::super::Epoch;
use super::super::quota_policy::ClassQuotas;
use super::super::reader::StreamInfo;
use crate::clock::BootId;
use crate::reading::{Class, Resolution};

/// A stream as the configuration defines it.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSpec {
    /// Its name, unique on the gateway.
    pub name: String,
    /// The streams captured together with it carry the same group name.
    pub group: String,
    /// The registry device it belongs to.
    pub device: String,
    /// Fixed at acceptance.
    pub class: Class,
    /// UCUM unit, or empty.
    pub unit: String,
    /// The step its values are counted in, if they are.
    pub resolution: Option<Resolution>,
    /// Its short name on the wire.
    pub alias: String,
    /// The destinations it goes to, by name.
    pub routes: Vec<String>,
    /// Of readings that wait for one commit only the newest is accepted. Not for alarms and events: each of them counts.
    pub latest_only: bool,
}

impl StreamSpec {
    pub(super) fn info(&self) -> StreamInfo {
        StreamInfo {
            name: self.name.clone(),
            group: self.group.clone(),
            device: self.device.clone(),
            class: self.class,
            unit: self.unit.clone(),
            resolution: self.resolution,
            alias: self.alias.clone(),
        }
    }
}

/// A destination as the configuration defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSpec {
    /// Its name.
    pub name: String,
}

/// Everything the queue is told at start.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// `queue.db`.
    pub path: PathBuf,
    /// The streams; their position here is their handle's position in [`super::Queue::streams`].
    pub streams: Vec<StreamSpec>,
    /// The destinations.
    pub destinations: Vec<DestinationSpec>,
    /// How long an accept may wait for others to share its sync. This much is at risk *before* acceptance.
    pub commit_window: Duration,
    /// The file's quota in bytes.
    pub max_bytes: u64,
    /// What each class may take of it.
    pub class_quotas: ClassQuotas,
    /// The room held back, in bytes; 0 for none.
    pub ballast_bytes: u64,
    /// Bytes a day that may be written; where the forecast is higher the commit window widens, up to a minute.
    pub flash_budget_per_day: Option<u64>,
    /// The boot that monotonic times count from.
    pub boot: BootId,
    /// The epoch to begin: 64 fresh random bits.
    pub epoch: Epoch,
    /// The file's id if it has to be made: 64 fresh random bits.
    pub file_id: u64,
}
