//! Schema of `queue.db`, by number. Migrations only ever add; the release before this one can open the result.
//!
//! | table | one row is |
//! |---|---|
//! | `meta` | a fact about the file: its id, who wrote it, the oldest reader |
//! | `epochs` | one start of the daemon on this file; drawn at random, so a copied file repeats no identity |
//! | `destinations` | somewhere readings go; its number is a bit in `segments.routes` |
//! | `streams` | one definition of a stream; a changed definition is a new row, old readings keep theirs |
//! | `segments` | the packed readings of one (class, commit, set of destinations) |
//! | `intake` | the producing side's books of a stream |
//! | `accounts` | the consuming side's books of a (destination, stream); the stream's row carries the class |
//! | `cursors` | what a (destination, class) has settled |
//! | `drops` | readings given up for a destination: a range, a count, a reason |
//! | `gaps` | readings that were due and never accepted: a range, a count (NULL is unknown), a reason |
//! | `set_aside` | a reading a destination refuses for its content, kept for people |
//! | `told` | how much of a drop, a gap or a boot's wall time a destination was told |
//! | `corrections` | wall times of a boot that turned out to have been wrong: what was believed, what is, since when, by whom |
//! | `statements` | what a predecessor of this file held when it was found damaged |

use rusqlite_migration::{M, Migrations};

use crate::store::sqlite::FileKind;

/// `queue.db`. The page size by measurement: a commit writes three or four small pages to the log. With 20 streams and
/// 100 readings a second that is 84 bytes a reading at a window of 1 s and 27 at 5 s; pages of 4096 cost 144 and 58.
pub const KIND: FileKind = FileKind { application_id: 0x4647_5131, page_size: 1024, name: "queue.db" };

/// This release as a reader of the schema.
pub const READER: i64 = 1;

/// All migrations, oldest first.
#[must_use]
pub fn migrations() -> Migrations<'static> {
    Migrations::new(STEPS_OF_SCHEMA.iter().map(|sql| M::up(sql)).collect())
}

/// `user_version` of a file of this release.
pub const STEPS: i64 = STEPS_OF_SCHEMA.len() as i64;

const STEPS_OF_SCHEMA: [&str; 5] = [V1, V2, V3, V4, V5];

const V1: &str = "
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

