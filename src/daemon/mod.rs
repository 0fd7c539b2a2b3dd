//! The composition root: builds the lanes from the configuration, supervises them, answers systemd.
//!
//! - [`rim`] is the only maker of sockets, ports, timers and randomness.
//! - [`supervisor`] keeps lanes running and knows which of them are making progress.
//! - [`stores`] opens the two files; [`build`] wires every room to every other and is the one place that knows them all.
//! - [`service`] is the life of the process around it: lock, readiness, watchdog, signals, clean stop.

mod accountant;
pub mod build;
mod inherited;
mod reporter;
pub mod rim;
pub mod service;
pub mod stores;
pub mod supervisor;
mod timekeeper;
mod views;

pub use build::Daemon;
pub use service::run;
