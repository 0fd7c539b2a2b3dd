//! What a validated configuration is: typed values that nobody checks again.
//!
//! Invariant: a `Config` in hand has passed every check of this room. Names are unique and safe as topic segments, routes name
//! destinations that exist, ranges hold, secrets have been read. Units stand in the type (`Duration`) or in the field's name.

use core::num::NonZeroU16;
use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use fieldgate_sensor_inputs::modbus::{Table, ValueType, WordOrder};

pub use crate::reading::Class;
pub use crate::spend::{Allowance, Plan, Purpose, Reserves};

use super::secret::Secret;
use super::topic::TopicTemplate;

/// The whole configuration of one gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[gateway]`: who this box is.
    pub gateway: Gateway,
    /// `[store]`: how readings are kept.
    pub store: Store,
    /// `[time]`: what the clock is worth.
    pub time: Time,
    /// `[uplink]`: how the queue is drained, for every destination.
    pub uplink: Uplink,
    /// `[budget]`: how many bytes may be spent; without the table there is no limit.
    pub budget: Plan,
    /// `[http]`: the page and the API; `None` when `listen = "off"`.
    pub http: Option<Http>,
    /// `[modem]`: the cellular modem's AT port; `None` without the table.
    pub modem: Option<Modem>,
    /// `[path]`: how datagrams leave the box.
    pub path: NetworkPath,
    /// `[[bus]]`: the sensor buses, in the order written. At most 32.
    pub buses: Vec<Bus>,
    /// `[golioth]`: the Golioth destination, named `golioth` in routes; `None` without the table.
    pub golioth: Option<Golioth>,
    /// `[[mqtt]]`: the MQTT destinations, in the order written. Together with Golioth at most 8.
    pub mqtt: Vec<Mqtt>,
    /// `[[firmware.component]]`: what is reported as firmware. Default: one component, package `main`, the daemon's own version.
    pub components: Vec<Component>,
    /// `[log]`.
    pub log: Log,
}

/// `[gateway]`: who this box is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Name shown to people. Default: the host name.
    pub name: String,
    /// The gateway's own device name in the registry and at the cloud. Required.
    pub serial: String,
    /// Where `gateway.db` and `queue.db` live. Default `/var/lib/fieldgate`.
    pub state_dir: PathBuf,
}

/// `[store]`: how readings are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// How long readings gather before one commit and one sync. 0 to 60 s, default 1 s; 0 commits each batch.
    pub commit_window: Duration,
    /// Size `queue.db` may reach, in bytes. From 8 MiB, default 512 MiB.
    pub queue_max_bytes: u64,
    /// `[store.max_rows]`: how many readings of a class the file may hold; what is more is given up, the oldest first, on
    /// record. From 1000; default no bound of its own. Alarms cannot have one.
    pub max_rows: BTreeMap<Class, u64>,
    /// `[store.max_bytes]`: the same in bytes of packed readings. From 64 KiB to `queue_max_bytes`.
    pub max_bytes: BTreeMap<Class, u64>,
    /// File held back to be released when the disk is full, in bytes. From 1 MiB to half of `queue_max_bytes`, default 4 MiB.
    pub ballast_bytes: u64,
    /// Bytes a day that may be written to the flash; where more would be, the commit window widens, up to 60 s. From 16 MiB.
    /// Default none: whoever chose the window chose what is at risk, and a wider one must be asked for.
    pub flash_budget_per_day: Option<u64>,
}

/// `[time]`: what the clock is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// Whether the system clock is right from the start (a battery-backed clock). Default false: it must be confirmed first.
    pub trust_system_clock: bool,
    /// How long a reading whose wall time is not trusted waits before it is sent with boot id and monotonic time.
    /// 0 to 24 h, default 10 min.
    pub hold_untrusted: Duration,
}

/// `[uplink]`: how the queue is drained, for every destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Telemetry younger than this is live, older is backlog. 1 s to 24 h, default 5 min.
    pub live_bound: Duration,
    /// How much of a link live gets beside a backlog, relative to `backlog_weight`. 1 to 100, default 3.
    pub live_weight: NonZeroU16,
    /// See `live_weight`. 1 to 100, default 1.
    pub backlog_weight: NonZeroU16,
    /// `[uplink.max_age]`: a reading that waits for longer than its class's limit is given up, on record. 1 min to
    /// 3650 d; default none. Alarms cannot have one.
    pub max_age: BTreeMap<Class, Duration>,
    /// Messages in flight at once on one link. 1 to 32, default 8.
    pub window: u8,
    /// How long to gather a batch before it is sent although not full. 0 to 10 min, default 2 s.
    pub linger: Duration,
}

