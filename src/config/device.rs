//! A device's register map: what a maker says where in its registers, as a file that serves every such device.
//!
//! A file in `devices/` is one kind of device. It is validated once, by the same rules as the points of a slave; a
//! [`DeviceMap`] in hand has passed every check. Invariants: points do not overlap but as different bits of one register,
//! every point can be read within what the device takes, and the range in which a value is plausible can be reached.

use core::time::Duration;

use fieldgate_sensor_inputs::meaning::Plausible;
use fieldgate_sensor_inputs::modbus::{Bits, Forbidden, Layout, Limits, ReadsRefused, Span, reads};

use super::model::{Class, Parity, Table, ValueType, WordOrder};
use super::problem::{Findings, Place, Refused, Taken};
use super::reader::{Numbers, Reader};
use super::sections::bus::{NAME_REMEDY, PARITIES};
use super::sections::{gateway, measure};
use super::{tree, words};

/// Most points of one device.
const MOST_POINTS: usize = 512;
/// Most ranges that must not be read.
const MOST_FORBIDDEN: usize = 64;
/// No register holds values that differ by less, or more, than this from one to the next.
const SCALES: core::ops::RangeInclusive<f64> = 1e-9..=1e9;

/// The register map of one kind of device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceMap {
    /// Who makes it. Required.
    pub vendor: String,
    /// What the maker calls it. Required.
    pub model: String,
    /// The maker's document that the map follows. Required.
    pub source: String,
    /// Bits per second as delivered. Default 9600.
    pub baud: u32,
    /// As delivered. Default none.
    pub parity: Parity,
    /// As delivered. Default 1.
    pub stop_bits: u8,
    /// Modbus address as delivered, 1 to 247. Default 1.
    pub unit: u8,
    /// What the device takes in one request. Default: what the protocol allows, no gaps, nothing forbidden.
    pub limits: Limits,
    /// `[[point]]`, in the order written; at least one.
    pub points: Vec<DevicePoint>,
}

/// `[[point]]`: one value. Of a number it is `raw × scale + offset`, in `unit`.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePoint {
    /// Name, unique in the map; last part of the stream's name. Required.
    pub stream: String,
    /// Which of the four tables. Required.
    pub table: Table,
    /// Address of the first register or bit, counted from 0. Required.
    pub register: u16,
    /// `type`, `order`, `bits` and, for text, `registers`.
    pub layout: Layout,
    /// Factor on the raw value. Default 1.
    pub scale: f64,
    /// Added after the factor, in `unit`. Default 0.
    pub offset: f64,
    /// UCUM unit. Default empty.
    pub unit: String,
    /// Smallest step that means something, in `unit`. Default |scale| for whole numbers, else `None`.
    pub resolution: Option<f64>,
    /// Raw values that mean "no value"; for floats the bit pattern. Default none.
    pub sentinels: Vec<i128>,
    /// The range in which a value is plausible, in `unit`. Default open.
    pub plausible: Plausible,
    /// Class the readings are accepted under. Default telemetry.
    pub class: Class,
    /// How often it is read where the slave says nothing else. Default: with all others.
    pub period: Option<Duration>,
}

impl DevicePoint {
    /// The addresses it takes.
    #[must_use]
    pub fn span(&self) -> Span {
        Span { table: self.table, first: self.register, count: self.layout.addresses() }
    }
}

/// Validates the text of a register map; `name` is the file as messages are to show it.
///
/// # Errors
/// Every problem that was found, with its line and what to do about it. A text that is not TOML is refused alone.
pub fn device_map(name: &str, text: &str) -> Result<DeviceMap, Refused> {
    let findings = Findings::new(vec![name.to_owned()]);
    let root = tree::read(0, text, &findings);
    if findings.any_problem() {
        return Err(Refused(findings.into_sorted().0));
    }
    let map = read(Reader::new(&root, "", &findings), &findings);
    // What is allowed but probably not meant has no place in a file that serves many.
    let (mut problems, warnings) = findings.into_sorted();
    problems.extend(warnings);
    if problems.is_empty() { Ok(map) } else { Err(Refused(problems)) }
}

