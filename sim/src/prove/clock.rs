//! `prove clock`: every reading arrives with the time it was captured at, as exactly as it says, whatever the clocks do.
//!
//! In virtual time: a gateway without a battery begins in 1970 and captures for six hours during which nobody knows the time. Then
//! the cellular network says it, later a time server. Before and after, somebody steps the system clock by three hours to and
//! fro; once the time server itself is wrong by three hours, and half an hour later right again. The daemon is restarted on the way, and the
//! machine once. The simulator knows when each value was on the bus. Whoever reads the rows at the cloud together with the clock
//! statements must come to that instant, within the uncertainty that was stated. And the bus must have been asked in
//! its period throughout.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Common, Proof, few};
use crate::cloud::{ClockStatement, RowTime, Stated};
use crate::gateway::Trouble;
use crate::gateway::points::POINTS;
use crate::world::{Correction, DEVICE, UNIX_MS, World, WorldOptions, in_virtual_time};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// By how much clocks are stepped, milliseconds.
const STEP_MS: i64 = 3 * 3_600_000;
/// From when on the network says what time it is.
const NETWORK_TIME: Duration = Duration::from_secs(6 * 3600);
/// The clocks are looked at every ten seconds; after this all has been told.
const TOLD: Duration = Duration::from_secs(5 * 60);
/// A row that states no uncertainty is within this, milliseconds.
const UNSTATED_MS: u64 = 1000;
/// A poll may come early or late by this part of its period: others are asked on the same line.
const SLACK: u32 = 5;
/// Two answers of a time server may differ by this, milliseconds.
const SERVED_MS: u64 = 200;
/// Of the daemon, that of the machine included.
const RESTARTS: u64 = 3;
/// How long the queue may take to drain at the end.
const DRAIN: Duration = Duration::from_secs(1800);

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn prove(args: &Args) -> Result<Proof, Trouble> {
    let period = Duration::from_secs(if args.common.short { 30 } else { 1 });
    in_virtual_time(run(period)).map_err(Trouble::system("make an event queue"))?
}

async fn run(period: Duration) -> Result<Proof, Trouble> {
    let mut proof = Proof::default();
    let options = WorldOptions {
        trusted: false,
        system_unix_ms: 0,
        network_time: Some(NETWORK_TIME),
        period,
        ..WorldOptions::default()
    };
    let mut world = World::start(&options).await?;
    world.cloud(|cloud, _| cloud.keep_row_times());
    let mut lives = vec![world.now()];

    // Nobody vouches for anything.
    world.pass(2 * HOUR).await;
    for step in [STEP_MS, -STEP_MS] {
        world.set_system_clock(world.true_unix_ms() + step);
        world.pass(HOUR).await;
        proof.demand(!world.wall().trusted, || {
            format!("a clock that nobody vouches for is not believed ({:?})", world.wall())
        });
    }
    world = world.restart(&options).await?;
    lives.push(world.now());
    pass_until(&world, NETWORK_TIME).await;

    world.pass(TOLD).await;
    judge_wall(&mut proof, &world, "the network has said the time");
    for step in [STEP_MS, -STEP_MS] {
        world.set_system_clock(world.true_unix_ms() + step);
        world.pass(20 * MINUTE).await;
        judge_wall(&mut proof, &world, "somebody stepped the system clock");
    }
    world = world.restart(&options).await?;
    lives.push(world.now());
    judge_wall(&mut proof, &world, "the daemon started anew in the same boot");

    world.pass(HOUR).await;
    world.synchronise(0);
    world.pass(HOUR).await;
    judge_wall(&mut proof, &world, "a time server set the clock");
    proof.demand(world.corrections()?.is_empty(), || {
        "a time within what was stated needs no correction".to_owned()
    });
    world.synchronise(STEP_MS);
    world.pass(HOUR / 2).await;
    world.synchronise(0);
    world.pass(TOLD).await;
    judge_wall(&mut proof, &world, "the time server was put right");
    proof.demand(corrected_at_cloud(&world), || {
        format!("a correction reaches the cloud within {TOLD:?} of being found out")
    });
    let corrections = world.corrections()?;
    let matches = |(c, step_ms): (&Correction, i64)| c.events == 2 && c.by_ms.abs_diff(step_ms) <= SERVED_MS;
    let all = corrections.iter().zip([STEP_MS, -STEP_MS]).all(matches);
    proof.demand(all && corrections.len() == 2, || {
        format!("each time that was wrong is on record, and none besides ({corrections:?})")
    });

    world.pass(HOUR).await;
    world = world.reboot(&options).await?;
    lives.push(world.now());
    world.pass(HOUR).await;
    judge_wall(&mut proof, &world, "the machine was started anew");
    world.synchronise(0);
    world.pass(HOUR).await;
    lives.push(world.now());
    world.fall_silent();
    world.drained(DRAIN).await?;
    world.pass(TOLD).await;

    let times = judge_rows(&mut proof, &world);
    let polls = judge_schedule(&mut proof, &world, &lives, period);
    let outcome = world.finish().await?;
    // A restart may meet a poll of one of the slaves half way.
    let under_way = RESTARTS * POINTS.len() as u64;
    proof.demand(outcome.lost <= under_way && outcome.corrupted == 0 && outcome.dropped == 0, || {
        format!("all that was captured arrived ({outcome:?})")
    });
    proof.demand(outcome.problems.is_empty(), || format!("the books close ({})", few(&outcome.problems)));
    proof.figures = serde_json::json!({
        "period_s": period.as_secs(), "rows": times.rows, "rows_with_wall_time": times.dated,
        "rows_with_boot_time": times.rows - times.dated, "rows_corrected": times.corrected,
        "worst_error_ms": times.worst_ms, "widest_stated_ms": times.widest_ms,
        "corrections": corrections.iter().map(|c| c.by_ms).collect::<Vec<_>>(),
        "polls": polls, "readings": outcome.accepted,
    });
    Ok(proof)
}

