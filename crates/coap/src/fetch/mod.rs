//! A download in blocks, several of them in flight (RFC 7959 §2.4), over an [`Endpoint`].
//!
//! Owns what of the body is missing, what was asked for, and how many blocks the server bears at once. The endpoint owns
//! messages: each block is a confirmable GET of its own, with its own token, message id and retransmission timer, under the
//! congestion window of the peer (RFC 7252 §4.7). The owner of both decides when the next request may leave, so that a limit
//! of requests a second and other traffic are its business.
//!
//! Invariants: each byte is handed out at most once, with its offset, in no order; nothing is kept of it. A byte is at any
//! moment either handed out (or had before), asked for, or missing. Every answer either hands out bytes, shrinks the
//! block size, or is a setback; after [`MOST_SETBACKS`] setbacks without a byte in between the download ends, so it ends
//! whatever the server does.
//!
//! Whether the M flag of a block is right does not matter: the size is known beforehand, and there are servers that set it on the
//! last block too.

mod error;
mod ranges;

use core::ops::Range;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

pub use error::FetchError;
use ranges::Ranges;

use crate::block::{Block, Szx};
use crate::code::Code;
use crate::endpoint::Endpoint;
use crate::event::{Failure, RequestId, SendError};
use crate::request::{Request, Response};

/// Setbacks in a row that end a download. Requests that were in flight together are one.
pub const MOST_SETBACKS: u32 = 15;
/// Blocks in flight at most, whatever the endpoint's window.
const MOST_IN_FLIGHT: u32 = 32;
/// Requests that later ones overtook and that were never answered: so many say that the server drops what comes in parallel,
/// unless repetitions are answered, which says that the way loses it.
const OVERTAKEN: u32 = 3;
/// A pause after a setback doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// The pause after 4.29 without Max-Age, and the longest that a server may ask for.
const LIMITED: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// One download. See the module head.
#[derive(Debug)]
pub struct Fetch {
    size: u64,
    szx: Szx,
    /// Neither handed out nor asked for.
    missing: Ranges,
    asked: BTreeMap<RequestId, Asked>,
    ready: VecDeque<Piece>,
    etag: Option<Vec<u8>>,
    /// Blocks in flight that the server bears.
    limit: u32,
    /// It bears one, and that does not change.
    one_at_a_time: bool,
    /// No request before.
    paused_until: Duration,
    setbacks: u32,
    /// A request asked for in turn before this belongs to a setback that was counted.
    counted_below: u64,
    next_turn: u64,
    newest_answered: u64,
    /// Blocks that came after a repetition.
    repeated: u32,
    overtaken: u32,
    ended: Option<Result<(), FetchError>>,
}

/// Bytes of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where they begin, bytes from the start of the body.
    pub offset: u64,
    /// The bytes, at least one.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Asked {
    /// What of the block is wanted.
    wanted: Range<u64>,
    szx: Szx,
    turn: u64,
    /// Others were in flight beside it.
    in_company: bool,
}

impl Fetch {
    /// A download of a body of `size` bytes in blocks of `szx`, but for the ranges (bytes) that the caller has already.
    ///
    /// # Errors
    /// [`FetchError::TooLarge`].
    pub fn new(size: u64, szx: Szx, have: &[Range<u64>]) -> Result<Fetch, FetchError> {
        fits(size, szx)?;
        let missing = Ranges::without(size, have);
        let ended = missing.is_empty().then_some(Ok(()));
        Ok(Fetch {
            size,
            szx,
            missing,
            asked: BTreeMap::new(),
            ready: VecDeque::new(),
            etag: None,
            limit: MOST_IN_FLIGHT,
            one_at_a_time: false,
            paused_until: Duration::ZERO,
            setbacks: 0,
            counted_below: 0,
            next_turn: 1,
            newest_answered: 0,
            repeated: 0,
            overtaken: 0,
            ended,
        })
    }

    /// Whether a block is to be asked for now, as far as the download is concerned.
    #[must_use]
    pub fn wants(&self, now: Duration) -> bool {
        self.has_room() && self.paused_until <= now
    }

    /// When it is to be asked again, if it waits for a time.
    #[must_use]
    pub fn poll_timeout(&self, now: Duration) -> Option<Duration> {
        (self.has_room() && self.paused_until > now).then_some(self.paused_until)
    }

