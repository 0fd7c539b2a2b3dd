//! The only place that reads a clock (requirement D3).
//!
//! Durations come from [`Mono`], which counts from the machine's boot and never steps. Wall time is data: a reading of it
//! carries how far it may be off and whether anything vouches for it. Nothing schedules by wall time.
//!
//! - `machine`: what the machine's own clocks say. Alone it is believed in nothing but monotonic time.
//! - [`servers`]: what the machine's NTP daemon says of the system clock, and how it is asked. Pure.
//! - [`sources`]: who vouches for which wall time, ranked; which one is followed. Pure.
//! - `ranked`: the two together, the clock that the daemon runs by.
//! - `simulated`: a clock that only a test moves.
//!
//! The daemon holds one `Arc<dyn Clock>`, a [`SystemClock`]; tests hand it a [`VirtualClock`], which follows tokio's paused time.

use std::fmt;
use std::time::Duration;

mod machine;
mod ranked;
pub mod servers;
mod simulated;
pub mod sources;

pub use machine::{Host, Machine, Synchronised, SystemTime};
pub use ranked::{RankedClock, SystemClock};
pub use simulated::VirtualClock;
pub use sources::RELEASE_FLOOR_UNIX_MS;
use sources::{Claim, Judgement};

/// Nanoseconds since the machine's boot (`CLOCK_BOOTTIME`: it also counts while suspended).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// The same instant as a duration since boot, the form the protocol cores take.
    #[must_use]
    pub fn since_boot(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The instant `after` later; saturates at the end of time rather than wrapping.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole milliseconds since boot.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl From<Duration> for Mono {
    fn from(since_boot: Duration) -> Self {
        Self::default().plus(since_boot)
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1000)
    }
}

/// The kernel's id of this boot: monotonic times of different boots must never be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub [u8; 16]);

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// What the wall clock says, and how far it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: i64,
    /// The true time lies within ± this many milliseconds, if [`Wall::trusted`].
    pub uncertainty_ms: u32,
    /// Something vouches for it; see [`sources::Source`].
    pub trusted: bool,
}

/// Reads time. Object-safe, shared by all lanes.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Monotonic time since boot.
    fn mono(&self) -> Mono;
    /// Wall time with its uncertainty.
    fn wall(&self) -> Wall;
    /// Which boot [`Clock::mono`] counts from.
    fn boot_id(&self) -> BootId;
    /// Takes what somebody says of the time. A clock that ranks no sources ignores it.
    fn hear(&self, _: Claim) {}
    /// Takes what the machine's NTP daemon says of the system clock. A clock that ranks no sources ignores it.
    fn hear_synchronised(&self, _: servers::Answer) {}
    /// Who is followed now, and who contradicts. A clock that ranks no sources knows of none.
    fn judgement(&self) -> Judgement {
        Judgement::default()
    }
}
