//! Keeping each class inside its own quota, where it has one.
//!
//! What a class takes is counted by triggers in a table of the connection's own, in memory: exact, in step with every
//! transaction whoever writes it, and gone with the connection. Without quotas there is none of it. Filling the table reads
//! each segment's head once, which for a large queue takes its time; it is done at the first commit.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::super::quota_policy::{self, ClassUse};
use super::Writer;
use super::disk;
use super::quota::Share;
use crate::clock::Mono;
use crate::reading::Class;

/// As many steps in a row; more is for the next commit.
const STEPS: usize = 16;

impl Writer {
    /// Has classes that are above their quota give up their oldest.
    pub(super) fn keep_class_quotas(&mut self, now: Mono) {
        if self.options.class_quotas.is_empty() || crate::sabotage::on("class-quota-ignored") {
            return;
        }
        for _ in 0..STEPS {
            let uses = match self.class_uses() {
                Ok(uses) => uses,
                Err(error) => {
                    tracing::warn!(%error, "what each class takes of the queue could not be counted");
                    return;
                }
            };
            let Some((class, segments)) = quota_policy::gives_up(&self.options.class_quotas, &uses) else {
                return;
            };
            // The policy has looked at bytes and rows already.
            let share = Share { segments: usize::try_from(segments).unwrap_or(usize::MAX), bytes: u64::MAX };
            if self.give_up_oldest_of(now, "class_quota", &[class], share) == 0 {
                return;
            }
        }
    }

    fn class_uses(&mut self) -> rusqlite::Result<BTreeMap<Class, ClassUse>> {
        let connection = self.disk.connection().ok_or_else(disk::no_file)?;
        count_from_now_on(connection)?;
        let mut uses = BTreeMap::new();
        let mut rows =
            connection.prepare_cached("SELECT class, segments, rows, bytes FROM temp.class_use")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let count = |n| row.get::<_, i64>(n).map(|count| u64::try_from(count).unwrap_or(0));
            if let Some(class) = Class::from_number(row.get(0)?) {
                uses.insert(class, ClassUse { segments: count(1)?, rows: count(2)?, bytes: count(3)? });
            }
        }
        Ok(uses)
    }
}

/// Makes the table and its triggers on this connection, if they are not there yet.
fn count_from_now_on(connection: &Connection) -> rusqlite::Result<()> {
    let there = connection
        .prepare_cached("SELECT 1 FROM temp.sqlite_schema WHERE name = 'class_use'")?
        .query_row([], |_| Ok(()))
        .optional()?;
    if there.is_some() {
        return Ok(());
    }
    connection.execute_batch(
        "BEGIN;
         CREATE TEMP TABLE class_use (class INTEGER PRIMARY KEY, segments INTEGER, rows INTEGER, bytes INTEGER);
         INSERT INTO temp.class_use
             SELECT id >> 48, count(*), sum(rows), sum(length(body)) FROM main.segments GROUP BY id >> 48;
         CREATE TEMP TRIGGER class_use_more AFTER INSERT ON main.segments BEGIN
             INSERT INTO class_use VALUES (NEW.id >> 48, 1, NEW.rows, length(NEW.body))
             ON CONFLICT (class) DO UPDATE SET segments = segments + 1, rows = rows + NEW.rows,
                                               bytes = bytes + length(NEW.body);
         END;
         CREATE TEMP TRIGGER class_use_less AFTER DELETE ON main.segments BEGIN
             UPDATE class_use SET segments = segments - 1, rows = rows - OLD.rows, bytes = bytes - length(OLD.body)
             WHERE class = OLD.id >> 48;
         END;
         COMMIT;",
    )
}
