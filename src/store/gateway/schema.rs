//! Schema of `gateway.db`, by number. Migrations only ever add; the release before this one can open the result.
//!
//! | table | one row is |
//! |---|---|
//! | `meta` | a fact about the file: gateway id, file id, who wrote it, the oldest reader, where its chains begin, what was spent of the data plan |
//! | `boots` | one boot of the machine; monotonic times are counted from it |
//! | `time_floor` | the newest trusted wall time ever seen: no clock of this gateway can be below it (one row) |
//! | `devices` | a device of the registry: retired, never deleted |
//! | `services` | an integration with a cloud's management plane |
//! | `assignments` | what one service knows a device as (its external id), and how far the two agree |
//! | `components` | a firmware component: what runs, what is wanted, how far it got |
//! | `firmware_history` | one version that ran; a hash chain that only grows, by the database's own triggers |
//! | `journal` | one step of an update, written before its effect |
//! | `events` | something that happened to the gateway itself, for people |
//! | `firmware_log` | the one sequence pulled by clouds: refers to history and journal, or holds a board's log line |
//! | `pullers` | how far one puller has acknowledged the firmware log |
//! | `audit` | one privileged action and its outcome |
//! | `calls` | a remote call that was begun, and its answer once there is one |
//! | `roles`, `users`, `tokens` | who may do what; passwords and tokens only as hashes |
//! | `credentials` | a device's secret, as ciphertext |
//! | `sync_bases` | the values a device and a service last agreed on |
//! | `sync_log` | one synchronisation step and its outcome |
//! | `conflicts` | a field two sides disagree on, until somebody or a rule decides |
//!
//! Monotonic times are milliseconds since the boot named beside them, wall times milliseconds since 1970 and NULL while
//! nothing vouched for the clock. Lists and maps are JSON text.

use std::sync::OnceLock;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use crate::store::sqlite::FileKind;

/// `gateway.db`.
pub const KIND: FileKind = FileKind { application_id: 0x4647_4731, page_size: 4096, name: "gateway.db" };

/// This release as a reader of the schema.
pub const READER: i64 = 1;

/// All migrations, oldest first.
#[must_use]
pub fn migrations() -> Migrations<'static> {
    Migrations::new(STEPS.iter().copied().map(M::up).collect())
}

/// How many migrations this release knows; a file may have seen more.
#[must_use]
pub fn version() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

const STEPS: [&str; 2] = [V1, V2];

/// What guards the append-only tables: a name and the text SQLite keeps for it.
pub type Guard = (String, String);

/// The triggers and guarded tables as this release makes them, by name, for comparison with a file's. Made once a process.
///
/// # Errors
/// When SQLite cannot make a database in memory.
pub fn guards() -> rusqlite::Result<&'static [Guard]> {
    static MADE: OnceLock<Vec<Guard>> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made);
    }
    let connection = Connection::open_in_memory()?;
    for step in STEPS {
        connection.execute_batch(step)?;
    }
    let made = guards_of(&connection)?;
    Ok(MADE.get_or_init(|| made))
}

/// The same of an open file.
///
/// # Errors
/// When it does not read.
pub fn guards_of(connection: &Connection) -> rusqlite::Result<Vec<Guard>> {
    let mut rows = connection.prepare(
        "SELECT name, coalesce(sql, '') FROM sqlite_schema
         WHERE type = 'trigger' OR (type = 'table' AND name IN ('firmware_history', 'firmware_log')) ORDER BY name",
    )?;
    let guards = rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    guards.collect()
}

/// Remote calls are remembered.
const V2: &str = "
CREATE TABLE calls (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    source  TEXT    NOT NULL,                      -- the link it came by
    id      TEXT    NOT NULL,                      -- the cloud's
    call    BLOB    NOT NULL,                      -- digest of method and parameters
    code    INTEGER,                               -- NULL: begun, and what became of it is not on record
    detail  TEXT,
    boot    INTEGER NOT NULL,
    mono_ms INTEGER NOT NULL,
    wall_ms INTEGER,
    UNIQUE (source, id)
) STRICT;
";

const V1: &str = "
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE boots (
    number              INTEGER PRIMARY KEY,
    boot_id             BLOB    NOT NULL UNIQUE,   -- the kernel's id
    first_mono_ms       INTEGER NOT NULL,
    last_mono_ms        INTEGER NOT NULL,
    wall_offset_ms      INTEGER,                   -- wall = monotonic + this, once trusted
    wall_uncertainty_ms INTEGER,
    starts              INTEGER NOT NULL DEFAULT 1, -- of the daemon within this boot
    clean_stop          INTEGER NOT NULL DEFAULT 0  -- its last run said goodbye
) STRICT;

