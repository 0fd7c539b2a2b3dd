//! Whether something may be sent: limits, reserves, pace.
//!
//! Pure. A limit is a wall: nothing is granted beyond it. Below it the reserves of others stay untouched, and ordinary
//! bytes keep to a line that rises evenly through the period, so that a plan too small for everything lasts until its end
//! and what is sent goes in full messages instead of small ones.

use std::time::Duration;

use super::ledger::{Ledger, Moment, Network};
use super::period::{Basis, Period};
use super::plan::{self, Span};
use super::purpose::Purpose;

/// What somebody wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// For what.
    pub purpose: Purpose,
    /// Bytes on the wire it is likely to take, both ways.
    pub bytes: u64,
    /// Bytes on the wire that everything waiting for the same purpose is likely to take.
    pub waiting: u64,
    /// It cannot grow by waiting: a full message, or one that is due whatever it holds.
    pub full: bool,
    /// In which network.
    pub network: Network,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Send it.
    Go,
    /// Not before then.
    Wait {
        /// Monotonic. Asking sooner is allowed and gives the same answer, unless something changed.
        until: Duration,
        /// Why.
        why: Why,
    },
    /// Send one reading in so many and give up the others, on record: what waits is more than will ever be affordable.
    Thin {
        /// A power of two, from 2.
        factor: u64,
    },
}

/// Why something waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The day's bytes are used up, or kept for others.
    Day,
    /// The month's bytes are used up, or kept for others.
    Month,
    /// Sending more now would leave too little for later.
    Pace,
    /// The message is still small, and small messages cost most.
    Gathering,
    /// What was spent has to be written down first.
    Recording,
}

impl Why {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Day => "the day's data is used up or kept in reserve",
            Self::Month => "the month's data is used up or kept in reserve",
            Self::Pace => "the data plan must last until its end",
            Self::Gathering => "the data plan is short: small messages wait to become full ones",
            Self::Recording => "what was spent is being written down",
        }
    }
}

/// The longest wait without asking again: what is known of the plan changes.
const LONGEST: Duration = Duration::from_secs(3600);
/// A message that is not full waits this much longer, while the plan is short.
const GATHER: Duration = Duration::from_secs(60);
/// No more than one reading in so many is kept, at the worst.
const THINNEST: u64 = 16;
/// As far ahead as it is asked what a backlog can cost.
const HORIZON_DAYS: f64 = 7.0;
/// What a session takes that has nothing to send: 20 kB a day.
const IDLE_A_SECOND: f64 = 20_000.0 / 86_400.0;
/// The first part of a day's share may be spent at once.
const AT_ONCE: f64 = 0.25;

/// Decides. The ledger has been told the time.
pub(super) fn decide(ledger: &Ledger, now: Moment, ask: &Ask) -> Grant {
    let allowance = ledger.allowance(ask.network);
    let book = ledger.book(ask.network);
    let month_span = |ms| plan::month(ms, ledger.plan.reset_day);
    let limits = [
        (&book.day, allowance.day, now.wall_ms.map(plan::day), Why::Day),
        (&book.month, allowance.month, now.wall_ms.map(month_span), Why::Month),
    ];
    let mut least: Option<(f64, Pace)> = None;
    for (period, limit, span, why) in limits {
        let Some(limit) = limit else { continue };
        let view = View { ledger, period, limit: limit.saturating_add(period.carried), span, now };
        if view.room(ask.purpose) < ask.bytes {
            return Grant::Wait { until: view.turns_at(), why };
        }
        if ask.purpose.gathers() {
            let pace = view.pace(ask.purpose, &book.day);
            let spare = pace.room - as_f64(ask.bytes) - pace.left_alone(ask.purpose);
            if least.as_ref().is_none_or(|(least, _)| spare < *least) {
                least = Some((spare, pace));
            }
        }
    }
    let Some((spare, pace)) = least else { return Grant::Go };
    if spare < 0.0 && ask.purpose.is_ordinary() {
        let wait = if pace.day_is_spent || pace.per_second <= 0.0 {
            LONGEST.as_secs_f64()
        } else {
            -spare / pace.per_second
        };
        let wait = Duration::from_secs_f64(wait.clamp(1.0, LONGEST.as_secs_f64()));
        return Grant::Wait { until: now.mono + wait, why: Why::Pace };
    }
    // Less in hand than the last day took.
    if !ask.full && spare < as_f64(book.day.window.sum()) {
        return Grant::Wait { until: now.mono + GATHER, why: Why::Gathering };
    }
    match ask.purpose {
        Purpose::Backlog => thin(ask, &pace),
        _ => Grant::Go,
    }
}

