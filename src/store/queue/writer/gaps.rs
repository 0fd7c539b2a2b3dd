//! Gap records: what was due and was not accepted, as ranges that grow instead of multiplying.
//!
//! A range is of one stream, kind and reason within one epoch. It grows with each further reading of the same fate, also
//! across readings that were accepted in between: the count says how many were lost, first and last say when and where
//! to look. So a stream has at most one record a (kind, reason) and epoch, however badly it does; older epochs' records
//! are folded by [`super::super::bounds`].
//!
//! Invariant: a range's count is what its row in the file says plus what is unbooked.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction};

use super::super::books::{Books, Changes};
use crate::clock::Mono;
use crate::reading::StreamId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Missed,
    Refused,
    Coalesced,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Refused => "refused",
            Self::Coalesced => "coalesced",
        }
    }
}

type Key = (StreamId, Kind, &'static str);

/// New records and their row numbers.
pub(super) type Made = Vec<(Key, i64)>;

#[derive(Clone, Debug)]
struct Range {
    row: Option<i64>,
    epoch: i64,
    first_sequence: u64,
    last_sequence: u64,
    count: u64,
    first: Mono,
    last: Mono,
}

/// The ranges of this epoch, and how much of each is not yet in the file.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    ranges: BTreeMap<Key, Range>,
    unbooked: BTreeMap<Key, u64>,
}

impl Gaps {
    pub(super) fn miss(
        &mut self,
        stream: StreamId,
        reason: &'static str,
        epoch: i64,
        sequence: u64,
        at: Mono,
    ) {
        self.add((stream, Kind::Missed, reason), epoch, sequence, at);
    }

    pub(super) fn refuse(
        &mut self,
        stream: StreamId,
        reason: &'static str,
        epoch: i64,
        sequence: u64,
        at: Mono,
    ) {
        self.add((stream, Kind::Refused, reason), epoch, sequence, at);
    }

    pub(super) fn coalesce(
        &mut self,
        stream: StreamId,
        reason: &'static str,
        epoch: i64,
        sequence: u64,
        at: Mono,
    ) {
        self.add((stream, Kind::Coalesced, reason), epoch, sequence, at);
    }

    fn add(&mut self, key: Key, epoch: i64, sequence: u64, at: Mono) {
        let range = self.ranges.entry(key).or_insert(Range {
            row: None,
            epoch,
            first_sequence: sequence,
            last_sequence: sequence,
            count: 0,
            first: at,
            last: at,
        });
        range.last_sequence = sequence;
        range.last = at;
        range.count += 1;
        *self.unbooked.entry(key).or_default() += 1;
    }

    pub(super) fn is_clean(&self) -> bool {
        self.unbooked.is_empty()
    }

    /// Writes what changed. Returns the row numbers of new records, to be remembered once the transaction is committed.
    pub(super) fn write(
        &self,
        tx: &Transaction<'_>,
        books: &Books,
        changes: &mut Changes,
    ) -> rusqlite::Result<Made> {
        let mut made = Vec::new();
        for (key, count) in &self.unbooked {
            let intake = changes.intake(books, key.0);
            match key.1 {
                Kind::Missed => intake.missed += count,
                Kind::Refused => intake.refused += count,
                Kind::Coalesced => intake.coalesced += count,
            }
            let Some(range) = self.ranges.get(key) else { continue };
            match range.row {
                Some(row) => {
                    tx.prepare_cached(
                        "UPDATE gaps SET last_sequence = ?2, count = ?3, last_mono_ns = ?4 WHERE id = ?1",
                    )?
                    .execute((
                        row,
                        range.last_sequence.cast_signed(),
                        range.count.cast_signed(),
                        range.last.0.cast_signed(),
                    ))?;
                }
                None => {
                    tx.prepare_cached(
                        "INSERT INTO gaps (stream, kind, reason, epoch, first_sequence, last_sequence, count,
                                           first_mono_ns, last_mono_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                    )?
                    .execute((
                        key.0.0,
                        key.1.name(),
                        key.2,
                        range.epoch,
                        range.first_sequence.cast_signed(),
                        range.last_sequence.cast_signed(),
                        range.count.cast_signed(),
                        range.first.0.cast_signed(),
                        range.last.0.cast_signed(),
                    ))?;
                    made.push((*key, tx.last_insert_rowid()));
                }
            }
        }
        Ok(made)
    }

    /// The transaction that [`Gaps::write`] wrote into is committed.
    pub(super) fn written(&mut self, made: Made) {
        for (key, row) in made {
            if let Some(range) = self.ranges.get_mut(&key) {
                range.row = Some(row);
            }
        }
        self.unbooked.clear();
    }

    /// Another file, another set of records, another epoch: only what was not yet written is carried into it.
    pub(super) fn begin_again(&mut self, epoch: i64) {
        let unbooked = &self.unbooked;
        self.ranges.retain(|key, range| {
            let Some(count) = unbooked.get(key) else { return false };
            if range.count > *count {
                // What came before is told by the file that was moved aside.
                (range.first_sequence, range.first) = (range.last_sequence, range.last);
            }
            *range = Range { row: None, epoch, count: *count, ..range.clone() };
            true
        });
    }

    /// The same file, opened again: what it has is booked, whatever its last commit was answered with. `landed` are
    /// readings, by stream, that were answered as refused and are on disk all the same; they are refused no more.
    pub(super) fn resume(
        &mut self,
        connection: &Connection,
        epoch: i64,
        landed: &BTreeMap<StreamId, u64>,
    ) -> rusqlite::Result<()> {
        let mut booked: BTreeMap<(u32, String, String), (i64, u64)> = BTreeMap::new();
        let mut rows = connection.prepare(
            "SELECT stream, kind, reason, id, count FROM gaps WHERE epoch = ?1 AND stream IS NOT NULL",
        )?;
        let mut rows = rows.query([epoch])?;
        while let Some(row) = rows.next()? {
            let count: Option<i64> = row.get(4)?;
            let key = (row.get(0)?, row.get(1)?, row.get(2)?);
            booked.insert(key, (row.get(3)?, count.unwrap_or(0).cast_unsigned()));
        }
        let mut landed = landed.clone();
        self.unbooked.clear();
        self.ranges.retain(|key, range| {
            let in_file = booked.get(&(key.0.0, key.1.name().to_owned(), key.2.to_owned()));
            let (row, count) = in_file.map_or((None, 0), |(row, count)| (Some(*row), *count));
            range.row = row;
            let mut unbooked = range.count.saturating_sub(count);
            if key.1 == Kind::Refused
                && DISK_REASONS.contains(&key.2)
                && let Some(left) = landed.get_mut(&key.0)
            {
                let taken_back = unbooked.min(*left);
                *left -= taken_back;
                unbooked -= taken_back;
                range.count -= taken_back;
            }
            if unbooked > 0 {
                self.unbooked.insert(*key, unbooked);
            }
            range.count > 0
        });
        Ok(())
    }
}

/// The reasons by which readings are refused that were good in themselves.
const DISK_REASONS: [&str; 3] = ["disk_full", "read_only", "disk_fault"];
