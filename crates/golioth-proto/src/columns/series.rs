//! Whole numbers in a row, as what is left of them beside a rule; and the bytes and bits they are made of. The format stands
//! in the module's head.

/// The code of "every residual is 0".
const NO_RESIDUALS: u8 = 127;
const LINE: u8 = 0x80;
/// As many ones announce a number by its length.
const ESCAPE: u64 = 12;

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag(value));
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// A rule, and what it costs.
#[derive(Clone, Copy, Debug)]
struct Rule {
    line: bool,
    base: i64,
    step: i64,
    k: u8,
    bits: u64,
}

/// Writes series; owns what it needs to find the cheapest rule, and uses it again.
#[derive(Debug, Default)]
pub(super) struct SeriesWriter {
    residuals: Vec<u64>,
    sorted: Vec<i64>,
}

impl SeriesWriter {
    pub(super) fn write(&mut self, numbers: &[i64], out: &mut Vec<u8>) {
        let (first, last) = match numbers {
            [] => return,
            [only] => return put_signed(out, *only),
            [first, .., last] => (*first, *last),
        };
        // To the nearest: cut off, regular times with a little jitter would lean by one.
        let intervals = numbers.len() as i128 - 1;
        let slope = (i128::from(last) - i128::from(first) + intervals / 2).div_euclid(intervals) as i64;
        let usual = self.median(numbers.windows(2).map(difference));
        let walk = self.rule(numbers, false, first, usual);
        let mut best = walk;
        for step in [0, slope] {
            let base = self.median(along(numbers, step));
            let line = self.rule(numbers, true, base, step);
            if line.bits < best.bits {
                best = line;
            }
        }
        self.take_residuals(numbers, &best);
        out.push(best.k | if best.line { LINE } else { 0 });
        put_signed(out, best.base);
        put_signed(out, best.step);
        if best.k != NO_RESIDUALS {
            write_residuals(&self.residuals, best.k, out);
        }
    }

    /// The rule with its cheapest `k`.
    fn rule(&mut self, numbers: &[i64], line: bool, base: i64, step: i64) -> Rule {
        let mut rule = Rule { line, base, step, k: NO_RESIDUALS, bits: 0 };
        self.take_residuals(numbers, &rule);
        if self.residuals.iter().any(|residual| *residual != 0) {
            self.sorted.clear();
            self.sorted.extend(self.residuals.iter().map(|residual| i64::from(length(*residual))));
            // The best k is near the length of a middling residual.
            let middle = u8::try_from(middle_of(&mut self.sorted)).unwrap_or(64);
            rule.bits = u64::MAX;
            for k in middle.saturating_sub(2)..=middle.saturating_add(1).min(63) {
                let bits = self.residuals.iter().map(|residual| cost(*residual, k)).sum();
                if bits < rule.bits {
                    (rule.k, rule.bits) = (k, bits);
                }
            }
        }
        let terms = [zigzag(base), zigzag(step)].map(|term| u64::from(length(term).max(1).div_ceil(7)) * 8);
        rule.bits = rule.bits.saturating_add(terms.iter().sum());
        rule
    }

    fn take_residuals(&mut self, numbers: &[i64], rule: &Rule) {
        let Rule { base, step, .. } = *rule;
        self.residuals.clear();
        if rule.line {
            self.residuals.extend(along(numbers, step).map(|number| zigzag(number.wrapping_sub(base))));
        } else {
            let steps = numbers.windows(2).map(difference);
            self.residuals.extend(steps.map(|number| zigzag(number.wrapping_sub(step))));
        }
    }

    fn median(&mut self, numbers: impl Iterator<Item = i64>) -> i64 {
        self.sorted.clear();
        self.sorted.extend(numbers);
        middle_of(&mut self.sorted)
    }
}

fn middle_of(numbers: &mut [i64]) -> i64 {
    if numbers.is_empty() {
        return 0;
    }
    let middle = numbers.len() / 2;
    *numbers.select_nth_unstable(middle).1
}

fn difference(pair: &[i64]) -> i64 {
    match pair {
        [before, after] => after.wrapping_sub(*before),
        _ => 0,
    }
}

