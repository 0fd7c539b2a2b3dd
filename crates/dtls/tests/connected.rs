//! Established sessions: what ends them, what does not, how they move, how they are replaced, saved and bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod common;

use std::time::Duration;

use common::{Direction, Wire, address, client_config, ms, rng, server, server_config};
use fieldgate_dtls::{
    Alert, CipherSuite, CloseReason, Event, RestoreError, SaveError, SavedSession, Server, Session, SessionId,
};
use proptest::prelude::*;

fn connected(connection_id: bool) -> (Wire, SessionId) {
    Wire::connected(&client_config(CipherSuite::PskAes128Gcm, connection_id), server())
}

/// A fatal alert, in clear text.
fn forged_alert(description: u8) -> Vec<u8> {
    vec![21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, description]
}

fn assert_still_works(wire: &mut Wire, id: SessionId) {
    wire.client_events.clear();
    wire.server_events.clear();
    wire.client_send(1000, b"still up");
    wire.server_send(id, b"still down");
    wire.run_for(ms(100));
    assert_eq!(wire.take_received_by_server(), [b"still up".to_vec()]);
    assert_eq!(wire.take_received_by_clients(), [b"still down".to_vec()]);
}

#[test]
fn a_plaintext_alert_is_a_hint_and_ends_nothing_on_either_side() {
    for connection_id in [false, true] {
        let (mut wire, id) = connected(connection_id);
        let alert = Alert { fatal: true, description: 49 };
        wire.inject(Direction::ToClient, address(1000), &forged_alert(49));
        assert_eq!(wire.client_events, [(address(1000), Event::UnauthenticatedAlert(alert))]);
        wire.inject(Direction::ToServer, address(1000), &forged_alert(0));
        let hint = wire.server_events.pop().unwrap();
        assert_eq!(hint.event, Event::UnauthenticatedAlert(Alert { fatal: true, description: 0 }));
        assert_eq!(wire.client(1000).counters().unauthenticated_alerts, 1);
        assert_still_works(&mut wire, id);
    }
}

#[test]
fn a_plaintext_alert_in_front_of_a_genuine_record_does_not_hide_it() {
    let (mut wire, id) = connected(false);
    wire.fate = Box::new(|_, _| vec![]);
    wire.server_send(id, b"genuine");
    let record = wire.seen.last().unwrap().2.clone();
    let mixed = [forged_alert(40), record].concat();
    wire.inject(Direction::ToClient, address(1000), &mixed);
    assert_eq!(wire.take_received_by_clients(), [b"genuine".to_vec()]);
}

#[test]
fn a_protected_alert_ends_the_session_and_says_it_was_authenticated() {
    let (mut wire, id) = connected(true);
    let now = wire.now;
    wire.server.abort(now, id, Alert::ACCESS_DENIED);
    wire.run_for(ms(100));
    let why = CloseReason::Alert {
        alert: Alert { fatal: true, description: 49 },
        authenticated: true,
        during_handshake: false,
    };
    assert!(why.to_string().contains("access_denied (49)"), "{why}");
    assert_eq!(wire.client_events, [(address(1000), Event::Closed { why })]);
    assert_eq!(wire.server.session_count(), 0);
}

#[test]
fn a_goodbye_ends_both_sides() {
    let (mut wire, id) = connected(true);
    let now = wire.now;
    wire.client(1000).close(now);
    wire.run_for(ms(100));
    assert_eq!(wire.client_events, [(address(1000), Event::Closed { why: CloseReason::LocalClose })]);
    assert_eq!(wire.server_events.len(), 1);
    assert_eq!(wire.server_events[0].id, id);
    assert_eq!(wire.server_events[0].event, Event::Closed { why: CloseReason::CloseNotify });
    assert_eq!(wire.server.session_count(), 0);
    let directions: Vec<_> = wire.seen.iter().rev().take(2).map(|(_, direction, _)| *direction).collect();
    assert_eq!(directions, [Direction::ToClient, Direction::ToServer], "the goodbye is answered");
    let now = wire.now;
    assert_eq!(wire.client(1000).send(now, b"late"), Err(fieldgate_dtls::SendError::Closed));
}

