//! Observers we serve: who they are, what waits for them, which messages speak for them (RFC 7641 §4).
//!
//! At most one Confirmable notification is on its way to an observer; the others wait in order. A notification gets its
//! Observe value when it leaves, not when it is queued: a client drops what is numbered below something it has seen.

use std::collections::{BTreeMap, VecDeque};

use crate::block::Szx;
use crate::event::{NotificationId, ObserverId};
use crate::message::{Message, Token};
use crate::option::number;

/// Non-confirmable notifications per observer whose ids are remembered, so that a Reset finds its observer.
const REMEMBERED_NON: usize = 8;
/// Observe values are 24 bits.
const SEQUENCE_MASK: u32 = 0x00ff_ffff;

#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) token: Token,
    /// Largest block the client asked for at registration.
    pub(crate) size: Szx,
    /// Whether a Confirmable notification waits for its acknowledgement.
    pub(crate) outstanding: bool,
    queue: VecDeque<Waiting>,
    recent_non: VecDeque<u16>,
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    id: NotificationId,
    replaceable: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Observers {
    by_id: BTreeMap<ObserverId, Observer>,
    next_id: u64,
    next_notification: u64,
    sequence: u32,
}

impl Observers {
    pub(crate) fn get(&self, id: ObserverId) -> Option<&Observer> {
        self.by_id.get(&id)
    }

