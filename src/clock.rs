//! The only place that reads a clock (requirement D3).
//!
//! Durations come from [`Mono`], which counts from the machine's boot and never steps. Wall time is data: a reading of it
//! carries how far it may be off and whether anything vouches for it. Nothing schedules by wall time.
//!
//! The daemon holds one `Arc<dyn Clock>`; tests hand it a [`VirtualClock`], which follows tokio's paused time.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

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
    /// Something vouches for it: a synchronised kernel clock, or the operator's word.
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
}

/// Earlier than this no wall clock of a running gateway can be: the start of the year of this release, 2026.
pub const RELEASE_FLOOR_UNIX_MS: i64 = 1_767_225_600_000;

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot: BootId,
    /// The operator says that an RTC or another daemon keeps the clock right.
    trust_system_clock: bool,
    /// Below this the wall clock is certainly wrong: the release, or the newest time seen by an earlier run.
    floor_unix_ms: i64,
}

/// What the kernel reports when the operator vouches for a clock that nothing disciplines.
const VOUCHED_UNCERTAINTY_MS: u32 = 2_000;

impl SystemClock {
    /// Reads the boot id from the kernel; without one (no `/proc`) every start counts as a boot of its own.
    #[must_use]
    pub fn new(trust_system_clock: bool, persisted_floor_unix_ms: Option<i64>) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .and_then(|text| parse_boot_id(&text))
            .unwrap_or_else(|| {
                let mut id = [0u8; 16];
                let wall = system_unix_ms().to_le_bytes();
                id[..8].copy_from_slice(&wall);
                id[8..12].copy_from_slice(&std::process::id().to_le_bytes());
                BootId(id)
            });
        let floor_unix_ms = persisted_floor_unix_ms.unwrap_or(0).max(RELEASE_FLOOR_UNIX_MS);
        Self { boot, trust_system_clock, floor_unix_ms }
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> Mono {
        match nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME) {
            Ok(t) => Mono(
                u64::try_from(t.tv_sec()).unwrap_or(0) * 1_000_000_000
                    + u64::try_from(t.tv_nsec()).unwrap_or(0),
            ),
            // The kernel has had this clock since 2.6.39; without it there is no time to run by.
            Err(_) => Mono(0),
        }
    }

    fn wall(&self) -> Wall {
        let unix_ms = system_unix_ms();
        let above_floor = unix_ms >= self.floor_unix_ms;
        match synchronised_error_ms() {
            Some(error_ms) if above_floor => Wall { unix_ms, uncertainty_ms: error_ms, trusted: true },
            _ if above_floor && self.trust_system_clock => {
                Wall { unix_ms, uncertainty_ms: VOUCHED_UNCERTAINTY_MS, trusted: true }
            }
            _ => Wall { unix_ms, uncertainty_ms: u32::MAX, trusted: false },
        }
    }

    fn boot_id(&self) -> BootId {
        self.boot
    }
}

#[allow(clippy::disallowed_methods, reason = "the one home of the wall clock")]
fn system_unix_ms() -> i64 {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// The clock's error while `systemd-timesyncd` says that it has synchronised it: the file it touches then is the sign
/// (systemd-timesyncd.service(8)). Gateways with another NTP daemon say `time.trust_system_clock = true`.
fn synchronised_error_ms() -> Option<u32> {
    std::path::Path::new("/run/systemd/timesync/synchronized").exists().then_some(500)
}

fn parse_boot_id(text: &str) -> Option<BootId> {
    let mut id = [0u8; 16];
    let mut digits = text.chars().filter(char::is_ascii_hexdigit);
    for byte in &mut id {
        let high = digits.next()?.to_digit(16)?;
        let low = digits.next()?.to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(BootId(id))
}

/// Time that only moves when a test lets it: it follows tokio's clock, which a test pauses.
#[derive(Debug)]
pub struct VirtualClock {
    boot: BootId,
    origin: tokio::time::Instant,
    wall: Mutex<Wall>,
}

impl VirtualClock {
    /// A clock whose monotonic time starts at zero now and whose wall time starts at `wall`.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one home of the monotonic clock")]
    pub fn starting_at(boot: BootId, wall: Wall) -> Self {
        Self { boot, origin: tokio::time::Instant::now(), wall: Mutex::new(wall) }
    }

    /// Steps the wall clock, as NTP or an operator would; monotonic time is not touched.
    pub fn step_wall(&self, to: Wall) {
        let elapsed = i64::try_from(self.mono().ms()).unwrap_or(0);
        if let Ok(mut wall) = self.wall.lock() {
            *wall = Wall { unix_ms: to.unix_ms - elapsed, ..to };
        }
    }
}

impl Clock for VirtualClock {
    #[allow(clippy::disallowed_methods, reason = "the one home of the monotonic clock")]
    fn mono(&self) -> Mono {
        Mono::from(tokio::time::Instant::now().saturating_duration_since(self.origin))
    }

    fn wall(&self) -> Wall {
        let base = self
            .wall
            .lock()
            .map_or(Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false }, |wall| *wall);
        Wall { unix_ms: base.unix_ms + i64::try_from(self.mono().ms()).unwrap_or(0), ..base }
    }

    fn boot_id(&self) -> BootId {
        self.boot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_read_as_the_kernel_prints_it() {
        let id = parse_boot_id("0a1b2c3d-0001-0203-0405-060708090a0b\n").unwrap();
        assert_eq!(format!("{id:?}"), "0a1b2c3d0001020304050607 08090a0b".replace(' ', ""));
        assert_eq!(parse_boot_id("short"), None);
    }

    #[test]
    fn a_clock_below_the_floor_is_never_trusted() {
        let far_future_floor = SystemClock::new(true, Some(i64::MAX));
        assert!(!far_future_floor.wall().trusted);
        assert!(SystemClock::new(true, None).wall().trusted);
    }

    #[tokio::test(start_paused = true)]
    async fn virtual_time_moves_only_with_the_runtime() {
        let clock = VirtualClock::starting_at(
            BootId([7; 16]),
            Wall { unix_ms: 1000, uncertainty_ms: 5, trusted: true },
        );
        let before = clock.mono();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.mono().since(before), Duration::from_secs(3600));
        assert_eq!(clock.wall().unix_ms, 1000 + 3_600_000);
        clock.step_wall(Wall { unix_ms: 50, uncertainty_ms: 5, trusted: true });
        assert_eq!(clock.wall().unix_ms, 50);
    }
}
