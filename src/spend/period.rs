//! One period of one plan: what was spent in it, and by which clock it is counted.
//!
//! Pure. A period's number only grows. It turns by the calendar while the wall clock is trusted and runs evenly; a clock
//! that is not trusted, went back, or leapt must not give the budget twice, so then the sliding window decides as well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Span;
use super::purpose::{Direction, PURPOSES, Purpose};
use super::window::Window;

/// Bytes by purpose and by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    by: [u64; PURPOSES],
    /// Sent.
    pub up: u64,
    /// Received.
    pub down: u64,
    /// Charged without a purpose: what a sliding window or a reservation on disk stands for.
    pub unnamed: u64,
}

impl Spent {
    /// Everything.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by.iter().fold(self.unnamed, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// For one purpose.
    #[must_use]
    pub fn on(&self, purpose: Purpose) -> u64 {
        self.by.get(purpose as usize).copied().unwrap_or(0)
    }

    /// For those that keep to a pace.
    pub(super) fn ordinary(&self) -> u64 {
        Purpose::ALL
            .into_iter()
            .filter(|purpose| purpose.is_ordinary())
            .fold(0, |sum: u64, purpose| sum.saturating_add(self.on(purpose)))
    }

    /// For keeping the box reachable.
    pub(super) fn upkeep(&self) -> u64 {
        self.on(Purpose::Management).saturating_add(self.on(Purpose::Session))
    }

    pub(super) fn add(&mut self, purpose: Purpose, direction: Direction, bytes: u64) {
        if let Some(sum) = self.by.get_mut(purpose as usize) {
            *sum = sum.saturating_add(bytes);
        }
        let way = match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        };
        *way = way.saturating_add(bytes);
    }
}

/// By what a period is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// By the calendar.
    Calendar,
    /// By a sliding window: nothing vouches for the clock, or it is behind where it was.
    Floating,
    /// By a sliding window until the period turns in its regular order: the clock leapt forward.
    Leapt,
}

/// A day or a month of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Period {
    /// `None` before the clock was ever known.
    pub(super) id: Option<i64>,
    pub(super) spent: Spent,
    pub(super) basis: Basis,
    pub(super) window: Window,
    /// Unused bytes of earlier days that this one may spend.
    pub(super) carried: u64,
}

impl Period {
    pub(super) fn new(window: Window) -> Self {
        Self { id: None, spent: Spent::default(), basis: Basis::Floating, window, carried: 0 }
    }

    pub(super) fn add(&mut self, purpose: Purpose, direction: Direction, bytes: u64) {
        self.spent.add(purpose, direction, bytes);
        self.window.add(bytes);
    }

    /// Charges what is known only as a sum.
    pub(super) fn add_unnamed(&mut self, bytes: u64) {
        self.spent.unnamed = self.spent.unnamed.saturating_add(bytes);
        self.window.add(bytes);
    }

    /// Nothing vouches for the clock.
    pub(super) fn float(&mut self) {
        if self.basis == Basis::Calendar {
            self.basis = Basis::Floating;
        }
    }

    /// The wall clock says that it is `wall_ms`, within `span`. `leapt`: it says so without the time for it having passed.
    /// What `limit` left over is carried to the next period, up to `most_carried`.
    pub(super) fn at(&mut self, span: Span, wall_ms: i64, leapt: bool, limit: u64, most_carried: u64) {
        let known = self.id.unwrap_or(span.id);
        let regular = self.basis != Basis::Floating && self.id.is_some() && !leapt;
        match span.id.cmp(&known) {
            std::cmp::Ordering::Less => self.basis = Basis::Floating,
            std::cmp::Ordering::Equal if self.basis != Basis::Leapt => self.basis = Basis::Calendar,
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater if regular => {
                let turns = span.id.saturating_sub(known).unsigned_abs();
                let had = self.carried.saturating_add(limit.saturating_mul(turns));
                self.carried = had.saturating_sub(self.spent.total()).min(most_carried);
                self.spent = Spent::default();
                self.basis = Basis::Calendar;
            }
            std::cmp::Ordering::Greater => {
                let age = u64::try_from(wall_ms.saturating_sub(span.start_ms)).unwrap_or(0);
                let since = self.window.sum_within(Duration::from_millis(age));
                self.spent = Spent { unnamed: since, ..Spent::default() };
                self.carried = 0;
                self.basis = if leapt { Basis::Leapt } else { Basis::Calendar };
            }
        }
        self.id = Some(known.max(span.id));
    }

    /// What counts against a limit now.
    pub(super) fn counts(&self) -> u64 {
        match self.basis {
            Basis::Calendar => self.spent.total(),
            Basis::Floating | Basis::Leapt => self.window.sum(),
        }
    }
}
