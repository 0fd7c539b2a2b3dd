//! Looks at the supervisor and the writers, lets [`Watchdog`] judge, and does what it says: feed, put on disk, be silent.
//!
//! It also puts what it sees of the writers on the board, so that a slow disk has a name there.

use std::sync::Arc;
use std::time::Duration;

use super::rim::Rim;
use super::stores::Stores;
use super::supervisor::Supervisor;
use super::watchdog::{Decision, Sight, Watchdog, Why, WriterSight};
use crate::board::{Board, WriterPhase, WriterState};
use crate::store::worker::Busy;

/// How often everything is looked at, unless the watchdog wants it sooner.
const LOOK: Duration = Duration::from_secs(5);
/// How long `gateway.db` may take to tell of restarts, or to put one on record.
const RECORD: Duration = Duration::from_secs(10);

/// Whoever watches a daemon.
#[derive(Debug)]
pub struct Watch {
    stores: Stores,
    writers: [(&'static str, Arc<Busy>); 2],
    supervisor: Arc<Supervisor>,
    board: Arc<Board>,
    rim: Rim,
}

impl Watch {
    /// Over these parts.
    #[must_use]
    pub fn new(stores: &Stores, supervisor: &Arc<Supervisor>, board: &Arc<Board>, rim: &Rim) -> Self {
        Self {
            writers: [("queue.db", stores.queue.busy()), ("gateway.db", stores.gateway.busy())],
            stores: stores.clone(),
            supervisor: Arc::clone(supervisor),
            board: Arc::clone(board),
            rim: rim.clone(),
        }
    }

    /// Calls `feed` as long as all is well; returns why the process has to end now. `limit` is how long the watchdog waits
    /// for food; `None` when nothing waits for it.
    pub async fn keep(self, limit: Option<Duration>, mut feed: impl FnMut()) -> Why {
        let every = limit.map_or(LOOK, |limit| LOOK.min(limit / 3));
        let mut watchdog = Watchdog::new(self.rim.now(), limit.is_some(), self.past().await);
        let mut silent_for: Option<Why> = None;
        loop {
            let sight = self.look();
            let mut decision = watchdog.handle(self.rim.now(), &sight);
            if let Decision::Remember(lanes) = decision {
                let record = self.stores.gateway.remember_restart(lanes.iter().cloned().collect());
                let on_disk = matches!(tokio::time::timeout(RECORD, record).await, Ok(Ok(())));
                watchdog.remembered(self.rim.now(), &lanes, on_disk);
                decision = watchdog.handle(self.rim.now(), &sight);
            }
            self.supervisor.excuse(&watchdog.excused());
            self.show(&watchdog, &sight);
            match decision {
                Decision::Feed | Decision::Remember(_) => {
                    silent_for = None;
                    feed();
                }
                Decision::Withhold(why) => {
                    if silent_for.as_ref() != Some(&why) {
                        tracing::error!(
                            "{why}; the watchdog is no longer fed, so that systemd restarts fieldgate"
                        );
                    }
                    silent_for = Some(why);
                }
                Decision::End(why) => return why,
            }
            self.rim.sleep(every).await;
        }
    }

    /// What earlier processes were given up for.
    async fn past(&self) -> Vec<(String, Duration)> {
        // Not longer: meanwhile the watchdog gets nothing.
        match tokio::time::timeout(RECORD, self.stores.gateway.restarts()).await {
            Ok(Ok(restarts)) => restarts.into_iter().map(|r| (r.lane, r.ago)).collect(),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    "restarts for hanging lanes are counted anew: gateway.db does not tell the earlier ones"
                );
                Vec::new()
            }
        }
    }

    fn look(&self) -> Sight {
        let writers = self.writers.iter().map(|(name, busy)| WriterSight {
            name,
            busy_since: busy.since().map(crate::clock::Mono::since_boot),
            gone: busy.is_gone(),
        });
        Sight {
            supervisor_turned: self.supervisor.turned().since_boot(),
            helpless: self.supervisor.helpless(),
            writers: writers.collect(),
        }
    }

    fn show(&self, watchdog: &Watchdog, sight: &Sight) {
        let now = self.rim.clock.mono();
        for writer in &sight.writers {
            let (phase, words) = watchdog.writer(now.since_boot(), writer);
            let before = self.board.writers.get(writer.name).map_or(WriterPhase::Working, |w| w.value.phase);
            if phase != before {
                tracing::warn!(writer = writer.name, was = before.word(), "{}: {words}", phase.word());
            }
            self.board.writers.set(writer.name, now, WriterState { phase, words });
        }
    }
}

#[cfg(test)]
mod tests;
