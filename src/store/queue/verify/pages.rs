//! The walk over the segments beside a daemon that goes on: in pages, each read in a transaction of bounded length, so that the
//! log can be brought home between two; and yet a result that is true of one moment.
//!
//! A segment's body never changes, and numbers are given once. So what a page of segments holds for each destination follows
//! from three things: the destinations' cursors as far as they lie in the page's range, the range's segments, and which
//! destinations there are. A page keeps what those were when it was counted ([`Sign`]). It stands for a later moment in which
//! they are the same; else it is counted again. The recount ends in the first transaction in which every page stands
//! or could be counted again within the transaction's bound: all counts are then true of that one commit, and the books
//! read in the same transaction are compared with them.
//!
//! It ends because little moves between two transactions: cursors at their heads, acceptance at the ends.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::super::DestinationId;
use super::super::cursor::Cursor;
use super::super::segment::{self, Position};
use super::detail::MOST_RUNS;
use crate::reading::{Class, StreamId};

/// A page ends with the segment that brings it to one of these.
const PAGE_SEGMENTS: u64 = 128;
const PAGE_ROWS: u64 = 4096;
/// A transaction begins no further segment once it has read so many, or so many readings in them.
const ONCE_SEGMENTS: u64 = 2048;
pub(super) const ONCE_ROWS: u64 = 65_536;

/// What decides which readings of a page wait for whom, in one transaction.
#[derive(Debug, Default)]
pub(super) struct Moment {
    pub(super) names: BTreeMap<DestinationId, (String, bool)>,
    pub(super) cursors: BTreeMap<(DestinationId, Class), Cursor>,
    /// The newest segment of each class.
    newest: Vec<i64>,
    /// What does not read.
    pub(super) problems: Vec<String>,
}

impl Moment {
    pub(super) fn load(c: &Connection) -> rusqlite::Result<Self> {
        let mut moment = Self::default();
        let mut rows = c.prepare_cached("SELECT id, name, removed FROM destinations")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            moment.names.insert(DestinationId(row.get(0)?), (row.get(1)?, row.get(2)?));
        }
        let mut rows = c.prepare_cached("SELECT destination, class, segment, row, islands FROM cursors")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let at = Position { segment: row.get(2)?, row: row.get(3)? };
            let islands: Vec<u8> = row.get(4)?;
            match Class::from_number(row.get(1)?).zip(Cursor::from_parts(at, &islands)) {
                Some((class, cursor)) => {
                    moment.cursors.insert((DestinationId(row.get(0)?), class), cursor);
                }
                None => moment.problems.push("a cursor does not read".into()),
            }
        }
        for class in Class::ALL {
            let first = Position::first_of(class).segment;
            let newest: Option<i64> = c
                .prepare_cached("SELECT max(id) FROM segments WHERE id >= ?1 AND id < ?2")?
                .query_row((first, first + (1 << 48)), |r| r.get(0))?;
            moment.newest.extend(newest);
        }
        Ok(moment)
    }

    fn sign(&self, (from, to): (i64, i64)) -> Sign {
        let start = |segment| Position { segment, row: 0 };
        let class_meets = |class: Class| {
            let first = Position::first_of(class).segment;
            first < to && from < first + (1 << 48)
        };
        let within = |(key, cursor): (&(DestinationId, Class), &Cursor)| {
            class_meets(key.1).then(|| (*key, cursor.within(start(from), start(to))))
        };
        Sign {
            destinations: self.names.keys().copied().collect(),
            cursors: self.cursors.iter().filter_map(within).collect(),
            newest: self.newest.iter().copied().filter(|id| (from..to).contains(id)).collect(),
        }
    }
}

/// See the module head.
#[derive(Debug, PartialEq, Eq)]
struct Sign {
    destinations: Vec<DestinationId>,
    cursors: Vec<((DestinationId, Class), Cursor)>,
    newest: Vec<i64>,
}

/// Readings of one stream that wait for one destination, their sequences without a hole.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) destination: DestinationId,
    pub(super) stream: StreamId,
    /// The number of the epoch in the file.
    pub(super) epoch: i64,
    pub(super) sequences: (u64, u64),
}

/// What the segments of a range of numbers hold.
#[derive(Debug)]
pub(super) struct Page {
    range: (i64, i64),
    /// As of when; `None` before it is counted.
    sign: Option<Sign>,
    pub(super) segments: u64,
    pub(super) rows: u64,
    pub(super) queued: BTreeMap<(DestinationId, StreamId), u64>,
    pub(super) runs: Vec<Run>,
    pub(super) problems: Vec<String>,
}

/// All segments, in order.
#[derive(Debug)]
pub(super) struct Pages(pub(super) Vec<Page>);

/// What one transaction has read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    segments: u64,
    pub(super) rows: u64,
}

impl Read {
    fn is_enough(self) -> bool {
        self.segments >= ONCE_SEGMENTS || self.rows >= ONCE_ROWS
    }
}

