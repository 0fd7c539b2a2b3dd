//! `[[bus]]` and `[[bus.slave]]`: the serial lines and who answers on them.

use super::gateway::{DEVICE_REMEDY, baud, port};
use super::{Context, point};
use crate::config::bus_time;
use crate::config::model::{Bus, BusKind, Parity, Slave};
use crate::config::problem::Taken;
use crate::config::reader::{Numbers, Reader};
use crate::config::words;

pub(in crate::config) const NAME_REMEDY: &str =
    "Use 1 to 64 letters, digits, _ and -, beginning with a letter or a digit.";

const MOST_BUSES: usize = 32;

/// First parts of stream names that the gateway itself uses.
const RESERVED_SLAVES: [&str; 2] = ["gateway", "modem"];

pub(in crate::config) const PARITIES: [(&str, Parity); 3] =
    [("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];

pub(super) fn buses(readers: Vec<Reader<'_>>, context: &mut Context<'_>) -> Vec<Bus> {
    if let Some(first_too_many) = readers.get(MOST_BUSES) {
        context.findings.problem(
            first_too_many.at(),
            "bus",
            format!("{} buses are too many.", readers.len()),
            format!("Configure at most {MOST_BUSES}."),
        );
    }
    readers.into_iter().map(|reader| bus(reader, context)).collect()
}

fn bus(mut reader: Reader<'_>, context: &mut Context<'_>) -> Bus {
    let name = reader
        .required_text("name", "\"field\"", words::is_name, "a name", NAME_REMEDY)
        .map_or("", |found| found.value);
    let remedy = "Give each bus its own name.";
    context.bus_names.claim(context.findings, name, reader.place("name"), &reader.path("name"), remedy);
    if !reader.has("kind") {
        reader.missing("kind", "\"modbus-rtu\"");
    }
    let kind = reader.choice("kind", "a kind of bus", &[("modbus-rtu", BusKind::ModbusRtu)]);
    let port = port(&mut reader, context);
    let baud = baud(&mut reader, 19_200);
    let parity = reader.choice("parity", "a parity", &PARITIES).unwrap_or(Parity::None);
    let stop_bits = Numbers { noun: "a number of stop bits", range: 1..=2 };
    let stop_bits = reader.number("stop_bits", "1", &stop_bits).and_then(|bits| u8::try_from(bits).ok());
    let timeout = reader.duration("timeout", "500ms", "10ms"..="10s");
    let mut units = Taken::default();
    let slaves: Vec<_> =
        reader.tables("slave").into_iter().map(|table| slave(table, &mut units, context)).collect();
    let bus = Bus {
        name: name.to_owned(),
        kind: kind.unwrap_or(BusKind::ModbusRtu),
        port,
        baud,
        parity,
        stop_bits: stop_bits.unwrap_or(1),
        timeout,
        slaves,
    };
    warn_of_silence_and_haste(&reader, &bus);
    reader.finish();
    bus
}

fn warn_of_silence_and_haste(reader: &Reader<'_>, bus: &Bus) {
    if bus.slaves.is_empty() {
        reader.warning("name", "This bus has no slaves.", "Add [[bus.slave]] or remove the bus.");
    }
    let percent = bus_time::busy_percent(bus);
    if percent > 100 {
        reader.warning(
            "name",
            format!(
                "The polls need {percent} % of this bus's time at {} baud, even if every slave answers at once: \
                 periods will not be kept.",
                bus.baud
            ),
            "Lengthen the slaves' period, raise baud, or place points in adjacent registers.",
        );
    }
}

fn slave(mut reader: Reader<'_>, units: &mut Taken, context: &mut Context<'_>) -> Slave {
    let name = reader
        .required_text("name", "\"boiler\"", words::is_name, "a name", NAME_REMEDY)
        .map_or("", |found| found.value);
    if RESERVED_SLAVES.contains(&name) {
        let what = format!("\"{name}\" is the name of the gateway's own streams.");
        reader.problem("name", what, "Choose another name.");
    }
    let remedy = "Give each slave of the gateway its own name: its streams are named after it.";
    context.slave_names.claim(context.findings, name, reader.place("name"), &reader.path("name"), remedy);
    if !reader.has("unit") {
        reader.missing("unit", "1");
    }
    let unit = Numbers { noun: "a Modbus unit", range: 1..=247 };
    let unit = reader.number("unit", "1", &unit).and_then(|unit| u8::try_from(unit).ok());
    if let Some(unit) = unit {
        let remedy = "Give each slave of a bus its own unit.";
        units.claim(
            context.findings,
            &format!("unit {unit}"),
            reader.place("unit"),
            &reader.path("unit"),
            remedy,
        );
    }
    let device = reader
        .text("device", "\"boiler-17\"", words::is_device, "a device name", DEVICE_REMEDY)
        .map_or(context.serial.as_str(), |found| found.value)
        .to_owned();
    let period = reader.duration("period", "1s", "50ms"..="24h");
    let points: Vec<_> =
        reader.tables("point").into_iter().map(|table| point::point(table, name, context)).collect();
    if points.is_empty() {
        reader.warning("name", "This slave has no points.", "Add [[bus.slave.point]] or remove the slave.");
    }
    reader.finish();
    Slave { name: name.to_owned(), unit: unit.unwrap_or(1), device, period, points }
}
