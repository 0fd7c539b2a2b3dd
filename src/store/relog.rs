//! A log that reads well and may not be on the disk: it is written again before anything is built on it.
//!
//! When a sync fails, Linux counts the pages that it could not write as clean (fsync(2); "fsyncgate", PostgreSQL, 2018).
//! They read as if they were there, no later sync covers them, and a power cut takes them. The writer that saw its sync
//! fail writes over them. One that is started afterwards, in the same boot, knows nothing: to SQLite the checksums of
//! those frames hold, and what is accepted from then on is put behind them. When the power goes, the chain of checksums
//! ends where they were, and all that was accepted behind them is lost with them, although each of its syncs succeeded. The
//! same happens without a failed sync where a daemon is killed between a write and its sync, and the system fails to write
//! those pages later: the first sync to hear of it is one that was asked for something else.
//!
//! So whoever opens a file for writing writes its whole log again, up to what an earlier round of it left behind, each byte in
//! its place, and syncs it. What is written is
//! dirty again, whatever the system thought of it: either all of it reaches the disk, or the sync fails by name
//! ([`OpenError::Unsynced`]), nothing is built on it, and the next opening does the same again. A power cut meanwhile leaves
//! what one during the commit itself would have left: a chain that ends before what nobody was promised.
//!
//! Why not otherwise:
//! - Bringing the log home copies doubtful pages into the file, and a power cut in the midst of that leaves a file which only
//!   the log could repair that went with it.
//! - Leaving out the frames at the end would lose what had been accepted, where their sync did succeed.
//! - Asking the disk past the page cache (`O_DIRECT`) is not to be had on every file system, and says nothing of a disk's own
//!   cache.
//!
//! When: after SQLite has opened the file, which only reads its log, and before the first write of ours. A write transaction
//! is open meanwhile, so that no other process can append to the log or begin it anew: older bytes over newer ones would be
//! the very damage. Everyone who comes here holds the lock of the state folder beside it. Whoever closes the file before must
//! not bring its log home: [`super::sqlite::open_writer`] sees to that, and [`write_again`] does not change it.
//!
//! Cost: a clean stop leaves no log, and then nothing is done. After any other the log is written once, a chunk at a time; it
//! is 1 MiB as a rule and 4 MiB at most while readers keep to their time. One that somebody's long look once made longer
//! keeps its length, not its cost.
//!
//! The file itself needs none of this. What a sync of it did not cover is still in the log: that begins anew only after such
//! a sync succeeded, and is taken home from its beginning by whoever opens it after a stop that was not clean.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::fcntl::OFlag;
use rusqlite::Connection;

use super::sqlite::{self, OpenError, Trouble, suffixed};

/// Read and written at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The bytes of an open log: the seam at which a proof stands between this and the disk.
pub trait Bytes {
    /// Reads at an offset; fewer bytes than there is room for, or none at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&mut self, into: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of it at an offset.
    ///
    /// # Errors
    /// What the system says.
    fn write_all_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when everything written is on the disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;
}

impl Bytes for File {
    fn read_at(&mut self, into: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, at)
    }

    fn write_all_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// What is put in front of an open log.
pub type Layer = fn(&Path, File) -> Box<dyn Bytes>;

static LAYER: OnceLock<Layer> = OnceLock::new();

/// For whoever puts a file layer of its own in place of SQLite's, for this process and for good: it sees these writes too.
pub fn stand_in_front(layer: Layer) {
    // The first stays; a process has one such layer, as it has one for SQLite.
    let _ = LAYER.set(layer);
}

/// Makes sure that what the log of the open file at `path` holds is on the disk. See the module head.
///
/// # Errors
/// [`OpenError::Unsynced`] when the disk does not take it; [`OpenError::NoRoom`] and [`OpenError::Unreachable`] as for any
/// opening.
pub fn write_again(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    if crate::sabotage::on("trust-unsynced-log") || crate::sabotage::on("believe-failed-sync") {
        return Ok(());
    }
    write_through(connection, path, |log, file| match LAYER.get() {
        Some(layer) => layer(log, file),
        None => Box::new(file),
    })
}

fn write_through(
    connection: &Connection,
    path: &Path,
    layer: impl FnOnce(&Path, File) -> Box<dyn Bytes>,
) -> Result<(), OpenError> {
    // Where SQLite has it: it follows a link to the file, and the log is beside what that leads to.
    let named = connection.path().filter(|named| !named.is_empty());
    let log = suffixed(&named.map_or_else(|| path.to_owned(), PathBuf::from), "-wal");
    match std::fs::symlink_metadata(&log) {
        Ok(found) if found.len() > 0 => {}
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Failure::Reach(e).at(path)),
    }
    let said = |e: rusqlite::Error| OpenError::from_sqlite(path, &e);
    connection.execute_batch("BEGIN IMMEDIATE").map_err(said)?;
    let written = open(&log).and_then(|file| again(&mut *layer(&log, file)));
    let ended = connection.execute_batch("ROLLBACK").map_err(said);
    let bytes = written.map_err(|failure| failure.at(path))?;
    tracing::debug!(file = %path.display(), bytes, "the log was written again before anything is added to it");
    ended
}

