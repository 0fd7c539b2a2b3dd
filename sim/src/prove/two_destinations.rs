//! `prove two-destinations`: a destination that is dead for a day costs the other nothing, and the books of both close.
//!
//! One life in virtual time: Golioth alone; a second destination is added; it dies, the first half of the time mute, the
//! second half out of reach; it comes back and gets everything; it dies again and is taken out of the configuration. What is compared
//! with what was fed is what each of the two has, reading by reading, not what the daemon says of them.

use std::collections::VecDeque;
use std::time::Duration;

use fieldgate::reading::Class;
use fieldgate::store::queue::Totals;
use fieldgate::store::queue::verify::verify;

use super::{Common, Proof, few};
use crate::gateway::Trouble;
use crate::world::{
    Arrived, Condition, DEVICE, Destination, Feed, FeedGroup, GOLIOTH, World, WorldError, WorldOptions,
    in_virtual_time,
};

/// The second destination.
const PLANT: &str = "plant";
/// Streams, captured together.
const STREAMS: usize = 4;
/// One instant of them in so long.
const EVERY: Duration = Duration::from_secs(10);
/// How often it is looked for what has arrived.
const LOOK: Duration = Duration::from_millis(250);
/// By so much an arrival may be later while the other is dead: the commits of another drain's answers, and a look.
const SLACK: Duration = Duration::from_secs(1);
/// How long a destination may take to get what it missed.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often the books are recounted while one is dead.
const RECOUNTS: u32 = 8;

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// How long the second destination is dead.
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    dead: Option<Duration>,
}

pub(super) fn prove(args: &Args) -> Result<Proof, Trouble> {
    let (dead, together) = if args.common.short { (2 * 3600, 1800) } else { (86_400, 6 * 3600) };
    let dead = args.dead.unwrap_or(Duration::from_secs(dead)).max(Duration::from_secs(600));
    let run = run(dead, Duration::from_secs(together));
    in_virtual_time(run).map_err(Trouble::system("make an event queue"))?
}

async fn run(dead: Duration, together: Duration) -> Result<Proof, Trouble> {
    let mut proof = Proof::default();
    let mut feed = Feed::new(&[FeedGroup {
        name: "t",
        class: Class::Telemetry,
        streams: STREAMS,
        every: 1,
        noise_bits: 4,
    }]);
    let alone = WorldOptions { bus: false, quiet: feed.tables().into(), ..WorldOptions::default() };
    let both = WorldOptions {
        tables: format!("[[mqtt]]\nname = \"{PLANT}\"\nbroker = \"mqtt://plant.invalid\"\n").into(),
        ..alone.clone()
    };
    let plant = Destination::new(PLANT);

    let mut world = World::start(&alone).await?;
    Life::new(&world, &mut feed).lasts(Duration::from_secs(600)).await?;
    let added = feed.fed();
    world = world.restart(&both).await?;
    world.connect(&plant);
    let before = Life::new(&world, &mut feed).lasts(together).await?;
    everything_left(&world, PLANT).await?;

    let died = feed.fed();
    let mut during = Seen::default();
    for part in 0..RECOUNTS {
        plant.set(if part < RECOUNTS / 2 { Condition::Mute } else { Condition::Away });
        during.add(Life::new(&world, &mut feed).lasts(dead / RECOUNTS).await?);
        let problems = verify(world.queue().path()).map_err(WorldError::from)?.problems;
        proof.demand(problems.is_empty(), || {
            format!("the books close while one is dead ({})", few(&problems))
        });
    }
    let while_dead = world.account(PLANT);
    plant.set(Condition::Alive);
    let caught_up = everything_left(&world, PLANT).await;
    let late = caught_up.is_err();
    proof.demand(!late, || format!("what waited leaves within {PATIENCE:?} of the return"));

    judge_latency(&mut proof, &before, &during);
    let fed_while_dead = (feed.fed() - died) * STREAMS as u64;
    proof.demand(while_dead.queued >= fed_while_dead, || {
        format!(
            "what is accepted while a destination is dead waits for it ({} of {fed_while_dead})",
            while_dead.queued
        )
    });
    let at_plant = feed.compare(|alias| plant.far_values(alias));
    judge_arrivals(&mut proof, PLANT, &at_plant, &[(0, added - 1)]);
    let account = world.account(PLANT);
    let meant = (feed.fed() - added) * STREAMS as u64;
    proof.demand(account == Totals { accepted: meant, acknowledged: meant, ..Totals::default() }, || {
        format!("a new destination's account begins where it was added ({meant} readings since; {account:?})")
    });

    plant.set(Condition::Away);
    Life::new(&world, &mut feed).lasts(Duration::from_secs(600)).await?;
    let left = world.account(PLANT);
    world = world.restart(&alone).await?;
    Life::new(&world, &mut feed).lasts(Duration::from_secs(600)).await?;
    everything_left(&world, GOLIOTH).await?;
    let removed: u64 =
        world.drops(PLANT)?.iter().filter(|d| d.reason == "destination_removed").map(|d| d.count).sum();
    proof.demand(left.queued > 0 && removed == left.queued, || {
        format!(
            "what waited for a destination that is taken away is a recorded drop ({removed} of {})",
            left.queued
        )
    });
    let at_golioth = feed.compare(|alias| world.far_values(alias));
    judge_arrivals(&mut proof, GOLIOTH, &at_golioth, &[]);
    let verified = world.stop().await?;
    proof.demand(verified.problems.is_empty(), || {
        format!("the books close at the end ({})", few(&verified.problems))
    });
    for name in [GOLIOTH, PLANT] {
        let account = verified.destinations.get(name).copied().unwrap_or_default();
        let Totals { accepted, acknowledged, dropped, set_aside, queued, .. } = account;
        proof.demand(accepted == acknowledged + dropped + set_aside + queued && queued == 0, || {
            format!("{name}: accepted = acknowledged + dropped + set aside + queued, and none is left ({account:?})")
        });
    }
    proof.figures = serde_json::json!({
        "readings": feed.readings(), "streams": STREAMS, "dead_s": dead.as_secs(),
        "queued_for_the_dead_one": while_dead.queued, "dropped_with_the_removed_one": removed,
        "golioth": {
            "arrivals_ms_both_alive": before.words(), "arrivals_ms_one_dead": during.words(),
            "most_queued_both_alive": before.most_queued, "most_queued_one_dead": during.most_queued,
        },
    });
    Ok(proof)
}

