//! Whether systemd is to be told that the daemon is well: the decision alone, without clock, file or socket.
//!
//! Withholding the watchdog ends the process, and systemd starts another. That is right for what a new process may mend and
//! nothing inside this one can: a supervisor that stands still, a writer that is stuck, and, within a budget, a lane whose
//! restart did not help. A runtime that stands still withholds it by itself, for then nobody asks here. It is wrong for a
//! slow disk, which is a state with a name ([`WriterPhase::SlowFsync`]), and for what only a person can mend.
//!
//! Invariant: for one lane the process is given up at most [`RESTARTS_A_DAY`] times within any 24 hours, whatever happens to
//! the process meanwhile: a restart is on disk before the watchdog is withheld, and without a place on disk it is not. The
//! rest of the time such a lane is *excused*: red on the page, and looked at again every hour.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::board::{WriterPhase, in_words};

/// A writer inside one call for this long is slow.
pub const SLOW: Duration = Duration::from_secs(5);
/// A writer inside one call for this long is not slow any more.
pub const STUCK: Duration = Duration::from_secs(600);
/// A slow write is on the page for this long, so that somebody sees it.
pub const SLOW_IS_SHOWN: Duration = Duration::from_secs(60);
/// A supervisor that has not turned for this long stands still. It turns every few seconds.
pub const STILL: Duration = Duration::from_secs(60);
/// What counts against the budget of restarts.
pub const DAY: Duration = Duration::from_secs(86_400);
/// Restarts of the process for one lane within a [`DAY`].
pub const RESTARTS_A_DAY: usize = 2;
/// An excused lane is judged again after this.
pub const EXCUSED_FOR: Duration = Duration::from_secs(3600);

/// What there is to judge by.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// When the supervisor last turned.
    pub supervisor_turned: Duration,
    /// Lanes whose restart did not help.
    pub helpless: BTreeSet<String>,
    /// The writers.
    pub writers: Vec<WriterSight>,
}

/// A writer, as seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct WriterSight {
    /// Whose.
    pub name: &'static str,
    /// Since when it is inside one call.
    pub busy_since: Option<Duration>,
    /// Its thread ended by itself.
    pub gone: bool,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Tell systemd that all is well.
    Feed,
    /// Put a restart for these lanes on disk, then say how that went with [`Watchdog::remembered`].
    Remember(BTreeSet<String>),
    /// Say nothing to systemd.
    Withhold(Why),
    /// There is nothing to wait for: end the process.
    End(Why),
}

/// Why the watchdog is not fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The supervisor, or the keeper of a lane, stands still.
    Supervisor,
    /// A writer is inside one call for longer than [`STUCK`].
    Writer(&'static str),
    /// A writer's thread is no more.
    WriterGone(&'static str),
    /// A lane hangs, and a restart of the lane did not help.
    Lane(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervisor => f.write_str("the supervisor of the lanes stands still"),
            Self::Writer(name) => write!(f, "the writer of {name} is stuck in one call"),
            Self::WriterGone(name) => write!(f, "the writer of {name} has ended by itself"),
            Self::Lane(name) => write!(f, "the lane {name} hangs, and restarting it did not help"),
        }
    }
}

/// The state machine. Times are durations since one origin, the machine's boot.
#[derive(Debug)]
pub struct Watchdog {
    /// Somebody ends the process when the watchdog is withheld.
    watched: bool,
    /// By lane, until when each restart counts.
    restarts: BTreeMap<String, Vec<Duration>>,
    standing: BTreeMap<String, Standing>,
    /// By writer, how long its last slow call had taken when it was last seen at it, and when that was.
    slow: BTreeMap<&'static str, (Duration, Duration)>,
}

#[derive(Debug, Clone, Copy)]
enum Standing {
    /// Its restart is on disk and the end of the process is awaited.
    Withheld,
    /// It is let be until then.
    Excused(Duration),
}

impl Watchdog {
    /// `watched` tells whether withholding ends the process at all; where it does not, a helpless lane is excused at once.
    /// `past` are restarts of earlier processes: the lane, and for how long already it has been one at least.
    #[must_use]
    pub fn new(now: Duration, watched: bool, past: impl IntoIterator<Item = (String, Duration)>) -> Self {
        let mut restarts: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for (lane, ago) in past {
            restarts.entry(lane).or_default().push(now + DAY.saturating_sub(ago));
        }
        Self { watched, restarts, standing: BTreeMap::new(), slow: BTreeMap::new() }
    }

