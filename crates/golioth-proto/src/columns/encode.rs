//! Packs as many readings as fit one message, in buffers that are used again.

use super::layout::{Column, Layout, Table, boot};
use super::series::{SeriesWriter, put, put_signed};
use super::{
    EXCEPTED, ITEM_FALSE, ITEM_FLOAT, ITEM_STEPS, ITEM_TEXT, ITEM_TRUE, KIND_BOOL, KIND_F32, KIND_F64,
    KIND_MIXED, KIND_ONE, KIND_RATIO, Reading, VERSION,
};
use crate::cbor::Writer;
use crate::rows::{
    AliasError, MAX_BATCH_BYTES, Resolution, RowTime, UNSTATED_UNCERTAINTY_MS, Value, validate_alias,
};

/// Why a reading cannot be sent as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnsError {
    /// A name that no stream may have.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// NaN or an infinity, which the cloud's JSON has no word for: send it as missing, with a quality.
    #[error(
        "{alias:?} is not a finite number: it belongs in a message as missing, with a quality that says why"
    )]
    NotFinite {
        /// Of which stream.
        alias: String,
    },
}

/// Makes messages of at most so many bytes.
#[derive(Debug)]
pub struct ColumnsPacker {
    limit_bytes: usize,
    message: Vec<u8>,
    tables: Vec<u8>,
    numbers: Vec<i64>,
    series: SeriesWriter,
}

