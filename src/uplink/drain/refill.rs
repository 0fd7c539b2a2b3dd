//! From disk to hand: the next readings of each flow, without those that are too old or that a newer one supersedes. And
//! from hand to disk, where the file has changed beneath them: what the store gave up for room, and the time of a boot.
//!
//! Each step is bounded, and looks at the state of things: it is the same whether the link is up or has been down for a month.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{AT_HAND, Drain, Settled};
use crate::clock::Mono;
use crate::daemon::supervisor::LaneError;
use crate::reading::{Class, StreamId};
use crate::store::queue::cursor::MAX_ISLANDS;
use crate::store::queue::{QueueStatus, QueuedRow};
use crate::uplink::policy::Flow;
use crate::uplink::shelf::Shelf;

/// Picks for one flow before others have their turn: while a backlog is given up for its age, every pick is emptied at once.
const PICKS: usize = 16;
/// Readings passed over between those at hand: while nearly all are thinned, no more are looked at before a message is made.
const GIVEN_UP_AT_HAND: usize = 4096;
/// A stretch left for later may end as one settled range beyond the cursor; the rest of them is for messages in flight.
const MOST_STRETCHES: usize = MAX_ISLANDS / 4;

impl Drain<'_> {
    /// Picks from disk what there is room for at hand.
    pub(super) async fn refill(&mut self, status: &QueueStatus) -> Result<(), LaneError> {
        self.look_at_changes(status)?;
        for flow in Flow::ALL {
            self.refill_flow(flow, status).await?;
            if flow == Flow::Live && self.jump(status)? {
                self.refill_flow(flow, status).await?;
            }
        }
        Ok(())
    }

    /// Whether a shelf would take more, and there is more.
    pub(super) fn more_on_disk(&self, status: &QueueStatus) -> bool {
        self.shelves.iter().any(|(flow, shelf)| {
            shelf.rows().len() < AT_HAND / 2
                && status.ends.get(&flow.class()).is_some_and(|end| shelf.to_read(*end).is_some())
        })
    }

    async fn refill_flow(&mut self, flow: Flow, status: &QueueStatus) -> Result<(), LaneError> {
        let now = self.rim.now();
        let class = flow.class();
        self.lay_back_undated(flow);
        self.withdraw(flow).await;
        if !*self.up.borrow()
            && let Some(shelf) = self.shelves.get_mut(&flow)
        {
            // What can be paid for is found out when something can be sent.
            shelf.thin(None);
        }
        for _ in 0..PICKS {
            let Some(shelf) = self.shelves.get_mut(&flow) else { return Ok(()) };
            shelf.next_stretch();
            let to_read = status.ends.get(&class).and_then(|end| shelf.to_read(*end));
            let at_hand = if crate::sabotage::on("shelf-without-end") { usize::MAX } else { AT_HAND };
            let room = at_hand.saturating_sub(shelf.rows().len());
            let wanted = room > at_hand / 2 && shelf.given_up() < GIVEN_UP_AT_HAND;
            let mut came = false;
            if let Some((from, until)) = to_read.filter(|_| wanted) {
                let picked = self.reader.pick_before(class, from, until, room).map_err(LaneError::new)?;
                if let Some(resume) = picked.resume.filter(|resume| *resume != from) {
                    shelf.arrive(now, resume, picked.rows);
                    came = true;
                }
            }
            self.supersede(flow)?;
            self.give_up_aged(flow).await;
            let Some(shelf) = self.shelves.get_mut(&flow) else { return Ok(()) };
            if shelf.has_passed_over() {
                // Nothing to be sent in between: settled by looking.
                let parcel = shelf.take(0);
                self.record(&parcel, Settled::Acknowledged).await;
            }
            if !came {
                break;
            }
        }
        Ok(())
    }

    /// What the books say may have changed beneath what is at hand: asked of the file once each time, whether or not
    /// anything can be sent meanwhile.
    fn look_at_changes(&mut self, status: &QueueStatus) -> Result<(), LaneError> {
        if std::mem::replace(&mut self.corrections, status.corrections) != status.corrections {
            self.shelves.values_mut().for_each(Shelf::lay_back);
        }
        let dropped = status.destination(self.destination).dropped;
        let rearranged = std::mem::replace(&mut self.rearranged, status.rearranged) != status.rearranged;
        if std::mem::replace(&mut self.dropped, dropped) != dropped || rearranged {
            self.reader.look_at_settled().map_err(LaneError::new)?;
            let (from, to) = (self.telemetry.position(), self.reader.start(Class::Telemetry));
            // From where it stands: that makes no further range.
            let _ = self.telemetry.settle(from, to);
        }
        Ok(())
    }

    /// Takes back what is before the cursor of the file. It did not get there by an answer, because what has one is neither
    /// at hand nor waits to be sent again.
    async fn withdraw(&mut self, flow: Flow) {
        if crate::sabotage::on("send-the-dropped") {
            return;
        }
        let settled = self.reader.start(flow.class());
        let Some(shelf) = self.shelves.get_mut(&flow) else { return };
        let (emptied, stated) = shelf.withdraw(settled);
        if stated {
            self.announcing = false;
        }
        for parcel in emptied.iter().filter(|parcel| parcel.from < parcel.to) {
            self.record(parcel, Settled::Acknowledged).await;
        }
    }

    /// Picked before the time was known: the file knows it by now, or will in a moment.
    fn lay_back_undated(&mut self, flow: Flow) {
        if !self.rim.clock.wall().trusted {
            return;
        }
        let boot = self.rim.clock.boot_id();
        let undated = |r: &QueuedRow| r.epoch.wall_offset_ms.is_none() && r.epoch.boot == boot;
        if let Some(shelf) = self.shelves.get_mut(&flow)
            && shelf.rows().front().is_some_and(undated)
        {
            shelf.lay_back();
        }
    }

    /// Where the oldest of what is live has become backlog, live goes on with what is younger than half the bound, and
    /// leaves the rest as a stretch to the backlog. Half, so that each jump leaves something worth a stretch.
    fn jump(&mut self, status: &QueueStatus) -> Result<bool, LaneError> {
        if !*self.up.borrow() {
            // Where live begins is decided when it can go.
            return Ok(false);
        }
        let now = self.rim.now();
        let Some(end) = status.ends.get(&Class::Telemetry).copied() else { return Ok(false) };
        let Some(live) = self.shelves.get(&Flow::Live) else { return Ok(false) };
        let old = live.rows().front().is_some_and(|row| self.time_here(row) > self.options.live_bound);
        let Some((read_to, _)) = live.to_read(end).filter(|_| old && now >= self.next_jump) else {
            return Ok(false);
        };
        let stretches = self.shelves.get(&Flow::Backlog).map_or(0, |backlog| backlog.stretches());
        if self.telemetry.islands() + stretches >= MOST_STRETCHES {
            return Ok(false);
        }
        self.next_jump = now + self.options.live_bound / 8;
        let since = Mono::from(now.saturating_sub(self.options.live_bound / 2));
        let boot = self.rim.clock.boot_id();
        let to = self.reader.first_since(read_to, end, boot, since).map_err(LaneError::new)?;
        if to <= read_to.next_segment() {
            return Ok(false);
        }
        let Some(live) = self.shelves.get_mut(&Flow::Live) else { return Ok(false) };
        let (from, to) = live.jump(to);
        if let Some(backlog) = self.shelves.get_mut(&Flow::Backlog) {
            backlog.add_stretch(from, to);
        }
        Ok(true)
    }

    /// How long ago a reading was captured as far as this boot can tell; one of another boot is as old as can be.
    pub(super) fn time_here(&self, row: &QueuedRow) -> Duration {
        if row.epoch.boot == self.rim.clock.boot_id() {
            self.rim.now().saturating_sub(row.at.since_boot())
        } else {
            Duration::MAX
        }
    }

    /// Takes out what a newer accepted reading of the same stream supersedes.
    fn supersede(&mut self, flow: Flow) -> Result<(), LaneError> {
        if self.options.latest_only.is_empty() {
            return Ok(());
        }
        let Some(shelf) = self.shelves.get_mut(&flow) else { return Ok(()) };
        let mut newest: BTreeMap<StreamId, (i64, u64)> = BTreeMap::new();
        for row in shelf.rows() {
            let stream = row.sample.stream;
            if self.options.latest_only.contains(&stream)
                && !newest.contains_key(&stream)
                && let Some(known) = self.reader.newest(stream).map_err(LaneError::new)?
            {
                newest.insert(stream, known);
            }
        }
        shelf.give_up("superseded", |row| {
            newest.get(&row.sample.stream).is_some_and(|newest| (row.epoch.number, row.sequence) < *newest)
        });
        Ok(())
    }

    /// Gives up what has become older than its class's limit: parcels that wait to be sent again, and the oldest at hand.
    /// What is in flight is left to its outcome.
    async fn give_up_aged(&mut self, flow: Flow) {
        let Some(limit) = self.options.max_age.get(&flow.class()).copied() else { return };
        let clock = Ages::now(self);
        let too_old = |row: &QueuedRow| clock.age(row).is_some_and(|age| age > limit);
        while let Some(parcel) = self.shelves.get_mut(&flow).and_then(|shelf| shelf.take_again_if(too_old)) {
            self.record(&parcel, Settled::Dropped("age")).await;
        }
        let Some(shelf) = self.shelves.get_mut(&flow) else { return };
        let count = shelf.rows().iter().take_while(|row| too_old(row)).count();
        if count > 0 {
            let parcel = shelf.take(count);
            tracing::debug!(destination = self.link.name(), ?flow, count, "given up: older than the limit");
            self.record(&parcel, Settled::Dropped("age")).await;
        }
    }

    /// When the next reading at hand becomes too old.
    pub(super) fn next_too_old(&self) -> Option<Duration> {
        let clock = Ages::now(self);
        let due = |(flow, shelf): (&Flow, &Shelf)| {
            let limit = *self.options.max_age.get(&flow.class())?;
            let left = limit.saturating_sub(clock.age(shelf.rows().front()?)?);
            Some(self.rim.now() + left + Duration::from_millis(1))
        };
        self.shelves.iter().filter_map(due).min()
    }
}

/// The clocks at one moment, to tell ages by.
struct Ages {
    now: Duration,
    boot: crate::clock::BootId,
    /// Now is at least this, unix milliseconds, if anybody knows.
    earliest_ms: Option<i64>,
}

impl Ages {
    fn now(drain: &Drain<'_>) -> Self {
        let wall = drain.rim.clock.wall();
        Self {
            now: drain.rim.now(),
            boot: drain.rim.clock.boot_id(),
            earliest_ms: wall.trusted.then_some(wall.unix_ms.saturating_sub(i64::from(wall.uncertainty_ms))),
        }
    }

    /// How old a reading is at least: of this boot by the monotonic clock, which nobody sets; of an earlier one by wall time,
    /// if both are known, less how far off either may be: what is given up is surely too old. Otherwise nobody can say, and
    /// it is not given up for its age.
    fn age(&self, row: &QueuedRow) -> Option<Duration> {
        if row.epoch.boot == self.boot {
            return Some(self.now.saturating_sub(row.at.since_boot()));
        }
        let (captured, off) = row.epoch.wall_at(row.at)?;
        let ms = self.earliest_ms?.saturating_sub(captured.saturating_add(i64::from(off)));
        Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }
}
