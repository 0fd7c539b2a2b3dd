//! `fieldgate queue ls | verify`: what waits, and whether the books agree with it. Read-only, beside a running daemon.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Subcommand;

use super::queue_file;
use crate::config::Config;
use crate::store::queue::Totals;
use crate::store::queue::verify::detail::StreamBooks;
use crate::store::queue::verify::{Verified, verify};

/// What to do with the queue.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// What waits for each destination, and what was lost.
    Ls,
    /// Decode every segment, recount every book, and say where they disagree.
    Verify {
        /// Another file than the configured one.
        #[arg(long, value_name = "FILE")]
        file: Option<std::path::PathBuf>,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn queue(config: &Config, command: &Command) -> ExitCode {
    let path = match command {
        Command::Verify { file: Some(file), .. } => file.clone(),
        _ => queue_file(config),
    };
    if !path.exists() {
        eprintln!(
            "{} does not exist: the daemon has not run here yet. Start it, or give --file",
            path.display()
        );
        return ExitCode::FAILURE;
    }
    match verify(&path) {
        Ok(verified) => {
            let json = matches!(command, Command::Verify { json: true, .. });
            if json {
                println!("{}", as_json(&verified));
            } else {
                print!("{}", in_words(&verified, matches!(command, Command::Ls)));
            }
            if verified.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn in_words(v: &Verified, short: bool) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let intake = v.intake;
    let _ = writeln!(
        out,
        "produced {} = accepted {} + refused {} + coalesced {} + missed {}",
        intake.accepted + intake.refused + intake.coalesced + intake.missed,
        intake.accepted,
        intake.refused,
        intake.coalesced,
        intake.missed
    );
    for (name, t) in &v.destinations {
        let _ = writeln!(
            out,
            "{name}: accepted {} = acknowledged {} + dropped {} + set aside {} + queued {}",
            t.accepted, t.acknowledged, t.dropped, t.set_aside, t.queued
        );
    }
    for ((kind, reason), count) in &v.gaps {
        let count = count.map_or("an unknown number".to_owned(), |n| n.to_string());
        let _ = writeln!(out, "{kind}, {reason}: {count}");
    }
    for refused in &v.set_aside {
        let _ = writeln!(out, "set aside, {refused}");
    }
    for statement in &v.statements {
        let _ = writeln!(out, "statement: {statement}");
    }
    if !short {
        let _ = writeln!(out, "{} segments, {} readings decoded", v.segments, v.rows);
    }
    for problem in &v.problems {
        let _ = writeln!(out, "PROBLEM: {problem}");
    }
    if v.problems.is_empty() && !short {
        let _ = writeln!(out, "The books agree with what is there.");
    }
    out
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
        "name": stream.name, "group": stream.group, "alias": stream.alias,
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
        .collect::<serde_json::Map<_, _>>()
        .into()
}
