//! Facts that one room keeps for its next run, each as text that only that room reads: what was spent against the data plan,
//! the settings in force, what the cloud was told.

use std::path::Path;

use rusqlite::{OptionalExtension, Transaction};

use crate::store::sqlite;

/// Keeps it.
pub(super) fn keep(tx: &Transaction<'_>, key: &str, record: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
    )?
    .execute((key, record))?;
    Ok(())
}

/// What is kept; `None` when nothing is, or it does not read.
pub(super) fn read(path: &Path, key: &str) -> Option<String> {
    let connection = sqlite::open_reader(path).ok()?;
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).optional().ok()?
}
