//! The command line, one file a subcommand.
//!
//! Exit status: 0 fine, 1 something is wrong and was said, 2 wrong usage, 78 the configuration was refused (`EX_CONFIG`,
//! so that systemd and people can tell it from a crash).

mod audit;
mod check;
mod decode;
pub mod firmware;
mod lock;
mod queue;
mod run;
mod status;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Loaded};

/// Where the operator's configuration is unless said otherwise.
const CONFIG_FILE: &str = "/etc/fieldgate/fieldgate.toml";
/// `EX_CONFIG` of `sysexits.h`.
const REFUSED_CONFIGURATION: u8 = 78;

/// Gateway agent: serial sensors to the cloud, losing nothing.
#[derive(Debug, Parser)]
#[command(name = "fieldgate", version = VERSION, about, arg_required_else_help = true)]
struct Arguments {
    /// The configuration; `conf.d/*.toml` beside it is read too.
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

/// The release; with a warning beside it where the build has deliberate defects.
#[cfg(feature = "sabotage")]
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (sabotage build: not for use)");
/// The release.
#[cfg(not(feature = "sabotage"))]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run,
    /// Look at configuration, ports, disk and store, and say what is wrong.
    Check {
        /// Also send one message, marked as none, the way readings take to Golioth, and say what became of it. It costs a few kilobytes
        /// of the data plan, more where a management key allows to look whether a pipeline took it.
        #[arg(long)]
        probe: bool,
    },
    /// Ask the running daemon how it is: the verdict, what to do next, and what matters.
    Status(status::Shape),
    /// Look into the history of firmware versions.
    Firmware {
        #[command(subcommand)]
        command: FirmwareCommand,
    },
    /// Look into the queue of readings, copy it, export it.
    Queue {
        #[command(subcommand)]
        command: queue::Command,
    },
    /// Print what people and clouds had done here: who, what, and what came of it.
    Audit {
        /// At most so many rows, the newest.
        #[arg(long, value_name = "N", default_value_t = 100)]
        last: u32,
        /// Print them as newline JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a message that was sent to Golioth, in either encoding, as newline JSON.
    Decode(decode::Arguments),
}

#[derive(Debug, Subcommand)]
enum FirmwareCommand {
    /// Which versions ran here, oldest first.
    History {
        /// Only this package.
        #[arg(long, value_name = "PACKAGE")]
        component: Option<String>,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check that nobody rewrote the history.
    Verify,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run => with_secrets(&arguments.config, run::run),
        Command::Check { probe } => check::check(&arguments.config, probe),
        Command::Decode(message) => decode::decode(&message),
        Command::Status(shape) => {
            with_config(&arguments.config, |loaded| status::status(&loaded.config, shape))
        }
        Command::Firmware { command } => {
            with_config(&arguments.config, |loaded| firmware_command(&loaded.config, &command))
        }
        Command::Audit { last, json } => with_config(&arguments.config, |loaded| {
            let show = if json { audit::audit_json } else { audit::audit };
            said(show(&loaded.config.gateway.state_dir, last).map(|text| (text, true)))
        }),
        Command::Queue { command } if command.names_its_file() => queue::queue(None, &command),
        Command::Queue { command } => {
            with_config(&arguments.config, |loaded| queue::queue(Some(&loaded.config), &command))
        }
    }
}

fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// For the daemon: secrets are read, and what is wrong with one is a refusal.
fn with_secrets(path: &std::path::Path, then: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    with(config::load(path, credentials_directory().as_deref()), then)
}

/// For whoever looks: secrets belong to the daemon and are left alone.
fn with_config(path: &std::path::Path, then: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    with(config::load_without_secrets(path), then)
}

fn with(loaded: Result<Loaded, config::Refused>, then: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    match loaded {
        Ok(loaded) => then(loaded),
        Err(refused) => {
            eprintln!("{refused}");
            ExitCode::from(REFUSED_CONFIGURATION)
        }
    }
}

fn queue_file(config: &Config) -> PathBuf {
    config.gateway.state_dir.join("queue.db")
}

fn firmware_command(config: &Config, command: &FirmwareCommand) -> ExitCode {
    let state_dir = &config.gateway.state_dir;
    said(match command {
        FirmwareCommand::History { component, json } => {
            let show = if *json { firmware::history_json } else { firmware::history };
            show(state_dir, component.as_deref()).map(|text| (text, true))
        }
        FirmwareCommand::Verify => firmware::verify(state_dir).map(|verdict| (verdict.text, verdict.whole)),
    })
}

/// Prints what there is to say, and whether it is good.
fn said(said: Result<(String, bool), firmware::FirmwareError>) -> ExitCode {
    match said {
        Ok((text, fine)) => {
            print!("{text}");
            if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
