//! Looking into a queue file without being its writer: beside a running daemon, or at a copy that nobody writes.
//!
//! A file alone is opened `immutable`: nothing is created beside it, and SQLite does not look for a log. So this room
//! must: what was accepted last may stand in the log only, and a file read without its log tells an older state as if it
//! were the newest. Such a file is refused, or read with the caller's explicit word for it.
//!
//! - [`walk`] gives the readings one by one, in constant memory and without a long transaction.
//! - [`pull`] gives them in pages behind a cursor, to whoever collects them beside the destinations.
//! - [`overview`] tells from the books alone how much waits where and since when.
//! - [`corrections`] gives the wall times that turned out to have been wrong.
//! - [`records`] gives what is on record about readings that are not there: drops, gaps, readings set aside.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::reader::EpochInfo;
use super::schema;
use crate::clock::Mono;
use crate::store::sqlite::{self, OpenError};

pub mod corrections;
pub mod overview;
pub mod pull;
pub mod records;
pub mod walk;

/// Which file, and how it may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The file of this gateway: a daemon may be writing it, its log is read too.
    Beside(PathBuf),
    /// A copy that nobody writes.
    Alone {
        /// The copy.
        path: PathBuf,
        /// Read it although its log is missing: the caller knows that it is older than what the gateway had.
        without_log: bool,
    },
}

impl Source {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Beside(path) | Self::Alone { path, .. } => path,
        }
    }
}

/// Why a file cannot be looked into. Nothing was changed, and nothing was created beside it.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The gateway has none yet.
    #[error("{0} does not exist: the daemon has not run here yet. Start it, or name a copy with --file")]
    NotYet(PathBuf),
    /// There is no such copy.
    #[error(
        "{0} does not exist. Name the copy of a queue.db, for example one made by: fieldgate queue snapshot"
    )]
    Missing(PathBuf),
    /// The copy has a log beside it.
    #[error(
        "{path} has a log beside it ({log}): a daemon uses it, or it was copied with what a daemon left. Read alone it \
         would tell an older state. Make a snapshot of both and look at that: fieldgate queue snapshot --file {path} NEW"
    )]
    LogBeside {
        /// The copy.
        path: PathBuf,
        /// Its log.
        log: PathBuf,
    },
    /// The copy's log was left behind.
    #[error(
        "{path} was not closed by its daemon and its log ({log}) is missing: the newest readings and answers stood there. \
         Copy both, or make a snapshot on the gateway: fieldgate queue snapshot NEW. If the log is lost for good, \
         --without-log shows the older state that this file alone tells"
    )]
    LogMissing {
        /// The copy.
        path: PathBuf,
        /// Where its log would be.
        log: PathBuf,
    },
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Opens the file for reading.
///
/// # Errors
/// [`LookError`].
pub fn open(source: &Source) -> Result<Connection, LookError> {
    let path = source.path();
    match source {
        Source::Beside(_) if !path.exists() => Err(LookError::NotYet(path.to_owned())),
        Source::Beside(_) => Ok(sqlite::open_reader(path)?),
        Source::Alone { .. } if !path.is_file() => Err(LookError::Missing(path.to_owned())),
        Source::Alone { without_log, .. } => alone(path, *without_log),
    }
}

fn alone(path: &Path, without_log: bool) -> Result<Connection, LookError> {
    if sqlite::is_fresh(path, schema::KIND)? {
        let detail = "it is empty".into();
        return Err(OpenError::Damaged { path: path.to_owned(), detail }.into());
    }
    let log = sqlite::suffixed(path, "-wal");
    if std::fs::metadata(&log).is_ok_and(|m| m.len() > 0) {
        return Err(LookError::LogBeside { path: path.to_owned(), log });
    }
    let connection = open_immutable(path)?;
    let unreadable = |e: io::Error| OpenError::Unreachable { path: path.to_owned(), detail: e.to_string() };
    // A snapshot says in its header that it needs no log. Any other file is whole only if its last user closed it.
    let needs_log = writes_log(path).map_err(unreadable)? && !closed_cleanly(&connection);
    if needs_log && !without_log {
        return Err(LookError::LogMissing { path: path.to_owned(), log });
    }
    Ok(connection)
}

/// SQLite URI file names, parameter `immutable`: no locks, no log, no shared memory, no journal.
fn open_immutable(path: &Path) -> Result<Connection, OpenError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let wrong = |e: rusqlite::Error| OpenError::from_sqlite(path, &e);
    let connection = Connection::open_with_flags(uri(path), flags).map_err(wrong)?;
    connection
        .execute_batch("PRAGMA query_only=ON; PRAGMA cache_size=-256; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;")
        .map_err(wrong)?;
    Ok(connection)
}

fn uri(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = String::from("file://");
    for byte in absolute.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'_' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte))
            }
            other => {
                let _ = write!(uri, "%{other:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// SQLite file format, section 1.3.3: the read version of a file that may have a log is 2.
fn writes_log(path: &Path) -> io::Result<bool> {
    let mut version = [0u8; 1];
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(19))?;
    file.read_exact(&mut version)?;
    Ok(version == [2])
}

/// What does not even have the table was never brought home from its log.
fn closed_cleanly(connection: &Connection) -> bool {
    let newest = connection
        .query_row("SELECT clean_stop FROM epochs ORDER BY number DESC LIMIT 1", [], |r| r.get(0))
        .optional();
    matches!(newest, Ok(Some(true)))
}

/// When something was, for people: wall time where the boot was dated, else the boot and the time within it.
#[must_use]
pub fn when(epoch: Option<&EpochInfo>, at: Mono) -> String {
    let Some(epoch) = epoch else { return format!("{} s after a boot that is forgotten", at.ms() / 1000) };
    match rfc3339(epoch, at) {
        Some(time) => time,
        None => {
            let boot = format!("{:?}", epoch.boot);
            format!("{} s after boot {}, which is not dated", at.ms() / 1000, boot.get(..8).unwrap_or(&boot))
        }
    }
}

/// Wall time in UTC with milliseconds, as RFC 3339 writes it; `None` while nothing vouched for the clock of that boot.
#[must_use]
pub fn rfc3339(epoch: &EpochInfo, at: Mono) -> Option<String> {
    Some(unix_ms(epoch, at)?.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// Wall time of a monotonic instant, where its boot is dated.
#[must_use]
pub fn unix_ms(epoch: &EpochInfo, at: Mono) -> Option<jiff::Timestamp> {
    let (offset, _) = epoch.wall_offset_ms?;
    jiff::Timestamp::from_millisecond(offset.checked_add(i64::try_from(at.ms()).ok()?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_the_same_file_whatever_its_name_holds() {
        assert_eq!(uri(Path::new("/a b/q?x=1#y%41.db")), "file:///a%20b/q%3fx%3d1%23y%2541.db?immutable=1");
    }
}
