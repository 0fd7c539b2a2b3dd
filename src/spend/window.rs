//! What was spent within the last so many hours or days, by monotonic time alone.
//!
//! Pure. A ring of buckets of equal width; the newest is being filled. Sums are rounded towards more: a bucket that a
//! question touches counts whole. Time while the machine was off does not move the ring, so that what it says to be recent
//! is at least as much as what was.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A ring of `buckets` buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    /// Seconds.
    width: u64,
    /// The newest first. Never empty.
    buckets: Vec<u64>,
    /// Milliseconds since the newest bucket began.
    into_ms: u64,
    /// Milliseconds since anything was counted here at all; a record of before this was written down has counted for ever.
    #[serde(default = "always")]
    counted_ms: u64,
}

fn always() -> u64 {
    u64::MAX
}

impl Window {
    /// The last 24 hours, by the hour: 24 whole ones and the one that runs.
    pub(super) fn of_a_day() -> Self {
        Self { width: 3600, buckets: vec![0; 25], into_ms: 0, counted_ms: 0 }
    }

    /// The last 31 days, by the day.
    pub(super) fn of_a_month() -> Self {
        Self { width: 86_400, buckets: vec![0; 32], into_ms: 0, counted_ms: 0 }
    }

    /// Whether it has the shape of `other`, as one read back from disk must.
    pub(super) fn fits(&self, other: &Self) -> bool {
        self.width == other.width
            && self.buckets.len() == other.buckets.len()
            && self.into_ms < self.width.saturating_mul(1000)
    }

    /// Time passes.
    pub(super) fn advance(&mut self, by: Duration) {
        let width_ms = self.width * 1000;
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.counted_ms = self.counted_ms.saturating_add(by_ms);
        let into = self.into_ms.saturating_add(by_ms);
        self.into_ms = into % width_ms;
        let turns = usize::try_from(into / width_ms).unwrap_or(usize::MAX).min(self.buckets.len());
        self.buckets.rotate_right(turns);
        for bucket in self.buckets.iter_mut().take(turns) {
            *bucket = 0;
        }
    }

    /// Counts bytes now.
    pub(super) fn add(&mut self, bytes: u64) {
        if let Some(newest) = self.buckets.first_mut() {
            *newest = newest.saturating_add(bytes);
        }
    }

    /// For how long it has been counted, this run and those before it. Time that nobody can tell is not in it.
    pub(super) fn counted(&self) -> Duration {
        Duration::from_millis(self.counted_ms)
    }

    /// Everything within the whole window.
    pub(super) fn sum(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.saturating_add(*bucket))
    }

    /// At least everything within the last `age`.
    pub(super) fn sum_within(&self, age: Duration) -> u64 {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let older = age_ms.saturating_sub(self.into_ms).div_ceil(self.width * 1000);
        let count = usize::try_from(older).unwrap_or(usize::MAX).saturating_add(1);
        self.buckets.iter().take(count).fold(0, |sum, bucket| sum.saturating_add(*bucket))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_older_than_the_window_is_forgotten_and_nothing_younger() {
        let mut window = Window::of_a_day();
        window.add(7);
        window.advance(24 * HOUR);
        assert_eq!(window.sum(), 7, "a day ago is within the last 24 hours");
        window.advance(HOUR);
        assert_eq!(window.sum(), 0);
        window.add(1);
        window.advance(Duration::from_secs(u64::MAX / 4));
        assert_eq!(window.sum(), 0);
    }

    proptest! {
        #[test]
        fn a_sum_is_never_less_than_what_was_spent_within_the_time(
            steps in proptest::collection::vec((0u64..20_000, 0u64..1000), 1..60),
            age_s in 0u64..90_000,
        ) {
            let mut window = Window::of_a_day();
            let mut spent = Vec::new();
            let mut now = 0;
            for (wait, bytes) in steps {
                now += wait;
                window.advance(Duration::from_secs(wait));
                window.add(bytes);
                spent.push((now, bytes));
            }
            let within: u64 = spent.iter().filter(|(at, _)| now - at < age_s).map(|(_, b)| b).sum();
            let newest_day: u64 = spent.iter().filter(|(at, _)| now - at <= 86_400).map(|(_, b)| b).sum();
            prop_assert!(age_s > 86_400 || window.sum_within(Duration::from_secs(age_s)) >= within);
            prop_assert!(window.sum() >= newest_day);
        }
    }
}
