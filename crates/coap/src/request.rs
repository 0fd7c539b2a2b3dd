//! Requests and responses as the application sees them, and their translation to and from options.
//!
//! Paths, formats and codes stay raw: no registry of media types lives here. Translation from the wire decides which
//! unknown options may be skipped and which condemn the message (RFC 7252 §5.4.1, §5.4.3, §5.4.5).

use core::time::Duration;

use crate::block::{Block, Szx};
use crate::code::{Code, Method};
use crate::event::ExchangeId;
use crate::message::Token;

/// A request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Uri-Path segments, at most 255 bytes each. None is legal.
    pub path: Vec<String>,
    /// Uri-Query items, at most 255 bytes each.
    pub query: Vec<String>,
    /// Content-Format of the payload.
    pub content_format: Option<u16>,
    /// Accept.
    pub accept: Option<u16>,
    /// The whole body; beyond one block it travels in Block1 blocks.
    pub payload: Vec<u8>,
    /// Whether the message is Confirmable.
    pub confirmable: bool,
    /// Whether it goes before everything that waits, and may be one more in flight than the window allows.
    pub urgent: bool,
    /// Of an observation: whether each notification is an event of its own, not the newest state. Then one that was overtaken on
    /// the way, or that overtook the answer to the registration, is handed over too (RFC 7641 section 3.4 orders states); copies
    /// are still dropped by their message id.
    pub events: bool,
    /// Overall limit from submission to outcome, waiting in the queue included.
    pub deadline: Option<Duration>,
    /// Ask for the answer in blocks of this size from the first request on (early negotiation).
    pub block2: Option<Szx>,
    /// Largest answer assembled, in bytes; `None` for the endpoint's `max_body`.
    pub max_body: Option<usize>,
}

impl Request {
    /// A confirmable request. `path` is split at `/`; empty segments are dropped.
    #[must_use]
    pub fn new(method: Method, path: &str) -> Request {
        Request {
            method,
            path: path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect(),
            query: Vec::new(),
            content_format: None,
            accept: None,
            payload: Vec::new(),
            confirmable: true,
            urgent: false,
            events: false,
            deadline: None,
            block2: None,
            max_body: None,
        }
    }

    /// A confirmable GET.
    #[must_use]
    pub fn get(path: &str) -> Request {
        Request::new(Method::Get, path)
    }

    /// A confirmable POST.
    #[must_use]
    pub fn post(path: &str) -> Request {
        Request::new(Method::Post, path)
    }

    /// A confirmable PUT.
    #[must_use]
    pub fn put(path: &str) -> Request {
        Request::new(Method::Put, path)
    }

    /// A confirmable DELETE.
    #[must_use]
    pub fn delete(path: &str) -> Request {
        Request::new(Method::Delete, path)
    }

    /// Sets the body and its Content-Format.
    #[must_use]
    pub fn payload(mut self, content_format: u16, payload: impl Into<Vec<u8>>) -> Request {
        self.content_format = Some(content_format);
        self.payload = payload.into();
        self
    }

    /// Has it go before everything that waits.
    #[must_use]
    pub fn urgent(mut self, urgent: bool) -> Request {
        self.urgent = urgent;
        self
    }

    /// Has an observation of it hand over every notification.
    #[must_use]
    pub fn events(mut self, events: bool) -> Request {
        self.events = events;
        self
    }

    /// Sets Accept.
    #[must_use]
    pub fn accept(mut self, content_format: u16) -> Request {
        self.accept = Some(content_format);
        self
    }

    /// Adds one Uri-Query item.
    #[must_use]
    pub fn query(mut self, item: &str) -> Request {
        self.query.push(item.to_owned());
        self
    }

    /// Sends it Non-confirmable: never retransmitted.
    #[must_use]
    pub fn non_confirmable(mut self) -> Request {
        self.confirmable = false;
        self
    }

    /// Limits the time from submission to outcome.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> Request {
        self.deadline = Some(limit);
        self
    }

    /// Asks for the answer in blocks of this size, from block 0, and caps the assembled answer at `max_body` bytes.
    #[must_use]
    pub fn assemble(mut self, size: Szx, max_body: usize) -> Request {
        self.block2 = Some(size);
        self.max_body = Some(max_body);
        self
    }
}

