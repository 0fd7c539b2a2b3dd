//! The only writer of `queue.db`, as a state machine: group commit, settlement, quotas, and the states of a sick disk.
//!
//! Readings gather in memory until the commit window that the first of them opened closes, a class that does not wait
//! arrives, or [`MAX_PENDING_ROWS`] are gathered; then one transaction with one sync takes them, the books, the gaps and
//! the settlements that came meanwhile, and only after it has succeeded are the accepts answered.
//!
//! Invariants: memory changes only after the transaction that wrote the same change; a sequence is taken when a capture
//! is handed in and never again, whatever becomes of the commit; a settlement whose commit failed is kept and retried.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use tokio::sync::{oneshot, watch};

use super::ballast::Ballast;
use super::books::Books;
use super::cursor::Cursor;
use super::handle::{QueueStatus, Totals};
use super::open::{OpenOptions, Opened};
use super::segment::{MAX_ROWS, Position, SegmentBuilder};
use super::settle::Settlement;
use super::{DestinationId, Epoch, schema};
use crate::clock::{Mono, Wall};
use crate::reading::{Capture, Class, Sample, StreamId, Value};
use crate::store::worker::Machine;

mod commit;
mod gaps;
mod quota;

use gaps::Gaps;

/// As many rows as this are committed at once, window or not.
pub const MAX_PENDING_ROWS: u32 = 2048;
/// A capture with more samples than this is refused: no lane makes one.
pub const MAX_SAMPLES: usize = 1024;
/// As many settlements as this may wait for a commit that cannot be made.
const MAX_PENDING_SETTLEMENTS: usize = 1024;
/// A settlement alone waits this long for company: losing it costs a duplicate, never a reading.
const SETTLEMENT_WINDOW: Duration = Duration::from_secs(1);
/// How long a sick writer waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);

/// The readings are on disk, committed and synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The epoch they were accepted under.
    pub epoch: Epoch,
    /// The number all readings of the capture share.
    pub sequence: u64,
    /// How many were accepted.
    pub accepted: u32,
    /// How many of the capture were refused for what they were; each is on record.
    pub refused: u32,
}

/// Nothing of the capture was accepted; every reading of it is on record as refused as soon as the disk takes records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no room on the disk or in the quota.
    #[error("the disk is full; readings are refused until the queue has drained or room is made")]
    DiskFull,
    /// The file system is mounted read-only.
    #[error(
        "the file system is read-only; readings are refused until it can be written again. Check the disk's health"
    )]
    ReadOnly,
    /// The disk failed in some other way.
    #[error("the disk refuses writes ({0}); readings are refused until it recovers. Check the disk's health")]
    Faulty(String),
    /// The capture is not one a lane makes: too many samples.
    #[error("a capture of {0} readings at once is refused; at most {MAX_SAMPLES} are taken")]
    TooLarge(usize),
    /// The writer is gone.
    #[error("the store has stopped")]
    Stopped,
}

impl Refused {
    fn reason(&self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Faulty(_) => "disk_fault",
            Self::TooLarge(_) => "too_large",
            Self::Stopped => "stopped",
        }
    }
}

/// The named states of the store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// Accepting.
    #[default]
    Good,
    /// No room; see [`Refused::DiskFull`].
    DiskFull,
    /// See [`Refused::ReadOnly`].
    ReadOnly,
    /// See [`Refused::Faulty`].
    Faulty(String),
}

impl Health {
    /// One word for pages and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Faulty(_) => "disk_fault",
        }
    }
}

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
    /// The wall clock is trusted now, or is trusted differently: rows of this epoch can be dated.
    WallKnown {
        /// The monotonic time it was read at.
        at: Mono,
        /// What it said.
        wall: Wall,
    },
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
}

