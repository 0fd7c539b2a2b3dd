//! Rows: exact bytes of each kind of map, and what is refused.

use fieldgate_golioth_proto::Fault;
use fieldgate_golioth_proto::rows::{
    AliasError, ClockStatement, DecodeError, DecodedEpoch, DecodedReading, DecodedRow, DecodedValue, Element,
    EpochStatement, LossKeys, LossStatement, PreviousEpoch, PreviousEpochSequences, Push, Resolution, Row,
    RowError, RowTime, RowValue, RowsPacker, Salvage, Value, decode_rows, validate_alias,
};

use crate::common::{bytes, widest};

const PREFIX: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];
const WALL: RowTime = RowTime::Wall { unix_ms: 1_763_629_200_000, uncertainty_ms: 40 };

fn tenths() -> Resolution {
    Resolution::decimal(-1).expect("a tenth")
}

fn good<'a>(alias: &'a str, value: Value<'a>) -> RowValue<'a> {
    RowValue { alias, value, quality: 0 }
}

fn scaled(mantissa: i64, resolution: Resolution) -> Value<'static> {
    Value::Scaled { mantissa, resolution }
}

fn row<'a>(values: &'a [RowValue<'a>]) -> Row<'a> {
    Row { epoch_prefix: PREFIX, sequence: 258, time: WALL, values }
}

/// The message of one row.
fn message(row: &Row<'_>) -> Vec<u8> {
    let mut packer = RowsPacker::new(1024);
    assert_eq!(packer.push(row), Ok(Push::Pushed));
    packer.finish().to_vec()
}

/// The bytes of one value, by itself.
fn encoded(value: Value<'_>) -> Vec<u8> {
    let message = message(&row(&[good("x", value)]));
    let after = bytes("61 'x'");
    let at = message.windows(2).rposition(|pair| pair == after).expect("the alias") + 2;
    message[at..].to_vec()
}

fn refused(value: Value<'_>) -> RowError {
    RowsPacker::new(1024).push(&row(&[good("x", value)])).expect_err("refused")
}

pub(crate) fn golden() -> Vec<u8> {
    bytes(
        "83 a4 61 'e' 44 deadbeef 62 'ep' 48 deadbeef01020304 62 'pe' 48 0a0b0c0d0e0f1011 \
            62 'ls' a2 65 'bus-0' 1903e8 65 'modem' 07 \
            a6 61 'e' 44 deadbeef 61 's' 190102 61 't' 1b0000019aa07df280 \
            62 't1' f94a26 61 'p' f6 61 'q' a1 61 'p' 03 \
            a5 61 'e' 44 deadbeef 61 's' 190103 61 'b' 11 61 'm' 19ea60 61 'o1' f5"
            .replace("61 'o1'", "62 'o1'")
            .as_str(),
    )
}

#[test]
fn a_message_has_exactly_the_documented_bytes() {
    let last = [("bus-0", 1000), ("modem", 7)];
    let epoch = [0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4];
    let previous = Some(PreviousEpoch {
        epoch: [0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11],
        last_sequences: &last,
    });
    let timed =
        [good("t1", scaled(123, tenths())), RowValue { alias: "p", value: Value::Missing, quality: 3 }];
    let untimed = [good("o1", Value::Bool(true))];
    let mut packer = RowsPacker::new(1024);
    assert_eq!(packer.push_epoch(&EpochStatement { epoch, previous }), Ok(Push::Pushed));
    assert_eq!(packer.push(&row(&timed)), Ok(Push::Pushed));
    let boot = RowTime::Boot { boot: 17, mono_ms: 60_000 };
    assert_eq!(packer.push(&Row { sequence: 259, time: boot, ..row(&untimed) }), Ok(Push::Pushed));
    assert_eq!(packer.len(), 3);
    assert_eq!(packer.encoded_bytes(), golden().len());
    assert_eq!(packer.finish(), golden());
}

#[test]
fn the_documented_bytes_are_read_back_in_either_length_style() {
    let last_sequences = vec![("bus-0".to_owned(), 1000), ("modem".to_owned(), 7)];
    let epoch_before = [0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11];
    let reading = |alias: &str, value, quality| DecodedReading { alias: alias.to_owned(), value, quality };
    let expected = vec![
        Element::Epoch(DecodedEpoch {
            epoch: [0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4],
            previous: Some(PreviousEpochSequences { epoch: epoch_before, last_sequences }),
        }),
        Element::Row(DecodedRow {
            epoch_prefix: PREFIX,
            sequence: 258,
            time: RowTime::Wall { unix_ms: 1_763_629_200_000, uncertainty_ms: 1000 },
            values: vec![
                reading("t1", DecodedValue::Float(12.296875), 0),
                reading("p", DecodedValue::Missing, 3),
            ],
        }),
        Element::Row(DecodedRow {
            epoch_prefix: PREFIX,
            sequence: 259,
            time: RowTime::Boot { boot: 17, mono_ms: 60_000 },
            values: vec![reading("o1", DecodedValue::Bool(true), 0)],
        }),
    ];
    assert_eq!(decode_rows(&golden()).as_ref(), Ok(&expected));
    assert_eq!(decode_rows(&widest(&golden())), Ok(expected));
}

#[test]
fn uncertainty_is_stated_only_above_a_second() {
    let values = [good("x", Value::Integer(1))];
    let with = |uncertainty_ms| Row { time: RowTime::Wall { unix_ms: 5, uncertainty_ms }, ..row(&values) };
    assert_eq!(message(&with(1000)), bytes("81 a4 61 'e' 44 deadbeef 61 's' 190102 61 't' 05 61 'x' 01"));
    assert_eq!(
        message(&with(1001)),
        bytes("81 a5 61 'e' 44 deadbeef 61 's' 190102 61 't' 05 61 'u' 1903e9 61 'x' 01")
    );
}

#[test]
fn a_clock_statement_ties_a_boot_to_the_wall() {
    let statement = ClockStatement {
        epoch_prefix: PREFIX,
        boot: 17,
        unix_ms_at_mono_zero: 1_763_629_200_000,
        dated_with_unix_ms_at_mono_zero: None,
        uncertainty_ms: 2000,
    };
    let mut packer = RowsPacker::new(1024);
    assert_eq!(packer.push_clock(&statement), Ok(Push::Pushed));
    let expected = bytes("81 a4 61 'e' 44 deadbeef 61 'b' 11 61 'o' 1b0000019aa07df280 61 'u' 1907d0");
    assert_eq!(packer.finish(), expected);
    assert_eq!(decode_rows(&expected), Ok(vec![Element::Clock(statement)]));
    let corrects = ClockStatement {
        dated_with_unix_ms_at_mono_zero: Some(1_763_640_000_000),
        uncertainty_ms: 1000,
        ..statement
    };
    let mut packer = RowsPacker::new(1024);
    assert_eq!(packer.push_clock(&corrects), Ok(Push::Pushed));
    let expected =
        bytes("81 a4 61 'e' 44 deadbeef 61 'b' 11 61 'o' 1b0000019aa07df280 61 't' 1b0000019aa122be00");
    assert_eq!(packer.finish(), expected);
    assert_eq!(decode_rows(&expected), Ok(vec![Element::Clock(corrects)]));
}

#[test]
fn the_first_epoch_of_all_names_only_itself() {
    let mut packer = RowsPacker::new(1024);
    let statement = EpochStatement { epoch: [1, 2, 3, 4, 5, 6, 7, 8], previous: None };
    assert_eq!(packer.push_epoch(&statement), Ok(Push::Pushed));
    assert_eq!(packer.finish(), bytes("81 a2 61 'e' 44 01020304 62 'ep' 48 0102030405060708"));
}

#[test]
fn a_value_takes_the_fewest_bytes_that_its_resolution_allows() {
    let half = Resolution::rational(1, 2).expect("a half");
    let thousands = Resolution::decimal(3).expect("a thousand");
    let cases = [
        (scaled(230, tenths()), "17"),
        (scaled(-10, tenths()), "20"),
        (scaled(123, tenths()), "f94a26"),
        (scaled(-123, tenths()), "f9ca26"),
        (scaled(3456, tenths()), "fa43accccd"),
        (scaled(65_535, tenths()), "fa45cccc00"),
        (scaled(3, half), "f93e00"),
        (scaled(-4, half), "21"),
        (scaled(5, thousands), "191388"),
        (scaled(i64::MAX, Resolution::ONE), "1b7fffffffffffffff"),
        (scaled(i64::MIN, Resolution::ONE), "3b7fffffffffffffff"),
        (scaled(12_345_678_901, tenths()), "fb41d26580b4866666"),
        (Value::Float(1.0), "01"),
        (Value::Float(1.5), "f93e00"),
        (Value::Float(0.1), "fb3fb999999999999a"),
        (Value::Float(-0.0), "f98000"),
        (Value::Float(f64::from(0.1f32)), "fa3dcccccd"),
        (Value::Float(1e300), "fb7e37e43c8800759c"),
        (Value::Integer(-500), "3901f3"),
        (Value::Bool(false), "f4"),
        (Value::Text("ü"), "62 c3bc"),
        (Value::Missing, "f6"),
    ];
    for (value, expected) in cases {
        assert_eq!(encoded(value), bytes(expected), "{value:?}");
    }
}

#[test]
fn what_the_clouds_numbers_cannot_carry_is_refused_by_name() {
    let alias = "x".to_owned();
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(refused(Value::Float(number)), RowError::NotFinite { alias: alias.clone() });
    }
    assert_eq!(refused(scaled(i64::MAX, tenths())), RowError::TooPrecise { alias: alias.clone() });
    let thousands = Resolution::decimal(3).expect("a thousand");
    assert_eq!(refused(scaled(i64::MAX, thousands)), RowError::TooPrecise { alias });
}

