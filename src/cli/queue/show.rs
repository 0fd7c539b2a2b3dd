//! `fieldgate queue show`: one stream, segment or reading set aside: what it holds, why it waits, what was lost of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Args, Subcommand};
use rusqlite::Connection;

use super::ls::{drop_in_words, gap_in_words};
use super::verify::{consumed, produced};
use super::{Copy, Trouble, known, say, unknown, warn_of_age};
use crate::store::queue::look::walk::{Line, Segment, Told, Walk};
use crate::store::queue::look::{self, Source, records, when};
use crate::store::queue::verify::recount;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    pub(super) copy: Copy,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A stream: its books, what waits and behind what, its drops and gaps with reason and time.
    Stream {
        /// Its full name, such as boiler.flow_temperature.
        name: String,
    },
    /// A segment: the readings packed in it and where each stands.
    Segment {
        /// Its number, as `ls` and `verify` tell it.
        #[arg(value_parser = number)]
        id: i64,
    },
    /// A reading that a destination refused for its content.
    SetAside {
        /// Its number, as `ls` tells it.
        #[arg(value_parser = number)]
        id: i64,
    },
    /// Anything else: a name without a word for what it is.
    #[command(external_subcommand)]
    Unnamed(Vec<String>),
}

/// A name where a number is expected is most likely a stream's.
fn number(word: &str) -> Result<i64, String> {
    word.parse().map_err(|_| {
        format!("this is no number, as `fieldgate queue ls` tells them. If it is a stream: fieldgate queue show stream {word}")
    })
}

/// As many gap records of a stream are told.
const GAPS: u32 = 200;

pub(super) fn show(source: &Source, arguments: &Arguments) -> Result<bool, Trouble> {
    let connection = look::open(source)?;
    warn_of_age(source);
    let text = match &arguments.what {
        What::Stream { name } => {
            known(&connection, source, "stream", name)?;
            stream(&connection, source, name)?
        }
        What::Segment { id } => segment(&connection, source, *id)?,
        What::SetAside { id } => set_aside(&connection, source, *id)?,
        What::Unnamed(words) => return Err(unnamed(words)),
    };
    say(&text)?;
    Ok(true)
}

fn unnamed(words: &[String]) -> Trouble {
    let word = words.first().map_or("", String::as_str);
    let kind = if word.parse::<i64>().is_ok() { "segment" } else { "stream" };
    Trouble::Wrong(format!(
        "say what {word} is: a stream, a segment or a reading set-aside. Try: fieldgate queue show {kind} {word}"
    ))
}

/// What waits of a stream at one destination.
#[derive(Default)]
struct Waiting {
    count: u64,
    /// Readings of any stream that the destination gets first.
    before: u64,
    first: Option<(i64, u64, String)>,
    last: String,
    undated: u64,
}

fn stream(c: &Connection, source: &Source, name: &str) -> Result<String, Trouble> {
    let mut out = String::new();
    let verified = recount(c, source)?;
    for stream in verified.detail.streams.values().filter(|s| s.name == name) {
        let _ = writeln!(
            out,
            "stream {name}: {}, group {}, on the wire {}",
            stream.class.name(),
            stream.group,
            stream.alias
        );
        let _ = writeln!(out, "  {}", produced(stream.intake));
        for (destination, totals) in &stream.accounts {
            let _ = writeln!(out, "  {destination}: {}", consumed(totals));
        }
    }
    for (destination, waiting) in waiting(c, name)? {
        let Some((segment, sequence, time)) = &waiting.first else { continue };
        let _ = writeln!(
            out,
            "{destination}: {} wait, captured from {time} to {}; the oldest is number {sequence} in segment {segment}",
            waiting.count, waiting.last
        );
        let _ = writeln!(
            out,
            "  {} readings are sent before it: more urgent classes, then older ones",
            waiting.before
        );
        if waiting.undated > 0 {
            let _ = writeln!(
                out,
                "  {} are not dated: nothing has vouched for the clock since they were captured; they wait for that up to \
                 time.hold_untrusted",
                waiting.undated
            );
        }
        let _ = writeln!(out, "  why nothing is sent just now, if so: fieldgate status");
    }
    for drop in records::drops(c, Some(name))? {
        let _ = writeln!(out, "{}", drop_in_words(&drop));
    }
    for gap in records::gaps(c, Some(name), GAPS)? {
        let _ = writeln!(out, "{}", gap_in_words(&gap));
    }
    let mut after = i64::MIN;
    loop {
        let some = records::set_aside(c, after, 64)?;
        let Some(last) = some.last() else { break };
        after = last.id;
        for aside in some.iter().filter(|aside| aside.stream == name) {
            let _ = writeln!(
                out,
                "set aside {}: {} refuses number {}: {}",
                aside.id, aside.destination, aside.sequence, aside.reason
            );
        }
    }
    Ok(out)
}

