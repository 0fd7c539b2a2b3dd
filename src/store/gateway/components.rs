//! Firmware components: what runs, what is wanted, how far it got (requirement D10).

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::journal::{self, NewStep};
use super::writer::{Context, Failure};
use super::{Origin, Stamp, devices};

/// Longest package name, bytes. A longer one is refused.
pub const MAX_PACKAGE: usize = 64;
/// Longest words, bytes. Longer is cut.
const MAX_WORDS: usize = 512;

/// Which component: a package of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentKey {
    /// The device's serial number.
    pub device: String,
    /// Package name, unique for the device.
    pub package: String,
}

/// How far an update of a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing under way.
    Idle,
    /// Fetching.
    Downloading,
    /// Fetched and verified.
    Downloaded,
    /// Applying, or just applied.
    Updating,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Idle, Self::Downloading, Self::Downloaded, Self::Updating];

    /// The number on disk and in reports.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The word on pages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Downloading => "DOWNLOADING",
            Self::Downloaded => "DOWNLOADED",
            Self::Updating => "UPDATING",
        }
    }
}

impl FromSql for Phase {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        Self::ALL
            .into_iter()
            .find(|p| i64::from(p.number()) == number)
            .ok_or(FromSqlError::OutOfRange(number))
    }
}

/// A component as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Which.
    pub key: ComponentKey,
    /// The version that runs, once known.
    pub version: Option<String>,
    /// The version a deployment wants, if one does.
    pub target: Option<String>,
    /// How far.
    pub phase: Phase,
    /// Why, in the cloud's numbering; 0 is nothing to say.
    pub reason: u8,
    /// The same for people.
    pub words: String,
    /// Percent of the phase.
    pub progress: u8,
    /// Attempts at the target.
    pub attempts: u32,
    /// When any of it last changed.
    pub changed: Stamp,
}

/// A new state of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentUpdate {
    /// Which.
    pub key: ComponentKey,
    /// The manifest that asked for it.
    pub deployment: Option<u64>,
    /// The version wanted.
    pub target: Option<String>,
    /// How far.
    pub phase: Phase,
    /// Why.
    pub reason: u8,
    /// The same for people. Cut at 512 bytes.
    pub words: String,
    /// Percent of the phase.
    pub progress: u8,
    /// Attempts at the target.
    pub attempts: u32,
}

/// Makes the rows of a component and its device when they are not there.
pub(super) fn ensure(tx: &Transaction<'_>, at: Stamp, key: &ComponentKey) -> Result<(), Failure> {
    if key.package.is_empty() || key.package.len() > MAX_PACKAGE {
        return Err(Failure::too_long("a package name", MAX_PACKAGE));
    }
    devices::ensure_row(tx, &key.device)?;
    tx.prepare_cached(
        "INSERT INTO components (device, package, boot, mono_ms, wall_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (device, package) DO NOTHING",
    )?
    .execute((
        &key.device,
        &key.package,
        at.boot.cast_signed(),
        at.mono_ms.cast_signed(),
        at.wall_unix_ms,
    ))?;
    Ok(())
}

/// Makes exactly these the configured components; others keep their rows and are no longer listed. Tells what changed.
pub(super) fn configure(tx: &Transaction<'_>, at: Stamp, keys: &[ComponentKey]) -> Result<bool, Failure> {
    let mut changed = false;
    let known = list(tx)?;
    for component in &known {
        if !keys.contains(&component.key) {
            changed = true;
            tx.prepare_cached("UPDATE components SET configured = 0 WHERE device = ?1 AND package = ?2")?
                .execute((&component.key.device, &component.key.package))?;
        }
    }
    for key in keys {
        if known.iter().all(|c| c.key != *key) {
            changed = true;
            ensure(tx, at, key)?;
            tx.prepare_cached("UPDATE components SET configured = 1 WHERE device = ?1 AND package = ?2")?
                .execute((&key.device, &key.package))?;
        }
    }
    Ok(changed)
}

