//! What of one flow is in memory: readings at hand, and parcels that are to be sent again. Pure.
//!
//! A flow reads one stretch of its class's queue after another. The live flow's stretch has no end; the backlog's are what
//! the live flow jumped over. So no reading is in two flows.
//!
//! Invariant: parcels wait in the order of acceptance, so that whatever happens to messages in flight the oldest goes
//! first, and what is settled of a stretch stays one piece with at most a window's worth of islands beyond it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::link::Message;
use super::parcel::Parcel;
use super::policy::Flow;
use super::thin::{Bands, LastSent, Thinning};
use crate::store::queue::{GivenUp, Position, QueuedRow, SettledRow};

/// The readings of one flow that are at hand.
#[derive(Debug)]
pub(super) struct Shelf {
    flow: Flow,
    rows: VecDeque<QueuedRow>,
    /// Between the rows at hand or before them, and not to be sent; in order.
    given_up: Vec<GivenUp>,
    /// Everything of this stretch before this is settled or in a parcel.
    from: Position,
    /// Where the next pick begins.
    read_to: Position,
    /// Where the stretch ends; `None` for the live edge.
    until: Option<Position>,
    /// Further stretches, in order.
    later: VecDeque<(Position, Position)>,
    /// When the rows at hand came into view: so many, at that time.
    arrivals: VecDeque<(usize, Duration)>,
    /// Messages without an answer and parts of refused ones, to be sent before anything newer.
    again: VecDeque<Parcel>,
    /// Of a backlog one instant in so many goes, and of streams with a band what leaves it; until the plan can pay for all.
    thinned: Option<Thinning>,
    bands: Arc<Bands>,
    /// Of the streams with a band, what went last of this stretch.
    last_sent: LastSent,
}

impl Shelf {
    /// From `start` to the live edge.
    pub(super) fn new(flow: Flow, start: Position) -> Self {
        Self {
            flow,
            rows: VecDeque::new(),
            given_up: Vec::new(),
            from: start,
            read_to: start,
            until: None,
            later: VecDeque::new(),
            arrivals: VecDeque::new(),
            again: VecDeque::new(),
            thinned: None,
            bands: Arc::default(),
            last_sent: LastSent::default(),
        }
    }

    /// The same, where these streams are thinned by what they say.
    pub(super) fn thinning_by(self, bands: Arc<Bands>) -> Self {
        Self { bands, ..self }
    }

    /// Nothing, until a stretch is given to it.
    pub(super) fn without_stretch(flow: Flow, start: Position) -> Self {
        Self { until: Some(start), ..Self::new(flow, start) }
    }

    /// Gives it another stretch, behind those it has. One that goes on where the last ends is the same stretch.
    pub(super) fn add_stretch(&mut self, from: Position, to: Position) {
        match (self.later.back_mut(), &mut self.until) {
            (Some((_, end)), _) if *end == from => *end = to,
            (None, Some(end)) if *end == from && self.from < *end => *end = to,
            _ => self.later.push_back((from, to)),
        }
    }

    /// Goes on to the next stretch once this one is in parcels to its end.
    pub(super) fn next_stretch(&mut self) {
        while self.until.is_some_and(|until| self.from >= until)
            && let Some((from, to)) = self.later.pop_front()
        {
            (self.from, self.read_to, self.until) = (from, from, Some(to));
            self.last_sent.forget();
        }
    }

    /// Stretches it has yet to finish.
    pub(super) fn stretches(&self) -> usize {
        self.later.len() + usize::from(self.until.is_none_or(|until| self.from < until))
    }

    /// Gives up the stretch from where it has sent to on, and goes on at `to`. Returns what it leaves to others.
    pub(super) fn jump(&mut self, to: Position) -> (Position, Position) {
        let left = (self.from, to);
        self.forget_rows();
        self.last_sent.forget();
        (self.from, self.read_to) = (to, to);
        left
    }

    /// Where the next pick begins, and where it must end at the latest.
    pub(super) fn to_read(&self, end: Position) -> Option<(Position, Position)> {
        let until = self.until.unwrap_or(end);
        (self.read_to < until).then_some((self.read_to, until))
    }

