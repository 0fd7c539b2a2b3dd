//! fieldgate: a gateway agent that loses nothing.

pub mod board;
pub mod cli;
pub mod clock;
pub mod clouds;
pub mod config;
pub mod daemon;
pub mod http;
pub mod modem;
pub mod ota;
pub mod reading;
pub mod registry;
pub mod sabotage;
pub mod sensors;
pub mod serial;
pub mod store;
pub mod uplink;
