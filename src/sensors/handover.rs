//! Captures on their way from a lane into the queue.
//!
//! The queue answers after its commit; a lane that waited for that would lose its cadence. It hands over and keeps
//! a bounded number of receipts, which are looked at when they are there. A refusal is in the queue's own books
//! already: what is done about it here is to say so, not more often than [`SAY_AGAIN`].

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{LaneError, Progress};
use crate::reading::Capture;
use crate::store::queue::writer::MAX_SAMPLES;
use crate::store::queue::{Accepted, Queue, Refused};

/// Receipts kept; as many commits' worth of captures as the writer holds. Beyond that the oldest are forgotten.
const MOST_RECEIPTS: usize = 2048;
/// Between two complaints.
const SAY_AGAIN: Duration = Duration::from_secs(60);
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
    refused: u64,
    said_at: Option<Duration>,
}

impl Handover {
    pub(super) fn new(lane: &str, queue: Queue, rim: Rim, progress: Progress) -> Self {
        let lane = lane.to_owned();
        Self { lane, queue, rim, progress, receipts: VecDeque::new(), refused: 0, said_at: None }
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
                Ok(Ok(accepted)) if accepted.refused == 0 => {}
                Ok(Ok(accepted)) => {
                    self.refused += u64::from(accepted.refused);
                    self.complain("the store cannot hold some of the values");
                }
                Ok(Err(why)) => {
                    self.refused += 1;
                    self.complain(&why.to_string());
                }
                Err(TryRecvError::Closed) => self.complain("the store has stopped"),
            }
            self.receipts.pop_front();
        }
    }

    fn complain(&mut self, why: &str) {
        let now = self.rim.now();
        if self.said_at.is_none_or(|said| now.saturating_sub(said) >= SAY_AGAIN) {
            tracing::warn!(lane = self.lane, refused = self.refused, why, "readings are refused");
            (self.said_at, self.refused) = (Some(now), 0);
        }
    }
}
