//! The rules over the registry.

pub mod provider;
