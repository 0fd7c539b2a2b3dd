//! The firmware history only grows. The database refuses everything else; what is done behind its back is found in the
//! file; and whoever pulled the rows finds it without the file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldgate::cli::firmware;
use fieldgate::clock::{BootId, Clock, VirtualClock, Wall};
use fieldgate::daemon::rim::Entropy;
use fieldgate::store::gateway::chain::{self, Chain, Chained};
use fieldgate::store::gateway::log::PullVerifier;
use fieldgate::store::gateway::{
    Break, ComponentKey, Gateway, Head, HistoryEntry, HistoryQuery, LogPage, OpenOptions, Origin, Source,
    verify,
};
use proptest::prelude::*;
use rusqlite::Connection;

/// Randomness that a test chose.
#[derive(Debug)]
struct Always(u8);

impl Entropy for Always {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

fn open(folder: &Path) -> Gateway {
    open_at(folder, Wall { unix_ms: 1_800_000_000_000, uncertainty_ms: 500, trusted: true })
}

fn open_at(folder: &Path, wall: Wall) -> Gateway {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(BootId([1; 16]), wall));
    let (gateway, pump) = Gateway::open_inline(OpenOptions::in_folder(folder), &clock, &Always(1)).unwrap();
    tokio::spawn(pump);
    gateway
}

fn path(folder: &Path) -> PathBuf {
    OpenOptions::in_folder(folder).path
}

/// A folder with a history of `count` versions, two components taking turns, closed cleanly.
async fn history_of(count: u32) -> (tempfile::TempDir, Vec<HistoryEntry>) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path());
    for n in 0..count {
        let package = if n % 2 == 0 { "main" } else { "cell" };
        let key = ComponentKey { device: "gw".into(), package: package.into() };
        gateway.observe_version(&key, &format!("{n}.0")).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let rows = gateway.history(HistoryQuery::default()).await.unwrap();
    gateway.stop();
    (dir, rows)
}

/// A stranger with the file and SQLite, and none of our settings.
fn stranger(folder: &Path) -> Connection {
    let connection = Connection::open(path(folder)).unwrap();
    connection.execute_batch("PRAGMA foreign_keys=ON;").unwrap();
    connection
}

fn dump(connection: &Connection) -> String {
    let mut rows = connection.prepare("SELECT * FROM firmware_history ORDER BY sequence").unwrap();
    let columns = rows.column_count();
    let mut rows = rows.query([]).unwrap();
    let mut text = String::new();
    while let Some(row) = rows.next().unwrap() {
        for column in 0..columns {
            text += &format!("{:?}|", row.get_ref(column).unwrap());
        }
        text.push('\n');
    }
    text
}

const FULL_ROW: &str = "device, component, version, source, origin, metadata, boot, mono_ms, prev_hash, hash";

