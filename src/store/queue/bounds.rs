//! Records that grow with every start are kept to a number: the newest as they are, older ones folded together.
//!
//! Nothing is forgotten: a folded record has the sum of the counts ("unknown" if one of them was), the newest epoch and
//! no sequences, because a range over several epochs has none.

use rusqlite::Transaction;

use super::statement::{LOG_LOST, Statement};

/// As many gap records stand for themselves.
const GAPS: i64 = 2048;
/// As many starts are remembered beyond those that something still refers to.
const EPOCHS: i64 = 2048;
/// As many losses of the file's own log stand for themselves.
const LOGS: usize = 64;

/// Folds what is too old. Costs three counts where nothing is.
///
/// # Errors
/// What SQLite says.
pub(super) fn keep(tx: &Transaction<'_>, current_epoch: i64) -> rusqlite::Result<()> {
    keep_gaps(tx, current_epoch, GAPS)?;
    keep_logs(tx, LOGS)?;
    keep_epochs(tx, current_epoch, EPOCHS)
}

fn keep_gaps(tx: &Transaction<'_>, current_epoch: i64, most: i64) -> rusqlite::Result<()> {
    let count: i64 = tx.query_row("SELECT count(*) FROM gaps", [], |r| r.get(0))?;
    // Folding half at a time makes it rare.
    if count <= 2 * most {
        return Ok(());
    }
    let newest_old: i64 =
        tx.query_row("SELECT id FROM gaps ORDER BY id DESC LIMIT 1 OFFSET ?1", [most], |r| r.get(0))?;
    let newest: i64 = tx.query_row("SELECT max(id) FROM gaps", [], |r| r.get(0))?;
    tx.execute(
        "INSERT INTO gaps (stream, kind, reason, epoch, count, first_mono_ns, last_mono_ns)
         SELECT stream, kind, reason, max(epoch), CASE WHEN count(*) = count(count) THEN sum(count) END,
                min(first_mono_ns), max(last_mono_ns)
         FROM gaps WHERE id <= ?1 AND epoch < ?2 GROUP BY stream, kind, reason",
        (newest_old, current_epoch),
    )?;
    // Of a sum is told what was told of those folded into it; the rest stays owed. An unknown number is told where each of
    // those was.
    tx.execute(
        "INSERT INTO told (destination, kind, record, count)
         SELECT t.destination, 1, g.id, sum(t.count)
         FROM told AS t
         CROSS JOIN gaps AS o ON o.id = t.record AND o.id <= ?2 AND o.epoch < ?3
         CROSS JOIN gaps AS g ON g.id > ?1 AND g.stream IS o.stream AND g.kind = o.kind AND g.reason = o.reason
         WHERE t.kind = 1
         GROUP BY t.destination, g.id
         HAVING CASE WHEN g.count IS NULL
                THEN count(*) = (SELECT count(*) FROM gaps AS a WHERE a.stream IS g.stream AND a.kind = g.kind
                                 AND a.reason = g.reason AND a.id <= ?2 AND a.epoch < ?3)
                ELSE sum(t.count) > 0 END",
        (newest, newest_old, current_epoch),
    )?;
    tx.execute("DELETE FROM gaps WHERE id <= ?1 AND epoch < ?2", (newest_old, current_epoch))?;
    tx.execute("DELETE FROM told WHERE kind = 1 AND record NOT IN (SELECT id FROM gaps)", [])?;
    Ok(())
}

