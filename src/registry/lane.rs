//! The registry's lane: keeps the store to the plan, notices versions, keeps the board's components, notes the time.
//!
//! Level-triggered: each life begins by comparing everything with what is stored, and every write that would change
//! nothing is none. Versions that are seen to run without an update of ours are recorded as what they are: the first of a
//! component is its factory default, a later one was put there by hand.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use crate::board::{Board, ComponentState};
use crate::config::VersionSource;
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::store::gateway::{Gateway, Recorded, history};

/// What the lane works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The store.
    pub gateway: Gateway,
    /// Where the modem's version comes from, and where components are shown.
    pub board: Arc<Board>,
    /// Time.
    pub rim: Rim,
    /// What the configuration asks for.
    pub plan: Arc<Plan>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// How often time is noted when nothing else happens.
const TICK: Duration = Duration::from_secs(60);

/// The lane, named `registry`.
#[must_use]
pub fn lane(parts: Parts) -> Lane {
    Lane::new("registry", move |progress| run(parts.clone(), progress))
}

async fn run(parts: Parts, progress: Progress) -> Result<(), LaneError> {
    let mut modem = parts.board.modem.watch();
    let mut status = parts.gateway.status();
    settle(&parts).await?;
    observe(&parts).await?;
    publish(&parts).await?;
    progress.advanced();
    loop {
        progress.waiting("waiting for a version to change", TICK);
        tokio::select! {
            biased;
            () = parts.stop.cancelled() => return Ok(()),
            changed = modem.changed() => {
                changed.map_err(|_| LaneError::new("the board is gone"))?;
                modem.mark_unchanged();
                observe(&parts).await?;
            }
            changed = status.changed() => {
                changed.map_err(|_| LaneError::new("the store has stopped"))?;
                status.mark_unchanged();
                publish(&parts).await?;
            }
            () = parts.rim.sleep(TICK) => {
                parts.gateway.note_time(parts.rim.clock.mono(), parts.rim.clock.wall()).await;
            }
        }
        progress.advanced();
    }
}

/// Devices and components as configured.
async fn settle(parts: &Parts) -> Result<(), LaneError> {
    for device in &parts.plan.devices {
        parts.gateway.configure_device(device.clone()).await.map_err(LaneError::new)?;
    }
    let keys = parts.plan.components.iter().map(|(key, _)| key.clone()).collect();
    parts.gateway.configure_components(keys).await.map_err(LaneError::new)
}

/// Every version that is known, recorded where it is news.
async fn observe(parts: &Parts) -> Result<(), LaneError> {
    for (key, source) in &parts.plan.components {
        let version = match source {
            VersionSource::Daemon => Some(env!("CARGO_PKG_VERSION").to_owned()),
            VersionSource::Fixed(text) => Some(text.clone()),
            VersionSource::Modem => parts.board.modem.get().and_then(|modem| modem.value.firmware),
        };
        let Some(version) = version.as_deref().and_then(usable) else { continue };
        let recorded = parts.gateway.observe_version(key, version).await.map_err(LaneError::new)?;
        if let Recorded::Appended(entry) = recorded {
            tracing::info!(
                device = entry.device,
                component = entry.component,
                version = entry.version,
                previous = entry.previous_version,
                source = entry.source.word(),
                "firmware version recorded"
            );
        }
    }
    Ok(())
}

/// A version as a modem may say it, if it is one at all.
fn usable(version: &str) -> Option<&str> {
    let version = version.trim();
    let fits = (1..=history::MAX_VERSION).contains(&version.len()) && !version.contains(char::is_control);
    fits.then_some(version)
}

/// The components, for people.
async fn publish(parts: &Parts) -> Result<(), LaneError> {
    let now = parts.rim.clock.mono();
    for component in parts.gateway.components().await.map_err(LaneError::new)? {
        let state = ComponentState {
            package: component.key.package.clone(),
            device: component.key.device.clone(),
            version: component.version,
            target: component.target,
            state: component.phase.word(),
            reason: component.words,
        };
        parts.board.components.set(&parts.plan.board_name(&component.key), now, state);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
