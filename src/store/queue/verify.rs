//! Recounting: every segment is decoded and every book compared with what is there (`fieldgate queue verify`).
//!
//! Read-only and in one read transaction, so it may run beside a live daemon and sees one commit's state of everything.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::DestinationId;
use super::books::Books;
use super::cursor::Cursor;
use super::handle::Totals;
use super::segment::{self, Position};
use crate::reading::{Class, StreamId};
use crate::store::sqlite::{self, OpenError};

pub mod detail;

use detail::Detail;

/// What the recount found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Segments decoded.
    pub segments: u64,
    /// Readings in them.
    pub rows: u64,
    /// By destination name, all streams: both sides of the consuming equation, `queued` as recounted.
    pub destinations: BTreeMap<String, Totals>,
    /// The producing side, all streams.
    pub intake: Totals,
    /// Gap records, by kind and reason: how many readings; `None` stands for "unknown".
    pub gaps: BTreeMap<(String, String), Option<u64>>,
    /// The same stream by stream and identity by identity.
    pub detail: Detail,
    /// Statements of damaged predecessors.
    pub statements: Vec<String>,
    /// The newest readings that a destination refused for their content, in words, at most [`SHOWN`].
    pub set_aside: Vec<String>,
    /// Every disagreement, as a sentence. Empty is good.
    pub problems: Vec<String>,
}

/// As many refused readings are told one by one; the count of all is in the totals.
pub const SHOWN: u32 = 50;

/// Recounts the file.
///
/// # Errors
/// When it cannot be opened or does not read at all; damage found on the way is a problem in the result instead.
pub fn verify(path: &Path) -> Result<Verified, OpenError> {
    recount(&sqlite::open_reader(path)?, path)
}

/// Recounts what a connection that only reads shows of the file at `path`.
///
/// # Errors
/// As [`verify`].
pub fn recount(connection: &Connection, path: &Path) -> Result<Verified, OpenError> {
    let unreadable = |e: rusqlite::Error| OpenError::Damaged { path: path.to_owned(), detail: e.to_string() };
    connection.execute_batch("BEGIN").map_err(unreadable)?;
    let mut recount = Recount::load(connection).map_err(unreadable)?;
    recount.integrity(connection).map_err(unreadable)?;
    recount.segments(connection).map_err(unreadable)?;
    recount.compare(connection).map_err(unreadable)?;
    connection.execute_batch("COMMIT").map_err(unreadable)?;
    Ok(recount.verified)
}

struct Recount {
    books: Books,
    names: BTreeMap<DestinationId, (String, bool)>,
    streams: BTreeMap<StreamId, String>,
    cursors: BTreeMap<(DestinationId, Class), Cursor>,
    queued: BTreeMap<(DestinationId, StreamId), u64>,
    verified: Verified,
}