CREATE TABLE epochs (
    number          INTEGER PRIMARY KEY,
    epoch           INTEGER NOT NULL UNIQUE,     -- 64 random bits, as a signed number
    boot_id         BLOB    NOT NULL,            -- the kernel's id of the boot its monotonic times count from
    first_mono_ns   INTEGER NOT NULL,
    wall_offset_ms  INTEGER,                     -- wall = monotonic + this, once trusted
    wall_uncertainty_ms INTEGER,
    last_sequences  TEXT,                        -- of the epoch before this one: JSON {group: sequence}
    clean_stop      INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE destinations (
    id       INTEGER PRIMARY KEY CHECK (id BETWEEN 0 AND 61),
    name     TEXT    NOT NULL UNIQUE,
    removed  INTEGER NOT NULL DEFAULT 0,
    announced_epoch INTEGER                      -- the last epoch whose statement it acknowledged
);

CREATE TABLE streams (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    group_name  TEXT    NOT NULL,
    device      TEXT    NOT NULL,
    class       INTEGER NOT NULL,
    unit        TEXT    NOT NULL,
    resolution_numerator   INTEGER,
    resolution_denominator INTEGER,
    alias       TEXT    NOT NULL,
    current     INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX streams_by_name ON streams (name);

CREATE TABLE segments (
    id             INTEGER PRIMARY KEY,          -- class << 48 | number
    epoch          INTEGER NOT NULL,             -- epochs.number
    routes         INTEGER NOT NULL,             -- bit n: destination n
    rows           INTEGER NOT NULL,
    first_mono_us  INTEGER NOT NULL,
    body           BLOB    NOT NULL
);

CREATE TABLE intake (
    stream         INTEGER PRIMARY KEY,
    accepted       INTEGER NOT NULL DEFAULT 0,
    refused        INTEGER NOT NULL DEFAULT 0,
    coalesced      INTEGER NOT NULL DEFAULT 0,
    missed         INTEGER NOT NULL DEFAULT 0,
    epoch          INTEGER NOT NULL DEFAULT 0,   -- epochs.number of last_sequence
    last_sequence  INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE accounts (
    destination   INTEGER NOT NULL,
    stream        INTEGER NOT NULL,
    starts_at     INTEGER NOT NULL,              -- intake.accepted when the route began, less what passed it by since
    ended_at      INTEGER,                       -- intake.accepted when the route ended, if it has
    acknowledged  INTEGER NOT NULL DEFAULT 0,
    dropped       INTEGER NOT NULL DEFAULT 0,
    set_aside     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (destination, stream)
) WITHOUT ROWID;

CREATE TABLE cursors (
    destination  INTEGER NOT NULL,
    class        INTEGER NOT NULL,
    segment      INTEGER NOT NULL,
    row          INTEGER NOT NULL,
    islands      BLOB    NOT NULL,
    PRIMARY KEY (destination, class)
) WITHOUT ROWID;

CREATE TABLE drops (
    id             INTEGER PRIMARY KEY,
    destination    INTEGER NOT NULL,
    stream         INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    epoch          INTEGER,                      -- epochs.number; NULL when the range spans several
    first_sequence INTEGER,
    last_sequence  INTEGER,
    count          INTEGER NOT NULL,
    at_epoch       INTEGER NOT NULL,
    at_mono_ns     INTEGER NOT NULL
);
CREATE INDEX drops_by_stream ON drops (destination, stream, reason);

CREATE TABLE gaps (
    id             INTEGER PRIMARY KEY,
    stream         INTEGER,                      -- NULL: every stream
    kind           TEXT    NOT NULL CHECK (kind IN ('missed', 'refused', 'coalesced')),
    reason         TEXT    NOT NULL,
    epoch          INTEGER NOT NULL,
    first_sequence INTEGER,
    last_sequence  INTEGER,
    count          INTEGER,                      -- NULL: not known
    first_mono_ns  INTEGER NOT NULL,
    last_mono_ns   INTEGER NOT NULL
);

CREATE TABLE set_aside (
    id           INTEGER PRIMARY KEY,
    destination  INTEGER NOT NULL,
    stream       INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    mono_ns      INTEGER NOT NULL,
    body         BLOB    NOT NULL,               -- a segment body of this one row
    reason       TEXT    NOT NULL,
    at_mono_ns   INTEGER NOT NULL
);

CREATE TABLE statements (
    id          INTEGER PRIMARY KEY,
    kind        TEXT    NOT NULL,
    detail      TEXT    NOT NULL,                -- JSON; null stands for unknown
    epoch       INTEGER NOT NULL,
    at_mono_ns  INTEGER NOT NULL
);
";

const V2: &str = "
CREATE TABLE told (
    destination INTEGER NOT NULL,
    kind        INTEGER NOT NULL,                -- 0 a row of drops, 1 of gaps, 2 of epochs
    record      INTEGER NOT NULL,
    count       INTEGER NOT NULL,                -- as told; of an epoch's wall time: 0 owed, 1 told
    PRIMARY KEY (destination, kind, record)
) WITHOUT ROWID;
";

/// A boot's wall time has a history. `wall_first_ms` is what readings of a corrected epoch were dated with before it was corrected:
/// they went out with `t`, and from then on none of the epoch does.
const V3: &str = "
ALTER TABLE epochs ADD COLUMN wall_known_ns INTEGER;        -- monotonic, when wall_offset_ms was said
ALTER TABLE epochs ADD COLUMN wall_source TEXT;             -- who said it; NULL was not noted
ALTER TABLE epochs ADD COLUMN wall_revision INTEGER NOT NULL DEFAULT 0; -- how often it was corrected
ALTER TABLE epochs ADD COLUMN wall_first_ms INTEGER;        -- before the first correction

CREATE TABLE corrections (
    id                 INTEGER PRIMARY KEY,
    boot_id            BLOB    NOT NULL,
    first_epoch        INTEGER NOT NULL,             -- epochs.number: all of this boot up to the correction
    last_epoch         INTEGER NOT NULL,
    at_mono_ns         INTEGER NOT NULL,             -- when it was found out
    believed_since_ns  INTEGER NOT NULL,             -- monotonic, when the old offset was last said
    old_offset_ms      INTEGER NOT NULL,
    old_uncertainty_ms INTEGER NOT NULL,
    old_source         TEXT    NOT NULL,
    new_offset_ms      INTEGER NOT NULL,
    new_uncertainty_ms INTEGER NOT NULL,
    new_source         TEXT    NOT NULL
);
";

const V4: &str = "
ALTER TABLE epochs ADD COLUMN crc INTEGER;       -- of number, epoch, boot and first time; NULL from a release without it
";

/// A release before it knows of one record a (destination, stream, reason) and adds to all it finds: it may find the sum only.
const V5: &str = "
ALTER TABLE drops ADD COLUMN extent INTEGER NOT NULL DEFAULT 0; -- 0 all between first and last, 1 not all, 2 a sum that was told
ALTER TABLE drops ADD COLUMN from_file INTEGER;   -- salvaged: the id of the file it was made in,
ALTER TABLE drops ADD COLUMN from_record INTEGER; -- and its number there
ALTER TABLE gaps ADD COLUMN from_file INTEGER;
ALTER TABLE gaps ADD COLUMN from_record INTEGER;

CREATE TRIGGER drops_with_a_range BEFORE UPDATE OF count ON drops
WHEN OLD.first_sequence IS NOT NULL OR OLD.extent = 2 OR OLD.from_file IS NOT NULL
BEGIN SELECT RAISE(IGNORE); END;
";

#[cfg(test)]
mod tests {
    #[test]
    fn the_migrations_are_valid() {
        super::migrations().validate().unwrap();
    }
}
