//! The snapshot beside `gateway.db`: made with SQLite's backup interface, checked, synced, and only then put in the place
//! of the one before; and put back when the file itself is lost.
//!
//! Invariant: at every moment either the old snapshot or the new one is whole under its name.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{open, schema};
use crate::store::sqlite::{self, OpenError};

/// Why no snapshot was made. The one before is still there.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// SQLite could not copy, or what it copied is not whole.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The copy is not whole: the file itself is damaged and must not replace a good snapshot.
    #[error("the copy is not whole ({0}); the snapshot before is kept")]
    NotWhole(String),
    /// The file system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Copies the open file to `snapshot`.
///
/// # Errors
/// [`SnapshotError`].
pub(super) fn make(source: &Connection, snapshot: &Path) -> Result<(), SnapshotError> {
    put(source, snapshot, "-new")
}

/// Puts a snapshot in the place of a file that is not there.
///
/// # Errors
/// [`SnapshotError`]; the snapshot is untouched.
pub(super) fn restore(snapshot: &Path, path: &Path) -> Result<(), SnapshotError> {
    put(&sqlite_read_only(snapshot)?, path, "-restoring")
}

fn put(source: &Connection, target: &Path, suffix: &str) -> Result<(), SnapshotError> {
    let beside = sqlite::suffixed(target, suffix);
    for leftover in [beside.clone(), sqlite::suffixed(&beside, "-journal"), sqlite::suffixed(&beside, "-wal")]
    {
        match std::fs::remove_file(&leftover) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    let mut copy = Connection::open(&beside)?;
    {
        let backup = Backup::new(source, &mut copy)?;
        // In one step: a copy made in several begins again whenever the writer commits between them.
        match backup.step(-1)? {
            StepResult::Done => {}
            other => return Err(SnapshotError::NotWhole(format!("the copy ended as {other:?}"))),
        }
    }
    // The copy takes over the mode of its source; alone, with no log beside it, is what makes it one file.
    copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    let whole: String = copy.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    if whole != "ok" {
        return Err(SnapshotError::NotWhole(whole));
    }
    copy.close().map_err(|(_, e)| e)?;
    std::fs::File::open(&beside)?.sync_all()?;
    std::fs::rename(&beside, target)?;
    sqlite::sync_folder(target)?;
    Ok(())
}

/// What a snapshot is good for.
#[derive(Debug)]
pub(super) enum Found {
    /// It can take the file's place.
    Whole,
    /// There is none.
    Missing,
    /// It is there and of no use.
    Damaged(String),
}

/// Looks at a snapshot without changing anything.
///
/// # Errors
/// [`OpenError::Newer`] when a newer release wrote it.
pub(super) fn inspect(snapshot: &Path) -> Result<Found, OpenError> {
    if !std::fs::metadata(snapshot).is_ok_and(|m| m.len() > 0) {
        return Ok(Found::Missing);
    }
    let look = || -> rusqlite::Result<Result<(), OpenError>> {
        let connection = sqlite_read_only(snapshot)?;
        let id: i32 = connection.pragma_query_value(None, "application_id", |r| r.get(0))?;
        let whole: String = connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        if let Err(newer) = open::refuse_newer(&connection, snapshot) {
            return Ok(Err(newer));
        }
        let damaged = |detail: String| OpenError::Damaged { path: snapshot.to_owned(), detail };
        if id != schema::KIND.application_id {
            return Ok(Err(damaged(format!("application id {id:#010x}"))));
        }
        if whole != "ok" {
            return Ok(Err(damaged(whole)));
        }
        if open::context_of(&connection)?.is_none() {
            return Ok(Err(damaged("it has no identity".into())));
        }
        Ok(Ok(()))
    };
    match look() {
        Ok(Ok(())) => Ok(Found::Whole),
        Ok(Err(newer @ OpenError::Newer { .. })) => Err(newer),
        Ok(Err(other)) => Ok(Found::Damaged(other.to_string())),
        Err(error) => Ok(Found::Damaged(error.to_string())),
    }
}

fn sqlite_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA trusted_schema=OFF; PRAGMA mmap_size=0; PRAGMA cell_size_check=ON;")?;
    Ok(connection)
}
