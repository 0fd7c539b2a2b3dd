//! How long to wait for an acknowledgement and how many requests may wait at once.
//!
//! The timeout is estimated as in RFC 6298, fed only by exchanges that were never retransmitted (Karn): an answer to a
//! repeated message says nothing about which copy it answers. A timeout doubles the estimate until the next such
//! sample, so a path slower than the estimate is still learned; the first timeout after a sample does not, because one lost
//! message says nothing against an estimate that just held. Nor does one whose repetition is answered just when the estimate
//! has the answer to it due: over a path that loses much there is hardly another kind of answer, and it ends the doubling.
//!
//! The window grows by additive increase and shrinks on a timeout, at most once for messages that were on the way
//! together. How long exchanges take beyond the fastest one lately says how many of our messages stand in a queue
//! on the way (as in TCP Vegas and Veno): with [`MOST_QUEUED`] there the window stays, because more would only make the
//! queue longer, and whatever else uses the path would wait in it. A loss with hardly any queue is the radio's doing and
//! shrinks the window by a fifth, any other halves it.

use core::time::Duration;

use crate::config::Config;

/// An estimate this old is no longer trusted to be shorter than the default: a cellular modem may have gone to sleep.
const TRUSTED_FOR: Duration = Duration::from_secs(60);
/// Doublings kept between messages.
const MAX_BACKOFF: u32 = 4;
/// Messages of ours in a queue on the way, from which on the window does not grow.
const MOST_QUEUED: u32 = 4;
/// Messages in a queue below which a loss is not the queue's doing.
const FEW_QUEUED: u32 = 3;
/// The window is not shrunk below this by losses that no queue explains, while answers come.
const LEAST_ON_LOSSY: u32 = 4;
/// The fastest exchange counts for this long at least, for twice as long at most.
const FASTEST_FOR: Duration = Duration::from_secs(120);

/// What is known of how long an answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundTrip {
    /// Of a message that was sent once.
    Certain(Duration),
    /// Of one that was repeated: since the last copy, which may not be the one that was answered.
    OfLastCopy(Duration),
    /// Nothing.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Congestion {
    smoothed: Option<Smoothed>,
    fastest: Fastest,
    backoff: u32,
    window: u32,
    /// Below it the window grows by one a success, above it by one a window.
    threshold: u32,
    credit: u32,
    /// Messages sent before this moment have already been paid for by a reduction.
    reduced_at: Option<Duration>,
    /// A sample came since the last reduction.
    sampled: bool,
}

#[derive(Clone, Copy, Debug)]
struct Smoothed {
    mean: Duration,
    deviation: Duration,
    at: Duration,
}

/// The fastest exchange lately: of this period and of the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Fastest {
    since: Duration,
    this: Option<Duration>,
    before: Option<Duration>,
}

impl Congestion {
    pub(crate) fn new(config: &Config) -> Congestion {
        Congestion {
            smoothed: None,
            fastest: Fastest::default(),
            backoff: 0,
            window: config.initial_window.clamp(1, config.max_in_flight.max(1)),
            threshold: config.max_in_flight.max(1),
            credit: 0,
            reduced_at: None,
            sampled: false,
        }
    }

    /// Requests that may be in flight.
    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// The timeout a message first sent at `now` starts from, before jitter.
    pub(crate) fn timeout(&self, now: Duration, config: &Config) -> Duration {
        let base = match self.smoothed {
            None => config.ack_timeout,
            Some(s) => {
                let estimate = s.mean.saturating_add(s.deviation.saturating_mul(4)).max(config.min_rto);
                if now.saturating_sub(s.at) > TRUSTED_FOR {
                    estimate.max(config.ack_timeout)
                } else {
                    estimate
                }
            }
        };
        base.saturating_mul(1 << self.backoff).min(config.max_rto)
    }

