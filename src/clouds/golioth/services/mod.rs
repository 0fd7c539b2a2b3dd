//! Golioth's device services, one file each: what the cloud says becomes a [`CloudEvent`], what the gateway says becomes a
//! request. Pure; the session (`live`) carries it.
//!
//! Four resources are observed ([`Watched`]), in the order of a table that knows when each is asked for again ([`Watches`]).
//! Everything else is posted ([`post`]). What the cloud says and nobody can read changes nothing and costs no session.
//!
//! | file | path | both ways |
//! |---|---|---|
//! | `state` | `.d/desired`, `.d/reported` | what is wanted; what is so |
//! | `firmware` | `.u/desired`, `.u/c/<package>` | manifest; component states |
//! | `calls` | `.rpc`, `.rpc/status` | calls; answers |
//! | `settings` | `.c`, `.c/status` | settings; what became of them |
//! | `stream` | `.s/<path>` | messages with readings, firmware log, serving cell, probes |
//! | `logs` | `.s/logs` | lines of the daemon's own log |
//! | `certificate` | `v1/csr` | a request to certify a new key; the certificate |

mod calls;
pub(super) mod certificate;
mod firmware;
mod logs;
mod settings;
mod state;
pub(super) mod stream;
mod watches;

use std::time::Duration;

use fieldgate_coap as coap;
use fieldgate_golioth_proto::Scalar;
use serde_json::Value;

pub(super) use calls::too_many;
pub(super) use watches::{Observed, Watched, Watches};

use crate::spend::Cause;
use crate::uplink::link::{CloudEvent, Report};

/// A report nobody answers is given up after this; its owner offers it again.
const REPORT_DEADLINE: Duration = Duration::from_secs(120);

/// Kinds of what is posted: the cloud may refuse one and take the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Component,
    FirmwareLog,
    Answer,
    SettingsStatus,
    State,
    Log,
    Network,
    Probe,
}

impl Kind {
    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Component => "reports of firmware",
            Self::FirmwareLog => "the firmware log",
            Self::Answer => "answers to calls",
            Self::SettingsStatus => "reports of settings",
            Self::State => "the reported state",
            Self::Log => "log lines",
            Self::Network => "the serving cell",
            Self::Probe => "probes",
        }
    }
}

/// A report as it is posted.
pub(super) struct Post {
    pub(super) request: coap::Request,
    pub(super) kind: Kind,
    pub(super) cause: Cause,
}

/// The request that makes a report. `location_path` is where the serving cell goes below `.s/`.
///
/// # Errors
/// Why it cannot be made.
pub(super) fn post(report: &Report, location_path: Option<&str>) -> Result<Post, &'static str> {
    let (request, kind, cause) = match report {
        Report::Component { package, version, target, state, reason } => {
            let request = firmware::report(package, version.as_deref(), target.as_deref(), *state, *reason)?;
            (request, Kind::Component, Cause::Management)
        }
        Report::FirmwareLog { page } => (stream::firmware_log(page), Kind::FirmwareLog, Cause::FirmwareLog),
        Report::CallAnswer { id, code, detail } => {
            (calls::answer(id, *code, detail.as_ref())?, Kind::Answer, Cause::Management)
        }
        Report::SettingsStatus { version, faults } => {
            (settings::status(*version, faults), Kind::SettingsStatus, Cause::Management)
        }
        Report::State { path, value } => (state::put(path, value.as_ref())?, Kind::State, Cause::State),
        Report::Log { level, module, message } => {
            (logs::line(*level, module, message), Kind::Log, Cause::Diagnostics)
        }
        Report::Network(cell) => {
            let path = location_path.ok_or("golioth.location_path is not configured")?;
            (stream::network(path, cell), Kind::Network, Cause::State)
        }
        Report::Probe { address, mark, unix_ms } => {
            (stream::probe(address, mark, *unix_ms), Kind::Probe, Cause::Management)
        }
    };
    Ok(Post { request: request.deadline(REPORT_DEADLINE), kind, cause })
}

/// What the cloud says on an observed resource; nothing for a mere greeting.
///
/// # Errors
/// In words, what is wrong with it and what follows from that.
pub(super) fn read(watched: Watched, payload: &[u8]) -> Result<Option<CloudEvent>, String> {
    match watched {
        Watched::Desired => state::read(payload).map(Some),
        Watched::Manifest => firmware::read(payload).map(Some),
        Watched::Calls => calls::read(payload),
        Watched::Settings => settings::read(payload),
    }
}

/// A scalar in no cloud's terms; see [`crate::uplink::link::Call::params`].
fn value(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => value.into(),
        Scalar::Integer(number) => number.into(),
        Scalar::Float(number) => number.into(),
        Scalar::Text(text) => text.into(),
        Scalar::Unsupported => Value::Object(serde_json::Map::new()),
    }
}

#[cfg(test)]
mod tests;
