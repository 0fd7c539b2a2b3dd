//! The project's settings: values by key, for all devices or overridden for one.
//!
//! Invariant: whatever is changed, the version (Unix milliseconds of the last change) grows.

use super::config::CloudError;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Settings and overrides together.
const MOST_SETTINGS: usize = 1_000;
/// Longest key.
const MOST_KEY_BYTES: usize = 63;

/// One value, of the project or of one device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) data_type: DataType,
    pub(super) value: Value,
    /// Whom it is for.
    pub(super) level: Level,
    pub(super) created_ns: i128,
    pub(super) updated_ns: i128,
}

impl Setting {
    /// The value as devices get it.
    fn told(&self) -> Value {
        match (self.data_type, self.value.as_f64()) {
            (DataType::Float, Some(number)) => json!(number),
            _ => self.value.clone(),
        }
    }
}

/// Whom a value is for. The later holds over the earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Level {
    Project,
    /// Devices of a blueprint, by its id.
    Blueprint(String),
    /// One device, by its name.
    Device(String),
}

/// The four types of a setting. A key's type never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataType {
    String,
    Float,
    Integer,
    Boolean,
}

impl DataType {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "string" => Some(Self::String),
            "float" => Some(Self::Float),
            "integer" => Some(Self::Integer),
            "boolean" => Some(Self::Boolean),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
        }
    }

    /// The type a plain value suggests.
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(_) => Some(Self::String),
            Value::Bool(_) => Some(Self::Boolean),
            Value::Number(number) if number.is_f64() => Some(Self::Float),
            Value::Number(_) => Some(Self::Integer),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Float => value.is_number(),
            Self::Integer => value.is_i64(),
            Self::Boolean => value.is_boolean(),
        }
    }
}

/// What a device said of the settings it was sent (`.c/status`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingsStatus {
    /// The version it answers; `None` where it holds none.
    pub version: Option<i64>,
    /// What it could not take.
    pub errors: Vec<SettingError>,
    /// When it came, Unix nanoseconds.
    pub unix_ns: i128,
}

/// A setting a device could not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingError {
    /// Key.
    pub key: String,
    /// 1 key not recognized, 2 key not valid, 3 format not valid, 4 out of range, 5 string too long, 6 general.
    pub code: i64,
    /// The device's own words.
    pub details: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) all: Vec<Setting>,
    version_ms: i64,
}

impl Settings {
    /// Sets a value; without a type, the key's, or the one the value suggests.
    pub(super) fn set(
        &mut self,
        key: &str,
        data_type: Option<DataType>,
        value: Value,
        level: Level,
        new_id: impl FnOnce() -> String,
        unix_ns: i128,
    ) -> Result<&Setting, CloudError> {
        let invalid = |what: String| CloudError::Invalid { what };
        let legal = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if key.is_empty() || key.len() > MOST_KEY_BYTES || !key.bytes().all(legal) {
            return Err(invalid(format!("setting key {key:?}: can use only use characters A-Z, 0-9 and _")));
        }
        let known = self.all.iter().find(|setting| setting.key == key).map(|setting| setting.data_type);
        let data_type = known
            .or(data_type)
            .or_else(|| DataType::of(&value))
            .ok_or_else(|| invalid(format!("setting {key} needs a string, a number or a boolean")))?;
        if !data_type.fits(&value) {
            return Err(invalid(format!("setting {key} is of type {}", data_type.name())));
        }
        let of_project = |setting: &Setting| setting.key == key && setting.level == Level::Project;
        if level != Level::Project && !self.all.iter().any(of_project) {
            return Err(invalid(format!("setting {key} has no value for the project to override")));
        }
        self.touch(unix_ns);
        let same = |setting: &Setting| setting.key == key && setting.level == level;
        let place = match self.all.iter().position(same) {
            Some(place) => place,
            None if self.all.len() >= MOST_SETTINGS => {
                return Err(CloudError::Full { what: "settings", limit: MOST_SETTINGS });
            }
            None => {
                self.all.push(Setting {
                    id: new_id(),
                    key: key.to_owned(),
                    data_type,
                    value: Value::Null,
                    level,
                    created_ns: unix_ns,
                    updated_ns: unix_ns,
                });
                self.all.len() - 1
            }
        };
        let setting = self.all.get_mut(place).ok_or(CloudError::NotFound { what: "setting" })?;
        setting.value = value;
        setting.updated_ns = unix_ns;
        Ok(setting)
    }

    /// Deletes one by id; a project's value takes its overrides along.
    pub(super) fn delete(&mut self, id: &str, unix_ns: i128) -> bool {
        let Some(gone) = self.all.iter().find(|setting| setting.id == id).cloned() else { return false };
        self.all
            .retain(|other| other.id != gone.id && !(gone.level == Level::Project && other.key == gone.key));
        self.touch(unix_ns);
        true
    }

