//! What a kill may take before it is accepted: the values that the devices said shortly before. Pure.
//!
//! A value waits for the commit window and for the commit; one that was said earlier must be on disk. The one exception is an
//! answer that the daemon did not understand (it came into a line that was just opened, say): the poll then waits
//! until its timeout, nothing else is asked meanwhile, and only then there is a record. And what the machine held up
//! ([`stalls`]) the daemon could not hurry. [`Risk`] follows the devices'
//! counters while a life lasts, so that for each kill and each stream it is known which values these are.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::stalls;
use crate::gateway::reckon::AtRisk;

/// Between two looks at the counters.
const LOOK: Duration = Duration::from_millis(50);

/// How many values each stream's device has said.
pub(super) type Said = BTreeMap<String, u64>;

/// See the module head.
#[derive(Debug)]
pub(super) struct Risk {
    accepted_within: Duration,
    timeout: Duration,
    /// Oldest first; the first is from before the time that still matters.
    looks: VecDeque<(Duration, Said)>,
    /// What had been said, and could be on disk, at the last kill, until the next life begins.
    open: Option<Said>,
    at_risk: AtRisk,
}

impl Risk {
    /// A value is accepted at the latest so long after it was said, and an answer waited for until `timeout`.
    pub(super) fn new(accepted_within: Duration, timeout: Duration) -> Self {
        Self { accepted_within, timeout, looks: VecDeque::new(), open: None, at_risk: AtRisk::new() }
    }

    /// Looks at the counters, if it is time to.
    pub(super) fn look(&mut self, now: Duration, said: impl FnOnce() -> Said) {
        if self.looks.back().is_some_and(|(at, _)| now.saturating_sub(*at) < LOOK) {
            return;
        }
        self.looks.push_back((now, said()));
        let matters = now.saturating_sub(self.accepted_within + stalls::LONGEST + self.timeout);
        while self.looks.get(1).is_some_and(|(at, _)| *at <= matters) {
            self.looks.pop_front();
        }
    }

    /// The daemon is killed now, on a machine that held things up for so long lately.
    pub(super) fn dies(&mut self, now: Duration, stalled: Duration) {
        let said_by = |at: Duration| {
            let look = self.looks.iter().rev().find(|(look, _)| *look <= at);
            look.map(|(_, said)| said.clone()).unwrap_or_default()
        };
        let due = now.saturating_sub(self.accepted_within + stalled);
        let (mut on_disk, told) = (said_by(due), said_by(due.saturating_sub(self.timeout)));
        for (stream, newest) in &mut on_disk {
            // The last answer before may have been one that is still waited for.
            *newest -= u64::from(*newest > told.get(stream).copied().unwrap_or(0));
        }
        self.open = Some(on_disk);
    }

    /// The next life begins, and until now the devices have said this.
    pub(super) fn begins(&mut self, said: &Said) {
        let Some(open) = self.open.take() else { return };
        for (stream, newest) in said {
            let first = open.get(stream).copied().unwrap_or(0) + 1;
            self.at_risk.entry(stream.clone()).or_default().push(first..*newest + 1);
        }
    }

    /// All that any kill may have taken.
    pub(super) fn at_risk(&self) -> &AtRisk {
        &self.at_risk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn said(values: u64) -> Said {
        [("tank.level".to_owned(), values)].into()
    }

    /// One value each 100 ms.
    fn life(risk: &mut Risk, from: u64, to: u64) {
        for at in (from..=to).step_by(10) {
            risk.look(MS(at), || said(at / 100));
        }
        risk.dies(MS(to), Duration::ZERO);
        risk.begins(&said(to / 100));
    }

    #[test]
    fn only_what_was_said_shortly_before_a_kill_is_at_risk() {
        let mut risk = Risk::new(MS(1000), MS(2000));
        life(&mut risk, 0, 5000);
        life(&mut risk, 5000, 5400);
        // Of the life before the last second, the one answer that may not have been understood.
        assert_eq!(risk.at_risk()["tank.level"], [40..51, 44..55]);
    }

    #[test]
    fn what_the_machine_held_up_is_at_risk_too() {
        let mut risk = Risk::new(MS(1000), MS(2000));
        (0..=5000).step_by(50).for_each(|at| risk.look(MS(at), || said(at / 100)));
        risk.dies(MS(5000), MS(1500));
        risk.begins(&said(50));
        assert_eq!(risk.at_risk()["tank.level"].first(), Some(&(25..51)));
    }

    #[test]
    fn an_answer_is_not_waited_for_longer_than_the_timeout() {
        let killed_after = |silence: u64| {
            let mut risk = Risk::new(MS(1000), MS(2000));
            // The seventh, and last, after half a second.
            (0..silence).step_by(10).for_each(|at| risk.look(MS(at), || said(6 + u64::from(at >= 500))));
            risk.dies(MS(silence), Duration::ZERO);
            risk.begins(&said(7));
            risk.at_risk()["tank.level"].last().cloned()
        };
        assert_eq!((killed_after(3400), killed_after(3600)), (Some(7..8), Some(8..8)));
    }

    #[test]
    fn of_a_life_shorter_than_that_everything_is_at_risk() {
        let mut risk = Risk::new(MS(1000), MS(2000));
        life(&mut risk, 0, 300);
        assert_eq!(risk.at_risk()["tank.level"].first(), Some(&(1..4)));
    }

    #[test]
    fn no_more_looks_are_kept_than_matter() {
        let mut risk = Risk::new(MS(1000), MS(2000));
        (0..100_000).for_each(|at| risk.look(MS(at), || said(0)));
        assert!(risk.looks.len() <= 262, "{}", risk.looks.len());
    }
}
