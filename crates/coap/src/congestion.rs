//! How long to wait for an acknowledgement and how many requests may wait at once.
//!
//! The timeout is estimated as in RFC 6298, fed only by exchanges that were never retransmitted (Karn): an answer to a
//! repeated message says nothing about which copy it answers. A timeout doubles the estimate until the next such
//! sample, so a path slower than the estimate is still learned. The window grows by additive increase and halves on a
//! timeout, at most once for messages that were on the way together.

use core::time::Duration;

use crate::config::Config;

/// An estimate this old is no longer trusted to be shorter than the default: a cellular modem may have gone to sleep.
const TRUSTED_FOR: Duration = Duration::from_secs(60);
/// Doublings kept between messages.
const MAX_BACKOFF: u32 = 4;

#[derive(Debug)]
pub(crate) struct Congestion {
    smoothed: Option<Smoothed>,
    backoff: u32,
    window: u32,
    /// Below it the window grows by one a success, above it by one a window.
    threshold: u32,
    credit: u32,
    /// Messages sent before this moment have already been paid for by a reduction.
    reduced_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Smoothed {
    mean: Duration,
    deviation: Duration,
    at: Duration,
}

impl Congestion {
    pub(crate) fn new(config: &Config) -> Congestion {
        Congestion {
            smoothed: None,
            backoff: 0,
            window: config.initial_window.clamp(1, config.max_in_flight.max(1)),
            threshold: config.max_in_flight.max(1),
            credit: 0,
            reduced_at: None,
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

    /// A message was acknowledged; `sample` is its round trip when it was sent only once.
    pub(crate) fn acknowledged(&mut self, now: Duration, sample: Option<Duration>, config: &Config) {
        let max = config.max_in_flight.max(1);
        if self.window < self.threshold.min(max) {
            self.window += 1;
        } else if self.window < max {
            self.credit += 1;
            if self.credit >= self.window {
                self.credit = 0;
                self.window += 1;
            }
        }
        let Some(round_trip) = sample else { return };
        self.backoff = 0;
        self.smoothed = Some(match self.smoothed {
            None => Smoothed { mean: round_trip, deviation: round_trip / 2, at: now },
            Some(s) => Smoothed {
                deviation: s.deviation.saturating_mul(3).saturating_add(s.mean.abs_diff(round_trip)) / 4,
                mean: s.mean.saturating_mul(7).saturating_add(round_trip) / 8,
                at: now,
            },
        });
    }

    /// A message whose last copy left at `sent_at` was not acknowledged in time.
    pub(crate) fn timed_out(&mut self, now: Duration, sent_at: Duration) {
        if self.reduced_at.is_some_and(|reduced| sent_at < reduced) {
            return;
        }
        self.reduced_at = Some(now);
        self.threshold = (self.window / 2).max(1);
        self.window = self.threshold;
        self.credit = 0;
        self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
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
        c.acknowledged(ms(800), Some(ms(800)), &config);
        assert_eq!(c.timeout(ms(800), &config), ms(800 + 4 * 400));
        c.acknowledged(ms(1200), Some(ms(400)), &config);
        // deviation = 3/4 * 400 + 1/4 * |800 - 400| = 400; mean = 7/8 * 800 + 1/8 * 400 = 750
        assert_eq!(c.timeout(ms(1200), &config), ms(750 + 4 * 400));
    }

    #[test]
    fn an_ambiguous_acknowledgement_moves_neither_the_estimate_nor_the_backoff() {
        let config = floor_free();
        let mut c = Congestion::new(&config);
        c.timed_out(ms(2000), ms(0));
        let before = c.timeout(ms(2000), &config);
        assert_eq!(before, config.ack_timeout * 2);
        c.acknowledged(ms(2100), None, &config);
        assert_eq!(c.timeout(ms(2100), &config), before);
        c.acknowledged(ms(9000), Some(ms(5000)), &config);
        assert_eq!(c.timeout(ms(9000), &config), ms(15_000));
    }

    #[test]
    fn timeouts_stay_within_the_configured_bounds() {
        let config = Config::default();
        let mut c = Congestion::new(&config);
        c.acknowledged(ms(1), Some(ms(1)), &config);
        assert_eq!(c.timeout(ms(1), &config), config.min_rto);
        for round in 1..20 {
            c.timed_out(ms(round * 1000), ms(round * 1000));
        }
        assert!(c.timeout(ms(20_000), &config) <= config.max_rto);
        assert_eq!(c.window(), 1);
    }

    #[test]
    fn a_stale_short_estimate_is_not_trusted_and_a_long_one_is() {
        let config = Config::default();
        let mut c = Congestion::new(&config);
        c.acknowledged(ms(100), Some(ms(100)), &config);
        assert_eq!(c.timeout(ms(200), &config), config.min_rto);
        assert_eq!(c.timeout(ms(100_000), &config), config.ack_timeout);
        let mut slow = Congestion::new(&config);
        slow.acknowledged(ms(4000), Some(ms(4000)), &config);
        assert_eq!(slow.timeout(ms(100_000), &config), ms(12_000));
    }

    #[test]
    fn messages_lost_together_halve_the_window_once() {
        let config = Config { initial_window: 8, ..Config::default() };
        let mut c = Congestion::new(&config);
        for _ in 0..8 {
            c.timed_out(ms(2000), ms(0));
        }
        assert_eq!(c.window(), 4);
        c.timed_out(ms(6000), ms(2000));
        assert_eq!(c.window(), 2);
    }

    #[test]
    fn the_window_grows_slowly_after_a_loss_and_never_past_the_bound() {
        let config = Config { initial_window: 8, ..Config::default() };
        let mut c = Congestion::new(&config);
        c.timed_out(ms(2000), ms(0));
        for _ in 0..3 {
            c.acknowledged(ms(3000), None, &config);
        }
        assert_eq!(c.window(), 4);
        c.acknowledged(ms(3000), None, &config);
        assert_eq!(c.window(), 5);
        for _ in 0..100 {
            c.acknowledged(ms(3000), None, &config);
        }
        assert_eq!(c.window(), config.max_in_flight);
    }
}
