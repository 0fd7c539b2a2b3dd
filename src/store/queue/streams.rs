//! Definitions of streams in the file: each definition has one number, and keeps it.

use rusqlite::{OptionalExtension, Transaction};

use super::reader::StreamInfo;
use crate::reading::{Class, Resolution, StreamId};

/// As many definitions are given by [`newest`].
const NEWEST: u32 = 128;

/// The definitions in use, and the newest that were.
///
/// # Errors
/// What SQLite says.
pub(super) fn newest(tx: &Transaction<'_>) -> rusqlite::Result<Vec<(StreamId, StreamInfo)>> {
    let mut rows = tx.prepare(
        "SELECT id, name, group_name, device, class, unit, resolution_numerator, resolution_denominator, alias
         FROM streams ORDER BY current DESC, id DESC LIMIT ?1",
    )?;
    rows.query_map([NEWEST], |r| {
        let (numerator, denominator): (Option<u32>, Option<u32>) = (r.get(6)?, r.get(7)?);
        let info = StreamInfo {
            name: r.get(1)?,
            group: r.get(2)?,
            device: r.get(3)?,
            class: Class::from_number(r.get(4)?).unwrap_or(Class::Telemetry),
            unit: r.get(5)?,
            resolution: numerator
                .zip(denominator)
                .map(|(numerator, denominator)| Resolution { numerator, denominator }),
            alias: r.get(8)?,
        };
        Ok((StreamId(r.get(0)?), info))
    })?
    .collect()
}

/// The number of exactly this definition, if the file has it.
///
/// # Errors
/// What SQLite says.
pub(super) fn find(tx: &Transaction<'_>, info: &StreamInfo) -> rusqlite::Result<Option<StreamId>> {
    let resolution = info.resolution.map(|r| (r.numerator, r.denominator));
    tx.prepare_cached(
        "SELECT id FROM streams WHERE name = ?1 AND group_name = ?2 AND device = ?3 AND class = ?4 AND unit = ?5
         AND resolution_numerator IS ?6 AND resolution_denominator IS ?7 AND alias = ?8",
    )?
    .query_row(
        (
            &info.name,
            &info.group,
            &info.device,
            info.class as i64,
            &info.unit,
            resolution.map(|(numerator, _)| numerator),
            resolution.map(|(_, denominator)| denominator),
            &info.alias,
        ),
        |r| Ok(StreamId(r.get(0)?)),
    )
    .optional()
}

/// Gives a definition the number `kept`, or else the next.
///
/// # Errors
/// What SQLite says.
pub(super) fn define(
    tx: &Transaction<'_>,
    info: &StreamInfo,
    current: bool,
    kept: Option<StreamId>,
) -> rusqlite::Result<StreamId> {
    let resolution = info.resolution.map(|r| (r.numerator, r.denominator));
    tx.prepare_cached(
        "INSERT INTO streams (name, group_name, device, class, unit, resolution_numerator, resolution_denominator, alias,
                              id, current)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        &info.name,
        &info.group,
        &info.device,
        info.class as i64,
        &info.unit,
        resolution.map(|(numerator, _)| numerator),
        resolution.map(|(_, denominator)| denominator),
        &info.alias,
        kept.map(|k| k.0),
        current,
    ))?;
    let id = tx.last_insert_rowid();
    u32::try_from(id).map(StreamId).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, id))
}
