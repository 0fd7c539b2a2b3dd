//! The network itself, without sockets and clocks.
//!
//! A datagram passes, in this order: the cut, the MTU, the bottleneck (rate and buffer), the loss behind it, then delay,
//! jitter, duplication. Datagrams of one direction arrive in the order they were sent, whatever the jitter, unless
//! one is chosen to be overtaken. Invariant, at any moment and for each direction:
//! `offered + duplicated = delivered + dropped + in flight`. Each datagram draws the same number of dice whatever the
//! profile, so that changing one figure does not change what befalls the others.

use super::outage::Outage;
use crate::random::Dice;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What IPv4 and UDP headers add to each datagram on the wire, bytes.
pub const UDP_OVERHEAD: u64 = 28;

/// Most datagrams under way at once, copies included; more are dropped as by a full buffer.
const MOST_IN_FLIGHT: usize = 4096;

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the gateway to the cloud.
    Up,
    /// From the cloud to the gateway.
    Down,
}

/// Which socket of the gateway a datagram belongs to. One network carries several; they share its bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FlowId(pub u32);

/// A datagram that arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which way.
    pub direction: Direction,
    /// Whose.
    pub flow: FlowId,
    /// UDP payload.
    pub bytes: Vec<u8>,
}

/// A bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Bytes a second on the wire, headers included. 0 lets nothing through.
    pub bytes_per_second: u64,
    /// Bytes that may wait for it, headers included, the datagram being sent among them.
    pub buffer_bytes: u64,
}

/// One direction of the network. Probabilities are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PathProfile {
    /// Delay of every datagram.
    pub delay: Duration,
    /// Greatest further delay; each datagram draws its own between nothing and this.
    pub jitter: Duration,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a datagram is held back so that later ones overtake it.
    pub reorder: f64,
    /// How long one that is held back is held.
    pub reorder_hold: Duration,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Bottleneck, if there is one.
    pub rate: Option<RateLimit>,
    /// Greatest packet that passes, bytes with headers; a larger one is dropped without a word, as by a bad firewall.
    pub mtu: Option<u64>,
}

/// Both directions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RelayProfile {
    /// Gateway to cloud.
    pub up: PathProfile,
    /// Cloud to gateway.
    pub down: PathProfile,
}

impl RelayProfile {
    /// The same both ways.
    #[must_use]
    pub fn symmetric(path: PathProfile) -> Self {
        Self { up: path, down: path }
    }
}

/// Why datagrams did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Dropped {
    /// The link was cut when they came, or while they were under way.
    pub cut: u64,
    /// Lost by chance.
    pub loss: u64,
    /// The bottleneck's buffer was full.
    pub buffer: u64,
    /// Larger than the MTU.
    pub mtu: u64,
}

impl Dropped {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.cut + self.loss + self.buffer + self.mtu
    }
}

/// What one direction saw. "Wire" bytes have [`UDP_OVERHEAD`] added for each datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DirectionCounters {
    /// Datagrams sent into the network.
    pub datagrams: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Their bytes on the wire.
    pub wire_bytes: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Datagrams held back.
    pub reordered: u64,
    /// Datagrams handed out, copies included.
    pub delivered: u64,
    /// Their payload bytes.
    pub delivered_bytes: u64,
    /// Their bytes on the wire.
    pub delivered_wire_bytes: u64,
    /// Datagrams that never arrived, copies included.
    pub dropped: Dropped,
    /// Datagrams under way, copies included.
    pub in_flight: u64,
}

/// Both directions and what was done to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RelayCounters {
    /// Gateway to cloud.
    pub up: DirectionCounters,
    /// Cloud to gateway.
    pub down: DirectionCounters,
    /// How often the link was cut.
    pub cuts: u64,
    /// How often the source port towards the cloud changed.
    pub rebinds: u64,
}

