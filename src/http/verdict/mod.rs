//! Is this gateway fine, and if not, why and what should be done next?
//!
//! A pure function of a [`Snapshot`]. `Broken` means that somebody must act, or that nothing has left the gateway for a
//! quarter of an hour; `Attention` that it works, or mends itself, and somebody should look. Losses count while they are
//! younger than an hour: older ones are history, shown in the queue's section and not here.

use std::time::Duration;

use serde::Serialize;

use super::snapshot::{Destination, Snapshot};
use super::words::{count, grouped, within};
use crate::board::{LinkPhase, LinkState, WriterPhase, in_words};
use crate::reading::Quality;
use crate::store::gateway::GatewayHealth;
use crate::store::queue::Health;

mod radio;
#[cfg(test)]
mod tests;

/// How the gateway is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    Fine,
    /// It works or mends itself; somebody should look.
    Attention,
    /// Somebody must act.
    Broken,
}

impl Level {
    /// The word people read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fine => "Fine",
            Self::Attention => "Attention",
            Self::Broken => "Broken",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// What happened, short enough for a headline.
    pub what: String,
    /// What it means for the readings.
    pub meaning: String,
    /// What to do next.
    pub next_step: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The worst of the reasons' levels.
    pub level: Level,
    /// One line.
    pub headline: String,
    /// The worst first; empty when fine.
    pub reasons: Vec<Reason>,
}

/// After a start everything may still be coming up.
const GRACE: Duration = Duration::from_secs(120);
/// A link that was silent for longer does not mend itself any more.
const OFFLINE: Duration = Duration::from_secs(15 * 60);
/// Fewer waiting readings than this are a batch, not a backlog.
const BACKLOG: u64 = 500;
/// Names in one sentence.
const NAMED: usize = 4;

/// Judges a snapshot.
#[must_use]
pub fn verdict(snapshot: &Snapshot) -> Verdict {
    let mut found = Findings(Vec::new());
    store(snapshot, &mut found);
    gateway_db(snapshot, &mut found);
    writers(snapshot, &mut found);
    radio::judge(snapshot, &mut found);
    for destination in &snapshot.destinations {
        link(snapshot, destination, &mut found);
    }
    if snapshot.destinations.is_empty() {
        found.add(
            Level::Attention,
            "No cloud is configured",
            "Readings have nowhere to go.",
            "Add [golioth] or [[mqtt]] to the configuration and restart fieldgate.",
        );
    }
    sensors(snapshot, &mut found);
    lanes(snapshot, &mut found);
    backlog(snapshot, &mut found);
    losses(snapshot, &mut found);
    clock(snapshot, &mut found);
    found.conclude(snapshot)
}

struct Findings(Vec<(Level, Reason)>);

impl Findings {
    fn add(
        &mut self,
        level: Level,
        what: impl Into<String>,
        meaning: impl Into<String>,
        next: impl Into<String>,
    ) {
        let reason = Reason { what: what.into(), meaning: meaning.into(), next_step: next.into() };
        self.0.push((level, reason));
    }

    fn conclude(mut self, snapshot: &Snapshot) -> Verdict {
        // Stable: causes were found before their consequences and stay before them.
        self.0.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        let level = self.0.first().map_or(Level::Fine, |(level, _)| *level);
        let headline = match self.0.as_slice() {
            [] => fine(snapshot),
            [(_, only)] => only.what.clone(),
            [(_, first), rest @ ..] => format!("{}, and {} more", first.what, rest.len()),
        };
        Verdict { level, headline, reasons: self.0.into_iter().map(|(_, reason)| reason).collect() }
    }
}

fn fine(snapshot: &Snapshot) -> String {
    let names: Vec<_> = snapshot.destinations.iter().map(|destination| destination.name.as_str()).collect();
    format!("Connected to {}, nothing to do", listed(&names))
}

