//! The modem at the end of a serial line.

use super::SimModem;
use crate::device::SerialDevice;
use core::time::Duration;

impl SerialDevice for SimModem {
    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        Self::handle_bytes(self, now, bytes);
    }

    fn handle_timeout(&mut self, now: Duration) {
        Self::handle_timeout(self, now);
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        Self::poll_transmit(self)
    }

    fn poll_timeout(&self) -> Option<Duration> {
        Self::poll_timeout(self)
    }
}
