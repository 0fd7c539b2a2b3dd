//! The firmware log: the one sequence a cloud pulls. Version entries, transitions of updates and board log lines, in the
//! order they were recorded; each row refers to what it is about and chains to the row before.
//!
//! **Hash of a row**, in the encoding of [`super::chain`]: `fieldgate firmware log 1`, sequence, kind, digest, prev_hash.
//! The digest of a `version` is its history hash, of a `transition` [`JournalEntry::digest`], of a `line`
//! [`BoardLine::digest`].
//!
//! Version entries and the newest row are never freed. Other rows are, oldest first, when there are more than [`KEPT`]: those
//! that every known puller has acknowledged, and those older than [`MAX_AGE_MS`], whoever lacks them. A puller is known from its
//! first acknowledgement (one of the daemon's own from its start) until it has been silent for that age. At [`MOST`] the
//! oldest go in any case, and an event says which and who lacks them. A gap in the numbers is therefore freed rows, and no
//! version: the history's own chain has no gaps. Who comes by later is told how many were skipped.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::chain::{self, Break, Canon, Chain, Chained};
use super::writer::{Context, Failure};
use super::{
    CursorError, FileId, GatewayError, GatewayId, Hash, Head, HistoryEntry, JournalEntry, Stamp, cursor,
    history, journal,
};

/// Most rows a page.
pub const MAX_PAGE: u32 = 200;
/// A page ends before it grows beyond about this many bytes of text, but never before its first row.
pub const MAX_PAGE_BYTES: usize = 128 * 1024;
/// So many transitions and lines are kept in any case; older ones may be freed, some at a time.
pub const KEPT: i64 = if cfg!(test) { 256 } else { 4096 };
/// There are never more than so many, and what is freed at once.
pub const MOST: i64 = 2 * KEPT;
pub(super) const FREED_AT_ONCE: i64 = KEPT / 16;
/// After so long, 90 days in ms of wall time, nobody is waited for.
pub const MAX_AGE_MS: i64 = 90 * 86_400_000;
/// A puller that asks and has nothing new is noted as alive at most so often, ms.
const ALIVE_MS: i64 = 86_400_000;
/// Longest board log line, bytes. Longer is refused.
pub const MAX_LINE: usize = 1024;
/// Most pullers. More are refused: each of them is somebody's configuration.
pub const MAX_PULLERS: i64 = 32;

/// One row of the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogEntry {
    /// From 1; gaps are freed rows.
    pub sequence: u64,
    /// What it is about.
    #[serde(flatten)]
    pub body: LogBody,
    /// The hash of the row before, freed or not.
    pub prev_hash: Hash,
    /// The hash of this row.
    pub hash: Hash,
}

/// What a row of the log is about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", content = "entry", rename_all = "snake_case")]
pub enum LogBody {
    /// A version runs.
    Version(HistoryEntry),
    /// An update took a step.
    Transition(JournalEntry),
    /// A board said something.
    Line(BoardLine),
}

/// A board's own log line.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BoardLine {
    /// The device's serial number.
    pub device: String,
    /// What it said.
    pub text: String,
    /// When it was heard.
    pub at: Stamp,
}

impl BoardLine {
    /// Its digest. Fields: `fieldgate board line 1`, device, text, boot, monotonic ms, wall ms or absent.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let mut canon = Canon::new("fieldgate board line 1");
        canon.text(&self.device);
        canon.text(&self.text);
        canon.number(self.at.boot.cast_signed());
        canon.number(self.at.mono_ms.cast_signed());
        canon.maybe_number(self.at.wall_unix_ms);
        canon.finish()
    }
}

impl LogBody {
    fn kind(&self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::Transition(_) => "transition",
            Self::Line(_) => "line",
        }
    }

    fn digest(&self) -> Hash {
        match self {
            // What the entry's own fields give, not what it claims: the log then vouches for the history too.
            Self::Version(entry) => entry.computed(),
            Self::Transition(entry) => entry.digest(),
            Self::Line(line) => line.digest(),
        }
    }
}

impl Chained for LogEntry {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn prev_hash(&self) -> Hash {
        self.prev_hash
    }

    fn hash(&self) -> Hash {
        self.hash
    }

    fn computed(&self) -> Hash {
        let mut canon = Canon::new("fieldgate firmware log 1");
        canon.number(self.sequence.cast_signed());
        canon.text(self.body.kind());
        canon.bytes(&self.body.digest().0);
        canon.bytes(&self.prev_hash.0);
        canon.finish()
    }
}

