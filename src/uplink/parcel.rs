//! Readings that travel together, from being packed until they are settled. Pure.

use super::link::Message;
use super::policy::Flow;
use crate::store::queue::{GivenUp, Position, QueuedRow};

/// Readings that travel together, and the range they settle.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parcel {
    /// Where they came from, and go back to.
    pub(super) flow: Flow,
    pub(super) rows: Vec<QueuedRow>,
    /// Readings of the range that do not travel, because a newer one says all they would or for the data plan; in order.
    pub(super) given_up: Vec<GivenUp>,
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
        let place = self.given_up.partition_point(|given_up| given_up.row.position < middle);
        let given_up = self.given_up.split_off(place);
        let rest = Self { rows, given_up, from: middle, message: None, announces_epoch: false, ..self };
        let head = Self {
            to: middle,
            flow: rest.flow,
            from: self.from,
            rows: self.rows,
            given_up: self.given_up,
            message: None,
            announces_epoch: false,
        };
        (head, rest)
    }

    /// Without the readings before `settled`, which others settled; to be packed anew.
    pub(super) fn without_those_before(mut self, settled: Position) -> Self {
        self.rows.retain(|row| row.position >= settled);
        self.given_up.retain(|given_up| given_up.row.position >= settled);
        Self { from: self.from.max(settled).min(self.to), ..self.unpacked() }
    }

    /// The same readings, to be packed anew.
    pub(super) fn unpacked(self) -> Self {
        Self { message: None, announces_epoch: false, ..self }
    }
}
