//! A destination's view of the queue: its next readings, in the order of acceptance within a class. Within one commit,
//! readings that go to the same destinations stand together, so two streams routed differently may change places there;
//! a stream's own readings never do. What was salvaged from a damaged predecessor stands behind what was accepted before it
//! was, under its own epoch.
//!
//! Read-only, beside the writer. A pick is a bounded step: at most a few segments are decoded, and no transaction outlives
//! it. What a pick passes over (readings of other destinations, readings settled before a restart) is part of the range
//! that settling it will settle, so nothing is left behind.
//!
//! A reader sees pages that the writer does not look at. Damage it meets, whatever it was asked, it reports, and the
//! writer replaces the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::cursor::Cursor;
use super::names::Names;
use super::segment::{self, Position};
use super::{DestinationId, Epoch};
use crate::clock::sources::drift_ms;
use crate::clock::{BootId, Mono};
use crate::gather::Gather;
use crate::reading::{Class, Resolution, Sample, StreamId};
use crate::store::sqlite::{self, OpenError};

mod look;
mod owed;
#[cfg(test)]
mod tests;

pub use owed::{LossRecord, Owed, OwedRecords, RecordKind, Salvaged, Told};

/// What is known of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochInfo {
    /// Its number in the file.
    pub number: i64,
    /// The id that is part of every identity.
    pub epoch: Epoch,
    /// The boot its monotonic times count from.
    pub boot: BootId,
    /// Wall time at monotonic zero of that boot in unix milliseconds, and its uncertainty at `known_at`, once trusted.
    pub wall_offset_ms: Option<(i64, u32)>,
    /// When that was said. Before and after, it is less certain.
    pub known_at: Mono,
    /// The offset turned out to have been wrong: readings dated before went out with this one, and none goes out dated since.
    pub dated_with_ms: Option<i64>,
    /// How often it was corrected.
    pub revision: u32,
}

impl EpochInfo {
    /// Wall time of an instant of the boot, unix milliseconds, and how far off it may be; `None` while nobody knows.
    #[must_use]
    pub fn wall_at(&self, at: Mono) -> Option<(i64, u32)> {
        let (offset, uncertainty_ms) = self.wall_offset_ms?;
        let drift = drift_ms(at.since(self.known_at).max(self.known_at.since(at)));
        let unix_ms = offset.saturating_add(i64::try_from(at.ms()).unwrap_or(i64::MAX));
        Some((unix_ms, uncertainty_ms.saturating_add(u32::try_from(rounded(drift)).unwrap_or(u32::MAX))))
    }

    /// The same as it goes out with a reading: not while nobody knows it, and not in an epoch that was corrected. There, and
    /// only there, a reading without wall time tells that it was not dated with the wrong one.
    #[must_use]
    pub fn stated_at(&self, at: Mono) -> Option<(i64, u32)> {
        self.wall_at(at).filter(|_| self.dated_with_ms.is_none())
    }
}

/// In steps of a tenth of a second, so that neighbours state the same; below a hundredth it is not worth its bytes.
fn rounded(drift_ms: u64) -> u64 {
    if drift_ms < 10 { 0 } else { drift_ms.next_multiple_of(100) }
}

/// What is known of a stream, as it was defined when the reading was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Full name.
    pub name: String,
    /// Group whose sequence it shares.
    pub group: String,
    /// Registry device.
    pub device: String,
    /// Class.
    pub class: Class,
    /// UCUM unit.
    pub unit: String,
    /// Step of its values.
    pub resolution: Option<Resolution>,
    /// Short name on the wire.
    pub alias: String,
}

/// One reading that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedRow {
    /// Where it stands.
    pub position: Position,
    /// Under which epoch it was accepted.
    pub epoch: EpochInfo,
    /// Its number, shared by its instant.
    pub sequence: u64,
    /// When it was captured, in the epoch's boot.
    pub at: Mono,
    /// The reading.
    pub sample: Sample,
    /// Its stream.
    pub stream: Arc<StreamInfo>,
}

/// What a pick found.
#[derive(Clone, Debug, Default)]
pub struct Picked {
    /// The readings, in order.
    pub rows: Vec<QueuedRow>,
    /// Where the next pick begins; equal to where this one began when there is nothing.
    pub resume: Option<Position>,
}

