//! Taking what was found in a damaged predecessor ([`super::super::salvage`]) into this file, a small commit at a time.
//!
//! A salvaged reading keeps its epoch, its sequence and its time; its place in the queue is behind what was accepted
//! since. In this file's books it is accepted once, for the destinations that had not settled it: so the equations hold
//! here as ever, and the statement of the damaged file says how many of its readings count again, and how many are lost.
//!
//! The records of what that file had lost come along with its last step (`records`), which brings nothing else: where they do
//! not go in, no reading is passed over for them.
//!
//! Runs between commits, only while the store is well and has room: what is accepted now goes first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction};

use super::super::books::Changes;
use super::super::handle::Salvaging;
use super::super::reader::StreamInfo;
use super::super::salvage::{self, Catalogue, EpochRow, Found, FoundAside, Progress, Salvage, Step};
use super::super::segment::{PackedRow, Position, SegmentBuilder};
use super::super::statement::DAMAGED;
use super::super::streams;
use super::disk::Disk;
use super::recover::LOG_BYTES;
use super::{DestinationId, Epoch, Health, Writer};
use crate::clock::{BootId, Mono};
use crate::gather::Gather;
use crate::reading::{Class, Sample, StreamId};
use crate::store::sqlite::{self, Trouble};

mod records;

use records::Records;

/// The first step waits until the start is over.
const FIRST: Duration = Duration::from_secs(1);
/// Between steps, for what is handed in meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// Without room, and after a step that failed.
const LATER: Duration = Duration::from_secs(10);
/// Above this share of the quota (in 1/16) salvage waits: new readings would be given up for it.
const ROOM_SIXTEENTHS: u64 = 10;

/// What is still to be salvaged.
#[derive(Debug, Default)]
pub(super) struct Rescue {
    waiting: VecDeque<Progress>,
    at_hand: Option<Salvage>,
    due: Option<Mono>,
    /// How often the end of the file at hand did not go in.
    refused_ends: u32,
}

/// So often the end is tried: with the records of what was lost, without them.
const MOST_ENDS: u32 = 2;

impl Rescue {
    pub(super) fn of(waiting: Vec<Progress>, now: Mono) -> Self {
        let due = (!waiting.is_empty()).then(|| now.plus(FIRST));
        Self { waiting: waiting.into(), due, ..Self::default() }
    }

    /// Done with the file at hand.
    fn next(&mut self) {
        self.waiting.pop_front();
        self.refused_ends = 0;
    }

    /// For people.
    pub(super) fn shown(&self) -> Option<Salvaging> {
        let progress = self.waiting.front()?;
        Some(Salvaging {
            file: progress.file.clone(),
            thousandths: self.at_hand.as_ref().map_or(0, Salvage::done),
            readings: progress.taken_for.values().sum(),
        })
    }
}

/// What a step's transaction changes in memory.
struct Taken {
    changes: Changes,
    next_segment: BTreeMap<Class, Position>,
    classes: BTreeMap<StreamId, Class>,
    bytes: u64,
    progress: Progress,
}

impl Writer {
    pub(super) fn salvage_due(&self) -> Option<Mono> {
        self.rescue.due.filter(|_| self.health == Health::Good)
    }

