//! Measured cells (`%NCELLMEAS`): the serving one with its neighbours, or, asked for with global cell identities, several.
//!
//! The two forms share a name and never a shape: what follows the first cell's ten fields is bare numbers in the plain form
//! and begins with a quoted cell again in the other, or is a whole number of neighbours and a remainder no plain form has.
//! Units and ranges are those of the vendor's link library.

use crate::fields::{DecodeError, Fields, Tail, Value};
use crate::registration::{CellId, tracking_area};
use crate::signal::{Rsrp, Rsrq};

/// How a measurement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasurementStatus {
    /// 0.
    Complete,
    /// 1.
    Failed,
    /// 2: what is there was measured before the interruption.
    Interrupted,
    /// Any other number.
    Other(u8),
}

/// A `%NCELLMEAS` report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourCells {
    /// How it ended.
    pub status: MeasurementStatus,
    /// Cells whose identity is known; one in the plain form.
    pub cells: Vec<MeasuredCell>,
    /// Fields that fit no cell.
    pub tail: Tail,
}

/// A cell with its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredCell {
    /// The cell; `FFFFFFFF` (not valid) is absent.
    pub cell: Value<CellId>,
    /// Country and network code.
    pub plmn: Option<String>,
    /// Tracking area code.
    pub tracking_area: Value<u16>,
    /// Timing advance in units of 1/30720 ms; 65535 (unknown) is absent.
    pub timing_advance: Value<u16>,
    /// When the timing advance was measured, in milliseconds since the modem started.
    pub timing_advance_at_ms: Value<u64>,
    /// EARFCN.
    pub earfcn: Value<u32>,
    /// Physical cell id.
    pub physical_cell: Value<u16>,
    /// Power.
    pub rsrp: Value<Rsrp>,
    /// Quality.
    pub rsrq: Value<Rsrq>,
    /// When it was measured, in milliseconds since the modem started.
    pub measured_at_ms: Value<u64>,
    /// It is the cell the modem is on.
    pub serving: bool,
    /// Its neighbours; only the serving cell has some.
    pub neighbours: Vec<Neighbour>,
}

/// A cell known by its physical identity only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// EARFCN.
    pub earfcn: Value<u32>,
    /// Physical cell id.
    pub physical_cell: Value<u16>,
    /// Power.
    pub rsrp: Value<Rsrp>,
    /// Quality.
    pub rsrq: Value<Rsrq>,
    /// Measured so much later than the serving cell, in milliseconds; 0 (not valid) is absent.
    pub later_by_ms: Value<i32>,
}

/// Fields of the plain form up to and with the measurement time.
const PLAIN: usize = 10;
/// Fields of one cell of the other form, without its neighbours.
const GLOBAL: usize = 12;
/// Fields of one neighbour.
const NEIGHBOUR: usize = 5;

impl NeighbourCells {
    /// Decodes the line, of either form.
    ///
    /// # Errors
    /// Another line, or no status.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "%NCELLMEAS")?;
        let status = match fields.number(0, "status")? {
            0 => MeasurementStatus::Complete,
            1 => MeasurementStatus::Failed,
            2 => MeasurementStatus::Interrupted,
            other => MeasurementStatus::Other(other),
        };
        let (cells, end) = match fields.len() {
            length if length < PLAIN => (Vec::new(), 1),
            _ if is_global(&fields) => global(&fields),
            length => plain(&fields, length),
        };
        Ok(Self { status, cells, tail: fields.tail(end) })
    }

    /// The cell the modem is on, where it was measured.
    #[must_use]
    pub fn serving(&self) -> Option<&MeasuredCell> {
        self.cells.iter().find(|cell| cell.serving)
    }
}

fn is_global(fields: &Fields<'_>) -> bool {
    let neighbours = fields.raw(GLOBAL).parse().ok();
    let of_one_cell = |count: usize| fields.len() == 1 + GLOBAL + NEIGHBOUR * count;
    fields.from(PLAIN).iter().any(|field| field.quoted) || neighbours.is_some_and(of_one_cell)
}

fn plain(fields: &Fields<'_>, length: usize) -> (Vec<MeasuredCell>, usize) {
    let count = (length - PLAIN) / NEIGHBOUR;
    let mut end = PLAIN + NEIGHBOUR * count;
    // One field more is the time of the timing advance. More than one is nothing known.
    let timing_advance_at_ms = if length - end == 1 { fields.value(end) } else { Value::Absent };
    end += usize::from(length - end == 1);
    let cell = MeasuredCell {
        timing_advance_at_ms,
        serving: true,
        neighbours: neighbours(fields, PLAIN, count),
        ..cell(fields, 1, 5)
    };
    (vec![cell], end)
}

