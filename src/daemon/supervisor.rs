//! Lanes: long-running tasks with a name, a restart policy and a report of progress.
//!
//! A lane either advances or waits for a named reason with a deadline, and says which. One that fails, panics or falls
//! silent is restarted after a capped, jittered pause; none takes another with it. The watchdog is not theirs:
//! it looks at the runtime and at the writers (see [`super::service`]); a silent lane is mended here.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::rim::Rim;
use crate::board::{Board, LaneState, in_words};
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

/// By which a lane says that it advances, or what it waits for and until when.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Report>);

#[derive(Debug)]
struct Report {
    name: String,
    rim: Rim,
    board: Arc<Board>,
    state: Mutex<Reported>,
}

#[derive(Debug, Clone)]
struct Reported {
    last_progress: Mono,
    /// Silence is fine until then.
    patient_until: Mono,
    restarts: u32,
}

/// A lane that says nothing for this long beyond what it announced is silent.
pub const SILENCE: Duration = Duration::from_secs(60);

impl Progress {
    fn new(name: &str, rim: &Rim, board: &Arc<Board>) -> Self {
        let now = rim.clock.mono();
        let state = Reported { last_progress: now, patient_until: now.plus(SILENCE), restarts: 0 };
        Self(Arc::new(Report {
            name: name.to_owned(),
            rim: rim.clone(),
            board: Arc::clone(board),
            state: Mutex::new(state),
        }))
    }

    /// Something was done.
    pub fn advanced(&self) {
        let now = self.0.rim.clock.mono();
        self.say("advancing", true, |state| {
            state.last_progress = now;
            state.patient_until = now.plus(SILENCE);
        });
    }

    /// Nothing can be done before `reason` ends, or `at_most` has passed.
    pub fn waiting(&self, reason: &str, at_most: Duration) {
        let now = self.0.rim.clock.mono();
        self.say(reason, true, |state| state.patient_until = now.plus(at_most).plus(SILENCE));
    }

    fn say(&self, words: &str, fine: bool, change: impl FnOnce(&mut Reported)) {
        let Ok(mut state) = self.0.state.lock() else { return };
        change(&mut state);
        let now = self.0.rim.clock.mono();
        let lane = LaneState {
            words: words.to_owned(),
            fine,
            restarts: state.restarts,
            last_progress: state.last_progress,
        };
        self.0.board.lanes.set(&self.0.name, now, lane);
    }

    fn silent_since(&self, now: Mono) -> Option<Mono> {
        self.0.state.lock().ok().filter(|s| s.patient_until < now).map(|s| s.last_progress)
    }
}

/// Restarts after 1 s, doubling to this.
const BACKOFF_CAP: Duration = Duration::from_secs(60);
/// A lane that lived this long starts over with the shortest pause.
const STABLE: Duration = Duration::from_secs(300);

/// Keeps lanes running.
#[derive(Debug)]
pub struct Supervisor {
    rim: Rim,
    board: Arc<Board>,
    stop: CancellationToken,
    lanes: Mutex<BTreeMap<String, Progress>>,
    tasks: tokio_util::task::TaskTracker,
}

impl Supervisor {
    /// A supervisor without lanes.
    #[must_use]
    pub fn new(rim: Rim, board: Arc<Board>, stop: CancellationToken) -> Self {
        Self {
            rim,
            board,
            stop,
            lanes: Mutex::new(BTreeMap::new()),
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
}

async fn keep(mut lane: Lane, progress: Progress, rim: Rim, stop: CancellationToken) {
    let mut pause = Duration::from_secs(1);
    loop {
        let born = rim.clock.mono();
        progress.say("starting", true, |s| s.patient_until = born.plus(SILENCE));
        let mut life = tokio::spawn((lane.build)(progress.clone()));
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => {
                // The lane hears the same stop; it gets a moment to end by itself.
                if tokio::time::timeout(Duration::from_secs(10), &mut life).await.is_err() {
                    life.abort();
                }
                return;
            }
            ended = &mut life => ended,
            since = silence(&progress, &rim) => {
                life.abort();
                let silent = in_words(rim.clock.mono().since(since));
                Ok(Err(LaneError(format!("it said nothing for {silent}"))))
            }
        };
        let why = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(join) => format!("it panicked: {}", panic_words(join)),
        };
        if rim.clock.mono().since(born) > STABLE {
            pause = Duration::from_secs(1);
        }
        let wait = pause / 2 + rim.random.below(pause / 2);
        tracing::warn!(lane = lane.name, why, restart_in_ms = wait.as_millis(), "lane ended");
        progress.say(&format!("failed: {why}; restarts in {}", in_words(wait)), false, |s| {
            s.restarts = s.restarts.saturating_add(1);
            s.patient_until = rim.clock.mono().plus(wait).plus(SILENCE);
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = rim.sleep(wait) => {}
        }
        pause = (pause * 2).min(BACKOFF_CAP);
    }
}

async fn silence(progress: &Progress, rim: &Rim) -> Mono {
    loop {
        if let Some(since) = progress.silent_since(rim.clock.mono()) {
            return since;
        }
        rim.sleep(Duration::from_secs(5)).await;
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
