//! What went over the path besides what was charged: by the counters of the interface or of the modem.
//!
//! Pure. Both sides are compared from one look to the next, so that neither what went before the first look nor a counter that
//! starts over counts for anything. Who counts may change: each stretch is counted by one of them, and they add up.
//!
//! What was charged is all that the daemon sent and received. Where some of it leaves by another interface than the one that is
//! counted (a broker on the local network, a cable beside the modem), it is taken from what that one counted, and others are told
//! too low by as much, down to nothing. They are never told too high for it.

use crate::board::{Counter, Others};

/// What was counted, and charged at the same moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Total {
    counter: Counter,
    /// Counted and charged when this stretch began, and at the last look.
    first: (u64, u64),
    last: (u64, u64),
    /// Others' in the stretches before.
    before: u64,
}

impl Total {
    /// The first look.
    pub(super) fn begin(counter: Counter, counted: u64, charged: u64) -> Self {
        let now = (counted, charged);
        Self { counter, first: now, last: now, before: 0 }
    }

    /// Another look. A counter that is less than it was, or another's, begins a stretch.
    pub(super) fn counted(&mut self, counter: Counter, counted: u64, charged: u64) {
        let now = (counted, charged);
        if counter == self.counter && counted >= self.last.0 {
            self.last = now;
        } else {
            *self = Self { before: self.others().bytes, ..Self::begin(counter, counted, charged) };
        }
    }

    /// What is not ours, and who says so.
    pub(super) fn others(&self) -> Others {
        let counted = self.last.0 - self.first.0;
        let charged = self.last.1.saturating_sub(self.first.1);
        let bytes = self.before.saturating_add(counted.saturating_sub(charged));
        Others { bytes, counter: self.counter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_and_not_charged_is_others() {
        let mut total = Total::begin(Counter::Interface, 5_000_000, 3000);
        assert_eq!(total.others().bytes, 0, "what went before the first look is nobody's");
        total.counted(Counter::Interface, 5_010_000, 7000);
        assert_eq!(total.others(), Others { bytes: 6000, counter: Counter::Interface });
    }

    #[test]
    fn a_counter_that_starts_over_forgets_nothing_and_invents_nothing() {
        let mut total = Total::begin(Counter::Modem, 0, 0);
        total.counted(Counter::Modem, 20_480, 4_096);
        total.counted(Counter::Modem, 1_024, 5_000);
        assert_eq!(total.others().bytes, 16_384);
        total.counted(Counter::Modem, 3_072, 5_500);
        assert_eq!(total.others().bytes, 16_384 + 2_048 - 500);
    }

    #[test]
    fn when_another_counts_each_stretch_is_counted_once() {
        let mut total = Total::begin(Counter::Interface, 100_000, 0);
        total.counted(Counter::Interface, 110_000, 4_000);
        total.counted(Counter::Modem, 1_000_000, 4_000);
        assert_eq!(total.others(), Others { bytes: 6_000, counter: Counter::Modem });
        total.counted(Counter::Modem, 1_010_240, 8_000);
        assert_eq!(total.others().bytes, 6_000 + 6_240);
    }

    #[test]
    fn estimates_that_were_too_high_make_nobody_owe_bytes() {
        let mut total = Total::begin(Counter::Modem, 0, 0);
        total.counted(Counter::Modem, 1_024, 2_000);
        assert_eq!(total.others().bytes, 0);
    }
}
