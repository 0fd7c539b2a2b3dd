//! What the data plan says to a message: whether it may go, whether what waits behind it is thinned.
//!
//! Asked twice: before packing by a guess of what a message will cost, and after it for what it does cost. A message whose
//! whole cost is not granted waits as it was packed.

use std::time::Duration;

use super::Drain;
use crate::spend::{Grant, Size, Want, Why};
use crate::store::queue::QueueStatus;
use crate::uplink::link::Message;
use crate::uplink::parcel::Parcel;
use crate::uplink::policy::Flow;
use crate::uplink::shelf::Shelf;
use crate::uplink::thin::Thinning;

/// A flow without a grant asks again at least this often: the network may have changed.
const PLAN_HOLDS: Duration = Duration::from_secs(600);

impl Drain<'_> {
    /// Asks for a grant. Without one the flow is passed over until its time.
    pub(super) fn affords(&mut self, flow: Flow, status: &QueueStatus, now: Duration) -> bool {
        let Some(purse) = &self.options.purse else { return true };
        let age =
            self.shelves.get(&flow).and_then(Shelf::oldest).map_or(Duration::ZERO, |row| self.time_here(row));
        let Some(shelf) = self.shelves.get_mut(&flow) else { return true };
        let (class, rows) = (flow.class(), shelf.len());
        let queued = status.totals.get(&(self.destination, class)).map_or(0, |totals| totals.queued);
        let want = Want {
            destination: self.link.name(),
            class,
            age,
            rows,
            waiting: queued.max(rows as u64),
            most: self.limit,
            packed: shelf.next_message().map(size),
        };
        match purse.ask(&want) {
            Grant::Go => {
                shelf.thin(None);
                self.short.remove(&flow);
                true
            }
            Grant::Thin { factor } => {
                let (now, boot) = (self.rim.now(), self.rim.clock.boot_id());
                shelf.thin(Some(Thinning::at(now, boot, self.options.live_bound, factor)));
                self.short.remove(&flow);
                true
            }
            Grant::Wait { until, why } => {
                self.falls_short(flow, now, until, why);
                false
            }
        }
    }

    /// The parcel, if all that its message costs is granted; else it waits on its shelf, byte for byte.
    pub(super) fn within_grant(&mut self, parcel: Parcel, now: Duration) -> Option<Parcel> {
        let (flow, name) = (parcel.flow, self.link.name());
        let refused = match (&self.options.purse, &parcel.message) {
            (Some(purse), Some(message)) => purse.falls_short(name, message.class, size(message)),
            _ => None,
        };
        let Some((until, why)) = refused else { return Some(parcel) };
        self.falls_short(flow, now, until, why);
        if let Some(shelf) = self.shelves.get_mut(&flow) {
            shelf.again(parcel);
        }
        None
    }

    fn falls_short(&mut self, flow: Flow, now: Duration, until: Duration, why: Why) {
        let until = until.clamp(now + Duration::from_secs(1), now + PLAN_HOLDS);
        self.short.insert(flow, (until, why.words()));
    }
}

/// What a message weighs.
pub(super) fn size(message: &Message) -> Size {
    Size { body: message.body.len(), address: message.address.len() }
}
