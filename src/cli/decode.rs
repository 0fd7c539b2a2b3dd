//! `fieldgate decode`: a message as it was sent to Golioth, in either encoding, as newline JSON: for whoever has only the bytes.
//!
//! Each line is what the cloud makes of one map with `cbor-to-json` and `batch`: byte strings in base64. It asks nobody, needs no
//! configuration, and reads every byte or says which one it does not understand.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use fieldgate_golioth_proto::columns::{ColumnsDecodeError, decode_columns, is_columns};
use fieldgate_golioth_proto::rows::{
    ClockStatement, DecodeError, DecodedEpoch, DecodedLoss, DecodedValue, Element, RowTime,
    UNSTATED_UNCERTAINTY_MS, Value as Told, decode_rows,
};
use serde_json::{Map, Value, json};

/// Far more than a message has.
const LONGEST: u64 = 1 << 20;

/// What to decode.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Arguments {
    /// The file with the message's bytes; - for standard input.
    file: Option<PathBuf>,
    /// The message itself, as hexadecimal digits.
    #[arg(long, value_name = "DIGITS")]
    hex: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0} cannot be read: {1}")]
    File(String, io::Error),
    #[error("{0} is longer than a message can be: name a file with the body of one message")]
    TooLong(String),
    #[error("these are not pairs of hexadecimal digits: write them as 8301441f2e3d4c")]
    Hex,
    #[error("{0}")]
    Rows(#[from] DecodeError),
    #[error("{0}")]
    Columns(#[from] ColumnsDecodeError),
}

pub(super) fn decode(arguments: &Arguments) -> ExitCode {
    let printed = message(arguments).and_then(|message| lines(&message)).map(|lines| {
        let mut out = io::stdout().lock();
        // A reader that has seen enough is no failure.
        lines.iter().try_for_each(|line| writeln!(out, "{line}")).or_else(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(e),
        })
    });
    match printed {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error),
        Err(trouble) => fail(&trouble),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn message(arguments: &Arguments) -> Result<Vec<u8>, Trouble> {
    match (&arguments.hex, &arguments.file) {
        (Some(digits), _) => from_hex(digits).ok_or(Trouble::Hex),
        (None, Some(file)) if file != Path::new("-") => {
            let name = file.display().to_string();
            match std::fs::File::open(file) {
                Ok(open) => all_of(open, name),
                Err(e) => Err(Trouble::File(name, e)),
            }
        }
        (None, _) => all_of(io::stdin().lock(), "standard input".to_owned()),
    }
}

fn all_of(source: impl Read, name: String) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    match source.take(LONGEST + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > LONGEST => Err(Trouble::TooLong(name)),
        Ok(_) => Ok(bytes),
        Err(e) => Err(Trouble::File(name, e)),
    }
}

