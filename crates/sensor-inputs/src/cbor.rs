//! CBOR (RFC 8949) read piece by piece, bounded; and one item as a document to be mapped.
//!
//! Nothing here recurses deeper than [`MOST_DEPTH`], and no length that is only claimed is ever reserved.

use minicbor::Decoder;
use minicbor::data::Type;
use serde_json::{Map, Number, Value};

use crate::datum::Datum;

/// How deep arrays and maps may lie in each other.
const MOST_DEPTH: usize = 16;
/// Most items in one document.
const MOST_ITEMS: usize = 1_024;
/// Longest text in a document, in bytes.
const MOST_TEXT: usize = 1_024;

/// Why bytes are no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborFault {
    /// Not CBOR, or not all of it.
    #[error("it is not CBOR, or not all of it")]
    Malformed,
    /// Bytes are left behind the item.
    #[error("something follows the document")]
    Trailing,
    /// Deeper, longer or more than a sensor has to say.
    #[error("it is deeper than {MOST_DEPTH}, or has more than {MOST_ITEMS} items")]
    TooLarge,
}

/// One CBOR item as a document. Keys that are integers become their decimals; byte strings, tags of what is not a number
/// and keys of other types are left out as `null`. A float that is not finite is `null`.
///
/// # Errors
/// See [`CborFault`].
pub fn cbor_document(bytes: &[u8]) -> Result<Value, CborFault> {
    let mut decoder = Decoder::new(bytes);
    let mut items = 0;
    let document = item(&mut decoder, 0, &mut items)?;
    if decoder.position() == bytes.len() { Ok(document) } else { Err(CborFault::Trailing) }
}

fn item(decoder: &mut Decoder<'_>, depth: usize, items: &mut usize) -> Result<Value, CborFault> {
    *items += 1;
    if depth > MOST_DEPTH || *items > MOST_ITEMS {
        return Err(CborFault::TooLarge);
    }
    let kind = decoder.datatype().map_err(malformed)?;
    Ok(match kind {
        Type::Map | Type::MapIndef => {
            let mut pairs = Items::new(decoder.map().map_err(malformed)?);
            let mut map = Map::new();
            while pairs.another(decoder).ok_or(CborFault::Malformed)? {
                let key = item(decoder, depth + 1, items)?;
                let value = item(decoder, depth + 1, items)?;
                match key {
                    Value::String(key) => drop(map.insert(key, value)),
                    Value::Number(key) => drop(map.insert(key.to_string(), value)),
                    _ => {}
                }
            }
            Value::Object(map)
        }
        Type::Array | Type::ArrayIndef => {
            let mut entries = Items::new(decoder.array().map_err(malformed)?);
            let mut list = Vec::new();
            while entries.another(decoder).ok_or(CborFault::Malformed)? {
                list.push(item(decoder, depth + 1, items)?);
            }
            Value::Array(list)
        }
        Type::String | Type::StringIndef => {
            Value::String(text(decoder, MOST_TEXT).ok_or(CborFault::Malformed)?)
        }
        Type::Bool => Value::Bool(decoder.bool().map_err(malformed)?),
        Type::Tag => {
            decoder.tag().map_err(malformed)?;
            item(decoder, depth + 1, items)?;
            Value::Null
        }
        Type::Break | Type::Unknown(_) => return Err(CborFault::Malformed),
        _ => match number(decoder) {
            Some(Datum::Integer(whole)) => Value::Number(whole.into()),
            Some(Datum::Number(real)) => Number::from_f64(real).map_or(Value::Null, Value::Number),
            Some(_) => Value::Null,
            None => {
                skip(decoder).ok_or(CborFault::Malformed)?;
                Value::Null
            }
        },
    })
}

fn malformed(_: minicbor::decode::Error) -> CborFault {
    CborFault::Malformed
}

/// What is left of a map or an array; in a map items are pairs.
pub(crate) struct Items(Option<u64>);

impl Items {
    /// `None` is of indefinite length.
    pub(crate) fn new(length: Option<u64>) -> Self {
        Self(length)
    }

