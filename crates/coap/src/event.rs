//! What an endpoint tells its owner: names of things in progress, events, refusals.

use core::time::Duration;

use crate::code::Code;
use crate::message::Token;
use crate::request::{IncomingRequest, Request, Response};

/// A request or ping we sent. Never reused within an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

/// An observation we hold as a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObservationId(pub(crate) u64);

/// What of an observation outlives its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptObservation {
    /// What is observed.
    pub request: Request,
    /// Under which token notifications come.
    pub token: Token,
    /// The Observe value of the newest one taken.
    pub newest: Option<u32>,
}

/// A request we received and owe an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub(crate) u64);

/// A client observing one of our resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObserverId(pub(crate) u64);

/// A notification we sent or queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId(pub(crate) u64);

/// What happened. Every request and ping ends in exactly one `Response`, `Pong` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request was answered, with any code: a 4.xx is an answer.
    Response {
        /// Which request.
        id: RequestId,
        /// The answer; block-wise ones are whole.
        response: Response,
        /// Copies sent beyond the first of each message.
        retransmissions: u32,
        /// From the first transmission of the first message to the last response.
        round_trip: Duration,
    },
    /// A request or ping got no usable answer.
    Failed {
        /// Which request.
        id: RequestId,
        /// Why.
        why: Failure,
        /// Copies sent beyond the first of each message.
        retransmissions: u32,
    },
    /// A ping was answered.
    Pong {
        /// Which ping.
        id: RequestId,
        /// Copies sent beyond the first.
        retransmissions: u32,
        /// From the first transmission to the answer.
        round_trip: Duration,
    },
    /// An observed resource has this state now; the answer to a registration included. Never older than one before.
    Notification {
        /// Which observation.
        observation: ObservationId,
        /// The state.
        response: Response,
    },
    /// A block-wise notification could not be fetched whole; the observation goes on.
    NotificationLost {
        /// Which observation.
        observation: ObservationId,
        /// Why the rest did not come.
        why: Failure,
    },
    /// An observation is no longer registered at the server. Unless `Cancelled` it keeps its place and its token until
    /// it is registered again or forgotten.
    ObservationEnded {
        /// Which observation.
        observation: ObservationId,
        /// Why.
        why: ObservationEnd,
    },
    /// A peer asks for something; owe it one answer.
    Request(IncomingRequest),
    /// A confirmable notification was acknowledged.
    NotificationDelivered {
        /// To whom.
        observer: ObserverId,
        /// Which notification.
        notification: NotificationId,
    },
    /// An observer is gone, and with it its queued notifications.
    ObserverGone {
        /// Which observer.
        observer: ObserverId,
        /// Why.
        why: ObserverGone,
    },
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Failure {
    /// Retransmissions, or the wait for a response, ran out. The peer may have acted on the request.
    #[error("no answer in time; the peer may or may not have acted on it: send the same again")]
    Timeout,
    /// The request's own deadline passed. The peer may have acted on it.
    #[error("the request's deadline passed; the peer may or may not have acted on it")]
    DeadlineExceeded,
    /// The peer rejected the message.
    #[error("the peer reset the message; it does not take this kind of request")]
    Reset,
    /// Cancelled by its owner.
    #[error("the request was cancelled here")]
    Cancelled,
    /// The session was replaced. The peer may have acted on it.
    #[error("the session ended first; the peer may or may not have acted on it: send the same again")]
    SessionLost,
    /// The answer cannot be used: an unknown critical option, or blocks that contradict each other.
    #[error("the peer's answer breaks the protocol; it cannot be used")]
    BadResponse,
    /// The answer is longer than the cap.
    #[error("the answer is longer than the configured limit")]
    BodyTooLarge,
    /// The resource changed between two of its blocks: fetch it again.
    #[error("the resource changed while it was being fetched: fetch it again")]
    BodyChanged,
}

/// Why an observation is not registered any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservationEnd {
    /// The server answered other than 2.xx, at registration or later.
    Rejected(Response),
    /// The server answered 2.xx but does not offer observing; the answer came as a notification.
    NotObservable,
    /// The registration failed.
    Failed(Failure),
    /// Cancelled by its owner; forgotten.
    Cancelled,
}

/// Why an observer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObserverGone {
    /// It reset a notification.
    Reset,
    /// It asked to be removed.
    Deregistered,
    /// A confirmable notification was not acknowledged.
    Timeout,
    /// The session was replaced.
    SessionLost,
}

/// Why something was not taken for sending. Nothing was sent and no event follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too many are open already.
    #[error("too many requests are open ({limit}); wait for one to end")]
    Full {
        /// The bound that was met.
        limit: usize,
    },
    /// A path segment, query item or ETag is longer than its option may be.
    #[error("option {number} is {len} bytes; its limit is {limit}")]
    OptionTooLong {
        /// Option number.
        number: u16,
        /// Its length in bytes.
        len: usize,
        /// The longest legal value.
        limit: usize,
    },
    /// One message would not fit a datagram.
    #[error("the message needs {len} bytes and a datagram holds {limit}; send less at once")]
    TooLarge {
        /// Needed, in bytes.
        len: usize,
        /// Available, in bytes.
        limit: usize,
    },
    /// The body needs more than 2^20 blocks.
    #[error("the body is too long for block-wise transfer at this block size")]
    TooManyBlocks,
    /// The code of an answer is not 2.xx, 4.xx or 5.xx.
    #[error("{0} is not a response code")]
    NotAResponse(Code),
    /// The name is unknown: ended, forgotten or of an earlier session.
    #[error("it is not open any more")]
    Unknown,
    /// Only GET and FETCH can observe.
    #[error("only GET and FETCH can observe a resource")]
    NotObservable,
    /// The client did not ask to observe, or the answer is not 2.xx.
    #[error("the client did not ask to observe, or the answer is an error")]
    NotAnObserver,
    /// All 65536 message ids were used within their lifetime; try again later.
    #[error("every message id was used within its lifetime; wait before sending more")]
    MessageIdsExhausted,
}

/// How a notification travels (RFC 7641 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Non-confirmable: sent once, at once; replaces a `Latest` that still waits. It may overtake a Confirmable one on
    /// its way, which the client then takes for old: do not mix it with `Every` where each event counts.
    NonConfirmable,
    /// Confirmable; one that still waits is replaced by a newer `Latest`: the state now is what counts.
    Latest,
    /// Confirmable, in order, none replaced: each one is an event of its own, such as a call.
    Every,
}
