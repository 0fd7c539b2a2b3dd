//! What sensors on a serial line say, from bytes to values with a meaning, as functions and small state machines.
//!
//! - Pieces: [`Lines`] and [`CobsFrames`] cut bytes into messages.
//! - Formats: [`nmea`], [`senml`], [`json_document`] and [`cbor_document`] with [`Mapping`]s of places to streams; [`Spoken`]
//!   tells an application's lines from the AT lines they share a wire with.
//! - A device that speaks by itself: [`Input`] is all of that as one state machine.
//! - A device that is asked: [`modbus`], the pure parts of it.
//! - What a number means: [`meaning`].
//! - A line as a whole: [`LineHealth`] says what it sounds like, [`Probe`] finds out who speaks on an unknown one.
//!
//! Nothing here opens a port, reads a clock or draws random numbers: bytes and `now` come in. `now` is a
//! [`core::time::Duration`] since an origin of the caller's choice that never goes back.
//!
//! Who owns the state: whoever owns the port owns its splitter and its [`LineHealth`]; whoever owns a stream owns its
//! deadband and its alarms.
//!
//! Invariants: nothing a wire carries is an error of the program: it becomes a value, or a fault that is counted and
//! named. Memory is bounded by what the constructors were given, whatever arrives.

mod cbor;
mod cobs;
mod datum;
mod document;
mod health;
mod input;
mod line;
mod mapping;
pub mod meaning;
pub mod modbus;
pub mod nmea;
mod probe;
pub mod senml;
mod spoken;
#[cfg(test)]
mod wire;

pub use cbor::{CborFault, cbor_document};
pub use cobs::{Check, CobsFrames, CobsPiece};
pub use datum::Datum;
pub use document::{DocumentFault, json_document};
pub use health::{Carries, Fault, LineHealth, Tally, Verdict};
pub use input::{Input, Place, PlaceRefused, Said, Speech, Unused};
pub use line::{LinePiece, Lines};
pub use mapping::{MOST_PATHS, Mapping, MappingRefused, Pointer, PointerRefused};
pub use probe::{Finding, Line, Parity, Probe, Step, Tongue};
pub use spoken::Spoken;
