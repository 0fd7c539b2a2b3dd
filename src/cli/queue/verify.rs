//! `fieldgate queue verify`: both sides of the equations for each (destination, stream, class), and what does not close.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Trouble, say, warn_of_age};
use crate::gather::Gather;
use crate::store::queue::Totals;
use crate::store::queue::look::{self, Source};
use crate::store::queue::statement;
use crate::store::queue::verify::detail::StreamBooks;
use crate::store::queue::verify::{Verified, recount};

pub(super) fn verify(source: &Source, json: bool) -> Result<bool, Trouble> {
    let connection = look::open(source)?;
    warn_of_age(source);
    let verified = recount(&connection, source)?;
    if json {
        say(&format!("{}\n", as_json(&verified)))?;
    } else {
        say(&in_words(&verified))?;
    }
    Ok(verified.problems.is_empty())
}

fn in_words(v: &Verified) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", produced(v.intake));
    for (name, totals) in &v.destinations {
        let _ = writeln!(out, "{name}: {}", consumed(totals));
    }
    for stream in v.detail.streams.values() {
        let _ = writeln!(out, "  {} ({}): {}", stream.name, stream.class.name(), produced(stream.intake));
        for (name, totals) in &stream.accounts {
            let _ = writeln!(out, "    {name}: {}", consumed(totals));
        }
    }
    for ((kind, reason), count) in &v.gaps {
        let count = count.map_or("an unknown number".to_owned(), |n| n.to_string());
        let _ = writeln!(out, "{kind}, {reason}: {count}");
    }
    for refused in &v.set_aside {
        let _ = writeln!(out, "set aside, {refused}");
    }
    for statement in &v.statements {
        let _ = writeln!(out, "{}", statement::in_words(statement));
    }
    let _ = writeln!(out, "{} segments, {} readings decoded", v.segments, v.rows);
    for problem in &v.problems {
        let _ = writeln!(out, "PROBLEM: {problem}");
    }
    if !v.whole_file {
        let _ = writeln!(
            out,
            "Beside a daemon SQLite's own check leaves the segments out: it would hold the log for long. For all of it: fieldgate \
             queue snapshot FILE, and: fieldgate queue verify --file FILE"
        );
    }
    if v.problems.is_empty() {
        let _ = writeln!(out, "The books agree with what is there.");
    } else {
        let _ = writeln!(
            out,
            "The books do not close. Nothing was changed. Keep a copy (fieldgate queue snapshot FILE) for whoever looks into it."
        );
    }
    out
}

pub(super) fn produced(t: Totals) -> String {
    format!(
        "produced {} = accepted {} + refused {} + coalesced {} + missed {}",
        t.accepted + t.refused + t.coalesced + t.missed,
        t.accepted,
        t.refused,
        t.coalesced,
        t.missed
    )
}

pub(super) fn consumed(t: &Totals) -> String {
    let sum = t.acknowledged + t.dropped + t.set_aside + t.queued;
    let relation = if sum == t.accepted { "=" } else { "IS NOT" };
    format!(
        "accepted {} {relation} acknowledged {} + dropped {} + set aside {} + queued {}",
        t.accepted, t.acknowledged, t.dropped, t.set_aside, t.queued
    )
}

fn as_json(v: &Verified) -> serde_json::Value {
    let gaps: Vec<serde_json::Value> = v
        .gaps
        .iter()
        .map(|((kind, reason), count)| serde_json::json!({ "kind": kind, "reason": reason, "count": count }))
        .collect();
    serde_json::json!({
        "intake": {
            "accepted": v.intake.accepted, "refused": v.intake.refused,
            "coalesced": v.intake.coalesced, "missed": v.intake.missed,
        },
        "destinations": accounts_json(&v.destinations),
        "gaps": gaps,
        "streams": v.detail.streams.values().map(stream_json).collect::<Vec<_>>(),
        "epochs": v.detail.epochs.iter().map(|e| serde_json::json!({
            "epoch": e.epoch.to_string(), "clean_stop": e.clean_stop, "last_sequences": e.last_sequences,
        })).collect::<Vec<_>>(),
        "gap_records": v.detail.gaps.iter().map(|g| serde_json::json!({
            "stream": g.stream, "kind": g.kind, "reason": g.reason, "epoch": g.epoch.map(|e| e.to_string()),
            "sequences": g.sequences, "count": g.count,
        })).collect::<Vec<_>>(),
        "held": v.detail.held.iter().map(|h| serde_json::json!({
            "destination": h.destination, "stream": h.stream, "epoch": h.epoch.map(|e| e.to_string()),
            "sequences": h.sequences, "set_aside": h.set_aside,
        })).collect::<Vec<_>>(),
        "statements": v.statements,
        "segments": v.segments,
        "rows": v.rows,
        "problems": v.problems,
    })
}

fn stream_json(stream: &StreamBooks) -> serde_json::Value {
    let intake = stream.intake;
    serde_json::json!({
        "name": stream.name, "group": stream.group, "alias": stream.alias, "class": stream.class.name(),
        "accepted": intake.accepted, "refused": intake.refused,
        "coalesced": intake.coalesced, "missed": intake.missed,
        "accounts": accounts_json(&stream.accounts),
    })
}

fn accounts_json(accounts: &BTreeMap<String, Totals>) -> serde_json::Value {
    let json = |t: &Totals| {
        serde_json::json!({
            "accepted": t.accepted, "acknowledged": t.acknowledged, "dropped": t.dropped,
            "set_aside": t.set_aside, "queued": t.queued,
        })
    };
    accounts
        .iter()
        .map(|(name, totals)| (name.clone(), json(totals)))
        .gathered::<serde_json::Map<_, _>>()
        .into()
}