    pub(crate) fn with_token(&self, token: Token) -> Option<ObserverId> {
        self.by_id.iter().find(|(_, observer)| observer.token == token).map(|(id, _)| *id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A fresh Observe value: larger than all before, modulo 2^24.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = (self.sequence + 1) & SEQUENCE_MASK;
        self.sequence
    }

    /// A name for a new notification.
    pub(crate) fn next_notification(&mut self) -> NotificationId {
        self.next_notification += 1;
        NotificationId(self.next_notification)
    }

    /// Adds an observer, or renews the one with this token.
    pub(crate) fn add(&mut self, token: Token, size: Szx) -> ObserverId {
        if let Some(id) = self.with_token(token) {
            if let Some(observer) = self.by_id.get_mut(&id) {
                observer.size = size;
            }
            return id;
        }
        let id = ObserverId(self.next_id);
        self.next_id += 1;
        let observer =
            Observer { token, size, outstanding: false, queue: VecDeque::new(), recent_non: VecDeque::new() };
        self.by_id.insert(id, observer);
        id
    }

    pub(crate) fn remove(&mut self, id: ObserverId) -> Option<Observer> {
        self.by_id.remove(&id)
    }

    pub(crate) fn remove_all(&mut self) -> Vec<ObserverId> {
        core::mem::take(&mut self.by_id).into_keys().collect()
    }

    /// Queues a Confirmable notification; `false` when the queue is full. A replaceable one takes the place of those
    /// that are replaceable too.
    pub(crate) fn enqueue(
        &mut self,
        id: ObserverId,
        notification: NotificationId,
        message: Message,
        replaceable: bool,
        limit: usize,
    ) -> bool {
        if replaceable {
            self.drop_replaceable(id);
        }
        let Some(observer) = self.by_id.get_mut(&id) else { return false };
        if observer.queue.len() >= limit.max(1) {
            return false;
        }
        observer.queue.push_back(Waiting { message, id: notification, replaceable });
        true
    }

    /// Drops what waits for an observer and is out of date now.
    pub(crate) fn drop_replaceable(&mut self, id: ObserverId) {
        if let Some(observer) = self.by_id.get_mut(&id) {
            observer.queue.retain(|waiting| !waiting.replaceable);
        }
    }

    /// Whether a queued notification could leave now.
    pub(crate) fn any_ready(&self) -> bool {
        self.by_id.values().any(|observer| !observer.outstanding && !observer.queue.is_empty())
    }

    /// The next queued notification of an observer that waits for nothing; it counts as on its way.
    pub(crate) fn next_ready(&mut self) -> Option<(ObserverId, NotificationId, Message)> {
        let (id, observer) = self
            .by_id
            .iter_mut()
            .find(|(_, observer)| !observer.outstanding && !observer.queue.is_empty())?;
        let Waiting { id: notification, mut message, .. } = observer.queue.pop_front()?;
        observer.outstanding = true;
        let id = *id;
        message.options.add_uint(number::OBSERVE, self.next_sequence());
        Some((id, notification, message))
    }

    /// The notification on its way has arrived.
    pub(crate) fn settle(&mut self, id: ObserverId) -> bool {
        match self.by_id.get_mut(&id) {
            Some(observer) => {
                observer.outstanding = false;
                true
            }
            None => false,
        }
    }

    /// Remembers which observer a Non-confirmable notification went to.
    pub(crate) fn remember_non(&mut self, id: ObserverId, message_id: u16) {
        if let Some(observer) = self.by_id.get_mut(&id) {
            if observer.recent_non.len() >= REMEMBERED_NON {
                observer.recent_non.pop_front();
            }
            observer.recent_non.push_back(message_id);
        }
    }

    /// The observer a recent Non-confirmable notification went to.
    pub(crate) fn by_recent_non(&self, message_id: u16) -> Option<ObserverId> {
        self.by_id.iter().find(|(_, observer)| observer.recent_non.contains(&message_id)).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::message::Kind;
    use crate::wire::blank;

    fn note() -> Message {
        blank(Kind::Confirmable, Code::CONTENT)
    }

    fn one() -> (Observers, ObserverId) {
        let mut observers = Observers::default();
        let id = observers.add(Token::from_counter(1, 2), Szx::B1024);
        (observers, id)
    }

    #[test]
    fn the_same_token_is_the_same_observer() {
        let (mut observers, id) = one();
        assert_eq!(observers.add(Token::from_counter(1, 2), Szx::B64), id);
        assert_ne!(observers.add(Token::from_counter(2, 2), Szx::B64), id);
        assert_eq!(observers.len(), 2);
    }

    #[test]
    fn only_one_notification_is_on_its_way_and_the_order_holds() {
        let (mut observers, id) = one();
        for n in 1..=3 {
            assert!(observers.enqueue(id, NotificationId(n), note(), false, 3));
        }
        assert!(!observers.enqueue(id, NotificationId(4), note(), false, 3));
        for expected in 1..=3 {
            assert_eq!(observers.next_ready().map(|(_, n, _)| n), Some(NotificationId(expected)));
            assert!(observers.next_ready().is_none());
            assert!(observers.settle(id));
        }
    }

    #[test]
    fn a_newer_state_replaces_a_waiting_state_but_never_a_waiting_event() {
        let (mut observers, id) = one();
        for (n, replaceable) in [(1, true), (2, false), (3, true)] {
            observers.enqueue(id, NotificationId(n), note(), replaceable, 4);
        }
        let order: Vec<NotificationId> = core::iter::from_fn(|| {
            let sent = observers.next_ready().map(|(_, n, _)| n);
            observers.settle(id);
            sent
        })
        .collect();
        assert_eq!(order, [NotificationId(2), NotificationId(3)]);
    }

    #[test]
    fn what_waited_is_numbered_above_what_left_meanwhile() {
        let (mut observers, id) = one();
        observers.enqueue(id, NotificationId(1), note(), false, 4);
        let overtaking = observers.next_sequence();
        let (.., message) = observers.next_ready().unwrap();
        assert_eq!(message.options.iter().next(), Some((number::OBSERVE, &[overtaking as u8 + 1][..])));
    }

    #[test]
    fn sequence_numbers_stay_within_24_bits() {
        let mut observers = Observers { sequence: SEQUENCE_MASK - 1, ..Observers::default() };
        assert_eq!([observers.next_sequence(), observers.next_sequence()], [SEQUENCE_MASK, 0]);
    }

    #[test]
    fn a_reset_finds_its_observer_among_the_recent_ones() {
        let (mut observers, id) = one();
        (0..20).for_each(|message_id| observers.remember_non(id, message_id));
        assert_eq!(observers.by_recent_non(19), Some(id));
        assert_eq!(observers.by_recent_non(3), None);
    }
}
