//! `prove resume`: after a clean stop the next run goes on with the session, and never when that would use it twice.
//!
//! In virtual time, against a cloud that answers a message id it has seen with the answer it gave (RFC 7252 section 4.2). Readings
//! are handed over the moment the daemon is up. What the books say was acknowledged must be at the cloud: an answer to an earlier
//! message taken for one to a new one would show there. Of every protected record the number is noted: one that comes twice
//! would repeat a nonce.
//!
//! In this order: clean restarts; a copy of the folder started after the original; a kill; the same folder behind another board or
//! another modem, as when a disk is cloned block by block, which no file system can know; a file system that was set back. In
//! the last, numbers do repeat, which nothing on the gateway can know; the cloud takes none of them, and the gateway gives the
//! session up soon.

use std::time::Duration;

use fieldgate::reading::Value;

use super::{Common, Proof, few};
use crate::gateway::Trouble;
use crate::world::{GOLIOTH, World, WorldOptions, in_virtual_time};

const RESTARTS: u64 = 20;
const SHORT_RESTARTS: u64 = 5;
/// The desired state, the manifest, calls and settings.
const OBSERVED: usize = 4;
/// Readings at once after each start, and each in a message of its own.
const BURST: i64 = 3;
const ARRIVES: Duration = Duration::from_secs(120);
const BETWEEN: Duration = Duration::from_secs(20);
/// Less than a session of the run before is given to prove itself.
const BEFORE_HEARD: Duration = Duration::from_secs(10);

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn prove(args: &Args) -> Result<Proof, Trouble> {
    let restarts = if args.common.short { SHORT_RESTARTS } else { RESTARTS };
    in_virtual_time(run(restarts)).map_err(Trouble::system("make an event queue"))?
}

async fn run(restarts: u64) -> Result<Proof, Trouble> {
    let mut proof = Proof::default();
    let options = WorldOptions { bus: false, ..WorldOptions::default() };
    let mut world = World::start(&options).await?;
    world.watch_record_numbers();
    let mut sender = Sender::default();
    sender.burst(&world).await?;
    world.pass(BETWEEN).await;
    let made = world.handshakes();
    let observed = world.cloud(|cloud, _| cloud.observations("gw-1"));
    proof.demand(observed == OBSERVED, || format!("{OBSERVED} resources are observed ({observed} are)"));

    for _ in 0..restarts {
        world = world.restart(&options).await?;
        sender.burst(&world).await?;
        sender.judge(&mut proof, &world, "a clean restart");
        world.pass(BETWEEN).await;
    }
    let over_restarts = world.handshakes() - made;
    proof.demand(over_restarts == 0, || {
        format!("{restarts} clean restarts need no handshake ({over_restarts} were made)")
    });
    let observers = world.cloud(|cloud, _| cloud.observations("gw-1"));
    proof.demand(observers == observed, || {
        format!("the cloud serves {observed} observations as before ({observers})")
    });

    let before = world.handshakes();
    let (original, copy) = world.restart_and_copy(&options).await?;
    sender.burst(&original).await?;
    let over_original = original.handshakes() - before;
    proof.demand(over_original == 0, || {
        format!("the original of a copied folder needs none ({over_original})")
    });
    // What the original had sent since is in its queue's books, not in the copy's: the copy sends its own.
    world = original.restart_on(&options, copy).await?;
    world.drained(ARRIVES).await?;
    sender.forget();
    sender.burst(&world).await?;
    sender.judge(&mut proof, &world, "a copy was started");
    let over_copy = world.handshakes() - before;
    proof.demand(over_copy == 1, || {
        format!("a copied folder that is started second makes a handshake ({over_copy} were made)")
    });

    world = world.restart(&options).await?;
    sender.burst(&world).await?;
    world.pass(BETWEEN).await;
    let before = world.handshakes();
    world = world.crash(&options).await?;
    sender.burst(&world).await?;
    sender.judge(&mut proof, &world, "a kill");
    let over_kill = world.handshakes() - before;
    proof.demand(over_kill == 1, || format!("after a kill there is one handshake ({over_kill} were made)"));

    let (moved, hardware) = other_hardware(&mut proof, world, &options, &mut sender).await?;
    world = moved;
    let repeated = world.repeated_records();
    proof.demand(repeated == 0, || format!("no record number is used twice ({repeated} were)"));

    let (stopped_soon, of_stopped_soon) = stopped_before_heard(&mut proof, world, &options).await?;
    world = stopped_soon;
    sender.burst(&world).await?;
    world.pass(BETWEEN).await;

    let before = world.handshakes();
    world = world.restart_set_back(&options).await?;
    let began = world.now();
    sender.burst(&world).await?;
    let took = world.now() - began;
    sender.judge(&mut proof, &world, "the file system was set back");
    let over_set_back = world.handshakes() - before;
    proof.demand(over_set_back == 1, || {
        format!("a folder that was set back ends in one handshake ({over_set_back} were made)")
    });
    let verified = world.stop().await?;
    proof.demand(verified.problems.is_empty(), || format!("the books close ({})", few(&verified.problems)));
    proof.figures = serde_json::json!({
        "clean_restarts": restarts, "handshakes_over_clean_restarts": over_restarts,
        "handshakes_of_a_copy": over_copy, "handshakes_after_a_kill": over_kill,
        "handshakes_on_other_hardware": hardware,
        "handshakes_after_a_set_back": over_set_back, "a_set_back_delays_s": took.as_secs(),
        "record_numbers_repeated_by_a_set_back_stopped_at_once": of_stopped_soon,
        "false_acknowledgements": sender.false_acknowledgements, "record_numbers_repeated": repeated,
        "readings": sender.sent,
    });
    Ok(proof)
}

