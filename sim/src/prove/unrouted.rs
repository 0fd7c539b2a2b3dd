//! `prove unrouted`: readings that the cloud would acknowledge and drop are kept, people are shown what to do, and doing it is enough.
//!
//! In virtual time, the whole daemon with a management key against a project without pipelines. What the page says is asked for over
//! real HTTP, and the pipelines it shows are made word for word. Then one goes away again, the management API falls silent, and a
//! gateway is told to send all the same: what is lost then is counted, exactly.

use std::collections::BTreeSet;
use std::time::Duration;

use fieldgate::reading::Value as Reading;
use serde_json::{Value, json};

use super::{Common, Proof, few};
use crate::gateway::Trouble;
use crate::world::{DEVICE, GOLIOTH, World, WorldOptions, in_virtual_time};

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// What waits is tried again at least hourly, and then goes.
const AGAIN: Duration = Duration::from_secs(2 * 3600);
const READINGS: i64 = 300;
/// The lists may be asked for so often in six hours in which nothing changes.
const MOST_LOOKS: u64 = 16;

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn prove(_: &Args) -> Result<Proof, Trouble> {
    in_virtual_time(async {
        let mut proof = Proof::default();
        let held = held(&mut proof).await?;
        let sent = sent(&mut proof).await?;
        proof.figures = json!({ "held": held, "sent_all_the_same": sent });
        Ok(proof)
    })
    .map_err(Trouble::system("make an event queue"))?
}

/// A gateway with a management key, in a project without pipelines.
async fn gateway(on_unrouted: &str) -> Result<World, Trouble> {
    let key = "project = \"p\"\napi_key_credential = \"golioth-api-key\"\ncheck_delivery = \"1h\"\n";
    let options = WorldOptions {
        bus: false,
        golioth: "stream_path = \"site/pump\"".into(),
        tables: format!("[golioth.rest]\n{key}on_unrouted = \"{on_unrouted}\"\n").into(),
        ..WorldOptions::default()
    };
    let world = World::start(&options).await?;
    world.cloud(|cloud, _| cloud.set_routes(Vec::new()));
    world.pass(MINUTE).await;
    Ok(world)
}

async fn take(world: &World, values: std::ops::Range<i64>) -> Result<(), Trouble> {
    world.take_all("q1", values.map(Reading::Steps)).await?;
    Ok(())
}

/// What the page says over HTTP, and the destination as the API shows it.
fn shown(world: &World) -> Result<(String, Value), Trouble> {
    let status: Value = serde_json::from_str(&world.get("/api/gateway/status")?).unwrap_or_default();
    Ok((world.get("/")?, status["destinations"][0].clone()))
}

fn arrived(world: &World) -> BTreeSet<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "they are small whole numbers")]
    let value = |value: Option<f64>| value.map_or(-1, |value| value as i64);
    world.far_values("q1").into_iter().map(|far| value(far.value)).collect()
}

async fn held(proof: &mut Proof) -> Result<Value, Trouble> {
    let world = gateway("hold").await?;
    take(&world, 0..READINGS).await?;
    world.take("al", Reading::Bool(true)).await?;
    world.pass(6 * HOUR).await;
    let (account, looks) = (world.account(GOLIOTH), world.looks_at_lists());
    proof.demand(account.acknowledged == 0 && account.queued == account.accepted, || {
        format!("what no pipeline takes is kept, not believed to be acknowledged ({account:?})")
    });
    proof.demand(looks <= MOST_LOOKS, || {
        format!("the lists are asked for ever more seldom ({looks} times in 6 h)")
    });
    // What is shown is made, word for word, until nothing more is shown.
    let mut made = Vec::new();
    for content_type in ["application/cbor", "application/json"] {
        let (page, told) = shown(&world)?;
        let trouble = &told["troubles"][0];
        let yaml = trouble["paste"].as_str().unwrap_or_default();
        let red = page.contains(">Broken</h1>") && page.contains("golioth: it keeps no readings");
        proof.demand(red && trouble["state"] == json!("unrouted"), || {
            format!("an unrouted path is red on the page, by its name ({told})")
        });
        let whole =
            yaml.contains("path: /site/pump\n") && yaml.contains(&format!("content_type: {content_type}\n"));
        // As HTML it is escaped; there is nothing to escape in a pipeline but quotes.
        proof.demand(whole && page.contains("path: /site/pump"), || {
            format!("the page shows the pipeline to make, for {content_type} ({yaml:?})")
        });
        world
            .cloud(|cloud, now| cloud.add_pipeline(now, content_type, yaml))
            .map_err(|error| Trouble::Surroundings(error.to_string()))?;
        made.push(content_type);
        world.pass(AGAIN).await;
    }
    let drained = world.drained(AGAIN).await;
    proof.demand(drained.is_ok(), || format!("what was kept goes once there is a pipeline ({drained:?})"));
    let (page, told) = shown(&world)?;
    proof.demand(told["troubles"] == json!([]) && !page.contains("it keeps no readings"), || {
        format!("a path that is routed is not red ({told})")
    });
    let kept = arrived(&world);
    proof.demand(kept == (0..READINGS).collect(), || {
        format!("nothing of a path that was never routed is lost ({} of {READINGS} arrived)", kept.len())
    });
    unverified(proof, &world).await?;
    let lost = goes_away(proof, &world).await?;
    let (account, looks) = (world.account(GOLIOTH), world.looks_at_lists());
    let duplicates = world.cloud(|cloud, _| cloud.intake().counts().duplicates);
    let outcome = world.finish().await?;
    proof.demand(outcome.problems.is_empty() && outcome.dropped + outcome.set_aside == 0, || {
        format!("the books close ({account:?}, {})", few(&outcome.problems))
    });
    Ok(json!({
        "pipelines_made": made, "readings": account.accepted, "looks_at_lists": looks, "arrived_twice": duplicates,
        "lost_when_a_pipeline_went_away": lost,
    }))
}

