//! When to look at the cloud's lists, and what they mean. Pure.

use std::time::Duration;

use super::{Entry, Rules};
use crate::config::OnUnrouted;

/// A message is sent to see whether a path is routed by now: first after this, then less often.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// At least this often, while the readings are held or the list cannot be read, unless all is well is asked more often.
const LAST_RETRY: Duration = Duration::from_secs(3600);

/// What a look meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The list does not name the path, or only as it did before.
    Routed,
    /// It cannot be read.
    Unverified(String),
    /// It cannot be read, and the path was not routed when it last could.
    StillHeld,
    /// It names the path anew.
    Unrouted {
        /// Of the message.
        content_type: String,
        /// Readings acknowledged since a look last said otherwise.
        lost: u64,
    },
}

/// Whether acknowledgements are believed.
#[derive(Debug)]
pub(super) struct Gate {
    rules: Rules,
    /// Of the message that no pipeline took; none where that is not so.
    unrouted: Option<String>,
    /// Whether the list was read, or could not be; before that nothing is believed.
    looked: bool,
    due: Duration,
    retries: u32,
    /// The newest entry of the path that was seen.
    newest: Option<i128>,
    /// When the list was last read and did not name the path anew.
    clean: Option<Duration>,
    /// Readings whose acknowledgement was passed on and that no look has vouched for since.
    passed: u64,
}

