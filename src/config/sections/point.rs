//! `[[bus.slave.point]]`: one value in a register map.

use super::bus::NAME_REMEDY;
use super::{Context, measure};
use crate::config::model::{Class, Point, Table, ValueType};
use crate::config::problem::quote;
use crate::config::reader::Reader;
use crate::config::words;

/// Most points on the whole gateway.
const MOST_POINTS: usize = 4096;

/// Names that mean something else in the message: keys of the envelope a batch travels in, and what a cloud would take for
/// the time.
const RESERVED_ALIASES: [&str; 15] =
    ["b", "e", "ep", "loss", "ls", "m", "o", "pe", "q", "s", "t", "time", "timestamp", "ts", "u"];

/// Keys that say how a number is made from a raw value: a bit has none of it.
const NUMBER_KEYS: [&str; 8] =
    ["order", "scale", "offset", "resolution", "sentinel", "min", "max", "thin_band"];

pub(super) fn point(mut reader: Reader<'_>, slave: &str, context: &mut Context<'_>) -> Point {
    context.points += 1;
    if context.points == MOST_POINTS + 1 {
        let what = format!("this is point {} of the gateway.", context.points);
        reader.problem("stream", what, format!("Configure at most {MOST_POINTS}."));
    }
    let (stream, alias) = names(&mut reader, slave, context);
    let table = measure::table(&mut reader);
    let value_type = value_type(&mut reader, table);
    let register = measure::register(&mut reader, table, value_type.map(ValueType::addresses));
    let order = measure::order(&mut reader);
    let (scale, offset) = measure::scaling(&mut reader);
    let unit = measure::unit(&mut reader);
    let is_integer = value_type.is_some_and(|kind| !kind.is_float() && kind != ValueType::Bool);
    let resolution = measure::resolution(&mut reader).or(is_integer.then_some(scale.abs()));
    let sentinels = measure::sentinels(&mut reader, value_type.and_then(ValueType::raw_range));
    let class = measure::class(&mut reader);
    let latest_only = reader.choice("coalesce", "a way to coalesce", &[("latest", ())]).is_some();
    if latest_only && !class.waits_for_window() {
        let what = format!("each {} counts.", class.name());
        reader.problem("coalesce", what, "Remove coalesce, or give the point another class.");
    }
    let thin_band = thin_band(&mut reader, class);
    let routes = routes(&mut reader, context);
    let (min, max) = measure::plausible(&mut reader);
    if value_type == Some(ValueType::Bool) {
        for key in NUMBER_KEYS.into_iter().filter(|key| reader.has(key)) {
            reader.problem(key, "a bit has no such thing.", format!("Remove {key}."));
        }
    }
    reader.finish();
    Point {
        stream,
        alias,
        table: table.unwrap_or(Table::Holding),
        register,
        value_type: value_type.unwrap_or(ValueType::Uint16),
        order,
        scale,
        offset,
        unit,
        resolution,
        sentinels,
        class,
        latest_only,
        thin_band,
        routes,
        min,
        max,
    }
}

/// The full stream name and its name on the wire, both unique; empty after a problem.
fn names(reader: &mut Reader<'_>, slave: &str, context: &mut Context<'_>) -> (String, String) {
    let name = reader.required_text("stream", "\"temperature\"", words::is_name, "a name", NAME_REMEDY);
    let stream = match name {
        Some(name) if !slave.is_empty() => format!("{slave}.{}", name.value),
        _ => String::new(),
    };
    let stream_at = reader.place("stream");
    let path = reader.path("stream");
    let remedy = "Give each stream of a slave its own name.";
    let is_new = context.streams.claim(context.findings, &stream, stream_at, &path, remedy);

    let alias = reader.text(
        "alias",
        "\"tmp\"",
        |text| words::is_name(text) && text.len() <= 32,
        "an alias",
        "Use 1 to 32 letters, digits, _ and -, beginning with a letter or a digit.",
    );
    // Derived from this name alone: were it shortened against the others, adding a stream could rename one.
    let alias = match alias {
        Some(alias) => alias.value.to_owned(),
        None if reader.has("alias") => String::new(),
        None => stream.replace('.', "_"),
    };
    let path = reader.path("alias");
    if RESERVED_ALIASES.contains(&alias.as_str()) {
        let what = format!("\"{alias}\" has a meaning of its own in the message.");
        let remedy = format!("Use a name that is not one of {}.", RESERVED_ALIASES.join(" "));
        reader.problem("alias", what, remedy);
    } else if reader.has("alias") {
        let remedy = "Give each stream its own alias.";
        context.aliases.claim(context.findings, &alias, reader.place("alias"), &path, remedy);
    } else if is_new {
        // Two streams of one name have been told about already.
        let remedy = "Write another alias: this one was made from the stream's name.";
        context.aliases.claim(context.findings, &alias, stream_at, &path, remedy);
    }
    (stream, alias)
}

