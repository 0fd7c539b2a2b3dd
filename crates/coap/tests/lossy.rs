//! Two endpoints over a network that loses, doubles, delays and reorders, in virtual time from one seed.
//!
//! Both are client and server at once. Whatever the network does: every request ends exactly once, the application sees
//! it at most once and whole (each GET of a block is a request of its own), an observer is given nothing twice and nothing old, and what
//! was answered was seen.

#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use fieldgate_coap::{
    Code, Config, Delivery, Endpoint, Event, ExchangeId, IncomingRequest, Method, NotificationId,
    ObservationId, ObserveRequest, Request, RequestId, Response, Seed, Szx,
};
use proptest::prelude::*;
use support::*;

/// What one request asked for and how it ended.
struct Asked {
    tag: u64,
    expected: Vec<u8>,
    outcomes: Vec<Result<Vec<u8>, String>>,
}

/// A GET's path, query and number of the block.
type LookUp = (Vec<String>, Vec<String>, Option<u32>);

struct Side {
    endpoint: Endpoint,
    asked: BTreeMap<RequestId, Asked>,
    pings: BTreeMap<RequestId, u32>,
    /// How often the application saw each tag.
    seen: BTreeMap<u64, u32>,
    /// How often it saw each GET.
    looked_up: BTreeMap<LookUp, u32>,
    /// Answers that take their time.
    thinking: Vec<(Duration, ExchangeId, Response)>,
    observer: Option<fieldgate_coap::ObserverId>,
    observation: Option<ObservationId>,
    observed: Vec<(u32, Vec<u8>)>,
    delivered: Vec<NotificationId>,
    notified: Vec<Vec<u8>>,
}

struct World {
    now: Duration,
    dice: Dice,
    weather: Weather,
    sides: [Side; 2],
    /// Arrival time, a number that keeps the order total, receiver, datagram.
    air: BTreeMap<(Duration, u64), (usize, Vec<u8>)>,
    flown: u64,
}

fn body(tag: u64, len: usize) -> Vec<u8> {
    tag.to_be_bytes().into_iter().chain((0..len).map(|at| (at as u64 * 31 + tag) as u8)).collect()
}

fn big(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8).collect()
}

impl World {
    fn new(seed: u64, weather: Weather) -> World {
        let side = |random: u64| Side {
            endpoint: Endpoint::new(
                Config {
                    max_requests: 1000,
                    max_exchanges: 1000,
                    max_events: 10_000,
                    max_transfers: 100,
                    ..Config::default()
                },
                Seed { message_id: random.wrapping_mul(77) as u16, token: random, random },
            ),
            asked: BTreeMap::new(),
            pings: BTreeMap::new(),
            seen: BTreeMap::new(),
            looked_up: BTreeMap::new(),
            thinking: Vec::new(),
            observer: None,
            observation: None,
            observed: Vec::new(),
            delivered: Vec::new(),
            notified: Vec::new(),
        };
        let sides = [side(seed), side(!seed)];
        World { now: secs(0), dice: Dice(seed | 1), weather, sides, air: BTreeMap::new(), flown: 0 }
    }

    fn ask(&mut self, who: usize, tag: u64) {
        let side = &mut self.sides[who];
        let (request, expected) = match self.dice.roll(6) {
            0 => (Request::post("small").payload(42, body(tag, 20)), body(tag, 0)),
            1 => (Request::post("once").payload(42, body(tag, 20)).non_confirmable(), body(tag, 0)),
            2 => (Request::post(&format!("up/{tag}")).payload(42, body(tag, 5000)), body(tag, 0)),
            3 => (Request::get("big").query(&tag.to_string()).assemble(Szx::B256, 10_000), big(3000)),
            4 => (Request::post(&format!("both/{tag}")).payload(42, body(tag, 1500)), big(3000)),
            _ => {
                let num = self.dice.roll(12) as u32;
                let get = Request::get("block").query(&tag.to_string());
                let id = side.endpoint.get_block(self.now, get, num, Szx::B256).unwrap();
                let from = num as usize * 256;
                let expected = big(3000)[from..3000.min(from + 256)].to_vec();
                side.asked.insert(id, Asked { tag, expected, outcomes: Vec::new() });
                return;
            }
        };
        let id = side.endpoint.request(self.now, request).unwrap();
        side.asked.insert(id, Asked { tag, expected, outcomes: Vec::new() });
    }

