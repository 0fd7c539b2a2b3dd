//! At most so many requests in any second (Golioth device connectivity: 20 requests a second for a device). Pure.
//!
//! A bucket would allow twice the number across a second's edge; this remembers when each of the last N left instead.

use std::collections::VecDeque;
use std::time::Duration;

/// The window is a little longer than the cloud's, for clocks and queues on the way.
const WINDOW: Duration = Duration::from_millis(1050);

/// The pace of one link.
#[derive(Debug)]
pub struct Pace {
    per_second: usize,
    left: VecDeque<Duration>,
}

impl Pace {
    /// A pace of `per_second` requests, at least one.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second: usize::try_from(per_second).unwrap_or(1).max(1), left: VecDeque::new() }
    }

    /// When the next request may leave; not after `now` if it may at once.
    #[must_use]
    pub fn next_at(&self, now: Duration) -> Duration {
        if self.left.len() < self.per_second {
            return now;
        }
        self.left.front().map_or(now, |first| (*first + WINDOW).max(now))
    }

    /// A request leaves.
    pub fn leaves(&mut self, now: Duration) {
        if self.left.len() >= self.per_second {
            self.left.pop_front();
        }
        self.left.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit_in_any_second() {
        let mut pace = Pace::new(20);
        let mut now = Duration::ZERO;
        let mut left = Vec::new();
        for n in 0..500u64 {
            now = pace.next_at(now);
            pace.leaves(now);
            left.push(now);
            if n % 37 == 0 {
                now += Duration::from_millis(n * 3);
            }
        }
        for (n, start) in left.iter().enumerate() {
            let within = left[n..].iter().take_while(|at| **at < *start + Duration::from_secs(1)).count();
            assert!(within <= 20, "{within} from {start:?}");
        }
        assert!(now < Duration::from_secs(40), "and not much slower: {now:?}");
    }
}
