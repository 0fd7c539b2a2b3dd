//! The promise: while the disk takes no writes, a call from afar is answered with a refusal that the cloud can read, settings are
//! reported as not in force, a deployment is not followed; nothing is half done; and all of it works by itself once there is room.
//!
//! The whole daemon in virtual time on a small tmpfs, which needs root (or a user namespace). Where it cannot be had the test is left
//! out, and says so; with `CI=true` it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fieldgate::reading::Value;
use fieldgate::store::sqlite::free_bytes;
use fieldgate_sim::cloud::CallOutcome;
use fieldgate_sim::world::{self, DEVICE, GOLIOTH, World, WorldOptions};
use serde_json::json;

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// What gRPC calls it when something cannot be done now.
const UNAVAILABLE: i64 = 14;
/// What Golioth calls a setting that could not be applied.
const GENERAL: i64 = 6;

/// A file system that is there for one test.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let option = format!("size={size}");
        let mount = ["-t", "tmpfs", "-o", &option, "tmpfs", disk.0.path().to_str().unwrap()];
        let done = Command::new("mount").args(mount).output();
        if done.as_ref().is_ok_and(|done| done.status.success()) {
            return Some(disk);
        }
        let why = format!("this test mounts a small tmpfs and needs root or `unshare -Urm`: {done:?}");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
        let _ = writeln!(std::io::stderr(), "left out: {why}");
        None
    }

    fn foreign(&self) -> PathBuf {
        self.0.path().join("foreign")
    }

    /// Somebody else takes all the room there is.
    fn fill(&self) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(self.foreign()).unwrap();
        while free_bytes(&self.foreign()).unwrap() > 0 && file.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.foreign()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").args(["-l", self.0.path().to_str().unwrap()]).output();
    }
}

fn folder_on(disk: &Path) -> tempfile::TempDir {
    tempfile::tempdir_in(disk).unwrap()
}

/// Calls and waits: code and what was said.
async fn call(world: &World, method: &str) -> (i64, String) {
    let id = world.cloud(|cloud, now| cloud.call(now, DEVICE, method, &[]).unwrap());
    world.pass(5 * S).await;
    match world.cloud(|cloud, _| cloud.call_outcome(&id).cloned()) {
        Some(CallOutcome::Answered { code, detail }) => (code, detail.unwrap_or_default().to_string()),
        other => panic!("{method} is not answered: {other:?}"),
    }
}

fn setting_errors(world: &World) -> Vec<i64> {
    world.cloud(|cloud, _| cloud.settings_status(DEVICE).unwrap().errors.iter().map(|e| e.code).collect())
}

fn window(world: &World) -> Option<u8> {
    world.board().asks.tuning.borrow().window
}

fn wanted(world: &World) -> bool {
    world.cloud(|cloud, _| cloud.ota_events().iter().any(|event| event.target.as_deref() == Some("9.9.9")))
}

#[test]
fn calls_settings_and_deployments_are_refused_whole_and_work_again_once_there_is_room() {
    let Some(disk) = Disk::mount("24m") else { return };
    world::in_virtual_time(async {
        let options = WorldOptions { bus: false, ..WorldOptions::default() };
        let world = World::start(&options).await.unwrap();
        let mut world = world.restart_on(&options, folder_on(disk.0.path())).await.unwrap();
        world.pass(2 * MINUTE).await;
        assert_eq!(call(&world, "get_status").await.0, 0);
        world.cloud(|cloud, now| cloud.set_setting(now, "UPLINK_WINDOW", json!(4), None).unwrap());
        world.pass(5 * S).await;
        assert_eq!((window(&world), setting_errors(&world)), (Some(4), Vec::new()));

        let mut refused = false;
        for n in 0..10 {
            disk.fill();
            // The queue gives up its reserve, which frees what was delivered; that goes too.
            refused |= world.take("q1", Value::Steps(n)).await.is_err();
            world.pass(5 * S).await;
        }
        assert!(refused, "there is no room for a reading");
        disk.fill();
        let before = world.account(GOLIOTH);
        for method in ["get_status", "restart", "reboot", "flush"] {
            let (code, said) = call(&world, method).await;
            assert_eq!(code, UNAVAILABLE, "{method}: {said}");
            assert!(said.contains("not done: the disk is full"), "{method}: {said}");
        }
        assert_eq!((world.hands().restarts(), world.hands().reboots()), (0, 0), "nothing is half done");
        world.cloud(|cloud, now| cloud.set_setting(now, "UPLINK_WINDOW", json!(2), None).unwrap());
        world.cloud(|cloud, now| cloud.deploy(now, &[DEVICE], "main", "9.9.9", vec![7; 900]).unwrap());
        world.pass(10 * S).await;
        assert_eq!(setting_errors(&world), [GENERAL], "the cloud is told");
        assert_eq!(window(&world), Some(4), "what was in force stays");
        world.pass(10 * MINUTE).await;
        assert_eq!(window(&world), Some(4));
        assert!(!wanted(&world), "what is not on record is not followed");

        disk.make_room();
        world.pass(5 * MINUTE).await;
        assert_eq!(
            (window(&world), setting_errors(&world)),
            (Some(2), Vec::new()),
            "without being told again"
        );
        assert!(wanted(&world));
        assert_eq!(call(&world, "get_status").await.0, 0);
        assert_eq!(call(&world, "restart").await.0, 0);
        assert_eq!(world.hands().restarts(), 1);
        world = world.restart(&options).await.unwrap();
        world.pass(MINUTE).await;
        assert_eq!(window(&world), Some(2), "and it outlives a restart");
        world.take("q1", Value::Steps(2)).await.expect("readings are accepted again");
        world.drained(MINUTE).await.unwrap();
        let account = world.account(GOLIOTH);
        assert_eq!(
            (account.accepted, account.acknowledged, account.dropped),
            (before.accepted + 1, before.accepted + 1, 0),
            "{account:?}"
        );
    })
    .unwrap();
}