impl Pages {
    pub(super) fn uncounted() -> Self {
        Self(vec![Page::uncounted((i64::MIN, i64::MAX))])
    }

    /// Whether each was counted once.
    pub(super) fn are_counted(&self) -> bool {
        self.0.iter().all(|page| page.sign.is_some())
    }

    /// Counts what does not stand for this moment, as far as one transaction may. Tells whether everything now does.
    pub(super) fn catch_up(
        &mut self,
        c: &Connection,
        moment: &Moment,
        read: &mut Read,
    ) -> rusqlite::Result<bool> {
        let mut place = 0;
        while let Some(page) = self.0.get(place) {
            if page.sign.as_ref() != Some(&moment.sign(page.range)) {
                if read.is_enough() {
                    return Ok(false);
                }
                let range = page.range;
                let others: usize =
                    self.0.iter().map(|page| page.runs.len()).sum::<usize>() - page.runs.len();
                let page = Page::count(c, moment, range, MOST_RUNS.saturating_sub(others), read)?;
                let rest = (page.range.1, range.1);
                self.0[place] = page;
                if rest.0 < rest.1 {
                    self.0.insert(place + 1, Page::uncounted(rest));
                }
            }
            place += 1;
        }
        Ok(true)
    }
}

impl Page {
    fn uncounted(range: (i64, i64)) -> Self {
        Self {
            range,
            sign: None,
            segments: 0,
            rows: 0,
            queued: BTreeMap::new(),
            runs: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Counts the range, or as much of it as makes a page.
    fn count(
        c: &Connection,
        moment: &Moment,
        range: (i64, i64),
        most_runs: usize,
        read: &mut Read,
    ) -> rusqlite::Result<Self> {
        let mut page = Self::uncounted(range);
        let mut newest_run = BTreeMap::new();
        let mut rows = c.prepare_cached(
            "SELECT id, routes, rows, body, epoch FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id",
        )?;
        let mut rows = rows.query(range)?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if page.segments >= PAGE_SEGMENTS
                || page.rows >= PAGE_ROWS
                || (page.segments > 0 && read.is_enough())
            {
                page.range.1 = id;
                break;
            }
            let told = Told {
                id,
                routes: row.get(1)?,
                expected: row.get::<_, u32>(2)?.into(),
                body: row.get_ref(3)?.as_blob().unwrap_or(&[]),
                epoch: row.get(4)?,
            };
            let count = page.add(&told, moment, most_runs, &mut newest_run);
            read.segments += 1;
            read.rows += count;
        }
        page.sign = Some(moment.sign(page.range));
        Ok(page)
    }

    /// Returns how many readings it decoded.
    fn add(
        &mut self,
        told: &Told<'_>,
        moment: &Moment,
        most_runs: usize,
        newest_run: &mut BTreeMap<(DestinationId, StreamId), usize>,
    ) -> u64 {
        let Told { id, routes, expected, body, epoch } = *told;
        self.segments += 1;
        let Some(class) = (Position { segment: id, row: 0 }).class() else {
            self.problems.push(format!("segment {id}: no class has such a number"));
            return 0;
        };
        let mut count = 0;
        let rows = match segment::rows(body) {
            Ok(rows) => Some(rows),
            Err(damage) => {
                self.problems.push(format!("segment {id}: {damage}"));
                None
            }
        };
        for packed in rows.into_iter().flatten() {
            let packed = match packed {
                Ok(packed) => packed,
                Err(damage) => {
                    self.problems.push(format!("segment {id}: {damage}"));
                    continue;
                }
            };
            count += 1;
            let position = Position { segment: id, row: packed.index };
            for destination in moment.names.keys().filter(|d| routes & d.bit() != 0) {
                let cursor = moment.cursors.get(&(*destination, class));
                if cursor.is_none_or(|cursor| cursor.is_settled(position)) {
                    continue;
                }
                let key = (*destination, packed.sample.stream);
                *self.queued.entry(key).or_default() += 1;
                let newest = newest_run.get(&key).copied();
                if let Some(run) = newest.and_then(|n| self.runs.get_mut(n))
                    && run.epoch == epoch
                    && run.sequences.1.checked_add(1) == Some(packed.sequence)
                {
                    run.sequences.1 = packed.sequence;
                } else if self.runs.len() < most_runs {
                    newest_run.insert(key, self.runs.len());
                    let sequences = (packed.sequence, packed.sequence);
                    self.runs.push(Run { destination: key.0, stream: key.1, epoch, sequences });
                } else {
                    // There are more than are told.
                    newest_run.remove(&key);
                }
            }
        }
        self.rows += count;
        if count != expected {
            self.problems.push(format!("segment {id}: {count} readings, its row says {expected}"));
        }
        count
    }
}

/// A row of the table.
#[derive(Clone, Copy)]
struct Told<'r> {
    id: i64,
    routes: i64,
    expected: u64,
    body: &'r [u8],
    epoch: i64,
}
