//! Whatever happens to `gateway.db`, the gateway starts: on the file, on its snapshot, or anew and saying so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tests make the damage")]

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldgate::clock::{BootId, Clock, VirtualClock, Wall};
use fieldgate::daemon::rim::Entropy;
use fieldgate::store::gateway::{
    ComponentKey, CursorError, Gateway, GatewayError, GatewayId, HistoryEntry, HistoryQuery, OpenOptions,
    Source, Start, time_floor, verify,
};
use fieldgate::store::sqlite::OpenError;
use rusqlite::Connection;

/// Randomness that a test chose.
#[derive(Debug)]
struct Always(u8);

impl Entropy for Always {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

const WALL: Wall = Wall { unix_ms: 1_800_000_000_000, uncertainty_ms: 500, trusted: true };

fn try_open(folder: &Path, seed: u8) -> Result<Gateway, OpenError> {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(BootId([seed; 16]), WALL));
    let (gateway, pump) = Gateway::open_inline(OpenOptions::in_folder(folder), &clock, &Always(seed))?;
    tokio::spawn(pump);
    Ok(gateway)
}

fn open(folder: &Path, seed: u8) -> Gateway {
    try_open(folder, seed).unwrap()
}

fn file(folder: &Path) -> PathBuf {
    OpenOptions::in_folder(folder).path
}

fn snapshot(folder: &Path) -> PathBuf {
    OpenOptions::in_folder(folder).snapshot
}

fn key(package: &str) -> ComponentKey {
    ComponentKey { device: "gw".into(), package: package.into() }
}

async fn rows(gateway: &Gateway) -> Vec<HistoryEntry> {
    gateway.history(HistoryQuery::default()).await.unwrap()
}

/// A gateway that recorded two versions and stopped cleanly, so that its snapshot has them.
async fn lived() -> (tempfile::TempDir, GatewayId) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1);
    gateway.observe_version(&key("main"), "1.0").await.unwrap();
    gateway.observe_version(&key("main"), "1.1").await.unwrap();
    let id = gateway.identity().gateway;
    gateway.stop();
    (dir, id)
}

fn kept_aside(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".damaged-"))
        .collect();
    names.sort();
    names
}

fn scribble(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 8] = [
    ("garbage all over", |path| std::fs::write(path, vec![0x5a; 50_000]).unwrap()),
    ("garbage in the header", |path| scribble(path, 0, &[0xa5; 100])),
    ("garbage in the schema page", |path| scribble(path, 100, &[0xa5; 3996])),
    ("garbage in the middle", |path| {
        let pages = std::fs::metadata(path).unwrap().len() / 4096;
        for page in 2..pages {
            scribble(path, page * 4096, &[0xff; 200]);
        }
    }),
    ("cut short", |path| {
        let length = std::fs::metadata(path).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length / 2).unwrap();
    }),
    ("emptied", |path| std::fs::write(path, []).unwrap()),
    ("gone", |path| std::fs::remove_file(path).unwrap()),
    ("another program's", |path| {
        std::fs::remove_file(path).unwrap();
        Connection::open(path).unwrap().execute_batch("CREATE TABLE theirs (a);").unwrap();
    }),
];

