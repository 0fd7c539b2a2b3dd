//! Packs rows into one message at a time, in a buffer that is used again.

use super::number::{write_float, write_scaled};
use super::{
    AliasError, ClockStatement, EpochStatement, LossStatement, MAX_BATCH_BYTES, Row, RowTime, RowValue,
    UNSTATED_UNCERTAINTY_MS, Value, loss, validate_alias, validate_name,
};
use crate::cbor::{Writer, head_bytes};

/// Room in front of the first element for the array's head, which is known only at the end: a message holds fewer
/// than 256 elements for want of space, but nothing here depends on it.
const HEAD_ROOM: usize = 3;

/// Whether an element is in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an element that was answered with Full is not in the message"]
pub enum Push {
    /// It is.
    Pushed,
    /// It is not, for want of room: [`RowsPacker::finish`], then push it again.
    Full,
}

/// Why a row or a statement cannot be sent as it is, in any message. The message in the making is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It does not fit even alone. Its values may be split over two rows with the same sequence.
    #[error(
        "a row needs {bytes} bytes and a message may have {limit}: split its values, or shorten texts and aliases"
    )]
    TooLarge {
        /// What a message with this alone would take.
        bytes: usize,
        /// What a message may have.
        limit: usize,
    },
    /// A name that cannot be in a row.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// Two values of one stream at one instant, or two sequences of one group.
    #[error("{alias:?} stands twice in one row: one of two streams needs another alias")]
    DuplicateAlias {
        /// Which.
        alias: String,
    },
    /// NaN or an infinity, which the cloud's JSON has no word for: send it as missing, with a quality.
    #[error("{alias:?} is not a finite number: it belongs in a row as missing, with a quality that says why")]
    NotFinite {
        /// Of which stream.
        alias: String,
    },
    /// More digits than a double carries; see [`super::MAX_EXACT_MANTISSA`].
    #[error("{alias:?} has more digits than the cloud's numbers carry: give the stream a coarser resolution")]
    TooPrecise {
        /// Of which stream.
        alias: String,
    },
    /// A row without values says nothing.
    #[error("a row has no values: leave it out")]
    NoValues,
    /// An epoch statement after a row or a clock statement.
    #[error("an epoch statement has to come first in its message: finish the message first")]
    StatementNotFirst,
}

/// One message in the making.
#[derive(Debug)]
pub struct RowsPacker {
    /// [`HEAD_ROOM`] bytes, then the elements.
    buffer: Vec<u8>,
    limit_bytes: usize,
    elements: usize,
    /// Those of them that are not epoch statements.
    after_epoch: usize,
    /// `finish` was called: the next push begins a message.
    finished: bool,
}

impl RowsPacker {
    /// A packer for messages of at most `limit_bytes`, itself at most [`MAX_BATCH_BYTES`].
    pub fn new(limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.min(MAX_BATCH_BYTES);
        // The message, and the element that turns out not to fit.
        let mut buffer = Vec::with_capacity(HEAD_ROOM + 2 * limit_bytes);
        buffer.resize(HEAD_ROOM, 0);
        Self { buffer, limit_bytes, elements: 0, after_epoch: 0, finished: false }
    }

    /// Adds a row if it fits.
    pub fn push(&mut self, row: &Row<'_>) -> Result<Push, RowError> {
        let outcome = self.element(|writer| write_row(writer, row), || check_row(row));
        self.after_epoch += usize::from(outcome == Ok(Push::Pushed));
        outcome
    }

    /// Adds an epoch statement if it fits: only before everything else in its message.
    pub fn push_epoch(&mut self, statement: &EpochStatement<'_>) -> Result<Push, RowError> {
        if self.after_epoch > 0 && !self.finished {
            return Err(RowError::StatementNotFirst);
        }
        self.element(|writer| write_epoch(writer, statement), || check_epoch(statement))
    }