/// The file does not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite says so.
    #[error("queue.db does not read: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A segment's body does not decode.
    #[error("queue.db, segment {segment}: {damage}")]
    Damaged {
        /// Its row id.
        segment: i64,
        /// What is wrong.
        damage: segment::Damaged,
    },
    /// A row refers to something the file does not have.
    #[error("queue.db, segment {segment}: refers to {what}, which the file does not have")]
    Dangling {
        /// Its row id.
        segment: i64,
        /// `stream 7`, `epoch 3`
        what: String,
    },
    /// The table answers with what was not asked for: its pages are not in order. Believed, a look would stand still.
    #[error("queue.db, segment {segment}: found where only those from {from} on may be")]
    Disordered {
        /// The row id it answered with.
        segment: i64,
        /// The least that was asked for.
        from: i64,
    },
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl ReadError {
    /// Whether it is the file that is bad.
    fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite(e) => sqlite::is_damage(e),
            Self::Open(e) => matches!(e, OpenError::Damaged { .. }),
            Self::Damaged { .. } | Self::Dangling { .. } | Self::Disordered { .. } => true,
        }
    }
}

/// Where a reader says that the file is damaged.
pub(super) type Report = Box<dyn Fn(&ReadError) + Send>;

/// See the module head.
pub struct Reader {
    connection: Connection,
    report: Option<Report>,
    destination: DestinationId,
    names: Names,
    settled: BTreeMap<Class, Cursor>,
    /// A record of losses did not resolve, and that was said.
    warned: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("destination", &self.destination).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a view for `destination`. Readings it settled before now are never shown.
    ///
    /// # Errors
    /// When the file cannot be opened or its cursors do not read.
    pub fn open(path: &Path, destination: DestinationId) -> Result<Self, ReadError> {
        let connection = sqlite::open_reader(path)?;
        let settled = load_cursors(&connection, destination)?;
        Ok(Self { connection, report: None, destination, names: Names::default(), settled, warned: false })
    }

    /// As [`Reader::open`]; damage met now or later is told to `report`.
    pub(super) fn reporting(
        path: &Path,
        destination: DestinationId,
        report: Report,
    ) -> Result<Self, ReadError> {
        match Self::open(path, destination) {
            Ok(reader) => Ok(Self { report: Some(report), ..reader }),
            Err(error) => {
                if error.is_damage() {
                    report(&error);
                }
                Err(error)
            }
        }
    }

    /// Asks the file anew what this destination has settled. Its own answers are there after the next commit; what was
    /// given up for room is there at once.
    ///
    /// # Errors
    /// As [`Reader::pick`].
    pub fn look_at_settled(&mut self) -> Result<(), ReadError> {
        self.settled = self.reporting_damage(load_cursors(&self.connection, self.destination))?;
        Ok(())
    }

    /// When, from `since` on, readings of this boot were set aside for this destination: the newest `most`, oldest first. Those
    /// that somebody has sent again or given up meanwhile are not among them.
    ///
    /// # Errors
    /// As [`Reader::pick`].
    pub fn set_aside_since(&mut self, boot: BootId, since: Mono, most: u32) -> Result<Vec<Mono>, ReadError> {
        let read = || -> rusqlite::Result<Vec<Mono>> {
            // A time of another boot says nothing: the epoch of the reading tells the boot.
            let mut rows = self.connection.prepare(
                "SELECT a.at_mono_ns FROM set_aside AS a JOIN epochs AS e ON e.number = a.epoch
                 WHERE a.destination = ?1 AND e.boot_id = ?2 AND a.at_mono_ns >= ?3 ORDER BY a.id DESC LIMIT ?4",
            )?;
            let rows = rows.query_map((self.destination.0, boot.0, since.0.cast_signed(), most), |r| {
                r.get(0).map(i64::cast_unsigned).map(Mono)
            })?;
            rows.try_gathered()
        };
        let mut times = self.reporting_damage(read().map_err(ReadError::from))?;
        times.reverse();
        Ok(times)
    }

    /// Where this destination's unsettled readings of `class` begin.
    #[must_use]
    pub fn start(&self, class: Class) -> Position {
        self.settled.get(&class).map_or_else(|| Position::first_of(class), Cursor::position)
    }

    /// What this destination had settled of `class` when that was last looked at: here or when the view was opened.
    #[must_use]
    pub fn settled(&self, class: Class) -> Cursor {
        let none = || Cursor::starting_at(Position::first_of(class));
        self.settled.get(&class).cloned().unwrap_or_else(none)
    }

    /// Up to `most` readings of `class` from `from` on.
    ///
    /// # Errors
    /// [`ReadError`]; where it is damage, the writer has been told and will replace the file.
    pub fn pick(&mut self, class: Class, from: Position, most: usize) -> Result<Picked, ReadError> {
        self.pick_and_report(class, from, None, most)
    }