fn store(snapshot: &Snapshot, found: &mut Findings) {
    let kept = "New readings are refused and lost until then; what was accepted is safe.";
    match &snapshot.queue.health {
        Health::Good => {}
        Health::DiskFull => found.add(
            Level::Broken,
            "The disk is full",
            kept,
            "Let the queue drain (is the cloud connected?) or make room on the disk. It recovers by itself.",
        ),
        Health::ReadOnly => found.add(
            Level::Broken,
            "The disk is read-only",
            kept,
            "Restart the gateway once. If this comes back, its storage is worn out: replace it.",
        ),
        Health::Faulty(detail) => found.add(
            Level::Broken,
            "The disk refuses writes",
            format!("{kept} The disk says: {detail}"),
            "Restart the gateway once. If this comes back, its storage is damaged: replace it.",
        ),
    }
    let (used, max) = (snapshot.queue.used_bytes, snapshot.queue.max_bytes);
    let percent = used.saturating_mul(100).checked_div(max).unwrap_or(0);
    if percent >= 90 && snapshot.queue.health == Health::Good {
        found.add(
            Level::Attention,
            format!("The queue is {percent} % full"),
            "When it is full, the least important readings are given up first.",
            "Bring the connection back, so that the queue drains.",
        );
    }
}

fn gateway_db(snapshot: &Snapshot, found: &mut Findings) {
    if let GatewayHealth::Faulty(detail) = &snapshot.gateway_db {
        found.add(
            Level::Broken,
            "gateway.db takes no writes",
            format!(
                "Firmware versions, devices and the time are not recorded until it does; readings have a file of their \
                 own. {}",
                sentence(detail)
            ),
            "Make room on the disk, then restart the gateway once. If this comes back, its storage is damaged: replace it.",
        );
    }
}

fn writers(snapshot: &Snapshot, found: &mut Findings) {
    for (name, writer) in &snapshot.writers {
        let words = format!("{name}: {}.", writer.value.words);
        match writer.value.phase {
            WriterPhase::Working => {}
            WriterPhase::SlowFsync => found.add(
                Level::Attention,
                "The disk is slow (slow_fsync)",
                format!("{words} What comes in meanwhile waits in memory."),
                "Wait. If this comes back often, the storage is worn: replace it.",
            ),
            WriterPhase::Stuck => found.add(
                Level::Broken,
                "The disk hangs",
                format!("{words} What was accepted is safe; nothing new is."),
                "The daemon is restarted by itself. If this comes back, the storage is damaged: replace it.",
            ),
        }
    }
}

fn link(snapshot: &Snapshot, destination: &Destination, found: &mut Findings) {
    let name = &destination.name;
    let kept = match destination.totals.queued {
        0 => "Nothing waits for it yet.".to_owned(),
        n => format!("{} kept on disk and sent later.", count(n, "reading is", "readings are")),
    };
    let Some(link) = &destination.link else {
        let level = if starting(snapshot) { Level::Attention } else { Level::Broken };
        return found.add(
            level,
            format!("{name} has not been tried yet"),
            kept,
            "Wait two minutes. If this stays, restart fieldgate: systemctl restart fieldgate",
        );
    };
    match link.phase {
        LinkPhase::Up => {}
        LinkPhase::Sick => found.add(
            Level::Broken,
            format!("{name} refuses this gateway"),
            format!("{} {kept}", sentence(&link.words)),
            "Act on what it says: waiting does not mend this.",
        ),
        LinkPhase::Idle | LinkPhase::Connecting if may_still_come(snapshot, link) => found.add(
            Level::Attention,
            format!("Connecting to {name}"),
            format!("{} {kept}", sentence(&link.words)),
            "Wait two minutes.",
        ),
        LinkPhase::Idle | LinkPhase::Connecting | LinkPhase::Waiting => {
            let level = if may_still_come(snapshot, link) { Level::Attention } else { Level::Broken };
            let heard = link.last_heard.map_or_else(
                || "Not heard since the start.".to_owned(),
                |at| format!("Last heard {} ago.", in_words(snapshot.now.since(at))),
            );
            found.add(
                level,
                format!("No connection to {name}"),
                format!("{} {heard} {kept}", sentence(&link.words)),
                path_advice(snapshot),
            );
        }
    }
}

