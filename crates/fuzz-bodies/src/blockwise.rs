//! Block-wise bodies in all directions (RFC 7959): the windowed download, an answer put together by the endpoint, an upload cut by
//! it, and uploads that a peer sends in pieces.
//!
//! A body is a pattern of its offset. Whatever is put together from honest blocks, in whatever order and however often, is the
//! pattern; a download in which the server lies never hands out a byte twice or beyond the end.

use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;

use fieldgate_coap::{Block, Code, Endpoint, Event, Fetch, Request, RequestId, Response, Szx};

use crate::coap::{MOST_TIMERS, SEED, datagram, id_and_token, option, small};
use crate::feed::Feed;

/// No byte like its neighbours, so that a block in the wrong place shows.
fn pattern_of(range: Range<usize>) -> Vec<u8> {
    range.map(|at| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]).collect()
}

fn pattern(len: usize) -> Vec<u8> {
    pattern_of(0..len)
}

/// The first byte chooses the direction, the rest is what the peer does.
pub(crate) fn blockwise(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    match feed.byte() % 4 {
        0 | 1 => download(&mut feed),
        2 => transfers(&mut feed),
        _ => uploads(&mut feed),
    }
}

/// What is asked for in a GET of this workspace: the Block2 option, found behind the path `a`.
fn wanted(get: &[u8]) -> Option<Block> {
    let (_, token) = id_and_token(get);
    let options = get.get(4 + token.len()..)?;
    let mut at = 0;
    let mut number: u16 = 0;
    while let Some(head) = options.get(at).filter(|head| **head != 0xff) {
        let (delta, len) = (head >> 4, usize::from(head & 15));
        let (delta, skip) = match delta {
            13 => (13 + u16::from(*options.get(at + 1)?), 1),
            delta => (u16::from(delta), 0),
        };
        number += delta;
        let value = options.get(at + 1 + skip..at + 1 + skip + len)?;
        if number == 23 {
            return Block::decode(value).ok();
        }
        at += 1 + skip + len;
    }
    None
}

/// An answer that carries one block: code 2.05 on an ACK, Block2 (23 = 12 + 11), payload.
fn content(get: &[u8], block: Block, payload: &[u8]) -> Vec<u8> {
    let (id, token) = id_and_token(get);
    let rest = [option(12, &[]), option(11, &block.encode()), vec![0xff], payload.to_vec()].concat();
    datagram(2, 0x45, id, token, &rest)
}

