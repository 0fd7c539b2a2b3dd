//! What a destination's answer to a message does to the readings in it.

use super::{DestinationId, Position, QueuedRow};
use crate::reading::{Class, StreamId};

/// How a range of one destination's queue was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination said it has them.
    Acknowledged,
    /// Given up, for this reason (`age`, `quota`, `destination_removed`, …).
    Dropped(&'static str),
    /// Refused for their content; kept where people can see them.
    SetAside(String),
}

/// One reading of a settled range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledRow {
    /// Where it stands.
    pub position: Position,
    /// Whose account it moves.
    pub stream: StreamId,
    /// The number of its epoch in the file.
    pub epoch: i64,
    /// Its sequence.
    pub sequence: u64,
}

impl SettledRow {
    /// Of a reading as it was picked.
    #[must_use]
    pub fn of(row: &QueuedRow) -> Self {
        Self {
            position: row.position,
            stream: row.sample.stream,
            epoch: row.epoch.number,
            sequence: row.sequence,
        }
    }
}

/// A reading that was not sent, and why: `superseded` (a newer one of its stream was accepted), `thinned` (the data plan).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Which.
    pub row: SettledRow,
    /// The reason on record.
    pub reason: &'static str,
}

/// A range of one (destination, class) queue and what became of it.
///
/// The range is everything the destination's reader passed over, `from` inclusive to `to` exclusive; `rows` are the
/// readings in it that were this destination's, in order. Rows settled earlier (by a quota, say) are not counted twice.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The queue file the positions belong to: [`super::QueueStatus::generation`]. A settlement of a file that has been
    /// quarantined since is void.
    pub generation: u32,
    /// Whose answer it is.
    pub destination: DestinationId,
    /// Of which queue.
    pub class: Class,
    /// The first position settled.
    pub from: Position,
    /// The first position after it that is not.
    pub to: Position,
    /// The readings.
    pub rows: Vec<SettledRow>,
    /// What became of `rows`.
    pub outcome: Outcome,
    /// Other readings of the range, in order. Whatever the outcome, they are dropped.
    pub given_up: Vec<GivenUp>,
    /// The message also carried the statement that opens an epoch.
    pub announces_epoch: bool,
}
