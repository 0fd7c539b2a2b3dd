//! The audit: what people had done, by whom, and what came of it. Rows are added and never changed; the oldest make room.

use rusqlite::Transaction;

use super::Stamp;
use super::writer::Failure;

/// Rows kept.
const MAX_ROWS: i64 = 4096;
/// Longest detail, bytes of JSON. Longer is refused.
const MAX_DETAIL: usize = 8 * 1024;

/// A privileged action, before it or with its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Audited {
    /// Who: `uid 0`.
    pub who: String,
    /// By what right.
    pub role: &'static str,
    /// What: `queue.retry`.
    pub action: &'static str,
    /// At what.
    pub target: Option<String>,
    /// `asked`, `done`, `failed`, `timed out`, `cut off`.
    pub outcome: &'static str,
    /// An object with the rest.
    pub detail: serde_json::Value,
}

/// Adds a row.
pub(super) fn append(tx: &Transaction<'_>, at: Stamp, row: &Audited) -> Result<(), Failure> {
    let detail = row.detail.to_string();
    if detail.len() > MAX_DETAIL {
        return Err(Failure::too_long("the detail of an audit row", MAX_DETAIL));
    }
    tx.prepare_cached(
        "INSERT INTO audit (who, role, action, target, outcome, detail, boot, mono_ms, wall_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute((
        &row.who,
        row.role,
        row.action,
        &row.target,
        row.outcome,
        detail,
        at.boot.cast_signed(),
        at.mono_ms.cast_signed(),
        at.wall_unix_ms,
    ))?;
    tx.prepare_cached("DELETE FROM audit WHERE id <= ?1")?.execute([tx.last_insert_rowid() - MAX_ROWS])?;
    Ok(())
}
