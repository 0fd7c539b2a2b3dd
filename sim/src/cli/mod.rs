//! The command line of `fieldgate-sim`: one file a subcommand.
//!
//! `demo`, `prove` and `bench` run the real daemon in the whole of them; they have exit statuses of their own. Each of the others
//! runs one part of a gateway's surroundings until Ctrl-C or SIGTERM, and first prints the addresses by which anything can
//! be pointed at it. One thread runs everything. Problems are printed once, here, with what to do next.

mod bus;
mod cloud;
mod heard;
mod modem;

use crate::{bench, demo, prove};
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
    /// Run the real daemon against a simulated modem, bus, cloud and link, and account for every reading.
    Demo(demo::Args),
    /// Prove a promise, or show that a deliberate defect breaks it.
    Prove(prove::Args),
    /// Measure accepted rate, flash per reading and the status API.
    Bench(bench::Args),
    /// A Golioth-compatible cloud: CoAP over DTLS for devices, the management API over HTTP.
    Cloud(cloud::Arguments),
    /// An nRF9151 modem on a pseudo-terminal.
    Modem(modem::Arguments),
    /// A Modbus RTU bus with three slaves on a pseudo-terminal.
    Bus(bus::Arguments),
}

/// One part of the surroundings, that runs until it is ended.
#[derive(Debug)]
enum Part {
    Cloud(cloud::Arguments),
    Modem(modem::Arguments),
    Bus(bus::Arguments),
}

/// What a subcommand ends with: nothing, or a problem for the operator.
type Ended = Result<(), Box<dyn Error>>;

/// Reads the arguments and runs what they ask for.
#[must_use]
pub fn main() -> ExitCode {
    let part = match Arguments::parse().command {
        Command::Demo(args) => return demo::run(&args),
        Command::Prove(args) => return prove::run(&args),
        Command::Bench(args) => return bench::run(&args),
        Command::Cloud(arguments) => Part::Cloud(arguments),
        Command::Modem(arguments) => Part::Modem(arguments),
        Command::Bus(arguments) => Part::Bus(arguments),
    };
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(part)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("fieldgate-sim: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(part: Part) -> Ended {
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
    match part {
        Part::Cloud(arguments) => cloud::run(arguments, stop).await,
        Part::Modem(arguments) => modem::run(arguments, stop).await,
        Part::Bus(arguments) => bus::run(arguments, stop).await,
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