/// A list that cannot be read keeps nothing.
async fn unverified(proof: &mut Proof, world: &World) -> Result<(), Trouble> {
    world.management_down(true);
    world.pass(HOUR + MINUTE).await;
    take(world, 1000..1050).await?;
    let drained = world.drained(AGAIN).await;
    let (_, told) = shown(world)?;
    let words = told["delivery"]["words"].as_str().unwrap_or_default();
    proof.demand(drained.is_ok() && words.contains("unverified"), || {
        format!("lists that cannot be read keep nothing, and that is said ({told})")
    });
    world.management_down(false);
    world.pass(HOUR + MINUTE).await;
    take(world, 1050..1060).await?;
    world.drained(AGAIN).await?;
    world.pass(MINUTE).await;
    Ok(())
}

/// A pipeline goes away: what is lost until that is seen is counted, and no more is lost.
async fn goes_away(proof: &mut Proof, world: &World) -> Result<u64, Trouble> {
    let before = arrived(world).len();
    let acknowledged = world.account(GOLIOTH).acknowledged;
    world.cloud(|cloud, _| cloud.enable_pipeline("application/cbor", false));
    for n in 0..30 {
        take(world, 2000 + n..2001 + n).await?;
        world.pass(10 * MINUTE).await;
    }
    let (page, told) = shown(world)?;
    let believed = world.account(GOLIOTH).acknowledged - acknowledged;
    let came = u64::try_from(arrived(world).len() - before).unwrap_or(u64::MAX);
    let lost = told["delivery"]["lostAtMost"].as_u64().unwrap_or(0);
    proof.demand(page.contains(">Broken</h1>") && lost == believed - came && (1..=7).contains(&lost), || {
        format!("what was lost before the loss was seen is counted ({lost} told, {believed} believed, {came} came)")
    });
    world.cloud(|cloud, _| cloud.enable_pipeline("application/cbor", true));
    let drained = world.drained(AGAIN).await;
    world.pass(MINUTE).await;
    let came = u64::try_from(arrived(world).len() - before).unwrap_or(u64::MAX);
    proof.demand(drained.is_ok() && came + lost == 30, || {
        format!("what came after it was seen is kept, and goes ({came} of 30 came, {lost} are lost)")
    });
    Ok(lost)
}

/// Who asks for it loses everything, and is told so.
async fn sent(proof: &mut Proof) -> Result<Value, Trouble> {
    let world = gateway("send").await?;
    let mut told_at_most = 0;
    for n in 0..24 {
        take(&world, n * 10..n * 10 + 10).await?;
        world.pass(HOUR + 30 * S).await;
        let (_, told) = shown(&world)?;
        let lost = told["delivery"]["lostAtMost"].as_u64().unwrap_or(0);
        proof.demand(lost >= told_at_most, || {
            format!("what is lost stays counted ({lost} after {told_at_most})")
        });
        told_at_most = lost;
    }
    let (page, told) = shown(&world)?;
    let (account, unmatched) = (world.account(GOLIOTH), world.cloud(|cloud, _| cloud.counters().unmatched));
    let came = world.cloud(|cloud, _| cloud.messages(DEVICE).map_or(0, |messages| messages.len()));
    let red = page.contains(">Broken</h1>") && told["troubles"][0]["state"] == json!("unrouted");
    proof.demand(red, || format!("a path whose readings are lost is red ({told})"));
    // The newest ten are counted with the next look.
    let right = account.acknowledged == 240 && account.queued == 0 && (230..=240).contains(&told_at_most);
    proof.demand(right && came == 0, || {
        format!("with \"send\" readings go and each is counted as lost ({told_at_most} told, {account:?}, {came} came)")
    });
    let reason = told["delivery"]["words"].as_str().unwrap_or_default();
    proof
        .demand(reason.contains("no pipeline takes them"), || format!("and the reason is said ({reason:?})"));
    world.finish().await?;
    Ok(json!({ "readings": account.accepted, "told_lost": told_at_most, "unmatched_messages": unmatched }))
}
