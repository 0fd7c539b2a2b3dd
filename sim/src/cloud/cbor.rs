//! The cloud's own reading and writing of CBOR (RFC 8949), as the plain values its JSON side works with.
//!
//! Either length style is read, as devices send both. Integers and floats stay what they are; byte strings become
//! base64, map keys that are no text their decimal form, as a JSON gateway makes them. Tags are passed over.

use super::base64;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;

/// Deepest nesting that is followed.
const MOST_DEPTH: usize = 32;

/// Why bytes are not one CBOR document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undecodable {
    /// Malformed or cut short.
    #[error("invalid CBOR: {0}")]
    Malformed(String),
    /// Something follows the document.
    #[error("invalid CBOR: {0} bytes follow the document")]
    Trailing(usize),
    /// Nested too deep.
    #[error("invalid CBOR: nested deeper than {MOST_DEPTH}")]
    Deep,
    /// A type JSON has no word for.
    #[error("invalid CBOR: {0} has no JSON form")]
    Unsupported(&'static str),
}

impl From<minicbor::decode::Error> for Undecodable {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Reads one document that fills `payload`.
pub(super) fn decode(payload: &[u8]) -> Result<Value, Undecodable> {
    let mut decoder = Decoder::new(payload);
    let value = value(&mut decoder, 0)?;
    match payload.len().saturating_sub(decoder.position()) {
        0 => Ok(value),
        more => Err(Undecodable::Trailing(more)),
    }
}

fn value(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, Undecodable> {
    if depth > MOST_DEPTH {
        return Err(Undecodable::Deep);
    }
    Ok(match decoder.datatype()? {
        Type::Bool => Value::Bool(decoder.bool()?),
        Type::Null => {
            decoder.null()?;
            Value::Null
        }
        Type::Undefined => {
            decoder.undefined()?;
            Value::Null
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::from(decoder.u64()?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => Value::from(decoder.i64()?),
        // Below i64: only a float comes near it.
        Type::Int => float(i128::from(decoder.int()?) as f64),
        Type::F16 => float(f64::from(decoder.f16()?)),
        Type::F32 => float(f64::from(decoder.f32()?)),
        Type::F64 => float(decoder.f64()?),
        Type::Bytes | Type::BytesIndef => {
            let mut bytes = Vec::new();
            for part in decoder.bytes_iter()? {
                bytes.extend_from_slice(part?);
            }
            Value::String(base64::encode(&bytes))
        }
        Type::String | Type::StringIndef => Value::String(text(decoder)?.into_owned()),
        Type::Array | Type::ArrayIndef => {
            let mut items = Vec::new();
            let mut rest = Rest::new(decoder.array()?);
            while rest.another(decoder)? {
                items.push(value(decoder, depth + 1)?);
            }
            Value::Array(items)
        }
        Type::Map | Type::MapIndef => {
            let mut entries = Map::new();
            let mut rest = Rest::new(decoder.map()?);
            while rest.another(decoder)? {
                let key = match value(decoder, depth + 1)? {
                    Value::String(key) => key,
                    Value::Array(_) | Value::Object(_) => {
                        return Err(Undecodable::Unsupported("a map key that is an array or a map"));
                    }
                    other => other.to_string(),
                };
                entries.insert(key, value(decoder, depth + 1)?);
            }
            Value::Object(entries)
        }
        Type::Tag => {
            decoder.tag()?;
            value(decoder, depth + 1)?
        }
        Type::Simple => return Err(Undecodable::Unsupported("a simple value")),
        Type::Break | Type::Unknown(_) => return Err(Undecodable::Malformed("no data item".to_owned())),
    })
}

/// NaN and infinities become null, as in JSON.
fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// A text string of either length style.
pub(super) fn text<'b>(decoder: &mut Decoder<'b>) -> Result<Cow<'b, str>, Undecodable> {
    if decoder.datatype()? == Type::String {
        return Ok(Cow::Borrowed(decoder.str()?));
    }
    let mut whole = String::new();
    for part in decoder.str_iter()? {
        whole.push_str(part?);
    }
    Ok(Cow::Owned(whole))
}

/// Counts the items of an array or the entries of a map, of either length style.
pub(super) struct Rest(Option<u64>);

impl Rest {
    pub(super) fn new(length: Option<u64>) -> Self {
        Self(length)
    }

    /// Whether another one follows; takes the break where there is one.
    pub(super) fn another(&mut self, decoder: &mut Decoder<'_>) -> Result<bool, Undecodable> {
        match &mut self.0 {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if decoder.datatype()? == Type::Break => {
                decoder.skip()?;
                Ok(false)
            }
            None => Ok(true),
        }
    }
}

/// Writes a value with definite lengths and 64-bit floats, as observed of the cloud.
pub(super) fn encode(value: &Value) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    // Writing to memory cannot fail.
    let _infallible = write(&mut encoder, value);
    encoder.into_writer()
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write(encoder: &mut Encoder<Vec<u8>>, value: &Value) -> Written {
    match value {
        Value::Null => {
            encoder.null()?;
        }
        Value::Bool(value) => {
            encoder.bool(*value)?;
        }
        Value::Number(number) => {
            if let Some(number) = number.as_u64() {
                encoder.u64(number)?;
            } else if let Some(number) = number.as_i64() {
                encoder.i64(number)?;
            } else {
                encoder.f64(number.as_f64().unwrap_or(f64::NAN))?;
            }
        }
        Value::String(text) => {
            encoder.str(text)?;
        }
        Value::Array(items) => {
            encoder.array(items.len() as u64)?;
            for item in items {
                write(encoder, item)?;
            }
        }
        Value::Object(entries) => {
            encoder.map(entries.len() as u64)?;
            for (key, value) in entries {
                encoder.str(key)?;
                write(encoder, value)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_length_styles_read_the_same() {
        // {"s": 1, "l": [true, null, -2]} in either style.
        let definite = [0xA2, 0x61, b's', 0x01, 0x61, b'l', 0x83, 0xF5, 0xF6, 0x21];
        let indefinite = [0xBF, 0x61, b's', 0x01, 0x61, b'l', 0x9F, 0xF5, 0xF6, 0x21, 0xFF, 0xFF];
        let expected = json!({"s": 1, "l": [true, null, -2]});
        assert_eq!(decode(&definite), Ok(expected.clone()));
        assert_eq!(decode(&indefinite), Ok(expected));
    }

    #[test]
    fn a_strings_pieces_are_joined_and_bytes_become_base64() {
        assert_eq!(decode(&[0x7F, 0x61, b'a', 0x62, b'b', b'c', 0xFF]), Ok(json!("abc")));
        assert_eq!(decode(&[0x44, 0xDE, 0xAD, 0xBE, 0xEF]), Ok(json!("3q2+7w==")));
        assert_eq!(decode(&[0xA1, 0x01, 0x00]), Ok(json!({"1": 0})));
    }

    #[test]
    fn a_whole_float_stays_a_float_both_ways() {
        let ten = decode(&[0xF9, 0x49, 0x00]).unwrap();
        assert!(ten.is_f64(), "{ten:?}");
        assert_eq!(encode(&ten), [0xFB, 0x40, 0x24, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode(&json!(10)), [0x0A]);
        assert_eq!(
            decode(&[0x3B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]).unwrap().as_f64(),
            Some(-(2_f64.powi(64)))
        );
    }

    #[test]
    fn what_is_not_exactly_one_document_is_refused() {
        assert!(matches!(decode(&[]), Err(Undecodable::Malformed(_))));
        assert!(matches!(decode(&[0xBF, 0x61, b'a']), Err(Undecodable::Malformed(_))));
        assert!(matches!(decode(&[0xFF]), Err(Undecodable::Malformed(_))));
        assert_eq!(decode(&[0x01, 0x02]), Err(Undecodable::Trailing(1)));
        assert_eq!(decode(&[0x81; 64]), Err(Undecodable::Deep));
        assert!(decode(&[0x9B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
    }
}
