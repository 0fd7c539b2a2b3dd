//! What a client may rely on: every request ends once, with what the peer said or why it did not.

#![cfg(test)]

mod support;

use fieldgate_coap::{Code, Config, Event, Failure, Request, SendError, Szx, format, number};
use support::*;

#[test]
fn a_request_has_the_bytes_another_implementation_expects() {
    let mut client = endpoint(Config::default());
    client.request(secs(0), Request::get("/.d//a/b").accept(format::CBOR)).unwrap();
    let bytes = client.poll_transmit().unwrap();
    assert_eq!(
        bytes,
        [
            &[0x43, 0x01, 0x10, 0x00, 0xef, 0xcd, 0xab, 0xb2][..],
            b".d",
            &[0x01],
            b"a",
            &[0x01],
            b"b",
            &[0x61, 60]
        ]
        .concat()
    );
    assert_eq!(client.next_message_id(), 0x1001);
    assert_eq!(client.next_token(), 0xabcdf0);
}

#[test]
fn the_length_of_a_request_is_known_before_it_is_sent() {
    let mut client = endpoint(Config::default());
    let request = Request::post(".s/a").payload(format::CBOR, vec![0; 700]);
    let len = client.datagram_len(&request);
    client.request(secs(0), request).unwrap();
    assert_eq!(client.poll_transmit().unwrap().len(), len);
}

