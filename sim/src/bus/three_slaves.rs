//! The bus of the demonstration: a tank, a pump, a weather station. Its layout is the table in the parent module.

use super::codec::{BitTable, Table};
use super::slave::{BitBank, PointSpec, RegisterBank, SlaveSpec};
use super::value::{Encoding, Source, WordOrder};
use std::time::Duration;

/// Unit 17 tank, unit 18 pump, unit 19 weather; see the parent module for every register.
#[must_use]
pub fn three_slaves() -> Vec<SlaveSpec> {
    use Encoding::{F32, I16, I32, U16, U32};
    use Source::{CountedWalk, Counter};
    use Table::{Holding, Input};
    use WordOrder::{Abcd, Badc, Cdab, Dcba};

    let mut tank = SlaveSpec::new(17, "tank");
    tank.points = vec![
        point("level", Input, 0, I32, Abcd, CountedWalk),
        point("temperature", Input, 2, I16, Abcd, Counter),
        point("fills", Input, 3, U32, Abcd, Counter),
        point("volume", Input, 5, I32, Abcd, CountedWalk),
        point("span", Holding, 10, F32, Abcd, CountedWalk),
    ];
    tank.registers = vec![RegisterBank { table: Holding, address: 0, words: vec![0; 8], writable: true }];
    tank.bits = vec![bits(BitTable::Coils, &[true, true, false, true, true, true, false, true])];
    tank.identity = Some(["Fieldgate".to_owned(), "SIM-TANK".to_owned(), "1.0".to_owned()]);

    let mut pump = SlaveSpec::new(18, "pump");
    pump.answer_delay = Duration::from_millis(8);
    pump.points = vec![
        point("starts", Holding, 0, U32, Cdab, Counter),
        point("flow", Holding, 2, I32, Cdab, CountedWalk),
        point("power", Holding, 4, F32, Cdab, CountedWalk),
        point("winding", Holding, 6, U16, Cdab, Counter),
        point("hours", Holding, 7, U32, Cdab, Counter),
    ];
    pump.bits =
        vec![bits(BitTable::Coils, &[false; 4]), bits(BitTable::DiscreteInputs, &[true, false, true, false])];

    let mut weather = SlaveSpec::new(19, "weather");
    weather.answer_delay = Duration::from_millis(12);
    weather.points = vec![
        point("rain", Input, 0, U32, Dcba, Counter),
        point("wind", Input, 2, U32, Abcd, CountedWalk),
        point("pressure", Input, 4, I32, Badc, CountedWalk),
        point("humidity", Input, 6, U16, Abcd, Counter),
        point("gusts", Input, 7, U16, Abcd, Counter),
    ];
    vec![tank, pump, weather]
}

fn point(
    name: &str,
    table: Table,
    address: u16,
    encoding: Encoding,
    order: WordOrder,
    source: Source,
) -> PointSpec {
    PointSpec { name: name.to_owned(), table, address, encoding, order, source }
}

fn bits(table: BitTable, bits: &[bool]) -> BitBank {
    BitBank { table, address: 0, bits: bits.to_vec() }
}