/// A network between one gateway and one cloud.
#[derive(Debug)]
pub struct Relay {
    up: Path,
    down: Path,
    cut: bool,
    cuts: u64,
    /// Kept by the driver, which knows when.
    pub(super) outage: Outage,
    rebinds: u64,
    dice: Dice,
    /// By arrival, then by order of sending.
    in_flight: BTreeMap<(Duration, u64), Delivery>,
    sent: u64,
}

#[derive(Debug)]
struct Path {
    profile: PathProfile,
    bottleneck: Bottleneck,
    /// Arrival of the latest datagram that keeps its place.
    last_arrival: Duration,
    counters: DirectionCounters,
}

/// The bottleneck's queue as a fluid: exact, because departures are computed from the begin of a busy period.
#[derive(Debug, Default)]
struct Bottleneck {
    /// When the present busy period began.
    busy_since: Duration,
    /// Bytes taken since then.
    bytes: u64,
    /// When the last of them has left.
    free_at: Duration,
}

impl Relay {
    /// A network of this profile; everything left to chance follows from `seed`.
    #[must_use]
    pub fn new(profile: RelayProfile, seed: u64) -> Self {
        Self {
            up: Path::new(profile.up),
            down: Path::new(profile.down),
            cut: false,
            cuts: 0,
            outage: Outage::default(),
            rebinds: 0,
            dice: Dice::new(seed),
            in_flight: BTreeMap::new(),
            sent: 0,
        }
    }

    /// A datagram enters the network, of the only flow.
    pub fn handle(&mut self, now: Duration, direction: Direction, bytes: &[u8]) {
        self.handle_flow(now, direction, FlowId::default(), bytes);
    }

    /// A datagram of one of several flows enters the network.
    pub fn handle_flow(&mut self, now: Duration, direction: Direction, flow: FlowId, bytes: &[u8]) {
        let [loss, reorder, duplicate, jitter, copy_jitter] = std::array::from_fn(|_| self.dice.fraction());
        let room = MOST_IN_FLIGHT.saturating_sub(self.in_flight.len());
        let cut = self.cut;
        let path = self.path(direction);
        let wire_bytes = bytes.len() as u64 + UDP_OVERHEAD;
        path.counters.datagrams += 1;
        path.counters.bytes += bytes.len() as u64;
        path.counters.wire_bytes += wire_bytes;
        let profile = path.profile;
        let dropped = &mut path.counters.dropped;
        if cut {
            dropped.cut += 1;
            return;
        }
        if profile.mtu.is_some_and(|mtu| wire_bytes > mtu) {
            dropped.mtu += 1;
            return;
        }
        let departs = match profile.rate {
            None => Some(now),
            Some(rate) => path.bottleneck.take(now, wire_bytes, rate),
        };
        let Some(departs) = departs.filter(|_| room > 0) else {
            dropped.buffer += 1;
            return;
        };
        // Behind the bottleneck: what the radio loses has used the rate up.
        if loss < profile.loss {
            dropped.loss += 1;
            return;
        }
        let held = reorder < profile.reorder;
        let arrives = path.arrival(departs, jitter, held);
        path.counters.reordered += u64::from(held);
        path.counters.in_flight += 1;
        let copy = (duplicate < profile.duplicate && room > 1).then(|| {
            path.counters.duplicated += 1;
            path.counters.in_flight += 1;
            path.arrival(departs, copy_jitter, held)
        });
        for arrives in std::iter::once(arrives).chain(copy) {
            let delivery = Delivery { direction, flow, bytes: bytes.to_vec() };
            self.in_flight.insert((arrives, self.sent), delivery);
            self.sent += 1;
        }
    }

    /// The next datagram that has arrived by `now`, in order of arrival.
    pub fn poll_deliver(&mut self, now: Duration) -> Option<Delivery> {
        let entry = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
        let delivery = entry.remove();
        let counters = &mut self.path(delivery.direction).counters;
        counters.in_flight -= 1;
        counters.delivered += 1;
        counters.delivered_bytes += delivery.bytes.len() as u64;
        counters.delivered_wire_bytes += delivery.bytes.len() as u64 + UDP_OVERHEAD;
        Some(delivery)
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.in_flight.first_key_value().map(|(key, _)| key.0)
    }

