//! Fills a gateway's queue with readings of its configured streams, as if they had been captured and never sent:
//!
//! ```text
//! fill_queue /etc/fieldgate/fieldgate.toml 1000000
//! ```
//!
//! For measurements of a daemon that starts with a long queue. It goes through the same door as the daemon's own lanes
//! (`Queue::accept`), so the file is what the daemon itself would have made. The daemon must not run.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use fieldgate::clock::{Clock, Mono, SystemClock};
use fieldgate::config;
use fieldgate::daemon::rim::machine;
use fieldgate::daemon::stores::Stores;
use fieldgate::reading::{Capture, GroupId, Quality, Sample, StreamId, Value};
use fieldgate::store::queue::Health;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(config), Some(Ok(readings)), None) =
        (arguments.next(), arguments.next().map(|n| n.parse::<u64>()), arguments.next())
    else {
        eprintln!("usage: fill_queue CONFIG READINGS");
        return ExitCode::from(2);
    };
    match fill(Path::new(&config), readings) {
        Ok(filled) => {
            println!("{filled} readings queued");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn fill(config: &Path, readings: u64) -> Result<u64, Box<dyn Error>> {
    let config = config::load(config, None)?.config;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(config.time.trust_system_clock, None));
    let rim = machine::rim(Arc::clone(&clock));
    let stores = Stores::on_threads(&config, &rim)?;
    let groups = groups(stores.queue.streams());
    if groups.is_empty() {
        return Err("the configuration has no streams".into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let filled = runtime.block_on(async {
        let mut filled = 0;
        // One second apart, the newest now.
        let rounds = readings.div_ceil(stores.queue.streams().len() as u64);
        let begin = clock.mono().0.saturating_sub(rounds.saturating_mul(1_000_000_000));
        for round in 0..rounds {
            for (group, streams) in &groups {
                let at = Mono(begin + round * 1_000_000_000);
                let sample = |stream: &StreamId| Sample {
                    stream: *stream,
                    value: Value::Steps((round % 1000).cast_signed()),
                    quality: Quality::Good,
                };
                let samples: Vec<Sample> = streams.iter().map(sample).collect();
                filled += samples.len() as u64;
                // The answer comes after the commit; the flush at the end waits for all of them.
                stores.queue.offer(Capture { group: *group, at, samples, missing: Vec::new() }).await?;
            }
        }
        match stores.queue.flush().await {
            Health::Good => Ok(filled),
            sick => Err(Box::<dyn Error>::from(format!("the queue takes no more: {}", sick.name()))),
        }
    })?;
    stores.stop();
    Ok(filled)
}

/// The streams of each group, in order.
fn groups(streams: &[(StreamId, GroupId)]) -> Vec<(GroupId, Vec<StreamId>)> {
    let mut groups: Vec<(GroupId, Vec<StreamId>)> = Vec::new();
    for (stream, group) in streams {
        match groups.iter_mut().find(|(known, _)| known == group) {
            Some((_, streams)) => streams.push(*stream),
            None => groups.push((*group, vec![*stream])),
        }
    }
    groups
}
