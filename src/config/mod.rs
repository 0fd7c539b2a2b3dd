//! What the operator writes, validated once, as typed values nobody checks again.
//!
//! - `model`: the types; a [`Config`] in hand has passed every check.
//! - `loader`: files in; the only part here that reads anything.
//! - `device`: the register map of one kind of device, a file of its own; pure.
//! - `parse`: texts in, a [`Config`] or every [`Problem`] out; pure. It uses `tree` (TOML with lines, merging),
//!   `reader` (typed keys, unknown keys) and `sections` (what each table may say).
//!
//! Invariants: nothing stops at the first problem; every problem says file, line, key, what is wrong and what
//! to do; no message and no `Debug` shows a secret, not even one pasted into the wrong key.

mod bus_time;
mod device;
mod loader;
mod model;
mod parse;
mod problem;
mod reader;
mod remote;
mod secret;
mod sections;
mod topic;
mod tree;
mod words;

#[cfg(test)]
mod tests;

pub use device::{DeviceMap, DevicePoint, device_map};
pub use loader::{load, load_without_secrets};
pub use model::*;
pub use parse::{Loaded, SecretRefused, SecretSource, Surroundings, parse};
pub use problem::{Problem, Refused};
pub use remote::{REMOTE_KEYS, RemoteKey, RemoteKind, RemoteRefusal, RemoteValue};
pub use secret::Secret;
pub use topic::{TopicTemplate, TopicValues, TopicVariable};

/// A commented configuration file that shows every section. It is taken as it stands once its secrets exist.
pub fn example() -> &'static str {
    include_str!("../../docs/example.toml")
}
