//! How fast readings are accepted, and how much flash that wears. Prints JSON.
//!
//! ```text
//! bench_accept FOLDER      # on the disk to be measured; not in memory
//! ```
//!
//! First what one sync costs on that disk; then readings a second, accepted one batch a commit, beside one row a transaction
//! in plain SQLite with the same settings; then `write_bytes` of `/proc/self/io` by reading, for the commits that a window of 1 s
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

/// Streams, captured together five times a second: 100 readings a second.
const STREAMS: usize = 20;
/// Captures a second.
const HERTZ: u64 = 5;
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
    let sync_us = sync_cost(folder, &*clock)?;
    let plain = one_row_a_transaction(folder, &*clock)?;
    let mut rates = Vec::new();
    for batch in [1_usize, 100, 1000] {
        let rate = runtime.block_on(accepted_rate(folder, &clock, batch))?;
        rates.push(json!({ "batch": batch, "readings_per_second": rate.round(), "times_plain": (rate / plain * 10.0).round() / 10.0 }));
    }
    let mut flash = Vec::new();
    for window_s in [1, 5] {
        let bytes = runtime.block_on(flash_per_reading(folder, &clock, window_s))?;
        flash.push(json!({ "window_s": window_s, "readings_per_commit": window_s * 100, "bytes_per_reading": (bytes * 10.0).round() / 10.0 }));
    }
    Ok(json!({
        "sync_us": sync_us.round(),
        "one_row_a_transaction_per_second": (plain * 10.0).round() / 10.0,
        "rates": rates,
        "flash": flash,
        "streams": STREAMS,
        "commits_by_which_flash_is_measured": COMMITS,
    }))
}

/// Microseconds for a small append and its sync: the median of many.
fn sync_cost(folder: &Path, clock: &dyn Clock) -> Result<f64> {
    let mut file = File::options().create(true).append(true).open(folder.join("sync"))?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let begun = clock.mono();
        file.write_all(&[0; 64])?;
        file.sync_data()?;
        times.push(clock.mono().since(begun).as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Rows a second, as a program would write them that thinks of nothing: WAL, FULL, an insert a transaction.
fn one_row_a_transaction(folder: &Path, clock: &dyn Clock) -> Result<f64> {
    let connection = rusqlite::Connection::open(folder.join("plain.db"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(
        "CREATE TABLE readings (id INTEGER PRIMARY KEY, stream TEXT, at INTEGER, value REAL)",
    )?;
    let mut rows = 0_u32;
    let begun = clock.mono();
    let mut took = Duration::ZERO;
    while took < Duration::from_secs(3) {
        connection
            .prepare_cached("INSERT INTO readings (stream, at, value) VALUES ('pump.flow', ?1, 21.5)")?
            .execute([rows])?;
        rows += 1;
        took = clock.mono().since(begun);
    }
    Ok(f64::from(rows) / took.as_secs_f64())
}

/// Readings a second, one commit a batch.
async fn accepted_rate(folder: &Path, clock: &Arc<dyn Clock>, batch: usize) -> Result<f64> {
    // Every accept is its own commit: the caller waits for it.
    let queue = open(&folder.join(format!("rate-{batch}.db")), clock, Duration::ZERO)?;
    let mut readings = 0_u32;
    let begun = clock.mono();
    let mut took = Duration::ZERO;
    let mut round = 0;
    while took < Duration::from_secs(3) {
        let samples = (0..batch).map(|n| sample(&queue, n % STREAMS, round)).collect();
        round += 1;
        let accepted = queue.accept(capture(&queue, clock.mono(), samples)).await?;
        readings += accepted.accepted;
        took = clock.mono().since(begun);
    }
    queue.stop();
    Ok(f64::from(readings) / took.as_secs_f64())
}

/// Bytes that reach the disk by reading, when each commit takes what gathers in `window_s` seconds.
async fn flash_per_reading(folder: &Path, clock: &Arc<dyn Clock>, window_s: u64) -> Result<f64> {
    let queue = open(&folder.join(format!("flash-{window_s}.db")), clock, Duration::from_secs(60))?;
    let begin = clock.mono();
    let mut readings = 0_u32;
    let before = written()?;
    for commit in 0..COMMITS {
        let mut answers = Vec::new();
        for n in 0..window_s * HERTZ {
            let round = commit * window_s * HERTZ + n;
            let at = begin.plus(Duration::from_millis(round * 1000 / HERTZ));
            let samples = (0..STREAMS).map(|n| sample(&queue, n, round)).collect();
            answers.push(queue.offer(capture(&queue, at, samples)).await?);
        }
        queue.flush().await;
        for answer in answers {
            readings += answer.await??.accepted;
        }
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
    };
    Ok(Queue::open(
        OpenOptions {
            path: path.to_owned(),
            streams: (0..STREAMS).map(stream).collect(),
            destinations: vec![DestinationSpec { name: "golioth".into() }],
            commit_window,
            max_bytes: 512 << 20,
            ballast_bytes: 0,
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
