//! What the rest of the daemon holds of `gateway.db`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::writer::{Command, GatewayHealth, Noted, Writer};
use super::{
    Audited, Begun, BytePage, CallKey, Component, ComponentKey, ComponentUpdate, CursorError, Device, Head,
    HistoryEntry, HistoryQuery, Identity, LaneRestart, LocalDevice, LogPage, NewVersion, OpenOptions, Origin,
    Recorded, RemoteDevice, Source, Upserted, Verified, journal, kept, pages,
};
use crate::clock::sources::Claim;
use crate::clock::{Clock, Mono, Wall};
use crate::daemon::rim::Entropy;
use crate::store::sqlite::OpenError;
use crate::store::worker::{Busy, Worker};

/// What the ledger of the data plan keeps its record under.
const SPENDING: &str = "spending";

/// A handle on `gateway.db`; clones share it.
#[derive(Clone, Debug)]
pub struct Gateway {
    worker: Arc<Worker<Writer>>,
    status: watch::Receiver<GatewayStatus>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
}

/// How the file is, after its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Which file, in this run: it grows when a damaged one is replaced.
    pub generation: u32,
    /// Who this gateway is.
    pub identity: Identity,
    /// Whether it takes writes.
    pub health: GatewayHealth,
    /// The newest row of the firmware history, if there is one.
    pub history_head: Option<Head>,
    /// The newest row of the firmware log.
    pub log_head: Head,
    /// Grows whenever devices, components, history or journal changed.
    pub revision: u64,
}

/// Why something asked of `gateway.db` was not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// No room.
    #[error(
        "the disk is full: gateway.db takes nothing until room is made on the state folder's file system"
    )]
    DiskFull,
    /// The file system is read-only.
    #[error(
        "the file system is read-only: gateway.db takes nothing until it can be written again. Check the disk's health"
    )]
    ReadOnly,
    /// The disk or the file failed in some other way.
    #[error("gateway.db does not work ({0}). Check the disk's health; the next request tries again")]
    Faulty(String),
    /// The writer is gone.
    #[error("the store has stopped; the daemon must be restarted")]
    Stopped,
    /// A cursor of the firmware log is refused.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A name or a text is empty or longer than its limit.
    #[error("{what} is empty or longer than {limit} bytes; it was not recorded")]
    TooLong {
        /// What.
        what: &'static str,
        /// Bytes.
        limit: usize,
    },
    /// A puller's name cannot be used.
    #[error("a puller is named with 1 to 64 printable ASCII characters without spaces")]
    BadPullerName,
    /// There are as many pullers as may be.
    #[error(
        "there are {} pullers already; a name that nobody uses any more must be removed first",
        super::log::MAX_PULLERS
    )]
    TooManyPullers,
}

