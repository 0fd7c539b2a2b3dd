//! How fast readings are accepted, and how much flash that wears. Prints JSON.
//!
//! ```text
//! bench_accept FOLDER      # on the disk to be measured; not in memory
//! ```
//!
//! First what one sync costs on that disk, readings a second, accepted one batch a commit, and beside it one row a transaction
//! in plain SQLite with the same settings, in turns, of both how long a commit takes, p50 and p99; then `write_bytes` of `/proc/self/io` by reading, for the commits that a window of 1 s
//! and of 5 s makes of 20 streams at 100 readings a second. Nothing is drained meanwhile: acceptance alone is measured.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::clock::{Clock, Mono, SystemClock};
use fieldgate::reading::{Capture, Class, Quality, Resolution, Sample, StreamId, Value};
use fieldgate::store::queue::{DestinationSpec, Epoch, OpenOptions, Queue, StreamSpec};
use serde_json::{Value as Json, json};

/// Streams, captured together: 100 readings are five instants.
const STREAMS: usize = 20;
/// Readings a commit.
const BATCHES: [usize; 3] = [1, 100, 1000];
/// Each measures everything once.
const ROUNDS: usize = 15;
/// How long one thing is measured in a round.
const TURN: Duration = Duration::from_millis(200);
/// Commits by which flash is measured.
const COMMITS: u64 = 200;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: bench_accept FOLDER");
        return ExitCode::from(2);
    };
    match bench(Path::new(&folder)) {
        Ok(result) => {
            println!("{result:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn bench(folder: &Path) -> Result<Json> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(true, None));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let rates = runtime.block_on(rates(folder, &clock))?;
    let mut flash = Vec::new();
    for window_s in [1, 5] {
        let bytes = runtime.block_on(flash_per_reading(folder, &clock, window_s))?;
        let commit = window_s * 100;
        flash.push(
            json!({ "window_s": window_s, "readings_per_commit": commit, "bytes_per_reading": tenths(bytes) }),
        );
    }
    let by_batch: Vec<Json> = BATCHES
        .iter()
        .zip(rates.accepted.iter().zip(&rates.accepted_us))
        .map(|(batch, (accepted, took))| {
            let times: Vec<f64> = accepted.iter().zip(&rates.plain).map(|(a, plain)| a / plain).collect();
            json!({
                "batch": batch, "readings_per_second": median(accepted).round(),
                "times_one_row_a_transaction": tenths(median(&times)),
                "commit_us": percentiles(took),
            })
        })
        .collect();
    Ok(json!({
        "sync_us": median(&rates.sync_us).round(),
        "one_row_a_transaction_per_second": tenths(median(&rates.plain)),
        "one_row_a_transaction_commit_us": percentiles(&rates.plain_us),
        "rates": by_batch,
        "flash": flash,
        "streams": STREAMS,
        "rounds": ROUNDS,
        "commits_by_which_flash_is_measured": COMMITS,
    }))
}

/// Round by round; of what takes microseconds, each one.
#[derive(Default)]
struct Rates {
    sync_us: Vec<f64>,
    plain: Vec<f64>,
    plain_us: Vec<f64>,
    /// By batch size.
    accepted: [Vec<f64>; BATCHES.len()],
    /// From handing the batch in to the answer that it is on disk.
    accepted_us: [Vec<f64>; BATCHES.len()],
}

/// A disk is not the same from one second to the next: each round measures everything, and rounds are compared with themselves.
async fn rates(folder: &Path, clock: &Arc<dyn Clock>) -> Result<Rates> {
    let plain = plain(&folder.join("plain.db"))?;
    let queue = open(&folder.join("rate.db"), clock, Duration::from_secs(60))?;
    let mut rates = Rates::default();
    let (mut rows, mut round) = (0_u32, 0);
    for _ in 0..ROUNDS {
        rates.sync_us.push(sync_cost(folder, &**clock)?);
        let begun = clock.mono();
        let before = rows;
        while clock.mono().since(begun) < TURN {
            let one = clock.mono();
            plain
                .prepare_cached("INSERT INTO readings (stream, at, value) VALUES ('pump.flow', ?1, 21.5)")?
                .execute([rows])?;
            rates.plain_us.push(clock.mono().since(one).as_secs_f64() * 1e6);
            rows += 1;
        }
        rates.plain.push(f64::from(rows - before) / clock.mono().since(begun).as_secs_f64());
        let by_batch = rates.accepted.iter_mut().zip(&mut rates.accepted_us);
        for (batch, (rates, took)) in BATCHES.into_iter().zip(by_batch) {
            let begun = clock.mono();
            let mut readings = 0;
            while clock.mono().since(begun) < TURN {
                let one = clock.mono();
                readings += commit(&queue, one, batch, &mut round).await?;
                took.push(clock.mono().since(one).as_secs_f64() * 1e6);
            }
            rates.push(f64::from(readings) / clock.mono().since(begun).as_secs_f64());
        }
    }
    queue.stop();
    Ok(rates)
}

/// Microseconds for a small append and its sync: the median of some.
fn sync_cost(folder: &Path, clock: &dyn Clock) -> Result<f64> {
    let mut file = File::options().create(true).append(true).open(folder.join("sync"))?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let begun = clock.mono();
        file.write_all(&[0; 64])?;
        file.sync_data()?;
        times.push(clock.mono().since(begun).as_secs_f64() * 1e6);
    }
    Ok(median(&times))
}

/// A table as a program would write it that thinks of nothing: WAL, FULL.
fn plain(path: &Path) -> Result<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(
        "CREATE TABLE readings (id INTEGER PRIMARY KEY, stream TEXT, at INTEGER, value REAL)",
    )?;
    Ok(connection)
}

