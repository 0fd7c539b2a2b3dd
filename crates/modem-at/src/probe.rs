//! Who answers: the Serial Modem application, its predecessor, or the modem alone.
//!
//! The probe says `AT`, ended by CR LF (which CR builds and CR LF builds both understand), now and then by LF alone
//! (which only LF builds understand), until something says `OK`; then it asks for the application's version in both
//! generations' words. A modem that was left in data mode or multiplexing hears no `AT`: some tries end the one or the other
//! first. An `ERROR` to both means that only the modem itself listens. Silence is an outcome, after a
//! bounded number of tries. Reports that arrive meanwhile are dropped: a probe precedes the session.

use core::time::Duration;
use std::collections::VecDeque;

use crate::classify::{Banner, Kind, classify, name_of};
use crate::command::Terminator;
use crate::fields::Fields;
use crate::line::LineSplitter;
use crate::payload::{CMUX_CLOSE, CMUX_CLOSE_PAUSE, ESCAPE, ESCAPE_PAUSE};
use crate::result::Success;

/// How often `AT` is sent, over about half a minute: a restart takes two seconds, a confused input some attempts.
const TRIES_MAX: u8 = 12;
/// Tries, counted from zero, before which data mode or multiplexing is ended, if it is that. Both are with CR LF.
const ESCAPED: [u8; 2] = [3, 9];
const DEMULTIPLEXED: u8 = 6;
const VERSION_WAIT: Duration = Duration::from_secs(3);
/// Answers to earlier attempts still under way arrive within this of each other.
const SETTLE: Duration = Duration::from_millis(300);

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Something answers.
    Found {
        /// What it is.
        application: Application,
        /// What ends a command for it.
        terminator: Terminator,
        /// It repeats what it is told (`ATE1`).
        echo: bool,
    },
    /// It announced its bootloader mode: only firmware update commands work.
    Bootloader,
    /// Something answers, but never `OK`: another program, another protocol, or a damaged line.
    Refuses {
        /// How often it was asked.
        tries: u8,
    },
    /// Nothing answers.
    Silent {
        /// How often it was asked.
        tries: u8,
    },
}

/// The application in front of the modem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Application {
    /// Serial Modem, in its own repository.
    SerialModem {
        /// What `AT#XSMVER` says.
        version: AppVersion,
    },
    /// Serial LTE Modem, part of the nRF Connect SDK up to 3.1.
    SerialLteModem {
        /// What `AT#XSLMVER` says.
        version: AppVersion,
    },
    /// Modem commands only, no `#X`.
    PlainAt,
}

/// A version answer, field by field as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppVersion {
    /// The application's version, for instance `v1.99.0-67-ga9e396bc3d58`.
    pub version: String,
    /// What it was built with: for Serial Modem the nRF Connect SDK's version.
    pub built_with: Option<String>,
    /// The customer's own version.
    pub customer: Option<String>,
}

impl AppVersion {
    /// Major, minor and patch: the only part of the version to compare.
    #[must_use]
    pub fn release(&self) -> Option<(u16, u16, u16)> {
        let text = self.version.strip_prefix(['v', 'V']).unwrap_or(&self.version);
        let mut numbers = text.split(|character: char| !character.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Some((major, minor, patch)),
            _ => None,
        }
    }

    fn parse(line: &str, name: &'static str) -> Option<Self> {
        let fields = Fields::of(line, name).ok()?;
        Some(Self { version: fields.string(0)?, built_with: fields.string(1), customer: fields.string(2) })
    }
}

/// A probe of one port.
#[derive(Debug)]
pub struct Probe {
    splitter: LineSplitter,
    lines: VecDeque<String>,
    transmit: VecDeque<Vec<u8>>,
    step: Step,
    until: Duration,
    tries: u8,
    terminator: Terminator,
    answered: bool,
    echo: bool,
    version: Option<Application>,
    outcome: Option<ProbeOutcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Waiting until the modem takes commands again; `AT` comes next.
    Pause,
    Attention,
    /// Waiting for quiet after a final result; was the last one `OK`?
    Settle {
        ok: bool,
    },
    SerialModem,
    SerialLteModem,
    Done,
}

impl Probe {
    /// Begins a probe; its first bytes wait in [`Probe::poll_transmit`].
    #[must_use]
    pub fn new(now: Duration) -> Self {
        let mut probe = Self {
            splitter: LineSplitter::new(),
            lines: VecDeque::new(),
            transmit: VecDeque::new(),
            step: Step::Attention,
            until: now,
            tries: 0,
            terminator: Terminator::CrLf,
            answered: false,
            echo: false,
            version: None,
            outcome: None,
        };
        probe.attention(now);
        probe
    }

