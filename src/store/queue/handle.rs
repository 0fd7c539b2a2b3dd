//! What the rest of the daemon holds of the queue.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::books::GivenUpFor;
use super::open::{self, OpenOptions};
use super::reader::{ReadError, Reader, Told};
use super::settle::Settlement;
use super::writer::{
    Accepted, Aside, AsideAction, AsideError, AsideMoved, Command, GaveUp, GiveUp, GiveUpError, Health,
    Refused, Writer,
};
use super::{DestinationId, Epoch, Position};
use crate::clock::Clock;
use crate::clock::sources::Claim;
use crate::gather::Gather;
use crate::reading::{Capture, Class, GroupId, StreamId};
use crate::store::sqlite::OpenError;
use crate::store::worker::{Busy, Worker};

/// A handle on the queue; clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    worker: Arc<Worker<Writer>>,
    status: watch::Receiver<QueueStatus>,
    path: PathBuf,
    streams: Arc<Vec<(StreamId, GroupId)>>,
    names: Arc<Vec<String>>,
    destinations: Arc<Vec<(DestinationId, String)>>,
    wall_remembered: Option<Claim>,
}

/// Counts of readings. Of a stream's producing side or of a destination's consuming side; the other half is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// On disk at some time.
    pub accepted: u64,
    /// Turned away.
    pub refused: u64,
    /// Replaced by a newer one before being sent.
    pub coalesced: u64,
    /// Due, and never came.
    pub missed: u64,
    /// The destination has them.
    pub acknowledged: u64,
    /// Given up.
    pub dropped: u64,
    /// Kept aside for people.
    pub set_aside: u64,
    /// Waiting.
    pub queued: u64,
}

impl Totals {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            refused: self.refused + other.refused,
            coalesced: self.coalesced + other.coalesced,
            missed: self.missed + other.missed,
            acknowledged: self.acknowledged + other.acknowledged,
            dropped: self.dropped + other.dropped,
            set_aside: self.set_aside + other.set_aside,
            queued: self.queued + other.queued,
        }
    }

    /// What is left without `other`, which was part of it.
    #[must_use]
    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted.saturating_sub(other.accepted),
            refused: self.refused.saturating_sub(other.refused),
            coalesced: self.coalesced.saturating_sub(other.coalesced),
            missed: self.missed.saturating_sub(other.missed),
            acknowledged: self.acknowledged.saturating_sub(other.acknowledged),
            dropped: self.dropped.saturating_sub(other.dropped),
            set_aside: self.set_aside.saturating_sub(other.set_aside),
            queued: self.queued.saturating_sub(other.queued),
        }
    }
}

/// As many statements of damaged files are shown; all are in the file.
pub(super) const STATEMENTS: u32 = 4;

