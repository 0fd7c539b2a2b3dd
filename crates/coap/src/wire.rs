//! What both roles share: sending, timers of Confirmable messages, the outbox, the event queue and the counters.
//!
//! Invariant: every datagram that leaves passes [`Wire::push`], so the outbox bound and the counters hold.

use core::time::Duration;
use std::collections::VecDeque;

use crate::code::Code;
use crate::config::{Config, Counters, Seed};
use crate::congestion::Congestion;
use crate::dedup::Dedup;
use crate::event::{Event, SendError};
use crate::exchange::{Confirmables, Expiry, Owner};
use crate::message::{Kind, Message};
use crate::message_id::MessageIds;
use crate::random::Random;

#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) congestion: Congestion,
    pub(crate) confirmables: Confirmables,
    pub(crate) dedup: Dedup,
    pub(crate) ids: MessageIds,
    random: Random,
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Wire {
    pub(crate) fn new(config: Config, seed: Seed) -> Wire {
        Wire {
            counters: Counters::default(),
            congestion: Congestion::new(&config),
            confirmables: Confirmables::default(),
            dedup: Dedup::new(config.max_remembered_ids, config.max_remembered_bytes),
            ids: MessageIds::new(seed.message_id),
            random: Random::new(seed.random),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            config,
        }
    }

    /// Forgets everything that belongs to one session; events already raised stay.
    pub(crate) fn reset(&mut self) {
        self.congestion = Congestion::new(&self.config);
        self.confirmables.clear();
        self.dedup.clear();
        self.outbox.clear();
    }

    pub(crate) fn raise(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn events_full(&self) -> bool {
        self.events.len() >= self.config.max_events.max(1)
    }

    pub(crate) fn next_datagram(&mut self) -> Option<Vec<u8>> {
        let datagram = self.outbox.pop_front()?;
        self.counters.datagrams_out += 1;
        self.counters.bytes_out += datagram.len() as u64;
        Some(datagram)
    }

    /// Hands a datagram to the session, or drops it as the network might.
    pub(crate) fn push(&mut self, datagram: Vec<u8>) {
        if self.outbox.len() >= self.config.max_outbox.max(1) {
            self.counters.outbox_dropped += 1;
            return;
        }
        self.outbox.push_back(datagram);
    }

    /// Refuses what no datagram can hold. Empty kinds and ids do not change the length.
    pub(crate) fn check_size(&self, message: &Message) -> Result<(), SendError> {
        let (len, limit) = (message.encoded_len(), self.config.max_datagram);
        if len > limit { Err(SendError::TooLarge { len, limit }) } else { Ok(()) }
    }

    /// Sends a new message with a fresh id and returns the id; `None` when ids are exhausted. A Confirmable one is
    /// repeated for `owner` until it is answered.
    pub(crate) fn send_new(&mut self, now: Duration, mut message: Message, owner: Owner) -> Option<u16> {
        let id = self.ids.take(now, self.config.exchange_lifetime())?;
        message.message_id = id;
        let datagram = message.to_bytes();
        if message.kind == Kind::Confirmable {
            let base = self.congestion.timeout(now, &self.config);
            let timeout = self.random.stretch(base, self.config.ack_random_factor_percent);
            self.confirmables.start(now, id, datagram.clone(), owner, timeout);
        }
        self.push(datagram);
        Some(id)
    }

    /// Whether a fresh id is to be had now.
    pub(crate) fn has_id(&self, now: Duration) -> bool {
        self.ids.free_at(self.config.exchange_lifetime()).is_none_or(|at| at <= now)
    }

    /// Answers the peer's message `id` with an Empty message and remembers that for duplicates.
    pub(crate) fn send_empty(&mut self, kind: Kind, id: u16) {
        let datagram = Message::empty(kind, id).to_bytes();
        self.dedup.keep_answer(id, &datagram);
        self.push(datagram);
    }

    /// Sends an Acknowledgement that carries a response and remembers it for duplicates.
    pub(crate) fn send_piggybacked(&mut self, message: &Message) {
        let datagram = message.to_bytes();
        self.dedup.keep_answer(message.message_id, &datagram);
        self.push(datagram);
    }

    /// The peer acknowledged (or answered) our message `id`: stops its timer and learns from it.
    pub(crate) fn acknowledged(&mut self, now: Duration, id: u16) -> Option<(Owner, u32)> {
        let out = self.confirmables.len();
        let entry = self.confirmables.stop(id)?;
        self.congestion.acknowledged(now, entry.round_trip(now), out, &self.config);
        Some((entry.owner, entry.retransmissions))
    }

    /// Handles one expired timer; returns who lost a message, or `Some(None)` when one was repeated.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<Option<(Owner, u32)>> {
        match self.confirmables.expire(now, &self.config)? {
            Expiry::Again { datagram, sent_at, first } => {
                self.congestion.timed_out(now, sent_at, !first);
                self.counters.retransmissions += 1;
                self.push(datagram);
                Some(None)
            }
            Expiry::GivenUp { owner, retransmissions, sent_at } => {
                self.congestion.timed_out(now, sent_at, retransmissions > 0);
                self.counters.timeouts += 1;
                Some(Some((owner, retransmissions)))
            }
        }
    }
}

/// A message of kind, code and nothing else yet.
pub(crate) fn blank(kind: Kind, code: Code) -> Message {
    Message { code, ..Message::empty(kind, 0) }
}
