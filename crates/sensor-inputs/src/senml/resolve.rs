//! The rules of RFC 8428, 4: what base fields do to the records behind them.

use super::{ABSOLUTE_FROM, MOST_NAME, MOST_RECORDS, Record, SenmlError, Time};
use crate::datum::Datum;

/// The version without `bver`, and the highest known (5.2 of RFC 9100 counts features into it: none is known here).
const VERSION: i64 = 10;

/// One record as it was sent.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) base_version: Option<i64>,
    pub(super) base_name: Option<String>,
    pub(super) base_time: Option<f64>,
    pub(super) base_unit: Option<String>,
    pub(super) base_value: Option<f64>,
    pub(super) base_sum: Option<f64>,
    pub(super) name: Option<String>,
    pub(super) unit: Option<String>,
    /// `v`, `vs`, `vb`, `vd`, and how many of them were there.
    pub(super) value: Option<Datum<'static>>,
    pub(super) values: usize,
    pub(super) sum: Option<f64>,
    pub(super) time: Option<f64>,
    pub(super) update: Option<f64>,
}

/// What carries forward.
#[derive(Default)]
pub(super) struct Resolver {
    records: Vec<Record>,
    count: usize,
    version: Option<i64>,
    name: String,
    unit: String,
    time: f64,
    value: Option<f64>,
    sum: Option<f64>,
}

impl Resolver {
    /// The number of the record that comes next, from 1.
    pub(super) fn number(&self) -> usize {
        self.count + 1
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, fields: Fields) -> Result<(), SenmlError> {
        let record = self.number();
        if record > MOST_RECORDS {
            return Err(SenmlError::TooMany);
        }
        self.count = record;
        self.check_version(record, fields.base_version)?;
        if let Some(name) = fields.base_name {
            self.name = name;
        }
        if let Some(unit) = fields.base_unit {
            self.unit = unit;
        }
        self.time = fields.base_time.unwrap_or(self.time);
        self.value = fields.base_value.or(self.value);
        self.sum = fields.base_sum.or(self.sum);
        if fields.values > 1 {
            return Err(SenmlError::SeveralValues { record });
        }
        let value = match (fields.value, self.value) {
            (Some(Datum::Integer(whole)), Some(base)) if base != 0.0 => sum(record, "v", whole as f64, base)?,
            (Some(Datum::Number(number)), Some(base)) => sum(record, "v", number, base)?,
            (Some(value), _) => value,
            // A base value alone is a value only where the record would else say nothing, and means something: not in
            // a record of base fields.
            (None, _) if fields.sum.is_none() => match (self.value, fields.name.is_some()) {
                (Some(base), true) => Datum::finite(base),
                _ => return Ok(()),
            },
            (None, _) => Datum::Absent,
        };
        let total = match (fields.sum, self.sum) {
            (Some(own), base) => sum(record, "s", own, base.unwrap_or(0.0))?.number(),
            (None, _) => None,
        };
        let name = [self.name.as_str(), fields.name.as_deref().unwrap_or_default()].concat();
        if !is_name(&name) {
            return Err(SenmlError::Name { record });
        }
        let time = self.time + fields.time.unwrap_or(0.0);
        if !time.is_finite() {
            return Err(SenmlError::Field { record, label: "t" });
        }
        self.records.push(Record {
            name,
            unit: fields.unit.unwrap_or_else(|| self.unit.clone()),
            value,
            sum: total,
            time: if time >= ABSOLUTE_FROM { Time::Absolute(time) } else { Time::Relative(time) },
            update_s: fields.update,
        });
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<Record> {
        self.records
    }

    fn check_version(&mut self, record: usize, version: Option<i64>) -> Result<(), SenmlError> {
        let own = version.unwrap_or(self.version.unwrap_or(VERSION));
        let is_known = (1..=VERSION).contains(&own) && self.version.is_none_or(|first| first == own);
        self.version = Some(own);
        if is_known { Ok(()) } else { Err(SenmlError::Version { record }) }
    }
}

fn sum(record: usize, label: &'static str, a: f64, b: f64) -> Result<Datum<'static>, SenmlError> {
    let sum = a + b;
    if sum.is_finite() { Ok(Datum::Number(sum)) } else { Err(SenmlError::Field { record, label }) }
}

/// RFC 8428, 4.5.1.
fn is_name(name: &str) -> bool {
    (1..=MOST_NAME).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b'/' | b'_'))
}
