//! The way of one message through the pipelines that match it.

use super::plan::{CBOR, Destination, JSON, Step, Transformer, Webhook};
use super::{MOST_OUTGOING, Message, Outgoing, PipelineError};
use crate::cloud::device::{DeviceKey, StreamMessage, StreamRow};
use crate::cloud::plane::Plane;
use crate::cloud::wall::parse_rfc3339;
use crate::cloud::{cbor, services};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How often a batch may hold batches.
const MOST_DEPTH: u8 = 4;

/// A message as it came from a device.
#[derive(Debug)]
pub(in crate::cloud) struct Came<'a> {
    pub(in crate::cloud) device: DeviceKey,
    /// Behind `.s`, with its slash.
    pub(in crate::cloud) path: &'a str,
    pub(in crate::cloud) content_format: Option<u16>,
    pub(in crate::cloud) body: &'a [u8],
    pub(in crate::cloud) unix_ns: i128,
    pub(in crate::cloud) at: Duration,
}

/// What became of a message and its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cloud) struct Fate {
    /// Parts that no pipeline took.
    pub(in crate::cloud) unmatched: u32,
    /// Steps that failed.
    pub(in crate::cloud) failed: u32,
}

impl Fate {
    /// Whether all of it went where its pipelines lead, or is on its way there through a webhook.
    pub(in crate::cloud) fn is_whole(self) -> bool {
        self == Self::default()
    }
}

/// A message whose next step waits for a web service.
#[derive(Debug)]
pub(super) struct Waiting {
    message: Message,
    pipeline: String,
    steps: Arc<[Step]>,
    at: usize,
    /// Whether the answer replaces the message; else only its success counts.
    transforms: bool,
}

/// Runs a message through every enabled pipeline that matches it.
pub(in crate::cloud) fn deliver(plane: &mut Plane, came: &Came<'_>) -> Fate {
    let message = Message {
        device: came.device,
        path: came.path.to_owned(),
        content_type: super::media_type(came.content_format).to_owned(),
        body: came.body.to_vec(),
        unix_ns: came.unix_ns,
        at: came.at,
        depth: 0,
    };
    let mut fate = Fate::default();
    if enter(plane, message, &mut fate) {
        keep_as_it_came(plane, came);
    }
    fate
}

/// A web service's answer to [`Outgoing::id`]: its media type and body, or why there is none.
pub(in crate::cloud) fn answered(plane: &mut Plane, id: u64, answer: Result<(String, Vec<u8>), String>) {
    let Some(waiting) = plane.pipelines.waiting.remove(&id) else { return };
    let Waiting { mut message, pipeline, steps, at, transforms } = waiting;
    let Some(step) = steps.get(at) else { return };
    let mut fate = Fate::default();
    match answer {
        Err(why) => fail(plane, &pipeline, step, &message, why, &mut fate),
        Ok(_) if !transforms => {}
        Ok((content_type, body)) => {
            message.content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
            message.body = body;
            match &step.destination {
                Some(destination) => arrive(plane, &pipeline, &steps, at, destination, &message, &mut fate),
                None => work(plane, &pipeline, &steps, at + 1, message, &mut fate),
            }
        }
    }
}

/// Whether a route takes it as well.
fn enter(plane: &mut Plane, message: Message, fate: &mut Fate) -> bool {
    let matching =
        plane.pipelines.all.iter().filter(|pipeline| {
            pipeline.enabled && pipeline.filter.takes(&message.path, &message.content_type)
        });
    let (mut routed, mut ways) = (false, Vec::new());
    for pipeline in matching {
        match &pipeline.steps {
            None => routed = true,
            Some(steps) => ways.push((pipeline.id.clone(), Arc::clone(steps))),
        }
    }
    if !routed && ways.is_empty() {
        fate.unmatched += 1;
        let name = name_of(plane, message.device);
        plane.pipelines.note_unmatched(&name, &message.path, &message.content_type, message.unix_ns);
    }
    for (id, steps) in ways {
        work(plane, &id, &steps, 0, message.clone(), fate);
    }
    routed
}

/// Runs the steps from `from` on.
fn work(
    plane: &mut Plane,
    id: &str,
    steps: &Arc<[Step]>,
    from: usize,
    mut message: Message,
    fate: &mut Fate,
) {
    for (at, step) in steps.iter().enumerate().skip(from) {
        let mut changed = message.clone();
        match &step.transformer {
            None => {}
            Some(Transformer::Webhook(hook)) => {
                call(plane, id, steps, at, hook, message.clone(), true, fate);
                if step.destination.is_none() {
                    return;
                }
                continue;
            }
            Some(transformer) => {
                if let Err(why) = transform(plane, transformer, &mut changed) {
                    fail(plane, id, step, &message, why, fate);
                    if step.destination.is_none() {
                        return;
                    }
                    continue;
                }
            }
        }
        match &step.destination {
            Some(destination) => arrive(plane, id, steps, at, destination, &changed, fate),
            None => message = changed,
        }
    }
}

