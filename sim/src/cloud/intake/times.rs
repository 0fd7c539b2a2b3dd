//! When rows say that they were captured: kept on request, because it is as much as the readings themselves.

use serde::Serialize;

/// A row's time as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Stated {
    /// Wall time.
    Wall {
        /// Unix milliseconds.
        unix_ms: i64,
        /// Milliseconds either way; left out by the gateway up to a second.
        uncertainty_ms: Option<u64>,
    },
    /// Monotonic time of a boot.
    Boot {
        /// Which.
        boot: u64,
        /// Milliseconds since it began.
        mono_ms: u64,
    },
}

/// One row, by its first value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowTime {
    /// First 4 bytes of the store epoch.
    pub epoch: [u8; 4],
    /// Sequence.
    pub sequence: u64,
    /// The alias of its first value.
    pub alias: Box<str>,
    /// Its time.
    pub stated: Stated,
}

/// The times of rows in the order they came, copies included; the first two million.
#[derive(Debug, Default)]
pub(super) struct Times {
    wanted: bool,
    rows: Vec<RowTime>,
}

const MOST: usize = 2_000_000;

impl Times {
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn note(&mut self, row: impl FnOnce() -> RowTime) {
        if self.wanted && self.rows.len() < MOST {
            self.rows.push(row());
        }
    }

    pub(super) fn rows(&self) -> &[RowTime] {
        &self.rows
    }
}
