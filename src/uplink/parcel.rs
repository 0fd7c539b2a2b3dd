//! Readings that travel together, from being packed until they are settled. Pure.

use super::link::Message;
use super::policy::Flow;
use crate::store::queue::{Position, QueuedRow, SettledRow};

/// Readings that travel together, and the range they settle.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    /// Where they came from, and go back to.
    pub(super) flow: Flow,
    pub(super) rows: Vec<QueuedRow>,
    /// Readings of the range that do not travel, because a newer one says all they would; in order.
    pub(super) superseded: Vec<SettledRow>,
    pub(super) from: Position,
    pub(super) to: Position,
    /// Already packed: to be sent again byte for byte.
    pub(super) message: Option<Message>,
    /// The message carries the epoch's opening statement.
    pub(super) announces_epoch: bool,
}

impl Parcel {
    /// The first `count` rows, and the rest. Both are packed anew; neither carries the statement.
    pub(super) fn split(mut self, count: usize) -> (Self, Self) {
        let rows = self.rows.split_off(count.min(self.rows.len()));
        let middle = rows.first().map_or(self.to, |row| row.position);
        let place = self.superseded.partition_point(|row| row.position < middle);
        let superseded = self.superseded.split_off(place);
        let rest = Self { rows, superseded, from: middle, message: None, announces_epoch: false, ..self };
        let head = Self {
            to: middle,
            flow: rest.flow,
            from: self.from,
            rows: self.rows,
            superseded: self.superseded,
            message: None,
            announces_epoch: false,
        };
        (head, rest)
    }

    /// The same readings, to be packed anew.
    pub(super) fn unpacked(self) -> Self {
        Self { message: None, announces_epoch: false, ..self }
    }
}
