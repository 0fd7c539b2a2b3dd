//! Batches of readings that never change in size, and what they take on the wire.

use std::fmt::Write as _;
use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::clock::Mono;
use fieldgate::reading::{Capture, Quality, Sample, Value};
use fieldgate::store::queue::Refused;

use crate::cloud::{Fault, FaultKind, SeenValue, Stated};
use crate::gateway::Trouble;
use crate::random::Dice;
use crate::relay::DirectionCounters;
use crate::world::{DEVICE, UNIX_MS, World, WorldError, WorldOptions};

/// How long the daemon may take to connect, and to deliver a batch.
const PATIENCE: Duration = Duration::from_secs(600);
/// Before it is counted. What is owed besides readings is looked for once a minute.
const SETTLED: Duration = Duration::from_secs(180);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// From one instant to the next, and how far off either way.
const PERIOD_MS: u64 = 1000;
const JITTER_MS: u64 = 5;
/// Most of a 16-bit value.
const MOST: i64 = 65_535;
/// Deviates whose sum is taken for normal.
const DEVIATES: u64 = 12;

/// How values follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// By about normal steps, σ = 4.
    Walk,
    /// Not at all.
    Uniform,
}

impl Values {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Walk => "16 bits, random walk, sigma 4",
            Self::Uniform => "16 bits, uniform noise",
        }
    }

    fn next(self, dice: &mut Dice, before: i64) -> i64 {
        match self {
            // A sum of 12 deviates of width 4 has σ = 4.
            Self::Walk => {
                let sum: f64 = (0..DEVIATES).map(|_| dice.fraction() - 0.5).sum();
                (before + (sum * 4.0).round() as i64).clamp(0, MOST)
            }
            Self::Uniform => dice.between(0, MOST.unsigned_abs()).cast_signed(),
        }
    }
}

/// What is sent, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// `encoding` of the configuration.
    pub(super) encoding: &'static str,
    /// The one cipher suite.
    pub(super) suite: &'static str,
    /// Captured together.
    pub(super) streams: usize,
    /// In one batch.
    pub(super) instants: u64,
    pub(super) values: Values,
    /// Steps of the values in one: 1 or 10.
    pub(super) steps_in_one: i64,
    /// How long the cloud takes to answer.
    pub(super) answered_after: Duration,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) batches: u64,
    pub(super) readings: u64,
    pub(super) messages: u64,
    pub(super) body_bytes: u64,
    pub(super) up: DirectionCounters,
    pub(super) down: DirectionCounters,
    /// Readings the cloud has not, under the identity they were accepted with.
    pub(super) missing: u64,
    /// Readings it has with another value, quality or time.
    pub(super) wrong: u64,
}

impl Run {
    pub(super) fn wire_bytes(&self) -> u64 {
        self.up.wire_bytes + self.down.wire_bytes
    }

    pub(super) fn bytes_a_reading(&self) -> f64 {
        self.wire_bytes() as f64 / self.readings.max(1) as f64
    }
}

/// One accepted instant.
struct Expected {
    epoch: [u8; 4],
    sequence: u64,
    unix_ms: i64,
    values: Vec<i64>,
}

/// Has so many batches delivered, one after the other.
pub(super) async fn run(load: &Load, batches: u64) -> Result<Run, Trouble> {
    let options = WorldOptions {
        bus: false,
        quiet: tables(load).into(),
        golioth: format!("encoding = \"{}\"\nsuites = [\"{}\"]", load.encoding, load.suite).into(),
        ..WorldOptions::default()
    };
    let world = World::start(&options).await?;
    world.cloud(|cloud, _| {
        cloud.keep_row_times();
        if !load.answered_after.is_zero() {
            cloud.set_fault(Fault::new(FaultKind::Delay(load.answered_after)).path(".s/"));
        }
    });
    let mut dice = Dice::new(options.seed);
    let mut values: Vec<i64> =
        (0..load.streams).map(|_| dice.between(20_000, 45_000).cast_signed()).collect();
    while world.link().is_none_or(|link| link.phase != LinkPhase::Up) {
        if world.now() > PATIENCE {
            return Err(Trouble::Surroundings("the link did not come up".into()));
        }
        world.pass(LOOK).await;
    }
    // The opening statement of the epoch goes with the first of all, and the one poll that nobody answers is told as missed.
    send(&world, load, 1, &mut dice, &mut values).await?;
    world.pass(SETTLED).await;
    let (relay, cloud) = (world.relay_counters(), world.cloud(|cloud, _| cloud.counters()));

    let mut expected = Vec::new();
    for _ in 0..batches {
        expected.append(&mut send(&world, load, load.instants, &mut dice, &mut values).await?);
    }
    let (now, since) = (world.relay_counters(), world.cloud(|cloud, _| cloud.counters()));
    let mut run = Run {
        batches,
        readings: batches * load.instants * load.streams as u64,
        messages: since.stream_messages - cloud.stream_messages,
        body_bytes: since.stream_bytes - cloud.stream_bytes,
        up: between(relay.up, now.up),
        down: between(relay.down, now.down),
        ..Run::default()
    };
    compare(&world, load, &expected, &mut run);
    world.stop().await?;
    Ok(run)
}