/// A [`Fetch`] against a server that is honest, silent, slow, repetitive or lying, as the bytes say.
fn download(feed: &mut Feed<'_>) -> bool {
    let size = usize::from(feed.word() % 6000);
    let szx = Szx::new(feed.byte() % 7).unwrap_or(Szx::B16);
    let had = usize::from(feed.byte()) * 16;
    let before = 0..had.min(size) as u64;
    let Ok(mut fetch) = Fetch::new(size as u64, szx, core::slice::from_ref(&before)) else { return false };
    let body = pattern(size);
    let mut endpoint = Endpoint::new(small(), SEED);
    let get = Request::get("a");
    let (mut now, mut honest, mut timers) = (Duration::ZERO, true, 0);
    let mut open: VecDeque<Vec<u8>> = VecDeque::new();
    let mut have = vec![false; size];
    have.iter_mut().take(had).for_each(|byte| *byte = true);
    let mut pieces = 0;
    loop {
        while let Some(piece) = fetch.poll_piece() {
            pieces += 1;
            let from = usize::try_from(piece.offset).unwrap_or(usize::MAX);
            let range = from..from.saturating_add(piece.bytes.len());
            assert!(!piece.bytes.is_empty(), "an empty piece");
            let place = have.get_mut(range.clone());
            assert!(place.is_some(), "a piece beyond the end");
            for had in place.into_iter().flatten() {
                assert!(!*had, "a byte handed out twice");
                *had = true;
            }
            assert!(
                !honest || body.get(range) == Some(piece.bytes.as_slice()),
                "other bytes than were served"
            );
        }
        if let Some(outcome) = fetch.outcome() {
            if outcome.is_ok() {
                assert!(have.iter().all(|had| *had), "said to be whole and is not");
            }
            break;
        }
        while fetch.ask(now, &mut endpoint, &get).is_some() {}
        while let Some(bytes) = endpoint.poll_transmit() {
            open.push_back(bytes);
            if open.len() > 64 {
                open.pop_front();
            }
        }
        let act = feed.next();
        let request = open.pop_front();
        match (act.map(|act| act % 16), request) {
            (Some(0), Some(request)) => {
                // Anything at all, under the right id and token.
                honest = false;
                let (id, token) = id_and_token(&request);
                let answer = datagram(feed.byte(), feed.byte(), id, token, feed.chunk());
                endpoint.handle_datagram(now, &answer);
            }
            (Some(1), Some(request)) => {
                // A block of any number, size and length.
                honest = false;
                let szx = Szx::new(feed.byte() % 7).unwrap_or(Szx::B16);
                let (number, more) = (u32::from(feed.word()), feed.byte() & 1 == 1);
                let payload = pattern(usize::from(feed.word() % 1400));
                if let Some(block) = Block::new(number, more, szx) {
                    endpoint.handle_datagram(now, &content(&request, block, &payload));
                }
            }
            // Lost.
            (Some(2), Some(_)) => {}
            // Later.
            (Some(3), Some(request)) => open.push_back(request),
            (Some(4), request) => {
                open.extend(request);
                now += feed.pause();
                endpoint.handle_timeout(now);
            }
            (Some(5), Some(request)) => {
                let (id, token) = id_and_token(&request);
                let code = [0xa3, 0x9d, 0x84, 0x88, 0x5f][usize::from(feed.byte() % 5)];
                endpoint.handle_datagram(now, &datagram(2, code, id, token, &[]));
            }
            (Some(6), Some(request)) => {
                // Half the block only, in a smaller size, as a server may.
                answer(&mut endpoint, now, &request, &body, 1);
            }
            (Some(7), Some(request)) => {
                answer(&mut endpoint, now, &request, &body, 0);
                answer(&mut endpoint, now, &request, &body, 0);
            }
            (Some(_), Some(request)) => answer(&mut endpoint, now, &request, &body, 0),
            // Nothing is under way, or the script has ended: time passes.
            (_, request) => {
                drop(request);
                let next = endpoint.poll_timeout().into_iter().chain(fetch.poll_timeout(now)).min();
                assert!(next.is_some(), "neither ended nor waiting for anything");
                now = now.max(next.unwrap_or_default());
                endpoint.handle_timeout(now);
                timers += 1;
                assert!(timers < MOST_TIMERS, "the download never ends");
            }
        }
        while let Some(event) = endpoint.poll_event() {
            match event {
                Event::Response { id, response, retransmissions, .. } => {
                    fetch.answered(now, id, response, retransmissions);
                }
                Event::Failed { id, why, .. } => fetch.failed(now, id, why),
                _ => {}
            }
        }
    }
    fetch.abandon(now, &mut endpoint);
    assert_eq!(fetch.in_flight(), 0);
    pieces > 0
}

/// The honest block for a GET, `smaller` sizes smaller than was asked for.
fn answer(endpoint: &mut Endpoint, now: Duration, get: &[u8], body: &[u8], smaller: u8) {
    let Some(block) = wanted(get) else { return };
    let szx = Szx::new(block.szx().exponent().saturating_sub(smaller)).unwrap_or(Szx::B16);
    let cut = Block::at_offset(block.offset(), false, szx).and_then(|block| block.cut(body));
    if let Some((block, part)) = cut {
        endpoint.handle_datagram(now, &content(get, block, part));
    }
}

