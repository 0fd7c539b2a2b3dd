//! A copy of a queue file as it is at one moment, made beside a running daemon or without one (`fieldgate queue snapshot`).
//!
//! SQLite's backup interface copies the pages in small steps out of one read transaction. A reader does not keep a writer
//! in WAL mode from committing; it keeps the log from being reset, so the log grows by what is accepted while the copy
//! is made, and no longer. Between steps the copier pauses, so that the disk is not its alone.
//!
//! The copy is built under another name beside its target, synced, and then given its name in one step: there is a whole
//! snapshot or none. Its header says that it has no log ([`super::look`] relies on it); as a `queue.db` of its own it can
//! be opened by the daemon, which begins a new epoch on it as after any start.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::schema;
use crate::store::sqlite::{self, OpenError};

/// Pages of 1 KiB copied in one step.
const STEP: i32 = 256;
/// The pause after a step: a disk that writes 20 MB/s is left alone for a third of the time.
const PAUSE: Duration = Duration::from_millis(5);
/// How often in a row the source may be locked before the copier gives up.
const PATIENCE: u32 = 400;

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its size.
    pub bytes: u64,
}

/// Why there is no snapshot. Nothing is left behind under its name.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no source.
    #[error("{0} does not exist: the daemon has not run here yet, so there is nothing to copy")]
    NoSource(PathBuf),
    /// The target is taken.
    #[error(
        "{0} exists and was left as it is: a snapshot overwrites nothing. Name another file, or remove that one first"
    )]
    Exists(PathBuf),
    /// Another one is being made, or was when its maker was killed.
    #[error(
        "{0} exists: another snapshot of this name is being made, or one was interrupted. If none is, remove that file and \
         try again"
    )]
    UnderWay(PathBuf),
    /// The copy would leave the disk without the room that the daemon needs.
    #[error(
        "the snapshot {target} was not begun: it takes {needed} bytes with what the daemon needs beside it, and {free} are \
         free. Name a file on another disk, or make room; nothing was changed"
    )]
    NoRoom {
        /// Where it was to be.
        target: PathBuf,
        /// The copy, and what must be left where the daemon is on the same disk.
        needed: u64,
        /// What the disk has.
        free: u64,
    },
    /// The source does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The source is no queue file, or the target cannot be written.
    #[error(
        "the snapshot {target} was not made: {detail}. Check the room and the rights on its folder; nothing is left of it"
    )]
    Failed {
        /// Where it was to be.
        target: PathBuf,
        /// What the system or SQLite said.
        detail: String,
    },
}

/// What the daemon writes beside its ballast while a copy is made: a log at its ceiling, and as much again.
const BESIDE: u64 = 8 << 20;

/// Copies the file at `source` with its log to `target`, which must not exist. On the daemon's own disk so much is left free
/// that it goes on accepting: its ballast of `ballast_bytes`, and what its log may grow by.
///
/// # Errors
/// [`SnapshotError`].
pub fn snapshot(source: &Path, target: &Path, ballast_bytes: u64) -> Result<Snapshot, SnapshotError> {
    if !source.is_file() {
        return Err(SnapshotError::NoSource(source.to_owned()));
    }
    sqlite::is_fresh(source, schema::KIND)?;
    if target.symlink_metadata().is_ok() {
        return Err(SnapshotError::Exists(target.to_owned()));
    }
    let failed = |detail: String| SnapshotError::Failed { target: target.to_owned(), detail };
    let beside = if on_one_disk(source, target) { ballast_bytes.saturating_add(BESIDE) } else { 0 };
    let source = sqlite::open_reader(source)?;
    let needed = size(&source).map_err(|e| failed(e.to_string()))?.saturating_add(beside);
    if let Some(free) = sqlite::free_bytes(target).filter(|free| *free < needed) {
        return Err(SnapshotError::NoRoom { target: target.to_owned(), needed, free });
    }
    let partial = Partial::begin(target)?;
    copy(&source, &partial.0).map_err(|e| failed(e.to_string()))?;
    drop(source);
    finish(&partial.0).map_err(|e| failed(e.to_string()))?;
    let published = publish(&partial.0, target);
    match published {
        Ok(bytes) => Ok(Snapshot { bytes }),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(SnapshotError::Exists(target.to_owned())),
        Err(e) => Err(failed(e.to_string())),
    }
}

/// Whether what the copy takes is missing beside the source. Where that cannot be told it is.
fn on_one_disk(source: &Path, target: &Path) -> bool {
    let disk = |path: &Path| {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::metadata(folder).ok().map(|folder| folder.dev())
    };
    disk(source).zip(disk(target)).is_none_or(|(a, b)| a == b)
}

