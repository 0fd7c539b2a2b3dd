//! One DTLS association with one peer: handshake, records, retransmission, closing, saving.
//!
//! The session owns its engine and everything waiting to be polled. Invariants: events end with at most one `Closed`; after
//! it the engine is never entered again; a connected session never shows the library a record of epoch 0, so nothing
//! unauthenticated can end or reset it.

mod progress;

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::Arc;

use crate::alert::Alert;
use crate::config::{CipherSuite, ClientConfig, ConfigError, Rng, ServerConfig};
use crate::event::{CloseReason, Connection, Counters, Event, SendError};
use crate::ffi::{self, Clock, CookieKey, Engine, Setup, code};
use crate::saved::{RestoreError, SaveRefused, SavedSession};
use crate::{LibraryError, WallTime};

/// Application records waiting for `poll_event`; more are dropped, as a full socket buffer would.
const EVENTS_MAX: usize = 256;
/// How long a peer has to contradict an alert in clear text that says it refuses a handshake: anybody can send one.
const CONTRADICTION: Duration = Duration::from_secs(5);
/// A record is 13 bytes or more; a few rounds more than a datagram has records.
const RECORD_MIN_BYTES: usize = 13;
const ROUNDS_SPARE: usize = 16;

/// A DTLS session. See the crate's head for how to drive it.
pub struct Session {
    engine: Engine,
    side: Side,
    phase: Phase,
    events: VecDeque<Event>,
    counters: Counters,
    /// The latest time seen: time does not go back here even if a caller's does.
    now: Duration,
    /// Wall clock as of a moment of the caller's time.
    wall: Option<(Duration, WallTime)>,
}

enum Side {
    Client,
    Server {
        address: Vec<u8>,
        suites: Vec<CipherSuite>,
        /// What the client is asked to use, if it can.
        own_cid: Vec<u8>,
    },
}

enum Phase {
    Handshaking { deadline: Duration, told: Option<Alert> },
    Connected(Connection),
    Closed,
}

enum Step {
    /// Something was done: look again.
    Again,
    /// The library wants another datagram or the timer.
    Wait,
}

impl Session {
    /// Begins a handshake; its first flight waits in [`Self::poll_transmit`].
    ///
    /// # Errors
    /// A configuration that cannot work, by name.
    pub fn client(config: &ClientConfig, now: Duration, rng: Rng) -> Result<Self, ConfigError> {
        let mut session = Self::client_engine(config, now, rng)?;
        session.drive(0);
        Ok(session)
    }

    /// Waits for a client at `client_address`: any bytes that identify where its datagrams come from, which its cookie is
    /// bound to. For many clients see [`crate::Server`].
    ///
    /// # Errors
    /// A configuration that cannot work, by name.
    pub fn server(
        config: &ServerConfig,
        client_address: &[u8],
        now: Duration,
        mut rng: Rng,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let cookies = cookie_key(now, &mut rng)?;
        let mut own_cid = vec![0; config.connection_id_length];
        rng(&mut own_cid);
        Self::server_with(config, cookies, client_address, own_cid, now, rng)
    }

    /// Takes up a saved session: no handshake, the next record goes out under the saved keys. The configuration must be the
    /// one the session was made with.
    ///
    /// # Errors
    /// [`RestoreError`]: start over with [`Self::client`].
    pub fn restore(
        config: &ClientConfig,
        saved: SavedSession,
        now: Duration,
        rng: Rng,
    ) -> Result<Self, RestoreError> {
        let mut session = Self::client_engine(config, now, rng)?;
        match session.engine.load(session.clock(), saved.as_bytes()) {
            0 => {}
            code => return Err(RestoreError::Unusable(LibraryError::new(code))),
        }
        session.connected(true);
        if matches!(session.phase, Phase::Closed) {
            return Err(RestoreError::Unusable(LibraryError::new(code::INTERNAL_ERROR)));
        }
        Ok(session)
    }

