//! From whatever state a queue file was left in to a writer that may accept.
//!
//! Opening never fails for damage: a damaged file is moved aside ([`super::damage`]), and a new one begins with a
//! statement of what the old one held as far as anyone could tell. It fails for a newer release's file that does not
//! admit this one, and for a folder that cannot be written. A newer file that does admit this release is used as it is.
//! Opening reads the small tables and two segments a class, never the backlog: a million queued readings cost nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::ballast::Ballast;
use super::books::Books;
use super::cursor::Cursor;
use super::damage::Remains;
use super::quota_policy::ClassQuotas;
use super::reader::StreamInfo;
use super::salvage::Progress;
use super::segment::{self, Position};
use super::writer::{StreamRow, Writer};
use super::{DestinationId, Epoch, bounds, damage, salvage, schema, statement};
use crate::clock::sources::{Claim, Source};
use crate::clock::{BootId, Mono, Wall};
use crate::reading::{Class, Resolution, StreamId};
use crate::store::sqlite::{self, Log, OpenError, Trouble};

mod configured;

/// A stream as the configuration defines it.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSpec {
    /// Its name, unique on the gateway.
    pub name: String,
    /// The streams captured together with it carry the same group name.
    pub group: String,
    /// The registry device it belongs to.
    pub device: String,
    /// Fixed at acceptance.
    pub class: Class,
    /// UCUM unit, or empty.
    pub unit: String,
    /// The step its values are counted in, if they are.
    pub resolution: Option<Resolution>,
    /// Its short name on the wire.
    pub alias: String,
    /// The destinations it goes to, by name.
    pub routes: Vec<String>,
    /// Of readings that wait for one commit only the newest is accepted. Not for alarms and events: each of them counts.
    pub latest_only: bool,
}

impl StreamSpec {
    fn info(&self) -> StreamInfo {
        StreamInfo {
            name: self.name.clone(),
            group: self.group.clone(),
            device: self.device.clone(),
            class: self.class,
            unit: self.unit.clone(),
            resolution: self.resolution,
            alias: self.alias.clone(),
        }
    }
}

/// A destination as the configuration defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSpec {
    /// Its name.
    pub name: String,
}

/// Everything the queue is told at start.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// `queue.db`.
    pub path: PathBuf,
    /// The streams; their position here is their handle's position in [`super::Queue::streams`].
    pub streams: Vec<StreamSpec>,
    /// The destinations.
    pub destinations: Vec<DestinationSpec>,
    /// How long an accept may wait for others to share its sync. This much is at risk *before* acceptance.
    pub commit_window: Duration,
    /// The file's quota in bytes.
    pub max_bytes: u64,
    /// What each class may take of it.
    pub class_quotas: ClassQuotas,
    /// The room held back, in bytes; 0 for none.
    pub ballast_bytes: u64,
    /// Bytes a day that may be written; where the forecast is higher the commit window widens, up to a minute.
    pub flash_budget_per_day: Option<u64>,
    /// The boot that monotonic times count from.
    pub boot: BootId,
    /// The epoch to begin: 64 fresh random bits.
    pub epoch: Epoch,
    /// The file's id if it has to be made: 64 fresh random bits.
    pub file_id: u64,
}

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
/// [`OpenError::Newer`], [`OpenError::Unreachable`], [`OpenError::NoRoom`], [`OpenError::Setting`].
pub fn open(options: OpenOptions, now: Mono, wall: Wall) -> Result<Writer, OpenError> {
    let options = OpenOptions { max_bytes: below_the_disks_end(&options), ..options };
    let mut remains = None;
    let mut begun = begin(&options, now, wall, None, None);
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
        begun = begin(&options, now, wall, remains.as_ref(), None);
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
    begin(options, now, wall, Some(remains), Some(kept))
}

/// The numbers that must not change under a running daemon.
pub(super) struct Kept<'a> {
    pub(super) streams: &'a [StreamRow],
    pub(super) destinations: &'a [(DestinationId, String)],
}

