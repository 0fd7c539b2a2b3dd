//! What a server may rely on: each request is seen once and its answer reaches the client the way the RFC asks.

#![cfg(test)]

mod support;

use fieldgate_coap::{
    Code, Config, Endpoint, Event, IncomingRequest, Method, Response, SendError, format, number,
};
use support::*;

fn request(endpoint: &mut Endpoint) -> IncomingRequest {
    match event(endpoint) {
        Event::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_arrives_with_everything_it_says() {
    let mut server = endpoint(Config::default());
    let options: &[(u16, &[u8])] = &[
        (3, b"host"),
        (11, b".s"),
        (11, b""),
        (11, b"x"),
        (12, &[50]),
        (15, b"a=1"),
        (17, &[60]),
        (2048, b"?"),
    ];
    server.handle_datagram(secs(0), &datagram(CON, 0x02, 7, b"tok", options, b"13"));
    let seen = request(&mut server);
    assert_eq!((seen.method, seen.confirmable, seen.token.as_bytes()), (Method::Post, true, &b"tok"[..]));
    assert_eq!(
        (seen.path, seen.query),
        (vec![".s".into(), String::new(), "x".into()], vec!["a=1".to_string()])
    );
    assert_eq!((seen.content_format, seen.accept, seen.payload), (Some(50), Some(60), b"13".to_vec()));
}

#[test]
fn a_quick_answer_rides_on_the_acknowledgement_and_is_replayed_to_copies() {
    let mut server = endpoint(Config::default());
    let bytes = datagram(CON, 0x01, 7, b"t", &[(11, b"a")], b"");
    server.handle_datagram(secs(0), &bytes);
    let exchange = request(&mut server).exchange;
    server.handle_datagram(ms(50), &bytes);
    assert!(
        events(&mut server).is_empty() && sent(&mut server).is_empty(),
        "no answer yet, nothing to replay"
    );
    server.respond(ms(100), exchange, Response::content(format::JSON, *b"13")).unwrap();
    let reply = server.poll_transmit().unwrap();
    let seen = Seen::read(&reply);
    assert_eq!((seen.kind, seen.code, seen.id, seen.token), (ACK, 0x45, 7, b"t".to_vec()));
    server.handle_datagram(secs(200), &bytes);
    assert_eq!(server.poll_transmit(), Some(reply));
    assert!(events(&mut server).is_empty());
    assert_eq!(server.respond(secs(1), exchange, Response::new(Code::CONTENT)), Err(SendError::Unknown));
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn a_slow_answer_is_preceded_by_an_empty_acknowledgement_and_repeated_until_acknowledged() {
    let mut server = endpoint(Config::default());
    let bytes = datagram(CON, 0x01, 7, b"t", &[], b"");
    server.handle_datagram(secs(0), &bytes);
    let exchange = request(&mut server).exchange;
    assert_eq!(next_timer(&mut server), Config::default().separate_ack_delay);
    let ack = sent_one(&mut server);
    assert_eq!((ack.kind, ack.code, ack.id), (ACK, 0, 7));
    server.handle_datagram(secs(2), &bytes);
    assert_eq!(sent_one(&mut server).code, 0, "a copy is acknowledged again");
    server.respond(secs(5), exchange, Response::new(Code::CHANGED)).unwrap();
    let first = server.poll_transmit().unwrap();
    let seen = Seen::read(&first);
    assert_eq!((seen.kind, seen.code, seen.token.as_slice()), (CON, 0x44, &b"t"[..]));
    next_timer(&mut server);
    assert_eq!(server.poll_transmit(), Some(first));
    server.handle_datagram(secs(9), &empty(ACK, seen.id));
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn answers_may_come_in_any_order() {
    let mut server = endpoint(Config::default());
    for id in 1..=3u16 {
        server.handle_datagram(secs(0), &datagram(CON, 0x01, id, &[id as u8], &[], b""));
    }
    let mut open: Vec<_> = events(&mut server)
        .into_iter()
        .map(|event| match event {
            Event::Request(request) => request,
            other => panic!("{other:?}"),
        })
        .collect();
    open.reverse();
    for request in open {
        server.respond(ms(10), request.exchange, Response::content(42, request.token.as_bytes())).unwrap();
    }
    for (seen, id) in sent(&mut server).iter().zip([3u16, 2, 1]) {
        assert_eq!((seen.id, seen.payload.as_slice()), (id, &[id as u8][..]));
    }
}

#[test]
fn a_nonconfirmable_request_is_answered_nonconfirmable_and_its_copy_is_dropped() {
    let mut server = endpoint(Config::default());
    let bytes = datagram(NON, 0x02, 7, b"t", &[], b"x");
    server.handle_datagram(secs(0), &bytes);
    let exchange = request(&mut server).exchange;
    assert_eq!(server.poll_timeout(), None);
    server.respond(secs(3), exchange, Response::new(Code::CHANGED)).unwrap();
    assert_eq!(sent_one(&mut server).kind, NON);
    server.handle_datagram(secs(4), &bytes);
    assert!(events(&mut server).is_empty() && sent(&mut server).is_empty());
}

#[test]
fn a_ping_is_answered_with_a_reset_every_time() {
    let mut server = endpoint(Config::default());
    for kind in [CON, CON, NON] {
        server.handle_datagram(secs(0), &empty(kind, 9));
        let reply = sent_one(&mut server);
        assert_eq!((reply.kind, reply.code, reply.id), (RST, 0, 9));
    }
    server.handle_datagram(secs(0), &empty(RST, 9));
    assert!(sent(&mut server).is_empty());
}

#[test]
fn refusals_the_application_need_not_see() {
    let mut server = endpoint(Config::default());
    let cases: [(u8, u16, &[u8], u8); 6] = [
        (0x01, 9, b"", 0x82),
        (0x01, 1, b"etag", 0x82),
        (0x01, 23, &[7], 0x80),
        (0x01, 35, b"coap://x", 0xa5),
        (0x1f, 11, b"a", 0x85),
        (0x02, 23, &[0x16], 0x88),
    ];
    for (at, (code, number, value, refusal)) in (0u16..).zip(cases) {
        server.handle_datagram(secs(0), &datagram(CON, code, at, b"t", &[(number, value)], b""));
        let reply = sent_one(&mut server);
        assert_eq!((reply.kind, reply.code, reply.id), (ACK, refusal, at), "option {number}");
    }
    server.handle_datagram(secs(0), &datagram(NON, 0x01, 99, b"t", &[(9, b"")], b""));
    assert!(sent(&mut server).is_empty() && events(&mut server).is_empty());
}

#[test]
fn malformed_datagrams_are_reset_or_dropped_and_counted() {
    let mut server = endpoint(Config::default());
    server.handle_datagram(secs(0), &[0x40, 0x01, 0x12, 0x34, 0xff]);
    let reply = sent_one(&mut server);
    assert_eq!((reply.kind, reply.id), (RST, 0x1234));
    server.handle_datagram(secs(0), b"\x00\x01\x02\x03noise");
    server.handle_datagram(secs(0), b"");
    server.handle_datagram(secs(0), &vec![0x40; 1501]);
    assert!(sent(&mut server).is_empty() && events(&mut server).is_empty());
    let counters = server.counters();
    assert_eq!((counters.malformed, counters.oversize, counters.datagrams_in), (3, 1, 4));
}

#[test]
fn too_many_open_requests_are_told_to_come_back() {
    let mut server = endpoint(Config { max_exchanges: 2, ..Config::default() });
    for id in 0..3 {
        server.handle_datagram(secs(0), &datagram(CON, 0x01, id, &[id as u8], &[], b""));
    }
    assert_eq!(events(&mut server).len(), 2);
    assert_eq!(sent_one(&mut server).code, 0xa3);
    assert_eq!(server.counters().refused_requests, 1);
    let late = Config::default().exchange_lifetime();
    server.handle_datagram(late, &datagram(CON, 0x01, 9, b"z", &[], b""));
    assert_eq!(events(&mut server).len(), 1, "unanswered ones make room after their lifetime");
    assert_eq!(server.counters().unanswered_requests, 2);
}

#[test]
fn a_full_event_queue_loses_datagrams_but_no_request() {
    let mut server = endpoint(Config { max_events: 1, ..Config::default() });
    let second = datagram(CON, 0x01, 2, b"b", &[], b"");
    server.handle_datagram(secs(0), &datagram(CON, 0x01, 1, b"a", &[], b""));
    server.handle_datagram(secs(0), &second);
    assert_eq!(events(&mut server).len(), 1);
    assert_eq!(server.counters().ignored, 1);
    server.handle_datagram(secs(2), &second);
    assert_eq!(events(&mut server).len(), 1, "its retransmission is no duplicate");
}

#[test]
fn an_outbox_nobody_empties_stays_bounded() {
    let mut server = endpoint(Config { max_outbox: 3, ..Config::default() });
    for id in 0..10 {
        server.handle_datagram(secs(0), &empty(CON, id));
    }
    assert_eq!(sent(&mut server).len(), 3);
    assert_eq!(server.counters().outbox_dropped, 7);
}

#[test]
fn only_a_response_code_can_be_an_answer() {
    let mut server = endpoint(Config::default());
    server.handle_datagram(secs(0), &datagram(CON, 0x01, 1, b"a", &[], b""));
    let exchange = request(&mut server).exchange;
    let not = Method::Get.code();
    assert_eq!(server.respond(secs(0), exchange, Response::new(not)), Err(SendError::NotAResponse(not)));
    let oversize = Response::new(Code::BAD_REQUEST).payload(0, vec![b'x'; 2000]);
    assert!(matches!(server.respond(secs(0), exchange, oversize), Err(SendError::TooLarge { .. })));
    assert_eq!(server.respond(secs(0), exchange, Response::new(Code::BAD_REQUEST)), Ok(()));
    assert_eq!(sent_one(&mut server).option(number::CONTENT_FORMAT), None);
}