/// A link heard not long ago, or a daemon that just started: it may come by itself.
fn may_still_come(snapshot: &Snapshot, link: &LinkState) -> bool {
    let since = link.last_heard.unwrap_or(snapshot.gateway.started);
    snapshot.now.since(since) < OFFLINE
}

fn path_advice(snapshot: &Snapshot) -> &'static str {
    match snapshot.registration.as_ref().map(|stamped| stamped.value.registered) {
        Some(false) => "First bring the mobile network back: see Radio.",
        Some(true) => "The mobile network is there: check the data plan, then whether the cloud is up.",
        None => "Check the network cable or modem, then whether the cloud is up.",
    }
}

fn sensors(snapshot: &Snapshot, found: &mut Findings) {
    let mut buses: Vec<&str> = snapshot.slaves.values().map(|slave| slave.value.bus.as_str()).collect();
    buses.sort_unstable();
    buses.dedup();
    for bus in buses {
        let on_bus = || snapshot.slaves.iter().filter(|(_, slave)| slave.value.bus == bus);
        let silent: Vec<_> = on_bus().filter(|(_, slave)| !slave.value.answering).collect();
        let names: Vec<_> = silent.iter().map(|(name, _)| name.as_str()).collect();
        match silent.as_slice() {
            [] => {}
            all if all.len() > 1 && all.len() == on_bus().count() => found.add(
                Level::Broken,
                format!("Nothing answers on bus {bus}"),
                format!("Silent: {}. Their readings are missing.", listed(&names)),
                "Check the bus cable, its A/B wires and the sensors' power.",
            ),
            [(name, slave)] => found.add(
                Level::Attention,
                format!("{name} does not answer"),
                format!("{} Its readings are missing.", sentence(&slave.value.words)),
                "Check its power, its A/B wires and its unit address.",
            ),
            several => found.add(
                Level::Attention,
                format!("{} sensors do not answer", several.len()),
                format!("Silent on bus {bus}: {}. Their readings are missing.", listed(&names)),
                "Check their power, their A/B wires and their unit addresses.",
            ),
        }
    }
    let doubtful: Vec<_> = snapshot
        .latest
        .iter()
        .filter(|(_, latest)| matches!(latest.value.quality, Quality::OutOfRange | Quality::DeviceInvalid))
        .map(|(name, _)| name.as_str())
        .collect();
    if !doubtful.is_empty() {
        found.add(
            Level::Attention,
            format!("{} in doubt", count(doubtful.len() as u64, "value is", "values are")),
            format!("Out of range, or the device says it has none: {}.", listed(&doubtful)),
            "Check the probe and its cable.",
        );
    }
}

fn lanes(snapshot: &Snapshot, found: &mut Findings) {
    for (name, lane) in &snapshot.lanes {
        if lane.value.excused {
            found.add(
                Level::Broken,
                format!("A part of the daemon hangs: {name}"),
                "Restarting it did not help, so it is tried once an hour. The other parts work on.",
                "Check what it works with (a port, a cable, power), then: systemctl restart fieldgate",
            );
        } else if !lane.value.fine {
            let restarts = count(u64::from(lane.value.restarts), "restart", "restarts");
            found.add(
                Level::Attention,
                format!("A part of the daemon fails: {name}"),
                format!("{} {restarts} since the start.", sentence(&lane.value.words)),
                "It is restarted by itself. If this stays, check what it names (a port, a cable).",
            );
        }
    }
    let excused = |name| snapshot.lanes.get(name).is_some_and(|lane| lane.value.excused);
    for (name, since) in snapshot.silent_lanes.iter().filter(|(name, _)| !excused(name)) {
        found.add(
            Level::Broken,
            format!("A part of the daemon hangs: {name}"),
            format!("It has said nothing for {}.", in_words(snapshot.now.since(*since))),
            "It is restarted by itself. If this stays: systemctl restart fieldgate",
        );
    }
}

