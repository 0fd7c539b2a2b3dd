//! Which reading stands in which table, line and column: laid out once for all readings there are, so that every attempt at a
//! message of fewer is one pass over the beginning of what is here.
//!
//! Only indices of readings are kept. Invariant: in every list they rise, so that the first n readings are a prefix of each.

use super::{MAX_CELLS, MAX_COLUMNS, Reading};
use crate::rows::RowTime;

/// Instants of one group, all dated alike.
#[derive(Debug)]
pub(super) struct Table {
    /// The first reading of each instant.
    pub(super) instants: Vec<usize>,
    pub(super) columns: Vec<Column>,
    /// Where the next reading's column probably is.
    next_column: usize,
}

/// Readings of one stream.
#[derive(Debug)]
pub(super) struct Column {
    /// By place of the instant in the table and place of the reading.
    pub(super) cells: Vec<(usize, usize)>,
}

#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) tables: Vec<Table>,
    /// Readings that have a place; those behind have none for want of room.
    pub(super) readings: usize,
    cells: usize,
}

impl Layout {
    pub(super) fn of(readings: &[Reading<'_>]) -> Self {
        let mut layout = Self::default();
        let mut latest = 0;
        for (index, reading) in readings.iter().enumerate() {
            let is_place = |table: &Table| {
                table.instants.first().and_then(|first| readings.get(*first)).is_some_and(|other| {
                    other.group == reading.group && boot(other.time) == boot(reading.time)
                })
            };
            let found = match layout.tables.get(latest) {
                Some(table) if is_place(table) => Some(latest),
                _ => layout.tables.iter().position(is_place),
            };
            latest = found.unwrap_or(layout.tables.len());
            if found.is_none() {
                layout.tables.push(Table { instants: Vec::new(), columns: Vec::new(), next_column: 0 });
            }
            let Some(table) = layout.tables.get_mut(latest) else { break };
            let before = table.cells();
            let fits = table.place(readings, index, reading);
            layout.cells += table.cells() - before;
            if !fits || layout.cells > MAX_CELLS {
                break;
            }
            layout.readings = index + 1;
        }
        layout
    }
}

impl Table {
    fn cells(&self) -> usize {
        self.instants.len() * self.columns.len()
    }

    /// Whether there was room.
    fn place(&mut self, readings: &[Reading<'_>], index: usize, reading: &Reading<'_>) -> bool {
        let is_new = self
            .instants
            .last()
            .and_then(|first| readings.get(*first))
            .is_none_or(|first| !first.same_instant(reading));
        if is_new {
            self.instants.push(index);
            self.next_column = 0;
        }
        let is_its = |column: &Column| {
            column.first().and_then(|first| readings.get(first)).is_some_and(|one| one.alias == reading.alias)
        };
        let found = match self.columns.get(self.next_column) {
            Some(column) if is_its(column) => Some(self.next_column),
            _ => self.columns.iter().position(is_its),
        };
        let place = found.unwrap_or(self.columns.len());
        if found.is_none() {
            if self.columns.len() == MAX_COLUMNS {
                return false;
            }
            self.columns.push(Column { cells: Vec::new() });
        }
        self.next_column = place + 1;
        let Some(column) = self.columns.get_mut(place) else { return false };
        // A stream that speaks twice at one instant: the second stands in a line of its own, under the same identity.
        if column.cells.last().is_some_and(|(instant, _)| instant + 1 == self.instants.len()) {
            self.instants.push(index);
        }
        column.cells.push((self.instants.len() - 1, index));
        true
    }
}

impl Column {
    /// The reading that named it.
    pub(super) fn first(&self) -> Option<usize> {
        self.cells.first().map(|(_, reading)| *reading)
    }
}

/// The boot, for what is not dated.
pub(super) fn boot(time: RowTime) -> Option<u64> {
    match time {
        RowTime::Wall { .. } => None,
        RowTime::Boot { boot, .. } => Some(boot),
    }
}