CREATE TABLE time_floor (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    serial               TEXT    NOT NULL UNIQUE,  -- the device's name at every provider
    name                 TEXT,
    hardware_ids         TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(hardware_ids)),
    cohort               TEXT,
    provider_status      TEXT,
    last_online_ms       INTEGER,
    last_offline_ms      INTEGER,
    last_report_ms       INTEGER,
    expected_interval_ms INTEGER,                  -- between two reports
    battery_percent      REAL,
    signal_dbm           REAL,
    firmware_version     TEXT,                     -- set by trigger, from the history
    firmware_component   TEXT,                     -- whose version that is
    location             TEXT CHECK (location IS NULL OR json_valid(location)),
    tags                 TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(tags)),
    notes                TEXT    NOT NULL DEFAULT '',
    metadata             TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    telemetry            TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(telemetry)),
    retired              INTEGER NOT NULL DEFAULT 0 CHECK (retired IN (0, 1)),
    updated_ms           INTEGER
) STRICT;
CREATE TRIGGER devices_are_retired_never_deleted BEFORE DELETE ON devices BEGIN
    SELECT RAISE(ABORT, 'devices: a device is retired, never deleted');
END;
CREATE TRIGGER devices_keep_their_serial BEFORE UPDATE OF id, serial ON devices
WHEN NEW.serial IS NOT OLD.serial OR NEW.id IS NOT OLD.id BEGIN
    SELECT RAISE(ABORT, 'devices: the history refers to the serial number');
END;

