//! A machine that does not exist: virtual clock, seeded randomness, in-memory wires; on them the simulator's cores and the
//! whole daemon, in this process and on this thread.
//!
//! Nothing here touches a socket, a port, a thread or a real clock; only the two database files are real, in a folder of
//! their own, in memory if there is room. Every byte on every wire goes into the trace with its virtual time, so that two runs of
//! one seed can be compared.
//!
//! - [`WorldOptions`]: what a world is like, and the daemon's configuration.
//! - `machine`: what the daemon takes from its machine; `wires`: what is beyond it, under one lock.
//! - [`Outcome`]: both sides of a run with the three slaves, compared.
//! - [`Destination`]: a second place to send to, beside the simulated cloud.
//! - `lists` stands for the management API; `page` shows the daemon's page over real HTTP.
//! - [`Feed`]: readings that no device makes, by the million, and what arrived of them.
//!
//! Here, in `crash` and in those proofs (`prove`) that work on files or in virtual time, the simulator uses the daemon's own code,
//! because that is what they are about. What stands at the far ends of the wires stays the simulator's own.

mod destination;
mod ends;
mod error;
mod feed;
mod hands;
mod lists;
mod machine;
mod options;
mod outcome;
mod page;
mod wires;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::board::{Board, Hands, LinkState};
use fieldgate::clock::{BootId, Clock, RankedClock, VirtualClock, Wall};
use fieldgate::clouds::golioth::delivery::PipelineLists;
use fieldgate::config::{self, Config};
use fieldgate::daemon::Daemon;
use fieldgate::daemon::rim::Rim;
use fieldgate::daemon::stores::{self, Stores};
use fieldgate::http::Sources;
use fieldgate::logs::{Logs, LogsLayer};
use fieldgate::reading::{Capture, Quality, Sample, Value};
use fieldgate::store::gateway::time_floor;
use fieldgate::store::queue::verify::{Verified, verify};
use fieldgate::store::queue::{Accepted, DestinationId, Queue, Refused, Totals};
use fieldgate::uplink::link::Link;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

pub use destination::{Condition, Destination};
pub use error::WorldError;
pub use feed::{Arrived, Feed, FeedGroup};
pub use hands::VirtualHands;
pub use options::WorldOptions;
pub use outcome::Outcome;

use crate::bus::{Ledger, SimBus, three_slaves};
use crate::cloud::{Cloud, CloudConfig, DeviceConfig};
use crate::gateway::reckon::FarValue;
use crate::relay::{PathProfile, Relay, RelayCounters, RelayProfile};
use lists::Lists;
use machine::{CountingMachine, MemoryNet, MemoryPorts, Seeded};
use options::Secrets;
use wires::{State, Wires, carry};

/// Wall time at the start: a working clock, 2026-11-20.
pub const UNIX_MS: i64 = 1_795_132_800_000;
/// The gateway's name at the cloud.
pub const DEVICE: &str = "gw-1";
/// The destination that every world has.
pub const GOLIOTH: &str = "golioth";

/// Speed of the simulated bus.
const BAUD: u32 = 19_200;
/// How long a datagram that is overtaken is held.
const REORDER_HOLD: Duration = Duration::from_millis(400);

/// How far off a time server leaves the clock, milliseconds.
const SERVED_MS: u32 = 50;

/// As much room is wanted in memory for a world's files, bytes.
const ROOM: u64 = 1 << 30;

/// Readings of a stream that were given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The stream's alias.
    pub alias: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The time was wrong, and was put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// The right time minus the wrong one.
    pub by_ms: i64,
    /// Who was wrong.
    pub believed: String,
    /// Who was right.
    pub instead: String,
    /// Events of the kind in `gateway.db`, all together.
    pub events: u64,
}

