//! Whether what Golioth acknowledges arrives anywhere: a link around the link (requirement D6).
//!
//! Golioth acknowledges a stream message before any pipeline has seen it, and drops one that no pipeline takes. With a management
//! key the list of such messages can be read. So an acknowledgement is believed only after the list was read once and does not
//! name the path, and the list is read again now and then. Until it was read, the messages of the window are kept as unanswered:
//! of a path that was never routed nothing is lost. Of one whose pipeline goes away later, what was acknowledged since the list
//! was last read is lost; how many readings that is, at most, is an event in `gateway.db` and stands in the link's words.
//!
//! Clocks are not compared: an entry counts when it is newer than what the list named before. Where the first look finds one, it
//! may be an old one; then one message is sent again a minute later, and the entry either became newer or is known to be old.
//!
//! A list that cannot be read holds nothing: then delivery is unverified, as without a key.

mod gate;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use self::gate::{Gate, Verdict};
use crate::board::{Board, DeliveryState};
use crate::config::{Encoding, OnUnrouted};
use crate::daemon::rim::Rim;
use crate::registry::provider::ProviderError;
use crate::store::gateway::Gateway;
use crate::store::queue::{Owed, QueuedRow};
use crate::uplink::link::{
    Blocks, Capabilities, CloudEvent, EpochStatement, FetchError, Link, ManifestComponent, Message, Outcome,
    Packed, Report,
};

/// The list is read so long after the acknowledgement: what it says may lag.
pub(super) const SETTLE: Duration = Duration::from_secs(10);

/// An entry of one of the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, Unix nanoseconds by the cloud's clock.
    pub unix_ns: i128,
    /// Of an unmatched message its content type, of a failure what went wrong.
    pub detail: String,
}

/// What the lists say of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The newest message that no pipeline took, of any device: pipelines are the project's.
    pub unmatched: Option<Entry>,
    /// The newest failure of a pipeline.
    pub failed: Option<Entry>,
}

/// Reads the lists.
#[async_trait]
pub trait PipelineLists: Send + Sync + std::fmt::Debug {
    /// What they say of a path (with its slash) now.
    async fn look(&self, path: &str) -> Result<Found, ProviderError>;
}

/// How often is looked, and what an unrouted path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// While all is well.
    pub every: Duration,
    /// Whether readings are kept.
    pub on_unrouted: OnUnrouted,
}

/// What is streamed where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed<'a> {
    /// Below `.s/`, without a slash before it.
    pub path: &'a str,
    /// As what.
    pub encoding: Encoding,
}

/// What the words are where no key allows to look.
pub const UNVERIFIED: &str = "delivery beyond acceptance is unverified: no management key";

/// See the module head.
#[derive(Debug)]
pub struct Verified {
    inner: Arc<dyn Link>,
    lists: Arc<dyn PipelineLists>,
    path: String,
    encoding: Encoding,
    /// Where a loss goes on record; without one, only the board is told.
    gateway: Option<Gateway>,
    rim: Rim,
    board: Arc<Board>,
    gate: Mutex<Gate>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

impl Verified {
    /// Puts itself before `inner`, which streams this.
    #[must_use]
    pub fn new(
        inner: Arc<dyn Link>,
        streamed: Streamed<'_>,
        lists: Arc<dyn PipelineLists>,
        rules: Rules,
        gateway: Option<Gateway>,
        rim: Rim,
        board: Arc<Board>,
    ) -> Arc<Self> {
        let gate = Mutex::new(Gate::new(rules));
        let (path, encoding) = (format!("/{}", streamed.path), streamed.encoding);
        let looking = tokio::sync::Mutex::default();
        let link = Self { inner, lists, path, encoding, gateway, rim, board, gate, looking };
        link.tell("delivery is not verified yet".to_owned(), None, 0);
        Arc::new(link)
    }

    /// Whether an acknowledgement is one.
    async fn confirmed(&self, readings: usize) -> Outcome {
        let acknowledged = self.rim.now();
        if self.gate().believes(acknowledged, readings) {
            return Outcome::Acknowledged;
        }
        let _one_at_a_time = self.looking.lock().await;
        if self.gate().is_due(self.rim.now()) {
            self.rim.sleep(SETTLE).await;
            let began = self.rim.now();
            let found = self.lists.look(&self.path).await;
            self.take(began, found).await;
        }
        if let Some(refusal) = self.refusal(|gate| gate.holds() && !crate::sabotage::on("believe-unrouted")) {
            return refusal;
        }
        self.gate().releases(acknowledged, readings);
        Outcome::Acknowledged
    }

    /// Why nothing is sent, where that is so.
    fn refusal(&self, so: impl FnOnce(&Gate) -> bool) -> Option<Outcome> {
        let content_type = {
            let gate = self.gate();
            so(&gate).then(|| gate.content_type().to_owned())?
        };
        let (why, next_step) = self.words(&content_type);
        Some(Outcome::LinkSick { why, next_step })
    }

