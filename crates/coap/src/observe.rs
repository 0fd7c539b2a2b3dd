//! Observations held as a client: registration state and the order of notifications (RFC 7641 §3.4).

use core::time::Duration;

use crate::event::RequestId;
use crate::message::Token;
use crate::request::Request;

/// After this long any notification counts as newer: the 24-bit counter may have gone round.
const ORDER_HOLDS_FOR: Duration = Duration::from_secs(128);
const HALF: u32 = 1 << 23;

/// One observation. Its token is its own for life, across sessions.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) request: Request,
    pub(crate) token: Token,
    /// The server answered the registration and has not ended it.
    pub(crate) registered: bool,
    /// The registration or cancellation on its way.
    pub(crate) asking: Option<RequestId>,
    /// The fetch of the later blocks of a notification.
    pub(crate) tail: Option<RequestId>,
    pub(crate) order: Order,
}

impl Observation {
    pub(crate) fn new(request: Request, token: Token) -> Observation {
        Observation { request, token, registered: false, asking: None, tail: None, order: Order::default() }
    }
}

/// Tells a newer notification from one that was overtaken on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    newest: Option<(u32, Duration)>,
}

impl Order {
    /// Whether `value`, received at `now`, is newer than all before; if so it is the newest from here on.
    pub(crate) fn admit(&mut self, now: Duration, value: u32) -> bool {
        let newer = match self.newest {
            None => true,
            Some((old, at)) => {
                (old < value && value - old < HALF)
                    || (old > value && old - value > HALF)
                    || now > at.saturating_add(ORDER_HOLDS_FOR)
            }
        };
        if newer {
            self.newest = Some((value, now));
        }
        newer
    }

    /// Takes `value` whatever came before: it is known to answer a registration.
    pub(crate) fn restart(&mut self, now: Duration, value: u32) {
        self.newest = Some((value, now));
    }

    pub(crate) fn newest(&self) -> Option<u32> {
        self.newest.map(|(value, _)| value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.newest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn an_overtaken_notification_is_not_newer_and_neither_is_a_copy() {
        let mut order = Order::default();
        assert!(order.admit(at(0), 5));
        assert!(!order.admit(at(1), 4));
        assert!(!order.admit(at(1), 5));
        assert!(order.admit(at(1), 6));
    }

    #[test]
    fn the_counter_wraps_at_24_bits() {
        let mut order = Order::default();
        assert!(order.admit(at(0), 0xff_fffe));
        assert!(order.admit(at(1), 1));
        assert!(!order.admit(at(2), 0xff_ffff));
        let mut far = Order::default();
        assert!(far.admit(at(0), 0));
        assert!(!far.admit(at(1), HALF));
        assert!(far.admit(at(1), HALF - 1));
    }

    #[test]
    fn after_128_seconds_anything_is_newer() {
        let mut order = Order::default();
        assert!(order.admit(at(0), 100));
        assert!(!order.admit(at(128), 7));
        assert!(order.admit(at(129), 7));
    }
}
