//! The drain: one lane a destination that brings its queue to its link.
//!
//! Level-triggered: it looks at where the queue ends and where it has read to, never at events that can be missed. A
//! message once packed is kept byte for byte, with the readings in it, until its outcome settles it; so a timeout is
//! answered with the same bytes under the same identities. Outcomes may come in any order.
//!
//! Invariants: a reading is in exactly one of: not yet picked, at hand ([`Shelf`]), in a message in flight, waiting to be
//! sent again, settled. What is picked but not settled is lost with the process and found again at the next start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::{EpochStatement, Link, Message, Outcome};
use super::policy::{self, Choice, ClassView};
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::reading::Class;
use crate::store::queue::Outcome as Settled;
use crate::store::queue::{
    DestinationId, Position, Queue, QueueStatus, QueuedRow, Reader, SettledRow, Settlement,
};

/// Settings of a drain.
#[derive(Clone, Copy, Debug)]
pub struct DrainOptions {
    /// Messages in flight at once; the link may allow fewer.
    pub window: usize,
    /// How long a batch may gather although it is not full.
    pub linger: Duration,
    /// How long a reading without trusted wall time waits for one.
    pub hold_untrusted: Duration,
}

/// Rows kept at hand for each class: a few messages' worth, however long the queue is.
const AT_HAND: usize = 512;
/// How long a message may be under way before its outcome counts as unknown.
const SEND_DEADLINE: Duration = Duration::from_secs(120);
/// More rows than this set aside within an hour mean that the destination, not the rows, is at fault.
const SET_ASIDE_PER_HOUR: usize = 100;

/// Builds the lane that drains `destination` into `link`.
pub fn lane(
    link: Arc<dyn Link>,
    destination: DestinationId,
    queue: Queue,
    rim: Rim,
    options: DrainOptions,
    stop: CancellationToken,
) -> Lane {
    Lane::new(format!("drain {}", link.name()), move |progress| {
        let (link, queue, rim, stop) = (Arc::clone(&link), queue.clone(), rim.clone(), stop.clone());
        async move {
            let mut drain = Drain::new(&*link, destination, queue, rim, options, progress)?;
            drain.run(stop).await
        }
    })
}

/// The readings of one class that are at hand.
#[derive(Debug)]
struct Shelf {
    rows: VecDeque<QueuedRow>,
    /// Everything before this is settled or in a message.
    from: Position,
    /// Where the next pick begins.
    read_to: Position,
    /// When the oldest row came into view.
    since: Duration,
    paused_until: Option<Duration>,
    /// Parts of refused messages, to be sent again before anything newer: smaller, or later.
    again: VecDeque<Parcel>,
}

/// Readings that travel together, and the range they settle.
#[derive(Clone, Debug)]
struct Parcel {
    rows: Vec<QueuedRow>,
    from: Position,
    to: Position,
    /// Already packed: to be sent again byte for byte.
    message: Option<Message>,
    announces_epoch: bool,
}

struct Drain<'a> {
    link: &'a dyn Link,
    destination: DestinationId,
    queue: Queue,
    rim: Rim,
    options: DrainOptions,
    progress: Progress,
    status: watch::Receiver<QueueStatus>,
    up: watch::Receiver<bool>,
    reader: Reader,
    generation: u32,
    shelves: BTreeMap<Class, Shelf>,
    /// The longest message this destination takes, as learned.
    limit: usize,
    /// An opening statement is under way.
    announcing: bool,
    set_aside: VecDeque<Duration>,
    sick_until: Option<Duration>,
    sickness: u32,
}

type Sending<'a> = FuturesUnordered<BoxFuture<'a, (Parcel, Outcome)>>;

impl<'a> Drain<'a> {
    fn new(
        link: &'a dyn Link,
        destination: DestinationId,
        queue: Queue,
        rim: Rim,
        options: DrainOptions,
        progress: Progress,
    ) -> Result<Self, LaneError> {
        let status = queue.status();
        let generation = status.borrow().generation;
        let reader = queue.reader(destination).map_err(LaneError::new)?;
        let limit = link.capabilities().max_message_bytes;
        let now = rim.now();
        let shelves =
            Class::ALL.into_iter().map(|class| (class, Shelf::new(reader.start(class), now))).collect();
        let up = link.up();
        Ok(Self {
            link,
            destination,
            queue,
            rim,
            options,
            progress,
            status,
            up,
            reader,
            generation,
            shelves,
            limit,
            announcing: false,
            set_aside: VecDeque::new(),
            sick_until: None,
            sickness: 0,
        })
    }

