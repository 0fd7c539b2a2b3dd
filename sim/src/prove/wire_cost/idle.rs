//! What a day costs on which there is nothing to send, and how soon the gateway finds what changed at the cloud meanwhile.
//!
//! The address translation on the way forgets the gateway between its signs of life, so no notification reaches it: what it finds, it
//! finds by asking. What the translation keeps out is not counted: it is not on the gateway's link. A change is found when
//! the cloud has answered with it, or a notification of it was acknowledged.

use std::time::Duration;

use fieldgate::board::LinkPhase;
use serde_json::json;

use super::Proof;
use crate::cloud::{Cloud, CloudError};
use crate::gateway::Trouble;
use crate::random::Dice;
use crate::world::{DEVICE, World, WorldError, WorldOptions, in_virtual_time};

/// The most bytes of the day, both directions, headers included.
const FLOOR: u64 = 20_000;
/// Within this a change of the control document is found, and what that announces.
const SOON: Duration = Duration::from_secs(15 * 60);
/// Within this everything else is.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Within this a notification arrives over a path that is kept open.
const PROMPT: Duration = Duration::from_secs(5);
/// A round trip, and the request for what was announced.
const ON_THE_WAY: Duration = Duration::from_secs(2);
const HOUR: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_secs(60);
/// How long the daemon may take to connect, and then to say what it has to say of itself.
const PATIENCE: Duration = Duration::from_secs(600);
const SETTLED: Duration = Duration::from_secs(180);
const CONTROL: &str = ".d/desired";
const MANIFEST: &str = ".u/desired";
const SETTINGS: &str = ".c";
/// The address translation forgets after so many seconds, and the interval below that which keeps it from forgetting.
const NATS: [(u64, &str); 3] = [(30, "25s"), (60, "55s"), (120, "115s")];
/// Changes over a path that is kept open, of which every notification must arrive.
const CALLS: u64 = 12;

/// Runs the days and judges them; their figures.
pub(super) fn prove(proof: &mut Proof, short: bool) -> Result<serde_json::Value, Trouble> {
    let mut days = serde_json::Map::new();
    let mut open = serde_json::Map::new();
    // The first is the worst of them: what it forgets, the others may forget later.
    let nats = if short { NATS.get(..1).unwrap_or(&NATS) } else { &NATS };
    for (seconds, interval) in nats {
        let nat = Duration::from_secs(*seconds);
        let (day, deployed) = (run(day(nat))?, run(deployed(nat))?);
        judge(proof, *seconds, &day, &deployed);
        days.insert(
            format!("nat_forgets_after_{seconds}_s"),
            json!({
                "bytes": day.bytes, "floor": FLOOR, "datagrams": day.datagrams, "handshakes": day.handshakes,
                "found_after_s": {
                    "desired": whole(day.desired), "manifest_announced": whole(deployed.announced), "manifest": whole(deployed.unannounced),
                    "settings_announced": whole(deployed.settings_announced), "settings": whole(deployed.settings),
                },
            }),
        );
        let kept = run(kept_open(interval, Some(nat)))?;
        proof.demand(kept.slowest.is_some_and(|slowest| slowest <= PROMPT), || {
            format!("a path of {seconds} s that is kept open every {interval} brings a notification within 5 s ({:?})", kept.slowest)
        });
        open.insert(
            format!("answers_within_5_s_nat_forgets_after_{seconds}_s"),
            json!({ "interval": interval, "bytes_a_day": kept.bytes_a_day, "slowest_notification_ms": kept.slowest.map(|it| it.as_millis() as u64) }),
        );
    }
    let minute = run(kept_open("60s", None))?;
    open.insert("interval_of_60_s".to_owned(), json!({ "bytes_a_day": minute.bytes_a_day }));
    Ok(json!({
        "day": days, "beside": open,
        "conditions": { "liveness": "standard", "suite": "psk-ccm8", "connection_id": true, "ip": 4, "nothing_to_send": true, "control_document": { "changed": 2 } },
    }))
}

