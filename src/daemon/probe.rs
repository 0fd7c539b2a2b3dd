//! Probes: under the daemon that runs, over its own link; and while none runs, over a link made for the purpose.
//!
//! The link of an errand neither goes on with the session that waits on disk nor leaves one, asks for no certificate, and says
//! goodbye. What it costs is charged to the ledger of `gateway.db`, where there is one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::accountant;
use super::rim::Rim;
use super::supervisor::Supervisor;
use crate::board::Board;
use crate::clouds::Means;
use crate::clouds::golioth::delivery::{PipelineLists, UNVERIFIED};
use crate::clouds::golioth::kept::Bound;
use crate::clouds::golioth::looks::LastLooks;
use crate::clouds::golioth::probe::{Fate, probe};
use crate::clouds::golioth::rest::GoliothProvider;
use crate::clouds::golioth::session;
use crate::config::{Config, Golioth, GoliothCredential};
use crate::control::{ProbeVerdict, Probed, Prober};
use crate::spend::{Purpose, Purse, Why};
use crate::store::gateway::{self, Gateway, time_floor};
use crate::uplink::link::Link;

/// What a probe's message costs with its answer, about; asked of the data plan first. The lists ask for themselves.
const EXPECTED: u64 = 300;
/// The disk gets so long to note what was spent before.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);
/// The errand's link gets so long to say goodbye.
const ENDS_WITHIN: Duration = Duration::from_secs(3);

/// Sends probes over one link to Golioth.
#[derive(Debug)]
pub(super) struct GoliothProber {
    link: Arc<dyn Link>,
    path: String,
    lists: Result<GoliothProvider, String>,
    board: Arc<Board>,
    purse: Arc<Purse>,
    rim: Rim,
    /// One at a time: another's entry in the lists would be taken for this one's.
    sending: Mutex<()>,
}

impl GoliothProber {
    pub(super) fn new(
        link: Arc<dyn Link>,
        config: &Golioth,
        serial: &str,
        board: Arc<Board>,
        purse: Arc<Purse>,
        rim: Rim,
    ) -> Self {
        let lists = match &config.rest {
            None => Err(UNVERIFIED.to_owned()),
            Some(rest) => GoliothProvider::new(rest, serial, Arc::clone(&purse)).map_err(|e| e.to_string()),
        };
        Self { link, path: config.stream_path.clone(), lists, board, purse, rim, sending: Mutex::default() }
    }

    async fn fate(&self, mark: &str) -> Fate {
        let until = self.rim.now() + RECORDED_WITHIN;
        while let Some((_, why)) = self.purse.refused(Purpose::Management, EXPECTED) {
            // A record of what was spent is on its way to the disk.
            if why != Why::Recording || self.rim.now() >= until {
                return Fate::Refused(format!("the data plan has no room for it: {}", why.words()));
            }
            self.rim.sleep(Duration::from_millis(100)).await;
        }
        let lists = self.lists.as_ref().map(|lists| lists as &dyn PipelineLists).map_err(String::as_str);
        probe(&*self.link, &self.path, mark, lists, &self.board, &self.rim).await
    }
}

#[async_trait]
impl Prober for GoliothProber {
    async fn probe(&self) -> Vec<Probed> {
        let _one_at_a_time = self.sending.lock().await;
        let mark = format!("{:08x}", self.rim.random.u64() & 0xffff_ffff);
        let cost = || self.purse.charged_for(Purpose::Management) + self.purse.charged_for(Purpose::Session);
        let before = cost();
        let fate = self.fate(&mark).await;
        tracing::info!(mark, ?fate, "a probe was sent");
        let (verdict, words, unrouted) = told(&self.path, &mark, fate);
        let (destination, bytes) = (self.link.name().to_owned(), cost() - before);
        vec![Probed { destination, verdict, words, unrouted, bytes }]
    }
}

/// A gateway without a destination that takes probes.
#[derive(Debug)]
pub(super) struct NoProber;

#[async_trait]
impl Prober for NoProber {
    async fn probe(&self) -> Vec<Probed> {
        Vec::new()
    }
}

/// For a technician: what happened, what it means, what to do.
fn told(path: &str, mark: &str, fate: Fate) -> (ProbeVerdict, String, Option<String>) {
    let accepted = format!("probe {mark} was accepted on /{path}");
    match fate {
        Fate::Taken => {
            (ProbeVerdict::Open, format!("{accepted}, and a pipeline took it: readings will arrive"), None)
        }
        Fate::Unverified(why) => {
            let next = "look for it at the cloud, in the console's device data or behind the pipeline";
            (
                ProbeVerdict::Unknown,
                format!("{accepted}; whether a pipeline took it is not known ({why}). Next: {next}"),
                None,
            )
        }
        Fate::Unrouted(content_type) => {
            let next =
                format!("create and enable a pipeline for path /{path} and content type {content_type}");
            let words =
                format!("{accepted}, but no pipeline took it: readings would be lost there. Next: {next}");
            (ProbeVerdict::Broken, words, Some(content_type))
        }
        Fate::Failed(how) => {
            let words = format!(
                "{accepted}, and a pipeline failed on it: {how}. Next: look at the project's pipeline errors, and correct the \
                 pipeline's steps"
            );
            (ProbeVerdict::Broken, words, None)
        }
        Fate::Refused(words) => (ProbeVerdict::Broken, format!("no probe was taken: {words}"), None),
        Fate::Unreachable(words) => (ProbeVerdict::Broken, format!("no probe was answered: {words}"), None),
    }
}