    /// One of `out` messages was acknowledged, as long after its last copy as `round_trip` says. A window that is hardly used
    /// does not grow: nothing was learned of what the path bears.
    pub(crate) fn acknowledged(&mut self, now: Duration, round_trip: RoundTrip, out: usize, config: &Config) {
        match round_trip {
            RoundTrip::Certain(round_trip) => self.learn(now, round_trip),
            RoundTrip::OfLastCopy(since) if self.expects(since) => {
                self.sampled = true;
                self.backoff = 0;
            }
            RoundTrip::OfLastCopy(_) | RoundTrip::Unknown => {}
        }
        if out.saturating_mul(2) < self.window as usize {
            return;
        }
        let max = config.max_in_flight.max(1);
        if self.queued() >= MOST_QUEUED {
            self.threshold = self.threshold.min(self.window);
        } else if self.window < self.threshold.min(max) {
            self.window += 1;
        } else if self.window < max {
            self.credit += 1;
            if self.credit >= self.window {
                self.credit = 0;
                self.window += 1;
            }
        }
    }

    /// A message whose last copy left at `sent_at` was not acknowledged in time; `again` where that was not its first copy. Then
    /// it says nothing of the estimate: its own timer has doubled since.
    pub(crate) fn timed_out(&mut self, now: Duration, sent_at: Duration, again: bool) {
        if self.reduced_at.is_some_and(|reduced| sent_at < reduced) {
            return;
        }
        self.reduced_at = Some(now);
        self.credit = 0;
        let alive = core::mem::take(&mut self.sampled);
        if alive && self.queued() < FEW_QUEUED {
            let least = LEAST_ON_LOSSY.min(self.window);
            self.window = (self.window - self.window.div_ceil(5)).max(least);
        } else {
            self.window = (self.window / 2).max(1);
        }
        self.threshold = self.window;
        if !alive && !again {
            self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
        }
    }

    fn learn(&mut self, now: Duration, round_trip: Duration) {
        self.sampled = true;
        self.backoff = 0;
        self.fastest.learn(now, round_trip);
        self.smoothed = Some(match self.smoothed {
            None => Smoothed { mean: round_trip, deviation: round_trip / 2, at: now },
            Some(s) => Smoothed {
                deviation: s.deviation.saturating_mul(3).saturating_add(s.mean.abs_diff(round_trip)) / 4,
                mean: s.mean.saturating_mul(7).saturating_add(round_trip) / 8,
                at: now,
            },
        });
    }

    /// Whether a round trip of this length is one of those that the estimate was made of.
    fn expects(&self, round_trip: Duration) -> bool {
        let (Some(s), Some(fastest)) = (self.smoothed, self.fastest.get()) else { return false };
        (fastest..=s.mean.saturating_add(s.deviation.saturating_mul(4))).contains(&round_trip)
    }

    /// Messages of ours that stand in a queue on the way, as far as exchanges show it: the share of the time beyond the fastest.
    fn queued(&self) -> u32 {
        let (Some(s), Some(fastest)) = (self.smoothed, self.fastest.get()) else { return 0 };
        let (mean, beyond) = (s.mean.as_micros(), s.mean.saturating_sub(fastest).as_micros());
        let queued = (beyond * u128::from(self.window)).checked_div(mean).unwrap_or(0);
        u32::try_from(queued).unwrap_or(u32::MAX)
    }
}

impl Fastest {
    fn learn(&mut self, now: Duration, round_trip: Duration) {
        if now.saturating_sub(self.since) >= FASTEST_FOR {
            *self = Fastest { since: now, this: None, before: self.this };
        }
        self.this = Some(self.this.map_or(round_trip, |fastest| fastest.min(round_trip)));
    }

