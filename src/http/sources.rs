//! What the page, the API and the metrics are made from.
//!
//! The http room owns no fact: it looks at the board, at the queue's status and, through two small traits, at what
//! `gateway.db` keeps. Whoever holds that file implements the traits; nothing here opens it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::watch;

use crate::board::Board;
use crate::clock::{Clock, Mono};
use crate::store::gateway::GatewayHealth;
use crate::store::queue::{DestinationId, QueueStatus};

/// Tells the lanes that are silent, and since when: the supervisor's word.
pub type SilentLanes = Arc<dyn Fn() -> Vec<(String, Mono)> + Send + Sync>;

/// Tells whether `gateway.db` takes writes.
pub type GatewayDb = Arc<dyn Fn() -> GatewayHealth + Send + Sync>;

/// Everything a request may look at. Clones share it.
#[derive(Clone)]
pub struct Sources {
    /// What the gateway knows now.
    pub board: Arc<Board>,
    /// How the queue is, after its last commit.
    pub queue: watch::Receiver<QueueStatus>,
    /// The destinations' numbers in the queue, and their names, in the configured order.
    pub destinations: Arc<[(DestinationId, String)]>,
    /// What does not change while the daemon runs.
    pub gateway: GatewayFacts,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The firmware log in `gateway.db`.
    pub firmware_log: Arc<dyn FirmwareLog>,
    /// The readings in `queue.db`.
    pub readings: Arc<dyn Readings>,
    /// The registry in `gateway.db`.
    pub devices: Arc<dyn Devices>,
    /// Lanes that neither advance nor wait.
    pub silent_lanes: SilentLanes,
    /// Whether `gateway.db` takes writes.
    pub gateway_db: GatewayDb,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

/// What is known at the start and stays so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayFacts {
    /// The name shown to people; also answered to as a `Host`.
    pub name: String,
    /// The gateway's own device name in the registry.
    pub serial: String,
    /// The daemon's version.
    pub version: String,
    /// When the daemon started.
    pub started: Mono,
}

/// The firmware log, as pages behind a cursor (requirement D11).
#[async_trait]
pub trait FirmwareLog: Send + Sync {
    /// The entries after the cursor, oldest first, at most `limit` of them (1 to 200). `None` begins at the oldest kept.
    ///
    /// Asking with a cursor says that everything up to it has arrived: it is recorded as `puller`'s acknowledgement.
    /// The answer is given up after a few seconds; it must not block the thread.
    ///
    /// # Errors
    /// [`LogError`].
    async fn page(&self, after: Option<&str>, limit: usize, puller: &str) -> Result<LogPage, LogError>;

    /// Completes once the newest entry is another than `head` ([`LogPage::head`]). Without polling.
    async fn moved_from(&self, head: u64);
}

/// The readings on disk, as pages behind a cursor.
#[async_trait]
pub trait Readings: Send + Sync {
    /// The readings after the cursor, at most `limit` of them (1 to 200), most urgent class first. `None` begins at the
    /// oldest kept. A look at the file beside everything else; it changes nothing. One at a time.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Busy`] while another look is under way.
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<ReadingPage, LogError>;
}

/// A page of readings, as it goes on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReadingPage {
    /// The gateway's id, 32 hexadecimal digits.
    pub gateway: String,
    /// The queue file's id, 16 hexadecimal digits.
    pub file: String,
    /// In the order of classes and of acceptance.
    pub readings: Vec<serde_json::Value>,
    /// The cursor after the last reading. Opaque to the puller.
    pub next: String,
    /// Whether readings follow.
    pub more: bool,
    /// Segments that were delivered and freed between the cursor and this page.
    pub freed_segments: u64,
}

/// A page of the firmware log, as it goes on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogPage {
    /// Oldest first. Whoever keeps the log decides an entry's shape; nothing here looks into it.
    pub entries: Vec<serde_json::Value>,
    /// The cursor after the last entry; without entries the one asked with. Opaque to the puller.
    pub next: String,
    /// Whether entries follow.
    pub more: bool,
    /// The number of the newest entry there is.
    #[serde(skip)]
    pub head: u64,
    /// What lets a puller verify the pages by themselves: whose log it is, and the heads of its chains.
    #[serde(flatten)]
    pub proof: serde_json::Map<String, serde_json::Value>,
}