/// The bytes of a copy, what is still in the log included.
fn size(source: &Connection) -> rusqlite::Result<u64> {
    let ask = |pragma: &str| source.pragma_query_value(None, pragma, |r| r.get::<_, i64>(0));
    Ok(ask("page_count")?.cast_unsigned().saturating_mul(ask("page_size")?.cast_unsigned()))
}

/// The copy under its working name; gone, with whatever SQLite made beside it, when this is dropped.
struct Partial(PathBuf);

impl Partial {
    fn begin(target: &Path) -> Result<Self, SnapshotError> {
        let path = sqlite::suffixed(target, ".partial");
        // Readings are nobody else's business: whoever makes the snapshot decides who may read it.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => Ok(Self(path)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(SnapshotError::UnderWay(path)),
            Err(e) => Err(SnapshotError::Failed { target: target.to_owned(), detail: e.to_string() }),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for suffix in ["-wal", "-shm", "-journal", ""] {
            // What is not there cannot be removed, and what cannot be removed has a name that says what it is.
            let _ = std::fs::remove_file(sqlite::suffixed(&self.0, suffix));
        }
    }
}

fn copy(source: &Connection, partial: &Path) -> rusqlite::Result<()> {
    // One state of the file for the whole copy. Without it each commit of the daemon would start the copy over.
    source.execute_batch("BEGIN; SELECT count(*) FROM meta;")?;
    let mut target = open_partial(partial)?;
    // Synced once, at the end; a copy that a power cut left half made has its working name.
    target.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")?;
    let backup = Backup::new(source, &mut target)?;
    let mut locked = 0;
    loop {
        match backup.step(STEP)? {
            StepResult::Done => return Ok(()),
            StepResult::More => locked = 0,
            // Busy or locked: the step did nothing and may be taken again.
            _ if locked < PATIENCE => locked += 1,
            _ => {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                    None,
                ));
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Makes it a file that needs no log, and says in it what it is.
fn finish(partial: &Path) -> rusqlite::Result<()> {
    let target = open_partial(partial)?;
    let mode: String = target.query_row("PRAGMA journal_mode=DELETE", [], |r| r.get(0))?;
    if mode != "delete" {
        let what = format!("its journal mode stays {mode}");
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR),
            Some(what),
        ));
    }
    target.execute(
        "INSERT INTO meta (key, value) VALUES ('snapshot_by', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1",
        [env!("CARGO_PKG_VERSION")],
    )?;
    target.close().map_err(|(_, e)| e)
}

fn open_partial(partial: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(partial, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Gives the synced copy its name, unless something has that name by now.
fn publish(partial: &Path, target: &Path) -> io::Result<u64> {
    let file = File::open(partial)?;
    file.sync_all()?;
    let bytes = file.metadata()?.len();
    match std::fs::hard_link(partial, target) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(e),
        // A file system without links, such as a memory stick's.
        Err(_) if target.symlink_metadata().is_err() => std::fs::rename(partial, target)?,
        Err(e) => return Err(e),
    }
    sqlite::sync_folder(&std::path::absolute(target)?)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_fails_half_way_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("queue.db");
        let connection = sqlite::open_writer(&source, schema::KIND).unwrap();
        // Ours by its header, but without a single table.
        connection.execute_batch("PRAGMA user_version=7; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
        let names = || {
            let mut names: Vec<_> =
                std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names();
        let refused = snapshot(&source, &folder.path().join("copy.db"), 0).unwrap_err();
        assert!(matches!(refused, SnapshotError::Failed { .. }), "{refused}");
        assert_eq!(names(), before);
    }

    #[test]
    fn a_copy_that_would_take_the_room_of_the_daemon_is_refused_with_the_numbers_and_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("queue.db");
        let connection = sqlite::open_writer(&source, schema::KIND).unwrap();
        connection.execute_batch("CREATE TABLE meta (key, value);").unwrap();
        let target = folder.path().join("copy.db");
        // The file itself is small: it is what must be left beside it that is missing.
        let refused = snapshot(&source, &target, u64::MAX / 2).unwrap_err();
        let SnapshotError::NoRoom { needed, free, .. } = &refused else { panic!("{refused}") };
        assert!(needed > free);
        let words = refused.to_string();
        assert!(words.contains(&needed.to_string()) && words.contains(&free.to_string()), "{words}");
        assert!(!target.exists() && !sqlite::suffixed(&target, ".partial").exists());
    }
}
