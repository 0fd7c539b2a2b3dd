//! A gateway whose every fact is made up, served over a real loopback socket, and a client that speaks raw TCP to it.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fieldgate::board::{
    Board, ComponentState, Hidden, LaneState, Latest, LinkPhase, LinkState, ModemIdentity, ModemPhase,
    ModemState, Registration, Signal, SignalGrade, SlaveState, WriterPhase, WriterState,
};
use fieldgate::clock::{BootId, Clock, Mono, Wall};
use fieldgate::config::{Http, Puller, Secret};
use fieldgate::http::Sources;
use fieldgate::http::sources::{
    ComponentRecord, DeviceRecord, Devices, FirmwareLog, GatewayFacts, IntegrationRecord, LogError, LogPage,
    ReadingPage, Readings, TelemetryValue, Trouble, Unavailable,
};
use fieldgate::reading::{Class, Quality, Value};
use fieldgate::store::gateway::GatewayHealth;
use fieldgate::store::queue::{BallastState, DestinationId, Epoch, Health, QueueStatus, Totals};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const IMEI: &str = "352656106647673";
pub const IMSI: &str = "204080813630037";
pub const ICCID: &str = "8901234567012345678F";
pub const CELL: &str = "014A7B0C";
pub const TOKEN: &str = "a-token-of-good-length-0123456789";
pub const OTHER_TOKEN: &str = "another-token-of-good-length-0123";
pub const QUEUE_TOKEN: &str = "a-token-for-the-queue-0123456789";

/// The gateway's age, in seconds of its clock.
pub const NOW_S: u64 = 100_000;

pub fn seconds_ago(seconds: u64) -> Mono {
    Mono::from(Duration::from_secs(NOW_S - seconds))
}

#[derive(Debug)]
pub struct FixedClock {
    pub trusted: bool,
}

impl Clock for FixedClock {
    fn mono(&self) -> Mono {
        seconds_ago(0)
    }

    fn wall(&self) -> Wall {
        Wall { unix_ms: 1_795_170_000_000, uncertainty_ms: 500, trusted: self.trusted }
    }

    fn boot_id(&self) -> BootId {
        BootId([7; 16])
    }
}

pub fn puller(name: &str, token: &str, firmware_log: bool, queue: bool) -> Puller {
    Puller { name: name.into(), token: Secret::new(token.as_bytes().to_vec()), firmware_log, queue }
}

/// Ten entries and more; a cursor is the number of the last one seen. Remembers what was asked.
pub struct FakeLog {
    pub asked: Mutex<Vec<(Option<String>, usize, String)>>,
    pub entries: watch::Sender<usize>,
}

impl Default for FakeLog {
    fn default() -> Self {
        Self { asked: Mutex::default(), entries: watch::Sender::new(10) }
    }
}

/// Three readings; a cursor is the number of the last one seen.
pub struct FakeReadings;

#[async_trait]
impl Readings for FakeReadings {
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<ReadingPage, LogError> {
        if after == Some("busy") {
            return Err(LogError::Busy);
        }
        let from: usize = after
            .map_or(Ok(0), str::parse)
            .map_err(|_| LogError::Malformed("That is not a cursor of this queue.".into()))?;
        let to = (from + limit).min(3);
        let readings = (from..to).map(|n| serde_json::json!({ "sequence": n + 1 })).collect();
        Ok(ReadingPage { readings, next: to.to_string(), more: to < 3, ..ReadingPage::default() })
    }
}

#[async_trait]
impl FirmwareLog for FakeLog {
    async fn page(&self, after: Option<&str>, limit: usize, puller: &str) -> Result<LogPage, LogError> {
        self.asked.lock().unwrap().push((after.map(str::to_owned), limit, puller.to_owned()));
        match after {
            Some("foreign") => return Err(LogError::Foreign("That cursor is another gateway's.".into())),
            Some("diverged") => return Err(LogError::Diverged("That part of the log is gone.".into())),
            Some("broken") => return Err(LogError::Unavailable("disk I/O error at /var/lib/secret".into())),
            Some("never") => std::future::pending::<()>().await,
            _ => {}
        }
        let from: usize = after
            .map_or(Ok(0), str::parse)
            .map_err(|_| LogError::Malformed("That is not a cursor of this log.".into()))?;
        let head = *self.entries.borrow();
        let to = (from + limit).min(head);
        let entries =
            (from..to).map(|n| serde_json::json!({ "sequence": n + 1, "kind": "version" })).collect();
        Ok(LogPage {
            entries,
            next: to.to_string(),
            more: to < head,
            head: head as u64,
            ..LogPage::default()
        })
    }

