//! By what the gateway proves to Golioth who it is: a pre-shared key or a certificate, and the suites that go with each.

use super::{Context, secret};
use crate::config::model::{GoliothCredential, Renewal, Suite};
use crate::config::problem::quote;
use crate::config::reader::{Reader, choose, not_chosen};
use crate::config::words;

const SUITES: [(&str, Suite); 7] = [
    ("psk-ccm8", Suite::PskCcm8),
    ("psk-ccm", Suite::PskCcm),
    ("psk-gcm", Suite::PskGcm),
    ("psk-cbc", Suite::PskCbc),
    ("ecdsa-ccm8", Suite::EcdsaCcm8),
    ("ecdsa-ccm", Suite::EcdsaCcm),
    ("ecdsa-gcm", Suite::EcdsaGcm),
];
const CERTIFICATE_KEYS: [&str; 7] =
    ["certificate_file", "key_file", "key_credential", "ca_file", "server_name", "renew", "renew_ca_file"];
const PSK_KEYS: [&str; 3] = ["psk_id", "psk_file", "psk_credential"];

pub(super) fn read(reader: &mut Reader<'_>, host: &str, context: &Context<'_>) -> GoliothCredential {
    let certificate = CERTIFICATE_KEYS.iter().any(|key| reader.has(key));
    if let Some(key) = PSK_KEYS.into_iter().find(|key| certificate && reader.has(key)) {
        let remedy = "Keep either the key or the certificate.";
        reader.problem(key, "the gateway cannot be known by a key and by a certificate.", remedy);
        for key in PSK_KEYS {
            reader.entry(key);
        }
    }
    if certificate { by_certificate(reader, host, context) } else { by_key(reader, context) }
}

fn by_key(reader: &mut Reader<'_>, context: &Context<'_>) -> GoliothCredential {
    let id = reader
        .required_text(
            "psk_id",
            "\"gw-0042-id@my-project\"",
            is_psk_id,
            "a PSK identity",
            "Write the whole identity with its project, such as \"gw-0042-id@my-project\".",
        )
        .map_or("", |found| found.value);
    // Mbed TLS takes 256 bits unless built otherwise, and so does Golioth's own SDK.
    let key = secret::required(reader, "psk", 1..=32, context);
    GoliothCredential::Psk { id: id.to_owned(), key }
}

fn by_certificate(reader: &mut Reader<'_>, host: &str, context: &Context<'_>) -> GoliothCredential {
    let mut path = |key: &'static str, example: &str| {
        if !reader.has(key) {
            reader.missing(key, example);
        }
        reader.path_value(key, example).map(|found| found.value).unwrap_or_default()
    };
    let certificate_file = path("certificate_file", "\"/etc/fieldgate/golioth.pem\"");
    let ca_file = path("ca_file", "\"/etc/fieldgate/golioth-ca.pem\"");
    let key = secret::required(reader, "key", 1..=8192, context);
    let server_name = reader
        .text(
            "server_name",
            "\"coap.golioth.io\"",
            |text| words::endpoint(text, 1).is_some_and(|name| name.host == text),
            "a host name or an address",
            "Write the name that the server's certificate has.",
        )
        .map_or(host, |found| found.value)
        .to_owned();
    let renew = reader.flag("renew", true);
    let signers_file = reader
        .path_value("renew_ca_file", "\"/etc/fieldgate/golioth-device-ca.pem\"")
        .map(|found| found.value);
    if !renew && signers_file.is_some() {
        let remedy = "Remove it, or renew = false.";
        reader.problem("renew_ca_file", "nothing is renewed with renew = false.", remedy);
    }
    let renewal = renew.then_some(Renewal { signers_file });
    GoliothCredential::Certificate { certificate_file, key, ca_file, server_name, renewal }
}

/// The suites, best first: by default those of the credential's kind, in the order of what they cost on the wire.
pub(super) fn suites(
    reader: &mut Reader<'_>,
    credential: &GoliothCredential,
    connection_id: bool,
) -> Vec<Suite> {
    const EXAMPLE: &str = "[\"psk-ccm8\", \"psk-gcm\"]";
    let certificate = matches!(credential, GoliothCredential::Certificate { .. });
    // A block cipher's records and a Connection ID do not go together.
    let fits =
        |suite: &Suite| suite.is_certificate() == certificate && !(connection_id && *suite == Suite::PskCbc);
    let Some(found) = reader.texts("suites", EXAMPLE) else {
        return SUITES.iter().map(|(_, suite)| *suite).filter(fits).collect();
    };
    if found.is_empty() {
        reader.problem("suites", "this list is empty.", format!("Write suites = {EXAMPLE} or leave it out."));
    }
    let mut suites = Vec::new();
    for word in found {
        match choose(word.value, &SUITES) {
            Some(suite) if suites.contains(&suite) => {
                let what = format!("{} is named twice.", quote(word.value));
                reader.item_problem("suites", word.at, what, "Name each suite once, best first.");
            }
            Some(suite) if suite.is_certificate() != certificate => {
                let what = format!("{} does not go with the credential.", quote(word.value));
                let remedy = "Use those that begin with psk- for a key, with ecdsa- for a certificate.";
                reader.item_problem("suites", word.at, what, remedy);
            }
            Some(Suite::PskCbc) if connection_id => {
                let what = format!("{} does not go with a Connection ID.", quote(word.value));
                reader.item_problem("suites", word.at, what, "Leave it out, or write connection_id = false.");
            }
            Some(suite) => suites.push(suite),
            None => {
                let (what, remedy) = not_chosen(word.value, "a cipher suite known here", &SUITES);
                reader.item_problem("suites", word.at, what, remedy);
            }
        }
    }
    suites
}

fn is_psk_id(text: &str) -> bool {
    text.len() <= 128
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text
            .split_once('@')
            .is_some_and(|(id, project)| !id.is_empty() && !project.is_empty() && !project.contains('@'))
}
