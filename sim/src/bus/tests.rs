//! What the bus promises, in virtual time.

use super::codec::{BitTable, ExceptionCode, LineTimes, Table, crc16, seal};
use super::*;
use crate::device::SerialDevice;
use proptest::prelude::*;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A bus and a master that lets time pass as the bus asks.
struct Bench {
    bus: SimBus,
    now: Duration,
}

impl Bench {
    fn new(slaves: Vec<SlaveSpec>) -> Self {
        Self { bus: SimBus::new(slaves, 19_200, 42).unwrap(), now: Duration::from_secs(1) }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.bus.handle_bytes(self.now, bytes);
    }

    /// What the bus says until it has nothing left to do, with the time of each.
    fn listen(&mut self) -> Vec<(Duration, Vec<u8>)> {
        let mut said = Vec::new();
        loop {
            while let Some(bytes) = self.bus.poll_transmit() {
                said.push((self.now, bytes));
            }
            let Some(at) = self.bus.poll_timeout() else { break };
            assert!(at >= self.now, "a deadline in the past would spin its driver");
            self.now = at;
            self.bus.handle_timeout(at);
        }
        self.now += 10 * MS;
        said
    }

    /// A whole frame out, all bytes of the answer back.
    fn ask(&mut self, frame: &[u8]) -> Vec<u8> {
        self.send(frame);
        self.listen().into_iter().flat_map(|(_, bytes)| bytes).collect()
    }

    fn ask_hex(&mut self, frame: &str) -> String {
        hex(&self.ask(&unhex(frame)))
    }

    fn read(&mut self, unit: u8, function: u8, address: u16, count: u16) -> Vec<u8> {
        self.ask(&read_frame(unit, function, address, count))
    }

    fn produced(&self, unit: u8, name: &str) -> u64 {
        self.bus.ledger().point(unit, name).unwrap().produced
    }
}

fn read_frame(unit: u8, function: u8, address: u16, count: u16) -> Vec<u8> {
    let ([a, b], [c, d]) = (address.to_be_bytes(), count.to_be_bytes());
    seal(vec![unit, function, a, b, c, d])
}

fn unhex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

