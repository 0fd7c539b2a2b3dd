//! Simulated surroundings of a gateway.
