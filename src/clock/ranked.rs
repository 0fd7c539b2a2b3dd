//! The clock the daemon runs by: the machine's monotonic time, and the wall time of whoever is to be believed.
//!
//! The machine's wall clock counts only at the moment somebody vouches for it. Between two synchronisations the time goes on with
//! the monotonic clock, so whoever steps the system clock meanwhile steps nothing here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::servers::Answer;
use super::sources::{Claim, Judge, Judgement, Source};
use super::{BootId, Clock, Host, Machine, Mono, Synchronised, SystemTime, Wall};

/// The clock of a daemon on a real machine.
pub type SystemClock = RankedClock<Host>;

/// See the module head.
#[derive(Debug)]
pub struct RankedClock<M> {
    machine: M,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    judge: Judge,
    /// The synchronisation that was last looked at, of those the machine tells and of those its NTP daemon told.
    seen: [Option<i64>; 2],
}

/// Who told of a synchronisation: an index of `State::seen`.
const UNASKED: usize = 0;
const ASKED: usize = 1;

/// How far a clock may be off that the operator vouches for and nothing disciplines.
const VOUCHED_UNCERTAINTY_MS: u32 = 2_000;

impl SystemClock {
    /// The clock of this machine. `trust_system_clock` is the operator's word; `persisted_floor_unix_ms` is the newest time an
    /// earlier run was certain of.
    #[must_use]
    pub fn new(trust_system_clock: bool, persisted_floor_unix_ms: Option<i64>) -> Self {
        Self::of(Host::new(trust_system_clock), persisted_floor_unix_ms)
    }
}

impl<M: Machine> RankedClock<M> {
    /// The clock of `machine`.
    #[must_use]
    pub fn of(machine: M, persisted_floor_unix_ms: Option<i64>) -> Self {
        let state = State { judge: Judge::new(persisted_floor_unix_ms), seen: [None; 2] };
        Self { machine, state: Mutex::new(state) }
    }

    /// Hears what the machine has to say, and judges.
    fn look(&self) -> (Mono, SystemTime, Judgement) {
        let (at, system) = (self.machine.mono(), self.machine.system());
        let mut state = self.state();
        if let Some(newest) = system.synchronised {
            state.synchronised(UNASKED, newest, at, system.unix_ms);
        }
        if system.vouched || crate::sabotage::on("trust-any-clock") {
            state.judge.hear(Claim::new(Source::Operator, at, system.unix_ms, VOUCHED_UNCERTAINTY_MS));
        }
        let judgement = state.judge.judge(at);
        (at, system, judgement)
    }

    /// Whole at every moment, whatever a panic interrupted.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The system clock, which says `unix_ms` at `at`, was synchronised. It counts once: somebody may set the clock afterwards.
    fn synchronised(&mut self, told: usize, newest: Synchronised, at: Mono, unix_ms: i64) {
        let Some(seen) = self.seen.get_mut(told) else { return };
        if seen.replace(newest.at_unix_ms) == Some(newest.at_unix_ms) {
            return;
        }
        // A clock that stands before its own synchronisation was set by somebody else since.
        if let Ok(age_ms) = u64::try_from(unix_ms.saturating_sub(newest.at_unix_ms)) {
            let then = Claim::new(Source::Ntp, Mono(0), unix_ms, newest.uncertainty_ms);
            let age = Mono::from(std::time::Duration::from_millis(age_ms));
            self.judge.hear(Claim::new(Source::Ntp, at, unix_ms, then.uncertainty_at(age)));
        }
    }
}

impl<M: Machine> Clock for RankedClock<M> {
    fn mono(&self) -> Mono {
        self.machine.mono()
    }

    fn wall(&self) -> Wall {
        let (at, system, judgement) = self.look();
        match judgement.followed {
            Some(claim) => claim.wall_at(at),
            None => Wall { unix_ms: system.unix_ms, uncertainty_ms: u32::MAX, trusted: false },
        }
    }

    fn boot_id(&self) -> BootId {
        self.machine.boot_id()
    }

    fn hear(&self, claim: Claim) {
        let mut state = self.state();
        // Remembered from an earlier run of this boot, and no synchronisation since: what the system clock says now says less.
        let said_at = claim.wall_at(claim.at).unix_ms;
        if claim.source == Source::Ntp && state.seen.iter().flatten().any(|seen| *seen <= said_at) {
            state.judge.forget(Source::Ntp);
        }
        state.judge.hear(claim);
    }

    fn hear_synchronised(&self, answer: Answer) {
        let (at, unix_ms) = (self.machine.mono(), self.machine.system().unix_ms);
        if answer.is_about(unix_ms) {
            self.state().synchronised(ASKED, answer.newest, at, unix_ms);
        }
    }

    fn judgement(&self) -> Judgement {
        self.look().2
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Synchronised, sources::RELEASE_FLOOR_UNIX_MS};
    use super::*;

    #[derive(Debug, Clone)]
    struct Desk(Arc<Mutex<(Mono, SystemTime)>>);

    impl Machine for Desk {
        fn mono(&self) -> Mono {
            self.0.lock().unwrap().0
        }
        fn boot_id(&self) -> BootId {
            BootId([1; 16])
        }
        fn system(&self) -> SystemTime {
            self.0.lock().unwrap().1
        }
    }

