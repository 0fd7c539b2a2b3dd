//! What a run came to, on both sides.

use std::collections::BTreeSet;

use super::DEVICE;
use crate::bus::Ledger;
use crate::cloud::Cloud;
use crate::gateway::points::POINTS;

/// What a run came to; compared between runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Pieces of bytes in the trace.
    pub trace_events: u64,
    /// Counted values that the bus put on the wire.
    pub produced: u64,
    /// Readings accepted, by the daemon's books.
    pub accepted: u64,
    /// Acknowledged by Golioth, by the books.
    pub acknowledged: u64,
    /// Given up, by the books.
    pub dropped: u64,
    /// Refused by Golioth for their content, by the books.
    pub set_aside: u64,
    /// Still queued for Golioth, recounted.
    pub queued: u64,
    /// Identities at the cloud.
    pub cloud_unique: u64,
    /// Further copies at the cloud.
    pub cloud_duplicates: u64,
    /// Counted values that the bus produced and the cloud lacks.
    pub lost: u64,
    /// Values at the cloud that the bus never produced, and identities under which two different things came.
    pub corrupted: u64,
    /// DTLS handshakes at the cloud.
    pub handshakes: u64,
    /// What the recount of the books found, as sentences.
    pub problems: Vec<String>,
}

/// The set difference between what the bus put on the wire and what the cloud holds, by the counters in the values.
pub(super) fn compare(ledger: &Ledger, cloud: &Cloud) -> (u64, u64) {
    let mut lost = 0;
    let mut corrupted = 0;
    for wired in POINTS.iter().filter(|wired| wired.counted) {
        let Some(point) = ledger.point(wired.unit, wired.point) else { continue };
        let mut missing: BTreeSet<u64> = (1..=point.produced).collect();
        for (_, _, seen) in cloud.intake().values_of(DEVICE, wired.alias) {
            let said = seen.value.as_f64().map(|value| wired.as_said(value));
            match said.and_then(|said| point.function.counter_among(point.produced, said)) {
                Some(counter) => {
                    missing.remove(&counter);
                }
                None => corrupted += 1,
            }
        }
        lost += missing.len() as u64;
    }
    (lost, corrupted)
}
