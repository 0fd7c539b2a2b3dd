//! The cloud as one sans-IO machine: datagrams in, datagrams out.
//!
//! [`Cloud`] owns the DTLS server, one CoAP endpoint a session, what each session watches, the answers that are held
//! back, and the [`Plane`] behind them. After every call it has been pumped: all that could be said is in the
//! outbox. Invariants: same configuration, seed, datagrams and times give the same datagrams and ledgers; a silenced cloud
//! neither hears nor speaks; a restart forgets sessions and watchers and nothing else.

use super::config::{CloudConfig, CloudError};
use super::device::DeviceKey;
use super::fault::{Babble, FaultKind, Faults};
use super::plane::{Notice, Plane};
use super::services::{self, Reaction, Watch};
use super::{cbor, random};
use fieldgate_coap::{
    Code, Config, Delivery, Endpoint, Event, ExchangeId, IncomingRequest, ObserveRequest, ObserverId,
    Response, Seed, format,
};
use fieldgate_dtls::{Event as DtlsEvent, Server, ServerConfig, SessionId, WallTime};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Datagrams waiting for `poll_transmit`; more are lost, as on any wire.
const MOST_OUTBOX: usize = 8_192;
/// Answers held back at once; more are given without delay.
const MOST_DELAYED: usize = 1_024;
/// Paths of a device that are remembered as shown.
const MOST_SHOWN: usize = 64;

/// A Golioth-compatible cloud: one project, its devices' CoAP services and what came in through them.
#[derive(Debug)]
pub struct Cloud {
    pub(super) plane: Plane,
    config: CloudConfig,
    pub(super) dtls: Server,
    pub(super) peers: BTreeMap<SessionId, Peer>,
    pub(super) faults: Faults,
    pub(super) delayed: BTreeMap<(Duration, u64), Delayed>,
    next_delayed: u64,
    pub(super) silence: Option<Silence>,
    pub(super) babble: Option<Babble>,
    pub(super) outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(super) counters: CloudCounters,
}

/// One connected session.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) device: DeviceKey,
    endpoint: Endpoint,
    pub(super) watches: BTreeMap<ObserverId, Watch>,
    heard: Duration,
}

#[derive(Debug)]
pub(super) struct Delayed {
    session: SessionId,
    exchange: ExchangeId,
    observes: bool,
    reaction: Reaction,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Silence {
    Until(Duration),
    ForGood,
}

/// Counts since the cloud was made, and how many sessions there are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CloudCounters {
    /// Requests that reached the application: once each, a block-wise upload as one.
    pub requests: u64,
    /// Of those, answered 4.29 by the limiter.
    pub too_many_requests: u64,
    /// Of those, answered 4.xx by a service.
    pub refused: u64,
    /// Of those, befallen by a fault.
    pub faulted: u64,
    /// UDP datagrams in, those not heard in silence left out.
    pub datagrams_in: u64,
    /// Their payload bytes.
    pub bytes_in: u64,
    /// UDP datagrams out.
    pub datagrams_out: u64,
    /// Their payload bytes.
    pub bytes_out: u64,
    /// Datagrams lost because nobody polled for them.
    pub outbox_dropped: u64,
    /// Handshakes completed.
    pub handshakes: u64,
    /// Handshakes that failed or ran out of time.
    pub handshakes_failed: u64,
    /// Sessions that moved to another address by Connection ID.
    pub address_moves: u64,
    /// Connected sessions now.
    pub sessions: u64,
    /// Restarts by [`Cloud::restart`].
    pub restarts: u64,
    /// Sessions forgotten because they were idle too long.
    pub expired_sessions: u64,
    /// Stream messages acknowledged.
    pub stream_messages: u64,
    /// Their bodies' bytes.
    pub stream_bytes: u64,
    /// Of those, taken by no pipeline and lost.
    pub unmatched: u64,
    /// Log messages acknowledged.
    pub log_messages: u64,
}

