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
use std::os::unix::fs::OpenOptionsExt as _;
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

/// Copies the file at `source` with its log to `target`, which must not exist.
///
/// # Errors
/// [`SnapshotError`].
pub fn snapshot(source: &Path, target: &Path) -> Result<Snapshot, SnapshotError> {
    if !source.is_file() {
        return Err(SnapshotError::NoSource(source.to_owned()));
    }
    sqlite::is_fresh(source, schema::KIND)?;
    if target.symlink_metadata().is_ok() {
        return Err(SnapshotError::Exists(target.to_owned()));
    }
    let failed = |detail: String| SnapshotError::Failed { target: target.to_owned(), detail };
    let source = sqlite::open_reader(source)?;
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
        let refused = snapshot(&source, &folder.path().join("copy.db")).unwrap_err();
        assert!(matches!(refused, SnapshotError::Failed { .. }), "{refused}");
        assert_eq!(names(), before);
    }
}
