//! Small files that are replaced whole: after a power cut there is the one before or the new one, never a part of either.
//!
//! The new content goes into a file beside, which is synced, takes the place of the other in one step, and then the folder is
//! synced. Only the daemon's user may read any of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Larger ones are not ours.
pub const MOST_BYTES: u64 = 64 * 1024;

/// Reads a file. `None` where there is none.
///
/// # Errors
/// What the file system says; and [`io::ErrorKind::InvalidData`] for one larger than [`MOST_BYTES`].
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    contents(file).map(Some)
}

/// What an open file holds.
///
/// # Errors
/// As [`read`].
pub fn contents(file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 64 KiB"));
    }
    Ok(content)
}

/// Writes a file, in place of one that is there. `content` is told the file it will be.
///
/// # Errors
/// What the file system says. Then there is the one before, or none if there was none; or, where only the folder could not be
/// synced, either of them.
pub fn replace(path: &Path, content: impl FnOnce(&File) -> io::Result<Vec<u8>>) -> io::Result<()> {
    let fresh = beside(path);
    // One that a run left half-written is another file, and was read by nobody.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(&content(&file)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder_of(path)
}

/// Where the next one is written: `NAME.new`.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Has what was made, renamed or removed beside a file on the disk.
///
/// # Errors
/// What the file system says.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn whatever_a_power_cut_left_of_the_next_file_the_one_before_is_read_and_the_next_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golioth.certificate");
        assert_eq!(read(&path).unwrap(), None);
        replace(&path, |_| Ok(b"before".to_vec())).unwrap();
        for length in 0..=b"after".len() {
            let left = beside(&path);
            let mut half = OpenOptions::new().write(true).create(true).truncate(true).open(&left).unwrap();
            half.write_all(&b"after"[..length]).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(b"before".as_slice()));
        }
        replace(&path, |_| Ok(b"after".to_vec())).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some(b"after".as_slice()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_whose_content_cannot_be_made_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        replace(&path, |_| Ok(b"before".to_vec())).unwrap();
        assert!(replace(&path, |_| Err(io::ErrorKind::OutOfMemory.into())).is_err());
        assert_eq!(read(&path).unwrap().as_deref(), Some(b"before".as_slice()));
        replace(&path, |_| Ok(vec![0; 70_000])).unwrap();
        assert!(read(&path).is_err(), "too large to be ours");
    }
}
