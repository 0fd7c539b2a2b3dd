//! What a simulated serial device looks like to whatever carries its bytes.
//!
//! A device owns no port and reads no clock: a driver (a pty, or a test in virtual time) hands it bytes and `now`, and
//! takes from it what it wants to say. [`Shared`] lets a ledger be read, or a fault be set, while a driver runs.

use crate::clock::Clock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A sans-IO device at the far end of a serial line.
///
/// After any `handle_…` call the driver drains [`poll_transmit`](Self::poll_transmit) until it is empty and then asks
/// for [`poll_timeout`](Self::poll_timeout). `now` never decreases from call to call.
pub trait SerialDevice {
    /// Bytes arrived from the gateway, in any chunking.
    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]);
    /// The time named by [`poll_timeout`](Self::poll_timeout) has come (calling early is harmless).
    fn handle_timeout(&mut self, now: Duration);
    /// Bytes the device puts on the line now. Taken is transmitted: what counts values counts here.
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;
    /// When [`handle_timeout`](Self::handle_timeout) next wants to be called; `None` when only bytes can wake it.
    fn poll_timeout(&self) -> Option<Duration>;
}

/// A device shared between the driver that runs it and those who watch or disturb it.
#[derive(Debug)]
pub struct Shared<D> {
    device: Arc<Mutex<D>>,
    changed: Arc<Notify>,
    clock: Clock,
}

impl<D> Clone for Shared<D> {
    fn clone(&self) -> Self {
        Self { device: Arc::clone(&self.device), changed: Arc::clone(&self.changed), clock: self.clock }
    }
}

impl<D> Shared<D> {
    /// Shares a device that lives on the time line of `clock`.
    #[must_use]
    pub fn new(device: D, clock: Clock) -> Self {
        Self { device: Arc::new(Mutex::new(device)), changed: Arc::new(Notify::new()), clock }
    }

    /// Runs `f` on the device, then wakes the driver, which drains what `f` made the device say.
    ///
    /// `f` must not block: the driver waits for it. A panic in an earlier `f` does not poison the device.
    pub fn with<R>(&self, f: impl FnOnce(&mut D, Duration) -> R) -> R {
        let result = f(&mut self.lock(), self.clock.now());
        self.changed.notify_one();
        result
    }

    /// Looks at the device without waking its driver.
    pub fn read<R>(&self, f: impl FnOnce(&D) -> R) -> R {
        f(&self.lock())
    }

    /// The time line the device lives on.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Completes when [`with`](Self::with) was called since the last time this completed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, D> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
