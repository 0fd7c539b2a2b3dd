//! What a lane says of itself, and what its keeper makes of it: is it silent, and did starting it again help?
//!
//! One [`Progress`] lives as long as the lane, over all its lives; the lane and its keeper share it. What is said goes to
//! the board at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::rim::Rim;
use crate::board::{Board, LaneState, in_words};
use crate::clock::Mono;

/// By which a lane says that it advances, or what it waits for and until when.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Report>);

#[derive(Debug)]
struct Report {
    name: String,
    rim: Rim,
    board: Arc<Board>,
    state: Mutex<Reported>,
    /// Rung for the keeper when the lane is found silent.
    bell: Notify,
}

#[derive(Debug, Clone)]
struct Reported {
    /// When this life began.
    born: Mono,
    last_progress: Mono,
    /// Silence is fine until then; `None` once the lane has ended for good.
    patient_until: Option<Mono>,
    restarts: u32,
    /// Lives that fell silent since one last got anywhere.
    silent_lives: u32,
    /// Nothing but time, or a person, is expected to help.
    excused: bool,
    /// Since when the bell rings for this silence.
    rung: Option<Mono>,
}

/// A lane that says nothing for this long beyond what it announced is silent.
pub const SILENCE: Duration = Duration::from_secs(60);
/// A life that still speaks at this age got somewhere, and the next one starts with the shortest pause.
pub(super) const STABLE: Duration = Duration::from_secs(300);
/// A second life that falls silent without getting anywhere: starting the lane again does not help it.
const HELPLESS: u32 = 2;
/// A keeper that leaves the bell unanswered for this long is no more.
const DEAF: Duration = Duration::from_secs(60);

impl Progress {
    pub(super) fn new(name: &str, rim: &Rim, board: &Arc<Board>) -> Self {
        let now = rim.clock.mono();
        let state = Reported {
            born: now,
            last_progress: now,
            patient_until: Some(now.plus(SILENCE)),
            restarts: 0,
            silent_lives: 0,
            excused: false,
            rung: None,
        };
        Self(Arc::new(Report {
            name: name.to_owned(),
            rim: rim.clone(),
            board: Arc::clone(board),
            state: Mutex::new(state),
            bell: Notify::new(),
        }))
    }

    /// Something was done.
    pub fn advanced(&self) {
        self.say("advancing", true, |now, state| {
            state.last_progress = now;
            state.patient_until = Some(now.plus(SILENCE));
            state.got_somewhere();
        });
    }

    /// Nothing can be done before `reason` ends, or `at_most` has passed.
    pub fn waiting(&self, reason: &str, at_most: Duration) {
        self.say(reason, true, |now, state| {
            state.patient_until = Some(now.plus(at_most).plus(SILENCE));
            if now.since(state.born) >= STABLE {
                state.got_somewhere();
            }
        });
    }

    /// A life begins.
    pub(super) fn begins(&self) {
        self.say("starting", true, |now, state| {
            state.born = now;
            state.patient_until = Some(now.plus(SILENCE));
            state.rung = None;
        });
    }

    /// A life ended and the next one begins after the pause, which may depend on whether the lane is excused.
    pub(super) fn failed(&self, why: &Failure, pause: impl FnOnce(bool) -> Duration) -> Duration {
        if matches!(why, Failure::Silent(_)) {
            self.change(|_, state| state.silent_lives = state.silent_lives.saturating_add(1));
        }
        let pause = pause(self.is_excused());
        self.say(&format!("failed: {why}; restarts in {}", in_words(pause)), false, |now, state| {
            state.restarts = state.restarts.saturating_add(1);
            state.patient_until = Some(now.plus(pause).plus(SILENCE));
            state.rung = None;
        });
        pause
    }

    /// The lane has nothing more to do.
    pub(super) fn ended(&self) {
        self.say("ended", true, |_, state| {
            state.patient_until = None;
            state.got_somewhere();
        });
    }

    /// Nobody but a person is expected to mend it soon, or that is over.
    pub(super) fn excuse(&self, excused: bool) {
        let changed = self.change(|_, state| std::mem::replace(&mut state.excused, excused) != excused);
        if changed == Some(true) {
            let said = self.0.board.lanes.get(&self.0.name);
            self.say(said.as_ref().map_or("", |s| &s.value.words), false, |_, _| {});
        }
    }

    /// Since when the lane has said nothing, if it is silent.
    pub(super) fn silent_since(&self, now: Mono) -> Option<Mono> {
        let state = self.0.state.lock().ok()?;
        state.is_silent(now).then_some(state.last_progress)
    }

    /// Whether it fell silent, was started again, and fell silent once more without getting anywhere.
    pub(super) fn is_helpless(&self) -> bool {
        self.0.state.lock().is_ok_and(|s| s.silent_lives >= HELPLESS)
    }

    fn is_excused(&self) -> bool {
        self.0.state.lock().is_ok_and(|s| s.excused)
    }

    /// Rings for the keeper of a silent lane; `false` when it has not come for a minute.
    pub(super) fn ring(&self, now: Mono) -> bool {
        let Ok(mut state) = self.0.state.lock() else { return false };
        if !state.is_silent(now) {
            state.rung = None;
            return true;
        }
        let since = *state.rung.get_or_insert(now);
        self.0.bell.notify_one();
        now.since(since) <= DEAF
    }

    /// Returns once the lane is silent, with when it last advanced.
    pub(super) async fn silence(&self) -> Mono {
        loop {
            self.0.bell.notified().await;
            if let Some(since) = self.silent_since(self.0.rim.clock.mono()) {
                return since;
            }
        }
    }

    fn change<T>(&self, change: impl FnOnce(Mono, &mut Reported) -> T) -> Option<T> {
        let now = self.0.rim.clock.mono();
        self.0.state.lock().ok().map(|mut state| change(now, &mut state))
    }

    fn say(&self, words: &str, fine: bool, change: impl FnOnce(Mono, &mut Reported)) {
        let Ok(mut state) = self.0.state.lock() else { return };
        let now = self.0.rim.clock.mono();
        change(now, &mut state);
        let lane = LaneState {
            words: words.to_owned(),
            // A life of a helpless lane that begins is no sign that it is well.
            fine: fine && state.silent_lives < HELPLESS,
            excused: state.excused,
            restarts: state.restarts,
            last_progress: state.last_progress,
        };
        self.0.board.lanes.set(&self.0.name, now, lane);
    }
}

impl Reported {
    fn is_silent(&self, now: Mono) -> bool {
        self.patient_until.is_some_and(|until| until < now)
    }

    fn got_somewhere(&mut self) {
        self.silent_lives = 0;
        self.excused = false;
    }
}

/// Why a life of a lane ended, other than for good.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The lane's own error.
    #[error("{0}")]
    Error(String),
    /// It panicked, with these words.
    #[error("it panicked: {0}")]
    Panic(String),
    /// It neither advanced nor said what it waits for.
    #[error("it said nothing for {}", in_words(*.0))]
    Silent(Duration),
}
