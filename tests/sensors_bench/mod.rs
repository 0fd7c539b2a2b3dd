//! A bus lane on a bench: real configuration, real supervisor, real queue file; simulated slaves and, in virtual
//! time, an in-memory line.

#![allow(dead_code, reason = "each test program uses its part of the bench")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fieldgate::board::Board;
use fieldgate::clock::{BootId, Clock, VirtualClock, Wall};
use fieldgate::config::{self, Config, Secret, SecretRefused, SecretSource, Surroundings};
use fieldgate::daemon::rim::{Datagrams, Entropy, Net, PortSettings, Ports, Rim, SerialStream, UdpTarget};
use fieldgate::daemon::supervisor::Supervisor;
use fieldgate::reading::{Class, Quality, Value};
use fieldgate::sensors;
use fieldgate::store::queue::{DestinationSpec, Epoch, OpenOptions, Queue};
use fieldgate_sim::bus::SimBus;
use fieldgate_sim::device::SerialDevice;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;

/// A lane that runs, and everything around it.
pub(crate) struct Bench {
    pub(crate) board: Arc<Board>,
    pub(crate) queue: Queue,
    supervisor: Supervisor,
    stop: CancellationToken,
    _dir: TempDir,
}

/// One reading as it is on disk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) stream: String,
    pub(crate) value: Value,
    pub(crate) quality: Quality,
    pub(crate) sequence: u64,
    pub(crate) at: Duration,
}

/// What a run left on disk.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) rows: Vec<Row>,
    /// Missed readings by stream and reason.
    pub(crate) missed: BTreeMap<(String, String), u64>,
}

impl Bench {
    /// Starts the lane of the only bus that `buses` (TOML) configures.
    pub(crate) fn start(buses: &str, clock: Arc<dyn Clock>, ports: Arc<dyn Ports>) -> Self {
        let config = configuration(buses);
        let dir = TempDir::new().unwrap();
        let rim = Rim {
            clock,
            random: Arc::new(Seeded(Mutex::new(7))),
            net: Arc::new(NoNet),
            ports,
            hardware: None,
        };
        let bus = config.buses[0].clone();
        let options = OpenOptions {
            path: dir.path().join("queue.db"),
            streams: sensors::streams(&bus),
            destinations: config.destinations().map(|n| DestinationSpec { name: n.into() }).collect(),
            commit_window: config.store.commit_window,
            max_bytes: 512 << 20,
            class_quotas: Default::default(),
            ballast_bytes: 0,
            flash_budget_per_day: None,
            boot: rim.clock.boot_id(),
            epoch: Epoch(rim.random.u64()),
            file_id: rim.random.u64(),
        };
        let (queue, pump) = Queue::open_inline(options, &rim.clock).unwrap();
        tokio::spawn(pump);
        let board = Board::shared();
        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
        let streams = queue.streams().to_vec();
        supervisor.spawn(sensors::lane(bus, streams, queue.clone(), rim, Arc::clone(&board), stop.clone()));
        Self { board, queue, supervisor, stop, _dir: dir }
    }

    /// Whether no lane is silent, and how often the lane was restarted.
    pub(crate) fn lane_is_well(&self) -> bool {
        let restarts: u32 = self.board.lanes.all().values().map(|lane| lane.value.restarts).sum();
        self.supervisor.every_lane_speaks() && restarts == 0
    }

    /// Stops the lane and reads what it left.
    pub(crate) async fn finish(self) -> Record {
        assert!(self.lane_is_well(), "{:?}", self.board.lanes.all());
        self.stop.cancel();
        self.supervisor.stopped(Duration::from_secs(20)).await;
        self.record().await
    }

    /// What is on disk by now.
    pub(crate) async fn record(&self) -> Record {
        self.queue.flush().await;
        let destination = self.queue.destinations()[0].0;
        let mut reader = self.queue.reader(destination).unwrap();
        let mut rows = Vec::new();
        for class in Class::ALL {
            let mut at = reader.start(class);
            loop {
                let picked = reader.pick(class, at, 4096).unwrap();
                if picked.rows.is_empty() {
                    break;
                }
                at = picked.resume.unwrap();
                rows.extend(picked.rows.into_iter().map(|row| Row {
                    stream: row.stream.name.clone(),
                    value: row.sample.value,
                    quality: row.sample.quality,
                    sequence: row.sequence,
                    at: row.at.since_boot(),
                }));
            }
        }
        Record { rows, missed: missed(self.queue.path()) }
    }
}

impl Record {
    /// The readings of a stream, in order.
    pub(crate) fn of<'a>(&'a self, stream: &'a str) -> impl Iterator<Item = &'a Row> + Clone {
        self.rows.iter().filter(move |row| row.stream == stream)
    }

    /// How many instants of a stream brought no value, for this reason.
    pub(crate) fn missed(&self, stream: &str, reason: &str) -> u64 {
        self.missed.get(&(stream.to_owned(), reason.to_owned())).copied().unwrap_or(0)
    }

    /// For any reason.
    pub(crate) fn all_missed(&self, stream: &str) -> u64 {
        self.missed.iter().filter(|((name, _), _)| name == stream).map(|(_, count)| count).sum()
    }
}

