//! Registers to values: type, byte order, sentinels, scale and plausible range of a point.
//!
//! Pure. A value of a stream with a resolution is counted in whole steps, computed in whole numbers wherever the
//! configured decimals allow ([`super::exact`]); a value that cannot be counted or is no number is absent, and its
//! quality says whose fault that is. Nothing the device sends is an error.

use super::exact::{self, Scaling};
use crate::config::{Point, ValueType, WordOrder};
use crate::reading::{Quality, Resolution, Value};

/// How one point's registers become its value.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    value_type: ValueType,
    order: WordOrder,
    sentinels: Vec<i128>,
    scale: f64,
    offset: f64,
    resolution: Option<Resolution>,
    /// Present when the steps of an integer can be computed exactly.
    scaling: Option<Scaling>,
    min: Option<f64>,
    max: Option<f64>,
}

impl Decoder {
    pub(super) fn new(point: &Point) -> Self {
        let resolution = point.resolution.and_then(exact::resolution);
        Self {
            value_type: point.value_type,
            order: point.order,
            sentinels: point.sentinels.clone(),
            scale: point.scale,
            offset: point.offset,
            resolution,
            scaling: resolution.and_then(|step| Scaling::new(point.scale, point.offset, step)),
            min: point.min,
            max: point.max,
        }
    }

    /// The step of the values, if they are counted.
    pub(super) fn resolution(&self) -> Option<Resolution> {
        self.resolution
    }

    /// The value in these registers; `None` when they are not as many as the type takes.
    pub(super) fn registers(&self, words: &[u16]) -> Option<(Value, Quality)> {
        let raw = Raw::read(self.value_type, self.order, words)?;
        let absent = |why| Some((Value::Absent, why));
        if self.sentinels.contains(&raw.pattern()) || raw.is_no_number() {
            return absent(Quality::DeviceInvalid);
        }
        let Some(value) = self.value(raw) else { return absent(Quality::OutOfRange) };
        let number = match (&value, self.resolution) {
            (Value::Steps(steps), Some(step)) => step.value(*steps),
            (Value::Float(number), _) => *number,
            _ => return Some((value, Quality::Good)),
        };
        let too_low = self.min.is_some_and(|min| number < min);
        let too_high = self.max.is_some_and(|max| number > max);
        Some((value, if too_low || too_high { Quality::OutOfRange } else { Quality::Good }))
    }

    /// `None` when it cannot be counted in this stream's steps, or grew beyond every number.
    fn value(&self, raw: Raw) -> Option<Value> {
        let number = raw.number() * self.scale + self.offset;
        match (self.resolution, raw, self.scaling) {
            (None, ..) => number.is_finite().then_some(Value::Float(number)),
            (Some(_), Raw::Integer(raw), Some(scaling)) => scaling.steps(raw).map(Value::Steps),
            (Some(step), ..) => step.steps(number).map(Value::Steps),
        }
    }
}

/// A value as the device keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Raw {
    Integer(i128),
    Float { pattern: u64, number: f64 },
}

impl Raw {
    fn read(value_type: ValueType, order: WordOrder, words: &[u16]) -> Option<Self> {
        if words.len() != usize::from(value_type.addresses()) {
            return None;
        }
        let bits = most_significant_first(order, words);
        Some(match value_type {
            ValueType::Uint16 | ValueType::Uint32 | ValueType::Uint64 => Self::Integer(i128::from(bits)),
            // Each is as wide as the bits that were read, so truncation takes none away.
            ValueType::Int16 => Self::Integer(i128::from((bits as u16).cast_signed())),
            ValueType::Int32 => Self::Integer(i128::from((bits as u32).cast_signed())),
            ValueType::Int64 => Self::Integer(i128::from(bits.cast_signed())),
            ValueType::Float32 => {
                Self::Float { pattern: bits, number: f64::from(f32::from_bits(bits as u32)) }
            }
            ValueType::Float64 => Self::Float { pattern: bits, number: f64::from_bits(bits) },
            ValueType::Bool => return None,
        })
    }

    /// What a sentinel is compared with.
    fn pattern(self) -> i128 {
        match self {
            Self::Integer(raw) => raw,
            Self::Float { pattern, .. } => i128::from(pattern),
        }
    }

    fn is_no_number(self) -> bool {
        matches!(self, Self::Float { number, .. } if !number.is_finite())
    }

    #[allow(clippy::cast_precision_loss, reason = "only for streams without a step, which are approximate")]
    fn number(self) -> f64 {
        match self {
            Self::Integer(raw) => raw as f64,
            Self::Float { number, .. } => number,
        }
    }
}

