//! `prove no-loss`: nothing that was accepted is lost, whenever the daemon is killed.
//!
//! A daemon under load, over a link that loses datagrams and is cut now and then, is ended by SIGKILL again and again and started
//! on the same state. What it said of itself until the very end stands as testimony: [`Witness`] keeps, for every life,
//! the newest sequence of each group that the status API called accepted. At the end, both sides are compared
//! identity by identity and value by value (`gateway::reckon`). [`moments`] decides when it dies. What came twice is
//! traced to what was in the daemon's hand when it died ([`repeats`]), and what never was accepted to what was said in its
//! last moments ([`risk`]), with what the machine held up in both ([`stalls`]).

mod life;
mod moments;
mod repeats;
mod risk;
mod stalls;
mod witness;

use std::time::Duration;

use super::{Common, Proof, Subject};
use crate::bus::SimBus;
use crate::clock::Clock;
use crate::gateway::books::{self, Books};
use crate::gateway::child::Start;
use crate::gateway::config::{BUS_TIMEOUT, GOLIOTH};
use crate::gateway::reckon::Reckoning;
use crate::gateway::status;
use crate::gateway::surroundings::{Surroundings, Wanted};
use crate::gateway::{Trouble, eventually, machine};
use crate::random::{Dice, STEP};
use crate::relay::{PathProfile, RelayProfile};
use life::Lives;
use moments::Moment;
use repeats::{InHand, Repeated};
use stalls::Stalls;

/// Messages in flight.
const WINDOW: u8 = 8;
/// The daemon's commit window, which is also the longest that an answer waits to be settled.
const COMMIT: Duration = Duration::from_millis(200);
/// What a reading may wait for on top of it: the commit itself, and a machine that does other things too.
const COMMIT_TAKES: Duration = Duration::from_millis(800);
/// What an answer may wait for on top of it: its way to the gateway (60 ms at most) and the commit. A busy machine needs no more
/// here, because a window of messages may be later than that.
const SETTLING_TAKES: Duration = Duration::from_millis(400);
/// The drain waits no longer for the answer to a message.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);
/// The last of the five copies of a message waits at least 16 s for its answer: 1 s, doubled four times. Less the way to the cloud.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(15);
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
    /// So many gateways side by side share the kills; without a number, four for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: Option<Option<u32>>,
}

impl Args {
    fn kills(&self) -> u32 {
        self.kills.unwrap_or(if self.common.short { 5 } else { 50 })
    }

    fn gateways(&self) -> u32 {
        match self.parallel {
            None => 1,
            Some(Some(gateways)) => gateways,
            // A life is mostly waiting.
            Some(None) => u32::try_from(machine::cores() * 4).unwrap_or(64).min(64),
        }
    }
}

pub(super) async fn prove(args: &Args, subject: Subject) -> Result<Proof, Trouble> {
    let (kills, count) = (args.kills(), args.gateways());
    let stalls = Stalls::watch(Clock::start())?;
    let share = |n: u32| kills / count + u32::from(n < kills % count);
    let gateways = (0..count).map(|n| {
        let seed = args.seed.wrapping_add(u64::from(n).wrapping_mul(STEP));
        one(&subject, args, seed, share(n), &stalls)
    });
    let mut ends = futures_util::future::try_join_all(gateways).await?;
    let mut proof = Proof::default();
    let mut sums = Sums::default();
    for end in &mut ends {
        let before = proof.violated.len();
        judge(end, &mut proof, &mut sums);
        // What was not expected is looked into.
        if proof.violated.len() > before && subject.sabotage.is_none() {
            end.folder.disable_cleanup(true);
            eprintln!("kept for whoever looks into it: {}", end.folder.path().display());
        }
    }
    proof.figures = serde_json::json!({
        "kills": kills, "longest_stall_ms": longest_stall(&ends).as_millis(), "gateways": count, "loss": args.loss, "seed": args.seed,
        "window_messages": WINDOW, "commit_window_ms": COMMIT.as_millis(),
        "lives_ready": sums.ready, "unclean_stops": sums.unclean, "handshakes": sums.handshakes,
        "produced": sums.produced, "accepted": sums.accepted, "testified": sums.testified,
        "acknowledged": sums.acknowledged, "unaccepted_at_kill": sums.unaccepted, "missed": sums.missed,
        "overdue": sums.overdue, "accepted_within_ms": (COMMIT + COMMIT_TAKES).as_millis(),
        "settled_within_ms": (COMMIT + SETTLING_TAKES).as_millis(),
        "cloud_unique": sums.unique, "cloud_duplicates": sums.duplicates, "duplicates_by_cause": {
            "unsettled_at_kill": sums.repeated.unsettled, "in_flight_at_kill": sums.repeated.in_flight_at_kill,
            "given_up": sums.repeated.given_up, "beyond": sums.repeated.beyond,
        },
        "lost": sums.lost, "corrupted": sums.corrupted,
        "link_cuts": sums.cuts, "gaps": ends.iter().map(|end| end.books.gaps()).collect::<Vec<_>>(),
        "lost_named": ends.iter().flat_map(|end| end.sum.lost.names.iter().take(20)).collect::<Vec<_>>(),
    });
    Ok(proof)
}