#[test]
fn resolutions_are_positive_and_bounded() {
    assert_eq!(Resolution::decimal(19), None);
    assert_eq!(Resolution::decimal(-19), None);
    assert_eq!(Resolution::decimal(i8::MIN), None);
    assert_eq!(Resolution::rational(0, 5), None);
    assert_eq!(Resolution::rational(5, 0), None);
    assert_eq!(Resolution::rational(0, 0), None);
    assert_eq!(Resolution::rational(10, 100), Resolution::decimal(-1));
    assert_eq!(Resolution::rational(7, 7), Some(Resolution::ONE));
}

#[test]
fn a_number_that_is_no_count_of_steps_has_no_mantissa() {
    assert_eq!(tenths().mantissa_of(12.296875), Some(123));
    assert_eq!(tenths().mantissa_of(-12.34), Some(-123));
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e18, -1e18] {
        assert_eq!(tenths().mantissa_of(number), None, "{number}");
    }
    assert_eq!(Resolution::ONE.mantissa_of(i64::MIN as f64), Some(i64::MIN));
    assert_eq!(Resolution::ONE.mantissa_of(9_223_372_036_854_775_808.0), None);
    assert_eq!(DecodedValue::Integer(i64::MAX).mantissa(tenths()), None);
    let thousands = Resolution::decimal(3).expect("a thousand");
    assert_eq!(DecodedValue::Integer(-1_500).mantissa(thousands), Some(-2));
    assert_eq!(DecodedValue::Text("1".to_owned()).mantissa(tenths()), None);
}