fn read(mut root: Reader<'_>, findings: &Findings) -> DeviceMap {
    let mut line = |key, example, noun| {
        let remedy = "Use one line of at most 200 characters.";
        let text = root.required_text(key, example, |text| words::is_line(text, 200), noun, remedy);
        text.map_or_else(String::new, |found| found.value.to_owned())
    };
    let vendor = line("vendor", "\"Eastron\"", "a maker");
    let model = line("model", "\"SDM630\"", "a model");
    let source = line("source", "\"SDM630 Modbus Protocol V1.7\"", "a document");
    let baud = gateway::baud(&mut root, 9_600);
    let mut number = |key, example, noun, range, default: u32| {
        root.number(key, example, &Numbers { noun, range }).unwrap_or(default)
    };
    let stop_bits = number("stop_bits", "1", "a number of stop bits", 1..=2, 1);
    let unit = number("unit", "1", "a Modbus unit", 1..=247, 1);
    let registers = number("most_registers", "60", "a number of registers", 1..=125, 125);
    let bits = number("most_bits", "16", "a number of bits", 1..=2_000, 2_000);
    let gap = number("gap", "4", "a number of addresses", 0..=124, 0);
    let parity = root.choice("parity", "a parity", &PARITIES).unwrap_or(Parity::None);
    let forbidden = root.tables("forbidden");
    if forbidden.len() > MOST_FORBIDDEN {
        root.problem("forbidden", "these are too many.", format!("Write at most {MOST_FORBIDDEN}."));
    }
    let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let limits = Limits {
        registers: small(registers),
        bits: small(bits),
        gap: small(gap),
        forbidden: forbidden.into_iter().filter_map(forbid).collect(),
    };
    let points = root.tables("point");
    match points.len() {
        0 => root.problem("point", "a device without points says nothing.", "Add [[point]]."),
        count if count > MOST_POINTS => {
            let what = format!("{count} points are too many.");
            root.problem("point", what, format!("Write at most {MOST_POINTS}."));
        }
        _ => {}
    }
    root.finish();
    let mut names = Taken::default();
    let points: Vec<Found> =
        points.into_iter().filter_map(|reader| point(reader, &mut names, findings)).collect();
    overlaps(&points, findings);
    within_limits(&points, &limits, findings);
    DeviceMap {
        vendor,
        model,
        source,
        baud,
        parity,
        stop_bits: u8::try_from(stop_bits).unwrap_or(1),
        unit: u8::try_from(unit).unwrap_or(1),
        limits,
        points: points.into_iter().map(|found| found.point).collect(),
    }
}

/// A point and the line of its register.
struct Found {
    point: DevicePoint,
    at: Place,
}

fn forbid(mut reader: Reader<'_>) -> Option<Forbidden> {
    let table = measure::table(&mut reader);
    let numbers = Numbers { noun: "an address counted from 0", range: 0..=65_535 };
    let mut address = |key, example| {
        if !reader.has(key) {
            reader.missing(key, example);
        }
        reader.number(key, example, &numbers).and_then(|number| u16::try_from(number).ok())
    };
    let (first, last) = (address("first", "100"), address("last", "199"));
    if let (Some(first), Some(last)) = (first, last)
        && first > last
    {
        reader.problem(
            "last",
            format!("{last} is below first = {first}."),
            "Write the higher address as last.",
        );
    }
    reader.finish();
    Some(Forbidden { table: table?, first: first?, last: last? })
}

