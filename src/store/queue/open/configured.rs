//! What the configuration changed since the last start: destinations and streams that came, changed or went, and routes.
//!
//! Nothing is lost in silence by it: what waited for a destination that is gone is a recorded drop, a changed stream is
//! a new row beside the old one, and an account that is interrupted and goes on counts only what was meant for it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::super::books::{Account, Books, Changes};
use super::super::cursor::Cursor;
use super::super::drops::Drops;
use super::super::segment::Position;
use super::super::writer::StreamRow;
use super::super::{DestinationId, streams};
use super::file::Failure;
use super::{Opening, StreamSpec};
use crate::reading::{Class, StreamId};

/// As many destinations have a number at a time: each is a bit in a segment's routes.
const DESTINATIONS: u8 = 62;

impl Opening<'_> {
    /// The configured destinations' numbers; and whether one that was there until now is not among them.
    pub(super) fn destinations(
        &self,
        books: &mut Books,
        epoch: i64,
    ) -> Result<(Vec<(DestinationId, String)>, bool), Failure> {
        let mut known: Vec<(u8, String, bool)> = Vec::new();
        let mut rows = self.tx.prepare("SELECT id, name, removed FROM destinations ORDER BY id")?;
        for row in rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))? {
            known.push(row?);
        }
        let mut current = Vec::new();
        for spec in &self.options.destinations {
            let id = match known.iter().find(|(_, name, _)| *name == spec.name) {
                Some((id, _, removed)) => {
                    if *removed {
                        self.tx.execute("UPDATE destinations SET removed = 0 WHERE id = ?1", [id])?;
                    }
                    *id
                }
                None => {
                    let id = self
                        .kept
                        .and_then(|kept| kept.destinations.iter().find(|(_, name)| *name == spec.name))
                        .map(|(id, _)| id.0)
                        .or_else(|| (0..DESTINATIONS).find(|id| known.iter().all(|(k, ..)| k != id)));
                    let id = match id {
                        Some(id) => id,
                        None => self.forget_removed(&mut known, books)?,
                    };
                    self.tx
                        .execute("INSERT INTO destinations (id, name) VALUES (?1, ?2)", (id, &spec.name))?;
                    known.push((id, spec.name.clone(), false));
                    id
                }
            };
            current.push((DestinationId(id), spec.name.clone()));
        }
        let mut one_is_gone = false;
        for (id, name, removed) in known {
            if !removed && current.iter().all(|(d, _)| d.0 != id) {
                self.remove_destination(DestinationId(id), &name, books, epoch)?;
                one_is_gone = true;
            }
        }
        Ok((current, one_is_gone))
    }

    /// Frees the number of a destination that is gone: its books go with it, no segment waits for it any more.
    fn forget_removed(&self, known: &mut Vec<(u8, String, bool)>, books: &mut Books) -> Result<u8, Failure> {
        let wanted = |name: &str| self.options.destinations.iter().any(|spec| spec.name == name);
        let gone = known.iter().position(|(_, name, removed)| *removed && !wanted(name)).ok_or_else(|| {
            Failure::Impossible(format!(
                "more than {DESTINATIONS} destinations are configured, or were until now. Remove some and start again"
            ))
        })?;
        let (id, name, _) = known.remove(gone);
        tracing::warn!(destination = name, "its number is given to another; its closed account is forgotten");
        for table in ["accounts", "drops", "set_aside", "cursors", "told"] {
            self.tx.execute(&format!("DELETE FROM {table} WHERE destination = ?1"), [id])?;
        }
        self.tx.execute("DELETE FROM destinations WHERE id = ?1", [id])?;
        books.accounts.retain(|(destination, _), _| destination.0 != id);
        Arc::make_mut(&mut books.given_up).retain(|(destination, _), _| destination.0 != id);
        Ok(id)
    }

    /// What was still queued for a destination that is gone is a recorded drop.
    fn remove_destination(
        &self,
        destination: DestinationId,
        name: &str,
        books: &mut Books,
        epoch: i64,
    ) -> Result<(), Failure> {
        tracing::warn!(
            destination = name,
            "destination is no longer configured; what was queued for it is dropped"
        );
        self.tx.execute("UPDATE destinations SET removed = 1 WHERE id = ?1", [destination.0])?;
        self.tx.execute("DELETE FROM cursors WHERE destination = ?1", [destination.0])?;
        let (mut changes, mut drops) = (Changes::default(), Drops::default());
        let accounts: Vec<(StreamId, Account)> = books
            .accounts
            .iter()
            .filter(|((d, _), _)| *d == destination)
            .map(|((_, stream), account)| (*stream, *account))
            .collect();
        for (stream, account) in accounts {
            let intake = books.intake.get(&stream).copied().unwrap_or_default();
            let queued = account.queued(&intake);
            changes.account(books, destination, stream).ended_at.get_or_insert(intake.accepted);
            if queued > 0 {
                // Their sequences stand in the backlog, which opening does not read; there is nobody to tell them to.
                drops.add_sum(destination, stream, "destination_removed", queued);
            }
        }
        changes.drop_all(books, &drops);
        drops.write(self.tx, epoch, self.now)?;
        changes.write(self.tx)?;
        changes.apply(books);
        Ok(())
    }

    pub(super) fn cursors(
        &self,
        destinations: &[(DestinationId, String)],
        next: &BTreeMap<Class, Position>,
    ) -> Result<BTreeMap<(DestinationId, Class), Cursor>, Failure> {
        let mut cursors = BTreeMap::new();
        let mut rows = self.tx.prepare("SELECT destination, class, segment, row, islands FROM cursors")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let destination = DestinationId(row.get(0)?);
            let class = Class::from_number(row.get(1)?)
                .ok_or_else(|| Failure::Inconsistent("a cursor of an unknown class".into()))?;
            let at = Position { segment: row.get(2)?, row: row.get(3)? };
            let islands: Vec<u8> = row.get(4)?;
            let cursor = Cursor::from_parts(at, &islands)
                .filter(|_| at.class() == Some(class))
                .ok_or_else(|| Failure::Inconsistent("a cursor whose islands do not read".into()))?;
            cursors.insert((destination, class), cursor);
        }
        for (destination, _) in destinations {
            for class in Class::ALL {
                let start = next.get(&class).copied().unwrap_or_else(|| Position::first_of(class));
                if let Entry::Vacant(new) = cursors.entry((*destination, class)) {
                    // A new destination begins with what is accepted from now on.
                    self.tx.execute(
                        "INSERT INTO cursors (destination, class, segment, row, islands) VALUES (?1, ?2, ?3, 0, x'')",
                        (destination.0, class as i64, start.segment),
                    )?;
                    new.insert(Cursor::starting_at(start));
                }
            }
        }
        Ok(cursors)
    }

    pub(super) fn streams(
        &self,
        books: &mut Books,
        destinations: &[(DestinationId, String)],
    ) -> Result<Vec<StreamRow>, Failure> {
        self.tx.execute("UPDATE streams SET current = 0 WHERE current = 1", [])?;
        let mut changes = Changes::default();
        let mut rows = Vec::with_capacity(self.options.streams.len());
        for (n, spec) in self.options.streams.iter().enumerate() {
            let id = self.stream_id(spec, self.kept.and_then(|k| k.streams.get(n)).map(|s| s.id))?;
            let mut routes = 0;
            for (destination, name) in destinations {
                let routed = spec.routes.contains(name);
                if routed {
                    routes |= destination.bit();
                }
                self.reroute(books, &mut changes, *destination, id, routed);
            }
            rows.push(StreamRow {
                id,
                class: spec.class,
                routes,
                group: spec.group.clone(),
                latest_only: spec.latest_only,
            });
        }
        // A stream that left the configuration is captured no more; what it has queued is still sent.
        changes.write(self.tx)?;
        changes.apply(books);
        Ok(rows)
    }

    fn reroute(
        &self,
        books: &Books,
        changes: &mut Changes,
        d: DestinationId,
        stream: StreamId,
        routed: bool,
    ) {
        let accepted = books.intake.get(&stream).map_or(0, |i| i.accepted);
        match (books.accounts.get(&(d, stream)), routed) {
            (None, true) => changes.account(books, d, stream).starts_at = accepted,
            (Some(Account { ended_at: Some(ended), .. }), true) => {
                let account = changes.account(books, d, stream);
                account.starts_at += accepted.saturating_sub(*ended);
                account.ended_at = None;
            }
            (Some(Account { ended_at: None, .. }), false) => {
                changes.account(books, d, stream).ended_at = Some(accepted);
            }
            _ => {}
        }
    }

    fn stream_id(&self, spec: &StreamSpec, kept: Option<StreamId>) -> Result<StreamId, Failure> {
        let info = spec.info();
        match streams::find(self.tx, &info)? {
            Some(id) => {
                self.tx.prepare_cached("UPDATE streams SET current = 1 WHERE id = ?1")?.execute([id.0])?;
                Ok(id)
            }
            None => Ok(streams::define(self.tx, &info, true, kept)?),
        }
    }

    /// Frees segments that nobody configured is still to be sent, after a destination went: the one look at the whole
    /// backlog, and only then. At any other start there are none: what frees a segment is written in the transaction
    /// that moves the last cursor beyond it.
    pub(super) fn sweep(
        &self,
        destinations: &[(DestinationId, String)],
        cursors: &BTreeMap<(DestinationId, Class), Cursor>,
    ) -> Result<(), Failure> {
        for class in Class::ALL {
            let first = Position::first_of(class).segment;
            let end = first + (1 << 48) - 1;
            let passed: Vec<i64> = destinations
                .iter()
                .map(|(d, _)| cursors.get(&(*d, class)).map_or(first, |c| c.position().segment))
                .collect();
            let mut condition = String::new();
            for ((destination, _), at) in destinations.iter().zip(&passed) {
                use std::fmt::Write as _;
                // Numbers of our own making: nothing to escape.
                let _ = write!(condition, " AND (routes & {} = 0 OR id < {at})", destination.bit());
            }
            self.tx.execute(
                &format!("DELETE FROM segments WHERE id >= ?1 AND id < ?2{condition}"),
                (first, end),
            )?;
        }
        Ok(())
    }
}
