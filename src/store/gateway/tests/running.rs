//! What the writer does while the daemon runs: snapshots in their time, and damage that shows late.

use std::time::Duration;

use tokio::sync::oneshot;

use super::super::writer::{Command, Writer};
use super::super::{HistoryEntry, Start, reader};
use super::*;
use crate::clock::Mono;
use crate::store::worker::Machine;

fn rows_in(path: &Path) -> Vec<HistoryEntry> {
    reader::history(path, None, 100).unwrap().entries
}

#[tokio::test(start_paused = true)]
async fn a_change_is_in_the_snapshot_seconds_later_and_a_stream_of_changes_waits_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = OpenOptions::in_folder(dir.path()).snapshot;
    let gateway = open(dir.path(), 1, 1);
    // The snapshot of the start holds the identity and nothing else.
    assert_eq!(rows_in(&snapshot).len(), 0);
    tokio::time::sleep(Duration::from_secs(700)).await;
    gateway.observe_version(&key("main"), "1.0").await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(rows_in(&snapshot).len(), 1);
    for n in 2..20 {
        gateway.observe_version(&key("main"), &format!("{n}.0")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(rows_in(&snapshot).len(), 1, "a second snapshot within ten minutes");
    }
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(rows_in(&snapshot).len(), 19);
}

#[tokio::test(start_paused = true)]
async fn telling_the_time_makes_no_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    let written =
        || std::fs::metadata(OpenOptions::in_folder(dir.path()).snapshot).unwrap().modified().unwrap();
    let before = written();
    for n in 1..200u64 {
        gateway.note_time(Mono(n * 61_000_000_000), WALL).await;
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    assert_eq!(written(), before);
}

#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods, reason = "the test makes the damage")]
async fn a_file_found_damaged_while_running_is_replaced_and_the_request_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::in_folder(dir.path());
    let mut writer = Writer::open(options.clone(), BootId([1; 16]), [7; 32], Mono(1), WALL).unwrap();
    let status = writer.subscribe();
    let before = status.borrow().clone();
    let record = |version: &str| {
        let new = super::super::NewVersion {
            key: key("main"),
            version: version.into(),
            source: None,
            origin: super::super::Origin::Local,
            metadata: serde_json::Map::new(),
        };
        let (reply, answer) = oneshot::channel();
        (Command::RecordVersion { new: Box::new(new), wall: WALL, reply }, answer)
    };
    let (command, mut answer) = record("1.0");
    writer.handle(Mono(2), command);
    answer.try_recv().unwrap().unwrap();
    writer.handle_timeout(writer.poll_timeout().unwrap());

    writer.lose_connection();
    std::fs::write(&options.path, [0x5a; 9000]).unwrap();
    let (command, mut answer) = record("1.1");
    writer.handle(Mono(10_000_000_000), command);
    answer.try_recv().unwrap().unwrap();
    let after = status.borrow().clone();
    assert_eq!(after.identity.start, Start::Restored);
    assert_eq!(after.identity.gateway, before.identity.gateway);
    assert!(after.generation > before.generation);
    let rows = rows_in(&options.path);
    assert_eq!(rows.iter().map(|r| r.version.as_str()).collect::<Vec<_>>(), ["1.0", "1.1"]);
    assert!(rows[1].metadata.contains("store_restored"), "{}", rows[1].metadata);

    // Both gone under a running daemon: the gateway stays who it is, and the history says that it began anew.
    writer.lose_connection();
    std::fs::write(&options.path, [0x5a; 9000]).unwrap();
    std::fs::write(&options.snapshot, [0x5a; 9000]).unwrap();
    let (command, mut answer) = record("1.2");
    writer.handle(Mono(20_000_000_000), command);
    answer.try_recv().unwrap().unwrap();
    let last = status.borrow().clone();
    assert_eq!((last.identity.gateway, last.identity.start), (before.identity.gateway, Start::Recreated));
    assert_ne!(last.identity.file, before.identity.file);
    assert!(rows_in(&options.path)[0].metadata.contains("store_recreated"));
}

#[tokio::test(start_paused = true)]
async fn a_real_thread_drives_the_same_writer() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock(1);
    let gateway = Gateway::open(OpenOptions::in_folder(dir.path()), &clock, &Seeded::new(1)).unwrap();
    versions(&gateway, "main", 3).await;
    assert_eq!(gateway.history(Default::default()).await.unwrap().len(), 3);
    gateway.stop();
    assert_eq!(
        gateway.components().await,
        Err(super::super::GatewayError::Stopped),
        "a stopped store says so"
    );
    assert_eq!(rows_in(&OpenOptions::in_folder(dir.path()).snapshot).len(), 3);
}
