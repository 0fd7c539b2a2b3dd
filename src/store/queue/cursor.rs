//! What one destination has settled of one class: everything before a position, and islands beyond it.
//!
//! Outcomes arrive in any order. A range that begins where the cursor stands moves it, swallowing islands it then touches;
//! any other range becomes an island. Invariant: islands are disjoint, do not touch each other or the cursor, are sorted,
//! and number at most [`MAX_ISLANDS`], because a drain has fewer messages in flight and leaves fewer stretches for later.

use super::segment::Position;

/// More islands than this cannot arise from what a drain does; a file that says so is damaged.
pub const MAX_ISLANDS: usize = 256;

/// The settled part of a (destination, class) queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    at: Position,
    islands: Vec<(Position, Position)>,
}

/// The range could not be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_ISLANDS} settled ranges beyond the cursor")]
pub struct TooManyIslands;

impl Cursor {
    /// Nothing before `at` is this destination's business; nothing after it is settled.
    #[must_use]
    pub fn starting_at(at: Position) -> Self {
        Self { at, islands: Vec::new() }
    }

    /// Everything before this is settled.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// How many settled ranges there are beyond the position.
    #[must_use]
    pub fn islands(&self) -> usize {
        self.islands.len()
    }

    /// Whether the reading at `position` is settled.
    #[must_use]
    pub fn is_settled(&self, position: Position) -> bool {
        position < self.at || self.islands.iter().any(|(from, to)| (*from..*to).contains(&position))
    }

    /// What of it lies from `from` on and before `to`: two cursors that are equal there settle the same positions there.
    #[must_use]
    pub fn within(&self, from: Position, to: Position) -> Self {
        let cut = |at: Position| at.clamp(from, to);
        let islands = self.islands.iter().map(|(a, b)| (cut(*a), cut(*b))).filter(|(a, b)| a < b).collect();
        Self { at: cut(self.at), islands }
    }

    /// Marks `from..to` settled. Parts that already are stay so.
    ///
    /// # Errors
    /// [`TooManyIslands`]; the cursor is then unchanged.
    pub fn settle(&mut self, from: Position, to: Position) -> Result<(), TooManyIslands> {
        if to <= from {
            return Ok(());
        }
        if from > self.at && self.islands.len() >= MAX_ISLANDS {
            return Err(TooManyIslands);
        }
        let (mut from, mut to) = (from, to);
        self.islands.retain(|&(a, b)| {
            let touches = a <= to && from <= b;
            if touches {
                from = from.min(a);
                to = to.max(b);
            }
            !touches
        });
        if from <= self.at {
            self.at = self.at.max(to);
        } else {
            let place = self.islands.partition_point(|&(a, _)| a < from);
            self.islands.insert(place, (from, to));
        }
        Ok(())
    }

    /// Islands as bytes for their column: four little-endian numbers each.
    #[must_use]
    pub fn islands_to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.islands.len() * 24);
        for (from, to) in &self.islands {
            for end in [from, to] {
                bytes.extend_from_slice(&end.segment.to_le_bytes());
                bytes.extend_from_slice(&end.row.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads what [`Cursor::islands_to_bytes`] wrote; `None` when it is not that, or not all of one class.
    #[must_use]
    pub fn from_parts(at: Position, islands: &[u8]) -> Option<Self> {
        let (pairs, rest) = islands.as_chunks::<24>();
        if !rest.is_empty() || pairs.len() > MAX_ISLANDS {
            return None;
        }
        let class = at.class()?;
        let end = |bytes: &[u8]| -> Option<Position> {
            let end = Position {
                segment: i64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
                row: u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?),
            };
            (end.class() == Some(class)).then_some(end)
        };
        let mut cursor = Self::starting_at(at);
        for pair in pairs {
            cursor.settle(end(&pair[..12])?, end(&pair[12..])?).ok()?;
        }
        Some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn p(n: u32) -> Position {
        Position { segment: i64::from(n / 10), row: n % 10 }
    }

    proptest! {
        /// Against a model: a set of settled positions.
        #[test]
        fn ranges_in_any_order_settle_exactly_their_union(
            ranges in prop::collection::vec((0u32..100, 0u32..12), 0..40),
        ) {
            let mut cursor = Cursor::starting_at(p(5));
            let mut model: BTreeSet<u32> = (0..5).collect();
            for (from, len) in ranges {
                cursor.settle(p(from), p(from + len)).unwrap();
                model.extend(from..from + len);
                let again = Cursor::from_parts(cursor.position(), &cursor.islands_to_bytes()).unwrap();
                prop_assert_eq!(&again, &cursor);
            }
            for n in 0..120 {
                prop_assert_eq!(cursor.is_settled(p(n)), model.contains(&n), "position {}", n);
            }
            let first_open = (0..).find(|n| !model.contains(n)).unwrap();
            prop_assert_eq!(cursor.position(), p(first_open));
        }

        #[test]
        fn cursors_that_are_equal_within_a_range_settle_the_same_there_and_others_do_not(
            a in prop::collection::vec((0u32..60, 0u32..12), 0..8),
            b in prop::collection::vec((0u32..60, 0u32..12), 0..8),
            (from, len) in (0u32..60, 0u32..40),
        ) {
            let cursor = |ranges: &[(u32, u32)]| {
                let mut cursor = Cursor::starting_at(p(0));
                ranges.iter().for_each(|(from, len)| cursor.settle(p(*from), p(from + len)).unwrap());
                cursor
            };
            let (a, b) = (cursor(&a), cursor(&b));
            let same = (from..from + len).all(|n| a.is_settled(p(n)) == b.is_settled(p(n)));
            let within = |c: &Cursor| c.within(p(from), p(from + len));
            if within(&a) == within(&b) {
                prop_assert!(same);
            }
            if !same {
                prop_assert_ne!(within(&a), within(&b));
            }
        }

        #[test]
        fn any_bytes_are_islands_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(cursor) = Cursor::from_parts(p(0), &bytes) {
                prop_assert!(cursor.islands.windows(2).all(|w| w[0].1 < w[1].0));
            }
        }
    }

    #[test]
    fn more_islands_than_messages_in_flight_are_refused_and_change_nothing() {
        let mut cursor = Cursor::starting_at(p(0));
        for n in 0..MAX_ISLANDS as u32 {
            cursor.settle(p(10 + n * 2), p(11 + n * 2)).unwrap();
        }
        let before = cursor.clone();
        assert_eq!(cursor.settle(p(9000), p(9001)), Err(TooManyIslands));
        assert_eq!(cursor, before);
    }
}
