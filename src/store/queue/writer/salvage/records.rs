//! The records of losses of a damaged predecessor, taken into this file.
//!
//! A loss that was on record stays on record: under its own reason, range and time, and under the number that its destination
//! knows it by, so that one that is told again replaces what was told before. In this file's books a salvaged drop is a reading
//! accepted once more and dropped, a salvaged gap counts as it did there; so the sums hold here as ever.
//!
//! A page has no checksum. What its records say is believed where it fits: words that are words, ranges that can hold the
//! count, epochs and streams that the file had, and sums that the file's own books do not contradict. The rest is passed over.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use super::super::super::books::Changes;
use super::super::super::drops::Extent;
use super::super::super::reader::RecordKind;
use super::super::super::salvage::{Catalogue, DropRow, GapRow};
use super::super::{DestinationId, Writer};
use super::Sorted;
use crate::gather::Gather;
use crate::reading::StreamId;

/// The longest reason.
const WORD: usize = 48;

/// What was taken, to be booked with the readings.
#[derive(Debug, Default)]
pub(super) struct Records {
    drops: BTreeMap<(DestinationId, StreamId), u64>,
    gaps: BTreeMap<(StreamId, String), u64>,
    /// How many records.
    pub(super) count: u64,
}

impl Records {
    /// How many readings of each stream count once more: two destinations may have dropped the same ones.
    pub(super) fn counts(&self) -> BTreeMap<StreamId, u64> {
        let mut counts: BTreeMap<StreamId, u64> = BTreeMap::new();
        for ((_, stream), count) in &self.drops {
            let most = counts.entry(*stream).or_default();
            *most = (*most).max(*count);
        }
        counts
    }

    pub(super) fn routed(&self) -> &BTreeMap<(DestinationId, StreamId), u64> {
        &self.drops
    }

    /// Books the losses themselves.
    pub(super) fn book(&self, writer: &Writer, changes: &mut Changes) {
        for ((destination, stream), count) in &self.drops {
            changes.account(&writer.books, *destination, *stream).dropped += count;
        }
        for ((stream, kind), count) in &self.gaps {
            let intake = changes.intake(&writer.books, *stream);
            match kind.as_str() {
                "refused" => intake.refused += count,
                "coalesced" => intake.coalesced += count,
                _ => intake.missed += count,
            }
        }
    }
}

