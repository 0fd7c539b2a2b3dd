use super::*;
use proptest::prelude::*;

/// The pack of a room sensor in CBOR, as an independent encoder (cbor2) writes it.
const ROOM: &str = "82a521781d75726e3a6465763a6d61633a303032346265666666653830346666313a221a6553f100236343656c006474656d7002fb4037800000000000a3006368756d016325524802fb4048266666666666";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn measured(name: &str, unit: &str, value: Datum<'static>, time: Time) -> Record {
    Record { name: name.into(), unit: unit.into(), value, sum: None, time, update_s: None }
}

#[test]
fn base_fields_carry_forward_and_an_own_unit_wins() {
    let pack = r#"[{"bn":"urn:dev:mac:0024befffe804ff1:","bt":1700000000,"bu":"Cel","n":"temp","v":23.5},
        {"n":"hum","u":"%RH","v":48.3}]"#;
    let expected = vec![
        measured("urn:dev:mac:0024befffe804ff1:temp", "Cel", Datum::Number(23.5), Time::Absolute(1.7e9)),
        measured("urn:dev:mac:0024befffe804ff1:hum", "%RH", Datum::Number(48.3), Time::Absolute(1.7e9)),
    ];
    assert_eq!(json(pack.as_bytes()), Ok(expected.clone()));
    assert_eq!(cbor(&bytes(ROOM)), Ok(expected));
    assert_eq!((ucum("Cel"), ucum("%RH")), ("Cel", "%"));
}

#[test]
fn a_time_below_two_to_the_28_is_relative_and_no_time_is_now() {
    let pack = r#"[{"n":"a","v":1},{"n":"b","t":-5,"v":1},{"n":"c","bt":268435456,"t":0,"v":1},{"n":"d","t":-1,"v":1}]"#;
    let times: Vec<_> = json(pack.as_bytes()).unwrap().into_iter().map(|record| record.time).collect();
    assert_eq!(
        times,
        [
            Time::Relative(0.0),
            Time::Relative(-5.0),
            Time::Absolute(268_435_456.0),
            Time::Relative(268_435_455.0)
        ]
    );
}

#[test]
fn base_value_and_base_sum_are_added() {
    let pack =
        r#"[{"bv":20.0,"bs":100,"n":"a","v":1.5,"s":2},{"n":"b","s":-1},{"n":"c","vb":true},{"n":"d"}]"#;
    let records = json(pack.as_bytes()).unwrap();
    assert_eq!((&records[0].value, records[0].sum), (&Datum::Number(21.5), Some(102.0)));
    assert_eq!((&records[1].value, records[1].sum), (&Datum::Absent, Some(99.0)));
    assert_eq!((&records[2].value, records[2].sum), (&Datum::Bool(true), None));
    assert_eq!(records[3].value, Datum::Number(20.0), "a base value alone is the value");
}

