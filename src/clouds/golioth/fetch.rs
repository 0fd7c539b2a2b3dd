//! A download on its way: the blocks that are in flight, and whoever takes them.
//!
//! The protocol is [`coap::Fetch`]'s; here it meets its taker. Invariant: no block is asked for that would find no place with the
//! taker, so a slow disk slows the download and nothing piles up. A taker that is gone ends it; so does the end of the
//! session, after which the taker goes on with what it has.

use std::ops::Range;
use std::time::Duration;

use fieldgate_coap::{self as coap, Endpoint, RequestId, Szx};
use fieldgate_golioth_proto::content_format::ContentFormat;
use tokio::sync::mpsc;

use crate::uplink::link::{Block, Blocks, FetchError, ManifestComponent};

/// Golioth's block size, and the most that CoAP knows.
const BLOCK: Szx = Szx::B1024;
/// Blocks that may wait for the taker, those in flight among them.
const ROOM: usize = 32;
/// Ranges that a taker may have already: blocks come nearly in order, so it needs few.
const MOST_RANGES: usize = 4096;

/// A download that is wanted.
#[derive(Debug)]
pub(super) struct Order {
    fetch: coap::Fetch,
    get: coap::Request,
    to: mpsc::Sender<Result<Block, FetchError>>,
}

impl Order {
    /// Checks what can be checked without the cloud.
    pub(super) fn new(
        artifact: &ManifestComponent,
        have: &[Range<u64>],
    ) -> Result<(Self, Blocks), FetchError> {
        if have.len() > MOST_RANGES {
            let why =
                format!("what is there already is in {} pieces; at most {MOST_RANGES} are taken", have.len());
            return Err(FetchError::Refused { why });
        }
        let fetch = coap::Fetch::new(artifact.size_bytes, BLOCK, have).map_err(told)?;
        let get = coap::Request::get(&artifact.uri).accept(ContentFormat::OctetStream.number());
        let (to, blocks) = Blocks::new(ROOM, fetch.bytes_left());
        Ok((Self { fetch, get, to }, blocks))
    }
}

/// See the module head.
#[derive(Debug)]
pub(super) struct Fetching {
    order: Order,
    /// The data plan has no bytes for it before.
    held_until: Duration,
    /// How it ended, where it did not end for want of a taker.
    pub(super) ended: Option<Result<(), FetchError>>,
}

impl Fetching {
    pub(super) fn new(order: Order) -> Self {
        Self { order, held_until: Duration::ZERO, ended: None }
    }

    /// Whether a block is to be asked for now.
    pub(super) fn wants(&self, now: Duration) -> bool {
        let Order { fetch, to, .. } = &self.order;
        let places = if crate::sabotage::on("one-block-at-a-time") { 1 } else { to.capacity() };
        now >= self.held_until && fetch.in_flight() < places && fetch.wants(now)
    }

    /// When it is to be asked again, where it waits for a time.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let held = Some(self.held_until).filter(|until| *until > now);
        held.max(self.order.fetch.poll_timeout(now))
    }

    /// Asks for a block; see [`coap::Fetch::ask`].
    pub(super) fn ask(&mut self, now: Duration, endpoint: &mut Endpoint) -> Option<RequestId> {
        let Order { fetch, get, .. } = &mut self.order;
        fetch.ask(now, endpoint, get)
    }

    /// Asks for nothing before.
    pub(super) fn hold(&mut self, until: Duration) {
        self.held_until = until;
    }

    /// Whether a request is for one of its blocks.
    pub(super) fn owns(&self, id: RequestId) -> bool {
        self.order.fetch.owns(id)
    }

    /// Whether an answer with a block may come.
    pub(super) fn is_under_way(&self) -> bool {
        self.order.fetch.in_flight() > 0
    }

    pub(super) fn answered(
        &mut self,
        now: Duration,
        id: RequestId,
        response: coap::Response,
        retransmissions: u32,
    ) {
        if retransmissions > 0 && crate::sabotage::on("refetch-on-loss") {
            return self.failed(now, id, coap::Failure::Timeout);
        }
        self.order.fetch.answered(now, id, response, retransmissions);
    }

    pub(super) fn failed(&mut self, now: Duration, id: RequestId, why: coap::Failure) {
        self.order.fetch.failed(now, id, why);
    }

    /// Hands over what has come, as far as there is room. Whether it is over: then what is in flight has been given up.
    pub(super) fn settle(&mut self, now: Duration, endpoint: &mut Endpoint) -> bool {
        let Order { fetch, to, .. } = &mut self.order;
        let mut over = to.is_closed();
        while !over && let Ok(place) = to.try_reserve() {
            match (fetch.poll_piece(), fetch.outcome()) {
                (Some(piece), _) => place.send(Ok(Block { offset: piece.offset, bytes: piece.bytes })),
                (None, Some(Ok(()))) => {
                    self.ended = Some(Ok(()));
                    over = true;
                }
                (None, Some(Err(error))) => {
                    let error = told(error);
                    self.ended = Some(Err(error.clone()));
                    place.send(Err(error));
                    over = true;
                }
                (None, None) => break,
            }
        }
        if over {
            fetch.abandon(now, endpoint);
        }
        over
    }

    /// Waits until the taker is gone, or has made room where there was none.
    pub(super) async fn taker_moved(&self) {
        let to = &self.order.to;
        let full = to.capacity() == 0;
        tokio::select! {
            biased;
            () = to.closed() => {}
            _place = to.reserve(), if full => {}
        }
    }
}