/// `None` after a problem with where it lies and how.
fn point(mut reader: Reader<'_>, names: &mut Taken, findings: &Findings) -> Option<Found> {
    let name = reader.required_text("stream", "\"temperature\"", words::is_name, "a name", NAME_REMEDY);
    let stream = name.map_or("", |found| found.value).to_owned();
    let remedy = "Give each point of a device its own name.";
    names.claim(findings, &stream, reader.place("stream"), &reader.path("stream"), remedy);
    let table = measure::table(&mut reader);
    let kind = kind(&mut reader, table);
    let order = measure::order(&mut reader);
    let layout = layout(&mut reader, kind, order);
    let register = measure::register(&mut reader, table, layout.map(Layout::addresses));
    let at = reader.place("register");
    let (scale, offset) = measure::scaling(&mut reader);
    if scale != 0.0 && !SCALES.contains(&scale.abs()) {
        let remedy = "Write what one step of the raw value is worth, such as scale = 0.1.";
        reader.problem("scale", format!("{scale:e} is no scale of a register."), remedy);
    }
    let unit = measure::unit(&mut reader);
    let resolution = measure::resolution(&mut reader);
    let range = layout.and_then(raw_range);
    let sentinels = measure::sentinels(&mut reader, range.clone());
    let (min, max) = measure::plausible(&mut reader);
    let plausible = Plausible::new(min, max).unwrap_or_default();
    if let (Some(range), Some(layout)) = (&range, layout)
        && !is_float(layout)
    {
        let (low, high) = (*range.start() as f64 * scale + offset, *range.end() as f64 * scale + offset);
        let (low, high) = (low.min(high), low.max(high));
        if !plausible.meets(low, high) {
            let key = if reader.has("min") { "min" } else { "max" };
            let what =
                format!("no raw value gives a plausible one: the type and the scale give {low} to {high}.");
            reader.problem(key, what, "Correct scale, offset, type, or the range.");
        }
    }
    let class = measure::class(&mut reader);
    let period = reader.entry("period").is_some().then(|| reader.duration("period", "1s", "50ms"..="24h"));
    if layout.is_some() && range.is_none() {
        for key in ["order", "scale", "offset", "unit", "resolution", "sentinel", "min", "max"] {
            let is_meant =
                key == "order" && matches!(layout, Some(Layout::Text { .. } | Layout::Field { .. }));
            if reader.has(key) && !is_meant {
                reader.problem(key, "a bit and a text have no such thing.", format!("Remove {key}."));
            }
        }
    }
    reader.finish();
    let (table, layout) = (table?, layout?);
    let is_whole = range.is_some() && !is_float(layout);
    let resolution = resolution.or(is_whole.then_some(scale.abs()));
    let point = DevicePoint {
        stream,
        table,
        register,
        layout,
        scale,
        offset,
        unit,
        resolution,
        sentinels,
        plausible,
        class,
        period,
    };
    Some(Found { point, at })
}

/// What `type` says.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Value(ValueType),
    Text,
}

fn kind(reader: &mut Reader<'_>, table: Option<Table>) -> Option<Kind> {
    let is_bits = table.map(Table::is_bits);
    if reader.entry("type").is_none() {
        match is_bits {
            Some(true) => return Some(Kind::Value(ValueType::Bool)),
            Some(false) => reader.missing("type", "\"uint16\""),
            None => {}
        }
    }
    let mut choices = measure::TYPES.map(|(word, value_type)| (word, Kind::Value(value_type))).to_vec();
    choices.push(("text", Kind::Text));
    let kind = reader.choice("type", "a value type", &choices)?;
    match (is_bits?, kind == Kind::Value(ValueType::Bool)) {
        (true, false) => {
            let remedy = "Write type = \"bool\" or leave it out.";
            reader.problem("type", "coils and discrete inputs hold bits.", remedy);
            None
        }
        (false, true) => {
            let remedy = "Write type = \"uint16\" and bits = [0], with the bit's number.";
            reader.problem("type", "registers hold numbers; a flag is one bit of one.", remedy);
            None
        }
        _ => Some(kind),
    }
}

