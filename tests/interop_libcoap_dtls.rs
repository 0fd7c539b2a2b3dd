//! The promise: our CoAP over our DTLS talks to a foreign server that speaks both, through OpenSSL and through GnuTLS.
//!
//! The peers are `coap-server-openssl` and `coap-server-gnutls` of the Debian package `libcoap3-bin`, over UDP on loopback.
//! The clock of both cores is the socket's read timeout, counted; nothing here measures or asserts time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fieldgate_coap::{
    Code, Config, Endpoint, Event, Failure, ObservationEnd, ObservationId, Request, Response, Seed, Szx,
    format,
};
use fieldgate_dtls::{self as dtls, CipherSuite, ClientConfig, Psk, Session};

const TICK: Duration = Duration::from_millis(5);
/// Two minutes of ticks: far beyond what a healthy peer needs.
const PATIENCE: u32 = 24_000;
const SERVERS: [&str; 2] = ["coap-server-openssl", "coap-server-gnutls"];
const KEY: &str = "a-shared-key";

/// A child process that does not outlive its test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two neighbouring ports that are free now: the server takes one for CoAP and the next for DTLS.
fn free_pair() -> u16 {
    for _ in 0..200 {
        let first = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let Some(next) = port.checked_add(1) else { continue };
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if UdpSocket::bind(("127.0.0.1", next)).is_ok() && free(port) && free(next) {
            return port;
        }
    }
    panic!("no two neighbouring ports are free");
}

/// A server that has answered. Somebody else may take the ports between the look for free ones and its bind: then the next two.
fn serve(program: &str) -> (Peer, SocketAddr) {
    for _ in 0..5 {
        let port = free_pair();
        let child = Command::new(program)
            .args(["-A", "127.0.0.1", "-p", &port.to_string(), "-k", KEY, "-d", "10", "-v", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} cannot run ({error}): install the package libcoap3-bin")
            });
        let mut peer = Peer(child);
        let address = SocketAddr::from(([127, 0, 0, 1], port + 1));
        if Client::new(address, KEY, CipherSuite::PskAes128Gcm).connects()
            && peer.0.try_wait().unwrap().is_none()
        {
            return (peer, address);
        }
    }
    panic!("{program} never answered");
}

/// Both cores over one socket.
struct Client {
    socket: UdpSocket,
    session: Session,
    endpoint: Endpoint,
    now: Duration,
    connected: bool,
    ended: Option<String>,
}

impl Client {
    fn new(to: SocketAddr, key: &str, suite: CipherSuite) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(TICK)).unwrap();
        let mut config = ClientConfig::new(Psk::new("gw-1@p", key).unwrap());
        config.suites = vec![suite];
        // The peer may still be starting: ask again soon.
        config.timer_min = Duration::from_millis(100);
        config.timer_max = Duration::from_millis(500);
        let mut state = u64::from(socket.local_addr().unwrap().port());
        let random = move |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            }
        };
        let session = Session::client(&config, Duration::ZERO, Box::new(random)).unwrap();
        let endpoint = Endpoint::new(
            Config { ack_timeout: Duration::from_millis(500), max_datagram: 1280, ..Config::default() },
            Seed { message_id: 1, token: 1, random: 1 },
        );
        Self { socket, session, endpoint, now: Duration::ZERO, connected: false, ended: None }
    }

    /// Says what is to be said, then takes one datagram or lets one tick pass.
    fn turn(&mut self) {
        while let Some(message) = self.connected.then(|| self.endpoint.poll_transmit()).flatten() {
            self.session.send(self.now, &message).unwrap();
        }
        while let Some(datagram) = self.session.poll_transmit() {
            // A peer that is not up yet refuses; that is loss.
            let _ = self.socket.send(&datagram);
        }
        let mut buffer = [0; 2048];
        match self.socket.recv(&mut buffer) {
            Ok(len) => self.session.handle_datagram(self.now, &buffer[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(_) => self.now += TICK,
        }
        self.session.handle_timeout(self.now);
        while let Some(event) = self.session.poll_event() {
            match event {
                dtls::Event::Connected(_) => self.connected = true,
                dtls::Event::Received(message) => self.endpoint.handle_datagram(self.now, &message),
                dtls::Event::Closed { why } => self.ended = Some(why.to_string()),
                _ => {}
            }
        }
        if self.connected {
            self.endpoint.handle_timeout(self.now);
        }
    }

    /// Whether a session comes about. A server on a port of its own answers within its first ticks; half a minute is for slow ones.
    fn connects(&mut self) -> bool {
        for _ in 0..PATIENCE / 4 {
            if self.connected || self.ended.is_some() {
                break;
            }
            self.turn();
        }
        self.connected
    }

    fn next_event(&mut self) -> Event {
        for _ in 0..PATIENCE {
            if let Some(event) = self.endpoint.poll_event() {
                return event;
            }
            assert_eq!(self.ended, None, "the session ended");
            self.turn();
        }
        panic!("the peer did not answer");
    }

    fn ask(&mut self, request: Request) -> Response {
        self.endpoint.request(self.now, request).unwrap();
        match self.next_event() {
            Event::Response { response, .. } => response,
            other => panic!("{other:?}"),
        }
    }

    fn notification(&mut self, of: ObservationId) -> Response {
        match self.next_event() {
            Event::Notification { observation, response } if observation == of => response,
            other => panic!("{other:?}"),
        }
    }
}

/// Each server with each suite that Golioth's clients use.
fn with_each(test: impl Fn(&mut Client)) {
    for program in SERVERS {
        for suite in [CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128Gcm] {
            println!("{program}, {}", suite.name());
            let (_peer, address) = serve(program);
            test(&mut Client::new(address, KEY, suite));
        }
    }
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + (at * 7 % 23) as u8).collect()
}

