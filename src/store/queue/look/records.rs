//! What is on record about readings that a destination did not get: drops, gaps, and what was set aside.

use rusqlite::Connection;

use super::super::Epoch;
use super::super::names::Names;
use super::super::reader::{EpochInfo, ReadError};
use super::super::segment::{self, PackedRow};
use super::walk::{Line, line};
use super::when;
use crate::clock::Mono;
use crate::reading::{Quality, Sample, StreamId, Value};

/// Readings given up for a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Whose.
    pub destination: String,
    /// Of which stream.
    pub stream: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// Which, where that is known.
    pub range: Option<Range>,
    /// When it last grew, for people.
    pub last: String,
}

/// A range of sequences of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The epoch, unless that is forgotten.
    pub epoch: Option<Epoch>,
    /// First and last.
    pub sequences: (u64, u64),
    /// Records were merged: readings between the ends are not lost.
    pub wide: bool,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.sequences {
            (first, last) if first == last => write!(f, "number {first}")?,
            (first, last) => write!(f, "numbers {first} to {last}")?,
        }
        if self.wide {
            f.write_str(" and not all of them")?;
        }
        match self.epoch {
            Some(epoch) => write!(f, " of epoch {epoch}"),
            None => f.write_str(" of an epoch that is forgotten"),
        }
    }
}

/// Readings that were due and never accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Whose; `None` for all streams.
    pub stream: Option<String>,
    /// `missed`, `refused` or `coalesced`.
    pub kind: String,
    /// Why.
    pub reason: String,
    /// First and last sequence, where known.
    pub sequences: Option<(u64, u64)>,
    /// How many, where known.
    pub count: Option<u64>,
    /// From when to when, for people.
    pub times: (String, String),
}

/// A reading that a destination refuses for its content.
#[derive(Debug, Clone, PartialEq)]
pub struct SetAside {
    /// What `retry` and `drop` know it by.
    pub id: i64,
    /// Who refused it.
    pub destination: String,
    /// Its stream.
    pub stream: String,
    /// Why it was refused.
    pub reason: String,
    /// Its epoch, unless that is forgotten.
    pub epoch: Option<EpochInfo>,
    /// When it was captured.
    pub at: Mono,
    /// Its sequence.
    pub sequence: u64,
    told: Line,
}

impl SetAside {
    /// As it is exported.
    #[must_use]
    pub fn line(self) -> Line {
        Line {
            state: "set_aside",
            destination: self.destination,
            stream: self.stream,
            reason: Some(self.reason),
            set_aside: Some(self.id),
            ..self.told
        }
    }
}

/// Drops, newest first; of one stream if one is named.
///
/// # Errors
/// [`ReadError`].
pub fn drops(c: &Connection, stream: Option<&str>) -> Result<Vec<GivenUp>, ReadError> {
    let mut names = Names::default();
    let mut rows = c.prepare(
        "SELECT coalesce(d.name, '?'), coalesce(s.name, '?'), r.reason, r.count, r.at_epoch, r.at_mono_ns, r.epoch,
                r.first_sequence, r.last_sequence, r.extent = 1
         FROM drops AS r LEFT JOIN destinations AS d ON d.id = r.destination LEFT JOIN streams AS s ON s.id = r.stream
         WHERE ?1 IS NULL OR s.name = ?1 ORDER BY r.at_epoch DESC, r.at_mono_ns DESC, r.id DESC",
    )?;
    let mut rows = rows.query([stream])?;
    let mut drops = Vec::new();
    while let Some(row) = rows.next()? {
        let epoch = names.epoch(c, row.get(4)?)?;
        let (first, last): (Option<i64>, Option<i64>) = (row.get(7)?, row.get(8)?);
        let of: Option<i64> = row.get(6)?;
        let range = match first.zip(last) {
            Some((first, last)) => Some(Range {
                epoch: of.map(|of| names.epoch(c, of)).transpose()?.flatten().map(|of| of.epoch),
                sequences: (first.cast_unsigned(), last.cast_unsigned()),
                wide: row.get(9)?,
            }),
            None => None,
        };
        drops.push(GivenUp {
            destination: row.get(0)?,
            stream: row.get(1)?,
            reason: row.get(2)?,
            count: row.get::<_, i64>(3)?.cast_unsigned(),
            range,
            last: when(epoch.as_ref(), mono(row.get(5)?)),
        });
    }
    Ok(drops)
}

