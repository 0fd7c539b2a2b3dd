//! What a bus is asked for: its streams, and the requests that read them.
//!
//! Pure. Points of one slave and table that lie beside each other are read with one request, within the limits of the
//! Modbus Application Protocol V1.1b3 (6.1 to 6.4). Invariant: every point is in exactly one request, which covers all
//! its addresses.

use super::exact;
use crate::config::{Bus, Point, Table};
use crate::store::queue::StreamSpec;

/// Most registers one request may read.
const MOST_REGISTERS: u32 = 125;
/// Most bits one request may read.
const MOST_BITS: u32 = 2_000;

/// Addresses between two points that are read along for nothing, to save a request.
///
/// None: a device may answer an address that is in no manual with an exception for the whole request, and reading some
/// registers clears them.
pub(super) const GAP: u16 = 0;

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) table: Table,
    /// Address of the first register or bit.
    pub(super) first: u16,
    /// How many.
    pub(super) count: u16,
    /// What is in the answer.
    pub(super) points: Vec<Placed>,
}

/// A point's place in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its position among the points of its slave.
    pub(super) point: usize,
    /// Registers or bits before it.
    pub(super) offset: usize,
    /// Registers or bits of it.
    pub(super) len: usize,
}

/// The requests that read these points of one slave, reading at most `gap` addresses in a row that are no point.
pub(super) fn requests(points: &[Point], gap: u16) -> Vec<Request> {
    let mut spans: Vec<Span> = points.iter().enumerate().map(|(n, point)| Span::of(n, point)).collect();
    spans.sort_unstable_by_key(|span| (span.table, span.first, span.end, span.point));
    let mut groups: Vec<Vec<Span>> = Vec::new();
    for span in spans {
        let most = if span.table.is_bits() { MOST_BITS } else { MOST_REGISTERS };
        let joins = groups.last().and_then(|group| bounds(group)).is_some_and(|(table, first, end)| {
            table == span.table && span.first <= end + u32::from(gap) && span.end.max(end) - first <= most
        });
        match groups.last_mut().filter(|_| joins) {
            Some(group) => group.push(span),
            None => groups.push(vec![span]),
        }
    }
    groups.iter().filter_map(|group| request(group)).collect()
}

impl Request {
    /// Bytes of data in the answer.
    pub(super) fn answer_bytes(&self) -> u8 {
        let bytes = if self.table.is_bits() { self.count.div_ceil(8) } else { self.count.saturating_mul(2) };
        u8::try_from(bytes).unwrap_or(u8::MAX)
    }

