//! `fieldgate-sim bench`: accepted rate, time of a commit, flash per reading, and the status API under load, compared with their floors.
//!
//! The first two are measured by the example `bench_accept` of the daemon's package, which uses its library and runs on a disk that
//! can be named; the third by asking a daemon that reads 100 values a second. Exit status as `prove`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::gateway::child::{self, Start};
use crate::gateway::surroundings::{Surroundings, Wanted};
use crate::gateway::{Trouble, eventually, helper, http, machine, program, run_alone, status};
use crate::prove::{Proof, VIOLATED};
use crate::relay::RelayProfile;

/// 99 of 100 answers, milliseconds.
const STATUS_P99_MS: f64 = 20.0;
/// Readings a second that must come in while the status is asked for: 15 points each 150 ms are 100, less what a busy machine
/// polls too late.
const STATUS_READINGS: f64 = 95.0;
/// The floors of the accepted rate hold where one sync costs at least this.
const HONEST_SYNC_US: f64 = 100.0;
/// Times one row a transaction, by batch size.
const RATE: [(u64, f64); 2] = [(100, 50.0), (1000, 100.0)];
/// Bytes a reading, by commit window in seconds.
const FLASH: [(u64, f64); 2] = [(1, 130.0), (5, 40.0)];
/// How long anything may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the bench is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's program; default: the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub fieldgate: Option<PathBuf>,
    /// Where the store is written; default: beside this program, because a temporary folder may be in memory.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Write the result to a file as well.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// How long the status API is asked.
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse, default_value = "20s")]
    pub ask_for: Duration,
}

/// Measures. 0 if every floor is reached, 3 if not, 1 if it cannot be measured.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match run_alone(bench(args)) {
        Ok(proof) if proof.violated.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(VIOLATED),
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(args: &Args) -> Result<Proof, Trouble> {
    let program = program(args.fieldgate.as_deref())?;
    if !machine::is_stripped(&program) {
        return Err(Trouble::WrongBuild(format!(
            "{} is no release build, and the floors are for release builds: make bench builds them",
            program.display()
        )));
    }
    let own = std::env::current_exe().map_err(Trouble::system("find this program's own file"))?;
    let dir = args.dir.clone().or_else(|| own.parent().map(Path::to_owned)).unwrap_or_default();
    let folder = tempfile::Builder::new()
        .prefix("fieldgate-bench-")
        .tempdir_in(&dir)
        .map_err(Trouble::system(format!("make a folder in {}", dir.display())))?;
    let accept = accept(folder.path()).await?;
    let answers = ask_while_reading(&program, folder.path(), args.ask_for).await?;

    let mut proof = Proof::default();
    judge_accept(&accept, &mut proof);
    judge_answers(&answers, &mut proof);
    let result = serde_json::json!({
        "accept": accept,
        "status_api": {
            "asked": answers.ms.len(), "p50_ms": percentile(&answers.ms, 50),
            "p99_ms": percentile(&answers.ms, 99), "worst_ms": percentile(&answers.ms, 100), "readings_per_second": answers.readings_per_second,
            "connection": "a new one for each question",
        },
        "floors": {
            "rate_times_one_row_a_transaction": RATE, "rate_floors_hold_from_sync_us": HONEST_SYNC_US,
            "flash_bytes_per_reading": FLASH, "status_p99_ms": STATUS_P99_MS, "status_readings_per_second": STATUS_READINGS,
        },
        "violated": proof.violated,
        "conditions": {
            "fieldgate": child::version(&program).await?, "fieldgate_sim": env!("CARGO_PKG_VERSION"),
            "machine": machine::words(), "folder": dir,
        },
    });
    let text = format!("{result:#}\n");
    print!("{text}");
    if let Some(file) = &args.json {
        crate::gateway::config::file(file, &text, 0o644)?;
    }
    for promise in &proof.violated {
        println!("violated: {promise}");
    }
    Ok(proof)
}

/// Runs the example and takes its JSON.
async fn accept(folder: &Path) -> Result<serde_json::Value, Trouble> {
    let helper = helper("bench_accept")?;
    let output = tokio::process::Command::new(&helper)
        .arg(folder)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Trouble::system(format!("run {}", helper.display())))?;
    serde_json::from_slice(&output.stdout).map_err(|error| Trouble::Unreadable {
        what: helper.display().to_string(),
        detail: format!("{error}; it said {:?}", String::from_utf8_lossy(&output.stderr)),
    })
}

fn judge_accept(accept: &serde_json::Value, proof: &mut Proof) {
    let number = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_f64);
    let entry = |list: &str, key: &str, wanted: u64| -> Option<&serde_json::Value> {
        accept
            .get(list)?
            .as_array()?
            .iter()
            .find(|e| e.get(key).and_then(serde_json::Value::as_u64) == Some(wanted))
    };
    let sync = number(accept.get("sync_us"));
    proof.demand(sync.is_some_and(|us| us > 0.0), || "the cost of a sync is measured (it was not)".into());
    // Where it is not known, the floors hold.
    if sync.is_none_or(|us| us >= HONEST_SYNC_US) {
        for (batch, times) in RATE {
            let reached = entry("rates", "batch", batch)
                .and_then(|e| number(e.get("times_one_row_a_transaction")))
                .unwrap_or(0.0);
            proof.demand(reached >= times, || {
                format!(
                    "{times} times the rate of one row a transaction at batch {batch} (reached {reached:.1})"
                )
            });
        }
    }
    for (window, most) in FLASH {
        let flash = entry("flash", "window_s", window).and_then(|e| number(e.get("bytes_per_reading")));
        let flash = flash.unwrap_or(f64::MAX);
        // No write at all is no measurement: the folder is in memory.
        proof.demand(flash > 0.0 && flash <= most, || {
            format!(
                "at most {most} B of flash a reading with a commit window of {window} s (took {flash:.1} B)"
            )
        });
    }
}

