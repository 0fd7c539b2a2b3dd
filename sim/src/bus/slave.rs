//! One slave: what its registers hold and how it answers a request.
//!
//! Owns the memory and the points' counters. Invariant: a point's counter moves only in [`Slave::compose`] with `commit`,
//! which the bus calls when a complete valid frame goes on the wire; so counters on the wire have no holes.

use super::BusError;
use super::codec::{self, Ask, BitTable, ExceptionCode, Request, Table};
use super::ledger::PointLedger;
use super::value::{Encoding, PointFunction, Source, WordOrder};
use std::collections::BTreeMap;
use std::time::Duration;

/// A slave to be put on a bus.
#[derive(Debug, Clone, PartialEq)]
pub struct SlaveSpec {
    /// Unit identifier, 1..=247.
    pub unit: u8,
    /// Name for people and ledgers.
    pub name: String,
    /// From the end of a request to the begin of the answer; never less than the silence between frames.
    pub answer_delay: Duration,
    /// Registers that hold values.
    pub points: Vec<PointSpec>,
    /// Registers that hold what was written.
    pub registers: Vec<RegisterBank>,
    /// Coils and discrete inputs.
    pub bits: Vec<BitBank>,
    /// Vendor, product code and revision for function 43/14; without it that function is unknown.
    pub identity: Option<[String; 3]>,
}

impl SlaveSpec {
    /// A slave without registers that answers after 5 ms.
    #[must_use]
    pub fn new(unit: u8, name: &str) -> Self {
        Self {
            unit,
            name: name.to_owned(),
            answer_delay: Duration::from_millis(5),
            points: Vec::new(),
            registers: Vec::new(),
            bits: Vec::new(),
            identity: None,
        }
    }
}

/// A range of registers that holds a value, produced anew for every answer that carries it whole.
#[derive(Debug, Clone, PartialEq)]
pub struct PointSpec {
    /// Name, unique within the slave.
    pub name: String,
    /// Holding or input.
    pub table: Table,
    /// First register, from 0 as on the wire.
    pub address: u16,
    /// How the number is written.
    pub encoding: Encoding,
    /// In which order its bytes lie.
    pub order: WordOrder,
    /// Which numbers.
    pub source: Source,
}

/// Registers that remember. Input registers cannot be written whatever `writable` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterBank {
    /// Holding or input.
    pub table: Table,
    /// First register.
    pub address: u16,
    /// Contents at first.
    pub words: Vec<u16>,
    /// Whether functions 6 and 16 may change them.
    pub writable: bool,
}

/// Bits that remember; coils can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitBank {
    /// Coils or discrete inputs.
    pub table: BitTable,
    /// First bit.
    pub address: u16,
    /// Contents at first.
    pub bits: Vec<bool>,
}

/// What one register is.
#[derive(Debug)]
enum Place {
    Memory { word: u16, writable: bool },
    Point { index: usize, word: usize },
}

/// An answer that is decided but not yet written: register reads are evaluated when they go on the wire.
#[derive(Debug)]
pub(super) enum Answer {
    Frame(Vec<u8>),
    Exception(Vec<u8>),
    Registers { function: u8, table: Table, address: u16, count: u16 },
}

impl Answer {
    /// Length of the frame it becomes.
    pub(super) fn frame_length(&self) -> usize {
        match self {
            Self::Frame(bytes) | Self::Exception(bytes) => bytes.len(),
            Self::Registers { count, .. } => usize::from(*count) * 2 + 5,
        }
    }
}

#[derive(Debug)]
pub(super) struct Slave {
    pub(super) unit: u8,
    pub(super) name: String,
    pub(super) answer_delay: Duration,
    registers: BTreeMap<(Table, u16), Place>,
    bits: BTreeMap<(BitTable, u16), bool>,
    points: Vec<PointLedger>,
    identity: Option<[String; 3]>,
}

