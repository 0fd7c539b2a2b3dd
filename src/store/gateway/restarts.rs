//! Restarts of the process that a hanging lane cost (requirement D12): rows of `events`, one a lane.
//!
//! How long ago one was must be told without a trusted clock, since gateways begin in 1970. Monotonic time gives what is
//! certain: the time this gateway has run since, summed over its boots. Time spent switched off is not in it, and up to
//! a quarter of an hour is missing of each boot that ended without a stop. Where wall time was trusted then and is now, it
//! says more. Either way a restart is never taken for older than the clocks say, so that the budget errs towards fewer
//! restarts.

use std::time::Duration;

use rusqlite::Transaction;

use super::writer::Context;
use super::{Stamp, boots, journal};
use crate::clock::{Mono, Wall};

const KIND: &str = "watchdog_restart";
/// More than every lane could have within a day.
const READ: i64 = 1024;

/// A restart of the process for a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRestart {
    /// The lane.
    pub lane: String,
    /// At least so long ago.
    pub ago: Duration,
}

/// Puts one restart of the process on record for each of the lanes it is made for.
pub(super) fn record(
    tx: &Transaction<'_>,
    (now, wall): (Mono, Wall),
    at: Stamp,
    lanes: &[String],
) -> rusqlite::Result<()> {
    for lane in lanes {
        journal::event(tx, at, KIND, "error", None, &serde_json::json!({ "lane": lane }))?;
    }
    boots::note(tx, at.boot, now, wall)
}

/// The newest restarts, newest first.
pub(super) fn list(
    tx: &Transaction<'_>,
    context: &Context,
    now: Mono,
    wall: Wall,
) -> rusqlite::Result<Vec<LaneRestart>> {
    let now_ms = i64::try_from(now.ms()).unwrap_or(i64::MAX);
    let mut rows = tx.prepare_cached(
        "SELECT json_extract(e.detail, '$.lane'), e.mono_ms, e.wall_ms,
                (SELECT coalesce(sum(b.last_mono_ms), 0) FROM boots b WHERE b.number >= e.boot AND b.number < ?2)
         FROM events e WHERE e.kind = ?1 ORDER BY e.id DESC LIMIT ?3",
    )?;
    let rows = rows.query_map((KIND, context.boot.cast_signed(), READ), |r| {
        let (mono_ms, earlier_boots_ms): (i64, i64) = (r.get(1)?, r.get(3)?);
        let ran = earlier_boots_ms.saturating_add(now_ms).saturating_sub(mono_ms);
        let dated: Option<i64> = r.get(2)?;
        let passed = dated.filter(|_| wall.trusted).map_or(0, |then| wall.unix_ms.saturating_sub(then));
        let ago = u64::try_from(ran.max(passed)).unwrap_or(0);
        Ok(LaneRestart { lane: r.get(0)?, ago: Duration::from_millis(ago) })
    })?;
    rows.collect()
}