/// `None` after a problem.
fn value_type(reader: &mut Reader<'_>, table: Option<Table>) -> Option<ValueType> {
    let is_bits = table.map(Table::is_bits);
    if !reader.has("type") {
        match is_bits {
            Some(true) => return Some(ValueType::Bool),
            Some(false) => reader.missing("type", "\"uint16\""),
            None => {}
        }
    }
    let value_type = reader.choice("type", "a value type", &measure::TYPES)?;
    match (is_bits?, value_type == ValueType::Bool) {
        (true, false) => {
            reader.problem(
                "type",
                "coils and discrete inputs hold bits.",
                "Write type = \"bool\" or leave it out.",
            );
            None
        }
        (false, true) => {
            let remedy = "Use table = \"coil\" or \"discrete\", or a type such as \"uint16\".";
            reader.problem("type", "registers hold numbers, not a bit.", remedy);
            None
        }
        _ => Some(value_type),
    }
}

fn thin_band(reader: &mut Reader<'_>, class: Class) -> Option<f64> {
    let band = reader.real("thin_band", "0.5")?;
    if class != Class::Telemetry {
        let what = format!("{} is never thinned.", class.name());
        reader.problem("thin_band", what, "Remove thin_band.");
    } else if band < 0.0 {
        reader.problem(
            "thin_band",
            format!("{band} is not a distance."),
            "Write thin_band = 0.5, for example.",
        );
    }
    Some(band)
}

fn routes(reader: &mut Reader<'_>, context: &Context<'_>) -> Vec<String> {
    let Some(found) = reader.texts("route", "[\"golioth\"]") else {
        return context.destinations.clone();
    };
    if found.is_empty() {
        reader.problem("route", "this list is empty.", "Name a destination, or leave route out for all.");
    }
    let known: Vec<_> = context.destinations.iter().filter(|name| !name.is_empty()).cloned().collect();
    let mut routes: Vec<String> = Vec::new();
    for name in found {
        let what = if !known.iter().any(|known| known == name.value) {
            format!("{} is not a destination.", quote(name.value))
        } else if routes.iter().any(|route| route == name.value) {
            format!("{} is named twice.", quote(name.value))
        } else {
            routes.push(name.value.to_owned());
            continue;
        };
        let remedy = match words::nearest(name.value, known.iter().map(String::as_str)) {
            Some(near) if near != name.value => format!("Did you mean \"{near}\"? "),
            _ => String::new(),
        };
        let list = match known.is_empty() {
            true => "There is none: configure [golioth] or [[mqtt]].".to_owned(),
            false => format!("Destinations are: {}.", known.join(", ")),
        };
        reader.item_problem("route", name.at, what, remedy + &list);
    }
    routes
}

#[cfg(test)]
mod tests {
    use fieldgate_golioth_proto::rows::validate_alias;

    #[test]
    fn every_alias_that_the_message_refuses_is_refused_here_already() {
        for name in super::RESERVED_ALIASES {
            assert!(validate_alias(name).is_err(), "{name} is refused for nothing");
        }
        let letters = 'a'..='z';
        let all = letters.clone().flat_map(|a| letters.clone().map(move |b| format!("{a}{b}")));
        for name in letters.clone().map(String::from).chain(all) {
            let refused = super::RESERVED_ALIASES.contains(&name.as_str());
            assert_eq!(refused, validate_alias(&name).is_err(), "{name}");
        }
    }
}
