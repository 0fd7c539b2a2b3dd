//! Rows put together: by bucket of time, and by what is asked for beside the aggregates.

use super::super::answer::ApiError;
use super::{Row, row_time};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) path: String,
    pub(super) alias: String,
    /// The type it is wanted in.
    pub(super) kind: Option<String>,
    pub(super) aggregate: Option<Aggregate>,
}

impl Field {
    pub(super) fn plain(path: &str) -> Self {
        Self { path: path.to_owned(), alias: path.to_owned(), kind: None, aggregate: None }
    }

    /// Under which name it is shown: the whole payload stands under `data`.
    pub(super) fn name(&self) -> &str {
        if self.alias == "*" { "data" } else { &self.alias }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Avg,
    Count,
    Max,
    Min,
    Sum,
}

impl Aggregate {
    pub(super) fn named(name: &str) -> Result<Self, ApiError> {
        Ok(match name {
            "avg" => Self::Avg,
            "count" => Self::Count,
            "max" => Self::Max,
            "min" => Self::Min,
            "sum" => Self::Sum,
            _ => return Err(ApiError::invalid(&format!("{name:?} is no aggregation"))),
        })
    }

    fn of(self, values: &[Value]) -> Value {
        let numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
        let sum: f64 = numbers.iter().sum();
        match self {
            Self::Count => json!(values.iter().filter(|value| !value.is_null()).count()),
            _ if numbers.is_empty() => Value::Null,
            Self::Avg => json!(sum / numbers.len() as f64),
            Self::Sum => json!(sum),
            Self::Max => json!(numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            Self::Min => json!(numbers.iter().copied().fold(f64::INFINITY, f64::min)),
        }
    }
}

/// By bucket, newest first, and what stands beside it: the rows with their times.
type Groups<'r> = BTreeMap<(std::cmp::Reverse<i128>, String), Vec<(i128, &'r Row<'r>)>>;

/// One row a group, newest bucket first. The time of a bucket is its beginning.
pub(super) fn groups(rows: &[Row<'_>], fields: &[Field], bucket: Option<i128>) -> Vec<Value> {
    let mut groups: Groups<'_> = BTreeMap::new();
    for row in rows {
        let start = bucket.map_or(0, |span| row.unix_ns.div_euclid(span) * span);
        let beside = fields
            .iter()
            .filter(|field| field.aggregate.is_none() && !(bucket.is_some() && field.path == "time"));
        let beside: Vec<Value> = beside.map(|field| row.field(field)).collect();
        let key = (std::cmp::Reverse(start), Value::Array(beside).to_string());
        groups.entry(key).or_default().push((start, row));
    }
    let shown = groups.values().map(|group| {
        let field = |field: &Field| {
            let values = || group.iter().map(|(_, row)| row.field(field)).collect::<Vec<_>>();
            let value = match (field.aggregate, group.first()) {
                (Some(aggregate), _) => aggregate.of(&values()),
                (None, Some((start, _))) if bucket.is_some() && field.path == "time" => {
                    json!(row_time(*start))
                }
                (None, Some((_, row))) => row.field(field),
                (None, None) => Value::Null,
            };
            (field.name().to_owned(), value)
        };
        Value::Object(fields.iter().map(field).collect::<Map<_, _>>())
    });
    shown.collect()
}
