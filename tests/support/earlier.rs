//! What a release of an earlier schema makes of a file, by the numbered migrations themselves.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::Path;

use fieldgate::store::queue::schema;
use fieldgate::store::sqlite;
use rusqlite::Connection;

/// The columns of every table there is.
pub(crate) fn tables(c: &Connection) -> BTreeMap<String, Vec<String>> {
    let mut names = c
        .prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let names: Vec<String> = names.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    let columns = |table: &String| -> Vec<String> {
        let mut columns = c.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
        columns.query_map([table], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    };
    names.into_iter().map(|name| (name.clone(), columns(&name))).collect()
}

/// A new file of the schema after so many migrations.
pub(crate) fn at_schema(path: &Path, steps: i64) -> Connection {
    let mut c = sqlite::open_writer(path, schema::KIND).unwrap();
    schema::migrations().to_version(&mut c, usize::try_from(steps).unwrap()).unwrap();
    c
}

/// Every row written again as a release of the earlier schema would write it.
pub(crate) fn write_as_before(path: &Path, steps: i64) {
    let mut empty = Connection::open_in_memory().unwrap();
    schema::migrations().to_version(&mut empty, usize::try_from(steps).unwrap()).unwrap();
    let known = tables(&empty);
    let c = Connection::open(path).unwrap();
    for (table, columns) in known {
        let columns = columns.join(", ");
        c.execute_batch(&format!(
            "CREATE TEMP TABLE kept AS SELECT {columns} FROM main.{table}; DELETE FROM main.{table};
             INSERT INTO main.{table} ({columns}) SELECT {columns} FROM temp.kept; DROP TABLE temp.kept;"
        ))
        .unwrap();
    }
    c.execute("UPDATE meta SET value = '0.0.1' WHERE key = 'written_by'", []).unwrap();
    c.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}
