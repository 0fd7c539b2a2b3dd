//! A sans-IO CoAP endpoint for one peer (RFC 7252), both roles, with Observe (RFC 7641) and block-wise transfer
//! (RFC 7959).
//!
//! The owner moves datagrams and time; the endpoint keeps the protocol. [`Endpoint`] never reads a clock, a socket or a
//! random source: the same [`Seed`] and the same calls give the same datagrams and events.

mod assembly;
mod block;
mod client;
mod code;
mod config;
mod congestion;
mod dedup;
mod endpoint;
mod event;
mod exchange;
mod fetch;
mod message;
mod message_id;
mod observe;
mod observers;
mod option;
mod random;
mod request;
mod server;
mod transfer;
mod translate;
mod wire;

pub use block::{BadBlock, Block, Szx};
pub use code::{Code, Method};
pub use config::{Config, Counters, Seed};
pub use endpoint::Endpoint;
pub use event::{
    Delivery, Event, ExchangeId, Failure, KeptObservation, NotificationId, ObservationEnd, ObservationId,
    ObserverGone, ObserverId, RequestId, SendError,
};
pub use fetch::{Fetch, FetchError, MOST_SETBACKS, Piece};
pub use message::Token;
pub use option::{format, number};
pub use request::{IncomingRequest, ObserveRequest, Request, Response};
