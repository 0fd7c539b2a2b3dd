//! TOML text as an owned tree in which every key and value knows its line, and the merging of several files.
//!
//! Merging: tables merge, lists of tables append in the order of the files, anything else set twice is a
//! problem that names both places.

use core::ops::Range;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Findings, Place};
use crate::gather::Gather;

/// A table, where it begins, and what is in it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) at: Place,
    pub(super) entries: BTreeMap<String, Entry>,
}

/// A key's line and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// A TOML value. Numbers are kept as read: `None` is a number too large for its type.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(Option<i128>),
    Float(Option<f64>),
    Boolean(bool),
    Date,
    List(Vec<Entry>),
    Table(Table),
}

impl Table {
    pub(super) fn empty(at: Place) -> Self {
        Self { at, entries: BTreeMap::new() }
    }

    /// Adds another file's table to this one.
    pub(super) fn merge(&mut self, other: Table, path: &str, findings: &Findings) {
        for (key, theirs) in other.entries {
            let path = join(path, &key);
            match self.entries.entry(key) {
                Slot::Vacant(slot) => {
                    slot.insert(theirs);
                }
                Slot::Occupied(mut slot) => slot.get_mut().merge(theirs, &path, findings),
            }
        }
    }
}

impl Entry {
    fn merge(&mut self, theirs: Entry, path: &str, findings: &Findings) {
        match (&mut self.value, theirs.value) {
            (Value::Table(ours), Value::Table(theirs)) => ours.merge(theirs, path, findings),
            (Value::List(ours), Value::List(theirs)) if all_tables(ours) && all_tables(&theirs) => {
                ours.extend(theirs);
            }
            _ => findings.problem(
                theirs.at,
                path,
                format!("this is already set at {}.", findings.name(self.at)),
                "Keep one of the two.",
            ),
        }
    }
}

fn all_tables(list: &[Entry]) -> bool {
    list.iter().all(|entry| matches!(entry.value, Value::Table(_)))
}

/// Reads one file. Syntax problems go to `findings`; the tree then holds what could be made out and is not
/// worth checking further.
pub(super) fn read(file: usize, text: &str, findings: &Findings) -> Table {
    let lines = Lines::new(file, text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = lines.place(error.span().map_or(text.len(), |span| span.start));
        findings.problem(
            at,
            "",
            format!("this is not TOML: {}.", error.message()),
            "Correct the line; the rest is checked when the file can be read.",
        );
    }
    lines.table(&tree)
}

/// `bus` and `slave` are `bus.slave`. A quoted key may hold anything: it is shown short and escaped.
pub(super) fn join(path: &str, key: &str) -> String {
    let key: String = key.chars().take(64).flat_map(char::escape_debug).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Where the lines of one text begin.
struct Lines {
    file: usize,
    starts: Vec<usize>,
}

impl Lines {
    fn new(file: usize, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { file, starts: core::iter::once(0).chain(breaks).collect() }
    }

    fn place(&self, offset: usize) -> Place {
        Place { file: self.file, line: self.starts.partition_point(|start| *start <= offset) }
    }

    fn at(&self, span: Range<usize>) -> Place {
        self.place(span.start)
    }

    fn table(&self, table: &Spanned<DeTable<'_>>) -> Table {
        self.entries(self.at(table.span()), table.get_ref())
    }

    fn entries(&self, at: Place, table: &DeTable<'_>) -> Table {
        let entries = table
            .iter()
            .map(|(key, value)| {
                let entry = Entry { at: self.at(key.span()), value: self.value(value) };
                (key.get_ref().to_string(), entry)
            })
            .gathered();
        Table { at, entries }
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                Value::Integer(i128::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().ok()),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| Entry { at: self.at(item.span()), value: self.value(item) })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.entries(self.at(value.span()), table)),
        }
    }
}
