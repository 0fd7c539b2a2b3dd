//! Decimal fractions exactly as the operator wrote them.
//!
//! `0.1` in a configuration means one tenth, not the binary number next to it. A `f64` is turned back into the
//! shortest decimal that reads as it, which is what was written, and from there on everything is whole numbers.
//! Where those do not fit, the answer is `None` and the caller goes on in floating point.

use crate::reading::Resolution;

/// A fraction in lowest terms; the denominator is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fraction {
    numerator: i128,
    denominator: i128,
}

impl Fraction {
    /// The decimal that reads as `value`; `None` when it is not finite or has too many digits.
    pub(super) fn of(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let text = format!("{value}");
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        let digits: i128 = format!("{whole}{decimals}").parse().ok()?;
        let scale = 10i128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
        Self::new(digits, scale)
    }

    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = i128::try_from(gcd(numerator.unsigned_abs(), denominator.unsigned_abs())).ok()?;
        if denominator <= 0 || divisor == 0 {
            return None;
        }
        Some(Self { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    fn over(self, other: Self) -> Option<Self> {
        let sign = other.numerator.signum();
        Self::new(
            self.numerator.checked_mul(other.denominator)?.checked_mul(sign)?,
            self.denominator.checked_mul(other.numerator)?.checked_mul(sign)?,
        )
    }
}

impl From<Resolution> for Fraction {
    fn from(step: Resolution) -> Self {
        Self { numerator: i128::from(step.numerator), denominator: i128::from(step.denominator) }
    }
}

/// The step that `value` stands for, when both parts of its fraction are of a size that a stream can declare.
pub(super) fn resolution(value: f64) -> Option<Resolution> {
    let fraction = Fraction::of(value)?;
    let numerator = u32::try_from(fraction.numerator).ok().filter(|n| *n > 0)?;
    Some(Resolution { numerator, denominator: u32::try_from(fraction.denominator).ok()? })
}

/// How many decimals it takes to write every multiple of `step`; at most 9, for steps that no decimal hits.
pub(super) fn decimals(step: Resolution) -> u8 {
    let mut power = 1u64;
    for decimals in 0..9 {
        if (power * u64::from(step.numerator)).is_multiple_of(u64::from(step.denominator.max(1))) {
            return decimals;
        }
        power *= 10;
    }
    9
}

/// `raw × scale + offset`, counted in steps of a resolution, in whole numbers: `(raw × factor + start) ÷ divisor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scaling {
    factor: i128,
    start: i128,
    divisor: i128,
}

impl Scaling {
    /// `None` when the numbers are too long for it.
    pub(super) fn new(scale: f64, offset: f64, step: Resolution) -> Option<Self> {
        let step = Fraction::from(step);
        let scale = Fraction::of(scale)?.over(step)?;
        let offset = Fraction::of(offset)?.over(step)?;
        let common = i128::try_from(gcd(scale.denominator.unsigned_abs(), offset.denominator.unsigned_abs()));
        let divisor = scale.denominator.checked_mul(offset.denominator / common.ok()?)?;
        Some(Self {
            factor: scale.numerator.checked_mul(divisor / scale.denominator)?,
            start: offset.numerator.checked_mul(divisor / offset.denominator)?,
            divisor,
        })
    }

