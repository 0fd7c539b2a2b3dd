//! What the current pages of a damaged file still say of losses: drop and gap records, who was told of them, and the books.
//!
//! A record that grew stands on older versions of its page with less, and one that is gone stands there still: only what
//! SQLite would have shown counts. Told apart by their shape, like the other tables of the [`Catalogue`].

use super::super::DestinationId;
use super::super::books::{Account, Intake};
use super::catalogue::{Catalogue, MOST, int};
use super::record::Field;
use crate::reading::StreamId;

/// As many records of each kind are taken over: they are one commit.
const MOST_RECORDS: usize = 4096;
/// Higher counts are damage.
const MOST_COUNTED: i64 = 1 << 48;

/// A row of `drops`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct DropRow {
    pub(in super::super) destination: DestinationId,
    pub(in super::super) stream: StreamId,
    pub(in super::super) reason: String,
    /// The number of its epoch in the damaged file.
    pub(in super::super) epoch: Option<i64>,
    pub(in super::super) sequences: Option<(i64, i64)>,
    pub(in super::super) count: u64,
    pub(in super::super) at_epoch: i64,
    pub(in super::super) at_mono_ns: i64,
    pub(in super::super) extent: i64,
    /// It was salvaged before: the file it was made in, and its number there.
    pub(in super::super) origin: Option<(i64, i64)>,
}

/// A row of `gaps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct GapRow {
    pub(in super::super) stream: Option<StreamId>,
    pub(in super::super) kind: String,
    pub(in super::super) reason: String,
    /// The number of its epoch in the damaged file.
    pub(in super::super) epoch: i64,
    pub(in super::super) sequences: Option<(i64, i64)>,
    pub(in super::super) count: Option<u64>,
    pub(in super::super) first_mono_ns: i64,
    pub(in super::super) last_mono_ns: i64,
    /// See [`DropRow::origin`].
    pub(in super::super) origin: Option<(i64, i64)>,
}

impl Catalogue {
    /// Takes a row of a current page for what its shape says it is.
    pub(super) fn note_record(&mut self, rowid: Option<i64>, row: &[Field<'_>]) {
        match (rowid, row) {
            (None, [Field::Text("file_id"), Field::Int(id)]) => self.file_id = Some(*id),
            (
                Some(id),
                [
                    Field::Null,
                    Field::Int(destination @ 0..=61),
                    Field::Int(stream),
                    Field::Text(reason),
                    epoch @ (Field::Null | Field::Int(_)),
                    first @ (Field::Null | Field::Int(_)),
                    last @ (Field::Null | Field::Int(_)),
                    Field::Int(count @ 0..=MOST_COUNTED),
                    Field::Int(at_epoch),
                    Field::Int(at_mono_ns),
                    since @ ..,
                ],
            ) => {
                let Some(stream) = stream_id(*stream).filter(|_| self.drops.len() < MOST_RECORDS) else {
                    return;
                };
                self.drops.insert(
                    id,
                    DropRow {
                        destination: destination_id(*destination),
                        stream,
                        reason: (*reason).to_owned(),
                        epoch: int(epoch),
                        sequences: int(first).zip(int(last)),
                        count: count.cast_unsigned(),
                        at_epoch: *at_epoch,
                        at_mono_ns: *at_mono_ns,
                        extent: since.first().and_then(int).unwrap_or(0),
                        origin: since.get(1).and_then(int).zip(since.get(2).and_then(int)),
                    },
                );
            }
            (
                Some(id),
                [
                    Field::Null,
                    stream @ (Field::Null | Field::Int(_)),
                    Field::Text(kind @ ("missed" | "refused" | "coalesced")),
                    Field::Text(reason),
                    Field::Int(epoch),
                    first @ (Field::Null | Field::Int(_)),
                    last @ (Field::Null | Field::Int(_)),
                    count @ (Field::Null | Field::Int(0..=MOST_COUNTED)),
                    Field::Int(first_mono_ns),
                    Field::Int(last_mono_ns),
                    since @ ..,
                ],
            ) => {
                let stream = int(stream).map(stream_id);
                if self.gaps.len() >= MOST_RECORDS || stream == Some(None) {
                    return;
                }
                self.gaps.insert(
                    id,
                    GapRow {
                        stream: stream.flatten(),
                        kind: (*kind).to_owned(),
                        reason: (*reason).to_owned(),
                        epoch: *epoch,
                        sequences: int(first).zip(int(last)),
                        count: int(count).map(i64::cast_unsigned),
                        first_mono_ns: *first_mono_ns,
                        last_mono_ns: *last_mono_ns,
                        origin: since.first().and_then(int).zip(since.get(1).and_then(int)),
                    },
                );
            }
            (
                Some(stream),
                [
                    Field::Null,
                    Field::Int(accepted @ 0..=MOST_COUNTED),
                    Field::Int(refused @ 0..=MOST_COUNTED),
                    Field::Int(coalesced @ 0..=MOST_COUNTED),
                    Field::Int(missed @ 0..=MOST_COUNTED),
                    Field::Int(epoch),
                    Field::Int(last_sequence),
                ],
            ) => {
                let Some(stream) = stream_id(stream).filter(|_| self.intake.len() < MOST) else { return };
                self.intake.insert(
                    stream,
                    Intake {
                        accepted: accepted.cast_unsigned(),
                        refused: refused.cast_unsigned(),
                        coalesced: coalesced.cast_unsigned(),
                        missed: missed.cast_unsigned(),
                        epoch: *epoch,
                        last_sequence: last_sequence.cast_unsigned(),
                    },
                );
            }
            (
                None,
                [
                    Field::Int(destination @ 0..=61),
                    Field::Int(stream),
                    Field::Int(starts_at @ 0..=MOST_COUNTED),
                    ended_at @ (Field::Null | Field::Int(0..=MOST_COUNTED)),
                    Field::Int(acknowledged @ 0..=MOST_COUNTED),
                    Field::Int(dropped @ 0..=MOST_COUNTED),
                    Field::Int(set_aside @ 0..=MOST_COUNTED),
                    ..,
                ],
            ) => {
                let Some(stream) = stream_id(*stream).filter(|_| self.accounts.len() < MOST) else { return };
                self.accounts.insert(
                    (destination_id(*destination), stream),
                    Account {
                        starts_at: starts_at.cast_unsigned(),
                        ended_at: int(ended_at).map(i64::cast_unsigned),
                        acknowledged: acknowledged.cast_unsigned(),
                        dropped: dropped.cast_unsigned(),
                        set_aside: set_aside.cast_unsigned(),
                    },
                );
            }
            (
                None,
                [
                    Field::Int(destination @ 0..=61),
                    Field::Int(kind @ 0..=1),
                    Field::Int(record),
                    Field::Int(count @ 0..=MOST_COUNTED),
                ],
            ) if self.told.len() < MOST => {
                self.told.insert((destination_id(*destination), *kind, *record), *count);
            }
            _ => {}
        }
    }
}

fn stream_id(id: i64) -> Option<StreamId> {
    u32::try_from(id).ok().map(StreamId)
}

fn destination_id(id: i64) -> DestinationId {
    DestinationId(u8::try_from(id).unwrap_or(61))
}
