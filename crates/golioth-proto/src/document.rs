//! Documents: JSON values as CBOR, for LightDB State ([`crate::paths::StatePath`]) and for what a call answers.
//!
//! What the cloud sends of a document is read as JSON, which it is asked for by Accept: for a path where there is nothing the
//! form of the answer is known in JSON only (`null`).

use serde_json::{Map, Value};

use crate::cbor::Writer;

/// The payload of a document.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut payload = Vec::with_capacity(128);
    write(&mut Writer::new(&mut payload), document);
    payload
}

pub(crate) fn write_map(writer: &mut Writer<'_>, map: &Map<String, Value>) {
    writer.map(map.len());
    for (key, value) in map {
        writer.text(key);
        write(writer, value);
    }
}

/// As deep as the value, which whoever made it has bounded.
fn write(writer: &mut Writer<'_>, value: &Value) {
    match value {
        Value::Null => writer.null(),
        Value::Bool(value) => writer.bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => writer.unsigned(number),
            (None, Some(number), _) => writer.integer(number),
            (None, None, Some(number)) => writer.shortest_float(number),
            (None, None, None) => writer.null(),
        },
        Value::String(text) => writer.text(text),
        Value::Array(items) => {
            writer.array(items.len());
            for item in items {
                write(writer, item);
            }
        }
        Value::Object(map) => write_map(writer, map),
    }
}