    /// The steps of a raw value, rounded half away from zero; `None` when they do not fit.
    pub(super) fn steps(self, raw: i128) -> Option<i64> {
        let sum = raw.checked_mul(self.factor)?.checked_add(self.start)?;
        let (quotient, rest) = (sum / self.divisor, sum % self.divisor);
        // `rest ≥ divisor − rest`, so that doubling cannot overflow.
        let away = rest.unsigned_abs() >= self.divisor.unsigned_abs() - rest.unsigned_abs();
        let rounded = if away && rest != 0 { quotient.checked_add(sum.signum())? } else { quotient };
        i64::try_from(rounded).ok()
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(numerator: u32, denominator: u32) -> Resolution {
        Resolution { numerator, denominator }
    }

    #[test]
    fn a_step_is_the_decimal_that_was_written() {
        assert_eq!(resolution(0.1), Some(step(1, 10)));
        assert_eq!(resolution(0.25), Some(step(1, 4)));
        assert_eq!(resolution(1.0), Some(step(1, 1)));
        assert_eq!(resolution(2.5), Some(step(5, 2)));
        assert_eq!(resolution(0.000_001), Some(step(1, 1_000_000)));
        assert_eq!(resolution(100.0), Some(step(100, 1)));
    }

    #[test]
    fn what_no_short_decimal_writes_is_no_step() {
        for value in [1.0 / 3.0, 1e-30, 1e30, 0.0, -0.1, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, f64::MAX]
        {
            assert_eq!(resolution(value), None, "{value}");
        }
    }

    #[test]
    fn decimals_are_as_many_as_a_step_needs() {
        assert_eq!(decimals(step(1, 1)), 0);
        assert_eq!(decimals(step(50, 1)), 0);
        assert_eq!(decimals(step(1, 10)), 1);
        assert_eq!(decimals(step(5, 2)), 1);
        assert_eq!(decimals(step(1, 4)), 2);
        assert_eq!(decimals(step(1, 8)), 3);
        assert_eq!(decimals(step(1, 1_000_000_000)), 9);
        assert_eq!(decimals(step(1, 3)), 9);
    }

    #[test]
    fn a_scale_that_is_no_multiple_of_the_step_is_rounded_half_away_from_zero() {
        let scaling = Scaling::new(0.05, 0.0, step(1, 10)).unwrap();
        let steps: Vec<_> = [1, 2, 3, -1, -2, -3].map(|raw| scaling.steps(raw).unwrap()).into();
        assert_eq!(steps, [1, 1, 2, -1, -1, -2]);
    }

    #[test]
    fn exactness_ends_in_none_and_never_in_a_wrong_number() {
        assert_eq!(Scaling::new(1e-300, 0.0, step(1, 10)), None);
        assert_eq!(
            Scaling::new(1e30, 1e30, step(1, u32::MAX)).and_then(|s| s.steps(i128::from(u64::MAX))),
            None
        );
        assert_eq!(Scaling::new(1.0, 0.0, step(1, 1)).unwrap().steps(i128::from(u64::MAX)), None);
        assert_eq!(Scaling::new(1.0, 0.0, step(1, 1)).unwrap().steps(i128::from(i64::MIN)), Some(i64::MIN));
    }

    proptest! {
        /// The model counts in hundred-thousandths, with a rounding of its own.
        #[test]
        fn steps_are_those_of_decimal_arithmetic(
            raw in any::<i64>(),
            scale in (-99_999i64..=99_999).prop_filter("0 is refused by the configuration", |s| *s != 0),
            offset in -9_999_999i64..=9_999_999,
            step_hundredth_thousandths in 1i64..=999_999,
        ) {
            let decimal = |n: i64| format!("{n}e-5").parse::<f64>().unwrap();
            let Some(step) = resolution(decimal(step_hundredth_thousandths)) else { return Ok(()) };
            let scaling = Scaling::new(decimal(scale), decimal(offset), step).unwrap();

            let value = i128::from(raw) * i128::from(scale) + i128::from(offset);
            let width = i128::from(step_hundredth_thousandths);
            let magnitude = (2 * value.abs() + width).div_euclid(2 * width);
            let expected = i64::try_from(magnitude * value.signum()).ok();
            prop_assert_eq!(scaling.steps(i128::from(raw)), expected);
        }

        #[test]
        fn any_number_is_taken_without_a_panic(scale in any::<f64>(), offset in any::<f64>(), raw in any::<i128>(),
                                               n in 1u32.., d in 1u32..) {
            if let Some(scaling) = Scaling::new(scale, offset, step(n, d)) {
                let _ = scaling.steps(raw);
            }
            if let Some(step) = resolution(scale) {
                prop_assert_eq!(step.value(1), scale);
            }
        }
    }
}