#[test]
fn a_replayed_record_is_delivered_once_and_counted() {
    for connection_id in [false, true] {
        let (mut wire, id) = connected(connection_id);
        wire.client_send(1000, b"once");
        let record = wire.seen.last().unwrap().2.clone();
        wire.run_for(ms(100));
        let ignored = wire.server.counters().ignored_datagrams;
        for _ in 0..3 {
            wire.inject(Direction::ToServer, address(1000), &record);
        }
        assert_eq!(wire.take_received_by_server(), [b"once".to_vec()]);
        assert_eq!(wire.server.counters().ignored_datagrams, ignored + 3);
        assert_still_works(&mut wire, id);
    }
}

#[test]
fn records_overtaken_on_the_wire_all_arrive() {
    let (mut wire, _) = connected(true);
    let mut delay = 40;
    wire.fate = Box::new(move |_, _| {
        delay -= 10;
        vec![ms(10 + delay)]
    });
    for payload in [b"1", b"2", b"3"] {
        wire.client_send(1000, payload);
    }
    wire.run_for(ms(200));
    assert_eq!(wire.take_received_by_server(), [b"3".to_vec(), b"2".to_vec(), b"1".to_vec()]);
}

#[test]
fn a_hundred_source_changes_cost_no_handshake() {
    let (mut wire, id) = connected(true);
    let handshake_datagrams = wire.handshake_datagrams_seen();
    for change in 0..100u16 {
        wire.rebind(1000 + change, 1001 + change);
        let payload = change.to_be_bytes();
        wire.client_send(1001 + change, &payload);
        wire.run_for(ms(50));
        assert_eq!(wire.take_received_by_server(), [payload.to_vec()]);
        assert_eq!(wire.server.address(id), Some(address(1001 + change)));
        // The answer finds the new address.
        wire.server_send(id, &payload);
        wire.run_for(ms(50));
        assert_eq!(wire.take_received_by_clients(), [payload.to_vec()]);
    }
    assert_eq!(wire.handshake_datagrams_seen(), handshake_datagrams);
    let counters = wire.server.counters();
    assert_eq!(
        (counters.handshakes_begun, counters.handshakes_completed, counters.address_moves),
        (1, 1, 100)
    );
    assert_eq!(wire.server.session_count(), 1);
}

#[test]
fn without_a_connection_id_a_new_source_is_a_stranger() {
    let (mut wire, id) = connected(false);
    wire.rebind(1000, 1001);
    wire.client_send(1001, b"who is this");
    wire.run_for(ms(100));
    assert_eq!(wire.take_received_by_server(), Vec::<Vec<u8>>::new());
    assert_eq!(wire.server.address(id), Some(address(1000)));
}

#[test]
fn only_an_authentic_and_newer_record_moves_a_session() {
    let (mut wire, id) = connected(true);
    wire.fate = Box::new(|_, _| vec![]);
    wire.client_send(1000, b"first");
    wire.client_send(1000, b"second");
    let [.., (_, _, first), (_, _, second)] = wire.seen.as_slice() else { panic!() };
    let (first, second) = (first.clone(), second.clone());

    let mut forged = second.clone();
    *forged.last_mut().unwrap() ^= 1;
    wire.inject(Direction::ToServer, address(6), &forged);
    assert_eq!(wire.server.address(id), Some(address(1000)), "forged");

    wire.inject(Direction::ToServer, address(7), &second);
    assert_eq!(wire.server.address(id), Some(address(7)), "authentic and new");

    wire.inject(Direction::ToServer, address(8), &second);
    assert_eq!(wire.server.address(id), Some(address(7)), "replayed");

    wire.inject(Direction::ToServer, address(9), &first);
    assert_eq!(wire.server.address(id), Some(address(7)), "overtaken");
    assert_eq!(wire.take_received_by_server(), [b"second".to_vec(), b"first".to_vec()]);
    assert_eq!(wire.server.counters().address_moves, 1);
}

