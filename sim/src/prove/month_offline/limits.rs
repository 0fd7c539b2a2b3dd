//! The same with limits of another kind: an age beyond which a class is not sent, and a quota of a class's own.
//!
//! A short time offline shows them: of telemetry nothing older than its limit goes out, and nothing younger is given up; of
//! diagnostics the newest are kept, as many as their quota allows; alarms, which have neither, all arrive.

use std::collections::BTreeMap;
use std::time::Duration;

use fieldgate::reading::Class;

use super::super::{Proof, few};
use crate::gateway::Trouble;
use crate::world::{Arrived, Feed, FeedGroup, GOLIOTH, World, WorldOptions};

/// How long there is no link, and between two instants of the feed.
const OFFLINE: Duration = Duration::from_secs(4 * 3600);
const EVERY: Duration = Duration::from_secs(6);
/// What telemetry may wait.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// What diagnostics may take: readings, of both their streams together.
const MAX_ROWS: u64 = 1200;
const DIAGNOSTICS: usize = 2;
/// What is given up goes a segment at a time, and a sixteenth of the quota at once: so much must be left of it.
const LEFT: u64 = MAX_ROWS * 7 / 8;
/// Virtual time between two rounds of captures, and within which all must have left after the link's return.
const ROUND: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(600);

/// The proof, with its figures.
pub(super) async fn run() -> Result<Proof, Trouble> {
    let mut proof = Proof::default();
    let group = |name, class, streams, every| FeedGroup { name, class, streams, every, noise_bits: 30 };
    let mut feed = Feed::new(&[
        group("t", Class::Telemetry, 4, 1),
        group("d", Class::Diagnostics, DIAGNOSTICS, 1),
        group("a", Class::Alarm, 1, 200),
    ]);
    let tables = format!(
        "[store]\ncommit_window = \"20s\"\n[store.max_rows]\ndiagnostics = {MAX_ROWS}\n[uplink.max_age]\ntelemetry = \"{}s\"\n",
        MAX_AGE.as_secs()
    );
    let options = WorldOptions {
        bus: false,
        quiet: feed.tables().into(),
        tables: tables.into(),
        ..WorldOptions::default()
    };
    let world = World::start(&options).await?;
    world.relay(|relay| relay.cut());
    let began = world.now();
    let mut at = began;
    while world.now() < began + OFFLINE {
        world.pass(ROUND).await;
        while at <= world.now() {
            world.feed(&mut feed, at).await?;
            at += EVERY;
        }
    }
    feed.answered().await;
    let returned = world.now();
    world.relay(|relay| relay.heal());
    let drained = world.drained(DRAIN).await;
    let empty = world.now();
    proof.demand(drained.is_ok(), || format!("what is within the limits leaves within {DRAIN:?}"));
    proof.demand(feed.refused() == 0, || format!("a limit refuses nothing ({} captures)", feed.refused()));

    let mut recorded: BTreeMap<(String, String), u64> = BTreeMap::new();
    for drop in world.drops(GOLIOTH)? {
        *recorded.entry((drop.alias, drop.reason)).or_default() += drop.count;
    }
    let captured = |instant: u64| began + EVERY * u32::try_from(instant).unwrap_or(u32::MAX);
    let mut kept_of_quota = 0;
    for Arrived { alias, class, there, wrong, fed, missing, .. } in
        feed.compare(|alias| world.far_values(alias))
    {
        proof.demand(wrong == 0, || format!("what arrives is what was fed ({wrong} of {alias} are not)"));
        let gone = match missing.as_slice() {
            [] => 0,
            [(0, last)] => last + 1,
            runs => {
                proof
                    .demand(false, || format!("the oldest go, and nothing between ({alias} lacks {runs:?})"));
                continue;
            }
        };
        let of = |reason: &str| recorded.get(&(alias.clone(), reason.to_owned())).copied().unwrap_or(0);
        let reason = match class {
            Class::Telemetry => "age",
            Class::Diagnostics => "class_quota",
            _ => "",
        };
        proof.demand(gone == of(reason), || {
            format!(
                "each reading beyond a limit is on record as that ({alias}: {gone} are missing, {} recorded)",
                of(reason)
            )
        });
        let all: u64 = recorded.iter().filter(|((of, _), _)| *of == alias).map(|(_, count)| count).sum();
        proof.demand(all == gone, || format!("and as nothing else ({alias}: {recorded:?})"));
        match class {
            Class::Telemetry => {
                let oldest_sent = returned.saturating_sub(captured(gone));
                proof.demand(oldest_sent <= MAX_AGE + ROUND, || {
                    format!("nothing is sent that waited longer than its limit ({alias}: {oldest_sent:?} when the link returned)")
                });
                let youngest_gone = empty.saturating_sub(captured(gone.saturating_sub(1)));
                proof.demand(gone > 0 && youngest_gone >= MAX_AGE, || {
                    format!("nothing younger than its limit is given up ({alias}: {gone} went, the last {youngest_gone:?} old)")
                });
            }
            Class::Diagnostics => kept_of_quota += there,
            _ => proof.demand(there == fed && fed > 0, || {
                format!("what has no limit all arrives ({alias}: {there} of {fed})")
            }),
        }
    }
    proof.demand((LEFT..=MAX_ROWS).contains(&kept_of_quota), || {
        format!(
            "a class keeps to its own quota, and to no less ({kept_of_quota} were kept of at most {MAX_ROWS})"
        )
    });
    let verified = world.stop().await?;
    proof.demand(verified.problems.is_empty(), || {
        format!("the books close with limits ({})", few(&verified.problems))
    });
    proof.figures = serde_json::json!({
        "readings": feed.readings(), "offline_s": OFFLINE.as_secs(), "drained_in_s": (empty - returned).as_secs(),
        "max_age_s": MAX_AGE.as_secs(), "max_rows": MAX_ROWS, "kept_of_max_rows": kept_of_quota,
    });
    Ok(proof)
}
