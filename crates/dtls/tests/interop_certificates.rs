//! Certificates and keys against foreign peers: libcoap over OpenSSL and GnuTLS (Debian package libcoap3-bin), and the
//! `openssl` program's own server and client, both ways; and what must be refused is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]
#![allow(clippy::disallowed_methods, reason = "foreign peers live in real time")]

mod common;

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::peers::{Driver, PATIENCE, Peer, free_pair};
use common::pki::{Pki, SERVER_NAME};
use common::{ms, rng, server_config};
use fieldgate_dtls::{
    CertificateProblem, CipherSuite, ClientConfig, CloseReason, Event, Refusal, Server, ServerCertificate,
    WallTime,
};

/// CON GET of the root, and how its answer begins (see `interop.rs`).
const GET: [u8; 5] = [0x41, 0x01, 0x12, 0x34, 0xAB];
const CONTENT: [u8; 5] = [0x61, 0x45, 0x12, 0x34, 0xAB];
const SUITES: [(CipherSuite, &str); 3] = [
    (CipherSuite::EcdheEcdsaAes128Ccm8, "ECDHE-ECDSA-AES128-CCM8"),
    (CipherSuite::EcdheEcdsaAes128Ccm, "ECDHE-ECDSA-AES128-CCM"),
    (CipherSuite::EcdheEcdsaAes128Gcm, "ECDHE-ECDSA-AES128-GCM-SHA256"),
];

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn asking(pki: &Pki, roots: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::with_certificate(pki.identity("client"), pki.roots(roots), SERVER_NAME);
    (config.timer_min, config.timer_max, config.handshake_deadline) = (ms(200), ms(1000), PATIENCE);
    config
}

fn connect(config: &ClientConfig, address: SocketAddr, wall: WallTime) -> (Driver, Option<Event>) {
    let mut driver = Driver::new(config, address);
    driver.session.set_wall_clock(Duration::ZERO, Some(wall));
    let event = driver.next_event(PATIENCE);
    (driver, event)
}

/// The arguments by which libcoap's server shows `server` and lets in what `ec-root` vouches for.
fn coap_server(pki: &Pki, program: &str) -> (Peer, SocketAddr) {
    let file = |name, what| text(&pki.path(name, what));
    for _ in 0..5 {
        let port = free_pair();
        let mut peer = Peer::start(
            program,
            &[
                "-A",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-c",
                &file("server", "pem"),
                "-j",
                &file("server", "key"),
                "-C",
                &file("ec-root", "pem"),
                "-R",
                &file("ec-root", "pem"),
            ],
        );
        let address = SocketAddr::from(([127, 0, 0, 1], port + 1));
        let mut config = asking(pki, &["rsa-root"]);
        config.handshake_deadline = ms(10_000);
        let (_, event) = connect(&config, address, pki.now());
        if matches!(event, Some(Event::Connected(_))) && peer.0.try_wait().unwrap().is_none() {
            return (peer, address);
        }
        println!("{program}: {event:?}");
    }
    panic!("{program} never answered");
}

#[test]
fn our_client_gets_content_from_libcoap_with_certificates_and_refuses_what_it_must() {
    let pki = Pki::make();
    for program in ["coap-server-openssl", "coap-server-gnutls"] {
        let (_peer, address) = coap_server(&pki, program);
        for suite in [CipherSuite::EcdheEcdsaAes128Ccm8, CipherSuite::EcdheEcdsaAes128Gcm] {
            let mut config = asking(&pki, &["other-root", "rsa-root"]);
            config.suites = vec![suite];
            let (mut driver, event) = connect(&config, address, pki.now());
            let Some(Event::Connected(connection)) = event else { panic!("{program}, {suite}: {event:?}") };
            assert_eq!((connection.suite, connection.time_unverified), (suite, false));
            driver.session.send(driver.origin.elapsed(), &GET).unwrap();
            let answer = driver.next_event(driver.origin.elapsed() + PATIENCE);
            let Some(Event::Received(answer)) = answer else { panic!("{program}: {answer:?}") };
            assert!(answer.starts_with(&CONTENT), "{program}: {answer:02x?}");
        }
        refuses_what_it_must(&pki, address);
    }
}

