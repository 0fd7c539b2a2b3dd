//! DTLS 1.2 sessions (RFC 6347) with pre-shared keys or certificates, and Connection IDs (RFC 9146), both roles, as pure state
//! machines over Mbed TLS.
//!
//! - [`Session`] is one association with one peer, client or server.
//! - [`Server`] is many server sessions behind one socket: cookies, lookup by address and by Connection ID, moves, bounds.
//! - [`ClientConfig`], [`ServerConfig`], [`Psk`], [`Identity`], [`Roots`] say with whom and how; [`Event`] and [`CloseReason`] say
//!   what became of it, [`Refusal`] who refused whom and why.
//! - [`CertificationRequest`] asks for another certificate in place of an [`Identity`]'s.
//! - [`SavedSession`] takes a session across a restart; [`seal`] encrypts what is kept on disk.
//!
//! Nothing here reads a clock, a socket or a random source. A caller passes `now`, a [`core::time::Duration`] since an
//! origin of its choice that never goes back, and gives each session a random source when it is made; the same inputs give
//! the same bytes. The vocabulary is that of every core in this workspace: `handle_datagram`, `handle_timeout`,
//! `poll_transmit`, `poll_event`, and `poll_timeout`, which answers an *absolute* time on the caller's scale. After any
//! call that takes `now`, drain `poll_transmit` and `poll_event` until they answer `None`.
//!
//! Unsafe code lives in the private `ffi` module only: it is the one place that calls Mbed TLS, under one process-wide lock,
//! because the library's notion of time is process-wide. Callbacks given to this crate (the random source, the key
//! lookup) run under that lock and must not call into another session.

mod alert;
mod certificate;
mod config;
mod event;
mod explain;
mod ffi;
mod record;
mod request;
mod saved;
mod seal;
mod server;
mod session;

pub use alert::Alert;
pub use certificate::{CertificateError, CertificateProblem, Identity, Roots, Subject, WallTime};
pub use config::{
    CipherSuite, ClientConfig, ConfigError, Credential, Psk, PskKey, PskLookup, Rng, ServerCertificate,
    ServerConfig,
};
pub use event::{CloseReason, Connection, Counters, Event, Refusal, SendError};
pub use explain::LibraryError;
pub use request::CertificationRequest;
pub use saved::{RestoreError, SaveError, SaveRefused, SavedSession};
pub use seal::{seal, unseal};
pub use server::{Server, ServerCounters, ServerEvent, SessionId};
pub use session::Session;
