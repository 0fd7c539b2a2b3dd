//! The only writer of `gateway.db`, as a state machine: one command, one transaction, one sync, one answer.
//!
//! A file that turns out damaged while the daemon runs is replaced as at a start, and the command is carried out once more.
//! A snapshot is due some seconds after a change that matters, and not sooner than [`OpenOptions::snapshot_every`] after
//! the one before; what only tells the time does not count as a change.

use std::time::Duration;

use rusqlite::{Connection, Transaction};
use sha2::{Digest, Sha256};
use tokio::sync::{oneshot, watch};

use super::log::{self, BoardLine, LogPage};
use super::open::{self, Opened, Opening};
use super::{
    Audited, Begun, CallKey, Component, ComponentKey, ComponentUpdate, Device, FileId, GatewayError,
    GatewayId, GatewayStatus, Head, HistoryEntry, HistoryQuery, Identity, LaneRestart, LocalDevice,
    NewVersion, OpenOptions, Recorded, RemoteDevice, Stamp, Start, Upserted, Verified, audit, boots, calls,
    components, devices, history, journal, kept, restarts, snapshot, verify,
};
use crate::clock::sources::Claim;
use crate::clock::{BootId, Mono, Wall};
use crate::store::sqlite::{self, OpenError};
use crate::store::worker::Machine;

/// A change waits this long for company before it is copied.
const SETTLE: Duration = Duration::from_secs(5);
/// Time that only passes is noted this often: each note is a commit, and what it bounds (how long a boot lasted that
/// ended without a stop, how far the time floor lags) may be a quarter of an hour wrong.
const NOTE_EVERY: Duration = Duration::from_secs(900);
/// A wall clock that is learned, or found to have been wrong, is noted no more often than this.
const NEWS_EVERY: Duration = Duration::from_secs(60);
/// A smaller change is no news: clocks are disciplined all the time.
const NEWS_MS: u64 = 500;

/// Whose file it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) gateway: GatewayId,
    pub(super) file: FileId,
    pub(super) boot: u64,
}

/// Why a command came to nothing, inside its transaction.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Refused(GatewayError),
}

impl Failure {
    pub(super) fn too_long(what: &'static str, limit: usize) -> Self {
        Self::Refused(GatewayError::TooLong { what, limit })
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// How the file does.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum GatewayHealth {
    /// It takes writes.
    #[default]
    Good,
    /// It does not, in these words.
    Faulty(String),
}

impl GatewayHealth {
    /// One word for pages and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Faulty(_) => "faulty",
        }
    }
}

type Reply<T> = oneshot::Sender<Result<T, GatewayError>>;

/// What the writer can be asked. The wall time beside a command is that of the asking.
/// An event that no other change brings about.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) kind: &'static str,
    /// `info`, `warning` or `error`.
    pub(super) severity: &'static str,
    pub(super) detail: serde_json::Value,
}

