//! The ledger: every byte the daemon causes, by purpose, day, month and network, and what may still be spent.
//!
//! Pure: no clock, no file. Time comes in as a [`Moment`]; what is kept over restarts goes out as a [`Record`].
//!
//! Invariants:
//! - What is granted fits every limit together with what was granted before and not yet charged, and leaves the others'
//!   reserves untouched. What is charged without a grant (answers, repetitions, handshakes) can exceed a limit; nothing
//!   more is granted then.
//! - No clock gives a budget twice: periods only go forward, and what a period begins with after a clock that was not
//!   trusted, or that leapt, is what the sliding window holds for its length so far.
//! - A record stands for a lease of bytes more than were charged when it was made. No more than these are granted before the
//!   next one is on disk, so a crash over-counts and does not under-count, unless the disk takes no records at all. What is
//!   larger than a lease gets a record of its own size first. Alarms alone do not wait for the disk: a crash while it is slow
//!   may forget some of theirs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grant::{self, Ask, Grant, Why};
use super::period::{Basis, Period, Spent};
use super::plan::{self, Allowance, Plan};
use super::promise::Promises;
use super::purpose::{Direction, Purpose};
use super::window::Window;

/// Bytes that a record on disk stands for beyond what was spent: this part of the smallest limit, within bounds. A crash
/// costs as much of the plan.
const LEASE_PART: u64 = 128;
const LEASE_LEAST: u64 = 32 * 1024;
const LEASE_MOST: u64 = 1 << 20;
/// What a run's last record stands for beyond what was spent.
const FAREWELLS: u64 = 1024;
/// A record is due when half the lease is spent, and after this when anything was spent at all.
const RECORD_EVERY: Duration = Duration::from_secs(15 * 60);
/// A clock that is further ahead than the time that passed, by more than this, has leapt.
const LEAP_MS: i64 = 3_600_000;

/// A point in time, as the ledger needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic.
    pub mono: Duration,
    /// Unix milliseconds, while something vouches for them.
    pub wall_ms: Option<i64>,
}

/// Which of the two plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The home network.
    Home,
    /// A foreign one.
    Roaming,
}

/// What is spent in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    pub(super) day: Period,
    pub(super) month: Period,
}

/// What is kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    home: Book,
    roaming: Book,
    /// The wall time when it was made, if it was trusted then.
    wall_ms: Option<i64>,
}

/// See the module head.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) plan: Plan,
    home: Book,
    roaming: Book,
    last: Option<Moment>,
    /// Wall time less monotonic time when the clock was last trusted in this run.
    offset_ms: Option<i64>,
    /// The wall time of the record this run went on from, until it is compared with this run's.
    recorded_wall_ms: Option<i64>,
    /// How long this run has lasted.
    lived: Duration,
    /// Nothing was charged since the restart, so that the time the machine was off can still be told from it.
    untouched: bool,
    /// Granted, not charged yet.
    promised: Promises,
    lease: Lease,
}

/// How far a record on disk is used up.
#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    /// What a record stands for as a rule.
    rule: u64,
    /// What the record on disk stands for.
    size: u64,
    /// Spent since the record on disk was made.
    spent: u64,
    /// Of the record being written: what it covers of this, and what it stands for.
    writing: Option<(u64, u64)>,
    /// Somebody waits for a record.
    wanted: bool,
    /// Somebody waits to send so much at once, which is more than a lease.
    needs: u64,
    recorded_at: Duration,
    /// The disk does not take records: going on without is better than not draining a full disk.
    given_up: bool,
}

impl Lease {
    /// Whether so many bytes that are not charged yet stay within the record on disk, and within the one being written.
    fn covers(&self, uncharged: u64) -> bool {
        let within = |spent: u64, size: u64| spent.saturating_add(uncharged) <= size;
        let next =
            self.writing.is_none_or(|(covered, size)| within(self.spent - covered.min(self.spent), size));
        self.given_up || (within(self.spent, self.size) && next)
    }

    /// Somebody has to wait who would send so much.
    fn lacks(&mut self, bytes: u64) {
        if bytes > self.rule {
            self.needs = bytes;
        }
        // Where only what others were granted is in the way, a record would change nothing.
        self.wanted |= self.spent > 0 || bytes > self.size;
    }
}

