//! A machine that does not exist: virtual clock, seeded randomness, in-memory wires; on them the simulator's cores.
//!
//! Nothing here touches a socket, a port, a thread or a real clock; only the two database files are real, in a folder of
//! their own. Every byte on every wire goes into the trace with its virtual time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fieldgate::clock::{BootId, Clock, VirtualClock, Wall};
use fieldgate::config;
use fieldgate::daemon::Daemon;
use fieldgate::daemon::rim::{Datagrams, Entropy, Net, PortSettings, Ports, Rim, SerialStream, UdpTarget};
use fieldgate::daemon::stores::Stores;
use fieldgate_sim::bus::{SimBus, three_slaves};
use fieldgate_sim::cloud::{Cloud, CloudConfig, DeviceConfig};
use fieldgate_sim::device::SerialDevice;
use fieldgate_sim::modem::{ModemProfile, SimModem};
use fieldgate_sim::relay::{Direction, PathProfile, Relay, RelayProfile};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

mod points;
use points::{COUNTED_POINTS, POINTS};

/// Wall time at the start: a working clock, 2026-11-20.
const UNIX_MS: i64 = 1_795_132_800_000;

pub(crate) struct WorldOptions {
    pub(crate) seed: u64,
    pub(crate) loss: f64,
    pub(crate) delay: Duration,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self { seed: 1, loss: 0.0, delay: Duration::from_millis(150) }
    }
}

/// What a run came to; compared between runs.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) trace_events: u64,
    pub(crate) produced: u64,
    pub(crate) accepted: u64,
    pub(crate) acknowledged: u64,
    pub(crate) cloud_unique: u64,
    pub(crate) cloud_duplicates: u64,
    pub(crate) lost: u64,
    pub(crate) corrupted: u64,
    pub(crate) handshakes: u64,
    pub(crate) problems: Vec<String>,
}

pub(crate) struct World {
    daemon: Daemon,
    dir: tempfile::TempDir,
    wires: Arc<Wires>,
}

/// Everything outside the daemon, under one lock.
#[derive(Debug)]
struct Wires {
    state: Mutex<State>,
    changed: Notify,
    clock: Arc<VirtualClock>,
}

struct State {
    cloud: Cloud,
    relay: Relay,
    bus: SimBus,
    trace: Sha256,
    trace_events: u64,
    /// The gateway's socket by its made-up address.
    sockets: BTreeMap<SocketAddr, mpsc::Sender<Vec<u8>>>,
    next_port: u16,
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
        let wall = Wall { unix_ms: UNIX_MS, uncertainty_ms: 50, trusted: true };
        let boot = BootId([options.seed as u8; 16]);
        let clock = Arc::new(VirtualClock::starting_at(boot, wall));
        let mut cloud =
            CloudConfig::new("p", "api-key", vec![DeviceConfig::new("gw-1", "p", "a-shared-key")]);
        cloud.connection_id = true;
        let path = PathProfile { delay: options.delay, loss: options.loss, ..PathProfile::default() };
        let wires = Arc::new(Wires {
            state: Mutex::new(State {
                cloud: Cloud::new(cloud, options.seed, UNIX_MS).unwrap(),
                relay: Relay::new(RelayProfile::symmetric(path), options.seed),
                bus: SimBus::new(three_slaves(), 19200, options.seed).unwrap(),
                trace: Sha256::new(),
                trace_events: 0,
                sockets: BTreeMap::new(),
                next_port: 40_000,
            }),
            changed: Notify::new(),
            clock: Arc::clone(&clock),
        });
        tokio::spawn(carry(Arc::clone(&wires)));
        let rim = Rim {
            clock: clock as Arc<dyn Clock>,
            random: Arc::new(Seeded(Mutex::new(options.seed))),
            net: Arc::new(MemoryNet(Arc::clone(&wires))),
            ports: Arc::new(MemoryPorts { wires: Arc::clone(&wires), seed: options.seed }),
        };
        let text = configuration(dir.path());
        let loaded =
            config::parse(&[("world.toml", &text)], &NoSurroundings).unwrap_or_else(|e| panic!("{e}"));
        let config = Arc::new(loaded.config);
        let stores = Stores::inline(&config, &rim).unwrap();
        let daemon = Daemon::start(&config, &rim, stores).unwrap();
        Self { daemon, dir, wires }
    }

    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub(crate) fn relay(&self, act: impl FnOnce(&mut Relay)) {
        self.wires.with(|state, _| act(&mut state.relay));
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
    pub(crate) async fn finish(self) -> (String, Outcome) {
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

fn configuration(state_dir: &std::path::Path) -> String {
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
psk_id = "gw-1@p"
psk_credential = "psk"
[modem]
port = "/virtual/modem"
[[bus]]
name = "field"
kind = "modbus-rtu"
port = "/virtual/bus"
{POINTS}
"#,
        state_dir.display()
    )
}

struct NoSurroundings;

impl config::Surroundings for NoSurroundings {
    fn host_name(&self) -> &str {
        "virtual"
    }

    fn secret(&self, _: &config::SecretSource) -> Result<config::Secret, config::SecretRefused> {
        Ok(config::Secret::new(b"a-shared-key".to_vec()))
    }
}

#[derive(Debug)]
struct Seeded(Mutex<u64>);

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let digest = Sha256::digest(state.to_le_bytes());
            chunk.copy_from_slice(&digest[..chunk.len()]);
        }
    }
}