#[derive(Debug)]
pub(super) enum Command {
    NoteTime { at: Mono, wall: Wall },
    RecordVersion { new: Box<NewVersion>, wall: Wall, reply: Reply<Recorded> },
    ConfigureComponents { keys: Vec<ComponentKey>, wall: Wall, reply: Reply<()> },
    SetComponent { update: Box<ComponentUpdate>, wall: Wall, reply: Reply<bool> },
    Components { reply: Reply<Vec<Component>> },
    RecordManifest { device: String, sequence_number: u64, detail: String, wall: Wall, reply: Reply<bool> },
    RecordLine { device: String, text: String, wall: Wall, reply: Reply<()> },
    ConfigureDevice { device: LocalDevice, reply: Reply<bool> },
    RetireDevice { serial: String, reply: Reply<bool> },
    UpsertDevice { remote: Box<RemoteDevice>, wall: Wall, reply: Reply<Upserted> },
    Device { serial: String, reply: Reply<Option<Device>> },
    Devices { reply: Reply<Vec<Device>> },
    History { query: HistoryQuery, reply: Reply<Vec<HistoryEntry>> },
    VerifyHistory { reply: Reply<Verified> },
    LogPage { after: Option<String>, limit: u32, reply: Reply<LogPage> },
    Introduce { puller: String, wall: Wall, reply: Reply<()> },
    Acknowledge { puller: String, cursor: String, wall: Wall, reply: Reply<()> },
    Acknowledged { puller: String, reply: Reply<Option<String>> },
    RememberRestart { lanes: Vec<String>, wall: Wall, reply: Reply<()> },
    ClockCorrected { old: Claim, new: Claim, reply: Reply<()> },
    NoteEvent { event: Box<Noted>, wall: Wall, reply: Reply<()> },
    Restarts { wall: Wall, reply: Reply<Vec<LaneRestart>> },
    TimeFloor { reply: Reply<Option<i64>> },
    Keep { key: String, record: String, reply: Reply<()> },
    BeginCall { key: CallKey, wall: Wall, reply: Reply<Begun> },
    EndCall { key: CallKey, code: u8, detail: Option<String>, reboots: bool, wall: Wall, reply: Reply<()> },
    Audit { row: Box<Audited>, wall: Wall, reply: Reply<()> },
    Snapshot { reply: Reply<()> },
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Writer {
    options: OpenOptions,
    boot: BootId,
    /// `None` while no file could be opened in the place of a damaged one; each command tries again.
    connection: Option<Connection>,
    identity: Identity,
    /// Feeds the ids of files that have to be made later.
    seed: [u8; 32],
    generation: u32,
    revision: u64,
    health: GatewayHealth,
    noted_at: Option<Mono>,
    /// Wall time at monotonic zero as last noted, in unix milliseconds, once something vouched for it.
    noted_offset: Option<i64>,
    snapshot_due: Option<Mono>,
    last_snapshot: Option<Mono>,
    status: watch::Sender<GatewayStatus>,
}

impl Writer {
    /// Opens the file. `seed` is 32 fresh random bytes.
    ///
    /// # Errors
    /// See [`open::open`].
    pub(super) fn open(
        options: OpenOptions,
        boot: BootId,
        seed: [u8; 32],
        now: Mono,
        wall: Wall,
    ) -> Result<Self, OpenError> {
        let fresh = ids_from(seed, 0);
        let opened = open::open(&Opening { options: &options, boot, fresh, now, wall })?;
        let mut writer = Self {
            options,
            boot,
            identity: opened.identity,
            connection: Some(opened.connection),
            seed,
            generation: 0,
            revision: 0,
            health: GatewayHealth::Good,
            noted_at: Some(now),
            noted_offset: offset(now, wall),
            snapshot_due: None,
            last_snapshot: None,
            status: watch::Sender::new(GatewayStatus::unopened(opened.identity)),
        };
        // A new identity is copied at once: it must not hang on one file for minutes.
        if writer.identity.start != Start::Found || !writer.options.snapshot.exists() {
            writer.snapshot(now);
        }
        writer.publish();
        Ok(writer)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<GatewayStatus> {
        self.status.subscribe()
    }

    /// Carries out a change in a transaction. Whether changes succeed is how the file does.
    fn run<T>(
        &mut self,
        now: Mono,
        wall: Wall,
        work: impl Fn(&Transaction<'_>, &Context, Stamp) -> Result<T, Failure>,
    ) -> Result<T, GatewayError> {
        let answer = self.attempt(now, wall, work);
        let health = match &answer {
            Err(error @ (GatewayError::DiskFull | GatewayError::ReadOnly | GatewayError::Faulty(_))) => {
                GatewayHealth::Faulty(error.to_string())
            }
            _ => GatewayHealth::Good,
        };
        if health != self.health {
            self.health = health;
            self.publish();
        }
        answer
    }

    /// Carries out something that changes nothing.
    fn read<T>(
        &mut self,
        now: Mono,
        work: impl Fn(&Transaction<'_>, &Context) -> Result<T, Failure>,
    ) -> Result<T, GatewayError> {
        self.attempt(now, NO_WALL, |tx, context, _| work(tx, context))
    }

    /// In a transaction; on a file that turns out damaged, once more on what took its place.
    fn attempt<T>(
        &mut self,
        now: Mono,
        wall: Wall,
        work: impl Fn(&Transaction<'_>, &Context, Stamp) -> Result<T, Failure>,
    ) -> Result<T, GatewayError> {
        let result = match self.once(now, wall, &work) {
            Err(Failure::Sqlite(error)) if sqlite::is_damage(&error) => {
                tracing::error!(%error, "gateway.db turned out damaged while in use");
                self.connection = None;
                self.once(now, wall, &work)
            }
            other => other,
        };
        result.map_err(|failure| match failure {
            Failure::Refused(refused) => refused,
            Failure::Sqlite(error) => sick(&error, &self.options.path),
        })
    }

    fn once<T>(
        &mut self,
        now: Mono,
        wall: Wall,
        work: &impl Fn(&Transaction<'_>, &Context, Stamp) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.connection.is_none() {
            self.reopen(now, wall)?;
        }
        let context = self.context();
        let Some(connection) = &mut self.connection else {
            return Err(Failure::Refused(GatewayError::Stopped));
        };
        let tx = connection.transaction()?;
        let done = work(&tx, &context, open::stamp(context.boot, now, wall))?;
        tx.commit()?;
        Ok(done)
    }

    /// Opens what takes the place of a damaged file. The identity of a running gateway does not change.
    fn reopen(&mut self, now: Mono, wall: Wall) -> Result<(), Failure> {
        let (_, file) = ids_from(self.seed, self.generation + 1);
        let opening = Opening {
            options: &self.options,
            boot: self.boot,
            fresh: (self.identity.gateway, file),
            now,
            wall,
        };
        let Opened { connection, identity } =
            open::open(&opening).map_err(|e| Failure::Refused(GatewayError::Faulty(e.to_string())))?;
        self.connection = Some(connection);
        self.identity = identity;
        self.generation += 1;
        self.revision += 1;
        self.mark_changed(now);
        self.publish();
        Ok(())
    }

    /// As if SQLite had found the file damaged.
    #[cfg(test)]
    pub(super) fn lose_connection(&mut self) {
        self.connection = None;
    }

    fn context(&self) -> Context {
        Context { gateway: self.identity.gateway, file: self.identity.file, boot: self.identity.boot }
    }

    /// Something was written that a snapshot should have.
    fn changed(&mut self, now: Mono) {
        self.revision += 1;
        self.mark_changed(now);
        self.publish();
    }

    fn mark_changed(&mut self, now: Mono) {
        let soon = now.plus(SETTLE);
        let due = self.last_snapshot.map_or(soon, |at| at.plus(self.options.snapshot_every).max(soon));
        self.snapshot_due.get_or_insert(due);
    }

    fn snapshot(&mut self, now: Mono) -> bool {
        self.last_snapshot = Some(now);
        self.snapshot_due = None;
        let Some(connection) = &self.connection else { return false };
        match snapshot::make(connection, &self.options.snapshot) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "no snapshot of gateway.db could be made; it is tried again");
                self.snapshot_due = Some(now.plus(self.options.snapshot_every));
                false
            }
        }
    }

    fn note_time(&mut self, at: Mono, wall: Wall) {
        let offset = offset(at, wall);
        let is_news = offset.is_some_and(|now| {
            let slack = NEWS_MS.max(u64::from(wall.uncertainty_ms));
            self.noted_offset.is_none_or(|noted| now.abs_diff(noted) > slack)
        });
        let first = is_news && self.noted_offset.is_none();
        let every = if is_news { NEWS_EVERY } else { NOTE_EVERY };
        if !first && self.noted_at.is_some_and(|noted| at.since(noted) < every) {
            return;
        }
        let noted = self.run(at, wall, |tx, context, _| Ok(boots::note(tx, context.boot, at, wall)?));
        match noted {
            Ok(()) => self.noted_offset = offset.or(self.noted_offset),
            Err(error) => tracing::warn!(%error, "the time could not be noted in gateway.db"),
        }
        self.noted_at = Some(at);
    }

    fn publish(&mut self) {
        let context = self.context();
        let heads = self.connection.as_ref().and_then(|connection| {
            let history = history::head(connection, &context).ok()?;
            Some((history, log::head(connection, &context).ok()?))
        });
        let before = self.status.borrow().clone();
        let (history, log) =
            heads.unwrap_or((before.history_head.unwrap_or(before.log_head), before.log_head));
        self.status.send_replace(GatewayStatus {
            generation: self.generation,
            identity: self.identity,
            health: self.health.clone(),
            history_head: (history.sequence > 0).then_some(history),
            log_head: log,
            revision: self.revision,
        });
    }
}

/// Wall time at monotonic zero, if something vouches for the clock.
fn offset(at: Mono, wall: Wall) -> Option<i64> {
    wall.trusted.then(|| wall.unix_ms.saturating_sub(at.ms().cast_signed()))
}

/// The ids of the `n`th file that had to be made from one seed.
fn ids_from(seed: [u8; 32], n: u32) -> (GatewayId, FileId) {
    let digest: [u8; 32] = Sha256::new().chain_update(seed).chain_update(n.to_le_bytes()).finalize().into();
    let (mut gateway, mut file) = ([0; 16], [0; 8]);
    gateway.copy_from_slice(&digest[..16]);
    file.copy_from_slice(&digest[16..24]);
    (GatewayId(gateway), FileId(u64::from_be_bytes(file)))
}

fn sick(error: &rusqlite::Error, path: &std::path::Path) -> GatewayError {
    match sqlite::trouble(error, path) {
        sqlite::Trouble::Full => GatewayError::DiskFull,
        sqlite::Trouble::ReadOnly => GatewayError::ReadOnly,
        sqlite::Trouble::Damage | sqlite::Trouble::Doubt | sqlite::Trouble::Fault => {
            GatewayError::Faulty(error.to_string())
        }
    }
}

/// For commands that only read: no wall time is needed.
const NO_WALL: Wall = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };

impl Machine for Writer {
    type Command = Command;

