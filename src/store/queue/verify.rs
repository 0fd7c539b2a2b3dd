//! Recounting: every segment is decoded and every book compared with what is there (`fieldgate queue verify`).
//!
//! Read-only, beside a live daemon in transactions of bounded length (`pages` says how), and yet true of one commit: everything
//! that is compared is as it was in one moment.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::DestinationId;
use super::books::Books;
use super::handle::Totals;
use super::look::Source;
use crate::gather::Gather;
use crate::reading::StreamId;
use crate::store::sqlite::{self, OpenError};

pub mod detail;
mod pages;

use detail::Detail;
use pages::{Moment, Pages, Read};

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
    /// SQLite checked the whole file. It does not of a large one that a daemon writes.
    pub whole_file: bool,
    /// As many readings were decoded in the transaction that decoded most.
    pub most_rows_at_once: u64,
}

/// As many refused readings are told one by one; the count of all is in the totals.
pub const SHOWN: u32 = 50;

/// Recounts the file.
///
/// # Errors
/// When it cannot be opened or does not read at all; damage found on the way is a problem in the result instead.
pub fn verify(path: &Path) -> Result<Verified, OpenError> {
    recount(&sqlite::open_reader(path)?, &Source::Beside(path.to_owned()))
}

/// Recounts what a connection that only reads shows of the file it was opened for.
///
/// Beside a daemon no transaction is long: [`Verified::most_rows_at_once`]. The result is true of one moment all the same:
/// that of the last transaction.
///
/// # Errors
/// As [`verify`]; or when the file changes faster than it can be read.
pub fn recount(connection: &Connection, source: &Source) -> Result<Verified, OpenError> {
    recount_between(connection, source, &mut || {})
}

/// As [`recount`]. Calls `between` whenever it holds no transaction, which is when the books may move.
///
/// # Errors
/// As [`recount`].
pub fn recount_between(
    connection: &Connection,
    source: &Source,
    between: &mut dyn FnMut(),
) -> Result<Verified, OpenError> {
    let path = source.path();
    let unreadable = |e: rusqlite::Error| OpenError::Damaged { path: path.to_owned(), detail: e.to_string() };
    let (whole_file, mut problems) = integrity(connection, source).map_err(unreadable)?;
    let mut pages = Pages::uncounted();
    let (mut most, mut again) = (0, 0);
    loop {
        between();
        let tx = connection.unchecked_transaction().map_err(unreadable)?;
        let moment = Moment::load(&tx).map_err(unreadable)?;
        let mut read = Read::default();
        let caught_up = pages.catch_up(&tx, &moment, &mut read).map_err(unreadable)?;
        most = most.max(read.rows);
        if caught_up {
            let mut recount = Recount::of(&tx, moment, pages).map_err(unreadable)?;
            recount.compare(&tx).map_err(unreadable)?;
            problems.append(&mut recount.verified.problems);
            return Ok(Verified { problems, whole_file, most_rows_at_once: most, ..recount.verified });
        }
        again += u32::from(pages.are_counted());
        if again > PATIENCE {
            let detail =
                "it changes faster than it can be read. Verify a copy: fieldgate queue snapshot FILE";
            return Err(OpenError::Unreachable { path: path.to_owned(), detail: detail.into() });
        }
    }
}

/// So many times what has moved since it was counted is counted again. A queue that moves as fast as a link carries takes two.
const PATIENCE: u32 = 1000;
/// A file of so many pages of 1 KiB is checked in one go also beside a daemon.
const CHECKED_PAGES: i64 = 4096;

/// SQLite's own check. Of a large file that a daemon writes it is made table by table and without the segments, each of which is
/// met and decoded anyway: it would hold one transaction for as long as reading the whole file takes. Tells whether it was
/// the whole file.
fn integrity(c: &Connection, source: &Source) -> rusqlite::Result<(bool, Vec<String>)> {
    let pages: i64 = c.pragma_query_value(None, "page_count", |r| r.get(0))?;
    let whole = matches!(source, Source::Alone { .. }) || pages <= CHECKED_PAGES;
    let mut problems = Vec::new();
    let mut said = |mut lines: rusqlite::Rows<'_>| {
        while let Some(line) = lines.next()? {
            let line: String = line.get(0)?;
            if line != "ok" {
                problems.push(format!("SQLite: {line}"));
            }
        }
        Ok::<_, rusqlite::Error>(())
    };
    if whole {
        said(c.prepare("PRAGMA quick_check(20)")?.query([])?)?;
        return Ok((true, problems));
    }
    let mut tables =
        c.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'segments'")?;
    let tables: Vec<String> = tables.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    for table in tables {
        said(c.prepare("SELECT quick_check FROM pragma_quick_check(?1)")?.query([table])?)?;
    }
    Ok((false, problems))
}