impl Ledger {
    /// A ledger that goes on where `restored` ended, or begins.
    #[must_use]
    pub fn new(plan: Plan, restored: Option<Record>) -> Self {
        let fresh = Book::new();
        let fits = |book: &Book| {
            book.day.window.fits(&fresh.day.window) && book.month.window.fits(&fresh.month.window)
        };
        let restored = restored.filter(|record| fits(&record.home) && fits(&record.roaming));
        let (mut home, mut roaming, wall_ms) = match restored {
            Some(record) => (record.home, record.roaming, record.wall_ms),
            None => (Book::new(), Book::new(), None),
        };
        for book in [&mut home, &mut roaming] {
            book.day.float();
            book.month.float();
        }
        let limits = [plan.home.day, plan.home.month, plan.roaming.day, plan.roaming.month];
        let smallest = limits.into_iter().flatten().filter(|limit| *limit > 0).min().unwrap_or(0);
        let size = (smallest / LEASE_PART).clamp(LEASE_LEAST, LEASE_MOST);
        Self {
            plan,
            home,
            roaming,
            last: None,
            offset_ms: None,
            recorded_wall_ms: wall_ms,
            lived: Duration::ZERO,
            untouched: true,
            promised: Promises::default(),
            // Before the first record of this run nothing on disk stands for what it spends.
            lease: Lease { rule: size, size, spent: size, ..Lease::default() },
        }
    }

    /// Time passes.
    pub fn advance(&mut self, now: Moment) {
        let last = self.last.replace(now);
        let passed = last.map_or(Duration::ZERO, |last| now.mono.saturating_sub(last.mono));
        self.pass(passed);
        self.promised.expire(now.mono);
        self.lived += passed;
        let Some(wall_ms) = now.wall_ms else {
            for period in self.periods() {
                period.float();
            }
            return;
        };
        let mono_ms = i64::try_from(now.mono.as_millis()).unwrap_or(i64::MAX);
        let offset = wall_ms.saturating_sub(mono_ms);
        let leapt = self.offset_ms.is_some_and(|before| offset.saturating_sub(before) > LEAP_MS);
        if let Some(before) = self.recorded_wall_ms.take()
            && self.untouched
        {
            let since = u64::try_from(wall_ms.saturating_sub(before)).unwrap_or(0);
            self.pass(Duration::from_millis(since).saturating_sub(self.lived));
        }
        // Compared with where it was first: many small leaps are a large one.
        if self.offset_ms.is_none_or(|before| before.abs_diff(offset) > LEAP_MS.unsigned_abs()) {
            self.offset_ms = Some(offset);
        }
        let (today, this_month) = (plan::day(wall_ms), plan::month(wall_ms, self.plan.reset_day));
        let days = u64::from(self.plan.carry_over_days);
        let limits = [self.plan.home.day, self.plan.roaming.day];
        for (book, limit) in [&mut self.home, &mut self.roaming].into_iter().zip(limits) {
            let limit = limit.unwrap_or(0);
            book.day.at(today, wall_ms, leapt, limit, limit.saturating_mul(days));
            book.month.at(this_month, wall_ms, leapt, 0, 0);
        }
    }

    /// Counts bytes on the wire, headers included. They went, whatever the plan says.
    pub fn charge(
        &mut self,
        now: Moment,
        purpose: Purpose,
        direction: Direction,
        bytes: u64,
        network: Network,
    ) {
        self.advance(now);
        let book = self.book_mut(network);
        book.day.add(purpose, direction, bytes);
        book.month.add(purpose, direction, bytes);
        self.promised.charged(purpose, bytes);
        self.lease.spent = self.lease.spent.saturating_add(bytes);
        self.untouched = false;
    }

