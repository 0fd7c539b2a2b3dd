//! Packed C structures as JSON, by a list of their members in order: `struct-to-json`. Little-endian, as documented by example.

use crate::cloud::config::CloudError;
use crate::cloud::pipelines::parts::{Said, text_of};
use serde_json::{Map, Number, Value};

const MOST_MEMBERS: usize = 256;

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Bytes, and whether it has a sign.
    Integer(usize, bool),
    Float,
    Double,
    String(Length),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    /// The name of an earlier member that says it.
    Of(String),
}

/// Reads the list of members.
pub(super) fn members(parameters: &Value, said: Said<'_>) -> Result<Vec<Member>, CloudError> {
    let list = parameters.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() || list.len() > MOST_MEMBERS {
        return Err(said("struct-to-json needs 1 to 256 members"));
    }
    let mut read: Vec<Member> = Vec::with_capacity(list.len());
    for member in list {
        let name = text_of(member, "name").ok_or_else(|| said("a member needs its name"))?;
        if read.iter().any(|known| known.name == name) {
            return Err(said(&format!("member {name} is there twice")));
        }
        let kind = match member.get("type").and_then(Value::as_str).unwrap_or_default() {
            "u8" => Kind::Integer(1, false),
            "i8" => Kind::Integer(1, true),
            "u16" => Kind::Integer(2, false),
            "i16" => Kind::Integer(2, true),
            "u32" => Kind::Integer(4, false),
            "i32" => Kind::Integer(4, true),
            "u64" => Kind::Integer(8, false),
            "i64" => Kind::Integer(8, true),
            "float" => Kind::Float,
            "double" => Kind::Double,
            "string" => Kind::String(length(member, &read, said)?),
            other => return Err(said(&format!("member {name}: there is no type {other:?}"))),
        };
        read.push(Member { name, kind });
    }
    Ok(read)
}

/// `length` is a number or, as in the documented example, the name of a member; so is `lengthField`.
fn length(member: &Value, before: &[Member], said: Said<'_>) -> Result<Length, CloudError> {
    let wrong =
        || said("a string needs length, a number, or lengthField, an earlier member of an integer type");
    let named = member.get("lengthField").or_else(|| member.get("length")).ok_or_else(wrong)?;
    match named {
        Value::Number(number) => {
            let bytes = number.as_u64().and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(wrong)?;
            Ok(Length::Bytes(bytes))
        }
        Value::String(field) => {
            let fits = |known: &Member| known.name == *field && matches!(known.kind, Kind::Integer(..));
            before.iter().any(fits).then(|| Length::Of(field.clone())).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// Takes a body apart. Bytes behind the last member are passed over.
pub(super) fn read(members: &[Member], mut body: &[u8]) -> Result<Value, String> {
    let mut entries = Map::new();
    for Member { name, kind } in members {
        let mut take = |bytes: usize| {
            let (head, tail) = body.split_at_checked(bytes)?;
            body = tail;
            Some(head)
        };
        let short = || format!("struct-to-json: the body ends before {name}");
        let value = match kind {
            Kind::Integer(bytes, signed) => integer(take(*bytes).ok_or_else(short)?, *signed),
            Kind::Float => {
                let four = take(4).and_then(|part| part.try_into().ok()).ok_or_else(short)?;
                float(f64::from(f32::from_le_bytes(four)))
            }
            Kind::Double => {
                let eight = take(8).and_then(|part| part.try_into().ok()).ok_or_else(short)?;
                float(f64::from_le_bytes(eight))
            }
            Kind::String(length) => {
                let bytes = match length {
                    Length::Bytes(bytes) => Some(*bytes),
                    Length::Of(field) => entries
                        .get(field)
                        .and_then(Value::as_u64)
                        .and_then(|bytes| usize::try_from(bytes).ok()),
                };
                let part = bytes.and_then(&mut take).ok_or_else(short)?;
                let text = std::str::from_utf8(part);
                Value::from(text.map_err(|_| format!("struct-to-json: {name} is not UTF-8"))?)
            }
        };
        entries.insert(name.clone(), value);
    }
    Ok(Value::Object(entries))
}

fn integer(bytes: &[u8], signed: bool) -> Value {
    let raw = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    if signed {
        // The sign bit is moved to the top and back.
        let spare = 64 - 8 * bytes.len() as u32;
        Value::from((raw << spare).cast_signed() >> spare)
    } else {
        Value::from(raw)
    }
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(what: &str) -> CloudError {
        CloudError::Invalid { what: what.to_owned() }
    }

    #[test]
    fn members_come_out_in_order_and_a_text_may_say_its_length_before_it() {
        let parameters = json!({"members": [
            {"name": "level", "type": "float"},
            {"name": "site", "type": "string", "length": 4},
            {"name": "length", "type": "u8"},
            {"name": "note", "type": "string", "length": "length"}
        ]});
        let members = members(&parameters, &said).unwrap();
        let body = b"\x00\x00\x4c\x41pump\x06leaks!";
        let expected = json!({"level": 12.75, "site": "pump", "length": 6, "note": "leaks!"});
        assert_eq!(read(&members, body), Ok(expected));
        assert!(read(&members, &body[..body.len() - 1]).unwrap_err().contains("note"));
    }

    #[test]
    fn integers_are_little_endian_and_keep_their_sign() {
        let all = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"];
        let list: Vec<Value> = all.iter().map(|kind| json!({"name": kind, "type": kind})).collect();
        let members = members(&json!({"members": list}), &said).unwrap();
        let mut body = vec![0xFE; 30];
        body[3..5].copy_from_slice(&[0x01, 0x02]);
        // One byte each, then two, four and eight.
        let read = read(&members, &body).unwrap();
        assert_eq!((&read["u8"], &read["i8"]), (&json!(254), &json!(-2)));
        assert_eq!((&read["u16"], &read["i16"]), (&json!(0x01FE), &json!(-510)));
        assert_eq!(read["u64"], json!(0xFEFE_FEFE_FEFE_FEFE_u64));
        assert_eq!(read["i64"], json!(0xFEFE_FEFE_FEFE_FEFE_u64.cast_signed()));
    }

    #[test]
    fn members_that_cannot_be_are_refused() {
        for list in [
            json!([]),
            json!([{"name": "a"}]),
            json!([{"type": "u8"}]),
            json!([{"name": "a", "type": "string"}]),
            json!([{"name": "a", "type": "string", "lengthField": "b"}]),
            json!([{"name": "a", "type": "u8"}, {"name": "a", "type": "u8"}]),
        ] {
            assert!(members(&json!({"members": list}), &said).is_err(), "{list}");
        }
    }
}