    /// Judges what is seen.
    #[must_use]
    pub fn handle(&mut self, now: Duration, sight: &Sight) -> Decision {
        self.standing.retain(|lane, _| sight.helpless.contains(lane));
        for writer in &sight.writers {
            if let Some(busy) = busy(now, writer).filter(|busy| *busy >= SLOW) {
                self.slow.insert(writer.name, (busy, now));
            }
        }
        if let Some(gone) = sight.writers.iter().find(|w| w.gone) {
            return Decision::End(Why::WriterGone(gone.name));
        }
        if now.saturating_sub(sight.supervisor_turned) > STILL {
            return Decision::Withhold(Why::Supervisor);
        }
        if let Some(stuck) = sight.writers.iter().find(|w| busy(now, w).is_some_and(|busy| busy >= STUCK)) {
            return Decision::Withhold(Why::Writer(stuck.name));
        }
        self.judge_lanes(now, &sight.helpless)
    }

    /// What [`Decision::Remember`] came to.
    pub fn remembered(&mut self, now: Duration, lanes: &BTreeSet<String>, on_disk: bool) {
        for lane in lanes {
            // What cannot be counted must not be repeated: the lane is let be for a while instead.
            let standing = if on_disk {
                self.restarts.entry(lane.clone()).or_default().push(now + DAY);
                Standing::Withheld
            } else {
                Standing::Excused(now + EXCUSED_FOR)
            };
            self.standing.insert(lane.clone(), standing);
        }
    }

    /// The lanes that are excused.
    #[must_use]
    pub fn excused(&self) -> BTreeSet<String> {
        let excused = self.standing.iter().filter(|(_, s)| matches!(s, Standing::Excused(_)));
        excused.map(|(lane, _)| lane.clone()).collect()
    }

    /// How a writer does, and in words.
    #[must_use]
    pub fn writer(&self, now: Duration, writer: &WriterSight) -> (WriterPhase, String) {
        let busy = busy(now, writer);
        match (busy, self.slow.get(writer.name)) {
            _ if writer.gone => (WriterPhase::Stuck, "its thread has ended; the daemon ends too".into()),
            (Some(busy), _) if busy >= STUCK => {
                (WriterPhase::Stuck, format!("in one write for {}; the daemon is restarted", in_words(busy)))
            }
            (Some(busy), _) if busy >= SLOW => {
                (WriterPhase::SlowFsync, format!("one write has taken {} so far", in_words(busy)))
            }
            (_, Some((took, at))) if now.saturating_sub(*at) < SLOW_IS_SHOWN => {
                (WriterPhase::SlowFsync, format!("a write took {} or more, a moment ago", in_words(*took)))
            }
            _ => (WriterPhase::Working, "writes take less than 5 s".into()),
        }
    }

    fn judge_lanes(&mut self, now: Duration, helpless: &BTreeSet<String>) -> Decision {
        let mut new = BTreeSet::new();
        let mut withheld = None;
        for lane in helpless {
            match self.standing.get(lane).copied() {
                Some(Standing::Withheld) => withheld = withheld.or(Some(lane)),
                Some(Standing::Excused(until)) if now < until => {}
                _ if !self.watched || self.is_spent(now, lane) => {
                    self.standing.insert(lane.clone(), Standing::Excused(now + EXCUSED_FOR));
                }
                _ => {
                    new.insert(lane.clone());
                }
            }
        }
        match withheld {
            // One restart serves every lane that waits for one.
            Some(lane) => Decision::Withhold(Why::Lane(lane.clone())),
            None if new.is_empty() => Decision::Feed,
            None => Decision::Remember(new),
        }
    }

    fn is_spent(&mut self, now: Duration, lane: &str) -> bool {
        let Some(restarts) = self.restarts.get_mut(lane) else { return false };
        restarts.retain(|counts_until| now < *counts_until);
        restarts.len() >= RESTARTS_A_DAY
    }
}

fn busy(now: Duration, writer: &WriterSight) -> Option<Duration> {
    writer.busy_since.map(|since| now.saturating_sub(since))
}

#[cfg(test)]
mod tests;
