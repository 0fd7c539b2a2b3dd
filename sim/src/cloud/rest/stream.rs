//! Queries over what LightDB Stream holds: rows that pipelines brought there, and messages that routes took.
//!
//! `encodedQuery` is a JSON text `{fields: [{path, alias?, agg?, type?}], filters: [...], timeBucket?}`; a body may also have it as
//! the object `query`. A path is `time`, `deviceId`, `*` for the whole
//! payload (which then stands under `data`), or a dotted path into the payload. Filters are `{path, op, value}` or
//! `{op: "and"|"or", filters}`; a list as value means one of. With `agg` (`avg`, `count`, `max`, `min` or `sum`) or
//! `timeBucket` (`5m`) there is one row for each bucket and each combination of the fields that are not aggregated.

mod aggregate;

use self::aggregate::{Aggregate, Field};
use super::answer::{Answer, ApiError, ONE_PAGE, Params, listed, number, object, text, texts};
use super::device_by_id;
use super::logs::{Window, window};
use crate::cloud::core::Cloud;
use crate::cloud::device::{Device, StreamMessage};
use crate::cloud::pipelines::{extract_time, nest};
use crate::cloud::wall::{parse_rfc3339, rfc3339};
use crate::cloud::{CloudHandle, cbor, document};
use axum::body::Bytes;
use axum::extract::{Path, State};
use fieldgate_coap::format;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

/// Deepest nesting of filters.
const MOST_DEPTH: usize = 8;
const MOST_FIELDS: usize = 64;

