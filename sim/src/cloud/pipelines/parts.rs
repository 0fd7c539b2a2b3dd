//! The parts of a step as a pipeline's YAML names them: transformers and destinations, with their versions and parameters.

use super::outside::{Outside, parameter};
use super::patch::Patch;
use super::structs::{self, Member};
use crate::cloud::config::CloudError;
use serde_json::Value;
use std::collections::BTreeMap;

/// Makes an error of what is wrong, with the place where it is.
pub(super) type Said<'a> = &'a dyn Fn(&str) -> CloudError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Transformer {
    Base64 {
        decode: bool,
    },
    CborToJson,
    /// The key of the new object.
    EmbedInJson(String),
    ExtractTimestamp,
    InjectMetadata,
    InjectPath,
    JsonPatch(Patch),
    Location,
    StructToJson(Vec<Member>),
    Webhook(Webhook),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Destination {
    Batch,
    LightdbStream,
    /// Where in the document; the message's own path by default.
    LightdbState(Option<Vec<String>>),
    Location,
    Logs,
    Outside(Outside),
    Webhook(Webhook),
}

/// Where a webhook goes. Values of headers may name a secret, `$NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Webhook {
    pub(super) url: String,
    pub(super) headers: BTreeMap<String, String>,
}

pub(super) fn transformer(part: &Value, said: Said<'_>) -> Result<Transformer, CloudError> {
    let parameters = part.get("parameters").unwrap_or(&Value::Null);
    Ok(match kind(part, said)? {
        "base64" => {
            Transformer::Base64 { decode: parameters.get("decode").and_then(Value::as_bool).unwrap_or(false) }
        }
        "cbor-to-json" => Transformer::CborToJson,
        "embed-in-json" => Transformer::EmbedInJson(parameter(parameters, "key", said)?),
        "extract-timestamp" => Transformer::ExtractTimestamp,
        "inject-metadata" => Transformer::InjectMetadata,
        "inject-path" => Transformer::InjectPath,
        "json-patch" => {
            let patch = Patch::read(&parameter(parameters, "patch", said)?);
            Transformer::JsonPatch(patch.map_err(|why| said(&why))?)
        }
        "location" => Transformer::Location,
        "struct-to-json" => Transformer::StructToJson(structs::members(parameters, said)?),
        "webhook" => Transformer::Webhook(webhook(parameters, said)?),
        other => return Err(said(&format!("there is no transformer {other}"))),
    })
}

pub(super) fn destination(part: &Value, said: Said<'_>) -> Result<Destination, CloudError> {
    let parameters = part.get("parameters").unwrap_or(&Value::Null);
    Ok(match kind(part, said)? {
        "batch" => Destination::Batch,
        "lightdb-stream" => Destination::LightdbStream,
        "lightdb-state" => {
            Destination::LightdbState(text_of(parameters, "path").map(|path| super::segments(&path)))
        }
        "location" => Destination::Location,
        "logs" => Destination::Logs,
        "webhook" => Destination::Webhook(webhook(parameters, said)?),
        other => match Outside::read(other, parameters, said) {
            Some(outside) => Destination::Outside(outside?),
            None => return Err(said(&format!("there is no destination {other}"))),
        },
    })
}

/// A text of a part that is not empty.
pub(super) fn text_of(part: &Value, name: &str) -> Option<String> {
    part.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The type of a part, if its version is one there is: 1.0.0 of each, which may be named in part.
fn kind<'a>(part: &'a Value, said: Said<'_>) -> Result<&'a str, CloudError> {
    let kind = part.get("type").and_then(Value::as_str).ok_or_else(|| said("type is required"))?;
    match part.get("version") {
        None | Some(Value::Null) => Ok(kind),
        Some(Value::String(version)) if ["v1", "v1.0", "v1.0.0"].contains(&version.as_str()) => Ok(kind),
        Some(version) => Err(said(&format!("{kind} has no version {version}"))),
    }
}

fn webhook(parameters: &Value, said: Said<'_>) -> Result<Webhook, CloudError> {
    let url = text_of(parameters, "url").ok_or_else(|| said("a webhook needs its url"))?;
    let headers = parameters.get("headers").and_then(Value::as_object).into_iter().flatten();
    let headers = headers
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    Ok(Webhook { url, headers: headers.collect() })
}
