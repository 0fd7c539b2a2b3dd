//! What is seen while it runs: a small screen that is drawn again and again on a terminal, lines every few seconds elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Clock;

/// Between two lines where there is no terminal, unless the network or the link changes.
const LINES: Duration = Duration::from_secs(5);

/// Everything shown at one moment.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) at: Duration,
    pub(super) of: Option<Duration>,
    pub(super) headline: String,
    pub(super) grade: Option<String>,
    pub(super) heard_dbm: Option<f32>,
    pub(super) sent_dbm: Option<i16>,
    pub(super) produced: u64,
    pub(super) accepted: u64,
    pub(super) acknowledged: u64,
    pub(super) queued: u64,
    pub(super) link: String,
    pub(super) cut: bool,
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) page: SocketAddr,
}

/// Where it is shown. Leaves the terminal as it was.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    drawn: usize,
    clock: Clock,
    last_line: Option<Duration>,
    last_state: (bool, String),
}

impl Screen {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            drawn: 0,
            clock,
            last_line: None,
            last_state: Default::default(),
        }
    }

    pub(super) fn show(&mut self, view: &View) {
        let mut out = String::new();
        if self.terminal {
            if self.drawn == 0 {
                out.push_str("\x1b[?25l");
            } else {
                let _ = write!(out, "\x1b[{}F\x1b[J", self.drawn);
            }
            let lines = view.lines();
            self.drawn = lines.len();
            for line in lines {
                out.push_str(&line);
                out.push('\n');
            }
        } else {
            let now = self.clock.now();
            let state = (view.cut, view.link.clone());
            let is_news = state != self.last_state;
            if !is_news && self.last_line.is_some_and(|last| now.saturating_sub(last) < LINES) {
                return;
            }
            self.last_line = Some(now);
            self.last_state = state;
            out = view.line();
            out.push('\n');
        }
        // A reader that went away is no reason to end the show.
        let _ = std::io::stdout().write_all(out.as_bytes());
        let _ = std::io::stdout().flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal && self.drawn > 0 {
            let _ = std::io::stdout().write_all(b"\x1b[?25h");
            let _ = std::io::stdout().flush();
        }
    }
}

impl View {
    fn time(&self) -> String {
        match self.of {
            Some(of) => format!("{} of {} s", self.at.as_secs(), of.as_secs()),
            None => format!("{} s", self.at.as_secs()),
        }
    }

    fn signal(&self) -> String {
        match (self.heard_dbm, &self.grade) {
            (Some(dbm), Some(grade)) => format!("{grade}, {dbm} dBm"),
            (Some(dbm), None) => format!("{dbm} dBm"),
            // The modem has a signal that nobody has asked it for yet.
            (None, _) => self.sent_dbm.map_or_else(|| "none yet".into(), |_| "not asked yet".into()),
        }
    }

    fn network(&self) -> &'static str {
        if self.cut { "CUT" } else { "open" }
    }

    fn line(&self) -> String {
        format!(
            "{}: signal {}; readings {} produced, {} accepted, {} acknowledged, {} queued; network {}, link {}; \
             {} up, {} down; http://{}/",
            self.time(),
            self.signal(),
            self.produced,
            self.accepted,
            self.acknowledged,
            self.queued,
            self.network(),
            self.link,
            bytes(self.up),
            bytes(self.down),
            self.page
        )
    }

    fn lines(&self) -> Vec<String> {
        let bar = usize::try_from(self.queued / 10).unwrap_or(usize::MAX).min(40);
        vec![
            format!("fieldgate, pump house · {} · Ctrl-C ends it", self.time()),
            format!("  page      http://{}/", self.page),
            format!("  says      {}", self.headline),
            format!("  signal    {}", self.signal()),
            format!("  network   {}   link {}", self.network(), self.link),
            format!(
                "  readings  {} produced, {} accepted, {} acknowledged",
                self.produced, self.accepted, self.acknowledged
            ),
            format!("  queue     {} {}", self.queued, "#".repeat(bar)),
            format!("  wire      {} up, {} down", bytes(self.up), bytes(self.down)),
        ]
    }
}

fn bytes(count: u64) -> String {
    if count < 10_000 { format!("{count} B") } else { format!("{}.{} kB", count / 1000, count % 1000 / 100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            at: Duration::from_secs(12),
            of: Some(Duration::from_secs(60)),
            headline: "Fine".into(),
            grade: Some("good".into()),
            heard_dbm: Some(-92.0),
            sent_dbm: Some(-92),
            produced: 120,
            accepted: 118,
            acknowledged: 96,
            queued: 22,
            link: "up".into(),
            cut: true,
            up: 12_345,
            down: 999,
            page: ([127, 0, 0, 1], 8080).into(),
        }
    }

    #[test]
    fn a_line_says_everything_a_watcher_is_promised() {
        assert_eq!(
            view().line(),
            "12 of 60 s: signal good, -92 dBm; readings 120 produced, 118 accepted, 96 acknowledged, 22 queued; \
             network CUT, link up; 12.3 kB up, 999 B down; http://127.0.0.1:8080/"
        );
    }

    #[test]
    fn the_screen_fits_a_small_terminal() {
        let mut view = view();
        view.queued = u64::MAX;
        let lines = view.lines();
        assert!(lines.len() <= 10 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    }
}
