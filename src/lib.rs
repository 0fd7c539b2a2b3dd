//! fieldgate: a gateway agent that loses nothing.
//!
//! # The map
//!
//! From the wire up: [`serial`] opens ports, [`sensors`] and [`modem`] are lanes that read them, [`store`] keeps what they
//! read, [`uplink`] drains it to the links of [`clouds`]. What is known now stands on the [`board`], where [`http`] reads
//! it for people and programs; what goes over the wire is charged to [`spend`]. [`registry`] and [`ota`] are the rules over `gateway.db`. [`daemon`] builds all of it
//! from a [`config`] and supervises it; [`cli`] is the way in, [`control`] its way to a running daemon, [`remote`] a cloud's. [`clock`] is the one reader of clocks, [`reading`] holds
//! the words everything else speaks in, [`logs`] decides what is logged, [`sabotage`] the defects that proofs must catch.
//!
//! # The life of a reading
//!
//! A bus lane polls a slave and makes one capture of everything that poll said, stamped with monotonic time. The queue's writer
//! gives it a sequence, packs what arrives within the commit window into one row a class, commits and syncs, and only then
//! answers: from here on the reading is *accepted*. The drain of each destination picks it up in its turn, packs it with others
//! into one message, and keeps that message byte for byte until the link tells what became of it. An acknowledgement moves
//! the destination's cursor and books in one transaction; when every destination has passed a row it is freed. Whatever does not
//! go this way is a record with a reason: refused, missed, dropped, set aside.

pub mod board;
pub mod cli;
pub mod clock;
pub mod clouds;
pub mod config;
pub mod control;
pub mod daemon;
mod gather;
pub mod http;
pub mod logs;
pub mod modem;
pub mod ota;
pub mod reading;
pub mod registry;
pub mod remote;
pub mod sabotage;
pub mod sensors;
pub mod serial;
pub mod spend;
pub mod store;
pub mod uplink;