/// Writes down all that is believed.
pub(super) fn take(tx: &Transaction<'_>, sorted: &mut Sorted<'_>, file: &str) -> rusqlite::Result<Records> {
    let mut records = Records::default();
    let catalogue = sorted.catalogue;
    let believed = Believed::of(catalogue);
    // A file may be salvaged twice, once by a successor that was damaged itself: its records are the same ones.
    let known_drops = origins(tx, "SELECT from_file, from_record FROM drops WHERE from_file IS NOT NULL")?;
    let known_gaps = origins(tx, "SELECT from_file, from_record FROM gaps WHERE from_file IS NOT NULL")?;
    for (id, row) in &catalogue.drops {
        let origin = origin(row.origin, catalogue, *id);
        if believed.drop(row)
            && !origin.is_some_and(|origin| known_drops.contains(&origin))
            && let Some(here) = sorted.destination(row.destination)
            && let Some(stream) = known_stream(sorted, row.stream)?
        {
            let epoch =
                row.epoch.map(|epoch| sorted.writer.epoch_of(tx, catalogue, epoch, file)).transpose()?;
            let at_epoch = sorted.writer.epoch_of(tx, catalogue, row.at_epoch, file)?;
            let (from_file, from_record) = origin.unzip();
            tx.prepare_cached(
                "INSERT INTO drops (destination, stream, reason, epoch, first_sequence, last_sequence, count, at_epoch,
                                    at_mono_ns, extent, from_file, from_record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute((
                here.0,
                stream.0,
                &row.reason,
                epoch,
                row.sequences.map(|(first, _)| first),
                row.sequences.map(|(_, last)| last),
                row.count.cast_signed(),
                at_epoch,
                row.at_mono_ns,
                row.extent,
                from_file,
                from_record,
            ))?;
            // A sum of what was told is never told again, whether or not that note of it was found.
            let known = (row.extent == Extent::Told as i64).then_some(row.count.cast_signed());
            let told =
                known.as_ref().or(catalogue.told.get(&(row.destination, RecordKind::Drop as i64, *id)));
            tell(tx, here, RecordKind::Drop, told)?;
            *records.drops.entry((here, stream)).or_default() += row.count;
            records.count += 1;
        }
    }
    for (id, row) in &catalogue.gaps {
        let stream = match row.stream {
            None => None,
            Some(there) => match known_stream(sorted, there)? {
                None => continue,
                here => here,
            },
        };
        let origin = origin(row.origin, catalogue, *id);
        if !believed.gap(row) || origin.is_some_and(|origin| known_gaps.contains(&origin)) {
            continue;
        }
        let epoch = sorted.writer.epoch_of(tx, catalogue, row.epoch, file)?;
        let (from_file, from_record) = origin.unzip();
        tx.prepare_cached(
            "INSERT INTO gaps (stream, kind, reason, epoch, first_sequence, last_sequence, count, first_mono_ns,
                               last_mono_ns, from_file, from_record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute((
            stream.map(|stream| stream.0),
            &row.kind,
            &row.reason,
            epoch,
            row.sequences.map(|(first, _)| first),
            row.sequences.map(|(_, last)| last),
            row.count.map(u64::cast_signed),
            row.first_mono_ns,
            row.last_mono_ns,
            from_file,
            from_record,
        ))?;
        let record = tx.last_insert_rowid();
        for there in catalogue.destinations.keys() {
            let told = catalogue.told.get(&(*there, RecordKind::Gap as i64, *id));
            if let Some(here) = sorted.destination(*there) {
                tell_record(tx, here, RecordKind::Gap, record, told)?;
            }
        }
        if let Some((stream, count)) = stream.zip(row.count) {
            *records.gaps.entry((stream, row.kind.clone())).or_default() += count;
        }
        records.count += 1;
    }
    Ok(records)
}

/// The number the record has on the wire: the one it was made with, in the file it was made in.
fn origin(before: Option<(i64, i64)>, catalogue: &Catalogue, id: i64) -> Option<(i64, i64)> {
    before.or(catalogue.file_id.map(|file| (file, id)))
}

fn origins(tx: &Transaction<'_>, sql: &str) -> rusqlite::Result<BTreeSet<(i64, i64)>> {
    tx.prepare(sql)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.try_gathered()
}

fn tell(
    tx: &Transaction<'_>,
    here: DestinationId,
    kind: RecordKind,
    told: Option<&i64>,
) -> rusqlite::Result<()> {
    tell_record(tx, here, kind, tx.last_insert_rowid(), told)
}

fn tell_record(
    tx: &Transaction<'_>,
    here: DestinationId,
    kind: RecordKind,
    record: i64,
    told: Option<&i64>,
) -> rusqlite::Result<()> {
    if let Some(told) = told {
        tx.prepare_cached(
            "INSERT OR REPLACE INTO told (destination, kind, record, count) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((here.0, kind as u8, record, told))?;
    }
    Ok(())
}

fn known_stream(sorted: &mut Sorted<'_>, there: StreamId) -> rusqlite::Result<Option<StreamId>> {
    // What was refused without being of any configured stream.
    if there == StreamId(0) {
        return Ok(Some(there));
    }
    match sorted.catalogue.streams.get(&there).map(|info| info.class) {
        Some(class) => sorted.stream(there, class),
        None => Ok(None),
    }
}

fn is_word(word: &str) -> bool {
    (1..=WORD).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn holds(sequences: Option<(i64, i64)>, count: u64) -> bool {
    sequences.is_none_or(|(first, last)| {
        first >= 0 && last >= first && count <= (last - first).cast_unsigned().saturating_add(1)
    })
}

/// What the file's own books allow.
struct Believed<'a> {
    catalogue: &'a Catalogue,
    drops: BTreeMap<(DestinationId, StreamId), u64>,
    gaps: BTreeMap<(StreamId, &'a str), u64>,
}

impl<'a> Believed<'a> {
    fn of(catalogue: &'a Catalogue) -> Self {
        let (mut drops, mut gaps) = (BTreeMap::new(), BTreeMap::new());
        for row in catalogue.drops.values() {
            let sum: &mut u64 = drops.entry((row.destination, row.stream)).or_default();
            *sum = sum.saturating_add(row.count);
        }
        for row in catalogue.gaps.values() {
            if let Some((stream, count)) = row.stream.zip(row.count) {
                let sum: &mut u64 = gaps.entry((stream, row.kind.as_str())).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        Self { catalogue, drops, gaps }
    }

    fn drop(&self, row: &DropRow) -> bool {
        let key = (row.destination, row.stream);
        let sum = self.drops.get(&key).copied().unwrap_or(0);
        let fits = self.catalogue.accounts.get(&key).map(|account| sum <= account.dropped);
        // Without its account a sum could be anything.
        fits.unwrap_or(row.sequences.is_some())
            && is_word(&row.reason)
            && holds(row.sequences, row.count)
            && row.epoch.is_none_or(|epoch| self.catalogue.epochs.contains_key(&epoch))
            && self.catalogue.epochs.contains_key(&row.at_epoch)
    }

    fn gap(&self, row: &GapRow) -> bool {
        let fits = match row.stream {
            None => row.count.is_none(),
            Some(stream) => {
                let sum = self.gaps.get(&(stream, row.kind.as_str())).copied().unwrap_or(0);
                let books = self.catalogue.intake.get(&stream);
                let fits = books.map(|intake| {
                    sum <= match row.kind.as_str() {
                        "refused" => intake.refused,
                        "coalesced" => intake.coalesced,
                        _ => intake.missed,
                    }
                });
                // A capture may be refused two readings of a stream: only without books must the range hold the count.
                fits.unwrap_or(row.sequences.is_some() && holds(row.sequences, row.count.unwrap_or(0)))
            }
        };
        fits && is_word(&row.reason) && self.catalogue.epochs.contains_key(&row.epoch)
    }
}
