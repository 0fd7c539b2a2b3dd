//! What a destination has yet to be told besides readings: losses, and the wall time of boots it has readings of without.
//!
//! A record is owed when it was never told, or has grown since. The table `told` remembers, by destination, how much was.
//! One that refers to an epoch or a stream that the file does not have cannot be told, and is not owed.

use std::sync::Arc;

use rusqlite::Row;

use super::super::statement::Statement;
use super::{EpochInfo, ReadError, Reader, StreamInfo};
use crate::clock::Mono;
use crate::reading::StreamId;

/// Which table a record is in; its number in `told.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RecordKind {
    /// `drops`: accepted and given up.
    Drop = 0,
    /// `gaps`: due and never accepted.
    Gap = 1,
    /// `epochs`: the wall time of its boot.
    Clock = 2,
    /// `statements`: a predecessor of the file, or its own log, was damaged.
    Statement = 3,
}

/// How much of a record a destination was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which table.
    pub kind: RecordKind,
    /// Its row there.
    pub record: i64,
    /// The count as told. Of a wall time: 0 that it is owed, else one more than [`EpochInfo::revision`] as told.
    /// Of a statement: 0 while more will be known, else 1.
    pub count: i64,
}

/// A record of losses as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LossRecord {
    /// [`RecordKind::Drop`], [`RecordKind::Gap`] or [`RecordKind::Statement`], and the row: the same record is told again when it has grown.
    pub told: Told,
    /// The id of the queue file it was made in: records of another file are others.
    pub file_id: u64,
    /// Its number in that file, for the wire: of the dropped, and of all others.
    pub id: u64,
    /// `dropped`, `missed`, `refused`, `coalesced`, or `lost` for what was accepted and is in a damaged file.
    pub of: &'static str,
    /// Why.
    pub why: String,
    /// Whose; `None` for every stream.
    pub stream: Option<Arc<StreamInfo>>,
    /// The epoch of the readings; of a sum over several, the one in which it last grew.
    pub epoch: EpochInfo,
    /// When it last grew, in the boot of `clock`.
    pub at: Mono,
    /// The epoch in whose boot `at` is: an unclean stop is found out by the next start, and old readings are given up now.
    pub clock: EpochInfo,
    /// First and last sequence, where it is a range of `epoch`. All the stream has between them is lost, unless `count` is
    /// less than that.
    pub sequences: Option<(u64, u64)>,
    /// How many in all; `None` where nobody knows.
    pub count: Option<u64>,
    /// Of a damaged file only.
    pub salvaged: Option<Salvaged>,
}

/// What became of the readings that waited in a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// How many there were by its books; `None` where these did not read.
    pub held: Option<u64>,
    /// How many were found. They go on waiting, under their own identity.
    pub kept: u64,
}

/// What is owed.
#[derive(Clone, Debug, PartialEq)]
pub enum Owed {
    /// A loss.
    Loss(Box<LossRecord>),
    /// The wall time of the boot that this epoch's times count from; it is known.
    Clock(EpochInfo),
}

impl Owed {
    /// What to remember once it was told.
    #[must_use]
    pub fn told(&self) -> Told {
        match self {
            Self::Loss(loss) => loss.told,
            Self::Clock(epoch) => {
                Told { kind: RecordKind::Clock, record: epoch.number, count: i64::from(epoch.revision) + 1 }
            }
        }
    }
}

/// What the drain looks at.
#[derive(Clone, Debug, Default)]
pub struct OwedRecords {
    /// Never told.
    pub new: Vec<Owed>,
    /// Told, and grown since.
    pub grown: Vec<Owed>,
}

// What does not resolve comes last, so that it keeps no other record waiting.
const DROPS: &str = "
    SELECT d.id, d.stream, 'dropped', d.reason, coalesce(d.epoch, d.at_epoch), d.at_mono_ns, d.first_sequence,
           d.last_sequence, d.count, t.count, d.at_epoch, d.from_file, d.from_record
    FROM drops AS d
    LEFT JOIN told AS t ON t.destination = ?1 AND t.kind = 0 AND t.record = d.id
    WHERE d.destination = ?1 AND d.count > coalesce(t.count, 0)
    ORDER BY d.at_epoch NOT IN (SELECT number FROM epochs)
             OR coalesce(d.epoch, d.at_epoch) NOT IN (SELECT number FROM epochs) OR d.stream NOT IN (SELECT id FROM streams UNION SELECT 0),
             t.count IS NOT NULL, d.id LIMIT ?2";

