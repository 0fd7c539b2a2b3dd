//! `fieldgate-sim prove`: one subcommand a claim, each with a short form for tests and deliberate defects that it must catch.
//!
//! Exit status: 0 the promise held, 3 it was broken (one line `violated: PROMISE` each), 2 wrong usage, 1 anything else:
//! then nothing is known about the promise. The result is printed as JSON together with the conditions it holds under.

mod budget;
mod clock;
mod crash_points;
mod drain;
mod footprint;
mod here;
mod month_offline;
mod no_loss;
mod ota_goodput;
mod power_cut;
mod rebinding;
mod resume;
mod services;
mod two_destinations;
mod unrouted;
mod wire_cost;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use crate::gateway::{Trouble, child, config, machine, program, run_alone};

/// Exit status of a broken promise.
pub(crate) const VIOLATED: u8 = 3;

/// Every claim with the defects it catches, and of the promise that each breaks as many words as tell it from the others: a
/// defect that breaks something else only is not caught.
pub const SABOTAGES: &[(&str, &str, &str)] = &[
    ("budget", "charge-payload-only", "plan is never exceeded"),
    ("budget", "lease-never-renewed", "times the utility of sending in order of arrival"),
    ("clock", "schedule-by-wall", "no poll of tank is skipped"),
    ("clock", "trust-any-clock", "a clock that nobody vouches for is not believed"),
    ("crash-points", "answer-before-commit", "what was answered is there after a crash"),
    ("crash-points", "believe-failed-sync", "what was answered is there after a crash"),
    ("crash-points", "sync-off", "what was answered is there after a crash"),
    ("crash-points", "trust-unsynced-log", "what was answered is there after a crash"),
    ("drain", "drain-one-by-one", "of what link and cloud can carry at least"),
    ("drain", "shelf-without-end", "a longer queue takes at most"),
    ("footprint", "slow-start", "ready within"),
    ("month-offline", "class-quota-ignored", "a class keeps to its own quota"),
    ("month-offline", "drop-off-the-record", "each reading given up is on record"),
    ("month-offline", "drop-urgent-first", "the least urgent goes first"),
    ("month-offline", "send-the-dropped", "the oldest go, nothing after what is kept is missing"),
    ("no-loss", "answer-before-commit", "every reading that was accepted reaches the cloud"),
    ("no-loss", "delete-before-ack", "every reading that was accepted reaches the cloud"),
    ("no-loss", "forget-settlements", "duplicates stay in flight"),
    ("no-loss", "late-commit", "or the daemon is dead"),
    ("no-loss", "reuse-sequence", "every reading that was accepted reaches the cloud"),
    ("ota-goodput", "one-block-at-a-time", "times as fast as one block a round trip"),
    ("ota-goodput", "refetch-on-loss", "over a hostile link at most"),
    ("power-cut", "sync-normal", "accepted readings survive a power cut"),
    ("power-cut", "sync-off", "accepted readings survive a power cut"),
    ("rebinding", "no-connection-id", "changes of the source address need no handshake"),
    ("resume", "any-hardware", "another board: handshakes needed: 1"),
    ("resume", "goodbye-unproven", "stopped at once sends one record"),
    ("resume", "message-id-reuse", "what is acknowledged is at the cloud"),
    ("resume", "record-kept", "no record number is used twice"),
    ("services", "call-acts-twice", "a call that is heard again is not carried out again"),
    ("services", "settings-unchecked", "is refused with"),
    ("session-cut", "record-unsynced", "a session that may be sent on has no record on the disk"),
    ("two-destinations", "one-cursor", "what is accepted while a destination is dead waits for it"),
    ("unrouted", "believe-unrouted", "what no pipeline takes is kept"),
    ("wire-cost", "chatty-keepalive", "a day with nothing to send costs at most"),
    ("wire-cost", "epoch-dropped", "every reading arrives under its identity"),
    ("wire-cost", "padded-values", "a reading costs at most"),
];

/// What `prove` is told.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    /// Print one claim, one of its defects and words of the promise it breaks a line, and prove nothing.
    #[arg(long)]
    pub list_sabotage: bool,
    /// The claim.
    #[command(subcommand)]
    pub claim: Option<Claim>,
}