impl Gateway {
    /// Opens the file with its writer on a thread of its own; begins or continues this boot's row. To be opened before
    /// `queue.db` (see [`super::open`]). `random` gives the ids, should a file have to be made.
    ///
    /// # Errors
    /// A newer release's file, a folder that cannot be written; never damage. Or the system makes no thread.
    pub fn open(
        options: OpenOptions,
        clock: &Arc<dyn Clock>,
        random: &dyn Entropy,
    ) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let writer = writer(options, clock, random)?;
        let status = writer.subscribe();
        let worker = Worker::on_thread(writer, Arc::clone(clock), "gateway-writer")
            .map_err(|e| OpenError::Unreachable { path: path.clone(), detail: e.to_string() })?;
        Ok(Self { worker: Arc::new(worker), status, clock: Arc::clone(clock), path })
    }

    /// Opens the file with its writer on the caller's thread. The future must be spawned.
    ///
    /// # Errors
    /// As [`Gateway::open`].
    pub fn open_inline(
        options: OpenOptions,
        clock: &Arc<dyn Clock>,
        random: &dyn Entropy,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), OpenError> {
        let path = options.path.clone();
        let writer = writer(options, clock, random)?;
        let status = writer.subscribe();
        let (worker, pump) = Worker::inline(writer, Arc::clone(clock));
        Ok((Self { worker: Arc::new(worker), status, clock: Arc::clone(clock), path }, pump))
    }

    /// Who this gateway is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.status.borrow().identity
    }

    /// How the file is; changes after every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<GatewayStatus> {
        self.status.clone()
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

    /// Tells what the wall clock said at `at`: extends this boot, dates it and raises the time floor once something vouches
    /// for the clock. Written every quarter of an hour, and within a minute when the clock turns out to have been wrong.
    pub async fn note_time(&self, at: Mono, wall: Wall) {
        // A stopped writer means the daemon is ending; the next start notes the time again.
        let _ = self.worker.send(Command::NoteTime { at, wall }).await;
    }

    /// The newest trusted wall time ever seen, in unix milliseconds.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn time_floor_unix_ms(&self) -> Result<Option<i64>, GatewayError> {
        self.ask(|reply| Command::TimeFloor { reply }).await
    }

    /// Records that a version runs, unless it is the newest recorded of the component already.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn record_version(
        &self,
        key: &ComponentKey,
        version: &str,
        source: Source,
        metadata: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Recorded, GatewayError> {
        self.record(NewVersion {
            key: key.clone(),
            version: version.to_owned(),
            source: Some(source),
            origin: Origin::Local,
            metadata,
        })
        .await
    }

    /// Records that a version was seen to run: the first one seen of a component came with it (`factory_default`), a later
    /// one was put there behind our back (`manual_provision`).
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn observe_version(&self, key: &ComponentKey, version: &str) -> Result<Recorded, GatewayError> {
        self.record(NewVersion {
            key: key.clone(),
            version: version.to_owned(),
            source: None,
            origin: Origin::Local,
            metadata: serde_json::Map::new(),
        })
        .await
    }

    /// Records a version with everything said, an imported one for instance.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn record(&self, new: NewVersion) -> Result<Recorded, GatewayError> {
        if new.version.is_empty() || new.version.len() > super::history::MAX_VERSION {
            return Err(GatewayError::TooLong { what: "a version", limit: super::history::MAX_VERSION });
        }
        let (new, wall) = (Box::new(new), self.clock.wall());
        self.ask(|reply| Command::RecordVersion { new, wall, reply }).await
    }

    /// Makes exactly these the configured components.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn configure_components(&self, keys: Vec<ComponentKey>) -> Result<(), GatewayError> {
        let wall = self.clock.wall();
        self.ask(|reply| Command::ConfigureComponents { keys, wall, reply }).await
    }

    /// The configured components, by device and package.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn components(&self) -> Result<Vec<Component>, GatewayError> {
        self.ask(|reply| Command::Components { reply }).await
    }

    /// Writes a component's state and, where that is a transition, journals it. Tells whether anything changed.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn set_component(&self, update: ComponentUpdate) -> Result<bool, GatewayError> {
        let (update, wall) = (Box::new(update), self.clock.wall());
        self.ask(|reply| Command::SetComponent { update, wall, reply }).await
    }

    /// Journals a deployment as received (`detail`: a JSON object), unless it is the device's newest already. Tells whether
    /// it was new.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn record_manifest(
        &self,
        device: &str,
        sequence_number: u64,
        detail: &serde_json::Value,
    ) -> Result<bool, GatewayError> {
        let (device, detail, wall) = (device.to_owned(), detail.to_string(), self.clock.wall());
        self.ask(|reply| Command::RecordManifest { device, sequence_number, detail, wall, reply }).await
    }

    /// The deployment that was journaled last for a device: its sequence number, and the detail it was journaled with. As
    /// [`Gateway::spending`].
    #[must_use]
    pub fn last_manifest(&self, device: &str) -> Option<(u64, String)> {
        journal::last_manifest(&self.path, device)
    }

    /// Puts a board's own log line into the firmware log.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn record_line(&self, device: &str, text: &str) -> Result<(), GatewayError> {
        let (device, text, wall) = (device.to_owned(), text.to_owned(), self.clock.wall());
        self.ask(|reply| Command::RecordLine { device, text, wall, reply }).await
    }

    /// Takes over what the configuration says of a device. Tells whether that was new.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn configure_device(&self, device: LocalDevice) -> Result<bool, GatewayError> {
        self.ask(|reply| Command::ConfigureDevice { device, reply }).await
    }

    /// Retires a device; it stays on record with its history. Tells whether it was in service.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn retire_device(&self, serial: &str) -> Result<bool, GatewayError> {
        let serial = serial.to_owned();
        self.ask(|reply| Command::RetireDevice { serial, reply }).await
    }

    /// Takes over a provider's record of a device.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn upsert_device(&self, remote: RemoteDevice) -> Result<Upserted, GatewayError> {
        let (remote, wall) = (Box::new(remote), self.clock.wall());
        self.ask(|reply| Command::UpsertDevice { remote, wall, reply }).await
    }

    /// A device by its serial number.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn device(&self, serial: &str) -> Result<Option<Device>, GatewayError> {
        let serial = serial.to_owned();
        self.ask(|reply| Command::Device { serial, reply }).await
    }

    /// All devices, retired ones included, by serial number.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn devices(&self) -> Result<Vec<Device>, GatewayError> {
        self.ask(|reply| Command::Devices { reply }).await
    }

    /// A page of the firmware history, oldest first.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn history(&self, query: HistoryQuery) -> Result<Vec<HistoryEntry>, GatewayError> {
        self.ask(|reply| Command::History { query, reply }).await
    }

    /// Checks both chains and the guards that keep them. Reads the whole file: not for every request.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn verify_history(&self) -> Result<Verified, GatewayError> {
        self.ask(|reply| Command::VerifyHistory { reply }).await
    }

    /// A page of the firmware log, at most [`super::log::MAX_PAGE`] rows: after a cursor, or from the beginning.
    ///
    /// # Errors
    /// [`GatewayError`]; [`GatewayError::Cursor`] when the cursor is not one of this log's.
    pub async fn firmware_log_page(&self, after: Option<&str>, limit: u32) -> Result<LogPage, GatewayError> {
        let after = after.map(str::to_owned);
        self.ask(|reply| Command::LogPage { after, limit, reply }).await
    }

    /// A page of the firmware log of at most `limit` bytes ([`super::pages`]): after a cursor, or from the beginning.
    ///
    /// # Errors
    /// As [`Gateway::firmware_log_page`].
    pub async fn firmware_log_bytes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BytePage, GatewayError> {
        /// More do not fit: a row has at least 300 bytes.
        const ROWS: u32 = 8;
        let (cursor, within) = match after.map(pages::split).transpose()? {
            Some((cursor, within)) => (Some(cursor), within),
            None => (None, None),
        };
        let page = self.firmware_log_page(cursor, ROWS).await?;
        Ok(pages::fit(&page, within, limit)?)
    }

    /// A puller is there and may have nothing yet: the log is kept for it too, within its bounds ([`super::log`]).
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn introduce(&self, puller: &str) -> Result<(), GatewayError> {
        let (puller, wall) = (puller.to_owned(), self.clock.wall());
        self.ask(|reply| Command::Introduce { puller, wall, reply }).await
    }

    /// Notes that a puller has everything up to a cursor. Acknowledging less than before changes nothing.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn acknowledge(&self, puller: &str, cursor: &str) -> Result<(), GatewayError> {
        let (puller, cursor, wall) = (puller.to_owned(), cursor.to_owned(), self.clock.wall());
        self.ask(|reply| Command::Acknowledge { puller, cursor, wall, reply }).await
    }

    /// Where a puller stands, as a cursor; `None` when it has acknowledged nothing.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn acknowledged(&self, puller: &str) -> Result<Option<String>, GatewayError> {
        let puller = puller.to_owned();
        self.ask(|reply| Command::Acknowledged { puller, reply }).await
    }

    /// Puts on record that the process is given up for these lanes.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn remember_restart(&self, lanes: Vec<String>) -> Result<(), GatewayError> {
        let wall = self.clock.wall();
        self.ask(|reply| Command::RememberRestart { lanes, wall, reply }).await
    }

    /// For which lanes processes were given up, and how long ago at least; newest first.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn restarts(&self) -> Result<Vec<LaneRestart>, GatewayError> {
        let wall = self.clock.wall();
        self.ask(|reply| Command::Restarts { wall, reply }).await
    }

    /// What was kept of the spending against the data plan, as [`Gateway::keep_spending`] was given it. Opens a reader of
    /// its own: for a start, not for a lane.
    #[must_use]
    pub fn spending(&self) -> Option<String> {
        self.kept(SPENDING)
    }

    /// What was kept under this name. As [`Gateway::spending`].
    #[must_use]
    pub fn kept(&self, name: &str) -> Option<String> {
        kept::read(&self.path, name)
    }

    /// Keeps a text under this name, in the place of what was kept before. A snapshot is not made for it.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn keep(&self, name: &str, record: String) -> Result<(), GatewayError> {
        let key = name.to_owned();
        self.ask(|reply| Command::Keep { key, record, reply }).await
    }

    /// Puts on record that a remote call is about to be carried out, unless that is on record.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn begin_call(&self, key: &CallKey) -> Result<Begun, GatewayError> {
        let (key, wall) = (key.clone(), self.clock.wall());
        self.ask(|reply| Command::BeginCall { key, wall, reply }).await
    }

    /// Puts the answer to a remote call on record, and whether the machine reboots for it.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn end_call(
        &self,
        key: &CallKey,
        code: u8,
        detail: Option<String>,
        reboots: bool,
    ) -> Result<(), GatewayError> {
        let (key, wall) = (key.clone(), self.clock.wall());
        self.ask(|reply| Command::EndCall { key, code, detail, reboots, wall, reply }).await
    }

    /// Keeps what was spent, as text, in the place of what was kept before. A snapshot is not made for it.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn keep_spending(&self, record: String) -> Result<(), GatewayError> {
        self.keep(SPENDING, record).await
    }

    /// Puts a privileged action, or its outcome, into the audit.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn audit(&self, row: Audited) -> Result<(), GatewayError> {
        let (row, wall) = (Box::new(row), self.clock.wall());
        self.ask(|reply| Command::Audit { row, wall, reply }).await
    }

    /// Puts on record that the time was wrong, and takes back what the wrong time made of the floor.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn clock_corrected(&self, old: Claim, new: Claim) -> Result<(), GatewayError> {
        self.ask(|reply| Command::ClockCorrected { old, new, reply }).await
    }

    /// Puts an event on record; `severity` is `info`, `warning` or `error`.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn note_event(
        &self,
        kind: &'static str,
        severity: &'static str,
        detail: serde_json::Value,
    ) -> Result<(), GatewayError> {
        let (event, wall) = (Box::new(Noted { kind, severity, detail }), self.clock.wall());
        self.ask(|reply| Command::NoteEvent { event, wall, reply }).await
    }

    /// Makes a snapshot now.
    ///
    /// # Errors
    /// [`GatewayError::Faulty`]; the snapshot before is kept.
    pub async fn snapshot(&self) -> Result<(), GatewayError> {
        self.ask(|reply| Command::Snapshot { reply }).await
    }

    /// Notes the clean stop, makes a last snapshot and ends the writer.
    pub fn stop(&self) {
        self.worker.stop();
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, GatewayError>>) -> Command,
    ) -> Result<T, GatewayError> {
        let (reply, answer) = oneshot::channel();
        self.worker.send(command(reply)).await.map_err(|_| GatewayError::Stopped)?;
        answer.await.unwrap_or(Err(GatewayError::Stopped))
    }
}

fn writer(options: OpenOptions, clock: &Arc<dyn Clock>, random: &dyn Entropy) -> Result<Writer, OpenError> {
    let mut seed = [0; 32];
    random.fill(&mut seed);
    Writer::open(options, clock.boot_id(), seed, clock.mono(), clock.wall())
}