    /// Adds a clock statement if it fits.
    pub fn push_clock(&mut self, statement: &ClockStatement) -> Result<Push, RowError> {
        let write = |writer: &mut Writer<'_>| {
            write_clock(writer, statement);
            Ok(())
        };
        let outcome = self.element(write, || Ok(()));
        self.after_epoch += usize::from(outcome == Ok(Push::Pushed));
        outcome
    }

    /// Adds a loss statement if it fits.
    pub fn push_loss(&mut self, statement: &LossStatement<'_>) -> Result<Push, RowError> {
        let outcome = self.element(|writer| write_loss(writer, statement), || Ok(()));
        self.after_epoch += usize::from(outcome == Ok(Push::Pushed));
        outcome
    }

    /// The message, complete; with nothing pushed, the empty array. The next push begins another.
    pub fn finish(&mut self) -> &[u8] {
        self.finished = true;
        let mut head = Vec::with_capacity(HEAD_ROOM);
        Writer::new(&mut head).array(self.elements);
        let start = HEAD_ROOM.saturating_sub(head.len());
        if let Some(room) = self.buffer.get_mut(start..HEAD_ROOM)
            && room.len() == head.len()
        {
            room.copy_from_slice(&head);
        }
        self.buffer.get(start..).unwrap_or_default()
    }

    /// Elements in the message so far: rows and statements.
    pub fn len(&self) -> usize {
        if self.finished { 0 } else { self.elements }
    }

    /// Whether the message has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What [`Self::finish`] would return now, in bytes.
    pub fn encoded_bytes(&self) -> usize {
        if self.finished { head_bytes(0) } else { head_bytes(self.elements) + self.body_bytes() }
    }

    /// The longest message.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    fn body_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(HEAD_ROOM)
    }

    /// Writes an element behind the others and takes it back unless it is right and fits. `check` is what costs more
    /// than one look at each value, and is asked only of an element that is short enough to bound it.
    fn element(
        &mut self,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), RowError>,
        check: impl FnOnce() -> Result<(), RowError>,
    ) -> Result<Push, RowError> {
        if self.finished {
            self.finished = false;
            self.elements = 0;
            self.after_epoch = 0;
            self.buffer.truncate(HEAD_ROOM);
        }
        let before = self.buffer.len();
        let outcome = self.try_element(write, check);
        if outcome == Ok(Push::Pushed) {
            self.elements += 1;
        } else {
            self.buffer.truncate(before);
        }
        outcome
    }

    fn try_element(
        &mut self,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), RowError>,
        check: impl FnOnce() -> Result<(), RowError>,
    ) -> Result<Push, RowError> {
        let limit = self.limit_bytes;
        let before = self.body_bytes();
        let mut writer = Writer::with_room(&mut self.buffer, limit);
        write(&mut writer)?;
        let written = writer.written();
        let alone = written.saturating_add(head_bytes(1));
        if alone > limit {
            return Err(RowError::TooLarge { bytes: alone, limit });
        }
        check()?;
        let together = head_bytes(self.elements + 1) + before + written;
        Ok(if together > limit { Push::Full } else { Push::Pushed })
    }
}

fn write_row(writer: &mut Writer<'_>, row: &Row<'_>) -> Result<(), RowError> {
    if row.values.is_empty() {
        return Err(RowError::NoValues);
    }
    let not_good = row.values.iter().filter(|value| value.quality != 0).count();
    writer.map(2 + time_keys(row.time) + row.values.len() + usize::from(not_good > 0));
    writer.text("e");
    writer.bytes(&row.epoch_prefix);
    writer.text("s");
    writer.unsigned(row.sequence);
    write_time(writer, row.time);
    for value in row.values {
        write_value(writer, value)?;
    }
    if not_good > 0 {
        writer.text("q");
        writer.map(not_good);
        for value in row.values.iter().filter(|value| value.quality != 0) {
            writer.text(value.alias);
            writer.unsigned(value.quality.into());
        }
    }
    Ok(())
}