/// Spaces are passed over: people copy digits in groups.
fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16));
    let digits: Vec<u32> = digits.collect::<Option<_>>()?;
    let pair = |pair: &[u32]| match pair {
        [high, low] => u8::try_from(high << 4 | low).ok(),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

fn lines(message: &[u8]) -> Result<Vec<Value>, Trouble> {
    if is_columns(message) {
        let batch = decode_columns(message)?;
        let instants = batch.instants.iter().map(|instant| {
            let values = instant.values.iter().map(|v| (v.alias, told(&v.value), v.quality));
            row(batch.epoch_prefix, instant.sequence, instant.time, values)
        });
        return Ok(instants.collect());
    }
    let elements = decode_rows(message)?;
    Ok(elements.into_iter().map(element).collect())
}

fn element(element: Element) -> Value {
    match element {
        Element::Row(decoded) => {
            let values =
                decoded.values.iter().map(|v| (v.alias.as_str(), decoded_value(&v.value), v.quality));
            row(decoded.epoch_prefix, decoded.sequence, decoded.time, values)
        }
        Element::Epoch(epoch) => epoch_statement(&epoch),
        Element::Clock(clock) => clock_statement(&clock),
        Element::Loss(loss) => loss_statement(loss),
    }
}

fn row<'a>(
    epoch_prefix: [u8; 4],
    sequence: u64,
    time: RowTime,
    values: impl Iterator<Item = (&'a str, Value, u8)>,
) -> Value {
    let mut keys = keys(&epoch_prefix);
    keys.insert("s".into(), sequence.into());
    add_time(&mut keys, time);
    let mut qualities = Map::new();
    for (alias, value, quality) in values {
        keys.insert(alias.into(), value);
        if quality != 0 {
            qualities.insert(alias.into(), quality.into());
        }
    }
    if !qualities.is_empty() {
        keys.insert("q".into(), qualities.into());
    }
    keys.into()
}

fn keys(epoch_prefix: &[u8; 4]) -> Map<String, Value> {
    let mut keys = Map::new();
    keys.insert("e".into(), base64(epoch_prefix).into());
    keys
}

fn add_time(keys: &mut Map<String, Value>, time: RowTime) {
    match time {
        RowTime::Wall { unix_ms, uncertainty_ms } => {
            keys.insert("t".into(), unix_ms.into());
            add_uncertainty(keys, uncertainty_ms);
        }
        RowTime::Boot { boot, mono_ms } => {
            keys.insert("b".into(), boot.into());
            keys.insert("m".into(), mono_ms.into());
        }
    }
}

fn add_uncertainty(keys: &mut Map<String, Value>, uncertainty_ms: u32) {
    if uncertainty_ms > UNSTATED_UNCERTAINTY_MS {
        keys.insert("u".into(), uncertainty_ms.into());
    }
}

fn epoch_statement(statement: &DecodedEpoch) -> Value {
    let [a, b, c, d, ..] = statement.epoch;
    let mut keys = keys(&[a, b, c, d]);
    keys.insert("ep".into(), base64(&statement.epoch).into());
    if let Some(previous) = &statement.previous {
        keys.insert("pe".into(), base64(&previous.epoch).into());
        let last = previous.last_sequences.iter().map(|(group, n)| (group.clone(), Value::from(*n)));
        keys.insert("ls".into(), Value::Object(last.collect()));
    }
    keys.into()
}

fn clock_statement(statement: &ClockStatement) -> Value {
    let mut keys = keys(&statement.epoch_prefix);
    keys.insert("b".into(), statement.boot.into());
    keys.insert("o".into(), statement.unix_ms_at_mono_zero.into());
    if let Some(dated_with) = statement.dated_with_unix_ms_at_mono_zero {
        keys.insert("t".into(), dated_with.into());
    }
    add_uncertainty(&mut keys, statement.uncertainty_ms);
    keys.into()
}

fn loss_statement(statement: DecodedLoss) -> Value {
    let mut keys = keys(&statement.epoch_prefix);
    add_time(&mut keys, statement.time);
    let said = statement.loss;
    let mut loss = json!({
        "of": said.of, "why": said.why, "n": said.count, "file": base64(&said.file), "id": said.id,
    });
    if let Some(stream) = said.stream {
        loss["stream"] = stream.into();
    }
    if let Some((from, to)) = said.sequences {
        loss["from"] = from.into();
        loss["to"] = to.into();
    }
    keys.insert("loss".into(), loss);
    keys.into()
}

fn told(value: &Told<'_>) -> Value {
    match *value {
        Told::Scaled { mantissa, resolution } => {
            resolution.whole(mantissa).map_or_else(|| resolution.number(mantissa).into(), Value::from)
        }
        Told::Float(number) => number.into(),
        Told::Integer(number) => number.into(),
        Told::Bool(value) => value.into(),
        Told::Text(text) => text.into(),
        Told::Missing => Value::Null,
    }
}

fn decoded_value(value: &DecodedValue) -> Value {
    match value {
        DecodedValue::Integer(number) => (*number).into(),
        DecodedValue::Float(number) => (*number).into(),
        DecodedValue::Bool(value) => (*value).into(),
        DecodedValue::Text(text) => text.as_str().into(),
        DecodedValue::Missing => Value::Null,
    }
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = ALPHABET.get((bits >> (18 - 6 * place) & 63) as usize);
            text.push(letter.filter(|_| place <= group.len()).map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_as_rfc_4648_has_it() {
        let told = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(told, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn digits_may_stand_in_groups_and_only_in_pairs() {
        assert_eq!(from_hex("83 01\n44"), Some(vec![0x83, 0x01, 0x44]));
        assert_eq!(from_hex("830"), None);
        assert_eq!(from_hex("8g"), None);
    }
}
