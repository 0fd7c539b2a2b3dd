//! What the writer does to the flash, measured: bytes written, the length of the log, how long commits take.
//!
//! Counted are the blocks that a file system writes for it: of the log those that a commit touches, again when the next
//! one goes on in the same block, as each commit is synced by itself; of the file those that a checkpoint brings home. What
//! the file system adds for its own books is not known here. On ext4 this is what the kernel counts (`write_bytes`).

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::super::schema;
use crate::store::sqlite::suffixed;

const PAGE: u64 = schema::KIND.page_size as u64;
const FRAME: u64 = PAGE + 24;
const LOG_HEADER: u64 = 32;
/// What a file system writes at once.
const BLOCK: u64 = 4096;
/// From this length on the log is brought home, once whoever waits has been answered; SQLite itself does it at 1000.
pub(super) const HOME_AT: u64 = 768;
/// No commit begins on a longer log where readers keep their rule (a transaction of theirs is shorter than a second): the
/// writer waits for them. 4000 frames are 4 MiB.
pub(super) const CEILING: u64 = 4000;
/// Where a reader breaks the rule, it is waited for again after so many more frames.
pub(super) const WAIT_AGAIN: u64 = 256;
/// A commit that takes longer is a state with a name: the flash is busy with itself, or dying.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// Where the log stands, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogPosition {
    /// Written in this round.
    pub(super) frames: u64,
    /// Of these, brought home.
    pub(super) home: u64,
}

/// See the module head.
#[derive(Debug, Default)]
pub(super) struct Wear {
    at: LogPosition,
    new_round: bool,
    written: u64,
    times: Times,
}

impl Wear {
    /// Bytes since the start.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.at.frames * FRAME
    }

    /// Another file, or another connection: what is in its log is not new.
    pub(super) fn begin_again(&mut self, at: LogPosition) {
        self.at = at;
    }

    /// Counts what was written since the last look at the log beside the file at `path`. Returns the bytes.
    pub(super) fn look(&mut self, path: &Path, at: LogPosition) -> u64 {
        let before = self.at;
        self.at = at;
        // A log that is shorter than it was has begun another round; one round between two looks at most.
        let began_again = at.frames < before.frames;
        self.new_round |= began_again;
        let (from, home_from) = if began_again { (0, 0) } else { (before.frames, before.home) };
        let mut bytes = 0;
        if at.frames > from {
            let (begin, end) = (LOG_HEADER + from * FRAME, LOG_HEADER + at.frames * FRAME);
            bytes += (end.div_ceil(BLOCK) - begin / BLOCK) * BLOCK;
        }
        if at.home > home_from {
            bytes += blocks_of(path, home_from, at.home) * BLOCK;
        }
        self.written += bytes;
        bytes
    }

    /// Whether the log has begun another round since this was last asked.
    pub(super) fn has_new_round(&mut self) -> bool {
        std::mem::take(&mut self.new_round)
    }

    pub(super) fn took(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// How long the last commit took, if that is too long.
    pub(super) fn slow(&self) -> Option<Duration> {
        self.times.last().filter(|time| *time > SLOW)
    }

    /// The time that this share (in hundredths) of the last commits did not exceed.
    pub(super) fn percentile(&self, hundredths: usize) -> Duration {
        self.times.percentile(hundredths)
    }
}

/// How many blocks of the file a checkpoint of these frames writes.
fn blocks_of(path: &Path, from: u64, to: u64) -> u64 {
    let Ok(log) = File::open(suffixed(path, "-wal")) else { return to - from };
    let mut blocks = BTreeSet::new();
    let mut number = [0u8; 4];
    for frame in from..to {
        if log.read_exact_at(&mut number, LOG_HEADER + frame * FRAME).is_ok() {
            blocks.insert(u64::from(u32::from_be_bytes(number).saturating_sub(1)) * PAGE / BLOCK);
        }
    }
    blocks.len() as u64
}

/// The last commits' times.
#[derive(Debug)]
struct Times {
    ring: [Duration; 128],
    count: usize,
}

impl Default for Times {
    fn default() -> Self {
        Self { ring: [Duration::ZERO; 128], count: 0 }
    }
}

impl Times {
    fn push(&mut self, time: Duration) {
        let place = self.count % self.ring.len();
        if let Some(slot) = self.ring.get_mut(place) {
            *slot = time;
        }
        self.count += 1;
    }

    fn last(&self) -> Option<Duration> {
        let newest = self.count.checked_sub(1)? % self.ring.len();
        self.ring.get(newest).copied()
    }

    fn percentile(&self, hundredths: usize) -> Duration {
        let mut sorted = self.ring;
        let known = self.count.min(sorted.len());
        let Some(known) = sorted.get_mut(..known).filter(|known| !known.is_empty()) else {
            return Duration::ZERO;
        };
        known.sort_unstable();
        known.get((known.len() * hundredths / 100).min(known.len() - 1)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_commits_only() {
        let mut wear = Wear::default();
        assert_eq!((wear.percentile(50), wear.slow()), (Duration::ZERO, None));
        for _ in 0..500 {
            wear.took(Duration::from_secs(9));
        }
        assert_eq!(wear.slow(), Some(Duration::from_secs(9)));
        for ms in 0..128 {
            wear.took(Duration::from_millis(ms));
        }
        assert_eq!(wear.percentile(50), Duration::from_millis(64));
        assert_eq!(wear.percentile(99), Duration::from_millis(126));
        assert_eq!(wear.slow(), None, "it recovers by itself");
    }
}
