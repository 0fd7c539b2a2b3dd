//! What a point's n-th value is.
//!
//! A value is a pure function of (seed, unit, point, counter): nothing about the past is stored, and whoever knows the
//! counter can compute the value again. The other way round, the counter of a *counted* value can be read from the value
//! alone ([`PointFunction::wire_counter`]), so that two values of one point are never mistaken for each other within
//! a [`PointFunction::period`]. All values are whole numbers an `f64` holds exactly, except constants.

use crate::random::mix;

/// How a number lies in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One register, unsigned.
    U16,
    /// One register, two's complement.
    I16,
    /// Two registers, unsigned.
    U32,
    /// Two registers, two's complement.
    I32,
    /// Two registers, IEEE 754 single precision.
    F32,
}

impl Encoding {
    /// Registers taken.
    #[must_use]
    pub fn registers(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
        }
    }

    /// How many whole numbers from 0 up it holds without a hole.
    fn whole_numbers(self) -> u64 {
        match self {
            Self::U16 => 1 << 16,
            Self::I16 => 1 << 15,
            Self::U32 => 1 << 32,
            Self::I32 => 1 << 31,
            Self::F32 => 1 << 24,
        }
    }
}

/// The order of a value's bytes on the wire, written as vendors write it: A is the most significant byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WordOrder {
    /// Most significant word first, the order the protocol suggests.
    #[default]
    Abcd,
    /// Least significant word first.
    Cdab,
    /// Most significant word first, bytes swapped in each word.
    Badc,
    /// Everything reversed.
    Dcba,
}

/// Where a point's values come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// Counted: the n-th value is n. Wraps to 0 after 2^16 (u16), 2^15 (i16), 2^32 (u32), 2^31 (i32) or 2^24 (f32)
    /// values, so that it is never negative and always exact.
    Counter,
    /// Counted: the n-th value is n * 1000 + a smooth seeded walk in 0..=999. For u32, i32 and f32; n wraps to 0 after
    /// 4 294 967, 2 147 483 and 16 777 values.
    CountedWalk,
    /// Not counted: always this number, rounded and clamped to the encoding.
    Constant(f64),
    /// Not counted: a smooth seeded walk between two bounds, both included. Values may repeat.
    Walk {
        /// Least value.
        low: i32,
        /// Greatest value.
        high: i32,
    },
}

/// Step of the counter in a [`Source::CountedWalk`] value.
const WALK_SPAN: u64 = 1000;

/// The values of one point, past and future.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointFunction {
    source: Source,
    encoding: Encoding,
    order: WordOrder,
    key: u64,
}

impl PointFunction {
    /// The function of point number `point` of `unit` under `seed`. `None` where the source does not fit the encoding:
    /// a counted walk in 16 bits, a walk that is out of range or upside down, a constant that is not finite.
    #[must_use]
    pub fn new(
        source: Source,
        encoding: Encoding,
        order: WordOrder,
        seed: u64,
        unit: u8,
        point: usize,
    ) -> Option<Self> {
        let fits = match source {
            Source::Counter => true,
            Source::CountedWalk => encoding.registers() == 2,
            Source::Constant(number) => number.is_finite(),
            Source::Walk { low, high } => {
                let (least, greatest) = match encoding {
                    Encoding::U16 => (0, i32::from(u16::MAX)),
                    Encoding::I16 => (i32::from(i16::MIN), i32::from(i16::MAX)),
                    Encoding::U32 => (0, i32::MAX),
                    Encoding::I32 => (i32::MIN, i32::MAX),
                    Encoding::F32 => (-(1 << 24), 1 << 24),
                };
                low <= high && low >= least && high <= greatest
            }
        };
        let key = mix(seed ^ mix(u64::from(unit) << 32 | point as u64));
        fits.then_some(Self { source, encoding, order, key })
    }

