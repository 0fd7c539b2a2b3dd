//! From whatever state `gateway.db` was left in to a connection that may be written.
//!
//! Opening never fails for damage: a damaged file is moved aside and its snapshot takes its place; when that is of no use
//! either, a new file begins and says so (`store_recreated`). It fails for a newer release's file, of which nothing is
//! changed, for a folder that cannot be written, for a disk without room (by that name: whoever opens both files has a ballast
//! to release), and for a disk that does not take the log it left ([`relog`]).
//!
//! A missing file with neither snapshot nor other traces is a new gateway. Traces are a damaged file moved aside earlier,
//! and a `queue.db`: the daemon opens `gateway.db` first, so a queue beside a missing one had an older sibling.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::chain::Chain;
use super::snapshot::{self, Found, SnapshotError};
use super::writer::Context;
use super::{FileId, GatewayId, Identity, Stamp, Start, boots, history, journal, schema};
use crate::clock::{BootId, Mono, Wall};
use crate::store::relog;
use crate::store::sqlite::{self, OpenError, Trouble};

/// Where the file is, and how often it is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// `gateway.db`.
    pub path: PathBuf,
    /// Its snapshot.
    pub snapshot: PathBuf,
    /// Least time between two snapshots; one more is made at a clean stop.
    pub snapshot_every: Duration,
}

impl OpenOptions {
    /// The files of a state folder; a snapshot at most every ten minutes.
    #[must_use]
    pub fn in_folder(state_dir: &Path) -> Self {
        let path = state_dir.join(schema::KIND.name);
        let snapshot = sqlite::suffixed(&path, ".snapshot");
        Self { path, snapshot, snapshot_every: Duration::from_secs(600) }
    }
}

/// A larger file's pages are not all read at every start.
const CHECKED_BYTES: u64 = 16 << 20;

/// One opening.
#[derive(Clone, Debug)]
pub(super) struct Opening<'a> {
    pub(super) options: &'a OpenOptions,
    pub(super) boot: BootId,
    /// Ids for a file that has to be made.
    pub(super) fresh: (GatewayId, FileId),
    pub(super) now: Mono,
    pub(super) wall: Wall,
}

/// What an opening came to.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) identity: Identity,
}

/// Opens the file, or its snapshot in its place, or a new one.
///
/// # Errors
/// [`OpenError::Newer`], [`OpenError::Unreachable`], [`OpenError::NoRoom`], [`OpenError::Unsynced`],
/// [`OpenError::Setting`].
pub(super) fn open(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    let path = &opening.options.path;
    let there = std::fs::metadata(path).is_ok_and(|m| m.len() > 0);
    let damage = if there {
        match sound(path).and_then(|()| begin(opening, Start::Found, None)) {
            Err(OpenError::Damaged { detail, .. }) => Some(detail),
            other => return other,
        }
    } else {
        None
    };
    fall_back(opening, damage)
}

/// The file is damaged (`damage` says how) or not there.
fn fall_back(opening: &Opening<'_>, damage: Option<String>) -> Result<Opened, OpenError> {
    let OpenOptions { path, snapshot, .. } = opening.options;
    let found = snapshot::inspect(snapshot)?;
    let lost = !matches!(found, Found::Missing) || damage.is_some() || has_traces(path);
    // A log without its file would be played into whatever takes the file's place.
    let logs = ["-wal", "-shm"].iter().any(|extra| sqlite::suffixed(path, extra).exists());
    let mut kept = None;
    if damage.is_some() || logs {
        kept = Some(move_aside(opening, path)?);
    }
    if let Some(detail) = &damage {
        let file = kept.as_deref().map(|k| k.display().to_string()).unwrap_or_default();
        tracing::error!(file, detail, "gateway.db is damaged and was moved aside");
    }
    let story = |outcome: &str| {
        serde_json::json!({
            "damage": damage.as_deref().unwrap_or("the file was missing"),
            "kept_as": kept.as_deref().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()),
            "outcome": outcome,
        })
    };
    let why_not = match found {
        Found::Whole => {
            let restored =
                snapshot::restore(snapshot, path).map_err(|e| not_restored(path, &e)).and_then(|()| {
                    sound(path)?;
                    begin(opening, Start::Restored, Some(&story("restored from the snapshot")))
                });
            match restored {
                Err(OpenError::Damaged { detail, .. }) => {
                    move_aside(opening, path)?;
                    detail
                }
                Ok(opened) => {
                    tracing::warn!(
                        "gateway.db was restored from its snapshot; what was written since is lost"
                    );
                    return Ok(opened);
                }
                other => return other,
            }
        }
        Found::Damaged(detail) => detail,
        Found::Missing => "there is no snapshot".into(),
    };
    if !lost {
        return begin(opening, Start::Made, None);
    }
    if snapshot.exists() {
        move_aside(opening, snapshot)?;
    }
    tracing::error!(
        snapshot = why_not,
        "gateway.db is lost and its snapshot is of no use; the firmware history begins anew and says so"
    );
    begin(opening, Start::Recreated, Some(&story(&format!("begun anew: {why_not}"))))
}

