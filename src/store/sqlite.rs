//! Opening a SQLite file the one way this project does: every pragma set, then read back.
//!
//! A file that a newer release wrote is not damaged: it is refused by [`OpenError::Newer`] only when that release said so
//! (`min_reader`), never quarantined. A file that is not ours, or whose pages do not read, is [`OpenError::Damaged`]; its
//! header is looked at before SQLite is, because opening alone may change a file.
//!
//! [`trouble`] says what a failed statement means: a damaged file, a full disk, a read-only one, or some other fault.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

/// How long a writer waits for another process that writes the file: an operator's tool, for a moment.
pub const WRITER_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What distinguishes one of our files from another.
#[derive(Clone, Copy, Debug)]
pub struct FileKind {
    /// `PRAGMA application_id`.
    pub application_id: i32,
    /// Bytes a page; fixed when the file is made.
    pub page_size: u32,
    /// For messages: `queue.db`.
    pub name: &'static str,
}

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The pages do not read, or it is some other program's file.
    #[error("{path} is damaged or not a fieldgate file ({detail})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite or our own check said.
        detail: String,
    },
    /// A newer release wrote it and says this one cannot read it.
    #[error(
        "{path} was written by a newer release ({written_by}) that needs at least reader {min_reader}; this is reader \
         {ours}. Nothing was changed. Install that release again, or move the file away to start empty"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The release that wrote it.
        written_by: String,
        /// The oldest reader it allows.
        min_reader: i64,
        /// What this release is.
        ours: i64,
    },
    /// There is no room for what opening writes.
    #[error("{path} cannot be opened: there is no room on its disk. Make room; nothing of the file is lost")]
    NoRoom {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{path} cannot be opened: {detail}. Check that its folder exists and is writable by this user")]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// What it holds reads, and cannot be brought onto the disk: a sync failed before, or fails now.
    #[error(
        "{path} cannot be used: its log cannot be brought onto the disk ({detail}). A power cut now could take what was \
         accepted last. Check the disk and what the kernel says of it (dmesg); nothing is accepted before the disk takes it"
    )]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// SQLite did not take a setting that durability depends on.
    #[error(
        "{path}: SQLite answered {got} to {pragma}, not {wanted}; durability cannot be promised on this file system"
    )]
    Setting {
        /// The file.
        path: PathBuf,
        /// Which pragma.
        pragma: &'static str,
        /// What was asked for.
        wanted: String,
        /// What it is.
        got: String,
    },
}

impl OpenError {
    /// What a failed statement while opening means.
    #[must_use]
    pub fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, detail) = (path.to_owned(), error.to_string());
        match trouble(error, &path) {
            Trouble::Damage | Trouble::Doubt => Self::Damaged { path, detail },
            Trouble::Full => Self::NoRoom { path },
            Trouble::ReadOnly | Trouble::Fault => Self::Unreachable { path, detail },
        }
    }
}

/// What a failed statement says of the file and the disk beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The file itself is bad.
    Damage,
    /// The file does not take what its schema allows: it lost a part, or what we believe of it is wrong. To be looked into
    /// before it is called damage.
    Doubt,
    /// No room: the disk, a disk quota, or the file's own page limit.
    Full,
    /// The file system takes no writes.
    ReadOnly,
    /// Anything else.
    Fault,
}

/// Classifies a failed statement on the file at `path`.
///
/// SQLite names a missing byte of room only when `write` itself said so; a log index that cannot grow, a disk quota or a
/// file system that turned read-only under an open file all come as plain I/O errors. For those the disk is asked: a
/// small file is written beside ours, and what the system answers to that decides.
#[must_use]
pub fn trouble(error: &rusqlite::Error, path: &Path) -> Trouble {
    if is_damage(error) {
        return Trouble::Damage;
    }
    match primary_code(error) {
        // A writer's statements name what the file has, and keep every constraint, as long as it is what it was.
        _ if is_missing_schema(error) => Trouble::Doubt,
        Some(ffi::SQLITE_CONSTRAINT) => Trouble::Doubt,
        Some(ffi::SQLITE_FULL) => Trouble::Full,
        Some(ffi::SQLITE_READONLY) => Trouble::ReadOnly,
        Some(ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN) => match ask_disk(path) {
            Ok(()) => Trouble::Fault,
            Err(e) => trouble_of(&e),
        },
        _ => Trouble::Fault,
    }
}

