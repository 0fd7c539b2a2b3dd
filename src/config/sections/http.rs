//! `[http]`: what may be reached from where.

use std::net::SocketAddr;

use super::gateway::interface;
use super::{Context, secret};
use crate::config::model::Http;
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
    let firmware_log_token = reader.table("firmware_log").map(|mut table| {
        let token = secret::required(&mut table, "token", 16..=256, context);
        table.finish();
        token
    });
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
    if listen.is_none() && firmware_log_token.is_some() {
        reader.warning(
            "firmware_log",
            "The page is off, so nobody can pull the firmware log.",
            "Set http.listen or remove [http.firmware_log].",
        );
    }
    reader.finish();
    Some(Http { listen: listen?, interface, hosts, firmware_log_token })
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
