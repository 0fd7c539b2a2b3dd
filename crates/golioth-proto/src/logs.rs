//! Log records for [`crate::paths::LOGS`], which a new Golioth project's default pipeline takes into its log view.
//!
//! A link must never log its own transport errors through this path without a rate limit: an error that causes a
//! record that causes an error feeds itself.

use crate::cbor::{Writer, head_bytes};

/// Longest encoded record, in bytes: Golioth's recommendation for any payload.
pub const MAX_RECORD_BYTES: usize = 1024;

/// How serious a record is. Golioth's word for the second is `warn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Something happened.
    Info,
    /// For those who look for a fault.
    Debug,
}

impl Level {
    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// How serious.
    pub level: Level,
    /// Which part of the program; cut to 64 bytes.
    pub module: &'a str,
    /// What happened; cut to what fits.
    pub message: &'a str,
}

const MAX_MODULE_BYTES: usize = 64;

impl LogRecord<'_> {
    /// The payload, CBOR, at most [`MAX_RECORD_BYTES`]: the message is cut at a character where it does not fit,
    /// because half a log line is worth more than none.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(128);
        let mut writer = Writer::new(&mut payload);
        writer.map(3);
        writer.text("level");
        writer.text(self.level.name());
        writer.text("module");
        writer.text(cut(self.module, MAX_MODULE_BYTES));
        writer.text("msg");
        let room =
            MAX_RECORD_BYTES.saturating_sub(writer.written()).saturating_sub(head_bytes(MAX_RECORD_BYTES));
        writer.text(cut(self.message, room));
        payload
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}
