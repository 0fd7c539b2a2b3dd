//! The jitter source: SplitMix64 from the owner's seed. Spreads retransmissions; nothing secret is drawn from it.

use core::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// `base` times a factor drawn evenly between 1 and `percent / 100`.
    pub(crate) fn stretch(&mut self, base: Duration, percent: u32) -> Duration {
        let spread = base.saturating_mul(percent.saturating_sub(100)) / 100;
        let thousandths = (self.next() % 1001) as u32;
        base.saturating_add(spread.saturating_mul(thousandths) / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretching_stays_between_the_base_and_the_factor_and_uses_the_room() {
        let mut random = Random::new(7);
        let drawn: Vec<Duration> = (0..1000).map(|_| random.stretch(Duration::from_secs(2), 150)).collect();
        assert!(drawn.iter().all(|d| (Duration::from_secs(2)..=Duration::from_secs(3)).contains(d)));
        assert!(drawn.iter().any(|d| *d < Duration::from_millis(2100)));
        assert!(drawn.iter().any(|d| *d > Duration::from_millis(2900)));
    }
}
