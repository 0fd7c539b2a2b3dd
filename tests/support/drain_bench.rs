//! The real drain and the real queue in virtual time, with a link that is a script.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fieldgate::board::Board;
use fieldgate::clock::{Clock, Mono, VirtualClock, Wall};
use fieldgate::daemon::rim::{Entropy, Rim, machine};
use fieldgate::daemon::supervisor::Supervisor;
use fieldgate::reading::{Class, Value};
use fieldgate::store::queue::{OpenOptions, Owed, Queue, QueuedRow, Reader, StreamSpec, Totals};
use fieldgate::uplink::drain::{self, DrainOptions};
use fieldgate::uplink::link::{
    Capabilities, CloudEvent, EpochStatement, Link, Message, Outcome, Packed, Report,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::support::{BOOT, capture, fast_folder, options, spec, steps};

pub(crate) const S: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// A message body is four bytes a reading (its value), ten for the statement, which is `S` ten times.
const STATEMENT: [u8; 10] = [b'S'; 10];

/// The wall time a bench begins at.
pub(crate) const WALL: Wall = Wall { unix_ms: 1_795_132_800_000, uncertainty_ms: 50, trusted: true };

type Script = dyn FnMut(&[u32], &Message) -> (Duration, Outcome) + Send;

pub(crate) struct Scripted {
    script: Mutex<Box<Script>>,
    clock: Arc<VirtualClock>,
    pub(crate) up: watch::Sender<bool>,
    pub(crate) seen: Mutex<Seen>,
}

#[derive(Default)]
pub(crate) struct Seen {
    /// Values of each message, in order of sending.
    pub(crate) sent: Vec<Vec<u32>>,
    pub(crate) acknowledged: BTreeMap<u32, u32>,
    in_flight: usize,
    /// What each letter tells, as packed; after how many acknowledged readings, and when, letters were sent.
    pub(crate) packed_letters: Vec<Vec<Owed>>,
    pub(crate) letters: Vec<(usize, Mono)>,
    /// The last one first.
    pub(crate) letter_outcomes: Vec<Outcome>,
    /// Bytes a record takes in a letter.
    pub(crate) record_length: usize,
    /// The wall time of each reading's boot, as last packed.
    pub(crate) dated: BTreeMap<u32, Option<i64>>,
    pub(crate) most_in_flight: usize,
    pub(crate) most_offered: usize,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

pub(crate) fn value(row: &QueuedRow) -> u32 {
    match row.sample.value {
        Value::Steps(n) => u32::try_from(n).unwrap(),
        _ => panic!("{row:?}"),
    }
}

/// Values from a million on are long: half a kilobyte.
fn length(value: u32) -> usize {
    if value >= 1_000_000 { 512 } else { 4 }
}

fn values(body: &[u8]) -> Vec<u32> {
    let mut rest = body.strip_prefix(&STATEMENT).unwrap_or(body);
    let mut values = Vec::new();
    while let Some((head, _)) = rest.split_at_checked(4) {
        let value = u32::from_be_bytes(head.try_into().unwrap());
        rest = &rest[length(value)..];
        values.push(value);
    }
    values
}

#[async_trait]
impl Link for Scripted {
    fn name(&self) -> &str {
        "golioth"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_message_bytes: 1024, max_in_flight: 8 }
    }

    fn pack(&self, statement: Option<&EpochStatement>, rows: &[QueuedRow], limit: usize) -> Option<Packed> {
        let mut seen = self.seen.lock().unwrap();
        seen.most_offered = seen.most_offered.max(rows.len());
        let mut body = statement.map_or(Vec::new(), |_| STATEMENT.to_vec());
        let mut count = 0;
        for row in rows {
            if body.len() + length(value(row)) > limit {
                break;
            }
            body.extend(value(row).to_be_bytes());
            seen.dated.insert(value(row), row.epoch.wall_offset_ms.map(|(offset, _)| offset));
            body.resize(body.len() + length(value(row)) - 4, 0);
            count += 1;
        }
        let message = Message { address: "a".into(), body, class: rows[0].stream.class, readings: count };
        (count > 0).then_some(Packed { message, rows: count })
    }

    fn pack_owed(&self, owed: &[Owed], limit: usize) -> Option<Packed> {
        let mut seen = self.seen.lock().unwrap();
        let rows = owed.len().min(limit.checked_div(seen.record_length).unwrap_or(usize::MAX));
        if rows == 0 {
            return None;
        }
        let body = vec![0; rows * seen.record_length];
        let message = Message { address: "losses".into(), body, class: Class::Event, readings: 0 };
        seen.packed_letters.push(owed[..rows].to_vec());
        Some(Packed { message, rows })
    }

    async fn send(&self, message: &Message, _: Duration) -> Outcome {
        if message.address == "losses" {
            let mut seen = self.seen.lock().unwrap();
            let sent = (seen.acknowledged.len(), self.clock.mono());
            seen.letters.push(sent);
            return seen.letter_outcomes.pop().unwrap_or(Outcome::Acknowledged);
        }
        let values = values(&message.body);
        let (after, outcome) = {
            let mut seen = self.seen.lock().unwrap();
            seen.sent.push(values.clone());
            seen.in_flight += 1;
            seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
            (self.script.lock().unwrap())(&values, message)
        };
        tokio::time::sleep(after).await;
        let mut seen = self.seen.lock().unwrap();
        seen.in_flight -= 1;
        if outcome == Outcome::Acknowledged {
            for value in values {
                *seen.acknowledged.entry(value).or_default() += 1;
            }
        }
        outcome
    }

    async fn report(&self, _: Report) -> Outcome {
        Outcome::Acknowledged
    }

    fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    fn events(&self) -> Option<mpsc::Receiver<CloudEvent>> {
        None
    }
}

pub(crate) fn streams() -> Vec<StreamSpec> {
    vec![
        spec("telemetry", "g", Class::Telemetry, &["golioth"]),
        spec("alarm", "g", Class::Alarm, &["golioth"]),
        spec("elsewhere", "g", Class::Telemetry, &["other"]),
        spec("position", "g", Class::Telemetry, &["golioth"]),
    ]
}

pub(crate) struct Bench {
    pub(crate) queue: Queue,
    pub(crate) link: Arc<Scripted>,
    supervisor: Supervisor,
    stop: CancellationToken,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Arc<VirtualClock>,
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Even(Mutex<u64>);

impl Entropy for Even {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for byte in bytes {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (*state >> 56) as u8;
        }
    }
}

impl Bench {
    pub(crate) fn start(
        script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static,
    ) -> Self {
        Self::start_in(fast_folder(), DrainOptions::default(), script)
    }

    pub(crate) fn start_in(
        folder: tempfile::TempDir,
        drain_options: DrainOptions,
        script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static,
    ) -> Self {
        Self::start_at(WALL, folder, drain_options, script)
    }

    pub(crate) fn start_at(
        wall: Wall,
        folder: tempfile::TempDir,
        drain_options: DrainOptions,
        script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static,
    ) -> Self {
        let queue = options(folder.path().join("queue.db"), streams(), &["golioth", "other"], 1);
        Self::start_with(queue, wall, folder, drain_options, script)
    }

    /// With a link of the caller's before the scripted one.
    pub(crate) fn start_behind<L: Link + 'static>(
        script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static,
        before: impl FnOnce(Arc<dyn Link>, Rim, Arc<Board>) -> Arc<L>,
    ) -> Self {
        let folder = fast_folder();
        let queue = options(folder.path().join("queue.db"), streams(), &["golioth", "other"], 1);
        let before = |link, rim, board| before(link, rim, board) as Arc<dyn Link>;
        Self::start_whole(queue, WALL, folder, DrainOptions::default(), script, before)
    }

    pub(crate) fn start_with(
        queue: OpenOptions,
        wall: Wall,
        folder: tempfile::TempDir,
        drain_options: DrainOptions,
        script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static,
    ) -> Self {
        Self::start_whole(queue, wall, folder, drain_options, script, |link, _, _| link)
    }

    fn start_whole(
        queue: OpenOptions,
        wall: Wall,
        folder: tempfile::TempDir,
        mut drain_options: DrainOptions,
        script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static,
        before: impl FnOnce(Arc<dyn Link>, Rim, Arc<Board>) -> Arc<dyn Link>,
    ) -> Self {
        let clock = Arc::new(VirtualClock::starting_at(BOOT, wall));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let (queue, pump) = Queue::open_inline(queue, &shared).unwrap();
        tokio::spawn(pump);
        let link = Arc::new(Scripted {
            script: Mutex::new(Box::new(script)),
            clock: Arc::clone(&clock),
            up: watch::Sender::new(true),
            seen: Mutex::default(),
        });
        let rim = Rim { random: Arc::new(Even(Mutex::new(1))), ..machine::rim(shared) };
        let stop = CancellationToken::new();
        let board = Board::shared();
        let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
        let destination = queue.destinations()[0].0;
        // The fourth stream's latest reading is all that counts.
        drain_options.latest_only.insert(queue.streams()[3].0);
        let as_link: Arc<dyn Link> = Arc::clone(&link) as Arc<dyn Link>;
        let as_link = before(as_link, rim.clone(), Arc::clone(&board));
        let shown = Arc::clone(&board);
        supervisor.spawn(drain::lane(
            as_link,
            destination,
            queue.clone(),
            rim,
            drain_options,
            shown,
            stop.clone(),
        ));
        Self { queue, link, supervisor, stop, board, clock, _folder: folder }
    }

    pub(crate) async fn take(&self, stream: usize, values: impl IntoIterator<Item = u32>) {
        let (id, group) = self.queue.streams()[stream];
        let mut answers = Vec::new();
        for value in values {
            let reading = capture(group, self.clock.mono(), vec![steps(id, i64::from(value))]);
            answers.push(self.queue.offer(reading).await.unwrap());
        }
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
    }

    pub(crate) fn queued(&self) -> u64 {
        self.queue.status().borrow().destination(self.queue.destinations()[0].0).queued
    }

    pub(crate) fn set_aside(&self) -> u64 {
        self.totals().set_aside
    }

    pub(crate) fn totals(&self) -> Totals {
        self.queue.status().borrow().destination(self.queue.destinations()[0].0)
    }

    /// The link goes down, or comes up.
    pub(crate) fn link_is(&self, up: bool) {
        self.link.up.send_replace(up);
    }

    /// What the destination is owed by the file, as somebody who looks sees it.
    pub(crate) async fn owed(&self) -> usize {
        self.queue.flush().await;
        let mut reader = Reader::open(self.queue.path(), self.queue.destinations()[0].0).unwrap();
        let owed = reader.owed(99).unwrap();
        owed.new.len() + owed.grown.len()
    }

    pub(crate) fn has(&self, value: u32) -> bool {
        self.link.seen.lock().unwrap().acknowledged.contains_key(&value)
    }

    pub(crate) async fn drained(&self, at_most: Duration) {
        let mut status = self.queue.status();
        let golioth = self.queue.destinations()[0].0;
        let empty = status.wait_for(|status| status.destination(golioth).queued == 0);
        let done = tokio::time::timeout(at_most, empty).await.map(|_| ());
        done.unwrap_or_else(|_| panic!("{} still queued", self.queued()));
    }

    pub(crate) async fn finish(self) -> Seen {
        self.stop.cancel();
        self.supervisor.stopped(5 * S).await;
        self.queue.stop();
        let verified = fieldgate::store::queue::verify::verify(self.queue.path()).unwrap();
        assert_eq!(verified.problems, Vec::<String>::new());
        std::mem::take(&mut *self.link.seen.lock().unwrap())
    }
}

pub(crate) fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run)
}
