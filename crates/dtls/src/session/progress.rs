//! How a session gets on: what a datagram does to it, stage by stage, and how it ends.

use core::time::Duration;

use super::{CONTRADICTION, EVENTS_MAX, Phase, RECORD_MIN_BYTES, ROUNDS_SPARE, Session, Side, Step};
use crate::config::CipherSuite;
use crate::event::{CloseReason, Connection, Event};
use crate::ffi::Clock;
use crate::ffi::code;
use crate::record::{ClientHello, kind, records};
use crate::saved::{SaveError, SavedSession};
use crate::{Alert, CertificateProblem, LibraryError, WallTime};

impl Session {
    pub(super) fn handle_during_handshake(&mut self, datagram: &[u8]) {
        if records(datagram, self.assigned_cid().len()).next().is_none() {
            self.counters.ignored_datagrams += 1;
            return;
        }
        self.settle_connection_id(datagram);
        if matches!(self.side, Side::Server { .. }) {
            self.engine.feed(datagram.to_vec());
            return self.drive(datagram.len());
        }
        let rest = self.without_alerts(datagram);
        if !rest.is_empty() {
            let length = rest.len();
            self.engine.feed(rest);
            self.drive(length);
        }
    }

    /// A client keeps alerts in clear text from the library, which would end the handshake at once whoever sent them. A
    /// fatal one leaves the peer a short time to go on all the same; then it is the reason.
    fn without_alerts(&mut self, datagram: &[u8]) -> Vec<u8> {
        let mut rest = Vec::with_capacity(datagram.len());
        for record in records(datagram, 0) {
            let (0, kind::ALERT, &[level, description]) = (record.epoch, record.kind, record.body) else {
                rest.extend_from_slice(record.whole);
                continue;
            };
            let alert = Alert::from_bytes(level, description);
            self.counters.unauthenticated_alerts += 1;
            if let Phase::Handshaking { deadline, told: told @ None } = &mut self.phase
                && alert.fatal
            {
                *deadline = (*deadline).min(self.now.saturating_add(CONTRADICTION));
                *told = Some(alert);
            }
        }
        rest
    }

    /// A client that can only do CBC gets no Connection ID: the two together do not interoperate.
    fn settle_connection_id(&mut self, datagram: &[u8]) {
        let clock = self.clock();
        let Side::Server { suites, own_cid, .. } = &self.side else { return };
        if own_cid.is_empty() || self.engine.is_past_client_hello() {
            return;
        }
        let Some(hello) = ClientHello::peek(datagram) else { return };
        let aead = suites.iter().any(|suite| suite.is_aead() && hello.offers(suite.id()));
        let code = self.engine.set_connection_id(clock, aead.then_some(own_cid.as_slice()));
        if code != 0 {
            self.fail(code);
        }
    }

    pub(super) fn handle_while_connected(&mut self, datagram: &[u8]) {
        let Phase::Connected(connection) = &self.phase else { return };
        let cid_length = connection.own_cid.as_ref().map_or(0, Vec::len);
        let mut protected = Vec::with_capacity(datagram.len());
        let mut alert = None;
        for record in records(datagram, cid_length) {
            match (record.epoch, record.kind, record.body) {
                (0, kind::ALERT, &[level, description]) => {
                    alert = Some(Alert::from_bytes(level, description));
                }
                (0, ..) => {}
                _ => protected.extend_from_slice(record.whole),
            }
        }
        if let Some(alert) = alert {
            self.counters.unauthenticated_alerts += 1;
            self.push_droppable(Event::UnauthenticatedAlert(alert));
        }
        let window = self.engine.replay_window();
        if !protected.is_empty() {
            let length = protected.len();
            self.engine.feed(protected);
            self.drive(length);
        }
        if self.engine.replay_window() == window {
            self.counters.ignored_datagrams += 1;
        }
    }

    /// Lets the library work until it wants something that is not there.
    pub(super) fn drive(&mut self, datagram_length: usize) {
        for _ in 0..ROUNDS_SPARE + datagram_length / RECORD_MIN_BYTES {
            let step = match self.phase {
                Phase::Handshaking { .. } => self.step_handshake(),
                Phase::Connected(_) => self.step_read(datagram_length),
                Phase::Closed => break,
            };
            match step {
                Step::Again => {}
                Step::Wait if self.engine.has_pending_input() => {}
                Step::Wait => break,
            }
        }
        self.engine.drop_input();
    }

    fn step_handshake(&mut self) -> Step {
        match self.engine.handshake(self.clock()) {
            0 => {
                self.connected(false);
                Step::Again
            }
            code::WANT_READ | code::WANT_WRITE => Step::Wait,
            code::HELLO_VERIFY_REQUIRED => self.await_cookie(),
            code => {
                self.fail(code);
                Step::Again
            }
        }
    }

    /// The cookie request is on its way; forget the rest of this ClientHello.
    fn await_cookie(&mut self) -> Step {
        let clock = self.clock();
        let code = match &self.side {
            Side::Server { address, .. } => self.engine.reset_for(clock, address),
            Side::Client => code::INTERNAL_ERROR,
        };
        if code != 0 {
            self.fail(code);
        }
        Step::Wait
    }

