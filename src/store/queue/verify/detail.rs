//! The recount stream by stream and identity by identity, for whoever compares it with what a destination has.
//!
//! Invariant it makes checkable from outside: of every stream and epoch, each sequence up to the newest is either in one
//! of the readings a destination acknowledged, or in a [`HeldRun`], or counted in a drop or a [`GapRecord`].

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::super::books::Books;
use super::super::handle::Totals;
use super::super::{DestinationId, Epoch};
use crate::reading::{Class, StreamId};

/// As many runs are told; a queue with more holes than this is told by its counts.
pub const MOST_RUNS: usize = 100_000;

/// One stream's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamBooks {
    /// Its name.
    pub name: String,
    /// The streams captured together carry the same.
    pub group: String,
    /// Its name on the wire.
    pub alias: String,
    /// Fixed when the stream was defined; an account of the stream is therefore one of this class.
    pub class: Class,
    /// The producing side.
    pub intake: Totals,
    /// The consuming side by destination name; `queued` as recounted.
    pub accounts: BTreeMap<String, Totals>,
}

/// One start of the daemon on this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRecord {
    /// The epoch.
    pub epoch: Epoch,
    /// Whether it ended with a clean stop.
    pub clean_stop: bool,
    /// The newest accepted sequence of each group.
    pub last_sequences: BTreeMap<String, u64>,
}

/// Readings that were due and are not there, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRecord {
    /// Whose; `None` for all streams.
    pub stream: Option<String>,
    /// `missed`, `refused` or `coalesced`.
    pub kind: String,
    /// Why.
    pub reason: String,
    /// Under which epoch.
    pub epoch: Option<Epoch>,
    /// First and last sequence; readings in between may have been accepted. `None` when not known.
    pub sequences: Option<(u64, u64)>,
    /// How many; `None` when not known.
    pub count: Option<u64>,
}

/// A run of a stream's sequences, without a hole, that a destination has not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRun {
    /// The destination's name.
    pub destination: String,
    /// The stream's name.
    pub stream: String,
    /// Accepted under this epoch.
    pub epoch: Option<Epoch>,
    /// First and last sequence.
    pub sequences: (u64, u64),
    /// Kept aside for people; otherwise it waits.
    pub set_aside: bool,
}

/// Everything in this file.
#[derive(Debug, Default)]
pub struct Detail {
    /// By stream number; a stream that was defined anew is there twice.
    pub streams: BTreeMap<u32, StreamBooks>,
    /// Oldest first.
    pub epochs: Vec<EpochRecord>,
    /// In the order they were made.
    pub gaps: Vec<GapRecord>,
    /// What waits or was set aside; the first [`MOST_RUNS`] runs.
    pub held: Vec<HeldRun>,
    numbers: BTreeMap<i64, Epoch>,
    newest_run: BTreeMap<(DestinationId, StreamId), usize>,
}

