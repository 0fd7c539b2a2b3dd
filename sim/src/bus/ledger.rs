//! The account of a bus: what was asked, what was said, what was kept back.
//!
//! A snapshot, taken by `SimBus::ledger`. Memory does not grow with time: the counters of a point's values on
//! the wire are exactly `1..=produced`, and each value can be computed again from its counter.

use super::value::PointFunction;
use serde::Serialize;

/// Both sides of the line since the bus was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ledger {
    /// One entry a slave, in the order of the specification.
    pub slaves: Vec<SlaveLedger>,
    /// What no single slave owns.
    pub line: LineLedger,
}

impl Ledger {
    /// Counted values put on the wire in complete valid frames, all points together.
    #[must_use]
    pub fn produced(&self) -> u64 {
        self.slaves.iter().flat_map(|s| &s.points).filter(|p| p.counted).map(|p| p.produced).sum()
    }

    /// Requests heard and left without an answer because of silence, all slaves together.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.slaves.iter().map(|s| s.unanswered).sum()
    }

    /// The slave of a unit.
    #[must_use]
    pub fn slave(&self, unit: u8) -> Option<&SlaveLedger> {
        self.slaves.iter().find(|s| s.unit == unit)
    }

    /// A point by unit and name.
    #[must_use]
    pub fn point(&self, unit: u8, name: &str) -> Option<&PointLedger> {
        self.slave(unit)?.points.iter().find(|p| p.name == name)
    }
}

/// One slave. Always `requests = answered + exceptions + broken + unanswered + waiting`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlaveLedger {
    /// Unit identifier.
    pub unit: u8,
    /// Name from the specification.
    pub name: String,
    /// Sound requests heard for this unit (broadcasts are not among them).
    pub requests: u64,
    /// Answers put on the wire complete and valid, exceptions not among them.
    pub answered: u64,
    /// Exception answers put on the wire.
    pub exceptions: u64,
    /// Answers that a fault broke on their way: bad CRC, flipped bit, cut short, noise into the frame.
    pub broken: u64,
    /// Requests left without any answer: silent slave, silent bus, or too many answers waiting.
    pub unanswered: u64,
    /// Answers not on the wire yet.
    pub waiting: u64,
    /// One entry a point, in the order of the specification.
    pub points: Vec<PointLedger>,
}

/// One point: the values with counters `1..=produced` were put on the wire, each once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointLedger {
    /// Name from the specification.
    pub name: String,
    /// Whether values carry a counter and belong in the account.
    pub counted: bool,
    /// Values put on the wire in complete valid frames; also the counter of the latest.
    pub produced: u64,
    /// Those among `produced` that went out after the master had already sent another request, so that it may have taken
    /// them for late.
    pub overtaken: u64,
    /// Computes a value from its counter, and the counter from a value.
    #[serde(skip)]
    pub function: PointFunction,
}

/// What was heard on the line and belongs to no slave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LineLedger {
    /// Bytes heard.
    pub bytes_heard: u64,
    /// Bytes said, noise and broken frames among them.
    pub bytes_said: u64,
    /// Stretches that were no sound frame: bad CRC, cut short, too long.
    pub junk: u64,
    /// Sound requests for a unit that is not on this bus.
    pub foreign: u64,
    /// Sound broadcasts.
    pub broadcasts: u64,
    /// Requests that began before the line had been silent for 3.5 characters after an answer. Real slaves may
    /// take both for one broken frame; here they are only counted.
    pub crowded: u64,
}