fn global(fields: &Fields<'_>) -> (Vec<MeasuredCell>, usize) {
    let mut cells = Vec::new();
    let mut at = 1;
    while at + GLOBAL <= fields.len() {
        let Ok(count) = fields.raw(at + 11).parse::<usize>() else { break };
        let end = count.checked_mul(NEIGHBOUR).and_then(|more| more.checked_add(at + GLOBAL));
        let Some(end) = end.filter(|end| *end <= fields.len()) else { break };
        cells.push(MeasuredCell {
            timing_advance_at_ms: fields.value(at + 4),
            serving: fields.raw(at + 10) == "1",
            neighbours: neighbours(fields, at + GLOBAL, count),
            ..cell(fields, at, at + 5)
        });
        at = end;
    }
    (cells, at)
}

/// A cell whose identity begins at `identity` and whose measurements begin at `measured`.
fn cell(fields: &Fields<'_>, identity: usize, measured: usize) -> MeasuredCell {
    MeasuredCell {
        cell: unless(CellId(u32::MAX), Value::read(fields.get(identity), CellId::decode)),
        plmn: fields.string(identity + 1),
        tracking_area: Value::read(fields.get(identity + 2), tracking_area),
        timing_advance: unless(u16::MAX, fields.value(identity + 3)),
        timing_advance_at_ms: Value::Absent,
        earfcn: fields.value(measured),
        physical_cell: fields.value(measured + 1),
        rsrp: Rsrp::extended(fields.get(measured + 2)),
        rsrq: Rsrq::extended(fields.get(measured + 3)),
        measured_at_ms: fields.value(measured + 4),
        serving: false,
        neighbours: Vec::new(),
    }
}

fn neighbours(fields: &Fields<'_>, from: usize, count: usize) -> Vec<Neighbour> {
    (0..count)
        .map(|index| from + NEIGHBOUR * index)
        .map(|at| Neighbour {
            earfcn: fields.value(at),
            physical_cell: fields.value(at + 1),
            rsrp: Rsrp::extended(fields.get(at + 2)),
            rsrq: Rsrq::extended(fields.get(at + 3)),
            later_by_ms: unless(0, fields.value(at + 4)),
        })
        .collect()
}

