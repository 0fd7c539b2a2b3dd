//! Queries over the stream messages that are kept: a simple part of the real query language.
//!
//! `encodedQuery` is a JSON text `{fields: [{path, alias?}], filters: [...]}`. A path is `time`, `deviceId`, `*` for the whole
//! payload (which then stands under `data`), or a dotted path into the payload. Filters are `{path, op, value}` or
//! `{op: "and"|"or", filters}`; a list as value means one of. Aggregations and time buckets are not built.

use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed, object, text};
use super::device_by_id;
use super::logs::{Window, window};
use crate::cloud::core::Cloud;
use crate::cloud::device::{Device, StreamMessage};
use crate::cloud::wall::{parse_rfc3339, rfc3339};
use crate::cloud::{CloudHandle, cbor};
use axum::body::Bytes;
use axum::extract::{Path, State};
use fieldgate_coap::format;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

/// Deepest nesting of filters.
const MOST_DEPTH: usize = 8;

pub(super) async fn of_device(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
    params: Params,
) -> Answer {
    handle.read(|cloud| {
        let key = device_by_id(cloud, &id)?;
        query(cloud, &params, &Query::of_params(&params)?, |device| {
            cloud.plane.devices.get(&key).is_some_and(|wanted| wanted.id == device.id)
        })
    })
}

pub(super) async fn of_device_posted(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
    params: Params,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.read(|cloud| {
        let key = device_by_id(cloud, &id)?;
        query(cloud, &params, &Query::of_body(&body)?, |device| {
            cloud.plane.devices.get(&key).is_some_and(|wanted| wanted.id == device.id)
        })
    })
}

pub(super) async fn of_project(State(handle): State<CloudHandle>, params: Params) -> Answer {
    handle.read(|cloud| {
        query(cloud, &params, &Query::of_params(&params)?, |device| {
            params.get("deviceId").is_none() || params.all("deviceId").any(|id| id == device.id)
        })
    })
}

pub(super) async fn of_project_posted(
    State(handle): State<CloudHandle>,
    params: Params,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    handle.read(|cloud| query(cloud, &params, &Query::of_body(&body)?, |_| true))
}

struct Query {
    window: Window,
    fields: Vec<(String, String)>,
    filters: Vec<Value>,
    page: Option<(usize, usize)>,
}

impl Query {
    fn of_params(params: &Params) -> Result<Self, ApiError> {
        Self::new(params.get("encodedQuery"), window(params)?, None)
    }

    fn of_body(body: &Value) -> Result<Self, ApiError> {
        let time = |name: &str, open| match text(body, name) {
            None => Ok(open),
            Some(text) => parse_rfc3339(text)
                .ok_or_else(|| ApiError::invalid(&format!("{name} is not a time in RFC 3339"))),
        };
        let window = Window { start: time("start", i128::MIN)?, end: time("end", i128::MAX)? };
        let number =
            |name: &str| body.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let page = Some((number("page").unwrap_or(0), number("perPage").unwrap_or(ONE_PAGE)));
        Self::new(text(body, "encodedQuery"), window, page)
    }

    fn new(encoded: Option<&str>, window: Window, page: Option<(usize, usize)>) -> Result<Self, ApiError> {
        let query: Value = match encoded {
            None => json!({}),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| ApiError::invalid(&format!("encodedQuery is invalid JSON: {error}")))?,
        };
        if query.get("timeBucket").is_some_and(|bucket| !bucket.is_null()) {
            return Err(ApiError::new(12, "the simulated cloud has no time buckets"));
        }
        let all = |name: &str| query.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut fields = Vec::new();
        for field in all("fields") {
            if text(&field, "agg").is_some() {
                return Err(ApiError::new(12, "the simulated cloud has no aggregations"));
            }
            let path = text(&field, "path").ok_or_else(|| ApiError::invalid("a field needs its path"))?;
            fields.push((path.to_owned(), text(&field, "alias").unwrap_or(path).to_owned()));
        }
        if fields.is_empty() {
            fields = ["time", "deviceId", "*"].map(|path| (path.to_owned(), path.to_owned())).to_vec();
        }
        Ok(Self { window, fields, filters: all("filters"), page })
    }
}

/// One element of a message, as LightDB Stream holds it.
struct Row<'a> {
    device: &'a str,
    unix_ns: i128,
    data: Value,
}

