//! The books: how many readings each stream produced, and what became of them at each destination.
//!
//! Held in memory by the writer, written in the same transaction as what they count. A destination's `accepted` is not
//! stored: it is what the stream accepted since the route began. `queued` is not stored either: it is what remains, and
//! [`super::verify`] recounts it from the segments.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::Transaction;

use super::DestinationId;
use super::drops::Drops;
use crate::reading::StreamId;

/// The producing side of one stream: `produced = accepted + refused + coalesced + missed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// Committed and synced.
    pub accepted: u64,
    /// Turned away, each with a reason on record.
    pub refused: u64,
    /// Replaced by a newer one before they were sent, where the stream says so.
    pub coalesced: u64,
    /// Due, and never came.
    pub missed: u64,
    /// The number of the epoch of `last_sequence`.
    pub epoch: i64,
    /// The newest accepted sequence.
    pub last_sequence: u64,
}

/// The consuming side of one (destination, stream).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// `Intake::accepted` when the route began, plus whatever passed while it was interrupted.
    pub starts_at: u64,
    /// `Intake::accepted` when the route ended, if it has.
    pub ended_at: Option<u64>,
    /// The destination said it has them.
    pub acknowledged: u64,
    /// Given up, each with a reason on record.
    pub dropped: u64,
    /// Refused by the destination for their content, kept aside.
    pub set_aside: u64,
}

impl Account {
    /// How many readings were accepted for this destination.
    #[must_use]
    pub fn accepted(&self, intake: &Intake) -> u64 {
        self.ended_at.unwrap_or(intake.accepted).saturating_sub(self.starts_at)
    }

    /// How many of them are still to be settled, by the books.
    #[must_use]
    pub fn queued(&self, intake: &Intake) -> u64 {
        self.accepted(intake).saturating_sub(self.acknowledged + self.dropped + self.set_aside)
    }
}

/// How many readings each destination was given up for each reason: what `dropped` is made of, all streams together.
/// Few entries, shared with whoever looks.
pub type GivenUpFor = BTreeMap<(DestinationId, Cow<'static, str>), u64>;

/// All books of a file.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// By stream.
    pub intake: BTreeMap<StreamId, Intake>,
    /// By destination and stream.
    pub accounts: BTreeMap<(DestinationId, StreamId), Account>,
    /// By destination and reason.
    pub given_up: Arc<GivenUpFor>,
}

