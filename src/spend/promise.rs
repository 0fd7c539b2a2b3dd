//! What was granted and not charged yet: it counts as spent until it is charged, or is certain never to be.
//!
//! Pure. Each grant ends by its own time; a later one holds no earlier one up. A charge takes of the newest grant of its
//! purpose first, so that what a grant was too large by is what ends unused. Bounded: grants of one purpose within one
//! slice of time are one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::purpose::Purpose;

/// What was granted and not charged within this was never sent. Longer by up to a slice.
const HOLDS: Duration = Duration::from_secs(180);
/// Seconds.
const SLICE: u64 = 10;

/// See the module head.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises {
    /// By the slice of time in which they were granted.
    held: BTreeMap<(u64, Purpose), u64>,
    bytes: u64,
}

impl Promises {
    /// All of it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Something was granted.
    pub(super) fn hold(&mut self, now: Duration, purpose: Purpose, bytes: u64) {
        *self.held.entry((slice(now), purpose)).or_default() += bytes;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Something was charged.
    pub(super) fn charged(&mut self, purpose: Purpose, bytes: u64) {
        let mut left = bytes;
        for (_, held) in self.held.iter_mut().rev().filter(|((_, of), _)| *of == purpose) {
            let taken = left.min(*held);
            *held -= taken;
            left -= taken;
        }
        self.bytes = self.bytes.saturating_sub(bytes - left);
    }

    /// Time passes.
    pub(super) fn expire(&mut self, now: Duration) {
        let Some(last) = now.checked_sub(HOLDS).map(slice) else { return };
        while let Some(oldest) = self.held.first_entry().filter(|oldest| oldest.key().0 < last) {
            self.bytes = self.bytes.saturating_sub(oldest.remove());
        }
    }
}

fn slice(at: Duration) -> u64 {
    at.as_secs() / SLICE
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_grant_that_is_never_charged_ends_however_many_follow_it() {
        let mut promises = Promises::default();
        promises.hold(Duration::ZERO, Purpose::Live, 50_000);
        for second in 1..=190 {
            promises.expire(second * S);
            promises.hold(second * S, Purpose::Live, 1000);
            promises.charged(Purpose::Live, 1000);
        }
        assert_eq!(promises.bytes(), 0);
    }

    #[test]
    fn what_grants_were_too_large_by_adds_up_to_no_more_than_a_few_minutes_of_it() {
        let mut promises = Promises::default();
        for second in 0..10_000 {
            promises.expire(second * S);
            promises.hold(second * S, Purpose::Live, 1000);
            promises.charged(Purpose::Live, 900);
        }
        assert!(promises.bytes() <= 200 * 100, "{}", promises.bytes());
    }

    #[test]
    fn each_purpose_uses_up_its_own_grants() {
        let mut promises = Promises::default();
        promises.hold(S, Purpose::Session, 1300);
        promises.hold(S, Purpose::Event, 200);
        promises.charged(Purpose::Session, 1400);
        assert_eq!(promises.bytes(), 200);
        promises.charged(Purpose::Event, 150);
        assert_eq!(promises.bytes(), 50);
    }
}
