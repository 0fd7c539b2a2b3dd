//! Is this gateway fine, and if not, why and what should be done next?
//!
//! A pure function of a [`Snapshot`]. `Broken` means that somebody must act, or that nothing has left the gateway for a
//! quarter of an hour; `Attention` that it works, or mends itself, and somebody should look. Losses count while they are
//! younger than an hour: older ones are history, shown in the queue's section and not here.

use std::time::Duration;

use serde::Serialize;

use super::snapshot::{Destination, Snapshot};
use super::words::count;
use crate::board::{LinkPhase, LinkState, Trouble, TroubleKind, Weight, in_words};

mod books;
mod disk;
mod radio;
mod sensors;
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
    /// Text to copy for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paste: Option<String>,
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
/// Names in one sentence.
const NAMED: usize = 4;

/// Judges a snapshot.
#[must_use]
pub fn verdict(snapshot: &Snapshot) -> Verdict {
    let mut found = Findings(Vec::new());
    disk::judge(snapshot, &mut found);
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
    sensors::judge(snapshot, &mut found);
    lanes(snapshot, &mut found);
    books::judge(snapshot, &mut found);
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
        let reason =
            Reason { what: what.into(), meaning: meaning.into(), next_step: next.into(), paste: None };
        self.0.push((level, reason));
    }

    /// The reason found last comes with this text.
    fn with_text(&mut self, text: Option<String>) {
        if let Some((_, reason)) = self.0.last_mut() {
            reason.paste = text;
        }
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

fn link(snapshot: &Snapshot, destination: &Destination, found: &mut Findings) {
    let name = &destination.name;
    let kept = match destination.books.totals.queued {
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
    let weighing = |weight: Weight| {
        let troubles = destination.troubles.iter().map(|(_, trouble)| trouble);
        troubles.filter(move |trouble| trouble.kind.weight() == weight)
    };
    for trouble in weighing(Weight::Act) {
        let meaning = format!("{} {kept}", sentence(&trouble.words));
        found.add(Level::Broken, trouble.headline(name), meaning, sentence(&trouble.next_step));
        found.with_text(trouble.paste.clone());
    }
    for trouble in weighing(Weight::Look).filter(|trouble| lasts(trouble)) {
        let meaning = format!("{} Readings go on.", sentence(&trouble.words));
        found.add(Level::Attention, trouble.headline(name), meaning, sentence(&trouble.next_step));
    }
    if weighing(Weight::Act).next().is_some() {
        return;
    }
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
        LinkPhase::Idle | LinkPhase::Connecting | LinkPhase::Waiting | LinkPhase::Silent => {
            let level = if may_still_come(snapshot, link) { Level::Attention } else { Level::Broken };
            let heard = link.last_heard.map_or_else(
                || "Not heard since the start.".to_owned(),
                |at| format!("Last heard {} ago.", in_words(snapshot.now.since(at))),
            );
            let what = match link.phase {
                LinkPhase::Silent => format!("No answer from {name}"),
                _ => format!("No connection to {name}"),
            };
            let meaning = format!("{} {heard} {kept}", sentence(&link.words));
            let next = match weighing(Weight::Wait).next() {
                Some(trouble) if !is_off_the_network(snapshot) => sentence(&trouble.next_step),
                _ => path_advice(snapshot).to_owned(),
            };
            found.add(level, what, meaning, next);
        }
    }
}

/// What a cloud says once in a while, and then does not say any more, is nobody's business.
fn lasts(trouble: &Trouble) -> bool {
    trouble.times >= 3 || !matches!(trouble.kind, TroubleKind::Failing | TroubleKind::Unexpected)
}

fn is_off_the_network(snapshot: &Snapshot) -> bool {
    snapshot.registration.as_ref().is_some_and(|stamped| !stamped.value.registered)
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
