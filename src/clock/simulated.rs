//! A clock that only a test moves.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{BootId, Clock, Machine, Mono, Synchronised, SystemTime, Wall};

/// Time that only moves when a test lets it: it follows tokio's clock, which a test pauses.
///
/// As a [`Clock`] it is believed as far as it was told. As a [`Machine`] it has a system clock that was synchronised when it was last
/// told to be trusted.
#[derive(Debug)]
pub struct VirtualClock {
    boot: BootId,
    origin: tokio::time::Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// At monotonic zero.
    wall: Wall,
    synchronised: Option<Synchronised>,
}

impl VirtualClock {
    /// A clock whose monotonic time starts at zero now and whose wall time starts at `wall`.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one home of the monotonic clock")]
    pub fn starting_at(boot: BootId, wall: Wall) -> Self {
        let state = State { wall, synchronised: synchronised(wall) };
        Self { boot, origin: tokio::time::Instant::now(), state: Mutex::new(state) }
    }

    /// Steps the wall clock: as NTP would if `to` is trusted, otherwise as anybody else; monotonic time is not touched.
    pub fn step_wall(&self, to: Wall) {
        let elapsed = self.elapsed_ms();
        let mut state = self.state();
        state.wall = Wall { unix_ms: to.unix_ms - elapsed, ..to };
        state.synchronised = synchronised(to).or(state.synchronised);
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(Clock::mono(self).ms()).unwrap_or(0)
    }

    /// Whole at every moment, whatever a panic of another test interrupted.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn synchronised(wall: Wall) -> Option<Synchronised> {
    wall.trusted.then_some(Synchronised { at_unix_ms: wall.unix_ms, uncertainty_ms: wall.uncertainty_ms })
}

impl Clock for VirtualClock {
    #[allow(clippy::disallowed_methods, reason = "the one home of the monotonic clock")]
    fn mono(&self) -> Mono {
        Mono::from(tokio::time::Instant::now().saturating_duration_since(self.origin))
    }

    fn wall(&self) -> Wall {
        let base = self.state().wall;
        Wall { unix_ms: base.unix_ms + self.elapsed_ms(), ..base }
    }

    fn boot_id(&self) -> BootId {
        self.boot
    }
}

impl Machine for VirtualClock {
    fn mono(&self) -> Mono {
        Clock::mono(self)
    }

    fn boot_id(&self) -> BootId {
        self.boot
    }

    fn system(&self) -> SystemTime {
        let state = self.state();
        let unix_ms = state.wall.unix_ms + self.elapsed_ms();
        SystemTime { unix_ms, synchronised: state.synchronised, vouched: false }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn virtual_time_moves_only_with_the_runtime() {
        let clock = VirtualClock::starting_at(
            BootId([7; 16]),
            Wall { unix_ms: 1000, uncertainty_ms: 5, trusted: true },
        );
        let before = Clock::mono(&clock);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(Clock::mono(&clock).since(before), Duration::from_secs(3600));
        assert_eq!(clock.wall().unix_ms, 1000 + 3_600_000);
        clock.step_wall(Wall { unix_ms: 50, uncertainty_ms: 5, trusted: true });
        assert_eq!(clock.wall().unix_ms, 50);
    }
}