/// A response, received or to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Response code.
    pub code: Code,
    /// Content-Format of the payload.
    pub content_format: Option<u16>,
    /// Max-Age in seconds (60 when absent, RFC 7252 §5.10.5).
    pub max_age: Option<u32>,
    /// ETag, 1 to 8 bytes.
    pub etag: Option<Vec<u8>>,
    /// Location-Path segments.
    pub location_path: Vec<String>,
    /// Observe value. Received only: what is sent is numbered by the endpoint.
    pub observe: Option<u32>,
    /// Block1. Received: what the peer said. Sent: leave `None`, the endpoint echoes.
    pub block1: Option<Block>,
    /// Block2. Received: the block of a single-block request; `None` once assembled. Sent: `None` lets the endpoint cut
    /// the payload; `Some` says the payload is this one block already.
    pub block2: Option<Block>,
    /// Size1: the largest request body the peer takes, in a 4.13.
    pub size1: Option<u32>,
    /// Size2: the size of the whole answer body.
    pub size2: Option<u32>,
    /// Body, or one block of it.
    pub payload: Vec<u8>,
}

impl Response {
    /// A response without a body.
    #[must_use]
    pub fn new(code: Code) -> Response {
        Response {
            code,
            content_format: None,
            max_age: None,
            etag: None,
            location_path: Vec::new(),
            observe: None,
            block1: None,
            block2: None,
            size1: None,
            size2: None,
            payload: Vec::new(),
        }
    }

    /// A 2.05 with a body.
    #[must_use]
    pub fn content(content_format: u16, payload: impl Into<Vec<u8>>) -> Response {
        Response::new(Code::CONTENT).payload(content_format, payload)
    }

    /// The one block of `body` that was asked for, so that a large body need not be copied whole for every block:
    /// a 2.05 with Block2 and Size2, or 4.00 when the block lies beyond the end.
    #[must_use]
    pub fn content_block(content_format: u16, body: &[u8], wanted: Block) -> Response {
        match wanted.cut(body) {
            Some((block, part)) => Response {
                block2: Some(block),
                size2: u32::try_from(body.len()).ok(),
                ..Response::content(content_format, part)
            },
            None => Response::new(Code::BAD_REQUEST),
        }
    }

    /// Sets the body and its Content-Format.
    #[must_use]
    pub fn payload(mut self, content_format: u16, payload: impl Into<Vec<u8>>) -> Response {
        self.content_format = Some(content_format);
        self.payload = payload.into();
        self
    }

    /// Sets Max-Age, in seconds.
    #[must_use]
    pub fn max_age(mut self, seconds: u32) -> Response {
        self.max_age = Some(seconds);
        self
    }

    /// Sets the ETag; one longer than 8 bytes makes the response impossible to send.
    #[must_use]
    pub fn etag(mut self, etag: impl Into<Vec<u8>>) -> Response {
        self.etag = Some(etag.into());
        self
    }
}

/// What a GET says about observing (RFC 7641 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObserveRequest {
    /// Observe = 0.
    Register,
    /// Observe = 1. The observer is already gone when the application sees this; answer as a plain GET.
    Deregister,
}

/// A request received, whole: a block-wise upload is seen once, assembled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingRequest {
    /// Names the request when it is answered.
    pub exchange: ExchangeId,
    /// The client's token; the same token re-registers the same observation.
    pub token: Token,
    /// Whether it was Confirmable.
    pub confirmable: bool,
    /// Method.
    pub method: Method,
    /// Uri-Path segments as received, empty ones included.
    pub path: Vec<String>,
    /// Uri-Query items.
    pub query: Vec<String>,
    /// Content-Format.
    pub content_format: Option<u16>,
    /// Accept.
    pub accept: Option<u16>,
    /// Observe.
    pub observe: Option<ObserveRequest>,
    /// The block of the answer that is wanted. The endpoint cuts a whole body by itself; see
    /// [`Response::content_block`] to cut a large one in place.
    pub block2: Option<Block>,
    /// Body.
    pub payload: Vec<u8>,
}
