//! Observing a resource, seen from either side.

#![cfg(test)]

mod support;

use fieldgate_coap::{
    Code, Config, Delivery, Endpoint, Event, Failure, ObservationEnd, ObservationId, ObserveRequest,
    ObserverGone, ObserverId, Request, Response, Seed, SendError, format, number,
};
use support::*;

/// A client with a registered observation: its id and its token.
fn observing() -> (Endpoint, ObservationId, Vec<u8>) {
    let mut client = endpoint(Config::default());
    let id = client.observe(secs(0), Request::get(".u/desired").accept(format::CBOR)).unwrap();
    let out = sent_one(&mut client);
    client.handle_datagram(secs(0), &datagram(ACK, 0x45, out.id, &out.token, &[(6, &[5])], b"\xa0"));
    assert!(matches!(event(&mut client), Event::Notification { observation, .. } if observation == id));
    (client, id, out.token)
}

fn note(kind: coap_lite::MessageType, id: u16, token: &[u8], sequence: u8) -> Vec<u8> {
    datagram(kind, 0x45, id, token, &[(6, &[sequence])], &[sequence])
}

fn payload(event: Event) -> Vec<u8> {
    match event {
        Event::Notification { response, .. } => response.payload,
        other => panic!("{other:?}"),
    }
}

#[test]
fn registering_sends_a_zero_length_observe_option() {
    let mut client = endpoint(Config::default());
    client.observe(secs(0), Request::get("a")).unwrap();
    let bytes = client.poll_transmit().unwrap();
    assert_eq!(bytes[7..], [0x60, 0x51, b'a']);
    assert_eq!(client.observe(secs(0), Request::post("a")), Err(SendError::NotObservable));
}

#[test]
fn notifications_are_delivered_in_order_and_confirmable_ones_acknowledged() {
    let (mut client, _, token) = observing();
    client.handle_datagram(secs(1), &note(CON, 100, &token, 7));
    assert_eq!(payload(event(&mut client)), [7]);
    assert_eq!((sent_one(&mut client).kind, client.counters().stale_notifications), (ACK, 0));
    client.handle_datagram(secs(2), &note(CON, 99, &token, 6));
    assert!(events(&mut client).is_empty(), "overtaken on the way");
    assert_eq!(sent_one(&mut client).id, 99);
    assert_eq!(client.counters().stale_notifications, 1);
    client.handle_datagram(secs(3), &note(NON, 101, &token, 8));
    assert_eq!(payload(event(&mut client)), [8]);
    assert!(sent(&mut client).is_empty());
    client.handle_datagram(secs(4), &note(CON, 100, &token, 7));
    assert_eq!(sent_one(&mut client).id, 100, "a copy is acknowledged again");
    assert!(events(&mut client).is_empty());
}

#[test]
fn events_are_handed_over_in_whatever_order_they_come_each_once() {
    let mut client = endpoint(Config::default());
    let id = client.observe(secs(0), Request::get(".rpc").events(true)).unwrap();
    let out = sent_one(&mut client);
    let token = out.token;
    // Overtakes the answer to the registration.
    client.handle_datagram(secs(0), &note(CON, 100, &token, 7));
    assert_eq!((payload(event(&mut client)), sent_one(&mut client).id), (vec![7], 100));
    client.handle_datagram(secs(0), &datagram(ACK, 0x45, out.id, &token, &[(6, &[5])], b"OK"));
    events(&mut client);
    for (message, sequence) in [(99, 6), (102, 9), (101, 8)] {
        client.handle_datagram(secs(1), &note(CON, message, &token, sequence));
        assert_eq!(payload(event(&mut client)), [sequence]);
        assert_eq!(sent_one(&mut client).id, message);
    }
    client.handle_datagram(secs(2), &note(CON, 101, &token, 8));
    assert!(events(&mut client).is_empty(), "a copy is none");
    assert_eq!((sent_one(&mut client).id, client.counters().stale_notifications), (101, 0));
    // The server serves it still while another registration has not left.
    client.handle_datagram(secs(3), &datagram(CON, 0xa0, 103, &token, &[], b""));
    assert!(matches!(event(&mut client), Event::ObservationEnded { .. }));
    client.allow(secs(4), 0);
    client.reregister(secs(4), id).unwrap();
    sent(&mut client);
    client.handle_datagram(secs(4), &note(CON, 104, &token, 10));
    assert_eq!(payload(event(&mut client)), [10]);
    assert_eq!(sent_one(&mut client).id, 104);
}

