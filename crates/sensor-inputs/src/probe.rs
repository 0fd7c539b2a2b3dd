//! Finding out what speaks on a line, and at which settings.
//!
//! A state machine: [`Probe::step`] says what to do now, with the port set as it says; [`Probe::handle_bytes`] takes what
//! is heard meanwhile; [`Probe::handle_timeout`] goes on when [`Probe::poll_timeout`] has come. First it listens at each
//! usual bit rate, for a device that speaks by itself; then it asks for a register at each rate and parity, for a Modbus
//! slave. It is over with the first that is understood, or when all were tried. Invariants: it sends nothing but reads
//! of one holding register; what it keeps is bounded.
//!
//! Parity is not tried while listening: a driver hands over the eight data bits of a readable line whatever follows them.

use core::time::Duration;

use crate::cbor::cbor_document;
use crate::cobs::{Check, CobsFrames, CobsPiece};
use crate::document::json_document;
use crate::health::{Carries, Fault, LineHealth, Verdict};
use crate::line::{LinePiece, Lines};
use crate::modbus::{Expected, read_request};
use crate::nmea::Sentence;
use crate::senml;
use crate::spoken::Spoken;

/// How long each rate is listened to: longer than a receiver's or a station's usual pause.
const LISTEN: Duration = Duration::from_millis(2_500);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_millis(300);
/// Longest line or frame looked at, in bytes.
const MOST_MESSAGE: usize = 1_024;
/// Longest answer kept, in bytes.
const MOST_ANSWER: usize = 64;
/// So many messages are no accident. One sentence with its checksum is none either.
const ENOUGH: u32 = 2;

/// Rates in the order in which they are tried: what devices are delivered with first.
const BAUDS: [u32; 6] = [9_600, 115_200, 19_200, 4_800, 38_400, 57_600];
const PARITIES: [Parity; 3] = [Parity::None, Parity::Even, Parity::Odd];

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// Settings of a serial line; eight data bits, one stop bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bits per second.
    pub baud: u32,
    /// Its parity bit.
    pub parity: Parity,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Listen, with the port set so.
    Listen(Line),
    /// Throw away what was heard before, send this, and listen, with the port set so.
    Ask(Line, [u8; 8]),
    /// It is over.
    Done,
}

/// What speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// NMEA 0183.
    Nmea,
    /// A JSON object a line.
    Json,
    /// A list of SenML records in JSON a line.
    Senml,
    /// CBOR documents in COBS frames, with this checksum.
    Cobs(Check),
    /// AT answers or banners, and no messages.
    At,
    /// A Modbus slave with this unit.
    Modbus(u8),
}

/// What was heard at some settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The settings.
    pub line: Line,
    /// Who speaks, if that is understood.
    pub tongue: Option<Tongue>,
    /// What it sounds like as text.
    pub verdict: Verdict,
    /// Bytes heard.
    pub bytes: u64,
}

/// See the module head.
#[derive(Debug)]
pub struct Probe {
    units: Vec<u8>,
    /// Which of all steps is under way.
    at: usize,
    until: Duration,
    ear: Ear,
    findings: Vec<Finding>,
    done: bool,
}

impl Probe {
    /// Begins at `now`. `units` are the Modbus addresses that are asked; with none, nothing is ever sent.
    #[must_use]
    pub fn new(now: Duration, units: Vec<u8>) -> Self {
        Self { units, at: 0, until: now + LISTEN, ear: Ear::new(), findings: Vec::new(), done: false }
    }

    /// What to do until [`Self::poll_timeout`].
    #[must_use]
    pub fn step(&self) -> Step {
        if self.done {
            return Step::Done;
        }
        match self.asked() {
            None => Step::Listen(self.line()),
            Some(unit) => Step::Ask(self.line(), read_request(unit)),
        }
    }