impl ColumnsPacker {
    /// A packer for messages of at most `limit_bytes`, itself at most [`MAX_BATCH_BYTES`].
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes: limit_bytes.min(MAX_BATCH_BYTES),
            message: Vec::new(),
            tables: Vec::new(),
            numbers: Vec::new(),
            series: SeriesWriter::default(),
        }
    }

    /// Packs the first of `readings`, all of one epoch, as many as fit. An instant is cut in two only where it is the only one, or
    /// where the message without its beginning would be the longer one. Returns how many readings are in [`Self::message`]: 0 when
    /// not even the first fits.
    ///
    /// The work is that of a few messages, however many readings there are: where not all fit, the number that does is sought
    /// between one that did and one that did not, first where the bytes so far say it should be.
    ///
    /// # Errors
    /// [`ColumnsError`], for the first reading that cannot be sent, among those with a place in the message.
    pub fn pack(&mut self, epoch_prefix: [u8; 4], readings: &[Reading<'_>]) -> Result<usize, ColumnsError> {
        let layout = Layout::of(readings);
        let readings = readings.get(..layout.readings).unwrap_or_default();
        for reading in readings {
            check(reading)?;
        }
        // How many fit as far as known, and how many do not.
        let (mut fits, mut too_many) = (0, readings.len() + 1);
        let mut count = readings.len();
        let (mut tries, mut written) = (0, 0);
        while count > fits && count < too_many {
            let bytes = self.write(epoch_prefix, readings, &layout, count);
            written = count;
            if bytes <= self.limit_bytes {
                fits = count;
            } else {
                too_many = count;
            }
            tries += 1;
            // By rule of three, a little below; from the fourth on in the middle, so that the end is near whatever the readings are.
            let expected = count * self.limit_bytes / bytes.max(1);
            let between = (fits + 1)..too_many;
            count = if tries < 4 && between.contains(&expected) {
                expected
            } else {
                fits + (too_many - fits) / 2
            };
            // The last hundredth is not worth another attempt.
            if tries > 4 && too_many - fits <= fits / 64 {
                break;
            }
        }
        let whole = whole_instants(readings, fits);
        if whole == written || self.write(epoch_prefix, readings, &layout, whole) <= self.limit_bytes {
            return Ok(whole);
        }
        // Fewer readings can take more bytes: what is left of a series may follow a rule worse than all of it did.
        self.write(epoch_prefix, readings, &layout, fits);
        Ok(fits)
    }

    /// What was packed last.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Writes a message of the first `count` readings and returns its length.
    fn write(
        &mut self,
        epoch_prefix: [u8; 4],
        readings: &[Reading<'_>],
        layout: &Layout,
        count: usize,
    ) -> usize {
        self.tables.clear();
        for table in &layout.tables {
            self.table(readings, table, count);
        }
        self.message.clear();
        let mut writer = Writer::new(&mut self.message);
        writer.array(3);
        writer.unsigned(VERSION);
        writer.bytes(&epoch_prefix);
        writer.bytes(&self.tables);
        self.message.len()
    }

    fn table(&mut self, readings: &[Reading<'_>], table: &Table, count: usize) {
        let instants = table.instants.partition_point(|first| *first < count);
        let firsts = || table.instants.iter().take(instants).filter_map(|first| readings.get(*first));
        let Some(first) = firsts().next() else { return };
        let boot = boot(first.time);
        let stated = firsts().any(|first| uncertainty(first.time) > UNSTATED_UNCERTAINTY_MS);
        put(&mut self.tables, (instants as u64) << 2 | u64::from(stated) << 1 | u64::from(boot.is_some()));
        if let Some(boot) = boot {
            put(&mut self.tables, boot);
        }
        self.series(firsts().map(|first| first.sequence.cast_signed()));
        self.series(firsts().map(|first| match first.time {
            RowTime::Wall { unix_ms, .. } => unix_ms,
            RowTime::Boot { mono_ms, .. } => mono_ms.cast_signed(),
        }));
        if stated {
            self.series(firsts().map(|first| uncertainty(first.time).into()));
        }
        let columns = table.columns.partition_point(|c| c.first().is_some_and(|first| first < count));
        put(&mut self.tables, columns as u64);
        for column in table.columns.iter().take(columns) {
            self.column(readings, column, instants, count);
        }
    }

    fn column(&mut self, readings: &[Reading<'_>], column: &Column, instants: usize, count: usize) {
        let here = column.cells.partition_point(|(_, reading)| *reading < count);
        let cells = || {
            let here = column.cells.iter().take(here);
            here.filter_map(|(instant, index)| Some((*instant, readings.get(*index)?)))
        };
        let values = || cells().map(|(_, reading)| reading.value).filter(|value| *value != Value::Missing);
        let Some((_, first)) = cells().next() else { return };
        put(&mut self.tables, first.alias.len() as u64);
        self.tables.extend_from_slice(first.alias.as_bytes());
        let kind = Kind::of(values());
        let runs = runs(instants, cells());
        let excepted = if runs.is_empty() { 0 } else { EXCEPTED };
        kind.write(excepted, &mut self.tables);
        if !runs.is_empty() {
            put(&mut self.tables, runs.len() as u64);
            let mut end = 0;
            for run in &runs {
                put(&mut self.tables, (run.from - end) as u64);
                put(&mut self.tables, (run.to - run.from) as u64);
                put(&mut self.tables, run.code);
                end = run.to;
            }
        }
        match kind {
            Kind::Steps(_) | Kind::Bool => self.series(values().filter_map(number)),
            Kind::F32 => {
                for value in values() {
                    if let Value::Float(float) = value {
                        self.tables.extend_from_slice(&(float as f32).to_le_bytes());
                    }
                }
            }
            Kind::F64 => {
                for value in values() {
                    if let Value::Float(float) = value {
                        self.tables.extend_from_slice(&float.to_le_bytes());
                    }
                }
            }
            Kind::Mixed => values().for_each(|value| item(value, &mut self.tables)),
        }
    }

    fn series(&mut self, numbers: impl Iterator<Item = i64>) {
        self.numbers.clear();
        self.numbers.extend(numbers);
        self.series.write(&self.numbers, &mut self.tables);
    }
}

fn check(reading: &Reading<'_>) -> Result<(), ColumnsError> {
    validate_alias(reading.alias)?;
    match reading.value {
        Value::Float(float) if !float.is_finite() => {
            Err(ColumnsError::NotFinite { alias: reading.alias.to_owned() })
        }
        _ => Ok(()),
    }
}

/// As many of the first `count` readings as do not cut an instant in two; all of them where it is the only one.
fn whole_instants(readings: &[Reading<'_>], count: usize) -> usize {
    let mut whole = count;
    while let (Some(last), Some(next)) =
        (whole.checked_sub(1).and_then(|last| readings.get(last)), readings.get(whole))
    {
        if !last.same_instant(next) {
            return whole;
        }
        whole -= 1;
    }
    if whole == 0 { count } else { whole }
}

fn uncertainty(time: RowTime) -> u32 {
    match time {
        RowTime::Wall { uncertainty_ms, .. } => uncertainty_ms.max(UNSTATED_UNCERTAINTY_MS),
        RowTime::Boot { .. } => UNSTATED_UNCERTAINTY_MS,
    }
}

/// Instants that have no good value.
#[derive(Clone, Copy)]
struct Run {
    from: usize,
    /// The first behind it.
    to: usize,
    code: u64,
}

fn runs<'a>(instants: usize, cells: impl Iterator<Item = (usize, &'a Reading<'a>)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut add = |from: usize, to: usize, code: u64| match runs.last_mut() {
        _ if from >= to => {}
        Some(run) if run.to == from && run.code == code => run.to = to,
        _ => runs.push(Run { from, to, code }),
    };
    let mut next = 0;
    for (instant, reading) in cells {
        add(next, instant, 0);
        next = instant + 1;
        let missing = reading.value == Value::Missing;
        if missing || reading.quality != 0 {
            add(instant, next, 1 + (u64::from(reading.quality) << 1 | u64::from(missing)));
        }
    }
    add(next, instants, 0);
    runs
}

/// What the values of a column have in common.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Steps(Resolution),
    Bool,
    F32,
    F64,
    Mixed,
}

impl Kind {
    fn of<'a>(mut values: impl Iterator<Item = Value<'a>>) -> Self {
        let kind = |value: Value<'_>| match value {
            Value::Scaled { resolution, .. } => Self::Steps(resolution),
            Value::Integer(_) => Self::Steps(Resolution::ONE),
            Value::Bool(_) => Self::Bool,
            Value::Float(float) if f64::from(float as f32).to_bits() == float.to_bits() => Self::F32,
            Value::Float(_) => Self::F64,
            Value::Text(_) | Value::Missing => Self::Mixed,
        };
        let Some(first) = values.next() else { return Self::Steps(Resolution::ONE) };
        values.map(kind).fold(kind(first), |all, one| match (all, one) {
            _ if all == one => all,
            (Self::F32 | Self::F64, Self::F32 | Self::F64) => Self::F64,
            _ => Self::Mixed,
        })
    }

    fn write(self, excepted: u8, out: &mut Vec<u8>) {
        let plain = match self {
            Self::Steps(resolution) => match resolution.exponent() {
                Some(exponent) => (exponent + KIND_ONE).unsigned_abs(),
                None => KIND_RATIO,
            },
            Self::Bool => KIND_BOOL,
            Self::F32 => KIND_F32,
            Self::F64 => KIND_F64,
            Self::Mixed => KIND_MIXED,
        };
        out.push(plain | excepted);
        if let (KIND_RATIO, Self::Steps(resolution)) = (plain, self) {
            let (numerator, denominator) = resolution.terms();
            put(out, numerator);
            put(out, denominator);
        }
    }
}

fn number(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Scaled { mantissa, .. } => Some(mantissa),
        Value::Integer(number) => Some(number),
        Value::Bool(value) => Some(value.into()),
        Value::Float(_) | Value::Text(_) | Value::Missing => None,
    }
}

fn item(value: Value<'_>, out: &mut Vec<u8>) {
    let mut steps = |mantissa, resolution: Resolution| {
        let (numerator, denominator) = resolution.terms();
        out.push(ITEM_STEPS);
        put(out, numerator);
        put(out, denominator);
        put_signed(out, mantissa);
    };
    match value {
        Value::Scaled { mantissa, resolution } => steps(mantissa, resolution),
        Value::Integer(number) => steps(number, Resolution::ONE),
        Value::Float(float) => {
            out.push(ITEM_FLOAT);
            out.extend_from_slice(&float.to_le_bytes());
        }
        Value::Bool(value) => out.push(if value { ITEM_TRUE } else { ITEM_FALSE }),
        Value::Text(text) => {
            out.push(ITEM_TEXT);
            put(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        // A run says so, and nothing stands among the values.
        Value::Missing => {}
    }
}
