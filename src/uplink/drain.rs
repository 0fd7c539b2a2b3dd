//! The drain: one lane a destination that brings its queue to its link.
//!
//! Level-triggered: it looks at where the queue ends and where it has read to, never at events that can be missed. A
//! message once packed is kept byte for byte, with the readings in it, until its outcome settles it; so a timeout is
//! answered with the same bytes under the same identities. Outcomes may come in any order.
//!
//! A destination that asks for patience or refuses is asked again with one message, not with a window of them, and more
//! seldom each time; its first acknowledgement opens the window again. One place in the window is kept for what is urgent.
//!
//! Invariants: a reading is in exactly one of: not yet picked, at hand (`Shelf`), in a message in flight, waiting to be
//! sent again, settled. What is picked but not settled is lost with the process and found again at the next start. Only
//! an outcome settles readings, and nothing is sent again without a pause.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::{EpochStatement, Link, Outcome};
use super::policy::{self, Choice, ClassView};
use super::shelf::{Parcel, Shelf};
use crate::board::{Board, DestinationState, in_words};
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::reading::{Class, StreamId};
use crate::spend::{Grant, Purse, Want};
use crate::store::queue::Outcome as Settled;
use crate::store::queue::{
    DestinationId, Position, Queue, QueueStatus, QueuedRow, Reader, SettledRow, Settlement,
};

/// Settings of a drain, and what it may spend.
#[derive(Clone, Debug)]
pub struct DrainOptions {
    /// Messages in flight at once; the link may allow fewer.
    pub window: usize,
    /// How long a batch may gather although it is not full.
    pub linger: Duration,
    /// How long a reading without trusted wall time waits for one.
    pub hold_untrusted: Duration,
    /// Asked before anything is packed.
    pub purse: Arc<Purse>,
}

/// Rows kept at hand for each class: a few messages' worth, however long the queue is.
const AT_HAND: usize = 512;
/// How long a message may be under way before its outcome counts as unknown.
const SEND_DEADLINE: Duration = Duration::from_secs(120);
/// More rows than this set aside within an hour mean that the destination, not the rows, is at fault.
const SET_ASIDE_PER_HOUR: usize = 100;
/// Before a message without an answer is sent again. Waiting for the answer took its time already; this is for links that
/// say at once that they do not know.
const BEFORE_REPEATING: Duration = Duration::from_secs(1);
/// A destination that goes on asking for patience is asked at least this often, unless it named a longer time.
const LATER_MOST: Duration = Duration::from_secs(900);
/// No destination takes less than this.
const SMALLEST_LIMIT: usize = 64;
/// A learned limit is tried anew after this: the destination may have changed.
const LIMIT_HOLDS: Duration = Duration::from_secs(3600);

/// A class without a grant asks again at least this often: the network may have changed.
const PLAN_HOLDS: Duration = Duration::from_secs(600);

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
    shelves: BTreeMap<Class, Shelf>,
    /// The longest message this destination takes, as learned, and when.
    limit: usize,
    limit_since: Duration,
    /// The opening statement is under way or delivered.
    announcing: bool,
    /// A message with the statement was refused, and it is not known whether for its sake.
    statement_suspect: bool,
    set_aside: VecDeque<Duration>,
    /// The destination did not acknowledge lately: one message at a time.
    cautious: bool,
    sick: Option<Sick>,
    /// How often in a row it refused.
    sickness: u32,
    /// Readings that are given up for the data plan together with the parcel whose range they lie in.
    thinned: BTreeMap<(Class, Position), StreamId>,
    /// Until when something waits for the data plan, and why.
    short: Option<(Duration, &'static str)>,
}

/// The destination refuses, and nothing is sent.
#[derive(Debug)]
struct Sick {
    until: Duration,
    words: String,
}

