//! A secret's three keys: the literal, which is refused, and the two places it may come from.
//!
//! No message here shows a value: a secret pasted into the wrong key must not reach a log.

use core::ops::RangeInclusive;
use std::path::PathBuf;

use super::Context;
use crate::config::parse::{SecretRefused, SecretSource};
use crate::config::reader::{Found, Reader, is_path};
use crate::config::secret::Secret;

/// The keys of one secret.
struct Keys {
    literal: &'static str,
    file: &'static str,
    credential: &'static str,
    /// Text of several lines, as PEM is; the others are one.
    lines: bool,
}

const KEYS: [Keys; 5] = [
    Keys { literal: "psk", file: "psk_file", credential: "psk_credential", lines: false },
    Keys { literal: "key", file: "key_file", credential: "key_credential", lines: true },
    Keys { literal: "api_key", file: "api_key_file", credential: "api_key_credential", lines: false },
    Keys { literal: "password", file: "password_file", credential: "password_credential", lines: false },
    Keys { literal: "token", file: "token_file", credential: "token_credential", lines: false },
];

/// A secret that must be given. After a problem it is empty.
pub(super) fn required(
    reader: &mut Reader<'_>,
    literal: &'static str,
    bytes: RangeInclusive<usize>,
    context: &Context<'_>,
) -> Secret {
    let Some(keys) = KEYS.iter().find(|keys| keys.literal == literal) else {
        return Secret::new(Vec::new());
    };
    let given = [keys.literal, keys.file, keys.credential].iter().any(|key| reader.has(key));
    let secret = optional(reader, literal, bytes, context);
    if !given {
        reader.problem(
            literal,
            "this secret is required.",
            format!(
                "Write {} = \"/etc/fieldgate/secrets/{literal}\" or {} = \"{literal}\", for example.",
                keys.file, keys.credential
            ),
        );
    }
    secret.unwrap_or_else(|| Secret::new(Vec::new()))
}

/// A secret that may be given.
pub(super) fn optional(
    reader: &mut Reader<'_>,
    literal: &'static str,
    bytes: RangeInclusive<usize>,
    context: &Context<'_>,
) -> Option<Secret> {
    let keys = KEYS.iter().find(|keys| keys.literal == literal)?;
    let Keys { file, credential, lines, .. } = keys;
    let found_file = reader.hidden_text(file, "\"/etc/fieldgate/secrets/name\"");
    let found_credential = reader.hidden_text(credential, "\"name\"");
    if reader.has(literal) {
        // Known, so that it is not also called unknown.
        reader.entry(literal);
        reader.problem(
            literal,
            "a secret must not stand in the configuration.",
            format!(
                "Put it alone into a file only fieldgate can read and write {file} = \"/path\", or pass it by \
                 systemd and write {credential} = \"name\". Change it if others could read it here."
            ),
        );
        return None;
    }
    let (key, source) = match (found_file, found_credential) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            let what = format!("{credential} is set as well.");
            reader.problem(file, what, "Keep one of the two.");
            return None;
        }
        (Some(found), None) => (*file, file_source(reader, file, &found)?),
        (None, Some(found)) => (*credential, credential_source(reader, credential, &found)?),
    };
    match context.surroundings.secret(&source).and_then(|secret| check(secret, &bytes, *lines)) {
        Ok(secret) => Some(secret),
        Err(SecretRefused { what, remedy }) => {
            reader.problem(key, what, remedy);
            None
        }
    }
}

fn file_source(reader: &Reader<'_>, key: &str, found: &Found<&str>) -> Option<SecretSource> {
    if is_path(found.value) {
        return Some(SecretSource::File(PathBuf::from(found.value)));
    }
    reader.problem(
        key,
        "this is not an absolute path.",
        "Write the path of the file that holds the secret, such as \"/etc/fieldgate/secrets/name\".",
    );
    None
}

fn credential_source(reader: &Reader<'_>, key: &str, found: &Found<&str>) -> Option<SecretSource> {
    let name = found.value;
    let fits = (1..=255).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'));
    if fits {
        return Some(SecretSource::Credential(name.to_owned()));
    }
    reader.problem(
        key,
        "this is not a credential's name.",
        "Write the name given in the unit's LoadCredential=, without a path.",
    );
    None
}

/// Secrets here are text: keys, tokens and passwords people were given, most of them one line.
fn check(secret: Secret, bytes: &RangeInclusive<usize>, lines: bool) -> Result<Secret, SecretRefused> {
    let refused = |what: &str, remedy: String| Err(SecretRefused { what: what.to_owned(), remedy });
    let length = secret.expose().len();
    if length == 0 {
        return refused("the secret is empty.", "Put the secret alone on the first line.".to_owned());
    }
    if secret
        .expose_str()
        .is_none_or(|text| text.chars().any(|c| c.is_control() && !(lines && matches!(c, '\n' | '\r'))))
    {
        let remedy = "Put the secret alone on one line, as text.".to_owned();
        return refused("the secret is not one line of text.", remedy);
    }
    if !bytes.contains(&length) {
        let remedy = format!("Use {} to {} bytes.", bytes.start(), bytes.end());
        return refused(&format!("the secret has {length} bytes."), remedy);
    }
    Ok(secret)
}
