//! Facts about the daemon itself: its lanes and writers, firmware, what was set from afar.

use crate::clock::Mono;

/// How a lane does.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneState {
    /// In words: `advancing`, `waiting for the port, until …`, `failed: …; restarted in 4 s`.
    pub words: String,
    /// Advanced or waits for a named reason.
    pub fine: bool,
    /// It hangs, no restart helped, and it is tried again once an hour only.
    pub excused: bool,
    /// Restarts since the daemon started.
    pub restarts: u32,
    /// When it last advanced.
    pub last_progress: Mono,
}

/// How the writer of one of the two files does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterState {
    /// In one word.
    pub phase: WriterPhase,
    /// In words.
    pub words: String,
}

/// How a writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterPhase {
    /// It writes, or has nothing to write.
    Working,
    /// One write takes long, or did a moment ago: the disk is slow, and a restart would not make it faster.
    SlowFsync,
    /// One write takes so long that it is not expected to end.
    Stuck,
}

impl WriterPhase {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Working, Self::SlowFsync, Self::Stuck];

    /// One word for pages and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::SlowFsync => "slow_fsync",
            Self::Stuck => "stuck",
        }
    }
}

/// A firmware component as people and the cloud see it (requirement D10).
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentState {
    /// Package name at the cloud.
    pub package: String,
    /// The registry device.
    pub device: String,
    /// The version that runs, once known.
    pub version: Option<String>,
    /// The version the cloud wants, if it wants one.
    pub target: Option<String>,
    /// Golioth's state word: `IDLE`, `DOWNLOADING`, `DOWNLOADED`, `UPDATING`.
    pub state: &'static str,
    /// In words.
    pub reason: String,
}

/// What a cloud set of this gateway from afar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteSettings {
    /// The cloud's number of what is in force.
    pub version: Option<i64>,
    /// Key of the configuration and value, as the configuration writes them.
    pub in_force: Vec<(String, String)>,
    /// What is not in force: the cloud's key, and why in words.
    pub refused: Vec<(String, String)>,
}
