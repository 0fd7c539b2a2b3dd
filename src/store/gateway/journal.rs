//! The journal of updates, and events for people. A journal row is written before the effect it names; each one is also a
//! transition in the firmware log, in the same transaction.

use std::path::Path;

use rusqlite::{OptionalExtension, Row, Transaction};

use super::chain::Canon;
use super::writer::{Context, Failure};
use super::{Hash, Stamp, log};
use crate::store::sqlite;

/// Longest detail of a journal row or an event, bytes of JSON. Longer is refused.
pub const MAX_DETAIL: usize = 16 * 1024;
/// Events kept; older ones make room.
const MAX_EVENTS: i64 = 4096;

/// One step of an update.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JournalEntry {
    /// From 1.
    pub id: u64,
    /// The device's serial number.
    pub device: String,
    /// Package name; `None` when the step is of the deployment as a whole.
    pub component: Option<String>,
    /// The manifest's sequence number, if one asked for the step.
    pub deployment: Option<u64>,
    /// Which step: `manifest`, `state`.
    pub step: String,
    /// JSON object, as text.
    pub detail: String,
    /// When.
    pub at: Stamp,
}

impl JournalEntry {
    /// Its digest in the firmware log. Fields, in the encoding of [`super::chain`]: `fieldgate journal 1`, id, device,
    /// component or absent, deployment or absent, step, detail, boot, monotonic ms, wall ms or absent.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let mut canon = Canon::new("fieldgate journal 1");
        canon.number(self.id.cast_signed());
        canon.text(&self.device);
        canon.maybe_text(self.component.as_deref());
        canon.maybe_number(self.deployment.map(u64::cast_signed));
        canon.text(&self.step);
        canon.text(&self.detail);
        canon.number(self.at.boot.cast_signed());
        canon.number(self.at.mono_ms.cast_signed());
        canon.maybe_number(self.at.wall_unix_ms);
        canon.finish()
    }
}

/// A step to be journaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStep<'a> {
    /// The device's serial number.
    pub device: &'a str,
    /// Package name, if it is one component's.
    pub component: Option<&'a str>,
    /// The manifest's sequence number.
    pub deployment: Option<u64>,
    /// Which step.
    pub step: &'a str,
    /// JSON object, as text.
    pub detail: &'a str,
}

/// Journals a step.
pub(super) fn append(
    tx: &Transaction<'_>,
    context: &Context,
    at: Stamp,
    new: &NewStep<'_>,
) -> Result<JournalEntry, Failure> {
    if new.detail.len() > MAX_DETAIL {
        return Err(Failure::too_long("the detail of a journal row", MAX_DETAIL));
    }
    let at = Stamp { wall_uncertainty_ms: None, ..at };
    tx.prepare_cached(
        "INSERT INTO journal (device, component, deployment, step, detail, boot, mono_ms, wall_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute((
        new.device,
        new.component,
        new.deployment.map(u64::cast_signed),
        new.step,
        new.detail,
        at.boot.cast_signed(),
        at.mono_ms.cast_signed(),
        at.wall_unix_ms,
    ))?;
    let entry = JournalEntry {
        id: tx.last_insert_rowid().cast_unsigned(),
        device: new.device.to_owned(),
        component: new.component.map(str::to_owned),
        deployment: new.deployment,
        step: new.step.to_owned(),
        detail: new.detail.to_owned(),
        at,
    };
    log::append_transition(tx, context, &entry)?;
    Ok(entry)
}

/// The deployment that was journaled last for a device: its sequence number and detail. `None` when there is none, or it does
/// not read.
pub(super) fn last_manifest(path: &Path, device: &str) -> Option<(u64, String)> {
    let connection = sqlite::open_reader(path).ok()?;
    let (deployment, detail): (Option<i64>, String) =
        connection.query_row(LAST_MANIFEST, [device], |r| Ok((r.get(0)?, r.get(1)?))).ok()?;
    Some((deployment?.cast_unsigned(), detail))
}

const LAST_MANIFEST: &str =
    "SELECT deployment, detail FROM journal WHERE device = ?1 AND step = 'manifest' ORDER BY id DESC LIMIT 1";

/// Journals a deployment as received, unless it is the one journaled last. Tells whether it was new.
pub(super) fn manifest(
    tx: &Transaction<'_>,
    context: &Context,
    at: Stamp,
    device: &str,
    sequence_number: u64,
    detail: &str,
) -> Result<bool, Failure> {
    let last: Option<(Option<i64>, String)> =
        tx.prepare_cached(LAST_MANIFEST)?.query_row([device], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
    if last == Some((Some(sequence_number.cast_signed()), detail.to_owned())) {
        return Ok(false);
    }
    let deployment = Some(sequence_number);
    append(tx, context, at, &NewStep { device, component: None, deployment, step: "manifest", detail })?;
    Ok(true)
}

/// The columns of a row, in the order of [`read`].
pub(super) const COLUMNS: &str =
    "j.id, j.device, j.component, j.deployment, j.step, j.detail, j.boot, j.mono_ms, j.wall_ms";

/// Reads a row whose first column is at `from`.
pub(super) fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<JournalEntry> {
    Ok(JournalEntry {
        id: row.get::<_, i64>(from)?.cast_unsigned(),
        device: row.get(from + 1)?,
        component: row.get(from + 2)?,
        deployment: row.get::<_, Option<i64>>(from + 3)?.map(i64::cast_unsigned),
        step: row.get(from + 4)?,
        detail: row.get(from + 5)?,
        at: Stamp {
            boot: row.get::<_, i64>(from + 6)?.cast_unsigned(),
            mono_ms: row.get::<_, i64>(from + 7)?.cast_unsigned(),
            wall_unix_ms: row.get(from + 8)?,
            wall_uncertainty_ms: None,
        },
    })
}

/// Puts an event on record. `severity` is `info`, `warning` or `error`.
pub(super) fn event(
    tx: &Transaction<'_>,
    at: Stamp,
    kind: &str,
    severity: &str,
    device: Option<&str>,
    detail: &serde_json::Value,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO events (kind, severity, device, detail, boot, mono_ms, wall_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        kind,
        severity,
        device,
        detail.to_string(),
        at.boot.cast_signed(),
        at.mono_ms.cast_signed(),
        at.wall_unix_ms,
    ))?;
    tx.prepare_cached("DELETE FROM events WHERE id <= ?1")?.execute([tx.last_insert_rowid() - MAX_EVENTS])?;
    Ok(())
}
