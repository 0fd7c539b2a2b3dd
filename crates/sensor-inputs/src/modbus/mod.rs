//! The pure parts of Modbus (Modbus Application Protocol V1.1b3, Modbus over Serial Line V1.02).
//!
//! - [`Layout`]: how a value lies in registers; registers to raw values and back.
//! - [`reads`]: which addresses are asked for in which request, within what a device takes.
//! - [`Expected`]: the one answer that was asked for, in whatever a line brings.
//! - [`Identification`]: who a device says it is (function 43/14), over as many answers as it takes.
//!
//! Requests are encoded by whoever sends them. Nothing a device answers is an error here.

mod answer;
mod identity;
mod layout;
mod read;

pub use answer::{Expected, MOST_FRAME, is_of_others, read_request, without_echo};
pub use identity::{Identification, IdentityFault, IdentityLevel, Step};
pub use layout::{Bits, BitsRefused, Layout, Raw, Table, ValueType, WordOrder};
pub use read::{Forbidden, Limits, Placed, Read, ReadsRefused, Span, reads};
