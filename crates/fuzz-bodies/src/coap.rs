//! CoAP packets and the passing of time into an endpoint that asks and answers at once.
//!
//! Most datagrams are made from what the endpoint has sent, with its message ids and tokens, because guessed ones end at the
//! first comparison.

use core::time::Duration;
use std::collections::VecDeque;

use fieldgate_coap::{
    Code, Config, Delivery, Endpoint, Event, ObserveRequest, ObserverId, Request, Response, Seed, SendError,
    Szx,
};

use crate::feed::Feed;

const MOST_REQUESTS: usize = 8;
const MOST_OBSERVATIONS: usize = 2;
const MOST_OUTBOX: usize = 16;
const MOST_DATAGRAM: usize = 1500;
/// More timers than any run can have left.
pub(crate) const MOST_TIMERS: usize = 20_000;

/// Bounds small enough to be met.
pub(crate) fn small() -> Config {
    Config {
        max_requests: MOST_REQUESTS,
        max_exchanges: 4,
        max_observers: 2,
        max_observations: MOST_OBSERVATIONS,
        max_transfers: 2,
        max_remembered_ids: 16,
        max_remembered_bytes: 256,
        max_events: 16,
        max_outbox: MOST_OUTBOX,
        max_body: 3000,
        token_length: 1,
        max_datagram: MOST_DATAGRAM,
        ..Config::default()
    }
}

pub(crate) const SEED: Seed = Seed { message_id: 0x1000, token: 0xef, random: 1 };

/// A message with nothing but a head and a token; options and payload follow as they are.
pub(crate) fn datagram(kind: u8, code: u8, id: [u8; 2], token: &[u8], rest: &[u8]) -> Vec<u8> {
    let token = token.get(..token.len().min(8)).unwrap_or_default();
    let head = 0x40 | (kind & 3) << 4 | (token.len() as u8 & 15);
    [&[head, code, id[0], id[1]], token, rest].concat()
}

/// Message id and token of a datagram that this workspace made.
pub(crate) fn id_and_token(datagram: &[u8]) -> ([u8; 2], &[u8]) {
    let at = |index: usize| datagram.get(index).copied().unwrap_or(0);
    let len = usize::from(at(0) & 15);
    ([at(2), at(3)], datagram.get(4..4 + len).unwrap_or_default())
}

/// One option, `delta` beyond the number of the option before, with a value of at most 12 bytes.
pub(crate) fn option(delta: u8, value: &[u8]) -> Vec<u8> {
    let value = value.get(..value.len().min(12)).unwrap_or_default();
    let len = value.len() as u8;
    let head = match delta {
        0..13 => vec![delta << 4 | len],
        _ => vec![13 << 4 | len, delta - 13],
    };
    [head.as_slice(), value].concat()
}

struct Run {
    endpoint: Endpoint,
    now: Duration,
    sent: VecDeque<Vec<u8>>,
    arrived: Vec<u8>,
    observer: Option<ObserverId>,
    asked: usize,
    ended: usize,
    spoke: bool,
}

/// Datagrams, time, requests and answers in any order; at the end the line goes silent.
pub(crate) fn endpoint(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let mut run = Run {
        endpoint: Endpoint::new(small(), SEED),
        now: Duration::ZERO,
        sent: VecDeque::new(),
        arrived: Vec::new(),
        observer: None,
        asked: 0,
        ended: 0,
        spoke: false,
    };
    while let Some(act) = feed.next() {
        run.act(act, &mut feed);
        run.drain(&mut feed);
    }
    run.finish();
    run.spoke
}

impl Run {
    fn act(&mut self, act: u8, feed: &mut Feed<'_>) {
        match act % 16 {
            0 => self.arrive(feed.chunk().to_vec()),
            1 => self.arrive(vec![feed.byte(); usize::from(feed.word() % 2048)]),
            2..=5 => {
                let (kind, code) = (feed.byte(), feed.byte());
                let (id, token) = self.recall(feed.byte());
                // A separate answer has an id of its own.
                let id = if kind & 0x80 == 0 { id } else { [kind, feed.byte()] };
                self.arrive(datagram(kind, code, id, &token, feed.chunk()));
            }
            6 | 7 => {
                let (kind, code, id) = (feed.byte(), feed.byte(), [0, feed.byte()]);
                let token = feed.byte() % 9;
                let token = feed.take(usize::from(token)).to_vec();
                self.arrive(datagram(kind, code, id, &token, feed.chunk()));
            }
            8 => self.arrive(self.arrived.clone()),
            9 => {
                let mirrored = self.sent.get(usize::from(feed.byte() % 8)).cloned().unwrap_or_default();
                self.arrive(mirrored);
            }
            10 => {
                self.now += feed.pause();
                self.tick();
            }
            11 => {
                if let Some(at) = self.endpoint.poll_timeout() {
                    self.now = self.now.max(at);
                    self.tick();
                }
            }
            12 | 13 => {
                if self.ask(feed.byte()) == Ok(true) {
                    self.asked += 1;
                }
            }
            14 => self.notify(feed),
            _ => {
                // Rarely: it ends everything that was built up.
                if feed.byte() > 0xf0 {
                    self.endpoint.reset_session();
                }
            }
        }
    }

