//! Numbers as JSON writes them: exact where a decimal can be.

use crate::reading::Resolution;

/// The value of `steps` steps, exactly. Where the step has no finite decimal, such as 1/3, the nearest double in its
/// shortest form; dividing by the step and rounding gives the steps back.
#[must_use]
pub(super) fn of_steps(steps: i64, resolution: Resolution) -> String {
    let denominator = u128::from(resolution.denominator.max(1));
    let total = u128::from(steps.unsigned_abs()) * u128::from(resolution.numerator);
    let (whole, mut rest) = (total / denominator, total % denominator);
    if !is_finite_decimal(rest, denominator) {
        return of_float(resolution.value(steps));
    }
    let mut text = String::new();
    if steps < 0 && total > 0 {
        text.push('-');
    }
    text.push_str(&whole.to_string());
    if rest > 0 {
        text.push('.');
    }
    // Ends: the rest is a multiple of 1/2^a·5^b, and each turn takes one 2 and one 5 away.
    while rest > 0 {
        rest *= 10;
        text.push_str(&(rest / denominator).to_string());
        rest %= denominator;
    }
    text
}

/// The shortest text that reads back as the same double; `null` for what JSON cannot say.
#[must_use]
pub(super) fn of_float(value: f64) -> String {
    serde_json::Number::from_f64(value).map_or_else(|| "null".into(), |number| number.to_string())
}

fn is_finite_decimal(rest: u128, denominator: u128) -> bool {
    let mut reduced = denominator / gcd(rest, denominator);
    for prime in [2, 5] {
        while reduced.is_multiple_of(prime) {
            reduced /= prime;
        }
    }
    reduced == 1
}

/// Of two numbers of which `b` is not 0.
fn gcd(mut a: u128, mut b: u128) -> u128 {
    while a != 0 {
        (a, b) = (b % a, a);
    }
    b
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolution(numerator: u32, denominator: u32) -> Resolution {
        Resolution { numerator, denominator }
    }

    #[test]
    fn decimals_are_written_as_a_person_would() {
        for (steps, numerator, denominator, text) in [
            (3, 1, 10, "0.3"),
            (-3, 1, 10, "-0.3"),
            (0, 1, 10, "0"),
            (10, 1, 10, "1"),
            (-217, 1, 100, "-2.17"),
            (7, 5, 1, "35"),
            (1, 1, 1024, "0.0009765625"),
            (3, 1, 3, "1"),
            (i64::MIN, 1, 1, "-9223372036854775808"),
            (i64::MAX, u32::MAX, 1, "39614081247908796755622232065"),
            (1, 1, 2_147_483_648, "0.0000000004656612873077392578125"),
        ] {
            assert_eq!(of_steps(steps, resolution(numerator, denominator)), text);
        }
    }

    #[test]
    fn a_third_is_the_nearest_double() {
        assert_eq!(of_steps(1, resolution(1, 3)), "0.3333333333333333");
    }

    #[test]
    fn what_json_cannot_say_is_null() {
        assert_eq!(of_float(f64::NAN), "null");
        assert_eq!(of_float(f64::NEG_INFINITY), "null");
        assert_eq!(of_float(0.1), "0.1");
    }

    proptest! {
        /// The written digits, as a whole number over a power of ten, are the same fraction as steps × step.
        #[test]
        fn the_decimal_is_exactly_the_fraction(
            steps in -1_000_000_000_000i64..1_000_000_000_000,
            numerator in 1u32..1_000_000,
            twos in 0u32..6,
            fives in 0u32..6,
        ) {
            let denominator = 2u32.pow(twos) * 5u32.pow(fives);
            let text = of_steps(steps, resolution(numerator, denominator));
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let digits: i128 = format!("{whole}{fraction}").parse().unwrap();
            let scale = 10i128.pow(u32::try_from(fraction.len()).unwrap());
            prop_assert_eq!(
                digits * i128::from(denominator),
                i128::from(steps) * i128::from(numerator) * scale
            );
            prop_assert!(!fraction.ends_with('0'));
        }

        #[test]
        fn the_steps_come_back_whatever_the_step(
            steps in -1_000_000_000i64..1_000_000_000,
            numerator in 1u32..10_000,
            denominator in 1u32..10_000,
        ) {
            let resolution = resolution(numerator, denominator);
            let value: f64 = of_steps(steps, resolution).parse().unwrap();
            prop_assert_eq!(resolution.steps(value), Some(steps));
        }
    }
}
