//! The lane that takes what a cloud says, one thing at a time, in the order in which it was said.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::settings::{InForce, words};
use crate::board::{Board, RemoteSettings};
use crate::config::LogLevel;
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::store::gateway::Gateway;
use crate::store::queue::Queue;
use crate::uplink::link::{CloudEvent, Link, Manifest, Outcome, Report, SettingFault, Settings};

/// What the lane works with.
#[derive(Debug)]
pub struct Parts {
    /// The cloud.
    pub link: Arc<dyn Link>,
    /// What it says.
    pub events: mpsc::Receiver<CloudEvent>,
    /// Where its manifests go.
    pub manifests: mpsc::Sender<Manifest>,
    /// Where what is wanted of this gateway goes.
    pub desired: watch::Sender<serde_json::Value>,
    /// What is remembered.
    pub gateway: Gateway,
    /// What is queued.
    pub queue: Queue,
    /// What is known, and what may be asked.
    pub board: Arc<Board>,
    /// Time.
    pub rim: Rim,
    /// What is so where no setting says otherwise.
    pub configured: Configured,
    /// Ends it.
    pub stop: CancellationToken,
}

/// What the configuration says of what this lane itself hands on.
#[derive(Clone, Copy, Debug)]
pub struct Configured {
    /// What is written to the log.
    pub log_level: LogLevel,
    /// What of it a cloud gets.
    pub log_cloud: Option<LogLevel>,
    /// How long readings wait for company on their way to the disk.
    pub commit_window: Duration,
}

/// How long the lane may be still before it says so again.
const TICK: Duration = Duration::from_secs(3600);
/// How long a report may be under way.
const UNDER_WAY: Duration = Duration::from_secs(60);
/// Settings that the disk did not take are tried again after this.
const KEPT_AGAIN: Duration = Duration::from_secs(120);
/// What was not taken is offered again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// The lane, named `remote from` and the destination's name. Settings that a run before kept are in force when this returns.
#[must_use]
pub fn lane(parts: Parts) -> Lane {
    let name = format!("remote from {}", parts.link.name());
    let kept = parts.gateway.kept(&kept_as(parts.link.name()));
    let in_force = kept.as_deref().map(InForce::kept).unwrap_or_default();
    let remote = Remote { parts, in_force, told: None, owed: None, unkept: None, window: None };
    remote.apply(&[]);
    let shared = Arc::new(Mutex::new(remote));
    Lane::new(name, move |progress| {
        let shared = Arc::clone(&shared);
        // What it works with outlives a life of the lane; only one life holds it at a time.
        async move { shared.lock().await.run(progress).await }
    })
}

/// The version of the settings that the run before kept of this link's cloud. Reads the file: for a start, not for a lane.
#[must_use]
pub fn settings_in_force(gateway: &Gateway, link: &str) -> Option<u64> {
    let kept = gateway.kept(&kept_as(link))?;
    u64::try_from(InForce::kept(&kept).version?).ok()
}

/// What the settings in force are kept under.
fn kept_as(link: &str) -> String {
    format!("settings:{link}")
}

type Told = (Option<i64>, Vec<(String, SettingFault)>);

pub(super) struct Remote {
    pub(super) parts: Parts,
    in_force: InForce,
    /// What the cloud was told of its settings last.
    told: Option<Told>,
    /// What it is to be told yet, and when.
    owed: Option<(Told, Duration)>,
    /// Settings that the disk did not take, and when they are tried again: the cloud does not say them again by itself.
    unkept: Option<(Settings, Duration)>,
    /// The commit window that the store was told last.
    window: Option<Duration>,
}

