//! Bytes against the data plan (requirement D5): everything the daemon causes is charged, and what may be sent is asked for.
//!
//! - [`Plan`] is what may be spent, [`Ledger`] what was; [`Grant`] is the answer to an [`Ask`]. Both are pure.
//! - [`wire`] knows what messages cost beyond their bytes, and learns the rest.
//! - [`Purse`] is what lanes hold: the ledger behind a lock, with the clock and the network. A lane of the daemon keeps it on disk
//!   and compares it with the interface's own counters.
//!
//! A lane charges what it sends and receives whether or not it was granted: the ledger is the truth about spending, the grant
//! only what keeps it within the plan. When the plan is short, what waits and what is thinned is said on the board and
//! in the books; nothing is left out in silence.

mod forecast;
mod grant;
mod ledger;
mod period;
mod plan;
mod promise;
mod purpose;
mod purse;
mod total;
mod window;
pub mod wire;

#[cfg(test)]
mod tests;

pub use forecast::Outlook;
pub use grant::{Ask, Grant, Why};
pub use ledger::{Ledger, Moment, Network, Record};
pub use period::{Basis, Spent};
pub use plan::{Allowance, Plan, Reserves};
pub use purpose::{Direction, PURPOSES, Purpose};
pub use purse::{Cause, Purse, Size, Want};
