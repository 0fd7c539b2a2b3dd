//! One command at a time, and never an answer for the wrong one.
//!
//! The session owns the queue of commands, the outstanding one, and what the line said since. It is in step with the
//! modem (`Synchronised`), waits for an answer (`Busy`), does not know whether an old answer is still under way
//! (`Unsynchronised`), finds out (`Resync`), or has handed the line over to data (`Data`). A command with a payload stays
//! `Busy` until the application says that data mode is over.
//!
//! Invariants: a command leaves only from `Synchronised`, never into data mode; every submitted command ends in exactly one
//! [`Event::CommandDone`]; queue, answers and events are bounded.

mod event;
mod resync;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::VecDeque;
use std::fmt;

pub use event::{CommandDone, CommandId, Event, Noise, SubmitError};

use crate::application::ApplicationReport;
use crate::classify::{Banner, Kind, Outstanding, classify, name_of};
use crate::command::{Command, Terminator};
use crate::line::LineSplitter;
use crate::payload::Afterwards;
use crate::result::{CommandError, Success};
use crate::urc::Urc;
use event::Events;
use resync::Resync;

/// Commands queued and results not yet fetched, together.
const QUEUE_MAX: usize = 64;
/// Lines and bytes kept of one answer.
const ANSWER_LINES_MAX: usize = 512;
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A command session over one AT channel.
pub struct Session {
    terminator: Terminator,
    splitter: LineSplitter,
    lines: VecDeque<String>,
    state: State,
    /// Name of a command whose answer may still come: a line of that name is not trusted until back in step.
    stale: Option<String>,
    queue: VecDeque<(CommandId, Command)>,
    next_id: u64,
    transmit: VecDeque<Vec<u8>>,
    events: Events,
    noise: Noise,
}

enum State {
    Synchronised,
    Unsynchronised,
    Busy(Box<Busy>),
    Resync(Resync),
    Data,
}

struct Busy {
    id: CommandId,
    command: Command,
    deadline: Duration,
    lines: Vec<String>,
    bytes: usize,
    truncated: bool,
    first_line: bool,
    /// The command was answered; its payload is under way.
    in_payload: bool,
}

impl Session {
    /// A session that ends its commands with `terminator` (see [`crate::Probe`]). It does not know what was said on the
    /// line before, so its first command is preceded by an `AT`.
    #[must_use]
    pub fn new(terminator: Terminator) -> Self {
        Self {
            terminator,
            splitter: LineSplitter::new(),
            lines: VecDeque::new(),
            state: State::Unsynchronised,
            stale: None,
            queue: VecDeque::new(),
            next_id: 0,
            transmit: VecDeque::new(),
            events: Events::default(),
            noise: Noise::default(),
        }
    }

    /// Queues `command`. It ends in one [`Event::CommandDone`] with the id returned.
    ///
    /// # Errors
    /// The queue is full, the line was handed over to data, or the command is followed by data that were not given with it.
    pub fn submit(&mut self, now: Duration, command: Command) -> Result<CommandId, SubmitError> {
        if matches!(self.state, State::Data) {
            return Err(SubmitError::DataMode);
        }
        if matches!(command.afterwards(), Afterwards::Payload(_)) && !command.has_payload() {
            return Err(SubmitError::NeedsPayload);
        }
        if self.queue.len() + self.events.results() >= QUEUE_MAX {
            return Err(SubmitError::QueueFull);
        }
        let id = CommandId::new(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.queue.push_back((id, command));
        self.send_next(now);
        Ok(id)
    }

    /// Takes bytes from the line, in pieces of any size.
    pub fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        for piece in bytes.chunks(512) {
            if matches!(self.state, State::Data) {
                return;
            }
            self.splitter.push(piece, &mut self.lines);
            while let Some(line) = self.lines.pop_front() {
                self.handle_line(now, line);
            }
        }
        self.noise.overlong_lines = self.splitter.overlong();
        self.noise.control_bytes = self.splitter.control_bytes();
    }