const GAPS: &str = "
    SELECT g.id, g.stream, g.kind, g.reason, g.epoch, g.last_mono_ns, g.first_sequence, g.last_sequence, g.count, t.count,
           g.epoch, g.from_file, g.from_record
    FROM gaps AS g
    LEFT JOIN told AS t ON t.destination = ?1 AND t.kind = 1 AND t.record = g.id
    WHERE coalesce(g.count, 0) > coalesce(t.count, -1)
      AND (g.stream IS NULL OR EXISTS
           (SELECT 1 FROM accounts AS a WHERE a.destination = ?1 AND a.stream = g.stream AND a.ended_at IS NULL))
    ORDER BY g.epoch NOT IN (SELECT number FROM epochs)
             OR coalesce(g.stream, 0) NOT IN (SELECT id FROM streams UNION SELECT 0),
             t.count IS NOT NULL, g.id LIMIT ?2";

const STATEMENTS: &str = "
    SELECT s.id, s.kind, s.detail, s.epoch, s.at_mono_ns, t.count, d.name
    FROM statements AS s JOIN destinations AS d ON d.id = ?1
    LEFT JOIN told AS t ON t.destination = ?1 AND t.kind = 3 AND t.record = s.id
    WHERE coalesce(t.count, -1) < 1 AND s.epoch IN (SELECT number FROM epochs) ORDER BY s.id LIMIT ?2";
/// The statements' numbers on the wire begin here, those of gaps before.
const FIRST_STATEMENT: u64 = 1 << 32;

const CLOCKS: &str = "
    SELECT e.number FROM told AS t JOIN epochs AS e ON e.number = t.record
    WHERE t.destination = ?1 AND t.kind = 2 AND t.count <= e.wall_revision AND e.wall_offset_ms IS NOT NULL
    ORDER BY e.number LIMIT ?2";

impl Reader {
    /// What this destination is owed: of each kind at most `most` records, those never told first.
    ///
    /// # Errors
    /// [`ReadError`]; where it is damage, the writer has been told.
    pub fn owed(&mut self, most: u32) -> Result<OwedRecords, ReadError> {
        self.names.look_again();
        let owed = self.look_for_owed(most);
        self.reporting_damage(owed)
    }

    fn look_for_owed(&mut self, most: u32) -> Result<OwedRecords, ReadError> {
        let mut owed = OwedRecords::default();
        let clocks: Vec<i64> = self
            .connection
            .prepare_cached(CLOCKS)?
            .query_map((self.destination.0, most), |r| r.get(0))?
            .collect::<Result<_, _>>()?;
        for epoch in clocks {
            owed.new.push(Owed::Clock(self.epoch(0, epoch)?));
        }
        let file_id: i64 =
            self.connection.query_row("SELECT value FROM meta WHERE key = 'file_id'", [], |r| r.get(0))?;
        self.look_for_statements(most, file_id.cast_unsigned(), &mut owed)?;
        for (kind, sql) in [(RecordKind::Drop, DROPS), (RecordKind::Gap, GAPS)] {
            let records: Vec<Raw> = self
                .connection
                .prepare_cached(sql)?
                .query_map((self.destination.0, most), |r| Raw::read(r, kind))?
                .collect::<Result<_, _>>()?;
            for raw in records {
                let told_before = raw.told_before;
                let record = raw.told.record;
                let loss = match self.loss(raw, file_id.cast_unsigned()) {
                    Err(ReadError::Dangling { what, .. }) => {
                        self.warn_of_dangling(kind, record, &what);
                        continue;
                    }
                    loss => loss?,
                };
                if told_before { owed.grown.push(loss) } else { owed.new.push(loss) }
            }
        }
        Ok(owed)
    }

