//! Tests of the store's rules, on real files and in virtual time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{ComponentKey, Gateway, OpenOptions};
use crate::clock::{BootId, Clock, VirtualClock, Wall};
use crate::daemon::rim::{Datagrams, Entropy, Net, PortSettings, Ports, Rim, SerialStream, UdpTarget};

mod calls;
mod cursors;
mod log;
mod running;
mod state;

pub(crate) const WALL: Wall = Wall { unix_ms: 1_800_000_000_000, uncertainty_ms: 500, trusted: true };

/// Random bytes that are the same in every run of a test, and different for every seed.
#[derive(Debug)]
pub(crate) struct Seeded(AtomicU64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let n = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mixed = (n ^ (n >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
    }
}

pub(crate) fn clock(boot: u8) -> Arc<dyn Clock> {
    Arc::new(VirtualClock::starting_at(BootId([boot; 16]), WALL))
}

/// A gateway on the folder, its writer inline; it must be stopped by whoever wants a clean stop.
pub(crate) fn open(folder: &Path, boot: u8, seed: u8) -> Gateway {
    open_with(folder, &clock(boot), seed)
}

pub(crate) fn open_with(folder: &Path, clock: &Arc<dyn Clock>, seed: u8) -> Gateway {
    let (gateway, pump) =
        Gateway::open_inline(OpenOptions::in_folder(folder), clock, &Seeded::new(seed.into())).unwrap();
    tokio::spawn(pump);
    gateway
}

/// A rim without wires, for lanes that need none.
pub(crate) fn rim(clock: &Arc<dyn Clock>) -> Rim {
    Rim {
        clock: Arc::clone(clock),
        random: Arc::new(Seeded::new(99)),
        net: Arc::new(NoWires),
        ports: Arc::new(NoWires),
        hardware: None,
    }
}

#[derive(Debug)]
struct NoWires;

#[async_trait::async_trait]
impl Net for NoWires {
    async fn udp(&self, _: &UdpTarget) -> std::io::Result<Box<dyn Datagrams>> {
        Err(std::io::ErrorKind::NetworkUnreachable.into())
    }
}

impl Ports for NoWires {
    fn open(&self, _: &PortSettings) -> std::io::Result<Box<dyn SerialStream>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

pub(crate) fn key(package: &str) -> ComponentKey {
    ComponentKey { device: "gw".into(), package: package.into() }
}

/// Records versions 1, 2, … of a package.
pub(crate) async fn versions(gateway: &Gateway, package: &str, count: u32) {
    for n in 1..=count {
        gateway.observe_version(&key(package), &format!("{n}.0")).await.unwrap();
    }
}
