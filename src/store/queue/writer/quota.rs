//! Keeping the file inside its quota: the oldest readings of the least urgent class go first, each on record.
//!
//! Diagnostics first, then telemetry from its oldest end: that is the backlog, and what is live last. Then, with no
//! telemetry left, states: each has a newer one behind it, or is so old that it waited out everything else. Events after
//! those, because nothing repeats them. Never alarms; and the books, gaps and set-aside readings are no part of this at
//! all. A file that holds nothing but alarms up to its limit refuses what comes, on record.
//!
//! A segment that does not decode is not given up: nobody could say what of it was lost. It is damage, and the file is
//! replaced.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction};

use super::super::books::Changes;
use super::super::cursor::Cursor;
use super::super::drops::Drops;
use super::super::schema;
use super::super::segment::{self, Position};
use super::disk::{self, Disk};
use super::{DestinationId, Writer};
use crate::clock::Mono;
use crate::reading::Class;
use crate::store::sqlite;

/// Given up in this order when room is short. Alarms never are.
const GIVEN_UP: [Class; 4] = [Class::Diagnostics, Class::Telemetry, Class::State, Class::Event];
/// Above this share of the quota (in 1/16) the oldest go, a [`Share`] of one sixteenth at a commit.
const HIGH_SIXTEENTHS: u64 = 14;
/// At most so many segments in one step, so that a step stays short.
const STEP: usize = 64;
/// More than is wanted is freed, for the log of what frees it.
const MARGIN_PAGES: u64 = 512;

/// What one step may take: it ends with the segment that reaches either bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) segments: usize,
    /// Of their bodies: segments are of very different sizes, and what is a small part of many small ones may be all of a
    /// few large ones.
    pub(super) bytes: u64,
}

/// How much there was to give up when it was last counted.
#[derive(Debug)]
pub(super) struct Counted {
    generation: u32,
    /// What came later is not counted. Without any, there can only be less.
    ends: BTreeMap<Class, Position>,
    bytes: u64,
}

