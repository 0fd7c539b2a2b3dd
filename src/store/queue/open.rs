//! From whatever state a queue file was left in to a writer that may accept.
//!
//! Opening never fails for damage: a damaged file is moved aside ([`super::damage`]), and a new one begins with a
//! statement of what the old one held as far as anyone could tell. It fails for a newer release's file that does not
//! admit this one, and for a folder that cannot be written. A newer file that does admit this release is used as it is.
//! Opening reads the small tables and two segments a class, never the backlog: a million queued readings cost nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::ballast::Ballast;
use super::books::{Account, Books, Changes};
use super::cursor::Cursor;
use super::segment::{self, Position};
use super::writer::{StreamRow, Writer, write_drop};
use super::{DestinationId, Epoch, bounds, damage, schema};
use crate::clock::{BootId, Mono, Wall};
use crate::reading::{Class, Resolution, StreamId};
use crate::store::sqlite::{self, Log, OpenError};

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
}

/// A destination as the configuration defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSpec {
    /// Its name.
    pub name: String,
}

/// As many destinations have a number at a time: each is a bit in a segment's routes.
const DESTINATIONS: u8 = 62;

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
    /// The room held back, in bytes; 0 for none.
    pub ballast_bytes: u64,
    /// The boot that monotonic times count from.
    pub boot: BootId,
    /// The epoch to begin: 64 fresh random bits.
    pub epoch: Epoch,
    /// The file's id if it has to be made: 64 fresh random bits.
    pub file_id: u64,
}

/// Opens the file, or a new one in place of a damaged one. Where there is no room even to open, the ballast is released
/// for it; the writer takes it back before it accepts.
///
/// # Errors
/// [`OpenError::Newer`], [`OpenError::Unreachable`], [`OpenError::NoRoom`], [`OpenError::Setting`].
pub fn open(options: OpenOptions, now: Mono, wall: Wall) -> Result<Writer, OpenError> {
    let mut statement = None;
    let mut begun = begin(&options, now, wall, None, None);
    // Damage and a full disk may come together, each once.
    for _ in 0..2 {
        match begun {
            Err(OpenError::Damaged { detail, path }) if statement.is_none() => {
                statement = Some(damage::set_aside(&path, options.epoch, &detail)?);
            }
            Err(OpenError::NoRoom { .. }) if options.ballast_bytes > 0 => {
                Ballast::beside(&options.path, options.ballast_bytes).release();
            }
            other => {
                begun = other;
                break;
            }
        }
        begun = begin(&options, now, wall, statement.as_deref(), None);
    }
    begun.map(|(connection, opened)| {
        Writer::new(connection, OpenOptions { epoch: opened.epoch, ..options }, opened, now, wall)
    })
}

/// A new file while the daemon runs, in place of one that turned out damaged: streams and destinations keep their numbers.
pub(super) fn begin_again(
    options: &OpenOptions,
    kept: &Kept<'_>,
    now: Mono,
    wall: Wall,
    statement: &str,
) -> Result<(Connection, Opened), OpenError> {
    begin(options, now, wall, Some(statement), Some(kept))
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
        Ok(Some(Resumed { books: Books::load(&tx)?, cursors, next_segment }))
    };
    let resumed = read().map_err(at)?.ok_or_else(|| unreachable("another file stands in its place"))?;
    tx.commit().map_err(|e| at(e.into()))?;
    Ok((connection, resumed))
}

/// What a file says when it is opened again in the same run.
pub(super) struct Resumed {
    pub(super) books: Books,
    pub(super) cursors: BTreeMap<(DestinationId, Class), Cursor>,
    pub(super) next_segment: BTreeMap<Class, Position>,
}

