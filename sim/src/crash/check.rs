//! Asking the store about one image.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::disk::Disk;

/// What one image came to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How long opening took.
    pub opened_in: Duration,
    /// Why it did not open, or did not work afterwards.
    pub unusable: Vec<String>,
    /// What was promised and is not there.
    pub lost: Vec<String>,
    /// What was settled for good and is there again.
    pub returned: Vec<String>,
    /// What is not as it was handed in, and whatever the store finds wrong with its own file.
    pub wrong: Vec<String>,
    /// Readings that will be sent twice, as is allowed.
    pub duplicates: u64,
}

/// Who knows what an image of a life must hold.
pub trait Judge: Sync {
    /// Changes when something more was promised.
    fn stage(&self, point: usize) -> usize;

    /// Opens what lies in `folder`, an image of `point`, with the shipped code, and compares. `image` is a number that no
    /// other image has.
    fn judge(&self, folder: &Path, point: usize, image: u64) -> Verdict;
}

/// Makes `folder` hold an image and nothing else. With a `stale_index`, a log index of an earlier moment lies beside each log,
/// as on a disk that wrote its pages back at some time.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn lay_out(folder: &Path, image: &Disk, stale_index: Option<&[u8]>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        std::fs::remove_file(entry?.path())?;
    }
    for (name, bytes) in image.files() {
        put(&folder.join(name), bytes)?;
        if let (Some(index), Some(main)) = (stale_index, name.strip_suffix("-wal")) {
            put(&folder.join(format!("{main}-shm")), index)?;
        }
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?.write_all(bytes)
}
