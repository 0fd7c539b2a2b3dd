//! The daemon's own log: which lines are written, and those that are kept for a cloud until they are sent.
//!
//! One instance decides for the whole process; it is a layer of the subscriber, before the layers that write. Its level can be
//! changed while the daemon runs, for a while or for good. Of what is written, lines at least as severe as the cloud's level
//! are kept in a bounded ring.
//!
//! Sending a line over a link that fails makes lines, which would be sent over that link. So of lines that come from links and
//! drains at most one waits, and one a [`LINKS_EVERY`] is given out; what the sender itself says is never kept. Lines that are
//! not given out are counted, and the count is a line.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::config::LogLevel;

/// Lines that wait to be sent.
const RING: usize = 64;
/// Longest text of a line, in bytes.
const LINE_BYTES: usize = 512;
/// Lines about links go no more often than this.
const LINKS_EVERY: Duration = Duration::from_secs(60);
/// Whose lines are about links: they may be the consequence of a line that was sent.
const LINKS: [&str; 4] = ["fieldgate::clouds", "fieldgate::uplink", "fieldgate_coap", "fieldgate_dtls"];
/// Whose lines are never sent: they are about sending lines.
const SENDER: &str = "fieldgate::daemon::log_lines";

/// A line for a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How serious.
    pub level: Level,
    /// Which part of the program.
    pub module: &'static str,
    /// Message and fields.
    pub text: String,
}

/// See the module head.
#[derive(Debug)]
pub struct Logs {
    /// Levels as numbers: 0 nothing, 1 error, up to 5 trace.
    level: AtomicU8,
    cloud: AtomicU8,
    state: Mutex<State>,
    kept: Notify,
}

#[derive(Debug)]
struct State {
    /// What the configuration, or a setting in its place, says.
    base: (LogLevel, Option<LogLevel>),
    /// Both levels for a while, and until when.
    lifted: Option<(LogLevel, Duration)>,
    ring: Ring,
}

/// Lines that wait. Pure.
#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    links_waiting: bool,
    links_given: Option<Duration>,
    left_out: u64,
}

impl Ring {
    /// Whether it was kept.
    fn keep(&mut self, line: Line) -> bool {
        let of_links = is_of_links(line.module);
        if self.lines.len() >= RING || (of_links && self.links_waiting) {
            self.left_out += 1;
            return false;
        }
        self.links_waiting |= of_links;
        self.lines.push_back(line);
        true
    }

    /// The next line that may be sent; how many were not before it.
    fn next(&mut self, now: Duration) -> Option<(Line, u64)> {
        while let Some(line) = self.lines.pop_front() {
            if is_of_links(line.module) {
                self.links_waiting = false;
                if self.links_given.is_some_and(|at| now < at + LINKS_EVERY) {
                    self.left_out += 1;
                    continue;
                }
                self.links_given = Some(now);
            }
            return Some((line, std::mem::take(&mut self.left_out)));
        }
        None
    }
}

fn is_of_links(module: &str) -> bool {
    LINKS.iter().any(|prefix| module.starts_with(prefix))
}

impl Logs {
    /// Writes lines from `level` on, and keeps those from `cloud` on.
    #[must_use]
    pub fn new(level: LogLevel, cloud: Option<LogLevel>) -> Self {
        let logs = Self {
            level: AtomicU8::new(0),
            cloud: AtomicU8::new(0),
            state: Mutex::new(State { base: (level, cloud), lifted: None, ring: Ring::default() }),
            kept: Notify::new(),
        };
        logs.settle(&logs.state());
        logs
    }

    /// What is written from now on, where it is not lifted for a while.
    pub fn set_level(&self, level: LogLevel) {
        let mut state = self.state();
        state.base.0 = level;
        self.settle(&state);
    }

    /// What is kept for the cloud from now on, where it is not lifted for a while.
    pub fn set_cloud(&self, cloud: Option<LogLevel>) {
        let mut state = self.state();
        state.base.1 = cloud;
        self.settle(&state);
    }

    /// Writes and keeps lines from `level` on until `until`.
    pub fn lift(&self, level: LogLevel, until: Duration) {
        let mut state = self.state();
        state.lifted = Some((level, until));
        self.settle(&state);
    }

    /// Ends what was for a while, once that has passed. When to look again.
    pub fn look(&self, now: Duration) -> Option<Duration> {
        let mut state = self.state();
        let (_, until) = state.lifted?;
        if now < until {
            return Some(until);
        }
        state.lifted = None;
        self.settle(&state);
        None
    }

    /// The next line to send, and how many were left out before it.
    pub fn next(&self, now: Duration) -> Option<(Line, u64)> {
        self.state().ring.next(now)
    }

    /// Waits until a line is kept.
    pub async fn kept(&self) {
        self.kept.notified().await;
    }

