//! Which stream messages the project takes, what becomes of them, and lists of those that came to nothing.
//!
//! As in Golioth's Pipelines, a filter names a path (the part behind `.s`, with its slash; exact, or a prefix that ends in `*`) and
//! a content type, either of them optional; steps transform a message and bring it to destinations. A message that no enabled
//! pipeline's filter matches is acknowledged to the device, listed as unmatched, and stored nowhere. One whose step fails is
//! listed as an error.
//!
//! A [`Route`] is a filter whose messages are stored as Golioth did until 2024, without steps: batches split, times taken
//! from the payload, what is left nested under the path. A message stays as it came, and all this is done when somebody asks, so that
//! a million of them cost little.

mod outside;
mod parts;
mod patch;
mod plan;
mod run;
mod structs;
mod transform;
mod yaml;

use super::config::CloudError;
use super::device::DeviceKey;
pub use outside::Delivered;
pub(super) use plan::{Filter, Step, media_type, read};
pub(super) use run::{Came, Fate, answered, deliver};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
pub(super) use transform::{extract_time, nest, parse_time};
use zeroize::Zeroizing;

/// Different unmatched (device, path, format) kept; the oldest goes first.
const MOST_UNMATCHED: usize = 1_000;
const MOST_ERRORS: usize = 1_000;
const MOST_DELIVERED: usize = 256;
const MOST_PIPELINES: usize = 256;
const MOST_SECRETS: usize = 256;
/// Webhook requests that wait to be carried out, or for their answer; one more is an error.
const MOST_OUTGOING: usize = 256;

/// A filter whose messages are taken as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `/sensor`, or `/sensor/*`, or `*` for all.
    pub path: String,
    /// Content-Format number; `None` for any.
    pub content_format: Option<u16>,
}

impl Route {
    /// Takes everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::path("*")
    }

    /// Takes a path, of any content.
    #[must_use]
    pub fn path(path: &str) -> Self {
        Self { path: path.to_owned(), content_format: None }
    }
}

/// Messages that no pipeline took, summed up by where they came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    /// Device name.
    pub device: String,
    /// Path behind `.s`, with its slash.
    pub path: String,
    /// Media type.
    pub content_type: String,
    /// When the last one came, Unix nanoseconds.
    pub unix_ns: i128,
    /// How many came.
    pub count: u64,
}

/// A message that a pipeline took and could not bring to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PipelineError {
    /// The pipeline's id.
    pub pipeline: String,
    /// Its step.
    pub step: String,
    /// The step's place, from 0.
    pub place: usize,
    /// Device name.
    pub device: String,
    /// Path behind `.s`, with its slash.
    pub path: String,
    /// What went wrong.
    pub what: String,
    /// When, Unix nanoseconds.
    pub unix_ns: i128,
}

/// One pipeline of the project.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) yaml: String,
    pub(super) filter: Filter,
    /// `None` for a route.
    pub(super) steps: Option<Arc<[Step]>>,
    pub(super) created_ns: i128,
    pub(super) updated_ns: i128,
}

/// A request to somebody's web service, to be carried out by whoever runs the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// To be handed back with its answer.
    pub id: u64,
    /// Where to; POST.
    pub url: String,
    /// Header names and values, secrets filled in.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Pipelines {
    pub(super) all: Vec<Pipeline>,
    pub(super) unmatched: VecDeque<Unmatched>,
    /// Oldest first.
    pub(super) errors: VecDeque<PipelineError>,
    /// By name, in capitals: how a name is spelt makes no difference.
    pub(super) secrets: BTreeMap<String, Zeroizing<String>>,
    /// What went to destinations outside, oldest first.
    pub(super) delivered: VecDeque<Delivered>,
    pub(super) outgoing: VecDeque<Outgoing>,
    waiting: BTreeMap<u64, run::Waiting>,
    next_request: u64,
}

impl Pipelines {
    pub(super) fn new(routes: &[Route]) -> Self {
        let mut pipelines = Self::default();
        pipelines.set_routes(routes);
        pipelines
    }

