//! What each outcome of a send does to the readings that were in the message.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Drain, Settled};
use crate::clock::Mono;
use crate::daemon::rim::Rim;
use crate::reading::Class;
use crate::store::queue::reader::{ReadError, Reader};
use crate::store::queue::{SettledRow, Settlement};
use crate::uplink::link::Outcome;
use crate::uplink::parcel::Parcel;
use crate::uplink::policy;

/// More rows than this set aside within an hour mean that the destination, not the rows, is at fault.
const SET_ASIDE_PER_HOUR: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);
/// Before a message without an answer is sent again. Waiting for the answer took its time already; this is for links that
/// say at once that they do not know.
const BEFORE_REPEATING: Duration = Duration::from_secs(1);
/// No destination takes less than this.
const SMALLEST_LIMIT: usize = 64;

/// The destination refuses, and nothing is sent.
#[derive(Debug)]
pub(super) struct Sick {
    pub(super) until: Duration,
    pub(super) words: String,
}

/// When readings were set aside within the last hour, by a lane before this one too: one that starts over every few minutes must
/// not set aside a hundred each time.
pub(super) fn set_aside_lately(reader: &mut Reader, rim: &Rim) -> Result<VecDeque<Duration>, ReadError> {
    let since = Mono::from(rim.now().saturating_sub(HOUR));
    let most = u32::try_from(SET_ASIDE_PER_HOUR).unwrap_or(u32::MAX);
    let times = reader.set_aside_since(rim.clock.boot_id(), since, most)?;
    Ok(times.into_iter().map(Mono::since_boot).collect())
}

