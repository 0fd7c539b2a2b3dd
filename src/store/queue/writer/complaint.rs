//! What goes wrong again and again is said when it begins, when it changes, and once an hour.

use std::time::Duration;

use crate::clock::Mono;

const SAID_AGAIN: Duration = Duration::from_secs(3600);

/// What was said last, and when.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<(String, Mono)>);

impl Complaint {
    /// Whether to say it now. Asked with what would be said, and then it counts as said.
    pub(super) fn is_due(&mut self, now: Mono, words: &str) -> bool {
        let said = self.0.as_ref().is_some_and(|(said, at)| said == words && now.since(*at) < SAID_AGAIN);
        if !said {
            self.0 = Some((words.to_owned(), now));
        }
        !said
    }

    /// It is well again: the next time it is news.
    pub(super) fn is_over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_each_second_is_said_once_an_hour_and_another_reason_or_another_time_at_once() {
        let mut complaint = Complaint::default();
        let at = |seconds: u64| Mono(seconds * 1_000_000_000);
        let said = (0..7200).filter(|n| complaint.is_due(at(*n), "read-only")).collect::<Vec<_>>();
        assert_eq!(said, [0, 3600]);
        assert!(complaint.is_due(at(7200), "another file stands there"));
        assert!(!complaint.is_due(at(7201), "another file stands there"));
        complaint.is_over();
        assert!(complaint.is_due(at(7202), "another file stands there"));
    }
}
