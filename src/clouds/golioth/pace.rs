//! At most so many requests in any second (Golioth device connectivity: 20 requests a second for a device), and whose turn it is
//! when several wait. Pure.
//!
//! A bucket would allow twice the number across a second's edge; this remembers when each of the last N left instead.
//!
//! The requests are shared by what they are for: each [`Share`] that wants gets its weight of them, none waits for ever, and
//! one that wanted nothing for a while goes first without having saved anything up.

use std::collections::VecDeque;
use std::time::Duration;

/// The window is a little longer than the cloud's, for clocks and queues on the way.
const WINDOW: Duration = Duration::from_millis(1020);
/// By so much it grows when the cloud says that it was not, to so much at most; and by so much it shrinks again in a quiet time.
const WIDER: Duration = Duration::from_millis(20);
const WIDEST: Duration = Duration::from_millis(2000);
const NARROWER: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_secs(300);
/// After a repetition one place is kept for the next, for so long: it leaves when its time has come, and if the first copy did not
/// arrive the cloud counts it.
const REPETITIONS: Duration = Duration::from_secs(30);
/// What one request costs a share of weight 1.
const COST: u64 = 1 << 16;

/// What requests are for, the most pressing first: so ties are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Alarms and events.
    Urgent = 0,
    /// States, reports.
    State = 1,
    /// Blocks of a download.
    Firmware = 2,
    /// Other readings.
    Bulk = 3,
}

/// How many shares there are.
pub const SHARES: usize = 4;

const ALL: [Share; SHARES] = [Share::Urgent, Share::State, Share::Firmware, Share::Bulk];
/// Of 16 requests, where all want.
const WEIGHTS: [u64; SHARES] = [8, 4, 2, 2];

/// The pace of one link.
#[derive(Debug)]
pub struct Pace {
    per_second: usize,
    window: Duration,
    /// When the window was last changed.
    changed: Duration,
    left: VecDeque<Duration>,
    /// When a repetition last left, and a block.
    repeated: Option<Duration>,
    block: Option<Duration>,
    /// What each share has spent, in a currency in which the one that spent least is next.
    spent: [u64; SHARES],
    /// What the one had spent whose turn was last.
    level: u64,
}