#[tokio::test(start_paused = true)]
async fn identity_and_history_survive_every_kind_of_damage() {
    for (name, damage) in DAMAGES {
        let (dir, id) = lived().await;
        damage(&file(dir.path()));
        let gateway = open(dir.path(), 2);
        assert_eq!(gateway.identity().start, Start::Restored, "{name}");
        assert_eq!(gateway.identity().gateway, id, "{name}");
        let kept = rows(&gateway).await;
        assert_eq!(kept.iter().map(|r| r.version.as_str()).collect::<Vec<_>>(), ["1.0", "1.1"], "{name}");
        // What was known stays known; a change since is recorded, and says that rows may be missing before it.
        gateway.observe_version(&key("main"), "1.1").await.unwrap();
        gateway.observe_version(&key("main"), "1.2").await.unwrap();
        gateway.observe_version(&key("main"), "1.3").await.unwrap();
        let all = rows(&gateway).await;
        assert_eq!(all.len(), 4, "{name}");
        assert_eq!(all[2].source, Source::ManualProvision);
        assert!(all[2].metadata.contains("store_restored"), "{name}: {}", all[2].metadata);
        assert_eq!(all[3].metadata, "{}", "{name}");
        assert!(gateway.verify_history().await.unwrap().is_whole(), "{name}");
        gateway.stop();
        // And the next start is an ordinary one.
        let gateway = open(dir.path(), 3);
        assert_eq!((gateway.identity().start, rows(&gateway).await.len()), (Start::Found, 4), "{name}");
        gateway.stop();
        if !matches!(name, "gone" | "emptied") {
            assert!(!kept_aside(dir.path()).is_empty(), "{name}: the damaged file was not kept");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_both_lost_the_history_begins_anew_and_every_first_row_says_so() {
    for (name, damage) in DAMAGES {
        let (dir, id) = lived().await;
        damage(&file(dir.path()));
        std::fs::write(snapshot(dir.path()), [0x5a; 9000]).unwrap();
        let gateway = open(dir.path(), 2);
        assert_eq!(gateway.identity().start, Start::Recreated, "{name}");
        assert_ne!(gateway.identity().gateway, id, "{name}");
        for package in ["main", "cell"] {
            gateway.observe_version(&key(package), "1.1").await.unwrap();
        }
        gateway.stop();
        // Also for a component that is first seen in a later run.
        let gateway = open(dir.path(), 3);
        assert_eq!(gateway.identity().start, Start::Found, "{name}");
        gateway.observe_version(&key("board"), "1.0").await.unwrap();
        gateway.observe_version(&key("main"), "1.2").await.unwrap();
        let all = rows(&gateway).await;
        for row in &all[..3] {
            assert_eq!(row.metadata, r#"{"store_recreated":true}"#, "{name}");
        }
        assert_eq!(all[3].metadata, "{}", "{name}: what happened since is known");
        gateway.stop();
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_gateway_is_not_taken_for_one_that_lost_its_past() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1);
    assert_eq!(gateway.identity().start, Start::Made);
    gateway.observe_version(&key("main"), "1.0").await.unwrap();
    let all = rows(&gateway).await;
    assert_eq!((all[0].source, all[0].metadata.as_str()), (Source::FactoryDefault, "{}"));
    // Its identity does not hang on one file, not even for the first minutes.
    let copied = Connection::open(snapshot(dir.path())).unwrap();
    let id = copied.query_row("SELECT value FROM meta WHERE key = 'gateway_id'", [], |r| r.get(0)).unwrap();
    assert_eq!(gateway.identity().gateway, GatewayId(id));
    gateway.stop();
}

#[tokio::test(start_paused = true)]
async fn a_queue_beside_nothing_is_a_trace_of_a_past() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("queue.db"), b"readings").unwrap();
    let gateway = open(dir.path(), 1);
    assert_eq!(gateway.identity().start, Start::Recreated);
    gateway.stop();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_outlived_its_file_is_not_played_into_the_snapshot() {
    let (dir, _) = lived().await;
    let wal = dir.path().join("gateway.db-wal");
    // A log with a row the snapshot does not have, left beside a file that is gone.
    let copy = dir.path().join("copy.db");
    std::fs::copy(file(dir.path()), &copy).unwrap();
    let writer = Connection::open(&copy).unwrap();
    writer.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; DELETE FROM events; INSERT INTO time_floor VALUES (1, 5) ON CONFLICT DO UPDATE SET unix_ms = 5;").unwrap();
    std::fs::copy(dir.path().join("copy.db-wal"), &wal).unwrap();
    assert!(std::fs::metadata(&wal).unwrap().len() > 0);
    std::fs::remove_file(file(dir.path())).unwrap();
    let gateway = open(dir.path(), 2);
    assert_eq!(gateway.identity().start, Start::Restored);
    assert_ne!(gateway.time_floor_unix_ms().await.unwrap(), Some(5));
    assert!(gateway.verify_history().await.unwrap().is_whole());
    gateway.stop();
    assert!(kept_aside(dir.path()).iter().any(|name| name.ends_with("-wal")));
}

/// What a release that knows one migration more leaves; that migration's number.
fn written_by_a_newer_release(path: &Path, min_reader: i64) -> i64 {
    let connection = Connection::open(path).unwrap();
    let ours: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
    let newer = ours + 1;
    connection
        .execute_batch(&format!(
            "UPDATE meta SET value = {min_reader} WHERE key = 'min_reader';
             UPDATE meta SET value = '9.9.9' WHERE key = 'written_by';
             PRAGMA user_version = {newer};
             CREATE TABLE rollouts (id INTEGER PRIMARY KEY);
             ALTER TABLE devices ADD COLUMN colour TEXT;
             ALTER TABLE components ADD COLUMN slot INTEGER NOT NULL DEFAULT 0;
             ALTER TABLE firmware_history ADD COLUMN signature BLOB;
             CREATE TRIGGER of_a_newer_release AFTER INSERT ON rollouts BEGIN SELECT 1; END;"
        ))
        .unwrap();
    newer
}

#[tokio::test(start_paused = true)]
async fn the_previous_release_opens_what_a_newer_one_wrote_and_goes_on() {
    let (dir, id) = lived().await;
    let newer = written_by_a_newer_release(&file(dir.path()), 1);
    let gateway = open(dir.path(), 2);
    assert_eq!((gateway.identity().gateway, gateway.identity().start), (id, Start::Found));
    gateway.observe_version(&key("main"), "1.2").await.unwrap();
    gateway.configure_components(vec![key("main")]).await.unwrap();
    assert_eq!(gateway.components().await.unwrap()[0].version.as_deref(), Some("1.2"));
    assert_eq!(gateway.device("gw").await.unwrap().unwrap().firmware_version.as_deref(), Some("1.2"));
    gateway.stop();
    let verified = verify::verify(&file(dir.path())).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    let connection = Connection::open(file(dir.path())).unwrap();
    let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap();
    assert_eq!(version, newer, "the newer release's migrations are not undone");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_says_it_is_too_new_is_refused_and_left_alone() {
    let (dir, _) = lived().await;
    written_by_a_newer_release(&file(dir.path()), 2);
    let before = std::fs::read(file(dir.path())).unwrap();
    let refused = try_open(dir.path(), 2).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { min_reader: 2, ours: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("9.9.9"), "{refused}");
    assert_eq!(std::fs::read(file(dir.path())).unwrap(), before);
    assert_eq!(kept_aside(dir.path()), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_too_new_is_no_reason_to_begin_anew() {
    let (dir, _) = lived().await;
    written_by_a_newer_release(&snapshot(dir.path()), 2);
    std::fs::write(file(dir.path()), [0x5a; 9000]).unwrap();
    let refused = try_open(dir.path(), 2).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
    assert_eq!(kept_aside(dir.path()), Vec::<String>::new(), "nothing was moved");
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_written_is_refused_with_what_to_check() {
    let dir = tempfile::tempdir().unwrap();
    let not_a_folder = dir.path().join("file");
    std::fs::write(&not_a_folder, b"x").unwrap();
    for folder in [not_a_folder, dir.path().join("missing")] {
        let refused = try_open(&folder, 1).unwrap_err();
        assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
        assert!(refused.to_string().contains("Check that its folder exists"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_does_not_overwrite_a_good_snapshot() {
    let (dir, _) = lived().await;
    let gateway = open(dir.path(), 2);
    gateway.observe_version(&key("main"), "1.2").await.unwrap();
    let good = std::fs::read(snapshot(dir.path())).unwrap();
    // Pages rot under the running daemon; what it has not in its cache is read from the file by the copy.
    let pages = std::fs::metadata(file(dir.path())).unwrap().len() / 4096;
    for page in 1..pages {
        scribble(&file(dir.path()), page * 4096, &[0xff; 4096]);
    }
    let made = gateway.snapshot().await;
    assert!(made.is_err(), "{made:?}");
    assert_eq!(std::fs::read(snapshot(dir.path())).unwrap(), good);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_cut_short_by_a_power_cut_is_neither_used_nor_in_the_way() {
    let (dir, _) = lived().await;
    std::fs::write(dir.path().join("gateway.db.snapshot-new"), [0x5a; 5000]).unwrap();
    std::fs::write(dir.path().join("gateway.db-restoring"), [0x5a; 5000]).unwrap();
    std::fs::remove_file(file(dir.path())).unwrap();
    let gateway = open(dir.path(), 2);
    assert_eq!((gateway.identity().start, rows(&gateway).await.len()), (Start::Restored, 2));
    gateway.snapshot().await.unwrap();
    gateway.stop();
    assert!(!dir.path().join("gateway.db.snapshot-new").exists());
}

#[tokio::test(start_paused = true)]
async fn the_time_floor_is_read_from_the_snapshot_when_the_file_does_not_read() {
    let (dir, _) = lived().await;
    let floor = time_floor(dir.path());
    assert_eq!(floor, Some(WALL.unix_ms - 500));
    std::fs::write(file(dir.path()), [0x5a; 9000]).unwrap();
    assert_eq!(time_floor(dir.path()), floor);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_beyond_what_the_snapshot_kept_is_refused_and_one_within_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1);
    gateway.observe_version(&key("main"), "1.0").await.unwrap();
    gateway.snapshot().await.unwrap();
    let early = std::fs::read(snapshot(dir.path())).unwrap();
    let within = gateway.firmware_log_page(None, 10).await.unwrap().next;
    gateway.observe_version(&key("main"), "1.1").await.unwrap();
    let beyond = gateway.firmware_log_page(None, 10).await.unwrap().next;
    gateway.stop();
    // As if there had been no clean stop: the snapshot is the one from before the second version.
    std::fs::write(snapshot(dir.path()), early).unwrap();
    std::fs::write(file(dir.path()), [0x5a; 9000]).unwrap();
    let gateway = open(dir.path(), 2);
    let refused = gateway.firmware_log_page(Some(&beyond), 10).await.unwrap_err();
    assert_eq!(refused, GatewayError::Cursor(CursorError::Diverged { position: 2 }));
    assert_eq!(gateway.firmware_log_page(Some(&within), 10).await.unwrap().rows.len(), 0);
    // The log goes on where the snapshot ended, and the lost entry's number is another's now.
    gateway.observe_version(&key("main"), "1.2").await.unwrap();
    assert_eq!(gateway.firmware_log_page(Some(&within), 10).await.unwrap().rows.len(), 1);
    assert!(gateway.firmware_log_page(Some(&beyond), 10).await.is_err());
    gateway.stop();
}
