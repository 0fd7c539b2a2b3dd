//! The way of one message through the pipelines that match it.

use super::outside::{Delivered, Outside};
use super::parts::{Destination, Transformer, Webhook};
use super::plan::{JSON, Step};
use super::transform::transform;
use super::{MOST_OUTGOING, Message, Outgoing, PipelineError};
use crate::cloud::device::{DeviceKey, Location, StreamMessage, StreamRow};
use crate::cloud::plane::Plane;
use crate::cloud::services;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How often a batch may hold batches.
const MOST_DEPTH: u8 = 4;
/// Longest body a transformer may leave.
const LONGEST_BODY: usize = 4 << 20;

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
                let done = transform(plane, transformer, &mut changed);
                let fits = changed.body.len() <= LONGEST_BODY;
                let done =
                    done.and_then(|()| fits.then_some(()).ok_or("the message grows too long".to_owned()));
                if let Err(why) = done {
                    fail(plane, id, step, &message, why, fate);
                    if step.destination.is_none() {
                        return;
                    }
                    continue;
                }
            }
        }
        match &step.destination {
            Some(destination) => {
                arrive(plane, id, steps, at, destination, &changed, fate);
                // Taken apart, it is done with: its parts go their own ways.
                let apart = *destination == Destination::Batch && step.transformer.is_none();
                if apart && json_of(&changed).is_ok_and(|value| value.is_array()) {
                    return;
                }
            }
            None => message = changed,
        }
    }
}

/// Sends the elements of a batch to the pipelines, each as a message of its own.
fn split(plane: &mut Plane, id: &str, step: &Step, message: &Message, elements: Vec<Value>, fate: &mut Fate) {
    if message.depth >= MOST_DEPTH {
        let why = "batch: its elements come back to the same pipeline without end".to_owned();
        return fail(plane, id, step, message, why, fate);
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

fn arrive(
    plane: &mut Plane,
    id: &str,
    steps: &Arc<[Step]>,
    at: usize,
    destination: &Destination,
    message: &Message,
    fate: &mut Fate,
) {
    let done = match destination {
        Destination::Webhook(hook) => {
            return call(plane, id, steps, at, hook, message.clone(), false, fate);
        }
        // What is no array is not for this destination, and passes.
        Destination::Batch => match (json_of(message), steps.get(at)) {
            (Ok(Value::Array(elements)), Some(step)) => {
                return split(plane, id, step, message, elements, fate);
            }
            (read, _) => read.map(|_| ()),
        },
        Destination::Outside(outside) => hand_over(plane, outside, message),
        inside => json_of(message).and_then(|value| store(plane, inside, message, value)),
    };
    if let (Err(why), Some(step)) = (done, steps.get(at)) {
        fail(plane, id, step, message, why, fate);
    }
}

/// Hands a message to a destination outside, if every secret it names is there.
fn hand_over(plane: &mut Plane, outside: &Outside, message: &Message) -> Result<(), String> {
    for value in outside.parameters.values() {
        plane.pipelines.filled_in(value)?;
    }
    let id = plane.ids.number();
    let Some(device) = plane.devices.get(&message.device) else { return Ok(()) };
    let body = outside.form(message, device, &plane.project, id)?;
    let (destination, device, path) = (outside.kind.to_owned(), device.name.clone(), message.path.clone());
    plane.pipelines.note_delivered(Delivered { destination, device, path, body, unix_ns: message.unix_ns });
    Ok(())
}

fn store(
    plane: &mut Plane,
    destination: &Destination,
    message: &Message,
    value: Value,
) -> Result<(), String> {
    let keep = plane.keep_messages;
    match destination {
        // Dealt with where they stand.
        Destination::Batch | Destination::Outside(_) | Destination::Webhook(_) => {}
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
            let path = path.clone().unwrap_or_else(|| super::segments(&message.path));
            plane.set_state(message.device, path, value);
        }
        Destination::Location => {
            let degrees = |name: &str, most: f64| {
                value.get(name).and_then(Value::as_f64).filter(|degrees| degrees.abs() <= most)
            };
            let place = degrees("latitude", 90.0).zip(degrees("longitude", 180.0));
            let (latitude, longitude) =
                place.ok_or("location: it needs latitude and longitude, in degrees")?;
            let accuracy = value.get("accuracy").and_then(Value::as_u64);
            if let Some(device) = plane.devices.get_mut(&message.device) {
                let unix_ns = message.unix_ns;
                device.location = Some(Location { latitude, longitude, accuracy, unix_ns });
            }
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
        ("Ce-Type".to_owned(), message.event_type()),
    ];
    let pipelines = &mut plane.pipelines;
    for (name, value) in &hook.headers {
        match pipelines.filled_in(value) {
            Ok(value) => headers.push((name.clone(), value.to_string())),
            Err(why) => return steps.get(at).map_or((), |step| fail(plane, id, step, &message, why, fate)),
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
        place: step.place,
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

/// The body of a message that must be JSON.
pub(super) fn json_of(message: &Message) -> Result<Value, String> {
    if message.content_type != JSON {
        return Err(format!("the message is {}, not {JSON}", message.content_type));
    }
    serde_json::from_slice(&message.body).map_err(|error| format!("invalid JSON: {error}"))
}
