//! The cloud's own reader of the gateway's `columns` batches, after `docs/encodings.md` and sharing nothing with the writer. It
//! reads every table into the same elements as a batch of rows.

use super::Stated;
use super::rows::{Element, NotRows, RowValue, Scalar};
use minicbor::Decoder;
use minicbor::data::Type;
use std::borrow::Cow;

const MOST_COLUMNS: u64 = 512;
const MOST_CELLS: u64 = 4096;
const ONE_IN_DECIMAL: i32 = 18;

/// Whether a body sets out as a batch of columns.
pub(super) fn is_one(body: &[u8]) -> bool {
    let mut decoder = Decoder::new(body);
    decoder.array().is_ok_and(|length| length == Some(3))
        && matches!(decoder.datatype(), Ok(Type::U8 | Type::U16 | Type::U32 | Type::U64))
}

/// Reads a whole batch, or says what is wrong with it.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Element<'_>>, NotRows> {
    let (epoch, tables) =
        envelope(body).ok_or(NotRows::Broken { index: 0, what: "not 1, 4 bytes and bytes".to_owned() })?;
    let mut input = Input { rest: tables };
    let (mut elements, mut cells, mut index) = (Vec::new(), 0, 0);
    while !input.rest.is_empty() {
        let read = table(&mut input, epoch, &mut cells, &mut elements);
        read.ok_or_else(|| {
            let what = format!("table breaks {} bytes before its end", input.rest.len());
            NotRows::Broken { index, what }
        })?;
        index += 1;
    }
    Ok(elements)
}

fn envelope(body: &[u8]) -> Option<([u8; 4], &[u8])> {
    let mut decoder = Decoder::new(body);
    decoder.array().ok()?;
    let version = decoder.u64().ok()?;
    let epoch = decoder.bytes().ok()?.try_into().ok()?;
    let tables = decoder.bytes().ok()?;
    (version == 1 && decoder.position() == body.len()).then_some((epoch, tables))
}

fn table<'b>(
    input: &mut Input<'b>,
    epoch: [u8; 4],
    cells: &mut u64,
    elements: &mut Vec<Element<'b>>,
) -> Option<()> {
    let head = input.varint()?;
    let (instants, is_stated, is_boot) = (head >> 2, head >> 1 & 1 == 1, head & 1 == 1);
    if instants == 0 || instants > MOST_CELLS {
        return None;
    }
    let boot = if is_boot { Some(input.varint()?) } else { None };
    let sequences = input.series(instants)?;
    let times = input.series(instants)?;
    let uncertainties = if is_stated { Some(input.series(instants)?) } else { None };
    let columns = input.varint()?;
    *cells += instants.checked_mul(columns)?;
    if columns > MOST_COLUMNS || *cells > MOST_CELLS {
        return None;
    }
    let mut lines: Vec<Vec<RowValue<'b>>> = sequences.iter().map(|_| Vec::new()).collect();
    for _ in 0..columns {
        column(input, &mut lines)?;
    }
    for (place, values) in lines.into_iter().enumerate() {
        let (sequence, time) = (sequences.get(place)?.cast_unsigned(), *times.get(place)?);
        let stated = match boot {
            Some(boot) => Stated::Boot { boot, mono_ms: time.cast_unsigned() },
            None => {
                let stated = uncertainties.as_ref().and_then(|all| all.get(place));
                let uncertainty_ms = match stated {
                    Some(ms) => Some(u64::try_from(*ms).ok()?),
                    None => None,
                };
                Stated::Wall { unix_ms: time, uncertainty_ms }
            }
        };
        if values.is_empty() {
            return None;
        }
        elements.push(Element::Row { epoch, sequence, stated, values });
    }
    Some(())
}

/// One column, added to each line that has it.
fn column<'b>(input: &mut Input<'b>, lines: &mut [Vec<RowValue<'b>>]) -> Option<()> {
    let alias = input.text()?;
    if lines.iter().any(|line| line.iter().any(|value| value.alias == alias)) {
        return None;
    }
    let [head] = input.take(1)? else { return None };
    let kind = i32::from(head & 0x7f);
    let (numerator, denominator) = match kind {
        0..=36 => {
            let power = 10_f64.powi((kind - ONE_IN_DECIMAL).abs());
            if kind < ONE_IN_DECIMAL { (1.0, power) } else { (power, 1.0) }
        }
        37 => (input.varint()? as f64, input.varint()? as f64),
        _ => (1.0, 1.0),
    };
    // Code by line: 1 is a good value.
    let mut codes = vec![1; lines.len()];
    if head & 0x80 != 0 {
        let mut line = 0_usize;
        for _ in 0..input.varint()? {
            line = line.checked_add(usize::try_from(input.varint()?).ok()?)?;
            let length = usize::try_from(input.varint()?).ok()?;
            let code = input.varint()?;
            codes.get_mut(line..line.checked_add(length)?)?.fill(code);
            line += length;
        }
    }
    let count = codes.iter().filter(|code| *code % 2 == 1).count() as u64;
    let steps = |steps: Vec<i64>| -> Vec<Scalar<'b>> {
        steps.into_iter().map(|steps| whole_or_not(steps, numerator, denominator)).collect()
    };
    let values: Vec<Scalar<'b>> = match kind {
        0..=37 => steps(input.series(count)?),
        38 => input.series(count)?.into_iter().map(|number| Scalar::Bool(number == 1)).collect(),
        39 => {
            let float = |_| input.four().map(|bytes| float(f64::from(f32::from_le_bytes(bytes))));
            (0..count).map(float).collect::<Option<_>>()?
        }
        40 => {
            let float = |_| input.eight().map(|bytes| float(f64::from_le_bytes(bytes)));
            (0..count).map(float).collect::<Option<_>>()?
        }
        41 => (0..count).map(|_| item(input)).collect::<Option<_>>()?,
        _ => return None,
    };
    let mut values = values.into_iter();
    for (line, code) in lines.iter_mut().zip(codes) {
        if code == 0 {
            continue;
        }
        let value = if code % 2 == 1 { values.next()? } else { Scalar::Missing };
        let quality = u8::try_from((code - 1) / 2).ok()?;
        line.push(RowValue { alias: Cow::Borrowed(alias), value, quality });
    }
    Some(())
}

