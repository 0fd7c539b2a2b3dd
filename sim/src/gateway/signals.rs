//! Ctrl-C and its relatives, heard from the first moment: until somebody listens, a signal would end this program and leave a daemon
//! behind, which runs in a process group of its own.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Trouble;

/// Signals that ask this program to end.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Self, Trouble> {
        let listen = |kind| signal(kind).map_err(Trouble::system("listen for signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Completes with the name of the next one. Safe to drop and ask again.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }

    /// Does `work` unless a signal comes first; then `work` is dropped, and with it every child process it had.
    ///
    /// # Errors
    /// Those of `work`, and [`Trouble::Interrupted`].
    pub async fn or<T>(&mut self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        tokio::select! {
            biased;
            signal = self.next() => Err(Trouble::Interrupted { signal }),
            done = work => done,
        }
    }
}
