//! Against libcoap's servers and client (Debian package libcoap3-bin), which speak DTLS through OpenSSL and GnuTLS: a
//! handshake with a pre-shared key, then one CoAP GET answered 2.05.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]
#![allow(clippy::disallowed_methods, reason = "foreign peers live in real time")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::peers::{Driver, PATIENCE, Peer, free_pair};
use common::{IDENTITY, KEY, client_config, ms, rng, server_config};
use fieldgate_dtls::{CipherSuite, ClientConfig, Credential, Event, Psk, Server};

/// CON GET, message id 0x1234, token 0xAB, no options: the server's root.
const GET: [u8; 5] = [0x41, 0x01, 0x12, 0x34, 0xAB];
/// What the answer begins with: ACK, 2.05 Content, the same message id and token.
const CONTENT: [u8; 5] = [0x61, 0x45, 0x12, 0x34, 0xAB];
fn impatient(suite: CipherSuite, connection_id: bool) -> ClientConfig {
    let mut config = client_config(suite, connection_id);
    config.timer_min = ms(200);
    config.timer_max = ms(1000);
    config.handshake_deadline = PATIENCE;
    config
}

/// A server that has connected to somebody with the right key. Another process may take the ports between looking and binding:
/// then nothing answers, and the next pair may.
fn answering(program: &str) -> (Peer, SocketAddr) {
    for _ in 0..5 {
        let port = free_pair();
        let mut peer = Peer::start(program, &["-A", "127.0.0.1", "-p", &port.to_string(), "-k", KEY]);
        let address = SocketAddr::from(([127, 0, 0, 1], port + 1));
        let mut driver = Driver::new(&impatient(CipherSuite::PskAes128Gcm, false), address);
        let connected = matches!(driver.next_event(ms(10_000)), Some(Event::Connected(_)));
        if connected && peer.0.try_wait().unwrap().is_none() {
            driver.session.close(driver.origin.elapsed());
            let _ = driver.next_event(driver.origin.elapsed());
            return (peer, address);
        }
    }
    panic!("{program} never answered");
}

fn get_from_coap_server(program: &str, config: &ClientConfig) {
    let (_peer, address) = answering(program);
    let mut driver = Driver::new(config, address);
    match driver.next_event(PATIENCE) {
        Some(Event::Connected(connection)) => {
            assert_eq!(connection.suite, config.suites[0]);
            assert_eq!(connection.peer_cid, None, "libcoap 4.3.1 knows no Connection ID");
        }
        other => panic!("{program}: {other:?}"),
    }
    driver.session.send(driver.origin.elapsed(), &GET).unwrap();
    let answer = driver.next_event(driver.origin.elapsed() + PATIENCE);
    let Some(Event::Received(answer)) = answer else { panic!("{program}: {answer:?}") };
    assert!(answer.starts_with(&CONTENT), "{program}: {answer:02x?}");
    driver.session.close(driver.origin.elapsed());
    let _ = driver.next_event(driver.origin.elapsed());
}

#[test]
fn our_client_gets_content_from_libcoap_over_openssl() {
    for suite in [CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128Gcm] {
        for connection_id in [false, true] {
            get_from_coap_server("coap-server-openssl", &impatient(suite, connection_id));
        }
    }
}

#[test]
fn our_client_gets_content_from_libcoap_over_gnutls() {
    for suite in [CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128Gcm] {
        for connection_id in [false, true] {
            get_from_coap_server("coap-server-gnutls", &impatient(suite, connection_id));
        }
    }
}

#[test]
fn a_wrong_key_against_libcoap_ends_with_a_reason() {
    let mut config = impatient(CipherSuite::PskAes128Gcm, true);
    config.credential = Credential::Psk(Psk::new(IDENTITY, "not the key").unwrap());
    config.handshake_deadline = ms(3000);
    let (_peer, address) = answering("coap-server-openssl");
    let mut driver = Driver::new(&config, address);
    let Some(Event::Closed { why }) = driver.next_event(PATIENCE) else { panic!("it must not connect") };
    // OpenSSL drops what it cannot verify, so the reason may be silence.
    assert!(why.to_string().contains("key"), "{why}");
}

/// Serves canned answers to a libcoap client until it exits; what it printed.
fn serve(program: &str, key: &str) -> (String, Server) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.set_read_timeout(Some(ms(50))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let origin = Instant::now();
    let mut server = Server::new(server_config(), Duration::ZERO, rng(u64::from(port))).unwrap();
    let uri = format!("coaps://127.0.0.1:{port}/greeting");
    let mut peer = Peer::start(program, &["-k", key, "-u", IDENTITY, "-B", "10", "-m", "get", &uri]);
    let mut buffer = [0; 2048];
    while peer.0.try_wait().unwrap().is_none() && origin.elapsed() < PATIENCE {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            server.handle_datagram(origin.elapsed(), from, &buffer[..length]);
        }
        server.handle_timeout(origin.elapsed());
        while let Some(event) = server.poll_event() {
            if let Event::Received(request) = event.event {
                let token_length = usize::from(request[0] & 0x0F);
                // ACK, 2.05, the request's message id and token, a payload.
                let mut answer = vec![0x60 | (request[0] & 0x0F), 0x45, request[2], request[3]];
                answer.extend(&request[4..4 + token_length]);
                answer.extend(b"\xFFgreetings from fieldgate");
                server.send(origin.elapsed(), event.id, &answer).unwrap();
            }
        }
        while let Some((to, datagram)) = server.poll_transmit() {
            socket.send_to(&datagram, to).unwrap();
        }
    }
    let mut printed = String::new();
    if let Some(mut output) = peer.0.stdout.take() {
        let _ = peer.0.kill();
        std::io::Read::read_to_string(&mut output, &mut printed).unwrap();
    }
    (printed, server)
}

#[test]
fn libcoaps_clients_get_content_from_our_server() {
    for program in ["coap-client-openssl", "coap-client-gnutls"] {
        let (printed, server) = serve(program, KEY);
        assert!(printed.contains("greetings from fieldgate"), "{program} printed {printed:?}");
        assert_eq!(server.counters().handshakes_completed, 1, "{program}");
        assert!(server.counters().cookies_sent >= 1, "{program}");
    }
}

#[test]
fn libcoaps_client_with_a_wrong_key_gets_nothing() {
    let (printed, server) = serve("coap-client-openssl", "not the key");
    assert!(!printed.contains("greetings"), "{printed:?}");
    assert_eq!(server.counters().handshakes_completed, 0);
    assert!(server.counters().handshakes_failed >= 1);
}