/// The longest that the machine held things up before a kill.
fn longest_stall(ends: &[End]) -> Duration {
    ends.iter().flat_map(|end| &end.lives.deaths).map(|death| death.stalled).max().unwrap_or_default()
}

/// How one gateway ended.
struct End {
    around: Surroundings,
    books: Books,
    sum: Reckoning,
    lives: Lives,
    drained: bool,
    folder: tempfile::TempDir,
}

async fn one(subject: &Subject, args: &Args, seed: u64, kills: u32, stalls: &Stalls) -> Result<End, Trouble> {
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
    let mut lives = Lives::new(COMMIT + COMMIT_TAKES, BUS_TIMEOUT);
    let mut dice = Dice::new(seed);
    for kill in 0..kills {
        let moment = Moment::of(kill, &mut dice);
        life::until_killed(&mut around, &start, moment, &mut dice, &mut lives, stalls).await?;
    }
    let drained = last_life(&around, &start, &mut lives).await?;
    let books = books::read(&start.program, &start.config).await?;
    let sum = around.reckon(&books, lives.risk.at_risk());
    Ok(End { around, books, sum, lives, drained, folder })
}

/// A life that nobody ends: everything still owed is paid, and the daemon stops in order.
async fn last_life(around: &Surroundings, start: &Start, lives: &mut Lives) -> Result<bool, Trouble> {
    around.network.heal();
    lives.begin(around);
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
    let drained = drain(around, lives).await;
    daemon.stop(Duration::from_secs(20)).await?;
    Ok(drained)
}

/// Waits until nothing waits, and nothing new comes any more.
async fn drain(around: &Surroundings, lives: &mut Lives) -> bool {
    let end = around.clock.now() + DRAIN;
    let mut before = None;
    while around.clock.now() < end {
        if let Some(status) = status::ask(around.page).await {
            lives.testify(around, &status);
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
    repeated: Repeated,
    overdue: u64,
    lost: u64,
    corrupted: u64,
    cuts: u64,
}

fn judge(end: &End, proof: &mut Proof, sums: &mut Sums) {
    let End { around, books, sum, lives, drained, .. } = end;
    let witness = &lives.witness;
    let broken = witness.broken_by(books, &around.far());
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    let lost = sum.lost.count + broken.count;
    proof.demand(lost == 0, || {
        let name = first(if broken.count > 0 { &broken.names } else { &sum.lost.names });
        format!("every reading that was accepted reaches the cloud ({lost} lost, the first: {name})")
    });
    // Only their number would explain where readings went.
    proof.demand(sum.given_up == 0, || format!("nothing is given up ({} were)", sum.given_up));
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
    let in_hand = InHand {
        messages: WINDOW.into(),
        answered_within: ANSWERED_WITHIN,
        given_up_after: GIVEN_UP_AFTER,
        settled_within: COMMIT + SETTLING_TAKES,
    };
    let repeated = around.cloud.read(|cloud| Repeated::of(cloud.intake(), &lives.deaths, in_hand));
    proof.demand(repeated.beyond == 0, || {
        let name = repeated.first_beyond.clone().unwrap_or_default();
        format!(
            "duplicates stay in flight ({} readings came again without having been: {name})",
            repeated.beyond
        )
    });
    proof.demand(sum.overdue.count == 0, || {
        format!(
            "a value is accepted within {:?} or the daemon is dead ({} were not, the first: {})",
            COMMIT + COMMIT_TAKES,
            sum.overdue.count,
            first(&sum.overdue.names)
        )
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
    sums.repeated.add(&repeated);
    sums.overdue += sum.overdue.count;
    sums.lost += lost;
    sums.corrupted += sum.corrupted.count;
    sums.cuts += cuts;
}
