//! A SQLite file layer that keeps a log of everything it is told, and fails on command.
//!
//! It stands in front of SQLite's own layer for this system and hands everything through, so locks, shared memory and the
//! write-ahead log are what is shipped: [`ffi`] is that, and the only part that speaks C. Here is what it is told to do with
//! files of a folder that somebody records ([`Recording`]); files elsewhere pass untouched. Once installed it is SQLite's
//! default layer for the rest of the process, so that the store opens its files by path as always. What the store itself
//! does to a log beside SQLite comes by through [`log`].
//!
//! State: one [`Tape`] a recorded folder, owned by its [`Recording`]; open files hold on to it. The log index (`-shm`) never
//! comes by here: it is shared memory, and nothing of it is durable.

mod ffi;
mod log;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fieldgate::store::relog;
use rusqlite::ffi as sys;

use super::disk::{Change, Disk, Event, Ino, Log};
use super::fault::Faults;

/// Folders that are recorded.
static FOLDERS: Mutex<BTreeMap<PathBuf, Shared>> = Mutex::new(BTreeMap::new());

type Shared = Arc<Mutex<Tape>>;

/// What was done to the files of one folder.
#[derive(Debug, Default)]
struct Tape {
    log: Log,
    /// Who has which name now.
    names: BTreeMap<String, Ino>,
    last_ino: Ino,
    faults: Faults,
    /// Syncs that were made to fail.
    failed_syncs: u64,
    /// Writes that found no room.
    refused_writes: u64,
}

/// SQLite's file layer could not be put in place.
#[derive(Debug, thiserror::Error)]
#[error("SQLite took no other file layer (code {0})")]
pub struct NotInstalled(i32);

/// Records what happens to the files of a folder, until dropped.
#[derive(Debug)]
pub struct Recording {
    folder: PathBuf,
    tape: Shared,
}

impl Recording {
    /// Begins with what stands in the folder, which counts as durable. `ignored` decides by name what is none of SQLite's.
    ///
    /// # Errors
    /// When the folder cannot be read, or SQLite takes no other file layer.
    pub fn of(folder: &Path) -> std::io::Result<Self> {
        ffi::install().map_err(|code| std::io::Error::other(NotInstalled(code)))?;
        relog::stand_in_front(log::in_front);
        let folder = folder.canonicalize()?;
        let mut tape = Tape::default();
        let mut base = Disk::default();
        for (name, bytes) in listed(&folder)? {
            let ino = tape.new_ino();
            tape.names.insert(name.clone(), ino);
            base.put(&name, ino, bytes);
        }
        tape.log.base = base;
        let tape = Arc::new(Mutex::new(tape));
        folders().insert(folder.clone(), Arc::clone(&tape));
        Ok(Self { folder, tape })
    }

    /// How many events there were.
    #[must_use]
    pub fn point(&self) -> usize {
        lock(&self.tape).log.events.len()
    }

    /// What the disk does to what comes next.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.tape).faults = faults;
    }

    /// What is left of the faults that were set.
    #[must_use]
    pub fn faults(&self) -> Faults {
        lock(&self.tape).faults
    }

    /// Syncs that failed and writes that found no room, so far.
    #[must_use]
    pub fn failures(&self) -> (u64, u64) {
        let tape = lock(&self.tape);
        (tape.failed_syncs, tape.refused_writes)
    }

    /// Takes in what was done to whole files beside SQLite: names that came, went, or lead to something else than was
    /// recorded. The store does such things with a sync of file and folder, so they count as durable.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn note_folder(&self) -> std::io::Result<()> {
        let found = listed(&self.folder)?;
        let mut tape = lock(&self.tape);
        let gone: Vec<String> =
            tape.names.keys().filter(|name| found.iter().all(|(n, _)| n != *name)).cloned().collect();
        for name in gone {
            tape.names.remove(&name);
            tape.log.events.push(Event::Placed(Change::Delete { name }));
        }
        for (name, bytes) in found {
            if tape.names.contains_key(&name) {
                continue;
            }
            let ino = tape.new_ino();
            tape.names.insert(name.clone(), ino);
            let placed = [Change::Create { name, ino }, Change::Write { ino, at: 0, bytes: bytes.into() }];
            tape.log.events.extend(placed.map(Event::Placed));
        }
        Ok(())
    }

    /// Ends the recording.
    #[must_use]
    pub fn finish(self) -> Log {
        std::mem::take(&mut lock(&self.tape).log)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        folders().remove(&self.folder);
    }
}

fn folders() -> MutexGuard<'static, BTreeMap<PathBuf, Shared>> {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock(tape: &Shared) -> MutexGuard<'_, Tape> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files of a folder that a power cut leaves something of, with what they hold, by name.
fn listed(folder: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let passing = name.ends_with("-shm") || name.ends_with("-probe") || name == "ballast";
        if !passing && entry.file_type()?.is_file() {
            found.push((name, std::fs::read(entry.path())?));
        }
    }
    found.sort();
    Ok(found)
}

impl Tape {
    fn new_ino(&mut self) -> Ino {
        self.last_ino += 1;
        self.last_ino
    }

    fn changed(&mut self, change: Change) {
        self.log.events.push(Event::Changed(change));
    }
}

/// The recorded folder of a path, and the name there.
fn recorded(path: &Path) -> Option<(Shared, String)> {
    let tape = folders().get(path.parent()?).cloned()?;
    Some((tape, path.file_name()?.to_string_lossy().into_owned()))
}

