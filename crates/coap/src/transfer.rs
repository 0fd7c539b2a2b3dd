//! One request of ours, possibly over many messages: Block1 up, then Block2 down (RFC 7959 §2.3 to §2.7, §3.3).
//!
//! Pure bookkeeping: which message is next, and what a response to it means. Retransmission, tokens and timers live
//! elsewhere. A response is checked against the block that was asked for, because all messages of a transfer share one
//! token.

use crate::block::{Block, Szx};
use crate::code::{Code, Method};
use crate::event::{Failure, SendError};
use crate::message::{Kind, Message, Token};
use crate::option::number;
use crate::request::{Request, Response};
use crate::translate::write_request;
use crate::wire::blank;

/// What becomes of the answer's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Fetch all of them and put them together.
    Assemble,
    /// This one is all that is wanted.
    Single(Block),
    /// Hand over the first response as it is; someone else fetches the rest.
    First,
}

/// What a response means for the transfer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send [`Transfer::message`] again: it is the next one now.
    Continue,
    /// Over.
    Done(Box<Response>),
    /// Over, without an answer.
    Failed(Failure),
    /// Not the response to the message that is out: a late copy.
    Stale,
}

#[derive(Debug)]
pub(crate) struct Transfer {
    request: Request,
    observe: Option<u32>,
    mode: Mode,
    max_body: usize,
    /// Size of upload blocks.
    size: Szx,
    /// Body bytes the peer has taken so far.
    taken: usize,
    /// The first response of the answer and the block to ask for next, once the answer has begun.
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    head: Box<Response>,
    body: Vec<u8>,
    next: Block,
}

impl Transfer {
    pub(crate) fn new(
        request: Request,
        observe: Option<u32>,
        mode: Mode,
        size: Szx,
        default_max_body: usize,
    ) -> Result<Transfer, SendError> {
        if request.payload.len() > (Block::MAX_NUM as usize).saturating_add(1).saturating_mul(size.size()) {
            return Err(SendError::TooManyBlocks);
        }
        let max_body = request.max_body.unwrap_or(default_max_body);
        Ok(Transfer { request, observe, mode, max_body, size, taken: 0, answer: None })
    }

    /// A transfer that goes on where `first`, the first block of an answer, ends. `None` when `first` is not the first
    /// of several blocks.
    pub(crate) fn after(
        request: Request,
        first: &Response,
        size: Szx,
        max_body: usize,
    ) -> Option<Result<Transfer, Failure>> {
        if !first.block2.is_some_and(Block::more) {
            return None;
        }
        let mut transfer = Transfer::new(request, None, Mode::Assemble, size, max_body).ok()?;
        match transfer.receive(first.clone(), true) {
            Step::Continue => Some(Ok(transfer)),
            Step::Failed(why) => Some(Err(why)),
            Step::Done(_) | Step::Stale => None,
        }
    }

    pub(crate) fn confirmable(&self) -> bool {
        self.request.confirmable
    }

    /// The message to send now; the message id is not filled in.
    pub(crate) fn message(&self, token: Token) -> Message {
        let kind = if self.request.confirmable { Kind::Confirmable } else { Kind::NonConfirmable };
        let mut message = blank(kind, self.request.method.code());
        message.token = token;
        if let Some(answer) = &self.answer {
            // A FETCH is told apart by its payload, so each block of its answer is asked for with it.
            let repeat =
                self.request.method == Method::Fetch && self.request.payload.len() <= self.size.size();
            message.options = write_request(&self.request, repeat);
            message.options.add(number::BLOCK2, answer.next.encode());
            if repeat {
                message.payload.clone_from(&self.request.payload);
            }
            return message;
        }
        message.options = write_request(&self.request, !self.request.payload.is_empty());
        if let Some(value) = self.observe {
            message.options.add_uint(number::OBSERVE, value);
        }
        let upload = self.upload_block();
        if let Some((block, part)) = upload {
            message.options.add(number::BLOCK1, block.encode());
            message.payload = part.to_vec();
        } else {
            message.payload.clone_from(&self.request.payload);
        }
        if !upload.is_some_and(|(block, _)| block.more()) {
            let early = match self.mode {
                Mode::Single(block) => Some(block),
                Mode::Assemble | Mode::First => {
                    self.request.block2.and_then(|size| Block::new(0, false, size))
                }
            };
            if let Some(block) = early {
                message.options.add(number::BLOCK2, block.encode());
            }
        }
        message
    }