/// Why a step was not done.
enum Stopped {
    Sqlite(rusqlite::Error),
    /// A segment does not decode.
    Unreadable(String),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Writer {
    pub(super) fn is_over_quota(&self) -> bool {
        self.used_bytes > self.options.max_bytes / 16 * HIGH_SIXTEENTHS
    }

    /// Drops the oldest when the quota is nearly reached.
    pub(super) fn keep_quota(&mut self, now: Mono) {
        self.keep_class_quotas(now);
        if self.is_over_quota() {
            self.give_up_oldest(now, "quota");
        }
    }

    /// Drops the oldest until what waits has room below the file's limit. Tells whether there is more room than before.
    pub(super) fn make_room_in_quota(&mut self, now: Mono) -> bool {
        let (mut made, file) = (false, self.generation);
        while self.is_at_limit() && self.give_up_oldest(now, "quota") > 0 {
            made = true;
        }
        made || self.generation != file
    }

    /// Drops the oldest where giving the file's room back would make `wanted` bytes free on the disk; where it would
    /// not (somebody else has filled it) nothing is dropped for nothing.
    pub(super) fn make_room_on_disk(&mut self, now: Mono, wanted: u64) -> bool {
        let Some(free) = sqlite::free_bytes(&self.options.path) else { return false };
        let page = u64::from(schema::KIND.page_size);
        let wanted_pages = wanted.saturating_sub(free).div_ceil(page) + MARGIN_PAGES;
        if !self.may_give_up(wanted_pages.saturating_mul(page)) {
            return false;
        }
        let before = self.disk.pages().map_or(0, |pages| pages.used());
        loop {
            let freed = before.saturating_sub(self.disk.pages().map_or(before, |pages| pages.used()));
            if freed >= wanted_pages {
                return true;
            }
            if self.give_up_oldest(now, "disk_full") == 0 {
                return false;
            }
        }
    }

    /// Whether at least `wanted` bytes of readings may be given up. Counting reads the heads of all segments. A disk that
    /// stays full is asked each second: it is counted again only where the count before does not rule it out.
    pub(super) fn may_give_up(&mut self, wanted: u64) -> bool {
        let known = self
            .counted
            .as_ref()
            .filter(|counted| counted.generation == self.generation && counted.ends == self.next_segment);
        if known.is_some_and(|counted| counted.bytes < wanted) {
            return false;
        }
        let Ok(bytes) = self.given_up_at_most() else { return false };
        let ends = self.next_segment.clone();
        self.counted = Some(Counted { generation: self.generation, ends, bytes });
        bytes >= wanted
    }

    /// Bytes of readings that may be given up.
    fn given_up_at_most(&mut self) -> rusqlite::Result<u64> {
        let connection = self.disk.connection().ok_or_else(disk::no_file)?;
        let first = GIVEN_UP.iter().map(|class| Position::first_of(*class).segment).min().unwrap_or(0);
        let bytes: i64 = connection.query_row(
            "SELECT coalesce(sum(length(body)), 0) FROM segments WHERE id >= ?1",
            [first],
            |r| r.get(0),
        )?;
        Ok(bytes.cast_unsigned())
    }

    /// One step. Returns how many segments were given up.
    fn give_up_oldest(&mut self, now: Mono, reason: &'static str) -> usize {
        let mut order = GIVEN_UP;
        if crate::sabotage::on("drop-urgent-first") {
            order.reverse();
        }
        let share = Share { segments: STEP, bytes: self.options.max_bytes / 16 };
        self.give_up_oldest_of(now, reason, &order, share)
    }

    /// One step: a share of the first of `classes` that has anything.
    pub(super) fn give_up_oldest_of(
        &mut self,
        now: Mono,
        reason: &'static str,
        classes: &[Class],
        share: Share,
    ) -> usize {
        let share = Share { segments: share.segments.min(STEP), ..share };
        let Ok(mut connection) = self.disk.take() else { return 0 };
        let mut step = || -> Result<_, Stopped> {
            let tx = connection.transaction()?;
            let (mut changes, mut moved, mut dropped) =
                (Changes::default(), BTreeMap::new(), Drops::default());
            let mut given = 0;
            for class in classes {
                given = self.give_up(&tx, *class, share, reason, &mut dropped, &mut moved)?;
                if given > 0 {
                    break;
                }
            }
            self.write_cursors(&tx, &moved)?;
            if crate::sabotage::on("drop-off-the-record") {
                dropped = Drops::default();
            }
            changes.drop_all(&self.books, &dropped);
            dropped.write(&tx, self.epoch_number, now)?;
            changes.write(&tx)?;
            tx.commit()?;
            Ok((given, changes, moved))
        };
        let result = step();
        self.disk = Disk::Open(connection);
        match result {
            Ok((given, changes, moved)) => {
                self.tally.apply(&self.books, &changes, &self.destinations);
                changes.apply(&mut self.books);
                self.cursors.extend(moved);
                self.measure();
                given
            }
            Err(Stopped::Unreadable(damage)) => {
                self.replace_where_damaged(now, &damage);
                0
            }
            Err(Stopped::Sqlite(error)) => {
                tracing::warn!(%error, reason, "the oldest readings could not be given up");
                0
            }
        }
    }

    /// Takes a share of `class` away. Returns how many segments that was.
    fn give_up(
        &self,
        tx: &Transaction<'_>,
        class: Class,
        share: Share,
        reason: &'static str,
        dropped: &mut Drops,
        moved: &mut BTreeMap<(DestinationId, Class), Cursor>,
    ) -> Result<usize, Stopped> {
        let first = Position::first_of(class);
        let mut at = first.segment;
        let end = self.next_segment.get(&class).map_or(at, |p| p.segment);
        let mut freed = 0;
        for given in 0..share.segments {
            if freed >= share.bytes {
                return Ok(given);
            }
            let oldest: Option<(i64, i64, i64, Vec<u8>)> = tx
                .prepare_cached(
                    "SELECT id, epoch, routes, body FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1",
                )?
                .query_row((at, end), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
                .optional()?;
            let Some((id, epoch, routes, body)) = oldest else { return Ok(given) };
            if id < at {
                return Err(Stopped::Unreadable(format!("segment {id} stands where only later ones may")));
            }
            // First of all: in a file at its limit whatever is written next needs this room. Whoever it was for gives it
            // up now, or is gone.
            tx.prepare_cached("DELETE FROM segments WHERE id = ?1")?.execute([id])?;
            let from = Position { segment: id, row: 0 };
            let rows = segment::rows(&body).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let rows = rows.map_err(|damage| Stopped::Unreadable(format!("segment {id}: {damage}")))?;
            for (destination, _) in &self.destinations {
                if routes & destination.bit() == 0 {
                    continue;
                }
                let key = (*destination, class);
                let Some(known) = self.cursors.get(&key) else { continue };
                let cursor = moved.entry(key).or_insert_with(|| known.clone());
                for row in &rows {
                    let stream = row.sample.stream;
                    if cursor.is_settled(Position { segment: id, row: row.index }) {
                        dropped.kept(*destination, stream);
                    } else {
                        dropped.add(*destination, stream, reason, epoch, row.sequence);
                    }
                }
                // From the cursor, not from the segment: what lies between was not this destination's.
                let _ = cursor.settle(cursor.position().min(from), from.next_segment());
            }
            freed += body.len() as u64;
            at = id + 1;
        }
        Ok(share.segments)
    }
}
