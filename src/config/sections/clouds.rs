//! `[golioth]`, `[golioth.rest]` and `[[mqtt]]`: the destinations.

use std::collections::BTreeMap;

use super::{Context, golioth_credential, liveness, secret};
use crate::config::model::{Encoding, Endpoint, Golioth, GoliothCredential, GoliothRest, Mqtt, OnUnrouted};
use crate::config::problem::{Place, Taken, quote};
use crate::config::reader::{Numbers, Reader};
use crate::config::topic::{self, TopicError, TopicTemplate};
use crate::config::words;

const ENCODINGS: [(&str, Encoding); 2] = [("rows", Encoding::Rows), ("columns", Encoding::Columns)];

const ON_UNROUTED: [(&str, OnUnrouted); 2] = [("hold", OnUnrouted::Hold), ("send", OnUnrouted::Send)];

const GOLIOTH_HOST: &str = "coap.golioth.io";
const COAPS_PORT: u16 = 5684;

pub(super) fn golioth(mut reader: Reader<'_>, context: &mut Context<'_>) -> Golioth {
    context.destinations.push("golioth".to_owned());
    let endpoint = golioth_endpoint(&mut reader);
    let credential = golioth_credential::read(&mut reader, &endpoint.host, context);
    let stream_path = reader
        .text(
            "stream_path",
            "\"sensor\"",
            is_stream_path,
            "a stream path",
            "Write 1 to 39 letters, digits, _ - . and single / between them, such as \"sensor\".",
        )
        .map_or("sensor", |found| found.value);
    let location_path = reader
        .text(
            "location_path",
            "\"location\"",
            is_stream_path,
            "a stream path",
            "Write 1 to 39 letters, digits, _ - . and single / between them, such as \"location\".",
        )
        .map(|found| found.value.to_owned());
    let encoding = reader.choice("encoding", "an encoding", &ENCODINGS).unwrap_or(Encoding::Rows);
    let connection_id = reader.flag("connection_id", true);
    let suites = golioth_credential::suites(&mut reader, &credential, connection_id);
    let liveness = liveness::read(&mut reader);
    let rate = Numbers { noun: "a rate Golioth takes", range: 1..=20 };
    let requests_per_second = reader.number("requests_per_second", "20", &rate).unwrap_or(20);
    let project = match &credential {
        GoliothCredential::Psk { id, .. } => id.split_once('@').map(|(_, project)| project),
        GoliothCredential::Certificate { .. } => None,
    };
    let rest = reader.table("rest").map(|table| rest(table, project, context));
    reader.finish();
    Golioth {
        endpoint,
        credential,
        stream_path: stream_path.to_owned(),
        location_path,
        encoding,
        connection_id,
        suites,
        liveness,
        requests_per_second,
        rest,
    }
}

fn golioth_endpoint(reader: &mut Reader<'_>) -> Endpoint {
    let default = || Endpoint { host: GOLIOTH_HOST.to_owned(), port: COAPS_PORT };
    let found = reader.text(
        "endpoint",
        "\"coap.golioth.io:5684\"",
        |text| words::endpoint(text, COAPS_PORT).is_some(),
        "a host or host:port",
        "Write it without coaps://, such as \"coap.golioth.io:5684\"; IPv6 in brackets.",
    );
    found.and_then(|found| words::endpoint(found.value, COAPS_PORT)).unwrap_or_else(default)
}

fn is_stream_path(text: &str) -> bool {
    (1..=39).contains(&text.len())
        && text.split('/').all(|segment| {
            !segment.is_empty()
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        })
}