/// Registers of a sound answer, `None` for anything else: the client's own reading of the wire.
fn decode(answer: &[u8], unit: u8, function: u8) -> Option<Vec<u16>> {
    let sound = answer.len() >= 5 && crc16(answer) == 0 && answer[..2] == [unit, function];
    let whole = sound && usize::from(answer[2]) + 5 == answer.len();
    whole.then(|| answer[3..answer.len() - 2].chunks(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect())
}

/// The device whose frames were recorded from other implementations.
pub(crate) fn recorded_slave() -> SlaveSpec {
    let memory = |table, address, words: &[u16], writable| RegisterBank {
        table,
        address,
        words: words.to_vec(),
        writable,
    };
    let mut slave = SlaveSpec::new(0x11, "recorded");
    slave.registers = vec![
        memory(Table::Input, 0, &[215, 483, 0xFFC9], false),
        memory(Table::Holding, 10, &[0x41BC, 0], true),
        memory(Table::Holding, 0, &[0; 4], true),
    ];
    let coils = (0..8).map(|bit| 0xDD >> bit & 1 == 1).collect();
    slave.bits = vec![BitBank { table: BitTable::Coils, address: 0, bits: coils }];
    slave.identity = Some(["Acme".to_owned(), "TH-1".to_owned(), "1.2.3".to_owned()]);
    slave
}

fn counter_at(table: Table, address: u16, name: &str) -> PointSpec {
    PointSpec {
        name: name.to_owned(),
        table,
        address,
        encoding: Encoding::U32,
        order: WordOrder::Abcd,
        source: Source::Counter,
    }
}

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

#[test]
fn each_answer_carries_the_next_counter_of_each_point_it_holds_whole() {
    let mut bench = Bench::new(three_slaves());
    for n in 1..=5_u64 {
        let words = decode(&bench.read(17, 4, 0, 7), 17, 4).unwrap();
        let level = f64::from(u32::from(words[0]) << 16 | u32::from(words[1]));
        let fills = f64::from(u32::from(words[3]) << 16 | u32::from(words[4]));
        let ledger = bench.bus.ledger();
        assert_eq!(ledger.point(17, "level").unwrap().function.wire_counter(level), Some(n));
        assert_eq!(ledger.point(17, "level").unwrap().function.value(n), level);
        assert_eq!(fills, n as f64);
    }
    assert_eq!(bench.produced(17, "level"), 5);
    assert_eq!(bench.produced(17, "temperature"), 5);
    // level, fills, volume; the temperature is not counted.
    assert_eq!(bench.bus.ledger().produced(), 15);
}

#[test]
fn half_a_point_is_not_a_value() {
    let mut bench = Bench::new(three_slaves());
    let whole = decode(&bench.read(17, 4, 3, 2), 17, 4).unwrap();
    assert_eq!(
        decode(&bench.read(17, 4, 4, 1), 17, 4),
        Some(vec![whole[1]]),
        "the latest value's second word"
    );
    assert_eq!(bench.produced(17, "fills"), 1);
}

#[test]
fn broken_answers_produce_nothing_and_leave_no_hole() {
    let faults =
        [Fault::BadCrc, Fault::FlippedBit, Fault::Truncated(4), Fault::Truncated(400), Fault::NoiseInto(3)];
    for fault in faults {
        let mut bench = Bench::new(three_slaves());
        bench.bus.set_fault(17, fault, When::Next(2)).unwrap();
        for _ in 0..2 {
            let answer = bench.read(17, 4, 3, 2);
            assert_ne!(answer, [0_u8; 0]);
            assert_eq!(decode(&answer, 17, 4), None, "{fault:?}");
        }
        assert_eq!(bench.produced(17, "fills"), 0, "{fault:?}");
        assert_eq!(decode(&bench.read(17, 4, 3, 2), 17, 4), Some(vec![0, 1]), "{fault:?}");
        let slave = bench.bus.ledger().slave(17).unwrap().clone();
        assert_eq!((slave.requests, slave.answered, slave.broken), (3, 1, 2), "{fault:?}");
    }
}

#[test]
fn noise_that_runs_into_a_frame_leaves_none_to_be_found_within_it() {
    let mut bench = Bench::new(three_slaves());
    bench.bus.set_fault(17, Fault::NoiseInto(5), When::Always).unwrap();
    // Often enough that the noise happens to be the unit itself a few times.
    for _ in 0..3000 {
        let said = bench.read(17, 4, 3, 2);
        for start in 0..said.len() {
            assert_eq!(decode(&said[start..], 17, 4), None);
        }
    }
}

#[test]
fn noise_before_a_frame_is_kept_apart_by_silence_and_the_frame_counts() {
    let mut bench = Bench::new(three_slaves());
    bench.bus.set_fault(17, Fault::NoiseBefore(6), When::Next(1)).unwrap();
    bench.send(&read_frame(17, 4, 3, 2));
    let [(noise_at, noise), (frame_at, frame)] = bench.listen().try_into().unwrap();
    let times = bench.bus.times();
    assert_eq!(noise.len(), 6);
    assert_eq!(frame_at - noise_at, times.silence + times.characters(frame.len()));
    assert_eq!(decode(&frame, 17, 4), Some(vec![0, 1]));
    assert_eq!(bench.produced(17, "fills"), 1);
}

#[test]
fn a_silent_slave_does_not_silence_the_others() {
    let mut bench = Bench::new(three_slaves());
    bench.bus.set_fault(18, Fault::Silent, When::Always).unwrap();
    assert_eq!(bench.read(18, 3, 0, 2), [0_u8; 0]);
    assert!(decode(&bench.read(17, 4, 0, 2), 17, 4).is_some());
    assert_eq!(bench.bus.ledger().slave(18).unwrap().unanswered, 1);
    assert_eq!(bench.bus.ledger().unanswered(), 1);
    bench.bus.clear_faults(18).unwrap();
    assert!(decode(&bench.read(18, 3, 0, 2), 18, 3).is_some());
}

#[test]
fn a_late_answer_comes_although_another_was_asked_and_is_marked_as_overtaken() {
    let mut bench = Bench::new(three_slaves());
    bench.bus.set_fault(17, Fault::Late(Duration::from_secs(2)), When::Next(1)).unwrap();
    bench.send(&read_frame(17, 4, 3, 2));
    bench.now += Duration::from_secs(1);
    bench.send(&read_frame(18, 3, 0, 2));
    let said = bench.listen();
    assert_eq!(said.iter().map(|(_, bytes)| bytes[0]).collect::<Vec<_>>(), [18, 17]);
    assert!(said[1].0 - said[0].0 > 500 * MS);
    let ledger = bench.bus.ledger();
    assert_eq!(
        (ledger.point(17, "fills").unwrap().produced, ledger.point(17, "fills").unwrap().overtaken),
        (1, 1)
    );
    assert_eq!(
        (ledger.point(18, "starts").unwrap().produced, ledger.point(18, "starts").unwrap().overtaken),
        (1, 0)
    );
}

#[test]
fn answers_wait_for_each_other_instead_of_colliding() {
    let mut bench = Bench::new(three_slaves());
    for unit in [17, 18, 19] {
        bench.bus.set_fault(unit, Fault::Late(100 * MS), When::Always).unwrap();
    }
    bench.send(&read_frame(17, 4, 0, 7));
    bench.send(&read_frame(18, 3, 0, 7));
    bench.send(&read_frame(19, 4, 0, 7));
    let said = bench.listen();
    assert_eq!(said.len(), 3);
    let times = bench.bus.times();
    for pair in said.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= times.silence + times.characters(pair[1].1.len()));
    }
}

