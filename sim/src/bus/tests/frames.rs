//! What is heard as a request, and how it is answered.

use super::*;

#[test]
fn frames_recorded_from_other_implementations_are_answered_alike() {
    let mut bench = Bench::new(vec![recorded_slave()]);
    for (request, answer) in [
        ("11 04 00 00 00 03 b2 9b", "11 04 06 00 d7 01 e3 ff c9 a8 ed"),
        ("11 03 00 0a 00 02 e6 99", "11 03 04 41 bc 00 00 3e 2a"),
        ("11 03 13 88 00 01 02 34", "11 83 02 c1 34"),
        ("11 03 00 00 00 7e c7 7a", "11 83 03 00 f4"),
        ("11 06 00 01 00 ff 9a da", "11 06 00 01 00 ff 9a da"),
        ("11 10 00 00 00 02 04 00 0a 01 02 07 3c", "11 10 00 00 00 02 43 58"),
        ("11 01 00 00 00 08 3f 5c", "11 01 01 dd 95 11"),
        (
            "11 2b 0e 01 00 b1 b4",
            "11 2b 0e 01 83 00 00 03 00 04 41 63 6d 65 01 04 54 48 2d 31 02 05 31 2e 32 2e 33 b1 93",
        ),
        ("11 08 00 00 a5 37 d8 1d", "11 08 00 00 a5 37 d8 1d"),
    ] {
        assert_eq!(bench.ask_hex(request), answer, "asked {request}");
    }
}

#[test]
fn what_is_written_is_read_back_and_what_is_refused_changes_nothing() {
    let mut slave = recorded_slave();
    slave.points = vec![counter_at(Table::Holding, 4, "count")];
    let mut bench = Bench::new(vec![slave]);
    bench.ask(&seal(vec![0x11, 16, 0, 0, 0, 2, 4, 0, 10, 1, 2]));
    assert_eq!(decode(&bench.read(0x11, 3, 0, 4), 0x11, 3), Some(vec![10, 0x0102, 0, 0]));
    // Registers 3 and 4: the second is a point, which cannot be written, so neither is.
    let refused = bench.ask(&seal(vec![0x11, 16, 0, 3, 0, 2, 4, 9, 9, 9, 9]));
    assert_eq!(refused, seal(vec![0x11, 0x90, 2]));
    assert_eq!(decode(&bench.read(0x11, 3, 0, 4), 0x11, 3), Some(vec![10, 0x0102, 0, 0]));
    bench.ask(&seal(vec![0x11, 5, 0, 1, 0xFF, 0]));
    bench.ask(&seal(vec![0x11, 15, 0, 2, 0, 2, 1, 0]));
    assert_eq!(bench.ask(&read_frame(0x11, 1, 0, 8)), seal(vec![0x11, 1, 1, 0b1101_0011]));
    assert_eq!(
        bench.ask(&seal(vec![0x11, 5, 0, 1, 0x12, 0x34])),
        seal(vec![0x11, 0x85, 3]),
        "neither on nor off"
    );
}

#[test]
fn an_unknown_function_is_refused_once_silence_ends_its_frame() {
    let mut bench = Bench::new(vec![recorded_slave()]);
    assert_eq!(bench.ask(&seal(vec![0x11, 0x63, 1, 2, 3])), seal(vec![0x11, 0xE3, 1]));
    assert_eq!(bench.ask(&seal(vec![0x11, 0x2B, 0x0E, 4, 9])), seal(vec![0x11, 0xAB, 2]), "no such object");
}

#[test]
fn a_foreign_unit_gets_silence() {
    let mut bench = Bench::new(three_slaves());
    assert_eq!(bench.read(99, 4, 0, 2), [0_u8; 0]);
    assert_eq!(bench.bus.ledger().line.foreign, 1);
    assert_eq!(bench.bus.ledger().unanswered(), 0, "nobody was asked, so nobody is silent");
}

