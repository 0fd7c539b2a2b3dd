//! What lanes hold of the ledger: it knows the time and the network they spend in, and tells people.
//!
//! Owns the ledger, behind a lock that is held for no longer than a calculation. Nothing here waits for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::grant::{Ask, Grant, Why};
use super::ledger::{Ledger, Moment, Network, Record};
use super::plan::Plan;
use super::purpose::{Direction, PURPOSES, Purpose};
use super::total::Total;
use super::wire::Learned;
use crate::board::{Board, Counter, DataPlan, PlanPeriod};
use crate::clock::{Clock, Mono};
use crate::reading::Class;
use crate::store::queue::{DestinationId, Queue, QueueStatus};

/// However short the plan is, a message that holds anything older than this waits no more for being full.
const GATHERED: Duration = Duration::from_secs(30 * 60);
/// A backlog is thinned no more when nobody asked for it for so long: it has ended, whatever ended it. While there is one, and a
/// way for it, it asks every ten minutes at the latest.
const BACKLOG_ASKS: Duration = Duration::from_secs(20 * 60);
/// More than any window of messages in flight.
const MOST_PACKED: usize = 256;

/// The purse: clones of its `Arc` are handed to everything that spends.
pub struct Purse {
    clock: Arc<dyn Clock>,
    board: Arc<Board>,
    /// Telemetry younger than this is live.
    live_bound: Duration,
    state: Mutex<State>,
    /// Told when a record should be made.
    due: Notify,
    /// Tells where alarms wait.
    queue: OnceLock<Watched>,
}

/// How the queue is, and its destinations' names.
type Watched = (watch::Receiver<QueueStatus>, Vec<(DestinationId, String)>);

struct State {
    ledger: Ledger,
    /// A reading of one class is not as long as one of another.
    learned: BTreeMap<(String, Class), Learned>,
    /// Messages that were packed and have not left yet: readings and bytes of each, in order.
    packed: BTreeMap<(String, Class), VecDeque<(u64, u64)>>,
    /// What was granted last, by destination, until a message was made of it.
    granted: BTreeMap<String, (Purpose, u64)>,
    /// What was refused and not granted since, by destination.
    waits: BTreeMap<(String, Purpose), (Duration, Why)>,
    /// Destinations whose newest granted telemetry was backlog: a link knows the class of a message, not its age.
    backlog: BTreeSet<String>,
    /// One reading in so many is sent of a backlog, by destination, and when it asked last.
    thinned: BTreeMap<String, (u64, Duration)>,
    /// Everything charged in this run, by what for.
    charged: [u64; PURPOSES],
    /// What the path's own counters say.
    total: Option<Total>,
}

/// What caused bytes, as a link knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Names, handshakes, keepalives, repetitions.
    Session,
    /// Reports, manifests, settings.
    Management,
    /// A page of the firmware log.
    FirmwareLog,
    /// What the gateway says of its own state.
    State,
    /// Its own log.
    Diagnostics,
    /// A block of a firmware image, or the request for it.
    Firmware,
    /// A message with readings, or the answer to it.
    Message(Class),
}

/// A message that a drain would like to pack.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// For whom.
    pub destination: &'a str,
    /// Of what.
    pub class: Class,
    /// How long ago the oldest of the readings was captured; as old as can be where that was in another boot.
    pub age: Duration,
    /// Readings at hand.
    pub rows: usize,
    /// All that wait, on disk too.
    pub waiting: u64,
    /// The longest message, bytes.
    pub most: usize,
    /// The message that waits to be sent, if one was packed already.
    pub packed: Option<Size>,
}

/// A message as packed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its body.
    pub body: usize,
    /// Its path or topic.
    pub address: usize,
}

impl fmt::Debug for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purse").field("live_bound", &self.live_bound).finish_non_exhaustive()
    }
}

impl Purse {
    /// A purse for a plan, going on where `restored` ended.
    #[must_use]
    pub fn new(
        plan: Plan,
        restored: Option<Record>,
        live_bound: Duration,
        clock: Arc<dyn Clock>,
        board: Arc<Board>,
    ) -> Arc<Self> {
        let state = State {
            ledger: Ledger::new(plan, restored),
            learned: BTreeMap::new(),
            packed: BTreeMap::new(),
            granted: BTreeMap::new(),
            waits: BTreeMap::new(),
            backlog: BTreeSet::new(),
            thinned: BTreeMap::new(),
            charged: [0; PURPOSES],
            total: None,
        };
        Arc::new(Self {
            clock,
            board,
            live_bound,
            state: Mutex::new(state),
            due: Notify::new(),
            queue: OnceLock::new(),
        })
    }