/// The last that was said of the first boot is when it really began, and that readings were dated otherwise.
fn corrected_at_cloud(world: &World) -> bool {
    world.cloud(|cloud, _| {
        let last = cloud.intake().clocks().back();
        last.is_some_and(|said| {
            let off = said.unix_ms_at_mono_zero.abs_diff(UNIX_MS);
            said.dated_with_ms.is_some() && off <= said.uncertainty_ms.unwrap_or(UNSTATED_MS)
        })
    })
}

async fn pass_until(world: &World, at: Duration) {
    world.pass(at.saturating_sub(world.now())).await;
}

fn judge_wall(proof: &mut Proof, world: &World, when: &str) {
    let (wall, truth) = (world.wall(), world.true_unix_ms());
    let off = wall.unix_ms.abs_diff(truth);
    proof.demand(wall.trusted && off <= u64::from(wall.uncertainty_ms), || {
        format!("the time is right as far as it says after {when} ({wall:?}, off by {off} ms)")
    });
}

/// What the rows came to.
#[derive(Default)]
struct Times {
    rows: u64,
    dated: u64,
    corrected: u64,
    worst_ms: u64,
    widest_ms: u64,
}

/// Dates every row as whoever reads the cloud's side would, and compares with when its value was on the line.
fn judge_rows(proof: &mut Proof, world: &World) -> Times {
    let truth = Truth::of(world);
    let mut times = Times::default();
    let mut wrong = Vec::new();
    world.cloud(|cloud, _| {
        let intake = cloud.intake();
        let mut statements: BTreeMap<[u8; 4], &ClockStatement> = BTreeMap::new();
        for statement in intake.clocks() {
            statements.insert(statement.epoch, statement);
        }
        for row in intake.row_times() {
            times.rows += 1;
            let seen = intake.get(DEVICE, row.epoch, &row.alias, row.sequence);
            let value = seen.and_then(|seen| seen.value.as_f64());
            let Some(captured) = value.and_then(|value| truth.captured(&row.alias, value)) else {
                wrong.push(format!("{row:?} is of no known instant"));
                continue;
            };
            let statement = statements.get(&row.epoch).copied();
            times.dated += u64::from(matches!(row.stated, Stated::Wall { .. }));
            let corrects = statement.is_some_and(|statement| statement.dated_with_ms.is_some());
            times.corrected += u64::from(corrects && matches!(row.stated, Stated::Wall { .. }));
            match date(row, statement) {
                Some((unix_ms, within)) => {
                    let off = unix_ms.abs_diff(captured);
                    times.worst_ms = times.worst_ms.max(off);
                    times.widest_ms = times.widest_ms.max(within);
                    if off > within {
                        wrong.push(format!("{row:?} is off by {off} ms with {statement:?}"));
                    }
                }
                None => wrong.push(format!("{row:?} was never dated")),
            }
        }
    });
    proof.demand(wrong.is_empty(), || {
        format!(
            "every row is within its stated uncertainty of the truth ({} rows; {})",
            times.rows,
            few(&wrong)
        )
    });
    proof.demand(times.dated > 0 && times.dated < times.rows && times.corrected > 0, || {
        format!(
            "rows go with and without wall time, and some need correction ({} rows, {} dated, {} corrected)",
            times.rows, times.dated, times.corrected
        )
    });
    times
}

