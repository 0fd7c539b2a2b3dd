//! The lane that carries time between those who know it and those who need it (requirement D3).
//!
//! What the modem learns from its network and what the machine's NTP daemon answers go to the clock, which ranks all sources.
//! What the clock makes of them goes to the stores, to the board and, where it was wrong before, on record. Readings are
//! stamped with monotonic time; the wall time of a whole boot is one offset, written when it is first known, when it is known
//! much better, and when it turns out to have been wrong.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ntp;
use super::rim::Rim;
use super::stores::Stores;
use super::supervisor::{Lane, LaneError, Progress};
use crate::board::{Board, ClockCorrection, ClockState, NetworkTime, Stamped};
use crate::clock::sources::{Claim, Judgement, Source};

/// How often the clock is looked at.
const EVERY: Duration = Duration::from_secs(10);
/// A smaller difference is not worth a write: clocks are disciplined all the time.
const WORTH_A_WRITE_MS: u64 = 500;

pub(super) fn lane(stores: Stores, rim: Rim, board: Arc<Board>, stop: CancellationToken) -> Lane {
    // Before any lane needs the time: an earlier run of this boot knew it.
    if let Some(remembered) = stores.queue.wall_remembered() {
        rim.clock.hear(remembered);
    }
    Lane::new("clock", move |progress| {
        let keeper = Keeper { stores: stores.clone(), rim: rim.clone(), board: Arc::clone(&board) };
        keeper.keep(stop.clone(), progress)
    })
}

struct Keeper {
    stores: Stores,
    rim: Rim,
    board: Arc<Board>,
}

impl Keeper {
    async fn keep(self, stop: CancellationToken, progress: Progress) -> Result<(), LaneError> {
        let mut network = self.board.network_time.watch();
        let mut told = self.stores.queue.wall_remembered().map(|claim| (0, claim));
        let mut before = Judgement::default();
        let mut corrected = None;
        let mut ask_at = self.rim.now();
        loop {
            if self.rim.now() >= ask_at {
                // A daemon that starts with this one needs a while to find its servers.
                let every = if self.rim.clock.wall().trusted { ntp::EVERY } else { EVERY };
                ask_at = self.rim.now().saturating_add(every);
                if let Some(synchronised) = ntp::ask(&self.rim).await {
                    self.rim.clock.hear_synchronised(synchronised);
                }
            }
            if let Some(said) = network.borrow_and_update().as_ref() {
                self.rim.clock.hear(of_network(said));
            }
            let judgement = self.rim.clock.judgement();
            say_what_changed(&before, &judgement);
            before = judgement;
            // A clock that ranks no sources is believed as the system clock is.
            let now = self.rim.clock.mono();
            let wall = self.rim.clock.wall();
            let plain = || Claim::new(Source::Operator, now, wall.unix_ms, wall.uncertainty_ms);
            if let Some(claim) = judgement.followed.or_else(|| wall.trusted.then(plain)) {
                let generation = self.stores.queue.status().borrow().generation;
                if worth_telling(told, generation, &claim) {
                    corrected = self.tell(told.map(|(_, known)| known), claim).await.or(corrected);
                    told = Some((generation, claim));
                }
            }
            self.show(&judgement, corrected);
            progress.advanced();
            progress.waiting("watching the clock", EVERY);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Ok(()) = network.changed() => {}
                () = self.rim.sleep(EVERY) => {}
            }
        }
    }

    /// Tells the stores; where they were told otherwise before, that is a correction.
    async fn tell(&self, known: Option<Claim>, claim: Claim) -> Option<ClockCorrection> {
        self.stores.queue.tell_wall(claim).await;
        let known = known.filter(|known| known.contradicts(&claim, claim.at))?;
        let ahead_ms = claim.offset_ms.saturating_sub(known.offset_ms);
        tracing::warn!(
            by_ms = ahead_ms,
            believed = known.source.word(),
            now = claim.source.word(),
            "the time was wrong; what was dated with it is corrected"
        );
        if let Err(error) = self.stores.gateway.clock_corrected(known, claim).await {
            tracing::warn!(%error, "the correction of the time is not on record in gateway.db; queue.db has it");
        }
        Some(ClockCorrection { at: claim.at, ahead_ms, believed: known.source, now: claim.source })
    }

    fn show(&self, judgement: &Judgement, corrected: Option<ClockCorrection>) {
        let state = ClockState {
            source: judgement.followed.map(|claim| claim.source),
            contradicted_by: judgement.contradicted_by,
            in_the_past: judgement.in_the_past,
            corrected,
        };
        self.board.clock.set(self.rim.clock.mono(), state);
    }
}

fn of_network(said: &Stamped<NetworkTime>) -> Claim {
    let NetworkTime { unix_ms, uncertainty_ms } = said.value;
    Claim::new(Source::Modem, said.at, unix_ms, uncertainty_ms)
}

fn say_what_changed(before: &Judgement, now: &Judgement) {
    let source = |judgement: &Judgement| judgement.followed.map(|claim| claim.source);
    if let Some(followed) = now.followed
        && source(before) != source(now)
    {
        tracing::info!(
            source = followed.source.word(),
            within_ms = followed.uncertainty_ms,
            "the time is known"
        );
    }
    let who = |judgement: &Judgement| judgement.contradicted_by.map(|c| c.source);
    if let Some(other) = now.contradicted_by
        && who(before) != who(now)
    {
        tracing::warn!(
            source = other.source.word(),
            ahead_ms = other.ahead_ms,
            "says another time; it is not followed"
        );
    }
    if let Some(source) = now.in_the_past
        && before.in_the_past != now.in_the_past
    {
        tracing::warn!(source = source.word(), "says a time that has certainly passed; it is not followed");
    }
}

/// Nobody was told, or something that is off by more than it should be, or by far less certain.
fn worth_telling(told: Option<(u32, Claim)>, generation: u32, claim: &Claim) -> bool {
    told.is_none_or(|(to, known)| {
        let stated = u64::from(known.uncertainty_at(claim.at));
        let slack = WORTH_A_WRITE_MS.max(u64::from(claim.uncertainty_ms));
        to != generation
            || claim.offset_ms.abs_diff(known.offset_ms) > slack
            || stated > 2 * u64::from(claim.uncertainty_ms) + WORTH_A_WRITE_MS
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;

    const AT: Mono = Mono(5_000_000_000);

    fn ntp(unix_ms: i64) -> Claim {
        Claim::new(Source::Ntp, AT, unix_ms, 100)
    }

    #[test]
    fn a_disciplined_clock_is_told_once_and_a_step_again() {
        assert!(worth_telling(None, 0, &ntp(1_000_000)));
        let told = Some((0, ntp(1_000_000)));
        assert!(!worth_telling(told, 0, &ntp(1_000_300)));
        assert!(worth_telling(told, 0, &ntp(1_010_000)));
        assert!(worth_telling(told, 1, &ntp(1_000_000)), "another queue file knows nothing yet");
    }

    #[test]
    fn what_is_known_much_better_is_told_again() {
        let told = Some((0, Claim::new(Source::Modem, AT, 1_000_000, 2000)));
        assert!(worth_telling(told, 0, &ntp(1_000_100)));
        assert!(!worth_telling(told, 0, &Claim::new(Source::Ntp, AT, 1_000_100, 800)));
        let hours_later = AT.plus(Duration::from_secs(6 * 3600));
        let told = Some((0, ntp(1_000_000)));
        assert!(worth_telling(told, 0, &Claim { at: hours_later, ..ntp(1_000_000) }));
    }
}
