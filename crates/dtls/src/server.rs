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

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{ConfigError, Rng, ServerConfig};
use crate::event::{CloseReason, Connection, Event, SendError};
use crate::ffi::CookieKey;
use crate::record::{ClientHello, Record, kind, plaintext_alert, records};
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
    wall: Option<(Duration, u64)>,
}

/// A session of a [`Server`]: never used twice by the same server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// An event on one of the sessions.
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
    pub fn set_wall_clock(&mut self, now: Duration, unix_s: Option<u64>) {
        self.now = self.now.max(now);
        self.wall = unix_s.map(|unix_s| (self.now, unix_s));
        for entry in self.sessions.values_mut() {
            entry.session.set_wall_clock(self.now, unix_s);
        }
        self.spare = None;
    }

    /// Counts since the server was made.
    pub fn counters(&self) -> ServerCounters {
        self.counters
    }
}

// Finding the session.
impl Server {
    fn route_by_cid(&mut self, from: SocketAddr, first: &Record<'_>, datagram: &[u8]) {
        let Some(&id) = self.by_cid.get(first.cid) else {
            self.answer_unknown(from);
            return;
        };
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        if entry.address != from {
            let newer = first.sequence > entry.session.newest_sequence();
            if !entry.session.is_authentic(self.now, datagram) {
                self.counters.ignored_datagrams += 1;
                return;
            }
            // An authentic record that was overtaken is delivered, and answers still go to the newer address.
            if newer {
                self.move_to(id, from);
            }
        }
        self.deliver(id, datagram);
    }

    fn route_hello(&mut self, from: SocketAddr, hello: &ClientHello<'_>, datagram: &[u8]) {
        let (connected, handshaking) = self.at(from);
        if let Some(id) = handshaking.filter(|id| self.began_with(*id, hello)) {
            // Retransmitted: our flight was lost.
            self.deliver(id, datagram);
            return;
        }
        if connected.is_some_and(|id| self.began_with(id, hello)) {
            // A late copy of the hello this session began with.
            self.counters.ignored_datagrams += 1;
            return;
        }
        self.offer_to_spare(from, hello, datagram);
    }

    fn route_by_address(&mut self, from: SocketAddr, first: &Record<'_>, datagram: &[u8]) {
        let chosen = match self.at(from) {
            (None, None) => {
                if first.epoch > 0 {
                    self.answer_unknown(from);
                } else {
                    self.counters.ignored_datagrams += 1;
                }
                return;
            }
            (Some(only), None) | (None, Some(only)) => only,
            // Either may be meant. What the connected session can read is its own; the handshake gets the rest.
            (Some(connected), Some(handshaking)) => {
                let entry = self.sessions.get_mut(&connected);
                let reads_it = entry.is_some_and(|entry| entry.session.is_authentic(self.now, datagram));
                if reads_it { connected } else { handshaking }
            }
        };
        self.deliver(chosen, datagram);
    }

    fn at(&self, address: SocketAddr) -> (Option<SessionId>, Option<SessionId>) {
        self.by_address.get(&address).map_or((None, None), |slots| (slots.connected, slots.handshaking))
    }

    fn began_with(&self, id: SessionId, hello: &ClientHello<'_>) -> bool {
        self.sessions.get(&id).is_some_and(|entry| entry.hello_random == hello.random)
    }

    fn deliver(&mut self, id: SessionId, datagram: &[u8]) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let ignored_before = entry.session.counters().ignored_datagrams;
        entry.session.handle_datagram(self.now, datagram);
        if entry.session.counters().ignored_datagrams == ignored_before {
            entry.heard = self.now;
        } else {
            self.counters.ignored_datagrams += 1;
        }
        self.collect(id);
    }

    fn answer_unknown(&mut self, to: SocketAddr) {
        self.counters.ignored_datagrams += 1;
        if let Some(description) = self.config.unknown_session_alert {
            self.transmit(to, plaintext_alert(description));
        }
    }
}

// Making sessions, and letting them go.
impl Server {
    /// The cookie exchange: the spare answers, and stays, until a ClientHello brings its cookie back.
    fn offer_to_spare(&mut self, from: SocketAddr, hello: &ClientHello<'_>, datagram: &[u8]) {
        let Ok(mut session) = self.take_spare() else {
            // Out of memory: the client will try again.
            self.counters.ignored_datagrams += 1;
            return;
        };
        session.wait_for(self.now, &address_bytes(from), self.config.handshake_deadline);
        session.handle_datagram(self.now, datagram);
        if session.has_begun() {
            self.adopt(session, from, hello.random);
            return;
        }
        let mut answered = false;
        while let Some(answer) = session.poll_transmit() {
            answered = true;
            self.transmit(from, answer);
        }
        if session.is_closed() {
            // It refused the hello; a used-up engine does not serve again.
            self.counters.handshakes_failed += 1;
            return;
        }
        if answered {
            self.counters.cookies_sent += 1;
        } else {
            self.counters.ignored_datagrams += 1;
        }
        self.spare = Some(session);
    }

    fn take_spare(&mut self) -> Result<Session, ConfigError> {
        if let Some(spare) = self.spare.take() {
            return Ok(spare);
        }
        let own_cid = self.fresh_cid();
        let rng = lend(&self.rng);
        let cookies = Arc::clone(&self.cookies);
        let mut session = Session::server_with(&self.config, cookies, &[0], own_cid, self.now, rng)?;
        if let Some((at, unix_s)) = self.wall {
            session
                .set_wall_clock(self.now, Some(unix_s.saturating_add(self.now.saturating_sub(at).as_secs())));
        }
        Ok(session)
    }