impl Slave {
    pub(super) fn new(spec: SlaveSpec, seed: u64) -> Result<Self, BusError> {
        let unit = spec.unit;
        if !(1..=247).contains(&unit) {
            return Err(BusError::UnitOutOfRange { unit });
        }
        let mut slave = Self {
            unit,
            name: spec.name,
            answer_delay: spec.answer_delay,
            registers: BTreeMap::new(),
            bits: BTreeMap::new(),
            points: Vec::new(),
            identity: spec.identity,
        };
        for bank in spec.registers {
            for (offset, word) in bank.words.into_iter().enumerate() {
                let writable = bank.writable && bank.table == Table::Holding;
                slave.place(bank.table, bank.address, offset, Place::Memory { word, writable })?;
            }
        }
        for (index, point) in spec.points.into_iter().enumerate() {
            slave.add_point(index, point, seed)?;
        }
        for bank in spec.bits {
            for (offset, bit) in bank.bits.into_iter().enumerate() {
                let address = offset_address(unit, bank.address, offset)?;
                if slave.bits.insert((bank.table, address), bit).is_some() {
                    return Err(BusError::Overlap { unit, address });
                }
            }
        }
        Ok(slave)
    }

    fn add_point(&mut self, index: usize, spec: PointSpec, seed: u64) -> Result<(), BusError> {
        let unit = self.unit;
        if self.points.iter().any(|p| p.name == spec.name) {
            return Err(BusError::DuplicatePoint { unit, point: spec.name });
        }
        let Some(function) = PointFunction::new(spec.source, spec.encoding, spec.order, seed, unit, index)
        else {
            return Err(BusError::SourceDoesNotFit { unit, point: spec.name });
        };
        for word in 0..usize::from(spec.encoding.registers()) {
            self.place(spec.table, spec.address, word, Place::Point { index, word })?;
        }
        let counted = function.is_counted();
        self.points.push(PointLedger { name: spec.name, counted, produced: 0, overtaken: 0, function });
        Ok(())
    }

    fn place(&mut self, table: Table, first: u16, offset: usize, place: Place) -> Result<(), BusError> {
        let address = offset_address(self.unit, first, offset)?;
        match self.registers.insert((table, address), place) {
            None => Ok(()),
            Some(_) => Err(BusError::Overlap { unit: self.unit, address }),
        }
    }

    pub(super) fn points(&self) -> &[PointLedger] {
        &self.points
    }

    /// Carries out what a request asks, reads of registers excepted, and decides the answer.
    pub(super) fn handle(&mut self, request: &Request) -> Answer {
        match self.carry_out(request) {
            Ok(answer) => answer,
            Err(code) => Answer::Exception(codec::exception_reply(self.unit, request.function, code)),
        }
    }

    fn carry_out(&mut self, request: &Request) -> Result<Answer, ExceptionCode> {
        let function = request.function;
        match &request.ask {
            Ask::ReadRegisters { table, address, count } => {
                let (table, address, count) = (*table, *address, *count);
                let known = |a: u16| self.registers.contains_key(&(table, a));
                range(address, usize::from(count)).filter(|r| r.clone().all(known)).ok_or(NO_SUCH_ADDRESS)?;
                Ok(Answer::Registers { function, table, address, count })
            }
            Ask::ReadBits { table, address, count } => {
                let range = range(*address, usize::from(*count)).ok_or(NO_SUCH_ADDRESS)?;
                let bits: Option<Vec<bool>> = range.map(|a| self.bits.get(&(*table, a)).copied()).collect();
                Ok(Answer::Frame(codec::bits_reply(self.unit, function, &bits.ok_or(NO_SUCH_ADDRESS)?)))
            }
            Ask::WriteRegisters { address, values } => {
                let range = range(*address, values.len()).ok_or(NO_SUCH_ADDRESS)?;
                let writable = |a: u16| {
                    matches!(
                        self.registers.get(&(Table::Holding, a)),
                        Some(Place::Memory { writable: true, .. })
                    )
                };
                // All or nothing: a refused write changes no register.
                if !range.clone().all(writable) {
                    return Err(NO_SUCH_ADDRESS);
                }
                for (a, value) in range.zip(values) {
                    self.registers
                        .insert((Table::Holding, a), Place::Memory { word: *value, writable: true });
                }
                Ok(Answer::Frame(codec::echo_reply(request)))
            }
            Ask::WriteCoils { address, values } => {
                let range = range(*address, values.len()).ok_or(NO_SUCH_ADDRESS)?;
                if !range.clone().all(|a| self.bits.contains_key(&(BitTable::Coils, a))) {
                    return Err(NO_SUCH_ADDRESS);
                }
                for (a, value) in range.zip(values) {
                    self.bits.insert((BitTable::Coils, a), *value);
                }
                Ok(Answer::Frame(codec::echo_reply(request)))
            }
            Ask::ReturnQueryData => Ok(Answer::Frame(codec::echo_reply(request))),
            Ask::ReadDeviceIdentification { code, first } => {
                let texts = self.identity.as_ref().ok_or(ExceptionCode::IllegalFunction)?;
                if *code == 4 && usize::from(*first) >= texts.len() {
                    return Err(NO_SUCH_ADDRESS);
                }
                let texts = texts.each_ref().map(String::as_str);
                Ok(Answer::Frame(codec::identification_reply(self.unit, *code, *first, &texts)))
            }
            Ask::Refuse(code) => Err(*code),
        }
    }

