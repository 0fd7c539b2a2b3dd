//! What will happen when: entries ordered by time, and by age among equals.

use core::time::Duration;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Schedule<T> {
    entries: BTreeMap<(Duration, u64), T>,
    count: u64,
}

impl<T> Schedule<T> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), count: 0 }
    }

    pub(super) fn add(&mut self, at: Duration, entry: T) {
        self.count += 1;
        self.entries.insert((at, self.count), entry);
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.entries.keys().next().map(|(at, _)| *at)
    }

    /// The next entry that is due, with the time it was due at.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<(Duration, T)> {
        let key = self.entries.keys().next().copied().filter(|(at, _)| *at <= now)?;
        self.entries.remove(&key).map(|entry| (key.0, entry))
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|_, entry| keep(entry));
    }
}
