//! What was lost on its way, as a map between rows: `e`, when (`t`, `u` or `b`, `m`), and `loss`, a map of its own.
//!
//! | key in `loss` | value |
//! |---|---|
//! | `of` | `dropped` (accepted and given up), `missed` (due and never captured), `refused`, `coalesced`, `lost` (accepted, and in a damaged file) |
//! | `why` | the reason, a word |
//! | `n` | how many in all, so far; null where nobody knows |
//! | `stream` | alias; left out where it concerns every stream |
//! | `from`, `to` | first and last sequence, where it is a range of the epoch `e` |
//! | `held`, `kept` | of a damaged file only: how many waited in it (null where nobody knows), and how many were salvaged |
//! | `file`, `id` | which record: it grows, and is sent again with the new count. The latest replaces those before |

use super::{MAX_ALIAS_BYTES, RowTime, validate_alias};
use crate::cbor::{Fault, Reader, Scalar, Writer};

use super::packer::RowError;

/// Longest word for a reason or a kind, in bytes.
pub const MAX_WORD_BYTES: usize = 48;

/// One record of losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossStatement<'a> {
    /// First 4 bytes of the epoch of the range; of a sum over several epochs, the one in which it last grew.
    pub epoch_prefix: [u8; 4],
    /// When it last grew.
    pub time: RowTime,
    /// `dropped`, `missed`, `refused`, `coalesced` or `lost`.
    pub of: &'a str,
    /// Why.
    pub why: &'a str,
    /// How many in all; `None` where nobody knows.
    pub count: Option<u64>,
    /// The stream's alias; `None` for every stream.
    pub stream: Option<&'a str>,
    /// First and last sequence of the range.
    pub sequences: Option<(u64, u64)>,
    /// First 4 bytes of the queue file's id.
    pub file: [u8; 4],
    /// The record's number in that file among those of its kind (dropped, or not).
    pub id: u64,
    /// Of a damaged file only.
    pub salvage: Option<Salvage>,
}

/// What became of the readings that waited in a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// How many there were; `None` where nobody knows.
    pub held: Option<u64>,
    /// How many were found, and go on waiting.
    pub kept: u64,
}

/// As [`LossStatement`], owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedLoss {
    /// First 4 bytes of the epoch of the range; of a sum over several epochs, the one in which it last grew.
    pub epoch_prefix: [u8; 4],
    /// When it last grew.
    pub time: RowTime,
    /// What is in `loss`.
    pub loss: LossKeys,
}

/// The content of `loss`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LossKeys {
    /// `dropped`, `missed`, `refused`, `coalesced` or `lost`.
    pub of: String,
    /// Why.
    pub why: String,
    /// How many in all; `None` where nobody knows.
    pub count: Option<u64>,
    /// The stream's alias; `None` for every stream.
    pub stream: Option<String>,
    /// First and last sequence of the range.
    pub sequences: Option<(u64, u64)>,
    /// First 4 bytes of the queue file's id.
    pub file: [u8; 4],
    /// The record's number.
    pub id: u64,
    /// Of a damaged file only.
    pub salvage: Option<Salvage>,
}

pub(super) fn write(writer: &mut Writer<'_>, loss: &LossStatement<'_>) -> Result<(), RowError> {
    writer.text("loss");
    let pairs = usize::from(loss.sequences.is_some()) + usize::from(loss.salvage.is_some());
    writer.map(5 + usize::from(loss.stream.is_some()) + 2 * pairs);
    for (key, word) in [("of", loss.of), ("why", loss.why)] {
        writer.text(key);
        writer.text(word.get(..MAX_WORD_BYTES).unwrap_or(word));
    }
    writer.text("n");
    count(writer, loss.count);
    if let Some(alias) = loss.stream {
        validate_alias(alias)?;
        writer.text("stream");
        writer.text(alias);
    }
    if let Some((from, to)) = loss.sequences {
        writer.text("from");
        writer.unsigned(from);
        writer.text("to");
        writer.unsigned(to);
    }
    if let Some(salvage) = loss.salvage {
        writer.text("held");
        count(writer, salvage.held);
        writer.text("kept");
        writer.unsigned(salvage.kept);
    }
    writer.text("file");
    writer.bytes(&loss.file);
    writer.text("id");
    writer.unsigned(loss.id);
    Ok(())
}

fn count(writer: &mut Writer<'_>, count: Option<u64>) {
    match count {
        Some(count) => writer.unsigned(count),
        None => writer.null(),
    }
}

fn read_count(reader: &mut Reader<'_>) -> Result<Option<u64>, Fault> {
    match reader.scalar(usize::MAX)? {
        Scalar::Null => Ok(None),
        Scalar::Integer(n) => u64::try_from(n).map(Some).map_err(|_| Fault::OutOfRange),
        _ => Err(Fault::WrongType { expected: "a count or null" }),
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<LossKeys, Fault> {
    let mut keys = LossKeys::default();
    let (mut from, mut to) = (None, None);
    let (mut held, mut kept) = (None, None);
    let mut seen = Vec::new();
    let mut entries = reader.map()?;
    while entries.another(reader)? {
        let key = reader.text(MAX_ALIAS_BYTES)?.into_owned();
        if seen.contains(&key) {
            return Err(Fault::Twice);
        }
        match key.as_str() {
            "of" => keys.of = reader.text(MAX_WORD_BYTES)?.into_owned(),
            "why" => keys.why = reader.text(MAX_WORD_BYTES)?.into_owned(),
            "n" => keys.count = read_count(reader)?,
            "held" => held = Some(read_count(reader)?),
            "kept" => kept = Some(reader.unsigned()?),
            "stream" => keys.stream = Some(reader.text(MAX_ALIAS_BYTES)?.into_owned()),
            "from" => from = Some(reader.unsigned()?),
            "to" => to = Some(reader.unsigned()?),
            "file" => keys.file = reader.byte_array()?,
            "id" => keys.id = reader.unsigned()?,
            _ => return Err(Fault::Invalid { expected: "key of a loss" }),
        }
        seen.push(key);
    }
    if !["of", "why", "n", "file", "id"].iter().all(|key| seen.iter().any(|other| other == key)) {
        return Err(Fault::Invalid { expected: "whole loss" });
    }
    keys.sequences = match (from, to) {
        (Some(from), Some(to)) => Some((from, to)),
        (None, None) => None,
        _ => return Err(Fault::Invalid { expected: "range with both ends" }),
    };
    keys.salvage = match (held, kept) {
        (Some(held), Some(kept)) => Some(Salvage { held, kept }),
        (None, None) => None,
        _ => return Err(Fault::Invalid { expected: "what was held with what was kept" }),
    };
    Ok(keys)
}
