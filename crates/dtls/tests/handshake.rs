//! Handshakes over a wire in memory: they complete, survive what wires do, fail with a name, and are reproducible.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod common;

use std::time::Duration;

use common::{Direction, Seeded, Wire, address, client_config, ms, psk, rng, server, server_config};
use fieldgate_dtls::{
    Alert, CipherSuite, ClientConfig, CloseReason, ConfigError, Credential, Event, Psk, Refusal, Server,
    Session,
};
use proptest::prelude::*;

const SUITES: [CipherSuite; 4] = [
    CipherSuite::PskAes128Ccm8,
    CipherSuite::PskAes128Ccm,
    CipherSuite::PskAes128Gcm,
    CipherSuite::PskAes128Cbc,
];

fn client_end(wire: &Wire) -> Option<&CloseReason> {
    wire.client_events.iter().find_map(|(_, event)| match event {
        Event::Closed { why } => Some(why),
        _ => None,
    })
}

fn server_end(wire: &Wire) -> Option<&CloseReason> {
    wire.server_events.iter().find_map(|event| match &event.event {
        Event::Closed { why } => Some(why),
        _ => None,
    })
}

#[test]
fn every_suite_connects_and_carries_data_both_ways() {
    for suite in SUITES {
        for connection_id in [false, true] {
            if connection_id && !suite.is_aead() {
                continue;
            }
            let (mut wire, id) = Wire::connected(&client_config(suite, connection_id), server());
            let connection = wire.client(1000).connection().unwrap().clone();
            assert_eq!(connection.suite, suite);
            assert_eq!(connection.peer_cid.as_ref().map(Vec::len), connection_id.then_some(8), "{suite}");
            assert_eq!(connection.own_cid, None);
            assert_eq!(wire.server.connection(id).unwrap().own_cid, connection.peer_cid);
            assert_eq!(
                wire.server.connection(id).unwrap().psk_identity.as_deref(),
                Some(common::IDENTITY.as_bytes())
            );

            wire.client_send(1000, b"up");
            wire.server_send(id, b"down");
            wire.run_for(ms(100));
            assert_eq!(wire.take_received_by_server(), [b"up".to_vec()]);
            assert_eq!(wire.take_received_by_clients(), [b"down".to_vec()]);
        }
    }
}

#[test]
fn a_record_adds_no_more_than_the_overhead_says() {
    for (suite, connection_id, exact) in [
        (CipherSuite::PskAes128Ccm8, false, Some(29)),
        (CipherSuite::PskAes128Gcm, false, Some(37)),
        (CipherSuite::PskAes128Gcm, true, None),
        (CipherSuite::PskAes128Cbc, false, None),
    ] {
        let (mut wire, _) = Wire::connected(&client_config(suite, connection_id), server());
        let overhead = wire.client(1000).overhead().unwrap();
        for length in [1, 10, 15, 16, 17, 200, 1000] {
            wire.client_send(1000, &vec![7; length]);
            let on_wire = wire.seen.last().unwrap().2.len();
            assert!(on_wire <= length + overhead, "{suite}: {length} became {on_wire}, overhead {overhead}");
            if let Some(exact) = exact {
                assert_eq!((on_wire - length, overhead), (exact, exact), "{suite}");
            }
        }
    }
}

#[test]
fn a_payload_that_does_not_fit_one_datagram_is_refused_with_the_limit() {
    let (mut wire, _) = Wire::connected(&client_config(CipherSuite::PskAes128Gcm, true), server());
    let limit = wire.client(1000).max_payload().unwrap();
    let now = wire.now;
    let refused = wire.client(1000).send(now, &vec![0; limit + 1]);
    assert_eq!(refused, Err(fieldgate_dtls::SendError::TooLarge { limit, got: limit + 1 }));
    wire.client_send(1000, &vec![0; limit]);
    assert!(wire.seen.last().unwrap().2.len() <= 1280);
}

#[test]
fn sending_before_the_handshake_is_refused() {
    let mut session = Session::client(&ClientConfig::new(psk()), Duration::ZERO, rng(2)).unwrap();
    assert_eq!(session.send(ms(1), b"early"), Err(fieldgate_dtls::SendError::NotConnected));
}

#[test]
fn the_server_name_is_in_the_first_datagram_if_there_is_one() {
    let mut config = client_config(CipherSuite::PskAes128Gcm, true);
    let names = |config: &ClientConfig| {
        let hello = Session::client(config, ms(0), rng(1)).unwrap().poll_transmit().unwrap();
        hello.windows(13).any(|bytes| bytes == b"coap.test.org")
    };
    assert!(!names(&config));
    config.server_name = Some("coap.test.org".into());
    assert!(names(&config));
}

