//! What the tests share: datagrams written and read by coap-lite, and a driver for one endpoint.

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use coap_lite::{CoapOption, MessageType, Packet};
use fieldgate_coap::{Config, Endpoint, Event, Seed};

pub(crate) const CON: MessageType = MessageType::Confirmable;
pub(crate) const NON: MessageType = MessageType::NonConfirmable;
pub(crate) const ACK: MessageType = MessageType::Acknowledgement;
pub(crate) const RST: MessageType = MessageType::Reset;

pub(crate) fn secs(value: u64) -> Duration {
    Duration::from_secs(value)
}

pub(crate) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

pub(crate) fn endpoint(config: Config) -> Endpoint {
    Endpoint::new(config, Seed { message_id: 0x1000, token: 0xabcdef, random: 1 })
}

/// A datagram of any type and code (`0x45` is 2.05), as another implementation would write it.
pub(crate) fn datagram(
    kind: MessageType,
    code: u8,
    id: u16,
    token: &[u8],
    options: &[(u16, &[u8])],
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = Packet::new();
    packet.header.set_type(kind);
    packet.header.code = code.into();
    packet.header.message_id = id;
    packet.set_token(token.to_vec());
    for (number, value) in options {
        packet.add_option(CoapOption::from(*number), value.to_vec());
    }
    packet.payload = payload.to_vec();
    packet.to_bytes_unlimited().unwrap()
}

pub(crate) fn empty(kind: MessageType, id: u16) -> Vec<u8> {
    datagram(kind, 0, id, &[], &[], &[])
}

/// What another implementation reads.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) kind: MessageType,
    pub(crate) code: u8,
    pub(crate) id: u16,
    pub(crate) token: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    packet: Packet,
}

impl Seen {
    pub(crate) fn read(bytes: &[u8]) -> Seen {
        let packet = Packet::from_bytes(bytes).unwrap();
        Seen {
            kind: packet.header.get_type(),
            code: packet.header.code.into(),
            id: packet.header.message_id,
            token: packet.get_token().to_vec(),
            payload: packet.payload.clone(),
            packet,
        }
    }

    pub(crate) fn option(&self, number: u16) -> Option<Vec<u8>> {
        self.packet.get_first_option(CoapOption::from(number)).cloned()
    }

    pub(crate) fn options(&self, number: u16) -> Vec<Vec<u8>> {
        self.packet
            .get_option(CoapOption::from(number))
            .map(|l| l.iter().cloned().collect())
            .unwrap_or_default()
    }
}

/// Everything that waits to leave.
pub(crate) fn sent(endpoint: &mut Endpoint) -> Vec<Seen> {
    std::iter::from_fn(|| endpoint.poll_transmit()).map(|bytes| Seen::read(&bytes)).collect()
}

/// The only datagram that waits to leave.
pub(crate) fn sent_one(endpoint: &mut Endpoint) -> Seen {
    let mut all = sent(endpoint);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

pub(crate) fn events(endpoint: &mut Endpoint) -> Vec<Event> {
    std::iter::from_fn(|| endpoint.poll_event()).collect()
}

pub(crate) fn event(endpoint: &mut Endpoint) -> Event {
    let mut all = events(endpoint);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Lets time pass to the next timer and returns that moment.
pub(crate) fn next_timer(endpoint: &mut Endpoint) -> Duration {
    let at = endpoint.poll_timeout().expect("a timer");
    endpoint.handle_timeout(at);
    at
}

/// A small generator of its own, so that a failing seed reproduces.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss_percent: u64,
    pub(crate) double_percent: u64,
    pub(crate) max_delay: Duration,
}
