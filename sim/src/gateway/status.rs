//! What the daemon says of itself at `/api/gateway/status`, as much of it as is looked at here.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;

use super::http;

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// What the page says in one line.
    pub verdict: Verdict,
    /// Where readings go.
    pub destinations: Vec<Destination>,
    /// The modem, once it has said anything.
    pub radio: Option<Radio>,
    /// The queue, after its last commit.
    pub queue: Queue,
    /// Firmware, as shown.
    pub components: Vec<serde_json::Value>,
}

/// The page's headline.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// In words.
    pub headline: String,
}

/// One destination.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// Its link.
    pub link: Option<Link>,
    /// Its account, all classes.
    pub account: Account,
}

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Link {
    /// `up`, `connecting` and so on.
    pub phase: String,
    /// Messages sent and not yet answered.
    pub in_flight: u32,
}

/// The consuming side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Account {
    /// On disk at some time.
    pub accepted: u64,
    /// The destination has them.
    pub acknowledged: u64,
    /// Waiting.
    pub queued: u64,
}

/// The modem.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Radio {
    /// In words.
    pub registration: Option<String>,
    /// In words.
    pub grade: Option<String>,
    /// dBm.
    pub rsrp_dbm: Option<f32>,
}

/// The producing side.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Queue {
    /// 16 hexadecimal digits.
    pub epoch: Option<String>,
    /// The newest accepted sequence of each group in this epoch.
    pub newest_sequences: BTreeMap<String, u64>,
    /// On disk at some time.
    pub accepted: u64,
    /// Turned away.
    pub refused: u64,
    /// Replaced by a newer one.
    pub coalesced: u64,
    /// Due, and never came.
    pub missed: u64,
    /// Waiting for any destination.
    pub queued: u64,
}

impl Status {
    /// The destination of that name.
    #[must_use]
    pub fn destination(&self, name: &str) -> Option<&Destination> {
        self.destinations.iter().find(|d| d.name == name)
    }

    /// Its link's phase, in words.
    #[must_use]
    pub fn phase(&self, name: &str) -> &str {
        self.destination(name).and_then(|d| d.link.as_ref()).map_or("not started", |link| &link.phase)
    }

    /// Messages under way to it.
    #[must_use]
    pub fn in_flight(&self, name: &str) -> u32 {
        self.destination(name).and_then(|d| d.link.as_ref()).map_or(0, |link| link.in_flight)
    }
}

/// Asks the daemon; `None` while it does not answer.
pub async fn ask(address: SocketAddr) -> Option<Status> {
    let body = http::get(address, "/api/gateway/status").await.ok()?;
    serde_json::from_slice(&body).ok()
}
