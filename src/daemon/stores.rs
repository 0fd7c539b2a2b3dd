//! Opening the two files for a configuration: which streams exist, where they go, what the limits are.

use std::path::PathBuf;
use std::sync::Arc;

use super::rim::Rim;
use crate::config::Config;
use crate::sensors;
use crate::store::gateway::{self, Gateway};
use crate::store::queue::ballast::Ballast;
use crate::store::queue::{self, ClassQuotas, DestinationSpec, Epoch, OpenOptions, Queue};
use crate::store::sqlite::OpenError;

/// The open files.
#[derive(Debug, Clone)]
pub struct Stores {
    /// `gateway.db`.
    pub gateway: Gateway,
    /// `queue.db`.
    pub queue: Queue,
}

/// Every stream of the configuration, in the order its buses, slaves and points are written.
#[must_use]
pub fn streams(config: &Config) -> Vec<queue::StreamSpec> {
    config.buses.iter().flat_map(sensors::streams).collect()
}

impl Stores {
    /// Opens both, each with its writer on a thread of its own. On a full disk the ballast is released for it, whichever of
    /// the two needs the room; the queue then says that its disk is full, and takes the ballast back before it accepts.
    ///
    /// # Errors
    /// When a file is a newer release's, its folder cannot be written, or a disk stays full without the ballast. Damage is
    /// not an error.
    pub fn on_threads(config: &Config, rim: &Rim) -> Result<Self, OpenError> {
        // In this order: a queue file without a gateway file is evidence that the latter was lost.
        let gateway =
            with_ballast(config, || Gateway::open(gateway_options(config), &rim.clock, &*rim.random))?;
        let queue = Queue::open(queue_options(config, rim), &rim.clock)?;
        Ok(Self { gateway, queue })
    }

    /// Opens both with their writers on the caller's thread, and spawns what wakes them.
    ///
    /// # Errors
    /// As [`Stores::on_threads`].
    pub fn inline(config: &Config, rim: &Rim) -> Result<Self, OpenError> {
        let (gateway, pump) =
            with_ballast(config, || Gateway::open_inline(gateway_options(config), &rim.clock, &*rim.random))?;
        tokio::spawn(pump);
        let (queue, pump) = Queue::open_inline(queue_options(config, rim), &rim.clock)?;
        tokio::spawn(pump);
        Ok(Self { gateway, queue })
    }

    /// Commits what waits and closes both cleanly.
    pub fn stop(&self) {
        self.queue.stop();
        self.gateway.stop();
    }
}

/// Opens what the queue's own opening comes after, and what it therefore cannot help: where there is no room even to open,
/// the ballast is released, once.
fn with_ballast<T>(config: &Config, open: impl Fn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let opened = open();
    if matches!(opened, Err(OpenError::NoRoom { .. })) && config.store.ballast_bytes > 0 {
        tracing::warn!("the disk is full: the ballast is released so that the daemon can start");
        Ballast::beside(&queue_file(config), config.store.ballast_bytes).release();
        return open();
    }
    opened
}

fn queue_file(config: &Config) -> PathBuf {
    config.gateway.state_dir.join("queue.db")
}

fn gateway_options(config: &Config) -> gateway::OpenOptions {
    gateway::OpenOptions::in_folder(&config.gateway.state_dir)
}

/// How the queue of this configuration is opened, with a fresh epoch.
#[must_use]
pub fn queue_options(config: &Config, rim: &Rim) -> OpenOptions {
    OpenOptions {
        path: queue_file(config),
        streams: streams(config),
        destinations: config.destinations().map(|name| DestinationSpec { name: name.to_owned() }).collect(),
        commit_window: config.store.commit_window,
        max_bytes: config.store.queue_max_bytes,
        class_quotas: class_quotas(config),
        ballast_bytes: config.store.ballast_bytes,
        flash_budget_per_day: config.store.flash_budget_per_day,
        boot: rim.clock.boot_id(),
        epoch: Epoch(rim.random.u64()),
        file_id: rim.random.u64(),
    }
}

fn class_quotas(config: &Config) -> ClassQuotas {
    let mut quotas = ClassQuotas::new();
    for (class, rows) in &config.store.max_rows {
        quotas.entry(*class).or_default().rows = Some(*rows);
    }
    for (class, bytes) in &config.store.max_bytes {
        quotas.entry(*class).or_default().bytes = Some(*bytes);
    }
    quotas
}

/// Shared by everything that holds the configuration.
pub type SharedConfig = Arc<Config>;
