//! One commit: everything that waits, in one transaction with one sync; then the answers. Or none of it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, Transaction};

use super::super::books::Changes;
use super::super::cursor::Cursor;
use super::super::drops::Drops;
use super::super::salvage;
use super::super::segment::{self, PackedRow, Position, SegmentBuilder};
use super::super::settle::{GivenUp, Outcome, SettledRow, Settlement};
use super::gaps::Made;
use super::{Accepted, DestinationId, Health, MEASURE_EVERY, Writer};
use crate::clock::Mono;
use crate::reading::{Class, StreamId};

/// As many readings are kept set aside; a drain that is refused more than a hundred an hour stops by itself.
const MAX_SET_ASIDE: i64 = if cfg!(test) { 8 } else { 8192 };

/// What a transaction takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything that waits.
    All,
    /// Answers and records; readings go on waiting.
    Books,
}

/// What a successful transaction changes in memory.
pub(super) struct Done {
    scope: Scope,
    changes: Changes,
    cursors: BTreeMap<(DestinationId, Class), Cursor>,
    next_segment: BTreeMap<Class, Position>,
    gap_rows: Made,
    announced: Vec<DestinationId>,
    forgotten: BTreeSet<DestinationId>,
}

impl Writer {
    /// Commits what waits. Afterwards nothing waits but settlements and gaps that the disk would not take.
    pub(super) fn commit(&mut self, now: Mono) {
        self.pack_latest();
        if self.nothing_waits() {
            // A window may have been opened by what is void or was forgotten since; it must not stay open for ever.
            (self.pending.since, self.pending.settlements_since) = (None, None);
            self.recover(now);
        } else if self.recover(now) {
            let mut done = self.transact(now, Scope::All);
            if let Err(error) = &done
                && self.cure(now, error)
            {
                done = self.transact(now, Scope::All);
            }
            match done {
                Ok(done) => self.succeed(now, done),
                Err(error) => self.fail(now, &error),
            }
        } else {
            self.refuse_waiting();
        }
        self.answer_flushes();
        self.tend_log(now);
        self.publish();
    }

    fn nothing_waits(&self) -> bool {
        self.pending.captures.is_empty()
            && self.pending.settlements.is_empty()
            && self.pending.told.is_empty()
            && self.pending.wall.is_none()
            && self.gaps.is_clean()
    }

    pub(super) fn transact(&mut self, now: Mono, scope: Scope) -> rusqlite::Result<Done> {
        let mut connection = self.disk.take()?;
        let result = connection.transaction().and_then(|tx| {
            let done = self.write(&tx, now, scope)?;
            tx.commit()?;
            Ok(done)
        });
        self.disk = super::Disk::Open(connection);
        self.has_committed |= result.is_ok();
        result
    }

    fn write(&mut self, tx: &Transaction<'_>, now: Mono, scope: Scope) -> rusqlite::Result<Done> {
        let mut changes = Changes::default();
        // First what frees room: in a file at its limit the rest needs it.
        let mut cursors = BTreeMap::new();
        let (mut announced, mut forgotten) = (Vec::new(), BTreeSet::new());
        let mut drops = Drops::default();
        for settlement in &self.pending.settlements {
            let written =
                self.write_settlement(tx, settlement, &mut changes, &mut cursors, &mut drops, now)?;
            if !written {
                forgotten.insert(settlement.destination);
            }
            if settlement.announces_epoch && settlement.outcome == Outcome::Acknowledged {
                tx.execute(
                    "UPDATE destinations SET announced_epoch = ?2 WHERE id = ?1",
                    (settlement.destination.0, self.epoch_number),
                )?;
                announced.push(settlement.destination);
            }
        }
        if !crate::sabotage::on("forget-settlements") {
            self.write_cursors(tx, &cursors)?;
        }
        changes.drop_all(&self.books, &drops);
        drops.write(tx, self.epoch_number, now)?;
        self.write_told(tx)?;
        let mut next_segment = self.next_segment.clone();
        if scope == Scope::All {
            self.write_readings(tx, &mut next_segment, &mut changes)?;
        }
        let gap_rows = self.gaps.write(tx, &self.books, &mut changes)?;
        if let Some(claim) = &self.pending.wall {
            self.write_wall(tx, claim)?;
        }
        if self.definitions_due && scope == Scope::All {
            salvage::keep_copy(tx, &self.definitions)?;
        }
        changes.write(tx)?;
        Ok(Done { scope, changes, cursors, next_segment, gap_rows, announced, forgotten })
    }