#[test]
fn an_alias_is_short_plain_and_not_a_key_of_the_row() {
    assert!(validate_alias("t1").is_ok());
    assert!(validate_alias("Temp_out-2").is_ok());
    assert!(validate_alias(&"a".repeat(32)).is_ok());
    assert_eq!(validate_alias(""), Err(AliasError::Empty));
    assert_eq!(validate_alias(&"a".repeat(33)), Err(AliasError::TooLong { alias: "a".repeat(32) }));
    for alias in ["a.b", "a/b", "a b", "ü", "a\0"] {
        assert_eq!(validate_alias(alias), Err(AliasError::Character { alias: alias.to_owned() }));
    }
    let reserved =
        ["b", "e", "ep", "loss", "ls", "m", "o", "pe", "q", "s", "t", "time", "timestamp", "ts", "u"]
            .map(str::to_owned);
    for alias in reserved {
        let expected = AliasError::Reserved { alias: alias.clone() };
        assert_eq!(validate_alias(&alias), Err(expected.clone()));
        let values = [good(&alias, Value::Missing)];
        assert_eq!(RowsPacker::new(1024).push(&row(&values)), Err(RowError::Alias(expected)));
    }
}

#[test]
fn a_row_that_says_nothing_or_the_same_twice_is_refused() {
    let mut packer = RowsPacker::new(1024);
    assert_eq!(packer.push(&row(&[])), Err(RowError::NoValues));
    let twice = [good("a", Value::Missing), good("b1", Value::Missing), good("a", Value::Bool(true))];
    assert_eq!(packer.push(&row(&twice)), Err(RowError::DuplicateAlias { alias: "a".to_owned() }));
    let groups = [("g", 1), ("g", 2)];
    let previous = Some(PreviousEpoch { epoch: [0; 8], last_sequences: &groups });
    let statement = EpochStatement { epoch: [1; 8], previous };
    assert_eq!(packer.push_epoch(&statement), Err(RowError::DuplicateAlias { alias: "g".to_owned() }));
    assert!(packer.is_empty());
    assert_eq!(packer.finish(), [0x80]);
}

