//! The real daemon as a child process, dealt with as an operator would: configuration files, signals, the command line's
//! JSON, HTTP, and systemd's notification socket.
//!
//! Nothing here uses the daemon's code. [`points`] is the one place that knows which register of the simulated bus is
//! which stream at the cloud; [`config`] writes the configuration; [`child`] starts, watches and ends the process; [`status`]
//! and [`books`] read what it says of itself; [`reckon`] compares that with the devices and the cloud.

pub mod books;
pub mod child;
pub mod config;
pub mod firmware;
pub mod http;
pub mod machine;
pub mod points;
pub mod reckon;
pub mod signals;
pub mod status;
pub mod surroundings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use signals::Signals;

/// What keeps a demonstration or a proof from being made. None of it says anything about the promise itself.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The program to be shown is not there.
    #[error(
        "{path} is not there. Build it first (cargo build --workspace), or name another with --fieldgate"
    )]
    NoProgram {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A sabotage was asked of a program that has none.
    #[error(
        "{path} is not a sabotage build (it says {version:?}), so it cannot do what it must not. Build both programs \
         with --features sabotage, or call this through make prove"
    )]
    Honest {
        /// The program.
        path: PathBuf,
        /// What it said.
        version: String,
    },
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    System {
        /// What was to be done.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A part of the surroundings cannot be made.
    #[error("the simulated surroundings cannot be made: {0}")]
    Surroundings(String),
    /// The daemon ended by itself.
    #[error("fieldgate ended by itself ({how}); the end of its log:\n{log}")]
    Ended {
        /// Its exit status.
        how: String,
        /// The end of its log.
        log: String,
    },
    /// A condition did not come true in time.
    #[error("{what} did not happen within {within:?}; the end of fieldgate's log:\n{log}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The end of the daemon's log.
        log: String,
    },
    /// The daemon answered something that cannot be read.
    #[error("fieldgate's answer to {what} cannot be read: {detail}")]
    Unreadable {
        /// What it was asked.
        what: String,
        /// What is wrong.
        detail: String,
    },
    /// Somebody ended it before its end.
    #[error("ended by {signal}; the gateway and everything around it are ended too")]
    Interrupted {
        /// Which signal.
        signal: &'static str,
    },
    /// This machine lacks what the proof is made with.
    #[error("left out: {0}")]
    LeftOut(String),
    /// A whole daemon in this process cannot be made or does not go on.
    #[error("the virtual world: {0}")]
    World(#[from] crate::world::WorldError),
    /// The measurement needs another build.
    #[error("{0}")]
    WrongBuild(String),
}

impl Trouble {
    /// The system refused `what`.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

/// Runs one proof or measurement on this thread. A signal ends it, with every process it started.
pub(crate) fn run_alone<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    run_with_signals(async |mut signals| signals.or(work).await)
}

/// Runs on this thread what deals with signals itself.
pub(crate) fn run_with_signals<T>(
    work: impl AsyncFnOnce(Signals) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Trouble::system("make an event queue"))?
        .block_on(async { work(Signals::listen()?).await })
}

/// The program `fieldgate`: the one named, or the one beside this program.
///
/// # Errors
/// [`Trouble::NoProgram`].
pub fn program(named: Option<&Path>) -> Result<PathBuf, Trouble> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => beside("fieldgate")?,
    };
    if path.is_file() { Ok(path) } else { Err(Trouble::NoProgram { path }) }
}

/// A helper program of this build: an example of the daemon's package, which cargo puts into `examples` beside the programs.
///
/// # Errors
/// [`Trouble::NoProgram`].
pub fn helper(name: &str) -> Result<PathBuf, Trouble> {
    let path = beside("examples")?.join(name);
    if path.is_file() { Ok(path) } else { Err(Trouble::NoProgram { path }) }
}

/// A folder of a proof's own, gone with it.
pub(crate) fn temporary_folder() -> Result<tempfile::TempDir, Trouble> {
    tempfile::Builder::new()
        .prefix("fieldgate-prove-")
        .tempdir()
        .map_err(Trouble::system("make a temporary folder"))
}

fn beside(name: &str) -> Result<PathBuf, Trouble> {
    let own = std::env::current_exe().map_err(Trouble::system("find this program's own file"))?;
    Ok(own.with_file_name(name))
}

/// Looks every `every` until `look` gives something; `None` when `within` has passed first.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    clock: Clock,
    every: Duration,
    within: Duration,
    mut look: impl FnMut() -> F,
) -> Option<T> {
    let end = clock.now() + within;
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        let now = clock.now();
        if now >= end {
            return None;
        }
        tokio::time::sleep_until(clock.instant((now + every).min(end))).await;
    }
}