fn told(error: coap::FetchError) -> FetchError {
    use coap::FetchError as E;
    let why = error.to_string();
    match error {
        E::Changed => FetchError::Changed,
        E::Busy(_) | E::Silent | E::SessionLost => FetchError::Interrupted { why },
        E::TooLarge { .. }
        | E::Unsendable(_)
        | E::Refused(_)
        | E::SizeDiffers { .. }
        | E::Nonsense { .. }
        | E::Rejected => FetchError::Refused { why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn artifact(size_bytes: u64) -> ManifestComponent {
        ManifestComponent {
            package: "main".into(),
            version: "1.2.3".into(),
            sha256: [0; 32],
            size_bytes,
            uri: "/.u/c/main@1.2.3".into(),
        }
    }

    fn endpoint() -> Endpoint {
        let config = coap::Config {
            max_in_flight: 64,
            initial_window: 64,
            max_requests: 100,
            ..coap::Config::default()
        };
        Endpoint::new(config, coap::Seed::default())
    }

    fn ask_all(fetching: &mut Fetching, endpoint: &mut Endpoint) -> Vec<RequestId> {
        let mut asked = Vec::new();
        while fetching.wants(NOW) {
            asked.push(fetching.ask(NOW, endpoint).unwrap());
        }
        asked
    }

    fn block(num: u32) -> coap::Response {
        let block2 = coap::Block::new(num, true, BLOCK);
        coap::Response { block2, ..coap::Response::content(42, vec![num as u8; 1024]) }
    }

    #[tokio::test]
    async fn no_more_is_asked_for_than_the_taker_has_room_for_and_none_is_lost() {
        let (order, mut blocks) = Order::new(&artifact(1024 * 200), &[]).unwrap();
        let (mut fetching, mut endpoint) = (Fetching::new(order), endpoint());
        let first = ask_all(&mut fetching, &mut endpoint);
        assert_eq!(first.len(), ROOM);
        for (num, id) in first.into_iter().enumerate() {
            fetching.answered(NOW, id, block(num as u32), 0);
            assert!(!fetching.settle(NOW, &mut endpoint));
        }
        assert!(!fetching.wants(NOW), "the taker has not taken any");
        for num in 0..5 {
            let (_, block) = tokio::join!(
                async {
                    if num == 0 {
                        fetching.taker_moved().await
                    }
                },
                blocks.next()
            );
            let block = block.unwrap().unwrap();
            assert_eq!((block.offset, block.bytes.len()), (num * 1024, 1024));
        }
        assert_eq!(ask_all(&mut fetching, &mut endpoint).len(), 5);
    }

    #[tokio::test]
    async fn a_taker_that_goes_ends_the_download_and_what_is_in_flight() {
        let (order, blocks) = Order::new(&artifact(1024 * 200), &[]).unwrap();
        let (mut fetching, mut endpoint) = (Fetching::new(order), endpoint());
        ask_all(&mut fetching, &mut endpoint);
        drop(blocks);
        fetching.taker_moved().await;
        assert!(fetching.settle(NOW, &mut endpoint));
        assert_eq!(endpoint.outstanding(), 0);
    }

    #[tokio::test]
    async fn the_end_of_the_session_is_told_and_what_came_before_it_arrives() {
        let (order, mut blocks) = Order::new(&artifact(3000), &[]).unwrap();
        let (mut fetching, mut endpoint) = (Fetching::new(order), endpoint());
        let asked = ask_all(&mut fetching, &mut endpoint);
        fetching.answered(NOW, asked[0], block(0), 0);
        fetching.settle(NOW, &mut endpoint);
        drop(fetching);
        assert!(blocks.next().await.unwrap().is_some());
        assert!(matches!(blocks.next().await, Err(FetchError::Interrupted { .. })));
    }

    #[tokio::test]
    async fn what_was_there_already_is_not_waited_for() {
        let (order, mut blocks) = Order::new(&artifact(3000), &[0..1000, 1000..3000]).unwrap();
        assert!(Fetching::new(order).settle(NOW, &mut endpoint()));
        assert_eq!(blocks.next().await, Ok(None));
        assert!(matches!(Order::new(&artifact(1 << 40), &[]), Err(FetchError::Refused { .. })));
        assert!(Order::new(&artifact(3000), &vec![0..1; MOST_RANGES + 1]).is_err());
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_a_refusal_and_a_busy_cloud_is_not() {
        for (code, refused) in [(coap::Code::NOT_FOUND, true), (coap::Code::SERVICE_UNAVAILABLE, false)] {
            let (order, mut blocks) = Order::new(&artifact(1000), &[]).unwrap();
            let (mut fetching, mut endpoint) = (Fetching::new(order), endpoint());
            let mut now = NOW;
            while !fetching.settle(now, &mut endpoint) {
                now = fetching.due(now).unwrap_or(now);
                let id = fetching.ask(now, &mut endpoint).unwrap();
                fetching.answered(now, id, coap::Response::new(code), 0);
            }
            let error = blocks.next().await.unwrap_err();
            assert_eq!(matches!(error, FetchError::Refused { .. }), refused, "{error}");
        }
    }
}