    /// Takes a response. `certain` says it is known to answer the message that is out.
    pub(crate) fn respond(&mut self, response: Response, certain: bool) -> Step {
        if self.answer.is_some() {
            return self.receive(response, certain);
        }
        // A refusal that names a smaller block size is an invitation to start over with it (RFC 7959 §2.9.3).
        if response.code == Code::REQUEST_ENTITY_TOO_LARGE
            && self.taken == 0
            && let Some(hint) = response.block1
            && hint.szx() < self.size
            && self.request.payload.len() > hint.size()
        {
            self.size = hint.szx();
            return Step::Continue;
        }
        if let Some((block, _)) = self.upload_block() {
            let echo = response.block1;
            if echo.is_some_and(|echo| echo.num() != block.num()) {
                return if certain { Step::Failed(Failure::BadResponse) } else { Step::Stale };
            }
            if response.code.is_success() && block.more() {
                self.taken += block.size();
                if let Some(echo) = echo {
                    self.size = self.size.min(echo.szx());
                }
                return Step::Continue;
            }
        }
        if response.code == Code::CONTINUE {
            return Step::Failed(Failure::BadResponse);
        }
        self.receive(response, certain)
    }

    /// The block of the request body to send, when the body travels in blocks.
    fn upload_block(&self) -> Option<(Block, &[u8])> {
        if self.taken == 0 && self.request.payload.len() <= self.size.size() {
            return None;
        }
        Block::at_offset(self.taken, false, self.size)?.cut(&self.request.payload)
    }

    fn receive(&mut self, response: Response, certain: bool) -> Step {
        let done = |response| Step::Done(Box::new(response));
        let block = match (response.block2, self.mode) {
            (Some(block), _) if response.code.is_success() => block,
            // A whole body where a later block was asked for, or no body at all where a block was.
            (None, Mode::Single(wanted)) if response.code.is_success() && wanted.num() != 0 => {
                return Step::Failed(Failure::BadResponse);
            }
            (None, Mode::Assemble) if response.code.is_success() && self.answer.is_some() => {
                return Step::Failed(Failure::BadResponse);
            }
            (None, Mode::Assemble) if response.payload.len() > self.max_body => {
                return Step::Failed(Failure::BodyTooLarge);
            }
            _ => return done(response),
        };
        let (offset, largest) = match (&self.answer, self.mode) {
            (Some(answer), _) => (answer.body.len(), answer.next.szx()),
            (None, Mode::Single(wanted)) => (wanted.offset(), wanted.szx()),
            (None, _) => (0, self.request.block2.unwrap_or(Szx::B1024)),
        };
        if block.offset() != offset {
            return if certain { Step::Failed(Failure::BadResponse) } else { Step::Stale };
        }
        let len = response.payload.len();
        // Who wants one block knows what it is part of: some servers say of the last one that more follows.
        let cut_short = block.more() && len != block.size() && !matches!(self.mode, Mode::Single(_));
        if block.szx() > largest || len > block.size() || cut_short {
            return Step::Failed(Failure::BadResponse);
        }
        match self.mode {
            Mode::Single(_) | Mode::First => done(response),
            Mode::Assemble => self.append(block, response),
        }
    }

    fn append(&mut self, block: Block, mut response: Response) -> Step {
        let part = core::mem::take(&mut response.payload);
        let announced = response.size2.map_or(0, |size| size as usize);
        let answer = self.answer.get_or_insert_with(|| Answer {
            head: Box::new(response.clone()),
            body: Vec::new(),
            next: block,
        });
        if answer.head.etag != response.etag {
            return Step::Failed(Failure::BodyChanged);
        }
        if answer.body.len().saturating_add(part.len()).max(announced) > self.max_body {
            return Step::Failed(Failure::BodyTooLarge);
        }
        answer.body.extend_from_slice(&part);
        if block.more() {
            let Some(next) = Block::at_offset(answer.body.len(), false, block.szx()) else {
                return Step::Failed(Failure::BodyTooLarge);
            };
            answer.next = next;
            return Step::Continue;
        }
        let body = core::mem::take(&mut answer.body);
        Step::Done(Box::new(Response { payload: body, block2: None, ..(*answer.head).clone() }))
    }
}