/// `[http]`: the technician's page, the API, metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Address and port. Default `127.0.0.1:8080`. Off loopback only together with `interface` and the accepted plain text,
    /// which validation has already required.
    pub listen: SocketAddr,
    /// Interface to bind to; always present when `listen` is not a loopback address. Default none.
    pub interface: Option<String>,
    /// Further `Host` names to answer to, lower case, without port. Default none: the listening address, `localhost` and the
    /// gateway's name are for the server to add.
    pub hosts: Vec<String>,
    /// `[[http.puller]]`: who may pull with a bearer token. A route that nobody may pull from is closed. At most 16.
    pub pullers: Vec<Puller>,
}

/// `[[http.puller]]`: somebody who pulls with a bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Puller {
    /// What its acknowledgements are kept under. Required.
    pub name: String,
    /// Its token. Required.
    pub token: Secret,
    /// It may pull the firmware log. Default true.
    pub firmware_log: bool,
    /// It may pull the readings in the queue. Default false.
    pub queue: bool,
}

/// `[modem]`: the cellular modem's AT port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modem {
    /// The serial port, by a stable name. Required.
    pub port: PathBuf,
    /// Bits per second. Default 115200.
    pub baud: u32,
    /// How often signal and registration are asked for. 1 s to 24 h, default 60 s.
    pub poll: Duration,
    /// Hardware flow control (RTS/CTS). Default true.
    pub flow_control: bool,
}

/// `[path]`: how datagrams leave the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkPath {
    /// `kind = "system"` (the default): an interface someone else brings up.
    System {
        /// Interface that sockets are bound to. Default none: the system's routes decide.
        interface: Option<String>,
    },
}

/// `[[bus]]`: one serial line with Modbus slaves on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bus {
    /// Name, unique on this gateway. Required.
    pub name: String,
    /// What is spoken on it. Required.
    pub kind: BusKind,
    /// The serial port, by a stable name; no other bus and not the modem uses it. Required.
    pub port: PathBuf,
    /// Bits per second. Default 19200.
    pub baud: u32,
    /// Default none.
    pub parity: Parity,
    /// 1 or 2. Default 1.
    pub stop_bits: u8,
    /// How long a slave may take to begin its answer. 10 ms to 10 s, default 500 ms.
    pub timeout: Duration,
    /// `[[bus.slave]]`, in the order written. At most 247, each unit once.
    pub slaves: Vec<Slave>,
}

/// What is spoken on a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusKind {
    /// `modbus-rtu`: Modbus over Serial Line V1.02, RTU framing.
    ModbusRtu,
}

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// `none`
    None,
    /// `even`
    Even,
    /// `odd`
    Odd,
}

/// `[[bus.slave]]`: one Modbus slave.
#[derive(Debug, Clone, PartialEq)]
pub struct Slave {
    /// Name, unique on this gateway; first part of its streams' names. Required.
    pub name: String,
    /// Modbus unit address, 1 to 247. Required.
    pub unit: u8,
    /// Registry device its streams belong to. Default: the gateway's serial.
    pub device: String,
    /// How often every point is read. 50 ms to 24 h, default 1 s.
    pub period: Duration,
    /// `[[bus.slave.point]]`, in the order written. At most 4096 on the whole gateway.
    pub points: Vec<Point>,
}

/// `[[bus.slave.point]]`: one value in a slave's register map. Its value is `raw × scale + offset`, in `unit`.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Full stream name `slave.stream`, unique on this gateway.
    pub stream: String,
    /// Name on the wire, unique over all streams, never one of the message's own keys. Default: the stream name with `_` for the dot.
    pub alias: String,
    /// Which of the slave's four tables. Required.
    pub table: Table,
    /// Address of the first register or bit, counted from 0. Required.
    pub register: u16,
    /// How the raw value is encoded. Required for registers; `bool` for coils and discrete inputs.
    pub value_type: ValueType,
    /// Order of the bytes on the wire. Default `abcd`.
    pub order: WordOrder,
    /// Factor on the raw value; finite, not 0. Default 1.
    pub scale: f64,
    /// Added after the factor, in `unit`; finite. Default 0.
    pub offset: f64,
    /// UCUM unit, such as `Cel` or `kPa`. Default empty: no unit was given.
    pub unit: String,
    /// Smallest step that means something, in `unit`. Default |scale| for integers, `None` for floats and bits.
    pub resolution: Option<f64>,
    /// Raw values that mean "no value": integers before scale and offset; for floats the bit pattern as an unsigned integer.
    /// Default none.
    pub sentinels: Vec<i128>,
    /// Class the readings are accepted under. Default telemetry.
    pub class: Class,
    /// `coalesce = "latest"`: of the readings that wait, for a commit or for a destination, only the newest goes on; the others
    /// are given up on record. Not for
    /// alarms and events. Default: every reading is sent.
    pub latest_only: bool,
    /// `thin_band`: where the data plan cannot pay for a backlog, readings that differ by no more than this, in `unit`, from the
    /// last that was sent are given up on record; finite, not negative. Only for telemetry that is a number. Default none: one
    /// instant in so many is sent.
    pub thin_band: Option<f64>,
    /// Names of the destinations it goes to: each exists. Default all. Empty only when there is no destination.
    pub routes: Vec<String>,
    /// Lowest plausible value, in `unit`. Default none.
    pub min: Option<f64>,
    /// Highest plausible value, in `unit`; above `min`. Default none.
    pub max: Option<f64>,
}