impl Recount {
    fn load(c: &Connection) -> rusqlite::Result<Self> {
        let mut names = BTreeMap::new();
        let mut rows = c.prepare("SELECT id, name, removed FROM destinations")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            names.insert(DestinationId(row.get(0)?), (row.get(1)?, row.get(2)?));
        }
        let mut streams = BTreeMap::new();
        let mut rows = c.prepare("SELECT id, name FROM streams")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            streams.insert(StreamId(row.get(0)?), row.get(1)?);
        }
        let mut cursors = BTreeMap::new();
        let mut verified = Verified::default();
        let mut rows = c.prepare("SELECT destination, class, segment, row, islands FROM cursors")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let at = Position { segment: row.get(2)?, row: row.get(3)? };
            let islands: Vec<u8> = row.get(4)?;
            match Class::from_number(row.get(1)?).zip(Cursor::from_parts(at, &islands)) {
                Some((class, cursor)) => {
                    cursors.insert((DestinationId(row.get(0)?), class), cursor);
                }
                None => verified.problems.push("a cursor does not read".into()),
            }
        }
        let books = Books::load(c)?;
        verified.detail = Detail::load(c, &books)?;
        Ok(Self { books, names, streams, cursors, queued: BTreeMap::new(), verified })
    }

    fn integrity(&mut self, c: &Connection) -> rusqlite::Result<()> {
        let mut rows = c.prepare("PRAGMA quick_check(20)")?;
        for line in rows.query_map([], |r| r.get::<_, String>(0))? {
            let line = line?;
            if line != "ok" {
                self.verified.problems.push(format!("SQLite: {line}"));
            }
        }
        Ok(())
    }

    fn segments(&mut self, c: &Connection) -> rusqlite::Result<()> {
        let mut rows = c.prepare("SELECT id, routes, rows, body, epoch FROM segments ORDER BY id")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (id, routes, expected): (i64, i64, u64) =
                (row.get(0)?, row.get(1)?, row.get::<_, u32>(2)?.into());
            let body = row.get_ref(3)?.as_blob().unwrap_or(&[]);
            let epoch: i64 = row.get(4)?;
            self.verified.segments += 1;
            let start = Position { segment: id, row: 0 };
            let Some(class) = start.class() else {
                self.verified.problems.push(format!("segment {id}: no class has such a number"));
                continue;
            };
            let mut count = 0u64;
            match segment::rows(body) {
                Err(damage) => self.verified.problems.push(format!("segment {id}: {damage}")),
                Ok(rows) => {
                    for packed in rows {
                        match packed {
                            Ok(packed) => {
                                count += 1;
                                let position = Position { segment: id, row: packed.index };
                                for (destination, (name, _)) in &self.names {
                                    let open = self
                                        .cursors
                                        .get(&(*destination, class))
                                        .is_some_and(|cursor| !cursor.is_settled(position));
                                    if routes & destination.bit() != 0 && open {
                                        *self
                                            .queued
                                            .entry((*destination, packed.sample.stream))
                                            .or_default() += 1;
                                        let (stream, sequence) = (packed.sample.stream, packed.sequence);
                                        self.verified.detail.waits(
                                            (*destination, name),
                                            stream,
                                            epoch,
                                            sequence,
                                        );
                                    }
                                }
                            }
                            Err(damage) => self.verified.problems.push(format!("segment {id}: {damage}")),
                        }
                    }
                }
            }
            self.verified.rows += count;
            if count != expected {
                self.verified
                    .problems
                    .push(format!("segment {id}: {count} readings, its row says {expected}"));
            }
        }
        Ok(())
    }

    fn compare(&mut self, c: &Connection) -> rusqlite::Result<()> {
        for ((destination, stream), account) in &self.books.accounts {
            let intake = self.books.intake.get(stream).copied().unwrap_or_default();
            let queued = self.queued.remove(&(*destination, *stream)).unwrap_or(0);
            let accepted = account.accepted(&intake);
            let settled = account.acknowledged + account.dropped + account.set_aside;
            let name = self.names.get(destination).map_or("?", |(n, _)| n.as_str());
            let stream_name = self.streams.get(stream).map_or("?", String::as_str);
            if accepted != settled + queued {
                self.verified.problems.push(format!(
                    "{name}, {stream_name}: accepted {accepted}, but acknowledged {} + dropped {} + set aside {} + queued {queued} = {}",
                    account.acknowledged, account.dropped, account.set_aside, settled + queued
                ));
            }
            let drops = sum(
                c,
                "SELECT sum(count) FROM drops WHERE destination = ?1 AND stream = ?2",
                destination.0,
                stream.0,
            )?;
            if drops != account.dropped {
                self.verified.problems.push(format!(
                    "{name}, {stream_name}: dropped {}, but the drop records say {drops}",
                    account.dropped
                ));
            }
            let aside = sum(
                c,
                "SELECT count(*) FROM set_aside WHERE destination = ?1 AND stream = ?2",
                destination.0,
                stream.0,
            )?;
            if aside != account.set_aside {
                self.verified.problems.push(format!(
                    "{name}, {stream_name}: set aside {}, but {aside} are there",
                    account.set_aside
                ));
            }
            let total = self.verified.destinations.entry(name.to_owned()).or_default();
            let account = Totals {
                accepted,
                acknowledged: account.acknowledged,
                dropped: account.dropped,
                set_aside: account.set_aside,
                queued,
                ..Totals::default()
            };
            *total = total.plus(account);
            if let Some(stream) = self.verified.detail.streams.get_mut(&stream.0) {
                stream.accounts.insert(name.to_owned(), account);
            }
        }
        for ((destination, stream), count) in &self.queued {
            let removed = self.names.get(destination).is_none_or(|(_, removed)| *removed);
            if !removed {
                self.verified.problems.push(format!(
                    "destination {}, stream {}: {count} readings queued without an account",
                    destination.0, stream.0
                ));
            }
        }
        let name = |id| self.names.get(&id).map_or_else(|| "?".to_owned(), |(name, _)| name.clone());
        self.verified.detail.load_set_aside(c, name)?;
        self.producing_side(c)
    }

    fn producing_side(&mut self, c: &Connection) -> rusqlite::Result<()> {
        for (stream, intake) in &self.books.intake {
            for (kind, booked) in
                [("missed", intake.missed), ("refused", intake.refused), ("coalesced", intake.coalesced)]
            {
                let recorded: i64 = c
                    .prepare_cached(
                        "SELECT coalesce(sum(count), 0) FROM gaps WHERE stream = ?1 AND kind = ?2",
                    )?
                    .query_row((stream.0, kind), |r| r.get(0))?;
                if recorded.cast_unsigned() != booked {
                    let name = self.streams.get(stream).map_or("?", String::as_str);
                    self.verified
                        .problems
                        .push(format!("{name}: {kind} {booked}, but the gap records say {recorded}"));
                }
            }
            self.verified.intake = self.verified.intake.plus(Totals {
                accepted: intake.accepted,
                refused: intake.refused,
                coalesced: intake.coalesced,
                missed: intake.missed,
                ..Totals::default()
            });
        }
        let mut rows =
            c.prepare("SELECT kind, reason, sum(count), sum(count IS NULL) FROM gaps GROUP BY kind, reason")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let unknown: i64 = row.get(3)?;
            let count: Option<i64> = row.get(2)?;
            let count = if unknown > 0 { None } else { count.map(i64::cast_unsigned) };
            self.verified.gaps.insert((row.get(0)?, row.get(1)?), count);
        }
        let mut rows = c.prepare("SELECT kind || ': ' || detail FROM statements ORDER BY id")?;
        for line in rows.query_map([], |r| r.get(0))? {
            self.verified.statements.push(line?);
        }
        let mut rows = c.prepare(
            "SELECT d.name, s.name, a.sequence, a.reason FROM set_aside AS a
             LEFT JOIN destinations AS d ON d.id = a.destination LEFT JOIN streams AS s ON s.id = a.stream
             ORDER BY a.id DESC LIMIT ?1",
        )?;
        let mut rows = rows.query([SHOWN])?;
        while let Some(row) = rows.next()? {
            let name =
                |n| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(n)?.unwrap_or_else(|| "?".into()));
            let sequence: i64 = row.get(2)?;
            self.verified.set_aside.push(format!(
                "{}: {} number {sequence}: {}",
                name(0)?,
                name(1)?,
                name(3)?
            ));
        }
        Ok(())
    }
}

fn sum(c: &Connection, sql: &str, destination: u8, stream: u32) -> rusqlite::Result<u64> {
    let sum: Option<i64> = c.prepare_cached(sql)?.query_row((destination, stream), |r| r.get(0))?;
    Ok(sum.unwrap_or(0).cast_unsigned())
}
