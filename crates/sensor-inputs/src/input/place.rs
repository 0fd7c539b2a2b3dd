//! Where in what is spoken a stream is found.

use super::Speech;
use crate::mapping::{Pointer, PointerRefused};

/// Longest name of a record or of a value in a sentence, in bytes.
const MOST_NAME: usize = 128;

/// One stream's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a JSON or CBOR document: `/sensors/0/t`.
    Pointer(Pointer),
    /// The value of a SenML record, by its whole name: `urn:dev:mac:0024befffe804ff1:temp`.
    Record(String),
    /// A value of an NMEA sentence: `GGA.altitude`, `XDR.TEMP`; with a talker that talker's only: `GPGGA.altitude`.
    Sentence {
        /// Two letters; `None` for any.
        talker: Option<String>,
        /// Three letters.
        kind: String,
        /// As [`crate::nmea::NamedValue`] has it.
        name: String,
    },
}

/// Why a text is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceRefused {
    /// Of a document.
    #[error(transparent)]
    Pointer(#[from] PointerRefused),
    /// No name that a record can have.
    #[error("a SenML name has 1 to {MOST_NAME} letters, digits and - : . / _")]
    Record,
    /// No value that a sentence can have.
    #[error("a value of a sentence is written with the sentence, as in GGA.altitude or GPGGA.altitude")]
    Sentence,
}

impl Place {
    /// Reads a place of what is spoken on a line.
    ///
    /// # Errors
    /// See [`PlaceRefused`].
    pub fn new(speech: &Speech, text: &str) -> Result<Self, PlaceRefused> {
        match speech {
            Speech::Json | Speech::CobsCbor(_) => Ok(Self::Pointer(Pointer::new(text)?)),
            Speech::Senml | Speech::CobsSenml(_) => record(text).ok_or(PlaceRefused::Record),
            Speech::Nmea { .. } => sentence(text).ok_or(PlaceRefused::Sentence),
            Speech::Application { .. } if text.starts_with('/') => Ok(Self::Pointer(Pointer::new(text)?)),
            Speech::Application { .. } => sentence(text).or_else(|| record(text)).ok_or(PlaceRefused::Record),
        }
    }
}

fn record(text: &str) -> Option<Place> {
    let is_name = (1..=MOST_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-:./_".contains(&byte));
    is_name.then(|| Place::Record(text.to_owned()))
}

fn sentence(text: &str) -> Option<Place> {
    let (address, name) = text.split_once('.')?;
    let (talker, kind) = match address.len() {
        3 => (None, address),
        5 => (address.get(..2).map(str::to_owned), address.get(2..)?),
        _ => return None,
    };
    let is_address = address.bytes().all(|byte| byte.is_ascii_uppercase());
    let fits = is_address && (1..=MOST_NAME).contains(&name.len());
    fits.then(|| Place::Sentence { talker, kind: kind.to_owned(), name: name.to_owned() })
}
