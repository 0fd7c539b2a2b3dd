//! Reads messages of columns back: for people who look at what was sent, and for tests. Bounded by what the format allows,
//! whatever the bytes say.

use super::series::{Bytes, Missing};
use super::{
    EXCEPTED, ITEM_FALSE, ITEM_FLOAT, ITEM_STEPS, ITEM_TEXT, ITEM_TRUE, KIND_BOOL, KIND_F32, KIND_F64,
    KIND_MIXED, KIND_ONE, KIND_RATIO, MAX_CELLS, MAX_COLUMNS, VERSION,
};
use crate::cbor::{Fault, Reader};
use crate::rows::{
    MAX_ALIAS_BYTES, Resolution, RowTime, RowValue, UNSTATED_UNCERTAINTY_MS, Value, validate_alias,
};

/// A message's readings.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<'b> {
    /// First 4 bytes of the store epoch of them all.
    pub epoch_prefix: [u8; 4],
    /// Table by table, each in the order of its instants.
    pub instants: Vec<Instant<'b>>,
}

/// One instant of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Instant<'b> {
    /// The group's sequence.
    pub sequence: u64,
    /// When. What went without an uncertainty has [`UNSTATED_UNCERTAINTY_MS`].
    pub time: RowTime,
    /// At least one; whole numbers are [`Value::Scaled`].
    pub values: Vec<RowValue<'b>>,
}

/// Why bytes are not a message of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnsDecodeError {
    /// The message as a whole.
    #[error(
        "not a message of columns: {fault}; it should be a CBOR array of a version, an epoch's prefix and a byte string"
    )]
    Document {
        /// What is wrong with it.
        fault: Fault,
    },
    /// From a gateway that is newer than this.
    #[error(
        "columns of version {found}, and only version {VERSION} is known here: decode it with the gateway's own release"
    )]
    Version {
        /// As it says.
        found: u64,
    },
    /// The byte string.
    #[error("byte {at} of the tables: expected {what}")]
    Tables {
        /// Offset in the byte string.
        at: usize,
        /// What should stand there.
        what: &'static str,
    },
}

impl From<Missing> for ColumnsDecodeError {
    fn from(Missing { at, what }: Missing) -> Self {
        Self::Tables { at, what }
    }
}

/// Whether a message begins as one of columns does, of whatever version; otherwise it may be one of rows.
#[must_use]
pub fn is_columns(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    reader.array().and_then(|mut items| items.another(&mut reader)).is_ok_and(|any| any)
        && reader.is_integer().unwrap_or(false)
}

/// Reads a message as [`super::ColumnsPacker`] writes it. Strings of bytes must be in one piece.
pub fn decode_columns(payload: &[u8]) -> Result<Batch<'_>, ColumnsDecodeError> {
    let (epoch_prefix, tables) = document(payload)?;
    let mut tables = Bytes::new(tables);
    let mut batch = Batch { epoch_prefix, instants: Vec::new() };
    let mut room = MAX_CELLS;
    while !tables.is_empty() {
        table(&mut tables, &mut room, &mut batch.instants)?;
    }
    Ok(batch)
}

fn document(payload: &[u8]) -> Result<([u8; 4], &[u8]), ColumnsDecodeError> {
    let document = |fault| ColumnsDecodeError::Document { fault };
    let mut reader = Reader::new(payload);
    let mut items = reader.array().map_err(document)?;
    let mut next = |reader: &mut Reader<'_>| match items.another(reader) {
        Ok(true) => Ok(()),
        Ok(false) => Err(document(Fault::Truncated)),
        Err(fault) => Err(document(fault)),
    };
    next(&mut reader)?;
    let found = reader.unsigned().map_err(document)?;
    if found != VERSION {
        return Err(ColumnsDecodeError::Version { found });
    }
    next(&mut reader)?;
    let epoch_prefix = reader.byte_array().map_err(document)?;
    next(&mut reader)?;
    let tables = reader.byte_slice().map_err(document)?;
    if items.another(&mut reader).map_err(document)? {
        return Err(document(Fault::TooLong { limit: 3 }));
    }
    reader.end().map_err(document)?;
    Ok((epoch_prefix, tables))
}

