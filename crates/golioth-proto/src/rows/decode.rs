//! Reads messages of rows back: for people who look at what was sent, and for tests.
//!
//! It takes what any encoder of this format may write (any order of keys, either length style), and refuses what no
//! encoder should.

use super::loss::{self, DecodedLoss, LossKeys};
use super::{ClockStatement, MAX_ALIAS_BYTES, Resolution, RowTime, UNSTATED_UNCERTAINTY_MS};
use crate::cbor::{Fault, Reader, Scalar};

/// Most values in one map; far more than a message has room for.
const MAX_VALUES: usize = 512;

/// One map of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// Readings of one instant.
    Row(DecodedRow),
    /// The beginning of an epoch.
    Epoch(DecodedEpoch),
    /// A boot's wall time.
    Clock(ClockStatement),
    /// What was lost.
    Loss(DecodedLoss),
}

/// As [`super::Row`], owned.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedRow {
    /// First 4 bytes of the store epoch.
    pub epoch_prefix: [u8; 4],
    /// The group's sequence.
    pub sequence: u64,
    /// When.
    pub time: RowTime,
    /// In the order of the message.
    pub values: Vec<DecodedReading>,
}

/// As [`super::RowValue`], owned.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedReading {
    /// The stream's short name.
    pub alias: String,
    /// What was read.
    pub value: DecodedValue,
    /// 0 is good.
    pub quality: u8,
}

/// A value as the wire has it. Whether an integer was a float or a scaled value cannot be told, and does not matter.
#[derive(Clone, Debug, PartialEq)]
pub enum DecodedValue {
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
    /// Nothing was read.
    Missing,
}

impl DecodedValue {
    /// The number in steps of `resolution`, rounded to the nearest; `None` if this is no number or does not fit.
    pub fn mantissa(&self, resolution: Resolution) -> Option<i64> {
        match self {
            Self::Integer(number) => resolution.mantissa_of_whole(*number),
            Self::Float(number) => resolution.mantissa_of(*number),
            Self::Bool(_) | Self::Text(_) | Self::Missing => None,
        }
    }
}

/// As [`super::EpochStatement`], owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedEpoch {
    /// The epoch that begins.
    pub epoch: [u8; 8],
    /// How the epoch before ended.
    pub previous: Option<PreviousEpochSequences>,
}

/// As [`super::PreviousEpoch`], owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousEpochSequences {
    /// Its name.
    pub epoch: [u8; 8],
    /// Its groups and the last sequence of each.
    pub last_sequences: Vec<(String, u64)>,
}

/// Why bytes are not a message of rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message as a whole.
    #[error("not a message of rows: {fault}; it should be a CBOR array of maps")]
    Document {
        /// What is wrong with it.
        fault: Fault,
    },
    /// One map.
    #[error("element {index} of the message, key {key:?}: {fault}")]
    Key {
        /// Its place, from 0.
        index: usize,
        /// The key; empty where it is the map or a key itself that is wrong.
        key: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A map that lacks what identifies it.
    #[error("element {index} of the message lacks {missing:?}: it cannot be told from any other")]
    Incomplete {
        /// Its place, from 0.
        index: usize,
        /// The key that is not there.
        missing: &'static str,
    },
    /// Keys that do not belong in one map.
    #[error("element {index} of the message has {key:?}, which does not belong to its kind")]
    Inconsistent {
        /// Its place, from 0.
        index: usize,
        /// The key that is too much.
        key: String,
    },
}

/// Reads a message as [`super::RowsPacker`] writes it.
pub fn decode_rows(payload: &[u8]) -> Result<Vec<Element>, DecodeError> {
    let document = |fault| DecodeError::Document { fault };
    let mut reader = Reader::new(payload);
    let mut elements = Vec::new();
    let mut items = reader.array().map_err(document)?;
    while items.another(&mut reader).map_err(document)? {
        let index = elements.len();
        let keys = Keys::read(&mut reader).map_err(|(key, fault)| DecodeError::Key { index, key, fault })?;
        elements.push(keys.element(index)?);
    }
    reader.end().map_err(document)?;
    Ok(elements)
}

/// A map's content, before it is known which kind it is.
#[derive(Default)]
struct Keys {
    e: Option<[u8; 4]>,
    s: Option<u64>,
    t: Option<i64>,
    u: Option<u32>,
    b: Option<u64>,
    m: Option<u64>,
    o: Option<i64>,
    q: Option<Vec<(String, u8)>>,
    ep: Option<[u8; 8]>,
    pe: Option<[u8; 8]>,
    ls: Option<Vec<(String, u64)>>,
    loss: Option<LossKeys>,
    values: Vec<DecodedReading>,
}