/// Moves datagrams between the gateway's sockets, the relay and the cloud, when their time has come.
async fn carry(wires: Arc<Wires>) {
    loop {
        let now = wires.now();
        // Not through `with`: it would wake this very loop.
        let wake = step(&mut wires.state.lock().unwrap(), now);
        tokio::select! {
            biased;
            () = wires.changed.notified() => {}
            () = tokio::time::sleep(wake.saturating_sub(now)) => {}
        }
    }
}

/// One look at everything; returns when to look again.
fn step(state: &mut State, now: Duration) -> Duration {
    let gateway_port: u16 = state.next_port;
    let address = SocketAddr::from(([10, 0, 0, 2], gateway_port));
    loop {
        let mut quiet = true;
        while let Some(delivery) = state.relay.poll_deliver(now) {
            quiet = false;
            match delivery.direction {
                Direction::Up => {
                    state.trace(now, "cloud<", &delivery.bytes);
                    state.cloud.handle_datagram(now, address, &delivery.bytes);
                }
                Direction::Down => {
                    state.trace(now, "gateway<", &delivery.bytes);
                    if let Some(socket) = state.sockets.get(&address) {
                        let _ = socket.try_send(delivery.bytes);
                    }
                }
            }
        }
        state.cloud.handle_timeout(now);
        while let Some((_, datagram)) = state.cloud.poll_transmit() {
            quiet = false;
            state.trace(now, "cloud>", &datagram);
            state.relay.handle(now, Direction::Down, &datagram);
        }
        if quiet {
            break;
        }
    }
    let far = now + Duration::from_secs(3600);
    state.relay.poll_timeout().unwrap_or(far).min(state.cloud.poll_timeout().unwrap_or(far))
}

#[derive(Debug)]
struct MemoryNet(Arc<Wires>);

#[async_trait]
impl Net for MemoryNet {
    async fn udp(&self, _: &UdpTarget) -> io::Result<Box<dyn Datagrams>> {
        let (sender, receiver) = mpsc::channel(64);
        self.0.with(|state, _| {
            state.next_port += 1;
            let address = SocketAddr::from(([10, 0, 0, 2], state.next_port));
            state.sockets.insert(address, sender);
        });
        let receiver = tokio::sync::Mutex::new(receiver);
        Ok(Box::new(MemorySocket { wires: Arc::clone(&self.0), receiver }))
    }
}

#[derive(Debug)]
struct MemorySocket {
    wires: Arc<Wires>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>,
}

#[async_trait]
impl Datagrams for MemorySocket {
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.wires.with(|state, now| {
            state.trace(now, "gateway>", datagram);
            state.relay.handle(now, Direction::Up, datagram);
        });
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.receiver.lock().await.recv().await.ok_or(io::ErrorKind::NotConnected)?;
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

#[derive(Debug)]
struct MemoryPorts {
    wires: Arc<Wires>,
    seed: u64,
}

impl Ports for MemoryPorts {
    fn open(&self, settings: &PortSettings) -> io::Result<Box<dyn SerialStream>> {
        let (ours, theirs) = tokio::io::duplex(4096);
        let wires = Arc::clone(&self.wires);
        if settings.path.ends_with("bus") {
            tokio::spawn(bus(wires, theirs));
        } else {
            let mut modem =
                SimModem::new(ModemProfile::serial_modem(), self.seed, UNIX_MS.unsigned_abs() / 1000);
            modem.power_on(wires.now());
            tokio::spawn(modem_line(wires, modem, theirs));
        }
        Ok(Box::new(ours))
    }
}

async fn bus(wires: Arc<Wires>, mut line: tokio::io::DuplexStream) {
    let mut buffer = [0; 512];
    loop {
        let (out, wake) = wires.with(|state, now| {
            state.bus.handle_timeout(now);
            let mut out = Vec::new();
            while let Some(bytes) = state.bus.poll_transmit() {
                out.extend(bytes);
            }
            if !out.is_empty() {
                state.trace(now, "bus>", &out);
            }
            (out, state.bus.poll_timeout())
        });
        if line.write_all(&out).await.is_err() {
            return;
        }
        let sleep = wake.map_or(Duration::from_secs(3600), |at| at.saturating_sub(wires.now()));
        tokio::select! {
            biased;
            read = line.read(&mut buffer) => match read {
                Ok(n) if n > 0 => wires.with(|state, now| {
                    state.trace(now, "bus<", &buffer[..n]);
                    state.bus.handle_bytes(now, &buffer[..n]);
                }),
                _ => return,
            },
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

async fn modem_line(wires: Arc<Wires>, mut modem: SimModem, mut line: tokio::io::DuplexStream) {
    let mut buffer = [0; 512];
    loop {
        let now = wires.now();
        modem.handle_timeout(now);
        while let Some(bytes) = modem.poll_transmit() {
            wires.with(|state, now| state.trace(now, "modem>", &bytes));
            if line.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let sleep =
            modem.poll_timeout().map_or(Duration::from_secs(3600), |at| at.saturating_sub(wires.now()));
        tokio::select! {
            biased;
            read = line.read(&mut buffer) => match read {
                Ok(n) if n > 0 => {
                    let now = wires.now();
                    wires.with(|state, now| state.trace(now, "modem<", &buffer[..n]));
                    modem.handle_bytes(now, &buffer[..n]);
                }
                _ => return,
            },
            () = tokio::time::sleep(sleep) => {}
        }
    }
}
