//! Rows under any input: nothing is changed, lost or sent in a message that is too long.

use fieldgate_golioth_proto::rows::{
    DecodedReading, DecodedRow, DecodedValue, Element, MAX_EXACT_MANTISSA, Push, Resolution, Row, RowError,
    RowTime, RowValue, RowsPacker, UNSTATED_UNCERTAINTY_MS, Value, decode_rows, validate_alias,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::common::widest;

/// A value that owns its text, so that strategies can make it.
#[derive(Clone, Debug)]
enum Owned {
    Scaled(i64, Resolution),
    Float(f64),
    Integer(i64),
    Bool(bool),
    Text(String),
    Missing,
}

impl Owned {
    fn borrow(&self) -> Value<'_> {
        match self {
            Self::Scaled(mantissa, resolution) => {
                Value::Scaled { mantissa: *mantissa, resolution: *resolution }
            }
            Self::Float(number) => Value::Float(*number),
            Self::Integer(number) => Value::Integer(*number),
            Self::Bool(value) => Value::Bool(*value),
            Self::Text(text) => Value::Text(text),
            Self::Missing => Value::Missing,
        }
    }

    /// Whether `decoded` is this value, and not one near it.
    fn is(&self, decoded: &DecodedValue) -> bool {
        match (self, decoded) {
            (Self::Scaled(mantissa, resolution), number) => number.mantissa(*resolution) == Some(*mantissa),
            (Self::Float(sent), DecodedValue::Float(got)) => sent.to_bits() == got.to_bits(),
            (Self::Float(sent), DecodedValue::Integer(got)) => *sent == *got as f64 && *sent as i64 == *got,
            (Self::Integer(sent), DecodedValue::Integer(got)) => sent == got,
            (Self::Bool(sent), DecodedValue::Bool(got)) => sent == got,
            (Self::Text(sent), DecodedValue::Text(got)) => sent == got,
            (Self::Missing, DecodedValue::Missing) => true,
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
struct OwnedRow {
    epoch_prefix: [u8; 4],
    sequence: u64,
    time: RowTime,
    values: Vec<(String, Owned, u8)>,
}

impl OwnedRow {
    fn with<T>(&self, look: impl FnOnce(&Row<'_>) -> T) -> T {
        let values: Vec<RowValue<'_>> = self
            .values
            .iter()
            .map(|(alias, value, quality)| RowValue { alias, value: value.borrow(), quality: *quality })
            .collect();
        let Self { epoch_prefix, sequence, time, .. } = *self;
        look(&Row { epoch_prefix, sequence, time, values: &values })
    }

    fn is(&self, decoded: &DecodedRow) -> bool {
        let same = |((alias, value, quality), reading): (&(String, Owned, u8), &DecodedReading)| {
            *alias == reading.alias && value.is(&reading.value) && *quality == reading.quality
        };
        let time = match self.time {
            RowTime::Wall { unix_ms, uncertainty_ms } => {
                RowTime::Wall { unix_ms, uncertainty_ms: uncertainty_ms.max(UNSTATED_UNCERTAINTY_MS) }
            }
            boot => boot,
        };
        self.epoch_prefix == decoded.epoch_prefix
            && self.sequence == decoded.sequence
            && time == decoded.time
            && self.values.len() == decoded.values.len()
            && self.values.iter().zip(&decoded.values).all(same)
    }
}

fn resolutions() -> impl Strategy<Value = Resolution> {
    prop_oneof![
        (-18i8..=18).prop_map(|exponent| Resolution::decimal(exponent).expect("within bounds")),
        (1u32.., 1u32..).prop_map(|(n, d)| Resolution::rational(n, d).expect("not zero")),
        (1u32..50, 1u32..50).prop_map(|(n, d)| Resolution::rational(n, d).expect("not zero")),
    ]
}

/// Small, 16-bit, 32-bit and extreme mantissas, all of which every resolution carries.
fn mantissas() -> impl Strategy<Value = i64> {
    prop_oneof![
        -100i64..100,
        i64::from(i16::MIN)..=i64::from(u16::MAX),
        i64::from(i32::MIN)..=i64::from(u32::MAX),
        -MAX_EXACT_MANTISSA..=MAX_EXACT_MANTISSA,
        Just(MAX_EXACT_MANTISSA),
        Just(-MAX_EXACT_MANTISSA),
    ]
}

fn finite() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![
        POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO,
        any::<f32>().prop_filter("finite", |number| number.is_finite()).prop_map(f64::from),
        any::<i64>().prop_map(|number| number as f64),
        (-1000i32..1000).prop_map(|number| f64::from(number) / 8.0),
    ]
}

fn values() -> impl Strategy<Value = Owned> {
    prop_oneof![
        4 => (mantissas(), resolutions()).prop_map(|(mantissa, resolution)| Owned::Scaled(mantissa, resolution)),
        1 => finite().prop_map(Owned::Float),
        1 => any::<i64>().prop_map(Owned::Integer),
        1 => any::<bool>().prop_map(Owned::Bool),
        1 => "\\PC{0,12}".prop_map(Owned::Text),
        1 => Just(Owned::Missing),
    ]
}

fn times() -> impl Strategy<Value = RowTime> {
    prop_oneof![
        (any::<i64>(), prop_oneof![0u32..3000, any::<u32>()])
            .prop_map(|(unix_ms, uncertainty_ms)| RowTime::Wall { unix_ms, uncertainty_ms }),
        (any::<u64>(), any::<u64>()).prop_map(|(boot, mono_ms)| RowTime::Boot { boot, mono_ms }),
    ]
}

fn rows() -> impl Strategy<Value = OwnedRow> {
    let alias = "[A-Za-z0-9_-]{1,6}".prop_filter("not reserved", |alias| validate_alias(alias).is_ok());
    let quality = prop_oneof![3 => Just(0u8), 1 => any::<u8>()];
    (any::<[u8; 4]>(), any::<u64>(), times(), btree_map(alias, (values(), quality), 1..12)).prop_map(
        |(epoch_prefix, sequence, time, values)| {
            let values =
                values.into_iter().map(|(alias, (value, quality))| (alias, value, quality)).collect();
            OwnedRow { epoch_prefix, sequence, time, values }
        },
    )
}

/// The bytes of a row in a message, without the array's head; `None` if a block is too short for it.
fn element_bytes(row: &OwnedRow) -> Option<usize> {
    let mut packer = RowsPacker::new(1024);
    row.with(|row| packer.push(row)).ok().map(|_| packer.finish().len() - 1)
}

fn head_bytes(elements: usize) -> usize {
    if elements < 24 { 1 } else { 2 }
}

proptest! {
    /// The model: messages are what a greedy packer makes of the rows in order, and nothing else.
    #[test]
    fn every_pushed_row_is_in_its_message_unchanged_and_no_message_is_too_long(
        rows in vec(rows(), 1..40), limit in 20usize..1100,
    ) {
        let mut packer = RowsPacker::new(limit);
        let limit = limit.min(1024);
        let mut pushed: Vec<&OwnedRow> = Vec::new();
        let mut body = 0;
        for row in &rows {
            let bytes = element_bytes(row);
            loop {
                let outcome = row.with(|row| packer.push(row));
                match bytes {
                    Some(bytes) if bytes < limit => {
                        let fits = head_bytes(pushed.len() + 1) + body + bytes <= limit;
                        prop_assert_eq!(outcome, Ok(if fits { Push::Pushed } else { Push::Full }));
                        if fits {
                            body += bytes;
                            pushed.push(row);
                            break;
                        }
                        check_message(packer.finish(), &pushed, limit)?;
                        pushed.clear();
                        body = 0;
                    }
                    _ => {
                        prop_assert!(matches!(outcome, Err(RowError::TooLarge { .. })), "{outcome:?}");
                        break;
                    }
                }
            }
            prop_assert_eq!(packer.len(), pushed.len());
        }
        check_message(packer.finish(), &pushed, limit)?;
    }

    #[test]
    fn a_scaled_value_is_the_same_after_rounding_to_its_resolution(
        mantissa in mantissas(), resolution in resolutions(),
    ) {
        let decoded = through_the_wire(Value::Scaled { mantissa, resolution });
        let decoded = decoded.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(decoded.mantissa(resolution), Some(mantissa), "{:?}", decoded);
    }

    /// The forms tried here are made by a library, from the shortest up; ours may not be longer than the first that
    /// serves.
    #[test]
    fn no_shorter_number_would_have_given_the_same_value(mantissa in mantissas(), resolution in resolutions()) {
        let value = Value::Scaled { mantissa, resolution };
        let number = match through_the_wire(value) {
            Ok(DecodedValue::Float(number)) => number,
            whole => {
                prop_assert!(matches!(whole, Ok(DecodedValue::Integer(_))), "{whole:?}");
                return Ok(());
            }
        };
        let mut half = [0; 3];
        minicbor::Encoder::new(&mut half[..]).f16(number as f32).expect("three bytes");
        let half = f64::from(minicbor::Decoder::new(&half).f16().expect("a half"));
        let single = f64::from(number as f32);
        // A form that is off by nearly half a step is left to the encoder's caution.
        let serves = |form: f64| {
            let step = resolution.mantissa_of(form) == Some(mantissa);
            let near = |shift: f64| resolution.mantissa_of(form * (1.0 + shift)) == Some(mantissa);
            let margin = 0.02 / (mantissa.unsigned_abs() as f64);
            step && near(margin) && near(-margin)
        };
        let is_half = half == number;
        let is_single = single == number;
        prop_assert!(is_half || !serves(half), "{half} would do for {number}");
        prop_assert!(is_half || is_single || !serves(single), "{single} would do for {number}");
        let bytes = if is_half { 3 } else if is_single { 5 } else { 9 };
        prop_assert_eq!(value_bytes(value), bytes);
    }

    /// Beyond what doubles carry: still the same, or refused; never another value.
    #[test]
    fn any_mantissa_at_all_is_the_same_or_is_refused(mantissa: i64, resolution in resolutions()) {
        match through_the_wire(Value::Scaled { mantissa, resolution }) {
            Ok(decoded) => prop_assert_eq!(decoded.mantissa(resolution), Some(mantissa), "{:?}", decoded),
            Err(error) => {
                prop_assert_eq!(error, RowError::TooPrecise { alias: "x".to_owned() });
                prop_assert!(mantissa.unsigned_abs() > MAX_EXACT_MANTISSA.unsigned_abs());
            }
        }
    }

    #[test]
    fn a_float_keeps_every_bit(number in finite()) {
        let decoded = through_the_wire(Value::Float(number));
        prop_assert!(decoded.as_ref().is_ok_and(|decoded| Owned::Float(number).is(decoded)), "{decoded:?}");
    }
}

fn check_message(message: &[u8], pushed: &[&OwnedRow], limit: usize) -> Result<(), TestCaseError> {
    prop_assert!(message.len() <= limit, "{} bytes in a message of {limit}", message.len());
    for document in [message.to_vec(), widest(message)] {
        let elements = decode_rows(&document).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(elements.len(), pushed.len());
        for (element, row) in elements.iter().zip(pushed) {
            let same = matches!(element, Element::Row(decoded) if row.is(decoded));
            prop_assert!(same, "{row:?} became {element:?}");
        }
    }
    Ok(())
}

/// How long a value is in a message that has nothing else in it that varies.
fn value_bytes(value: Value<'_>) -> usize {
    let length = |value| {
        let values = [RowValue { alias: "x", value, quality: 0 }];
        let time = RowTime::Wall { unix_ms: 0, uncertainty_ms: 0 };
        let mut packer = RowsPacker::new(1024);
        assert_eq!(
            packer.push(&Row { epoch_prefix: [0; 4], sequence: 0, time, values: &values }),
            Ok(Push::Pushed)
        );
        packer.finish().len()
    };
    length(value) - length(Value::Missing) + 1
}

fn through_the_wire(value: Value<'_>) -> Result<DecodedValue, RowError> {
    let values = [RowValue { alias: "x", value, quality: 0 }];
    let time = RowTime::Wall { unix_ms: 0, uncertainty_ms: 0 };
    let mut packer = RowsPacker::new(1024);
    let push = packer.push(&Row { epoch_prefix: [0; 4], sequence: 0, time, values: &values })?;
    assert_eq!(push, Push::Pushed);
    match decode_rows(packer.finish()).expect("our own message").remove(0) {
        Element::Row(mut row) => Ok(row.values.remove(0).value),
        other => panic!("not a row: {other:?}"),
    }
}
