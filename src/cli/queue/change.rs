//! Changing the queue while no daemon runs: the daemon's lock is held, and its own writer does the work, so that books,
//! cursors and records move in the same transactions as under a daemon. To the file it is a start and a clean stop.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Trouble, queue_file};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::{rim, stores};
use crate::store::gateway::time_floor;
use crate::store::queue::look::overview::overview;
use crate::store::queue::look::{self, Source};
use crate::store::queue::writer::{Aside, AsideAction, AsideMoved, Command, Health, Writer};
use crate::store::queue::{DestinationId, OpenOptions, Settlement, open};
use crate::store::worker::Machine as _;

/// The queue in this program's hands.
pub(super) struct Held {
    writer: Writer,
    clock: Arc<dyn Clock>,
    _lock: File,
}

/// Takes the queue.
///
/// # Errors
/// While a daemon has it, when there is none, or when it is damaged.
pub(super) fn take(config: &Config) -> Result<Held, Trouble> {
    let path = queue_file(config);
    let lock = lock(&config.gateway.state_dir)?;
    // A damaged file is the daemon's to set aside, in its own time and with its own statement; here nothing begins anew.
    overview(&look::open(&Source::Beside(path.clone()))?)?;
    let state_dir = &config.gateway.state_dir;
    let clock: Arc<dyn Clock> =
        Arc::new(SystemClock::new(config.time.trust_system_clock, time_floor(state_dir)));
    let rim = rim::machine::rim(Arc::clone(&clock));
    // The ballast is the daemon's: made here it would belong to whoever runs this.
    let options = OpenOptions { ballast_bytes: 0, ..stores::queue_options(config, &rim) };
    let writer = open::open(options, clock.mono(), clock.wall())?;
    Ok(Held { writer, clock, _lock: lock })
}

impl Held {
    /// The number of a configured destination.
    pub(super) fn destination(&self, name: &str) -> Result<DestinationId, Trouble> {
        among(self.writer.destination_ids(), name)
    }

    /// Moves readings that were set aside.
    pub(super) fn set_aside(&mut self, which: Aside, action: AsideAction) -> Result<AsideMoved, Trouble> {
        let (reply, mut answer) = oneshot::channel();
        self.writer.handle(self.clock.mono(), Command::Aside { which, action, reply });
        match answer.try_recv() {
            Ok(moved) => moved.map_err(|e| Trouble::Wrong(e.to_string())),
            Err(_) => Err(Trouble::Wrong("the store did not answer; nothing was changed".into())),
        }
    }

    /// Settles a range and waits until that is on disk.
    pub(super) fn settle(&mut self, settlement: Settlement) -> Result<(), Trouble> {
        let (reply, mut answer) = oneshot::channel();
        self.writer.handle(self.clock.mono(), Command::Settle(settlement));
        self.writer.handle(self.clock.mono(), Command::Flush(reply));
        match answer.try_recv() {
            Ok(Health::Good) => Ok(()),
            Ok(unwell) => Err(Trouble::Wrong(format!(
                "the disk refuses the change: {}. Check room and health of the disk and run it again; what is already done \
                 is on record",
                unwell.name()
            ))),
            Err(_) => Err(Trouble::Wrong("the store did not answer; run it again".into())),
        }
    }

    /// Gives it back, closed cleanly.
    pub(super) fn give_back(mut self) {
        let now = self.clock.mono();
        self.writer.close(now);
    }
}

/// The number of the destination of this name.
pub(super) fn among(known: &[(DestinationId, String)], name: &str) -> Result<DestinationId, Trouble> {
    known.iter().find(|(_, known)| known == name).map(|(id, _)| *id).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(_, name)| name.as_str()).collect();
        Trouble::Wrong(format!(
            "no destination {name} is configured. There are: {}. Nothing was changed",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        ))
    })
}

fn lock(state_dir: &Path) -> Result<File, Trouble> {
    let path = state_dir.join("lock");
    // Made by the first start of the daemon; made here it would belong to whoever runs this.
    let file = File::options().write(true).open(&path).map_err(|e| {
        Trouble::Wrong(format!(
            "{} cannot be locked: {e}. Has the daemon ever run here, and may this user write there? Try: sudo -u fieldgate",
            path.display()
        ))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Trouble::Wrong(format!(
            "fieldgate runs on {} and is the only one that may change its queue; nothing was changed. Stop it first: \
             systemctl stop fieldgate",
            state_dir.display()
        ))),
    }
}