#[test]
fn a_broadcast_is_carried_out_by_all_and_answered_by_none() {
    let mut other = recorded_slave();
    other.unit = 0x12;
    let mut bench = Bench::new(vec![recorded_slave(), other]);
    assert_eq!(bench.ask(&seal(vec![0, 6, 0, 1, 0, 77])), [0_u8; 0]);
    assert_eq!(bench.read(0, 3, 0, 1), [0_u8; 0], "a broadcast read is answered by nobody");
    for unit in [0x11, 0x12] {
        assert_eq!(decode(&bench.read(unit, 3, 1, 1), unit, 3), Some(vec![77]));
    }
    assert_eq!(bench.bus.ledger().line.broadcasts, 2);
}

#[test]
fn junk_is_passed_over_until_the_line_was_silent() {
    let mut bench = Bench::new(three_slaves());
    let mut noisy = vec![0x55, 0xAA, 0x03];
    noisy.extend(read_frame(17, 4, 0, 2));
    assert_eq!(bench.ask(&noisy), [0_u8; 0], "the request behind the junk is part of the junk");
    assert!(decode(&bench.read(17, 4, 0, 2), 17, 4).is_some(), "the next one after silence is answered");
    assert_eq!(bench.bus.ledger().line.junk, 1);
}

#[test]
fn a_request_with_a_bad_crc_gets_silence_and_produces_nothing() {
    let mut bench = Bench::new(three_slaves());
    let mut bad = read_frame(17, 4, 0, 2);
    bad[7] ^= 1;
    assert_eq!(bench.ask(&bad), [0_u8; 0]);
    assert_eq!(bench.produced(17, "level"), 0);
    assert_eq!(bench.bus.ledger().slave(17).unwrap().requests, 0);
}

#[test]
fn a_request_right_behind_one_with_a_bad_crc_is_not_trusted() {
    let mut bench = Bench::new(three_slaves());
    let mut both = read_frame(17, 4, 0, 2);
    both[7] ^= 1;
    both.extend(read_frame(17, 4, 0, 2));
    assert_eq!(bench.ask(&both), [0_u8; 0], "where a frame begins is known again only after silence");
    assert!(decode(&bench.read(17, 4, 0, 2), 17, 4).is_some());
}

#[test]
fn half_a_request_is_forgotten_after_silence() {
    let mut bench = Bench::new(three_slaves());
    bench.send(&read_frame(17, 4, 0, 2)[..5]);
    bench.listen();
    assert!(decode(&bench.read(17, 4, 0, 2), 17, 4).is_some());
    assert_eq!(bench.bus.ledger().line.junk, 1);
}

#[test]
fn an_answer_ends_when_its_last_character_would_have_left_the_line() {
    let mut bench = Bench::new(three_slaves());
    let begin = bench.now;
    bench.send(&read_frame(17, 4, 0, 2));
    let [(at, answer)] = bench.listen().try_into().unwrap();
    let times = LineTimes::at(19_200).unwrap();
    // Handed over at once, the first of the 8 characters counts as just ended.
    assert_eq!(at - begin, times.characters(7) + 5 * MS + times.characters(answer.len()));
    assert_eq!(answer.len(), 9);
}

#[test]
fn a_request_that_comes_a_character_at_a_time_is_one_frame() {
    let mut bench = Bench::new(three_slaves());
    let character = bench.bus.times().character;
    for byte in read_frame(17, 4, 0, 2) {
        bench.now += character;
        bench.send(&[byte]);
    }
    assert!(decode(&bench.listen()[0].1, 17, 4).is_some());
}

#[test]
fn a_request_too_soon_after_an_answer_is_counted_as_crowded() {
    let mut bench = Bench::new(three_slaves());
    bench.send(&read_frame(17, 4, 0, 2));
    while bench.bus.poll_transmit().is_none() {
        bench.now = bench.bus.poll_timeout().unwrap();
        bench.bus.handle_timeout(bench.now);
    }
    bench.now += bench.bus.times().silence / 2;
    bench.send(&read_frame(17, 4, 0, 2));
    bench.listen();
    assert_eq!(bench.bus.ledger().line.crowded, 1);
    bench.read(17, 4, 0, 2);
    assert_eq!(bench.bus.ledger().line.crowded, 1, "and one in good time is not");
}
