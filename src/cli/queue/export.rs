//! `fieldgate queue export`: what waits and what is set aside, a line each, as newline JSON or CSV (RFC 4180).
//!
//! One segment is in memory at a time, whatever the queue holds. A reading that waits for two destinations is two lines.
//! Beside a running daemon, what is delivered meanwhile is left out; for one moment's state export a snapshot.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Copy, Trouble, known, warn_of_age};
use crate::store::queue::look::walk::{Line, Walk, Wanted};
use crate::store::queue::look::{self, Source};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    pub(super) copy: Copy,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Only this stream.
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Only what waits for, or was refused by, this destination.
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only what was captured at or after this time, 2026-01-31 or 2026-01-31T12:00:00Z; what is not dated is written too.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<jiff::Timestamp>,
    /// Only one kind.
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// The file to write. It must not exist. Without it, standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JSON object a line.
    Json,
    /// Comma-separated, with a line of titles.
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// What waits.
    Queued,
    /// What a destination refuses for its content.
    SetAside,
}

/// CSV's titles: the fields of [`Line`] in their order.
const COLUMNS: [&str; 16] = [
    "state",
    "destination",
    "stream",
    "device",
    "class",
    "epoch",
    "sequence",
    "time",
    "uncertainty_ms",
    "boot",
    "boot_us",
    "value",
    "unit",
    "quality",
    "reason",
    "set_aside",
];

pub(super) fn export(source: &Source, arguments: &Arguments) -> Result<bool, Trouble> {
    let connection = look::open(source)?;
    let mut walk = Walk::new(&connection)?;
    for (what, name) in [("stream", &arguments.stream), ("destination", &arguments.destination)] {
        if let Some(name) = name {
            known(&connection, source, what, name)?;
        }
    }
    warn_of_age(source);
    let wanted = Wanted {
        stream: arguments.stream.clone(),
        destination: arguments.destination.clone(),
        since: arguments.since,
    };
    let mut lines = Lines::new(out(arguments.output.as_deref())?, arguments.format)?;
    let mut unread = Vec::new();
    if arguments.only != Some(Kind::SetAside) {
        unread = walk.queued(&wanted, |line| lines.write(&line))?;
    }
    if arguments.only != Some(Kind::Queued) {
        walk.set_aside(&wanted, |line| lines.write(&line))?;
    }
    lines.finish()?;
    for unread in &unread {
        eprintln!("left out: {unread}. Run: fieldgate queue verify");
    }
    Ok(unread.is_empty())
}

fn out(path: Option<&Path>) -> Result<Box<dyn Write>, Trouble> {
    let Some(path) = path else { return Ok(Box::new(io::stdout().lock())) };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Trouble::Wrong(format!(
            "{} exists and was left as it is: an export overwrites nothing. Name another file, or remove that one first",
            path.display()
        ))),
        Err(e) => Err(Trouble::Output(e)),
    }
}

/// A time, or the beginning of a day in UTC.
fn time(text: &str) -> Result<jiff::Timestamp, String> {
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    text.parse()
        .ok()
        .or_else(|| day().map(|day| day.timestamp()))
        .ok_or_else(|| "write a time as 2026-01-31T12:00:00Z, or a day as 2026-01-31".to_owned())
}

enum Lines {
    Json(BufWriter<Box<dyn Write>>),
    Csv(Box<csv::Writer<Box<dyn Write>>>),
}

impl Lines {
    fn new(out: Box<dyn Write>, format: Format) -> Result<Self, Trouble> {
        match format {
            Format::Json => Ok(Self::Json(BufWriter::new(out))),
            Format::Csv => {
                let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
                csv.write_record(COLUMNS).map_err(io::Error::from)?;
                Ok(Self::Csv(Box::new(csv)))
            }
        }
    }

    fn write(&mut self, line: &Line) -> Result<(), Trouble> {
        match self {
            Self::Json(out) => {
                serde_json::to_writer(&mut *out, line).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
            Self::Csv(csv) => csv.serialize(line).map_err(io::Error::from)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Trouble> {
        match self {
            Self::Json(mut out) => out.flush()?,
            Self::Csv(mut csv) => csv.flush()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::queue::look::walk::Told;

    fn line(text: &str) -> Line {
        Line {
            state: "queued",
            destination: "golioth".into(),
            stream: "tank.say".into(),
            device: "gw".into(),
            class: "event",
            epoch: "0123456789abcdef".into(),
            sequence: 7,
            time: None,
            uncertainty_ms: None,
            boot: "00".into(),
            boot_us: 12,
            value: Some(Told::Text(text.into())),
            unit: String::new(),
            quality: "good",
            reason: None,
            set_aside: None,
        }
    }

    #[test]
    fn the_titles_are_the_fields_in_their_order() {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.serialize(line("x")).unwrap();
        let text = String::from_utf8(csv.into_inner().unwrap()).unwrap();
        assert_eq!(text.lines().next().unwrap(), COLUMNS.join(","));
    }

    #[test]
    fn a_day_is_its_first_instant_and_nonsense_is_refused_with_the_form() {
        assert_eq!(time("2026-01-31").unwrap(), "2026-01-31T00:00:00Z".parse().unwrap());
        assert_eq!(time("2026-01-31T13:00:00+01:00").unwrap(), "2026-01-31T12:00:00Z".parse().unwrap());
        assert!(time("yesterday").unwrap_err().contains("2026-01-31T12:00:00Z"));
    }
}
