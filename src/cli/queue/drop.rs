//! `fieldgate queue drop`: what the operator gives up, on record with the reason `operator`.

use clap::{Args, Subcommand};
use rusqlite::Connection;

use super::change::change;
use super::retry::Which;
use super::{Trouble, say};
use crate::config::Config;
use crate::control::carry_out::{among, end_of, streams_of};
use crate::control::{self, Request};
use crate::reading::{Class, StreamId};
use crate::store::queue::look::walk::Walk;
use crate::store::queue::look::{self, Source, overview};
use crate::store::queue::{Position, Reader};

/// Readings counted in one step.
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
    /// Up to and with this segment, as `ls`, `show` and `verify` tell it.
    #[arg(long, value_name = "SEGMENT")]
    through: i64,
    /// Only of this stream. What stands among it of other streams is kept, at the end of the queue.
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Do it. Without this it is only told what would be given up.
    #[arg(long)]
    yes: bool,
}

fn class(word: &str) -> Result<Class, String> {
    control::carry_out::class(word)
}

pub(super) fn drop(config: &Config, what: &What) -> Result<bool, Trouble> {
    match what {
        What::SetAside { which } => {
            let changed = change(config, &Request::DropSetAside(which.asked()))?;
            if which.told_of_none(&changed)? {
                return Ok(true);
            }
            let moved = changed.done.moved;
            say(&format!(
                "{moved} readings that were set aside are given up, on record as dropped by the operator\n"
            ))?;
            Ok(moved > 0)
        }
        What::Waiting(waiting) => drop_waiting(config, waiting),
    }
}

fn drop_waiting(config: &Config, asked: &Waiting) -> Result<bool, Trouble> {
    let waiting = control::Waiting {
        destination: asked.destination.clone(),
        class: asked.class.name().into(),
        through: asked.through,
        stream: asked.stream.clone(),
    };
    let (_, end) = end_of(&waiting).map_err(Trouble::Wrong)?;
    let connection = look::open(&Source::Beside(super::queue_file(config)))?;
    there_is(&connection, asked)?;
    let streams = match &asked.stream {
        Some(name) => Some(streams_of(&connection, name, asked.class).map_err(Trouble::Wrong)?),
        None => None,
    };
    let Waiting { destination: name, class, through, stream, yes } = asked;
    let of = stream.as_ref().map_or_else(String::new, |stream| format!(" of {stream}"));
    let class = class.name();
    if !yes {
        let count = count(config, &connection, asked, end, streams.as_deref())?;
        say(&format!(
            "{count} readings{of} of class {class} wait for {name} up to segment {through}. Nothing was changed; to give them up, \
             run it again with --yes. To keep a copy first: fieldgate queue export --destination {name}\n"
        ))?;
        return Ok(count > 0);
    }
    let done = change(config, &Request::DropWaiting(waiting))?.done;
    say(&format!(
        "{} readings{of} of class {class} are given up for {name}, on record as dropped by the operator\n",
        done.moved
    ))?;
    if done.behind > 0 {
        say(&format!(
            "{} readings of other streams stood among them and are now at the end of the queue\n",
            done.behind
        ))?;
    }
    Ok(done.moved > 0)
}

/// A segment that is not there is a slip of the hand more often than one that was delivered a moment ago.
fn there_is(c: &Connection, asked: &Waiting) -> Result<(), Trouble> {
    let (class, through) = (asked.class, asked.through);
    let walked: i64 = c
        .query_row("SELECT count(*) FROM segments WHERE id = ?1", [through], |r| r.get(0))
        .map_err(crate::store::queue::reader::ReadError::from)?;
    if walked > 0 {
        return Ok(());
    }
    let class_name = class.name();
    Err(Trouble::Wrong(match overview::segments_of(c, class)? {
        None => format!(
            "nothing of class {class_name} waits, so there is no segment {through}; nothing was changed"
        ),
        Some((first, last, count)) => format!(
            "there is no segment {through}: it was delivered and freed, or never was. Nothing was changed. Of class {class_name} \
             there are {count}, from {first} to {last}"
        ),
    }))
}

/// What would be given up. Reads only: no lock, no start on the file, whether or not the daemon runs.
fn count(
    config: &Config,
    connection: &Connection,
    asked: &Waiting,
    end: Position,
    streams: Option<&[StreamId]>,
) -> Result<u64, Trouble> {
    let known = Walk::new(connection)?.destinations().to_vec();
    let destination = among(&known, &asked.destination).map_err(Trouble::Wrong)?;
    let mut reader = Reader::open(&super::queue_file(config), destination)?;
    let (mut at, mut count) = (reader.start(asked.class), 0);
    while at < end {
        let picked = reader.pick(asked.class, at, STEP)?;
        let resume = picked.resume.unwrap_or(at).min(end);
        let meant = |stream| streams.is_none_or(|named| named.contains(&stream));
        count +=
            picked.rows.iter().filter(|row| row.position < end && meant(row.sample.stream)).count() as u64;
        if resume <= at {
            break;
        }
        at = resume;
    }
    Ok(count)
}
