use super::*;
use crate::health::Verdict;
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(5);

fn input(speech: &Speech, places: &[&str]) -> Input {
    let places = places.iter().map(|place| Place::new(speech, place).unwrap()).collect();
    Input::new(speech.clone(), places, Duration::from_secs(60)).unwrap()
}

/// What was said, one text for each thing.
fn heard(input: &mut Input, bytes: &[u8]) -> Vec<String> {
    let mut said = Vec::new();
    input.handle_bytes(NOW, bytes, &mut |thing| said.push(told(&thing)));
    said
}

fn told(thing: &Said<'_>) -> String {
    match thing {
        Said::Value { stream, datum, unit, time } => {
            let value = match datum {
                Datum::Integer(whole) => whole.to_string(),
                Datum::Number(number) => format!("{number:?}"),
                Datum::Bool(flag) => flag.to_string(),
                Datum::Text(text) => format!("{text:?}"),
                Datum::Absent => "-".to_owned(),
            };
            match time {
                Time::Relative(0.0) => format!("{stream}: {value} {unit}").trim_end().to_owned(),
                time => format!("{stream}: {value} {unit} at {time:?}"),
            }
        }
        Said::Clock(unix_ms) => format!("clock {unix_ms}"),
        Said::End => "end".to_owned(),
    }
}

#[test]
fn json_lines_are_read_at_their_paths() {
    let mut input = input(&Speech::Json, &["/env/t", "/on"]);
    let said = heard(
        &mut input,
        b"boot\r\n{\"env\":{\"t\":21.5},\"on\":true}\r\n{\"env\":{\"t\":null}}\n{\"x\":1}\n{\"on\":[]}\n",
    );
    assert_eq!(said, ["0: 21.5", "1: true", "end", "0: -", "end", "end", "end"]);
    assert_eq!(input.unused(), Unused { messages: 2, not_values: 1 });
    let tally = input.health().tally();
    assert_eq!((tally.good, tally.foreign), (4, 1));
}

#[test]
fn senml_lines_are_read_by_their_names_with_unit_and_time() {
    let mut input = input(&Speech::Senml, &["room:hum", "room:temp"]);
    let line = b"[{\"bn\":\"room:\",\"n\":\"temp\",\"u\":\"Cel\",\"v\":21,\"t\":-3},{\"n\":\"hum\",\"u\":\"%RH\",\"v\":40}]\n";
    assert_eq!(heard(&mut input, line), ["1: 21 Cel at Relative(-3.0)", "0: 40 %", "end"]);
}

#[test]
fn sentences_are_read_by_kind_and_talker_and_tell_the_time() {
    let mut any = input(&Speech::Nmea { unchecked: false }, &["GGA.altitude", "RMC.valid", "GLGGA.hdop"]);
    let said = heard(
        &mut any,
        b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n\
          $GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n$GPGLL,4916.45,N\r\n",
    );
    assert_eq!(said, ["0: 545.4 m", "end", "clock 764426119000", "1: true", "end"]);
    assert_eq!(
        any.health().tally().malformed,
        1,
        "a sentence without a checksum is taken only where that is agreed"
    );
    let mut lax = input(&Speech::Nmea { unchecked: true }, &["GLL.valid"]);
    assert_eq!(heard(&mut lax, b"$GPGLL,,,,,,V\r\n"), ["0: false", "end"]);
}

#[test]
fn cbor_in_frames_is_read_at_its_paths_and_resynchronises() {
    let wire = [0x08, 0xa2, 0x61, 0x74, 0xfb, 0x40, 0x37, 0x80, 1, 1, 1, 1, 3, 0x61, 0x68, 0x01, 0];
    let mut input = input(&Speech::CobsCbor(Check::None), &["/t", "/h"]);
    assert_eq!(heard(&mut input, &wire), ["0: 23.5", "1: 0", "end"]);
    let torn = [&wire[9..], &wire[..], &[5, 1, 0], &wire[..]].concat();
    assert_eq!(heard(&mut input, &torn), ["0: 23.5", "1: 0", "end", "0: 23.5", "1: 0", "end"]);
    let tally = input.health().tally();
    assert_eq!((tally.good, tally.malformed, tally.cut), (3, 1, 1));
}

