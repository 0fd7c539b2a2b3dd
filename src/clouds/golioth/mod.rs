//! Golioth over CoAP and DTLS 1.2 (requirement D6).
//!
//! [`link`] is the handle the drain holds; [`session`] is the lane that connects and connects again; `live` is one session:
//! socket, DTLS and CoAP; `fetch` is a download in it. [`pack`] makes message bodies, [`outcome`] reads answers, [`pace`] keeps the
//! request limit and shares it, `refresh` says when to give a sign of life and `tighten` how much sooner it may, `announced` what the
//! control document says of the rest, `services` knows paths and bodies, `fault` gives what goes wrong its name and next step; these
//! are pure. [`looks`] keeps when the rest was last looked at. [`rest`] is the management plane: the
//! gateway's own record, where a key allows it.
//!
//! `credential` makes of the configuration what DTLS takes; `renewal` is the gateway's own certificate and its successor; [`kept`] is a session between two runs, `modem` whether it still has the
//! modem that it was kept with. `delivery` stands between the
//! drain and the link where a management key tells whether what was acknowledged was also kept.
//!
//! [`probe`] finds out, when asked, where the way of the readings ends.
//!
//! A session outlives silence: with a Connection ID the cloud knows us behind any address, so a timeout is answered with a
//! repetition, not with a handshake. Only a path that stays dead while something is to be sent ends in one.

mod announced;
mod credential;
pub mod delivery;
mod fault;
mod fetch;
pub mod kept;
pub mod link;
mod live;
pub mod looks;
mod modem;
pub mod outcome;
pub mod pace;
pub mod pack;
pub mod probe;
mod refresh;
mod renewal;
pub mod rest;
mod services;
pub mod session;
mod tighten;
