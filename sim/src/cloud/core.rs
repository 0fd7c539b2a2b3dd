//! The cloud as one sans-IO machine: datagrams in, datagrams out.
//!
//! [`Cloud`] owns the DTLS server, one CoAP endpoint a session, what each session watches, the answers that are held
//! back, and the [`Plane`] behind them. After every call it has been pumped: all that could be said is in the
//! outbox. Invariants: same configuration, seed, datagrams and times give the same datagrams and ledgers; a silenced cloud
//! neither hears nor speaks; a restart forgets sessions and watchers and nothing else.

use super::calls::CallOutcome;
use super::config::{CloudConfig, CloudError, DeviceConfig};
use super::device::{DeviceKey, LogEntry, OtaEvent, StreamMessage};
use super::fault::{Fault, FaultId, FaultKind, Faults};
use super::intake::Intake;
use super::pipelines::{Route, Unmatched};
use super::plane::{Notice, Plane};
use super::services::{self, Reaction, Watch};
use super::settings::SettingsStatus;
use super::{cbor, random};
use fieldgate_coap::{
    Code, Config, Delivery, Endpoint, Event, ExchangeId, IncomingRequest, ObserveRequest, ObserverId,
    Response, Seed, format,
};
use fieldgate_dtls::{Event as DtlsEvent, Server, ServerConfig, SessionId};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Datagrams waiting for `poll_transmit`; more are lost, as on any wire.
const MOST_OUTBOX: usize = 8_192;
/// Answers held back at once; more are given without delay.
const MOST_DELAYED: usize = 1_024;

/// A Golioth-compatible cloud: one project, its devices' CoAP services and what came in through them.
#[derive(Debug)]
pub struct Cloud {
    pub(super) plane: Plane,
    config: CloudConfig,
    dtls: Server,
    peers: BTreeMap<SessionId, Peer>,
    faults: Faults,
    delayed: BTreeMap<(Duration, u64), Delayed>,
    next_delayed: u64,
    silence: Option<Silence>,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    counters: CloudCounters,
}

/// One connected session.
#[derive(Debug)]
struct Peer {
    device: DeviceKey,
    endpoint: Endpoint,
    watches: BTreeMap<ObserverId, Watch>,
    heard: Duration,
}

#[derive(Debug)]
struct Delayed {
    session: SessionId,
    exchange: ExchangeId,
    observes: bool,
    reaction: Reaction,
}

#[derive(Debug, Clone, Copy)]
enum Silence {
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
        dtls.unknown_session_alert = config.unknown_session_alert;
        if !config.connection_id {
            dtls.connection_id_length = 0;
        }
        Ok(Self {
            plane,
            dtls: Server::new(dtls, Duration::ZERO, random::strong(seed))?,
            config,
            peers: BTreeMap::new(),
            faults: Faults::default(),
            delayed: BTreeMap::new(),
            next_delayed: 0,
            silence: None,
            outbox: VecDeque::new(),
            counters: CloudCounters::default(),
        })
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

// What the operator sees.
impl Cloud {
    /// Every identity that came in and was taken.
    #[must_use]
    pub fn intake(&self) -> &Intake {
        &self.plane.intake
    }

    /// Counts.
    #[must_use]
    pub fn counters(&self) -> CloudCounters {
        let dtls = self.dtls.counters();
        CloudCounters {
            handshakes: dtls.handshakes_completed,
            handshakes_failed: dtls.handshakes_failed,
            address_moves: dtls.address_moves,
            sessions: self.peers.len() as u64,
            stream_messages: self.plane.stream_messages,
            unmatched: self.plane.unmatched_messages,
            log_messages: self.plane.log_messages,
            ..self.counters
        }
    }

    /// Names of all devices, oldest first.
    pub fn device_names(&self) -> impl Iterator<Item = &str> {
        self.plane.devices.values().map(|device| device.name.as_str())
    }

    /// Requests a device made.
    #[must_use]
    pub fn requests_of(&self, device: &str) -> Option<u64> {
        Some(self.plane.devices.get(&self.plane.key_of(device)?)?.requests)
    }

    /// A device's LightDB State; null before the first write.
    #[must_use]
    pub fn state(&self, device: &str) -> Option<&Value> {
        Some(&self.plane.devices.get(&self.plane.key_of(device)?)?.state)
    }

    /// A device's last report on its settings.
    #[must_use]
    pub fn settings_status(&self, device: &str) -> Option<&SettingsStatus> {
        self.plane.devices.get(&self.plane.key_of(device)?)?.settings_status.as_ref()
    }

