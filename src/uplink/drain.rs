//! The drain: one lane a destination that brings its queue to its link.
//!
//! Level-triggered: it looks at where the queue ends and where it has read to, never at events that can be missed. A
//! message once packed is kept byte for byte, with the readings in it, until its outcome settles it; so a timeout is
//! answered with the same bytes under the same identities. Outcomes may come in any order.
//!
//! Telemetry is read at two places: at its live edge, and where the backlog begins. When the oldest of what is live has
//! become older than the live bound, the live flow jumps ahead and leaves what lies between to the backlog.
//!
//! A destination that asks for patience or refuses is asked again with one message, not with a window of them, and more
//! seldom each time; its first acknowledgement opens the window again. One place in the window is kept for what is urgent.
//!
//! Invariants: a reading is in exactly one of: not yet picked, at hand (`Shelf`), in a message in flight, waiting to be
//! sent again, settled. What is picked but not settled is lost with the process and found again at the next start. An
//! outcome settles readings, or their age, or a newer reading of a stream of which only the latest counts; nothing else
//! does. Nothing is sent again without a pause. What the store gives up for room is taken back from hand and from what waits
//! to be sent again; a message that is in flight at that moment may still arrive, although its readings are on record as
//! dropped.
//!
//! - `afford` asks the data plan, and thins what it cannot pay for.
//! - `refill` brings readings from disk to hand: jumps, age limits, what is superseded; and back what has changed on disk.
//! - `outcome` is what each answer does.
//! - `letter` tells the destination what was lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::{EpochStatement, Link, Message, Outcome};
use super::parcel::Parcel;
use super::pause::{Pause, Refusal};
use super::policy::{self, Choice, Flow, FlowView};
use super::share::{Share, Weights};
use super::shelf::Shelf;
use super::thin::Bands;
use crate::board::{Board, DestinationState, Tuning, in_words};
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::reading::{Class, StreamId};
use crate::spend::Purse;
use crate::store::queue::Outcome as Settled;
use crate::store::queue::cursor::Cursor;
use crate::store::queue::{DestinationId, Queue, QueueStatus, QueuedRow, Reader};

mod afford;
mod letter;
mod outcome;
mod refill;

use letter::{Letter, Letters};
use outcome::Sick;

/// Settings of a drain, and what it may spend.
#[derive(Clone, Debug)]
pub struct DrainOptions {
    /// Messages in flight at once; the link may allow fewer.
    pub window: usize,
    /// How long a batch may gather although it is not full.
    pub linger: Duration,
    /// How long a reading without trusted wall time waits for one.
    pub hold_untrusted: Duration,
    /// Telemetry younger than this is live.
    pub live_bound: Duration,
    /// How live and backlog share the link.
    pub weights: Weights,
    /// A reading older than its class's limit is given up; a class that is not here has none.
    pub max_age: BTreeMap<Class, Duration>,
    /// The streams of which only the latest reading counts.
    pub latest_only: BTreeSet<StreamId>,
    /// Where a backlog is thinned, readings of these streams go that differ by more than so much, in the stream's unit, from
    /// the last that went. Of the others one in so many goes.
    pub thin_bands: Arc<Bands>,
    /// Asked before anything is packed; without one there is no plan to keep to.
    pub purse: Option<Arc<Purse>>,
    /// What is in force instead of the above, and how often all that waits was asked to leave at once.
    pub asks: Option<(watch::Receiver<Tuning>, watch::Receiver<u64>)>,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self {
            window: 8,
            linger: Duration::from_secs(2),
            hold_untrusted: Duration::from_secs(600),
            live_bound: Duration::from_secs(300),
            weights: Weights::default(),
            max_age: BTreeMap::new(),
            latest_only: BTreeSet::new(),
            thin_bands: Arc::default(),
            purse: None,
            asks: None,
        }
    }
}

/// Rows kept at hand for each flow: a few messages' worth, however long the queue is.
const AT_HAND: usize = 512;
/// How long a message may be under way before its outcome counts as unknown.
const SEND_DEADLINE: Duration = Duration::from_secs(120);
/// A learned limit is tried anew after this: the destination may have changed.
const LIMIT_HOLDS: Duration = Duration::from_secs(3600);

