//! The only writer of `queue.db`, as a state machine: group commit, settlement, quotas, and the states of a sick disk.
//!
//! Readings gather in memory until the commit window that the first of them opened closes, a class that does not wait
//! arrives, or [`MAX_PENDING_ROWS`] or as many captures are gathered; then one transaction with one sync takes them, the books, the gaps and
//! the settlements that came meanwhile, and only after it has succeeded are the accepts answered.
//!
//! Invariants: memory changes only after the transaction that wrote the same change; a sequence is taken when a capture
//! is handed in and never again, whatever becomes of the commit; a settlement whose commit failed is kept and retried.
//!
//! - `intake` judges and packs what is handed in, `latest` holds what a newer reading of the same window would replace,
//!   `commit` is the one transaction, `quota` gives up the oldest (of a class that takes more than its own: `class_quota`).
//! - `told` is what destinations were told of losses, `wall` what this boot is dated with.
//! - `recover` is what happens when a commit fails, until the disk takes writes again; `disk` is what it writes to;
//!   `complaint` is how often that is said.
//! - `answer` is what it says to those who hand in, and how it is.
//! - `aside` is what people do with readings a destination refused, `give_up` what they drop of those that wait.
//! - `wear` measures what all this costs the flash, and keeps the log short; `pace` widens the window to a budget.
//! - `salvage` takes in what was found in a damaged predecessor.
//! - `gaps` are the records of what was not accepted, `tally` the running sums that [`QueueStatus`] shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::ballast::Ballast;
use super::books::Books;
use super::cursor::Cursor;
use super::handle::{BallastState, Flash, QueueStatus, STATEMENTS};
use super::open::{OpenOptions, Opened};
use super::reader::Told;
use super::segment::{Position, SegmentBuilder};
use super::settle::Settlement;
use super::{DestinationId, Epoch, schema};
use crate::clock::Mono;
use crate::clock::sources::Claim;
use crate::gather::Gather;
use crate::reading::{Capture, Class, GroupId, StreamId};
use crate::store::sqlite;
use crate::store::worker::Machine;

mod answer;
mod aside;
mod class_quota;
mod commit;
mod complaint;
mod disk;
mod gaps;
mod give_up;
mod intake;
mod latest;
mod pace;
mod quota;
mod recover;
mod salvage;
mod tally;
mod told;
mod wall;
mod wear;

pub use answer::{Accepted, Health, Refused, Turned};
pub use aside::{Aside, AsideAction, AsideError, AsideMoved};
use complaint::Complaint;
use disk::Disk;
use gaps::Gaps;
pub use give_up::{GaveUp, GiveUp, GiveUpError};
use intake::Verdict;
use latest::Latest;
use pace::Pace;
use salvage::Rescue;
use tally::Tally;
use wear::Wear;

/// As many rows as this are committed at once, window or not.
pub const MAX_PENDING_ROWS: u32 = 2048;
/// A capture with more samples than this is refused: no lane makes one.
pub const MAX_SAMPLES: usize = 1024;
/// As many settlements as this may wait for a commit that cannot be made.
const MAX_PENDING_SETTLEMENTS: usize = 1024;
/// A settlement alone waits this long for company: losing it costs a duplicate, never a reading.
const SETTLEMENT_WINDOW: Duration = Duration::from_secs(1);
/// The same while the flash budget widens the window, however far: after a kill at most what was answered in so long comes
/// twice, beside what was under way. A commit each five seconds is what that costs a busy link.
const WIDE_SETTLEMENT_WINDOW: Duration = Duration::from_secs(5);
/// How long a sick writer waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);
/// The bytes in use are asked of the file after so many commits, and whenever something was freed or may not fit.
const MEASURE_EVERY: u32 = 32;

