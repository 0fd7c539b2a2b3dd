//! What the destination is told besides readings: what was lost, and the wall times of boots whose readings went without.
//!
//! It goes before readings, alarms and events excepted. A record is told when it is new; one that has grown is told
//! again, but not before [`TELL_AGAIN`] has passed, so that a sensor that stays silent costs a few hundred bytes an hour.
//! One letter is under way at a time, and is kept byte for byte until its outcome settles it.
//!
//! Level-triggered: the file says what is owed ([`crate::store::queue::Reader::owed`]); here is only when to look.

use std::collections::BTreeSet;
use std::time::Duration;

use super::afford::size;
use super::{Cargo, Drain, LIMIT_HOLDS};
use crate::daemon::supervisor::LaneError;
use crate::reading::Class;
use crate::store::queue::{Outcome as Settled, Owed, QueueStatus, RecordKind, Told};
use crate::uplink::link::{Message, Outcome};
use crate::uplink::parcel::Parcel;
use crate::uplink::pause::{Pause, Refusal};

/// Between two looks at what is owed, while the books say that there may be something.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What has grown is told again after so long.
const TELL_AGAIN: Duration = Duration::from_secs(15 * 60);
/// As many records of each kind are looked at; the rest is for the next letter.
const AT_ONCE: u32 = 32;
/// Before a letter without an answer is sent again.
const BEFORE_REPEATING: Duration = Duration::from_secs(5);

/// A message that tells of records, not of readings.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    message: Message,
    told: Vec<Told>,
}

/// What is known of what is owed.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// The books as they stood at the last look; `None` when there may be something whatever they say.
    looked_at: Option<Books>,
    /// The books have changed since, and it was too early for another look.
    stale: bool,
    next_look: Duration,
    /// Records that have grown wait until then.
    grown_at: Option<Duration>,
    /// To be sent.
    waiting: Option<Letter>,
    not_before: Duration,
    pause: Pause,
    under_way: bool,
    last_told: Option<Duration>,
    /// The destination refused a letter for its content.
    refused: Refusal,
    /// A record is longer than the destination takes: nothing more is told before the learned limit is lifted.
    too_long: bool,
    /// Epochs whose wall time is owed already.
    clocks_owed: BTreeSet<i64>,
    was_up: bool,
}

/// What the books say of losses: when this has changed, something may be owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Books {
    dropped: u64,
    never_accepted: u64,
    corrections: u64,
    stated: u64,
    dated: bool,
}

