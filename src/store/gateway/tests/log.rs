//! The firmware log: pages, pullers, proofs, and what may be freed.

use super::super::log::{FREED_AT_ONCE, KEPT, MAX_AGE_MS, MOST, PullVerifier};
use super::super::{GatewayError, LogBody, LogEntry, Phase};
use super::*;
use crate::store::gateway::ComponentUpdate;

async fn pull_all(gateway: &Gateway, limit: u32) -> Vec<super::super::LogPage> {
    let mut pages = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = gateway.firmware_log_page(after.as_deref(), limit).await.unwrap();
        after = Some(page.next.clone());
        let more = page.more;
        pages.push(page);
        if !more {
            return pages;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_any_size_give_every_row_once_and_prove_it() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    versions(&gateway, "main", 9).await;
    for limit in [1, 2, 3, 8, 9, 10, 200] {
        let pages = pull_all(&gateway, limit).await;
        let sequences: Vec<u64> = pages.iter().flat_map(|p| p.rows.iter().map(|r| r.sequence)).collect();
        assert_eq!(sequences, (1..=9).collect::<Vec<_>>(), "limit {limit}");
        let mut verifier = PullVerifier::new(pages[0].gateway, pages[0].file);
        for page in &pages {
            verifier.take(page).unwrap();
        }
        assert_eq!(Some(verifier.history_head()), gateway.status().borrow().history_head);
    }
}

#[tokio::test(start_paused = true)]
async fn a_puller_at_the_end_sees_only_what_comes_next_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    versions(&gateway, "main", 2).await;
    let end = gateway.firmware_log_page(None, 50).await.unwrap();
    let empty = gateway.firmware_log_page(Some(&end.next), 50).await.unwrap();
    assert_eq!((empty.rows.len(), empty.more, empty.next.as_str()), (0, false, end.next.as_str()));
    gateway.stop();
    drop(gateway);
    let gateway = open(dir.path(), 2, 2);
    gateway.observe_version(&key("cell"), "1.0").await.unwrap();
    let next = gateway.firmware_log_page(Some(&end.next), 50).await.unwrap();
    assert_eq!(next.rows.iter().map(|r| r.sequence).collect::<Vec<_>>(), [3]);
    assert_eq!(next.rows[0].prev_hash, end.rows[1].hash);
}

#[tokio::test(start_paused = true)]
async fn two_pullers_do_not_disturb_each_other_and_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    versions(&gateway, "main", 6).await;
    let two = gateway.firmware_log_page(None, 2).await.unwrap().next;
    let five = gateway.firmware_log_page(None, 5).await.unwrap().next;
    gateway.acknowledge("a", &five).await.unwrap();
    gateway.acknowledge("b", &two).await.unwrap();
    gateway.acknowledge("a", &two).await.unwrap();
    gateway.stop();
    drop(gateway);
    let gateway = open(dir.path(), 1, 2);
    assert_eq!(gateway.acknowledged("a").await.unwrap().as_ref(), Some(&five));
    assert_eq!(gateway.acknowledged("b").await.unwrap().as_ref(), Some(&two));
    assert_eq!(gateway.acknowledged("c").await.unwrap(), None);
    let rest = gateway.firmware_log_page(Some(&two), 50).await.unwrap();
    assert_eq!(rest.rows.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn pullers_are_named_soberly_and_bounded_in_number() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    versions(&gateway, "main", 1).await;
    let end = gateway.firmware_log_page(None, 1).await.unwrap().next;
    for bad in ["", "with space", "é", &"x".repeat(65)] {
        assert_eq!(gateway.acknowledge(bad, &end).await, Err(GatewayError::BadPullerName), "{bad}");
    }
    for n in 0..super::super::log::MAX_PULLERS {
        gateway.acknowledge(&format!("p{n}"), &end).await.unwrap();
    }
    assert_eq!(gateway.acknowledge("one-more", &end).await, Err(GatewayError::TooManyPullers));
    gateway.acknowledge("p0", &end).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn versions_transitions_and_lines_stand_in_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    gateway.observe_version(&key("main"), "1.0").await.unwrap();
    assert!(gateway.record_manifest("gw", 7, &serde_json::json!({"components": []})).await.unwrap());
    gateway.record_line("board", "hello").await.unwrap();
    let update = ComponentUpdate {
        key: key("main"),
        deployment: Some(7),
        target: Some("2.0".into()),
        phase: Phase::Idle,
        reason: 6,
        words: "wanted".into(),
        progress: 0,
        attempts: 0,
    };
    assert!(gateway.set_component(update.clone()).await.unwrap());
    assert!(!gateway.set_component(update).await.unwrap(), "the same state again is no transition");
    let page = gateway.firmware_log_page(None, 50).await.unwrap();
    let kinds: Vec<String> = page
        .rows
        .iter()
        .map(|row| match &row.body {
            LogBody::Version(entry) => format!("version {}", entry.version),
            LogBody::Transition(step) => step.step.clone(),
            LogBody::Line(line) => line.text.clone(),
        })
        .collect();
    assert_eq!(kinds, ["version 1.0", "manifest", "hello", "state"]);
    assert!(gateway.verify_history().await.unwrap().is_whole());
}