    async fn run(&mut self, stop: CancellationToken) -> Result<(), LaneError> {
        let mut sending: Sending<'a> = FuturesUnordered::new();
        loop {
            let status = self.status.borrow_and_update().clone();
            if status.generation != self.generation {
                return Err(LaneError("the queue file was replaced; starting over with the new one".into()));
            }
            self.refill(&status).await?;
            let wait = self.dispatch(&status, &mut sending);
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
        for (class, shelf) in &mut self.shelves {
            let end = status.ends.get(class).copied().unwrap_or(shelf.read_to);
            while shelf.rows.len() < AT_HAND / 2 && shelf.read_to < end {
                let picked = self
                    .reader
                    .pick(*class, shelf.read_to, AT_HAND - shelf.rows.len())
                    .map_err(LaneError::new)?;
                let Some(resume) = picked.resume.filter(|resume| *resume != shelf.read_to) else { break };
                if shelf.rows.is_empty() {
                    shelf.since = now;
                }
                shelf.read_to = resume;
                shelf.rows.extend(picked.rows);
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
                            outcome: Settled::Acknowledged,
                            announces_epoch: false,
                        })
                        .await;
                }
            }
        }
        Ok(())
    }

    /// Fills the window. Returns when to look again even if nothing happens.
    fn dispatch(&mut self, status: &QueueStatus, sending: &mut Sending<'a>) -> Option<Duration> {
        let now = self.rim.now();
        if !*self.up.borrow_and_update() {
            return None;
        }
        if let Some(until) = self.sick_until.filter(|until| *until > now) {
            return Some(until);
        }
        let window = self.options.window.min(self.link.capabilities().max_in_flight).max(1);
        loop {
            let views = self.views(now);
            if sending.len() >= window {
                return None;
            }
            match policy::choose(&views, now, self.options.linger) {
                Choice::Send(class) => {
                    let parcel = self.next_parcel(class, status);
                    match parcel {
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
        let hold = self.options.hold_untrusted;
        let limit = self.limit;
        self.shelves
            .iter()
            .map(|(class, shelf)| {
                let mut paused_until = shelf.paused_until;
                // A row without wall time waits for one, in its place: what is behind it waits too.
                if shelf.again.is_empty()
                    && let Some(row) = shelf.rows.front().filter(|r| r.epoch.wall_offset_ms.is_none())
                {
                    let until = row.at.since_boot() + hold;
                    if until > now {
                        paused_until = Some(paused_until.map_or(until, |p| p.max(until)));
                    }
                }
                ClassView {
                    class: *class,
                    rows: shelf.rows.len() + shelf.again.iter().map(|p| p.rows.len()).sum::<usize>(),
                    // Eight bytes a reading is less than any encoding takes: this many never fit one message.
                    fills_a_message: !shelf.again.is_empty() || shelf.rows.len() * 8 >= limit,
                    oldest_since: shelf.since,
                    paused_until,
                }
            })
            .collect()
    }

    fn next_parcel(&mut self, class: Class, status: &QueueStatus) -> Option<Parcel> {
        let statement = (!self.announcing && !status.announced.contains(&self.destination))
            .then(|| statement(status))
            .flatten();
        let now = self.rim.now();
        let (link, limit) = (self.link, self.limit);
        let shelf = self.shelves.get_mut(&class)?;
        if let Some(mut parcel) = shelf.again.pop_front() {
            if parcel.message.is_some() {
                return Some(parcel);
            }
            let packed = link.pack(None, &parcel.rows, limit);
            let count = packed.as_ref().map_or(0, |p| p.rows);
            if count < parcel.rows.len() {
                let (head, tail) = parcel.split(count.max(1));
                parcel = head;
                shelf.again.push_front(tail);
            }
            parcel.message = packed.map(|p| p.message);
            return Some(parcel);
        }
        let rows: Vec<QueuedRow> = {
            let rows = shelf.rows.make_contiguous();
            // Rows whose epoch may still learn its wall time do not travel with those that know theirs.
            let known = rows.first()?.epoch.wall_offset_ms.is_some();
            let alike = rows.iter().take_while(|r| r.epoch.wall_offset_ms.is_some() == known).count();
            rows.get(..alike)?.to_vec()
        };
        let packed = link.pack(statement.as_ref(), &rows, limit);
        let count = packed.as_ref().map_or(1, |p| p.rows.max(1)).min(rows.len());
        let from = shelf.from;
        shelf.rows.drain(..count);
        let to = shelf.rows.front().map_or(shelf.read_to, |row| row.position);
        shelf.from = to;
        shelf.since = now;
        let mut rows = rows;
        rows.truncate(count);
        let announces_epoch = statement.is_some() && packed.is_some();
        self.announcing |= announces_epoch;
        Some(Parcel { rows, from, to, message: packed.map(|p| p.message), announces_epoch })
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

    async fn settle(&mut self, mut parcel: Parcel, outcome: Outcome) {
        let now = self.rim.now();
        let Some(class) = parcel.rows.first().map(|r| r.stream.class) else { return };
        if parcel.announces_epoch {
            self.announcing = false;
        }
        match outcome {
            Outcome::Acknowledged => {
                self.sickness = 0;
                self.record(&parcel, Settled::Acknowledged).await;
            }
            Outcome::Unknown => self.again(class, parcel),
            Outcome::Later { after } => {
                if let Some(shelf) = self.shelves.get_mut(&class) {
                    shelf.paused_until = Some(now + after);
                }
                self.again(class, parcel);
            }
            Outcome::LinkSick { why, next_step } => {
                tracing::error!(
                    destination = self.link.name(),
                    why,
                    next_step,
                    "the cloud refuses; sending stops"
                );
                self.fall_sick();
                self.again(class, parcel);
            }
            Outcome::TooLarge { limit } if parcel.rows.len() > 1 => {
                let longest = parcel.message.as_ref().map_or(self.limit, |m| m.body.len());
                self.limit = limit.unwrap_or(longest / 2).clamp(64, self.limit.max(64));
                parcel.message = None;
                parcel.announces_epoch = false;
                self.again(class, parcel);
            }
            Outcome::TooLarge { .. } => {
                self.put_aside(class, parcel, "too long for one message to this destination".into()).await;
            }
            Outcome::Bad { why } if parcel.rows.len() > 1 => {
                tracing::warn!(
                    destination = self.link.name(),
                    why,
                    rows = parcel.rows.len(),
                    "refused; halving"
                );
                let middle = parcel.rows.len() / 2;
                let (head, tail) = parcel.split(middle);
                self.again(class, tail);
                self.again(class, head);
            }
            Outcome::Bad { why } => self.put_aside(class, parcel, why).await,
        }
    }

    async fn put_aside(&mut self, class: Class, parcel: Parcel, why: String) {
        let now = self.rim.now();
        while self.set_aside.front().is_some_and(|at| now.saturating_sub(*at) > Duration::from_secs(3600)) {
            self.set_aside.pop_front();
        }
        if self.set_aside.len() >= SET_ASIDE_PER_HOUR {
            tracing::error!(
                destination = self.link.name(),
                "more than {SET_ASIDE_PER_HOUR} readings refused within an hour: the destination is at fault, not they"
            );
            self.fall_sick();
            self.again(class, parcel);
            return;
        }
        self.set_aside.push_back(now);
        self.record(&parcel, Settled::SetAside(why)).await;
    }

    fn fall_sick(&mut self) {
        let wait = policy::backoff(
            self.sickness,
            Duration::from_secs(60),
            Duration::from_secs(3600),
            self.rim.random.u64(),
        );
        self.sickness += 1;
        self.sick_until = Some(self.rim.now() + wait);
    }

    fn again(&mut self, class: Class, parcel: Parcel) {
        if let Some(shelf) = self.shelves.get_mut(&class) {
            shelf.again.push_front(parcel);
        }
    }

    async fn record(&mut self, parcel: &Parcel, outcome: Settled) {
        if let Some(settlement) = self.settlement(parcel, outcome) {
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
        Some(Settlement {
            generation: self.generation,
            destination: self.destination,
            class: parcel.rows.first()?.stream.class,
            from: parcel.from,
            to: parcel.to,
            rows,
            outcome,
            announces_epoch: parcel.announces_epoch,
        })
    }

    fn report(&self, sending: &Sending<'a>, wait: Option<Duration>) {
        let up = *self.up.borrow();
        let reason = match (up, self.sick_until.filter(|u| *u > self.rim.now()), sending.len()) {
            (false, ..) => "waiting for the link",
            (true, Some(_), _) => "the cloud refuses; asking again later",
            (true, None, 0) => "nothing to send yet",
            (true, None, _) => "waiting for answers",
        };
        // A link that is down or a queue that is empty can stay so for long; both are watched, so the wait is safe.
        let at_most = match (up, sending.len()) {
            (true, 1..) => SEND_DEADLINE * 2,
            _ => wait.map_or(Duration::from_secs(86_400), |at| at.saturating_sub(self.rim.now())),
        };
        self.progress.waiting(reason, at_most);
    }
}

impl Shelf {
    fn new(start: Position, now: Duration) -> Self {
        Self {
            rows: VecDeque::new(),
            from: start,
            read_to: start,
            since: now,
            paused_until: None,
            again: VecDeque::new(),
        }
    }
}

impl Parcel {
    /// The first `count` rows, and the rest. Both are packed anew; neither carries the statement.
    fn split(mut self, count: usize) -> (Self, Self) {
        let tail = self.rows.split_off(count.min(self.rows.len()));
        let middle = tail.first().map_or(self.to, |row| row.position);
        let rest = Self { rows: tail, from: middle, to: self.to, message: None, announces_epoch: false };
        (Self { rows: self.rows, from: self.from, to: middle, message: None, announces_epoch: false }, rest)
    }
}

fn statement(status: &QueueStatus) -> Option<EpochStatement> {
    let previous = status.previous_epoch.as_ref().map(|(epoch, sequences)| {
        let last: BTreeMap<String, u64> = serde_json::from_str(sequences).unwrap_or_default();
        (*epoch, last.into_iter().collect())
    });
    Some(EpochStatement { epoch: status.epoch?, previous })
}