impl Drain<'_> {
    /// Looks at what is owed when it is time to.
    pub(super) fn look_for_owed(&mut self, status: &QueueStatus) -> Result<(), LaneError> {
        let now = self.rim.now();
        let up = *self.up.borrow();
        let came_up = up && !std::mem::replace(&mut self.letters.was_up, up);
        let letters = &self.letters;
        let cannot = letters.refused.until(now).is_some() || letters.too_long;
        if !up || cannot || letters.under_way || letters.waiting.is_some() {
            return Ok(());
        }
        let books = Books {
            dropped: status.destination(self.destination).dropped,
            never_accepted: status.intake.missed + status.intake.refused + status.intake.coalesced,
            corrections: status.corrections,
            stated: status.stated,
            dated: self.rim.clock.wall().trusted,
        };
        let before = letters.looked_at;
        let (changed, early) = (before != Some(books), !came_up && now < letters.next_look);
        let due = letters.grown_at.is_some_and(|at| at <= now);
        self.letters.stale = changed && early;
        if (!changed || early) && !due {
            return Ok(());
        }
        let owed = self.reader.owed(AT_ONCE).map_err(LaneError::new)?;
        self.letters.next_look = now + LOOK_EVERY;
        // The file learns the time a moment after the clock does: once it is known, another look follows.
        let just_dated = books.dated && before.is_some_and(|before| !before.dated);
        self.letters.looked_at = (!just_dated).then_some(books);
        let may_repeat = self.letters.last_told.is_none_or(|at| now >= at + TELL_AGAIN);
        let mut to_tell = owed.new;
        self.letters.grown_at = None;
        if may_repeat {
            to_tell.extend(owed.grown);
        } else if !owed.grown.is_empty() {
            self.letters.grown_at = self.letters.last_told.map(|at| at + TELL_AGAIN);
        }
        if !to_tell.is_empty() {
            self.write_letter(&to_tell);
        }
        Ok(())
    }

    fn write_letter(&mut self, owed: &[Owed]) {
        // There may be more than fits: looked for again as soon as this one is settled.
        self.letters.looked_at = None;
        // Not even one record fits a limit that was guessed: let the destination decide, up to what the link can carry.
        let most = self.link.capabilities().max_message_bytes;
        let packed = self.link.pack_owed(owed, self.limit);
        match packed.or_else(|| self.link.pack_owed(owed.get(..1)?, most)) {
            Some(packed) => {
                let told = owed.iter().take(packed.rows).map(Owed::told).collect();
                self.letters.waiting = Some(Letter { message: packed.message, told });
            }
            None => {
                tracing::warn!(destination = self.link.name(), "a record of losses fits no message");
                self.letters.too_long = true;
            }
        }
    }

    /// The letter that may go now. What was lost is told as an event is: when the data plan has room for one.
    pub(super) fn take_letter(&mut self, now: Duration) -> Option<Cargo> {
        let size = size(&self.letters.waiting.as_ref()?.message);
        let due = now >= self.letters.not_before;
        if let Some(purse) = self.options.purse.as_ref().filter(|_| due)
            && let Some((until, _)) = purse.message_refused(self.link.name(), Class::Event, size)
        {
            self.letters.not_before = until.clamp(now + BEFORE_REPEATING, now + TELL_AGAIN);
            return None;
        }
        let letter = due.then(|| self.letters.waiting.take()).flatten()?;
        self.letters.under_way = true;
        Some(Cargo::Letter(letter))
    }

    /// When to look again although nothing happens.
    pub(super) fn next_letter(&self) -> Option<Duration> {
        let letters = &self.letters;
        if letters.under_way || !letters.was_up {
            return None;
        }
        if let Some(until) = letters.refused.until(self.rim.now()) {
            return Some(until);
        }
        if letters.too_long {
            let limited = self.limit < self.link.capabilities().max_message_bytes;
            return limited.then_some(self.limit_since + LIMIT_HOLDS);
        }
        let look = letters.stale || letters.looked_at.is_none();
        let next = match &letters.waiting {
            Some(_) => Some(letters.not_before),
            None => look.then_some(letters.next_look).into_iter().chain(letters.grown_at).min(),
        };
        // What is due already is looked at whenever anything happens.
        next.filter(|at| *at > self.rim.now())
    }

    pub(super) async fn letter_settled(&mut self, letter: Letter, outcome: Outcome) {
        let now = self.rim.now();
        self.letters.under_way = false;
        match outcome {
            Outcome::Acknowledged => {
                self.recovered(letter.message.class, now);
                self.letters.pause.is_over();
                self.letters.refused.is_over();
                self.letters.last_told = Some(now);
                // On disk before the next look: that asks the file.
                self.letters.next_look = now + LOOK_EVERY;
                self.queue.told(self.generation, self.destination, letter.told).await;
            }
            Outcome::Unknown => self.letter_again(letter, now, BEFORE_REPEATING),
            Outcome::Later { after } => self.letter_again(letter, now, after.max(BEFORE_REPEATING)),
            Outcome::LinkSick { why, next_step } => {
                self.fall_sick(now, format!("{why}. Next: {next_step}"));
                self.letter_again(letter, now, LOOK_EVERY);
            }
            Outcome::TooLarge { limit } => {
                let length = letter.message.body.len();
                // One record that went beyond what is known of the destination says nothing of its readings' limit.
                let smaller = if length <= self.limit { self.learn_limit(length, limit) } else { true };
                if letter.told.len() == 1 || !smaller {
                    let name = self.link.name();
                    tracing::warn!(destination = name, length, "a record of losses is longer than it takes");
                    self.letters.too_long = true;
                }
                self.letters.next_look = now + BEFORE_REPEATING;
            }
            Outcome::Bad { why } => {
                // It stays owed; written anew when it is tried again, because more may be owed by then.
                let wait = self.letters.refused.again(now);
                self.letters.looked_at = None;
                let again_in_s = wait.as_secs();
                tracing::warn!(
                    destination = self.link.name(),
                    why,
                    again_in_s,
                    "refuses to be told what was lost"
                );
            }
        }
    }

    /// Not before `after`, and more seldom each time in a row.
    fn letter_again(&mut self, letter: Letter, now: Duration, after: Duration) {
        let wait = self.letters.pause.asked_for(now, after);
        self.letters.waiting = Some(letter);
        self.letters.not_before = now + wait + self.rim.random.below(wait / 8);
    }

    /// Readings that were taken without their wall time are owed it. Remembered before they are settled, so that a
    /// crash in between costs a correction too many and never one too few.
    pub(super) async fn owe_clock(&mut self, parcel: &Parcel, outcome: &Settled) {
        if *outcome != Settled::Acknowledged {
            return;
        }
        let undated: BTreeSet<i64> = parcel
            .rows
            .iter()
            .filter(|row| row.epoch.wall_offset_ms.is_none())
            .map(|row| row.epoch.number)
            .filter(|epoch| !self.letters.clocks_owed.contains(epoch))
            .collect();
        if undated.is_empty() {
            return;
        }
        let owed = |epoch: &i64| Told { kind: RecordKind::Clock, record: *epoch, count: 0 };
        self.queue.told(self.generation, self.destination, undated.iter().map(owed).collect()).await;
        self.letters.clocks_owed.extend(undated);
        self.letters.looked_at = None;
    }
}

impl Letters {
    /// What was too long may not be so any more.
    pub(super) fn limit_lifted(&mut self) {
        self.too_long = false;
    }
}

impl Letter {
    pub(super) fn message(&self) -> &Message {
        &self.message
    }
}