    /// One that grants everything.
    #[must_use]
    pub fn unlimited(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::new(Plan::unlimited(), None, Duration::from_secs(300), clock, Board::shared())
    }

    /// Counts bytes on the wire, headers included.
    pub fn charge(&self, purpose: Purpose, direction: Direction, bytes: u64) {
        let (now, network) = (self.now(), self.network());
        let mut state = self.state();
        state.ledger.charge(now, purpose, direction, bytes, network);
        if let Some(charged) = state.charged.get_mut(purpose as usize) {
            *charged = charged.saturating_add(bytes);
        }
        if state.ledger.wants_record(now.mono) {
            self.due.notify_one();
        }
    }

    /// As [`Purse::charge`], by what caused the bytes. What messages with readings cost is learned.
    pub fn caused(&self, destination: &str, cause: Cause, direction: Direction, bytes: u64) {
        match cause {
            Cause::Session => self.charge(Purpose::Session, direction, bytes),
            Cause::Management => self.charge(Purpose::Management, direction, bytes),
            Cause::FirmwareLog => self.charge(Purpose::FirmwareLog, direction, bytes),
            Cause::State => self.charge(Purpose::State, direction, bytes),
            Cause::Diagnostics => self.charge(Purpose::Diagnostics, direction, bytes),
            Cause::Firmware => self.charge(Purpose::Firmware, direction, bytes),
            Cause::Message(class) => {
                let backlog = class == Class::Telemetry && self.state().backlog.contains(destination);
                self.charge(Purpose::of(class, !backlog), direction, bytes);
                let mut state = self.state();
                let key = (destination.to_owned(), class);
                let left = match direction {
                    Direction::Up => state.packed.get_mut(&key).and_then(VecDeque::pop_front),
                    Direction::Down => None,
                };
                let learned = state.learned.entry(key).or_default();
                if let Some((rows, body)) = left {
                    learned.packed(rows, body);
                }
                learned.charged(bytes);
            }
        }
    }

    /// What was charged for a purpose in this run, bytes.
    #[must_use]
    pub fn charged_for(&self, purpose: Purpose) -> u64 {
        self.state().charged.get(purpose as usize).copied().unwrap_or(0)
    }

    /// Whether a message may be packed now.
    #[must_use]
    pub fn ask(&self, want: &Want<'_>) -> Grant {
        let now = self.now();
        let live = want.age <= self.live_bound;
        let purpose = Purpose::of(want.class, live);
        let network = self.network();
        let mut state = self.state();
        state.forget_ended(now.mono);
        let key = (want.destination.to_owned(), want.class);
        let learned = state.learned.get(&key).copied().unwrap_or_default();
        let most = want.most as u64;
        let (bytes, full) = match want.packed {
            Some(size) => (learned.carried(size.body as u64, size.address as u64), true),
            None => learned.message(want.rows as u64, most),
        };
        let waiting = learned.all(want.waiting, most);
        // In an hour of a backlog that is thinned what is live would join it, and be late: it goes while it is live.
        let soon_late =
            live && want.age > self.live_bound / 2 && state.thinned.contains_key(want.destination);
        let full = full || !want.class.waits_for_window() || want.age > GATHERED || soon_late;
        let grant = state.ledger.grant(now, &Ask { purpose, bytes, waiting, full, network });
        let key = (want.destination.to_owned(), purpose);
        let changed = match grant {
            Grant::Wait { why: Why::Recording, .. } => {
                self.due.notify_one();
                false
            }
            Grant::Wait { until, why } => {
                let before = state.waits.insert(key, (until, why));
                before.is_none_or(|(_, before)| before != why)
            }
            Grant::Go | Grant::Thin { .. } => state.waits.remove(&key).is_some(),
        };
        if !matches!(grant, Grant::Wait { .. }) {
            state.granted.insert(want.destination.to_owned(), (purpose, bytes));
        }
        if !matches!(grant, Grant::Wait { .. }) && want.class == Class::Telemetry {
            match purpose {
                Purpose::Backlog => state.backlog.insert(want.destination.to_owned()),
                _ => state.backlog.remove(want.destination),
            };
        }
        let thinned = match grant {
            Grant::Thin { factor } => {
                let before = state.thinned.insert(want.destination.to_owned(), (factor, now.mono));
                before.is_none_or(|(before, _)| before != factor)
            }
            Grant::Go if purpose == Purpose::Backlog => state.thinned.remove(want.destination).is_some(),
            Grant::Wait { .. } if purpose == Purpose::Backlog => {
                if let Some((_, asked)) = state.thinned.get_mut(want.destination) {
                    *asked = now.mono;
                }
                false
            }
            Grant::Go | Grant::Wait { .. } => false,
        };
        drop(state);
        if changed || thinned {
            self.publish();
        }
        grant
    }

