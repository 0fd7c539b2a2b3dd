//! A life of `gateway.db`: versions, board lines, transitions, snapshots and restarts, some of them on a disk whose syncs
//! fail, on a recorded disk; and what of it an image must hold.
//!
//! The promise: a row that was answered is in the history after any crash, in its place, and the chains hold; the gateway stays
//! the one it was, from its own file: its snapshot is not needed for a power cut.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fieldgate::clock::{BootId, Clock, Mono, Wall};
use fieldgate::daemon::rim::Entropy;
use fieldgate::store::gateway::{
    ComponentKey, ComponentUpdate, Gateway, GatewayError, GatewayId, HistoryQuery, LogBody, OpenOptions,
    Phase, Recorded, Source, Start,
};
use fieldgate::store::sqlite::OpenError;
use futures_util::FutureExt;

use super::Dice;
use super::check::{Judge, Verdict};
use super::disk::{Fate, Log};
use super::fault::Faults;
use super::folder;
use super::vfs::Recording;

/// Time that the life itself moves.
#[derive(Debug)]
struct HandClock {
    now: AtomicU64,
    boot: BootId,
}

impl Clock for HandClock {
    fn mono(&self) -> Mono {
        Mono(self.now.fetch_add(1_000_000, Ordering::Relaxed))
    }

    fn wall(&self) -> Wall {
        Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false }
    }

    fn boot_id(&self) -> BootId {
        self.boot
    }
}

#[derive(Debug)]
struct SeededEntropy(Mutex<Dice>);

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.fill_with(|| dice.number().to_le_bytes()[0]);
    }
}

fn clock(boot: u8) -> Arc<dyn Clock> {
    Arc::new(HandClock { now: AtomicU64::new(1_000_000_000), boot: BootId([boot; 16]) })
}

fn entropy(seed: u64) -> SeededEntropy {
    SeededEntropy(Mutex::new(Dice::new(seed)))
}

/// What was promised, and when.
#[derive(Debug, Default)]
pub struct Promised {
    /// Who the gateway is, since its first start was done.
    gateway: Option<(usize, GatewayId)>,
    /// Rows of the history: point, device and version.
    versions: Vec<(usize, String, String)>,
    /// Lines of boards.
    lines: Vec<(usize, String)>,
    points: Vec<usize>,
}

/// How a life came out.
#[derive(Debug)]
pub struct Lived {
    /// What was done to the disk.
    pub log: Log,
    /// What was promised.
    pub promised: Promised,
    /// How often the daemon ended on a disk whose syncs failed, and started again in the same boot.
    pub restarts: u64,
    /// What the store itself did wrong, in words.
    pub wrong: Vec<String>,
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
    /// The store refused on a disk that is well.
    #[error("the store does not work on a disk that is well: {0}")]
    Refused(#[from] GatewayError),
    /// A writer on the caller's thread answers at once.
    #[error("the store did not answer")]
    Silent,
}

/// Asks a writer that runs on this thread: it has answered when the question is asked.
fn now<T>(asked: impl Future<Output = Result<T, GatewayError>>) -> Result<T, LifeError> {
    Ok(asked.now_or_never().ok_or(LifeError::Silent)??)
}

fn open(path: &Path, boot: u8, seed: u64) -> Result<Gateway, OpenError> {
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    // The future only makes snapshots in their time; here they are made when the dice say so.
    let (gateway, _pump) =
        Gateway::open_inline(OpenOptions::in_folder(&folder), &clock(boot), &entropy(seed))?;
    Ok(gateway)
}

/// Lives until the disk was told at least `events` things, and the daemon ended on a sick disk and started again.
///
/// # Errors
/// [`LifeError`].
pub fn live(seed: u64, events: usize) -> Result<Lived, LifeError> {
    let folder = folder()?;
    let path = folder.path().canonicalize()?.join("gateway.db");
    let recording = Recording::of(folder.path())?;
    let gateway = open(&path, 1, seed)?;
    let mut life = Life {
        recording,
        path,
        seed,
        dice: Dice::new(seed),
        gateway: Some(gateway),
        promised: Promised::default(),
        count: 0,
        restarts: 0,
        wrong: Vec::new(),
    };
    life.recording.note_folder()?;
    let first = life.recording.point();
    life.promised.gateway = Some((first, life.gateway()?.identity().gateway));
    life.promised.points.push(first);
    now(life.gateway()?.configure_components(vec![key(0), key(1)]))?;
    while life.recording.point() < events || (events >= SICK_FROM && life.restarts < 1) {
        life.step()?;
        life.recording.note_folder()?;
        let point = life.recording.point();
        if life.promised.points.last() != Some(&point) {
            life.promised.points.push(point);
        }
    }
    life.stop()?;
    let Life { recording, promised, restarts, wrong, .. } = life;
    Ok(Lived { log: recording.finish(), promised, restarts, wrong })
}

/// A life shorter than this is about how the file is made.
const SICK_FROM: usize = 200;

fn key(n: u64) -> ComponentKey {
    ComponentKey { device: format!("board-{n}"), package: "main".into() }
}

/// The writer and everyone around it.
struct Life {
    recording: Recording,
    path: PathBuf,
    seed: u64,
    dice: Dice,
    gateway: Option<Gateway>,
    promised: Promised,
    /// Makes every version and line another.
    count: u64,
    restarts: u64,
    wrong: Vec<String>,
}

impl Life {
    fn gateway(&self) -> Result<&Gateway, LifeError> {
        self.gateway.as_ref().ok_or(LifeError::Silent)
    }