    /// A damaged file is told at once, in an unknown number while its salvage is under way, and again when all that will be
    /// known of it is.
    fn look_for_statements(
        &mut self,
        most: u32,
        file_id: u64,
        owed: &mut OwedRecords,
    ) -> Result<(), ReadError> {
        let rows: Vec<StatementRow> = self
            .connection
            .prepare_cached(STATEMENTS)?
            .query_map((self.destination.0, most), |r| {
                Ok(StatementRow {
                    id: r.get(0)?,
                    kind: r.get(1)?,
                    detail: r.get(2)?,
                    epoch: r.get(3)?,
                    at: Mono(r.get::<_, i64>(4)?.cast_unsigned()),
                    told: r.get(5)?,
                    destination: r.get(6)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        for row in rows {
            let Some(said) = Statement::parse(&row.detail) else { continue };
            let count = i64::from(!said.is_open());
            if row.told.is_some_and(|told| told >= count) {
                continue;
            }
            let clock = self.epoch(0, row.epoch)?;
            // The damaged file's number stays its own in whichever later file this stands.
            let (file_id, id) = match said.file_id() {
                Some(file_id) => (file_id, FIRST_STATEMENT),
                None => (file_id, FIRST_STATEMENT + row.id.cast_unsigned()),
            };
            let salvaged = said.file_id().map(|_| Salvaged {
                held: said.held_for(&row.destination),
                kept: said.salvaged_for(&row.destination),
            });
            owed.new.push(Owed::Loss(Box::new(LossRecord {
                told: Told { kind: RecordKind::Statement, record: row.id, count },
                file_id,
                id,
                of: "lost",
                why: row.kind,
                stream: None,
                epoch: said.epoch().map_or(clock, |epoch| EpochInfo { epoch, ..clock }),
                at: row.at,
                clock,
                sequences: None,
                count: said.lost_for(&row.destination),
                salvaged,
            })));
        }
        Ok(())
    }

    fn warn_of_dangling(&mut self, kind: RecordKind, record: i64, what: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                ?kind,
                record,
                what,
                "a record of losses refers to what queue.db does not have; no destination is told of it. Next: fieldgate queue verify"
            );
        }
    }

    fn loss(&mut self, raw: Raw, file_id: u64) -> Result<Owed, ReadError> {
        // Stream 0 is whoever was refused without being one of the configured.
        let stream = raw.stream.filter(|id| *id != 0).map(|id| self.stream(0, StreamId(id))).transpose()?;
        let epoch = self.epoch(0, raw.epoch)?;
        let clock = match raw.why.as_str() {
            // Salvaged epochs are numbered backwards: none is the start that found it out.
            "unclean_stop" if raw.epoch > 0 => self.epoch(0, raw.epoch + 1).unwrap_or(epoch),
            _ => self.epoch(0, raw.at_epoch)?,
        };
        Ok(Owed::Loss(Box::new(LossRecord {
            clock,
            told: raw.told,
            file_id: raw.origin.map_or(file_id, |(file, _)| file),
            id: raw.origin.map_or(raw.told.record.cast_unsigned(), |(_, record)| record),
            of: raw.of,
            why: raw.why,
            stream,
            epoch,
            at: raw.at,
            sequences: raw.sequences,
            count: raw.count,
            salvaged: None,
        })))
    }
}

struct StatementRow {
    id: i64,
    kind: String,
    detail: String,
    epoch: i64,
    at: Mono,
    told: Option<i64>,
    destination: String,
}

struct Raw {
    told: Told,
    told_before: bool,
    stream: Option<u32>,
    of: &'static str,
    why: String,
    epoch: i64,
    at_epoch: i64,
    /// The file it was made in, where that is another, and its number there.
    origin: Option<(u64, u64)>,
    at: Mono,
    sequences: Option<(u64, u64)>,
    count: Option<u64>,
}

impl Raw {
    fn read(r: &Row<'_>, kind: RecordKind) -> rusqlite::Result<Self> {
        let of = match r.get_ref(2)?.as_str()? {
            "dropped" => "dropped",
            "refused" => "refused",
            "coalesced" => "coalesced",
            _ => "missed",
        };
        let (first, last): (Option<i64>, Option<i64>) = (r.get(6)?, r.get(7)?);
        let count: Option<i64> = r.get(8)?;
        Ok(Self {
            told: Told { kind, record: r.get(0)?, count: count.unwrap_or(0) },
            told_before: r.get::<_, Option<i64>>(9)?.is_some(),
            stream: r.get(1)?,
            of,
            why: r.get(3)?,
            epoch: r.get(4)?,
            at_epoch: r.get(10)?,
            origin: r
                .get::<_, Option<i64>>(11)?
                .map(i64::cast_unsigned)
                .zip(r.get::<_, Option<i64>>(12)?.map(i64::cast_unsigned)),
            at: Mono(r.get::<_, i64>(5)?.cast_unsigned()),
            sequences: first.map(i64::cast_unsigned).zip(last.map(i64::cast_unsigned)),
            count: count.map(i64::cast_unsigned),
        })
    }
}