/// Classifies what the operating system said.
#[must_use]
pub fn trouble_of(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::Full,
        io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
        _ => Trouble::Fault,
    }
}

/// Room left for us on the disk that holds `path`, in bytes; `None` when it does not say.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    disk_at(path).map(|(free, _)| free)
}

/// The size of the disk that holds `path`, in bytes; `None` when it does not say.
#[must_use]
pub fn disk_bytes(path: &Path) -> Option<u64> {
    disk_at(path).map(|(_, all)| all)
}

#[allow(clippy::useless_conversion, reason = "these counts have 32 bits on 32-bit ARM")]
fn disk_at(path: &Path) -> Option<(u64, u64)> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    let block = u64::from(stat.fragment_size());
    let free = u64::from(stat.blocks_available()).checked_mul(block)?;
    Some((free, u64::from(stat.blocks()).checked_mul(block)?))
}

/// As much as SQLite's log index grows by at a time.
const ASKED_BYTES: usize = 32 * 1024;

fn ask_disk(path: &Path) -> io::Result<()> {
    let asked = suffixed(path, "-probe");
    // Made anew each time: what has this name already, or where it leads, is not written to.
    match std::fs::remove_file(&asked) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let answer = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&asked)
        .and_then(|mut file| file.write_all(&[0; ASKED_BYTES]).and_then(|()| file.sync_all()));
    // Left behind it is in nobody's way: the next question removes it.
    let _ = std::fs::remove_file(&asked);
    answer
}

/// Whether SQLite says that the file itself is bad, rather than that it cannot be reached or has no room.
#[must_use]
pub fn is_damage(error: &rusqlite::Error) -> bool {
    let code = primary_code(error);
    // Nothing of ours is too big: such a length is garbage.
    let of_damage = [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_FORMAT, ffi::SQLITE_TOOBIG];
    code.is_some_and(|code| of_damage.contains(&code))
        || matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
        )
}

/// Whether the file lacks a table or column that the schema it claims has.
#[must_use]
pub fn is_missing_schema(error: &rusqlite::Error) -> bool {
    primary_code(error) == Some(ffi::SQLITE_ERROR) || matches!(error, rusqlite::Error::SqlInputError { .. })
}

/// Whether it was a sync that failed: what it was to cover may never reach the disk, whatever a later sync answers.
#[must_use]
pub fn is_failed_sync(error: &rusqlite::Error) -> bool {
    extended_code(error)
        .is_some_and(|code| [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC].contains(&code))
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|e| e.extended_code)
}

fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

