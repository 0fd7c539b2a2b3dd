//! What the control document says of the rest, so that the rest need not be asked for. Pure.
//!
//! Whoever maintains it writes, below `desired` of the gateway's LightDB State, beside whatever else is wanted, one of
//!
//! ```json
//! {"changed": 7}
//! {"changed": {"settings": 1652109801583, "manifest": "1634238628474218987"}}
//! ```
//!
//! The first is new whenever settings or manifest are: a counter will do, and both are asked for. It is the cheaper one, since every
//! byte of the document is paid for with each sign of life. The second names which: by the version of the settings, the
//! sequence number of the manifest, or counters. Numbers may be text; one beyond 2^53 may not survive as a number.
//!
//! What is named anew and not held is asked for at once, and once: a wrong name costs one request. What is not named is asked for
//! seldom, as if there were no document. What a session or a run before looked at is not named anew as long as the name is the one
//! that it was asked for under, or the version that was seen ([`super::looks`]).

use serde_json::Value;

use super::looks::Known;

/// What may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Settings,
    Manifest,
}

/// In the order of their numbers.
const NAMES: [(&str, Rest); 2] = [("settings", Rest::Settings), ("manifest", Rest::Manifest)];

#[derive(Clone, Copy, Debug, Default)]
struct Item {
    named: Option<u64>,
    held: Option<u64>,
    tried: Option<u64>,
    /// It was looked at before the session.
    known: bool,
}

/// See the module head.
#[derive(Debug)]
pub(super) struct Announced {
    items: [Item; NAMES.len()],
    /// The rest is being asked for whatever the first document says.
    begins: bool,
}

impl Announced {
    /// Of a session; of one that `begins` now, what of the rest is not known is asked for in any case, right after the control document.
    pub(super) fn new(begins: bool, known: impl Fn(Rest) -> Option<Known>) -> Self {
        let item = |rest| {
            known(rest).map_or_else(Item::default, |known| Item {
                named: None,
                held: Some(known.version),
                tried: known.named,
                known: true,
            })
        };
        Self { items: NAMES.map(|(_, rest)| item(rest)), begins }
    }

    /// What the control document says now. One that cannot be read names nothing.
    pub(super) fn control(&mut self, payload: &[u8]) {
        let document: Value = serde_json::from_slice(payload).unwrap_or_default();
        let changed = &document["changed"];
        let begins = std::mem::take(&mut self.begins);
        for (name, rest) in NAMES {
            let item = &mut self.items[rest as usize];
            item.named = number(changed).or_else(|| number(&changed[name]));
            if begins && !item.known {
                item.tried = item.named;
            }
        }
    }

    /// Whether the document names anything at all.
    pub(super) fn names_any(&self) -> bool {
        self.items.iter().any(|item| item.named.is_some())
    }

    /// Whether the document names it.
    pub(super) fn names(&self, rest: Rest) -> bool {
        self.items[rest as usize].named.is_some()
    }

    /// What it was named when it was last asked for.
    pub(super) fn tried(&self, rest: Rest) -> Option<u64> {
        self.items[rest as usize].tried
    }

    /// Whether it is to be asked for before its time.
    pub(super) fn wants(&self, rest: Rest) -> bool {
        let Item { named, held, tried, .. } = self.items[rest as usize];
        named.is_some() && named != held && named != tried
    }

    /// It was asked for.
    pub(super) fn asked(&mut self, rest: Rest) {
        let item = &mut self.items[rest as usize];
        item.tried = item.named;
    }

    /// This is what is held of it.
    pub(super) fn holds(&mut self, rest: Rest, version: u64) {
        self.items[rest as usize].held = Some(version);
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(document: &str) -> Announced {
        let mut announced = Announced::new(false, |_| None);
        announced.control(document.as_bytes());
        announced
    }

    #[test]
    fn what_is_named_and_not_held_is_wanted_until_it_is_held() {
        let mut announced = told(r#"{"interval": 5, "changed": {"manifest": "1634238628474218987"}}"#);
        assert!(announced.wants(Rest::Manifest) && !announced.wants(Rest::Settings));
        announced.holds(Rest::Manifest, 7);
        assert!(announced.wants(Rest::Manifest), "that is an older one");
        announced.holds(Rest::Manifest, 1_634_238_628_474_218_987);
        assert!(!announced.wants(Rest::Manifest));
    }

    #[test]
    fn a_name_that_nothing_answers_to_is_asked_for_once() {
        let mut announced = told(r#"{"changed": {"settings": 3}}"#);
        announced.asked(Rest::Settings);
        announced.holds(Rest::Settings, 2);
        announced.control(br#"{"changed": {"settings": 3}, "other": 1}"#);
        assert!(!announced.wants(Rest::Settings));
        announced.control(br#"{"changed": {"settings": 4}}"#);
        assert!(announced.wants(Rest::Settings));
    }

    #[test]
    fn one_number_for_both_is_a_change_of_either() {
        let mut announced = told(r#"{"changed": 7}"#);
        for rest in [Rest::Settings, Rest::Manifest] {
            assert!(announced.wants(rest));
            announced.asked(rest);
            assert!(!announced.wants(rest));
        }
        announced.control(br#"{"changed": 8}"#);
        assert!(announced.wants(Rest::Settings) && announced.wants(Rest::Manifest));
    }

    #[test]
    fn a_session_that_begins_does_not_ask_twice_and_one_taken_up_asks_for_what_it_cannot_know() {
        let mut announced = Announced::new(true, |_| None);
        announced.control(br#"{"changed": 7}"#);
        assert!(!announced.wants(Rest::Manifest));
        announced.control(br#"{"changed": 8}"#);
        assert!(announced.wants(Rest::Manifest));
        assert!(told(r#"{"changed": 7}"#).wants(Rest::Manifest));
    }

    #[test]
    fn what_was_looked_at_before_the_session_is_named_by_its_version_or_as_it_was_asked_for() {
        let looked_at = Known { named: Some(7), version: 100, left: Duration::from_secs(60) };
        for begins in [true, false] {
            for (document, wanted) in [("7", false), ("100", false), ("8", true), ("null", false)] {
                let mut announced =
                    Announced::new(begins, |rest| (rest == Rest::Settings).then_some(looked_at));
                announced.control(format!(r#"{{"changed": {document}}}"#).as_bytes());
                assert_eq!(announced.wants(Rest::Settings), wanted, "{document}, begins {begins}");
            }
        }
    }

    #[test]
    fn a_document_that_says_nothing_of_it_or_nothing_readable_announces_nothing() {
        let strange = ["", "null", "7", "{}", "not json", r#"{"changed": null}"#, r#"{"changed": [1]}"#];
        let wrong = [r#"{"changed": {"manifest": -1}}"#, r#"{"changed": {"settings": 1.5}}"#];
        for document in strange.into_iter().chain(wrong) {
            let announced = told(document);
            assert!(!announced.wants(Rest::Manifest) && !announced.wants(Rest::Settings), "{document}");
        }
    }
}