/// See the module head.
#[derive(Debug)]
pub struct Writer {
    options: OpenOptions,
    connection: Connection,
    pub(super) generation: u32,
    epoch_number: i64,
    /// Wall minus monotonic, and its uncertainty, once trusted.
    wall_offset: Option<(i64, u32)>,
    pub(super) streams: Vec<StreamRow>,
    by_id: BTreeMap<StreamId, usize>,
    groups: Vec<Group>,
    destinations: Vec<(DestinationId, String)>,
    books: Books,
    cursors: BTreeMap<(DestinationId, Class), Cursor>,
    next_segment: BTreeMap<Class, Position>,
    previous_epoch: Option<(Epoch, String)>,
    announced: BTreeMap<DestinationId, i64>,
    gaps: Gaps,
    pending: Pending,
    health: Health,
    ballast: Option<Ballast>,
    last_commit: Duration,
    used_bytes: u64,
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
    /// Accepted rows by stream, with the newest sequence.
    intake: BTreeMap<StreamId, (u64, u64)>,
    settlements: Vec<Settlement>,
    wall: Option<(Mono, Wall)>,
    flushes: Vec<oneshot::Sender<Health>>,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<Accepted, Refused>>,
    sequence: u64,
    accepted: u32,
    refused: u32,
    at: Mono,
    /// What to put on record should the commit fail.
    streams: Vec<StreamId>,
}

impl Writer {
    pub(super) fn new(connection: Connection, options: OpenOptions, opened: Opened, wall: Wall) -> Self {
        let ballast =
            (options.ballast_bytes > 0).then(|| Ballast::beside(&options.path, options.ballast_bytes));
        let mut groups: Vec<Group> = Vec::new();
        for stream in &opened.streams {
            if groups.iter().all(|g| g.name != stream.group) {
                groups.push(Group { name: stream.group.clone(), next_sequence: 1 });
            }
        }
        let by_id = opened.streams.iter().enumerate().map(|(n, s)| (s.id, n)).collect();
        let mut writer = Self {
            generation: 0,
            epoch_number: opened.epoch_number,
            wall_offset: wall.trusted.then(|| (offset_ms(opened.first_mono, wall), wall.uncertainty_ms)),
            streams: opened.streams,
            by_id,
            groups,
            destinations: opened.destinations,
            books: opened.books,
            cursors: opened.cursors,
            next_segment: opened.next_segment,
            previous_epoch: opened.previous_epoch,
            announced: BTreeMap::new(),
            gaps: Gaps::default(),
            pending: Pending::default(),
            health: Health::Good,
            ballast,
            last_commit: Duration::ZERO,
            used_bytes: 0,
            file_id: opened.file_id,
            status: watch::Sender::new(QueueStatus::default()),
            connection,
            options,
        };
        if let Some(ballast) = &writer.ballast
            && let Err(e) = ballast.take()
        {
            tracing::warn!(error = %e, "no room for the ballast; the disk is nearly full");
        }
        writer.measure();
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
    pub fn stream_ids(&self) -> Vec<(StreamId, crate::reading::GroupId)> {
        self.streams
            .iter()
            .map(|s| {
                let group = self.groups.iter().position(|g| g.name == s.group).unwrap_or(0);
                (s.id, crate::reading::GroupId(u32::try_from(group).unwrap_or(0)))
            })
            .collect()
    }

    /// The destinations' numbers, in the order of [`OpenOptions::destinations`].
    #[must_use]
    pub fn destination_ids(&self) -> &[(DestinationId, String)] {
        &self.destinations
    }

    fn accept(&mut self, now: Mono, capture: Capture, reply: oneshot::Sender<Result<Accepted, Refused>>) {
        let Some(group) = self.groups.get_mut(capture.group.0 as usize) else {
            let _ = reply.send(Err(Refused::TooLarge(capture.samples.len())));
            return;
        };
        let sequence = group.next_sequence;
        let reuse = crate::sabotage::on("reuse-sequence") && sequence % 7 == 0 && capture.at.0 & 1024 == 0;
        if !reuse {
            group.next_sequence += 1;
        }
        if capture.samples.len() > MAX_SAMPLES || capture.missing.len() > MAX_SAMPLES {
            let streams: Vec<StreamId> = capture.samples.iter().map(|s| s.stream).collect();
            self.gaps.refuse(&streams, "too_large", self.epoch_number, sequence, capture.at);
            let _ = reply.send(Err(Refused::TooLarge(capture.samples.len())));
            self.open_window(now);
            return;
        }
        let mut waiting =
            Waiting { reply, sequence, accepted: 0, refused: 0, at: capture.at, streams: Vec::new() };
        for sample in &capture.samples {
            match self.unacceptable(sample) {
                Some(reason) => {
                    waiting.refused += 1;
                    self.gaps.refuse(&[sample.stream], reason, self.epoch_number, sequence, capture.at);
                }
                None => waiting.streams.push(sample.stream),
            }
        }
        for (stream, reason) in &capture.missing {
            self.gaps.miss(*stream, reason.name(), self.epoch_number, sequence, capture.at);
        }
        let mut at_once = self.pack(&capture, sequence, &mut waiting);
        at_once |= self.options.commit_window.is_zero() || self.pending.rows >= MAX_PENDING_ROWS;
        if crate::sabotage::on("answer-before-commit") {
            let (reply, _) = oneshot::channel();
            let early = std::mem::replace(&mut waiting.reply, reply);
            let (accepted, refused) = (waiting.accepted, waiting.refused);
            let _ = early.send(Ok(Accepted { epoch: self.options.epoch, sequence, accepted, refused }));
            self.publish();
        }
        self.pending.captures.push(waiting);
        self.open_window(now);
        if at_once {
            self.commit(now);
        }
    }

    /// Packs what is acceptable; tells whether a class that does not wait was among it.
    fn pack(&mut self, capture: &Capture, sequence: u64, waiting: &mut Waiting) -> bool {
        let mut at_once = false;
        let (streams, by_id) = (&self.streams, &self.by_id);
        let row = |sample: &Sample| by_id.get(&sample.stream).and_then(|n| streams.get(*n));
        let mut kinds: Vec<(Class, i64)> = Vec::with_capacity(1);
        for sample in &capture.samples {
            if self.unacceptable(sample).is_none()
                && let Some(stream) = row(sample)
            {
                let kind = (stream.class, stream.routes);
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
                let (count, newest) = self.pending.intake.entry(sample.stream).or_default();
                *count += 1;
                *newest = sequence;
            }
        }
        for kind in kinds {
            at_once |= !kind.0.waits_for_window();
            let builder = self.pending.segments.entry(kind).or_default();
            let packed = builder.push(capture, sequence, |sample| {
                !is_unacceptable_value(&sample.value)
                    && row(sample).is_some_and(|s| (s.class, s.routes) == kind)
            });
            waiting.accepted += packed;
            self.pending.rows += packed;
            at_once |= builder.rows() + MAX_SAMPLES as u32 > MAX_ROWS;
        }
        at_once
    }

    fn unacceptable(&self, sample: &Sample) -> Option<&'static str> {
        if !self.by_id.contains_key(&sample.stream) {
            return Some("unknown_stream");
        }
        is_unacceptable_value(&sample.value).then_some("not_storable")
    }