type Sending<'a> = FuturesUnordered<BoxFuture<'a, (Parcel, Outcome)>>;

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
        let generation = status.borrow().generation;
        let reader = queue.reader(destination).map_err(LaneError::new)?;
        let limit = link.capabilities().max_message_bytes;
        let now = rim.now();
        let shelves = Class::ALL.into_iter().map(|class| (class, Shelf::new(reader.start(class)))).collect();
        let up = link.up();
        let drain = Self {
            link,
            destination,
            queue,
            rim,
            options,
            board,
            progress,
            status,
            up,
            reader,
            generation,
            shelves,
            limit,
            limit_since: now,
            announcing: false,
            statement_suspect: false,
            set_aside: VecDeque::new(),
            cautious: false,
            sick: None,
            sickness: 0,
            thinned: BTreeMap::new(),
            short: None,
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
            let wait = loop {
                self.refill(&status).await?;
                let before = sending.len();
                let wait = self.dispatch(&status, &mut sending);
                if sending.len() == before || !self.more_on_disk(&status) {
                    break wait;
                }
            };
            self.report(&sending, wait);
            let wake = async {
                match wait {
                    Some(at) => self.rim.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some((parcel, outcome)) = sending.next(), if !sending.is_empty() => {
                    self.settle(parcel, outcome).await;
                    self.progress.advanced();
                }
                changed = self.up.changed() => {
                    changed.map_err(|_| LaneError("the link has ended".into()))?;
                    // What was at hand may have been given up for room while nothing could be sent.
                    if !crate::sabotage::on("send-the-dropped") {
                        self.shelves.values_mut().for_each(Shelf::lay_back);
                    }
                }
                changed = self.status.changed() => {
                    changed.map_err(|_| LaneError("the store has ended".into()))?;
                }
                () = wake => {}
            }
        }
    }

    /// Picks from disk what there is room for at hand.
    async fn refill(&mut self, status: &QueueStatus) -> Result<(), LaneError> {
        let now = self.rim.now();
        let dated_now = self.rim.clock.wall().trusted;
        let boot = self.rim.clock.boot_id();
        for (class, shelf) in &mut self.shelves {
            let undated = |r: &QueuedRow| r.epoch.wall_offset_ms.is_none() && r.epoch.boot == boot;
            if dated_now && shelf.rows.front().is_some_and(undated) {
                // Picked before the time was known: the file knows it by now, or will in a moment.
                shelf.lay_back();
                let from = shelf.from;
                self.thinned.retain(|(of, position), _| of != class || *position < from);
            }
            let end = status.ends.get(class).copied().unwrap_or(shelf.read_to);
            let at_hand = if crate::sabotage::on("shelf-without-end") { usize::MAX } else { AT_HAND };
            while shelf.rows.len() < at_hand / 2 && shelf.read_to < end {
                let picked = self
                    .reader
                    .pick(*class, shelf.read_to, at_hand - shelf.rows.len())
                    .map_err(LaneError::new)?;
                let Some(resume) = picked.resume.filter(|resume| *resume != shelf.read_to) else { break };
                shelf.arrive(now, resume, picked.rows);
                if shelf.rows.is_empty() {
                    // Nothing of ours in between: settled by looking.
                    let (from, to) = (shelf.from, resume);
                    shelf.from = to;
                    self.queue
                        .settle(Settlement {
                            generation: self.generation,
                            destination: self.destination,
                            class: *class,
                            from,
                            to,
                            rows: Vec::new(),
                            thinned: Vec::new(),
                            outcome: Settled::Acknowledged,
                            announces_epoch: false,
                        })
                        .await;
                }
            }
        }
        Ok(())
    }

    /// Whether a shelf would take more, and there is more.
    fn more_on_disk(&self, status: &QueueStatus) -> bool {
        self.shelves.iter().any(|(class, shelf)| {
            shelf.rows.len() < AT_HAND / 2 && status.ends.get(class).is_some_and(|end| shelf.read_to < *end)
        })
    }

    /// Fills the window. Returns when to look again even if nothing happens.
    fn dispatch(&mut self, status: &QueueStatus, sending: &mut Sending<'a>) -> Option<Duration> {
        let now = self.rim.now();
        if !*self.up.borrow_and_update() {
            return None;
        }
        if let Some(sick) = self.sick.as_ref().filter(|sick| sick.until > now) {
            return Some(sick.until);
        }
        let most = self.link.capabilities().max_message_bytes;
        if self.limit < most && now >= self.limit_since + LIMIT_HOLDS {
            self.limit = most;
        }
        let window = self.options.window.min(self.link.capabilities().max_in_flight).max(1);
        let window = if crate::sabotage::on("drain-one-by-one") { 1 } else { window };
        let (ordinary, urgent) = match (self.sick.is_some(), self.cautious) {
            (true, _) => (1, 1),
            (false, true) => (1, window),
            (false, false) => (window.saturating_sub(1).max(1), window),
        };
        loop {
            let views = self.views(now);
            match policy::choose(&views, now, self.options.linger) {
                Choice::Send(class) => {
                    let places = if class.waits_for_window() { ordinary } else { urgent };
                    if sending.len() >= places {
                        return None;
                    }
                    if !self.affords(class, status, now) {
                        continue;
                    }
                    match self.next_parcel(class, status) {
                        Some(parcel) => sending.push(self.send(parcel)),
                        None => return Some(now + Duration::from_secs(1)),
                    }
                }
                Choice::WaitUntil(at) => return Some(at),
                Choice::Idle => return None,
            }
        }
    }

    fn views(&mut self, now: Duration) -> Vec<ClassView> {
        let limit = self.limit;
        self.shelves
            .iter()
            .map(|(class, shelf)| {
                let mut paused_until = shelf.paused_until;
                // A row without wall time waits for one, in its place: what is behind it waits too.
                if !shelf.has_again()
                    && let Some(until) = shelf.rows.front().and_then(|row| self.waits_for_time(row))
                    && until > now
                {
                    paused_until = Some(paused_until.map_or(until, |p| p.max(until)));
                }
                ClassView {
                    class: *class,
                    rows: shelf.len(),
                    // Eight bytes a reading is less than any encoding takes: this many never fit one message.
                    fills_a_message: shelf.has_again() || shelf.rows.len() * 8 >= limit,
                    oldest_since: shelf.oldest_since(),
                    paused_until,
                }
            })
            .collect()
    }

    /// Asks for a grant. Without one the class is passed over until its time.
    fn affords(&mut self, class: Class, status: &QueueStatus, now: Duration) -> bool {
        let most = self.limit;
        let Some(shelf) = self.shelves.get_mut(&class) else { return true };
        let rows = shelf.len();
        let queued = status.totals.get(&(self.destination, class)).map_or(0, |totals| totals.queued);
        let want = Want {
            destination: self.link.name(),
            class,
            oldest: shelf.oldest().unwrap_or_else(|| self.rim.clock.mono()),
            rows,
            waiting: queued.max(rows as u64),
            most,
        };
        match self.options.purse.ask(&want) {
            Grant::Go => {
                if self.short.is_some_and(|(until, _)| until <= now) {
                    self.short = None;
                }
                true
            }
            Grant::Thin { factor } => {
                let thinned = &mut self.thinned;
                shelf.thin(factor, |position, stream| {
                    thinned.insert((class, position), stream);
                });
                true
            }
            Grant::Wait { until, why } => {
                let until = until.clamp(now + Duration::from_secs(1), now + PLAN_HOLDS);
                shelf.pause(until);
                self.short = Some((until, why.words()));
                false
            }
        }
    }

    /// Until when a reading waits for its wall time. One of an earlier boot will never have one, and what is urgent does not
    /// wait for it.
    fn waits_for_time(&self, row: &QueuedRow) -> Option<Duration> {
        let may_come = row.epoch.wall_offset_ms.is_none() && row.epoch.boot == self.rim.clock.boot_id();
        (may_come && row.stream.class.waits_for_window())
            .then(|| row.at.since_boot() + self.options.hold_untrusted)
    }

    fn next_parcel(&mut self, class: Class, status: &QueueStatus) -> Option<Parcel> {
        let states = !self.announcing && !self.statement_suspect;
        let statement =
            (states && !status.announced.contains(&self.destination)).then(|| statement(status)).flatten();
        let (link, limit) = (self.link, self.limit);
        let most = link.capabilities().max_message_bytes;
        let shelf = self.shelves.get_mut(&class)?;
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
        let rows = shelf.rows.make_contiguous();
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
        if let Some(message) = &parcel.message {
            self.options.purse.packed(self.link.name(), class, parcel.rows.len(), message.body.len());
        }
        Some(parcel)
    }

    fn send(&self, parcel: Parcel) -> BoxFuture<'a, (Parcel, Outcome)> {
        let link = self.link;
        let early = crate::sabotage::on("delete-before-ack")
            .then(|| (self.queue.clone(), self.settlement(&parcel, Settled::Acknowledged)));
        Box::pin(async move {
            if let Some((queue, Some(settlement))) = early {
                queue.settle(settlement).await;
            }
            let outcome = match &parcel.message {
                Some(message) => link.send(message, SEND_DEADLINE).await,
                // Not even alone does it fit a message: that is known without asking.
                None => Outcome::TooLarge { limit: None },
            };
            (parcel, outcome)
        })
    }

    async fn settle(&mut self, parcel: Parcel, outcome: Outcome) {
        let now = self.rim.now();
        let Some(class) = parcel.rows.first().map(|r| r.stream.class) else { return };
        match outcome {
            Outcome::Acknowledged => {
                self.recovered(class, now);
                self.record(&parcel, Settled::Acknowledged).await;
            }
            Outcome::Unknown => {
                if let Some(shelf) = self.shelves.get_mut(&class) {
                    shelf.pause(now + BEFORE_REPEATING);
                }
                self.again(class, parcel);
            }
            Outcome::Later { after } => {
                self.wait_longer(class, now, after);
                self.again(class, parcel);
            }
            Outcome::LinkSick { why, next_step } => {
                self.fall_sick(now, format!("{why}. Next: {next_step}"));
                self.again(class, parcel);
            }
            Outcome::TooLarge { limit } => self.too_large(class, parcel, limit).await,
            Outcome::Bad { why } if parcel.announces_epoch => {
                tracing::warn!(
                    destination = self.link.name(),
                    why,
                    "refused; sent again without the statement"
                );
                self.statement_suspect = true;
                self.without_statement(class, parcel);
            }
            Outcome::Bad { why } => {
                // Also without a statement: it was a reading, and the statement may be tried again.
                self.statement_suspect = false;
                if parcel.rows.len() == 1 {
                    return self.put_aside(class, parcel, why).await;
                }
                let rows = parcel.rows.len();
                tracing::warn!(destination = self.link.name(), why, rows, "refused; halving");
                let (head, tail) = parcel.split(rows / 2);
                self.again(class, head);
                self.again(class, tail);
            }
        }
    }

    /// The destination takes messages again, unless a refusal that came meanwhile still holds.
    fn recovered(&mut self, class: Class, now: Duration) {
        if let Some(shelf) = self.shelves.get_mut(&class) {
            shelf.laters = 0;
        }
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
        let Some(shelf) = self.shelves.get_mut(&class) else { return };
        let mut wait = after;
        // Of a window that was sent away at once only the first counts.
        if shelf.paused_until.is_none_or(|until| until <= now) {
            wait = after.saturating_mul(1 << shelf.laters.min(10)).min(LATER_MOST.max(after));
            shelf.laters = shelf.laters.saturating_add(1);
        }
        // A little more than told, so that gateways sent away together do not return together.
        shelf.pause(now + wait + self.rim.random.below(wait / 8));
    }

    async fn too_large(&mut self, class: Class, parcel: Parcel, named: Option<usize>) {
        let Some(length) = parcel.message.as_ref().map(|message| message.body.len()) else {
            return self.put_aside(class, parcel, "too long for any message of this link".into()).await;
        };
        if parcel.rows.len() == 1 && !parcel.announces_epoch {
            return self
                .put_aside(class, parcel, "too long for one message to this destination".into())
                .await;
        }
        // A limit that the message was within says nothing; halving always ends.
        let smaller = named.filter(|limit| *limit < length).unwrap_or(length / 2);
        self.limit = self.limit.min(smaller).max(SMALLEST_LIMIT);
        self.limit_since = self.rim.now();
        self.without_statement(class, parcel);
    }

    /// Has the readings packed anew; a statement among them waits for another message.
    fn without_statement(&mut self, class: Class, parcel: Parcel) {
        if parcel.announces_epoch {
            self.announcing = false;
        }
        self.again(class, parcel.unpacked());
    }

    async fn put_aside(&mut self, class: Class, parcel: Parcel, why: String) {
        let now = self.rim.now();
        while self.set_aside.front().is_some_and(|at| now.saturating_sub(*at) > Duration::from_secs(3600)) {
            self.set_aside.pop_front();
        }
        if self.set_aside.len() >= SET_ASIDE_PER_HOUR {
            let words = format!(
                "more than {SET_ASIDE_PER_HOUR} readings refused within an hour ({why}): the destination is at fault, \
                 not they. Next: look at what it expects"
            );
            self.fall_sick(now, words);
            self.again(class, parcel);
            return;
        }
        self.set_aside.push_back(now);
        self.record(&parcel, Settled::SetAside(why)).await;
    }

    /// Stops sending. What else was in flight and comes back refused is part of the same refusal.
    fn fall_sick(&mut self, now: Duration, words: String) {
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

    /// For the page and the metrics: connected is not enough if what is sent is refused.
    fn tell_refusal(&self, refuses: Option<String>) {
        self.board.destinations.set(self.link.name(), self.rim.clock.mono(), DestinationState { refuses });
    }

    fn again(&mut self, class: Class, parcel: Parcel) {
        if let Some(shelf) = self.shelves.get_mut(&class) {
            shelf.again(parcel);
        }
    }

    async fn record(&mut self, parcel: &Parcel, outcome: Settled) {
        if let Some(settlement) = self.settlement(parcel, outcome) {
            for row in &settlement.thinned {
                self.thinned.remove(&(settlement.class, row.position));
            }
            self.queue.settle(settlement).await;
        }
    }

    /// What becomes of a parcel's readings. `None` for an empty parcel, which is never made.
    fn settlement(&self, parcel: &Parcel, outcome: Settled) -> Option<Settlement> {
        let rows = parcel
            .rows
            .iter()
            .map(|r| SettledRow { position: r.position, stream: r.sample.stream })
            .collect();
        let class = parcel.rows.first()?.stream.class;
        let thinned = self
            .thinned
            .range((class, parcel.from)..(class, parcel.to))
            .map(|((_, position), stream)| SettledRow { position: *position, stream: *stream })
            .collect();
        Some(Settlement {
            generation: self.generation,
            destination: self.destination,
            class,
            from: parcel.from,
            to: parcel.to,
            rows,
            outcome,
            thinned,
            announces_epoch: parcel.announces_epoch,
        })
    }

    fn report(&self, sending: &Sending<'a>, wait: Option<Duration>) {
        let up = *self.up.borrow();
        let reason = match (up, self.sick.as_ref(), sending.len()) {
            (false, ..) => "waiting for the link".into(),
            (true, Some(sick), _) => format!("the cloud refuses: {}", sick.words),
            (true, None, 0) => match self.short.filter(|(until, _)| *until > self.rim.now()) {
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

fn statement(status: &QueueStatus) -> Option<EpochStatement> {
    let previous = status.previous_epoch.as_ref().map(|(epoch, sequences)| {
        let last: BTreeMap<String, u64> = serde_json::from_str(sequences).unwrap_or_default();
        (*epoch, last.into_iter().collect())
    });
    Some(EpochStatement { epoch: status.epoch?, previous })
}