/// What the writer can be asked.
#[derive(Debug)]
pub enum Command {
    /// Take a capture; answered after the commit.
    Accept {
        /// What a lane captured.
        capture: Capture,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Accepted, Refused>>,
    },
    /// Move accounts by a destination's answer.
    Settle(Settlement),
    /// A destination was told of losses or wall times, or will have to be.
    Told {
        /// [`QueueStatus::generation`] of what the records are in.
        generation: u32,
        /// Which destination.
        destination: DestinationId,
        /// What.
        told: Vec<Told>,
    },
    /// The time is known, or known better or otherwise: rows of this boot can be dated.
    WallKnown(Claim),
    /// A reader found the file of this generation damaged. Looked into before anything is done about it.
    Damaged {
        /// [`QueueStatus::generation`] of what it read.
        generation: u32,
        /// What it met.
        detail: String,
    },
    /// Do something with readings that were set aside.
    Aside {
        /// Which.
        which: Aside,
        /// What.
        action: AsideAction,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<AsideMoved, AsideError>>,
    },
    /// Give up some of what waits: one step.
    GiveUp {
        /// Which.
        what: GiveUp,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<GaveUp, GiveUpError>>,
    },
    /// The commit window is another from now on.
    CommitWindow(Duration),
    /// Commit whatever waits, and answer when that is done or has failed.
    Flush(oneshot::Sender<Health>),
}

/// A stream as this run uses it.
#[derive(Clone, Debug)]
pub struct StreamRow {
    /// Its number in the file.
    pub id: StreamId,
    /// Its class.
    pub class: Class,
    /// The destinations it goes to, as bits.
    pub routes: i64,
    /// The group whose sequence numbers it.
    pub group: String,
    /// Of the readings that wait together only the newest counts.
    pub latest_only: bool,
}

/// See the module head.
#[derive(Debug)]
pub struct Writer {
    options: OpenOptions,
    disk: Disk,
    pub(super) generation: u32,
    epoch_number: i64,
    /// What the epochs of this boot are dated with, once anything is.
    wall: Option<Claim>,
    wall_remembered: Option<Claim>,
    /// See [`QueueStatus::corrections`].
    corrections: u64,
    /// See [`QueueStatus::undated`].
    undated: u64,
    /// See [`QueueStatus::rearranged`].
    rearranged: u64,
    /// Destinations of which an answer was forgotten since the last commit.
    forgetting: BTreeSet<DestinationId>,
    /// See [`QueueStatus::forgotten`].
    forgotten: BTreeMap<DestinationId, u64>,
    pub(super) streams: Vec<StreamRow>,
    by_id: BTreeMap<StreamId, usize>,
    groups: Vec<Group>,
    /// The place of each stream's group in [`Writer::groups`].
    group_places: Vec<usize>,
    destinations: Vec<(DestinationId, String)>,
    books: Books,
    /// See [`QueueStatus::damaged`].
    damaged: Arc<Vec<String>>,
    tally: Tally,
    cursors: BTreeMap<(DestinationId, Class), Cursor>,
    next_segment: BTreeMap<Class, Position>,
    previous_epoch: Option<(Epoch, String)>,
    announced: BTreeMap<DestinationId, i64>,
    gaps: Gaps,
    pending: Pending,
    /// What became of each sample of the capture at hand; kept for its allocation.
    verdicts: Vec<Verdict>,
    health: Health,
    /// How often in a row a file that looks whole has refused a commit.
    doubts: u32,
    /// Why the file cannot be used, and why not even answers can be booked: met each second.
    unusable: Complaint,
    roomless: Complaint,
    ballast: Option<Ballast>,
    rescue: Rescue,
    /// See [`QueueStatus::stated`].
    stated: u64,
    /// What readings refer to, once more in each round of the log.
    definitions: String,
    definitions_due: bool,
    wear: Wear,
    pace: Pace,
    /// The call at hand has committed something.
    has_committed: bool,
    /// At this length of the log the writer waits for its readers.
    wait_for_readers_at: u64,
    last_commit: Duration,
    used_bytes: u64,
    /// Commits since [`Writer::used_bytes`] was asked of the file.
    unmeasured: u32,
    counted: Option<quota::Counted>,
    file_id: u64,
    status: watch::Sender<QueueStatus>,
}

#[derive(Debug)]
struct Group {
    name: String,
    next_sequence: u64,
}