/// The modem's own mark for "not known" is absent.
fn unless<T: PartialEq>(unknown: T, value: Value<T>) -> Value<T> {
    if value == Value::Known(unknown) { Value::Absent } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Value::{Absent, Known, Text};

    const TWO: &str = "%NCELLMEAS: 0,\"021D140C\",\"24201\",\"0821\",65535,5300,449,50,15,10891,5300,194,46,8,0,1650,292,60,27,24,8061152878017748";

    #[test]
    fn the_serving_cell_and_its_neighbours() {
        let report = NeighbourCells::parse(TWO).unwrap();
        assert_eq!((report.status, report.tail.is_empty()), (MeasurementStatus::Complete, true));
        let neighbour = |earfcn, physical_cell, dbm, half_db, later_by_ms| Neighbour {
            earfcn: Known(earfcn),
            physical_cell: Known(physical_cell),
            rsrp: Known(Rsrp { dbm }),
            rsrq: Known(Rsrq { half_db }),
            later_by_ms,
        };
        assert_eq!(
            report.cells,
            [MeasuredCell {
                cell: Known(CellId(0x021d_140c)),
                plmn: Some("24201".to_owned()),
                tracking_area: Known(0x0821),
                timing_advance: Absent,
                timing_advance_at_ms: Known(8_061_152_878_017_748),
                earfcn: Known(5300),
                physical_cell: Known(449),
                rsrp: Known(Rsrp { dbm: -90 }),
                rsrq: Known(Rsrq { half_db: -24 }),
                measured_at_ms: Known(10_891),
                serving: true,
                neighbours: vec![
                    neighbour(5300, 194, -94, -31, Absent),
                    neighbour(1650, 292, -80, -12, Known(24)),
                ],
            }]
        );
    }

    #[test]
    fn no_neighbours_with_and_without_the_time_of_the_timing_advance() {
        let line = "%NCELLMEAS: 0,\"071D340C\",\"24201\",\"0821\",65535,5300,449,50,15,10891,655350";
        let report = NeighbourCells::parse(line).unwrap();
        assert_eq!(
            (report.cells[0].neighbours.len(), &report.cells[0].timing_advance_at_ms),
            (0, &Known(655_350))
        );
        let older = NeighbourCells::parse(line.strip_suffix(",655350").unwrap()).unwrap();
        assert_eq!((older.cells[0].neighbours.len(), &older.cells[0].timing_advance_at_ms), (0, &Absent));
        assert_eq!(older.serving(), Some(&older.cells[0]));
    }

    #[test]
    fn a_failure_has_no_cells_and_may_stand_close_to_the_colon() {
        for (line, status) in [
            ("%NCELLMEAS: 1", MeasurementStatus::Failed),
            ("%NCELLMEAS:1", MeasurementStatus::Failed),
            ("%NCELLMEAS: 2", MeasurementStatus::Interrupted),
            ("%NCELLMEAS: 7", MeasurementStatus::Other(7)),
        ] {
            let report = NeighbourCells::parse(line).unwrap();
            assert_eq!(
                (report.status, report.cells.len(), report.tail.is_empty()),
                (status, 0, true),
                "{line}"
            );
        }
        assert!(NeighbourCells::parse("%NCELLMEAS: ").is_err());
    }

    /// One cell of the form with global identities.
    fn global_cell(cell: &str, serving: u8, neighbours: &[&str]) -> String {
        let mut text = format!(
            ",\"{cell}\",\"24201\",\"0821\",77,8000,5300,449,50,15,10891,{serving},{}",
            neighbours.len()
        );
        for neighbour in neighbours {
            text.push(',');
            text.push_str(neighbour);
        }
        text
    }

    #[test]
    fn several_cells_with_global_identities() {
        let neighbour = "1650,292,60,27,-24";
        for count in 0..6 {
            let neighbours = vec![neighbour; count];
            for others in 0..6 {
                let mut line = format!("%NCELLMEAS: 0{}", global_cell("021D140C", 1, &neighbours));
                (0..others).for_each(|_| line.push_str(&global_cell("011B0780", 0, &[])));
                let report = NeighbourCells::parse(&line).unwrap();
                assert_eq!(report.cells.len(), 1 + others, "{line}");
                assert_eq!(report.cells[0].neighbours.len(), count, "{line}");
                assert_eq!(report.serving().map(|cell| &cell.cell), Some(&Known(CellId(0x021d_140c))));
                assert_eq!(report.cells[0].timing_advance, Known(77));
                assert_eq!(report.cells[0].timing_advance_at_ms, Known(8000));
                assert!(report.tail.is_empty());
                assert!(report.cells.iter().skip(1).all(|cell| !cell.serving));
            }
        }
    }

    #[test]
    fn what_fits_no_cell_is_kept() {
        let report = NeighbourCells::parse(&format!("{TWO},9,8")).unwrap();
        assert_eq!((report.cells[0].neighbours.len(), report.tail.as_str()), (2, "8061152878017748,9,8"));
        assert_eq!(report.cells[0].timing_advance_at_ms, Absent);
        let short = NeighbourCells::parse("%NCELLMEAS: 2,\"021D140C\",\"24201\"").unwrap();
        assert_eq!((short.cells.len(), short.tail.as_str()), (0, "\"021D140C\",\"24201\""));
        let many = format!("%NCELLMEAS: 0{},\"x\"", global_cell("FFFFFFFF", 1, &[]));
        let many = NeighbourCells::parse(&many.replace(",1,0,", ",1,18446744073709551615,")).unwrap();
        assert_eq!(many.cells.len(), 0);
        assert!(many.tail.as_str().starts_with("\"FFFFFFFF\""));
    }

    #[test]
    fn marks_of_the_unknown_are_absent_and_odd_values_are_kept() {
        let line = "%NCELLMEAS: 0,\"FFFFFFFF\",\"24201\",\"0821\",65535,5300,449,-3,47,x";
        let cell = NeighbourCells::parse(line).unwrap().cells.remove(0);
        assert_eq!((cell.cell, cell.timing_advance), (Absent, Absent));
        assert_eq!(cell.rsrp, Known(Rsrp { dbm: -142 }));
        assert_eq!((cell.rsrq, cell.measured_at_ms), (Text("47".to_owned()), Text("x".to_owned())));
    }
}