    /// The rows at hand.
    pub(super) fn rows(&self) -> &VecDeque<QueuedRow> {
        &self.rows
    }

    /// The rows at hand, as one piece.
    pub(super) fn rows_in_order(&mut self) -> &[QueuedRow] {
        self.rows.make_contiguous()
    }

    /// Whether a range waits to be settled without sending anything.
    pub(super) fn has_passed_over(&self) -> bool {
        self.rows.is_empty() && self.from < self.read_to
    }

    /// Puts the next rows of the queue at hand, read up to `resume`.
    pub(super) fn arrive(&mut self, now: Duration, resume: Position, rows: Vec<QueuedRow>) {
        self.read_to = resume;
        if !rows.is_empty() {
            self.arrivals.push_back((rows.len(), now));
            self.rows.extend(rows);
            self.thin_rows();
        }
    }

    /// When the oldest row at hand came into view.
    pub(super) fn oldest_since(&self) -> Duration {
        self.arrivals.front().map_or(Duration::ZERO, |(_, at)| *at)
    }

    /// Takes out of the rows at hand those that are not to be sent, for this reason.
    pub(super) fn give_up(&mut self, reason: &'static str, mut is_given_up: impl FnMut(&QueuedRow) -> bool) {
        let since = self.oldest_since();
        let (before, given_up) = (self.given_up.len(), &mut self.given_up);
        self.rows.retain(|row| {
            let taken = is_given_up(row);
            if taken {
                let row = SettledRow::of(row);
                given_up.push(GivenUp { row, reason });
            }
            !taken
        });
        if self.given_up.len() == before {
            return;
        }
        let given_up = &mut self.given_up;
        given_up.sort_unstable_by_key(|given_up| given_up.row.position);
        self.arrivals.clear();
        if !self.rows.is_empty() {
            self.arrivals.push_back((self.rows.len(), since));
        }
    }

    /// From now on gives up what the plan cannot pay for of what is at hand and of what arrives: of what is no longer live one
    /// instant in so many stays, whole, and of a stream with a band what leaves it. The first at hand stays, so that there is
    /// something to send. `None`: all that is still here goes.
    pub(super) fn thin(&mut self, thinning: Option<Thinning>) {
        self.thinned = thinning;
        self.thin_rows();
    }

    fn thin_rows(&mut self) {
        let Some(thinning) = self.thinned else { return };
        let first = self.rows.front().map(|row| row.position);
        // As if those that stay had gone already.
        let (bands, mut last) = (Arc::clone(&self.bands), self.last_sent.clone());
        self.give_up("thinned", |row| {
            let band = bands.get(&row.sample.stream);
            let stays = Some(row.position) == first
                || match band {
                    Some(band) => thinning.is_live(row) || !last.covers(row, *band),
                    None => thinning.keeps(row),
                };
            if stays && band.is_some() {
                last.goes(row);
            }
            !stays
        });
    }

    /// Readings at hand that are not to be sent.
    pub(super) fn given_up(&self) -> usize {
        self.given_up.len()
    }

    /// The message that goes next, if it is packed already.
    pub(super) fn next_message(&self) -> Option<&Message> {
        self.again.front()?.message.as_ref()
    }

    /// The oldest reading here.
    pub(super) fn oldest(&self) -> Option<&QueuedRow> {
        let again = self.again.front().and_then(|parcel| parcel.rows.first());
        again.or_else(|| self.rows.front())
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

    /// The oldest parcel that is to be sent again, if all of it `is_given_up`.
    pub(super) fn take_again_if(&mut self, is_given_up: impl Fn(&QueuedRow) -> bool) -> Option<Parcel> {
        let all = self.again.front().is_some_and(|parcel| parcel.rows.iter().all(is_given_up));
        all.then(|| self.again.pop_front()).flatten()
    }

    /// Whether a parcel is to be sent again.
    pub(super) fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Readings here, packed or not.
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.again.iter().map(|parcel| parcel.rows.len()).sum::<usize>()
    }