/// A page of the log: what a puller gets. Self-contained: with the pages before it, everything in it can be verified.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogPage {
    /// Whose log.
    pub gateway: GatewayId,
    /// Which file of it; the chains begin at a hash of the two.
    pub file: FileId,
    /// Oldest first.
    pub rows: Vec<LogEntry>,
    /// Where the next page begins, and what to acknowledge once this one is safe. Opaque.
    pub next: String,
    /// Whether there is a next page already.
    pub more: bool,
    /// How many rows between the cursor and the end of this page were freed before this puller came by. None was a version.
    pub skipped: u64,
    /// The newest row of the log.
    pub log_head: Head,
    /// The newest row of the history.
    pub history_head: Head,
}

/// Verifies what was pulled, page by page, from the pages alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullVerifier {
    log: Head,
    history: Head,
}

impl PullVerifier {
    /// For a puller that begins at the beginning.
    #[must_use]
    pub fn new(gateway: GatewayId, file: FileId) -> Self {
        Self { log: Chain::Log.genesis(gateway, file), history: Chain::History.genesis(gateway, file) }
    }

    /// The history as far as it was verified: keep it, and nobody can take a row back.
    #[must_use]
    pub fn history_head(&self) -> Head {
        self.history
    }

    /// Checks the page that follows those taken before.
    ///
    /// # Errors
    /// Where one of the two chains breaks.
    pub fn take(&mut self, page: &LogPage) -> Result<(), Break> {
        for row in &page.rows {
            let expected = self.log.sequence.saturating_add(1);
            if row.sequence > expected && page.skipped > 0 {
                // Freed rows: the log continues from what the row says; the history below tells whether a version was
                // among them.
                self.log = Head { sequence: row.sequence - 1, hash: row.prev_hash };
            }
            chain::follow(&mut self.log, row)?;
            if let LogBody::Version(entry) = &row.body {
                chain::follow(&mut self.history, entry)?;
            }
        }
        if page.more {
            return Ok(());
        }
        chain::reaches(self.log, page.log_head)?;
        chain::reaches(self.history, page.history_head)
    }
}

pub(super) fn append_version(
    tx: &Transaction<'_>,
    context: &Context,
    entry: &HistoryEntry,
) -> Result<(), Failure> {
    append(tx, context, LogBody::Version(entry.clone()))
}

pub(super) fn append_transition(
    tx: &Transaction<'_>,
    context: &Context,
    entry: &JournalEntry,
) -> Result<(), Failure> {
    append(tx, context, LogBody::Transition(entry.clone()))?;
    free(tx, entry.at)
}

pub(super) fn append_line(tx: &Transaction<'_>, context: &Context, line: BoardLine) -> Result<(), Failure> {
    if line.text.len() > MAX_LINE {
        return Err(Failure::too_long("a board log line", MAX_LINE));
    }
    let at = line.at;
    append(tx, context, LogBody::Line(line))?;
    free(tx, at)
}

fn append(tx: &Transaction<'_>, context: &Context, body: LogBody) -> Result<(), Failure> {
    let head = head(tx, context)?;
    let mut entry = LogEntry { sequence: head.sequence + 1, body, prev_hash: head.hash, hash: head.hash };
    entry.hash = entry.computed();
    let (mut history, mut journal, mut line) = (None, None, None);
    match &entry.body {
        LogBody::Version(version) => history = Some(version.sequence.cast_signed()),
        LogBody::Transition(transition) => journal = Some(transition.id.cast_signed()),
        LogBody::Line(said) => line = Some(serde_json::to_string(said).unwrap_or_default()),
    }
    tx.prepare_cached(
        "INSERT INTO firmware_log (sequence, kind, history, journal, line, prev_hash, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        entry.sequence.cast_signed(),
        entry.body.kind(),
        history,
        journal,
        line,
        entry.prev_hash.0,
        entry.hash.0,
    ))?;
    Ok(())
}

/// Frees the oldest transitions and lines, where there are many and nobody waits for them or there are too many.
fn free(tx: &Transaction<'_>, at: Stamp) -> Result<(), Failure> {
    let kept: i64 = tx
        .prepare_cached("SELECT count(*) FROM firmware_log WHERE kind <> 'version'")?
        .query_row([], |r| r.get(0))?;
    if kept < KEPT + FREED_AT_ONCE {
        return Ok(());
    }
    let oldest = oldest(tx)?;
    let too_old = at.wall_unix_ms.map_or(i64::MIN, |now| now.saturating_sub(MAX_AGE_MS));
    let passed = passed_by_all(tx, too_old)?;
    // What was recorded before a row is older than it, whether or not anything vouched for the clock then.
    let may_go =
        oldest.iter().rposition(|row| row.sequence <= passed || row.wall_ms.is_some_and(|at| at < too_old));
    let mut going = oldest.get(..may_go.map_or(0, |last| last + 1)).unwrap_or_default();
    if going.is_empty() && kept >= MOST {
        going = &oldest;
        if let (Some(first), Some(last)) = (going.first(), going.last()) {
            let lack = lacking(tx, last.sequence)?;
            let detail = serde_json::json!({
                "rows": going.len(), "first": first.sequence, "last": last.sequence, "not_acknowledged_by": lack,
            });
            journal::event(tx, at, "firmware_log_freed", "warning", None, &detail)?;
        }
    }
    for row in going {
        tx.prepare_cached("DELETE FROM firmware_log WHERE sequence = ?1")?.execute([row.sequence])?;
        tx.prepare_cached("DELETE FROM journal WHERE id = ?1")?.execute([row.journal])?;
    }
    Ok(())
}

