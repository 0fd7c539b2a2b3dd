//! Restarts of the process that a hanging lane cost (requirement D12): rows of `events`, one a lane.
//!
//! How long ago one was must be told without a trusted clock, since gateways begin in 1970. Monotonic time gives what is
//! certain: the time this gateway has run since, summed over its boots. Time spent switched off is not in it, and up to
//! a quarter of an hour is missing of each boot that ended without a stop. Where wall time was trusted then and is now, it
//! says more. Either way a restart is never taken for older than the clocks say, so that the budget errs towards fewer
//! restarts.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction};

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
    let mut rows = tx.prepare_cached(
        "SELECT json_extract(e.detail, '$.lane'), e.mono_ms, e.wall_ms,
                (SELECT coalesce(sum(b.last_mono_ms), 0) FROM boots b WHERE b.number >= e.boot AND b.number < ?2)
         FROM events e WHERE e.kind = ?1 ORDER BY e.id DESC LIMIT ?3",
    )?;
    let rows = rows.query_map((KIND, context.boot.cast_signed(), READ), |r| {
        Ok(LaneRestart { lane: r.get(0)?, ago: ago((now, wall), r.get(1)?, r.get(2)?, r.get(3)?) })
    })?;
    rows.collect()
}

/// How long ago the newest event of a kind was, at least.
pub(super) fn newest(
    tx: &Transaction<'_>,
    context: &Context,
    at: (Mono, Wall),
    kind: &str,
) -> rusqlite::Result<Option<Duration>> {
    tx.prepare_cached(
        "SELECT e.mono_ms, e.wall_ms,
                (SELECT coalesce(sum(b.last_mono_ms), 0) FROM boots b WHERE b.number >= e.boot AND b.number < ?2)
         FROM events e WHERE e.kind = ?1 ORDER BY e.id DESC LIMIT 1",
    )?
    .query_row((kind, context.boot.cast_signed()), |r| Ok(ago(at, r.get(0)?, r.get(1)?, r.get(2)?)))
    .optional()
}

/// How long ago something was that is stamped with monotonic and perhaps wall time, at least. `ran_ms` is for how long the gateway
/// ran in the boots from that one up to this one.
pub(super) fn ago((now, wall): (Mono, Wall), mono_ms: i64, wall_ms: Option<i64>, ran_ms: i64) -> Duration {
    let now_ms = i64::try_from(now.ms()).unwrap_or(i64::MAX);
    let ran = ran_ms.saturating_add(now_ms).saturating_sub(mono_ms);
    let passed = wall_ms.filter(|_| wall.trusted).map_or(0, |then| wall.unix_ms.saturating_sub(then));
    Duration::from_millis(u64::try_from(ran.max(passed)).unwrap_or(0))
}