    /// Takes the first `count` rows at hand, and the range they settle.
    pub(super) fn take(&mut self, count: usize) -> Parcel {
        let from = self.from;
        let rows: Vec<QueuedRow> = self.rows.drain(..count.min(self.rows.len())).collect();
        if !self.bands.is_empty() {
            rows.iter()
                .filter(|row| self.bands.contains_key(&row.sample.stream))
                .for_each(|row| self.last_sent.goes(row));
        }
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
        let rest = self.given_up.partition_point(|given_up| given_up.row.position < to);
        let given_up = self.given_up.drain(..rest).collect();
        Parcel { flow: self.flow, rows, given_up, from, to, message: None, announces_epoch: false }
    }

    /// Lays the rows at hand back: the next pick reads them again, with what has become known of them.
    pub(super) fn lay_back(&mut self) {
        self.forget_rows();
        self.read_to = self.from;
    }

    /// Forgets the readings before `settled`: others settled them, by giving them up. Returns parcels that have none left,
    /// because the rest of their range is still to be settled, and whether a message with the statement was among what changed.
    pub(super) fn withdraw(&mut self, settled: Position) -> (Vec<Parcel>, bool) {
        if self.rows.front().is_some_and(|row| row.position < settled) {
            self.lay_back();
        }
        let is_gone = |parcel: &Parcel| parcel.rows.first().is_some_and(|row| row.position < settled);
        if !self.again.iter().any(is_gone) {
            return (Vec::new(), false);
        }
        let mut stated = false;
        let (emptied, again): (VecDeque<Parcel>, _) = self
            .again
            .drain(..)
            .map(|parcel| {
                if !is_gone(&parcel) {
                    return parcel;
                }
                stated |= parcel.announces_epoch;
                parcel.without_those_before(settled)
            })
            .partition(|parcel| parcel.rows.is_empty());
        self.again = again;
        (emptied.into(), stated)
    }

