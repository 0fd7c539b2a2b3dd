//! The lane of updates: journals what the cloud deploys, keeps the components' targets, and reports.
//!
//! Level-triggered: what is reported follows from the components as stored, so a version that changes or a deployment that
//! arrives is one and the same to it. A report that was handed to the link is not handed over again until it differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::compare::{ComponentChange, addressed, compare, judge};
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::store::gateway::{Component, ComponentUpdate, Gateway, GatewayError};
use crate::uplink::link::{Manifest, ManifestComponent, Report};

/// What the lane works with.
#[derive(Debug)]
pub struct Parts {
    /// The store.
    pub gateway: Gateway,
    /// Time.
    pub rim: Rim,
    /// The gateway's own serial number.
    pub own_serial: String,
    /// What links deliver.
    pub manifests: mpsc::Receiver<Manifest>,
    /// What links report.
    pub reports: mpsc::Sender<Report>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// How long the lane may be still before it says so again.
const TICK: Duration = Duration::from_secs(300);
/// A deployment that the disk did not take is tried again after this.
const JOURNALED_AGAIN: Duration = Duration::from_secs(120);
/// Packages nobody has are reported up to this many: a manifest may name the whole fleet's.
const MAX_UNKNOWN: usize = 16;

/// The lane, named `ota`.
#[must_use]
pub fn lane(parts: Parts) -> Lane {
    // What was journaled counts, also where a run ended before anything followed from it.
    let journaled = parts.gateway.last_manifest(&parts.own_serial);
    let manifest = journaled.and_then(|(sequence_number, detail)| journaled_as(sequence_number, &detail));
    let shared = Arc::new(Mutex::new(Updates {
        parts,
        manifest,
        unjournaled: None,
        unknown: BTreeMap::new(),
        sent: BTreeMap::new(),
    }));
    Lane::new("ota", move |progress| {
        let shared = Arc::clone(&shared);
        // The receiver outlives a life of the lane; only one life holds it at a time.
        async move { shared.lock().await.run(progress).await }
    })
}

struct Updates {
    parts: Parts,
    /// The newest deployment, of this run or an earlier one.
    manifest: Option<Manifest>,
    /// One that the disk did not take, and when it is tried again: nothing follows from it before, and no link says it again soon.
    unjournaled: Option<(Manifest, Duration)>,
    /// What is reported of packages nobody has.
    unknown: BTreeMap<String, Report>,
    /// What the link was given last, by package.
    sent: BTreeMap<String, Report>,
}

impl Updates {
    async fn run(&mut self, progress: Progress) -> Result<(), LaneError> {
        let mut status = self.parts.gateway.status();
        loop {
            status.mark_unchanged();
            self.settle().await?;
            if !self.report(&progress).await? {
                return Ok(());
            }
            progress.advanced();
            progress.waiting("waiting for a deployment", TICK);
            let now = self.parts.rim.now();
            let tick = self.unjournaled.as_ref().map_or(TICK, |(_, at)| at.saturating_sub(now));
            tokio::select! {
                biased;
                () = self.parts.stop.cancelled() => return Ok(()),
                manifest = self.parts.manifests.recv() => match manifest {
                    Some(manifest) => self.take(manifest).await?,
                    // No link delivers deployments any more; versions are still reported.
                    None => {
                        tokio::select! {
                            biased;
                            () = self.parts.stop.cancelled() => return Ok(()),
                            changed = status.changed() => {
                                changed.map_err(|_| LaneError::new("the store has stopped"))?;
                            }
                            () = self.parts.rim.sleep(TICK) => {}
                        }
                    }
                },
                changed = status.changed() => changed.map_err(|_| LaneError::new("the store has stopped"))?,
                () = self.parts.rim.sleep(tick) => {}
            }
            let now = self.parts.rim.now();
            if let Some((manifest, _)) = self.unjournaled.take_if(|(_, at)| now >= *at) {
                self.take(manifest).await?;
            }
        }
    }

    /// Journals a deployment before anything follows from it.
    async fn take(&mut self, manifest: Manifest) -> Result<(), LaneError> {
        let serial = &self.parts.own_serial;
        let journaled =
            self.parts.gateway.record_manifest(serial, manifest.sequence_number, &detail(&manifest)).await;
        match journaled {
            Ok(true) => tracing::info!(
                deployment = manifest.sequence_number,
                packages = manifest.components.len(),
                "a deployment was received"
            ),
            Ok(false) => {}
            Err(error @ GatewayError::TooLong { .. }) => {
                tracing::warn!(%error, "a deployment is too large and is not followed");
                return Ok(());
            }
            Err(error @ (GatewayError::DiskFull | GatewayError::ReadOnly | GatewayError::Faulty(_))) => {
                tracing::warn!(%error, "a deployment could not be put on record and is not followed yet");
                self.unjournaled = Some((manifest, self.parts.rim.now() + JOURNALED_AGAIN));
                return Ok(());
            }
            Err(error) => return Err(LaneError::new(error)),
        }
        self.unjournaled = None;
        self.manifest = Some(manifest);
        Ok(())
    }

