//! A life of `gateway.db`: versions, board lines, transitions, snapshots and restarts, on a recorded disk; and what of it
//! an image must hold.
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
use super::disk::Log;
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

/// Lives until the disk was told at least `events` things.
///
/// # Errors
/// [`LifeError`].
pub fn live(seed: u64, events: usize) -> Result<Lived, LifeError> {
    let folder = folder()?;
    let path = folder.path().canonicalize()?.join("gateway.db");
    let recording = Recording::of(folder.path())?;
    let mut dice = Dice::new(seed);
    let mut promised = Promised::default();
    let mut gateway = open(&path, 1, seed)?;
    recording.note_folder()?;
    promised.gateway = Some((recording.point(), gateway.identity().gateway));
    promised.points.push(recording.point());
    let key = |n: u64| ComponentKey { device: format!("board-{n}"), package: "main".into() };
    now(gateway.configure_components(vec![key(0), key(1)]))?;
    let mut count = 0;
    while recording.point() < events {
        count += 1;
        let component = key(dice.below(2));
        match dice.below(10) {
            0..=3 => {
                let version = format!("1.0.{count}");
                let source = if dice.one_in(2) { Source::OtaUpdate } else { Source::ManualProvision };
                let recorded =
                    now(gateway.record_version(&component, &version, source, serde_json::Map::new()))?;
                if matches!(recorded, Recorded::Appended(_)) {
                    promised.versions.push((recording.point(), component.device, version));
                }
            }
            4..=6 => {
                let text = format!("line {count}");
                now(gateway.record_line(&component.device, &text))?;
                promised.lines.push((recording.point(), text));
            }
            7 => {
                let phase = if dice.one_in(2) { Phase::Downloading } else { Phase::Updating };
                let update = ComponentUpdate {
                    key: component,
                    deployment: Some(count),
                    target: Some(format!("2.0.{count}")),
                    phase,
                    reason: 0,
                    words: String::new(),
                    progress: 10,
                    attempts: 1,
                };
                now(gateway.set_component(update))?;
            }
            8 => now(gateway.snapshot())?,
            _ => {
                gateway.stop();
                drop(gateway);
                recording.note_folder()?;
                gateway = open(&path, 1, seed)?;
            }
        }
        recording.note_folder()?;
        if promised.points.last() != Some(&recording.point()) {
            promised.points.push(recording.point());
        }
    }
    gateway.stop();
    recording.note_folder()?;
    Ok(Lived { log: recording.finish(), promised })
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