/// How the queue is, after its last commit.
#[derive(Clone, Debug, Default)]
pub struct QueueStatus {
    /// Which file, in this run: it changes when a damaged one is replaced.
    pub generation: u32,
    /// The file's random id.
    pub file_id: u64,
    /// The epoch readings are accepted under.
    pub epoch: Option<Epoch>,
    /// Accepting, or why not.
    pub health: Health,
    /// The producing side, all streams.
    pub intake: Totals,
    /// The consuming side, by destination and class.
    pub totals: BTreeMap<(DestinationId, Class), Totals>,
    /// What `dropped` is made of.
    pub given_up: Arc<GivenUpFor>,
    /// The newest accepted sequence of each group in this epoch.
    pub newest_sequences: BTreeMap<String, u64>,
    /// The epoch before this one and its last sequences (JSON `{group: sequence}`).
    pub previous_epoch: Option<(Epoch, String)>,
    /// The destinations that acknowledged this epoch's opening statement.
    pub announced: BTreeSet<DestinationId>,
    /// The end of each class's queue: a destination standing there has nothing to send.
    pub ends: BTreeMap<Class, Position>,
    /// How often in this run all was known of a damaged file: then its statement says more than before.
    pub stated: u64,
    /// How often in this run this boot's wall time turned out to have been wrong.
    pub corrections: u64,
    /// Readings in segments of this boot while nothing has vouched for its time, as of the last measurement.
    pub undated: u64,
    /// How often in this run an operator had a range settled: it was no answer that did, and not everything in it is dropped.
    pub rearranged: u64,
    /// How often in this run answers of a destination were forgotten for want of a place. What its drain believes settled is
    /// not: it has to read the file again.
    pub forgotten: BTreeMap<DestinationId, u64>,
    /// How long the first accept of the last commit had waited when the commit began.
    pub last_commit: Duration,
    /// Bytes in use in the file.
    pub used_bytes: u64,
    /// The file's quota.
    pub max_bytes: u64,
    /// What is at risk before acceptance: as configured, or wider for the flash's sake ([`QueueStatus::why_widened`]).
    pub commit_window: Duration,
    /// What is configured, or set from afar instead.
    pub configured_window: Duration,
    /// What is written to the flash.
    pub flash: Flash,
    /// The length of the log that a checkpoint has yet to reset.
    pub log_bytes: u64,
    /// The last commit took so long that it is a state of its own. Readings are accepted all the same; it ends with the
    /// next commit that does not.
    pub slow_fsync: Option<Duration>,
    /// Half of the last 128 commits took no longer, by the writer's driver's clock.
    pub commit_p50: Duration,
    /// 99 of a hundred took no longer.
    pub commit_p99: Duration,
    /// The room held back for a full disk.
    pub ballast: BallastState,
    /// A damaged predecessor whose readings are being taken into this file.
    pub salvage: Option<Salvaging>,
    /// What is on record of damaged predecessors, newest first, at most four: JSON, as `damage` writes it.
    pub damaged: Arc<Vec<String>>,
}

/// The room held back so that a full disk can be emptied, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BallastState {
    /// How much is to be held back; 0 without a ballast.
    pub bytes: u64,
    /// Whether it is: on a full disk it is released, and taken back before readings are accepted again.
    pub held: bool,
}

/// What the queue writes to the flash, in bytes of whole blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flash {
    /// Since the start of the daemon.
    pub written: u64,
    /// A day, going by the last ten minutes; `None` in the first.
    pub forecast_per_day: Option<u64>,
    /// What a day may cost, if that is configured.
    pub budget_per_day: Option<u64>,
}

/// How far the salvage of a damaged file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaging {
    /// Its name, beside the queue file.
    pub file: String,
    /// Of its pages, so many thousandths have been looked at.
    pub thousandths: u32,
    /// So many readings were taken from it, counted once for each destination they are for.
    pub readings: u64,
}

impl QueueStatus {
    /// Why the commit window is wider than configured, if it is.
    #[must_use]
    pub fn why_widened(&self) -> Option<String> {
        let (forecast, budget) = self.flash.forecast_per_day.zip(self.flash.budget_per_day)?;
        (self.commit_window > self.configured_window).then(|| {
            format!(
                "the commit window is widened from {} ms to {} ms: {} MB a day are written at this rate, the budget is {} MB",
                self.configured_window.as_millis(),
                self.commit_window.as_millis(),
                forecast / 1_000_000,
                budget / 1_000_000
            )
        })
    }

