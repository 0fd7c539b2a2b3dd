//! What was spent against the data plan: one fact about the file, as text that only the ledger reads.

use std::path::Path;

use rusqlite::{OptionalExtension, Transaction};

use crate::store::sqlite;

const KEY: &str = "spending";

/// Keeps it.
pub(super) fn keep(tx: &Transaction<'_>, record: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
    )?
    .execute((KEY, record))?;
    Ok(())
}

/// What is kept; `None` when nothing is, or it does not read.
pub(super) fn read(path: &Path) -> Option<String> {
    let connection = sqlite::open_reader(path).ok()?;
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [KEY], |r| r.get(0)).optional().ok()?
}
