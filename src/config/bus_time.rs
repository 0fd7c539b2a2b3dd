//! How much of a serial line's time the configured polls take at least: for a warning, not for scheduling.
//!
//! Figures: Modbus over Serial Line V1.02, section 2.5.1 (character frames, 3.5 characters of silence before and
//! after, fixed at 1.75 ms above 19200 baud). Slaves are taken to answer at once, so the truth is never less.

use fieldgate_sensor_inputs::modbus::{self, Limits, Span};

use super::model::{Bus, Parity, Point, Table};

/// Unit, function, address, quantity, CRC.
const REQUEST_CHARACTERS: u64 = 8;
/// Unit, function, count, CRC.
const RESPONSE_CHARACTERS: u64 = 5;

/// Time all polls of a bus need, in percent of the time there is, rounded down.
pub(super) fn busy_percent(bus: &Bus) -> u64 {
    let parts_per_million: u64 = bus
        .slaves
        .iter()
        .map(|slave| {
            let period = u64::try_from(slave.period.as_micros()).unwrap_or(u64::MAX).max(1);
            poll_micros(bus, &slave.points).saturating_mul(1_000_000) / period
        })
        .fold(0, u64::saturating_add);
    parts_per_million / 10_000
}

/// Time to read all these points of one slave once, in microseconds.
fn poll_micros(bus: &Bus, points: &[Point]) -> u64 {
    let baud = u64::from(bus.baud.max(1));
    let bits = 1 + 8 + u64::from(bus.parity != Parity::None) + u64::from(bus.stop_bits);
    let characters = |count: u64| count * bits * 1_000_000 / baud;
    let silence = if baud > 19_200 { 1_750 } else { characters(7) / 2 };
    reads(points)
        .into_iter()
        .map(|(table, addresses)| {
            let addresses = u64::from(addresses);
            let data = if table.is_bits() { addresses.div_ceil(8) } else { addresses * 2 };
            characters(REQUEST_CHARACTERS + RESPONSE_CHARACTERS + data) + 2 * silence
        })
        .sum()
}

/// The fewest requests that read only addresses that are points: (table, addresses) each. Of points that do not fit into
/// their tables there are none; they are refused elsewhere.
fn reads(points: &[Point]) -> Vec<(Table, u16)> {
    let span = |point: &Point| Span {
        table: point.table,
        first: point.register,
        count: point.value_type.addresses(),
    };
    let spans: Vec<Span> = points.iter().map(span).collect();
    let reads = modbus::reads(&spans, &Limits::default()).unwrap_or_default();
    reads.into_iter().map(|read| (read.table, read.count)).collect()
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::super::model::{BusKind, Class, Slave, ValueType, WordOrder};
    use super::*;

    fn point(table: Table, register: u16, value_type: ValueType) -> Point {
        Point {
            stream: String::new(),
            alias: String::new(),
            table,
            register,
            value_type,
            order: WordOrder::Abcd,
            scale: 1.0,
            offset: 0.0,
            unit: String::new(),
            resolution: None,
            sentinels: Vec::new(),
            class: Class::Telemetry,
            latest_only: false,
            thin_band: None,
            routes: Vec::new(),
            min: None,
            max: None,
        }
    }

    fn bus(baud: u32, points: Vec<Point>) -> Bus {
        let slave = Slave {
            name: String::new(),
            unit: 1,
            device: String::new(),
            period: Duration::from_secs(1),
            points,
        };
        Bus {
            name: String::new(),
            kind: BusKind::ModbusRtu,
            port: Default::default(),
            baud,
            parity: Parity::Even,
            stop_bits: 1,
            timeout: Duration::from_millis(500),
            slaves: vec![slave],
        }
    }

    #[test]
    fn adjacent_and_overlapping_points_are_one_read_and_tables_are_not_mixed() {
        let points = [
            point(Table::Holding, 12, ValueType::Float32),
            point(Table::Holding, 10, ValueType::Uint32),
            point(Table::Holding, 11, ValueType::Uint16),
            point(Table::Holding, 20, ValueType::Uint16),
            point(Table::Input, 14, ValueType::Uint16),
            point(Table::Coil, 0, ValueType::Bool),
            point(Table::Coil, 1, ValueType::Bool),
        ];
        assert_eq!(
            reads(&points),
            [(Table::Input, 1), (Table::Holding, 4), (Table::Holding, 1), (Table::Coil, 2)]
        );
    }

    #[test]
    fn a_read_is_no_longer_than_one_request_may_be() {
        let points: Vec<_> = (0..126).map(|at| point(Table::Holding, at, ValueType::Uint16)).collect();
        assert_eq!(reads(&points), [(Table::Holding, 125), (Table::Holding, 1)]);
    }

    #[test]
    fn the_time_of_one_register_is_that_of_its_characters_and_silences() {
        // 8 + 5 + 2 characters of 11 bits and twice 3.5 characters of silence: 22 × 11 / 9600 s.
        let bus = bus(9_600, vec![point(Table::Holding, 0, ValueType::Uint16)]);
        let micros = poll_micros(&bus, &bus.slaves[0].points);
        assert!((25_200..=25_210).contains(&micros), "{micros}");
        assert_eq!(busy_percent(&bus), 2);
    }

    #[test]
    fn scattered_points_on_a_slow_line_need_more_time_than_there_is() {
        let points = (0..50).map(|at| point(Table::Holding, at * 2, ValueType::Uint16)).collect();
        assert!(busy_percent(&bus(9_600, points)) > 100);
    }
}
