//! A machine that does not exist: virtual clock, seeded randomness, in-memory wires; on them the simulator's cores.
//!
//! Nothing here touches a socket, a port, a thread or a real clock; only the two database files are real, in a folder of
//! their own. Every byte on every wire goes into the trace with its virtual time.

#![allow(dead_code, reason = "each test uses its part of the world")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::board::{Board, LinkState};
use fieldgate::clock::{BootId, Clock, VirtualClock, Wall};
use fieldgate::config::{self, Config};
use fieldgate::daemon::Daemon;
use fieldgate::daemon::rim::Rim;
use fieldgate::daemon::stores::{self, Stores};
use fieldgate::reading::{Capture, Quality, Sample, Value};
use fieldgate::store::queue::{Accepted, Queue};
use fieldgate_sim::bus::{SimBus, three_slaves};
use fieldgate_sim::cloud::{Cloud, CloudConfig, DeviceConfig};
use fieldgate_sim::relay::{FlowId, PathProfile, Relay, RelayCounters, RelayProfile};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc};

mod machine;
mod points;
use machine::{CountingClock, MemoryNet, MemoryPorts, Seeded, carry};
use points::{COUNTED_POINTS, POINTS, QUIET_POINTS};

/// Wall time at the start: a working clock, 2026-11-20.
const UNIX_MS: i64 = 1_795_132_800_000;

pub(crate) struct WorldOptions {
    pub(crate) seed: u64,
    pub(crate) loss: f64,
    pub(crate) delay: Duration,
    /// Of every hundred datagrams so many are overtaken, and so many arrive twice.
    pub(crate) reorder: f64,
    pub(crate) duplicate: f64,
    /// With the three slaves; without them, a bus on which nobody answers, for [`World::take`].
    pub(crate) bus: bool,
    /// Whether the cloud grants Connection IDs.
    pub(crate) connection_id: bool,
    /// The gateway's identity and key, of which the cloud knows `gw-1@p` and `a-shared-key`.
    pub(crate) identity: &'static str,
    pub(crate) key: &'static str,
    /// Further lines of `[golioth]`.
    pub(crate) golioth: &'static str,
    /// Further tables.
    pub(crate) tables: &'static str,
    /// Somebody vouches for the wall clock from the start.
    pub(crate) trusted: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            loss: 0.0,
            delay: Duration::from_millis(150),
            reorder: 0.0,
            duplicate: 0.0,
            bus: true,
            connection_id: true,
            identity: "gw-1@p",
            key: "a-shared-key",
            golioth: "",
            tables: "",
            trusted: true,
        }
    }
}

/// What a run came to; compared between runs.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) trace_events: u64,
    pub(crate) produced: u64,
    pub(crate) accepted: u64,
    pub(crate) acknowledged: u64,
    pub(crate) set_aside: u64,
    pub(crate) queued: u64,
    pub(crate) cloud_unique: u64,
    pub(crate) cloud_duplicates: u64,
    pub(crate) lost: u64,
    pub(crate) corrupted: u64,
    pub(crate) handshakes: u64,
    pub(crate) problems: Vec<String>,
}

pub(crate) struct World {
    daemon: Daemon,
    config: Arc<Config>,
    dir: tempfile::TempDir,
    wires: Arc<Wires>,
}

/// Everything outside the daemon, under one lock.
#[derive(Debug)]
struct Wires {
    state: Mutex<State>,
    changed: Notify,
    clock: Arc<VirtualClock>,
    /// How often the daemon looked at the time.
    looks: AtomicU64,
}

struct State {
    cloud: Cloud,
    relay: Relay,
    bus: SimBus,
    trace: Sha256,
    trace_events: u64,
    /// The gateway's open sockets.
    sockets: BTreeMap<FlowId, mpsc::Sender<Vec<u8>>>,
    next_port: u16,
    sockets_asked_for: u64,
    /// The interface is gone: sockets give errors.
    interface_down: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl State {
    fn trace(&mut self, now: Duration, wire: &str, bytes: &[u8]) {
        self.trace.update(now.as_nanos().to_le_bytes());
        self.trace.update(wire.as_bytes());
        self.trace.update((bytes.len() as u64).to_le_bytes());
        self.trace.update(bytes);
        self.trace_events += 1;
    }
}

impl Wires {
    fn now(&self) -> Duration {
        self.clock.mono().since_boot()
    }