    fn write_readings(
        &mut self,
        tx: &Transaction<'_>,
        next_segment: &mut BTreeMap<Class, Position>,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        for ((class, routes), builder) in &mut self.pending.segments {
            // Without routes nobody is to be sent them: accepted and done.
            if builder.rows() == 0 || *routes == 0 {
                continue;
            }
            let (rows, first, body) = builder.finish();
            let place = next_segment.entry(*class).or_insert_with(|| Position::first_of(*class));
            tx.prepare_cached(
                "INSERT INTO segments (id, epoch, routes, rows, first_mono_us, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                place.segment,
                self.epoch_number,
                *routes,
                rows,
                (first.0 / 1000).cast_signed(),
                body,
            ))?;
            *place = place.next_segment();
        }
        for (stream, (count, newest)) in self.streams.iter().zip(&self.pending.intake) {
            if *count == 0 {
                continue;
            }
            let intake = changes.intake(&self.books, stream.id);
            intake.accepted += count;
            intake.epoch = self.epoch_number;
            intake.last_sequence = *newest;
        }
        Ok(())
    }

    /// Tells whether there was a place for it: if not, its drain has to begin anew.
    fn write_settlement(
        &self,
        tx: &Transaction<'_>,
        settlement: &Settlement,
        changes: &mut Changes,
        cursors: &mut BTreeMap<(DestinationId, Class), Cursor>,
        drops: &mut Drops,
        now: Mono,
    ) -> rusqlite::Result<bool> {
        let key = (settlement.destination, settlement.class);
        let Some(known) = self.cursors.get(&key) else { return Ok(true) };
        let cursor = cursors.entry(key).or_insert_with(|| known.clone());
        // A quota may have dropped some of them while the message was under way.
        let fresh: Vec<SettledRow> =
            settlement.rows.iter().copied().filter(|row| !cursor.is_settled(row.position)).collect();
        let given_up: Vec<&GivenUp> =
            settlement.given_up.iter().filter(|g| !cursor.is_settled(g.row.position)).collect();
        if cursor.settle(settlement.from, settlement.to).is_err() {
            tracing::error!(
                destination = settlement.destination.0,
                "too many open ranges; an answer is forgotten, and what it was about is sent again"
            );
            return Ok(false);
        }
        // What was sent before these and is still under way stands between them and what another answer gave up.
        drops.look_anew(settlement.destination);
        drop_rows(drops, settlement, &fresh, &given_up);
        for (stream, count) in by_stream(&fresh) {
            let account = changes.account(&self.books, settlement.destination, stream);
            match &settlement.outcome {
                Outcome::Acknowledged => account.acknowledged += count,
                // Counted with all that this transaction drops.
                Outcome::Dropped(_) => {}
                Outcome::SetAside(_) => account.set_aside += count,
            }
        }
        if let Outcome::SetAside(reason) = &settlement.outcome {
            for row in fresh {
                self.write_set_aside(tx, settlement.destination, row, reason, now)?;
            }
            self.keep_set_aside(tx, changes, drops)?;
        }
        Ok(true)
    }

    /// What is set aside for people is kept to a number: beyond it the oldest is given up, on record.
    fn keep_set_aside(
        &self,
        tx: &Transaction<'_>,
        changes: &mut Changes,
        drops: &mut Drops,
    ) -> rusqlite::Result<()> {
        let count: i64 = tx.query_row("SELECT count(*) FROM set_aside", [], |r| r.get(0))?;
        let mut oldest = tx.prepare_cached(
            "DELETE FROM set_aside WHERE id IN (SELECT id FROM set_aside ORDER BY id LIMIT ?1)
             RETURNING destination, stream, epoch, sequence",
        )?;
        let mut oldest = oldest.query([(count - MAX_SET_ASIDE).max(0)])?;
        while let Some(row) = oldest.next()? {
            let (destination, stream) = (DestinationId(row.get(0)?), StreamId(row.get(1)?));
            let sequence: i64 = row.get(3)?;
            // One after the other set aside is not one after the other captured.
            drops.kept(destination, stream);
            drops.add(destination, stream, "set_aside_limit", row.get(2)?, sequence.cast_unsigned());
            let account = changes.account(&self.books, destination, stream);
            account.set_aside = account.set_aside.saturating_sub(1);
        }
        Ok(())
    }

    fn write_set_aside(
        &self,
        tx: &Transaction<'_>,
        destination: DestinationId,
        row: SettledRow,
        reason: &str,
        now: Mono,
    ) -> rusqlite::Result<()> {
        let found: Option<(i64, Vec<u8>)> = tx
            .query_row("SELECT epoch, body FROM segments WHERE id = ?1", [row.position.segment], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })
            .optional()?;
        // A body that does not read leaves an empty one behind: the reading is counted, and seen to be unreadable.
        let (epoch, body) = found.unwrap_or((self.epoch_number, Vec::new()));
        let packed: Option<PackedRow> = segment::rows(&body)
            .ok()
            .and_then(|rows| rows.flatten().find(|packed| packed.index == row.position.row));
        let (sequence, at) = packed.as_ref().map_or((0, Mono::default()), |p| (p.sequence, p.at));
        let mut one = SegmentBuilder::default();
        one.push(at, sequence, packed.iter().map(|p| &p.sample));
        let (_, _, one) = one.finish();
        tx.execute(
            "INSERT INTO set_aside (destination, stream, epoch, sequence, mono_ns, body, reason, at_mono_ns)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            (
                destination.0,
                row.stream.0,
                epoch,
                sequence.cast_signed(),
                at.0.cast_signed(),
                one,
                reason,
                now.0.cast_signed(),
            ),
        )?;
        Ok(())
    }

    /// Writes moved cursors and frees the segments that every destination they were routed to has passed.
    pub(super) fn write_cursors(
        &self,
        tx: &Transaction<'_>,
        moved: &BTreeMap<(DestinationId, Class), Cursor>,
    ) -> rusqlite::Result<()> {
        for ((destination, class), cursor) in moved {
            let at = cursor.position();
            tx.prepare_cached(
                "UPDATE cursors SET segment = ?3, row = ?4, islands = ?5 WHERE destination = ?1 AND class = ?2",
            )?
            .execute((destination.0, *class as i64, at.segment, at.row, cursor.islands_to_bytes()))?;
            let before =
                self.cursors.get(&(*destination, *class)).map_or(at.segment, |c| c.position().segment);
            self.free(tx, *class, before, at.segment, moved)?;
        }
        Ok(())
    }

    fn free(
        &self,
        tx: &Transaction<'_>,
        class: Class,
        from: i64,
        to: i64,
        moved: &BTreeMap<(DestinationId, Class), Cursor>,
    ) -> rusqlite::Result<()> {
        if from >= to {
            return Ok(());
        }
        let mut behind = 0i64;
        let mut straddled = false;
        for (destination, _) in &self.destinations {
            let key = (*destination, class);
            if let Some(cursor) = moved.get(&key).or_else(|| self.cursors.get(&key)) {
                let at = cursor.position().segment;
                if at < to {
                    behind |= destination.bit();
                    straddled |= at > from;
                }
            }
        }
        // Common case first: whoever is behind is behind all of it.
        if !straddled {
            tx.prepare_cached("DELETE FROM segments WHERE id >= ?1 AND id < ?2 AND routes & ?3 = 0")?
                .execute((from, to, behind))?;
            return Ok(());
        }
        for segment in from..to {
            let mut still = 0i64;
            for (destination, _) in &self.destinations {
                let key = (*destination, class);
                let at = moved.get(&key).or_else(|| self.cursors.get(&key)).map(|c| c.position().segment);
                if at.is_some_and(|at| at <= segment) {
                    still |= destination.bit();
                }
            }
            tx.prepare_cached("DELETE FROM segments WHERE id = ?1 AND routes & ?2 = 0")?
                .execute((segment, still))?;
        }
        Ok(())
    }

    pub(super) fn succeed(&mut self, now: Mono, done: Done) {
        self.tally.apply(&self.books, &done.changes, &self.destinations);
        done.changes.apply(&mut self.books);
        self.cursors.extend(done.cursors);
        self.next_segment = done.next_segment;
        self.gaps.written(done.gap_rows);
        for destination in done.announced {
            self.announced.insert(destination, self.epoch_number);
        }
        self.forgetting.extend(done.forgotten);
        // Only now: whoever reads the file again finds all that was not forgotten.
        for destination in std::mem::take(&mut self.forgetting) {
            *self.forgotten.entry(destination).or_default() += 1;
        }
        if let Some(claim) = self.pending.wall.take() {
            let wrong = self.wall.is_some_and(|known| known.contradicts(&claim, claim.at));
            self.corrections += u64::from(wrong);
            self.wall = Some(claim);
            self.undated = 0;
        }
        let freed = !self.pending.settlements.is_empty();
        self.pending.settlements.clear();
        self.pending.told.clear();
        self.pending.settlements_since = None;
        if done.scope == Scope::All {
            self.accepted(now);
        }
        self.unmeasured += 1;
        if freed || self.unmeasured >= MEASURE_EVERY || self.is_over_quota() {
            self.measure();
        }
        self.keep_quota(now);
    }

    /// What waited is on disk: everyone is told, and the store is well.
    fn accepted(&mut self, now: Mono) {
        for (group, (count, newest)) in self.group_places.iter().zip(&self.pending.intake) {
            if *count > 0 {
                self.tally.accepted(*group, *newest);
            }
        }
        self.last_commit = self.pending.since.map_or(self.last_commit, |since| now.since(since));
        self.health = Health::Good;
        self.definitions_due = false;
        self.doubts = 0;
        self.pending.retry_at = None;
        for waiting in self.pending.captures.drain(..) {
            let accepted = Accepted {
                epoch: self.options.epoch,
                sequence: waiting.sequence,
                accepted: waiting.accepted,
                refused: waiting.refused,
                first_refused: waiting.first_refused,
                coalesced: waiting.coalesced,
            };
            // The lane may have been restarted meanwhile; what it handed in is accepted all the same.
            let _ = waiting.reply.send(Ok(accepted));
        }
        self.used_bytes += self.clear_waiting();
    }

    /// Empties what waited to be accepted, keeping every allocation. Returns how many bytes it was.
    pub(super) fn clear_waiting(&mut self) -> u64 {
        let mut bytes = 0;
        for builder in self.pending.segments.values_mut() {
            bytes += builder.bytes() as u64;
            builder.clear();
        }
        for (count, _) in &mut self.pending.intake {
            *count = 0;
        }
        self.pending.captures.clear();
        self.pending.streams.clear();
        self.pending.rows = 0;
        self.pending.since = None;
        bytes
    }

    fn answer_flushes(&mut self) {
        for flush in self.pending.flushes.drain(..) {
            let _ = flush.send(self.health.clone());
        }
    }
}

/// Which of a settlement's readings are lost, in the order of the queue: what was sent and what was not stand side by side.
fn drop_rows(drops: &mut Drops, settlement: &Settlement, rows: &[SettledRow], given_up: &[&GivenUp]) {
    let reason = match settlement.outcome {
        Outcome::Dropped(reason) => Some(reason),
        Outcome::Acknowledged | Outcome::SetAside(_) => None,
    };
    let mut all: Vec<(&SettledRow, Option<&'static str>)> = rows.iter().map(|row| (row, reason)).collect();
    all.extend(given_up.iter().map(|given_up| (&given_up.row, Some(given_up.reason))));
    all.sort_unstable_by_key(|(row, _)| row.position);
    for (row, reason) in all {
        let (destination, stream) = (settlement.destination, row.stream);
        match reason {
            Some(reason) => drops.add(destination, stream, reason, row.epoch, row.sequence),
            None => drops.kept(destination, stream),
        }
    }
}

fn by_stream(rows: &[SettledRow]) -> BTreeMap<StreamId, u64> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row.stream).or_default() += 1;
    }
    counts
}