/// By destination name. Walks the whole queue, one segment in memory at a time.
fn waiting(c: &Connection, name: &str) -> Result<BTreeMap<String, Waiting>, Trouble> {
    let mut walk = Walk::new(c)?;
    let destinations = walk.destinations().to_vec();
    let mut found: BTreeMap<String, Waiting> = BTreeMap::new();
    while let Some(segment) = walk.next_segment()? {
        for row in &segment.rows {
            let is_ours = walk.stream(segment.id, row.sample.stream)?.name == name;
            for (destination, destination_name) in &destinations {
                if !walk.waits(&segment, row, *destination) {
                    continue;
                }
                let waiting = found.entry(destination_name.clone()).or_default();
                if !is_ours {
                    waiting.before += u64::from(waiting.first.is_none());
                    continue;
                }
                waiting.count += 1;
                waiting.undated += u64::from(segment.epoch.wall_offset_ms.is_none());
                waiting.last = when(Some(&segment.epoch), row.at);
                if waiting.first.is_none() {
                    waiting.first = Some((segment.id, row.sequence, waiting.last.clone()));
                }
            }
        }
    }
    Ok(found)
}

fn segment(c: &Connection, source: &Source, id: i64) -> Result<String, Trouble> {
    let mut walk = Walk::new(c)?;
    walk.go_on_after(id.saturating_sub(1));
    let Some(segment) = walk.next_segment()?.filter(|segment| segment.id == id) else {
        let next = "It was delivered and freed, or never was. What there is: fieldgate queue ls".into();
        return Err(unknown(source, "segment", &id.to_string(), next));
    };
    let mut out = String::new();
    let Segment { class, epoch, rows, .. } = &segment;
    let _ = writeln!(
        out,
        "segment {id}: {} readings of class {}, epoch {}",
        rows.len(),
        class.name(),
        epoch.epoch
    );
    let destinations = walk.destinations().to_vec();
    for (destination, name) in &destinations {
        if segment.routes & destination.bit() == 0 {
            let _ = writeln!(out, "  {name}: not for it");
            continue;
        }
        let waits = rows.iter().filter(|row| walk.waits(&segment, row, *destination)).count();
        let at = walk.cursor(*destination, *class);
        let stands =
            at.map_or(String::new(), |at| format!("; it stands at segment {} row {}", at.segment, at.row));
        let _ = writeln!(out, "  {name}: {waits} wait, {} are settled{stands}", rows.len() - waits);
    }
    for row in rows {
        let stream = walk.stream(id, row.sample.stream)?;
        let open: Vec<&str> = destinations
            .iter()
            .filter(|(destination, _)| walk.waits(&segment, row, *destination))
            .map(|(_, name)| name.as_str())
            .collect();
        let open =
            if open.is_empty() { "settled".to_owned() } else { format!("waits for {}", open.join(", ")) };
        let told = Told::of(&row.sample.value, stream.resolution);
        let _ = writeln!(
            out,
            "{:4}  {}  {} number {}: {} {}, {}; {open}",
            row.index,
            when(Some(epoch), row.at),
            stream.name,
            row.sequence,
            value(told.as_ref()),
            stream.unit,
            row.sample.quality.name()
        );
    }
    Ok(out)
}

fn set_aside(c: &Connection, source: &Source, id: i64) -> Result<String, Trouble> {
    let found = records::set_aside(c, id.saturating_sub(1), 1)?.into_iter().find(|aside| aside.id == id);
    let Some(aside) = found else {
        let next = "What is set aside: fieldgate queue ls".into();
        return Err(unknown(source, "reading set aside", &id.to_string(), next));
    };
    let time = when(aside.epoch.as_ref(), aside.at);
    let line: Line = aside.line();
    let mut out = String::new();
    let _ = writeln!(
        out,
        "set aside {id}: {} number {}, epoch {}, captured {time}",
        line.stream, line.sequence, line.epoch
    );
    let _ = writeln!(out, "  value: {} {}, {}", value(line.value.as_ref()), line.unit, line.quality);
    let _ = writeln!(out, "  {} refuses it: {}", line.destination, line.reason.unwrap_or_default());
    let _ = writeln!(
        out,
        "  it stays until somebody decides: fieldgate queue retry {id}, or: fieldgate queue drop set-aside {id}"
    );
    Ok(out)
}

fn value(told: Option<&Told>) -> String {
    match told {
        Some(Told::Integer(n)) => n.to_string(),
        Some(Told::Number(n)) => n.to_string(),
        Some(Told::Bool(b)) => b.to_string(),
        // Quoted, so that what a device says can do nothing to a terminal.
        Some(Told::Text(text)) => format!("{text:?}"),
        None => "no value".into(),
    }
}
