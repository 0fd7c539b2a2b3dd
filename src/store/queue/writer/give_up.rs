//! What people give up of what waits for a destination: from its oldest reading of a class on, all of it or one stream.
//!
//! One step a transaction, so that accepting goes on between two. A destination's progress is a cursor with few islands, which
//! cannot leave single readings out; so where one stream is named, everything up to the end of a step is settled for that
//! destination, and the readings of other streams that stood there go to the end of its queue, in order, under the epoch and
//! the sequence they were accepted with, as a reading that is sent again does ([`super::aside`]). In the books they wait as
//! before.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction};
use tokio::sync::oneshot;

use super::super::books::Changes;
use super::super::cursor::Cursor;
use super::super::drops::Drops;
use super::super::segment::{self, MAX_ROWS, PackedRow, Position, SegmentBuilder};
use super::aside::{Ends, insert};
use super::disk::Disk;
use super::{DestinationId, Health, Writer};
use crate::clock::Mono;
use crate::reading::{Class, Sample, StreamId};

/// At most so many segments in one step, and no further once it has met so many readings.
const STEP_SEGMENTS: usize = 64;
const STEP_ROWS: u64 = 4096;

/// Which readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiveUp {
    /// The queue file that is meant: [`super::super::QueueStatus::generation`].
    pub generation: u32,
    /// For whom; others still get them.
    pub destination: DestinationId,
    /// Of which class.
    pub class: Class,
    /// What stands before this, the beginning of a segment. No later than the end of the class's queue was when the first
    /// step was asked for.
    pub until: Position,
    /// Only of these; `None` means all.
    pub streams: Option<Vec<StreamId>>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GaveUp {
    /// Readings dropped, on record with the reason `operator`.
    pub dropped: u64,
    /// Readings of other streams, now at the end of the queue.
    pub behind: u64,
    /// There is more to do: ask again.
    pub more: bool,
}

/// The step was not done; those before it were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveUpError {
    /// The store takes no writes now.
    #[error(
        "the disk refuses the change: {0}. Check room and health of the disk and run it again; what is already done is on \
         record"
    )]
    Unwell(&'static str),
    /// The transaction failed.
    #[error(
        "the disk refuses the change ({0}). Check room and health of the disk and run it again; what is already done is on \
         record"
    )]
    Disk(String),
    /// What is put behind would push the oldest of everybody out.
    #[error(
        "the queue is too full: the other streams' readings would go to its end, and the oldest of everybody be given up for \
         them. Name no stream, or run it again when more is delivered. What is already done is on record"
    )]
    NoRoom,
    /// Nobody can say what is given up.
    #[error(
        "segment {0} does not read, and what it holds cannot be accounted for. Run: fieldgate queue verify. What is already \
         done is on record"
    )]
    Unreadable(i64),
    /// The file was damaged, and another took its place.
    #[error(
        "the queue file turned out damaged and was replaced; nothing was given up of the new one. What there is: fieldgate queue \
         ls"
    )]
    Replaced,
    /// The writer is gone.
    #[error("the store has stopped; run it again. What is already done is on record")]
    Stopped,
}

impl From<rusqlite::Error> for GiveUpError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Disk(error.to_string())
    }
}

/// What a step found.
struct Found {
    dropped: u64,
    drops: Drops,
    behind: u64,
    kept: BTreeMap<i64, Kept>,
    /// Everything before is settled by it.
    to: Position,
    more: bool,
}

/// Readings of one epoch that go on waiting.
#[derive(Default)]
struct Kept {
    rows: Vec<PackedRow>,
}

impl Writer {
    pub(super) fn give_up_asked(
        &mut self,
        now: Mono,
        what: &GiveUp,
        reply: oneshot::Sender<Result<GaveUp, GiveUpError>>,
    ) {
        // What waits goes first: an answer that has come already is no loss.
        self.commit(now);
        // Making room is what a full disk needs; what is put behind needs some itself.
        let may = self.health == Health::Good || (self.health == Health::DiskFull && what.streams.is_none());
        let done = if what.generation != self.generation {
            Err(GiveUpError::Replaced)
        } else if may && what.streams.is_some() && !self.has_room_to_spare() {
            Err(GiveUpError::NoRoom)
        } else if may {
            self.give_up_step(now, what)
        } else {
            Err(GiveUpError::Unwell(self.health.name()))
        };
        self.publish();
        // Whoever asked may have gone; it is done all the same.
        let _ = reply.send(done);
    }

