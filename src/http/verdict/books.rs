//! What was lost within the hour, and what waits more and more. Each destination by itself: what is given up for one may have
//! arrived at another. What a newer reading replaced, and what was thinned for the data plan, is declared and no loss.

use super::{Findings, Level, Snapshot};
use crate::board::LinkPhase;
use crate::http::snapshot::Destination;
use crate::http::words::{count, grouped, within};
use crate::store::queue::Health;

/// Fewer waiting readings than this are a batch, not a backlog.
const BACKLOG: u64 = 500;

pub(super) fn judge(snapshot: &Snapshot, found: &mut Findings) {
    for destination in &snapshot.destinations {
        backlog(destination, found);
    }
    for destination in &snapshot.destinations {
        losses(snapshot, destination, found);
    }
    intake(snapshot, found);
}

fn backlog(destination: &Destination, found: &mut Findings) {
    let queued = destination.books.totals.queued;
    let up = destination.link.as_ref().is_some_and(|link| link.phase == LinkPhase::Up);
    if let Some(growth) = destination.moved.growth.filter(|growth| up && queued > BACKLOG && *growth > 0) {
        found.add(
            Level::Attention,
            format!("The queue for {} grows although it is connected", destination.name),
            format!(
                "{} wait, {} more than five minutes ago.",
                count(queued, "reading", "readings"),
                grouped(growth)
            ),
            "Improve the signal, or let sensors be read less often.",
        );
    }
}

fn losses(snapshot: &Snapshot, destination: &Destination, found: &mut Findings) {
    let (name, moved, within) = (&destination.name, destination.moved, within(snapshot.recent.over));
    if moved.lost > 0 {
        found.add(
            Level::Attention,
            format!("{} given up for {name} {within}", count(moved.lost, "reading was", "readings were")),
            "They were too old, or there was no room left for them. Each is on record.",
            "Look at the reasons (fieldgate queue ls). For want of room: bring the connection back, or allow a larger queue \
             (store.queue_max).",
        );
    }
    if moved.too_many_aside > 0 {
        let refused = count(moved.too_many_aside, "refused reading was", "refused readings were");
        found.add(
            Level::Attention,
            format!("{refused} given up for {name} {within}"),
            "More were refused than are kept. The oldest went, on record.",
            "Look why they are refused, and send them again or give them up: fieldgate queue ls",
        );
    }
    if moved.set_aside > 0 {
        found.add(
            Level::Attention,
            format!("{name} refused {}", count(moved.set_aside, "reading", "readings")),
            format!("Set aside {within}: kept here for people, not sent again."),
            "Look at them with: fieldgate queue ls",
        );
    }
}

/// What never came to be accepted.
fn intake(snapshot: &Snapshot, found: &mut Findings) {
    let (moved, within) = (snapshot.recent.intake, within(snapshot.recent.over));
    if moved.refused > 0 && snapshot.queue.health == Health::Good {
        found.add(
            Level::Attention,
            format!("{} refused {within}", count(moved.refused, "reading was", "readings were")),
            "The disk could not take them. It can again now.",
            "Check the disk: it was full or failing.",
        );
    }
    // A bus loses a frame now and then; one in a hundred is wiring. A slave that is silent, or answers that it will not tell,
    // has its own reason: cables are not to be looked at for a wrong register.
    let due = moved.accepted.saturating_add(moved.missed);
    let is_well = |slave: &crate::board::SlaveState| slave.answering && slave.refusal.is_none();
    let all_are_well = snapshot.slaves.values().all(|slave| is_well(&slave.value));
    if all_are_well && moved.missed > 0 && moved.missed.saturating_mul(100) >= due {
        found.add(
            Level::Attention,
            format!("{} missed {within}", count(moved.missed, "reading was", "readings were")),
            format!("Of {} that were due: sensors answered late, broken or not at all.", grouped(due)),
            "Check the bus: cable, A/B wires, termination, interference.",
        );
    }
}
