//! What keeps a world from being made, or from going on.

use std::time::Duration;

use fieldgate::config;
use fieldgate::store::queue::Refused;
use fieldgate::store::sqlite::OpenError;

use crate::bus::BusError;
use crate::cloud::CloudError;

/// What keeps a world from being made, or from going on.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// No folder, or no runtime.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
    /// The simulated cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The simulated bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The daemon refuses its configuration.
    #[error("the configuration of the world is refused: {0}")]
    Config(#[from] config::Refused),
    /// The daemon's files do not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The daemon does not start.
    #[error("the daemon does not start: {0}")]
    Daemon(String),
    /// The queue turned readings away.
    #[error("the queue refuses a reading: {0}")]
    Refused(#[from] Refused),
    /// No stream of the configuration has this alias.
    #[error("the configuration has no stream with the alias {0:?}")]
    NoStream(String),
    /// The configuration has no destination of this name.
    #[error("the configuration has no destination {0:?}")]
    NoDestination(String),
    /// The queue was not emptied in time.
    #[error("{queued} readings are still queued for {destination} after {within:?}")]
    NotDrained {
        /// Whose.
        destination: String,
        /// How many.
        queued: u64,
        /// How long was waited.
        within: Duration,
    },
    /// The page is not answered.
    #[error("the page: {0}")]
    Page(String),
    /// The queue's file does not read.
    #[error("the queue's records cannot be read: {0}")]
    Records(#[from] rusqlite::Error),
}
