//! The promise: whatever some slaves of a bus do or leave undone, the others are read at their time, and every
//! instant of each is on record as a reading or as a gap.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod sensors_bench;

use std::time::Duration;

use fieldgate_sim::bus::{
    Encoding, Fault, PointSpec, SimBus, SlaveSpec, Source, When, WordOrder, codec::Table,
};
use sensors_bench::{Bench, MemoryLine, Record, virtual_clock};

const PERIOD: Duration = Duration::from_secs(1);
const BAUD: u32 = 19_200;

fn simulated(count: u8) -> SimBus {
    let slave = |unit: u8| {
        let mut slave = SlaveSpec::new(unit, &format!("s{unit}"));
        slave.points = vec![PointSpec {
            name: "count".into(),
            table: Table::Holding,
            address: 0,
            encoding: Encoding::U32,
            order: WordOrder::Abcd,
            source: Source::Counter,
        }];
        slave
    };
    SimBus::new((1..=count).map(slave).collect(), BAUD, 5).unwrap()
}

fn configured(count: u8) -> String {
    let mut text = format!(
        "[[bus]]\nname = \"b\"\nkind = \"modbus-rtu\"\nport = \"/dev/b\"\nbaud = {BAUD}\ntimeout = \"500ms\"\n"
    );
    for unit in 1..=count {
        text += &format!("[[bus.slave]]\nname = \"s{unit}\"\nunit = {unit}\nperiod = \"1s\"\n");
        text +=
            "[[bus.slave.point]]\nstream = \"count\"\ntable = \"holding\"\nregister = 0\ntype = \"uint32\"\n";
    }
    text
}

fn is_dead(unit: u8) -> bool {
    unit.is_multiple_of(4)
}

fn times(record: &Record, unit: u8) -> Vec<Duration> {
    record.of(&format!("s{unit}.count")).map(|row| row.at).collect()
}

#[tokio::test(start_paused = true)]
async fn eight_dead_of_thirty_two_leave_the_others_their_time() {
    let clock = virtual_clock();
    let line = MemoryLine::new(simulated(32), &clock);
    for unit in (1..=32).filter(|unit| is_dead(*unit)) {
        line.bus.lock().unwrap().set_fault(unit, Fault::Silent, When::Always).unwrap();
    }
    let bench = Bench::start(&configured(32), clock, line.clone());
    // Who is dead is learned first, at one timeout each.
    let learned = Duration::from_secs(10);
    let end = Duration::from_secs(600);
    tokio::time::sleep(end).await;
    let record = bench.finish().await;

    let mut apart = Vec::new();
    for unit in (1..=32).filter(|unit| !is_dead(*unit)) {
        let times = times(&record, unit);
        let late: Vec<Duration> = times.iter().copied().filter(|at| *at > learned).collect();
        assert!(late.len() as u64 >= (end - learned).as_secs() - 1, "s{unit} was read {} times", late.len());
        apart.extend(late.windows(2).map(|pair| (pair[1] - pair[0]).abs_diff(PERIOD)));
        assert!(record.all_missed(&format!("s{unit}.count")) <= 8, "{:?}", record.missed);
    }
    apart.sort();
    let (p99, most) = (apart[apart.len() * 99 / 100], apart[apart.len() - 1]);
    assert!(p99 <= PERIOD / 10, "99 of 100 intervals are within {p99:?} of a second");
    assert!(most < PERIOD, "{most:?}");
    assert_eq!(
        line.bus.lock().unwrap().ledger().line.crowded,
        0,
        "3.5 characters of silence before a request"
    );
}

#[tokio::test(start_paused = true)]
async fn every_instant_of_a_dead_slave_is_on_record_and_few_of_them_cost_time() {
    let clock = virtual_clock();
    let line = MemoryLine::new(simulated(2), &clock);
    line.bus.lock().unwrap().set_fault(2, Fault::Silent, When::Always).unwrap();
    let bench = Bench::start(&configured(2), clock, line.clone());
    tokio::time::sleep(Duration::from_millis(600_700)).await;
    let words = bench.board.slaves.get("s2").unwrap().value.words;
    assert!(words.starts_with("silent for 10 min, asked again in"), "{words}");
    let record = bench.finish().await;

    let asked = line.bus.lock().unwrap().ledger().slave(2).unwrap().requests;
    assert!((10..=40).contains(&asked), "asked {asked} times");
    assert_eq!(record.of("s2.count").count(), 0);
    assert_eq!(record.missed("s2.count", "silent"), asked);
    assert_eq!(record.missed("s2.count", "backed_off") + asked, 601);
    assert_eq!(record.of("s1.count").count() as u64 + record.all_missed("s1.count"), 601);
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_comes_back_is_read_again_within_a_minute() {
    let clock = virtual_clock();
    let line = MemoryLine::new(simulated(2), &clock);
    line.bus.lock().unwrap().set_fault(2, Fault::Silent, When::Always).unwrap();
    let bench = Bench::start(&configured(2), clock, line.clone());
    tokio::time::sleep(Duration::from_secs(1000)).await;
    line.bus.lock().unwrap().clear_faults(2).unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(bench.board.slaves.get("s2").unwrap().value.answering);
    let times = times(&bench.finish().await, 2);
    assert!(times[0] <= Duration::from_secs(1062), "{:?}", times[0]);
    assert!(times.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(PERIOD) < PERIOD / 10), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_device_ignores_is_asked_rarely_and_the_rest_every_time() {
    let clock = virtual_clock();
    // Unit 1 says nothing at all to a function it does not know.
    let line = MemoryLine::swallowing(simulated(2), &clock, |request| request.starts_with(&[1, 4]));
    let ignored = "type = \"uint32\"\n[[bus.slave.point]]\nstream = \"more\"\ntable = \"input\"\n\
                   register = 9\ntype = \"uint16\"\n";
    let configured = configured(2).replacen("type = \"uint32\"\n", ignored, 1);
    let bench = Bench::start(&configured, clock, line.clone());
    tokio::time::sleep(Duration::from_millis(200_600)).await;
    let record = bench.finish().await;
    assert_eq!(record.of("s1.more").count(), 0);
    assert_eq!(record.all_missed("s1.more"), 201);
    assert!(record.missed("s1.more", "silent") < 20, "{:?}", record.missed);
    // At most the first poll began with what is ignored.
    assert!(record.of("s1.count").count() >= 200, "{:?}", record.missed);
    let times = times(&record, 2);
    let late = times.windows(2).filter(|pair| (pair[1] - pair[0]).abs_diff(PERIOD) > PERIOD / 10).count();
    assert!(late <= 40, "{late}");
}
