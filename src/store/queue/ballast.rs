//! Room held back on the disk so that a full disk can be emptied.
//!
//! SQLite needs room to delete: the log grows before the file shrinks. When nothing else is left the ballast is released,
//! deletes and a checkpoint run in its room, and it is taken back before readings are accepted again.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The file that holds the room.
#[derive(Clone, Debug)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// A ballast of `bytes` beside the queue file, whether or not it stands there now.
    #[must_use]
    pub fn beside(queue_file: &Path, bytes: u64) -> Self {
        Self { path: queue_file.with_file_name("ballast"), bytes }
    }

    /// How much it holds when it is held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the whole room is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|m| m.len() == self.bytes)
    }

    /// Takes the room, allocated rather than promised.
    ///
    /// # Errors
    /// When there is not that much room; nothing is held then.
    pub fn take(&self) -> io::Result<()> {
        if self.is_held() {
            return Ok(());
        }
        let taken = self.allocate();
        if taken.is_err() {
            self.release();
        }
        taken
    }

    fn allocate(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.path)?;
        let len = i64::try_from(self.bytes).map_err(io::Error::other)?;
        match nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, len) {
            Ok(()) => {}
            // Not every file system can; zeros hold the room as well on those that do not compress.
            Err(nix::errno::Errno::EOPNOTSUPP) => fill(&file, self.bytes)?,
            Err(e) => return Err(e.into()),
        }
        file.sync_all()
    }

    /// Gives the room back to the disk.
    pub fn release(&self) {
        // If it cannot be removed it held nothing that helps; the caller's retry says whether there is room.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    let zeros = [0u8; 4096];
    let mut left = bytes;
    while left > 0 {
        let n = left.min(4096);
        io::Write::write_all(&mut file, zeros.get(..usize::try_from(n).unwrap_or(4096)).unwrap_or(&zeros))?;
        left -= n;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_taken_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::beside(&dir.path().join("queue.db"), 1 << 16);
        ballast.take().unwrap();
        assert!(ballast.is_held());
        ballast.take().unwrap();
        ballast.release();
        assert!(!ballast.is_held());
    }
}