fn refuses_what_it_must(pki: &Pki, address: SocketAddr) {
    let good = asking(pki, &["rsa-root"]);
    let mut other_name = good.clone();
    other_name.server_name = Some("coap.other.example".into());
    let (from, until) = pki.identity("server").validity();
    let at = |unix_s| WallTime { unix_s, trusted: true };
    for (config, wall, expected) in [
        (&asking(pki, &["other-root", "ec-root"]), pki.now(), CertificateProblem::UnknownRoot),
        (&other_name, pki.now(), CertificateProblem::WrongName),
        (&good, at(until + 86_400), CertificateProblem::Expired),
        (&good, at(from - 86_400), CertificateProblem::NotYetValid),
    ] {
        let (_, event) = connect(config, address, wall);
        let Some(Event::Closed { why }) = event else { panic!("it must not connect: {event:?}") };
        assert_eq!(why.refusal(), Some(Refusal::PeerCertificate(expected)), "{why}");
    }
}

/// `openssl s_server` with these arguments on a free port, once our client of this configuration has an answer of any kind.
fn s_server(arguments: &[&str], config: &ClientConfig, wall: WallTime) -> (Peer, Event) {
    for _ in 0..5 {
        let port = free_pair().to_string();
        let all = ["s_server", "-dtls1_2", "-accept", &port, "-quiet"];
        let mut peer = Peer::start("openssl", &[&all, arguments].concat());
        let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
        let (_, event) = connect(config, address, wall);
        if let (Some(event), None) = (event, peer.0.try_wait().unwrap()) {
            return (peer, event);
        }
    }
    panic!("openssl s_server never answered");
}

#[test]
fn our_client_connects_to_openssl_with_certificates_and_refuses_what_it_must() {
    let pki = Pki::make();
    let file = |name, what| text(&pki.path(name, what));
    let (certificate, key) = (file("server", "pem"), file("server", "key"));
    let clients = file("ec-root", "pem");
    for (suite, name) in SUITES {
        let cipher = format!("{name}:@SECLEVEL=0");
        let arguments = [
            "-cert",
            &certificate,
            "-key",
            &key,
            "-CAfile",
            &clients,
            "-Verify",
            "2",
            "-verify_return_error",
            "-cipher",
            &cipher,
        ];
        let mut config = asking(&pki, &["rsa-root"]);
        config.suites = vec![suite];
        let (_peer, event) = s_server(&arguments, &config, pki.now());
        let Event::Connected(connection) = event else { panic!("{suite}: {event:?}") };
        assert_eq!(connection.suite, suite);
    }
    let arguments = ["-cert", &certificate, "-key", &key];
    let (_, until) = pki.identity("server").validity();
    let late = WallTime { unix_s: until + 1, trusted: true };
    let (_peer, event) = s_server(&arguments, &asking(&pki, &["rsa-root"]), late);
    let Event::Closed { why } = event else { panic!("{event:?}") };
    assert_eq!(why, CloseReason::BadCertificate(CertificateProblem::Expired));
    let (_peer, event) = s_server(&arguments, &asking(&pki, &["other-root"]), pki.now());
    let Event::Closed { why } = event else { panic!("{event:?}") };
    assert_eq!(why, CloseReason::BadCertificate(CertificateProblem::UnknownRoot));
}

