//! What the numbers in a segment stand for: epochs and streams, asked of the file once and remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::Epoch;
use super::reader::{EpochInfo, StreamInfo};
use crate::clock::BootId;
use crate::reading::{Class, Resolution, StreamId};

/// See the module head. Grows with the number of epochs and streams met, never with readings.
#[derive(Debug, Default)]
pub(super) struct Names {
    epochs: BTreeMap<i64, EpochInfo>,
    streams: BTreeMap<StreamId, Arc<StreamInfo>>,
}

impl Names {
    /// What is known of epochs may have changed: they are asked for again.
    pub(super) fn look_again(&mut self) {
        self.epochs.clear();
    }

    /// The epoch of a number; `None` when the file does not have it.
    pub(super) fn epoch(&mut self, c: &Connection, number: i64) -> rusqlite::Result<Option<EpochInfo>> {
        if let Some(known) = self.epochs.get(&number) {
            return Ok(Some(*known));
        }
        let info = c
            .prepare_cached(
                "SELECT epoch, boot_id, wall_offset_ms, wall_uncertainty_ms FROM epochs WHERE number = ?1",
            )?
            .query_row([number], |r| {
                let offset: Option<i64> = r.get(2)?;
                let uncertainty: Option<u32> = r.get(3)?;
                Ok(EpochInfo {
                    number,
                    epoch: Epoch(r.get::<_, i64>(0)?.cast_unsigned()),
                    boot: BootId(r.get(1)?),
                    wall_offset_ms: offset.map(|o| (o, uncertainty.unwrap_or(u32::MAX))),
                })
            })
            .optional()?;
        if let Some(info) = info {
            self.epochs.insert(number, info);
        }
        Ok(info)
    }

    /// The stream of a number; `None` when the file does not have it.
    pub(super) fn stream(
        &mut self,
        c: &Connection,
        id: StreamId,
    ) -> rusqlite::Result<Option<Arc<StreamInfo>>> {
        if let Some(known) = self.streams.get(&id) {
            return Ok(Some(Arc::clone(known)));
        }
        let info = c
            .prepare_cached(
                "SELECT name, group_name, device, class, unit, resolution_numerator, resolution_denominator, alias
                 FROM streams WHERE id = ?1",
            )?
            .query_row([id.0], |r| {
                let numerator: Option<u32> = r.get(5)?;
                let denominator: Option<u32> = r.get(6)?;
                Ok(Arc::new(StreamInfo {
                    name: r.get(0)?,
                    group: r.get(1)?,
                    device: r.get(2)?,
                    class: Class::from_number(r.get(3)?).unwrap_or(Class::Telemetry),
                    unit: r.get(4)?,
                    resolution: numerator
                        .zip(denominator)
                        .map(|(numerator, denominator)| Resolution { numerator, denominator }),
                    alias: r.get(7)?,
                }))
            })
            .optional()?;
        if let Some(info) = &info {
            self.streams.insert(id, Arc::clone(info));
        }
        Ok(info)
    }
}