    /// A message was packed: what a reading takes is learned when it leaves.
    pub fn packed(&self, destination: &str, class: Class, rows: usize, body: usize) {
        let mut state = self.state();
        let packed = state.packed.entry((destination.to_owned(), class)).or_default();
        packed.push_back((rows as u64, body as u64));
        // Those that never left: nothing is learned of them.
        if packed.len() > MOST_PACKED {
            packed.pop_front();
        }
    }

    /// What was asked for was a guess: now the message is known. Its whole cost is granted, and what was granted beyond it is
    /// given back. `None` when it may go; otherwise it is asked for again, as it is.
    #[must_use]
    pub fn falls_short(&self, destination: &str, class: Class, size: Size) -> Option<(Duration, Why)> {
        let (now, network) = (self.now(), self.network());
        let mut state = self.state();
        let (purpose, granted) = state.granted.remove(destination)?;
        let learned = state.learned.get(&(destination.to_owned(), class)).copied().unwrap_or_default();
        let cost = learned.carried(size.body as u64, size.address as u64);
        let Some(bytes) = cost.checked_sub(granted).filter(|bytes| *bytes > 0) else {
            state.ledger.give_back(purpose, granted - cost.min(granted));
            return None;
        };
        let ask = Ask { purpose, bytes, waiting: bytes, full: true, network };
        let Grant::Wait { until, why } = state.ledger.grant(now, &ask) else { return None };
        state.ledger.give_back(purpose, granted);
        state.waits.insert((destination.to_owned(), purpose), (until, why));
        self.due.notify_one();
        Some((until, why))
    }

    /// Whether a message without readings may go to a destination. `None` when it may.
    #[must_use]
    pub fn message_refused(&self, destination: &str, class: Class, size: Size) -> Option<(Duration, Why)> {
        let learned = self.state().learned.get(&(destination.to_owned(), class)).copied().unwrap_or_default();
        let bytes = learned.carried(size.body as u64, size.address as u64);
        self.refused(Purpose::of(class, true), bytes)
    }

    /// Whether so many bytes may go for a purpose without readings. `None` when they may.
    #[must_use]
    pub fn refused(&self, purpose: Purpose, bytes: u64) -> Option<(Duration, Why)> {
        let (now, network) = (self.now(), self.network());
        let ask = Ask { purpose, bytes, waiting: bytes, full: true, network };
        match self.state().ledger.grant(now, &ask) {
            Grant::Wait { until, why } => {
                self.due.notify_one();
                Some((until, why))
            }
            Grant::Go | Grant::Thin { .. } => None,
        }
    }

    /// Lets it see where alarms wait. Counts once.
    pub fn look_at(&self, queue: &Queue) {
        let _ = self.queue.set((queue.status(), queue.destinations().to_vec()));
    }

    /// Whether so many bytes may go for making, or keeping, the link to a destination. `None` when they may. While alarms wait
    /// for the destination the link is for them, and what is kept for alarms may be used.
    #[must_use]
    pub fn link_refused(&self, destination: &str, bytes: u64) -> Option<(Duration, Why)> {
        let refused = self.refused(Purpose::Session, bytes)?;
        let alarms =
            self.waiting(destination).is_some_and(|(status, number)| alarms_wait(&status.borrow(), number));
        if alarms { self.refused(Purpose::Alarm, bytes) } else { Some(refused) }
    }

