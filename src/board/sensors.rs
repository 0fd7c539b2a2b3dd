//! Facts about slaves and what they last said.

use crate::clock::Mono;
use crate::reading::{Quality, Value};

/// How a bus slave does.
#[derive(Clone, Debug, PartialEq)]
pub struct SlaveState {
    /// The bus.
    pub bus: String,
    /// In words: `answering`, `silent for 40 s, asked again in 8 s`.
    pub words: String,
    /// It answered the last time it was asked.
    pub answering: bool,
    /// Answers since start.
    pub answers: u64,
    /// Polls without a usable answer since start.
    pub failures: u64,
    /// The last time it answered.
    pub last_answer: Option<Mono>,
    /// What it refuses to tell, if anything: it answered, so the wiring is not at fault.
    pub refusal: Option<SlaveRefusal>,
}

/// A read that a slave answers with an exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlaveRefusal {
    /// The streams that are missing for it: the first, and how many more.
    pub streams: String,
    /// What was asked: `holding registers 10 to 11`.
    pub asked: String,
    /// The exception (Modbus Application Protocol V1.1b3, section 7).
    pub exception: u8,
    /// What the exception means: `it has no such address`.
    pub why: &'static str,
}

impl SlaveRefusal {
    /// As what a slave does: `refuses holding register 10 (pump.speed): it has no such address (exception 2)`.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { streams, asked, exception, why } = self;
        format!("refuses {asked} ({streams}): {why} (exception {exception})")
    }
}

/// The newest value of a stream, for display.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// The device it belongs to.
    pub device: String,
    /// As captured; a `Steps` value is already multiplied out.
    pub value: Value,
    /// For a stream with a resolution, how many decimals mean something.
    pub decimals: u8,
    /// How far to believe it.
    pub quality: Quality,
    /// UCUM unit.
    pub unit: String,
}