/// Opens for writing, making the file when it is not there. Whoever writes to it first calls [`super::relog::write_again`].
/// Whoever closes it does not bring its log home: until then it is not known to be on the disk.
///
/// # Errors
/// See [`OpenError`].
pub fn open_writer(path: &Path, kind: FileKind) -> Result<Connection, OpenError> {
    let fresh = is_fresh(path, kind)?;
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|e| OpenError::from_sqlite(path, &e))?;
    bring_home_when_closed(&connection, false).map_err(|e| OpenError::from_sqlite(path, &e))?;
    let settle = |sql: &str| connection.execute_batch(sql).map_err(|e| OpenError::from_sqlite(path, &e));
    // Whoever made it may have been killed over it. Then the header is no witness: a journal that is still there takes back
    // what it says, and only a look through SQLite tells.
    if fresh || is_blank(&connection, path)? {
        // These three are fixed by the first table; later they can only be read. Vacuum by request: a full disk gets back
        // what was deleted, and nothing moves until then. In one transaction, so that none is there without the others.
        settle(&format!(
            "PRAGMA page_size={}; BEGIN; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA application_id={}; COMMIT;",
            kind.page_size, kind.application_id
        ))?;
    }
    settle("PRAGMA journal_mode=WAL;")?;
    let (synchronous, synchronous_code) = synchronous();
    settle(&format!("PRAGMA synchronous={synchronous};"))?;
    settle(
        "PRAGMA wal_autocheckpoint=1000; PRAGMA journal_size_limit=4194304; PRAGMA temp_store=MEMORY;
         PRAGMA cache_size=-512; PRAGMA foreign_keys=ON; PRAGMA recursive_triggers=ON; PRAGMA trusted_schema=OFF;
         PRAGMA mmap_size=0; PRAGMA cell_size_check=ON;",
    )?;
    connection.busy_timeout(WRITER_PATIENCE).map_err(|e| OpenError::from_sqlite(path, &e))?;
    let read_back = [
        ("journal_mode", "wal"),
        ("synchronous", synchronous_code),
        ("foreign_keys", "1"),
        ("recursive_triggers", "1"),
        ("trusted_schema", "0"),
    ];
    for (name, wanted) in read_back {
        let got: String = pragma_text(&connection, path, name)?;
        if got != wanted {
            return Err(OpenError::Setting {
                path: path.to_owned(),
                pragma: name,
                wanted: wanted.into(),
                got,
            });
        }
    }
    Ok(connection)
}

/// Whether the last one to close the file brings its log home and deletes it, as SQLite does by itself.
///
/// # Errors
/// What SQLite says.
pub fn bring_home_when_closed(connection: &Connection, does: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !does).map(|_| ())
}

/// Whether it has no table yet.
fn is_blank(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    connection
        .query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |r| r.get(0))
        .map_err(|e| OpenError::from_sqlite(path, &e))
}

/// Looks at the header, without SQLite: whether the file has yet to be made. Anything there that is not ours is damage. One
/// page that says nothing, and no log, is what a release left that marked a new file in more than one step and was
/// killed between them: it holds no table.
///
/// # Errors
/// [`OpenError::Damaged`], [`OpenError::Unreachable`].
pub fn is_fresh(path: &Path, kind: FileKind) -> Result<bool, OpenError> {
    let damaged = |detail: String| OpenError::Damaged { path: path.to_owned(), detail };
    let unreachable = |e: &io::Error| OpenError::Unreachable { path: path.to_owned(), detail: e.to_string() };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    match std::fs::File::open(path) {
        Ok(file) => file.take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(|e| unreachable(&e))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
        Err(e) => return Err(unreachable(&e)),
    };
    if header.is_empty() {
        return match log_of(path) {
            Log::Missing | Log::Empty => Ok(true),
            Log::Garbage | Log::Plausible => Err(damaged("it is empty, but its log is not".into())),
        };
    }
    if header.iter().all(|byte| *byte == 0) && is_being_made(path) {
        return Ok(true);
    }
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(damaged("it does not begin as a database does".into()));
    }
    let id: [u8; 4] = header.get(68..72).and_then(|b| b.try_into().ok()).unwrap_or_default();
    let id = i32::from_be_bytes(id);
    let length = std::fs::metadata(path).map_err(|e| unreachable(&e))?.len();
    if id == 0 && length == u64::from(kind.page_size) && matches!(log_of(path), Log::Missing | Log::Empty) {
        return Ok(true);
    }
    if id != kind.application_id {
        return Err(damaged(format!(
            "application id {id:#010x}, expected {:#010x} ({})",
            kind.application_id, kind.name
        )));
    }
    Ok(false)
}

/// SQLite file format, section 1.3: the database header.
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Whether a power cut came while the first page was written: SQLite then finds its journal, and begins anew. A file of ours
/// has a journal at no other time.
fn is_being_made(path: &Path) -> bool {
    std::fs::metadata(suffixed(path, "-journal")).is_ok_and(|journal| journal.len() > 0)
}