fn layout(reader: &mut Reader<'_>, kind: Option<Kind>, order: WordOrder) -> Option<Layout> {
    let registers = Numbers { noun: "a number of registers", range: 1..=125 };
    let registers = reader.number("registers", "8", &registers).and_then(|count| u8::try_from(count).ok());
    let bits = reader.integers("bits", "[0, 3]");
    match kind? {
        Kind::Text => {
            if !reader.has("registers") {
                reader.missing("registers", "8");
            }
            if bits.is_some() {
                reader.problem("bits", "a text has no bits.", "Remove bits.");
            }
            Some(Layout::Text { registers: registers?, order })
        }
        Kind::Value(value_type) => {
            if reader.has("registers") {
                reader.problem("registers", "the type says how many it takes.", "Remove registers.");
            }
            let Some(bits) = bits else {
                return Some(Layout::Number { value_type, order });
            };
            let numbers: Vec<_> = bits.iter().filter_map(|bit| u8::try_from(bit.value).ok()).collect();
            let (first, last) = match numbers[..] {
                [one] if bits.len() == 1 => (one, one),
                [first, last] if bits.len() == 2 => (first, last),
                _ => {
                    let remedy =
                        "Write the first and the last, such as bits = [0, 3], or one, such as bits = [5].";
                    reader.problem("bits", "these are no bits.", remedy);
                    return None;
                }
            };
            match Bits::new(value_type, first, last) {
                Ok(bits) => Some(Layout::Field { value_type, order, bits }),
                Err(refused) => {
                    reader.problem(
                        "bits",
                        format!("{refused}."),
                        "Bits count from the least significant, 0.",
                    );
                    None
                }
            }
        }
    }
}

fn is_float(layout: Layout) -> bool {
    matches!(layout, Layout::Number { value_type, .. } if value_type.is_float())
}

/// The raw values it can carry, if it is a number.
fn raw_range(layout: Layout) -> Option<core::ops::RangeInclusive<i128>> {
    match layout {
        Layout::Number { value_type, .. } => value_type.raw_range(),
        Layout::Field { bits, .. } => {
            let count = u32::from(bits.range().end() - bits.range().start()) + 1;
            (count > 1).then(|| 0..=(1i128 << count) - 1)
        }
        Layout::Text { .. } => None,
    }
}

/// Refuses points that share an address, but for different bits of the same number.
fn overlaps(points: &[Found], findings: &Findings) {
    for (index, found) in points.iter().enumerate() {
        let before = points.iter().take(index);
        if let Some(other) = before.into_iter().find(|other| collide(&found.point, &other.point)) {
            let span = found.point.span();
            let last = u32::from(span.first) + u32::from(span.count).saturating_sub(1);
            let which = match span.count {
                1 => format!("address {} is", span.first),
                _ => format!("addresses {} to {last} are", span.first),
            };
            let first = findings.name(other.at);
            let what = format!("{which} also read as \"{}\" at {first}.", other.point.stream);
            let remedy = "Correct register or type; parts of one register are read with bits.";
            findings.problem(found.at, "point.register", what, remedy);
        }
    }
}

fn collide(a: &DevicePoint, b: &DevicePoint) -> bool {
    let (one, two) = (a.span(), b.span());
    let end = |span: Span| u32::from(span.first) + u32::from(span.count);
    if one.table != two.table || end(one) <= u32::from(two.first) || end(two) <= u32::from(one.first) {
        return false;
    }
    match (a.layout, b.layout) {
        (
            Layout::Field { value_type, order, bits },
            Layout::Field { value_type: other_type, order: other_order, bits: other },
        ) => {
            let are_parts = one == two && value_type == other_type && order == other_order;
            let (bits, other) = (bits.range(), other.range());
            !are_parts || (bits.start() <= other.end() && other.start() <= bits.end())
        }
        _ => true,
    }
}

/// Refuses the first point that no request could read.
fn within_limits(points: &[Found], limits: &Limits, findings: &Findings) {
    let spans: Vec<Span> = points.iter().map(|found| found.point.span()).collect();
    let (index, remedy) = match reads(&spans, limits) {
        // What does not fit into its table was refused where it is read.
        Ok(_) | Err(ReadsRefused::NoPlace(_)) => return,
        Err(ReadsRefused::TooLong(index)) => (index, "Raise most_registers, if the device takes more."),
        Err(ReadsRefused::Forbidden(index)) => (index, "Correct register, or [[forbidden]]."),
    };
    let why = reads(&spans, limits).map_or_else(|refused| format!("{refused}."), |_| String::new());
    if let Some(found) = points.get(index) {
        findings.problem(found.at, "point.register", why, remedy);
    }
}
