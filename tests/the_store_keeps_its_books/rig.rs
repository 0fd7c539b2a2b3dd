//! A writer driven by hand and the model beside it: what is handed in, picked and answered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::{Capture, Class, GapReason, GroupId, Quality, Sample, StreamId, Value};
use fieldgate::store::queue::writer::{AsideAction, Command};
use fieldgate::store::queue::{
    Aside, AsideMoved, ClassQuota, DestinationId, GivenUp, Outcome, Position, QueuedRow, Reader, SettledRow,
    Settlement, StreamSpec,
};
use fieldgate::store::worker::Machine;
use tokio::sync::oneshot;

use super::Op;
use super::model::{Model, Row, Standing};
use super::support::{self, Answer, Hand, Rng};

pub(super) const DESTINATIONS: [&str; 3] = ["golioth", "broker", "archive"];

/// Whose message was answered, the identities in it, and how.
pub(super) type Answered = (&'static str, Vec<Standing>, Outcome);

/// What waits for a commit.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) offers: Vec<(Answer, Vec<Row>)>,
    pub(super) gaps: Vec<(StreamId, &'static str, &'static str)>,
    pub(super) settled: Vec<Answered>,
}

/// A destination's drain.
pub(super) struct Drain {
    pub(super) reader: Reader,
    pub(super) generation: u32,
    /// Everything before this is in a message or settled; where the next pick begins.
    pub(super) shelves: BTreeMap<Class, (Position, Position)>,
    pub(super) messages: Vec<Message>,
}

pub(super) struct Message {
    pub(super) from: Position,
    pub(super) to: Position,
    pub(super) rows: Vec<QueuedRow>,
    /// What they were when they were picked.
    pub(super) standing: Vec<Standing>,
}

pub(super) struct Rig {
    _folder: tempfile::TempDir,
    pub(super) path: PathBuf,
    pub(super) old_copy: PathBuf,
    pub(super) hand: Option<Hand>,
    pub(super) model: Model,
    /// Where in the model's rows those of the newest commit begin.
    pub(super) newest: usize,
    pub(super) pending: Pending,
    pub(super) old_model: Option<Model>,
    pub(super) streams: Vec<StreamSpec>,
    pub(super) destinations: Vec<&'static str>,
    pub(super) ids: Vec<(StreamId, GroupId)>,
    pub(super) drains: BTreeMap<&'static str, Drain>,
    /// Answers given in this run of the daemon.
    pub(super) history: Vec<Settlement>,
    pub(super) history_of: Vec<Vec<Answered>>,
    pub(super) identities: BTreeSet<(u64, String, u64)>,
    pub(super) epochs: u64,
    pub(super) epoch: u64,
    pub(super) max_bytes: u64,
    /// The class that has a quota of its own, and how many readings that is.
    pub(super) class_quota: Option<(Class, u64)>,
    pub(super) sequences: BTreeMap<String, u64>,
    pub(super) now: Mono,
    pub(super) seen: Seen,
}

/// What happened, so that a test that never meets its subject fails.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) accepted: usize,
    pub(super) settled: usize,
    pub(super) coalesced: usize,
    pub(super) crashes: usize,
    pub(super) torn: usize,
    pub(super) upgraded: usize,
    pub(super) downgraded: usize,
    pub(super) old_copies: usize,
    pub(super) given_up: u64,
    pub(super) earlier: usize,
    pub(super) passed_over: usize,
    pub(super) sent_again: usize,
    pub(super) aside_dropped: usize,
    /// Something else than diagnostics was given up for the file's quota.
    pub(super) in_order: usize,
}

