//! Changing the queue: asked of the daemon that runs, or done here while none does. The lock of the state folder decides.
//!
//! Done here it is the daemon's own code on its own writers, so that books, cursors, records and the audit move as under a
//! daemon. To the files it is a start and a clean stop.
//!
//! The folder belongs to the daemon's user, who may have put anything there, a link to somebody else's file too. So root
//! becomes that user before a file in it is opened for writing: what is made belongs to whom it should, and no link leads
//! further than that user comes anyway. Who asked is kept for the audit.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use super::{Trouble, queue_file};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::control::{self, Answer, Asked, Done, Request, StateId, client};
use crate::daemon::rim::{self, Rim};
use crate::daemon::stores;
use crate::store::gateway::{self, Gateway, time_floor};
use crate::store::queue::look::overview::overview;
use crate::store::queue::look::{self, Source};
use crate::store::queue::{OpenOptions, Queue};

/// A change that was made.
pub(super) struct Changed {
    /// What.
    pub(super) done: Done,
    /// By the daemon, which goes on with it.
    pub(super) running: bool,
}

/// Has it done.
///
/// # Errors
/// When it was refused, by whoever has the queue or by the disk. In words.
pub(super) fn change(config: &Config, request: &Request) -> Result<Changed, Trouble> {
    let state_dir = &config.gateway.state_dir;
    let (answer, running) = match lock(state_dir)? {
        Lock::Ours(lock) => (alone(config, request, &lock)?, false),
        Lock::Daemons(file) => {
            let socket = control::announced(&file).ok().flatten();
            let socket = socket.unwrap_or_else(|| control::place(state_dir, None));
            let of = StateId::of(&file).map_err(|e| unlockable(&state_dir.join("lock"), &e))?;
            let asked = Asked { of, request: request.clone() };
            (client::ask(&socket, &asked).map_err(|e| Trouble::Wrong(e.to_string()))?, true)
        }
    };
    match answer {
        Answer::Refused(why) => Err(Trouble::Wrong(why)),
        Answer::Done(done) => {
            if let Some(why) = &done.not_audited {
                eprintln!("this is not in the audit: {why}");
            }
            Ok(Changed { done, running })
        }
    }
}

enum Lock {
    /// No daemon runs, and none starts while this is held.
    Ours(File),
    /// A daemon has it.
    Daemons(File),
}

fn lock(state_dir: &Path) -> Result<Lock, Trouble> {
    let path = state_dir.join("lock");
    // Made by the first start of the daemon; made here it would belong to whoever runs this.
    let file = File::options().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path);
    let file = file.map_err(|e| unlockable(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock::Ours(file)),
        Err(TryLockError::WouldBlock) => Ok(Lock::Daemons(file)),
        Err(TryLockError::Error(e)) => Err(unlockable(&path, &e)),
    }
}

fn unlockable(path: &Path, error: &io::Error) -> Trouble {
    let next = match error.kind() {
        io::ErrorKind::NotFound => {
            "The daemon has not run here yet, or gateway.state_dir names another folder"
        }
        io::ErrorKind::PermissionDenied => {
            "Only root and the user the daemon runs as may. Try: sudo fieldgate …"
        }
        _ => "Check the health of the disk",
    };
    Trouble::Wrong(format!("{} cannot be locked ({error}); nothing was changed. {next}", path.display()))
}

/// Does it here. The lock is held.
fn alone(config: &Config, request: &Request, lock: &File) -> Result<Answer, Trouble> {
    let uid = nix::unistd::getuid();
    if uid.is_root() {
        become_owner(lock, &config.gateway.state_dir)?;
    }
    // A damaged file is the daemon's to set aside, in its own time and with its own statement; here nothing begins anew.
    overview(&look::open(&Source::Beside(queue_file(config)))?)?;
    let state_dir = &config.gateway.state_dir;
    let clock: Arc<dyn Clock> =
        Arc::new(SystemClock::new(config.time.trust_system_clock, time_floor(state_dir)));
    let rim = rim::machine::rim(Arc::clone(&clock));
    let gateway = audited_in(state_dir, &rim);
    // The ballast is the daemon's: made here it would belong to whoever runs this.
    let options = OpenOptions { ballast_bytes: 0, ..stores::queue_options(config, &rim) };
    let queue = Queue::open(options, &clock)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Trouble::Output)?;
    // Whoever asked waits for it himself.
    let carried = runtime.block_on(control::carry_out(
        &queue,
        gateway.as_ref(),
        uid.as_raw(),
        request,
        &control::Until::default(),
    ));
    queue.stop();
    if let Some(gateway) = gateway {
        gateway.stop();
    }
    Ok(match carried {
        Ok(done) => Answer::Done(done),
        Err(why) => Answer::Refused(why),
    })
}

/// `gateway.db`, where it is whole: what is to be done about one that is not, is the daemon's.
fn audited_in(state_dir: &Path, rim: &Rim) -> Option<Gateway> {
    let options = gateway::OpenOptions::in_folder(state_dir);
    gateway::reader::history(&options.path, None, 1).ok()?;
    Gateway::open(options, &rim.clock, &*rim.random).ok()
}

/// From here on this process is the user whose lock file this is, for good. A lock file of root's in somebody else's folder is
/// no reason to stay root.
fn become_owner(lock: &File, folder: &Path) -> Result<(), Trouble> {
    let wrong = |e: io::Error| {
        Trouble::Wrong(format!(
            "the daemon's user cannot be taken on ({e}); nothing was changed. Run it as that user: sudo -u USER fieldgate …"
        ))
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