/// A row that may be freed.
struct Freeable {
    sequence: i64,
    journal: Option<i64>,
    wall_ms: Option<i64>,
}

fn oldest(tx: &Transaction<'_>) -> rusqlite::Result<Vec<Freeable>> {
    tx.prepare_cached(
        "SELECT l.sequence, l.journal, coalesce(j.wall_ms, l.line ->> '$.at.wall_unix_ms')
         FROM firmware_log AS l LEFT JOIN journal AS j ON j.id = l.journal
         WHERE l.kind <> 'version' ORDER BY l.sequence LIMIT ?1",
    )?
    .query_map([FREED_AT_ONCE], |r| {
        Ok(Freeable { sequence: r.get(0)?, journal: r.get(1)?, wall_ms: r.get(2)? })
    })?
    .collect()
}

/// What every puller has that was heard of since then; nothing while there is none.
fn passed_by_all(tx: &Transaction<'_>, since_ms: i64) -> rusqlite::Result<i64> {
    let least = "SELECT min(acknowledged) FROM pullers WHERE coalesce(wall_ms, ?1) >= ?1";
    let least: Option<i64> = tx.prepare_cached(least)?.query_row([since_ms], |r| r.get(0))?;
    Ok(least.unwrap_or(0))
}

fn lacking(tx: &Transaction<'_>, sequence: i64) -> rusqlite::Result<Vec<String>> {
    tx.prepare_cached("SELECT name FROM pullers WHERE acknowledged < ?1 ORDER BY name")?
        .query_map([sequence], |r| r.get(0))?
        .collect()
}

/// The newest row, or where the chain begins.
pub(super) fn head(connection: &Connection, context: &Context) -> rusqlite::Result<Head> {
    let newest = connection
        .prepare_cached("SELECT sequence, hash FROM firmware_log ORDER BY sequence DESC LIMIT 1")?
        .query_row([], |r| Ok(Head { sequence: r.get::<_, i64>(0)?.cast_unsigned(), hash: Hash(r.get(1)?) }))
        .optional()?;
    Ok(newest.unwrap_or_else(|| Chain::Log.genesis(context.gateway, context.file)))
}

/// The page after a cursor, or the first.
pub(super) fn page(
    connection: &Connection,
    context: &Context,
    after: Option<&str>,
    limit: u32,
) -> Result<LogPage, Failure> {
    let log_head = head(connection, context)?;
    let after = match after {
        None => Chain::Log.genesis(context.gateway, context.file),
        Some(text) => cursor::resolve(connection, context, log_head, text)?,
    };
    let limit = limit.clamp(1, MAX_PAGE);
    let mut rows = rows(connection, after.sequence, limit + 1)?;
    let found = rows.len();
    rows.truncate(fitting(&rows).min(limit as usize));
    let more = rows.len() < found;
    let next = rows.last().map_or(after, |row| Head { sequence: row.sequence, hash: row.hash });
    Ok(LogPage {
        gateway: context.gateway,
        file: context.file,
        skipped: (next.sequence - after.sequence).saturating_sub(rows.len() as u64),
        next: cursor::text(context.file, next),
        rows,
        more,
        log_head,
        history_head: history::head(connection, context)?,
    })
}

/// How many of the rows make a page of bearable size.
fn fitting(rows: &[LogEntry]) -> usize {
    let mut bytes = 0;
    let fit = rows.iter().take_while(|row| {
        bytes += match &row.body {
            LogBody::Version(entry) => entry.metadata.len(),
            LogBody::Transition(entry) => entry.detail.len(),
            LogBody::Line(line) => line.text.len(),
        };
        // What surrounds the text of a row: hashes, times, names.
        bytes += 512;
        bytes <= MAX_PAGE_BYTES
    });
    fit.count().max(1)
}