    fn settle(&self, state: &State) {
        let (level, cloud) = match state.lifted {
            Some((level, _)) => (level, Some(level)),
            None => state.base,
        };
        let level = number(level);
        self.level.store(level, Ordering::Relaxed);
        self.cloud.store(cloud.map_or(0, number).min(level), Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(level: LogLevel) -> u8 {
    level as u8 + 1
}

fn number_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// [`Logs`] as a layer of a subscriber.
#[derive(Debug)]
pub struct LogsLayer(pub std::sync::Arc<Logs>);

impl<S: Subscriber> Layer<S> for LogsLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.writes(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.writes(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.0.level.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let module = metadata.target();
        if number_of(*metadata.level()) > self.0.cloud.load(Ordering::Relaxed) || module == SENDER {
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let line = Line { level: *metadata.level(), module, text: text.0 };
        if self.0.state().ring.keep(line) {
            self.0.kept.notify_one();
        }
    }
}

impl LogsLayer {
    fn writes(&self, metadata: &Metadata<'_>) -> bool {
        number_of(*metadata.level()) <= self.0.level.load(Ordering::Relaxed)
    }
}

/// `message key=value`, cut at [`LINE_BYTES`].
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing stops by an error once it is full; what fits is kept.
        let mut room = Room(&mut self.0);
        let _full = match field.name() {
            "message" => write!(room, "{value:?}"),
            name => write!(room, " {name}={value:?}"),
        };
    }
}

/// A text that takes no more than [`LINE_BYTES`].
struct Room<'a>(&'a mut String);

impl fmt::Write for Room<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(LINE_BYTES.saturating_sub(self.0.len()));
        self.0.push_str(text.get(..fits).unwrap_or_default());
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn line(module: &'static str, text: &str) -> Line {
        Line { level: Level::WARN, module, text: text.into() }
    }

    fn listening(level: LogLevel, cloud: Option<LogLevel>) -> (Arc<Logs>, tracing::subscriber::DefaultGuard) {
        let logs = Arc::new(Logs::new(level, cloud));
        let subscriber = tracing_subscriber::registry().with(LogsLayer(Arc::clone(&logs)));
        let guard = tracing::subscriber::set_default(subscriber);
        tracing::callsite::rebuild_interest_cache();
        (logs, guard)
    }

    fn all(logs: &Logs, now: Duration) -> Vec<String> {
        std::iter::from_fn(|| logs.next(now)).map(|(line, _)| line.text).collect()
    }

    #[test]
    fn a_storm_of_lines_about_links_gives_out_one_a_minute_and_says_how_many_were_left_out() {
        let mut ring = Ring::default();
        let mut given = 0;
        for second in 0..180 {
            for _ in 0..50 {
                ring.keep(line("fieldgate::clouds::golioth::live", "no answer"));
            }
            while let Some((_, left_out)) = ring.next(second * S) {
                given += 1;
                assert_eq!(left_out > 2900, given > 1, "{left_out}");
            }
        }
        assert_eq!(given, 3);
    }

    #[test]
    fn lines_about_links_take_no_place_from_others_and_a_full_ring_leaves_the_newest_out() {
        let mut ring = Ring::default();
        for n in 0..1000 {
            ring.keep(line("fieldgate::clouds::mqtt", "x"));
            ring.keep(line("fieldgate::sensors", &n.to_string()));
        }
        assert_eq!(ring.lines.len(), RING);
        assert_eq!(ring.lines.iter().filter(|l| is_of_links(l.module)).count(), 1);
        assert_eq!(ring.next(S).map(|(line, _)| line.module), Some("fieldgate::clouds::mqtt"));
        let (first, left_out) = ring.next(S).unwrap();
        assert_eq!((first.text.as_str(), left_out), ("0", 0), "said with the line before");
    }

    #[test]
    fn what_is_kept_is_what_the_cloud_wants_of_what_is_written() {
        let (logs, _listening) = listening(LogLevel::Info, Some(LogLevel::Debug));
        tracing::debug!("not written");
        tracing::info!(answer = 42, "both");
        assert_eq!(all(&logs, S), ["both answer=42"]);
        logs.set_level(LogLevel::Debug);
        tracing::debug!("now it is");
        assert_eq!(all(&logs, S), ["now it is"]);
    }

    #[test]
    fn a_level_that_was_lifted_for_a_while_goes_back() {
        let (logs, _listening) = listening(LogLevel::Warn, None);
        logs.lift(LogLevel::Debug, 60 * S);
        tracing::debug!("seen");
        assert_eq!(logs.look(59 * S), Some(60 * S));
        assert_eq!(logs.look(60 * S), None);
        tracing::debug!("not seen");
        tracing::error!("written, not sent");
        assert_eq!(all(&logs, 60 * S), ["seen"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let (logs, _listening) = listening(LogLevel::Info, Some(LogLevel::Info));
        tracing::info!("{}", "é".repeat(2 * LINE_BYTES));
        let said = all(&logs, S);
        assert_eq!(said.first().map(String::len), Some(LINE_BYTES));
    }
}
