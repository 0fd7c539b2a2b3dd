//! Simulated surroundings of a gateway.

pub mod modem;
