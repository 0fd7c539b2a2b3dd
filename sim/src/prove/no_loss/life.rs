//! One life of the daemon, from exec to SIGKILL.

use std::time::Duration;

use super::PATIENCE;
use super::moments::{Moment, ms};
use super::repeats::Death;
use super::risk::{Risk, Said};
use super::stalls::Stalls;
use super::witness::Witness;
use crate::gateway::Trouble;
use crate::gateway::child::{Daemon, Start};
use crate::gateway::config::GOLIOTH;
use crate::gateway::status::{self, Status};
use crate::gateway::surroundings::Surroundings;
use crate::random::Dice;

/// Between two questions that were not answered.
const PAUSE: Duration = Duration::from_millis(5);

/// What is kept of all lives.
#[derive(Debug)]
pub(super) struct Lives {
    pub(super) witness: Witness,
    pub(super) risk: Risk,
    pub(super) deaths: Vec<Death>,
}

impl Lives {
    pub(super) fn new(accepted_within: Duration, timeout: Duration) -> Self {
        Self { witness: Witness::default(), risk: Risk::new(accepted_within, timeout), deaths: Vec::new() }
    }

    /// Another life begins.
    pub(super) fn begin(&mut self, around: &Surroundings) {
        self.risk.begins(&said(around));
        self.witness.life_begins();
    }

    /// Takes what the daemon answered, and what the devices have said by then; tells whether the answer had something new in it.
    pub(super) fn testify(&mut self, around: &Surroundings, status: &Status) -> bool {
        self.risk.look(around.clock.now(), || said(around));
        self.witness.testify(status)
    }
}

fn said(around: &Surroundings) -> Said {
    around.produced().into_iter().map(|(stream, point)| (stream, point.produced)).collect()
}

/// Starts it, watches it, kills it. The link may stay cut into the next life.
pub(super) async fn until_killed(
    around: &mut Surroundings,
    start: &Start,
    moment: Moment,
    dice: &mut Dice,
    lives: &mut Lives,
    stalls: &Stalls,
) -> Result<(), Trouble> {
    let begun = around.clock.now();
    lives.begin(around);
    let daemon = start.start()?;
    match moment {
        Moment::StartUp(after) => watch_until(around, begun + after, lives).await,
        Moment::Answered(times) => {
            let mut news = 0;
            watch_for(around, &daemon, "newly accepted readings", lives, |_, fresh| {
                news += u64::from(fresh);
                news >= times
            })
            .await?;
        }
        Moment::InCut(after) => {
            watch_for(around, &daemon, "the link", lives, |s, _| s.phase(GOLIOTH) == "up").await?;
            around.network.cut();
            watch_for(around, &daemon, "a message under way", lives, |s, _| s.in_flight(GOLIOTH) > 0).await?;
            watch_until(around, around.clock.now() + after, lives).await;
        }
        Moment::AtWork(messages) => {
            let come =
                |around: &Surroundings| around.cloud.read(|cloud| cloud.intake().arrivals().len() as u64);
            let enough = come(around) + messages;
            watch_for(around, &daemon, "enough messages", lives, |_, _| come(around) >= enough).await?;
        }
        Moment::AnyTime(after, None) => watch_until(around, begun + after, lives).await,
        Moment::AnyTime(after, Some((from, to))) => {
            watch_until(around, begun + from.min(after), lives).await;
            around.network.cut();
            watch_until(around, begun + to.min(after), lives).await;
            around.network.heal();
            watch_until(around, begun + after, lives).await;
        }
    }
    lives.witness.life_ends(daemon.is_ready());
    let stalled = stalls.lately();
    lives.risk.dies(around.clock.now(), stalled);
    daemon.kill().await?;
    lives.deaths.push(Death { at: around.clock.now(), stalled });
    around.replug_bus().await?;
    if around.network.with(|relay| relay.is_cut()) {
        let (network, after) = (around.network.clone(), ms(dice, 0, 1000));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            network.heal();
        });
    }
    Ok(())
}

/// Asks and asks again until `end`, to the millisecond, whatever the daemon is doing.
async fn watch_until(around: &Surroundings, end: Duration, lives: &mut Lives) {
    let over = tokio::time::sleep_until(around.clock.instant(end));
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            () = &mut over => return,
            status = ask(around) => {
                lives.testify(around, &status);
            }
        }
    }
}

/// Asks and asks again until `met`, which is also told whether the answer had something new in it.
async fn watch_for(
    around: &Surroundings,
    daemon: &Daemon,
    what: &str,
    lives: &mut Lives,
    mut met: impl FnMut(&Status, bool) -> bool,
) -> Result<(), Trouble> {
    let watch = async {
        loop {
            let status = ask(around).await;
            let fresh = lives.testify(around, &status);
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
