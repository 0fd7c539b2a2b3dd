//! Block-wise transfer between an endpoint and the bytes another implementation sends.

#![cfg(test)]

mod support;

use fieldgate_coap::{Block, Code, Config, Endpoint, Event, Failure, Request, Response, Szx, format, number};
use support::*;

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Runs both until neither has anything to say, answering requests with `answer`. Returns how many requests the server
/// saw and what the client heard.
fn talk(
    client: &mut Endpoint,
    server: &mut Endpoint,
    mut answer: impl FnMut(&fieldgate_coap::IncomingRequest) -> Response,
) -> (Vec<fieldgate_coap::IncomingRequest>, Vec<Event>) {
    let (mut requests, mut heard) = (Vec::new(), Vec::new());
    loop {
        let mut moved = false;
        while let Some(bytes) = client.poll_transmit() {
            server.handle_datagram(secs(1), &bytes);
            moved = true;
        }
        while let Some(event) = server.poll_event() {
            let Event::Request(request) = event else { continue };
            server.respond(secs(1), request.exchange, answer(&request)).unwrap();
            requests.push(request);
        }
        while let Some(bytes) = server.poll_transmit() {
            client.handle_datagram(secs(1), &bytes);
            moved = true;
        }
        heard.extend(events(client));
        if !moved {
            return (requests, heard);
        }
    }
}

fn pair(client: Config, server: Config) -> (Endpoint, Endpoint) {
    (endpoint(client), endpoint(server))
}