    fn serve(&mut self, who: usize, request: &IncomingRequest) {
        let side = &mut self.sides[who];
        if request.method == Method::Get {
            let block = request.block2.map(|block| block.num());
            *side.looked_up.entry((request.path.clone(), request.query.clone(), block)).or_default() += 1;
        }
        let response = match request.path.first().map(String::as_str) {
            Some("big" | "block") => Response::content(42, big(3000)),
            Some("state") => {
                assert_eq!(request.observe, Some(ObserveRequest::Register));
                let state = Response::content(42, vec![0]);
                side.observer =
                    Some(side.endpoint.accept_observer(self.now, request.exchange, state).unwrap());
                return;
            }
            Some(kind) => {
                let tag = u64::from_be_bytes(request.payload[..8].try_into().unwrap());
                let len = request.payload.len() - 8;
                assert_eq!(request.payload, body(tag, len), "arrived whole");
                *side.seen.entry(tag).or_default() += 1;
                let answer = if kind == "both" { big(3000) } else { tag.to_be_bytes().to_vec() };
                Response::new(Code::CHANGED).payload(42, answer)
            }
            None => Response::new(Code::NOT_FOUND),
        };
        match self.dice.roll(3) {
            0 => {
                let later = self.now + ms(self.dice.roll(8000));
                side.thinking.push((later, request.exchange, response));
            }
            _ => side.endpoint.respond(self.now, request.exchange, response).unwrap(),
        }
    }

    /// Empties the outboxes into the air and the event queues into the record.
    fn settle(&mut self) {
        for who in 0..2 {
            while let Some(event) = self.sides[who].endpoint.poll_event() {
                let side = &mut self.sides[who];
                match event {
                    Event::Request(request) => self.serve(who, &request),
                    Event::Response { id, response, .. } => {
                        // Under heavy loss the server may forget half a body before the rest arrives.
                        let outcome = match response.code {
                            code if code.is_success() => Ok(response.payload),
                            Code::REQUEST_ENTITY_INCOMPLETE => Err(response.code.to_string()),
                            _ => panic!("{response:?}"),
                        };
                        side.asked.get_mut(&id).unwrap().outcomes.push(outcome);
                    }
                    Event::Failed { id, why, .. } => match side.asked.get_mut(&id) {
                        Some(asked) => asked.outcomes.push(Err(why.to_string())),
                        None => *side.pings.get_mut(&id).unwrap() += 1,
                    },
                    Event::Pong { id, .. } => *side.pings.get_mut(&id).unwrap() += 1,
                    Event::Notification { response, .. } => {
                        side.observed.push((response.observe.unwrap(), response.payload));
                    }
                    Event::NotificationDelivered { notification, .. } => side.delivered.push(notification),
                    Event::ObserverGone { .. } => side.observer = None,
                    Event::NotificationLost { .. } | Event::ObservationEnded { .. } => {}
                }
            }
            while let Some(bytes) = self.sides[who].endpoint.poll_transmit() {
                let copies = if self.dice.roll(100) < self.weather.loss_percent {
                    0
                } else {
                    1 + u64::from(self.dice.roll(100) < self.weather.double_percent)
                };
                for _ in 0..copies {
                    let delay = ms(20 + self.dice.roll(self.weather.max_delay.as_millis() as u64));
                    self.flown += 1;
                    self.air.insert((self.now + delay, self.flown), (1 - who, bytes.clone()));
                }
            }
        }
    }

    /// Moves to the next thing that happens; `false` when nothing will.
    fn step(&mut self, until: Duration) -> bool {
        self.settle();
        let timers = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout());
        let thoughts = self.sides.iter().flat_map(|side| side.thinking.iter().map(|(at, ..)| *at));
        let arrival = self.air.keys().next().map(|(at, _)| *at);
        let Some(at) = timers.chain(thoughts).chain(arrival).min().filter(|at| *at <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(at);
        while let Some(entry) = self.air.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, bytes) = entry.remove();
            self.sides[to].endpoint.handle_datagram(self.now, &bytes);
        }
        for side in &mut self.sides {
            let ready: Vec<_> = side.thinking.extract_if(.., |(at, ..)| *at <= self.now).collect();
            for (_, exchange, response) in ready {
                side.endpoint.respond(self.now, exchange, response).unwrap();
            }
            side.endpoint.handle_timeout(self.now);
            assert!(side.endpoint.poll_timeout().is_none_or(|at| at > self.now), "a timer that never fires");
        }
        true
    }

    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
    }
}

fn storm(seed: u64, weather: Weather) -> World {
    let mut world = World::new(seed, weather);
    let observation = world.sides[0].endpoint.observe(secs(0), Request::get("state")).unwrap();
    world.sides[0].observation = Some(observation);
    for round in 0..40u64 {
        for who in 0..2 {
            world.ask(who, round * 2 + who as u64);
        }
        if round % 10 == 0 {
            let ping = world.sides[0].endpoint.ping(world.now).unwrap();
            world.sides[0].pings.insert(ping, 0);
        }
        if let Some(observer) = world.sides[1].observer {
            let (now, state) = (world.now, vec![round as u8; 10]);
            let delivery =
                [Delivery::Every, Delivery::Latest, Delivery::NonConfirmable][world.dice.roll(3) as usize];
            let side = &mut world.sides[1];
            let sent = side.endpoint.notify(now, observer, Response::content(42, state.clone()), delivery);
            if sent.is_ok() {
                side.notified.push(state);
            }
        }
        let pause = ms(world.dice.roll(3000));
        world.run(pause);
    }
    world.run(secs(4000));
    world
}

