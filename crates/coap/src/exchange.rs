//! Confirmable messages on their way: retransmission and giving up (RFC 7252 §4.2 and §4.8).
//!
//! An entry exists from the first transmission until the message is acknowledged, reset, withdrawn or given up. However
//! long the estimated timeout is, no copy leaves after MAX_TRANSMIT_SPAN, so the lifetimes a peer derives from the RFC
//! hold.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::config::Config;
use crate::congestion::RoundTrip;
use crate::event::{NotificationId, ObserverId, RequestId};

/// Who sent a Confirmable message and wants to know how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A request or ping of ours.
    Request(RequestId),
    /// A notification to an observer.
    Notification(ObserverId, NotificationId),
    /// A separate response: nobody waits for its fate.
    Response,
}

#[derive(Debug)]
pub(crate) struct Confirmable {
    pub(crate) owner: Owner,
    pub(crate) first_sent: Duration,
    pub(crate) last_sent: Duration,
    pub(crate) retransmissions: u32,
    timeout: Duration,
    due: Duration,
    datagram: Vec<u8>,
}

impl Confirmable {
    /// How long its answer took, if it comes now.
    pub(crate) fn round_trip(&self, now: Duration) -> RoundTrip {
        let since = now.saturating_sub(self.last_sent);
        if self.retransmissions == 0 { RoundTrip::Certain(since) } else { RoundTrip::OfLastCopy(since) }
    }
}

/// What a timer that ran out asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Send this again. `sent_at` is when the copy that was not answered left, `first` whether it was the first.
    Again { datagram: Vec<u8>, sent_at: Duration, first: bool },
    /// Nobody answered.
    GivenUp { owner: Owner, retransmissions: u32, sent_at: Duration },
}

#[derive(Debug, Default)]
pub(crate) struct Confirmables {
    open: BTreeMap<u16, Confirmable>,
}

impl Confirmables {
    /// Starts the timer of a message that leaves now for the first time; `timeout` has its jitter already.
    pub(crate) fn start(
        &mut self,
        now: Duration,
        id: u16,
        datagram: Vec<u8>,
        owner: Owner,
        timeout: Duration,
    ) {
        let entry = Confirmable {
            owner,
            first_sent: now,
            last_sent: now,
            retransmissions: 0,
            timeout,
            due: now.saturating_add(timeout),
            datagram,
        };
        self.open.insert(id, entry);
    }

    /// Messages on their way.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn get(&self, id: u16) -> Option<&Confirmable> {
        self.open.get(&id)
    }

    /// Stops the timer.
    pub(crate) fn stop(&mut self, id: u16) -> Option<Confirmable> {
        self.open.remove(&id)
    }

    /// Stops the timers of everything `withdrawn` picks.
    pub(crate) fn stop_where(&mut self, withdrawn: impl Fn(Owner) -> bool) {
        self.open.retain(|_, entry| !withdrawn(entry.owner));
    }

    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.open.values().map(|entry| entry.due).min()
    }

    /// One timer that has run out, the earliest first; call until `None`.
    pub(crate) fn expire(&mut self, now: Duration, config: &Config) -> Option<Expiry> {
        let (id, _) = self
            .open
            .iter()
            .filter(|(_, entry)| entry.due <= now)
            .map(|(id, entry)| (*id, entry.due))
            .min_by_key(|(_, due)| *due)?;
        let entry = self.open.get_mut(&id)?;
        let sent_at = entry.last_sent;
        let in_span = now.saturating_sub(entry.first_sent) <= config.max_transmit_span();
        if entry.retransmissions < config.max_retransmit && in_span {
            entry.retransmissions += 1;
            entry.timeout = entry.timeout.saturating_mul(2).min(config.max_rto.max(config.ack_timeout));
            entry.last_sent = now;
            entry.due = now.saturating_add(entry.timeout);
            let first = entry.retransmissions == 1;
            return Some(Expiry::Again { datagram: entry.datagram.clone(), sent_at, first });
        }
        let entry = self.open.remove(&id)?;
        Some(Expiry::GivenUp { owner: entry.owner, retransmissions: entry.retransmissions, sent_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(value: u64) -> Duration {
        Duration::from_secs(value)
    }

    fn run(timeout: Duration, config: &Config) -> (Vec<Duration>, Duration) {
        let mut open = Confirmables::default();
        open.start(s(0), 7, b"x".to_vec(), Owner::Response, timeout);
        let mut copies = Vec::new();
        loop {
            let due = open.next_due().unwrap();
            match open.expire(due, config).unwrap() {
                Expiry::Again { datagram, .. } => {
                    assert_eq!(datagram, b"x");
                    copies.push(due);
                }
                Expiry::GivenUp { retransmissions, .. } => {
                    assert_eq!(retransmissions as usize, copies.len());
                    assert!(open.open.is_empty());
                    return (copies, due);
                }
            }
        }
    }

    #[test]
    fn copies_leave_at_doubling_intervals_and_then_it_is_given_up() {
        let (copies, end) = run(s(2), &Config::default());
        assert_eq!(copies, [s(2), s(6), s(14), s(30)]);
        assert_eq!(end, s(62));
        let config = Config { max_rto: s(60), ..Config::default() };
        let (copies, end) = run(s(3), &config);
        assert_eq!(copies, [s(3), s(9), s(21), s(45)]);
        assert_eq!(end, s(93));
    }

    #[test]
    fn no_copy_leaves_after_the_transmit_span_however_long_the_timeout() {
        let config = Config::default();
        let (copies, _) = run(s(32), &config);
        assert_eq!(copies, [s(32)]);
        assert!(copies.iter().all(|at| *at <= config.max_transmit_span()));
    }

    #[test]
    fn only_a_message_sent_once_tells_the_round_trip_for_certain() {
        let config = Config::default();
        let mut open = Confirmables::default();
        open.start(s(10), 1, Vec::new(), Owner::Response, s(2));
        assert_eq!(open.get(1).unwrap().round_trip(s(11)), RoundTrip::Certain(s(1)));
        assert!(open.expire(s(11), &config).is_none());
        assert!(
            matches!(open.expire(s(12), &config), Some(Expiry::Again { sent_at, .. }) if sent_at == s(10))
        );
        assert_eq!(open.stop(1).unwrap().round_trip(s(13)), RoundTrip::OfLastCopy(s(1)));
    }

    #[test]
    fn after_a_long_sleep_each_message_is_given_up_once_and_none_is_sent_late() {
        let config = Config::default();
        let mut open = Confirmables::default();
        for id in 0..3 {
            open.start(s(0), id, Vec::new(), Owner::Response, s(2));
        }
        let mut ends = 0;
        while let Some(expiry) = open.expire(s(3600), &config) {
            assert!(matches!(expiry, Expiry::GivenUp { retransmissions: 0, .. }));
            ends += 1;
        }
        assert_eq!(ends, 3);
    }
}
