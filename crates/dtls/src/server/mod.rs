//! Many DTLS clients behind one socket: which session a datagram belongs to, and how many there may be.
//!
//! The server owns its sessions and three ways to them: by number, by address, by Connection ID. Invariants:
//! - A client costs nothing before its cookie came back (RFC 6347 section 4.2.1): one spare session answers every first
//!   ClientHello, and becomes a client's own when the cookie is good.
//! - An address has at most one connected session and one handshake. A new handshake leaves the connected session alone until it
//!   completes (RFC 6347 section 4.2.8); forged or repeated ClientHellos therefore end nothing.
//! - A session changes its address only by an authentic record with its Connection ID that is newer than every
//!   record before it (RFC 9146 section 6). Reachability at the new address is not probed: answers are no larger than what
//!   the application chooses to send.
//! - There are never more than `max_sessions`: one more evicts the session idle the longest.
//! - Maps are ordered, so the same inputs give the same outputs.

mod lifecycle;
mod routing;

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::WallTime;
use crate::config::{ConfigError, Rng, ServerConfig};
use crate::event::{Connection, Event, SendError};
use crate::ffi::CookieKey;
use crate::record::{ClientHello, kind, records};
use crate::session::{Session, cookie_key};

/// Datagrams waiting for `poll_transmit`; more are dropped, as on any wire.
const TRANSMITS_MAX: usize = 4096;
/// Events waiting for `poll_event` before application data is dropped; what opens or closes a session never is.
const EVENTS_MAX: usize = 4096;

/// A DTLS server for many clients. See the crate's head for how to drive it.
pub struct Server {
    config: ServerConfig,
    cookies: Arc<CookieKey>,
    rng: SharedRng,
    sessions: BTreeMap<SessionId, Entry>,
    by_address: BTreeMap<SocketAddr, Slots>,
    by_cid: BTreeMap<Vec<u8>, SessionId>,
    /// The sessions that have timers.
    handshaking: BTreeSet<SessionId>,
    /// Answers first ClientHellos, from any address.
    spare: Option<Session>,
    next_id: u64,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<ServerEvent>,
    counters: ServerCounters,
    now: Duration,
    wall: Option<(Duration, WallTime)>,
}

/// A session of a [`Server`]: never used twice by the same server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// An event on one of the sessions. A handshake that fails is announced by its `Closed` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEvent {
    /// Which session.
    pub id: SessionId,
    /// Where its client is now.
    pub address: SocketAddr,
    /// What happened.
    pub event: Event,
}

/// Counts since the server was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerCounters {
    /// First ClientHellos answered with a cookie.
    pub cookies_sent: u64,
    /// Handshakes begun with a good cookie.
    pub handshakes_begun: u64,
    /// Handshakes completed.
    pub handshakes_completed: u64,
    /// Handshakes that failed or ran out of time.
    pub handshakes_failed: u64,
    /// Sessions that changed their address by Connection ID.
    pub address_moves: u64,
    /// Sessions dropped to make room.
    pub evictions: u64,
    /// Datagrams that belong to no session, are not DTLS, or moved nothing.
    pub ignored_datagrams: u64,
    /// Datagrams to send that found the queue full.
    pub overflowed_transmits: u64,
    /// Application records that found the event queue full.
    pub overflowed_events: u64,
}

struct Entry {
    session: Session,
    address: SocketAddr,
    /// When its client was last heard, for eviction.
    heard: Duration,
    /// Tells a repeated ClientHello from a new attempt.
    hello_random: [u8; 32],
    connected: bool,
}

#[derive(Default)]
struct Slots {
    connected: Option<SessionId>,
    handshaking: Option<SessionId>,
}

type SharedRng = Arc<Mutex<Rng>>;

