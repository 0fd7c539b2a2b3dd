//! The blocks of a download within a session: what they may cost, when they go, what becomes of them.

use std::time::Duration;

use fieldgate_coap::{Failure, RequestId, Response};

use super::Live;
use crate::clouds::golioth::fault;
use crate::spend::{Cause, Purpose};

/// A block and the request for it on the wire, headers included.
const BLOCK_BYTES: u64 = 1024 + 180;
/// A datagram with a block is longer than this, and an answer to a message is not.
const SHORTEST_BLOCK: usize = 512;
/// How often the data plan is asked again when it has no room for a block, at least and at most.
const PLAN_ASKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// A pause where the endpoint takes no request.
const ENDPOINT_FULL: Duration = Duration::from_secs(1);

impl Live<'_> {
    pub(super) fn wants_block(&self, now: Duration) -> bool {
        let wants = self.fetching.as_ref().is_some_and(|fetching| fetching.wants(now));
        wants && self.keeper.pace.next_block_at(now) <= now
    }

    /// When a block is to be asked for again, where only time is waited for.
    pub(super) fn block_due(&self, now: Duration) -> Option<Duration> {
        let fetching = self.fetching.as_ref()?;
        let in_turn = || Some(self.keeper.pace.next_block_at(now)).filter(|at| *at > now);
        if fetching.wants(now) { in_turn() } else { fetching.due(now) }
    }

    /// Asks for the next block, if the data plan has the bytes.
    pub(super) fn ask_for_block(&mut self, now: Duration) {
        let Some(fetching) = &mut self.fetching else { return };
        if let Some((until, why)) = self.keeper.purse.refused(Purpose::Firmware, BLOCK_BYTES) {
            tracing::debug!(why = why.words(), "the download waits for the data plan");
            return fetching.hold(until.clamp(now + PLAN_ASKED.0, now + PLAN_ASKED.1));
        }
        if fetching.ask(now, &mut self.endpoint).is_none() {
            return fetching.hold(now + ENDPOINT_FULL);
        }
        self.keeper.pace.block_leaves(now);
        self.owed_since.get_or_insert(now);
        self.sending = Cause::Firmware;
    }

    /// Whether a request is for a block.
    pub(super) fn is_for_block(&self, id: RequestId) -> bool {
        self.fetching.as_ref().is_some_and(|fetching| fetching.owns(id))
    }

    pub(super) fn block_answered(
        &mut self,
        now: Duration,
        id: RequestId,
        response: Response,
        retransmissions: u32,
    ) {
        if let Some(fetching) = &mut self.fetching {
            fetching.answered(now, id, response, retransmissions);
        }
    }

    pub(super) fn block_failed(&mut self, now: Duration, id: RequestId, why: Failure) {
        if let Some(fetching) = &mut self.fetching {
            fetching.failed(now, id, why);
        }
    }

    /// Hands over what came, and forgets a download that is over. Whether one is: the endpoint may have something to say then.
    pub(super) fn settle_download(&mut self, now: Duration) -> bool {
        let over = self.fetching.as_mut().is_some_and(|fetching| fetching.settle(now, &mut self.endpoint));
        if over && let Some(ended) = self.fetching.take().and_then(|fetching| fetching.ended) {
            match ended.as_ref().err().map(fault::download) {
                Some(Some(trouble)) => self.note(trouble),
                // It may go on later.
                Some(None) => {}
                None => self.keeper.clear(|kind, _| fault::over_once_fetched(kind)),
            }
        }
        over
    }

    /// Whether a datagram of this length is a block's, as far as can be told before it is opened.
    pub(super) fn looks_like_block(&self, length: usize, message_owed: bool) -> bool {
        let under_way = self.fetching.as_ref().is_some_and(|fetching| fetching.is_under_way());
        under_way && (length > SHORTEST_BLOCK || !message_owed)
    }
}