impl Remote {
    async fn run(&mut self, progress: Progress) -> Result<(), LaneError> {
        loop {
            let now = self.parts.rim.now();
            if let Some((told, at)) = self.owed.take() {
                if now >= at {
                    progress.waiting("telling what became of the settings", UNDER_WAY);
                    self.tell(told).await;
                } else {
                    self.owed = Some((told, at));
                }
            }
            if let Some((settings, _)) = self.unkept.take_if(|(_, at)| now >= *at) {
                progress.waiting("keeping the cloud's settings", UNDER_WAY);
                self.settings(&settings).await;
            }
            let window = self.in_force.tuning().commit_window.unwrap_or(self.parts.configured.commit_window);
            if self.window.replace(window) != Some(window) {
                self.parts.queue.set_commit_window(window).await;
            }
            progress.advanced();
            progress.waiting("waiting for the cloud to ask", TICK);
            let lifted = self.parts.board.asks.logs.get().and_then(|logs| logs.look(self.parts.rim.now()));
            let (owed, unkept) =
                (self.owed.as_ref().map(|(_, at)| *at), self.unkept.as_ref().map(|(_, at)| *at));
            let wake = [lifted, owed, unkept].into_iter().flatten().min();
            let stop = self.parts.stop.clone();
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                event = self.parts.events.recv() => match event {
                    Some(event) => event,
                    None => return Ok(()),
                },
                () = self.parts.rim.sleep_until(wake.unwrap_or(now + TICK / 2)) => continue,
            };
            progress.waiting("doing what the cloud asks", super::calls::LONGEST);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.take(event) => {}
            }
        }
    }

    async fn take(&mut self, event: CloudEvent) {
        match event {
            // Without a lane of updates nobody takes it; that is no failure of this one.
            CloudEvent::Manifest(manifest) => drop(self.parts.manifests.send(manifest).await),
            CloudEvent::Call(call) => self.call(call).await,
            CloudEvent::Settings(settings) => self.settings(&settings).await,
            CloudEvent::Desired(desired) => {
                self.parts.desired.send_if_modified(|before| {
                    let differs = *before != desired;
                    *before = desired;
                    differs
                });
            }
        }
    }

    /// In force only once it is on the disk: otherwise a restart would take it back without a word.
    async fn settings(&mut self, settings: &Settings) {
        let (next, mut faults) = self.in_force.judge(settings);
        self.unkept = None;
        if next != self.in_force {
            let text = serde_json::to_string(&next).unwrap_or_default();
            match self.parts.gateway.keep(&kept_as(self.parts.link.name()), text).await {
                Ok(()) => self.in_force = next,
                Err(error) => {
                    tracing::warn!(%error, "the cloud's settings could not be kept and are not in force");
                    self.unkept = Some((settings.clone(), self.parts.rim.now() + KEPT_AGAIN));
                    let all = settings.values.iter().flatten();
                    faults = all.map(|(key, _)| (key.clone(), SettingFault::General)).collect();
                }
            }
            self.apply(&faults);
            tracing::info!(version = ?settings.version, refused = faults.len(), "settings from the cloud");
        }
        let told = (settings.version, faults);
        if settings.values.is_some() && self.told.as_ref() != Some(&told) {
            self.owed = Some((told, self.parts.rim.now()));
        }
    }

    /// Makes lanes and log do what is in force, and shows it.
    fn apply(&self, faults: &[(String, SettingFault)]) {
        let (board, in_force) = (&self.parts.board, &self.in_force);
        let tuning = in_force.tuning();
        if let Some(logs) = board.asks.logs.get() {
            logs.set_level(tuning.log_level.unwrap_or(self.parts.configured.log_level));
            logs.set_cloud(tuning.log_cloud.unwrap_or(self.parts.configured.log_cloud));
        }
        board.asks.tuning.send_if_modified(|before| {
            let differs = *before != tuning;
            *before = tuning;
            differs
        });
        let refused = faults.iter().map(|(key, fault)| (key.clone(), words(*fault).to_owned())).collect();
        let shown = RemoteSettings { version: in_force.version, in_force: in_force.shown(), refused };
        board.settings.set(self.parts.rim.clock.mono(), shown);
    }

    async fn tell(&mut self, told: Told) {
        let (version, faults) = told.clone();
        let report = self.parts.link.report(Report::SettingsStatus { version, faults });
        let outcome = tokio::time::timeout(UNDER_WAY, report).await.unwrap_or(Outcome::Unknown);
        let after = match outcome {
            Outcome::Acknowledged => {
                self.told = Some(told);
                return;
            }
            // Said in words nobody takes; it is not said again until something changes.
            Outcome::Bad { .. } | Outcome::TooLarge { .. } => return,
            Outcome::Later { after } => after.max(AGAIN),
            Outcome::LinkSick { .. } => AGAIN * 20,
            Outcome::Unknown => AGAIN,
        };
        self.owed = Some((told, self.parts.rim.now() + after));
    }
}
