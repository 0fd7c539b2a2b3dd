//! Notifications of one observation in any order (RFC 7641 §3.4), against the rule as the RFC writes it.

use core::time::Duration;

use fieldgate_coap::{Endpoint, Event, ObservationId, Request};

use crate::coap::{SEED, datagram, id_and_token, option, small};
use crate::feed::Feed;

/// The newest state the application was given, and when: V1 and T1 of the RFC.
type Newest = Option<(u32, Duration)>;

fn is_newer(newest: Newest, value: u32, now: Duration) -> bool {
    let Some((before, at)) = newest else { return true };
    let half = 1 << 23;
    (before < value && value - before < half)
        || (before > value && before - value > half)
        || now > at + Duration::from_secs(128)
}

struct Run {
    endpoint: Endpoint,
    observation: ObservationId,
    now: Duration,
    newest: Newest,
    /// The registration or cancellation that was sent last, if it has no answer yet.
    open: Option<Vec<u8>>,
    token: Vec<u8>,
    ended: bool,
    /// Whether each notification counts by itself.
    events: bool,
}

/// Notifications of a state, and then the same of events.
pub(crate) fn observe(data: &[u8]) -> bool {
    let (states, events) = (run(data, false), run(data, true));
    states || events
}

/// Registers, then lets notifications, answers, repetitions and time arrive as the bytes say.
fn run(data: &[u8], events: bool) -> bool {
    let mut feed = Feed::new(data);
    let mut endpoint = Endpoint::new(small(), SEED);
    let Ok(observation) = endpoint.observe(Duration::ZERO, Request::get("a").events(events)) else {
        return false;
    };
    let mut run = Run {
        endpoint,
        observation,
        now: Duration::ZERO,
        newest: None,
        open: None,
        token: Vec::new(),
        ended: false,
        events,
    };
    run.transmit();
    let (mut id, mut delivered) = (0u16, 0);
    while let Some(act) = feed.next() {
        match act % 8 {
            0 => {
                run.now += feed.pause();
                run.endpoint.handle_timeout(run.now);
            }
            1 => {
                // Refusals are fine: one is on its way, or the observation is gone.
                let _ = run.endpoint.reregister(run.now, run.observation);
            }
            2 if act > 0xf0 => {
                let _ = run.endpoint.cancel_observation(run.now, run.observation);
            }
            2 | 3 => {
                let Some(open) = run.open.take() else { continue };
                let (id, token) = id_and_token(&open);
                let answer = datagram(2, 0x45, id, token, &state(&mut feed));
                delivered += run.arrives(&answer, None);
            }
            _ => {
                // Mostly new, now and then a copy under the id of the one before.
                id = id.wrapping_add(u16::from(act < 0xe0));
                let value = feed.take(3).to_vec();
                let number = value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
                let rest = [option(6, &value), vec![0xff, feed.byte()]].concat();
                let is_copy = act >= 0xe0;
                let settled = run.open.is_none() && !run.ended && !is_copy;
                let expected = settled.then(|| events || is_newer(run.newest, number, run.now));
                let notification = datagram(act >> 3 & 1, 0x45, id.to_be_bytes(), &run.token, &rest);
                delivered += run.arrives(&notification, expected);
            }
        }
        run.transmit();
        delivered += run.events(None, false);
    }
    delivered > 0
}

/// Observe (6) of up to three bytes and a state of one.
fn state(feed: &mut Feed<'_>) -> Vec<u8> {
    let len = usize::from(feed.byte() % 4);
    [option(6, feed.take(len)), vec![0xff, feed.byte()]].concat()
}

impl Run {
    /// `expected`: whether the rule says that this one is given to the application, where that can be known.
    fn arrives(&mut self, datagram: &[u8], expected: Option<bool>) -> usize {
        self.endpoint.handle_datagram(self.now, datagram);
        let answers_registration = datagram.first().is_some_and(|head| head & 0x30 == 0x20);
        let given = self.events(expected, answers_registration);
        if let Some(expected) = expected {
            assert_eq!(given, usize::from(expected), "newest was {:?}, now {:?}", self.newest, self.now);
        }
        given
    }

    fn events(&mut self, expected: Option<bool>, answers_registration: bool) -> usize {
        let mut given = 0;
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Notification { response, .. } => {
                    given += 1;
                    let Some(value) = response.observe else { continue };
                    let newer = self.events || answers_registration || is_newer(self.newest, value, self.now);
                    assert!(newer, "{value} is older than {:?}, expected {expected:?}", self.newest);
                    self.newest = Some((value, self.now));
                }
                Event::ObservationEnded { .. } => self.ended = true,
                _ => {}
            }
        }
        given
    }

    fn transmit(&mut self) {
        while let Some(bytes) = self.endpoint.poll_transmit() {
            // A GET: everything else that leaves acknowledges or resets.
            if bytes.get(1) == Some(&1) {
                self.token = id_and_token(&bytes).1.to_vec();
                self.open = Some(bytes);
                self.ended = false;
            }
        }
    }
}
