//! Whatever is done to the queue, in whatever order, its books say what happened.
//!
//! A writer driven by hand beside a model in memory: captures of several streams and classes, good and bad; several
//! destinations that pick, and answer in any order, in parts, and twice; windows that close; a quota; clean stops, crashes,
//! an old copy brought back; streams, routes and destinations that come, change and go. After every step that committed
//! something the whole file is read and compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store_model.rs"]
mod model;
#[path = "support/store.rs"]
mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::{Capture, Class, GapReason, GroupId, Quality, Sample, StreamId, Value};
use fieldgate::store::queue::books::Books;
use fieldgate::store::queue::{
    DestinationId, Outcome, Position, QueuedRow, Reader, Settlement, StreamSpec, Totals, verify,
};
use fieldgate::store::sqlite;
use model::{Account, Model, Row, check_nothing_is_kept_for_nobody};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use support::{Answer, Hand, Rng};

const DESTINATIONS: [&str; 3] = ["golioth", "broker", "archive"];

#[derive(Clone, Debug)]
enum Op {
    /// So many captures of one group; the number chooses everything else.
    Offer {
        count: u8,
        seed: u64,
    },
    /// Let time pass.
    Pass {
        ms: u16,
    },
    Flush,
    /// A destination takes what comes next of a class.
    Pick {
        destination: u8,
        class: u8,
        most: u8,
    },
    /// One of its messages is answered, whole or in two parts.
    Answer {
        message: u8,
        outcome: u8,
        split: u8,
    },
    /// An old answer comes once more.
    AnswerAgain {
        which: u8,
    },
    /// The drain of a destination starts over, as after a panic.
    Restart {
        destination: u8,
    },
    Reopen {
        how: How,
        change: u64,
    },
    /// A copy is put by.
    Copy,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Clean,
    Crash,
    OldCopy,
}

fn op(bursts: u32) -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u8..12, any::<u64>()).prop_map(|(count, seed)| Op::Offer { count, seed }),
        bursts => (60u8..250, any::<u64>()).prop_map(|(count, seed)| Op::Offer { count, seed }),
        4 => (0u16..1500).prop_map(|ms| Op::Pass { ms }),
        2 => Just(Op::Flush),
        9 => (any::<u8>(), any::<u8>(), 1u8..60)
            .prop_map(|(destination, class, most)| Op::Pick { destination, class, most }),
        9 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(message, outcome, split)| Op::Answer { message, outcome, split }),
        1 => any::<u8>().prop_map(|which| Op::AnswerAgain { which }),
        1 => any::<u8>().prop_map(|destination| Op::Restart { destination }),
        2 => (prop_oneof![3 => Just(How::Clean), 3 => Just(How::Crash), 1 => Just(How::OldCopy)], any::<u64>())
            .prop_map(|(how, change)| Op::Reopen { how, change }),
        3 => Just(Op::Copy),
    ]
}

/// Whose message was answered, the identities in it, and how.
type Answered = (&'static str, Vec<(u64, u64, StreamId)>, Outcome);

/// What waits for a commit.
#[derive(Default)]
struct Pending {
    offers: Vec<(Answer, Vec<Row>)>,
    gaps: Vec<(StreamId, &'static str, &'static str)>,
    settled: Vec<Answered>,
}

/// A destination's drain.
struct Drain {
    reader: Reader,
    generation: u32,
    /// Everything before this is in a message or settled; where the next pick begins.
    shelves: BTreeMap<Class, (Position, Position)>,
    messages: Vec<Message>,
}

struct Message {
    from: Position,
    to: Position,
    rows: Vec<QueuedRow>,
}

struct Rig {
    _folder: tempfile::TempDir,
    path: PathBuf,
    old_copy: PathBuf,
    hand: Option<Hand>,
    model: Model,
    pending: Pending,
    old_model: Option<Model>,
    streams: Vec<StreamSpec>,
    destinations: Vec<&'static str>,
    ids: Vec<(StreamId, GroupId)>,
    drains: BTreeMap<&'static str, Drain>,
    /// Answers given in this run of the daemon.
    history: Vec<Settlement>,
    history_of: Vec<Answered>,
    identities: BTreeSet<(u64, String, u64)>,
    epochs: u64,
    epoch: u64,
    max_bytes: u64,
    sequences: BTreeMap<String, u64>,
    now: Mono,
    seen: Seen,
}

/// What happened, so that a test that never meets its subject fails.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    accepted: usize,
    settled: usize,
    crashes: usize,
    old_copies: usize,
    given_up: u64,
}

