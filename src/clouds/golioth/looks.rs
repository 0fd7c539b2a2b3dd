//! When the settings and the manifest were last looked at, and what was seen: so that neither a new session nor a restart of the
//! daemon looks again before the time, as long as the control document vouches for what is held ([`super::announced`]).
//!
//! Kept in `gateway.db`, one short text, written at most once a minute. It is believed only as far as the lanes still hold what it
//! says was seen ([`Held`]): they keep that themselves. An older text, of a copy that was put back for instance, says that less was
//! seen, longer ago; one of which nobody can tell how old it is says nothing, nor does one of another release.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::announced::Rest;
use super::kept::Moment;
use crate::clock::Clock;
use crate::daemon::rim::Rim;
use crate::store::gateway::Gateway;

/// What it is kept under.
const NAME: &str = "looks:golioth";
/// Not written more often: whoever sends notifications would wear the flash.
const WRITE_EVERY: Duration = Duration::from_secs(60);

const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Which version the lanes hold, by their own records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Of the settings that are in force.
    pub settings: Option<u64>,
    /// The sequence number of the manifest that was journaled last.
    pub manifest: Option<u64>,
}

/// One look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    /// What the control document called it when it was asked for, where it did.
    named: Option<u64>,
    /// What it was.
    version: u64,
    at: Moment,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Looks {
    /// The release that looked: another may make more of the same settings.
    release: String,
    settings: Option<Look>,
    manifest: Option<Look>,
}

/// A look that still counts when a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// What the control document called it.
    pub(super) named: Option<u64>,
    /// What is held.
    pub(super) version: u64,
    /// Until it is time for the next.
    pub(super) left: Duration,
}

/// See the module head.
#[derive(Debug)]
pub struct LastLooks {
    /// None where nothing is kept.
    gateway: Option<Gateway>,
    looks: Looks,
    /// Not written yet.
    dirty: bool,
    /// Not written before.
    next_write: Duration,
}

impl LastLooks {
    /// What the run before kept. Reads the file: for a start, not for a lane.
    #[must_use]
    pub fn open(gateway: &Gateway, held: Held) -> Self {
        let text = gateway.kept(NAME).unwrap_or_default();
        let kept: Looks = serde_json::from_str(&text).unwrap_or_default();
        let of_this_release = kept.release == RELEASE;
        let still =
            |look: Option<Look>, held| look.filter(|look| of_this_release && held == Some(look.version));
        let looks = Looks {
            release: RELEASE.into(),
            settings: still(kept.settings, held.settings),
            manifest: still(kept.manifest, held.manifest),
        };
        let gateway = Some(gateway.clone());
        Self { gateway, looks, dirty: false, next_write: Duration::ZERO }
    }

    /// Of an errand, which applies nothing of what it sees: nothing is known, and nothing is kept.
    #[must_use]
    pub fn none() -> Self {
        Self { gateway: None, looks: Looks::default(), dirty: false, next_write: Duration::ZERO }
    }

    /// What was looked at within `seldom`.
    pub(super) fn known(&self, rest: Rest, clock: &dyn Clock, seldom: Duration) -> Option<Known> {
        let look = match rest {
            Rest::Settings => self.looks.settings,
            Rest::Manifest => self.looks.manifest,
        }?;
        let left = seldom.checked_sub(look.at.age(clock)?).filter(|left| !left.is_zero())?;
        Some(Known { named: look.named, version: look.version, left })
    }

    /// This was seen, and is held; it was asked for when the control document called it `named`.
    pub(super) fn seen(&mut self, rest: Rest, named: Option<u64>, version: u64, clock: &dyn Clock) {
        let look = Some(Look { named, version, at: Moment::ago(clock, Duration::ZERO) });
        match rest {
            Rest::Settings => self.looks.settings = look,
            Rest::Manifest => self.looks.manifest = look,
        }
        self.dirty = true;
    }

    /// Writes what is new, when it may be. Given up on its way it may be written or not: then a restart asks again, at worst.
    pub(super) async fn write(&mut self, rim: &Rim) {
        if !self.dirty {
            return std::future::pending().await;
        }
        rim.sleep_until(self.next_write).await;
        self.next_write = rim.now() + WRITE_EVERY;
        self.finish().await;
    }

    /// Writes what is new, now.
    pub(super) async fn finish(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        let Some(gateway) = self.gateway.as_ref().filter(|_| dirty) else { return };
        let text = serde_json::to_string(&self.looks).unwrap_or_default();
        if let Err(error) = gateway.keep(NAME, text).await {
            tracing::warn!(%error, "when the cloud's settings and manifest were last seen is not kept; a restart asks again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::gateway::tests::{clock, open_with, rim};

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);
    const HELD: Held = Held { settings: Some(5), manifest: Some(9) };

    fn versions(looks: &LastLooks, clock: &dyn Clock) -> [Option<u64>; 2] {
        [Rest::Settings, Rest::Manifest].map(|rest| looks.known(rest, clock, DAY).map(|known| known.version))
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_kept_over_a_restart_for_its_time_and_as_far_as_what_was_seen_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock(1);
        let gateway = open_with(folder.path(), &clock, 1);
        let mut looks = LastLooks::open(&gateway, HELD);
        assert_eq!(versions(&looks, &*clock), [None, None]);
        looks.seen(Rest::Settings, Some(7), 5, &*clock);
        looks.seen(Rest::Manifest, None, 9, &*clock);
        looks.finish().await;
        tokio::time::advance(20 * HOUR).await;
        let looks = LastLooks::open(&gateway, HELD);
        let settings = looks.known(Rest::Settings, &*clock, DAY).unwrap();
        assert_eq!((settings.named, settings.version, settings.left.as_secs()), (Some(7), 5, 4 * 3600));
        assert_eq!(versions(&looks, &*clock), [Some(5), Some(9)]);
        let elsewhere = LastLooks::open(&gateway, Held { settings: Some(4), manifest: None });
        assert_eq!(versions(&elsewhere, &*clock), [None, None], "a lane holds something else");
        tokio::time::advance(5 * HOUR).await;
        assert_eq!(versions(&looks, &*clock), [None, None], "it is time for the next");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_of_an_unknown_age_or_of_another_release_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let wall = crate::clock::Wall { trusted: false, ..clock(1).wall() };
        let second = crate::clock::VirtualClock::starting_at(crate::clock::BootId([2; 16]), wall);
        let first = clock(1);
        let gateway = open_with(folder.path(), &first, 1);
        let mut looks = LastLooks::open(&gateway, HELD);
        looks.seen(Rest::Settings, None, 5, &*first);
        looks.finish().await;
        // Another boot, and nobody knew the time.
        assert_eq!(versions(&LastLooks::open(&gateway, HELD), &second), [None, None]);
        let text = gateway.kept(NAME).unwrap().replace(RELEASE, "0.0.0-other");
        gateway.keep(NAME, text).await.unwrap();
        assert_eq!(versions(&LastLooks::open(&gateway, HELD), &*first), [None, None]);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_looks_come_the_disk_is_written_once_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock(1);
        let gateway = open_with(folder.path(), &clock, 1);
        let rim = rim(&clock);
        let mut looks = LastLooks::open(&gateway, HELD);
        let mut writes = 0;
        for version in 0..180 {
            looks.seen(Rest::Settings, None, version, &*clock);
            tokio::select! {
                biased;
                () = looks.write(&rim) => writes += 1,
                () = rim.sleep(Duration::from_secs(1)) => {}
            }
        }
        assert!((2..=4).contains(&writes), "{writes} writes in three minutes");
    }
}
