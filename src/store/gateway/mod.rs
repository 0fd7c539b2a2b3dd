//! `gateway.db`: who this gateway is, when it ran, which devices it serves, and which firmware ran on them (requirements
//! D4, D10, D11). Small, rarely written, and copied to a snapshot beside it.
//!
//! The promises:
//! - The file is found, or restored from its snapshot, or begun anew; opening never fails for damage. A history that
//!   begins anew says so in its first rows (`store_recreated`): it is never taken for a factory-new gateway's.
//! - The firmware history only grows. The database itself refuses everything else by trigger, and what was done behind
//!   its back is found by [`verify`], or by whoever pulled the rows, from them alone ([`chain`]).
//!
//! How it is kept:
//! - [`schema`] is the tables; [`open`] and [`snapshot`] bring the file from whatever state it was left in to a writer.
//! - `writer` is a state machine and the only owner of the write connection: one command, one transaction, one sync.
//! - [`boots`], [`devices`], [`components`], [`history`], [`journal`], [`restarts`] and [`log`] are the table families;
//!   [`cursor`] is a position in the firmware log as a puller holds it, [`pages`] the log in pages of few bytes, [`tokens`]
//!   how a puller shows that it may, `audit` what people had done, `calls` what clouds had done, `kept` what
//!   rooms keep for their next run.
//! - [`reader`] reads the file beside a daemon or without one.
//! - [`Gateway`] is what the rest of the daemon holds.

use std::fmt;

mod audit;
pub mod boots;
mod calls;
pub mod chain;
pub mod components;
pub mod cursor;
pub mod devices;
mod handle;
pub mod history;
pub mod journal;
mod kept;
pub mod log;
pub mod open;
pub mod pages;
pub mod reader;
pub mod restarts;
pub mod schema;
pub mod snapshot;
mod text;
pub mod tokens;
pub mod verify;
mod writer;

pub use audit::Audited;
pub use boots::time_floor;
pub use calls::{Begun, CallKey};
pub use chain::{Break, Hash, Head};
pub use components::{Component, ComponentKey, ComponentUpdate, Phase};
pub use cursor::CursorError;
pub use devices::{Assignment, Device, LocalDevice, RemoteDevice, Upserted};
pub use handle::{Gateway, GatewayError, GatewayStatus};
pub use history::{HistoryEntry, HistoryQuery, NewVersion, Origin, Recorded, Source};
pub use journal::JournalEntry;
pub use log::{LogBody, LogEntry, LogPage};
pub use open::OpenOptions;
pub use pages::BytePage;
pub use restarts::LaneRestart;
pub use verify::Verified;
pub use writer::GatewayHealth;

/// The gateway's identity: 128 random bits, drawn once and kept with the file and its snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(pub [u8; 16]);

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::hex(f, &self.0)
    }
}

impl fmt::Debug for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::hex(f, &self.0)
    }
}

/// Which `gateway.db` this is: 64 random bits drawn when the file was begun. A restored snapshot keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl serde::Serialize for GatewayId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for GatewayId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let written = String::deserialize(d)?;
        text::unhex(&written)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a gateway id is 32 lower-case hexadecimal digits"))
    }
}

impl serde::Serialize for FileId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for FileId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let written = String::deserialize(d)?;
        text::unhex(&written)
            .map(|bytes| Self(u64::from_be_bytes(bytes)))
            .ok_or_else(|| serde::de::Error::custom("a file id is 16 lower-case hexadecimal digits"))
    }
}

/// What opening the file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There was none, and no sign that there had ever been one.
    Made,
    /// It was there and whole.
    Found,
    /// It was lost or damaged; its snapshot took its place. What was written after the snapshot is gone.
    Restored,
    /// It and its snapshot were lost or damaged; everything begins anew.
    Recreated,
}

/// Who this gateway is in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The gateway.
    pub gateway: GatewayId,
    /// The file.
    pub file: FileId,
    /// The number of this boot of the machine, from 1.
    pub boot: u64,
    /// How the file came about.
    pub start: Start,
}

/// When something was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Which boot of the machine ([`Identity::boot`]).
    pub boot: u64,
    /// Milliseconds since that boot.
    pub mono_ms: u64,
    /// Milliseconds since 1970, if something vouched for the clock.
    pub wall_unix_ms: Option<i64>,
    /// The true time lies within ± this many milliseconds, where that was recorded.
    #[serde(default)]
    pub wall_uncertainty_ms: Option<u32>,
}

#[cfg(test)]
pub(crate) mod tests;
