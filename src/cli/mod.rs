//! What the command line does, one file a subcommand: functions that return text, so that they can be tested.

pub mod firmware;