fn run<R>(run: impl Future<Output = Result<R, Trouble>>) -> Result<R, Trouble> {
    in_virtual_time(run).map_err(Trouble::system("make an event queue"))?
}

fn whole(found: Option<Duration>) -> Option<u64> {
    found.map(|found| found.as_secs())
}

fn judge(proof: &mut Proof, seconds: u64, day: &Day, deployed: &Deployed) {
    let where_ = format!("behind an address translation that forgets after {seconds} s");
    proof.demand(day.bytes <= FLOOR, || {
        format!("{where_} a day with nothing to send costs at most {FLOOR} B (it was {} B)", day.bytes)
    });
    proof.demand(day.handshakes == 0, || {
        format!("{where_} such a day takes no handshake ({})", day.handshakes)
    });
    let found = [
        ("a change of the control document", day.desired, SOON),
        ("a deployment that it announces", deployed.announced, SOON),
        ("a deployment that nothing announces", deployed.unannounced, DAY),
        ("a setting that it announces", deployed.settings_announced, SOON),
        ("a setting that nothing announces", deployed.settings, DAY),
    ];
    for (what, after, within) in found {
        proof.demand(after.is_some_and(|after| after <= within + ON_THE_WAY), || {
            format!("{where_} {what} is found within {} min (it was {after:?})", within.as_secs() / 60)
        });
    }
}

/// What a day with nothing to send came to. `None`: not found.
struct Day {
    bytes: u64,
    datagrams: u64,
    handshakes: u64,
    desired: Option<Duration>,
}

async fn day(nat: Duration) -> Result<Day, Trouble> {
    let world = quiet("").await?;
    world.nat_forgets_after(nat);
    let (before, end) = (Seen::of(&world), world.now() + DAY);
    world.pass(HOUR * 3 + Duration::from_secs(Dice::new(nat.as_secs()).below(900))).await;
    let changed = world.now();
    act(&world, |cloud, now| cloud.set_state(now, DEVICE, "desired", json!({ "changed": 2 })))?;
    let desired = found(&world, CONTROL, changed, SOON * 2).await;
    world.pass(end.saturating_sub(world.now())).await;
    let seen = Seen::of(&world);
    let day = Day {
        bytes: seen.bytes - before.bytes,
        datagrams: seen.datagrams - before.datagrams,
        handshakes: seen.handshakes - before.handshakes,
        desired,
    };
    world.stop().await?;
    Ok(day)
}

/// How long deployments took to be found. Not part of the day that is counted: what they cause is something to send.
struct Deployed {
    announced: Option<Duration>,
    unannounced: Option<Duration>,
    settings: Option<Duration>,
    settings_announced: Option<Duration>,
}

async fn deployed(nat: Duration) -> Result<Deployed, Trouble> {
    let world = quiet("").await?;
    world.nat_forgets_after(nat);
    let mut dice = Dice::new(nat.as_secs() + 1);
    let deploy = |version: &'static str| {
        move |cloud: &mut Cloud, now| cloud.deploy(now, &[DEVICE], "elsewhere", version, version.into())
    };
    world.pass(HOUR + Duration::from_secs(dice.below(900))).await;
    let changed = world.now();
    act(&world, deploy("2.0.0"))?;
    act(&world, |cloud, now| {
        let sequence = cloud.manifest_sequence(DEVICE).unwrap_or_default().to_string();
        cloud.set_state(now, DEVICE, "desired", json!({ "changed": { "manifest": sequence } }))
    })?;
    let announced = found(&world, MANIFEST, changed, SOON * 2).await;
    world.pass(HOUR + Duration::from_secs(dice.below(900))).await;
    let changed = world.now();
    act(&world, |cloud, now| cloud.set_setting(now, "LOG_LEVEL", json!("warn"), None))?;
    act(&world, |cloud, now| {
        cloud.set_state(now, DEVICE, "desired", json!({ "changed": { "settings": 9 } }))
    })?;
    let settings_announced = found(&world, SETTINGS, changed, SOON * 2).await;
    world.pass(HOUR + Duration::from_secs(dice.below(900))).await;
    let changed = world.now();
    act(&world, deploy("3.0.0"))?;
    act(&world, |cloud, now| cloud.set_setting(now, "LOG_LEVEL", json!("info"), None))?;
    let unannounced = found(&world, MANIFEST, changed, DAY * 2).await;
    let settings = found(&world, SETTINGS, changed, DAY * 2).await;
    world.stop().await?;
    Ok(Deployed { announced, unannounced, settings, settings_announced })
}

