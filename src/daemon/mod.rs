//! The composition root: builds the lanes from the configuration, supervises them, answers systemd.
//!
//! [`rim`] is the only maker of sockets, ports, timers and randomness; [`supervisor`] keeps lanes running and knows which
//! of them are making progress.

pub mod rim;
pub mod supervisor;