/// What waits for the next commit.
#[derive(Debug, Default)]
struct Pending {
    since: Option<Mono>,
    /// A settlement alone opened the window.
    settlements_since: Option<Mono>,
    retry_at: Option<Mono>,
    segments: BTreeMap<(Class, i64), SegmentBuilder>,
    rows: u32,
    captures: Vec<Waiting>,
    /// All readings in `segments`: what to put on record should the commit fail.
    streams: Vec<Waits>,
    /// By place in [`Writer::streams`]; not yet in `segments`.
    latest: BTreeMap<usize, Latest>,
    /// By place in [`Writer::streams`]: readings that wait, and the newest sequence any reading was accepted under.
    intake: Vec<(u64, u64)>,
    settlements: Vec<Settlement>,
    told: Vec<(DestinationId, Told)>,
    wall: Option<Claim>,
    flushes: Vec<oneshot::Sender<Health>>,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<Accepted, Refused>>,
    sequence: u64,
    accepted: u32,
    refused: u32,
    first_refused: Option<Turned>,
    coalesced: u32,
}

/// A reading that waits.
#[derive(Clone, Copy, Debug)]
struct Waits {
    stream: StreamId,
    sequence: u64,
    at: Mono,
}

impl Writer {
    pub(super) fn new(connection: Connection, options: OpenOptions, opened: Opened, now: Mono) -> Self {
        let ballast =
            (options.ballast_bytes > 0).then(|| Ballast::beside(&options.path, options.ballast_bytes));
        let mut groups: Vec<Group> = Vec::new();
        for stream in &opened.streams {
            if groups.iter().all(|g| g.name != stream.group) {
                groups.push(Group { name: stream.group.clone(), next_sequence: 1 });
            }
        }
        let group_places = opened
            .streams
            .iter()
            .map(|s| groups.iter().position(|g| g.name == s.group).unwrap_or(0))
            .collect();
        let by_id = opened.streams.iter().enumerate().map(|(n, s)| (s.id, n)).gathered();
        let mut writer = Self {
            generation: 0,
            epoch_number: opened.epoch_number,
            wall: opened.wall,
            wall_remembered: opened.wall_remembered,
            corrections: 0,
            undated: 0,
            rearranged: 0,
            forgetting: BTreeSet::new(),
            forgotten: BTreeMap::new(),
            by_id,
            groups,
            group_places,
            destinations: opened.destinations,
            tally: Tally::of(&opened.books, opened.classes),
            books: opened.books,
            cursors: opened.cursors,
            next_segment: opened.next_segment,
            previous_epoch: opened.previous_epoch,
            announced: BTreeMap::new(),
            gaps: Gaps::default(),
            pending: Pending { intake: vec![(0, 0); opened.streams.len()], ..Pending::default() },
            streams: opened.streams,
            verdicts: Vec::new(),
            health: Health::Good,
            doubts: 0,
            unusable: Complaint::default(),
            roomless: Complaint::default(),
            ballast,
            rescue: Rescue::of(opened.salvage, now),
            stated: 0,
            definitions: opened.definitions,
            damaged: Arc::default(),
            definitions_due: false,
            wear: Wear::default(),
            pace: Pace::new(options.commit_window, options.flash_budget_per_day, now),
            has_committed: false,
            wait_for_readers_at: wear::CEILING,
            last_commit: Duration::ZERO,
            used_bytes: 0,
            unmeasured: 0,
            counted: None,
            file_id: opened.file_id,
            status: watch::Sender::new(QueueStatus::default()),
            disk: Disk::Open(connection),
            options,
        };
        if let Some(ballast) = &writer.ballast
            && let Err(error) = ballast.take()
        {
            tracing::warn!(%error, "no room for the ballast");
            // As after any full disk: nothing is accepted before the room is there again.
            if sqlite::trouble_of(&error) == sqlite::Trouble::Full {
                writer.health = Health::DiskFull;
                writer.pending.retry_at = Some(now);
            }
        }
        writer.measure();
        writer.read_statements();
        let at = writer.disk.log();
        writer.wear.begin_again(at.unwrap_or_default());
        writer.publish();
        writer
    }

