//! The end: devices fall silent, the queue drains, the daemon stops, both sides are read and compared.

use std::time::Duration;

use super::report::{Report, Shown};
use crate::bus::SimBus;
use crate::gateway::child::{Daemon, Start};
use crate::gateway::config::{GOLIOTH, SERIAL};
use crate::gateway::status::{self, Status};
use crate::gateway::surroundings::Surroundings;
use crate::gateway::{Trouble, books, eventually, firmware, http};

/// How long the queue may take to drain.
pub(super) const DRAIN: Duration = Duration::from_secs(30);
/// How long a clean stop may take.
const STOP: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Ends the show and makes the account.
pub(super) async fn close(
    around: &Surroundings,
    daemon: Daemon,
    start: &Start,
    shown: Shown,
) -> Result<Report, Trouble> {
    around.bus.with(|bus, _| SimBus::fall_silent(bus));
    around.network.heal();
    let begun = around.clock.now();
    let page = around.page;
    // Every value on the wire, counted or not.
    let said: u64 = around.ledger().slaves.iter().flat_map(|s| &s.points).map(|p| p.produced).sum();
    let drained = eventually(around.clock, LOOK, DRAIN, || async move {
        status::ask(page).await.filter(|status| is_drained(status, said))
    });
    let drained = drained.await;
    let took = around.clock.now().saturating_sub(begun);
    let status = match drained {
        Some(status) => status,
        None => status::ask(page).await.unwrap_or_default(),
    };
    let device = own_record(around).await?;
    daemon.stop(STOP).await?;
    let books = books::read(&start.program, &start.config).await?;
    let history = firmware::history(&start.program, &start.config).await?;
    Ok(Report::new(around, shown, &books, &status, (history, device), took))
}

/// The gateway itself as its registry has it, with what the cloud's management API says of it once that was asked.
async fn own_record(around: &Surroundings) -> Result<serde_json::Value, Trouble> {
    let path = format!("/api/devices/{SERIAL}/status");
    let unreadable = |detail: String| Trouble::Unreadable { what: path.clone(), detail };
    let text = http::get(around.page, &path).await.map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))
}

fn is_drained(status: &Status, said: u64) -> bool {
    let queue = &status.queue;
    let taken = queue.accepted + queue.refused + queue.coalesced;
    queue.queued == 0 && taken >= said && status.destination(GOLIOTH).is_some()
}