/// What stands beside a file as its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// Nothing: closed by its last user, or lost.
    Missing,
    /// A file of no bytes.
    Empty,
    /// Something that does not begin as a log does; SQLite passes over it in silence.
    Garbage,
    /// The beginning of a log.
    Plausible,
}

/// Looks at the log beside the file at `path` (SQLite file format, section 4.1).
#[must_use]
pub fn log_of(path: &Path) -> Log {
    let mut header = [0u8; 32];
    let Ok(mut file) = std::fs::File::open(suffixed(path, "-wal")) else { return Log::Missing };
    match file.read_exact(&mut header) {
        Ok(()) if header.starts_with(&[0x37, 0x7f, 0x06]) => Log::Plausible,
        Ok(()) => Log::Garbage,
        Err(_) if file.metadata().is_ok_and(|m| m.len() == 0) => Log::Empty,
        Err(_) => Log::Garbage,
    }
}

/// What the promise of an accepted reading rests on.
fn synchronous() -> (&'static str, &'static str) {
    if crate::sabotage::on("sync-off") {
        ("OFF", "0")
    } else if crate::sabotage::on("sync-normal") {
        ("NORMAL", "1")
    } else {
        ("FULL", "2")
    }
}

/// Opens for reading beside a live writer. Transactions on it must stay under a second, or the log cannot be reset.
///
/// # Errors
/// See [`OpenError`].
pub fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| OpenError::from_sqlite(path, &e))?;
    connection
        .execute_batch(
            "PRAGMA query_only=ON; PRAGMA cache_size=-256; PRAGMA trusted_schema=OFF; PRAGMA mmap_size=0;",
        )
        .map_err(|e| OpenError::from_sqlite(path, &e))?;
    connection
        .busy_timeout(std::time::Duration::from_secs(2))
        .map_err(|e| OpenError::from_sqlite(path, &e))?;
    Ok(connection)
}

fn pragma_text(c: &Connection, path: &Path, name: &str) -> Result<String, OpenError> {
    c.pragma_query_value(None, name, |row| {
        Ok(match row.get_ref(0)? {
            rusqlite::types::ValueRef::Integer(n) => n.to_string(),
            rusqlite::types::ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned(),
            other => format!("{other:?}"),
        })
    })
    .map_err(|e| OpenError::from_sqlite(path, &e))
}

/// Moves a damaged file and its log aside, under a name that says so. The file is kept for whoever wants to look at it.
///
/// Returns the new path of the main file.
///
/// # Errors
/// When the file system refuses the rename.
pub fn quarantine(path: &Path, tag: &str) -> std::io::Result<PathBuf> {
    let mut target = suffixed(path, &format!(".damaged-{tag}"));
    let mut n = 1;
    while target.exists() {
        n += 1;
        target = suffixed(path, &format!(".damaged-{tag}-{n}"));
    }
    // The log first: a main file without its log is honest (older), a log beside a new main file is not.
    for extra in ["-wal", "-shm"] {
        let from = suffixed(path, extra);
        if from.exists() {
            std::fs::rename(&from, suffixed(&target, extra))?;
        }
    }
    if path.exists() {
        std::fs::rename(path, &target)?;
    }
    sync_folder(path)?;
    Ok(target)
}

