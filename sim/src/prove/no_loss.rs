//! `prove no-loss`: nothing that was accepted is lost, whenever the daemon is killed.
//!
//! A daemon under load, over a link that loses datagrams and is cut now and then, is ended by SIGKILL again and again and started
//! on the same state. What it said of itself until the very end stands as testimony: [`Witness`] keeps, for every life,
//! the newest sequence of each group that the status API called accepted. At the end, both sides are compared
//! identity by identity and value by value (`gateway::reckon`). [`moments`] decides when it dies.

mod life;
mod moments;
mod witness;

use std::time::Duration;

use super::{Common, Proof, Subject};
use crate::bus::SimBus;
use crate::gateway::books::{self, Books};
use crate::gateway::child::Start;
use crate::gateway::config::GOLIOTH;
use crate::gateway::reckon::Reckoning;
use crate::gateway::status;
use crate::gateway::surroundings::{Surroundings, Wanted};
use crate::gateway::{Trouble, eventually};
use crate::relay::{PathProfile, RelayProfile};
use moments::{Dice, Moment};
use witness::Witness;

/// Readings that one message can hold at most: 1024 bytes, of which each takes more than eight.
const MOST_ROWS: u64 = 128;
/// Messages in flight.
const WINDOW: u8 = 8;
/// How long the queue may take to drain at the end.
const DRAIN: Duration = Duration::from_secs(60);
/// How long anything else may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// How often the daemon is killed.
    #[arg(long, value_name = "N")]
    kills: Option<u32>,
    /// Probability that a datagram is lost.
    #[arg(long, value_name = "P", default_value_t = 0.1)]
    loss: f64,
    /// Chance begins here.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many gateways side by side share the kills.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: u32,
}

impl Args {
    fn kills(&self) -> u32 {
        self.kills.unwrap_or(if self.common.short { 4 } else { 50 })
    }
}

