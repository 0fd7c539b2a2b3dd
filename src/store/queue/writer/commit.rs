//! One commit: everything that waits, in one transaction with one sync; then the answers. Or none of it.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction};

use super::super::books::Changes;
use super::super::cursor::Cursor;
use super::super::open::{self, Kept};
use super::super::segment::{self, PackedRow, Position, SegmentBuilder};
use super::super::settle::{Outcome, SettledRow, Settlement};
use super::{Accepted, DestinationId, Health, RETRY, Refused, Writer, offset_ms, write_drop};
use crate::clock::{Mono, Wall};
use crate::reading::{Capture, Class, GroupId};
use crate::store::sqlite;

/// What a successful transaction changes in memory.
struct Done {
    changes: Changes,
    cursors: BTreeMap<(DestinationId, Class), Cursor>,
    next_segment: BTreeMap<Class, Position>,
    gap_rows: Vec<((crate::reading::StreamId, super::gaps::Kind, &'static str), i64)>,
    announced: Vec<DestinationId>,
}

impl Writer {
    /// Commits what waits. Afterwards nothing waits but settlements and gaps that the disk would not take.
    pub(super) fn commit(&mut self, now: Mono) {
        if self.nothing_waits() {
            self.recover(now);
            self.answer_flushes();
            return;
        }
        if self.health != Health::Good && !self.recover(now) {
            self.refuse_waiting();
            self.answer_flushes();
            return;
        }
        match self.transact(now) {
            Ok(done) => self.succeed(now, done),
            Err(error) => self.fail(now, &error),
        }
        self.answer_flushes();
        self.publish();
    }

    fn nothing_waits(&self) -> bool {
        self.pending.captures.is_empty()
            && self.pending.settlements.is_empty()
            && self.pending.wall.is_none()
            && self.gaps.is_clean()
    }

    fn transact(&mut self, now: Mono) -> rusqlite::Result<Done> {
        let mut connection = std::mem::replace(&mut self.connection, rusqlite::Connection::open_in_memory()?);
        let result = connection.transaction().and_then(|tx| {
            let done = self.write(&tx, now)?;
            tx.commit()?;
            Ok(done)
        });
        self.connection = connection;
        for builder in self.pending.segments.values_mut() {
            builder.unfinish();
        }
        result
    }

    fn write(&mut self, tx: &Transaction<'_>, now: Mono) -> rusqlite::Result<Done> {
        let mut changes = Changes::default();
        let mut next_segment = self.next_segment.clone();
        for ((class, routes), builder) in &mut self.pending.segments {
            if builder.rows() == 0 || *routes == 0 {
                // Nobody is to be sent them: accepted and done. An empty builder has no version byte; finish still appends a checksum that unfinish removes.
                builder.finish();
                continue;
            }
            let (rows, first, _, body) = builder.finish();
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
        for (stream, (count, newest)) in &self.pending.intake {
            let intake = changes.intake(&self.books, *stream);
            intake.accepted += count;
            intake.epoch = self.epoch_number;
            intake.last_sequence = *newest;
        }
        let gap_rows = self.gaps.write(tx, &self.books, &mut changes)?;
        if let Some((at, wall)) = self.pending.wall {
            let offset = offset_ms(at, wall);
            tx.execute(
                "UPDATE epochs SET wall_offset_ms = ?1, wall_uncertainty_ms = ?2 WHERE boot_id = ?3",
                (offset, wall.uncertainty_ms, self.options.boot.0),
            )?;
        }
        let mut cursors = BTreeMap::new();
        let mut announced = Vec::new();
        for settlement in &self.pending.settlements {
            self.write_settlement(tx, settlement, &mut changes, &mut cursors, now)?;
            if settlement.announces_epoch && settlement.outcome == Outcome::Acknowledged {
                tx.execute(
                    "UPDATE destinations SET announced_epoch = ?2 WHERE id = ?1",
                    (settlement.destination.0, self.epoch_number),
                )?;
                announced.push(settlement.destination);
            }
        }
        self.write_cursors(tx, &cursors)?;
        changes.write(tx)?;
        Ok(Done { changes, cursors, next_segment, gap_rows, announced })
    }

    fn write_settlement(
        &self,
        tx: &Transaction<'_>,
        settlement: &Settlement,
        changes: &mut Changes,
        cursors: &mut BTreeMap<(DestinationId, Class), Cursor>,
        now: Mono,
    ) -> rusqlite::Result<()> {
        let key = (settlement.destination, settlement.class);
        let Some(known) = self.cursors.get(&key) else { return Ok(()) };
        let cursor = cursors.entry(key).or_insert_with(|| known.clone());
        // A quota may have dropped some of them while the message was under way.
        let fresh: Vec<SettledRow> =
            settlement.rows.iter().copied().filter(|row| !cursor.is_settled(row.position)).collect();
        if cursor.settle(settlement.from, settlement.to).is_err() {
            tracing::error!(
                destination = settlement.destination.0,
                "too many open ranges; an answer is forgotten"
            );
            return Ok(());
        }
        for row in &fresh {
            let account = changes.account(&self.books, settlement.destination, row.stream);
            match &settlement.outcome {
                Outcome::Acknowledged => account.acknowledged += 1,
                Outcome::Dropped(reason) => {
                    account.dropped += 1;
                    write_drop(tx, settlement.destination, row.stream, reason, 1, self.epoch_number, now)?;
                }
                Outcome::SetAside(reason) => {
                    account.set_aside += 1;
                    self.write_set_aside(tx, settlement.destination, *row, reason, now)?;
                }
            }
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
        let Some((epoch, body)) = found else { return Ok(()) };
        let packed: Option<PackedRow> = segment::rows(&body)
            .ok()
            .and_then(|rows| rows.flatten().find(|packed| packed.index == row.position.row));
        let Some(packed) = packed else { return Ok(()) };
        let mut one = SegmentBuilder::default();
        let (sequence, at) = (packed.sequence, packed.at);
        let capture = Capture { group: GroupId(0), at, samples: vec![packed.sample], missing: Vec::new() };
        one.push(&capture, sequence, |_| true);
        let (_, _, _, one) = one.finish();
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
        let mut slowest = to;
        for (destination, _) in &self.destinations {
            let key = (*destination, class);
            if let Some(cursor) = moved.get(&key).or_else(|| self.cursors.get(&key)) {
                let at = cursor.position().segment;
                if at < to {
                    behind |= destination.bit();
                    slowest = slowest.min(at);
                }
            }
        }
        // Common case first: nobody is behind, or those behind are behind all of it.
        if behind == 0 || slowest <= from {
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

    fn succeed(&mut self, now: Mono, done: Done) {
        done.changes.apply(&mut self.books);
        self.cursors.extend(done.cursors);
        self.next_segment = done.next_segment;
        self.gaps.written(done.gap_rows);
        for destination in done.announced {
            self.announced.insert(destination, self.epoch_number);
        }
        if let Some((at, wall)) = self.pending.wall.take() {
            self.wall_offset = Some((offset_ms(at, wall), wall.uncertainty_ms));
        }
        self.last_commit = self.pending.since.map_or(self.last_commit, |since| now.since(since));
        self.pending.settlements.clear();
        self.clear_pending();
        self.health = Health::Good;
        self.pending.retry_at = None;
        for waiting in self.pending.captures.drain(..) {
            let accepted = Accepted {
                epoch: self.options.epoch,
                sequence: waiting.sequence,
                accepted: waiting.accepted,
                refused: waiting.refused,
            };
            // The lane may have been restarted meanwhile; what it handed in is accepted all the same.
            let _ = waiting.reply.send(Ok(accepted));
        }
        self.measure();
        self.keep_quota(now);
    }

    fn clear_pending(&mut self) {
        for builder in self.pending.segments.values_mut() {
            builder.clear();
        }
        self.pending.intake.clear();
        self.pending.rows = 0;
        self.pending.since = None;
        self.pending.settlements_since = None;
    }

    fn fail(&mut self, now: Mono, error: &rusqlite::Error) {
        tracing::error!(%error, "a commit failed");
        if sqlite::is_damage(error) && self.replace_damaged(now, &error.to_string()) {
            // The captures that wait are whole: the new file takes them.
            match self.transact(now) {
                Ok(done) => return self.succeed(now, done),
                Err(error) => self.health = Health::Faulty(error.to_string()),
            }
        } else if sqlite::is_full(error) {
            self.health = Health::DiskFull;
            if let Some(ballast) = &self.ballast {
                ballast.release();
            }
        } else if sqlite::is_read_only(error) {
            self.health = Health::ReadOnly;
        } else {
            self.health = Health::Faulty(error.to_string());
        }
        self.refuse_waiting();
        self.pending.retry_at = Some(now.plus(RETRY));
        if self.health == Health::DiskFull {
            // Settlements free room; in the ballast's place there is some.
            self.settle_without_accepting(now);
        }
    }

    fn refuse_waiting(&mut self) {
        let refusal = match &self.health {
            Health::Good => return,
            Health::DiskFull => Refused::DiskFull,
            Health::ReadOnly => Refused::ReadOnly,
            Health::Faulty(detail) => Refused::Faulty(detail.clone()),
        };
        for waiting in std::mem::take(&mut self.pending.captures) {
            self.gaps.refuse(
                &waiting.streams,
                refusal.reason(),
                self.epoch_number,
                waiting.sequence,
                waiting.at,
            );
            let _ = waiting.reply.send(Err(refusal.clone()));
        }
        let settlements_since = self.pending.settlements_since;
        self.clear_pending();
        self.pending.settlements_since = settlements_since;
        self.publish();
    }

    /// Runs what makes room while nothing is accepted.
    pub(super) fn settle_without_accepting(&mut self, now: Mono) {
        match self.transact(now) {
            Ok(done) => {
                let health = self.health.clone();
                self.succeed(now, done);
                self.health = health;
                self.pending.retry_at = Some(now.plus(RETRY));
            }
            Err(error) => tracing::warn!(%error, "no room even to settle; waiting"),
        }
    }

    /// Tries to leave a sick state. Accepting resumes only with the ballast back in its place.
    fn recover(&mut self, now: Mono) -> bool {
        if self.health == Health::Good {
            return true;
        }
        if self.pending.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        self.pending.retry_at = Some(now.plus(RETRY));
        if self.health == Health::DiskFull {
            self.make_room(now);
            if let Some(ballast) = &self.ballast
                && let Err(error) = ballast.take()
            {
                tracing::debug!(%error, "still no room for the ballast");
                return false;
            }
        }
        let probe = self.connection.execute(
            "INSERT INTO meta (key, value) VALUES ('probe', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1",
            [now.0.cast_signed()],
        );
        match probe {
            Ok(_) => {
                tracing::info!(was = self.health.name(), "the disk takes writes again");
                self.health = Health::Good;
                self.pending.retry_at = None;
                self.publish();
                true
            }
            Err(error) => {
                if sqlite::is_full(&error)
                    && let Some(ballast) = &self.ballast
                {
                    ballast.release();
                }
                false
            }
        }
    }

    /// Moves the damaged file aside and begins another under the same epoch and stream numbers.
    fn replace_damaged(&mut self, now: Mono, detail: &str) -> bool {
        let Ok(empty) = rusqlite::Connection::open_in_memory() else { return false };
        drop(std::mem::replace(&mut self.connection, empty));
        let path = self.options.path.clone();
        let wall = match self.wall_offset {
            Some((offset, uncertainty_ms)) => {
                Wall { unix_ms: offset + i64::try_from(now.ms()).unwrap_or(0), uncertainty_ms, trusted: true }
            }
            None => Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false },
        };
        let begun = open::set_aside_file(&path, &self.options, detail).and_then(|statement| {
            self.options.epoch = self.options.epoch.successor(self.options.file_id);
            self.options.file_id = self.options.epoch.successor(0).0;
            let kept = Kept { streams: &self.streams, destinations: &self.destinations };
            open::begin_again(&self.options, &kept, now, wall, statement)
        });
        match begun {
            Ok((connection, opened)) => {
                self.connection = connection;
                self.generation += 1;
                self.epoch_number = opened.epoch_number;
                self.books = opened.books;
                self.cursors = opened.cursors;
                self.next_segment = opened.next_segment;
                self.file_id = opened.file_id;
                self.pending.settlements.clear();
                self.gaps.forget_rows();
                true
            }
            Err(error) => {
                tracing::error!(%error, "no new queue file can be made");
                false
            }
        }
    }

    fn answer_flushes(&mut self) {
        for flush in self.pending.flushes.drain(..) {
            let _ = flush.send(self.health.clone());
        }
    }
}
