//! Changing the queue: asked of the daemon that runs, or done here while none does. The lock of the state folder decides.
//!
//! Done here it is the daemon's own code on its own writers, so that books, cursors, records and the audit move as under a
//! daemon. To the files it is a start and a clean stop.
//!
//! Root becomes the folder's owner before a file in it is opened for writing. Who asked is kept for the audit.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::{Trouble, queue_file};
use crate::cli::lock::{Lock, NoLock, become_owner, lock};
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
    let wrong = |why: NoLock| Trouble::Wrong(why.to_string());
    let (answer, running) = match lock(state_dir).map_err(wrong)? {
        Lock::Ours(lock) => (alone(config, request, &lock)?, false),
        Lock::Daemons(file) => {
            let socket = control::announced(&file).ok().flatten();
            let socket = socket.unwrap_or_else(|| control::place(state_dir, None));
            let of = StateId::of(&file).map_err(|e| wrong(NoLock::of(state_dir, e)))?;
            let asked = Asked { of, request: request.clone() };
            (client::ask(&socket, &asked).map_err(|e| Trouble::Wrong(e.to_string()))?, true)
        }
    };
    match answer {
        Answer::Refused(why) => Err(Trouble::Wrong(why)),
        Answer::Probed(_) => Err(Trouble::Wrong("the daemon answers something else than was asked".into())),
        Answer::Done(done) => {
            if let Some(why) = &done.not_audited {
                eprintln!("this is not in the audit: {why}");
            }
            Ok(Changed { done, running })
        }
    }
}

/// Does it here. The lock is held.
fn alone(config: &Config, request: &Request, lock: &File) -> Result<Answer, Trouble> {
    let uid = nix::unistd::getuid();
    become_owner(lock, &config.gateway.state_dir).map_err(Trouble::Wrong)?;
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
