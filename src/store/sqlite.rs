//! Opening a SQLite file the one way this project does: every pragma set, then read back.
//!
//! A file that a newer release wrote is not damaged: it is refused by [`OpenError::Newer`] only when that release said so
//! (`min_reader`), never quarantined. A file that is not ours, or whose pages do not read, is [`OpenError::Damaged`].

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, ffi};

/// What distinguishes one of our files from another.
#[derive(Clone, Copy, Debug)]
pub struct FileKind {
    /// `PRAGMA application_id`.
    pub application_id: i32,
    /// Bytes a page; fixed when the file is made.
    pub page_size: u32,
    /// For messages: `queue.db`.
    pub name: &'static str,
}

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The pages do not read, or it is some other program's file.
    #[error("{path} is damaged or not a fieldgate file ({detail})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite or our own check said.
        detail: String,
    },
    /// A newer release wrote it and says this one cannot read it.
    #[error(
        "{path} was written by a newer release ({written_by}) that needs at least reader {min_reader}; this is reader \
         {ours}. Nothing was changed. Install that release again, or move the file away to start empty"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The release that wrote it.
        written_by: String,
        /// The oldest reader it allows.
        min_reader: i64,
        /// What this release is.
        ours: i64,
    },
    /// The file system refused.
    #[error("{path} cannot be opened: {detail}. Check that its folder exists and is writable by this user")]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// SQLite did not take a setting that durability depends on.
    #[error(
        "{path}: SQLite answered {got} to {pragma}, not {wanted}; durability cannot be promised on this file system"
    )]
    Setting {
        /// The file.
        path: PathBuf,
        /// Which pragma.
        pragma: &'static str,
        /// What was asked for.
        wanted: String,
        /// What it is.
        got: String,
    },
}

impl OpenError {
    fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        if is_damage(error) {
            Self::Damaged { path: path.to_owned(), detail: error.to_string() }
        } else {
            Self::Unreachable { path: path.to_owned(), detail: error.to_string() }
        }
    }
}

/// Whether SQLite says that the file itself is bad, rather than that it cannot be reached or has no room.
#[must_use]
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(primary_code(error), Some(ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_FORMAT))
        || matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
        )
}

/// Whether there was no room: the disk, a quota, or the file's own page limit.
#[must_use]
pub fn is_full(error: &rusqlite::Error) -> bool {
    match primary_code(error) {
        Some(ffi::SQLITE_FULL) => true,
        // ENOSPC and EDQUOT while writing the log surface as write errors on some file systems.
        Some(ffi::SQLITE_IOERR) => {
            matches!(extended_code(error), Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE))
        }
        _ => false,
    }
}

/// Whether the file system refuses writes altogether.
#[must_use]
pub fn is_read_only(error: &rusqlite::Error) -> bool {
    primary_code(error) == Some(ffi::SQLITE_READONLY)
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|e| e.extended_code)
}

fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

/// Opens for writing, making the file when it is not there.
///
/// # Errors
/// See [`OpenError`].
pub fn open_writer(path: &Path, kind: FileKind) -> Result<Connection, OpenError> {
    let fresh = !path.exists() || std::fs::metadata(path).is_ok_and(|m| m.len() == 0);
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|e| OpenError::from_sqlite(path, &e))?;
    let settle = |sql: &str| connection.execute_batch(sql).map_err(|e| OpenError::from_sqlite(path, &e));
    if fresh {
        // These three are fixed by the first table; later they can only be read.
        settle(&format!(
            "PRAGMA page_size={}; PRAGMA auto_vacuum=NONE; PRAGMA application_id={};",
            kind.page_size, kind.application_id
        ))?;
    }
    settle("PRAGMA journal_mode=WAL;")?;
    let (synchronous, synchronous_code) = synchronous();
    settle(&format!("PRAGMA synchronous={synchronous};"))?;
    settle(
        "PRAGMA wal_autocheckpoint=1000; PRAGMA journal_size_limit=4194304; PRAGMA temp_store=MEMORY;
         PRAGMA cache_size=-512; PRAGMA foreign_keys=ON; PRAGMA recursive_triggers=ON; PRAGMA trusted_schema=OFF;
         PRAGMA mmap_size=0; PRAGMA cell_size_check=ON;",
    )?;
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .map_err(|e| OpenError::from_sqlite(path, &e))?;
    let id: i32 = pragma(&connection, path, "application_id")?;
    if id != kind.application_id {
        return Err(OpenError::Damaged {
            path: path.to_owned(),
            detail: format!(
                "application id {id:#010x}, expected {:#010x} ({})",
                kind.application_id, kind.name
            ),
        });
    }
    let read_back = [
        ("journal_mode", "wal"),
        ("synchronous", synchronous_code),
        ("foreign_keys", "1"),
        ("recursive_triggers", "1"),
        ("trusted_schema", "0"),
    ];
    for (name, wanted) in read_back {
        let got: String = pragma_text(&connection, path, name)?;
        if got != wanted {
            return Err(OpenError::Setting {
                path: path.to_owned(),
                pragma: name,
                wanted: wanted.into(),
                got,
            });
        }
    }
    Ok(connection)
}

