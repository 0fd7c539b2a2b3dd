//! What destinations were told of losses and wall times: on disk after the next commit. Losing it costs a repetition.

use rusqlite::Transaction;

use super::super::reader::Told;
use super::{DestinationId, Writer};
use crate::clock::Mono;

/// As many may wait for a commit that cannot be made.
const MOST_PENDING: usize = 1024;

impl Writer {
    pub(super) fn told(&mut self, now: Mono, generation: u32, destination: DestinationId, told: &[Told]) {
        if generation != self.generation || self.pending.told.len() + told.len() > MOST_PENDING {
            return;
        }
        self.pending.told.extend(told.iter().map(|told| (destination, *told)));
        self.pending.settlements_since.get_or_insert(now);
    }

    pub(super) fn write_told(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        for (destination, told) in &self.pending.told {
            tx.prepare_cached(
                "INSERT INTO told (destination, kind, record, count) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (destination, kind, record) DO UPDATE SET count = max(count, ?4)",
            )?
            .execute((destination.0, told.kind as u8, told.record, told.count))?;
        }
        Ok(())
    }
}