    /// What holds for a device, by key.
    pub(super) fn effective(&self, device: &str, blueprint: Option<&str>) -> BTreeMap<&str, &Setting> {
        let rank = |level: &Level| match level {
            Level::Project => Some(0),
            Level::Blueprint(id) => (blueprint == Some(id)).then_some(1),
            Level::Device(name) => (name == device).then_some(2),
        };
        let mut effective: BTreeMap<&str, &Setting> = BTreeMap::new();
        for setting in self.all.iter().filter(|setting| rank(&setting.level).is_some()) {
            let known = effective.entry(&setting.key).or_insert(setting);
            if rank(&known.level) < rank(&setting.level) {
                *known = setting;
            }
        }
        effective
    }

    /// Unix milliseconds of the last change; 0 before the first.
    pub(super) fn version_ms(&self) -> i64 {
        self.version_ms
    }

    /// What `.c` says: `settings`, null when there are none, and `version`. Whole floats stay floats.
    pub(super) fn told(&self, device: &str, blueprint: Option<&str>) -> Value {
        let effective = self.effective(device, blueprint);
        let settings = effective.into_iter().map(|(key, setting)| (key.to_owned(), setting.told()));
        let settings: Map<String, Value> = settings.collect();
        let settings = if settings.is_empty() { Value::Null } else { Value::Object(settings) };
        json!({"settings": settings, "version": self.version_ms})
    }

    fn touch(&mut self, unix_ns: i128) {
        self.version_ms = super::wall::ms(unix_ns).max(self.version_ms.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::cbor;

    fn set(settings: &mut Settings, key: &str, value: Value, device: Option<&str>) -> Result<(), CloudError> {
        let id = settings.all.len().to_string();
        let level = device.map_or(Level::Project, |name| Level::Device(name.to_owned()));
        settings.set(key, None, value, level, || id, 1_652_109_801_583_000_000).map(|_| ())
    }

    #[test]
    fn without_settings_the_map_is_null() {
        // {"settings": null, "version": 0}
        let expected = [b"\xA2\x68settings\xF6\x67version\x00".as_slice()].concat();
        assert_eq!(cbor::encode(&Settings::default().told("gw", None)), expected);
    }

    #[test]
    fn the_payload_is_as_observed_and_a_whole_float_stays_a_float() {
        let mut settings = Settings::default();
        set(&mut settings, "A_INT", json!(42), None).unwrap();
        set(&mut settings, "B_FLOAT", json!(2.5), None).unwrap();
        settings.set("B_FLOAT", None, json!(10), Level::Project, String::new, 0).unwrap();
        let version = settings.version_ms();
        assert_eq!(version, 1_652_109_801_585, "every change makes it grow, whatever the clock says");
        let mut expected =
            b"\xA2\x68settings\xA2\x65A_INT\x18\x2A\x67B_FLOAT\xFB\x40\x24\0\0\0\0\0\0\x67version\x1B"
                .to_vec();
        expected.extend(version.to_be_bytes());
        assert_eq!(cbor::encode(&settings.told("gw", None)), expected);
    }

    #[test]
    fn a_devices_override_holds_for_it_alone_and_needs_a_project_value() {
        let mut settings = Settings::default();
        assert!(set(&mut settings, "A", json!(1), Some("gw")).is_err());
        set(&mut settings, "A", json!(1), None).unwrap();
        set(&mut settings, "A", json!(2), Some("gw")).unwrap();
        assert_eq!(settings.effective("gw", None)["A"].value, json!(2));
        assert_eq!(settings.effective("other", None)["A"].value, json!(1));
        let blueprint = Level::Blueprint("b".to_owned());
        settings.set("A", None, json!(3), blueprint, || "b".to_owned(), 0).unwrap();
        assert_eq!(settings.effective("other", Some("b"))["A"].value, json!(3));
        assert_eq!(settings.effective("other", Some("c"))["A"].value, json!(1));
        assert_eq!(settings.effective("gw", Some("b"))["A"].value, json!(2), "the device's own comes last");
        let project = settings.all[0].id.clone();
        assert!(settings.delete(&project, 0));
        assert!(settings.all.is_empty() && !settings.delete(&project, 0));
    }

    #[test]
    fn a_key_keeps_its_type_and_its_alphabet() {
        let mut settings = Settings::default();
        set(&mut settings, "A", json!(1), None).unwrap();
        assert!(set(&mut settings, "A", json!("x"), None).is_err());
        for key in ["", "a", "A-B", &"A".repeat(64)] {
            assert!(set(&mut settings, key, json!(1), None).is_err(), "{key:?}");
        }
    }
}