impl Rig {
    pub(super) fn new(max_bytes: u64, class_quota: Option<(Class, u64)>) -> Self {
        let folder = support::fast_folder();
        let path = folder.path().join("queue.db");
        let old_copy = folder.path().join("old.db");
        let streams = vec![
            support::spec("temperature", "bus1", Class::Telemetry, &["golioth", "broker"]),
            latest(support::spec("pressure", "bus1", Class::Telemetry, &["golioth"])),
            latest(support::spec("valve", "bus1", Class::State, &["golioth", "broker", "archive"])),
            // Each alarm counts, whatever is said of its stream.
            latest(support::spec("smoke", "bus2", Class::Alarm, &["golioth", "archive"])),
            support::spec("noise", "bus2", Class::Diagnostics, &["broker"]),
            support::spec("unrouted", "bus2", Class::Telemetry, &[]),
        ];
        let mut rig = Self {
            _folder: folder,
            path,
            old_copy,
            hand: None,
            model: Model::default(),
            newest: 0,
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
            class_quota,
            sequences: BTreeMap::new(),
            now: Mono(5_000_000_000),
            seen: Seen::default(),
        };
        rig.open();
        rig
    }

    pub(super) fn hand(&mut self) -> &mut Hand {
        self.hand.as_mut().unwrap()
    }

    pub(super) fn id_of(&self, destination: &str) -> DestinationId {
        let hand = self.hand.as_ref().unwrap();
        hand.writer.destination_ids().iter().find(|(_, name)| name == destination).unwrap().0
    }

