//! Pre-shared keys against the `openssl` program's own DTLS server and client, both ways, with every suite that both know: a handshake,
//! a line up and a line down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]
#![allow(clippy::disallowed_methods, reason = "foreign peers live in real time")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::peers::{Driver, PATIENCE, Peer, free_pair};
use common::{IDENTITY, KEY, client_config, ms, rng, server_config};
use fieldgate_dtls::{CipherSuite, ClientConfig, Event, Server};

const SUITES: [(CipherSuite, &str); 4] = [
    (CipherSuite::PskAes128Ccm8, "PSK-AES128-CCM8"),
    (CipherSuite::PskAes128Ccm, "PSK-AES128-CCM"),
    (CipherSuite::PskAes128Gcm, "PSK-AES128-GCM-SHA256"),
    (CipherSuite::PskAes128Cbc, "PSK-AES128-CBC-SHA256"),
];
const UP: &str = "a line up\n";
const DOWN: &str = "a line down\n";

fn hex(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A running `openssl`, what it is told, and the lines it says.
struct OpenSsl {
    peer: Peer,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl OpenSsl {
    /// `s_server` or `s_client` with this key and this suite alone.
    fn start(role: &[&str], key: &str, cipher: &str) -> Self {
        let (key, cipher) = (hex(key), format!("{cipher}:@SECLEVEL=0"));
        let mut child = Command::new("openssl")
            .args(role)
            .args(["-dtls1_2", "-quiet", "-psk", &key, "-psk_identity", IDENTITY, "-cipher", &cipher])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the Debian package openssl is installed");
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let (say, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _nobody_listens = say.send(line);
            }
        });
        Self { peer: Peer(child), input, lines }
    }

    fn tell(&mut self, line: &str) {
        self.input.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.peer.0.try_wait().unwrap().is_some()
    }
}

/// `s_server`, and our client once it has an answer. Another process may take the port between looking and binding: then nothing
/// answers, and the next may.
fn connected(config: &ClientConfig, key: &str, cipher: &str) -> (OpenSsl, Driver, Event) {
    for _ in 0..5 {
        let port = free_pair();
        let mut server = OpenSsl::start(&["s_server", "-nocert", "-accept", &port.to_string()], key, cipher);
        let mut driver = Driver::new(config, SocketAddr::from(([127, 0, 0, 1], port)));
        if let (Some(event), false) = (driver.next_event(PATIENCE), server.has_ended()) {
            return (server, driver, event);
        }
    }
    panic!("openssl s_server never answered");
}

fn impatient(suite: CipherSuite) -> ClientConfig {
    let mut config = client_config(suite, suite.is_aead());
    (config.timer_min, config.timer_max, config.handshake_deadline) = (ms(200), ms(1000), PATIENCE);
    config
}

#[test]
fn our_client_talks_to_openssls_server_with_every_suite() {
    for (suite, cipher) in SUITES {
        let (mut server, mut driver, event) = connected(&impatient(suite), KEY, cipher);
        let Event::Connected(connection) = event else { panic!("{suite}: {event:?}") };
        assert_eq!((connection.suite, connection.peer_cid), (suite, None));
        driver.session.send(driver.origin.elapsed(), UP.as_bytes()).unwrap();
        assert!(driver.next_event(driver.origin.elapsed()).is_none(), "nobody has said anything yet");
        assert_eq!(server.lines.recv_timeout(PATIENCE).as_deref(), Ok(UP.trim()), "{suite}");
        server.tell(DOWN);
        let down = driver.next_event(driver.origin.elapsed() + PATIENCE);
        assert!(matches!(&down, Some(Event::Received(line)) if line == DOWN.as_bytes()), "{suite}: {down:?}");
    }
}

#[test]
fn openssls_server_with_another_key_lets_our_client_end_with_a_reason() {
    let mut config = impatient(CipherSuite::PskAes128Ccm8);
    config.handshake_deadline = ms(3000);
    let (_server, _, event) = connected(&config, "not the key", "PSK-AES128-CCM8");
    let Event::Closed { why } = event else { panic!("it must not connect: {event:?}") };
    assert!(why.to_string().contains("key"), "{why}");
}

/// Our server, echoing what `s_client` says, until that has ended: what the client was told, and the suites of its sessions.
fn serve(key: &str, cipher: &str) -> (Vec<String>, Vec<CipherSuite>, Server) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.set_read_timeout(Some(ms(50))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let origin = Instant::now();
    let mut server = Server::new(server_config(), Duration::ZERO, rng(u64::from(port))).unwrap();
    let to = format!("127.0.0.1:{port}");
    let mut client = OpenSsl::start(&["s_client", "-connect", &to], key, cipher);
    let (mut buffer, mut told, mut suites) = ([0; 2048], Vec::new(), Vec::new());
    while !client.has_ended() && origin.elapsed() < PATIENCE {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            server.handle_datagram(origin.elapsed(), from, &buffer[..length]);
        }
        server.handle_timeout(origin.elapsed());
        while let Some(event) = server.poll_event() {
            match event.event {
                Event::Connected(connection) => {
                    suites.push(connection.suite);
                    client.tell(UP);
                }
                Event::Received(line) => server.send(origin.elapsed(), event.id, &line).unwrap(),
                _ => {}
            }
        }
        while let Some((to, datagram)) = server.poll_transmit() {
            socket.send_to(&datagram, to).unwrap();
        }
        if let Ok(line) = client.lines.try_recv() {
            told.push(line);
            client.peer.0.kill().unwrap();
        }
    }
    (told, suites, server)
}

#[test]
fn openssls_client_talks_to_our_server_with_every_suite() {
    for (suite, cipher) in SUITES {
        let (told, suites, server) = serve(KEY, cipher);
        assert_eq!((told, suites), (vec![UP.trim().to_owned()], vec![suite]), "{:?}", server.counters());
        assert!(server.counters().cookies_sent >= 1, "{suite}");
    }
}

#[test]
fn openssls_client_with_another_key_gets_nothing() {
    let (told, suites, server) = serve("not the key", "PSK-AES128-CCM8");
    assert_eq!((told, suites), (vec![], vec![]));
    assert_eq!(server.counters().handshakes_completed, 0);
    assert!(server.counters().handshakes_failed >= 1);
}