    fn handle(&mut self, now: Mono, command: Command) {
        // A caller that stopped waiting does not take its command back; its answer goes nowhere.
        match command {
            Command::NoteTime { at, wall } => self.note_time(at, wall),
            Command::RecordVersion { new, wall, reply } => {
                let done = self.run(now, wall, |tx, context, at| history::record(tx, context, at, &new));
                if matches!(done, Ok(Recorded::Appended(_))) {
                    self.changed(now);
                }
                let _ = reply.send(done);
            }
            Command::ConfigureComponents { keys, wall, reply } => {
                let done = self.run(now, wall, |tx, _, at| components::configure(tx, at, &keys));
                if matches!(done, Ok(true)) {
                    self.changed(now);
                }
                let _ = reply.send(done.map(|_| ()));
            }
            Command::SetComponent { update, wall, reply } => {
                let done = self.run(now, wall, |tx, context, at| components::set(tx, context, at, &update));
                self.answer_change(now, done, reply);
            }
            Command::RecordManifest { device, sequence_number, detail, wall, reply } => {
                let done = self.run(now, wall, |tx, context, at| {
                    journal::manifest(tx, context, at, &device, sequence_number, &detail)
                });
                self.answer_change(now, done, reply);
            }
            Command::RecordLine { device, text, wall, reply } => {
                let done = self.run(now, wall, |tx, context, at| {
                    let at = Stamp { wall_uncertainty_ms: None, ..at };
                    let line = BoardLine { device: device.clone(), text: text.clone(), at };
                    log::append_line(tx, context, line)
                });
                if done.is_ok() {
                    self.changed(now);
                }
                let _ = reply.send(done);
            }
            Command::ConfigureDevice { device, reply } => {
                let done = self.run(now, NO_WALL, |tx, _, _| devices::configure(tx, &device));
                self.answer_change(now, done, reply);
            }
            Command::RetireDevice { serial, reply } => {
                let done = self.run(now, NO_WALL, |tx, _, _| devices::retire(tx, &serial));
                self.answer_change(now, done, reply);
            }
            Command::UpsertDevice { remote, wall, reply } => {
                let done = self.run(now, wall, |tx, _, at| devices::upsert(tx, at, &remote));
                if matches!(done, Ok(Upserted::Changed | Upserted::Conflict)) {
                    self.changed(now);
                }
                let _ = reply.send(done);
            }
            Command::Introduce { puller, wall, reply } => {
                let _ = reply.send(self.run(now, wall, |tx, _, at| log::introduce(tx, at, &puller)));
            }
            Command::Acknowledge { puller, cursor, wall, reply } => {
                let done = self
                    .run(now, wall, |tx, context, at| log::acknowledge(tx, context, at, &puller, &cursor));
                if done.is_ok() {
                    self.mark_changed(now);
                }
                let _ = reply.send(done);
            }
            Command::RememberRestart { lanes, wall, reply } => {
                let done =
                    self.run(now, wall, |tx, _, at| Ok(restarts::record(tx, (now, wall), at, &lanes)?));
                let _ = reply.send(done);
            }
            Command::Keep { key, record, reply } => {
                let _ = reply.send(self.run(now, NO_WALL, |tx, _, _| Ok(kept::keep(tx, &key, &record)?)));
            }
            Command::BeginCall { key, wall, reply } => {
                let begun = self
                    .run(now, wall, |tx, context, at| Ok(calls::begin(tx, context, (now, wall), at, &key)?));
                let _ = reply.send(begun);
            }
            Command::EndCall { key, code, detail, reboots, wall, reply } => {
                let answer = (code, detail.as_deref());
                let ended = self.run(now, wall, |tx, _, at| {
                    calls::end(tx, at, &key, answer, reboots)?;
                    // How long ago it was is counted from how far this boot is known to have come.
                    if reboots {
                        boots::note(tx, at.boot, now, wall)?;
                    }
                    Ok(())
                });
                let _ = reply.send(ended);
            }
            Command::Audit { row, wall, reply } => {
                let done = self.run(now, wall, |tx, _, at| audit::append(tx, at, &row));
                if done.is_ok() {
                    self.mark_changed(now);
                }
                let _ = reply.send(done);
            }
            Command::ClockCorrected { old, new, reply } => {
                let wall = new.wall_at(now);
                let done = self.run(now, wall, |tx, _, at| Ok(boots::corrected(tx, at, &old, &new)?));
                let _ = reply.send(done);
            }
            Command::NoteEvent { event, wall, reply } => {
                let Noted { kind, severity, detail } = *event;
                let done = self
                    .run(now, wall, |tx, _, at| Ok(journal::event(tx, at, kind, severity, None, &detail)?));
                let _ = reply.send(done);
            }
            Command::Snapshot { reply } => {
                let made = self.snapshot(now);
                let failed = || GatewayError::Faulty("no snapshot could be made".into());
                let _ = reply.send(if made { Ok(()) } else { Err(failed()) });
            }
            question => self.answer(now, question),
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.snapshot_due
    }

    fn handle_timeout(&mut self, now: Mono) {
        if self.snapshot_due.is_some_and(|due| due <= now) {
            self.snapshot(now);
        }
    }

    fn close(&mut self, now: Mono) {
        let stopped = self.run(now, NO_WALL, |tx, context, _| {
            boots::note(tx, context.boot, now, NO_WALL)?;
            Ok(boots::clean_stop(tx, context.boot)?)
        });
        if let Err(error) = stopped {
            tracing::warn!(%error, "gateway.db could not be closed cleanly; this boot will count as ended without a stop");
            return;
        }
        self.snapshot(now);
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")
        {
            tracing::warn!(%error, "the log of gateway.db stays; the next start reads it");
        }
    }
}

impl Writer {
    fn answer_change(&mut self, now: Mono, done: Result<bool, GatewayError>, reply: Reply<bool>) {
        if matches!(done, Ok(true)) {
            self.changed(now);
        }
        let _ = reply.send(done);
    }

