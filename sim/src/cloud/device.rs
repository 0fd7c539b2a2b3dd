//! What the cloud holds of one device.

use super::limiter::Limiter;
use super::settings::SettingsStatus;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// Names a device within one run; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeviceKey(pub(super) u32);

#[derive(Debug)]
pub(super) struct Device {
    /// 24 hexadecimal digits.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) hardware_ids: Vec<String>,
    pub(super) tag_ids: Vec<String>,
    pub(super) blueprint: Option<String>,
    pub(super) cohort: Option<String>,
    /// The name in the certificate that it connects with; once there, it stays.
    pub(super) certificate: Option<String>,
    pub(super) enabled: bool,
    pub(super) created_ns: i128,
    pub(super) updated_ns: i128,
    pub(super) last_report_ns: Option<i128>,
    pub(super) last_online_ns: Option<i128>,
    /// When its latest session was established, on the cloud's time line.
    pub(super) session_since: Duration,
    pub(super) credentials: Vec<Credential>,
    pub(super) state: Value,
    pub(super) messages: VecDeque<StreamMessage>,
    /// What pipelines brought to LightDB Stream, oldest first.
    pub(super) rows: VecDeque<StreamRow>,
    /// Where a pipeline last said it was.
    pub(super) location: Option<Location>,
    /// The last report of each package.
    pub(super) updates: BTreeMap<String, OtaEvent>,
    pub(super) settings_status: Option<SettingsStatus>,
    /// DER: the last it asked to have signed, and what it is then given.
    pub(super) signing_request: Option<Vec<u8>>,
    pub(super) limiter: Limiter,
    pub(super) requests: u64,
    /// When a resource that can be observed was last answered with, or a notification of it acknowledged, by path.
    pub(super) shown: BTreeMap<String, Duration>,
}

/// A pre-shared key and whose it is.
pub(super) struct Credential {
    pub(super) id: String,
    pub(super) identity: String,
    pub(super) key: Zeroizing<String>,
    pub(super) created_ns: i128,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// A stream message that a route took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMessage {
    /// Path behind `.s`, with its slash.
    pub path: String,
    /// Content-Format number as sent.
    pub content_format: Option<u16>,
    /// The body.
    pub body: Vec<u8>,
    /// When it came, Unix nanoseconds.
    pub unix_ns: i128,
    /// When it came, on the cloud's time line.
    pub at: Duration,
}

/// One row of LightDB Stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StreamRow {
    /// Path behind `.s`, with its slash.
    pub(super) path: String,
    /// The time its pipeline gave it, Unix nanoseconds.
    pub(super) unix_ns: i128,
    pub(super) data: Value,
}

/// A place on the earth, and when it was said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Location {
    /// Degrees.
    pub(super) latitude: f64,
    /// Degrees.
    pub(super) longitude: f64,
    /// Metres; `None` where it was not said.
    pub(super) accuracy: Option<u64>,
    pub(super) unix_ns: i128,
}

/// A device's report on one package (`.u/c/<package>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtaEvent {
    /// Device name.
    pub device: String,
    /// Package.
    pub package: String,
    /// 0 idle, 1 downloading, 2 downloaded, 3 updating.
    pub state: u64,
    /// Golioth's reason code; 0 is ready.
    pub reason: u64,
    /// Running version.
    pub version: Option<String>,
    /// Target version.
    pub target: Option<String>,
    /// When it came, Unix nanoseconds.
    pub unix_ns: i128,
}

/// A line of a device's log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogEntry {
    /// Device name.
    pub device: String,
    /// `ERROR`, `WARN`, `INFO` or `DEBUG`, as sent but in capitals.
    pub level: String,
    /// Module.
    pub module: String,
    /// Message.
    pub message: String,
    /// Every other key of the body.
    pub metadata: Value,
    /// When it came, Unix nanoseconds.
    pub unix_ns: i128,
}
