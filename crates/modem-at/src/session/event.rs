//! What a session reports, and the bounded queue it waits in.

use std::collections::VecDeque;
use std::fmt;

use crate::classify::Banner;
use crate::result::{CommandError, Success};
use crate::urc::Urc;

/// Reports kept while nobody fetches them; the oldest go first.
const REPORTS_MAX: usize = 256;

/// Names one submitted command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(u64);

impl CommandId {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too many commands wait or were not fetched.
    #[error("too many commands wait for this modem; fetch results before asking again")]
    QueueFull,
    /// The command would turn the line over to data that were not given with it.
    #[error(
        "this command is followed by data; give them with it, or the next command would be taken for them"
    )]
    NeedsPayload,
    /// The line carries data after `CONNECT`, or multiplexing.
    #[error("this line carries data; open another AT channel")]
    DataMode,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command ended.
    CommandDone(CommandDone),
    /// Something was reported unasked.
    Urc(Urc),
    /// The application started: subscriptions and modes must be set again. Commands queued before it have failed.
    Banner(Banner),
    /// The modem answers nothing. Queued commands have failed; the next one submitted tries again.
    Silent,
    /// Something was dropped since the last event of this kind; these are the counts so far.
    Noise(Noise),
}

/// The end of one command.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandDone {
    /// Which command.
    pub id: CommandId,
    /// How it ended.
    pub result: Result<Success, CommandError>,
    /// Its data lines, in order. They may hold identities: decode them, do not print them.
    pub lines: Vec<String>,
    /// There were more lines than are kept.
    pub truncated: bool,
    pub(super) sensitive: bool,
}

impl fmt::Debug for CommandDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CommandDone");
        out.field("id", &self.id).field("result", &self.result);
        if self.sensitive {
            out.field("lines", &format_args!("({} not shown)", self.lines.len()));
        } else {
            out.field("lines", &self.lines);
        }
        out.field("truncated", &self.truncated).finish()
    }
}

/// Counts of what was dropped since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// Lines longer than [`crate::LINE_MAX`].
    pub overlong_lines: u64,
    /// Control bytes that no line may hold.
    pub control_bytes: u64,
    /// Lines that are neither an answer to the outstanding command nor a report.
    pub unexpected_lines: u64,
    /// Late answers, and answers to the `AT` of a resynchronisation.
    pub stale_lines: u64,
    /// Echoes of commands: `ATE1` is in force.
    pub echoes: u64,
    /// Reports dropped because nobody fetched them.
    pub dropped_reports: u64,
}

impl Noise {
    /// Echoes and resynchronisations are ordinary; they alone are no reason for an event.
    fn worth_telling(self) -> [u64; 4] {
        [self.overlong_lines, self.control_bytes, self.unexpected_lines, self.dropped_reports]
    }
}

#[derive(Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    results: usize,
    told: Noise,
}

impl Events {
    /// Results not yet fetched.
    pub(super) fn results(&self) -> usize {
        self.results
    }

    pub(super) fn done(&mut self, done: CommandDone) {
        self.results += 1;
        self.queue.push_back(Event::CommandDone(done));
    }

    pub(super) fn report(&mut self, event: Event, noise: &mut Noise) {
        if self.queue.len() - self.results >= REPORTS_MAX {
            let oldest = self.queue.iter().position(|event| !matches!(event, Event::CommandDone(_)));
            if let Some(at) = oldest {
                self.queue.remove(at);
                noise.dropped_reports = noise.dropped_reports.saturating_add(1);
            }
        }
        self.queue.push_back(event);
    }

    pub(super) fn pop(&mut self, noise: Noise) -> Option<Event> {
        if let Some(event) = self.queue.pop_front() {
            if matches!(event, Event::CommandDone(_)) {
                self.results -= 1;
            }
            return Some(event);
        }
        let news = noise.worth_telling() != self.told.worth_telling();
        self.told = noise;
        news.then_some(Event::Noise(noise))
    }
}
