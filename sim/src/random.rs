//! All chance of the simulator, from seeds: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
//!
//! The same seed gives the same numbers on every machine. Nothing here is a secret; random bytes that must look strong to
//! a DTLS library are the cloud's own.

/// What each step adds: the golden ratio, as 64 bits.
pub const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A stream of random numbers that follows from its seed.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, of all.
    pub fn number(&mut self) -> u64 {
        let number = mix(self.state);
        self.state = self.state.wrapping_add(STEP);
        number
    }

    /// From 0 up to, not including, 1.
    pub fn fraction(&mut self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % high.saturating_sub(low).saturating_add(1)
    }

    /// From 0 up to, not including, `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n.max(1)
    }

    /// A place in a list of `n`.
    pub fn place(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The first number of the stream of seed `n`: every bit of the input moves every bit of the output.
#[must_use]
pub fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(STEP);
    let n = (n ^ n >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ n >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ n >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference_implementation() {
        let mut dice = Dice::new(1_234_567);
        let numbers = [(); 3].map(|()| dice.number());
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn bounds_are_kept() {
        let mut dice = Dice::new(1);
        let numbers: Vec<u64> = (0..1000).map(|_| dice.between(3, 5)).collect();
        assert!([3, 4, 5].iter().all(|n| numbers.contains(n)) && numbers.iter().all(|n| (3..=5).contains(n)));
        assert!((0..1000).map(|_| dice.fraction()).all(|f| (0.0..1.0).contains(&f)));
        assert_eq!(dice.between(7, 7), 7);
    }
}
