//! Golioth over CoAP and DTLS 1.2 (requirement D6).
//!
//! [`link`] is the handle the drain holds; [`session`] is the lane that keeps one DTLS session and one CoAP endpoint over it
//! and owns the socket. [`pack`] makes message bodies, [`outcome`] reads answers, [`pace`] keeps the request limit; these
//! three are pure. [`rest`] is the management plane: the gateway's own record, where a key allows it.
//!
//! A session outlives silence: with a Connection ID the cloud knows us behind any address, so a timeout is answered with a
//! repetition, not with a handshake. Only a path that stays dead while something is to be sent ends in one.

pub mod link;
pub mod outcome;
pub mod pace;
pub mod pack;
pub mod rest;
pub mod session;
