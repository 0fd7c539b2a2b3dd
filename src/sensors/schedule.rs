//! Which slave of a bus is asked when.
//!
//! Pure: a state machine told the time. Each slave has instants at a fixed distance, its period, counted from the
//! first; a poll that comes late moves none of them. [`Schedule::next`] gives every instant out exactly once, in
//! order, as a poll or as a gap. An instant whose successor is due too has passed: it is a gap, so polls never
//! bunch.
//!
//! A slave that stays silent [`FAILURES`] times in a row is left alone: its instants are gaps, except one now and
//! then that is a probe. Slaves that answer go before slaves that failed, a failed slave is given little time
//! ([`Slot::patience`]), and so a silent slave costs the others at most one timeout a probe.

use std::time::Duration;

use crate::reading::GapReason;

/// After this many silent polls in a row a slave is left alone.
const FAILURES: u32 = 3;
/// The longest time between two probes.
const PROBE_CAP: Duration = Duration::from_secs(60);
/// The shortest, before jitter.
const PROBE_FLOOR: Duration = Duration::from_secs(1);
/// However short the configured timeout, a slave that failed is given this much of it.
const BRIEF_FLOOR: Duration = Duration::from_millis(50);
/// A probe as patient as a poll comes at most once in so many timeouts, whichever slave it is for: a quarter of a
/// percent of the bus's time.
const PATIENT_PROBE_TIMEOUTS: u32 = 400;
/// The longest time between two of those.
const PATIENT_PROBE_CAP: Duration = Duration::from_secs(600);
/// A failed slave that has waited this long for others goes with them: on an overloaded bus it would never be asked.
const STARVED: Duration = Duration::from_secs(10);
/// More instants than this that passed at once are not told one by one: the machine slept, and nothing was due.
const MOST_PASSED: u32 = 1_000;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask; then tell [`Schedule::answered`] or [`Schedule::failed`], or nothing if the port went away meanwhile.
    Poll(Poll),
    /// The instant brings no value.
    Gap {
        /// Position of the slave.
        slave: usize,
        /// The instant.
        due: Duration,
        /// Why.
        reason: GapReason,
    },
    /// Nothing before then; never, without slaves.
    Wait(Option<Duration>),
}

/// One instant of one slave, to be asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Poll {
    /// Position of the slave.
    pub(super) slave: usize,
    /// The instant.
    pub(super) due: Duration,
    /// How long the slave may take to begin its first answer.
    pub(super) patience: Duration,
}

/// A slave's rhythm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rhythm {
    /// Between its instants; not zero.
    pub(super) period: Duration,
    /// How long its polls keep the bus, about.
    pub(super) cost: Duration,
}

/// How a slave stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It answered, or was not yet asked.
    Well,
    /// It failed, and is asked at its next instant.
    Failing,
    /// It is left alone until then.
    LeftAlone(Duration),
}

/// See the module head.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    slots: Vec<Slot>,
    timeout: Duration,
    port_open: bool,
    /// When a probe may again be as patient as a poll.
    patient_at: Duration,
}

impl Schedule {
    /// Slaves in the order of the bus. Their first instants are spread from `now` on, so that they do not queue up.
    pub(super) fn new(now: Duration, timeout: Duration, rhythms: &[Rhythm]) -> Self {
        let among = u32::try_from(rhythms.len()).unwrap_or(u32::MAX).max(1);
        let mut first = now;
        let mut slots = Vec::with_capacity(rhythms.len());
        for rhythm in rhythms {
            slots.push(Slot {
                period: rhythm.period.max(Duration::from_millis(1)),
                next: first,
                failures: 0,
                not_before: now,
                probe_at: now,
                slowest: Duration::ZERO,
                passed_over: None,
            });
            // Up to a second is shared out; on slow lines as long as the polls take, with room to spare.
            let share = rhythm.period.min(Duration::from_secs(1)) / among;
            first += share.max(rhythm.cost * 3 / 2).min(rhythm.period / among);
        }
        let mut schedule = Self { slots, timeout, port_open: false, patient_at: now };
        schedule.be_brief_from(now);
        schedule
    }

    /// What to do at `now`. Gaps first: they cost no time.
    pub(super) fn next(&mut self, now: Duration) -> Action {
        let mut wait = None;
        let mut best: Option<(bool, Duration, usize)> = None;
        for (slave, slot) in self.slots.iter_mut().enumerate() {
            match slot.stand(now, self.port_open) {
                Stand::Gap(reason) => {
                    let due = slot.take();
                    return Action::Gap { slave, due, reason };
                }
                Stand::Later(at) => wait = Some(wait.map_or(at, |sooner: Duration| sooner.min(at))),
                Stand::Due => {
                    let rank = (slot.yields(now), slot.next, slave);
                    if best.is_none_or(|best| rank < best) {
                        best = Some(rank);
                    }
                }
            }
        }
        match best.and_then(|(_, _, slave)| Some((slave, self.slots.get_mut(slave)?))) {
            Some((slave, slot)) => {
                let patient = slot.failures >= FAILURES && now >= self.patient_at;
                let patience = if patient { self.timeout } else { slot.patience(self.timeout) };
                slot.passed_over = None;
                let poll = Poll { slave, due: slot.take(), patience };
                if patient {
                    self.be_brief_from(now);
                }
                Action::Poll(poll)
            }
            None => Action::Wait(wait),
        }
    }

