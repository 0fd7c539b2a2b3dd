//! Every reading of a file, one segment at a time: constant memory, and no transaction longer than one segment's read, so
//! that a slow taker holds back no writer. Beside a running daemon, what is delivered meanwhile is not met any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::super::cursor::Cursor;
use super::super::names::Names;
use super::super::reader::{self, EpochInfo, ReadError, StreamInfo};
use super::super::segment::{self, PackedRow, Position};
use super::super::{DestinationId, Epoch};
use super::{rfc3339, unix_ms};
use crate::clock::Mono;
use crate::reading::{Class, Resolution, StreamId, Value};

/// A segment, decoded.
#[derive(Debug)]
pub struct Segment {
    /// Its number.
    pub id: i64,
    /// Its class.
    pub class: Class,
    /// The epoch of its readings.
    pub epoch: EpochInfo,
    /// Its destinations, as bits.
    pub routes: i64,
    /// Its readings.
    pub rows: Vec<PackedRow>,
}

/// One reading that waits or was set aside, as it is exported. The order of the fields is the order of CSV's columns.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Line {
    /// `queued` or `set_aside`.
    pub state: &'static str,
    /// Whose.
    pub destination: String,
    /// Stream name.
    pub stream: String,
    /// Registry device.
    pub device: String,
    /// Class.
    pub class: &'static str,
    /// Store epoch, 16 hexadecimal digits.
    pub epoch: String,
    /// Sequence; with the epoch and the stream it is the reading's identity on this gateway.
    pub sequence: u64,
    /// RFC 3339 in UTC, once the boot is dated.
    pub time: Option<String>,
    /// The true time lies within ± this.
    pub uncertainty_ms: Option<u32>,
    /// The kernel's id of the boot, 32 hexadecimal digits.
    pub boot: String,
    /// Microseconds since that boot.
    pub boot_us: u64,
    /// The value; none where the stream said that it has none.
    pub value: Option<Told>,
    /// UCUM unit.
    pub unit: String,
    /// `good` and others.
    pub quality: &'static str,
    /// Why it was set aside.
    pub reason: Option<String>,
    /// The number `fieldgate queue show set-aside` and others know it by.
    pub set_aside: Option<i64>,
}

/// A value as it is told outside.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Told {
    /// A whole number.
    Integer(i64),
    /// Another number.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(Box<str>),
}

impl Told {
    /// A value of a stream with this resolution; `None` for one that is absent.
    #[must_use]
    pub fn of(value: &Value, resolution: Option<Resolution>) -> Option<Self> {
        Some(match value {
            Value::Steps(steps) => {
                let resolution = resolution.unwrap_or(Resolution::ONE);
                let whole = (resolution.denominator == 1)
                    .then(|| steps.checked_mul(i64::from(resolution.numerator)))
                    .flatten();
                whole.map_or_else(|| Self::Number(resolution.value(*steps)), Self::Integer)
            }
            Value::Float(float) => Self::Number(*float),
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Text(text) => Self::Text(text.clone()),
            Value::Absent => return None,
        })
    }
}

/// What is wanted of a file.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only this stream.
    pub stream: Option<String>,
    /// Only this destination.
    pub destination: Option<String>,
    /// Only what was captured at or after this. What is not dated may be younger, and is wanted.
    pub since: Option<jiff::Timestamp>,
}

/// See the module head.
pub struct Walk<'c> {
    connection: &'c Connection,
    names: Names,
    destinations: Vec<(DestinationId, String)>,
    cursors: BTreeMap<(DestinationId, Class), Cursor>,
    after: i64,
}

impl std::fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("after", &self.after).finish_non_exhaustive()
    }
}

impl<'c> Walk<'c> {
    /// At the beginning. What each destination has settled is read now.
    ///
    /// # Errors
    /// When the small tables do not read.
    pub fn new(connection: &'c Connection) -> Result<Self, ReadError> {
        let mut destinations = Vec::new();
        let mut rows =
            connection.prepare("SELECT id, name FROM destinations WHERE NOT removed ORDER BY id")?;
        for row in rows.query_map([], |r| Ok((DestinationId(r.get(0)?), r.get(1)?)))? {
            destinations.push(row?);
        }
        let mut cursors = BTreeMap::new();
        for (destination, _) in &destinations {
            for (class, cursor) in reader::load_cursors(connection, *destination)? {
                cursors.insert((*destination, class), cursor);
            }
        }
        Ok(Self { connection, names: Names::default(), destinations, cursors, after: 0 })
    }

    /// The destinations there are.
    #[must_use]
    pub fn destinations(&self) -> &[(DestinationId, String)] {
        &self.destinations
    }

    /// Where a destination stands in a class: everything before is settled.
    #[must_use]
    pub fn cursor(&self, destination: DestinationId, class: Class) -> Option<Position> {
        self.cursors.get(&(destination, class)).map(Cursor::position)
    }

    /// What is known of a stream.
    ///
    /// # Errors
    /// When the file does not read, or has no such stream.
    pub fn stream(&mut self, segment: i64, id: StreamId) -> Result<Arc<StreamInfo>, ReadError> {
        let known = self.names.stream(self.connection, id)?;
        known.ok_or_else(|| ReadError::Dangling { segment, what: format!("stream {}", id.0) })
    }