/// The newest gaps, at most `most`, newest first; of one stream if one is named, those of all streams included.
///
/// # Errors
/// [`ReadError`].
pub fn gaps(c: &Connection, stream: Option<&str>, most: u32) -> Result<Vec<Gap>, ReadError> {
    let mut names = Names::default();
    let mut rows = c.prepare(
        "SELECT s.name, g.kind, g.reason, g.first_sequence, g.last_sequence, g.count, g.epoch, g.first_mono_ns,
                g.last_mono_ns
         FROM gaps AS g LEFT JOIN streams AS s ON s.id = g.stream
         WHERE ?1 IS NULL OR g.stream IS NULL OR s.name = ?1 ORDER BY g.id DESC LIMIT ?2",
    )?;
    let mut rows = rows.query((stream, most))?;
    let mut gaps = Vec::new();
    while let Some(row) = rows.next()? {
        let epoch = names.epoch(c, row.get(6)?)?;
        let (first, last): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
        gaps.push(Gap {
            stream: row.get(0)?,
            kind: row.get(1)?,
            reason: row.get(2)?,
            sequences: first.map(i64::cast_unsigned).zip(last.map(i64::cast_unsigned)),
            count: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
            times: (when(epoch.as_ref(), mono(row.get(7)?)), when(epoch.as_ref(), mono(row.get(8)?))),
        });
    }
    Ok(gaps)
}

/// The first `most` readings set aside whose number is greater than `after`.
///
/// # Errors
/// [`ReadError`].
pub fn set_aside(c: &Connection, after: i64, most: u32) -> Result<Vec<SetAside>, ReadError> {
    set_aside_after(c, &mut Names::default(), after, most)
}

pub(super) fn set_aside_after(
    c: &Connection,
    names: &mut Names,
    after: i64,
    most: u32,
) -> Result<Vec<SetAside>, ReadError> {
    let mut rows = c.prepare_cached(
        "SELECT a.id, coalesce(d.name, '?'), a.stream, a.epoch, a.sequence, a.mono_ns, a.body, a.reason
         FROM set_aside AS a LEFT JOIN destinations AS d ON d.id = a.destination
         WHERE a.id > ?1 ORDER BY a.id LIMIT ?2",
    )?;
    let mut rows = rows.query((after, most))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let (epoch, at) = (names.epoch(c, row.get(3)?)?, mono(row.get(5)?));
        let dangling = |what: String| ReadError::Dangling { segment: id, what };
        let number = StreamId(row.get(2)?);
        let stream = names.stream(c, number)?.ok_or_else(|| dangling(format!("stream {}", number.0)))?;
        let sequence = row.get::<_, i64>(4)?.cast_unsigned();
        let body: Vec<u8> = row.get(6)?;
        // A body that did not read when it was set aside is empty: what it held is not known any more.
        let packed = segment::rows(&body).ok().and_then(|mut rows| rows.next()?.ok()).unwrap_or(PackedRow {
            index: 0,
            sequence,
            at,
            sample: Sample { stream: number, value: Value::Absent, quality: Quality::Good },
        });
        let undated = EpochInfo {
            number: 0,
            epoch: Epoch(0),
            boot: crate::clock::BootId([0; 16]),
            wall_offset_ms: None,
            known_at: Mono::default(),
            dated_with_ms: None,
            revision: 0,
        };
        let told = line(&epoch.unwrap_or(undated), &packed, &stream);
        found.push(SetAside {
            id,
            destination: row.get(1)?,
            stream: stream.name.clone(),
            reason: row.get(7)?,
            epoch,
            at,
            sequence,
            told,
        });
    }
    Ok(found)
}

fn mono(ns: i64) -> Mono {
    Mono(ns.max(0).cast_unsigned())
}