    /// One datagram from the peer. Whatever is not a valid part of this session is ignored and counted.
    pub fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        self.advance(now);
        let usable = !datagram.is_empty() && datagram.len() <= ffi::DATAGRAM_MAX_BYTES;
        match self.phase {
            Phase::Closed => self.counters.ignored_datagrams += 1,
            _ if !usable => self.counters.ignored_datagrams += 1,
            Phase::Handshaking { .. } => self.handle_during_handshake(datagram),
            Phase::Connected(_) => self.handle_while_connected(datagram),
        }
    }

    /// To be called when [`Self::poll_timeout`] is reached; harmless at any other time.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.advance(now);
        let Phase::Handshaking { deadline, told } = self.phase else { return };
        if self.now >= deadline {
            self.finish(match told {
                Some(alert) => CloseReason::Alert { alert, authenticated: false, during_handshake: true },
                None => CloseReason::HandshakeDeadline,
            });
        } else if self.engine.timer().is_some_and(|at| self.now >= at) {
            self.drive(0);
        }
    }

    /// When [`Self::handle_timeout`] is due, on the caller's scale. An established session has no timers.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            // Also after an alert: if it was forged, the peer may have lost a flight like at any other time.
            Phase::Handshaking { deadline, .. } => {
                Some(self.engine.timer().map_or(deadline, |timer| timer.min(deadline)))
            }
            Phase::Connected(_) | Phase::Closed => None,
        }
    }

    /// The next datagram to send to the peer.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.engine.take_outgoing()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sends one record of application data: one call, one datagram.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub fn send(&mut self, now: Duration, payload: &[u8]) -> Result<(), SendError> {
        self.advance(now);
        match self.phase {
            Phase::Handshaking { .. } => return Err(SendError::NotConnected),
            Phase::Closed => return Err(SendError::Closed),
            Phase::Connected(_) => {}
        }
        let limit = self.engine.max_payload().unwrap_or(0);
        if payload.len() > limit {
            return Err(SendError::TooLarge { limit, got: payload.len() });
        }
        if self.engine.outgoing_len() >= ffi::OUTGOING_MAX {
            return Err(SendError::QueueFull);
        }
        let code = self.engine.write(self.clock(), payload);
        if code < 0 {
            self.fail(code);
            return Err(SendError::Library(LibraryError::new(code)));
        }
        Ok(())
    }

    /// Says goodbye to a connected peer and ends the session.
    pub fn close(&mut self, now: Duration) {
        self.advance(now);
        if matches!(self.phase, Phase::Connected(_)) {
            // A goodbye that cannot be said is not worth more than the end itself.
            let _ = self.engine.close_notify(self.clock());
        }
        self.finish(CloseReason::LocalClose);
    }

    /// Ends a connected session with a fatal alert in a protected record, e.g. [`crate::Alert::ACCESS_DENIED`] for a device that
    /// may no longer come in.
    pub fn abort(&mut self, now: Duration, description: u8) {
        self.advance(now);
        if matches!(self.phase, Phase::Connected(_)) {
            let _ = self.engine.fatal_alert(self.clock(), description);
        }
        self.finish(CloseReason::LocalClose);
    }

    /// Tells the wall clock as of `now`; it is carried forward by the caller's time. Only certificates are checked against
    /// it, and without it none is valid. On a connection whose time is unverified, one that is trusted settles the matter:
    /// [`Event::TimeVerified`], or the end.
    pub fn set_wall_clock(&mut self, now: Duration, wall: Option<WallTime>) {
        self.advance(now);
        self.wall = wall.map(|wall| (self.now, wall));
        self.settle_time();
    }

    /// What the handshake settled, while connected.
    pub fn connection(&self) -> Option<&Connection> {
        match &self.phase {
            Phase::Connected(connection) => Some(connection),
            Phase::Handshaking { .. } | Phase::Closed => None,
        }
    }

    /// Over: nothing will be sent or received any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// The most bytes a record adds to its payload, UDP and IP headers not counted. `None` unless connected.
    pub fn overhead(&self) -> Option<usize> {
        self.connection().and_then(|_| self.engine.record_expansion())
    }

    /// The most bytes [`Self::send`] takes. `None` unless connected.
    pub fn max_payload(&self) -> Option<usize> {
        self.connection().and_then(|_| self.engine.max_payload())
    }

    /// What was dropped so far.
    pub fn counters(&self) -> Counters {
        Counters { overflowed_transmits: self.engine.overflowed_transmits(), ..self.counters }
    }

    /// Serialises a connected session, which ends its use here. Poll everything first.
    ///
    /// # Errors
    /// [`SaveRefused`], with the session still in use where that is possible.
    pub fn save(mut self) -> Result<SavedSession, SaveRefused> {
        match self.try_save() {
            Ok(saved) => Ok(saved),
            Err(why) => Err(SaveRefused { session: Box::new(self), why }),
        }
    }
}