impl Rig {
    fn new(max_bytes: u64) -> Self {
        let folder = support::fast_folder();
        let path = folder.path().join("queue.db");
        let old_copy = folder.path().join("old.db");
        let streams = vec![
            support::spec("temperature", "bus1", Class::Telemetry, &["golioth", "broker"]),
            support::spec("pressure", "bus1", Class::Telemetry, &["golioth"]),
            support::spec("valve", "bus1", Class::State, &["golioth", "broker", "archive"]),
            support::spec("smoke", "bus2", Class::Alarm, &["golioth", "archive"]),
            support::spec("noise", "bus2", Class::Diagnostics, &["broker"]),
            support::spec("unrouted", "bus2", Class::Telemetry, &[]),
        ];
        let mut rig = Self {
            _folder: folder,
            path,
            old_copy,
            hand: None,
            model: Model::default(),
            pending: Pending::default(),
            old_model: None,
            streams,
            destinations: vec!["golioth", "broker"],
            ids: Vec::new(),
            drains: BTreeMap::new(),
            history: Vec::new(),
            history_of: Vec::new(),
            identities: BTreeSet::new(),
            epochs: 0,
            epoch: 0,
            max_bytes,
            sequences: BTreeMap::new(),
            now: Mono(5_000_000_000),
            seen: Seen::default(),
        };
        rig.open();
        rig
    }

    fn hand(&mut self) -> &mut Hand {
        self.hand.as_mut().unwrap()
    }

    fn id_of(&self, destination: &str) -> DestinationId {
        let hand = self.hand.as_ref().unwrap();
        hand.writer.destination_ids().iter().find(|(_, name)| name == destination).unwrap().0
    }

    fn open(&mut self) {
        self.epochs += 1;
        self.epoch = 0x1000 + self.epochs * 7919;
        let mut options =
            support::options(self.path.clone(), self.streams.clone(), &self.destinations, self.epoch);
        options.max_bytes = self.max_bytes;
        let hand = Hand::open(options, self.now).unwrap();
        self.ids = hand.writer.stream_ids();
        self.hand = Some(hand);
        self.sequences.clear();
        (self.pending, self.drains) = (Pending::default(), BTreeMap::new());
        self.history.clear();
        self.history_of.clear();
        self.model.opened(&self.streams, &self.destinations, &self.ids);
        self.check();
    }

    /// The store committed: what waited is so now.
    fn committed(&mut self) {
        let changed = self.hand().status.has_changed().unwrap();
        if !changed {
            for (answer, _) in &mut self.pending.offers {
                assert!(answer.try_recv().is_err(), "answered before the commit");
            }
            return;
        }
        self.hand().status.mark_unchanged();
        let pending = std::mem::take(&mut self.pending);
        let before = self.model.rows.len();
        self.seen.settled += pending.settled.len();
        for (answer, rows) in pending.offers {
            self.seen.accepted += rows.len();
            let accepted = support::answered(answer).expect("nothing here fills the disk");
            assert_eq!(accepted.accepted as usize, rows.len());
            for row in rows {
                assert_eq!((accepted.epoch.0, accepted.sequence), (row.epoch, row.sequence));
                let fresh = self.identities.insert((row.epoch, row.spec.name.clone(), row.sequence));
                assert!(fresh, "an identity was accepted twice: {row:?}");
                self.model.accept(row);
            }
        }
        self.model.rows[before..].sort_by_key(|r| r.routes);
        for (destination, rows, outcome) in pending.settled {
            self.model.settle(destination, &rows, &outcome);
        }
        for gap in pending.gaps {
            *self.model.gaps.entry(gap).or_default() += 1;
        }
        self.check();
    }

    fn offer(&mut self, count: u8, seed: u64) {
        let mut rng = Rng(seed);
        for _ in 0..count {
            let groups: Vec<GroupId> = self.ids.iter().map(|(_, g)| *g).collect();
            let Some(group) = groups.get(rng.below(groups.len() as u64) as usize).copied() else { return };
            self.offer_one(group, &mut rng, count > 50);
            self.now = self.now.plus(Duration::from_millis(rng.below(40)));
            self.hand().now = self.now;
        }
    }

