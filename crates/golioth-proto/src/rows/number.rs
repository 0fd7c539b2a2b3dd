//! Numbers on the wire: what a resolution is, and the shortest form that a value survives.

use crate::cbor::{Writer, half_bits, half_value};

/// Any scaled value whose mantissa is at most this far from zero can be sent at any resolution; beyond it, only whole
/// values can. At 0.1 that is 56 million million: only 64-bit counters with a fraction can reach it.
pub const MAX_EXACT_MANTISSA: i64 = 1 << 49;

/// How far a float may be from the value it stands for, in steps of the resolution. Under a half by a margin that
/// leaves any reader's own rounding errors without effect.
const TOLERANCE: f64 = 0.49;

/// Largest integer up to which a double has every integer.
const MAX_WHOLE_FLOAT: f64 = 9_007_199_254_740_992.0;

/// The step a value is counted in: 10^e or a ratio of whole numbers, always positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resolution {
    // In lowest terms, both at least 1 and at most 10^18, so that no mantissa overflows 128 bits.
    numerator: u64,
    denominator: u64,
}

impl Resolution {
    /// Steps of one.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// Steps of 10 to the `exponent`: −1 is 0.1. `None` beyond ±18.
    pub fn decimal(exponent: i8) -> Option<Self> {
        let magnitude = exponent.unsigned_abs();
        if magnitude > 18 {
            return None;
        }
        let power = 10u64.checked_pow(magnitude.into())?;
        Some(if exponent < 0 {
            Self { numerator: 1, denominator: power }
        } else {
            Self { numerator: power, denominator: 1 }
        })
    }

    /// Steps of `numerator` ÷ `denominator`: (1, 2) is 0.5. `None` if either is 0.
    pub fn rational(numerator: u32, denominator: u32) -> Option<Self> {
        let divisor = greatest_common_divisor(numerator, denominator);
        let numerator = u64::from(numerator.checked_div(divisor)?);
        let denominator = u64::from(denominator.checked_div(divisor)?);
        (numerator > 0 && denominator > 0).then_some(Self { numerator, denominator })
    }

    /// Steps of this ratio, as [`Self::terms`] gives them; `None` if either is 0 or beyond 10^18.
    pub(crate) fn of_terms(numerator: u64, denominator: u64) -> Option<Self> {
        let bounds = 1..=10u64.pow(18);
        (bounds.contains(&numerator) && bounds.contains(&denominator))
            .then_some(Self { numerator, denominator })
    }

    /// Numerator and denominator, in lowest terms.
    pub(crate) fn terms(self) -> (u64, u64) {
        (self.numerator, self.denominator)
    }

    /// The exponent of a step that is a power of ten.
    pub(crate) fn exponent(self) -> Option<i8> {
        (-18..=18).find(|exponent| Self::decimal(*exponent) == Some(self))
    }

    /// The number that so many steps are, as the nearest double; exact as long as they are fewer than 2^53.
    pub fn number(self, mantissa: i64) -> f64 {
        let (product, denominator) = self.product(mantissa);
        product as f64 / denominator as f64
    }

    /// How many steps are nearest to this number; `None` if it is not finite or the count does not fit.
    pub fn mantissa_of(self, number: f64) -> Option<i64> {
        let steps = self.steps(number).round();
        // 2^63 is a double, i64::MAX is not: the upper bound is exclusive.
        (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&steps).then_some(steps as i64)
    }

    /// The same for a whole number, without going through a float.
    pub(super) fn mantissa_of_whole(self, number: i64) -> Option<i64> {
        let numerator = i128::from(self.numerator);
        let scaled = i128::from(number) * i128::from(self.denominator);
        // Rounded to the nearest, halves away from zero, as the float's `round`.
        let half = numerator / 2;
        let steps = if scaled < 0 { (scaled - half) / numerator } else { (scaled + half) / numerator };
        i64::try_from(steps).ok()
    }

    fn steps(self, number: f64) -> f64 {
        number * self.denominator as f64 / self.numerator as f64
    }

    /// The value of a mantissa, if it is a whole number of 64 bits signed.
    pub fn whole(self, mantissa: i64) -> Option<i64> {
        let (product, denominator) = self.product(mantissa);
        if product % denominator == 0 { i64::try_from(product / denominator).ok() } else { None }
    }

    fn product(self, mantissa: i64) -> (i128, i128) {
        (i128::from(mantissa) * i128::from(self.numerator), i128::from(self.denominator))
    }

    /// Whether `number`, rounded to this resolution, is `mantissa` steps, whoever rounds.
    fn carries(self, number: f64, mantissa: i64) -> bool {
        (self.steps(number) - mantissa as f64).abs() <= TOLERANCE
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Writes a scaled value, or nothing and `false` if no double carries it.
pub(super) fn write_scaled(writer: &mut Writer<'_>, mantissa: i64, resolution: Resolution) -> bool {
    if let Some(whole) = resolution.whole(mantissa) {
        writer.integer(whole);
        return true;
    }
    if mantissa.unsigned_abs() > MAX_EXACT_MANTISSA.unsigned_abs() {
        return false;
    }
    let number = resolution.number(mantissa);
    let single = number as f32;
    let half = half_bits(single);
    if resolution.carries(half_value(half), mantissa) {
        writer.float16(half);
    } else if resolution.carries(f64::from(single), mantissa) {
        writer.float32(single);
    } else {
        writer.float64(number);
    }
    true
}

/// Writes a finite float to the last bit: the sign of zero too.
pub(super) fn write_float(writer: &mut Writer<'_>, number: f64) {
    let negative_zero = number == 0.0 && number.is_sign_negative();
    if number.trunc() == number && number.abs() <= MAX_WHOLE_FLOAT && !negative_zero {
        writer.integer(number as i64);
    } else {
        writer.shortest_float(number);
    }
}