    fn open_window(&mut self, now: Mono) {
        self.pending.since.get_or_insert(now);
    }

    fn settle(&mut self, now: Mono, settlement: Settlement) {
        if settlement.generation != self.generation {
            return;
        }
        if self.pending.settlements.len() >= MAX_PENDING_SETTLEMENTS {
            // Forgetting an answer costs a duplicate after a restart, never a reading.
            tracing::warn!("too many answers wait for a disk that takes none; one is forgotten");
            return;
        }
        self.pending.settlements.push(settlement);
        self.pending.settlements_since.get_or_insert(now);
    }

    fn due(&self) -> Option<Mono> {
        let accept = self.pending.since.map(|at| at.plus(self.options.commit_window));
        let settle = self.pending.settlements_since.map(|at| {
            at.plus(SETTLEMENT_WINDOW.min(self.options.commit_window.max(Duration::from_millis(50))))
        });
        let due = [accept, settle].into_iter().flatten().min();
        match (due, self.pending.retry_at) {
            (Some(due), Some(retry)) => Some(due.max(retry)),
            (None, retry) if self.health != Health::Good => retry,
            (due, _) => due,
        }
    }

    fn publish(&mut self) {
        let mut totals: BTreeMap<(DestinationId, Class), Totals> = BTreeMap::new();
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        let mut intake_total = Totals::default();
        for stream in &self.streams {
            if let Some(intake) = self.books.intake.get(&stream.id).filter(|i| i.epoch == self.epoch_number) {
                let sequence = newest.entry(stream.group.clone()).or_default();
                *sequence = intake.last_sequence.max(*sequence);
            }
        }
        if crate::sabotage::on("answer-before-commit") {
            for stream in &self.streams {
                if let Some((_, sequence)) = self.pending.intake.get(&stream.id) {
                    newest.insert(stream.group.clone(), *sequence);
                }
            }
        }
        for intake in self.books.intake.values() {
            intake_total.accepted += intake.accepted;
            intake_total.refused += intake.refused;
            intake_total.coalesced += intake.coalesced;
            intake_total.missed += intake.missed;
        }
        for ((destination, stream), account) in &self.books.accounts {
            let class = self.by_id.get(stream).and_then(|n| self.streams.get(*n)).map(|s| s.class);
            let intake = self.books.intake.get(stream).copied().unwrap_or_default();
            let total = totals.entry((*destination, class.unwrap_or(Class::Telemetry))).or_default();
            total.accepted += account.accepted(&intake);
            total.acknowledged += account.acknowledged;
            total.dropped += account.dropped;
            total.set_aside += account.set_aside;
            total.queued += account.queued(&intake);
        }
        let ends = self.next_segment.clone();
        self.status.send_replace(QueueStatus {
            generation: self.generation,
            file_id: self.file_id,
            epoch: Some(self.options.epoch),
            health: self.health.clone(),
            intake: intake_total,
            totals,
            newest_sequences: newest,
            previous_epoch: self.previous_epoch.clone(),
            announced: self
                .announced
                .iter()
                .filter(|(_, n)| **n == self.epoch_number)
                .map(|(d, _)| *d)
                .collect(),
            ends,
            last_commit: self.last_commit,
            used_bytes: self.used_bytes,
            max_bytes: self.options.max_bytes,
            commit_window: self.options.commit_window,
        });
    }

