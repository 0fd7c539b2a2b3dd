//! `prove drain`: a long queue leaves as fast as the cloud and the link allow, and its length costs no memory.
//!
//! The rate is measured in virtual time: the whole daemon, a link with a bottleneck, the simulated cloud with its limit of
//! requests. What counts is bodies of readings delivered, against what the narrower of the two could carry: the link, less what
//! headers, DTLS and CoAP take of it as measured, or the limit at a full message each. Memory is measured on the real daemon as a
//! child process, in its first minute with queues of several lengths.

use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::reading::Class;

use super::footprint::{fill, start};
use super::{Common, Proof, Subject, few, subject};
use crate::cloud::CloudCounters;
use crate::demo;
use crate::gateway::surroundings::Surroundings;
use crate::gateway::{Trouble, run_alone, temporary_folder};
use crate::relay::{DirectionCounters, RateLimit};
use crate::world::{Feed, FeedGroup, World, WorldOptions, in_virtual_time};

/// Bytes of readings delivered, as a share of what could be.
const SHARE: f64 = 0.90;
/// Bytes by which the highest resident set may grow from the shortest queue to the longest.
const GROWTH: u64 = 4_000_000;
/// The link, 375 kbit/s.
const LINK: u64 = 375_000 / 8;
/// What its bottleneck holds back before it drops.
const BUFFER: u64 = 64 * 1024;
/// The cloud's limit: requests a second, each of at most this many bytes.
const LIMIT: u64 = 20 * 1024;
/// Streams captured together, one instant a second.
const STREAMS: u64 = 8;
/// Instants between two looks at the queue that is being filled: one commit.
const STEP: u64 = 256;
/// How long the daemon may take to connect, and to drain a thousandth of the queue.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Readings queued for the rate.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10_000..=10_000_000))]
    rows: Option<u64>,
    /// How long each daemon works before its memory is read.
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    work: Option<Duration>,
}

pub(super) fn prove(args: &Args) -> Result<Proof, Trouble> {
    let short = args.common.short;
    let rows = args.rows.unwrap_or(if short { 300_000 } else { 1_000_000 });
    let depths: &[u64] = if short { &[10_000, 100_000] } else { &[10_000, 1_000_000, 10_000_000] };
    let work = args.work.unwrap_or(Duration::from_secs(if short { 2 } else { 60 }));

    let run = in_virtual_time(drain(rows)).map_err(Trouble::system("make an event queue"))??;
    let memory = run_alone(async {
        let subject = subject(&args.common).await?;
        memory(&subject, depths, work).await
    })?;

    let mut proof = Proof::default();
    let share = run.rate() / run.ceiling();
    proof.demand(share >= SHARE, || {
        format!(
            "readings leave at {SHARE} of what link and cloud can carry at least (it was {share:.3}: {:.0} B/s of {:.0} B/s)",
            run.rate(),
            run.ceiling()
        )
    });
    // Without loss nothing is repeated: a datagram more for each message would be a message cut into blocks.
    proof.demand(run.up.datagrams <= run.messages() + run.messages() / 20 + 20, || {
        format!("one datagram a message ({} datagrams for {} messages)", run.up.datagrams, run.messages())
    });
    proof.demand(run.arrived == rows && run.wrong == 0, || {
        format!("every reading arrives as it was ({} of {rows} did, {} are wrong)", run.arrived, run.wrong)
    });
    proof.demand(run.limited == 0, || {
        format!("the cloud's limit is kept ({} requests were refused for it)", run.limited)
    });
    proof.demand(run.problems.is_empty(), || format!("the books close ({})", few(&run.problems)));
    let first = memory.first().map_or(0, |(_, peak)| *peak);
    let most = memory.iter().map(|(_, peak)| *peak).max().unwrap_or(0);
    // No memory at all is no measurement.
    proof.demand(!memory.is_empty() && memory.iter().all(|(_, peak)| *peak > 0), || {
        format!("memory is measured with each queue ({memory:?})")
    });
    proof.demand(most - first <= GROWTH, || {
        format!("a longer queue takes at most {GROWTH} B more memory (it took {} B)", most - first)
    });
    proof.figures = serde_json::json!({
        "rows": rows, "virtual_s": run.took.as_secs_f64(), "bytes": run.bytes(), "bytes_a_second": run.rate().round(),
        "could_be_bytes_a_second": run.ceiling().round(), "share": (share * 1000.0).round() / 1000.0,
        "messages": run.messages(), "datagrams_up": run.up.datagrams, "wire_bytes_up": run.up.wire_bytes,
        "bytes_a_message": run.bytes().checked_div(run.messages()), "bytes_a_reading": run.bytes() as f64 / rows as f64,
        "link_bytes_a_second": LINK, "limit_bytes_a_second": LIMIT,
        "peak_rss_bytes": memory.iter().map(|(depth, peak)| (depth.to_string(), *peak)).collect::<std::collections::BTreeMap<_, _>>(),
        "peak_rss_growth_bytes": most - first, "worked_s": work.as_secs(),
        "floors": { "share": SHARE, "peak_rss_growth_bytes": GROWTH },
    });
    Ok(proof)
}