#[test]
fn an_exception_fault_refuses_and_carries_nothing_out() {
    let mut bench = Bench::new(vec![recorded_slave()]);
    bench.bus.set_fault(0x11, Fault::Exception(ExceptionCode::ServerDeviceBusy), When::Next(1)).unwrap();
    assert_eq!(bench.ask(&seal(vec![0x11, 6, 0, 1, 0, 9])), seal(vec![0x11, 0x86, 6]));
    assert_eq!(decode(&bench.read(0x11, 3, 1, 1), 0x11, 3), Some(vec![0]));
    assert_eq!(bench.bus.ledger().slave(0x11).unwrap().exceptions, 1);
}

#[test]
fn a_fault_one_in_so_many_befalls_about_that_share_and_the_same_ones_each_time() {
    let befallen = || -> Vec<bool> {
        let mut bench = Bench::new(three_slaves());
        bench.bus.set_fault(17, Fault::Silent, When::OneIn(4)).unwrap();
        (0..2000).map(|_| bench.read(17, 4, 0, 2).is_empty()).collect()
    };
    let first = befallen();
    let share = first.iter().filter(|silent| **silent).count();
    assert!((400..600).contains(&share), "{share} of 2000");
    assert_eq!(first, befallen());
}

#[test]
fn once_fallen_silent_nothing_is_said_and_produced_stands_still() {
    let mut bench = Bench::new(three_slaves());
    bench.read(17, 4, 0, 7);
    let produced = bench.bus.ledger().produced();
    bench.send(&read_frame(18, 3, 0, 2));
    bench.bus.fall_silent();
    assert_eq!(bench.listen(), [], "the answer that was waiting is given up");
    assert_eq!(bench.read(17, 4, 0, 7), [0_u8; 0]);
    let ledger = bench.bus.ledger();
    assert_eq!(ledger.produced(), produced);
    assert_eq!((ledger.slave(18).unwrap().unanswered, ledger.slave(17).unwrap().unanswered), (1, 1));
    bench.bus.speak_again();
    assert!(decode(&bench.read(17, 4, 0, 7), 17, 4).is_some());
}

#[test]
fn a_flood_of_requests_does_not_grow_the_bus_and_each_is_accounted_for() {
    let mut bench = Bench::new(three_slaves());
    for _ in 0..500 {
        bench.send(&read_frame(17, 4, 0, 2));
    }
    let slave = bench.bus.ledger().slave(17).unwrap().clone();
    assert_eq!(slave.requests, 500);
    assert_eq!(slave.waiting, 64);
    assert_eq!(slave.unanswered, 436);
    assert_eq!(bench.listen().len(), 64);
    assert_eq!(bench.produced(17, "level"), 64);
}

