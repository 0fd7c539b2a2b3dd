//! A device that speaks by itself: bytes of its line in, values of its streams out.
//!
//! An [`Input`] is a splitter, a format and the places of the streams, with one [`LineHealth`] over all of it. It belongs to
//! whoever owns the port. What it hears it hands over at once, message by message, each closed with [`Said::End`]: the
//! values of one message were said at one instant. Invariants: nothing that is heard is an error; every piece of it is
//! counted once, as a message or as a fault; a stream of which a message says nothing is not mentioned.

use core::time::Duration;
use std::borrow::Cow;

use crate::cbor::cbor_document;
use crate::cobs::{Check, CobsFrames, CobsPiece};
use crate::datum::Datum;
use crate::document::{DocumentFault, json_document};
use crate::health::{Carries, Fault, LineHealth};
use crate::line::{LinePiece, Lines};
use crate::mapping::{Mapping, MappingRefused, Pointer};
use crate::nmea::{Message, Sentence, SentenceError};
use crate::senml::{self, Record, SenmlError, Time};
use crate::spoken::Spoken;

mod place;

pub use place::{Place, PlaceRefused};

/// Longest line or frame, in bytes.
const MOST_MESSAGE: usize = 4_096;

/// What is spoken on a line, and how its messages are framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speech {
    /// A JSON object a line.
    Json,
    /// A list of SenML records in JSON a line.
    Senml,
    /// NMEA 0183.
    Nmea {
        /// Sentences without a checksum are taken as well.
        unchecked: bool,
    },
    /// CBOR documents in COBS frames.
    CobsCbor(Check),
    /// SenML in CBOR in COBS frames.
    CobsSenml(Check),
    /// A board's own application: any of the three line formats, told apart by their first characters ([`Spoken`]).
    Application {
        /// The word before each of its lines; empty for none.
        mark: String,
    },
}

/// What is handed over.
#[derive(Clone, Debug, PartialEq)]
pub enum Said<'a> {
    /// A value of a stream.
    Value {
        /// Its position among the places that were given.
        stream: usize,
        /// What was said.
        datum: Datum<'a>,
        /// The unit that the device gave with it, in UCUM where that is known; empty for none.
        unit: Cow<'a, str>,
        /// When it was measured, as the device says; `Relative(0.0)` for now.
        time: Time,
    },
    /// The time in UTC that the device has from satellites: milliseconds since 1970, as the message began.
    Clock(i64),
    /// The message is over.
    End,
}

/// What was heard but is no stream's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unused {
    /// Messages in which no stream was found.
    pub messages: u64,
    /// Times an object or a list stood where a stream was to be found.
    pub not_values: u64,
}

/// See the module head.
#[derive(Debug)]
pub struct Input {
    speech: Speech,
    pieces: Pieces,
    streams: Streams,
    health: LineHealth,
    unused: Unused,
}

#[derive(Debug)]
enum Pieces {
    Lines(Lines),
    Frames(CobsFrames),
}

/// The places by their kind; the positions of pointers in the whole list beside them.
#[derive(Debug)]
struct Streams {
    mapping: Mapping,
    pointers: Vec<usize>,
    places: Vec<Place>,
}

impl Input {
    /// A line of which nothing was heard yet. Stream `n` is at `places[n]`. After `silent_after` without a byte the line is
    /// called silent.
    ///
    /// # Errors
    /// When there are too many places, or two are the same.
    pub fn new(speech: Speech, places: Vec<Place>, silent_after: Duration) -> Result<Self, MappingRefused> {
        if places.len() > crate::mapping::MOST_PATHS {
            return Err(MappingRefused::TooMany(places.len()));
        }
        for (second, place) in places.iter().enumerate() {
            if let Some(first) = places.iter().take(second).position(|other| other == place) {
                return Err(MappingRefused::Twice(first, second));
            }
        }
        let (pieces, carries) = match speech {
            Speech::CobsCbor(check) | Speech::CobsSenml(check) => {
                (Pieces::Frames(CobsFrames::new(MOST_MESSAGE, check)), Carries::Frames)
            }
            _ => (Pieces::Lines(Lines::new(MOST_MESSAGE)), Carries::Text),
        };
        let streams = Streams::new(places)?;
        let health = LineHealth::new(carries, silent_after);
        Ok(Self { speech, pieces, streams, health, unused: Unused::default() })
    }

