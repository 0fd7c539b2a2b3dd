//! The part of CBOR (RFC 8949) that the payloads need: [`Writer`] out, [`Reader`] in, and the one list of what can be
//! wrong with bytes that came in. Nothing here knows a payload.

mod reader;
mod writer;

pub(crate) use reader::Reader;
pub(crate) use writer::{Writer, half_bits, half_value, head_bytes};

/// What is wrong with one CBOR item. The error that carries it names the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end before the document does.
    #[error("the document is cut short")]
    Truncated,
    /// Not CBOR, or text that is not UTF-8.
    #[error("not well-formed CBOR")]
    Malformed,
    /// Well-formed, but of another type.
    #[error("expected {expected}")]
    WrongType {
        /// What belongs there.
        expected: &'static str,
    },
    /// More bytes or items than this field may have.
    #[error("longer than the {limit} allowed")]
    TooLong {
        /// The most allowed.
        limit: usize,
    },
    /// Too short to mean anything.
    #[error("empty")]
    Empty,
    /// A number this field cannot hold.
    #[error("number out of range")]
    OutOfRange,
    /// The right type, but not what the field may say.
    #[error("not a {expected}")]
    Invalid {
        /// What the text should have been.
        expected: &'static str,
    },
    /// A key twice in one map.
    #[error("given twice")]
    Twice,
    /// Bytes after the end of the document.
    #[error("bytes follow the end of the document")]
    Trailing,
}

/// A single value in a call's parameters or in a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Null, or CBOR's undefined.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A CBOR float, even where its value is whole.
    Float(f64),
    /// Text.
    Text(String),
    /// Something else, skipped: a list, a map, bytes, or a whole number beyond 64 bits signed. It is kept as a
    /// value so that the sender can be told, where an error would leave it without an answer.
    Unsupported,
}
