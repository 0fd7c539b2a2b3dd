//! The composition root: builds the lanes from the configuration, supervises them, answers systemd.
//!
//! - [`rim`] is the only maker of sockets, ports, timers and randomness.
//! - [`supervisor`] keeps lanes running and knows which of them are making progress ([`mod@progress`]).
//! - [`watchdog`] judges when only another process helps; [`watch`] looks, asks it, and feeds systemd's watchdog.
//! - [`stores`] opens the two files; [`build`] wires every room to every other and is the one place that knows them all.
//! - [`probe`] finds out where the way of the readings ends, beside a daemon or without one.
//! - [`service`] is the life of the process around it: lock, readiness, signals, clean stop.

mod accountant;
pub mod build;
mod hands;
mod inherited;
mod log_lines;
mod log_push;
mod ntp;
pub mod probe;
pub mod progress;
mod reporter;
pub mod rim;
pub mod service;
pub mod stores;
pub mod supervisor;
mod timekeeper;
mod views;
pub mod watch;
pub mod watchdog;

pub use build::Daemon;
pub use service::run;