/// A configuration of these buses, with one destination.
fn configuration(buses: &str) -> Config {
    struct NoSecrets;
    impl Surroundings for NoSecrets {
        fn host_name(&self) -> &str {
            "bench"
        }
        fn secret(&self, _: &SecretSource) -> Result<Secret, SecretRefused> {
            Err(SecretRefused { what: "None here.".into(), remedy: "Use none.".into() })
        }
    }
    let window = if buses.contains("[store]") { "" } else { "[store]\ncommit_window = \"5s\"\n" };
    let frame = "[gateway]\nserial = \"gw\"\n[[mqtt]]\nname = \"plant\"\nbroker = \"mqtt://127.0.0.1\"\n";
    match config::parse(&[("bench.toml", &format!("{frame}{window}{buses}"))], &NoSecrets) {
        Ok(loaded) => loaded.config,
        Err(refused) => panic!("{refused}"),
    }
}

fn missed(path: &std::path::Path) -> BTreeMap<(String, String), u64> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut query = connection
        .prepare(
            "SELECT s.name, g.reason, g.count FROM gaps g JOIN streams s ON s.id = g.stream WHERE kind = 'missed'",
        )
        .unwrap();
    let rows = query.query_map([], |r| Ok(((r.get(0)?, r.get(1)?), r.get::<_, u32>(2)?))).unwrap();
    rows.map(Result::unwrap).map(|(key, count)| (key, u64::from(count))).collect()
}

/// Virtual time from zero, in a runtime whose clock is paused.
pub(crate) fn virtual_clock() -> Arc<dyn Clock> {
    Arc::new(VirtualClock::starting_at(
        BootId([3; 16]),
        Wall { unix_ms: 1_800_000_000_000, uncertainty_ms: 100, trusted: true },
    ))
}

/// A simulated bus at the far end of an in-memory line that can be unplugged.
#[derive(Debug)]
pub(crate) struct MemoryLine {
    pub(crate) bus: Arc<Mutex<SimBus>>,
    clock: Arc<dyn Clock>,
    plug: Mutex<Plug>,
    /// Requests that never arrive.
    swallowed: fn(&[u8]) -> bool,
}

#[derive(Debug)]
struct Plug {
    is_in: bool,
    opened: u32,
    driver: Option<tokio::task::AbortHandle>,
}

impl MemoryLine {
    pub(crate) fn new(bus: SimBus, clock: &Arc<dyn Clock>) -> Arc<Self> {
        Self::swallowing(bus, clock, |_| false)
    }

    /// A line on which some requests get lost.
    pub(crate) fn swallowing(bus: SimBus, clock: &Arc<dyn Clock>, swallowed: fn(&[u8]) -> bool) -> Arc<Self> {
        let plug = Mutex::new(Plug { is_in: true, opened: 0, driver: None });
        Arc::new(Self { bus: Arc::new(Mutex::new(bus)), clock: Arc::clone(clock), plug, swallowed })
    }

    pub(crate) fn unplug(&self) {
        let mut plug = self.plug.lock().unwrap();
        plug.is_in = false;
        if let Some(driver) = plug.driver.take() {
            driver.abort();
        }
    }

    pub(crate) fn plug_in(&self) {
        self.plug.lock().unwrap().is_in = true;
    }

    /// How often the lane opened it.
    pub(crate) fn opened(&self) -> u32 {
        self.plug.lock().unwrap().opened
    }
}

impl Ports for MemoryLine {
    fn open(&self, _: &PortSettings) -> io::Result<Box<dyn SerialStream>> {
        let mut plug = self.plug.lock().unwrap();
        if !plug.is_in {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (near, far) = tokio::io::duplex(4096);
        let driver = tokio::spawn(drive(far, Arc::clone(&self.bus), Arc::clone(&self.clock), self.swallowed));
        plug.opened += 1;
        plug.driver = Some(driver.abort_handle());
        Ok(Box::new(near))
    }
}

/// Carries bytes between the line and the simulated slaves, in time.
async fn drive(
    mut line: DuplexStream,
    bus: Arc<Mutex<SimBus>>,
    clock: Arc<dyn Clock>,
    swallowed: fn(&[u8]) -> bool,
) {
    let mut bytes = [0; 256];
    loop {
        let said: Vec<Vec<u8>> = std::iter::from_fn(|| bus.lock().unwrap().poll_transmit()).collect();
        for frame in said {
            if line.write_all(&frame).await.is_err() {
                return;
            }
        }
        let due = bus.lock().unwrap().poll_timeout();
        let wait = due.map(|at| at.saturating_sub(clock.mono().since_boot()));
        tokio::select! {
            biased;
            read = line.read(&mut bytes) => match read {
                Ok(n) if n > 0 && swallowed(&bytes[..n]) => {}
                Ok(n) if n > 0 => bus.lock().unwrap().handle_bytes(clock.mono().since_boot(), &bytes[..n]),
                _ => return,
            },
            () = async { match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            } } => bus.lock().unwrap().handle_timeout(clock.mono().since_boot()),
        }
    }
}

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub(crate) struct Seeded(pub(crate) Mutex<u64>);

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for byte in bytes {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (*state >> 56) as u8;
        }
    }
}

#[derive(Debug)]
struct NoNet;

#[async_trait]
impl Net for NoNet {
    async fn udp(&self, _: &UdpTarget) -> io::Result<Box<dyn Datagrams>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