/// A page of the firmware log cannot be given. The texts of the cursor's errors are shown to the puller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The cursor is no cursor.
    #[error("{0}")]
    Malformed(String),
    /// The cursor is another gateway's, or another file's.
    #[error("{0}")]
    Foreign(String),
    /// The cursor points to what this log does not have any more: it went on from an older copy.
    #[error("{0}")]
    Diverged(String),
    /// The log does not read. The text is for the journal; the puller is told to come back.
    #[error("the firmware log does not read: {0}")]
    Unavailable(String),
    /// Somebody else is pulling, and there is one at a time. The puller is told to come back.
    #[error("another pull is under way")]
    Busy,
}

/// The registry's devices (requirement C2), as the status API shows them.
#[async_trait]
pub trait Devices: Send + Sync {
    /// The device with this id or serial number.
    ///
    /// # Errors
    /// When the registry does not read.
    async fn get(&self, id_or_serial: &str) -> Result<Option<DeviceRecord>, Unavailable>;

    /// The first `limit` devices by id, retired ones left out.
    ///
    /// # Errors
    /// When the registry does not read.
    async fn list(&self, limit: usize) -> Result<Vec<DeviceRecord>, Unavailable>;
}

/// The registry does not read; the text is for the journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registry does not read: {0}")]
pub struct Unavailable(pub String);

/// A device as the registry knows it. Secrets in its metadata never come here.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceRecord {
    /// The registry's id.
    pub id: String,
    /// Serial number: its device name at the cloud.
    pub serial: String,
    /// The name people gave it.
    pub name: String,
    /// The version of its main component.
    pub firmware_version: Option<String>,
    /// All its components.
    pub components: Vec<ComponentRecord>,
    /// When it was last known to be online, unix milliseconds.
    pub last_seen_online_unix_ms: Option<i64>,
    /// When it was last known to be offline, unix milliseconds.
    pub last_seen_offline_unix_ms: Option<i64>,
    /// How often it is expected to report; online is a last report younger than three of these.
    pub expected_interval: Option<Duration>,
    /// What somebody should look at, if anything.
    pub trouble: Option<Trouble>,
    /// What it last reported, by name.
    pub telemetry: BTreeMap<String, TelemetryValue>,
    /// The service it belongs to.
    pub integration: Option<IntegrationRecord>,
}

/// A firmware component of a device, with Golioth's state words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentRecord {
    /// Package name.
    pub package: String,
    /// The version that runs.
    pub version: Option<String>,
    /// The version that is wanted.
    pub target: Option<String>,
    /// `IDLE`, `DOWNLOADING`, `DOWNLOADED`, `UPDATING`.
    pub state: String,
    /// In words.
    pub reason: Option<String>,
}

/// What is wrong with a device, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It works, but somebody should look.
    Warning(String),
    /// It does not work.
    Error(String),
}

/// A value a device reported.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryValue {
    /// The value.
    pub value: serde_json::Value,
    /// UCUM unit.
    pub unit: Option<String>,
    /// When, unix milliseconds, where that is known.
    pub at_unix_ms: Option<i64>,
}

/// The service a device belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrationRecord {
    /// `golioth`, `mqtt`.
    pub kind: String,
    /// Its name in the configuration.
    pub name: String,
    /// What the provider can do.
    pub capabilities: Vec<String>,
}

/// A firmware log without entries: for a gateway that has no `gateway.db` open.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFirmwareLog;

#[async_trait]
impl FirmwareLog for NoFirmwareLog {
    async fn page(&self, after: Option<&str>, _limit: usize, _puller: &str) -> Result<LogPage, LogError> {
        match after {
            None => Ok(LogPage::default()),
            Some(_) => {
                Err(LogError::Foreign("There is no firmware log here. Begin without a cursor.".into()))
            }
        }
    }

    async fn moved_from(&self, _head: u64) {
        std::future::pending().await
    }
}

/// A registry without devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDevices;

#[async_trait]
impl Devices for NoDevices {
    async fn get(&self, _id_or_serial: &str) -> Result<Option<DeviceRecord>, Unavailable> {
        Ok(None)
    }

    async fn list(&self, _limit: usize) -> Result<Vec<DeviceRecord>, Unavailable> {
        Ok(Vec::new())
    }
}