impl Drain<'_> {
    pub(super) async fn settle(&mut self, parcel: Parcel, outcome: Outcome) {
        let now = self.rim.now();
        let class = parcel.flow.class();
        match outcome {
            Outcome::Acknowledged => {
                self.recovered(class, now);
                self.record(&parcel, Settled::Acknowledged).await;
            }
            Outcome::Unknown => {
                self.pauses.entry(class).or_default().hold(now + BEFORE_REPEATING);
                self.again(parcel);
            }
            Outcome::Later { after } => {
                self.wait_longer(class, now, after);
                self.again(parcel);
            }
            Outcome::LinkSick { why, next_step } => {
                self.fall_sick(now, format!("{why}. Next: {next_step}"));
                self.again(parcel);
            }
            Outcome::TooLarge { limit } => self.too_large(parcel, limit).await,
            Outcome::Bad { why } if parcel.announces_epoch => {
                tracing::warn!(
                    destination = self.link.name(),
                    why,
                    "refused; sent again without the statement"
                );
                self.statement_suspect.again(now);
                self.without_statement(parcel);
            }
            Outcome::Bad { why } => {
                // Also without a statement: it was a reading, and the statement may be tried again.
                self.statement_suspect.is_over();
                if parcel.rows.len() == 1 {
                    return self.put_aside(parcel, why).await;
                }
                let rows = parcel.rows.len();
                tracing::warn!(destination = self.link.name(), why, rows, "refused; halving");
                let (head, tail) = parcel.split(rows / 2);
                self.again(head);
                self.again(tail);
            }
        }
    }

    /// The destination takes messages again, unless a refusal that came meanwhile still holds.
    pub(super) fn recovered(&mut self, class: Class, now: Duration) {
        self.pauses.entry(class).or_default().is_over();
        if self.sick.as_ref().is_none_or(|sick| sick.until <= now) {
            if self.sick.take().is_some() {
                self.tell_refusal(None);
            }
            self.sickness = 0;
            self.cautious = false;
        }
    }

    /// The class waits as long as it was told to, and longer each time it is told again.
    fn wait_longer(&mut self, class: Class, now: Duration, after: Duration) {
        self.cautious = true;
        let pause = self.pauses.entry(class).or_default();
        let wait = pause.asked_for(now, after);
        // A little more than told, so that gateways sent away together do not return together.
        pause.hold(now + wait + self.rim.random.below(wait / 8));
    }

    async fn too_large(&mut self, parcel: Parcel, named: Option<usize>) {
        let Some(length) = parcel.message.as_ref().map(|message| message.body.len()) else {
            return self.put_aside(parcel, "too long for any message of this link".into()).await;
        };
        if parcel.rows.len() == 1 && !parcel.announces_epoch {
            return self.put_aside(parcel, "too long for one message to this destination".into()).await;
        }
        self.learn_limit(length, named);
        if length > SMALLEST_LIMIT || parcel.rows.len() == 1 {
            return self.without_statement(parcel);
        }
        // Packed anew it would be the same bytes.
        self.pauses.entry(parcel.flow.class()).or_default().hold(self.rim.now() + BEFORE_REPEATING);
        self.announcing &= !parcel.announces_epoch;
        let middle = parcel.rows.len() / 2;
        let (head, tail) = parcel.split(middle);
        self.again(head);
        self.again(tail);
    }

    /// A message of `length` bytes was too long. A limit that it was within says nothing; halving ends at
    /// [`SMALLEST_LIMIT`]. Tells whether the limit is lower now.
    pub(super) fn learn_limit(&mut self, length: usize, named: Option<usize>) -> bool {
        let smaller = named.filter(|limit| *limit < length).unwrap_or(length / 2);
        let before = self.limit;
        self.limit = before.min(smaller).max(SMALLEST_LIMIT);
        self.limit_since = self.rim.now();
        self.limit < before
    }

    /// Has the readings packed anew; a statement among them waits for another message.
    fn without_statement(&mut self, parcel: Parcel) {
        if parcel.announces_epoch {
            self.announcing = false;
        }
        self.again(parcel.unpacked());
    }

    async fn put_aside(&mut self, parcel: Parcel, why: String) {
        let now = self.rim.now();
        while self.set_aside.front().is_some_and(|at| now.saturating_sub(*at) > HOUR) {
            self.set_aside.pop_front();
        }
        if self.set_aside.len() >= SET_ASIDE_PER_HOUR {
            let words = format!(
                "more than {SET_ASIDE_PER_HOUR} readings refused within an hour ({why}): the destination is at fault, \
                 not they. Next: look at what it expects"
            );
            self.fall_sick(now, words);
            self.again(parcel);
            return;
        }
        self.set_aside.push_back(now);
        self.record(&parcel, Settled::SetAside(why)).await;
    }

    /// Stops sending. What else was in flight and comes back refused is part of the same refusal.
    pub(super) fn fall_sick(&mut self, now: Duration, words: String) {
        self.cautious = true;
        if self.sick.as_ref().is_some_and(|sick| sick.until > now) {
            return;
        }
        let random = self.rim.random.u64();
        let wait = policy::backoff(self.sickness, Duration::from_secs(60), Duration::from_secs(3600), random);
        self.sickness = self.sickness.saturating_add(1);
        tracing::error!(destination = self.link.name(), why = words, again_in_s = wait.as_secs(), "refused");
        self.tell_refusal(Some(words.clone()));
        self.sick = Some(Sick { until: now + wait, words });
    }

    fn again(&mut self, parcel: Parcel) {
        if let Some(shelf) = self.shelves.get_mut(&parcel.flow) {
            shelf.again(parcel);
        }
    }

    pub(super) async fn record(&mut self, parcel: &Parcel, outcome: Settled) {
        if parcel.flow.class() == Class::Telemetry {
            // Should it not fit, the writer forgets the answer too, says so, and this drain begins anew.
            let _ = self.telemetry.settle(parcel.from, parcel.to);
        }
        if parcel.announces_epoch && outcome != Settled::Acknowledged {
            // It goes with another message.
            self.announcing = false;
        }
        self.owe_clock(parcel, &outcome).await;
        self.queue.settle(self.settlement(parcel, outcome)).await;
    }

    /// What becomes of a parcel's readings.
    pub(super) fn settlement(&self, parcel: &Parcel, outcome: Settled) -> Settlement {
        let rows = parcel.rows.iter().map(SettledRow::of).collect();
        Settlement {
            generation: self.generation,
            destination: self.destination,
            class: parcel.flow.class(),
            from: parcel.from,
            to: parcel.to,
            rows,
            outcome,
            given_up: parcel.given_up.clone(),
            announces_epoch: parcel.announces_epoch,
        }
    }
}