fn judge_answers(answers: &Answers, proof: &mut Proof) {
    let p99 = percentile(&answers.ms, 99);
    proof.demand(p99 <= STATUS_P99_MS, || {
        format!("99 of 100 status answers within {STATUS_P99_MS} ms while reading (took {p99:.1} ms)")
    });
    // Answers of a gateway that has nothing else to do say nothing.
    let rate = answers.readings_per_second;
    proof.demand(rate >= STATUS_READINGS, || {
        format!("at least {STATUS_READINGS} readings a second come in meanwhile (there were {rate:.1})")
    });
}

struct Answers {
    /// Shortest first.
    ms: Vec<f64>,
    readings_per_second: f64,
}

/// Asks for the status again and again while the daemon reads 15 points every 150 ms.
async fn ask_while_reading(program: &Path, folder: &Path, lasts: Duration) -> Result<Answers, Trouble> {
    let wanted = Wanted {
        seed: 1,
        network: RelayProfile::default(),
        baud: 115_200,
        period: Duration::from_millis(150),
        commit_window: Duration::from_secs(1),
        linger: Duration::from_secs(2),
        window: 8,
        whole: true,
    };
    let around = Surroundings::make(&wanted, folder).await?;
    let start = Start {
        program: program.to_owned(),
        config: around.config.clone(),
        folder: folder.to_owned(),
        sabotage: None,
        clock: around.clock,
    };
    let mut daemon = start.start()?;
    daemon.ready(PATIENCE).await?;
    let page = around.page;
    let reading = eventually(around.clock, Duration::from_millis(100), PATIENCE, || async move {
        status::ask(page).await.filter(|s| s.queue.accepted > 0)
    });
    let Some(before) = reading.await else { return Err(daemon.late("the first reading", PATIENCE)) };
    let clock = around.clock;
    let begun = clock.now();
    let mut ms = Vec::new();
    while clock.now().saturating_sub(begun) < lasts {
        let asked = clock.now();
        let answer = http::get(page, "/api/gateway/status").await;
        let took = clock.now().saturating_sub(asked);
        answer
            .map_err(|error| Trouble::Unreadable { what: "the status".into(), detail: error.to_string() })?;
        ms.push(took.as_secs_f64() * 1000.0);
        // The daemon is asked often, not without a pause: a page refreshes, a program polls.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lasted = clock.now().saturating_sub(begun).as_secs_f64();
    let after = status::ask(page).await.map_or(0, |s| s.queue.accepted);
    daemon.stop(PATIENCE).await?;
    ms.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, reason = "a rate that is printed")]
    let readings_per_second = after.saturating_sub(before.queue.accepted) as f64 / lasted;
    Ok(Answers { ms, readings_per_second })
}

/// The value that `percent` of all do not exceed; of values that are in order.
fn percentile(ordered: &[f64], percent: usize) -> f64 {
    let at = (ordered.len() * percent).div_ceil(100).saturating_sub(1);
    ordered.get(at).copied().unwrap_or(f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (percentile(&hundred, 50), percentile(&hundred, 99), percentile(&hundred, 100)),
            (50.0, 99.0, 100.0)
        );
        assert_eq!(percentile(&[7.0], 99), 7.0);
        assert_eq!(percentile(&[], 99), f64::MAX, "nothing measured reaches no floor");
    }

    fn measured(times: f64, flash: f64) -> Proof {
        let accept = serde_json::json!({
            "sync_us": 500.0,
            "rates": [
                { "batch": 100, "times_one_row_a_transaction": times },
                { "batch": 1000, "times_one_row_a_transaction": 200.0 },
            ],
            "flash": [{ "window_s": 1, "bytes_per_reading": flash }, { "window_s": 5, "bytes_per_reading": 30.0 }],
        });
        let mut proof = Proof::default();
        judge_accept(&accept, &mut proof);
        proof
    }

    #[test]
    fn answers_count_only_while_readings_come_in() {
        let judged = |ms: f64, readings_per_second| {
            let mut proof = Proof::default();
            judge_answers(&Answers { ms: vec![ms], readings_per_second }, &mut proof);
            proof.violated.len()
        };
        assert_eq!(
            (judged(5.0, 99.0), judged(25.0, 99.0), judged(5.0, 94.0), judged(25.0, 0.0)),
            (0, 1, 1, 2)
        );
    }

    #[test]
    fn each_floor_is_judged_and_nothing_measured_reaches_none() {
        assert!(measured(60.0, 100.0).violated.is_empty());
        assert_eq!(measured(40.0, 100.0).violated.len(), 1);
        assert_eq!(measured(60.0, 200.0).violated.len(), 1);
        assert_eq!(measured(60.0, 0.0).violated.len(), 1, "a folder in memory measures nothing");
        let mut nothing = Proof::default();
        judge_accept(&serde_json::json!({ "sync_us": 500.0 }), &mut nothing);
        assert_eq!(nothing.violated.len(), 4);
        let mut no_sync = Proof::default();
        judge_accept(&serde_json::json!({}), &mut no_sync);
        assert_eq!(no_sync.violated.len(), 5, "what a sync costs is not known either");
    }
}