    fn fresh_cid(&mut self) -> Vec<u8> {
        let mut rng = lend(&self.rng);
        let mut cid = vec![0; self.config.connection_id_length];
        // Short identifiers may collide; give up on a full space rather than loop for ever.
        for _ in 0..64 {
            rng(&mut cid);
            if !self.by_cid.contains_key(&cid) {
                break;
            }
        }
        cid
    }

    fn adopt(&mut self, session: Session, address: SocketAddr, hello_random: [u8; 32]) {
        let id = SessionId(self.next_id);
        self.next_id += 1;
        if let Some(overtaken) = self.at(address).1 {
            // The client began anew; its first attempt was never announced.
            self.remove(overtaken);
        }
        if self.sessions.len() >= self.config.max_sessions {
            self.evict_one();
        }
        self.by_address.entry(address).or_default().handshaking = Some(id);
        if !session.assigned_cid().is_empty() {
            self.by_cid.insert(session.assigned_cid().to_vec(), id);
        }
        self.handshaking.insert(id);
        self.counters.handshakes_begun += 1;
        let entry = Entry { session, address, heard: self.now, hello_random, connected: false };
        self.sessions.insert(id, entry);
        self.collect(id);
    }

    fn evict_one(&mut self) {
        let Some(id) = self.sessions.iter().min_by_key(|(id, entry)| (entry.heard, **id)).map(|(id, _)| *id)
        else {
            return;
        };
        self.counters.evictions += 1;
        self.end(id, CloseReason::Evicted);
    }

    fn move_to(&mut self, id: SessionId, address: SocketAddr) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let old = core::mem::replace(&mut entry.address, address);
        self.counters.address_moves += 1;
        self.leave_address(old, id);
        let displaced = self.by_address.entry(address).or_default().connected.replace(id);
        // A session that was here goes on by its Connection ID; without one nothing can reach it any more.
        if let Some(displaced) =
            displaced.filter(|id| self.connection(*id).is_some_and(|c| c.own_cid.is_none()))
        {
            self.end(displaced, CloseReason::Replaced);
        }
    }

    /// Takes what a session has to say and updates the maps accordingly.
    fn collect(&mut self, id: SessionId) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let address = entry.address;
        let mut transmits = Vec::new();
        while let Some(datagram) = entry.session.poll_transmit() {
            transmits.push(datagram);
        }
        let mut events = Vec::new();
        while let Some(event) = entry.session.poll_event() {
            events.push(event);
        }
        for datagram in transmits {
            self.transmit(address, datagram);
        }
        for event in events {
            match &event {
                Event::Connected(connection) => {
                    let uses_cid = connection.own_cid.is_some();
                    self.establish(id, address, uses_cid);
                    self.push_event(id, address, event);
                }
                Event::Closed { .. } => {
                    if !self.remove(id) {
                        self.counters.handshakes_failed += 1;
                    }
                    self.push_event(id, address, event);
                }
                _ => self.push_event(id, address, event),
            }
        }
    }

    fn establish(&mut self, id: SessionId, address: SocketAddr, uses_cid: bool) {
        self.counters.handshakes_completed += 1;
        self.handshaking.remove(&id);
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.connected = true;
            if !uses_cid {
                let cid = entry.session.assigned_cid().to_vec();
                self.by_cid.remove(&cid);
            }
        }
        let slots = self.by_address.entry(address).or_default();
        slots.handshaking = slots.handshaking.filter(|other| *other != id);
        if let Some(replaced) = slots.connected.replace(id) {
            self.end(replaced, CloseReason::Replaced);
        }
    }

    fn end(&mut self, id: SessionId, why: CloseReason) {
        let Some(address) = self.address(id) else { return };
        self.remove(id);
        self.push_event(id, address, Event::Closed { why });
    }

    /// Takes a session out of all maps. Whether it was connected.
    fn remove(&mut self, id: SessionId) -> bool {
        let Some(entry) = self.sessions.remove(&id) else { return false };
        self.handshaking.remove(&id);
        if self.by_cid.get(entry.session.assigned_cid()) == Some(&id) {
            self.by_cid.remove(entry.session.assigned_cid());
        }
        self.leave_address(entry.address, id);
        entry.connected
    }

    fn leave_address(&mut self, address: SocketAddr, id: SessionId) {
        if let Some(slots) = self.by_address.get_mut(&address) {
            slots.connected = slots.connected.filter(|other| *other != id);
            slots.handshaking = slots.handshaking.filter(|other| *other != id);
            if slots.connected.is_none() && slots.handshaking.is_none() {
                self.by_address.remove(&address);
            }
        }
    }

    fn transmit(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back((to, datagram));
        } else {
            self.counters.overflowed_transmits += 1;
        }
    }

    fn push_event(&mut self, id: SessionId, address: SocketAddr, event: Event) {
        let droppable = matches!(event, Event::Received(_) | Event::UnauthenticatedAlert(_));
        if droppable && self.events.len() >= EVENTS_MAX {
            self.counters.overflowed_events += 1;
        } else {
            self.events.push_back(ServerEvent { id, address, event });
        }
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

fn lend(rng: &SharedRng) -> Rng {
    let rng = Arc::clone(rng);
    Box::new(move |buffer| {
        let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
        (*rng)(buffer);
    })
}

/// What a cookie is bound to.
fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes
}
