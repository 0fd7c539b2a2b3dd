//! Claims about the daemon's code that runs in this process.
//!
//! The defect is chosen by the environment and read once, so a program that is to have one starts itself again with it, before
//! anything else has happened.

use std::process::{Command, ExitCode};

use super::{Common, Proof, fail, finish, knows, machine};
use crate::gateway::Trouble;

/// The variable by which a daemon built with the feature `sabotage` is told its defect.
const CHOICE: &str = "FIELDGATE_SABOTAGE";

/// Proves a claim in this process.
pub(super) fn prove_here(
    claim: &str,
    common: &Common,
    proof: impl FnOnce() -> Result<Proof, Trouble>,
) -> ExitCode {
    if let Some(wrong) = knows(claim, common) {
        return wrong;
    }
    match again(common) {
        Ok(None) => {}
        Ok(Some(done)) => return done,
        Err(trouble) => return fail(&trouble),
    }
    match proof() {
        Ok(proof) => finish(&proof, &conditions(claim, common), common.json.as_deref()),
        Err(trouble) => fail(&trouble),
    }
}

fn conditions(claim: &str, common: &Common) -> serde_json::Value {
    serde_json::json!({
        "claim": claim, "short": common.short, "sabotage": common.sabotage,
        "fieldgate": format!("{}, in this process", fieldgate::cli::VERSION),
        "fieldgate_sim": env!("CARGO_PKG_VERSION"), "machine": machine::words(), "optimised": cfg!(not(debug_assertions)),
    })
}

/// Does the work in a process of its own where this one has not the defect that is asked for, or has another.
fn again(common: &Common) -> Result<Option<ExitCode>, Trouble> {
    let wanted = common.sabotage.as_deref();
    if wanted == std::env::var(CHOICE).ok().as_deref() {
        return Ok(None);
    }
    let program = std::env::current_exe().map_err(Trouble::system("find this program's own file"))?;
    if wanted.is_some() && cfg!(not(feature = "sabotage")) {
        return Err(Trouble::Honest { path: program, version: fieldgate::cli::VERSION.into() });
    }
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env_remove(CHOICE).envs(wanted.map(|name| (CHOICE, name)));
    let status = command.status().map_err(Trouble::system("start this program again"))?;
    Ok(Some(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)))
}
