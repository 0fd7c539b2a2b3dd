//! Block-wise transfer on the server side (RFC 7959 §2.3 to §2.9): uploads put together, answers kept for methods that
//! may not run twice.
//!
//! Both tables are bounded in number; uploads also in bytes. An entry that is not continued goes after
//! EXCHANGE_LIFETIME, or earlier to make room.

use core::time::Duration;

use crate::block::{Block, Szx};
use crate::code::{Code, Method};
use crate::request::Response;

/// What a block-wise transfer is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) method: Method,
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<String>,
}

/// What one Block1 message means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Say 2.31 with this Block1.
    More(Block),
    /// The body is complete; the answer carries this Block1.
    Whole(Vec<u8>, Block),
    /// Say this instead; the upload is over.
    Refused(Box<Response>),
}

/// The limits of one endpoint's block-wise transfers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) transfers: usize,
    pub(crate) body: usize,
    pub(crate) size: Szx,
    pub(crate) lifetime: Duration,
}

#[derive(Debug)]
struct Kept<T> {
    about: Resource,
    expires: Duration,
    what: T,
}

#[derive(Debug, Default)]
pub(crate) struct Assembly {
    uploads: Vec<Kept<Vec<u8>>>,
    answers: Vec<Kept<Response>>,
}

impl Assembly {
    /// Takes one block of a request body.
    pub(crate) fn take(
        &mut self,
        now: Duration,
        about: &Resource,
        block: Block,
        payload: &[u8],
        limits: Limits,
    ) -> Progress {
        self.purge(now);
        let earlier =
            self.uploads.iter().position(|kept| kept.about == *about).map(|at| self.uploads.remove(at));
        let refused =
            |code| Progress::Refused(Box::new(Response { block1: Some(block), ..Response::new(code) }));
        if payload.len() > block.size() || (block.more() && payload.len() != block.size()) {
            return refused(Code::BAD_REQUEST);
        }
        let mut body = match earlier {
            _ if block.num() == 0 => Vec::new(),
            Some(kept) => kept.what,
            None => return refused(Code::REQUEST_ENTITY_INCOMPLETE),
        };
        let (start, end) = (block.offset(), block.offset() + payload.len());
        if end > limits.body {
            return Progress::Refused(Box::new(Response {
                block1: Some(block),
                size1: u32::try_from(limits.body).ok(),
                ..Response::new(Code::REQUEST_ENTITY_TOO_LARGE)
            }));
        }
        if start == body.len() {
            body.extend_from_slice(payload);
        } else if !block.more() || body.get(start..) != Some(payload) {
            // Neither the next block nor the last one over again.
            return refused(Code::REQUEST_ENTITY_INCOMPLETE);
        }
        if !block.more() {
            return Progress::Whole(body, block);
        }
        let answer = Block::new(block.num(), true, block.szx().min(limits.size)).unwrap_or(block);
        keep(
            &mut self.uploads,
            limits.transfers,
            Kept { about: about.clone(), expires: now.saturating_add(limits.lifetime), what: body },
        );
        Progress::More(answer)
    }

    /// Keeps a whole answer whose later blocks will be asked for.
    pub(crate) fn keep_answer(&mut self, now: Duration, about: Resource, answer: Response, limits: Limits) {
        self.purge(now);
        self.answers.retain(|kept| kept.about != about);
        let expires = now.saturating_add(limits.lifetime);
        keep(&mut self.answers, limits.transfers, Kept { about, expires, what: answer });
    }

    /// The answer kept for this resource; asking for it keeps it longer.
    pub(crate) fn answer(&mut self, now: Duration, about: &Resource, limits: Limits) -> Option<&Response> {
        self.purge(now);
        let kept = self.answers.iter_mut().find(|kept| kept.about == *about)?;
        kept.expires = now.saturating_add(limits.lifetime);
        Some(&kept.what)
    }

    pub(crate) fn clear(&mut self) {
        self.uploads.clear();
        self.answers.clear();
    }