fn only_response(heard: Vec<Event>) -> Response {
    match heard.as_slice() {
        [Event::Response { response, .. }] => response.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_peer_that_counts_gets_as_many_messages_as_are_allowed_later_blocks_among_them() {
    let (mut client, mut server) = pair(Config::default(), Config::default());
    client.allow(secs(0), 2);
    client.request(secs(0), Request::get("a").assemble(Szx::B64, 1000)).unwrap();
    client.request(secs(0), Request::get("b")).unwrap();
    let answer = |request: &fieldgate_coap::IncomingRequest| match request.path.as_slice() {
        [path] if path == "a" => Response::content(60, body(300)),
        _ => Response::new(Code::NOT_FOUND),
    };
    let (mut heard, mut rounds) = (Vec::new(), 0);
    while heard.len() < 2 {
        heard.extend(talk(&mut client, &mut server, answer).1);
        assert_eq!(client.counters().requests, (rounds + 1) * 2, "two more, whatever they are for");
        client.allow(secs(1), 2);
        rounds += 1;
    }
    assert_eq!(rounds, 3, "five blocks and another request");
    assert_eq!(client.counters().retransmissions, 0);
}

#[test]
fn an_upload_in_blocks_reaches_the_application_once_and_whole() {
    let (mut client, mut server) = pair(Config::default(), Config::default());
    client.request(secs(0), Request::post(".s/x").payload(format::CBOR, body(3666))).unwrap();
    let (requests, heard) = talk(&mut client, &mut server, |_| Response::new(Code::CHANGED));
    assert_eq!(requests.len(), 1);
    assert_eq!((&requests[0].payload, requests[0].content_format), (&body(3666), Some(60)));
    let response = only_response(heard);
    assert_eq!((response.code, response.block1), (Code::CHANGED, Block::new(3, false, Szx::B1024)));
    assert_eq!(client.counters().datagrams_out, 4);
}

#[test]
fn all_blocks_of_a_transfer_carry_one_token_and_fresh_message_ids() {
    let mut client = endpoint(Config::default());
    client.request(secs(0), Request::post("x").payload(42, body(2500))).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let out = sent_one(&mut client);
        let block = out.option(27).unwrap();
        let code = if block[0] & 8 != 0 { 0x5f } else { 0x44 };
        client.handle_datagram(secs(1), &datagram(ACK, code, out.id, &out.token, &[(27, &block)], b""));
        seen.push((out.token, out.id, block));
    }
    assert_eq!(seen.iter().map(|(_, _, block)| block.clone()).collect::<Vec<_>>(), [[0x0e], [0x1e], [0x26]]);
    assert!(seen.iter().all(|(token, _, _)| *token == seen[0].0));
    assert!(seen[0].1 != seen[1].1 && seen[1].1 != seen[2].1);
    assert!(matches!(event(&mut client), Event::Response { .. }));
}

#[test]
fn a_server_that_wants_smaller_blocks_gets_them_and_the_body_stays_whole() {
    let (mut client, mut server) =
        pair(Config::default(), Config { block_size: Szx::B64, ..Config::default() });
    client.request(secs(0), Request::post("x").payload(42, body(2500))).unwrap();
    let (requests, heard) = talk(&mut client, &mut server, |_| Response::new(Code::CHANGED));
    assert_eq!(requests[0].payload, body(2500));
    assert_eq!(only_response(heard).block1.map(Block::szx), Some(Szx::B64));
}

#[test]
fn a_body_over_the_servers_cap_is_answered_413_with_the_cap() {
    let (mut client, mut server) = pair(Config::default(), Config { max_body: 2048, ..Config::default() });
    client.request(secs(0), Request::post("x").payload(42, body(5000))).unwrap();
    let (requests, heard) = talk(&mut client, &mut server, |_| Response::new(Code::CHANGED));
    assert!(requests.is_empty());
    let response = only_response(heard);
    assert_eq!((response.code, response.size1), (Code::REQUEST_ENTITY_TOO_LARGE, Some(2048)));
}

#[test]
fn a_large_answer_is_cut_by_the_server_and_put_together_by_the_client() {
    let (mut client, mut server) = pair(Config::default(), Config::default());
    for request in [Request::get("x"), Request::get("x").assemble(Szx::B256, 10_000)] {
        client.request(secs(0), request).unwrap();
        let (_, heard) = talk(&mut client, &mut server, |_| Response::content(60, body(5000)).etag([1]));
        let response = only_response(heard);
        assert_eq!((response.payload, response.etag, response.block2), (body(5000), Some(vec![1]), None));
    }
}

#[test]
fn an_answer_over_the_clients_cap_fails_at_its_first_block() {
    let (mut client, mut server) = pair(Config::default(), Config::default());
    let id = client.request(secs(0), Request::get("x").assemble(Szx::B1024, 3000)).unwrap();
    let (requests, heard) = talk(&mut client, &mut server, |_| Response::content(60, body(5000)));
    assert_eq!(requests.len(), 1, "Size2 announced it");
    assert_eq!(heard, [Event::Failed { id, why: Failure::BodyTooLarge, retransmissions: 0 }]);
}

#[test]
fn single_blocks_may_be_in_flight_together_and_resume_anywhere() {
    let (mut client, mut server) = pair(Config::default(), Config::default());
    let image = body(200_000);
    let wanted = [190u32, 3, 0, 195, 4];
    for num in wanted {
        client.get_block(secs(0), Request::get(".u/c/main@1.2.3").accept(42), num, Szx::B1024).unwrap();
    }
    let (requests, heard) = talk(&mut client, &mut server, |request| {
        Response::content_block(42, &image, request.block2.unwrap())
    });
    assert_eq!(requests.len(), wanted.len());
    assert_eq!(heard.len(), wanted.len());
    for event in heard {
        let Event::Response { response, .. } = event else { panic!() };
        let block = response.block2.unwrap();
        let end = image.len().min(block.offset() + 1024);
        assert_eq!(response.payload, image[block.offset()..end]);
        assert_eq!(block.more(), block.num() != 195);
        assert_eq!(response.size2, Some(200_000));
    }
}

#[test]
fn a_block_number_above_16_bits_is_asked_for_and_understood() {
    let mut client = endpoint(Config::default());
    client.get_block(secs(0), Request::get("x"), 70_000, Szx::B64).unwrap();
    let out = sent_one(&mut client);
    assert_eq!(out.option(number::BLOCK2), Some(vec![0x11, 0x17, 0x02]));
    let option: &[u8] = &[0x11, 0x17, 0x0a];
    client.handle_datagram(secs(1), &datagram(ACK, 0x45, out.id, &out.token, &[(23, option)], &[5; 64]));
    let Event::Response { response, .. } = event(&mut client) else { panic!() };
    assert_eq!(response.block2, Block::new(70_000, true, Szx::B64));
}

#[test]
fn a_block_beyond_the_end_is_a_bad_request() {
    let (mut client, mut server) = pair(Config::default(), Config::default());
    client.get_block(secs(0), Request::get("x"), 9, Szx::B1024).unwrap();
    let (_, heard) = talk(&mut client, &mut server, |_| Response::content(42, body(3000)));
    assert_eq!(only_response(heard).code, Code::BAD_REQUEST);
}

#[test]
fn a_whole_body_instead_of_block_0_is_taken_as_it_is() {
    let mut client = endpoint(Config::default());
    client.get_block(secs(0), Request::get("x"), 0, Szx::B1024).unwrap();
    let out = sent_one(&mut client);
    assert_eq!(out.option(number::BLOCK2), Some(vec![0x06]));
    client.handle_datagram(secs(1), &datagram(ACK, 0x45, out.id, &out.token, &[], b"small"));
    let Event::Response { response, .. } = event(&mut client) else { panic!() };
    assert_eq!((response.payload, response.block2), (b"small".to_vec(), None));
}

#[test]
fn a_post_is_run_once_even_when_its_answer_comes_in_blocks() {
    let (mut client, mut server) = pair(Config::default(), Config::default());
    client.request(secs(0), Request::post(".g/x").payload(42, body(2000))).unwrap();
    let (requests, heard) = talk(&mut client, &mut server, |request| {
        Response::new(Code::CHANGED).payload(42, [request.payload.as_slice(), b"!"].concat().repeat(2))
    });
    assert_eq!(requests.len(), 1);
    let response = only_response(heard);
    assert_eq!((response.code, response.payload.len()), (Code::CHANGED, 4002));
    assert_eq!(response.payload[..2000], body(2000));
}

#[test]
fn two_uploads_to_different_paths_do_not_mix() {
    let (mut client, mut server) = pair(Config::default(), Config::default());
    client.request(secs(0), Request::post("a").payload(42, vec![1; 3000])).unwrap();
    client.request(secs(0), Request::post("b").payload(42, vec![2; 3000])).unwrap();
    let (requests, heard) = talk(&mut client, &mut server, |_| Response::new(Code::CHANGED));
    assert_eq!(heard.len(), 2);
    assert_eq!(requests.len(), 2);
    assert!(
        requests
            .iter()
            .all(|request| request.payload == [[1; 3000], [2; 3000]][usize::from(request.path == ["b"])])
    );
}

#[test]
fn the_gap_of_a_skipped_block_is_408() {
    let mut server = endpoint(Config::default());
    server.handle_datagram(secs(0), &datagram(CON, 0x02, 1, b"t", &[(27, &[0x08])], &[0; 16]));
    assert_eq!(sent_one(&mut server).code, 0x5f);
    server.handle_datagram(secs(0), &datagram(CON, 0x02, 2, b"t", &[(27, &[0x28])], &[0; 16]));
    let reply = sent_one(&mut server);
    assert_eq!((reply.code, reply.option(27)), (0x88, Some(vec![0x28])));
    assert!(events(&mut server).is_empty());
}

#[test]
fn a_long_transfer_neither_waits_behind_new_requests_nor_starves_them() {
    let config = Config { initial_window: 1, max_in_flight: 1, ..Config::default() };
    let (mut client, mut server) = pair(config, Config::default());
    client.request(secs(0), Request::post("long").payload(42, body(20_000))).unwrap();
    for _ in 0..10 {
        client.request(secs(0), Request::post("short")).unwrap();
    }
    let (requests, heard) = talk(&mut client, &mut server, |_| Response::new(Code::CHANGED));
    assert_eq!(heard.len(), 11);
    let long = requests.iter().position(|request| request.path == ["long"]).unwrap();
    assert_eq!(long, 4, "one short one for four blocks");
}
