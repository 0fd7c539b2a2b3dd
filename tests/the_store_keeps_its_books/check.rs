//! The whole file, read and compared with the model.

use std::collections::{BTreeMap, BTreeSet};

use fieldgate::reading::{Class, StreamId};
use fieldgate::store::queue::books::Books;
use fieldgate::store::queue::{DestinationId, QueuedRow, Totals, verify};
use fieldgate::store::sqlite;

use super::model::{Account, Row, check_nothing_is_kept_for_nobody};
use super::rig::Rig;
use super::support;

impl Rig {
    /// Reads the whole file and compares.
    pub(super) fn check(&mut self) {
        let names: BTreeMap<DestinationId, &'static str> =
            self.destinations.iter().map(|name| (self.id_of(name), *name)).collect();
        for (id, name) in &names {
            let found = support::waiting(&self.path, *id);
            self.allow_for_quota(name, &found);
            for class in Class::ALL {
                let expected: Vec<&Row> =
                    self.model.rows.iter().filter(|r| r.class == class && r.open.contains(name)).collect();
                let found: Vec<&QueuedRow> = found.iter().filter(|r| r.stream.class == class).collect();
                assert_eq!(found.len(), expected.len(), "{name}, {class:?}");
                for (found, expected) in found.iter().zip(expected) {
                    assert_eq!(found.sample, expected.sample);
                    assert_eq!(
                        (found.epoch.epoch.0, found.sequence, found.at),
                        (expected.epoch, expected.sequence, expected.at)
                    );
                    assert_eq!(found.stream.name, expected.spec.name);
                    assert_eq!(found.stream.unit, expected.spec.unit);
                    assert_eq!(found.stream.group, expected.spec.group);
                }
            }
        }
        self.check_books(&names);
    }

    /// Rows the model has waiting and the file has not: only a quota may take them, the oldest of a class first, and where it is the
    /// file's quota, nothing of a class while there is something less urgent. What came in the newest commit may have come after.
    fn allow_for_quota(&mut self, name: &'static str, found: &[QueuedRow]) {
        let there: BTreeSet<(u64, u64, StreamId)> =
            found.iter().map(|r| (r.epoch.epoch.0, r.sequence, r.sample.stream)).collect();
        let mut stayed: BTreeSet<Class> = BTreeSet::new();
        let (mut least_urgent_left, mut most_urgent_gone) = (Class::Alarm, None::<&Row>);
        for (n, row) in self.model.rows.iter_mut().enumerate() {
            if !row.open.contains(name) {
                continue;
            }
            if there.contains(&(row.epoch, row.sequence, row.sample.stream)) {
                stayed.insert(row.class);
                if n < self.newest {
                    least_urgent_left = least_urgent_left.max(row.class);
                }
                continue;
            }
            let by_its_class = self.class_quota.is_some_and(|(class, _)| class == row.class);
            assert!(self.max_bytes < 1 << 20 || by_its_class, "gone without a quota: {row:?}");
            assert_ne!(row.class, Class::Alarm, "an alarm was given up: {row:?}");
            assert!(!stayed.contains(&row.class), "not the oldest was given up: {row:?}");
            self.seen.given_up += 1;
            row.open.remove(name);
            self.model.accounts.get_mut(&(name, row.sample.stream)).unwrap().dropped += 1;
            if !by_its_class && most_urgent_gone.is_none_or(|gone| row.class < gone.class) {
                most_urgent_gone = Some(row);
            }
        }
        if let Some(gone) = most_urgent_gone {
            assert!(least_urgent_left <= gone.class, "gone while there is {least_urgent_left:?}: {gone:?}");
            self.seen.in_order += usize::from(gone.class < Class::Diagnostics);
        }
    }

    fn check_books(&mut self, names: &BTreeMap<DestinationId, &'static str>) {
        let verified = verify::verify(&self.path).unwrap();
        assert_eq!(verified.problems, Vec::<String>::new());
        let connection = sqlite::open_reader(&self.path).unwrap();
        let books = Books::load(&connection).unwrap();
        for (stream, intake) in &books.intake {
            assert_eq!(intake.accepted, self.model.accepted.get(stream).copied().unwrap_or(0), "{stream:?}");
            let sum = |kind: &str| -> u64 {
                self.model.gaps.iter().filter(|(k, _)| k.0 == *stream && k.1 == kind).map(|(_, n)| n).sum()
            };
            let expected = (sum("refused"), sum("missed"), sum("coalesced"));
            assert_eq!((intake.refused, intake.missed, intake.coalesced), expected, "{stream:?}");
        }
        for ((name, stream), expected) in &self.model.accounts {
            let Some((id, _)) = names.iter().find(|(_, n)| *n == name) else { continue };
            let account = books.accounts.get(&(*id, *stream)).copied().unwrap_or_default();
            let intake = books.intake.get(stream).copied().unwrap_or_default();
            let found = Account {
                accepted: account.accepted(&intake),
                acknowledged: account.acknowledged,
                dropped: account.dropped,
                set_aside: account.set_aside,
            };
            assert_eq!(found, *expected, "{name}, {stream:?}");
            let waiting = self
                .model
                .rows
                .iter()
                .filter(|r| r.sample.stream == *stream && r.open.contains(name))
                .count();
            assert_eq!(account.queued(&intake), waiting as u64, "{name}, {stream:?}");
        }
        self.check_gaps(&connection);
        check_nothing_is_kept_for_nobody(&connection, names);
        let status = self.hand().status();
        for (id, name) in names {
            let recounted = verified.destinations.get(*name).copied().unwrap_or_default();
            assert_eq!(status.destination(*id), recounted, "what is shown for {name} is what is there");
        }
        assert_eq!(status.given_up, books.given_up, "what drops are made of is shown as the records have it");
        let shown = status.intake;
        assert_eq!(shown, Totals { ..verified.intake });
    }

    fn check_gaps(&self, connection: &rusqlite::Connection) {
        let mut statement = connection
            .prepare(
                "SELECT stream, kind, reason, sum(count), count(*) FROM gaps GROUP BY stream, kind, reason",
            )
            .unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut left = self.model.gaps.clone();
        while let Some(row) = rows.next().unwrap() {
            let stream: Option<u32> = row.get(0).unwrap();
            let (kind, reason): (String, String) = (row.get(1).unwrap(), row.get(2).unwrap());
            let Some(stream) = stream else {
                assert_eq!(reason, "unclean_stop");
                assert_eq!(row.get::<_, Option<i64>>(3).unwrap(), None, "how many is not known");
                assert_eq!(row.get::<_, i64>(4).unwrap() as u64, self.model.unclean_stops);
                continue;
            };
            let key = left.keys().find(|k| k.0.0 == stream && k.1 == kind && k.2 == reason).copied();
            let expected = key.and_then(|key| left.remove(&key));
            assert_eq!(
                row.get::<_, i64>(3).unwrap() as u64,
                expected.unwrap_or(0),
                "{stream} {kind} {reason}"
            );
        }
        assert!(left.is_empty(), "not on record: {left:?}");
    }
}
