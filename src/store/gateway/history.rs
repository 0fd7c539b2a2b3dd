//! The firmware history: which version ran on which component, since when, and how it got there. Append-only.
//!
//! **Hash of a row**, in the encoding of [`super::chain`]: `fieldgate firmware history 1`, sequence, device, component,
//! version, previous version or absent, source, origin, metadata (the JSON text as stored), boot, monotonic ms, wall ms or
//! absent, wall uncertainty ms or absent, prev_hash.
//!
//! "Most recent" is decided by chain order among rows born here: no clock is asked. The database's trigger then moves the
//! device's version; an imported row moves it only on a device on which nothing was born here.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension, Row, Transaction};

use super::chain::{Canon, Chain, Chained};
use super::writer::{Context, Failure};
use super::{ComponentKey, Hash, Head, Stamp, components, log};

/// Longest version text, bytes. A longer one is refused.
pub const MAX_VERSION: usize = 128;
/// Longest metadata text, bytes. Longer is refused.
pub const MAX_METADATA: usize = 2048;
/// Most rows a page.
pub const MAX_PAGE: u32 = 500;

/// How a version came to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An update this gateway carried out and proved.
    OtaUpdate,
    /// Somebody put it there: it changed without an update of ours.
    ManualProvision,
    /// It was there when the component was first seen.
    FactoryDefault,
}

impl Source {
    /// The word on disk and on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OtaUpdate => "ota_update",
            Self::ManualProvision => "manual_provision",
            Self::FactoryDefault => "factory_default",
        }
    }
}

impl ToSql for Source {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.word().into())
    }
}

impl FromSql for Source {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        [Self::OtaUpdate, Self::ManualProvision, Self::FactoryDefault]
            .into_iter()
            .find(|s| value.as_str().is_ok_and(|text| text == s.word()))
            .ok_or(FromSqlError::InvalidType)
    }
}

/// Where a row was born.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Here.
    Local,
    /// At a cloud, and brought here.
    Imported,
}

impl Origin {
    /// The word on disk and on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Imported => "imported",
        }
    }
}

impl ToSql for Origin {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.word().into())
    }
}

impl FromSql for Origin {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        [Self::Local, Self::Imported]
            .into_iter()
            .find(|o| value.as_str().is_ok_and(|text| text == o.word()))
            .ok_or(FromSqlError::InvalidType)
    }
}

/// One row of the history.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HistoryEntry {
    /// From 1, without gaps.
    pub sequence: u64,
    /// The device's serial number.
    pub device: String,
    /// Package name.
    pub component: String,
    /// The version that runs since.
    pub version: String,
    /// The version before, if one was known.
    pub previous_version: Option<String>,
    /// How it came.
    pub source: Source,
    /// Where the row was born.
    pub origin: Origin,
    /// JSON object, as text: the exact text is what was hashed. `store_recreated` marks a history that lost its past,
    /// `store_restored` one that lost what came after its snapshot.
    pub metadata: String,
    /// When it was recorded.
    pub at: Stamp,
    /// The hash of the row before; of row 1, where the chain begins.
    pub prev_hash: Hash,
    /// The hash of this row.
    pub hash: Hash,
}

impl Chained for HistoryEntry {
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
        let mut canon = Canon::new("fieldgate firmware history 1");
        canon.number(self.sequence.cast_signed());
        canon.text(&self.device);
        canon.text(&self.component);
        canon.text(&self.version);
        canon.maybe_text(self.previous_version.as_deref());
        canon.text(self.source.word());
        canon.text(self.origin.word());
        canon.text(&self.metadata);
        canon.number(self.at.boot.cast_signed());
        canon.number(self.at.mono_ms.cast_signed());
        canon.maybe_number(self.at.wall_unix_ms);
        canon.maybe_number(self.at.wall_uncertainty_ms.map(i64::from));
        canon.bytes(&self.prev_hash.0);
        canon.finish()
    }
}

/// A version to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVersion {
    /// Whose.
    pub key: ComponentKey,
    /// Which.
    pub version: String,
    /// How it came. `None` for a version that was merely seen to run: the first one seen of a component is a
    /// [`Source::FactoryDefault`], a later one a [`Source::ManualProvision`], since no update of ours brought it.
    pub source: Option<Source>,
    /// Where the row is born.
    pub origin: Origin,
    /// What else is to be known of it.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// What recording came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// That version was the newest already; nothing was written.
    Unchanged,
    /// A row was appended.
    Appended(Box<HistoryEntry>),
}

/// A page of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only this device's.
    pub device: Option<String>,
    /// Only this package's.
    pub component: Option<String>,
    /// Only rows after this number.
    pub after: u64,
    /// At most this many, and at most [`MAX_PAGE`].
    pub limit: u32,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self { device: None, component: None, after: 0, limit: MAX_PAGE }
    }
}

