//! The promise: what a slave said whole is on record as it was said, once; what it did not say is on record as
//! missing, with the reason; and nothing is ever taken for something else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod sensors_bench;

use std::sync::Arc;
use std::time::Duration;

use fieldgate::reading::{Quality, Value};
use fieldgate_sim::bus::codec::{ExceptionCode, Table};
use fieldgate_sim::bus::{
    Encoding, Fault, PointSpec, RegisterBank, SimBus, SlaveSpec, Source, When, WordOrder, three_slaves,
};
use proptest::prelude::*;
use sensors_bench::{Bench, MemoryLine, Record, virtual_clock};

/// The bus of the demonstration as an operator would configure it.
const THREE_SLAVES: &str = r#"
[[bus]]
name = "field"
kind = "modbus-rtu"
port = "/dev/field"
timeout = "200ms"

[[bus.slave]]
name = "tank"
unit = 17
[[bus.slave.point]]
stream = "level"
table = "input"
register = 0
type = "int32"
[[bus.slave.point]]
stream = "temperature"
table = "input"
register = 2
type = "int16"
scale = 0.1
unit = "Cel"
max = 20
[[bus.slave.point]]
stream = "fills"
table = "input"
register = 3
type = "uint32"
[[bus.slave.point]]
stream = "volume"
table = "input"
register = 5
type = "int32"
[[bus.slave.point]]
stream = "span"
table = "holding"
register = 10
type = "float32"
[[bus.slave.point]]
stream = "valve"
table = "coil"
register = 2

[[bus.slave]]
name = "pump"
unit = 18
[[bus.slave.point]]
stream = "starts"
table = "holding"
register = 0
type = "uint32"
order = "cdab"
[[bus.slave.point]]
stream = "flow"
table = "holding"
register = 2
type = "int32"
order = "cdab"
[[bus.slave.point]]
stream = "power"
table = "holding"
register = 4
type = "float32"
order = "cdab"
[[bus.slave.point]]
stream = "hours"
table = "holding"
register = 7
type = "uint32"
order = "cdab"

[[bus.slave]]
name = "weather"
unit = 19
[[bus.slave.point]]
stream = "rain"
table = "input"
register = 0
type = "uint32"
order = "dcba"
[[bus.slave.point]]
stream = "wind"
table = "input"
register = 2
type = "uint32"
[[bus.slave.point]]
stream = "pressure"
table = "input"
register = 4
type = "int32"
order = "badc"
[[bus.slave.point]]
stream = "gusts"
table = "input"
register = 7
type = "uint16"
"#;

const BAUD: u32 = 19_200;
const UNITS: [u8; 3] = [17, 18, 19];

struct Run {
    bench: Bench,
    line: Arc<MemoryLine>,
}

fn three(seed: u64, faults: &[(u8, Fault, When)]) -> Run {
    let clock = virtual_clock();
    let line = MemoryLine::new(SimBus::new(three_slaves(), BAUD, seed).unwrap(), &clock);
    for (unit, fault, when) in faults {
        line.bus.lock().unwrap().set_fault(*unit, *fault, *when).unwrap();
    }
    Run { bench: Bench::start(THREE_SLAVES, clock, line.clone()), line }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Steps(steps) => *steps as f64,
        Value::Float(number) => *number,
        other => panic!("{other:?} is no number"),
    }
}

/// Compares what is on record with what the slaves say they said: every counted value is one of theirs, none is
/// there twice, and they are in order. Returns how many there are on each side.
fn compare(record: &Record, line: &MemoryLine) -> (u64, u64) {
    let ledger = line.bus.lock().unwrap().ledger();
    let (mut accepted, mut produced) = (0, 0);
    for slave in &ledger.slaves {
        for point in slave.points.iter().filter(|point| point.counted) {
            let stream = format!("{}.{}", slave.name, point.name);
            let counters: Vec<u64> = record
                .of(&stream)
                .map(|row| point.function.counter_among(point.produced, number(&row.value)))
                .map(|counter| counter.unwrap_or_else(|| panic!("{stream} never said that")))
                .collect();
            assert!(counters.is_sorted_by(|a, b| a < b), "{stream}: {counters:?}");
            accepted += counters.len() as u64;
            produced += point.produced;
        }
    }
    (accepted, produced)
}