    /// Waits until an alarm waits for the destination; for ever, where one does already: then it is not news.
    pub async fn alarm_comes(&self, destination: &str) {
        if let Some((mut status, number)) = self.waiting(destination)
            && !alarms_wait(&status.borrow(), number)
            && status.wait_for(|status| alarms_wait(status, number)).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    fn waiting(&self, destination: &str) -> Option<(watch::Receiver<QueueStatus>, DestinationId)> {
        let (status, known) = self.queue.get()?;
        let (number, _) = known.iter().find(|(_, name)| name == destination)?;
        Some((status.clone(), *number))
    }

    /// Waits until a record should be made.
    pub async fn record_due(&self) {
        self.due.notified().await;
    }

    /// The record to keep now, if one is due.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        let now = self.now();
        let mut state = self.state();
        state.ledger.advance(now);
        state.ledger.wants_record(now.mono).then(|| state.ledger.record())
    }

    /// The last record of a run.
    #[must_use]
    pub fn closing_record(&self) -> Record {
        self.state().ledger.closing_record()
    }

    /// Nobody will tell any more what became of the last record: whoever wrote it is gone.
    pub fn abandon_record(&self) {
        self.state().ledger.abandon_record();
    }

    /// What became of a record.
    pub fn recorded(&self, written: bool) {
        let now = self.clock.mono().since_boot();
        self.state().ledger.recorded(now, written);
    }

    /// What somebody counted on the whole path, both ways together: what was not charged here is others'. Each is to be told
    /// only when it has counted anew.
    pub fn counted(&self, counter: Counter, bytes: u64) {
        let mut state = self.state();
        let charged = state.charged.iter().sum();
        match &mut state.total {
            Some(total) => total.counted(counter, bytes, charged),
            none => *none = Some(Total::begin(counter, bytes, charged)),
        }
    }

    /// Hundredths of a byte on the wire for a byte of a message, as learned.
    #[cfg(test)]
    pub(super) fn wire_percent(&self, destination: &str, class: Class) -> u64 {
        self.state().learned.get(&(destination.to_owned(), class)).map_or(0, Learned::percent)
    }

    /// Puts the plan on the board.
    pub fn publish(&self) {
        let (now, network) = (self.now(), self.network());
        let mut state = self.state();
        let (day, month) = state.ledger.forecast(now, Network::Home);
        let (_, roaming) = state.ledger.forecast(now, Network::Roaming);
        state.forget_ended(now.mono);
        let fact = DataPlan {
            limited: state.ledger.plan().is_limited(),
            roaming: network == Network::Roaming,
            by_purpose: Purpose::ALL
                .into_iter()
                .map(|purpose| (purpose.name(), month.spent.on(purpose) + roaming.spent.on(purpose)))
                .collect(),
            day: period(&day),
            month: period(&month),
            roaming_month: period(&roaming),
            others: state.total.map(|total| total.others()),
            waits: state
                .waits
                .iter()
                .map(|((destination, purpose), (until, why))| {
                    (format!("{} for {destination}: {}", purpose.name(), why.words()), Mono::from(*until))
                })
                .collect(),
            thinned: state.thinned.iter().map(|(name, (factor, _))| (name.clone(), *factor)).collect(),
            wire_percent: state
                .learned
                .iter()
                .map(|((name, class), learned)| (format!("{name} {}", class.name()), learned.percent()))
                .collect(),
        };
        drop(state);
        self.board.data_plan.set(self.clock.mono(), fact);
    }

    fn network(&self) -> Network {
        let roaming = self.board.registration.get().is_some_and(|stamped| stamped.value.roaming);
        if roaming { Network::Roaming } else { Network::Home }
    }

    fn now(&self) -> Moment {
        let wall = self.clock.wall();
        Moment { mono: self.clock.mono().since_boot(), wall_ms: wall.trusted.then_some(wall.unix_ms) }
    }

    /// A panic while it was held leaves counts that are at worst a little behind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Waits that are over, and what is thinned of a backlog that is no more.
    fn forget_ended(&mut self, now: Duration) {
        self.waits.retain(|_, (until, _)| *until > now);
        self.thinned.retain(|_, (_, asked)| now.saturating_sub(*asked) < BACKLOG_ASKS);
    }
}

fn alarms_wait(status: &QueueStatus, destination: DestinationId) -> bool {
    status.totals.get(&(destination, Class::Alarm)).is_some_and(|totals| totals.queued > 0)
}

fn period(outlook: &super::Outlook) -> PlanPeriod {
    PlanPeriod {
        bytes: outlook.counted,
        limit: outlook.limit,
        forecast: outlook.forecast,
        ends_unix_ms: outlook.ends_ms,
    }
}
