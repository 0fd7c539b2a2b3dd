//! Which readings of a backlog go when the data plan cannot pay for all of them. Pure.
//!
//! By decimation, whatever the readings say, or where the operator gave a stream a band, by what they say: those go that
//! differ from the last that went by more than the band, and all that have no number. The others are given up on record, as
//! `thinned`.
//!
//! Invariant: no reading is given up that was live when the plan was asked, whatever it stands behind.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{BootId, Mono};
use crate::reading::{Quality, StreamId, Value};
use crate::store::queue::QueuedRow;

/// The bands of streams, in their units; finite and not negative.
pub type Bands = BTreeMap<StreamId, f64>;

/// How a backlog is thinned, and what is backlog.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thinning {
    /// One instant in so many stays.
    factor: u64,
    /// Backlog is what was captured before this, or in another boot.
    since: Mono,
    boot: BootId,
}

impl Thinning {
    /// What is no older than `live_bound` at `now` of this boot stays.
    pub(super) fn at(now: Duration, boot: BootId, live_bound: Duration, factor: u64) -> Self {
        Self { factor, since: Mono::from(now.saturating_sub(live_bound)), boot }
    }

    /// Whether a reading is live, or of an instant that stays.
    pub(super) fn keeps(&self, row: &QueuedRow) -> bool {
        self.is_live(row) || row.sequence.is_multiple_of(self.factor.max(1))
    }

    /// Whether it is no backlog.
    pub(super) fn is_live(&self, row: &QueuedRow) -> bool {
        row.epoch.boot == self.boot && row.at >= self.since
    }
}

/// What the last reading said that went. Forgotten where the order of readings is broken.
#[derive(Clone, Debug, Default)]
pub(super) struct LastSent(BTreeMap<StreamId, (Said, Quality)>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Steps(i64),
    Float(f64),
}

impl LastSent {
    /// A reading of a stream with a band goes.
    pub(super) fn goes(&mut self, row: &QueuedRow) {
        match said(row) {
            Some(said) => self.0.insert(row.sample.stream, (said, row.sample.quality)),
            None => self.0.remove(&row.sample.stream),
        };
    }

    /// Whether a reading says nothing that the last one of its stream did not.
    pub(super) fn covers(&self, row: &QueuedRow, band: f64) -> bool {
        let (Some((last, quality)), Some(said)) = (self.0.get(&row.sample.stream), said(row)) else {
            return false;
        };
        let within = match (*last, said) {
            (Said::Steps(last), Said::Steps(now)) => last.abs_diff(now) <= steps(band, row),
            (Said::Float(last), Said::Float(now)) => (now - last).abs() <= band,
            _ => false,
        };
        within && *quality == row.sample.quality
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

fn said(row: &QueuedRow) -> Option<Said> {
    match row.sample.value {
        Value::Steps(steps) => Some(Said::Steps(steps)),
        Value::Float(float) => Some(Said::Float(float)),
        Value::Bool(_) | Value::Text(_) | Value::Absent => None,
    }
}

/// Whole steps of the stream within the band. A little more than the quotient: 0.3 in steps of 0.1 is three, whatever
/// binary fractions make of it.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and a band is not negative"
)]
fn steps(band: f64, row: &QueuedRow) -> u64 {
    let step = row.stream.resolution.map_or(1.0, |resolution| resolution.value(1));
    (band / step * (1.0 + 1e-9)).floor() as u64
}
