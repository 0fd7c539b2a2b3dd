//! How much waits where and since when, from the books and the small tables alone: no segment is decoded, so that a queue
//! of a million readings is told as fast as an empty one. What the books say is [`super::super::verify`]'s to check.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::super::books::Books;
use super::super::handle::Totals;
use super::super::names::Names;
use super::super::reader::{self, ReadError};
use super::super::segment::Position;
use super::super::{DestinationId, Epoch};
use super::when;
use crate::clock::Mono;
use crate::reading::{Class, StreamId};

/// See the module head.
#[derive(Debug, Default)]
pub struct Overview {
    /// The file's random id.
    pub file_id: u64,
    /// The newest epoch.
    pub epoch: Option<Epoch>,
    /// The producing side, all streams.
    pub intake: Totals,
    /// By destination.
    pub destinations: Vec<DestinationView>,
    /// Segments in the file.
    pub segments: u64,
    /// Statements about files that this one replaced, oldest first.
    pub statements: Vec<String>,
}

/// One destination's consuming side.
#[derive(Debug)]
pub struct DestinationView {
    /// Its name.
    pub name: String,
    /// No longer configured.
    pub removed: bool,
    /// All classes.
    pub totals: Totals,
    /// What waits, by class, most urgent first; classes without any are left out.
    pub waits: Vec<Waits>,
}

/// What waits for a destination in a class.
#[derive(Debug, PartialEq, Eq)]
pub struct Waits {
    /// The class.
    pub class: Class,
    /// How many readings.
    pub count: u64,
    /// The first segment with one of them, and about when that was captured, for people.
    pub oldest: Option<(i64, String)>,
}

/// Reads it.
///
/// # Errors
/// [`ReadError`].
pub fn overview(c: &Connection) -> Result<Overview, ReadError> {
    // One commit's state of everything; short, because all of it is small.
    c.execute_batch("BEGIN")?;
    let told = read(c);
    c.execute_batch("COMMIT")?;
    told
}

/// The names of the streams, or of the destinations, that the file knows, in order.
///
/// # Errors
/// [`ReadError`].
pub fn names(c: &Connection, of_streams: bool) -> Result<Vec<String>, ReadError> {
    let table = if of_streams { "streams" } else { "destinations" };
    let mut rows = c.prepare(&format!("SELECT DISTINCT name FROM {table} ORDER BY name"))?;
    Ok(rows.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Every definition of the stream of this name, oldest first, with its class.
///
/// # Errors
/// [`ReadError`].
pub fn definitions(c: &Connection, name: &str) -> Result<Vec<(StreamId, Class)>, ReadError> {
    let mut rows = c.prepare("SELECT id, class FROM streams WHERE name = ?1 ORDER BY id")?;
    let rows = rows.query_map([name], |r| Ok((StreamId(r.get(0)?), r.get(1)?)))?;
    let known = |row: rusqlite::Result<(StreamId, i64)>| {
        let (id, class) = row?;
        Ok((id, Class::from_number(class).unwrap_or(Class::Telemetry)))
    };
    rows.map(known).collect()
}

/// The first and the last segment of a class, and how many there are.
///
/// # Errors
/// [`ReadError`].
pub fn segments_of(c: &Connection, class: Class) -> Result<Option<(i64, i64, u64)>, ReadError> {
    let first = Position::first_of(class).segment;
    let (from, to, count): (Option<i64>, Option<i64>, i64) = c.query_row(
        "SELECT min(id), max(id), count(*) FROM segments WHERE id >= ?1 AND id < ?2",
        (first, first + (1 << 48) - 1),
        |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
    )?;
    Ok(from.zip(to).map(|(from, to)| (from, to, count.cast_unsigned())))
}

fn read(c: &Connection) -> Result<Overview, ReadError> {
    let books = Books::load(c)?;
    let mut classes = BTreeMap::new();
    let mut rows = c.prepare("SELECT id, class FROM streams")?;
    for row in rows.query_map([], |r| Ok((StreamId(r.get(0)?), r.get(1)?)))? {
        let (stream, class) = row?;
        classes.insert(stream, Class::from_number(class).unwrap_or(Class::Telemetry));
    }
    let mut intake = Totals::default();
    for one in books.intake.values() {
        intake = intake.plus(Totals {
            accepted: one.accepted,
            refused: one.refused,
            coalesced: one.coalesced,
            missed: one.missed,
            ..Totals::default()
        });
    }
    let mut destinations = Vec::new();
    let mut rows = c.prepare("SELECT id, name, removed FROM destinations ORDER BY id")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        destinations.push(destination(
            c,
            &books,
            &classes,
            DestinationId(row.get(0)?),
            row.get(1)?,
            row.get(2)?,
        )?);
    }
    let file_id: i64 = c.query_row("SELECT value FROM meta WHERE key = 'file_id'", [], |r| r.get(0))?;
    let epoch: Option<i64> =
        c.query_row("SELECT epoch FROM epochs ORDER BY number DESC LIMIT 1", [], |r| r.get(0)).optional()?;
    let segments: i64 = c.query_row("SELECT count(*) FROM segments", [], |r| r.get(0))?;
    let mut rows = c.prepare("SELECT kind || ': ' || detail FROM statements ORDER BY id")?;
    let statements = rows.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(Overview {
        file_id: file_id.cast_unsigned(),
        epoch: epoch.map(|e| Epoch(e.cast_unsigned())),
        intake,
        destinations,
        segments: segments.cast_unsigned(),
        statements,
    })
}

fn destination(
    c: &Connection,
    books: &Books,
    classes: &BTreeMap<StreamId, Class>,
    id: DestinationId,
    name: String,
    removed: bool,
) -> Result<DestinationView, ReadError> {
    let mut totals = Totals::default();
    let mut queued: BTreeMap<Class, u64> = BTreeMap::new();
    for ((_, stream), account) in books.accounts.iter().filter(|((d, _), _)| *d == id) {
        let intake = books.intake.get(stream).copied().unwrap_or_default();
        let waiting = account.queued(&intake);
        totals = totals.plus(Totals {
            accepted: account.accepted(&intake),
            acknowledged: account.acknowledged,
            dropped: account.dropped,
            set_aside: account.set_aside,
            queued: waiting,
            ..Totals::default()
        });
        *queued.entry(classes.get(stream).copied().unwrap_or(Class::Telemetry)).or_default() += waiting;
    }
    let cursors = reader::load_cursors(c, id)?;
    let mut names = Names::default();
    let mut waits = Vec::new();
    for (class, count) in queued.into_iter().filter(|(_, count)| *count > 0) {
        let from = cursors
            .get(&class)
            .map_or_else(|| Position::first_of(class), super::super::cursor::Cursor::position);
        let end = Position::first_of(class).segment + (1 << 48) - 1;
        let oldest: Option<(i64, i64, i64)> = c
            .prepare_cached(
                "SELECT id, epoch, first_mono_us FROM segments WHERE id >= ?1 AND id < ?2 AND routes & ?3 <> 0
                 ORDER BY id LIMIT 1",
            )?
            .query_row((from.segment, end, id.bit()), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .optional()?;
        let oldest = match oldest {
            Some((segment, epoch, us)) => {
                let epoch = names.epoch(c, epoch)?;
                let at = Mono(us.max(0).cast_unsigned().saturating_mul(1000));
                Some((segment, when(epoch.as_ref(), at)))
            }
            None => None,
        };
        waits.push(Waits { class, count, oldest });
    }
    Ok(DestinationView { name, removed, totals, waits })
}
