//! Facts about the time. The time itself is the clock's.

use crate::clock::Mono;
use crate::clock::sources::{Contradiction, Source};

/// Whose time is followed, and who disagrees. The time itself is the clock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// Whose; nobody's while nobody vouches for any.
    pub source: Option<Source>,
    /// Somebody of a lower rank cannot be right.
    pub contradicted_by: Option<Contradiction>,
    /// Somebody says a time that has certainly passed.
    pub in_the_past: Option<Source>,
    /// The last time since the daemon's start that the time turned out to have been wrong.
    pub corrected: Option<ClockCorrection>,
}

/// The time was wrong by more than it was stated to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockCorrection {
    /// When that was found out.
    pub at: Mono,
    /// By how much the right time is ahead of the wrong one, milliseconds.
    pub ahead_ms: i64,
    /// Whose was wrong.
    pub believed: Source,
    /// Whose is followed since.
    pub now: Source,
}

/// What time the modem says it was at the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkTime {
    /// Unix milliseconds.
    pub unix_ms: i64,
    /// How far off that may be, either way.
    pub uncertainty_ms: u32,
}