    fn offer_one(&mut self, group: GroupId, rng: &mut Rng, in_bulk: bool) {
        // In whole microseconds, as the file keeps it; not always in order.
        let at = Mono((self.now.0 - rng.below(1_000_000_000)) / 1000 * 1000);
        let mut samples = Vec::new();
        let mut missing = Vec::new();
        let streams: Vec<(StreamId, GroupId, StreamSpec)> =
            self.ids.iter().zip(&self.streams).map(|((id, g), spec)| (*id, *g, spec.clone())).collect();
        let name = streams.iter().find(|(_, g, _)| *g == group).unwrap().2.group.clone();
        let next = self.sequences.entry(name).or_insert(1);
        let sequence = *next;
        *next += 1;
        let mut rows = Vec::new();
        let mut gaps = Vec::new();
        let mut seen = BTreeSet::new();
        for (id, of, spec) in &streams {
            // A flood of alarms is another test's: here the quota always finds something to give up.
            if in_bulk && spec.class == Class::Alarm {
                continue;
            }
            let odd = rng.below(60);
            if *of != group && odd != 0 {
                continue;
            }
            if *of == group && odd > 50 {
                let reason = GapReason::ALL[rng.below(5) as usize];
                missing.push((*id, reason));
                gaps.push((*id, "missed", reason.name()));
                continue;
            }
            let times = if odd == 7 { 2 } else { 1 };
            for _ in 0..times {
                let (value, wrong) = value(rng, in_bulk);
                let quality = Quality::from_number(rng.below(4) as u8).unwrap();
                let sample = Sample { stream: *id, value, quality };
                samples.push(sample.clone());
                if *of != group {
                    gaps.push((*id, "refused", "wrong_group"));
                } else if seen.contains(id) {
                    gaps.push((*id, "refused", "duplicate"));
                } else if let Some(reason) = wrong {
                    gaps.push((*id, "refused", reason));
                } else {
                    seen.insert(*id);
                    rows.push(Row {
                        epoch: self.epoch,
                        sequence,
                        at,
                        sample,
                        class: spec.class,
                        spec: spec.clone(),
                        routes: self
                            .destinations
                            .iter()
                            .filter(|d| spec.routes.iter().any(|r| r == *d))
                            .map(|d| self.id_of(d).bit())
                            .sum(),
                        open: self
                            .destinations
                            .iter()
                            .filter(|d| spec.routes.iter().any(|r| r == *d))
                            .copied()
                            .collect(),
                    });
                }
            }
        }
        if rng.below(40) == 0 {
            samples.push(support::steps(StreamId(999_999), 1));
            gaps.push((StreamId(0), "refused", "unknown_stream"));
        }
        self.pending.gaps.extend(gaps);
        let answer = self.hand().offer(Capture { group, at, samples, missing });
        self.pending.offers.push((answer, rows));
        self.committed();
    }

    fn pick(&mut self, destination: u8, class: u8, most: u8) {
        let destination = self.destinations[usize::from(destination) % self.destinations.len()];
        let class = Class::ALL[usize::from(class) % 5];
        let id = self.id_of(destination);
        let generation = self.hand().status().generation;
        let path = self.path.clone();
        let drain = self.drains.entry(destination).or_insert_with(|| Drain {
            reader: Reader::open(&path, id).unwrap(),
            generation,
            shelves: BTreeMap::new(),
            messages: Vec::new(),
        });
        // The next class that has something.
        let ends = self.hand.as_ref().unwrap().status().ends;
        let place = Class::ALL.iter().position(|c| *c == class).unwrap();
        let turn = Class::ALL.iter().cycle().skip(place).take(5);
        let mut has_more = turn.filter(|c| {
            let start = drain.reader.start(**c);
            drain.shelves.get(c).map_or(start, |(_, read_to)| *read_to) < ends[c]
        });
        let class = has_more.next().copied().unwrap_or(class);
        let start = drain.reader.start(class);
        let (from, read_to) = *drain.shelves.entry(class).or_insert((start, start));
        let picked = drain.reader.pick(class, read_to, usize::from(most)).unwrap();
        let resume = picked.resume.unwrap();
        assert!(picked.rows.len() <= usize::from(most));
        assert!(picked.rows.is_sorted_by(|a, b| a.position < b.position), "in order within a class");
        if resume != from {
            drain.shelves.insert(class, (resume, resume));
            drain.messages.push(Message { from, to: resume, rows: picked.rows });
        }
    }

