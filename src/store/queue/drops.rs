//! Drop records: which accepted readings were given up for a destination, as ranges of sequences, and why.
//!
//! A record is of one destination, stream, reason and epoch: the first and the last sequence, and how many. It grows with
//! what stands next to it. It is exact as long as all readings of the stream between its ends are lost; where it had to take
//! in others with it, it is [`Extent::Wide`], and its count is less than its ends suggest.
//!
//! A (destination, stream, reason) has at most [`MOST`] such records. When one more would begin, the oldest that its
//! destination knows whole goes into a sum ([`Extent::Told`]) that is never told again; where none is known, the closest
//! record of the epoch widens, and where there is none of the epoch either, a sum without sequences grows. No record that a
//! destination knows is ever taken into one that it is still to be told: whoever adds up what it was told counts nothing twice.
//!
//! The newest record of all never goes into a sum: its number is what it is known by on the wire, and SQLite would give it
//! to the next.
//!
//! Invariant: of a (destination, stream) the counts add up to its account's `dropped`.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::DestinationId;
use super::reader::RecordKind;
use crate::clock::Mono;
use crate::reading::StreamId;

/// As many ranges of a (destination, stream, reason) stand for themselves.
const MOST: usize = 16;

/// What a record's ends say about the readings between them; its number in `drops.extent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Extent {
    /// All of them are lost. Without ends: a sum.
    Whole = 0,
    /// Some of them are not: records were merged.
    Wide = 1,
    /// The sum of older records, each of which was told by itself.
    Told = 2,
}

/// Readings of one stream that are lost, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    epoch: i64,
    first: u64,
    last: u64,
    count: u64,
}

pub(super) type Key = (DestinationId, StreamId, &'static str);

/// What one transaction gives up, gathered so that each record is written once.
#[derive(Debug, Default)]
pub(super) struct Drops {
    runs: BTreeMap<Key, Vec<Run>>,
    /// Of these the sequences are not known.
    sums: BTreeMap<Key, u64>,
    /// What became of the last reading of a stream that was looked at; `None` if it was not given up.
    last: BTreeMap<(DestinationId, StreamId), Option<&'static str>>,
}

impl Drops {
    /// A reading is given up. Readings are told in the order in which they stand in the queue, with [`Drops::kept`].
    pub(super) fn add(
        &mut self,
        destination: DestinationId,
        stream: StreamId,
        reason: &'static str,
        epoch: i64,
        sequence: u64,
    ) {
        let follows = self.last.insert((destination, stream), Some(reason)) == Some(Some(reason));
        let runs = self.runs.entry((destination, stream, reason)).or_default();
        match runs.last_mut() {
            Some(run)
                if run.epoch == epoch
                    && ((follows && sequence > run.last) || run.last.checked_add(1) == Some(sequence)) =>
            {
                run.last = sequence;
                run.count += 1;
            }
            _ => runs.push(Run { epoch, first: sequence, last: sequence, count: 1 }),
        }
    }

    /// A reading stands here that is not given up.
    pub(super) fn kept(&mut self, destination: DestinationId, stream: StreamId) {
        if let Some(last) = self.last.get_mut(&(destination, stream)) {
            *last = None;
        }
    }

    /// Another look at the destination's queue begins: what it finds first need not follow what was found last.
    pub(super) fn look_anew(&mut self, destination: DestinationId) {
        self.last.retain(|(of, _), _| *of != destination);
    }

    /// Readings are given up of which nobody has looked at the sequences.
    pub(super) fn add_sum(
        &mut self,
        destination: DestinationId,
        stream: StreamId,
        reason: &'static str,
        count: u64,
    ) {
        *self.sums.entry((destination, stream, reason)).or_default() += count;
    }

    /// How many are given up, by destination, stream and reason; a key may come twice.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Key, u64)> {
        let runs = self.runs.iter().map(|(key, runs)| (*key, runs.iter().map(|run| run.count).sum()));
        runs.chain(self.sums.iter().map(|(key, count)| (*key, *count)))
    }

    /// Writes it down as found out now, in the epoch with this number.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn write(&self, tx: &Transaction<'_>, epoch: i64, now: Mono) -> rusqlite::Result<()> {
        let keys = self.runs.keys().chain(self.sums.keys().filter(|key| !self.runs.contains_key(*key)));
        for key in keys {
            let mut records = Records::load(tx, key)?;
            for run in self.runs.get(key).into_iter().flatten() {
                records.place(*run, leaves_holes(key.2));
            }
            if let Some(count) = self.sums.get(key) {
                records.add_to_sum(*count);
            }
            records.write(tx, key, epoch, now)?;
        }
        Ok(())
    }
}

