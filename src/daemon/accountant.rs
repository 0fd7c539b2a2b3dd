//! The lane that keeps the ledger of the data plan: on disk, on the board, and beside the counters of the path itself: the
//! interface's where one is named and counts, else the modem's.
//!
//! A record is written when the ledger asks for one: some tens of kilobytes apart, or a quarter of an hour. The disk may
//! refuse, or take too long; spending goes on then, because it is what empties a full disk.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::rim::Rim;
use super::supervisor::{Lane, LaneError, Progress};
use crate::board::{Board, Counter, Stamped, in_words};
use crate::clock::Mono;
use crate::spend::{Purse, Record};
use crate::store::gateway::{Gateway, GatewayError};

/// How often the plan is looked at.
const EVERY: Duration = Duration::from_secs(30);
/// After the disk refused.
const PAUSE: Duration = Duration::from_secs(5);
/// A disk that takes longer with a record has refused it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(20);

/// What was kept of an earlier run. A record that does not read counts as none, and that is said.
pub(super) fn kept(gateway: &Gateway) -> Option<Record> {
    let text = gateway.spending()?;
    serde_json::from_str(&text)
        .inspect_err(|error| tracing::error!(%error, "what was spent of the data plan does not read; counting begins anew"))
        .ok()
}

pub(super) fn lane(
    purse: Arc<Purse>,
    gateway: Gateway,
    counters: Counters,
    rim: Rim,
    stop: CancellationToken,
) -> Lane {
    Lane::new("data plan", move |progress| {
        keep(Arc::clone(&purse), gateway.clone(), counters.clone(), rim.clone(), stop.clone(), progress)
    })
}

/// Who may count what goes over the path.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    /// The interface the daemon is bound to, where it is.
    pub(super) interface: Option<String>,
    /// Where the modem says what it counted.
    pub(super) board: Arc<Board>,
}

impl Counters {
    /// Tells the purse what was counted since `seen`, best first.
    fn tell(&self, purse: &Purse, rim: &Rim, seen: &mut Option<Mono>) {
        if let Some(bytes) = self.interface.as_deref().and_then(|name| rim.net.counted(name)) {
            purse.counted(Counter::Interface, bytes);
        } else if let Some(Stamped { value, at }) = self.board.data_counters.get()
            && seen.replace(at) != Some(at)
        {
            purse.counted(Counter::Modem, value.sent.saturating_add(value.received));
        }
    }
}

async fn keep(
    purse: Arc<Purse>,
    gateway: Gateway,
    counters: Counters,
    rim: Rim,
    stop: CancellationToken,
    progress: Progress,
) -> Result<(), LaneError> {
    // A life before this one may have ended in the middle of a write.
    purse.abandon_record();
    let mut seen = None;
    loop {
        let mut wait = EVERY;
        if let Some(record) = purse.record() {
            progress.waiting("writing down what was spent", WRITTEN_WITHIN);
            let written = write(&gateway, &record, &rim).await;
            purse.recorded(written);
            if !written {
                wait = PAUSE;
            }
        }
        counters.tell(&purse, &rim, &mut seen);
        purse.publish();
        progress.waiting("watching the data plan", EVERY);
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                write(&gateway, &purse.closing_record(), &rim).await;
                return Ok(());
            }
            () = purse.record_due(), if wait == EVERY => {}
            () = rim.sleep(wait) => {}
        }
    }
}

async fn write(gateway: &Gateway, record: &Record, rim: &Rim) -> bool {
    let text = match serde_json::to_string(record) {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(%error, "what was spent cannot be written down");
            return false;
        }
    };
    in_time(gateway.keep_spending(text), rim).await
}