/// A gateway that loses its log at each power cut states each of them.
fn keep_logs(tx: &Transaction<'_>, most: usize) -> rusqlite::Result<()> {
    let mut all =
        tx.prepare("SELECT id, detail, epoch, at_mono_ns FROM statements WHERE kind = ?1 ORDER BY id")?;
    let all: Vec<(i64, String, i64, i64)> = all
        .query_map([LOG_LOST], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let old = match all.len().checked_sub(most) {
        Some(excess) if excess > most => all.get(..excess).unwrap_or_default(),
        _ => return Ok(()),
    };
    let (Some((first, ..)), Some((last, _, epoch, at))) = (old.first(), old.last()) else { return Ok(()) };
    let sum = Statement::sum_of_lost_logs(old.iter().map(|(_, detail, ..)| detail.as_str()));
    // Of the sum is told who was told of each; others are owed it.
    tx.execute(
        "DELETE FROM told AS t WHERE t.kind = 3 AND t.record = ?1 AND ?3 >
             (SELECT count(*) FROM told AS o JOIN statements AS s ON s.id = o.record
              WHERE o.kind = 3 AND o.destination = t.destination AND o.count > 0 AND s.kind = ?4 AND s.id <= ?2)",
        (first, last, i64::try_from(old.len()).unwrap_or(i64::MAX), LOG_LOST),
    )?;
    tx.execute(
        "UPDATE statements SET detail = ?2, epoch = ?3, at_mono_ns = ?4 WHERE id = ?1",
        (first, sum, epoch, at),
    )?;
    tx.execute("DELETE FROM statements WHERE kind = ?3 AND id > ?1 AND id <= ?2", (first, last, LOG_LOST))?;
    tx.execute("DELETE FROM told WHERE kind = 3 AND record NOT IN (SELECT id FROM statements)", [])?;
    Ok(())
}

fn keep_epochs(tx: &Transaction<'_>, current_epoch: i64, most: i64) -> rusqlite::Result<()> {
    let count: i64 = tx.query_row("SELECT count(*) FROM epochs", [], |r| r.get(0))?;
    if count <= 2 * most {
        return Ok(());
    }
    // A time that was told, or that nobody learned in thousands of starts, is owed no more.
    tx.execute(
        "DELETE FROM told WHERE kind = 2 AND (count = 1 OR record < ?1)",
        [current_epoch.saturating_sub(most)],
    )?;
    tx.execute(
        "DELETE FROM epochs WHERE number < ?1
         AND number NOT IN (SELECT epoch FROM segments UNION SELECT epoch FROM gaps UNION SELECT epoch FROM set_aside
                            UNION SELECT at_epoch FROM drops
                            UNION SELECT epoch FROM drops WHERE epoch IS NOT NULL UNION SELECT record FROM told WHERE kind = 2)",
        [current_epoch.saturating_sub(most)],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    fn file_with(starts: i64) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrations().to_latest(&mut connection).unwrap();
        let tx = connection.transaction().unwrap();
        for n in 1..=starts {
            tx.execute("INSERT INTO epochs (epoch, boot_id, first_mono_ns) VALUES (?1, x'00', 0)", [n])
                .unwrap();
            tx.execute(
                "INSERT INTO gaps (stream, kind, reason, epoch, count, first_mono_ns, last_mono_ns)
                 VALUES (NULL, 'missed', 'unclean_stop', ?1, NULL, 0, ?1), (7, 'refused', 'disk_full', ?1, 2, 0, ?1)",
                [n],
            )
            .unwrap();
            tx.execute("INSERT INTO told (destination, kind, record, count) VALUES (0, 2, ?1, 0)", [n])
                .unwrap();
        }
        // Destination 0 was told of five refusals of two readings each and of all unclean stops, destination 1 of one stop.
        for sql in [
            "SELECT 0, 1, id, count FROM gaps WHERE stream = 7 AND epoch <= 5",
            "SELECT 0, 1, id, 0 FROM gaps WHERE stream IS NULL",
            "SELECT 1, 1, id, 0 FROM gaps WHERE stream IS NULL AND epoch = 1",
        ] {
            tx.execute(&format!("INSERT INTO told (destination, kind, record, count) {sql}"), []).unwrap();
        }
        tx.commit().unwrap();
        connection
    }

    #[test]
    fn a_gateway_that_restarts_for_ever_keeps_its_records_to_a_number_and_its_counts_whole() {
        let mut connection = file_with(300);
        let tx = connection.transaction().unwrap();
        keep_gaps(&tx, 300, 100).unwrap();
        keep_epochs(&tx, 300, 100).unwrap();
        let one = |sql: &str| -> Option<i64> { tx.query_row(sql, [], |r| r.get(0)).unwrap() };
        assert_eq!(one("SELECT count(*) FROM gaps"), Some(102));
        assert_eq!(one("SELECT sum(count) FROM gaps WHERE stream = 7"), Some(600));
        assert_eq!(
            one("SELECT count(*) FROM gaps WHERE reason = 'unclean_stop' AND count IS NOT NULL"),
            Some(0),
            "an unknown number stays unknown"
        );
        assert!(one("SELECT count(*) FROM epochs").unwrap() <= 150);
        assert_eq!(
            one("SELECT count(*) FROM told WHERE kind = 2"),
            Some(101),
            "of what is long gone nothing is owed"
        );
        let told = |destination: i64, of: &str| {
            let record = "t.record = g.id AND t.kind = 1 AND g.count IS NOT 2 AND g.epoch < 251";
            one(&format!(
                "SELECT t.count FROM told AS t JOIN gaps AS g ON {record} WHERE t.destination = {destination} AND {of}"
            ))
        };
        assert_eq!(one("SELECT count FROM gaps WHERE stream = 7 AND count > 2"), Some(500));
        assert_eq!(told(0, "g.stream = 7"), Some(10), "490 of 500 are still owed");
        assert_eq!(told(0, "g.stream IS NULL"), Some(0), "each unclean stop is known");
        assert_eq!(
            one("SELECT count(*) FROM told WHERE destination = 1 AND kind = 1"),
            Some(0),
            "it is owed"
        );
        assert_eq!(one("SELECT count(*) FROM gaps WHERE epoch NOT IN (SELECT number FROM epochs)"), Some(0));
    }

    #[test]
    fn a_file_that_loses_its_log_at_each_start_keeps_its_statements_to_a_number_and_counts_them() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrations().to_latest(&mut connection).unwrap();
        let tx = connection.transaction().unwrap();
        let detail = r#"{"detail":"its log is missing","queued":null}"#;
        let mut most = 0;
        for n in 1..=40i64 {
            tx.execute(
                "INSERT INTO statements (kind, detail, epoch, at_mono_ns) VALUES ('log_lost', ?1, ?2, ?2)",
                (detail, n),
            )
            .unwrap();
            let id = tx.last_insert_rowid();
            // One destination was told of every loss, another of the first alone.
            for destination in 0..if n == 1 { 2 } else { 1 } {
                let told = "INSERT INTO told (destination, kind, record, count) VALUES (?1, 3, ?2, 1)";
                tx.execute(told, (destination, id)).unwrap();
            }
            keep_logs(&tx, 4).unwrap();
            most = most.max(count(&tx, "SELECT count(*) FROM statements"));
        }
        assert_eq!(most, 8);
        let mut said = tx.prepare("SELECT detail FROM statements ORDER BY id").unwrap();
        let said: Vec<String> =
            said.query_map([], |r| r.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        let times =
            |detail: &String| serde_json::from_str::<serde_json::Value>(detail).unwrap()["times"].as_u64();
        assert_eq!(said.iter().map(|s| times(s).unwrap_or(1)).sum::<u64>(), 40, "each is counted: {said:?}");
        let words = super::super::statement::in_words(&format!("log_lost: {}", said[0]));
        assert!(words.contains(&format!("{} times", times(&said[0]).unwrap())), "{words}");
        let untold = |destination: i64| {
            count(
                &tx,
                &format!(
                    "SELECT count(*) FROM statements WHERE id NOT IN
                     (SELECT record FROM told WHERE kind = 3 AND destination = {destination} AND count > 0)"
                ),
            )
        };
        assert_eq!((untold(0), untold(1)), (0, said.len() as i64), "the sum is owed to whoever lacks a part");
        assert_eq!(count(&tx, "SELECT count(*) FROM told WHERE kind = 3"), said.len() as i64);
    }

    fn count(tx: &Transaction<'_>, sql: &str) -> i64 {
        tx.query_row(sql, [], |r| r.get(0)).unwrap()
    }
}