#[test]
fn after_a_new_session_the_observation_is_registered_again_with_its_token() {
    let (mut client, id, token) = observing();
    assert_eq!(client.reset_session(), [id]);
    assert!(events(&mut client).is_empty());
    client.reregister(secs(10), id).unwrap();
    client.reregister(secs(10), id).unwrap();
    let out = sent_one(&mut client);
    assert_eq!((&out.token, out.option(number::OBSERVE)), (&token, Some(vec![])));
    client.handle_datagram(secs(10), &datagram(ACK, 0x45, out.id, &token, &[(6, &[1])], b"new"));
    assert_eq!(payload(event(&mut client)), b"new", "a restarted counter is no reason to distrust it");
    client.handle_datagram(secs(11), &note(NON, 5, &token, 2));
    assert_eq!(payload(event(&mut client)), [2]);
}

#[test]
fn an_observation_goes_on_in_another_endpoint_without_a_registration_and_in_order() {
    let (client, _, token) = observing();
    let kept: Vec<_> = client.kept_observations().collect();
    assert_eq!((kept.len(), kept[0].newest, kept[0].token.as_bytes()), (1, Some(5), token.as_slice()));
    let seed = Seed { message_id: client.next_message_id(), token: client.next_token(), random: 2 };
    let mut next = Endpoint::new(Config::default(), seed);
    let id = next.keep_observing(secs(100), kept[0].clone());
    assert!(sent(&mut next).is_empty());
    next.handle_datagram(secs(101), &note(CON, 100, &token, 5));
    assert!(events(&mut next).is_empty(), "the one that was taken already");
    next.handle_datagram(secs(102), &note(CON, 101, &token, 6));
    assert!(matches!(event(&mut next), Event::Notification { observation, .. } if observation == id));
    sent(&mut next);
    next.request(secs(103), Request::post("a")).unwrap();
    let out = sent_one(&mut next);
    assert!(out.id == seed.message_id && out.token != token);
}

#[test]
fn an_error_notification_lapses_the_observation_which_keeps_its_token() {
    let (mut client, id, token) = observing();
    client.handle_datagram(secs(1), &datagram(CON, 0x84, 9, &token, &[], b""));
    let Event::ObservationEnded { observation, why: ObservationEnd::Rejected(response) } = event(&mut client)
    else {
        panic!()
    };
    assert_eq!((observation, response.code), (id, Code::NOT_FOUND));
    assert_eq!(sent_one(&mut client).kind, ACK);
    client.handle_datagram(secs(2), &note(CON, 10, &token, 9));
    assert_eq!(sent_one(&mut client).kind, RST);
    client.reregister(secs(3), id).unwrap();
    assert_eq!(sent_one(&mut client).token, token);
}

#[test]
fn a_server_that_does_not_observe_delivers_once_and_ends() {
    let mut client = endpoint(Config::default());
    let id = client.observe(secs(0), Request::get("a")).unwrap();
    let out = sent_one(&mut client);
    client.handle_datagram(secs(0), &datagram(ACK, 0x45, out.id, &out.token, &[], b"once"));
    let all = events(&mut client);
    assert_eq!(payload(all[0].clone()), b"once");
    assert_eq!(all[1], Event::ObservationEnded { observation: id, why: ObservationEnd::NotObservable });
}

#[test]
fn a_registration_nobody_answers_fails_and_can_be_repeated() {
    let mut client = endpoint(Config::default());
    let id = client.observe(secs(0), Request::get("a")).unwrap();
    while client.poll_timeout().is_some() {
        next_timer(&mut client);
    }
    let why = ObservationEnd::Failed(Failure::Timeout);
    assert_eq!(event(&mut client), Event::ObservationEnded { observation: id, why });
    sent(&mut client);
    client.reregister(secs(100), id).unwrap();
    assert_eq!(sent_one(&mut client).option(number::OBSERVE), Some(vec![]));
}

