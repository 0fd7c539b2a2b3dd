//! The file itself: connected to, brought to this release's schema, or refused because a newer release wrote it.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::super::schema;
use super::OpenOptions;
use crate::store::sqlite::{self, OpenError, Trouble};

/// The file under this start's limits. Its log stays as it is.
pub(super) fn connect(options: &OpenOptions) -> Result<Connection, OpenError> {
    let connection = sqlite::open_writer(&options.path, schema::KIND)?;
    let pages = options.max_bytes / u64::from(schema::KIND.page_size);
    connection
        .pragma_update(None, "max_page_count", i64::try_from(pages).unwrap_or(i64::MAX))
        .map_err(|e| OpenError::from_sqlite(&options.path, &e))?;
    Ok(connection)
}

/// What a release knows of the schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// So many migrations.
    pub(super) steps: i64,
    /// What it is as a reader: a file may demand a later one.
    pub(super) reader: i64,
}

impl Known {
    /// This release.
    pub(super) const TODAY: Self = Self { steps: schema::STEPS, reader: schema::READER };
}

/// Brings the file's schema to what is known. That of a newer release is left as it is: it admits this one
/// ([`refuse_newer`] has looked), and it only ever adds.
pub(super) fn migrate(connection: &mut Connection, known: Known) -> Result<(), Failure> {
    use rusqlite_migration::Error;
    let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if version > known.steps {
        return Ok(());
    }
    match schema::migrations().to_version(connection, usize::try_from(known.steps).unwrap_or(0)) {
        Ok(()) => Ok(()),
        Err(Error::RusqliteError { err, .. }) => Err(err.into()),
        Err(e) => Err(Failure::Inconsistent(e.to_string())),
    }
}

/// Whether the file's schema has more steps than this release knows: then what does not fit is not damage.
fn is_newer(path: &Path) -> bool {
    let version = sqlite::open_reader(path)
        .ok()
        .and_then(|c| c.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0)).ok());
    version.is_some_and(|version| version > schema::STEPS)
}

/// Read-only, so that a file that is refused is left as it was found.
pub(super) fn refuse_newer(path: &Path, known: Known) -> Result<(), OpenError> {
    // What cannot be read here is judged by the opening that follows.
    let Ok(connection) = sqlite::open_reader(path) else { return Ok(()) };
    let get = |key: &str| -> Option<rusqlite::types::Value> {
        connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).optional().ok()?
    };
    match get("min_reader") {
        Some(rusqlite::types::Value::Integer(min_reader)) if min_reader > known.reader => {
            let written_by = match get("written_by") {
                Some(rusqlite::types::Value::Text(version)) => version,
                _ => "unknown".into(),
            };
            Err(OpenError::Newer { path: path.to_owned(), written_by, min_reader, ours: known.reader })
        }
        _ => Ok(()),
    }
}

/// Why opening stopped, before the file's name is put to it.
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Inconsistent(String),
    /// Not the file's fault.
    Impossible(String),
}

impl Failure {
    pub(super) fn at(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Sqlite(e) if sqlite::trouble(&e, &path) == Trouble::Doubt && is_newer(&path) => {
                OpenError::Unreachable {
                    path,
                    detail: format!(
                        "a newer release changed it beyond what this one can use ({e}). Install that release again, or \
                         move the file away to start empty; nothing was changed"
                    ),
                }
            }
            Self::Sqlite(e) => OpenError::from_sqlite(&path, &e),
            Self::Inconsistent(detail) => OpenError::Damaged { path, detail },
            Self::Impossible(detail) => OpenError::Unreachable { path, detail },
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sqlite(e)
    }
}
