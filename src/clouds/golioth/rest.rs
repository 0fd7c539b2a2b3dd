//! Golioth's management REST API, as far as the gateway reads its own record (requirement C1).
//!
//! Makes its own sockets ([`HttpClient`]), so it is left out of runs in virtual time. Nothing here is on the way of a
//! reading: without a management key this module is never constructed and the device plane works fully.
//!
//! Golioth's documents are read liberally: integers may be strings, absent fields are absent, timestamps have up to nine
//! fractional digits, unknown fields are kept as metadata.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use hyper::header::{DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::{Map, Value};

use super::delivery::{Entry, Found, PipelineLists};
use crate::clouds::https::{Answer, HttpClient, HttpError};
use crate::config::GoliothRest;
use crate::gather::Gather;
use crate::registry::provider::{Operation, Provider, ProviderCapabilities, ProviderDevice, ProviderError};
use crate::spend::{Direction, Purpose, Purse, Why, wire};

const SERVICE: &str = "golioth";
/// A device record is a few kilobytes; far longer is not one.
const LONGEST_ANSWER: usize = 256 * 1024;
/// Headers of a request and of an answer in HTTP and TLS, about, bytes.
const REQUEST: u64 = 400 + wire::TCP_SEGMENT;
const ANSWER: u64 = 600;
/// What one question is likely to cost, bytes; asked of the data plan first.
const EXPECTED: u64 = 12_000;
/// When the plan has no room for it, it is asked again after this.
const PLAN_HOLDS: Duration = Duration::from_secs(3600);
/// Pipelines whose errors are read at one look: each is a question more.
const MOST_FAILING: usize = 3;
/// Fields that have a place of their own in [`ProviderDevice`].
const PLACED: [&str; 9] =
    ["id", "name", "hardwareIds", "tagIds", "cohortId", "metadata", "data", "status", "lastReport"];

/// The management plane of one project, for one device's own record.
pub struct GoliothProvider {
    http: HttpClient,
    project: String,
    serial: String,
    config: GoliothRest,
    purse: Arc<Purse>,
    /// The project's, once it was asked for.
    organization: OnceLock<String>,
}

impl std::fmt::Debug for GoliothProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GoliothProvider")
            .field("http", &self.http)
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

impl GoliothProvider {
    /// A provider for the device named `serial`.
    ///
    /// # Errors
    /// [`ProviderError::Unreachable`] when no TLS client can be made on this system.
    pub fn new(config: &GoliothRest, serial: &str, purse: Arc<Purse>) -> Result<Self, ProviderError> {
        let http = HttpClient::new(&config.url).map_err(no_answer)?;
        Ok(Self {
            http,
            project: config.project.clone(),
            serial: serial.to_owned(),
            config: config.clone(),
            purse,
            organization: config.organization.clone().map_or_else(OnceLock::new, OnceLock::from),
        })
    }

    /// The answer, and what the service's clock said with it.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<(Value, Option<i64>), ProviderError> {
        let mut path = format!("/v1{path}");
        for (n, (name, value)) in query.iter().enumerate() {
            path.push(if n == 0 { '?' } else { '&' });
            path.push_str(name);
            path.push('=');
            path.extend(form_urlencoded::byte_serialize(value.as_bytes()));
        }
        let key = self.config.api_key.expose_str().unwrap_or_default();
        let mut key = HeaderValue::from_str(key).map_err(|_| ProviderError::Refused {
            service: SERVICE.into(),
            detail: "the key has characters that no key has".into(),
        })?;
        key.set_sensitive(true);
        // A question is rare, and charged all the same: it waits for no record of what was spent.
        let refused = self.purse.refused(Purpose::Management, EXPECTED);
        if let Some((_, why)) = refused.filter(|(_, why)| *why != Why::Recording) {
            tracing::info!(why = why.words(), "the management API is not asked now");
            return Err(ProviderError::TooMany { service: SERVICE.into(), after: Some(PLAN_HOLDS) });
        }
        // It may fail on the way: then this is more than it cost.
        let opening = wire::lookup(self.http.host()) + wire::TCP_CONNECTION + wire::TLS_HANDSHAKE;
        self.purse.charge(Purpose::Management, Direction::Up, opening + REQUEST + path.len() as u64);
        let answer = self.http.get(&path, (HeaderName::from_static("x-api-key"), key), LONGEST_ANSWER);
        let Answer { status, headers, body } = answer.await.map_err(no_answer)?;
        let after =
            headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        // Without TLS anybody on the way could say any time.
        let said_at = self.http.is_secure().then(|| date(&headers)).flatten();
        let answer = ANSWER + body.len() as u64;
        self.purse.charge(Purpose::Management, Direction::Down, wire::stream(answer));
        match status {
            200 => match serde_json::from_slice(&body) {
                Ok(answer) => Ok((answer, said_at)),
                Err(error) => Err(unintelligible(&error.to_string())),
            },
            401 | 403 => Err(ProviderError::Refused { service: SERVICE.into(), detail: said(status, &body) }),
            404 => Err(ProviderError::NoSuchDevice { service: SERVICE.into(), name: self.serial.clone() }),
            429 => Err(ProviderError::TooMany { service: SERVICE.into(), after }),
            500..=599 => {
                Err(ProviderError::Unreachable { service: SERVICE.into(), detail: said(status, &body) })
            }
            _ => Err(unintelligible(&said(status, &body))),
        }
    }
}

