//! What is worth a line in the log, said once.
//!
//! An event is told when it happens. The same words again within a minute (a modem that restarts over and over, a cable
//! that makes and breaks) are counted instead, and the count is told with the next one, so that no fault fills a log.

use std::collections::VecDeque;
use std::time::Duration;

use tracing::Level;

/// The same words are not told again before this.
const QUIET: Duration = Duration::from_secs(60);
/// How many different texts are remembered.
const TEXTS_MAX: usize = 32;

#[derive(Debug)]
struct Told {
    text: String,
    at: Duration,
    held_back: u32,
}

/// Notes on their way to the log.
#[derive(Debug, Default)]
pub(super) struct Notes {
    told: VecDeque<Told>,
    out: VecDeque<(Level, String)>,
}

impl Notes {
    /// Takes a note. It must not hold a subscriber's number.
    pub(super) fn add(&mut self, now: Duration, level: Level, text: String) {
        let Some(told) = self.told.iter_mut().find(|told| told.text == text) else {
            if self.told.len() >= TEXTS_MAX {
                self.told.pop_front();
            }
            self.told.push_back(Told { text: text.clone(), at: now, held_back: 0 });
            self.out.push_back((level, text));
            return;
        };
        if now.saturating_sub(told.at) < QUIET {
            told.held_back = told.held_back.saturating_add(1);
            return;
        }
        let held_back = std::mem::take(&mut told.held_back);
        told.at = now;
        let text = if held_back == 0 { text } else { format!("{text} ({held_back} times more before)") };
        self.out.push_back((level, text));
    }

    /// The next note to be logged.
    pub(super) fn pop(&mut self) -> Option<(Level, String)> {
        self.out.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_counted_for_a_minute_and_then_told_with_their_count() {
        let mut notes = Notes::default();
        let mut say = |second: u64| {
            notes.add(Duration::from_secs(second), Level::WARN, "it restarted".to_owned());
            notes.pop().map(|(_, text)| text)
        };
        assert_eq!(say(100).as_deref(), Some("it restarted"));
        assert_eq!(say(110), None);
        assert_eq!(say(120), None);
        assert_eq!(say(160).as_deref(), Some("it restarted (2 times more before)"));
        assert_eq!(say(300).as_deref(), Some("it restarted"));
    }

    #[test]
    fn memory_is_bounded_however_many_words_there_are() {
        let mut notes = Notes::default();
        for n in 0..1000 {
            notes.add(Duration::ZERO, Level::INFO, format!("event {n}"));
            assert!(notes.pop().is_some());
        }
        assert!(notes.told.len() <= TEXTS_MAX);
    }
}
