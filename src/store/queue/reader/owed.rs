//! What a destination has yet to be told besides readings: losses, and the wall time of boots it has readings of without.
//!
//! A record is owed when it was never told, or has grown since. The table `told` remembers, by destination, how much was.
//! One that refers to an epoch or a stream that the file does not have cannot be told, and is not owed.

use std::sync::Arc;

use rusqlite::Row;

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
}

/// How much of a record a destination was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which table.
    pub kind: RecordKind,
    /// Its row there.
    pub record: i64,
    /// The count as told. Of a wall time: 0 that it is owed, else one more than [`EpochInfo::revision`] as told.
    pub count: i64,
}

/// A record of losses as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LossRecord {
    /// [`RecordKind::Drop`] or [`RecordKind::Gap`], and the row: the same record is told again when it has grown.
    pub told: Told,
    /// The queue file's id: records of another file are others.
    pub file_id: u64,
    /// `dropped`, `missed`, `refused` or `coalesced`.
    pub of: &'static str,
    /// Why.
    pub why: String,
    /// Whose; `None` for every stream.
    pub stream: Option<Arc<StreamInfo>>,
    /// The epoch in which it last grew.
    pub epoch: EpochInfo,
    /// When it last grew, in the boot of `clock`.
    pub at: Mono,
    /// The epoch in whose boot `at` is: an unclean stop is found out by the next start.
    pub clock: EpochInfo,
    /// First and last sequence, where it is a range of `epoch`.
    pub sequences: Option<(u64, u64)>,
    /// How many in all; `None` where nobody knows.
    pub count: Option<u64>,
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
    SELECT d.id, d.stream, 'dropped', d.reason, d.at_epoch, d.at_mono_ns, d.first_sequence, d.last_sequence, d.count, t.count
    FROM drops AS d
    LEFT JOIN told AS t ON t.destination = ?1 AND t.kind = 0 AND t.record = d.id
    WHERE d.destination = ?1 AND d.count > coalesce(t.count, 0)
    ORDER BY d.at_epoch NOT IN (SELECT number FROM epochs) OR d.stream NOT IN (SELECT id FROM streams UNION SELECT 0),
             t.count IS NOT NULL, d.id LIMIT ?2";

const GAPS: &str = "
    SELECT g.id, g.stream, g.kind, g.reason, g.epoch, g.last_mono_ns, g.first_sequence, g.last_sequence, g.count, t.count
    FROM gaps AS g
    LEFT JOIN told AS t ON t.destination = ?1 AND t.kind = 1 AND t.record = g.id
    WHERE coalesce(g.count, 0) > coalesce(t.count, -1)
      AND (g.stream IS NULL OR EXISTS
           (SELECT 1 FROM accounts AS a WHERE a.destination = ?1 AND a.stream = g.stream AND a.ended_at IS NULL))
    ORDER BY g.epoch NOT IN (SELECT number FROM epochs)
             OR coalesce(g.stream, 0) NOT IN (SELECT id FROM streams UNION SELECT 0),
             t.count IS NOT NULL, g.id LIMIT ?2";

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
        let clock =
            if raw.why == "unclean_stop" { self.epoch(0, raw.epoch + 1).unwrap_or(epoch) } else { epoch };
        Ok(Owed::Loss(Box::new(LossRecord {
            clock,
            told: raw.told,
            file_id,
            of: raw.of,
            why: raw.why,
            stream,
            epoch,
            at: raw.at,
            sequences: raw.sequences,
            count: raw.count,
        })))
    }
}

struct Raw {
    told: Told,
    told_before: bool,
    stream: Option<u32>,
    of: &'static str,
    why: String,
    epoch: i64,
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
            at: Mono(r.get::<_, i64>(5)?.cast_unsigned()),
            sequences: first.map(i64::cast_unsigned).zip(last.map(i64::cast_unsigned)),
            count: count.map(i64::cast_unsigned),
        })
    }
}
