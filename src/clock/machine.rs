//! The clocks of the machine.

use std::fmt;
use std::time::UNIX_EPOCH;

use super::{BootId, Mono};

/// What a machine's clocks say, believed or not.
pub trait Machine: Send + Sync + fmt::Debug {
    /// Monotonic time since boot.
    fn mono(&self) -> Mono;
    /// Which boot [`Machine::mono`] counts from.
    fn boot_id(&self) -> BootId;
    /// Wall time as the machine has it.
    fn system(&self) -> SystemTime;
}

/// The machine's wall clock, and who says that it is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemTime {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: i64,
    /// Its newest synchronisation that the machine tells unasked, if there was one since the boot.
    pub synchronised: Option<Synchronised>,
    /// The operator says that something else keeps it right.
    pub vouched: bool,
}

/// One synchronisation of the system clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synchronised {
    /// When it was made, by the system clock: tells one synchronisation from the next.
    pub at_unix_ms: i64,
    /// How far off the clock may have been left, milliseconds.
    pub uncertainty_ms: u32,
}

/// The machine this process runs on.
#[derive(Debug)]
pub struct Host {
    boot: BootId,
    trust_system_clock: bool,
}

/// How far a clock that `systemd-timesyncd` has just set may be off: it takes no answer that was under way for longer.
const SYNCHRONISED_UNCERTAINTY_MS: u32 = 500;

impl Host {
    /// Reads the boot id from the kernel; without one (no `/proc`) every start counts as a boot of its own.
    #[must_use]
    pub fn new(trust_system_clock: bool) -> Self {
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
        Self { boot, trust_system_clock }
    }
}

impl Machine for Host {
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

    fn boot_id(&self) -> BootId {
        self.boot
    }

    fn system(&self) -> SystemTime {
        SystemTime {
            unix_ms: system_unix_ms(),
            synchronised: synchronised(),
            vouched: self.trust_system_clock,
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one home of the wall clock")]
fn system_unix_ms() -> i64 {
    unix_ms(std::time::SystemTime::now())
}

fn unix_ms(time: std::time::SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// `systemd-timesyncd` touches this file at each synchronisation (systemd-timesyncd.service(8)). Other NTP daemons are asked, see
/// [`super::servers`].
fn synchronised() -> Option<Synchronised> {
    let file = std::fs::metadata("/run/systemd/timesync/synchronized").ok()?;
    let at_unix_ms = unix_ms(file.modified().ok()?);
    Some(Synchronised { at_unix_ms, uncertainty_ms: SYNCHRONISED_UNCERTAINTY_MS })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_read_as_the_kernel_prints_it() {
        let id = parse_boot_id("0a1b2c3d-0001-0203-0405-060708090a0b\n").unwrap();
        assert_eq!(format!("{id:?}"), "0a1b2c3d0001020304050607 08090a0b".replace(' ', ""));
        assert_eq!(parse_boot_id("short"), None);
    }
}