/// `[golioth]`: the Golioth destination, over CoAP and DTLS 1.2.
#[derive(Debug, Clone, PartialEq)]
pub struct Golioth {
    /// Where the CoAP gateway is. Default `coap.golioth.io:5684`.
    pub endpoint: Endpoint,
    /// By what the gateway is known there. Required.
    pub credential: GoliothCredential,
    /// Path below `.s/` that batches are posted to, without a leading slash. Default `sensor`.
    pub stream_path: String,
    /// Path below `.s/` that the serving cell is posted to when it changes, for a pipeline with Golioth's `location`
    /// transformer. Default none: it is not posted.
    pub location_path: Option<String>,
    /// How batches are written. Default `rows`.
    pub encoding: Encoding,
    /// Whether to ask for a DTLS Connection ID (RFC 9146). Default true.
    pub connection_id: bool,
    /// Cipher suites to offer, best first; never empty, no suite twice, all of the credential's kind. Default: those of that kind
    /// in the order of what they cost on the wire, CBC only without a Connection ID.
    pub suites: Vec<Suite>,
    /// How the session is kept alive. Default `standard`.
    pub liveness: Liveness,
    /// Requests a second the link may make. 1 to 20, default 20: Golioth's limit for a device.
    pub requests_per_second: u32,
    /// `[golioth.rest]`: the management API; `None` without the table, and then no management key is held.
    pub rest: Option<GoliothRest>,
}

/// How a session is kept alive in the network it goes through: declared, not learned. With a Connection ID our own signs of life
/// always get through, so they say nothing about what the network forgets.
///
/// What a quiet day costs with headers, for one sign of life of at most 190 bytes: `frugal` 6 kB, `standard` 20 kB, `prompt` 320 kB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// After so long a silence the control document is asked for: a change there is found within this. 1 s to 24 h.
    /// `frugal` 1 h, `standard` 15 min, `prompt` 55 s, below the 60 s after which many networks forget.
    pub keepalive: Duration,
    /// Everything else that is observed is asked for as often as this, unless the control document announces a change.
    /// 24 h; `prompt` 6 h.
    pub seldom: Duration,
    /// Further signs of life in a day that missed notifications may cause: `frugal` 4, `standard` 4, `prompt` 48.
    pub extra: u32,
    /// Nothing heard for this long while an answer is owed: the session, or the way to it, is gone. 30 s to 1 h.
    /// `frugal` 10 min, `standard` 3 min, `prompt` 1 min.
    pub dead_path: Duration,
}

/// A key or a certificate.
#[derive(Debug, Clone, PartialEq)]
pub enum GoliothCredential {
    /// `psk_id` and its key.
    Psk {
        /// PSK identity, `id@project`.
        id: String,
        /// The key's characters as Golioth shows them, not hex-decoded; 1 to 32 bytes. From `psk_file` or `psk_credential`.
        key: Secret,
    },
    /// X.509. The files are read anew for every connection, so that a renewed certificate needs no restart.
    Certificate {
        /// PEM: this gateway's certificate, then what signed it.
        certificate_file: PathBuf,
        /// PEM of its ECDSA key. From `key_file` or `key_credential`.
        key: Secret,
        /// PEM of the roots that may vouch for the server.
        ca_file: PathBuf,
        /// The name that the server's certificate must have. Default: the endpoint's host.
        server_name: String,
        /// `renew`: whether the gateway asks for the next certificate itself. Default: it does.
        renewal: Option<Renewal>,
    },
}

/// How a certificate is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Renewal {
    /// `renew_ca_file`: PEM of those who may have signed a renewed certificate. Default: whoever the cloud has sign it.
    pub signers_file: Option<PathBuf>,
}

