//! Reads CBOR in either length style, bounded, and says what was wrong in terms of [`Fault`].

use std::borrow::Cow;

use minicbor::Decoder;
use minicbor::data::Type;

use super::{Fault, Scalar};

/// A document being read. Every method either consumes exactly one item or fails; after a failure the position is
/// meaningless and the reader is to be dropped.
pub(crate) struct Reader<'b> {
    decoder: Decoder<'b>,
}

/// What is left of a map or an array. Owns no borrow of the reader, so that items can be read between calls.
pub(crate) struct Items {
    /// `None`: of indefinite length, ended by a break.
    left: Option<u64>,
}

impl Items {
    /// Whether another item (in a map: another pair) follows.
    pub(crate) fn another(&mut self, reader: &mut Reader<'_>) -> Result<bool, Fault> {
        match &mut self.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None => {
                if reader.kind()? != Type::Break {
                    return Ok(true);
                }
                reader.decoder.set_position(reader.decoder.position().saturating_add(1));
                self.left = Some(0);
                Ok(false)
            }
        }
    }
}

impl<'b> Reader<'b> {
    pub(crate) fn new(document: &'b [u8]) -> Self {
        Self { decoder: Decoder::new(document) }
    }

    /// The document must end here.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.decoder.position() == self.decoder.input().len() { Ok(()) } else { Err(Fault::Trailing) }
    }

    pub(crate) fn is_null(&self) -> Result<bool, Fault> {
        Ok(matches!(self.kind()?, Type::Null | Type::Undefined))
    }

    pub(crate) fn is_text(&self) -> Result<bool, Fault> {
        Ok(matches!(self.kind()?, Type::String | Type::StringIndef))
    }

    pub(crate) fn is_integer(&self) -> Result<bool, Fault> {
        Ok(is_integer(self.kind()?))
    }

    pub(crate) fn map(&mut self) -> Result<Items, Fault> {
        self.expect("a map", |kind| matches!(kind, Type::Map | Type::MapIndef))?;
        Ok(Items { left: self.decoder.map().map_err(fault)? })
    }

    pub(crate) fn array(&mut self) -> Result<Items, Fault> {
        self.expect("an array", |kind| matches!(kind, Type::Array | Type::ArrayIndef))?;
        Ok(Items { left: self.decoder.array().map_err(fault)? })
    }

    /// Text of at most `limit` bytes; borrowed unless it came in chunks.
    pub(crate) fn text(&mut self, limit: usize) -> Result<Cow<'b, str>, Fault> {
        self.expect("text", |kind| matches!(kind, Type::String | Type::StringIndef))?;
        let mut whole = Cow::Borrowed("");
        for chunk in self.decoder.str_iter().map_err(fault)? {
            let chunk = chunk.map_err(fault)?;
            if whole.len().saturating_add(chunk.len()) > limit {
                return Err(Fault::TooLong { limit });
            }
            if whole.is_empty() {
                whole = Cow::Borrowed(chunk);
            } else {
                whole.to_mut().push_str(chunk);
            }
        }
        Ok(whole)
    }

    /// Bytes that must be exactly `N`.
    pub(crate) fn byte_array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.expect("bytes", |kind| matches!(kind, Type::Bytes | Type::BytesIndef))?;
        let mut whole = Vec::with_capacity(N);
        for chunk in self.decoder.bytes_iter().map_err(fault)? {
            let chunk = chunk.map_err(fault)?;
            if whole.len().saturating_add(chunk.len()) > N {
                return Err(Fault::TooLong { limit: N });
            }
            whole.extend_from_slice(chunk);
        }
        whole.try_into().map_err(|_| Fault::OutOfRange)
    }

    /// Bytes in one piece.
    pub(crate) fn byte_slice(&mut self) -> Result<&'b [u8], Fault> {
        self.expect("bytes in one piece", |kind| kind == Type::Bytes)?;
        self.decoder.bytes().map_err(fault)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, Fault> {
        u64::try_from(self.any_integer()?).map_err(|_| Fault::OutOfRange)
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Fault> {
        i64::try_from(self.any_integer()?).map_err(|_| Fault::OutOfRange)
    }

    /// One value, or [`Scalar::Unsupported`] for an item that was skipped. Only damage is an error.
    pub(crate) fn scalar(&mut self, text_limit: usize) -> Result<Scalar, Fault> {
        Ok(match self.kind()? {
            Type::Null | Type::Undefined => {
                self.skip()?;
                Scalar::Null
            }
            Type::Bool => Scalar::Bool(self.decoder.bool().map_err(fault)?),
            Type::F16 | Type::F32 | Type::F64 => Scalar::Float(self.decoder.f64().map_err(fault)?),
            Type::String | Type::StringIndef => Scalar::Text(self.text(text_limit)?.into_owned()),
            kind if is_integer(kind) => {
                i64::try_from(self.any_integer()?).map_or(Scalar::Unsupported, Scalar::Integer)
            }
            _ => {
                self.skip()?;
                Scalar::Unsupported
            }
        })
    }

    /// As [`Self::scalar`]; `None` for text that is longer than that, which is passed over.
    pub(crate) fn short_scalar(&mut self, text_limit: usize) -> Result<Option<Scalar>, Fault> {
        let start = self.decoder.position();
        match self.scalar(text_limit) {
            Err(Fault::TooLong { .. }) => {
                self.decoder.set_position(start);
                self.skip().map(|()| None)
            }
            other => other.map(Some),
        }
    }

    /// Passes over one item, however deep.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        // The library would take a stray break for an item.
        if self.kind()? == Type::Break {
            return Err(Fault::Malformed);
        }
        self.decoder.skip().map_err(fault)
    }

    fn any_integer(&mut self) -> Result<i128, Fault> {
        self.expect("an integer", is_integer)?;
        self.decoder.int().map(i128::from).map_err(fault)
    }

    fn expect(&self, expected: &'static str, is: impl Fn(Type) -> bool) -> Result<(), Fault> {
        match self.kind()? {
            Type::Break | Type::Unknown(_) => Err(Fault::Malformed),
            kind if is(kind) => Ok(()),
            _ => Err(Fault::WrongType { expected }),
        }
    }

    fn kind(&self) -> Result<Type, Fault> {
        self.decoder.datatype().map_err(fault)
    }
}

fn is_integer(kind: Type) -> bool {
    matches!(
        kind,
        Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int
    )
}

fn fault(error: minicbor::decode::Error) -> Fault {
    if error.is_end_of_input() { Fault::Truncated } else { Fault::Malformed }
}
