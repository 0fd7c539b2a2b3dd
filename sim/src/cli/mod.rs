//! The command line of `fieldgate-sim`: one file a subcommand.
//!
//! Each runs one part of a gateway's surroundings until Ctrl-C or SIGTERM, and first prints the addresses by which anything can
//! be pointed at it. One thread runs everything. Problems are printed once, here, with what to do next.

mod bus;
mod cloud;
mod modem;

use clap::{Parser, Subcommand};
use std::error::Error;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Simulated surroundings of a fieldgate gateway, on this machine only.
#[derive(Debug, Parser)]
#[command(name = "fieldgate-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A Golioth-compatible cloud: CoAP over DTLS for devices, the management API over HTTP.
    Cloud(cloud::Arguments),
    /// An nRF9151 modem on a pseudo-terminal.
    Modem(modem::Arguments),
    /// A Modbus RTU bus with three slaves on a pseudo-terminal.
    Bus(bus::Arguments),
}

/// What a subcommand ends with: nothing, or a problem for the operator.
type Ended = Result<(), Box<dyn Error>>;

/// Reads the arguments and runs what they ask for.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(arguments.command)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("fieldgate-sim: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Ended {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
    });
    match command {
        Command::Cloud(arguments) => cloud::run(arguments, stop).await,
        Command::Modem(arguments) => modem::run(arguments, stop).await,
        Command::Bus(arguments) => bus::run(arguments, stop).await,
    }
}

/// A seed for what needs no reproducing.
fn fresh_seed() -> Result<u64, Box<dyn Error>> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random bytes ({error})"))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Prints a line at once, so that whoever waits for an address sees it.
fn say(line: &str) -> Ended {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