/// A running daemon and its surroundings.
#[derive(Debug)]
pub struct World {
    daemon: Daemon,
    config: Arc<Config>,
    rim: Rim,
    /// The machine's clocks of this boot.
    clock: Arc<VirtualClock>,
    boots: u8,
    dir: tempfile::TempDir,
    wires: Arc<Wires>,
    logs: Arc<Logs>,
}

impl World {
    /// Makes the surroundings and starts the daemon in them. Must run [`in_virtual_time`].
    ///
    /// # Errors
    /// [`WorldError`], when the options make no world.
    pub async fn start(options: &WorldOptions) -> Result<Self, WorldError> {
        Self::start_in(folder()?, options).await
    }

    /// As [`World::start`], the daemon's files being in this folder.
    ///
    /// # Errors
    /// As [`World::start`].
    pub async fn start_in(dir: tempfile::TempDir, options: &WorldOptions) -> Result<Self, WorldError> {
        let wires = Arc::new(wires(options)?);
        tokio::spawn(carry(Arc::clone(&wires)));
        let clock = Arc::new(boot(options, 0));
        let rim = Rim {
            clock: ranked(&wires, &clock, dir.path()),
            random: Arc::new(Seeded(Mutex::new(options.seed))),
            net: Arc::new(MemoryNet(Arc::clone(&wires))),
            ports: Arc::new(MemoryPorts::new(options, &wires)),
            hardware: options.board.map(Into::into),
        };
        let (daemon, config) = daemon(options, dir.path(), &rim, &wires)?;
        let logs = lend(&daemon, &config, &rim, &wires);
        Ok(Self { daemon, config, rim, clock, boots: 0, dir, wires, logs })
    }

    /// What a cloud had this process and its machine do.
    #[must_use]
    pub fn hands(&self) -> &VirtualHands {
        &self.wires.hands
    }

    /// How many entries the firmware log has.
    #[must_use]
    pub fn log_head(&self) -> u64 {
        self.daemon.stores.gateway.status().borrow().log_head.sequence
    }

    /// Has what is logged on this thread go through the daemon's log for as long as this lives.
    #[must_use]
    pub fn log_here(&self) -> tracing::subscriber::DefaultGuard {
        use tracing_subscriber::layer::SubscriberExt as _;
        let subscriber = tracing_subscriber::registry().with(LogsLayer(Arc::clone(&self.logs)));
        tracing::subscriber::set_default(subscriber)
    }

    /// Lets a destination of the configuration be this one.
    pub fn connect(&self, destination: &Arc<Destination>) {
        self.daemon.drain_into(Arc::clone(destination) as Arc<dyn Link>, &self.config, &self.rim);
    }

    /// Lets virtual time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Acts on the network.
    pub fn relay(&self, act: impl FnOnce(&mut Relay)) {
        self.wires.with(|state, _| act(&mut state.relay));
    }

    /// Acts on the cloud; the time is the daemon's.
    pub fn cloud<R>(&self, act: impl FnOnce(&mut Cloud, Duration) -> R) -> R {
        self.wires.with(|state, now| act(&mut state.cloud, now))
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.wires.now()
    }

    /// What the daemon takes from its machine.
    #[must_use]
    pub fn rim(&self) -> &Rim {
        &self.rim
    }