struct Recount {
    books: Books,
    names: BTreeMap<DestinationId, (String, bool)>,
    streams: BTreeMap<StreamId, String>,
    queued: BTreeMap<(DestinationId, StreamId), u64>,
    verified: Verified,
}

impl Recount {
    /// What the pages hold, and the books of the same moment.
    fn of(c: &Connection, moment: Moment, pages: Pages) -> rusqlite::Result<Self> {
        let mut streams = BTreeMap::new();
        let mut rows = c.prepare("SELECT id, name FROM streams")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            streams.insert(StreamId(row.get(0)?), row.get(1)?);
        }
        let books = Books::load(c)?;
        let mut verified = Verified { problems: moment.problems, ..Verified::default() };
        verified.detail = Detail::load(c, &books)?;
        let mut queued: BTreeMap<_, u64> = BTreeMap::new();
        for mut page in pages.0 {
            verified.segments += page.segments;
            verified.rows += page.rows;
            verified.problems.append(&mut page.problems);
            for (key, count) in page.queued {
                *queued.entry(key).or_default() += count;
            }
            for run in page.runs {
                let name = moment.names.get(&run.destination).map_or("?", |(name, _)| name.as_str());
                verified.detail.waits((run.destination, name), run.stream, run.epoch, run.sequences);
            }
        }
        Ok(Self { books, names: moment.names, streams, queued, verified })
    }

    fn compare(&mut self, c: &Connection) -> rusqlite::Result<()> {
        let mut drops =
            sums(c, "SELECT destination, stream, sum(count) FROM drops GROUP BY destination, stream")?;
        let mut aside =
            sums(c, "SELECT destination, stream, count(*) FROM set_aside GROUP BY destination, stream")?;
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
            let drops = drops.remove(&(*destination, *stream)).unwrap_or(0);
            if drops != account.dropped {
                self.verified.problems.push(format!(
                    "{name}, {stream_name}: dropped {}, but the drop records say {drops}",
                    account.dropped
                ));
            }
            let aside = aside.remove(&(*destination, *stream)).unwrap_or(0);
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
        for (what, left) in [("dropped, as the drop records say,", drops), ("set aside", aside)] {
            for ((destination, stream), count) in left {
                self.verified.problems.push(format!(
                    "destination {}, stream {}: {count} readings {what} without an account",
                    destination.0, stream.0
                ));
            }
        }
        let name = |id| self.names.get(&id).map_or_else(|| "?".to_owned(), |(name, _)| name.clone());
        self.verified.detail.load_set_aside(c, name)?;
        self.producing_side(c)
    }

    fn producing_side(&mut self, c: &Connection) -> rusqlite::Result<()> {
        let mut recorded: BTreeMap<(StreamId, String), u64> = BTreeMap::new();
        let mut rows = c.prepare(
            "SELECT stream, kind, coalesce(sum(count), 0) FROM gaps WHERE stream IS NOT NULL GROUP BY stream, kind",
        )?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            recorded.insert((StreamId(row.get(0)?), row.get(1)?), row.get::<_, i64>(2)?.cast_unsigned());
        }
        for (stream, intake) in &self.books.intake {
            for (kind, booked) in
                [("missed", intake.missed), ("refused", intake.refused), ("coalesced", intake.coalesced)]
            {
                let recorded = recorded.remove(&(*stream, kind.to_owned())).unwrap_or(0);
                if recorded != booked {
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
        for ((stream, kind), count) in recorded {
            self.verified.problems.push(format!(
                "stream {}: {count} readings {kind}, as the gap records say, and no books of it",
                stream.0
            ));
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

/// Each table is read once, however many accounts there are.
fn sums(c: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<(DestinationId, StreamId), u64>> {
    let mut rows = c.prepare(sql)?;
    let rows = rows.query_map([], |r| {
        Ok(((DestinationId(r.get(0)?), StreamId(r.get(1)?)), r.get::<_, i64>(2)?.cast_unsigned()))
    })?;
    rows.try_gathered()
}