fn judge_latency(proof: &mut Proof, before: &Seen, during: &Seen) {
    proof.demand(during.missing == 0, || {
        format!("all reach the living one within {EVERY:?} twice over ({} did not)", during.missing)
    });
    let (usual, worst) = (before.worst(), during.worst());
    proof.demand(worst <= usual + SLACK, || {
        format!("readings reach the living one as soon as before (at most {usual:?} before, {worst:?} while one was dead)")
    });
    let (usual, median) = (before.median(), during.median());
    proof.demand(median <= usual + LOOK, || {
        format!("readings reach the living one as soon as before (median {usual:?}, {median:?} while one was dead)")
    });
    proof.demand(during.most_queued <= before.most_queued + STREAMS as u64, || {
        format!("nothing piles up for the living one ({} before, {})", before.most_queued, during.most_queued)
    });
}

fn judge_arrivals(proof: &mut Proof, name: &str, arrived: &[Arrived], missing: &[(u64, u64)]) {
    for stream in arrived {
        proof.demand(stream.wrong == 0, || {
            format!("{name} has what was fed and nothing else ({} wrong of {})", stream.wrong, stream.alias)
        });
        proof.demand(stream.missing == missing, || {
            format!(
                "{name} lacks of {} the instants {missing:?} and no others ({:?})",
                stream.alias, stream.missing
            )
        });
    }
}

async fn everything_left(world: &World, name: &str) -> Result<(), Trouble> {
    let until = world.now() + PATIENCE;
    while world.account(name).queued > 0 {
        if world.now() > until {
            let queued = world.account(name).queued;
            return Err(WorldError::NotDrained { destination: name.into(), queued, within: PATIENCE }.into());
        }
        world.pass(LOOK).await;
    }
    Ok(())
}

/// Readings that come while it is watched when they arrive at Golioth.
struct Life<'a> {
    world: &'a World,
    feed: &'a mut Feed,
    /// Instants fed and not yet seen at Golioth.
    under_way: VecDeque<(u64, Duration)>,
    seen: Seen,
}

/// What was seen of arrivals at Golioth.
#[derive(Debug, Default)]
struct Seen {
    /// From capture to arrival, by instant.
    latencies: Vec<Duration>,
    /// Instants that had not arrived at the end.
    missing: u64,
    most_queued: u64,
}

impl<'a> Life<'a> {
    fn new(world: &'a World, feed: &'a mut Feed) -> Self {
        Self { world, feed, under_way: VecDeque::new(), seen: Seen::default() }
    }

    /// Feeds for so long, then waits as long as two more instants would take.
    async fn lasts(mut self, period: Duration) -> Result<Seen, Trouble> {
        let began = self.world.now();
        let mut next = began;
        while self.world.now() < began + period + 2 * EVERY {
            let now = self.world.now();
            if now >= next && now < began + period {
                self.under_way.push_back((self.feed.fed(), now));
                self.world.feed(self.feed, now).await?;
                next += EVERY;
            }
            self.world.pass(LOOK).await;
            self.look();
        }
        self.seen.missing = self.under_way.len() as u64;
        Ok(self.seen)
    }

    fn look(&mut self) {
        self.seen.most_queued = self.seen.most_queued.max(self.world.queued());
        while let Some((instant, at)) = self.under_way.front() {
            let Some((epoch, sequence)) = self.feed.identity(0, *instant) else { return };
            if !self.world.cloud(|cloud, _| cloud.intake().contains(DEVICE, epoch, "t0", sequence)) {
                return;
            }
            self.seen.latencies.push(self.world.now() - *at);
            self.under_way.pop_front();
        }
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.missing += other.missing;
        self.most_queued = self.most_queued.max(other.most_queued);
    }

    fn worst(&self) -> Duration {
        self.latencies.iter().max().copied().unwrap_or(Duration::MAX)
    }

    fn median(&self) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(Duration::MAX)
    }

    fn words(&self) -> serde_json::Value {
        serde_json::json!({
            "instants": self.latencies.len(), "median": self.median().as_millis(), "most": self.worst().as_millis(),
        })
    }
}
