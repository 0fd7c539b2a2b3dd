//! Hash chains: rows that each carry the hash of the one before, so that none can be changed, removed or put between
//! others without every later hash saying so. Pure: verification needs the rows and where they begin, nothing else.
//!
//! **Canonical encoding.** A hash is SHA-256 over fields in a fixed order. A field is its length as four bytes, most
//! significant first, and then its bytes; an absent field is the length `ffffffff` alone. A number is eight bytes, two's
//! complement, most significant first; text is UTF-8; a hash is its 32 bytes. The first field names what is encoded and
//! the version of the encoding. Which fields follow is said by [`super::history`] and [`super::log`].

use std::fmt;

use sha2::{Digest, Sha256};

use super::{FileId, GatewayId, text};

/// A SHA-256 hash. As text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::hex(f, &self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::hex(f, &self.0)
    }
}

impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let written = String::deserialize(d)?;
        text::unhex(&written)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a hash is 64 lower-case hexadecimal digits"))
    }
}

/// The newest row of a chain, or where it begins (`sequence` 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// Its number.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Which chain of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// The firmware history.
    History,
    /// The firmware log.
    Log,
}

impl Chain {
    /// Where this chain of this file begins: the `prev_hash` of row 1. Fields: `fieldgate firmware history genesis 1` (or
    /// `log` for `history`), gateway id, file id (a number).
    #[must_use]
    pub fn genesis(self, gateway: GatewayId, file: FileId) -> Head {
        let mut canon = Canon::new(match self {
            Self::History => "fieldgate firmware history genesis 1",
            Self::Log => "fieldgate firmware log genesis 1",
        });
        canon.bytes(&gateway.0);
        canon.number(file.0.cast_signed());
        Head { sequence: 0, hash: canon.finish() }
    }
}

/// Where a chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// A row is missing, repeated or out of order.
    #[error("row {found} stands where row {expected} belongs: rows were removed, repeated or reordered")]
    OutOfOrder {
        /// The number that should come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// A row does not follow the one before it.
    #[error("row {sequence} does not follow the row before it: one of the two was replaced")]
    Unlinked {
        /// Its number.
        sequence: u64,
    },
    /// A row's fields are not what was hashed.
    #[error("row {sequence} was altered: its contents do not match its hash")]
    Altered {
        /// Its number.
        sequence: u64,
    },
    /// The rows end before the head that is known.
    #[error(
        "the rows end at {found}, but row {expected} is known to exist: the newest rows were removed or replaced"
    )]
    Truncated {
        /// The known head's number.
        expected: u64,
        /// The last row there is.
        found: u64,
    },
}

impl Break {
    /// The number of the row at which the chain breaks.
    #[must_use]
    pub fn at(&self) -> u64 {
        match self {
            Self::OutOfOrder { expected, .. } | Self::Truncated { expected, .. } => *expected,
            Self::Unlinked { sequence } | Self::Altered { sequence } => *sequence,
        }
    }
}

/// A row of a chain.
pub trait Chained {
    /// Its number, from 1.
    fn sequence(&self) -> u64;
    /// The hash of the row before it, as it carries it.
    fn prev_hash(&self) -> Hash;
    /// Its own hash, as it carries it.
    fn hash(&self) -> Hash;
    /// Its hash, as its fields give it.
    fn computed(&self) -> Hash;
}

/// Checks one row after `head`, and makes it the head.
///
/// # Errors
/// The first way in which it does not follow.
pub fn follow(head: &mut Head, row: &impl Chained) -> Result<(), Break> {
    let expected = head.sequence.saturating_add(1);
    if row.sequence() != expected {
        return Err(Break::OutOfOrder { expected, found: row.sequence() });
    }
    if row.prev_hash() != head.hash {
        return Err(Break::Unlinked { sequence: expected });
    }
    if row.computed() != row.hash() {
        return Err(Break::Altered { sequence: expected });
    }
    *head = Head { sequence: expected, hash: row.hash() };
    Ok(())
}

/// Checks that the rows follow each other from `from`, all of them, and returns the last. Rows cut off at the end show
/// only against a head known from elsewhere: compare it with [`reaches`].
///
/// # Errors
/// Where the chain breaks first.
pub fn verify<'a, R: Chained + 'a>(from: Head, rows: impl IntoIterator<Item = &'a R>) -> Result<Head, Break> {
    let mut head = from;
    for row in rows {
        follow(&mut head, row)?;
    }
    Ok(head)
}

/// Whether the rows that ended at `found` are those whose head is known to be `known`.
///
/// # Errors
/// [`Break::Truncated`] when they end before it, [`Break::Unlinked`] when they reach that number with another hash.
pub fn reaches(found: Head, known: Head) -> Result<(), Break> {
    if found.sequence < known.sequence {
        return Err(Break::Truncated { expected: known.sequence, found: found.sequence });
    }
    if found.sequence == known.sequence && found.hash != known.hash {
        return Err(Break::Unlinked { sequence: known.sequence });
    }
    Ok(())
}

/// Writes the canonical encoding into a hash.
pub(super) struct Canon(Sha256);

impl Canon {
    pub(super) fn new(what: &str) -> Self {
        let mut canon = Self(Sha256::new());
        canon.text(what);
        canon
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        // Longer than that no field gets: every text is bounded where it comes in.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1);
        self.0.update(length.to_be_bytes());
        self.0.update(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn number(&mut self, number: i64) {
        self.bytes(&number.to_be_bytes());
    }

    pub(super) fn maybe_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.absent(),
        }
    }

    pub(super) fn maybe_number(&mut self, number: Option<i64>) {
        match number {
            Some(number) => self.number(number),
            None => self.absent(),
        }
    }

    fn absent(&mut self) {
        self.0.update(u32::MAX.to_be_bytes());
    }

    pub(super) fn finish(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}
