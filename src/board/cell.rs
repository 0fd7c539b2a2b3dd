//! Where a fact stands: one cell, or one of a set by name, and when it was learned.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::watch;

use crate::clock::Mono;

/// A fact and when it was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped<T> {
    /// The fact.
    pub value: T,
    /// When it was learned.
    pub at: Mono,
}

/// One fact that changes: empty until it is first learned.
#[derive(Debug)]
pub struct Cell<T>(watch::Sender<Option<Stamped<T>>>);

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl<T: Clone + PartialEq> Cell<T> {
    /// Writes the newest value. Readers that wait are woken only when it differs.
    pub fn set(&self, at: Mono, value: T) {
        self.0.send_if_modified(|cell| {
            let changed = cell.as_ref().is_none_or(|old| old.value != value);
            *cell = Some(Stamped { value, at });
            changed
        });
    }

    /// Empties it: what it held can no longer be vouched for.
    pub fn forget(&self) {
        self.0.send_if_modified(|cell| cell.take().is_some());
    }

    /// The newest value.
    #[must_use]
    pub fn get(&self) -> Option<Stamped<T>> {
        self.0.borrow().clone()
    }

    /// Watches it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Stamped<T>>> {
        self.0.subscribe()
    }
}

/// A cell for each of a set of names.
#[derive(Debug)]
pub struct Cells<T>(Mutex<BTreeMap<String, Stamped<T>>>);

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<T: Clone> Cells<T> {
    /// Writes the newest value of `name`.
    pub fn set(&self, name: &str, at: Mono, value: T) {
        if let Ok(mut cells) = self.0.lock() {
            if let Some(cell) = cells.get_mut(name) {
                *cell = Stamped { value, at };
            } else {
                cells.insert(name.to_owned(), Stamped { value, at });
            }
        }
    }

    /// The newest value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Stamped<T>> {
        self.0.lock().ok()?.get(name).cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Stamped<T>> {
        self.0.lock().map(|cells| cells.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unchanged_fact_wakes_nobody_but_is_stamped_anew() {
        let cell = Cell::default();
        cell.set(Mono(1), 5);
        let mut watch = cell.watch();
        watch.mark_unchanged();
        cell.set(Mono(2), 5);
        assert!(!watch.has_changed().unwrap());
        assert_eq!(cell.get(), Some(Stamped { value: 5, at: Mono(2) }));
        cell.set(Mono(3), 6);
        assert!(watch.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_forgotten_fact_is_gone_and_those_who_watch_learn_it_once() {
        let cell = Cell::default();
        cell.set(Mono(1), 5);
        let mut watch = cell.watch();
        watch.mark_unchanged();
        cell.forget();
        assert_eq!(cell.get(), None);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        cell.forget();
        assert!(!watch.has_changed().unwrap());
    }
}