/// One open file of a recorded folder.
#[derive(Debug)]
struct Handle {
    tape: Shared,
    ino: Ino,
    /// SQLite's own layer syncs the folder with the first sync of a log or a journal (`UNIXFILE_DIRSYNC`).
    syncs_folder: bool,
}

impl Handle {
    /// SQLite opened a file, which existed before or not. `None` where nobody records.
    fn opened(path: &Path, flags: i32, existed: bool) -> Option<Self> {
        let (shared, name) = recorded(path)?;
        let mut tape = lock(&shared);
        let known = tape.names.get(&name).copied();
        if known.is_some() && !existed {
            tape.log.events.push(Event::Placed(Change::Delete { name: name.clone() }));
        }
        let ino = match known.filter(|_| existed) {
            Some(ino) => ino,
            None => {
                let ino = tape.new_ino();
                tape.names.insert(name.clone(), ino);
                tape.changed(Change::Create { name, ino });
                ino
            }
        };
        drop(tape);
        let logs = sys::SQLITE_OPEN_WAL | sys::SQLITE_OPEN_MAIN_JOURNAL | sys::SQLITE_OPEN_SUPER_JOURNAL;
        let syncs_folder = flags & sys::SQLITE_OPEN_CREATE != 0 && flags & logs != 0;
        Some(Self { tape: shared, ino, syncs_folder })
    }

    /// Writes through `real`, which answers with SQLite's code, as much as the disk takes.
    fn write(&self, at: usize, bytes: &[u8], real: impl FnOnce(&[u8]) -> i32) -> i32 {
        let mut tape = lock(&self.tape);
        let taken = tape.faults.write(bytes.len());
        let part = bytes.get(..taken).unwrap_or(bytes);
        if !part.is_empty() {
            let code = real(part);
            if code != sys::SQLITE_OK {
                return code;
            }
            tape.changed(Change::Write { ino: self.ino, at, bytes: part.into() });
        }
        if taken < bytes.len() {
            tape.refused_writes += 1;
            return sys::SQLITE_FULL;
        }
        sys::SQLITE_OK
    }

    fn truncate(&self, len: usize, real: impl FnOnce() -> i32) -> i32 {
        let code = real();
        if code == sys::SQLITE_OK {
            lock(&self.tape).changed(Change::Truncate { ino: self.ino, len });
        }
        code
    }

    fn sync(&mut self, real: impl FnOnce() -> i32) -> i32 {
        let mut tape = lock(&self.tape);
        if let Some(fate) = tape.faults.sync() {
            tape.failed_syncs += 1;
            tape.log.events.push(Event::SyncFailed { ino: self.ino, fate });
            return sys::SQLITE_IOERR_FSYNC;
        }
        let code = real();
        if code == sys::SQLITE_OK {
            tape.log.events.push(Event::Synced { ino: self.ino, folder: self.syncs_folder });
            self.syncs_folder = false;
        }
        code
    }
}

/// SQLite deleted a file.
fn deleted(path: &Path, folder_synced: bool) {
    let Some((shared, name)) = recorded(path) else { return };
    let mut tape = lock(&shared);
    if tape.names.remove(&name).is_some() {
        tape.changed(Change::Delete { name });
    }
    if folder_synced {
        tape.log.events.push(Event::FolderSynced);
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Playback;
    use super::*;

    fn names(disk: &Disk) -> Vec<&str> {
        disk.files().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_sqlite_does_in_a_recorded_folder_is_on_the_tape_and_plays_back_to_the_same_files() {
        let folder = tempfile::tempdir().unwrap();
        let recording = Recording::of(folder.path()).unwrap();
        let path = folder.path().join("t.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (a); INSERT INTO t VALUES (1);")
            .unwrap();
        let before = recording.point();
        connection.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert!(recording.point() > before);
        // A second connection shares the locks and the shared memory of the first.
        let second = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(second.execute_batch("PRAGMA busy_timeout=0; BEGIN IMMEDIATE").is_err());
        connection.execute_batch("ROLLBACK").unwrap();
        let found: Vec<(String, Vec<u8>)> = listed(folder.path()).unwrap();
        let log = recording.finish();
        let mut playback = Playback::of(&log);
        playback.advance_to(log.events.len());
        let disk = playback.image(&super::super::images::at(&playback, 0, 0).pop().unwrap());
        assert_eq!(names(&disk), ["t.db", "t.db-wal"]);
        for (name, bytes) in disk.files() {
            assert!(found.iter().any(|(n, b)| n == name && b == bytes), "{name}");
        }
    }

    #[test]
    fn a_commit_whose_sync_fails_is_an_error_and_a_full_disk_is_told_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let recording = Recording::of(folder.path()).unwrap();
        let connection = rusqlite::Connection::open(folder.path().join("t.db")).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (a)")
            .unwrap();
        recording.set_faults(Faults { failing_syncs: 1, ..Faults::default() });
        let error = connection.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        assert_eq!(error.sqlite_error().unwrap().extended_code, sys::SQLITE_IOERR_FSYNC);
        recording.set_faults(Faults { room_bytes: Some(100), ..Faults::default() });
        let error = connection.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        assert_eq!(error.sqlite_error().unwrap().extended_code, sys::SQLITE_FULL);
        recording.set_faults(Faults::default());
        connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(recording.failures(), (1, 1));
    }
}