/// For so long after a flush nothing gathers.
const HURRY: Duration = Duration::from_secs(60);

/// Builds the lane that drains `destination` into `link`, as far as the data plan lets it. Whether the destination refuses is
/// told to `board`.
pub fn lane(
    link: Arc<dyn Link>,
    destination: DestinationId,
    queue: Queue,
    rim: Rim,
    options: DrainOptions,
    board: Arc<Board>,
    stop: CancellationToken,
) -> Lane {
    Lane::new(format!("drain {}", link.name()), move |progress| {
        let (link, queue, rim, stop) = (Arc::clone(&link), queue.clone(), rim.clone(), stop.clone());
        let (board, options) = (Arc::clone(&board), options.clone());
        async move {
            let mut drain = Drain::new(&*link, destination, queue, rim, options, board, progress)?;
            drain.run(stop).await
        }
    })
}

struct Drain<'a> {
    link: &'a dyn Link,
    destination: DestinationId,
    queue: Queue,
    rim: Rim,
    options: DrainOptions,
    board: Arc<Board>,
    progress: Progress,
    status: watch::Receiver<QueueStatus>,
    up: watch::Receiver<bool>,
    reader: Reader,
    generation: u32,
    shelves: BTreeMap<Flow, Shelf>,
    pauses: BTreeMap<Class, Pause>,
    share: Share,
    /// What is settled of telemetry, as the writer has it or will: tells how many stretches may still be left for later.
    telemetry: Cursor,
    /// What the books said of losses and of corrected times when the file was last asked.
    dropped: u64,
    corrections: u64,
    rearranged: u64,
    /// [`QueueStatus::forgotten`] of this destination when the file was read.
    forgotten: Option<u64>,
    /// Looking for a place to jump to costs a few reads: not before this.
    next_jump: Duration,
    /// The longest message this destination takes, as learned, and when.
    limit: usize,
    limit_since: Duration,
    /// The opening statement is under way or delivered.
    announcing: bool,
    /// A message with the statement was refused, and it is not known whether for its sake.
    statement_suspect: Refusal,
    letters: Letters,
    set_aside: VecDeque<Duration>,
    /// The destination did not acknowledge lately: one message at a time.
    cautious: bool,
    sick: Option<Sick>,
    /// How often in a row it refused.
    sickness: u32,
    /// What waits for the data plan: until when, and why.
    short: BTreeMap<Flow, (Duration, &'static str)>,
    /// Nothing gathers before this.
    hurry: Duration,
    /// What is in force instead of the options.
    tuning: Tuning,
}

/// What a message carries.
enum Cargo {
    Rows(Parcel),
    Letter(Letter),
}

impl Cargo {
    fn message(&self) -> Option<&Message> {
        match self {
            Self::Rows(parcel) => parcel.message.as_ref(),
            Self::Letter(letter) => Some(letter.message()),
        }
    }
}

type Sending<'a> = FuturesUnordered<BoxFuture<'a, (Cargo, Outcome)>>;

impl<'a> Drain<'a> {
    fn new(
        link: &'a dyn Link,
        destination: DestinationId,
        queue: Queue,
        rim: Rim,
        options: DrainOptions,
        board: Arc<Board>,
        progress: Progress,
    ) -> Result<Self, LaneError> {
        let status = queue.status();
        // Before the file is asked: what changes in between is looked at again.
        let (generation, dropped, corrections, rearranged, forgotten) = {
            let status = status.borrow();
            let dropped = status.destination(destination).dropped;
            let forgotten = status.forgotten.get(&destination).copied();
            (status.generation, dropped, status.corrections, status.rearranged, forgotten)
        };
        let mut reader = queue.reader(destination).map_err(LaneError::new)?;
        let set_aside = outcome::set_aside_lately(&mut reader, &rim).map_err(LaneError::new)?;
        let limit = link.capabilities().max_message_bytes;
        let now = rim.now();
        let shelf = |flow: Flow| {
            let start = reader.start(flow.class());
            let shelf = match flow {
                Flow::Backlog => Shelf::without_stretch(flow, start),
                _ => Shelf::new(flow, start),
            };
            (flow, shelf.thinning_by(Arc::clone(&options.thin_bands)))
        };
        let up = link.up();
        let tuning =
            options.asks.as_ref().map_or_else(Tuning::default, |(tuning, _)| tuning.borrow().clone());
        let drain = Self {
            link,
            destination,
            queue,
            rim,
            board,
            progress,
            status,
            up,
            generation,
            shelves: Flow::ALL.into_iter().map(shelf).collect(),
            pauses: BTreeMap::new(),
            share: Share::new(options.weights),
            telemetry: reader.settled(Class::Telemetry),
            dropped,
            rearranged,
            forgotten,
            corrections,
            next_jump: now,
            reader,
            options,
            limit,
            limit_since: now,
            announcing: false,
            statement_suspect: Refusal::default(),
            letters: Letters::default(),
            set_aside,
            cautious: false,
            sick: None,
            sickness: 0,
            short: BTreeMap::new(),
            hurry: Duration::ZERO,
            tuning,
        };
        drain.tell_refusal(None);
        Ok(drain)
    }