impl Gate {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            unrouted: None,
            looked: false,
            due: Duration::ZERO,
            retries: 0,
            newest: None,
            clean: None,
            passed: 0,
        }
    }

    /// Whether an acknowledgement of so many readings counts without a look.
    pub(super) fn believes(&mut self, now: Duration, readings: usize) -> bool {
        let believes = self.looked && !self.holds() && !self.is_due(now);
        if believes {
            self.passed = self.passed.saturating_add(readings as u64);
        }
        believes
    }

    /// An acknowledgement of `acknowledged` that waited for a look is passed on.
    pub(super) fn releases(&mut self, acknowledged: Duration, readings: usize) {
        if self.clean.is_none_or(|clean| acknowledged > clean) {
            self.passed = self.passed.saturating_add(readings as u64);
        }
    }

    /// Whether the lists are to be read after the next acknowledgement.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.due
    }

    /// Whether readings are kept.
    pub(super) fn holds(&self) -> bool {
        self.unrouted.is_some() && self.rules.on_unrouted == OnUnrouted::Hold
    }

    /// Of the message that no pipeline took.
    pub(super) fn content_type(&self) -> &str {
        self.unrouted.as_deref().unwrap_or_default()
    }

    /// Takes what the list says that was asked for at `now`: its newest entry of the path, none, or why it cannot be read.
    pub(super) fn looked(&mut self, now: Duration, found: Result<Option<Entry>, String>) -> Verdict {
        self.looked = true;
        let entry = match found {
            Err(why) => {
                self.retry(now);
                return if self.holds() { Verdict::StillHeld } else { Verdict::Unverified(why) };
            }
            Ok(entry) => entry,
        };
        let lost = std::mem::take(&mut self.passed);
        match entry {
            Some(entry) if self.newest.is_none_or(|known| entry.unix_ns > known) => {
                self.newest = Some(entry.unix_ns);
                self.clean = None;
                if self.unrouted.replace(entry.detail.clone()).is_none() {
                    self.retries = 0;
                }
                self.retry(now);
                Verdict::Unrouted { content_type: entry.detail, lost }
            }
            _ => {
                self.unrouted = None;
                self.clean = Some(now);
                self.retries = 0;
                self.due = now + self.rules.every;
                // From now on an entry is a new one.
                self.newest = Some(self.newest.unwrap_or(i128::MIN));
                Verdict::Routed
            }
        }
    }

    fn retry(&mut self, now: Duration) {
        let wait = FIRST_RETRY.saturating_mul(1 << self.retries.min(10));
        self.retries = self.retries.saturating_add(1);
        self.due = now + wait.min(LAST_RETRY).min(self.rules.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86_400);
    const HOLD: Rules = Rules { every: DAY, on_unrouted: OnUnrouted::Hold };

    fn entry(unix_ns: i128) -> Result<Option<Entry>, String> {
        Ok(Some(Entry { unix_ns, detail: "application/cbor".to_owned() }))
    }

    fn unrouted(lost: u64) -> Verdict {
        Verdict::Unrouted { content_type: "application/cbor".to_owned(), lost }
    }

    #[test]
    fn nothing_is_believed_before_the_list_was_read_and_then_for_as_long_as_configured() {
        let mut gate = Gate::new(HOLD);
        assert!(!gate.believes(Duration::ZERO, 1) && gate.is_due(Duration::ZERO));
        assert_eq!(gate.looked(S, Ok(None)), Verdict::Routed);
        assert!(gate.believes(S, 1) && gate.believes(DAY, 1) && !gate.believes(DAY + S, 1));
    }

    #[test]
    fn an_old_entry_holds_one_message_for_a_minute_and_no_longer() {
        let mut gate = Gate::new(HOLD);
        assert_eq!(gate.looked(S, entry(5)), unrouted(0));
        assert!(gate.holds() && !gate.is_due(60 * S) && gate.is_due(61 * S));
        assert_eq!(gate.looked(61 * S, entry(5)), Verdict::Routed, "it did not become newer");
        assert!(!gate.holds());
        assert_eq!(gate.looked(DAY, entry(6)), unrouted(0));
    }

    #[test]
    fn an_entry_after_a_clean_look_costs_what_was_passed_on_since_each_reading_counted_once() {
        let mut gate = Gate::new(HOLD);
        gate.looked(10 * S, Ok(None));
        gate.releases(S, 100);
        assert!(gate.believes(20 * S, 200) && gate.believes(30 * S, 50));
        assert_eq!(gate.looked(DAY, entry(9)), unrouted(250), "the look vouched for the hundred");
        assert_eq!(gate.looked(DAY + 60 * S, entry(10)), unrouted(0));
        assert_eq!(gate.looked(DAY + 180 * S, entry(10)), Verdict::Routed);
    }

    #[test]
    fn a_clean_look_vouches_for_what_went_before_it() {
        let mut gate = Gate::new(HOLD);
        gate.looked(S, Ok(None));
        assert!(gate.believes(2 * S, 70));
        assert_eq!(gate.looked(DAY, Ok(None)), Verdict::Routed);
        assert_eq!(gate.looked(2 * DAY, entry(1)), unrouted(0));
    }

    #[test]
    fn while_held_it_is_looked_less_and_less_often_but_hourly() {
        let mut gate = Gate::new(HOLD);
        let (mut now, mut waits) = (Duration::ZERO, Vec::new());
        for n in 0..9 {
            gate.looked(now, entry(n));
            waits.push((gate.due - now).as_secs());
            now = gate.due;
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    }

    #[test]
    fn a_list_that_cannot_be_read_holds_nothing_and_releases_nothing() {
        let mut gate = Gate::new(HOLD);
        let failed = || Err("no".to_owned());
        assert_eq!(gate.looked(S, failed()), Verdict::Unverified("no".to_owned()));
        gate.releases(Duration::ZERO, 30);
        assert!(gate.believes(S, 10) && gate.is_due(61 * S), "and is tried again");
        assert_eq!(gate.looked(61 * S, entry(1)), unrouted(40), "what went meanwhile counts");
        assert_eq!(gate.looked(200 * S, failed()), Verdict::StillHeld);
        assert!(gate.holds());
    }

    #[test]
    fn who_wants_to_send_all_the_same_is_not_held_and_told_of_every_loss() {
        let mut gate = Gate::new(Rules { on_unrouted: OnUnrouted::Send, ..HOLD });
        assert_eq!(gate.looked(S, entry(1)), unrouted(0));
        gate.releases(Duration::ZERO, 8);
        assert!(!gate.holds() && gate.believes(S, 22));
        assert_eq!(gate.looked(61 * S, entry(2)), unrouted(30));
    }
}
