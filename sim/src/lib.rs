//! Simulated surroundings of a gateway.
//!
//! Everything here meets the daemon from outside, except [`world`], in which a whole daemon runs in this process.

pub mod bench;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod crash;
pub mod demo;
pub mod device;
pub mod duration;
pub mod gateway;
pub mod modem;
pub mod prove;
pub mod pty;
pub mod random;
pub mod relay;
pub mod world;
