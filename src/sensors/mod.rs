//! A lane a bus: serial devices in, captures handed to the store (requirements D2, D3).
//!
//! - [`plan`]: the configuration of a bus as streams and as the fewest requests; pure.
//! - [`exact`]: decimal fractions as the operator wrote them; pure.
//! - [`decode`]: registers to values with a quality; pure.
//! - [`schedule`]: who is asked when, and who is left alone for a while; pure.
//! - [`modbus`]: the driver of a Modbus RTU bus.
//! - [`handover`]: captures on their way into the queue.
//!
//! A lane owns its port and the state of its slaves; nothing of it outlives the lane. Invariant: every instant at
//! which a slave was due ends up as exactly one capture, in which every point of the slave is either a sample or
//! missing for a reason. It gives up no more bus time to a slave that does not answer than one timeout a probe.

mod decode;
mod exact;
mod handover;
mod modbus;
mod plan;
mod schedule;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::config::{Bus, BusKind};
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::Lane;
use crate::reading::{GroupId, StreamId};
use crate::store::queue::{Queue, StreamSpec};

/// The streams of a bus as the store is to know them: slave by slave and point by point, in the order of the
/// configuration.
///
/// The numbers that the queue gives them, in the same order, are what [`lane`] wants.
#[must_use]
pub fn streams(bus: &Bus) -> Vec<StreamSpec> {
    plan::streams(bus)
}

/// The lane that reads `bus`, named `bus NAME`.
///
/// `streams` are the part of [`Queue::streams`] that belongs to this bus, in the order of [`streams`]. The lane
/// ends well when `stop` is cancelled, after the poll under way; it fails only when the queue has stopped or
/// `streams` are not of this bus. A port that is missing or goes away is opened again by the lane itself.
#[must_use]
pub fn lane(
    bus: Bus,
    streams: Vec<(StreamId, GroupId)>,
    queue: Queue,
    rim: Rim,
    board: Arc<Board>,
    stop: CancellationToken,
) -> Lane {
    let setup = Arc::new(modbus::Setup { bus, streams, queue, rim, board, stop });
    Lane::new(format!("bus {}", setup.bus.name), move |progress| {
        let setup = Arc::clone(&setup);
        async move {
            match setup.bus.kind {
                BusKind::ModbusRtu => modbus::run(&setup, progress).await,
            }
        }
    })
}