#[test]
fn a_resource_is_read() {
    with_each(|client| {
        let root = client.ask(Request::get(""));
        assert_eq!(root.code, Code::CONTENT);
        assert!(String::from_utf8(root.payload).unwrap().contains("libcoap"));
        assert_eq!(client.ask(Request::get("no/such/thing")).code, Code::NOT_FOUND);
    });
}

#[test]
fn what_is_written_is_read_back() {
    with_each(|client| {
        let put = Request::put("example_data").payload(format::TEXT, "seven");
        assert!(client.ask(put).code.is_success());
        assert_eq!(client.ask(Request::get("example_data")).payload, b"seven");
        let created = Request::put("fieldgate").payload(format::TEXT, "one");
        assert_eq!(client.ask(created).code, Code::CREATED);
        let changed = Request::put("fieldgate").payload(format::TEXT, "two");
        assert_eq!(client.ask(changed).code, Code::CHANGED);
        assert_eq!(client.ask(Request::get("fieldgate")).payload, b"two");
        assert_eq!(client.ask(Request::delete("fieldgate")).code, Code::DELETED);
    });
}

#[test]
fn a_body_of_many_blocks_goes_up_and_comes_back_whole() {
    with_each(|client| {
        let put = Request::put("example_data").payload(format::OCTET_STREAM, body(20_000));
        assert!(client.ask(put).code.is_success());
        for get in [Request::get("example_data"), Request::get("example_data").assemble(Szx::B256, 30_000)] {
            let response = client.ask(get);
            assert_eq!((response.code, response.payload.len()), (Code::CONTENT, 20_000));
            assert_eq!(response.payload, body(20_000));
        }
        let mut seen = vec![0; 20_000];
        // In any order but one that begins with the last, which libcoap 4.3.1 then calls one of many.
        for num in (0..20).map(|n| (n * 7 + 3) % 20) {
            client.endpoint.get_block(client.now, Request::get("example_data"), num, Szx::B1024).unwrap();
        }
        for _ in 0..20 {
            let event = client.next_event();
            let Event::Response { response, .. } = event else { panic!("{event:?}") };
            let from = response.block2.unwrap().offset();
            seen[from..from + response.payload.len()].copy_from_slice(&response.payload);
        }
        assert_eq!(seen, body(20_000));
    });
}

#[test]
fn a_resource_is_observed_until_that_is_cancelled() {
    with_each(|client| {
        let observation = client.endpoint.observe(client.now, Request::get("time")).unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let response = client.notification(observation);
            assert_eq!(response.code, Code::CONTENT);
            seen.push(response.payload);
        }
        seen.dedup();
        assert_eq!(seen.len(), 3, "three different times");
        client.endpoint.cancel_observation(client.now, observation).unwrap();
        loop {
            match client.next_event() {
                Event::ObservationEnded { why, .. } => {
                    assert_eq!(why, ObservationEnd::Cancelled);
                    break;
                }
                Event::Notification { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn an_answer_that_comes_separately_finds_its_request() {
    with_each(|client| {
        let slow = client.ask(Request::get("async").query("1"));
        assert_eq!((slow.code, slow.payload.as_slice()), (Code::CONTENT, b"done".as_slice()));
    });
}

#[test]
fn a_wrong_key_never_connects() {
    for program in SERVERS {
        let (_peer, address) = serve(program);
        // First with the right one: the server is up.
        let mut right = Client::new(address, KEY, CipherSuite::PskAes128Gcm);
        assert_eq!(right.ask(Request::get("")).code, Code::CONTENT);
        let mut wrong = Client::new(address, "another-key", CipherSuite::PskAes128Gcm);
        let request = Request::get("").deadline(Duration::from_secs(1));
        wrong.endpoint.request(wrong.now, request).unwrap();
        while wrong.now < Duration::from_secs(1) && wrong.ended.is_none() {
            wrong.turn();
        }
        wrong.endpoint.handle_timeout(wrong.now);
        assert!(!wrong.connected);
        let event = wrong.endpoint.poll_event();
        let failed = matches!(event, Some(Event::Failed { why: Failure::DeadlineExceeded, .. }));
        assert!(failed || wrong.ended.is_some(), "{event:?}");
    }
}