#[test]
fn cancelling_asks_the_server_and_a_crossing_notification_is_not_the_answer() {
    let (mut client, id, token) = observing();
    client.cancel_observation(secs(1), id).unwrap();
    client.cancel_observation(secs(1), id).unwrap();
    let out = sent_one(&mut client);
    assert_eq!((out.option(number::OBSERVE), &out.token), (Some(vec![1]), &token));
    client.handle_datagram(secs(1), &note(CON, 50, &token, 9));
    assert!(events(&mut client).is_empty());
    assert_eq!(sent_one(&mut client).kind, ACK);
    client.handle_datagram(secs(2), &datagram(ACK, 0x45, out.id, &token, &[], b""));
    assert_eq!(
        event(&mut client),
        Event::ObservationEnded { observation: id, why: ObservationEnd::Cancelled }
    );
    assert_eq!(client.reregister(secs(3), id), Err(SendError::Unknown));
}

#[test]
fn forgetting_is_silent_and_the_next_notification_is_reset() {
    let (mut client, id, token) = observing();
    client.forget_observation(secs(1), id);
    assert!(events(&mut client).is_empty() && sent(&mut client).is_empty());
    for kind in [CON, NON] {
        client.handle_datagram(secs(2), &note(kind, 60 + u16::from(kind == NON), &token, 9));
        assert_eq!(sent_one(&mut client).kind, RST);
    }
    assert_eq!(client.observations().count(), 0);
}

#[test]
fn a_notification_in_blocks_is_fetched_whole_and_a_newer_one_replaces_the_fetch() {
    let (mut client, id, token) = observing();
    let first = |message, sequence: u8| {
        datagram(CON, 0x45, message, &token, &[(6, &[sequence]), (23, &[0x08])], &[sequence; 16])
    };
    client.handle_datagram(secs(1), &first(70, 6));
    let out = sent(&mut client);
    let fetch = out.iter().find(|seen| seen.code == 1).unwrap();
    assert_eq!((fetch.option(23), fetch.option(6)), (Some(vec![0x10]), None));
    assert_ne!(fetch.token, token);
    client.handle_datagram(secs(2), &first(71, 7));
    let out = sent(&mut client);
    let newer = out.iter().find(|seen| seen.code == 1).unwrap();
    client.handle_datagram(secs(3), &datagram(ACK, 0x45, fetch.id, &fetch.token, &[(23, &[0x10])], b"old"));
    assert!(events(&mut client).is_empty());
    client.handle_datagram(secs(3), &datagram(ACK, 0x45, newer.id, &newer.token, &[(23, &[0x10])], b"new"));
    let Event::Notification { observation, response } = event(&mut client) else { panic!() };
    assert_eq!(observation, id);
    assert_eq!((response.payload, response.block2), ([&[7; 16][..], b"new"].concat(), None));
}

/// A server with one observer, registered under token `tok`.
fn observed(config: Config) -> (Endpoint, ObserverId) {
    let mut server = endpoint(config);
    let observer = register(&mut server, 1, b"tok");
    (server, observer)
}

fn register(server: &mut Endpoint, id: u16, token: &[u8]) -> ObserverId {
    server.handle_datagram(secs(0), &datagram(CON, 0x01, id, token, &[(6, b""), (11, b"a")], b""));
    let Event::Request(request) = event(server) else { panic!() };
    assert_eq!(request.observe, Some(ObserveRequest::Register));
    let observer = server.accept_observer(secs(0), request.exchange, Response::content(60, *b"0")).unwrap();
    assert!(sent_one(server).option(number::OBSERVE).is_some());
    observer
}

