//! `prove ota-goodput`: a firmware image comes as fast as link and cloud allow, and over the worst of links hardly a byte comes
//! twice.
//!
//! Virtual time, in-memory wires: the whole daemon, its real DTLS and CoAP, a link with a bottleneck, the simulated cloud with its
//! limit of requests, which counts every block. The image is taken through the daemon's own link, as an update would take
//! it, and compared. Three links: a slow one and a fast one, where payload is held against what could come, and a
//! hostile one, where what arrives at the gateway is held against the size of the image. The slow link loses 2 %, the fast one
//! nothing; what it comes to where that loses 2 % too is printed beside it.

use std::ops::Range;
use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::uplink::link::{FetchError, Link, ManifestComponent};
use sha2::{Digest, Sha256};

use super::{Common, Proof};
use crate::gateway::Trouble;
use crate::relay::RateLimit;
use crate::world::{DEVICE, World, WorldOptions, in_virtual_time};

/// Payload as a share of the slow link's rate, headers and losses included.
const SLOW_SHARE: f64 = 0.85;
/// Payload as a share of what the fast link and the cloud's limit allow, and as a multiple of one block a round trip.
const FAST_SHARE: f64 = 0.90;
const FAST_TIMES: f64 = 5.0;
/// Payload that arrives over the hostile link, by the size of the image.
const HOSTILE_PAYLOAD: f64 = 1.05;
/// Bytes a second: 128 and 300 kbit/s.
const SLOW: u64 = 128_000 / 8;
const FAST: u64 = 300_000 / 8;
/// What a bottleneck holds back before it drops.
const BUFFER: u64 = 64 * 1024;
/// The cloud's limit of requests a second, each for one block.
const LIMIT: u64 = 20;
const BLOCK: u64 = 1024;
/// Blocks that are fetched one after the other, for comparison.
const ONE_BY_ONE: u64 = 60;
/// How often the hostile link's address translation forgets.
const MOVES_EVERY: Duration = Duration::from_secs(60);
/// How long anything may take, virtual time.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How often a download is taken up again.
const MOST_TIMES: u32 = 100;

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Bytes of the image on the slow and the fast link; a twelfth of it on the hostile one.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(100_000..=100_000_000))]
    size: Option<u64>,
}

