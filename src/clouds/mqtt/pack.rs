//! From queued readings to a message: topic and JSON body as the module head of [`super`] describes them. Pure.
//!
//! Invariant: a body is never longer than the limit, is one complete document, and holds exactly the first readings given.

use std::fmt::Write as _;
use std::sync::Arc;

use super::decimal;
use crate::config::{TopicTemplate, TopicValues};
use crate::reading::{Quality, Resolution, Value};
use crate::store::queue::QueuedRow;
use crate::uplink::link::{EpochStatement, Message, Packed};

/// A statement takes at most this much of a message; the sequences of very many groups are left out.
const MAX_STATEMENT_BYTES: usize = 2048;
/// A time without a stated uncertainty is within this many milliseconds of the truth, either way.
const UNSTATED_UNCERTAINTY_MS: u32 = 1000;
/// What closes a body.
const TAIL: &str = "]}";

/// Packs as many of the first `rows` as share a topic and an epoch and fit `limit` bytes. `None` when not even one fits.
#[must_use]
pub(super) fn pack(
    template: &TopicTemplate,
    gateway: &str,
    statement: Option<&EpochStatement>,
    rows: &[QueuedRow],
    limit: usize,
) -> Option<Packed> {
    let first = rows.first()?;
    let address = topic(template, gateway, first);
    let mut body = Body::begin(gateway, first, statement, limit);
    let mut taken = 0;
    let mut before = first;
    for row in rows {
        // Streams are shared: only a change of stream can be a change of topic.
        let same_topic = Arc::ptr_eq(&row.stream, &before.stream) || topic(template, gateway, row) == address;
        if !same_topic || row.epoch != first.epoch || !body.push(row) {
            break;
        }
        before = row;
        taken += 1;
    }
    let message =
        Message { address, body: body.finish().into_bytes(), class: first.stream.class, readings: taken };
    (taken > 0).then_some(Packed { message, rows: taken })
}

fn topic(template: &TopicTemplate, gateway: &str, row: &QueuedRow) -> String {
    template.render(&TopicValues {
        gateway,
        device: &row.stream.device,
        stream: &row.stream.name,
        class: row.stream.class.name(),
    })
}

/// A body under construction: closed records as text, the open one in its parts.
struct Body<'a> {
    text: String,
    open: Option<Record<'a>>,
    limit: usize,
}

struct Record<'a> {
    row: &'a QueuedRow,
    head: String,
    values: String,
    qualities: String,
    names: Vec<&'a str>,
}

impl<'a> Body<'a> {
    fn begin(gateway: &str, first: &QueuedRow, statement: Option<&EpochStatement>, limit: usize) -> Self {
        let mut text = format!("{{\"g\":{},\"e\":\"{}\",", quoted(gateway), first.epoch.epoch);
        if let Some(statement) = statement {
            push_statement(&mut text, statement, MAX_STATEMENT_BYTES.min(limit / 2));
        }
        text.push_str("\"r\":[");
        Self { text, open: None, limit }
    }

    /// Takes the row if there is room for it.
    fn push(&mut self, row: &'a QueuedRow) -> bool {
        let name = quoted(&row.stream.name);
        let value = format!("{name}:{}", value(row));
        let quality = match row.sample.quality {
            Quality::Good => String::new(),
            other => format!("{name}:{}", other as u8),
        };
        match &mut self.open {
            Some(record) if record.takes(row) => {
                let longer = record.longer_by(&value, &quality);
                if self.text.len() + record.len() + longer + TAIL.len() > self.limit {
                    return false;
                }
                record.push(row, &value, &quality);
            }
            _ => {
                let mut record = Record::begin(row);
                record.push(row, &value, &quality);
                let closed = self.open.as_ref().map_or(0, |open| open.len() + 1);
                if self.text.len() + closed + record.len() + TAIL.len() > self.limit {
                    return false;
                }
                self.close();
                self.open = Some(record);
            }
        }
        true
    }

