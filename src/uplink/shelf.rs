//! What of one class's queue is in memory: readings at hand, and parcels that are to be sent again.
//!
//! Pure. Invariant: parcels wait in the order of acceptance, so that whatever happens to messages in flight the oldest goes
//! first, and what is settled stays one stretch with at most a window's worth of islands beyond it.

use std::collections::VecDeque;
use std::time::Duration;

use super::link::Message;
use crate::clock::Mono;
use crate::reading::StreamId;
use crate::store::queue::{Position, QueuedRow};

/// The readings of one class that are at hand.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) rows: VecDeque<QueuedRow>,
    /// Everything before this is settled or in a parcel.
    pub(super) from: Position,
    /// Where the next pick begins.
    pub(super) read_to: Position,
    pub(super) paused_until: Option<Duration>,
    /// How often in a row the destination asked this class to wait.
    pub(super) laters: u32,
    /// When the rows at hand came into view: so many, at that time. As long as it has entries, `rows` has.
    arrivals: VecDeque<(usize, Duration)>,
    /// Messages without an answer and parts of refused ones, to be sent before anything newer.
    again: VecDeque<Parcel>,
}

/// Readings that travel together, and the range they settle.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) rows: Vec<QueuedRow>,
    pub(super) from: Position,
    pub(super) to: Position,
    /// Already packed: to be sent again byte for byte.
    pub(super) message: Option<Message>,
    /// The message carries the epoch's opening statement.
    pub(super) announces_epoch: bool,
}

impl Shelf {
    pub(super) fn new(start: Position) -> Self {
        Self {
            rows: VecDeque::new(),
            from: start,
            read_to: start,
            paused_until: None,
            laters: 0,
            arrivals: VecDeque::new(),
            again: VecDeque::new(),
        }
    }

    /// Puts a parcel back, in its place among the others.
    pub(super) fn again(&mut self, parcel: Parcel) {
        let place = self.again.partition_point(|other| other.from < parcel.from);
        self.again.insert(place, parcel);
    }

    /// The oldest parcel that is to be sent again.
    pub(super) fn take_again(&mut self) -> Option<Parcel> {
        self.again.pop_front()
    }

    /// Whether a parcel is to be sent again.
    pub(super) fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Readings here, packed or not.
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.again.iter().map(|parcel| parcel.rows.len()).sum::<usize>()
    }

    /// Puts the next rows of the queue at hand, read up to `resume`.
    pub(super) fn arrive(&mut self, now: Duration, resume: Position, rows: Vec<QueuedRow>) {
        self.read_to = resume;
        if !rows.is_empty() {
            self.arrivals.push_back((rows.len(), now));
            self.rows.extend(rows);
        }
    }

    /// When the oldest row at hand came into view.
    pub(super) fn oldest_since(&self) -> Duration {
        self.arrivals.front().map_or(Duration::ZERO, |(_, at)| *at)
    }

    /// Takes the first `count` rows at hand, and the range they settle.
    pub(super) fn take(&mut self, count: usize) -> Parcel {
        let from = self.from;
        let rows: Vec<QueuedRow> = self.rows.drain(..count.min(self.rows.len())).collect();
        let mut taken = rows.len();
        while let Some((arrived, _)) = self.arrivals.front_mut() {
            if *arrived > taken {
                *arrived -= taken;
                break;
            }
            taken -= *arrived;
            self.arrivals.pop_front();
        }
        let to = self.rows.front().map_or(self.read_to, |row| row.position);
        self.from = to;
        Parcel { rows, from, to, message: None, announces_epoch: false }
    }

    /// Lays the rows at hand back: the next pick reads them again, with what has become known of them.
    pub(super) fn lay_back(&mut self) {
        self.rows.clear();
        self.arrivals.clear();
        self.read_to = self.from;
    }

    /// When the oldest reading here was captured.
    pub(super) fn oldest(&self) -> Option<Mono> {
        let again = self.again.front().and_then(|parcel| parcel.rows.first());
        again.or_else(|| self.rows.front()).map(|row| row.at)
    }

    /// Keeps one instant in `factor` of the readings not yet packed, whole; tells each of the others. The first stays, so
    /// that there is something whose range they lie in.
    pub(super) fn thin(&mut self, factor: u64, mut given_up: impl FnMut(Position, StreamId)) {
        let Some(first) = self.rows.front().map(|row| row.position) else { return };
        self.rows.retain(|row| {
            let kept = row.position == first || row.sequence.is_multiple_of(factor.max(1));
            if !kept {
                given_up(row.position, row.sample.stream);
            }
            kept
        });
    }

    /// Lets nothing of this class go before `until`; an earlier promise to wait longer holds.
    pub(super) fn pause(&mut self, until: Duration) {
        self.paused_until = Some(self.paused_until.map_or(until, |paused| paused.max(until)));
    }
}

