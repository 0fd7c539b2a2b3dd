//! Simulated surroundings of a gateway.

pub mod bus;
pub mod clock;
pub mod device;
pub mod modem;
pub mod pty;
pub mod relay;
