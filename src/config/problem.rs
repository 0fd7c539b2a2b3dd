//! What is wrong with a configuration, and where: the operator's message.
//!
//! `Findings` collects while the text is read; nothing stops at the first problem. It is the only maker of
//! [`Problem`]s that point into a file. A secret's value never reaches a message: readers of secret keys
//! pass none.

use core::cell::RefCell;
use core::fmt;
use std::collections::BTreeMap;

/// One thing the operator has to change (or, as a warning, ought to know).
///
/// Displayed as `fieldgate.toml:12: bus.slave.unit: 300 is not a Modbus unit. Use 1 to 247.`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File, as named by whoever read it.
    pub file: String,
    /// Line, counted from 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// Dotted path of the key, such as `bus.slave.unit`; empty where no key is concerned.
    pub key: String,
    /// What is wrong: a whole sentence.
    pub what: String,
    /// What to do about it: a whole sentence.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{} {}", self.what, self.remedy)
    }
}

/// A configuration that is not taken: every problem found, by file and line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused(pub Vec<Problem>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration is refused, 1 problem:")?,
            count => write!(f, "the configuration is refused, {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

/// A line of a file; line 0 is the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Index into the names given to [`Findings::new`].
    pub(super) file: usize,
    pub(super) line: usize,
}

/// Problems and warnings as they are found.
pub(super) struct Findings {
    files: Vec<String>,
    problems: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
}

struct Finding {
    at: Place,
    key: String,
    what: String,
    remedy: String,
}

impl Findings {
    pub(super) fn new(files: Vec<String>) -> Self {
        Self { files, problems: RefCell::default(), warnings: RefCell::default() }
    }

    /// Refuses the configuration; both texts are whole sentences.
    pub(super) fn problem(&self, at: Place, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.borrow_mut().push(Finding::new(at, key, what, remedy));
    }

    /// Lets the configuration pass, but says so.
    pub(super) fn warning(&self, at: Place, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.borrow_mut().push(Finding::new(at, key, what, remedy));
    }

    /// `fieldgate.toml:12`, for a message that points to a second place.
    pub(super) fn name(&self, at: Place) -> String {
        let file = self.file(at);
        if at.line == 0 { file } else { format!("{file}:{}", at.line) }
    }

    pub(super) fn any_problem(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    /// (problems, warnings), each in the order of files and lines.
    pub(super) fn into_sorted(self) -> (Vec<Problem>, Vec<Problem>) {
        let problems = self.problems.take();
        let warnings = self.warnings.take();
        (self.publish(problems), self.publish(warnings))
    }

    fn publish(&self, mut found: Vec<Finding>) -> Vec<Problem> {
        found.sort_by_key(|finding| finding.at);
        found
            .into_iter()
            .map(|Finding { at, key, what, remedy }| Problem {
                file: self.file(at),
                line: (at.line > 0).then_some(at.line),
                key,
                what,
                remedy,
            })
            .collect()
    }

    fn file(&self, at: Place) -> String {
        self.files.get(at.file).cloned().unwrap_or_default()
    }
}

impl Finding {
    fn new(at: Place, key: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { at, key: key.to_owned(), what: what.into(), remedy: remedy.into() }
    }
}

/// Values that may occur once, and where each was first seen.
#[derive(Default)]
pub(super) struct Taken(BTreeMap<String, Place>);

impl Taken {
    /// Takes the value for `at`; a second claim is a problem that names both places. Whether it is now held
    /// by `at`. The empty text stands for a value that was refused already and is never taken.
    pub(super) fn claim(
        &mut self,
        findings: &Findings,
        value: &str,
        at: Place,
        key: &str,
        remedy: &str,
    ) -> bool {
        if value.is_empty() {
            return false;
        }
        if let Some(first) = self.0.get(value) {
            let what = format!("{} is already taken at {}.", quote(value), findings.name(*first));
            findings.problem(at, key, what, remedy);
            return false;
        }
        self.0.insert(value.to_owned(), at);
        true
    }
}

/// A text as a message shows it: short, on one line, in quotes.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(48).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
