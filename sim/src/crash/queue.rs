//! A life of `queue.db`: a writer driven by hand through everything a gateway does to it, on a recorded disk.
//!
//! Captures of several classes in windows of all lengths, two destinations that pick and answer, clean stops and kills, an
//! operator who checkpoints the file, a quota that is reached, commits larger than a log, a disk whose syncs fail or
//! that is full for a while, and restarts in the midst of that. What was answered, and when, is in [`Promises`].

mod judge;
mod steps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::clock::{BootId, Mono, Wall};
use fieldgate::reading::{Class, GroupId, Resolution, StreamId};
use fieldgate::store::queue::writer::{Command, Writer};
use fieldgate::store::queue::{
    Accepted, ClassQuota, ClassQuotas, DestinationId, DestinationSpec, Epoch, Health, OpenOptions, Position,
    Refused, StreamSpec, open,
};
use fieldgate::store::sqlite::OpenError;
use fieldgate::store::worker::Machine;
use tokio::sync::oneshot;

use super::Dice;
use super::disk::{Disk, Log};
use super::promise::{DESTINATIONS, Found, Promises, Stream};
use super::vfs::Recording;
use super::{check, folder};

pub use judge::QueueJudge;

/// What a life is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everyday.
    Plain,
    /// The quota is reached again and again, and so is that of one class.
    Quota,
    /// Syncs fail, and the disk is full for a while; there is a ballast.
    Faulty,
    /// Nobody stops it or looks into its file, until the log is so long that the writer itself brings it home.
    Long,
}

/// How a life came out.
#[derive(Debug)]
pub struct Lived {
    /// What was done to the disk.
    pub log: Log,
    /// What was promised.
    pub promises: Promises,
    /// What the writer itself did wrong, in words: a disk that is well again and a store that is not.
    pub wrong: Vec<String>,
    /// Syncs that failed, and writes that found no room.
    pub failures: (u64, u64),
    /// How often the daemon ended on a disk whose syncs failed, and started again in the same boot.
    pub restarts: u64,
    /// A log index as it was at some time.
    pub stale_index: Option<Vec<u8>>,
}

