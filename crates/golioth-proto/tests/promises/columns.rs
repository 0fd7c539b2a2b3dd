//! Messages of columns byte by byte: the worked example of `docs/encodings.md`, and what is refused.

use fieldgate_golioth_proto::columns::{
    ColumnsDecodeError, ColumnsError, ColumnsPacker, MAX_CELLS, Reading, decode_columns, is_columns,
};
use fieldgate_golioth_proto::rows::{
    MAX_BATCH_BYTES, Push, Resolution, Row, RowTime, RowValue, RowsPacker, Value, decode_rows,
};

use crate::common::bytes;

const EPOCH: [u8; 4] = [0x1f, 0x2e, 0x3d, 0x4c];

fn wall(unix_ms: i64) -> RowTime {
    RowTime::Wall { unix_ms, uncertainty_ms: 50 }
}

fn reading<'a>(sequence: u64, time: RowTime, alias: &'a str, value: Value<'a>) -> Reading<'a> {
    Reading { group: "bus/tank", sequence, time, alias, value, quality: 0 }
}

fn steps(mantissa: i64, exponent: i8) -> Value<'static> {
    Value::Scaled { mantissa, resolution: Resolution::decimal(exponent).expect("a resolution") }
}

fn packed(readings: &[Reading<'_>]) -> Vec<u8> {
    let mut packer = ColumnsPacker::new(MAX_BATCH_BYTES);
    assert_eq!(packer.pack(EPOCH, readings), Ok(readings.len()));
    packer.message().to_vec()
}

/// Four instants of a level in tenths, and a pump that was not heard at the second.
fn example() -> Vec<Reading<'static>> {
    let time = |i: i64, late: i64| wall(1_795_132_800_000 + i * 1000 + late);
    vec![
        reading(41, time(0, 0), "lv", steps(215, -1)),
        reading(41, time(0, 0), "pu", Value::Bool(true)),
        reading(42, time(1, 3), "lv", steps(217, -1)),
        reading(43, time(2, 0), "lv", steps(214, -1)),
        reading(43, time(2, 0), "pu", Value::Bool(true)),
        Reading { quality: 3, ..reading(44, time(3, 1), "lv", steps(219, -1)) },
        reading(44, time(3, 1), "pu", Value::Bool(true)),
    ]
}

/// What the worked example takes apart.
pub(crate) fn golden() -> Vec<u8> {
    bytes(
        "83 01 44 1f2e3d4c 58 29 \
         10 7f 52 02 80 82f085e4be68 d00f bd00 \
         02 02 'lv' 91 01 03 01 07 81 b003 02 4e80 \
         02 'pu' a6 01 01 01 00 7f 02 00",
    )
}

#[test]
fn the_worked_example_is_what_the_packer_writes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&packed(&example())), hex(&golden()));
}

#[test]
fn the_documentation_shows_those_bytes() {
    let documentation = include_str!("../../../../docs/encodings.md");
    let shown: String = documentation
        .lines()
        .skip_while(|line| *line != "<!-- the worked example -->")
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('`').nth(1))
        .collect();
    assert_eq!(bytes(&shown), golden());
}

#[test]
fn the_worked_example_reads_back() {
    let golden = golden();
    let batch = decode_columns(&golden).expect("a message");
    assert_eq!(batch.epoch_prefix, EPOCH);
    let lines: Vec<(u64, usize)> = batch.instants.iter().map(|i| (i.sequence, i.values.len())).collect();
    assert_eq!(lines, [(41, 2), (42, 1), (43, 2), (44, 2)]);
    let last = &batch.instants[3];
    assert_eq!(last.time, RowTime::Wall { unix_ms: 1_795_132_803_001, uncertainty_ms: 1000 });
    assert_eq!(last.values[0], RowValue { alias: "lv", value: steps(219, -1), quality: 3 });
    assert_eq!(last.values[1].value, Value::Bool(true));
}

#[test]
fn a_message_of_one_encoding_is_none_of_the_other() {
    assert!(is_columns(&golden()) && decode_rows(&golden()).is_err());
    let rows = crate::rows::golden();
    assert!(!is_columns(&rows));
    assert!(matches!(decode_columns(&rows), Err(ColumnsDecodeError::Document { .. })));
    assert!(!is_columns(&[]) && !is_columns(&[0x80]) && !is_columns(&[0x01]));
}

#[test]
fn a_later_version_says_so() {
    let mut later = golden();
    later[1] = 2;
    assert!(is_columns(&later));
    assert_eq!(decode_columns(&later), Err(ColumnsDecodeError::Version { found: 2 }));
}

