//! Typed access to one table. Every key asked for is known; what was never asked for is unknown.
//!
//! A getter that finds a problem reports it and answers `None` or the default, so that reading goes on and
//! every problem is found; a configuration with problems is never handed out.

use core::ops::RangeInclusive;
use core::time::Duration;
use std::path::PathBuf;

use super::problem::{Findings, Place, quote};
use super::tree::{Entry, Table, Value, join};
use super::words;

/// One table being read. Call [`Reader::finish`] at the end.
pub(super) struct Reader<'a> {
    table: &'a Table,
    path: String,
    asked: Vec<&'static str>,
    findings: &'a Findings,
}

/// A value and the line of its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

/// What a number may be: `300 is not a Modbus unit. Use 1 to 247.`
pub(super) struct Numbers {
    /// With its article: "a Modbus unit".
    pub(super) noun: &'static str,
    pub(super) range: RangeInclusive<u32>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: &'a Table, path: &str, findings: &'a Findings) -> Self {
        Self { table, path: path.to_owned(), asked: Vec::new(), findings }
    }

    /// Where the table begins.
    pub(super) fn at(&self) -> Place {
        self.table.at
    }

    /// Where the key stands, or else the table.
    pub(super) fn place(&self, key: &str) -> Place {
        self.table.entries.get(key).map_or(self.table.at, |entry| entry.at)
    }

    /// Whether the key was written at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.entries.contains_key(key)
    }

    /// Reports a problem with a key of this table.
    pub(super) fn problem(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.problem(self.place(key), &join(&self.path, key), what, remedy);
    }

    /// Lets a key of this table pass with a warning.
    pub(super) fn warning(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.warning(self.place(key), &join(&self.path, key), what, remedy);
    }

    /// The key's full path, as messages show it.
    pub(super) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Refuses every key that was never asked for.
    pub(super) fn finish(self) {
        for (key, entry) in &self.table.entries {
            if self.asked.contains(&key.as_str()) {
                continue;
            }
            let known = self.asked.join(", ");
            let remedy = match words::nearest(key, self.asked.iter().copied()) {
                Some(near) => format!("Did you mean \"{near}\"? Known here: {known}."),
                None => format!("Known here: {known}."),
            };
            self.findings.problem(entry.at, &join(&self.path, key), "this key is unknown.", remedy);
        }
    }

    /// The key's raw entry. `example` is what a right value looks like, for remedies.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.entries.get(key)
    }

    /// Reports a required key that is not there.
    pub(super) fn missing(&self, key: &str, example: &str) {
        self.problem(key, "this key is required.", format!("Write {key} = {example}, for example."));
    }

    fn wrong_type(&self, key: &str, value: &Value, expected: &str, example: &str) {
        self.problem(
            key,
            format!("{} is not {expected}.", show(value)),
            format!("Write {key} = {example}, for example."),
        );
    }

    /// A text, checked by `fits`; the remedy is a whole sentence.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        example: &str,
        fits: impl FnOnce(&str) -> bool,
        noun: &str,
        remedy: &str,
    ) -> Option<Found<&'a str>> {
        let found = self.any_text(key, example)?;
        if fits(found.value) {
            return Some(found);
        }
        self.problem(key, format!("{} is not {noun}.", quote(found.value)), remedy);
        None
    }

    /// As [`Reader::text`], but the key must be there.
    pub(super) fn required_text(
        &mut self,
        key: &'static str,
        example: &str,
        fits: impl FnOnce(&str) -> bool,
        noun: &str,
        remedy: &str,
    ) -> Option<Found<&'a str>> {
        if !self.has(key) {
            self.missing(key, example);
        }
        self.text(key, example, fits, noun, remedy)
    }

    /// A text with no check but its type.
    pub(super) fn any_text(&mut self, key: &'static str, example: &str) -> Option<Found<&'a str>> {
        let entry = self.entry(key)?;
        match &entry.value {
            Value::Text(value) => Some(Found { value, at: entry.at }),
            other => {
                self.wrong_type(key, other, "a text", example);
                None
            }
        }
    }

    /// A text of a key that concerns a secret: nothing of a wrong value is shown.
    pub(super) fn hidden_text(&mut self, key: &'static str, example: &str) -> Option<Found<&'a str>> {
        let entry = self.entry(key)?;
        match &entry.value {
            Value::Text(value) => Some(Found { value, at: entry.at }),
            _ => {
                let remedy = format!("Write {key} = {example}, for example.");
                self.problem(key, "this is not a text.", remedy);
                None
            }
        }
    }

    /// An absolute path.
    pub(super) fn path_value(&mut self, key: &'static str, example: &str) -> Option<Found<PathBuf>> {
        let found = self.text(
            key,
            example,
            is_path,
            "an absolute path",
            &format!("Write the whole path, such as {example}."),
        )?;
        Some(Found { value: PathBuf::from(found.value), at: found.at })
    }

    /// A whole number within a range.
    pub(super) fn number(&mut self, key: &'static str, example: &str, allowed: &Numbers) -> Option<u32> {
        let entry = self.entry(key)?;
        let Value::Integer(number) = &entry.value else {
            self.wrong_type(key, &entry.value, "a whole number", example);
            return None;
        };
        let value = number.and_then(|number| u32::try_from(number).ok());
        match value.filter(|value| allowed.range.contains(value)) {
            Some(value) => Some(value),
            None => {
                let (low, high) = (allowed.range.start(), allowed.range.end());
                let remedy = match low == high {
                    true => format!("Use {low}."),
                    false => format!("Use {low} to {high}."),
                };
                self.problem(key, format!("{} is not {}.", show(&entry.value), allowed.noun), remedy);
                None
            }
        }
    }

    /// A finite number, whole or not.
    pub(super) fn real(&mut self, key: &'static str, example: &str) -> Option<f64> {
        let entry = self.entry(key)?;
        let value = match &entry.value {
            Value::Float(value) => *value,
            Value::Integer(value) => exact(*value),
            other => {
                self.wrong_type(key, other, "a number", example);
                return None;
            }
        };
        let value = value.filter(|value| value.is_finite());
        if value.is_none() {
            let remedy = format!("Write {key} = {example}, for example.");
            self.problem(key, format!("{} is not a finite number.", show(&entry.value)), remedy);
        }
        value
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.entry(key) else {
            return default;
        };
        match entry.value {
            Value::Boolean(value) => value,
            ref other => {
                let example = if default { "false" } else { "true" };
                self.wrong_type(key, other, "true or false", example);
                default
            }
        }
    }

    /// A duration within a range, both in the text form of [`words::duration`].
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<&'static str>,
    ) -> Duration {
        let read = |text: &str| words::duration(text).unwrap_or_default();
        let default_value = read(default);
        let Some(found) = self.any_text(key, &format!("\"{default}\"")) else {
            return default_value;
        };
        let Some(value) = words::duration(found.value) else {
            self.problem(
                key,
                format!("{} is not a duration.", quote(found.value)),
                format!("Write a whole number and ms, s, m, h or d, such as \"{default}\"."),
            );
            return default_value;
        };
        let (low, high) = (read(range.start()), read(range.end()));
        if value < low || value > high {
            self.problem(
                key,
                format!("{} is out of range.", quote(found.value)),
                format!("Use \"{}\" to \"{}\".", range.start(), range.end()),
            );
            return default_value;
        }
        value
    }

    /// A size in bytes within a range.
    pub(super) fn size(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let example = words::show_size(default);
        let Some(found) = self.any_text(key, &format!("\"{example}\"")) else {
            return default;
        };
        let Some(value) = words::size(found.value) else {
            self.problem(
                key,
                format!("{} is not a size.", quote(found.value)),
                format!("Write a whole number and B, KiB, MiB, GiB or TiB, such as \"{example}\"."),
            );
            return default;
        };
        if !range.contains(&value) {
            let (low, high) = (words::show_size(*range.start()), words::show_size(*range.end()));
            self.problem(
                key,
                format!("{} is out of range.", quote(found.value)),
                format!("Use \"{low}\" to \"{high}\"."),
            );
            return default;
        }
        value
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        noun: &str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let example = choices.first().map(|(word, _)| format!("\"{word}\"")).unwrap_or_default();
        let found = self.any_text(key, &example)?;
        let chosen = choose(found.value, choices);
        if chosen.is_none() {
            let (what, remedy) = not_chosen(found.value, noun, choices);
            self.problem(key, what, remedy);
        }
        chosen
    }

    /// A list of texts; an entry that is none is reported at its own line and left out.
    pub(super) fn texts(&mut self, key: &'static str, example: &str) -> Option<Vec<Found<&'a str>>> {
        let items = self.list(key, example)?;
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(value) => texts.push(Found { value: value.as_str(), at: item.at }),
                other => self.item_problem(
                    key,
                    item.at,
                    format!("{} is not a text.", show(other)),
                    format!("Write {key} = {example}, for example."),
                ),
            }
        }
        Some(texts)
    }

    /// A list of whole numbers; an entry that is none is reported at its own line and left out.
    pub(super) fn integers(&mut self, key: &'static str, example: &str) -> Option<Vec<Found<i128>>> {
        let items = self.list(key, example)?;
        let mut numbers = Vec::new();
        for item in items {
            match &item.value {
                Value::Integer(Some(value)) => numbers.push(Found { value: *value, at: item.at }),
                other => self.item_problem(
                    key,
                    item.at,
                    format!("{} is not a whole number.", show(other)),
                    format!("Write {key} = {example}, for example."),
                ),
            }
        }
        Some(numbers)
    }

    fn list(&mut self, key: &'static str, example: &str) -> Option<&'a [Entry]> {
        let entry = self.entry(key)?;
        match &entry.value {
            Value::List(items) => Some(items),
            other => {
                self.wrong_type(key, other, "a list", example);
                None
            }
        }
    }

    /// Reports a problem at one entry of a list.
    pub(super) fn item_problem(
        &self,
        key: &str,
        at: Place,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.problem(at, &join(&self.path, key), what, remedy);
    }

    /// The table `[path.key]`, or `None` without it.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Reader<'a>> {
        let entry = self.entry(key)?;
        match &entry.value {
            Value::Table(table) => Some(Reader::new(table, &join(&self.path, key), self.findings)),
            other => {
                let header = format!("[{}]", join(&self.path, key));
                let what = format!("{} stands where one table is expected.", show(other));
                self.problem(key, what, format!("Write {header}, once."));
                None
            }
        }
    }

    /// The tables `[[path.key]]`, in order; none is an empty list.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Reader<'a>> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let path = join(&self.path, key);
        let remedy = format!("Write [[{path}]], once for each.");
        let Value::List(items) = &entry.value else {
            let what = format!("{} stands where a list of tables is expected.", show(&entry.value));
            self.problem(key, what, remedy);
            return Vec::new();
        };
        let mut readers = Vec::new();
        for item in items {
            match &item.value {
                Value::Table(table) => readers.push(Reader::new(table, &path, self.findings)),
                other => {
                    let what = format!("{} stands where a table is expected.", show(other));
                    self.item_problem(key, item.at, what, remedy.as_str());
                }
            }
        }
        readers
    }
}