fn backlog(snapshot: &Snapshot, found: &mut Findings) {
    let queued = snapshot.queued();
    let up = !all_links_down(snapshot) && !snapshot.destinations.is_empty();
    if let Some(growth) = snapshot.recent.growth.filter(|growth| up && queued > BACKLOG && *growth > 0) {
        found.add(
            Level::Attention,
            "The queue grows although the cloud is connected",
            format!(
                "{} wait, {} more than five minutes ago.",
                count(queued, "reading", "readings"),
                grouped(growth)
            ),
            "Improve the signal, or let sensors be read less often.",
        );
    }
}

fn losses(snapshot: &Snapshot, found: &mut Findings) {
    let moved = snapshot.recent.moved;
    let within = within(snapshot.recent.over);
    if moved.dropped > 0 {
        found.add(
            Level::Attention,
            format!("{} given up {within}", count(moved.dropped, "reading was", "readings were")),
            "They were too old, there was no room or no data left for them, or a newer one took their place. Each is on record.",
            "Look at the reasons (fieldgate queue ls). For want of room: bring the connection back, or allow a larger queue \
             (store.queue_max).",
        );
    }
    if moved.refused > 0 && snapshot.queue.health == Health::Good {
        found.add(
            Level::Attention,
            format!("{} refused {within}", count(moved.refused, "reading was", "readings were")),
            "The disk could not take them. It can again now.",
            "Check the disk: it was full or failing.",
        );
    }
    if moved.set_aside > 0 {
        found.add(
            Level::Attention,
            format!("The cloud refused {}", count(moved.set_aside, "reading", "readings")),
            format!("Set aside {within}: kept here for people, not sent again."),
            "Look at them with: fieldgate queue ls",
        );
    }
    // A bus loses a frame now and then; one in a hundred is wiring. A silent slave has its own reason.
    let due = moved.accepted.saturating_add(moved.missed);
    let all_answer = snapshot.slaves.values().all(|slave| slave.value.answering);
    if all_answer && moved.missed > 0 && moved.missed.saturating_mul(100) >= due {
        found.add(
            Level::Attention,
            format!("{} missed {within}", count(moved.missed, "reading was", "readings were")),
            format!("Of {} that were due: sensors answered late, broken or not at all.", grouped(due)),
            "Check the bus: cable, A/B wires, termination, interference.",
        );
    }
}

fn clock(snapshot: &Snapshot, found: &mut Findings) {
    if !snapshot.wall.trusted {
        found.add(
            Level::Attention,
            "The clock is not set",
            "Readings keep their order and are dated once the time is known.",
            "Wait for the network's time. If this stays, check that a time server can be reached.",
        );
    }
}

fn starting(snapshot: &Snapshot) -> bool {
    snapshot.now.since(snapshot.gateway.started) < GRACE
}

fn all_links_down(snapshot: &Snapshot) -> bool {
    !snapshot
        .destinations
        .iter()
        .any(|destination| destination.link.as_ref().is_some_and(|link| link.phase == LinkPhase::Up))
}

/// `a, b, c, d and 3 more`
fn listed(names: &[&str]) -> String {
    let shown = names.get(..NAMED.min(names.len())).unwrap_or_default();
    match (shown, names.len() - shown.len()) {
        ([], _) => "nothing".to_owned(),
        ([only], 0) => (*only).to_owned(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A lane's words as a sentence of their own.
fn sentence(words: &str) -> String {
    let words = words.trim();
    let mut letters = words.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    let stop = if words.is_empty() || words.ends_with(['.', '!', '?']) { "" } else { "." };
    first.chain(letters).collect::<String>() + stop
}