#[tokio::test(start_paused = true)]
async fn old_lines_are_freed_versions_never_and_a_late_puller_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    versions(&gateway, "main", 2).await;
    let early = gateway.firmware_log_page(None, 2).await.unwrap();
    gateway.record_line("board", "the first").await.unwrap();
    let in_between = gateway.firmware_log_page(Some(&early.next), 1).await.unwrap();
    gateway.stop();
    // The rows that fill the log are made in one transaction, by the same code as each alone.
    fill(dir.path(), KEPT + FREED_AT_ONCE - 2, None);
    let gateway = open(dir.path(), 1, 2);
    let end = pull_all(&gateway, 200).await.pop().unwrap().next;
    gateway.acknowledge("prompt", &end).await.unwrap();
    gateway.record_line("board", "the last").await.unwrap();
    gateway.observe_version(&key("main"), "3.0").await.unwrap();

    let verified = gateway.verify_history().await.unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    let pages = pull_all(&gateway, 200).await;
    assert_eq!(skipped(&pages), FREED);
    let mut verifier = PullVerifier::new(pages[0].gateway, pages[0].file);
    let mut versions = Vec::new();
    for page in &pages {
        verifier.take(page).unwrap();
        versions.extend(page.rows.iter().filter_map(|r| match &r.body {
            LogBody::Version(entry) => Some(entry.version.clone()),
            _ => None,
        }));
    }
    assert_eq!(versions, ["1.0", "2.0", "3.0"]);
    // A cursor on a freed row still works; it goes on with the next row that is there.
    let late = gateway.firmware_log_page(Some(&in_between.next), 1).await.unwrap();
    assert_eq!(late.skipped, FREED - 1);
    gateway.acknowledge("late", &in_between.next).await.unwrap();
    let stands = gateway.acknowledged("late").await.unwrap().unwrap();
    assert_eq!(gateway.firmware_log_page(Some(&stands), 1).await.unwrap().rows, late.rows);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_freed_that_somebody_who_pulls_does_not_have_yet() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    versions(&gateway, "main", 1).await;
    let early = gateway.firmware_log_page(None, 1).await.unwrap().next;
    gateway.acknowledge("slow", &early).await.unwrap();
    gateway.introduce("push:cloud").await.unwrap();
    assert_eq!(gateway.acknowledged("push:cloud").await.unwrap(), None, "it has nothing, and says so");
    gateway.stop();
    fill(dir.path(), KEPT + FREED_AT_ONCE, None);
    let gateway = open(dir.path(), 1, 2);
    let end = pull_all(&gateway, 200).await.pop().unwrap().next;
    for late in ["prompt", "slow"] {
        gateway.acknowledge(late, &end).await.unwrap();
        gateway.record_line("board", late).await.unwrap();
        assert_eq!(skipped(&pull_all(&gateway, 200).await), 0, "one is still missing");
    }
    gateway.acknowledge("push:cloud", &end).await.unwrap();
    gateway.record_line("board", "now").await.unwrap();
    assert_eq!(skipped(&pull_all(&gateway, 200).await), FREED);
    assert_eq!(events(dir.path()), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_limit_waits_for_nobody_and_a_puller_silent_for_so_long_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    gateway.introduce("slow").await.unwrap();
    gateway.stop();
    // Old beyond the limit, and the last of them just within it.
    fill(dir.path(), KEPT + FREED_AT_ONCE - 2, Some(WALL.unix_ms - MAX_AGE_MS - 1));
    fill(dir.path(), 1, Some(WALL.unix_ms - MAX_AGE_MS + 60_000));
    let gateway = open(dir.path(), 1, 2);
    gateway.record_line("board", "now").await.unwrap();
    assert_eq!(skipped(&pull_all(&gateway, 200).await), FREED);
    assert_eq!(events(dir.path()), Vec::<String>::new());
    gateway.stop();

    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    gateway.introduce("gone").await.unwrap();
    gateway.stop();
    let long_ago = "UPDATE pullers SET wall_ms = wall_ms - ?1 - 60000 WHERE name = 'gone'";
    change(dir.path(), |tx, _| assert_eq!(tx.execute(long_ago, [MAX_AGE_MS]).unwrap(), 1));
    fill(dir.path(), KEPT + FREED_AT_ONCE, Some(WALL.unix_ms));
    let gateway = open(dir.path(), 1, 2);
    let end = pull_all(&gateway, 200).await.pop().unwrap().next;
    gateway.acknowledge("prompt", &end).await.unwrap();
    gateway.record_line("board", "now").await.unwrap();
    assert_eq!(skipped(&pull_all(&gateway, 200).await), FREED);
}

