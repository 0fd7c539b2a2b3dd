//! How long the link was cut, as it really happened. Pure.

use std::time::Duration;

/// All cuts together. A cut within a cut and a heal without one change nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outage {
    before: Duration,
    since: Option<Duration>,
}

impl Outage {
    pub(super) fn begins(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    pub(super) fn ends(&mut self, now: Duration) {
        self.before = self.until(now);
        self.since = None;
    }

    pub(super) fn until(&self, now: Duration) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_add_up_and_one_that_lasts_counts_until_now() {
        let s = Duration::from_secs;
        let mut outage = Outage::default();
        outage.ends(s(1));
        outage.begins(s(10));
        outage.begins(s(12));
        assert_eq!(outage.until(s(13)), s(3));
        outage.ends(s(15));
        outage.ends(s(16));
        assert_eq!(outage.until(s(100)), s(5));
        outage.begins(s(100));
        assert_eq!(outage.until(s(101)), s(6));
    }
}