pub(super) async fn of_device(
    State(handle): State<CloudHandle>,
    Path((_, id)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let at = now_ns(&handle);
    handle.read(|cloud| {
        let key = device_by_id(cloud, &id)?;
        query(cloud, &params, &Query::of_params(at, &params)?, |device| {
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
    let at = now_ns(&handle);
    handle.read(|cloud| {
        let key = device_by_id(cloud, &id)?;
        query(cloud, &params, &Query::of_body(at, &body)?, |device| {
            cloud.plane.devices.get(&key).is_some_and(|wanted| wanted.id == device.id)
        })
    })
}

pub(super) async fn of_project(State(handle): State<CloudHandle>, params: Params) -> Answer {
    let at = now_ns(&handle);
    handle.read(|cloud| {
        let (ids, tags) = (params.every("deviceId"), params.every("tags"));
        query(cloud, &params, &Query::of_params(at, &params)?, |device| chosen(device, &ids, &tags))
    })
}

pub(super) async fn of_project_posted(
    State(handle): State<CloudHandle>,
    params: Params,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    let at = now_ns(&handle);
    let (ids, tags) = (texts(&body, "deviceId"), texts(&body, "tags"));
    handle.read(|cloud| {
        query(cloud, &params, &Query::of_body(at, &body)?, |device| chosen(device, &ids, &tags))
    })
}

/// Whether a device is one of those named, if any are, and bears all tags.
fn chosen(device: &Device, ids: &[String], tags: &[String]) -> bool {
    (ids.is_empty() || ids.contains(&device.id)) && tags.iter().all(|tag| device.tag_ids.contains(tag))
}

struct Query {
    window: Window,
    fields: Vec<Field>,
    filters: Vec<Value>,
    /// Nanoseconds.
    bucket: Option<i128>,
    page: Option<(usize, usize)>,
}

impl Query {
    fn of_params(cloud_ns: i128, params: &Params) -> Result<Self, ApiError> {
        let window = since(window(params)?, cloud_ns, params.get("interval"))?;
        let mut query = decoded(params.get("encodedQuery"))?;
        if let Some(bucket) = params.get("query.timeBucket") {
            query["timeBucket"] = json!(bucket);
        }
        Self::new(&query, window, None)
    }

    fn of_body(cloud_ns: i128, body: &Value) -> Result<Self, ApiError> {
        let window = Window::read(text(body, "start"), text(body, "end"))?;
        let window = since(window, cloud_ns, text(body, "interval"))?;
        let count = |name: &str, otherwise: usize| {
            let said = number(body, name)?;
            Ok::<_, ApiError>(said.map_or(otherwise, |n| usize::try_from(n).unwrap_or(usize::MAX)))
        };
        let page = Some((count("page", 0)?, count("perPage", ONE_PAGE)?));
        match (text(body, "encodedQuery"), body.get("query").filter(|query| query.is_object())) {
            (None, Some(query)) => Self::new(query, window, page),
            (encoded, _) => Self::new(&decoded(encoded)?, window, page),
        }
    }

    fn new(query: &Value, window: Window, page: Option<(usize, usize)>) -> Result<Self, ApiError> {
        let bucket = text(query, "timeBucket").map(span).transpose()?;
        let all = |name: &str| query.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut fields = Vec::new();
        for field in all("fields") {
            let path = text(&field, "path").ok_or_else(|| ApiError::invalid("a field needs its path"))?;
            let alias = text(&field, "alias").unwrap_or(path);
            let aggregate = text(&field, "agg").map(Aggregate::named).transpose()?;
            let (path, alias, kind) =
                (path.to_owned(), alias.to_owned(), text(&field, "type").map(str::to_owned));
            fields.push(Field { path, alias, kind, aggregate });
        }
        if fields.is_empty() {
            fields = ["time", "deviceId", "*"].map(Field::plain).into();
        }
        if fields.len() > MOST_FIELDS {
            return Err(ApiError::invalid("too many fields"));
        }
        Ok(Self { window, fields, filters: all("filters"), bucket, page })
    }
}

/// A query as JSON in a text; none is one that asks for everything.
fn decoded(encoded: Option<&str>) -> Result<Value, ApiError> {
    let query: Value = match encoded {
        None => json!({}),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| ApiError::invalid(&format!("encodedQuery is invalid JSON: {error}")))?,
    };
    if query.is_object() { Ok(query) } else { Err(ApiError::invalid("encodedQuery must be an object")) }
}

fn now_ns(handle: &CloudHandle) -> i128 {
    handle.with(|cloud, now| cloud.plane.wall.unix_ns(now))
}

/// A window that begins so long before now, where it is asked for so: `8h`.
fn since(window: Window, now_ns: i128, interval: Option<&str>) -> Result<Window, ApiError> {
    let Some(interval) = interval else { return Ok(window) };
    Ok(Window { start: window.start.max(now_ns.saturating_sub(span(interval)?)), ..window })
}

/// `30s`, `5m`, `8h` or `1d`, in nanoseconds.
fn span(text: &str) -> Result<i128, ApiError> {
    let invalid = || ApiError::invalid(&format!("{text:?} is no span of time, such as 5m"));
    let unit = text.chars().last().ok_or_else(invalid)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(invalid()),
    };
    let number: u32 = text.trim_end_matches(unit).parse().map_err(|_| invalid())?;
    if number == 0 { Err(invalid()) } else { Ok(i128::from(number) * seconds * 1_000_000_000) }
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
            "time" => json!(row_time(self.unix_ns)),
            "deviceId" | "device_id" => json!(self.device),
            "*" => self.data.clone(),
            dotted => dotted
                .split('.')
                .try_fold(&self.data, |value, part| value.get(part))
                .cloned()
                .unwrap_or(Value::Null),
        }
    }

    /// What a field asks for, in the type it wants.
    fn field(&self, field: &Field) -> Value {
        let found = self.at(&field.path);
        match field.kind.as_deref() {
            Some("float" | "double" | "numeric" | "number") => {
                as_number(&found).map_or(Value::Null, |n| json!(n))
            }
            Some("int" | "integer" | "bigint") => as_number(&found).map_or(Value::Null, |n| json!(n as i64)),
            Some("text" | "string") if !found.is_null() && !found.is_string() => json!(found.to_string()),
            _ => found,
        }
    }
}

/// RFC 3339 as rows show it: an offset in figures, and no more digits than it needs.
fn row_time(unix_ns: i128) -> String {
    let text = rfc3339(unix_ns.div_euclid(1_000) * 1_000);
    let text = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{text}+00:00")
}

/// Newest first.
fn query(cloud: &Cloud, params: &Params, query: &Query, of: impl Fn(&Device) -> bool) -> Answer {
    let mut rows = Vec::new();
    for device in cloud.plane.devices.values().filter(|device| of(device)) {
        rows.extend(all_of(device).map(|(unix_ns, data)| Row { device: &device.id, unix_ns, data }));
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
    let shown = if query.bucket.is_some() || query.fields.iter().any(|field| field.aggregate.is_some()) {
        aggregate::groups(&kept, &query.fields, query.bucket)
    } else {
        let shown = |row: &Row<'_>| {
            let field = |field: &Field| (field.name().to_owned(), row.field(field));
            Value::Object(query.fields.iter().map(field).collect::<Map<_, _>>())
        };
        kept.iter().map(shown).collect()
    };
    match query.page {
        None => listed(shown, params, ONE_PAGE),
        Some((page, per_page)) => listed(shown, &Params::paged(page, per_page), ONE_PAGE),
    }
}

/// What LightDB Stream holds of a device.
fn all_of(device: &Device) -> impl Iterator<Item = (i128, Value)> {
    let rows = device.rows.iter().map(|row| (row.unix_ns, row.data.clone()));
    device.messages.iter().flat_map(split).chain(rows)
}

/// The newest row of a device that has something at a path, or whose message came on that path: what it has there.
pub(super) fn newest(device: &Device, path: &[String]) -> Option<Value> {
    let came_on = format!("/{}", path.join("/"));
    let on_path = device.rows.iter().filter(|row| row.path == came_on);
    let on_path = on_path.map(|row| (row.unix_ns, row.data.clone()));
    let within = all_of(device).filter_map(|(at, data)| Some((at, document::get(&data, path)?.clone())));
    on_path.chain(within).max_by_key(|(at, _)| *at).map(|(_, data)| data)
}

/// A batch becomes its elements; a time in an element counts, and goes out of it; what is left is nested under the message's path.
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
    elements.into_iter().map(move |mut element| {
        let at = extract_time(&mut element).unwrap_or(arrived);
        (at, nest(&message.path, element))
    })
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
    let order = match op {
        "=" | "<>" => compare(&found, wanted),
        // The others compare numbers, whatever holds them, and times.
        _ => as_number(&found)
            .zip(as_number(wanted))
            .map_or_else(|| compare(&found, wanted), |(a, b)| a.partial_cmp(&b)),
    };
    let one_of = |any: &[Value]| any.iter().any(|one| compare(&found, one) == Some(Ordering::Equal));
    Ok(match (op, wanted) {
        ("=", Value::Array(any)) => one_of(any),
        ("<>", Value::Array(any)) => !one_of(any),
        ("=", _) => order == Some(Ordering::Equal),
        ("<>", _) => order != Some(Ordering::Equal),
        ("<", _) => order == Some(Ordering::Less),
        ("<=", _) => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        (">", _) => order == Some(Ordering::Greater),
        (">=", _) => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        _ => return Err(ApiError::invalid(&format!("{op:?} is no operator"))),
    })
}

/// A number, or a text that is one.
fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
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