#[derive(Debug)]
enum Failure {
    Reach(io::Error),
    Write(io::Error),
}

impl Failure {
    fn at(self, path: &Path) -> OpenError {
        let (Self::Reach(error) | Self::Write(error)) = &self;
        match (sqlite::trouble_of(error), &self) {
            (Trouble::Full, _) => OpenError::NoRoom { path: path.to_owned() },
            (Trouble::ReadOnly, _) | (_, Self::Reach(_)) => {
                OpenError::Unreachable { path: path.to_owned(), detail: format!("its log: {error}") }
            }
            (_, Self::Write(_)) => OpenError::Unsynced { path: path.to_owned(), detail: error.to_string() },
        }
    }
}

/// Not through a link, as SQLite does not either; and what is no plain file is nobody's log.
fn open(log: &Path) -> Result<File, Failure> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(flags.bits())
        .open(log)
        .map_err(Failure::Reach)?;
    if file.metadata().map_err(Failure::Reach)?.is_file() {
        Ok(file)
    } else {
        Err(Failure::Reach(io::Error::other("it is not a plain file")))
    }
}

/// Each byte in its place up to the end of what counts, then the sync. Answers how many there were.
fn again(log: &mut dyn Bytes) -> Result<u64, Failure> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut at, end) = (0, end(log)?);
    while at < end {
        let most = usize::try_from(end - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        match log.read_at(chunk.get_mut(..most).unwrap_or_default(), at) {
            Ok(0) => break,
            Ok(read) => {
                let bytes = chunk.get(..read).unwrap_or(&[]);
                log.write_all_at(bytes, at).map_err(Failure::Write)?;
                at += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Failure::Reach(e)),
        }
    }
    log.sync().map_err(Failure::Write)?;
    Ok(at)
}

/// Where the frames of the log's round end (SQLite file format, section 4.1): each has the two salts of the header. What is of
/// an earlier round stands behind them until it is written over, and nobody reads it.
fn end(log: &mut dyn Bytes) -> Result<u64, Failure> {
    const HEADER: u64 = 32;
    const FRAME_HEADER: u64 = 24;
    let mut header = [0; HEADER as usize];
    if !filled(log, &mut header, 0)? {
        return Ok(HEADER);
    }
    let [.., p0, p1, p2, p3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7, _, _, _, _, _, _, _, _] = header;
    let (page, salts) = (u32::from_be_bytes([p0, p1, p2, p3]), [s0, s1, s2, s3, s4, s5, s6, s7]);
    let (mut end, mut found) = (HEADER, salts);
    while filled(log, &mut found, end + 8)? && found == salts {
        end += FRAME_HEADER + u64::from(page);
    }
    Ok(end)
}

