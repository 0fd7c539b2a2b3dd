//! What others do: order of arrival.

use fieldgate::spend::Network;
use fieldgate::spend::wire::UDP_OVER_IPV4;

use super::queue::{Batch, Queue};
use super::{ANSWER, AROUND, BATCH, HOME, MESSAGE, Outcome, ROAMING, Sender};

/// Order of arrival, all classes in one message, full messages or what a quarter of an hour gathered; until the bytes of the
/// month, or of the day, are used up. It counts rightly.
pub(crate) struct Fifo {
    /// The month's bytes, or a day's share; what a day leaves over the next has.
    lump: u64,
    queue: Queue,
}

impl Fifo {
    /// With so many bytes from the start.
    pub(crate) fn with_at_once(lump: u64) -> Self {
        Self { lump, queue: Queue::default() }
    }

    fn may(&self, minute: u32, network: Network, bytes: u64, out: &Outcome) -> bool {
        let days = u64::from(minute / 1440 + 1);
        let (limit, spent) = match network {
            Network::Home => (HOME.min(self.lump.saturating_mul(days)), out.wire[0]),
            Network::Roaming => (ROAMING, out.wire[1]),
        };
        spent + bytes <= limit
    }
}

impl Sender for Fifo {
    fn arrived(&mut self, batch: Batch) {
        self.queue.push(batch);
    }

    fn caused(&mut self, _: u32, _: Network, _: usize) {}

    fn may_ask(&mut self, minute: u32, network: Network, bytes: u64, out: &Outcome) -> bool {
        self.may(minute, network, bytes, out)
    }

    fn next(&mut self, minute: u32, network: Network, out: &mut Outcome) -> Option<Vec<Batch>> {
        let oldest = self.queue.batches.front()?.minute;
        let waiting = BATCH + self.queue.bytes;
        if waiting < MESSAGE && minute - oldest < 15 {
            return None;
        }
        let bytes = waiting.min(MESSAGE) + (AROUND + ANSWER) as u64 + 2 * UDP_OVER_IPV4;
        self.may(minute, network, bytes, out).then(|| self.queue.pack())
    }
}