impl Cloud {
    /// A cloud with its devices. `seed` decides every id and every random byte of the DTLS side; `unix_ms_at_origin` is the wall
    /// time where `now` is zero.
    ///
    /// # Errors
    /// Devices that clash or could not connect, or a DTLS configuration that cannot work.
    pub fn new(config: CloudConfig, seed: u64, unix_ms_at_origin: i64) -> Result<Self, CloudError> {
        let plane = Plane::new(&config, seed, unix_ms_at_origin)?;
        let keys = plane.keys.clone();
        let mut dtls = ServerConfig::new(move |identity| keys.key(identity));
        dtls.suites.clone_from(&config.suites);
        dtls.certificate.clone_from(&config.certificate);
        dtls.unknown_session_alert = config.unknown_session_alert;
        if !config.connection_id {
            dtls.connection_id_length = 0;
        }
        let mut dtls = Server::new(dtls, Duration::ZERO, random::strong(seed))?;
        let unix_s = u64::try_from(unix_ms_at_origin / 1000).unwrap_or(0);
        dtls.set_wall_clock(Duration::ZERO, Some(WallTime { unix_s, trusted: true }));
        Ok(Self {
            plane,
            dtls,
            config,
            peers: BTreeMap::new(),
            faults: Faults::default(),
            delayed: BTreeMap::new(),
            next_delayed: 0,
            silence: None,
            babble: None,
            outbox: VecDeque::new(),
            counters: CloudCounters::default(),
        })
    }

    /// The identity, NAME@PROJECT, of the connected device whose session is the newest.
    #[must_use]
    pub fn newest_device(&self) -> Option<String> {
        let connected = self.peers.values().filter_map(|peer| self.plane.devices.get(&peer.device));
        let newest = connected.max_by_key(|device| device.session_since)?;
        Some(format!("{}@{}", newest.name, self.plane.project))
    }

    /// One datagram from the socket.
    pub fn handle_datagram(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) {
        if self.is_silent(now) {
            return;
        }
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += datagram.len() as u64;
        self.expire_sessions(now);
        self.dtls.handle_datagram(now, from, datagram);
        self.pump(now);
    }

    /// To be called when [`poll_timeout`](Self::poll_timeout) is reached; harmless at any other time.
    pub fn handle_timeout(&mut self, now: Duration) {
        if !self.is_silent(now) {
            self.silence = None;
        }
        self.plane.calls.expire(now);
        self.dtls.handle_timeout(now);
        for peer in self.peers.values_mut() {
            peer.endpoint.handle_timeout(now);
        }
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let Delayed { session, exchange, observes, reaction } = entry.remove();
            self.answer(now, session, exchange, observes, reaction);
        }
        self.pump(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let silence_ends = match self.silence {
            Some(Silence::Until(end)) => Some(end),
            _ => None,
        };
        let endpoints = self.peers.values().filter_map(|peer| peer.endpoint.poll_timeout());
        let others = [
            self.dtls.poll_timeout(),
            self.delayed.keys().next().map(|(at, _)| *at),
            self.plane.calls.next_deadline(),
            silence_ends,
        ];
        endpoints.chain(others.into_iter().flatten()).min()
    }

    /// The next datagram to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outbox.pop_front()
    }
}

// The way of a datagram.
impl Cloud {
    /// Whether this is a management key of the project.
    pub(super) fn accepts_key(&self, offered: &[u8]) -> bool {
        self.config.api_key.is(offered) || self.plane.api_keys.iter().any(|other| other.key.is(offered))
    }

    /// Moves everything on until nothing more can be said now.
    pub(super) fn pump(&mut self, now: Duration) {
        let mut touched: BTreeSet<SessionId> = self.peers.keys().copied().collect();
        loop {
            while let Some(event) = self.dtls.poll_event() {
                touched.insert(event.id);
                self.on_session_event(now, event.id, event.event);
            }
            for session in &touched {
                self.serve_peer(now, *session);
            }
            if self.plane.notices.is_empty() {
                break;
            }
            while let Some(notice) = self.plane.notices.pop_front() {
                self.notify(now, &notice);
            }
        }
        for session in touched {
            self.flush_peer(now, session);
        }
        while let Some(datagram) = self.dtls.poll_transmit() {
            self.say(now, datagram);
        }
    }