fn rest(mut reader: Reader<'_>, project: Option<&str>, context: &Context<'_>) -> GoliothRest {
    const DEFAULT: &str = "https://api.golioth.io";
    let url = match reader.hidden_text("url", "\"https://api.golioth.io\"") {
        Some(found) if is_rest_url(found.value) => found.value.trim_end_matches('/'),
        Some(_) => {
            // Not shown: such an address may hold a password.
            reader.problem(
                "url",
                "this is not an address the API key may be sent to.",
                "Write https://host or, on this machine only, http://127.0.0.1:port; no user, no ? and no #.",
            );
            DEFAULT
        }
        None => DEFAULT,
    };
    if project.is_none() && !reader.has("project") {
        reader.missing("project", "\"my-project\"");
    }
    let project = reader
        .text("project", "\"my-project\"", words::is_device, "a project id", "Write the project's id.")
        .map_or(project.unwrap_or(""), |found| found.value);
    let api_key = secret::required(&mut reader, "api_key", 1..=4096, context);
    let poll = reader.duration("poll", "24h", "1s"..="30d");
    let organization = reader
        .text(
            "organization",
            "\"my-company\"",
            words::is_device,
            "an organization id",
            "Write the organization's id.",
        )
        .map(|found| found.value.to_owned());
    let check_delivery = reader.duration("check_delivery", "24h", "1m"..="30d");
    let on_unrouted = reader.choice("on_unrouted", "what to do", &ON_UNROUTED).unwrap_or(OnUnrouted::Hold);
    reader.finish();
    let (url, project) = (url.to_owned(), project.to_owned());
    GoliothRest { url, project, api_key, poll, organization, check_delivery, on_unrouted }
}

fn is_rest_url(text: &str) -> bool {
    let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return false,
    };
    let plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'?' | b'#'));
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    plain
        && text.len() <= 512
        && words::endpoint(authority, 443).is_some_and(|host| secure || words::is_loopback(&host.host))
}

pub(super) fn mqtt(readers: Vec<Reader<'_>>, context: &mut Context<'_>) -> Vec<Mqtt> {
    let mut names = Taken::default();
    let mut clients = BTreeMap::new();
    readers.into_iter().map(|reader| one_mqtt(reader, context, &mut names, &mut clients)).collect()
}

fn one_mqtt(
    mut reader: Reader<'_>,
    context: &mut Context<'_>,
    names: &mut Taken,
    clients: &mut BTreeMap<(String, u16, String), Place>,
) -> Mqtt {
    let name = destination_name(&mut reader, context, names);
    let (broker, tls) = broker(&mut reader);
    let client_id = reader
        .text(
            "client_id",
            "\"gw-0042\"",
            |text| words::is_line(text, 128),
            "a client id",
            "Write 1 to 128 bytes on one line.",
        )
        .map_or(context.serial.as_str(), |found| found.value)
        .to_owned();
    let username = reader
        .text(
            "username",
            "\"gw-0042\"",
            |text| words::is_line(text, 256),
            "a user name",
            "Write 1 to 256 bytes on one line.",
        )
        .map(|found| found.value.to_owned());
    let password = secret::optional(&mut reader, "password", 1..=4096, context);
    let topic = topic(&mut reader);
    reader.number("qos", "1", &Numbers { noun: "a quality of service that loses nothing", range: 1..=1 });
    let ca_file = reader.path_value("ca_file", "\"/etc/fieldgate/broker-ca.pem\"").map(|found| found.value);

    if password.is_some() && !reader.has("username") {
        reader.problem(
            "username",
            "a password needs a user name.",
            "Write username = \"gw-0042\", for example.",
        );
    }
    if ca_file.is_some() && !tls && !broker.host.is_empty() {
        reader.problem(
            "ca_file",
            "the broker is not spoken to over TLS.",
            "Write broker = \"mqtts://…\" or remove ca_file.",
        );
    }
    if password.is_some() && !tls && !broker.host.is_empty() && !words::is_loopback(&broker.host) {
        reader.warning(
            "broker",
            "The password crosses the network in clear text.",
            "Use mqtts:// if the broker offers it.",
        );
    }
    let client = (broker.host.clone(), broker.port, client_id.clone());
    match clients.get(&client) {
        _ if broker.host.is_empty() => {}
        Some(first) => reader.problem(
            "client_id",
            format!(
                "{} is already used on this broker at {}: each connection would end the other.",
                quote(&client_id),
                context.findings.name(*first)
            ),
            "Give each its own client_id.",
        ),
        None => {
            clients.insert(client, reader.place("client_id"));
        }
    }
    reader.finish();
    Mqtt { name, broker, tls, client_id, username, password, topic, ca_file }
}

