//! Captures on their way from a lane into the queue.
//!
//! The queue answers after its commit; a lane that waited for that would lose its cadence. It hands over and keeps
//! a bounded number of receipts, which are looked at when they are there. A refusal is in the queue's own books
//! already: what is done about it here is to say so, with the stream and the reason: of each once an hour, of the store's own
//! states once a minute.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{LaneError, Progress};
use crate::reading::{Capture, StreamId};
use crate::store::queue::writer::{MAX_SAMPLES, Turned};
use crate::store::queue::{Accepted, Queue, Refused};

/// Receipts kept; as many commits' worth of captures as the writer holds. Beyond that the oldest are forgotten.
const MOST_RECEIPTS: usize = 2048;
/// Between two complaints about the store.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// Between two complaints about the same stream, for the same reason.
const SAY_AGAIN_OF_STREAM: Duration = Duration::from_secs(3600);
/// As many streams and reasons are told apart.
const MOST_SAID: usize = 256;
/// A queue that has no room for so long is worth a word in the lane's report.
const SLOW: Duration = Duration::from_secs(10);

type Receipt = Receiver<Result<Accepted, Refused>>;

/// See the module head.
#[derive(Debug)]
pub(super) struct Handover {
    lane: String,
    queue: Queue,
    rim: Rim,
    progress: Progress,
    receipts: VecDeque<Receipt>,
    complaints: Complaints,
}

impl Handover {
    pub(super) fn new(lane: &str, queue: Queue, rim: Rim, progress: Progress) -> Self {
        let lane = lane.to_owned();
        Self { lane, queue, rim, progress, receipts: VecDeque::new(), complaints: Complaints::default() }
    }

    /// Hands a capture over, waiting only for room. One that is larger than the queue takes becomes several.
    ///
    /// # Errors
    /// When the queue has stopped.
    pub(super) async fn offer(&mut self, mut capture: Capture) -> Result<(), LaneError> {
        self.look_at_receipts();
        while capture.samples.len() > MAX_SAMPLES || capture.missing.len() > MAX_SAMPLES {
            let samples = capture.samples.split_off(capture.samples.len().min(MAX_SAMPLES));
            let missing = capture.missing.split_off(capture.missing.len().min(MAX_SAMPLES));
            let rest = Capture { samples, missing, ..capture };
            self.offer_one(capture).await?;
            capture = rest;
        }
        self.offer_one(capture).await
    }

    async fn offer_one(&mut self, capture: Capture) -> Result<(), LaneError> {
        let offer = self.queue.offer(capture);
        tokio::pin!(offer);
        let receipt = loop {
            tokio::select! {
                biased;
                receipt = &mut offer => break receipt.map_err(LaneError::new)?,
                () = self.rim.sleep(SLOW) => {
                    self.progress.waiting("waiting for the store to take readings; the disk is slow", SLOW);
                }
            }
        };
        if self.receipts.len() >= MOST_RECEIPTS {
            self.receipts.pop_front();
        }
        self.receipts.push_back(receipt);
        Ok(())
    }

    fn look_at_receipts(&mut self) {
        while let Some(receipt) = self.receipts.front_mut() {
            match receipt.try_recv() {
                Err(TryRecvError::Empty) => return,
                Ok(Ok(Accepted { first_refused: None, .. })) => {}
                Ok(Ok(Accepted { first_refused: Some(first), refused, .. })) => {
                    self.complain_of(first, refused)
                }
                Ok(Err(why)) => self.complain(why.reason(), &why.to_string()),
                Err(TryRecvError::Closed) => self.complain("stopped", "the store has stopped"),
            }
            self.receipts.pop_front();
        }
    }

    /// A stream says what the store does not hold.
    fn complain_of(&mut self, first: Turned, readings: u32) {
        let Turned { stream, reason } = first;
        let Some(refused) = self.complaints.add(self.rim.now(), Some(stream), reason, readings) else {
            return;
        };
        let name = self.queue.stream_name(stream);
        let unknown = || format!("number {}", stream.0);
        let stream = name.map_or_else(unknown, str::to_owned);
        tracing::warn!(
            lane = self.lane,
            stream,
            reason,
            refused,
            "readings are refused: the store does not hold such"
        );
    }

    /// The store takes nothing.
    fn complain(&mut self, reason: &'static str, why: &str) {
        if let Some(refused) = self.complaints.add(self.rim.now(), None, reason, 1) {
            tracing::warn!(lane = self.lane, refused, why, "readings are refused");
        }
    }
}

/// What was said of each stream and reason, and how much came since. Bounded by [`MOST_SAID`].
#[derive(Debug, Default)]
struct Complaints(BTreeMap<(Option<StreamId>, &'static str), Said>);

#[derive(Debug)]
struct Said {
    at: Duration,
    since: u64,
}

impl Complaints {
    /// `count` more are refused; `None` for a stream is the store as a whole. How many to speak of, where it is time to.
    fn add(
        &mut self,
        now: Duration,
        stream: Option<StreamId>,
        reason: &'static str,
        count: u32,
    ) -> Option<u64> {
        let again = |stream: Option<StreamId>| if stream.is_some() { SAY_AGAIN_OF_STREAM } else { SAY_AGAIN };
        let mut key = (stream, reason);
        if self.0.len() >= MOST_SAID && !self.0.contains_key(&key) {
            self.0.retain(|(stream, _), said| now.saturating_sub(said.at) < again(*stream));
            if self.0.len() >= MOST_SAID {
                // Too many to tell apart: the rest are as one.
                key.0 = None;
            }
        }
        let count = u64::from(count);
        match self.0.get_mut(&key) {
            None => {
                self.0.insert(key, Said { at: now, since: 0 });
                Some(count)
            }
            Some(said) => {
                said.since += count;
                if now.saturating_sub(said.at) < again(key.0) {
                    return None;
                }
                said.at = now;
                Some(std::mem::take(&mut said.since))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn each_stream_and_reason_is_told_once_an_hour_with_how_many_came_since() {
        let mut complaints = Complaints::default();
        let mut say = |minutes: u32, stream, reason| {
            complaints.add(MINUTE * minutes, Some(StreamId(stream)), reason, 2)
        };
        assert_eq!(say(0, 1, "not_finite"), Some(2));
        assert_eq!(say(1, 1, "not_finite"), None);
        assert_eq!(say(1, 2, "not_finite"), Some(2), "another stream");
        assert_eq!(say(1, 1, "too_long"), Some(2), "another reason");
        assert_eq!(say(59, 1, "not_finite"), None);
        assert_eq!(say(60, 1, "not_finite"), Some(6));
        assert_eq!(say(61, 1, "not_finite"), None);
    }

    #[test]
    fn the_store_itself_is_told_once_a_minute() {
        let mut complaints = Complaints::default();
        let mut say = |seconds| complaints.add(Duration::from_secs(seconds), None, "disk_full", 1);
        assert_eq!((say(0), say(30), say(59), say(60)), (Some(1), None, None, Some(3)));
    }

    #[test]
    fn streams_without_number_are_told_within_bounds_and_make_room_when_they_are_old() {
        let mut complaints = Complaints::default();
        for n in 0..10_000 {
            let said = complaints.add(MINUTE, Some(StreamId(n)), "unknown_stream", 1);
            // The first of those that are too many speaks for them.
            assert_eq!(said.is_some(), (n as usize) <= MOST_SAID, "{n}");
        }
        assert!(complaints.0.len() <= MOST_SAID + 1);
        assert_eq!(complaints.add(MINUTE * 61, Some(StreamId(77_777)), "not_finite", 1), Some(1));
        assert_eq!(complaints.0.len(), 1);
    }
}
