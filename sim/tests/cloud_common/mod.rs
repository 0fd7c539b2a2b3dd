//! A device in virtual time: our own DTLS session and CoAP endpoint, on a wire in memory, against the sans-IO cloud.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod live;

use fieldgate_coap::{Config, Endpoint, Event, ObservationId, Request, RequestId, Response, Seed};
use fieldgate_dtls::{ClientConfig, CloseReason, Event as DtlsEvent, Psk, Session};
use fieldgate_sim::cloud::{Cloud, CloudConfig, DeviceConfig};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) const PROJECT: &str = "plant";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const API_KEY: &str = "management-key";
/// 2026-01-02T03:04:05.006Z
pub(crate) const UNIX_MS: i64 = 1_767_323_045_006;

pub(crate) const CBOR: u16 = 60;
pub(crate) const JSON: u16 = 50;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// Bytes as JSON carries them.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for three in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, i| word << 8 | u32::from(three.get(i).copied().unwrap_or(0)));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
            encoded.push(if place <= three.len() { letter as char } else { '=' });
        }
    }
    encoded
}

/// Two devices, `gw` and `other`, and no request limit to trip over.
pub(crate) fn config() -> CloudConfig {
    let device = |name| DeviceConfig::new(name, PROJECT, KEY);
    let mut config = CloudConfig::new(PROJECT, API_KEY, vec![device("gw"), device("other")]);
    config.requests_per_second = None;
    config
}

pub(crate) fn cloud_of(config: CloudConfig) -> Cloud {
    Cloud::new(config, 7, UNIX_MS).unwrap()
}

/// One device's side: its session, its endpoint, what happened.
pub(crate) struct Device {
    name: String,
    pub(crate) address: SocketAddr,
    session: Session,
    pub(crate) endpoint: Endpoint,
    pub(crate) answers: BTreeMap<RequestId, Result<Response, fieldgate_coap::Failure>>,
    pub(crate) notifications: Vec<(ObservationId, Response)>,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) unauthenticated_alerts: Vec<u8>,
    /// CoAP messages as they came.
    pub(crate) heard: Vec<Vec<u8>>,
}

/// The cloud and its devices on one time line. Every datagram takes 5 ms.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) cloud: Cloud,
    pub(crate) devices: Vec<Device>,
    wire: BTreeMap<(Duration, u64), (bool, SocketAddr, Vec<u8>)>,
    order: u64,
    /// Datagrams of a thousand that get lost, either way.
    pub(crate) loss: u64,
    /// How many got lost so far.
    pub(crate) lost: u64,
    dice: u64,
    /// Everything the cloud said.
    pub(crate) said: Vec<(Duration, SocketAddr, Vec<u8>)>,
}