/// A row's time and how far it may be off, by what the gateway said of it.
fn date(row: &RowTime, statement: Option<&ClockStatement>) -> Option<(i64, u64)> {
    let stated = |statement: &ClockStatement| statement.uncertainty_ms.unwrap_or(UNSTATED_MS);
    match row.stated {
        Stated::Wall { unix_ms, uncertainty_ms } => {
            let within = uncertainty_ms.unwrap_or(UNSTATED_MS);
            let corrects = statement.and_then(|statement| Some((statement, statement.dated_with_ms?)));
            Some(match corrects {
                Some((statement, dated_with)) => {
                    let unix_ms = unix_ms - dated_with + statement.unix_ms_at_mono_zero;
                    (unix_ms, within.max(stated(statement)))
                }
                None => (unix_ms, within),
            })
        }
        Stated::Boot { boot, mono_ms } => {
            let statement = statement.filter(|statement| statement.boot == boot)?;
            let unix_ms = statement.unix_ms_at_mono_zero.checked_add(i64::try_from(mono_ms).ok()?)?;
            Some((unix_ms, stated(statement)))
        }
    }
}

/// When each counted value was on the line.
struct Truth {
    points: BTreeMap<&'static str, (crate::bus::PointLedger, Vec<Duration>)>,
}

impl Truth {
    fn of(world: &World) -> Self {
        let ledger = world.ledger();
        let counted = POINTS.iter().filter(|wired| wired.counted);
        let point = |wired: &crate::gateway::points::Wired| {
            let point = ledger.point(wired.unit, wired.point)?.clone();
            Some((wired.alias, (point, world.answers(wired.unit, wired.function()))))
        };
        Self { points: counted.filter_map(point).collect() }
    }

    /// Unix milliseconds.
    fn captured(&self, alias: &str, value: f64) -> Option<i64> {
        let (point, answers) = self.points.get(alias)?;
        let said = POINTS.iter().find(|wired| wired.alias == alias)?.as_said(value);
        let counter = point.function.counter_among(point.produced, said)?;
        let at = answers.get(usize::try_from(counter.checked_sub(1)?).ok()?)?;
        Some(UNIX_MS + i64::try_from(at.as_millis()).ok()?)
    }
}

/// Within each life of the daemon, each slave is asked once a period.
fn judge_schedule(proof: &mut Proof, world: &World, lives: &[Duration], period: Duration) -> u64 {
    let mut polls = 0;
    for wired in [&POINTS[0], &POINTS[5], &POINTS[10]] {
        let answers = world.answers(wired.unit, wired.function());
        polls += answers.len() as u64;
        let mut skipped = Vec::new();
        let mut doubled = Vec::new();
        for (from, to) in lives.iter().zip(lives.iter().skip(1)) {
            let life: Vec<Duration> =
                answers.iter().copied().filter(|at| (*from..*to).contains(at)).collect();
            let ends = [*from].into_iter().chain(life.iter().copied()).chain([*to]);
            let all: Vec<Duration> = ends.collect();
            for pair in all.windows(2) {
                let [a, b] = pair else { continue };
                if *b - *a > period + period / SLACK {
                    skipped.push(format!("{:?} after {a:?}", *b - *a));
                }
            }
            for pair in life.windows(2) {
                let [a, b] = pair else { continue };
                if *b - *a < period - period / SLACK {
                    doubled.push(format!("{:?} after {a:?}", *b - *a));
                }
            }
        }
        proof.demand(skipped.is_empty(), || {
            format!("no poll of {} is skipped ({})", wired.slave, few(&skipped))
        });
        proof.demand(doubled.is_empty(), || {
            format!("no poll of {} is doubled ({})", wired.slave, few(&doubled))
        });
    }
    polls
}
