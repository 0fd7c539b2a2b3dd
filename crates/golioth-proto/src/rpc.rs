//! Remote procedure calls: what arrives on `.rpc`, and the answer POSTed to `.rpc/status`.
//!
//! A call is not queued by the cloud: a gateway that is away when it is made never sees it, and an answer that is late
//! finds nobody. Ids are the cloud's and are echoed as they are.

use serde_json::{Map, Value};

use crate::cbor::{Fault, Reader, Scalar, Writer};
use crate::document;

/// Longest id or method, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest text parameter, in bytes: a notification is at most one block.
pub const MAX_TEXT_BYTES: usize = 1024;
/// Most parameters of one call.
pub const MAX_PARAMS: usize = 32;

/// What the cloud says on the observation of `.rpc`.
#[derive(Clone, Debug, PartialEq)]
pub enum Notification {
    /// The observation stands; no call yet.
    Greeting,
    /// A call to answer.
    Call(Call),
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Names this call; at most [`MAX_NAME_BYTES`].
    pub id: String,
    /// What to do.
    pub method: String,
    /// With what; may be empty.
    pub params: Vec<Scalar>,
    /// Why the parameters could not be taken: too many, or one that is too long. There are none then; the call is still
    /// answered, which nobody could without its id.
    pub fault: Option<Fault>,
}

/// Why a notification on `.rpc` is not a call. It is left unanswered: the caller's cloud times it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The document is not a map or is damaged.
    #[error(
        "a remote call was not understood: {fault}; call again, and look for a proxy that changes payloads"
    )]
    Document {
        /// What is wrong with it.
        fault: Fault,
    },
    /// The call lacks one of `id`, `method` and `params`.
    #[error("a remote call came without {missing}: it is not carried out; call again")]
    Incomplete {
        /// Which.
        missing: &'static str,
    },
    /// A field of the call is wrong.
    #[error("in a remote call, {field}: {fault}; it is not carried out; call with other parameters")]
    Bad {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// Reads a notification on `.rpc`. Unknown keys are passed over.
pub fn decode(payload: &[u8]) -> Result<Notification, RpcError> {
    let document = |fault| RpcError::Document { fault };
    let mut reader = Reader::new(payload);
    if reader.is_text().map_err(document)? {
        return if reader.text(MAX_NAME_BYTES).map_err(document)? == "OK" {
            reader.end().map_err(document)?;
            Ok(Notification::Greeting)
        } else {
            Err(document(Fault::Invalid { expected: "call or the greeting OK" }))
        };
    }
    let mut id = None;
    let mut method = None;
    let mut params = None;
    let mut entries = reader.map().map_err(document)?;
    while entries.another(&mut reader).map_err(document)? {
        if !reader.is_text().map_err(document)? {
            reader.skip().map_err(document)?;
            reader.skip().map_err(document)?;
            continue;
        }
        let key = reader.text(payload.len()).map_err(document)?;
        match &*key {
            "id" => set("id", &mut id, read_name(&mut reader))?,
            "method" => set("method", &mut method, read_name(&mut reader))?,
            "params" => set("params", &mut params, read_params(&mut reader))?,
            _ => reader.skip().map_err(document)?,
        }
    }
    reader.end().map_err(document)?;
    let (params, fault) = params.unzip();
    let lacks = |missing| RpcError::Incomplete { missing };
    Ok(Notification::Call(Call {
        id: id.ok_or(lacks("id"))?,
        method: method.ok_or(lacks("method"))?,
        params: params.ok_or(lacks("params"))?,
        fault: fault.flatten(),
    }))
}

fn set<T>(field: &'static str, slot: &mut Option<T>, value: Result<T, Fault>) -> Result<(), RpcError> {
    let bad = |fault| RpcError::Bad { field, fault };
    if slot.is_some() {
        return Err(bad(Fault::Twice));
    }
    *slot = Some(value.map_err(bad)?);
    Ok(())
}

fn read_name(reader: &mut Reader<'_>) -> Result<String, Fault> {
    let name = reader.text(MAX_NAME_BYTES)?;
    if name.is_empty() { Err(Fault::Empty) } else { Ok(name.into_owned()) }
}

fn read_params(reader: &mut Reader<'_>) -> Result<(Vec<Scalar>, Option<Fault>), Fault> {
    let (mut params, mut fault) = (Vec::new(), None);
    let mut items = reader.array()?;
    while items.another(reader)? {
        match reader.short_scalar(MAX_TEXT_BYTES)? {
            _ if params.len() == MAX_PARAMS => fault = Some(Fault::TooLong { limit: MAX_PARAMS }),
            None => fault = Some(Fault::TooLong { limit: MAX_TEXT_BYTES }),
            Some(value) => params.push(value),
        }
    }
    if fault.is_some() {
        params.clear();
    }
    Ok((params, fault))
}

/// How a call ended: the codes of gRPC, which Golioth's management API passes to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatusCode {
    /// Done.
    Ok,
    /// Given up by the caller.
    Canceled,
    /// Failed without a better word.
    Unknown,
    /// The parameters are wrong whatever the state.
    InvalidArgument,
    /// It took too long; it may still have happened.
    DeadlineExceeded,
    /// What was named is not here; also the answer for an unknown method of Golioth's own SDK.
    NotFound,
    /// What was to be made is there.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// A quota or a budget is used up.
    ResourceExhausted,
    /// The state forbids it; calling again without a change is useless.
    FailedPrecondition,
    /// Something else got in the way; start over.
    Aborted,
    /// A parameter beyond its range.
    OutOfRange,
    /// This gateway does not do this.
    Unimplemented,
    /// Something inside is broken.
    Internal,
    /// Not now; call again.
    Unavailable,
    /// Data is lost or damaged.
    DataLoss,
    /// The caller did not say who it is.
    Unauthenticated,
}

impl StatusCode {
    /// Every code, in order.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Canceled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The number on the wire, 0 to 16.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The code of a number; `None` above 16.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reply<'a> {
    /// The call's id.
    pub id: &'a str,
    /// How it ended.
    pub status: StatusCode,
    /// What it gave. `None` leaves the key out, as Golioth's SDK does on failure.
    pub detail: Option<&'a Map<String, Value>>,
}

impl Reply<'_> {
    /// The payload, CBOR. The caller keeps it within one block: nothing here cuts it.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(64);
        let mut writer = Writer::new(&mut payload);
        writer.map(if self.detail.is_some() { 3 } else { 2 });
        writer.text("id");
        writer.text(self.id);
        if let Some(detail) = self.detail {
            writer.text("detail");
            document::write_map(&mut writer, detail);
        }
        writer.text("statusCode");
        writer.unsigned(self.status.code().into());
        payload
    }
}
