//! What people do with readings that a destination refused: sent again, or given up.
//!
//! A reading sent again goes to the end of its class's queue, in a segment for this destination alone, under the epoch and
//! the sequence it was accepted with: the same identity, so that a destination that has it after all sees a copy. In the
//! books it moves from set aside to queued, or to dropped, in one transaction; so the equation holds at each moment.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};
use tokio::sync::oneshot;

use super::super::books::Changes;
use super::super::drops::Drops;
use super::super::segment::{self, MAX_ROWS, Position, SegmentBuilder};
use super::disk::Disk;
use super::{DestinationId, Health, Writer};
use crate::clock::Mono;
use crate::reading::{Class, StreamId};

/// Which of the readings that were set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aside {
    /// Those with these row ids in the table `set_aside`, in one transaction.
    Numbers(Vec<i64>),
    /// All of a destination.
    AllOf(DestinationId),
}

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsideAction {
    /// Sent again under the same identity.
    Retry,
    /// Given up, on record with the reason `operator`.
    Drop,
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsideMoved {
    /// Moved as asked.
    pub moved: u64,
    /// Left where they were: their content does not read, or their destination is not configured any more. They can only
    /// be given up.
    pub left: u64,
    /// Numbers that were asked for and are not there.
    pub unknown: Vec<i64>,
}

/// Nothing was moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsideError {
    /// The store takes no writes now.
    #[error("the readings stay set aside: the store is in the state {0}. Try again when it has recovered")]
    Unwell(&'static str),
    /// The transaction failed.
    #[error(
        "the readings stay set aside: the disk refuses the change ({0}). Try again when it has recovered"
    )]
    Disk(String),
    /// The writer is gone.
    #[error("the readings stay set aside: the store has stopped")]
    Stopped,
}

/// One of them, as the file has it.
struct Held {
    id: i64,
    destination: DestinationId,
    stream: StreamId,
    epoch: i64,
    sequence: u64,
    body: Vec<u8>,
}

pub(super) type Ends = BTreeMap<Class, Position>;
type ByOrigin = BTreeMap<(DestinationId, Class, i64), SegmentBuilder>;

impl Writer {
    pub(super) fn aside(
        &mut self,
        now: Mono,
        which: Aside,
        action: AsideAction,
        reply: oneshot::Sender<Result<AsideMoved, AsideError>>,
    ) {
        // What waits goes first, so that a reading set aside a moment ago is found.
        self.commit(now);
        let moved = match &self.health {
            Health::Good => self.move_aside(now, which, action),
            unwell => Err(AsideError::Unwell(unwell.name())),
        };
        self.publish();
        // Whoever asked may have gone; it is done all the same.
        let _ = reply.send(moved);
    }

    fn move_aside(&mut self, now: Mono, which: Aside, action: AsideAction) -> Result<AsideMoved, AsideError> {
        let failed = |e: rusqlite::Error| AsideError::Disk(e.to_string());
        let mut connection = self.disk.take().map_err(failed)?;
        let result = connection.transaction().and_then(|tx| {
            let (mut changes, mut ends) = (Changes::default(), self.next_segment.clone());
            let (held, unknown) = held(&tx, which)?;
            let mut moved = match action {
                AsideAction::Retry => self.retry(&tx, held, &mut changes, &mut ends)?,
                AsideAction::Drop => self.give_up_aside(&tx, &held, &mut changes, now)?,
            };
            moved.unknown = unknown;
            changes.write(&tx)?;
            tx.commit()?;
            Ok((moved, changes, ends))
        });
        self.disk = Disk::Open(connection);
        let (moved, changes, ends) = result.map_err(failed)?;
        self.tally.apply(&self.books, &changes, &self.destinations);
        changes.apply(&mut self.books);
        self.next_segment = ends;
        self.measure();
        Ok(moved)
    }