    /// Whether another item follows; `None` at the end of the bytes.
    pub(crate) fn another(&mut self, decoder: &mut Decoder<'_>) -> Option<bool> {
        match &mut self.0 {
            Some(0) => Some(false),
            Some(left) => {
                *left -= 1;
                Some(true)
            }
            None => {
                if decoder.datatype().ok()? != Type::Break {
                    return Some(true);
                }
                decoder.set_position(decoder.position() + 1);
                self.0 = Some(0);
                Some(false)
            }
        }
    }
}

/// A number of any width; [`Datum::Absent`] for a float that is not finite. `None`, and nothing consumed, for what is no
/// number.
pub(crate) fn number(decoder: &mut Decoder<'_>) -> Option<Datum<'static>> {
    let from = decoder.position();
    let found = match decoder.datatype().ok()? {
        Type::F16 | Type::F32 | Type::F64 => decoder.f64().ok().map(Datum::finite),
        Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::I8
        | Type::I16
        | Type::I32
        | Type::I64
        | Type::Int => decoder.int().ok().map(|int| {
            let whole = i128::from(int);
            i64::try_from(whole).map_or(Datum::finite(whole as f64), Datum::Integer)
        }),
        _ => None,
    };
    if found.is_none() {
        decoder.set_position(from);
    }
    found
}

/// Text of at most `most` bytes, in one piece or several.
pub(crate) fn text(decoder: &mut Decoder<'_>, most: usize) -> Option<String> {
    let mut whole = String::new();
    for chunk in decoder.str_iter().ok()? {
        let chunk = chunk.ok()?;
        if whole.len() + chunk.len() > most {
            return None;
        }
        whole.push_str(chunk);
    }
    Some(whole)
}

/// Passes over one item.
pub(crate) fn skip(decoder: &mut Decoder<'_>) -> Option<()> {
    // The library would take a stray break for an item.
    if decoder.datatype().ok()? == Type::Break {
        return None;
    }
    decoder.skip().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_small_map_is_a_document() {
        let bytes = [0xa2, 0x61, b't', 0xfb, 0x40, 0x37, 0x80, 0, 0, 0, 0, 0, 0x61, b'h', 0x00];
        assert_eq!(cbor_document(&bytes), Ok(json!({"t": 23.5, "h": 0})));
    }

    #[test]
    fn floats_of_any_width_are_numbers_and_integer_keys_are_names() {
        // {1: 1.5_1, 2: 100000.0_2, 3: [true, null, NaN]}
        let bytes = [
            0xa3, 0x01, 0xf9, 0x3e, 0x00, 0x02, 0xfa, 0x47, 0xc3, 0x50, 0x00, 0x03, 0x83, 0xf5, 0xf6, 0xf9,
            0x7e, 0,
        ];
        assert_eq!(cbor_document(&bytes), Ok(json!({"1": 1.5, "2": 100_000.0, "3": [true, null, null]})));
    }

    #[test]
    fn indefinite_lengths_are_read_and_what_is_no_value_is_null() {
        // {_ "a": (_ "x", "y"), "b": h'01', "c": 0("t")}
        let bytes = [
            0xbf, 0x61, b'a', 0x7f, 0x61, b'x', 0x61, b'y', 0xff, 0x61, b'b', 0x41, 0x01, 0x61, b'c', 0xc0,
            0x61, b't', 0xff,
        ];
        assert_eq!(cbor_document(&bytes), Ok(json!({"a": "xy", "b": null, "c": null})));
    }

    #[test]
    fn too_deep_too_long_and_broken_off_are_told_apart() {
        assert_eq!(cbor_document(&[0x81; 40]), Err(CborFault::TooLarge));
        assert_eq!(cbor_document(&[0x82, 0x00]), Err(CborFault::Malformed));
        assert_eq!(cbor_document(&[0x00, 0x00]), Err(CborFault::Trailing));
        assert_eq!(
            cbor_document(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Err(CborFault::Malformed)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = cbor_document(&bytes);
        }
    }
}