/// What can be proved.
#[derive(Debug, Subcommand)]
pub enum Claim {
    /// Every reading is dated as exactly as it says, and no schedule slips, whatever the clocks do.
    Clock(clock::Args),
    /// A long queue leaves as fast as link and cloud allow, and takes no memory.
    Drain(drain::Args),
    /// Nothing that was accepted is lost, whenever the daemon is killed, over a bad link.
    NoLoss(no_loss::Args),
    /// Nothing that was answered is lost, wherever the power fails between two writes, on a disk that fails too.
    CrashPoints(crash_points::Args),
    /// A month on a data plan too small for everything is kept, and spent on what matters most.
    Budget(budget::Args),
    /// How soon it is ready, and how much memory and disk it takes.
    Footprint(footprint::Args),
    /// A firmware image comes as fast as link and cloud allow, and over the worst of links hardly a byte twice.
    OtaGoodput(ota_goodput::Args),
    /// Nothing that was accepted is lost when the power goes, on a real file system.
    PowerCut(power_cut::Args),
    /// Another source address and a clean restart cost no handshake.
    Rebinding(rebinding::Args),
    /// A session outlives a clean stop, and is never used twice.
    Resume(resume::Args),
    /// A session's record is off the disk before anything is sent on it, whenever the power goes, on a real file system.
    SessionCut(power_cut::session::Args),
    /// Every service of the cloud does what it says, both ways, and bears what is wrong.
    Services(services::Args),
    /// A month without a link grows neither memory nor disk, and what has to go is what the policy says.
    MonthOffline(month_offline::Args),
    /// A destination that is dead for a day costs the other nothing, and the books of both close.
    TwoDestinations(two_destinations::Args),
    /// What the cloud would acknowledge and drop is kept, and shown with the pipeline that is missing.
    Unrouted(unrouted::Args),
    /// What a reading costs on the wire, every datagram counted.
    WireCost(wire_cost::Args),
}

/// What every claim is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// The form that tests run: at most 15 s.
    #[arg(long)]
    pub short: bool,
    /// Give the daemon a deliberate defect; the claim must then be violated.
    #[arg(long, value_name = "NAME")]
    pub sabotage: Option<String>,
    /// Write the result to a file as well.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The daemon's program; default: the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub fieldgate: Option<PathBuf>,
}

/// How a proof came out.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// Promises that were broken, as sentences.
    pub(crate) violated: Vec<String>,
    /// What was measured.
    pub(crate) figures: serde_json::Value,
}

impl Proof {
    /// Notes a broken promise.
    pub(crate) fn demand(&mut self, kept: bool, promise: impl FnOnce() -> String) {
        if !kept {
            self.violated.push(promise());
        }
    }
}

/// The first of what a recount complains of: one is enough to look into.
pub(crate) fn few(problems: &[String]) -> String {
    let shown = problems.get(..3).unwrap_or(problems);
    format!("{} complaints: {}", problems.len(), shown.join("; "))
}

/// Whether times of work done in this process are held to their floors: not in a development build, nor in the short form, which
/// tests run on machines that do other things too. They are always among the figures.
pub(crate) fn times_are_judged(short: bool) -> bool {
    cfg!(not(debug_assertions)) && !short
}

/// The daemon that a claim is about.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) program: PathBuf,
    pub(crate) version: String,
    pub(crate) sabotage: Option<String>,
}