fn move_aside(opening: &Opening<'_>, path: &Path) -> Result<PathBuf, OpenError> {
    sqlite::quarantine(path, &opening.fresh.1.to_string()).map_err(|e| refused(path, &e))
}

fn has_traces(path: &Path) -> bool {
    let Some(folder) = path.parent() else { return false };
    let queue = folder.join(crate::store::queue::schema::KIND.name);
    if std::fs::metadata(queue).is_ok_and(|m| m.len() > 0) {
        return true;
    }
    let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned() + ".damaged-") else {
        return false;
    };
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(&name))
    })
}

/// Whether the file's pages are whole, before anything in it is believed or changed. Its log stays where it is.
fn sound(path: &Path) -> Result<(), OpenError> {
    let connection = sqlite::open_writer(path, schema::KIND)?;
    refuse_newer(&connection, path)?;
    let small = std::fs::metadata(path).is_ok_and(|m| m.len() <= CHECKED_BYTES);
    if small {
        let whole: String = connection
            .query_row("PRAGMA quick_check(1)", [], |r| r.get(0))
            .map_err(|e| classify(path, &e))?;
        if whole != "ok" {
            return Err(OpenError::Damaged { path: path.to_owned(), detail: whole });
        }
    }
    Ok(())
}

/// Brings the schema up to date and begins this run, in one transaction after the migrations.
fn begin(
    opening: &Opening<'_>,
    start: Start,
    story: Option<&serde_json::Value>,
) -> Result<Opened, OpenError> {
    let path = &opening.options.path;
    let mut connection = sqlite::open_writer(path, schema::KIND)?;
    refuse_newer(&connection, path)?;
    relog::write_again(&connection, path)?;
    sqlite::bring_home_when_closed(&connection, true).map_err(|e| classify(path, &e))?;
    let migrated: i64 =
        connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(|e| classify(path, &e))?;
    // A later release migrated it further and says that this one may still use it.
    if migrated <= schema::version() {
        schema::migrations().to_latest(&mut connection).map_err(|e| match e {
            rusqlite_migration::Error::RusqliteError { err, .. } => classify(path, &err),
            other => OpenError::Damaged { path: path.to_owned(), detail: other.to_string() },
        })?;
    }
    sqlite::sync_folder(path).map_err(|e| refused(path, &e))?;
    let tx = connection.transaction().map_err(|e| classify(path, &e))?;
    let begun = begin_in(&tx, opening, start, story).map_err(|e| classify(path, &e))?;
    let Some(identity) = begun else {
        return Err(OpenError::Damaged { path: path.to_owned(), detail: "it has no identity".into() });
    };
    tx.commit().map_err(|e| classify(path, &e))?;
    Ok(Opened { connection, identity })
}

/// `None` when the file has a past but no identity.
fn begin_in(
    tx: &Transaction<'_>,
    opening: &Opening<'_>,
    mut start: Start,
    story: Option<&serde_json::Value>,
) -> rusqlite::Result<Option<Identity>> {
    let known = read_ids(tx)?;
    let begun_before: bool = tx.query_row("SELECT EXISTS (SELECT 1 FROM boots)", [], |r| r.get(0))?;
    let (gateway, file) = match known {
        Some(ids) => ids,
        None if begun_before => return Ok(None),
        None => {
            // Its making was cut short before it got an identity: it is as new as it was then.
            if start == Start::Found {
                start = if has_traces(&opening.options.path) { Start::Recreated } else { Start::Made };
            }
            write_ids(tx, opening.fresh)?;
            opening.fresh
        }
    };
    let set = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
    tx.execute(
        "INSERT INTO meta (key, value) VALUES ('min_reader', ?1) ON CONFLICT (key) DO NOTHING",
        [schema::READER],
    )?;
    tx.execute(set, ("written_by", env!("CARGO_PKG_VERSION")))?;
    let boot = boots::begin(tx, opening.boot, opening.now, opening.wall)?;
    let context = Context { gateway, file, boot };
    match start {
        Start::Recreated => {
            tx.execute(set, ("recreated_boot", boot.cast_signed()))?;
        }
        Start::Restored => {
            let head = history::head(tx, &context)?;
            tx.execute(set, ("restored_at_sequence", head.sequence.cast_signed()))?;
        }
        Start::Made | Start::Found => {}
    }
    if let Some(story) = story {
        let kind = if start == Start::Restored { "store_restored" } else { "store_recreated" };
        journal::event(tx, stamp(boot, opening.now, opening.wall), kind, "error", None, story)?;
    }
    Ok(Some(Identity { gateway, file, boot, start }))
}