fn write_value(writer: &mut Writer<'_>, value: &RowValue<'_>) -> Result<(), RowError> {
    let alias = value.alias;
    validate_alias(alias)?;
    writer.text(alias);
    match value.value {
        Value::Scaled { mantissa, resolution } => {
            if !write_scaled(writer, mantissa, resolution) {
                return Err(RowError::TooPrecise { alias: alias.to_owned() });
            }
        }
        Value::Float(number) if number.is_finite() => write_float(writer, number),
        Value::Float(_) => return Err(RowError::NotFinite { alias: alias.to_owned() }),
        Value::Integer(number) => writer.integer(number),
        Value::Bool(value) => writer.bool(value),
        Value::Text(text) => writer.text(text),
        Value::Missing => writer.null(),
    }
    Ok(())
}

fn check_row(row: &Row<'_>) -> Result<(), RowError> {
    check_unique(row.values, |value| value.alias)
}

fn write_epoch(writer: &mut Writer<'_>, statement: &EpochStatement<'_>) -> Result<(), RowError> {
    let [a, b, c, d, ..] = statement.epoch;
    writer.map(if statement.previous.is_some() { 4 } else { 2 });
    writer.text("e");
    writer.bytes(&[a, b, c, d]);
    writer.text("ep");
    writer.bytes(&statement.epoch);
    if let Some(previous) = statement.previous {
        writer.text("pe");
        writer.bytes(&previous.epoch);
        writer.text("ls");
        writer.map(previous.last_sequences.len());
        for (group, sequence) in previous.last_sequences {
            validate_name(group)?;
            writer.text(group);
            writer.unsigned(*sequence);
        }
    }
    Ok(())
}

fn check_epoch(statement: &EpochStatement<'_>) -> Result<(), RowError> {
    statement.previous.map_or(Ok(()), |previous| check_unique(previous.last_sequences, |(group, _)| group))
}

fn write_clock(writer: &mut Writer<'_>, statement: &ClockStatement) {
    let corrects = statement.dated_with_unix_ms_at_mono_zero;
    writer.map(3 + usize::from(corrects.is_some()) + usize::from(is_stated(statement.uncertainty_ms)));
    writer.text("e");
    writer.bytes(&statement.epoch_prefix);
    writer.text("b");
    writer.unsigned(statement.boot);
    writer.text("o");
    writer.integer(statement.unix_ms_at_mono_zero);
    if let Some(dated_with) = corrects {
        writer.text("t");
        writer.integer(dated_with);
    }
    write_uncertainty(writer, statement.uncertainty_ms);
}

fn write_loss(writer: &mut Writer<'_>, statement: &LossStatement<'_>) -> Result<(), RowError> {
    writer.map(2 + time_keys(statement.time));
    writer.text("e");
    writer.bytes(&statement.epoch_prefix);
    write_time(writer, statement.time);
    loss::write(writer, statement)
}

fn time_keys(time: RowTime) -> usize {
    match time {
        RowTime::Wall { uncertainty_ms, .. } => 1 + usize::from(is_stated(uncertainty_ms)),
        RowTime::Boot { .. } => 2,
    }
}

fn write_time(writer: &mut Writer<'_>, time: RowTime) {
    match time {
        RowTime::Wall { unix_ms, uncertainty_ms } => {
            writer.text("t");
            writer.integer(unix_ms);
            write_uncertainty(writer, uncertainty_ms);
        }
        RowTime::Boot { boot, mono_ms } => {
            writer.text("b");
            writer.unsigned(boot);
            writer.text("m");
            writer.unsigned(mono_ms);
        }
    }
}

fn is_stated(uncertainty_ms: u32) -> bool {
    uncertainty_ms > UNSTATED_UNCERTAINTY_MS
}

fn write_uncertainty(writer: &mut Writer<'_>, uncertainty_ms: u32) {
    if is_stated(uncertainty_ms) {
        writer.text("u");
        writer.unsigned(uncertainty_ms.into());
    }
}

/// Quadratic, without a set: an element that fits a message has few names.
fn check_unique<T>(items: &[T], name: impl Fn(&T) -> &str) -> Result<(), RowError> {
    let mut rest = items;
    while let [first, others @ ..] = rest {
        if others.iter().any(|other| name(other) == name(first)) {
            return Err(RowError::DuplicateAlias { alias: name(first).to_owned() });
        }
        rest = others;
    }
    Ok(())
}
