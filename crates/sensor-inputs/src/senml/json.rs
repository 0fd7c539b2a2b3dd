//! SenML in JSON (RFC 8428, 5).

use serde_json::Value;

use super::resolve::{Fields, Resolver};
use super::{MOST_NAME, MOST_UNIT, MOST_VALUE, Record, SenmlError};
use crate::datum::Datum;

/// The records of a pack.
///
/// # Errors
/// See [`SenmlError`]. Of two fields with one label the last counts.
pub fn json(bytes: &[u8]) -> Result<Vec<Record>, SenmlError> {
    let pack: Value = serde_json::from_slice(bytes).map_err(|_| SenmlError::NotJson)?;
    let Value::Array(pack) = pack else { return Err(SenmlError::NotAPack) };
    let mut resolver = Resolver::default();
    for record in pack {
        let Value::Object(record) = record else { return Err(SenmlError::NotAPack) };
        let number = resolver.number();
        let mut fields = Fields::default();
        for (label, value) in record {
            take(&mut fields, number, &label, value)?;
        }
        resolver.take(fields)?;
    }
    Ok(resolver.finish())
}

fn take(fields: &mut Fields, record: usize, label: &str, value: Value) -> Result<(), SenmlError> {
    let wrong = |label| SenmlError::Field { record, label };
    let number = |value: &Value, label| value.as_f64().filter(|n| n.is_finite()).ok_or(wrong(label));
    let text = |value: Value, label, most| match value {
        Value::String(text) if text.len() <= most => Ok(text),
        _ => Err(wrong(label)),
    };
    match label {
        "bver" => fields.base_version = Some(value.as_i64().ok_or(wrong("bver"))?),
        "bn" => fields.base_name = Some(text(value, "bn", MOST_NAME)?),
        "bt" => fields.base_time = Some(number(&value, "bt")?),
        "bu" => fields.base_unit = Some(text(value, "bu", MOST_UNIT)?),
        "bv" => fields.base_value = Some(number(&value, "bv")?),
        "bs" => fields.base_sum = Some(number(&value, "bs")?),
        "n" => fields.name = Some(text(value, "n", MOST_NAME)?),
        "u" => fields.unit = Some(text(value, "u", MOST_UNIT)?),
        "s" => fields.sum = Some(number(&value, "s")?),
        "t" => fields.time = Some(number(&value, "t")?),
        "ut" => fields.update = Some(number(&value, "ut")?),
        "v" | "vb" | "vs" | "vd" => {
            fields.values += 1;
            fields.value = Some(match (label, value) {
                ("v", Value::Number(number)) => match number.as_i64() {
                    Some(whole) => Datum::Integer(whole),
                    None => Datum::Number(number.as_f64().filter(|n| n.is_finite()).ok_or(wrong("v"))?),
                },
                ("vb", Value::Bool(flag)) => Datum::Bool(flag),
                ("vs" | "vd", Value::String(text)) if text.len() <= MOST_VALUE => Datum::Text(text.into()),
                ("v", _) => return Err(wrong("v")),
                ("vb", _) => return Err(wrong("vb")),
                ("vs", _) => return Err(wrong("vs")),
                _ => return Err(wrong("vd")),
            });
        }
        label if label.ends_with('_') => {
            return Err(SenmlError::NotUnderstood { record, label: label.chars().take(32).collect() });
        }
        _ => {}
    }
    Ok(())
}
