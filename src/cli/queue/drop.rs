//! `fieldgate queue drop`: what the operator gives up, on record with the reason `operator`.

use clap::{Args, Subcommand};

use super::retry::{Which, move_them};
use super::{Trouble, change, say};
use crate::config::Config;
use crate::reading::Class;
use crate::store::queue::look::walk::Walk;
use crate::store::queue::look::{self, Source};
use crate::store::queue::writer::AsideAction;
use crate::store::queue::{Outcome, Position, Reader, SettledRow, Settlement};

/// Readings settled in one step.
const STEP: usize = 1000;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum What {
    /// Readings that a destination refused for their content.
    SetAside {
        #[command(flatten)]
        which: Which,
    },
    /// Readings that wait for a destination, from the oldest of a class on.
    Waiting(Waiting),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Waiting {
    /// For which destination; others still get them.
    #[arg(long, value_name = "NAME")]
    destination: String,
    /// Of which class: alarm, event, state, telemetry, diagnostics.
    #[arg(long, value_name = "CLASS", value_parser = class)]
    class: Class,
    /// Up to and with this segment, as `ls`, `show` and `export` tell it.
    #[arg(long, value_name = "SEGMENT")]
    through: i64,
    /// Do it. Without this it is only told what would be given up.
    #[arg(long)]
    yes: bool,
}

fn class(word: &str) -> Result<Class, String> {
    Class::ALL.into_iter().find(|class| class.name() == word).ok_or_else(|| {
        let words: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        format!("the classes are {}", words.join(", "))
    })
}

pub(super) fn drop(config: &Config, what: &What) -> Result<bool, Trouble> {
    match what {
        What::SetAside { which } => {
            let moved = move_them(config, which, AsideAction::Drop)?.moved;
            say(&format!(
                "{moved} readings that were set aside are given up, on record as dropped by the operator\n"
            ))?;
            Ok(moved > 0)
        }
        What::Waiting(waiting) => drop_waiting(config, waiting),
    }
}

fn drop_waiting(config: &Config, asked: &Waiting) -> Result<bool, Trouble> {
    let Waiting { destination: name, class, through, yes } = asked;
    let end = Position { segment: *through, row: 0 };
    if end.class() != Some(*class) {
        return Err(Trouble::Wrong(format!(
            "segment {through} is not of class {}; nothing was changed. Its class: fieldgate queue show segment {through}",
            class.name()
        )));
    }
    let end = end.next_segment();
    let count = if *yes { give_up(config, name, *class, end)? } else { count(config, name, *class, end)? };
    let class = class.name();
    if *yes {
        say(&format!(
            "{count} readings of class {class} are given up for {name}, on record as dropped by the operator\n"
        ))?;
    } else {
        say(&format!(
            "{count} readings of class {class} wait for {name} up to segment {through}. Nothing was changed; to give them up, \
             run it again with --yes. To keep a copy first: fieldgate queue export --destination {name}\n"
        ))?;
    }
    Ok(count > 0)
}

/// What would be given up. Reads only: no lock, no start on the file, whether or not the daemon runs.
fn count(config: &Config, name: &str, class: Class, end: Position) -> Result<u64, Trouble> {
    let path = super::queue_file(config);
    let connection = look::open(&Source::Beside(path.clone()))?;
    let known = Walk::new(&connection)?.destinations().to_vec();
    let destination = change::among(&known, name)?;
    let mut reader = Reader::open(&path, destination)?;
    let (mut at, mut count) = (reader.start(class), 0);
    while at < end {
        let picked = reader.pick(class, at, STEP)?;
        let resume = picked.resume.unwrap_or(at).min(end);
        count += picked.rows.iter().filter(|row| row.position < end).count() as u64;
        if resume <= at {
            break;
        }
        at = resume;
    }
    Ok(count)
}

fn give_up(config: &Config, name: &str, class: Class, end: Position) -> Result<u64, Trouble> {
    let mut held = change::take(config)?;
    let destination = held.destination(name)?;
    let mut reader = Reader::open(&super::queue_file(config), destination)?;
    let (mut at, mut count) = (reader.start(class), 0u64);
    while at < end {
        let picked = reader.pick(class, at, STEP)?;
        let resume = picked.resume.unwrap_or(at).min(end);
        let rows: Vec<SettledRow> =
            picked.rows.iter().filter(|row| row.position < end).map(SettledRow::of).collect();
        if resume <= at {
            break;
        }
        count += rows.len() as u64;
        held.settle(Settlement {
            generation: 0,
            destination,
            class,
            from: at,
            to: resume,
            rows,
            outcome: Outcome::Dropped("operator"),
            given_up: Vec::new(),
            announces_epoch: false,
        })?;
        at = resume;
    }
    std::mem::drop(reader);
    held.give_back();
    Ok(count)
}
