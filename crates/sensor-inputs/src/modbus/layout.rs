//! How a value lies in registers.

use core::ops::RangeInclusive;

/// The four tables of the Modbus data model (Modbus Application Protocol V1.1b3, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// `input`: input registers, function 4.
    Input,
    /// `holding`: holding registers, function 3.
    Holding,
    /// `coil`: coils, function 1.
    Coil,
    /// `discrete`: discrete inputs, function 2.
    Discrete,
}

impl Table {
    /// Whether an address holds one bit rather than a 16-bit register.
    #[must_use]
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// The function that reads it.
    #[must_use]
    pub fn function(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 2,
            Self::Holding => 3,
            Self::Input => 4,
        }
    }
}

/// How a raw value is encoded in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// `uint16`
    Uint16,
    /// `int16`
    Int16,
    /// `uint32`
    Uint32,
    /// `int32`
    Int32,
    /// `uint64`
    Uint64,
    /// `int64`
    Int64,
    /// `float32`: IEEE 754 binary32.
    Float32,
    /// `float64`: IEEE 754 binary64.
    Float64,
    /// `bool`: one coil or discrete input.
    Bool,
}

impl ValueType {
    /// How many addresses a value takes in its table: registers, or one bit for `bool`.
    #[must_use]
    pub fn addresses(self) -> u16 {
        match self {
            Self::Uint16 | Self::Int16 | Self::Bool => 1,
            Self::Uint32 | Self::Int32 | Self::Float32 => 2,
            Self::Uint64 | Self::Int64 | Self::Float64 => 4,
        }
    }

    /// Whether the raw value is an IEEE 754 float.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float32 | Self::Float64)
    }

    /// The raw values a type can carry; for floats its bit patterns; none for bits.
    #[must_use]
    pub fn raw_range(self) -> Option<RangeInclusive<i128>> {
        let signed = |bits: u32| -(1i128 << (bits - 1))..=(1i128 << (bits - 1)) - 1;
        let unsigned = |bits: u32| 0..=(1i128 << bits) - 1;
        Some(match self {
            Self::Uint16 => unsigned(16),
            Self::Uint32 | Self::Float32 => unsigned(32),
            Self::Uint64 | Self::Float64 => unsigned(64),
            Self::Int16 => signed(16),
            Self::Int32 => signed(32),
            Self::Int64 => signed(64),
            Self::Bool => return None,
        })
    }
}

/// Order of the bytes of a value on the wire, `a` being the most significant; four letters stand for any width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordOrder {
    /// `abcd`: big endian throughout, as Modbus transmits registers.
    Abcd,
    /// `cdab`: least significant register first, bytes within a register big endian.
    Cdab,
    /// `badc`: most significant register first, bytes within a register swapped.
    Badc,
    /// `dcba`: little endian throughout.
    Dcba,
}

impl WordOrder {
    fn has_registers_reversed(self) -> bool {
        matches!(self, Self::Cdab | Self::Dcba)
    }

    fn has_bytes_swapped(self) -> bool {
        matches!(self, Self::Badc | Self::Dcba)
    }

    fn register(self, word: u16) -> u16 {
        if self.has_bytes_swapped() { word.swap_bytes() } else { word }
    }
}

/// Some bits of a number, counted from the least significant, 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    first: u8,
    count: u8,
}

/// Why bits are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BitsRefused {
    /// The first is above the last.
    #[error("the first bit is above the last")]
    Reversed,
    /// The number has not so many; how many it has.
    #[error("the value has only bits 0 to {0}")]
    Beyond(u8),
    /// Bits are taken of whole numbers only.
    #[error("only whole numbers have bits")]
    NotWhole,
}

impl Bits {
    /// Bits `first` to `last` of a value of that type, both included.
    ///
    /// # Errors
    /// See [`BitsRefused`].
    pub fn new(value_type: ValueType, first: u8, last: u8) -> Result<Self, BitsRefused> {
        if value_type.is_float() || value_type == ValueType::Bool {
            return Err(BitsRefused::NotWhole);
        }
        let highest = value_type.addresses() * 16 - 1;
        if first > last {
            Err(BitsRefused::Reversed)
        } else if u16::from(last) > highest {
            Err(BitsRefused::Beyond(u8::try_from(highest).unwrap_or(63)))
        } else {
            Ok(Self { first, count: last - first + 1 })
        }
    }

    /// The bits, as positions.
    #[must_use]
    pub fn range(self) -> RangeInclusive<u8> {
        self.first..=self.first + self.count - 1
    }

    fn mask(self) -> u64 {
        u64::MAX >> (64 - u32::from(self.count))
    }
}

/// Where a value lies, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A number in one to four registers, or one coil or discrete input.
    Number {
        /// Its type.
        value_type: ValueType,
        /// How its bytes are ordered.
        order: WordOrder,
    },
    /// Some bits of a number, as an unsigned number; a single one as a flag.
    Field {
        /// Type of the number; its sign means nothing.
        value_type: ValueType,
        /// How its bytes are ordered.
        order: WordOrder,
        /// Which bits.
        bits: Bits,
    },
    /// Text, two bytes a register. What follows a NUL and blanks around it are left out.
    Text {
        /// How many registers; 1 to 125.
        registers: u8,
        /// How bytes and registers are ordered.
        order: WordOrder,
    },
}

