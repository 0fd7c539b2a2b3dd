//! What a file says of a predecessor, or of its own log, that was found damaged: read from its row in `statements`.
//!
//! The row is JSON that grows: written when the damage is found, completed when the salvage ends. `null` is "unknown": what a
//! file held whose books did not read, and what is lost of it. Unknown is never shown as nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use super::Epoch;

/// The kind of a damaged file's statement.
pub(super) const DAMAGED: &str = "queue_damaged";
/// The kind of the statement that the file's own log was lost.
pub(super) const LOG_LOST: &str = "log_lost";
/// `salvage` of a file that is still looked through.
pub(super) const UNDER_WAY: &str = "under way";

/// Readings by destination and stream (`golioth/tank.level`).
type Counts = BTreeMap<String, u64>;

/// See the module head.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Statement {
    file: Option<String>,
    detail: String,
    epoch: Option<String>,
    queued: Option<Counts>,
    queued_at_least: Option<Counts>,
    salvage: Option<String>,
    salvaged: Option<Counts>,
    lost: Option<Counts>,
    /// Of a lost log: how many losses this is the sum of, if more than one.
    times: Option<u64>,
}

impl Statement {
    /// One statement for several losses of the file's own log, sums among them: its row.
    pub(super) fn sum_of_lost_logs<'a>(details: impl Iterator<Item = &'a str>) -> String {
        let (mut times, mut words) = (0u64, None::<String>);
        for said in details.filter_map(Self::parse) {
            times = times.saturating_add(said.times.unwrap_or(1));
            words = match words {
                Some(words) if words != said.detail => Some("its log is missing or does not read".into()),
                _ => Some(said.detail),
            };
        }
        let words = words.unwrap_or_default();
        serde_json::json!({ "detail": words, "queued": null, "times": times }).to_string()
    }

    pub(super) fn parse(detail: &str) -> Option<Self> {
        serde_json::from_str(detail).ok()
    }

    /// Whether more will be known later.
    pub(super) fn is_open(&self) -> bool {
        self.salvage.as_deref() == Some(UNDER_WAY)
    }

    /// The newest epoch of the file it is about.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        u64::from_str_radix(self.epoch.as_deref()?, 16).ok().map(Epoch)
    }

    /// What tells the file apart from all others on the wire, in whichever later file the statement stands.
    pub(super) fn file_id(&self) -> Option<u64> {
        let name = self.file.as_deref()?;
        let seed = name.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Some(Epoch(seed).successor(0).0)
    }

    /// How many readings waited for `destination` by the file's books.
    pub(super) fn held_for(&self, destination: &str) -> Option<u64> {
        self.queued.as_ref().map(|counts| sum(counts, destination))
    }

    /// How many of them were found and go on waiting.
    pub(super) fn salvaged_for(&self, destination: &str) -> u64 {
        self.salvaged.as_ref().map_or(0, |counts| sum(counts, destination))
    }

    /// How many are lost.
    pub(super) fn lost_for(&self, destination: &str) -> Option<u64> {
        self.lost.as_ref().filter(|_| !self.is_open()).map(|counts| sum(counts, destination))
    }
}

fn sum(counts: &Counts, destination: &str) -> u64 {
    let its =
        |(of, count): (&String, &u64)| of.split('/').next().filter(|d| *d == destination).map(|_| *count);
    counts.iter().filter_map(its).fold(0, u64::saturating_add)
}

/// A statement as [`super::verify::Verified::statements`] has it (its kind, a colon, its row), for people.
#[must_use]
pub fn in_words(statement: &str) -> String {
    let Some((kind, detail)) = statement.split_once(": ") else { return statement.to_owned() };
    let Some(said) = Statement::parse(detail) else { return statement.to_owned() };
    let mut words = match (kind, &said.file) {
        (DAMAGED, Some(file)) => format!("{file} was damaged ({})", said.detail),
        (LOG_LOST, _) => {
            let times = said.times.map(|n| format!(" ({n} times)")).unwrap_or_default();
            format!("{}: what was accepted last before an unclean stop may be lost{times}", said.detail)
        }
        _ => return statement.to_owned(),
    };
    let all = |counts: &Option<Counts>| match counts {
        Some(counts) => counts.values().fold(0, |sum: u64, n| sum.saturating_add(*n)).to_string(),
        None => "an unknown number".to_owned(),
    };
    if kind == DAMAGED {
        let held = match (&said.queued, &said.queued_at_least) {
            (None, Some(_)) => format!("at least {}", all(&said.queued_at_least)),
            _ => all(&said.queued),
        };
        let salvaged = all(&said.salvaged);
        let _ = match (&said.salvage, said.is_open()) {
            (_, true) => write!(words, ": {held} waited in it; its salvage is under way"),
            (Some(how), _) if how != "done" => {
                write!(
                    words,
                    ": {held} waited in it, {salvaged} are salvaged, {} lost; {how}",
                    all(&said.lost)
                )
            }
            _ => write!(words, ": {held} waited in it, {salvaged} are salvaged, {} lost", all(&said.lost)),
        };
    } else {
        words.push_str("; how much is unknown");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_said_to_be_unknown_and_never_none() {
        let done = r#"{"file":"queue.db.damaged-1","detail":"zeros","queued":null,"salvage":"done",
                       "salvaged":{"golioth/t":3},"lost":null}"#;
        let said = Statement::parse(done).unwrap();
        assert_eq!(
            (said.held_for("golioth"), said.salvaged_for("golioth"), said.lost_for("golioth")),
            (None, 3, None)
        );
        assert_eq!(
            in_words(&format!("{DAMAGED}: {done}")),
            "queue.db.damaged-1 was damaged (zeros): an unknown number waited in it, 3 are salvaged, an unknown number lost"
        );
        let log = r#"{"detail":"its log is missing","queued":null}"#;
        assert!(in_words(&format!("{LOG_LOST}: {log}")).ends_with("how much is unknown"));
    }

    #[test]
    fn each_destination_is_told_its_own_and_nothing_is_lost_before_the_salvage_is_done() {
        let counts = r#""queued":{"golioth/a":5,"golioth/b":1,"plant/a":7},"salvaged":{"golioth/a":4},"lost":{"golioth/a":1}"#;
        let said = |how: &str| {
            Statement::parse(&format!(
                r#"{{"file":"f","detail":"d","epoch":"0a","salvage":"{how}",{counts}}}"#
            ))
            .unwrap()
        };
        let done = said("done");
        assert_eq!((done.held_for("golioth"), done.held_for("plant")), (Some(6), Some(7)));
        assert_eq!((done.lost_for("golioth"), done.lost_for("plant")), (Some(1), Some(0)));
        assert_eq!((done.epoch(), done.is_open()), (Some(Epoch(10)), false));
        let open = said(UNDER_WAY);
        assert_eq!((open.lost_for("golioth"), open.is_open()), (None, true));
    }
}