#[test]
fn observe_values_increase_and_every_event_is_delivered_in_turn() {
    let (mut server, observer) = observed(Config::default());
    let names: Vec<_> = (1..=3u8)
        .map(|n| server.notify(secs(1), observer, Response::content(60, [n]), Delivery::Every).unwrap())
        .collect();
    let mut previous = vec![1];
    for (n, notification) in (1..=3u8).zip(names) {
        let out = sent_one(&mut server);
        assert_eq!((out.kind, out.payload.as_slice(), out.token.as_slice()), (CON, &[n][..], &b"tok"[..]));
        let value = out.option(number::OBSERVE).unwrap();
        assert!(value > previous);
        previous = value;
        server.handle_datagram(secs(2), &empty(ACK, out.id));
        assert_eq!(event(&mut server), Event::NotificationDelivered { observer, notification });
    }
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn a_newer_state_replaces_one_that_waits() {
    let (mut server, observer) = observed(Config::default());
    for n in 1..=5u8 {
        server.notify(secs(1), observer, Response::content(60, [n]), Delivery::Latest).unwrap();
    }
    let first = sent_one(&mut server);
    server.handle_datagram(secs(2), &empty(ACK, first.id));
    assert_eq!((first.payload, sent_one(&mut server).payload), (vec![1], vec![5]));
}

#[test]
fn a_reset_ends_the_observation_whichever_kind_it_answers() {
    for delivery in [Delivery::NonConfirmable, Delivery::Latest] {
        let (mut server, observer) = observed(Config::default());
        server.notify(secs(1), observer, Response::content(60, [1]), delivery).unwrap();
        let out = sent_one(&mut server);
        server.handle_datagram(secs(2), &empty(RST, out.id));
        assert_eq!(event(&mut server), Event::ObserverGone { observer, why: ObserverGone::Reset });
        let gone = server.notify(secs(3), observer, Response::content(60, [2]), delivery);
        assert_eq!(gone, Err(SendError::Unknown));
        assert_eq!(server.poll_timeout(), None);
    }
}

#[test]
fn a_notification_nobody_acknowledges_ends_the_observation() {
    let (mut server, observer) = observed(Config::default());
    for n in 1..=2 {
        server.notify(secs(1), observer, Response::content(60, [n]), Delivery::Every).unwrap();
    }
    while server.poll_timeout().is_some() {
        next_timer(&mut server);
    }
    assert_eq!(event(&mut server), Event::ObserverGone { observer, why: ObserverGone::Timeout });
    assert!(sent(&mut server).iter().all(|seen| seen.payload == [1]));
}

#[test]
fn observe_1_removes_the_observer_and_is_answered_like_a_get() {
    let (mut server, observer) = observed(Config::default());
    server.handle_datagram(secs(1), &datagram(CON, 0x01, 2, b"tok", &[(6, &[1]), (11, b"a")], b""));
    let all = events(&mut server);
    assert_eq!(all[0], Event::ObserverGone { observer, why: ObserverGone::Deregistered });
    let Event::Request(request) = &all[1] else { panic!() };
    assert_eq!(request.observe, Some(ObserveRequest::Deregister));
    let refused = server.accept_observer(secs(1), request.exchange, Response::content(60, *b"0"));
    assert_eq!(refused, Err(SendError::NotAnObserver));
    server.respond(secs(1), request.exchange, Response::content(60, *b"0")).unwrap();
    assert_eq!(sent_one(&mut server).option(number::OBSERVE), None);
}

#[test]
fn registering_again_with_the_same_token_is_the_same_observer_and_observers_are_bounded() {
    let (mut server, observer) = observed(Config { max_observers: 1, ..Config::default() });
    assert_eq!(register(&mut server, 2, b"tok"), observer);
    server.handle_datagram(secs(0), &datagram(CON, 0x01, 3, b"two", &[(6, b"")], b""));
    let Event::Request(request) = event(&mut server) else { panic!() };
    let full = server.accept_observer(secs(0), request.exchange, Response::content(60, *b"0"));
    assert_eq!(full, Err(SendError::Full { limit: 1 }));
    assert_eq!(server.respond(secs(0), request.exchange, Response::content(60, *b"0")), Ok(()));
}

#[test]
fn an_error_notification_is_the_last_and_carries_no_observe_value() {
    let (mut server, observer) = observed(Config::default());
    server.notify(secs(1), observer, Response::new(Code::NOT_FOUND), Delivery::Every).unwrap();
    let out = sent_one(&mut server);
    assert_eq!((out.kind, out.code, out.option(number::OBSERVE)), (CON, 0x84, None));
    let gone = server.notify(secs(1), observer, Response::content(60, [1]), Delivery::Every);
    assert_eq!(gone, Err(SendError::Unknown));
}

#[test]
fn a_queue_of_events_is_bounded_and_a_new_session_ends_it() {
    let (mut server, observer) = observed(Config { max_queued_notifications: 2, ..Config::default() });
    let mut push =
        |n| server.notify(secs(1), observer, Response::content(60, [n]), Delivery::Every).map(|_| ());
    assert_eq!(
        [push(1), push(2), push(3), push(4)],
        [Ok(()), Ok(()), Ok(()), Err(SendError::Full { limit: 2 })]
    );
    assert!(server.reset_session().is_empty());
    assert_eq!(event(&mut server), Event::ObserverGone { observer, why: ObserverGone::SessionLost });
    assert_eq!((server.poll_timeout(), server.poll_transmit()), (None, None));
}
