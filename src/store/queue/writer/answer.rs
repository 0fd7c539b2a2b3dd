//! What whoever hands in readings is answered, and the named states of the store.

use std::time::Duration;

use super::super::Epoch;
use super::MAX_SAMPLES;
use crate::reading::StreamId;

/// A reading that was refused for what it is, and not for the state the store is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    /// Whose, as the capture said. A stream the queue was not opened with is told by its number here; in the books such
    /// readings share one record.
    pub stream: StreamId,
    /// One word: `not_finite`, `too_long`, `duplicate`, `wrong_group`, `unknown_stream`.
    pub reason: &'static str,
}

/// The readings are on disk, committed and synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The epoch they were accepted under.
    pub epoch: Epoch,
    /// The number all readings of the capture share.
    pub sequence: u64,
    /// How many were accepted.
    pub accepted: u32,
    /// How many of the capture were refused for what they were; each is on record.
    pub refused: u32,
    /// The first of them.
    pub first_refused: Option<Turned>,
    /// How many gave way to a newer one of the same stream before they were written; each is on record.
    pub coalesced: u32,
}

/// Nothing of the capture was accepted; every reading of it is on record as refused as soon as the disk takes records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no room on the disk or in the quota.
    #[error("the disk is full; readings are refused until the queue has drained or room is made")]
    DiskFull,
    /// The file system is mounted read-only.
    #[error(
        "the file system is read-only; readings are refused until it can be written again. Check the disk's health"
    )]
    ReadOnly,
    /// The disk failed in some other way.
    #[error("the disk refuses writes ({0}); readings are refused until it recovers. Check the disk's health")]
    Faulty(String),
    /// The capture is not one a lane makes: too many samples.
    #[error(
        "a capture of {readings} readings at once, first {stream}, is refused; at most {MAX_SAMPLES} are taken"
    )]
    TooLarge {
        /// How many it has.
        readings: usize,
        /// The name of the first one's stream.
        stream: String,
    },
    /// The capture is of a group that this queue was not opened with.
    #[error("a capture of group {0} is refused: no configured stream belongs to it")]
    UnknownGroup(u32),
    /// The capture claims to be made later than now. There is no bound the other way: monotonic time counts from the boot, so
    /// that none is before it, and a device may hand over what it kept since.
    #[error(
        "a capture of {stream} from {ahead:?} ahead of now is refused: its time is of another boot, or of no clock"
    )]
    ImplausibleTime {
        /// By how much.
        ahead: Duration,
        /// The name of the first reading's stream.
        stream: String,
    },
    /// The writer is gone.
    #[error("the store has stopped")]
    Stopped,
}

impl Refused {
    /// One word, as the records have it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Faulty(_) => "disk_fault",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownGroup(_) => "unknown_group",
            Self::ImplausibleTime { .. } => "implausible_time",
            Self::Stopped => "stopped",
        }
    }
}

/// The named states of the store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// Accepting.
    #[default]
    Good,
    /// No room; see [`Refused::DiskFull`].
    DiskFull,
    /// See [`Refused::ReadOnly`].
    ReadOnly,
    /// See [`Refused::Faulty`].
    Faulty(String),
}

impl Health {
    /// One word for pages and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Faulty(_) => "disk_fault",
        }
    }
}