    /// What is known of an epoch, by its number in the file.
    ///
    /// # Errors
    /// When the file does not read.
    pub fn epoch(&mut self, number: i64) -> Result<Option<EpochInfo>, ReadError> {
        Ok(self.names.epoch(self.connection, number)?)
    }

    /// Goes on after the segment of this number.
    pub fn go_on_after(&mut self, segment: i64) {
        self.after = segment;
    }

    /// The next segment, in the order of classes and of acceptance. After an error the walk goes on behind it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn next_segment(&mut self) -> Result<Option<Segment>, ReadError> {
        let next = self
            .connection
            .prepare_cached("SELECT id, epoch, routes, body FROM segments WHERE id > ?1 ORDER BY id LIMIT 1")?
            .query_row([self.after], |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?, r.get::<_, Vec<u8>>(3)?))
            })
            .optional()?;
        let Some((id, number, routes, body)) = next else { return Ok(None) };
        self.after = id;
        let dangling = |what: String| ReadError::Dangling { segment: id, what };
        let class = Position { segment: id, row: 0 }.class().ok_or_else(|| dangling("a class".into()))?;
        let epoch = self.epoch(number)?.ok_or_else(|| dangling(format!("epoch {number}")))?;
        let rows = segment::rows(&body)
            .and_then(Iterator::collect)
            .map_err(|damage| ReadError::Damaged { segment: id, damage })?;
        Ok(Some(Segment { id, class, epoch, routes, rows }))
    }

    /// Whether a reading still waits for a destination.
    #[must_use]
    pub fn waits(&self, segment: &Segment, row: &PackedRow, destination: DestinationId) -> bool {
        let position = Position { segment: segment.id, row: row.index };
        segment.routes & destination.bit() != 0
            && self.cursors.get(&(destination, segment.class)).is_some_and(|c| !c.is_settled(position))
    }

    /// Gives every wanted reading that waits, a line for each destination it waits for. `Ok(false)` from `take` ends it.
    /// Returns what did not read.
    ///
    /// # Errors
    /// When the file as a whole does not read, or `take` fails.
    pub fn queued<E: From<ReadError>>(
        &mut self,
        wanted: &Wanted,
        mut take: impl FnMut(Line) -> Result<(), E>,
    ) -> Result<Vec<String>, E> {
        let mut unread = Vec::new();
        loop {
            let segment = match self.next_segment() {
                Ok(Some(segment)) => segment,
                Ok(None) => return Ok(unread),
                Err(error @ (ReadError::Damaged { .. } | ReadError::Dangling { .. })) => {
                    unread.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for row in &segment.rows {
                for place in 0..self.destinations.len() {
                    let Some((destination, name)) = self.destinations.get(place) else { continue };
                    if wanted.destination.as_ref().is_some_and(|d| d != name)
                        || !self.waits(&segment, row, *destination)
                        || !wanted.is_young_enough(&segment.epoch, row.at)
                    {
                        continue;
                    }
                    let name = name.clone();
                    let stream = self.stream(segment.id, row.sample.stream)?;
                    if wanted.stream.as_ref().is_none_or(|s| *s == stream.name) {
                        take(Line { destination: name, ..line(&segment.epoch, row, &stream) })?;
                    }
                }
            }
        }
    }

    /// Gives every wanted reading that is set aside, oldest first.
    ///
    /// # Errors
    /// As [`Walk::queued`].
    pub fn set_aside<E: From<ReadError>>(
        &mut self,
        wanted: &Wanted,
        mut take: impl FnMut(Line) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after = i64::MIN;
        loop {
            let some = super::records::set_aside_after(self.connection, &mut self.names, after, 64)?;
            let Some(last) = some.last() else { return Ok(()) };
            after = last.id;
            for aside in some {
                let of_them = wanted.stream.as_ref().is_none_or(|s| *s == aside.stream)
                    && wanted.destination.as_ref().is_none_or(|d| *d == aside.destination);
                if of_them && aside.epoch.is_none_or(|epoch| wanted.is_young_enough(&epoch, aside.at)) {
                    take(aside.line())?;
                }
            }
        }
    }
}

impl Wanted {
    fn is_young_enough(&self, epoch: &EpochInfo, at: Mono) -> bool {
        let (Some(since), Some(time)) = (self.since, unix_ms(epoch, at)) else { return true };
        time >= since
    }
}

pub(super) fn line(epoch: &EpochInfo, row: &PackedRow, stream: &StreamInfo) -> Line {
    Line {
        state: "queued",
        destination: String::new(),
        stream: stream.name.clone(),
        device: stream.device.clone(),
        class: stream.class.name(),
        epoch: Epoch::to_string(&epoch.epoch),
        sequence: row.sequence,
        time: rfc3339(epoch, row.at),
        uncertainty_ms: epoch.wall_at(row.at).map(|(_, uncertainty)| uncertainty),
        boot: format!("{:?}", epoch.boot),
        boot_us: row.at.0 / 1000,
        value: Told::of(&row.sample.value, stream.resolution),
        unit: stream.unit.clone(),
        quality: row.sample.quality.name(),
        reason: None,
        set_aside: None,
    }
}