impl Detail {
    /// What the small tables say: streams with the producing side, epochs, gaps.
    pub(super) fn load(c: &Connection, books: &Books) -> rusqlite::Result<Self> {
        let mut detail = Self::default();
        let mut rows = c.prepare("SELECT id, name, group_name, alias, class FROM streams ORDER BY id")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let id: u32 = row.get(0)?;
            let intake = books.intake.get(&StreamId(id)).copied().unwrap_or_default();
            let intake = Totals {
                accepted: intake.accepted,
                refused: intake.refused,
                coalesced: intake.coalesced,
                missed: intake.missed,
                ..Totals::default()
            };
            let (name, group, alias) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let class = Class::from_number(row.get(4)?).unwrap_or(Class::Telemetry);
            let accounts = BTreeMap::new();
            detail.streams.insert(id, StreamBooks { name, group, alias, class, intake, accounts });
        }
        detail.load_epochs(c, books)?;
        detail.load_gaps(c)?;
        Ok(detail)
    }

    /// Readings that a destination has yet to acknowledge, in the order of the queue: a run of sequences without a hole.
    pub(super) fn waits(
        &mut self,
        destination: (DestinationId, &str),
        stream: StreamId,
        epoch: i64,
        sequences: (u64, u64),
    ) {
        let epoch = self.numbers.get(&epoch).copied();
        let newest = self.newest_run.get(&(destination.0, stream)).copied();
        if let Some(run) = newest.and_then(|n| self.held.get_mut(n))
            && run.epoch == epoch
            && run.sequences.1.checked_add(1) == Some(sequences.0)
        {
            run.sequences.1 = sequences.1;
            return;
        }
        self.newest_run.insert((destination.0, stream), self.held.len());
        self.hold(destination.1, stream, epoch, sequences, false);
    }

    /// Reads what was set aside.
    pub(super) fn load_set_aside(
        &mut self,
        c: &Connection,
        name: impl Fn(DestinationId) -> String,
    ) -> rusqlite::Result<()> {
        let mut rows = c.prepare("SELECT destination, stream, epoch, sequence FROM set_aside ORDER BY id")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let epoch = self.numbers.get(&row.get(2)?).copied();
            let sequence: i64 = row.get(3)?;
            let destination = name(DestinationId(row.get(0)?));
            let sequence = sequence.cast_unsigned();
            self.hold(&destination, StreamId(row.get(1)?), epoch, (sequence, sequence), true);
        }
        Ok(())
    }

    fn hold(
        &mut self,
        destination: &str,
        stream: StreamId,
        epoch: Option<Epoch>,
        sequences: (u64, u64),
        set_aside: bool,
    ) {
        if self.held.len() < MOST_RUNS {
            let stream = self.streams.get(&stream.0).map(|s| s.name.clone()).unwrap_or_default();
            let destination = destination.to_owned();
            self.held.push(HeldRun { destination, stream, epoch, sequences, set_aside });
        }
    }

    fn load_epochs(&mut self, c: &Connection, books: &Books) -> rusqlite::Result<()> {
        let mut rows =
            c.prepare("SELECT number, epoch, clean_stop, last_sequences FROM epochs ORDER BY number")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (number, epoch): (i64, i64) = (row.get(0)?, row.get(1)?);
            let epoch = Epoch(epoch.cast_unsigned());
            self.numbers.insert(number, epoch);
            // Each row keeps the last sequences of the epoch before it.
            let before: Option<String> = row.get(3)?;
            if let Some((last, before)) = self.epochs.last_mut().zip(before) {
                last.last_sequences = serde_json::from_str(&before).unwrap_or_default();
            }
            let clean_stop = row.get(2)?;
            self.epochs.push(EpochRecord { epoch, clean_stop, last_sequences: BTreeMap::new() });
        }
        let newest = self.numbers.keys().next_back().copied();
        if let Some(last) = self.epochs.last_mut() {
            for (stream, intake) in books.intake.iter().filter(|(_, i)| Some(i.epoch) == newest) {
                if let Some(stream) = self.streams.get(&stream.0) {
                    let sequence = last.last_sequences.entry(stream.group.clone()).or_default();
                    *sequence = intake.last_sequence.max(*sequence);
                }
            }
        }
        Ok(())
    }

    fn load_gaps(&mut self, c: &Connection) -> rusqlite::Result<()> {
        let mut rows = c.prepare(
            "SELECT stream, kind, reason, epoch, first_sequence, last_sequence, count FROM gaps ORDER BY id",
        )?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let stream: Option<u32> = row.get(0)?;
            let (first, last): (Option<i64>, Option<i64>) = (row.get(4)?, row.get(5)?);
            let count: Option<i64> = row.get(6)?;
            self.gaps.push(GapRecord {
                stream: stream.and_then(|id| Some(self.streams.get(&id)?.name.clone())),
                kind: row.get(1)?,
                reason: row.get(2)?,
                epoch: self.numbers.get(&row.get(3)?).copied(),
                sequences: first.map(i64::cast_unsigned).zip(last.map(i64::cast_unsigned)),
                count: count.map(i64::cast_unsigned),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::books::Intake;
    use super::super::super::schema;
    use super::*;

    const OLD: Epoch = Epoch(0x0102_0304_0506_0708);
    const NEW: Epoch = Epoch(0xFFEE_DDCC_BBAA_9988);

    fn file() -> Connection {
        let mut c = Connection::open_in_memory().unwrap();
        schema::migrations().to_latest(&mut c).unwrap();
        c.execute_batch(&format!(
            "INSERT INTO streams (id, name, group_name, device, class, unit, alias)
                 VALUES (1, 'tank.level', 'field/tank', 'gw', 3, 'mm', 'l'), (2, 'tank.fills', 'field/tank', 'gw', 3, '', 'f');
             INSERT INTO epochs (number, epoch, boot_id, first_mono_ns, last_sequences, clean_stop)
                 VALUES (1, {}, x'00', 0, NULL, 0), (2, {}, x'00', 0, '{{\"field/tank\": 9}}', 1);
             INSERT INTO gaps (stream, kind, reason, epoch, first_sequence, last_sequence, count, first_mono_ns, last_mono_ns)
                 VALUES (1, 'missed', 'silent', 2, 4, 6, 2, 0, 0), (NULL, 'missed', 'unclean_stop', 1, NULL, NULL, NULL, 0, 0);
             INSERT INTO set_aside (destination, stream, epoch, sequence, mono_ns, body, reason, at_mono_ns)
                 VALUES (0, 2, 1, 3, 0, x'', 'too long', 0);",
            OLD.0.cast_signed(),
            NEW.0.cast_signed(),
        ))
        .unwrap();
        c
    }

    fn books() -> Books {
        let mut books = Books::default();
        let intake =
            |accepted, last_sequence| Intake { accepted, epoch: 2, last_sequence, ..Intake::default() };
        books.intake.insert(StreamId(1), intake(10, 7));
        books.intake.insert(StreamId(2), intake(11, 8));
        books
    }

    #[test]
    fn an_epoch_is_told_with_the_newest_sequences_it_accepted_itself() {
        let detail = Detail::load(&file(), &books()).unwrap();
        let told: Vec<(Epoch, bool, Option<u64>)> = detail
            .epochs
            .iter()
            .map(|e| (e.epoch, e.clean_stop, e.last_sequences.get("field/tank").copied()))
            .collect();
        assert_eq!(told, [(OLD, false, Some(9)), (NEW, true, Some(8))]);
    }

    #[test]
    fn a_gap_is_told_with_its_stream_and_epoch_and_what_is_unknown_as_unknown() {
        let detail = Detail::load(&file(), &books()).unwrap();
        let [silent, unclean] = detail.gaps.as_slice() else { panic!("{:?}", detail.gaps) };
        assert_eq!(
            (silent.stream.as_deref(), silent.epoch, silent.sequences, silent.count),
            (Some("tank.level"), Some(NEW), Some((4, 6)), Some(2))
        );
        assert_eq!(
            (&unclean.stream, unclean.epoch, unclean.sequences, unclean.count),
            (&None, Some(OLD), None, None)
        );
    }

    #[test]
    fn readings_that_wait_are_told_as_runs_that_no_hole_and_no_other_epoch_joins() {
        let mut detail = Detail::load(&file(), &books()).unwrap();
        let golioth = (DestinationId(0), "golioth");
        for (stream, epoch, sequence) in
            [(1, 1, 8), (2, 1, 8), (1, 1, 9), (2, 1, 9), (1, 2, 10), (1, 2, 12), (1, 2, 13)]
        {
            detail.waits(golioth, StreamId(stream), epoch, (sequence, sequence));
        }
        detail.waits((DestinationId(1), "plant"), StreamId(1), 2, (14, 14));
        detail.load_set_aside(&file(), |_| "golioth".into()).unwrap();
        let run = |destination: &str, stream: &str, epoch, sequences, set_aside| HeldRun {
            destination: destination.into(),
            stream: stream.into(),
            epoch: Some(epoch),
            sequences,
            set_aside,
        };
        assert_eq!(
            detail.held,
            [
                run("golioth", "tank.level", OLD, (8, 9), false),
                run("golioth", "tank.fills", OLD, (8, 9), false),
                run("golioth", "tank.level", NEW, (10, 10), false),
                run("golioth", "tank.level", NEW, (12, 13), false),
                run("plant", "tank.level", NEW, (14, 14), false),
                run("golioth", "tank.fills", OLD, (3, 3), true),
            ]
        );
    }

    #[test]
    fn a_queue_full_of_holes_is_told_within_bounds() {
        let mut detail = Detail::load(&file(), &books()).unwrap();
        for n in 0..MOST_RUNS as u64 + 50 {
            detail.waits((DestinationId(0), "golioth"), StreamId(1), 1, (n * 2, n * 2));
        }
        assert_eq!(detail.held.len(), MOST_RUNS);
    }
}
