//! Lanes: long-running tasks with a name, a restart policy and a report of progress.
//!
//! A lane either advances or waits for a named reason with a deadline, and says which ([`Progress`]). One that fails, panics
//! or falls silent is restarted after a capped, jittered pause; none takes another with it. One whose restart did not help
//! is for the watchdog to judge ([`super::watchdog`]); excused by it, the lane is tried again once an hour.
//!
//! Each lane has a keeper, and one sweep looks for silent lanes and rings for their keepers. Invariant: the sweep's turn is
//! on record only while every keeper answers, so that whoever watches the turn watches them all.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::progress::{Failure, STABLE};
pub use super::progress::{Progress, SILENCE};
use super::rim::Rim;
use crate::board::Board;
use crate::clock::Mono;

/// Why a lane ended. It will be restarted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LaneError(pub String);

impl LaneError {
    /// From anything that can be said.
    pub fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// A lane's future.
pub type LaneFuture = Pin<Box<dyn Future<Output = Result<(), LaneError>> + Send>>;

/// A lane that can be built again and again.
pub struct Lane {
    /// Its name, unique.
    pub name: String,
    /// Builds one life of it. `Ok(())` ends it for good (it had a stop to obey); anything else is restarted.
    pub build: Box<dyn FnMut(Progress) -> LaneFuture + Send>,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Lane {
    /// A lane from a name and a builder.
    pub fn new<F, Fut>(name: impl Into<String>, mut build: F) -> Self
    where
        F: FnMut(Progress) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), LaneError>> + Send + 'static,
    {
        Self { name: name.into(), build: Box::new(move |progress| Box::pin(build(progress))) }
    }
}

/// Restarts after 1 s, doubling to this.
const BACKOFF_CAP: Duration = Duration::from_secs(60);
/// An excused lane is tried again after this.
const EXCUSED_PAUSE: Duration = Duration::from_secs(3600);
/// How often silent lanes are looked for.
const SWEEP: Duration = Duration::from_secs(5);

type Lanes = Arc<Mutex<BTreeMap<String, Progress>>>;

/// Keeps lanes running.
#[derive(Debug)]
pub struct Supervisor {
    rim: Rim,
    board: Arc<Board>,
    stop: CancellationToken,
    lanes: Lanes,
    turned: Arc<AtomicU64>,
    sweeping: Once,
    tasks: tokio_util::task::TaskTracker,
}

impl Supervisor {
    /// A supervisor without lanes.
    #[must_use]
    pub fn new(rim: Rim, board: Arc<Board>, stop: CancellationToken) -> Self {
        let turned = Arc::new(AtomicU64::new(rim.clock.mono().0));
        Self {
            rim,
            board,
            stop,
            lanes: Lanes::default(),
            turned,
            sweeping: Once::new(),
            tasks: tokio_util::task::TaskTracker::new(),
        }
    }

    /// Starts a lane and keeps it running until the stop.
    pub fn spawn(&self, lane: Lane) {
        let progress = Progress::new(&lane.name, &self.rim, &self.board);
        if let Ok(mut lanes) = self.lanes.lock() {
            lanes.insert(lane.name.clone(), progress.clone());
        }
        self.tasks.spawn(keep(lane, progress, self.rim.clone(), self.stop.clone()));
        self.sweeping.call_once(|| {
            let (lanes, turned) = (Arc::clone(&self.lanes), Arc::clone(&self.turned));
            self.tasks.spawn(sweep(lanes, turned, self.rim.clone(), self.stop.clone()));
        });
    }

    /// Waits until every lane has ended after the stop, or `at_most` has passed. Lanes are dropped then.
    pub async fn stopped(&self, at_most: Duration) {
        self.tasks.close();
        let _ = tokio::time::timeout(at_most, self.tasks.wait()).await;
    }

    /// Whether every lane advanced or waits for a named reason.
    #[must_use]
    pub fn every_lane_speaks(&self) -> bool {
        self.silent().is_empty()
    }

    /// The lanes that are silent, and since when.
    #[must_use]
    pub fn silent(&self) -> Vec<(String, Mono)> {
        let now = self.rim.clock.mono();
        let Ok(lanes) = self.lanes.lock() else { return Vec::new() };
        lanes.iter().filter_map(|(name, p)| p.silent_since(now).map(|since| (name.clone(), since))).collect()
    }

    /// The lanes whose restart did not help: silent a second time, and the life between got nowhere.
    #[must_use]
    pub fn helpless(&self) -> BTreeSet<String> {
        let Ok(lanes) = self.lanes.lock() else { return BTreeSet::new() };
        lanes.iter().filter(|(_, p)| p.is_helpless()).map(|(name, _)| name.clone()).collect()
    }

    /// Makes exactly these lanes the excused ones: red on the board, and tried again once an hour.
    pub fn excuse(&self, excused: &BTreeSet<String>) {
        let Ok(lanes) = self.lanes.lock() else { return };
        for (name, progress) in &*lanes {
            progress.excuse(excused.contains(name));
        }
    }

    /// When the supervisor last found itself and every keeper at work.
    #[must_use]
    pub fn turned(&self) -> Mono {
        Mono(self.turned.load(Ordering::Relaxed))
    }
}

/// Looks for silent lanes and rings for their keepers.
async fn sweep(lanes: Lanes, turned: Arc<AtomicU64>, rim: Rim, stop: CancellationToken) {
    loop {
        let now = rim.clock.mono();
        // Every bell is rung, also behind a keeper that does not come.
        let deaf = lanes.lock().map_or(1, |lanes| lanes.values().filter(|p| !p.ring(now)).count());
        if deaf == 0 {
            turned.store(now.0, Ordering::Relaxed);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = rim.sleep(SWEEP) => {}
        }
    }
}

async fn keep(mut lane: Lane, progress: Progress, rim: Rim, stop: CancellationToken) {
    let mut pause = Duration::from_secs(1);
    loop {
        let born = rim.clock.mono();
        progress.begins();
        let mut life = tokio::spawn((lane.build)(progress.clone()));
        let why = tokio::select! {
            biased;
            () = stop.cancelled() => {
                // The lane hears the same stop; it gets a moment to end by itself.
                if tokio::time::timeout(Duration::from_secs(10), &mut life).await.is_err() {
                    life.abort();
                }
                return;
            }
            ended = &mut life => match ended {
                Ok(Ok(())) => return progress.ended(),
                Ok(Err(error)) => Failure::Error(error.to_string()),
                Err(join) => Failure::Panic(panic_words(join)),
            },
            since = progress.silence() => {
                life.abort();
                Failure::Silent(rim.clock.mono().since(since))
            }
        };
        if rim.clock.mono().since(born) > STABLE {
            pause = Duration::from_secs(1);
        }
        let wait = progress.failed(&why, |excused| {
            if excused { EXCUSED_PAUSE } else { pause / 2 + rim.random.below(pause / 2) }
        });
        tracing::warn!(lane = lane.name, %why, restart_in_ms = wait.as_millis(), "lane ended");
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = rim.sleep(wait) => {}
        }
        pause = (pause * 2).min(BACKOFF_CAP);
    }
}

fn panic_words(join: tokio::task::JoinError) -> String {
    match join.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".into()),
        Err(_) => "cancelled".into(),
    }
}