    async fn moved_from(&self, head: u64) {
        let mut entries = self.entries.subscribe();
        let _open = entries.wait_for(|entries| *entries as u64 != head).await;
    }
}

pub struct FakeDevices;

#[async_trait]
impl Devices for FakeDevices {
    async fn get(&self, id_or_serial: &str) -> Result<Option<DeviceRecord>, Unavailable> {
        if id_or_serial == "unreadable" {
            return Err(Unavailable("disk I/O error at /var/lib/secret".into()));
        }
        let found = self.list(200).await?;
        Ok(found.into_iter().find(|device| device.id == id_or_serial || device.serial == id_or_serial))
    }

    async fn list(&self, limit: usize) -> Result<Vec<DeviceRecord>, Unavailable> {
        let device = |id: &str, serial: &str, seen_ms_ago: i64| DeviceRecord {
            id: id.into(),
            serial: serial.into(),
            name: format!("{serial} <b>"),
            firmware_version: Some("1.0.0".into()),
            components: vec![ComponentRecord {
                package: "main".into(),
                version: Some("1.0.0".into()),
                target: Some("1.1.0".into()),
                state: "DOWNLOADING".into(),
                reason: Some("ready".into()),
            }],
            last_seen_online_unix_ms: Some(1_795_170_000_000 - seen_ms_ago),
            last_seen_offline_unix_ms: Some(1_795_000_000_000),
            expected_interval: Some(Duration::from_secs(60)),
            trouble: None,
            telemetry: BTreeMap::from([(
                "battery".to_owned(),
                TelemetryValue {
                    value: 87.into(),
                    unit: Some("%".into()),
                    at_unix_ms: Some(1_795_169_000_000),
                },
            )]),
            integration: Some(IntegrationRecord {
                kind: "golioth".into(),
                name: "golioth".into(),
                capabilities: vec!["deviceStatus".into()],
            }),
        };
        let mut all = vec![
            device("d-1", "gw-0042", 1000),
            device("d-2", "fresh", 179_000),
            device("d-3", "stale", 181_000),
            device("d-4", "heard-here", 900_000),
            DeviceRecord {
                trouble: Some(Trouble::Warning("low battery".into())),
                ..device("d-5", "weak", 1)
            },
            DeviceRecord { trouble: Some(Trouble::Error("sensor fault".into())), ..device("d-6", "ill", 1) },
            DeviceRecord { integration: None, last_seen_online_unix_ms: None, ..device("d-7", "unseen", 1) },
        ];
        all.truncate(limit);
        Ok(all)
    }
}

/// A gateway to be spoilt and then served.
pub struct Gateway {
    pub board: Arc<Board>,
    pub status: QueueStatus,
    pub destinations: Vec<(DestinationId, String)>,
    pub facts: GatewayFacts,
    pub clock: FixedClock,
    pub log: Arc<FakeLog>,
    pub silent: Vec<(String, Mono)>,
    pub gateway_db: GatewayHealth,
    pub config: Http,
}

