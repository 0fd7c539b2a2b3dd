//! The gateway's memory: two SQLite files, one writer each (requirement D4).
//!
//! - [`queue`] owns `queue.db`: accepted readings until every destination has acknowledged or dropped them, and the books
//!   that account for each of them.
//! - [`gateway`] owns `gateway.db`: identity, boots, registry, firmware history, journal, tokens. Small, rarely written.
//! - [`once`] is a small file beside them that one run leaves for the next; [`whole`] writes such files.
//!
//! Nothing else in the daemon opens either file for writing. No transaction spans both. Every connection comes from
//! [`sqlite`], which sets each pragma and reads it back; before the first write on it [`relog`] sees to it that the log which
//! it found is on the disk. [`worker`] drives a writer, on a thread of its own or inline on
//! the caller's, so that a whole daemon can run on one thread in virtual time.

pub mod gateway;
pub mod once;
pub mod queue;
pub mod relog;
pub mod sqlite;
pub mod whole;
pub mod worker;
