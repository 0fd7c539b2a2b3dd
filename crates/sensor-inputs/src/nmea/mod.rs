//! NMEA 0183: sentences of positioning receivers and weather stations.
//!
//! Pure functions of one line. A [`Sentence`] is the frame: its checksum is right, or it has none and says so. A
//! [`Message`] is what it means; sentences this gateway does not decode, proprietary ones among them, are kept as they
//! are. An empty field is unknown, never zero. Units are in the names; what a sentence gives in knots or km/h comes out
//! in m/s.
//!
//! The words are those of IEC 61162-1 and of the receivers' interface descriptions (u-blox M8 and M10).

mod message;
mod places;
mod sentence;
mod values;

pub use message::{
    Dimension, FixQuality, Gga, Gll, Gns, Gsa, Gsv, Message, Mode, Mwv, Rmc, Unreadable, Vtg, Xdr, Zda,
};
pub use places::{Date, Position, TimeOfDay};
pub use sentence::{Sentence, SentenceError};
pub use values::NamedValue;

#[cfg(test)]
mod tests;
