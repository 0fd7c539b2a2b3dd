//! Draining the queue: policy and the loop that follows it (requirements D4, D5).
//!
//! [`link`] is the seam to a destination; the drain knows no cloud.

pub mod link;