/// Lets the time of a batch pass, has the store accept it at once, and waits until the cloud has it.
async fn send(
    world: &World,
    load: &Load,
    instants: u64,
    dice: &mut Dice,
    values: &mut [i64],
) -> Result<Vec<Expected>, Trouble> {
    let began = world.now();
    world.pass(Duration::from_millis(PERIOD_MS * (instants + 1))).await;
    let queue = world.queue();
    let mut answers = Vec::new();
    for instant in 0..instants {
        let late = dice.between(0, 2 * JITTER_MS);
        // A whole number of milliseconds, since that is what is stated.
        let at =
            Duration::from_millis(u64::try_from(began.as_millis()).unwrap_or(0) + instant * PERIOD_MS + late);
        values.iter_mut().for_each(|value| *value = load.values.next(dice, *value));
        let streams = queue.streams();
        let Some((_, group)) = streams.first() else { return Err(WorldError::NoStream("s0".into()).into()) };
        let sample = |((stream, _), value): (&(_, _), &i64)| Sample {
            stream: *stream,
            value: Value::Steps(*value),
            quality: Quality::Good,
        };
        let samples = streams.iter().zip(values.iter()).map(sample).collect();
        let capture = Capture { group: *group, at: Mono::from(at), samples, missing: Vec::new() };
        answers.push((at, values.to_vec(), queue.offer(capture).await.map_err(WorldError::from)?));
    }
    let mut expected = Vec::new();
    for (at, values, answer) in answers {
        let accepted = answer.await.unwrap_or(Err(Refused::Stopped)).map_err(WorldError::from)?;
        let unix_ms = UNIX_MS + i64::try_from(at.as_millis()).unwrap_or(0);
        expected.push(Expected {
            epoch: accepted.epoch.prefix(),
            sequence: accepted.sequence,
            unix_ms,
            values,
        });
    }
    world.drained(PATIENCE).await?;
    Ok(expected)
}

fn compare(world: &World, load: &Load, expected: &[Expected], run: &mut Run) {
    world.cloud(|cloud, _| {
        let intake = cloud.intake();
        let times: std::collections::BTreeMap<_, _> =
            intake.row_times().iter().map(|row| ((row.epoch, row.sequence), row.stated)).collect();
        for Expected { epoch, sequence, unix_ms, values } in expected {
            let stated = times.get(&(*epoch, *sequence));
            let dated = matches!(stated, Some(Stated::Wall { unix_ms: said, .. }) if said == unix_ms);
            for (stream, value) in values.iter().enumerate() {
                match intake.get(DEVICE, *epoch, alias(stream), *sequence) {
                    None => run.missing += 1,
                    Some(seen) if dated && seen.quality == 0 && is(seen.value, *value, load.steps_in_one) => {
                    }
                    Some(_) => run.wrong += 1,
                }
            }
        }
    });
}

/// Whether it is so many steps, as a reader rounds it.
fn is(seen: SeenValue<'_>, steps: i64, in_one: i64) -> bool {
    match seen {
        SeenValue::Integer(number) => number * in_one == steps,
        SeenValue::Float(number) => (number * in_one as f64 - steps as f64).abs() < 0.5,
        SeenValue::Missing | SeenValue::Bool(_) | SeenValue::Text(_) => false,
    }
}

fn between(before: DirectionCounters, after: DirectionCounters) -> DirectionCounters {
    DirectionCounters {
        datagrams: after.datagrams - before.datagrams,
        wire_bytes: after.wire_bytes - before.wire_bytes,
        ..DirectionCounters::default()
    }
}

/// One letter each, none of them a key of a row.
fn alias(stream: usize) -> &'static str {
    ["a", "c", "d", "f", "g", "h", "i", "j"].get(stream).copied().unwrap_or("z")
}

/// One slave whose points are never read.
fn tables(load: &Load) -> String {
    let scale = if load.steps_in_one == 10 { "scale = 0.1\n" } else { "" };
    let mut toml = "[[bus.slave]]\nname = \"x\"\nunit = 1\nperiod = \"24h\"\n".to_owned();
    for stream in 0..load.streams {
        // Writing to a String does not fail.
        let _ = write!(
            toml,
            "[[bus.slave.point]]\nstream = \"s{stream}\"\nalias = \"{}\"\ntable = \"input\"\nregister = {stream}\n\
             type = \"uint16\"\n{scale}",
            alias(stream)
        );
    }
    toml
}
