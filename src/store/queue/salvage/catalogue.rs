//! What the small tables of a damaged file still say: epochs, streams, destinations, cursors.
//!
//! Gathered row by row from whichever pages hold them, told apart by their shape; no two tables of this schema share one.
//! An epoch has a checksum of its own ([`check`]): one that does not hold is no epoch, and its readings get an identity
//! that nobody else has. The other rows have none. A stream or a destination never changes what defines it, so that any copy
//! of a row is as good as another and the first one found counts; but the file keeps a [`copy`] of what matters most that
//! does have one, and where that holds, it counts instead: a damaged name must not send readings under another name.
//! Cursors only move forward: the furthest sound one counts, because it can only leave out what was settled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::books::{Account, Intake};
use super::super::cursor::Cursor;
use super::super::reader::StreamInfo;
use super::super::segment::Position;
use super::super::{DestinationId, Epoch};
pub(in super::super) use super::losses::{DropRow, GapRow};
use super::record::Field;
use crate::clock::BootId;
use crate::reading::{Class, Resolution, StreamId};

/// As many epochs or streams are kept in mind.
pub(super) const MOST: usize = 1 << 14;

/// See the module head.
#[derive(Debug, Default)]
pub(in super::super) struct Catalogue {
    pub(in super::super) epochs: BTreeMap<i64, EpochRow>,
    pub(in super::super) streams: BTreeMap<StreamId, StreamInfo>,
    pub(in super::super) destinations: BTreeMap<DestinationId, String>,
    cursors: BTreeMap<(DestinationId, Class), Cursor>,
    /// The file's own id.
    pub(in super::super) file_id: Option<i64>,
    pub(in super::super) drops: BTreeMap<i64, DropRow>,
    pub(in super::super) gaps: BTreeMap<i64, GapRow>,
    pub(in super::super) intake: BTreeMap<StreamId, Intake>,
    pub(in super::super) accounts: BTreeMap<(DestinationId, StreamId), Account>,
    /// By destination, kind and record.
    pub(in super::super) told: BTreeMap<(DestinationId, i64, i64), i64>,
}

/// An epoch as its file knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct EpochRow {
    pub(in super::super) epoch: Epoch,
    pub(in super::super) boot: BootId,
    pub(in super::super) first_mono_ns: i64,
    pub(in super::super) wall_offset_ms: Option<(i64, u32)>,
}

impl Catalogue {
    /// Whether `destination` had settled the reading at `position`.
    pub(in super::super) fn is_settled(&self, destination: DestinationId, position: Position) -> bool {
        let cursor = position.class().and_then(|class| self.cursors.get(&(destination, class)));
        cursor.is_some_and(|cursor| cursor.is_settled(position))
    }