    /// One bounded step.
    pub(super) fn salvage(&mut self, now: Mono) {
        let Some(progress) = self.rescue.waiting.front() else {
            self.rescue = Rescue::default();
            return;
        };
        if !self.has_room_to_spare() {
            self.rescue.due = Some(now.plus(LATER));
            return;
        }
        let opened = match self.rescue.at_hand.take() {
            Some(salvage) => Ok(salvage),
            None => Salvage::open(&self.options.path.with_file_name(&progress.file), progress.clone()),
        };
        let mut salvage = match opened {
            Ok(salvage) => salvage,
            Err(error) => {
                tracing::warn!(%error, file = progress.file, "a damaged file cannot be read just now");
                self.rescue.due = Some(now.plus(LATER));
                return;
            }
        };
        let step = salvage.step();
        let is_last = step.is_last;
        if step.found.is_empty() && step.aside.is_empty() && !is_last {
            salvage.taken(step.progress);
            (self.rescue.at_hand, self.rescue.due) = (Some(salvage), Some(now.plus(PAUSE)));
            self.publish();
            return;
        }
        let (end, readings) = (step.progress.at, step.found.iter().map(|f| f.rows.len() as u64).sum());
        match self.take_salvaged(salvage.catalogue(), step) {
            Ok(taken) => {
                self.apply_salvaged(&taken, &mut salvage);
                if is_last {
                    self.stated += 1;
                    let readings: u64 = taken.progress.taken_for.values().sum();
                    tracing::info!(
                        file = taken.progress.file,
                        readings,
                        "what a damaged file still held is salvaged"
                    );
                    self.rescue.next();
                } else {
                    self.rescue.at_hand = Some(salvage);
                }
                self.rescue.due = (!self.rescue.waiting.is_empty()).then(|| now.plus(PAUSE));
                self.tally.apply(&self.books, &taken.changes, &self.destinations);
                taken.changes.apply(&mut self.books);
                self.measure();
                if is_last {
                    self.read_statements();
                }
                self.tend_log(now);
            }
            Err(error) => {
                tracing::warn!(%error, "a step of the salvage failed");
                let trouble = self.trouble(&error);
                if trouble == Trouble::Doubt {
                    // Something in what was found does not go in. What is accepted now must not suffer for it.
                    salvage.pass_over(end, readings);
                    self.rescue.refused_ends += u32::from(is_last);
                }
                if self.rescue.refused_ends >= MOST_ENDS {
                    tracing::error!(
                        file = self.rescue.waiting.front().map_or("", |progress| &progress.file),
                        "the salvage of a damaged file cannot be ended; what it took is there. The next start tries again"
                    );
                    self.rescue.next();
                    self.rescue.due = (!self.rescue.waiting.is_empty()).then(|| now.plus(LATER));
                    self.publish();
                    return;
                }
                (self.rescue.at_hand, self.rescue.due) = (Some(salvage), Some(now.plus(LATER)));
                // What the file says counts: the step may have landed. It is opened again, and read.
                if !matches!(trouble, Trouble::Full | Trouble::Doubt) {
                    self.fall_sick(now, &error);
                }
            }
        }
        self.publish();
    }

    /// For what is written beside the readings that come: none of those is to be given up for it.
    pub(super) fn has_room_to_spare(&self) -> bool {
        self.used_bytes <= self.options.max_bytes / 16 * ROOM_SIXTEENTHS
            && sqlite::free_bytes(&self.options.path).is_none_or(|free| free >= 2 * LOG_BYTES)
    }

    fn apply_salvaged(&mut self, taken: &Taken, salvage: &mut Salvage) {
        salvage.taken(taken.progress.clone());
        if let Some(shown) = self.rescue.waiting.front_mut() {
            shown.clone_from(&taken.progress);
        }
        self.next_segment.clone_from(&taken.next_segment);
        self.used_bytes += taken.bytes;
        for (stream, class) in &taken.classes {
            self.tally.define(*stream, *class);
        }
    }

    fn take_salvaged(&mut self, catalogue: &Catalogue, step: Step) -> rusqlite::Result<Taken> {
        let mut connection = self.disk.take()?;
        let result = connection.transaction().and_then(|tx| {
            let taken = self.write_salvaged(&tx, catalogue, step)?;
            tx.commit()?;
            Ok(taken)
        });
        self.disk = Disk::Open(connection);
        self.has_committed |= result.is_ok();
        result
    }