fn rng(seed: u64) -> fieldgate_dtls::Rng {
    let mut state = seed;
    Box::new(move |buffer| {
        for byte in buffer {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
    })
}

impl Device {
    fn new(name: &str, port: u16, now: Duration) -> Self {
        let psk = Psk::new(format!("{name}@{PROJECT}"), KEY).unwrap();
        let session = Session::client(&ClientConfig::new(psk), now, rng(u64::from(port))).unwrap();
        Self {
            name: name.to_owned(),
            address: SocketAddr::from(([192, 0, 2, 1], port)),
            session,
            endpoint: Endpoint::new(Config::default(), Seed { message_id: port, token: 1, random: 1 }),
            answers: BTreeMap::new(),
            notifications: Vec::new(),
            closed: None,
            unauthenticated_alerts: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Passes on what session and endpoint have for each other, and gives out what is for the wire.
    fn turn(&mut self, now: Duration) -> Vec<Vec<u8>> {
        while let Some(event) = self.session.poll_event() {
            match event {
                DtlsEvent::Received(message) => {
                    self.endpoint.handle_datagram(now, &message);
                    self.heard.push(message);
                }
                DtlsEvent::Closed { why } => self.closed = Some(why),
                DtlsEvent::UnauthenticatedAlert(alert) => self.unauthenticated_alerts.push(alert.description),
                _ => {}
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Response { id, response, .. } => {
                    self.answers.insert(id, Ok(response));
                }
                Event::Failed { id, why, .. } => {
                    self.answers.insert(id, Err(why));
                }
                Event::Notification { observation, response } => {
                    self.notifications.push((observation, response));
                }
                _ => {}
            }
        }
        if self.session.connection().is_some() {
            while let Some(message) = self.endpoint.poll_transmit() {
                let _closed = self.session.send(now, &message);
            }
        }
        let mut datagrams = Vec::new();
        while let Some(datagram) = self.session.poll_transmit() {
            datagrams.push(datagram);
        }
        datagrams
    }
}

impl World {
    pub(crate) fn new(cloud: Cloud) -> Self {
        let (now, wire, devices, said) = (Duration::ZERO, BTreeMap::new(), Vec::new(), Vec::new());
        Self { now, cloud, devices, wire, order: 0, loss: 0, lost: 0, dice: 11, said }
    }

    /// A world with `gw` connected.
    pub(crate) fn connected(config: CloudConfig) -> Self {
        let mut world = Self::new(cloud_of(config));
        world.connect("gw");
        world
    }

    /// A further device, connected; its place in `devices`.
    pub(crate) fn connect(&mut self, name: &str) -> usize {
        let port = 1_000 + self.devices.len() as u16;
        self.devices.push(Device::new(name, port, self.now));
        self.run_for(ms(500));
        let place = self.devices.len() - 1;
        assert!(self.devices[place].session.connection().is_some(), "{name} could not connect");
        place
    }

    /// A new session of the first device, from the same address, with its endpoint kept.
    pub(crate) fn reconnect(&mut self) -> Vec<ObservationId> {
        let port = self.devices[0].address.port();
        let name = self.devices[0].name.clone();
        let fresh = Device::new(&name, port, self.now);
        let device = &mut self.devices[0];
        device.session = fresh.session;
        device.closed = None;
        let observations = device.endpoint.reset_session();
        self.run_for(ms(500));
        observations
    }

    /// The first device's source address changes, as when a router forgets it.
    pub(crate) fn rebind(&mut self, port: u16) {
        self.devices[0].address.set_port(port);
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.turn();
            let next = self.next_event();
            match next.filter(|at| *at <= end) {
                Some(at) => self.step_to(at.max(self.now)),
                None => break,
            }
        }
        self.now = end;
    }

    fn next_event(&self) -> Option<Duration> {
        let devices = self.devices.iter().flat_map(|device| {
            [device.session.poll_timeout(), device.endpoint.poll_timeout()].into_iter().flatten()
        });
        let wire = self.wire.keys().next().map(|(at, _)| *at);
        devices.chain(wire).chain(self.cloud.poll_timeout()).min()
    }

    fn step_to(&mut self, at: Duration) {
        self.now = at;
        self.cloud.handle_timeout(at);
        for device in &mut self.devices {
            device.session.handle_timeout(at);
            device.endpoint.handle_timeout(at);
        }
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= at) {
            let (to_cloud, peer, datagram) = entry.remove();
            if to_cloud {
                self.cloud.handle_datagram(at, peer, &datagram);
            } else if let Some(device) = self.devices.iter_mut().find(|device| device.address == peer) {
                device.session.handle_datagram(at, &datagram);
            }
        }
    }

    fn turn(&mut self) {
        for place in 0..self.devices.len() {
            // Twice: what was received may make the endpoint say something.
            for _ in 0..2 {
                let datagrams = self.devices[place].turn(self.now);
                let address = self.devices[place].address;
                datagrams.into_iter().for_each(|datagram| self.put(true, address, datagram));
            }
        }
        while let Some((to, datagram)) = self.cloud.poll_transmit() {
            self.said.push((self.now, to, datagram.clone()));
            self.put(false, to, datagram);
        }
    }

    fn put(&mut self, to_cloud: bool, peer: SocketAddr, datagram: Vec<u8>) {
        self.order += 1;
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (self.dice >> 33) % 1_000 < self.loss {
            self.lost += 1;
            return;
        }
        self.wire.insert((self.now + ms(5), self.order), (to_cloud, peer, datagram));
    }

    /// Sends CoAP bytes as they are from the first device; what it hears within half a second.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.devices[0].heard.clear();
        self.devices[0].session.send(self.now, bytes).unwrap();
        self.run_for(ms(500));
        std::mem::take(&mut self.devices[0].heard)
    }

    /// The same within 12 ms, for what must happen within a second; the code byte of the first answer.
    pub(crate) fn say_briefly(&mut self, bytes: &[u8]) -> Option<u8> {
        self.devices[0].heard.clear();
        self.devices[0].session.send(self.now, bytes).unwrap();
        self.run_for(ms(12));
        self.devices[0].heard.first()?.get(1).copied()
    }

    /// Sends a request from the first device and runs until it is answered.
    pub(crate) fn ask(&mut self, request: Request) -> Response {
        self.ask_as(0, request)
    }

    pub(crate) fn ask_as(&mut self, device: usize, request: Request) -> Response {
        let id = self.send_as(device, request);
        for _ in 0..400 {
            self.run_for(ms(25));
            if let Some(answer) = self.devices[device].answers.remove(&id) {
                return answer.expect("an answer");
            }
        }
        panic!("no answer within ten seconds");
    }

    pub(crate) fn send(&mut self, request: Request) -> RequestId {
        self.send_as(0, request)
    }

    fn send_as(&mut self, device: usize, request: Request) -> RequestId {
        let now = self.now;
        self.devices[device].endpoint.request(now, request).unwrap()
    }

    /// Observes from the first device; the first notification is there when this returns.
    pub(crate) fn observe(&mut self, request: Request) -> ObservationId {
        let id = self.devices[0].endpoint.observe(self.now, request).unwrap();
        self.run_for(ms(100));
        id
    }

    /// Payloads of the notifications of an observation so far; they are taken.
    pub(crate) fn notified(&mut self, observation: ObservationId) -> Vec<Vec<u8>> {
        let (ours, others) = self.devices[0].notifications.drain(..).partition(|(id, _)| *id == observation);
        self.devices[0].notifications = others;
        let ours: Vec<(ObservationId, Response)> = ours;
        ours.into_iter().map(|(_, response)| response.payload).collect()
    }
}
