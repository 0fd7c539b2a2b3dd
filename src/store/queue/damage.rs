//! A damaged file: what can still be said of it, and where it is kept.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension};

use super::Epoch;
use super::books::Books;
use super::salvage::Progress;
use super::segment;
use crate::reading::StreamId;
use crate::store::sqlite::{self, Log, OpenError};

/// What a damaged file leaves to its successor.
#[derive(Clone, Debug)]
pub(super) struct Remains {
    /// What it held as far as anyone can tell: JSON for a statement.
    pub(super) statement: String,
    /// Where its readings may still be found: itself, and what it was itself still salvaging.
    pub(super) salvage: Vec<Progress>,
}

/// Moves the file aside and tells what it leaves.
///
/// # Errors
/// [`OpenError::Unreachable`] when it cannot be moved.
pub(super) fn set_aside(path: &Path, tag: Epoch, detail: &str) -> Result<Remains, OpenError> {
    let known = what_it_held(path);
    let kept = sqlite::quarantine(path, &tag.to_string())
        .map_err(|e| OpenError::Unreachable { path: path.to_owned(), detail: e.to_string() })?;
    tracing::error!(
        file = %kept.display(), detail,
        "queue.db is damaged and was moved aside; what its pages still hold is taken into the new file"
    );
    forget_oldest(path);
    let file = kept.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let statement = serde_json::json!({
        "file": file, "detail": detail, "epoch": known.epoch, "accepted": known.accepted, "queued": known.queued,
        "salvage": "under way", "salvaged": null, "lost": null,
    })
    .to_string();
    let mut salvage = known.salvage;
    salvage.insert(0, Progress::of(file));
    salvage.truncate(KEPT);
    Ok(Remains { statement, salvage })
}

/// So many damaged files are kept. A flash that fails for good must not fill itself with its own remains.
const KEPT: usize = 4;

fn forget_oldest(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return;
    };
    let prefix = format!("{name}.damaged-");
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut kept: Vec<_> = entries
        .flatten()
        .filter(|e| {
            let name = e.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .map(|e| (e.metadata().and_then(|m| m.modified()).ok(), e.path()))
        .collect();
    kept.sort();
    for (_, oldest) in kept.iter().take(kept.len().saturating_sub(KEPT)) {
        tracing::warn!(file = %oldest.display(), "too many damaged files are kept; the oldest is deleted");
        for suffix in ["-wal", "-shm", ""] {
            // What cannot be deleted now is tried again with the next.
            let _ = std::fs::remove_file(sqlite::suffixed(oldest, suffix));
        }
    }
}

/// What the loss of a log means for the file it belonged to, as JSON for a statement; `None` when nothing is amiss.
///
/// Only asked after an unclean stop: whoever closes the file brings its log home first.
#[must_use]
pub(super) fn lost_log(log: Log) -> Option<String> {
    let detail = match log {
        Log::Plausible | Log::Empty => return None,
        Log::Missing => "its log is missing",
        Log::Garbage => "its log does not read",
    };
    tracing::error!(detail, "what was accepted last before the unclean stop may be lost");
    Some(serde_json::json!({ "detail": detail, "queued": null }).to_string())
}

/// Whether damage that a reader reported is really there: every page and every segment is looked at, past the writer's
/// own cache. Slow on a large file, and only done when somebody says that it is damaged.
#[must_use]
pub(super) fn confirmed(path: &Path) -> Option<String> {
    let look = || -> rusqlite::Result<Option<String>> {
        let Ok(connection) = sqlite::open_reader(path) else { return Ok(Some("it does not open".into())) };
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        if verdict != "ok" {
            return Ok(Some(verdict));
        }
        for table in [
            "meta",
            "destinations",
            "intake",
            "accounts",
            "cursors",
            "drops",
            "gaps",
            "set_aside",
            "statements",
        ] {
            connection.prepare(&format!("SELECT * FROM {table}"))?;
        }
        let streams =
            names(&connection, "SELECT id, name || group_name || device || unit || alias FROM streams")?;
        let lost: Option<i64> = connection
            .query_row(
                "SELECT id FROM segments WHERE epoch NOT IN (SELECT number FROM epochs) LIMIT 1",
                [],
                |r| r.get(0),
            )
            .optional()?;
        if let Some(segment) = lost {
            return Ok(Some(format!("segment {segment} is of an epoch that the file does not have")));
        }
        let mut bodies = connection.prepare("SELECT id, body FROM segments")?;
        let mut bodies = bodies.query([])?;
        while let Some(row) = bodies.next()? {
            let body = row.get_ref(1)?.as_blob().unwrap_or(&[]);
            let known = |rows: segment::Rows<'_>| -> Result<bool, segment::Damaged> {
                rows.into_iter()
                    .try_fold(true, |all, row| Ok(all && streams.contains_key(&row?.sample.stream.0)))
            };
            let what = match segment::rows(body).and_then(known) {
                Ok(true) => continue,
                Ok(false) => "refers to a stream that the file does not have".into(),
                Err(damage) => damage.to_string(),
            };
            return Ok(Some(format!("segment {}: {what}", row.get::<_, i64>(0)?)));
        }
        Ok(None)
    };
    look().unwrap_or_else(|e| (sqlite::is_damage(&e) || sqlite::is_missing_schema(&e)).then(|| e.to_string()))
}

/// `None` is "unknown".
#[derive(Default)]
struct Held {
    /// The epoch it was last opened under.
    epoch: Option<String>,
    /// By stream.
    accepted: Option<BTreeMap<String, u64>>,
    /// By destination and stream.
    queued: Option<BTreeMap<String, u64>>,
    /// What it was still taking from its own predecessors.
    salvage: Vec<Progress>,
}

fn what_it_held(path: &Path) -> Held {
    let mut held = Held::default();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(connection) = Connection::open_with_flags(path, flags) else { return held };
    // Without this SQLite reads nothing at all of a file that is shorter than its header says.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true);
    held.epoch = connection
        .query_row("SELECT epoch FROM epochs ORDER BY number DESC LIMIT 1", [], |r| r.get::<_, i64>(0))
        .ok()
        .map(|epoch| Epoch(epoch.cast_unsigned()).to_string());
    held.salvage = Progress::load(&connection).unwrap_or_default();
    // Names are a help to whoever reads this, numbers do without them.
    let streams = names(&connection, "SELECT id, name FROM streams").unwrap_or_default();
    let destinations = names(&connection, "SELECT id, name FROM destinations").unwrap_or_default();
    let name =
        |names: &BTreeMap<u32, String>, id: u32| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
    if let Ok(books) = Books::load(&connection) {
        let of = |stream: StreamId| name(&streams, stream.0);
        let mut accepted = BTreeMap::new();
        for (stream, intake) in &books.intake {
            *accepted.entry(of(*stream)).or_default() += intake.accepted;
        }
        let mut queued = BTreeMap::new();
        for ((destination, stream), account) in &books.accounts {
            let intake = books.intake.get(stream).copied().unwrap_or_default();
            let key = format!("{}/{}", name(&destinations, destination.0.into()), of(*stream));
            *queued.entry(key).or_default() += account.queued(&intake);
        }
        (held.accepted, held.queued) = (Some(accepted), Some(queued));
    }
    held
}

fn names(connection: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<u32, String>> {
    connection.prepare(sql)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
}
