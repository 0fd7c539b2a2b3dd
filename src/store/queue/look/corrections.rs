//! What is on record about wall times that turned out to have been wrong.

use rusqlite::Connection;

use super::super::reader::ReadError;
use crate::clock::{BootId, Mono};

/// A boot's wall time was wrong by more than it was stated to be. A time of the boot is its monotonic time and the offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Its number, growing with time.
    pub id: i64,
    /// The boot whose readings are concerned.
    pub boot: BootId,
    /// How many epochs of that boot are concerned: starts of the daemon, up to the correction.
    pub epochs: i64,
    /// When it was found out.
    pub at: Mono,
    /// When the wrong time was last said.
    pub believed_since: Mono,
    /// What was believed.
    pub believed: Belief,
    /// What is right as far as is known.
    pub now: Belief,
}

/// Who said what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belief {
    /// One word, see [`crate::clock::sources::Source::word`].
    pub source: String,
    /// Wall time at monotonic zero, unix milliseconds.
    pub offset_ms: i64,
    /// How far off that could be, as stated then.
    pub uncertainty_ms: i64,
}

impl Correction {
    /// By how much the right time is ahead of the wrong one, milliseconds.
    #[must_use]
    pub fn ahead_ms(&self) -> i64 {
        self.now.offset_ms.saturating_sub(self.believed.offset_ms)
    }
}

/// The newest `most`, newest first.
///
/// # Errors
/// [`ReadError`].
pub fn corrections(c: &Connection, most: u32) -> Result<Vec<Correction>, ReadError> {
    // A copy that an earlier release wrote has no such table.
    let kept = c.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'corrections'",
        [],
        |r| r.get::<_, i64>(0),
    )?;
    if kept == 0 {
        return Ok(Vec::new());
    }
    let mut rows = c.prepare(
        "SELECT id, boot_id, last_epoch - first_epoch + 1, at_mono_ns, believed_since_ns, old_source, old_offset_ms,
                old_uncertainty_ms, new_source, new_offset_ms, new_uncertainty_ms
         FROM corrections ORDER BY id DESC LIMIT ?1",
    )?;
    let mut rows = rows.query([most])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mono = |column| Ok::<_, rusqlite::Error>(Mono(row.get::<_, i64>(column)?.max(0).cast_unsigned()));
        let belief = |from: usize| {
            Ok::<_, rusqlite::Error>(Belief {
                source: row.get(from)?,
                offset_ms: row.get(from + 1)?,
                uncertainty_ms: row.get(from + 2)?,
            })
        };
        found.push(Correction {
            id: row.get(0)?,
            boot: BootId(row.get(1)?),
            epochs: row.get(2)?,
            at: mono(3)?,
            believed_since: mono(4)?,
            believed: belief(5)?,
            now: belief(8)?,
        });
    }
    Ok(found)
}