    /// How many readings were given up for `destination` for this reason.
    #[must_use]
    pub fn given_up_for(&self, destination: DestinationId, reason: &str) -> u64 {
        let of = |((d, r), _): &(&(DestinationId, Cow<'static, str>), &u64)| *d == destination && r == reason;
        self.given_up.iter().filter(of).map(|(_, count)| *count).sum()
    }

    /// One destination, all classes.
    #[must_use]
    pub fn destination(&self, destination: DestinationId) -> Totals {
        self.totals
            .iter()
            .filter(|((d, _), _)| *d == destination)
            .fold(Totals::default(), |sum, (_, totals)| sum.plus(*totals))
    }
}

impl Queue {
    /// Opens the queue with its writer on a thread of its own.
    ///
    /// # Errors
    /// See [`open::open`]; or when the system makes no thread.
    pub fn open(options: OpenOptions, clock: &Arc<dyn Clock>) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let writer = open::open(options, clock.mono(), clock.wall())?;
        let parts = Parts::of(&writer);
        let worker = Worker::on_thread(writer, Arc::clone(clock), "queue-writer")
            .map_err(|e| OpenError::Unreachable { path: path.clone(), detail: e.to_string() })?;
        Ok(parts.handle(worker, path))
    }

    /// Opens the queue with its writer on the caller's thread. The future must be spawned.
    ///
    /// # Errors
    /// See [`open::open`].
    pub fn open_inline(
        options: OpenOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), OpenError> {
        let path = options.path.clone();
        let writer = open::open(options, clock.mono(), clock.wall())?;
        let parts = Parts::of(&writer);
        let (worker, pump) = Worker::inline(writer, Arc::clone(clock));
        Ok((parts.handle(worker, path), pump))
    }

    /// Takes a capture and answers once it is committed and synced. A caller that stops waiting does not take it back.
    ///
    /// # Errors
    /// [`Refused`]; the readings are then on record as refused.
    pub async fn accept(&self, capture: Capture) -> Result<Accepted, Refused> {
        self.offer(capture).await?.await.unwrap_or(Err(Refused::Stopped))
    }

    /// Hands a capture over, waiting only for room; the receiver gives the answer after the commit. A lane that must keep
    /// its cadence holds a few of these.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn offer(
        &self,
        capture: Capture,
    ) -> Result<oneshot::Receiver<Result<Accepted, Refused>>, Refused> {
        let (reply, answer) = oneshot::channel();
        self.worker.send(Command::Accept { capture, reply }).await.map_err(|_| Refused::Stopped)?;
        Ok(answer)
    }

    /// Moves accounts by a destination's answer. It is on disk after the next commit; losing it costs a duplicate.
    pub async fn settle(&self, settlement: Settlement) {
        // A stopped writer means the daemon is ending: the readings stay queued and are sent again.
        let _ = self.worker.send(Command::Settle(settlement)).await;
    }

    /// Remembers what `destination` was told of losses and wall times, or owes it. On disk after the next commit; losing it
    /// costs a repetition.
    pub async fn told(&self, generation: u32, destination: DestinationId, told: Vec<Told>) {
        let _ = self.worker.send(Command::Told { generation, destination, told }).await;
    }

    /// Tells the queue what time it is, so that this boot's readings can be dated. Where that shows that they were dated wrongly, a
    /// correction is put on record and every destination is owed it.
    pub async fn tell_wall(&self, claim: Claim) {
        let _ = self.worker.send(Command::WallKnown(claim)).await;
    }

    /// What an earlier run of this boot was told of the time.
    #[must_use]
    pub fn wall_remembered(&self) -> Option<Claim> {
        self.wall_remembered
    }

    /// Has readings that were set aside sent again, each under the identity it was accepted with.
    ///
    /// # Errors
    /// [`AsideError`]; nothing was moved then.
    pub async fn retry_set_aside(&self, which: Aside) -> Result<AsideMoved, AsideError> {
        self.move_set_aside(which, AsideAction::Retry).await
    }

    /// Gives readings up that were set aside; on record with the reason `operator`.
    ///
    /// # Errors
    /// [`AsideError`]; nothing was moved then.
    pub async fn drop_set_aside(&self, which: Aside) -> Result<AsideMoved, AsideError> {
        self.move_set_aside(which, AsideAction::Drop).await
    }