    fn answer(&mut self, message: u8, outcome: u8, split: u8) {
        let all: Vec<&'static str> =
            self.drains.iter().filter(|(_, d)| !d.messages.is_empty()).map(|(name, _)| *name).collect();
        let Some(destination) = all.get(usize::from(message) % all.len().max(1)).copied() else { return };
        let drain = self.drains.get_mut(destination).unwrap();
        let n = usize::from(message / 3) % drain.messages.len();
        let message = drain.messages.swap_remove(n);
        let generation = drain.generation;
        let outcome = match outcome % 8 {
            0 => Outcome::Dropped("age"),
            1 => Outcome::SetAside("4.00".into()),
            _ => Outcome::Acknowledged,
        };
        let mut parts = vec![message];
        if split.is_multiple_of(3) && parts[0].rows.len() > 1 {
            // Halved: the second half is answered first, the first half stays in flight.
            let mut head = parts.remove(0);
            let tail = head.rows.split_off(1 + usize::from(split) % (head.rows.len() - 1));
            let middle = tail[0].position;
            parts.push(Message { from: middle, to: head.to, rows: tail });
            head.to = middle;
            self.drains.get_mut(destination).unwrap().messages.push(head);
        }
        let id = self.id_of(destination);
        for part in parts {
            let settlement =
                support::settlement(generation, id, part.from, part.to, &part.rows, outcome.clone());
            let rows: Vec<_> =
                part.rows.iter().map(|r| (r.epoch.epoch.0, r.sequence, r.sample.stream)).collect();
            self.history.push(settlement.clone());
            self.history_of.push((destination, rows.clone(), outcome.clone()));
            self.pending.settled.push((destination, rows, outcome.clone()));
            self.hand().settle(settlement);
            self.committed();
        }
    }

    fn answer_again(&mut self, which: u8) {
        let n = usize::from(which) % self.history.len().max(1);
        let Some(settlement) = self.history.get(n).cloned() else { return };
        self.pending.settled.push(self.history_of[n].clone());
        self.hand().settle(settlement);
        self.committed();
    }

    fn reopen(&mut self, how: How, change: u64) {
        // Nobody puts a file in another's place while it is being read.
        if how != How::Clean {
            self.drains.clear();
        }
        match how {
            How::Clean => {
                let mut hand = self.hand.take().unwrap();
                hand.status.mark_unchanged();
                use fieldgate::store::worker::Machine;
                hand.writer.close(self.now);
                // A drain that still reads keeps the log's file, but there is nothing in it.
                let log = sqlite::log_of(&self.path);
                assert!(
                    matches!(log, sqlite::Log::Missing | sqlite::Log::Empty),
                    "a clean stop brings its log home"
                );
                self.hand = Some(hand);
                // What waited was committed on the way.
                self.committed();
                self.hand = None;
            }
            How::Crash => {
                let crashed = self.path.with_extension("crashed");
                support::copy_with_log(&self.path, &crashed);
                self.hand = None;
                support::copy_with_log(&crashed, &self.path);
                self.model.unclean_stops += 1;
                self.seen.crashes += 1;
            }
            How::OldCopy => {
                let Some(old) = self.old_model.clone() else { return };
                self.hand = None;
                support::copy_with_log(&self.old_copy, &self.path);
                self.model = old;
                self.seen.old_copies += 1;
                self.model.unclean_stops += 1;
            }
        }
        // Half of the starts change nothing.
        if change.is_multiple_of(2) {
            self.reconfigure(&mut Rng(change));
        }
        self.open();
    }

    fn reconfigure(&mut self, rng: &mut Rng) {
        match rng.below(6) {
            0 | 1 => {
                let d = DESTINATIONS[rng.below(3) as usize];
                match self.destinations.iter().position(|have| *have == d) {
                    Some(n) if self.destinations.len() > 1 => {
                        self.destinations.remove(n);
                    }
                    Some(_) => {}
                    None => self.destinations.push(d),
                }
            }
            2 | 3 => {
                let n = rng.below(self.streams.len() as u64) as usize;
                let d = DESTINATIONS[rng.below(3) as usize].to_owned();
                let routes = &mut self.streams[n].routes;
                match routes.iter().position(|r| *r == d) {
                    Some(n) => {
                        routes.remove(n);
                    }
                    None => routes.push(d),
                }
            }
            4 => {
                let n = rng.below(self.streams.len() as u64) as usize;
                let spec = &mut self.streams[n];
                spec.unit = if spec.unit == "Cel" { "K".into() } else { "Cel".into() };
                if rng.below(2) == 0 && spec.class != Class::Alarm {
                    spec.class = if spec.class == Class::Telemetry { Class::State } else { Class::Telemetry };
                }
            }
            _ => {
                // One goes, or comes back.
                match self.streams.iter().position(|s| s.name == "pressure") {
                    Some(n) => {
                        self.streams.remove(n);
                    }
                    None => {
                        self.streams.insert(
                            0,
                            support::spec("pressure", "bus1", Class::Telemetry, &["golioth", "archive"]),
                        );
                    }
                }
            }
        }
    }