fn table<'b>(
    bytes: &mut Bytes<'b>,
    room: &mut usize,
    instants: &mut Vec<Instant<'b>>,
) -> Result<(), ColumnsDecodeError> {
    let head = bytes.count(MAX_CELLS << 2 | 3, "a number of instants within bounds")?;
    let count = head >> 2;
    let boot = if head & 1 == 1 { Some(bytes.varint("a boot")?) } else { None };
    let times = bytes.missing("as many instants as there is room for");
    if count == 0 || count > *room {
        return Err(times.into());
    }
    let sequences = bytes.series(count, "a series of sequences")?;
    let times = bytes.series(count, "a series of times")?;
    let stated = head & 2 == 2;
    let uncertainties = if stated { bytes.series(count, "a series of uncertainties")? } else { Vec::new() };
    let wrong = bytes.missing("uncertainties of 32 bits");
    let from = instants.len();
    let mut uncertainties = uncertainties.into_iter();
    for (sequence, time) in sequences.into_iter().zip(times) {
        let uncertainty_ms = match uncertainties.next() {
            Some(stated) => u32::try_from(stated).map_err(|_| wrong)?,
            None => UNSTATED_UNCERTAINTY_MS,
        };
        let time = match boot {
            Some(boot) => RowTime::Boot { boot, mono_ms: time.cast_unsigned() },
            None => RowTime::Wall { unix_ms: time, uncertainty_ms },
        };
        instants.push(Instant { sequence: sequence.cast_unsigned(), time, values: Vec::new() });
    }
    let lines = instants.get_mut(from..).unwrap_or_default();
    let columns = bytes.count(MAX_COLUMNS, "a number of columns within bounds")?;
    let too_many = bytes.missing("a column less: they hold more than a message may");
    let mut aliases = Vec::new();
    for _ in 0..columns {
        *room = room.checked_sub(count).ok_or(too_many)?;
        column(bytes, &mut aliases, lines)?;
    }
    if lines.iter().any(|line| line.values.is_empty()) {
        return Err(bytes.missing("a reading of every instant").into());
    }
    Ok(())
}

fn column<'b>(
    bytes: &mut Bytes<'b>,
    aliases: &mut Vec<&'b str>,
    lines: &mut [Instant<'b>],
) -> Result<(), ColumnsDecodeError> {
    let wrong = bytes.missing("a stream's alias, of its own in the table");
    let length = bytes.count(MAX_ALIAS_BYTES, wrong.what)?;
    let alias = std::str::from_utf8(bytes.take(length, wrong.what)?).map_err(|_| wrong)?;
    if validate_alias(alias).is_err() || aliases.contains(&alias) {
        return Err(wrong.into());
    }
    aliases.push(alias);
    let head = bytes.byte("a column's kind")?;
    let kind = head & !EXCEPTED;
    let resolution = match kind {
        0..KIND_RATIO => Resolution::decimal(kind.cast_signed() - KIND_ONE),
        KIND_RATIO => Some(ratio(bytes)?),
        _ => None,
    };
    let marks = if head & EXCEPTED == 0 { vec![1; lines.len()] } else { marks(bytes, lines.len())? };
    let valued = marks.iter().filter(|mark| has_value(**mark)).count();
    let mut values = values(bytes, kind, resolution, valued)?.into_iter();
    for (line, mark) in lines.iter_mut().zip(marks) {
        let Some(meant) = mark.checked_sub(1) else { continue };
        let value = if has_value(mark) { values.next().unwrap_or(Value::Missing) } else { Value::Missing };
        line.values.push(RowValue { alias, value, quality: (meant >> 1) as u8 });
    }
    Ok(())
}