    /// Where the writer says how it is.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<QueueStatus> {
        self.status.subscribe()
    }

    /// The options it was opened with.
    #[must_use]
    pub fn options(&self) -> &OpenOptions {
        &self.options
    }

    /// The numbers this file gives the configured streams, in the order of [`OpenOptions::streams`], and their groups'.
    #[must_use]
    pub fn stream_ids(&self) -> Vec<(StreamId, GroupId)> {
        let group = |place: usize| GroupId(u32::try_from(place).unwrap_or(0));
        self.streams.iter().zip(&self.group_places).map(|(s, place)| (s.id, group(*place))).collect()
    }

    /// The destinations' numbers, in the order of [`OpenOptions::destinations`].
    #[must_use]
    pub fn destination_ids(&self) -> &[(DestinationId, String)] {
        &self.destinations
    }

    /// What an earlier run of this boot was told of the time.
    pub(super) fn wall_remembered(&self) -> Option<Claim> {
        self.wall_remembered
    }

    fn open_window(&mut self, now: Mono) {
        self.pending.since.get_or_insert(now);
    }

    fn settle(&mut self, now: Mono, settlement: Settlement) {
        if settlement.generation != self.generation {
            return;
        }
        if self.pending.settlements.len() >= MAX_PENDING_SETTLEMENTS {
            // Forgetting an answer costs a duplicate, never a reading: with the next commit its drain begins anew.
            if self.forgetting.insert(settlement.destination) {
                tracing::warn!(
                    destination = settlement.destination.0,
                    "too many answers wait for a disk that takes none; what was answered beyond them is sent again"
                );
            }
            return;
        }
        if crate::sabotage::on("one-cursor") {
            let others = self.destinations.iter().filter(|(d, _)| *d != settlement.destination);
            self.pending
                .settlements
                .extend(others.map(|(d, _)| Settlement { destination: *d, ..settlement.clone() }));
        }
        self.pending.settlements.push(settlement);
        self.pending.settlements_since.get_or_insert(now);
    }

    fn due(&self) -> Option<Mono> {
        let late = if crate::sabotage::on("late-commit") { 40 } else { 1 };
        let window = self.pace.window();
        let accept = self.pending.since.map(|at| at.plus(window * late));
        // Where the window is wider than configured, an answer that waits longer saves a commit as well.
        let wider = window > self.options.commit_window;
        let most = if wider { WIDE_SETTLEMENT_WINDOW } else { SETTLEMENT_WINDOW };
        let settle =
            self.pending.settlements_since.map(|at| at.plus(most.min(window.max(Duration::from_millis(50)))));
        let due = [accept, settle].into_iter().flatten().min();
        match (due, self.pending.retry_at) {
            (Some(due), Some(retry)) => Some(due.max(retry)),
            (None, retry) if self.health != Health::Good => retry,
            (due, _) => due,
        }
    }

    fn publish(&mut self) {
        let (groups, epoch) = (&self.groups, self.epoch_number);
        self.status.send_modify(|status| {
            status.generation = self.generation;
            status.file_id = self.file_id;
            status.epoch = Some(self.options.epoch);
            status.health.clone_from(&self.health);
            self.tally.show(status);
            for (group, newest) in groups.iter().zip(self.tally.newest(groups.len())) {
                if *newest == 0 {
                    status.newest_sequences.remove(&group.name);
                } else if let Some(shown) = status.newest_sequences.get_mut(&group.name) {
                    *shown = *newest;
                } else {
                    status.newest_sequences.insert(group.name.clone(), *newest);
                }
            }
            status.previous_epoch.clone_from(&self.previous_epoch);
            status.announced.clear();
            status.announced.extend(self.announced.iter().filter(|(_, n)| **n == epoch).map(|(d, _)| *d));
            status.ends.clone_from(&self.next_segment);
            status.given_up.clone_from(&self.books.given_up);
            status.corrections = self.corrections;
            status.undated = self.undated;
            status.rearranged = self.rearranged;
            status.forgotten.clone_from(&self.forgotten);
            status.stated = self.stated;
            status.last_commit = self.last_commit;
            status.used_bytes = self.used_bytes;
            status.max_bytes = self.options.max_bytes;
            status.commit_window = self.pace.window();
            status.configured_window = self.options.commit_window;
            status.flash = Flash {
                written: self.wear.written(),
                forecast_per_day: self.pace.forecast(),
                budget_per_day: self.options.flash_budget_per_day,
            };
            status.log_bytes = self.wear.log_bytes();
            status.slow_fsync = self.wear.slow();
            status.commit_p50 = self.wear.percentile(50);
            status.commit_p99 = self.wear.percentile(99);
            status.salvage = self.rescue.shown();
            status.damaged.clone_from(&self.damaged);
            status.ballast = BallastState {
                bytes: self.ballast.as_ref().map_or(0, Ballast::bytes),
                held: self.ballast.as_ref().is_some_and(Ballast::is_held),
            };
        });
    }

    /// Counts what was written, and brings the log home while it is short. Called once whoever waits has been answered.
    fn tend_log(&mut self, now: Mono) {
        let Some(mut at) = self.disk.log() else { return };
        let mut bytes = self.wear.look(&self.options.path, at);
        let wait = at.frames >= self.wait_for_readers_at;
        if wait || at.frames.saturating_sub(at.home) >= wear::HOME_AT {
            at = self.disk.bring_home(wait).unwrap_or(at);
            bytes += self.wear.look(&self.options.path, at);
        }
        // With all of it home the next commit begins another round.
        if at.home == at.frames {
            self.wait_for_readers_at = wear::CEILING;
        } else if wait {
            // In vain. Whoever reads for so long is not waited for at each commit.
            self.wait_for_readers_at = at.frames + wear::WAIT_AGAIN;
            tracing::warn!(
                bytes = self.wear.log_bytes(),
                "somebody reads the queue file in one transaction for longer than a second; its log grows until that ends. \
                 Look for a tool that has the file open"
            );
        }
        self.definitions_due |= self.wear.has_new_round();
        let before = self.pace.window();
        self.pace.wrote(now, bytes);
        let window = self.pace.window();
        if window != before {
            tracing::info!(
                at_risk_before_acceptance_ms = window.as_millis(),
                forecast = self.pace.forecast(),
                budget = self.options.flash_budget_per_day,
                "the commit window follows the flash budget"
            );
        }
    }

    /// Asks the file what is on record of damaged predecessors.
    fn read_statements(&mut self) {
        let Some(connection) = self.disk.connection() else { return };
        let read = || -> rusqlite::Result<Vec<String>> {
            let newest =
                "SELECT detail FROM statements WHERE kind = 'queue_damaged' ORDER BY id DESC LIMIT ?1";
            connection.prepare(newest)?.query_map([STATEMENTS], |r| r.get(0))?.collect()
        };
        // Only shown: what does not read is found by whoever needs it.
        self.damaged = Arc::new(read().unwrap_or_default());
    }

    /// Asks the file how much of it is in use.
    fn measure(&mut self) {
        if let Some(pages) = self.disk.pages() {
            self.used_bytes = pages.used() * u64::from(schema::KIND.page_size);
            self.unmeasured = 0;
        }
        self.count_undated();
    }
}