    fn get(&self) -> Option<Duration> {
        self.this.into_iter().chain(self.before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn floor_free() -> Config {
        Config { min_rto: Duration::ZERO, ..Config::default() }
    }

    #[test]
    fn before_any_sample_the_timeout_is_ack_timeout() {
        let config = Config::default();
        assert_eq!(Congestion::new(&config).timeout(ms(0), &config), config.ack_timeout);
    }

    #[test]
    fn the_first_samples_follow_rfc_6298() {
        let config = floor_free();
        let mut c = Congestion::new(&config);
        c.acknowledged(ms(800), RoundTrip::Certain(ms(800)), 99, &config);
        assert_eq!(c.timeout(ms(800), &config), ms(800 + 4 * 400));
        c.acknowledged(ms(1200), RoundTrip::Certain(ms(400)), 99, &config);
        // deviation = 3/4 * 400 + 1/4 * |800 - 400| = 400; mean = 7/8 * 800 + 1/8 * 400 = 750
        assert_eq!(c.timeout(ms(1200), &config), ms(750 + 4 * 400));
    }

    #[test]
    fn an_ambiguous_acknowledgement_moves_neither_the_estimate_nor_the_backoff() {
        let config = floor_free();
        let mut c = Congestion::new(&config);
        c.timed_out(ms(2000), ms(0), false);
        let before = c.timeout(ms(2000), &config);
        assert_eq!(before, config.ack_timeout * 2);
        c.acknowledged(ms(2100), RoundTrip::Unknown, 99, &config);
        assert_eq!(c.timeout(ms(2100), &config), before);
        c.acknowledged(ms(9000), RoundTrip::Certain(ms(5000)), 99, &config);
        assert_eq!(c.timeout(ms(9000), &config), ms(15_000));
    }

    #[test]
    fn timeouts_stay_within_the_configured_bounds() {
        let config = Config::default();
        let mut c = Congestion::new(&config);
        c.acknowledged(ms(1), RoundTrip::Certain(ms(1)), 99, &config);
        assert_eq!(c.timeout(ms(1), &config), config.min_rto);
        for round in 1..20 {
            c.timed_out(ms(round * 1000), ms(round * 1000), false);
        }
        assert!(c.timeout(ms(20_000), &config) <= config.max_rto);
        assert_eq!(c.window(), 1);
    }

    #[test]
    fn a_stale_short_estimate_is_not_trusted_and_a_long_one_is() {
        let config = Config::default();
        let mut c = Congestion::new(&config);
        c.acknowledged(ms(100), RoundTrip::Certain(ms(100)), 99, &config);
        assert_eq!(c.timeout(ms(200), &config), config.min_rto);
        assert_eq!(c.timeout(ms(100_000), &config), config.ack_timeout);
        let mut slow = Congestion::new(&config);
        slow.acknowledged(ms(4000), RoundTrip::Certain(ms(4000)), 99, &config);
        assert_eq!(slow.timeout(ms(100_000), &config), ms(12_000));
    }

    #[test]
    fn messages_lost_together_halve_the_window_once() {
        let config = Config { initial_window: 8, ..Config::default() };
        let mut c = Congestion::new(&config);
        for _ in 0..8 {
            c.timed_out(ms(2000), ms(0), false);
        }
        assert_eq!(c.window(), 4);
        c.timed_out(ms(6000), ms(2000), false);
        assert_eq!(c.window(), 2);
    }

    fn steady(round_trip: Duration, config: &Config) -> Congestion {
        let mut c = Congestion::new(config);
        for _ in 0..50 {
            c.acknowledged(ms(1000), RoundTrip::Certain(round_trip), 99, config);
        }
        c
    }

    #[test]
    fn a_loss_on_a_path_without_a_queue_costs_a_fifth_down_to_a_few() {
        let config = Config { max_in_flight: 10, ..Config::default() };
        let mut c = steady(ms(300), &config);
        assert_eq!(c.window(), 10);
        c.timed_out(ms(2000), ms(1500), false);
        assert_eq!(
            (c.window(), c.timeout(ms(2000), &config)),
            (8, config.min_rto),
            "one loss is no slow path"
        );
        for round in 2..20 {
            c.learn(ms(1000 * round), ms(300));
            c.timed_out(ms(1000 * round + 500), ms(1000 * round + 100), false);
        }
        assert_eq!(c.window(), LEAST_ON_LOSSY);
    }

    #[test]
    fn a_message_lost_over_and_over_makes_the_others_no_slower() {
        let config = Config::default();
        let mut c = steady(ms(300), &config);
        for second in 2..7 {
            c.timed_out(ms(1000 * second), ms(1000 * second - 10), second > 2);
        }
        assert_eq!(c.timeout(ms(7000), &config), config.min_rto);
    }

    #[test]
    fn repetitions_answered_in_time_end_the_doubling_and_late_ones_do_not() {
        let config = Config::default();
        let mut c = steady(ms(300), &config);
        c.learn(ms(1500), ms(350));
        for second in 2..5 {
            c.timed_out(ms(1000 * second), ms(1000 * second - 10), false);
        }
        let doubled = config.min_rto * 4;
        assert_eq!(c.timeout(ms(5000), &config), doubled);
        for late in [100, 900, 4000] {
            c.acknowledged(ms(5000), RoundTrip::OfLastCopy(ms(late)), 99, &config);
            assert_eq!(c.timeout(ms(5000), &config), doubled, "{late}");
        }
        c.acknowledged(ms(5000), RoundTrip::OfLastCopy(ms(310)), 99, &config);
        assert_eq!(c.timeout(ms(5000), &config), config.min_rto);
    }

    #[test]
    fn a_loss_on_a_path_with_a_queue_or_without_answers_halves() {
        let config = Config { max_in_flight: 10, ..Config::default() };
        let mut queue = steady(ms(300), &config);
        for _ in 0..50 {
            queue.learn(ms(1500), ms(900));
        }
        queue.timed_out(ms(2000), ms(1500), false);
        assert_eq!(queue.window(), 5);
        let mut dead = steady(ms(300), &config);
        for round in 2..10 {
            dead.timed_out(ms(1000 * round), ms(1000 * round), false);
        }
        assert_eq!(dead.window(), 1);
        assert_eq!(dead.timeout(ms(10_000), &config), config.min_rto * 16);
    }

    #[test]
    fn the_window_stops_growing_where_it_only_fills_a_queue() {
        let config = Config { max_in_flight: 64, initial_window: 4, ..Config::default() };
        let mut c = Congestion::new(&config);
        for _ in 0..2000 {
            // A link that takes 50 ms a message behind 250 ms.
            let round_trip = ms(250).max(ms(50) * c.window());
            c.acknowledged(ms(1000), RoundTrip::Certain(round_trip), 99, &config);
        }
        // The mean lags behind the slow start a little.
        assert!((8..=13).contains(&c.window()), "5 on the link and some in its queue: {}", c.window());
    }

    #[test]
    fn a_path_that_becomes_longer_is_no_queue_for_ever() {
        let config = Config { max_in_flight: 16, ..Config::default() };
        let mut c = steady(ms(100), &config);
        c.timed_out(ms(2000), ms(1500), false);
        for second in 3..300 {
            c.acknowledged(ms(1000 * second), RoundTrip::Certain(ms(600)), 99, &config);
        }
        assert_eq!((c.queued(), c.window()), (0, 16));
    }

    #[test]
    fn a_window_that_is_hardly_used_does_not_grow() {
        let config = Config { max_in_flight: 16, initial_window: 4, ..Config::default() };
        let mut c = Congestion::new(&config);
        for _ in 0..100 {
            c.acknowledged(ms(1000), RoundTrip::Certain(ms(300)), 1, &config);
        }
        assert_eq!(c.window(), 4);
        c.acknowledged(ms(1000), RoundTrip::Certain(ms(300)), 2, &config);
        assert_eq!(c.window(), 5);
    }

    #[test]
    fn the_window_grows_slowly_after_a_loss_and_never_past_the_bound() {
        let config = Config { initial_window: 8, ..Config::default() };
        let mut c = Congestion::new(&config);
        c.timed_out(ms(2000), ms(0), false);
        for _ in 0..3 {
            c.acknowledged(ms(3000), RoundTrip::Unknown, 99, &config);
        }
        assert_eq!(c.window(), 4);
        c.acknowledged(ms(3000), RoundTrip::Unknown, 99, &config);
        assert_eq!(c.window(), 5);
        for _ in 0..100 {
            c.acknowledged(ms(3000), RoundTrip::Unknown, 99, &config);
        }
        assert_eq!(c.window(), config.max_in_flight);
    }
}
