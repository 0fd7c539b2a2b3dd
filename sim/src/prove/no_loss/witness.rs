//! What the daemon said of itself, kept outside of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::gateway::books::{Books, prefix};
use crate::gateway::reckon::{FarValue, MOST_NAMED, Named};
use crate::gateway::status::Status;

/// The newest accepted sequences by epoch and group, as answered by the status API, life by life.
#[derive(Debug, Default)]
pub(super) struct Witness {
    said: BTreeMap<String, BTreeMap<String, u64>>,
    /// Epochs that a kill ended.
    killed: BTreeSet<String>,
    /// The epoch of this life, once it has said it.
    now: Option<String>,
    /// Lives that were killed after they had said that they were ready.
    pub(super) lives_ready: u64,
}

impl Witness {
    pub(super) fn life_begins(&mut self) {
        self.now = None;
    }

    pub(super) fn life_ends(&mut self, ready: bool) {
        self.killed.extend(self.now.take());
        self.lives_ready += u64::from(ready);
    }

    /// Takes an answer; tells whether it called something accepted that no answer before did.
    pub(super) fn testify(&mut self, status: &Status) -> bool {
        let Some(epoch) = &status.queue.epoch else { return false };
        self.now = Some(epoch.clone());
        let said = self.said.entry(epoch.clone()).or_default();
        let mut fresh = false;
        for (group, sequence) in &status.queue.newest_sequences {
            let newest = said.entry(group.clone()).or_default();
            fresh |= sequence > newest;
            *newest = (*newest).max(*sequence);
        }
        fresh
    }

    /// The epochs that were seen alive and then killed.
    pub(super) fn killed(&self) -> impl Iterator<Item = &String> {
        self.killed.iter()
    }

    /// How many sequences were called accepted.
    pub(super) fn testified(&self) -> u64 {
        self.said.values().flat_map(BTreeMap::values).sum()
    }

    /// Sequences that were called accepted, of which the books know nothing and the cloud has nothing. Those the books do
    /// know are compared by `gateway::reckon`.
    pub(super) fn broken_by(&self, books: &Books, far: &BTreeMap<String, Vec<FarValue>>) -> Named {
        let mut broken = Named::default();
        for (epoch, groups) in &self.said {
            let known = books.epochs.iter().find(|e| e.epoch == *epoch);
            for (group, said) in groups {
                let on_record = known.and_then(|e| e.last_sequences.get(group)).copied().unwrap_or(0);
                for sequence in on_record + 1..=*said {
                    let streams = books.streams.iter().filter(|s| s.group == *group);
                    let there = |alias: &str| {
                        far.get(alias)
                            .into_iter()
                            .flatten()
                            .any(|value| value.sequence == sequence && Some(value.epoch) == prefix(epoch))
                    };
                    for stream in streams.filter(|s| !there(&s.alias)) {
                        broken.count += 1;
                        if broken.names.len() < MOST_NAMED {
                            broken.names.push(format!(
                                "{} {epoch}#{sequence}, which it had called accepted",
                                stream.name
                            ));
                        }
                    }
                }
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::books::{EpochRecord, StreamBooks};

    const EPOCH: &str = "0102030405060708";

    fn status(sequence: u64) -> Status {
        let mut status = Status::default();
        status.queue.epoch = Some(EPOCH.into());
        status.queue.newest_sequences = [("field/tank".to_owned(), sequence)].into();
        status
    }

    fn books(last: u64) -> Books {
        Books {
            streams: vec![StreamBooks {
                name: "tank.level".into(),
                group: "field/tank".into(),
                alias: "l".into(),
                ..StreamBooks::default()
            }],
            epochs: vec![EpochRecord {
                epoch: EPOCH.into(),
                clean_stop: false,
                last_sequences: [("field/tank".to_owned(), last)].into(),
            }],
            ..Books::default()
        }
    }

    #[test]
    fn what_was_called_accepted_and_is_nowhere_is_a_broken_promise() {
        let mut witness = Witness::default();
        assert!(witness.testify(&status(7)));
        assert!(!witness.testify(&status(7)), "nothing new");
        assert_eq!(witness.broken_by(&books(7), &BTreeMap::new()).count, 0);
        let broken = witness.broken_by(&books(5), &BTreeMap::new());
        assert_eq!((broken.count, witness.testified()), (2, 7));
        assert!(broken.names[0].contains("#6"));
        let at_the_cloud = FarValue { epoch: [1, 2, 3, 4], sequence: 6, value: None, copies: 1 };
        assert_eq!(witness.broken_by(&books(5), &[("l".to_owned(), vec![at_the_cloud])].into()).count, 1);
        assert_eq!(witness.broken_by(&Books { epochs: vec![], ..books(0) }, &BTreeMap::new()).count, 7);
    }

    #[test]
    fn only_lives_that_were_seen_must_leave_a_record() {
        let mut witness = Witness::default();
        witness.life_begins();
        witness.life_ends(false);
        assert_eq!(witness.killed().count(), 0);
        witness.life_begins();
        witness.testify(&status(1));
        witness.life_ends(true);
        assert_eq!((witness.killed().count(), witness.lives_ready), (1, 1));
    }
}
