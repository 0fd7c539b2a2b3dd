//! What reached the cloud, identity by identity: the far side of every account.
//!
//! The ledger owns one small cell an identity (device, epoch prefix, alias, sequence): its value, its quality and how often
//! it came. About 20 bytes each, so that a million identities stay below 32 MiB. Invariants: an identity is counted
//! unique once; every further copy is a duplicate if it says the same and a conflict if it does not; the first value
//! stays. Only messages a pipeline took are entered: the rest is lost at the cloud. Of each message it keeps when it came, and of
//! each pair of messages how many identities the later one said again, so that a duplicate can be traced to its cause.

mod columns;
mod page;
mod rows;
mod times;

use times::Times;
pub use times::{RowTime, Stated};

use page::{Cell, Page};
use rows::{Element, NotRows, Scalar};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Identities kept; more are counted as `overflowed` and not kept.
const MOST_IDENTITIES: u64 = 20_000_000;
/// Conflicts, faults and clock statements kept in full.
const MOST_NOTES: usize = 1_000;
/// Epochs kept in full.
const MOST_EPOCHS: usize = 100_000;
/// Messages whose arrival is kept, and pairs of messages of which one repeats the other.
const MOST_ARRIVALS: usize = 200_000;

/// Everything the gateway's batches said.
#[derive(Debug, Default)]
pub struct Intake {
    devices: Vec<String>,
    index: BTreeMap<(usize, [u8; 4]), BTreeMap<Box<str>, usize>>,
    tracks: Vec<Track>,
    texts: Vec<Box<str>>,
    text_index: BTreeMap<Box<str>, u64>,
    conflicts: Vec<Conflict>,
    faults: VecDeque<BatchFault>,
    epochs: BTreeMap<(String, [u8; 4]), Epoch>,
    clocks: VecDeque<ClockStatement>,
    arrivals: Vec<Arrival>,
    /// By earlier and later message, how many identities.
    repeats: BTreeMap<(u32, u32), u64>,
    losses: BTreeMap<LossKey, Loss>,
    times: Times,
    counts: IntakeCounts,
}

/// When a message came, on the cloud's time line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrival {
    /// This message.
    pub at: Duration,
    /// The session it came in, by when that was established.
    pub session_since: Duration,
}

/// A message that said again what another had said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// The one before, by its place among [`Intake::arrivals`].
    pub earlier: usize,
    /// The one that repeats.
    pub later: usize,
    /// How many readings.
    pub readings: u64,
}

/// Device, queue file, whether of what was dropped, record.
type LossKey = (String, [u8; 4], bool, u64);

/// One stream of one device in one epoch.
#[derive(Debug)]
struct Track {
    device: usize,
    epoch: [u8; 4],
    alias: Box<str>,
    pages: BTreeMap<u64, Page>,
}

/// Sums over the whole ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct IntakeCounts {
    /// Batches read.
    pub messages: u64,
    /// CBOR stream bodies that are no batch of rows.
    pub foreign: u64,
    /// Bodies that set out to be a batch and are broken; nothing of them is entered.
    pub broken: u64,
    /// Rows, copies included.
    pub rows: u64,
    /// Values, copies included: `unique + duplicates + conflicts + overflowed`.
    pub values: u64,
    /// Identities.
    pub unique: u64,
    /// Further copies that say the same.
    pub duplicates: u64,
    /// Further copies that say something else: corruption.
    pub conflicts: u64,
    /// Identities whose value is null.
    pub missing: u64,
    /// Identities not kept for want of room.
    pub overflowed: u64,
    /// Epoch statements, copies included.
    pub epochs: u64,
    /// Clock statements, copies included.
    pub clocks: u64,
    /// Loss statements, copies included.
    pub losses: u64,
}

/// What the ledger knows of one identity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen<'a> {
    /// The value that came first.
    pub value: SeenValue<'a>,
    /// Its quality; 0 is good.
    pub quality: u8,
    /// How often it came, conflicting copies included.
    pub copies: u16,
}

/// A value as it was sent. A float that is whole is an integer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SeenValue<'a> {
    /// Null: nothing was read.
    Missing,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(&'a str),
}

impl SeenValue<'_> {
    /// The number, if it is one. Integers beyond 2^53 are rounded.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Integer(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            Self::Missing | Self::Bool(_) | Self::Text(_) => None,
        }
    }
}

/// One identity and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry<'a> {
    /// Device name.
    pub device: &'a str,
    /// First 4 bytes of the store epoch.
    pub epoch: [u8; 4],
    /// The stream's alias.
    pub alias: &'a str,
    /// Sequence.
    pub sequence: u64,
    /// What came.
    pub seen: Seen<'a>,
}

