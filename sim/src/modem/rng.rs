//! SplitMix64: all the chance a simulated modem has, from one seed.

#[derive(Clone, Debug)]
pub(super) struct Rng {
    state: u64,
}

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high.saturating_sub(low) + 1)
    }

    /// One step of a random walk of at most `step`, kept within `low` and `high`.
    pub(super) fn walk(&mut self, value: u8, step: u8, low: u8, high: u8) -> u8 {
        let up = self.between(0, 2 * u64::from(step));
        let moved = (u64::from(value) + up).saturating_sub(u64::from(step));
        u8::try_from(moved).unwrap_or(high).clamp(low, high)
    }
}