impl GoliothProvider {
    async fn organization(&self) -> Result<&str, ProviderError> {
        if self.organization.get().is_none() {
            let (answer, _) = self.get(&format!("/projects/{}", self.project), &[]).await?;
            let named = answer.get("data").and_then(|data| text(data, "organizationId"));
            let named = named.ok_or_else(|| {
                unintelligible(
                    "the project does not say its organization; set `organization` in [golioth.rest]",
                )
            })?;
            // Whoever was first said the same.
            let _known = self.organization.set(named);
        }
        Ok(self.organization.get().map_or("", String::as_str))
    }
}

#[async_trait]
impl PipelineLists for GoliothProvider {
    async fn look(&self, path: &str) -> Result<Found, ProviderError> {
        let missing = |error| match error {
            ProviderError::NoSuchDevice { .. } => unintelligible("no such project or organization"),
            other => other,
        };
        let organization = self.organization().await.map_err(missing)?;
        let base = format!("/organizations/{organization}/projects/{}", self.project);
        let (unmatched, _) =
            self.get(&format!("{base}/pipeline-unmatched"), &[("perPage", "100")]).await.map_err(missing)?;
        let (counts, _) = self.get(&format!("{base}/pipelines/errors"), &[]).await.map_err(missing)?;
        let mut failed: Option<Entry> = None;
        for pipeline in failing(&counts)? {
            let errors = format!("{base}/pipelines/{pipeline}/errors");
            let (errors, _) = self.get(&errors, &[("limit", "10")]).await.map_err(missing)?;
            let one = newest(&errors, "errors", |entry| event_path(entry, path), "error")?;
            failed = failed.into_iter().chain(one).max_by_key(|entry| entry.unix_ns);
        }
        let about = |entry: &Value| text(entry, "path").is_none_or(|named| bare(&named) == bare(path));
        Ok(Found { unmatched: newest(&unmatched, "list", about, "contentType")?, failed })
    }
}

/// The ids of the pipelines that failed most, at most [`MOST_FAILING`]. The answer counts them by some span of time, which does not
/// matter here: `{"errors": {TIME: {"errors": [{"id", "errors"}]}}}`. Pure.
fn failing(answer: &Value) -> Result<Vec<String>, ProviderError> {
    let spans = answer.get("errors").and_then(Value::as_object).ok_or_else(|| unintelligible("no errors"))?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let rows = spans.values().filter_map(|span| span.get("errors")?.as_array()).flatten();
    for row in rows {
        let count = text(row, "errors").and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
        // It becomes part of an address.
        let plain =
            |id: &String| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if let Some(id) = text(row, "id").filter(plain).filter(|_| count > 0) {
            let known = counts.entry(id).or_default();
            *known = known.saturating_add(count);
        }
    }
    let mut ids: Vec<_> = counts.into_iter().collect();
    ids.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(ids.into_iter().take(MOST_FAILING).map(|(id, _)| id).collect())
}

