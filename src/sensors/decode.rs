//! Registers to values: type, byte order, sentinels, scale and plausible range of a point.
//!
//! Pure. A value of a stream with a resolution is counted in whole steps, computed in whole numbers wherever the
//! configured decimals allow ([`super::exact`]); a value that cannot be counted or is no number is absent, and its
//! quality says whose fault that is. Nothing the device sends is an error.

use fieldgate_sensor_inputs::modbus::{Layout, Raw};

use super::exact::{self, Scaling};
use crate::config::Point;
use crate::reading::{Quality, Resolution, Value};

/// How one point's registers become its value.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    layout: Layout,
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
            layout: Layout::Number { value_type: point.value_type, order: point.order },
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
        let raw = self.layout.read(words)?;
        let absent = |why| Some((Value::Absent, why));
        if self.says_nothing(&raw) {
            return absent(Quality::DeviceInvalid);
        }
        let Some(value) = self.value(&raw) else { return absent(Quality::OutOfRange) };
        let number = match (&value, self.resolution) {
            (Value::Steps(steps), Some(step)) => step.value(*steps),
            (Value::Float(number), _) => *number,
            _ => return Some((value, Quality::Good)),
        };
        let too_low = self.min.is_some_and(|min| number < min);
        let too_high = self.max.is_some_and(|max| number > max);
        Some((value, if too_low || too_high { Quality::OutOfRange } else { Quality::Good }))
    }

    /// A sentinel, or no number.
    fn says_nothing(&self, raw: &Raw) -> bool {
        match raw {
            Raw::Integer(raw) => self.sentinels.contains(raw),
            Raw::Float { pattern, number } => {
                self.sentinels.contains(&i128::from(*pattern)) || !number.is_finite()
            }
            Raw::Flag(_) | Raw::Text(_) => false,
        }
    }

    /// `None` when it cannot be counted in this stream's steps, or grew beyond every number.
    #[allow(clippy::cast_precision_loss, reason = "only for streams without a step, which are approximate")]
    fn value(&self, raw: &Raw) -> Option<Value> {
        let number = match raw {
            Raw::Integer(raw) => *raw as f64,
            Raw::Float { number, .. } => *number,
            Raw::Flag(_) | Raw::Text(_) => return None,
        };
        let number = number * self.scale + self.offset;
        match (self.resolution, raw, self.scaling) {
            (None, ..) => number.is_finite().then_some(Value::Float(number)),
            (Some(_), Raw::Integer(raw), Some(scaling)) => scaling.steps(*raw).map(Value::Steps),
            (Some(step), ..) => step.steps(number).map(Value::Steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::point;
    use super::*;
    use crate::config::{Table, ValueType, WordOrder};
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

    #[test]
    fn a_value_is_read_in_the_order_that_is_configured() {
        let swapped = decoder(ValueType::Float32, |p| p.order = WordOrder::Cdab);
        assert_eq!(swapped.registers(&[0x0000, 0x41bc]), Some((Value::Float(23.5), Quality::Good)));
    }

    proptest! {
        #[test]
        fn a_whole_number_is_counted_exactly(words in any::<[u16; 4]>(), signed in any::<bool>()) {
            let value_type = if signed { ValueType::Int64 } else { ValueType::Uint64 };
            let bits = words.iter().fold(0u64, |bits, word| bits << 16 | u64::from(*word));
            let expected = if signed { Ok(bits.cast_signed()) } else { i64::try_from(bits) };
            let expected = expected.map_or((Value::Absent, Quality::OutOfRange), |n| (Value::Steps(n), Quality::Good));
            let decoder = decoder(value_type, |p| p.resolution = Some(1.0));
            prop_assert_eq!(decoder.registers(&words), Some(expected));
        }

        #[test]
        fn a_float_is_what_it_is_or_no_value(number in any::<f64>()) {
            let bits = number.to_bits();
            let words = [48, 32, 16, 0].map(|shift| (bits >> shift) as u16);
            let expected = if number.is_finite() {
                (Value::Float(number), Quality::Good)
            } else {
                (Value::Absent, Quality::DeviceInvalid)
            };
            prop_assert_eq!(decoder(ValueType::Float64, |_| {}).registers(&words), Some(expected));
        }
    }
}
