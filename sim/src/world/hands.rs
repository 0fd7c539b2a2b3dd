//! What a cloud has the process and its machine do. Nothing happens by itself: whoever runs the world looks, and acts.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use fieldgate::board::Hands;

/// Counts what was asked for.
#[derive(Debug, Default)]
pub struct VirtualHands {
    forbidden: AtomicBool,
    reboots: AtomicU32,
    restarts: AtomicU32,
}

impl VirtualHands {
    /// From now on the machine cannot be rebooted from afar, or can again.
    pub fn forbid(&self, forbidden: bool) {
        self.forbidden.store(forbidden, Ordering::Relaxed);
    }

    /// How often a reboot was asked for.
    #[must_use]
    pub fn reboots(&self) -> u32 {
        self.reboots.load(Ordering::Relaxed)
    }

    /// How often a restart was asked for.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }
}

impl Hands for VirtualHands {
    fn may_reboot(&self) -> Result<(), String> {
        if self.forbidden.load(Ordering::Relaxed) {
            return Err("the unit that reboots is not enabled".into());
        }
        Ok(())
    }

    fn reboot(&self) -> Result<(), String> {
        self.reboots.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }
}
