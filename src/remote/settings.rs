//! What becomes of a cloud's settings. Pure.
//!
//! A value that is wrong leaves the one before it in force; a key that the cloud has no value for any more goes back to the
//! configuration's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::board::Tuning;
use crate::config::{RemoteKey, RemoteRefusal, RemoteValue};
use crate::uplink::link::{SettingFault, Settings};

/// The settings in force, by key of the configuration, as they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InForce {
    /// The cloud's number.
    pub(super) version: Option<i64>,
    values: BTreeMap<String, Value>,
}

/// Longest key that a setting could have (Golioth's console).
const KEY_BYTES: usize = 63;

impl InForce {
    /// What was kept by a run before, as far as this release takes it.
    pub(super) fn kept(text: &str) -> Self {
        let mut kept: Self = serde_json::from_str(text).unwrap_or_default();
        kept.values.retain(|path, said| value(path, said).is_some());
        kept
    }

    /// What is in force with these settings, and what of them is not.
    pub(super) fn judge(&self, settings: &Settings) -> (Self, Vec<(String, SettingFault)>) {
        let mut next = Self { version: settings.version, values: BTreeMap::new() };
        let mut faults = Vec::new();
        for (name, said) in settings.values.iter().flatten() {
            let Some(key) = RemoteKey::named(name) else {
                faults.push((name.clone(), unknown(name)));
                continue;
            };
            let fault = match key.value(said) {
                Ok(_) => {
                    next.values.insert(key.path.to_owned(), said.clone());
                    continue;
                }
                Err(RemoteRefusal::Format) => SettingFault::FormatNotValid,
                Err(RemoteRefusal::Range) => SettingFault::OutsideRange,
                Err(RemoteRefusal::TooLong) => SettingFault::TooLong,
            };
            faults.push((name.clone(), fault));
            if let Some(before) = self.values.get(key.path) {
                next.values.insert(key.path.to_owned(), before.clone());
            }
        }
        (next, faults)
    }

    /// What lanes are to do differently.
    pub(super) fn tuning(&self) -> Tuning {
        let duration = |path| match self.value(path) {
            Some(RemoteValue::Duration(value)) => Some(value),
            _ => None,
        };
        Tuning {
            log_level: match self.value("log.level") {
                Some(RemoteValue::Level(level)) => Some(level),
                _ => None,
            },
            log_cloud: match self.value("log.cloud") {
                Some(RemoteValue::CloudLevel(level)) => Some(level),
                _ => None,
            },
            liveness: match self.value("golioth.liveness") {
                Some(RemoteValue::Liveness(liveness)) => Some(liveness),
                _ => None,
            },
            commit_window: duration("store.commit_window"),
            modem_poll: duration("modem.poll"),
            hold_untrusted: duration("time.hold_untrusted"),
            linger: duration("uplink.linger"),
            window: match self.value("uplink.window") {
                Some(RemoteValue::Number(window)) => Some(window),
                _ => None,
            },
        }
    }

    /// For people: key and value.
    pub(super) fn shown(&self) -> Vec<(String, String)> {
        let text = |said: &Value| said.as_str().map_or_else(|| said.to_string(), str::to_owned);
        self.values.iter().map(|(path, said)| (path.clone(), text(said))).collect()
    }

    fn value(&self, path: &str) -> Option<RemoteValue> {
        value(path, self.values.get(path)?)
    }
}

fn value(path: &str, said: &Value) -> Option<RemoteValue> {
    crate::config::REMOTE_KEYS.iter().find(|key| key.path == path)?.value(said).ok()
}

