//! The running sums that [`QueueStatus`] shows, kept in step with the books instead of added up at each commit.
//!
//! Invariant: at any time equal to what [`Tally::of`] would compute from the books.

use std::collections::BTreeMap;

use super::super::DestinationId;
use super::super::books::{Account, Books, Changes, Intake};
use super::super::handle::{QueueStatus, Totals};
use crate::reading::{Class, StreamId};

#[derive(Debug, Default)]
pub(super) struct Tally {
    intake: Totals,
    totals: BTreeMap<(DestinationId, Class), Totals>,
    /// Newest accepted sequence of each group in this epoch; 0 for none.
    newest: Vec<u64>,
    /// Of every stream the file has ever had.
    classes: BTreeMap<StreamId, Class>,
}

impl Tally {
    pub(super) fn of(books: &Books, classes: BTreeMap<StreamId, Class>) -> Self {
        let mut tally = Self { classes, ..Self::default() };
        for intake in books.intake.values() {
            tally.intake = tally.intake.plus(produced(intake));
        }
        for ((destination, stream), account) in &books.accounts {
            let intake = books.intake.get(stream).copied().unwrap_or_default();
            let total = tally.total(*destination, *stream);
            *total = total.plus(consumed(account, &intake));
        }
        tally
    }

    /// A stream that the file did not have when it was opened.
    pub(super) fn define(&mut self, stream: StreamId, class: Class) {
        self.classes.insert(stream, class);
    }

    /// Begins anew from other books.
    pub(super) fn again(&mut self, books: &Books, classes: BTreeMap<StreamId, Class>) {
        *self = Self::of(books, classes);
    }

    /// Moves the sums by what `changes` will do to `books`; to be called before they are applied.
    pub(super) fn apply(
        &mut self,
        books: &Books,
        changes: &Changes,
        destinations: &[(DestinationId, String)],
    ) {
        for (stream, new) in &changes.intake {
            let old = books.intake.get(stream).copied().unwrap_or_default();
            self.intake = self.intake.plus(produced(new)).minus(produced(&old));
            for (destination, _) in destinations {
                let key = (*destination, *stream);
                let before = books.accounts.get(&key);
                let after = changes.accounts.get(&key).or(before);
                self.exchange(key, before.map(|a| (a, &old)), after.map(|a| (a, new)));
            }
        }
        for (key, after) in &changes.accounts {
            let known = changes.intake.contains_key(&key.1) && destinations.iter().any(|(d, _)| *d == key.0);
            if !known {
                let intake = books.intake.get(&key.1).copied().unwrap_or_default();
                let before = books.accounts.get(key);
                self.exchange(*key, before.map(|a| (a, &intake)), Some((after, &intake)));
            }
        }
    }

    /// A reading of the group in this place was accepted under this sequence.
    pub(super) fn accepted(&mut self, group: usize, sequence: u64) {
        if self.newest.len() <= group {
            self.newest.resize(group + 1, 0);
        }
        if let Some(newest) = self.newest.get_mut(group) {
            *newest = sequence.max(*newest);
        }
    }

    /// The newest accepted sequences of the first `groups` groups.
    pub(super) fn newest(&self, groups: usize) -> impl Iterator<Item = &u64> {
        self.newest.iter().chain(std::iter::repeat(&0)).take(groups)
    }

    pub(super) fn show(&self, status: &mut QueueStatus) {
        status.intake = self.intake;
        status.totals.clone_from(&self.totals);
    }

    fn exchange(
        &mut self,
        (destination, stream): (DestinationId, StreamId),
        before: Option<(&Account, &Intake)>,
        after: Option<(&Account, &Intake)>,
    ) {
        if before.is_none() && after.is_none() {
            return;
        }
        let total = self.total(destination, stream);
        let of = |side: Option<(&Account, &Intake)>| side.map_or(Totals::default(), |(a, i)| consumed(a, i));
        *total = total.plus(of(after)).minus(of(before));
    }

    /// The class of a stream the file has or had.
    pub(super) fn class(&self, stream: StreamId) -> Class {
        self.classes.get(&stream).copied().unwrap_or(Class::Telemetry)
    }

    fn total(&mut self, destination: DestinationId, stream: StreamId) -> &mut Totals {
        let class = self.class(stream);
        self.totals.entry((destination, class)).or_default()
    }
}

fn produced(intake: &Intake) -> Totals {
    Totals {
        accepted: intake.accepted,
        refused: intake.refused,
        coalesced: intake.coalesced,
        missed: intake.missed,
        ..Totals::default()
    }
}

fn consumed(account: &Account, intake: &Intake) -> Totals {
    Totals {
        accepted: account.accepted(intake),
        acknowledged: account.acknowledged,
        dropped: account.dropped,
        set_aside: account.set_aside,
        queued: account.queued(intake),
        ..Totals::default()
    }
}
