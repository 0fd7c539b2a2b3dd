//! `prove budget`: a month on a data plan of 5 MB that is too small for everything.
//!
//! The example `spend_month` of the daemon's package plays a trace of 30 days through the ledger and the policy that ship, and
//! through a queue that sends in order of arrival. What went over the wire is added up apart from what the ledger was
//! charged. Utility is the sum over all readings of their class's weight, if they were delivered within its age limit.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::{Common, Proof, Subject};
use crate::gateway::{Trouble, helper};

/// The trace. The release build of this program may run elsewhere: then it is written to a file first.
const TRACE: &str = include_str!("../../../examples/month.trace");
/// Times the utility of sending in order of arrival.
const TIMES_FIFO: f64 = 1.5;
/// Of the plan, percent.
const OVER: f64 = 1.0;
/// Of the alarms that can arrive in time, at least this share does.
const ALARMS: f64 = 0.8;

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Another trace; see the head of the one in `examples`.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

pub(super) async fn prove(args: &Args, subject: Subject) -> Result<Proof, Trouble> {
    let folder = tempfile::tempdir().map_err(Trouble::system("make a folder"))?;
    let own = folder.path().join("month.trace");
    let trace = match &args.trace {
        Some(trace) => trace.clone(),
        None => {
            crate::gateway::config::file(&own, TRACE, 0o644)?;
            own
        }
    };
    let output = tokio::process::Command::new(helper("spend_month")?)
        .arg(&trace)
        .env_remove("FIELDGATE_SABOTAGE")
        .envs(subject.sabotage.iter().map(|name| ("FIELDGATE_SABOTAGE", name)))
        .output()
        .await
        .map_err(Trouble::system("run spend_month"))?;
    let unreadable = |detail: String| Trouble::Unreadable { what: "a month to spend".into(), detail };
    if !output.status.success() {
        return Err(unreadable(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let figures: Json =
        serde_json::from_slice(&output.stdout).map_err(|error| unreadable(error.to_string()))?;
    let number = |pointer: &str| {
        figures.pointer(pointer).and_then(Json::as_f64).ok_or_else(|| unreadable(format!("no {pointer}")))
    };
    let mut proof = Proof::default();
    for (network, pointer) in [("at home", "/ours/over_percent"), ("roaming", "/ours/roaming_over_percent")] {
        let over = number(pointer)?;
        proof.demand(over <= OVER, || {
            format!("the month's plan is never exceeded by {OVER} % ({network} it was by {over:.1} %)")
        });
    }
    let (times, even) = (number("/times_fifo")?, number("/times_fifo_with_a_share_a_day")?);
    for (what, times) in [("", times), (", each day its share", even)] {
        proof.demand(times >= TIMES_FIFO, || {
            format!("at least {TIMES_FIFO} times the utility of sending in order of arrival{what} (it was {times:.2})")
        });
    }
    // Those that came late and those that never came are both missing here.
    let (in_time, in_reach) = (number("/ours/in_time/alarm")?, number("/produced_in_reach/alarm")?);
    proof.demand(in_reach > 0.0 && in_time >= in_reach * ALARMS, || {
        format!(
            "{ALARMS} of the alarms that had a network within their limit arrive in time ({in_time} of {in_reach} did)"
        )
    });
    proof.figures = figures;
    Ok(proof)
}
