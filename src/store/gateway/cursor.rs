//! A position in the firmware log as a puller holds it: opaque text that names the file, the position and the entry there.
//!
//! 58 hexadecimal digits: version (1 byte), file id (8), position (8), the first bytes of that entry's hash (8), and the
//! first bytes of the SHA-256 of all that (4). So a mangled cursor, one of another gateway and one of a log that took
//! another turn are told apart, and none of them silently skips or repeats rows. It is no secret and grants nothing.

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::writer::{Context, Failure};
use super::{FileId, Head, log, text};

/// Why a cursor is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It is not what a page gave out.
    #[error(
        "this is not a cursor: it was cut or altered on the way. Send back `next` of the last page as it was, or begin without"
    )]
    Malformed,
    /// It is of another gateway, or of a file this gateway no longer has.
    #[error(
        "this cursor is of file {theirs}, and this gateway's log is file {ours}: it belongs to another gateway, or this one lost its file. Begin without a cursor"
    )]
    Foreign {
        /// The file it is of.
        theirs: FileId,
        /// The file there is.
        ours: FileId,
    },
    /// The log has not the entry it names.
    #[error(
        "the log has no such entry at position {position} (any more): it was restored from a snapshot or is a copy that went on elsewhere. Continue from the acknowledged position, or begin without a cursor"
    )]
    Diverged {
        /// The position it names.
        position: u64,
    },
}

const VERSION: u8 = 1;
const BODY: usize = 25;
const LENGTH: usize = BODY + 4;

struct Cursor {
    file: FileId,
    sequence: u64,
    hash_prefix: [u8; 8],
}

/// The text of a position.
pub(super) fn text(file: FileId, position: Head) -> String {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.push(VERSION);
    bytes.extend_from_slice(&file.0.to_be_bytes());
    bytes.extend_from_slice(&position.sequence.to_be_bytes());
    bytes.extend_from_slice(&prefix(position));
    let check = check(&bytes);
    bytes.extend_from_slice(&check);
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The position a text stands for, if this log has it.
pub(super) fn resolve(
    connection: &Connection,
    context: &Context,
    head: Head,
    text: &str,
) -> Result<Head, Failure> {
    let cursor = parse(text).ok_or(CursorError::Malformed)?;
    if cursor.file != context.file {
        return Err(CursorError::Foreign { theirs: cursor.file, ours: context.file }.into());
    }
    let diverged = CursorError::Diverged { position: cursor.sequence };
    if cursor.sequence > head.sequence {
        return Err(diverged.into());
    }
    let position = log::position(connection, context, cursor.sequence)?.ok_or(diverged)?;
    // A freed entry whose neighbour is freed as well has left no hash to compare: the position moves up to the next row.
    if position.sequence == cursor.sequence && prefix(position) != cursor.hash_prefix {
        return Err(diverged.into());
    }
    // The page counts what was freed from where the puller stood, not from where the log continues.
    Ok(Head { sequence: cursor.sequence, hash: position.hash })
}

fn parse(written: &str) -> Option<Cursor> {
    let bytes: [u8; LENGTH] = text::unhex(written)?;
    let (body, sum) = bytes.split_at_checked(BODY)?;
    if body.first() != Some(&VERSION) || sum != check(body) {
        return None;
    }
    let word = |at: usize| -> Option<[u8; 8]> { body.get(at..at + 8)?.try_into().ok() };
    Some(Cursor {
        file: FileId(u64::from_be_bytes(word(1)?)),
        sequence: u64::from_be_bytes(word(9)?),
        hash_prefix: word(17)?,
    })
}

fn prefix(position: Head) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = position.hash.0;
    [a, b, c, d, e, f, g, h]
}

fn check(body: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(body));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::gateway::Hash;

    proptest! {
        #[test]
        fn every_position_has_one_text_that_reads_back(file: u64, sequence: u64, hash: [u8; 32]) {
            let position = Head { sequence, hash: Hash(hash) };
            let written = text(FileId(file), position);
            let cursor = parse(&written).unwrap();
            prop_assert_eq!((cursor.file, cursor.sequence), (FileId(file), sequence));
            prop_assert_eq!(cursor.hash_prefix.as_slice(), &hash[..8]);
        }

        #[test]
        fn no_text_is_taken_for_a_cursor_by_accident(written in "\\PC{0,80}|[0-9a-f]{58}|01[0-9a-f]{56}") {
            prop_assert!(parse(&written).is_none());
        }
    }
}