/// `[golioth.rest]`: the management API.
#[derive(Debug, Clone, PartialEq)]
pub struct GoliothRest {
    /// Base address without a trailing slash: https, or http to a loopback address. Default `https://api.golioth.io`.
    pub url: String,
    /// Project id. Default: the part of `psk_id` after the `@`; with a certificate it is required.
    pub project: String,
    /// From `api_key_file` or `api_key_credential`. Required.
    pub api_key: Secret,
    /// How often the gateway's own record is read. 1 s to 30 d, default 24 h.
    pub poll: Duration,
    /// Organization id; `None` to ask for the project's.
    pub organization: Option<String>,
    /// How often is looked, after readings were acknowledged, whether pipelines take them. 1 min to 30 d, default 24 h.
    pub check_delivery: Duration,
    /// What then. Default: hold.
    pub on_unrouted: OnUnrouted,
}

/// What becomes of readings where no pipeline takes what the cloud acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnrouted {
    /// They are kept until one does.
    Hold,
    /// They are sent, and lost there.
    Send,
}

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address literal, IPv6 without brackets.
    pub host: String,
    /// Port, never 0.
    pub port: u16,
}

/// How Golioth is sent batches of readings; see docs/encodings.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `rows`: stock pipeline steps understand it.
    Rows,
    /// `columns`: a third of the bytes, for a decoder of its own.
    Columns,
}

/// A cipher suite for DTLS 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// `psk-ccm8`: TLS_PSK_WITH_AES_128_CCM_8, RFC 6655.
    PskCcm8,
    /// `psk-ccm`: TLS_PSK_WITH_AES_128_CCM, RFC 6655.
    PskCcm,
    /// `psk-gcm`: TLS_PSK_WITH_AES_128_GCM_SHA256, RFC 5487.
    PskGcm,
    /// `psk-cbc`: TLS_PSK_WITH_AES_128_CBC_SHA256, RFC 5487; not with a Connection ID.
    PskCbc,
    /// `ecdsa-ccm8`: TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, RFC 7251.
    EcdsaCcm8,
    /// `ecdsa-ccm`: TLS_ECDHE_ECDSA_WITH_AES_128_CCM, RFC 7251.
    EcdsaCcm,
    /// `ecdsa-gcm`: TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, RFC 5289.
    EcdsaGcm,
}

impl Suite {
    /// Takes a certificate, not a pre-shared key.
    #[must_use]
    pub fn is_certificate(self) -> bool {
        matches!(self, Self::EcdsaCcm8 | Self::EcdsaCcm | Self::EcdsaGcm)
    }
}

/// `[[mqtt]]`: a generic MQTT 3.1.1 broker as a destination; readings go with QoS 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Mqtt {
    /// Destination name, unique, not `golioth`. Required.
    pub name: String,
    /// Host and port of `broker = "mqtt://…"` (default port 1883) or `"mqtts://…"` (8883). Required.
    pub broker: Endpoint,
    /// Whether the broker is spoken to over TLS (`mqtts`).
    pub tls: bool,
    /// Client id, unique among destinations on one broker. Default: the gateway's serial.
    pub client_id: String,
    /// Default none.
    pub username: Option<String>,
    /// From `password_file` or `password_credential`; only with a user name. Default none.
    pub password: Option<Secret>,
    /// Topic of a message. Default `fieldgate/{gateway}/{device}/{class}`.
    pub topic: TopicTemplate,
    /// Certificates (PEM) to trust instead of the system's; only with TLS. Default none.
    pub ca_file: Option<PathBuf>,
}

/// `[[firmware.component]]`: one thing whose firmware version is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Package name at the cloud, unique for its device. Default `main`.
    pub package: String,
    /// Registry device it belongs to. Default: the gateway's serial.
    pub device: String,
    /// How its firmware is replaced. Default none.
    pub adapter: Adapter,
    /// `version_from`: where the reported version comes from. Default the daemon.
    pub version: VersionSource,
}

/// How a component's firmware is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// `none`: it is reported, never replaced.
    None,
}

/// Where a component's version comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionSource {
    /// `daemon`: this program's own version.
    Daemon,
    /// `modem`: what the modem answers; there is a `[modem]`.
    Modem,
    /// `fixed`: the text of `version`.
    Fixed(String),
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Least level written. Default info.
    pub level: LogLevel,
    /// Least level sent to the cloud as well, of what is written; `None` for `off`. Default error.
    pub cloud: Option<LogLevel>,
}

/// Level of a log line, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

impl Config {
    /// Names of all destinations: `golioth` first if configured, then the MQTT destinations as written.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        self.golioth.iter().map(|_| "golioth").chain(self.mqtt.iter().map(|mqtt| mqtt.name.as_str()))
    }
}
