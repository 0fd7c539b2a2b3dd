//! `prove crash-points`: nothing that was answered is lost, wherever the power fails between two writes.
//!
//! The store's own code runs in this process on a disk that keeps a log ([`crate::crash`]). Five lives are lived: four of
//! `queue.db` and one of `gateway.db`; of each, crash points are chosen, and every image that a crash there can leave behind
//! is opened and compared with what had been answered. Two of the lives begin with a crash image of the one before.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Common, Proof, Trouble, times_are_judged};
use crate::clock::Clock;
use crate::crash::disk::{Disk, Playback};
use crate::crash::gateway::{self, GatewayJudge};
use crate::crash::promise::Promises;
use crate::crash::queue::{self, Kind, QueueJudge};
use crate::crash::{Dice, Sum, Wanted, examine, folder, images};

/// How long opening after a crash may take.
const OPENS_WITHIN: Duration = Duration::from_secs(2);
/// The fewest images the short form is worth anything with.
const SHORT_IMAGES: u64 = 2000;
/// Lives, which share the points: the four kinds, and `gateway.db`.
const LIVES: usize = 5;
/// More events than this one life does not have; with more points there are more rounds of lives.
const MOST_EVENTS: usize = 4000;

/// What the claim is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Crash points looked at; each has between one and about a hundred images.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    points: Option<u32>,
    /// Random subsets a point, beside the images that are always made.
    #[arg(long, value_name = "R", default_value_t = 4)]
    random: u16,
    /// Chance begins here.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Args {
    fn points(&self) -> usize {
        self.points.map_or(if self.common.short { 76 } else { 2000 }, |points| points as usize)
    }
}

/// What all lives came to.
#[derive(Default)]
struct Lives {
    sum: Sum,
    events: u64,
    offered: u64,
    checkpoints: usize,
    failed_syncs: u64,
    refused_writes: u64,
    /// Daemons that ended on a disk whose syncs failed and started again in the same boot: of the queue, of `gateway.db`.
    restarts: (u64, u64),
    gateway_images: u64,
    wrong: Vec<String>,
}

/// Lives and examines on a thread of its own, so that a signal is heard. Whoever drops this stops that thread at the next image.
pub(super) async fn prove(args: &Args) -> Result<Proof, Trouble> {
    let stop = CancellationToken::new();
    let (args, heard) = (args.clone(), stop.clone());
    let _ends_with_this = stop.drop_guard();
    let lived = tokio::task::spawn_blocking(move || live_and_examine(&args, &heard));
    lived.await.map_err(surroundings)?
}

fn live_and_examine(args: &Args, stop: &CancellationToken) -> Result<Proof, Trouble> {
    let clock = Clock::start();
    let mut lives = Lives::default();
    let mut dice = Dice::new(args.seed);
    let rounds = args.points().div_ceil(LIVES * MOST_EVENTS);
    for round in 0..rounds {
        let points = args.points() / rounds + usize::from(round < args.points() % rounds);
        one_round(args, points, &mut dice, (clock, stop), &mut lives)?;
        if lives.sum.broken() > 0 {
            break;
        }
    }
    Ok(judge(args, &lives))
}

/// One life of each kind.
fn one_round(
    args: &Args,
    points: usize,
    dice: &mut Dice,
    (clock, stop): (Clock, &CancellationToken),
    lives: &mut Lives,
) -> Result<(), Trouble> {
    let share = (points / LIVES).max(1);
    let wanted = |seed| Wanted { points: share, random: args.random.into(), seed, enough: 100 };
    let mut before: Option<(Disk, Promises)> = None;
    for kind in [Kind::Plain, Kind::Faulty, Kind::Long, Kind::Quota] {
        // A long life needs as many until the log is brought home by itself.
        let events =
            if kind == Kind::Long { MOST_EVENTS } else { (share + share / 4).clamp(400, MOST_EVENTS) };
        // What an earlier life left is more than this quota allows.
        let begins = before.take().filter(|_| kind != Kind::Quota);
        let begins = begins.as_ref().map(|(image, promises)| (image, promises.clone()));
        let lived = queue::live(kind, dice.number(), events, begins).map_err(surroundings)?;
        let judge = QueueJudge { promises: &lived.promises, clock };
        let index = lived.stale_index.as_deref();
        let sum = examine(&lived.log, &judge, wanted(dice.number()), index, stop)
            .map_err(Trouble::system("write a crash image"))?;
        lives.sum.merge(sum);
        lives.events += lived.log.events.len() as u64;
        lives.offered += lived.promises.offered() as u64;
        lives.checkpoints += lived.log.syncs_of("queue.db");
        lives.failed_syncs += lived.failures.0;
        lives.refused_writes += lived.failures.1;
        lives.restarts.0 += lived.restarts;
        lives.wrong.extend(lived.wrong.iter().map(|wrong| format!("{kind:?}: {wrong}")));
        if lives.sum.broken() > 0 {
            return Ok(());
        }
        before = Some(crashed(&lived, dice.number())?);
    }
    let lived =
        gateway::live(dice.number(), (share + share / 4).clamp(400, MOST_EVENTS)).map_err(surroundings)?;
    let judge = GatewayJudge { promised: &lived.promised, clock };
    let sum = examine(&lived.log, &judge, wanted(dice.number()), None, stop)
        .map_err(Trouble::system("write a crash image"))?;
    lives.gateway_images += sum.images;
    lives.restarts.1 += lived.restarts;
    lives.wrong.extend(lived.wrong.iter().map(|wrong| format!("gateway.db: {wrong}")));
    lives.sum.merge(sum);
    lives.events += lived.log.events.len() as u64;
    Ok(())
}

