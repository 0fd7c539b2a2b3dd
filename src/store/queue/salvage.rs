//! What a damaged file still holds, taken from its pages: readings under their own identity, wherever a page still reads.
//!
//! SQLite gives up a file whose tree is broken; the readings are still on its leaves. So every version of every page is
//! looked at twice, a bounded step at a time: first for the small tables ([`catalogue`]), then for segments. A segment is
//! taken when its checksum holds, and when its row fits its body: class, count and first time. The same segment on another
//! page is passed over, and so is what each of its destinations had settled, as far as cursors read; where they do not, a
//! reading that was acknowledged comes again. Duplicated, never lost. What destinations had refused for its content comes
//! along in the same way, to be set aside again.
//!
//! The records of what was lost, and the books, are gathered with the small tables (`losses`).
//!
//! What is found is handed to the writer ([`super::writer`]), which takes it into the file that succeeded the damaged one.
//! How far it got is in that file ([`Progress`]), in the transaction that took it: a restart goes on, nothing comes twice.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::DestinationId;
use super::segment::{self, PackedRow, Position};
use crate::reading::Class;

mod catalogue;
mod losses;
mod pages;
mod record;

use catalogue::COPY;
pub(super) use catalogue::{Catalogue, DropRow, EpochRow, GapRow, check, copy, keep_copy};
use pages::{Image, PAGE, View};
use record::{Cell, Field};

/// Candidates looked at in one step: some milliseconds on a slow flash.
const STEP_PAGES: u32 = 256;
/// A step ends early when it has found this many bytes of readings: they are one commit.
const STEP_BYTES: usize = 64 << 10;
/// So many runs of segments are remembered as taken. Beyond it one that stands on two pages may come twice.
const MOST_RUNS: usize = 2048;

/// How far the salvage of one file got; kept in the file that takes what is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The damaged file's name, beside its successor.
    pub(super) file: String,
    /// The next candidate to be looked at for readings.
    pub(super) at: u32,
    /// The segments taken so far, as runs of numbers, both ends included.
    taken: Vec<(i64, i64)>,
    /// Readings taken, by destination and stream.
    pub(super) taken_for: BTreeMap<String, u64>,
    /// The same for what a destination had refused for its content.
    taken_aside: Vec<(i64, i64)>,
    /// So many of these.
    pub(super) set_aside: u64,
    /// Readings that were found and could not be taken: nobody knows their stream or their destination any more.
    pub(super) nameless: u64,
}

/// One segment that was found whole.
#[derive(Debug)]
pub(super) struct Found {
    /// Where its first reading stood.
    pub(super) start: Position,
    pub(super) class: Class,
    /// The number of its epoch in the damaged file.
    pub(super) epoch: i64,
    /// Destinations of the damaged file, as bits.
    pub(super) routes: i64,
    pub(super) rows: Vec<PackedRow>,
}

/// One reading that a destination had refused for its content.
#[derive(Debug)]
pub(super) struct FoundAside {
    /// In the damaged file.
    pub(super) destination: DestinationId,
    /// The number of its epoch in the damaged file.
    pub(super) epoch: i64,
    pub(super) row: PackedRow,
    pub(super) reason: String,
    pub(super) at_mono_ns: i64,
}

/// What a step brought.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) found: Vec<Found>,
    pub(super) aside: Vec<FoundAside>,
    /// There is nothing more after this, and in it nothing but the end.
    pub(super) is_last: bool,
    /// How far it is once these are taken.
    pub(super) progress: Progress,
}

/// See the module head.
#[derive(Debug)]
pub(super) struct Salvage {
    image: Image,
    catalogue: Catalogue,
    /// Candidates looked at for the catalogue.
    listed: u32,
    progress: Progress,
    row: Vec<u8>,
}

impl Progress {
    /// Nothing of it is salvaged yet.
    pub(super) fn of(file: String) -> Self {
        Self { file, ..Self::default() }
    }

    /// The key it is kept under in `meta`.
    pub(super) fn key(&self) -> String {
        format!("{KEY}{}", self.file)
    }

    /// Everything that is still to be salvaged, as the file of this connection has it.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn load(connection: &rusqlite::Connection) -> rusqlite::Result<Vec<Self>> {
        let mut rows =
            connection.prepare("SELECT key, value FROM meta WHERE key >= ?1 AND key < ?2 ORDER BY key")?;
        let rows =
            rows.query_map([KEY, KEY_END], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?;
        // How far it got may not read: then it begins again.
        let begun = |key: &str| Self::of(key.strip_prefix(KEY).unwrap_or_default().to_owned());
        rows.map(|row| row.map(|(key, value)| serde_json::from_str(&value).unwrap_or_else(|_| begun(&key))))
            .collect()
    }