    fn with<R>(&self, act: impl FnOnce(&mut State, Duration) -> R) -> R {
        let now = self.now();
        let result = act(&mut self.state.lock().unwrap(), now);
        self.changed.notify_one();
        result
    }
}

impl World {
    pub(crate) async fn start(options: &WorldOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wall = Wall { unix_ms: UNIX_MS, uncertainty_ms: 50, trusted: options.trusted };
        let boot = BootId([options.seed as u8; 16]);
        let clock = Arc::new(VirtualClock::starting_at(boot, wall));
        let mut cloud =
            CloudConfig::new("p", "api-key", vec![DeviceConfig::new("gw-1", "p", "a-shared-key")]);
        cloud.connection_id = options.connection_id;
        let path = PathProfile {
            delay: options.delay,
            loss: options.loss,
            reorder: options.reorder,
            reorder_hold: Duration::from_millis(400),
            duplicate: options.duplicate,
            ..PathProfile::default()
        };
        let wires = Arc::new(Wires {
            state: Mutex::new(State {
                cloud: Cloud::new(cloud, options.seed, UNIX_MS).unwrap(),
                relay: Relay::new(RelayProfile::symmetric(path), options.seed),
                bus: SimBus::new(three_slaves(), 19200, options.seed).unwrap(),
                trace: Sha256::new(),
                trace_events: 0,
                sockets: BTreeMap::new(),
                next_port: 40_000,
                sockets_asked_for: 0,
                interface_down: false,
            }),
            changed: Notify::new(),
            clock,
            looks: AtomicU64::new(0),
        });
        tokio::spawn(carry(Arc::clone(&wires)));
        let rim = Rim {
            clock: Arc::new(CountingClock(Arc::clone(&wires))) as Arc<dyn Clock>,
            random: Arc::new(Seeded(Mutex::new(options.seed))),
            net: Arc::new(MemoryNet(Arc::clone(&wires))),
            ports: Arc::new(MemoryPorts { wires: Arc::clone(&wires), seed: options.seed }),
        };
        let text = configuration(options, dir.path());
        let loaded =
            config::parse(&[("world.toml", &text)], &Secrets(options.key)).unwrap_or_else(|e| panic!("{e}"));
        let config = Arc::new(loaded.config);
        let stores = Stores::inline(&config, &rim).unwrap();
        let daemon = Daemon::start(&config, &rim, stores).unwrap();
        Self { daemon, config, dir, wires }
    }

    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub(crate) fn relay(&self, act: impl FnOnce(&mut Relay)) {
        self.wires.with(|state, _| act(&mut state.relay));
    }

    /// Acts on the cloud; the time is the daemon's.
    pub(crate) fn cloud<R>(&self, act: impl FnOnce(&mut Cloud, Duration) -> R) -> R {
        self.wires.with(|state, now| act(&mut state.cloud, now))
    }

    pub(crate) fn now(&self) -> Duration {
        self.wires.now()
    }

    pub(crate) fn board(&self) -> &Board {
        &self.daemon.board
    }

    pub(crate) fn link(&self) -> LinkState {
        self.daemon.board.links.get("golioth").expect("the link says how it is").value
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.daemon.stores.queue
    }

    /// Requests of the gateway that reached the cloud.
    pub(crate) fn requests(&self) -> u64 {
        self.cloud(|cloud, _| cloud.requests_of("gw-1").unwrap())
    }

    pub(crate) fn handshakes(&self) -> u64 {
        self.cloud(|cloud, _| cloud.counters().handshakes)
    }

    pub(crate) fn relay_counters(&self) -> RelayCounters {
        self.wires.with(|state, _| state.relay.counters())
    }

    /// Tells the time also after the world has ended.
    pub(crate) fn watch(&self) -> impl Fn() -> Duration + use<> {
        let wires = Arc::clone(&self.wires);
        move || wires.now()
    }

    /// How often the daemon looked at the time up to now.
    pub(crate) fn looks(&self) -> u64 {
        self.wires.looks.load(Ordering::Relaxed)
    }

    pub(crate) fn sockets_asked_for(&self) -> u64 {
        self.wires.with(|state, _| state.sockets_asked_for)
    }

    /// Takes the gateway's network interface away, or gives it back.
    pub(crate) fn interface_down(&self, down: bool) {
        self.wires.with(|state, _| state.interface_down = down);
    }

    /// Lets a datagram that the cloud never sent arrive at every socket of the gateway.
    pub(crate) fn forge(&self, datagram: &[u8]) {
        self.wires.with(|state, _| {
            for socket in state.sockets.values() {
                let _ = socket.try_send(datagram.to_vec());
            }
        });
    }

    /// Somebody vouches for the wall clock from now on.
    pub(crate) fn trust_the_clock(&self) {
        let elapsed = i64::try_from(self.wires.now().as_millis()).unwrap();
        let wall = Wall { unix_ms: UNIX_MS + elapsed, uncertainty_ms: 50, trusted: true };
        self.wires.clock.step_wall(wall);
    }

    /// Has the store accept one reading of the stream with this alias, captured now.
    pub(crate) async fn take(&self, alias: &str, value: Value) -> Accepted {
        self.take_all(alias, [value]).await.pop().unwrap()
    }