    async fn take(&self, began: Duration, found: Result<Found, ProviderError>) {
        let failed = found.as_ref().ok().and_then(|found| found.failed.clone());
        let found = found.map(|found| found.unmatched).map_err(|error| error.to_string());
        let verdict = self.gate().looked(began, found);
        match verdict {
            Verdict::Routed => {
                let words = failed.map_or_else(
                    || "delivered to pipelines".to_owned(),
                    |entry| format!("delivered to pipelines, of which one failed: {}", short(&entry.detail)),
                );
                self.tell(words, None, 0);
            }
            Verdict::Unverified(why) => {
                tracing::warn!(destination = self.name(), why, "delivery cannot be verified");
                self.tell(format!("delivery beyond acceptance is unverified: {}", short(&why)), None, 0);
            }
            // Why nothing is sent stays as it was said.
            Verdict::StillHeld => {}
            Verdict::Unrouted { content_type, lost } => self.unrouted(&content_type, lost).await,
        }
    }

    async fn unrouted(&self, content_type: &str, lost: u64) {
        let (why, next) = self.words(content_type);
        tracing::error!(destination = self.name(), lost_at_most = lost, why, next, "unrouted");
        self.tell(
            format!("{why}. Next: {next}"),
            Some(pipeline(&self.path, self.encoding, content_type)),
            lost,
        );
        let detail = serde_json::json!({
            "destination": self.name(), "path": self.path, "content_type": content_type, "lost_at_most": lost,
        });
        if let Some(gateway) = self.gateway.as_ref().filter(|_| lost > 0)
            && let Err(error) = gateway.note_event("unrouted", "error", detail).await
        {
            tracing::error!(%error, "the loss is not on record");
        }
    }

    /// What is so, and what a person should do.
    fn words(&self, content_type: &str) -> (String, String) {
        let path = &self.path;
        let (what, name) = match (content_type, self.encoding) {
            (JSON, _) => ("what a pipeline makes of them", "readings.yml"),
            (_, Encoding::Rows) => ("them", "rows.yml"),
            (_, Encoding::Columns) => ("them", "columns.yml"),
        };
        (
            format!(
                "Golioth acknowledges messages on {path}, but no pipeline takes {what}, so they are lost there"
            ),
            format!(
                "create and enable a pipeline for path {path} and content type {content_type} \
                 (docs/pipelines/{name})"
            ),
        )
    }

    /// `remedy`: they are lost there, and this pipeline is missing.
    fn tell(&self, words: String, remedy: Option<String>, lost: u64) {
        let name = self.inner.name();
        let before = self.board.deliveries.get(name).map_or(0, |known| known.value.lost);
        let state =
            DeliveryState { words, unrouted: remedy.is_some(), remedy, lost: before.saturating_add(lost) };
        self.board.deliveries.set(name, self.rim.clock.mono(), state);
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Link for Verified {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn pack(&self, statement: Option<&EpochStatement>, rows: &[QueuedRow], limit: usize) -> Option<Packed> {
        self.inner.pack(statement, rows, limit)
    }

    fn pack_owed(&self, owed: &[Owed], limit: usize) -> Option<Packed> {
        self.inner.pack_owed(owed, limit)
    }

    async fn send(&self, message: &Message, deadline: Duration) -> Outcome {
        let now = self.rim.now();
        if let Some(refusal) = self.refusal(|gate| gate.holds() && !gate.is_due(now)) {
            return refusal;
        }
        match self.inner.send(message, deadline).await {
            Outcome::Acknowledged => self.confirmed(message.readings).await,
            other => other,
        }
    }

    async fn report(&self, report: Report) -> Outcome {
        self.inner.report(report).await
    }

    fn up(&self) -> watch::Receiver<bool> {
        self.inner.up()
    }

    async fn fetch(&self, artifact: &ManifestComponent, have: &[Range<u64>]) -> Result<Blocks, FetchError> {
        self.inner.fetch(artifact, have).await
    }

    fn events(&self) -> Option<mpsc::Receiver<CloudEvent>> {
        self.inner.events()
    }
}

/// What takes messages apart that a pipeline made of ours.
const JSON: &str = "application/json";

/// The pipeline to make, as it ships, for this path (with its slash).
#[must_use]
pub fn pipeline(path: &str, encoding: Encoding, content_type: &str) -> String {
    let ships = match (content_type, encoding) {
        (JSON, _) => include_str!("../../../docs/pipelines/readings.yml"),
        (_, Encoding::Rows) => include_str!("../../../docs/pipelines/rows.yml"),
        (_, Encoding::Columns) => include_str!("../../../docs/pipelines/columns.yml"),
    };
    ships.replacen("path: /sensor\n", &format!("path: {path}\n"), 1)
}

/// Of what somebody else said: one short line.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipeline_to_make_is_the_one_that_ships_for_the_path_that_is_streamed_to() {
        for (encoding, content_type, step) in [
            (Encoding::Rows, "application/cbor", "cbor-to-json"),
            (Encoding::Columns, "application/cbor", "webhook"),
            (Encoding::Rows, JSON, "lightdb-stream"),
        ] {
            let yaml = pipeline("/site/pump", encoding, content_type);
            assert!(yaml.contains("  path: /site/pump\n") && yaml.contains(step), "{yaml}");
            assert!(yaml.contains(&format!("  content_type: {content_type}\n")), "{yaml}");
        }
    }
}
