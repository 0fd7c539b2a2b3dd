//! The queue on the page: each destination's own account with its equation, and the store on the disk.
//!
//! Nothing is added up over destinations: one reading is in the account of each it is for.

use super::{Bounds, Mark, Row};
use crate::board::in_words;
use crate::http::damage;
use crate::http::snapshot::{Destination, Snapshot};
use crate::http::words::{bytes, given_up_why, grouped, millis};
use crate::store::queue::Health;

pub(super) fn accounts(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let mut rows = Vec::new();
    for destination in &s.destinations {
        account(destination, bounds, &mut rows);
    }
    let intake = s.queue.intake;
    let produced = intake
        .accepted
        .saturating_add(intake.refused)
        .saturating_add(intake.coalesced)
        .saturating_add(intake.missed);
    let equation = format!(
        "= accepted {} + refused {} + coalesced {} + missed {}",
        grouped(intake.accepted),
        grouped(intake.refused),
        grouped(intake.coalesced),
        grouped(intake.missed),
    );
    rows.push(bounds.row("Produced by sensors", &grouped(produced), &equation, Mark::Plain));
    if intake.refused > 0 {
        let what = "the disk could not take them";
        rows.push(bounds.row("Refused", &grouped(intake.refused), what, Mark::Look));
    }
    if intake.missed > 0 {
        let what = "were due and never came from a sensor";
        rows.push(bounds.row("Missed", &grouped(intake.missed), what, Mark::Look));
    }
    rows
}

fn account(destination: &Destination, bounds: Bounds, rows: &mut Vec<Row>) {
    let books = destination.books;
    let totals = books.totals;
    let waits = format!("{} wait", grouped(totals.queued));
    let equation = format!(
        "accepted {} = acknowledged {} + dropped {} + set aside {} + queued {}",
        grouped(totals.accepted),
        grouped(totals.acknowledged),
        grouped(totals.dropped),
        grouped(totals.set_aside),
        grouped(totals.queued),
    );
    rows.push(bounds.row(&destination.name, &waits, &equation, Mark::Plain));
    let dropped = [
        ("Lost", books.lost(), given_up_why(&destination.given_up), Mark::Look),
        (
            "Replaced by newer",
            books.superseded,
            "the newest value was sent, as these streams ask for: no loss".to_owned(),
            Mark::Plain,
        ),
        (
            "Thinned",
            books.thinned,
            "left out for the data plan and declared at the cloud: no loss".to_owned(),
            Mark::Plain,
        ),
        (
            "Given up by people",
            books.by_people,
            "by a command, or because the destination was taken out of the configuration".to_owned(),
            Mark::Plain,
        ),
    ];
    for (label, count, why, mark) in dropped.into_iter().filter(|(_, count, ..)| *count > 0) {
        rows.push(bounds.row(label, &grouped(count), &format!("of the dropped: {why}"), mark));
    }
    if totals.set_aside > 0 {
        let what = format!("{} refused their content: kept for people", destination.name);
        rows.push(bounds.row("Set aside", &grouped(totals.set_aside), &what, Mark::Look));
    }
}

pub(super) fn store(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let queue = &s.queue;
    let (word, mark, note) = match &queue.health {
        Health::Good => ("Accepting", Mark::Fine, String::new()),
        Health::DiskFull => ("Disk full", Mark::Bad, "new readings are refused".to_owned()),
        Health::ReadOnly => ("Read-only", Mark::Bad, "new readings are refused".to_owned()),
        Health::Faulty(detail) => ("Disk fault", Mark::Bad, detail.clone()),
    };
    let percent = queue.used_bytes.saturating_mul(100).checked_div(queue.max_bytes).unwrap_or(0);
    let mut rows = vec![
        bounds.row("Queue file", word, &note, mark),
        bounds.row(
            "In use",
            &format!("{percent} %"),
            &format!("{} of {}", bytes(queue.used_bytes), bytes(queue.max_bytes)),
            Mark::Plain,
        ),
        at_risk(s, bounds),
        flash(s, bounds),
        commits(s, bounds),
        bounds.row("Log file", &bytes(queue.log_bytes), "not yet brought home by a checkpoint", Mark::Plain),
    ];
    let ballast = queue.ballast;
    if ballast.bytes > 0 {
        let (word, note, mark) = match (ballast.held, &queue.health) {
            (true, _) => {
                ("Held", "given back when the disk is full, so that the queue can be emptied", Mark::Fine)
            }
            (false, Health::DiskFull) => {
                ("Released", "the queue is emptied in its room; taken back first", Mark::Bad)
            }
            (false, _) => {
                ("Missing", "there was no room for it; a full disk recovers more slowly", Mark::Look)
            }
        };
        rows.push(bounds.row("Reserve", &format!("{word}, {}", bytes(ballast.bytes)), note, mark));
    }
    if let Some(salvage) = &queue.salvage {
        let value = format!("{} % looked at", salvage.thousandths / 10);
        let note = format!(
            "{} saved so far from {}; lost: unknown until it ends",
            grouped(salvage.readings),
            salvage.file
        );
        rows.push(bounds.row("Damaged file", &value, &note, Mark::Look));
    }
    for damaged in damage::told(&queue.damaged) {
        rows.push(bounds.row("Damaged file", &damaged.lost, &damaged.words, Mark::Look));
    }
    rows
}

/// What a power cut may take before it is accepted.
fn at_risk(s: &Snapshot, bounds: Bounds) -> Row {
    let queue = &s.queue;
    let now = millis(queue.commit_window);
    if queue.commit_window <= queue.configured_window {
        let note = "of readings before they are accepted, if power fails; as configured";
        return bounds.row("At risk", &now, note, Mark::Plain);
    }
    let why = queue.why_widened().unwrap_or_else(|| "widened for the flash's sake".to_owned());
    let note = format!("of readings, if power fails; configured: {}; {why}", millis(queue.configured_window));
    bounds.row("At risk", &now, &note, Mark::Look)
}

fn flash(s: &Snapshot, bounds: Bounds) -> Row {
    let flash = s.queue.flash;
    let budget = flash.budget_per_day.map(|budget| format!("of {} allowed a day", bytes(budget)));
    let budget = budget.unwrap_or_else(|| "no limit configured (store.flash_budget_per_day)".to_owned());
    let started = in_words(s.now.since(s.gateway.started));
    let note = format!("{budget}; {} written since the start {started} ago", bytes(flash.written));
    let (value, over) = match flash.forecast_per_day {
        Some(day) => {
            (format!("{} a day", bytes(day)), flash.budget_per_day.is_some_and(|budget| day > budget))
        }
        None => ("Not measured yet".to_owned(), false),
    };
    bounds.row("Flash", &value, &note, if over { Mark::Look } else { Mark::Plain })
}

fn commits(s: &Snapshot, bounds: Bounds) -> Row {
    let queue = &s.queue;
    let half = format!("{} (p50)", millis(queue.commit_p50));
    let note = format!("99 of 100 take at most {} (p99)", millis(queue.commit_p99));
    match queue.slow_fsync {
        Some(took) => {
            let value = format!("slow_fsync: {}", millis(took));
            bounds.row("Commit takes", &value, &format!("{half}; {note}"), Mark::Look)
        }
        None => bounds.row("Commit takes", &half, &note, Mark::Plain),
    }
}