fn transform(plane: &Plane, transformer: &Transformer, message: &mut Message) -> Result<(), String> {
    if *transformer == Transformer::CborToJson {
        if message.content_type != CBOR {
            return Err(format!("cbor-to-json: the message is {}", message.content_type));
        }
        let value = cbor::decode(&message.body).map_err(|error| error.to_string())?;
        message.body = value.to_string().into_bytes();
        JSON.clone_into(&mut message.content_type);
        return Ok(());
    }
    let mut value = json_of(message)?;
    match transformer {
        Transformer::CborToJson | Transformer::Webhook(_) => {}
        Transformer::ExtractTimestamp => {
            if let Some(unix_ns) = extract_time(&mut value) {
                message.unix_ns = unix_ns;
            }
        }
        Transformer::InjectPath => {
            value = super::segments(&message.path)
                .into_iter()
                .rev()
                .fold(value, |below, segment| Value::Object(Map::from_iter([(segment, below)])));
        }
        Transformer::InjectMetadata => {
            let device = plane.devices.get(&message.device).map_or("", |device| &device.id);
            value = json!({
                "data": value,
                "device_id": device,
                "project_id": plane.project,
                "timestamp": {
                    "seconds": i64::try_from(message.unix_ns.div_euclid(1_000_000_000)).unwrap_or(i64::MAX),
                    "nanos": i64::try_from(message.unix_ns.rem_euclid(1_000_000_000)).unwrap_or(0),
                },
            });
        }
        Transformer::Location => value = location(&value)?,
    }
    message.body = value.to_string().into_bytes();
    Ok(())
}

fn arrive(
    plane: &mut Plane,
    id: &str,
    steps: &Arc<[Step]>,
    at: usize,
    destination: &Destination,
    message: &Message,
    fate: &mut Fate,
) {
    if let Destination::Webhook(hook) = destination {
        return call(plane, id, steps, at, hook, message.clone(), false, fate);
    }
    let why = match json_of(message) {
        Err(why) => why,
        Ok(value) => match store(plane, destination, message, value, fate) {
            Ok(()) => return,
            Err(why) => why,
        },
    };
    if let Some(step) = steps.get(at) {
        fail(plane, id, step, message, why, fate);
    }
}

fn store(
    plane: &mut Plane,
    destination: &Destination,
    message: &Message,
    value: Value,
    fate: &mut Fate,
) -> Result<(), String> {
    let keep = plane.keep_messages;
    match destination {
        Destination::Webhook(_) => {}
        Destination::Batch => {
            let Value::Array(elements) = value else { return Err("batch: not an array".to_owned()) };
            if message.depth >= MOST_DEPTH {
                return Err("batch: its elements come back to the same pipeline without end".to_owned());
            }
            for element in elements {
                let body = element.to_string().into_bytes();
                let element = Message { body, depth: message.depth + 1, ..message.clone() };
                let content_format = Some(fieldgate_coap::format::JSON);
                let came = element.clone();
                if enter(plane, element, fate) {
                    let Message { device, path, body, unix_ns, at, .. } = &came;
                    let (device, unix_ns, at) = (*device, *unix_ns, *at);
                    keep_as_it_came(plane, &Came { device, path, content_format, body, unix_ns, at });
                }
            }
        }
        Destination::LightdbStream => {
            let Some(device) = plane.devices.get_mut(&message.device) else { return Ok(()) };
            while device.rows.len() >= keep && !device.rows.is_empty() {
                device.rows.pop_front();
            }
            if keep > 0 {
                let (path, unix_ns) = (message.path.clone(), message.unix_ns);
                device.rows.push_back(StreamRow { path, unix_ns, data: value });
            }
        }
        Destination::LightdbState(path) => {
            plane.set_state(message.device, path.clone(), value, false);
        }
        Destination::Logs => {
            let Value::Object(keys) = value else { return Err("logs: not an object".to_owned()) };
            let entry = services::log_entry(name_of(plane, message.device), keys, message.unix_ns);
            plane.add_log(entry);
        }
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "all of it is kept until the answer comes")]
fn call(
    plane: &mut Plane,
    id: &str,
    steps: &Arc<[Step]>,
    at: usize,
    hook: &Webhook,
    message: Message,
    transforms: bool,
    fate: &mut Fate,
) {
    let device = plane.devices.get(&message.device).map(|device| device.id.clone()).unwrap_or_default();
    let mut headers = vec![
        ("Content-Type".to_owned(), message.content_type.clone()),
        ("Ce-Source".to_owned(), device),
        ("Ce-Subject".to_owned(), plane.project.clone()),
        ("Ce-Type".to_owned(), format!("io.golioth.data.v1/.s{}", message.path)),
    ];
    let pipelines = &mut plane.pipelines;
    for (name, value) in &hook.headers {
        let secret = value.strip_prefix('$').map(|name| pipelines.secrets.get(name));
        match secret {
            None => headers.push((name.clone(), value.clone())),
            Some(Some(secret)) => headers.push((name.clone(), secret.to_string())),
            Some(None) => {
                let why = format!("there is no secret {value}");
                return steps.get(at).map_or((), |step| fail(plane, id, step, &message, why, fate));
            }
        }
    }
    if pipelines.waiting.len() >= MOST_OUTGOING {
        let why = "webhook: too many requests wait already".to_owned();
        return steps.get(at).map_or((), |step| fail(plane, id, step, &message, why, fate));
    }
    let request = pipelines.next_request;
    pipelines.next_request += 1;
    let (url, body) = (hook.url.clone(), message.body.clone());
    pipelines.outgoing.push_back(Outgoing { id: request, url, headers, body });
    let (pipeline, steps) = (id.to_owned(), Arc::clone(steps));
    pipelines.waiting.insert(request, Waiting { message, pipeline, steps, at, transforms });
}