/// Whether a failure is about a path, or does not say about which: its type is the event's, with the path at its end.
fn event_path(entry: &Value, path: &str) -> bool {
    let named = text(entry, "type");
    let named = named.as_deref().and_then(|kind| kind.split_once("/.s"));
    named.is_none_or(|(_, named)| bare(named) == bare(path))
}

fn bare(path: &str) -> &str {
    path.trim_matches('/')
}

/// The newest entry of a list that is about what is asked. Pure.
fn newest(
    answer: &Value,
    list: &str,
    about: impl Fn(&Value) -> bool,
    detail: &str,
) -> Result<Option<Entry>, ProviderError> {
    let list = answer.get(list).and_then(Value::as_array).ok_or_else(|| unintelligible("no list"))?;
    let entries = list.iter().filter(|entry| about(entry)).filter_map(|entry| {
        let at: jiff::Timestamp = text(entry, "timestamp")?.parse().ok()?;
        Some(Entry { unix_ns: at.as_nanosecond(), detail: text(entry, detail).unwrap_or_default() })
    });
    Ok(entries.max_by_key(|entry| entry.unix_ns))
}

#[async_trait]
impl Provider for GoliothProvider {
    fn service(&self) -> &str {
        SERVICE
    }

    fn capabilities(&self) -> ProviderCapabilities {
        ProviderCapabilities {
            operations: vec![Operation::OwnDevice],
            least_interval: Some(Duration::from_secs(60)),
        }
    }

    async fn own_device(&self) -> Result<ProviderDevice, ProviderError> {
        let (listing, service_unix_ms) = self
            .get(
                &format!("/projects/{}/devices", self.project),
                &[("deviceName", &self.serial), ("perPage", "2")],
            )
            .await?;
        let devices =
            listing.get("list").and_then(Value::as_array).ok_or_else(|| unintelligible("no list"))?;
        // The filter is exact, but a cloud that ignored it would hand us somebody else's record.
        let own = devices.iter().find(|d| text(d, "name").as_deref() == Some(&self.serial));
        let own = own.ok_or_else(|| ProviderError::NoSuchDevice {
            service: SERVICE.into(),
            name: self.serial.clone(),
        })?;
        Ok(ProviderDevice { service_unix_ms, ..device(own)? })
    }
}

/// The `Date` of an answer (RFC 9110, section 6.6.1), unix milliseconds.
fn date(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond())
}