    /// The same, several within one commit.
    pub(crate) async fn take_all(
        &self,
        alias: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Vec<Accepted> {
        let mut answers = Vec::new();
        for value in values {
            answers.push(self.queue().offer(self.capture(alias, value)).await.unwrap());
        }
        let mut accepted = Vec::new();
        for answer in answers {
            accepted.push(answer.await.unwrap().unwrap());
        }
        accepted
    }

    /// Has the store accept one reading if it can.
    pub(crate) async fn offer(&self, alias: &str, value: Value) -> Option<Accepted> {
        self.queue().accept(self.capture(alias, value)).await.ok()
    }

    fn capture(&self, alias: &str, value: Value) -> Capture {
        let specs = stores::streams(&self.config);
        let index = specs.iter().position(|s| s.alias == alias).expect("a configured alias");
        let (stream, group) = self.queue().streams()[index];
        let at = fieldgate::clock::Mono::from(self.wires.now());
        let samples = vec![Sample { stream, value, quality: Quality::Good }];
        Capture { group, at, samples, missing: Vec::new() }
    }

    /// Overwrites the middle of the queue's file and its log, as a dying flash does.
    pub(crate) fn damage_the_queue(&self) {
        for suffix in ["", "-wal"] {
            let mut name = self.queue().path().as_os_str().to_owned();
            name.push(suffix);
            let Ok(file) = std::fs::OpenOptions::new().write(true).open(&name) else { continue };
            let length = file.metadata().unwrap().len();
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0x5a; length as usize], 0).unwrap();
        }
    }

    /// Readings that wait for Golioth.
    pub(crate) fn queued(&self) -> u64 {
        let golioth = self.queue().destinations()[0].0;
        self.queue().status().borrow().destination(golioth).queued
    }

    pub(crate) fn fall_silent(&self) {
        self.wires.with(|state, _| state.bus.fall_silent());
    }

    /// Waits until nothing is queued for Golioth; fails after `at_most`.
    pub(crate) async fn drained(&self, at_most: Duration) {
        let mut status = self.daemon.stores.queue.status();
        let golioth = self.daemon.stores.queue.destinations()[0].0;
        let empty = async {
            while status.borrow_and_update().destination(golioth).queued > 0 {
                status.changed().await.unwrap();
            }
        };
        tokio::time::timeout(at_most, empty).await.expect("the queue did not drain");
    }

    /// Stops the daemon and reads both sides.
    pub(crate) async fn finish(self) -> Outcome {
        self.finish_traced().await.1
    }

    /// Stops the daemon and reads both sides; also the digest of every byte on every wire.
    pub(crate) async fn finish_traced(self) -> (String, Outcome) {
        let path = self.daemon.stores.queue.path().to_owned();
        self.daemon.stop().await;
        let verified = fieldgate::store::queue::verify::verify(&path).unwrap();
        let account = verified.destinations["golioth"];
        let outcome = self.wires.with(|state, _| {
            let ledger = state.bus.ledger();
            let counts = state.cloud.intake().counts();
            let (lost, corrupted) = compare(&ledger, &state.cloud);
            Outcome {
                trace_events: state.trace_events,
                produced: ledger.produced(),
                accepted: verified.intake.accepted,
                acknowledged: account.acknowledged,
                set_aside: account.set_aside,
                queued: account.queued,
                cloud_unique: counts.unique,
                cloud_duplicates: counts.duplicates,
                lost,
                corrupted: corrupted + counts.conflicts,
                handshakes: state.cloud.counters().handshakes,
                problems: verified.problems.clone(),
            }
        });
        let trace = self.wires.with(|state, _| format!("{:x}", state.trace.clone().finalize()));
        drop(self.dir);
        (trace, outcome)
    }
}

/// The set difference between what the bus put on the wire and what the cloud holds, by the counters in the values.
fn compare(ledger: &fieldgate_sim::bus::Ledger, cloud: &Cloud) -> (u64, u64) {
    let mut lost = 0;
    let mut corrupted = 0;
    for (unit, name, alias) in COUNTED_POINTS {
        let Some(point) = ledger.point(unit, name) else { panic!("no point {name}") };
        let mut missing: std::collections::BTreeSet<u64> = (1..=point.produced).collect();
        for (_, _, seen) in cloud.intake().values_of("gw-1", alias) {
            match seen.value.as_f64().and_then(|value| point.function.counter_among(point.produced, value)) {
                Some(counter) => {
                    missing.remove(&counter);
                }
                None => corrupted += 1,
            }
        }
        lost += missing.len() as u64;
    }
    (lost, corrupted)
}

fn configuration(options: &WorldOptions, state_dir: &std::path::Path) -> String {
    let (port, points) = if options.bus { ("bus", POINTS) } else { ("quiet", QUIET_POINTS) };
    let WorldOptions { identity, golioth, tables, .. } = options;
    format!(
        r#"
[gateway]
serial = "gw-1"
name = "virtual"
state_dir = "{}"
[http]
listen = "off"
[golioth]
endpoint = "cloud.invalid:5684"
psk_id = "{identity}"
psk_credential = "psk"
{golioth}
[modem]
port = "/virtual/modem"
[[bus]]
name = "field"
kind = "modbus-rtu"
port = "/virtual/{port}"
{points}
{tables}
"#,
        state_dir.display()
    )
}

struct Secrets(&'static str);

impl config::Surroundings for Secrets {
    fn host_name(&self) -> &str {
        "virtual"
    }

    fn secret(&self, _: &config::SecretSource) -> Result<config::Secret, config::SecretRefused> {
        Ok(config::Secret::new(self.0.as_bytes().to_vec()))
    }
}

/// Runs on one thread in virtual time: sleeping costs nothing and hours pass in an instant.
pub(crate) fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run)
}