#[test]
fn a_session_that_moves_onto_anothers_address_leaves_both_alive_by_their_identifiers() {
    let (mut wire, first) = connected(true);
    let config = client_config(CipherSuite::PskAes128Ccm8, true);
    wire.add(address(2000), Session::client(&config, wire.now, rng(3)).unwrap());
    wire.run_for(ms(300));
    let second = wire.server_events.last().unwrap().id;
    assert_ne!(first, second);
    // The network gave the second client's address to the first and another to the second.
    wire.rebind(2000, 3000);
    wire.rebind(1000, 2000);
    wire.server_events.clear();
    wire.client_send(2000, b"first moved");
    wire.run_for(ms(50));
    wire.client_send(3000, b"second moved");
    wire.run_for(ms(50));
    let received: Vec<_> = wire.server_events.drain(..).map(|event| (event.id, event.event)).collect();
    assert_eq!(
        received,
        [
            (first, Event::Received(b"first moved".to_vec())),
            (second, Event::Received(b"second moved".to_vec()))
        ]
    );
    assert_eq!(wire.server.address(second), Some(address(3000)));
}

#[test]
fn an_address_a_session_has_left_is_free_for_another_client() {
    let (mut wire, first) = connected(true);
    wire.rebind(1000, 1001);
    wire.client_send(1001, b"moved");
    wire.run_for(ms(50));
    let config = client_config(CipherSuite::PskAes128Gcm, true);
    wire.add(address(1000), Session::client(&config, wire.now, rng(3)).unwrap());
    wire.run_for(ms(500));
    assert!(wire.client(1000).connection().is_some());
    assert_eq!(wire.server.session_count(), 2);
    wire.server_events.clear();
    wire.client_send(1001, b"still here");
    wire.run_for(ms(50));
    assert_eq!(wire.server_events.len(), 1);
    assert_eq!(wire.server_events[0].id, first);
    assert_eq!(wire.server_events[0].event, Event::Received(b"still here".to_vec()));
}

#[test]
fn a_client_that_begins_anew_from_the_same_address_replaces_its_session_only_when_done() {
    for connection_id in [false, true] {
        let (mut wire, old) = connected(connection_id);
        wire.fate = Box::new(|_, _| vec![]);
        wire.client_send(1000, b"from the old session");
        let old_record = wire.seen.last().unwrap().2.clone();
        wire.fate = common::faithful();

        let config = client_config(CipherSuite::PskAes128Ccm8, connection_id);
        wire.clients.clear();
        wire.add(address(1000), Session::client(&config, wire.now, rng(3)).unwrap());
        wire.run_for(ms(35));
        assert_eq!(wire.server.session_count(), 2, "the new handshake is under way beside the old session");
        wire.inject(Direction::ToServer, address(1000), &old_record);
        assert_eq!(wire.take_received_by_server(), [b"from the old session".to_vec()]);

        wire.run_for(ms(500));
        assert_eq!(wire.server.session_count(), 1);
        assert_eq!(wire.server_events.len(), 2);
        assert_eq!(wire.server_events[0].id, old);
        assert_eq!(wire.server_events[0].event, Event::Closed { why: CloseReason::Replaced });
        let new = wire.server_events[1].id;
        assert!(matches!(wire.server_events[1].event, Event::Connected(_)));
        assert_still_works(&mut wire, new);
    }
}

