//! A session at rest: what takes it across a restart without a handshake.

use core::fmt;

use zeroize::Zeroizing;

use crate::{ConfigError, LibraryError, Session};

/// An established session, serialised. It holds live keys and the next record numbers: keep it encrypted, and delete it
/// *before* it is taken up again, because two uses of one copy would repeat nonces and give the keys away.
/// Zeroed on drop; `Debug` shows only its length.
pub struct SavedSession(Zeroizing<Vec<u8>>);

impl SavedSession {
    /// Takes what [`Self::as_bytes`] gave; checked when it is restored.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    pub(crate) fn from_zeroizing(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The bytes to keep, about 250; with certificates the peer's is among them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SavedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedSession({} bytes)", self.0.len())
    }
}

/// Why a session was not saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// No handshake was completed, or the session is over.
    #[error("only a connected session can be saved")]
    NotConnected,
    /// Only AEAD records carry all their state in a sequence number.
    #[error("a session with {0} cannot be saved: its cipher is no AEAD")]
    NotAead(crate::CipherSuite),
    /// Events or datagrams would be lost.
    #[error("events or datagrams wait to be polled: take them first")]
    NotDrained,
    /// The last flight may still have to be repeated.
    #[error("the peer has not confirmed the end of the handshake yet: save after its first record")]
    HandshakeUnconfirmed,
    /// A certificate that nobody checked against a trusted clock is not trusted for another run.
    #[error("the peer's certificates were not checked against a trusted clock: connect anew next time")]
    TimeUnverified,
    /// Anything else.
    #[error("the session could not be serialised: {0}")]
    Library(LibraryError),
}

/// A session that could not be saved, given back unharmed.
#[derive(Debug)]
pub struct SaveRefused {
    /// The session, still in use.
    pub session: Box<Session>,
    /// Why it was refused.
    pub why: SaveError,
}

impl fmt::Display for SaveRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl std::error::Error for SaveRefused {}

/// Why a saved session cannot be taken up: make a new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The configuration itself is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Damaged, or written by another build of the library.
    #[error("the saved session is not usable: {0}; connect anew")]
    Unusable(LibraryError),
}