    /// Takes a row for what its shape says it is.
    pub(super) fn note(&mut self, rowid: Option<i64>, row: &[Field<'_>], sound: bool) {
        match (rowid, row) {
            (
                Some(number),
                [
                    Field::Null,
                    Field::Int(epoch),
                    Field::Blob(boot),
                    Field::Int(first_mono_ns),
                    offset @ (Field::Null | Field::Int(_)),
                    uncertainty @ (Field::Null | Field::Int(_)),
                    Field::Null | Field::Text(_),
                    Field::Int(0 | 1),
                    since @ ..,
                ],
            ) => {
                // Readings of an epoch that was corrected go out as those before them, which the correction put right.
                let dated_with = since.get(3).and_then(int);
                let Ok(boot) = <[u8; 16]>::try_from(*boot) else { return };
                let found = EpochRow {
                    epoch: Epoch(epoch.cast_unsigned()),
                    boot: BootId(boot),
                    first_mono_ns: *first_mono_ns,
                    wall_offset_ms: dated_with
                        .or(int(offset))
                        .map(|o| (o, int(uncertainty).and_then(|u| u.try_into().ok()).unwrap_or(u32::MAX))),
                };
                // A release that knew no checksum wrote none.
                let said = since.get(4).and_then(int);
                if said.is_some_and(|said| said != check(number, found.epoch, found.boot, *first_mono_ns)) {
                    return;
                }
                if self.epochs.len() < MOST {
                    let known = self.epochs.entry(number).or_insert(found);
                    // The only thing about an epoch that is learned later.
                    if known.epoch == found.epoch && known.wall_offset_ms.is_none() {
                        known.wall_offset_ms = found.wall_offset_ms;
                    }
                }
            }
            (Some(id), _) if self.note_stream(id, row) => {}
            (
                Some(id @ 0..=61),
                [Field::Null, Field::Text(name), Field::Int(0 | 1), Field::Null | Field::Int(_), ..],
            ) => {
                let id = DestinationId(u8::try_from(id).unwrap_or(61));
                self.destinations.entry(id).or_insert_with(|| (*name).to_owned());
            }
            (
                None,
                [
                    Field::Int(destination @ 0..=61),
                    Field::Int(class),
                    Field::Int(segment),
                    Field::Int(row),
                    Field::Blob(islands),
                    ..,
                ],
            ) if sound => {
                let key = DestinationId(u8::try_from(*destination).unwrap_or(61));
                let at = u32::try_from(*row).ok().map(|row| Position { segment: *segment, row });
                let found = at.and_then(|at| Cursor::from_parts(at, islands));
                let Some((class, found)) = Class::from_number(*class).zip(found) else { return };
                if found.position().class() != Some(class) {
                    return;
                }
                let known = self.cursors.entry((key, class)).or_insert_with(|| found.clone());
                if known.position() < found.position() {
                    *known = found;
                }
            }
            _ => {}
        }
    }

    fn note_stream(&mut self, id: i64, row: &[Field<'_>]) -> bool {
        let [
            Field::Null,
            Field::Text(name),
            Field::Text(group),
            Field::Text(device),
            Field::Int(class),
            Field::Text(unit),
            numerator @ (Field::Null | Field::Int(_)),
            denominator @ (Field::Null | Field::Int(_)),
            Field::Text(alias),
            Field::Int(0 | 1),
            ..,
        ] = row
        else {
            return false;
        };
        let part = |field| int(field).and_then(|n| u32::try_from(n).ok());
        let Some((id, class)) = u32::try_from(id).ok().zip(Class::from_number(*class)) else { return true };
        if self.streams.len() < MOST {
            self.streams.entry(StreamId(id)).or_insert_with(|| StreamInfo {
                name: (*name).to_owned(),
                group: (*group).to_owned(),
                device: (*device).to_owned(),
                class,
                unit: (*unit).to_owned(),
                resolution: part(numerator)
                    .zip(part(denominator))
                    .map(|(numerator, denominator)| Resolution { numerator, denominator }),
                alias: (*alias).to_owned(),
            });
        }
        true
    }
}

pub(super) fn int(field: &Field<'_>) -> Option<i64> {
    match field {
        Field::Int(n) => Some(*n),
        _ => None,
    }
}

/// Of what never changes about an epoch: its row carries it in `epochs.crc`.
pub(in super::super) fn check(number: i64, epoch: Epoch, boot: BootId, first_mono_ns: i64) -> i64 {
    let mut digest = CRC.digest();
    digest.update(&number.to_be_bytes());
    digest.update(&epoch.0.to_be_bytes());
    digest.update(&boot.0);
    digest.update(&first_mono_ns.to_be_bytes());
    digest.finalize().into()
}

/// The key in `meta` under which a file keeps [`copy`].
pub(super) const COPY: &str = "copy";

/// As many starts are in a [`copy`].
const STARTS: u32 = 32;

/// What readings refer to, once more and on another page than the tables have it: one damaged page must not make all
/// others unreadable. The newest starts, and the definitions of streams in use and the newest before them; JSON.
///
/// # Errors
/// What SQLite says.
pub(in super::super) fn copy(tx: &rusqlite::Transaction<'_>) -> rusqlite::Result<String> {
    let mut epochs = tx.prepare(
        "SELECT number, epoch, boot_id, first_mono_ns, wall_offset_ms, wall_uncertainty_ms FROM epochs
         ORDER BY number DESC LIMIT ?1",
    )?;
    let epochs = epochs.query_map([STARTS], |r| {
        let (offset, uncertainty): (Option<i64>, Option<u32>) = (r.get(4)?, r.get(5)?);
        Ok(Start {
            number: r.get(0)?,
            epoch: r.get::<_, i64>(1)?.cast_unsigned(),
            boot: format!("{:032x}", u128::from_be_bytes(r.get(2)?)),
            first_mono_ns: r.get(3)?,
            wall: offset.map(|offset| (offset, uncertainty.unwrap_or(u32::MAX))),
        })
    })?;
    let epochs = epochs.collect::<rusqlite::Result<_>>()?;
    let streams = super::super::streams::newest(tx)?;
    let streams = streams.iter().map(|(id, s)| Defined {
        id: id.0,
        name: s.name.clone(),
        group: s.group.clone(),
        device: s.device.clone(),
        class: s.class as i64,
        unit: s.unit.clone(),
        resolution: s.resolution.map(|r| (r.numerator, r.denominator)),
        alias: s.alias.clone(),
    });
    let copy = Copy { epochs, streams: streams.collect() };
    let json = serde_json::to_string(&copy).unwrap_or_default();
    Ok(format!("{:08x}{json}", CRC.checksum(json.as_bytes())))
}

/// Ahead of the JSON, as eight hexadecimal digits.
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Writes a [`copy`] to pages of its own, whether or not it says anything new: done once in each round of the log, the
/// log alone is enough to understand what stands in it.
///
/// # Errors
/// What SQLite says.
pub(in super::super) fn keep_copy(tx: &rusqlite::Transaction<'_>, copy: &str) -> rusqlite::Result<()> {
    // Not replaced in place: SQLite does not write a page that stays the same.
    tx.execute("DELETE FROM meta WHERE key = ?1", [COPY])?;
    tx.execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", (COPY, copy))?;
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Copy {
    epochs: Vec<Start>,
    streams: Vec<Defined>,
}

#[derive(Serialize, Deserialize)]
struct Start {
    number: i64,
    epoch: u64,
    /// 32 hexadecimal digits.
    boot: String,
    first_mono_ns: i64,
    wall: Option<(i64, u32)>,
}

#[derive(Serialize, Deserialize)]
struct Defined {
    id: u32,
    name: String,
    group: String,
    device: String,
    class: i64,
    unit: String,
    resolution: Option<(u32, u32)>,
    alias: String,
}

impl Catalogue {
    /// Takes a file's [`copy`], if its checksum holds, for truer than the tables.
    pub(super) fn note_copy(&mut self, text: &str) {
        let Some((crc, json)) = text.split_at_checked(8) else { return };
        if u32::from_str_radix(crc, 16) != Ok(CRC.checksum(json.as_bytes())) {
            return;
        }
        let Ok(copy) = serde_json::from_str::<Copy>(json) else { return };
        for start in copy.epochs {
            let Ok(boot) = u128::from_str_radix(&start.boot, 16) else { continue };
            let epoch = Epoch(start.epoch);
            // The wall time of the newest is learned after this was written; only the table has it.
            let known = self.epochs.get(&start.number).filter(|known| known.epoch == epoch);
            let wall_offset_ms = start.wall.or(known.and_then(|known| known.wall_offset_ms));
            let (boot, first_mono_ns) = (BootId(boot.to_be_bytes()), start.first_mono_ns);
            self.epochs.insert(start.number, EpochRow { epoch, boot, first_mono_ns, wall_offset_ms });
        }
        for stream in copy.streams {
            let Some(class) = Class::from_number(stream.class) else { continue };
            let Defined { id, name, group, device, unit, resolution, alias, .. } = stream;
            let resolution = resolution.map(|(numerator, denominator)| Resolution { numerator, denominator });
            let info = StreamInfo { name, group, device, class, unit, resolution, alias };
            self.streams.insert(StreamId(id), info);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(boot: [u8; 16], crc: Option<i64>) -> Option<EpochRow> {
        let mut row = vec![Field::Null, Field::Int(77), Field::Blob(&boot), Field::Int(5)];
        row.extend([Field::Null, Field::Null, Field::Null, Field::Int(1)]);
        row.extend([Field::Null, Field::Null, Field::Int(0), Field::Null]);
        row.extend(crc.map(Field::Int));
        let mut catalogue = Catalogue::default();
        catalogue.note(Some(3), &row, true);
        catalogue.epochs.get(&3).copied()
    }

    #[test]
    fn an_epoch_whose_checksum_does_not_hold_is_no_epoch_and_one_that_has_none_is_believed() {
        let crc = check(3, Epoch(77), BootId([9; 16]), 5);
        assert_eq!(noted([9; 16], Some(crc)).map(|row| row.boot), Some(BootId([9; 16])));
        assert_eq!(noted([8; 16], Some(crc)), None);
        assert_eq!(noted([9; 16], Some(crc ^ 1)), None);
        assert_eq!(noted([8; 16], None).map(|row| row.boot), Some(BootId([8; 16])));
    }
}