/// Serves one foreign client until it exits, echoing nothing; what it sent, and the server as it is then.
fn serve(
    pki: &Pki,
    own: &str,
    program: &str,
    arguments: impl FnOnce(u16) -> Vec<String>,
    say: &[u8],
) -> (Vec<u8>, Server) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.set_read_timeout(Some(ms(50))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let origin = Instant::now();
    let mut config = server_config();
    config.certificate =
        Some(ServerCertificate { identity: pki.identity(own), client_roots: Some(pki.roots(&["ec-root"])) });
    let mut server = Server::new(config, Duration::ZERO, rng(u64::from(port))).unwrap();
    server.set_wall_clock(Duration::ZERO, Some(pki.now()));
    let mut child = Command::new(program)
        .args(arguments(port))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take();
    let mut peer = Peer(child);
    let (mut buffer, mut received, mut gone) = ([0; 4096], Vec::new(), None);
    while origin.elapsed() < PATIENCE && gone.is_none_or(|at: Instant| at.elapsed() < ms(200)) {
        if gone.is_none() && peer.0.try_wait().unwrap().is_some() {
            gone = Some(Instant::now());
        }
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            server.handle_datagram(origin.elapsed(), from, &buffer[..length]);
        }
        server.handle_timeout(origin.elapsed());
        while let Some(event) = server.poll_event() {
            match event.event {
                Event::Connected(_) => {
                    if let Some(mut input) = input.take() {
                        input.write_all(say).unwrap();
                    }
                }
                Event::Received(request) => {
                    if request.first().is_some_and(|first| first >> 6 == 1) {
                        let token_length = usize::from(request[0] & 0x0F);
                        let mut answer = vec![0x60 | (request[0] & 0x0F), 0x45, request[2], request[3]];
                        answer.extend(&request[4..4 + token_length]);
                        answer.extend(b"\xFFhello");
                        server.send(origin.elapsed(), event.id, &answer).unwrap();
                    }
                    received.extend(request);
                }
                _ => {}
            }
        }
        while let Some((to, datagram)) = server.poll_transmit() {
            socket.send_to(&datagram, to).unwrap();
        }
    }
    (received, server)
}

fn s_client(pki: &Pki, client: &str, root: &str, name: &str) -> impl FnOnce(u16) -> Vec<String> {
    let file = |name, what| text(&pki.path(name, what));
    let rest = [
        "-cert".to_owned(),
        file(client, "pem"),
        "-key".to_owned(),
        file(client, "key"),
        "-CAfile".to_owned(),
        file(root, "pem"),
        "-verify_return_error".to_owned(),
        "-verify_hostname".to_owned(),
        name.to_owned(),
        "-servername".to_owned(),
        name.to_owned(),
    ];
    move |port| {
        let mut all: Vec<String> =
            ["s_client", "-dtls1_2", "-quiet", "-no_ign_eof", "-connect"].map(str::to_owned).into();
        all.push(format!("127.0.0.1:{port}"));
        all.extend(rest);
        all
    }
}

#[test]
fn openssls_client_gets_in_with_a_certificate_and_accepts_ours_or_refuses_as_it_must() {
    let pki = Pki::make();
    let line = b"a line for the server\n";
    let (received, server) =
        serve(&pki, "server-below", "openssl", s_client(&pki, "client-256", "ec-root", SERVER_NAME), line);
    assert_eq!(received, line, "{:?}", server.counters());
    for (client, root, name) in [
        ("client-256", "other-root", SERVER_NAME),
        ("client-256", "ec-root", "coap.other.example"),
        ("stranger", "ec-root", SERVER_NAME),
    ] {
        let (received, server) =
            serve(&pki, "server-below", "openssl", s_client(&pki, client, root, name), line);
        assert_eq!(received, b"", "{client}, {root}, {name}");
        assert_eq!(server.counters().handshakes_completed, 0, "{client}, {root}, {name}");
    }
}

#[test]
fn libcoaps_clients_get_content_from_our_server_with_certificates() {
    let pki = Pki::make();
    for program in ["coap-client-openssl", "coap-client-gnutls"] {
        let file = |name, what| text(&pki.path(name, what));
        let (certificate, key, root) =
            (file("client-256", "pem"), file("client-256", "key"), file("rsa-root", "pem"));
        let arguments = |port: u16| {
            let uri = format!("coaps://127.0.0.1:{port}/greeting");
            let all = ["-c", &certificate, "-j", &key, "-R", &root, "-B", "10", "-m", "get", &uri];
            all.map(str::to_owned).to_vec()
        };
        let (received, server) = serve(&pki, "server", program, arguments, b"");
        assert_eq!(server.counters().handshakes_completed, 1, "{program}");
        assert!(!received.is_empty(), "{program}");
    }
}
