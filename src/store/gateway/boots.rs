//! Boots, and the time floor: the newest trusted wall time this gateway has ever seen.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{Stamp, journal};
use crate::clock::sources::Claim;
use crate::clock::{BootId, Mono, Wall};
use crate::store::sqlite;

/// Boots kept beside those the history refers to.
const KEPT: i64 = 1024;

/// The floor kept in `gateway.db`, or in its snapshot where the file does not read: for the clock, before the store is open.
/// `None` on a new gateway.
#[must_use]
pub fn time_floor(state_dir: &Path) -> Option<i64> {
    let options = super::OpenOptions::in_folder(state_dir);
    let of = |path: &Path| -> Option<i64> {
        let connection = sqlite::open_reader(path).ok()?;
        floor(&connection).ok().flatten()
    };
    of(&options.path).max(of(&options.snapshot))
}

/// Begins this boot's row, or continues it when the daemon starts again within one. Returns its number.
pub(super) fn begin(tx: &Transaction<'_>, boot: BootId, now: Mono, wall: Wall) -> rusqlite::Result<u64> {
    let known: Option<i64> =
        tx.query_row("SELECT number FROM boots WHERE boot_id = ?1", [boot.0], |r| r.get(0)).optional()?;
    let number = match known {
        Some(number) => {
            tx.execute("UPDATE boots SET starts = starts + 1, clean_stop = 0 WHERE number = ?1", [number])?;
            number
        }
        None => {
            tx.execute(
                "INSERT INTO boots (number, boot_id, first_mono_ms, last_mono_ms)
                 VALUES ((SELECT coalesce(max(number), 0) + 1 FROM boots), ?1, ?2, ?2)",
                (boot.0, now.ms().cast_signed()),
            )?;
            let number = tx.last_insert_rowid();
            tx.execute(
                "DELETE FROM boots WHERE number <= ?1 AND number NOT IN (SELECT boot FROM firmware_history)",
                [number - KEPT],
            )?;
            number
        }
    };
    let number = number.cast_unsigned();
    note(tx, number, now, wall)?;
    Ok(number)
}

/// Extends the boot to `now`; what a trusted clock says dates the boot and raises the floor.
pub(super) fn note(tx: &Transaction<'_>, number: u64, now: Mono, wall: Wall) -> rusqlite::Result<()> {
    let mono_ms = i64::try_from(now.ms()).unwrap_or(i64::MAX);
    tx.prepare_cached("UPDATE boots SET last_mono_ms = max(last_mono_ms, ?2) WHERE number = ?1")?
        .execute((number.cast_signed(), mono_ms))?;
    if wall.trusted {
        tx.prepare_cached(
            "UPDATE boots SET wall_offset_ms = ?2, wall_uncertainty_ms = ?3 WHERE number = ?1",
        )?
        .execute((
            number.cast_signed(),
            wall.unix_ms.saturating_sub(mono_ms),
            wall.uncertainty_ms,
        ))?;
        // What is certain is the lower end of what the clock allows.
        let certain = wall.unix_ms.saturating_sub(i64::from(wall.uncertainty_ms));
        tx.prepare_cached(
            "INSERT INTO time_floor (id, unix_ms) VALUES (1, ?1)
             ON CONFLICT (id) DO UPDATE SET unix_ms = excluded.unix_ms WHERE excluded.unix_ms > unix_ms",
        )?
        .execute([certain])?;
    }
    Ok(())
}

/// The time was wrong by more than it was stated to be: an event for people. A floor that the wrong time may have raised is
/// taken back to what the right one is certain of; otherwise a clock that was hours ahead once would leave the gateway without
/// any time for hours.
pub(super) fn corrected(tx: &Transaction<'_>, at: Stamp, old: &Claim, new: &Claim) -> rusqlite::Result<()> {
    let ahead_ms = new.offset_ms.saturating_sub(old.offset_ms);
    let detail = serde_json::json!({
        "by_ms": ahead_ms,
        "believed": { "source": old.source.word(), "since_mono_ms": old.at.ms(), "uncertainty_ms": old.uncertainty_ms },
        "now": { "source": new.source.word(), "since_mono_ms": new.at.ms(), "uncertainty_ms": new.uncertainty_ms },
    });
    journal::event(tx, at, "clock_corrected", "warning", None, &detail)?;
    if ahead_ms < 0 {
        let wall = new.wall_at(new.at);
        let certain = wall.unix_ms.saturating_sub(i64::from(wall.uncertainty_ms));
        tx.execute("UPDATE time_floor SET unix_ms = min(unix_ms, ?1) WHERE id = 1", [certain])?;
        note(tx, at.boot, new.at, wall)?;
    }
    Ok(())
}

/// This run said goodbye.
pub(super) fn clean_stop(tx: &Transaction<'_>, number: u64) -> rusqlite::Result<()> {
    tx.execute("UPDATE boots SET clean_stop = 1 WHERE number = ?1", [number.cast_signed()])?;
    Ok(())
}

/// The floor, if any trusted time was ever seen.
pub(super) fn floor(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT unix_ms FROM time_floor WHERE id = 1", [], |r| r.get(0)).optional()
}
