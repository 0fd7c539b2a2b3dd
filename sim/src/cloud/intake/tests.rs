//! Promises of the ledger, on batches written out byte by byte.

use super::*;
use minicbor::Encoder;
use proptest::prelude::*;
use std::collections::BTreeSet;

const EPOCH: [u8; 4] = [0xAB, 0xCD, 0xEF, 0x01];

/// One row per item: sequence and `(alias, value)`s, written definite-length.
fn batch(rows: &[(u64, &[(&str, i64)])]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    encoder.array(rows.len() as u64).unwrap();
    for (sequence, values) in rows {
        encoder.map(3 + values.len() as u64).unwrap();
        encoder.str("e").unwrap().bytes(&EPOCH).unwrap();
        encoder.str("s").unwrap().u64(*sequence).unwrap();
        encoder.str("t").unwrap().u64(1_700_000_000_000).unwrap();
        for (alias, value) in *values {
            encoder.str(alias).unwrap().i64(*value).unwrap();
        }
    }
    encoder.into_writer()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

#[test]
fn a_batch_in_either_length_style_is_entered_identity_by_identity() {
    // [{e: h'abcdef01', s: 7, t: 1000, temp: 12.5, up: true, note: "x", q: {temp: 2}}]
    let definite = hex(
        "81 a7 6165 44abcdef01 6173 07 6174 1903e8 6474656d70 f94a40 627570 f5 646e6f7465 6178 6171 a1 6474656d70 02",
    );
    let indefinite = hex(
        "9f bf 6165 44abcdef01 6173 07 6174 1903e8 6474656d70 f94a40 627570 f5 646e6f7465 7f6178ff 6171 bf 6474656d70 02 ff ff ff",
    );
    for body in [definite, indefinite] {
        let mut intake = Intake::default();
        intake.enter("gw", Arrival::default(), &body);
        let counts = intake.counts();
        assert_eq!((counts.messages, counts.rows, counts.unique), (1, 1, 3), "{:?}", intake.faults());
        let temp = intake.get("gw", EPOCH, "temp", 7).unwrap();
        assert_eq!(temp, Seen { value: SeenValue::Float(12.5), quality: 2, copies: 1 });
        assert_eq!(intake.get("gw", EPOCH, "up", 7).unwrap().value, SeenValue::Bool(true));
        assert_eq!(intake.get("gw", EPOCH, "note", 7).unwrap().value, SeenValue::Text("x"));
        for (device, epoch, alias, sequence) in [
            ("other", EPOCH, "temp", 7),
            ("gw", [0; 4], "temp", 7),
            ("gw", EPOCH, "tem", 7),
            ("gw", EPOCH, "temp", 8),
        ] {
            assert!(!intake.contains(device, epoch, alias, sequence));
        }
    }
}

#[test]
fn a_copy_is_a_duplicate_and_a_different_copy_is_a_conflict_that_changes_nothing() {
    let mut intake = Intake::default();
    intake.enter("gw", Arrival::default(), &batch(&[(1, &[("a", 10), ("x", 20)])]));
    intake.enter("gw", Arrival::default(), &batch(&[(1, &[("a", 10)])]));
    intake.enter("gw", Arrival::default(), &batch(&[(1, &[("a", 11)])]));
    let counts = intake.counts();
    assert_eq!((counts.unique, counts.duplicates, counts.conflicts, counts.values), (2, 1, 1, 4));
    assert_eq!(
        intake.get("gw", EPOCH, "a", 1).unwrap(),
        Seen { value: SeenValue::Integer(10), quality: 0, copies: 3 }
    );
    let conflict = &intake.conflicts()[0];
    assert_eq!((conflict.alias.as_str(), conflict.sequence), ("a", 1));
    assert_eq!(conflict.values, ("Integer(10) quality 0".to_owned(), "Integer(11) quality 0".to_owned()));
}

#[test]
fn a_copy_with_another_quality_is_a_conflict() {
    let mut intake = Intake::default();
    intake.enter("gw", Arrival::default(), &batch(&[(1, &[("a", 10)])]));
    // [{e, s: 1, t: 1000, a: 10, q: {a: 1}}]
    intake.enter(
        "gw",
        Arrival::default(),
        &hex("81 a5 6165 44abcdef01 6173 01 6174 1903e8 6161 0a 6171 a1 6161 01"),
    );
    assert_eq!((intake.counts().unique, intake.counts().conflicts), (1, 1), "{:?}", intake.faults());
}

#[test]
fn a_whole_float_and_the_integer_are_the_same_value() {
    let mut intake = Intake::default();
    intake.enter("gw", Arrival::default(), &batch(&[(1, &[("a", 10)])]));
    // a: 10.0 in half precision
    intake.enter("gw", Arrival::default(), &hex("81 a4 6165 44abcdef01 6173 01 6174 1903e8 6161 f94900"));
    assert_eq!((intake.counts().unique, intake.counts().duplicates, intake.counts().conflicts), (1, 1, 0));
}

#[test]
fn epoch_and_clock_statements_are_kept_and_parts_are_joined() {
    let mut intake = Intake::default();
    // [{e, ep: 8 bytes, pe: 8 bytes, ls: {bus: 9}}, {e, b: 3, o: 5000, u: 40}]
    let first = hex(
        "82 a4 6165 44abcdef01 626570 48abcdef0102030405 627065 481111111111111111 626c73 a1 63627573 09 \
         a4 6165 44abcdef01 6162 03 616f 191388 6175 1828",
    );
    let second = hex(
        "81 a4 6165 44abcdef01 626570 48abcdef0102030405 627065 481111111111111111 626c73 a1 636d6f64 04",
    );
    intake.enter("gw", Arrival::default(), &first);
    intake.enter("gw", Arrival::default(), &first);
    intake.enter("gw", Arrival::default(), &second);
    assert_eq!((intake.counts().epochs, intake.counts().clocks, intake.counts().unique), (3, 2, 0));
    let epoch = &intake.epochs()[&("gw".to_owned(), EPOCH)];
    assert_eq!(epoch.epoch, [0xAB, 0xCD, 0xEF, 1, 2, 3, 4, 5]);
    let groups = vec![("bus".to_owned(), 9), ("mod".to_owned(), 4)];
    assert_eq!(epoch.previous, Some(PreviousEpoch { epoch: [0x11; 8], last_sequences: groups }));
    let clock = &intake.clocks()[0];
    assert_eq!((clock.boot, clock.unix_ms_at_mono_zero, clock.uncertainty_ms), (3, 5000, Some(40)));
}

#[test]
fn what_is_not_a_batch_is_told_apart_from_a_broken_batch() {
    let foreign = ["a1 6161 01", "80", "81 01", "81 a1 6161 01", "01", "81 a1 6165 43abcdef"];
    for body in foreign {
        let mut intake = Intake::default();
        intake.enter("gw", Arrival::default(), &hex(body));
        assert_eq!((intake.counts().foreign, intake.counts().broken), (1, 0), "{body}");
    }
    let head = "6165 44abcdef01";
    let broken = [
        format!("81 a1 {head}"),                                         // no sequence
        format!("81 a3 {head} 6173 01 6161 01"),                         // no time
        format!("81 a3 {head} 6173 01 6174 01"),                         // no value
        format!("81 a4 {head} 6173 20 6174 01 6161 01"),                 // negative sequence
        format!("81 a5 {head} 6173 01 6174 01 6161 01 6161 01"),         // a value twice
        format!("81 a4 {head} 6173 01 6174 01 6161 81 01"),              // an array for a value
        format!("81 a4 {head} 6173 01 6174 01 6161 01 00"),              // bytes after the end
        format!("81 a5 {head} 6173 01 6174 01 6161 01 6171 a1 6162 01"), // a quality without a value
        format!("81 a2 {head} 626570 480000000000000000"),               // epoch and prefix differ
    ];
    for body in &broken {
        let mut intake = Intake::default();
        intake.enter("gw", Arrival::default(), &hex(body));
        assert_eq!((intake.counts().foreign, intake.counts().broken), (0, 1), "{body}");
        assert_eq!((intake.counts().unique, intake.faults().len()), (0, 1), "{body}");
    }
}

/// The worked example of `docs/encodings.md`.
const COLUMNS: &str = "83 01 44 1f2e3d4c 58 29 107f52028082f085e4be68d00fbd00 02026c76910103010781b003024e80 027075a6010101007f0200";

#[test]
fn a_batch_of_columns_is_entered_identity_by_identity() {
    let mut intake = Intake::default();
    intake.keep_row_times();
    intake.enter("gw", Arrival::default(), &hex(COLUMNS));
    let counts = intake.counts();
    assert_eq!((counts.messages, counts.rows, counts.unique), (1, 4, 7), "{:?}", intake.faults());
    let epoch = [0x1f, 0x2e, 0x3d, 0x4c];
    let levels: Vec<f64> =
        (41..45).map(|n| intake.get("gw", epoch, "lv", n).unwrap().value.as_f64().unwrap()).collect();
    assert_eq!(levels, [21.5, 21.7, 21.4, 21.9]);
    assert_eq!(intake.get("gw", epoch, "lv", 44).unwrap().quality, 3);
    assert_eq!(intake.get("gw", epoch, "pu", 44).unwrap().value, SeenValue::Bool(true));
    assert!(!intake.contains("gw", epoch, "pu", 42));
    let times: Vec<Stated> = intake.row_times().iter().map(|row| row.stated).collect();
    let at = |unix_ms| Stated::Wall { unix_ms, uncertainty_ms: None };
    assert_eq!(
        times,
        [at(1_795_132_800_000), at(1_795_132_801_003), at(1_795_132_802_000), at(1_795_132_803_001)]
    );
}

#[test]
fn a_broken_batch_of_columns_is_kept_out_whole() {
    for length in [8, 20, 40, 49] {
        let mut cut = hex(COLUMNS);
        cut.truncate(length);
        let mut intake = Intake::default();
        intake.enter("gw", Arrival::default(), &cut);
        assert_eq!((intake.counts().unique, intake.counts().broken), (0, 1), "{length}");
    }
}

#[test]
fn a_broken_element_keeps_its_whole_batch_out() {
    let mut intake = Intake::default();
    let whole = batch(&[(1, &[("a", 1)]), (2, &[("a", 2)])]);
    intake.enter("gw", Arrival::default(), &whole[..whole.len() - 1]);
    assert_eq!((intake.counts().unique, intake.counts().broken), (0, 1));
}

/// Heap of the cells and their pages; a tree's nodes are at least half full.
fn heap_bytes(intake: &Intake) -> usize {
    let page = std::mem::size_of::<Page>() + std::mem::size_of::<u64>();
    let of =
        |track: &Track| -> usize { track.pages.values().map(|cells| 2 * page + cells.heap_bytes()).sum() };
    intake.tracks.iter().map(of).sum()
}

#[test]
fn an_identity_takes_less_than_32_bytes_so_that_a_million_stay_below_32_mebibytes() {
    let mut intake = Intake::default();
    for sequence in 0..10_000 {
        for alias in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let cell = Cell { bits: 1, kind: INTEGER, quality: 0, copies: 1, message: 0 };
            intake.enter_value(0, EPOCH, alias, sequence, cell);
        }
    }
    assert_eq!(intake.counts().unique, 80_000);
    let each = heap_bytes(&intake) / 80_000;
    assert!((16..32).contains(&each), "{each} bytes an identity");
}