impl Gateway {
    /// Connected, three slaves answering, nothing lost.
    pub fn fine() -> Self {
        let board = Board::shared();
        board.links.set("golioth", seconds_ago(2), link(LinkPhase::Up, "connected, session kept", 4));
        radio(&board);
        for (slave, streams) in [
            ("boiler", [("flow_temperature", 61.4, "Cel"), ("return_temperature", 42.8, "Cel")]),
            ("meter", [("power", 3.218, "kW"), ("energy", 18_203.4, "kW.h")]),
            ("pump", [("pressure", 187.0, "kPa"), ("speed", 1450.0, "/min")]),
        ] {
            board.slaves.set(slave, seconds_ago(1), slave_state(true));
            for (stream, value, unit) in streams {
                board.latest.set(
                    &format!("{slave}.{stream}"),
                    seconds_ago(2),
                    latest(value, unit, Quality::Good),
                );
            }
        }
        for lane in ["bus field", "drain golioth", "http", "link golioth", "modem", "registry"] {
            let state = LaneState {
                words: "advancing".into(),
                fine: true,
                excused: false,
                restarts: 0,
                last_progress: seconds_ago(1),
            };
            board.lanes.set(lane, seconds_ago(1), state);
        }
        for writer in ["gateway.db", "queue.db"] {
            let state =
                WriterState { phase: WriterPhase::Working, words: "writes take less than 5 s".into() };
            board.writers.set(writer, seconds_ago(1), state);
        }
        for (package, version) in
            [("main", "0.1.0"), ("cell", "mfw_nrf91x1_2.0.4"), ("sensor-board", "1.2.3")]
        {
            let component = ComponentState {
                package: package.into(),
                device: "gw-0042".into(),
                version: Some(version.into()),
                target: None,
                state: "IDLE",
                reason: "ready".into(),
            };
            board.components.set(package, seconds_ago(60), component);
        }
        let mut status = QueueStatus {
            file_id: 9,
            epoch: Some(Epoch(0x1122_3344_5566_7788)),
            intake: Totals { accepted: 1_204_331, missed: 12, ..Totals::default() },
            newest_sequences: BTreeMap::from([("field".to_owned(), 200_721)]),
            last_commit: Duration::from_millis(8),
            used_bytes: 2 << 20,
            max_bytes: 512 << 20,
            commit_window: Duration::from_secs(1),
            configured_window: Duration::from_secs(1),
            ballast: BallastState { bytes: 4 << 20, held: true },
            ..QueueStatus::default()
        };
        let telemetry =
            Totals { accepted: 1_204_331, acknowledged: 1_204_317, queued: 14, ..Totals::default() };
        status.totals.insert((DestinationId(0), Class::Telemetry), telemetry);
        status.totals.insert((DestinationId(0), Class::Alarm), Totals::default());
        Self {
            board,
            status,
            destinations: vec![(DestinationId(0), "golioth".into())],
            facts: GatewayFacts {
                name: "pump-house".into(),
                serial: "gw-0042".into(),
                version: "0.1.0".into(),
                started: seconds_ago(93_784),
            },
            clock: FixedClock { trusted: true },
            log: Arc::default(),
            silent: Vec::new(),
            gateway_db: GatewayHealth::Good,
            config: Http {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                interface: None,
                hosts: vec!["gateway.example".into()],
                pullers: vec![
                    puller("cloud", TOKEN, true, false),
                    puller("lab", OTHER_TOKEN, true, false),
                    puller("historian", QUEUE_TOKEN, false, true),
                ],
            },
        }
    }

    /// It works, and somebody should look: a silent pump, a weak signal, a value in doubt, an old disk's refusals.
    pub fn attention() -> Self {
        let gateway = Self::fine();
        gateway.board.slaves.set("pump", seconds_ago(1), slave_state(false));
        gateway.board.latest.set("pump.pressure", seconds_ago(4000), latest(187.0, "kPa", Quality::Good));
        let signal = Signal {
            rsrp_dbm: Some(-121.0),
            rsrq_db: Some(-17.0),
            snr_db: Some(-3.0),
            grade: SignalGrade::VeryPoor,
        };
        gateway.board.signal.set(seconds_ago(41), signal);
        let doubtful = latest(-3276.8, "Cel", Quality::OutOfRange);
        gateway.board.latest.set("boiler.return_temperature", seconds_ago(2), doubtful);
        gateway
    }

    /// Nothing leaves, and nothing can be kept.
    pub fn broken() -> Self {
        let mut gateway = Self::fine();
        gateway.status.health = Health::DiskFull;
        gateway.status.used_bytes = 512 << 20;
        gateway.status.intake.refused = 318;
        if let Some(totals) = gateway.status.totals.get_mut(&(DestinationId(0), Class::Telemetry)) {
            totals.acknowledged -= 204_100;
            totals.queued += 204_000;
            totals.dropped += 100;
        }
        let words = "the key is not accepted (4.01); check golioth.psk_id and the key at the cloud";
        gateway.board.links.set("golioth", seconds_ago(2), link(LinkPhase::Sick, words, 8000));
        let registration = Registration {
            registered: false,
            roaming: false,
            words: "searching".into(),
            operator: None,
            plmn: None,
            access: None,
            band: None,
            cell: None,
        };
        gateway.board.registration.set(seconds_ago(20), registration);
        let failed = LaneState {
            words: "failed: /dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A10-if00-port0: no such port; restarts in 31 s"
                .into(),
            fine: false,
            excused: false,
            restarts: 14,
            last_progress: seconds_ago(700),
        };
        gateway.board.lanes.set("bus field", seconds_ago(1), failed);
        gateway.clock.trusted = false;
        gateway
    }

    /// What was sent 14 s ago is not answered, and its lane still hopes; another destination is well.
    pub fn dead_cloud() -> Self {
        let mut gateway = Self::fine();
        let silent = LinkState { owed_since: Some(seconds_ago(14)), ..link(LinkPhase::Up, "connected", 14) };
        gateway.board.links.set("golioth", seconds_ago(1), silent);
        gateway.destinations.push((DestinationId(1), "backup".into()));
        gateway.board.links.set("backup", seconds_ago(1), link(LinkPhase::Up, "connected", 3));
        let telemetry = Totals { accepted: 9000, acknowledged: 9000, ..Totals::default() };
        gateway.status.totals.insert((DestinationId(1), Class::Telemetry), telemetry);
        gateway
    }

