//! Reading the firmware history from the file: beside a live daemon, or on a file without one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{GatewayId, Head, HistoryEntry, history, open};
use crate::clock::Mono;
use crate::clock::sources::drift_ms;
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
    /// The boots that were dated.
    pub boots: BTreeMap<u64, BootTime>,
}

/// The wall time of a boot, as it was last known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootTime {
    offset_ms: i64,
    uncertainty_ms: u32,
    /// The boot ended no earlier, and its time was said no later.
    until: Mono,
}

impl HistoryView {
    /// When an entry was recorded, unix milliseconds, and how far off that may be, in milliseconds where it is known. By the
    /// boot's time where there is one: it may be known better since, or corrected. `None` where no time of the boot was ever known.
    #[must_use]
    pub fn recorded(&self, entry: &HistoryEntry) -> Option<(i64, Option<u32>)> {
        let by_boot = self.boots.get(&entry.at.boot).and_then(|time| {
            let unix_ms = time.offset_ms.checked_add(i64::try_from(entry.at.mono_ms).ok()?)?;
            let drift = drift_ms(time.until.since(Mono::from(Duration::from_millis(entry.at.mono_ms))));
            let drift = u32::try_from(drift).unwrap_or(u32::MAX);
            Some((unix_ms, Some(time.uncertainty_ms.saturating_add(drift))))
        });
        by_boot.or_else(|| Some((entry.at.wall_unix_ms?, None)))
    }
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
        let mut rows = connection.prepare(
            "SELECT number, wall_offset_ms, wall_uncertainty_ms, last_mono_ms FROM boots
                      WHERE wall_offset_ms IS NOT NULL",
        )?;
        let boots = rows
            .query_map([], |r| {
                let uncertainty: Option<u32> = r.get(2)?;
                let last_ms = r.get::<_, i64>(3)?.max(0).cast_unsigned();
                let time = BootTime {
                    offset_ms: r.get(1)?,
                    uncertainty_ms: uncertainty.unwrap_or(u32::MAX),
                    until: Mono::from(Duration::from_millis(last_ms)),
                };
                Ok((r.get::<_, i64>(0)?.cast_unsigned(), time))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let head = history::head(&connection, &context)?;
        Ok(Some(HistoryView { gateway: context.gateway, head, total: total.cast_unsigned(), entries, boots }))
    };
    let damaged = |detail: String| OpenError::Damaged { path: path.to_owned(), detail };
    read().map_err(|e| damaged(e.to_string()))?.ok_or_else(|| damaged("it has no identity".into()))
}
