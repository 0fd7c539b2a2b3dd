//! The binary `fieldgate-sim`: arguments in, exit status out. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    fieldgate_sim::cli::main()
}