    fn step(&mut self) -> Result<(), LifeError> {
        self.count += 1;
        let component = key(self.dice.below(2));
        let is_young = self.recording.point() < SICK_FROM;
        match self.dice.below(22) {
            0..=7 => {
                let device = component.device.clone();
                if let (version, Recorded::Appended(_)) = self.record_version(component)? {
                    self.promised.versions.push((self.recording.point(), device, version));
                }
            }
            8..=13 => {
                let text = format!("line {}", self.count);
                now(self.gateway()?.record_line(&component.device, &text))?;
                self.promised.lines.push((self.recording.point(), text));
            }
            14 | 15 => {
                let phase = if self.dice.one_in(2) { Phase::Downloading } else { Phase::Updating };
                let update = ComponentUpdate {
                    key: component,
                    deployment: Some(self.count),
                    target: Some(format!("2.0.{}", self.count)),
                    phase,
                    reason: 0,
                    words: String::new(),
                    progress: 10,
                    attempts: 1,
                };
                now(self.gateway()?.set_component(update))?;
            }
            16 | 17 => now(self.gateway()?.snapshot())?,
            18 | 19 if !is_young => self.end_on_a_sick_disk()?,
            _ => {
                self.stop()?;
                self.gateway = Some(open(&self.path, 1, self.seed)?);
            }
        }
        Ok(())
    }

    fn record_version(&mut self, component: ComponentKey) -> Result<(String, Recorded), LifeError> {
        let version = format!("1.0.{}", self.count);
        let source = if self.dice.one_in(2) { Source::OtaUpdate } else { Source::ManualProvision };
        let recorded =
            now(self.gateway()?.record_version(&component, &version, source, serde_json::Map::new()))?;
        Ok((version, recorded))
    }

    fn stop(&mut self) -> Result<(), LifeError> {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
        }
        self.recording.note_folder()?;
        Ok(())
    }

