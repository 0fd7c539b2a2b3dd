//! When the daemon dies. Pure; the dice are seeded.

use std::time::Duration;

use crate::random::Dice;

/// A duration from `from` up to, not including, `to`, in milliseconds.
pub(super) fn ms(dice: &mut Dice, from: u64, to: u64) -> Duration {
    Duration::from_millis(dice.between(from, to - 1))
}

/// One death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// So long after exec, ready or not.
    StartUp(Duration),
    /// At once when it has said so many times that something new was accepted: nothing sharper can be asked of the promise.
    Answered(u64),
    /// With messages under way into a link that was cut, so long after the first of them: nothing is settled meanwhile, so only
    /// the commit window brings what was said to disk, and a commit that is late is caught.
    InCut(Duration),
    /// When so many of its messages have come to the cloud: most of them are settled by then, and must not come again.
    AtWork(u64),
    /// So long after exec; the link is cut from, and back, at these times.
    AnyTime(Duration, Option<(Duration, Duration)>),
}

impl Moment {
    /// The death number `kill`. The first five are one of each kind, so that a short proof has them all.
    pub(super) fn of(kill: u32, dice: &mut Dice) -> Self {
        match kill % 5 {
            0 => Self::StartUp(ms(dice, 0, 300)),
            1 => Self::Answered(dice.between(1, 11)),
            2 => Self::InCut(ms(dice, 1500, 3000)),
            3 => Self::AtWork(dice.between(14, 18)),
            _ => {
                let after = ms(dice, 300, 3000);
                let cut = (dice.between(0, 2) == 0).then(|| {
                    let from = ms(dice, 0, 1500);
                    (from, from + ms(dice, 200, 2000))
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
