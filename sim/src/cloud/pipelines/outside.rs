//! Destinations outside of the cloud: what is handed to one is kept in a ledger, in the form its documentation gives, and goes nowhere.

use super::Message;
use super::parts::{Said, text_of};
use super::plan::{JSON, OCTETS};
use crate::cloud::config::CloudError;
use crate::cloud::device::Device;
use crate::cloud::{base64, wall};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One kind of destination: its name, the parameters it cannot do without, and the form of what it gets.
struct Kind {
    name: &'static str,
    needs: &'static [&'static str],
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The body as it is.
    Same,
    /// The body as it is, which must be of the binary type.
    SameOctets,
    /// A CloudEvent in JSON.
    CloudEvent,
    /// A document with the data, the time and what it is about.
    Document,
    /// Line protocol.
    Line,
}

const KINDS: [Kind; 11] = [
    Kind { name: "memfault", needs: &["project_key"], form: Form::SameOctets },
    Kind {
        name: "mongodb",
        needs: &["conn_str", "database", "collection", "time_field", "meta_field"],
        form: Form::Document,
    },
    Kind { name: "influxdb", needs: &["url", "token", "bucket", "measurement"], form: Form::Line },
    Kind {
        name: "kafka",
        needs: &["brokers", "topic", "username", "password", "sasl_mechanism"],
        form: Form::Same,
    },
    Kind { name: "azure-event-hubs", needs: &["conn_str", "topic"], form: Form::CloudEvent },
    Kind { name: "azure-blob-storage", needs: &["conn_str", "container"], form: Form::Same },
    Kind {
        name: "aws-sqs",
        needs: &["url", "access_key", "access_secret", "region"],
        form: Form::CloudEvent,
    },
    Kind { name: "aws-s3", needs: &["name", "access_key", "access_secret", "region"], form: Form::Same },
    Kind {
        name: "aws-kinesis",
        needs: &["stream_arn", "access_key", "access_secret", "region"],
        form: Form::Same,
    },
    Kind { name: "gcp-pubsub", needs: &["service_account", "topic"], form: Form::CloudEvent },
    Kind { name: "gcp-cloud-storage", needs: &["service_account", "name"], form: Form::Same },
];

/// A destination of a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outside {
    pub(super) kind: &'static str,
    form: Form,
    /// Those that are texts; a value may name a secret, `$NAME`.
    pub(super) parameters: BTreeMap<String, String>,
}

/// A message as a destination outside got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// The kind of destination, such as `kafka`.
    pub destination: String,
    /// Device name.
    pub device: String,
    /// Path behind `.s`, with its slash.
    pub path: String,
    /// The body in the form of the destination.
    pub body: Vec<u8>,
    /// The message's time, Unix nanoseconds.
    pub unix_ns: i128,
}

impl Outside {
    /// Reads a destination of this name; `None` where there is none.
    pub(super) fn read(name: &str, parameters: &Value, said: Said<'_>) -> Option<Result<Self, CloudError>> {
        let kind = KINDS.iter().find(|kind| kind.name == name)?;
        let missing = kind.needs.iter().find(|needed| parameters.get(**needed).is_none_or(Value::is_null));
        if let Some(missing) = missing {
            return Some(Err(said(&format!("{name} needs the parameter {missing}"))));
        }
        let named = parameters.as_object().into_iter().flatten();
        let parameters = named.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        Some(Ok(Self { kind: kind.name, form: kind.form, parameters: parameters.collect() }))
    }

    /// What the destination gets of a message.
    pub(super) fn form(
        &self,
        message: &Message,
        device: &Device,
        project: &str,
        id: u64,
    ) -> Result<Vec<u8>, String> {
        let kind = self.kind;
        match self.form {
            Form::Same => Ok(message.body.clone()),
            Form::SameOctets if message.content_type == OCTETS => {
                self.as_other(device).map(|()| message.body.clone())
            }
            Form::SameOctets => Err(format!("{kind}: the message is {}, not {OCTETS}", message.content_type)),
            Form::CloudEvent => Ok(cloud_event(message, device, project, id).to_string().into_bytes()),
            Form::Document => {
                let about = json!({"device_id": device.id, "project_id": project});
                let parameter = |name: &str| self.parameters.get(name).cloned().unwrap_or_default();
                let mut document = Map::new();
                document.insert("data".to_owned(), super::run::json_of(message)?);
                document.insert(parameter("time_field"), json!(wall::rfc3339(message.unix_ns)));
                document.insert(parameter("meta_field"), about);
                Ok(Value::Object(document).to_string().into_bytes())
            }
            Form::Line => {
                let mut fields = Vec::new();
                flatten("", &super::run::json_of(message)?, &mut fields);
                if fields.is_empty() {
                    return Err(format!("{kind}: there are no fields in the message"));
                }
                let measurement = self.parameters.get("measurement").map_or("", String::as_str);
                let (fields, at) = (fields.join(","), message.unix_ns);
                let line =
                    format!("{measurement},device_id={},project_id={project} {fields} {at}", device.id);
                Ok(line.into_bytes())
            }
        }
    }

    /// Refuses a device that lacks the identifier it is to be known by.
    fn as_other(&self, device: &Device) -> Result<(), String> {
        let has = match self.parameters.get("alternate_id").map(String::as_str) {
            Some("primary_hardware_id") => !device.hardware_ids.is_empty(),
            Some("certificate_id") => device.certificate.is_some(),
            _ => true,
        };
        if has { Ok(()) } else { Err(format!("{}: the device has no such identifier", self.kind)) }
    }
}

fn cloud_event(message: &Message, device: &Device, project: &str, id: u64) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": format!("{id:016x}"),
        "source": device.id,
        "type": message.event_type(),
        "subject": project,
        "datacontenttype": message.content_type,
        "time": wall::rfc3339(message.unix_ns),
    });
    match serde_json::from_slice::<Value>(&message.body) {
        Ok(data) if message.content_type == JSON => event["data"] = data,
        _ => event["data_base64"] = json!(base64::encode(&message.body)),
    }
    event
}

/// Numbers, booleans and texts with the dotted names of where they stand.
fn flatten(name: &str, value: &Value, fields: &mut Vec<String>) {
    let below = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Object(entries) => entries.iter().for_each(|(key, value)| flatten(&below(key), value, fields)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| flatten(&below(&at.to_string()), value, fields));
        }
        Value::Null => {}
        value => fields.push(format!("{}={value}", if name.is_empty() { "value" } else { name })),
    }
}

/// The names of all destinations there are.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

/// A parameter of a step, by name.
pub(super) fn parameter(parameters: &Value, name: &str, said: Said<'_>) -> Result<String, CloudError> {
    text_of(parameters, name).ok_or_else(|| said(&format!("the parameter {name} is required")))
}