#[test]
fn a_piggybacked_response_ends_the_request_and_measures_the_round_trip() {
    let mut client = endpoint(Config::default());
    let id = client.request(secs(0), Request::get("a")).unwrap();
    let out = sent_one(&mut client);
    client.handle_datagram(ms(300), &datagram(ACK, 0x45, out.id, &out.token, &[(12, &[50])], b"13"));
    let Event::Response { id: answered, response, retransmissions, round_trip } = event(&mut client) else {
        panic!()
    };
    assert_eq!((answered, retransmissions, round_trip), (id, 0, ms(300)));
    assert_eq!(
        (response.code, response.content_format, response.payload),
        (Code::CONTENT, Some(50), b"13".to_vec())
    );
    assert_eq!(client.poll_timeout(), None);
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_lost_request_is_retransmitted_with_the_same_message_id() {
    let mut client = endpoint(Config::default());
    client.request(secs(0), Request::get("a")).unwrap();
    let first = client.poll_transmit().unwrap();
    let at = next_timer(&mut client);
    assert!((secs(2)..=secs(3)).contains(&at), "{at:?}");
    assert_eq!(client.poll_transmit().unwrap(), first);
    assert_eq!(client.counters().retransmissions, 1);
    let out = Seen::read(&first);
    client.handle_datagram(at, &datagram(ACK, 0x45, out.id, &out.token, &[], b""));
    assert!(matches!(event(&mut client), Event::Response { retransmissions: 1, .. }));
}

#[test]
fn a_request_nobody_answers_fails_once_after_five_copies() {
    let mut client = endpoint(Config::default());
    let id = client.request(secs(0), Request::get("a")).unwrap();
    let mut copies = sent(&mut client).len();
    let mut at = secs(0);
    while client.poll_timeout().is_some() {
        at = next_timer(&mut client);
        copies += sent(&mut client).len();
    }
    assert_eq!(copies, 5);
    assert_eq!(event(&mut client), Event::Failed { id, why: Failure::Timeout, retransmissions: 4 });
    assert!(at <= secs(93), "{at:?}");
}

#[test]
fn a_separate_response_is_acknowledged_and_its_copy_acknowledged_again_without_a_second_outcome() {
    let mut client = endpoint(Config::default());
    client.request(secs(0), Request::get("a")).unwrap();
    let out = sent_one(&mut client);
    client.handle_datagram(secs(1), &empty(ACK, out.id));
    assert!(events(&mut client).is_empty());
    let response = datagram(CON, 0x45, 0x7777, &out.token, &[], b"late");
    client.handle_datagram(secs(30), &response);
    assert!(matches!(event(&mut client), Event::Response { .. }));
    let ack = sent_one(&mut client);
    assert_eq!((ack.kind, ack.code, ack.id), (ACK, 0, 0x7777));
    client.handle_datagram(secs(32), &response);
    assert!(events(&mut client).is_empty());
    assert_eq!(sent_one(&mut client).id, 0x7777);
    assert_eq!(client.counters().duplicates, 1);
}

#[test]
fn a_response_that_overtakes_its_acknowledgement_counts_as_both() {
    let mut client = endpoint(Config::default());
    client.request(secs(0), Request::get("a")).unwrap();
    let out = sent_one(&mut client);
    client.handle_datagram(secs(1), &datagram(NON, 0x45, 9, &out.token, &[], b"x"));
    assert!(matches!(event(&mut client), Event::Response { .. }));
    assert_eq!(client.poll_timeout(), None);
    client.handle_datagram(secs(1), &empty(ACK, out.id));
    assert!(events(&mut client).is_empty() && sent(&mut client).is_empty());
}

#[test]
fn an_acknowledged_request_whose_response_never_comes_times_out() {
    let mut client = endpoint(Config { response_timeout: secs(20), ..Config::default() });
    let id = client.request(secs(0), Request::get("a")).unwrap();
    let out = sent_one(&mut client);
    client.handle_datagram(secs(1), &empty(ACK, out.id));
    assert_eq!(next_timer(&mut client), secs(21));
    assert_eq!(event(&mut client), Event::Failed { id, why: Failure::Timeout, retransmissions: 0 });
}

#[test]
fn a_reset_fails_the_request() {
    for request in [Request::get("a"), Request::get("a").non_confirmable()] {
        let mut client = endpoint(Config::default());
        let id = client.request(secs(0), request).unwrap();
        let out = sent_one(&mut client);
        client.handle_datagram(secs(1), &empty(RST, out.id));
        assert_eq!(event(&mut client), Event::Failed { id, why: Failure::Reset, retransmissions: 0 });
        assert_eq!(client.poll_timeout(), None);
    }
}

#[test]
fn a_deadline_is_kept_even_in_the_queue() {
    let mut client = endpoint(Config { initial_window: 1, max_in_flight: 1, ..Config::default() });
    let first = client.request(secs(0), Request::get("a")).unwrap();
    let second = client.request(secs(0), Request::get("b").deadline(ms(1500))).unwrap();
    assert_eq!(sent(&mut client).len(), 1);
    assert_eq!(next_timer(&mut client), ms(1500));
    assert_eq!(
        event(&mut client),
        Event::Failed { id: second, why: Failure::DeadlineExceeded, retransmissions: 0 }
    );
    client.cancel(secs(2), first);
    client.cancel(secs(2), first);
    assert_eq!(event(&mut client), Event::Failed { id: first, why: Failure::Cancelled, retransmissions: 0 });
    assert_eq!((client.outstanding(), client.poll_timeout()), (0, None));
}

#[test]
fn a_late_confirmable_answer_to_a_request_that_ended_is_reset() {
    let mut client = endpoint(Config::default());
    let id = client.request(secs(0), Request::get("a")).unwrap();
    let out = sent_one(&mut client);
    client.cancel(secs(1), id);
    events(&mut client);
    client.handle_datagram(secs(2), &datagram(CON, 0x45, 5, &out.token, &[], b""));
    let reply = sent_one(&mut client);
    assert_eq!((reply.kind, reply.id), (RST, 5));
    client.handle_datagram(secs(2), &datagram(ACK, 0x45, out.id, &out.token, &[], b""));
    assert!(sent(&mut client).is_empty() && events(&mut client).is_empty());
}

#[test]
fn an_acknowledgement_with_the_wrong_token_or_id_answers_nothing() {
    let mut client = endpoint(Config::default());
    client.request(secs(0), Request::get("a")).unwrap();
    let out = sent_one(&mut client);
    client.handle_datagram(secs(1), &datagram(ACK, 0x45, out.id, b"zzz", &[], b""));
    client.handle_datagram(secs(1), &datagram(ACK, 0x45, out.id + 1, &out.token, &[], b""));
    assert!(events(&mut client).is_empty());
    assert_eq!(client.counters().ignored, 2);
    assert!(client.poll_timeout().is_some());
}

#[test]
fn an_answer_with_an_unknown_critical_option_is_rejected_and_fails_the_request() {
    let mut client = endpoint(Config::default());
    for (kind, resets) in [(ACK, 0), (CON, 1)] {
        let id = client.request(secs(0), Request::get("a")).unwrap();
        let out = sent_one(&mut client);
        let reply_id = if kind == ACK { out.id } else { 77 };
        client.handle_datagram(secs(1), &datagram(kind, 0x45, reply_id, &out.token, &[(9, b"")], b""));
        assert_eq!(event(&mut client), Event::Failed { id, why: Failure::BadResponse, retransmissions: 0 });
        let replies = sent(&mut client);
        assert_eq!(replies.iter().filter(|reply| reply.kind == RST).count(), resets);
    }
}

#[test]
fn requests_above_the_window_wait_their_turn_and_above_the_bound_are_refused() {
    let mut client = endpoint(Config { initial_window: 2, max_requests: 3, ..Config::default() });
    for path in ["a", "b", "c"] {
        client.request(secs(0), Request::get(path)).unwrap();
    }
    assert_eq!(client.request(secs(0), Request::get("d")), Err(SendError::Full { limit: 3 }));
    assert_eq!(client.capacity(), 0);
    let out = sent(&mut client);
    assert_eq!(out.len(), 2);
    client.handle_datagram(secs(1), &datagram(ACK, 0x44, out[0].id, &out[0].token, &[], b""));
    assert_eq!(sent_one(&mut client).option(number::URI_PATH), Some(b"c".to_vec()));
    assert_eq!(client.capacity(), 1);
}

#[test]
fn loss_halves_the_window_and_answers_open_it_again() {
    let mut client = endpoint(Config { initial_window: 8, ..Config::default() });
    for _ in 0..8 {
        client.request(secs(0), Request::get("a")).unwrap();
    }
    assert_eq!(sent(&mut client).len(), 8);
    let at = next_timer(&mut client);
    assert_eq!(client.window(), 4);
    client.handle_timeout(secs(3));
    assert_eq!(client.window(), 4, "losses of one flight count once");
    assert!(client.retransmission_timeout(at) == secs(4));
    for out in sent(&mut client) {
        client.handle_datagram(secs(3), &datagram(ACK, 0x44, out.id, &out.token, &[], b""));
    }
    assert!(client.window() > 4);
}

#[test]
fn tokens_are_as_long_as_configured_and_unique_among_what_is_open() {
    let config = Config { token_length: 1, initial_window: 8, ..Config::default() };
    let mut client = endpoint(config);
    client.observe(secs(0), Request::get("o")).unwrap();
    let observed = sent_one(&mut client).token;
    for round in 0..600u64 {
        client.request(secs(round), Request::get("a")).unwrap();
        for out in sent(&mut client) {
            if out.token == observed {
                assert!(out.option(number::OBSERVE).is_some());
                continue;
            }
            assert_eq!(out.token.len(), 1);
            client.handle_datagram(secs(round), &datagram(ACK, 0x44, out.id, &out.token, &[], b""));
            assert!(matches!(event(&mut client), Event::Response { .. }));
        }
    }
}

#[test]
fn a_ping_is_answered_by_reset_or_acknowledgement_and_fails_without_either() {
    let mut client = endpoint(Config::default());
    for kind in [RST, ACK] {
        let id = client.ping(secs(0)).unwrap();
        let bytes = client.poll_transmit().unwrap();
        assert_eq!((bytes.len(), bytes[0], bytes[1]), (4, 0x40, 0));
        client.handle_datagram(ms(250), &empty(kind, Seen::read(&bytes).id));
        assert_eq!(event(&mut client), Event::Pong { id, retransmissions: 0, round_trip: ms(250) });
    }
    let id = client.ping(secs(1)).unwrap();
    while client.poll_timeout().is_some() {
        next_timer(&mut client);
    }
    assert_eq!(event(&mut client), Event::Failed { id, why: Failure::Timeout, retransmissions: 4 });
}

#[test]
fn a_keepalive_without_a_path_is_a_request_like_any_other() {
    let mut client = endpoint(Config { token_length: 8, ..Config::default() });
    client.request(secs(0), Request::delete("")).unwrap();
    let bytes = client.poll_transmit().unwrap();
    assert_eq!((bytes.len(), bytes[0], bytes[1]), (12, 0x48, 0x04));
}

#[test]
fn a_new_session_fails_what_was_open_and_counts_on() {
    let mut client = endpoint(Config { initial_window: 1, ..Config::default() });
    let sent_request = client.request(secs(0), Request::get("a")).unwrap();
    let queued = client.request(secs(0), Request::get("b")).unwrap();
    let ping = client.ping(secs(0)).unwrap();
    let old = sent_one(&mut client);
    assert!(client.reset_session().is_empty());
    let failed: Vec<_> = events(&mut client)
        .into_iter()
        .map(|event| match event {
            Event::Failed { id, why: Failure::SessionLost, .. } => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(failed, [sent_request, queued, ping]);
    assert_eq!((client.poll_timeout(), client.poll_transmit()), (None, None));
    client.handle_datagram(secs(1), &datagram(ACK, 0x45, old.id, &old.token, &[], b""));
    assert!(events(&mut client).is_empty());
    client.request(secs(1), Request::get("a")).unwrap();
    let new = sent_one(&mut client);
    assert!(new.id != old.id && new.token != old.token);
}

#[test]
fn what_cannot_be_sent_is_refused_and_leaves_nothing_behind() {
    let mut client = endpoint(Config { max_datagram: 600, ..Config::default() });
    let long = "x".repeat(256);
    assert_eq!(
        client.request(secs(0), Request::get(&long)),
        Err(SendError::OptionTooLong { number: number::URI_PATH, len: 256, limit: 255 })
    );
    let refused = client.request(secs(0), Request::post("a").payload(42, vec![0; 1024]));
    assert!(matches!(refused, Err(SendError::TooLarge { limit: 600, .. })), "{refused:?}");
    assert_eq!(
        client.get_block(secs(0), Request::get("a"), 1 << 20, Szx::B1024),
        Err(SendError::TooManyBlocks)
    );
    assert_eq!((client.outstanding(), client.poll_transmit()), (0, None));
}

#[test]
fn message_ids_wait_out_their_lifetime_before_they_come_again() {
    let mut client = endpoint(Config::default());
    let lifetime = Config::default().exchange_lifetime();
    let mut used = std::collections::BTreeSet::new();
    loop {
        client.request(secs(0), Request::get("a")).unwrap();
        let out = sent(&mut client);
        let Some(out) = out.first() else { break };
        assert!(used.insert(out.id));
        client.handle_datagram(secs(0), &datagram(ACK, 0x44, out.id, &out.token, &[], b""));
        events(&mut client);
    }
    assert!(used.len() > 65_000);
    assert_eq!(client.poll_timeout(), Some(lifetime));
    assert_eq!(next_timer(&mut client), lifetime);
    assert_eq!(sent(&mut client).len(), 1);
}

#[test]
fn the_same_seed_and_the_same_calls_give_the_same_datagrams() {
    let run = || {
        let mut client = endpoint(Config::default());
        client.request(secs(0), Request::get("a")).unwrap();
        let mut trace = Vec::new();
        while client.poll_timeout().is_some() {
            trace.push((next_timer(&mut client), client.poll_transmit()));
        }
        trace
    };
    assert_eq!(run(), run());
}

#[test]
fn an_urgent_request_passes_those_that_wait_and_one_passes_a_closed_window() {
    let config = Config { initial_window: 2, ..Config::default() };
    let mut client = endpoint(config);
    let submit = |client: &mut fieldgate_coap::Endpoint, payload: &[u8], urgent| {
        let request = Request::post("a").payload(format::CBOR, payload).urgent(urgent);
        client.request(secs(0), request).unwrap();
    };
    (0..5).for_each(|_| submit(&mut client, b"bulk", false));
    assert_eq!(sent(&mut client).len(), 2, "the window");
    (0..2).for_each(|_| submit(&mut client, b"alarm", true));
    let beyond = sent_one(&mut client);
    assert_eq!(beyond.payload, b"alarm", "one beyond the window, and no burst");
    client.handle_datagram(ms(100), &datagram(ACK, 0x44, beyond.id, &beyond.token, &[], b""));
    let next = sent(&mut client);
    assert_eq!(next[0].payload, b"alarm", "the other urgent one before what waited longer");
}