#[test]
fn the_servers_order_of_suites_decides() {
    let mut config = client_config(CipherSuite::PskAes128Ccm8, false);
    config.suites = vec![CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128Gcm];
    let mut server = server_config();
    server.suites = vec![CipherSuite::PskAes128Gcm, CipherSuite::PskAes128Ccm8];
    let server = Server::new(server, Duration::ZERO, rng(1)).unwrap();
    let (mut wire, _) = Wire::connected(&config, server);
    assert_eq!(wire.client(1000).connection().unwrap().suite, CipherSuite::PskAes128Gcm);
}

#[test]
fn a_server_holds_nothing_for_a_client_whose_cookie_did_not_return() {
    let mut wire = Wire::new(server());
    // Nothing comes back to the clients: their addresses are forged.
    wire.fate = Box::new(|direction, _| match direction {
        Direction::ToServer => vec![ms(1)],
        Direction::ToClient => vec![],
    });
    for port in 0..50 {
        let session = Session::client(&ClientConfig::new(psk()), wire.now, rng(u64::from(port))).unwrap();
        wire.add(address(2000 + port), session);
    }
    wire.run_for(ms(500));
    assert_eq!(wire.server.session_count(), 0);
    assert_eq!(wire.server.counters().cookies_sent, 50);
    let largest = |wanted| {
        let of = |(_, direction, datagram): &(Duration, Direction, Vec<u8>)| {
            (*direction == wanted).then_some(datagram.len())
        };
        wire.seen.iter().filter_map(of).max().unwrap()
    };
    assert!(largest(Direction::ToClient) < largest(Direction::ToServer), "an answer must not amplify");
}

