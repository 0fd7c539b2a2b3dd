//! Settings: what arrives on `.c`, and the report POSTed to `.c/status`.
//!
//! The cloud merges its three levels (device over blueprint over project) before sending; a gateway sees one map. A
//! project without settings sends `settings: null`, which asks for no report.

use crate::cbor::{Fault, Reader, Scalar, Writer};

/// Longest setting key, in bytes: Golioth allows 63 of `A-Z`, `0-9` and `_`. A longer one is reported cut to this.
pub const MAX_KEY_BYTES: usize = 128;
/// Longest text setting, in bytes: a notification is at most one block.
pub const MAX_TEXT_BYTES: usize = 1024;
/// Most settings that are taken of one notification; and most of which it is told that they are not.
pub const MAX_SETTINGS: usize = 128;

/// What the cloud says on `.c`.
#[derive(Clone, Debug, PartialEq)]
pub enum Notification {
    /// The observation stands; no settings with it.
    Greeting,
    /// The settings as they are now.
    Settings(Settings),
}

/// The settings of this device.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Unix milliseconds of the last change, to be echoed in the report. `None`: null.
    pub version: Option<i64>,
    /// In the order sent, no key twice. `None`: none are defined.
    pub values: Option<Vec<(String, Scalar)>>,
    /// Those that are not taken, and why: a key or a text that is too long, or more than [`MAX_SETTINGS`]. One that is meant for
    /// another device must not keep the rest from coming into force.
    pub faults: Vec<(String, ErrorCode)>,
}

/// Why a notification on `.c` is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The document is not a map or is damaged.
    #[error(
        "the cloud's settings were not understood: {fault}; the settings in force stay; change one to have them sent again"
    )]
    Document {
        /// What is wrong with it.
        fault: Fault,
    },
    /// One of `settings` and `version` is not there.
    #[error(
        "the cloud's settings came without {missing}; the settings in force stay; change one to have them sent again"
    )]
    Incomplete {
        /// Which.
        missing: &'static str,
    },
    /// The version is wrong.
    #[error("the version of the cloud's settings: {fault}; the settings in force stay")]
    Version {
        /// What is wrong with it.
        fault: Fault,
    },
    /// A setting is wrong in a way that is not its value's type.
    #[error(
        "in the cloud's settings, {key:?}: {fault}; the settings in force stay; change it in the console"
    )]
    Setting {
        /// Its key; empty where it is the list or the key itself that is wrong.
        key: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// Reads a notification on `.c`, or the answer to a GET. Either order of the keys; unknown keys are passed over.
pub fn decode(payload: &[u8]) -> Result<Notification, SettingsError> {
    let document = |fault| SettingsError::Document { fault };
    let mut reader = Reader::new(payload);
    if reader.is_text().map_err(document)? {
        return if reader.text(MAX_KEY_BYTES).map_err(document)? == "OK" {
            reader.end().map_err(document)?;
            Ok(Notification::Greeting)
        } else {
            Err(document(Fault::Invalid { expected: "map of settings or the greeting OK" }))
        };
    }
    let mut version = None;
    let mut values = None;
    let mut faults = Vec::new();
    let mut entries = reader.map().map_err(document)?;
    while entries.another(&mut reader).map_err(document)? {
        if !reader.is_text().map_err(document)? {
            reader.skip().map_err(document)?;
            reader.skip().map_err(document)?;
            continue;
        }
        let key = reader.text(payload.len()).map_err(document)?;
        match &*key {
            "version" if version.is_some() => return Err(SettingsError::Version { fault: Fault::Twice }),
            "settings" if values.is_some() => return Err(setting("", Fault::Twice)),
            "version" => {
                version = Some(read_version(&mut reader).map_err(|fault| SettingsError::Version { fault })?);
            }
            "settings" => values = Some(read_values(&mut reader, &mut faults)?),
            _ => reader.skip().map_err(document)?,
        }
    }
    reader.end().map_err(document)?;
    match (version, values) {
        (Some(version), Some(values)) => Ok(Notification::Settings(Settings { version, values, faults })),
        (None, _) => Err(SettingsError::Incomplete { missing: "version" }),
        (_, None) => Err(SettingsError::Incomplete { missing: "settings" }),
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<Option<i64>, Fault> {
    if reader.is_null()? { reader.skip().map(|()| None) } else { reader.signed().map(Some) }
}

fn read_values(
    reader: &mut Reader<'_>,
    faults: &mut Vec<(String, ErrorCode)>,
) -> Result<Option<Vec<(String, Scalar)>>, SettingsError> {
    let list = |fault| setting("", fault);
    if reader.is_null().map_err(list)? {
        reader.skip().map_err(list)?;
        return Ok(None);
    }
    let mut values: Vec<(String, Scalar)> = Vec::new();
    let mut entries = reader.map().map_err(list)?;
    while entries.another(reader).map_err(list)? {
        let key = reader.text(usize::MAX).map_err(list)?;
        let short = key.get(..key.floor_char_boundary(MAX_KEY_BYTES)).unwrap_or_default();
        if values.iter().any(|(other, _)| *other == key) {
            return Err(setting(short, Fault::Twice));
        }
        let value = reader.short_scalar(MAX_TEXT_BYTES).map_err(|fault| setting(short, fault))?;
        let why = match value {
            _ if short.len() < key.len() => ErrorCode::KeyNotValid,
            _ if values.len() == MAX_SETTINGS => ErrorCode::General,
            None => ErrorCode::ValueStringTooLong,
            Some(value) => {
                values.push((key.into_owned(), value));
                continue;
            }
        };
        if faults.len() < MAX_SETTINGS {
            faults.push((short.to_owned(), why));
        }
    }
    Ok(Some(values))
}

fn setting(key: &str, fault: Fault) -> SettingsError {
    SettingsError::Setting { key: key.to_owned(), fault }
}

/// Why a setting was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// This gateway has no such setting.
    KeyNotRecognized,
    /// The key is not one that can be.
    KeyNotValid,
    /// The value is of another type.
    ValueFormatNotValid,
    /// The value is beyond its range.
    ValueOutsideRange,
    /// The text is too long.
    ValueStringTooLong,
    /// Anything else.
    General,
}

impl ErrorCode {
    /// The number on the wire, 1 to 6; 0 would be success, which is said by leaving the setting out.
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }
}

/// A setting that was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingFault<'a> {
    /// Its key as the cloud sent it.
    pub key: &'a str,
    /// Why.
    pub code: ErrorCode,
}

/// What became of the settings of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusReport<'a> {
    /// The version of [`Settings`].
    pub version: Option<i64>,
    /// Those not applied; empty is full success, and the key is then left out.
    pub errors: &'a [SettingFault<'a>],
}

impl StatusReport<'_> {
    /// The payload, CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(64);
        let mut writer = Writer::new(&mut payload);
        writer.map(if self.errors.is_empty() { 1 } else { 2 });
        if !self.errors.is_empty() {
            writer.text("errors");
            writer.array(self.errors.len());
            for error in self.errors {
                writer.map(2);
                writer.text("setting_key");
                writer.text(error.key);
                writer.text("error_code");
                writer.unsigned(error.code.code().into());
            }
        }
        writer.text("version");
        match self.version {
            Some(version) => writer.integer(version),
            None => writer.null(),
        }
        payload
    }
}
