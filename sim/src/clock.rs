//! The simulator's only reader of clocks.
//!
//! The simulated devices are handed `now` as a [`Duration`] since an origin; the drivers get that number here. One
//! [`Clock`] is copied to everything that shares a time line, so that two devices never disagree about `now`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A monotonic time line that began when it was started.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts a time line: [`Clock::now`] counts from here.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place of the simulator that reads the monotonic clock; everything else is handed `now`"
    )]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Time since the start of this time line.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The runtime's instant for a time on this line, for `sleep_until`. A time too far ahead to be represented
    /// becomes a day from the origin: the sleeper then looks again.
    #[must_use]
    pub fn instant(&self, at: Duration) -> Instant {
        const DAY: Duration = Duration::from_secs(86_400);
        self.origin.checked_add(at).unwrap_or(self.origin + DAY)
    }
}

/// Wall time in Unix milliseconds, for what needs a date: the simulated cloud and the network's time.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place of the simulator that reads the wall clock")]
pub fn unix_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_does_not_run_backwards_and_an_unreachable_time_is_still_an_instant() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(clock.instant(Duration::MAX) > clock.instant(Duration::from_secs(1)));
        assert_eq!(
            clock.instant(Duration::from_secs(2)) - clock.instant(Duration::ZERO),
            Duration::from_secs(2)
        );
    }
}