    async fn run(&mut self, stop: CancellationToken) -> Result<(), LaneError> {
        let mut sending: Sending<'a> = FuturesUnordered::new();
        loop {
            let status = self.status.borrow_and_update().clone();
            if status.generation != self.generation {
                return Err(LaneError("the queue file was replaced; starting over with the new one".into()));
            }
            let forgotten = status.forgotten.get(&self.destination).copied() != self.forgotten;
            if forgotten && sending.is_empty() {
                return Err(LaneError(
                    "answers were forgotten while the store was full; reading again what it holds".into(),
                ));
            }
            self.lift_limit();
            let wait = loop {
                // What is under way is waited for: its answers close the oldest holes, so that each new beginning is further on.
                if forgotten {
                    break None;
                }
                self.refill(&status).await?;
                self.look_for_owed(&status)?;
                let before = sending.len();
                let wait = self.dispatch(&status, &mut sending);
                if sending.len() == before || !self.more_on_disk(&status) {
                    break wait;
                }
            };
            self.report(&sending, wait);
            let wake = [wait, self.next_too_old(), self.next_letter()].into_iter().flatten().min();
            let wake = async {
                match wake {
                    Some(at) => self.rim.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some((cargo, outcome)) = sending.next(), if !sending.is_empty() => {
                    match cargo {
                        Cargo::Rows(parcel) => self.settle(parcel, outcome).await,
                        Cargo::Letter(letter) => self.letter_settled(letter, outcome).await,
                    }
                    self.progress.advanced();
                }
                changed = self.up.changed() => {
                    changed.map_err(|_| LaneError("the link has ended".into()))?;
                }
                changed = self.status.changed() => {
                    changed.map_err(|_| LaneError("the store has ended".into()))?;
                }
                flush = asked(&mut self.options.asks) => self.hear(flush),
                () = wake => {}
            }
        }
    }

    /// What was asked of drains from afar is so from now on.
    fn hear(&mut self, flush: bool) {
        if flush {
            self.hurry = self.rim.now() + HURRY;
        }
        if let Some((tuning, _)) = &mut self.options.asks {
            self.tuning = tuning.borrow_and_update().clone();
        }
    }

    fn linger(&self, now: Duration) -> Duration {
        match self.tuning.linger {
            _ if now < self.hurry => Duration::ZERO,
            linger => linger.unwrap_or(self.options.linger),
        }
    }

    /// Fills the window. Returns when to look again even if nothing happens.
    fn dispatch(&mut self, status: &QueueStatus, sending: &mut Sending<'a>) -> Option<Duration> {
        let now = self.rim.now();
        // Not marked as seen: a change that comes after the refill is another turn.
        if !*self.up.borrow() {
            return None;
        }
        if let Some(sick) = self.sick.as_ref().filter(|sick| sick.until > now) {
            return Some(sick.until);
        }
        let window = self.tuning.window.map_or(self.options.window, usize::from);
        let window = window.min(self.link.capabilities().max_in_flight).max(1);
        let window = if crate::sabotage::on("drain-one-by-one") { 1 } else { window };
        let (ordinary, urgent) = match (self.sick.is_some(), self.cautious) {
            (true, _) => (1, 1),
            (false, true) => (1, window),
            (false, false) => (window.saturating_sub(1).max(1), window),
        };
        loop {
            let views = self.views(now);
            let choice = policy::choose(&views, &self.share, now, self.linger(now));
            let urgent_first = matches!(choice, Choice::Send { flow: Flow::Alarm | Flow::Event, .. });
            if !urgent_first
                && sending.len() < urgent
                && let Some(letter) = self.take_letter(now)
            {
                sending.push(self.send(letter));
                continue;
            }
            match choice {
                Choice::Send { flow, shared } => {
                    let places = if flow.class().waits_for_window() { ordinary } else { urgent };
                    if sending.len() >= places {
                        return None;
                    }
                    if !self.affords(flow, status, now) {
                        continue;
                    }
                    let Some(parcel) = self.next_parcel(flow, status) else {
                        return Some(now + Duration::from_secs(1));
                    };
                    let Some(parcel) = self.within_grant(parcel, now) else { continue };
                    if let Some(side) = flow.side() {
                        let bytes = parcel.message.as_ref().map_or(1, |message| message.body.len());
                        self.share.sent(side, bytes, shared);
                    }
                    sending.push(self.send(Cargo::Rows(parcel)));
                }
                Choice::WaitUntil(at) => return Some(at),
                Choice::Idle => return None,
            }
        }
    }

    /// Forgets a learned limit after its time.
    fn lift_limit(&mut self) {
        let most = self.link.capabilities().max_message_bytes;
        if self.limit < most && self.rim.now() >= self.limit_since + LIMIT_HOLDS {
            self.limit = most;
            self.letters.limit_lifted();
        }
    }

    fn views(&self, now: Duration) -> Vec<FlowView> {
        let limit = self.limit;
        self.shelves
            .iter()
            .map(|(flow, shelf)| {
                let mut paused_until = self.pauses.get(&flow.class()).and_then(Pause::until);
                // A row without wall time waits for one, in its place: what is behind it waits too.
                if !shelf.has_again()
                    && let Some(until) = shelf.rows().front().and_then(|row| self.waits_for_time(row))
                    && until > now
                {
                    paused_until = Some(paused_until.map_or(until, |p| p.max(until)));
                }
                if let Some((until, _)) = self.short.get(flow).filter(|(until, _)| *until > now) {
                    paused_until = Some(paused_until.map_or(*until, |p| p.max(*until)));
                }
                FlowView {
                    flow: *flow,
                    rows: shelf.len(),
                    // Eight bytes a reading is less than any encoding takes: this many never fit one message.
                    fills_a_message: shelf.has_again() || shelf.rows().len() * 8 >= limit,
                    oldest_since: shelf.oldest_since(),
                    paused_until,
                }
            })
            .collect()
    }

    /// Until when a reading waits for its wall time. One of an earlier boot will never have one, and what is urgent does not
    /// wait for it.
    fn waits_for_time(&self, row: &QueuedRow) -> Option<Duration> {
        let may_come = row.epoch.wall_offset_ms.is_none() && row.epoch.boot == self.rim.clock.boot_id();
        (may_come && row.stream.class.waits_for_window())
            .then(|| row.at.since_boot() + self.tuning.hold_untrusted.unwrap_or(self.options.hold_untrusted))
    }

    fn next_parcel(&mut self, flow: Flow, status: &QueueStatus) -> Option<Parcel> {
        let suspect = self.statement_suspect.until(self.rim.now()).is_some();
        let states = !self.announcing && !suspect;
        let statement =
            (states && !status.announced.contains(&self.destination)).then(|| statement(status)).flatten();
        let (link, limit) = (self.link, self.limit);
        let most = link.capabilities().max_message_bytes;
        let shelf = self.shelves.get_mut(&flow)?;
        // Not even one reading fits a limit that was guessed: let the destination decide, up to what the link can carry.
        let pack = |rows: &[QueuedRow]| {
            link.pack(None, rows, limit).or_else(|| link.pack(None, rows.get(..1)?, most))
        };
        if let Some(mut parcel) = shelf.take_again() {
            if parcel.message.is_none() {
                let packed = pack(&parcel.rows);
                let count = packed.as_ref().map_or(1, |p| p.rows.max(1));
                if count < parcel.rows.len() {
                    let (head, tail) = parcel.split(count);
                    parcel = head;
                    shelf.again(tail);
                }
                parcel.message = packed.map(|p| p.message);
            }
            return Some(parcel);
        }
        let rows = shelf.rows_in_order();
        // Rows whose epoch may still learn its wall time do not travel with those that know theirs.
        let known = rows.first()?.epoch.wall_offset_ms.is_some();
        let alike = rows.iter().take_while(|r| r.epoch.wall_offset_ms.is_some() == known).count();
        let rows = rows.get(..alike)?;
        let stated = statement.and_then(|statement| link.pack(Some(&statement), rows, limit));
        let announces_epoch = stated.is_some();
        let packed = stated.or_else(|| pack(rows));
        let count = packed.as_ref().map_or(1, |p| p.rows.max(1)).min(rows.len());
        let mut parcel = shelf.take(count);
        parcel.message = packed.map(|p| p.message);
        parcel.announces_epoch = announces_epoch;
        self.announcing |= announces_epoch;
        if let (Some(purse), Some(message)) = (&self.options.purse, &parcel.message) {
            purse.packed(self.link.name(), flow.class(), parcel.rows.len(), message.body.len());
        }
        Some(parcel)
    }

    fn send(&self, cargo: Cargo) -> BoxFuture<'a, (Cargo, Outcome)> {
        let link = self.link;
        let early = match &cargo {
            Cargo::Rows(parcel) if crate::sabotage::on("delete-before-ack") => {
                Some((self.queue.clone(), self.settlement(parcel, Settled::Acknowledged)))
            }
            _ => None,
        };
        Box::pin(async move {
            if let Some((queue, settlement)) = early {
                queue.settle(settlement).await;
            }
            let outcome = match cargo.message() {
                Some(message) => link.send(message, SEND_DEADLINE).await,
                // Not even alone does it fit a message: that is known without asking.
                None => Outcome::TooLarge { limit: None },
            };
            (cargo, outcome)
        })
    }