/// How much of a backlog is ever affordable.
fn thin(ask: &Ask, pace: &Pace) -> Grant {
    let days = pace.days_left.min(HORIZON_DAYS);
    let affordable = (pace.room + (pace.share - pace.live_a_day).max(pace.share / 16.0) * days).max(1.0);
    let times = as_f64(ask.waiting) / affordable;
    let mut factor = 1;
    while as_f64(factor) < times && factor < THINNEST {
        factor *= 2;
    }
    if factor == 1 { Grant::Go } else { Grant::Thin { factor } }
}

/// One limit, seen at one moment.
pub(super) struct View<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) period: &'a Period,
    pub(super) limit: u64,
    pub(super) span: Option<Span>,
    pub(super) now: Moment,
}

/// How far a period is, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Since it began.
    elapsed: f64,
    /// Of these, since it is counted: what was spent was spent in these.
    pub(super) counted: f64,
    pub(super) length: f64,
}

impl Progress {
    pub(super) fn left(self) -> f64 {
        self.length - self.elapsed
    }
}

/// How ordinary bytes stand to the line they keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes below the line.
    room: f64,
    /// How fast the line rises.
    per_second: f64,
    /// What a day may take.
    share: f64,
    days_left: f64,
    /// What live telemetry takes a day.
    live_a_day: f64,
    /// The day has had its share with everything carried over: the line does not matter before the next.
    day_is_spent: bool,
}

impl Pace {
    fn left_alone(&self, purpose: Purpose) -> f64 {
        self.share * as_f64(purpose.leaves_alone()) / 16.0
    }
}

