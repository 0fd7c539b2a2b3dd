//! Reading the firmware history from the file: beside a live daemon, or on a file without one.

use std::collections::BTreeMap;
use std::path::Path;

use super::{GatewayId, Head, HistoryEntry, history, open};
use crate::store::sqlite::{self, OpenError};

/// The newest rows of the firmware history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryView {
    /// Whose.
    pub gateway: GatewayId,
    /// The newest row, as the file has it; unchecked.
    pub head: Head,
    /// How many rows fit the question.
    pub total: u64,
    /// The newest of those, oldest first.
    pub entries: Vec<HistoryEntry>,
    /// Wall time at monotonic zero, in unix milliseconds, of the boots that were dated: for rows that were recorded before
    /// the clock was trusted.
    pub boots: BTreeMap<u64, i64>,
}

/// Reads the newest `most` rows, of one component if one is named.
///
/// # Errors
/// When the file cannot be opened or does not read.
pub fn history(path: &Path, component: Option<&str>, most: u32) -> Result<HistoryView, OpenError> {
    let connection = sqlite::open_reader(path)?;
    let read = || -> rusqlite::Result<Option<HistoryView>> {
        connection.execute_batch("BEGIN")?;
        let Some(context) = open::context_of(&connection)? else { return Ok(None) };
        let total: i64 = connection.query_row(
            "SELECT count(*) FROM firmware_history WHERE ?1 IS NULL OR component = ?1",
            [component],
            |r| r.get(0),
        )?;
        let sql = format!(
            "SELECT {} FROM firmware_history h WHERE ?1 IS NULL OR h.component = ?1 ORDER BY h.sequence DESC LIMIT ?2",
            history::COLUMNS
        );
        let mut rows = connection.prepare(&sql)?;
        let mut entries = rows
            .query_map((component, most), |row| history::read(row, 0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        entries.reverse();
        let mut rows = connection
            .prepare("SELECT number, wall_offset_ms FROM boots WHERE wall_offset_ms IS NOT NULL")?;
        let boots = rows
            .query_map([], |r| Ok((r.get::<_, i64>(0)?.cast_unsigned(), r.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let head = history::head(&connection, &context)?;
        Ok(Some(HistoryView { gateway: context.gateway, head, total: total.cast_unsigned(), entries, boots }))
    };
    let damaged = |detail: String| OpenError::Damaged { path: path.to_owned(), detail };
    read().map_err(|e| damaged(e.to_string()))?.ok_or_else(|| damaged("it has no identity".into()))
}