    fn purge(&mut self, now: Duration) {
        self.uploads.retain(|kept| now < kept.expires);
        self.answers.retain(|kept| now < kept.expires);
    }
}

/// Adds at the end; the least recently continued makes room.
fn keep<T>(list: &mut Vec<Kept<T>>, limit: usize, new: Kept<T>) {
    while !list.is_empty() && list.len() >= limit.max(1) {
        list.remove(0);
    }
    list.push(new);
}

/// Cuts a whole answer to the block that was asked for; sets Block2 and, on the first of several, Size2. Returns whether
/// more blocks follow.
pub(crate) fn cut_answer(response: &Response, wanted: Option<Block>, size: Szx) -> (Response, bool) {
    let whole = || (response.clone(), false);
    if response.block2.is_some() || !response.code.is_success() {
        return whole();
    }
    let size = wanted.map_or(size, |block| block.szx().min(size));
    if wanted.is_none() && response.payload.len() <= size.size() {
        return whole();
    }
    let start = wanted.map_or(0, Block::offset);
    match Block::at_offset(start, false, size).and_then(|block| block.cut(&response.payload)) {
        Some((block, part)) => {
            let size2 = if block.more() && block.num() == 0 {
                u32::try_from(response.payload.len()).ok()
            } else {
                None
            };
            let mut one = Response { payload: Vec::new(), ..response.clone() };
            one.payload = part.to_vec();
            one.block2 = Some(block);
            one.size2 = response.size2.or(size2);
            (one, block.more())
        }
        None => (Response::new(Code::BAD_REQUEST), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);
    const LIMITS: Limits =
        Limits { transfers: 2, body: 300, size: Szx::B1024, lifetime: Duration::from_secs(247) };

    fn about(path: &str) -> Resource {
        Resource { method: Method::Post, path: vec![path.into()], query: vec![] }
    }

    fn b(num: u32, more: bool) -> Block {
        Block::new(num, more, Szx::B64).unwrap()
    }

    fn code(progress: Progress) -> Code {
        match progress {
            Progress::Refused(response) => response.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn blocks_in_order_make_the_body() {
        let mut a = Assembly::default();
        assert_eq!(a.take(NOW, &about("x"), b(0, true), &[1; 64], LIMITS), Progress::More(b(0, true)));
        assert_eq!(a.take(NOW, &about("x"), b(1, true), &[2; 64], LIMITS), Progress::More(b(1, true)));
        let Progress::Whole(body, _) = a.take(NOW, &about("x"), b(2, false), &[3; 5], LIMITS) else {
            panic!()
        };
        assert_eq!(body, [&[1; 64][..], &[2; 64], &[3; 5]].concat());
        assert!(a.uploads.is_empty());
    }

    #[test]
    fn a_block_repeated_under_a_new_message_id_is_taken_once() {
        let mut a = Assembly::default();
        a.take(NOW, &about("x"), b(0, true), &[1; 64], LIMITS);
        a.take(NOW, &about("x"), b(1, true), &[2; 64], LIMITS);
        assert_eq!(a.take(NOW, &about("x"), b(1, true), &[2; 64], LIMITS), Progress::More(b(1, true)));
        let Progress::Whole(body, _) = a.take(NOW, &about("x"), b(2, false), &[], LIMITS) else { panic!() };
        assert_eq!(body.len(), 128);
    }

    #[test]
    fn a_gap_a_different_repeat_and_a_missing_start_are_408() {
        let mut a = Assembly::default();
        assert_eq!(
            code(a.take(NOW, &about("x"), b(1, true), &[0; 64], LIMITS)),
            Code::REQUEST_ENTITY_INCOMPLETE
        );
        a.take(NOW, &about("x"), b(0, true), &[1; 64], LIMITS);
        assert_eq!(
            code(a.take(NOW, &about("x"), b(2, true), &[0; 64], LIMITS)),
            Code::REQUEST_ENTITY_INCOMPLETE
        );
        a.take(NOW, &about("x"), b(0, true), &[1; 64], LIMITS);
        a.take(NOW, &about("x"), b(1, true), &[2; 64], LIMITS);
        assert_eq!(
            code(a.take(NOW, &about("x"), b(1, true), &[9; 64], LIMITS)),
            Code::REQUEST_ENTITY_INCOMPLETE
        );
    }

    #[test]
    fn a_body_over_the_cap_is_413_and_names_the_cap() {
        let mut a = Assembly::default();
        for num in 0..4 {
            assert!(matches!(a.take(NOW, &about("x"), b(num, true), &[0; 64], LIMITS), Progress::More(_)));
        }
        let Progress::Refused(r) = a.take(NOW, &about("x"), b(4, true), &[0; 64], LIMITS) else { panic!() };
        assert_eq!((r.code, r.size1), (Code::REQUEST_ENTITY_TOO_LARGE, Some(300)));
        assert!(a.uploads.is_empty());
    }

    #[test]
    fn a_block_of_the_wrong_length_is_400() {
        let mut a = Assembly::default();
        assert_eq!(code(a.take(NOW, &about("x"), b(0, true), &[0; 63], LIMITS)), Code::BAD_REQUEST);
        assert_eq!(code(a.take(NOW, &about("x"), b(0, false), &[0; 65], LIMITS)), Code::BAD_REQUEST);
    }

    #[test]
    fn the_server_may_ask_for_smaller_blocks_from_the_first_on() {
        let mut a = Assembly::default();
        let limits = Limits { size: Szx::B16, ..LIMITS };
        let Progress::More(echo) = a.take(NOW, &about("x"), b(0, true), &[0; 64], limits) else { panic!() };
        assert_eq!((echo.num(), echo.szx()), (0, Szx::B16));
        let next = Block::new(4, false, Szx::B16).unwrap();
        assert!(
            matches!(a.take(NOW, &about("x"), next, &[0; 3], limits), Progress::Whole(body, _) if body.len() == 67)
        );
    }

    #[test]
    fn uploads_are_kept_apart_bounded_and_forgotten_in_time() {
        let mut a = Assembly::default();
        for path in ["x", "y", "z"] {
            a.take(NOW, &about(path), b(0, true), &[0; 64], LIMITS);
        }
        assert_eq!(a.uploads.len(), 2);
        assert_eq!(
            code(a.take(NOW, &about("x"), b(1, true), &[0; 64], LIMITS)),
            Code::REQUEST_ENTITY_INCOMPLETE
        );
        let late = NOW + LIMITS.lifetime;
        assert_eq!(
            code(a.take(late, &about("z"), b(1, true), &[0; 64], LIMITS)),
            Code::REQUEST_ENTITY_INCOMPLETE
        );
    }

    #[test]
    fn an_answer_is_cut_at_any_number_without_memory_of_the_ones_before() {
        let whole = Response::content(42, (0..200u8).collect::<Vec<u8>>());
        let (first, more) = cut_answer(&whole, None, Szx::B64);
        assert_eq!((first.payload.len(), more, first.size2), (64, true, Some(200)));
        let (last, more) = cut_answer(&whole, Some(b(3, false)), Szx::B1024);
        assert_eq!((last.payload, more, last.block2), ((192..200).collect(), false, Some(b(3, false))));
        let (smaller, _) = cut_answer(&whole, Block::new(1, false, Szx::B64), Szx::B32);
        assert_eq!(smaller.block2, Block::new(2, true, Szx::B32));
        assert_eq!(cut_answer(&whole, Some(b(4, false)), Szx::B1024).0.code, Code::BAD_REQUEST);
        assert_eq!(cut_answer(&whole, None, Szx::B1024).0, whole);
    }

    #[test]
    fn errors_and_blocks_cut_already_pass_untouched() {
        let error = Response::new(Code::NOT_FOUND).payload(0, *b"no");
        assert_eq!(cut_answer(&error, Some(b(0, false)), Szx::B16).0, error);
        let own = Response::content_block(42, &[0; 200], b(1, false));
        assert_eq!(cut_answer(&own, Some(b(1, false)), Szx::B16), (own, false));
    }
}
