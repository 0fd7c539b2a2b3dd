//! Works on both database files as the daemon does, and tells on standard output what it has been answered, so that a proof
//! can cut the power beneath it and compare:
//!
//! ```text
//! store_and_tell CONFIG LOG ROUNDS
//! ```
//!
//! `LOG` is the log of a recording block device (the dm-log-writes format). Each line begins with a word and the number of
//! entries the log had at that moment:
//!
//! - `begins P`: the files are open
//! - `accepted P EPOCH SEQUENCE COUNT`: these readings are committed and synced; the value of the stream in place `i` is `COUNT` + `i`
//! - `settling P EPOCH:SEQUENCE:VALUE …`: from now on they may be gone
//! - `settled P EPOCH:SEQUENCE:VALUE …`: that is committed too
//! - `recorded P VERSION`: the firmware history has this version
//!
//! The files are written through the same doors as the daemon's lanes use.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use fieldgate::clock::{Clock, SystemClock};
use fieldgate::config;
use fieldgate::daemon::rim::machine;
use fieldgate::daemon::stores::Stores;
use fieldgate::reading::{Capture, Class, Quality, Sample, Value};
use fieldgate::store::gateway::ComponentKey;
use fieldgate::store::queue::{Health, Outcome, Position, SettledRow, Settlement};

/// Values of one capture lie below this.
const VALUES: i64 = 16;
/// Captures of one round, committed together.
const CAPTURES: i64 = 4;
/// Every so many rounds some readings are settled, and a version recorded.
const SETTLE_EVERY: u64 = 5;
const RECORD_EVERY: u64 = 7;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(config), Some(log), Some(Ok(rounds)), None) =
        (arguments.next(), arguments.next(), arguments.next().map(|n| n.parse::<u64>()), arguments.next())
    else {
        eprintln!("usage: store_and_tell CONFIG LOG ROUNDS");
        return ExitCode::from(2);
    };
    match work(Path::new(&config), Path::new(&log), rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Says lines with the log's position.
struct Teller(File);

impl Teller {
    fn tell(&self, word: &str, rest: &str) -> Result<(), Box<dyn Error>> {
        let mut entries = [0u8; 8];
        // After the magic number and the version.
        self.0.read_exact_at(&mut entries, 16)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{word} {} {rest}", u64::from_le_bytes(entries))?;
        out.flush()?;
        Ok(())
    }
}

fn work(config: &Path, log: &Path, rounds: u64) -> Result<(), Box<dyn Error>> {
    let teller = Teller(File::open(log)?);
    let config = config::load(config, None)?.config;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(true, None));
    let rim = machine::rim(Arc::clone(&clock));
    let stores = Stores::on_threads(&config, &rim)?;
    teller.tell("begins", "")?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut count = 0;
        for round in 1..=rounds {
            accept(&stores, &*clock, &teller, &mut count).await?;
            if round % SETTLE_EVERY == 0 {
                settle(&stores, &teller).await?;
            }
            if round % RECORD_EVERY == 0 {
                let key = ComponentKey { device: config.gateway.serial.clone(), package: "main".into() };
                let version = format!("1.0.{round}");
                stores.gateway.observe_version(&key, &version).await?;
                teller.tell("recorded", &version)?;
            }
        }
        Ok::<(), Box<dyn Error>>(())
    })
}

async fn accept(
    stores: &Stores,
    clock: &dyn Clock,
    teller: &Teller,
    count: &mut i64,
) -> Result<(), Box<dyn Error>> {
    let group = stores.queue.streams().first().ok_or("the configuration has no streams")?.1;
    let mut answers = Vec::new();
    for _ in 0..CAPTURES {
        *count += VALUES;
        let mut samples = Vec::new();
        for (place, (stream, _)) in (0..).zip(stores.queue.streams()) {
            samples.push(Sample {
                stream: *stream,
                value: Value::Steps(*count + place),
                quality: Quality::Good,
            });
        }
        let capture = Capture { group, at: clock.mono(), samples, missing: Vec::new() };
        answers.push((*count, stores.queue.offer(capture).await?));
    }
    if stores.queue.flush().await != Health::Good {
        return Err("the queue takes nothing more".into());
    }
    for (count, answer) in answers {
        let accepted = answer.await??;
        teller.tell("accepted", &format!("{} {} {count}", accepted.epoch, accepted.sequence))?;
    }
    Ok(())
}

/// Settles a stretch from where the destination stands, as an acknowledgement does.
async fn settle(stores: &Stores, teller: &Teller) -> Result<(), Box<dyn Error>> {
    let destination = stores.queue.destinations().first().ok_or("no destination")?.0;
    let mut reader = stores.queue.reader(destination)?;
    let from: Position = reader.start(Class::Telemetry);
    let picked = reader.pick(Class::Telemetry, from, 40)?;
    let Some(to) = picked.resume else { return Ok(()) };
    let mut said = String::new();
    let mut rows = Vec::new();
    for row in &picked.rows {
        let Value::Steps(value) = row.sample.value else { continue };
        said.push_str(&format!("{}:{}:{value} ", row.epoch.epoch, row.sequence));
        rows.push(SettledRow::of(row));
    }
    teller.tell("settling", &said)?;
    let generation = stores.queue.status().borrow().generation;
    let outcome = Outcome::Acknowledged;
    let settlement = Settlement {
        generation,
        destination,
        class: Class::Telemetry,
        from,
        to,
        rows,
        outcome,
        given_up: Vec::new(),
        announces_epoch: false,
    };
    stores.queue.settle(settlement).await;
    if stores.queue.flush().await == Health::Good {
        teller.tell("settled", &said)?;
    }
    Ok(())
}
