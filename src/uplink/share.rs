//! How live and backlog share a link: by weight, in bytes. Pure.
//!
//! Each side has a tally of what it sent, divided by its weight; the side with the smaller tally is next. A side that has
//! nothing to send does not save up: its tally follows the other's, so that when it returns it is next, and no more than that.
//!
//! Invariants: whenever a side is ready, one is chosen (nothing is left idle for the sake of a ratio); while both are
//! ready, their tallies differ by no more than one message's worth, so neither waits for more than a few messages.

use std::num::NonZeroU16;

/// One of the two that share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What is young.
    Live,
    /// What is older than the live bound.
    Backlog,
}

/// How much of the link each gets while both have something to send, relative to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Of live.
    pub live: NonZeroU16,
    /// Of backlog.
    pub backlog: NonZeroU16,
}

impl Default for Weights {
    /// Three to one: what is so now is worth more, and a month of backlog still drains.
    fn default() -> Self {
        Self { live: NonZeroU16::MIN.saturating_add(2), backlog: NonZeroU16::MIN }
    }
}

/// See the module head.
#[derive(Clone, Debug)]
pub struct Share {
    weights: Weights,
    /// Bytes sent times the other side's weight: what both have in common is taken off, so it stays small.
    live: u64,
    backlog: u64,
}

impl Share {
    /// Nobody has sent anything.
    #[must_use]
    pub fn new(weights: Weights) -> Self {
        Self { weights, live: 0, backlog: 0 }
    }

    /// Whose turn it is among those that are ready; `None` when neither is.
    #[must_use]
    pub fn turn(&self, live_ready: bool, backlog_ready: bool) -> Option<Side> {
        match (live_ready, backlog_ready) {
            (true, true) => Some(if self.live <= self.backlog { Side::Live } else { Side::Backlog }),
            (true, false) => Some(Side::Live),
            (false, true) => Some(Side::Backlog),
            (false, false) => None,
        }
    }

    /// `side` sends a message of `bytes`; `other_ready` is whether the other side had one too.
    pub fn sent(&mut self, side: Side, bytes: usize, other_ready: bool) {
        let bytes = bytes as u64;
        let (own, other, weight) = match side {
            Side::Live => (&mut self.live, &mut self.backlog, self.weights.backlog),
            Side::Backlog => (&mut self.backlog, &mut self.live, self.weights.live),
        };
        *own = own.saturating_add(bytes.saturating_mul(u64::from(weight.get())));
        if !other_ready {
            *other = (*other).max(*own);
        }
        let common = self.live.min(self.backlog);
        self.live -= common;
        self.backlog -= common;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weights(live: u16, backlog: u16) -> Weights {
        Weights { live: NonZeroU16::new(live).unwrap(), backlog: NonZeroU16::new(backlog).unwrap() }
    }

    proptest! {
        #[test]
        fn the_link_is_never_idle_while_a_side_is_ready(steps in prop::collection::vec((any::<bool>(), any::<bool>(), 1usize..1100), 0..200)) {
            let mut share = Share::new(Weights::default());
            for (live, backlog, bytes) in steps {
                let turn = share.turn(live, backlog);
                prop_assert_eq!(turn.is_some(), live || backlog);
                match turn {
                    Some(Side::Live) => { prop_assert!(live); share.sent(Side::Live, bytes, backlog); }
                    Some(Side::Backlog) => { prop_assert!(backlog); share.sent(Side::Backlog, bytes, live); }
                    None => {}
                }
            }
        }

        /// After any history, while both are ready each gets its weight to within one message of each side, and neither waits
        /// longer than the weights say.
        #[test]
        fn while_both_are_ready_each_gets_its_weight_and_neither_starves(
            (l, b) in (1u16..20, 1u16..20),
            before in prop::collection::vec((any::<bool>(), 1usize..1100), 0..50),
            messages in prop::collection::vec(1usize..1100, 1..400),
        ) {
            let mut share = Share::new(weights(l, b));
            for (live, bytes) in before {
                share.sent(if live { Side::Live } else { Side::Backlog }, bytes, false);
            }
            let (mut sent, mut since) = ([0u64; 2], [0u64; 2]);
            for bytes in messages {
                let side = share.turn(true, true).unwrap();
                share.sent(side, bytes, true);
                let own = side as usize;
                sent[own] += bytes as u64;
                since[own] = 0;
                since[1 - own] += bytes as u64;
                // One message may be 1100 bytes, and a side may be one message ahead at the start and one at the end.
                let most = 2 * 1100 * (u64::from(l) + u64::from(b));
                prop_assert!((sent[0] * u64::from(b)).abs_diff(sent[1] * u64::from(l)) <= most);
                prop_assert!(since[0] <= 2 * 1100 * (1 + u64::from(b).div_ceil(u64::from(l))), "live waits");
                prop_assert!(since[1] <= 2 * 1100 * (1 + u64::from(l).div_ceil(u64::from(b))), "backlog waits");
            }
        }
    }

    #[test]
    fn a_side_that_was_away_is_next_and_does_not_send_what_it_missed() {
        let mut share = Share::new(weights(1, 1));
        for _ in 0..1000 {
            share.sent(Side::Backlog, 1000, false);
        }
        let mut live = 0;
        for _ in 0..10 {
            let side = share.turn(true, true).unwrap();
            share.sent(side, 1000, true);
            live += usize::from(side == Side::Live);
        }
        assert_eq!((share.turn(true, false), live), (Some(Side::Live), 5));
    }
}
