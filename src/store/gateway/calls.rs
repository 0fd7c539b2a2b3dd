//! Remote calls that were begun: written before their effect, so that a repetition is answered and not done again.
//!
//! Clouds give ids of few digits, so memory must also end: a row counts for [`REMEMBERED`] by what is certain (see
//! [`super::restarts`] for how that is told without a clock), and only for the same method with the same parameters. At most
//! [`MAX_CALLS`] are kept.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction};

use super::writer::Context;
use super::{Stamp, journal, restarts};
use crate::clock::{Mono, Wall};

/// A repetition is one for so long.
const REMEMBERED: Duration = Duration::from_secs(3600);
const MAX_CALLS: i64 = 128;
/// What an accepted call to reboot is among the events.
const REBOOT: &str = "remote_reboot";

/// A call, as it is told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallKey {
    /// The link it came by.
    pub source: String,
    /// The cloud's id.
    pub id: String,
    /// Of method and parameters.
    pub digest: [u8; 32],
}

/// What is on record of a call that is about to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing was; now it is begun. How long ago the last call to reboot was accepted, at least.
    New {
        /// If one is on record.
        rebooted: Option<Duration>,
    },
    /// It was begun before. Its answer, if there is one: code, and detail as JSON.
    Before(Option<(u8, Option<String>)>),
}

/// Begins a call, unless it was begun.
pub(super) fn begin(
    tx: &Transaction<'_>,
    context: &Context,
    (now, wall): (Mono, Wall),
    at: Stamp,
    key: &CallKey,
) -> rusqlite::Result<Begun> {
    let CallKey { source, id, digest } = key;
    let before = tx
        .prepare_cached(
            "SELECT c.call, c.code, c.detail, c.mono_ms, c.wall_ms,
                    (SELECT coalesce(sum(b.last_mono_ms), 0) FROM boots b WHERE b.number >= c.boot AND b.number < ?3)
             FROM calls c WHERE c.source = ?1 AND c.id = ?2",
        )?
        .query_row((source, id, context.boot.cast_signed()), |r| {
            let ago = restarts::ago((now, wall), r.get(3)?, r.get(4)?, r.get(5)?);
            let same = r.get_ref(0)?.as_blob()? == digest;
            Ok((same && ago < REMEMBERED, r.get::<_, Option<u8>>(1)?, r.get::<_, Option<String>>(2)?))
        })
        .optional()?;
    if let Some((true, code, detail)) = before {
        return Ok(Begun::Before(code.map(|code| (code, detail))));
    }
    tx.prepare_cached(
        "INSERT OR REPLACE INTO calls (source, id, call, boot, mono_ms, wall_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((source, id, digest, at.boot.cast_signed(), at.mono_ms.cast_signed(), at.wall_unix_ms))?;
    tx.prepare_cached("DELETE FROM calls WHERE number <= ?1")?
        .execute([tx.last_insert_rowid() - MAX_CALLS])?;
    let rebooted = restarts::newest(tx, context, (now, wall), REBOOT)?;
    Ok(Begun::New { rebooted })
}

/// Puts a call's answer on record; and that it was a call to reboot which is carried out now.
pub(super) fn end(
    tx: &Transaction<'_>,
    at: Stamp,
    key: &CallKey,
    (code, detail): (u8, Option<&str>),
    reboots: bool,
) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE calls SET code = ?3, detail = ?4 WHERE source = ?1 AND id = ?2")?.execute((
        &key.source,
        &key.id,
        code,
        detail,
    ))?;
    if reboots {
        let detail = serde_json::json!({ "by": key.source, "call": key.id });
        journal::event(tx, at, REBOOT, "warning", None, &detail)?;
    }
    Ok(())
}