#[test]
fn a_refused_row_leaves_no_trace_in_the_message() {
    let sound = [good("a", Value::Integer(1))];
    let unsound = [good("a", Value::Integer(1)), good("b1", Value::Float(f64::NAN))];
    let huge = "x".repeat(5000);
    let large = [good("a", Value::Text(&huge))];
    let mut packer = RowsPacker::new(1024);
    assert_eq!(packer.push(&row(&sound)), Ok(Push::Pushed));
    assert!(matches!(packer.push(&row(&unsound)), Err(RowError::NotFinite { .. })));
    let bytes = message(&row(&sound)).len() - 1 + 3 + 5000;
    assert_eq!(packer.push(&row(&large)), Err(RowError::TooLarge { bytes, limit: 1024 }));
    assert_eq!(packer.len(), 1);
    assert_eq!(packer.finish(), message(&row(&sound)));
}

#[test]
fn a_row_fits_a_message_of_exactly_its_length_and_no_shorter_one() {
    let values = [good("a", Value::Integer(1))];
    let bytes = message(&row(&values)).len();
    assert_eq!(RowsPacker::new(bytes).push(&row(&values)), Ok(Push::Pushed));
    let limit = bytes - 1;
    assert_eq!(RowsPacker::new(limit).push(&row(&values)), Err(RowError::TooLarge { bytes, limit }));
    assert_eq!(RowsPacker::new(0).push(&row(&values)), Err(RowError::TooLarge { bytes, limit: 0 }));
}

#[test]
fn a_full_message_is_finished_and_the_row_opens_the_next_in_the_same_buffer() {
    let values = [good("a", Value::Integer(1))];
    let single = message(&row(&values)).len();
    let mut packer = RowsPacker::new(2 * single - 1);
    assert_eq!(packer.push(&row(&values)), Ok(Push::Pushed));
    assert_eq!(packer.push(&row(&values)), Ok(Push::Pushed));
    assert_eq!(packer.push(&row(&values)), Ok(Push::Full));
    let first = packer.finish();
    assert_eq!(first.len(), 2 * single - 1);
    let place = first.as_ptr();
    assert_eq!(packer.len(), 0);
    assert_eq!(packer.push(&row(&values)), Ok(Push::Pushed));
    let second = packer.finish();
    assert_eq!(second, message(&row(&values)));
    assert_eq!(second.as_ptr(), place, "the buffer is used again");
    assert_eq!(packer.finish().len(), single, "asking again gives the same");
}