/// The code of each instant, 1 for what no run speaks of.
fn marks(bytes: &mut Bytes<'_>, count: usize) -> Result<Vec<u16>, ColumnsDecodeError> {
    const MOST_CODE: usize = 1 + (255 << 1 | 1);
    let mut marks = vec![1; count];
    let mut end = 0;
    for _ in 0..bytes.count(count, "a number of runs within bounds")? {
        let from = end + bytes.count(count - end, "a run within the table")?;
        end = from + bytes.count(count - from, "a run within the table")?;
        let code = bytes.count(MOST_CODE, "a quality")? as u16;
        marks.get_mut(from..end).unwrap_or_default().fill(code);
    }
    Ok(marks)
}

fn has_value(mark: u16) -> bool {
    mark & 1 == 1
}

fn values<'b>(
    bytes: &mut Bytes<'b>,
    kind: u8,
    resolution: Option<Resolution>,
    count: usize,
) -> Result<Vec<Value<'b>>, ColumnsDecodeError> {
    if let Some(resolution) = resolution {
        let steps = bytes.series(count, "a series of steps")?.into_iter();
        return Ok(steps.map(|mantissa| Value::Scaled { mantissa, resolution }).collect());
    }
    // A float, a bool or an item is a byte at least, or was counted before.
    match kind {
        KIND_BOOL => {
            let wrong = bytes.missing("a series of bools");
            let numbers = bytes.series(count, wrong.what)?.into_iter();
            numbers
                .map(|number| match number {
                    0 => Ok(Value::Bool(false)),
                    1 => Ok(Value::Bool(true)),
                    _ => Err(wrong.into()),
                })
                .collect()
        }
        KIND_F32 => (0..count)
            .map(|_| float(bytes, |bytes| Ok(f32::from_le_bytes(bytes.array(FLOAT)?).into())))
            .collect(),
        KIND_F64 => {
            (0..count).map(|_| float(bytes, |bytes| Ok(f64::from_le_bytes(bytes.array(FLOAT)?)))).collect()
        }
        KIND_MIXED => (0..count).map(|_| item(bytes)).collect(),
        _ => Err(bytes.missing("a column of a known kind").into()),
    }
}

const FLOAT: &str = "a finite float";

fn float<'b>(
    bytes: &mut Bytes<'b>,
    read: impl FnOnce(&mut Bytes<'b>) -> Result<f64, Missing>,
) -> Result<Value<'b>, ColumnsDecodeError> {
    let wrong = bytes.missing(FLOAT);
    let number = read(bytes)?;
    if number.is_finite() { Ok(Value::Float(number)) } else { Err(wrong.into()) }
}

fn item<'b>(bytes: &mut Bytes<'b>) -> Result<Value<'b>, ColumnsDecodeError> {
    let wrong = bytes.missing("a value of a known type");
    Ok(match bytes.byte(wrong.what)? {
        ITEM_FLOAT => float(bytes, |bytes| Ok(f64::from_le_bytes(bytes.array(FLOAT)?)))?,
        ITEM_STEPS => {
            let resolution = ratio(bytes)?;
            Value::Scaled { mantissa: bytes.signed("a number of steps")?, resolution }
        }
        ITEM_FALSE => Value::Bool(false),
        ITEM_TRUE => Value::Bool(true),
        ITEM_TEXT => {
            let wrong = bytes.missing("a text");
            let length = bytes.count(usize::MAX, wrong.what)?;
            Value::Text(std::str::from_utf8(bytes.take(length, wrong.what)?).map_err(|_| wrong)?)
        }
        _ => return Err(wrong.into()),
    })
}

fn ratio(bytes: &mut Bytes<'_>) -> Result<Resolution, ColumnsDecodeError> {
    let wrong = bytes.missing("a resolution");
    let (numerator, denominator) = (bytes.varint(wrong.what)?, bytes.varint(wrong.what)?);
    Resolution::of_terms(numerator, denominator).ok_or_else(|| wrong.into())
}
