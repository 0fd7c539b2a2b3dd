//! What a device can ask for over CoAP, one file a service.
//!
//! Each takes the [`Plane`] and one whole request and says what to answer, and whether that answer can be watched. Which
//! quirks are deliberate: a missing LightDB path is 2.05 null; logs are always taken; the path-less DELETE is a sign
//! of life and answered 2.02; both CBOR length styles are read everywhere.

mod firmware;
mod logs;
mod pki;
mod rpc;
mod settings;
mod state;
mod stream;

pub(super) use logs::log_entry;
pub(super) use pki::Issuer;

use super::device::DeviceKey;
use super::plane::{Notice, Plane};
use super::{cbor, document};
use fieldgate_coap::{Code, IncomingRequest, Method, Response, format};
use serde_json::Value;
use std::time::Duration;

/// What an observer watches, and how it wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Watch {
    State { path: Vec<String>, format: u16 },
    Settings { format: u16 },
    Calls { format: u16 },
    Manifest { format: u16 },
}

impl Watch {
    /// Where it is.
    pub(super) fn path(&self) -> String {
        match self {
            Self::State { path, .. } => format!(".d/{}", path.join("/")),
            Self::Settings { .. } => ".c".to_owned(),
            Self::Calls { .. } => ".rpc".to_owned(),
            Self::Manifest { .. } => ".u/desired".to_owned(),
        }
    }
}

/// An answer, and what the asker watches if it asked to observe.
#[derive(Debug)]
pub(super) struct Reaction {
    pub(super) response: Response,
    pub(super) watch: Option<Watch>,
}

impl From<Response> for Reaction {
    fn from(response: Response) -> Self {
        Self { response, watch: None }
    }
}

impl From<Code> for Reaction {
    fn from(code: Code) -> Self {
        Response::new(code).into()
    }
}

/// Serves one request of a device.
pub(super) fn serve(
    plane: &mut Plane,
    now: Duration,
    device: DeviceKey,
    request: &IncomingRequest,
) -> Reaction {
    let path = segments(request);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        // A sign of life; the real one answers anything that carries the token.
        [] if request.method == Method::Delete => Code::DELETED.into(),
        [".s", "logs"] => logs::serve(plane, now, device, ".s/logs", request),
        ["logs"] => logs::serve(plane, now, device, "logs", request),
        [".s", path @ ..] => stream::serve(plane, now, device, path, request),
        [".d", path @ ..] => state::serve(plane, device, path, request),
        [".rpc"] => rpc::observe(request),
        [".rpc", "status"] => rpc::status(plane, device, request),
        [".c"] => settings::observe(plane, device, request),
        [".c", "status"] => settings::status(plane, now, device, request),
        [".u", "desired"] => firmware::manifest(plane, device, request),
        [".u", "c", package] => firmware::component(plane, now, device, package, request),
        ["v1", "csr"] => pki::sign(plane, device, request),
        ["hello"] if request.method == Method::Get => {
            let name = plane.devices.get(&device).map_or("", |device| device.name.as_str());
            Response::content(format::TEXT, format!("Hello {name}")).into()
        }
        ["echo"] if posts(request) => {
            let body = request.payload.clone();
            Response::new(Code::CHANGED).payload(request.content_format.unwrap_or(format::TEXT), body).into()
        }
        ["hello" | "echo"] => Code::METHOD_NOT_ALLOWED.into(),
        _ => Code::NOT_FOUND.into(),
    }
}

/// The state of a watched resource, as its observer wants it.
pub(super) fn current(plane: &Plane, device: DeviceKey, watch: &Watch) -> Response {
    match watch {
        Watch::State { path, format } => state::content(plane, device, path, *format),
        Watch::Settings { format } => settings::content(plane, device, *format),
        Watch::Calls { format } => rpc::greeting(*format),
        Watch::Manifest { format } => firmware::manifest_content(plane, device, *format),
    }
}

/// Whether a change concerns a watch.
pub(super) fn concerns(watch: &Watch, notice: &Notice) -> bool {
    match (watch, notice) {
        (Watch::State { path, .. }, Notice::State { path: changed, .. }) => document::concerns(path, changed),
        (Watch::Settings { .. }, Notice::Settings { .. })
        | (Watch::Manifest { .. }, Notice::Manifest { .. })
        | (Watch::Calls { .. }, Notice::Call { .. }) => true,
        _ => false,
    }
}

/// A request's path without empty segments, which a trailing or leading slash leaves.
pub(super) fn segments(request: &IncomingRequest) -> Vec<String> {
    request.path.iter().filter(|segment| !segment.is_empty()).cloned().collect()
}

/// Why a body is not taken.
#[derive(Debug)]
enum Unreadable {
    /// 4.15: neither CBOR nor JSON.
    Format,
    /// 4.00, and what is wrong with it.
    Malformed(String),
}

impl From<Unreadable> for Reaction {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::Format => Code::UNSUPPORTED_CONTENT_FORMAT.into(),
            Unreadable::Malformed(why) => bad_request(&why).into(),
        }
    }
}

/// The body as a value. Without a Content-Format it is read as `otherwise`.
fn body(request: &IncomingRequest, otherwise: u16) -> Result<Value, Unreadable> {
    match request.content_format.unwrap_or(otherwise) {
        format::CBOR => {
            cbor::decode(&request.payload).map_err(|error| Unreadable::Malformed(error.to_string()))
        }
        format::JSON => serde_json::from_slice(&request.payload)
            .map_err(|error| Unreadable::Malformed(format!("invalid JSON: {error}"))),
        _ => Err(Unreadable::Format),
    }
}

/// 4.00 with a message for people.
fn bad_request(why: &str) -> Response {
    Response::new(Code::BAD_REQUEST).payload(format::TEXT, why)
}

fn posts(request: &IncomingRequest) -> bool {
    matches!(request.method, Method::Post | Method::Put)
}

/// The format an answer is wanted in, of the two there are.
fn wanted_format(request: &IncomingRequest, otherwise: u16) -> Option<u16> {
    Some(request.accept.unwrap_or(otherwise)).filter(|format| matches!(*format, format::CBOR | format::JSON))
}

/// A value in one of the two formats.
pub(super) fn encoded(value: &Value, format: u16) -> Response {
    if format == format::CBOR {
        Response::content(format, cbor::encode(value))
    } else {
        Response::content(format, value.to_string())
    }
}