    fn write_salvaged(
        &self,
        tx: &Transaction<'_>,
        catalogue: &Catalogue,
        step: Step,
    ) -> rusqlite::Result<Taken> {
        let mut sorted = Sorted::new(tx, self, catalogue);
        let mut progress = step.progress;
        for found in &step.found {
            progress.nameless += sorted.sort(found)?;
        }
        let mut aside = Vec::new();
        for found in &step.aside {
            match sorted.sort_aside(found)? {
                Some(place) => aside.push((found, place)),
                None => progress.nameless += 1,
            }
        }
        let with_records = self.rescue.refused_ends == 0;
        let records = if step.is_last && with_records {
            records::take(tx, &mut sorted, &progress.file)?
        } else {
            Records::default()
        };
        let Sorted { builders, mut counts, routed, classes, .. } = sorted;
        let mut changes = Changes::default();
        let mut all_routed = aside.iter().fold(routed.clone(), |mut sum, (_, place)| {
            *sum.entry(*place).or_default() += 1;
            sum
        });
        for (stream, count) in records.counts() {
            *counts.entry(stream).or_default() += count;
        }
        for (place, count) in records.routed() {
            *all_routed.entry(*place).or_default() += count;
        }
        self.book_salvaged(&mut changes, &counts, &all_routed);
        records.book(self, &mut changes);
        for (found, (destination, stream)) in aside {
            let number = self.epoch_of(tx, catalogue, found.epoch, &progress.file)?;
            write_aside(tx, found, destination, stream, number)?;
            changes.account(&self.books, destination, stream).set_aside += 1;
            progress.set_aside += 1;
        }
        changes.write(tx)?;
        let (mut next_segment, mut bytes) = (self.next_segment.clone(), 0);
        for ((class, routes, epoch), mut builder) in builders {
            let number = self.epoch_of(tx, catalogue, epoch, &progress.file)?;
            let (rows, first, body) = builder.finish();
            let place = next_segment.entry(class).or_insert_with(|| Position::first_of(class));
            tx.prepare_cached(
                "INSERT INTO segments (id, epoch, routes, rows, first_mono_us, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((place.segment, number, routes, rows, (first.0 / 1000).cast_signed(), body))?;
            *place = place.next_segment();
            bytes += body.len() as u64;
        }
        for ((destination, name), count) in routed.iter().map(|((d, s), n)| ((*d, self.name_of(tx, *s)), n)) {
            let destination =
                self.destinations.iter().find(|(d, _)| *d == destination).map_or("?", |(_, n)| n);
            *progress.taken_for.entry(format!("{destination}/{}", name?)).or_default() += count;
        }
        if step.is_last {
            tx.execute("DELETE FROM meta WHERE key = ?1", [progress.key()])?;
            if !with_records {
                tracing::error!(file = progress.file, "{WITHOUT_RECORDS}");
            }
            state_the_rest(tx, &progress, catalogue, with_records.then_some(records.count))?;
        } else {
            progress.keep(tx)?;
        }
        Ok(Taken { changes, next_segment, classes, bytes, progress })
    }

    /// Accepted here, once, for whoever it is still for; for everybody else it never was.
    fn book_salvaged(
        &self,
        changes: &mut Changes,
        counts: &BTreeMap<StreamId, u64>,
        routed: &BTreeMap<(DestinationId, StreamId), u64>,
    ) {
        for (stream, count) in counts {
            let before = self.books.intake.get(stream).map_or(0, |i| i.accepted);
            changes.intake(&self.books, *stream).accepted += count;
            let mut of: Vec<DestinationId> =
                self.books.accounts.keys().filter(|(_, s)| s == stream).map(|(d, _)| *d).collect();
            of.extend(routed.keys().filter(|(_, s)| s == stream).map(|(d, _)| *d));
            of.sort_unstable();
            of.dedup();
            for destination in of {
                let known = self.books.accounts.contains_key(&(destination, *stream));
                let its = routed.get(&(destination, *stream)).copied().unwrap_or(0);
                let account = changes.account(&self.books, destination, *stream);
                if !known {
                    // It is not routed there any more; what was accepted for it once still is.
                    (account.starts_at, account.ended_at) = (before, Some(before));
                }
                match &mut account.ended_at {
                    Some(ended) => *ended += its,
                    None => account.starts_at += count - its,
                }
            }
        }
    }

    /// The number here of an epoch that had the number `there`; its row is made when it is not here yet.
    fn epoch_of(
        &self,
        tx: &Transaction<'_>,
        catalogue: &Catalogue,
        there: i64,
        file: &str,
    ) -> rusqlite::Result<i64> {
        let row = catalogue.epochs.get(&there).copied().unwrap_or_else(|| unknown_epoch(file, there));
        let known: Option<i64> = tx
            .prepare_cached("SELECT number FROM epochs WHERE epoch = ?1")?
            .query_row([row.epoch.0.cast_signed()], |r| r.get(0))
            .optional()?;
        if let Some(known) = known {
            return Ok(known);
        }
        // Before all that are here, so that the newest stays the newest.
        let number: i64 = tx.query_row("SELECT min(min(number), 0) - 1 FROM epochs", [], |r| r.get(0))?;
        let here = self.wall.filter(|_| row.boot == self.options.boot);
        let wall = row.wall_offset_ms.or(here.map(|claim| (claim.offset_ms, claim.uncertainty_ms)));
        tx.execute(
            "INSERT INTO epochs (number, epoch, boot_id, first_mono_ns, wall_offset_ms, wall_uncertainty_ms, crc, clean_stop)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
            (
                number,
                row.epoch.0.cast_signed(),
                row.boot.0,
                row.first_mono_ns,
                wall.map(|(offset, _)| offset),
                wall.map(|(_, uncertainty)| uncertainty),
                salvage::check(number, row.epoch, row.boot, row.first_mono_ns),
            ),
        )?;
        Ok(number)
    }

    fn name_of(&self, tx: &Transaction<'_>, stream: StreamId) -> rusqlite::Result<String> {
        tx.prepare_cached("SELECT name FROM streams WHERE id = ?1")?.query_row([stream.0], |r| r.get(0))
    }
}

fn write_aside(
    tx: &Transaction<'_>,
    found: &FoundAside,
    destination: DestinationId,
    stream: StreamId,
    epoch: i64,
) -> rusqlite::Result<()> {
    let mut one = SegmentBuilder::default();
    let sample = Sample { stream, ..found.row.sample.clone() };
    one.push(found.row.at, found.row.sequence, std::iter::once(&sample));
    tx.execute(
        "INSERT INTO set_aside (destination, stream, epoch, sequence, mono_ns, body, reason, at_mono_ns)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            destination.0,
            stream.0,
            epoch,
            found.row.sequence.cast_signed(),
            found.row.at.0.cast_signed(),
            one.finish().2,
            &found.reason,
            found.at_mono_ns,
        ),
    )?;
    Ok(())
}