    /// Takes what was heard, and hands over what it says.
    pub fn handle_bytes(&mut self, now: Duration, bytes: &[u8], put: &mut dyn FnMut(Said<'_>)) {
        self.health.heard(now, bytes);
        let mut rest = bytes;
        let Self { speech, pieces, streams, health, unused } = self;
        match pieces {
            Pieces::Lines(lines) => {
                while let Some(piece) = lines.next(&mut rest) {
                    match piece {
                        LinePiece::Line(line) => settle(streams.take(speech, line, put), health, unused),
                        LinePiece::Overlong => health.fault(Fault::Overlong),
                    }
                }
            }
            Pieces::Frames(frames) => {
                while let Some(piece) = frames.next(&mut rest) {
                    match piece {
                        CobsPiece::Frame(frame) => settle(streams.take(speech, frame, put), health, unused),
                        CobsPiece::Cut => health.fault(Fault::Cut),
                        CobsPiece::Checksum => health.fault(Fault::Checksum),
                        CobsPiece::Overlong => health.fault(Fault::Overlong),
                    }
                }
            }
        }
    }

    /// Takes one line that somebody else has cut off, such as the owner of a port that the device shares with AT; without
    /// its end. The bytes count as heard.
    pub fn handle_line(&mut self, now: Duration, line: &[u8], put: &mut dyn FnMut(Said<'_>)) {
        self.health.heard(now, line);
        settle(self.streams.take(&self.speech, line, put), &mut self.health, &mut self.unused);
    }

    /// The port was opened again: an unfinished message is counted as cut.
    pub fn reopened(&mut self) {
        let was_cut = match &mut self.pieces {
            Pieces::Lines(lines) => lines.forget(),
            Pieces::Frames(frames) => frames.forget(),
        };
        if was_cut {
            self.health.fault(Fault::Cut);
        }
    }

    /// What the line sounds like.
    #[must_use]
    pub fn health(&self) -> &LineHealth {
        &self.health
    }

    /// What was heard but is no stream's.
    #[must_use]
    pub fn unused(&self) -> Unused {
        self.unused
    }
}

/// What became of a piece.
enum Outcome {
    /// A message: values found, and places that held none.
    Message { values: usize, not_values: usize },
    /// None.
    Fault(Fault),
    /// Not for us, and nobody's fault: a log line.
    PassedOver,
}

fn settle(outcome: Outcome, health: &mut LineHealth, unused: &mut Unused) {
    match outcome {
        Outcome::Message { values, not_values } => {
            health.good();
            unused.messages = unused.messages.saturating_add(u64::from(values == 0));
            unused.not_values = unused.not_values.saturating_add(not_values as u64);
        }
        Outcome::Fault(fault) => health.fault(fault),
        Outcome::PassedOver => {}
    }
}

impl Streams {
    fn new(places: Vec<Place>) -> Result<Self, MappingRefused> {
        let pointer = |(stream, place): (usize, &Place)| match place {
            Place::Pointer(pointer) => Some((stream, pointer.clone())),
            _ => None,
        };
        let (pointers, paths): (Vec<usize>, Vec<Pointer>) =
            places.iter().enumerate().filter_map(pointer).unzip();
        Ok(Self { mapping: Mapping::new(paths)?, pointers, places })
    }

    fn take(&self, speech: &Speech, piece: &[u8], put: &mut dyn FnMut(Said<'_>)) -> Outcome {
        match speech {
            Speech::Json => self.json(piece, put),
            Speech::Senml => self.pack(senml::json(piece), put),
            Speech::Nmea { unchecked } => self.sentence(piece, *unchecked, put),
            Speech::CobsCbor(_) => match cbor_document(piece) {
                Ok(document) => self.document(&document, put),
                Err(_) => Outcome::Fault(Fault::Malformed),
            },
            Speech::CobsSenml(_) => self.pack(senml::cbor(piece), put),
            Speech::Application { mark } => match Spoken::sort(piece, mark) {
                Spoken::Json(line) => self.json(line, put),
                Spoken::Senml(line) => self.pack(senml::json(line), put),
                Spoken::Nmea(line) => self.sentence(line, false, put),
                Spoken::Log(_) => Outcome::PassedOver,
                Spoken::At(_) => Outcome::Fault(Fault::Foreign),
            },
        }
    }

    fn json(&self, line: &[u8], put: &mut dyn FnMut(Said<'_>)) -> Outcome {
        match json_document(line) {
            Ok(document) => self.document(&document, put),
            Err(DocumentFault::NoObject) => Outcome::Fault(Fault::Foreign),
            Err(DocumentFault::Malformed) => Outcome::Fault(Fault::Malformed),
        }
    }

    fn document(&self, document: &serde_json::Value, put: &mut dyn FnMut(Said<'_>)) -> Outcome {
        let mut values = 0;
        let not_values = self.mapping.apply(document, &mut |pointer, datum| {
            let Some(&stream) = self.pointers.get(pointer) else { return };
            values += 1;
            put(Said::Value { stream, datum, unit: "".into(), time: Time::Relative(0.0) });
        });
        put(Said::End);
        Outcome::Message { values, not_values }
    }

    fn pack(&self, pack: Result<Vec<Record>, SenmlError>, put: &mut dyn FnMut(Said<'_>)) -> Outcome {
        let records = match pack {
            Ok(records) => records,
            Err(SenmlError::NotJson | SenmlError::NotAPack) => return Outcome::Fault(Fault::Foreign),
            Err(_) => return Outcome::Fault(Fault::Malformed),
        };
        let mut values = 0;
        for Record { name, unit, value, time, .. } in records {
            let is_it = |place: &Place| matches!(place, Place::Record(wanted) if *wanted == name);
            let Some(stream) = self.places.iter().position(is_it) else { continue };
            values += 1;
            put(Said::Value { stream, datum: value, unit: senml::ucum(&unit).into(), time });
        }
        put(Said::End);
        Outcome::Message { values, not_values: 0 }
    }

    fn sentence(&self, line: &[u8], unchecked: bool, put: &mut dyn FnMut(Said<'_>)) -> Outcome {
        let sentence = match Sentence::parse(line) {
            Ok(sentence) if unchecked || sentence.is_checked() => sentence,
            Ok(_) | Err(SentenceError::NoChecksum | SentenceError::Malformed) => {
                return Outcome::Fault(Fault::Malformed);
            }
            Err(SentenceError::NoStart) => return Outcome::Fault(Fault::Foreign),
            Err(SentenceError::TooLong(_)) => return Outcome::Fault(Fault::Overlong),
            Err(SentenceError::Checksum { .. }) => return Outcome::Fault(Fault::Checksum),
        };
        let Ok(message) = Message::read(sentence) else { return Outcome::Fault(Fault::Malformed) };
        let mut values = 0;
        if let Some(unix_ms) = message.unix_ms() {
            put(Said::Clock(unix_ms));
            values += 1;
        }
        message.values(&mut |value| {
            let is_it = |place: &Place| match place {
                Place::Sentence { talker, kind, name } => {
                    *name == value.name
                        && kind == sentence.kind()
                        && talker.as_ref().is_none_or(|talker| talker == sentence.talker())
                }
                _ => false,
            };
            let Some(stream) = self.places.iter().position(is_it) else { return };
            values += 1;
            put(Said::Value { stream, datum: value.datum, unit: value.unit, time: Time::Relative(0.0) });
        });
        put(Said::End);
        Outcome::Message { values, not_values: 0 }
    }
}

#[cfg(test)]
mod tests;