    pub(super) fn open(&mut self) {
        self.epochs += 1;
        self.epoch = 0x1000 + self.epochs * 7919;
        let mut options =
            support::options(self.path.clone(), self.streams.clone(), &self.destinations, self.epoch);
        options.max_bytes = self.max_bytes;
        let quota = |rows| ClassQuota { rows: Some(rows), bytes: None };
        options.class_quotas = self.class_quota.iter().map(|(class, rows)| (*class, quota(*rows))).collect();
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

    /// The store may have committed: then what waited is so now, and the whole file says it.
    pub(super) fn committed(&mut self) {
        if self.take_over() {
            self.check();
        }
    }

    /// Whether it committed; what waited is then in the model.
    fn take_over(&mut self) -> bool {
        let changed = self.hand().status.has_changed().unwrap();
        if !changed {
            for (answer, _) in &mut self.pending.offers {
                assert!(answer.try_recv().is_err(), "answered before the commit");
            }
            return false;
        }
        self.hand().status.mark_unchanged();
        let pending = std::mem::take(&mut self.pending);
        let before = self.model.rows.len();
        self.newest = before;
        self.seen.settled += pending.settled.len();
        for (answer, rows) in pending.offers {
            self.seen.accepted += rows.len();
            let accepted = support::answered(answer).expect("nothing here fills the disk");
            assert_eq!(accepted.accepted as usize, rows.len());
            self.seen.coalesced += accepted.coalesced as usize;
            for row in rows {
                assert_eq!((accepted.epoch.0, accepted.sequence), (row.epoch, row.sequence));
                let fresh = self.identities.insert((row.epoch, row.spec.name.clone(), row.sequence));
                assert!(fresh, "an identity was accepted twice: {row:?}");
                self.model.accept(row);
            }
        }
        // What may have been replaced until the last moment is packed last.
        self.model.rows[before..].sort_by_key(|r| (r.routes, is_coalesced(&r.spec)));
        for (destination, rows, outcome) in pending.settled {
            self.model.settle(destination, &rows, &outcome);
        }
        for gap in pending.gaps {
            *self.model.gaps.entry(gap).or_default() += 1;
        }
        true
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
                    if is_coalesced(spec) {
                        self.coalesce(*id);
                    }
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
                        copy: 0,
                        aside: BTreeMap::new(),
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

    /// A reading of the stream that still waits to be accepted makes way for the one at hand.
    fn coalesce(&mut self, stream: StreamId) {
        for (_, rows) in &mut self.pending.offers {
            let before = rows.len();
            rows.retain(|row| row.sample.stream != stream);
            if rows.len() < before {
                self.pending.gaps.push((stream, "coalesced", "superseded"));
            }
        }
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
            let identity = |r: &QueuedRow| (r.epoch.epoch.0, r.sequence, r.sample.stream);
            let standing =
                picked.rows.iter().map(|r| self.model.standing(destination, identity(r))).collect();
            drain.messages.push(Message { from, to: resume, rows: picked.rows, standing });
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
            1 | 2 => Outcome::SetAside("4.00".into()),
            _ => Outcome::Acknowledged,
        };
        let mut parts = vec![message];
        if split.is_multiple_of(3) && parts[0].rows.len() > 1 {
            // Halved: the second half is answered first, the first half stays in flight.
            let mut head = parts.remove(0);
            let half = 1 + usize::from(split) % (head.rows.len() - 1);
            let (tail, standing) = (head.rows.split_off(half), head.standing.split_off(half));
            let middle = tail[0].position;
            parts.push(Message { from: middle, to: head.to, rows: tail, standing });
            head.to = middle;
            self.drains.get_mut(destination).unwrap().messages.push(head);
        }
        let id = self.id_of(destination);
        for part in parts {
            let mut settlement =
                support::settlement(generation, id, part.from, part.to, &part.rows, outcome.clone());
            // Some it did not send: a newer one of the stream was there, or the data plan had no room for all.
            let passed_over = |n: usize| outcome == Outcome::Acknowledged && split % 4 == 1 && n % 3 == 1;
            let rows: Vec<SettledRow> = std::mem::take(&mut settlement.rows);
            let (mut sent, mut given) = (Vec::new(), Vec::new());
            for (n, (row, standing)) in rows.into_iter().zip(part.standing).enumerate() {
                if passed_over(n) {
                    settlement.given_up.push(GivenUp { row, reason: "thinned" });
                    given.push(standing);
                } else {
                    settlement.rows.push(row);
                    sent.push(standing);
                }
            }
            self.seen.passed_over += given.len();
            let answered =
                vec![(destination, sent, outcome.clone()), (destination, given, Outcome::Dropped("thinned"))];
            self.history.push(settlement.clone());
            self.history_of.push(answered.clone());
            self.pending.settled.extend(answered);
            self.hand().settle(settlement);
            self.committed();
        }
    }

    /// People send what a destination refused once more, or give it up.
    fn move_aside(&mut self, destination: u8, action: AsideAction) {
        let destination = self.destinations[usize::from(destination) % self.destinations.len()];
        let which = Aside::AllOf(self.id_of(destination));
        let now = self.now;
        let (reply, mut answer) = oneshot::channel();
        self.hand().writer.handle(now, Command::Aside { which, action, reply });
        let moved = answer.try_recv().unwrap().unwrap();
        // What waited was committed before.
        self.take_over();
        let bit = self.id_of(destination).bit();
        let count = match action {
            AsideAction::Retry => self.model.send_again(destination, bit),
            AsideAction::Drop => self.model.give_up_aside(destination),
        };
        assert_eq!(moved, AsideMoved { moved: count as u64, ..AsideMoved::default() });
        match action {
            AsideAction::Retry => self.seen.sent_again += count,
            AsideAction::Drop => self.seen.aside_dropped += count,
        }
        self.check();
    }

    fn answer_again(&mut self, which: u8) {
        let n = usize::from(which) % self.history.len().max(1);
        let Some(settlement) = self.history.get(n).cloned() else { return };
        self.pending.settled.extend(self.history_of[n].clone());
        self.hand().settle(settlement);
        self.committed();
    }

    pub(super) fn step(&mut self, op: &Op) {
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
            Op::Aside { destination, again } => {
                let action = if *again { AsideAction::Retry } else { AsideAction::Drop };
                self.move_aside(*destination, action);
            }
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

fn latest(spec: StreamSpec) -> StreamSpec {
    StreamSpec { latest_only: true, ..spec }
}

fn is_coalesced(spec: &StreamSpec) -> bool {
    spec.latest_only && !matches!(spec.class, Class::Alarm | Class::Event)
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