/// The row of an epoch is lost, its readings are not: an identity of their own, in a boot nobody knows.
fn unknown_epoch(file: &str, number: i64) -> EpochRow {
    let seed = file.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    EpochRow {
        epoch: Epoch(seed).successor(number.cast_unsigned()),
        boot: BootId([0; 16]),
        first_mono_ns: 0,
        wall_offset_ms: None,
    }
}

/// What the statement says where the records of what the file had lost would not go in.
const WITHOUT_RECORDS: &str = "its own records of what was lost before could not be taken";

/// Completes the damaged file's statement: what was salvaged, and how much of what its books said is lost. Where the
/// books did not read, that is unknown, and stays `null`.
fn state_the_rest(
    tx: &Transaction<'_>,
    progress: &Progress,
    catalogue: &Catalogue,
    records: Option<u64>,
) -> rusqlite::Result<()> {
    let mut rows = tx.prepare("SELECT id, detail FROM statements WHERE kind = ?1 ORDER BY id DESC")?;
    let rows = rows.query_map([DAMAGED], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?)))?;
    let mut its = None;
    for row in rows {
        let (id, detail) = row?;
        let Ok(detail) = serde_json::from_str::<serde_json::Value>(&detail) else { continue };
        if detail.get("file").and_then(|f| f.as_str()) == Some(&progress.file) {
            its = Some((id, detail));
            break;
        }
    }
    let Some((id, mut detail)) = its else { return Ok(()) };
    let lost: Option<BTreeMap<String, u64>> =
        detail.get("queued").and_then(|q| q.as_object()).map(|queued| {
            let lost = queued.iter().map(|(of, n)| {
                let salvaged = progress.taken_for.get(of).copied().unwrap_or(0);
                (of.clone(), n.as_u64().unwrap_or(0).saturating_sub(salvaged))
            });
            lost.filter(|(_, n)| *n > 0).gathered()
        });
    if let Some(said) = detail.as_object_mut() {
        said.insert("salvage".into(), records.map_or(WITHOUT_RECORDS, |_| "done").into());
        said.insert("salvaged".into(), serde_json::json!(progress.taken_for));
        said.insert("set_aside".into(), progress.set_aside.into());
        said.insert("nameless".into(), progress.nameless.into());
        said.insert("records".into(), records.into());
        if lost.is_none() && !catalogue.accounts.is_empty() {
            // The books did not read as a whole: what single pages say of them is a least.
            let (accepted, queued) = books_of(catalogue);
            said.insert("accepted_at_least".into(), serde_json::json!(accepted));
            said.insert("queued_at_least".into(), serde_json::json!(queued));
        }
        said.insert("lost".into(), serde_json::json!(lost));
    }
    tx.execute("UPDATE statements SET detail = ?2 WHERE id = ?1", (id, detail.to_string()))?;
    Ok(())
}

