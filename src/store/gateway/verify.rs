//! Checking a whole file: both chains, what refers to them, and the guards that keep them (`fieldgate firmware verify`).
//!
//! Read-only and in one read transaction, so it may run beside a live daemon. Rows that were cut off the end together with
//! everything that refers to them leave a file that agrees with itself: that shows only against a head known elsewhere.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::chain::{self, Chain};
use super::writer::Context;
use super::{Break, Head, LogBody, history, log, open, schema};
use crate::store::sqlite::{self, OpenError};

/// What the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The newest row of the history that holds.
    pub history_head: Head,
    /// The newest row of the log that holds.
    pub log_head: Head,
    /// Where the history breaks, if it does.
    pub broken: Option<Break>,
    /// Everything that is wrong, as sentences. Empty is good.
    pub problems: Vec<String>,
}

impl Verified {
    /// Whether everything holds.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks the file.
///
/// # Errors
/// When it cannot be opened or does not read at all.
pub fn verify(path: &Path) -> Result<Verified, OpenError> {
    let connection = sqlite::open_reader(path)?;
    let unreadable = |e: rusqlite::Error| OpenError::Damaged { path: path.to_owned(), detail: e.to_string() };
    let context = open::context_of(&connection)
        .map_err(unreadable)?
        .ok_or_else(|| OpenError::Damaged { path: path.to_owned(), detail: "it has no identity".into() })?;
    connection.execute_batch("BEGIN").map_err(unreadable)?;
    check(&connection, &context).map_err(unreadable)
}

/// Checks an open file.
pub(super) fn check(connection: &Connection, context: &Context) -> rusqlite::Result<Verified> {
    let mut verified = Verified {
        history_head: Chain::History.genesis(context.gateway, context.file),
        log_head: Chain::Log.genesis(context.gateway, context.file),
        broken: None,
        problems: Vec::new(),
    };
    pages(connection, &mut verified)?;
    guards(connection, &mut verified)?;
    walk_history(connection, &mut verified)?;
    walk_log(connection, &mut verified)?;
    devices(connection, &mut verified)?;
    Ok(verified)
}

fn pages(connection: &Connection, verified: &mut Verified) -> rusqlite::Result<()> {
    let mut rows = connection.prepare("PRAGMA quick_check(20)")?;
    for line in rows.query_map([], |r| r.get::<_, String>(0))? {
        let line = line?;
        if line != "ok" {
            verified.problems.push(format!("SQLite: {line}"));
        }
    }
    Ok(())
}

/// Triggers removed or changed with `writable_schema`, or dropped. A newer release's file may have more than ours.
fn guards(connection: &Connection, verified: &mut Verified) -> rusqlite::Result<()> {
    let wanted = schema::guards()?;
    let found = schema::guards_of(connection)?;
    let newer: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
    let newer = newer > schema::version();
    for (name, sql) in wanted {
        match found.iter().find(|(n, _)| n == name) {
            None => verified.problems.push(format!("the guard {name} was removed from the file")),
            Some((_, other)) if other != sql && !newer => {
                verified.problems.push(format!("the guard {name} was changed"));
            }
            Some(_) => {}
        }
    }
    for (name, _) in &found {
        if !newer && wanted.iter().all(|(n, _)| n != name) {
            verified.problems.push(format!("the trigger {name} is not one of ours"));
        }
    }
    Ok(())
}

fn walk_history(connection: &Connection, verified: &mut Verified) -> rusqlite::Result<()> {
    let sql = format!("SELECT {} FROM firmware_history h ORDER BY h.sequence", history::COLUMNS);
    let mut statement = connection.prepare(&sql)?;
    for entry in statement.query_map([], |row| history::read(row, 0))? {
        let followed = match entry {
            Ok(entry) => chain::follow(&mut verified.history_head, &entry),
            // A row of ours always reads.
            Err(e) if sqlite::is_damage(&e) => {
                Err(Break::Altered { sequence: verified.history_head.sequence.saturating_add(1) })
            }
            Err(e) => return Err(e),
        };
        if let Err(broken) = followed {
            verified.problems.push(format!("the firmware history is broken: {broken}"));
            verified.broken = Some(broken);
            return Ok(());
        }
    }
    Ok(())
}

fn walk_log(connection: &Connection, verified: &mut Verified) -> rusqlite::Result<()> {
    let mut versions = 0;
    loop {
        let rows = match log::rows(connection, verified.log_head.sequence, log::MAX_PAGE) {
            Err(e) if sqlite::is_damage(&e) => {
                let after = verified.log_head.sequence;
                verified.problems.push(format!("the firmware log does not read after row {after}: {e}"));
                return Ok(());
            }
            other => other?,
        };
        if rows.is_empty() {
            break;
        }
        for row in rows {
            if row.sequence > verified.log_head.sequence + 1 {
                // Freed rows: the chain continues from what the next one says.
                verified.log_head = Head { sequence: row.sequence - 1, hash: row.prev_hash };
            }
            if let Err(broken) = chain::follow(&mut verified.log_head, &row) {
                verified.problems.push(format!("the firmware log is broken: {broken}"));
                return Ok(());
            }
            if let LogBody::Version(entry) = &row.body {
                versions += 1;
                if entry.sequence != versions {
                    verified.problems.push(format!(
                        "log row {} is about version entry {}, where {versions} belongs",
                        row.sequence, entry.sequence
                    ));
                    return Ok(());
                }
            }
        }
    }
    let entries: i64 = connection.query_row("SELECT count(*) FROM firmware_history", [], |r| r.get(0))?;
    if entries.cast_unsigned() != versions {
        verified.problems.push(format!("the history has {entries} entries, and the log tells of {versions}"));
    }
    Ok(())
}

/// A device's version is what its newest local entry says.
fn devices(connection: &Connection, verified: &mut Verified) -> rusqlite::Result<()> {
    let mut newest = connection.prepare(
        "SELECT version, component FROM firmware_history WHERE device = ?1 AND origin = 'local'
         ORDER BY sequence DESC LIMIT 1",
    )?;
    let mut rows = connection.prepare("SELECT serial, firmware_version, firmware_component FROM devices")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let serial: String = row.get(0)?;
        let shown: (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
        let recorded: Option<(Option<String>, Option<String>)> =
            newest.query_row([&serial], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
        if let Some(recorded) = recorded
            && recorded != shown
        {
            let say = |v: &(Option<String>, Option<String>)| {
                format!("{} of {}", v.0.as_deref().unwrap_or("nothing"), v.1.as_deref().unwrap_or("nothing"))
            };
            verified.problems.push(format!(
                "{serial} shows version {}, and the history says {}",
                say(&shown),
                say(&recorded)
            ));
        }
    }
    Ok(())
}
