//! `fieldgate firmware history | verify`: reads `gateway.db`, with or without a daemon beside it, and changes nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::table;
use crate::store::gateway::reader::{self, HistoryView};
use crate::store::gateway::{HistoryEntry, OpenOptions, verify};
use crate::store::sqlite::OpenError;

/// As many rows as this are shown, the newest.
const SHOWN: u32 = 1000;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// There is no file.
    #[error(
        "{0} does not exist: the daemon has not run here yet, or `state_dir` in [gateway] names another folder"
    )]
    Missing(PathBuf),
    /// It does not open.
    #[error(transparent)]
    Unreadable(#[from] OpenError),
}

/// What `verify` has to say. The command exits with 1 unless `whole`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// For people.
    pub text: String,
    /// Whether everything holds.
    pub whole: bool,
}

/// The firmware history as a table, oldest first; of one component if one is named.
///
/// # Errors
/// [`FirmwareError`].
pub fn history(state_dir: &Path, component: Option<&str>) -> Result<String, FirmwareError> {
    let view = reader::history(&file(state_dir)?, component, SHOWN)?;
    Ok(told(&view, component))
}

/// The same as a JSON array, one object an entry; with `recorded_unix_ms` where the time of its boot is known, and how far off
/// that may be in `recorded_within_ms`.
///
/// # Errors
/// [`FirmwareError`].
pub fn history_json(state_dir: &Path, component: Option<&str>) -> Result<String, FirmwareError> {
    let view = reader::history(&file(state_dir)?, component, SHOWN)?;
    let dated = |entry: &HistoryEntry| {
        let mut row = serde_json::json!(entry);
        if let (Some(row), Some((unix_ms, within_ms))) = (row.as_object_mut(), view.boots.dated(entry.at)) {
            row.insert("recorded_unix_ms".into(), unix_ms.into());
            row.insert("recorded_within_ms".into(), within_ms.into());
        }
        row
    };
    let rows: Vec<_> = view.entries.iter().map(dated).collect();
    Ok(format!("{:#}\n", serde_json::json!(rows)))
}

/// Checks the history's chain, the log's, and the guards that keep them.
///
/// # Errors
/// [`FirmwareError`].
pub fn verify(state_dir: &Path) -> Result<Verdict, FirmwareError> {
    let path = file(state_dir)?;
    let verified = verify::verify(&path)?;
    let mut text = String::new();
    let head = verified.history_head;
    if verified.is_whole() {
        let entries = if head.sequence == 1 { "entry" } else { "entries" };
        let _ =
            writeln!(text, "The firmware history is whole: {} {entries}, head {}.", head.sequence, head.hash);
        let _ = writeln!(
            text,
            "Compare the head with the one the cloud has: nothing else shows rows cut off the end."
        );
    } else {
        let _ = writeln!(text, "The firmware history of {} cannot be believed:", path.display());
        for problem in &verified.problems {
            let _ = writeln!(text, "  - {problem}");
        }
        if verified.broken.is_some() {
            let _ = writeln!(text, "It holds up to entry {}, hash {}.", head.sequence, head.hash);
        }
        let _ = writeln!(
            text,
            "Keep the file as it is. What the cloud pulled before, and the snapshot beside it, show what it was."
        );
    }
    Ok(Verdict { text, whole: verified.is_whole() })
}

pub(super) fn file(state_dir: &Path) -> Result<PathBuf, FirmwareError> {
    let path = OpenOptions::in_folder(state_dir).path;
    if path.exists() { Ok(path) } else { Err(FirmwareError::Missing(path)) }
}

fn told(view: &HistoryView, component: Option<&str>) -> String {
    let mut text = String::new();
    let of = component.map(|c| format!(" of component {c}")).unwrap_or_default();
    if view.entries.is_empty() {
        return format!("No version{of} has been recorded on gateway {} yet.\n", view.gateway);
    }
    let rows: Vec<[String; 6]> = view
        .entries
        .iter()
        .map(|entry| {
            let mut how = entry.source.word().to_owned();
            if entry.origin.word() != "local" {
                let _ = write!(how, ", {}", entry.origin.word());
            }
            for mark in marks(entry) {
                let _ = write!(how, ", {mark}");
            }
            let version = match &entry.previous_version {
                Some(previous) => format!("{} (was {previous})", entry.version),
                None => entry.version.clone(),
            };
            let sequence = entry.sequence.to_string();
            [
                sequence,
                table::when(entry.at, &view.boots),
                entry.device.clone(),
                entry.component.clone(),
                version,
                how,
            ]
        })
        .collect();
    let titles = ["#", "recorded", "device", "component", "version", "how"];
    table::write(&mut text, titles, &rows);
    if view.total > view.entries.len() as u64 {
        let _ = writeln!(text, "({} older entries are not shown)", view.total - view.entries.len() as u64);
    }
    let _ = writeln!(text, "gateway {}, head {} {}", view.gateway, view.head.sequence, view.head.hash);
    text
}

/// The marks that tell what the store went through.
fn marks(entry: &HistoryEntry) -> Vec<String> {
    let Ok(serde_json::Value::Object(metadata)) = serde_json::from_str(&entry.metadata) else {
        return Vec::new();
    };
    metadata.into_iter().filter(|(_, value)| *value == true).map(|(key, _)| key).collect()
}