#[test]
fn repeated_and_forged_hellos_leave_a_live_session_alone() {
    let (mut wire, id) = connected(false);
    let hellos: Vec<_> = wire
        .seen
        .iter()
        .filter(|(_, direction, datagram)| *direction == Direction::ToServer && datagram.get(13) == Some(&1))
        .map(|(_, _, datagram)| datagram.clone())
        .collect();
    assert_eq!(hellos.len(), 2, "one without and one with a cookie");
    for hello in &hellos {
        wire.inject(Direction::ToServer, address(1000), hello);
    }
    // Somebody else's hello from the same address: answered with a cookie request, which leads nowhere.
    let config = client_config(CipherSuite::PskAes128Gcm, false);
    let forged = Session::client(&config, wire.now, rng(77)).unwrap().poll_transmit().unwrap();
    wire.inject(Direction::ToServer, address(1000), &forged);
    wire.run_for(Duration::from_secs(120));
    assert_eq!(wire.server.session_count(), 1);
    assert_eq!(wire.server.counters().handshakes_begun, 1);
    assert_still_works(&mut wire, id);
}

#[test]
fn a_client_that_restarts_in_mid_handshake_gets_its_new_handshake() {
    let mut wire = Wire::new(server());
    let config = client_config(CipherSuite::PskAes128Gcm, true);
    wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
    wire.run_for(ms(35));
    assert_eq!(wire.server.session_count(), 1);
    wire.clients.clear();
    // The first attempt's answer passes by while nobody listens: a new client could take it for its own.
    wire.run_for(ms(20));
    wire.add(address(1000), Session::client(&config, wire.now, rng(3)).unwrap());
    wire.run_for(ms(500));
    assert!(wire.client(1000).connection().is_some(), "{:?}", wire.client_events);
    assert_eq!(wire.server.session_count(), 1);
    assert_eq!(wire.server.counters().handshakes_completed, 1);
}

#[test]
fn one_session_too_many_evicts_the_one_idle_longest() {
    let mut config = server_config();
    config.max_sessions = 3;
    let mut wire = Wire::new(Server::new(config, Duration::ZERO, rng(1)).unwrap());
    let client = client_config(CipherSuite::PskAes128Gcm, true);
    for port in [1000, 1001, 1002] {
        wire.add(address(port), Session::client(&client, wire.now, rng(u64::from(port))).unwrap());
        wire.run_for(Duration::from_secs(10));
    }
    wire.client_send(1000, b"I am not idle");
    wire.run_for(Duration::from_secs(10));
    wire.server_events.clear();
    wire.add(address(1003), Session::client(&client, wire.now, rng(1003)).unwrap());
    wire.run_for(Duration::from_secs(10));
    assert_eq!(wire.server.session_count(), 3);
    assert_eq!(wire.server_events[0].address, address(1001));
    assert_eq!(wire.server_events[0].event, Event::Closed { why: CloseReason::Evicted });
    assert_eq!(wire.server.counters().evictions, 1);
    wire.client_send(1000, b"still here");
    wire.run_for(ms(100));
    assert!(wire.take_received_by_server().contains(&b"still here".to_vec()));
}

#[test]
fn a_server_that_lost_a_session_can_say_so_and_the_client_only_takes_a_hint() {
    let mut config = server_config();
    config.unknown_session_alert = Some(Alert::ACCESS_DENIED);
    for connection_id in [false, true] {
        let server = Server::new(config.clone(), Duration::ZERO, rng(1)).unwrap();
        let (mut wire, id) =
            Wire::connected(&client_config(CipherSuite::PskAes128Gcm, connection_id), server);
        wire.server.forget(id);
        wire.client_send(1000, b"hello?");
        wire.run_for(ms(100));
        let alert = Alert { fatal: true, description: 49 };
        assert_eq!(wire.client_events, [(address(1000), Event::UnauthenticatedAlert(alert))]);
        assert!(!wire.client(1000).is_closed());
        assert_eq!(wire.server_events, []);
    }
}

fn drained(wire: &mut Wire, port: u16) -> Session {
    wire.clients.remove(&address(port)).unwrap()
}

