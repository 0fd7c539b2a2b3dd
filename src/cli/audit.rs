//! `fieldgate audit`: what people and clouds had done here. Reads `gateway.db`, with or without a daemon beside it, and changes
//! nothing.

use std::fmt::Write as _;
use std::path::Path;

use super::firmware::{FirmwareError, file};
use super::table;
use crate::store::gateway::reader::{self, AuditRow, AuditView};

/// Longest detail in the table, characters; JSON has all of it.
const DETAIL: usize = 100;

/// The newest `most` rows as a table, oldest first.
///
/// # Errors
/// [`FirmwareError`]: there is no file, or it does not open.
pub(super) fn audit(state_dir: &Path, most: u32) -> Result<String, FirmwareError> {
    let view = reader::audit(&file(state_dir)?, most)?;
    if view.total == 0 {
        return Ok("Nobody has changed anything here yet.\n".to_owned());
    }
    let mut text = String::new();
    let rows: Vec<[String; 6]> = view.rows.iter().map(|row| cells(row, &view)).collect();
    table::write(&mut text, ["#", "when", "who", "what", "outcome", "detail"], &rows);
    if let Some(older) = view.total.checked_sub(view.rows.len() as u64).filter(|older| *older > 0) {
        let _ = writeln!(text, "({older} older rows are not shown: --last)");
    }
    Ok(text)
}

/// The same as newline JSON, one object a row; with `unix_ms` where the time of its boot is known, and how far off that may be
/// in `within_ms`.
///
/// # Errors
/// [`FirmwareError`].
pub(super) fn audit_json(state_dir: &Path, most: u32) -> Result<String, FirmwareError> {
    let view = reader::audit(&file(state_dir)?, most)?;
    let mut text = String::new();
    for row in &view.rows {
        let mut told = serde_json::json!(row);
        if let Ok(detail) = serde_json::from_str(&row.detail) {
            told["detail"] = detail;
        }
        if let Some((unix_ms, within_ms)) = view.boots.dated(row.at) {
            told["unix_ms"] = unix_ms.into();
            told["within_ms"] = within_ms.into();
        }
        let _ = writeln!(text, "{told}");
    }
    Ok(text)
}

fn cells(row: &AuditRow, view: &AuditView) -> [String; 6] {
    let what = match &row.target {
        Some(target) => format!("{} {target}", row.action),
        None => row.action.clone(),
    };
    let mut detail: String = row.detail.chars().take(DETAIL).collect();
    if detail.len() < row.detail.len() {
        detail.push('…');
    }
    let who = format!("{} ({})", row.who, row.role);
    [row.id.to_string(), table::when(row.at, &view.boots), who, what, row.outcome.clone(), detail]
}