    const NOON: i64 = RELEASE_FLOOR_UNIX_MS + 28_000_000_000;
    const THREE_HOURS: i64 = 10_800_000;

    fn desk(unix_ms: i64) -> Desk {
        let system = SystemTime { unix_ms, synchronised: None, vouched: false };
        Desk(Arc::new(Mutex::new((Mono(0), system))))
    }

    impl Desk {
        fn pass(&self, ms: i64) {
            let mut state = self.0.lock().unwrap();
            state.0 = Mono(state.0.0 + ms.unsigned_abs() * 1_000_000);
            state.1.unix_ms += ms;
        }
        fn step(&self, ms: i64) {
            self.0.lock().unwrap().1.unix_ms += ms;
        }
        fn synchronise(&self, unix_ms: i64) {
            let mut state = self.0.lock().unwrap();
            state.1.unix_ms = unix_ms;
            state.1.synchronised = Some(Synchronised { at_unix_ms: unix_ms, uncertainty_ms: 500 });
        }
    }

    #[test]
    fn a_clock_nobody_vouches_for_is_not_believed_whatever_it_says() {
        let desk = desk(0);
        let clock = RankedClock::of(desk.clone(), None);
        assert!(!clock.wall().trusted);
        desk.step(NOON);
        assert!(!clock.wall().trusted);
        desk.0.lock().unwrap().1.vouched = true;
        assert_eq!(clock.wall(), Wall { unix_ms: NOON, uncertainty_ms: 2000, trusted: true });
    }

    #[test]
    fn a_step_without_a_synchronisation_changes_nothing_and_with_one_is_followed() {
        let desk = desk(0);
        let clock = RankedClock::of(desk.clone(), None);
        desk.synchronise(NOON);
        assert_eq!(clock.wall().unix_ms, NOON);
        desk.pass(1000);
        for step in [THREE_HOURS, -2 * THREE_HOURS] {
            desk.step(step);
            assert_eq!(clock.wall().unix_ms, NOON + 1000);
        }
        desk.synchronise(NOON + 2000);
        assert_eq!(clock.wall(), Wall { unix_ms: NOON + 2000, uncertainty_ms: 500, trusted: true });
    }

    fn answer(at_unix_ms: i64, served_unix_ms: Option<i64>) -> Answer {
        Answer { newest: Synchronised { at_unix_ms, uncertainty_ms: 80 }, served_unix_ms }
    }

    #[test]
    fn a_server_that_serves_another_time_than_the_system_clocks_vouches_for_none() {
        let clock = RankedClock::of(desk(NOON), None);
        clock.hear_synchronised(answer(NOON - 60_000, Some(NOON + 5000)));
        assert!(!clock.wall().trusted);
        clock.hear_synchronised(answer(NOON - 60_000, Some(NOON - 400)));
        assert_eq!(clock.wall(), Wall { unix_ms: NOON, uncertainty_ms: 80 + 3, trusted: true });
    }

    #[test]
    fn what_the_ntp_daemon_answers_counts_once_for_each_synchronisation() {
        let desk = desk(NOON);
        let clock = RankedClock::of(desk.clone(), None);
        clock.hear_synchronised(answer(NOON - 60_000, None));
        assert_eq!(clock.wall(), Wall { unix_ms: NOON, uncertainty_ms: 80 + 3, trusted: true });
        desk.pass(64_000);
        desk.step(THREE_HOURS);
        clock.hear_synchronised(answer(NOON - 60_000, None));
        assert_eq!(clock.wall().unix_ms, NOON + 64_000, "the same answer again vouches for no step");
        clock.hear_synchronised(answer(NOON + THREE_HOURS + 64_000, None));
        assert_eq!(clock.wall().unix_ms, NOON + THREE_HOURS + 64_000);
    }

    #[test]
    fn an_old_synchronisation_is_believed_less_and_one_yet_to_come_not_at_all() {
        let old = desk(0);
        old.synchronise(NOON);
        old.pass(86_400_000);
        assert_eq!(RankedClock::of(old, None).wall().uncertainty_ms, 500 + 4320);
        let set_back = desk(0);
        set_back.synchronise(NOON);
        set_back.step(-1);
        assert!(!RankedClock::of(set_back, None).wall().trusted);
    }

    #[test]
    fn what_an_earlier_run_knew_outlives_a_step_made_while_nobody_looked() {
        let desk = desk(0);
        desk.synchronise(NOON);
        desk.pass(5_000);
        let known = RankedClock::of(desk.clone(), None).judgement().followed.unwrap();
        desk.pass(60_000);
        desk.step(THREE_HOURS);
        let clock = RankedClock::of(desk.clone(), None);
        assert_eq!(clock.wall().unix_ms, NOON + 65_000 + THREE_HOURS);
        clock.hear(known);
        assert_eq!(clock.wall().unix_ms, NOON + 65_000);
        desk.synchronise(NOON + 70_000);
        assert_eq!(clock.wall().unix_ms, NOON + 70_000);
    }

    #[test]
    fn a_clock_below_the_floor_is_never_trusted() {
        assert!(!SystemClock::new(true, Some(i64::MAX)).wall().trusted);
        assert!(SystemClock::new(true, None).wall().trusted);
    }
}
