//! Reading the firmware history and the audit from the file: beside a live daemon, or on a file without one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::{GatewayId, Head, HistoryEntry, Stamp, history, open};
use crate::clock::Mono;
use crate::clock::sources::drift_ms;
use crate::gather::Gather;
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
    pub boots: Boots,
}

/// A row of the audit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AuditRow {
    /// Counts from 1 and is never used again.
    pub id: u64,
    /// When it was written.
    pub at: Stamp,
    /// Who: `uid 0`, or the cloud that called.
    pub who: String,
    /// By what right.
    pub role: String,
    /// What: `queue.retry`.
    pub action: String,
    /// At what.
    pub target: Option<String>,
    /// `asked`, or what came of it.
    pub outcome: String,
    /// A JSON object with the rest.
    pub detail: String,
}

/// The newest rows of the audit.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditView {
    /// How many rows there are.
    pub total: u64,
    /// The newest of them, oldest first.
    pub rows: Vec<AuditRow>,
    /// The boots that were dated.
    pub boots: Boots,
}

/// The wall times of boots, as they were last known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boots(BTreeMap<u64, BootTime>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BootTime {
    offset_ms: i64,
    uncertainty_ms: u32,
    /// The boot ended no earlier, and its time was said no later.
    until: Mono,
}

impl Boots {
    /// When something was recorded, unix milliseconds, and how far off that may be, in milliseconds where it is known. By the
    /// boot's time where there is one: it may be known better since, or corrected. `None` where no time of the boot was ever known.
    #[must_use]
    pub fn dated(&self, at: Stamp) -> Option<(i64, Option<u32>)> {
        let by_boot = self.0.get(&at.boot).and_then(|time| {
            let unix_ms = time.offset_ms.checked_add(i64::try_from(at.mono_ms).ok()?)?;
            let drift = drift_ms(time.until.since(Mono::from(Duration::from_millis(at.mono_ms))));
            let drift = u32::try_from(drift).unwrap_or(u32::MAX);
            Some((unix_ms, Some(time.uncertainty_ms.saturating_add(drift))))
        });
        by_boot.or_else(|| Some((at.wall_unix_ms?, None)))
    }

    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut rows = connection.prepare(
            "SELECT number, wall_offset_ms, wall_uncertainty_ms, last_mono_ms FROM boots
                      WHERE wall_offset_ms IS NOT NULL",
        )?;
        let boots = rows.query_map([], |r| {
            let uncertainty: Option<u32> = r.get(2)?;
            let last_ms = r.get::<_, i64>(3)?.max(0).cast_unsigned();
            let time = BootTime {
                offset_ms: r.get(1)?,
                uncertainty_ms: uncertainty.unwrap_or(u32::MAX),
                until: Mono::from(Duration::from_millis(last_ms)),
            };
            Ok((r.get::<_, i64>(0)?.cast_unsigned(), time))
        })?;
        boots.try_gathered().map(Self)
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
        let boots = Boots::read(&connection)?;
        let head = history::head(&connection, &context)?;
        Ok(Some(HistoryView { gateway: context.gateway, head, total: total.cast_unsigned(), entries, boots }))
    };
    read()
        .map_err(|e| damaged(path, e.to_string()))?
        .ok_or_else(|| damaged(path, "it has no identity".into()))
}

/// Reads the newest `most` rows of the audit.
///
/// # Errors
/// When the file cannot be opened or does not read.
pub fn audit(path: &Path, most: u32) -> Result<AuditView, OpenError> {
    let connection = sqlite::open_reader(path)?;
    let read = || -> rusqlite::Result<AuditView> {
        connection.execute_batch("BEGIN")?;
        let total: i64 = connection.query_row("SELECT count(*) FROM audit", [], |r| r.get(0))?;
        let mut rows = connection.prepare(
            "SELECT id, boot, mono_ms, wall_ms, who, role, action, target, outcome, detail FROM audit ORDER BY id DESC LIMIT ?1",
        )?;
        let mut rows = rows
            .query_map([most], |r| {
                let at = Stamp {
                    boot: r.get::<_, i64>(1)?.cast_unsigned(),
                    mono_ms: r.get::<_, i64>(2)?.cast_unsigned(),
                    wall_unix_ms: r.get(3)?,
                    wall_uncertainty_ms: None,
                };
                Ok(AuditRow {
                    id: r.get::<_, i64>(0)?.cast_unsigned(),
                    at,
                    who: r.get(4)?,
                    role: r.get(5)?,
                    action: r.get(6)?,
                    target: r.get(7)?,
                    outcome: r.get(8)?,
                    detail: r.get(9)?,
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        rows.reverse();
        Ok(AuditView { total: total.cast_unsigned(), rows, boots: Boots::read(&connection)? })
    };
    read().map_err(|e| damaged(path, e.to_string()))
}

fn damaged(path: &Path, detail: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), detail }
}
