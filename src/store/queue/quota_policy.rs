//! Which class has to give readings up to stay within its own quota. Pure.
//!
//! A class's quota is a bound of its own below the file's: a class that talks too much loses its own oldest readings, and
//! pushes nobody else's out. The file as a whole is another matter ([`super::writer`]'s quota): there the least urgent go first.

use std::collections::BTreeMap;

use crate::reading::Class;

/// What a class may take of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassQuota {
    /// Readings.
    pub rows: Option<u64>,
    /// Bytes of packed readings.
    pub bytes: Option<u64>,
}

/// By class; a class that is not here has no bound of its own. Alarms are never given up, whatever stands here.
pub type ClassQuotas = BTreeMap<Class, ClassQuota>;

/// What a class takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassUse {
    /// Segments.
    pub segments: u64,
    /// Readings in them, those settled included as long as their segment stands.
    pub rows: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// The least urgent class above its quota, and how many of its oldest segments to give up so that it is a sixteenth below:
/// not at each commit anew. `None` when each is within.
#[must_use]
pub fn gives_up(quotas: &ClassQuotas, uses: &BTreeMap<Class, ClassUse>) -> Option<(Class, u64)> {
    quotas
        .iter()
        .rev()
        .filter(|(class, _)| **class != Class::Alarm)
        .find_map(|(class, quota)| Some((*class, segments_over(*quota, *uses.get(class)?)?)))
}

fn segments_over(quota: ClassQuota, used: ClassUse) -> Option<u64> {
    let over = |used: u64, quota: Option<u64>| {
        let quota = quota.filter(|quota| used > *quota)?;
        Some((used - (quota - quota / 16), used))
    };
    let share = [over(used.rows, quota.rows), over(used.bytes, quota.bytes)].into_iter().flatten();
    // Segments are taken to be alike; where they are not, the next look corrects it.
    share.map(|(too_many, all)| (used.segments * too_many).div_ceil(all).max(1)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn used(segments: u64, rows: u64, bytes: u64) -> ClassUse {
        ClassUse { segments, rows, bytes }
    }

    fn quota(rows: u64, bytes: u64) -> ClassQuota {
        ClassQuota { rows: Some(rows), bytes: Some(bytes) }
    }

    #[test]
    fn the_least_urgent_of_those_above_their_quota_goes_first_and_alarms_never() {
        let quotas = Class::ALL.into_iter().map(|class| (class, quota(1000, 1 << 20))).collect();
        let mut uses: BTreeMap<Class, ClassUse> =
            Class::ALL.into_iter().map(|class| (class, used(100, 2000, 100))).collect();
        let mut order = Vec::new();
        while let Some((class, _)) = gives_up(&quotas, &uses) {
            order.push(class);
            uses.insert(class, used(1, 10, 10));
        }
        assert_eq!(order, [Class::Diagnostics, Class::Telemetry, Class::State, Class::Event]);
    }

    #[test]
    fn a_class_without_a_quota_gives_nothing_up() {
        let quotas = ClassQuotas::from([(Class::State, ClassQuota::default())]);
        let uses = [Class::State, Class::Telemetry].map(|class| (class, used(9, u64::MAX / 64, 9))).into();
        assert_eq!(gives_up(&quotas, &uses), None);
    }

    proptest! {
        /// Giving up what is asked, again and again, ends within the quota, and never asks for more than there is.
        #[test]
        fn it_ends_within_the_quota(rows in 1u64..5000, bytes in 1u64..50_000, segments in 1u64..500, each in 1u64..60, size in 1u64..400) {
            let quotas = ClassQuotas::from([(Class::Telemetry, quota(rows, bytes))]);
            let mut left = segments;
            let mut steps = 0;
            let state = |n: u64| BTreeMap::from([(Class::Telemetry, used(n, n * each, n * size))]);
            while let Some((_, count)) = gives_up(&quotas, &state(left)) {
                prop_assert!(count >= 1 && count <= left, "{count} of {left}");
                left -= count;
                steps += 1;
            }
            prop_assert!(left * each <= rows && left * size <= bytes);
            prop_assert!(steps <= 1, "segments that are alike are seen through at once");
        }
    }
}