/// Rows after a number, oldest first.
pub(super) fn rows(connection: &Connection, after: u64, limit: u32) -> rusqlite::Result<Vec<LogEntry>> {
    let sql = format!(
        "SELECT l.sequence, l.kind, l.line, l.prev_hash, l.hash, {}, {}
         FROM firmware_log l LEFT JOIN firmware_history h ON h.sequence = l.history LEFT JOIN journal j ON j.id = l.journal
         WHERE l.sequence > ?1 ORDER BY l.sequence LIMIT ?2",
        history::COLUMNS,
        journal::COLUMNS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((after.cast_signed(), limit), |row| {
        let kind: String = row.get(1)?;
        let body = match kind.as_str() {
            "version" => LogBody::Version(history::read(row, 5)?),
            "transition" => LogBody::Transition(journal::read(row, 19)?),
            _ => LogBody::Line(serde_json::from_str(row.get_ref(2)?.as_str()?).map_err(|e| {
                rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(e))
            })?),
        };
        Ok(LogEntry {
            sequence: row.get::<_, i64>(0)?.cast_unsigned(),
            body,
            prev_hash: Hash(row.get(3)?),
            hash: Hash(row.get(4)?),
        })
    })?;
    rows.collect()
}

/// Notes that a puller has everything up to the cursor. It never goes back: acknowledging less changes nothing, but says once
/// a day that somebody still asks.
pub(super) fn acknowledge(
    tx: &Transaction<'_>,
    context: &Context,
    at: Stamp,
    puller: &str,
    text: &str,
) -> Result<(), Failure> {
    check_puller(puller)?;
    let position = cursor::resolve(tx, context, head(tx, context)?, text)?;
    note(tx, at, puller, position.sequence)
}

/// From now on nothing is freed that this puller has not acknowledged.
pub(super) fn introduce(tx: &Transaction<'_>, at: Stamp, puller: &str) -> Result<(), Failure> {
    check_puller(puller)?;
    note(tx, at, puller, 0)
}

fn note(tx: &Transaction<'_>, at: Stamp, puller: &str, sequence: u64) -> Result<(), Failure> {
    let known: bool = tx
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM pullers WHERE name = ?1)")?
        .query_row([puller], |r| r.get(0))?;
    let pullers: i64 = tx.prepare_cached("SELECT count(*) FROM pullers")?.query_row([], |r| r.get(0))?;
    if !known && pullers >= MAX_PULLERS {
        return Err(GatewayError::TooManyPullers.into());
    }
    tx.prepare_cached(
        "INSERT INTO pullers (name, acknowledged, boot, mono_ms, wall_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (name) DO UPDATE SET acknowledged = max(acknowledged, excluded.acknowledged),
             boot = excluded.boot, mono_ms = excluded.mono_ms, wall_ms = excluded.wall_ms
         WHERE excluded.acknowledged > acknowledged OR excluded.boot <> boot OR excluded.mono_ms - mono_ms > ?6
            OR (wall_ms IS NULL AND excluded.wall_ms IS NOT NULL)",
    )?
    .execute((
        puller,
        sequence.cast_signed(),
        at.boot.cast_signed(),
        at.mono_ms.cast_signed(),
        at.wall_unix_ms,
        ALIVE_MS,
    ))?;
    Ok(())
}

/// Where a puller stands, as a cursor; `None` when it has acknowledged nothing.
pub(super) fn acknowledged(
    connection: &Connection,
    context: &Context,
    puller: &str,
) -> Result<Option<String>, Failure> {
    check_puller(puller)?;
    let sequence: Option<i64> = connection
        .prepare_cached("SELECT acknowledged FROM pullers WHERE name = ?1")?
        .query_row([puller], |r| r.get(0))
        .optional()?;
    let Some(sequence) = sequence.map(i64::cast_unsigned).filter(|n| *n > 0) else { return Ok(None) };
    let position = position(connection, context, sequence)?;
    Ok(position.map(|position| cursor::text(context.file, position)))
}

/// The row of a number as a position. Of a freed row the hash is known from the row after it; where that was freed too,
/// the position moves up to the last row before the next that is there.
pub(super) fn position(
    connection: &Connection,
    context: &Context,
    sequence: u64,
) -> rusqlite::Result<Option<Head>> {
    if sequence == 0 {
        return Ok(Some(Chain::Log.genesis(context.gateway, context.file)));
    }
    let here: Option<[u8; 32]> = connection
        .prepare_cached("SELECT hash FROM firmware_log WHERE sequence = ?1")?
        .query_row([sequence.cast_signed()], |r| r.get(0))
        .optional()?;
    if let Some(hash) = here {
        return Ok(Some(Head { sequence, hash: Hash(hash) }));
    }
    connection
        .prepare_cached(
            "SELECT sequence - 1, prev_hash FROM firmware_log WHERE sequence > ?1 ORDER BY sequence LIMIT 1",
        )?
        .query_row([sequence.cast_signed()], |r| {
            Ok(Head { sequence: r.get::<_, i64>(0)?.cast_unsigned(), hash: Hash(r.get(1)?) })
        })
        .optional()
}

fn check_puller(name: &str) -> Result<(), Failure> {
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(()) } else { Err(GatewayError::BadPullerName.into()) }
}

impl From<CursorError> for Failure {
    fn from(error: CursorError) -> Self {
        Self::Refused(GatewayError::Cursor(error))
    }
}