    /// Writes an answer's frame. A point that lies whole within a register read shows its next value; one only partly
    /// within shows the words of its latest value (number 0 before the first), for half a value is none.
    /// With `commit` the next values become the latest: the frame is going on the wire complete and valid.
    pub(super) fn compose(&mut self, answer: &Answer, commit: bool, overtaken: bool) -> Vec<u8> {
        let (function, table, address, count) = match answer {
            Answer::Frame(bytes) | Answer::Exception(bytes) => return bytes.clone(),
            Answer::Registers { function, table, address, count } => (*function, *table, *address, *count),
        };
        let places: Vec<&Place> = range(address, usize::from(count))
            .into_iter()
            .flatten()
            .filter_map(|a| self.registers.get(&(table, a)))
            .collect();
        let mut seen = vec![0_usize; self.points.len()];
        for place in &places {
            if let Place::Point { index, .. } = place
                && let Some(n) = seen.get_mut(*index)
            {
                *n += 1;
            }
        }
        // The words of every point that is touched, and whether it is carried whole.
        let shown: Vec<(Vec<u16>, bool)> =
            self.points.iter().zip(seen).map(|(point, seen)| shown_words(point, seen)).collect();
        let word_of = |place: &&Place| match place {
            Place::Memory { word, .. } => *word,
            Place::Point { index, word } => {
                shown.get(*index).and_then(|(words, _)| words.get(*word)).copied().unwrap_or(0)
            }
        };
        let words: Vec<u16> = places.iter().map(word_of).collect();
        if commit {
            for (point, (_, whole)) in self.points.iter_mut().zip(&shown) {
                point.produced += u64::from(*whole);
                point.overtaken += u64::from(*whole && overtaken);
            }
        }
        codec::registers_reply(self.unit, function, &words)
    }
}

const NO_SUCH_ADDRESS: ExceptionCode = ExceptionCode::IllegalDataAddress;

fn shown_words(point: &PointLedger, registers_seen: usize) -> (Vec<u16>, bool) {
    if registers_seen == 0 {
        return (Vec::new(), false);
    }
    let next = point.function.words(point.produced + 1);
    let whole = next.len() == registers_seen;
    (if whole { next } else { point.function.words(point.produced) }, whole)
}

/// The addresses of a range; `None` where it runs past 65535.
fn range(address: u16, count: usize) -> Option<std::ops::RangeInclusive<u16>> {
    let more = u16::try_from(count.checked_sub(1)?).ok()?;
    Some(address..=address.checked_add(more)?)
}

fn offset_address(unit: u8, first: u16, offset: usize) -> Result<u16, BusError> {
    u16::try_from(offset)
        .ok()
        .and_then(|o| first.checked_add(o))
        .ok_or(BusError::PastTheEnd { unit, address: first })
}
