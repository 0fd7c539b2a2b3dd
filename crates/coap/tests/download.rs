//! Downloads with several blocks in flight, in virtual time: over networks that lose, double, delay and reorder, from servers
//! that are small, busy, wrong or lie.
//!
//! Whatever they do: each byte is handed out at most once and is right, and the download ends. From a server that serves at
//! all, over a network that carries at all, it ends with every byte.

#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use fieldgate_coap::{
    Block, Code, Config, Endpoint, Event, ExchangeId, Fetch, FetchError, IncomingRequest, Request, Response,
    Seed, Szx, number,
};
use proptest::prelude::*;
use support::*;

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    /// As it should.
    Well,
    /// In blocks of at most this size.
    Smaller(Szx),
    /// Says of every block that more follows, or of none.
    More(bool),
    /// Without a Block2 option.
    Whole,
    /// Forgets a request when another comes before it has answered.
    OnlyTheLast,
    /// Answers this when another request is being served.
    OneOnly(Code),
    /// 4.29 with this Max-Age above so many requests a second.
    Limited(usize, Option<u32>),
    /// Another file from this request on.
    Changes(u32),
    /// Says the file is one byte longer.
    Longer,
    /// Always this.
    Refuses(Code),
    /// Lengths, numbers and sizes of blocks are often wrong.
    Lies,
    /// Never answers.
    Mute,
}

struct Bench {
    now: Duration,
    dice: Dice,
    weather: Weather,
    image: Vec<u8>,
    serves: Serves,
    client: Endpoint,
    server: Endpoint,
    air: BTreeMap<(Duration, u64), (bool, Vec<u8>)>,
    flown: u64,
    thinking: Vec<(Duration, ExchangeId, Response)>,
    served: Vec<Duration>,
    most_at_once: usize,
    fetch: Fetch,
    got: Vec<Option<u8>>,
    /// Payload bytes in answers to the client.
    payload: usize,
    two_hundred_and_fives: u32,
}

fn image(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at / 3) ^ (at >> 8)) as u8).collect()
}

const FAIR: Weather = Weather { loss_percent: 0, double_percent: 0, max_delay: Duration::from_millis(50) };

impl Bench {
    fn new(seed: u64, weather: Weather, size: usize, szx: Szx, have: &[Range<u64>], serves: Serves) -> Bench {
        let side = |random| {
            let config = Config {
                max_in_flight: 16,
                max_exchanges: 100,
                max_remembered_bytes: 1 << 20,
                ..Config::default()
            };
            Endpoint::new(config, Seed { message_id: 7, token: 9, random })
        };
        let mut got = vec![None; size];
        for part in have {
            got.iter_mut().take(part.end as usize).skip(part.start as usize).for_each(|byte| *byte = Some(0));
        }
        Bench {
            now: secs(1),
            dice: Dice(seed | 1),
            weather,
            image: image(size),
            serves,
            client: side(seed),
            server: side(!seed),
            air: BTreeMap::new(),
            flown: 0,
            thinking: Vec::new(),
            served: Vec::new(),
            most_at_once: 0,
            fetch: Fetch::new(size as u64, szx, have).unwrap(),
            got,
            payload: 0,
            two_hundred_and_fives: 0,
        }
    }

    /// Runs until the download has ended; panics if it never does.
    fn run(&mut self) -> Result<(), FetchError> {
        for _ in 0..2_000_000 {
            if let Some(outcome) = self.turn() {
                assert_eq!(self.fetch.outcome(), Some(outcome));
                self.fetch.abandon(self.now, &mut self.client);
                assert_eq!(self.client.outstanding(), 0);
                return outcome;
            }
        }
        panic!("it never ends: {:?}", self.fetch);
    }

    /// Whole and right: what was not had before was handed out.
    fn is_complete(&self, have: &[Range<u64>]) -> bool {
        let had = |at: usize| have.iter().any(|part| part.contains(&(at as u64)));
        self.got.iter().enumerate().all(|(at, byte)| had(at) || *byte == Some(self.image[at]))
    }