    fn measure(&mut self) {
        let pragma =
            |name: &str| -> i64 { self.connection.pragma_query_value(None, name, |r| r.get(0)).unwrap_or(0) };
        let pages = pragma("page_count") - pragma("freelist_count");
        self.used_bytes = u64::try_from(pages).unwrap_or(0) * u64::from(schema::KIND.page_size);
    }
}

impl Machine for Writer {
    type Command = Command;

    fn handle(&mut self, now: Mono, command: Command) {
        match command {
            Command::Accept { capture, reply } => self.accept(now, capture, reply),
            Command::Settle(settlement) => self.settle(now, settlement),
            Command::WallKnown { at, wall } => {
                self.pending.wall = Some((at, wall));
                self.open_window(now);
            }
            Command::Flush(reply) => {
                self.pending.flushes.push(reply);
                self.commit(now);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.due()
    }

    fn handle_timeout(&mut self, now: Mono) {
        if self.due().is_some_and(|at| at <= now) {
            self.commit(now);
        }
    }

    fn close(&mut self, now: Mono) {
        self.commit(now);
        if self.health == Health::Good {
            let closed = self
                .connection
                .execute("UPDATE epochs SET clean_stop = 1 WHERE number = ?1", [self.epoch_number])
                .and_then(|_| self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);"));
            if let Err(error) = closed {
                tracing::warn!(%error, "the queue could not be closed cleanly; the next start records an unclean stop");
            }
        }
    }
}

/// Wall time at monotonic zero.
fn offset_ms(at: Mono, wall: Wall) -> i64 {
    wall.unix_ms - i64::try_from(at.ms()).unwrap_or(0)
}

fn is_unacceptable_value(value: &Value) -> bool {
    match value {
        Value::Float(f) => !f.is_finite(),
        Value::Text(text) => text.len() > Value::MAX_TEXT,
        Value::Steps(_) | Value::Bool(_) | Value::Absent => false,
    }
}

fn write_drop(
    tx: &Transaction<'_>,
    destination: DestinationId,
    stream: StreamId,
    reason: &str,
    count: u64,
    epoch: i64,
    now: Mono,
) -> rusqlite::Result<()> {
    // One record a (destination, stream, reason): the count grows, the number of records does not.
    let changed = tx
        .prepare_cached(
            "UPDATE drops SET count = count + ?4, at_epoch = ?5, at_mono_ns = ?6
             WHERE destination = ?1 AND stream = ?2 AND reason = ?3",
        )?
        .execute((destination.0, stream.0, reason, count.cast_signed(), epoch, now.0.cast_signed()))?;
    if changed == 0 {
        tx.prepare_cached(
            "INSERT INTO drops (destination, stream, reason, count, at_epoch, at_mono_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((destination.0, stream.0, reason, count.cast_signed(), epoch, now.0.cast_signed()))?;
    }
    Ok(())
}