/// The bits of a value of up to four registers, whatever order they were sent in.
fn most_significant_first(order: WordOrder, words: &[u16]) -> u64 {
    let (words_reversed, bytes_swapped) = match order {
        WordOrder::Abcd => (false, false),
        WordOrder::Cdab => (true, false),
        WordOrder::Badc => (false, true),
        WordOrder::Dcba => (true, true),
    };
    let push = |bits: u64, word: &u16| {
        (bits << 16) | u64::from(if bytes_swapped { word.swap_bytes() } else { *word })
    };
    if words_reversed { words.iter().rev().fold(0, push) } else { words.iter().fold(0, push) }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::point;
    use super::*;
    use crate::config::Table;
    use proptest::prelude::*;

    fn decoder(value_type: ValueType, change: impl FnOnce(&mut Point)) -> Decoder {
        let mut config = point(Table::Holding, 0, value_type);
        change(&mut config);
        Decoder::new(&config)
    }

    #[test]
    fn a_thermometer_in_tenths_is_counted_in_tenths() {
        let tenths = decoder(ValueType::Int16, |p| (p.scale, p.resolution) = (0.1, Some(0.1)));
        assert_eq!(tenths.registers(&[215]), Some((Value::Steps(215), Quality::Good)));
        assert_eq!(tenths.registers(&[0xffc9]), Some((Value::Steps(-55), Quality::Good)));
    }

    #[test]
    fn the_four_orders_of_a_float_on_real_frames() {
        // 23.5 is 0x41BC0000.
        for (order, words) in [
            (WordOrder::Abcd, [0x41bc, 0x0000]),
            (WordOrder::Cdab, [0x0000, 0x41bc]),
            (WordOrder::Badc, [0xbc41, 0x0000]),
            (WordOrder::Dcba, [0x0000, 0xbc41]),
        ] {
            let decoder = decoder(ValueType::Float32, |p| p.order = order);
            assert_eq!(decoder.registers(&words), Some((Value::Float(23.5), Quality::Good)), "{order:?}");
        }
    }

    #[test]
    fn an_offset_that_is_a_multiple_of_the_step_stays_exact() {
        let kelvin =
            decoder(ValueType::Uint32, |p| (p.scale, p.offset, p.resolution) = (0.01, -273.15, Some(0.01)));
        assert_eq!(kelvin.registers(&[0, 27_315]), Some((Value::Steps(0), Quality::Good)));
        assert_eq!(kelvin.registers(&[0xffff, 0xffff]), Some((Value::Steps(4_294_939_980), Quality::Good)));
    }

    #[test]
    fn a_counter_beyond_what_a_double_holds_is_exact() {
        let counter = decoder(ValueType::Uint64, |p| p.resolution = Some(1.0));
        let words = [0x7fff, 0xffff, 0xffff, 0xfffe];
        assert_eq!(counter.registers(&words), Some((Value::Steps(i64::MAX - 1), Quality::Good)));
        assert_eq!(counter.registers(&[0xffff; 4]), Some((Value::Absent, Quality::OutOfRange)));
    }

    #[test]
    fn a_sentinel_is_no_value_and_so_is_not_a_number() {
        let probe = decoder(ValueType::Int16, |p| {
            p.sentinels = vec![-32_768, 32_767];
            p.resolution = Some(1.0);
        });
        for word in [0x8000, 0x7fff] {
            assert_eq!(probe.registers(&[word]), Some((Value::Absent, Quality::DeviceInvalid)));
        }
        let float = decoder(ValueType::Float32, |p| p.sentinels = vec![0xff7f_ffff]);
        for words in [[0xff7f, 0xffff], [0x7fc0, 0x0000], [0x7f80, 0x0000], [0xff80, 0x0000]] {
            assert_eq!(float.registers(&words), Some((Value::Absent, Quality::DeviceInvalid)), "{words:x?}");
        }
    }

    #[test]
    fn a_bound_belongs_to_the_plausible_range() {
        let tenths = decoder(ValueType::Int16, |p| {
            (p.scale, p.resolution, p.min, p.max) = (0.1, Some(0.1), Some(-0.3), Some(0.3));
        });
        let quality = |word: i16| tenths.registers(&[word.cast_unsigned()]).map(|(_, quality)| quality);
        assert_eq!(quality(3), Some(Quality::Good));
        assert_eq!(quality(4), Some(Quality::OutOfRange));
        assert_eq!(quality(-3), Some(Quality::Good));
        assert_eq!(quality(-4), Some(Quality::OutOfRange));
    }

    #[test]
    fn a_float_with_a_resolution_is_counted_and_without_one_is_not() {
        let counted = decoder(ValueType::Float32, |p| p.resolution = Some(0.1));
        assert_eq!(counted.registers(&[0x41b8, 0xcccd]), Some((Value::Steps(231), Quality::Good)));
        assert_eq!(counted.registers(&[0x7f00, 0x0000]), Some((Value::Absent, Quality::OutOfRange)));
        let plain = decoder(ValueType::Int16, |p| p.scale = 0.5);
        assert_eq!(plain.registers(&[3]), Some((Value::Float(1.5), Quality::Good)));
    }

    #[test]
    fn a_value_that_outgrows_every_number_is_absent() {
        let huge = decoder(ValueType::Float64, |p| p.scale = 1e300);
        let words = [0x7fe0, 0, 0, 0];
        assert_eq!(huge.registers(&words), Some((Value::Absent, Quality::OutOfRange)));
    }

    #[test]
    fn a_wrong_number_of_registers_is_not_decoded() {
        let counter = decoder(ValueType::Uint32, |_| {});
        assert_eq!(counter.registers(&[1]), None);
        assert_eq!(counter.registers(&[1, 2, 3]), None);
    }

    const INTEGERS: [(ValueType, usize, bool); 6] = [
        (ValueType::Uint16, 2, false),
        (ValueType::Int16, 2, true),
        (ValueType::Uint32, 4, false),
        (ValueType::Int32, 4, true),
        (ValueType::Uint64, 8, false),
        (ValueType::Int64, 8, true),
    ];
    const ORDERS: [WordOrder; 4] = [WordOrder::Abcd, WordOrder::Cdab, WordOrder::Badc, WordOrder::Dcba];

    /// The model permutes bytes by their names: what stands at each place of the wire, `a` being byte 0.
    fn wire_order(order: WordOrder, width: usize) -> Vec<usize> {
        let last = width - 1;
        (0..width)
            .map(|place| match order {
                WordOrder::Abcd => place,
                WordOrder::Cdab => (last / 2 - place / 2) * 2 + place % 2,
                WordOrder::Badc => place ^ 1,
                WordOrder::Dcba => last - place,
            })
            .collect()
    }

    #[test]
    fn the_model_of_orders_is_what_their_names_say() {
        let name =
            |order| wire_order(order, 4).iter().map(|n| char::from(b'a' + *n as u8)).collect::<String>();
        assert_eq!(ORDERS.map(name), ["abcd", "cdab", "badc", "dcba"]);
        assert_eq!(wire_order(WordOrder::Cdab, 8), [6, 7, 4, 5, 2, 3, 0, 1]);
    }

    proptest! {
        #[test]
        fn an_integer_survives_any_order(number in any::<i64>(), kind in 0usize..6, order in 0usize..4) {
            let (value_type, width, signed) = INTEGERS[kind];
            let bytes = number.to_be_bytes()[8 - width..].to_vec();
            let sent: Vec<u8> = wire_order(ORDERS[order], width).iter().map(|n| bytes[*n]).collect();
            let words: Vec<u16> = sent.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            let shift = 64 - 8 * width as u32;
            let expected = if signed {
                i128::from(number << shift >> shift)
            } else {
                i128::from((number.cast_unsigned()) << shift >> shift)
            };
            let decoder = decoder(value_type, |p| (p.order, p.resolution) = (ORDERS[order], Some(1.0)));
            let found = decoder.registers(&words);
            match i64::try_from(expected) {
                Ok(steps) => prop_assert_eq!(found, Some((Value::Steps(steps), Quality::Good))),
                Err(_) => prop_assert_eq!(found, Some((Value::Absent, Quality::OutOfRange))),
            }
        }

        #[test]
        fn a_float_survives_any_order(number in any::<f64>(), order in 0usize..4) {
            let bytes = number.to_be_bytes();
            let sent: Vec<u8> = wire_order(ORDERS[order], 8).iter().map(|n| bytes[*n]).collect();
            let words: Vec<u16> = sent.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            let found = decoder(ValueType::Float64, |p| p.order = ORDERS[order]).registers(&words);
            let expected = if number.is_finite() {
                (Value::Float(number), Quality::Good)
            } else {
                (Value::Absent, Quality::DeviceInvalid)
            };
            prop_assert_eq!(found, Some(expected));
        }
    }
}