#[test]
fn an_impossible_bus_is_refused_with_its_reason() {
    let bus = |slaves: Vec<SlaveSpec>| SimBus::new(slaves, 9600, 0).map(|_| ()).unwrap_err();
    let with = |points: Vec<PointSpec>| {
        let mut slave = SlaveSpec::new(5, "x");
        slave.points = points;
        vec![slave]
    };
    assert_eq!(SimBus::new(Vec::new(), 0, 0).map(|_| ()), Err(BusError::ZeroBaud));
    assert_eq!(bus(vec![SlaveSpec::new(0, "x")]), BusError::UnitOutOfRange { unit: 0 });
    assert_eq!(bus(vec![SlaveSpec::new(248, "x")]), BusError::UnitOutOfRange { unit: 248 });
    assert_eq!(
        bus(vec![SlaveSpec::new(5, "x"), SlaveSpec::new(5, "y")]),
        BusError::DuplicateUnit { unit: 5 }
    );
    let (a, b) = (counter_at(Table::Input, 0, "a"), counter_at(Table::Input, 1, "b"));
    assert_eq!(bus(with(vec![a.clone(), b])), BusError::Overlap { unit: 5, address: 1 });
    let again = counter_at(Table::Input, 8, "a");
    assert_eq!(bus(with(vec![a, again])), BusError::DuplicatePoint { unit: 5, point: "a".to_owned() });
    let end = counter_at(Table::Input, u16::MAX, "a");
    assert_eq!(bus(with(vec![end])), BusError::PastTheEnd { unit: 5, address: u16::MAX });
    let mut narrow = counter_at(Table::Input, 0, "a");
    (narrow.encoding, narrow.source) = (Encoding::U16, Source::CountedWalk);
    assert_eq!(bus(with(vec![narrow])), BusError::SourceDoesNotFit { unit: 5, point: "a".to_owned() });
    let mut one = SimBus::new(three_slaves(), 9600, 0).unwrap();
    assert_eq!(one.set_fault(1, Fault::Silent, When::Always), Err(BusError::UnknownUnit { unit: 1 }));
    for _ in 0..8 {
        one.set_fault(17, Fault::Silent, When::Always).unwrap();
    }
    let full = one.set_fault(17, Fault::Silent, When::Always);
    assert_eq!(full, Err(BusError::TooManyFaults { unit: 17, most: 8 }));
}

#[derive(Debug, Clone)]
enum Step {
    Read { unit: u8, address: u16, count: u16 },
    Bytes(Vec<u8>),
    Fault(Fault, When),
    Clear,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let unit = prop_oneof![Just(17_u8), Just(18), Just(19), Just(20)];
    let fault = prop_oneof![
        Just(Fault::Silent),
        (0..3000_u64).prop_map(|ms| Fault::Late(Duration::from_millis(ms))),
        Just(Fault::BadCrc),
        Just(Fault::FlippedBit),
        (0..20_usize).prop_map(Fault::Truncated),
        (0..20_usize).prop_map(Fault::NoiseBefore),
        (0..20_usize).prop_map(Fault::NoiseInto),
        Just(Fault::Exception(ExceptionCode::ServerDeviceFailure)),
    ];
    let when =
        prop_oneof![Just(When::Always), (0..3_u32).prop_map(When::Next), (0..4_u32).prop_map(When::OneIn)];
    prop_oneof![
        6 => (unit, 0..10_u16, 0..9_u16).prop_map(|(unit, address, count)| Step::Read { unit, address, count }),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Step::Bytes),
        2 => (fault, when).prop_map(|(fault, when)| Step::Fault(fault, when)),
        2 => Just(Step::Clear),
        2 => (0..2000_u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn any_bytes_in_any_chunks_give_the_same_answers(
        seed: u64, bursts in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..60), 0..4_usize, 1..9_usize), 0..12),
    ) {
        let run = |chunked: bool| {
            let mut bench = Bench { bus: SimBus::new(three_slaves(), 9600, seed).unwrap(), now: Duration::ZERO };
            let mut said = Vec::new();
            for (junk, requests, size) in &bursts {
                let mut bytes = junk.clone();
                for n in 0..*requests {
                    bytes.extend(read_frame(17 + n as u8, 4, 0, 2));
                }
                for chunk in bytes.chunks(if chunked { *size } else { bytes.len().max(1) }) {
                    bench.send(chunk);
                }
                said.extend(bench.listen());
            }
            (said, bench.bus.ledger())
        };
        prop_assert_eq!(run(false), run(true));
    }

    #[test]
    fn the_ledger_is_what_a_careful_client_decoded(seed: u64, steps in proptest::collection::vec(step(), 1..80)) {
        let mut bench = Bench { bus: SimBus::new(three_slaves(), 19_200, seed).unwrap(), now: Duration::ZERO };
        // What the client saw of each 32-bit point of the tank and the weather station: counters in order.
        let mut seen: std::collections::BTreeMap<(u8, String), Vec<u64>> = std::collections::BTreeMap::new();
        for step in steps {
            match step {
                Step::Read { unit, address, count } => {
                    let function = if unit == 18 { 3 } else { 4 };
                    bench.send(&read_frame(unit, function, address, count));
                    for (_, frame) in bench.listen() {
                        let Some(words) = decode(&frame, unit, function) else { continue };
                        prop_assert_eq!(words.len(), usize::from(count));
                        note(&mut seen, &bench, unit, address, &words);
                    }
                }
                Step::Bytes(bytes) => { bench.send(&bytes); bench.listen(); }
                Step::Fault(fault, when) => for unit in 17..=19 {
                    let _ = bench.bus.set_fault(unit, fault, when);
                },
                Step::Clear => for unit in 17..=19 { bench.bus.clear_faults(unit).unwrap(); },
                Step::Wait(ms) => bench.now += MS * u32::from(ms),
            }
        }
        for slave in &bench.bus.ledger().slaves {
            prop_assert_eq!(slave.waiting, 0);
            prop_assert_eq!(slave.requests, slave.answered + slave.exceptions + slave.broken + slave.unanswered);
            for point in slave.points.iter().filter(|p| p.counted) {
                let counters = seen.remove(&(slave.unit, point.name.clone())).unwrap_or_default();
                prop_assert_eq!(counters, (1..=point.produced).collect::<Vec<_>>(), "{} {}", &slave.name, &point.name);
                prop_assert_eq!(point.overtaken, 0);
            }
        }
        prop_assert!(seen.is_empty());
    }
}