/// Two different things said under one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Device name.
    pub device: String,
    /// First 4 bytes of the store epoch.
    pub epoch: [u8; 4],
    /// The stream's alias.
    pub alias: String,
    /// Sequence.
    pub sequence: u64,
    /// What came first, and what came later, as shown to people.
    pub values: (String, String),
}

/// A body that set out to be a batch and is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchFault {
    /// Device name.
    pub device: String,
    /// Where and what.
    pub what: String,
}

/// What an epoch's first message says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Epoch {
    /// The whole epoch.
    pub epoch: [u8; 8],
    /// The epoch before, if there was one.
    pub previous: Option<PreviousEpoch>,
}

/// How the epoch before ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviousEpoch {
    /// The whole epoch.
    pub epoch: [u8; 8],
    /// Its groups and the last sequence of each.
    pub last_sequences: Vec<(String, u64)>,
}

/// The time of rows that were sent with boot time, and a correction of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockStatement {
    /// Device name.
    pub device: String,
    /// First 4 bytes of the epoch it was made under.
    pub epoch: [u8; 4],
    /// The boot it is about.
    pub boot: u64,
    /// Unix milliseconds when that boot's clock stood at zero.
    pub unix_ms_at_mono_zero: i64,
    /// The same as the epoch's rows were dated with, where that was wrong.
    pub dated_with_ms: Option<i64>,
    /// As stated, in milliseconds.
    pub uncertainty_ms: Option<u64>,
}

/// What a gateway says it lost: the newest statement of one of its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// `dropped`, `missed`, `refused`, `coalesced` or `lost`.
    pub of: String,
    /// Why.
    pub why: String,
    /// The stream's alias; none for every stream.
    pub stream: Option<String>,
    /// How many in all; none where nobody knows.
    pub count: Option<u64>,
    /// The queue file it is a record of.
    pub file: [u8; 4],
    /// The record's number.
    pub id: u64,
}

impl Intake {
    /// Sums over everything.
    #[must_use]
    pub fn counts(&self) -> IntakeCounts {
        self.counts
    }