/// The same file again, after a file system that took no writes made the writer let go of it: nothing new begins.
///
/// # Errors
/// As [`open`], [`OpenError::Damaged`] included; and [`OpenError::Unreachable`] when it is not there, or another is.
pub(super) fn resume(
    options: &OpenOptions,
    file_id: u64,
    epoch_number: i64,
    destinations: &[(DestinationId, String)],
) -> Result<(Connection, Resumed), OpenError> {
    let path = &options.path;
    let unreachable = |detail: &str| OpenError::Unreachable { path: path.clone(), detail: detail.into() };
    if sqlite::is_fresh(path, schema::KIND)? {
        return Err(unreachable("the file that was in use is not there any more"));
    }
    let mut connection = connect(options)?;
    let at = |e: Failure| e.at(path);
    let tx = connection.transaction().map_err(|e| at(e.into()))?;
    let read = || -> Result<Option<Resumed>, Failure> {
        let id: i64 = tx.query_row("SELECT value FROM meta WHERE key = 'file_id'", [], |r| r.get(0))?;
        let newest: (i64, i64) =
            tx.query_row("SELECT number, epoch FROM epochs ORDER BY number DESC LIMIT 1", [], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })?;
        if id.cast_unsigned() != file_id || newest != (epoch_number, options.epoch.0.cast_signed()) {
            return Ok(None);
        }
        let opening = Opening { tx: &tx, options, now: Mono::default(), kept: None };
        let next_segment = opening.next_segments()?;
        let cursors = opening.cursors(destinations, &next_segment)?;
        let (classes, salvage) = (opening.classes()?, Progress::load(&tx)?);
        Ok(Some(Resumed { books: Books::load(&tx)?, classes, cursors, next_segment, salvage }))
    };
    let resumed = read().map_err(at)?.ok_or_else(|| unreachable("another file stands in its place"))?;
    tx.commit().map_err(|e| at(e.into()))?;
    Ok((connection, resumed))
}

/// What a file says when it is opened again in the same run.
pub(super) struct Resumed {
    pub(super) books: Books,
    pub(super) classes: BTreeMap<StreamId, Class>,
    pub(super) salvage: Vec<Progress>,
    pub(super) cursors: BTreeMap<(DestinationId, Class), Cursor>,
    pub(super) next_segment: BTreeMap<Class, Position>,
}

fn begin(
    options: &OpenOptions,
    now: Mono,
    wall: Wall,
    remains: Option<&Remains>,
    kept: Option<&Kept<'_>>,
) -> Result<(Connection, Opened), OpenError> {
    let path = &options.path;
    let log = sqlite::log_of(path);
    if !sqlite::is_fresh(path, schema::KIND)? {
        refuse_newer(path)?;
        // Asked before SQLite is: it would go on writing over what still reads.
        if salvage::log_lost_readings(path) {
            let detail = "its log lost what was accepted".into();
            return Err(OpenError::Damaged { path: path.clone(), detail });
        }
    }
    let mut connection = connect(options)?;
    migrate(&mut connection).map_err(|e| e.at(path))?;
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

fn connect(options: &OpenOptions) -> Result<Connection, OpenError> {
    let connection = sqlite::open_writer(&options.path, schema::KIND)?;
    let pages = options.max_bytes / u64::from(schema::KIND.page_size);
    connection
        .pragma_update(None, "max_page_count", i64::try_from(pages).unwrap_or(i64::MAX))
        // A log is missing after an unclean stop only if it was lost: whoever lets go leaves it there.
        .and_then(|()| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(|_| ()))
        .map_err(|e| OpenError::from_sqlite(&options.path, &e))?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), Failure> {
    use rusqlite_migration::{Error, MigrationDefinitionError};
    match schema::migrations().to_latest(connection) {
        // A newer release's file that admits this one ([`refuse_newer`] has looked): it only ever adds.
        Ok(()) | Err(Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead)) => Ok(()),
        Err(Error::RusqliteError { err, .. }) => Err(err.into()),
        Err(e) => Err(Failure::Inconsistent(e.to_string())),
    }
}

/// Whether the file's schema has more steps than this release knows: then what does not fit is not damage.
fn is_newer(path: &Path) -> bool {
    let version = sqlite::open_reader(path)
        .ok()
        .and_then(|c| c.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0)).ok());
    version.is_some_and(|version| version > schema::STEPS)
}

/// Read-only, so that a file that is refused is left as it was found.
fn refuse_newer(path: &Path) -> Result<(), OpenError> {
    // What cannot be read here is judged by the opening that follows.
    let Ok(connection) = sqlite::open_reader(path) else { return Ok(()) };
    let get = |key: &str| -> Option<rusqlite::types::Value> {
        connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).optional().ok()?
    };
    match get("min_reader") {
        Some(rusqlite::types::Value::Integer(min_reader)) if min_reader > schema::READER => {
            let written_by = match get("written_by") {
                Some(rusqlite::types::Value::Text(version)) => version,
                _ => "unknown".into(),
            };
            Err(OpenError::Newer { path: path.to_owned(), written_by, min_reader, ours: schema::READER })
        }
        _ => Ok(()),
    }
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

