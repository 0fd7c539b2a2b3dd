//! From whatever state a queue file was left in to a writer that may accept.
//!
//! Opening never fails for damage: a damaged file is moved aside ([`super::damage`]), and a new one begins with a
//! statement of what the old one held as far as anyone could tell. It fails for a newer release's file that does not
//! admit this one, for a folder that cannot be written, and for a disk that does not take the log it left. A newer file
//! that does admit this release is used as it is.
//! Opening reads the small tables and a few segments at the ends of each class, not the backlog: a million queued readings
//! cost nothing, however far apart destinations are. Once, when a destination is gone from the configuration, it looks for
//! what only that one was still to be sent.
//!
//! In this order: the header is looked at, a newer release's file is refused, a log that lost what was accepted is found
//! out; all of that only reads. The log is written again ([`relog`]), before the first write brings the schema up to date
//! ([`file`]). One transaction makes the start: its epoch ([`epoch`]), what the configuration changed
//! ([`configured`]), where segments go on ([`ends`]). [`resume`] opens the same file once more in the same run.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction};

use super::ballast::Ballast;
use super::books::Books;
use super::cursor::Cursor;
use super::damage::Remains;
use super::salvage::Progress;
use super::segment::Position;
use super::writer::{StreamRow, Writer};
use super::{DestinationId, Epoch, bounds, damage, salvage, schema, statement};
use crate::clock::sources::{Claim, Source};
use crate::clock::{Mono, Wall};
use crate::reading::{Class, StreamId};
use crate::store::relog;
use crate::store::sqlite::{self, Log, OpenError};

mod configured;
mod ends;
mod epoch;
mod file;
mod options;
mod resume;
#[cfg(test)]
mod tests;

pub use options::{DestinationSpec, OpenOptions, StreamSpec};
pub(super) use resume::resume;

use file::{Failure, Known};

/// The quota, or less where the disk as a whole is smaller: the file's own limit must come before the disk's end, and
/// leave the ballast, the log and what else is written here their room. What others have on the disk is not looked at:
/// that may be gone tomorrow, and what is given up for it is not.
fn below_the_disks_end(options: &OpenOptions) -> u64 {
    let Some(disk) = sqlite::disk_bytes(&options.path) else { return options.max_bytes };
    let room = (disk / 4).min(ROOM_BESIDE);
    let end = disk.saturating_sub(options.ballast_bytes).saturating_sub(room);
    if end < options.max_bytes {
        tracing::warn!(
            quota = options.max_bytes,
            disk,
            limit = end,
            "the disk is smaller than the quota of the queue"
        );
    }
    options.max_bytes.min(end)
}

/// A log at its ceiling, and as much again.
const ROOM_BESIDE: u64 = 8 << 20;

/// Opens the file, or a new one in place of a damaged one. Where there is no room even to open, the ballast is released
/// for it; the writer takes it back before it accepts.
///
/// # Errors
/// [`OpenError::Newer`], [`OpenError::Unreachable`], [`OpenError::NoRoom`], [`OpenError::Unsynced`],
/// [`OpenError::Setting`].
pub fn open(options: OpenOptions, now: Mono, wall: Wall) -> Result<Writer, OpenError> {
    open_as(Known::TODAY, options, now, wall)
}

/// As a release that knows so much of the schema.
fn open_as(known: Known, options: OpenOptions, now: Mono, wall: Wall) -> Result<Writer, OpenError> {
    let options = OpenOptions { max_bytes: below_the_disks_end(&options), ..options };
    let mut remains = None;
    let mut begun = begin(known, &options, now, wall, None, None);
    // Damage and a full disk may come together, each once.
    for _ in 0..2 {
        match begun {
            Err(OpenError::Damaged { detail, path }) if remains.is_none() => {
                remains = Some(damage::set_aside(&path, options.epoch, &detail)?);
            }
            Err(OpenError::NoRoom { .. }) if options.ballast_bytes > 0 => {
                Ballast::beside(&options.path, options.ballast_bytes).release();
            }
            other => {
                begun = other;
                break;
            }
        }
        begun = begin(known, &options, now, wall, remains.as_ref(), None);
    }
    begun.map(|(connection, opened)| {
        Writer::new(connection, OpenOptions { epoch: opened.epoch, ..options }, opened, now)
    })
}