    fn turn(&mut self) -> Option<Result<(), FetchError>> {
        let get = Request::get(".u/c/main@1.2.3").accept(42);
        while self.client.outstanding() < self.client.window() as usize
            && self.fetch.ask(self.now, &mut self.client, &get).is_some()
        {}
        self.most_at_once = self.most_at_once.max(self.fetch.in_flight());
        self.fly();
        while let Some(event) = self.server.poll_event() {
            let Event::Request(request) = event else { continue };
            self.serve(&request);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Response { id, response, retransmissions, .. } => {
                    assert!(self.fetch.owns(id));
                    self.payload += response.payload.len();
                    self.fetch.answered(self.now, id, response, retransmissions);
                }
                Event::Failed { id, why, .. } => self.fetch.failed(self.now, id, why),
                other => panic!("{other:?}"),
            }
            while let Some(piece) = self.fetch.poll_piece() {
                assert!(!piece.bytes.is_empty());
                for (at, byte) in piece.bytes.iter().enumerate() {
                    let at = piece.offset as usize + at;
                    assert_eq!(self.got[at].replace(*byte), None, "byte {at} twice");
                }
            }
        }
        self.fly();
        if let Some(outcome) = self.fetch.outcome() {
            return Some(outcome);
        }
        if self.fetch.wants(self.now) && self.client.outstanding() < self.client.window() as usize {
            return None;
        }
        let at = self
            .air
            .keys()
            .map(|(at, _)| *at)
            .chain(self.thinking.iter().map(|(at, ..)| *at))
            .chain(self.client.poll_timeout())
            .chain(self.server.poll_timeout())
            .chain(self.fetch.poll_timeout(self.now))
            .min()
            .unwrap_or_else(|| panic!("nothing will ever happen: {:?}", self.fetch));
        self.now = self.now.max(at);
        while let Some(entry) = self.air.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to_server, bytes) = entry.remove();
            let side = if to_server { &mut self.server } else { &mut self.client };
            side.handle_datagram(self.now, &bytes);
        }
        let ready: Vec<_> = self.thinking.extract_if(.., |(at, ..)| *at <= self.now).collect();
        for (_, exchange, response) in ready {
            let _ = self.server.respond(self.now, exchange, response);
        }
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        None
    }

    fn fly(&mut self) {
        for to_server in [true, false] {
            let side = if to_server { &mut self.client } else { &mut self.server };
            while let Some(bytes) = side.poll_transmit() {
                let copies = if self.dice.roll(100) < self.weather.loss_percent {
                    0
                } else {
                    1 + u64::from(self.dice.roll(100) < self.weather.double_percent)
                };
                for _ in 0..copies {
                    let delay = ms(20 + self.dice.roll(self.weather.max_delay.as_millis() as u64));
                    self.flown += 1;
                    self.air.insert((self.now + delay, self.flown), (to_server, bytes.clone()));
                }
            }
        }
    }

    fn serve(&mut self, request: &IncomingRequest) {
        let block = request.block2.unwrap();
        let right = Response::content_block(42, &self.image, block);
        let mut think = ms(0);
        let response = match self.serves {
            Serves::Well => right,
            Serves::Smaller(szx) => {
                let block = Block::at_offset(block.offset(), false, block.szx().min(szx)).unwrap();
                Response::content_block(42, &self.image, block)
            }
            Serves::More(more) => {
                let said = right.block2.unwrap();
                Response { block2: Block::new(said.num(), more, said.szx()), ..right }
            }
            Serves::Whole => Response { block2: None, size2: None, payload: self.image.clone(), ..right },
            Serves::OnlyTheLast => {
                think = ms(100);
                self.thinking.clear();
                right
            }
            Serves::OneOnly(code) if !self.thinking.is_empty() => Response::new(code),
            Serves::OneOnly(_) => {
                think = ms(100);
                right
            }
            Serves::Limited(most, max_age) => {
                self.served.retain(|at| *at + secs(1) > self.now);
                if self.served.len() < most {
                    self.served.push(self.now);
                    right
                } else {
                    Response { max_age, ..Response::new(Code::TOO_MANY_REQUESTS) }
                }
            }
            Serves::Changes(after) => {
                self.two_hundred_and_fives += 1;
                right.etag([u8::from(self.two_hundred_and_fives > after)])
            }
            Serves::Longer => Response { size2: Some(self.image.len() as u32 + 1), ..right },
            Serves::Refuses(code) => Response::new(code),
            Serves::Lies => self.lie(right),
            Serves::Mute => return,
        };
        self.thinking.push((self.now + think, request.exchange, response));
    }

    /// The bytes stay right wherever a client could believe them.
    fn lie(&mut self, mut right: Response) -> Response {
        let Some(said) = right.block2 else { return right };
        match self.dice.roll(8) {
            0 => right.payload.truncate(self.dice.roll(1024) as usize),
            1 => right.payload.push(0),
            2 => right.block2 = Block::new(self.dice.roll(100) as u32, said.more(), said.szx()),
            3 => {
                right.block2 = Block::new(said.num(), said.more(), Szx::new(self.dice.roll(7) as u8).unwrap())
            }
            4 => right.block2 = None,
            5 => right.payload.clear(),
            _ => {}
        }
        // An empty or short body of the right length would be right.
        right
    }
}

