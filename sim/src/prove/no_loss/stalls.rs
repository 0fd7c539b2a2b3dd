//! How long the machine itself held things up: a disk that others keep busy, a processor that has no time.
//!
//! Beside the daemons a small file is written and synced again and again. How long that takes, the queue for the processor
//! included, is what any commit on this machine may take at that moment, so a slow machine is told from a slow daemon.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::gateway::Trouble;

/// Between two syncs.
const EVERY: Duration = Duration::from_millis(100);
/// A stall matters so long after its end: what it held up comes in a rush.
const MATTERS: Duration = Duration::from_secs(3);
/// A longer one is no excuse.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// See the module head. Watches until dropped.
#[derive(Debug)]
pub(super) struct Stalls {
    clock: Clock,
    syncs: Arc<Mutex<Syncs>>,
    task: JoinHandle<()>,
}

impl Stalls {
    /// Watches the disk of the temporary folder.
    pub(super) fn watch(clock: Clock) -> Result<Self, Trouble> {
        let mut file = tempfile::tempfile().map_err(Trouble::system("make a temporary file"))?;
        let syncs = Arc::new(Mutex::new(Syncs::default()));
        let noted = Arc::clone(&syncs);
        let note = move |sync: fn(&mut Syncs, Duration)| {
            sync(&mut noted.lock().unwrap_or_else(PoisonError::into_inner), clock.now());
        };
        let task = tokio::spawn(async move {
            loop {
                note(Syncs::begins);
                // A disk that refuses is met by the daemons too, and theirs is the word on it.
                let synced = tokio::task::spawn_blocking(move || {
                    let _refused = sync(&mut file);
                    file
                });
                let Ok(back) = synced.await else { return };
                file = back;
                note(Syncs::ends);
                tokio::time::sleep(EVERY).await;
            }
        });
        Ok(Self { clock, syncs, task })
    }

    /// The longest that anything was held up lately.
    pub(super) fn lately(&self) -> Duration {
        let syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        syncs.longest(self.clock.now())
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn sync(file: &mut File) -> std::io::Result<()> {
    file.write_all(&[0; 64])?;
    file.sync_data()
}

/// Pure.
#[derive(Debug, Default)]
struct Syncs {
    /// When it ended and how long it took; those that still matter.
    ended: VecDeque<(Duration, Duration)>,
    under_way: Option<Duration>,
}

impl Syncs {
    fn begins(&mut self, now: Duration) {
        self.under_way = Some(now);
    }

    fn ends(&mut self, now: Duration) {
        if let Some(began) = self.under_way.take() {
            self.ended.push_back((now, now.saturating_sub(began)));
        }
        while self.ended.front().is_some_and(|(ended, _)| now.saturating_sub(*ended) > MATTERS) {
            self.ended.pop_front();
        }
    }

    fn longest(&self, now: Duration) -> Duration {
        let under_way = self.under_way.map(|began| now.saturating_sub(began));
        let ended = self.ended.iter().filter(|(ended, _)| now.saturating_sub(*ended) <= MATTERS);
        ended.map(|(_, took)| *took).chain(under_way).max().unwrap_or_default().min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_while_it_lasts_and_for_a_while_after() {
        let s = Duration::from_secs;
        let mut syncs = Syncs::default();
        syncs.begins(s(10));
        assert_eq!(syncs.longest(s(12)), s(2));
        assert_eq!(syncs.longest(s(1000)), LONGEST);
        syncs.ends(s(14));
        assert_eq!((syncs.longest(s(17)), syncs.longest(s(18))), (s(4), s(0)));
        syncs.begins(s(20));
        syncs.ends(s(20));
        assert_eq!(syncs.ended.len(), 1, "what does not matter any more is forgotten");
    }
}
