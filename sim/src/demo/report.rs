//! The account of both sides: `report.json`, and the same in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::gateway::books::{Account, Books};
use crate::gateway::child::Memory;
use crate::gateway::config::{self, GOLIOTH};
use crate::gateway::reckon::{AtRisk, Reckoning};
use crate::gateway::status::Status;
use crate::gateway::surroundings::Surroundings;
use crate::gateway::{Trouble, machine};

/// What was measured while it ran.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) ready: Duration,
    pub(super) memory: Memory,
    pub(super) seed: u64,
    pub(super) lasted: Duration,
    pub(super) version: String,
    pub(super) program: PathBuf,
}

/// The account. Counts are of readings of the counted points; account keys on top are the Golioth destination's.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    produced: u64,
    accepted: u64,
    refused: u64,
    coalesced: u64,
    missed: u64,
    acknowledged: u64,
    dropped: u64,
    set_aside: u64,
    queued: u64,
    cloud_unique: u64,
    cloud_duplicates: u64,
    lost: u64,
    lost_identities: Vec<String>,
    corrupted: u64,
    corrupted_values: Vec<String>,
    outage_s: f64,
    handshakes: u64,
    wire_bytes_up: u64,
    wire_bytes_down: u64,
    pss_bytes: u64,
    peak_rss_bytes: u64,
    ready_ms: f64,
    binary_bytes: u64,
    firmware_history: Vec<serde_json::Value>,
    /// The gateway's own entry in its registry, as the status API shows it.
    device: serde_json::Value,
    components: Vec<serde_json::Value>,
    destinations: BTreeMap<String, serde_json::Value>,
    /// Gap records of all streams by reason.
    gaps: BTreeMap<String, Option<u64>>,
    /// Polls that no device answered, as the devices tell it.
    silent_polls: u64,
    /// Gap records behind which no value was produced.
    silent_readings: u64,
    drain_s: f64,
    problems: Vec<String>,
    promises: BTreeMap<&'static str, bool>,
    conditions: serde_json::Value,
}

/// Of so many produced values all but one are accepted, where nothing is faulty. Of fewer too: one cannot be a part of them.
const ALL_BUT_ONE_OF: u64 = 1000;

impl Report {
    pub(super) fn new(
        around: &Surroundings,
        shown: Shown,
        books: &Books,
        status: &Status,
        (firmware_history, device): (Vec<serde_json::Value>, serde_json::Value),
        drain: Duration,
    ) -> Self {
        // Nobody was killed.
        let sum = around.reckon(books, &AtRisk::new());
        let ledger = around.ledger();
        let wire = around.network.counters();
        let cloud = around.cloud.read(crate::cloud::Cloud::counters);
        let account = sum.account;
        let problems = books.problems.iter().chain(&sum.unbalanced).cloned().collect();
        let mut report = Self {
            produced: sum.produced,
            accepted: sum.intake.accepted,
            refused: sum.intake.refused,
            coalesced: sum.intake.coalesced,
            missed: sum.missed,
            acknowledged: account.acknowledged,
            dropped: account.dropped,
            set_aside: account.set_aside,
            queued: account.queued,
            cloud_unique: sum.unique,
            cloud_duplicates: sum.duplicates,
            lost: sum.lost.count,
            lost_identities: sum.lost.names.clone(),
            corrupted: sum.corrupted.count,
            corrupted_values: sum.corrupted.names.clone(),
            outage_s: seconds(around.network.cut_for()),
            handshakes: cloud.handshakes,
            wire_bytes_up: wire.up.wire_bytes,
            wire_bytes_down: wire.down.delivered_wire_bytes,
            pss_bytes: shown.memory.pss,
            peak_rss_bytes: shown.memory.peak_rss,
            ready_ms: seconds(shown.ready) * 1000.0,
            binary_bytes: machine::size(&shown.program),
            firmware_history,
            device,
            components: status.components.clone(),
            destinations: others(books),
            gaps: books.gaps(),
            silent_polls: ledger.unanswered(),
            silent_readings: sum.silent,
            drain_s: seconds(drain),
            problems,
            promises: BTreeMap::new(),
            conditions: serde_json::json!({
                "seed": shown.seed,
                "lasted_s": seconds(shown.lasted),
                "fieldgate": shown.version,
                "fieldgate_sim": env!("CARGO_PKG_VERSION"),
                "optimised": machine::is_stripped(&shown.program),
                "machine": machine::words(),
                "network": wire,
                "bus": ledger.line,
                "cloud": cloud,
            }),
        };
        report.promises = report.judge(&sum);
        report
    }