// What the server's demultiplexer needs beyond the public part.
impl Session {
    pub(crate) fn server_with(
        config: &ServerConfig,
        cookies: Arc<CookieKey>,
        client_address: &[u8],
        own_cid: Vec<u8>,
        now: Duration,
        rng: Rng,
    ) -> Result<Self, ConfigError> {
        let suites = config.suites_in_effect();
        let setup = Setup {
            role: ffi::Role::Server {
                psk_lookup: Arc::clone(&config.psk_lookup),
                certificate: config.certificate.clone(),
                cookies,
                client_address: client_address.to_vec(),
            },
            suites: suites.iter().map(|suite| suite.id()).collect(),
            mtu: config.mtu,
            timer_min: config.timer_min,
            timer_max: config.timer_max,
            own_cid: Some(own_cid.clone()).filter(|cid| !cid.is_empty()),
        };
        let side = Side::Server { address: client_address.to_vec(), suites, own_cid };
        Self::with_engine(&setup, side, config.handshake_deadline, now, rng)
    }

    /// Serves another client, on a server session that has not yet taken any ClientHello as genuine.
    pub(crate) fn wait_for(&mut self, now: Duration, client_address: &[u8], handshake_deadline: Duration) {
        self.advance(now);
        if let Side::Server { address, .. } = &mut self.side {
            *address = client_address.to_vec();
        }
        let deadline = self.now.saturating_add(handshake_deadline);
        self.phase = Phase::Handshaking { deadline, told: None };
        let code = self.engine.set_client_address(self.clock(), client_address);
        if code != 0 {
            self.fail(code);
        }
    }

    /// A server that holds a ClientHello with a good cookie.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(self.phase, Phase::Connected(_)) || self.engine.is_past_client_hello()
    }

    /// Whether the first record of the datagram belongs to this connected session, authentic and fresh.
    pub(crate) fn is_authentic(&mut self, now: Duration, datagram: &[u8]) -> bool {
        self.advance(now);
        matches!(self.phase, Phase::Connected(_)) && self.engine.is_authentic(self.clock(), datagram)
    }

    /// The highest record number received in the current epoch.
    pub(crate) fn newest_sequence(&self) -> u64 {
        self.engine.replay_window().0
    }

    /// The Connection ID this server asks its client to use; empty if none.
    pub(crate) fn assigned_cid(&self) -> &[u8] {
        match &self.side {
            Side::Client => &[],
            Side::Server { own_cid, .. } => own_cid,
        }
    }
}

// Making one.
impl Session {
    fn client_engine(config: &ClientConfig, now: Duration, rng: Rng) -> Result<Self, ConfigError> {
        config.check()?;
        let server_name = config.server_name.as_deref().map(server_name).transpose()?;
        let setup = Setup {
            role: ffi::Role::Client { credential: config.credential.clone(), server_name },
            suites: config.suites.iter().map(|suite| suite.id()).collect(),
            mtu: config.mtu,
            timer_min: config.timer_min,
            timer_max: config.timer_max,
            own_cid: config.connection_id.then(Vec::new),
        };
        Self::with_engine(&setup, Side::Client, config.handshake_deadline, now, rng)
    }

    fn with_engine(
        setup: &Setup,
        side: Side,
        handshake_deadline: Duration,
        now: Duration,
        rng: Rng,
    ) -> Result<Self, ConfigError> {
        let engine = Engine::new(setup, rng, Clock { now, wall: None })
            .map_err(|code| ConfigError::Library(LibraryError::new(code)))?;
        let deadline = now.saturating_add(handshake_deadline);
        Ok(Self {
            engine,
            side,
            phase: Phase::Handshaking { deadline, told: None },
            events: VecDeque::new(),
            counters: Counters::default(),
            now,
            wall: None,
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Handshaking { .. } => "handshaking",
            Phase::Connected(_) => "connected",
            Phase::Closed => "closed",
        };
        f.debug_struct("Session")
            .field("phase", &phase)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

/// Draws the secret that binds cookies to addresses.
pub(crate) fn cookie_key(now: Duration, rng: &mut Rng) -> Result<Arc<CookieKey>, ConfigError> {
    CookieKey::new(Clock { now, wall: None }, rng)
        .map(Arc::new)
        .map_err(|code| ConfigError::Library(LibraryError::new(code)))
}

fn server_name(name: &str) -> Result<CString, ConfigError> {
    if name.is_empty() || name.len() > 255 {
        return Err(ConfigError::ServerName);
    }
    CString::new(name).map_err(|_| ConfigError::ServerName)
}