impl Row<'_> {
    fn at(&self, path: &str) -> Value {
        match path {
            "time" => json!(rfc3339(self.unix_ns)),
            "deviceId" | "device_id" => json!(self.device),
            "*" => self.data.clone(),
            dotted => dotted
                .split('.')
                .try_fold(&self.data, |value, part| value.get(part))
                .cloned()
                .unwrap_or(Value::Null),
        }
    }
}

/// Newest first.
fn query(cloud: &Cloud, params: &Params, query: &Query, of: impl Fn(&Device) -> bool) -> Answer {
    let mut rows = Vec::new();
    for device in cloud.plane.devices.values().filter(|device| of(device)) {
        for message in &device.messages {
            rows.extend(split(message).map(|(unix_ns, data)| Row { device: &device.id, unix_ns, data }));
        }
    }
    rows.retain(|row| query.window.contains(row.unix_ns));
    let mut kept = Vec::new();
    for row in rows {
        let mut fits = true;
        for filter in &query.filters {
            fits = fits && holds(filter, &row, 0)?;
        }
        if fits {
            kept.push(row);
        }
    }
    kept.sort_by_key(|row| std::cmp::Reverse(row.unix_ns));
    let shown = kept.iter().map(|row| {
        let field = |(path, alias): &(String, String)| {
            let name = if alias == "*" { "data" } else { alias };
            (name.to_owned(), row.at(path))
        };
        Value::Object(query.fields.iter().map(field).collect::<Map<_, _>>())
    });
    match query.page {
        None => listed(shown.collect(), params, ONE_PAGE),
        Some((page, per_page)) => {
            let params = Params::paged(page, per_page);
            listed(shown.collect(), &params, ONE_PAGE)
        }
    }
}

/// A batch becomes its elements; a time in an element counts, and goes out of it.
fn split(message: &StreamMessage) -> impl Iterator<Item = (i128, Value)> {
    let value = match message.content_format {
        Some(format::CBOR) => cbor::decode(&message.body).ok(),
        Some(format::JSON) => serde_json::from_slice(&message.body).ok(),
        // Nothing turns other bodies into what LightDB Stream holds.
        _ => None,
    };
    let elements = match value {
        None => Vec::new(),
        Some(Value::Array(elements)) => elements,
        Some(other) => vec![other],
    };
    let arrived = message.unix_ns;
    elements.into_iter().map(move |mut element| (extract_time(&mut element).unwrap_or(arrived), element))
}

fn extract_time(element: &mut Value) -> Option<i128> {
    let map = element.as_object_mut()?;
    for key in ["t", "ts", "time", "timestamp"] {
        let read = match map.get(key) {
            Some(Value::Number(ms)) => ms.as_i64().map(|ms| i128::from(ms) * 1_000_000),
            Some(Value::String(text)) => parse_rfc3339(text),
            _ => None,
        };
        if read.is_some() {
            map.remove(key);
            return read;
        }
    }
    None
}

fn holds(filter: &Value, row: &Row<'_>, depth: usize) -> Result<bool, ApiError> {
    let op = text(filter, "op").unwrap_or("=");
    if op == "and" || op == "or" {
        if depth >= MOST_DEPTH {
            return Err(ApiError::invalid("filters are nested too deep"));
        }
        let below = filter.get("filters").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut results = Vec::new();
        for filter in below {
            results.push(holds(filter, row, depth + 1)?);
        }
        return Ok(if op == "and" { results.iter().all(|r| *r) } else { results.iter().any(|r| *r) });
    }
    let path = text(filter, "path").ok_or_else(|| ApiError::invalid("a filter needs its path"))?;
    let found = row.at(path);
    let wanted = filter.get("value").unwrap_or(&Value::Null);
    let order = compare(&found, wanted);
    Ok(match (op, wanted) {
        ("=", Value::Array(any)) => any.iter().any(|one| compare(&found, one) == Some(Ordering::Equal)),
        ("=", _) => order == Some(Ordering::Equal),
        ("<>", _) => order != Some(Ordering::Equal),
        ("<", _) => order == Some(Ordering::Less),
        ("<=", _) => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        (">", _) => order == Some(Ordering::Greater),
        (">=", _) => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        _ => return Err(ApiError::invalid(&format!("{op:?} is no operator"))),
    })
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => match (parse_rfc3339(a), parse_rfc3339(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => Some(a.cmp(b)),
        },
        _ => (a == b).then_some(Ordering::Equal),
    }
}