    /// The stream messages of a device that a pipeline took and that are still kept, oldest first.
    #[must_use]
    pub fn messages(&self, device: &str) -> Option<&VecDeque<StreamMessage>> {
        Some(&self.plane.devices.get(&self.plane.key_of(device)?)?.messages)
    }

    /// Reports on packages, oldest first; the last 10 000.
    #[must_use]
    pub fn ota_events(&self) -> &VecDeque<OtaEvent> {
        &self.plane.ota_events
    }

    /// Log lines, oldest first; the last 10 000.
    #[must_use]
    pub fn logs(&self) -> &VecDeque<LogEntry> {
        &self.plane.logs
    }

    /// Stream messages no pipeline took.
    #[must_use]
    pub fn unmatched(&self) -> &VecDeque<Unmatched> {
        &self.plane.pipelines.unmatched
    }

    /// How a call stands; `None` for one never made or long forgotten.
    #[must_use]
    pub fn call_outcome(&self, id: &str) -> Option<&CallOutcome> {
        self.plane.calls.outcome(id)
    }

    /// How many observations the device's sessions hold on `.rpc`.
    #[must_use]
    pub fn call_listeners(&self, device: &str) -> usize {
        self.count_watches(device, |watch| *watch == Watch::Calls)
    }

    /// How many observations the device's sessions hold in all.
    #[must_use]
    pub fn observations(&self, device: &str) -> usize {
        self.count_watches(device, |_| true)
    }

    fn count_watches(&self, device: &str, of: impl Fn(&Watch) -> bool) -> usize {
        let key = self.plane.key_of(device);
        let peers = self.peers.values().filter(|peer| Some(peer.device) == key);
        peers.map(|peer| peer.watches.values().filter(|watch| of(watch)).count()).sum()
    }
}

// What the operator does.
impl Cloud {
    /// Adds a device.
    ///
    /// # Errors
    /// A name or identity that is taken, or a key nobody could use.
    pub fn add_device(&mut self, now: Duration, device: &DeviceConfig) -> Result<(), CloudError> {
        self.plane.add_device(now, device).map(|_| ())
    }

    /// Writes into a device's LightDB State; objects merge. `path` is `/`-joined, empty for all.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn set_state(
        &mut self,
        now: Duration,
        device: &str,
        path: &str,
        value: Value,
    ) -> Result<(), CloudError> {
        let key = self.plane.named(device)?;
        self.plane.set_state(key, split(path), value, false);
        self.pump(now);
        Ok(())
    }

