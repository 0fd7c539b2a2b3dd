//! DTLS datagrams into a client and a server, before and after the handshake: genuine ones lost, repeated, out of order and
//! damaged, and others between them.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;

use fieldgate_dtls::{
    CipherSuite, ClientConfig, CloseReason, Event, Psk, PskKey, Rng, Server, ServerConfig, Session, SessionId,
};

use crate::feed::Feed;

const IDENTITY: &str = "gateway@project";
const KEY: &str = "0123456789abcdef0123456789abcdef";
const MOST_SESSIONS: usize = 16;

/// A small generator (splitmix64): the same in every run.
fn rng(seed: u64) -> Rng {
    let mut state = seed;
    Box::new(move |buffer| {
        for chunk in buffer.chunks_mut(8) {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            for (byte, random) in chunk.iter_mut().zip((z ^ (z >> 31)).to_le_bytes()) {
                *byte = random;
            }
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Server,
    Client,
}

/// A client, a server, and what is between them.
pub(crate) struct Wire {
    now: Duration,
    pub(crate) server: Server,
    pub(crate) client: Session,
    at: SocketAddr,
    /// On the way, oldest first.
    air: VecDeque<(To, Vec<u8>)>,
    /// The last that were on the way, newest first.
    seen: VecDeque<(To, Vec<u8>)>,
    server_got: Vec<Vec<u8>>,
    client_got: Vec<Vec<u8>>,
    /// The server's, once it is established.
    pub(crate) session: Option<SessionId>,
    closed: Vec<CloseReason>,
}

impl Wire {
    /// `None` only where the library could not be set up at all.
    fn new(suite: CipherSuite, connection_id: bool) -> Option<Self> {
        let mut config = ClientConfig::new(Psk::new(IDENTITY, KEY).ok()?);
        config.suites = vec![suite];
        config.connection_id = connection_id;
        let server =
            ServerConfig::new(|identity| (identity == IDENTITY.as_bytes()).then(|| PskKey::new(KEY)));
        let mut wire = Self::between(&config, server)?;
        wire.drain();
        Some(wire)
    }

    /// The same of any two; nothing has moved yet.
    pub(crate) fn between(client: &ClientConfig, mut server: ServerConfig) -> Option<Self> {
        server.max_sessions = MOST_SESSIONS;
        let now = Duration::ZERO;
        Some(Self {
            now,
            server: Server::new(server, now, rng(1)).ok()?,
            client: Session::client(client, now, rng(2)).ok()?,
            at: SocketAddr::from(([192, 0, 2, 1], 1000)),
            air: VecDeque::new(),
            seen: VecDeque::new(),
            server_got: Vec::new(),
            client_got: Vec::new(),
            session: None,
            closed: Vec::new(),
        })
    }

    pub(crate) fn nobody_received_anything(&self) {
        assert!(self.server_got.is_empty() && self.client_got.is_empty(), "nobody sent anything");
    }

    fn deliver(&mut self, to: To, datagram: &[u8]) {
        match to {
            To::Server => self.server.handle_datagram(self.now, self.at, datagram),
            To::Client => self.client.handle_datagram(self.now, datagram),
        }
        self.drain();
    }

    fn deliver_next(&mut self) -> bool {
        let Some((to, datagram)) = self.air.pop_front() else { return false };
        self.deliver(to, &datagram);
        true
    }

    fn tick(&mut self) {
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        let due = self.client.poll_timeout().into_iter().chain(self.server.poll_timeout()).min();
        assert!(due.is_none_or(|at| at > self.now), "a timer that never fires");
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while let Some(datagram) = self.client.poll_transmit() {
            self.fly(To::Server, datagram);
        }
        while let Some((_, datagram)) = self.server.poll_transmit() {
            self.fly(To::Client, datagram);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Received(payload) => self.client_got.push(payload),
                Event::Closed { why } => {
                    assert!(!why.to_string().is_empty());
                    self.closed.push(why);
                }
                _ => {}
            }
        }
        while let Some(event) = self.server.poll_event() {
            match event.event {
                Event::Connected(_) => self.session = Some(event.id),
                Event::Received(payload) => self.server_got.push(payload),
                Event::Closed { why } if self.session == Some(event.id) => self.closed.push(why),
                _ => {}
            }
        }
        assert!(self.server.session_count() <= MOST_SESSIONS);
    }

    fn fly(&mut self, to: To, datagram: Vec<u8>) {
        self.seen.push_front((to, datagram.clone()));
        self.seen.truncate(16);
        self.air.push_back((to, datagram));
        if self.air.len() > 64 {
            self.air.pop_front();
        }
    }

    /// One thing that a hostile wire may do.
    pub(crate) fn act(&mut self, act: u8, feed: &mut Feed<'_>) {
        let to = if act & 0x10 == 0 { To::Server } else { To::Client };
        match act % 16 {
            0..=4 => {
                self.deliver_next();
            }
            // Lost.
            5 => drop(self.air.pop_front()),
            // Late.
            6 => self.air.rotate_left(usize::from(!self.air.is_empty())),
            // Again.
            7 => {
                if let Some((to, datagram)) = self.recall(feed) {
                    self.deliver(to, &datagram);
                }
            }
            // Damaged, and the real one behind it or not.
            8..=10 => {
                let genuine = self.recall(feed);
                let Some((to, mut datagram)) = genuine else { return };
                for _ in 0..=feed.byte() % 3 {
                    let at = usize::from(feed.word()) % datagram.len().max(1);
                    let byte = feed.byte();
                    if let Some(place) = datagram.get_mut(at) {
                        *place = byte;
                    }
                }
                if act & 0x20 != 0 {
                    datagram.truncate(usize::from(feed.word()) % datagram.len().max(1));
                } else if act & 0x40 != 0 {
                    datagram.extend_from_slice(feed.chunk());
                }
                self.deliver(to, &datagram);
            }
            // Made up: a record of the right version with any content, or anything.
            11 | 12 => {
                let (kind, epoch, sequence) = (feed.byte(), feed.byte() % 3, feed.byte());
                let body = feed.chunk();
                let [high, low] = (body.len() as u16).to_be_bytes();
                let head = [kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, sequence, high, low];
                self.deliver(to, &[head.as_slice(), body].concat());
            }
            13 => self.deliver(to, feed.chunk()),
            14 => {
                self.now += feed.pause().min(Duration::from_secs(300));
                self.tick();
            }
            // Another address: a rebinding, or somebody else.
            _ => self.at.set_port(1000 + u16::from(feed.byte() % 8)),
        }
    }

    fn recall(&self, feed: &mut Feed<'_>) -> Option<(To, Vec<u8>)> {
        self.seen.get(usize::from(feed.byte() % 16)).cloned()
    }
}

/// From the first ClientHello on. It may fail; it never panics, and a server has never more sessions than it may.
pub(crate) fn handshake(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let head = feed.byte();
    let suites = [CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128Gcm, CipherSuite::PskAes128Cbc];
    let suite = suites[usize::from(head % 3)];
    let Some(mut wire) = Wire::new(suite, head & 0x80 != 0) else { return false };
    while let Some(act) = feed.next() {
        wire.act(act, &mut feed);
    }
    wire.nobody_received_anything();
    wire.session.is_some()
}

/// After the handshake: what arrives is what was sent, once; nobody but the peer ends the session; and it goes on afterwards.
pub(crate) fn connected(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let head = feed.byte();
    let suite = if head & 1 == 0 { CipherSuite::PskAes128Ccm8 } else { CipherSuite::PskAes128Gcm };
    let Some(mut wire) = Wire::new(suite, true) else { return false };
    while wire.deliver_next() {}
    let Some(id) = wire.session.filter(|_| wire.client.connection().is_some()) else {
        return false;
    };
    let (mut up, mut down) = (Vec::new(), Vec::new());
    while let Some(act) = feed.next() {
        if act >= 0xe0 {
            let to_server = act & 1 == 0;
            let payload = [act, up.len() as u8, down.len() as u8];
            let sent = if to_server {
                wire.client.send(wire.now, &payload)
            } else {
                wire.server.send(wire.now, id, &payload)
            };
            if sent.is_ok() {
                if to_server { up.push(payload.to_vec()) } else { down.push(payload.to_vec()) }
            }
            wire.drain();
        } else {
            wire.act(act, &mut feed);
        }
    }
    assert!(wire.closed.is_empty(), "ended by {:?}", wire.closed);
    for (got, sent) in [(&wire.server_got, &up), (&wire.client_got, &down)] {
        for (at, payload) in got.iter().enumerate() {
            assert!(sent.contains(payload), "nobody sent {payload:?}");
            assert!(!got.iter().skip(at + 1).any(|other| other == payload), "{payload:?} came twice");
        }
    }
    // The wire is honest again.
    wire.air.clear();
    wire.at.set_port(1000);
    let sent = wire.client.send(wire.now, b"up");
    wire.drain();
    while wire.deliver_next() {}
    assert!(sent.is_ok() && wire.server_got.last().is_some_and(|last| last == b"up"), "the way up is dead");
    let sent = wire.server.send(wire.now, id, b"down");
    wire.drain();
    while wire.deliver_next() {}
    assert!(
        sent.is_ok() && wire.client_got.last().is_some_and(|last| last == b"down"),
        "the way down is dead"
    );
    true
}