    /// What the daemon knows.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.daemon.board
    }

    /// What page, API and metrics would be made from now.
    #[must_use]
    pub fn sources(&self) -> Sources {
        self.daemon.sources(&self.config, &self.rim)
    }

    /// How the link to Golioth is, once it has said so.
    #[must_use]
    pub fn link(&self) -> Option<LinkState> {
        self.daemon.board.links.get(GOLIOTH).map(|stamped| stamped.value)
    }

    /// The daemon's queue.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.daemon.stores.queue
    }

    /// Requests of the gateway that reached the cloud.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.cloud(|cloud, _| cloud.requests_of(DEVICE)).unwrap_or(0)
    }

    /// DTLS handshakes at the cloud.
    #[must_use]
    pub fn handshakes(&self) -> u64 {
        self.cloud(|cloud, _| cloud.counters().handshakes)
    }

    /// What the network saw.
    #[must_use]
    pub fn relay_counters(&self) -> RelayCounters {
        self.wires.with(|state, _| state.relay.counters())
    }

    /// Blocks of 1024 bytes that arrived at the gateway, copies included.
    #[must_use]
    pub fn blocks_arrived(&self) -> u64 {
        self.wires.with(|state, _| state.blocks_down)
    }

    /// The daemon's link to the cloud.
    #[must_use]
    pub fn device_plane(&self) -> Option<Arc<dyn Link>> {
        self.daemon.device_plane()
    }

    /// From now on the address translation on the way forgets the gateway after so long without a datagram.
    pub fn nat_forgets_after(&self, forgets_after: Duration) {
        self.wires.with(|state, now| state.nat = Some(wires::Nat { forgets_after, used: now }));
    }

    /// Tells the time also after the world has ended.
    pub fn watch(&self) -> impl Fn() -> Duration + use<> {
        let wires = Arc::clone(&self.wires);
        move || wires.now()
    }

    /// How often the daemon looked at the time up to now: what never sleeps looks very often.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.wires.looks.load(Ordering::Relaxed)
    }

    /// How often the daemon asked for a socket.
    #[must_use]
    pub fn sockets_asked_for(&self) -> u64 {
        self.wires.with(|state, _| state.sockets_asked_for)
    }

    /// How often the daemon asked the management API for its lists of pipelines.
    #[must_use]
    pub fn looks_at_lists(&self) -> u64 {
        self.wires.with(|state, _| state.looks_at_lists)
    }

    /// Lets nobody answer at the management API, or somebody again.
    pub fn management_down(&self, down: bool) {
        self.wires.with(|state, _| state.management_down = down);
    }

    /// Takes the gateway's network interface away, or gives it back.
    pub fn interface_down(&self, down: bool) {
        self.wires.with(|state, _| state.interface_down = down);
    }

    /// Lets a datagram that the cloud never sent arrive at every socket of the gateway.
    pub fn forge(&self, datagram: &[u8]) {
        self.wires.with(|state, _| {
            for socket in state.sockets.values() {
                let _ = socket.try_send(datagram.to_vec());
            }
        });
    }

    /// No slave of the bus answers any more.
    pub fn fall_silent(&self) {
        self.wires.with(|state, _| state.bus.fall_silent());
    }

    /// What time it really is, unix milliseconds.
    #[must_use]
    pub fn true_unix_ms(&self) -> i64 {
        UNIX_MS + i64::try_from(self.wires.now().as_millis()).unwrap_or(i64::MAX - UNIX_MS)
    }

    /// What the daemon takes the time to be.
    #[must_use]
    pub fn wall(&self) -> Wall {
        self.rim.clock.wall()
    }

    /// A time server sets the system clock, and is right.
    pub fn trust_the_clock(&self) {
        self.synchronise(0);
    }

    /// A time server sets the system clock, wrong by so many milliseconds.
    pub fn synchronise(&self, wrong_by_ms: i64) {
        let unix_ms = self.true_unix_ms() + wrong_by_ms;
        self.clock.step_wall(Wall { unix_ms, uncertainty_ms: SERVED_MS, trusted: true });
    }

    /// Somebody nobody vouches for sets the system clock to this.
    pub fn set_system_clock(&self, unix_ms: i64) {
        self.clock.step_wall(Wall { unix_ms, uncertainty_ms: u32::MAX, trusted: false });
    }

    /// When each answer of a slave with this function code was on the line.
    #[must_use]
    pub fn answers(&self, unit: u8, function: u8) -> Vec<Duration> {
        self.wires.with(|state, _| state.answers.get(&(unit, function)).cloned().unwrap_or_default())
    }

    /// What the bus has said so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.wires.with(|state, _| state.bus.ledger())
    }

    /// What the daemon put on record of having been wrong about the time, oldest first.
    ///
    /// # Errors
    /// [`WorldError::Records`] when a file does not read.
    pub fn corrections(&self) -> Result<Vec<Correction>, WorldError> {
        let open = |name: &str| {
            let path = self.dir.path().join(name);
            rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        };
        let events: i64 = open("gateway.db")?.query_row(
            "SELECT count(*) FROM events WHERE kind = 'clock_corrected'",
            [],
            |row| row.get(0),
        )?;
        let file = open("queue.db")?;
        let mut rows = file.prepare(
            "SELECT old_offset_ms, new_offset_ms, old_source, new_source FROM corrections ORDER BY id",
        )?;
        let rows = rows.query_map([], |row| {
            Ok(Correction {
                by_ms: row.get::<_, i64>(1)? - row.get::<_, i64>(0)?,
                believed: row.get(2)?,
                instead: row.get(3)?,
                events: events.cast_unsigned(),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Has the store accept one reading of the stream with this alias, captured now.
    ///
    /// # Errors
    /// [`WorldError::NoStream`], [`WorldError::Refused`].
    pub async fn take(&self, alias: &str, value: Value) -> Result<Accepted, WorldError> {
        Ok(self.queue().accept(self.capture(alias, value)?).await?)
    }

    /// The same, several within one commit.
    ///
    /// # Errors
    /// As [`World::take`]; with the first that is refused.
    pub async fn take_all(
        &self,
        alias: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Accepted>, WorldError> {
        let mut answers = Vec::new();
        for value in values {
            answers.push(self.queue().offer(self.capture(alias, value)?).await?);
        }
        let mut accepted = Vec::new();
        for answer in answers {
            accepted.push(answer.await.unwrap_or(Err(Refused::Stopped))?);
        }
        Ok(accepted)
    }

    fn capture(&self, alias: &str, value: Value) -> Result<Capture, WorldError> {
        let specs = stores::streams(&self.config);
        let index = specs.iter().position(|s| s.alias == alias);
        let known = index.and_then(|index| self.queue().streams().get(index));
        let (stream, group) = *known.ok_or_else(|| WorldError::NoStream(alias.to_owned()))?;
        let samples = vec![Sample { stream, value, quality: Quality::Good }];
        Ok(Capture { group, at: self.rim.clock.mono(), samples, missing: Vec::new() })
    }

    /// Overwrites the queue's file and its log where they stand, as a dying flash does.
    ///
    /// # Errors
    /// [`WorldError::System`].
    pub fn damage_the_queue(&self) -> Result<(), WorldError> {
        for suffix in ["", "-wal"] {
            let mut name = self.queue().path().as_os_str().to_owned();
            name.push(suffix);
            let Ok(file) = std::fs::OpenOptions::new().write(true).open(&name) else { continue };
            let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            file.write_all_at(&vec![0x5a; length], 0)?;
        }
        Ok(())
    }

    /// A destination's number in the queue.
    ///
    /// # Errors
    /// [`WorldError::NoDestination`].
    pub fn destination(&self, name: &str) -> Result<DestinationId, WorldError> {
        let found = self.queue().destinations().iter().find(|(_, known)| known == name);
        found.map(|(id, _)| *id).ok_or_else(|| WorldError::NoDestination(name.to_owned()))
    }

    /// A destination's account, as the daemon shows it; nothing for one that is not configured.
    #[must_use]
    pub fn account(&self, name: &str) -> Totals {
        let Ok(id) = self.destination(name) else { return Totals::default() };
        self.queue().status().borrow().destination(id)
    }

    /// What a destination's readings were given up for, as recorded in the queue's file.
    ///
    /// # Errors
    /// [`WorldError::Records`] when the file does not read.
    pub fn drops(&self, name: &str) -> Result<Vec<Dropped>, WorldError> {
        let file = rusqlite::Connection::open_with_flags(
            self.queue().path(),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )?;
        let mut rows = file.prepare(
            "SELECT s.alias, x.reason, x.count FROM drops AS x JOIN destinations AS d ON d.id = x.destination
             JOIN streams AS s ON s.id = x.stream WHERE d.name = ?1 ORDER BY s.id, x.reason",
        )?;
        let rows = rows.query_map([name], |row| {
            let count: i64 = row.get(2)?;
            Ok(Dropped { alias: row.get(0)?, reason: row.get(1)?, count: count.cast_unsigned() })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Readings that wait for Golioth.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.account(GOLIOTH).queued
    }

    /// Waits until nothing is queued for Golioth.
    ///
    /// # Errors
    /// [`WorldError::NotDrained`] after `at_most`.
    pub async fn drained(&self, at_most: Duration) -> Result<(), WorldError> {
        let mut status = self.queue().status();
        let golioth = self.destination(GOLIOTH)?;
        let empty = async {
            while status.borrow_and_update().destination(golioth).queued > 0 {
                if status.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        tokio::time::timeout(at_most, empty).await.map_err(|_| WorldError::NotDrained {
            destination: GOLIOTH.to_owned(),
            queued: self.queued(),
            within: at_most,
        })
    }

    /// Every value of one stream that the cloud has.
    #[must_use]
    pub fn far_values(&self, alias: &str) -> Vec<FarValue> {
        self.cloud(|cloud, _| {
            let values = cloud.intake().values_of(DEVICE, alias);
            values
                .map(|(epoch, sequence, seen)| FarValue {
                    epoch,
                    sequence,
                    value: seen.value.as_f64(),
                    copies: u64::from(seen.copies),
                })
                .collect()
        })
    }

    /// Stops the daemon and reads both sides.
    ///
    /// # Errors
    /// [`WorldError::Store`] when the queue's file does not read.
    pub async fn finish(self) -> Result<Outcome, WorldError> {
        Ok(self.finish_traced().await?.1)
    }

    /// Stops the daemon and reads both sides; also the digest of every byte on every wire.
    ///
    /// # Errors
    /// As [`World::finish`].
    pub async fn finish_traced(self) -> Result<(String, Outcome), WorldError> {
        let wires = Arc::clone(&self.wires);
        let verified = self.stop().await?;
        let account = verified.destinations.get(GOLIOTH).copied().unwrap_or_default();
        let outcome = wires.with(|state, _| {
            let ledger = state.bus.ledger();
            let counts = state.cloud.intake().counts();
            let (lost, corrupted) = outcome::compare(&ledger, &state.cloud);
            Outcome {
                trace_events: state.trace_events,
                produced: ledger.produced(),
                accepted: verified.intake.accepted,
                acknowledged: account.acknowledged,
                dropped: account.dropped,
                set_aside: account.set_aside,
                queued: account.queued,
                cloud_unique: counts.unique,
                cloud_duplicates: counts.duplicates,
                lost,
                corrupted: corrupted + counts.conflicts,
                handshakes: state.cloud.counters().handshakes,
                problems: verified.problems,
            }
        });
        let trace = wires.with(|state, _| format!("{:x}", state.trace.clone().finalize()));
        Ok((trace, outcome))
    }

    /// Stops the daemon and recounts its queue.
    ///
    /// # Errors
    /// [`WorldError::Store`] when the file does not read.
    pub async fn stop(self) -> Result<Verified, WorldError> {
        let path = self.queue().path().to_owned();
        self.daemon.stop().await;
        let verified = verify(&path)?;
        drop(self.dir);
        Ok(verified)
    }
}

/// The machine's clocks of the boot of this number.
fn boot(options: &WorldOptions, boots: u8) -> VirtualClock {
    let wall = Wall { unix_ms: options.system_unix_ms, uncertainty_ms: SERVED_MS, trusted: options.trusted };
    VirtualClock::starting_at(BootId([options.seed.to_le_bytes()[0].wrapping_add(boots); 16]), wall)
}

fn ranked(wires: &Arc<Wires>, clock: &Arc<VirtualClock>, state_dir: &Path) -> Arc<dyn Clock> {
    let machine = CountingMachine { wires: Arc::clone(wires), clock: Arc::clone(clock) };
    Arc::new(RankedClock::of(machine, time_floor(state_dir)))
}

fn daemon(
    options: &WorldOptions,
    folder: &Path,
    rim: &Rim,
    wires: &Arc<Wires>,
) -> Result<(Daemon, Arc<Config>), WorldError> {
    let text = options.configuration(folder);
    let config = Arc::new(config::parse(&[("world.toml", &text)], &Secrets(options.key))?.config);
    let stores = Stores::inline(&config, rim)?;
    let lists = Some(Arc::new(Lists(Arc::clone(wires))) as Arc<dyn PipelineLists>);
    let daemon = Daemon::start_with(&config, rim, stores, lists).map_err(WorldError::Daemon)?;
    Ok((daemon, config))
}

/// Lends the daemon hands, and a log of its own.
fn lend(daemon: &Daemon, config: &Arc<Config>, rim: &Rim, wires: &Wires) -> Arc<Logs> {
    let logs = Arc::new(Logs::new(config.log.level, config.log.cloud));
    daemon.lend(Arc::clone(&wires.hands) as Arc<dyn Hands>, Arc::clone(&logs), rim);
    logs
}

/// A folder in memory where there is room for one: virtual time waits for no disk.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let room = nix::sys::statvfs::statvfs(memory)
        .map_or(0, |disk| disk.fragment_size().saturating_mul(disk.blocks_available()));
    let mut folder = tempfile::Builder::new();
    folder.prefix("fieldgate-world-");
    if room >= ROOM { folder.tempdir_in(memory) } else { folder.tempdir() }
}

fn wires(options: &WorldOptions) -> Result<Wires, WorldError> {
    let unasked = Wall { unix_ms: UNIX_MS, uncertainty_ms: 0, trusted: false };
    let mut cloud = CloudConfig::new("p", "api-key", vec![DeviceConfig::new(DEVICE, "p", "a-shared-key")]);
    cloud.connection_id = options.connection_id;
    cloud.count_blocks = options.count_blocks;
    cloud.certificate.clone_from(&options.certificate);
    let path = PathProfile {
        delay: options.delay,
        loss: options.loss,
        reorder: options.reorder,
        reorder_hold: REORDER_HOLD,
        duplicate: options.duplicate,
        rate: options.rate,
        ..PathProfile::default()
    };
    Ok(Wires {
        state: Mutex::new(State {
            cloud: Cloud::new(cloud, options.seed, UNIX_MS)?,
            relay: Relay::new(RelayProfile::symmetric(path), options.seed),
            bus: SimBus::new(three_slaves(), BAUD, options.seed)?,
            trace: Sha256::new(),
            trace_events: 0,
            blocks_down: 0,
            sockets: BTreeMap::new(),
            next_port: 40_000,
            sockets_asked_for: 0,
            answers: BTreeMap::new(),
            interface_down: false,
            dead: false,
            nat: None,
            began_with: None,
            at_first_datagram: None,
            records: None,
            management_down: false,
            looks_at_lists: 0,
        }),
        changed: Notify::new(),
        clock: VirtualClock::starting_at(BootId([0; 16]), unasked),
        looks: AtomicU64::new(0),
        hands: Arc::default(),
    })
}

/// Runs on one thread in virtual time: sleeping costs nothing and hours pass in an instant.
///
/// # Errors
/// When the system gives no event queue.
pub fn in_virtual_time<R>(run: impl Future<Output = R>) -> std::io::Result<R> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(run))
}
