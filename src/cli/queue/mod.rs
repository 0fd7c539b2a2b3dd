//! `fieldgate queue …`: what waits, what was lost and why, and whether the books agree; copies and exports of it; and giving
//! up or sending again what a person decided about.
//!
//! One file a subcommand. `ls`, `show`, `verify`, `corrections` and `export` change nothing, run beside a daemon or without one, and with
//! `--file` read a copy anywhere, without a configuration. `retry` and `drop` change the file, which has one writer: a daemon
//! that runs is asked to, and where none does, its lock is taken.

mod change;
mod corrections;
mod drop;
mod export;
mod ls;
mod retry;
mod show;
mod snapshot;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::queue_file;
use crate::config::Config;
use crate::store::queue::look::overview::names;
use crate::store::queue::look::{LookError, Source};
use crate::store::queue::reader::ReadError;
use crate::store::queue::snapshot::SnapshotError;
use crate::store::sqlite::OpenError;

/// What to do with the queue.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// What waits for each destination, and what was lost.
    Ls {
        #[command(flatten)]
        copy: Copy,
    },
    /// What one stream, segment or reading set aside holds, why it waits, and what was lost of it.
    Show(show::Arguments),
    /// Decode every segment, recount every book, and say where they disagree.
    Verify {
        #[command(flatten)]
        copy: Copy,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// The times that turned out to have been wrong, newest first.
    Corrections(corrections::Arguments),
    /// Copy the queue as it is now into a file of its own, with the daemon running or stopped.
    Snapshot {
        /// The file to make. It must not exist.
        target: PathBuf,
        /// Copy this file and its log instead of the configured one.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Write what waits and what is set aside as newline JSON or CSV.
    Export(export::Arguments),
    /// Send readings that were set aside again, with the daemon running or stopped.
    Retry(retry::Which),
    /// Give up readings, on record as dropped by the operator, with the daemon running or stopped.
    Drop {
        #[command(subcommand)]
        what: drop::What,
    },
}

/// A copy instead of the configured file.
#[derive(Debug, Args)]
pub(super) struct Copy {
    /// Read this copy instead of the configured file. Nothing is created beside it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read the copy although its log is missing: what it tells is then older than what the gateway had.
    #[arg(long, requires = "file")]
    without_log: bool,
}

impl Copy {
    fn source(&self, config: Option<&Config>) -> Result<Source, Trouble> {
        match (&self.file, config) {
            (Some(path), _) => Ok(Source::Alone { path: path.clone(), without_log: self.without_log }),
            (None, Some(config)) => Ok(Source::Beside(queue_file(config))),
            (None, None) => Err(Trouble::NoFile),
        }
    }
}

impl Command {
    /// Whether it names its file itself, so that no configuration is needed: copies are looked at on any machine.
    pub(super) fn names_its_file(&self) -> bool {
        match self {
            Self::Ls { copy } | Self::Verify { copy, .. } => copy.file.is_some(),
            Self::Show(arguments) => arguments.copy.file.is_some(),
            Self::Export(arguments) => arguments.copy.file.is_some(),
            Self::Corrections(arguments) => arguments.copy.file.is_some(),
            Self::Snapshot { file, .. } => file.is_some(),
            Self::Retry(_) | Self::Drop { .. } => false,
        }
    }
}

/// Why it could not be done. Printed as it is.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{0}. Run: fieldgate queue verify")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("no file is named: give --file, or a configuration")]
    NoFile,
    #[error("there is no {what} {name} in {file}. {next}", file = .file.display())]
    Unknown { what: &'static str, name: String, file: PathBuf, next: String },
    #[error("{0}")]
    Wrong(String),
    #[error(
        "the output cannot be written: {0}. Check the room where it goes; what was written so far is not complete"
    )]
    Output(io::Error),
    /// Whoever read the output has seen enough.
    #[error("nobody reads the output any more")]
    Unread,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Unread } else { Self::Output(error) }
    }
}

/// Runs it. `config` may be absent for a command that [`Command::names_its_file`].
pub(super) fn queue(config: Option<&Config>, command: &Command) -> ExitCode {
    let done = match command {
        Command::Ls { copy } => copy.source(config).and_then(|source| ls::ls(&source)),
        Command::Show(arguments) => arguments.copy.source(config).and_then(|s| show::show(&s, arguments)),
        Command::Verify { copy, json } => copy.source(config).and_then(|s| verify::verify(&s, *json)),
        Command::Corrections(arguments) => {
            arguments.copy.source(config).and_then(|s| corrections::list(&s, arguments))
        }
        Command::Snapshot { target, file } => {
            let source = file.clone().or_else(|| config.map(queue_file)).ok_or(Trouble::NoFile);
            // Of a file that is named nobody knows what its daemon needs, beside its log.
            let ballast = config.filter(|_| file.is_none()).map_or(0, |config| config.store.ballast_bytes);
            source.and_then(|source| snapshot::snapshot(&source, target, ballast))
        }
        Command::Export(arguments) => {
            arguments.copy.source(config).and_then(|s| export::export(&s, arguments))
        }
        Command::Retry(which) => config.ok_or(Trouble::NoFile).and_then(|config| retry::retry(config, which)),
        Command::Drop { what } => config.ok_or(Trouble::NoFile).and_then(|config| drop::drop(config, what)),
    };
    match done {
        Ok(true) | Err(Trouble::Unread) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

/// Prints it; a reader that has gone away is no fault.
fn say(text: &str) -> Result<(), Trouble> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Said of a copy whose log was left behind, so that nobody takes it for the newest state.
fn warn_of_age(source: &Source) {
    if let Source::Alone { path, without_log: true } = source {
        eprintln!("{} is read without its log: this is an older state than the gateway had", path.display());
    }
}

fn unknown(source: &Source, what: &'static str, name: &str, next: String) -> Trouble {
    Trouble::Unknown { what, name: name.to_owned(), file: source.path().to_owned(), next }
}

/// A stream or destination that the file has; otherwise the names there are.
fn known(c: &rusqlite::Connection, source: &Source, what: &'static str, name: &str) -> Result<(), Trouble> {
    /// As many names are told.
    const TOLD: usize = 20;
    let names = names(c, what == "stream")?;
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    let told: Vec<&str> = names.iter().take(TOLD).map(String::as_str).collect();
    let rest = names.len().saturating_sub(TOLD);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let next =
        if names.is_empty() { "It has none".into() } else { format!("It has {}{more}", told.join(", ")) };
    Err(unknown(source, what, name, next))
}
