//! The same file once more, in the same run.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::super::books::Books;
use super::super::cursor::Cursor;
use super::super::salvage::Progress;
use super::super::segment::Position;
use super::super::{DestinationId, schema};
use super::file::{self, Failure};
use super::{OpenOptions, Opening};
use crate::clock::Mono;
use crate::reading::{Class, StreamId};
use crate::store::relog;
use crate::store::sqlite::{self, OpenError};

/// The same file again, after a file system that took no writes made the writer let go of it: nothing new begins.
///
/// # Errors
/// As [`super::open`], [`OpenError::Damaged`] included; and [`OpenError::Unreachable`] when it is not there, or another is.
pub(in super::super) fn resume(
    options: &OpenOptions,
    file_id: u64,
    epoch_number: i64,
    destinations: &[(DestinationId, String)],
) -> Result<(Connection, Resumed), OpenError> {
    let path = &options.path;
    let unreachable = |detail: &str| OpenError::Unreachable { path: path.clone(), detail: detail.into() };
    if sqlite::is_fresh(path, schema::KIND)? {
        return Err(unreachable("the file that was in use is not there any more"));
    }
    let mut connection = file::connect(options)?;
    let at = |e: Failure| e.at(path);
    let tx = connection.transaction().map_err(|e| at(e.into()))?;
    let read = || -> Result<Option<Resumed>, Failure> {
        let id: i64 = tx.query_row("SELECT value FROM meta WHERE key = 'file_id'", [], |r| r.get(0))?;
        let newest: (i64, i64) =
            tx.query_row("SELECT number, epoch FROM epochs ORDER BY number DESC LIMIT 1", [], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })?;
        if id.cast_unsigned() != file_id || newest != (epoch_number, options.epoch.0.cast_signed()) {
            return Ok(None);
        }
        let opening = Opening { tx: &tx, options, now: Mono::default(), kept: None };
        let next_segment = opening.next_segments()?;
        let cursors = opening.cursors(destinations, &next_segment)?;
        let (classes, salvage) = (opening.classes()?, Progress::load(&tx)?);
        Ok(Some(Resumed { books: Books::load(&tx)?, classes, cursors, next_segment, salvage }))
    };
    let resumed = read().map_err(at)?.ok_or_else(|| unreachable("another file stands in its place"))?;
    tx.commit().map_err(|e| at(e.into()))?;
    // Last: a disk that does not even give what is there, and is asked each second, is not also written to each second.
    relog::write_again(&connection, path)?;
    Ok((connection, resumed))
}

/// What a file says when it is opened again in the same run.
pub(in super::super) struct Resumed {
    pub(in super::super) books: Books,
    pub(in super::super) classes: BTreeMap<StreamId, Class>,
    pub(in super::super) salvage: Vec<Progress>,
    pub(in super::super) cursors: BTreeMap<(DestinationId, Class), Cursor>,
    pub(in super::super) next_segment: BTreeMap<Class, Position>,
}
