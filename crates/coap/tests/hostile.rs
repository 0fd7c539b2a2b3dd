//! Bytes from anywhere: no panic, nothing that grows without bound, no timer that never fires.

#![cfg(test)]

mod support;

use fieldgate_coap::{Code, Config, Delivery, Endpoint, Event, ObserveRequest, Request, Response, Szx};
use proptest::prelude::*;
use support::*;

fn small() -> Config {
    Config {
        max_requests: 8,
        max_exchanges: 4,
        max_observers: 2,
        max_observations: 2,
        max_transfers: 2,
        max_remembered_ids: 16,
        max_remembered_bytes: 256,
        max_events: 16,
        max_outbox: 16,
        max_body: 300,
        token_length: 1,
        ..Config::default()
    }
}

/// A datagram that is likely to reach deep: sensible types, codes, small ids and tokens, blocks and Observe.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(CON), Just(NON), Just(ACK), Just(RST)];
    let code = prop_oneof![Just(0u8), 1u8..8, Just(0x45), Just(0x44), Just(0x5f), Just(0x8d), any::<u8>()];
    let token = prop_oneof![Just(vec![0xefu8]), Just(vec![0xf0]), prop::collection::vec(any::<u8>(), 0..3)];
    let number = prop_oneof![Just(6u16), Just(11), Just(12), Just(17), Just(23), Just(27), 0u16..70];
    let value = prop::collection::vec(prop_oneof![Just(0x08u8), Just(0x16), any::<u8>()], 0..4);
    let payload = prop_oneof![
        Just(vec![]),
        Just(vec![1; 16]),
        Just(vec![2; 1024]),
        prop::collection::vec(any::<u8>(), 0..40)
    ];
    let options = prop::collection::vec((number, value), 0..4);
    let head = (kind, code, 0x1000u16..0x1010, token);
    (head, options, payload).prop_map(|((kind, code, id, token), options, payload)| {
        let options: Vec<(u16, &[u8])> = options.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        datagram(kind, code, id, &token, &options, &payload)
    })
}

#[derive(Clone, Debug)]
enum Act {
    Arrive(Vec<u8>),
    Wait(u64),
    Timer,
    Ask(u8),
    Reset,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => likely().prop_map(Act::Arrive),
        2 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Act::Arrive),
        1 => Just(Act::Arrive(vec![0x40; 2000])),
        2 => (0u64..400).prop_map(Act::Wait),
        2 => Just(Act::Timer),
        4 => (0u8..8).prop_map(Act::Ask),
        1 => Just(Act::Reset),
    ]
}

/// Starts something; refusals are fine.
fn ask(
    endpoint: &mut Endpoint,
    now: std::time::Duration,
    what: u8,
) -> Result<bool, fieldgate_coap::SendError> {
    match what {
        0 => endpoint.request(now, Request::get("a")).map(|_| true),
        1 => endpoint.request(now, Request::post("a").payload(42, vec![0; 3000])).map(|_| true),
        2 => endpoint.request(now, Request::get("a").assemble(Szx::B16, 200)).map(|_| true),
        3 => endpoint.get_block(now, Request::get("a"), 1, Szx::B16).map(|_| true),
        4 => endpoint.ping(now).map(|_| true),
        5 => endpoint.observe(now, Request::get("a")).map(|_| false),
        6 => {
            let held: Vec<_> = endpoint.observations().map(|(id, _)| id).collect();
            held.into_iter().try_for_each(|id| endpoint.reregister(now, id)).map(|()| false)
        }
        _ => {
            let held: Vec<_> = endpoint.observations().map(|(id, _)| id).collect();
            held.into_iter().try_for_each(|id| endpoint.cancel_observation(now, id)).map(|()| false)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_arrives_the_endpoint_stays_bounded_and_every_request_ends_once(
        acts in prop::collection::vec(act(), 0..120), answers in any::<u8>(),
    ) {
        let mut endpoint = endpoint(small());
        let mut now = secs(0);
        let (mut asked, mut ended) = (0, 0);
        let mut observer = None;
        for (turn, act) in (0u8..).zip(acts) {
            match act {
                Act::Arrive(bytes) => endpoint.handle_datagram(now, &bytes),
                Act::Wait(tenths) => {
                    now += ms(tenths * 100);
                    endpoint.handle_timeout(now);
                    prop_assert!(endpoint.poll_timeout().is_none_or(|at| at > now));
                }
                Act::Timer => if let Some(at) = endpoint.poll_timeout() {
                    now = now.max(at);
                    endpoint.handle_timeout(now);
                    prop_assert!(endpoint.poll_timeout().is_none_or(|at| at > now));
                },
                Act::Ask(what) => asked += usize::from(ask(&mut endpoint, now, what) == Ok(true)),
                Act::Reset => { endpoint.reset_session(); }
            }
            while let Some(event) = endpoint.poll_event() {
                match event {
                    Event::Response { .. } | Event::Failed { .. } | Event::Pong { .. } => ended += 1,
                    Event::Request(request) if turn & 3 != answers & 3 => {
                        prop_assert!(request.payload.len() <= 1500);
                        if request.observe == Some(ObserveRequest::Register) {
                            let state = Response::content(42, vec![0; 40]);
                            observer = endpoint.accept_observer(now, request.exchange, state).ok().or(observer);
                        } else {
                            let _ = endpoint.respond(now, request.exchange, Response::content(42, vec![0; 3000]));
                        }
                    }
                    _ => {}
                }
            }
            if let Some(observer) = observer {
                let delivery = [Delivery::Every, Delivery::Latest, Delivery::NonConfirmable][usize::from(turn % 3)];
                let _ = endpoint.notify(now, observer, Response::new(Code::CONTENT), delivery);
            }
            prop_assert!(endpoint.outstanding() <= 8 + 2);
            let mut leaving = 0;
            while let Some(bytes) = endpoint.poll_transmit() {
                leaving += 1;
                prop_assert!(bytes.len() <= 1500);
                Seen::read(&bytes);
            }
            prop_assert!(leaving <= 16);
        }
        // Without another word from outside everything ends by itself.
        let mut rounds = 0;
        while let Some(at) = endpoint.poll_timeout() {
            now = now.max(at);
            endpoint.handle_timeout(now);
            while endpoint.poll_transmit().is_some() {}
            rounds += 1;
            prop_assert!(rounds < 2000);
        }
        while let Some(event) = endpoint.poll_event() {
            ended += usize::from(matches!(event, Event::Response { .. } | Event::Failed { .. } | Event::Pong { .. }));
        }
        prop_assert_eq!(asked, ended);
        prop_assert_eq!(endpoint.outstanding(), 0);
    }
}