#[test]
fn a_cookie_is_good_only_for_the_address_it_was_sent_to() {
    let mut wire = Wire::new(server());
    let mut session = Session::client(&ClientConfig::new(psk()), wire.now, rng(2)).unwrap();
    let hello = session.poll_transmit().unwrap();
    wire.server.handle_datagram(ms(0), address(1), &hello);
    let (_, request) = wire.server.poll_transmit().unwrap();
    session.handle_datagram(ms(0), &request);
    let with_cookie = session.poll_transmit().unwrap();
    wire.server.handle_datagram(ms(1), address(2), &with_cookie);
    assert_eq!(wire.server.session_count(), 0);
    wire.server.handle_datagram(ms(1), address(1), &with_cookie);
    assert_eq!(wire.server.session_count(), 1);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed: u64| {
        let mut wire = Wire::new(Server::new(server_config(), Duration::ZERO, rng(seed)).unwrap());
        let config = client_config(CipherSuite::PskAes128Gcm, true);
        wire.add(address(1000), Session::client(&config, wire.now, rng(seed + 1)).unwrap());
        wire.run_for(ms(300));
        wire.client_send(1000, b"reading");
        wire.run_for(ms(300));
        assert_eq!(wire.take_received_by_server(), [b"reading".to_vec()]);
        wire.seen
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_wrong_key_ends_the_handshake_with_a_reason_that_names_the_key() {
    let mut config = client_config(CipherSuite::PskAes128Gcm, true);
    config.credential = Credential::Psk(Psk::new(common::IDENTITY, "another key").unwrap());
    let mut wire = Wire::new(server());
    wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
    wire.run_for(ms(6000));
    let why = client_end(&wire).expect("the client was told");
    let Some(CloseReason::Alert { alert, authenticated: false, during_handshake: true }) = client_end(&wire)
    else {
        panic!("{why:?}")
    };
    assert_eq!((alert.description, alert.fatal), (20, true));
    assert!(why.to_string().contains("pre-shared key"), "{why}");
    assert_eq!(why.refusal(), Some(Refusal::WrongKey));
    assert_eq!(server_end(&wire).unwrap().refusal(), Some(Refusal::WrongKey));
    let Some(CloseReason::HandshakeFailed(_)) = server_end(&wire) else { panic!("{:?}", server_end(&wire)) };
    assert!(server_end(&wire).unwrap().to_string().contains("keys probably differ"));
    assert_eq!(wire.server.session_count(), 0);
    assert_eq!(wire.server.counters().handshakes_failed, 1);
}

#[test]
fn an_unknown_identity_ends_the_handshake_with_a_reason_that_names_the_identity() {
    let mut config = client_config(CipherSuite::PskAes128Ccm8, false);
    config.credential = Credential::Psk(Psk::new("nobody", common::KEY).unwrap());
    let mut wire = Wire::new(server());
    wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
    wire.run_for(ms(6000));
    let why = client_end(&wire).expect("the client was told");
    assert!(
        matches!(why, CloseReason::Alert { alert, .. } if alert.description == Alert::UNKNOWN_PSK_IDENTITY),
        "{why:?}"
    );
    assert!(why.to_string().contains("does not know this identity"), "{why}");
    assert_eq!(why.refusal(), Some(Refusal::UnknownIdentity));
    assert_eq!(server_end(&wire).unwrap().refusal(), Some(Refusal::UnknownIdentity));
    assert!(server_end(&wire).unwrap().to_string().contains("no key is known"));
}

#[test]
fn no_suite_in_common_ends_the_handshake_with_a_reason_that_names_the_suites() {
    let mut server = server_config();
    server.suites = vec![CipherSuite::PskAes128Gcm];
    let mut wire = Wire::new(Server::new(server, Duration::ZERO, rng(1)).unwrap());
    let config = client_config(CipherSuite::PskAes128Ccm8, false);
    wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
    wire.run_for(ms(6000));
    let why = client_end(&wire).expect("the client was told");
    assert!(
        matches!(why, CloseReason::Alert { alert, .. } if alert.description == Alert::HANDSHAKE_FAILURE),
        "{why:?}"
    );
    assert!(why.to_string().contains("no cipher suite in common"), "{why}");
    assert_eq!(wire.server.session_count(), 0);
}

#[test]
fn a_forged_alert_does_not_end_a_handshake_that_goes_on() {
    let mut wire = Wire::new(server());
    let config = client_config(CipherSuite::PskAes128Gcm, true);
    wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
    for description in [40, 49, 115, 20] {
        wire.inject(
            Direction::ToClient,
            address(1000),
            &[21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, description],
        );
        wire.run_for(ms(12));
    }
    wire.run_for(ms(500));
    assert!(wire.client(1000).connection().is_some(), "{:?}", wire.client_events);
    assert_eq!(wire.client(1000).counters().unauthenticated_alerts, 4);
}

#[test]
fn an_alert_that_nobody_contradicts_is_the_reason_five_seconds_later() {
    let mut wire = Wire::new(server());
    wire.fate = Box::new(|_, _| vec![]);
    let config = client_config(CipherSuite::PskAes128Gcm, true);
    wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
    wire.inject(Direction::ToClient, address(1000), &[21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 115]);
    wire.run_for(ms(4999));
    assert!(!wire.client(1000).is_closed());
    wire.run_for(ms(2));
    assert_eq!(client_end(&wire).and_then(CloseReason::refusal), Some(Refusal::UnknownIdentity));
    assert!(wire.seen.len() > 1, "the peer was asked again meanwhile");
}

#[test]
fn a_forged_alert_and_a_lost_flight_together_do_not_end_a_handshake() {
    let mut wire = Wire::new(server());
    wire.fate = Box::new(|_, _| vec![]);
    let config = client_config(CipherSuite::PskAes128Gcm, true);
    wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
    wire.inject(Direction::ToClient, address(1000), &[21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 115]);
    wire.run_for(ms(100));
    wire.fate = common::faithful();
    wire.run_for(ms(4800));
    assert!(wire.client(1000).connection().is_some(), "{:?}", wire.client_events);
}

#[test]
fn a_silent_peer_is_given_up_at_the_deadline_after_retransmissions_that_double() {
    let mut config = client_config(CipherSuite::PskAes128Gcm, true);
    config.timer_min = Duration::from_secs(1);
    config.timer_max = Duration::from_secs(4);
    config.handshake_deadline = Duration::from_secs(20);
    let mut wire = Wire::new(server());
    wire.fate = Box::new(|_, _| vec![]);
    wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
    wire.run_for(Duration::from_secs(100));
    let sent_s: Vec<_> = wire.seen.iter().map(|(at, _, _)| at.as_secs()).collect();
    assert_eq!(sent_s, [0, 1, 3, 7, 11, 15, 19]);
    assert_eq!(client_end(&wire), Some(&CloseReason::HandshakeDeadline));
    assert_eq!(wire.client(1000).poll_timeout(), None);
    assert!(wire.client(1000).is_closed());
}

#[test]
fn a_handshake_abandoned_by_its_client_leaves_the_server_at_the_deadline() {
    let mut wire = Wire::new(server());
    let config = client_config(CipherSuite::PskAes128Gcm, true);
    wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
    wire.run_for(ms(35));
    assert_eq!(wire.server.session_count(), 1, "the cookie came back");
    wire.clients.clear();
    wire.run_for(Duration::from_secs(61));
    assert_eq!(wire.server.session_count(), 0);
    assert_eq!(server_end(&wire), Some(&CloseReason::HandshakeDeadline));
    assert_eq!(wire.server.poll_timeout(), None);
}

#[test]
fn a_configuration_error_is_found_before_anything_is_sent() {
    let mut config = client_config(CipherSuite::PskAes128Cbc, true);
    let refused = Session::client(&config, Duration::ZERO, rng(1)).unwrap_err();
    assert_eq!(refused, ConfigError::ConnectionIdNeedsAead { suite: CipherSuite::PskAes128Cbc });
    config.connection_id = false;
    config.server_name = Some("nul\0inside".into());
    assert_eq!(Session::client(&config, Duration::ZERO, rng(1)).unwrap_err(), ConfigError::ServerName);
    let mut server = server_config();
    server.connection_id_length = 33;
    let refused = Server::new(server, Duration::ZERO, rng(1)).unwrap_err();
    assert_eq!(refused, ConfigError::ConnectionIdLength { got: 33, limit: 32 });
}

/// Appends an empty `connection_id` extension (RFC 9146, number 54) to a ClientHello that has extensions.
fn with_connection_id_offer(hello: &[u8]) -> Vec<u8> {
    let mut hello = hello.to_vec();
    let extension = [0, 54, 0, 1, 0];
    let grow = |hello: &mut Vec<u8>, at: usize| {
        let length = u16::from_be_bytes([hello[at], hello[at + 1]]) + 5;
        hello[at..at + 2].copy_from_slice(&length.to_be_bytes());
    };
    // Record length, message length, fragment length, then the extensions' length after session id, cookie, suites
    // and compression methods.
    for at in [11, 15, 23] {
        grow(&mut hello, at);
    }
    let mut at = 25 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    at += 1 + usize::from(hello[at]);
    grow(&mut hello, at);
    hello.extend(extension);
    hello
}

#[test]
fn a_client_that_can_only_do_cbc_gets_no_connection_id() {
    for (suite, granted) in [(CipherSuite::PskAes128Gcm, true), (CipherSuite::PskAes128Cbc, false)] {
        let mut server = server();
        let mut client = Session::client(&client_config(suite, false), ms(0), rng(2)).unwrap();
        let hello = with_connection_id_offer(&client.poll_transmit().unwrap());
        server.handle_datagram(ms(0), address(1), &hello);
        client.handle_datagram(ms(0), &server.poll_transmit().expect("a cookie").1);
        let hello = with_connection_id_offer(&client.poll_transmit().unwrap());
        server.handle_datagram(ms(0), address(1), &hello);
        let (_, answer) = server.poll_transmit().expect("a ServerHello");
        assert_eq!((answer[0], answer[13]), (22, 2));
        // Extension 54 with 1 + 8 bytes.
        let offers = answer.windows(5).any(|bytes| bytes == [0, 54, 0, 9, 8]);
        assert_eq!(offers, granted, "{suite}");
    }
}

#[test]
fn a_panic_in_the_callers_key_lookup_reaches_the_caller() {
    let config = fieldgate_dtls::ServerConfig::new(|_| panic!("lookup broke"));
    let mut wire = Wire::new(Server::new(config, Duration::ZERO, rng(1)).unwrap());
    let client = client_config(CipherSuite::PskAes128Gcm, true);
    wire.add(address(1000), Session::client(&client, wire.now, rng(2)).unwrap());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wire.run_for(ms(500))));
    let payload = outcome.expect_err("the panic is not swallowed");
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"lookup broke"));
    // The library's lock is free again.
    let _ = Wire::connected(&client, server());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Loss, duplication and reordering at 25 % each, in virtual time: the handshake completes, and data flows after it.
    #[test]
    fn a_bad_wire_delays_a_handshake_but_does_not_break_it(
        seed: u64,
        suite in 0usize..4,
        connection_id: bool,
    ) {
        let mut config = client_config(SUITES[suite], connection_id && SUITES[suite].is_aead());
        // Enough for twelve attempts in a row: a loss of all of them is not a defect.
        config.timer_max = Duration::from_secs(8);
        config.handshake_deadline = Duration::from_secs(600);
        let mut accepting = server_config();
        accepting.timer_max = Duration::from_secs(8);
        accepting.handshake_deadline = Duration::from_secs(600);
        let mut wire = Wire::new(Server::new(accepting, Duration::ZERO, rng(seed)).unwrap());
        let mut dice = Seeded(seed);
        wire.fate = Box::new(move |_, _| {
            let mut copies = Vec::new();
            if dice.below(4) > 0 {
                copies.push(ms(10 + if dice.below(4) == 0 { dice.below(300) } else { 0 }));
            }
            if dice.below(4) == 0 {
                copies.push(ms(10 + dice.below(2000)));
            }
            copies
        });
        wire.add(address(1000), Session::client(&config, wire.now, rng(seed ^ 1)).unwrap());
        wire.run_for(Duration::from_secs(600));
        prop_assert!(wire.client(1000).connection().is_some(), "{:?}", wire.client_events);

        wire.fate = common::faithful();
        // The first record also tells a server that lost sight of the last flight.
        let now = wire.now;
        wire.client(1000).send(now, b"hello").unwrap();
        wire.run_for(Duration::from_secs(30));
        prop_assert_eq!(wire.take_received_by_server(), vec![b"hello".to_vec()]);
        prop_assert_eq!(wire.server.session_count(), 1);
    }
}
