//! Whether the modem is the one that a session was kept with. It says so some seconds after a start.

use std::sync::Arc;

use tokio::sync::watch;

use crate::board::{Board, ModemIdentity, Stamped};
use crate::sabotage;

/// The number of the modem, where it has said it; see [`crate::board::Hidden::digest`].
pub(super) fn said(board: &Board) -> Option<[u8; 32]> {
    number(&board.modem.get())
}

/// Which modem it should be.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) number: [u8; 32],
    modem: watch::Receiver<Option<Stamped<ModemIdentity>>>,
}

impl Claim {
    pub(super) fn new(board: &Arc<Board>, number: [u8; 32]) -> Self {
        Self { number, modem: board.modem.watch() }
    }

    /// Waits until the modem has said which it is. Whether it is the right one.
    pub(super) async fn settled(&mut self) -> bool {
        loop {
            if let Some(number) = number(&self.modem.borrow_and_update()) {
                return number == self.number || sabotage::on("any-hardware");
            }
            if self.modem.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

fn number(modem: &Option<Stamped<ModemIdentity>>) -> Option<[u8; 32]> {
    modem.as_ref()?.value.imei.as_ref().map(crate::board::Hidden::digest)
}
