//! What the bus promises, in virtual time: how frames are heard, what is counted, what faults do, and all of it together
//! against a careful client.

use super::codec::{BitTable, ExceptionCode, LineTimes, Table, crc16, seal};
use super::*;
use crate::device::SerialDevice;
use std::time::Duration;

mod account;
mod faults;
mod frames;
mod model;

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
