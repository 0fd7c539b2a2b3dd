//! `prove rebinding`: a gateway whose source address changes all the time, and whose daemon is restarted, makes one handshake.
//!
//! In virtual time: the address translation on the way gives the gateway another address before every reading, as often as
//! asked. Each reading must arrive on the session there is. Then the daemon is stopped and started, and the next reading must too.

use std::time::Duration;

use fieldgate::reading::Value;

use super::{Common, Proof, few};
use crate::gateway::Trouble;
use crate::world::{World, WorldOptions, in_virtual_time};

/// A reading is at the cloud within this, a dead session found out and made anew included.
const ARRIVES: Duration = Duration::from_secs(1800);
const BETWEEN: Duration = Duration::from_secs(60);
/// As many moves in the short form.
const SHORT_MOVES: u32 = 25;

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often the source address changes.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    moves: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn prove(args: &Args) -> Result<Proof, Trouble> {
    let moves = if args.common.short { args.moves.min(SHORT_MOVES) } else { args.moves };
    in_virtual_time(run(moves)).map_err(Trouble::system("make an event queue"))?
}

async fn run(moves: u32) -> Result<Proof, Trouble> {
    let mut proof = Proof::default();
    let options = WorldOptions { bus: false, ..WorldOptions::default() };
    let mut world = World::start(&options).await?;
    world.watch_record_numbers();
    world.pass(BETWEEN).await;
    let first = world.handshakes();
    let bytes_before = bytes(&world);
    for n in 0..moves {
        world.relay(|relay| relay.rebind());
        world.take("q1", Value::Steps(i64::from(n))).await?;
        world.drained(ARRIVES).await?;
        world.pass(BETWEEN).await;
    }
    let (after_moves, bytes_of_moves) = (world.handshakes(), bytes(&world) - bytes_before);
    proof.demand(after_moves == first, || {
        format!("{moves} changes of the source address need no handshake ({} were made)", after_moves - first)
    });
    world = world.restart(&options).await?;
    world.take("q1", Value::Steps(i64::from(moves))).await?;
    world.drained(ARRIVES).await?;
    let after_restart = world.handshakes();
    proof.demand(after_restart == after_moves, || {
        format!("a clean restart needs no handshake ({} were made)", after_restart - after_moves)
    });
    let (repeated, moved) =
        (world.repeated_records(), world.cloud(|cloud, _| cloud.counters().address_moves));
    proof.demand(moved >= u64::from(moves), || {
        format!("each of the {moves} changes is one that the cloud saw ({moved} were)")
    });
    proof.demand(repeated == 0, || format!("no record number is used twice ({repeated} were)"));
    let outcome = world.finish().await?;
    let readings = u64::from(moves) + 1;
    proof.demand((outcome.acknowledged, outcome.cloud_unique) == (readings, readings), || {
        format!("every reading arrived, and was acknowledged because it did ({outcome:?})")
    });
    proof.demand(outcome.problems.is_empty(), || format!("the books close ({})", few(&outcome.problems)));
    proof.figures = serde_json::json!({
        "moves": moves, "handshakes_before": first, "handshakes_over_moves": after_moves - first,
        "handshakes_over_a_clean_restart": after_restart - after_moves, "moves_seen_by_the_cloud": moved,
        "readings": readings, "wire_bytes_a_reading": bytes_of_moves / u64::from(moves),
    });
    Ok(proof)
}

/// Both ways, headers included.
fn bytes(world: &World) -> u64 {
    let counters = world.relay_counters();
    counters.up.wire_bytes + counters.down.wire_bytes
}
