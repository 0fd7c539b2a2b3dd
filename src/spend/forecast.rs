//! Spend against the plan, and what the period will have taken when it ends.
//!
//! A gateway that was commissioned in the middle of a period has counted a part of it only. What it spent so far took that
//! part, not the time since the period began.

use super::grant::{View, as_f64, whole};
use super::ledger::{Ledger, Moment, Network};
use super::period::{Basis, Spent};
use super::plan;

/// One period against its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// What was spent.
    pub spent: Spent,
    /// What counts against the limit: more than was spent, where a clock was not trusted.
    pub counted: u64,
    /// The limit with what was carried over, if there is one.
    pub limit: Option<u64>,
    /// What it will have taken at its end if it goes on as it did since it is counted; `None` before a twentieth of it was
    /// counted, or without a clock.
    pub forecast: Option<u64>,
    /// When it ends, unix milliseconds; `None` without a clock.
    pub ends_ms: Option<i64>,
    /// By what it is counted.
    pub basis: Basis,
}

impl Ledger {
    /// How the day and the month of a network stand.
    pub fn forecast(&mut self, now: Moment, network: Network) -> (Outlook, Outlook) {
        self.advance(now);
        let (allowance, book) = (self.allowance(network), self.book(network));
        let day = now.wall_ms.map(plan::day);
        let month = now.wall_ms.map(|ms| plan::month(ms, self.plan.reset_day));
        let outlook = |period: &super::period::Period, limit: Option<u64>, span| {
            let limit = limit.map(|limit| limit.saturating_add(period.carried));
            let view = View { ledger: self, period, limit: limit.unwrap_or(u64::MAX), span, now };
            let forecast = view.progress().and_then(|progress| {
                let spent = as_f64(period.spent.total());
                let to_come = spent / progress.counted.max(1.0) * progress.left();
                (progress.counted >= progress.length / 20.0).then(|| whole(spent + to_come))
            });
            let ends_ms = span.filter(|_| period.basis == Basis::Calendar).map(|span| span.end_ms);
            Outlook {
                spent: period.spent,
                counted: period.counts(),
                limit,
                forecast,
                ends_ms,
                basis: period.basis,
            }
        };
        (outlook(&book.day, allowance.day, day), outlook(&book.month, allowance.month, month))
    }
}