    /// Nothing can be kept; what is there drains.
    pub fn full_disk() -> Self {
        let mut gateway = Self::fine();
        gateway.status.health = Health::DiskFull;
        gateway.status.used_bytes = 511 << 20;
        gateway.status.intake.refused = 318;
        gateway.status.ballast = BallastState { bytes: 4 << 20, held: false };
        if let Some(totals) = gateway.status.totals.get_mut(&(DestinationId(0), Class::Telemetry)) {
            totals.acknowledged -= 204_000;
            totals.queued += 204_000;
        }
        gateway
    }

    /// Serves it; the server ends when the guard is dropped.
    pub fn serve(self) -> Served {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (status, queue) = watch::channel(self.status.clone());
        let log = Arc::clone(&self.log);
        let config = self.config.clone();
        let sources = self.sources(queue);
        let guard = stop.clone().drop_guard();
        tokio::spawn(async move { fieldgate::http::serve(listener, &config, sources, stop).await });
        Served { address, status, log, _stop: guard }
    }

    pub fn sources(self, queue: watch::Receiver<QueueStatus>) -> Sources {
        let (silent, gateway_db) = (self.silent, self.gateway_db);
        Sources {
            board: self.board,
            queue,
            destinations: self.destinations.into(),
            gateway: self.facts,
            clock: Arc::new(self.clock),
            firmware_log: self.log,
            readings: Arc::new(FakeReadings),
            devices: Arc::new(FakeDevices),
            silent_lanes: Arc::new(move || silent.clone()),
            gateway_db: Arc::new(move || gateway_db.clone()),
        }
    }
}

pub fn link(phase: LinkPhase, words: &str, heard_seconds_ago: u64) -> LinkState {
    LinkState {
        phase,
        words: words.into(),
        handshakes: 2,
        bytes_up: 5_812_331,
        bytes_down: 402_118,
        packets: 20_811,
        in_flight: 1,
        last_heard: Some(seconds_ago(heard_seconds_ago)),
        owed_since: None,
    }
}

pub fn slave_state(answering: bool) -> SlaveState {
    SlaveState {
        bus: "field".into(),
        words: if answering { "answering" } else { "silent for 66 min, asked again in 48 s" }.into(),
        answering,
        answers: 18_000,
        failures: 3,
        last_answer: Some(seconds_ago(1)),
        refusal: None,
    }
}

pub fn latest(value: f64, unit: &str, quality: Quality) -> Latest {
    Latest {
        device: "heard-here".into(),
        value: Value::Float(value),
        decimals: 1,
        quality,
        unit: unit.into(),
    }
}

fn radio(board: &Board) {
    let signal =
        Signal { rsrp_dbm: Some(-92.0), rsrq_db: Some(-9.5), snr_db: Some(11.0), grade: SignalGrade::Good };
    board.signal.set(seconds_ago(41), signal);
    let registration = Registration {
        registered: true,
        roaming: true,
        words: "registered, roaming".into(),
        operator: Some("20408 KPN".into()),
        plmn: None,
        access: Some("LTE-M".into()),
        band: Some(20),
        cell: Some(CELL.into()),
    };
    board.registration.set(seconds_ago(41), registration);
    let modem = ModemIdentity {
        application: "Serial Modem v1.99.0".into(),
        hardware: Some("nRF9151 LACA A1A".into()),
        firmware: Some("mfw_nrf91x1_2.0.4".into()),
        imei: Some(Hidden::new(IMEI)),
        iccid: Some(Hidden::new(ICCID)),
        imsi: Some(Hidden::new(IMSI)),
    };
    board.modem.set(seconds_ago(9000), modem);
    let state =
        ModemState { phase: ModemPhase::Up, words: "Serial Modem v1.99.0 answers".into(), fine: true };
    board.modem_state.set(seconds_ago(9000), state);
    board.modem_millivolts.set(seconds_ago(41), 3791);
    board.modem_celsius.set(seconds_ago(41), 31);
}

/// A served gateway.
pub struct Served {
    pub address: SocketAddr,
    pub status: watch::Sender<QueueStatus>,
    pub log: Arc<FakeLog>,
    _stop: DropGuard,
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Served {
    /// A plain request under the address's own name.
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[]).await
    }

    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        self.raw(&(text + "\r\n")).await
    }

    /// Sends these bytes and reads until the gateway closes.
    pub async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A gateway that has heard enough closes before everything is written.
        let _ = stream.write_all(request.as_bytes()).await;
        read(&mut stream).await
    }
}

/// Reads an answer until the connection ends.
pub async fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes));
    end.await.expect("the gateway ends every connection by itself").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, body: body.to_owned() }
}