/// Sends probes while no daemon runs. The caller holds the lock of the state folder, if there is one, and is its owner; `config` has
/// its secrets. Also answers why the cost is not on record, if it is not.
pub async fn alone(config: &Config, rim: &Rim) -> (Vec<Probed>, Option<String>) {
    let Some(golioth) = &config.golioth else { return (Vec::new(), None) };
    let state_dir = &config.gateway.state_dir;
    let (board, stop) = (Board::shared(), CancellationToken::new());
    let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
    let ledger = ledger_in(state_dir, rim);
    let purse = match &ledger {
        // Of a plan of which nobody knows what is spent nothing can be said.
        Err(_) => Purse::unlimited(Arc::clone(&rim.clock)),
        Ok(gateway) => {
            let (clock, board) = (Arc::clone(&rim.clock), Arc::clone(&board));
            let kept = accountant::kept(gateway);
            let purse =
                Purse::new(config.budget.clone(), kept, config.uplink.live_bound, clock, board.clone());
            let counters = accountant::Counters { interface: None, board };
            supervisor.spawn(accountant::lane(
                Arc::clone(&purse),
                gateway.clone(),
                counters,
                rim.clone(),
                stop.clone(),
            ));
            purse
        }
    };
    let means = Means { rim, board: &board, purse: &purse, stop: &stop };
    let bound = Bound {
        state_dir,
        passes_on: false,
        modem: false,
        queue_file_id: 0,
        time_floor_unix_ms: time_floor(state_dir),
    };
    let (link, lane, _shelf) =
        session::link(&errand(golioth), &config.path, 1, means, bound, LastLooks::none());
    // What the cloud says meanwhile it says again to the daemon.
    let _unheard = link.events();
    supervisor.spawn(lane);
    let serial = &config.gateway.serial;
    let prober = GoliothProber::new(link, golioth, serial, board, Arc::clone(&purse), rim.clone());
    let mut probed = prober.probe().await;
    stop.cancel();
    supervisor.stopped(ENDS_WITHIN).await;
    // The session was made for the probe, and its end is paid for too.
    if let [only] = probed.as_mut_slice() {
        only.bytes = Purpose::ALL.into_iter().map(|purpose| purse.charged_for(purpose)).sum();
    }
    let recorded = match &ledger {
        Err(why) => Err(why.clone()),
        Ok(gateway) => {
            let recorded = record(gateway, &purse).await;
            gateway.stop();
            recorded
        }
    };
    (probed, recorded.err())
}

/// As configured, for one message.
fn errand(golioth: &Golioth) -> Golioth {
    let mut golioth = golioth.clone();
    if let GoliothCredential::Certificate { renewal, .. } = &mut golioth.credential {
        *renewal = None;
    }
    golioth
}

/// `gateway.db`, where it is whole: what is to be done about one that is not, is the daemon's.
fn ledger_in(state_dir: &Path, rim: &Rim) -> Result<Gateway, String> {
    let options = gateway::OpenOptions::in_folder(state_dir);
    if !options.path.exists() {
        return Err("the daemon has not run here yet".into());
    }
    gateway::reader::history(&options.path, None, 1).map_err(|error| error.to_string())?;
    Gateway::open(options, &rim.clock, &*rim.random).map_err(|error| error.to_string())
}

async fn record(gateway: &Gateway, purse: &Purse) -> Result<(), String> {
    let record = serde_json::to_string(&purse.closing_record()).map_err(|error| error.to_string())?;
    gateway.keep_spending(record).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fate_is_told_with_what_to_do_about_it() {
        let table = [
            (Fate::Taken, ProbeVerdict::Open, "readings will arrive"),
            (Fate::Unverified("no key".into()), ProbeVerdict::Unknown, "(no key). Next: look for it"),
            (
                Fate::Unrouted("application/cbor".into()),
                ProbeVerdict::Broken,
                "path /sensor and content type application/cbor",
            ),
            (
                Fate::Failed("bad step".into()),
                ProbeVerdict::Broken,
                "bad step. Next: look at the project's pipeline errors",
            ),
            (Fate::Refused("bad key".into()), ProbeVerdict::Broken, "no probe was taken: bad key"),
            (Fate::Unreachable("no route".into()), ProbeVerdict::Broken, "no probe was answered: no route"),
        ];
        for (fate, verdict, words) in table {
            let accepted = !matches!(fate, Fate::Refused(_) | Fate::Unreachable(_));
            let (said, told, _) = told("sensor", "1a2b", fate);
            assert!(told.contains(words), "{told}");
            assert_eq!((said, told.contains("probe 1a2b was accepted")), (verdict, accepted));
        }
    }
}