#[test]
fn a_saved_session_goes_on_from_another_address_without_a_handshake() {
    for suite in [CipherSuite::PskAes128Gcm, CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128Ccm] {
        let config = client_config(suite, true);
        let (mut wire, id) = Wire::connected(&config, server());
        wire.client_send(1000, b"before");
        wire.run_for(ms(100));
        let handshake_datagrams = wire.handshake_datagrams_seen();
        let saved = drained(&mut wire, 1000).save().unwrap();
        let kept = SavedSession::from_bytes(saved.as_bytes());
        assert!(kept.as_bytes().len() < 400, "{} bytes", kept.as_bytes().len());

        // Another process, another origin of time, another source port.
        let restored = Session::restore(&config, kept, Duration::ZERO, rng(99)).unwrap();
        wire.add(address(4000), restored);
        let (_, Event::Connected(connection)) = wire.client_events.remove(0) else { panic!() };
        assert!(connection.restored);
        assert_eq!((connection.suite, connection.peer_cid.map(|cid| cid.len())), (suite, Some(8)));
        wire.client_send(4000, b"after");
        wire.run_for(ms(100));
        wire.server_send(id, b"answer");
        wire.run_for(ms(100));
        assert_eq!(wire.take_received_by_server(), [b"before".to_vec(), b"after".to_vec()]);
        assert_eq!(wire.take_received_by_clients(), [b"answer".to_vec()]);
        assert_eq!(wire.handshake_datagrams_seen(), handshake_datagrams);
        assert_eq!(wire.server.counters().handshakes_begun, 1);
    }
}