#[tokio::test(start_paused = true)]
async fn at_the_last_bound_the_oldest_go_and_an_event_says_which_and_who_lacks_them() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    gateway.introduce("slow").await.unwrap();
    gateway.stop();
    fill(dir.path(), MOST - 1, None);
    assert_eq!(events(dir.path()), Vec::<String>::new());
    fill(dir.path(), 1, None);
    let gateway = open(dir.path(), 1, 2);
    let pages = pull_all(&gateway, 200).await;
    assert_eq!(skipped(&pages), FREED, "a late puller is told how many");
    let mut verifier = PullVerifier::new(pages[0].gateway, pages[0].file);
    pages.iter().for_each(|page| verifier.take(page).unwrap());
    let said: serde_json::Value = serde_json::from_str(&events(dir.path())[0]).unwrap();
    let expected = serde_json::json!({
        "rows": FREED, "first": 1, "last": FREED, "not_acknowledged_by": ["slow"],
    });
    assert_eq!(said, expected);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_large_rows_ends_early_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    for n in 0..20 {
        let detail = serde_json::json!({ "n": n, "text": "x".repeat(15_000) });
        gateway.record_manifest("gw", n, &detail).await.unwrap();
    }
    let pages = pull_all(&gateway, 200).await;
    assert_eq!(pages.iter().map(|p| p.rows.len()).collect::<Vec<_>>(), [8, 8, 4]);
    let mut verifier = PullVerifier::new(pages[0].gateway, pages[0].file);
    for page in &pages {
        verifier.take(page).unwrap();
    }
}

const FREED: u64 = FREED_AT_ONCE.cast_unsigned();

fn skipped(pages: &[super::super::LogPage]) -> u64 {
    pages.iter().map(|page| page.skipped).sum()
}