    /// Asks for the next block: `get` with a Block2 option. One call, one datagram, unless the endpoint's window is full: then
    /// it waits in the endpoint, where what is urgent cannot pass it; so ask only while there is room in the window. `None`
    /// when nothing is to be asked for, or the endpoint takes no more requests.
    pub fn ask(&mut self, now: Duration, endpoint: &mut Endpoint, get: &Request) -> Option<RequestId> {
        if !self.wants(now) {
            return None;
        }
        let missing = self.missing.first()?;
        let size = self.szx.size() as u64;
        let num = missing.start / size;
        // Fits: the whole body does.
        let block = u32::try_from(num).ok()?;
        let wanted = missing.start..missing.end.min((num + 1) * size);
        let id = match endpoint.get_block(now, get.clone(), block, self.szx) {
            Ok(id) => id,
            Err(SendError::Full { .. } | SendError::MessageIdsExhausted) => return None,
            Err(error) => {
                self.end(Err(FetchError::Unsendable(error)));
                return None;
            }
        };
        self.missing.remove(wanted.clone());
        let in_company = !self.asked.is_empty();
        self.asked.values_mut().for_each(|other| other.in_company = true);
        let turn = self.next_turn;
        self.next_turn += 1;
        self.asked.insert(id, Asked { wanted, szx: self.szx, turn, in_company });
        Some(id)
    }

    /// Whether a request is one of this download that has no outcome yet.
    #[must_use]
    pub fn owns(&self, id: RequestId) -> bool {
        self.asked.contains_key(&id)
    }

    /// Takes the answer to a request, and how often that was repeated; ignores one to a request that it does not own.
    pub fn answered(&mut self, now: Duration, id: RequestId, response: Response, retransmissions: u32) {
        let Some(asked) = self.asked.remove(&id) else { return };
        self.repeated = self.repeated.saturating_add(u32::from(retransmissions > 0));
        self.newest_answered = self.newest_answered.max(asked.turn);
        if response.code.is_success() {
            return self.content(now, asked, response);
        }
        let asked_to_wait =
            response.max_age.map(|age| Duration::from_secs(u64::from(age)).min(LONGEST_PAUSE));
        match response.code {
            Code::TOO_MANY_REQUESTS => {
                self.limit = 1;
                self.pause(now, asked_to_wait.unwrap_or(LIMITED).max(LIMITED));
                self.setback(asked, FetchError::Busy(response.code));
            }
            // A server with room for one transfer may say this to the second.
            Code::SERVICE_UNAVAILABLE | Code::REQUEST_ENTITY_INCOMPLETE
                if asked.in_company && !self.one_at_a_time =>
            {
                self.pause(now, asked_to_wait.unwrap_or_default());
                self.go_on_one_by_one(asked);
            }
            code if code.class() == 5 || code == Code::REQUEST_ENTITY_INCOMPLETE => {
                self.pause(now, asked_to_wait.unwrap_or_default().max(self.backoff()));
                self.setback(asked, FetchError::Busy(code));
            }
            code => self.end(Err(FetchError::Refused(code))),
        }
    }

    /// Takes word of a request that has no answer; ignores one that it does not own.
    pub fn failed(&mut self, now: Duration, id: RequestId, why: Failure) {
        let Some(asked) = self.asked.remove(&id) else { return };
        match why {
            Failure::SessionLost => {
                self.missing.add(asked.wanted);
                self.end(Err(FetchError::SessionLost));
            }
            Failure::Cancelled => self.missing.add(asked.wanted),
            Failure::Reset if asked.in_company && !self.one_at_a_time => self.go_on_one_by_one(asked),
            Failure::Reset => {
                self.pause(now, self.backoff());
                self.setback(asked, FetchError::Rejected);
            }
            Failure::Timeout | Failure::DeadlineExceeded => {
                // While the way is dead nothing is overtaken.
                if asked.turn < self.newest_answered {
                    self.overtaken += 1;
                }
                if self.overtaken >= OVERTAKEN && self.overtaken > self.repeated / 2 && !self.one_at_a_time {
                    self.go_on_one_by_one(asked);
                } else {
                    self.setback(asked, FetchError::Silent);
                }
            }
            Failure::BadResponse | Failure::BodyTooLarge | Failure::BodyChanged => self.nonsense(now, asked),
        }
    }

    /// The next bytes of the body.
    pub fn poll_piece(&mut self) -> Option<Piece> {
        self.ready.pop_front()
    }

    /// How it ended, once it did and [`poll_piece`](Self::poll_piece) has nothing left. Requests may be in flight still; see
    /// [`abandon`](Self::abandon).
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), FetchError>> {
        self.ended.filter(|_| self.ready.is_empty())
    }

    /// Gives up the requests in flight. Their `Failed` events mean nothing to it any more.
    pub fn abandon(&mut self, now: Duration, endpoint: &mut Endpoint) {
        for (id, asked) in core::mem::take(&mut self.asked) {
            self.missing.add(asked.wanted);
            endpoint.cancel(now, id);
        }
    }

    /// Blocks in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.asked.len()
    }

    /// Bytes not handed out yet.
    #[must_use]
    pub fn bytes_left(&self) -> u64 {
        self.missing.bytes()
            + self.asked.values().map(|asked| asked.wanted.end - asked.wanted.start).sum::<u64>()
    }

    /// The block size asked for now.
    #[must_use]
    pub fn block_size(&self) -> Szx {
        self.szx
    }

    /// Whether it was found that the server bears one block at a time only.
    #[must_use]
    pub fn is_one_at_a_time(&self) -> bool {
        self.one_at_a_time
    }
}

