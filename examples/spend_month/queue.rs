//! Readings that wait, in order of arrival.

use std::collections::VecDeque;

use fieldgate::reading::Class;

use super::{BATCH, MESSAGE, WORTHS};

/// Readings of one class and one minute.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) minute: u32,
    pub(crate) class: Class,
    pub(crate) count: u32,
    /// As many as there were before any were given up: one in so many is kept of these.
    pub(crate) whole: u32,
}

/// Readings that wait, in order.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) batches: VecDeque<Batch>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, batch: Batch) {
        self.count(batch, true);
        self.batches.push_back(batch);
    }

    /// The first message's worth.
    /// The first of them, if it is older than this.
    pub(crate) fn pop_before(&mut self, minute: u32) -> Option<Batch> {
        let batch = self.batches.pop_front_if(|batch| batch.minute < minute)?;
        self.count(batch, false);
        Some(batch)
    }

    pub(crate) fn pack(&mut self) -> Vec<Batch> {
        let mut message = Vec::new();
        let mut room = MESSAGE - BATCH;
        while let Some(batch) = self.batches.front_mut() {
            let bytes = WORTHS[batch.class as usize].bytes;
            let fits = u32::try_from(room / bytes).unwrap_or(u32::MAX).min(batch.count);
            if fits == 0 {
                break;
            }
            room -= u64::from(fits) * bytes;
            message.push(Batch { count: fits, ..*batch });
            batch.count -= fits;
            if batch.count == 0 {
                self.batches.pop_front();
            }
        }
        message.iter().for_each(|batch| self.count(*batch, false));
        message
    }

    /// Keeps one reading in `factor` of the first few hundred; returns how many are given up.
    pub(crate) fn thin(&mut self, factor: u32, before: u32) -> u64 {
        let mut given_up = Vec::new();
        let mut looked_at = 0;
        for batch in self.batches.iter_mut().take_while(|batch| batch.minute < before) {
            let kept = batch.whole.div_ceil(factor.max(1)).min(batch.count);
            given_up.push(Batch { count: batch.count - kept, ..*batch });
            looked_at += batch.count;
            batch.count = kept;
            if looked_at > 512 {
                break;
            }
        }
        given_up.iter().for_each(|batch| self.count(*batch, false));
        given_up.iter().map(|batch| u64::from(batch.count)).sum()
    }

    fn count(&mut self, batch: Batch, more: bool) {
        let rows = u64::from(batch.count);
        let bytes = rows * WORTHS[batch.class as usize].bytes;
        (self.rows, self.bytes) = if more {
            (self.rows + rows, self.bytes + bytes)
        } else {
            (self.rows - rows, self.bytes - bytes)
        };
    }
}