/// The value of a word.
pub(super) fn choose<T: Copy>(word: &str, choices: &[(&'static str, T)]) -> Option<T> {
    choices.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
}

/// What to say of a word that is none of the known ones.
pub(super) fn not_chosen<T>(word: &str, noun: &str, choices: &[(&'static str, T)]) -> (String, String) {
    let known: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
    let quoted: Vec<_> = known.iter().map(|word| format!("\"{word}\"")).collect();
    let list = match quoted.split_last() {
        Some((last, [])) => format!("Use {last}."),
        Some((last, others)) => format!("Use {} or {last}.", others.join(", ")),
        None => String::new(),
    };
    let remedy = match words::nearest(word, known) {
        Some(near) => format!("Did you mean \"{near}\"? {list}"),
        None => list,
    };
    (format!("{} is not {noun}.", quote(word)), remedy)
}

pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= 4096 && !text.chars().any(char::is_control)
}

fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => quote(text),
        Value::Integer(Some(number)) => number.to_string(),
        Value::Float(Some(number)) => number.to_string(),
        Value::Integer(None) | Value::Float(None) => "this number".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Date => "a date".to_owned(),
        Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Table(_))) => {
            "a list of tables".to_owned()
        }
        Value::List(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// A whole number as a float where it fits without rounding.
fn exact(number: Option<i128>) -> Option<f64> {
    let small = i64::try_from(number?).ok().filter(|number| number.unsigned_abs() <= 1 << 53)?;
    Some(small as f64)
}
