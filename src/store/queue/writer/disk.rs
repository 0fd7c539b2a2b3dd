//! What the writer writes to: the open file, or the reason why there is none just now.

use std::time::Duration;

use rusqlite::{Connection, ffi};

use super::super::damage::Remains;
use super::wear::LogPosition;
use crate::store::sqlite;

/// See the module head.
#[derive(Debug)]
pub(super) enum Disk {
    /// The usual.
    Open(Connection),
    /// Let go, because the file system takes no writes: whoever repairs it can, and the same file is opened again after.
    LetGo,
    /// The file was damaged and is moved aside; its successor, which begins with what it left, could not be made yet.
    SetAside(Remains),
}

/// The file's pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    all: u64,
    free: u64,
    most: u64,
}

impl Pages {
    pub(super) fn used(self) -> u64 {
        self.all.saturating_sub(self.free)
    }

    /// How many more a transaction may fill before the file's own limit stops it.
    pub(super) fn left(self) -> u64 {
        self.most.saturating_sub(self.used())
    }
}

/// Pages given back to the disk in one step: a step's log must fit the room of a small ballast.
const SHRINK_STEP: u32 = 256;

impl Disk {
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Open(connection) => Some(connection),
            Self::LetGo | Self::SetAside(_) => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// The open file, to be put back after use; the writer is borrowed whole meanwhile.
    pub(super) fn take(&mut self) -> rusqlite::Result<Connection> {
        match std::mem::replace(self, Self::LetGo) {
            Self::Open(connection) => Ok(connection),
            other => {
                *self = other;
                Err(no_file())
            }
        }
    }

    pub(super) fn pages(&mut self) -> Option<Pages> {
        let connection = self.connection()?;
        let pragma = |name: &str| -> Option<u64> {
            connection.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).ok().map(i64::cast_unsigned)
        };
        Some(Pages {
            all: pragma("page_count")?,
            free: pragma("freelist_count")?,
            most: pragma("max_page_count")?,
        })
    }

    /// Where the log stands. Does no work on it.
    pub(super) fn log(&mut self) -> Option<LogPosition> {
        checkpoint(self.connection()?, "NOOP").ok()
    }

    /// Brings the log home: as far as readers allow, or, where `wait` is set, after waiting for them, up to a second.
    pub(super) fn bring_home(&mut self, wait: bool) -> Option<LogPosition> {
        let connection = self.connection()?;
        if !wait {
            return checkpoint(connection, "PASSIVE").ok();
        }
        connection.busy_timeout(Duration::from_secs(1)).ok()?;
        // What it says after a wait in vain is that it is busy, and how far it got.
        let at = checkpoint(connection, "RESTART").ok();
        connection.busy_timeout(sqlite::WRITER_PATIENCE).ok()?;
        at
    }

    /// Gives free pages and the log's room back to the disk. Does what can be done at once; never waits for a reader.
    pub(super) fn shrink(&mut self) -> rusqlite::Result<()> {
        let connection = self.connection().ok_or_else(no_file)?;
        connection.busy_timeout(Duration::ZERO)?;
        let shrunk = shrink_steps(connection);
        connection.busy_timeout(sqlite::WRITER_PATIENCE)?;
        shrunk
    }

    /// Notes the clean stop and brings the log home.
    pub(super) fn close(&mut self, epoch_number: i64) -> rusqlite::Result<()> {
        let connection = self.take()?;
        connection.execute("UPDATE epochs SET clean_stop = 1 WHERE number = ?1", [epoch_number])?;
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
        sqlite::bring_home_when_closed(&connection, true)
    }
}

fn checkpoint(connection: &Connection, how: &str) -> rusqlite::Result<LogPosition> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |r| {
        let count = |column| Ok::<_, rusqlite::Error>(r.get::<_, i64>(column)?.max(0).cast_unsigned());
        Ok(LogPosition { frames: count(1)?, home: count(2)? })
    })
}

fn shrink_steps(connection: &Connection) -> rusqlite::Result<()> {
    loop {
        run_to_the_end(connection, "PRAGMA wal_checkpoint(TRUNCATE)")?;
        let free: i64 = connection.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
        if free == 0 {
            return Ok(());
        }
        run_to_the_end(connection, &format!("PRAGMA incremental_vacuum({SHRINK_STEP})"))?;
        let after: i64 = connection.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
        if after >= free {
            return run_to_the_end(connection, "PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }
}

/// Some pragmas do a part of their work with each row they give.
fn run_to_the_end(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

pub(super) fn no_file() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some("no file is open".into()))
}
