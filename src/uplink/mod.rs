//! Draining the queue: policy and the loop that follows it (requirements D4, D5).
//!
//! [`link`] is the seam to a destination. Pure: [`policy`] decides what goes next, [`share`] how live and backlog share,
//! `shelf` keeps what is at hand and `parcel` what is under way, `pause` how long a class waits. [`drain`] does it. None
//! knows a cloud.

pub mod drain;
pub mod link;
mod parcel;
mod pause;
pub mod policy;
pub mod share;
mod shelf;
pub mod thin;
