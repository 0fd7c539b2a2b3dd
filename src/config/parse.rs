//! From the texts of the files to a validated configuration: pure, in this order: syntax, merging, sections,
//! what concerns several sections at once.

use std::path::PathBuf;

use super::model::Config;
use super::problem::{Findings, Place, Problem, Refused};
use super::reader::Reader;
use super::secret::Secret;
use super::sections;
use super::tree::{self, Table};

/// A configuration that was taken, and what the operator ought to know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed and yet probably not meant, by file and line.
    pub warnings: Vec<Problem>,
}

/// What validation needs from the machine. The real one reads files; a test passes another.
pub trait Surroundings {
    /// The host's name, for the gateway's default name.
    fn host_name(&self) -> &str;

    /// The secret's bytes, without the one line break that ends its file.
    fn secret(&self, source: &SecretSource) -> Result<Secret, SecretRefused>;
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, by its absolute path.
    File(PathBuf),
    /// A systemd credential, by its name: a plain file name, without a slash and not beginning with a dot.
    Credential(String),
}

/// Why a secret is not taken. Neither text holds any part of the secret, nor a path or name that does not
/// exist: operators do paste a secret there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRefused {
    /// What is wrong: a whole sentence.
    pub what: String,
    /// What to do about it: a whole sentence.
    pub remedy: String,
}

/// Validates the files' texts, the main file first: `[(name, text)]`, names as messages are to show them.
///
/// Syntax problems are reported alone, those of all files together: a file that cannot be read as TOML says
/// nothing reliable about its keys. Otherwise every problem of every section is reported.
pub fn parse(files: &[(&str, &str)], surroundings: &dyn Surroundings) -> Result<Loaded, Refused> {
    let findings = Findings::new(files.iter().map(|(name, _)| (*name).to_owned()).collect());
    let trees: Vec<Table> =
        files.iter().enumerate().map(|(file, (_, text))| tree::read(file, text, &findings)).collect();
    if findings.any_problem() {
        return Err(Refused(findings.into_sorted().0));
    }
    let mut root = Table::empty(Place { file: 0, line: 0 });
    for tree in trees {
        root.merge(tree, "", &findings);
    }
    let config = sections::read(Reader::new(&root, "", &findings), &findings, surroundings);
    let (problems, warnings) = findings.into_sorted();
    if problems.is_empty() { Ok(Loaded { config, warnings }) } else { Err(Refused(problems)) }
}