CREATE TABLE services (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT    NOT NULL UNIQUE,
    kind     TEXT    NOT NULL,                     -- golioth, aws, azure, mqtt
    settings TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),  -- never a secret
    removed  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE assignments (
    device       INTEGER NOT NULL REFERENCES devices (id),
    service      INTEGER NOT NULL REFERENCES services (id),
    external_id  TEXT,
    sync_status  TEXT    NOT NULL DEFAULT 'never'
                 CHECK (sync_status IN ('never', 'pending', 'synced', 'conflict', 'error', 'missing_remotely')),
    sync_detail  TEXT,
    generation   INTEGER NOT NULL DEFAULT 0,
    synced_ms    INTEGER,
    PRIMARY KEY (device, service)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX assignments_by_external_id ON assignments (service, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE components (
    device      TEXT    NOT NULL,                  -- devices.serial
    package     TEXT    NOT NULL,
    configured  INTEGER NOT NULL DEFAULT 1,        -- the configuration still names it
    version     TEXT,
    target      TEXT,
    state       INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3),
    reason      INTEGER NOT NULL DEFAULT 0 CHECK (reason BETWEEN 0 AND 255),
    words       TEXT    NOT NULL DEFAULT '',       -- the same for people
    progress    INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    attempts    INTEGER NOT NULL DEFAULT 0,
    boot        INTEGER NOT NULL,
    mono_ms     INTEGER NOT NULL,
    wall_ms     INTEGER,
    PRIMARY KEY (device, package)
) STRICT, WITHOUT ROWID;

CREATE TABLE firmware_history (
    sequence            INTEGER PRIMARY KEY CHECK (sequence > 0),
    device              TEXT    NOT NULL,          -- devices.serial; no foreign key, so that nothing can cascade here
    component           TEXT    NOT NULL,
    version             TEXT    NOT NULL,
    previous_version    TEXT,
    source              TEXT    NOT NULL CHECK (source IN ('ota_update', 'manual_provision', 'factory_default')),
    origin              TEXT    NOT NULL CHECK (origin IN ('local', 'imported')),
    metadata            TEXT    NOT NULL CHECK (json_valid(metadata)),
    boot                INTEGER NOT NULL,
    mono_ms             INTEGER NOT NULL,
    wall_ms             INTEGER,
    wall_uncertainty_ms INTEGER,
    prev_hash           BLOB    NOT NULL CHECK (length(prev_hash) = 32),
    hash                BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX firmware_history_of_a_component ON firmware_history (device, component, sequence);
CREATE TRIGGER firmware_history_only_grows BEFORE INSERT ON firmware_history BEGIN
    SELECT RAISE(ABORT, 'firmware_history: this sequence exists')
        WHERE EXISTS (SELECT 1 FROM firmware_history WHERE sequence = NEW.sequence);
    SELECT RAISE(ABORT, 'firmware_history: not the next sequence')
        WHERE NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM firmware_history);
    SELECT RAISE(ABORT, 'firmware_history: prev_hash is not the hash of the newest row')
        WHERE NEW.prev_hash IS NOT coalesce(
            (SELECT hash FROM firmware_history ORDER BY sequence DESC LIMIT 1),
            (SELECT value FROM meta WHERE key = 'history_genesis'));
END;
CREATE TRIGGER firmware_history_is_never_updated BEFORE UPDATE ON firmware_history BEGIN
    SELECT RAISE(ABORT, 'firmware_history: rows are never changed');
END;
CREATE TRIGGER firmware_history_is_never_deleted BEFORE DELETE ON firmware_history BEGIN
    SELECT RAISE(ABORT, 'firmware_history: rows are never deleted');
END;
CREATE TRIGGER firmware_history_sets_the_devices_version AFTER INSERT ON firmware_history
WHEN NEW.origin = 'local' BEGIN
    UPDATE devices SET firmware_version = NEW.version, firmware_component = NEW.component WHERE serial = NEW.device;
END;
CREATE TRIGGER firmware_history_imports_where_nothing_was_born AFTER INSERT ON firmware_history
WHEN NEW.origin = 'imported' BEGIN
    UPDATE devices SET firmware_version = NEW.version, firmware_component = NEW.component
    WHERE serial = NEW.device
      AND NOT EXISTS (SELECT 1 FROM firmware_history WHERE device = NEW.device AND origin = 'local');
END;

CREATE TABLE journal (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    device     TEXT    NOT NULL,
    component  TEXT,                               -- NULL: the deployment as a whole
    deployment INTEGER,                            -- the manifest's sequence number, as a signed number
    step       TEXT    NOT NULL,
    detail     TEXT    NOT NULL CHECK (json_valid(detail)),
    boot       INTEGER NOT NULL,
    mono_ms    INTEGER NOT NULL,
    wall_ms    INTEGER
) STRICT;

CREATE TABLE events (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT    NOT NULL,
    severity TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    device   TEXT,
    detail   TEXT    NOT NULL CHECK (json_valid(detail)),
    boot     INTEGER NOT NULL,
    mono_ms  INTEGER NOT NULL,
    wall_ms  INTEGER
) STRICT;

CREATE TABLE firmware_log (
    sequence  INTEGER PRIMARY KEY CHECK (sequence > 0),
    kind      TEXT    NOT NULL CHECK (kind IN ('version', 'transition', 'line')),
    history   INTEGER UNIQUE REFERENCES firmware_history (sequence),
    journal   INTEGER UNIQUE REFERENCES journal (id),
    line      TEXT CHECK (line IS NULL OR json_valid(line)),   -- a board's log line with its stamp
    prev_hash BLOB    NOT NULL CHECK (length(prev_hash) = 32),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    CHECK ((kind = 'version') = (history IS NOT NULL)),
    CHECK ((kind = 'transition') = (journal IS NOT NULL)),
    CHECK ((kind = 'line') = (line IS NOT NULL))
) STRICT;
CREATE INDEX firmware_log_freeable ON firmware_log (sequence) WHERE kind <> 'version';
CREATE TRIGGER firmware_log_only_grows BEFORE INSERT ON firmware_log BEGIN
    SELECT RAISE(ABORT, 'firmware_log: not the next sequence')
        WHERE NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM firmware_log);
    SELECT RAISE(ABORT, 'firmware_log: prev_hash is not the hash of the newest row')
        WHERE NEW.prev_hash IS NOT coalesce(
            (SELECT hash FROM firmware_log ORDER BY sequence DESC LIMIT 1),
            (SELECT value FROM meta WHERE key = 'log_genesis'));
END;
CREATE TRIGGER firmware_log_is_never_updated BEFORE UPDATE ON firmware_log BEGIN
    SELECT RAISE(ABORT, 'firmware_log: rows are never changed');
END;
CREATE TRIGGER firmware_log_keeps_versions_and_its_head BEFORE DELETE ON firmware_log
WHEN OLD.kind = 'version' OR OLD.sequence = (SELECT max(sequence) FROM firmware_log) BEGIN
    SELECT RAISE(ABORT, 'firmware_log: version entries and the newest row are never freed');
END;

