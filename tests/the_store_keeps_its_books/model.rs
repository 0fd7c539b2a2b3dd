//! What the queue file must say, kept in memory beside it.

use std::collections::{BTreeMap, BTreeSet};

use fieldgate::clock::Mono;
use fieldgate::reading::{Class, GroupId, Sample, StreamId};
use fieldgate::store::queue::{DestinationId, Outcome, Position, StreamSpec};

/// What identifies a reading: its epoch, sequence and stream.
pub(crate) type Identity = (u64, u64, StreamId);

/// One of the places where a reading stands: it, and [`Row::copy`].
pub(crate) type Standing = (Identity, u64);

/// A reading that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) at: Mono,
    pub(crate) sample: Sample,
    pub(crate) class: Class,
    pub(crate) spec: StreamSpec,
    /// The destinations it is for, as the file numbers them: within one commit, what goes to the same ones stands together.
    pub(crate) routes: i64,
    /// For whom it waits.
    pub(crate) open: BTreeSet<&'static str>,
    /// 0 where it stands as it was accepted; another number for each time it was sent again, for one destination.
    pub(crate) copy: u64,
    /// Who refused it and may be sent it again; the how manieth refusal it was.
    pub(crate) aside: BTreeMap<&'static str, u64>,
}

impl Row {
    fn identity(&self) -> Identity {
        (self.epoch, self.sequence, self.sample.stream)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Account {
    pub(crate) accepted: u64,
    pub(crate) acknowledged: u64,
    pub(crate) dropped: u64,
    pub(crate) set_aside: u64,
}

/// What the file must say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) rows: Vec<Row>,
    pub(crate) accounts: BTreeMap<(&'static str, StreamId), Account>,
    pub(crate) accepted: BTreeMap<StreamId, u64>,
    /// By stream, kind, reason.
    pub(crate) gaps: BTreeMap<(StreamId, &'static str, &'static str), u64>,
    pub(crate) unclean_stops: u64,
    /// Readings refused so far.
    pub(crate) refused: u64,
    /// Readings sent again so far.
    pub(crate) copies: u64,
    /// Destinations of the newest start.
    pub(crate) destinations: BTreeSet<&'static str>,
    /// Ids by everything that defines a stream.
    pub(crate) ids: BTreeMap<String, StreamId>,
}

impl Model {
    pub(crate) fn opened(
        &mut self,
        streams: &[StreamSpec],
        destinations: &[&'static str],
        ids: &[(StreamId, GroupId)],
    ) {
        for (spec, (id, _)) in streams.iter().zip(ids) {
            let definition =
                format!("{:?}", StreamSpec { routes: Vec::new(), latest_only: false, ..spec.clone() });
            let known = *self.ids.entry(definition.clone()).or_insert(*id);
            assert_eq!(known, *id, "the same definition has the same number: {definition}");
        }
        let numbers: BTreeSet<StreamId> = self.ids.values().copied().collect();
        assert_eq!(numbers.len(), self.ids.len(), "another definition has another number");
        let now: BTreeSet<&'static str> = destinations.iter().copied().collect();
        for gone in self.destinations.difference(&now) {
            for row in &mut self.rows {
                if row.open.remove(gone) {
                    self.accounts.get_mut(&(*gone, row.sample.stream)).unwrap().dropped += 1;
                }
            }
        }
        self.destinations = now;
    }

    pub(crate) fn accept(&mut self, row: Row) {
        *self.accepted.entry(row.sample.stream).or_default() += 1;
        for destination in &row.open {
            self.accounts.entry((*destination, row.sample.stream)).or_default().accepted += 1;
        }
        self.rows.push(row);
    }

    pub(crate) fn settle(&mut self, destination: &'static str, rows: &[Standing], outcome: &Outcome) {
        for (identity, copy) in rows {
            let row = self.rows.iter_mut().find(|r| r.identity() == *identity && r.copy == *copy);
            let row = row.expect("what was picked was accepted");
            // An answer that comes again, or after a quota, changes nothing.
            if !row.open.contains(destination) {
                continue;
            }
            row.open.remove(destination);
            let account = self.accounts.get_mut(&(destination, row.sample.stream)).unwrap();
            match outcome {
                Outcome::Acknowledged => account.acknowledged += 1,
                Outcome::Dropped(_) => account.dropped += 1,
                Outcome::SetAside(_) => {
                    account.set_aside += 1;
                    self.refused += 1;
                    row.aside.insert(destination, self.refused);
                }
            }
        }
    }

    /// Which of the places where a reading stands is the one that waits for a destination: there is one at most. A drain may
    /// also pick what another message of its has settled meanwhile: then it is the first, whose answer changes nothing.
    pub(crate) fn standing(&self, destination: &str, identity: Identity) -> Standing {
        let waits = |r: &&Row| r.identity() == identity && r.open.contains(destination);
        (identity, self.rows.iter().find(waits).map_or(0, |row| row.copy))
    }

    /// What a destination refused, in the order in which it did.
    fn take_aside(&mut self, destination: &'static str) -> Vec<Row> {
        let mut taken: BTreeMap<u64, Row> = BTreeMap::new();
        for row in &mut self.rows {
            if let Some(refusal) = row.aside.remove(destination) {
                self.accounts.get_mut(&(destination, row.sample.stream)).unwrap().set_aside -= 1;
                taken.insert(refusal, row.clone());
            }
        }
        taken.into_values().collect()
    }

    /// To the end of the queue, for that destination alone; how many.
    pub(crate) fn send_again(&mut self, destination: &'static str, bit: i64) -> usize {
        let mut again = self.take_aside(destination);
        // What was accepted in one epoch stands together.
        again.sort_by_key(|row| row.epoch);
        let count = again.len();
        for row in again {
            self.copies += 1;
            let (open, aside) = (BTreeSet::from([destination]), BTreeMap::new());
            self.rows.push(Row { routes: bit, open, aside, copy: self.copies, ..row });
        }
        count
    }

    pub(crate) fn give_up_aside(&mut self, destination: &'static str) -> usize {
        let given = self.take_aside(destination);
        for row in &given {
            self.accounts.get_mut(&(destination, row.sample.stream)).unwrap().dropped += 1;
        }
        given.len()
    }
}

/// A segment leaves the file when the last destination it is for has passed it.
pub(crate) fn check_nothing_is_kept_for_nobody(
    c: &rusqlite::Connection,
    names: &BTreeMap<DestinationId, &'static str>,
) {
    let mut cursors = c.prepare("SELECT destination, class, segment FROM cursors").unwrap();
    let cursors: Vec<(u8, i64, i64)> = cursors
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap()
        .map(|row| row.unwrap())
        .collect();
    let mut segments = c.prepare("SELECT id, routes FROM segments").unwrap();
    let segments = segments.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?))).unwrap();
    for segment in segments {
        let (id, routes) = segment.unwrap();
        let class = Position { segment: id, row: 0 }.class().unwrap() as i64;
        let awaited = cursors.iter().any(|(d, of, at)| {
            let d = DestinationId(*d);
            names.contains_key(&d) && routes & d.bit() != 0 && *of == class && *at <= id
        });
        assert!(awaited, "segment {id:#x} is kept for nobody");
    }
}