/// A new file while the daemon runs, in place of one that turned out damaged: streams and destinations keep their numbers.
pub(super) fn begin_again(
    options: &OpenOptions,
    kept: &Kept<'_>,
    now: Mono,
    wall: Wall,
    remains: &Remains,
) -> Result<(Connection, Opened), OpenError> {
    begin(Known::TODAY, options, now, wall, Some(remains), Some(kept))
}

/// The numbers that must not change under a running daemon.
pub(super) struct Kept<'a> {
    pub(super) streams: &'a [StreamRow],
    pub(super) destinations: &'a [(DestinationId, String)],
}

fn begin(
    known: Known,
    options: &OpenOptions,
    now: Mono,
    wall: Wall,
    remains: Option<&Remains>,
    kept: Option<&Kept<'_>>,
) -> Result<(Connection, Opened), OpenError> {
    let path = &options.path;
    let log = sqlite::log_of(path);
    if !sqlite::is_fresh(path, schema::KIND)? {
        file::refuse_newer(path, known)?;
        // Asked before SQLite is: it would go on writing over what still reads.
        if salvage::log_lost_readings(path) {
            let detail = "its log lost what was accepted".into();
            return Err(OpenError::Damaged { path: path.clone(), detail });
        }
    }
    let mut connection = file::connect(options)?;
    relog::write_again(&connection, path)?;
    file::migrate(&mut connection, known).map_err(|e| e.at(path))?;
    sqlite::sync_folder(path)
        .map_err(|e| OpenError::Unreachable { path: path.clone(), detail: e.to_string() })?;
    let tx = connection.transaction().map_err(|e| Failure::from(e).at(path))?;
    let opened = Opening { tx: &tx, options, now, kept }.run(wall, log, remains).map_err(|e| e.at(path))?;
    tx.commit().map_err(|e| Failure::from(e).at(path))?;
    if let Some(remains) = remains {
        damage::forget(&remains.too_many);
    }
    // From here on the file itself says that it is in use: a copy made without its log is then known to lack one. What
    // there is no room for now is brought home by any later checkpoint.
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    Ok((connection, opened))
}

/// What [`Writer::new`] starts from.
pub(super) struct Opened {
    pub(super) epoch_number: i64,
    /// The one asked for, unless the file has had it.
    pub(super) epoch: Epoch,
    pub(super) file_id: u64,
    pub(super) books: Books,
    pub(super) streams: Vec<StreamRow>,
    pub(super) destinations: Vec<(DestinationId, String)>,
    pub(super) cursors: BTreeMap<(DestinationId, Class), Cursor>,
    pub(super) next_segment: BTreeMap<Class, Position>,
    pub(super) previous_epoch: Option<(Epoch, String)>,
    /// What the epoch is dated with.
    pub(super) wall: Option<Claim>,
    /// The same, where an earlier run of this boot was told.
    pub(super) wall_remembered: Option<Claim>,
    /// Of every stream the file has ever had.
    pub(super) classes: BTreeMap<StreamId, Class>,
    /// What is still to be taken from damaged predecessors.
    pub(super) salvage: Vec<Progress>,
    /// What all readings of this start refer to, to be kept on other pages as well ([`salvage::keep_copy`]).
    pub(super) definitions: String,
}

/// One start on one file, inside the transaction that makes it so.
struct Opening<'a> {
    tx: &'a Transaction<'a>,
    options: &'a OpenOptions,
    now: Mono,
    kept: Option<&'a Kept<'a>>,
}