/// Reads all of it; `false` where the log ends before.
fn filled(log: &mut dyn Bytes, into: &mut [u8], at: u64) -> Result<bool, Failure> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match log.read_at(rest, at + done as u64) {
            Ok(0) => return Ok(false),
            Ok(read) => done += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Failure::Reach(e)),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::store::sqlite::{FileKind, open_writer};

    const KIND: FileKind = FileKind { application_id: 0x4647_5431, page_size: 1024, name: "t.db" };

    /// Leaves a file with `rows` commits in its log, as a kill does, and opens it again.
    fn killed(rows: usize) -> (tempfile::TempDir, PathBuf, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let c = open_writer(&path, KIND).unwrap();
        c.execute_batch("CREATE TABLE t (a)").unwrap();
        for _ in 0..rows {
            c.execute_batch("INSERT INTO t VALUES (zeroblob(900))").unwrap();
        }
        drop(c);
        let again = open_writer(&path, KIND).unwrap();
        (folder, path, again)
    }

    /// What was done to a log, in order: an offset and a length, or a sync.
    #[derive(Debug, PartialEq)]
    enum Done {
        Wrote(u64, usize),
        Synced,
    }

    struct Watched {
        file: File,
        done: Rc<RefCell<Vec<Done>>>,
        fails: Option<io::ErrorKind>,
    }

    impl Bytes for Watched {
        fn read_at(&mut self, into: &mut [u8], at: u64) -> io::Result<usize> {
            FileExt::read_at(&self.file, into, at)
        }

        fn write_all_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
            self.done.borrow_mut().push(Done::Wrote(at, bytes.len()));
            FileExt::write_all_at(&self.file, bytes, at)
        }

        fn sync(&mut self) -> io::Result<()> {
            self.done.borrow_mut().push(Done::Synced);
            self.fails.map_or(Ok(()), |kind| Err(kind.into()))
        }
    }

    fn watched(
        c: &Connection,
        path: &Path,
        fails: Option<io::ErrorKind>,
    ) -> (Vec<Done>, Result<(), OpenError>) {
        let done = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&done);
        let result = write_through(c, path, |_, file| Box::new(Watched { file, done: seen, fails }));
        (done.take(), result)
    }

    #[test]
    fn every_byte_of_the_log_is_written_again_in_its_place_and_then_synced() {
        let (_folder, path, c) = killed(150);
        let log = suffixed(&path, "-wal");
        let before = std::fs::read(&log).unwrap();
        assert!(before.len() > 2 * CHUNK_BYTES);
        let (done, result) = watched(&c, &path, None);
        result.unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), before);
        let (last, writes) = done.split_last().unwrap();
        assert_eq!(*last, Done::Synced);
        let mut end = 0;
        for write in writes {
            let Done::Wrote(at, len) = write else { panic!("synced before the end: {done:?}") };
            assert!(*at == end && *len <= CHUNK_BYTES);
            end += *len as u64;
        }
        assert_eq!(end, before.len() as u64);
        // The file is as usable as before, for us and for others.
        c.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(c.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), 151);
    }

    #[test]
    fn what_an_earlier_round_left_behind_is_not_written_again() {
        let (_folder, path, c) = killed(150);
        c.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        c.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        let log = suffixed(&path, "-wal");
        assert!(std::fs::metadata(&log).unwrap().len() > 2 * CHUNK_BYTES as u64, "an earlier round is there");
        let frames: i64 = c.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |r| r.get(1)).unwrap();
        let (done, result) = watched(&c, &path, None);
        result.unwrap();
        let all = 32 + usize::try_from(frames).unwrap() * (24 + 1024);
        assert_eq!(done, [Done::Wrote(0, all), Done::Synced]);
    }

    #[test]
    fn after_a_clean_stop_nothing_is_written() {
        let (_folder, path, c) = killed(3);
        c.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let (done, result) = watched(&c, &path, Some(io::ErrorKind::Other));
        result.unwrap();
        assert_eq!(done, []);
    }

    #[test]
    fn a_disk_that_does_not_take_it_is_told_by_name() {
        let (_folder, path, c) = killed(3);
        let answer = |kind| watched(&c, &path, Some(kind)).1;
        let failed = answer(io::ErrorKind::Other).unwrap_err();
        assert!(matches!(failed, OpenError::Unsynced { .. }), "{failed}");
        assert!(failed.to_string().contains("t.db"), "{failed}");
        assert!(matches!(answer(io::ErrorKind::StorageFull), Err(OpenError::NoRoom { .. })));
        assert!(matches!(answer(io::ErrorKind::ReadOnlyFilesystem), Err(OpenError::Unreachable { .. })));
        // No transaction is left open.
        c.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    }

    #[test]
    fn nobody_else_writes_to_the_log_meanwhile() {
        struct Intruder(File, PathBuf, Rc<RefCell<Option<bool>>>);
        impl Bytes for Intruder {
            fn read_at(&mut self, into: &mut [u8], at: u64) -> io::Result<usize> {
                FileExt::read_at(&self.0, into, at)
            }
            fn write_all_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
                let other = Connection::open(&self.1).unwrap();
                other.busy_timeout(std::time::Duration::ZERO).unwrap();
                *self.2.borrow_mut() = Some(other.execute_batch("INSERT INTO t VALUES (2)").is_ok());
                FileExt::write_all_at(&self.0, bytes, at)
            }
            fn sync(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (_folder, path, c) = killed(3);
        let wrote = Rc::new(RefCell::new(None));
        let told = Rc::clone(&wrote);
        write_through(&c, &path, |_, file| Box::new(Intruder(file, path.clone(), told))).unwrap();
        assert_eq!(wrote.take(), Some(false));
    }

    #[test]
    fn a_link_in_the_logs_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("t.db-wal"));
        std::fs::copy("/proc/self/cmdline", &target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(open(&link), Err(Failure::Reach(_))));
        assert!(matches!(open(folder.path()), Err(Failure::Reach(_))));
        assert!(open(&target).is_ok());
    }

    /// SQLite keeps the log beside what a link leads to, and so do we.
    #[test]
    fn a_file_that_is_reached_by_a_link_has_its_log_written_where_it_is() {
        let (folder, path, c) = killed(3);
        drop(c);
        let link = folder.path().join("elsewhere.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let c = open_writer(&link, KIND).unwrap();
        let (done, result) = watched(&c, &link, None);
        result.unwrap();
        assert!(matches!(done.as_slice(), [Done::Wrote(0, _), .., Done::Synced]), "{done:?}");
    }
}