impl Pace {
    /// A pace of `per_second` requests, at least one.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second: usize::try_from(per_second).unwrap_or(1).max(1),
            window: WINDOW,
            changed: Duration::ZERO,
            left: VecDeque::new(),
            repeated: None,
            block: None,
            spent: [0; SHARES],
            level: 0,
        }
    }

    /// When the next request may leave; not after `now` if it may at once.
    #[must_use]
    pub fn next_at(&self, now: Duration) -> Duration {
        let before = self.left.len().checked_sub(self.most(now)).and_then(|at| self.left.get(at));
        before.map_or(now, |before| (*before + self.window).max(now))
    }

    /// How many may leave at once.
    #[must_use]
    pub fn free(&self, now: Duration) -> u32 {
        let recent = self.left.iter().filter(|at| **at + self.window > now).count();
        u32::try_from(self.most(now).saturating_sub(recent)).unwrap_or(u32::MAX)
    }

    fn most(&self, now: Duration) -> usize {
        let keeps_one = self.repeated.is_some_and(|at| now.saturating_sub(at) < REPETITIONS);
        self.per_second.saturating_sub(usize::from(keeps_one)).max(1)
    }

    /// The same for a block, which keeps a distance from the one before: requests that leave in a burst arrive with the distances
    /// that queues on the way give them.
    #[must_use]
    pub fn next_block_at(&self, now: Duration) -> Duration {
        let places = u32::try_from(self.per_second).unwrap_or(u32::MAX);
        let distance = self.window * 3 / 4 / places;
        self.next_at(now).max(self.block.map_or(now, |block| block + distance))
    }

    /// A block is asked for. It leaves as any request does.
    pub fn block_taken(&mut self, now: Duration) {
        self.block = Some(now);
        self.took(Share::Firmware);
    }

    /// A request leaves again, which nobody could hold back.
    pub fn repeats(&mut self, now: Duration) {
        self.repeated = Some(now);
        self.leaves(now);
    }

    /// A request leaves.
    pub fn leaves(&mut self, now: Duration) {
        if self.left.len() >= self.per_second {
            self.left.pop_front();
        }
        self.left.push_back(now);
        if self.window > WINDOW && now.saturating_sub(self.changed) >= QUIET {
            self.window = self.window.saturating_sub(NARROWER).max(WINDOW);
            self.changed = now;
        }
    }

    /// The cloud counted more requests than it allows.
    pub fn limited(&mut self, now: Duration) {
        // What was on the way together is one mistake.
        if now.saturating_sub(self.changed) >= self.window || self.window == WINDOW {
            self.window = (self.window + WIDER).min(WIDEST);
            self.changed = now;
        }
    }

    /// Whose turn it is of those that want, by share.
    #[must_use]
    pub fn turn(&self, wants: [bool; SHARES]) -> Option<Share> {
        let wanting = ALL.into_iter().filter(|share| wants.get(*share as usize).is_some_and(|wants| *wants));
        // The first of several: the most pressing.
        wanting.min_by_key(|share| self.has_spent(*share))
    }

    /// It took its turn.
    pub fn took(&mut self, share: Share) {
        let spent = self.has_spent(share);
        self.level = self.level.max(spent);
        if let (Some(place), Some(weight)) = (self.spent.get_mut(share as usize), WEIGHTS.get(share as usize))
        {
            *place = spent.saturating_add(COST / weight);
        }
    }

    /// Nothing is saved up in a time without requests.
    fn has_spent(&self, share: Share) -> u64 {
        self.spent.get(share as usize).map_or(self.level, |spent| (*spent).max(self.level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn never_more_than_the_limit_in_any_second() {
        let mut pace = Pace::new(20);
        let mut now = Duration::ZERO;
        let mut left = Vec::new();
        for n in 0..500u64 {
            now = pace.next_at(now);
            assert!(pace.free(now) >= 1, "what may leave now has a place");
            pace.leaves(now);
            assert_eq!(pace.free(now) > 0, pace.next_at(now) <= now);
            left.push(now);
            if n % 37 == 0 {
                now += ms(n * 3);
            }
        }
        for (n, start) in left.iter().enumerate() {
            let within = left[n..].iter().take_while(|at| **at < *start + Duration::from_secs(1)).count();
            assert!(within <= 20, "{within} from {start:?}");
        }
        assert!(now < Duration::from_secs(40), "and not much slower: {now:?}");
    }

    #[test]
    fn where_requests_are_repeated_the_limit_holds_with_the_repetitions() {
        let mut pace = Pace::new(20);
        let (mut now, mut left) = (Duration::ZERO, Vec::new());
        pace.repeats(now);
        for n in 0..1000u64 {
            now = pace.next_block_at(now);
            pace.block_taken(now);
            pace.leaves(now);
            left.push(now);
            if n % 40 == 0 {
                now += ms(10);
                pace.repeats(now);
                left.push(now);
            }
        }
        for (n, start) in left.iter().enumerate() {
            let within = left[n..].iter().take_while(|at| **at < *start + Duration::from_secs(1)).count();
            assert!(within <= 20, "{within} from {start:?}");
        }
        assert!(now < ms(1000 * 1000 / 18), "and not much slower: {now:?}");
        assert!(pace.next_at(now + REPETITIONS * 2) <= now + REPETITIONS * 2);
    }

    #[test]
    fn blocks_keep_a_distance() {
        let mut pace = Pace::new(20);
        pace.block_taken(ms(1000));
        pace.leaves(ms(1000));
        assert_eq!(
            (pace.next_at(ms(1000)), pace.next_block_at(ms(1000))),
            (ms(1000), ms(1000) + WINDOW * 3 / 4 / 20)
        );
    }

    /// Requests in ten seconds from `start`.
    fn in_ten_seconds(pace: &mut Pace, start: Duration) -> usize {
        let mut now = start;
        let mut count = 0;
        while now < start + ms(10_000) {
            pace.leaves(now);
            count += 1;
            now = pace.next_at(now);
        }
        count
    }

    #[test]
    fn a_cloud_that_counts_too_many_gets_fewer_and_later_as_many_as_before() {
        let mut pace = Pace::new(20);
        let usual = in_ten_seconds(&mut pace, ms(0));
        for _ in 0..8 {
            pace.limited(ms(20_000));
        }
        assert_eq!(pace.window, WINDOW + WIDER, "what was on the way together counts once");
        for second in 21..200 {
            pace.limited(ms(second * 2000));
        }
        assert_eq!(pace.window, WIDEST);
        let slow = in_ten_seconds(&mut pace, ms(400_000));
        assert!(slow * 3 < usual * 2, "{slow} {usual}");
        for period in 1..200 {
            pace.leaves(ms(400_000) + QUIET * period);
        }
        assert_eq!(pace.window, WINDOW);
    }

    fn turns(pace: &mut Pace, wants: [bool; SHARES], count: usize) -> [usize; SHARES] {
        let mut had = [0; SHARES];
        for _ in 0..count {
            let share = pace.turn(wants).unwrap();
            pace.took(share);
            had[share as usize] += 1;
        }
        had
    }

    /// As `turns`, against what the weights say: one that wanted nothing for a while may be a few turns ahead.
    fn about(pace: &mut Pace, wants: [bool; SHARES], right: [usize; SHARES]) {
        let had = turns(pace, wants, right.iter().sum());
        assert!(had.iter().zip(right).all(|(had, right)| had.abs_diff(right) <= 5), "{had:?} {right:?}");
    }

    #[test]
    fn each_share_gets_its_weight_and_none_starves() {
        let mut pace = Pace::new(20);
        about(&mut pace, [true; SHARES], [80, 40, 20, 20]);
        about(&mut pace, [false, false, true, true], [0, 0, 20, 20]);
        about(&mut pace, [true, false, false, true], [80, 0, 0, 20]);
        assert_eq!(pace.turn([false; SHARES]), None);
    }

    #[test]
    fn an_alarm_after_a_long_quiet_goes_first_and_what_was_quiet_has_saved_nothing_up() {
        let mut pace = Pace::new(20);
        turns(&mut pace, [false, false, true, true], 1001);
        assert_eq!(pace.turn([true; SHARES]), Some(Share::Urgent));
        about(&mut pace, [false, true, true, true], [0, 40, 20, 20]);
    }
}
