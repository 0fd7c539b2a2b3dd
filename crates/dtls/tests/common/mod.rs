//! A wire in memory with virtual time: one server, any number of clients, and a rule for what happens to each datagram.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod peers;
pub(crate) mod pki;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use fieldgate_dtls::{
    CipherSuite, ClientConfig, Event, Psk, PskKey, Rng, Server, ServerConfig, ServerEvent, Session, SessionId,
};

pub(crate) const IDENTITY: &str = "gateway@project";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// A small generator (splitmix64): seeded, reproducible, not secret.
#[derive(Clone)]
pub(crate) struct Seeded(pub u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub(crate) fn rng(seed: u64) -> Rng {
    let mut seeded = Seeded(seed);
    Box::new(move |buffer| {
        for chunk in buffer.chunks_mut(8) {
            let bytes = seeded.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    })
}

pub(crate) fn psk() -> Psk {
    Psk::new(IDENTITY, KEY).unwrap()
}

pub(crate) fn client_config(suite: CipherSuite, connection_id: bool) -> ClientConfig {
    let mut config = ClientConfig::new(psk());
    config.suites = vec![suite];
    config.connection_id = connection_id;
    config
}

pub(crate) fn server_config() -> ServerConfig {
    ServerConfig::new(|identity| (identity == IDENTITY.as_bytes()).then(|| PskKey::new(KEY)))
}

pub(crate) fn server() -> Server {
    Server::new(server_config(), Duration::ZERO, rng(1)).unwrap()
}

/// What the wire does to one datagram: deliver it after each of these delays; none loses it.
pub(crate) type Fate = Box<dyn FnMut(Direction, &[u8]) -> Vec<Duration>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// Delivers everything once, after 10 ms.
pub(crate) fn faithful() -> Fate {
    Box::new(|_, _| vec![ms(10)])
}

pub(crate) struct Wire {
    pub(crate) now: Duration,
    pub(crate) server: Server,
    pub(crate) clients: BTreeMap<SocketAddr, Session>,
    pub(crate) client_events: Vec<(SocketAddr, Event)>,
    pub(crate) server_events: Vec<ServerEvent>,
    /// Everything that was put on the wire.
    pub(crate) seen: Vec<(Duration, Direction, Vec<u8>)>,
    pub(crate) fate: Fate,
    in_flight: BTreeMap<(Duration, u64), (Direction, SocketAddr, Vec<u8>)>,
    order: u64,
}

impl Wire {
    pub(crate) fn new(server: Server) -> Self {
        Self {
            now: Duration::ZERO,
            server,
            clients: BTreeMap::new(),
            client_events: Vec::new(),
            server_events: Vec::new(),
            seen: Vec::new(),
            fate: faithful(),
            in_flight: BTreeMap::new(),
            order: 0,
        }
    }

    /// A connected pair over a faithful wire, events taken.
    pub(crate) fn connected(config: &ClientConfig, server: Server) -> (Self, SessionId) {
        let mut wire = Self::new(server);
        wire.add(address(1000), Session::client(config, wire.now, rng(2)).unwrap());
        wire.run_for(ms(500));
        assert!(wire.client(1000).connection().is_some(), "{:?}", wire.client_events);
        let id = wire.server_events.last().expect("the server connected").id;
        wire.client_events.clear();
        wire.server_events.clear();
        (wire, id)
    }

    pub(crate) fn add(&mut self, at: SocketAddr, session: Session) {
        self.clients.insert(at, session);
        self.flush();
    }

    pub(crate) fn client(&mut self, port: u16) -> &mut Session {
        self.clients.get_mut(&address(port)).expect("a client at this port")
    }

    pub(crate) fn client_send(&mut self, port: u16, payload: &[u8]) {
        let now = self.now;
        self.client(port).send(now, payload).unwrap();
        self.flush();
    }

    pub(crate) fn server_send(&mut self, id: SessionId, payload: &[u8]) {
        self.server.send(self.now, id, payload).unwrap();
        self.flush();
    }

    /// The same session behind another source address from now on.
    pub(crate) fn rebind(&mut self, from: u16, to: u16) {
        let session = self.clients.remove(&address(from)).expect("a client at this port");
        self.clients.insert(address(to), session);
    }

    pub(crate) fn inject(&mut self, direction: Direction, peer: SocketAddr, datagram: &[u8]) {
        match direction {
            Direction::ToServer => self.server.handle_datagram(self.now, peer, datagram),
            Direction::ToClient => {
                let now = self.now;
                if let Some(client) = self.clients.get_mut(&peer) {
                    client.handle_datagram(now, datagram);
                }
            }
        }
        self.flush();
    }

    /// Runs everything due within `span` of virtual time.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.flush();
            let arrival = self.in_flight.keys().next().map(|(at, _)| *at);
            let client_timer = self.clients.values().filter_map(Session::poll_timeout).min();
            let next = [arrival, client_timer, self.server.poll_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                if let Some((_, (direction, peer, datagram))) = self.in_flight.pop_first() {
                    self.inject(direction, peer, &datagram);
                }
            } else {
                let now = self.now;
                self.clients.values_mut().for_each(|client| client.handle_timeout(now));
                self.server.handle_timeout(now);
            }
        }
        self.now = end;
    }

    pub(crate) fn take_received_by_server(&mut self) -> Vec<Vec<u8>> {
        let received = |event: ServerEvent| match event.event {
            Event::Received(payload) => Some(payload),
            _ => None,
        };
        self.server_events.drain(..).filter_map(received).collect()
    }

    pub(crate) fn take_received_by_clients(&mut self) -> Vec<Vec<u8>> {
        let received = |(_, event)| match event {
            Event::Received(payload) => Some(payload),
            _ => None,
        };
        self.client_events.drain(..).filter_map(received).collect()
    }

    pub(crate) fn handshake_datagrams_seen(&self) -> usize {
        self.seen.iter().filter(|(_, _, datagram)| datagram.first() == Some(&22)).count()
    }

    fn flush(&mut self) {
        let mut out = VecDeque::new();
        for (peer, client) in &mut self.clients {
            while let Some(datagram) = client.poll_transmit() {
                out.push_back((Direction::ToServer, *peer, datagram));
            }
            while let Some(event) = client.poll_event() {
                self.client_events.push((*peer, event));
            }
        }
        while let Some((peer, datagram)) = self.server.poll_transmit() {
            out.push_back((Direction::ToClient, peer, datagram));
        }
        while let Some(event) = self.server.poll_event() {
            self.server_events.push(event);
        }
        for (direction, peer, datagram) in out {
            self.seen.push((self.now, direction, datagram.clone()));
            for delay in (self.fate)(direction, &datagram) {
                self.order += 1;
                self.in_flight.insert((self.now + delay, self.order), (direction, peer, datagram.clone()));
            }
        }
    }
}