/// What the promise of an accepted reading rests on.
fn synchronous() -> (&'static str, &'static str) {
    if crate::sabotage::on("sync-off") { ("OFF", "0") } else { ("FULL", "2") }
}

/// Opens for reading beside a live writer. Transactions on it must stay under a second, or the log cannot be reset.
///
/// # Errors
/// See [`OpenError`].
pub fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| OpenError::from_sqlite(path, &e))?;
    connection
        .execute_batch(
            "PRAGMA query_only=ON; PRAGMA cache_size=-256; PRAGMA trusted_schema=OFF; PRAGMA mmap_size=0;",
        )
        .map_err(|e| OpenError::from_sqlite(path, &e))?;
    connection
        .busy_timeout(std::time::Duration::from_secs(2))
        .map_err(|e| OpenError::from_sqlite(path, &e))?;
    Ok(connection)
}

fn pragma<T: rusqlite::types::FromSql>(c: &Connection, path: &Path, name: &str) -> Result<T, OpenError> {
    c.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| OpenError::from_sqlite(path, &e))
}

fn pragma_text(c: &Connection, path: &Path, name: &str) -> Result<String, OpenError> {
    c.pragma_query_value(None, name, |row| {
        Ok(match row.get_ref(0)? {
            rusqlite::types::ValueRef::Integer(n) => n.to_string(),
            rusqlite::types::ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned(),
            other => format!("{other:?}"),
        })
    })
    .map_err(|e| OpenError::from_sqlite(path, &e))
}

/// Moves a damaged file and its log aside, under a name that says so. The file is kept for whoever wants to look at it.
///
/// Returns the new path of the main file.
///
/// # Errors
/// When the file system refuses the rename.
pub fn quarantine(path: &Path, tag: &str) -> std::io::Result<PathBuf> {
    let mut target = suffixed(path, &format!(".damaged-{tag}"));
    let mut n = 1;
    while target.exists() {
        n += 1;
        target = suffixed(path, &format!(".damaged-{tag}-{n}"));
    }
    // The log first: a main file without its log is honest (older), a log beside a new main file is not.
    for extra in ["-wal", "-shm"] {
        let from = suffixed(path, extra);
        if from.exists() {
            std::fs::rename(&from, suffixed(&target, extra))?;
        }
    }
    if path.exists() {
        std::fs::rename(path, &target)?;
    }
    sync_folder(path)?;
    Ok(target)
}

/// Makes a rename or a new name in this path's folder durable.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// The path with `suffix` appended to its file name.
#[must_use]
pub fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: FileKind = FileKind { application_id: 0x4647_5431, page_size: 1024, name: "t.db" };

    #[test]
    fn a_new_file_gets_its_page_size_and_application_id_before_its_first_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let c = open_writer(&path, KIND).unwrap();
        c.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1);").unwrap();
        drop(c);
        let c = open_writer(&path, KIND).unwrap();
        assert_eq!(pragma_text(&c, &path, "page_size").unwrap(), "1024");
        assert_eq!(pragma::<i32>(&c, &path, "application_id").unwrap(), KIND.application_id);
    }

    #[test]
    fn someone_elses_database_is_damage_not_ours_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a);").unwrap();
        assert!(matches!(open_writer(&path, KIND), Err(OpenError::Damaged { .. })));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test makes the damage")]
    fn garbage_is_damage_and_quarantine_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        std::fs::write(&path, vec![0x5au8; 8192]).unwrap();
        assert!(matches!(open_writer(&path, KIND), Err(OpenError::Damaged { .. })));
        let kept = quarantine(&path, "x").unwrap();
        assert!(!path.exists());
        assert_eq!(std::fs::metadata(kept).unwrap().len(), 8192);
        assert!(open_writer(&path, KIND).is_ok());
    }

    #[test]
    fn a_reader_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let w = open_writer(&path, KIND).unwrap();
        w.execute_batch("CREATE TABLE t (a);").unwrap();
        let r = open_reader(&path).unwrap();
        assert!(r.execute("INSERT INTO t VALUES (1)", []).is_err());
    }
}