#[test]
fn what_the_format_does_not_allow_is_refused_where_it_stands() {
    for tables in [
        "00 00",                                                             // no instants
        "04 29 00 00",                                                       // an instant without a reading
        "ffff7f 7f 00 00 7f 00 00 00", // more instants than a message may have
        "808001 7f 00 02 7f 00 00 02 01 'a' 12 7f 00 00 01 'b' 12 7f 00 00", // 4096 instants of two streams
        "04 29 00 02 01 'a' 12 02 01 'a' 12 02", // a stream twice
        "04 29 00 01 01 't' 12 02",    // a name with a meaning of its own
        "04 29 00 01 01 'a' 2a 02",    // a kind of column nobody knows
        "04 29 00 01 01 'a' 25 00 01 02", // steps of nothing
        "04 29 00 01 01 'a' 26 04",    // a bool of two
        "04 29 00 01 01 'a' 27 0000c07f", // a float that is no number
        "04 29 00 01 01 'a' 29 05",    // a value of a type nobody knows
        "04 29 00 01 01 'a' 29 04 7f 'abc'", // a text beyond the end
        "04 29 00 01 01 'a' 92 01 00 02 03 02", // a run beyond the table
        "04 29 00 01 01 'a' 92 01 00 01 8104 02", // a quality above 255
        "04 29 00 01 01 'a' 92 01 00 01 00", // no reading in the only instant
        "06 29 00 ffffffff7f 01 01 'a' 12 02", // an uncertainty beyond 32 bits
        "04 29 00 01 01 'a' 12",       // cut short
    ] {
        let tables = bytes(tables);
        let mut message = vec![0x83, 0x01, 0x44, 1, 2, 3, 4, 0x58, tables.len() as u8];
        message.extend_from_slice(&tables);
        let refused = decode_columns(&message);
        assert!(matches!(refused, Err(ColumnsDecodeError::Tables { .. })), "{tables:02x?}: {refused:?}");
    }
    // And the smallest of all is none of these.
    let good = bytes("83 01 44 01020304 48 04 29 00 01 01 'a' 12 02");
    assert_eq!(decode_columns(&good).expect("one reading").instants.len(), 1);
}

#[test]
fn a_number_that_json_has_no_word_for_is_refused_by_name() {
    let mut packer = ColumnsPacker::new(MAX_BATCH_BYTES);
    let one = [reading(1, wall(0), "a", Value::Float(f64::NAN))];
    assert_eq!(packer.pack(EPOCH, &one), Err(ColumnsError::NotFinite { alias: "a".to_owned() }));
    let one = [reading(1, wall(0), "t", Value::Integer(1))];
    assert!(matches!(packer.pack(EPOCH, &one), Err(ColumnsError::Alias(_))));
}

#[test]
fn readings_that_cost_nothing_are_bounded_by_their_number() {
    let still: Vec<Reading<'_>> =
        (0..6000).map(|i| reading(i, wall(i as i64 * 1000), "a", steps(1, 0))).collect();
    let mut packer = ColumnsPacker::new(MAX_BATCH_BYTES);
    assert_eq!(packer.pack(EPOCH, &still), Ok(MAX_CELLS));
    assert!(packer.message().len() < 40);
    assert_eq!(decode_columns(packer.message()).expect("a message").instants.len(), MAX_CELLS);
}

#[test]
fn an_instant_is_cut_in_two_only_where_it_is_the_only_one() {
    let names: Vec<String> = (0..40).map(|i| format!("stream_{i:02}")).collect();
    let instants: Vec<Reading<'_>> = (0..100)
        .flat_map(|i| {
            names.iter().map(move |name| reading(i, wall(i as i64), name, steps((i * 7919 % 1000) as i64, 0)))
        })
        .collect();
    let mut packer = ColumnsPacker::new(1000);
    let count = packer.pack(EPOCH, &instants).expect("readings");
    assert!(count >= 40 && count.is_multiple_of(40), "{count}");
    let mut small = ColumnsPacker::new(200);
    let count = small.pack(EPOCH, &instants).expect("readings");
    assert!((1..40).contains(&count) && small.message().len() <= 200, "{count}");
    let mut none = ColumnsPacker::new(20);
    assert_eq!(none.pack(EPOCH, &instants), Ok(0));
}

#[test]
fn the_worked_example_as_rows_takes_as_much_as_the_documentation_says() {
    let mut packer = RowsPacker::new(MAX_BATCH_BYTES);
    let readings = example();
    for instant in readings.chunk_by(|a, b| a.sequence == b.sequence) {
        let value = |r: &Reading<'static>| RowValue { alias: r.alias, value: r.value, quality: r.quality };
        let values: Vec<RowValue<'_>> = instant.iter().map(value).collect();
        let row = Row {
            epoch_prefix: EPOCH,
            sequence: instant[0].sequence,
            time: instant[0].time,
            values: &values,
        };
        assert_eq!(packer.push(&row), Ok(Push::Pushed));
    }
    let said = format!(
        "{} bytes for {} readings; as rows they take {}.",
        golden().len(),
        readings.len(),
        packer.finish().len()
    );
    assert!(include_str!("../../../../docs/encodings.md").contains(&said), "{said}");
}

/// Two readings follow no rule, three do: the message of whole instants is longer than the one with a part of the next.
#[test]
fn a_message_of_whole_instants_that_would_be_too_long_gives_way_to_one_that_fits() {
    let level = |i: u64| steps(if i == 0 { i64::MAX } else { 0 }, 0);
    let instant = |i: u64| {
        let at = wall(i as i64 * 1000);
        [reading(i, at, "lv", level(i)), reading(i, at, "pu", steps(if i == 2 { i64::MIN } else { 0 }, 0))]
    };
    let readings: Vec<Reading<'_>> = (0..3).flat_map(instant).collect();
    let whole = packed(&readings[..4]).len();
    let cut = packed(&readings[..5]).len();
    let all = packed(&readings).len();
    assert!(cut < whole && whole < all, "{cut}, {whole} and {all}: the premise of this test");
    for limit in cut..whole {
        let mut packer = ColumnsPacker::new(limit);
        let count = packer.pack(EPOCH, &readings).expect("readings");
        assert!(packer.message().len() <= limit, "{} of at most {limit} bytes", packer.message().len());
        let values: usize = decode_columns(packer.message())
            .expect("a message")
            .instants
            .iter()
            .map(|i| i.values.len())
            .sum();
        assert_eq!(values, count);
    }
}