    async fn move_set_aside(&self, which: Aside, action: AsideAction) -> Result<AsideMoved, AsideError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Aside { which, action, reply };
        self.worker.send(command).await.map_err(|_| AsideError::Stopped)?;
        answer.await.unwrap_or(Err(AsideError::Stopped))
    }

    /// Gives up some of what waits for a destination; on record with the reason `operator`. One bounded step: ask again
    /// while there is more.
    ///
    /// # Errors
    /// [`GiveUpError`]; this step changed nothing then.
    pub async fn give_up(&self, what: GiveUp) -> Result<GaveUp, GiveUpError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::GiveUp { what, reply };
        self.worker.send(command).await.map_err(|_| GiveUpError::Stopped)?;
        answer.await.unwrap_or(Err(GiveUpError::Stopped))
    }

    /// Commits whatever waits and tells how the store is.
    pub async fn flush(&self) -> Health {
        let (reply, answer) = oneshot::channel();
        if self.worker.send(Command::Flush(reply)).await.is_err() {
            return Health::Faulty("stopped".into());
        }
        answer.await.unwrap_or(Health::Faulty("stopped".into()))
    }

    /// From now on readings wait so long for company, at most 60 s; more where the flash budget says so.
    pub async fn set_commit_window(&self, window: Duration) {
        // A stopped writer means the daemon is ending.
        let _ = self.worker.send(Command::CommitWindow(window)).await;
    }

    /// How the queue is; changes after every commit.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<QueueStatus> {
        self.status.clone()
    }

    /// A view of what waits for `destination`. Damage it meets is looked into by the writer, which then begins another
    /// file: [`QueueStatus::generation`] changes, and whoever reads opens another view.
    ///
    /// # Errors
    /// When the file does not read.
    pub fn reader(&self, destination: DestinationId) -> Result<Reader, ReadError> {
        let generation = self.status.borrow().generation;
        let worker = Arc::downgrade(&self.worker);
        let report = move |error: &ReadError| {
            if let Some(worker) = worker.upgrade() {
                // With no room for it now, the next pick meets the same damage and says so again.
                let _ = worker.try_send(Command::Damaged { generation, detail: error.to_string() });
            }
        };
        Reader::reporting(&self.path, destination, Box::new(report))
    }

    /// The configured streams' numbers, in the order of [`OpenOptions::streams`], with their group's.
    #[must_use]
    pub fn streams(&self) -> &[(StreamId, GroupId)] {
        &self.streams
    }

    /// The name of a configured stream.
    #[must_use]
    pub fn stream_name(&self, stream: StreamId) -> Option<&str> {
        let place = self.streams.iter().position(|(id, _)| *id == stream)?;
        self.names.get(place).map(String::as_str)
    }

    /// The configured destinations' numbers and names.
    #[must_use]
    pub fn destinations(&self) -> &[(DestinationId, String)] {
        &self.destinations
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether, and since when, the writer is inside one call.
    #[must_use]
    pub fn busy(&self) -> Arc<Busy> {
        self.worker.busy()
    }

    /// Commits what waits, notes the clean stop and ends the writer.
    pub fn stop(&self) {
        self.worker.stop();
    }
}

struct Parts {
    status: watch::Receiver<QueueStatus>,
    streams: Vec<(StreamId, GroupId)>,
    names: Vec<String>,
    destinations: Vec<(DestinationId, String)>,
    wall_remembered: Option<Claim>,
}

impl Parts {
    fn of(writer: &Writer) -> Self {
        Self {
            status: writer.subscribe(),
            streams: writer.stream_ids(),
            names: writer.options().streams.iter().map(|spec| spec.name.clone()).gathered(),
            destinations: writer.destination_ids().to_vec(),
            wall_remembered: writer.wall_remembered(),
        }
    }

    fn handle(self, worker: Worker<Writer>, path: PathBuf) -> Queue {
        Queue {
            worker: Arc::new(worker),
            status: self.status,
            path,
            streams: Arc::new(self.streams),
            names: Arc::new(self.names),
            destinations: Arc::new(self.destinations),
            wall_remembered: self.wall_remembered,
        }
    }
}
