//! How a number is made from registers: the keys that a point of a slave and a point of a device's register map share.

use core::ops::RangeInclusive;

use crate::config::model::{Class, Table, ValueType, WordOrder};
use crate::config::reader::{Numbers, Reader};

const TABLES: [(&str, Table); 4] = [
    ("input", Table::Input),
    ("holding", Table::Holding),
    ("coil", Table::Coil),
    ("discrete", Table::Discrete),
];

pub(in crate::config) const TYPES: [(&str, ValueType); 9] = [
    ("uint16", ValueType::Uint16),
    ("int16", ValueType::Int16),
    ("uint32", ValueType::Uint32),
    ("int32", ValueType::Int32),
    ("uint64", ValueType::Uint64),
    ("int64", ValueType::Int64),
    ("float32", ValueType::Float32),
    ("float64", ValueType::Float64),
    ("bool", ValueType::Bool),
];

const ORDERS: [(&str, WordOrder); 4] = [
    ("abcd", WordOrder::Abcd),
    ("cdab", WordOrder::Cdab),
    ("badc", WordOrder::Badc),
    ("dcba", WordOrder::Dcba),
];

const CLASSES: [(&str, Class); 5] = [
    ("telemetry", Class::Telemetry),
    ("alarm", Class::Alarm),
    ("event", Class::Event),
    ("state", Class::State),
    ("diagnostics", Class::Diagnostics),
];

/// `None` after a problem.
pub(in crate::config) fn table(reader: &mut Reader<'_>) -> Option<Table> {
    if !reader.has("table") {
        reader.missing("table", "\"holding\"");
    }
    reader.choice("table", "a Modbus table", &TABLES)
}

pub(in crate::config) fn order(reader: &mut Reader<'_>) -> WordOrder {
    reader.choice("order", "a byte order", &ORDERS).unwrap_or(WordOrder::Abcd)
}

pub(in crate::config) fn class(reader: &mut Reader<'_>) -> Class {
    reader.choice("class", "a class", &CLASSES).unwrap_or(Class::Telemetry)
}

/// The first address; `addresses` is how many the value takes, where that is known.
pub(in crate::config) fn register(
    reader: &mut Reader<'_>,
    table: Option<Table>,
    addresses: Option<u16>,
) -> u16 {
    if !reader.has("register") {
        reader.missing("register", "0");
    }
    let numbers = Numbers { noun: "an address counted from 0", range: 0..=65_535 };
    let register = reader.number("register", "0", &numbers).and_then(|register| u16::try_from(register).ok());
    let (Some(register), Some(addresses)) = (register, addresses) else {
        return 0;
    };
    if register.checked_add(addresses.saturating_sub(1)).is_none() {
        reader.problem(
            "register",
            format!("a value of {addresses} registers does not fit at {register}."),
            format!("Use 0 to {}.", 65_536 - u32::from(addresses)),
        );
    }
    let first = match table {
        Some(Table::Holding) => 40_001,
        Some(Table::Input) => 30_001,
        _ => return register,
    };
    if (first..first + 9_999).contains(&register) {
        reader.warning(
            "register",
            format!("{register} looks like a number from a manual that counts from {first}."),
            format!("If it is, write register = {}.", register - first),
        );
    }
    register
}

/// Factor and what is added after it.
pub(in crate::config) fn scaling(reader: &mut Reader<'_>) -> (f64, f64) {
    let scale = reader.real("scale", "0.1").unwrap_or(1.0);
    if scale == 0.0 {
        reader.problem("scale", "0 makes every value the same.", "Write scale = 0.1, for example.");
    }
    (scale, reader.real("offset", "-40").unwrap_or(0.0))
}

pub(in crate::config) fn unit(reader: &mut Reader<'_>) -> String {
    let unit = reader.text(
        "unit",
        "\"Cel\"",
        |text| text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_graphic()),
        "a UCUM unit",
        "UCUM is written in ASCII without spaces: Cel for °C, % for percent, kPa, m3/h.",
    );
    unit.map_or_else(String::new, |found| found.value.to_owned())
}

/// As written; `None` without it.
pub(in crate::config) fn resolution(reader: &mut Reader<'_>) -> Option<f64> {
    let written = reader.real("resolution", "0.1");
    if let Some(written) = written
        && written <= 0.0
    {
        reader.problem(
            "resolution",
            format!("{written} is not a step."),
            "Write resolution = 0.1, for example.",
        );
    }
    written
}

/// Raw values that mean "no value", within `range`; without a range there are none.
pub(in crate::config) fn sentinels(
    reader: &mut Reader<'_>,
    range: Option<RangeInclusive<i128>>,
) -> Vec<i128> {
    /// More than any device marks its gaps with.
    const MOST: usize = 16;
    let found = reader.integers("sentinel", "[65535]").unwrap_or_default();
    if found.len() > MOST {
        let what = format!("{} sentinels are too many.", found.len());
        reader.problem("sentinel", what, format!("Use at most {MOST}."));
    }
    let Some(range) = range else {
        return Vec::new();
    };
    for number in found.iter().filter(|number| !range.contains(&number.value)) {
        reader.item_problem(
            "sentinel",
            number.at,
            format!("{} is not a raw value of this type.", number.value),
            format!("Use {} to {}.", range.start(), range.end()),
        );
    }
    found.into_iter().map(|number| number.value).collect()
}

/// The lowest and the highest plausible value.
pub(in crate::config) fn plausible(reader: &mut Reader<'_>) -> (Option<f64>, Option<f64>) {
    let (min, max) = (reader.real("min", "-40"), reader.real("max", "120"));
    if let (Some(min), Some(max)) = (min, max)
        && min >= max
    {
        reader.problem("max", format!("{max} is not above min = {min}."), "Write the higher bound as max.");
    }
    (min, max)
}
