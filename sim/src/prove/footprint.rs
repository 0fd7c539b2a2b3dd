//! `prove footprint`: how soon the daemon is ready, how much memory it takes at work, how large it is.
//!
//! Ready is measured from exec to `READY=1`, with a new store and with a million readings queued, several starts each. Memory is
//! measured at work in the demonstration's surroundings. The floors are for release builds: the whole claim refuses any other.
//! Its short form is run by tests, in development builds and on busy machines: there the quickest start is held to a limit that
//! only a defect reaches, and sizes are judged in release builds only.

use std::path::Path;
use std::time::Duration;

use super::{Common, Proof, Subject};
use crate::demo;
use crate::gateway::child::{Memory, Start};
use crate::gateway::config::GOLIOTH;
use crate::gateway::surroundings::Surroundings;
use crate::gateway::{Trouble, eventually, helper, machine, status, temporary_folder};

/// Exec to `READY=1`, milliseconds.
const READY_MS: f64 = 300.0;
/// The same in the short form: far above what any machine needs. The deliberate defect sleeps so long.
const SHORT_READY_MS: f64 = 2000.0;
/// Proportional set size at work, bytes.
const PSS: u64 = 12_000_000;
/// The program, bytes.
const BINARY: u64 = 8_000_000;
/// How long a start may take at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Readings queued for the second measurement.
    #[arg(long, value_name = "N")]
    queued: Option<u64>,
    /// Starts measured each time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    starts: Option<u32>,
    /// How long the daemon works before its memory is judged.
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    work: Option<Duration>,
}

pub(super) async fn prove(args: &Args, subject: Subject) -> Result<Proof, Trouble> {
    let short = args.common.short;
    let optimised = machine::is_stripped(&subject.program);
    if !optimised && !short {
        return Err(Trouble::WrongBuild(format!(
            "{} is no release build, and the floors are for release builds. Build with --release, or use --short",
            subject.program.display()
        )));
    }
    let queued = args.queued.unwrap_or(if short { 20_000 } else { 1_000_000 });
    let starts = args.starts.unwrap_or(if short { 3 } else { 9 });
    let work = args.work.unwrap_or(Duration::from_secs(if short { 2 } else { 30 }));

    let empty = ready(&subject, starts, 0).await?;
    let full = ready(&subject, starts, queued).await?;
    let memory = at_work(&subject, work).await?;
    let binary = machine::size(&subject.program);

    let judged = |times: &[f64]| {
        if short { times.first() } else { times.get(times.len() / 2) }.copied().unwrap_or(f64::MAX)
    };
    let limit = if short { SHORT_READY_MS } else { READY_MS };
    let mut proof = Proof::default();
    for (what, times) in [("an empty store", &empty), ("a long queue", &full)] {
        let ms = judged(times);
        proof.demand(ms <= limit, || format!("ready within {limit} ms with {what} (took {ms:.0} ms)"));
    }
    // No memory at all is no measurement.
    proof.demand(memory.pss > 0 && memory.peak_rss > 0 && binary > 0, || {
        format!("memory and size are measured ({memory:?}, {binary} B)")
    });
    if optimised {
        proof.demand(memory.pss <= PSS, || format!("at most {PSS} B PSS at work (took {} B)", memory.pss));
        proof.demand(binary <= BINARY, || format!("a program of at most {BINARY} B (it has {binary} B)"));
    }
    proof.figures = serde_json::json!({
        "ready_empty_ms": empty, "ready_queued_ms": full, "queued": queued,
        "judged": if short { "the quickest start" } else { "the median start" },
        "pss_bytes": memory.pss, "peak_rss_bytes": memory.peak_rss, "binary_bytes": binary, "worked_s": work.as_secs(),
        "floors": {
            "ready_ms": limit,
            "pss_bytes": optimised.then_some(PSS), "binary_bytes": optimised.then_some(BINARY),
        },
    });
    Ok(proof)
}

/// Times from exec to ready, milliseconds, shortest first. Each start finds `queued` readings, or no store at all.
async fn ready(subject: &Subject, starts: u32, queued: u64) -> Result<Vec<f64>, Trouble> {
    let mut times = Vec::new();
    for _ in 0..starts {
        let folder = temporary_folder()?;
        let around = Surroundings::make(&demo::installation(1), folder.path()).await?;
        // Not connected: the link is of no use from the beginning.
        around.network.cut();
        if queued > 0 {
            fill(&around.config, queued).await?;
        }
        let mut daemon = start(subject, &around, folder.path()).start()?;
        let took = daemon.ready(PATIENCE).await?;
        times.push((took.as_secs_f64() * 10_000.0).round() / 10.0);
        daemon.stop(PATIENCE).await?;
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Memory while readings come, are stored and are acknowledged.
async fn at_work(subject: &Subject, work: Duration) -> Result<Memory, Trouble> {
    let folder = temporary_folder()?;
    let around = Surroundings::make(&demo::installation(1), folder.path()).await?;
    let mut daemon = start(subject, &around, folder.path()).start()?;
    daemon.ready(PATIENCE).await?;
    let page = around.page;
    let working = eventually(around.clock, Duration::from_millis(100), PATIENCE, || async move {
        status::ask(page).await.filter(|s| s.destination(GOLIOTH).is_some_and(|d| d.account.acknowledged > 0))
    });
    if working.await.is_none() {
        return Err(daemon.late("the first acknowledged reading", PATIENCE));
    }
    tokio::time::sleep(work).await;
    let memory = daemon.memory();
    daemon.stop(PATIENCE).await?;
    Ok(memory)
}

/// Queues readings of the configured streams, by the daemon's own library.
pub(super) async fn fill(config: &Path, readings: u64) -> Result<(), Trouble> {
    let filler = helper("fill_queue")?;
    let output = tokio::process::Command::new(&filler)
        .arg(config)
        .arg(readings.to_string())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Trouble::system(format!("run {}", filler.display())))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Trouble::Ended {
        how: output.status.to_string(),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

pub(super) fn start(subject: &Subject, around: &Surroundings, folder: &Path) -> Start {
    Start {
        program: subject.program.clone(),
        config: around.config.clone(),
        folder: folder.to_owned(),
        sabotage: subject.sabotage.clone(),
        clock: around.clock,
    }
}