impl Keys {
    fn read(reader: &mut Reader<'_>) -> Result<Self, (String, Fault)> {
        let unnamed = |fault| (String::new(), fault);
        let mut keys = Self::default();
        let mut entries = reader.map().map_err(unnamed)?;
        while entries.another(reader).map_err(unnamed)? {
            let key = reader.text(MAX_ALIAS_BYTES).map_err(unnamed)?;
            keys.read_value(reader, &key).map_err(|fault| (key.into_owned(), fault))?;
        }
        Ok(keys)
    }

    fn read_value(&mut self, reader: &mut Reader<'_>, key: &str) -> Result<(), Fault> {
        match key {
            "e" => once(&mut self.e, reader.byte_array()),
            "s" => once(&mut self.s, reader.unsigned()),
            "t" => once(&mut self.t, reader.signed()),
            "u" => once(&mut self.u, reader.unsigned().and_then(narrow)),
            "b" => once(&mut self.b, reader.unsigned()),
            "m" => once(&mut self.m, reader.unsigned()),
            "o" => once(&mut self.o, reader.signed()),
            "q" => once(&mut self.q, read_named(reader, |reader| reader.unsigned().and_then(narrow))),
            "ep" => once(&mut self.ep, reader.byte_array()),
            "pe" => once(&mut self.pe, reader.byte_array()),
            "loss" => once(&mut self.loss, loss::read(reader)),
            "ls" => once(&mut self.ls, read_named(reader, Reader::unsigned)),
            alias => {
                if super::validate_alias(alias).is_err() {
                    return Err(Fault::Invalid { expected: "stream's alias" });
                }
                if self.values.iter().any(|reading| reading.alias == alias) {
                    return Err(Fault::Twice);
                }
                if self.values.len() == MAX_VALUES {
                    return Err(Fault::TooLong { limit: MAX_VALUES });
                }
                let value = match reader.scalar(usize::MAX)? {
                    Scalar::Null => DecodedValue::Missing,
                    Scalar::Bool(value) => DecodedValue::Bool(value),
                    Scalar::Integer(number) => DecodedValue::Integer(number),
                    Scalar::Float(number) if number.is_finite() => DecodedValue::Float(number),
                    Scalar::Text(text) => DecodedValue::Text(text),
                    Scalar::Float(_) => return Err(Fault::OutOfRange),
                    Scalar::Unsupported => {
                        return Err(Fault::WrongType { expected: "a number, text, true, false or null" });
                    }
                };
                self.values.push(DecodedReading { alias: alias.to_owned(), value, quality: 0 });
                Ok(())
            }
        }
    }

    fn element(mut self, index: usize) -> Result<Element, DecodeError> {
        if let Some(loss) = self.loss.take() {
            self.loss(index, loss).map(Element::Loss)
        } else if self.ep.is_some() {
            self.epoch(index).map(Element::Epoch)
        } else if self.o.is_some() {
            self.clock(index).map(Element::Clock)
        } else {
            self.row(index).map(Element::Row)
        }
    }

    fn row(self, index: usize) -> Result<DecodedRow, DecodeError> {
        refuse(index, [("pe", self.pe.is_some()), ("ls", self.ls.is_some())])?;
        let time = self.time(index)?;
        let mut values = self.values;
        for (alias, quality) in self.q.unwrap_or_default() {
            match values.iter_mut().find(|reading| reading.alias == alias) {
                Some(reading) => reading.quality = quality,
                None => return Err(DecodeError::Inconsistent { index, key: alias }),
            }
        }
        if values.is_empty() {
            return Err(DecodeError::Incomplete { index, missing: "a value" });
        }
        Ok(DecodedRow {
            epoch_prefix: require(index, "e", self.e)?,
            sequence: require(index, "s", self.s)?,
            time,
            values,
        })
    }

    fn time(&self, index: usize) -> Result<RowTime, DecodeError> {
        match (self.t, self.b, self.m) {
            (Some(unix_ms), None, None) => Ok(RowTime::Wall { unix_ms, uncertainty_ms: stated(self.u) }),
            (None, Some(boot), Some(mono_ms)) => {
                refuse(index, [("u", self.u.is_some())])?;
                Ok(RowTime::Boot { boot, mono_ms })
            }
            (Some(_), _, _) => Err(DecodeError::Inconsistent { index, key: "t".to_owned() }),
            (None, None, None) => Err(DecodeError::Incomplete { index, missing: "t" }),
            (None, None, Some(_)) => Err(DecodeError::Incomplete { index, missing: "b" }),
            (None, Some(_), None) => Err(DecodeError::Incomplete { index, missing: "m" }),
        }
    }