    /// Writes it down.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn keep(&self, tx: &rusqlite::Transaction<'_>) -> rusqlite::Result<()> {
        let value = serde_json::to_string(self).unwrap_or_default();
        tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", (self.key(), value))?;
        Ok(())
    }
}

const KEY: &str = "salvage ";
/// Behind all keys that begin with [`KEY`].
const KEY_END: &str = "salvage!";

impl Salvage {
    /// Begins, or goes on, with the damaged file at `path`.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(super) fn open(path: &Path, progress: Progress) -> io::Result<Self> {
        let image = Image::open(path)?;
        Ok(Self { image, catalogue: Catalogue::default(), listed: 0, progress, row: Vec::new() })
    }

    /// What the small tables said; complete before the first reading is found.
    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// In thousandths.
    pub(super) fn done(&self) -> u32 {
        let all = u64::from(self.image.candidates()).max(1) * 2;
        u32::try_from((u64::from(self.listed) + u64::from(self.progress.at)) * 1000 / all).unwrap_or(1000)
    }

    /// A bounded step. Asked again without [`Salvage::taken`], it brings the same again.
    pub(super) fn step(&mut self) -> Step {
        let all = self.image.candidates();
        if self.listed < all {
            let end = self.listed.saturating_add(STEP_PAGES).min(all);
            while self.listed < end {
                self.list(self.listed);
                self.listed += 1;
            }
            return self.nothing_yet();
        }
        let mut step = self.nothing_yet();
        let end = step.progress.at.saturating_add(STEP_PAGES).min(all);
        let mut bytes = 0;
        while step.progress.at < end && bytes < STEP_BYTES {
            bytes += self.search(step.progress.at, &mut step);
            step.progress.at += 1;
        }
        step.is_last = step.progress.at >= all && step.found.is_empty() && step.aside.is_empty();
        step
    }

    fn nothing_yet(&self) -> Step {
        Step { found: Vec::new(), aside: Vec::new(), is_last: false, progress: self.progress.clone() }
    }

    /// What the last step found is committed elsewhere.
    pub(super) fn taken(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// What the last step found cannot be taken: it is passed over, and counted.
    pub(super) fn pass_over(&mut self, step_end: u32, readings: u64) {
        self.progress.at = step_end;
        self.progress.nameless += readings;
    }

    fn list(&mut self, candidate: u32) {
        let Some(page) = self.image.candidate(candidate) else { return };
        let (bytes, sound, current, is_first) = (*page.bytes, page.sound, page.current, page.number == 1);
        for cell in record::cells(&bytes, is_first) {
            // The head of a row is enough to see that it is a segment; those are not fetched in this round.
            if cell.overflow.is_some() && cell.rowid.is_some() {
                continue;
            }
            if !self.fetch(&cell, View::Sound) {
                continue;
            }
            let Some(fields) = record::fields(&self.row) else { continue };
            match fields.as_slice() {
                [Field::Text(key), Field::Text(text)] if *key == COPY => self.catalogue.note_copy(text),
                fields => {
                    self.catalogue.note(cell.rowid, fields, sound);
                    if current {
                        self.catalogue.note_record(cell.rowid, fields);
                    }
                }
            }
        }
    }

    fn search(&mut self, candidate: u32, step: &mut Step) -> usize {
        let Some(page) = self.image.candidate(candidate) else { return 0 };
        let (bytes, is_first) = (*page.bytes, page.number == 1);
        let mut found = 0;
        for cell in record::cells(&bytes, is_first) {
            let Some(id) = cell.rowid else { break };
            // Only what goes on on another page may look different in another view.
            let views =
                if cell.overflow.is_some() { &[View::Sound, View::Newest][..] } else { &[View::Sound] };
            let start = Position { segment: id, row: 0 };
            let class = start.class().filter(|class| start >= Position::first_of(*class));
            if let Some(class) = class.filter(|_| !contains(&step.progress.taken, id))
                && let Some(segment) = self.read(&cell, views, |row| read_segment(row, start, class))
            {
                insert(&mut step.progress.taken, id);
                found += cell.length;
                step.found.push(segment);
            } else if !contains(&step.progress.taken_aside, id)
                && let Some(aside) = self.read(&cell, views, read_aside)
            {
                insert(&mut step.progress.taken_aside, id);
                found += cell.length;
                step.aside.push(aside);
            }
        }
        found
    }

    fn read<T>(
        &mut self,
        cell: &Cell<'_>,
        views: &[View],
        as_what: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<T> {
        views.iter().find_map(|view| self.fetch(cell, *view).then(|| as_what(&self.row)).flatten())
    }

    /// Fills [`Salvage::row`] with the whole row; tells whether all of it is there.
    fn fetch(&mut self, cell: &Cell<'_>, view: View) -> bool {
        self.row.clear();
        self.row.extend_from_slice(cell.local);
        let mut next = cell.overflow;
        let mut page = [0u8; PAGE];
        while self.row.len() < cell.length {
            let Some(number) = next.filter(|n| self.image.page(*n, view, &mut page)) else { return false };
            let [a, b, c, d, rest @ ..] = &page;
            self.row
                .extend_from_slice(rest.get(..rest.len().min(cell.length - self.row.len())).unwrap_or(rest));
            next = Some(u32::from_be_bytes([*a, *b, *c, *d])).filter(|n| *n > 0 && *n != number);
        }
        true
    }
}

/// Whether the log beside the file at `path` lost what was accepted: see [`pages::log_is_damaged`].
pub(super) fn log_lost_readings(path: &Path) -> bool {
    pages::log_is_damaged(path, holds_readings)
}

fn holds_readings(page: &[u8; PAGE]) -> bool {
    record::cells(page, false).any(|cell| {
        let start = cell.rowid.map(|segment| Position { segment, row: 0 });
        start
            .and_then(|start| read_segment(cell.local, start, start.class()?))
            .is_some_and(|segment| !segment.rows.is_empty())
    })
}

/// A row of `segments`, if it is one and everything about it fits.
fn read_segment(row: &[u8], start: Position, class: Class) -> Option<Found> {
    let fields = record::fields(row)?;
    let [
        Field::Null,
        Field::Int(epoch),
        Field::Int(routes),
        Field::Int(count),
        Field::Int(first_us),
        Field::Blob(body),
        ..,
    ] = fields.as_slice()
    else {
        return None;
    };
    let rows: Vec<PackedRow> = segment::rows(body).ok()?.collect::<Result<_, _>>().ok()?;
    let fits = i64::try_from(rows.len()).is_ok_and(|n| n == *count)
        && rows.first().is_some_and(|row| (row.at.0 / 1000).cast_signed() == *first_us);
    fits.then_some(Found { start, class, epoch: *epoch, routes: *routes, rows })
}

/// A row of `set_aside` whose body still reads.
fn read_aside(row: &[u8]) -> Option<FoundAside> {
    let fields = record::fields(row)?;
    let [
        Field::Null,
        Field::Int(destination @ 0..=61),
        Field::Int(stream),
        Field::Int(epoch),
        Field::Int(sequence),
        Field::Int(mono_ns),
        Field::Blob(body),
        Field::Text(reason),
        Field::Int(at_mono_ns),
        ..,
    ] = fields.as_slice()
    else {
        return None;
    };
    let row = segment::rows(body).ok()?.next()?.ok()?;
    let told = (i64::from(row.sample.stream.0), row.sequence.cast_signed(), row.at.0.cast_signed());
    (told == (*stream, *sequence, *mono_ns)).then(|| FoundAside {
        destination: DestinationId(u8::try_from(*destination).unwrap_or(61)),
        epoch: *epoch,
        row,
        reason: (*reason).to_owned(),
        at_mono_ns: *at_mono_ns,
    })
}

fn contains(runs: &[(i64, i64)], n: i64) -> bool {
    let place = runs.partition_point(|(_, last)| *last < n);
    runs.get(place).is_some_and(|(first, _)| *first <= n)
}

fn insert(runs: &mut Vec<(i64, i64)>, n: i64) {
    let place = runs.partition_point(|(_, last)| last.saturating_add(1) < n);
    let has_room = runs.len() < MOST_RUNS;
    match runs.get_mut(place) {
        Some((_, last)) if last.saturating_add(1) == n => {
            *last = n;
            let joins = runs.get(place + 1).is_some_and(|(first, _)| *first == n.saturating_add(1));
            if joins {
                let (_, end) = runs.remove(place + 1);
                if let Some((_, last)) = runs.get_mut(place) {
                    *last = end;
                }
            }
        }
        Some((first, _)) if *first == n.saturating_add(1) => *first = n,
        Some((first, last)) if (*first..=*last).contains(&n) => {}
        _ if has_room => runs.insert(place, (n, n)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn runs_hold_exactly_what_was_put_in(numbers in prop::collection::vec(0i64..60, 0..80)) {
            let mut runs = Vec::new();
            let mut model = BTreeSet::new();
            for n in numbers {
                prop_assert_eq!(contains(&runs, n), model.contains(&n));
                insert(&mut runs, n);
                model.insert(n);
                prop_assert!(runs.windows(2).all(|w| w[0].1 + 1 < w[1].0), "sorted and apart: {:?}", runs);
            }
            for n in -1..62 {
                prop_assert_eq!(contains(&runs, n), model.contains(&n), "{}", n);
            }
        }
    }
}
