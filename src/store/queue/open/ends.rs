//! Where each class's segments end, and a look at those ends.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use super::super::segment::{self, Position};
use super::Opening;
use super::file::Failure;
use crate::reading::Class;

impl Opening<'_> {
    /// Where the next segment of each class goes.
    pub(super) fn next_segments(&self) -> Result<BTreeMap<Class, Position>, Failure> {
        let mut next = BTreeMap::new();
        for class in Class::ALL {
            let first = Position::first_of(class);
            let end = first.segment + (1 << 48) - 1;
            // An emptied class must not begin again at 1: a cursor remembers how far it got.
            let newest: Option<i64> = self.tx.query_row(
                "SELECT max(n) FROM (SELECT max(id) + 1 AS n FROM segments WHERE id >= ?1 AND id < ?2
                                     UNION ALL SELECT max(segment) FROM cursors WHERE class = ?3)",
                (first.segment, end, class as i64),
                |r| r.get(0),
            )?;
            next.insert(
                class,
                Position { segment: newest.unwrap_or(first.segment).max(first.segment), row: 0 },
            );
        }
        // A cursor may stand in the middle of the newest segment; the next one is after it either way.
        for (class, position) in &mut next {
            if position.class() != Some(*class) {
                return Err(Failure::Inconsistent(format!("a cursor of {} points elsewhere", class.name())));
            }
            let taken: Option<i64> = self
                .tx
                .query_row("SELECT id FROM segments WHERE id = ?1", [position.segment], |r| r.get(0))
                .optional()?;
            if taken.is_some() {
                *position = position.next_segment();
            }
        }
        Ok(next)
    }

    /// Decodes the first and the last segment of each class: the cheapest look that finds a file whose pages are gone.
    pub(super) fn check_ends(&self, next: &BTreeMap<Class, Position>) -> Result<(), Failure> {
        for (class, end) in next {
            let first = Position::first_of(*class).segment;
            for order in ["ASC", "DESC"] {
                let body: Option<Vec<u8>> = self
                    .tx
                    .query_row(
                        &format!(
                            "SELECT body FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id {order} LIMIT 1"
                        ),
                        (first, end.segment),
                        |r| r.get(0),
                    )
                    .optional()?;
                if let Some(body) = body {
                    segment::rows(&body)
                        .and_then(|mut rows| rows.try_for_each(|r| r.map(|_| ())))
                        .map_err(|e| Failure::Inconsistent(e.to_string()))?;
                }
            }
        }
        Ok(())
    }
}
