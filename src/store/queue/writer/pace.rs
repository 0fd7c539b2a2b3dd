//! How long the commit window is: as configured, or wider where the flash would otherwise wear faster than its budget.
//!
//! Pure: time and bytes come in. A commit costs its pages however little is in it, so fewer commits write less. What is
//! written is measured over [`LOOK`] and carried forward to a day; where that is over the budget the window widens in
//! proportion, at most to [`WIDEST`]; where it is well below, it narrows again towards what is configured. A rate and not
//! a sum decides, so a restart gives nobody a second budget.
//!
//! Only the window moves. Alarms and events never waited for it, and readings that fill a commit do not either.

use std::time::Duration;

use crate::clock::Mono;

/// So long is measured before the window is moved again.
pub(super) const LOOK: Duration = Duration::from_secs(600);
/// As wide as the configuration may make it, too. This much is then at risk before acceptance.
pub(super) const WIDEST: Duration = Duration::from_secs(60);
/// From no window at all it widens to this first.
const FIRST: Duration = Duration::from_millis(100);
const DAY_MS: u128 = 86_400_000;

/// See the module head.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    configured: Duration,
    /// Bytes a day; `None` widens nothing.
    budget: Option<u64>,
    window: Duration,
    since: Mono,
    bytes: u64,
    forecast: Option<u64>,
}

impl Pace {
    pub(super) fn new(configured: Duration, budget: Option<u64>, now: Mono) -> Self {
        Self { configured, budget, window: configured, since: now, bytes: 0, forecast: None }
    }

    /// The window is another from now on; what the budget widened beyond both stays until the next look.
    pub(super) fn configure(&mut self, window: Duration) {
        let widened = self.window > self.configured;
        self.configured = window;
        self.window = if widened { self.window.max(window) } else { window };
    }

    /// How long readings wait for company just now.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// What a day costs in bytes, going by the last measurement; `None` before the first is complete.
    pub(super) fn forecast(&self) -> Option<u64> {
        self.forecast
    }

    /// So many bytes were written since this was last said.
    pub(super) fn wrote(&mut self, now: Mono, bytes: u64) {
        self.bytes += bytes;
        let elapsed = now.since(self.since);
        if elapsed < LOOK {
            return;
        }
        let day = u128::from(self.bytes) * DAY_MS / elapsed.as_millis().max(1);
        let day = u64::try_from(day).unwrap_or(u64::MAX);
        (self.since, self.bytes, self.forecast) = (now, 0, Some(day));
        if let Some(budget) = self.budget {
            self.window = self.moved(day, budget.max(1));
        }
    }

    fn moved(&self, day: u64, budget: u64) -> Duration {
        let window_ms = self.window.as_millis();
        let wanted_ms = if day > budget {
            // In one step at most twice as wide: one busy stretch is not the rule.
            let wanted = window_ms.max(FIRST.as_millis() / 2) * u128::from(day) / u128::from(budget) + 1;
            wanted.min(window_ms.max(FIRST.as_millis() / 2) * 2)
        } else if day < budget / 4 * 3 {
            window_ms * 7 / 8
        } else {
            window_ms
        };
        let wanted = Duration::from_millis(u64::try_from(wanted_ms).unwrap_or(u64::MAX));
        wanted.clamp(self.configured, WIDEST.max(self.configured))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A gateway whose commits cost so much each, and whose readings so much a second besides.
    fn a_day(pace: &mut Pace, commit: u64, per_second: u64) -> u64 {
        let (mut now, mut last) = (pace.since, 0);
        for _ in 0..200 {
            let window = pace.window().max(Duration::from_millis(10));
            let commits = LOOK.as_millis() / window.as_millis();
            last = u64::try_from(commits).unwrap() * commit + per_second * LOOK.as_secs();
            now = now.plus(LOOK);
            pace.wrote(now, last);
            assert!(pace.window() >= pace.configured && pace.window() <= WIDEST);
        }
        last * 144
    }

    proptest! {
        #[test]
        fn the_window_widens_until_the_day_fits_and_no_further(
            configured_ms in 0u64..60_000, commit in 1000u64..40_000, per_second in 0u64..2000, budget in 1u64..3_000_000_000,
        ) {
            let mut pace = Pace::new(Duration::from_millis(configured_ms), Some(budget), Mono(1_000_000_000));
            let day = a_day(&mut pace, commit, per_second);
            // Nearer and nearer: what readings cost by themselves does not shrink with the window.
            prop_assert!(
                day <= budget + budget / 50 || pace.window() == WIDEST,
                "{} a day, the budget is {}, the window {:?}", day, budget, pace.window()
            );
            let widened = pace.window() > Duration::from_millis(configured_ms);
            prop_assert!(!widened || day * 2 >= budget, "wider than it need be: {} of {}", day, budget);
        }

        #[test]
        fn without_a_budget_the_window_is_what_is_configured(
            configured_ms in 0u64..60_000, commit in 0u64..1 << 40,
        ) {
            let mut pace = Pace::new(Duration::from_millis(configured_ms), None, Mono(1_000_000_000));
            a_day(&mut pace, commit, 0);
            prop_assert_eq!(pace.window(), Duration::from_millis(configured_ms));
            prop_assert!(pace.forecast().is_some(), "it is measured all the same");
        }
    }

    #[test]
    fn another_window_holds_at_once_and_what_the_budget_widened_stays_wide() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(second, Some(100_000_000), Mono(1_000_000_000));
        pace.configure(second / 2);
        assert_eq!(pace.window(), second / 2);
        a_day(&mut pace, 4000, 0);
        let wide = pace.window();
        pace.configure(second);
        assert_eq!(pace.window(), wide);
        pace.configure(wide * 2);
        assert_eq!(pace.window(), wide * 2);
    }

    #[test]
    fn a_quieter_day_brings_the_window_back() {
        let mut pace = Pace::new(Duration::from_secs(1), Some(100_000_000), Mono(1_000_000_000));
        a_day(&mut pace, 4000, 0);
        assert!(pace.window() > Duration::from_secs(3), "{:?}", pace.window());
        a_day(&mut pace, 400, 0);
        assert_eq!(pace.window(), Duration::from_secs(1));
    }
}
