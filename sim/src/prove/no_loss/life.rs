//! One life of the daemon, from exec to SIGKILL.

use std::time::Duration;

use super::PATIENCE;
use super::moments::{Dice, Moment};
use super::witness::Witness;
use crate::gateway::Trouble;
use crate::gateway::child::{Daemon, Start};
use crate::gateway::config::GOLIOTH;
use crate::gateway::status::{self, Status};
use crate::gateway::surroundings::Surroundings;

/// Between two questions that were not answered.
const PAUSE: Duration = Duration::from_millis(5);

/// Starts it, watches it, kills it. The link may stay cut into the next life.
pub(super) async fn until_killed(
    around: &mut Surroundings,
    start: &Start,
    moment: Moment,
    dice: &mut Dice,
    witness: &mut Witness,
) -> Result<(), Trouble> {
    let begun = around.clock.now();
    let daemon = start.start()?;
    witness.life_begins();
    match moment {
        Moment::StartUp(after) => watch_until(around, begun + after, witness).await,
        Moment::Answered(times) => {
            let mut news = 0;
            watch_for(around, &daemon, "newly accepted readings", witness, |_, fresh| {
                news += u64::from(fresh);
                news >= times
            })
            .await?;
        }
        Moment::InCut(after) => {
            watch_for(around, &daemon, "the link", witness, |s, _| s.phase(GOLIOTH) == "up").await?;
            around.network.cut();
            let cut = around.clock.now();
            watch_for(around, &daemon, "a message under way", witness, |s, _| s.in_flight(GOLIOTH) > 0)
                .await?;
            watch_until(around, cut + after, witness).await;
        }
        Moment::AnyTime(after, None) => watch_until(around, begun + after, witness).await,
        Moment::AnyTime(after, Some((from, to))) => {
            watch_until(around, begun + from.min(after), witness).await;
            around.network.cut();
            watch_until(around, begun + to.min(after), witness).await;
            around.network.heal();
            watch_until(around, begun + after, witness).await;
        }
    }
    witness.life_ends(daemon.is_ready());
    daemon.kill().await?;
    around.replug_bus()?;
    if around.network.with(|relay| relay.is_cut()) {
        let (network, after) = (around.network.clone(), dice.ms(0, 1000));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            network.heal();
        });
    }
    Ok(())
}

/// Asks and asks again until `end`, to the millisecond, whatever the daemon is doing.
async fn watch_until(around: &Surroundings, end: Duration, witness: &mut Witness) {
    let over = tokio::time::sleep_until(around.clock.instant(end));
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            () = &mut over => return,
            status = ask(around) => {
                witness.testify(&status);
            }
        }
    }
}

/// Asks and asks again until `met`, which is also told whether the answer had something new in it.
async fn watch_for(
    around: &Surroundings,
    daemon: &Daemon,
    what: &str,
    witness: &mut Witness,
    mut met: impl FnMut(&Status, bool) -> bool,
) -> Result<(), Trouble> {
    let watch = async {
        loop {
            let status = ask(around).await;
            let fresh = witness.testify(&status);
            if met(&status, fresh) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, watch).await.map_err(|_| daemon.late(what, PATIENCE))
}

/// The next answer.
async fn ask(around: &Surroundings) -> Status {
    loop {
        if let Some(status) = status::ask(around.page).await {
            return status;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
