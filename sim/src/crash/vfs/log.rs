//! The log that the store writes again beside SQLite ([`fieldgate::store::relog`]), on the same tape and the same failing disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fieldgate::store::relog::Bytes;
use rusqlite::ffi as sys;

use super::Handle;

/// Stands in front of an open log; files of folders that nobody records pass untouched.
pub(super) fn in_front(path: &Path, file: File) -> Box<dyn Bytes> {
    match Handle::opened(path, 0, true) {
        Some(handle) => Box::new(Recorded { file, handle }),
        None => Box::new(file),
    }
}

struct Recorded {
    file: File,
    handle: Handle,
}

impl Bytes for Recorded {
    fn read_at(&mut self, into: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, into, at)
    }

    fn write_all_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let offset = usize::try_from(at).map_err(io::Error::other)?;
        let real = |part: &[u8]| match FileExt::write_all_at(&self.file, part, at) {
            Ok(()) => sys::SQLITE_OK,
            Err(_) => sys::SQLITE_IOERR_WRITE,
        };
        said(self.handle.write(offset, bytes, real))
    }

    fn sync(&mut self) -> io::Result<()> {
        let real = || match self.file.sync_all() {
            Ok(()) => sys::SQLITE_OK,
            Err(_) => sys::SQLITE_IOERR_FSYNC,
        };
        said(self.handle.sync(real))
    }
}

/// SQLite's code as the system would have said it.
fn said(code: i32) -> io::Result<()> {
    match code {
        sys::SQLITE_OK => Ok(()),
        sys::SQLITE_FULL => Err(io::ErrorKind::StorageFull.into()),
        _ => Err(io::Error::other("input/output error")),
    }
}