#[tokio::test(start_paused = true)]
async fn the_database_itself_refuses_every_statement_that_would_rewrite_it() {
    let (dir, rows) = history_of(3).await;
    let head = rows[2].hash;
    let values =
        |prev: &str| format!("'gw', 'main', '9', 'ota_update', 'local', '{{}}', 1, 1, x'{prev}', x'{head}'");
    let attempts = [
        "UPDATE firmware_history SET version = '9'".to_owned(),
        "UPDATE firmware_history SET version = version".to_owned(),
        "UPDATE OR REPLACE firmware_history SET sequence = 1 WHERE sequence = 2".to_owned(),
        "UPDATE OR IGNORE firmware_history SET version = '9' WHERE sequence = 1".to_owned(),
        "DELETE FROM firmware_history".to_owned(),
        "DELETE FROM firmware_history WHERE sequence = 3".to_owned(),
        format!(
            "REPLACE INTO firmware_history (sequence, {FULL_ROW}) VALUES (3, {})",
            values(&head.to_string())
        ),
        format!(
            "REPLACE INTO firmware_history (sequence, {FULL_ROW}) SELECT sequence, {FULL_ROW} FROM firmware_history"
        ),
        format!(
            "INSERT OR REPLACE INTO firmware_history (sequence, {FULL_ROW}) VALUES (1, {})",
            values(&head.to_string())
        ),
        format!(
            "INSERT OR IGNORE INTO firmware_history (sequence, {FULL_ROW}) VALUES (2, {})",
            values(&head.to_string())
        ),
        format!(
            "INSERT INTO firmware_history (sequence, {FULL_ROW}) VALUES (3, {})
             ON CONFLICT (sequence) DO UPDATE SET version = excluded.version",
            values(&head.to_string())
        ),
        // Not the next number, no number, not the head's hash, no hash.
        format!(
            "INSERT INTO firmware_history (sequence, {FULL_ROW}) VALUES (5, {})",
            values(&head.to_string())
        ),
        format!("INSERT INTO firmware_history ({FULL_ROW}) VALUES ({})", values(&head.to_string())),
        format!(
            "INSERT INTO firmware_history (sequence, {FULL_ROW}) VALUES (4, {})",
            values(&rows[1].hash.to_string())
        ),
        format!(
            "INSERT INTO firmware_history (sequence, {FULL_ROW}) VALUES (4, {})",
            values(&"00".repeat(32))
        ),
        // A source nobody knows.
        format!(
            "INSERT INTO firmware_history (sequence, {FULL_ROW}) VALUES (4, {})",
            values(&head.to_string()).replace("ota_update", "magic")
        ),
        // By way of what refers to it, or what it refers to.
        "DELETE FROM devices".to_owned(),
        "UPDATE devices SET serial = 'other' WHERE serial = 'gw'".to_owned(),
        "DELETE FROM firmware_log WHERE history = 1".to_owned(),
        "DELETE FROM firmware_log".to_owned(),
        "UPDATE firmware_log SET history = 2 WHERE history = 1".to_owned(),
        "REPLACE INTO firmware_log SELECT * FROM firmware_log".to_owned(),
    ];
    for recursive in ["ON", "OFF"] {
        let connection = stranger(dir.path());
        connection.execute_batch(&format!("PRAGMA recursive_triggers={recursive};")).unwrap();
        let before = dump(&connection);
        for sql in &attempts {
            let refused = connection.execute_batch(sql);
            assert!(refused.is_err(), "taken with recursive_triggers={recursive}: {sql}");
            assert_eq!(dump(&connection), before, "changed: {sql}");
        }
    }
    assert_eq!(verify::verify(&path(dir.path())).unwrap().problems, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn nothing_in_the_schema_could_cascade_into_it() {
    let (dir, _) = history_of(1).await;
    let connection = stranger(dir.path());
    for table in ["firmware_history", "firmware_log", "devices"] {
        let outgoing: i64 = connection
            .query_row(
                "SELECT count(*) FROM pragma_foreign_key_list(?1) WHERE on_delete <> 'NO ACTION' OR on_update <> 'NO ACTION'",
                [table],
                |r| r.get(0),
            )
            .unwrap();
        assert_eq!(outgoing, 0, "{table}");
    }
    let of_history: i64 = connection
        .query_row("SELECT count(*) FROM pragma_foreign_key_list('firmware_history')", [], |r| r.get(0))
        .unwrap();
    assert_eq!(of_history, 0);
}

/// Does something to the schema behind SQLite's back.
fn with_writable_schema(folder: &Path, sql: &str) {
    let connection = stranger(folder);
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    connection.execute_batch("PRAGMA writable_schema=ON;").unwrap();
    connection.execute_batch(sql).unwrap();
    connection.execute_batch("PRAGMA writable_schema=RESET;").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_removed_or_weakened_guard_is_found_whatever_way_it_went() {
    for (sql, said) in [
        (
            "DELETE FROM sqlite_schema WHERE name = 'firmware_history_is_never_updated'",
            "the guard firmware_history_is_never_updated was removed",
        ),
        (
            "UPDATE sqlite_schema SET sql = replace(sql, 'BEFORE DELETE ON firmware_history BEGIN',
                'BEFORE DELETE ON firmware_history WHEN 0 BEGIN') WHERE name = 'firmware_history_is_never_deleted'",
            "the guard firmware_history_is_never_deleted was changed",
        ),
        ("DROP TRIGGER devices_are_retired_never_deleted", "the guard devices_are_retired_never_deleted was removed"),
        (
            "CREATE TRIGGER helpful AFTER INSERT ON firmware_history BEGIN UPDATE devices SET firmware_version = 'x'; END",
            "the trigger helpful is not one of ours",
        ),
        (
            "UPDATE sqlite_schema SET sql = replace(sql, '''ota_update'',', '''ota_update'', ''magic'',') WHERE name = 'firmware_history'",
            "the guard firmware_history was changed",
        ),
    ] {
        let (dir, _) = history_of(2).await;
        with_writable_schema(dir.path(), sql);
        let problems = verify::verify(&path(dir.path())).unwrap().problems;
        assert!(problems.iter().any(|p| p.contains(said)), "{sql}: {problems:?}");
    }
}

/// Changes rows with the guards away, and puts the guards back.
fn behind_its_back(folder: &Path, sql: &str) {
    let connection = stranger(folder);
    connection.execute_batch("PRAGMA foreign_keys=OFF;").unwrap();
    let mut triggers =
        connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers: Vec<(String, String)> =
        triggers.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap();
    for (name, _) in &triggers {
        connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    connection.execute_batch(sql).unwrap();
    for (_, sql) in &triggers {
        connection.execute_batch(sql).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_changed_behind_the_databases_back_is_named_and_the_command_fails() {
    for (sql, at, words) in [
        ("UPDATE firmware_history SET version = '9' WHERE sequence = 3", 3, "row 3 was altered"),
        ("UPDATE firmware_history SET metadata = '{\"x\":1}' WHERE sequence = 1", 1, "row 1 was altered"),
        ("UPDATE firmware_history SET wall_ms = NULL WHERE sequence = 5", 5, "row 5 was altered"),
        ("DELETE FROM firmware_history WHERE sequence = 2", 2, "row 3 stands where row 2 belongs"),
        ("UPDATE firmware_history SET hash = zeroblob(32) WHERE sequence = 4", 4, "row 4 was altered"),
        (
            "UPDATE firmware_history SET prev_hash = zeroblob(32) WHERE sequence = 4",
            4,
            "row 4 does not follow",
        ),
    ] {
        let (dir, _) = history_of(5).await;
        assert!(firmware::verify(dir.path()).unwrap().whole);
        behind_its_back(dir.path(), sql);
        let verified = verify::verify(&path(dir.path())).unwrap();
        assert_eq!(verified.broken.map(|b| b.at()), Some(at), "{sql}");
        assert_eq!(verified.history_head.sequence, at - 1, "{sql}");
        let verdict = firmware::verify(dir.path()).unwrap();
        assert!(!verdict.whole && verdict.text.contains(words), "{sql}: {}", verdict.text);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_cut_off_the_end_show_by_what_still_speaks_of_them() {
    let (dir, rows) = history_of(4).await;
    behind_its_back(dir.path(), "DELETE FROM firmware_history WHERE sequence = 4");
    assert!(!firmware::verify(dir.path()).unwrap().whole, "the log still tells of it");
    behind_its_back(dir.path(), "DELETE FROM firmware_log WHERE sequence = 4");
    assert!(!firmware::verify(dir.path()).unwrap().whole, "the device still shows it");
    behind_its_back(dir.path(), "UPDATE devices SET firmware_version = '2.0', firmware_component = 'main'");
    // The file now agrees with itself; only who knows the head knows better.
    let verified = verify::verify(&path(dir.path())).unwrap();
    assert!(verified.is_whole(), "{:?}", verified.problems);
    let known = Head { sequence: 4, hash: rows[3].hash };
    assert_eq!(chain::reaches(verified.history_head, known), Err(Break::Truncated { expected: 4, found: 3 }));
}

/// All pages of the log as a puller sees them: JSON text.
async fn pulled(folder: &Path, limit: u32) -> Vec<String> {
    let gateway = open(folder);
    let mut pages = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = gateway.firmware_log_page(after.as_deref(), limit).await.unwrap();
        pages.push(serde_json::to_string(&page).unwrap());
        if !page.more {
            gateway.stop();
            return pages;
        }
        after = Some(page.next);
    }
}

fn verify_pulled(pages: &[String]) -> Result<Head, String> {
    let mut verifier: Option<PullVerifier> = None;
    for text in pages {
        let page: LogPage = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let verifier = verifier.get_or_insert_with(|| PullVerifier::new(page.gateway, page.file));
        verifier.take(&page).map_err(|e| e.to_string())?;
    }
    verifier.map(|v| v.history_head()).ok_or_else(|| "nothing was pulled".into())
}

#[tokio::test(start_paused = true)]
async fn what_was_pulled_proves_itself_without_the_gateway() {
    let (dir, rows) = history_of(7).await;
    let pages = pulled(dir.path(), 3).await;
    let head = verify_pulled(&pages).unwrap();
    assert_eq!(head, Head { sequence: 7, hash: rows[6].hash });
    for (from, to) in [
        ("\"version\":\"4.0\"", "\"version\":\"4.1\""),
        ("\"previous_version\":\"2.0\"", "\"previous_version\":null"),
        ("\"source\":\"factory_default\"", "\"source\":\"ota_update\""),
        ("\"mono_ms\":3000", "\"mono_ms\":3001"),
        ("\"component\":\"cell\"", "\"component\":\"main\""),
        ("\"device\":\"gw\"", "\"device\":\"other\""),
        ("\"metadata\":\"{}\"", "\"metadata\":\"{ }\""),
        ("\"wall_uncertainty_ms\":500", "\"wall_uncertainty_ms\":5"),
    ] {
        let tampered: Vec<String> = pages.iter().map(|page| page.replace(from, to)).collect();
        assert_ne!(tampered, pages, "{from} is not in the pages");
        assert!(verify_pulled(&tampered).is_err(), "{from} to {to}");
    }
    assert!(
        verify_pulled(&pages[..2]).is_ok(),
        "a pull may end early, while the page says that there is more"
    );
    assert!(verify_pulled(&[pages[0].clone(), pages[2].clone()]).is_err(), "a page left out");
    assert!(verify_pulled(&pages[1..]).is_err(), "the first page left out");
}

#[tokio::test(start_paused = true)]
async fn a_chain_recomputed_from_the_middle_does_not_follow_what_was_pulled_before() {
    let (dir, _) = history_of(4).await;
    let before = pulled(dir.path(), 2).await;
    let mut verifier: Option<PullVerifier> = None;
    for text in &before {
        let page: LogPage = serde_json::from_str(text).unwrap();
        verifier.get_or_insert_with(|| PullVerifier::new(page.gateway, page.file)).take(&page).unwrap();
    }
    let mut verifier = verifier.unwrap();
    // A gateway whose whole tail was rewritten, hashes and all, goes on.
    let page: LogPage = serde_json::from_str(&before[1]).unwrap();
    let mut forged = page.clone();
    for row in &mut forged.rows {
        row.sequence += 2;
        row.hash = row.computed();
    }
    assert!(verifier.take(&forged).is_err());
}

fn arbitrary_entries() -> Vec<HistoryEntry> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { history_of(12).await.1 })
}

#[derive(Debug, Clone)]
enum Tampering {
    Remove(usize),
    Swap(usize, usize),
    Repeat(usize),
    Change(usize, u8, String, i64),
    ReplaceAndRehash(usize, String),
    RehashTail(usize, String),
}

fn tampering(rows: usize) -> impl Strategy<Value = Tampering> {
    prop_oneof![
        (0..rows).prop_map(Tampering::Remove),
        (0..rows, 1..rows).prop_map(move |(a, by)| Tampering::Swap(a, (a + by) % rows)),
        (0..rows).prop_map(Tampering::Repeat),
        (0..rows, 0u8..13, "[a-z0-9.]{1,8}", any::<i64>())
            .prop_map(|(row, field, text, number)| Tampering::Change(row, field, text, number)),
        (0..rows, "[a-z]{3,8}").prop_map(|(row, text)| Tampering::ReplaceAndRehash(row, text)),
        (0..rows, "[a-z]{3,8}").prop_map(|(row, text)| Tampering::RehashTail(row, text)),
    ]
}

/// Applies it; `false` when it changes nothing.
fn apply(rows: &mut Vec<HistoryEntry>, tampering: &Tampering) -> bool {
    let before = rows.clone();
    match tampering.clone() {
        Tampering::Remove(n) => {
            rows.remove(n);
        }
        Tampering::Swap(a, b) => rows.swap(a, b),
        Tampering::Repeat(n) => rows.insert(n, rows[n].clone()),
        Tampering::Change(n, field, text, number) => {
            let row = &mut rows[n];
            match field {
                0 => row.sequence = number.cast_unsigned(),
                1 => row.device = text,
                2 => row.component = text,
                3 => row.version = text,
                4 => row.previous_version = if row.previous_version.is_some() { None } else { Some(text) },
                5 => {
                    row.source = if row.source == Source::OtaUpdate {
                        Source::FactoryDefault
                    } else {
                        Source::OtaUpdate
                    }
                }
                6 => row.origin = Origin::Imported,
                7 => row.metadata = text,
                8 => row.at.boot = number.cast_unsigned(),
                9 => row.at.mono_ms = number.cast_unsigned(),
                10 => row.at.wall_unix_ms = Some(number),
                11 => row.at.wall_uncertainty_ms = None,
                _ => row.hash.0[(number.unsigned_abs() % 32) as usize] ^= 1,
            }
        }
        Tampering::ReplaceAndRehash(n, text) => {
            rows[n].version = text;
            rows[n].hash = rows[n].computed();
        }
        Tampering::RehashTail(n, text) => {
            rows[n].version = text;
            for at in n..rows.len() {
                if at > 0 {
                    rows[at].prev_hash = rows[at - 1].hash;
                }
                rows[at].hash = rows[at].computed();
            }
        }
    }
    *rows != before
}

#[test]
fn every_kind_of_tampering_with_copied_rows_is_found() {
    let rows = arbitrary_entries();
    let begin = Head { sequence: 0, hash: rows[0].prev_hash };
    let known = Head { sequence: 12, hash: rows[11].hash };
    assert_eq!(chain::verify(begin, &rows), Ok(known));
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&tampering(rows.len()), |tampering| {
            let mut copy = rows.clone();
            prop_assume!(apply(&mut copy, &tampering));
            let found = chain::verify(begin, &copy).and_then(|head| chain::reaches(head, known));
            prop_assert!(found.is_err(), "{:?} was not found", tampering);
            Ok(())
        })
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_chain_begins_at_the_gateways_own_identity() {
    let (dir, rows) = history_of(1).await;
    let gateway = open(dir.path());
    let identity = gateway.identity();
    assert_eq!(Chain::History.genesis(identity.gateway, identity.file).hash, rows[0].prev_hash);
    gateway.stop();
}

#[tokio::test(start_paused = true)]
async fn what_was_recorded_before_the_time_was_known_is_dated_as_soon_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let nobody_knows = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };
    let gateway = open_at(dir.path(), nobody_knows);
    let key = ComponentKey { device: "gw".into(), package: "main".into() };
    gateway.observe_version(&key, "1.0").await.unwrap();
    gateway.stop();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let text = firmware::history(dir.path(), None).unwrap();
    assert!(text.contains("boot 1 + 0 s *"), "{text}");
    assert!(text.contains("* nothing has vouched for the clock of that boot"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&firmware::history_json(dir.path(), None).unwrap()).unwrap();
    assert_eq!(json[0].get("recorded_unix_ms"), None);

    // The same boot, by another run of the daemon.
    let known = Wall { unix_ms: 1_800_000_000_000, uncertainty_ms: 2_500, trusted: true };
    open_at(dir.path(), known).stop();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let text = firmware::history(dir.path(), None).unwrap();
    assert!(text.contains("2027-01-15 08:00:00Z ± 3 s"), "{text}");
    assert!(!text.contains('*'), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&firmware::history_json(dir.path(), None).unwrap()).unwrap();
    assert_eq!(json[0]["recorded_unix_ms"], 1_800_000_000_000_i64);
    assert_eq!(json[0]["recorded_within_ms"], 2_500);
}

#[tokio::test(start_paused = true)]
async fn the_history_is_shown_as_a_table_without_a_daemon() {
    let (dir, rows) = history_of(3).await;
    let text = firmware::history(dir.path(), None).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with('#') && lines[0].contains("version"), "{text}");
    assert!(lines[3].contains("2.0 (was 0.0)") && lines[3].contains("manual_provision"), "{text}");
    assert!(lines[3].contains("2027-01-15 08:00:02Z"), "{text}");
    assert!(lines[4].contains(&rows[2].hash.to_string()), "{text}");
    assert_eq!(firmware::history(dir.path(), Some("cell")).unwrap().lines().count(), 3);
    assert!(firmware::history(dir.path(), Some("none")).unwrap().contains("No version of component none"));
    let nowhere = firmware::verify(&dir.path().join("nowhere")).unwrap_err().to_string();
    assert!(nowhere.contains("does not exist"), "{nowhere}");
}
