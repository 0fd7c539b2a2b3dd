//! Which keys a cloud may change, and what it may set them to: none that decides where data goes, who may enter, what is run,
//! or how much may be spent. Their bounds are those of the file.

use std::time::Duration;

use super::model::{Liveness, LogLevel};
use super::sections::{CLOUD_LEVELS, LEVELS, PROFILES};
use super::words;

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteKey {
    /// In the file: `uplink.linger`. At a cloud it is named in capitals, with `_` for the dots.
    pub path: &'static str,
    /// What it may be.
    pub kind: RemoteKind,
}

/// What a key may be set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteKind {
    /// A duration as the file writes it, from and to.
    Duration(&'static str, &'static str),
    /// A whole number, from and to.
    Number(u8, u8),
    /// A level of the log.
    Level,
    /// A level of the log, or `off`.
    CloudLevel,
    /// A profile of signs of life, whole: what the file writes beside its own does not count with another.
    Liveness,
}

/// A value that a key may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteValue {
    /// A duration.
    Duration(Duration),
    /// A whole number.
    Number(u8),
    /// A level of the log.
    Level(LogLevel),
    /// A level of the log, or none.
    CloudLevel(Option<LogLevel>),
    /// A profile of signs of life.
    Liveness(Liveness),
}

/// Why a value is none of a key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteRefusal {
    /// Of another type, or not readable as its type.
    Format,
    /// Beyond the bounds.
    Range,
    /// A text longer than any value.
    TooLong,
}

/// No value is a longer text.
const MOST_BYTES: usize = 64;

/// The keys that remote settings may change; every other key is local.
pub const REMOTE_KEYS: [RemoteKey; 8] = [
    RemoteKey { path: "golioth.liveness", kind: RemoteKind::Liveness },
    RemoteKey { path: "log.cloud", kind: RemoteKind::CloudLevel },
    RemoteKey { path: "log.level", kind: RemoteKind::Level },
    RemoteKey { path: "modem.poll", kind: RemoteKind::Duration("1s", "24h") },
    RemoteKey { path: "store.commit_window", kind: RemoteKind::Duration("0s", "60s") },
    RemoteKey { path: "time.hold_untrusted", kind: RemoteKind::Duration("0s", "24h") },
    RemoteKey { path: "uplink.linger", kind: RemoteKind::Duration("0s", "10m") },
    RemoteKey { path: "uplink.window", kind: RemoteKind::Number(1, 32) },
];

impl RemoteKey {
    /// The key that a cloud names so.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        const KEYS: &[RemoteKey] = &REMOTE_KEYS;
        KEYS.iter().find(|key| {
            key.path.len() == name.len()
                && key.path.bytes().zip(name.bytes()).all(|(ours, theirs)| match ours {
                    b'.' => theirs == b'_',
                    ours => ours.to_ascii_uppercase() == theirs,
                })
        })
    }

    /// The value, if the key may have it.
    ///
    /// # Errors
    /// [`RemoteRefusal`].
    pub fn value(&self, said: &serde_json::Value) -> Result<RemoteValue, RemoteRefusal> {
        if said.as_str().is_some_and(|text| text.len() > MOST_BYTES) {
            return Err(RemoteRefusal::TooLong);
        }
        let unchecked = crate::sabotage::on("settings-unchecked");
        match self.kind {
            RemoteKind::Duration(least, most) => {
                let value = said.as_str().and_then(words::duration).ok_or(RemoteRefusal::Format)?;
                let within = words::duration(least).is_some_and(|least| least <= value)
                    && words::duration(most).is_some_and(|most| value <= most);
                if within || unchecked { Ok(RemoteValue::Duration(value)) } else { Err(RemoteRefusal::Range) }
            }
            RemoteKind::Number(least, most) => {
                let value = said.as_i64().ok_or(RemoteRefusal::Format)?;
                let value = u8::try_from(value).map_err(|_| RemoteRefusal::Range)?;
                let within = (least..=most).contains(&value) || unchecked;
                if within { Ok(RemoteValue::Number(value)) } else { Err(RemoteRefusal::Range) }
            }
            RemoteKind::Level => one_of(said, &LEVELS).map(RemoteValue::Level),
            RemoteKind::CloudLevel => one_of(said, &CLOUD_LEVELS).map(RemoteValue::CloudLevel),
            RemoteKind::Liveness => one_of(said, &PROFILES).map(RemoteValue::Liveness),
        }
    }
}

fn one_of<T: Copy>(said: &serde_json::Value, words: &[(&str, T)]) -> Result<T, RemoteRefusal> {
    let word = said.as_str().ok_or(RemoteRefusal::Format)?;
    let known = words.iter().find(|(name, _)| *name == word);
    known.map(|(_, value)| *value).ok_or(RemoteRefusal::Format)
}
