//! Whether pipelines take what the gateway streams, as far as a look at the project's lists can tell.
//!
//! Sends nothing: the lists name what was sent before. What a fresh message would meet is found by a probe (`--probe`), or by the
//! daemon with its first one, which it keeps until it is known.

use std::path::Path;
use std::sync::Arc;

use super::{Finding, Level};
use crate::cli::credentials_directory;
use crate::clock::SystemClock;
use crate::clouds::golioth::delivery::{Found, PipelineLists, UNVERIFIED};
use crate::clouds::golioth::rest::GoliothProvider;
use crate::config::{self, Config};
use crate::registry::provider::ProviderError;
use crate::spend::Purse;

/// Asks over the network, for a minute at most, and only where there is a management key that can be read here.
pub(super) fn finding(config: &Config, path: &Path) -> Option<Finding> {
    let golioth = config.golioth.as_ref()?;
    if golioth.rest.is_none() {
        return Some(Finding(Level::Ok, format!("golioth: {UNVERIFIED} ([golioth.rest])")));
    }
    // What cannot be read is a finding of its own already.
    let loaded = config::load(path, credentials_directory().as_deref()).ok()?;
    let rest = loaded.config.golioth.as_ref()?.rest.clone()?;
    let found = look(&rest, &config.gateway.serial, &golioth.stream_path);
    Some(words(&golioth.stream_path, found))
}

fn look(rest: &config::GoliothRest, serial: &str, path: &str) -> Result<Found, ProviderError> {
    // A second time it is in place already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failed = |detail: String| ProviderError::Unreachable { service: "golioth".into(), detail };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let purse = Purse::unlimited(Arc::new(SystemClock::new(false, None)));
    let lists = GoliothProvider::new(rest, serial, purse)?;
    runtime.block_on(lists.look(&format!("/{path}")))
}

fn words(path: &str, found: Result<Found, ProviderError>) -> Finding {
    match found {
        Err(error) => Finding(Level::Warn, format!("golioth: delivery cannot be verified: {error}")),
        Ok(Found { unmatched: Some(entry), .. }) => Finding(
            Level::Warn,
            format!(
                "golioth: a message on /{path} ({}) was taken by no pipeline at {}, and is lost. Unless a pipeline was made \
                 since, create and enable one for that path and content type: docs/pipelines",
                entry.detail,
                jiff::Timestamp::from_nanosecond(entry.unix_ns)
                    .map_or_else(|_| "?".into(), |at| at.to_string())
            ),
        ),
        Ok(Found { failed: Some(entry), .. }) => Finding(
            Level::Warn,
            format!(
                "golioth: a pipeline failed: {}. Look at the project's pipeline errors",
                entry.detail.chars().filter(|c| !c.is_control()).take(160).collect::<String>()
            ),
        ),
        Ok(_) => {
            Finding(Level::Ok, format!("golioth: no message on /{path} is listed as taken by no pipeline"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clouds::golioth::delivery::Entry;

    fn said(found: Result<Found, ProviderError>) -> (bool, String) {
        let Finding(level, words) = words("sensor", found);
        (matches!(level, Level::Ok), words)
    }

    #[test]
    fn what_the_lists_say_is_told_with_the_next_step() {
        let entry = || Some(Entry { unix_ns: 1_767_323_045_006_000_000, detail: "application/cbor".into() });
        assert!(said(Ok(Found::default())).0);
        let (fine, words) = said(Ok(Found { unmatched: entry(), failed: None }));
        assert!(
            !fine && words.contains("application/cbor") && words.contains("2026-01-02T03:04:05"),
            "{words}"
        );
        assert!(words.contains("docs/pipelines"));
        assert!(!said(Ok(Found { unmatched: None, failed: entry() })).0);
        let error = ProviderError::Refused { service: "golioth".into(), detail: "HTTP 401".into() };
        assert!(said(Err(error)).1.contains("HTTP 401"));
    }
}