/// A value as the device keeps it.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// A whole number.
    Integer(i128),
    /// A float, and its bits.
    Float {
        /// Right-aligned.
        pattern: u64,
        /// May be infinite or no number.
        number: f64,
    },
    /// One bit.
    Flag(bool),
    /// Text.
    Text(String),
}

impl Layout {
    /// How many addresses it takes in its table.
    #[must_use]
    pub fn addresses(self) -> u16 {
        match self {
            Self::Number { value_type, .. } | Self::Field { value_type, .. } => value_type.addresses(),
            Self::Text { registers, .. } => u16::from(registers),
        }
    }

    /// The value in these registers. `None` when they are not as many as the layout takes, or no text. A coil is not
    /// read from registers.
    #[must_use]
    pub fn read(self, words: &[u16]) -> Option<Raw> {
        if words.len() != usize::from(self.addresses()) {
            return None;
        }
        match self {
            Self::Number { value_type, order } => number(value_type, most_significant_first(order, words)),
            Self::Field { order, bits, .. } => {
                let field = most_significant_first(order, words) >> bits.first & bits.mask();
                Some(if bits.count == 1 { Raw::Flag(field == 1) } else { Raw::Integer(i128::from(field)) })
            }
            Self::Text { order, .. } => text(order, words).map(Raw::Text),
        }
    }

    /// The registers that hold `raw`; `None` when it does not fit, and for a bit field, whose other bits are not known
    /// here.
    #[must_use]
    pub fn write(self, raw: &Raw) -> Option<Vec<u16>> {
        let count = usize::from(self.addresses());
        let (order, mut words) = match (self, raw) {
            (Self::Number { value_type, order }, raw) => {
                let bits = pattern(value_type, raw)?;
                let word = |index: usize| (bits >> (16 * (count - 1 - index))) as u16;
                (order, (0..count).map(word).collect::<Vec<_>>())
            }
            (Self::Text { order, .. }, Raw::Text(text)) if text.len() <= count * 2 => {
                let bytes: Vec<u8> = text.bytes().chain(core::iter::repeat(0)).take(count * 2).collect();
                (
                    order,
                    bytes
                        .chunks(2)
                        .map(|pair| pair.iter().fold(0, |word, b| word << 8 | u16::from(*b)))
                        .collect(),
                )
            }
            _ => return None,
        };
        if order.has_registers_reversed() {
            words.reverse();
        }
        words.iter_mut().for_each(|word| *word = order.register(*word));
        Some(words)
    }
}

fn number(value_type: ValueType, bits: u64) -> Option<Raw> {
    Some(match value_type {
        ValueType::Uint16 | ValueType::Uint32 | ValueType::Uint64 => Raw::Integer(i128::from(bits)),
        // Each is as wide as the bits that were read, so truncation takes none away.
        ValueType::Int16 => Raw::Integer(i128::from((bits as u16).cast_signed())),
        ValueType::Int32 => Raw::Integer(i128::from((bits as u32).cast_signed())),
        ValueType::Int64 => Raw::Integer(i128::from(bits.cast_signed())),
        ValueType::Float32 => Raw::Float { pattern: bits, number: f64::from(f32::from_bits(bits as u32)) },
        ValueType::Float64 => Raw::Float { pattern: bits, number: f64::from_bits(bits) },
        ValueType::Bool => return None,
    })
}

/// The bits of `raw` as that type keeps them, right-aligned.
fn pattern(value_type: ValueType, raw: &Raw) -> Option<u64> {
    match (value_type, raw) {
        (ValueType::Float32, Raw::Float { number, .. }) => {
            let narrow = *number as f32;
            (narrow.is_finite() || !number.is_finite()).then(|| u64::from(narrow.to_bits()))
        }
        (ValueType::Float64, Raw::Float { number, .. }) => Some(number.to_bits()),
        (ValueType::Float32 | ValueType::Float64 | ValueType::Bool, _) => None,
        (whole, Raw::Integer(raw)) => whole.raw_range()?.contains(raw).then_some(*raw as u64),
        _ => None,
    }
}

/// The bits of a value of up to four registers, whatever order they were sent in.
fn most_significant_first(order: WordOrder, words: &[u16]) -> u64 {
    let push = |bits: u64, word: &u16| (bits << 16) | u64::from(order.register(*word));
    if order.has_registers_reversed() { words.iter().rev().fold(0, push) } else { words.iter().fold(0, push) }
}

/// `None` when it is not UTF-8 or holds control characters: it was read in a wrong order, or is no text.
fn text(order: WordOrder, words: &[u16]) -> Option<String> {
    let mut bytes = Vec::with_capacity(words.len() * 2);
    let mut push = |word: &u16| bytes.extend_from_slice(&order.register(*word).to_be_bytes());
    if order.has_registers_reversed() {
        words.iter().rev().for_each(&mut push);
    } else {
        words.iter().for_each(&mut push);
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests;
