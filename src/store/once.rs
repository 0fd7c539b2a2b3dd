//! A small file that one run leaves and the next takes: whole or not at all, and never twice.
//!
//! Invariants: what [`OnceFile::take`] hands over is deleted, and the deletion is on the disk, before it is handed over. A file
//! is told apart from its copies by [`FileId`], which its content is to be bound to: a copy has another.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::whole;
use crate::sabotage;

/// See the module head.
#[derive(Debug)]
pub struct OnceFile {
    path: PathBuf,
}

/// Which file it is, over renaming: its inode, and its time of birth where the file system keeps one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    inode: u64,
    /// Nanoseconds since 1970.
    born: Option<u128>,
}

impl FileId {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok(Self { inode: metadata.ino(), born: born.map(|at| at.as_nanos()) })
    }

    /// The same for the same file only.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let (inode, born) = bytes.split_at_mut(8);
        inode.copy_from_slice(&self.inode.to_le_bytes());
        born.copy_from_slice(&self.born.unwrap_or(0).to_le_bytes());
        bytes
    }
}

impl OnceFile {
    /// A file of this name in the folder, there or not.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(name) }
    }

    /// Reads the file and deletes it. `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read, or where it is not certain that it is gone: then its content is not to be used.
    pub fn take(&self) -> io::Result<Option<(FileId, Vec<u8>)>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = FileId::of(&file);
        let content = whole::contents(file);
        if !sabotage::on("record-kept") {
            fs::remove_file(&self.path)?;
            if !sabotage::on("record-unsynced") {
                whole::sync_folder_of(&self.path)?;
            }
        }
        Ok(Some((id?, content?)))
    }

    /// Writes the file, in place of one that is there. `content` is told which file it will be.
    ///
    /// # Errors
    /// Then there is no file, or the one before.
    pub fn put(&self, content: impl FnOnce(FileId) -> io::Result<Vec<u8>>) -> io::Result<()> {
        whole::replace(&self.path, |file| content(FileId::of(file)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, content: &[u8]) -> (OnceFile, FileId) {
        let file = OnceFile::new(folder, "kept");
        let mut id = None;
        file.put(|of| {
            id = Some(of);
            Ok(content.to_vec())
        })
        .unwrap();
        (file, id.unwrap())
    }

    #[test]
    fn a_file_is_taken_once_and_is_the_one_it_was_written_as() {
        let folder = tempfile::tempdir().unwrap();
        let (file, id) = written(folder.path(), b"once");
        assert_eq!(file.take().unwrap(), Some((id, b"once".to_vec())));
        assert_eq!(file.take().unwrap(), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_copy_in_its_place_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, id) = written(folder.path(), b"once");
        fs::copy(folder.path().join("kept"), folder.path().join("copy")).unwrap();
        fs::rename(folder.path().join("copy"), folder.path().join("kept")).unwrap();
        let (copy, content) = file.take().unwrap().unwrap();
        assert_eq!(content, b"once");
        assert_ne!(copy.to_bytes(), id.to_bytes());
    }

    #[test]
    fn a_newer_file_replaces_the_older_one_and_others_cannot_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let (_, older) = written(folder.path(), b"older");
        let (file, newer) = written(folder.path(), b"newer");
        assert_ne!(older, newer);
        let mode = fs::metadata(folder.path().join("kept")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(file.take().unwrap().unwrap().1, b"newer");
    }

    #[test]
    fn what_is_too_large_to_be_ours_is_refused_and_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = written(folder.path(), &vec![0; 70_000]);
        assert!(file.take().is_err());
        assert_eq!(file.take().unwrap(), None);
    }
}