    fn on_session_event(&mut self, now: Duration, session: SessionId, event: DtlsEvent) {
        match event {
            DtlsEvent::Connected(connection) => {
                let device = match (&connection.psk_identity, &connection.peer) {
                    (Some(identity), _) => self.plane.key_of_identity(identity),
                    (None, Some(subject)) => self.plane.key_of_certificate(now, subject),
                    (None, None) => None,
                };
                let Some(device) = device else {
                    self.dtls.close(now, session);
                    return;
                };
                if let Some(owner) = self.plane.devices.get_mut(&device) {
                    owner.last_online_ns = Some(self.plane.wall.unix_ns(now));
                    owner.session_since = now;
                }
                let number = self.plane.ids.number();
                let [a, b, ..] = number.to_be_bytes();
                let seed = Seed { message_id: u16::from_be_bytes([a, b]), token: number, random: number };
                let endpoint = Endpoint::new(endpoint_config(), seed);
                let peer = Peer { device, endpoint, watches: BTreeMap::new(), heard: now };
                self.peers.insert(session, peer);
            }
            DtlsEvent::Received(datagram) => {
                if let Some(peer) = self.peers.get_mut(&session) {
                    peer.heard = now;
                    peer.endpoint.handle_datagram(now, &datagram);
                    self.serve_peer(now, session);
                }
            }
            DtlsEvent::Closed { .. } => {
                self.peers.remove(&session);
            }
            _ => {}
        }
    }

    fn serve_peer(&mut self, now: Duration, session: SessionId) {
        while let Some(event) = self.peers.get_mut(&session).and_then(|peer| peer.endpoint.poll_event()) {
            match event {
                Event::Request(request) => self.on_request(now, session, &request),
                Event::ObserverGone { observer, .. } => {
                    if let Some(peer) = self.peers.get_mut(&session) {
                        peer.watches.remove(&observer);
                    }
                }
                Event::NotificationDelivered { observer, .. } => {
                    let peer = self.peers.get(&session);
                    if let Some((device, watch)) =
                        peer.and_then(|p| Some((p.device, p.watches.get(&observer)?)))
                    {
                        let path = watch.path();
                        self.note_shown(now, device, path);
                    }
                }
                _ => {}
            }
        }
    }

    fn on_request(&mut self, now: Duration, session: SessionId, request: &IncomingRequest) {
        let Some(device) = self.peers.get(&session).map(|peer| peer.device) else { return };
        self.counters.requests += 1;
        let unix_ns = self.plane.wall.unix_ns(now);
        let Some(owner) = self.plane.devices.get_mut(&device) else {
            // Deleted while connected.
            self.dtls.close(now, session);
            self.peers.remove(&session);
            return;
        };
        owner.requests += 1;
        owner.last_report_ns = Some(unix_ns);
        let later_block = request.block2.is_some_and(|block| block.num() > 0);
        if let Some(limit) = self.config.requests_per_second
            && (self.config.count_blocks || !later_block)
            && !owner.limiter.admit(now, limit)
        {
            self.counters.too_many_requests += 1;
            let refusal = Reaction::from(Code::TOO_MANY_REQUESTS);
            return self.answer(now, session, request.exchange, false, refusal);
        }
        let name = owner.name.clone();
        let path = services::segments(request).join("/");
        let read_body = || match request.content_format {
            Some(format::CBOR) => cbor::decode(&request.payload).ok(),
            Some(format::JSON) => serde_json::from_slice(&request.payload).ok(),
            _ => None,
        };
        let fault = self.faults.befall(now, &name, &path, request.payload.len(), read_body);
        self.counters.faulted += u64::from(fault.is_some());
        let observes = request.observe == Some(ObserveRequest::Register);
        let instead = match &fault {
            Some(FaultKind::Answer { code, max_age }) => {
                Some(Response { max_age: *max_age, ..Response::new(*code) })
            }
            Some(FaultKind::RejectValue { alias, .. }) => Some(
                Response::new(Code::BAD_REQUEST).payload(format::TEXT, format!("{alias} is not acceptable")),
            ),
            Some(FaultKind::TooLarge { limit }) => Some(Response {
                size1: Some(u32::try_from(*limit).unwrap_or(u32::MAX)),
                ..Response::new(Code::REQUEST_ENTITY_TOO_LARGE)
            }),
            Some(FaultKind::Delay(_) | FaultKind::LoseAnswer | FaultKind::Body(_)) | None => None,
        };
        if let Some(response) = instead {
            return self.answer(now, session, request.exchange, false, response.into());
        }
        let mut reaction = services::serve(&mut self.plane, now, device, request);
        self.counters.refused += u64::from(reaction.response.code.class() == 4);
        if reaction.watch.is_some() && fault.is_none() {
            self.note_shown(now, device, path);
        }
        match fault {
            Some(FaultKind::LoseAnswer) => {}
            Some(FaultKind::Body(bytes)) => {
                reaction.response.payload = bytes;
                self.answer(now, session, request.exchange, observes, reaction);
            }
            Some(FaultKind::Delay(by)) if self.delayed.len() < MOST_DELAYED => {
                let key = (now.saturating_add(by), self.next_delayed);
                self.next_delayed += 1;
                self.delayed.insert(key, Delayed { session, exchange: request.exchange, observes, reaction });
            }
            _ => self.answer(now, session, request.exchange, observes, reaction),
        }
    }