/// What is left of each number beside a line through 0.
fn along(numbers: &[i64], step: i64) -> impl Iterator<Item = i64> {
    (0_i64..).zip(numbers).map(move |(i, number)| number.wrapping_sub(step.wrapping_mul(i)))
}

/// Bits of one residual.
fn cost(residual: u64, k: u8) -> u64 {
    let ones = residual >> k;
    if ones < ESCAPE { ones + 1 + u64::from(k) } else { ESCAPE + 6 + u64::from(length(residual)) }
}

fn write_residuals(residuals: &[u64], k: u8, out: &mut Vec<u8>) {
    let mut bits = BitWriter { out, byte: 0, used: 0 };
    for residual in residuals {
        let ones = residual >> k;
        if ones < ESCAPE {
            bits.put((1 << (ones + 1)) - 2, ones as u32 + 1);
            bits.put(*residual, u32::from(k));
        } else {
            let length = length(*residual);
            bits.put((1 << ESCAPE) - 1, ESCAPE as u32);
            bits.put(u64::from(length) - 1, 6);
            bits.put(*residual, length);
        }
    }
    bits.fill_up();
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    byte: u8,
    used: u32,
}

impl BitWriter<'_> {
    /// The lowest `count` bits of `value`, the most significant of them first.
    fn put(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            let now = left.min(8 - self.used);
            left -= now;
            let part = (value >> left) as u8 & (0xff >> (8 - now));
            self.byte |= part << (8 - self.used - now);
            self.used += now;
            if self.used == 8 {
                self.out.push(self.byte);
                (self.byte, self.used) = (0, 0);
            }
        }
    }

    fn fill_up(self) {
        if self.used > 0 {
            self.out.push(self.byte);
        }
    }
}

/// Reads bytes, varints and series, and never past the end.
#[derive(Debug)]
pub(super) struct Bytes<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// What was expected at this byte and is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

impl<'b> Bytes<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn missing(&self, what: &'static str) -> Missing {
        Missing { at: self.at, what }
    }

    pub(super) fn take(&mut self, count: usize, what: &'static str) -> Result<&'b [u8], Missing> {
        let end = self.at.checked_add(count).ok_or(self.missing(what))?;
        let bytes = self.bytes.get(self.at..end).ok_or(self.missing(what))?;
        self.at = end;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Missing> {
        let missing = self.missing(what);
        self.take(N, what)?.try_into().map_err(|_| missing)
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, Missing> {
        self.array(what).map(|[byte]| byte)
    }

    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, Missing> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.missing(what))
    }

    pub(super) fn count(&mut self, most: usize, what: &'static str) -> Result<usize, Missing> {
        let missing = self.missing(what);
        let count = self.varint(what)?;
        usize::try_from(count).ok().filter(|count| *count <= most).ok_or(missing)
    }

    pub(super) fn signed(&mut self, what: &'static str) -> Result<i64, Missing> {
        self.varint(what).map(unzigzag)
    }

    /// `count` numbers of a series. The caller bounds `count`.
    pub(super) fn series(&mut self, count: usize, what: &'static str) -> Result<Vec<i64>, Missing> {
        if count < 2 {
            return (0..count).map(|_| self.signed(what)).collect();
        }
        let head = self.byte(what)?;
        let (line, k) = (head & LINE != 0, head & !LINE);
        if k > 63 && k != NO_RESIDUALS {
            return Err(self.missing(what));
        }
        let (base, step) = (self.signed(what)?, self.signed(what)?);
        let mut numbers = Vec::with_capacity(count);
        let mut before = base;
        if !line {
            numbers.push(base);
        }
        let mut bits = BitReader { bytes: self.bytes, at: self.at, used: 0 };
        for i in numbers.len()..count {
            let residual =
                if k == NO_RESIDUALS { 0 } else { unzigzag(bits.residual(k).ok_or(self.missing(what))?) };
            if line {
                numbers.push(base.wrapping_add(step.wrapping_mul(i as i64)).wrapping_add(residual));
            } else {
                before = before.wrapping_add(step).wrapping_add(residual);
                numbers.push(before);
            }
        }
        self.at = bits.at + usize::from(bits.used > 0);
        Ok(numbers)
    }
}