/// Whether the record is on disk; a disk that does not answer in time counts as one that refused.
async fn in_time(kept: impl Future<Output = Result<(), GatewayError>>, rim: &Rim) -> bool {
    let why = tokio::select! {
        biased;
        kept = kept => match kept {
            Ok(()) => return true,
            Err(error) => error.to_string(),
        },
        () = rim.sleep(WRITTEN_WITHIN) => format!("the disk took longer than {}", in_words(WRITTEN_WITHIN)),
    };
    tracing::warn!(why, "what was spent is not on disk: a power cut would forget it");
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{DataCounters, Others};
    use crate::clock::Clock;
    use crate::daemon::supervisor::Supervisor;
    use crate::spend::{Allowance, Direction, Plan, Purpose, Why};
    use crate::store::gateway::tests::{clock, open_with, rim};

    const S: Duration = Duration::from_secs(1);

    fn purse(clock: &Arc<dyn Clock>) -> Arc<Purse> {
        let plan = Plan { home: Allowance { day: None, month: Some(5 << 20) }, ..Plan::unlimited() };
        Purse::new(plan, None, 300 * S, Arc::clone(clock), Board::shared())
    }

    fn start(purse: &Arc<Purse>, gateway: &Gateway, clock: &Arc<dyn Clock>) -> Supervisor {
        start_beside(purse, gateway, clock, Board::shared())
    }

    fn start_beside(
        purse: &Arc<Purse>,
        gateway: &Gateway,
        clock: &Arc<dyn Clock>,
        board: Arc<Board>,
    ) -> Supervisor {
        let (rim, stop) = (rim(clock), CancellationToken::new());
        let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
        let counters = Counters { interface: None, board };
        supervisor.spawn(lane(Arc::clone(purse), gateway.clone(), counters, rim, stop));
        supervisor
    }

    fn waits_for_the_disk(purse: &Purse) -> bool {
        matches!(purse.refused(Purpose::Event, 500), Some((_, Why::Recording)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_an_earlier_life_was_writing_is_written_by_the_next() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock(1));
        let (purse, gateway) = (purse(&clock), open_with(dir.path(), &clock, 1));
        purse.charge(Purpose::Event, Direction::Up, 60_000);
        assert!(purse.record().is_some(), "the life that makes it ends here");
        assert!(waits_for_the_disk(&purse));
        let _lanes = start(&purse, &gateway, &clock);
        tokio::time::sleep(S).await;
        assert!(!waits_for_the_disk(&purse));
        assert!(gateway.spending().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_has_refused_after_some_seconds() {
        let clock = clock(1);
        let before = clock.mono();
        assert!(!in_time(std::future::pending(), &rim(&clock)).await);
        assert_eq!(clock.mono().since(before), WRITTEN_WITHIN);
        assert!(in_time(std::future::ready(Ok(())), &rim(&clock)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_written_down_holds_nothing_up() {
        let clock = clock(1);
        let purse = purse(&clock);
        assert!(purse.record().is_some() && waits_for_the_disk(&purse));
        purse.recorded(false);
        assert!(!waits_for_the_disk(&purse));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_interface_that_counts_the_modem_says_what_others_took_and_each_look_counts_once() {
        let (dir, clock, board) = (tempfile::tempdir().unwrap(), clock(1), Board::shared());
        let plan = Plan::unlimited();
        let purse = Purse::new(plan, None, 300 * S, Arc::clone(&clock), Arc::clone(&board));
        let gateway = open_with(dir.path(), &clock, 1);
        let _lanes = start_beside(&purse, &gateway, &clock, Arc::clone(&board));
        let others = || board.data_plan.get().unwrap().value.others;
        tokio::time::sleep(S).await;
        assert_eq!(others(), None, "nobody counts");

        let counted = |sent, received| board.data_counters.set(clock.mono(), DataCounters { sent, received });
        counted(100 << 10, 20 << 10);
        tokio::time::sleep(EVERY + S).await;
        purse.charge(Purpose::Event, Direction::Up, 3000);
        counted(107 << 10, 20 << 10);
        tokio::time::sleep(EVERY + S).await;
        // Charged since the modem was looked at: it is not known yet what it counted of it.
        purse.charge(Purpose::Event, Direction::Up, 2000);
        tokio::time::sleep(EVERY + S).await;
        assert_eq!(others(), Some(Others { bytes: (7 << 10) - 3000, counter: Counter::Modem }));
    }
}