impl View<'_> {
    /// Bytes below the limit for a purpose: without what was granted, and without the others' reserves.
    pub(super) fn room(&self, purpose: Purpose) -> u64 {
        let used = self.period.counts().saturating_add(self.ledger.promised());
        let mut kept: u64 = 0;
        if purpose != Purpose::Alarm {
            kept = self.unspent(Purpose::Alarm);
        }
        let upkeep = matches!(purpose, Purpose::Management | Purpose::Session);
        if !upkeep {
            // An alarm need not wait for what the session may still take.
            let expected = match purpose {
                Purpose::Alarm => 0,
                _ => self.still_expected(self.period.spent.upkeep()),
            };
            kept = kept.saturating_add(self.unspent(Purpose::Management).max(expected));
        }
        let room = self.limit.saturating_sub(used).saturating_sub(kept);
        if upkeep || purpose == Purpose::Alarm {
            return room;
        }
        // Where what matters more took of what is kept for readings, the rest goes to those who come first.
        room.saturating_sub(self.kept_from_readings(purpose)).max(room.min(self.own(purpose)))
    }

    /// What is kept of the limit for the rest of the period: it shrinks with it, down to a quarter, so that what nobody
    /// needed is spent at last.
    fn reserve(&self, share: u8) -> u64 {
        let reserve = percent(self.limit, share);
        self.progress().map_or(reserve, |progress| {
            whole(as_f64(reserve) * (progress.left() / progress.length).clamp(0.25, 1.0))
        })
    }

    /// What is kept for a purpose and not spent yet. Readings spend theirs day by day and are to have it until the end; alarms
    /// and management may need all of it on one day, or none.
    fn unspent(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Alarm | Purpose::Management => self.own(purpose),
            _ => {
                let part = self.ledger.plan.reserves.of(purpose);
                let left = percent(self.limit, part).saturating_sub(self.spent_on(purpose));
                self.reserve(part).min(left)
            }
        }
    }

    /// What a purpose may take of its reserve whatever others did.
    fn own(&self, purpose: Purpose) -> u64 {
        self.reserve(self.ledger.plan.reserves.of(purpose)).saturating_sub(self.spent_on(purpose))
    }

    fn spent_on(&self, purpose: Purpose) -> u64 {
        match purpose {
            _ if !self.calendar() => 0,
            Purpose::Management => self.period.spent.upkeep(),
            _ => self.period.spent.on(purpose),
        }
    }

    /// What is kept for the other readings, as far as `purpose` must leave it alone.
    fn kept_from_readings(&self, purpose: Purpose) -> u64 {
        Purpose::RESERVED_BELOW
            .into_iter()
            .filter(|other| *other != purpose)
            .fold(0, |sum, other| sum.saturating_add(self.unspent(other)))
    }

    /// What something that took `spent` so far will take until the period ends, and no more than half the limit. Too early
    /// to tell, it is what an idle session takes.
    fn still_expected(&self, spent: u64) -> u64 {
        let Some(progress) = self.progress() else { return 0 };
        if progress.counted < progress.length / 30.0 {
            return whole(progress.left() * IDLE_A_SECOND).min(self.limit / 4);
        }
        whole(as_f64(spent) / progress.counted * progress.left()).min(self.limit / 2)
    }

    /// Where ordinary bytes stand. `day` is the day in which the moment lies, whatever this period is.
    pub(super) fn pace(&self, purpose: Purpose, day: &Period) -> Pace {
        const DAY: f64 = 86_400.0;
        let ordinary = as_f64(self.period.spent.ordinary());
        let promised = as_f64(self.ledger.promised());
        let urgent = self.period.spent.total().saturating_sub(self.period.spent.ordinary());
        let Some(progress) = self.progress() else {
            // Where in the period this is nobody knows: any day may have an even share.
            let (days, recent) =
                if self.is_month() { (31.0, day.window.sum()) } else { (1.0, self.period.window.sum()) };
            let share = as_f64(self.limit) / days;
            let room = share - as_f64(recent) - promised;
            let per_second = share / DAY;
            return Pace {
                room,
                per_second,
                share,
                days_left: days,
                live_a_day: 0.0,
                day_is_spent: room < 0.0,
            };
        };
        let plan = &self.ledger.plan;
        let (mut reserves, mut kept) = (0, 0u64);
        for other in Purpose::WITH_RESERVES.into_iter().filter(|other| *other != purpose) {
            if other.is_ordinary() {
                kept = kept.saturating_add(self.unspent(other));
            } else {
                reserves += plan.reserves.of(other);
            }
        }
        let expected = urgent.saturating_add(self.still_expected(urgent).max(self.reserve(reserves)));
        let usable = as_f64(self.limit.saturating_sub(expected).saturating_sub(kept));
        let Progress { elapsed, counted, length } = progress;
        let days = (length / DAY).max(1.0);
        let share = usable / days;
        let line = (usable * elapsed / length + share * AT_ONCE).min(usable);
        let mut room = line - ordinary - promised;
        let mut day_is_spent = false;
        if self.is_month() && day.basis == Basis::Calendar {
            let burst =
                share * (1.0 + f64::from(plan.carry_over_days)) - as_f64(day.spent.ordinary()) - promised;
            day_is_spent = burst < room && burst <= 0.0;
            room = room.min(burst);
        }
        let live = as_f64(self.period.spent.on(Purpose::Live));
        let live_a_day = if purpose == Purpose::Backlog { live / (counted / DAY).max(1.0) } else { 0.0 };
        let days_left = (progress.left() / DAY).max(1.0);
        Pace { room, per_second: usable / length, share, days_left, live_a_day, day_is_spent }
    }

    /// How far the period is; `None` while its place in the calendar is not known.
    pub(super) fn progress(&self) -> Option<Progress> {
        let (span, wall) = (self.span?, self.now.wall_ms?);
        let elapsed = seconds(wall.saturating_sub(span.start_ms));
        let length = seconds(span.end_ms.saturating_sub(span.start_ms)).max(1.0);
        let counted = elapsed.min(self.period.window.counted().as_secs_f64());
        self.calendar().then_some(Progress { elapsed, counted, length })
    }

    /// When the limit begins anew; sooner, where reserves or a sliding window may let go of some of it before.
    fn turns_at(&self) -> Duration {
        let left = match (self.span, self.now.wall_ms) {
            (Some(span), Some(wall)) if self.calendar() && self.period.counts() >= self.limit => {
                Duration::from_millis(u64::try_from(span.end_ms.saturating_sub(wall)).unwrap_or(0))
            }
            _ => LONGEST,
        };
        self.now.mono + left.max(Duration::from_secs(1))
    }

    fn calendar(&self) -> bool {
        self.period.basis == Basis::Calendar
    }

    fn is_month(&self) -> bool {
        self.period.window.fits(&super::window::Window::of_a_month())
    }
}

fn percent(of: u64, percent: u8) -> u64 {
    of / 100 * u64::from(percent) + of % 100 * u64::from(percent) / 100
}

#[allow(clippy::cast_precision_loss, reason = "budgets are far below 2^53 bytes")]
pub(super) fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[allow(clippy::cast_precision_loss, reason = "a month has far fewer than 2^53 milliseconds")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// Not negative, and not above what a u64 holds: the cast saturates.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is never negative"
)]
pub(super) fn whole(bytes: f64) -> u64 {
    bytes as u64
}