enum Failure {
    Sqlite(rusqlite::Error),
    Inconsistent(String),
    /// Not the file's fault.
    Impossible(String),
}

impl Failure {
    fn at(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Sqlite(e) if sqlite::trouble(&e, &path) == Trouble::Doubt && is_newer(&path) => {
                OpenError::Unreachable {
                    path,
                    detail: format!(
                        "a newer release changed it beyond what this one can use ({e}). Install that release again, or \
                         move the file away to start empty; nothing was changed"
                    ),
                }
            }
            Self::Sqlite(e) => OpenError::from_sqlite(&path, &e),
            Self::Inconsistent(detail) => OpenError::Damaged { path, detail },
            Self::Impossible(detail) => OpenError::Unreachable { path, detail },
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sqlite(e)
    }
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
        self.sweep(&destinations, &cursors, one_is_gone)?;
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

    /// The newest epoch before this start: its number, its last sequences as JSON, and whether it ended cleanly.
    fn previous_epoch(&self, books: &Books) -> Result<Option<(i64, String, bool)>, Failure> {
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
    fn wall_remembered(&self) -> Result<Option<Claim>, Failure> {
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

    fn new_epoch(
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
    fn unclean_stop(&self, epoch: i64) -> Result<(), Failure> {
        let (boot, mut newest): (Vec<u8>, i64) = self.tx.query_row(
            "SELECT boot_id, first_mono_ns FROM epochs WHERE number = ?1",
            [epoch],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )?;
        for class in Class::ALL {
            let first = Position::first_of(class).segment;
            let segment: Option<(i64, i64)> = self
                .tx
                .query_row(
                    "SELECT epoch, first_mono_us FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT 1",
                    (first, first + (1 << 48) - 1),
                    |r| Ok((r.get(0)?, r.get(1)?)),
                )
                .optional()?;
            if let Some((_, us)) = segment.filter(|(of, _)| *of == epoch) {
                newest = newest.max(us.saturating_mul(1000));
            }
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

    fn next_segments(&self) -> Result<BTreeMap<Class, Position>, Failure> {
        let mut next = BTreeMap::new();
        for class in Class::ALL {
            let first = Position::first_of(class);
            let end = first.segment + (1 << 48) - 1;
            // An emptied class must not begin again at 1: a cursor remembers how far it got.
            let newest: Option<i64> = self.tx.query_row(
                "SELECT max(n) FROM (SELECT max(id) + 1 AS n FROM segments WHERE id >= ?1 AND id < ?2
                                     UNION ALL SELECT max(segment) FROM cursors WHERE class = ?3)",
                (first.segment, end, class as i64),
                |r| r.get(0),
            )?;
            next.insert(
                class,
                Position { segment: newest.unwrap_or(first.segment).max(first.segment), row: 0 },
            );
        }
        // A cursor may stand in the middle of the newest segment; the next one is after it either way.
        for (class, position) in &mut next {
            if position.class() != Some(*class) {
                return Err(Failure::Inconsistent(format!("a cursor of {} points elsewhere", class.name())));
            }
            let taken: Option<i64> = self
                .tx
                .query_row("SELECT id FROM segments WHERE id = ?1", [position.segment], |r| r.get(0))
                .optional()?;
            if taken.is_some() {
                *position = position.next_segment();
            }
        }
        Ok(next)
    }

    /// Decodes the first and the last segment of each class: the cheapest look that finds a file whose pages are gone.
    fn check_ends(&self, next: &BTreeMap<Class, Position>) -> Result<(), Failure> {
        for (class, end) in next {
            let first = Position::first_of(*class).segment;
            for order in ["ASC", "DESC"] {
                let body: Option<Vec<u8>> = self
                    .tx
                    .query_row(
                        &format!(
                            "SELECT body FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id {order} LIMIT 1"
                        ),
                        (first, end.segment),
                        |r| r.get(0),
                    )
                    .optional()?;
                if let Some(body) = body {
                    segment::rows(&body)
                        .and_then(|mut rows| rows.try_for_each(|r| r.map(|_| ())))
                        .map_err(|e| Failure::Inconsistent(e.to_string()))?;
                }
            }
        }
        Ok(())
    }
}