/// A file system that was set back, and a stop before the silence of the cloud has shown it. What is sent on such a session is the
/// one record. How many came under a number that was used before.
async fn stopped_before_heard(
    proof: &mut Proof,
    world: World,
    options: &WorldOptions,
) -> Result<(World, u64), Trouble> {
    let before = world.repeated_records();
    let world = world.restart_set_back(options).await?;
    world.take("al", Value::Bool(true)).await?;
    world.pass(BEFORE_HEARD).await;
    let world = world.restart(options).await?;
    let repeated = world.repeated_records() - before;
    proof.demand(repeated == 1, || {
        format!(
            "a folder that was set back and stopped at once sends one record ({repeated} under used numbers)"
        )
    });
    Ok((world, repeated))
}

/// Another modem's number.
const OTHER_IMEI: &str = "352656100664880";

/// The same folder behind hardware that changes from one start to the next. The handshakes of each start, by its name.
async fn other_hardware(
    proof: &mut Proof,
    mut world: World,
    options: &WorldOptions,
    sender: &mut Sender,
) -> Result<(World, serde_json::Value), Trouble> {
    let other_modem = Some(OTHER_IMEI);
    // The handshakes that a start needs, and whether it may begin on the session of the run before. A board with a serial number
    // does not wait for its modem, and gives the session up when that says which it is.
    let starts = [
        ("another board", Some("board-2"), None, 1, false),
        ("the same board", Some("board-2"), None, 0, true),
        ("another modem at the same board", Some("board-2"), other_modem, 1, true),
        ("a board without a serial number", None, None, 1, false),
        ("the same modem at a board without a serial number", None, None, 0, true),
        ("another modem at a board without a serial number", None, other_modem, 1, false),
        ("the board as before", options.board, None, 1, false),
    ];
    let mut figures = serde_json::Map::new();
    for (name, board, imei, expected, within) in starts {
        world.pass(BETWEEN).await;
        let before = world.handshakes();
        world = world.restart(&WorldOptions { board, imei, ..options.clone() }).await?;
        sender.burst(&world).await?;
        world.pass(BETWEEN).await;
        sender.judge(proof, &world, name);
        let made = world.handshakes() - before;
        proof
            .demand(made == expected, || format!("{name}: handshakes needed: {expected} ({made} were made)"));
        proof.demand(world.began_within_a_session() == within, || {
            format!(
                "{name}: what is sent first is{} of the session of the run before",
                if within { "" } else { " not" }
            )
        });
        figures.insert(name.into(), made.into());
    }
    Ok((world, figures.into()))
}

/// Counts what it sends, and compares what is acknowledged with what is there.
#[derive(Default)]
struct Sender {
    sent: u64,
    /// At the cloud, and acknowledged by the books, when counting began.
    base: (u64, u64),
    false_acknowledgements: u64,
}

impl Sender {
    /// Hands over readings at once and waits until the books call all of them acknowledged.
    async fn burst(&mut self, world: &World) -> Result<(), Trouble> {
        for n in 0..BURST {
            world.take("al", Value::Bool(n % 2 == 0)).await?;
            self.sent += 1;
        }
        world.drained(ARRIVES).await?;
        Ok(())
    }

    /// The books are those of an older copy now.
    fn forget(&mut self) {
        self.base = (u64::MAX, 0);
    }

    fn judge(&mut self, proof: &mut Proof, world: &World, when: &str) {
        let there = world.cloud(|cloud, _| cloud.intake().counts().unique);
        let acknowledged = world.account(GOLIOTH).acknowledged;
        if self.base.0 == u64::MAX {
            // Counting begins anew: what an original sent meanwhile is at the cloud, and in nobody's books.
            self.base = (there, acknowledged);
            return;
        }
        let missing = (acknowledged - self.base.1).saturating_sub(there - self.base.0);
        self.false_acknowledgements = self.false_acknowledgements.max(missing);
        proof.demand(missing == 0, || {
            format!("what is acknowledged is at the cloud ({missing} readings are not, after {when})")
        });
    }
}