impl Machine for Writer {
    type Command = Command;

    fn handle(&mut self, now: Mono, command: Command) {
        match command {
            Command::Accept { capture, reply } => self.accept(now, &capture, reply),
            Command::Settle(settlement) => self.settle(now, settlement),
            Command::Told { generation, destination, told } => self.told(now, generation, destination, &told),
            Command::WallKnown(claim) => {
                self.pending.wall = Some(claim);
                self.open_window(now);
            }
            Command::Damaged { generation, detail } => self.look_into_damage(now, generation, &detail),
            Command::Aside { which, action, reply } => self.aside(now, which, action, reply),
            Command::GiveUp { what, reply } => self.give_up_asked(now, &what, reply),
            Command::CommitWindow(window) => {
                let window = window.min(pace::WIDEST);
                self.options.commit_window = window;
                self.pace.configure(window);
                self.publish();
            }
            Command::Flush(reply) => {
                self.pending.flushes.push(reply);
                self.commit(now);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        [self.due(), self.salvage_due()].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Mono) {
        if self.due().is_some_and(|at| at <= now) {
            self.commit(now);
        } else if self.salvage_due().is_some_and(|at| at <= now) {
            self.salvage(now);
        }
    }

    fn took(&mut self, time: Duration) {
        if std::mem::take(&mut self.has_committed) {
            let was = self.wear.slow().is_some();
            self.wear.took(time);
            let slow = self.wear.slow();
            if was != slow.is_some() {
                tracing::warn!(?slow, "commits have become slow, or are no longer");
                self.publish();
            }
        }
    }

    fn close(&mut self, now: Mono) {
        self.commit(now);
        if self.health == Health::Good
            && let Err(error) = self.disk.close(self.epoch_number)
        {
            tracing::warn!(%error, "the queue could not be closed cleanly; the next start records an unclean stop");
        }
    }
}

#[cfg(test)]
mod tests;