#[test]
fn whole_numbers_stay_whole() {
    let records = json(br#"[{"n":"energy","v":9007199254740993}]"#).unwrap();
    assert_eq!(records[0].value, Datum::Integer(9_007_199_254_740_993));
}

#[test]
fn a_record_of_base_fields_alone_is_no_measurement() {
    assert_eq!(json(br#"[{"bn":"d:","bt":5},{"n":"x","v":1}]"#).unwrap().len(), 1);
}

#[test]
fn data_is_the_same_text_from_both_encodings() {
    let text = json(br#"[{"n":"nfc","vd":"gmNmb28YKg"}]"#).unwrap();
    // [{0: "nfc", 8: h'8263666f6f182a'}]
    let binary = cbor(&bytes("81a200636e6663084782 63666f6f182a".replace(' ', "").as_str())).unwrap();
    assert_eq!(text, binary);
}

#[test]
fn decimal_fractions_and_short_floats_are_numbers() {
    // [{0: "a", 2: 4([-1, 215])}, {0: "b", 2: 1.5 as half}, {0: "c", 2: -7}]
    let pack = bytes("83a200616102c4822018d7a200616202f93e00a20061630226");
    let values: Vec<_> = cbor(&pack).unwrap().into_iter().map(|record| record.value).collect();
    assert_eq!(values, [Datum::Number(21.5), Datum::Number(1.5), Datum::Integer(-7)]);
}

#[test]
fn unknown_fields_are_passed_over_unless_they_must_be_understood() {
    assert_eq!(json(br#"[{"n":"a","v":1,"foo":{"x":[1]}}]"#).unwrap().len(), 1);
    let refused = json(br#"[{"n":"a","v":1,"foo_":1}]"#).unwrap_err();
    assert_eq!(refused, SenmlError::NotUnderstood { record: 1, label: "foo_".into() });
    // [{0: "a", 2: 1, "foo": [1], 99: 1}], and with "foo_".
    assert_eq!(cbor(&bytes("81a40061610201 63666f6f8101186301".replace(' ', "").as_str())).unwrap().len(), 1);
    assert!(matches!(
        cbor(&bytes("81a1 64666f6f5f01".replace(' ', "").as_str())),
        Err(SenmlError::NotUnderstood { .. })
    ));
}

#[test]
fn what_is_wrong_with_a_pack_is_named() {
    let field = |record, label| SenmlError::Field { record, label };
    for (pack, expected) in [
        ("[{", SenmlError::NotJson),
        ("{}", SenmlError::NotAPack),
        ("[1]", SenmlError::NotAPack),
        (r#"[{"n":"a","v":"1"}]"#, field(1, "v")),
        (r#"[{"n":"a","v":1},{"n":"a","t":"x","v":1}]"#, field(2, "t")),
        (r#"[{"n":"a","v":1,"vs":"x"}]"#, SenmlError::SeveralValues { record: 1 }),
        (r#"[{"v":1}]"#, SenmlError::Name { record: 1 }),
        (r#"[{"n":"_a","v":1}]"#, SenmlError::Name { record: 1 }),
        (r#"[{"n":"a b","v":1}]"#, SenmlError::Name { record: 1 }),
        (r#"[{"bver":11,"n":"a","v":1}]"#, SenmlError::Version { record: 1 }),
        (r#"[{"bver":5,"n":"a","v":1},{"bver":6,"n":"b","v":1}]"#, SenmlError::Version { record: 2 }),
        (r#"[{"bv":1e308,"n":"a","v":1.7e308}]"#, field(1, "v")),
    ] {
        assert_eq!(json(pack.as_bytes()), Err(expected), "{pack}");
    }
    let many = format!("[{}]", vec![r#"{"n":"a","v":1}"#; MOST_RECORDS + 1].join(","));
    assert_eq!(json(many.as_bytes()), Err(SenmlError::TooMany));
}

/// A CBOR head with the number in its shortest form.
fn head(major: u8, number: u64) -> Vec<u8> {
    let major = major << 5;
    match number {
        0..24 => vec![major | number as u8],
        24..=0xff => vec![major | 24, number as u8],
        0x100..=0xffff => [&[major | 25][..], &(number as u16).to_be_bytes()].concat(),
        0x1_0000..=0xffff_ffff => [&[major | 26][..], &(number as u32).to_be_bytes()].concat(),
        _ => [&[major | 27][..], &number.to_be_bytes()].concat(),
    }
}

proptest! {
    #[test]
    fn both_encodings_of_a_pack_mean_the_same(
        records in prop::collection::vec(
            (prop::option::of("[a-z][a-z:]{0,5}"), "[a-z0-9.]{1,6}", any::<i64>(), prop::option::of(any::<i32>())), 1..8),
    ) {
        let mut text = Vec::new();
        let mut binary = head(4, records.len() as u64);
        for (base, name, value, time) in &records {
            let mut fields = vec![format!("\"n\":\"x{name}\""), format!("\"v\":{value}")];
            let mut map = [head(0, 0), head(3, name.len() as u64 + 1), format!("x{name}").into_bytes(), head(0, 2)].concat();
            map.extend(if *value < 0 { head(1, !value.cast_unsigned()) } else { head(0, value.cast_unsigned()) });
            if let Some(base) = base {
                fields.push(format!("\"bn\":\"{base}\""));
                map.extend([head(1, 1), head(3, base.len() as u64), base.clone().into_bytes()].concat());
            }
            if let Some(time) = time {
                fields.push(format!("\"t\":{time}"));
                map.extend([head(0, 6), vec![0xfb], f64::from(*time).to_be_bytes().to_vec()].concat());
            }
            text.push(format!("{{{}}}", fields.join(",")));
            binary.extend(head(5, fields.len() as u64));
            binary.extend(map);
        }
        let text = format!("[{}]", text.join(","));
        let found = json(text.as_bytes()).unwrap();
        prop_assert_eq!(&found, &cbor(&binary).unwrap());
        prop_assert_eq!(found.len(), records.len());
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (json(&bytes), cbor(&bytes));
    }
}
