//! A UDP relay between a gateway and a cloud: the bad network in the middle.
//!
//! [`Relay`] is the network without sockets: datagrams go in with `now` and come out when they would arrive, or never,
//! all of it decided by a profile and a seed. [`UdpRelay`] is the driver that stands on a loopback port. The core
//! owns every datagram under way and every count; the driver owns sockets only.

mod core;
mod outage;
mod udp;

#[cfg(test)]
mod tests;

pub use self::core::{
    Delivery, Direction, DirectionCounters, Dropped, FlowId, PathProfile, RateLimit, Relay, RelayCounters,
    RelayProfile, UDP_OVERHEAD,
};
pub use udp::{RelayError, RelayHandle, UdpRelay};