/// Makes a rename or a new name in this path's folder durable.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// The path with `suffix` appended to its file name.
#[must_use]
pub fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: FileKind = FileKind { application_id: 0x4647_5431, page_size: 1024, name: "t.db" };

    #[test]
    fn a_new_file_gets_its_page_size_and_application_id_before_its_first_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let c = open_writer(&path, KIND).unwrap();
        c.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1);").unwrap();
        drop(c);
        let c = open_writer(&path, KIND).unwrap();
        assert_eq!(pragma_text(&c, &path, "page_size").unwrap(), "1024");
        assert_eq!(pragma_text(&c, &path, "application_id").unwrap(), KIND.application_id.to_string());
        assert_eq!(pragma_text(&c, &path, "auto_vacuum").unwrap(), "2");
    }

    #[test]
    fn a_link_where_the_disk_is_asked_is_removed_and_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("t.db"), dir.path().join("victim"));
        std::fs::copy("/proc/self/cmdline", &victim).unwrap();
        let before = std::fs::read(&victim).unwrap();
        std::os::unix::fs::symlink(&victim, suffixed(&path, "-probe")).unwrap();
        ask_disk(&path).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), before);
        assert!(std::fs::symlink_metadata(suffixed(&path, "-probe")).is_err());
    }

    /// What a release before this one did first of all to a new file; it was followed by the application id.
    const FIRST_STEP: &str = "PRAGMA page_size=1024; PRAGMA auto_vacuum=INCREMENTAL;";

    /// A rollback journal (SQLite file format, section 3) that makes a file what it was: of so many pages, with this first one.
    #[allow(clippy::disallowed_methods, reason = "the test leaves behind what a killed process leaves")]
    fn leave_journal(path: &Path, pages: u32, first: &[u8]) {
        let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
        for field in [pages, 0, pages, 512, 1024] {
            journal.extend(field.to_be_bytes());
        }
        journal.resize(512, 0);
        if pages > 0 {
            let checksum: u32 = (24..1024).step_by(200).map(|at| u32::from(first[at])).sum();
            journal.extend([&1u32.to_be_bytes()[..], first, &checksum.to_be_bytes()].concat());
        }
        std::fs::write(suffixed(path, "-journal"), journal).unwrap();
    }

    fn assert_ours_for_good(path: &Path) {
        // The second opening is the one that matters: by then there is something to lose.
        for _ in 0..2 {
            let c = open_writer(path, KIND).unwrap();
            assert_eq!(pragma_text(&c, path, "application_id").unwrap(), KIND.application_id.to_string());
            assert_eq!(pragma_text(&c, path, "page_size").unwrap(), "1024");
            assert_eq!(pragma_text(&c, path, "auto_vacuum").unwrap(), "2");
            c.execute_batch("CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1);").unwrap();
        }
    }

    #[test]
    fn a_file_whose_making_was_cut_short_is_made_whole_whenever_that_was() {
        let made = |name: &str, sql: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            (dir, path)
        };
        // Between the steps.
        let (_dir, path) = made("t.db", FIRST_STEP);
        let half = std::fs::read(&path).unwrap();
        assert_eq!(half.len(), 1024);
        assert_ours_for_good(&path);
        // In the second: the header has the id already, and the journal takes it back.
        let both = format!("{FIRST_STEP} PRAGMA application_id={};", KIND.application_id);
        let (_dir, path) = made("t.db", &both);
        leave_journal(&path, 1, &half);
        assert_ours_for_good(&path);
        // In the one step there is now: the journal takes everything back.
        let (_dir, path) = made("t.db", &both);
        leave_journal(&path, 0, &[]);
        assert_ours_for_good(&path);
    }

    #[test]
    fn someone_elses_database_is_damage_not_ours_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a);").unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(open_writer(&path, KIND), Err(OpenError::Damaged { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before, "not a byte of it was touched");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test makes the damage")]
    fn garbage_is_damage_and_quarantine_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        std::fs::write(&path, vec![0x5au8; 8192]).unwrap();
        assert!(matches!(open_writer(&path, KIND), Err(OpenError::Damaged { .. })));
        let kept = quarantine(&path, "x").unwrap();
        assert!(!path.exists());
        assert_eq!(std::fs::metadata(kept).unwrap().len(), 8192);
        assert!(open_writer(&path, KIND).is_ok());
    }

    #[test]
    fn a_reader_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let w = open_writer(&path, KIND).unwrap();
        w.execute_batch("CREATE TABLE t (a);").unwrap();
        let r = open_reader(&path).unwrap();
        assert!(r.execute("INSERT INTO t VALUES (1)", []).is_err());
    }
}
