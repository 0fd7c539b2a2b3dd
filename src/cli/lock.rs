//! The lock of the state folder, for commands that may write there: a daemon has it, or none runs while it is held.
//!
//! The folder belongs to the daemon's user, who may have put anything there, a link to somebody else's file too. So root
//! becomes that user before a file in it is opened for writing: what is made belongs to whom it should, and no link leads
//! further than that user comes anyway.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

pub(super) enum Lock {
    /// No daemon runs, and none starts while this is held.
    Ours(File),
    /// A daemon has it.
    Daemons(File),
}

/// The lock cannot be looked at.
#[derive(Debug)]
pub(super) struct NoLock {
    path: PathBuf,
    error: io::Error,
}

impl NoLock {
    pub(super) fn of(state_dir: &Path, error: io::Error) -> Self {
        Self { path: state_dir.join("lock"), error }
    }

    /// There is none: no daemon has run here.
    pub(super) fn is_missing(&self) -> bool {
        self.error.kind() == io::ErrorKind::NotFound
    }
}

impl fmt::Display for NoLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = match self.error.kind() {
            io::ErrorKind::NotFound => {
                "The daemon has not run here yet, or gateway.state_dir names another folder"
            }
            io::ErrorKind::PermissionDenied => {
                "Only root and the user the daemon runs as may. Try: sudo fieldgate …"
            }
            _ => "Check the health of the disk",
        };
        let (path, error) = (self.path.display(), &self.error);
        write!(f, "{path} cannot be locked ({error}); nothing was changed. {next}")
    }
}

/// Takes the lock, if no daemon has it.
///
/// # Errors
/// [`NoLock`].
pub(super) fn lock(state_dir: &Path) -> Result<Lock, NoLock> {
    // Made by the first start of the daemon; made here it would belong to whoever runs this.
    let open = File::options().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(state_dir.join("lock"));
    let file = open.map_err(|error| NoLock::of(state_dir, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock::Ours(file)),
        Err(TryLockError::WouldBlock) => Ok(Lock::Daemons(file)),
        Err(TryLockError::Error(error)) => Err(NoLock::of(state_dir, error)),
    }
}

/// From here on this process is the user whose lock file this is, for good; only root changes anything by this. A lock file of
/// root's in somebody else's folder is no reason to stay root.
///
/// # Errors
/// In words.
pub(super) fn become_owner(lock: &File, folder: &Path) -> Result<(), String> {
    if !nix::unistd::getuid().is_root() {
        return Ok(());
    }
    let wrong = |e: io::Error| {
        format!(
            "the daemon's user cannot be taken on ({e}); nothing was changed. Run it as that user: sudo -u USER fieldgate …"
        )
    };
    let mut owner = lock.metadata().map_err(wrong)?;
    if owner.uid() == 0 {
        owner = std::fs::metadata(folder).map_err(wrong)?;
    }
    if owner.uid() == 0 {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    let become_it = || setgroups(&[group]).and_then(|()| setgid(group)).and_then(|()| setuid(user));
    become_it().map_err(|e| wrong(e.into()))
}