    /// As [`Reader::pick`], of what stands before the segment that `until` is the start of. Where nothing is left before
    /// it, the next pick begins there.
    ///
    /// # Errors
    /// As [`Reader::pick`].
    pub fn pick_before(
        &mut self,
        class: Class,
        from: Position,
        until: Position,
        most: usize,
    ) -> Result<Picked, ReadError> {
        self.pick_and_report(class, from, Some(until), most)
    }

    fn pick_and_report(
        &mut self,
        class: Class,
        from: Position,
        until: Option<Position>,
        most: usize,
    ) -> Result<Picked, ReadError> {
        let picked = self.pick_rows(class, from, until, most);
        self.reporting_damage(picked)
    }

    /// The same, and the writer is told where it is damage.
    fn reporting_damage<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        if let (Err(error), Some(report)) = (&result, &self.report)
            && error.is_damage()
        {
            report(error);
        }
        result
    }

    fn pick_rows(
        &mut self,
        class: Class,
        from: Position,
        until: Option<Position>,
        most: usize,
    ) -> Result<Picked, ReadError> {
        self.names.look_again();
        let end = until.map_or(Position::first_of(class).segment + (1 << 48) - 1, |until| until.segment);
        let mut picked = Picked { rows: Vec::new(), resume: Some(from) };
        let mut at = from;
        // Segments of other destinations are passed over without being counted; a bound keeps the step short.
        for _ in 0..256 {
            let next = self
                .connection
                .prepare_cached(
                    "SELECT id, epoch, routes, body FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1",
                )?
                .query_row((at.segment, end), |r| {
                    Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?, r.get::<_, Vec<u8>>(3)?))
                })
                .optional()?;
            let Some((id, epoch, routes, body)) = next else {
                picked.resume = until.or(picked.resume);
                break;
            };
            if id < at.segment {
                return Err(ReadError::Disordered { segment: id, from: at.segment });
            }
            let first_row = if id == at.segment { at.row } else { 0 };
            if routes & self.destination.bit() != 0 {
                let stopped = self.take(class, id, epoch, &body, first_row, most, &mut picked)?;
                if let Some(row) = stopped {
                    picked.resume = Some(Position { segment: id, row });
                    return Ok(picked);
                }
            }
            at = Position { segment: id, row: 0 }.next_segment();
            picked.resume = Some(at);
            if picked.rows.len() >= most {
                break;
            }
        }
        Ok(picked)
    }

    #[allow(clippy::too_many_arguments, reason = "one segment of one pick")]
    fn take(
        &mut self,
        class: Class,
        segment: i64,
        epoch: i64,
        body: &[u8],
        first_row: u32,
        most: usize,
        picked: &mut Picked,
    ) -> Result<Option<u32>, ReadError> {
        let epoch = self.epoch(segment, epoch)?;
        let rows = segment::rows(body).map_err(|damage| ReadError::Damaged { segment, damage })?;
        for row in rows {
            let row = row.map_err(|damage| ReadError::Damaged { segment, damage })?;
            let position = Position { segment, row: row.index };
            if row.index < first_row || self.settled.get(&class).is_some_and(|c| c.is_settled(position)) {
                continue;
            }
            if picked.rows.len() >= most {
                return Ok(Some(row.index));
            }
            let stream = self.stream(segment, row.sample.stream)?;
            picked.rows.push(QueuedRow {
                position,
                epoch,
                sequence: row.sequence,
                at: row.at,
                sample: row.sample,
                stream,
            });
        }
        Ok(None)
    }

    fn epoch(&mut self, segment: i64, number: i64) -> Result<EpochInfo, ReadError> {
        let known = self.names.epoch(&self.connection, number)?;
        known.ok_or_else(|| ReadError::Dangling { segment, what: format!("epoch {number}") })
    }

    fn stream(&mut self, segment: i64, id: StreamId) -> Result<Arc<StreamInfo>, ReadError> {
        let known = self.names.stream(&self.connection, id)?;
        known.ok_or_else(|| ReadError::Dangling { segment, what: format!("stream {}", id.0) })
    }
}

pub(super) fn load_cursors(
    connection: &Connection,
    destination: DestinationId,
) -> Result<BTreeMap<Class, Cursor>, ReadError> {
    let mut cursors = BTreeMap::new();
    let mut rows = connection
        .prepare_cached("SELECT class, segment, row, islands FROM cursors WHERE destination = ?1")?;
    let mut rows = rows.query([destination.0])?;
    while let Some(row) = rows.next()? {
        let at = Position { segment: row.get(1)?, row: row.get(2)? };
        let islands: Vec<u8> = row.get(3)?;
        let class = Class::from_number(row.get(0)?);
        if let Some((class, cursor)) = class.zip(Cursor::from_parts(at, &islands)) {
            cursors.insert(class, cursor);
        }
    }
    Ok(cursors)
}