#[test]
fn a_restored_session_remembers_what_it_has_received() {
    let config = client_config(CipherSuite::PskAes128Gcm, true);
    let (mut wire, id) = Wire::connected(&config, server());
    wire.server_send(id, b"once");
    let record = wire.seen.last().unwrap().2.clone();
    wire.run_for(ms(100));
    assert_eq!(wire.take_received_by_clients(), [b"once".to_vec()]);
    let saved = drained(&mut wire, 1000).save().unwrap();
    wire.add(address(1000), Session::restore(&config, saved, wire.now, rng(5)).unwrap());
    wire.inject(Direction::ToClient, address(1000), &record);
    assert_eq!(wire.take_received_by_clients(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_session_that_cannot_be_saved_is_given_back_in_working_order() {
    let cbc = client_config(CipherSuite::PskAes128Cbc, false);
    let (mut wire, id) = Wire::connected(&cbc, server());
    let refused = drained(&mut wire, 1000).save().unwrap_err();
    assert_eq!(refused.why, SaveError::NotAead(CipherSuite::PskAes128Cbc));
    wire.add(address(1000), *refused.session);
    assert_still_works(&mut wire, id);

    let (mut wire, id) = connected(true);
    let mut session = drained(&mut wire, 1000);
    session.send(wire.now, b"not transmitted yet").unwrap();
    let refused = session.save().unwrap_err();
    assert_eq!(refused.why, SaveError::NotDrained);
    wire.add(address(1000), *refused.session);
    wire.run_for(ms(50));
    assert_still_works(&mut wire, id);

    let unconnected =
        Session::client(&client_config(CipherSuite::PskAes128Gcm, true), ms(0), rng(1)).unwrap();
    assert_eq!(unconnected.save().unwrap_err().why, SaveError::NotConnected);
}

/// A client and a bare server session, wired directly; datagrams cross until none is left.
fn exchange(client: &mut Session, server: &mut Session) {
    loop {
        let mut moved = false;
        while let Some(datagram) = client.poll_transmit() {
            server.handle_datagram(ms(1), &datagram);
            moved = true;
        }
        while let Some(datagram) = server.poll_transmit() {
            client.handle_datagram(ms(1), &datagram);
            moved = true;
        }
        if !moved {
            return;
        }
    }
}

#[test]
fn a_server_session_alone_serves_one_client_and_is_saved_once_the_client_has_spoken() {
    let config = client_config(CipherSuite::PskAes128Ccm8, true);
    let mut client = Session::client(&config, ms(0), rng(1)).unwrap();
    let mut server = Session::server(&server_config(), b"over there", ms(0), rng(2)).unwrap();
    exchange(&mut client, &mut server);
    assert!(matches!(client.poll_event(), Some(Event::Connected(_))));
    let Some(Event::Connected(connection)) = server.poll_event() else { panic!() };
    assert_eq!(connection.own_cid.map(|cid| cid.len()), Some(8));

    // Its last flight may have to be repeated until the client has shown that it has it.
    let refused = server.save().unwrap_err();
    assert_eq!(refused.why, SaveError::HandshakeUnconfirmed);
    let mut server = *refused.session;
    client.send(ms(2), b"hello").unwrap();
    exchange(&mut client, &mut server);
    assert_eq!(server.poll_event(), Some(Event::Received(b"hello".to_vec())));
    assert!(server.save().is_ok());
}

#[test]
fn a_damaged_saved_session_is_refused() {
    let config = client_config(CipherSuite::PskAes128Gcm, true);
    for damaged in [Vec::new(), vec![0; 16], vec![0xFF; 250]] {
        let refused = Session::restore(&config, SavedSession::from_bytes(damaged), ms(0), rng(1));
        assert!(matches!(refused, Err(RestoreError::Unusable(_))));
    }
    let (mut wire, _) = Wire::connected(&config, server());
    let saved = drained(&mut wire, 1000).save().unwrap();
    for length in 0..saved.as_bytes().len() {
        let cut = SavedSession::from_bytes(&saved.as_bytes()[..length]);
        assert!(Session::restore(&config, cut, ms(0), rng(1)).is_err(), "cut to {length}");
    }
}

#[test]
fn a_saved_session_shows_nothing_in_debug() {
    let (mut wire, _) = connected(true);
    let saved = drained(&mut wire, 1000).save().unwrap();
    let length = saved.as_bytes().len();
    assert_eq!(format!("{saved:?}"), format!("SavedSession({length} bytes)"));
}

#[test]
fn what_nobody_polls_stays_bounded() {
    let (mut wire, id) = connected(true);
    let now = wire.now;
    let session = wire.client(1000);
    let mut sent = 0;
    while session.send(now, b"x").is_ok() {
        sent += 1;
    }
    assert_eq!(session.send(now, b"x"), Err(fieldgate_dtls::SendError::QueueFull));
    assert_eq!(sent, 64);
    wire.run_for(ms(100));
    assert_still_works(&mut wire, id);

    let mut session = drained(&mut wire, 1000);
    wire.fate = Box::new(|_, _| vec![]);
    for _ in 0..300 {
        wire.server_send(id, b"y");
        let record = wire.seen.last().unwrap().2.clone();
        session.handle_datagram(wire.now, &record);
    }
    assert_eq!(session.counters().overflowed_events, 300 - 256);
}

#[test]
fn sessions_and_servers_may_move_between_threads() {
    fn assert_send<T: Send>() {}
    assert_send::<Session>();
    assert_send::<Server>();
    let threads: Vec<_> = (0..4)
        .map(|seed| {
            std::thread::spawn(move || {
                let config = client_config(CipherSuite::PskAes128Gcm, seed % 2 == 0);
                for _ in 0..5 {
                    let (mut wire, id) = Wire::connected(&config, server());
                    assert_still_works(&mut wire, id);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// A genuine record with one bit flipped changes nothing: not the data, not the address, not the session.
    #[test]
    fn no_bit_of_a_record_can_be_flipped(connection_id: bool, bit in 0usize..4096, port in 1000u16..1002) {
        let (mut wire, id) = connected(connection_id);
        wire.fate = Box::new(|_, _| vec![]);
        wire.client_send(1000, b"twenty-four bytes of data");
        let mut record = wire.seen.last().unwrap().2.clone();
        let bit = bit % (record.len() * 8);
        record[bit / 8] ^= 1 << (bit % 8);
        wire.inject(Direction::ToServer, address(port), &record);
        let at = wire.server.address(id);
        prop_assert!(wire.server_events.is_empty(), "{:?}", wire.server_events);
        prop_assert_eq!(at, Some(address(1000)));
        wire.fate = common::faithful();
        assert_still_works(&mut wire, id);
    }
}