/// What was accepted of each stream, and what waited of it at each destination, as far as the pages of the books are there.
fn books_of(catalogue: &Catalogue) -> (BTreeMap<&str, u64>, BTreeMap<String, u64>) {
    let (mut accepted, mut queued) = (BTreeMap::new(), BTreeMap::new());
    for (stream, intake) in &catalogue.intake {
        if let Some(info) = catalogue.streams.get(stream) {
            *accepted.entry(info.name.as_str()).or_default() += intake.accepted;
        }
    }
    for ((destination, stream), account) in &catalogue.accounts {
        let names = catalogue.destinations.get(destination).zip(catalogue.streams.get(stream));
        if let Some(((destination, info), intake)) = names.zip(catalogue.intake.get(stream)) {
            *queued.entry(format!("{destination}/{}", info.name)).or_default() += account.queued(intake);
        }
    }
    (accepted, queued)
}

/// The readings of a step, sorted into segments of this file.
struct Sorted<'a> {
    tx: &'a Transaction<'a>,
    writer: &'a Writer,
    catalogue: &'a Catalogue,
    /// By class, routes, and epoch of the damaged file.
    builders: BTreeMap<(Class, i64, i64), SegmentBuilder>,
    counts: BTreeMap<StreamId, u64>,
    routed: BTreeMap<(DestinationId, StreamId), u64>,
    /// By number in the damaged file.
    streams: BTreeMap<StreamId, Option<StreamId>>,
    classes: BTreeMap<StreamId, Class>,
}

impl<'a> Sorted<'a> {
    fn new(tx: &'a Transaction<'a>, writer: &'a Writer, catalogue: &'a Catalogue) -> Self {
        Self {
            tx,
            writer,
            catalogue,
            builders: BTreeMap::new(),
            counts: BTreeMap::new(),
            routed: BTreeMap::new(),
            streams: BTreeMap::new(),
            classes: BTreeMap::new(),
        }
    }