/// Hands in `batch` readings, at most [`STREAMS`] an instant, five instants a second and none quite on time, and waits until
/// one commit has taken them all.
async fn commit(queue: &Queue, first: Mono, batch: usize, round: &mut u64) -> Result<u32> {
    let mut answers = Vec::new();
    let mut left = batch;
    while left > 0 {
        let late_us = *round * 7919 % 5000;
        let at = first.plus(Duration::from_micros(200_000 * answers.len() as u64 + late_us));
        let samples: Vec<Sample> = (0..left.min(STREAMS)).map(|n| sample(queue, n, *round)).collect();
        left -= samples.len();
        *round += 1;
        answers.push(queue.offer(capture(queue, at, samples)).await?);
    }
    queue.flush().await;
    let mut accepted = 0;
    for answer in answers {
        accepted += answer.await??.accepted;
    }
    Ok(accepted)
}

/// Bytes that reach the disk by reading, when each commit takes what gathers in `window_s` seconds.
async fn flash_per_reading(folder: &Path, clock: &Arc<dyn Clock>, window_s: u64) -> Result<f64> {
    let queue = open(&folder.join(format!("flash-{window_s}.db")), clock, Duration::from_secs(60))?;
    let begin = clock.mono();
    let mut readings = 0_u32;
    let before = written()?;
    let mut round = 0;
    for second in (0..COMMITS).map(|n| n * window_s) {
        let at = begin.plus(Duration::from_secs(second));
        readings += commit(&queue, at, usize::try_from(window_s * 100)?, &mut round).await?;
    }
    let after = written()?;
    queue.stop();
    #[allow(clippy::cast_precision_loss, reason = "a figure that is printed with one digit")]
    let written = (after - before) as f64;
    Ok(written / f64::from(readings))
}

/// What this process has caused to be written to a disk, bytes.
fn written() -> Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("/proc/self/io says no write_bytes")?.parse()?)
}

fn open(path: &Path, clock: &Arc<dyn Clock>, commit_window: Duration) -> Result<Queue> {
    let stream = |n: usize| StreamSpec {
        name: format!("meter.point_{n}"),
        group: "field/meter".into(),
        device: "gw".into(),
        class: Class::Telemetry,
        unit: "Cel".into(),
        resolution: Some(Resolution { numerator: 1, denominator: 10 }),
        alias: format!("p{n}"),
        routes: vec!["golioth".into()],
        latest_only: false,
    };
    Ok(Queue::open(
        OpenOptions {
            path: path.to_owned(),
            streams: (0..STREAMS).map(stream).collect(),
            destinations: vec![DestinationSpec { name: "golioth".into() }],
            commit_window,
            max_bytes: 512 << 20,
            class_quotas: Default::default(),
            ballast_bytes: 0,
            flash_budget_per_day: None,
            boot: clock.boot_id(),
            epoch: Epoch(clock.mono().0),
            file_id: clock.mono().0,
        },
        clock,
    )?)
}

fn capture(queue: &Queue, at: Mono, samples: Vec<Sample>) -> Capture {
    let group = queue.streams()[0].1;
    Capture { group, at, samples, missing: Vec::new() }
}

/// A value that moves by some tenths, as measurements do.
fn sample(queue: &Queue, stream: usize, round: u64) -> Sample {
    let stream: StreamId = queue.streams()[stream].0;
    let steps = 215 + i64::from(stream.0) * 10 + (round * 7 % 13).cast_signed();
    Sample { stream, value: Value::Steps(steps), quality: Quality::Good }
}

fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

fn percentiles(values: &[f64]) -> Json {
    json!({ "p50": percentile(values, 50).round(), "p99": percentile(values, 99).round(), "of": values.len() })
}

/// The value that `percent` of all do not exceed.
fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut ordered = values.to_vec();
    ordered.sort_by(f64::total_cmp);
    let at = (ordered.len() * percent).div_ceil(100).saturating_sub(1);
    ordered.get(at).copied().unwrap_or(f64::NAN)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
