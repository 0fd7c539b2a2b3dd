//! What a drain asks about the queue besides its next readings: where the young ones begin, and what is newest.

use rusqlite::OptionalExtension;

use super::{ReadError, Reader};
use crate::clock::{BootId, Mono};
use crate::reading::StreamId;
use crate::store::queue::Position;

impl Reader {
    /// The first segment between `from` and `end` that was begun in `boot` not before `since`; `end` where there is none.
    ///
    /// By bisection: segments stand in the order of acceptance. Readings that were put back into the queue, and instants
    /// that were handed in late, may make it miss by a segment; nobody loses by that.
    ///
    /// # Errors
    /// [`ReadError`]; where it is damage, the writer has been told.
    pub fn first_since(
        &mut self,
        from: Position,
        end: Position,
        boot: BootId,
        since: Mono,
    ) -> Result<Position, ReadError> {
        let found = self.bisect(from, end, boot, since);
        self.reporting_damage(found)
    }

    fn bisect(
        &mut self,
        from: Position,
        end: Position,
        boot: BootId,
        since: Mono,
    ) -> Result<Position, ReadError> {
        let since_us = (since.0 / 1000).cast_signed();
        let (mut low, mut high) = (from.next_segment().segment, end.segment);
        while low < high {
            let middle = low + (high - low) / 2;
            let next: Option<(i64, i64, i64)> = self
                .connection
                .prepare_cached(
                    "SELECT id, epoch, first_mono_us FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1",
                )?
                .query_row((middle, high), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
                .optional()?;
            match next {
                Some((id, epoch, first_us)) => {
                    let young = first_us >= since_us && self.epoch(id, epoch)?.boot == boot;
                    if young {
                        high = middle;
                    } else {
                        low = id + 1;
                    }
                }
                None => high = middle,
            }
        }
        Ok(Position { segment: low.max(from.segment), row: 0 })
    }

    /// The newest accepted reading of a stream: its epoch's number and its sequence.
    ///
    /// # Errors
    /// [`ReadError`]; where it is damage, the writer has been told.
    pub fn newest(&self, stream: StreamId) -> Result<Option<(i64, u64)>, ReadError> {
        self.reporting_damage(self.newest_of(stream))
    }

    fn newest_of(&self, stream: StreamId) -> Result<Option<(i64, u64)>, ReadError> {
        let newest = self
            .connection
            .prepare_cached("SELECT epoch, last_sequence FROM intake WHERE stream = ?1")?
            .query_row([stream.0], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.cast_unsigned())))
            .optional()?;
        Ok(newest)
    }
}
