//! What a bus is asked for: its streams, and the requests that read them.
//!
//! Pure. Points of one slave and table that lie beside each other are read with one request
//! ([`fieldgate_sensor_inputs::modbus::reads`]). Nothing is read that is no point: a device may answer an address that is
//! in no manual with an exception for the whole request, and reading some registers clears them.

use fieldgate_sensor_inputs::modbus::{Limits, Read, Span, reads};

use super::exact;
use crate::config::{Bus, Point};
use crate::store::queue::StreamSpec;

/// The requests that read these points of one slave; points by their position. The configuration has only points that fit
/// into their tables and into a request, so that there always are such requests.
pub(super) fn requests(points: &[Point]) -> Vec<Read> {
    let span = |point: &Point| Span {
        table: point.table,
        first: point.register,
        count: point.value_type.addresses(),
    };
    let spans: Vec<Span> = points.iter().map(span).collect();
    reads(&spans, &Limits::default()).unwrap_or_default()
}

/// The streams of a bus; see [`super::streams`].
pub(super) fn streams(bus: &Bus) -> Vec<StreamSpec> {
    let of_slave = |slave: &'_ crate::config::Slave| {
        let (group, device) = (format!("{}/{}", bus.name, slave.name), slave.device.clone());
        slave
            .points
            .iter()
            .map(|point| StreamSpec {
                name: point.stream.clone(),
                group: group.clone(),
                device: device.clone(),
                class: point.class,
                unit: point.unit.clone(),
                resolution: point.resolution.and_then(exact::resolution),
                alias: point.alias.clone(),
                routes: point.routes.clone(),
                latest_only: point.latest_only,
            })
            .collect::<Vec<_>>()
    };
    bus.slaves.iter().flat_map(of_slave).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{BusKind, Class, Parity, Slave, Table, ValueType, WordOrder};
    use crate::reading::Resolution;
    use std::time::Duration;

    pub(in super::super) fn point(table: Table, register: u16, value_type: ValueType) -> Point {
        Point {
            stream: format!("s.{table:?}{register}"),
            alias: format!("{table:?}{register}"),
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

    #[test]
    fn neighbours_are_one_read_and_a_hole_parts_two() {
        let points = [
            point(Table::Holding, 12, ValueType::Float32),
            point(Table::Holding, 10, ValueType::Uint32),
            point(Table::Holding, 15, ValueType::Uint16),
        ];
        let found: Vec<_> = requests(&points).iter().map(|read| (read.first, read.count)).collect();
        assert_eq!(found, [(10, 4), (15, 1)]);
    }

    #[test]
    fn streams_come_slave_by_slave_and_point_by_point() {
        let mut tenths = point(Table::Input, 0, ValueType::Int16);
        tenths.resolution = Some(0.1);
        let slave = |name: &str, unit, points| Slave {
            name: name.into(),
            unit,
            device: format!("device-{name}"),
            period: Duration::from_secs(1),
            points,
        };
        let bus = Bus {
            name: "field".into(),
            kind: BusKind::ModbusRtu,
            port: "/dev/x".into(),
            baud: 19_200,
            parity: Parity::None,
            stop_bits: 1,
            timeout: Duration::from_millis(500),
            slaves: vec![
                slave("b", 2, vec![point(Table::Input, 9, ValueType::Float32), tenths]),
                slave("a", 1, vec![point(Table::Coil, 0, ValueType::Bool)]),
            ],
        };
        let streams = streams(&bus);
        let names: Vec<_> = streams.iter().map(|s| (s.group.as_str(), s.name.as_str())).collect();
        assert_eq!(names, [("field/b", "s.Input9"), ("field/b", "s.Input0"), ("field/a", "s.Coil0")]);
        assert_eq!(streams[0].resolution, None);
        assert_eq!(streams[1].resolution, Some(Resolution { numerator: 1, denominator: 10 }));
        assert_eq!(streams[2].device, "device-a");
    }
}