/// What was seen while the queue drained.
struct Run {
    took: Duration,
    cloud: CloudCounters,
    up: DirectionCounters,
    arrived: u64,
    wrong: u64,
    limited: u64,
    problems: Vec<String>,
}

impl Run {
    fn messages(&self) -> u64 {
        self.cloud.stream_messages
    }

    fn bytes(&self) -> u64 {
        self.cloud.stream_bytes
    }

    fn rate(&self) -> f64 {
        self.bytes() as f64 / self.took.as_secs_f64()
    }

    /// What could be delivered, bytes a second.
    fn ceiling(&self) -> f64 {
        let after_overhead = LINK as f64 * self.bytes() as f64 / self.up.wire_bytes.max(1) as f64;
        after_overhead.min(LIMIT as f64)
    }
}

async fn drain(rows: u64) -> Result<Run, Trouble> {
    let dense =
        FeedGroup { name: "d", class: Class::Telemetry, streams: STREAMS as usize, every: 1, noise_bits: 4 };
    let mut feed = Feed::new(&[dense]);
    let options = WorldOptions {
        bus: false,
        quiet: feed.tables().into(),
        rate: Some(RateLimit { bytes_per_second: LINK, buffer_bytes: BUFFER }),
        ..WorldOptions::default()
    };
    let world = World::start(&options).await?;
    // The opening statement of the epoch goes now, and nothing else.
    world.relay(|relay| relay.cut());
    let instants = rows.div_ceil(STREAMS);
    while feed.fed() < instants {
        let began = world.now();
        world.pass(Duration::from_secs(STEP)).await;
        for n in 0..STEP.min(instants - feed.fed()) {
            world.feed(&mut feed, began + Duration::from_secs(n)).await?;
        }
    }
    feed.answered().await;
    world.relay(|relay| relay.heal());
    while world.link().is_none_or(|link| link.phase != LinkPhase::Up) {
        world.pass(Duration::from_millis(50)).await;
        if world.now() > Duration::from_secs(instants) + PATIENCE {
            return Err(Trouble::Surroundings("the link did not come back".into()));
        }
    }
    let (began, up) = (world.now(), world.relay_counters().up);
    let cloud = world.cloud(|cloud, _| cloud.counters());
    // As soon as the cloud has them all: the books follow a commit later.
    let last_at = began + PATIENCE + Duration::from_millis(rows / 10);
    while world.cloud(|cloud, _| cloud.intake().counts().unique) < rows && world.now() < last_at {
        world.pass(Duration::from_millis(50)).await;
    }
    let took = world.now() - began;
    let mut after = world.cloud(|cloud, _| cloud.counters());
    after.stream_messages -= cloud.stream_messages;
    after.stream_bytes -= cloud.stream_bytes;
    let mut sent = world.relay_counters().up;
    sent.datagrams -= up.datagrams;
    sent.wire_bytes -= up.wire_bytes;
    let arrived = feed.compare(|alias| world.far_values(alias));
    let mut run = Run {
        took,
        limited: after.too_many_requests - cloud.too_many_requests,
        cloud: after,
        up: sent,
        arrived: arrived.iter().map(|stream| stream.there).sum(),
        wrong: arrived.iter().map(|stream| stream.wrong).sum(),
        problems: Vec::new(),
    };
    if run.arrived == rows {
        world.drained(PATIENCE).await?;
    }
    run.problems = world.stop().await?.problems;
    Ok(run)
}

/// The highest resident set of the real daemon after some work, by queue length.
async fn memory(subject: &Subject, depths: &[u64], work: Duration) -> Result<Vec<(u64, u64)>, Trouble> {
    let mut peaks = Vec::new();
    for depth in depths {
        let folder = temporary_folder()?;
        let around = Surroundings::make(&demo::installation(1), folder.path()).await?;
        fill(&around.config, *depth).await?;
        let mut daemon = start(subject, &around, folder.path()).start()?;
        daemon.ready(PATIENCE).await?;
        tokio::time::sleep(work).await;
        peaks.push((*depth, daemon.memory().peak_rss));
        daemon.stop(PATIENCE).await?;
    }
    Ok(peaks)
}