    /// Acts on deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        match &mut self.state {
            State::Busy(busy) if now >= busy.deadline => {
                let after = busy.command.deadline();
                self.stale = Some(busy.command.name().to_owned());
                // Whether it was taken or not: the line may be in data mode.
                let pluses = busy.command.pluses_to_escape();
                self.finish(Err(CommandError::TimedOut { after }));
                self.start_resync(now, pluses);
            }
            State::Resync(resync) => {
                let step = resync.handle_timeout(now);
                self.follow(now, step);
            }
            _ => {}
        }
    }

    /// The next bytes to write, whole.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// When [`Session::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match &self.state {
            State::Busy(busy) => Some(busy.deadline),
            State::Resync(resync) => Some(resync.deadline()),
            State::Synchronised | State::Unsynchronised | State::Data => None,
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop(self.noise)
    }

    /// What was dropped so far.
    #[must_use]
    pub fn noise(&self) -> Noise {
        self.noise
    }

    /// No command is queued or outstanding and no resynchronisation is going on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && !matches!(self.state, State::Busy(_) | State::Resync(_))
    }

    fn handle_line(&mut self, now: Duration, line: String) {
        match &mut self.state {
            State::Busy(busy) => {
                let outstanding = Outstanding {
                    command: &busy.command,
                    first_line: busy.first_line,
                    has_info: !busy.lines.is_empty(),
                };
                let kind = classify(&line, Some(outstanding));
                busy.first_line = false;
                self.handle_busy(now, kind, line);
            }
            State::Data => {}
            State::Synchronised | State::Unsynchronised | State::Resync(_) => {
                self.handle_unasked(now, classify(&line, None), line);
            }
        }
    }

    fn handle_busy(&mut self, now: Duration, kind: Kind, line: String) {
        match kind {
            Kind::Banner(banner) => self.restarted(now, banner),
            // A final result says nothing about a payload: only the end of data mode does.
            Kind::Final(_) if self.is_in_payload() => count(&mut self.noise.unexpected_lines),
            Kind::Urc if self.is_in_payload() && self.end_payload(now, &line) => {}
            Kind::Final(Ok(_)) if self.send_payload(now) => {}
            Kind::Final(result) => self.answered(now, result),
            Kind::Info => self.keep(line),
            Kind::InfoAndUrc => {
                self.events.report(Event::Urc(Urc::parse(&line)), &mut self.noise);
                self.keep(line);
            }
            Kind::Urc | Kind::Stranger => self.events.report(Event::Urc(Urc::parse(&line)), &mut self.noise),
            Kind::Echo => count(&mut self.noise.echoes),
            Kind::Noise => count(&mut self.noise.unexpected_lines),
        }
    }

    /// The final result of a command. Some turn the line over to something that is not AT.
    fn answered(&mut self, now: Duration, result: Result<Success, CommandError>) {
        let State::Busy(busy) = &self.state else { return };
        let handed_over = result.is_ok() && busy.command.afterwards() == Afterwards::Other;
        self.finish(result);
        if handed_over {
            self.state = State::Data;
            self.fail_queue(&CommandError::DataMode);
        } else {
            self.state = State::Synchronised;
            self.send_next(now);
        }
    }

    fn is_in_payload(&self) -> bool {
        matches!(&self.state, State::Busy(busy) if busy.in_payload)
    }

    /// Sends the payload of the outstanding command, which has just been answered, if it has one.
    fn send_payload(&mut self, now: Duration) -> bool {
        let State::Busy(busy) = &mut self.state else { return false };
        let Some(payload) = busy.command.payload() else { return false };
        busy.in_payload = true;
        busy.deadline = now.saturating_add(busy.command.deadline());
        self.transmit.push_back(payload);
        true
    }

    /// Whether `line` is the end of data mode, which says whether the payload was taken.
    fn end_payload(&mut self, now: Duration, line: &str) -> bool {
        let ApplicationReport::DataModeLeft { taken } = ApplicationReport::parse(line) else { return false };
        self.answered(now, if taken { Ok(Success::Ok) } else { Err(CommandError::PayloadRefused) });
        true
    }

    fn handle_unasked(&mut self, now: Duration, kind: Kind, line: String) {
        let late = self.stale.is_some() && name_of(&line) == self.stale.as_deref();
        match kind {
            Kind::Banner(banner) => self.restarted(now, banner),
            Kind::Final(result) => {
                count(&mut self.noise.stale_lines);
                if let State::Resync(resync) = &mut self.state {
                    resync.handle_final(now, result == Ok(Success::Ok));
                }
            }
            Kind::Urc if !late => self.events.report(Event::Urc(Urc::parse(&line)), &mut self.noise),
            Kind::Stranger if self.stale.is_none() => {
                self.events.report(Event::Urc(Urc::parse(&line)), &mut self.noise);
            }
            Kind::Echo => count(&mut self.noise.echoes),
            Kind::Urc | Kind::Stranger | Kind::Info | Kind::InfoAndUrc | Kind::Noise => {
                let counter =
                    if late { &mut self.noise.stale_lines } else { &mut self.noise.unexpected_lines };
                count(counter);
                if let State::Resync(resync) = &mut self.state {
                    resync.handle_stray(now);
                }
            }
        }
    }

    /// The modem says it started. Whatever was asked before will not be answered, and the queue was made for the modem
    /// as it was.
    fn restarted(&mut self, now: Duration, banner: Banner) {
        if matches!(self.state, State::Busy(_)) {
            self.finish(Err(CommandError::Reset));
            self.state = State::Unsynchronised;
        }
        self.fail_queue(&CommandError::Reset);
        self.events.report(Event::Banner(banner), &mut self.noise);
        match &mut self.state {
            State::Resync(resync) => {
                let step = resync.handle_banner(now);
                self.follow(now, step);
            }
            state => {
                *state = State::Unsynchronised;
                self.stale = None;
                self.transmit.clear();
            }
        }
    }

    fn keep(&mut self, line: String) {
        let State::Busy(busy) = &mut self.state else { return };
        if busy.lines.len() >= ANSWER_LINES_MAX || busy.bytes + line.len() > ANSWER_BYTES_MAX {
            busy.truncated = true;
            return;
        }
        busy.bytes += line.len();
        busy.lines.push(line);
    }

    /// Reports the end of the outstanding command; the caller says which state follows.
    fn finish(&mut self, result: Result<Success, CommandError>) {
        let State::Busy(busy) = std::mem::replace(&mut self.state, State::Unsynchronised) else { return };
        let Busy { id, command, lines, truncated, .. } = *busy;
        self.events.done(CommandDone { id, result, lines, truncated, sensitive: command.is_sensitive() });
    }

    fn fail_queue(&mut self, error: &CommandError) {
        while let Some((id, command)) = self.queue.pop_front() {
            let sensitive = command.is_sensitive();
            let result = Err(error.clone());
            self.events.done(CommandDone { id, result, lines: Vec::new(), truncated: false, sensitive });
        }
    }

    fn send_next(&mut self, now: Duration) {
        if self.queue.is_empty() {
            return;
        }
        match self.state {
            State::Unsynchronised => self.start_resync(now, 0),
            State::Synchronised => {
                let Some((id, command)) = self.queue.pop_front() else { return };
                self.transmit.push_back(command.wire(self.terminator));
                let deadline = now.saturating_add(command.deadline());
                self.state = State::Busy(Box::new(Busy {
                    id,
                    command,
                    deadline,
                    lines: Vec::new(),
                    bytes: 0,
                    truncated: false,
                    first_line: true,
                    in_payload: false,
                }));
            }
            State::Busy(_) | State::Resync(_) | State::Data => {}
        }
    }

    fn start_resync(&mut self, now: Duration, pluses: usize) {
        let (resync, step) = Resync::start(now, pluses);
        self.state = State::Resync(resync);
        self.follow(now, step);
    }

    fn follow(&mut self, now: Duration, step: resync::Step) {
        match step {
            resync::Step::Wait => {}
            resync::Step::Escape(pluses) => {
                self.transmit.clear();
                self.transmit.push_back(vec![b'+'; pluses]);
            }
            resync::Step::Send { flushed } => {
                // A command whose time is over must not leave late.
                self.transmit.clear();
                self.transmit.push_back(resync::attention(self.terminator, flushed));
            }
            resync::Step::Synchronised => {
                self.state = State::Synchronised;
                self.stale = None;
                self.send_next(now);
            }
            resync::Step::GiveUp => {
                self.state = State::Unsynchronised;
                self.transmit.clear();
                self.fail_queue(&CommandError::Silent);
                self.events.report(Event::Silent, &mut self.noise);
            }
        }
    }
}

/// States and counts only: lines and bytes may hold identities and credentials.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Synchronised => "synchronised",
            State::Unsynchronised => "unsynchronised",
            State::Busy(_) => "busy",
            State::Resync(_) => "resynchronising",
            State::Data => "data",
        };
        f.debug_struct("Session")
            .field("state", &state)
            .field("queued", &self.queue.len())
            .field("noise", &self.noise)
            .finish_non_exhaustive()
    }
}

fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
