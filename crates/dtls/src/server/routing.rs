//! Which session a datagram belongs to: by Connection ID, by what a ClientHello shows, by address.

use std::net::SocketAddr;

use super::{Server, SessionId};
use crate::record::{ClientHello, Record, plaintext_alert};

impl Server {
    pub(super) fn route_by_cid(&mut self, from: SocketAddr, first: &Record<'_>, datagram: &[u8]) {
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

    pub(super) fn route_hello(&mut self, from: SocketAddr, hello: &ClientHello<'_>, datagram: &[u8]) {
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

    pub(super) fn route_by_address(&mut self, from: SocketAddr, first: &Record<'_>, datagram: &[u8]) {
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

    pub(super) fn at(&self, address: SocketAddr) -> (Option<SessionId>, Option<SessionId>) {
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