fn unknown(name: &str) -> SettingFault {
    let could_be = (1..=KEY_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if could_be { SettingFault::NotRecognized } else { SettingFault::KeyNotValid }
}

/// For people.
pub(super) fn words(fault: SettingFault) -> &'static str {
    match fault {
        SettingFault::NotRecognized => "this gateway has no such setting, or none that may be set from afar",
        SettingFault::KeyNotValid => "no setting can have this key",
        SettingFault::FormatNotValid => "the value is not written as the configuration writes it",
        SettingFault::OutsideRange => "the value is beyond its bounds",
        SettingFault::TooLong => "the text is too long",
        SettingFault::General => "it could not be written to the disk",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::config::LogLevel;

    fn settings(version: i64, values: &[(&str, Value)]) -> Settings {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Settings { version: Some(version), values: Some(values) }
    }

    #[test]
    fn right_values_are_in_force_and_each_wrong_one_has_its_code() {
        let long = json!("9".repeat(65));
        let (now, faults) = InForce::default().judge(&settings(
            7,
            &[
                ("UPLINK_LINGER", json!("30s")),
                ("UPLINK_WINDOW", json!(4)),
                ("LOG_LEVEL", json!("debug")),
                ("MODEM_POLL", json!(60)),
                ("TIME_HOLD_UNTRUSTED", json!("25h")),
                ("GOLIOTH_ENDPOINT", json!("evil.example")),
                ("BUDGET_MONTH", json!("9GiB")),
                ("uplink.linger", json!("30s")),
                ("LOG_FORMAT", long.clone()),
                ("LOG_CLOUD", json!("off")),
                ("STORE_COMMIT_WINDOW", json!("61s")),
                ("GOLIOTH_LIVENESS", json!("eager")),
            ],
        ));
        let expected = Tuning {
            log_level: Some(LogLevel::Debug),
            log_cloud: Some(None),
            linger: Some(Duration::from_secs(30)),
            window: Some(4),
            ..Tuning::default()
        };
        assert_eq!((now.version, now.tuning()), (Some(7), expected));
        let codes: Vec<_> = faults.iter().map(|(key, fault)| (key.as_str(), *fault)).collect();
        use SettingFault::{FormatNotValid, KeyNotValid, NotRecognized, OutsideRange, TooLong};
        assert_eq!(
            codes,
            [
                ("MODEM_POLL", FormatNotValid),
                ("TIME_HOLD_UNTRUSTED", OutsideRange),
                ("GOLIOTH_ENDPOINT", NotRecognized),
                ("BUDGET_MONTH", NotRecognized),
                ("uplink.linger", KeyNotValid),
                ("LOG_FORMAT", NotRecognized),
                ("STORE_COMMIT_WINDOW", OutsideRange),
                ("GOLIOTH_LIVENESS", FormatNotValid),
            ]
        );
        let (_, faults) = now.judge(&settings(8, &[("LOG_LEVEL", long), ("UPLINK_WINDOW", json!(4.0))]));
        assert_eq!(faults, [("LOG_LEVEL".into(), TooLong), ("UPLINK_WINDOW".into(), FormatNotValid)]);
    }

    #[test]
    fn a_wrong_value_leaves_the_one_before_in_force_and_a_removed_one_goes() {
        let (first, _) = InForce::default()
            .judge(&settings(1, &[("UPLINK_WINDOW", json!(4)), ("UPLINK_LINGER", json!("9s"))]));
        let (second, faults) = first.judge(&settings(2, &[("UPLINK_WINDOW", json!(0))]));
        assert_eq!(faults, [("UPLINK_WINDOW".into(), SettingFault::OutsideRange)]);
        assert_eq!(second.tuning(), Tuning { window: Some(4), ..Tuning::default() });
        let (third, faults) = second.judge(&Settings { version: Some(3), values: None });
        assert_eq!((third.tuning(), faults), (Tuning::default(), Vec::new()));
    }

    #[test]
    fn what_is_kept_is_read_back_without_what_this_release_does_not_take() {
        let (now, _) = InForce::default().judge(&settings(1, &[("UPLINK_LINGER", json!("9s"))]));
        let text = serde_json::to_string(&now).unwrap();
        assert_eq!(InForce::kept(&text), now);
        let foreign =
            r#"{"version":1,"values":{"uplink.linger":"9s","uplink.window":99,"golioth.endpoint":"x"}}"#;
        assert_eq!(InForce::kept(foreign), now);
        assert_eq!(InForce::kept("nonsense"), InForce::default());
    }
}