    /// Replaces the routes; other pipelines stay.
    pub(super) fn set_routes(&mut self, routes: &[Route]) {
        self.all.retain(|pipeline| pipeline.steps.is_some());
        let routes = routes.iter().enumerate().map(|(number, route)| {
            let filter = Filter {
                path: Some(route.path.clone()),
                content_type: route.content_format.map(|format| media_type(Some(format)).to_owned()),
            };
            let content = filter.content_type.iter().map(|kind| format!("  content_type: {kind}\n"));
            let yaml = format!(
                "filter:\n  path: \"{}\"\n{}steps:\n  - name: step-0\n    destination:\n      type: batch\n  - name: step-1\n    \
                 transformer:\n      type: extract-timestamp\n  - name: step-2\n    transformer:\n      type: inject-path\n    \
                 destination:\n      type: lightdb-stream\n",
                route.path,
                content.collect::<String>()
            );
            let (id, name) = (format!("{:024x}", number + 1), format!("route {number}"));
            let (created_ns, updated_ns) = (0, 0);
            Pipeline { id, name, enabled: true, yaml, filter, steps: None, created_ns, updated_ns }
        });
        self.all.splice(0..0, routes.collect::<Vec<_>>());
    }

    /// Adds a pipeline, or replaces what the one of this id says.
    pub(super) fn put(&mut self, new: Pipeline) -> Result<&Pipeline, CloudError> {
        if self.all.iter().any(|other| other.name == new.name && other.id != new.id) {
            return Err(CloudError::Exists { what: "pipeline" });
        }
        let place = match self.all.iter().position(|known| known.id == new.id) {
            Some(place) => {
                if let Some(known) = self.all.get_mut(place) {
                    *known = Pipeline { created_ns: known.created_ns, ..new };
                }
                place
            }
            None if self.all.len() >= MOST_PIPELINES => {
                return Err(CloudError::Full { what: "pipelines", limit: MOST_PIPELINES });
            }
            None => {
                self.all.push(new);
                self.all.len() - 1
            }
        };
        self.all.get(place).ok_or(CloudError::NotFound { what: "pipeline" })
    }

    /// A new secret. There is no way to change one.
    pub(super) fn add_secret(&mut self, name: &str, value: Zeroizing<String>) -> Result<(), CloudError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let digit_first = name.starts_with(|first: char| first.is_ascii_digit());
        if name.is_empty() || name.len() > 128 || digit_first || !name.bytes().all(legal) {
            let what = format!(
                "secret {name:?}: can use only use characters a-z, A-Z, 0-9 and _, and no digit first"
            );
            return Err(CloudError::Invalid { what });
        }
        let name = name.to_ascii_uppercase();
        if self.secrets.contains_key(&name) {
            return Err(CloudError::Exists { what: "secret" });
        }
        if self.secrets.len() >= MOST_SECRETS {
            return Err(CloudError::Full { what: "secrets", limit: MOST_SECRETS });
        }
        self.secrets.insert(name, value);
        Ok(())
    }

    /// The value behind `$NAME`; other values are what they are.
    fn filled_in(&self, value: &str) -> Result<Zeroizing<String>, String> {
        match value.strip_prefix('$') {
            None => Ok(Zeroizing::new(value.to_owned())),
            Some(name) => {
                let secret = self.secrets.get(&name.to_ascii_uppercase());
                secret.cloned().ok_or_else(|| format!("there is no secret {value}"))
            }
        }
    }

    fn note_delivered(&mut self, delivered: Delivered) {
        if self.delivered.len() >= MOST_DELIVERED {
            self.delivered.pop_front();
        }
        self.delivered.push_back(delivered);
    }

    fn note_unmatched(&mut self, device: &str, path: &str, content_type: &str, unix_ns: i128) {
        let same = |known: &&mut Unmatched| {
            known.device == device && known.path == path && known.content_type == content_type
        };
        if let Some(known) = self.unmatched.iter_mut().find(same) {
            known.count += 1;
            known.unix_ns = unix_ns;
            return;
        }
        if self.unmatched.len() >= MOST_UNMATCHED {
            self.unmatched.pop_front();
        }
        let (device, path, content_type) = (device.to_owned(), path.to_owned(), content_type.to_owned());
        self.unmatched.push_back(Unmatched { device, path, content_type, unix_ns, count: 1 });
    }

    fn note_error(&mut self, error: PipelineError) {
        if self.errors.len() >= MOST_ERRORS {
            self.errors.pop_front();
        }
        self.errors.push_back(error);
    }
}

/// A stream message that a pipeline may work on.
#[derive(Debug, Clone)]
struct Message {
    device: DeviceKey,
    path: String,
    content_type: String,
    body: Vec<u8>,
    unix_ns: i128,
    at: Duration,
    /// How often `batch` took it apart.
    depth: u8,
}

impl Message {
    /// How events and webhooks name it.
    fn event_type(&self) -> String {
        event_type(&self.path)
    }
}

/// The name of an event of a path behind `.s`.
pub(super) fn event_type(path: &str) -> String {
    format!("io.golioth.data.v1/.s{path}")
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