    /// Makes the components say what follows from the newest deployment.
    async fn settle(&mut self) -> Result<(), LaneError> {
        let components = self.parts.gateway.components().await.map_err(LaneError::new)?;
        let changes = match &self.manifest {
            Some(manifest) => compare(manifest, &components, &self.parts.own_serial),
            // None is on record.
            None => components.iter().map(|c| judge(c, c.target.as_deref())).collect(),
        };
        self.unknown.clear();
        for change in changes {
            match &change.key {
                Some(key) => {
                    let update = ComponentUpdate {
                        key: key.clone(),
                        deployment: self.manifest.as_ref().map(|m| m.sequence_number),
                        target: change.target,
                        phase: change.phase,
                        reason: change.reason,
                        words: change.words,
                        progress: 0,
                        attempts: 0,
                    };
                    self.parts.gateway.set_component(update).await.map_err(LaneError::new)?;
                }
                None if self.unknown.len() < MAX_UNKNOWN => {
                    if !self.sent.contains_key(&change.package) {
                        tracing::warn!(package = change.package, "{}", change.words);
                    }
                    self.unknown.insert(change.package.clone(), unknown(&change));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Hands the link every report that differs from the one it has. `false` when the daemon is stopping.
    async fn report(&mut self, progress: &Progress) -> Result<bool, LaneError> {
        let components = self.parts.gateway.components().await.map_err(LaneError::new)?;
        let mut wanted = std::mem::take(&mut self.unknown);
        for component in &components {
            // Two devices with one package that is not the gateway's own cannot be told apart at the cloud.
            if addressed(&component.key.package, &components, &self.parts.own_serial) == Some(component) {
                wanted.insert(component.key.package.clone(), report(component));
            }
        }
        self.sent.retain(|package, _| wanted.contains_key(package));
        for (package, report) in wanted {
            if self.sent.get(&package) == Some(&report) {
                continue;
            }
            progress.waiting("waiting for the link to take a report", TICK);
            tokio::select! {
                biased;
                () = self.parts.stop.cancelled() => return Ok(false),
                taken = self.parts.reports.send(report.clone()) => {
                    // Without a link nobody is told; that is no failure of this lane.
                    if taken.is_err() {
                        return Ok(true);
                    }
                }
            }
            self.sent.insert(package, report);
        }
        Ok(true)
    }
}

fn report(component: &Component) -> Report {
    Report::Component {
        package: component.key.package.clone(),
        version: component.version.clone(),
        target: component.target.clone().filter(|target| component.version.as_ref() != Some(target)),
        state: component.phase.number(),
        reason: component.reason,
    }
}

fn unknown(change: &ComponentChange) -> Report {
    Report::Component {
        package: change.package.clone(),
        version: None,
        target: change.target.clone(),
        state: change.phase.number(),
        reason: change.reason,
    }
}

/// The deployment as it is journaled.
fn detail(manifest: &Manifest) -> serde_json::Value {
    let components: Vec<_> = manifest
        .components
        .iter()
        .map(|c| {
            let sha256: String = c.sha256.iter().map(|b| format!("{b:02x}")).collect();
            serde_json::json!({
                "package": c.package, "version": c.version, "sha256": sha256, "size_bytes": c.size_bytes, "uri": c.uri,
            })
        })
        .collect();
    serde_json::json!({ "sequence_number": manifest.sequence_number, "components": components })
}

/// A deployment that was journaled with this detail.
fn journaled_as(sequence_number: u64, detail: &str) -> Option<Manifest> {
    #[derive(serde::Deserialize)]
    struct Detail {
        components: Vec<Package>,
    }
    #[derive(serde::Deserialize)]
    struct Package {
        package: String,
        version: String,
        sha256: String,
        size_bytes: u64,
        uri: String,
    }
    let Detail { components } = serde_json::from_str(detail).ok()?;
    let component = |it: Package| {
        let mut sha256 = [0; 32];
        let digits = it.sha256.as_bytes().chunks_exact(2);
        if digits.len() != sha256.len() {
            return None;
        }
        for (byte, digits) in sha256.iter_mut().zip(digits) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        let Package { package, version, size_bytes, uri, .. } = it;
        Some(ManifestComponent { package, version, sha256, size_bytes, uri })
    };
    let components = components.into_iter().map(component).collect::<Option<_>>()?;
    Some(Manifest { sequence_number, components })
}

#[cfg(test)]
mod tests;