pub(super) fn prove(args: &Args) -> Result<Proof, Trouble> {
    // Of no whole number of blocks, as images are.
    let size = args.size.unwrap_or(if args.common.short { 3_000_001 } else { 12_000_001 });
    let link = |loss, rate| WorldOptions {
        bus: false,
        loss,
        rate: Some(RateLimit { bytes_per_second: rate, buffer_bytes: BUFFER }),
        count_blocks: true,
        ..WorldOptions::default()
    };
    let virtually = |run| in_virtual_time(run).map_err(Trouble::system("make an event queue"));
    let slow = virtually(download(link(0.02, SLOW), size, None, 0))??;
    let fast = virtually(download(link(0.0, FAST), size, None, ONE_BY_ONE))??;
    let lossy = virtually(download(link(0.02, FAST), size, None, ONE_BY_ONE))??;
    let hostile = virtually(download(link(0.4, FAST), size / 12, Some(MOVES_EVERY), 0))??;

    let mut proof = Proof::default();
    let slow_share = slow.rate() / SLOW as f64;
    proof.demand(slow_share >= SLOW_SHARE, || {
        format!(
            "over a slow link the image comes at {SLOW_SHARE} of its rate at least (it was {slow_share:.3})"
        )
    });
    let could = FAST.min(LIMIT * BLOCK) as f64;
    let (fast_share, times) = (fast.rate() / could, fast.rate() / fast.one_by_one);
    proof.demand(fast_share >= FAST_SHARE, || {
        format!("over a fast link the image comes at {FAST_SHARE} of what link and cloud allow at least (it was {fast_share:.3})")
    });
    proof.demand(times >= FAST_TIMES, || {
        format!("{FAST_TIMES} times as fast as one block a round trip at least (it was {times:.2})")
    });
    let payload = hostile.arrived as f64 / hostile.size as f64;
    proof.demand(payload <= HOSTILE_PAYLOAD, || {
        format!("over a hostile link at most {HOSTILE_PAYLOAD} of the image arrives (it was {payload:.3})")
    });
    for (name, run) in [("slow", &slow), ("fast", &fast), ("fast and lossy", &lossy), ("hostile", &hostile)] {
        proof.demand(run.is_right, || format!("the image is whole and right over the {name} link"));
        // At 40 % loss a session may hear nothing for so long that it is given up.
        proof.demand(run.handshakes == 1 || name == "hostile", || {
            format!("no download costs a handshake ({} over the {name} link)", run.handshakes)
        });
        // What is repeated leaves when its time has come: then a request in a thousand may be one too many.
        proof.demand(
            run.limited <= if name == "fast and lossy" { size / BLOCK / 1000 + 1 } else { 0 },
            || format!("the cloud's limit is kept ({} requests refused over the {name} link)", run.limited),
        );
    }
    proof.figures = serde_json::json!({
        "slow": { "link_bytes_a_second": SLOW, "round_trip_ms": 300, "loss": 0.02, "share": rounded(slow_share), "run": slow.figures() },
        "fast": {
            "link_bytes_a_second": FAST, "round_trip_ms": 300, "loss": 0.0, "could_be_bytes_a_second": could,
            "share": rounded(fast_share), "one_by_one_bytes_a_second": fast.one_by_one.round(), "times": rounded(times),
            "run": fast.figures(),
        },
        "fast_lossy": {
            "loss": 0.02, "share": rounded(lossy.rate() / could), "times": rounded(lossy.rate() / lossy.one_by_one),
            "run": lossy.figures(),
        },
        "hostile": {
            "link_bytes_a_second": FAST, "round_trip_ms": 300, "loss": 0.4, "address_changes_every_s": MOVES_EVERY.as_secs(),
            "payload_by_size": rounded(payload), "run": hostile.figures(),
        },
        "requests_a_second": LIMIT,
        "floors": { "slow_share": SLOW_SHARE, "fast_share": FAST_SHARE, "fast_times": FAST_TIMES, "hostile_payload": HOSTILE_PAYLOAD },
    });
    Ok(proof)
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// What was seen of one download.
struct Run {
    size: u64,
    took: Duration,
    is_right: bool,
    /// Payload bytes that arrived, copies included.
    arrived: u64,
    /// Payload a second, one block a round trip.
    one_by_one: f64,
    handshakes: u64,
    limited: u64,
    moves: u64,
    interruptions: u32,
    datagrams_up: u64,
    wire_bytes_up: u64,
    wire_bytes_down: u64,
}

impl Run {
    fn rate(&self) -> f64 {
        self.size as f64 / self.took.as_secs_f64()
    }

    fn figures(&self) -> serde_json::Value {
        serde_json::json!({
            "size": self.size, "virtual_s": rounded(self.took.as_secs_f64()), "bytes_a_second": self.rate().round(),
            "payload_arrived": self.arrived, "handshakes": self.handshakes, "too_many_requests": self.limited,
            "address_changes": self.moves, "interruptions": self.interruptions, "datagrams_up": self.datagrams_up,
            "wire_bytes_up": self.wire_bytes_up, "wire_bytes_down": self.wire_bytes_down,
        })
    }
}

async fn download(
    options: WorldOptions,
    size: u64,
    moves_every: Option<Duration>,
    one_by_one: u64,
) -> Result<Run, Trouble> {
    let world = World::start(&options).await?;
    while world.link().is_none_or(|link| link.phase != LinkPhase::Up) {
        world.pass(Duration::from_millis(50)).await;
        patient(world.now())?;
    }
    let content = image(size);
    let artifact = ManifestComponent {
        package: "main".into(),
        version: "1.2.3".into(),
        sha256: Sha256::digest(&content).into(),
        size_bytes: size,
        uri: "/.u/c/main@1.2.3".into(),
    };
    let stored = content.clone();
    world
        .cloud(|cloud, now| cloud.deploy(now, &[DEVICE], "main", "1.2.3", stored))
        .map_err(|error| Trouble::Surroundings(error.to_string()))?;
    let link = world.device_plane().ok_or_else(|| Trouble::Surroundings("there is no link".into()))?;
    let before = world.relay_counters();
    let blocks = world.blocks_arrived();
    let began = world.now();
    let mut taken = Taken { image: vec![0; content.len()], have: Vec::new() };
    let mut moves = 0;
    let mut interruptions = 0;
    let mut end = take(&world, &*link, &artifact, &mut taken, moves_every, &mut moves).await;
    while let Err(FetchError::Interrupted { .. }) = end
        && interruptions < MOST_TIMES
    {
        interruptions += 1;
        patient(world.now())?;
        end = take(&world, &*link, &artifact, &mut taken, moves_every, &mut moves).await;
    }
    end.map_err(|error| Trouble::Surroundings(error.to_string()))?;
    let (took, after) = (world.now() - began, world.relay_counters());
    // The last block is shorter, and perhaps so short that it does not count.
    let arrived = ((world.blocks_arrived() - blocks) * BLOCK).max(size);
    let rate = step_by_step(&world, &*link, &artifact, one_by_one).await?;
    let counters = world.cloud(|cloud, _| cloud.counters());
    world.stop().await?;
    Ok(Run {
        size,
        took,
        is_right: taken.image == content,
        arrived,
        one_by_one: rate,
        handshakes: counters.handshakes,
        limited: counters.too_many_requests,
        moves,
        interruptions,
        datagrams_up: after.up.datagrams - before.up.datagrams,
        wire_bytes_up: after.up.wire_bytes - before.up.wire_bytes,
        wire_bytes_down: after.down.wire_bytes - before.down.wire_bytes,
    })
}

/// What has been taken of an image.
struct Taken {
    image: Vec<u8>,
    have: Vec<Range<u64>>,
}

/// Takes blocks until the image is whole or the download is interrupted. The address changes meanwhile.
async fn take(
    world: &World,
    link: &dyn Link,
    artifact: &ManifestComponent,
    taken: &mut Taken,
    moves_every: Option<Duration>,
    moves: &mut u64,
) -> Result<(), FetchError> {
    let mut blocks = link.fetch(artifact, &taken.have).await?;
    let mut moves_at = world.now() + moves_every.unwrap_or(PATIENCE);
    loop {
        let left = moves_at.saturating_sub(world.now());
        let Ok(block) = tokio::time::timeout(left, blocks.next()).await else {
            world.relay(|relay| relay.rebind());
            *moves += 1;
            moves_at += moves_every.unwrap_or(PATIENCE);
            continue;
        };
        let Some(block) = block? else { return Ok(()) };
        let (from, to) = (block.offset, block.offset + block.bytes.len() as u64);
        let place = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        if let Some(place) = place.and_then(|(from, to)| taken.image.get_mut(from..to)) {
            place.copy_from_slice(&block.bytes);
        }
        match taken.have.iter_mut().find(|part| part.end == from) {
            Some(part) => part.end = to,
            None => taken.have.push(from..to),
        }
    }
}

/// Payload bytes a second when each block is asked for after the one before has come. Zero blocks take no time.
async fn step_by_step(
    world: &World,
    link: &dyn Link,
    artifact: &ManifestComponent,
    blocks: u64,
) -> Result<f64, Trouble> {
    let began = world.now();
    for num in 0..blocks {
        let have = [0..num * BLOCK, (num + 1) * BLOCK..artifact.size_bytes];
        let mut one = link.fetch(artifact, &have).await.map_err(|e| Trouble::Surroundings(e.to_string()))?;
        while one.next().await.map_err(|e| Trouble::Surroundings(e.to_string()))?.is_some() {}
    }
    let took = (world.now() - began).as_secs_f64();
    Ok(if blocks == 0 { 0.0 } else { (blocks * BLOCK) as f64 / took })
}

fn patient(now: Duration) -> Result<(), Trouble> {
    if now > PATIENCE {
        return Err(Trouble::Surroundings("the download did not end within a day".into()));
    }
    Ok(())
}

/// Bytes that are nowhere alike for long.
fn image(size: u64) -> Vec<u8> {
    (0..size).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