    /// No sync succeeds any more, and the daemon is stopped over it. Whoever starts next, in the same boot, reads what never
    /// reached the disk as if it were there; at first it may find the disk as sick as before.
    fn end_on_a_sick_disk(&mut self) -> Result<(), LifeError> {
        let fate = if self.dice.one_in(3) { Fate::Divided(self.dice.number()) } else { Fate::Lost };
        self.recording.set_faults(Faults { failing_syncs: u32::MAX, fate: Some(fate), ..Faults::default() });
        let component = key(self.dice.below(2));
        match self.record_version(component) {
            Err(LifeError::Refused(_)) => {}
            Err(other) => return Err(other),
            Ok(_) => self.wrong.push("a version was recorded on a disk whose syncs fail".into()),
        }
        self.stop()?;
        if self.dice.one_in(2) && open(&self.path, 1, self.seed).is_ok() {
            self.wrong.push("the store opened on a disk whose syncs fail".into());
        }
        self.recording.note_folder()?;
        self.recording.set_faults(Faults::default());
        self.gateway = Some(open(&self.path, 1, self.seed)?);
        self.restarts += 1;
        // What was refused may be there after all; from now on it stays.
        let point = self.recording.point();
        let known = self.promised.versions.len() as u64;
        let query = HistoryQuery { after: known, ..HistoryQuery::default() };
        for row in now(self.gateway()?.history(query))? {
            self.promised.versions.push((point, row.device, row.version));
        }
        self.promised.points.push(point);
        for _ in 0..5 {
            self.count += 1;
            let component = key(self.dice.below(2));
            let device = component.device.clone();
            if let (version, Recorded::Appended(_)) = self.record_version(component)? {
                self.promised.versions.push((self.recording.point(), device, version));
                self.promised.points.push(self.recording.point());
            }
        }
        Ok(())
    }
}

/// Opens an image with the shipped code and compares.
#[derive(Debug)]
pub struct GatewayJudge<'a> {
    /// What was promised in the life.
    pub promised: &'a Promised,
    /// By which openings are timed.
    pub clock: crate::clock::Clock,
}

impl Judge for GatewayJudge<'_> {
    fn stage(&self, point: usize) -> usize {
        self.promised.points.partition_point(|at| *at <= point)
    }

    fn judge(&self, folder: &Path, point: usize, image: u64) -> Verdict {
        let mut verdict = Verdict::default();
        let started = self.clock.now();
        let opened = open(&folder.join("gateway.db"), 2, image);
        verdict.opened_in = self.clock.now().saturating_sub(started);
        let compared = opened
            .map_err(|e| e.to_string())
            .and_then(|gateway| self.compare(&gateway, point, &mut verdict).map_err(|e| e.to_string()));
        if let Err(why) = compared {
            verdict.unusable.push(why);
        }
        verdict
    }
}

impl GatewayJudge<'_> {
    fn compare(&self, gateway: &Gateway, point: usize, verdict: &mut Verdict) -> Result<(), LifeError> {
        let until = |at: &usize| *at <= point;
        let identity = gateway.identity();
        match &self.promised.gateway {
            Some((at, known)) if until(at) => {
                if identity.gateway != *known {
                    verdict.lost.push("the gateway's identity".into());
                }
                if identity.start != Start::Found {
                    verdict.wrong.push(format!("a power cut is taken for damage: {:?}", identity.start));
                }
            }
            // Its first start was cut short: it may begin again, or have begun.
            _ => {}
        }
        let mut found = Vec::new();
        loop {
            let query = HistoryQuery { after: found.len() as u64, ..HistoryQuery::default() };
            let page = now(gateway.history(query))?;
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|row| (row.device, row.version)));
        }
        for (place, (_, device, version)) in
            self.promised.versions.iter().filter(|(at, ..)| until(at)).enumerate()
        {
            if !found.get(place).is_some_and(|(d, v)| d == device && v == version) {
                verdict.lost.push(format!("row {} of the history: {version} on {device}", place + 1));
            }
        }
        let mut lines = std::collections::BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = now(gateway.firmware_log_page(after.as_deref(), 200))?;
            lines.extend(page.rows.into_iter().filter_map(|row| match row.body {
                LogBody::Line(line) => Some(line.text),
                _ => None,
            }));
            after = Some(page.next);
            if !page.more {
                break;
            }
        }
        for (_, text) in self.promised.lines.iter().filter(|(at, _)| until(at)) {
            if !lines.contains(text) {
                verdict.lost.push(format!("the firmware log's {text:?}"));
            }
        }
        verdict.wrong.extend(now(gateway.verify_history())?.problems);
        let key = ComponentKey { device: "board-0".into(), package: "main".into() };
        now(gateway.record_version(&key, "9.9.9", Source::ManualProvision, serde_json::Map::new()))?;
        Ok(())
    }
}