/// A moment of this boot; wall time only where something vouches for it.
pub(super) fn stamp(boot: u64, now: Mono, wall: Wall) -> Stamp {
    Stamp {
        boot,
        mono_ms: now.ms(),
        wall_unix_ms: wall.trusted.then_some(wall.unix_ms),
        wall_uncertainty_ms: wall.trusted.then_some(wall.uncertainty_ms),
    }
}

fn write_ids(tx: &Transaction<'_>, (gateway, file): (GatewayId, FileId)) -> rusqlite::Result<()> {
    let set = "INSERT INTO meta (key, value) VALUES (?1, ?2)";
    tx.execute(set, ("gateway_id", gateway.0))?;
    tx.execute(set, ("file_id", file.0.cast_signed()))?;
    // The triggers compare the first row of each chain with these.
    tx.execute(set, ("history_genesis", Chain::History.genesis(gateway, file).hash.0))?;
    tx.execute(set, ("log_genesis", Chain::Log.genesis(gateway, file).hash.0))?;
    Ok(())
}

fn read_ids(connection: &Connection) -> rusqlite::Result<Option<(GatewayId, FileId)>> {
    let gateway: Option<[u8; 16]> = connection
        .query_row("SELECT value FROM meta WHERE key = 'gateway_id'", [], |r| r.get(0))
        .optional()?;
    let file: Option<i64> =
        connection.query_row("SELECT value FROM meta WHERE key = 'file_id'", [], |r| r.get(0)).optional()?;
    Ok(gateway.map(GatewayId).zip(file.map(|f| FileId(f.cast_unsigned()))))
}

/// Who the file belongs to, for those who only read it; the boot is the newest on record.
pub(super) fn context_of(connection: &Connection) -> rusqlite::Result<Option<Context>> {
    let boot: i64 = connection.query_row("SELECT coalesce(max(number), 0) FROM boots", [], |r| r.get(0))?;
    let ids = read_ids(connection)?;
    Ok(ids.map(|(gateway, file)| Context { gateway, file, boot: boot.cast_unsigned() }))
}

/// Refuses a file whose writer said that this release cannot read it.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    // A file without the table, or one that does not read, is not newer: what it is shows in the next step.
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

fn classify(path: &Path, error: &rusqlite::Error) -> OpenError {
    let (path, detail) = (path.to_owned(), error.to_string());
    // A table or a column that is not there belongs to a file that is not what its header says.
    let schema_lost = matches!(error, rusqlite::Error::SqlInputError { .. });
    if sqlite::is_damage(error) || schema_lost {
        OpenError::Damaged { path, detail }
    } else if sqlite::trouble(error, &path) == Trouble::Full {
        OpenError::NoRoom { path }
    } else {
        OpenError::Unreachable { path, detail }
    }
}

fn refused(path: &Path, error: &io::Error) -> OpenError {
    let path = path.to_owned();
    match sqlite::trouble_of(error) {
        Trouble::Full => OpenError::NoRoom { path },
        _ => OpenError::Unreachable { path, detail: error.to_string() },
    }
}

fn not_restored(path: &Path, error: &SnapshotError) -> OpenError {
    match error {
        SnapshotError::Io(error) => refused(path, error),
        SnapshotError::Sqlite(error) if sqlite::trouble(error, path) == Trouble::Full => {
            OpenError::NoRoom { path: path.to_owned() }
        }
        SnapshotError::Sqlite(_) | SnapshotError::NotWhole(_) => {
            OpenError::Unreachable { path: path.to_owned(), detail: error.to_string() }
        }
    }
}
