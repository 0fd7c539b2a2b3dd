//! `rows`: the default encoding of readings for Golioth's Stream service.
//!
//! A message is a CBOR array of maps, one map an instant of one group of streams. Any Golioth project understands it
//! with stock pipeline steps: `cbor-to-json`, `batch` (which makes every map a message of its own, so every map says
//! all that identifies its readings), `extract-timestamp`, `lightdb-stream`.
//!
//! # Keys of a map
//! | key | value |
//! |---|---|
//! | `e` | first 4 bytes of the store epoch, a byte string |
//! | `s` | sequence, shared by all readings of the instant |
//! | `t` | Unix milliseconds of capture; the key that `extract-timestamp` takes |
//! | `u` | uncertainty of `t` in milliseconds; left out up to [`UNSTATED_UNCERTAINTY_MS`] |
//! | `b`, `m` | instead of `t` while the time is not trusted: boot id, and milliseconds since that boot |
//! | `q` | map of alias to quality, for the readings whose quality is not 0 (good) |
//! | any other | a stream's alias, with its value; null where a quality stands for a value that is missing |
//!
//! Three more kinds of map stand between rows. An [`EpochStatement`] opens the first message of an epoch: `e`, `ep` the
//! whole epoch, and where one went before, `pe` that one and `ls`, its last sequence by group. A [`ClockStatement`]
//! says, once the time is known, when the clock behind `b` and `m` stood at zero: `e`, `b`, `o`, and `u` as above; and
//! where that corrects rows that went out with `t`, the zero they were dated with, as `t`. A
//! [`LossStatement`] says what will never come, and why: `e`, the time, and `loss`.
//!
//! # Numbers
//! Every number takes the shortest form that gives the same value back: an integer if it is whole, else the
//! shortest float. For a value with a [`Resolution`], "the same" means after rounding to it: 12.3 at 0.1 goes as a
//! half-precision 12.296875, in 3 bytes. A reader that wants the digits of the sensor rounds;
//! [`DecodedValue::mantissa`] does.
//!
//! # Who owns what
//! [`RowsPacker`] owns its buffer and nothing else; rows are borrowed. Invariant: what [`RowsPacker::finish`] returns
//! is never longer than the limit, is one complete document, and contains exactly the elements that were answered
//! with [`Push::Pushed`], in that order.

mod decode;
mod loss;
mod number;
mod packer;

pub use decode::{
    DecodeError, DecodedEpoch, DecodedReading, DecodedRow, DecodedValue, Element, PreviousEpochSequences,
    decode_rows,
};
pub use loss::{DecodedLoss, LossKeys, LossStatement, MAX_WORD_BYTES, Salvage};
pub use number::{MAX_EXACT_MANTISSA, Resolution};
pub use packer::{Push, RowError, RowsPacker};

/// Longest message, in bytes: Golioth's recommendation for any payload, and one CoAP block.
pub const MAX_BATCH_BYTES: usize = 1024;

/// A `t` without a `u` is within this many milliseconds of the truth, either way.
pub const UNSTATED_UNCERTAINTY_MS: u32 = 1_000;

/// Longest alias of a stream and longest name of a group, in bytes. Short ones pay: an alias goes out with every
/// value.
pub const MAX_ALIAS_BYTES: usize = 32;

/// Keys with a meaning of their own. `ts`, `time` and `timestamp` are not ours: `extract-timestamp` would take a
/// stream of that name for the time.
const RESERVED: [&str; 15] =
    ["b", "e", "ep", "loss", "ls", "m", "o", "pe", "q", "s", "t", "time", "timestamp", "ts", "u"];

/// One instant of one group of streams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// First 4 bytes of the store epoch the readings were accepted under.
    pub epoch_prefix: [u8; 4],
    /// The group's sequence at this instant.
    pub sequence: u64,
    /// When.
    pub time: RowTime,
    /// At least one; no alias twice.
    pub values: &'a [RowValue<'a>],
}