/// The life ends in a crash: one image of its end, chosen by chance, and what that promises to the life after it.
fn crashed(lived: &queue::Lived, seed: u64) -> Result<(Disk, Promises), Trouble> {
    let mut dice = Dice::new(seed);
    // Not quite at the end: a life often ends with a clean stop.
    let end = lived.log.events.len();
    let point = end - dice.place(40.min(end));
    let mut playback = Playback::of(&lived.log);
    playback.advance_to(point);
    let kept = images::at(&playback, 4, seed);
    let image = playback.image(kept.last().map_or(&[][..], Vec::as_slice));
    let place = folder().map_err(Trouble::system("make a temporary folder"))?;
    let found = queue::held_by(place.path(), &image).map_err(surroundings)?;
    Ok((image, lived.promises.after_crash(point, &found)))
}

fn surroundings(why: impl std::fmt::Display) -> Trouble {
    Trouble::Surroundings(why.to_string())
}

fn judge(args: &Args, lives: &Lives) -> Proof {
    let sum = &lives.sum;
    let mut proof = Proof::default();
    let first = |told: &crate::crash::Told| told.words.first().cloned().unwrap_or_default();
    proof.demand(sum.unusable.count == 0, || {
        format!(
            "every image opens and takes the next reading ({} do not: {})",
            sum.unusable.count,
            first(&sum.unusable)
        )
    });
    proof.demand(sum.lost.count == 0, || {
        format!("what was answered is there after a crash ({} lost: {})", sum.lost.count, first(&sum.lost))
    });
    proof.demand(sum.returned.count == 0, || {
        format!(
            "what was settled for good does not return ({} did: {})",
            sum.returned.count,
            first(&sum.returned)
        )
    });
    proof.demand(sum.wrong.count == 0, || {
        format!("an image is whole and its books agree ({} are not: {})", sum.wrong.count, first(&sum.wrong))
    });
    proof.demand(lives.wrong.is_empty(), || {
        format!(
            "the store is well again when its disk is ({})",
            lives.wrong.first().cloned().unwrap_or_default()
        )
    });
    if times_are_judged(args.common.short) {
        proof.demand(sum.slowest < OPENS_WITHIN, || {
            format!("an image opens within {OPENS_WITHIN:?} (one took {:?})", sum.slowest)
        });
    }
    if args.common.short && proof.violated.is_empty() {
        proof.demand(sum.images >= SHORT_IMAGES, || {
            format!("the short form sees {SHORT_IMAGES} images ({} were seen)", sum.images)
        });
        let met = lives.checkpoints > 0 && lives.failed_syncs > 0 && lives.refused_writes > 0;
        proof.demand(met, || "the short form meets a checkpoint, a failed sync and a full disk".into());
        let (queue, gateway) = lives.restarts;
        proof.demand(queue > 0 && gateway > 0, || {
            "the short form starts each file again after syncs that failed, in the same boot".into()
        });
    }
    let named = [&sum.unusable, &sum.lost, &sum.returned, &sum.wrong].map(|told| &told.words);
    proof.figures = serde_json::json!({
        "points": sum.points, "images": sum.images, "images_of_gateway_db": lives.gateway_images,
        "random_subsets": args.random, "seed": args.seed, "writes_and_syncs": lives.events,
        "readings": lives.offered, "checkpoints": lives.checkpoints, "failed_syncs": lives.failed_syncs, "writes_without_room": lives.refused_writes,
        "restarts_after_failed_syncs": lives.restarts.0, "restarts_of_gateway_db_after_failed_syncs": lives.restarts.1,
        "lost": sum.lost.count, "returned": sum.returned.count, "most_duplicates_in_an_image": sum.most_duplicates,
        "integrity_failures": sum.wrong.count, "unusable": sum.unusable.count,
        "slowest_open_ms": sum.slowest.as_secs_f64() * 1000.0,
        "named": named,
    });
    proof
}
