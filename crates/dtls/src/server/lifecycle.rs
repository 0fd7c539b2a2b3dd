//! How sessions come, move and go, and how the server's maps follow. Only this file changes the maps.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};

use super::{EVENTS_MAX, Entry, Server, ServerEvent, SessionId, SharedRng, TRANSMITS_MAX};
use crate::WallTime;
use crate::config::{ConfigError, Rng};
use crate::event::{CloseReason, Event};
use crate::record::ClientHello;
use crate::session::Session;

impl Server {
    /// The cookie exchange: the spare answers, and stays, until a ClientHello brings its cookie back.
    pub(super) fn offer_to_spare(&mut self, from: SocketAddr, hello: &ClientHello<'_>, datagram: &[u8]) {
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
        if let Some((at, wall)) = self.wall {
            let unix_s = wall.unix_s.saturating_add(self.now.saturating_sub(at).as_secs());
            session.set_wall_clock(self.now, Some(WallTime { unix_s, ..wall }));
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

    pub(super) fn move_to(&mut self, id: SessionId, address: SocketAddr) {
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
    pub(super) fn collect(&mut self, id: SessionId) {
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

    pub(super) fn end(&mut self, id: SessionId, why: CloseReason) {
        let Some(address) = self.address(id) else { return };
        self.remove(id);
        self.push_event(id, address, Event::Closed { why });
    }

    /// Takes a session out of all maps. Whether it was connected.
    pub(super) fn remove(&mut self, id: SessionId) -> bool {
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

    pub(super) fn transmit(&mut self, to: SocketAddr, datagram: Vec<u8>) {
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
