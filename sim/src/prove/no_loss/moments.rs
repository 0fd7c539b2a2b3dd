//! When the daemon dies. Pure; the dice are seeded.

use std::time::Duration;

/// Seeded chance: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let n = self.0;
        let n = (n ^ n >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ n >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ n >> 31
    }

    /// A duration between the two, in milliseconds.
    pub(super) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from).max(1))
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// One death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// So long after exec, ready or not.
    StartUp(Duration),
    /// At once when it has said so many times that something new was accepted: nothing sharper can be asked of the promise.
    Answered(u64),
    /// With messages under way into a link that was cut, so long after the cut.
    InCut(Duration),
    /// When so many of its messages have come to the cloud: most of them are settled by then, and must not come again.
    AtWork(usize),
    /// So long after exec; the link is cut from, and back, at these times.
    AnyTime(Duration, Option<(Duration, Duration)>),
}

impl Moment {
    /// The death number `kill`. The first five are one of each kind, so that a short proof has them all.
    pub(super) fn of(kill: u32, dice: &mut Dice) -> Self {
        match kill % 5 {
            0 => Self::StartUp(dice.ms(0, 300)),
            1 => Self::Answered(dice.ms(1, 12).as_millis().try_into().unwrap_or(1)),
            2 => Self::InCut(dice.ms(600, 1400)),
            3 => Self::AtWork(dice.ms(12, 18).as_millis().try_into().unwrap_or(12)),
            _ => {
                let after = dice.ms(300, 3000);
                let cut = dice.one_in(3).then(|| {
                    let from = dice.ms(0, 1500);
                    (from, from + dice.ms(200, 2000))
                });
                Self::AnyTime(after, cut)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_kills_at_the_same_moments_and_another_does_not() {
        let moments = |seed| -> Vec<Moment> {
            let mut dice = Dice::new(seed);
            (0..40).map(|kill| Moment::of(kill, &mut dice)).collect()
        };
        assert_eq!(moments(1), moments(1));
        assert_ne!(moments(1), moments(2));
        assert!(moments(1).iter().any(|m| matches!(m, Moment::AnyTime(_, Some(_)))));
    }

    #[test]
    fn five_kills_have_one_of_each_kind() {
        let mut dice = Dice::new(3);
        let kinds = [0, 1, 2, 3, 4].map(|kill| std::mem::discriminant(&Moment::of(kill, &mut dice)));
        assert!((0..5).all(|a| (0..a).all(|b| kinds[a] != kinds[b])));
    }
}
