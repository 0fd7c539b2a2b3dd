//! Simulated surroundings of a gateway.

pub mod bus;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod device;
pub mod modem;
pub mod pty;
pub mod relay;
