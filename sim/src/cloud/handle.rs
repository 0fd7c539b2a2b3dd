//! A hand on a running cloud.

use super::core::Cloud;
use crate::clock::Clock;
use crate::device::Shared;
use std::time::Duration;
use tokio::sync::watch;

/// Reads and disturbs a cloud that a driver runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CloudHandle {
    cloud: Shared<Cloud>,
    changes: watch::Sender<u64>,
}

impl CloudHandle {
    /// Shares a cloud that lives on the time line of `clock`.
    #[must_use]
    pub fn new(cloud: Cloud, clock: Clock) -> Self {
        Self { cloud: Shared::new(cloud, clock), changes: watch::Sender::new(0) }
    }

    /// Runs `f` on the cloud, then wakes its driver and everyone in [`until`](Self::until). `f` must not block.
    pub fn with<R>(&self, f: impl FnOnce(&mut Cloud, Duration) -> R) -> R {
        let result = self.cloud.with(f);
        self.announce();
        result
    }

    /// Looks at the cloud.
    pub fn read<R>(&self, f: impl FnOnce(&Cloud) -> R) -> R {
        self.cloud.read(f)
    }

    /// Waits until `met` holds; it is asked again after every change.
    pub async fn until(&self, mut met: impl FnMut(&Cloud) -> bool) {
        let mut changes = self.changes.subscribe();
        while !self.read(&mut met) {
            // The sender is in `self`.
            let _open = changes.changed().await;
        }
    }

    /// The time line the cloud lives on.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.cloud.clock()
    }

    /// For the driver: works on the cloud without waking itself.
    pub(super) fn drive<R>(&self, f: impl FnOnce(&mut Cloud, Duration) -> R) -> R {
        let now = self.cloud.clock().now();
        let result = f(&mut self.cloud.lock(), now);
        self.announce();
        result
    }

    /// For the driver: takes from the cloud what changes nothing anyone waits for.
    pub(super) fn drive_quietly<R>(&self, f: impl FnOnce(&mut Cloud) -> R) -> R {
        f(&mut self.cloud.lock())
    }

    /// For the driver: completes when [`with`](Self::with) was called since it last completed.
    pub(super) async fn changed(&self) {
        self.cloud.changed().await;
    }

    fn announce(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}