/// Reasons that by their nature take some readings and leave others between them. One range an epoch says as much of them as
/// many would, and is not told anew with each.
fn leaves_holes(reason: &str) -> bool {
    matches!(reason, "superseded" | "thinned")
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    /// `None` until it is written.
    id: Option<i64>,
    /// Epoch, first and last sequence; `None` for a sum.
    range: Option<(i64, u64, u64)>,
    count: u64,
    extent: Extent,
    /// Its destination knows all of it.
    told: bool,
    changed: bool,
    /// Of a salvaged record: the file it was made in, and its number there.
    origin: (Option<i64>, Option<i64>),
}

/// The records of one (destination, stream, reason), oldest first.
#[derive(Debug, Default)]
struct Records {
    records: Vec<Record>,
    /// Taken into the sum of those that were told.
    gone: Vec<i64>,
    /// The highest number of the whole table.
    newest: i64,
}

impl Records {
    fn place(&mut self, run: Run, one_an_epoch: bool) {
        let distances = self.records.iter().enumerate();
        let nearest = distances.filter_map(|(place, record)| Some((distance(record, run)?, place))).min();
        if let Some((between, place)) = nearest
            && (between == 0 || one_an_epoch)
        {
            self.grow(place, run, between);
            return;
        }
        // Those of a salvaged file may have come on top.
        while self.ranges() >= MOST && self.fold_oldest_told() {}
        if self.ranges() < MOST {
            self.records.push(Record {
                id: None,
                range: Some((run.epoch, run.first, run.last)),
                count: run.count,
                extent: Extent::Whole,
                told: false,
                changed: true,
                origin: (None, None),
            });
        } else if let Some((between, place)) = nearest {
            self.grow(place, run, between);
        } else {
            self.add_to_sum(run.count);
        }
    }

    fn ranges(&self) -> usize {
        self.records.iter().filter(|record| record.range.is_some()).count()
    }

    fn grow(&mut self, place: usize, run: Run, between: u64) {
        let Some(record) = self.records.get_mut(place) else { return };
        if let Some((_, first, last)) = &mut record.range {
            (*first, *last) = (run.first.min(*first), run.last.max(*last));
        }
        record.count += run.count;
        if between > 0 {
            record.extent = Extent::Wide;
        }
        (record.told, record.changed) = (false, true);
    }

    fn add_to_sum(&mut self, count: u64) {
        self.grow_sum(Extent::Whole, count);
    }

    /// Tells whether there is room for another range now.
    fn fold_oldest_told(&mut self) -> bool {
        let oldest = self
            .records
            .iter()
            .position(|r| r.range.is_some() && r.told && r.id.is_some_and(|id| id < self.newest));
        let Some(place) = oldest else { return false };
        let Record { id, count, .. } = self.records.remove(place);
        self.gone.extend(id);
        self.grow_sum(Extent::Told, count);
        true
    }

    fn grow_sum(&mut self, extent: Extent, count: u64) {
        match self.records.iter_mut().find(|r| r.range.is_none() && r.extent == extent) {
            Some(sum) => {
                sum.count += count;
                (sum.told, sum.changed) = (false, true);
            }
            None => self.records.push(Record {
                id: None,
                range: None,
                count,
                extent,
                told: false,
                changed: true,
                origin: (None, None),
            }),
        }
    }

