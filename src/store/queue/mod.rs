//! `queue.db`: what was accepted and not yet settled, and the books that account for every reading (requirement D4).
//!
//! The promise: when [`Queue::accept`] answers `Ok`, the readings are committed and synced, and they leave the file only
//! when every destination they were routed to has acknowledged them or a drop is on record. At any moment, per
//! (destination, stream): `accepted = acknowledged + dropped + set aside + queued`, and per stream:
//! `produced = accepted + refused + coalesced + missed`.
//!
//! How it is kept:
//! - [`writer`] is a state machine and the only owner of the write connection: group commit, settlement, quotas, the
//!   states a sick disk puts it in. [`open`] brings a file from whatever state it was left in to a writer.
//! - [`segment`] is the unit on disk, [`cursor`] what a destination has settled of a class, [`books`] the counts.
//! - [`reader`] gives a destination its next readings; [`verify`] recounts everything and compares.
//! - [`look`] is how an onlooker opens and walks a file, live or a copy; [`snapshot`] makes such a copy.
//! - [`quota_policy`] says which class gives up what to stay within its own quota.
//! - [`ballast`] is the room that lets a full disk be emptied.
//! - `drops` are the records of what was given up.
//! - `damage` says what a damaged file still tells, [`statement`] how that is told, `salvage` takes its readings from its pages.
//! - `bounds` keeps records that grow with every start to a number.

pub mod ballast;
pub mod books;
mod bounds;
pub mod cursor;
mod damage;
mod drops;
mod handle;
pub mod look;
mod names;
pub mod open;
pub mod quota_policy;
pub mod reader;
mod salvage;
pub mod schema;
pub mod segment;
mod settle;
pub mod snapshot;
pub mod statement;
mod streams;
pub mod verify;
pub mod writer;

pub use books::GivenUpFor;
pub use handle::{BallastState, Flash, Queue, QueueStatus, Salvaging, Totals};
pub use open::{DestinationSpec, OpenOptions, StreamSpec};
pub use quota_policy::{ClassQuota, ClassQuotas};
pub use reader::{LossRecord, Owed, Picked, QueuedRow, Reader, RecordKind, Salvaged, Told};
pub use segment::Position;
pub use settle::{GivenUp, Outcome, SettledRow, Settlement};
pub use writer::{Accepted, Aside, AsideError, AsideMoved, Health, Refused};

/// A random 64-bit id drawn at every start of the daemon and with each new queue file; part of every reading's identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The four bytes that stand for it on the wire.
    #[must_use]
    pub fn prefix(self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.0.to_be_bytes();
        [a, b, c, d]
    }

    /// The epoch of a file that replaces a damaged one while the daemon runs: as random as this one, and different.
    #[must_use]
    pub(crate) fn successor(self, salt: u64) -> Self {
        use sha2::{Digest, Sha256};
        let digest =
            Sha256::new().chain_update(self.0.to_le_bytes()).chain_update(salt.to_le_bytes()).finalize();
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&digest[..8]);
        Self(u64::from_le_bytes(bytes))
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A destination's number in this file: its bit in a segment's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationId(pub u8);

impl DestinationId {
    /// The bit that stands for it.
    #[must_use]
    pub fn bit(self) -> i64 {
        1 << self.0.min(61)
    }
}