    /// Takes bytes from the line, in pieces of any size.
    pub fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        for piece in bytes.chunks(512) {
            self.splitter.push(piece, &mut self.lines);
            while let Some(line) = self.lines.pop_front() {
                self.handle_line(now, &line);
            }
        }
    }

    /// Acts on deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.step == Step::Done || now < self.until {
            return;
        }
        match self.step {
            Step::Pause => self.say_attention(now, true),
            Step::Settle { ok: true } => self.ask_version(now, Step::SerialModem),
            // The version came, its OK was lost: the version is proof enough.
            Step::SerialModem | Step::SerialLteModem if self.version.is_some() => self.conclude(),
            Step::Attention | Step::Settle { ok: false } | Step::SerialModem | Step::SerialLteModem => {
                self.attention(now);
            }
            Step::Done => {}
        }
    }

    /// The next bytes to write, whole.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// When [`Probe::handle_timeout`] wants to be called next; `None` once there is an outcome.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        (self.step != Step::Done).then_some(self.until)
    }

    /// The outcome, once there is one.
    #[must_use]
    pub fn outcome(&self) -> Option<&ProbeOutcome> {
        self.outcome.as_ref()
    }

    fn handle_line(&mut self, now: Duration, line: &str) {
        if self.step == Step::Done {
            return;
        }
        match classify(line, None) {
            Kind::Banner(Banner::BootloaderReady) => self.end(ProbeOutcome::Bootloader),
            // What was sent before is lost; what was learnt before may be of another image.
            Kind::Banner(_) => {
                self.version = None;
                // Whoever has just started is in no other mode.
                if self.has_tries_left() {
                    self.say_attention(now, false);
                }
            }
            Kind::Echo => self.echo = true,
            Kind::Final(result) => {
                self.answered = true;
                self.handle_final(now, result == Ok(Success::Ok));
            }
            _ => self.handle_version(line),
        }
    }

    fn handle_final(&mut self, now: Duration, ok: bool) {
        match (self.step, ok) {
            (Step::Pause, _) => {}
            (Step::Attention, false) => self.attention(now),
            // Answers to earlier attempts may be under way. Whoever answers works in order, so the last final result before
            // a quiet moment belongs to the last AT and to its terminator.
            (Step::Attention, true) | (Step::Settle { .. }, _) => {
                self.step = Step::Settle { ok };
                self.until = now.saturating_add(SETTLE);
            }
            // An OK without a version is a straggler: the answer proper is still to come.
            (Step::SerialModem | Step::SerialLteModem, true) => {
                if self.version.is_some() {
                    self.conclude();
                }
            }
            (Step::SerialModem, false) => self.ask_version(now, Step::SerialLteModem),
            (Step::SerialLteModem, false) => self.conclude(),
            (Step::Done, _) => {}
        }
    }

    fn handle_version(&mut self, line: &str) {
        let found = match name_of(line) {
            Some("#XSMVER") => {
                AppVersion::parse(line, "#XSMVER").map(|version| Application::SerialModem { version })
            }
            Some("#XSLMVER") => {
                AppVersion::parse(line, "#XSLMVER").map(|version| Application::SerialLteModem { version })
            }
            _ => None,
        };
        if found.is_some() {
            self.version = found;
        }
    }

    fn attention(&mut self, now: Duration) {
        if !self.has_tries_left() {
            return;
        }
        let (bytes, pause) = match self.tries {
            tries if ESCAPED.contains(&tries) => (ESCAPE, ESCAPE_PAUSE),
            DEMULTIPLEXED => (CMUX_CLOSE, CMUX_CLOSE_PAUSE),
            _ => return self.say_attention(now, false),
        };
        self.step = Step::Pause;
        self.until = now.saturating_add(pause);
        self.transmit.clear();
        self.transmit.push_back(bytes.to_vec());
    }

    /// Concludes where there are none.
    fn has_tries_left(&mut self) -> bool {
        if self.tries < TRIES_MAX {
            return true;
        }
        let tries = self.tries;
        self.end(if self.answered {
            ProbeOutcome::Refuses { tries }
        } else {
            ProbeOutcome::Silent { tries }
        });
        false
    }

    /// With a line end before it, `AT` is not taken for the end of what stands in the modem's input.
    fn say_attention(&mut self, now: Duration, flushed: bool) {
        // Twice CR LF before LF: an ERROR to the first may be due to rubbish in the modem's input.
        self.terminator = if self.tries % 3 == 2 { Terminator::Lf } else { Terminator::CrLf };
        let wait = Duration::from_secs(u64::from(1 + self.tries / 3));
        self.tries += 1;
        self.step = Step::Attention;
        self.until = now.saturating_add(wait);
        self.send(if flushed { "\r\nAT" } else { "AT" });
    }

    fn ask_version(&mut self, now: Duration, step: Step) {
        self.step = step;
        self.until = now.saturating_add(VERSION_WAIT);
        self.send(if step == Step::SerialModem { "AT#XSMVER" } else { "AT#XSLMVER" });
    }

    fn send(&mut self, text: &str) {
        self.transmit.clear();
        let mut bytes = text.as_bytes().to_vec();
        bytes.extend_from_slice(self.terminator.bytes());
        self.transmit.push_back(bytes);
    }

    fn conclude(&mut self) {
        let application = self.version.take().unwrap_or(Application::PlainAt);
        self.end(ProbeOutcome::Found { application, terminator: self.terminator, echo: self.echo });
    }

    fn end(&mut self, outcome: ProbeOutcome) {
        self.step = Step::Done;
        self.transmit.clear();
        self.outcome = Some(outcome);
    }
}

#[cfg(test)]
mod tests;
