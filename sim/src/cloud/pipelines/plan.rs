//! What a pipeline's YAML says, checked once: its filter and its steps.

use super::parts::{Destination, Transformer, destination, transformer};
use super::yaml;
use crate::cloud::config::CloudError;
use fieldgate_coap::format;
use serde_json::Value;

/// Longest pipeline, bytes.
const LONGEST: usize = 64 * 1024;
const MOST_STEPS: usize = 64;

/// Which messages a pipeline is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::cloud) struct Filter {
    /// Exact, or a prefix that ends in `*`; `None` for every path.
    pub(in crate::cloud) path: Option<String>,
    /// A media type; `None` for any.
    pub(in crate::cloud) content_type: Option<String>,
}

impl Filter {
    /// Whether a message of this path and media type is for it. A slash at the end does not count, except before a `*`.
    pub(in crate::cloud) fn takes(&self, path: &str, content_type: &str) -> bool {
        let path_fits = self.path.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path.trim_end_matches('/') == wanted.trim_end_matches('/'),
        });
        path_fits && self.content_type.as_deref().is_none_or(|wanted| wanted == content_type)
    }
}

/// One step: a transformer, a destination, or both. Both together concern nothing that follows.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cloud) struct Step {
    pub(super) name: String,
    /// Its place, from 0.
    pub(super) place: usize,
    pub(super) transformer: Option<Transformer>,
    pub(super) destination: Option<Destination>,
}

/// Reads a pipeline.
pub(in crate::cloud) fn read(text: &str) -> Result<(Filter, Vec<Step>), CloudError> {
    let invalid = |what: &str| CloudError::Invalid { what: format!("pipeline invalid: {what}") };
    if text.len() > LONGEST {
        return Err(invalid("it is too long"));
    }
    let document = yaml::parse(text).map_err(|why| invalid(&why))?;
    if document.get("version").is_some_and(|version| version != "v1") {
        return Err(invalid("the one version of pipelines is v1"));
    }
    let word = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let filter = document.get("filter").unwrap_or(&Value::Null);
    let filter = Filter {
        path: word(filter, "path").filter(|path| !path.is_empty()),
        content_type: word(filter, "content_type").filter(|kind| !kind.is_empty()),
    };
    let steps = document.get("steps").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if steps.is_empty() || steps.len() > MOST_STEPS {
        return Err(invalid("it needs 1 to 64 steps"));
    }
    let mut read: Vec<Step> = Vec::with_capacity(steps.len());
    for (place, step) in steps.iter().enumerate() {
        let name = word(step, "name").unwrap_or_else(|| format!("step{place}"));
        let said = |what: &str| invalid(&format!("step {name}: {what}"));
        if read.iter().any(|other| other.name == name) {
            return Err(said("another step has this name"));
        }
        let transformer = step.get("transformer").map(|part| transformer(part, &said)).transpose()?;
        let destination = step.get("destination").map(|part| destination(part, &said)).transpose()?;
        if transformer.is_none() && destination.is_none() {
            return Err(said("it needs a transformer or a destination"));
        }
        read.push(Step { name, place, transformer, destination });
    }
    Ok((filter, read))
}

/// A Content-Format as the media type pipelines speak of.
pub(in crate::cloud) fn media_type(content_format: Option<u16>) -> &'static str {
    match content_format {
        Some(format::CBOR) => CBOR,
        Some(format::JSON) => JSON,
        Some(format::TEXT) => TEXT,
        _ => OCTETS,
    }
}

pub(super) const CBOR: &str = "application/cbor";
pub(super) const JSON: &str = "application/json";
pub(super) const OCTETS: &str = "application/octet-stream";
pub(super) const TEXT: &str = "text/plain";

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: [&str; 3] = [
        include_str!("../../../../docs/pipelines/rows.yml"),
        include_str!("../../../../docs/pipelines/columns.yml"),
        include_str!("../../../../docs/pipelines/readings.yml"),
    ];

    #[test]
    fn the_pipelines_that_ship_are_read() {
        let read: Vec<_> = SHIPPED.iter().map(|text| read(text).unwrap()).collect();
        let filters: Vec<_> = read.iter().map(|(filter, _)| filter.content_type.as_deref()).collect();
        assert_eq!(filters, [Some(CBOR), Some(CBOR), Some(JSON)]);
        assert!(read.iter().all(|(filter, _)| filter.path.as_deref() == Some("/sensor")));
        assert_eq!(read[0].1[1].destination, Some(Destination::Batch));
    }

    #[test]
    fn a_filter_is_exact_or_a_prefix_with_a_star() {
        for (filter, path, fits) in [
            ("*", "/anything/at/all", true),
            ("/sensor", "/sensor", true),
            ("/sensor/", "/sensor", true),
            ("/sensor", "/sensor/", true),
            ("/sensor", "/sensors", false),
            ("/sensor", "/sensor/a", false),
            ("/sensor*", "/sensors", true),
            ("/sensor/*", "/sensor/a/b", true),
            ("/sensor/*", "/sensor", false),
        ] {
            let filter = Filter { path: Some(filter.to_owned()), content_type: None };
            assert_eq!(filter.takes(path, JSON), fits, "{filter:?} {path}");
        }
        let typed = Filter { path: None, content_type: Some(CBOR.to_owned()) };
        assert!(typed.takes("/a", CBOR) && !typed.takes("/a", JSON));
    }

    #[test]
    fn what_is_no_pipeline_is_refused() {
        let step = |part: &str| format!("steps:\n  - name: a\n    {part}\n");
        for bad in [
            String::new(),
            "steps: []".to_owned(),
            step("other: 1"),
            step("destination:\n      version: v1"),
            step("destination:\n      type: nowhere"),
            step("destination:\n      type: webhook"),
            step("destination:\n      type: kafka\n      parameters:\n        topic: t"),
            step("destination:\n      type: logs\n      version: v2"),
            step("transformer:\n      type: json-patch\n      parameters:\n        patch: \"{}\""),
            step("transformer:\n      type: embed-in-json"),
            format!("version: v2\n{}", step("destination:\n      type: logs")),
            format!(
                "{}{}",
                step("destination:\n      type: logs"),
                "  - name: a\n    destination:\n      type: logs\n"
            ),
        ] {
            assert!(matches!(read(&bad), Err(CloudError::Invalid { .. })), "{bad}");
        }
    }

    #[test]
    fn every_documented_part_is_known_and_a_version_may_be_named_in_part() {
        let transformers =
            ["base64", "cbor-to-json", "extract-timestamp", "inject-metadata", "inject-path", "location"];
        for (kind, version) in transformers.iter().zip(["v1", "v1.0", "v1.0.0", "v1", "v1", "v1"]) {
            let text = format!("steps:\n  - transformer:\n      type: {kind}\n      version: {version}\n");
            assert!(read(&text).is_ok(), "{kind}");
        }
        for kind in crate::cloud::pipelines::outside::names() {
            let needs =
                ["conn_str", "database", "collection", "time_field", "meta_field", "url", "token", "bucket"]
                    .iter()
                    .chain(
                        ["measurement", "brokers", "topic", "username", "password", "sasl_mechanism"].iter(),
                    )
                    .chain(
                        ["container", "access_key", "access_secret", "region", "name", "stream_arn"].iter(),
                    )
                    .chain(["service_account", "project_key"].iter());
            let parameters: String = needs.map(|name| format!("        {name}: x\n")).collect();
            let text =
                format!("steps:\n  - destination:\n      type: {kind}\n      parameters:\n{parameters}");
            assert!(read(&text).is_ok(), "{kind}");
        }
    }
}
