//! `prove month-offline`: a month without a link grows neither memory nor disk, and what has to go is what the policy says.
//!
//! In virtual time: the link is cut, readings of four classes come for 31 days, far more than the queue may hold. Meanwhile
//! the sizes of the files and of this process are watched. Then the link returns, the queue drains, and what the cloud has
//! is compared with what was fed, reading by reading: missing may be only what a drop record says, the oldest of its class, and
//! of a more urgent class only what left no room when the less urgent had gone. The limits of age and of single classes are shown
//! by a second, shorter time offline (`limits`).

mod limits;

use std::collections::BTreeMap;
use std::time::Duration;

use fieldgate::reading::Class;
use fieldgate::store::queue::verify::verify;
use fieldgate::store::queue::{QueueStatus, Totals};

use super::{Common, Proof, few};
use crate::gateway::{Trouble, machine};
use crate::world::{Arrived, Feed, FeedGroup, GOLIOTH, World, WorldError, WorldOptions, in_virtual_time};

/// Readings in an instant: telemetry and diagnostics.
const TELEMETRY: usize = 18;
const DIAGNOSTICS: usize = 2;
/// One event and one alarm in so many instants.
const SELDOM: u64 = 3600;
/// Bits of noise: little is saved by any encoding, so that the queue is full soon.
const NOISE: u32 = 30;
/// Virtual time between two rounds of captures, and between two looks at sizes.
const ROUND: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(3600);
/// The queue is filled and at work after this part of the time; what memory grows after it is growth.
const SETTLED: u32 = 4;
/// Bytes by which this process, daemon and all, may grow after that.
const GROWTH: u64 = 4_000_000;
/// SQLite's log beside the queue's file, bytes: it is checkpointed at 4 MiB and may pass that by one transaction.
const LOG: u64 = 8 << 20;
/// Readings that must leave in a second of virtual time, on the average; and what is given beyond that.
const LEAVING: u64 = 500;
const DRAIN: Duration = Duration::from_secs(1800);

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Readings a second, in total.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: Option<u32>,
    /// How long there is no link.
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    offline: Option<Duration>,
    /// What the queue may take on disk, MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(8..=1024))]
    queue_max: Option<u64>,
}

pub(super) fn prove(args: &Args) -> Result<Proof, Trouble> {
    let short = args.common.short;
    let month = Month {
        rate: args.rate.unwrap_or(20),
        offline: args.offline.unwrap_or(Duration::from_secs(if short { 16 * 3600 } else { 31 * 86_400 })),
        queue_max: args.queue_max.unwrap_or(if short { 8 } else { 32 }) << 20,
    };
    let mut proof = in_virtual_time(run(&month)).map_err(Trouble::system("make an event queue"))??;
    let limits = in_virtual_time(limits::run()).map_err(Trouble::system("make an event queue"))??;
    proof.violated.extend(limits.violated);
    if let Some(figures) = proof.figures.as_object_mut() {
        figures.insert("limits".into(), limits.figures);
    }
    Ok(proof)
}

struct Month {
    rate: u32,
    offline: Duration,
    queue_max: u64,
}

async fn run(month: &Month) -> Result<Proof, Trouble> {
    let mut proof = Proof::default();
    let group = |name, class, streams, every| FeedGroup { name, class, streams, every, noise_bits: NOISE };
    let mut feed = Feed::new(&[
        group("t", Class::Telemetry, TELEMETRY, 1),
        group("d", Class::Diagnostics, DIAGNOSTICS, 1),
        group("e", Class::Event, 1, SELDOM),
        group("a", Class::Alarm, 1, SELDOM),
    ]);
    let options = WorldOptions {
        bus: false,
        quiet: feed.tables().into(),
        tables: format!("[store]\ncommit_window = \"60s\"\nqueue_max = \"{}MiB\"\n", month.queue_max >> 20)
            .into(),
        ..WorldOptions::default()
    };
    let world = World::start(&options).await?;
    world.relay(|relay| relay.cut());
    let mut watch = Watch::default();
    offline(&world, &mut feed, month, &mut watch).await?;
    feed.answered().await;
    let before = world.account(GOLIOTH);
    let recount = verify(world.queue().path()).map_err(WorldError::from)?;
    judge_sizes(&mut proof, month, &watch);
    proof.demand(feed.refused() == 0, || {
        format!("room is made, nothing is refused ({} captures)", feed.refused())
    });
    proof.demand(before.dropped > 0, || {
        format!("more came than the queue holds; use a higher rate ({before:?})")
    });
    proof.demand(recount.problems.is_empty(), || {
        format!("the books close after it ({})", few(&recount.problems))
    });
    proof.demand(watch.out_of_order == 0, || {
        format!("the least urgent goes first ({} looks saw another order)", watch.out_of_order)
    });

    world.relay(|relay| relay.heal());
    let began = world.now();
    let within = DRAIN + Duration::from_secs(before.queued / LEAVING);
    let drained = world.drained(within).await;
    let took = world.now() - began;
    proof.demand(drained.is_ok(), || format!("the queue drains within {within:?} of the link's return"));
    let recorded = dropped(&world)?;
    let arrived = feed.compare(|alias| world.far_values(alias));
    for stream in &arrived {
        judge_stream(&mut proof, stream, recorded.get(&stream.alias).copied().unwrap_or(0));
    }
    let verified = world.stop().await?;
    proof.demand(verified.problems.is_empty(), || {
        format!("the books close at the end ({})", few(&verified.problems))
    });
    let account = verified.destinations.get(GOLIOTH).copied().unwrap_or_default();
    let Totals { accepted, acknowledged, dropped, set_aside, queued, .. } = account;
    proof.demand(
        accepted == feed.readings() && accepted == acknowledged + dropped + set_aside + queued,
        || {
            format!(
                "accepted = acknowledged + dropped + set aside + queued ({} fed; {account:?})",
                feed.readings()
            )
        },
    );
    proof.figures = serde_json::json!({
        "rate": month.rate, "offline_s": month.offline.as_secs(), "readings": feed.readings(),
        "dropped": dropped, "drained": before.queued, "drained_in_s": took.as_secs(),
        "queue_max_bytes": month.queue_max, "most_file_bytes": watch.file, "most_log_bytes": watch.log,
        "resident_bytes": { "settled": watch.settled, "most_after": watch.most_after },
        "dropped_by_class": by_class(&arrived),
        "floors": { "log_bytes": LOG, "growth_bytes": GROWTH },
    });
    Ok(proof)
}