    fn forget_rows(&mut self) {
        self.rows.clear();
        self.given_up.clear();
        self.arrivals.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{BootId, Mono};
    use crate::reading::{Class, Quality, Resolution, Sample, StreamId, Value};
    use crate::store::queue::Epoch;
    use crate::store::queue::reader::{EpochInfo, StreamInfo};

    fn at(row: u32) -> Position {
        Position { segment: 1, row }
    }

    fn row(n: u32) -> QueuedRow {
        QueuedRow {
            position: at(n),
            epoch: EpochInfo {
                number: 1,
                epoch: Epoch(1),
                boot: BootId([1; 16]),
                wall_offset_ms: None,
                known_at: Mono(0),
                dated_with_ms: None,
                revision: 0,
            },
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

    /// All of it backlog: of another boot.
    fn one_in(factor: u64) -> Option<Thinning> {
        Some(Thinning::at(Duration::ZERO, BootId([2; 16]), Duration::ZERO, factor))
    }

    fn shelf(rows: u32) -> Shelf {
        let mut shelf = Shelf::new(Flow::Live, at(0));
        shelf.arrive(Duration::ZERO, at(rows + 5), (0..rows).map(row).collect());
        shelf
    }

    fn numbers(parcel: &Parcel) -> Vec<u32> {
        parcel.rows.iter().map(|r| r.position.row).collect()
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
            rows.extend(numbers(&parcel));
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
        assert!(!shelf.has_passed_over());
    }

    #[test]
    fn thinning_keeps_whole_instants_the_first_reading_and_every_range() {
        let mut shelf = shelf(9);
        shelf.take(1);
        shelf.thin(one_in(4));
        let given_up =
            |parcel: &Parcel| parcel.given_up.iter().map(|g| g.row.position.row).collect::<Vec<_>>();
        let (first, last) = (shelf.take(1), shelf.take(9));
        assert_eq!((numbers(&first), given_up(&first)), (vec![1], vec![2, 3]));
        assert_eq!((numbers(&last), given_up(&last)), (vec![4, 8], vec![5, 6, 7]));
        assert_eq!((first.from, first.to, last.from, last.to), (at(1), at(4), at(4), at(14)));
        assert!(first.given_up.iter().all(|given_up| given_up.reason == "thinned"));
    }

    #[test]
    fn what_is_live_stays_though_a_backlog_before_it_is_thinned_by_number_or_by_band() {
        for bands in [Bands::new(), Bands::from([(StreamId(1), 100.0)])] {
            let mut shelf = Shelf::new(Flow::Live, at(0)).thinning_by(Arc::new(bands));
            let captured = |n: u32| QueuedRow { at: Mono::from(Duration::from_secs(u64::from(n))), ..row(n) };
            let thinning = Thinning::at(Duration::from_secs(14), BootId([1; 16]), Duration::from_secs(8), 16);
            shelf.arrive(Duration::ZERO, at(10), (0..10).map(captured).collect());
            shelf.thin(Some(thinning));
            shelf.arrive(Duration::ZERO, at(15), (10..14).map(captured).collect());
            assert_eq!(numbers(&shelf.take(90)), [0, 6, 7, 8, 9, 10, 11, 12, 13]);
        }
    }

    fn said(n: u32, value: Value) -> QueuedRow {
        let mut row = row(n);
        row.sample.value = value;
        row
    }

    fn banded(values: &[Value]) -> Shelf {
        let bands = Arc::new(Bands::from([(StreamId(1), 2.0)]));
        let mut shelf = Shelf::new(Flow::Live, at(0)).thinning_by(bands);
        let rows = (0..).zip(values).map(|(n, value)| said(n, value.clone())).collect();
        shelf.arrive(Duration::ZERO, at(90), rows);
        shelf
    }

    #[test]
    fn a_stream_with_a_band_keeps_what_left_it_since_the_last_that_went() {
        let mut shelf = banded(&[10, 11, 12, 13, 12, 11, 10, 15, 17].map(Value::Steps));
        shelf.thin(one_in(16));
        let kept = shelf.take(9);
        assert_eq!(
            numbers(&kept),
            [0, 3, 6, 7],
            "10, then 13, 10 and 15: each more than 2 from the one before"
        );
        assert!(kept.given_up.iter().all(|given_up| given_up.reason == "thinned"));
        assert_eq!(kept.given_up.len(), 5);
    }

    #[test]
    fn what_went_last_counts_for_what_arrives_later_and_thinning_twice_takes_nothing_more() {
        let mut shelf = banded(&[10, 20].map(Value::Steps));
        shelf.thin(one_in(2));
        assert_eq!(numbers(&shelf.take(9)), [0, 1]);
        let later =
            [21, 22, 23, 24].map(Value::Steps).into_iter().zip(2..).map(|(v, n)| said(n, v)).collect();
        shelf.arrive(Duration::ZERO, at(95), later);
        shelf.thin(one_in(2));
        let parcel = shelf.take(9);
        assert_eq!(numbers(&parcel), [2, 5], "the first at hand stays, so that there is something to send");
    }

    #[test]
    fn a_change_of_quality_and_what_is_no_number_are_never_given_up_for_a_band() {
        let mut shelf = banded(&[
            Value::Float(1.0),
            Value::Float(1.5),
            Value::Absent,
            Value::Float(1.5),
            Value::Float(2.5),
            Value::Bool(true),
        ]);
        let mut late = said(6, Value::Float(2.5));
        late.sample.quality = Quality::Late;
        shelf.arrive(Duration::ZERO, at(95), vec![late, said(7, Value::Float(2.5))]);
        shelf.thin(one_in(16));
        assert_eq!(numbers(&shelf.take(9)), [0, 2, 3, 5, 6, 7]);
    }

    #[test]
    fn a_band_is_counted_in_whole_steps_whatever_binary_fractions_make_of_it() {
        let bands = Arc::new(Bands::from([(StreamId(1), 0.3)]));
        let mut shelf = Shelf::new(Flow::Live, at(0)).thinning_by(bands);
        let tenths = |n: u32, steps: i64| {
            let mut row = said(n, Value::Steps(steps));
            Arc::get_mut(&mut row.stream).unwrap().resolution =
                Some(Resolution { numerator: 1, denominator: 10 });
            row
        };
        shelf.arrive(Duration::ZERO, at(90), vec![tenths(0, 1), tenths(1, 4), tenths(2, 5), tenths(3, 2)]);
        shelf.thin(one_in(2));
        assert_eq!(numbers(&shelf.take(9)), [0, 2], "0.4 is within 0.3 of 0.1, and 0.2 of 0.5");
    }

    #[test]
    fn what_arrives_while_the_plan_is_short_is_thinned_and_once_it_is_not_all_of_it_goes() {
        let mut shelf = shelf(8);
        shelf.thin(one_in(4));
        shelf.arrive(Duration::ZERO, at(30), (13..24).map(row).collect());
        shelf.thin(None);
        shelf.arrive(Duration::ZERO, at(40), (30..33).map(row).collect());
        assert_eq!(numbers(&shelf.take(90)), [0, 4, 16, 20, 30, 31, 32]);
    }

    #[test]
    fn what_is_superseded_is_settled_with_the_range_it_stands_in_and_not_sent() {
        let mut shelf = shelf(8);
        shelf.give_up("superseded", |row| [0, 3, 4, 7].contains(&row.position.row));
        let first = shelf.take(2);
        assert_eq!((numbers(&first), first.to), (vec![1, 2], at(5)));
        let given_up =
            |parcel: &Parcel| parcel.given_up.iter().map(|g| g.row.position.row).collect::<Vec<_>>();
        assert_eq!(given_up(&first), [0, 3, 4]);
        let (head, tail) = first.split(1);
        assert_eq!((given_up(&head), given_up(&tail)), (vec![0], vec![3, 4]));
        let last = shelf.take(9);
        assert_eq!((numbers(&last), given_up(&last), last.to), (vec![5, 6], vec![7], at(13)));
    }

    #[test]
    fn a_jump_leaves_what_was_not_sent_as_a_stretch_and_stretches_follow_one_another() {
        let mut live = shelf(8);
        let sent = live.take(3);
        let (from, to) = live.jump(at(40));
        assert_eq!((sent.to, from, to), (at(3), at(3), at(40)));
        assert_eq!((live.to_read(at(90)), live.len()), (Some((at(40), at(90))), 0));
        let mut backlog = Shelf::without_stretch(Flow::Backlog, at(0));
        backlog.next_stretch();
        assert_eq!((backlog.to_read(at(90)), backlog.stretches()), (None, 0));
        backlog.add_stretch(from, at(30));
        backlog.add_stretch(at(30), to);
        backlog.add_stretch(at(50), at(60));
        backlog.next_stretch();
        assert_eq!((backlog.to_read(at(90)), backlog.stretches()), (Some((at(3), at(40))), 2));
        backlog.arrive(Duration::ZERO, at(40), (3..8).map(row).collect());
        backlog.next_stretch();
        assert_eq!(backlog.to_read(at(90)), None, "not before all of it is in parcels");
        assert_eq!(backlog.take(9).to, at(40));
        backlog.next_stretch();
        assert_eq!(backlog.to_read(at(90)), Some((at(50), at(60))));
    }

    #[test]
    fn rows_laid_back_are_picked_again_and_parcels_stay() {
        let mut shelf = shelf(5);
        let parcel = shelf.take(2);
        shelf.again(parcel);
        shelf.lay_back();
        assert_eq!((shelf.to_read(at(90)), shelf.len()), (Some((at(2), at(90))), 2));
    }

    #[test]
    fn what_others_settled_is_forgotten_wherever_it_stands_and_the_rest_of_its_range_is_not() {
        let mut shelf = shelf(9);
        let (sent, mut cut, whole) = (shelf.take(2), shelf.take(2), shelf.take(2));
        cut.announces_epoch = true;
        for parcel in [sent, cut, whole] {
            shelf.again(parcel);
        }
        let (emptied, stated) = shelf.withdraw(at(3));
        assert!(stated);
        assert_eq!(emptied.iter().map(|p| (p.from, p.to)).collect::<Vec<_>>(), [(at(2), at(2))]);
        let rest = shelf.take_again().unwrap();
        assert_eq!(
            (numbers(&rest), rest.from, rest.to, rest.announces_epoch),
            (vec![3], at(3), at(4), false)
        );
        assert_eq!(shelf.withdraw(at(3)), (vec![], false));
        assert_eq!((shelf.rows().len(), shelf.len()), (3, 5), "what is not settled stays at hand");
        let (emptied, _) = shelf.withdraw(at(7));
        assert_eq!((emptied.len(), shelf.rows().len()), (1, 0));
        assert_eq!(
            shelf.to_read(at(90)),
            Some((at(6), at(90))),
            "picked again from the file, which has less"
        );
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
}