/// A request as one message, whatever its size.
pub(crate) fn message_of(request: &Request, token: Token) -> Message {
    let kind = if request.confirmable { Kind::Confirmable } else { Kind::NonConfirmable };
    let mut options = write_request(request, !request.payload.is_empty());
    if let Some(block) = request.block2.and_then(|size| Block::new(0, false, size)) {
        options.add(number::BLOCK2, block.encode());
    }
    Message { token, options, payload: request.payload.clone(), ..blank(kind, request.method.code()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::option::format;

    fn token() -> Token {
        Token::from_counter(1, 2)
    }

    fn transfer(request: Request, size: Szx) -> Transfer {
        Transfer::new(request, None, Mode::Assemble, size, 4096).unwrap()
    }

    fn option(message: &Message, number: u16) -> Option<Vec<u8>> {
        message.options.iter().find(|(have, _)| *have == number).map(|(_, value)| value.to_vec())
    }

    fn upload(len: usize) -> Transfer {
        let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
        transfer(Request::post(".s/a").payload(format::OCTET_STREAM, body), Szx::B1024)
    }

    fn echo(code: Code, num: u32, more: bool, size: Szx) -> Response {
        Response { block1: Block::new(num, more, size), ..Response::new(code) }
    }

    fn part(num: u32, more: bool, size: Szx, len: usize) -> Response {
        Response { block2: Block::new(num, more, size), ..Response::content(42, vec![num as u8; len]) }
    }

    #[test]
    fn an_upload_sends_the_block1_values_seen_on_the_wire_and_the_body_arrives_whole() {
        let mut t = upload(3666);
        let mut seen = Vec::new();
        let mut body = Vec::new();
        for num in 0..3 {
            let message = t.message(token());
            seen.push(option(&message, number::BLOCK1).unwrap());
            body.extend_from_slice(&message.payload);
            assert_eq!(t.respond(echo(Code::CONTINUE, num, true, Szx::B1024), true), Step::Continue);
        }
        let message = t.message(token());
        seen.push(option(&message, number::BLOCK1).unwrap());
        body.extend_from_slice(&message.payload);
        assert_eq!(seen, [[0x0e], [0x1e], [0x2e], [0x36]]);
        assert_eq!(body, (0..3666).map(|i| i as u8).collect::<Vec<u8>>());
        assert!(matches!(t.respond(echo(Code::CHANGED, 3, false, Szx::B1024), true), Step::Done(_)));
    }

    #[test]
    fn a_body_of_one_block_travels_without_block1() {
        let t = upload(1024);
        assert_eq!(option(&t.message(token()), number::BLOCK1), None);
        assert_eq!(t.message(token()).payload.len(), 1024);
    }

    #[test]
    fn a_smaller_size_in_the_answer_renumbers_the_rest() {
        let mut t = upload(3000);
        assert_eq!(t.respond(echo(Code::CONTINUE, 0, true, Szx::B256), true), Step::Continue);
        let message = t.message(token());
        assert_eq!(
            Block::decode(&option(&message, number::BLOCK1).unwrap()),
            Ok(Block::new(4, true, Szx::B256).unwrap())
        );
        assert_eq!(message.payload[..2], [(1024 % 256) as u8, 1]);
    }

    #[test]
    fn a_missing_block1_in_the_reply_is_tolerated() {
        let mut t = upload(2000);
        assert_eq!(t.respond(Response::new(Code::CONTINUE), true), Step::Continue);
        assert!(
            matches!(t.respond(Response::new(Code::CHANGED), true), Step::Done(r) if r.code == Code::CHANGED)
        );
    }

    #[test]
    fn a_413_with_a_smaller_size_starts_over_and_without_one_is_the_answer() {
        let mut t = upload(600);
        assert_eq!(
            t.respond(echo(Code::REQUEST_ENTITY_TOO_LARGE, 0, false, Szx::B256), true),
            Step::Continue
        );
        assert_eq!(option(&t.message(token()), number::BLOCK1).unwrap(), [0x0c]);
        let step = t.respond(Response::new(Code::REQUEST_ENTITY_TOO_LARGE), true);
        assert!(matches!(step, Step::Done(r) if r.code == Code::REQUEST_ENTITY_TOO_LARGE));
    }

    #[test]
    fn a_gap_reported_by_the_server_ends_the_upload() {
        let mut t = upload(3000);
        t.respond(echo(Code::CONTINUE, 0, true, Szx::B1024), true);
        let step = t.respond(echo(Code::REQUEST_ENTITY_INCOMPLETE, 1, true, Szx::B1024), true);
        assert!(matches!(step, Step::Done(r) if r.code == Code::REQUEST_ENTITY_INCOMPLETE));
    }

    #[test]
    fn an_answer_to_an_earlier_block_is_stale_unless_it_is_certain() {
        let mut t = upload(3000);
        t.respond(echo(Code::CONTINUE, 0, true, Szx::B1024), true);
        assert_eq!(t.respond(echo(Code::CONTINUE, 0, true, Szx::B1024), false), Step::Stale);
        assert_eq!(
            t.respond(echo(Code::CONTINUE, 0, true, Szx::B1024), true),
            Step::Failed(Failure::BadResponse)
        );
    }

    #[test]
    fn a_download_asks_for_block_0_first_and_is_put_together() {
        let mut t = transfer(Request::get("a").assemble(Szx::B1024, 4096), Szx::B1024);
        assert_eq!(option(&t.message(token()), number::BLOCK2).unwrap(), [0x06]);
        assert_eq!(t.respond(part(0, true, Szx::B1024, 1024), true), Step::Continue);
        assert_eq!(option(&t.message(token()), number::BLOCK2).unwrap(), [0x16]);
        let Step::Done(r) = t.respond(part(1, false, Szx::B1024, 10), true) else { panic!() };
        assert_eq!((r.payload.len(), r.block2), (1034, None));
    }

    #[test]
    fn a_server_that_answers_in_smaller_blocks_is_followed() {
        let mut t = transfer(Request::get("a").assemble(Szx::B1024, 4096), Szx::B1024);
        assert_eq!(t.respond(part(0, true, Szx::B64, 64), true), Step::Continue);
        assert_eq!(Block::decode(&option(&t.message(token()), number::BLOCK2).unwrap()).unwrap().num(), 1);
        assert!(
            matches!(t.respond(part(1, false, Szx::B64, 0), true), Step::Done(r) if r.payload.len() == 64)
        );
    }

    #[test]
    fn an_answer_over_the_cap_fails_as_soon_as_it_is_known() {
        let mut t = transfer(Request::get("a").assemble(Szx::B64, 100), Szx::B1024);
        assert_eq!(t.respond(part(0, true, Szx::B64, 64), true), Step::Continue);
        assert_eq!(t.respond(part(1, false, Szx::B64, 64), true), Step::Failed(Failure::BodyTooLarge));
        let mut t = transfer(Request::get("a").assemble(Szx::B64, 100), Szx::B1024);
        let announced = Response { size2: Some(101), ..part(0, true, Szx::B64, 64) };
        assert_eq!(t.respond(announced, true), Step::Failed(Failure::BodyTooLarge));
    }

    #[test]
    fn blocks_of_different_versions_are_never_mixed() {
        let mut t = transfer(Request::get("a"), Szx::B1024);
        t.respond(part(0, true, Szx::B64, 64).etag([1]), true);
        assert_eq!(
            t.respond(part(1, false, Szx::B64, 9).etag([2]), true),
            Step::Failed(Failure::BodyChanged)
        );
    }

    #[test]
    fn blocks_that_contradict_themselves_fail_the_transfer() {
        for bad in [part(0, true, Szx::B64, 63), part(0, false, Szx::B64, 65), part(1, true, Szx::B64, 64)] {
            let mut t = transfer(Request::get("a"), Szx::B1024);
            assert_eq!(t.respond(bad, true), Step::Failed(Failure::BadResponse));
        }
        let mut t = transfer(Request::get("a"), Szx::B1024);
        t.respond(part(0, true, Szx::B64, 64), true);
        assert_eq!(t.respond(Response::content(42, [0; 9]), true), Step::Failed(Failure::BadResponse));
    }

    #[test]
    fn an_error_in_mid_download_is_the_answer() {
        let mut t = transfer(Request::get("a"), Szx::B1024);
        t.respond(part(0, true, Szx::B64, 64), true);
        assert!(
            matches!(t.respond(Response::new(Code::NOT_FOUND), true), Step::Done(r) if r.code == Code::NOT_FOUND)
        );
    }

    #[test]
    fn a_single_block_is_handed_over_as_it_is() {
        let wanted = Block::new(5000, false, Szx::B1024).unwrap();
        let mut t = Transfer::new(Request::get("a"), None, Mode::Single(wanted), Szx::B1024, 4096).unwrap();
        assert_eq!(option(&t.message(token()), number::BLOCK2).unwrap(), wanted.encode());
        assert_eq!(t.respond(part(904, true, Szx::B1024, 1024), false), Step::Stale);
        let Step::Done(r) = t.respond(part(5000, true, Szx::B1024, 1024), true) else { panic!() };
        assert_eq!(r.block2, Block::new(5000, true, Szx::B1024));
        let mut t = Transfer::new(Request::get("a"), None, Mode::Single(wanted), Szx::B1024, 4096).unwrap();
        assert_eq!(t.respond(Response::content(42, [1]), true), Step::Failed(Failure::BadResponse));
    }

    #[test]
    fn the_answer_to_an_upload_may_come_in_blocks_and_is_asked_for_without_a_body() {
        let mut t = upload(1500);
        t.respond(echo(Code::CONTINUE, 0, true, Szx::B1024), true);
        let first = Response { block1: Block::new(1, false, Szx::B1024), ..part(0, true, Szx::B64, 64) };
        assert_eq!(t.respond(first, true), Step::Continue);
        let message = t.message(token());
        assert!(message.payload.is_empty());
        assert_eq!(option(&message, number::BLOCK1), None);
        assert_eq!(option(&message, number::CONTENT_FORMAT), None);
        assert_eq!(Block::decode(&option(&message, number::BLOCK2).unwrap()).unwrap().num(), 1);
        assert!(
            matches!(t.respond(part(1, false, Szx::B64, 3), true), Step::Done(r) if r.payload.len() == 67)
        );
    }
}