/// Changes the file of a gateway that is stopped, in one transaction.
fn change(folder: &Path, work: impl FnOnce(&rusqlite::Transaction<'_>, &super::super::writer::Context)) {
    use super::super::{open, schema};
    let path = OpenOptions::in_folder(folder).path;
    let mut connection = crate::store::sqlite::open_writer(&path, schema::KIND).unwrap();
    let context = open::context_of(&connection).unwrap().unwrap();
    let tx = connection.transaction().unwrap();
    work(&tx, &context);
    tx.commit().unwrap();
}

fn fill(folder: &Path, lines: i64, wall_unix_ms: Option<i64>) {
    use super::super::{Stamp, log};
    change(folder, |tx, context| {
        for n in 0..lines {
            let at = Stamp { boot: 1, mono_ms: n.cast_unsigned(), wall_unix_ms, wall_uncertainty_ms: None };
            let line = log::BoardLine { device: "board".into(), text: n.to_string(), at };
            log::append_line(tx, context, line).unwrap();
        }
    });
}

/// What was put on record about rows that were freed before everyone had them.
fn events(folder: &Path) -> Vec<String> {
    let connection = crate::store::sqlite::open_reader(&OpenOptions::in_folder(folder).path).unwrap();
    let sql = "SELECT detail FROM events WHERE kind = 'firmware_log_freed' ORDER BY id";
    let mut said = connection.prepare(sql).unwrap();
    said.query_map([], |r| r.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// What a puller of byte pages puts together: whole rows, in order, and the cursors it may acknowledge.
async fn pull_bytes(gateway: &Gateway, limit: usize) -> (Vec<LogEntry>, Vec<String>) {
    let (mut rows, mut acknowledged, mut after) = (Vec::new(), Vec::new(), None::<String>);
    let mut row = String::new();
    loop {
        let page = gateway.firmware_log_bytes(after.as_deref(), limit).await.unwrap();
        assert!(page.body.len() <= limit, "{} bytes in a page of {limit}", page.body.len());
        let said: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(
            (said["next"].as_str(), said["more"].as_bool()),
            (Some(page.next.as_str()), Some(page.more))
        );
        if let Some(part) = said.get("part") {
            assert_eq!(part["at"].as_u64(), Some(row.len() as u64));
            row.push_str(part["text"].as_str().unwrap());
            if part["of"].as_u64() == Some(row.len() as u64) {
                rows.push(serde_json::from_str(&std::mem::take(&mut row)).unwrap());
            } else {
                assert_eq!(page.whole, None, "a part of a row is not acknowledged");
            }
        } else {
            rows.extend(serde_json::from_value::<Vec<LogEntry>>(said["rows"].clone()).unwrap());
        }
        acknowledged.extend(page.whole);
        after = Some(page.next);
        if !page.more {
            return (rows, acknowledged);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_kilobyte_and_less_give_every_row_once_whatever_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    versions(&gateway, "main", 3).await;
    // The longest line a board may say, of what JSON must escape most, and of what has more bytes than characters.
    for line in ["\u{1}\"\\".repeat(340), "grün €".repeat(100), "x".repeat(1024)] {
        gateway.record_line("gw", &line).await.unwrap();
    }
    versions(&gateway, "cell", 2).await;
    let whole = gateway.firmware_log_page(None, 200).await.unwrap();
    assert_eq!(whole.rows.len(), 8);
    for limit in [320, 500, 1024, 1_000_000] {
        let (rows, acknowledged) = pull_bytes(&gateway, limit).await;
        assert_eq!(rows, whole.rows, "limit {limit}");
        assert_eq!(acknowledged.last(), Some(&whole.next));
        let mut verifier = PullVerifier::new(whole.gateway, whole.file);
        verifier.take(&super::super::LogPage { rows, ..whole.clone() }).unwrap();
    }
    let end = gateway.firmware_log_bytes(Some(&whole.next), 1024).await.unwrap();
    assert!(end.is_empty && !end.more && end.whole.is_none(), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_place_within_a_row_that_nobody_gave_out_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    gateway.record_line("gw", &"x".repeat(1024)).await.unwrap();
    let next = gateway.firmware_log_bytes(None, 320).await.unwrap().next;
    let (before, place) = next.split_once('+').unwrap();
    assert!(place.starts_with("1."), "{place}");
    for bad in ["", "1", "1.", ".5", "1.999999", "1.-1", "x.5", "1.5.5"] {
        let refused = gateway.firmware_log_bytes(Some(&format!("{before}+{bad}")), 320).await.unwrap_err();
        assert_eq!(refused, GatewayError::Cursor(super::super::CursorError::Malformed), "{bad}");
    }
    // A cursor within a row acknowledges nothing.
    assert!(gateway.acknowledge("cloud", &next).await.is_err());
}
