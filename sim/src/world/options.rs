//! What a world is like: the network, the cloud, and the daemon's configuration.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use fieldgate::config::{Secret, SecretRefused, SecretSource, Surroundings};
use fieldgate_dtls::ServerCertificate;

use super::UNIX_MS;
use crate::gateway::points;
use crate::relay::RateLimit;

/// What a world is like. The default is a good link of 300 ms round trip, the three slaves, a trusted clock.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Of each datagram, the probability to be lost.
    pub loss: f64,
    /// One way.
    pub delay: Duration,
    /// Of each datagram, the probability to be overtaken.
    pub reorder: f64,
    /// Of each datagram, the probability to arrive twice.
    pub duplicate: f64,
    /// The link's bottleneck, each way.
    pub rate: Option<RateLimit>,
    /// With the three slaves; without them, a bus on which nobody answers, for [`World::take`](super::World::take).
    pub bus: bool,
    /// The `[[bus.slave]]` tables of the bus on which nobody answers.
    pub quiet: Cow<'static, str>,
    /// Whether the cloud grants Connection IDs.
    pub connection_id: bool,
    /// Whether the cloud's limit of requests counts every block of a download.
    pub count_blocks: bool,
    /// The cloud's certificate. Then the gateway has one too: `golioth` names its files, and `key` is its key.
    pub certificate: Option<ServerCertificate>,
    /// The gateway's identity, of which the cloud knows `gw-1@p`.
    pub identity: &'static str,
    /// The gateway's key, of which the cloud knows `a-shared-key`.
    pub key: &'static str,
    /// Further lines of `[golioth]`.
    pub golioth: Cow<'static, str>,
    /// Further tables.
    pub tables: Cow<'static, str>,
    /// Somebody vouches for the wall clock from the start.
    pub trusted: bool,
    /// What the system clock says at the start, unix milliseconds.
    pub system_unix_ms: i64,
    /// From when on the cellular network says what time it is; `None`: never.
    pub network_time: Option<Duration>,
    /// How often each of the three slaves is read.
    pub period: Duration,
    /// The board's serial number, if it has one.
    pub board: Option<&'static str>,
    /// The modem's number, if not the usual one.
    pub imei: Option<&'static str>,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            loss: 0.0,
            delay: Duration::from_millis(150),
            reorder: 0.0,
            duplicate: 0.0,
            rate: None,
            bus: true,
            quiet: QUIET_POINTS.into(),
            connection_id: true,
            count_blocks: false,
            certificate: None,
            identity: "gw-1@p",
            key: "a-shared-key",
            golioth: "".into(),
            tables: "".into(),
            trusted: true,
            system_unix_ms: UNIX_MS,
            network_time: None,
            period: Duration::from_secs(1),
            board: Some("board-1"),
            imei: None,
        }
    }
}

impl WorldOptions {
    /// The daemon's configuration file.
    pub(super) fn configuration(&self, state_dir: &Path) -> String {
        let (port, slaves) = if self.bus {
            ("bus", points::slave_tables(self.period).into())
        } else {
            ("quiet", self.quiet.clone())
        };
        let Self { identity, golioth, tables, .. } = self;
        let credential = match self.certificate {
            Some(_) => "key_credential = \"key\"".to_owned(),
            None => format!("psk_id = \"{identity}\"\npsk_credential = \"psk\""),
        };
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
{credential}
{golioth}
[modem]
port = "/virtual/modem"
[[bus]]
name = "{}"
kind = "modbus-rtu"
port = "/virtual/{port}"
{slaves}
{tables}
"#,
            state_dir.display(),
            points::BUS,
        )
    }
}

/// Where the daemon's configuration finds its one secret.
pub(super) struct Secrets(pub(super) &'static str);

impl Surroundings for Secrets {
    fn host_name(&self) -> &str {
        "virtual"
    }

    fn secret(&self, _: &SecretSource) -> Result<Secret, SecretRefused> {
        Ok(Secret::new(self.0.as_bytes().to_vec()))
    }
}

/// Streams that no device feeds: an alarm, and telemetry.
const QUIET_POINTS: &str = r#"
[[bus.slave]]
name = "door"
unit = 1
period = "24h"
[[bus.slave.point]]
stream = "open"
alias = "al"
table = "discrete"
register = 0
class = "alarm"
[[bus.slave.point]]
stream = "q0"
alias = "q0"
table = "input"
register = 0
type = "int16"
[[bus.slave.point]]
stream = "q1"
alias = "q1"
table = "input"
register = 1
type = "int16"
[[bus.slave.point]]
stream = "q2"
alias = "q2"
table = "input"
register = 2
type = "int16"
[[bus.slave.point]]
stream = "q3"
alias = "q3"
table = "input"
register = 3
type = "int16"
"#;