impl Server {
    /// # Errors
    /// A configuration that cannot work, by name.
    pub fn new(config: ServerConfig, now: Duration, mut rng: Rng) -> Result<Self, ConfigError> {
        config.check()?;
        let cookies = cookie_key(now, &mut rng)?;
        Ok(Self {
            config,
            cookies,
            rng: Arc::new(Mutex::new(rng)),
            sessions: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_cid: BTreeMap::new(),
            handshaking: BTreeSet::new(),
            spare: None,
            next_id: 1,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: ServerCounters::default(),
            now,
            wall: None,
        })
    }

    /// One datagram from the socket. Whatever is no valid part of a session is ignored and counted.
    pub fn handle_datagram(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) {
        self.now = self.now.max(now);
        let Some(first) = records(datagram, self.config.connection_id_length).next() else {
            self.counters.ignored_datagrams += 1;
            return;
        };
        if first.kind == kind::CONNECTION_ID {
            self.route_by_cid(from, &first, datagram);
        } else if let Some(hello) = ClientHello::peek(datagram) {
            self.route_hello(from, &hello, datagram);
        } else {
            self.route_by_address(from, &first, datagram);
        }
    }

    /// To be called when [`Self::poll_timeout`] is reached; harmless at any other time.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.now = self.now.max(now);
        let handshaking: Vec<_> = self.handshaking.iter().copied().collect();
        for id in handshaking {
            let now = self.now;
            if let Some(entry) = self.sessions.get_mut(&id) {
                entry.session.handle_timeout(now);
                self.collect(id);
            }
        }
    }

    /// When [`Self::handle_timeout`] is due, on the caller's scale.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let due = |id| self.sessions.get(id).and_then(|entry: &Entry| entry.session.poll_timeout());
        self.handshaking.iter().filter_map(due).min()
    }

    /// The next datagram to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// Sends one record of application data to a client.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub fn send(&mut self, now: Duration, id: SessionId, payload: &[u8]) -> Result<(), SendError> {
        self.now = self.now.max(now);
        if self.transmits.len() >= TRANSMITS_MAX {
            return Err(SendError::QueueFull);
        }
        let entry = self.sessions.get_mut(&id).ok_or(SendError::NotConnected)?;
        let sent = entry.session.send(self.now, payload);
        self.collect(id);
        sent
    }

    /// Says goodbye to a client and forgets it.
    pub fn close(&mut self, now: Duration, id: SessionId) {
        self.now = self.now.max(now);
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.close(self.now);
            self.collect(id);
        }
    }

    /// Ends a session with a fatal alert in a protected record and forgets it.
    pub fn abort(&mut self, now: Duration, id: SessionId, description: u8) {
        self.now = self.now.max(now);
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.abort(self.now, description);
            self.collect(id);
        }
    }

    /// Forgets a session without a word or an event, as a server does that restarts.
    pub fn forget(&mut self, id: SessionId) {
        self.remove(id);
    }

    /// Where a session's client is now.
    pub fn address(&self, id: SessionId) -> Option<SocketAddr> {
        self.sessions.get(&id).map(|entry| entry.address)
    }

    /// What a connected session's handshake settled.
    pub fn connection(&self, id: SessionId) -> Option<&Connection> {
        self.sessions.get(&id).and_then(|entry| entry.session.connection())
    }

    /// All sessions, handshakes included, oldest first.
    pub fn session_ids(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    /// How many sessions there are, handshakes included.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The most bytes [`Self::send`] takes for a connected session.
    pub fn max_payload(&self, id: SessionId) -> Option<usize> {
        self.sessions.get(&id).and_then(|entry| entry.session.max_payload())
    }

    /// Tells the wall clock as of `now`, for certificates.
    pub fn set_wall_clock(&mut self, now: Duration, wall: Option<WallTime>) {
        self.now = self.now.max(now);
        self.wall = wall.map(|wall| (self.now, wall));
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        for id in ids {
            if let Some(entry) = self.sessions.get_mut(&id) {
                entry.session.set_wall_clock(self.now, wall);
                self.collect(id);
            }
        }
        self.spare = None;
    }

    /// Counts since the server was made.
    pub fn counters(&self) -> ServerCounters {
        self.counters
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("sessions", &self.sessions.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