    /// Whether something may be sent now. What is granted is held until it is charged, or for a few minutes.
    pub fn grant(&mut self, now: Moment, ask: &Ask) -> Grant {
        self.advance(now);
        if !self.plan.is_limited() {
            return Grant::Go;
        }
        let grant = grant::decide(self, now, ask);
        if matches!(grant, Grant::Wait { .. }) {
            return grant;
        }
        let uncharged = self.promised().saturating_add(ask.bytes);
        if ask.purpose != Purpose::Alarm && !self.lease.covers(uncharged) {
            self.lease.lacks(ask.bytes);
            return Grant::Wait { until: now.mono + Duration::from_secs(1), why: Why::Recording };
        }
        self.promised.hold(now.mono, ask.purpose, ask.bytes);
        grant
    }

    /// So much of what was granted for a purpose will not be spent.
    pub fn give_back(&mut self, purpose: Purpose, bytes: u64) {
        self.promised.charged(purpose, bytes);
    }

    /// Whether a record should be made now.
    #[must_use]
    pub fn wants_record(&self, now: Duration) -> bool {
        let old = now >= self.lease.recorded_at + RECORD_EVERY;
        // Without a limit nothing depends on it.
        let half = self.plan.is_limited() && self.lease.spent >= self.lease.rule / 2;
        self.lease.writing.is_none() && (half || self.lease.wanted || (old && self.lease.spent > 0))
    }

    /// What to keep on disk now; [`Ledger::recorded`] tells what became of it.
    pub fn record(&mut self) -> Record {
        let size = self.lease.rule.max(self.promised()).saturating_add(std::mem::take(&mut self.lease.needs));
        self.lease.writing = Some((self.lease.spent, size));
        self.lease.wanted = false;
        self.record_with(size)
    }

    /// The last record of a run: links still say goodbye after it.
    #[must_use]
    pub fn closing_record(&self) -> Record {
        self.record_with(FAREWELLS)
    }

    fn record_with(&self, ahead: u64) -> Record {
        let wall_ms = self.last.and_then(|last| last.wall_ms);
        let mut record = Record { home: self.home.clone(), roaming: self.roaming.clone(), wall_ms };
        if self.plan.is_limited() {
            // It is not known what it will be spent on, nor where.
            for book in [&mut record.home, &mut record.roaming] {
                book.day.add_unnamed(ahead);
                book.month.add_unnamed(ahead);
            }
        }
        record
    }

    /// Nobody will tell any more what became of the record being written. It counts as not on disk.
    pub fn abandon_record(&mut self) {
        self.lease.writing = None;
    }

    /// A record is on disk, or could not be written.
    pub fn recorded(&mut self, now: Duration, written: bool) {
        if crate::sabotage::on("lease-never-renewed") {
            return;
        }
        let made = self.lease.writing.take();
        self.lease.recorded_at = now;
        self.lease.given_up = !written;
        if let Some((covered, size)) = made.filter(|_| written) {
            self.lease.spent = self.lease.spent.saturating_sub(covered);
            self.lease.size = size;
        }
    }

    /// What was spent in a network: this day, this month.
    #[must_use]
    pub fn spent(&self, network: Network) -> (Spent, Spent) {
        let book = self.book(network);
        (book.day.spent, book.month.spent)
    }

    /// By what the month is counted.
    #[must_use]
    pub fn basis(&self, network: Network) -> Basis {
        self.book(network).month.basis
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn promised(&self) -> u64 {
        self.promised.bytes()
    }

    pub(super) fn allowance(&self, network: Network) -> Allowance {
        match network {
            Network::Home => self.plan.home,
            Network::Roaming => self.plan.roaming,
        }
    }

    pub(super) fn book(&self, network: Network) -> &Book {
        match network {
            Network::Home => &self.home,
            Network::Roaming => &self.roaming,
        }
    }

    fn book_mut(&mut self, network: Network) -> &mut Book {
        match network {
            Network::Home => &mut self.home,
            Network::Roaming => &mut self.roaming,
        }
    }

    fn periods(&mut self) -> [&mut Period; 4] {
        let Self { home, roaming, .. } = self;
        [&mut home.day, &mut home.month, &mut roaming.day, &mut roaming.month]
    }

    fn pass(&mut self, passed: Duration) {
        for period in self.periods() {
            period.window.advance(passed);
        }
    }
}

impl Book {
    fn new() -> Self {
        Self { day: Period::new(Window::of_a_day()), month: Period::new(Window::of_a_month()) }
    }
}