/// The whole time without a link.
async fn offline(world: &World, feed: &mut Feed, month: &Month, watch: &mut Watch) -> Result<(), Trouble> {
    let every = Duration::from_secs((TELEMETRY + DIAGNOSTICS) as u64) / month.rate;
    let began = world.now();
    let (mut at, mut look) = (began, began);
    while world.now() < began + month.offline {
        world.pass(ROUND).await;
        while at <= world.now() {
            world.feed(feed, at).await?;
            at += every;
        }
        if world.now() >= look {
            look += LOOK;
            watch.look(world, world.now() - began >= month.offline / SETTLED);
        }
    }
    Ok(())
}

fn judge_sizes(proof: &mut Proof, month: &Month, watch: &Watch) {
    proof.demand(watch.file <= month.queue_max, || {
        format!("the queue's file stays within {} B (it had {})", month.queue_max, watch.file)
    });
    proof.demand(watch.log <= LOG, || format!("its log stays within {LOG} B (it had {})", watch.log));
    let grown = watch.most_after.saturating_sub(watch.settled);
    proof.demand(watch.settled > 0 && grown <= GROWTH, || {
        format!(
            "memory stays as it is: {GROWTH} B more at most (it grew by {grown} B from {} B)",
            watch.settled
        )
    });
}

fn judge_stream(proof: &mut Proof, stream: &Arrived, recorded: u64) {
    let Arrived { alias, class, wrong, missing, .. } = stream;
    proof.demand(*wrong == 0, || format!("what arrives is what was fed ({wrong} of {alias} are not)"));
    let oldest = match missing.as_slice() {
        [] => 0,
        [(0, last)] => last + 1,
        _ => u64::MAX,
    };
    proof.demand(oldest != u64::MAX, || {
        let runs: Vec<_> = missing.iter().take(4).collect();
        format!("the oldest go, nothing after what is kept is missing ({alias} lacks {runs:?})")
    });
    proof.demand(oldest == u64::MAX || oldest == recorded, || {
        format!("each reading given up is on record ({alias}: {oldest} are missing, {recorded} recorded)")
    });
    proof.demand(recorded == 0 || !matches!(class, Class::Alarm | Class::Event), || {
        format!("no {} is given up while there is telemetry ({alias}: {recorded})", class.name())
    });
}

/// Readings given up for the quota, by alias.
fn dropped(world: &World) -> Result<BTreeMap<String, u64>, Trouble> {
    let mut by_alias = BTreeMap::new();
    for drop in world.drops(GOLIOTH)?.into_iter().filter(|drop| drop.reason == "quota") {
        *by_alias.entry(drop.alias).or_default() += drop.count;
    }
    Ok(by_alias)
}

/// Of each class, fed and arrived.
fn by_class(arrived: &[Arrived]) -> serde_json::Value {
    let mut classes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for stream in arrived {
        let sums = classes.entry(stream.class.name()).or_default();
        sums.0 += stream.fed;
        sums.1 += stream.there;
    }
    let words = |(fed, there): (u64, u64)| serde_json::json!({ "fed": fed, "arrived": there });
    classes
        .into_iter()
        .map(|(class, sums)| (class.to_owned(), words(sums)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// What was seen of sizes and of the order in which readings are given up.
#[derive(Debug, Default)]
struct Watch {
    file: u64,
    log: u64,
    /// Resident bytes of this process once the queue was full, and the most since.
    settled: u64,
    most_after: u64,
    /// At the look before: telemetry given up, diagnostics accepted.
    before: (u64, u64),
    out_of_order: u64,
}

impl Watch {
    fn look(&mut self, world: &World, settled: bool) {
        let path = world.queue().path();
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        self.file = self.file.max(machine::size(path));
        self.log = self.log.max(machine::size(log.as_ref()));
        if settled {
            let resident = machine::resident();
            if self.settled == 0 {
                self.settled = resident;
            }
            self.most_after = self.most_after.max(resident);
        }
        let status = world.queue().status().borrow().clone();
        let (telemetry, diagnostics) = (of(&status, Class::Telemetry), of(&status, Class::Diagnostics));
        let now = (telemetry.dropped, diagnostics.accepted);
        // Telemetry may go only after all diagnostics: what is left of these came since the last look.
        if now.0 > self.before.0 && diagnostics.queued > now.1 - self.before.1 {
            self.out_of_order += 1;
        }
        self.before = now;
    }
}

/// A class's account, all destinations; there is one.
fn of(status: &QueueStatus, class: Class) -> Totals {
    let own = status.totals.iter().filter(|((_, of), _)| *of == class);
    own.fold(Totals::default(), |sum, (_, totals)| sum.plus(*totals))
}