    fn note_shown(&mut self, now: Duration, device: DeviceKey, path: String) {
        let Some(owner) = self.plane.devices.get_mut(&device) else { return };
        if owner.shown.len() < MOST_SHOWN || owner.shown.contains_key(&path) {
            owner.shown.insert(path, now);
        }
    }

    fn answer(
        &mut self,
        now: Duration,
        session: SessionId,
        exchange: ExchangeId,
        observes: bool,
        reaction: Reaction,
    ) {
        let Some(peer) = self.peers.get_mut(&session) else { return };
        let Reaction { response, watch } = reaction;
        if let Some(watch) = watch.filter(|_| observes && response.code.is_success())
            && let Ok(observer) = peer.endpoint.accept_observer(now, exchange, response.clone())
        {
            peer.watches.insert(observer, watch);
            return;
        }
        // One that cannot be sent any more is lost, as on the way.
        let _lost = peer.endpoint.respond(now, exchange, response);
    }

    fn notify(&mut self, now: Duration, notice: &Notice) {
        let changed = match notice {
            Notice::State { device, .. }
            | Notice::Settings { device }
            | Notice::Manifest { device }
            | Notice::Call { device, .. } => *device,
        };
        for peer in self.peers.values_mut().filter(|peer| peer.device == changed) {
            for (observer, watch) in &peer.watches {
                if !services::concerns(watch, notice) {
                    continue;
                }
                let (response, delivery) = match (notice, watch) {
                    (Notice::Call { call, .. }, Watch::Calls { format }) => {
                        (services::encoded(call, *format), Delivery::Every)
                    }
                    _ => (services::current(&self.plane, changed, watch), Delivery::Latest),
                };
                // An observer whose queue is full misses this one.
                let _missed = peer.endpoint.notify(now, *observer, response, delivery);
            }
        }
    }

    fn flush_peer(&mut self, now: Duration, session: SessionId) {
        while let Some(message) = self.peers.get_mut(&session).and_then(|peer| peer.endpoint.poll_transmit())
        {
            let message = match self.babble {
                Some(babble) => babble.instead_of(&message),
                None => message,
            };
            if self.dtls.send(now, session, &message).is_err() {
                self.counters.outbox_dropped += 1;
            }
        }
    }

    fn say(&mut self, now: Duration, datagram: (SocketAddr, Vec<u8>)) {
        if self.is_silent(now) {
            return;
        }
        if self.outbox.len() >= MOST_OUTBOX {
            self.counters.outbox_dropped += 1;
            return;
        }
        self.counters.datagrams_out += 1;
        self.counters.bytes_out += datagram.1.len() as u64;
        self.outbox.push_back(datagram);
    }

    fn is_silent(&self, now: Duration) -> bool {
        match self.silence {
            None => false,
            Some(Silence::ForGood) => true,
            Some(Silence::Until(end)) => now < end,
        }
    }

    fn expire_sessions(&mut self, now: Duration) {
        let Some(lifetime) = self.config.session_lifetime else { return };
        let idle = |peer: &Peer| now.saturating_sub(peer.heard) > lifetime;
        let expired: Vec<_> = self.peers.iter().filter(|(_, peer)| idle(peer)).map(|(id, _)| *id).collect();
        for session in expired {
            self.counters.expired_sessions += 1;
            self.dtls.forget(session);
            self.peers.remove(&session);
        }
    }
}

fn endpoint_config() -> Config {
    Config {
        max_observers: 64,
        max_queued_notifications: 64,
        max_exchanges: 256,
        max_body: 1 << 20,
        max_transfers: 8,
        // A block that was lost is asked for again many blocks later: its answer is there still.
        max_remembered_bytes: 1 << 20,
        ..Config::default()
    }
}
