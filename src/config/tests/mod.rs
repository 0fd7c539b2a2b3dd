//! The promises of this room, told by configuration texts.

mod any_text;
mod devices;
mod files;
mod messages;
mod values;
mod warnings;

use super::*;

/// Secrets by file name; a host of a fixed name.
struct Fake;

impl Surroundings for Fake {
    fn host_name(&self) -> &str {
        "host-1"
    }

    fn secret(&self, source: &SecretSource) -> Result<Secret, SecretRefused> {
        let text = match source {
            SecretSource::Credential(_) => "a credential of 28 characters",
            SecretSource::File(path) => match path.file_name().and_then(|name| name.to_str()) {
                Some("good") => "0123456789abcdef",
                Some("short") => "0123",
                Some("long") => "0123456789abcdef0123456789abcdef0",
                Some("empty") => "",
                Some("lines") => "one\ntwo",
                _ => {
                    return Err(SecretRefused {
                        what: "the secret is gone.".into(),
                        remedy: "Bring it.".into(),
                    });
                }
            },
        };
        Ok(Secret::new(text.as_bytes().to_vec()))
    }
}

fn taken(files: &[(&str, &str)]) -> Loaded {
    match parse(files, &Fake) {
        Ok(loaded) => loaded,
        Err(refused) => panic!("{refused}"),
    }
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

fn refused(files: &[(&str, &str)]) -> Vec<String> {
    match parse(files, &Fake) {
        Ok(_) => panic!("taken: {files:?}"),
        Err(refused) => lines(&refused.0),
    }
}