#[test]
fn a_limit_beyond_a_block_is_a_block() {
    assert_eq!(RowsPacker::new(usize::MAX).limit_bytes(), 1024);
    assert_eq!(RowsPacker::new(500).limit_bytes(), 500);
}

#[test]
fn the_count_in_front_grows_a_byte_at_24_and_the_limit_still_holds() {
    let values = [good("a", Value::Integer(1))];
    let brief = Row { sequence: 0, time: RowTime::Wall { unix_ms: 0, uncertainty_ms: 0 }, ..row(&values) };
    let element = message(&brief).len() - 1;
    for (limit, count) in [(24 * element + 1, 23), (24 * element + 2, 24)] {
        let mut packer = RowsPacker::new(limit);
        while packer.push(&brief) == Ok(Push::Pushed) {}
        assert_eq!(packer.len(), count);
        let message = packer.finish();
        assert!(message.len() <= limit);
        assert_eq!(decode_rows(message).map(|elements| elements.len()), Ok(count));
    }
}

#[test]
fn an_epoch_statement_after_a_row_is_refused_until_the_next_message() {
    let values = [good("a", Value::Integer(1))];
    let statement = EpochStatement { epoch: [1; 8], previous: None };
    let mut packer = RowsPacker::new(1024);
    assert_eq!(packer.push_epoch(&statement), Ok(Push::Pushed));
    assert_eq!(packer.push_epoch(&statement), Ok(Push::Pushed), "a statement in parts");
    assert_eq!(packer.push(&row(&values)), Ok(Push::Pushed));
    assert_eq!(packer.push_epoch(&statement), Err(RowError::StatementNotFirst));
    assert_eq!(decode_rows(packer.finish()).map(|elements| elements.len()), Ok(3));
    assert_eq!(packer.push_epoch(&statement), Ok(Push::Pushed));
}

