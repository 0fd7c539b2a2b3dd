//! The modem's lane: who the nRF9151 is, where it stands with the network, and how good the signal is (requirement D1).
//!
//! Three layers, each ignorant of the one above: `state` knows what lines mean, `core` leads the conversation (what is
//! asked lies in `script`, what is said to people in `words`), `driver` carries bytes between the port and the core
//! and facts to the board. Only the driver does I/O.
//!
//! The lane owns the AT port and nothing else: data never crosses it. It publishes facts; it decides nothing for others.
//! When the modem is lost, the board says so before recovery begins, so no fact outlives the modem that stated it.

mod core;
mod driver;
mod notes;
mod script;
mod state;
mod time;
mod words;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::config;
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::Lane;

/// The lane `modem`, on the port of the configuration. It ends only with `stop`: whatever happens to port and modem, it
/// waits with a named reason and tries again.
#[must_use]
pub fn lane(config: config::Modem, rim: Rim, board: Arc<Board>, stop: CancellationToken) -> Lane {
    Lane::new("modem", move |progress| {
        driver::run(config.clone(), rim.clone(), Arc::clone(&board), stop.clone(), progress)
    })
}