    /// Deletes from a device's LightDB State.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn delete_state(&mut self, now: Duration, device: &str, path: &str) -> Result<(), CloudError> {
        let key = self.plane.named(device)?;
        self.plane.delete_state(key, split(path));
        self.pump(now);
        Ok(())
    }

    /// Sets a setting of the project, or of one device.
    ///
    /// # Errors
    /// A key or value no setting may have, an override without a project value, an unknown device.
    pub fn set_setting(
        &mut self,
        now: Duration,
        key: &str,
        value: Value,
        device: Option<&str>,
    ) -> Result<(), CloudError> {
        self.plane.set_setting(now, key, None, value, device)?;
        self.pump(now);
        Ok(())
    }

    /// Calls a method on a device. The answer is found under the returned id by [`call_outcome`](Self::call_outcome).
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn call(
        &mut self,
        now: Duration,
        device: &str,
        method: &str,
        params: &[Value],
    ) -> Result<String, CloudError> {
        let key = self.plane.named(device)?;
        let id = self.plane.call(now, key, method, params);
        self.pump(now);
        Ok(id)
    }

    /// Deploys one artifact to these devices: takes it in (or the same one again), puts the devices into a cohort of their
    /// own, and tells them.
    ///
    /// # Errors
    /// Unknown devices, words that do not fit a path, another artifact of the same package and version.
    pub fn deploy(
        &mut self,
        now: Duration,
        devices: &[&str],
        package: &str,
        version: &str,
        content: Vec<u8>,
    ) -> Result<(), CloudError> {
        let keys = devices.iter().map(|name| self.plane.named(name)).collect::<Result<Vec<_>, _>>()?;
        let unix_ns = self.plane.wall.unix_ns(now);
        let known =
            self.plane.releases.artifact_named(package, version).filter(|known| *known.content == *content);
        let artifact = match known {
            Some(known) => known.id.clone(),
            None => {
                let id = self.plane.ids.next(unix_ns);
                self.plane.releases.add_artifact(id, package, version, content, unix_ns)?.id.clone()
            }
        };
        // The devices' own cohort, or a new one if they share none.
        let of = |key: &DeviceKey| self.plane.devices.get(key).and_then(|device| device.cohort.clone());
        let shared = keys
            .first()
            .and_then(of)
            .filter(|cohort| keys.iter().all(|key| of(key).as_ref() == Some(cohort)));
        let cohort = match shared {
            Some(cohort) => cohort,
            None => {
                let id = self.plane.ids.next(unix_ns);
                self.plane.releases.add_cohort(id.clone(), &format!("cohort-{id}"), unix_ns)?;
                id
            }
        };
        self.plane.deploy(now, &cohort, &format!("{package} {version}"), vec![artifact])?;
        for key in keys {
            self.plane.set_cohort(key, Some(cohort.clone()))?;
        }
        self.pump(now);
        Ok(())
    }

    /// Takes devices out of their cohorts; nothing is deployed to them any more. As in the real cloud they are not told.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn undeploy(&mut self, device: &str) -> Result<(), CloudError> {
        let key = self.plane.named(device)?;
        self.plane.set_cohort(key, None)
    }

    /// Replaces the pipelines' filters.
    pub fn set_routes(&mut self, routes: Vec<Route>) {
        self.plane.pipelines.routes = routes;
    }

    /// Sets a fault. Of several that befall a request, the one set first counts.
    pub fn set_fault(&mut self, fault: Fault) -> FaultId {
        self.faults.set(fault)
    }

    /// Takes a fault back.
    pub fn clear_fault(&mut self, id: FaultId) {
        self.faults.clear(id);
    }

    /// Takes all faults back.
    pub fn clear_faults(&mut self) {
        self.faults.clear_all();
    }

    /// From now on neither hears nor speaks, until the given time or [`speak`](Self::speak).
    pub fn silence(&mut self, until: Option<Duration>) {
        self.silence = Some(until.map_or(Silence::ForGood, Silence::Until));
        self.outbox.clear();
    }

    /// Ends a silence.
    pub fn speak(&mut self) {
        self.silence = None;
    }

    /// Forgets every session, watcher and held-back answer, as a server that was started anew. What was stored stays.
    pub fn restart(&mut self) {
        self.counters.restarts += 1;
        let sessions: Vec<_> = self.dtls.session_ids().collect();
        for session in sessions {
            self.dtls.forget(session);
        }
        self.peers.clear();
        self.delayed.clear();
    }

    /// Ends a device's sessions with a fatal alert, properly protected.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn alert(&mut self, now: Duration, device: &str, description: u8) -> Result<(), CloudError> {
        for session in self.sessions_of(device)? {
            self.dtls.abort(now, session, description);
        }
        self.pump(now);
        Ok(())
    }

    /// Forgets a device's sessions without a word, as when they expire.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn forget(&mut self, device: &str) -> Result<(), CloudError> {
        for session in self.sessions_of(device)? {
            self.dtls.forget(session);
            self.peers.remove(&session);
        }
        Ok(())
    }

    fn sessions_of(&self, device: &str) -> Result<Vec<SessionId>, CloudError> {
        let key = self.plane.named(device)?;
        let of_device = self.peers.iter().filter(|(_, peer)| peer.device == key);
        Ok(of_device.map(|(session, _)| *session).collect())
    }
}

// The way of a datagram.
impl Cloud {
    /// Whether this is the project's management key.
    pub(super) fn accepts_key(&self, offered: &[u8]) -> bool {
        self.config.api_key.is(offered)
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
                let identity = connection.psk_identity.unwrap_or_default();
                let Some(device) = self.plane.key_of_identity(&identity) else {
                    self.dtls.close(now, session);
                    return;
                };
                if let Some(owner) = self.plane.devices.get_mut(&device) {
                    owner.last_online_ns = Some(self.plane.wall.unix_ns(now));
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
            Some(FaultKind::Delay(_) | FaultKind::LoseAnswer) | None => None,
        };
        if let Some(response) = instead {
            return self.answer(now, session, request.exchange, false, response.into());
        }
        let reaction = services::serve(&mut self.plane, now, device, request);
        self.counters.refused += u64::from(reaction.response.code.class() == 4);
        match fault {
            Some(FaultKind::LoseAnswer) => {}
            Some(FaultKind::Delay(by)) if self.delayed.len() < MOST_DELAYED => {
                let key = (now.saturating_add(by), self.next_delayed);
                self.next_delayed += 1;
                self.delayed.insert(key, Delayed { session, exchange: request.exchange, observes, reaction });
            }
            _ => self.answer(now, session, request.exchange, observes, reaction),
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
                let (response, delivery) = match notice {
                    Notice::Call { payload, .. } => {
                        (Response::content(format::CBOR, payload.clone()), Delivery::Every)
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
        ..Config::default()
    }
}

fn split(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}