/// Sets the version that runs. What was born elsewhere does not override what was seen here.
pub(super) fn set_version(
    tx: &Transaction<'_>,
    key: &super::ComponentKey,
    origin: Origin,
    version: &str,
    at: Stamp,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE components SET version = ?3, boot = ?4, mono_ms = ?5, wall_ms = ?6
         WHERE device = ?1 AND package = ?2 AND version IS NOT ?3
           AND (?7 = 'local' OR NOT EXISTS (SELECT 1 FROM firmware_history
                WHERE device = ?1 AND component = ?2 AND origin = 'local'))",
    )?
    .execute((
        &key.device,
        &key.package,
        version,
        at.boot.cast_signed(),
        at.mono_ms.cast_signed(),
        at.wall_unix_ms,
        origin,
    ))?;
    Ok(())
}

/// Writes a new state. A change of target, phase or reason is a transition: journaled, and in the firmware log. Tells
/// whether anything changed.
pub(super) fn set(
    tx: &Transaction<'_>,
    context: &Context,
    at: Stamp,
    update: &ComponentUpdate,
) -> Result<bool, Failure> {
    let key = &update.key;
    ensure(tx, at, key)?;
    let Some(old) = one(tx, key)? else { return Ok(false) };
    let mut words = update.words.clone();
    while words.len() > MAX_WORDS {
        words.pop();
    }
    let transition = (&old.target, old.phase, old.reason) != (&update.target, update.phase, update.reason);
    let rest = (&old.words, old.progress, old.attempts) != (&words, update.progress, update.attempts);
    if !transition && !rest {
        return Ok(false);
    }
    if transition {
        let detail = serde_json::json!({
            "version": old.version, "target": update.target, "state": update.phase.word(), "reason": update.reason,
            "words": words,
        })
        .to_string();
        let step = NewStep {
            device: &key.device,
            component: Some(&key.package),
            deployment: update.deployment,
            step: "state",
            detail: &detail,
        };
        journal::append(tx, context, at, &step)?;
    }
    tx.prepare_cached(
        "UPDATE components SET target = ?3, state = ?4, reason = ?5, words = ?6, progress = ?7, attempts = ?8,
                boot = ?9, mono_ms = ?10, wall_ms = ?11
         WHERE device = ?1 AND package = ?2",
    )?
    .execute((
        &key.device,
        &key.package,
        &update.target,
        update.phase.number(),
        update.reason,
        &words,
        update.progress.min(100),
        update.attempts,
        at.boot.cast_signed(),
        at.mono_ms.cast_signed(),
        at.wall_unix_ms,
    ))?;
    Ok(true)
}

const COLUMNS: &str =
    "device, package, version, target, state, reason, words, progress, attempts, boot, mono_ms, wall_ms";

/// The configured components, by device and package.
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<Component>> {
    let sql = format!("SELECT {COLUMNS} FROM components WHERE configured = 1 ORDER BY device, package");
    let mut rows = connection.prepare_cached(&sql)?;
    let rows = rows.query_map([], read)?;
    rows.collect()
}

fn one(connection: &Connection, key: &ComponentKey) -> rusqlite::Result<Option<Component>> {
    let sql = format!("SELECT {COLUMNS} FROM components WHERE device = ?1 AND package = ?2");
    connection.prepare_cached(&sql)?.query_row((&key.device, &key.package), read).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Component> {
    Ok(Component {
        key: ComponentKey { device: row.get(0)?, package: row.get(1)? },
        version: row.get(2)?,
        target: row.get(3)?,
        phase: row.get(4)?,
        reason: row.get(5)?,
        words: row.get(6)?,
        progress: row.get(7)?,
        attempts: row.get(8)?,
        changed: Stamp {
            boot: row.get::<_, i64>(9)?.cast_unsigned(),
            mono_ms: row.get::<_, i64>(10)?.cast_unsigned(),
            wall_unix_ms: row.get(11)?,
            wall_uncertainty_ms: None,
        },
    })
}