impl Fetch {
    fn has_room(&self) -> bool {
        let most = if self.one_at_a_time { 1 } else { self.limit };
        self.ended.is_none() && !self.missing.is_empty() && self.asked.len() < most as usize
    }

    /// A success: bytes, if they are what was asked for.
    fn content(&mut self, now: Duration, asked: Asked, response: Response) {
        if let (Some(before), Some(etag)) = (&self.etag, &response.etag)
            && before != etag
        {
            return self.end(Err(FetchError::Changed));
        }
        if let Some(served) = response.size2.map(u64::from)
            && served != self.size
        {
            return self.end(Err(FetchError::SizeDiffers { announced: self.size, served }));
        }
        let Some(block) = response.block2 else { return self.whole(now, asked, response) };
        let (offset, len) = (block.offset() as u64, response.payload.len() as u64);
        let expected = self.size.saturating_sub(offset).min(block.size() as u64);
        if offset / asked.szx.size() as u64 != asked.wanted.start / asked.szx.size() as u64 || len != expected
        {
            return self.nonsense(now, asked);
        }
        self.etag = response.etag.or(self.etag.take());
        self.szx = self.szx.min(block.szx());
        if let Err(error) = fits(self.size, self.szx) {
            return self.end(Err(error));
        }
        // A server may answer with the first part of the block only, in a smaller size.
        let given = asked.wanted.start.max(offset)..asked.wanted.end.min(offset + len);
        if given.is_empty() {
            return self.missing.add(asked.wanted);
        }
        self.missing.add(asked.wanted.start..given.start);
        self.missing.add(given.end..asked.wanted.end);
        self.progress();
        self.hand_out(given, offset, &response.payload);
    }

    /// The whole body in one message, without a Block2 option: right where it is no longer than a block, and taken
    /// wherever it has the right size.
    fn whole(&mut self, now: Duration, asked: Asked, response: Response) {
        if response.payload.len() as u64 != self.size {
            return self.nonsense(now, asked);
        }
        self.missing.add(asked.wanted);
        for (_, other) in core::mem::take(&mut self.asked) {
            self.missing.add(other.wanted);
        }
        self.progress();
        for part in core::mem::take(&mut self.missing).iter() {
            self.hand_out(part, 0, &response.payload);
        }
    }

    fn hand_out(&mut self, given: Range<u64>, offset: u64, payload: &[u8]) {
        let within = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
        if let Some(bytes) = payload.get(within(given.start)..within(given.end)) {
            self.ready.push_back(Piece { offset: given.start, bytes: bytes.to_vec() });
        }
        if self.missing.is_empty() && self.asked.is_empty() {
            self.end(Ok(()));
        }
    }

    fn progress(&mut self) {
        self.setbacks = 0;
        self.limit = (self.limit + 1).min(MOST_IN_FLIGHT);
    }

    fn nonsense(&mut self, now: Duration, asked: Asked) {
        let offset = asked.wanted.start;
        self.pause(now, self.backoff());
        self.setback(asked, FetchError::Nonsense { offset });
    }

    /// The request goes back; whatever else was in flight with it does not count again.
    fn setback(&mut self, asked: Asked, why: FetchError) {
        self.missing.add(asked.wanted);
        if asked.turn < self.counted_below {
            return;
        }
        self.counted_below = self.next_turn;
        self.setbacks += 1;
        if self.setbacks >= MOST_SETBACKS {
            self.end(Err(why));
        }
    }

    /// The request goes back, and no other is in flight beside one from now on. No setback: it happens once.
    fn go_on_one_by_one(&mut self, asked: Asked) {
        self.missing.add(asked.wanted);
        self.one_at_a_time = true;
        self.counted_below = self.next_turn;
    }

    fn backoff(&self) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.setbacks.min(16)).min(LAST_PAUSE)
    }

    fn pause(&mut self, now: Duration, at_least: Duration) {
        self.paused_until = self.paused_until.max(now.saturating_add(at_least));
    }

    fn end(&mut self, outcome: Result<(), FetchError>) {
        self.ended.get_or_insert(outcome);
    }
}

fn fits(size: u64, szx: Szx) -> Result<(), FetchError> {
    let most = (u64::from(Block::MAX_NUM) + 1) * szx.size() as u64;
    if size > most { Err(FetchError::TooLarge { size, block: szx.size() }) } else { Ok(()) }
}