proptest! {
    /// The ledger against a plain set of identities.
    #[test]
    fn the_ledger_counts_like_a_map(copies in proptest::collection::vec((0_u64..300, 0..3_usize, 0_i64..3), 1..400)) {
        const ALIASES: [&str; 3] = ["a", "bb", "ccc"];
        let mut intake = Intake::default();
        let mut model: BTreeMap<(&str, u64), (i64, u16)> = BTreeMap::new();
        let (mut duplicates, mut conflicts) = (0, 0);
        for (sequence, alias, value) in copies {
            let alias = ALIASES[alias];
            intake.enter("gw", Arrival::default(), &batch(&[(sequence, &[(alias, value)])]));
            match model.get_mut(&(alias, sequence)) {
                None => { model.insert((alias, sequence), (value, 1)); }
                Some((first, seen)) => {
                    *seen += 1;
                    if *first == value { duplicates += 1 } else { conflicts += 1 }
                }
            }
        }
        let counts = intake.counts();
        prop_assert_eq!((counts.unique, counts.duplicates, counts.conflicts), (model.len() as u64, duplicates, conflicts));
        let listed: BTreeSet<(String, u64)> = intake.iter().map(|e| (e.alias.to_owned(), e.sequence)).collect();
        prop_assert_eq!(listed.len(), model.len());
        for ((alias, sequence), (value, copies)) in model {
            let seen = intake.get("gw", EPOCH, alias, sequence);
            prop_assert_eq!(seen, Some(Seen { value: SeenValue::Integer(value), quality: 0, copies }));
            let listed = intake.values_of("gw", alias).any(|(epoch, s, _)| epoch == EPOCH && s == sequence);
            prop_assert!(listed);
        }
    }

    /// As the one above, past what makes it a batch of columns.
    #[test]
    fn any_tables_are_read_or_refused(tables in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut body = vec![0x83, 0x01, 0x44, 1, 2, 3, 4, 0x58, tables.len() as u8];
        body.extend_from_slice(&tables);
        let mut intake = Intake::default();
        intake.enter("gw", Arrival::default(), &body);
        let counts = intake.counts();
        prop_assert_eq!(counts.messages + counts.broken, 1);
    }

    /// No bytes bring the reader down, and nothing is both read and refused.
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut intake = Intake::default();
        intake.enter("gw", Arrival::default(), &body);
        let counts = intake.counts();
        prop_assert_eq!(counts.messages + counts.foreign + counts.broken, 1);
    }
}

#[test]
fn a_copy_is_traced_to_the_message_that_said_it_last() {
    let came = |ms| Arrival { at: Duration::from_millis(ms), session_since: Duration::ZERO };
    let mut intake = Intake::default();
    intake.enter("gw", came(10), &batch(&[(1, &[("a", 1), ("x", 2)]), (2, &[("a", 3)])]));
    intake.enter("gw", came(20), &batch(&[(1, &[("a", 1), ("x", 2)])]));
    intake.enter("gw", came(30), &batch(&[(1, &[("a", 1)]), (2, &[("a", 3)])]));
    assert_eq!(intake.arrivals(), [came(10), came(20), came(30)]);
    let repeats: Vec<_> = intake.repeats().map(|r| (r.earlier, r.later, r.readings)).collect();
    assert_eq!(repeats, [(0, 1, 2), (0, 2, 1), (1, 2, 1)]);
    assert_eq!(intake.counts().duplicates, 4);
}
