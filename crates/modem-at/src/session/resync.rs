//! Getting back in step after an answer did not come.
//!
//! The modem works through its input in order, so the answer to a new `AT` comes after every answer still owed. The last
//! final result before a quiet moment is therefore the `AT`'s; everything before it is dropped. If that result is not
//! `OK`, rubbish was in the modem's input, and `AT` is sent again. A line that may have been left in data mode swallows every
//! `AT`: after some it is escaped from first, or at once where a payload was under way.

use core::time::Duration;

use crate::command::Terminator;
use crate::payload::{ESCAPE, ESCAPE_PAUSE};

/// How long each `AT` may stay unanswered. Their number bounds the attempts.
const WAITS: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(10),
];
/// The attempt before which data mode is ended, if it is that.
const ESCAPED: usize = 3;
/// How long the line must be quiet after a final result: much longer than the modem needs between two answers.
const SETTLE: Duration = Duration::from_millis(500);
/// A line that never falls quiet is not waited for longer than this.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Resync {
    attempt: usize,
    /// So many `+` end the data mode the line was in, before the first attempt; 0 where it was in none.
    pluses: usize,
    /// The escape of this attempt was sent, its `AT` was not.
    escaping: bool,
    /// When this attempt's wait, or the settling, ends.
    until: Duration,
    /// The last final result seen, once there was one: was it `OK`?
    settling: Option<bool>,
    give_up: Duration,
}

/// What the session shall do.
pub(super) enum Step {
    Wait,
    /// End data mode with so many `+`.
    Escape(usize),
    /// Send `AT`, behind a line end where half a command may stand before it.
    Send {
        /// With the line end.
        flushed: bool,
    },
    Synchronised,
    GiveUp,
}

impl Resync {
    pub(super) fn start(now: Duration, pluses: usize) -> (Self, Step) {
        let give_up = now.saturating_add(LIMIT);
        let mut resync = Self { attempt: 0, pluses, escaping: false, until: now, settling: None, give_up };
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
            _ if self.escaping => self.send(now, self.attempt),
            Some(true) => Step::Synchronised,
            Some(false) | None => self.send(now, self.attempt + 1),
        }
    }

    pub(super) fn handle_final(&mut self, now: Duration, ok: bool) {
        if self.escaping {
            return;
        }
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
        let escaped = attempt == ESCAPED || (self.pluses > 0 && attempt == 0);
        if escaped && !self.escaping {
            self.escaping = true;
            self.until = now.saturating_add(ESCAPE_PAUSE);
            return Step::Escape(self.pluses.max(ESCAPE.len()));
        }
        self.escaping = false;
        self.until = now.saturating_add(*wait);
        Step::Send { flushed: attempt > 0 || escaped }
    }
}

/// An `AT`. Flushed, it first ends whatever half a command may stand in the modem's input. A quote that was left open there is not
/// closed: where none is open, a quote would open one and swallow what follows.
pub(super) fn attention(terminator: Terminator, flushed: bool) -> Vec<u8> {
    let before: &[u8] = if flushed { terminator.bytes() } else { b"" };
    [before, b"AT", terminator.bytes()].concat()
}
