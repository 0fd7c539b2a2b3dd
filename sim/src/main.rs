//! The binary `fieldgate-sim`: simulated surroundings of a gateway, the demonstration, and the proofs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fieldgate_sim::{bench, demo, prove};

/// Simulated surroundings of a gateway, its demonstration and its proofs.
#[derive(Debug, Parser)]
#[command(name = "fieldgate-sim", version, about, arg_required_else_help = true)]
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
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::Prove(args) => prove::run(args),
        Command::Bench(args) => bench::run(args),
    }
}
