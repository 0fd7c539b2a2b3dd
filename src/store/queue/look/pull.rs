//! The readings on disk in pages behind a cursor, for somebody who collects them beside the destinations. Changes nothing:
//! a reading leaves the file when its destinations have it, and a puller that comes late is told how many segments went.
//!
//! A cursor is 154 hexadecimal digits: version (1 byte), gateway id (16), queue file id (8), the newest epoch when it was
//! given out (8), for each class the segment (6) and the row (2) that come next, and the first bytes of the SHA-256 of all
//! that (4). So a mangled cursor, one of another gateway, one of another file and one of a file that was restored from an
//! older copy are told apart, and none of them silently skips or repeats readings. It is no secret and grants nothing.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use super::super::reader::ReadError;
use super::super::segment::Position;
use super::walk::{Line, Walk, line};
use crate::reading::Class;
use crate::store::sqlite;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It is not what a page gave out.
    #[error(
        "this is not a cursor: it was cut or altered on the way. Send back `next` of the last page as it was, or begin without"
    )]
    Malformed,
    /// Another gateway gave it out.
    #[error("this cursor is another gateway's. Ask that one, or begin without a cursor")]
    OtherGateway,
    /// This gateway gave it out for a file it does not have any more.
    #[error(
        "this cursor is of another queue file: this gateway lost or replaced its own. Begin without a cursor"
    )]
    OtherFile,
    /// The file is an older copy of the one it was given out for.
    #[error(
        "the queue has not what this cursor follows (any more): it was restored from an older copy. Begin without a cursor"
    )]
    Diverged,
    /// The file does not read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<rusqlite::Error> for PullError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Read(error.into())
    }
}

/// A page.
#[derive(Debug, PartialEq)]
pub struct Pulled {
    /// The file's id.
    pub file: u64,
    /// In the order of classes and of acceptance.
    pub readings: Vec<Line>,
    /// Where the next page begins.
    pub next: String,
    /// Whether there is more already.
    pub more: bool,
    /// Segments freed between the cursor and the end of this page.
    pub freed_segments: u64,
}

/// The page after a cursor, or the first: at most `limit` readings.
///
/// # Errors
/// [`PullError`].
pub fn page(path: &Path, gateway: [u8; 16], after: Option<&str>, limit: usize) -> Result<Pulled, PullError> {
    let connection = sqlite::open_reader(path).map_err(ReadError::from)?;
    // One commit's state: a page is short.
    connection.execute_batch("BEGIN")?;
    let here = Here::of(&connection, gateway)?;
    let mut at = match after {
        None => here.begin(&connection)?,
        Some(written) => here.resolve(&connection, written)?,
    };
    let mut walk = Walk::new(&connection)?;
    let (mut readings, mut freed, mut more) = (Vec::new(), 0u64, false);
    for (place, class) in Class::ALL.into_iter().enumerate() {
        let Some(position) = at.get_mut(place) else { continue };
        let end = end_of(&connection, class)?;
        walk.go_on_after(position.segment - 1);
        while position.segment < end && readings.len() < limit {
            let segment = walk.next_segment()?.filter(|segment| segment.class == class);
            let Some(segment) = segment else {
                freed += gap(*position, end);
                *position = Position { segment: end, row: 0 };
                break;
            };
            freed += gap(*position, segment.id);
            let first = if segment.id == position.segment { position.row } else { 0 };
            *position = Position { segment: segment.id, row: first };
            for row in segment.rows.iter().filter(|row| row.index >= first) {
                if readings.len() >= limit {
                    break;
                }
                let stream = walk.stream(segment.id, row.sample.stream)?;
                readings.push(line(&segment.epoch, row, &stream));
                position.row = row.index + 1;
            }
            if position.row as usize >= segment.rows.len() {
                *position = position.next_segment();
            }
        }
        more |= position.segment < end;
    }
    Ok(Pulled { file: here.file, readings, next: here.text(&at), more, freed_segments: freed })
}

/// Segments that are not there any more between a position and the next segment there is.
fn gap(from: Position, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from.segment)).unwrap_or(0)
}

const VERSION: u8 = 1;
const CLASSES: usize = Class::ALL.len();
const BODY: usize = 1 + 16 + 8 + 8 + CLASSES * 8;
const LENGTH: usize = BODY + 4;
/// A segment's number is its class above this many bits.
const NUMBER_BITS: u32 = 48;

type Places = [Position; CLASSES];

/// The file as it is now.
struct Here {
    gateway: [u8; 16],
    file: u64,
    epoch: [u8; 8],
}

impl Here {
    fn of(c: &Connection, gateway: [u8; 16]) -> rusqlite::Result<Self> {
        let file: i64 = c.query_row("SELECT value FROM meta WHERE key = 'file_id'", [], |r| r.get(0))?;
        let epoch: i64 =
            c.query_row("SELECT epoch FROM epochs ORDER BY number DESC LIMIT 1", [], |r| r.get(0))?;
        Ok(Self { gateway, file: file.cast_unsigned(), epoch: epoch.to_be_bytes() })
    }

