//! What the management API lists of pipelines, without HTTP: in virtual time no socket can be made.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fieldgate::clouds::golioth::delivery::{Entry, Found, PipelineLists};
use fieldgate::registry::provider::ProviderError;

use super::wires::Wires;

/// How long the API takes to answer.
const ANSWERS_AFTER: Duration = Duration::from_millis(600);

#[derive(Debug)]
pub(super) struct Lists(pub(super) Arc<Wires>);

#[async_trait]
impl PipelineLists for Lists {
    async fn look(&self, path: &str) -> Result<Found, ProviderError> {
        tokio::time::sleep(ANSWERS_AFTER).await;
        self.0.with(|state, _| {
            state.looks_at_lists += 1;
            if state.management_down {
                let detail = "no route to host".to_owned();
                return Err(ProviderError::Unreachable { service: "golioth".to_owned(), detail });
            }
            let unmatched = state.cloud.unmatched().iter().filter(|entry| entry.path == path);
            let unmatched = unmatched
                .max_by_key(|entry| entry.unix_ns)
                .map(|entry| Entry { unix_ns: entry.unix_ns, detail: entry.content_type.clone() });
            let failed = state.cloud.pipeline_errors().iter().filter(|error| error.path == path);
            let failed = failed
                .max_by_key(|error| error.unix_ns)
                .map(|error| Entry { unix_ns: error.unix_ns, detail: error.what.clone() });
            Ok(Found { unmatched, failed })
        })
    }
}