    fn load(tx: &Transaction<'_>, (destination, stream, reason): &Key) -> rusqlite::Result<Self> {
        let newest =
            tx.prepare_cached("SELECT coalesce(max(id), 0) FROM drops")?.query_row([], |r| r.get(0))?;
        let mut rows = tx.prepare_cached(
            "SELECT d.id, d.epoch, d.first_sequence, d.last_sequence, d.count, d.extent, coalesce(t.count >= d.count, 0),
                    d.from_file, d.from_record
             FROM drops AS d
             LEFT JOIN told AS t ON t.destination = d.destination AND t.kind = 0 AND t.record = d.id
             WHERE d.destination = ?1 AND d.stream = ?2 AND d.reason = ?3 ORDER BY d.id",
        )?;
        let rows = rows.query_map((destination.0, stream.0, reason), |r| {
            let (epoch, first, last): (Option<i64>, Option<i64>, Option<i64>) =
                (r.get(1)?, r.get(2)?, r.get(3)?);
            let range = match (epoch, first, last) {
                (Some(epoch), Some(first), Some(last)) => {
                    Some((epoch, first.cast_unsigned(), last.cast_unsigned()))
                }
                _ => None,
            };
            Ok(Record {
                id: Some(r.get(0)?),
                range,
                count: r.get::<_, i64>(4)?.cast_unsigned(),
                extent: match r.get(5)? {
                    2 => Extent::Told,
                    1 => Extent::Wide,
                    _ => Extent::Whole,
                },
                told: r.get(6)?,
                changed: false,
                origin: (r.get(7)?, r.get(8)?),
            })
        })?;
        Ok(Self { records: rows.collect::<Result<_, _>>()?, gone: Vec::new(), newest })
    }

    /// Replaced, never updated: an earlier release adds to the counts of all records of a key that it can update, and the
    /// schema lets it do so only with the sum.
    fn write(
        &self,
        tx: &Transaction<'_>,
        (destination, stream, reason): &Key,
        epoch: i64,
        now: Mono,
    ) -> rusqlite::Result<()> {
        for id in &self.gone {
            tx.prepare_cached("DELETE FROM drops WHERE id = ?1")?.execute([id])?;
            tx.prepare_cached("DELETE FROM told WHERE destination = ?1 AND kind = ?2 AND record = ?3")?
                .execute((destination.0, RecordKind::Drop as u8, id))?;
        }
        for record in self.records.iter().filter(|record| record.changed) {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO drops (id, destination, stream, reason, epoch, first_sequence, last_sequence,
                                               count, at_epoch, at_mono_ns, extent, from_file, from_record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute((
                record.id,
                destination.0,
                stream.0,
                reason,
                record.range.map(|(epoch, ..)| epoch),
                record.range.map(|(_, first, _)| first.cast_signed()),
                record.range.map(|(.., last)| last.cast_signed()),
                record.count.cast_signed(),
                epoch,
                now.0.cast_signed(),
                record.extent as u8,
                record.origin.0,
                record.origin.1,
            ))?;
            if record.extent == Extent::Told {
                let id = record.id.unwrap_or_else(|| tx.last_insert_rowid());
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO told (destination, kind, record, count) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((
                    destination.0,
                    RecordKind::Drop as u8,
                    id,
                    record.count.cast_signed(),
                ))?;
            }
        }
        Ok(())
    }
}

/// How many sequences lie between the record and the run; `None` for another epoch, or a sum.
fn distance(record: &Record, run: Run) -> Option<u64> {
    let (epoch, first, last) = record.range?;
    let between = if run.first > last {
        run.first - last - 1
    } else if first > run.last {
        first - run.last - 1
    } else {
        0
    };
    (epoch == run.epoch).then_some(between)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    const DESTINATION: DestinationId = DestinationId(0);
    const STREAM: StreamId = StreamId(7);

    fn file() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrations().to_latest(&mut connection).unwrap();
        connection
    }

    fn write(
        connection: &mut Connection,
        reason: &'static str,
        runs: &[(i64, std::ops::RangeInclusive<u64>)],
    ) {
        let tx = connection.transaction().unwrap();
        for (epoch, sequences) in runs {
            let mut drops = Drops::default();
            sequences.clone().for_each(|n| drops.add(DESTINATION, STREAM, reason, *epoch, n));
            drops.write(&tx, 9, Mono(1)).unwrap();
        }
        tx.commit().unwrap();
    }

    type Shown = (Option<i64>, Option<i64>, Option<i64>, i64, i64);

