//! Draining the queue: policy and the loop that follows it (requirements D4, D5).
//!
//! [`link`] is the seam to a destination; [`policy`] decides what goes next and `shelf` keeps what is at hand (both pure);
//! [`drain`] does it. None knows a cloud.

pub mod drain;
pub mod link;
pub mod policy;
mod shelf;
