//! Gap records: what was due and was not accepted, as ranges that grow instead of multiplying.
//!
//! A range is of one stream, kind and reason within one epoch. It grows with each further reading of the same fate, also
//! across readings that were accepted in between: the count says how many were lost, first and last say when and where
//! to look. So a stream has at most one record a (kind, reason) and epoch, however badly it does.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use super::super::books::{Books, Changes};
use crate::clock::Mono;
use crate::reading::StreamId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Missed,
    Refused,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Refused => "refused",
        }
    }
}

type Key = (StreamId, Kind, &'static str);

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

/// The ranges of this epoch, and which of them have changes to write.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    ranges: BTreeMap<Key, Range>,
    changed: BTreeSet<Key>,
    /// Counts not yet in the books.
    unbooked: BTreeMap<(StreamId, Kind), u64>,
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
        self.add(stream, Kind::Missed, reason, epoch, sequence, at);
    }

    pub(super) fn refuse(
        &mut self,
        streams: &[StreamId],
        reason: &'static str,
        epoch: i64,
        sequence: u64,
        at: Mono,
    ) {
        for stream in streams {
            self.add(*stream, Kind::Refused, reason, epoch, sequence, at);
        }
    }

    fn add(
        &mut self,
        stream: StreamId,
        kind: Kind,
        reason: &'static str,
        epoch: i64,
        sequence: u64,
        at: Mono,
    ) {
        let key = (stream, kind, reason);
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
        self.changed.insert(key);
        *self.unbooked.entry((stream, kind)).or_default() += 1;
    }

    pub(super) fn is_clean(&self) -> bool {
        self.changed.is_empty()
    }

    /// Writes what changed. Returns the row numbers of new records, to be remembered once the transaction is committed.
    pub(super) fn write(
        &self,
        tx: &Transaction<'_>,
        books: &Books,
        changes: &mut Changes,
    ) -> rusqlite::Result<Vec<(Key, i64)>> {
        let mut made = Vec::new();
        for key in &self.changed {
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
        for ((stream, kind), count) in &self.unbooked {
            let intake = changes.intake(books, *stream);
            match kind {
                Kind::Missed => intake.missed += count,
                Kind::Refused => intake.refused += count,
            }
        }
        Ok(made)
    }

    /// The transaction that [`Gaps::write`] wrote into is committed.
    pub(super) fn written(&mut self, made: Vec<(Key, i64)>) {
        for (key, row) in made {
            if let Some(range) = self.ranges.get_mut(&key) {
                range.row = Some(row);
            }
        }
        self.changed.clear();
        self.unbooked.clear();
    }

    /// Another file, another set of records; what was not yet written is kept for it.
    pub(super) fn forget_rows(&mut self) {
        self.ranges.retain(|key, range| {
            range.row = None;
            self.changed.contains(key)
        });
        // Ranges partly written to the old file carry only what is still unbooked into the new one.
        for ((stream, kind), count) in &self.unbooked {
            for (key, range) in &mut self.ranges {
                if key.0 == *stream && key.1 == *kind {
                    range.count = range.count.min(*count);
                }
            }
        }
    }
}