/// What keeping the path open costs, from an hour of it, and how long the slowest of some notifications took.
struct KeptOpen {
    bytes_a_day: u64,
    slowest: Option<Duration>,
}

async fn kept_open(interval: &str, nat: Option<Duration>) -> Result<KeptOpen, Trouble> {
    let world = quiet(&format!("keepalive = \"{interval}\"")).await?;
    let mut slowest = None;
    if let Some(nat) = nat {
        world.nat_forgets_after(nat);
    }
    let before = Seen::of(&world);
    world.pass(HOUR).await;
    let bytes_a_day = (Seen::of(&world).bytes - before.bytes) * 24;
    if let Some(nat) = nat {
        let mut dice = Dice::new(nat.as_secs());
        let mut took = Some(Duration::ZERO);
        for call in 0..CALLS {
            world.pass(Duration::from_millis(60_000 + dice.below(240_000))).await;
            let changed = world.now();
            act(&world, |cloud, now| {
                cloud.set_state(now, DEVICE, "desired", json!({ "changed": call + 2 }))
            })?;
            world.pass(PROMPT * 2).await;
            let found = shown_since(&world, CONTROL, changed);
            took = took.zip(found).map(|(slowest, found)| slowest.max(found));
        }
        slowest = took;
    }
    world.stop().await?;
    Ok(KeptOpen { bytes_a_day, slowest })
}

/// A connected gateway that has said what it has to say of itself, and has nothing to read.
async fn quiet(golioth: &str) -> Result<World, Trouble> {
    let options = WorldOptions {
        bus: false,
        quiet: "".into(),
        golioth: format!("suites = [\"psk-ccm8\"]\n{golioth}").into(),
        ..WorldOptions::default()
    };
    let world = World::start(&options).await?;
    while world.link().is_none_or(|link| link.phase != LinkPhase::Up) {
        if world.now() > PATIENCE {
            return Err(Trouble::Surroundings("the link did not come up".into()));
        }
        world.pass(Duration::from_secs(1)).await;
    }
    act(&world, |cloud, now| cloud.set_state(now, DEVICE, "desired", json!({ "changed": 1 })))?;
    world.pass(SETTLED).await;
    Ok(world)
}

#[derive(Clone, Copy)]
struct Seen {
    bytes: u64,
    datagrams: u64,
    handshakes: u64,
}

impl Seen {
    fn of(world: &World) -> Self {
        let relay = world.relay_counters();
        Self {
            bytes: relay.up.wire_bytes + relay.down.wire_bytes,
            datagrams: relay.up.datagrams + relay.down.datagrams,
            handshakes: world.handshakes(),
        }
    }
}

fn act(
    world: &World,
    act: impl FnOnce(&mut Cloud, Duration) -> Result<(), CloudError>,
) -> Result<(), Trouble> {
    world.cloud(act).map_err(|error| WorldError::from(error).into())
}

/// Waits until the gateway has been shown what changed; how long after the change, if it was within this.
async fn found(world: &World, path: &str, changed: Duration, within: Duration) -> Option<Duration> {
    while world.now() < changed + within {
        if let Some(after) = shown_since(world, path, changed) {
            return Some(after);
        }
        world.pass(LOOK).await;
    }
    None
}

fn shown_since(world: &World, path: &str, changed: Duration) -> Option<Duration> {
    world.cloud(|cloud, _| cloud.shown(DEVICE, path))?.checked_sub(changed)
}
