//! Updates. What exists so far: a deployment is received, journaled, compared with what runs, and reported.
//!
//! Fetching and applying do not exist yet, and every word shown to people says so. What the cloud is told of a component
//! whose deployed version does not run is state 0 (idle) with reason 6 (unsupported package type): there is nothing on
//! this gateway that would install it. Reason 11 (awaiting retry) would promise an attempt nobody makes.
//!
//! [`compare`] is pure; [`lane`] is the part that moves.

mod compare;
mod lane;

pub use compare::{ComponentChange, compare, reason};
pub use lane::{Parts, lane};