    fn step_read(&mut self, datagram_length: usize) -> Step {
        let clock = self.clock();
        let mut payload = vec![0; datagram_length.max(1)];
        let code = self.engine.read(clock, &mut payload);
        let Ok(length) = usize::try_from(code) else {
            return match code {
                code::WANT_READ | code::WANT_WRITE => Step::Wait,
                code => {
                    self.fail(code);
                    Step::Again
                }
            };
        };
        payload.truncate(length);
        // A record kept from an earlier, larger datagram may not have fitted.
        let rest = self.engine.unread_bytes();
        if rest > 0 {
            let mut more = vec![0; rest];
            let length = usize::try_from(self.engine.read(clock, &mut more)).unwrap_or(0);
            payload.extend(more.iter().take(length));
        }
        // Empty records say nothing; some libraries send them to vary the initialisation vector.
        if !payload.is_empty() {
            self.push_droppable(Event::Received(payload));
        }
        Step::Again
    }

    pub(super) fn connected(&mut self, restored: bool) {
        let Some(suite) = CipherSuite::from_id(self.engine.suite()) else {
            self.fail(code::INTERNAL_ERROR);
            return;
        };
        let peer_cid = self.engine.peer_cid();
        // Both directions are in use or none is; an empty identifier puts nothing on the wire.
        let own_cid = peer_cid.is_some().then(|| self.assigned_cid().to_vec());
        let peer = if suite.is_certificate() { self.engine.peer_subject() } else { None };
        let connection = Connection {
            suite,
            peer_cid: peer_cid.filter(|cid| !cid.is_empty()),
            own_cid: own_cid.filter(|cid| !cid.is_empty()),
            psk_identity: self.engine.psk_identity().map(<[u8]>::to_vec),
            peer: peer.map(Into::into),
            time_unverified: self.engine.verified().is_some_and(|verified| !verified.time_trusted),
            restored,
        };
        self.phase = Phase::Connected(connection.clone());
        self.events.push_back(Event::Connected(connection));
    }

    pub(super) fn fail(&mut self, code: i32) {
        let during_handshake = matches!(self.phase, Phase::Handshaking { .. });
        let why = match (code, self.engine.last_alert()) {
            (code::CLOSE_NOTIFY, _) if !during_handshake => {
                // RFC 5246 section 7.2.1: answered in kind.
                let _ = self.engine.close_notify(self.clock());
                CloseReason::CloseNotify
            }
            (code::FATAL_ALERT | code::CLOSE_NOTIFY, Some((level, description, authenticated))) => {
                CloseReason::Alert {
                    alert: Alert::from_bytes(level, description),
                    authenticated,
                    during_handshake,
                }
            }
            (code::NO_CLIENT_CERTIFICATE, _) => CloseReason::BadCertificate(CertificateProblem::Missing),
            (code::CHECK_IMPOSSIBLE, _) if self.wall.is_none() => {
                CloseReason::BadCertificate(CertificateProblem::Unchecked)
            }
            (code::BAD_CERTIFICATE | code::CERT_VERIFY_FAILED, _) => {
                let flags = self.engine.verified().map_or(0, |verified| verified.flags);
                CloseReason::BadCertificate(CertificateProblem::of(flags))
            }
            (code, _) if during_handshake => CloseReason::HandshakeFailed(LibraryError::new(code)),
            (code, _) => CloseReason::Broken(LibraryError::new(code)),
        };
        self.finish(why);
    }

    /// Checks the certificates of a connection against a clock that was not trusted when it was made and is now.
    pub(super) fn settle_time(&mut self) {
        let (Phase::Connected(connection), Some((_, wall))) = (&mut self.phase, self.wall) else { return };
        let Some(verified) = self.engine.verified() else { return };
        if !connection.time_unverified || !wall.trusted {
            return;
        }
        let (problem, alert) = if wall.unix_s > verified.not_after {
            (CertificateProblem::Expired, Alert::CERTIFICATE_EXPIRED)
        } else if wall.unix_s < verified.not_before {
            (CertificateProblem::NotYetValid, Alert::BAD_CERTIFICATE)
        } else {
            connection.time_unverified = false;
            self.events.push_back(Event::TimeVerified);
            return;
        };
        // The peer may hear of it or not: this side is done with it.
        let _ = self.engine.fatal_alert(self.clock(), alert);
        self.finish(CloseReason::BadCertificate(problem));
    }

    pub(super) fn finish(&mut self, why: CloseReason) {
        if !matches!(self.phase, Phase::Closed) {
            self.phase = Phase::Closed;
            self.engine.drop_input();
            self.events.push_back(Event::Closed { why });
        }
    }

    pub(super) fn try_save(&mut self) -> Result<SavedSession, SaveError> {
        let connection = self.connection().ok_or(SaveError::NotConnected)?;
        let suite = connection.suite;
        if connection.time_unverified {
            return Err(SaveError::TimeUnverified);
        }
        if !suite.is_aead() {
            return Err(SaveError::NotAead(suite));
        }
        if !self.events.is_empty() || self.engine.outgoing_len() > 0 {
            return Err(SaveError::NotDrained);
        }
        if self.engine.keeps_handshake() {
            return Err(SaveError::HandshakeUnconfirmed);
        }
        match self.engine.save(self.clock()) {
            Ok(bytes) => {
                // The library has reset the context: it must not be used again.
                self.phase = Phase::Closed;
                Ok(SavedSession::from_zeroizing(bytes))
            }
            Err(code) => {
                self.fail(code);
                Err(SaveError::Library(LibraryError::new(code)))
            }
        }
    }

    fn push_droppable(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        } else {
            self.counters.overflowed_events += 1;
        }
    }

    pub(super) fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    pub(super) fn clock(&self) -> Clock {
        let wall = self.wall.map(|(at, wall)| WallTime {
            unix_s: wall.unix_s.saturating_add(self.now.saturating_sub(at).as_secs()),
            ..wall
        });
        Clock { now: self.now, wall }
    }
}