/// Reads a device object. Pure.
fn device(own: &Value) -> Result<ProviderDevice, ProviderError> {
    let fields = own.as_object().ok_or_else(|| unintelligible("a device that is not an object"))?;
    let empty = Map::new();
    let metadata = own.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let time = |name: &str| metadata.get(name).and_then(Value::as_str).and_then(unix_ms);
    let mut rest: Map<String, Value> = fields
        .iter()
        .filter(|(k, _)| !PLACED.contains(&k.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .gathered();
    if !metadata.is_empty() {
        rest.insert("metadata".into(), Value::Object(metadata.clone()));
    }
    Ok(ProviderDevice {
        service_unix_ms: None,
        external_id: text(own, "id").ok_or_else(|| unintelligible("a device without an id"))?,
        name: text(own, "name").ok_or_else(|| unintelligible("a device without a name"))?,
        hardware_ids: texts(own, "hardwareIds"),
        tags: texts(own, "tagIds"),
        cohort: text(own, "cohortId").filter(|c| !c.is_empty()),
        status: text(own, "status")
            .or_else(|| metadata.get("status").and_then(Value::as_str).map(Into::into)),
        last_seen_online_unix_ms: time("lastSeenOnline"),
        last_seen_offline_unix_ms: time("lastSeenOffline"),
        last_report_unix_ms: time("lastReport")
            .or_else(|| text(own, "lastReport").as_deref().and_then(unix_ms)),
        battery_percent: None,
        signal_dbm: None,
        firmware: firmware(metadata.get("update")),
        metadata: rest,
    })
}

/// The shape of `metadata.update` is not documented: a map by package whose entries name a version, if it is anything.
fn firmware(update: Option<&Value>) -> BTreeMap<String, String> {
    let entries = update.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(package, entry)| Some((package.clone(), text(entry, "version")?))).gathered()
}

fn text(object: &Value, name: &str) -> Option<String> {
    match object.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn texts(object: &Value, name: &str) -> Vec<String> {
    let list = object.get(name).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(Into::into).collect()
}

fn unix_ms(timestamp: &str) -> Option<i64> {
    timestamp.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// What an error body says, in one short line: Golioth's is `{code, message, details}`.
fn said(status: u16, body: &[u8]) -> String {
    let message =
        serde_json::from_slice::<Value>(body).ok().and_then(|v| text(&v, "message")).unwrap_or_default();
    let message: String = message.chars().filter(|c| !c.is_control()).take(160).collect();
    format!("HTTP {status} {message}").trim_end().to_owned()
}

fn unintelligible(detail: &str) -> ProviderError {
    ProviderError::Unintelligible { service: SERVICE.into(), detail: detail.to_owned() }
}

fn no_answer(error: HttpError) -> ProviderError {
    match error {
        HttpError::TooLong(_) => unintelligible("the answer is longer than any device record"),
        HttpError::Address(_) => unintelligible(&error.to_string()),
        HttpError::Tls(_) | HttpError::Connection(_) | HttpError::TimedOut => {
            ProviderError::Unreachable { service: SERVICE.into(), detail: error.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn purse() -> Arc<Purse> {
        Purse::unlimited(Arc::new(crate::clock::SystemClock::new(true, None)))
    }

    /// A server of one answer, on loopback.
    async fn answering(
        status: u16,
        body: &'static str,
    ) -> (GoliothProvider, tokio::task::JoinHandle<String>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                request.push(byte[0]);
            }
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let config = GoliothRest {
            url,
            project: "my-project".into(),
            api_key: Secret::new(b"the-key".to_vec()),
            poll: Duration::from_secs(3600),
            organization: Some("my-company".into()),
            check_delivery: Duration::from_secs(3600),
            on_unrouted: crate::config::OnUnrouted::Hold,
        };
        (GoliothProvider::new(&config, "gw-1", purse()).unwrap(), server)
    }

    #[test]
    fn the_date_of_an_answer_is_read_and_one_that_is_none_is_not() {
        let with = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            date(&[(DATE, value)].into_iter().collect())
        };
        assert_eq!(with("Fri, 20 Nov 2026 13:33:20 GMT"), Some(1_795_181_600_000));
        assert_eq!(with("soon"), None);
        assert_eq!(date(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn the_own_record_is_found_by_its_name_and_read_whole() {
        let (provider, server) = answering(
            200,
            r#"{"list":[{"id":"61a7d1d","name":"gw-1","hardwareIds":["352656106647673"],"tagIds":["t1"],"enabled":true,
                "cohortId":"c1","metadata":{"lastReport":"2021-12-01T19:14:07.376256912Z","status":"-",
                "update":{"main":{"version":"1.2.3"},"odd":7}}}],"page":0,"perPage":2,"total":1}"#,
        )
        .await;
        let device = provider.own_device().await.unwrap();
        assert_eq!((device.external_id.as_str(), device.name.as_str()), ("61a7d1d", "gw-1"));
        assert_eq!(device.last_report_unix_ms, Some(1_638_386_047_376));
        assert_eq!(device.firmware, BTreeMap::from([("main".to_owned(), "1.2.3".to_owned())]));
        assert_eq!(device.cohort.as_deref(), Some("c1"));
        assert_eq!(device.metadata.get("enabled"), Some(&Value::Bool(true)));
        let request = server.await.unwrap();
        assert!(
            request.starts_with("GET /v1/projects/my-project/devices?deviceName=gw-1&perPage=2 "),
            "{request}"
        );
        assert!(request.contains("x-api-key: the-key"));
    }

    #[test]
    fn the_newest_entry_of_the_path_counts_whatever_else_the_list_names() {
        let list = serde_json::json!({"list": [
            {"path": "/other", "contentType": "x", "timestamp": "2026-01-02T03:04:09.000000000Z"},
            {"path": "/sensor", "contentType": "application/cbor", "timestamp": "2026-01-02T03:04:05.376256912Z"},
            {"path": "sensor/", "contentType": "application/json", "timestamp": "2026-01-02T03:04:05+01:00"},
            {"path": "/sensor", "contentType": "y", "timestamp": "not yet"},
        ]});
        let about = |path: &'static str| {
            move |entry: &Value| text(entry, "path").is_none_or(|named| bare(&named) == bare(path))
        };
        let found = newest(&list, "list", about("/sensor"), "contentType").unwrap().unwrap();
        assert_eq!((found.detail.as_str(), found.unix_ns % 1_000_000_000), ("application/cbor", 376_256_912));
        assert_eq!(newest(&list, "list", about("/sensors"), "contentType"), Ok(None));
        assert!(newest(&serde_json::json!({}), "list", about("/sensor"), "contentType").is_err());
    }

    #[test]
    fn the_pipelines_that_failed_most_are_asked_and_no_more_than_a_few() {
        let counts = serde_json::json!({"errors": {
            "2026-01-01T00:00:00Z": {"errors": [{"id": "a", "errors": 1}, {"id": "b", "errors": "9"}]},
            "2026-01-02T00:00:00Z": {"errors": [{"id": "a", "errors": 20}, {"id": "c", "errors": 0}]},
            "2026-01-03T00:00:00Z": {"errors": [{"id": "../x", "errors": 99}, {"id": "d", "errors": 2}]},
            "2026-01-04T00:00:00Z": {"errors": [{"id": "e", "errors": 1}]},
            "2026-01-05T00:00:00Z": {},
        }});
        assert_eq!(failing(&counts).unwrap(), ["a", "b", "d"]);
        assert_eq!(failing(&serde_json::json!({"errors": {}})), Ok(vec![]));
        assert!(failing(&serde_json::json!({"list": []})).is_err());
    }

    #[test]
    fn a_failure_of_another_path_is_not_about_this_one() {
        let errors = serde_json::json!({"errors": [
            {"error": "late", "step": 1, "type": "io.golioth.data.v1/.s/other", "timestamp": "2026-01-02T03:04:09Z"},
            {"error": "not JSON", "step": 0, "type": "io.golioth.data.v1/.s/sensor", "timestamp": "2026-01-02T03:04:05Z"},
            {"error": "whose?", "timestamp": "2026-01-02T03:04:01Z"},
        ]});
        let about =
            |path| newest(&errors, "errors", |entry| event_path(entry, path), "error").unwrap().unwrap();
        assert_eq!(
            (about("/sensor").detail, about("/else").detail),
            ("not JSON".to_owned(), "whose?".to_owned())
        );
    }

    #[tokio::test]
    async fn every_refusal_has_its_own_name() {
        type Expected = fn(&ProviderError) -> bool;
        let cases: [(u16, &'static str, Expected); 7] = [
            (
                401,
                r#"{"code":16,"message":"bad key","details":[]}"#,
                |e| matches!(e, ProviderError::Refused { detail, .. } if detail == "HTTP 401 bad key"),
            ),
            (403, "", |e| matches!(e, ProviderError::Refused { .. })),
            (404, "{}", |e| matches!(e, ProviderError::NoSuchDevice { .. })),
            (429, "{}", |e| matches!(e, ProviderError::TooMany { .. })),
            (503, "{}", |e| matches!(e, ProviderError::Unreachable { .. })),
            (200, "not json", |e| matches!(e, ProviderError::Unintelligible { .. })),
            (200, r#"{"list":[{"id":"x","name":"somebody-else"}]}"#, |e| {
                matches!(e, ProviderError::NoSuchDevice { .. })
            }),
        ];
        for (status, body, expected) in cases {
            let (provider, _server) = answering(status, body).await;
            let error = provider.own_device().await.unwrap_err();
            assert!(expected(&error), "{status} {body}: {error:?}");
        }
    }

    #[tokio::test]
    async fn an_unreachable_cloud_is_said_without_the_key() {
        let (provider, server) = answering(200, "{}").await;
        server.abort();
        let _ = server.await;
        let error = provider.own_device().await.unwrap_err();
        assert!(matches!(error, ProviderError::Unreachable { .. }), "{error:?}");
        assert!(!format!("{error:?} {provider:?}").contains("the-key"));
    }
}