    /// Commands that change nothing.
    fn answer(&mut self, now: Mono, question: Command) {
        match question {
            Command::Components { reply } => {
                let _ = reply.send(self.read(now, |tx, _| Ok(components::list(tx)?)));
            }
            Command::Device { serial, reply } => {
                let _ = reply.send(self.read(now, |tx, _| Ok(devices::one(tx, &serial)?)));
            }
            Command::Devices { reply } => {
                let _ = reply.send(self.read(now, |tx, _| Ok(devices::all(tx)?)));
            }
            Command::History { query, reply } => {
                let _ = reply.send(self.read(now, |tx, _| Ok(history::page(tx, &query)?)));
            }
            Command::VerifyHistory { reply } => {
                let checked = self.read(now, |tx, context| Ok(verify::check(tx, context)?));
                let _ = reply.send(checked);
            }
            Command::LogPage { after, limit, reply } => {
                let page = self.read(now, |tx, context| log::page(tx, context, after.as_deref(), limit));
                let _ = reply.send(page);
            }
            Command::Acknowledged { puller, reply } => {
                let position = self.read(now, |tx, context| log::acknowledged(tx, context, &puller));
                let _ = reply.send(position);
            }
            Command::Restarts { wall, reply } => {
                let restarts = self.read(now, |tx, context| Ok(restarts::list(tx, context, now, wall)?));
                let _ = reply.send(restarts);
            }
            Command::TimeFloor { reply } => {
                let _ = reply.send(self.read(now, |tx, _| Ok(boots::floor(tx)?)));
            }
            // Everything else changes something and was handled before.
            _ => debug_assert!(false, "a command without a handler"),
        }
    }
}

impl GatewayStatus {
    fn unopened(identity: Identity) -> Self {
        let begin = super::chain::Chain::Log.genesis(identity.gateway, identity.file);
        Self {
            generation: 0,
            identity,
            health: GatewayHealth::Good,
            history_head: None::<Head>,
            log_head: begin,
            revision: 0,
        }
    }
}
