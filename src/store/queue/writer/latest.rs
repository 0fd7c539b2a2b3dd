//! Coalescing before acceptance: of a stream of which only the latest counts, the readings that wait in one commit window
//! are one. The newest stays; the others are counted as `coalesced`, on record with their sequences, and never written.
//!
//! Held apart until the commit, because what is packed cannot be taken out again. Alarms and events are never held here.

use std::collections::BTreeMap;

use super::super::segment::SegmentBuilder;
use super::{StreamRow, Waits, Writer};
use crate::clock::Mono;
use crate::reading::{Class, Sample};

/// Why a reading was coalesced, as its record has it.
const SUPERSEDED: &str = "superseded";

/// The newest reading of a stream in this window.
#[derive(Debug)]
pub(super) struct Latest {
    /// The place of its capture among those that wait.
    capture: usize,
    sequence: u64,
    at: Mono,
    sample: Sample,
}

impl StreamRow {
    /// Whether only the newest of its readings counts.
    pub(super) fn is_coalesced(&self) -> bool {
        self.latest_only && self.class.waits_for_window()
    }
}

impl Writer {
    /// Holds a reading of the stream in this place, from the capture that comes next. Tells whether an earlier one made way.
    pub(super) fn hold_latest(&mut self, place: usize, sequence: u64, at: Mono, sample: &Sample) -> bool {
        let capture = self.pending.captures.len();
        let latest = Latest { capture, sequence, at, sample: sample.clone() };
        let Some(older) = self.pending.latest.insert(place, latest) else {
            self.pending.rows += 1;
            return false;
        };
        if let Some(waiting) = self.pending.captures.get_mut(older.capture) {
            waiting.accepted = waiting.accepted.saturating_sub(1);
            waiting.coalesced += 1;
        }
        self.gaps.coalesce(sample.stream, SUPERSEDED, self.epoch_number, older.sequence, older.at);
        true
    }

    /// Packs what is held, in the order in which it was captured. From here on it is committed or refused like the rest.
    pub(super) fn pack_latest(&mut self) {
        let held = std::mem::take(&mut self.pending.latest);
        let mut held: Vec<(&StreamRow, Latest)> =
            held.into_iter().filter_map(|(place, latest)| Some((self.streams.get(place)?, latest))).collect();
        held.sort_by_key(|(_, latest)| latest.capture);
        for run in held.chunk_by(|(a, one), (b, other)| {
            (a.class, a.routes, one.capture) == (b.class, b.routes, other.capture)
        }) {
            let Some((stream, first)) = run.first() else { continue };
            let segments: &mut BTreeMap<(Class, i64), SegmentBuilder> = &mut self.pending.segments;
            let builder = segments.entry((stream.class, stream.routes)).or_default();
            builder.push(first.at, first.sequence, run.iter().map(|(_, latest)| &latest.sample));
            self.pending.streams.extend(run.iter().map(|(stream, latest)| Waits {
                stream: stream.id,
                sequence: latest.sequence,
                at: latest.at,
            }));
        }
    }
}