/// Something that is no broken promise, but ends the proof.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The file system of the proof itself.
    #[error("the recorded folder: {0}")]
    Folder(#[from] std::io::Error),
    /// The store did not open on a disk that is well.
    #[error("the store does not open on a disk that is well: {0}")]
    Open(#[from] OpenError),
    /// The store did not read on a disk that is well.
    #[error("the store does not read on a disk that is well: {0}")]
    Read(#[from] fieldgate::store::queue::reader::ReadError),
}

const NO_WALL: Wall = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };

/// What one class may take in a life of quotas.
const STATE_QUOTA: ClassQuota = ClassQuota { rows: Some(48), bytes: None };
/// What is held back on a disk that is full for a while, bytes.
const BALLAST: u64 = 8 << 10;

/// All streams: the group, the class, and what promises are about.
const STREAMS: [(&str, Class, Stream); 5] = [
    ("doors", Class::Alarm, Stream { name: "smoke", texts: false, routes: [true, true] }),
    ("bus", Class::Telemetry, Stream { name: "temperature", texts: false, routes: [true, true] }),
    ("bus", Class::Telemetry, Stream { name: "pressure", texts: false, routes: [true, false] }),
    ("bus", Class::State, Stream { name: "valve", texts: false, routes: [false, true] }),
    ("board", Class::Diagnostics, Stream { name: "words", texts: true, routes: [true, false] }),
];

fn options(path: PathBuf, max_bytes: u64, boot: BootId, epoch: u64) -> OpenOptions {
    let named = |routes: [bool; 2]| {
        DESTINATIONS
            .iter()
            .zip(routes)
            .filter(|(_, goes)| *goes)
            .map(|(name, _)| (*name).to_owned())
            .collect()
    };
    let streams = STREAMS.iter().map(|(group, class, stream)| StreamSpec {
        name: stream.name.into(),
        group: (*group).into(),
        device: format!("device of {group}"),
        class: *class,
        unit: String::new(),
        resolution: (!stream.texts).then_some(Resolution::ONE),
        alias: stream.name.into(),
        routes: named(stream.routes),
        latest_only: false,
    });
    OpenOptions {
        path,
        streams: streams.collect(),
        destinations: DESTINATIONS.iter().map(|name| DestinationSpec { name: (*name).into() }).collect(),
        commit_window: Duration::from_millis(500),
        max_bytes,
        class_quotas: Default::default(),
        ballast_bytes: 0,
        boot,
        epoch: Epoch(epoch),
        file_id: epoch ^ 0xF11E,
        flash_budget_per_day: None,
    }
}

/// An answer that is still to come: for which readings.
type Answer = (Vec<u64>, oneshot::Receiver<Result<Accepted, Refused>>);

/// The writer and everyone around it.
struct Life {
    kind: Kind,
    path: PathBuf,
    recording: Recording,
    dice: Dice,
    now: Mono,
    boot: BootId,
    epochs: u64,
    writer: Option<Writer>,
    /// Somebody who reads the file beside the writer.
    onlooker: Option<rusqlite::Connection>,
    ids: Vec<(StreamId, GroupId)>,
    destinations: Vec<(DestinationId, String)>,
    promises: Promises,
    answers: Vec<Answer>,
    /// Settlements that no commit has confirmed yet: reading and place of the destination.
    unconfirmed: Vec<(u64, usize)>,
    /// Where each destination's next pick begins.
    shelves: BTreeMap<(usize, Class), Position>,
    wrong: Vec<String>,
    stale_index: Option<Vec<u8>>,
    /// How often the disk was sick.
    sick: u32,
    /// How often the daemon ended on a sick disk, and started again in the same boot.
    restarts: u64,
}

/// Each way to be sick, and the first once more: what went wrong in one shows in what comes after.
const SICK_AT_LEAST: u32 = 4;

/// Lives until the disk was told at least `events` things, and one that is to fail has failed in each way. `before` is the
/// image of a crash that this life begins with, and what that promises; else the folder is empty.
///
/// # Errors
/// [`LifeError`].
pub fn live(
    kind: Kind,
    seed: u64,
    events: usize,
    before: Option<(&Disk, Promises)>,
) -> Result<Lived, LifeError> {
    let folder = folder()?;
    let promises = match before {
        Some((image, promises)) => {
            check::lay_out(folder.path(), image, None)?;
            promises
        }
        None => Promises::default(),
    };
    let recording = Recording::of(folder.path())?;
    let mut boot = [0; 16];
    boot[..8].copy_from_slice(&seed.to_le_bytes());
    let mut life = Life {
        kind,
        path: folder.path().canonicalize()?.join("queue.db"),
        recording,
        dice: Dice::new(seed),
        now: Mono(1_000_000_000),
        boot: BootId(boot),
        epochs: seed.wrapping_mul(crate::random::STEP),
        writer: None,
        onlooker: None,
        ids: Vec::new(),
        destinations: Vec::new(),
        promises,
        answers: Vec::new(),
        unconfirmed: Vec::new(),
        shelves: BTreeMap::new(),
        wrong: Vec::new(),
        stale_index: None,
        sick: 0,
        restarts: 0,
    };
    life.open()?;
    while life.recording.point() < events || (kind == Kind::Faulty && life.sick < SICK_AT_LEAST) {
        life.step()?;
        life.recording.note_folder()?;
    }
    life.end()
}

/// What an image holds for each destination. The image is written to `folder`, which loses what it held.
///
/// # Errors
/// In words.
pub fn held_by(folder: &Path, image: &Disk) -> Result<Found, String> {
    check::lay_out(folder, image, None).map_err(|e| e.to_string())?;
    let path = folder.join("queue.db");
    if !image.files().any(|(name, bytes)| name == "queue.db" && !bytes.is_empty()) {
        return Ok(Found::default());
    }
    // What is there twice is told where this image is judged.
    judge::found_in(&path).map(|(found, _)| found)
}

impl Life {
    fn open(&mut self) -> Result<(), LifeError> {
        self.epochs = self.epochs.wrapping_add(1);
        let max_bytes = if self.kind == Kind::Quota { 80 << 10 } else { 16 << 20 };
        let mut options = options(self.path.clone(), max_bytes, self.boot, self.epochs);
        match self.kind {
            Kind::Quota => options.class_quotas = ClassQuotas::from([(Class::State, STATE_QUOTA)]),
            Kind::Faulty => options.ballast_bytes = BALLAST,
            Kind::Plain | Kind::Long => {}
        }
        let writer = open::open(options, self.now, NO_WALL)?;
        self.ids = writer.stream_ids();
        self.destinations = writer.destination_ids().to_vec();
        self.writer = Some(writer);
        self.shelves.clear();
        Ok(())
    }

    fn end(mut self) -> Result<Lived, LifeError> {
        let health = self.flush();
        if health != Health::Good {
            self.wrong.push(format!("the disk is well and the store ends as {}", health.name()));
        }
        if self.dice.one_in(2) {
            self.close();
        }
        self.writer = None;
        self.recording.note_folder()?;
        let failures = self.recording.failures();
        Ok(Lived {
            log: self.recording.finish(),
            promises: self.promises,
            wrong: self.wrong,
            failures,
            restarts: self.restarts,
            stale_index: self.stale_index,
        })
    }

    fn command(&mut self, command: Command) {
        if let Some(writer) = &mut self.writer {
            writer.handle(self.now, command);
        }
        self.hear();
    }

    /// Lets time pass, waking the writer at its times as a driver would.
    fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(at) = self.writer.as_ref().and_then(Machine::poll_timeout).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            if let Some(writer) = &mut self.writer {
                writer.handle_timeout(self.now);
            }
            self.hear();
        }
        self.now = end;
    }

    fn flush(&mut self) -> Health {
        let (reply, mut answer) = oneshot::channel();
        self.command(Command::Flush(reply));
        let health = answer.try_recv().unwrap_or(Health::Faulty("no answer".into()));
        if health == Health::Good {
            self.confirm();
        }
        health
    }

    /// Stops in order: everything that waits is committed first.
    fn close(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.close(self.now);
        }
        self.hear();
    }

    /// Writes down what was answered meanwhile.
    fn hear(&mut self) {
        let point = self.recording.point();
        let mut accepted = false;
        let promises = &mut self.promises;
        self.answers.retain_mut(|(numbers, answer)| match answer.try_recv() {
            Ok(Ok(answer)) => {
                for number in numbers {
                    promises.answered(*number, point, (answer.epoch.0, answer.sequence));
                }
                accepted = true;
                false
            }
            Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => false,
            Err(oneshot::error::TryRecvError::Empty) => true,
        });
        if accepted {
            self.confirm();
        }
    }

    /// A commit took everything that waited, settlements too.
    fn confirm(&mut self) {
        let point = self.recording.point();
        for (number, destination) in self.unconfirmed.drain(..) {
            self.promises.settled(number, destination, point);
        }
    }

    fn generation(&self) -> u32 {
        self.writer.as_ref().map_or(0, |writer| writer.subscribe().borrow().generation)
    }

    fn health(&self) -> Health {
        self.writer.as_ref().map_or(Health::Good, |writer| writer.subscribe().borrow().health.clone())
    }

    fn keep_index(&mut self) {
        if self.stale_index.is_none() {
            let path: &Path = &self.path;
            self.stale_index = std::fs::read(fieldgate::store::sqlite::suffixed(path, "-shm")).ok();
        }
    }
}