    /// The oldest that is there.
    fn begin(&self, c: &Connection) -> rusqlite::Result<Places> {
        let mut places = Class::ALL.map(Position::first_of);
        for (place, class) in places.iter_mut().zip(Class::ALL) {
            let end = end_of(c, class)?;
            let oldest: Option<i64> = c.query_row(
                "SELECT min(id) FROM segments WHERE id >= ?1 AND id < ?2",
                (place.segment, end),
                |r| r.get(0),
            )?;
            place.segment = oldest.unwrap_or(end);
        }
        Ok(places)
    }

    fn text(&self, places: &Places) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.gateway);
        bytes.extend_from_slice(&self.file.to_be_bytes());
        bytes.extend_from_slice(&self.epoch);
        for place in places {
            let number = place.segment & ((1 << NUMBER_BITS) - 1);
            bytes.extend_from_slice(number.to_be_bytes().get(2..).unwrap_or_default());
            bytes.extend_from_slice(&u16::try_from(place.row).unwrap_or(u16::MAX).to_be_bytes());
        }
        bytes.extend_from_slice(&check(&bytes));
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn resolve(&self, c: &Connection, written: &str) -> Result<Places, PullError> {
        let cursor = parse(written).ok_or(PullError::Malformed)?;
        if cursor.gateway != self.gateway {
            return Err(PullError::OtherGateway);
        }
        if cursor.file != self.file {
            return Err(PullError::OtherFile);
        }
        let given_under: Option<i64> = c
            .query_row(
                "SELECT number FROM epochs WHERE epoch = ?1",
                [i64::from_be_bytes(cursor.epoch)],
                |r| r.get(0),
            )
            .optional()?;
        let given_under = given_under.ok_or(PullError::Diverged)?;
        for (place, class) in cursor.places.iter().zip(Class::ALL) {
            if place.segment > end_of(c, class)? {
                return Err(PullError::Diverged);
            }
            // What lies before the cursor was there when it was given out: nothing of a later start can.
            let before: Option<i64> = c
                .query_row(
                    "SELECT epoch FROM segments WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT 1",
                    (Position::first_of(class).segment, place.segment),
                    |r| r.get(0),
                )
                .optional()?;
            if before.is_some_and(|epoch| epoch > given_under) {
                return Err(PullError::Diverged);
            }
        }
        Ok(cursor.places)
    }
}

/// One past the newest segment a class has had.
fn end_of(c: &Connection, class: Class) -> rusqlite::Result<i64> {
    let first = Position::first_of(class).segment;
    let end: Option<i64> = c.query_row(
        "SELECT max(n) FROM (SELECT max(id) + 1 AS n FROM segments WHERE id >= ?1 AND id < ?2
                             UNION ALL SELECT max(segment + (row > 0)) FROM cursors WHERE class = ?3)",
        (first, first + (1 << NUMBER_BITS) - 1, class as i64),
        |r| r.get(0),
    )?;
    Ok(end.unwrap_or(first).max(first))
}

struct Cursor {
    gateway: [u8; 16],
    file: u64,
    epoch: [u8; 8],
    places: Places,
}

fn parse(written: &str) -> Option<Cursor> {
    let digits = written.as_bytes();
    if digits.len() != LENGTH * 2 || !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let bytes: Vec<u8> = (0..LENGTH)
        .map(|n| u8::from_str_radix(written.get(n * 2..n * 2 + 2)?, 16).ok())
        .collect::<Option<_>>()?;
    let (body, sum) = bytes.split_at_checked(BODY)?;
    if body.first() != Some(&VERSION) || sum != check(body) {
        return None;
    }
    let mut places = Class::ALL.map(Position::first_of);
    for (n, place) in places.iter_mut().enumerate() {
        let at = 33 + n * 8;
        let mut number = [0u8; 8];
        number.get_mut(2..)?.copy_from_slice(body.get(at..at + 6)?);
        let class = place.segment >> NUMBER_BITS;
        *place = Position {
            segment: (class << NUMBER_BITS) + i64::from_be_bytes(number),
            row: u16::from_be_bytes(body.get(at + 6..at + 8)?.try_into().ok()?).into(),
        };
    }
    Some(Cursor {
        gateway: body.get(1..17)?.try_into().ok()?,
        file: u64::from_be_bytes(body.get(17..25)?.try_into().ok()?),
        epoch: body.get(25..33)?.try_into().ok()?,
        places,
    })
}

fn check(body: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(body));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_place_has_one_text_that_reads_back(
            gateway: [u8; 16], file: u64, epoch: [u8; 8], numbers in prop::array::uniform5(1i64..1 << 40), row in 0u32..4097,
        ) {
            let mut places = Class::ALL.map(Position::first_of);
            for (place, number) in places.iter_mut().zip(numbers) {
                *place = Position { segment: place.segment - 1 + number, row };
            }
            let cursor = parse(&Here { gateway, file, epoch }.text(&places)).unwrap();
            prop_assert_eq!((cursor.gateway, cursor.file, cursor.epoch, cursor.places), (gateway, file, epoch, places));
        }

        #[test]
        fn no_text_is_taken_for_a_cursor_by_accident(written in "\\PC{0,200}|[0-9a-f]{154}|01[0-9a-f]{152}") {
            prop_assert!(parse(&written).is_none());
        }
    }
}