fn destination_name(reader: &mut Reader<'_>, context: &mut Context<'_>, names: &mut Taken) -> String {
    let found = reader.required_text("name", "\"plant\"", words::is_name, "a name", super::bus::NAME_REMEDY);
    let Some(found) = found else {
        // Counted, so that the limit holds and routes to it are the only other complaint.
        context.destinations.push(String::new());
        return String::new();
    };
    if found.value == "golioth" {
        reader.problem("name", "\"golioth\" is the name of [golioth].", "Choose another name.");
    } else {
        let remedy = "Give each destination its own name.";
        names.claim(context.findings, found.value, found.at, &reader.path("name"), remedy);
    }
    context.destinations.push(found.value.to_owned());
    found.value.to_owned()
}

/// The broker and whether it is spoken to over TLS. After a problem the host is empty.
fn broker(reader: &mut Reader<'_>) -> (Endpoint, bool) {
    const EXAMPLE: &str = "\"mqtts://broker.example:8883\"";
    let nowhere = (Endpoint { host: String::new(), port: 1883 }, false);
    if !reader.has("broker") {
        reader.missing("broker", EXAMPLE);
    }
    let Some(found) = reader.hidden_text("broker", EXAMPLE) else {
        return nowhere;
    };
    let text = found.value.strip_suffix('/').unwrap_or(found.value);
    let endpoint = match (text.strip_prefix("mqtt://"), text.strip_prefix("mqtts://")) {
        (Some(host), _) => words::endpoint(host, 1883).map(|endpoint| (endpoint, false)),
        (None, Some(host)) => words::endpoint(host, 8883).map(|endpoint| (endpoint, true)),
        (None, None) => None,
    };
    endpoint.unwrap_or_else(|| {
        // Not shown: such an address may hold a password.
        reader.problem(
            "broker",
            "this is not a broker's address.",
            "Write mqtt://host:1883 or mqtts://host:8883; user name and password have their own keys.",
        );
        nowhere
    })
}

fn topic(reader: &mut Reader<'_>) -> TopicTemplate {
    const DEFAULT: &str = "fieldgate/{gateway}/{device}/{class}";
    let text = reader.any_text("topic", "\"plant/{gateway}/{stream}\"").map_or(DEFAULT, |found| found.value);
    if text.starts_with('$') {
        reader.warning(
            "topic",
            "Topics that begin with $ are the broker's own; many brokers drop what others publish there.",
            "Begin with another letter unless the broker's documentation names this topic.",
        );
    }
    match TopicTemplate::parse(text) {
        Ok(template) => template,
        Err(error) => {
            let (what, remedy) = explain(&error);
            reader.problem("topic", what, remedy);
            TopicTemplate::refused()
        }
    }
}

fn explain(error: &TopicError) -> (String, String) {
    let known = topic::VARIABLES.map(|name| format!("{{{name}}}")).join(", ");
    match error {
        TopicError::Length => {
            ("the topic is empty or too long.".to_owned(), format!("Write 1 to {} bytes.", topic::MAX_BYTES))
        }
        TopicError::Wildcard(wildcard) => (
            format!("{wildcard} is for subscribing and cannot be published to."),
            format!("Remove it; variables are {known}."),
        ),
        TopicError::Control => ("the topic holds a control character.".to_owned(), "Remove it.".to_owned()),
        TopicError::Unknown(word) => {
            let remedy = match words::nearest(word, topic::VARIABLES) {
                Some(near) => format!("Did you mean {{{near}}}? Known are {known}."),
                None => format!("Known are {known}."),
            };
            (format!("{} is not a variable.", quote(&format!("{{{word}}}"))), remedy)
        }
        TopicError::Brace => ("a brace has no partner.".to_owned(), format!("Write variables as {known}.")),
    }
}
