//! SenML in CBOR (RFC 8428, 6): labels are numbers, and numbers are integers, floats of any width or decimal fractions.

use minicbor::Decoder;
use minicbor::data::{Tag, Type};

use super::resolve::{Fields, Resolver};
use super::{MOST_NAME, MOST_RECORDS, MOST_UNIT, MOST_VALUE, Record, SenmlError};
use crate::cbor::{self, Items};
use crate::datum::Datum;

/// A map has no more fields than this: the labels there are, twice over.
const MOST_FIELDS: usize = 32;

/// The records of a pack.
///
/// # Errors
/// See [`SenmlError`]. Of two fields with one label the last counts.
pub fn cbor(bytes: &[u8]) -> Result<Vec<Record>, SenmlError> {
    let mut decoder = Decoder::new(bytes);
    let pack = decoder.array().map_err(|_| SenmlError::NotAPack)?;
    let mut pack = Items::new(pack);
    let mut resolver = Resolver::default();
    while pack.another(&mut decoder).ok_or(SenmlError::NotCbor)? {
        let number = resolver.number();
        if number > MOST_RECORDS {
            return Err(SenmlError::TooMany);
        }
        let mut record = Items::new(decoder.map().map_err(|_| SenmlError::NotAPack)?);
        let mut fields = Fields::default();
        let mut count = 0;
        while record.another(&mut decoder).ok_or(SenmlError::NotCbor)? {
            count += 1;
            if count > MOST_FIELDS {
                return Err(SenmlError::NotAPack);
            }
            take(&mut decoder, &mut fields, number)?;
        }
        resolver.take(fields)?;
    }
    if decoder.position() != bytes.len() {
        return Err(SenmlError::NotCbor);
    }
    Ok(resolver.finish())
}

fn take(decoder: &mut Decoder<'_>, fields: &mut Fields, record: usize) -> Result<(), SenmlError> {
    let wrong = |label| SenmlError::Field { record, label };
    if matches!(decoder.datatype(), Ok(Type::String | Type::StringIndef)) {
        let label = cbor::text(decoder, MOST_NAME).ok_or(SenmlError::NotCbor)?;
        if label.ends_with('_') {
            return Err(SenmlError::NotUnderstood { record, label: label.chars().take(32).collect() });
        }
        return cbor::skip(decoder).ok_or(SenmlError::NotCbor);
    }
    let label = decoder.i64().map_err(|_| SenmlError::NotAPack)?;
    match label {
        -1 => fields.base_version = Some(decoder.i64().map_err(|_| wrong("bver"))?),
        -2 => fields.base_name = Some(cbor::text(decoder, MOST_NAME).ok_or(wrong("bn"))?),
        -3 => fields.base_time = Some(real(decoder).ok_or(wrong("bt"))?),
        -4 => fields.base_unit = Some(cbor::text(decoder, MOST_UNIT).ok_or(wrong("bu"))?),
        -5 => fields.base_value = Some(real(decoder).ok_or(wrong("bv"))?),
        -6 => fields.base_sum = Some(real(decoder).ok_or(wrong("bs"))?),
        0 => fields.name = Some(cbor::text(decoder, MOST_NAME).ok_or(wrong("n"))?),
        1 => fields.unit = Some(cbor::text(decoder, MOST_UNIT).ok_or(wrong("u"))?),
        2 => fields.value = Some(number(decoder).ok_or(wrong("v"))?),
        3 => fields.value = Some(Datum::Text(cbor::text(decoder, MOST_VALUE).ok_or(wrong("vs"))?.into())),
        4 => fields.value = Some(Datum::Bool(decoder.bool().map_err(|_| wrong("vb"))?)),
        5 => fields.sum = Some(real(decoder).ok_or(wrong("s"))?),
        6 => fields.time = Some(real(decoder).ok_or(wrong("t"))?),
        7 => fields.update = Some(real(decoder).ok_or(wrong("ut"))?),
        8 => {
            let data = decoder.bytes().ok().filter(|data| data.len() <= MOST_VALUE).ok_or(wrong("vd"))?;
            fields.value = Some(Datum::Text(base64url(data).into()));
        }
        _ => return cbor::skip(decoder).ok_or(SenmlError::NotCbor),
    }
    fields.values += usize::from(matches!(label, 2 | 3 | 4 | 8));
    Ok(())
}

fn real(decoder: &mut Decoder<'_>) -> Option<f64> {
    number(decoder)?.number()
}

/// A finite number; whole ones stay whole as far as they fit.
fn number(decoder: &mut Decoder<'_>) -> Option<Datum<'static>> {
    if matches!(decoder.datatype(), Ok(Type::Tag)) {
        // RFC 8949, 3.4.4: [exponent, mantissa] to base 10.
        let is_decimal = decoder.tag().ok()? == Tag::new(4) && decoder.array().ok()? == Some(2);
        let exponent = if is_decimal { i32::try_from(decoder.i64().ok()?).ok()? } else { return None };
        let mantissa = i128::from(decoder.int().ok()?) as f64;
        let power = 10f64.powi(exponent.unsigned_abs().min(400).cast_signed());
        let value = if exponent < 0 { mantissa / power } else { mantissa * power };
        return value.is_finite().then_some(Datum::Number(value));
    }
    cbor::number(decoder).filter(|datum| *datum != Datum::Absent)
}

/// RFC 4648, 5, without padding.
fn base64url(data: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(data.len().div_ceil(3) * 4);
    for chunk in data.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for letter in 0..=chunk.len() {
            let index = bits >> (18 - 6 * letter) & 63;
            text.push(char::from(LETTERS.get(index as usize).copied().unwrap_or(b'A')));
        }
    }
    text
}
