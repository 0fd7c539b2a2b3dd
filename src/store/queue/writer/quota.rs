//! Keeping the file inside its quota: the oldest readings of the least urgent class go first, each on record.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction};

use super::super::books::Changes;
use super::super::cursor::Cursor;
use super::super::segment::{self, Position};
use super::{DestinationId, Writer, write_drop};
use crate::clock::Mono;
use crate::reading::{Class, StreamId};

/// Given up in this order when room is short. Alarms never are.
const GIVEN_UP: [Class; 4] = [Class::Diagnostics, Class::Telemetry, Class::State, Class::Event];
/// Above this share of the quota (in 1/16) the oldest go; until there is this much less.
const HIGH_SIXTEENTHS: u64 = 14;
/// At most so many segments in one step, so that a step stays short.
const STEP: usize = 64;

impl Writer {
    /// Drops the oldest when the quota is nearly reached.
    pub(super) fn keep_quota(&mut self, now: Mono) {
        if self.used_bytes > self.options.max_bytes / 16 * HIGH_SIXTEENTHS {
            self.give_up_oldest(now, "quota");
        }
    }

    /// Drops the oldest because the disk has no room at all.
    pub(super) fn make_room(&mut self, now: Mono) {
        self.give_up_oldest(now, "disk_full");
    }

    fn give_up_oldest(&mut self, now: Mono, reason: &'static str) {
        let Ok(placeholder) = rusqlite::Connection::open_in_memory() else { return };
        let mut connection = std::mem::replace(&mut self.connection, placeholder);
        let result = connection.transaction().and_then(|tx| {
            let mut changes = Changes::default();
            let mut moved = BTreeMap::new();
            let mut left = STEP;
            for class in GIVEN_UP {
                left -= self.give_up(&tx, class, left, reason, &mut changes, &mut moved, now)?;
                if left < STEP {
                    break;
                }
            }
            self.write_cursors(&tx, &moved)?;
            changes.write(&tx)?;
            tx.commit()?;
            Ok((changes, moved))
        });
        self.connection = connection;
        match result {
            Ok((changes, moved)) => {
                changes.apply(&mut self.books);
                self.cursors.extend(moved);
                self.measure();
            }
            Err(error) => tracing::warn!(%error, reason, "the oldest readings could not be given up"),
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one step of one transaction; a struct would only rename them"
    )]
    fn give_up(
        &self,
        tx: &Transaction<'_>,
        class: Class,
        most: usize,
        reason: &'static str,
        changes: &mut Changes,
        moved: &mut BTreeMap<(DestinationId, Class), Cursor>,
        now: Mono,
    ) -> rusqlite::Result<usize> {
        let first = Position::first_of(class);
        let mut at = first.segment;
        let end = self.next_segment.get(&class).map_or(at, |p| p.segment);
        for given in 0..most {
            let oldest: Option<(i64, i64, Vec<u8>)> = tx
                .prepare_cached(
                    "SELECT id, routes, body FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1",
                )?
                .query_row((at, end), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
                .optional()?;
            let Some((id, routes, body)) = oldest else { return Ok(given) };
            let from = Position { segment: id, row: 0 };
            for (destination, _) in &self.destinations {
                if routes & destination.bit() == 0 {
                    continue;
                }
                let key = (*destination, class);
                let Some(known) = self.cursors.get(&key) else { continue };
                let cursor = moved.entry(key).or_insert_with(|| known.clone());
                let mut counts: BTreeMap<StreamId, u64> = BTreeMap::new();
                if let Ok(rows) = segment::rows(&body) {
                    for row in rows.flatten() {
                        if !cursor.is_settled(Position { segment: id, row: row.index }) {
                            *counts.entry(row.sample.stream).or_default() += 1;
                        }
                    }
                }
                for (stream, count) in counts {
                    changes.account(&self.books, *destination, stream).dropped += count;
                    write_drop(tx, *destination, stream, reason, count, self.epoch_number, now)?;
                }
                // From the cursor, not from the segment: what lies between was not this destination's.
                let _ = cursor.settle(cursor.position().min(from), from.next_segment());
            }
            at = id + 1;
        }
        Ok(most)
    }
}