impl Parcel {
    /// The first `count` rows, and the rest. Both are packed anew; neither carries the statement.
    pub(super) fn split(mut self, count: usize) -> (Self, Self) {
        let tail = self.rows.split_off(count.min(self.rows.len()));
        let middle = tail.first().map_or(self.to, |row| row.position);
        let rest = Self { rows: tail, from: middle, to: self.to, message: None, announces_epoch: false };
        (Self { rows: self.rows, from: self.from, to: middle, message: None, announces_epoch: false }, rest)
    }

    /// The same readings, to be packed anew.
    pub(super) fn unpacked(self) -> Self {
        Self { message: None, announces_epoch: false, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::BootId;
    use crate::reading::{Class, Quality, Sample, Value};
    use crate::store::queue::Epoch;
    use crate::store::queue::reader::{EpochInfo, StreamInfo};

    fn at(row: u32) -> Position {
        Position { segment: 1, row }
    }

    fn row(n: u32) -> QueuedRow {
        QueuedRow {
            position: at(n),
            epoch: EpochInfo { number: 1, epoch: Epoch(1), boot: BootId([1; 16]), wall_offset_ms: None },
            sequence: u64::from(n),
            at: Mono(0),
            sample: Sample { stream: StreamId(1), value: Value::Steps(i64::from(n)), quality: Quality::Good },
            stream: Arc::new(StreamInfo {
                name: "s".into(),
                group: "g".into(),
                device: "d".into(),
                class: Class::Telemetry,
                unit: String::new(),
                resolution: None,
                alias: "a".into(),
            }),
        }
    }

    fn shelf(rows: u32) -> Shelf {
        let mut shelf = Shelf::new(at(0));
        shelf.arrive(Duration::ZERO, at(rows + 5), (0..rows).map(row).collect());
        shelf
    }

    #[test]
    fn what_comes_back_in_any_order_goes_out_in_the_order_of_acceptance() {
        let mut shelf = shelf(9);
        let (a, b, c) = (shelf.take(3), shelf.take(3), shelf.take(3));
        let (b, b_rest) = b.split(1);
        for parcel in [c, a, b_rest, b] {
            shelf.again(parcel);
        }
        let mut rows = Vec::new();
        while let Some(parcel) = shelf.take_again() {
            rows.extend(parcel.rows.iter().map(|r| r.position.row));
        }
        assert_eq!(rows, (0..9).collect::<Vec<u32>>());
    }

    #[test]
    fn parcels_and_their_parts_cover_the_range_without_gap_or_overlap() {
        let mut shelf = shelf(5);
        let first = shelf.take(2);
        let last = shelf.take(9);
        assert_eq!((first.from, first.to), (at(0), at(2)));
        assert_eq!((last.from, last.to), (at(2), at(10)), "what the reader passed over belongs to the last");
        let (head, tail) = last.split(1);
        assert_eq!((head.from, head.to, tail.from, tail.to), (at(2), at(3), at(3), at(10)));
        assert_eq!(shelf.from, shelf.read_to);
    }

    #[test]
    fn rows_laid_back_are_picked_again_and_parcels_stay() {
        let mut shelf = shelf(5);
        let parcel = shelf.take(2);
        shelf.again(parcel);
        shelf.lay_back();
        assert_eq!((shelf.read_to, shelf.len()), (at(2), 2));
    }

    #[test]
    fn what_is_left_behind_has_waited_since_it_came_into_view() {
        let mut shelf = shelf(3);
        shelf.arrive(Duration::from_secs(5), at(12), (3..7).map(row).collect());
        shelf.take(2);
        assert_eq!(shelf.oldest_since(), Duration::ZERO, "one of the first three is left");
        shelf.take(1);
        assert_eq!(shelf.oldest_since(), Duration::from_secs(5));
        shelf.take(9);
        shelf.arrive(Duration::from_secs(8), at(13), vec![row(12)]);
        assert_eq!(shelf.oldest_since(), Duration::from_secs(8));
    }

    #[test]
    fn thinning_keeps_whole_instants_the_first_reading_and_every_range() {
        let mut shelf = shelf(9);
        shelf.take(1);
        let mut given_up = Vec::new();
        shelf.thin(4, |position, _| given_up.push(position.row));
        assert_eq!(shelf.rows.iter().map(|row| row.position.row).collect::<Vec<_>>(), [1, 4, 8]);
        assert_eq!(given_up, [2, 3, 5, 6, 7]);
        let (first, last) = (shelf.take(1), shelf.take(9));
        assert_eq!(
            (first.from, first.to),
            (at(1), at(4)),
            "what was given up lies in the range of what stays"
        );
        assert_eq!((last.from, last.to), (at(4), at(14)));
        shelf.thin(4, |_, _| panic!("nothing is left to thin"));
    }

    #[test]
    fn the_longer_pause_holds() {
        let mut shelf = shelf(1);
        shelf.pause(Duration::from_secs(9));
        shelf.pause(Duration::from_secs(3));
        assert_eq!(shelf.paused_until, Some(Duration::from_secs(9)));
    }
}
