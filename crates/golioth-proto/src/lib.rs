//! The words a gateway and Golioth exchange: paths, content formats and payloads of the device plane.
//!
//! Everything here is a pure function of its input: bytes in, typed values out, and back. There is no socket, clock,
//! randomness or state except the buffers of [`rows::RowsPacker`] and [`columns::ColumnsPacker`]. The transport (CoAP over DTLS) is another crate's;
//! this one never sees a message, only its path, its content format and its payload.
//!
//! | module | path | direction |
//! |---|---|---|
//! | [`manifest`] | `.u/desired` | cloud → gateway: what firmware is wanted |
//! | [`state_report`] | `.u/c/<package>` | gateway → cloud: what became of it |
//! | [`rpc`] | `.rpc`, `.rpc/status` | calls and their answers |
//! | [`settings`] | `.c`, `.c/status` | settings and what became of them |
//! | [`document`] | `.d/<path>` | LightDB State, both ways |
//! | [`network`] | `.s/<path>` | gateway → cloud: the serving cell |
//! | [`logs`] | `.s/logs` | gateway → cloud: log records |
//! | [`rows`] | `.s/<path>` | gateway → cloud: batches of readings, for stock pipelines |
//! | [`columns`] | `.s/<path>` | gateway → cloud: batches of readings, dense |
//!
//! Invariants: no input, however damaged, panics or allocates more than a small multiple of its own length ([`columns`]
//! has a bound of its own, since there a reading may take no bytes); every decoder takes definite and indefinite-length CBOR
//! (RFC 8949 §3.2) alike, because both are in use on this plane; every encoder writes definite lengths and the shortest heads, because bytes are paid for.

mod cbor;
pub mod columns;
pub mod content_format;
pub mod document;
pub mod logs;
pub mod manifest;
pub mod network;
pub mod paths;
pub mod probe;
pub mod rows;
pub mod rpc;
pub mod settings;
pub mod state_report;

pub use cbor::{Fault, Scalar};
