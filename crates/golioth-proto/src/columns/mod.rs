//! `columns`: the dense encoding of readings, for links where a byte costs more than a decoder at the other end.
//!
//! A message is a CBOR array of three: the version, the first 4 bytes of the store epoch, and a byte string. It stands beside
//! [`crate::rows`] on the same path with the same content format; a message of rows begins with a map instead of a number. Opening
//! statements of an epoch, clock statements and loss statements always travel as rows.
//!
//! ```text
//! message    [1, h'epoch prefix', h'table*']
//! table      v(instants << 2 | stated << 1 | boot)   boot: v(boot id)
//!            series(sequence)  series(time)  stated: series(uncertainty)   v(columns)  column*
//! column     v(bytes of alias) alias  byte(excepted << 7 | kind)  kind 37: v(numerator) v(denominator)
//!            excepted: v(runs) run*        values
//! run        v(instants since the run before)  v(instants)  v(code)
//! ```
//!
//! `v` is an unsigned LEB128 varint of at most 64 bits, `z` the same of a signed number in zigzag (0, −1, 1, −2 …).
//!
//! - A *table* has the instants of one group of streams. Time is Unix milliseconds, or with `boot` milliseconds since that boot
//!   began. Uncertainty is in milliseconds; left out where no instant's is above [`crate::rows::UNSTATED_UNCERTAINTY_MS`].
//! - A *column* has the readings of one stream. A *run* says how instants differ from a good value: code 0, there is no reading
//!   (a gap; or it is in another message); else code − 1 is quality × 2, plus 1 where there is a reading without a value.
//!   Only what has a value is among the values.
//! - Kinds 0 to 36 are a series of whole steps of 10^(kind − 18), 37 of steps of any ratio, 38 of bools (0 and 1). 39 and 40 are
//!   floats of 4 and 8 bytes, little-endian. 41 is one value after another, each with its type: 0 a float of 8 bytes, 1 steps
//!   (numerator, denominator: v; mantissa: z), 2 false, 3 true, 4 text (v bytes, UTF-8).
//!
//! # Series
//! Whole numbers of 64 bits, as many as the context says; all arithmetic wraps, so every number survives. One alone is `z`. More:
//!
//! ```text
//! series     byte(line << 7 | k)  z(base)  z(step)  residuals, filled up to whole bytes
//! ```
//!
//! Without `line` each number is the one before plus `step` plus its residual, the first is `base`: what wanders. With it, number
//! i is `base` + i × `step` + its residual, from the first on: what keeps a beat, or is noise. Difference from a straight line is
//! what is left of regular times, jitter included, and beats a difference of differences, which adds up the jitter of three.
//!
//! Residuals are Rice codes (Rice and Plaunt 1971; as in FLAC, RFC 9639 §9.2.7), most significant bit first: of the zigzag
//! number u, u >> k ones and a zero, then k bits. From 12 on: 12 ones, 6 bits of length − 1, u in so many bits. k 127: every
//! residual is 0, and none is written.
//!
//! # Bounds
//! A table has at most [`MAX_COLUMNS`], a message at most [`MAX_CELLS`] instants × columns over all tables: what bounds the memory of
//! whoever decodes, since readings that follow a rule take no bytes at all.

mod decode;
mod encode;
mod layout;
mod series;

pub use decode::{Batch, ColumnsDecodeError, Instant, decode_columns, is_columns};
pub use encode::{ColumnsError, ColumnsPacker};

use crate::rows::{RowTime, Value};

/// The first item of a message.
pub const VERSION: u64 = 1;
/// Most streams in one table.
pub const MAX_COLUMNS: usize = 512;
/// Most instants × streams in one message, readings that are not there included.
pub const MAX_CELLS: usize = 4096;

const KIND_RATIO: u8 = 37;
const KIND_BOOL: u8 = 38;
const KIND_F32: u8 = 39;
const KIND_F64: u8 = 40;
const KIND_MIXED: u8 = 41;
const EXCEPTED: u8 = 0x80;
/// The kind of steps of 1; one more for each power of ten.
const KIND_ONE: i8 = 18;

const ITEM_FLOAT: u8 = 0;
const ITEM_STEPS: u8 = 1;
const ITEM_FALSE: u8 = 2;
const ITEM_TRUE: u8 = 3;
const ITEM_TEXT: u8 = 4;

/// One reading, to be packed with others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading<'a> {
    /// The group whose sequence it shares. It is not sent: it says which readings stand in one table.
    pub group: &'a str,
    /// The group's sequence.
    pub sequence: u64,
    /// When.
    pub time: RowTime,
    /// The stream's short name; see [`crate::rows::validate_alias`].
    pub alias: &'a str,
    /// What was read. [`Value::Integer`] is steps of 1.
    pub value: Value<'a>,
    /// 0 is good; the other codes are the sender's.
    pub quality: u8,
}

impl Reading<'_> {
    fn same_instant(&self, other: &Self) -> bool {
        self.sequence == other.sequence && self.time == other.time && self.group == other.group
    }
}
