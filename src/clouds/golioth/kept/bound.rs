//! What a session's record is bound to, and why one is refused. Pure.
//!
//! The names stand within what is sealed, so that a mismatch can be told by name; endpoint and credential seal it.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::board::in_words;
use crate::sabotage;
use crate::store::once::FileId;

/// What makes a record this gateway's own, besides the endpoint and the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    /// Its own file.
    file: [u8; 24],
    /// The board's serial number, where it has one.
    board: Option<String>,
    /// The queue file.
    queue: u64,
}

impl Names {
    pub(super) fn new(file: FileId, board: Option<&str>, queue: u64) -> Self {
        Self { file: file.to_bytes(), board: board.map(Into::into), queue }
    }

    /// Whether a record of these names may be used under `now`'s.
    pub(super) fn holds(&self, now: &Self) -> Result<(), Refused> {
        match self {
            _ if self.board != now.board && !sabotage::on("any-hardware") => Err(Refused::OtherBoard),
            _ if self.queue != now.queue => Err(Refused::OtherQueue),
            _ if self.file != now.file => Err(Refused::Copy),
            _ => Ok(()),
        }
    }
}

/// Why the session of the run before is not gone on with. A new one is made in each case.
#[derive(Debug, thiserror::Error)]
pub(in crate::clouds::golioth) enum Refused {
    /// Nor is it certain that nobody else will: this process never will.
    #[error("its record cannot be read and deleted: {0}")]
    Taking(#[from] io::Error),
    #[error("its record does not open: the cloud's address or the credential is another, or it is damaged")]
    Sealed,
    #[error("its record does not read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("its record is a copy, not the file that was written")]
    Copy,
    #[error("its record was made on another board")]
    OtherBoard,
    #[error("its record was made with another identity, certificate, root, name or list of suites")]
    OtherCredential,
    #[error("its record was made beside another queue file")]
    OtherQueue,
    #[error("its record was made with another modem")]
    OtherModem,
    #[error("its record is bound to a modem, and no modem says which it is")]
    NoModem,
    #[error("nobody can tell how old it is")]
    UnknownAge,
    #[error("nothing was heard of it for {}", in_words(*.0))]
    TooOld(Duration),
    /// In the words of the DTLS library.
    #[error("{0}")]
    Unusable(String),
}

impl Refused {
    /// Of the ordinary course of things, not of somebody having moved or changed something.
    pub(in crate::clouds::golioth) fn is_ordinary(&self) -> bool {
        matches!(self, Self::UnknownAge | Self::TooOld(_))
    }
}