pub(super) async fn prove(args: &Args, subject: Subject) -> Result<Proof, Trouble> {
    let kills = args.kills();
    let share = |n: u32| kills / args.parallel + u32::from(n < kills % args.parallel);
    let gateways = (0..args.parallel).map(|n| {
        let seed = args.seed.wrapping_add(u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        one(&subject, args, seed, share(n))
    });
    let ends = futures_util::future::try_join_all(gateways).await?;
    let mut proof = Proof::default();
    let mut sums = Sums::default();
    for end in &ends {
        judge(end, &mut proof, &mut sums);
    }
    proof.figures = serde_json::json!({
        "kills": kills, "gateways": args.parallel, "loss": args.loss, "seed": args.seed,
        "window_messages": WINDOW, "commit_window_ms": COMMIT.as_millis(),
        "lives_ready": sums.ready, "unclean_stops": sums.unclean, "handshakes": sums.handshakes,
        "produced": sums.produced, "accepted": sums.accepted, "testified": sums.testified,
        "acknowledged": sums.acknowledged, "unaccepted_at_kill": sums.unaccepted, "missed": sums.missed,
        "cloud_unique": sums.unique, "cloud_duplicates": sums.duplicates,
        "duplicates_allowed": sums.duplicates_allowed, "lost": sums.lost, "corrupted": sums.corrupted,
        "link_cuts": sums.cuts, "gaps": ends.iter().map(|end| end.books.gaps()).collect::<Vec<_>>(),
        "lost_named": ends.iter().flat_map(|end| end.sum.lost.names.iter().take(20)).collect::<Vec<_>>(),
    });
    Ok(proof)
}

const COMMIT: Duration = Duration::from_millis(200);

/// How one gateway ended.
struct End {
    around: Surroundings,
    books: Books,
    sum: Reckoning,
    witness: Witness,
    kills: u32,
    drained: bool,
    _folder: tempfile::TempDir,
}

async fn one(subject: &Subject, args: &Args, seed: u64, kills: u32) -> Result<End, Trouble> {
    let folder = tempfile::Builder::new()
        .prefix("fieldgate-prove-")
        .tempdir()
        .map_err(Trouble::system("make a temporary folder"))?;
    let path = PathProfile {
        delay: Duration::from_millis(30),
        jitter: Duration::from_millis(30),
        loss: args.loss,
        ..PathProfile::default()
    };
    let wanted = Wanted {
        seed,
        network: RelayProfile::symmetric(path),
        baud: 115_200,
        period: Duration::from_millis(100),
        commit_window: COMMIT,
        linger: Duration::from_millis(100),
        window: WINDOW,
        whole: false,
    };
    let mut around = Surroundings::make(&wanted, folder.path()).await?;
    let start = Start {
        program: subject.program.clone(),
        config: around.config.clone(),
        folder: folder.path().to_owned(),
        sabotage: subject.sabotage.clone(),
        clock: around.clock,
    };
    let mut witness = Witness::default();
    let mut dice = Dice::new(seed);
    for kill in 0..kills {
        let moment = Moment::of(kill, &mut dice);
        life::until_killed(&mut around, &start, moment, &mut dice, &mut witness).await?;
    }
    let drained = last_life(&around, &start, &mut witness).await?;
    let books = books::read(&start.program, &start.config).await?;
    let sum = around.reckon(&books);
    Ok(End { around, books, sum, witness, kills, drained, _folder: folder })
}

/// A life that nobody ends: everything still owed is paid, and the daemon stops in order.
async fn last_life(around: &Surroundings, start: &Start, witness: &mut Witness) -> Result<bool, Trouble> {
    around.network.heal();
    let mut daemon = start.start()?;
    daemon.ready(PATIENCE).await?;
    let (page, look) = (around.page, Duration::from_millis(50));
    // It works again: this life accepts, and its link is up.
    let fresh = eventually(around.clock, look, PATIENCE, || async move {
        status::ask(page).await.filter(|s| s.phase(GOLIOTH) == "up" && !s.queue.newest_sequences.is_empty())
    });
    if fresh.await.is_none() {
        return Err(daemon.late("the link's return after the last kill", PATIENCE));
    }
    around.bus.with(|bus, _| SimBus::fall_silent(bus));
    let drained = drain(around, witness).await;
    daemon.stop(Duration::from_secs(20)).await?;
    Ok(drained)
}

/// Waits until nothing waits, and nothing new comes any more.
async fn drain(around: &Surroundings, witness: &mut Witness) -> bool {
    let end = around.clock.now() + DRAIN;
    let mut before = None;
    while around.clock.now() < end {
        if let Some(status) = status::ask(around.page).await {
            witness.testify(&status);
            let newest = Some(status.queue.newest_sequences);
            if status.queue.queued == 0 && newest == before {
                return true;
            }
            before = newest;
        }
        tokio::time::sleep(COMMIT * 2).await;
    }
    false
}

#[derive(Default)]
struct Sums {
    ready: u64,
    unclean: u64,
    handshakes: u64,
    produced: u64,
    accepted: u64,
    testified: u64,
    acknowledged: u64,
    unaccepted: u64,
    missed: u64,
    unique: u64,
    duplicates: u64,
    duplicates_allowed: u64,
    lost: u64,
    corrupted: u64,
    cuts: u64,
}

fn judge(end: &End, proof: &mut Proof, sums: &mut Sums) {
    let End { around, books, sum, witness, kills, drained, .. } = end;
    let broken = witness.broken_by(books, &around.far());
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    let lost = sum.lost.count + broken.count;
    proof.demand(lost == 0, || {
        let name = first(if broken.count > 0 { &broken.names } else { &sum.lost.names });
        format!("every reading that was accepted reaches the cloud ({lost} lost, the first: {name})")
    });
    proof.demand(sum.corrupted.count == 0, || {
        let name = first(&sum.corrupted.names);
        format!(
            "one identity has one value, the one the device said ({} have not: {name})",
            sum.corrupted.count
        )
    });
    let unclean: Vec<&str> = books.unclean_stops().collect();
    let unrecorded: Vec<&String> =
        witness.killed().filter(|epoch| !unclean.contains(&epoch.as_str())).collect();
    proof.demand(unrecorded.is_empty(), || {
        format!(
            "every kill leaves the record of an unclean stop ({} have none: {unrecorded:?})",
            unrecorded.len()
        )
    });
    proof.demand(books.problems.is_empty() && sum.consuming_side_closes(), || {
        let problem = books.problems.first().or(sum.unbalanced.first()).cloned().unwrap_or_default();
        format!("the books agree with what is there, and close ({problem})")
    });
    proof.demand(sum.producing_side_closes(), || {
        format!(
            "every value on the wire is accounted for ({} produced, {} accepted, {} refused, {} missed, {} not yet \
             accepted at a kill)",
            sum.produced, sum.intake.accepted, sum.intake.refused, sum.missed, sum.unaccepted_at_kill
        )
    });
    proof.demand(*drained, || format!("the queue drains within {DRAIN:?} once the link is back"));
    let cloud = around.cloud.read(crate::cloud::Cloud::counters);
    let cuts = around.network.counters().cuts;
    // After each kill, and each time a session was given up, what was in flight may come again.
    let allowed = (u64::from(*kills) + cuts + cloud.handshakes) * u64::from(WINDOW) * MOST_ROWS;
    proof.demand(sum.duplicates <= allowed, || {
        format!("duplicates stay within what was in flight ({}, allowed {allowed})", sum.duplicates)
    });
    sums.ready += witness.lives_ready;
    sums.unclean += unclean.len() as u64;
    sums.handshakes += cloud.handshakes;
    sums.produced += sum.produced;
    sums.accepted += sum.intake.accepted;
    sums.testified += witness.testified();
    sums.acknowledged += sum.account.acknowledged;
    sums.unaccepted += sum.unaccepted_at_kill;
    sums.missed += sum.missed;
    sums.unique += sum.unique;
    sums.duplicates += sum.duplicates;
    sums.duplicates_allowed += allowed;
    sums.lost += lost;
    sums.corrupted += sum.corrupted.count;
    sums.cuts += cuts;
}
