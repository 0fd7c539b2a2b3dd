//! Getting back in step after an answer did not come.
//!
//! The modem works through its input in order, so the answer to a new `AT` comes after every answer still owed. The last
//! final result before a quiet moment is therefore the `AT`'s; everything before it is dropped. If that result is not
//! `OK`, rubbish was in the modem's input, and `AT` is sent again.

use core::time::Duration;

use crate::command::Terminator;

/// How long each `AT` may stay unanswered. Their number bounds the attempts.
const WAITS: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(10),
];
/// How long the line must be quiet after a final result: much longer than the modem needs between two answers.
const SETTLE: Duration = Duration::from_millis(500);
/// A line that never falls quiet is not waited for longer than this.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Resync {
    attempt: usize,
    /// When this attempt's wait, or the settling, ends.
    until: Duration,
    /// The last final result seen, once there was one: was it `OK`?
    settling: Option<bool>,
    give_up: Duration,
}

/// What the session shall do.
pub(super) enum Step {
    Wait,
    /// Send the `AT` of this attempt.
    Send(usize),
    Synchronised,
    GiveUp,
}

impl Resync {
    pub(super) fn start(now: Duration) -> (Self, Step) {
        let mut resync = Self { attempt: 0, until: now, settling: None, give_up: now.saturating_add(LIMIT) };
        let step = resync.send(now, 0);
        (resync, step)
    }

    pub(super) fn deadline(&self) -> Duration {
        self.until.min(self.give_up)
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) -> Step {
        if now >= self.give_up {
            return Step::GiveUp;
        }
        if now < self.until {
            return Step::Wait;
        }
        match self.settling {
            Some(true) => Step::Synchronised,
            Some(false) | None => self.send(now, self.attempt + 1),
        }
    }

    pub(super) fn handle_final(&mut self, now: Duration, ok: bool) {
        self.settling = Some(ok);
        self.until = now.saturating_add(SETTLE);
    }

    /// A line of an old answer: its final result is still to come.
    pub(super) fn handle_stray(&mut self, now: Duration) {
        if self.settling.is_some() {
            self.until = now.saturating_add(SETTLE);
        }
    }

    /// The modem just started: nothing old will come, and what was sent before is lost.
    pub(super) fn handle_banner(&mut self, now: Duration) -> Step {
        self.send(now, self.attempt + 1)
    }

    fn send(&mut self, now: Duration, attempt: usize) -> Step {
        let Some(wait) = WAITS.get(attempt) else { return Step::GiveUp };
        self.attempt = attempt;
        self.settling = None;
        self.until = now.saturating_add(*wait);
        Step::Send(attempt)
    }
}

/// The `AT` of an attempt. Later ones first end whatever half a command may stand in the modem's input. A quote that was
/// left open there is not closed: where none is open, a quote would open one and swallow what follows.
pub(super) fn attention(terminator: Terminator, attempt: usize) -> Vec<u8> {
    let before: &[u8] = if attempt == 0 { b"" } else { terminator.bytes() };
    [before, b"AT", terminator.bytes()].concat()
}