    /// Reads the whole file and compares.
    fn check(&mut self) {
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

    /// Rows the model has waiting and the file has not: only a quota may take them, the least urgent first, oldest first.
    fn allow_for_quota(&mut self, name: &'static str, found: &[QueuedRow]) {
        let there: BTreeSet<(u64, u64, StreamId)> =
            found.iter().map(|r| (r.epoch.epoch.0, r.sequence, r.sample.stream)).collect();
        let mut stayed: BTreeSet<Class> = BTreeSet::new();
        for row in &mut self.model.rows {
            if !row.open.contains(name) {
                continue;
            }
            if there.contains(&(row.epoch, row.sequence, row.sample.stream)) {
                stayed.insert(row.class);
                continue;
            }
            assert!(self.max_bytes < 1 << 20, "gone without a quota: {row:?}");
            assert_ne!(row.class, Class::Alarm, "an alarm was given up: {row:?}");
            assert!(!stayed.contains(&row.class), "not the oldest was given up: {row:?}");
            self.seen.given_up += 1;
            row.open.remove(name);
            self.model.accounts.get_mut(&(name, row.sample.stream)).unwrap().dropped += 1;
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
            assert_eq!((intake.refused, intake.missed), (sum("refused"), sum("missed")), "{stream:?}");
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

    fn step(&mut self, op: &Op) {
        match op {
            Op::Offer { count, seed } => self.offer(*count, *seed),
            Op::Pass { ms } => {
                let time = Duration::from_millis((*ms).into());
                self.now = self.now.plus(time);
                self.hand().pass(time);
                self.committed();
            }
            Op::Flush => {
                self.hand().flush();
                self.committed();
                assert!(self.pending.offers.is_empty());
            }
            Op::Pick { destination, class, most } => self.pick(*destination, *class, *most),
            Op::Answer { message, outcome, split } => self.answer(*message, *outcome, *split),
            Op::AnswerAgain { which } => self.answer_again(*which),
            Op::Restart { destination } => {
                let d = self.destinations[usize::from(*destination) % self.destinations.len()];
                self.drains.remove(d);
            }
            Op::Reopen { how, change } => self.reopen(*how, *change),
            Op::Copy => {
                support::copy_with_log(&self.path, &self.old_copy);
                self.old_model = Some(self.model.clone());
            }
        }
    }
}

/// A value, and why it must be refused, if it must.
fn value(rng: &mut Rng, in_bulk: bool) -> (Value, Option<&'static str>) {
    let good = match rng.below(if in_bulk { 4 } else { 12 }) {
        0..3 => Value::Steps(rng.next().cast_signed() >> rng.below(64)),
        3 => Value::Text("long ".repeat(rng.below(50) as usize).into()),
        4 => return (Value::Float(f64::NAN), Some("not_finite")),
        5 => return (Value::Float(f64::NEG_INFINITY), Some("not_finite")),
        6 => return (Value::Text("x".repeat(257).into()), Some("too_long")),
        7 => Value::Bool(rng.below(2) == 0),
        8 => Value::Absent,
        9 => Value::Text("größer".into()),
        _ => Value::Float(rng.below(1000) as f64 / 8.0),
    };
    (good, None)
}

fn run(name: &str, max_bytes: u64, bursts: u32, cases: u32) -> Seen {
    let seed = support::seed(name);
    let mut bytes = [0u8; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&max_bytes.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let seen = RefCell::new(Seen::default());
    let result = runner.run(&prop::collection::vec(op(bursts), 1..90), |ops| {
        let mut rig = Rig::new(max_bytes);
        for op in &ops {
            rig.step(op);
        }
        // In the end everything is there, or accounted for.
        rig.step(&Op::Flush);
        rig.step(&Op::Reopen { how: How::Clean, change: 1 });
        let (mut all, one) = (seen.borrow_mut(), rig.seen);
        all.accepted += one.accepted;
        all.settled += one.settled;
        all.crashes += one.crashes;
        all.old_copies += one.old_copies;
        all.given_up += one.given_up;
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
    let seen = seen.into_inner();
    println!("{name}: {seen:?}");
    assert!(seen.accepted > 5_000 && seen.settled > 25 && seen.crashes > 0, "{seen:?}");
    seen
}

#[test]
fn books_and_file_equal_the_model_after_every_step() {
    let seen = run("books_and_file_equal_the_model_after_every_step", 64 << 20, 1, 32);
    assert!(seen.given_up == 0 && seen.settled > 100 && seen.old_copies > 0, "{seen:?}");
}

#[test]
fn a_small_quota_gives_up_the_oldest_of_the_least_urgent_and_says_so() {
    let seen = run("a_small_quota_gives_up_the_oldest_of_the_least_urgent_and_says_so", 176 << 10, 9, 10);
    assert!(seen.given_up > 0, "{seen:?}");
}