    fn arrive(&mut self, datagram: Vec<u8>) {
        self.endpoint.handle_datagram(self.now, &datagram);
        self.arrived = datagram;
    }

    fn recall(&self, which: u8) -> ([u8; 2], Vec<u8>) {
        let sent = self.sent.get(usize::from(which % 8)).map(Vec::as_slice).unwrap_or_default();
        let (id, token) = id_and_token(sent);
        (id, token.to_vec())
    }

    fn tick(&mut self) {
        self.endpoint.handle_timeout(self.now);
        assert!(self.endpoint.poll_timeout().is_none_or(|at| at > self.now), "a timer that never fires");
    }

    /// Starts something; tells whether it is owed an outcome. Refusals are fine.
    fn ask(&mut self, what: u8) -> Result<bool, SendError> {
        let (endpoint, now) = (&mut self.endpoint, self.now);
        let held: Vec<_> = endpoint.observations().map(|(id, _)| id).collect();
        match what % 9 {
            0 => endpoint.request(now, Request::get("a")).map(|_| true),
            1 => endpoint.request(now, Request::post("a").payload(42, vec![0; 3000])).map(|_| true),
            2 => endpoint.request(now, Request::get("a").assemble(Szx::B16, 200)).map(|_| true),
            3 => endpoint.get_block(now, Request::get("a"), 1, Szx::B16).map(|_| true),
            4 => endpoint.ping(now).map(|_| true),
            5 => endpoint.observe(now, Request::get("a")).map(|_| false),
            6 => held.into_iter().try_for_each(|id| endpoint.reregister(now, id)).map(|()| false),
            7 => held.into_iter().try_for_each(|id| endpoint.cancel_observation(now, id)).map(|()| false),
            _ => endpoint.request(now, Request::post("a").non_confirmable()).map(|_| true),
        }
    }

    fn notify(&mut self, feed: &mut Feed<'_>) {
        let Some(observer) = self.observer else { return };
        let how = feed.byte();
        let delivery = match how % 3 {
            0 => Delivery::Every,
            1 => Delivery::Latest,
            _ => Delivery::NonConfirmable,
        };
        let code = if how < 0xf0 { Code::CONTENT } else { Code::NOT_FOUND };
        let state = Response::new(code).payload(42, vec![0; usize::from(feed.word() % 2048)]);
        // Full queues and observers that are gone are fine.
        let _ = self.endpoint.notify(self.now, observer, state, delivery);
    }

    fn drain(&mut self, feed: &mut Feed<'_>) {
        while let Some(event) = self.endpoint.poll_event() {
            self.spoke = true;
            match event {
                Event::Response { .. } | Event::Failed { .. } | Event::Pong { .. } => self.ended += 1,
                Event::Request(request) => {
                    assert!(request.payload.len() <= small().max_body.max(MOST_DATAGRAM));
                    let answer = Response::content(42, vec![0; usize::from(feed.byte()) * 12]);
                    if request.observe == Some(ObserveRequest::Register) {
                        let taken = self.endpoint.accept_observer(self.now, request.exchange, answer);
                        self.observer = taken.ok().or(self.observer);
                    } else {
                        // One that may not be answered any more, or not by so much, is fine.
                        let _ = self.endpoint.respond(self.now, request.exchange, answer);
                    }
                }
                _ => {}
            }
        }
        let mut leaving = 0;
        while let Some(bytes) = self.endpoint.poll_transmit() {
            leaving += 1;
            assert!(bytes.len() <= MOST_DATAGRAM, "a datagram of {} bytes", bytes.len());
            self.sent.push_front(bytes);
            self.sent.truncate(8);
        }
        assert!(leaving <= MOST_OUTBOX);
        assert!(self.endpoint.outstanding() <= MOST_REQUESTS + MOST_OBSERVATIONS);
    }

    /// Without another word from outside everything ends by itself.
    fn finish(&mut self) {
        let mut silence = Feed::new(&[]);
        let mut timers = 0;
        while let Some(at) = self.endpoint.poll_timeout() {
            self.now = self.now.max(at);
            self.tick();
            self.drain(&mut silence);
            timers += 1;
            assert!(timers < MOST_TIMERS, "it never comes to rest");
        }
        assert_eq!(self.asked, self.ended, "every request ends once");
        assert_eq!(self.endpoint.outstanding(), 0);
    }
}
