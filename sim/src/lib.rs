//! Simulated surroundings of a gateway.

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
pub mod relay;