#[test]
fn senml_in_frames_is_read_by_its_names() {
    // [{0: "a", 2: 7}]
    let mut input = input(&Speech::CobsSenml(Check::None), &["a"]);
    assert_eq!(heard(&mut input, &[3, 0x81, 0xa2, 5, 0x61, b'a', 2, 7, 0]), ["0: 7", "end"]);
}

#[test]
fn an_application_may_mix_its_formats_with_at_and_logs() {
    let speech = Speech::Application { mark: String::new() };
    let mut input = input(&speech, &["/t", "ZDA.x", "dev:t"]);
    let said = heard(
        &mut input,
        b"OK\r\n{\"t\":1}\r\n[00:00:01.234,000] <inf> app: x\r\n[{\"n\":\"dev:t\",\"v\":2}]\r\n\
          $GPZDA,201530.00,04,07,2002,00,00*60\r\n+CEREG: 1\r\n",
    );
    assert_eq!(said, ["0: 1", "end", "2: 2", "end", "clock 1025813730000", "end"]);
    let tally = input.health().tally();
    assert_eq!((tally.good, tally.foreign), (3, 2), "a log line is neither");
}

#[test]
fn a_line_cut_off_by_the_owner_of_a_shared_port_is_read_alone() {
    let mut input = input(&Speech::Application { mark: "#APP".to_owned() }, &["/t"]);
    let mut said = Vec::new();
    input.handle_line(NOW, b"#APP {\"t\":4}", &mut |thing| said.push(told(&thing)));
    assert_eq!(said, ["0: 4", "end"]);
    assert_eq!(input.health().verdict(NOW), Verdict::Fine);
}

#[test]
fn a_message_broken_off_by_a_lost_port_is_counted_as_cut() {
    for (speech, bytes) in [(Speech::Json, &b"{\"t\""[..]), (Speech::CobsCbor(Check::None), &[9, 1, 2])] {
        let mut input = input(&speech, &["/t"]);
        heard(&mut input, bytes);
        input.reopened();
        input.reopened();
        assert_eq!(input.health().tally().cut, 1, "{speech:?}");
    }
}

#[test]
fn places_are_read_by_what_is_spoken() {
    assert_eq!(Place::new(&Speech::Senml, "a b"), Err(PlaceRefused::Record));
    let nmea = Speech::Nmea { unchecked: false };
    assert_eq!(Place::new(&nmea, "altitude"), Err(PlaceRefused::Sentence));
    assert_eq!(Place::new(&nmea, "gga.altitude"), Err(PlaceRefused::Sentence));
    assert!(matches!(Place::new(&Speech::Json, "t"), Err(PlaceRefused::Pointer(_))));
    let twice = [Place::Record("a".into()), Place::Record("b".into()), Place::Record("a".into())];
    assert_eq!(Input::new(Speech::Senml, twice.to_vec(), NOW).unwrap_err(), MappingRefused::Twice(0, 2));
}

proptest! {
    #[test]
    fn every_piece_is_counted_once_and_every_message_is_closed(
        bytes in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(0)], 0..400), which in 0usize..6,
    ) {
        let speeches = [
            Speech::Json, Speech::Senml, Speech::Nmea { unchecked: true }, Speech::CobsCbor(Check::None),
            Speech::CobsSenml(Check::Crc16), Speech::Application { mark: String::new() },
        ];
        let mut input = Input::new(speeches[which].clone(), Vec::new(), NOW).unwrap();
        let said = heard(&mut input, &bytes);
        let tally = input.health().tally();
        prop_assert_eq!(said.iter().filter(|thing| *thing == "end").count() as u64, tally.good);
        prop_assert_eq!(tally.bytes, bytes.len() as u64);
    }
}