#[test]
fn a_map_that_no_encoder_writes_is_refused_with_its_place_and_key() {
    let e = "61 'e' 44 deadbeef";
    let ep = "62 'ep' 48 deadbeef01020304";
    let key = |key: &str, fault| DecodeError::Key { index: 0, key: key.to_owned(), fault };
    let lacks = |missing| DecodeError::Incomplete { index: 0, missing };
    let extra = |key: &str| DecodeError::Inconsistent { index: 0, key: key.to_owned() };
    let wrong = |expected| Fault::WrongType { expected };
    let cases = [
        ("a3 61 's' 01 61 't' 01 61 'x' 01".to_owned(), lacks("e")),
        (format!("a3 {e} 61 't' 01 61 'x' 01"), lacks("s")),
        (format!("a3 {e} 61 's' 01 61 'x' 01"), lacks("t")),
        (format!("a4 {e} 61 's' 01 61 'b' 01 61 'x' 01"), lacks("m")),
        (format!("a4 {e} 61 's' 01 61 'm' 01 61 'x' 01"), lacks("b")),
        (format!("a3 {e} 61 's' 01 61 't' 01"), lacks("a value")),
        (format!("a5 {e} 61 's' 01 61 't' 01 61 'b' 01 61 'x' 01"), extra("t")),
        (format!("a5 {e} 61 's' 01 61 't' 01 61 'x' 01 61 'q' a1 61 'y' 01"), extra("y")),
        (format!("a2 {e} 61 'x' 80"), key("x", wrong("a number, text, true, false or null"))),
        (format!("a2 {e} 61 'x' f97e00"), key("x", Fault::OutOfRange)),
        (format!("a3 {e} 61 'x' 01 61 'x' 01"), key("x", Fault::Twice)),
        (format!("a2 {e} {e}"), key("e", Fault::Twice)),
        ("a1 61 'e' 43 deadbe".to_owned(), key("e", Fault::OutOfRange)),
        ("a1 61 'e' 45 deadbeef00".to_owned(), key("e", Fault::TooLong { limit: 4 })),
        ("a1 61 'q' a1 61 'x' 190100".to_owned(), key("q", Fault::OutOfRange)),
        ("a1 64 'time' 01".to_owned(), key("time", Fault::Invalid { expected: "stream's alias" })),
        ("a1 01 01".to_owned(), key("", wrong("text"))),
        ("01".to_owned(), key("", wrong("a map"))),
        (format!("a2 {ep} 61 'e' 44 00000000"), extra("e")),
        (format!("a3 {e} {ep} 61 's' 01"), extra("s")),
        (format!("a3 {e} {ep} 61 'x' 01"), extra("x")),
        (format!("a3 {e} {ep} 62 'ls' a0"), lacks("pe")),
        (format!("a2 {e} 61 'o' 01"), lacks("b")),
        (format!("a4 {e} 61 'o' 01 61 'b' 01 61 'm' 01"), extra("m")),
    ];
    for (map, expected) in cases {
        assert_eq!(decode_rows(&bytes(&format!("81 {map}"))), Err(expected), "{map}");
    }
    let document = |fault| Err(DecodeError::Document { fault });
    assert_eq!(decode_rows(&bytes("a0")), document(wrong("an array")));
    assert_eq!(decode_rows(&bytes("80 80")), document(Fault::Trailing));
    assert_eq!(decode_rows(&[]), document(Fault::Truncated));
}

#[test]
fn a_loss_comes_back_as_it_was_stated_between_rows_and_with_unknown_counts_unknown() {
    let whole = LossStatement {
        epoch_prefix: [1, 2, 3, 4],
        time: RowTime::Wall { unix_ms: 1_795_000_000_000, uncertainty_ms: 1_000 },
        of: "dropped",
        why: "quota",
        count: Some(70_000),
        stream: Some("t1"),
        sequences: Some((5, 90_000)),
        file: [9, 8, 7, 6],
        id: 3,
        salvage: None,
    };
    let unclean = LossStatement {
        time: RowTime::Boot { boot: 7, mono_ms: 50 },
        of: "missed",
        why: "unclean_stop",
        count: None,
        stream: None,
        sequences: None,
        salvage: Some(Salvage { held: None, kept: 12 }),
        ..whole
    };
    let mut packer = RowsPacker::new(1024);
    for statement in [whole, unclean] {
        assert_eq!(packer.push_loss(&statement), Ok(Push::Pushed));
        let values = [good("t1", Value::Integer(1))];
        assert_eq!(packer.push(&row(&values)), Ok(Push::Pushed));
    }
    let elements = decode_rows(packer.finish()).unwrap();
    let [Element::Loss(first), Element::Row(_), Element::Loss(second), Element::Row(_)] = elements.as_slice()
    else {
        panic!("{elements:?}")
    };
    assert_eq!((first.epoch_prefix, first.time), (whole.epoch_prefix, whole.time));
    let keys = LossKeys {
        of: "dropped".into(),
        why: "quota".into(),
        count: Some(70_000),
        stream: Some("t1".into()),
        sequences: Some((5, 90_000)),
        file: [9, 8, 7, 6],
        id: 3,
        salvage: None,
    };
    assert_eq!(first.loss, keys);
    assert_eq!(second.time, unclean.time);
    let unknown = LossKeys {
        of: "missed".into(),
        why: "unclean_stop".into(),
        count: None,
        stream: None,
        sequences: None,
        salvage: unclean.salvage,
        ..keys
    };
    assert_eq!(second.loss, unknown);
}
