//! `fieldgate queue ls`: from the books, so that it is quick on a queue of any size.

use std::fmt::Write as _;

use super::verify::{consumed, produced};
use super::{Trouble, say, warn_of_age};
use crate::store::queue::look::overview::{Overview, overview};
use crate::store::queue::look::{self, Source, records};
use crate::store::queue::statement;

/// As many records of each kind are told.
const SHOWN: u32 = 50;

pub(super) fn ls(source: &Source) -> Result<bool, Trouble> {
    let connection = look::open(source)?;
    warn_of_age(source);
    let mut out = in_words(&overview(&connection)?);
    let drops = records::drops(&connection, None)?;
    for drop in drops.iter().take(SHOWN as usize) {
        let _ = writeln!(out, "{}", drop_in_words(drop));
    }
    if drops.len() > SHOWN as usize {
        let _ = writeln!(out, "older drops: fieldgate queue show stream NAME");
    }
    let gaps = records::gaps(&connection, None, SHOWN)?;
    for gap in &gaps {
        let _ = writeln!(out, "{}", gap_in_words(gap));
    }
    if gaps.len() == SHOWN as usize {
        let _ = writeln!(out, "older gaps: fieldgate queue verify");
    }
    let aside = records::set_aside(&connection, i64::MIN, SHOWN)?;
    for aside in &aside {
        let records::SetAside { id, destination, stream, sequence, reason, .. } = aside;
        let _ = writeln!(out, "set aside {id}: {destination} refuses {stream} number {sequence}: {reason}");
    }
    if aside.len() == SHOWN as usize {
        let _ = writeln!(out, "all that is set aside: fieldgate queue export --only set-aside");
    }
    say(&out)?;
    Ok(true)
}

pub(super) fn drop_in_words(drop: &records::GivenUp) -> String {
    let records::GivenUp { destination, stream, reason, count, range, last } = drop;
    let range = range.map_or(String::new(), |range| format!(", {range}"));
    format!("dropped for {destination}: {count} of {stream}, {reason}{range}, last {last}")
}

pub(super) fn gap_in_words(gap: &records::Gap) -> String {
    let records::Gap { stream, kind, reason, sequences, count, times } = gap;
    let of = stream.as_deref().unwrap_or("all streams");
    let count = count.map_or("an unknown number".to_owned(), |n| n.to_string());
    let numbers = match sequences {
        Some((first, last)) if first == last => format!(", number {first}"),
        Some((first, last)) => format!(", numbers {first} to {last}"),
        None => String::new(),
    };
    let (from, to) = times;
    let during = if from == to { format!("at {from}") } else { format!("from {from} to {to}") };
    format!("{kind}, {reason}: {count} of {of}{numbers}, {during}")
}

fn in_words(view: &Overview) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", produced(view.intake));
    for destination in &view.destinations {
        let gone = if destination.removed { " (no longer configured)" } else { "" };
        let _ = writeln!(out, "{}{gone}: {}", destination.name, consumed(&destination.totals));
        for waits in &destination.waits {
            let oldest = waits.oldest.as_ref().map_or(String::new(), |(segment, time)| {
                format!(", the oldest in segment {segment} of {time}")
            });
            let _ = writeln!(out, "  {}: {} wait{oldest}", waits.class.name(), waits.count);
        }
    }
    if view.destinations.is_empty() {
        let _ =
            writeln!(out, "no destination: what is accepted goes nowhere. Configure [golioth] or [[mqtt]]");
    }
    for statement in &view.statements {
        let _ = writeln!(out, "{}", statement::in_words(statement));
    }
    out
}
