//! A set of byte ranges: what of a body is still to be asked for.
//!
//! Invariant: the ranges are not empty, do not touch one another and are in order. There are never more of them than were
//! there at the start plus one for each block in flight.

use core::ops::Range;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Start to end.
    parts: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Everything below `size` that is in none of `have`.
    pub(super) fn without(size: u64, have: &[Range<u64>]) -> Ranges {
        let mut ranges = Ranges::default();
        ranges.add(0..size);
        for part in have {
            ranges.remove(part.clone());
        }
        ranges
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes in all.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|(start, end)| end - start).sum()
    }

    pub(super) fn first(&self) -> Option<Range<u64>> {
        self.parts.first_key_value().map(|(start, end)| *start..*end)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.parts.iter().map(|(start, end)| *start..*end)
    }

    /// Adds a range, joined with what it touches.
    pub(super) fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        let touched: Vec<u64> = self
            .parts
            .range(..=end)
            .rev()
            .take_while(|(_, other)| **other >= start)
            .map(|(at, _)| *at)
            .collect();
        for at in touched {
            if let Some(other) = self.parts.remove(&at) {
                start = start.min(at);
                end = end.max(other);
            }
        }
        self.parts.insert(start, end);
    }

    /// Takes a range out, wherever it overlaps.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let overlapping: Vec<(u64, u64)> = self
            .parts
            .range(..range.end)
            .rev()
            .take_while(|(_, end)| **end > range.start)
            .map(|(start, end)| (*start, *end))
            .collect();
        for (start, end) in overlapping {
            self.parts.remove(&start);
            self.add(start..range.start.max(start));
            self.add(range.end.min(end)..end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_had_already_is_not_missing() {
        let missing = Ranges::without(100, &[10..20, 15..30, 90..200, 50..50]);
        assert_eq!(missing.iter().collect::<Vec<_>>(), [0..10, 30..90]);
        assert_eq!(missing.bytes(), 70);
        assert!(Ranges::without(100, &[0..60, 60..100]).is_empty());
    }

    proptest! {
        /// Against a plain list of bytes.
        #[test]
        fn adding_and_removing_keep_a_set_of_bytes(
            steps in proptest::collection::vec((any::<bool>(), 0u64..60, 0u64..20), 0..30)
        ) {
            let mut ranges = Ranges::default();
            let mut model = [false; 80];
            for (add, start, len) in steps {
                let range = start..start + len;
                model.iter_mut().take(range.end as usize).skip(start as usize).for_each(|byte| *byte = add);
                if add { ranges.add(range) } else { ranges.remove(range) }
                let held: Vec<Range<u64>> = ranges.iter().collect();
                prop_assert!(held.iter().all(|part| part.start < part.end));
                prop_assert!(held.windows(2).all(|pair| pair[0].end < pair[1].start));
                let bytes: Vec<u64> = held.into_iter().flatten().collect();
                let right: Vec<u64> = (0..80).filter(|at| model[*at as usize]).collect();
                prop_assert_eq!(bytes, right);
            }
        }
    }
}