    fn retry(
        &self,
        tx: &Transaction<'_>,
        held: Vec<Held>,
        changes: &mut Changes,
        ends: &mut Ends,
    ) -> rusqlite::Result<AsideMoved> {
        let mut moved = AsideMoved::default();
        let mut segments = ByOrigin::new();
        for held in held {
            let row = segment::rows(&held.body).ok().and_then(|mut rows| rows.next()?.ok());
            let configured = self.destinations.iter().any(|(id, _)| *id == held.destination);
            let Some(row) = row.filter(|_| configured) else {
                moved.left += 1;
                continue;
            };
            let class = self.tally.class(held.stream);
            let builder = segments.entry((held.destination, class, held.epoch)).or_default();
            builder.push(row.at, row.sequence, std::iter::once(&row.sample));
            if builder.rows() >= MAX_ROWS {
                insert(tx, (held.destination, class, held.epoch), builder, ends)?;
            }
            self.take_from_aside(tx, &held, changes)?;
            moved.moved += 1;
        }
        for (origin, builder) in &mut segments {
            insert(tx, *origin, builder, ends)?;
        }
        Ok(moved)
    }

    fn give_up_aside(
        &self,
        tx: &Transaction<'_>,
        held: &[Held],
        changes: &mut Changes,
        now: Mono,
    ) -> rusqlite::Result<AsideMoved> {
        let mut drops = Drops::default();
        for held in held {
            self.take_from_aside(tx, held, changes)?;
            // One after the other set aside is not one after the other captured.
            drops.kept(held.destination, held.stream);
            drops.add(held.destination, held.stream, "operator", held.epoch, held.sequence);
        }
        changes.drop_all(&self.books, &drops);
        drops.write(tx, self.epoch_number, now)?;
        Ok(AsideMoved { moved: held.len() as u64, ..AsideMoved::default() })
    }

    fn take_from_aside(
        &self,
        tx: &Transaction<'_>,
        held: &Held,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        tx.prepare_cached("DELETE FROM set_aside WHERE id = ?1")?.execute([held.id])?;
        let account = changes.account(&self.books, held.destination, held.stream);
        account.set_aside = account.set_aside.saturating_sub(1);
        Ok(())
    }
}

/// What is there of it, oldest first, and the numbers that are not.
fn held(tx: &Transaction<'_>, which: Aside) -> rusqlite::Result<(Vec<Held>, Vec<i64>)> {
    match which {
        Aside::AllOf(destination) => Ok((rows(tx, "destination = ?1", destination.0.into())?, Vec::new())),
        Aside::Numbers(mut numbers) => {
            // One that is named twice is one.
            numbers.sort_unstable();
            numbers.dedup();
            let mut all = Vec::new();
            let mut unknown = Vec::new();
            for number in numbers {
                let there = rows(tx, "id = ?1", number)?;
                if there.is_empty() {
                    unknown.push(number);
                }
                all.extend(there);
            }
            Ok((all, unknown))
        }
    }
}

fn rows(tx: &Transaction<'_>, by: &str, number: i64) -> rusqlite::Result<Vec<Held>> {
    let mut rows = tx.prepare_cached(&format!(
        "SELECT id, destination, stream, epoch, sequence, body FROM set_aside WHERE {by} ORDER BY id"
    ))?;
    let rows = rows.query_map([number], |r| {
        Ok(Held {
            id: r.get(0)?,
            destination: DestinationId(r.get(1)?),
            stream: StreamId(r.get(2)?),
            epoch: r.get(3)?,
            sequence: r.get::<_, i64>(4)?.cast_unsigned(),
            body: r.get(5)?,
        })
    })?;
    rows.collect()
}

pub(super) fn insert(
    tx: &Transaction<'_>,
    (destination, class, epoch): (DestinationId, Class, i64),
    builder: &mut SegmentBuilder,
    ends: &mut Ends,
) -> rusqlite::Result<()> {
    if builder.rows() == 0 {
        return Ok(());
    }
    let place = ends.entry(class).or_insert_with(|| Position::first_of(class));
    let (rows, first, body) = builder.finish();
    tx.prepare_cached(
        "INSERT INTO segments (id, epoch, routes, rows, first_mono_us, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        place.segment,
        epoch,
        destination.bit(),
        rows,
        (first.0 / 1000).cast_signed(),
        body
    ])?;
    *place = place.next_segment();
    builder.clear();
    Ok(())
}