    /// When to call [`Self::handle_timeout`]; `None` when it is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        (!self.done).then_some(self.until)
    }

    /// Takes what was heard.
    pub fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        if self.done {
            return;
        }
        let asked = self.asked();
        self.ear.hear(now, bytes, asked);
        if self.ear.tongue(asked).is_some_and(|tongue| tongue != Tongue::At) {
            self.conclude(now);
        }
    }

    /// Goes on to the next settings if the time for these is over.
    pub fn handle_timeout(&mut self, now: Duration) {
        if !self.done && now >= self.until {
            self.conclude(now);
        }
    }

    /// What was heard at all settings at which anything was, in the order they were tried.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The settings at which somebody is understood.
    #[must_use]
    pub fn answer(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.tongue.is_some())
    }

    /// The unit that is asked in this step.
    fn asked(&self) -> Option<u8> {
        let ask = self.at.checked_sub(BAUDS.len())?;
        self.units.get(ask % self.units.len().max(1)).copied()
    }

    fn line(&self) -> Line {
        let (baud, parity) = match self.at.checked_sub(BAUDS.len()) {
            None => (self.at, 0),
            Some(ask) => {
                let setting = ask / self.units.len().max(1);
                (setting / PARITIES.len(), setting % PARITIES.len())
            }
        };
        Line {
            baud: BAUDS.get(baud).copied().unwrap_or(9_600),
            parity: PARITIES.get(parity).copied().unwrap_or(Parity::None),
        }
    }

    fn conclude(&mut self, now: Duration) {
        let (asked, line) = (self.asked(), self.line());
        let tongue = self.ear.tongue(asked);
        let (verdict, bytes) = (self.ear.health.verdict(now), self.ear.health.tally().bytes);
        if bytes > 0 {
            self.findings.push(Finding { line, tongue, verdict, bytes });
        }
        self.at += 1;
        let steps = BAUDS.len() + BAUDS.len() * PARITIES.len() * self.units.len();
        self.done = tongue.is_some() || self.at >= steps;
        self.ear = Ear::new();
        self.until = now + if self.asked().is_some() { ANSWER } else { LISTEN };
    }
}

/// What was heard in one step.
#[derive(Debug)]
struct Ear {
    health: LineHealth,
    lines: Lines,
    frames: [(Check, CobsFrames, u32); 5],
    nmea: u32,
    json: u32,
    senml: u32,
    at: u32,
    answer: Vec<u8>,
}

impl Ear {
    fn new() -> Self {
        let checks = [Check::Crc32, Check::Crc32Little, Check::Crc16, Check::Crc16Little, Check::None];
        Self {
            health: LineHealth::new(Carries::Text, LISTEN * 2),
            lines: Lines::new(MOST_MESSAGE),
            frames: checks.map(|check| (check, CobsFrames::new(MOST_MESSAGE, check), 0)),
            nmea: 0,
            json: 0,
            senml: 0,
            at: 0,
            answer: Vec::new(),
        }
    }

    fn hear(&mut self, now: Duration, bytes: &[u8], asked: Option<u8>) {
        self.health.heard(now, bytes);
        if asked.is_some() {
            let room = MOST_ANSWER.saturating_sub(self.answer.len());
            self.answer.extend(bytes.iter().take(room));
            return;
        }
        let mut rest = bytes;
        while let Some(piece) = self.lines.next(&mut rest) {
            let LinePiece::Line(line) = piece else {
                self.health.fault(Fault::Overlong);
                continue;
            };
            let count = match Spoken::sort(line, "") {
                Spoken::Nmea(line) if Sentence::parse(line).is_ok_and(|found| found.is_checked()) => {
                    &mut self.nmea
                }
                Spoken::Json(line) if json_document(line).is_ok() => &mut self.json,
                Spoken::Senml(line) if senml::json(line).is_ok() => &mut self.senml,
                Spoken::At(line) if is_at(line) => &mut self.at,
                _ => {
                    self.health.fault(Fault::Foreign);
                    continue;
                }
            };
            *count += 1;
            self.health.good();
        }
        for (_, frames, good) in &mut self.frames {
            let mut rest = bytes;
            while let Some(piece) = frames.next(&mut rest) {
                if let CobsPiece::Frame(frame) = piece {
                    // A single number is what noise decodes to.
                    let is_document = cbor_document(frame).is_ok_and(|document| !document.is_number());
                    *good += u32::from(is_document && frame.len() > 4);
                }
            }
        }
    }

    fn tongue(&self, asked: Option<u8>) -> Option<Tongue> {
        if let Some(unit) = asked {
            let answered = Expected::to(unit, read_request(unit).get(1..6)?)?.find(&self.answer).is_some();
            return answered.then_some(Tongue::Modbus(unit));
        }
        let framed = self.frames.iter().find(|(_, _, good)| *good >= ENOUGH);
        if self.nmea > 0 {
            Some(Tongue::Nmea)
        } else if self.senml > 0 {
            Some(Tongue::Senml)
        } else if self.json >= ENOUGH {
            Some(Tongue::Json)
        } else if let Some((check, ..)) = framed {
            Some(Tongue::Cobs(*check))
        } else {
            (self.at > 0).then_some(Tongue::At)
        }
    }
}

/// A result code, or information of a command with a name: nothing that noise spells by accident.
fn is_at(line: &[u8]) -> bool {
    let is_name = |name: &[u8]| name.len() >= 4 && name.iter().all(u8::is_ascii_uppercase);
    match line {
        b"OK" | b"ERROR" | b"Ready" => true,
        [b'+' | b'%' | b'#', rest @ ..] => {
            rest.iter().position(|byte| *byte == b':').and_then(|end| rest.get(..end)).is_some_and(is_name)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
