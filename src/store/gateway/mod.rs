//! `gateway.db`.