fn ends(serves: Serves) -> (Result<(), FetchError>, Bench) {
    let mut bench = Bench::new(5, FAIR, 50_000, Szx::B1024, &[], serves);
    let outcome = bench.run();
    (outcome, bench)
}

#[test]
fn several_blocks_are_in_flight_and_every_byte_arrives_once() {
    let (outcome, bench) = ends(Serves::Well);
    assert_eq!((outcome, bench.is_complete(&[]), bench.payload), (Ok(()), true, 50_000));
    assert!(bench.most_at_once > 4, "{}", bench.most_at_once);
    assert_eq!(bench.fetch.bytes_left(), 0);
}

#[test]
fn the_first_request_names_the_block_it_wants_and_each_has_its_own_token() {
    let mut client = endpoint(Config::default());
    let mut fetch = Fetch::new(5000, Szx::B1024, &[]).unwrap();
    let get = Request::get(".u/c/main@1.2.3").accept(42);
    while fetch.ask(secs(0), &mut client, &get).is_some() {}
    let out = sent(&mut client);
    assert_eq!(out.len(), 4, "the endpoint's window holds the fifth back");
    assert_eq!(out[0].option(number::BLOCK2), Some(vec![0x06]));
    assert_eq!(out[3].option(number::BLOCK2), Some(vec![0x36]));
    assert!(out.iter().all(|message| message.kind == CON && message.code == 1));
    let tokens: std::collections::BTreeSet<_> = out.iter().map(|message| &message.token).collect();
    assert_eq!(tokens.len(), out.len());
}

#[test]
fn a_download_goes_on_wherever_it_stopped() {
    let have = [0..10_240, 20_480..20_481, 30_000..50_000];
    let mut bench = Bench::new(5, FAIR, 50_000, Szx::B1024, &have, Serves::Well);
    // What the caller has is not handed out again, the rest is; a block that is had in part comes whole.
    assert_eq!(bench.run(), Ok(()));
    assert!(bench.is_complete(&have));
    assert!(bench.payload < 20 * 1024 + 1024, "{}", bench.payload);
    let nothing = Fetch::new(50_000, Szx::B1024, &[0..20_000, 20_000..50_000]).unwrap();
    assert_eq!((nothing.outcome(), nothing.wants(secs(9))), (Some(Ok(())), false));
    assert_eq!(Fetch::new(0, Szx::B1024, &[]).unwrap().outcome(), Some(Ok(())));
}

#[test]
fn sizes_and_offsets_are_64_bits_and_what_no_block_number_can_name_is_refused() {
    let most = (1u64 << 20) * 1024;
    assert!(Fetch::new(most, Szx::B1024, &[]).is_ok());
    assert_eq!(
        Fetch::new(most + 1, Szx::B1024, &[]).unwrap_err(),
        FetchError::TooLarge { size: most + 1, block: 1024 }
    );
    assert!(Fetch::new(u64::MAX, Szx::B16, &[]).is_err());
    // The last block of the largest body.
    let mut client = endpoint(Config::default());
    let mut fetch = Fetch::new(most, Szx::B1024, &[0..most - 1, 0..0]).unwrap();
    fetch.ask(secs(0), &mut client, &Request::get("x")).unwrap();
    let out = sent_one(&mut client);
    let option = out.option(number::BLOCK2).unwrap();
    assert_eq!(Block::decode(&option).unwrap().num(), Block::MAX_NUM);
    client.handle_datagram(secs(1), &datagram(ACK, 0x45, out.id, &out.token, &[(23, &option)], &[9; 1024]));
    let Event::Response { id, response, .. } = event(&mut client) else { panic!() };
    fetch.answered(secs(1), id, response, 0);
    let piece = fetch.poll_piece().unwrap();
    assert_eq!((piece.offset, piece.bytes, fetch.outcome()), (most - 1, vec![9], Some(Ok(()))));
}