struct BitReader<'b> {
    bytes: &'b [u8],
    at: usize,
    used: u32,
}

impl BitReader<'_> {
    fn bit(&mut self) -> Option<u64> {
        let bit = self.bytes.get(self.at)? >> (7 - self.used) & 1;
        self.used += 1;
        if self.used == 8 {
            (self.at, self.used) = (self.at + 1, 0);
        }
        Some(bit.into())
    }

    fn bits(&mut self, count: u32) -> Option<u64> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }

    /// A Rice code. One whose ones would not fit 64 bits is none.
    fn residual(&mut self, k: u8) -> Option<u64> {
        let mut ones = 0;
        while ones < ESCAPE && self.bit()? == 1 {
            ones += 1;
        }
        if ones == ESCAPE {
            let length = self.bits(6)? as u32 + 1;
            return self.bits(length);
        }
        if length(ones) + u32::from(k) > 64 {
            return None;
        }
        Some(ones << k | self.bits(u32::from(k))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(numbers: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        SeriesWriter::default().write(numbers, &mut out);
        out
    }

    fn comes_back(numbers: &[i64]) {
        let mut bytes = written(numbers);
        let length = bytes.len();
        bytes.push(0x55);
        let mut reader = Bytes::new(&bytes);
        assert_eq!(reader.series(numbers.len(), "a series").as_deref(), Ok(numbers));
        assert_eq!(reader.at, length, "a series ends where it was written to end");
    }

    #[test]
    fn a_beat_costs_nothing_but_its_rule() {
        let times: Vec<i64> = (0..500).map(|i| 1_795_132_800_000 + i * 1000).collect();
        comes_back(&times);
        assert_eq!(written(&times).len(), 1 + 6 + 2);
    }

    #[test]
    fn the_ends_of_64_bits_survive_beside_each_other() {
        comes_back(&[i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN, i64::MIN]);
        comes_back(&[i64::MIN, i64::MAX]);
        comes_back(&[i64::MIN]);
        comes_back(&[]);
    }

    #[test]
    fn one_number_out_of_line_costs_a_few_bytes_and_not_the_rest_its_density() {
        let mut walk: Vec<i64> = (0..100).map(|i| i * 7 % 5).collect();
        let usual = written(&walk).len();
        walk[50] = 1 << 40;
        comes_back(&walk);
        assert!(written(&walk).len() <= usual + 16, "{usual} and {}", written(&walk).len());
    }

    #[test]
    fn codes_that_no_writer_makes_are_refused() {
        // k of 64 to 126; a code whose ones do not fit; a number cut short; a varint of 65 bits.
        for bytes in [
            &[64, 0, 0, 0, 0][..],
            &[126, 0, 0, 0, 0],
            &[63, 0, 0, 0xE0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0],
            &[127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0],
        ] {
            assert!(Bytes::new(bytes).series(2, "a series").is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(numbers in prop::collection::vec(any::<i64>(), 0..40)) {
            comes_back(&numbers);
        }

        #[test]
        fn numbers_near_a_rule_come_back(
            start in any::<i64>(), step in -5000i64..5000, noise in prop::collection::vec(-40i64..40, 0..300),
            holes in prop::collection::vec((0usize..300, any::<i64>()), 0..4),
        ) {
            let mut at = start;
            let numbers: Vec<i64> = noise.iter().enumerate().map(|(i, noise)| {
                let hole = holes.iter().find(|(place, _)| *place == i).map_or(0, |(_, hole)| *hole);
                at = at.wrapping_add(step).wrapping_add(hole);
                at.wrapping_add(*noise)
            }).collect();
            comes_back(&numbers);
        }

        #[test]
        fn any_bytes_are_a_series_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80), count in 0usize..600) {
            if let Ok(numbers) = Bytes::new(&bytes).series(count, "a series") {
                prop_assert_eq!(numbers.len(), count);
            }
        }
    }
}