fn fail(plane: &mut Plane, id: &str, step: &Step, message: &Message, what: String, fate: &mut Fate) {
    fate.failed += 1;
    let error = PipelineError {
        pipeline: id.to_owned(),
        step: step.name.clone(),
        device: name_of(plane, message.device),
        path: message.path.clone(),
        what,
        unix_ns: message.unix_ns,
    };
    plane.pipelines.note_error(error);
}

fn keep_as_it_came(plane: &mut Plane, came: &Came<'_>) {
    let keep = plane.keep_messages;
    let Some(device) = plane.devices.get_mut(&came.device).filter(|_| keep > 0) else { return };
    while device.messages.len() >= keep {
        device.messages.pop_front();
    }
    let (path, body) = (came.path.to_owned(), came.body.to_vec());
    let (content_format, unix_ns, at) = (came.content_format, came.unix_ns, came.at);
    device.messages.push_back(StreamMessage { path, content_format, body, unix_ns, at });
}

fn name_of(plane: &Plane, device: DeviceKey) -> String {
    plane.devices.get(&device).map(|device| device.name.clone()).unwrap_or_default()
}

fn json_of(message: &Message) -> Result<Value, String> {
    if message.content_type != JSON {
        return Err(format!("the message is {}, not {JSON}", message.content_type));
    }
    serde_json::from_slice(&message.body).map_err(|error| format!("invalid JSON: {error}"))
}

/// Takes the time out of an object, Unix nanoseconds: RFC 3339, or Unix milliseconds.
pub(in crate::cloud) fn extract_time(element: &mut Value) -> Option<i128> {
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

/// Where the cells and access points of a message are. The real answer's shape is not known, and the place is made up: it follows
/// from the first cell, else the first access point. All three names of the Wi-Fi signal are taken.
fn location(value: &Value) -> Result<Value, String> {
    let list = |name: &str| value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64);
    let mut places = Vec::new();
    for cell in list("cell") {
        let kind = cell.get("type").and_then(Value::as_str);
        let (mcc, mnc, id) = (number(cell, "mcc"), number(cell, "mnc"), number(cell, "id"));
        match (kind, mcc, mnc, id) {
            (Some("ltecatm" | "nbiot"), Some(mcc), Some(mnc), Some(id)) => {
                places.push(id.wrapping_mul(31).wrapping_add(mcc * 1_000 + mnc));
            }
            _ => return Err("location: a cell needs type (ltecatm or nbiot), mcc, mnc and id".to_owned()),
        }
    }
    for access_point in list("wifi") {
        let mac = access_point.get("mac").and_then(Value::as_str).ok_or("location: wifi needs its mac")?;
        let signal = ["rss", "rssi", "strength"].iter().find_map(|name| access_point.get(*name)?.as_f64());
        signal.ok_or("location: wifi needs its rss")?;
        let digits = mac.bytes().filter(u8::is_ascii_hexdigit);
        places.push(digits.fold(0, |sum: u64, digit| sum.wrapping_mul(16).wrapping_add(u64::from(digit))));
    }
    let place = places.first().ok_or("location: neither cell nor wifi")?;
    let degrees = |of: u64, span: f64| (of % 10_000) as f64 / 10_000.0 * span - span / 2.0;
    Ok(json!({"lat": degrees(*place, 180.0), "lon": degrees(place / 7, 360.0), "acc": 1_000}))
}