    fn be_brief_from(&mut self, now: Duration) {
        self.patient_at = now + (self.timeout * PATIENT_PROBE_TIMEOUTS).min(PATIENT_PROBE_CAP);
    }

    /// The slave answered, an exception included; its slowest answer of the poll began after `latency`.
    pub(super) fn answered(&mut self, slave: usize, latency: Duration) {
        if let Some(slot) = self.slots.get_mut(slave) {
            slot.failures = 0;
            slot.slowest = slot.slowest.max(latency);
        }
    }

    /// The slave gave no usable answer. `random` spreads the probes.
    pub(super) fn failed(&mut self, now: Duration, slave: usize, random: u64) {
        let timeout = self.timeout;
        let Some(slot) = self.slots.get_mut(slave) else { return };
        slot.failures = slot.failures.saturating_add(1);
        slot.rest(now, timeout);
        if slot.failures >= FAILURES {
            let doublings = (slot.failures - FAILURES).min(6);
            let interval = (PROBE_FLOOR.max(timeout * 4) * (1 << doublings)).min(PROBE_CAP);
            // Between half of it and all of it.
            slot.probe_at = now + interval / 2 + interval / 2 * ((random % 1024) as u32) / 1024;
        }
    }

    /// The slave answered some requests of a poll, but timed out in one: a late answer may still come, and nothing
    /// that it could be mistaken for is asked before it had its time twice.
    pub(super) fn timed_out(&mut self, now: Duration, slave: usize) {
        let timeout = self.timeout;
        if let Some(slot) = self.slots.get_mut(slave) {
            slot.rest(now, timeout);
        }
    }

    /// The port is there: silent slaves get a chance at once.
    pub(super) fn port_opened(&mut self, now: Duration) {
        self.port_open = true;
        self.slots.iter_mut().for_each(|slot| slot.probe_at = now);
    }

    /// The port is gone: every instant is a gap until it is back.
    pub(super) fn port_closed(&mut self) {
        self.port_open = false;
    }

    /// How a slave stands.
    pub(super) fn standing(&self, slave: usize) -> Standing {
        match self.slots.get(slave) {
            Some(slot) if slot.failures >= FAILURES => Standing::LeftAlone(slot.probe_at),
            Some(slot) if slot.failures > 0 => Standing::Failing,
            _ => Standing::Well,
        }
    }
}

#[derive(Clone, Debug)]
struct Slot {
    period: Duration,
    /// The first instant not yet given out.
    next: Duration,
    /// Polls without an answer, in a row.
    failures: u32,
    /// Not asked before then.
    not_before: Duration,
    /// Left alone until then, once there were [`FAILURES`].
    probe_at: Duration,
    /// The slowest it was ever seen to begin an answer.
    slowest: Duration,
    /// Since when it could have been asked, while others went first.
    passed_over: Option<Duration>,
}

enum Stand {
    Gap(GapReason),
    Due,
    Later(Duration),
}

impl Slot {
    fn stand(&mut self, now: Duration, port_open: bool) -> Stand {
        self.skip_sleep(now);
        let left_alone = self.failures >= FAILURES;
        if now < self.next {
            Stand::Later(self.next)
        } else if !port_open {
            Stand::Gap(GapReason::PortDown)
        } else if left_alone && (now < self.probe_at || now >= self.next + self.period) {
            Stand::Gap(GapReason::BackedOff)
        } else if now >= self.next + self.period {
            // Not asked in time: its own failure kept it waiting, or the bus was busy with others.
            Stand::Gap(GapReason::Overrun)
        } else if now < self.not_before {
            Stand::Later(self.not_before.min(self.next + self.period))
        } else {
            Stand::Due
        }
    }

    fn take(&mut self) -> Duration {
        let due = self.next;
        self.next += self.period;
        due
    }

    fn rest(&mut self, now: Duration, timeout: Duration) {
        self.not_before = now + timeout;
    }

    /// Whether slaves that answer go before it.
    fn yields(&mut self, now: Duration) -> bool {
        let since = *self.passed_over.get_or_insert(now);
        self.failures > 0 && now.saturating_sub(since) < STARVED
    }

    /// All of the timeout for a slave that answers. One that failed is given what it was ever seen to need, twice,
    /// or an eighth: silence is then cheap for the others.
    fn patience(&self, timeout: Duration) -> Duration {
        if self.failures == 0 {
            return timeout;
        }
        (timeout / 8).max(self.slowest * 2).max(BRIEF_FLOOR).min(timeout)
    }

    fn skip_sleep(&mut self, now: Duration) {
        let most = self.period.saturating_mul(MOST_PASSED);
        if let Some(too_late) = now.checked_sub(self.next).and_then(|late| late.checked_sub(most)) {
            let periods = too_late.as_nanos() / self.period.as_nanos().max(1);
            let periods = u32::try_from(periods).unwrap_or(u32::MAX);
            self.next = self.next.saturating_add(self.period.saturating_mul(periods));
        }
    }
}

#[cfg(test)]
mod tests;
