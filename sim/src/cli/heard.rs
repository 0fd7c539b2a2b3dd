//! A device on a pseudo-terminal that says when somebody begins to speak to it.

use crate::device::SerialDevice;
use std::time::Duration;

/// Who speaks again after so long is announced again.
const QUIET: Duration = Duration::from_secs(60);

/// See the module head. A pseudo-terminal does not tell who opens it: the first bytes do.
#[derive(Debug)]
pub(super) struct Heard<D, F> {
    /// The device itself.
    pub(super) device: D,
    announce: F,
    last: Option<Duration>,
}

impl<D, F: FnMut()> Heard<D, F> {
    /// Calls `announce` when somebody speaks for the first time, or again after a minute without a word.
    pub(super) fn new(device: D, announce: F) -> Self {
        Self { device, announce, last: None }
    }
}

impl<D: SerialDevice, F: FnMut()> SerialDevice for Heard<D, F> {
    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        if self.last.is_none_or(|last| now.saturating_sub(last) > QUIET) {
            (self.announce)();
        }
        self.last = Some(now);
        self.device.handle_bytes(now, bytes);
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.device.handle_timeout(now);
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.device.poll_transmit()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.device.poll_timeout()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Deaf;

    impl SerialDevice for Deaf {
        fn handle_bytes(&mut self, _now: Duration, _bytes: &[u8]) {}
        fn handle_timeout(&mut self, _now: Duration) {}
        fn poll_transmit(&mut self) -> Option<Vec<u8>> {
            None
        }
        fn poll_timeout(&self) -> Option<Duration> {
            None
        }
    }

    #[test]
    fn a_peer_is_announced_once_and_again_after_a_silence() {
        let mut said = 0;
        let mut device = Heard::new(Deaf, || said += 1);
        for second in [0, 1, 61, 122] {
            device.handle_bytes(Duration::from_secs(second), b"x");
        }
        assert_eq!(said, 2, "at first, and after 61 s without a word");
    }
}