#[tokio::test(start_paused = true)]
async fn on_a_good_line_everything_said_is_on_record() {
    let run = three(1, &[]);
    tokio::time::sleep(Duration::from_millis(300_900)).await;
    let latest = run.bench.board.latest.get("tank.temperature").unwrap().value;
    assert_eq!((latest.decimals, latest.unit.as_str(), latest.device.as_str()), (1, "Cel", "gw"));
    let tank = run.bench.board.slaves.get("tank").unwrap().value;
    assert_eq!(
        (tank.words.as_str(), tank.answering, tank.answers, tank.failures),
        ("answering", true, 301, 0)
    );
    let record = run.bench.finish().await;

    assert_eq!(compare(&record, &run.line), (301 * 13, 301 * 13));
    assert!(record.missed.is_empty(), "{:?}", record.missed);
    assert!(record.of("tank.span").all(|row| matches!(row.value, Value::Float(_))));
    assert!(record.of("tank.valve").all(|row| row.value == Value::Bool(false)));
    for row in record.of("tank.temperature") {
        let Value::Steps(tenths) = row.value else { panic!("{row:?}") };
        assert_eq!(row.quality, if tenths > 200 { Quality::OutOfRange } else { Quality::Good });
    }
    assert!(record.of("tank.temperature").any(|row| row.quality == Quality::OutOfRange));
}