fn check(world: &World) -> (usize, usize) {
    let (mut answered, mut failed) = (0, 0);
    for who in 0..2 {
        let (side, peer) = (&world.sides[who], &world.sides[1 - who]);
        for asked in side.asked.values() {
            assert_eq!(asked.outcomes.len(), 1, "one outcome for {}", asked.tag);
            match &asked.outcomes[0] {
                Ok(payload) => {
                    assert_eq!(*payload, asked.expected);
                    answered += 1;
                }
                Err(_) => failed += 1,
            }
        }
        assert!(side.pings.values().all(|ends| *ends == 1));
        assert!(peer.seen.values().all(|times| *times == 1), "{:?}", peer.seen);
        assert!(peer.looked_up.values().all(|times| *times == 1), "{:?}", peer.looked_up);
        assert_eq!(side.endpoint.outstanding(), 0);
        assert_eq!(side.endpoint.poll_timeout(), None);
    }
    let (client, server) = (&world.sides[0], &world.sides[1]);
    assert!(
        client.observed.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "newest last: {:?}",
        client.observed
    );
    assert!(client.observed.iter().all(|(_, state)| *state == [0] || server.notified.contains(state)));
    (answered, failed)
}

#[test]
fn a_clear_sky_loses_nothing() {
    let world = storm(7, Weather { loss_percent: 0, double_percent: 0, max_delay: ms(100) });
    let (answered, failed) = check(&world);
    assert_eq!((answered, failed), (80, 0));
    assert!(world.sides[0].looked_up.len() > 10 && world.sides[1].looked_up.len() > 10);
    let counters = world.sides[0].endpoint.counters();
    assert_eq!((counters.malformed, counters.retransmissions), (0, 0));
    assert!(world.sides[0].observed.len() > 10);
}

#[test]
fn moderate_loss_fails_little_and_a_dead_link_fails_everything_once() {
    let (answered, failed) =
        check(&storm(11, Weather { loss_percent: 10, double_percent: 10, max_delay: ms(800) }));
    assert!(answered > 60 && failed < 20, "{answered} {failed}");
    let (answered, failed) =
        check(&storm(12, Weather { loss_percent: 100, double_percent: 0, max_delay: ms(100) }));
    assert_eq!((answered, failed), (0, 80));
}

#[test]
fn without_loss_every_queued_event_arrives_in_order() {
    let weather = Weather { loss_percent: 0, double_percent: 30, max_delay: ms(1500) };
    let mut world = World::new(3, weather);
    world.sides[0].endpoint.observe(secs(0), Request::get("state")).unwrap();
    world.run(secs(10));
    let observer = world.sides[1].observer.unwrap();
    for n in 1..=10u8 {
        let now = world.now;
        world.sides[1].endpoint.notify(now, observer, Response::content(42, [n]), Delivery::Every).unwrap();
    }
    world.run(secs(100));
    let states: Vec<u8> = world.sides[0].observed.iter().map(|(_, state)| state[0]).collect();
    assert_eq!(states, (0..=10).collect::<Vec<u8>>());
    assert_eq!(world.sides[1].delivered.len(), 10);
}

#[test]
fn a_path_slower_than_the_default_timeout_is_learned() {
    let weather = Weather { loss_percent: 0, double_percent: 0, max_delay: ms(1) };
    let mut world = World::new(5, weather);
    let mut copies = Vec::new();
    for _ in 0..30 {
        let before = world.sides[0].endpoint.counters().retransmissions;
        world.sides[0].endpoint.ping(world.now).map(|id| world.sides[0].pings.insert(id, 0)).unwrap();
        // Four seconds there and back: both ways by hand, because the weather is quick.
        world.settle_slowly(secs(2));
        copies.push(world.sides[0].endpoint.counters().retransmissions - before);
    }
    assert!(copies[0] > 0, "the first cannot know");
    assert_eq!(copies[10..].iter().sum::<u64>(), 0, "{copies:?}");
}

impl World {
    /// Runs until quiet with a fixed one-way delay instead of the weather's.
    fn settle_slowly(&mut self, delay: Duration) {
        loop {
            for who in 0..2 {
                while let Some(bytes) = self.sides[who].endpoint.poll_transmit() {
                    self.flown += 1;
                    self.air.insert((self.now + delay, self.flown), (1 - who, bytes));
                }
            }
            let until = self.now + secs(1000);
            let more = self.step(until);
            if !more {
                return;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once_and_is_seen_at_most_once(
        seed: u64, loss_percent in 0u64..60, double_percent in 0u64..60, delay in 1u64..5000,
    ) {
        let weather = Weather { loss_percent, double_percent, max_delay: ms(delay) };
        check(&storm(seed, weather));
    }
}
