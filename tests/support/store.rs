//! What the store's tests share: a seed that is printed, specifications, and a writer driven by hand.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::clock::{BootId, Mono, Wall};
use fieldgate::reading::{Capture, Class, GapReason, GroupId, Quality, Resolution, Sample, StreamId, Value};
use fieldgate::store::queue::writer::{Command, Writer};
use fieldgate::store::queue::{
    Accepted, DestinationId, DestinationSpec, Epoch, Health, OpenOptions, Outcome, Position, QueueStatus,
    QueuedRow, Reader, Refused, SettledRow, Settlement, StreamSpec, open,
};
use fieldgate::store::sqlite::OpenError;
use fieldgate::store::worker::Machine;
use tokio::sync::{oneshot, watch};

pub(crate) const BOOT: BootId = BootId([7; 16]);
pub(crate) const NO_WALL: Wall = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };

/// The seed of this run: `FIELDGATE_TEST_SEED`, or the same each time. Printed, so that a failure can be repeated.
pub(crate) fn seed(test: &str) -> u64 {
    let seed = std::env::var("FIELDGATE_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_120);
    println!("{test}: FIELDGATE_TEST_SEED={seed}");
    seed
}

/// SplitMix64: enough for choosing.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// A folder in memory where there is one: these tests are about what is written, not about how long a sync takes.
pub(crate) fn fast_folder() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub(crate) fn spec(name: &str, group: &str, class: Class, routes: &[&str]) -> StreamSpec {
    StreamSpec {
        name: name.into(),
        group: group.into(),
        device: format!("device of {group}"),
        class,
        unit: "Cel".into(),
        resolution: Some(Resolution { numerator: 1, denominator: 10 }),
        alias: name.into(),
        routes: routes.iter().map(|r| (*r).into()).collect(),
        latest_only: false,
    }
}

pub(crate) fn options(
    path: PathBuf,
    streams: Vec<StreamSpec>,
    destinations: &[&str],
    epoch: u64,
) -> OpenOptions {
    OpenOptions {
        path,
        streams,
        destinations: destinations.iter().map(|d| DestinationSpec { name: (*d).into() }).collect(),
        commit_window: Duration::from_secs(1),
        max_bytes: 64 << 20,
        class_quotas: Default::default(),
        ballast_bytes: 0,
        flash_budget_per_day: None,
        boot: BOOT,
        epoch: Epoch(epoch),
        file_id: epoch ^ 0xf11e,
    }
}

pub(crate) fn steps(stream: StreamId, steps: i64) -> Sample {
    Sample { stream, value: Value::Steps(steps), quality: Quality::Good }
}

pub(crate) fn capture(group: GroupId, at: Mono, samples: Vec<Sample>) -> Capture {
    Capture { group, at, samples, missing: Vec::<(StreamId, GapReason)>::new() }
}

/// An answer that is still to come.
pub(crate) type Answer = oneshot::Receiver<Result<Accepted, Refused>>;

/// A writer without a driver: the test is its clock.
pub(crate) struct Hand {
    pub(crate) writer: Writer,
    pub(crate) now: Mono,
    pub(crate) status: watch::Receiver<QueueStatus>,
}

impl Hand {
    pub(crate) fn open(options: OpenOptions, now: Mono) -> Result<Self, OpenError> {
        let writer = open::open(options, now, NO_WALL)?;
        let status = writer.subscribe();
        Ok(Self { writer, now, status })
    }

    pub(crate) fn status(&self) -> QueueStatus {
        self.status.borrow().clone()
    }

    pub(crate) fn offer(&mut self, capture: Capture) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.writer.handle(self.now, Command::Accept { capture, reply });
        answer
    }

    /// Offers, and commits at once.
    pub(crate) fn accept(&mut self, capture: Capture) -> Result<Accepted, Refused> {
        let answer = self.offer(capture);
        self.flush();
        answered(answer)
    }

    pub(crate) fn flush(&mut self) -> Health {
        let (reply, mut answer) = oneshot::channel();
        self.writer.handle(self.now, Command::Flush(reply));
        answer.try_recv().unwrap()
    }

    pub(crate) fn settle(&mut self, settlement: Settlement) {
        self.writer.handle(self.now, Command::Settle(settlement));
    }

    /// Lets time pass, waking the writer at its times as a driver would. A writer that asks to be woken at once, for
    /// ever, is a failure.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        let mut at_once = 0;
        while let Some(at) = self.writer.poll_timeout().filter(|at| *at <= end) {
            at_once = if at <= self.now { at_once + 1 } else { 0 };
            assert!(at_once < 10, "the writer spins");
            self.now = self.now.max(at);
            self.writer.handle_timeout(self.now);
        }
        self.now = end;
    }

    pub(crate) fn close(mut self) {
        self.writer.close(self.now);
    }
}

pub(crate) fn answered(mut answer: Answer) -> Result<Accepted, Refused> {
    answer.try_recv().unwrap()
}

/// Everything that waits for `destination`, read as a drain that starts now would, a few rows at a time.
pub(crate) fn waiting(path: &Path, destination: DestinationId) -> Vec<QueuedRow> {
    let mut reader = Reader::open(path, destination).unwrap();
    let mut rows = Vec::new();
    for class in Class::ALL {
        let mut at = reader.start(class);
        loop {
            let picked = reader.pick(class, at, 97).unwrap();
            rows.extend(picked.rows);
            match picked.resume.filter(|resume| *resume != at) {
                Some(resume) => at = resume,
                None => break,
            }
        }
    }
    rows
}

/// Settles `rows`, all of one class and in order, as a message that was sent from `from` to `to`.
pub(crate) fn settlement(
    generation: u32,
    destination: DestinationId,
    from: Position,
    to: Position,
    rows: &[QueuedRow],
    outcome: Outcome,
) -> Settlement {
    Settlement {
        generation,
        destination,
        class: from.class().unwrap(),
        from,
        to,
        rows: rows.iter().map(SettledRow::of).collect(),
        given_up: Vec::new(),
        outcome,
        announces_epoch: false,
    }
}

/// The problems `queue verify` finds.
pub(crate) fn problems(path: &Path) -> Vec<String> {
    fieldgate::store::queue::verify::verify(path).unwrap().problems
}

/// Copies the file with its log, as they stand: what a crash now would leave behind.
pub(crate) fn copy_with_log(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    for suffix in ["-wal", "-shm"] {
        let target = fieldgate::store::sqlite::suffixed(to, suffix);
        let _ = std::fs::remove_file(&target);
        let source = fieldgate::store::sqlite::suffixed(from, suffix);
        if suffix == "-wal" && source.exists() {
            std::fs::copy(&source, &target).unwrap();
        }
    }
}