/// An upload that the endpoint cuts and an answer that it puts together, whatever the server says.
fn transfers(feed: &mut Feed<'_>) -> bool {
    let mut endpoint = Endpoint::new(small(), SEED);
    let mut now = Duration::ZERO;
    let body = pattern(usize::from(feed.word() % 5000));
    let mut asked: Vec<RequestId> = Vec::new();
    let up = Request::post("a").payload(42, pattern(usize::from(feed.word() % 5000)));
    asked.extend(endpoint.request(now, up.clone().assemble(Szx::B64, 2000)));
    asked.extend(endpoint.request(now, Request::get("a").assemble(Szx::B256, 2000)));
    let (mut ended, mut whole) = (0, false);
    let (mut honest, mut timers) = (true, 0);
    let mut open: VecDeque<Vec<u8>> = VecDeque::new();
    loop {
        while let Some(bytes) = endpoint.poll_transmit() {
            open.push_front(bytes);
            open.truncate(16);
        }
        while let Some(event) = endpoint.poll_event() {
            match event {
                Event::Response { response, .. } => {
                    ended += 1;
                    whole = true;
                    assert!(response.payload.len() <= 2000, "beyond the limit");
                    let is_part = body.starts_with(&response.payload);
                    assert!(
                        !honest || !response.code.is_success() || is_part,
                        "other bytes than were served"
                    );
                }
                Event::Failed { .. } => ended += 1,
                _ => {}
            }
        }
        let Some(act) = feed.next() else { break };
        let request = open.get(usize::from(act >> 4) % open.len().max(1)).cloned().unwrap_or_default();
        let (id, token) = id_and_token(&request);
        match act % 8 {
            0 => {
                honest = false;
                let answer = datagram(feed.byte(), feed.byte(), id, token, feed.chunk());
                endpoint.handle_datagram(now, &answer);
            }
            1 | 2 => {
                // Block1 (27): 2.31 for any number, size and flag.
                let block = [feed.byte(), feed.byte()];
                let block = block.get(usize::from(block[0] == 0)..).unwrap_or_default();
                endpoint.handle_datagram(now, &datagram(2, 0x5f, id, token, &option(27, block)));
            }
            3 => {
                now += feed.pause();
                endpoint.handle_timeout(now);
            }
            4 => {
                honest = false;
                let szx = Szx::new(feed.byte() % 7).unwrap_or(Szx::B16);
                let (number, payload) = (u32::from(feed.byte()), pattern(usize::from(feed.word() % 1400)));
                if let Some(block) = Block::new(number, act & 0x80 == 0, szx) {
                    endpoint.handle_datagram(now, &content(&request, block, &payload));
                }
            }
            _ => {
                let wanted = wanted(&request).or(Block::new(0, false, Szx::B256));
                if let Some((block, part)) = wanted.and_then(|block| block.cut(&body)) {
                    endpoint.handle_datagram(now, &content(&request, block, part));
                }
            }
        }
    }
    while let Some(at) = endpoint.poll_timeout() {
        now = now.max(at);
        endpoint.handle_timeout(now);
        while endpoint.poll_transmit().is_some() {}
        while let Some(event) = endpoint.poll_event() {
            ended += usize::from(matches!(event, Event::Response { .. } | Event::Failed { .. }));
        }
        timers += 1;
        assert!(timers < MOST_TIMERS, "it never comes to rest");
    }
    assert_eq!(asked.len(), ended, "every request ends once");
    whole
}

/// Uploads in pieces from a peer whose blocks are honest, in any order, repeated, to several resources.
fn uploads(feed: &mut Feed<'_>) -> bool {
    let config = small();
    let mut endpoint = Endpoint::new(config.clone(), SEED);
    let mut now = Duration::ZERO;
    let mut id: u16 = 0;
    let mut whole = false;
    let mut last = Vec::new();
    while let Some(act) = feed.next() {
        match act % 4 {
            0 if act > 0xc0 => now += feed.pause(),
            0 => endpoint.handle_datagram(now, &last),
            _ => {
                let szx = Szx::new(act >> 2 & 7).unwrap_or(Szx::B32);
                let (number, path) = (u32::from(feed.byte()), [b'a' + feed.byte() % 3]);
                let from = number as usize * szx.size();
                // Beyond the end there is nothing to send.
                let end = from.max(usize::from(feed.byte()) * 16);
                let Some(block) = Block::new(number, end > from + szx.size(), szx) else { continue };
                let part = pattern_of(from..end.min(from + szx.size()));
                id = id.wrapping_add(1);
                // Uri-Path 11, Block1 27.
                let options = [option(11, &path), option(16, &block.encode()), vec![0xff], part].concat();
                let kind = path[0] & 1;
                last = datagram(kind, 2, id.to_be_bytes(), &[act], &options);
                endpoint.handle_datagram(now, &last);
            }
        }
        endpoint.handle_timeout(now);
        while let Some(event) = endpoint.poll_event() {
            if let Event::Request(request) = event {
                whole = true;
                assert!(request.payload.len() <= config.max_body.max(config.max_datagram));
                assert_eq!(request.payload, pattern(request.payload.len()), "put together in another order");
                // Nobody waits for it any more: fine.
                let _ = endpoint.respond(now, request.exchange, Response::new(Code::CHANGED));
            }
        }
        while endpoint.poll_transmit().is_some() {}
    }
    whole
}