fn item<'b>(input: &mut Input<'b>) -> Option<Scalar<'b>> {
    let [kind] = input.take(1)? else { return None };
    Some(match kind {
        0 => float(f64::from_le_bytes(input.eight()?)),
        1 => {
            let (numerator, denominator) = (input.varint()? as f64, input.varint()? as f64);
            whole_or_not(input.signed()?, numerator, denominator)
        }
        2 => Scalar::Bool(false),
        3 => Scalar::Bool(true),
        4 => Scalar::Text(Cow::Borrowed(input.text()?)),
        _ => return None,
    })
}

/// A float that is whole is an integer, as for whoever reads the JSON.
fn float<'b>(number: f64) -> Scalar<'b> {
    if number.fract() == 0.0 && number.abs() <= 2_f64.powi(53) {
        Scalar::Integer(number as i64)
    } else {
        Scalar::Float(number)
    }
}

fn whole_or_not<'b>(steps: i64, numerator: f64, denominator: f64) -> Scalar<'b> {
    if (numerator, denominator) == (1.0, 1.0) {
        return Scalar::Integer(steps);
    }
    float(steps as f64 * numerator / denominator)
}

struct Input<'b> {
    rest: &'b [u8],
}

impl<'b> Input<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn four(&mut self) -> Option<[u8; 4]> {
        self.take(4)?.try_into().ok()
    }

    fn eight(&mut self) -> Option<[u8; 8]> {
        self.take(8)?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'b str> {
        let length = usize::try_from(self.varint()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn varint(&mut self) -> Option<u64> {
        let length = self.rest.iter().position(|byte| *byte < 0x80)? + 1;
        let bytes = self.take(length)?;
        let mut value = 0_u128;
        for byte in bytes.iter().rev() {
            value = value.checked_mul(128)? + u128::from(byte & 0x7f);
        }
        u64::try_from(value).ok()
    }

    fn signed(&mut self) -> Option<i64> {
        self.varint().map(signed)
    }

    fn series(&mut self, count: u64) -> Option<Vec<i64>> {
        match count {
            0 => return Some(Vec::new()),
            1 => return Some(vec![self.signed()?]),
            _ => {}
        }
        let [head] = self.take(1)? else { return None };
        let (is_line, k) = (head & 0x80 != 0, u32::from(head & 0x7f));
        if (64..127).contains(&k) {
            return None;
        }
        let (base, step) = (self.signed()?, self.signed()?);
        let mut bits =
            self.rest.iter().flat_map(|byte| (0..8).map(move |bit| u64::from(byte >> (7 - bit) & 1)));
        let mut used = 0_usize;
        let mut numbers = Vec::new();
        for place in 0..count {
            let residual = if k == 127 || (place == 0 && !is_line) {
                0
            } else {
                let (number, length) = residual(&mut bits, k)?;
                used += length;
                signed(number)
            };
            // What the residual is added to.
            let expected = match numbers.last() {
                Some(last) if !is_line => i64::wrapping_add(*last, step),
                None if !is_line => base,
                _ => base.wrapping_add(step.wrapping_mul(place.cast_signed())),
            };
            numbers.push(expected.wrapping_add(residual));
        }
        self.take(used.div_ceil(8))?;
        Some(numbers)
    }
}

/// A Rice code and its length in bits.
fn residual(bits: &mut impl Iterator<Item = u64>, k: u32) -> Option<(u64, usize)> {
    let mut ones = 0_u64;
    while ones < 12 {
        if bits.next()? == 0 {
            let mut number = u128::from(ones);
            for _ in 0..k {
                number = number * 2 + u128::from(bits.next()?);
            }
            return Some((u64::try_from(number).ok()?, ones as usize + 1 + k as usize));
        }
        ones += 1;
    }
    let length = (0..6).try_fold(0, |sum, _| Some(sum * 2 + bits.next()?))? + 1;
    let number = (0..length).try_fold(0_u64, |sum, _| Some(sum << 1 | bits.next()?))?;
    Some((number, 12 + 6 + length as usize))
}

fn signed(zigzag: u64) -> i64 {
    let half = (zigzag / 2).cast_signed();
    if zigzag.is_multiple_of(2) { half } else { -half - 1 }
}