/// When a row was captured, by the best clock there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowTime {
    /// Wall time that can be trusted as far as it says.
    Wall {
        /// Unix milliseconds.
        unix_ms: i64,
        /// How far off it may be, either way. Decoded from a map without `u`: [`UNSTATED_UNCERTAINTY_MS`].
        uncertainty_ms: u32,
    },
    /// No trusted wall time yet.
    Boot {
        /// The boot's number.
        boot: u64,
        /// Monotonic milliseconds since that boot's origin.
        mono_ms: u64,
    },
}

/// One reading of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowValue<'a> {
    /// The stream's short name; see [`validate_alias`].
    pub alias: &'a str,
    /// What was read.
    pub value: Value<'a>,
    /// 0 is good; the other codes are the sender's.
    pub quality: u8,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `mantissa` × `resolution`: what registers and fixed-point text give.
    Scaled {
        /// How many steps.
        mantissa: i64,
        /// How large a step.
        resolution: Resolution,
    },
    /// A number to be kept to the last bit; must be finite.
    Float(f64),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// Nothing was read; the quality says why.
    Missing,
}

/// Opens an epoch: names it in full, and says how far the one before had come, so that the cloud's side can tell
/// what it never got. A statement with too many groups for one message is pushed in parts; each names the epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStatement<'a> {
    /// The epoch that begins. Its first 4 bytes are the prefix in every map.
    pub epoch: [u8; 8],
    /// The epoch before; `None` for the first of all.
    pub previous: Option<PreviousEpoch<'a>>,
}

/// How the epoch before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousEpoch<'a> {
    /// Its name.
    pub epoch: [u8; 8],
    /// Its groups and the last sequence of each; no group twice, names as [`validate_alias`] but none reserved.
    pub last_sequences: &'a [(&'a str, u64)],
}

/// Dates rows that went out with boot id and monotonic time: `unix_ms_at_mono_zero` plus their `m`. Where
/// `dated_with_unix_ms_at_mono_zero` is said, it also corrects the epoch's rows that went out with `t`: that much is taken off
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatement {
    /// First 4 bytes of the epoch under which the statement is made.
    pub epoch_prefix: [u8; 4],
    /// The boot it is about.
    pub boot: u64,
    /// Unix milliseconds when that boot's monotonic clock stood at zero.
    pub unix_ms_at_mono_zero: i64,
    /// What the epoch's `t` were made with, if that was wrong; `t` on the wire.
    pub dated_with_unix_ms_at_mono_zero: Option<i64>,
    /// How far off that may be, either way.
    pub uncertainty_ms: u32,
}

/// Why a name cannot be a stream's alias or a group's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// No character.
    #[error("an alias is empty: use letters, digits, _ and -")]
    Empty,
    /// Too many characters.
    #[error(
        "alias {alias:?} has more than {MAX_ALIAS_BYTES} bytes: shorten it; it goes out with every value"
    )]
    TooLong {
        /// The alias.
        alias: String,
    },
    /// A character other than letters, digits, `_` and `-`.
    #[error(
        "alias {alias:?} may have only letters, digits, _ and -: dots and slashes would nest it in the cloud's queries"
    )]
    Character {
        /// The alias.
        alias: String,
    },
    /// A key with a meaning of its own.
    #[error("alias {alias:?} has a meaning of its own in a row: choose another, such as {alias}1")]
    Reserved {
        /// The alias.
        alias: String,
    },
}

/// Whether a stream may go by this name: 1 to [`MAX_ALIAS_BYTES`] of `A-Z a-z 0-9 _ -`, and none of the keys of a row
/// (`b e ep loss ls m o pe q s t u`) or of Golioth's `extract-timestamp` (`t ts time timestamp`).
pub fn validate_alias(alias: &str) -> Result<(), AliasError> {
    validate_name(alias)?;
    if RESERVED.contains(&alias) {
        return Err(AliasError::Reserved { alias: alias.to_owned() });
    }
    Ok(())
}

fn validate_name(name: &str) -> Result<(), AliasError> {
    if name.is_empty() {
        return Err(AliasError::Empty);
    }
    if name.len() > MAX_ALIAS_BYTES {
        // Kept short, so that a damaged name does not fill a log.
        return Err(AliasError::TooLong { alias: name.chars().take(MAX_ALIAS_BYTES).collect() });
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Err(AliasError::Character { alias: name.to_owned() });
    }
    Ok(())
}