#[test]
fn smaller_blocks_than_asked_for_are_taken_and_asked_for_from_then_on() {
    for szx in [Szx::B16, Szx::B64, Szx::B512] {
        let (outcome, bench) = ends(Serves::Smaller(szx));
        assert_eq!((outcome, bench.is_complete(&[])), (Ok(()), true));
        assert_eq!(bench.fetch.block_size(), szx);
    }
}

#[test]
fn a_server_that_makes_blocks_too_small_for_the_body_is_told_by_name() {
    let size = 17 << 20;
    let mut fetch = Fetch::new(size, Szx::B1024, &[]).unwrap();
    let mut client = endpoint(Config::default());
    let id = fetch.ask(secs(0), &mut client, &Request::get("x")).unwrap();
    let block2 = Block::new(0, true, Szx::B16);
    fetch.answered(secs(1), id, Response { block2, ..Response::content(42, [0; 16]) }, 0);
    assert_eq!(fetch.outcome(), Some(Err(FetchError::TooLarge { size, block: 16 })));
}

#[test]
fn a_wrong_more_flag_corrupts_nothing() {
    for more in [true, false] {
        let (outcome, bench) = ends(Serves::More(more));
        assert_eq!((outcome, bench.is_complete(&[])), (Ok(()), true), "{more}");
    }
}

#[test]
fn a_small_body_may_come_whole_without_a_block_option() {
    let have = [100..200, 300..301];
    let mut bench = Bench::new(5, FAIR, 700, Szx::B256, &have, Serves::Whole);
    assert_eq!(bench.run(), Ok(()));
    assert!(bench.is_complete(&have));
}

#[test]
fn a_server_that_cannot_serve_in_parallel_gets_one_at_a_time() {
    for serves in [
        Serves::OneOnly(Code::SERVICE_UNAVAILABLE),
        Serves::OneOnly(Code::REQUEST_ENTITY_INCOMPLETE),
        Serves::OnlyTheLast,
    ] {
        let (outcome, bench) = ends(serves);
        assert_eq!((outcome, bench.is_complete(&[])), (Ok(()), true), "{serves:?}");
        assert!(bench.fetch.is_one_at_a_time(), "{serves:?}");
        assert!(bench.most_at_once > 1, "it was tried");
    }
}

#[test]
fn resets_in_parallel_mean_one_at_a_time_and_then_the_end() {
    let mut client = endpoint(Config::default());
    let mut fetch = Fetch::new(5000, Szx::B1024, &[]).unwrap();
    let get = Request::get("x");
    let mut now = secs(0);
    let mut rounds = 0;
    while fetch.outcome().is_none() {
        while fetch.ask(now, &mut client, &get).is_some() {}
        let out = sent(&mut client);
        assert!(!out.is_empty() && (rounds == 0 || out.len() == 1));
        for message in out {
            client.handle_datagram(now, &empty(RST, message.id));
        }
        for event in events(&mut client) {
            let Event::Failed { id, why, .. } = event else { panic!("{event:?}") };
            fetch.failed(now, id, why);
        }
        now = fetch.poll_timeout(now).unwrap_or(now);
        rounds += 1;
    }
    assert_eq!(fetch.outcome(), Some(Err(FetchError::Rejected)));
    assert!(rounds < 20, "{rounds}");
}

#[test]
fn a_limit_is_waited_out_for_as_long_as_the_server_says() {
    for max_age in [None, Some(3)] {
        let (outcome, bench) = ends(Serves::Limited(3, max_age));
        assert_eq!((outcome, bench.is_complete(&[])), (Ok(()), true));
    }
    let mut fetch = Fetch::new(5000, Szx::B1024, &[]).unwrap();
    let mut client = endpoint(Config::default());
    let first = fetch.ask(secs(0), &mut client, &Request::get("x")).unwrap();
    fetch.answered(secs(1), first, Response::new(Code::TOO_MANY_REQUESTS).max_age(7), 0);
    assert_eq!((fetch.wants(secs(1)), fetch.poll_timeout(secs(1))), (false, Some(secs(8))));
    assert!(fetch.ask(secs(8), &mut client, &Request::get("x")).is_some());
    assert!(!fetch.wants(secs(8)), "one, to see how it goes");
}