/// Appends a version unless it is the component's newest already; the log gets its row in the same transaction.
pub(super) fn record(
    tx: &Transaction<'_>,
    context: &Context,
    at: Stamp,
    new: &NewVersion,
) -> Result<Recorded, Failure> {
    components::ensure(tx, at, &new.key)?;
    let newest = newest_of(tx, &new.key, new.origin)?;
    if newest.as_ref().is_some_and(|(_, version)| *version == new.version) {
        components::set_version(tx, &new.key, new.origin, &new.version, at)?;
        return Ok(Recorded::Unchanged);
    }
    let head = head(tx, context)?;
    let mut metadata = new.metadata.clone();
    if new.origin == Origin::Local {
        for mark in marks(tx, newest.as_ref().map(|(sequence, _)| *sequence))? {
            metadata.insert(mark.to_owned(), true.into());
        }
    }
    let metadata = serde_json::Value::Object(metadata).to_string();
    if metadata.len() > MAX_METADATA {
        return Err(Failure::too_long("the metadata of a version", MAX_METADATA));
    }
    let seen = if newest.is_some() { Source::ManualProvision } else { Source::FactoryDefault };
    let mut entry = HistoryEntry {
        sequence: head.sequence + 1,
        device: new.key.device.clone(),
        component: new.key.package.clone(),
        version: new.version.clone(),
        previous_version: newest.map(|(_, version)| version),
        source: new.source.unwrap_or(seen),
        origin: new.origin,
        metadata,
        at,
        prev_hash: head.hash,
        hash: head.hash,
    };
    entry.hash = entry.computed();
    insert(tx, &entry)?;
    components::set_version(tx, &new.key, new.origin, &new.version, at)?;
    log::append_version(tx, context, &entry)?;
    Ok(Recorded::Appended(Box::new(entry)))
}

/// What must be said of a row because of what the file went through.
fn marks(tx: &Transaction<'_>, newest: Option<u64>) -> Result<Vec<&'static str>, Failure> {
    let meta = |key: &str| -> rusqlite::Result<Option<i64>> {
        tx.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).optional()
    };
    let mut marks = Vec::new();
    match newest {
        None if meta("recreated_boot")?.is_some() => marks.push("store_recreated"),
        Some(newest) => {
            // The first row of a component after a restore may bridge rows that were lost with the damaged file.
            if meta("restored_at_sequence")?.is_some_and(|at| newest <= at.cast_unsigned()) {
                marks.push("store_restored");
            }
        }
        None => {
            if meta("restored_at_sequence")?.is_some() {
                marks.push("store_restored");
            }
        }
    }
    Ok(marks)
}

fn newest_of(
    tx: &Transaction<'_>,
    key: &ComponentKey,
    origin: Origin,
) -> rusqlite::Result<Option<(u64, String)>> {
    tx.prepare_cached(
        "SELECT sequence, version FROM firmware_history
         WHERE device = ?1 AND component = ?2 AND origin = ?3 ORDER BY sequence DESC LIMIT 1",
    )?
    .query_row((&key.device, &key.package, origin), |r| Ok((r.get::<_, i64>(0)?.cast_unsigned(), r.get(1)?)))
    .optional()
}

fn insert(tx: &Transaction<'_>, entry: &HistoryEntry) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO firmware_history (sequence, device, component, version, previous_version, source, origin, metadata,
                                       boot, mono_ms, wall_ms, wall_uncertainty_ms, prev_hash, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute((
        entry.sequence.cast_signed(),
        &entry.device,
        &entry.component,
        &entry.version,
        &entry.previous_version,
        entry.source,
        entry.origin,
        &entry.metadata,
        entry.at.boot.cast_signed(),
        entry.at.mono_ms.cast_signed(),
        entry.at.wall_unix_ms,
        entry.at.wall_uncertainty_ms,
        entry.prev_hash.0,
        entry.hash.0,
    ))?;
    Ok(())
}

/// The columns of a row, in the order of [`read`].
pub(super) const COLUMNS: &str = "h.sequence, h.device, h.component, h.version, h.previous_version, h.source, h.origin, \
                                  h.metadata, h.boot, h.mono_ms, h.wall_ms, h.wall_uncertainty_ms, h.prev_hash, h.hash";

/// Reads a row whose first column is at `from`.
pub(super) fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<HistoryEntry> {
    Ok(HistoryEntry {
        sequence: row.get::<_, i64>(from)?.cast_unsigned(),
        device: row.get(from + 1)?,
        component: row.get(from + 2)?,
        version: row.get(from + 3)?,
        previous_version: row.get(from + 4)?,
        source: row.get(from + 5)?,
        origin: row.get(from + 6)?,
        metadata: row.get(from + 7)?,
        at: Stamp {
            boot: row.get::<_, i64>(from + 8)?.cast_unsigned(),
            mono_ms: row.get::<_, i64>(from + 9)?.cast_unsigned(),
            wall_unix_ms: row.get(from + 10)?,
            wall_uncertainty_ms: row.get(from + 11)?,
        },
        prev_hash: Hash(row.get(from + 12)?),
        hash: Hash(row.get(from + 13)?),
    })
}

/// The newest row, or where the chain begins.
pub(super) fn head(connection: &rusqlite::Connection, context: &Context) -> rusqlite::Result<Head> {
    let newest = connection
        .prepare_cached("SELECT sequence, hash FROM firmware_history ORDER BY sequence DESC LIMIT 1")?
        .query_row([], |r| Ok(Head { sequence: r.get::<_, i64>(0)?.cast_unsigned(), hash: Hash(r.get(1)?) }))
        .optional()?;
    Ok(newest.unwrap_or_else(|| Chain::History.genesis(context.gateway, context.file)))
}

/// A page, oldest first.
pub(super) fn page(
    connection: &rusqlite::Connection,
    query: &HistoryQuery,
) -> rusqlite::Result<Vec<HistoryEntry>> {
    let mut rows = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM firmware_history h
         WHERE h.sequence > ?1 AND (?2 IS NULL OR h.device = ?2) AND (?3 IS NULL OR h.component = ?3)
         ORDER BY h.sequence LIMIT ?4"
    ))?;
    let rows = rows.query_map(
        (
            query.after.min(i64::MAX.cast_unsigned()).cast_signed(),
            &query.device,
            &query.component,
            query.limit.min(MAX_PAGE),
        ),
        |row| read(row, 0),
    )?;
    rows.collect()
}