    /// What came under an identity.
    #[must_use]
    pub fn get(&self, device: &str, epoch: [u8; 4], alias: &str, sequence: u64) -> Option<Seen<'_>> {
        let device = self.devices.iter().position(|known| known == device)?;
        let track = self.tracks.get(*self.index.get(&(device, epoch))?.get(alias)?)?;
        let (page, slot) = place(sequence);
        track.pages.get(&page)?.get(slot).map(|cell| self.seen(cell))
    }

    /// Whether anything came under an identity.
    #[must_use]
    pub fn contains(&self, device: &str, epoch: [u8; 4], alias: &str, sequence: u64) -> bool {
        self.get(device, epoch, alias, sequence).is_some()
    }

    /// Every identity: by stream in order of first arrival, then by sequence.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.tracks.iter().flat_map(|track| self.entries_of(track))
    }

    /// Every identity of one stream of one device, over all epochs.
    pub fn values_of(&self, device: &str, alias: &str) -> impl Iterator<Item = ([u8; 4], u64, Seen<'_>)> {
        let device = self.devices.iter().position(|known| known == device);
        self.tracks
            .iter()
            .filter(move |track| Some(track.device) == device && *track.alias == *alias)
            .flat_map(|track| self.entries_of(track))
            .map(|entry| (entry.epoch, entry.sequence, entry.seen))
    }

    /// The first thousand conflicts; [`IntakeCounts::conflicts`] counts all.
    #[must_use]
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// The last thousand broken batches; [`IntakeCounts::broken`] counts all.
    #[must_use]
    pub fn faults(&self) -> &VecDeque<BatchFault> {
        &self.faults
    }

    /// Epoch statements, by device name and prefix. Statements in parts are joined.
    #[must_use]
    pub fn epochs(&self) -> &BTreeMap<(String, [u8; 4]), Epoch> {
        &self.epochs
    }

    /// The last thousand clock statements.
    #[must_use]
    pub fn clocks(&self) -> &VecDeque<ClockStatement> {
        &self.clocks
    }

    /// Keeps the times of rows from now on, for [`Intake::row_times`].
    pub fn keep_row_times(&mut self) {
        self.times.want();
    }

    /// The times of rows in the order they came, copies included.
    #[must_use]
    pub fn row_times(&self) -> &[RowTime] {
        self.times.rows()
    }

    /// The first 200 000 messages, in the order they came.
    #[must_use]
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// Which message repeated which, each copy traced to the one before it. Complete as long as their readings are
    /// [`IntakeCounts::duplicates`] in sum.
    pub fn repeats(&self) -> impl Iterator<Item = Repeat> {
        self.repeats.iter().map(|((earlier, later), readings)| Repeat {
            earlier: *earlier as usize,
            later: *later as usize,
            readings: *readings,
        })
    }

    /// What `device` says it lost, a record each.
    pub fn losses(&self, device: &str) -> impl Iterator<Item = &Loss> {
        self.losses.iter().filter(move |((of, ..), _)| of == device).map(|(_, loss)| loss)
    }

    /// Enters a CBOR body that a pipeline took.
    pub(super) fn enter(&mut self, device: &str, came: Arrival, body: &[u8]) {
        let read = if columns::is_one(body) { columns::decode(body) } else { rows::decode(body) };
        let elements = match read {
            Ok(elements) => elements,
            Err(NotRows::Foreign) => {
                self.counts.foreign += 1;
                return;
            }
            Err(broken @ NotRows::Broken { .. }) => {
                self.counts.broken += 1;
                let fault = BatchFault { device: device.to_owned(), what: broken.to_string() };
                keep(&mut self.faults, fault);
                return;
            }
        };
        self.counts.messages += 1;
        let message = self.note_arrival(came);
        let number = self.device_number(device);
        for element in elements {
            match element {
                Element::Row { epoch, sequence, stated, values } => {
                    self.counts.rows += 1;
                    self.times.note(|| {
                        let alias =
                            values.first().map(|value| value.alias.as_ref().into()).unwrap_or_default();
                        RowTime { epoch, sequence, alias, stated }
                    });
                    for value in values {
                        let (kind, bits) = self.code(&value.value);
                        let cell = Cell { bits, kind, quality: value.quality, copies: 1, message };
                        self.enter_value(number, epoch, &value.alias, sequence, cell);
                    }
                }
                Element::Epoch { prefix, epoch, previous } => {
                    self.counts.epochs += 1;
                    self.enter_epoch(device, prefix, Epoch { epoch, previous });
                }
                Element::Loss(loss) => {
                    self.counts.losses += 1;
                    let key = (device.to_owned(), loss.file, loss.of == "dropped", loss.id);
                    if self.losses.len() < MOST_EPOCHS || self.losses.contains_key(&key) {
                        self.losses.insert(key, loss);
                    }
                }
                Element::Clock { epoch, boot, unix_ms_at_mono_zero, dated_with_ms, uncertainty_ms } => {
                    self.counts.clocks += 1;
                    let device = device.to_owned();
                    keep(
                        &mut self.clocks,
                        ClockStatement {
                            device,
                            epoch,
                            boot,
                            unix_ms_at_mono_zero,
                            dated_with_ms,
                            uncertainty_ms,
                        },
                    );
                }
            }
        }
    }

    /// The message's place among the arrivals; `u32::MAX` when there is no room to keep it.
    fn note_arrival(&mut self, came: Arrival) -> u32 {
        if self.arrivals.len() >= MOST_ARRIVALS {
            return u32::MAX;
        }
        self.arrivals.push(came);
        u32::try_from(self.arrivals.len() - 1).unwrap_or(u32::MAX)
    }

    fn note_repeat(&mut self, earlier: u32, later: u32) {
        let key = (earlier, later);
        let known = earlier.max(later) != u32::MAX;
        if known && (self.repeats.len() < MOST_ARRIVALS || self.repeats.contains_key(&key)) {
            *self.repeats.entry(key).or_default() += 1;
        }
    }

    fn enter_value(&mut self, device: usize, epoch: [u8; 4], alias: &str, sequence: u64, new: Cell) {
        self.counts.values += 1;
        let number = self.track_number(device, epoch, alias);
        let full = self.counts.unique >= MOST_IDENTITIES;
        let Some(track) = self.tracks.get_mut(number) else { return };
        let (page, slot) = place(sequence);
        if let Some(cell) = track.pages.get_mut(&page).and_then(|page| page.get_mut(slot)) {
            let earlier = std::mem::replace(&mut cell.message, new.message);
            cell.copies = cell.copies.saturating_add(1);
            if (cell.kind, cell.bits, cell.quality) == (new.kind, new.bits, new.quality) {
                self.counts.duplicates += 1;
                self.note_repeat(earlier, new.message);
            } else {
                let first = *cell;
                self.note_conflict(number, sequence, first, new);
            }
            return;
        }
        if full {
            self.counts.overflowed += 1;
            return;
        }
        track.pages.entry(page).or_default().insert(slot, new);
        self.counts.unique += 1;
        self.counts.missing += u64::from(new.kind == MISSING);
    }

    fn enter_epoch(&mut self, device: &str, prefix: [u8; 4], stated: Epoch) {
        let key = (device.to_owned(), prefix);
        let room = self.epochs.len() < MOST_EPOCHS;
        match self.epochs.get_mut(&key) {
            // A statement with many groups comes in parts; a copy adds nothing.
            Some(known) if known.epoch == stated.epoch => match (&mut known.previous, stated.previous) {
                (Some(known), Some(more)) => {
                    for group in more.last_sequences {
                        if !known.last_sequences.contains(&group) {
                            known.last_sequences.push(group);
                        }
                    }
                }
                (none @ None, Some(previous)) => *none = Some(previous),
                (_, None) => {}
            },
            Some(_) => {
                let what = "two epochs share a prefix".to_owned();
                keep(&mut self.faults, BatchFault { device: device.to_owned(), what });
            }
            None if room => {
                self.epochs.insert(key, stated);
            }
            None => {}
        }
    }

    fn note_conflict(&mut self, track: usize, sequence: u64, first: Cell, other: Cell) {
        self.counts.conflicts += 1;
        if self.conflicts.len() >= MOST_NOTES {
            return;
        }
        let Some(track) = self.tracks.get(track) else { return };
        let shown = |cell: &Cell| {
            let seen = self.seen(cell);
            format!("{:?} quality {}", seen.value, seen.quality)
        };
        let conflict = Conflict {
            device: self.device_name(track.device).to_owned(),
            epoch: track.epoch,
            alias: track.alias.to_string(),
            sequence,
            values: (shown(&first), shown(&other)),
        };
        self.conflicts.push(conflict);
    }

    fn entries_of<'a>(&'a self, track: &'a Track) -> impl Iterator<Item = Entry<'a>> {
        track.pages.iter().flat_map(move |(page, cells)| {
            cells.iter().map(move |(slot, cell)| Entry {
                device: self.device_name(track.device),
                epoch: track.epoch,
                alias: &track.alias,
                sequence: page.wrapping_mul(Page::SIZE).wrapping_add(u64::from(slot)),
                seen: self.seen(cell),
            })
        })
    }

    fn device_number(&mut self, name: &str) -> usize {
        self.devices.iter().position(|known| known == name).unwrap_or_else(|| {
            self.devices.push(name.to_owned());
            self.devices.len() - 1
        })
    }

    fn device_name(&self, number: usize) -> &str {
        self.devices.get(number).map_or("", String::as_str)
    }

    fn track_number(&mut self, device: usize, epoch: [u8; 4], alias: &str) -> usize {
        let streams = self.index.entry((device, epoch)).or_default();
        if let Some(number) = streams.get(alias) {
            return *number;
        }
        let number = self.tracks.len();
        streams.insert(alias.into(), number);
        self.tracks.push(Track { device, epoch, alias: alias.into(), pages: BTreeMap::new() });
        number
    }

    fn code(&mut self, value: &Scalar<'_>) -> (u8, u64) {
        match value {
            Scalar::Missing => (MISSING, 0),
            Scalar::Bool(value) => (BOOL, u64::from(*value)),
            Scalar::Integer(number) => (INTEGER, number.cast_unsigned()),
            Scalar::Float(number) => (FLOAT, number.to_bits()),
            Scalar::Text(text) => (TEXT, self.text_number(text)),
        }
    }

    fn text_number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.text_index.get(text) {
            return *number;
        }
        let number = self.texts.len() as u64;
        self.texts.push(text.into());
        self.text_index.insert(text.into(), number);
        number
    }

    fn seen(&self, cell: &Cell) -> Seen<'_> {
        let value = match cell.kind {
            BOOL => SeenValue::Bool(cell.bits == 1),
            INTEGER => SeenValue::Integer(cell.bits.cast_signed()),
            FLOAT => SeenValue::Float(f64::from_bits(cell.bits)),
            TEXT => {
                let text = usize::try_from(cell.bits).ok().and_then(|number| self.texts.get(number));
                SeenValue::Text(text.map_or("", |text| text))
            }
            _ => SeenValue::Missing,
        };
        Seen { value, quality: cell.quality, copies: cell.copies }
    }
}

#[cfg(test)]
impl Intake {
    /// One that has heard this.
    pub(crate) fn heard(arrivals: Vec<Arrival>, repeats: impl IntoIterator<Item = Repeat>) -> Self {
        let mut intake = Self { arrivals, ..Self::default() };
        for Repeat { earlier, later, readings } in repeats {
            intake.repeats.insert((earlier as u32, later as u32), readings);
            intake.counts.duplicates += readings;
        }
        intake
    }

    /// So many copies more, of which there is no record.
    pub(crate) fn heard_again(&mut self, readings: u64) {
        self.counts.duplicates += readings;
    }
}

const MISSING: u8 = 0;
const BOOL: u8 = 1;
const INTEGER: u8 = 2;
const FLOAT: u8 = 3;
const TEXT: u8 = 4;

fn place(sequence: u64) -> (u64, u32) {
    (sequence / Page::SIZE, (sequence % Page::SIZE) as u32)
}

fn keep<T>(notes: &mut VecDeque<T>, note: T) {
    if notes.len() >= MOST_NOTES {
        notes.pop_front();
    }
    notes.push_back(note);
}

#[cfg(test)]
mod tests;