    /// Whether values are told apart by a counter and belong in the account.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        matches!(self.source, Source::Counter | Source::CountedWalk)
    }

    /// After how many values the counter in the value starts again from 0; `None` where values are not counted.
    #[must_use]
    pub fn period(&self) -> Option<u64> {
        match self.source {
            Source::Counter => Some(self.encoding.whole_numbers()),
            Source::CountedWalk => Some(self.encoding.whole_numbers() / WALK_SPAN),
            Source::Constant(_) | Source::Walk { .. } => None,
        }
    }

    /// The value number `counter` as a reader of the registers sees it, before any scaling.
    #[must_use]
    pub fn value(&self, counter: u64) -> f64 {
        let wire_counter = counter.checked_rem(self.period().unwrap_or(0)).unwrap_or(counter);
        match self.source {
            Source::Counter => wire_counter as f64,
            Source::CountedWalk => (wire_counter * WALK_SPAN + self.walk(counter, WALK_SPAN)) as f64,
            Source::Constant(number) => match self.encoding {
                Encoding::U16 => f64::from(number.round() as u16),
                Encoding::I16 => f64::from(number.round() as i16),
                Encoding::U32 => f64::from(number.round() as u32),
                Encoding::I32 => f64::from(number.round() as i32),
                Encoding::F32 => f64::from(number as f32),
            },
            Source::Walk { low, high } => {
                let span = u64::from(high.abs_diff(low)) + 1;
                f64::from(low) + self.walk(counter, span) as f64
            }
        }
    }

    /// The counter a value carries, modulo the [`period`](Self::period); from the value alone. `None` for a number no
    /// counted value of this kind can be, and for points that are not counted.
    #[must_use]
    pub fn wire_counter(&self, value: f64) -> Option<u64> {
        let whole = self.whole(value)?;
        match self.source {
            Source::Counter => Some(whole),
            Source::CountedWalk => Some(whole / WALK_SPAN).filter(|n| Some(*n) < self.period()),
            Source::Constant(_) | Source::Walk { .. } => None,
        }
    }

    /// The lowest counter in `1..=produced` whose value is exactly this one; `None` when the point never said it.
    #[must_use]
    pub fn counter_among(&self, produced: u64, value: f64) -> Option<u64> {
        let period = self.period()?;
        let first = match self.wire_counter(value)? {
            0 => period,
            n => n,
        };
        let mut candidates = (first..=produced).step_by(usize::try_from(period).ok()?);
        candidates.find(|n| self.value(*n) == value)
    }

    /// The value number `counter` as registers.
    #[must_use]
    pub fn words(&self, counter: u64) -> Vec<u16> {
        let value = self.value(counter);
        let bits = match self.encoding {
            Encoding::U16 => return vec![self.order_16(value as u16)],
            Encoding::I16 => return vec![self.order_16(value as i16 as u16)],
            Encoding::U32 => value as u32,
            Encoding::I32 => value as i32 as u32,
            Encoding::F32 => (value as f32).to_bits(),
        };
        let [a, b, c, d] = bits.to_be_bytes();
        let words = match self.order {
            WordOrder::Abcd => [[a, b], [c, d]],
            WordOrder::Cdab => [[c, d], [a, b]],
            WordOrder::Badc => [[b, a], [d, c]],
            WordOrder::Dcba => [[d, c], [b, a]],
        };
        words.map(u16::from_be_bytes).to_vec()
    }

    fn order_16(&self, word: u16) -> u16 {
        match self.order {
            WordOrder::Abcd | WordOrder::Cdab => word,
            WordOrder::Badc | WordOrder::Dcba => word.swap_bytes(),
        }
    }

    fn whole(&self, value: f64) -> Option<u64> {
        let limit = self.encoding.whole_numbers() as f64;
        (value >= 0.0 && value < limit && value.fract() == 0.0).then_some(value as u64)
    }

    /// A number below `span` that moves little from one counter to the next: a straight line between seeded points
    /// 32 counters apart. Reachable in constant time from any counter, unlike a walk that adds up steps.
    fn walk(&self, counter: u64, span: u64) -> u64 {
        const STEPS: u64 = 32;
        let knot = |n: u64| (u128::from(mix(self.key ^ n)) * u128::from(span)) >> 64;
        let (from, to) = (knot(counter / STEPS), knot((counter / STEPS).wrapping_add(1)));
        let along = u128::from(counter % STEPS);
        let between = (from * (u128::from(STEPS) - along) + to * along) / u128::from(STEPS);
        u64::try_from(between).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn function(source: Source, encoding: Encoding, seed: u64) -> PointFunction {
        PointFunction::new(source, encoding, WordOrder::Abcd, seed, 17, 3).unwrap()
    }

    fn decode(encoding: Encoding, words: &[u16]) -> f64 {
        let bits = words.iter().fold(0_u32, |n, w| n << 16 | u32::from(*w));
        match encoding {
            Encoding::U16 => f64::from(bits as u16),
            Encoding::I16 => f64::from(bits as u16 as i16),
            Encoding::U32 => f64::from(bits),
            Encoding::I32 => f64::from(bits as i32),
            Encoding::F32 => f64::from(f32::from_bits(bits)),
        }
    }

    fn counted() -> impl Strategy<Value = (Source, Encoding)> {
        prop_oneof![
            Just((Source::Counter, Encoding::U16)),
            Just((Source::Counter, Encoding::I16)),
            Just((Source::Counter, Encoding::U32)),
            Just((Source::Counter, Encoding::I32)),
            Just((Source::Counter, Encoding::F32)),
            Just((Source::CountedWalk, Encoding::U32)),
            Just((Source::CountedWalk, Encoding::I32)),
            Just((Source::CountedWalk, Encoding::F32)),
        ]
    }

    proptest! {
        #[test]
        fn the_counter_is_recovered_exactly_from_the_registers(
            (source, encoding) in counted(), seed: u64, counter in 0..u64::from(u32::MAX) * 2,
        ) {
            let point = function(source, encoding, seed);
            let value = decode(encoding, &point.words(counter));
            prop_assert_eq!(value, point.value(counter));
            prop_assert_eq!(point.wire_counter(value), Some(counter % point.period().unwrap()));
        }

        #[test]
        fn a_value_never_said_is_not_found_among_those_said((source, encoding) in counted(), seed: u64, n in 1..5000_u64) {
            let point = function(source, encoding, seed);
            prop_assert_eq!(point.counter_among(n, point.value(n)), Some(n));
            prop_assert_eq!(point.counter_among(n - 1, point.value(n)), None);
            prop_assert_eq!(point.counter_among(n, point.value(n) + 0.5), None);
            if source == Source::CountedWalk {
                let other = if point.value(n) % 1000.0 == 0.0 { 1.0 } else { -1.0 };
                prop_assert_eq!(point.counter_among(n, point.value(n) + other), None);
            }
        }

        #[test]
        fn an_uncounted_walk_keeps_its_bounds(seed: u64, low in -300..0_i32, high in 0..300_i32, counter: u64) {
            let point = function(Source::Walk { low, high }, Encoding::I16, seed);
            let value = decode(Encoding::I16, &point.words(counter));
            prop_assert!(value >= f64::from(low) && value <= f64::from(high));
            prop_assert_eq!(point.wire_counter(value), None);
        }
    }

    #[test]
    fn after_a_wrap_the_exact_counter_is_found_by_its_walk() {
        let point = function(Source::CountedWalk, Encoding::F32, 7);
        let period = point.period().unwrap();
        let later =
            (1..100).map(|n| n + period).find(|n| point.value(*n) != point.value(n - period)).unwrap();
        assert_eq!(point.counter_among(3 * period, point.value(later)), Some(later));
        assert_eq!(
            point.counter_among(period, point.value(period)),
            Some(period),
            "a wrapped 0 is the period"
        );
    }

    #[test]
    fn the_four_word_orders_are_the_vendors_ones() {
        let words = |order| {
            PointFunction::new(Source::Constant(23.5), Encoding::F32, order, 0, 1, 0).unwrap().words(9)
        };
        assert_eq!(words(WordOrder::Abcd), [0x41BC, 0x0000]);
        assert_eq!(words(WordOrder::Cdab), [0x0000, 0x41BC]);
        assert_eq!(words(WordOrder::Badc), [0xBC41, 0x0000]);
        assert_eq!(words(WordOrder::Dcba), [0x0000, 0xBC41]);
    }

    #[test]
    fn a_source_that_does_not_fit_its_encoding_is_refused() {
        let fits =
            |source, encoding| PointFunction::new(source, encoding, WordOrder::Abcd, 0, 1, 0).is_some();
        assert!(!fits(Source::CountedWalk, Encoding::U16));
        assert!(!fits(Source::CountedWalk, Encoding::I16));
        assert!(!fits(Source::Constant(f64::NAN), Encoding::F32));
        assert!(!fits(Source::Walk { low: -1, high: 5 }, Encoding::U16));
        assert!(!fits(Source::Walk { low: 6, high: 5 }, Encoding::U16));
        assert!(!fits(Source::Walk { low: 0, high: 40_000 }, Encoding::I16));
    }

    #[test]
    fn another_seed_unit_or_point_walks_elsewhere() {
        let walk = |seed, unit, point| -> Vec<u64> {
            let f =
                PointFunction::new(Source::CountedWalk, Encoding::I32, WordOrder::Abcd, seed, unit, point)
                    .unwrap();
            (1..200).map(|n| f.value(n) as u64).collect()
        };
        assert_eq!(walk(1, 1, 1), walk(1, 1, 1));
        assert_ne!(walk(1, 1, 1), walk(2, 1, 1));
        assert_ne!(walk(1, 1, 1), walk(1, 2, 1));
        assert_ne!(walk(1, 1, 1), walk(1, 1, 2));
    }
}