    /// Cuts the link both ways: what is under way is lost, what comes is dropped.
    pub fn cut(&mut self) {
        self.cuts += u64::from(!self.cut);
        self.cut = true;
        for (_, lost) in std::mem::take(&mut self.in_flight) {
            let counters = &mut self.path(lost.direction).counters;
            counters.in_flight -= 1;
            counters.dropped.cut += 1;
        }
    }

    /// Joins the link again.
    pub fn heal(&mut self) {
        self.cut = false;
    }

    /// Whether the link is cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The network's address translation forgets its mapping: a driver that sees [`RelayCounters::rebinds`] move sends
    /// from another source port from now on.
    pub fn rebind(&mut self) {
        self.rebinds += 1;
    }

    /// The profile in force.
    #[must_use]
    pub fn profile(&self) -> RelayProfile {
        RelayProfile { up: self.up.profile, down: self.down.profile }
    }

    /// Changes the profile for datagrams still to come; those under way keep their times.
    pub fn set_profile(&mut self, profile: RelayProfile) {
        self.up.set_profile(profile.up);
        self.down.set_profile(profile.down);
    }

    /// Changes the probability of loss, both ways.
    pub fn set_loss(&mut self, loss: f64) {
        self.up.profile.loss = loss;
        self.down.profile.loss = loss;
    }

    /// What happened up to now.
    #[must_use]
    pub fn counters(&self) -> RelayCounters {
        RelayCounters {
            up: self.up.counters,
            down: self.down.counters,
            cuts: self.cuts,
            rebinds: self.rebinds,
        }
    }

    fn path(&mut self, direction: Direction) -> &mut Path {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

impl Path {
    fn new(profile: PathProfile) -> Self {
        Self {
            profile,
            bottleneck: Bottleneck::default(),
            last_arrival: Duration::ZERO,
            counters: DirectionCounters::default(),
        }
    }

    fn set_profile(&mut self, profile: PathProfile) {
        if self.profile.rate != profile.rate {
            self.bottleneck.settle();
        }
        self.profile = profile;
    }

    fn arrival(&mut self, departs: Duration, jitter: f64, held: bool) -> Duration {
        let jitter_nanos = self.profile.jitter.as_nanos() as f64 * jitter;
        let arrives = departs
            .saturating_add(self.profile.delay)
            .saturating_add(Duration::from_nanos(jitter_nanos as u64));
        if held {
            // Its place is given up: those behind do not wait for it.
            return arrives.max(self.last_arrival).saturating_add(self.profile.reorder_hold);
        }
        self.last_arrival = arrives.max(self.last_arrival);
        self.last_arrival
    }
}

impl Bottleneck {
    /// Takes a datagram that comes at `now`; gives when its last byte has left, or `None` when the buffer is full.
    fn take(&mut self, now: Duration, bytes: u64, rate: RateLimit) -> Option<Duration> {
        if now >= self.free_at {
            *self = Self { busy_since: now, bytes: 0, free_at: now };
        }
        if self.waiting(now, rate).saturating_add(bytes) > rate.buffer_bytes {
            return None;
        }
        let total = self.bytes.saturating_add(bytes);
        let nanos = (u128::from(total) * NANOS).checked_div(u128::from(rate.bytes_per_second))?;
        self.bytes = total;
        self.free_at =
            self.busy_since.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        Some(self.free_at)
    }

    /// Bytes taken that have not left by `now`.
    fn waiting(&self, now: Duration, rate: RateLimit) -> u64 {
        let busy = now.saturating_sub(self.busy_since).as_nanos();
        let left = busy.saturating_mul(u128::from(rate.bytes_per_second)) / NANOS;
        self.bytes.saturating_sub(u64::try_from(left).unwrap_or(u64::MAX))
    }

    /// Ends the busy period on paper, so that another rate begins where this one ended.
    fn settle(&mut self) {
        *self = Self { busy_since: self.free_at, bytes: 0, free_at: self.free_at };
    }
}

const NANOS: u128 = 1_000_000_000;
