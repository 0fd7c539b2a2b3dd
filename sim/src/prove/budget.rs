//! `prove budget`: months on a data plan of 5 MB that is too small for everything: an ordinary one, and one with a fortnight
//! of many times what can be paid for, which must be thinned.
//!
//! The example `spend_month` of the daemon's package plays a trace of 30 days through the ledger and the policy that ship, and
//! through a queue that sends in order of arrival. What went over the wire is added up apart from what the ledger was
//! charged. Utility is the sum over all readings of their class's weight, if they were delivered within its age limit; what was
//! thinned counts for nothing.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{Common, Proof, Subject};
use crate::gateway::{Trouble, helper};

/// The traces. The release build of this program may run elsewhere: then they are written to files first.
const MONTH: &str = include_str!("../../../examples/month.trace");
const FLOOD: &str = include_str!("../../../examples/flood.trace");
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
    /// Another trace instead of the two; see the heads of those in `examples`.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

pub(super) async fn prove(args: &Args, subject: Subject) -> Result<Proof, Trouble> {
    let folder = tempfile::tempdir().map_err(Trouble::system("make a folder"))?;
    let mut proof = Proof::default();
    if let Some(trace) = &args.trace {
        let figures = play(trace, &subject).await?;
        judge(&mut proof, "the month", &figures)?;
        proof.figures = figures;
        return Ok(proof);
    }
    let mut all = serde_json::Map::new();
    for (name, words, trace) in [("month", "the month", MONTH), ("flood", "the month with a flood", FLOOD)] {
        let file = folder.path().join(name);
        crate::gateway::config::file(&file, trace, 0o644)?;
        let figures = play(&file, &subject).await?;
        judge(&mut proof, words, &figures)?;
        if trace == FLOOD {
            let thinned = number(&figures, "/ours/thinned")?;
            let times = number(&figures, "/times_never_thinned")?;
            proof.demand(thinned > 0.0 && times >= 1.0, || {
                format!(
                    "a backlog that cannot be paid for is thinned, to no loss of utility ({thinned} readings were, {times:.2} times)"
                )
            });
        }
        all.insert(name.to_owned(), figures);
    }
    proof.figures = all.into();
    Ok(proof)
}

/// What the example says of a trace.
async fn play(trace: &Path, subject: &Subject) -> Result<Json, Trouble> {
    let output = tokio::process::Command::new(helper("spend_month")?)
        .arg(trace)
        .env_remove("FIELDGATE_SABOTAGE")
        .envs(subject.sabotage.iter().map(|name| ("FIELDGATE_SABOTAGE", name)))
        .output()
        .await
        .map_err(Trouble::system("run spend_month"))?;
    if !output.status.success() {
        return Err(unreadable(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| unreadable(error.to_string()))
}

fn unreadable(detail: String) -> Trouble {
    Trouble::Unreadable { what: "a month to spend".into(), detail }
}

fn number(figures: &Json, pointer: &str) -> Result<f64, Trouble> {
    figures.pointer(pointer).and_then(Json::as_f64).ok_or_else(|| unreadable(format!("no {pointer}")))
}

fn judge(proof: &mut Proof, of: &str, figures: &Json) -> Result<(), Trouble> {
    let number = |pointer: &str| number(figures, pointer);
    for (network, pointer) in [("at home", "/ours/over_percent"), ("roaming", "/ours/roaming_over_percent")] {
        let over = number(pointer)?;
        proof.demand(over <= OVER, || {
            format!("{of}'s plan is never exceeded by {OVER} % ({network} it was by {over:.1} %)")
        });
    }
    let (times, even) = (number("/times_fifo")?, number("/times_fifo_with_a_share_a_day")?);
    for (what, times) in [("", times), (", each day its share", even)] {
        proof.demand(times >= TIMES_FIFO, || {
            format!("at least {TIMES_FIFO} times the utility of sending in order of arrival{what}, in {of} (it was {times:.2})")
        });
    }
    // Those that came late and those that never came are both missing here.
    let (in_time, in_reach) = (number("/ours/in_time/alarm")?, number("/produced_in_reach/alarm")?);
    proof.demand(in_reach > 0.0 && in_time >= in_reach * ALARMS, || {
        format!(
            "{ALARMS} of the alarms that had a network within their limit arrive in time, in {of} ({in_time} of {in_reach} did)"
        )
    });
    Ok(())
}