/// Runs one proof. See the module head for the exit status.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    if args.list_sabotage {
        for (claim, sabotage, promise) in SABOTAGES {
            println!("{claim} {sabotage} {promise}");
        }
        return ExitCode::SUCCESS;
    }
    match &args.claim {
        None => {
            eprintln!("name a claim, or --list-sabotage; see --help");
            ExitCode::from(2)
        }
        Some(Claim::Clock(args)) => here::prove_here("clock", &args.common, || clock::prove(args)),
        Some(Claim::Drain(args)) => here::prove_here("drain", &args.common, || drain::prove(args)),
        Some(Claim::MonthOffline(args)) => {
            here::prove_here("month-offline", &args.common, || month_offline::prove(args))
        }
        Some(Claim::OtaGoodput(args)) => {
            here::prove_here("ota-goodput", &args.common, || ota_goodput::prove(args))
        }
        Some(Claim::TwoDestinations(args)) => {
            here::prove_here("two-destinations", &args.common, || two_destinations::prove(args))
        }
        Some(Claim::Unrouted(args)) => here::prove_here("unrouted", &args.common, || unrouted::prove(args)),
        Some(Claim::WireCost(args)) => here::prove_here("wire-cost", &args.common, || wire_cost::prove(args)),
        Some(Claim::Rebinding(args)) => {
            here::prove_here("rebinding", &args.common, || rebinding::prove(args))
        }
        Some(Claim::Resume(args)) => here::prove_here("resume", &args.common, || resume::prove(args)),
        Some(Claim::SessionCut(args)) => {
            here::prove_here("session-cut", &args.common, || power_cut::session::prove(args))
        }
        Some(Claim::Services(args)) => here::prove_here("services", &args.common, || services::prove(args)),
        Some(Claim::NoLoss(args)) => prove("no-loss", &args.common, |subject| no_loss::prove(args, subject)),
        Some(Claim::CrashPoints(args)) => {
            here::prove_here("crash-points", &args.common, || run_alone(crash_points::prove(args)))
        }
        Some(Claim::Budget(args)) => prove("budget", &args.common, |subject| budget::prove(args, subject)),
        Some(Claim::Footprint(args)) => {
            prove("footprint", &args.common, |subject| footprint::prove(args, subject))
        }
        Some(Claim::PowerCut(args)) => {
            prove("power-cut", &args.common, |subject| power_cut::prove(args, subject))
        }
    }
}

fn prove<F: Future<Output = Result<Proof, Trouble>>>(
    claim: &str,
    common: &Common,
    proof: impl FnOnce(Subject) -> F,
) -> ExitCode {
    if let Some(wrong) = knows(claim, common) {
        return wrong;
    }
    let result = run_alone(async {
        let subject = subject(common).await?;
        let conditions = serde_json::json!({
            "claim": claim, "short": common.short, "sabotage": common.sabotage, "fieldgate": subject.version,
            "fieldgate_sim": env!("CARGO_PKG_VERSION"), "machine": machine::words(),
            "optimised": machine::is_stripped(&subject.program),
        });
        Ok((proof(subject).await?, conditions))
    });
    match result {
        Ok((proof, conditions)) => finish(&proof, &conditions, common.json.as_deref()),
        Err(trouble) => fail(&trouble),
    }
}

/// Refuses a defect that the claim does not know.
fn knows(claim: &str, common: &Common) -> Option<ExitCode> {
    let sabotage = common.sabotage.as_deref()?;
    if SABOTAGES.iter().any(|(of, defect, _)| (*of, *defect) == (claim, sabotage)) {
        return None;
    }
    eprintln!("{claim} knows no defect {sabotage:?}; prove --list-sabotage names them");
    Some(ExitCode::from(2))
}

fn finish(proof: &Proof, conditions: &serde_json::Value, file: Option<&Path>) -> ExitCode {
    let result = serde_json::json!({
        "proved": proof.violated.is_empty(), "violated": proof.violated,
        "figures": proof.figures, "conditions": conditions,
    });
    let text = format!("{result:#}\n");
    print!("{text}");
    if let Some(Err(trouble)) = file.map(|file| config::file(file, &text, 0o644)) {
        return fail(&trouble);
    }
    for promise in &proof.violated {
        println!("violated: {promise}");
    }
    if proof.violated.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) }
}

fn fail(trouble: &Trouble) -> ExitCode {
    eprintln!("{trouble}");
    ExitCode::FAILURE
}

async fn subject(common: &Common) -> Result<Subject, Trouble> {
    let program = program(common.fieldgate.as_deref())?;
    let version = child::version(&program).await?;
    if common.sabotage.is_some() && !version.contains("(sabotage build") {
        return Err(Trouble::Honest { path: program, version });
    }
    Ok(Subject { program, version, sabotage: common.sabotage.clone() })
}