#[tokio::test(start_paused = true)]
async fn all_that_is_read_at_one_instant_shares_one_number() {
    let run = three(2, &[(17, Fault::Silent, When::OneIn(5))]);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let record = run.bench.finish().await;
    let numbers = |stream| record.of(stream).map(|row| (row.sequence, row.at)).collect::<Vec<_>>();
    assert_eq!(numbers("tank.level"), numbers("tank.volume"));
    let sequences: Vec<u64> = record.of("tank.level").map(|row| row.sequence).collect();
    // Instants without an answer took their numbers too.
    assert!(sequences.is_sorted_by(|a, b| a < b));
    assert_eq!(sequences.last().unwrap() - sequences.len() as u64, record.all_missed("tank.level"));
    assert_eq!(
        numbers("pump.flow").iter().map(|(n, _)| *n).collect::<Vec<_>>(),
        (1..=100).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn the_reason_for_a_gap_is_what_happened() {
    let run = three(
        3,
        &[
            (17, Fault::Silent, When::Next(1)),
            (18, Fault::BadCrc, When::Next(1)),
            (19, Fault::Exception(ExceptionCode::ServerDeviceBusy), When::Next(1)),
        ],
    );
    tokio::time::sleep(Duration::from_millis(10_900)).await;
    for slave in ["tank", "pump", "weather"] {
        assert_eq!(run.bench.board.slaves.get(slave).unwrap().value.words, "answering");
    }
    let record = run.bench.finish().await;
    assert_eq!(record.missed("tank.level", "silent"), 1);
    assert_eq!(record.missed("pump.flow", "broken"), 1);
    assert_eq!(record.missed("weather.wind", "exception"), 1);
    for stream in ["tank.level", "pump.flow", "weather.wind"] {
        assert_eq!((record.of(stream).count(), record.all_missed(stream)), (10, 1), "{stream}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_words_on_the_board_tell_a_garbled_slave_from_a_silent_one() {
    let run = three(3, &[(17, Fault::Silent, When::Always), (18, Fault::BadCrc, When::Always)]);
    tokio::time::sleep(Duration::from_millis(120_900)).await;
    let words = |slave| run.bench.board.slaves.get(slave).unwrap().value.words;
    assert!(words("tank").starts_with("silent for 2 min, asked again in"), "{}", words("tank"));
    assert!(words("pump").starts_with("garbled for 2 min, asked again in"), "{}", words("pump"));
    assert_eq!(words("weather"), "answering");
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_polls_once_an_hour_is_not_taken_for_stuck() {
    let clock = virtual_clock();
    let line = MemoryLine::new(SimBus::new(three_slaves(), BAUD, 1).unwrap(), &clock);
    let hourly = THREE_SLAVES.replace("unit = 17", "unit = 17\nperiod = \"1h\"");
    let hourly = hourly.replace("unit = 18", "unit = 18\nperiod = \"2h\"");
    let hourly = hourly.replace("unit = 19", "unit = 19\nperiod = \"24h\"");
    let bench = Bench::start(&hourly, clock, line);
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(bench.lane_is_well());
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let record = bench.finish().await;
    assert_eq!((record.of("tank.level").count(), record.of("pump.flow").count()), (26, 13));
    assert!(record.missed.is_empty(), "{:?}", record.missed);
}

#[tokio::test(start_paused = true)]
async fn noise_before_an_answer_is_stepped_over() {
    let run =
        three(4, &[(17, Fault::NoiseBefore(20), When::Always), (18, Fault::NoiseBefore(3), When::Always)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let record = run.bench.finish().await;
    let (accepted, produced) = compare(&record, &run.line);
    assert_eq!((accepted, produced), (60 * 13, 60 * 13), "{:?}", record.missed);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_disappears_is_opened_again_and_the_gap_has_its_name() {
    let run = three(5, &[]);
    tokio::time::sleep(Duration::from_millis(10_900)).await;
    run.line.unplug();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(run.bench.lane_is_well());
    let tank = run.bench.board.slaves.get("tank").unwrap().value;
    let words = "not asked: the port /dev/field cannot be used: entity not found";
    assert_eq!((tank.words.as_str(), tank.answering), (words, false));
    run.line.plug_in();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(run.line.opened(), 2);
    assert!(run.bench.board.slaves.get("tank").unwrap().value.answering);
    let record = run.bench.finish().await;
    let (accepted, produced) = compare(&record, &run.line);
    assert_eq!(accepted, produced);
    let down = record.missed("tank.level", "port_down");
    assert!((3600..=3606).contains(&down), "{down}");
    assert_eq!(record.all_missed("tank.level"), down);
    assert_eq!(record.of("tank.level").count() as u64 + down, 11 + 3600 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_not_there_at_first_does_not_end_the_lane() {
    let clock = virtual_clock();
    let line = MemoryLine::new(SimBus::new(three_slaves(), BAUD, 1).unwrap(), &clock);
    line.unplug();
    let bench = Bench::start(THREE_SLAVES, clock, line.clone());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(bench.lane_is_well());
    assert!(bench.board.lanes.get("bus field").unwrap().value.words.contains("/dev/field"));
    line.plug_in();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(bench.finish().await.of("pump.flow").count() >= 5);
}

/// Two slaves with two registers each, far apart, so that four requests of one shape are under way in turn; the
/// first slave is asked so often that a late answer finds another request under way.
const LOOKALIKES: &str = r#"
[[bus]]
name = "b"
kind = "modbus-rtu"
port = "/dev/b"
timeout = "200ms"
[[bus.slave]]
name = "s1"
unit = 1
period = "300ms"
[[bus.slave.point]]
stream = "a"
table = "holding"
register = 0
type = "uint16"
[[bus.slave.point]]
stream = "b"
table = "holding"
register = 50
type = "uint16"
[[bus.slave]]
name = "s2"
unit = 2
period = "2s"
[[bus.slave.point]]
stream = "a"
table = "holding"
register = 0
type = "uint16"
[[bus.slave.point]]
stream = "b"
table = "holding"
register = 50
type = "uint16"
"#;

fn lookalikes() -> SimBus {
    let slave = |unit: u8| {
        let mut slave = SlaveSpec::new(unit, &format!("s{unit}"));
        slave.answer_delay = Duration::from_millis(100);
        let constant = |name: &str, address, value| PointSpec {
            name: name.into(),
            table: Table::Holding,
            address,
            encoding: Encoding::U16,
            order: WordOrder::Abcd,
            source: Source::Constant(value),
        };
        slave.points =
            vec![constant("a", 0, f64::from(unit) * 100.0), constant("b", 50, f64::from(unit) * 100.0 + 1.0)];
        slave
    };
    SimBus::new(vec![slave(1), slave(2)], BAUD, 3).unwrap()
}

/// Slave 1 is late by so much now and then.
async fn with_late_answers(late: Duration) -> Record {
    let clock = virtual_clock();
    let line = MemoryLine::new(lookalikes(), &clock);
    line.bus.lock().unwrap().set_fault(1, Fault::Late(late), When::OneIn(5)).unwrap();
    let bench = Bench::start(LOOKALIKES, clock, line.clone());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let record = bench.finish().await;
    for (stream, value) in [("s1.a", 100), ("s1.b", 101), ("s2.a", 200), ("s2.b", 201)] {
        let values: Vec<_> = record.of(stream).map(|row| row.value.clone()).collect();
        assert!(values.iter().all(|v| *v == Value::Steps(value)), "{stream} after {late:?}: {values:?}");
        assert!(values.len() >= 20, "{stream} after {late:?}");
    }
    assert!(record.missed("s1.a", "silent") > 0 && record.missed("s1.b", "silent") > 0, "nothing was late");
    record
}

/// An answer may come as late as twice the timeout.
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_never_taken_for_the_next_one_and_spoils_no_others_turn() {
    for late in (210..=400).step_by(10) {
        let record = with_late_answers(Duration::from_millis(late)).await;
        for stream in ["s2.a", "s2.b"] {
            let spoiled = record.missed(stream, "broken") + record.missed(stream, "silent");
            assert_eq!(spoiled, 0, "{stream} after {late} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_a_device_refuses_is_halved_until_only_what_it_does_not_know_is_missing() {
    let clock = virtual_clock();
    let mut slave = SlaveSpec::new(1, "s");
    slave.registers = [0u16, 1, 2, 3, 5, 6, 7]
        .map(|address| RegisterBank {
            table: Table::Holding,
            address,
            words: vec![address + 40],
            writable: false,
        })
        .into();
    let line = MemoryLine::new(SimBus::new(vec![slave], BAUD, 1).unwrap(), &clock);
    let mut configured = "[[bus]]\nname = \"b\"\nkind = \"modbus-rtu\"\nport = \"/dev/b\"\n\
                          [[bus.slave]]\nname = \"s\"\nunit = 1\n"
        .to_owned();
    for register in 0..8 {
        configured += &format!(
            "[[bus.slave.point]]\nstream = \"r{register}\"\ntable = \"holding\"\n\
             register = {register}\ntype = \"uint16\"\n"
        );
    }
    let bench = Bench::start(&configured, clock, line);
    tokio::time::sleep(Duration::from_millis(29_900)).await;
    let state = bench.board.slaves.get("s").unwrap().value;
    let refusal = state.refusal.unwrap();
    assert_eq!((refusal.streams.as_str(), refusal.exception, state.answering), ("s.r4", 2, true));
    assert_eq!(
        state.words,
        "answering, but refuses holding register 4 (s.r4): it has no such address (exception 2)"
    );
    let record = bench.finish().await;
    assert_eq!(record.missed("s.r4", "exception"), 30);
    for register in [0, 1, 2, 3, 5, 6, 7] {
        let stream = format!("s.r{register}");
        assert!(record.of(&stream).count() >= 26, "{stream}: {:?}", record.missed);
        assert!(record.of(&stream).all(|row| row.value == Value::Steps(register + 40)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slave_with_more_points_than_a_capture_holds_is_read_whole() {
    let clock = virtual_clock();
    let mut slave = SlaveSpec::new(1, "s");
    slave.registers =
        vec![RegisterBank { table: Table::Holding, address: 0, words: (0..1500).collect(), writable: false }];
    let line = MemoryLine::new(SimBus::new(vec![slave], 115_200, 1).unwrap(), &clock);
    let mut configured = "[[bus]]\nname = \"b\"\nkind = \"modbus-rtu\"\nport = \"/dev/b\"\nbaud = 115200\n\
                          [[bus.slave]]\nname = \"s\"\nunit = 1\nperiod = \"5s\"\n"
        .to_owned();
    for register in 0..1500 {
        configured += &format!(
            "[[bus.slave.point]]\nstream = \"r{register}\"\ntable = \"holding\"\n\
             register = {register}\ntype = \"uint16\"\n"
        );
    }
    let bench = Bench::start(&configured, clock, line.clone());
    tokio::time::sleep(Duration::from_secs(12)).await;
    line.unplug();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let record = bench.finish().await;
    for register in [0, 511, 1023, 1024, 1499] {
        let values: Vec<_> = record.of(&format!("s.r{register}")).map(|row| row.value.clone()).collect();
        assert_eq!(values, vec![Value::Steps(register); 3]);
        assert_eq!(record.missed(&format!("s.r{register}"), "port_down"), 1);
    }
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Silent),
        (100u64..390).prop_map(|ms| Fault::Late(Duration::from_millis(ms))),
        Just(Fault::BadCrc),
        Just(Fault::FlippedBit),
        (1usize..20).prop_map(Fault::Truncated),
        (1usize..64).prop_map(Fault::NoiseBefore),
        (1usize..64).prop_map(Fault::NoiseInto),
        Just(Fault::Exception(ExceptionCode::ServerDeviceBusy)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_happens_on_the_line_nothing_false_and_nothing_twice_is_on_record(
        seed in any::<u64>(),
        faults in prop::collection::vec((0usize..3, any_fault(), 2u32..20), 0..8),
        unplugged in prop::option::of((1_000u64..40_000, 100u64..20_000)),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let faults: Vec<_> =
                faults.iter().map(|(slave, fault, one_in)| (UNITS[*slave], *fault, When::OneIn(*one_in))).collect();
            let run = three(seed, &faults);
            if let Some((at, long)) = unplugged {
                tokio::time::sleep(Duration::from_millis(at)).await;
                run.line.unplug();
                tokio::time::sleep(Duration::from_millis(long)).await;
                run.line.plug_in();
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            let record = run.bench.finish().await;
            compare(&record, &run.line);
            // Every instant is a reading or a gap, for every stream of a slave alike.
            let instants = |stream| record.of(stream).count() as u64 + record.all_missed(stream);
            let pairs =
                [("tank.level", "tank.span"), ("pump.starts", "pump.hours"), ("weather.rain", "weather.gusts")];
            for (one, other) in pairs {
                assert_eq!(instants(one), instants(other));
                assert!(instants(one) >= 59);
            }
        });
    }
}
