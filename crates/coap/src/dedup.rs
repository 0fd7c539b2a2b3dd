//! The memory that makes every message of the peer count once (RFC 7252 §4.5).
//!
//! An entry lives EXCHANGE_LIFETIME or NON_LIFETIME. The answer given is kept too and replayed to duplicates; when the
//! answers outgrow their budget the oldest answers go first, then only the fact remains: a duplicate is ignored.
//! Bounded by entries and by bytes.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// What is known about a message id of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen<'a> {
    /// Not seen within its lifetime; it is remembered now.
    New,
    /// Seen; the bytes to send again, if any.
    Before(Option<&'a [u8]>),
}

#[derive(Debug)]
pub(crate) struct Dedup {
    entries: BTreeMap<u16, Entry>,
    /// Ids in the order they came, with the expiry that tells a live record from one that was replaced.
    order: VecDeque<(u16, Duration)>,
    /// Ids with a kept answer, oldest first.
    answered: VecDeque<u16>,
    answer_bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Entry {
    expires: Duration,
    answer: Option<Vec<u8>>,
}

impl Dedup {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Dedup {
        Dedup {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            answered: VecDeque::new(),
            answer_bytes: 0,
            max_entries: max_entries.max(1),
            max_bytes,
            forgotten: 0,
        }
    }

    /// Looks `id` up and, when it is new, remembers it for `lifetime`.
    pub(crate) fn check(&mut self, now: Duration, id: u16, lifetime: Duration) -> Seen<'_> {
        self.purge(now);
        if self.entries.get(&id).is_some_and(|entry| now < entry.expires) {
            return Seen::Before(self.entries.get(&id).and_then(|entry| entry.answer.as_deref()));
        }
        self.drop_entry(id);
        while self.entries.len() >= self.max_entries {
            let Some((oldest, expires)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.expires == expires) {
                self.drop_entry(oldest);
                self.forgotten += 1;
            }
        }
        let expires = now.saturating_add(lifetime);
        self.entries.insert(id, Entry { expires, answer: None });
        self.order.push_back((id, expires));
        Seen::New
    }

    /// Keeps the answer to replay for `id`; replaces an earlier one. Does nothing for an id that is not remembered.
    pub(crate) fn keep_answer(&mut self, id: u16, answer: &[u8]) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        match entry.answer.replace(answer.to_vec()) {
            Some(old) => self.answer_bytes -= old.len(),
            None => self.answered.push_back(id),
        }
        self.answer_bytes += answer.len();
        while self.answer_bytes > self.max_bytes {
            let Some(oldest) = self.answered.pop_front() else { break };
            if let Some(old) = self.entries.get_mut(&oldest).and_then(|entry| entry.answer.take()) {
                self.answer_bytes -= old.len();
            }
        }
    }

    /// Forgets everything: another session, another message id space.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.answered.clear();
        self.answer_bytes = 0;
    }

    /// Entries dropped before their lifetime.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn purge(&mut self, now: Duration) {
        while let Some((id, expires)) = self.order.front().copied() {
            if now < expires {
                break;
            }
            self.order.pop_front();
            if self.entries.get(&id).is_some_and(|entry| entry.expires == expires) {
                self.drop_entry(id);
            }
        }
    }

    fn drop_entry(&mut self, id: u16) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(answer) = entry.answer {
            self.answer_bytes -= answer.len();
            // Nearly always the oldest.
            if self.answered.front() == Some(&id) {
                self.answered.pop_front();
            } else {
                self.answered.retain(|other| *other != id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(247);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_second_copy_gets_the_first_answer_until_the_lifetime_is_over() {
        let mut dedup = Dedup::new(8, 100);
        assert_eq!(dedup.check(at(0), 7, LIFE), Seen::New);
        assert_eq!(dedup.check(at(1), 7, LIFE), Seen::Before(None));
        dedup.keep_answer(7, b"ack");
        assert_eq!(dedup.check(at(246), 7, LIFE), Seen::Before(Some(b"ack")));
        assert_eq!(dedup.check(at(247), 7, LIFE), Seen::New);
        assert_eq!(dedup.check(at(248), 7, LIFE), Seen::Before(None));
    }

    #[test]
    fn a_reused_id_does_not_die_with_its_predecessor() {
        let mut dedup = Dedup::new(8, 100);
        dedup.check(at(0), 1, at(100));
        dedup.check(at(1), 2, at(10));
        assert_eq!(dedup.check(at(50), 2, LIFE), Seen::New);
        dedup.check(at(101), 3, LIFE);
        assert_eq!(dedup.check(at(102), 2, LIFE), Seen::Before(None));
    }

    #[test]
    fn answers_over_the_budget_go_oldest_first_but_the_fact_remains() {
        let mut dedup = Dedup::new(8, 10);
        for id in 0..3 {
            dedup.check(at(0), id, LIFE);
            dedup.keep_answer(id, &[0; 5]);
        }
        assert_eq!(dedup.check(at(1), 0, LIFE), Seen::Before(None));
        assert_eq!(dedup.check(at(1), 1, LIFE), Seen::Before(Some(&[0; 5])));
        dedup.keep_answer(1, &[0; 11]);
        assert_eq!(dedup.check(at(1), 1, LIFE), Seen::Before(None));
        assert_eq!(dedup.check(at(1), 2, LIFE), Seen::Before(Some(&[0; 5])));
        assert_eq!(dedup.answer_bytes, 5);
    }

    #[test]
    fn the_entry_bound_holds_and_what_it_costs_is_counted() {
        let mut dedup = Dedup::new(4, 100);
        for id in 0..100 {
            dedup.check(at(0), id, LIFE);
            dedup.keep_answer(id, b"x");
        }
        assert_eq!((dedup.entries.len(), dedup.order.len(), dedup.answered.len()), (4, 4, 4));
        assert_eq!(dedup.forgotten(), 96);
        assert_eq!(dedup.check(at(0), 99, LIFE), Seen::Before(Some(b"x")));
    }
}