#[test]
fn what_cannot_succeed_ends_by_name_and_soon() {
    let nonsense = |outcome| matches!(outcome, Err(FetchError::Nonsense { .. }));
    assert_eq!(ends(Serves::Changes(10)).0, Err(FetchError::Changed));
    assert_eq!(ends(Serves::Longer).0, Err(FetchError::SizeDiffers { announced: 50_000, served: 50_001 }));
    assert_eq!(ends(Serves::Refuses(Code::NOT_FOUND)).0, Err(FetchError::Refused(Code::NOT_FOUND)));
    assert_eq!(ends(Serves::Mute).0, Err(FetchError::Silent));
    for code in [Code::TOO_MANY_REQUESTS, Code::SERVICE_UNAVAILABLE, Code::INTERNAL_SERVER_ERROR] {
        assert_eq!(ends(Serves::Refuses(code)).0, Err(FetchError::Busy(code)));
    }
    // A datagram holds it, but it is none of the body's blocks.
    let mut bench = Bench::new(5, FAIR, 700, Szx::B1024, &[], Serves::Whole);
    bench.image.push(0);
    assert!(nonsense(bench.run()));
    assert!(bench.got.iter().all(Option::is_none));
}

#[test]
fn a_new_session_ends_it_and_another_download_goes_on() {
    let mut fetch = Fetch::new(5000, Szx::B1024, &[]).unwrap();
    let mut client = endpoint(Config::default());
    fetch.ask(secs(0), &mut client, &Request::get("x")).unwrap();
    client.reset_session();
    let Event::Failed { id, why, .. } = event(&mut client) else { panic!() };
    fetch.failed(secs(1), id, why);
    assert_eq!((fetch.outcome(), fetch.bytes_left()), (Some(Err(FetchError::SessionLost)), 5000));
}

#[test]
fn under_heavy_loss_hardly_any_block_comes_twice() {
    let weather = Weather { loss_percent: 40, double_percent: 0, max_delay: ms(300) };
    let mut bench = Bench::new(11, weather, 200_000, Szx::B1024, &[], Serves::Well);
    assert_eq!(bench.run(), Ok(()));
    assert!(bench.payload as f64 <= 200_000.0 * 1.05, "{}", bench.payload);
    assert!(!bench.fetch.is_one_at_a_time(), "loss is not taken for a server that cannot do more");
}

fn sizes() -> impl Strategy<Value = (usize, Szx)> {
    (0u8..=6).prop_flat_map(|szx| {
        let szx = Szx::new(szx).unwrap();
        (0..szx.size() * 60, Just(szx))
    })
}

fn haves() -> impl Strategy<Value = Vec<Range<u64>>> {
    proptest::collection::vec((0u64..50_000, 0u64..5_000).prop_map(|(start, len)| start..start + len), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_artifact_arrives_over_any_network_that_carries(
        seed: u64, loss_percent in 0u64..45, double_percent in 0u64..50, delay in 1u64..3000, (size, szx) in sizes(),
        have in haves(), server in 0usize..6,
    ) {
        let serves = [
            Serves::Well, Serves::Smaller(Szx::B128), Serves::More(true), Serves::More(false),
            Serves::OneOnly(Code::SERVICE_UNAVAILABLE), Serves::Limited(5, Some(1)),
        ][server];
        let weather = Weather { loss_percent, double_percent, max_delay: ms(delay) };
        let have: Vec<_> = have.into_iter().map(|part| part.start.min(size as u64)..part.end.min(size as u64)).collect();
        let mut bench = Bench::new(seed, weather, size, szx, &have, serves);
        // What is had is not compared, and not handed out: the bench sees a byte that comes twice.
        prop_assert_eq!(bench.run(), Ok(()));
        prop_assert!(bench.is_complete(&have));
    }

    #[test]
    fn a_server_that_lies_ends_the_download_and_corrupts_nothing(
        seed: u64, loss_percent in 0u64..30, (size, szx) in sizes(), server in 0usize..4,
    ) {
        let serves = [Serves::Lies, Serves::Changes(5), Serves::OnlyTheLast, Serves::Limited(0, None)][server];
        let weather = Weather { loss_percent, double_percent: 20, max_delay: ms(500) };
        let mut bench = Bench::new(seed, weather, size, szx, &[], serves);
        let outcome = bench.run();
        prop_assert!(bench.got.iter().zip(&bench.image).all(|(got, right)| got.is_none_or(|got| got == *right)));
        prop_assert!(outcome.is_err() || bench.is_complete(&[]));
    }
}