    fn give_up_step(&mut self, now: Mono, what: &GiveUp) -> Result<GaveUp, GiveUpError> {
        let key = (what.destination, what.class);
        let Some(cursor) = self.cursors.get(&key).cloned() else { return Ok(GaveUp::default()) };
        let mut connection = self.disk.take()?;
        let result = self.write_given_up(&mut connection, now, what, cursor);
        self.disk = Disk::Open(connection);
        let (gave_up, changes, cursor, ends) = result?;
        self.tally.apply(&self.books, &changes, &self.destinations);
        changes.apply(&mut self.books);
        self.cursors.insert(key, cursor);
        self.next_segment = ends;
        self.rearranged += 1;
        self.has_committed = true;
        self.measure();
        Ok(gave_up)
    }

    fn write_given_up(
        &self,
        connection: &mut rusqlite::Connection,
        now: Mono,
        what: &GiveUp,
        mut cursor: Cursor,
    ) -> Result<(GaveUp, Changes, Cursor, Ends), GiveUpError> {
        let tx = connection.transaction()?;
        let (mut changes, mut ends) = (Changes::default(), self.next_segment.clone());
        let found = look(&tx, what, &cursor)?;
        // From the cursor on there is no room for too many islands.
        let _ = cursor.settle(cursor.position(), found.to);
        let moved = BTreeMap::from([((what.destination, what.class), cursor)]);
        // First what frees room: in a file at its limit the rest needs it.
        self.write_cursors(&tx, &moved)?;
        changes.drop_all(&self.books, &found.drops);
        found.drops.write(&tx, self.epoch_number, now)?;
        for (epoch, kept) in found.kept {
            kept.write(&tx, (what.destination, what.class, epoch), &mut ends)?;
        }
        changes.write(&tx)?;
        tx.commit()?;
        let gave_up = GaveUp { dropped: found.dropped, behind: found.behind, more: found.more };
        let cursor = moved.into_values().next().ok_or(GiveUpError::Stopped)?;
        Ok((gave_up, changes, cursor, ends))
    }
}

fn look(tx: &Transaction<'_>, what: &GiveUp, cursor: &Cursor) -> Result<Found, GiveUpError> {
    let from = cursor.position();
    let mut found =
        Found { dropped: 0, drops: Drops::default(), behind: 0, kept: BTreeMap::new(), to: from, more: true };
    let (mut at, mut met) = (from.segment, 0);
    for _ in 0..STEP_SEGMENTS {
        let next: Option<(i64, i64, i64, Vec<u8>)> = tx
            .prepare_cached(
                "SELECT id, epoch, routes, body FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1",
            )?
            .query_row((at, what.until.segment), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .optional()?;
        let Some((id, epoch, routes, body)) = next else {
            found.to = from.max(what.until);
            found.more = false;
            return Ok(found);
        };
        if id < at {
            // Not what was asked for: the table's pages are not in order, and believed, this would go on for ever.
            return Err(GiveUpError::Unreadable(id));
        }
        if routes & what.destination.bit() != 0 {
            for row in segment::rows(&body).map_err(|_| GiveUpError::Unreadable(id))? {
                let row = row.map_err(|_| GiveUpError::Unreadable(id))?;
                met += 1;
                let stream = row.sample.stream;
                if cursor.is_settled(Position { segment: id, row: row.index }) {
                    found.drops.kept(what.destination, stream);
                    continue;
                }
                if what.streams.as_ref().is_none_or(|named| named.contains(&stream)) {
                    found.dropped += 1;
                    found.drops.add(what.destination, stream, "operator", epoch, row.sequence);
                } else {
                    found.drops.kept(what.destination, stream);
                    found.behind += 1;
                    found.kept.entry(epoch).or_default().rows.push(row);
                }
            }
        }
        found.to = Position { segment: id, row: 0 }.next_segment();
        at = found.to.segment;
        if met >= STEP_ROWS {
            break;
        }
    }
    Ok(found)
}

impl Kept {
    /// Packs them again, the readings of an instant together.
    fn write(
        self,
        tx: &Transaction<'_>,
        origin: (DestinationId, Class, i64),
        ends: &mut Ends,
    ) -> rusqlite::Result<()> {
        let mut builder = SegmentBuilder::default();
        let of_an_instant = |a: &PackedRow, b: &PackedRow| a.sequence == b.sequence && a.at == b.at;
        for instant in self.rows.chunk_by(of_an_instant) {
            let Some(first) = instant.first() else { continue };
            let samples: Vec<&Sample> = instant.iter().map(|row| &row.sample).collect();
            builder.push(first.at, first.sequence, samples.iter().copied());
            if builder.rows() >= MAX_ROWS {
                insert(tx, origin, &mut builder, ends)?;
            }
        }
        insert(tx, origin, &mut builder, ends)
    }
}
