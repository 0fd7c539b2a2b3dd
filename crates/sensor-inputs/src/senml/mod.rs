//! SenML (RFC 8428) in JSON and CBOR: packs of records, resolved.
//!
//! A pack is an array of records; base fields carry forward to the records behind them. [`json`] and [`cbor`] hand over
//! [`Record`]s in which they are applied: the name is whole, base value and base sum are added, and the time is either
//! absolute or relative to when the pack was sent. Fields that are not known are passed over, unless their label ends
//! with `_`: those must be understood (4.4). Invariants: at most [`MOST_RECORDS`] records, names and texts of bounded
//! length, and a pack is taken whole or not at all.

mod cbor;
mod json;
mod resolve;

use crate::datum::Datum;

pub use cbor::cbor;
pub use json::json;

/// Most records in one pack.
pub const MOST_RECORDS: usize = 256;
/// Longest name, base name included, in bytes.
pub const MOST_NAME: usize = 128;
/// Longest text or data value, in bytes.
pub const MOST_VALUE: usize = 1_024;
/// Longest unit, in bytes.
pub const MOST_UNIT: usize = 32;

/// One measurement, with all base fields applied (4.6).
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Base name and name: letters, digits and `-:./_`, beginning with a letter or digit.
    pub name: String,
    /// As the device says it; see [`ucum`]. Empty when it says none.
    pub unit: String,
    /// `v`, `vb` or `vs`; [`Datum::Absent`] for a record with a sum alone. A data value (`vd`) is text in base64url, as
    /// JSON carries it, whatever it came in.
    pub value: Datum<'static>,
    /// The value added up over time, in the unit times seconds.
    pub sum: Option<f64>,
    /// When it was measured.
    pub time: Time,
    /// The next value comes after no more than this, in seconds.
    pub update_s: Option<f64>,
}

/// When something was measured (4.5.3). Seconds may have fractions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Time {
    /// So many seconds from when the pack was sent; negative is before, 0 is then.
    Relative(f64),
    /// Seconds since 1970-01-01T00:00Z, leap seconds not counted.
    Absolute(f64),
}

/// Times from this on are absolute, all below are relative.
pub const ABSOLUTE_FROM: f64 = 268_435_456.0;

/// Why a pack is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenmlError {
    /// The bytes are no JSON.
    #[error("it is not JSON")]
    NotJson,
    /// The bytes are no CBOR, or break off.
    #[error("it is not CBOR, or not all of it")]
    NotCbor,
    /// It is no array of maps.
    #[error("it is not a list of records")]
    NotAPack,
    /// More than [`MOST_RECORDS`].
    #[error("it has more than {MOST_RECORDS} records")]
    TooMany,
    /// A field has a value of the wrong type, too long, or not finite.
    #[error("record {record}: {label} is not what it should be")]
    Field {
        /// Counted from 1.
        record: usize,
        /// `bt`.
        label: &'static str,
    },
    /// A field that must be understood is not known here.
    #[error("record {record} has the field {label}, which must be understood and is not known here")]
    NotUnderstood {
        /// Counted from 1.
        record: usize,
        /// Its label, ending with `_`.
        label: String,
    },
    /// A name that is empty, too long, or has other characters than it may.
    #[error("record {record} has no name, or one that is not allowed")]
    Name {
        /// Counted from 1.
        record: usize,
    },
    /// A record with several values.
    #[error("record {record} has several values")]
    SeveralValues {
        /// Counted from 1.
        record: usize,
    },
    /// A version above 10, or two versions in one pack.
    #[error("record {record} is of a version that is not known here")]
    Version {
        /// Counted from 1.
        record: usize,
    },
}

/// The UCUM unit of a SenML unit (RFC 8428, 12.1, and the secondary units of RFC 8798), where the two differ; others are
/// the same in both.
#[must_use]
pub fn ucum(unit: &str) -> &str {
    match unit {
        "%RH" | "%EL" => "%",
        "/" => "1",
        "EL" => "s",
        "beat/min" => "/min",
        "beats" | "count" => "1",
        "lat" | "lon" => "deg",
        "VA" => "V.A",
        "kVA" => "kV.A",
        "var" => "V.A{reactive}",
        unit => unit,
    }
}

#[cfg(test)]
mod tests;
