//! One start, put on record: its epoch and what it is dated with; how the run before it ended.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use super::super::books::Books;
use super::super::segment::Position;
use super::super::{Epoch, salvage};
use super::Opening;
use super::file::Failure;
use crate::clock::Mono;
use crate::clock::sources::{Claim, Source};
use crate::reading::{Class, StreamId};

/// So many of a class's newest segments are asked for the time of an unclean stop. Those of older epochs may stand behind it:
/// what was sent again, kept or salvaged.
const LOOKED_AT: i64 = 1024;

impl Opening<'_> {
    /// The newest epoch before this start: its number, its last sequences as JSON, and whether it ended cleanly.
    pub(super) fn previous_epoch(&self, books: &Books) -> Result<Option<(i64, String, bool)>, Failure> {
        let newest: Option<(i64, bool)> = self
            .tx
            .query_row("SELECT number, clean_stop FROM epochs ORDER BY number DESC LIMIT 1", [], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })
            .optional()?;
        let Some((number, clean)) = newest else { return Ok(None) };
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        let mut rows = self.tx.prepare("SELECT id, group_name FROM streams")?;
        for row in rows.query_map([], |r| Ok((StreamId(r.get(0)?), r.get::<_, String>(1)?)))? {
            let (stream, group) = row?;
            if let Some(intake) = books.intake.get(&stream).filter(|i| i.epoch == number) {
                let newest = last.entry(group).or_default();
                *newest = intake.last_sequence.max(*newest);
            }
        }
        let sequences = serde_json::to_string(&last).unwrap_or_default();
        Ok(Some((number, sequences, clean)))
    }

    /// What a run before in the same boot was told of the time.
    pub(super) fn wall_remembered(&self) -> Result<Option<Claim>, Failure> {
        let known = self
            .tx
            .query_row(
                "SELECT wall_offset_ms, wall_uncertainty_ms, wall_known_ns, wall_source FROM epochs
                 WHERE boot_id = ?1 AND wall_source IS NOT NULL ORDER BY number DESC LIMIT 1",
                [self.options.boot.0],
                |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, i64>(2)?, r.get::<_, String>(3)?)),
            )
            .optional()?;
        Ok(known.and_then(|(offset_ms, uncertainty_ms, at, word)| {
            let source = Source::from_word(&word)?;
            Some(Claim { source, offset_ms, uncertainty_ms, at: Mono(at.cast_unsigned()) })
        }))
    }

    pub(super) fn new_epoch(
        &self,
        wall: Option<&Claim>,
        remembered: bool,
        last_sequences: Option<&str>,
    ) -> Result<(i64, Epoch), Failure> {
        // Chance does not repeat 64 bits; a source of it that always begins alike does.
        let mut epoch = self.options.epoch;
        while self
            .tx
            .query_row("SELECT 1 FROM epochs WHERE epoch = ?1", [epoch.0.cast_signed()], |_| Ok(()))
            .optional()?
            .is_some()
        {
            tracing::error!(%epoch, "this epoch was drawn before: the machine's random numbers repeat");
            epoch = epoch.successor(self.now.0);
        }
        let said = wall.filter(|_| remembered);
        self.tx.execute(
            "INSERT INTO epochs (epoch, boot_id, first_mono_ns, wall_offset_ms, wall_uncertainty_ms, wall_known_ns,
                                 wall_source, last_sequences)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            (
                epoch.0.cast_signed(),
                self.options.boot.0,
                self.now.0.cast_signed(),
                wall.map(|claim| claim.offset_ms),
                wall.map(|claim| claim.uncertainty_ms),
                said.map(|claim| claim.at.0.cast_signed()),
                said.map(|claim| claim.source.word()),
                last_sequences,
            ),
        )?;
        let number = self.tx.last_insert_rowid();
        let check = salvage::check(number, epoch, self.options.boot, self.now.0.cast_signed());
        self.tx.execute("UPDATE epochs SET crc = ?2 WHERE number = ?1", (number, check))?;
        Ok((number, epoch))
    }

    /// A stop nobody announced: how much was captured and never accepted cannot be known, and is recorded as that. When is
    /// known better: after the newest time that the file still has of that epoch, in the time of that epoch's boot. Within
    /// the same boot it ends with this start; in another boot's time this start has no place, and its own epoch tells it.
    pub(super) fn unclean_stop(&self, epoch: i64) -> Result<(), Failure> {
        let (boot, mut newest): (Vec<u8>, i64) = self.tx.query_row(
            "SELECT boot_id, first_mono_ns FROM epochs WHERE number = ?1",
            [epoch],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )?;
        for class in Class::ALL {
            let first = Position::first_of(class).segment;
            let us: Option<i64> = self.tx.query_row(
                "SELECT max(first_mono_us) FROM (SELECT epoch, first_mono_us FROM segments WHERE id >= ?1 AND id < ?2
                                                 ORDER BY id DESC LIMIT ?3) WHERE epoch = ?4",
                (first, first + (1 << 48) - 1, LOOKED_AT, epoch),
                |r| r.get(0),
            )?;
            newest = newest.max(us.unwrap_or(0).saturating_mul(1000));
        }
        for sql in [
            "SELECT max(last_mono_ns) FROM gaps WHERE epoch = ?1 AND stream IS NOT NULL",
            "SELECT max(at_mono_ns) FROM drops WHERE at_epoch = ?1",
        ] {
            let at: Option<i64> = self.tx.query_row(sql, [epoch], |r| r.get(0))?;
            newest = newest.max(at.unwrap_or(newest));
        }
        let end = if boot == self.options.boot.0 { newest.max(self.now.0.cast_signed()) } else { newest };
        self.tx.execute(
            "INSERT INTO gaps (stream, kind, reason, epoch, count, first_mono_ns, last_mono_ns)
             VALUES (NULL, 'missed', 'unclean_stop', ?1, NULL, ?2, ?3)",
            (epoch, newest, end),
        )?;
        Ok(())
    }
}
