//! How spending stands to the data plan.

use crate::clock::Mono;

/// How spending stands to the data plan (requirement D5). Bytes are those on the wire, headers included.
#[derive(Clone, Debug, PartialEq)]
pub struct DataPlan {
    /// There is a limit.
    pub limited: bool,
    /// What is spent now is spent while roaming.
    pub roaming: bool,
    /// This day, at home.
    pub day: PlanPeriod,
    /// This month, at home.
    pub month: PlanPeriod,
    /// This month, roaming.
    pub roaming_month: PlanPeriod,
    /// This month by purpose, both networks.
    pub by_purpose: Vec<(&'static str, u64)>,
    /// What others sent and received since the daemon started, and by whose counters that is known.
    pub others: Option<Others>,
    /// What waits for the plan, in words, and until when.
    pub waits: Vec<(String, Mono)>,
    /// Destinations whose backlog is thinned: one reading in so many is sent, the others are dropped on record.
    pub thinned: Vec<(String, u64)>,
    /// Bytes on the wire for 100 bytes of message, as learned, by destination and class.
    pub wire_percent: Vec<(String, u64)>,
}

/// What went over the same path and was not charged to the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    /// Bytes, both ways.
    pub bytes: u64,
    /// By whose counters.
    pub counter: Counter,
}

/// Who counts what goes over the path, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// The network interface: to the byte.
    Interface,
    /// The modem: in kilobytes, and anew after each of its restarts.
    Modem,
}

impl Counter {
    /// The word for it on the page, in the API and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Modem => "modem",
        }
    }
}

/// One period of the data plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanPeriod {
    /// What counts against the limit.
    pub bytes: u64,
    /// The limit, with what was carried over.
    pub limit: Option<u64>,
    /// What it will be at the end, if it goes on like this.
    pub forecast: Option<u64>,
    /// When that is; `None` without a clock.
    pub ends_unix_ms: Option<i64>,
}