    /// Returns how many readings are of streams that nobody knows any more.
    fn sort(&mut self, found: &Found) -> rusqlite::Result<u64> {
        let mut nameless = 0;
        // What stood together stays together: one instant, one number.
        let mut run: Option<(i64, u64, Mono, Vec<Sample>)> = None;
        for row in &found.rows {
            let Some(stream) = self.stream(row.sample.stream, found.class)? else {
                nameless += 1;
                continue;
            };
            let routes = self.routes(found, row, stream);
            if routes == 0 {
                continue;
            }
            let sample = Sample { stream, ..row.sample.clone() };
            *self.counts.entry(stream).or_default() += 1;
            for (destination, _) in &self.writer.destinations {
                if routes & destination.bit() != 0 {
                    *self.routed.entry((*destination, stream)).or_default() += 1;
                }
            }
            match &mut run {
                Some((of, sequence, at, samples))
                    if (*of, *sequence, *at) == (routes, row.sequence, row.at) =>
                {
                    samples.push(sample);
                }
                _ => {
                    self.push(found, run.take());
                    run = Some((routes, row.sequence, row.at, vec![sample]));
                }
            }
        }
        self.push(found, run);
        Ok(nameless)
    }

    /// Whose it is here; `None` when nobody knows its stream any more, or its destination is gone.
    fn sort_aside(&mut self, found: &FoundAside) -> rusqlite::Result<Option<(DestinationId, StreamId)>> {
        let there = found.row.sample.stream;
        let Some(class) = self.catalogue.streams.get(&there).map(|info| info.class) else { return Ok(None) };
        let here = self.destination(found.destination);
        let stream = self.stream(there, class)?;
        let place = here.zip(stream);
        if let Some((_, stream)) = place {
            *self.counts.entry(stream).or_default() += 1;
        }
        Ok(place)
    }

    /// The number here of a destination that had the number `there`, if it is configured.
    fn destination(&self, there: DestinationId) -> Option<DestinationId> {
        let name = self.catalogue.destinations.get(&there)?;
        self.writer.destinations.iter().find(|(_, n)| n == name).map(|(d, _)| *d)
    }

    fn push(&mut self, found: &Found, run: Option<(i64, u64, Mono, Vec<Sample>)>) {
        if let Some((routes, sequence, at, samples)) = run {
            let builder = self.builders.entry((found.class, routes, found.epoch)).or_default();
            builder.push(at, sequence, samples.iter());
        }
    }

    /// The destinations here that have yet to settle this reading.
    fn routes(&self, found: &Found, row: &PackedRow, stream: StreamId) -> i64 {
        let position = Position { segment: found.start.segment, row: row.index };
        let mut routes = 0;
        for there in (0..62).map(DestinationId).filter(|d| found.routes & d.bit() != 0) {
            if self.catalogue.is_settled(there, position) {
                continue;
            }
            routes |= match self.catalogue.destinations.get(&there) {
                Some(name) => {
                    self.writer.destinations.iter().find(|(_, n)| n == name).map_or(0, |(d, _)| d.bit())
                }
                // Whose number this was nobody knows any more: then it is whoever the stream goes to now.
                None => self
                    .writer
                    .by_id
                    .get(&stream)
                    .and_then(|n| self.writer.streams.get(*n))
                    .map_or(0, |s| s.routes),
            };
        }
        routes
    }

    fn stream(&mut self, there: StreamId, class: Class) -> rusqlite::Result<Option<StreamId>> {
        if let Some(known) = self.streams.get(&there) {
            return Ok(*known);
        }
        // A class that does not fit says that one of both is not what it was.
        let info: Option<&StreamInfo> = self.catalogue.streams.get(&there).filter(|info| info.class == class);
        let here = match info {
            None => None,
            Some(info) => Some(match streams::find(self.tx, info)? {
                Some(id) => id,
                None => streams::define(self.tx, info, false, None)?,
            }),
        };
        if let Some(here) = here {
            self.classes.insert(here, class);
        }
        self.streams.insert(there, here);
        Ok(here)
    }
}