    /// Two requests of half as many points each: a device that refuses the whole may not refuse both parts, and in
    /// the end only the point it does not know is without a value. `None` for a single point.
    pub(super) fn halves(&self) -> Option<[Self; 2]> {
        let spans: Vec<Span> = self
            .points
            .iter()
            .map(|placed| {
                let first = u32::from(self.first) + u32::try_from(placed.offset).unwrap_or(0);
                let end = first + u32::try_from(placed.len).unwrap_or(0);
                Span { table: self.table, first, end, point: placed.point }
            })
            .collect();
        let (low, high) = spans.split_at(spans.len() / 2);
        Some([request(low)?, request(high)?])
    }
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

/// The addresses of one point; `end` is the first behind it, which may be 65536.
#[derive(Clone, Copy)]
struct Span {
    table: Table,
    first: u32,
    end: u32,
    point: usize,
}

impl Span {
    fn of(point: usize, config: &Point) -> Self {
        let first = u32::from(config.register);
        Self { table: config.table, first, end: first + u32::from(config.value_type.addresses()), point }
    }
}

fn bounds(group: &[Span]) -> Option<(Table, u32, u32)> {
    let first = group.iter().map(|span| span.first).min()?;
    let end = group.iter().map(|span| span.end).max()?;
    Some((group.first()?.table, first, end))
}

fn request(group: &[Span]) -> Option<Request> {
    let (table, first, end) = bounds(group)?;
    let points = group
        .iter()
        .map(|span| Placed {
            point: span.point,
            offset: (span.first - first) as usize,
            len: (span.end - span.first) as usize,
        })
        .collect();
    Some(Request {
        table,
        first: u16::try_from(first).ok()?,
        count: u16::try_from(end - first).ok()?,
        points,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{BusKind, Class, Parity, Slave, ValueType, WordOrder};
    use crate::reading::Resolution;
    use proptest::prelude::*;
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

    /// Table, first address, count; position and offset of each point.
    type Shape = (Table, u16, u16, Vec<(usize, usize)>);

    fn shape(requests: &[Request]) -> Vec<Shape> {
        let places = |r: &Request| r.points.iter().map(|p| (p.point, p.offset)).collect();
        requests.iter().map(|r| (r.table, r.first, r.count, places(r))).collect()
    }

    #[test]
    fn neighbours_are_one_read_and_each_knows_its_place() {
        let points = [
            point(Table::Holding, 12, ValueType::Float32),
            point(Table::Input, 12, ValueType::Uint16),
            point(Table::Holding, 10, ValueType::Uint32),
            point(Table::Holding, 11, ValueType::Uint16),
            point(Table::Coil, 3, ValueType::Bool),
        ];
        assert_eq!(
            shape(&requests(&points, 0)),
            [
                (Table::Input, 12, 1, vec![(1, 0)]),
                (Table::Holding, 10, 4, vec![(2, 0), (3, 1), (0, 2)]),
                (Table::Coil, 3, 1, vec![(4, 0)]),
            ]
        );
    }

    #[test]
    fn addresses_that_are_no_point_are_read_only_as_far_as_the_gap_allows() {
        let points = [
            point(Table::Holding, 0, ValueType::Uint16),
            point(Table::Holding, 3, ValueType::Uint16),
            point(Table::Holding, 7, ValueType::Uint16),
        ];
        assert_eq!(requests(&points, 0).len(), 3);
        assert_eq!(
            shape(&requests(&points, 2)),
            [(Table::Holding, 0, 4, vec![(0, 0), (1, 3)]), (Table::Holding, 7, 1, vec![(2, 0)])]
        );
        assert_eq!(requests(&points, 3).len(), 1);
    }

    #[test]
    fn the_last_address_can_be_read() {
        let points =
            [point(Table::Input, 65_532, ValueType::Uint64), point(Table::Coil, 65_535, ValueType::Bool)];
        assert_eq!(
            shape(&requests(&points, 9)),
            [(Table::Input, 65_532, 4, vec![(0, 0)]), (Table::Coil, 65_535, 1, vec![(1, 0)])]
        );
    }

    #[test]
    fn a_refused_read_is_halved_down_to_single_points() {
        let points: Vec<_> = (0..3).map(|n| point(Table::Holding, n * 2, ValueType::Uint32)).collect();
        let whole = requests(&points, 0).remove(0);
        let [low, high] = whole.halves().unwrap();
        assert_eq!(shape(std::slice::from_ref(&low)), [(Table::Holding, 0, 2, vec![(0, 0)])]);
        assert_eq!(shape(std::slice::from_ref(&high)), [(Table::Holding, 2, 4, vec![(1, 0), (2, 2)])]);
        assert_eq!(low.halves(), None);
        assert_eq!(shape(&high.halves().unwrap())[1], (Table::Holding, 4, 2, vec![(2, 0)]));
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

    fn any_point() -> impl Strategy<Value = Point> {
        let register = prop_oneof![0u16..300, 65_400u16..=65_532];
        let kinds = prop_oneof![
            Just(ValueType::Uint16),
            Just(ValueType::Int32),
            Just(ValueType::Float64),
            Just(ValueType::Bool)
        ];
        (any::<bool>(), register, kinds).prop_map(|(second, register, kind)| {
            let table = match (kind, second) {
                (ValueType::Bool, false) => Table::Coil,
                (ValueType::Bool, true) => Table::Discrete,
                (_, false) => Table::Input,
                (_, true) => Table::Holding,
            };
            point(table, register, kind)
        })
    }

    proptest! {
        #[test]
        fn every_point_is_read_once_where_it_lies(points in prop::collection::vec(any_point(), 0..80), gap in 0u16..8) {
            let mut seen = vec![0; points.len()];
            for request in requests(&points, gap) {
                let most = if request.table.is_bits() { 2000 } else { 125 };
                prop_assert!((1..=most).contains(&request.count));
                let mut read = vec![false; usize::from(request.count)];
                for placed in &request.points {
                    let config = &points[placed.point];
                    seen[placed.point] += 1;
                    prop_assert_eq!(config.table, request.table);
                    prop_assert_eq!(usize::from(config.register), usize::from(request.first) + placed.offset);
                    prop_assert_eq!(placed.len, usize::from(config.value_type.addresses()));
                    read[placed.offset..placed.offset + placed.len].fill(true);
                }
                let mut in_a_row = 0;
                for address in read {
                    in_a_row = if address { 0 } else { in_a_row + 1 };
                    prop_assert!(in_a_row <= gap);
                }
            }
            prop_assert!(seen.iter().all(|n| *n == 1));
        }

        #[test]
        fn halving_loses_no_point(points in prop::collection::vec(any_point(), 1..60)) {
            let mut open = requests(&points, 3);
            let mut singles = Vec::new();
            while let Some(request) = open.pop() {
                match request.halves() {
                    Some(halves) => open.extend(halves),
                    None => singles.push(request),
                }
            }
            prop_assert_eq!(singles.len(), points.len());
            for single in singles {
                let config = &points[single.points[0].point];
                prop_assert_eq!((single.first, single.count), (config.register, config.value_type.addresses()));
            }
        }
    }
}
