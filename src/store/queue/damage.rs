//! A damaged file: what can still be said of it, and where it is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension};

use super::Epoch;
use super::books::Books;
use super::salvage::Progress;
use super::segment;
use super::statement::UNDER_WAY;
use crate::gather::Gather;
use crate::reading::StreamId;
use crate::store::sqlite::{self, Log, OpenError};

/// What a damaged file leaves to its successor.
#[derive(Clone, Debug)]
pub(super) struct Remains {
    /// What it held as far as anyone can tell, after what it said of damaged files before it: JSON, a statement each.
    pub(super) statements: Vec<String>,
    /// Where readings may still be found: in itself, and in what it was itself still salvaging.
    pub(super) salvage: Vec<Progress>,
    /// Damaged files beyond [`KEPT`]: deleted once the statements are on disk.
    pub(super) too_many: Vec<PathBuf>,
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
    let file = name_of(&kept);
    let others: Vec<PathBuf> = beside(path).into_iter().filter(|other| *other != kept).collect();
    let mut statements = known.statements;
    let mut salvage = known.salvage.unwrap_or_else(|| {
        // How far it was with its own predecessors does not read. What may be salvaged twice is not lost.
        let done = |file: &str| statements.iter().any(|s| is_of(s, file) && s["salvage"] == "done");
        others.iter().map(|other| name_of(other)).filter(|file| !done(file)).map(Progress::of).collect()
    });
    for progress in &salvage {
        if !statements.iter().any(|s| is_of(s, &progress.file)) {
            statements.push(statement(
                &progress.file,
                "what was said of it does not read any more",
                &Held::default(),
            ));
        }
    }
    // What was salvaged goes first, then the oldest.
    let (waiting, done): (Vec<_>, Vec<_>) =
        others.iter().cloned().partition(|other| salvage.iter().any(|p| p.file == name_of(other)));
    let excess = (others.len() + 1).saturating_sub(KEPT);
    let too_many: Vec<PathBuf> = done.into_iter().chain(waiting).take(excess).collect();
    salvage.retain(|progress| {
        let goes = too_many.iter().any(|file| name_of(file) == progress.file);
        for said in statements.iter_mut().filter(|s| goes && is_of(s, &progress.file)) {
            given_up(said, progress);
        }
        !goes
    });
    statements.push(statement(&file, detail, &Held { statements: Vec::new(), salvage: None, ..known }));
    salvage.insert(0, Progress::of(file));
    let statements = statements.iter().map(serde_json::Value::to_string).collect();
    Ok(Remains { statements, salvage, too_many })
}

/// So many damaged files are kept. A flash that fails for good must not fill itself with its own remains.
const KEPT: usize = 4;
/// So many statements of damaged files before it are carried over, the newest.
const STATED: usize = 64;

fn statement(file: &str, detail: &str, known: &Held) -> serde_json::Value {
    serde_json::json!({
        "file": file, "detail": detail, "epoch": known.epoch, "accepted": known.accepted, "queued": known.queued,
        "salvage": UNDER_WAY, "salvaged": null, "lost": null,
    })
}

fn is_of(statement: &serde_json::Value, file: &str) -> bool {
    statement["file"].as_str() == Some(file)
}

/// Its file goes before all of it was looked at: how much of it is lost nobody will know.
fn given_up(statement: &mut serde_json::Value, progress: &Progress) {
    if let Some(said) = statement.as_object_mut() {
        said.insert("salvage".into(), "given up: too many damaged files are kept, and it was deleted".into());
        said.insert("salvaged".into(), serde_json::json!(progress.taken_for));
        said.insert("lost".into(), serde_json::Value::Null);
    }
}

fn name_of(file: &Path) -> String {
    file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The damaged files beside `path`, oldest first.
fn beside(path: &Path) -> Vec<PathBuf> {
    let Some(folder) = path.parent() else { return Vec::new() };
    let prefix = format!("{}.damaged-", name_of(path));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|e| {
            let name = e.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .map(|e| (e.metadata().and_then(|m| m.modified()).ok(), e.path()))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Deletes damaged files of which everything that will ever be known is on disk.
pub(super) fn forget(files: &[PathBuf]) {
    for file in files {
        tracing::warn!(file = %file.display(), "too many damaged files are kept; this one is deleted");
        for suffix in ["-wal", "-shm", ""] {
            // What cannot be deleted now is tried again with the next.
            let _ = std::fs::remove_file(sqlite::suffixed(file, suffix));
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
    /// What it said of damaged files before it.
    statements: Vec<serde_json::Value>,
    /// What it was still taking from them.
    salvage: Option<Vec<Progress>>,
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
    held.statements = statements(&connection).unwrap_or_default();
    held.salvage = Progress::load(&connection).ok();
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

fn statements(connection: &Connection) -> rusqlite::Result<Vec<serde_json::Value>> {
    let mut said =
        connection.prepare("SELECT detail FROM statements WHERE kind = 'queue_damaged' ORDER BY id")?;
    let said = said.query_map([], |r| r.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut said: Vec<_> = said.iter().filter_map(|detail| serde_json::from_str(detail).ok()).collect();
    // Whoever replaces one file after the other must not fill the next with what it says of them.
    said.drain(..said.len().saturating_sub(STATED));
    Ok(said)
}

fn names(connection: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<u32, String>> {
    connection.prepare(sql)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.try_gathered()
}
