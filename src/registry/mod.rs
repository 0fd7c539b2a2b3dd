//! The registry: which devices this gateway serves and which firmware runs on them. The rules; the rows are the store's.
//!
//! - [`plan`] says, from the configuration alone, which devices and components there are.
//! - [`fn@lane`] keeps the store to that plan, notices versions, keeps the board's components and notes the time.
//! - [`mod@presence`] says when a device is online.
//! - [`provider`] is the seam to a cloud's management plane; [`own_record`] reads the gateway's own record through it.

mod lane;
pub mod own_record;
pub mod plan;
pub mod presence;
pub mod provider;

pub use lane::{Parts, lane};
pub use own_record::own_record_lane;
pub use presence::{Presence, presence};
