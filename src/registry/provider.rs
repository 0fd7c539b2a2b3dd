//! The seam to a cloud's management plane: who the cloud thinks a device is.
//!
//! Separate from the device plane and optional: without a management key no provider exists and nothing else changes.
//! Object-safe, and no cloud's type appears in it. It grows an operation when something in the daemon asks for one; what
//! a cloud cannot do is [`ProviderError::Unsupported`], a type and not a text.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

/// What can be asked of a management plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Provider::own_device`].
    OwnDevice,
}

impl Operation {
    /// In words, for messages.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::OwnDevice => "reading the gateway's own device record",
        }
    }
}

/// What a provider is able to do, and within which limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCapabilities {
    /// The operations that are not refused as [`ProviderError::Unsupported`].
    pub operations: Vec<Operation>,
    /// The least time between two calls that makes sense, if the cloud says.
    pub least_interval: Option<Duration>,
}

/// A cloud's management plane.
#[async_trait]
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Which service's ids it deals in: `golioth`. The registry keeps external ids by this name.
    fn service(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> ProviderCapabilities;

    /// The gateway's own record, found by its configured serial number (the device's name at the cloud).
    async fn own_device(&self) -> Result<ProviderDevice, ProviderError>;
}

/// A device as a cloud records it, in no cloud's terms. What the cloud does not say is `None` or empty.
///
/// Times are milliseconds since 1970-01-01T00:00:00Z by the cloud's clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderDevice {
    /// The service's own clock when it answered, unix milliseconds: the beginning of a second; where the connection was verified.
    pub service_unix_ms: Option<i64>,
    /// The cloud's own id.
    pub external_id: String,
    /// The device's name at the cloud, which is its serial number.
    pub name: String,
    /// Hardware ids, several.
    pub hardware_ids: Vec<String>,
    /// Tags, by name where the cloud has names, else by id.
    pub tags: Vec<String>,
    /// The group it takes updates with.
    pub cohort: Option<String>,
    /// The provider's word for its status, verbatim.
    pub status: Option<String>,
    /// When a session was last established.
    pub last_seen_online_unix_ms: Option<i64>,
    /// When it was last seen to go away.
    pub last_seen_offline_unix_ms: Option<i64>,
    /// When it last reported anything.
    pub last_report_unix_ms: Option<i64>,
    /// Battery, percent.
    pub battery_percent: Option<f64>,
    /// Signal, dBm.
    pub signal_dbm: Option<f64>,
    /// Versions by package, as the cloud believes. Kept for comparison: they never set the device's version.
    pub firmware: BTreeMap<String, String>,
    /// Whatever else the cloud says of it; kept, not interpreted. Never a secret.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// Why a management call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// This cloud has no such operation.
    #[error("{service} does not support {}", operation.words())]
    Unsupported {
        /// The cloud.
        service: String,
        /// What was asked.
        operation: Operation,
    },
    /// The cloud refuses the key.
    #[error(
        "{service} refuses the management key ({detail}). Check that it belongs to this project and is still valid"
    )]
    Refused {
        /// The cloud.
        service: String,
        /// What it said.
        detail: String,
    },
    /// The cloud knows no such device.
    #[error(
        "{service} has no device named {name}. Create it there, or set `serial` in [gateway] to the name it has there"
    )]
    NoSuchDevice {
        /// The cloud.
        service: String,
        /// The name that was looked for.
        name: String,
    },
    /// Too many calls.
    #[error("{service} asks to wait before the next management call")]
    TooMany {
        /// The cloud.
        service: String,
        /// How long it said to wait, if it did.
        after: Option<Duration>,
    },
    /// Not reached, or no answer in time. Tried again at the next interval.
    #[error("{service} could not be reached ({detail}); it is asked again later")]
    Unreachable {
        /// The cloud.
        service: String,
        /// What failed.
        detail: String,
    },
    /// It answered something that is not an answer to this call.
    #[error("{service} answered in a way this release does not understand ({detail})")]
    Unintelligible {
        /// The cloud.
        service: String,
        /// What was wrong with it.
        detail: String,
    },
}