    fn close(&mut self) {
        if let Some(record) = self.open.take() {
            record.write(&mut self.text);
            self.text.push(',');
        }
    }

    fn finish(mut self) -> String {
        if let Some(record) = self.open.take() {
            record.write(&mut self.text);
        }
        self.text.push_str(TAIL);
        self.text
    }
}

/// Braces, the keys `v` and `q` with their punctuation.
const RECORD_FRAME: usize = r#"{,"v":{}}"#.len();
const QUALITY_FRAME: usize = r#","q":{}"#.len();

impl<'a> Record<'a> {
    fn begin(row: &'a QueuedRow) -> Self {
        let mut head = String::new();
        // Writing to a string cannot fail.
        let _ = match row.epoch.stated_at(row.at) {
            Some((unix_ms, uncertainty)) => {
                let _ = write!(head, "\"t\":{unix_ms}");
                match uncertainty {
                    0..=UNSTATED_UNCERTAINTY_MS => Ok(()),
                    stated => write!(head, ",\"u\":{stated}"),
                }
            }
            None => write!(head, "\"b\":\"{:?}\",\"m\":{}", row.epoch.boot, row.at.ms()),
        };
        let _ = write!(head, ",\"s\":{}", row.sequence);
        Self { row, head, values: String::new(), qualities: String::new(), names: Vec::new() }
    }

    /// Whether the row belongs to the same instant, and its stream has not spoken in it.
    fn takes(&self, row: &QueuedRow) -> bool {
        self.row.sequence == row.sequence
            && self.row.at == row.at
            && self.row.stream.group == row.stream.group
            && !self.names.contains(&row.stream.name.as_str())
    }

    fn len(&self) -> usize {
        let quality = if self.qualities.is_empty() { 0 } else { QUALITY_FRAME + self.qualities.len() };
        RECORD_FRAME + self.head.len() + self.values.len() + quality
    }

    fn longer_by(&self, value: &str, quality: &str) -> usize {
        let quality = match (quality.is_empty(), self.qualities.is_empty()) {
            (true, _) => 0,
            (false, true) => QUALITY_FRAME + quality.len(),
            (false, false) => 1 + quality.len(),
        };
        1 + value.len() + quality
    }

    fn push(&mut self, row: &'a QueuedRow, value: &str, quality: &str) {
        for (all, one) in [(&mut self.values, value), (&mut self.qualities, quality)] {
            if !all.is_empty() && !one.is_empty() {
                all.push(',');
            }
            all.push_str(one);
        }
        self.names.push(&row.stream.name);
    }

    fn write(&self, text: &mut String) {
        let _ = write!(text, "{{{},\"v\":{{{}}}", self.head, self.values);
        if !self.qualities.is_empty() {
            let _ = write!(text, ",\"q\":{{{}}}", self.qualities);
        }
        text.push('}');
    }
}

fn push_statement(text: &mut String, statement: &EpochStatement, limit: usize) {
    let mut short = format!("\"prev\":{{\"of\":\"{}\"", statement.epoch);
    let mut sequences = String::new();
    if let Some((previous, last)) = &statement.previous {
        let _ = write!(short, ",\"e\":\"{previous}\"");
        let groups: Vec<String> =
            last.iter().map(|(group, sequence)| format!("{}:{sequence}", quoted(group))).collect();
        sequences = format!(",\"s\":{{{}}}", groups.join(","));
    }
    if short.len() + sequences.len() > limit {
        sequences.clear();
    }
    text.push_str(&short);
    text.push_str(&sequences);
    text.push_str("},");
}

fn value(row: &QueuedRow) -> String {
    match &row.sample.value {
        Value::Steps(steps) => decimal::of_steps(*steps, row.stream.resolution.unwrap_or(Resolution::ONE)),
        Value::Float(float) => decimal::of_float(*float),
        Value::Bool(bool) => bool.to_string(),
        Value::Text(text) => quoted(text),
        Value::Absent => "null".into(),
    }
}

/// As a JSON string, with its quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