impl Opening<'_> {
    /// Begins an epoch, and makes the file what the configuration says ([`configured`]).
    fn run(&self, wall: Wall, log: Log, remains: Option<&Remains>) -> Result<Opened, Failure> {
        let file_id = self.meta()?;
        let mut books = Books::load(self.tx)?;
        let previous = self.previous_epoch(&books)?;
        let wall_remembered = self.wall_remembered()?;
        let vouched = || Claim::new(Source::Operator, self.now, wall.unix_ms, wall.uncertainty_ms);
        let wall = wall_remembered.or_else(|| wall.trusted.then(vouched));
        let last_sequences = previous.as_ref().map(|(_, sequences, _)| sequences.as_str());
        let (epoch_number, epoch) =
            self.new_epoch(wall.as_ref(), wall_remembered.is_some(), last_sequences)?;
        if let Some((number, _, false)) = previous.as_ref().map(|(n, s, clean)| (*n, s, *clean)) {
            self.unclean_stop(number)?;
            if let Some(detail) = damage::lost_log(log) {
                self.state(statement::LOG_LOST, &detail, epoch_number)?;
            }
        }
        if let Some(remains) = remains {
            for said in &remains.statements {
                self.state(statement::DAMAGED, said, epoch_number)?;
            }
            for salvage in &remains.salvage {
                salvage.keep(self.tx)?;
            }
        }
        let next_segment = self.next_segments()?;
        let (destinations, one_is_gone) = self.destinations(&mut books, epoch_number)?;
        let cursors = self.cursors(&destinations, &next_segment)?;
        let streams = self.streams(&mut books, &destinations)?;
        let definitions = salvage::copy(self.tx)?;
        salvage::keep_copy(self.tx, &definitions)?;
        let previous_epoch = match &previous {
            Some((number, sequences, _)) => {
                let epoch: i64 =
                    self.tx
                        .query_row("SELECT epoch FROM epochs WHERE number = ?1", [number], |r| r.get(0))?;
                Some((Epoch(epoch.cast_unsigned()), sequences.clone()))
            }
            None => None,
        };
        self.check_ends(&next_segment)?;
        if one_is_gone {
            self.sweep(&destinations, &cursors)?;
        }
        bounds::keep(self.tx, epoch_number)?;
        Ok(Opened {
            epoch_number,
            epoch,
            file_id,
            books,
            streams,
            destinations,
            cursors,
            next_segment,
            previous_epoch,
            wall,
            wall_remembered,
            classes: self.classes()?,
            salvage: Progress::load(self.tx)?,
            definitions,
        })
    }

    fn state(&self, kind: &str, detail: &str, epoch: i64) -> Result<(), Failure> {
        self.tx.execute(
            "INSERT INTO statements (kind, detail, epoch, at_mono_ns) VALUES (?1, ?2, ?3, ?4)",
            (kind, detail, epoch, self.now.0.cast_signed()),
        )?;
        Ok(())
    }

    fn meta(&self) -> Result<u64, Failure> {
        let set = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";
        self.tx.execute(set, ("file_id", self.options.file_id.cast_signed()))?;
        self.tx.execute(set, ("min_reader", schema::READER))?;
        self.tx.execute(
            "INSERT INTO meta (key, value) VALUES ('written_by', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1",
            [env!("CARGO_PKG_VERSION")],
        )?;
        let id: i64 = self.tx.query_row("SELECT value FROM meta WHERE key = 'file_id'", [], |r| r.get(0))?;
        Ok(id.cast_unsigned())
    }

    fn classes(&self) -> Result<BTreeMap<StreamId, Class>, Failure> {
        let mut classes = BTreeMap::new();
        let mut rows = self.tx.prepare("SELECT id, class FROM streams")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let class = Class::from_number(row.get(1)?)
                .ok_or_else(|| Failure::Inconsistent("a stream of an unknown class".into()))?;
            classes.insert(StreamId(row.get(0)?), class);
        }
        Ok(classes)
    }
}