/// What a transaction changes, so that a failed one changes nothing.
#[derive(Debug, Default)]
pub struct Changes {
    pub(super) intake: BTreeMap<StreamId, Intake>,
    pub(super) accounts: BTreeMap<(DestinationId, StreamId), Account>,
    given_up: BTreeMap<(DestinationId, &'static str), u64>,
}

impl Changes {
    /// A stream's intake, as this transaction will leave it.
    pub fn intake<'a>(&'a mut self, books: &Books, stream: StreamId) -> &'a mut Intake {
        self.intake.entry(stream).or_insert_with(|| books.intake.get(&stream).copied().unwrap_or_default())
    }

    /// An account, as this transaction will leave it.
    pub fn account<'a>(
        &'a mut self,
        books: &Books,
        destination: DestinationId,
        stream: StreamId,
    ) -> &'a mut Account {
        let key = (destination, stream);
        self.accounts.entry(key).or_insert_with(|| books.accounts.get(&key).copied().unwrap_or_default())
    }

    /// Books everything that a transaction gives up.
    pub(super) fn drop_all(&mut self, books: &Books, drops: &Drops) {
        for ((destination, stream, reason), count) in drops.counts() {
            self.account(books, destination, stream).dropped += count;
            *self.given_up.entry((destination, reason)).or_default() += count;
        }
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intake.is_empty() && self.accounts.is_empty()
    }

    /// Writes them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn write(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut intake = tx.prepare_cached(
            "INSERT INTO intake (stream, accepted, refused, coalesced, missed, epoch, last_sequence)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (stream) DO UPDATE SET accepted = ?2, refused = ?3, coalesced = ?4, missed = ?5, epoch = ?6,
                                                last_sequence = ?7",
        )?;
        for (stream, row) in &self.intake {
            intake.execute((
                stream.0,
                row.accepted.cast_signed(),
                row.refused.cast_signed(),
                row.coalesced.cast_signed(),
                row.missed.cast_signed(),
                row.epoch,
                row.last_sequence.cast_signed(),
            ))?;
        }
        let mut account = tx.prepare_cached(
            "INSERT INTO accounts (destination, stream, starts_at, ended_at, acknowledged, dropped, set_aside)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (destination, stream) DO UPDATE SET starts_at = ?3, ended_at = ?4, acknowledged = ?5,
                                                             dropped = ?6, set_aside = ?7",
        )?;
        for ((destination, stream), row) in &self.accounts {
            account.execute((
                destination.0,
                stream.0,
                row.starts_at.cast_signed(),
                row.ended_at.map(u64::cast_signed),
                row.acknowledged.cast_signed(),
                row.dropped.cast_signed(),
                row.set_aside.cast_signed(),
            ))?;
        }
        Ok(())
    }

    /// Makes them so, once the transaction is committed.
    pub fn apply(self, books: &mut Books) {
        books.intake.extend(self.intake);
        books.accounts.extend(self.accounts);
        if !self.given_up.is_empty() {
            let given_up = Arc::make_mut(&mut books.given_up);
            for ((destination, reason), count) in self.given_up {
                *given_up.entry((destination, Cow::Borrowed(reason))).or_default() += count;
            }
        }
    }
}

impl Books {
    /// Reads all books of a file.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn load(connection: &rusqlite::Connection) -> rusqlite::Result<Self> {
        let mut books = Self::default();
        let mut rows = connection.prepare(
            "SELECT stream, accepted, refused, coalesced, missed, epoch, last_sequence FROM intake",
        )?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let intake = Intake {
                accepted: count(row, 1)?,
                refused: count(row, 2)?,
                coalesced: count(row, 3)?,
                missed: count(row, 4)?,
                epoch: row.get(5)?,
                last_sequence: count(row, 6)?,
            };
            books.intake.insert(StreamId(row.get(0)?), intake);
        }
        let mut rows = connection.prepare(
            "SELECT destination, stream, starts_at, ended_at, acknowledged, dropped, set_aside FROM accounts",
        )?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let account = Account {
                starts_at: count(row, 2)?,
                ended_at: row.get::<_, Option<i64>>(3)?.is_some().then(|| count(row, 3)).transpose()?,
                acknowledged: count(row, 4)?,
                dropped: count(row, 5)?,
                set_aside: count(row, 6)?,
            };
            books.accounts.insert((DestinationId(row.get(0)?), StreamId(row.get(1)?)), account);
        }
        let mut rows = connection.prepare("SELECT destination, reason, count FROM drops")?;
        let mut rows = rows.query([])?;
        let mut given_up = GivenUpFor::new();
        while let Some(row) = rows.next()? {
            let key = (DestinationId(row.get(0)?), Cow::Owned(row.get(1)?));
            *given_up.entry(key).or_default() += count(row, 2)?;
        }
        books.given_up = Arc::new(given_up);
        Ok(books)
    }

    /// Every stream the books know.
    #[must_use]
    pub fn streams(&self) -> BTreeSet<StreamId> {
        self.intake.keys().copied().chain(self.accounts.keys().map(|(_, s)| *s)).collect()
    }
}

/// A gateway that accepts a thousand readings a second gets here in nine thousand years; a damaged page at once.
const MOST: i64 = 1 << 48;

/// A count as the file has it. What cannot be one is damage, and must not reach a sum.
fn count(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    match row.get(column)? {
        count @ 0..=MOST => Ok(count.cast_unsigned()),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}