fn begin(
    options: &OpenOptions,
    now: Mono,
    wall: Wall,
    statement: Option<&str>,
    kept: Option<&Kept<'_>>,
) -> Result<(Connection, Opened), OpenError> {
    let path = &options.path;
    let log = sqlite::log_of(path);
    if !sqlite::is_fresh(path, schema::KIND)? {
        refuse_newer(path)?;
    }
    let mut connection = connect(options)?;
    migrate(&mut connection).map_err(|e| e.at(path))?;
    sqlite::sync_folder(path)
        .map_err(|e| OpenError::Unreachable { path: path.clone(), detail: e.to_string() })?;
    let tx = connection.transaction().map_err(|e| Failure::from(e).at(path))?;
    let opened = Opening { tx: &tx, options, now, kept }.run(wall, log, statement).map_err(|e| e.at(path))?;
    tx.commit().map_err(|e| Failure::from(e).at(path))?;
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
    /// Of every stream the file has ever had.
    pub(super) classes: BTreeMap<StreamId, Class>,
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
    fn run(&self, wall: Wall, log: Log, statement: Option<&str>) -> Result<Opened, Failure> {
        let file_id = self.meta()?;
        let mut books = Books::load(self.tx)?;
        let previous = self.previous_epoch(&books)?;
        let (epoch_number, epoch) =
            self.new_epoch(wall, previous.as_ref().map(|(_, sequences, _)| sequences.as_str()))?;
        if let Some((number, _, false)) = previous.as_ref().map(|(n, s, clean)| (*n, s, *clean)) {
            self.unclean_stop(number)?;
            if let Some(detail) = damage::lost_log(log) {
                self.state("log_lost", &detail, epoch_number)?;
            }
        }
        if let Some(detail) = statement {
            self.state("queue_damaged", detail, epoch_number)?;
        }
        let next_segment = self.next_segments()?;
        let (destinations, one_is_gone) = self.destinations(&mut books, epoch_number)?;
        let cursors = self.cursors(&destinations, &next_segment)?;
        let streams = self.streams(&mut books, &destinations)?;
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
            classes: self.classes()?,
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

    fn new_epoch(&self, wall: Wall, last_sequences: Option<&str>) -> Result<(i64, Epoch), Failure> {
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
        let offset = wall.trusted.then(|| wall.unix_ms - i64::try_from(self.now.ms()).unwrap_or(0));
        self.tx.execute(
            "INSERT INTO epochs (epoch, boot_id, first_mono_ns, wall_offset_ms, wall_uncertainty_ms, last_sequences)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                epoch.0.cast_signed(),
                self.options.boot.0,
                self.now.0.cast_signed(),
                offset,
                wall.trusted.then_some(wall.uncertainty_ms),
                last_sequences,
            ),
        )?;
        Ok((self.tx.last_insert_rowid(), epoch))
    }

    /// A stop nobody announced: how much was captured and never accepted cannot be known, and is recorded as that.
    fn unclean_stop(&self, epoch: i64) -> Result<(), Failure> {
        self.tx.execute(
            "INSERT INTO gaps (stream, kind, reason, epoch, count, first_mono_ns, last_mono_ns)
             VALUES (NULL, 'missed', 'unclean_stop', ?1, NULL, 0, ?2)",
            (epoch, self.now.0.cast_signed()),
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

    /// The configured destinations' numbers; and whether one that was there until now is not among them.
    fn destinations(
        &self,
        books: &mut Books,
        epoch: i64,
    ) -> Result<(Vec<(DestinationId, String)>, bool), Failure> {
        let mut known: Vec<(u8, String, bool)> = Vec::new();
        let mut rows = self.tx.prepare("SELECT id, name, removed FROM destinations ORDER BY id")?;
        for row in rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))? {
            known.push(row?);
        }
        let mut current = Vec::new();
        for spec in &self.options.destinations {
            let id = match known.iter().find(|(_, name, _)| *name == spec.name) {
                Some((id, _, removed)) => {
                    if *removed {
                        self.tx.execute("UPDATE destinations SET removed = 0 WHERE id = ?1", [id])?;
                    }
                    *id
                }
                None => {
                    let id = self
                        .kept
                        .and_then(|kept| kept.destinations.iter().find(|(_, name)| *name == spec.name))
                        .map(|(id, _)| id.0)
                        .or_else(|| (0..DESTINATIONS).find(|id| known.iter().all(|(k, ..)| k != id)));
                    let id = match id {
                        Some(id) => id,
                        None => self.forget_removed(&mut known, books)?,
                    };
                    self.tx
                        .execute("INSERT INTO destinations (id, name) VALUES (?1, ?2)", (id, &spec.name))?;
                    known.push((id, spec.name.clone(), false));
                    id
                }
            };
            current.push((DestinationId(id), spec.name.clone()));
        }
        let mut one_is_gone = false;
        for (id, name, removed) in known {
            if !removed && current.iter().all(|(d, _)| d.0 != id) {
                self.remove_destination(DestinationId(id), &name, books, epoch)?;
                one_is_gone = true;
            }
        }
        Ok((current, one_is_gone))
    }

    /// Frees the number of a destination that is gone: its books go with it, no segment waits for it any more.
    fn forget_removed(&self, known: &mut Vec<(u8, String, bool)>, books: &mut Books) -> Result<u8, Failure> {
        let wanted = |name: &str| self.options.destinations.iter().any(|spec| spec.name == name);
        let gone = known.iter().position(|(_, name, removed)| *removed && !wanted(name)).ok_or_else(|| {
            Failure::Impossible(format!(
                "more than {DESTINATIONS} destinations are configured, or were until now. Remove some and start again"
            ))
        })?;
        let (id, name, _) = known.remove(gone);
        tracing::warn!(destination = name, "its number is given to another; its closed account is forgotten");
        for table in ["accounts", "drops", "set_aside", "cursors"] {
            self.tx.execute(&format!("DELETE FROM {table} WHERE destination = ?1"), [id])?;
        }
        self.tx.execute("DELETE FROM destinations WHERE id = ?1", [id])?;
        books.accounts.retain(|(destination, _), _| destination.0 != id);
        Ok(id)
    }

    /// What was still queued for a destination that is gone is a recorded drop.
    fn remove_destination(
        &self,
        destination: DestinationId,
        name: &str,
        books: &mut Books,
        epoch: i64,
    ) -> Result<(), Failure> {
        tracing::warn!(
            destination = name,
            "destination is no longer configured; what was queued for it is dropped"
        );
        self.tx.execute("UPDATE destinations SET removed = 1 WHERE id = ?1", [destination.0])?;
        self.tx.execute("DELETE FROM cursors WHERE destination = ?1", [destination.0])?;
        let mut changes = Changes::default();
        let accounts: Vec<(StreamId, Account)> = books
            .accounts
            .iter()
            .filter(|((d, _), _)| *d == destination)
            .map(|((_, stream), account)| (*stream, *account))
            .collect();
        for (stream, account) in accounts {
            let intake = books.intake.get(&stream).copied().unwrap_or_default();
            let queued = account.queued(&intake);
            let change = changes.account(books, destination, stream);
            change.ended_at.get_or_insert(intake.accepted);
            if queued > 0 {
                change.dropped += queued;
                write_drop(self.tx, destination, stream, "destination_removed", queued, epoch, self.now)?;
            }
        }
        changes.write(self.tx)?;
        changes.apply(books);
        Ok(())
    }

    fn cursors(
        &self,
        destinations: &[(DestinationId, String)],
        next: &BTreeMap<Class, Position>,
    ) -> Result<BTreeMap<(DestinationId, Class), Cursor>, Failure> {
        let mut cursors = BTreeMap::new();
        let mut rows = self.tx.prepare("SELECT destination, class, segment, row, islands FROM cursors")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let destination = DestinationId(row.get(0)?);
            let class = Class::from_number(row.get(1)?)
                .ok_or_else(|| Failure::Inconsistent("a cursor of an unknown class".into()))?;
            let at = Position { segment: row.get(2)?, row: row.get(3)? };
            let islands: Vec<u8> = row.get(4)?;
            let cursor = Cursor::from_parts(at, &islands)
                .filter(|_| at.class() == Some(class))
                .ok_or_else(|| Failure::Inconsistent("a cursor whose islands do not read".into()))?;
            cursors.insert((destination, class), cursor);
        }
        for (destination, _) in destinations {
            for class in Class::ALL {
                let start = next.get(&class).copied().unwrap_or_else(|| Position::first_of(class));
                if let Entry::Vacant(new) = cursors.entry((*destination, class)) {
                    // A new destination begins with what is accepted from now on.
                    self.tx.execute(
                        "INSERT INTO cursors (destination, class, segment, row, islands) VALUES (?1, ?2, ?3, 0, x'')",
                        (destination.0, class as i64, start.segment),
                    )?;
                    new.insert(Cursor::starting_at(start));
                }
            }
        }
        Ok(cursors)
    }

    fn streams(
        &self,
        books: &mut Books,
        destinations: &[(DestinationId, String)],
    ) -> Result<Vec<StreamRow>, Failure> {
        self.tx.execute("UPDATE streams SET current = 0 WHERE current = 1", [])?;
        let mut changes = Changes::default();
        let mut rows = Vec::with_capacity(self.options.streams.len());
        for (n, spec) in self.options.streams.iter().enumerate() {
            let id = self.stream_id(spec, self.kept.and_then(|k| k.streams.get(n)).map(|s| s.id))?;
            let mut routes = 0;
            for (destination, name) in destinations {
                let routed = spec.routes.contains(name);
                if routed {
                    routes |= destination.bit();
                }
                self.reroute(books, &mut changes, *destination, id, routed);
            }
            rows.push(StreamRow { id, class: spec.class, routes, group: spec.group.clone() });
        }
        // A stream that left the configuration is captured no more; what it has queued is still sent.
        changes.write(self.tx)?;
        changes.apply(books);
        Ok(rows)
    }

    fn reroute(
        &self,
        books: &Books,
        changes: &mut Changes,
        d: DestinationId,
        stream: StreamId,
        routed: bool,
    ) {
        let accepted = books.intake.get(&stream).map_or(0, |i| i.accepted);
        match (books.accounts.get(&(d, stream)), routed) {
            (None, true) => changes.account(books, d, stream).starts_at = accepted,
            (Some(Account { ended_at: Some(ended), .. }), true) => {
                let account = changes.account(books, d, stream);
                account.starts_at += accepted.saturating_sub(*ended);
                account.ended_at = None;
            }
            (Some(Account { ended_at: None, .. }), false) => {
                changes.account(books, d, stream).ended_at = Some(accepted);
            }
            _ => {}
        }
    }

    fn stream_id(&self, spec: &StreamSpec, kept: Option<StreamId>) -> Result<StreamId, Failure> {
        let (numerator, denominator) =
            spec.resolution.map_or((None, None), |r| (Some(r.numerator), Some(r.denominator)));
        let same: Option<u32> = self
            .tx
            .prepare_cached(
                "SELECT id FROM streams WHERE name = ?1 AND group_name = ?2 AND device = ?3 AND class = ?4 AND unit = ?5
                 AND resolution_numerator IS ?6 AND resolution_denominator IS ?7 AND alias = ?8",
            )?
            .query_row(
                (
                    &spec.name,
                    &spec.group,
                    &spec.device,
                    spec.class as i64,
                    &spec.unit,
                    numerator,
                    denominator,
                    &spec.alias,
                ),
                |r| r.get(0),
            )
            .optional()?;
        let id = match same {
            Some(id) => {
                self.tx.prepare_cached("UPDATE streams SET current = 1 WHERE id = ?1")?.execute([id])?;
                id
            }
            None => {
                self.tx
                    .prepare_cached(
                        "INSERT INTO streams (name, group_name, device, class, unit, resolution_numerator,
                                              resolution_denominator, alias, id)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                    )?
                    .execute((
                        &spec.name,
                        &spec.group,
                        &spec.device,
                        spec.class as i64,
                        &spec.unit,
                        numerator,
                        denominator,
                        &spec.alias,
                        kept.map(|k| k.0),
                    ))?;
                u32::try_from(self.tx.last_insert_rowid())
                    .map_err(|_| Failure::Inconsistent("stream numbers are used up".into()))?
            }
        };
        Ok(StreamId(id))
    }

    /// Frees segments that nobody configured is still to be sent: their destinations have all passed them or are gone.
    fn sweep(
        &self,
        destinations: &[(DestinationId, String)],
        cursors: &BTreeMap<(DestinationId, Class), Cursor>,
        everywhere: bool,
    ) -> Result<(), Failure> {
        for class in Class::ALL {
            let first = Position::first_of(class).segment;
            let end = first + (1 << 48) - 1;
            let passed: Vec<i64> = destinations
                .iter()
                .map(|(d, _)| cursors.get(&(*d, class)).map_or(first, |c| c.position().segment))
                .collect();
            // Beyond what anybody has passed only a destination that is gone can have left something: the one look at
            // the whole backlog, and only then.
            let newest = passed.iter().copied().max().unwrap_or(end);
            let end = if everywhere { end } else { newest.min(end) };
            let mut condition = String::new();
            for ((destination, _), at) in destinations.iter().zip(&passed) {
                use std::fmt::Write as _;
                // Numbers of our own making: nothing to escape.
                let _ = write!(condition, " AND (routes & {} = 0 OR id < {at})", destination.bit());
            }
            self.tx.execute(
                &format!("DELETE FROM segments WHERE id >= ?1 AND id < ?2{condition}"),
                (first, end),
            )?;
        }
        Ok(())
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