    fn records(connection: &Connection) -> Vec<Shown> {
        connection
            .prepare("SELECT epoch, first_sequence, last_sequence, count, extent FROM drops ORDER BY id")
            .unwrap()
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    fn range(epoch: i64, first: i64, last: i64, count: i64, extent: Extent) -> Shown {
        (Some(epoch), Some(first), Some(last), count, extent as i64)
    }

    fn tell_all(connection: &Connection) {
        connection
            .execute(
                "INSERT OR REPLACE INTO told (destination, kind, record, count) SELECT 0, 0, id, count FROM drops",
                [],
            )
            .unwrap();
    }

    #[test]
    fn what_stands_next_to_each_other_is_one_record_and_another_epoch_is_another() {
        let mut connection = file();
        write(&mut connection, "age", &[(1, 5..=9), (1, 10..=12), (1, 20..=21), (1, 1..=4), (2, 13..=13)]);
        assert_eq!(
            records(&connection),
            [
                range(1, 1, 12, 12, Extent::Whole),
                range(1, 20, 21, 2, Extent::Whole),
                range(2, 13, 13, 1, Extent::Whole)
            ]
        );
    }

    #[test]
    fn in_one_look_at_the_queue_only_what_is_kept_between_them_parts_two_readings() {
        let mut connection = file();
        let mut drops = Drops::default();
        for sequence in [10, 20, 30] {
            drops.add(DESTINATION, STREAM, "quota", 1, sequence);
        }
        drops.kept(DESTINATION, STREAM);
        for sequence in [50, 60] {
            drops.add(DESTINATION, STREAM, "quota", 1, sequence);
        }
        assert_eq!(drops.counts().collect::<Vec<_>>(), [((DESTINATION, STREAM, "quota"), 5)]);
        let tx = connection.transaction().unwrap();
        drops.write(&tx, 1, Mono(1)).unwrap();
        tx.commit().unwrap();
        let expected = [range(1, 10, 30, 3, Extent::Whole), range(1, 50, 60, 2, Extent::Whole)];
        assert_eq!(records(&connection), expected);
    }

    #[test]
    fn one_too_many_widens_the_closest_and_the_record_says_so() {
        let mut connection = file();
        let far: Vec<_> = (0..MOST as u64).map(|n| (1, n * 100..=n * 100 + 1)).collect();
        write(&mut connection, "quota", &far);
        write(&mut connection, "quota", &[(1, 310..=312)]);
        let all = records(&connection);
        assert_eq!(all.len(), MOST);
        assert_eq!(all[3], range(1, 300, 312, 5, Extent::Wide));
        // Of an epoch that has no record there is nothing to widen: what is lost of it is a sum.
        write(&mut connection, "quota", &[(2, 1..=3), (2, 4..=4)]);
        assert_eq!(records(&connection)[MOST..], [(None, None, None, 4, 0)]);
    }

    #[test]
    fn what_its_destination_knows_makes_room_and_is_never_told_again() {
        let mut connection = file();
        let far: Vec<_> = (0..MOST as u64).map(|n| (1, n * 100..=n * 100 + 1)).collect();
        write(&mut connection, "quota", &far);
        tell_all(&connection);
        write(&mut connection, "quota", &[(2, 5..=6), (3, 7..=7)]);
        let all = records(&connection);
        assert_eq!(all.len(), MOST + 1);
        assert_eq!(all[0], range(1, 200, 201, 2, Extent::Whole));
        assert!(all.contains(&range(3, 7, 7, 1, Extent::Whole)));
        assert!(all.contains(&(None, None, None, 4, Extent::Told as i64)));
        let untold = "SELECT count(*) FROM drops WHERE count > coalesce((SELECT count FROM told WHERE record = id), 0)";
        assert_eq!(connection.query_row(untold, [], |r| r.get::<_, i64>(0)).unwrap(), 2);
        let orphans = "SELECT count(*) FROM told WHERE record NOT IN (SELECT id FROM drops)";
        assert_eq!(connection.query_row(orphans, [], |r| r.get::<_, i64>(0)).unwrap(), 0);
    }

    /// SQLite gives the highest number of a table again once it is free.
    #[test]
    fn the_newest_number_is_never_given_to_another_record() {
        let mut connection = file();
        let far: Vec<_> = (0..MOST as u64).map(|n| (1, n * 100..=n * 100 + 1)).collect();
        write(&mut connection, "quota", &far);
        let newest =
            "SELECT first_sequence FROM drops WHERE id = (SELECT max(id) FROM drops WHERE epoch = 1)";
        let first =
            |connection: &Connection| connection.query_row(newest, [], |r| r.get::<_, i64>(0)).unwrap();
        let before = first(&connection);
        connection.execute("INSERT INTO told SELECT 0, 0, max(id), 2 FROM drops", []).unwrap();
        write(&mut connection, "quota", &[(2, 5..=6)]);
        assert_eq!(first(&connection), before);
        // With a newer one behind it, it may go.
        write(&mut connection, "age", &[(1, 1..=1)]);
        write(&mut connection, "quota", &[(3, 7..=7)]);
        assert_ne!(first(&connection), before);
    }

    #[test]
    fn what_is_thinned_is_one_range_an_epoch() {
        let mut connection = file();
        write(&mut connection, "thinned", &[(1, 1..=1), (1, 3..=3), (1, 5..=5), (2, 7..=7), (2, 8..=8)]);
        let expected = [range(1, 1, 5, 3, Extent::Wide), range(2, 7, 8, 2, Extent::Whole)];
        assert_eq!(records(&connection), expected);
    }

    /// It knows of one record a (destination, stream, reason), and adds to whatever it finds of it.
    #[test]
    fn the_release_before_ranges_adds_to_a_sum_and_counts_nothing_twice() {
        let mut connection = file();
        write(&mut connection, "age", &[(1, 1..=4), (1, 8..=9)]);
        for _ in 0..2 {
            let changed = connection
                .execute(
                    "UPDATE drops SET count = count + 3, at_epoch = 9, at_mono_ns = 9
                     WHERE destination = 0 AND stream = 7 AND reason = 'age'",
                    [],
                )
                .unwrap();
            if changed == 0 {
                let insert = "INSERT INTO drops (destination, stream, reason, count, at_epoch, at_mono_ns)
                              VALUES (0, 7, 'age', 3, 9, 9)";
                connection.execute(insert, []).unwrap();
            }
        }
        let expected =
            [range(1, 1, 4, 4, Extent::Whole), range(1, 8, 9, 2, Extent::Whole), (None, None, None, 6, 0)];
        assert_eq!(records(&connection), expected);
        write(&mut connection, "age", &[(1, 5..=5)]);
        assert_eq!(records(&connection)[0], range(1, 1, 5, 5, Extent::Whole));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is given up, told or not in between: no count is lost, the number is bounded, an exact range is exact, and
        /// every lost reading that a range still stands for is inside one.
        #[test]
        fn the_records_say_what_was_lost(
            steps in prop::collection::vec((0i64..3, 0u64..400, 1u64..9, 0u8..8), 1..120),
        ) {
            let mut connection = file();
            let mut lost = std::collections::BTreeSet::new();
            // Two looks a transaction; nobody has looked at what stands between them.
            for looks in steps.chunks(2) {
                let tx = connection.transaction().unwrap();
                let mut drops = Drops::default();
                for &(epoch, first, length, _) in looks {
                    drops.look_anew(DESTINATION);
                    for n in first..first + length {
                        // A sequence is lost once.
                        if lost.insert((epoch, n)) {
                            drops.add(DESTINATION, STREAM, "age", epoch, n);
                        } else {
                            drops.kept(DESTINATION, STREAM);
                        }
                    }
                }
                drops.write(&tx, 9, Mono(1)).unwrap();
                tx.commit().unwrap();
                if looks.iter().any(|(.., tell)| *tell == 0) {
                    tell_all(&connection);
                }
                let all = records(&connection);
                prop_assert_eq!(all.iter().map(|r| r.3).sum::<i64>(), lost.len() as i64);
                prop_assert!(all.len() <= MOST + 2, "{:?}", all);
                for (epoch, first, last, count, extent) in all {
                    let Some(((epoch, first), last)) = epoch.zip(first).zip(last) else { continue };
                    let within = (first..=last).filter(|n| lost.contains(&(epoch, n.cast_unsigned()))).count();
                    prop_assert!(within as i64 >= count, "{first}..={last}: {count} of {within}");
                    if extent == 0 {
                        prop_assert_eq!(count, last - first + 1);
                    }
                }
            }
        }
    }
}
