//! `[http]`: what may be reached from where.

use std::net::SocketAddr;

use super::bus::NAME_REMEDY;
use super::gateway::interface;
use super::{Context, secret};
use crate::config::model::{Http, Puller};
use crate::config::problem::quote;
use crate::config::reader::Reader;
use crate::config::words;

const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// The exact words that accept an unencrypted page off loopback.
const ACCEPTED: &str = "I accept";

pub(super) fn http(mut reader: Reader<'_>, context: &Context<'_>) -> Option<Http> {
    let listen = listen(&mut reader);
    let interface = interface(&mut reader).map(|found| found.value.to_owned());
    let plaintext = reader.text(
        "plaintext",
        "\"I accept\"",
        |text| text == ACCEPTED,
        "the acceptance",
        "Write plaintext = \"I accept\" to let anyone on that network read and alter what the page shows.",
    );
    let hosts = hosts(&mut reader);
    let pullers = pullers(&mut reader, context);
    let exposed = listen.filter(|listen| !listen.ip().is_loopback());
    if let Some(listen) = exposed {
        if interface.is_none() && !reader.has("interface") {
            reader.problem(
                "listen",
                format!("{listen} is not a loopback address and no interface is named."),
                "Write interface = \"eth0\", for example, or listen on 127.0.0.1.",
            );
        }
        if plaintext.is_none() && !reader.has("plaintext") {
            reader.problem(
                "listen",
                format!("{listen} is not a loopback address and there is no TLS yet."),
                "Write plaintext = \"I accept\" if that network may see it, or listen on 127.0.0.1.",
            );
        }
    }
    if listen.is_none() && !pullers.is_empty() {
        reader.warning(
            "puller",
            "The page is off, so nobody can pull anything.",
            "Set http.listen or remove [[http.puller]].",
        );
    }
    reader.finish();
    Some(Http { listen: listen?, interface, hosts, pullers })
}

fn pullers(reader: &mut Reader<'_>, context: &Context<'_>) -> Vec<Puller> {
    /// Each holds a place of its own in the firmware log, beside those of the destinations.
    const MOST: usize = 16;
    let tables = reader.tables("puller");
    if tables.len() > MOST {
        reader.problem(
            "puller",
            format!("{} pullers are too many.", tables.len()),
            format!("Use at most {MOST}."),
        );
    }
    let mut pullers: Vec<Puller> = Vec::new();
    for mut table in tables {
        let name = table.required_text("name", "\"cloud\"", words::is_name, "a name", NAME_REMEDY);
        let name = name.map_or(String::new(), |found| found.value.to_owned());
        if pullers.iter().any(|other| !name.is_empty() && other.name == name) {
            let what = format!("{} is another puller's name.", quote(&name));
            table.problem("name", what, "Give each its own name: its acknowledgements are kept under it.");
        }
        let token = secret::required(&mut table, "token", 16..=256, context);
        let firmware_log = table.flag("firmware_log", true);
        let queue = table.flag("queue", false);
        table.finish();
        pullers.push(Puller { name, token, firmware_log, queue });
    }
    pullers
}

/// `None` when the page is off.
fn listen(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let Some(found) = reader.any_text("listen", "\"127.0.0.1:8080\"") else {
        return Some(DEFAULT);
    };
    if found.value == "off" {
        return None;
    }
    let listen = found.value.parse().ok();
    if listen.is_none() {
        reader.problem(
            "listen",
            format!("{} is not an address with a port.", quote(found.value)),
            "Write listen = \"127.0.0.1:8080\", for example, or \"off\".",
        );
    }
    Some(listen.unwrap_or(DEFAULT))
}

fn hosts(reader: &mut Reader<'_>) -> Vec<String> {
    /// Enough for every name and address a gateway answers to.
    const MOST: usize = 32;
    let found = reader.texts("hosts", "[\"gateway.example\"]").unwrap_or_default();
    if found.len() > MOST {
        reader.problem(
            "hosts",
            format!("{} names are too many.", found.len()),
            format!("Use at most {MOST}."),
        );
    }
    let mut hosts = Vec::new();
    for host in found {
        // An IPv6 literal stands in brackets in a Host header, and so it does here.
        let name = words::endpoint(host.value, 80).filter(|_| !has_port(host.value));
        match name {
            Some(_) => hosts.push(host.value.to_ascii_lowercase()),
            None => reader.item_problem(
                "hosts",
                host.at,
                format!("{} is not a host name.", quote(host.value)),
                "Write the name or address alone, without a port; IPv6 in brackets.",
            ),
        }
    }
    hosts
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(']').map_or(host, |(_, rest)| rest).contains(':')
}