    fn loss(self, index: usize, loss: LossKeys) -> Result<DecodedLoss, DecodeError> {
        refuse(
            index,
            [
                ("s", self.s.is_some()),
                ("o", self.o.is_some()),
                ("q", self.q.is_some()),
                ("ep", self.ep.is_some()),
                ("pe", self.pe.is_some()),
                ("ls", self.ls.is_some()),
            ],
        )?;
        refuse_values(index, &self.values)?;
        let time = self.time(index)?;
        Ok(DecodedLoss { epoch_prefix: require(index, "e", self.e)?, time, loss })
    }

    fn epoch(self, index: usize) -> Result<DecodedEpoch, DecodeError> {
        refuse(
            index,
            [
                ("s", self.s.is_some()),
                ("t", self.t.is_some()),
                ("u", self.u.is_some()),
                ("b", self.b.is_some()),
                ("m", self.m.is_some()),
                ("o", self.o.is_some()),
                ("q", self.q.is_some()),
            ],
        )?;
        refuse_values(index, &self.values)?;
        let epoch = require(index, "ep", self.ep)?;
        if !epoch.starts_with(&require(index, "e", self.e)?) {
            return Err(DecodeError::Inconsistent { index, key: "e".to_owned() });
        }
        let previous = match (self.pe, self.ls) {
            (Some(epoch), Some(last_sequences)) => Some(PreviousEpochSequences { epoch, last_sequences }),
            (None, None) => None,
            (Some(_), None) => return Err(DecodeError::Incomplete { index, missing: "ls" }),
            (None, Some(_)) => return Err(DecodeError::Incomplete { index, missing: "pe" }),
        };
        Ok(DecodedEpoch { epoch, previous })
    }

    fn clock(self, index: usize) -> Result<ClockStatement, DecodeError> {
        refuse(
            index,
            [
                ("s", self.s.is_some()),
                ("m", self.m.is_some()),
                ("q", self.q.is_some()),
                ("pe", self.pe.is_some()),
                ("ls", self.ls.is_some()),
            ],
        )?;
        refuse_values(index, &self.values)?;
        Ok(ClockStatement {
            epoch_prefix: require(index, "e", self.e)?,
            boot: require(index, "b", self.b)?,
            unix_ms_at_mono_zero: require(index, "o", self.o)?,
            dated_with_unix_ms_at_mono_zero: self.t,
            uncertainty_ms: stated(self.u),
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: Result<T, Fault>) -> Result<(), Fault> {
    if slot.is_some() {
        return Err(Fault::Twice);
    }
    *slot = Some(value?);
    Ok(())
}

fn narrow<T: TryFrom<u64>>(number: u64) -> Result<T, Fault> {
    T::try_from(number).map_err(|_| Fault::OutOfRange)
}

fn stated(uncertainty_ms: Option<u32>) -> u32 {
    uncertainty_ms.unwrap_or(UNSTATED_UNCERTAINTY_MS)
}

fn read_named<'b, T>(
    reader: &mut Reader<'b>,
    read: impl Fn(&mut Reader<'b>) -> Result<T, Fault>,
) -> Result<Vec<(String, T)>, Fault> {
    let mut named: Vec<(String, T)> = Vec::new();
    let mut entries = reader.map()?;
    while entries.another(reader)? {
        let name = reader.text(MAX_ALIAS_BYTES)?;
        if named.iter().any(|(other, _)| *other == name) {
            return Err(Fault::Twice);
        }
        if named.len() == MAX_VALUES {
            return Err(Fault::TooLong { limit: MAX_VALUES });
        }
        named.push((name.into_owned(), read(reader)?));
    }
    Ok(named)
}

fn require<T>(index: usize, missing: &'static str, value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Incomplete { index, missing })
}

fn refuse<const N: usize>(index: usize, keys: [(&str, bool); N]) -> Result<(), DecodeError> {
    match keys.iter().find(|(_, present)| *present) {
        Some((key, _)) => Err(DecodeError::Inconsistent { index, key: (*key).to_owned() }),
        None => Ok(()),
    }
}

fn refuse_values(index: usize, values: &[DecodedReading]) -> Result<(), DecodeError> {
    match values.first() {
        Some(reading) => Err(DecodeError::Inconsistent { index, key: reading.alias.clone() }),
        None => Ok(()),
    }
}