    /// For the page and the metrics: connected is not enough if what is sent is refused.
    fn tell_refusal(&self, refuses: Option<String>) {
        self.board.destinations.set(self.link.name(), self.rim.clock.mono(), DestinationState { refuses });
    }

    fn report(&self, sending: &Sending<'a>, wait: Option<Duration>) {
        let up = *self.up.borrow();
        let reason = match (up, self.sick.as_ref(), sending.len()) {
            (false, ..) => "waiting for the link".into(),
            (true, Some(sick), _) => format!("the cloud refuses: {}", sick.words),
            (true, None, 0) => match self.short.values().filter(|(until, _)| *until > self.rim.now()).min() {
                Some((until, why)) => {
                    let left = in_words(until.saturating_sub(self.rim.now()).max(Duration::from_secs(1)));
                    format!("waits for the data plan for {left}: {why}")
                }
                None => "nothing to send yet".into(),
            },
            (true, None, _) => "waiting for answers".into(),
        };
        // A link that is down or a queue that is empty can stay so for long; both are watched, so the wait is safe.
        let at_most = match (up, sending.len()) {
            (true, 1..) => SEND_DEADLINE * 2,
            _ => wait.map_or(Duration::from_secs(86_400), |at| at.saturating_sub(self.rim.now())),
        };
        self.progress.waiting(&reason, at_most);
    }
}

/// Waits until something is asked of drains, and whether that is to hurry; for ever where nobody can ask.
async fn asked(asks: &mut Option<(watch::Receiver<Tuning>, watch::Receiver<u64>)>) -> bool {
    let Some((tuning, flush)) = asks else { return std::future::pending().await };
    let (asked, hurry) = tokio::select! {
        biased;
        changed = tuning.changed() => (changed.is_ok(), false),
        changed = flush.changed() => (changed.is_ok(), true),
    };
    if asked { hurry } else { std::future::pending().await }
}

fn statement(status: &QueueStatus) -> Option<EpochStatement> {
    let previous = status.previous_epoch.as_ref().map(|(epoch, sequences)| {
        let last: BTreeMap<String, u64> = serde_json::from_str(sequences).unwrap_or_default();
        (*epoch, last.into_iter().collect())
    });
    Some(EpochStatement { epoch: status.epoch?, previous })
}