/// The client's register map, written out a second time on purpose: the constructor's layout is a promise.
const MAP: &[(u8, &str, u16, Encoding, WordOrder)] = &[
    (17, "level", 0, Encoding::I32, WordOrder::Abcd),
    (17, "fills", 3, Encoding::U32, WordOrder::Abcd),
    (17, "volume", 5, Encoding::I32, WordOrder::Abcd),
    (18, "starts", 0, Encoding::U32, WordOrder::Cdab),
    (18, "flow", 2, Encoding::I32, WordOrder::Cdab),
    (18, "power", 4, Encoding::F32, WordOrder::Cdab),
    (18, "hours", 7, Encoding::U32, WordOrder::Cdab),
    (19, "rain", 0, Encoding::U32, WordOrder::Dcba),
    (19, "wind", 2, Encoding::U32, WordOrder::Abcd),
    (19, "pressure", 4, Encoding::I32, WordOrder::Badc),
    (19, "gusts", 7, Encoding::U16, WordOrder::Abcd),
];

fn note(
    seen: &mut std::collections::BTreeMap<(u8, String), Vec<u64>>,
    bench: &Bench,
    unit: u8,
    address: u16,
    words: &[u16],
) {
    let ledger = bench.bus.ledger();
    for (_, name, first, encoding, order) in MAP.iter().filter(|entry| entry.0 == unit) {
        let width = usize::from(encoding.registers());
        let Some(at) = first.checked_sub(address).map(usize::from) else { continue };
        let Some(words) = words.get(at..at + width) else { continue };
        let value = match *words {
            [one] => f64::from(one),
            [one, two] => {
                let ([p, q], [r, s]) = (one.to_be_bytes(), two.to_be_bytes());
                let bits = u32::from_be_bytes(match order {
                    WordOrder::Abcd => [p, q, r, s],
                    WordOrder::Cdab => [r, s, p, q],
                    WordOrder::Badc => [q, p, s, r],
                    WordOrder::Dcba => [s, r, q, p],
                });
                if *encoding == Encoding::F32 { f64::from(f32::from_bits(bits)) } else { f64::from(bits) }
            }
            _ => panic!("no point is wider than two registers"),
        };
        let point = ledger.point(unit, name).unwrap();
        let counter = point.function.wire_counter(value).unwrap();
        assert_eq!(point.function.value(counter), value, "{name}");
        seen.entry((unit, (*name).to_owned())).or_default().push(counter);
    }
}