    fn judge(&self, sum: &Reckoning) -> BTreeMap<&'static str, bool> {
        [
            ("nothing was lost", self.lost == 0),
            ("nothing was corrupted", self.corrupted == 0),
            ("nothing was given up", sum.given_up == 0),
            ("accepted = acknowledged + dropped + set aside + queued", sum.consuming_side_closes()),
            ("produced = accepted + refused + coalesced + missed", sum.producing_side_closes()),
            ("the daemon's books agree with what is there", self.problems.is_empty()),
            ("of what was produced all but 0.1 %, or one, was accepted", self.is_enough()),
            ("the queue drained in time", self.queued == 0),
        ]
        .into()
    }

    fn is_enough(&self) -> bool {
        let missing = self.produced.saturating_sub(self.accepted);
        self.produced > 0 && missing <= (self.produced / ALL_BUT_ONE_OF).max(1)
    }

    /// Whether every promise was kept.
    pub(super) fn closes(&self) -> bool {
        self.promises.values().all(|kept| *kept)
    }

    /// Writes it as JSON.
    pub(super) fn write(&self, path: &Path) -> Result<(), Trouble> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Trouble::Unreadable { what: "the account".into(), detail: error.to_string() })?;
        config::file(path, &format!("{text}\n"), 0o644)
    }

    /// The closing account for people.
    pub(super) fn in_words(&self) -> String {
        let mut out = String::from("\nClosing account\n");
        let mut say = |line: String| {
            out.push_str("  ");
            out.push_str(&line);
            out.push('\n');
        };
        say(format!(
            "devices   {} produced = {} accepted + {} refused + {} coalesced + {} missed",
            self.produced, self.accepted, self.refused, self.coalesced, self.missed
        ));
        say(format!(
            "gateway   {} accepted = {} acknowledged + {} dropped + {} set aside + {} queued",
            self.accepted, self.acknowledged, self.dropped, self.set_aside, self.queued
        ));
        say(format!(
            "cloud     {} unique, {} duplicates, {} lost, {} corrupted",
            self.cloud_unique, self.cloud_duplicates, self.lost, self.corrupted
        ));
        say(format!(
            "link      cut for {:.1} s, {} {}, {} B up, {} B down, drained in {:.1} s",
            self.outage_s,
            self.handshakes,
            if self.handshakes == 1 { "handshake" } else { "handshakes" },
            self.wire_bytes_up,
            self.wire_bytes_down,
            self.drain_s
        ));
        say(format!(
            "daemon    ready in {:.0} ms, {:.1} MB PSS, {:.1} MB at most, program {:.1} MB",
            self.ready_ms,
            megabytes(self.pss_bytes),
            megabytes(self.peak_rss_bytes),
            megabytes(self.binary_bytes)
        ));
        for name in self.lost_identities.iter().take(10) {
            say(format!("LOST      {name}"));
        }
        for name in self.corrupted_values.iter().take(10) {
            say(format!("CORRUPTED {name}"));
        }
        for problem in self.problems.iter().take(10) {
            say(format!("PROBLEM   {problem}"));
        }
        let _ = match self.promises.iter().find(|(_, kept)| !**kept) {
            None => writeln!(out, "The account closes."),
            Some((promise, _)) => writeln!(out, "The account does NOT close. Not kept: {promise}."),
        };
        out
    }
}

/// The accounts of every other destination.
fn others(books: &Books) -> BTreeMap<String, serde_json::Value> {
    let mut sums: BTreeMap<String, Account> = BTreeMap::new();
    for (name, account) in books.streams.iter().flat_map(|s| &s.accounts).filter(|(name, _)| *name != GOLIOTH)
    {
        let sum = sums.entry(name.clone()).or_default();
        sum.accepted += account.accepted;
        sum.acknowledged += account.acknowledged;
        sum.dropped += account.dropped;
        sum.set_aside += account.set_aside;
        sum.queued += account.queued;
    }
    let json = |a: Account| {
        serde_json::json!({
            "accepted": a.accepted, "acknowledged": a.acknowledged, "dropped": a.dropped,
            "set_aside": a.set_aside, "queued": a.queued,
        })
    };
    sums.into_iter().map(|(name, sum)| (name, json(sum))).collect()
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
