//! Power cuts on every byte: the store runs on a disk that keeps a log of what it is told, and is opened again from every
//! image that a crash can leave behind.
//!
//! - [`vfs`] is the disk: a SQLite file layer in front of the shipped one. [`fault`] makes it fail on command.
//! - [`disk`] is the pure model: what is durable after which sync. [`images`] are the choices a crash has at one point.
//! - [`queue`] and [`gateway`] live a life with one of the store's files, and write down in [`promise`] what they were answered, and
//!   when. That is the oracle: what was answered before a point must be in every image of that point.
//! - [`examine`] makes the images of a life and asks its [`Judge`] about each.
//!
//! A life that ends in a crash image can be lived on: what is examined then includes the recovery itself.
//!
//! A sync that fails leaves what it was for *clean but not on disk*, as Linux does: the recorded files keep it, so that everyone
//! on the running machine reads it, a daemon that is started again included; the model of the disk does not have it, so every
//! image of a power cut is without it, until somebody writes it again.
//!
//! Not modelled: a disk that answers a read with something else than was written (damage has its own tests), and pages that
//! the system takes out of its memory while the daemon still runs on them after a failed sync.

mod check;
pub mod disk;
mod examine;
pub mod fault;
pub mod gateway;
pub mod images;
pub mod promise;
pub mod queue;
pub mod vfs;

pub(crate) use crate::random::Dice;
pub use check::{Judge, Verdict};
pub use examine::{Sum, Told, Wanted, examine};

use std::path::Path;

/// A folder in memory where there is one: this is about what is written, not about how long a sync takes.
///
/// # Errors
/// When no folder can be made.
pub fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("fieldgate-crash-");
        builder
    };
    if memory.is_dir() { builder().tempdir_in(memory) } else { builder().tempdir() }
}
