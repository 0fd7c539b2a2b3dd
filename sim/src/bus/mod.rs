//! A simulated Modbus RTU bus: several slaves on one line, sans-IO, with an exact account of every value it said.
//!
//! [`SimBus`] is a [`SerialDevice`](crate::device::SerialDevice): it is handed bytes and `now` and gives frames back when their last character
//! would have left a real line. It owns the slaves, the answers in waiting and the [`Ledger`]. Invariants: a counted value
//! is on the wire in a complete valid frame exactly once, with counters `1, 2, 3 …` without holes; a frame broken by a
//! fault consumes no counter; the same seed, bytes and times give the same bytes.
//!
//! As on a real line: foreign units are silent, broadcasts are carried out without an answer, an unsound stretch is
//! passed over until the line was silent for 3.5 characters, and a late slave talks although nobody waits for it any more.
//! Not simulated: two stations talking at once (answers wait for each other; requests are heard through answers).
//!
//! # Register layout of [`three_slaves`]
//!
//! Addresses from 0 as on the wire. *Counted* points carry a counter (`wire_counter`) and make up `produced`.
//!
//! | unit | point | table | address | type | order | values |
//! |---|---|---|---|---|---|---|
//! | 17 tank | `level` | input | 0–1 | i32 | ABCD | counted walk |
//! | | `temperature` | input | 2 | i16 | | counter (0.1 °C, period 32 768) |
//! | | `fills` | input | 3–4 | u32 | ABCD | counter |
//! | | `volume` | input | 5–6 | i32 | ABCD | counted walk |
//! | | `span` | holding | 10–11 | f32 | ABCD | counted walk (period 16 777) |
//! | | – | holding | 0–7 | u16 | | memory, writable, zero at first |
//! | | – | coils | 0–7 | | | memory, `0xBB` at first |
//! | 18 pump | `starts` | holding | 0–1 | u32 | CDAB | counter |
//! | | `flow` | holding | 2–3 | i32 | CDAB | counted walk |
//! | | `power` | holding | 4–5 | f32 | CDAB | counted walk (period 16 777) |
//! | | `winding` | holding | 6 | u16 | | counter (0.1 °C, period 65 536) |
//! | | `hours` | holding | 7–8 | u32 | CDAB | counter |
//! | | – | coils | 0–3 | | | memory, off at first |
//! | | – | discrete inputs | 0–3 | | | `0b0101` |
//! | 19 weather | `rain` | input | 0–1 | u32 | DCBA | counter |
//! | | `wind` | input | 2–3 | u32 | ABCD | counted walk |
//! | | `pressure` | input | 4–5 | i32 | BADC | counted walk |
//! | | `humidity` | input | 6 | u16 | | counter (0.1 %, period 65 536) |
//! | | `gusts` | input | 7 | u16 | | counter (period 65 536) |

pub mod codec;
mod fault;
mod ledger;
mod line;
mod slave;
mod three_slaves;
mod value;

#[cfg(test)]
pub(crate) mod tests;

pub use fault::{Fault, When};
pub use ledger::{Ledger, LineLedger, PointLedger, SlaveLedger};
pub use line::SimBus;
pub use slave::{BitBank, PointSpec, RegisterBank, SlaveSpec};
pub use three_slaves::three_slaves;
pub use value::{Encoding, PointFunction, Source, WordOrder};

/// A bus that cannot be made, or a disturbance it cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The line has no speed.
    #[error("the bus has a speed of 0 baud, so no character would ever end; give a speed such as 19200")]
    ZeroBaud,
    /// A unit no slave may have.
    #[error("unit {unit} cannot be a slave: 0 is the broadcast and 248 to 255 are reserved; choose 1 to 247")]
    UnitOutOfRange {
        /// The unit.
        unit: u8,
    },
    /// Two slaves with one unit would answer at once.
    #[error("unit {unit} is given to two slaves, which would both answer; give each its own")]
    DuplicateUnit {
        /// The unit.
        unit: u8,
    },
    /// A name given twice would make the ledger ambiguous.
    #[error("unit {unit} has two points named {point:?}; give each its own name")]
    DuplicatePoint {
        /// The unit.
        unit: u8,
        /// The name.
        point: String,
    },
    /// One register or bit would hold two things.
    #[error("unit {unit} has two things at address {address} of one table; move one of them")]
    Overlap {
        /// The unit.
        unit: u8,
        /// Address from 0.
        address: u16,
    },
    /// A range runs past the last address.
    #[error("unit {unit} has a range from address {address} that runs past 65535; shorten or move it")]
    PastTheEnd {
        /// The unit.
        unit: u8,
        /// First address of the range.
        address: u16,
    },
    /// The numbers cannot be written in the type.
    #[error(
        "point {point:?} of unit {unit} cannot be written in its type: a counted walk takes two registers, and a walk's \
         bounds must be in order and in range"
    )]
    SourceDoesNotFit {
        /// The unit.
        unit: u8,
        /// The name.
        point: String,
    },
    /// Nobody has this unit.
    #[error("no slave on this bus has unit {unit}")]
    UnknownUnit {
        /// The unit.
        unit: u8,
    },
    /// A slave already has as many faults as are kept.
    #[error("unit {unit} already has {most} faults; clear them first")]
    TooManyFaults {
        /// The unit.
        unit: u8,
        /// How many are kept.
        most: usize,
    },
}