CREATE TABLE pullers (
    name             TEXT PRIMARY KEY,
    acknowledged     INTEGER NOT NULL,             -- firmware_log.sequence
    boot             INTEGER NOT NULL,
    mono_ms          INTEGER NOT NULL,
    wall_ms          INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    who     TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    target  TEXT,
    outcome TEXT    NOT NULL,
    detail  TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(detail)),
    boot    INTEGER NOT NULL,
    mono_ms INTEGER NOT NULL,
    wall_ms INTEGER
) STRICT;

CREATE TABLE roles (
    name TEXT PRIMARY KEY,
    rank INTEGER NOT NULL UNIQUE                   -- a role may do what every lower one may
) STRICT, WITHOUT ROWID;
INSERT INTO roles (name, rank) VALUES ('viewer', 1), ('technician', 2), ('admin', 3);

CREATE TABLE users (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL UNIQUE,
    role          TEXT    NOT NULL REFERENCES roles (name),
    password_hash TEXT,                            -- in the PHC string format; NULL: tokens only
    disabled      INTEGER NOT NULL DEFAULT 0,
    created_ms    INTEGER
) STRICT;

CREATE TABLE tokens (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    hash         BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),  -- SHA-256 of the token
    name         TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    user         INTEGER REFERENCES users (id),
    created_ms   INTEGER,
    expires_ms   INTEGER,
    last_used_ms INTEGER,
    revoked      INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE credentials (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    device      INTEGER NOT NULL REFERENCES devices (id),
    service     INTEGER REFERENCES services (id),
    external_id TEXT,
    kind        TEXT    NOT NULL,                  -- psk, x509
    identity    TEXT,
    key_id      TEXT    NOT NULL,                  -- which key the ciphertext is under
    nonce       BLOB    NOT NULL,
    ciphertext  BLOB    NOT NULL,
    state       TEXT    NOT NULL DEFAULT 'active' CHECK (state IN ('proving', 'active', 'retired')),
    created_ms  INTEGER,
    expires_ms  INTEGER
) STRICT;

CREATE TABLE sync_bases (
    device     INTEGER NOT NULL REFERENCES devices (id),
    service    INTEGER NOT NULL REFERENCES services (id),
    fields     TEXT    NOT NULL CHECK (json_valid(fields)),
    generation INTEGER NOT NULL,
    agreed_ms  INTEGER,
    PRIMARY KEY (device, service)
) STRICT, WITHOUT ROWID;

CREATE TABLE sync_log (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    service   INTEGER NOT NULL REFERENCES services (id),
    device    INTEGER REFERENCES devices (id),
    run       INTEGER NOT NULL,
    direction TEXT    NOT NULL CHECK (direction IN ('import', 'export')),
    operation TEXT    NOT NULL,
    outcome   TEXT    NOT NULL,
    detail    TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(detail)),
    boot      INTEGER NOT NULL,
    mono_ms   INTEGER NOT NULL,
    wall_ms   INTEGER
) STRICT;

CREATE TABLE conflicts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    service     INTEGER NOT NULL REFERENCES services (id),
    device      INTEGER NOT NULL REFERENCES devices (id),
    kind        TEXT    NOT NULL,
    field       TEXT,
    base        TEXT CHECK (base   IS NULL OR json_valid(base)),
    local       TEXT CHECK (local  IS NULL OR json_valid(local)),
    remote      TEXT CHECK (remote IS NULL OR json_valid(remote)),
    state       TEXT    NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'resolved')),
    resolution  TEXT CHECK (resolution IN ('keep_local', 'keep_remote', 'merge', 'create_copy')),
    resolved_by TEXT,
    found_ms    INTEGER,
    resolved_ms INTEGER
) STRICT;
CREATE INDEX conflicts_open ON conflicts (state, device);
";

#[cfg(test)]
mod tests {
    #[test]
    fn the_migrations_are_valid() {
        super::migrations().validate().unwrap();
    }

    #[test]
    fn every_append_only_table_has_its_guards() {
        let names: Vec<String> = super::guards().unwrap().iter().map(|(name, _)| name.clone()).collect();
        for guard in [
            "devices_are_retired_never_deleted",
            "firmware_history",
            "firmware_history_is_never_deleted",
            "firmware_history_is_never_updated",
            "firmware_history_only_grows",
            "firmware_log_keeps_versions_and_its_head",
        ] {
            assert!(names.iter().any(|n| n == guard), "{guard} is missing");
        }
    }
}
